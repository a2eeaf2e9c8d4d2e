//! `dbus/*.xml`, read; and arguments made up from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;

use claviger::contract::DEVICES_PATH;
use roxmltree::{Document, Node, ParsingOptions};
use zbus::wire::StructureBuilder;
use zbus::{Fd, ObjectPath, Structure, Variant};

/// A token id that nobody has.
pub const NOBODYS_TOKEN: &str = "019a0000-0000-7000-8000-000000000001";

/// The one case that is open in the world of `desk`.
pub const OPEN_CASE: &str = "019a0000-0000-7000-8000-0000000000ca";

/// One argument: name and type.
pub type Arg = (String, String);

/// One method.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Method {
    pub name: String,
    pub input: Vec<Arg>,
    pub output: Vec<Arg>,
}

/// One interface, without its documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub methods: BTreeSet<Method>,
    pub signals: BTreeMap<String, Vec<Arg>>,
    /// Name to type, access and EmitsChangedSignal (`true` when not annotated).
    pub properties: BTreeMap<String, (String, String, String)>,
    /// The comment before each member, its white space evened out.
    pub documentation: BTreeMap<String, String>,
}

impl Interface {
    fn read(node: Node<'_, '_>) -> Self {
        let mut interface = Self {
            name: attribute(node, "name"),
            ..Self::default()
        };
        let mut comment = String::new();
        for child in node.children() {
            if child.is_comment() {
                comment = words(child.text().unwrap_or_default());
            }
            if !child.is_element() {
                continue;
            }
            let name = attribute(child, "name");
            interface
                .documentation
                .insert(name.clone(), std::mem::take(&mut comment));
            match child.tag_name().name() {
                "method" => {
                    interface.methods.insert(Method {
                        name,
                        input: args(child, |direction| direction != Some("out")),
                        output: args(child, |direction| direction == Some("out")),
                    });
                }
                "signal" => {
                    interface.signals.insert(name, args(child, |_| true));
                }
                "property" => {
                    let emits = child
                        .children()
                        .find(|c| c.attribute("name") == Some("org.freedesktop.DBus.Property.EmitsChangedSignal"))
                        .map_or("true".to_owned(), |c| attribute(c, "value"));
                    let shape = (attribute(child, "type"), attribute(child, "access"), emits);
                    interface.properties.insert(name, shape);
                }
                other => panic!("<{other}> in an interface"),
            }
        }
        interface
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn attribute(node: Node<'_, '_>, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

fn args(node: Node<'_, '_>, wanted: impl Fn(Option<&str>) -> bool) -> Vec<Arg> {
    node.children()
        .filter(|c| c.has_tag_name("arg") && wanted(c.attribute("direction")))
        .map(|c| (attribute(c, "name"), attribute(c, "type")))
        .collect()
}

/// All interfaces of an introspection document's top node.
pub fn parse(xml: &str) -> Vec<Interface> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(xml.trim_start(), options).expect("well-formed XML");
    document
        .root_element()
        .children()
        .filter(|node| node.has_tag_name("interface"))
        .map(Interface::read)
        .collect()
}

/// The contract: our interfaces by name.
pub fn contract() -> BTreeMap<String, Interface> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus");
    std::fs::read_dir(dir)
        .expect("dbus/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "xml"))
        .flat_map(|path| parse(&std::fs::read_to_string(path).expect("a contract file")))
        .map(|interface| (interface.name.clone(), interface))
        .collect()
}

/// A reading end with something in it.
pub fn descriptor(bytes: &[u8]) -> OwnedFd {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, bytes).expect("room in the pipe");
    reader.into()
}

/// Sound arguments for a method, made up from names and types of the contract; `extra` goes into `options` or `filter`.
pub fn arguments(method: &Method, extra: HashMap<String, Variant<'static>>) -> Option<Structure<'static>> {
    if method.input.is_empty() {
        return None;
    }
    let mut extra = Some(extra);
    let mut builder = StructureBuilder::new();
    for (name, signature) in &method.input {
        let value: Variant<'static> = match (name.as_str(), signature.as_str()) {
            ("token" | "obligation", "s") => NOBODYS_TOKEN.into(),
            ("reason", "s") => "lost".into(),
            ("cursor", "s") => "".into(),
            ("by", "s") => "model".into(),
            ("format", "s") => "pskc".into(),
            ("code", "s") => "123456".into(),
            ("credential", "s") => "AAECAw".into(),
            ("fingerprint", "s") => "00ff".into(),
            ("kind", "s") => "support".into(),
            ("channel", "s") => "phone".into(),
            ("method", "s") => "call-back".into(),
            ("outcome", "s") => "withdrawn".into(),
            ("checks", "as") => vec!["told"].into(),
            ("case", "s") => OPEN_CASE.into(),
            (_, "s") => "someone".into(),
            ("limit" | "length", "u") => 10_u32.into(),
            ("operator", "u") => 61_839_u32.into(),
            (_, "b") => true.into(),
            (_, "t") => 0_u64.into(),
            ("codes", "as") => vec!["123456", "654321"].into(),
            ("device", "o") => ObjectPath::try_from(format!("{DEVICES_PATH}/1"))
                .expect("a path")
                .into(),
            (_, "h") => Variant::Fd(Fd::from(descriptor(b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"))),
            ("options" | "filter", "a{sv}") => extra.take().unwrap_or_default().into(),
            (name, signature) => panic!("no example for argument {name} of type {signature}: add one"),
        };
        builder = builder.append_field(value);
    }
    Some(builder.build().expect("a structure"))
}
