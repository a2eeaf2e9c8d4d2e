//! Ring 1: what a person types at the shipped client, on a pseudo-terminal, with the shipped daemon behind it.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[allow(dead_code, missing_docs)]
#[path = "harness/seat.rs"]
mod seat;
#[path = "harness/shim.rs"]
mod shim;

use std::path::Path;
use std::process::Command;

use house::{Figures, House};
use hw_fixtures::oath::{Hash, totp};
use seat::Seat;
use shim::Shim;

/// A second in the middle of a step.
const NOON: i64 = 1_800_000_015;
const WRONG: &str = "000000";

async fn house_with_a_clock() -> (House, Shim) {
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &Figures::default()).await;
    let shim = Shim::into(&mut house);
    shim.set_clock(NOON);
    house.restart().await;
    (house, shim)
}

/// What stands between the last two of these words.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let rest = text.rsplit_once(from).expect("its beginning").1;
    rest.split_once(to).expect("its end").0
}

/// The half blocks of a terminal as a bitmap, eight pixels a module. `dark` is the ink's grey and `light` the paper's.
fn bitmap(screen: &str, file: &Path, dark: u8, light: u8) {
    let rows: Vec<Vec<char>> = screen
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("\x1b[30;107m")?.strip_suffix("\x1b[0m"))
        .map(|line| line.chars().collect())
        .collect();
    let width = rows[0].len() * 8;
    let mut pixels = format!("P5 {width} {} 255\n", rows.len() * 16).into_bytes();
    for row in &rows {
        for half in [['█', '▀'], ['█', '▄']] {
            for _ in 0..8 {
                for module in row {
                    let ink = if half.contains(module) { dark } else { light };
                    pixels.extend([ink; 8]);
                }
            }
        }
    }
    std::fs::write(file, pixels).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_registered_at_the_terminal() {
    let (house, _shim) = house_with_a_clock().await;
    let mut seat = Seat::take_wide(
        100,
        &["register", "app", "carol"],
        &[("CLAVIGER_BUS", house.bus().address()), ("NO_COLOR", "1")],
    );
    let screen = seat.expect("To type it instead: ");
    let pairing = seat.expect("\r\n").replace(' ', "");
    let secret = pairing.trim();
    // What the terminal shows is read by a program that has seen neither of ours.
    if Command::new("zbarimg").arg("--version").output().is_ok() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("screen.pgm");
        // Pure black on pure white, and the greys that terminals take for them.
        for (dark, light) in [(0, 255), (46, 211)] {
            bitmap(&screen, &file, dark, light);
            let read = Command::new("zbarimg").args(["--quiet", "--raw"]).arg(&file).output();
            let read = String::from_utf8(read.expect("run").stdout).expect("text");
            assert!(read.contains(&format!("secret={secret}&")), "{read}");
        }
    } else {
        eprintln!("skipped: reading the terminal by zbarimg, which is not installed");
    }
    seat.expect("Type the code the app shows now: ");
    seat.type_in(&format!("{WRONG}\r"));
    seat.expect("Try the next code.");
    seat.expect("Type the code the app shows now: ");
    let seed = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
    seat.type_in(&format!("{}\r", totp(Hash::Sha1, &seed, NOON, 30, 6)));
    let end = seat.expect("its first code passed");
    assert_eq!(seat.exit_code(), Some(0));
    assert!(!end.contains(secret));
    assert_eq!(
        house.state_of(between(&end, "Registered app ", " for carol")).await,
        "active"
    );
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_whose_first_code_never_comes_is_named_and_pending() {
    let (house, _shim) = house_with_a_clock().await;
    let mut seat = Seat::take_wide(
        30,
        &["register", "app", "carol"],
        &[("CLAVIGER_BUS", house.bus().address())],
    );
    // Too narrow: a picture that wraps cannot be read.
    let screen = seat.expect("To type it instead: ");
    assert!(screen.contains("columns and this terminal has fewer"), "{screen}");
    seat.expect("Type the code the app shows now: ");
    // Ctrl-C.
    seat.type_in("\x03");
    let end = seat.expect("passes.");
    let token = between(&end, "registered as ", " and pending").to_owned();
    assert_eq!(seat.exit_code(), Some(5));
    assert_eq!(house.state_of(&token).await, "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_that_could_not_be_handed_out() {
    let (house, _shim) = house_with_a_clock().await;
    let address = house.bus().address();
    let dir = tempfile::tempdir().expect("a directory");
    let there = dir.path().join("there");
    std::fs::write(&there, "somebody's").expect("written");
    let there = there.to_str().expect("text");
    for args in [
        ["register", "app", "carol", "--png", there],
        ["register", "app", "carol", "--svg", "/nowhere/at/all"],
        ["register", "recovery-codes", "carol", "--file", there],
    ] {
        let mut seat = Seat::take(address, &args);
        seat.expect("cannot write");
        assert_ne!(seat.exit_code(), Some(0));
    }
    // Without a terminal: nobody would see the picture.
    let alone = Command::new("setsid")
        .args(["--wait", env!("CARGO_BIN_EXE_claviger"), "register", "app", "carol"])
        .env("CLAVIGER_BUS", address)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("run");
    assert_eq!(
        alone.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&alone.stderr)
    );
    assert!(house.all().await.is_empty(), "something was made");
    assert_eq!(std::fs::read(there).expect("there"), b"somebody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_of_recovery_codes_is_shown_once() {
    let (house, _shim) = house_with_a_clock().await;
    let mut seat = Seat::take(house.bus().address(), &["register", "recovery-codes", "carol"]);
    let screen = seat.expect("each is good once.");
    assert_eq!(seat.exit_code(), Some(0));
    let token = between(&screen, "Made recovery codes ", " for carol");
    assert_eq!(house.state_of(token).await, "active");
    assert!(
        screen.lines().filter(|line| line.matches('-').count() >= 2).count() >= 10,
        "{screen}"
    );
}
