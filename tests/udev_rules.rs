//! The udev rules are what the table of devices says, in a form that udev reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

const HEAD: &str = r#"# Generated from udev/devices.toml; see there how.
#
# Gives the nodes of security keys to group “claviger”, whose only member is the daemon, and leaves everything else as it is:
# whoever sits at the machine keeps access by “uaccess”.
#
# Why 70: after 60-fido-id.rules, which reads the report descriptor, and before 73-seat-late.rules, which turns the tag
# “uaccess” into an ACL. It sorts before the 70-u2f.rules that some distributions ship: if those give a key to a group of
# their own, theirs holds. Then put the daemon into that group (systemctl edit clavigerd: SupplementaryGroups=).

ACTION=="remove", GOTO="claviger_end"
SUBSYSTEM!="hidraw", GOTO="claviger_end"

# Known by its report descriptor: this covers keys of any maker.
ENV{ID_FIDO_TOKEN}=="1", GOTO="claviger_key"
ENV{ID_SECURITY_TOKEN}=="1", GOTO="claviger_key"

# Where udev can tell, that was the answer. The table below is for a udev that cannot.
TEST=="/usr/lib/udev/fido_id", GOTO="claviger_end"
TEST=="/lib/udev/fido_id", GOTO="claviger_end"

# The same product may be a keyboard, too; that interface has protocol 01 (HID 1.11 section 4.3).
SUBSYSTEMS=="usb", ATTRS{bInterfaceClass}=="03", ATTRS{bInterfaceProtocol}=="00", ENV{.CLAVIGER_PLAIN}="1"
ENV{.CLAVIGER_PLAIN}!="1", GOTO="claviger_end"

"#;

const TAIL: &str = r#"
GOTO="claviger_end"

LABEL="claviger_key"
GROUP="claviger", MODE="0660", TAG+="uaccess"

LABEL="claviger_end"
"#;

/// Products in one line of the rules; a longer line is hard to read.
const IN_A_LINE: usize = 12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    maker: Vec<Maker>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Maker {
    name: String,
    vendor: String,
    /// Id, name, interfaces.
    products: Vec<(String, String, String)>,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("udev").join(name)
}

fn table() -> Table {
    toml::from_str(&std::fs::read_to_string(file("devices.toml")).unwrap()).unwrap()
}

fn generated(table: &Table) -> String {
    let mut rules = HEAD.to_owned();
    for maker in &table.maker {
        writeln!(rules, "# {}", maker.name).unwrap();
        for products in maker.products.chunks(IN_A_LINE) {
            let ids: Vec<&str> = products.iter().map(|(id, ..)| id.as_str()).collect();
            writeln!(
                rules,
                "SUBSYSTEMS==\"usb\", ATTRS{{idVendor}}==\"{}\", ATTRS{{idProduct}}==\"{}\", GOTO=\"claviger_key\"",
                maker.vendor,
                ids.join("|")
            )
            .unwrap();
        }
    }
    rules + TAIL
}

#[test]
fn the_rules_are_generated_from_the_table() {
    let wanted = generated(&table());
    let path = file("70-claviger.rules");
    if std::env::var_os("CLAVIGER_WRITE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == wanted,
        "{} is out of date; CLAVIGER_WRITE=1 cargo test --test udev_rules writes it",
        path.display()
    );
}

#[test]
fn the_table_is_sound() {
    let mut seen = BTreeSet::new();
    let mut last = String::new();
    let mut fido = 0;
    for maker in table().maker {
        assert!(maker.vendor > last, "vendor {} is not in order", maker.vendor);
        assert!(!maker.name.is_empty() && !maker.products.is_empty(), "{}", maker.vendor);
        for (id, name, interfaces) in &maker.products {
            for hex in [id, &maker.vendor] {
                let lower = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
                assert!(
                    hex.len() == 4 && hex.chars().all(lower),
                    "{hex} is not four small hexadecimal digits"
                );
            }
            assert!(!name.is_empty(), "{id} has no name");
            let known = ["ccid", "fido", "otp", "wallet", "webusb"];
            assert!(!interfaces.is_empty(), "{id} has no interface");
            assert!(
                interfaces.split(' ').all(|name| known.contains(&name)),
                "{id}: {interfaces}"
            );
            fido += usize::from(interfaces.split(' ').any(|name| name == "fido"));
            assert!(
                seen.insert(format!("{}:{id}", maker.vendor)),
                "{}:{id} twice",
                maker.vendor
            );
        }
        last = maker.vendor;
    }
    println!("{} products, {fido} of them with a FIDO interface", seen.len());
    assert!(fido > 80, "a table cut short");
}

/// Where other packages list FIDO devices for udev, each of theirs is in our table. Debian 12 has no such list any more: its
/// udev knows keys by their report descriptor.
#[test]
fn what_other_packages_list_is_in_the_table() {
    let ours: BTreeSet<(String, String)> = table()
        .maker
        .into_iter()
        .flat_map(|maker| {
            maker
                .products
                .into_iter()
                .map(move |(id, ..)| (maker.vendor.clone(), id))
        })
        .collect();
    let mut files = 0;
    for path in LISTS.iter().map(Path::new).filter(|path| path.exists()) {
        let listed = ids(&std::fs::read_to_string(path).unwrap());
        println!("{}: {} products", path.display(), listed.len());
        assert!(!listed.is_empty(), "{} was not understood", path.display());
        let unknown: Vec<_> = listed.difference(&ours).collect();
        assert!(unknown.is_empty(), "{} has more: {unknown:?}", path.display());
        files += 1;
    }
    if files == 0 {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("other lists of FIDO devices: skipped, no package here has one\n"),
        );
    }
}

/// Where libfido2 and libu2f put theirs.
const LISTS: &[&str] = &[
    "/etc/udev/rules.d/70-u2f.rules",
    "/lib/udev/rules.d/60-libfido2-u2f.rules",
    "/lib/udev/rules.d/60-u2f.rules",
    "/lib/udev/rules.d/70-u2f.rules",
];

/// Vendor and product of each line that has both; alternatives are parted by “|”.
fn ids(rules: &str) -> BTreeSet<(String, String)> {
    let value = |line: &str, key: &str| -> Option<String> {
        let (_, rest) = line.split_once(key)?;
        Some(rest.split('"').nth(1)?.to_ascii_lowercase())
    };
    let mut found = BTreeSet::new();
    for line in rules.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let (Some(vendor), Some(products)) = (value(line, "{idVendor}"), value(line, "{idProduct}")) {
            found.extend(products.split('|').map(|product| (vendor.clone(), product.to_owned())));
        }
    }
    found
}

#[test]
fn a_list_of_another_form_is_read() {
    let list = "# ATTRS{idVendor}==\"dead\", ATTRS{idProduct}==\"beef\"\n\
                KERNEL==\"hidraw*\", ATTRS{idVendor}==\"1050\", ATTRS{idProduct}==\"0113|011A\", TAG+=\"uaccess\"\n";
    let read: Vec<(String, String)> = ids(list).into_iter().collect();
    let pair = |id: &str| ("1050".to_owned(), id.to_owned());
    assert_eq!(read, [pair("0113"), pair("011a")]);
}

/// Every statement is one that udev knows, every jump has its label further down. `udevadm verify` (systemd 254) says more.
#[test]
fn udev_would_read_the_rules() {
    let rules = std::fs::read_to_string(file("70-claviger.rules")).unwrap();
    let lines: Vec<&str> = rules.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    for (number, line) in lines.iter().enumerate() {
        for statement in line.split(", ") {
            let (key, value) = statement.split_once('"').expect(statement);
            assert!(
                value.ends_with('"') && !value[..value.len() - 1].contains('"'),
                "{line}"
            );
            let name = key
                .trim_end_matches(['=', '!', '+'])
                .split('{')
                .next()
                .unwrap_or_default();
            let known = [
                "ACTION",
                "SUBSYSTEM",
                "SUBSYSTEMS",
                "ENV",
                "ATTRS",
                "TEST",
                "GOTO",
                "LABEL",
                "GROUP",
                "MODE",
                "TAG",
            ];
            assert!(known.contains(&name), "{name} in {line}");
            if let Some(label) = statement.strip_prefix("GOTO=") {
                let target = format!("LABEL={label}");
                assert!(
                    lines[number..].contains(&target.as_str()),
                    "{label} is not further down: {line}"
                );
            }
        }
    }
    let version = Command::new("udevadm").arg("--version").output();
    let version: u32 = version.map_or(0, |output| {
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
    });
    if version < 254 {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("udevadm verify: skipped, it came with udev 254 (here: {version})\n"),
        );
        return;
    }
    let verified = Command::new("udevadm")
        .arg("verify")
        .arg(file("70-claviger.rules"))
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

/// A node of `udevadm test`: what it is called here, its ids, the interface's protocol, whether fido_id knows it.
const NODES: &[(&str, &str, bool, bool)] = &[
    // name, vendor:product:protocol:fido, given with fido_id, given without it
    ("a-key-nobody-listed", "1234:5678:00:1", true, true),
    ("a-listed-key", "1050:0407:00:0", false, true),
    ("its-keyboard", "1050:0407:01:0", false, false),
    ("a-mouse", "046d:c077:02:0", false, false),
];

/// Runs the real udev over the rules, in a mount namespace: with the host's rules, and again without fido_id.
#[test]
fn udev_gives_keys_to_the_daemon_and_nothing_else() {
    let tools = ["udevadm", "umockdev-wrapper", "unshare"];
    let there = |tool: &&str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|d| d.join(tool).exists())
    };
    if !nix::unistd::geteuid().is_root() || !tools.iter().all(there) {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("udev over the rules: skipped, it needs root and {}\n", tools.join(", ")),
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (without_fido_id, script) in [(false, ""), (true, WITHOUT_FIDO_ID)] {
        let arguments = NODES.iter().map(|(name, ids, ..)| format!("{name}:{ids}"));
        let output = Command::new("unshare")
            .args([
                "-m",
                "sh",
                "-euc",
                &format!("{WORLD}{script}exec umockdev-wrapper /usr/bin/python3 \"$BED\" \"$@\""),
                "sh",
            ])
            .args(arguments)
            .env("RULES", file("70-claviger.rules"))
            .env("BED", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/udev.py"))
            .env("SCRATCH", directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("Operation not permitted") {
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("udev over the rules: skipped, no mount namespace here\n"),
            );
            return;
        }
        let answers: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        assert_eq!(answers.len(), NODES.len(), "{said}");
        for (answer, (name, _, with, without)) in answers.iter().zip(NODES) {
            let given = if without_fido_id { *without } else { *with };
            assert_eq!(answer["name"], *name);
            assert_eq!(answer["read"], true, "{answer}");
            assert_eq!(answer["complaints"].as_array().map(Vec::len), Some(0), "{answer}");
            assert_eq!(
                answer["group"].is_string(),
                given,
                "{answer}, without fido_id: {without_fido_id}"
            );
            if given {
                assert_eq!(
                    (answer["mode"].as_str(), answer["uaccess"].as_bool()),
                    (Some("0660"), Some(true)),
                    "{answer}"
                );
            }
        }
    }
}

/// Our rules among the host's, and a group to give nodes to.
const WORLD: &str = r#"
mount --make-rprivate /
mkdir -p /run/udev
mount -t tmpfs none /run/udev
mkdir /run/udev/rules.d
cp "$RULES" /run/udev/rules.d/
{ grep -v '^claviger:' /etc/group; echo claviger:x:64999:; } > "$SCRATCH/group"
mount --bind "$SCRATCH/group" /etc/group
"#;

/// A udev from before systemd 244.
const WITHOUT_FIDO_ID: &str = r#"
mkdir "$SCRATCH/udev"
cp -a /usr/lib/udev/. "$SCRATCH/udev/"
rm -f "$SCRATCH/udev/fido_id" "$SCRATCH/udev/rules.d/60-fido-id.rules"
mount --bind "$SCRATCH/udev" /usr/lib/udev
"#;
