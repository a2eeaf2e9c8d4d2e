//! A drifted fob on the phone.

use crate::told::{DAY, HELPER, MINUTE, Story};

#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_fob_on_the_phone() {
    let Some(story) = Story::begin("drifted-fob").await else {
        return;
    };
    let (fob, token) = story.fob_of("eve", "F-1", 1);
    let (_, other) = story.fob_of("bob", "F-2", 2);
    // Three months later its clock is five minutes ahead.
    story.later(91 * DAY);
    let ahead = 300;
    let code = fob.code(story.now() + ahead);
    story
        .gives(HELPER, &["verify", "eve", "--stdin"], Some((&code, &code)))
        .refused("Not accepted");
    let (first, second) = (fob.code(story.now() + ahead + 30), fob.code(story.now() + ahead + 60));
    let resync = ["resync", &token, &first, &second];
    story.says(HELPER, &resync).refused("case");
    let case = story.opens(HELPER, "support", "phone", "eve", "her codes are refused");
    story.acts(HELPER, &case, &resync).refused("weigh");
    assert_eq!(story.needs(HELPER, &case, "test"), ["weight"]);
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
    assert_eq!(story.needs(HELPER, &case, "test"), [] as [&str; 0]);
    story
        .acts(HELPER, &case, &["suspend", &other])
        .refused("not that person's");
    story.later(MINUTE);
    story.acts(HELPER, &case, &resync).done();
    story.later(MINUTE);
    let code = fob.code(story.now() + ahead);
    story
        .gives(HELPER, &["verify", "eve", "--stdin"], Some((&code, &code)))
        .done();

    // A quarter of an hour later the call-back counts no more.
    story.later(14 * MINUTE);
    story.acts(HELPER, &case, &["suspend", &token]).refused("weigh");
    story.says(HELPER, &["case", "close", &case]).refused("");
    story
        .says(HELPER, &["case", "close", &case, "--check", "works", "--check", "told"])
        .done();
    story.acts(HELPER, &case, &["suspend", &token]).refused("is not open");
    let shown = story.unseen(HELPER, &["case", "show", &case]).done();
    assert_eq!((shown.text("outcome"), shown.text("subject")), ("done", "eve"));
    story.ends().await;
}
