//! Who may see whom: the dependency rules of ARCHITECTURE.md, held against the paths that each file under src/ names.
//!
//! Comments, strings and `#[cfg(test)]` modules are taken out first. A path counts wherever it stands: in a `use` tree, in a
//! type, in an expression.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a room may name of this crate, besides itself and `types`, which all know.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    // Pure: the daemon decides by it and the client may explain it, so it may see neither of them.
    ("authority", &[]),
    ("contract", &[]),
    ("codec", &[]),
    ("link", &[]),
    ("resync", &["codec::oath"]),
    ("trust", &["codec"]),
    ("grant", &[]),
    ("clock", &[]),
    ("hook", &[]),
    ("device", &["codec", "link"]),
    // Who people are: roles by the policy's names, accounts by the host's.
    ("directory", &["authority"]),
    ("ledger", &["grant"]),
    ("guard", &["authority", "grant", "ledger"]),
    (
        "lifecycle",
        &[
            "authority",
            "codec",
            "device",
            "directory",
            "grant",
            "hook",
            "ledger",
            "link::FaceKind",
            "resync",
            "trust",
        ],
    ),
    // The kinds of failure of the rooms below, which it gives their names on the bus; never a device or a link itself.
    (
        "bus",
        &[
            // What a case lacks, which it tells as data.
            "authority::decide",
            // What a code and a seed may be is said there alone.
            "codec::oath",
            "codec::seed",
            // So are the formats of seed files, and what is wrong with one.
            "codec::seed_file",
            "contract",
            "device::DeviceError",
            "grant",
            "guard",
            "ledger",
            "lifecycle",
            "link::Holder",
        ],
    ),
    // It explains, without a daemon, the rules that the daemon would go by.
    ("client", &["authority", "config::Config", "contract", "trust"]),
    (
        "config",
        &[
            "device::Deadlines",
            "directory::ldap",
            "trust::Rules",
            "trust::Section",
            "trust::section",
        ],
    ),
    // The composition root.
    (
        "daemon",
        &[
            "authority",
            "bus",
            "clock",
            "config",
            "device",
            "directory",
            "grant",
            "guard",
            "hook",
            "ledger",
            "lifecycle",
            "link",
            "trust",
        ],
    ),
];

/// Crates that only some may name: a room, or one file of it.
const CRATES: &[(&str, &[&str])] = &[
    ("hidapi", &["link/hid.rs"]),
    ("plotters", &["client/drift_plot.rs"]),
    ("plotters_backend", &["client/drift_plot.rs"]),
    ("noto_sans_mono_bitmap", &["client/drift_plot.rs"]),
    ("pcsc", &["link/card.rs"]),
    ("udev", &["link/hid.rs"]),
    ("ctap_hid_fido2", &["client/second_opinion.rs"]),
    ("psl", &["codec/webauthn/origin.rs"]),
    ("ring", &["trust"]),
    ("ldap3", &["directory/ldap"]),
    ("tokio_rustls", &["directory/ldap"]),
    ("rustls_pki_types", &["trust/chain.rs"]),
    ("webpki", &["trust/chain.rs"]),
    ("x509_parser", &["trust/certificate.rs"]),
    ("rustix", &["daemon.rs", "guard/human/process.rs"]),
    ("sqlx", &["ledger"]),
    ("strsim", &["authority/reader.rs"]),
    (
        "toml",
        &[
            "authority/load.rs",
            "authority/people.rs",
            "authority/reader.rs",
            "config.rs",
        ],
    ),
    ("zbus_polkit", &["guard/polkit.rs"]),
    ("zbus", &["bus", "client", "contract", "daemon.rs", "guard"]),
    (
        "tokio",
        &[
            "bus",
            "client",
            "daemon.rs",
            "daemon",
            "device",
            "directory/ldap",
            "guard",
            "hook.rs",
            "ledger",
            "lifecycle",
        ],
    ),
    ("clap", &["bin", "client", "config.rs", "daemon.rs"]),
    ("rpassword", &["client"]),
    ("sd_notify", &["daemon.rs"]),
    ("libc", &["clock.rs"]),
];

/// Words that only some files may use, outside tests.
const WORDS: &[(&str, &[&str])] = &[
    // The proof comes from the guard alone.
    ("Grant::mint", &["grant.rs", "guard"]),
    // Only the composition root chooses a store.
    ("SqliteLedger", &["ledger", "daemon.rs"]),
    ("unsafe", &["clock.rs"]),
    // No code is accepted by a fitted rate: docs/adr/0005.
    (
        "forecast::",
        &[
            "resync/forecast.rs",
            "resync/jump.rs",
            "lifecycle/drift.rs",
            "bus/drift.rs",
        ],
    ),
];

#[derive(Debug)]
struct Source {
    /// Relative to src/, with `/`.
    name: String,
    /// Without comments, strings and test modules; tests included under their own name.
    code: String,
}

impl Source {
    /// The room: the first part of the path, without `.rs`.
    fn room(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    fn within(&self, places: &[&str]) -> bool {
        places
            .iter()
            .any(|place| self.name == *place || self.name.starts_with(&format!("{place}/")))
    }
}

/// Takes comments, strings and characters out.
fn strip(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while i < chars.len() {
        let before = if i == 0 { ' ' } else { at(i - 1) };
        let word_before = before.is_alphanumeric() || before == '_';
        let end = if at(i) == '/' && at(i + 1) == '/' {
            (i..chars.len()).find(|&j| at(j) == '\n').unwrap_or(chars.len())
        } else if at(i) == '/' && at(i + 1) == '*' {
            block_comment(&chars, i)
        } else if let Some(hashes) = raw_string(&chars, i).filter(|_| !word_before) {
            let close: String = std::iter::once('"').chain("#".repeat(hashes).chars()).collect();
            let start = (i..chars.len()).find(|&j| at(j) == '"').unwrap_or(i) + 1;
            (start..chars.len())
                .find(|&j| chars[j..].iter().take(hashes + 1).copied().eq(close.chars()))
                .map_or(chars.len(), |j| j + hashes + 1)
        } else if at(i) == '"' {
            quoted(&chars, i, '"')
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            // A character, not a lifetime.
            quoted(&chars, i, '\'')
        } else {
            out.push(at(i));
            i += 1;
            continue;
        };
        out.extend((i..end).map(|j| if at(j) == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0_usize, start);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) if depth == 1 => return i + 2,
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

/// The number of hashes when a raw string begins here.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let mut i = start;
    if chars.get(i) == Some(&'b') {
        i += 1;
    }
    if chars.get(i) != Some(&'r') {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(i + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// Takes `#[cfg(test)]` items with a body out. Tests may reach into other rooms to build what they need.
fn without_tests(code: &str) -> String {
    let mut rest = code;
    let mut out = String::new();
    while let Some(start) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let body = item.find('{').unwrap_or(item.len());
        let end = item.find(';').unwrap_or(item.len());
        let skip = if end < body {
            end + 1
        } else {
            let mut depth = 0_usize;
            item.char_indices()
                .find(|(_, c)| {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => return false,
                    }
                    depth == 0
                })
                .map_or(item.len(), |(i, _)| i + 1)
        };
        rest = &item[skip..];
    }
    out + rest
}

/// Every path that begins with `crate::`, use trees spread out: `crate::a::{b, c::{d}}` gives `a::b` and `a::c::d`.
fn crate_paths(code: &str) -> Vec<String> {
    let flat: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let mut paths = Vec::new();
    for (start, _) in flat.match_indices("crate::") {
        let before = flat[..start].chars().next_back();
        // `$crate` is a path of ours, too; a name that ends in “crate” is none. Without white space, `use` sticks to it.
        let glued = flat[..start].ends_with("use") || flat[..start].ends_with("in");
        if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') || glued {
            spread(&flat[start + "crate::".len()..], "", &mut paths);
        }
    }
    paths
}

/// Reads one use tree and gives what is left behind it.
fn spread<'a>(text: &'a str, prefix: &str, paths: &mut Vec<String>) -> &'a str {
    if let Some(mut inner) = text.strip_prefix('{') {
        while !inner.is_empty() && !inner.starts_with('}') {
            inner = spread(inner, prefix, paths);
            inner = inner.strip_prefix(',').unwrap_or(inner);
        }
        return inner.strip_prefix('}').unwrap_or(inner);
    }
    let length = text
        .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    match rest.strip_prefix("::") {
        Some(tail) if !tail.starts_with('<') => spread(tail, &path, paths),
        _ => {
            paths.push(path);
            // What cannot be read must not be read for ever.
            if length == 0 {
                rest.get(1..).unwrap_or_default()
            } else {
                rest
            }
        }
    }
}

/// Whether the code names this crate or word as a whole.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(i, _)| {
        let before = code[..i].chars().next_back();
        let after = code[i + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// Whether a crate is named as a path: `word::…`, `use word;`, and not as the field or module of something else.
fn names_crate(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(i, _)| {
        let before = &code[..i];
        let after = &code[i + word.len()..];
        let path = after.starts_with("::") || (before.ends_with("use ") && after.starts_with([';', ' ']));
        // `nix::libc::…` and `self::udev::…` are parts of something else.
        let inner = before
            .strip_suffix("::")
            .is_some_and(|outer| outer.chars().next_back().is_some_and(part));
        path && !inner && !before.chars().next_back().is_some_and(|c| part(c) || c == '.')
    })
}

/// What is wrong with a file, one sentence each.
fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let name = &source.name;
    let room = source.room();
    // lib.rs says what rooms there are; the two programs call one room each.
    if !matches!(room, "lib" | "bin") {
        match ROOMS.iter().find(|(known, _)| *known == room) {
            None => faults.push(format!(
                "{name}: the room “{room}” is not in the table of tests/rooms.rs"
            )),
            Some((_, allowed)) => {
                let strangers: BTreeSet<String> = crate_paths(&source.code)
                    .into_iter()
                    .filter(|path| {
                        let within = |place: &str| path == place || path.starts_with(&format!("{place}::"));
                        !(within(room) || within("types") || allowed.iter().any(|place| within(place)))
                    })
                    .collect();
                faults.extend(
                    strangers
                        .iter()
                        .map(|path| format!("{name}: {room} may not see crate::{path}")),
                );
            }
        }
    }
    for (krate, places) in CRATES {
        if names_crate(&source.code, krate) && !source.within(places) {
            faults.push(format!("{name}: only {} may name the crate {krate}", places.join(", ")));
        }
    }
    for (word, places) in WORDS {
        if names(&source.code, word) && !source.within(places) {
            faults.push(format!("{name}: only {} may write {word}", places.join(", ")));
        }
    }
    faults
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file of tests: named so, or in a directory named so. `fake.rs` is a device for tests.
fn is_test(name: &str) -> bool {
    name.split('/')
        .any(|part| matches!(part, "tests" | "tests.rs" | "fake.rs") || part.ends_with("_tests.rs"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_room_sees_only_what_it_may() {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let (mut read, mut tests, mut paths, mut wrong) = (0, 0, 0, Vec::new());
    for path in files {
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        if is_test(&name) {
            tests += 1;
            continue;
        }
        let code = without_tests(&strip(&std::fs::read_to_string(&path).unwrap()));
        paths += crate_paths(&code).len();
        wrong.extend(faults(&Source { name, code }));
        read += 1;
    }
    println!("rooms: {read} files read, {paths} paths into the crate; {tests} files of tests left out");
    assert!(
        read > 100 && paths > 300,
        "only {read} files and {paths} paths: the reading is broken"
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_simulators_share_nothing_with_the_daemon() {
    let manifest = std::fs::read_to_string(root().join("hw-fixtures/Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        assert!(
            !table.is_some_and(|table| table.contains_key("claviger")),
            "[{section}] names claviger"
        );
    }
    let mut files = Vec::new();
    rust_files(&root().join("hw-fixtures"), &mut files);
    for path in files {
        let code = strip(&std::fs::read_to_string(&path).unwrap());
        assert!(!names_crate(&code, "claviger"), "{} names claviger", path.display());
        assert!(!code.contains("../src"), "{} reaches into src", path.display());
    }
}

fn found(name: &str, text: &str) -> Vec<String> {
    faults(&Source {
        name: name.to_owned(),
        code: without_tests(&strip(text)),
    })
}

/// A broken rule is found, however it is written.
#[test]
fn breaches_are_found() {
    for (name, text) in [
        ("codec/x.rs", "use crate::link::LinkError;"),
        ("codec/x.rs", "use crate::{types::Secret, link};"),
        ("link/hid.rs", "fn f() -> crate::codec::ctap2::Status { todo }"),
        ("codec/x.rs", "async fn f() { tokio::time::sleep(x).await }"),
        ("resync/x.rs", "use crate::codec::{oath::Code, ykoath};"),
        ("lifecycle/x.rs", "use\n    zbus::Connection;"),
        ("lifecycle/x.rs", "use crate::guard::Guard;"),
        ("lifecycle/x.rs", "let l = SqliteLedger::open();"),
        ("lifecycle/x.rs", "let g = Grant::mint(o, a);"),
        ("guard/x.rs", "use crate::device::registry::Registry;"),
        ("bus/x.rs", "use crate::device::registry::Registry;"),
        ("client/x.rs", "use crate::bus::Verbs;"),
        ("client/x.rs", "use ctap_hid_fido2::FidoKeyHid;"),
        ("link/virtual_.rs", "use hidapi::HidApi;"),
        ("link/hid.rs", "use pcsc;"),
        ("attic.rs", "fn f() {}"),
        ("ledger/x.rs", "const C: char = '\"'; use crate::lifecycle::act;"),
        ("ledger/x.rs", "fn f<'a>(x: &'a str) -> crate::bus::X<'a> { x }"),
    ] {
        assert_eq!(found(name, text).len(), 1, "{name}: {text}: {:?}", found(name, text));
    }
}

#[test]
fn what_is_allowed_or_only_talked_about_is_passed() {
    for (name, text) in [
        (
            "codec/x.rs",
            "//! See [`crate::link`].\n/* crate::bus /* crate::bus */ */ use crate::types::Secret;",
        ),
        (
            "codec/x.rs",
            "const S: &str = \"use crate::link\"; const R: &str = r#\"crate::link \" zbus::\"#;",
        ),
        (
            "codec/x.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests { use crate::link::LinkError; mod m { } }",
        ),
        ("codec/x.rs", "#[cfg(test)]\nmod tests;\nuse crate::codec::cbor;"),
        ("link/card.rs", "use pcsc::Card; let c = '\\''; let b = b'\"';"),
        ("resync/x.rs", "use crate::codec::oath::{Code, Generator};"),
        ("lifecycle/x.rs", "let my_crate = x; self.tokio_like(); config.udev.x"),
        ("bus/error.rs", "use crate::device::DeviceError;"),
        ("ledger/x.rs", "use nix::libc::O_NOFOLLOW;"),
    ] {
        assert_eq!(found(name, text), Vec::<String>::new(), "{name}: {text}");
    }
}
