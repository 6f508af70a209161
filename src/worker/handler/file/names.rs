//! What the names in a path mean. Pure.

use crate::http::percent;

/// Why a segment of a path names nothing that is served, if so. Not a security boundary by itself (a file may have
/// other names), but what deployments leave lying around. `dotfiles`: names that begin with a dot are served, but for
/// those that never are meant to be.
pub(super) fn hidden(segment: &[u8], dotfiles: bool) -> Option<&'static str> {
    if segment.starts_with(b".") && segment != b".well-known" {
        let is_secret = SECRET.iter().any(|name| segment == name.as_bytes()) || segment.starts_with(b".env");
        if !dotfiles || is_secret || segment.starts_with(b".ht") {
            return Some("names that begin with a dot are not served");
        }
    }
    if segment.iter().any(|byte| matches!(byte, 0 | b'\\')) {
        return Some("a NUL or backslash names no file");
    }
    DROPPINGS
        .iter()
        .any(|suffix| segment.ends_with(suffix.as_bytes()))
        .then_some("backup, bytecode and database files are not served")
}

/// Percent-encodes a name for use as the first and only segment of a relative reference (RFC 3986 §4.2).
pub(super) fn encode_segment(name: &[u8], out: &mut Vec<u8>) {
    percent::encode(name, |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@".contains(&byte), out);
}

/// Last segment of a path.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

pub(super) fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}

/// Never served, whatever the location says.
const SECRET: [&str; 6] = [".git", ".hg", ".svn", ".bzr", ".ssh", ".DS_Store"];
/// Ends of names that are not served.
const DROPPINGS: [&str; 10] = [
    "~",
    ".swp",
    ".swo",
    ".pyc",
    ".pyo",
    ".bak",
    ".sqlite3",
    ".sqlite3-journal",
    ".sqlite3-wal",
    ".sqlite3-shm",
];
