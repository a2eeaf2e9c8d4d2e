//! Who cannot be the second person: the one it is about, the same human under a second uid, whoever worked in the case.

use crate::told::{APPROVER, HELPER, OPERATOR, OUTSIDER, Story};

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_the_second_person() {
    let cast = [
        (OPERATOR, "anna"),
        (HELPER, "anna-admin"),
        (APPROVER, "carl"),
        (OUTSIDER, "dora"),
    ];
    let Some(story) = Story::begin_with("second-person", &cast).await else {
        return;
    };
    // The case is about somebody who has an account here and could approve.
    let case = story.opens(OPERATOR, "recovery", "phone", APPROVER.user(), "his key is lost");
    let approve = ["case", "approve", &case, "--tier", "bypass"];
    // The opener; whom it is about; the opener again, under a second uid.
    for who in [OPERATOR, APPROVER, HELPER] {
        story.says(who, &approve).refused("");
        assert!(story.needs(OPERATOR, &case, "bypass").contains(&"approval".to_owned()));
    }
    story.says(OUTSIDER, &approve).refused("access denied");
    story
        .says(APPROVER, &["case", "evidence", &case, "manager", "I vouch for myself"])
        .refused("");

    story.note("another case, about eve; carl works in it himself");
    let case = story.opens(OPERATOR, "recovery", "phone", "eve", "her key is lost");
    story
        .says(APPROVER, &["case", "evidence", &case, "hr", "Mr. Prosser"])
        .done();
    story.says(APPROVER, &["case", "approve", &case]).refused("");
    story.note("a third, in which carl has no part; on second thoughts he says no");
    let case = story.opens(OPERATOR, "recovery", "phone", "eve", "her key is lost");
    story.says(APPROVER, &["case", "approve", &case]).done();
    story
        .says(APPROVER, &["case", "deny", &case, "--remark", "on second thoughts"])
        .done();
    story.says(OPERATOR, &["case", "needs", &case]).refused("another case");
    assert_eq!(story.needs(OPERATOR, &case, "test"), ["another-case"]);
    story.ends().await;
}
