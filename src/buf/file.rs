//! An open file that is sent from, and which part of it was found in memory lately.

use crate::timer::Time;
use std::cell::Cell;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor, shared by all responses that send from it. Pure: others ask the kernel, this only remembers.
#[derive(Debug)]
pub struct OpenFile {
    fd: OwnedFd,
    near: Cell<Near>,
}

/// Bytes that could be read without waiting for a disk, and until when that is believed.
#[derive(Clone, Copy, Debug, Default)]
struct Near {
    from: u64,
    to: u64,
    until: Time,
}

impl OpenFile {
    /// Whether all of `range` was found in memory, not long ago.
    #[must_use]
    pub fn is_near(&self, range: &Range<u64>, now: Time) -> bool {
        let near = self.near.get();
        now < near.until && near.from <= range.start && range.end <= near.to
    }

    /// Remembers that all of `range` is in memory. What adjoins is joined, and believed no longer than what was known
    /// before; of two separate parts the later one is remembered.
    pub fn found_near(&self, range: &Range<u64>, now: Time, until: Time) {
        let near = self.near.get();
        let adjoins = now < near.until && range.start <= near.to && near.from <= range.end;
        self.near.set(if adjoins {
            Near {
                from: near.from.min(range.start),
                to: near.to.max(range.end),
                until: near.until.min(until),
            }
        } else {
            Near { from: range.start, to: range.end, until }
        });
    }
}

impl From<OwnedFd> for OpenFile {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, near: Cell::default() }
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjoining_parts_are_joined_and_forgotten_in_time() {
        let file = OpenFile::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        assert!(!file.is_near(&(0..1), Time(0)));
        file.found_near(&(10..20), Time(0), Time(100));
        assert!(file.is_near(&(10..20), Time(99)) && file.is_near(&(12..13), Time(0)));
        assert!(!file.is_near(&(10..21), Time(0)) && !file.is_near(&(9..12), Time(0)));
        assert!(!file.is_near(&(10..20), Time(100)), "forgotten");
        file.found_near(&(20..30), Time(50), Time(150));
        assert!(file.is_near(&(10..30), Time(99)), "joined");
        assert!(!file.is_near(&(20..30), Time(100)), "the older part sets the time");
        file.found_near(&(40..50), Time(60), Time(160));
        assert!(file.is_near(&(40..50), Time(60)) && !file.is_near(&(10..30), Time(60)), "apart");
        file.found_near(&(0..40), Time(200), Time(300));
        assert!(!file.is_near(&(0..50), Time(200)), "what is forgotten is not joined");
    }
}
