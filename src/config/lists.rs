//! `lists: { "office": ["192.0.2.0/24"], "bad": (file: "lists/bad.txt") }`: networks under a name, which `access` refers to.

use super::located::{Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{Form, Section, Walk};
use super::written::Written;
use crate::http::Network;
use crate::policy::access::Block;
use std::net::IpAddr;
use std::path::PathBuf;

/// Networks under a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    /// Its key in the file.
    pub(crate) name: String,
    /// Where they are.
    pub(crate) from: From,
}

/// Where the networks of a list are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum From {
    /// In the configuration.
    Here(Vec<Block>),
    /// In a file that is read again when it changes.
    File(PathBuf),
}

/// `(file: "…")`
#[derive(Clone, Default)]
struct InFile(PathBuf);

impl Section for InFile {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("file", "\"lists/bad.txt\"", &mut self.0);
    }
}

/// Without its name.
impl Form for List {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let from = match node.shape() {
            Shape::List(_) => From::Here(Vec::read(node, report)?),
            Shape::Text(text) => {
                let hint = format!("write [\"{text}\"], or (file: \"{text}\") if it is the name of a file");
                return node.refuse(report, Complaint::new("expected a list, found one string", hint));
            }
            _ => From::File(InFile::read(node, report)?.0),
        };
        Some(Self { name: String::new(), from })
    }

    fn write(&self) -> Written {
        match &self.from {
            From::Here(blocks) => blocks.write(),
            From::File(path) => InFile(path.clone()).write(),
        }
    }
}

impl Form for Block {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a network such as \"192.0.2.0/24\"", block)
    }

    fn write(&self) -> Written {
        Written::text(&Network::Block { base: self.base, bits: self.bits })
    }
}

/// A block as it is written.
pub(super) fn block(text: &str) -> Result<Block, Complaint> {
    match Network::parse(text)? {
        Network::Block { base, bits } => Ok(as_met(base, bits)),
        Network::Unix => Err(Complaint::new(
            "peers of Unix listeners are no network",
            "`unix:` stands in `allow` or `deny` itself",
        )),
    }
}

/// IPv4 addresses among those of IPv6 are met as what they are.
fn as_met(base: IpAddr, bits: u8) -> Block {
    match base {
        IpAddr::V6(v6) if bits >= 96 => match v6.to_ipv4_mapped() {
            Some(v4) => Block { base: IpAddr::V4(v4), bits: bits - 96 },
            None => Block { base, bits },
        },
        _ => Block { base, bits },
    }
}

/// The networks of a file: one a line; what follows a `#` or `;` is a remark.
///
/// # Errors
/// The number of a line, from 1, and what is wrong with it.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Block>, (usize, Complaint)> {
    let mut blocks = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let said = line.split(|byte| matches!(byte, b'#' | b';')).next().unwrap_or_default().trim_ascii();
        let said = if number == 0 { said.strip_prefix(b"\xef\xbb\xbf").unwrap_or(said) } else { said };
        if said.is_empty() {
            continue;
        }
        let read = std::str::from_utf8(said).map_err(|_| Complaint::new("it is no text", "")).and_then(block);
        blocks.push(read.map_err(|complaint| (number + 1, complaint))?);
    }
    blocks.sort_unstable();
    blocks.dedup();
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_network_a_line_and_remarks() {
        let text = b"\xef\xbb\xbf192.0.2.7\r\n# more\n\n 10.0.0.0/8 ; SBL1\n2001:db8::/32 # x\n::ffff:10.0.0.0/104\n";
        let blocks = parse(text).unwrap();
        let block = |text: &str| block(text).unwrap();
        assert_eq!(blocks, [block("10.0.0.0/8"), block("192.0.2.7"), block("2001:db8::/32")]);
        assert_eq!(parse(b""), Ok(Vec::new()));
        for (bad, line, hint) in [
            (&b"10.0.0.0/8\n10.0.0.1/8"[..], 2, "did you mean \"10.0.0.0/8\"?"),
            (b"\n\nx.example", 3, ""),
            (b"unix:", 1, "`unix:` stands in `allow` or `deny` itself"),
            (b"\xff", 1, ""),
        ] {
            let (found, complaint) = parse(bad).unwrap_err();
            assert_eq!(found, line, "{complaint:?}");
            assert!(complaint.hint.contains(hint), "{complaint:?}");
        }
    }
}
