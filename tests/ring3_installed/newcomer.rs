//! The newcomer's page, followed to the letter: its lines are typed into a terminal of a fresh system, and nothing else but what it
//! says to answer.

use std::time::{Duration, Instant};

use super::machine::Machine;

const PAGE: &str = include_str!("../../docs/manual/newcomer.md");

/// Who follows it.
const NEWCOMER: &str = "nora";
const PROMPT: &str = "nora-types$ ";

/// How fast somebody types who does not type much: 32 words of five letters a minute.
const LETTERS_A_MINUTE: usize = 160;
const AT_MOST: Duration = Duration::from_secs(5 * 60);

/// The lines of its blocks of shell.
fn lines() -> Vec<&'static str> {
    PAGE.split("```sh\n")
        .skip(1)
        .flat_map(|rest| rest.split("```").next().unwrap_or_default().lines())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The PIN that the page says to choose.
fn pin() -> &'static str {
    let (_, rest) = PAGE.split_once("Here it is `").expect("a PIN in the page");
    rest.split('`').next().expect("its end")
}

#[test]
fn the_newcomers_page_works_as_it_stands() {
    let Some(machine) = Machine::boot() else { return };
    machine
        .sh(&format!(
            "useradd --create-home --shell /bin/bash {NEWCOMER} && echo '{NEWCOMER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{NEWCOMER}"
        ))
        .done();
    machine.take_packages(&format!("/home/{NEWCOMER}"));
    let shell = format!("cd && PS1='{PROMPT}' exec bash --noprofile --norc -i");
    let mut terminal = machine.terminal(NEWCOMER, &["bash", "-c", &shell]);
    terminal.expect(PROMPT);

    let begun = Instant::now();
    let mut typed = 0;
    let mut answers = 0;
    for line in lines() {
        // Plugging in and being seen are two things: a person looks again.
        if line == "sudo claviger devices" {
            machine.until("the key", |machine| {
                machine.ask("claviger devices").out.contains("ready, virtual")
            });
        }
        terminal.type_in(&format!("{line}\n"));
        typed += line.len() + 1;
        loop {
            let (which, screen) =
                terminal.expect_one(&[PROMPT, "characters: ", "again: ", "PIN of the key: ", "Type “yes”: "]);
            assert!(!screen.contains("claviger: "), "{line}: {screen}");
            let answer = match which {
                0 => break,
                4 => "yes",
                _ => pin(),
            };
            // rpassword turns the echo off after it has asked, and throws away what was typed before.
            std::thread::sleep(Duration::from_millis(300));
            terminal.type_in(&format!("{answer}\n"));
            typed += answer.len() + 1;
            answers += 1;
        }
        terminal.type_in("echo status $?\n");
        terminal.expect("status $?");
        let (_, screen) = terminal.expect_one(&[PROMPT]);
        assert!(screen.contains("status 0"), "{line}: {screen}");
    }
    let took = begun.elapsed();
    let by_hand = Duration::from_secs((typed * 60 / LETTERS_A_MINUTE) as u64);
    println!(
        "{} lines and {answers} answers, {typed} letters: {} s to type, {} s to run",
        lines().len(),
        by_hand.as_secs(),
        took.as_secs()
    );
    assert!(lines().len() >= 8 && answers >= 4, "the page was not understood");
    // The machine's clock ran while the lines were typed at once: both together are what a person needs.
    assert!(by_hand + took < AT_MOST, "{typed} letters and {took:?}");

    // What the page says came of it.
    let tokens = machine.sh("claviger --json tokens").done().json();
    assert_eq!(tokens["tokens"][0]["subject"], "alice", "{tokens}");
    assert_eq!(tokens["tokens"][0]["state"], "revoked", "{tokens}");
    assert_eq!(tokens["tokens"][0]["reality"], "virtual", "{tokens}");
}
