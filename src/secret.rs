//! Bytes that do not stay in memory when they are not needed any more: a process that is forked later has a copy of what
//! its parent has once freed, too.

use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsString};

/// Bytes that are wiped out in the end. They must not grow: what a vector leaves behind by that stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Its length only.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The same of a text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hidden(pub(crate) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({} bytes)", self.0.len())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

/// The same of texts for the kernel.
#[derive(Debug)]
pub(crate) struct Strings(pub(crate) Vec<CString>);

impl Drop for Strings {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|string| wipe(&mut string.into_bytes()));
    }
}

/// Appends to bytes, and leaves nothing behind where they need another place for that.
pub(crate) fn extend(bytes: &mut Vec<u8>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        let mut grown = Vec::with_capacity((bytes.len() + more.len()).max(bytes.capacity() * 2));
        grown.extend_from_slice(bytes);
        wipe(&mut std::mem::replace(bytes, grown));
    }
    bytes.extend_from_slice(more);
}

/// Overwrites bytes that are freed next.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Else the compiler could leave out what nobody reads.
    std::hint::black_box(bytes);
}

/// Wipes a text out.
pub(crate) fn wipe_text(text: OsString) {
    wipe(&mut text.into_encoded_bytes());
}
