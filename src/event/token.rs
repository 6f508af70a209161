//! What an event is about, packed into the 64 bits that epoll carries: kind (4) | reuse (28) | index (32).

use crate::slab::Key;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The listener of this number.
    Listener(u32),
    /// The control channel.
    Control,
    /// The eventfd by which other processes wake this one.
    Wake,
    /// The watches on directories of files.
    Files,
    /// Parts of files that were read from disk.
    Reader,
    /// A client connection.
    Client(Key),
    /// A connection to an upstream or app.
    Link(Key),
}

const INDEX_BITS: u32 = 32;
const REUSE_BITS: u32 = 28;
const KIND_SHIFT: u32 = INDEX_BITS + REUSE_BITS;
const REUSE_MASK: u64 = (1 << REUSE_BITS) - 1;

const _: () = assert!(usize::BITS == 64, "tokens need 64 bits");

impl Source {
    /// The 64 bits.
    #[must_use]
    pub(crate) fn pack(self) -> u64 {
        let parts = |kind: u64, key: Key| {
            kind << KIND_SHIFT | (u64::from(key.reuse) & REUSE_MASK) << INDEX_BITS | u64::from(key.index)
        };
        let plain = |kind, index| parts(kind, Key { index, reuse: 0 });
        match self {
            Self::Listener(number) => plain(1, number),
            Self::Control => plain(2, 0),
            Self::Wake => plain(3, 0),
            Self::Client(key) => parts(4, key),
            Self::Link(key) => parts(5, key),
            Self::Files => plain(6, 0),
            Self::Reader => plain(7, 0),
        }
    }

    /// What the 64 bits mean.
    #[must_use]
    pub(crate) fn unpack(bits: u64) -> Option<Self> {
        let key = Key { index: bits as u32, reuse: (bits >> INDEX_BITS & REUSE_MASK) as u32 };
        match bits >> KIND_SHIFT {
            1 => Some(Self::Listener(key.index)),
            2 => Some(Self::Control),
            3 => Some(Self::Wake),
            4 => Some(Self::Client(key)),
            5 => Some(Self::Link(key)),
            6 => Some(Self::Files),
            7 => Some(Self::Reader),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_survives_packing() {
        let key = Key { index: u32::MAX - 1, reuse: REUSE_MASK as u32 };
        for source in [
            Source::Listener(7),
            Source::Control,
            Source::Wake,
            Source::Files,
            Source::Reader,
            Source::Client(key),
            Source::Link(Key { index: 0, reuse: 3 }),
        ] {
            assert_eq!(Source::unpack(source.pack()), Some(source));
        }
        assert_eq!(Source::unpack(0), None);
    }
}
