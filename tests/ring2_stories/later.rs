//! “Activate later” until it runs out.

use crate::told::{DAY, HELPER, OPERATOR, Story};

#[tokio::test(flavor = "multi_thread")]
async fn activate_later_until_it_runs_out() {
    let subject = "arthur@example.org";
    let subjects = format!(
        "form = 1\n[[subject]]\nname = {subject:?}\nrole = \"staff\"\ncontact = \"mailto:{subject}\"\ncontact-verified = 2026-11-02\n"
    );
    let Some(mut story) = Story::begin_about("activate-later", &subjects).await else {
        return;
    };
    story.says(HELPER, &["subjects", subject]).done();
    story.says(HELPER, &["defer", subject]).done().with("1 more time");
    story.later(DAY);
    // What was said stays said.
    story.crash();
    story.says(HELPER, &["defer", subject]).done().with("no more");
    story.later(DAY);
    story.says(HELPER, &["defer", subject]).refused("cannot be said");
    story.says(OPERATOR, &["coverage"]).done();
    story.note("they get a fob at the bench");
    story.fob_of(subject, "F-1", 1);
    story.says(HELPER, &["subjects", subject]).done();
    story.says(HELPER, &["defer", subject]).refused("");
    story.ends().await;
}
