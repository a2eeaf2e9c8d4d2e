//! What a file is made of, counted before it is parsed. The parser holds the whole tree and compares the attributes of an element
//! with each other, so that a hostile file of a permitted size could still cost gigabytes or hours.

use super::PskcError;

/// Most nodes of a tree: ten times what 100,000 packages with every element need is not reached by 64 MiB of sense.
pub const MAX_NODES: u32 = 12_000_000;
/// Deepest nesting; RFC 6030's own is 9.
const MAX_DEPTH: usize = 32;
/// Most attributes of one element; RFC 6030 knows elements with 6.
const MAX_ATTRIBUTES: u32 = 24;
/// Most namespaces in scope.
const MAX_NAMESPACES: u32 = 48;
/// Longest tag in bytes.
const MAX_TAG_LEN: usize = 8 << 10;

/// Walks over the tags of a document and holds depth, attributes and namespaces against their caps. Of what is not
/// well-formed it says nothing; the parser does.
pub fn measure(text: &str) -> Result<(), PskcError> {
    let bytes = text.as_bytes();
    let line = |at: usize| {
        let breaks = bytes.get(..at).unwrap_or_default().iter().filter(|b| **b == b'\n');
        u32::try_from(breaks.count()).unwrap_or(u32::MAX).saturating_add(1)
    };
    // For every open element, the namespaces it declares.
    let mut open: Vec<u32> = Vec::with_capacity(MAX_DEPTH);
    let mut namespaces = 0_u32;
    let mut at = 0;
    while let Some(found) = find(bytes, at, b'<') {
        let rest = bytes.get(found..).unwrap_or_default();
        if rest.starts_with(b"<!--") {
            at = after(text, found + 4, "-->");
        } else if rest.starts_with(b"<![CDATA[") {
            at = after(text, found + 9, "]]>");
        } else if rest.starts_with(b"<?") {
            at = after(text, found + 2, "?>");
        } else if rest.starts_with(b"<!") {
            return Err(PskcError::Dtd);
        } else if rest.starts_with(b"</") {
            namespaces -= open.pop().unwrap_or(0).min(namespaces);
            at = find(bytes, found, b'>').map_or(bytes.len(), |end| end + 1);
        } else {
            let tag = tag(rest).ok_or_else(|| PskcError::TooComplex(line(found)))?;
            let in_scope = namespaces + tag.namespaces;
            if open.len() == MAX_DEPTH || tag.attributes > MAX_ATTRIBUTES || in_scope > MAX_NAMESPACES {
                return Err(PskcError::TooComplex(line(found)));
            }
            if !tag.empty {
                open.push(tag.namespaces);
                namespaces = in_scope;
            }
            at = found + tag.length;
        }
    }
    Ok(())
}

struct Tag {
    length: usize,
    attributes: u32,
    namespaces: u32,
    empty: bool,
}

/// Measures an opening tag; `None` when it is longer than one may be.
fn tag(rest: &[u8]) -> Option<Tag> {
    let (mut attributes, mut namespaces) = (0, 0);
    let mut quote = None;
    let mut before = 0;
    for (at, byte) in rest.iter().take(MAX_TAG_LEN).enumerate() {
        match (quote, *byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(*byte),
            (None, b'=') => attributes += 1,
            (None, b'x') if rest.get(at..at + 5) == Some(b"xmlns") => namespaces += 1,
            (None, b'>') => {
                return Some(Tag {
                    length: at + 1,
                    attributes,
                    namespaces,
                    empty: before == b'/',
                });
            }
            _ => {}
        }
        before = *byte;
    }
    // The file ends within it: the parser says so.
    (rest.len() < MAX_TAG_LEN).then_some(Tag {
        length: rest.len(),
        attributes,
        namespaces,
        empty: true,
    })
}

fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.iter().position(|byte| *byte == wanted).map(|at| from + at)
}

/// Where to go on after `end`; the end of the text when it does not come.
fn after(text: &str, from: usize, end: &str) -> usize {
    text.get(from..)
        .and_then(|rest| rest.find(end))
        .map_or(text.len(), |at| from + at + end.len())
}
