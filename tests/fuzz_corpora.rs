//! The fuzz targets on a stable compiler: every input of their corpora as it is, and seeded mutations of them. A long search is
//! `scripts/fuzz`; this one says that the targets still build and that what was once found stays found.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../fuzz/targets.rs"]
mod targets;

use targets::{TARGETS, Target};

/// Mutations of one run of `make test`; `CLAVIGER_FUZZ_RUNS` asks for more.
const RUNS: u64 = 2_000;
/// No input takes so long, in whatever build.
const LONGEST: Duration = Duration::from_secs(10);

/// A generator of numbers that is the same everywhere (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).expect("64 bits")).expect("below a usize")
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What is committed, and what the shared test data has for this target, each file of it once for every reading; what
/// `scripts/fuzz` has found too, if `CLAVIGER_FUZZ_FOUND` says where (`fuzz/target/found`).
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut inputs = contents(&root.join("fuzz/corpus").join(target.name));
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    if let Some(found) = std::env::var_os("CLAVIGER_FUZZ_FOUND") {
        inputs.extend(contents(&Path::new(&found).join(target.name)));
    }
    let shared = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    for folder in target.data {
        let place = shared.join(folder);
        if !place.is_dir() {
            use std::io::Write;
            let _ = writeln!(
                std::io::stderr(),
                "fuzz corpus of {}: skipped, no test data at {} (CLAVIGER_SHARED_DATA); our own inputs are run",
                target.name,
                place.display()
            );
        }
        let read = if folder.contains("ctap") { recordings } else { contents };
        for file in read(&place) {
            if target.choices.is_empty() {
                inputs.push(file);
                continue;
            }
            inputs.extend(target.choices.iter().map(|choice| [&[*choice], &*file].concat()));
        }
    }
    inputs
}

/// Every file below a folder, in the order of their names.
fn contents(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    files(folder, &mut found);
    found.sort();
    found.iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// The bytes that JSON files tell in hexadecimal.
fn recordings(folder: &Path) -> Vec<Vec<u8>> {
    fn hexadecimal(value: &serde_json::Value, found: &mut Vec<Vec<u8>>) {
        match value {
            serde_json::Value::String(text) => found.extend(data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes())),
            serde_json::Value::Array(items) => items.iter().for_each(|item| hexadecimal(item, found)),
            serde_json::Value::Object(members) => members.values().for_each(|member| hexadecimal(member, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for file in contents(folder) {
        hexadecimal(&serde_json::from_slice(&file).expect("JSON"), &mut found);
    }
    found.retain(|bytes| !bytes.is_empty());
    assert!(
        folder.read_dir().is_err() || !found.is_empty(),
        "{} tells nothing",
        folder.display()
    );
    found
}

/// One to four small changes: a bit, a byte, a cut, a piece doubled, a piece of another input.
fn mutated(corpus: &[Vec<u8>], longest: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut input = corpus[numbers.below(corpus.len())].clone();
    input.truncate(longest);
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len());
        match numbers.below(6) {
            0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            1 if !input.is_empty() => input[at] = u8::try_from(numbers.below(256)).expect("a byte"),
            2 => input.truncate(at),
            3 if !input.is_empty() => {
                let end = (at + 1 + numbers.below(16)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = &corpus[numbers.below(corpus.len())];
                let from = numbers.below(other.len());
                let piece = &other[from..(from + numbers.below(64)).min(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            _ => input.insert(at, [0, 0x7f, 0x80, 0x81, 0x82, 0xff][numbers.below(6)]),
        }
    }
    input.truncate(longest);
    input
}

fn timed(target: &Target, input: &[u8]) {
    let begun = Instant::now();
    (target.run)(input);
    assert!(
        begun.elapsed() < LONGEST,
        "{} took {:?} for {} bytes",
        target.name,
        begun.elapsed(),
        input.len()
    );
}

#[test]
fn every_input_of_every_corpus_is_read_to_its_end() {
    for target in &TARGETS {
        for input in corpus(target) {
            timed(target, &input);
        }
    }
}

#[test]
fn seeded_mutations_of_them_too() {
    let runs = std::env::var("CLAVIGER_FUZZ_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"));
    for target in &TARGETS {
        let corpus = corpus(target);
        let mut numbers = Numbers(0x5eed);
        for _ in 0..runs {
            let input = mutated(&corpus, target.longest, &mut numbers);
            timed(target, &input);
        }
    }
}

/// libFuzzer's binaries are listed twice more: a target that is missing there would never be searched.
#[test]
fn every_target_is_a_fuzzer_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for target in &TARGETS {
        let line = format!("path = \"fuzz_targets/{}.rs\"", target.name);
        assert!(manifest.contains(&line), "{} in fuzz/Cargo.toml", target.name);
        let main = std::fs::read_to_string(root.join("fuzz_targets").join(format!("{}.rs", target.name)));
        assert!(
            main.expect("a fuzz target")
                .contains(&format!("targets::{}(", target.name))
        );
    }
}
