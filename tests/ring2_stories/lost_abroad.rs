//! The lost key of an administrator abroad. `tests/ring2_bypass.rs` has what else a bypass must and must not do.

use crate::told::{APPROVER, HOUR, MINUTE, OPERATOR, Said, Story};

fn believed(story: &Story, case: &str, method: &str, reference: &str) -> Said {
    story
        .says(OPERATOR, &["case", "evidence", case, method, reference])
        .done()
}

fn abroad(story: &Story) -> String {
    let case = story.opens(OPERATOR, "recovery", "video", "ada", "her fob was stolen on the train");
    believed(story, &case, "live-video", "passport");
    believed(story, &case, "call-back", "0351 2718, the number on record");
    case
}

/// Issues one; its code.
fn issue(story: &Story, case: &str, name: &str, more: &[&str]) -> String {
    let file = story.file(name);
    let words = ["bypass", "issue", "ada", "--file", &file];
    let said = story.acts(OPERATOR, case, &[&words[..], more].concat()).done();
    let code = std::fs::read_to_string(&file).expect("the code").trim().to_owned();
    assert!(!said.text.contains(&code), "a code on the screen");
    code
}

fn tries(story: &Story, code: &str) -> Said {
    story.gives(
        OPERATOR,
        &["verify", "ada", "--stdin"],
        Some((code, "\"the bypass's code\"")),
    )
}

fn why(story: &Story, case: &str) -> (String, String) {
    let listed = story.unseen(APPROVER, &["bypass", "list", "--all"]).done();
    let all = listed.said["bypasses"].as_array().expect("bypasses").clone();
    let of = all.into_iter().find(|bypass| bypass["case"] == case);
    let of = of.expect("the bypass of the case");
    let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("why"))
}

fn close(story: &Story, case: &str) -> Said {
    let checks = ["--check", "works", "--check", "told", "--check", "settled"];
    story.says(OPERATOR, &[&["case", "close", case][..], &checks].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lost_key_of_an_administrator_abroad() {
    let Some(story) = Story::begin("lost-abroad").await else {
        return;
    };
    let (_, token) = story.fob_of("ada", "F-1", 1);
    let case = abroad(&story);
    story.acts(OPERATOR, &case, &["lost", &token]).done();

    // Another human says yes first, and one of the right role.
    story
        .says(OPERATOR, &["case", "needs", &case, "--tier", "bypass"])
        .refused("Another person must agree");
    let file = story.file("none");
    story
        .acts(OPERATOR, &case, &["bypass", "issue", "ada", "--file", &file])
        .refused("must agree");
    assert!(
        !std::path::Path::new(&file).exists(),
        "no file where nothing was issued"
    );
    story
        .says(OPERATOR, &["case", "approve", &case, "--tier", "bypass"])
        .refused("");
    story.later(5 * MINUTE);
    story.says(APPROVER, &["case", "show", &case]).done();
    story
        .says(APPROVER, &["case", "approve", &case, "--tier", "bypass"])
        .done();
    story
        .says(OPERATOR, &["case", "needs", &case, "--tier", "bypass"])
        .done()
        .with("This holds for");
    let code = issue(&story, &case, "code", &["--minutes", "60", "--uses", "2"]);
    tries(&story, &code).done().with("uses left: 1");
    story
        .says(APPROVER, &["bypass", "review", &case, "nothing yet"])
        .refused("");

    // It expires, and the case waits for the review.
    story.later(HOUR);
    tries(&story, &code).refused("Not accepted");
    assert_eq!(why(&story, &case).0, "expired");
    close(&story, &case).refused("");
    story.says(APPROVER, &["bypass", "list"]).done();
    story
        .says(OPERATOR, &["bypass", "review", &case, "all is well"])
        .refused("");
    let found = "once at the VPN from the hotel, she confirms it";
    story.says(APPROVER, &["bypass", "review", &case, found]).done();
    close(&story, &case).done();

    // The next one takes a case of its own. It ends when the fob is found.
    let again = abroad(&story);
    story
        .says(APPROVER, &["case", "approve", &again, "--tier", "bypass"])
        .done();
    let code = issue(&story, &again, "code-2", &[]);
    tries(&story, &code).done();
    story.later(4 * HOUR);
    story.note("the fob was in the other coat; she is back and stands at the desk");
    let back = story.opens(OPERATOR, "support", "desk", "ada", "found again");
    believed(&story, &back, "in-person", "passport");
    believed(&story, &back, "call-back", "0351 2718, the number on record");
    story
        .says(APPROVER, &["case", "approve", &back, "--tier", "register"])
        .done();
    story.acts(OPERATOR, &back, &["resume", &token]).done();
    tries(&story, &code).refused("Not accepted");
    assert_eq!(why(&story, &again), ("ended".to_owned(), "found-again".to_owned()));
    story.says(APPROVER, &["bypass", "list"]).done();
    let found = "once from the hotel, once found it ended by itself";
    story.says(APPROVER, &["bypass", "review", &again, found]).done();
    close(&story, &again).done();
    story.says(APPROVER, &["case", "show", &again]).done();
    assert!(!story.log().contains(&code), "a code in the log");
    story.ends().await;
}
