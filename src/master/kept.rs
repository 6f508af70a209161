//! Descriptors over an exec: they are kept open under their numbers by the program before, and taken over by the next one,
//! each once. With them processes, by the descriptor that names each.

use crate::sys::lock::Locked;
use crate::sys::{inherited, process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// A descriptor by its number, which stays the same over an exec.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Kept(RawFd);

impl Kept {
    /// Its number.
    pub(super) fn number(self) -> RawFd {
        self.0
    }
}

/// Collects the descriptors that an exec must not close.
#[derive(Debug, Default)]
pub(super) struct Keeping(Vec<RawFd>);

impl Keeping {
    /// Keeps one.
    pub(super) fn keep(&mut self, descriptor: &impl AsFd) -> Kept {
        let number = descriptor.as_fd().as_raw_fd();
        self.0.push(number);
        Kept(number)
    }

    /// All that were kept.
    pub(super) fn numbers(&self) -> &[RawFd] {
        &self.0
    }
}

/// Takes over descriptors that an exec has kept, each once.
#[derive(Debug)]
pub(super) struct Taking(BTreeSet<RawFd>);

impl Taking {
    /// Those of these numbers, each open and named once.
    ///
    /// # Errors
    /// One that is not there.
    pub(super) fn of(kept: &[RawFd]) -> Result<Self, String> {
        let mut numbers = BTreeSet::new();
        for number in kept {
            if !inherited::is_open(*number) || !numbers.insert(*number) {
                return Err(format!("descriptor {number} did not come along"));
            }
        }
        Ok(Self(numbers))
    }

    /// Takes one over; it is close-on-exec from then on.
    ///
    /// # Errors
    /// It is not among those that were kept, or was taken before.
    pub(super) fn take(&mut self, kept: Kept) -> Result<OwnedFd, String> {
        let lost = || format!("descriptor {} is lost", kept.0);
        if !self.0.remove(&kept.0) {
            return Err(lost());
        }
        inherited::take(kept.0).ok_or_else(lost)
    }

    /// Takes over a lock on `path`. It belongs to the open file: it is still held, and taking it again changes nothing.
    ///
    /// # Errors
    /// As [`Self::take`]; somebody else holds it.
    pub(super) fn take_lock(&mut self, kept: Kept, path: &Path) -> Result<Locked, String> {
        let lock = Locked::try_new(self.take(kept)?.into()).ok().flatten();
        lock.ok_or_else(|| format!("the lock of {} is lost", path.display()))
    }
}

/// A process and the descriptor that names it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedProcess {
    pid: u32,
    handle: Option<Kept>,
}

impl SavedProcess {
    /// For an upgrade.
    pub(super) fn of(process: &process::Child, descriptors: &mut Keeping) -> Self {
        Self { pid: process.pid, handle: process.handle.as_ref().map(|handle| descriptors.keep(handle)) }
    }

    /// The process again.
    pub(super) fn restore(self, descriptors: &mut Taking) -> Result<process::Child, String> {
        let handle = self.handle.map(|handle| descriptors.take(handle)).transpose()?;
        Ok(process::Child { pid: self.pid, handle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_descriptor_is_taken_over_once() {
        let file = File::open("/dev/null").unwrap();
        let mut keeping = Keeping::default();
        let kept = keeping.keep(&file);
        assert_eq!(keeping.numbers(), [file.as_raw_fd()]);
        // As over an exec: nobody owns it.
        inherited::put_at(file.into(), kept.number()).unwrap();
        let mut taking = Taking(keeping.numbers().iter().copied().collect());
        let taken = taking.take(kept).unwrap();
        assert_eq!(taken.as_raw_fd(), kept.number());
        assert!(taking.take(kept).is_err());
        assert!(taking.take(Kept(RawFd::MAX)).is_err());
    }
}
