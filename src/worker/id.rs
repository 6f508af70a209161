//! Ids of requests: what the logs, the app and the client call one by.

use crate::sys::fd;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;

/// The id of a request: sixteen hexadecimal digits wherever it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(u64);

impl RequestId {
    /// How long it is.
    pub(crate) const DIGITS: usize = 16;

    #[cfg(test)]
    pub(super) const SOME: Self = Self(0x0123_4567_89ab_cdef);

    /// As it is shown.
    pub(crate) fn digits(self) -> [u8; Self::DIGITS] {
        std::array::from_fn(|place| {
            let digit = (self.0 >> (60 - 4 * place)) as u8 & 0xf;
            digit + if digit < 10 { b'0' } else { b'a' - 10 }
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Makes them: a keyed hash of a counter. Clients see ids, and are not to learn from two of them how many requests of
/// others came between.
pub(super) struct Ids {
    hash: RandomState,
    /// Drawn after the fork: workers may have their keys from the master.
    base: u64,
    next: u64,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { hash: RandomState::new(), base: fd::random(), next: 0 }
    }

    pub(super) fn draw(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(1);
        RequestId(self.hash.hash_one((self.base, self.next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_looks_the_same_everywhere() {
        for (id, digits) in [
            (0, "0000000000000000"),
            (0x0123_4567_89ab_cdef, "0123456789abcdef"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            assert_eq!(
                (&RequestId(id).digits()[..], RequestId(id).to_string()),
                (digits.as_bytes(), digits.to_owned())
            );
        }
    }

    #[test]
    fn ids_do_not_tell_how_many_there_were() {
        let mut ids = Ids::new();
        let drawn: Vec<u64> = (0..1000).map(|_| ids.draw().0).collect();
        let mut steps: Vec<u64> = drawn.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        steps.sort_unstable();
        steps.dedup();
        assert_eq!(steps.len(), 999, "each step is another");
    }
}
