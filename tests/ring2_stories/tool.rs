//! A tool that crashes in the middle of a case. `tests/ring2_cases.rs` has whose a session is and when it ends.

use crate::told::{HELPER, MINUTE, Story};

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_crashes_in_the_middle_of_a_case() {
    let Some(story) = Story::begin("crashed-tool").await else {
        return;
    };
    let (fob, token) = story.fob_of("eve", "F-1", 1);
    let case = story.opens(HELPER, "support", "phone", "eve", "her fob lies in a taxi");
    story
        .says(
            HELPER,
            &[
                "case",
                "evidence",
                &case,
                "call-back",
                "0351 2718, the number on record",
            ],
        )
        .done();
    let mut shell = story.start(HELPER, &["case", "shell", &case], None);
    shell.until("You are in case").await;
    story.typed_in(&format!("suspend {token}"));
    shell.types(&format!("suspend {token}"));
    shell.until("Suspended token").await;
    story.killed(shell);
    // The case is as it was: who begins again goes on.
    story.later(MINUTE);
    story.says(HELPER, &["case", "list"]).done();
    story.says(HELPER, &["case", "show", &case]).done();
    story
        .says(HELPER, &["case", "needs", &case])
        .done()
        .with("This holds for");
    story.acts(HELPER, &case, &["lost", &token]).done();
    let checks = ["--check", "works", "--check", "told"];
    story
        .says(HELPER, &[&["case", "close", &case][..], &checks].concat())
        .done();
    let code = fob.code(story.now());
    story
        .gives(HELPER, &["verify", "eve", "--stdin"], Some((&code, &code)))
        .refused("Not accepted");
    story.ends().await;
}
