//! A clock set back by a day; `kill -9` between approval and act.

use crate::told::{APPROVER, DAY, MINUTE, OPERATOR, Story};

/// A case about ada, who is believed; her fob is suspended.
fn believed(story: &Story, token: &str) -> String {
    let case = story.opens(OPERATOR, "support", "desk", "ada", "she found her fob again");
    for (method, reference) in [
        ("in-person", "passport"),
        ("call-back", "0351 2718, the number on record"),
    ] {
        story
            .says(OPERATOR, &["case", "evidence", &case, method, reference])
            .done();
    }
    story.acts(OPERATOR, &case, &["resume", token]).refused("must agree");
    case
}

fn suspended(story: &Story) -> String {
    let (_, token) = story.fob_of("ada", "F-1", 1);
    let words = ["case", "open", "support", "--channel", "phone", "--subject", "ada"];
    let case = story.unseen(OPERATOR, &[&words[..], &["--reason", "mislaid"]].concat());
    let case = case.done().text("case").to_owned();
    story
        .unseen(OPERATOR, &["case", "evidence", &case, "call-back", "0351 2718"])
        .done();
    story.unseen(OPERATOR, &["--case", &case, "suspend", &token]).done();
    token
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_set_back_by_a_day() {
    let Some(mut story) = Story::begin("clock-set-back").await else {
        return;
    };
    let token = suspended(&story);
    let case = believed(&story, &token);
    story
        .says(APPROVER, &["case", "approve", &case, "--tier", "register"])
        .done();
    story.later(10 * MINUTE);
    // Nothing is taken.
    story.set_clock(-DAY, "somebody sets the clock back by a day");
    story
        .says(OPERATOR, &["case", "needs", &case, "--tier", "register"])
        .done()
        .with("5 minutes");
    story.acts(OPERATOR, &case, &["resume", &token]).done();
    story.acts(OPERATOR, &case, &["suspend", &token]).done();
    // And nothing is given back: what had a quarter of an hour has had it.
    story.later(6 * MINUTE);
    story.acts(OPERATOR, &case, &["resume", &token]).refused("must agree");
    story.set_clock(-DAY, "the clock is set back by another day");
    story.acts(OPERATOR, &case, &["resume", &token]).refused("must agree");
    story.crash();
    story.acts(OPERATOR, &case, &["resume", &token]).refused("must agree");
    assert_eq!(
        story.needs(OPERATOR, &case, "register"),
        ["weight", "classes", "approval"]
    );
    story
        .says(APPROVER, &["case", "show", &case])
        .done()
        .with("no longer counts");
    let state = story.unseen(OPERATOR, &["show", &token]).done();
    assert_eq!(state.text("state"), "suspended");
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_approval_and_act() {
    let Some(mut story) = Story::begin("killed-between").await else {
        return;
    };
    let token = suspended(&story);
    let case = believed(&story, &token);
    story
        .says(APPROVER, &["case", "approve", &case, "--tier", "register"])
        .done();
    story.later(2 * MINUTE);
    story.crash();
    // It is not forgotten, and it holds no longer than it would have.
    story
        .says(OPERATOR, &["case", "needs", &case, "--tier", "register"])
        .done()
        .with("13 minutes");
    story.acts(OPERATOR, &case, &["resume", &token]).done();
    story.acts(OPERATOR, &case, &["suspend", &token]).done();
    story.later(14 * MINUTE);
    story.crash();
    story.acts(OPERATOR, &case, &["resume", &token]).refused("must agree");
    assert_eq!(
        story.needs(OPERATOR, &case, "register"),
        ["weight", "classes", "approval"]
    );
    let checks = ["--check", "works", "--check", "told"];
    story
        .says(OPERATOR, &[&["case", "close", &case][..], &checks].concat())
        .done();
    story.ends().await;
}
