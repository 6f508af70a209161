//! What is kept, as bytes. Whoever reads them may read what another worker is just writing over, or what one that was taken
//! over has made up: so an object says which key it has and carries a checksum, and everything is looked at after it was
//! copied. What does not fit is no object.
//!
//! ```text
//!  magic 32 | length 32 | checksum 64 | bans 64 | kind 8, tags 24 | key 32 | head 32 | body 32 | key, tags, head, body
//! ```

use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: u32 = 0x4f74_6148;
/// Bytes before the key.
const FIXED: usize = 40;
/// Those that the checksum does not cover: magic, length, and itself.
const BARE: usize = 16;
/// More tags than so many name nothing.
pub const MOST_TAGS: usize = 1024;

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// What the store does not look into: a response, a marker of variants.
    pub kind: u8,
    /// By which it may be purged, as numbers.
    pub tags: &'a [u64],
    /// What is known of it, for whoever asked to keep it.
    pub head: &'a [u8],
    /// In pieces.
    pub body: &'a [&'a [u8]],
}

impl Object<'_> {
    /// How many bytes it takes under this key; `None`: too many for any place.
    pub(super) fn length(&self, key: &[u8]) -> Option<usize> {
        let body = self.body.iter().try_fold(0_usize, |sum, piece| sum.checked_add(piece.len()))?;
        let all = FIXED.checked_add(key.len())?.checked_add(self.tags.len().checked_mul(8)?)?;
        let all = all.checked_add(self.head.len())?.checked_add(body)?;
        (self.tags.len() <= MOST_TAGS && u32::try_from(all).is_ok()).then_some(all)
    }

    /// As bytes, which replace what is in `out`.
    pub(super) fn write(&self, key: &[u8], bans: u64, seed: u64, out: &mut Vec<u8>) -> Option<()> {
        let length = self.length(key)?;
        let body: usize = self.body.iter().map(|piece| piece.len()).sum();
        out.clear();
        out.reserve(length);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&bans.to_le_bytes());
        out.extend_from_slice(&(self.tags.len() as u32 | u32::from(self.kind) << 24).to_le_bytes());
        for part in [key.len(), self.head.len(), body] {
            out.extend_from_slice(&(part as u32).to_le_bytes());
        }
        out.extend_from_slice(key);
        self.tags.iter().for_each(|tag| out.extend_from_slice(&tag.to_le_bytes()));
        out.extend_from_slice(self.head);
        self.body.iter().for_each(|piece| out.extend_from_slice(piece));
        seal(out, seed);
        Some(())
    }
}

/// Puts the checksum into an object.
fn seal(bytes: &mut [u8], seed: u64) {
    let sum = xxh3_64_with_seed(bytes.get(BARE..).unwrap_or_default(), seed);
    if let Some(place) = bytes.get_mut(8..BARE) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// The length that the first word of an object says.
pub(super) fn length(first: u64) -> Option<usize> {
    let length = (first >> 32) as usize;
    (first as u32 == MAGIC && length >= FIXED).then_some(length)
}

/// Words of an object that reach to the end of its key.
pub(super) fn words_of_key(key: &[u8]) -> usize {
    (FIXED + key.len()).div_ceil(8)
}

/// Whether these bytes say that they begin an object of that key.
pub(super) fn begins_with_key(bytes: &[u8], key: &[u8]) -> bool {
    let length = bytes.get(28..32).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    length.is_some_and(|length| length as usize == key.len())
        && bytes.get(FIXED..FIXED + key.len()).is_some_and(|own| own == key)
}

/// An object that was found: a copy, which is whole and of the key.
#[derive(Clone, Debug)]
pub struct Kept {
    bytes: Vec<u8>,
    key: usize,
    tags: usize,
    head: usize,
}

impl Kept {
    /// Of bytes that may be anything.
    pub(super) fn read(bytes: Vec<u8>, seed: u64) -> Option<Self> {
        let number =
            |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        let first = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let sum = u64::from_le_bytes(bytes.get(8..BARE)?.try_into().ok()?);
        if length(first)? != bytes.len() || xxh3_64_with_seed(bytes.get(BARE..)?, seed) != sum {
            return None;
        }
        let tags = number(24)? as usize & 0xff_ffff;
        let [key, head, body] = [number(28)?, number(32)?, number(36)?].map(|length| length as usize);
        // A sum of four numbers of 32 bits.
        let all = FIXED as u64 + tags as u64 * 8 + key as u64 + head as u64 + body as u64;
        if tags > MOST_TAGS || all != bytes.len() as u64 {
            return None;
        }
        let key = FIXED + key;
        let tags = key + tags * 8;
        Some(Self { key, tags, head: tags + head, bytes })
    }

    /// The key that it was kept under.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.bytes.get(FIXED..self.key).unwrap_or_default()
    }

    /// As it was given.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes.get(27).copied().unwrap_or(0)
    }

    /// As they were given.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        let words = self.bytes.get(self.key..self.tags).unwrap_or_default().chunks_exact(8);
        words.filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
    }

    /// As it was given.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.bytes.get(self.tags..self.head).unwrap_or_default()
    }

    /// In one piece.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    /// The bytes that it consists of, and where the body is in them: to be sent without another copy.
    #[must_use]
    pub fn into_body(self) -> (Vec<u8>, Range<usize>) {
        let body = self.head..self.bytes.len();
        (self.bytes, body)
    }

    /// The number of the last ban before it was fetched.
    pub(super) fn bans(&self) -> u64 {
        self.bytes.get(16..24).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// The same, not banned by any up to this one, as bytes.
    pub(super) fn sealed_again(&self, bans: u64, seed: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(place) = bytes.get_mut(16..24) {
            place.copy_from_slice(&bans.to_le_bytes());
        }
        seal(&mut bytes, seed);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let object = Object { kind: 7, tags: &[1, u64::MAX], head: b"head", body: &[b"bo", b"", b"dy"] };
        let mut bytes = vec![9; 3];
        object.write(b"key", 5, 42, &mut bytes).unwrap();
        assert_eq!(object.length(b"key"), Some(bytes.len()));
        bytes
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let kept = Kept::read(written(), 42).unwrap();
        assert_eq!(
            (kept.kind(), kept.key(), kept.head(), kept.body()),
            (7, &b"key"[..], &b"head"[..], &b"body"[..])
        );
        assert_eq!((kept.tags().collect::<Vec<_>>(), kept.bans()), (vec![1, u64::MAX], 5));
        let again = Kept::read(kept.sealed_again(6, 42), 42).unwrap();
        assert_eq!((again.bans(), again.body()), (6, kept.body()));
        let (bytes, body) = kept.into_body();
        assert_eq!(&bytes[body], b"body");
    }

    #[test]
    fn of_an_object_no_bit_can_be_another_one() {
        let bytes = written();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(Kept::read(other, 42).is_none(), "{bit}");
        }
        for length in 0..bytes.len() {
            assert!(Kept::read(bytes[..length].to_vec(), 42).is_none(), "{length}");
        }
        assert!(Kept::read(bytes, 43).is_none(), "a checksum of others");
    }

    #[test]
    fn lengths_that_lie_under_a_good_checksum_are_no_object() {
        for at in [24, 28, 32, 36] {
            for value in [0_u32, 1, 1000, 0xff_ffff, u32::MAX] {
                let mut bytes = written();
                if bytes[at..at + 4] == value.to_le_bytes() {
                    continue;
                }
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                seal(&mut bytes, 42);
                assert!(Kept::read(bytes, 42).is_none(), "{at} {value}");
            }
        }
    }

    #[test]
    fn what_is_too_long_has_no_length() {
        let tags = vec![0; MOST_TAGS + 1];
        assert_eq!(Object { kind: 0, tags: &tags, head: b"", body: &[] }.length(b""), None);
        assert_eq!(Object { kind: 0, tags: &[], head: b"", body: &[] }.length(b""), Some(FIXED));
        assert_eq!(length(u64::from(MAGIC)), None);
    }
}
