//! The manual says what the code does: every key, every verb and exit code, every file it points to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use claviger::config::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// First and last cell of each row of all tables whose header begins with `head`, without the back quotes.
fn table(page: &str, head: &str) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    let mut inside = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            inside = false;
        } else if cells[0] == head {
            inside = true;
        } else if inside && !cells[0].starts_with("---") {
            let first = cells[0].trim_matches('`').to_owned();
            assert!(
                rows.insert(first, cells[cells.len() - 1].to_owned()).is_none(),
                "{line} twice"
            );
        }
    }
    assert!(!rows.is_empty(), "no table with the header “{head}”");
    rows
}

/// What the daemon would accept instead of a key that does not exist.
fn accepted(toml: &str) -> Option<Vec<String>> {
    let error = toml::from_str::<Config>(toml).unwrap_err().to_string();
    let (_, expected) = error.split_once("unknown field `no-such-key`, expected ")?;
    Some(expected.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Every key there is, `table.key`, asked of the parser itself.
fn keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for name in accepted("no-such-key = 1").expect("the parser names what it expects") {
        match accepted(&format!("[{name}]\nno-such-key = 1")) {
            None => {
                keys.insert(name);
            }
            Some(inner) => keys.extend(inner.iter().map(|key| format!("{name}.{key}"))),
        }
    }
    keys
}

#[test]
fn every_key_of_the_configuration_is_explained() {
    let page = read("docs/manual/configuration.md");
    let keys = keys();
    println!("{} keys", keys.len());
    assert!(keys.contains("mode") && keys.contains("deadlines.touch"), "{keys:?}");
    assert_eq!(table(&page, "key").into_keys().collect::<BTreeSet<_>>(), keys);
}

#[test]
fn the_defaults_in_the_manual_are_the_defaults() {
    let page = read("docs/manual/configuration.md");
    let block = page
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a block of TOML");
    let written: Config = toml::from_str(block).expect("valid TOML");
    assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
    // Every key stands there, if only as a comment; and what is commented out is valid, too.
    let everything = block.replace("\n# ", "\n");
    let config: toml::Table = toml::from_str(&everything).expect("valid TOML");
    let _: Config = toml::from_str(&everything).expect("the comments are keys");
    let mut shown = BTreeSet::new();
    for (name, value) in config {
        match value {
            toml::Value::Table(inner) => shown.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            _ => {
                shown.insert(name);
            }
        }
    }
    assert_eq!(shown, keys());
}

#[test]
fn every_verb_and_exit_code_is_told() {
    let page = read("docs/manual/help-desk.md");
    let help = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let part = |head: &str| {
        let lines = help.lines().skip_while(|line| *line != head).skip(1);
        lines
            .take_while(|line| !line.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let first = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
    let verbs: BTreeSet<String> = part("Commands:")
        .iter()
        .filter(|line| !line.starts_with("   "))
        .map(first)
        .collect();
    let told: BTreeSet<String> = table(&page, "verb").into_keys().chain(["help".to_owned()]).collect();
    assert_eq!(told, verbs);
    let codes: BTreeSet<String> = part("Exit codes:")
        .iter()
        .filter(|line| !line.starts_with("   "))
        .map(first)
        .collect();
    assert_eq!(table(&page, "code").into_keys().collect::<BTreeSet<_>>(), codes);
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for directory in ["", "docs", "docs/manual", "docs/adr"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Links, and paths in back quotes that begin with a directory of ours.
#[test]
fn what_the_pages_point_to_is_there() {
    let ours = [
        "src/",
        "docs/",
        "tests/",
        "systemd/",
        "udev/",
        "polkit/",
        "dbus/",
        "hw-fixtures/",
        "examples/",
        "mk/",
    ];
    let mut seen = 0;
    let mut broken = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let mut targets: Vec<PathBuf> = Vec::new();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.contains("://") && !link.starts_with('#') {
                let file = link.split('#').next().unwrap_or_default();
                targets.push(page.parent().unwrap().join(file));
            }
        }
        for word in text.split('`').skip(1).step_by(2) {
            // A pattern stands for many files.
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
            if ours.iter().any(|directory| word.starts_with(directory)) && word.chars().all(plain) {
                targets.push(root().join(word));
            }
        }
        seen += targets.len();
        let missing = targets.into_iter().filter(|target| !target.exists());
        broken.extend(missing.map(|target| format!("{}: {}", page.display(), target.display())));
    }
    println!("{seen} references");
    assert!(seen > 50, "only {seen} references: the reading is broken");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn the_readme_opens_with_what_to_type() {
    let readme = read("README.md");
    let commands: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != "```sh")
        .skip(1)
        .take(2)
        .collect();
    assert!(
        readme
            .lines()
            .position(|line| line == "```sh")
            .is_some_and(|line| line < 4)
    );
    assert!(
        commands[0].starts_with("make demo") && commands[1].starts_with("make test"),
        "{commands:?}"
    );
}

/// Whether a licence expression can be met from the allowed ones: `A OR B`, `A AND (B OR C)`, and the old `A/B`.
fn met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace(" WITH ", "+WITH+");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
        let mut good = all(words, at, allowed);
        while words.get(*at) == Some(&"OR") {
            *at += 1;
            good |= all(words, at, allowed);
        }
        good
    }
    fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
        let mut good = one(words, at, allowed);
        while words.get(*at) == Some(&"AND") {
            *at += 1;
            good &= one(words, at, allowed);
        }
        good
    }
    fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
        let word = words.get(*at).copied().unwrap_or_default();
        *at += 1;
        if word != "(" {
            return allowed.contains(word);
        }
        let good = any(words, at, allowed);
        *at += 1;
        good
    }
    any(&words, &mut 0, allowed)
}

/// What `cargo deny check licenses` asks, for machines without it.
#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let deny: toml::Table = toml::from_str(&read("deny.toml")).unwrap();
    let allowed: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect();
    assert!(met("(MIT OR GPL-3.0) AND ISC", &allowed) && !met("GPL-3.0 AND MIT", &allowed) && !met("", &allowed));
    let cargo = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .output()
        .unwrap();
    if !cargo.status.success() {
        println!(
            "licences: skipped, cargo metadata needs the registry: {}",
            String::from_utf8_lossy(&cargo.stderr)
        );
        return;
    }
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    println!("{} packages", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(met(licence, &allowed), "{} is licensed “{licence}”", package["name"]);
    }
}

/// Every event that the verbs write is explained, and nothing is explained that is not written.
#[test]
fn every_event_of_the_journal_is_documented() {
    fn literals(directory: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                literals(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(text.split('"').filter(|word| is_event(word)).map(str::to_owned));
        }
    }
    fn is_event(word: &str) -> bool {
        word.split_once('.').is_some_and(|(thing, what)| {
            ["token", "test", "resync", "obligation", "operation"].contains(&thing)
                && !what.is_empty()
                && what.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        })
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = std::collections::BTreeSet::new();
    literals(&root.join("src/lifecycle"), &mut written);
    let page = std::fs::read_to_string(root.join("docs/journal.md")).unwrap();
    let table = page.split("## Events").nth(1).unwrap().split("\n## ").next().unwrap();
    let explained = table
        .split('`')
        .filter(|word| is_event(word))
        .map(str::to_owned)
        .collect();
    assert_eq!(written, explained);
}
