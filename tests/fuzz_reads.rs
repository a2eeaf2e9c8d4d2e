//! What each fuzz target reads: the files that its answers may depend on, and the versions of the crates they use. `scripts/fuzz` binds
//! its count of runs to the contents of these files, so a list that is short of one would count runs of other code.
//!
//! `CLAVIGER_WRITE=1` writes `fuzz/reads`; else what is there must be what would be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "../fuzz/targets.rs"]
#[allow(dead_code)] // their functions
mod targets;

/// The words of a source file: names, `::`, quoted text, single characters. Comments and characters are left out.
fn words(source: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), source);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first.is_whitespace() {
            first.len_utf8()
        } else if let Some(length) = raw(rest) {
            length
        } else if first == '"' {
            let length = quoted(rest, '"');
            found.push(rest[..length].to_owned());
            length
        } else if first == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            quoted(rest, '\'')
        } else if is_name(first) {
            let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            found.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else {
            found.push(first.to_string());
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of a raw string that stands here.
fn raw(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    inside[hashes..].strip_prefix('"')?;
    let begun = text.len() - inside.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(begun + text[begun..].find(&end)? + end.len())
}

/// The length of what stands between two of `mark`, these included.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A path as it is written, and the name by which the file goes on to call it.
struct Named {
    path: Vec<String>,
    called: String,
}

/// The paths that begin at a word, the groups of a `use` taken apart; and where they end.
fn paths(words: &[String], mut at: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let mut path = before.to_vec();
    loop {
        if word(at) == "{" {
            at += 1;
            while at < words.len() && word(at) != "}" {
                at = if word(at) == "," {
                    at + 1
                } else {
                    paths(words, at, &path, found)
                };
            }
            return at + 1;
        }
        if word(at) != "self" || path.is_empty() {
            path.push(word(at).to_owned());
        }
        at += 1;
        if word(at) == "::" && at + 1 < words.len() {
            at += 1;
            continue;
        }
        let mut called = path.last().cloned().unwrap_or_default();
        if word(at) == "as" && !before.is_empty() || word(at) == "as" && word(at + 2) == ";" {
            called = word(at + 1).to_owned();
            at += 2;
        }
        found.push(Named { path, called });
        return at;
    }
}

/// What one file says that it needs.
#[derive(Default)]
struct Needs {
    /// Paths of names.
    paths: Vec<Named>,
    /// Its modules, and whether they are public.
    modules: Vec<(String, bool)>,
    /// Files that are taken in as they are.
    included: Vec<String>,
}

fn needs(source: &str) -> Needs {
    let words = words(source);
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let mut needs = Needs::default();
    let mut at = 0;
    while at < words.len() {
        let is_test = words[at..].starts_with(&["#", "[", "cfg", "(", "test", ")", "]"].map(str::to_owned));
        if is_test {
            // To the end of what is marked so: a semicolon, or a block.
            at += 7;
            while at < words.len() && word(at) != ";" && word(at) != "{" {
                at += 1;
            }
            let mut depth = 0_usize;
            while at < words.len() {
                match word(at) {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            continue;
        }
        match word(at) {
            "mod" if word(at + 2) == ";" => {
                let is_public = at > 0 && word(at - 1) == "pub";
                needs.modules.push((word(at + 1).to_owned(), is_public));
            }
            "include_bytes" | "include_str" if word(at + 1) == "!" => {
                needs.included.push(word(at + 3).trim_matches('"').to_owned());
            }
            _ => {}
        }
        let begins = word(at).starts_with(|c: char| c.is_alphabetic()) && word(at + 1) == "::";
        if begins && (at == 0 || word(at - 1) != "::") {
            at = paths(&words, at, &[], &mut needs.paths).max(at + 1);
        } else {
            at += 1;
        }
    }
    needs
}

/// The file of a module of Claviger's, if there is one.
fn file_of(module: &[String]) -> Option<PathBuf> {
    let stem = Path::new("src").join(module.join("/"));
    [stem.with_extension("rs"), stem.join("mod.rs")]
        .into_iter()
        .find(|path| !module.is_empty() && root().join(path).is_file())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files and crates.
#[derive(Default)]
struct Reads {
    files: BTreeSet<PathBuf>,
    crates: BTreeSet<String>,
}

impl Reads {
    /// A module of Claviger's with what it names. Its private modules belong to it, since nobody else could name them; public ones are
    /// read where they are named.
    fn module(&mut self, module: &[String]) {
        let path = file_of(module).unwrap_or_else(|| panic!("no module {}", module.join("::")));
        if !self.files.insert(path.clone()) {
            return;
        }
        let needs = needs(&std::fs::read_to_string(root().join(&path)).expect("a module"));
        for (child, _) in needs.modules.iter().filter(|(_, is_public)| !is_public) {
            self.module(&[module, &[child.clone()]].concat());
        }
        for file in &needs.included {
            self.files.insert(path.with_file_name(file));
        }
        let rooted = |path: &[String]| -> Option<Vec<String>> {
            let (first, rest) = path.split_first()?;
            match first.as_str() {
                "crate" => Some(rest.to_vec()),
                "self" => Some([module, rest].concat()),
                "super" => {
                    let up = path.iter().take_while(|word| *word == "super").count();
                    Some([&module[..module.len() - up], &path[up..]].concat())
                }
                _ if needs.modules.iter().any(|(child, _)| child == first) => Some([module, path].concat()),
                _ => None,
            }
        };
        self.paths(&needs.paths, &rooted);
    }

    /// Paths of one file. `rooted` tells what a path is from the crate's root, or that it is none of Claviger's.
    fn paths(&mut self, paths: &[Named], rooted: &dyn Fn(&[String]) -> Option<Vec<String>>) {
        // Modules that the file calls by a name of their own.
        let mut called: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for named in paths {
            let path = rooted(&named.path).filter(|path| file_of(path).is_some());
            called.extend(path.map(|path| (named.called.as_str(), path)));
        }
        for named in paths {
            let (first, rest) = named.path.split_first().expect("a word");
            if let Some(path) = rooted(&named.path) {
                self.named(&path);
            } else if let Some(module) = called.get(first.as_str()) {
                self.named(&[module, rest].concat());
            } else {
                self.crates.insert(first.clone());
            }
        }
    }

    /// What a path from the crate's root names: the longest part of it that is a module.
    fn named(&mut self, path: &[String]) {
        let longest = (1..=path.len())
            .rev()
            .find(|length| file_of(&path[..*length]).is_some());
        let longest = longest.unwrap_or_else(|| panic!("{} is in no module", path.join("::")));
        self.module(&path[..longest]);
    }

    /// A file of the targets.
    fn target(&mut self, path: &Path) {
        if !self.files.insert(path.to_owned()) {
            return;
        }
        let needs = needs(&std::fs::read_to_string(root().join(path)).expect("a target"));
        for file in &needs.included {
            self.files.insert(path.with_file_name(file));
        }
        for named in needs.paths.iter().filter(|named| named.path[0] == "super") {
            self.target(&Path::new("fuzz/targets").join(&named.path[1]).with_extension("rs"));
        }
        let rooted = |path: &[String]| (path[0] == "claviger").then(|| path[1..].to_vec());
        self.paths(&needs.paths, &rooted);
    }
}

/// Of every package in `Cargo.lock`: its versions, and what it depends on.
fn packages() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    let mut all: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let member = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let needed = package.lines().filter_map(|line| line.trim().strip_prefix('"'));
        let needed = needed.map(|line| line.split(['"', ' ']).next().unwrap_or_default().to_owned());
        let (versions, dependencies) = all.entry(member("name = ")).or_default();
        versions.insert(member("version = "));
        dependencies.extend(needed);
    }
    all
}

/// The list of a target: files, then crates with all that they depend on. A crate of which there are several versions is listed with each.
fn list(target: &str) -> String {
    let main = std::fs::read_to_string(root().join("fuzz/targets.rs")).expect("the targets");
    let exported = main.lines().find_map(|line| {
        let (file, names) = line.strip_prefix("pub use ")?.split_once("::")?;
        let names = names.trim_end_matches(';').trim_matches(['{', '}']);
        names.split(", ").any(|name| name == target).then(|| file.to_owned())
    });
    let file = exported.unwrap_or_else(|| panic!("{target} is exported by no line of fuzz/targets.rs"));
    let mut reads = Reads::default();
    reads.target(&Path::new("fuzz/targets").join(file).with_extension("rs"));
    reads.files.insert(format!("fuzz/fuzz_targets/{target}.rs").into());
    let packages = packages();
    // What the packages of Claviger's own manifest are called in its sources.
    let (_, direct) = &packages["claviger"];
    let mut left: Vec<&String> = direct
        .iter()
        .filter(|name| {
            reads.crates.contains(&name.replace('-', "_"))
                || name.trim_start_matches("rustls-") == "webpki" && reads.crates.contains("webpki")
        })
        .collect();
    let mut used = BTreeSet::new();
    while let Some(name) = left.pop() {
        if used.insert(name) {
            left.extend(packages.get(name).into_iter().flat_map(|(_, needed)| needed));
        }
    }
    let files = reads.files.iter().map(|path| path.display().to_string());
    let crates = used.into_iter().flat_map(|name| {
        let versions = packages.get(name).into_iter().flat_map(|(versions, _)| versions);
        versions.map(move |version| format!("crate {name} {version}"))
    });
    files.chain(crates).map(|line| line + "\n").collect()
}

#[test]
fn each_target_lists_what_it_reads() {
    for target in &targets::TARGETS {
        let (path, list) = (root().join("fuzz/reads").join(target.name), list(target.name));
        if std::env::var_os("CLAVIGER_WRITE").is_some() {
            std::fs::create_dir_all(root().join("fuzz/reads")).expect("a folder");
            std::fs::write(&path, &list).expect("a list");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(there, list, "{}: CLAVIGER_WRITE=1 writes it", path.display());
    }
}

#[test]
fn what_is_read_is_found_wherever_it_is_named() {
    let source = r##"
        use crate::a::{b, c::{self, d}, e as f};
        #[cfg(test)]
        mod tests;
        #[cfg(test)]
        mod more { use crate::left::out; }
        pub mod open;
        mod shut;
        const TEXT: &str = r#"crate::not::this"#; // nor crate::this
        const MARK: char = '"';
        fn g<'a>(x: &'a super::h::I) -> &'a [u8] { self::shut::k(); include_bytes!("l.der") }
    "##;
    let needs = needs(source);
    let paths: Vec<String> = needs.paths.iter().map(|named| named.path.join("::")).collect();
    assert_eq!(
        paths,
        [
            "crate::a::b",
            "crate::a::c",
            "crate::a::c::d",
            "crate::a::e",
            "super::h::I",
            "self::shut::k"
        ]
    );
    assert_eq!(needs.modules, [("open".to_owned(), true), ("shut".to_owned(), false)]);
    assert_eq!(needs.included, ["l.der"]);
    assert_eq!(needs.paths[3].called, "f");
    let seeds = list("pskc");
    for part in [
        "src/codec/pskc/unlock.rs",
        "src/codec/delivery.rs",
        "src/types.rs",
        "fuzz/targets/seed_files.rs",
        "crate aes ",
    ] {
        assert!(seeds.contains(part), "{part}");
    }
    assert!(!seeds.contains("src/device") && !seeds.contains("tests"), "{seeds}");
    // Named by way of a module that was imported.
    assert!(list("ctap2").contains("src/codec/u2f/ctap2.rs"));
    assert!(list("nfc_key").contains("src/device/ctap_card.rs"));
}
