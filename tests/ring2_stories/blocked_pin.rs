//! A blocked PIN.

use hw_fixtures::{Plugged, Token};

use crate::house::token;
use crate::told::{APPROVER, DAY, HELPER, HOUR, MINUTE, OPERATOR, Said, Story};

const PIN: &str = "4711-key";
const NEW_PIN: &str = "8-new-one";

/// The number of the device that is plugged in.
fn number(plugged: &Plugged) -> String {
    plugged.id().to_string()
}

fn evidence(story: &Story, case: &str) {
    for (method, reference) in [
        ("live-video", "her badge"),
        ("call-back", "0351 2718, the number on record"),
    ] {
        story
            .says(HELPER, &["case", "evidence", case, method, reference])
            .done();
    }
}

fn register(story: &Story, case: &str, device: &str) -> Said {
    let words = ["register", "fido2", "eve", "--device", device, "--pin-stdin"];
    story.gives(
        OPERATOR,
        &[&["--case", case], &words[..]].concat(),
        Some((NEW_PIN, "\"the new PIN\"")),
    )
}

/// Eight wrong ones, three at a plug.
fn block(story: &Story, key: &Token, token: &str) {
    let mut plugged = story.plug(key);
    for tries in 0..8 {
        if tries > 0 && tries % 3 == 0 {
            plugged.unplug();
            plugged = story.plug(key);
        }
        let device = number(&plugged);
        let words = ["fido", "list", &device, "--pin-stdin", "--last-tries"];
        let answer = story.host.claviger(OPERATOR, &words, "not-this-one\n");
        assert_ne!(answer.code, 0, "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_pin() {
    let Some(story) = Story::begin("blocked-pin").await else {
        return;
    };
    let key = token("nitrokey-3", "eves-key", 1);
    // The organisation's key, in her use. It is simulated, so it is evidence of nothing.
    let plugged = story.plug(&key);
    let bench = story.bench();
    let device = number(&plugged);
    let words = ["--case", &bench, "register", "fido2", "eve", "--organisation"];
    let words = [&words[..], &["--device", &device, "--pin-stdin"]].concat();
    let id = story.host.claviger(OPERATOR, &words, &format!("{PIN}\n")).done();
    let id = id.text("token").to_owned();
    story.name(&id, "TOKEN");
    drop(plugged);
    block(&story, &key, &id);

    story.later(MINUTE);
    story.note("eve works in another town; her key was brought to the desk, and is plugged in");
    let plugged = story.plug(&key);
    let device = number(&plugged);
    let case = story.opens(HELPER, "recovery", "video", "eve", "her key takes no PIN any more");
    story
        .says(HELPER, &["fido", "pin", "status", &device])
        .done()
        .with("blocked");
    evidence(&story, &case);
    story
        .gives(
            HELPER,
            &["--case", &case, "test", &id, "--pin-stdin"],
            Some((PIN, "\"her PIN\"")),
        )
        .refused("PIN");

    // Out of use at once; the reset takes another person, and names what dies.
    let bench = story.says(OPERATOR, &["case", "open", "bench"]).done().id_after("Case");
    story
        .says(OPERATOR, &["fido", "reset", &device, "--yes"])
        .refused("case");
    story
        .acts(OPERATOR, &bench, &["fido", "reset", &device, "--yes"])
        .refused("must agree");
    story
        .says(APPROVER, &["case", "approve", &bench, "--tier", "revoke"])
        .done();
    let reset = story.start(OPERATOR, &["--case", &bench, "fido", "reset", &device, "--yes"], None);
    reset.until("Unplug").await;
    plugged.unplug();
    let plugged = story.plug(&key);
    story.heard(reset).done().with("The key is empty");
    let device = number(&plugged);
    story
        .says(HELPER, &["tokens", "--subject", "eve"])
        .done()
        .with("revoked");

    // A reset is no enrolment: whoever is not here waits, whoever agrees.
    story
        .says(HELPER, &["case", "needs", &case, "--tier", "register"])
        .refused("waits before a new token");
    register(&story, &case, &device).refused("waits before a new token");
    story.later(DAY - HOUR);
    evidence(&story, &case);
    assert_eq!(story.needs(HELPER, &case, "register"), ["wait"]);
    // Nor is it over because somebody sets the clock.
    story.set_clock(2 * HOUR, "somebody sets the clock ahead by two hours");
    evidence(&story, &case);
    register(&story, &case, &device).refused("waits before a new token");
    story.set_clock(-2 * HOUR, "and back again");
    // The daemon looks at the clock when it is set; this one is not the kernel's, which would tell it.
    assert!(story.needs(HELPER, &case, "register").contains(&"wait".to_owned()));
    story.later(HOUR);
    evidence(&story, &case);
    register(&story, &case, &device).done();
    let checks = ["--check", "works", "--check", "told", "--check", "settled"];
    story
        .says(HELPER, &[&["case", "close", &case][..], &checks].concat())
        .done();
    story.ends().await;
}
