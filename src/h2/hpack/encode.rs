//! Writing blocks.

use super::table::{Found, Table};
use super::{OVERHEAD, TABLE_SIZE, huffman, integer, static_table};
use crate::http::Status;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Writes the blocks of one direction of a connection.
///
/// A field goes into the table when it is written for the second time: what all responses say is there from the second
/// one on, and what each says differently, such as a length, drives nothing out.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    /// The smallest size that the table had since the last block, if the other side has to be told of a change.
    smallest: Option<usize>,
    /// Parts of the hashes of the fields that were written last and not put into the table, in a ring.
    once: [u32; REMEMBERED],
    /// Where the next one goes.
    next: u8,
}

/// How many fields an encoder remembers to have written once: those of a few responses.
const REMEMBERED: usize = 16;

/// Most names are no longer.
const USUAL_NAME: usize = 64;

impl Encoder {
    /// An encoder for the first block of a connection.
    pub(crate) fn new() -> Self {
        Self { table: Table::new(TABLE_SIZE), smallest: None, once: [0; REMEMBERED], next: 0 }
    }

    /// The other side takes a table of `size` (SETTINGS_HEADER_TABLE_SIZE). It is told with the next block, also if the
    /// table became smaller in between (RFC 7541 §4.2).
    pub(crate) fn resize(&mut self, size: u32) {
        let size = TABLE_SIZE.min(size as usize);
        if size != self.table.max() {
            self.smallest = Some(self.smallest.unwrap_or(size).min(size));
            self.table.resize(size);
        }
    }

    /// Begins a block at the end of `out`.
    pub(crate) fn block<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Block<'a> {
        if let Some(smallest) = self.smallest.take() {
            if smallest < self.table.max() {
                integer::encode(0x20, 5, smallest, out);
            }
            integer::encode(0x20, 5, self.table.max(), out);
        }
        Block { encoder: self, out }
    }

    /// The entries of the dynamic table, the oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.table.iter()
    }

    /// Whether the field was written before and goes into the table now.
    fn repeats(&mut self, name: &[u8], value: &[u8]) -> bool {
        if !fits(name, value, &self.table) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (name, value).hash(&mut hasher);
        let part = hasher.finish() as u32;
        if self.once.contains(&part) {
            return true;
        }
        if let Some(place) = self.once.get_mut(usize::from(self.next)) {
            *place = part;
        }
        self.next = (self.next + 1) % REMEMBERED as u8;
        false
    }
}

/// A block that is being written.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
}

impl Block<'_> {
    /// Writes `:status`, which comes first.
    pub(crate) fn status(&mut self, status: Status) {
        let known = [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == status.0);
        match known {
            Some(at) => integer::encode(0x80, 7, static_table::STATUS + at, self.out),
            None => self.field(b":status", status.0.to_string().as_bytes()),
        }
    }

    /// Writes a field, its name in lower case.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        in_lower_case(name, |name| self.lower(name, value));
    }

    /// Writes a field whose value only this block has: its name goes into the table, and its value as it is into the block,
    /// as nobody will have it from there.
    pub(crate) fn unique(&mut self, name: &[u8], value: &[u8]) {
        in_lower_case(name, |name| {
            let Self { encoder: Encoder { table, .. }, out } = self;
            let index = table.name(name);
            let kept = index.is_none() && fits(name, value, table);
            let (pattern, prefix) = if kept { (0x40, 6) } else { (0x00, 4) };
            integer::encode(pattern, prefix, index.unwrap_or(0), out);
            if index.is_none() {
                string(name, out);
            }
            plain(value, out);
            if kept {
                table.insert(name, value);
            }
        });
    }

    /// Writes a field whose name is in lower case.
    pub(crate) fn lower(&mut self, name: &[u8], value: &[u8]) {
        // In no table, here and elsewhere, a guess can be compared with it (RFC 7541 §7.1).
        let secret = name == b"set-cookie";
        let index = match self.encoder.table.find(name, value) {
            Found::Field(index) => return integer::encode(0x80, 7, index, self.out),
            Found::Name(index) => index,
            Found::Nothing => 0,
        };
        let kept = !secret && self.encoder.repeats(name, value);
        let (pattern, prefix) = if kept {
            (0x40, 6)
        } else if secret {
            (0x10, 4)
        } else {
            (0x00, 4)
        };
        integer::encode(pattern, prefix, index, self.out);
        if index == 0 {
            string(name, self.out);
        }
        string(value, self.out);
        if kept {
            self.encoder.table.insert(name, value);
        }
    }
}

/// Whether there is a place for the field in the table.
fn fits(name: &[u8], value: &[u8], table: &Table) -> bool {
    name.len() + value.len() + OVERHEAD <= table.max()
}

/// Does something with a name in lower case.
fn in_lower_case(name: &[u8], act: impl FnOnce(&[u8])) {
    let (mut usual, mut longer) = ([0; USUAL_NAME], Vec::new());
    let lower = match usual.get_mut(..name.len()) {
        Some(room) => room,
        None => {
            longer.resize(name.len(), 0);
            &mut longer
        }
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    act(lower);
}

/// Writes a string, in the Huffman code if it is shorter then.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let coded = huffman::length(bytes);
    if coded < bytes.len() {
        integer::encode(0x80, 7, coded, out);
        huffman::encode(bytes, out);
    } else {
        plain(bytes, out);
    }
}

/// Writes a string as it is.
fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    integer::encode(0x00, 7, bytes.len(), out);
    out.extend_from_slice(bytes);
}
