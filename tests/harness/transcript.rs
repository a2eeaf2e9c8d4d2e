//! What people typed and read in a story, and the page of the manual it stands on.
//!
//! Whatever differs from one run to the next gets a name: ids by what they are ids of, in the order in which they appear, scratch
//! directories, what is left of a deadline that nobody can set. The rest stands as it was said.
#![allow(dead_code, missing_docs)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, Write as _};

use nix::fcntl::{Flock, FlockArg};

/// The page, and the variable that has it written rather than compared.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manual/stories.md");
const WRITE: &str = "CLAVIGER_WRITE";

/// A transcript as it grows.
pub struct Transcript {
    name: &'static str,
    text: String,
    /// What stands for what; the longest first where one is in another.
    names: Vec<(String, String)>,
}

impl Transcript {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            text: String::new(),
            names: Vec::new(),
        }
    }

    /// From now on this is written for that.
    pub fn call(&mut self, what: &str, by: &str) {
        self.names.push((what.to_owned(), by.to_owned()));
        self.names.sort_by_key(|(what, _)| std::cmp::Reverse(what.len()));
    }

    /// Gives an id a name of its kind: the first is `CASE`, the second `CASE-2`. One that has a name keeps it.
    pub fn number(&mut self, id: &str, kind: &str) {
        if self.names.iter().any(|(what, _)| what == id) {
            return;
        }
        let of_kind = |by: &str| by == kind || by.strip_prefix(kind).is_some_and(|rest| rest.starts_with('-'));
        let is_whole = |what: &str| what.contains('-');
        let earlier = self
            .names
            .iter()
            .filter(|(what, by)| of_kind(by) && is_whole(what))
            .count();
        let name = if earlier == 0 {
            kind.to_owned()
        } else {
            format!("{kind}-{}", earlier + 1)
        };
        self.call(id, &name);
        // As it stands in an object's path.
        self.call(&id.replace('-', ""), &name);
    }

    /// A line of the narrator's: a clock, a crash.
    pub fn note(&mut self, line: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let line = self.plain(line);
        writeln!(self.text, "[{line}]").expect("a text");
    }

    /// What somebody typed; `input` says what they gave it to read.
    pub fn typed(&mut self, who: &str, words: &[&str], input: Option<&str>) {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let input = input.map(|input| format!(" <<< {input}")).unwrap_or_default();
        let line = format!("{who}$ claviger {}{input}", words.join(" "));
        let line = self.plain(&line);
        writeln!(self.text, "{line}").expect("a text");
    }

    /// What the client wrote, and its exit code.
    pub fn read(&mut self, said: &str, code: i32) {
        for (id, kind) in ids(said) {
            self.number(&id, kind);
        }
        let said = self.plain(said);
        for line in said.lines().filter(|line| !passes_by(line)) {
            writeln!(self.text, "{}", counted_down(line.trim_end())).expect("a text");
        }
        if code != 0 {
            writeln!(self.text, "(exit {code})").expect("a text");
        }
    }

    fn plain(&self, text: &str) -> String {
        let mut plain = text.to_owned();
        for (what, by) in &self.names {
            // In a table what stands to the right stays below its head.
            plain = plain.replace(&format!("{what}  "), &format!("{by:0$}  ", what.chars().count()));
            plain = plain.replace(what, by);
        }
        plain
    }

    /// Compares it with the page, or writes it there.
    #[track_caller]
    pub fn stands_in_the_manual(&self) {
        println!("{}", self.text);
        let file = File::options().read(true).write(true).open(PAGE).expect("the page");
        // Stories are told side by side.
        let mut file = Flock::lock(file, FlockArg::LockExclusive).expect("the page to ourselves");
        let mut page = String::new();
        file.read_to_string(&mut page).expect("the page");
        let (before, stood, after) = split(&page, self.name).unwrap_or_else(|| {
            panic!("{PAGE} has no “{}”", marker(self.name));
        });
        if stood == self.text {
            return;
        }
        if std::env::var_os(WRITE).is_some() {
            let page = format!("{before}{}{after}", self.text);
            file.rewind().expect("the page");
            file.set_len(0).expect("the page");
            file.write_all(page.as_bytes()).expect("the page");
            return;
        }
        panic!(
            "“{}” is told otherwise in {PAGE} (-) than it went (+); {WRITE}=1 writes it anew:\n{}",
            self.name,
            difference(stood, &self.text)
        );
    }
}

/// A comment that a reader of the page does not see.
pub fn marker(name: &str) -> String {
    format!("<!-- transcript: {name} -->\n```text\n")
}

/// Names of the transcripts on a page.
pub fn markers(page: &str) -> Vec<&str> {
    let rest = page.split("<!-- transcript: ").skip(1);
    rest.filter_map(|rest| rest.split_once(" -->").map(|(name, _)| name))
        .collect()
}

fn split<'p>(page: &'p str, name: &str) -> Option<(&'p str, &'p str, &'p str)> {
    let marker = marker(name);
    let begins = page.find(&marker)? + marker.len();
    let (before, rest) = page.split_at(begins);
    // An empty one ends where it begins.
    let ends = if rest.starts_with("```") {
        0
    } else {
        rest.find("\n```\n")? + 1
    };
    let (stood, after) = rest.split_at(ends);
    Some((before, stood, after))
}

/// The lines that differ, with some of those around them.
fn difference(old: &str, new: &str) -> String {
    const AROUND: usize = 3;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(old, new)| old == new)
        .count();
    let mut told = String::new();
    let mut tell = |sign: char, lines: &[&str]| {
        for line in lines {
            writeln!(told, "{sign} {line}").expect("a text");
        }
    };
    tell(' ', &old[head.saturating_sub(AROUND)..head]);
    tell('-', &old[head..old.len() - tail]);
    tell('+', &new[head..new.len() - tail]);
    tell(' ', &old[old.len() - tail..(old.len() - tail + AROUND).min(old.len())]);
    told
}

/// Whether a line may or may not be seen, as fast as the machine is: what an operation passes through, a touch that is given at once.
fn passes_by(line: &str) -> bool {
    line.ends_with(" …") || line.starts_with("Touch the ")
}

/// `(7 s left)` without the number.
fn counted_down(line: &str) -> String {
    match line
        .split_once(" s left)")
        .and_then(|(before, after)| Some((before.rsplit_once('(')?, after)))
    {
        Some(((before, seconds), after)) if seconds.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{before}(SECONDS s left){after}")
        }
        _ => line.to_owned(),
    }
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(' ') {
        format!("\"{word}\"")
    } else {
        word.to_owned()
    }
}

/// Ids in a text, each with the kind that the word before it names.
fn ids(text: &str) -> Vec<(String, &'static str)> {
    const LENGTH: usize = 36;
    let is_id = |piece: &[u8]| {
        piece.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(piece) = text.as_bytes().get(at..at + LENGTH) {
        if is_id(piece) {
            let before = text[..at].trim_end().rsplit([' ', '\n']).next().unwrap_or_default();
            let kind = match before {
                "discharge" => "OBLIGATION",
                "Case" | "case" | "--case" => "CASE",
                _ => "TOKEN",
            };
            found.push((String::from_utf8_lossy(piece).into_owned(), kind));
            at += LENGTH;
        } else {
            at += 1;
        }
    }
    found
}
