//! An attacker with the right name and birthday.

use crate::told::{APPROVER, HELPER, MINUTE, OPERATOR, Story};

#[tokio::test(flavor = "multi_thread")]
async fn an_attacker_with_the_right_name_and_birthday() {
    let Some(story) = Story::begin("attacker").await else {
        return;
    };
    let (_, token) = story.fob_of("eve", "F-1", 1);
    let case = story.opens(HELPER, "recovery", "phone", "eve", "she says her fob fell into the sea");
    // What can be looked up is no word of ours.
    story
        .says(HELPER, &["case", "evidence", &case, "birthday", "24 May"])
        .ended(2);
    story
        .says(HELPER, &["case", "evidence", &case, "token-test", "she says it worked"])
        .refused("");
    story.acts(HELPER, &case, &["suspend", &token]).refused("weigh");
    story
        .acts(OPERATOR, &case, &["revoke", &token, "--reason", "lost", "--yes"])
        .refused("weigh");
    // Nor does a case of the bench help.
    let bench = story.says(OPERATOR, &["case", "open", "bench"]).done().id_after("Case");
    story
        .acts(OPERATOR, &bench, &["revoke", &token, "--reason", "lost", "--yes"])
        .refused("somebody's");
    story.note("the caller guesses what the fob shows");
    for code in ["314159", "271828", "141421", "173205", "161803"] {
        // Whoever guesses waits.
        story.later(MINUTE);
        story
            .gives(
                HELPER,
                &["--case", &case, "verify", "eve", "--stdin"],
                Some((code, code)),
            )
            .refused("Not accepted");
    }
    crate::host::until("the alarm", || {
        let told = story.unseen(APPROVER, &["alarms"]).done();
        told.said["alarms"][0]["kind"] == "failed-verification"
    })
    .await;
    story.says(APPROVER, &["alarms"]).done().with("failed-verification");
    story
        .says(
            APPROVER,
            &[
                "case",
                "deny",
                &case,
                "--remark",
                "eve is at her desk and knows of nothing",
            ],
        )
        .done();
    story
        .says(
            HELPER,
            &["case", "evidence", &case, "call-back", "a number that the caller gave"],
        )
        .done();
    story.acts(HELPER, &case, &["suspend", &token]).refused("another case");
    crate::host::until("the alarm", || {
        let told = story.unseen(APPROVER, &["alarms"]).done();
        told.said["alarms"].as_array().expect("alarms").len() == 2
    })
    .await;
    story.says(APPROVER, &["alarms"]).done().with("denied-by-approver");
    story
        .says(HELPER, &["case", "close", &case, "--outcome", "refused"])
        .done();
    story.says(HELPER, &["case", "show", &case]).done();
    let state = story.unseen(HELPER, &["show", &token]).done();
    assert_eq!(state.text("state"), "active");
    // The next who calls in her name meets two more eyes.
    let next = story.opens(HELPER, "recovery", "phone", "eve", "she says it was a misunderstanding");
    assert!(story.needs(HELPER, &next, "register").contains(&"approval".to_owned()));
    story.ends().await;
}
