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
        let mut digits = [0; Self::DIGITS];
        let (high, low) = digits.split_at_mut(8);
        high.copy_from_slice(&eight(self.0 >> 32));
        low.copy_from_slice(&eight(self.0 & 0xffff_ffff));
        digits
    }
}

/// Eight digits of a number of 32 bits, all at once: this is done for every response.
fn eight(number: u64) -> [u8; 8] {
    // One digit a byte.
    let wide = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    let wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((wide + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (wide + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - 10 - b'0')).to_be_bytes()
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// Makes them: a keyed hash of a counter. Clients see ids, and are not to learn from two of them how many requests of
/// others came between.
pub(super) struct Ids {
    hash: RandomState,
    /// Begins at random after the fork: workers may have their keys from the master.
    next: u64,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { hash: RandomState::new(), next: fd::random() }
    }

    pub(super) fn draw(&mut self) -> RequestId {
        RequestId(self.number())
    }

    /// A number that nobody can foresee.
    pub(super) fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.hash.hash_one(self.next)
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
