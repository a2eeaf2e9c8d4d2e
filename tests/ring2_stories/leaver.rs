//! Somebody leaves.

use crate::house::token;
use crate::told::{OPERATOR, Story};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_takes_everything_with_them() {
    let Some(story) = Story::begin("leaver").await else {
        return;
    };
    // A key, known elsewhere too, a fob that is lost, and a sheet of recovery codes.
    let key = token("nitrokey-3", "key", 1);
    let plugged = story.plug(&key);
    let bench = story.bench();
    let device = plugged.id().to_string();
    let words = ["--case", &bench, "register", "fido2", "alice", "--device", &device];
    let words = [&words[..], &["--pin-stdin", "--rp-id", "login.example.org"]].concat();
    let key = story.host.claviger(OPERATOR, &words, "4711-key\n").done();
    story.name(key.text("token"), "TOKEN");
    drop(plugged);
    let case = story.unseen(
        OPERATOR,
        &[
            "case",
            "open",
            "support",
            "--channel",
            "desk",
            "--subject",
            "alice",
            "--reason",
            "more",
        ],
    );
    let case = case.done().text("case").to_owned();
    for method in ["in-person", "call-back"] {
        story
            .unseen(OPERATOR, &["case", "evidence", &case, method, "passport"])
            .done();
    }
    let sheet = story.file("sheet");
    let words = ["--case", &case, "register", "recovery-codes", "alice", "--file", &sheet];
    let sheet = story.unseen(OPERATOR, &words).done();
    story.name(sheet.text("token"), "TOKEN");
    let (_, of_bob) = story.fob_of("bob", "F-2", 2);

    story.says(OPERATOR, &["tokens", "--subject", "alice"]).done();
    let case = story.opens(OPERATOR, "leaver", "desk", "alice", "her last day");
    story
        .acts(OPERATOR, &case, &["leaver", "alice", "--yes"])
        .refused("weigh");
    for (method, reference) in [("hr", "Mr. Prosser"), ("manager", "Ms. Dent, called at her desk")] {
        story
            .says(OPERATOR, &["case", "evidence", &case, method, reference])
            .done();
    }
    story
        .says(
            OPERATOR,
            &["case", "evidence", &case, "in-person", "she hands her badge in"],
        )
        .done();
    story
        .acts(OPERATOR, &case, &["leaver", "alice", "--yes"])
        .ended(6)
        .with("login.example.org");
    // Once more there is nothing left.
    story.acts(OPERATOR, &case, &["leaver", "alice", "--yes"]).done();
    story.says(OPERATOR, &["tokens", "--subject", "alice"]).done();
    let owed = story.unseen(OPERATOR, &["obligations"]).done();
    let owed = owed.said["obligations"][0]["id"]
        .as_str()
        .expect("an obligation")
        .to_owned();
    story.name(&owed, "OBLIGATION");
    story.says(OPERATOR, &["obligations"]).done();
    let bobs = story.unseen(OPERATOR, &["show", &of_bob]).done();
    assert_eq!(bobs.text("state"), "active");
    story.ends().await;
}
