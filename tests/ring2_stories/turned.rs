//! An operator who turns bad. `tests/ring2_alarms.rs` has the freeze for wrong codes, and who cannot lift one.

use crate::told::{APPROVER, HELPER, MINUTE, Story};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_turns_bad() {
    let Some(mut story) = Story::begin("operator-turns-bad").await else {
        return;
    };
    let people = ["arthur", "ford", "marvin", "trillian", "zaphod", "agrajag", "fenchurch"];
    let fobs: Vec<_> = (1..)
        .zip(people)
        .map(|(seed, person)| (person, story.fob_of(person, &format!("F-{seed}"), seed).1))
        .collect();
    let (shown, unseen) = fobs.split_at(1);
    for (person, token) in shown {
        let case = story.opens(HELPER, "support", "phone", person, "called in");
        story
            .says(HELPER, &["case", "evidence", &case, "call-back", "0351 0000"])
            .done();
        story.acts(HELPER, &case, &["suspend", token]).done();
    }
    story.note("the same with ford, marvin, trillian and zaphod: nobody was called");
    let begin = |person: &str| {
        let words = ["case", "open", "support", "--channel", "phone", "--subject", person];
        let opened = story.unseen(HELPER, &[&words[..], &["--reason", "called in"]].concat());
        let case = opened.done().text("case").to_owned();
        story
            .unseen(HELPER, &["case", "evidence", &case, "call-back", "0351 0000"])
            .done();
        case
    };
    let (quiet, last) = unseen.split_at(4);
    for (person, token) in quiet {
        let case = begin(person);
        story.unseen(HELPER, &["--case", &case, "suspend", token]).done();
    }
    story.later(10 * MINUTE);
    let [(sixth, of_sixth), (seventh, of_seventh)] = last else {
        panic!("seven people")
    };
    let (case, next) = (begin(sixth), begin(seventh));
    story.name(&case, "CASE");
    story.name(&next, "CASE");
    story.acts(HELPER, &case, &["suspend", of_sixth]).done();
    crate::host::until("the freeze", || {
        let told = story.unseen(APPROVER, &["alarms"]).done();
        told.said["frozen"][0]["operator"] == HELPER.uid()
    })
    .await;
    story.acts(HELPER, &next, &["suspend", of_seventh]).refused("frozen");
    story.says(APPROVER, &["alarms"]).done().with("operator-burst");
    let uid = HELPER.uid().to_string();
    story.says(HELPER, &["thaw", &uid]).refused("another person");
    story.later(60 * MINUTE);
    story.crash();
    story.acts(HELPER, &next, &["suspend", of_seventh]).refused("frozen");
    story.says(HELPER, &["show", of_seventh]).done();
    story.says(APPROVER, &["tokens", "--state", "suspended"]).done();
    story.says(APPROVER, &["thaw", &uid]).done();
    // Evidence has grown old meanwhile; the freeze is gone.
    story.acts(HELPER, &next, &["suspend", of_seventh]).refused("weigh");
    story.ends().await;
}
