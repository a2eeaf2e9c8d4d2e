//! A phone is replaced.

use std::process::Command;

use hw_fixtures::oath::{Hash, totp};

use crate::told::{HELPER, MINUTE, OPERATOR, Said, Story};

/// An app as the phone knows it.
struct App {
    id: String,
    seed: Vec<u8>,
}

impl App {
    fn code(&self, now: i64) -> String {
        totp(Hash::Sha1, &self.seed, now, 30, 6)
    }

    /// What the phone's camera reads off the picture.
    fn scanned(id: &str, picture: &str) -> Self {
        let read = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(picture).output();
        let uri = String::from_utf8(read.expect("zbarimg (Debian: zbar-tools)").stdout).expect("a URI");
        let secret = uri.split(['?', '&']).find_map(|part| part.strip_prefix("secret="));
        let seed = data_encoding::BASE32_NOPAD.decode(secret.expect("a secret").trim().as_bytes());
        Self {
            id: id.to_owned(),
            seed: seed.expect("base32"),
        }
    }
}

fn test(story: &Story, case: &str, app: &App) -> Said {
    let code = app.code(story.now());
    // Whose seed was drawn shows another code at every run.
    let shown = ["--case", case, "test", &app.id, "--code", &code];
    story.name_code(&code);
    story.says(OPERATOR, &shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_replaced() {
    let Some(mut story) = Story::begin("phone-replaced").await else {
        return;
    };
    let bench = story.bench();
    let picture = story.file("old.png");
    let words = [
        "--case",
        &bench,
        "register",
        "app",
        "alice",
        "--no-code",
        "--png",
        &picture,
    ];
    let old = story.unseen(OPERATOR, &words).done();
    let old = App::scanned(old.text("token"), &picture);
    story.name(&old.id, "TOKEN");
    let code = old.code(story.now());
    story
        .unseen(OPERATOR, &["--case", &bench, "test", &old.id, "--code", &code])
        .done();
    story.later(MINUTE);

    let case = story.opens(OPERATOR, "replacement", "desk", "alice", "a new phone");
    story.acts(OPERATOR, &case, &["replace", &old.id]).refused("weigh");
    for (method, reference) in [
        ("in-person", "passport"),
        ("call-back", "0351 2718, the number on record"),
    ] {
        story
            .says(OPERATOR, &["case", "evidence", &case, method, reference])
            .done();
    }
    story
        .acts(OPERATOR, &case, &["replace", &old.id])
        .done()
        .with("--replaces");
    let picture = story.file("qr.png");
    let words = [
        "register",
        "app",
        "alice",
        "--replaces",
        &old.id,
        "--no-code",
        "--png",
        &picture,
    ];
    let new = story.acts(OPERATOR, &case, &words).done().id_after("app ");
    let new = App::scanned(&new, &picture);

    // Half done is not done, and a crash leaves the old one.
    let checks = ["--check", "works", "--check", "told", "--check", "settled"];
    let close = [&["case", "close", &case][..], &checks].concat();
    story.says(OPERATOR, &close).refused("");
    story.crash();
    story
        .says(HELPER, &["case", "show", &case])
        .done()
        .with("Half replaced");
    test(&story, &case, &old).done();
    story.later(MINUTE);
    test(&story, &case, &new).done().with("is revoked");
    test(&story, &case, &old).refused("revoked");
    story.says(OPERATOR, &close).done();
    let state = |id: &str| story.unseen(OPERATOR, &["show", id]).done();
    assert_eq!(state(&old.id).text("revoke-reason"), "replaced");
    assert_eq!(state(&new.id).text("state"), "active");
    story.ends().await;
}
