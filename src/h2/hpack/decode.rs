//! Reading blocks.

use super::table::Table;
use super::{Error, OVERHEAD, TABLE_SIZE, huffman, integer, static_table};

/// Reads the blocks of one direction of a connection, all of them and in their order.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// Where names and values in the Huffman code are put; empty between two blocks.
    names: Vec<u8>,
    values: Vec<u8>,
}

/// What came of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every field was told.
    Whole,
    /// The list is larger than it may be; fields from there on were not told.
    Exceeds,
}

impl Decoder {
    /// A decoder for the first block of a connection of which we announce no other size of the table.
    pub(crate) fn new() -> Self {
        Self { table: Table::new(TABLE_SIZE), names: Vec::new(), values: Vec::new() }
    }

    /// Gives memory back that only makes decoding faster.
    pub(crate) fn shrink(&mut self) {
        (self.names, self.values) = (Vec::new(), Vec::new());
    }

    /// Decodes a whole block and tells `each` names and values, as long as the list is not larger than `limit`
    /// (RFC 9113 §6.5.2). Beyond it only the table is kept: a few bytes can stand for a field of thousands.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        limit: usize,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<Outcome, Error> {
        let (mut rest, mut size, mut begun) = (block, 0_usize, false);
        let mut tell = |name: &[u8], value: &[u8]| {
            size = size.saturating_add(name.len() + value.len() + OVERHEAD);
            if size <= limit {
                each(name, value);
            }
        };
        let Self { table, names, values } = self;
        while let Some(first) = rest.first() {
            match first {
                0x80.. => {
                    let index = integer::decode(7, &mut rest)?;
                    let (name, value) = table.field(index).ok_or(NO_ENTRY)?;
                    tell(name, value);
                }
                0x20..0x40 => {
                    update(table, integer::decode(5, &mut rest)?, begun)?;
                    continue;
                }
                _ => {
                    let kept = *first >= 0x40;
                    let index = integer::decode(if kept { 6 } else { 4 }, &mut rest)?;
                    let name = match index {
                        0 => string(&mut rest, names)?,
                        _ => name_of(table, index, names)?,
                    };
                    let value = string(&mut rest, values)?;
                    tell(name, value);
                    if kept {
                        table.insert(name, value);
                    }
                }
            }
            begun = true;
        }
        for used in [names, values] {
            used.clear();
            used.shrink_to(KEPT);
        }
        Ok(if size <= limit { Outcome::Whole } else { Outcome::Exceeds })
    }

    /// The entries of the dynamic table, the oldest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.table.iter()
    }
}

/// The table has another size from here on (RFC 7541 §6.3).
fn update(table: &mut Table, size: usize, begun: bool) -> Result<(), Error> {
    if begun {
        return Err(Error("the size of the table changes behind a field"));
    }
    if size > TABLE_SIZE {
        return Err(Error("a size of the table above SETTINGS_HEADER_TABLE_SIZE"));
    }
    table.resize(size);
    Ok(())
}

/// The name at an index. One of the dynamic table is copied: its entry may have to leave for the field with that name.
fn name_of<'a>(table: &Table, index: usize, copy: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    if let Some((name, _)) = static_table::ENTRIES.get(index - 1) {
        return Ok(name);
    }
    copy.clear();
    copy.extend_from_slice(table.field(index).ok_or(NO_ENTRY)?.0);
    Ok(copy)
}

/// Room for a string that is kept from block to block.
const KEPT: usize = 1024;

const NO_ENTRY: Error = Error("an index of no entry");

/// The string with which `rest` begins (RFC 7541 §5.2); `rest` is moved behind it.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::decode(7, rest)?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Error("a string is longer than its block"))?;
    *rest = behind;
    if !coded {
        return Ok(bytes);
    }
    decoded.clear();
    huffman::decode(bytes, decoded)?;
    Ok(decoded)
}
