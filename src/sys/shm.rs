//! Shared memory as a slice of atomic words: created before the first fork, seen by every fork; in a file without a name
//! also by the program that this one becomes.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

/// A shared mapping of words, zeroed. Forked processes see the same words; pages cost memory once touched. It is never
/// unmapped: it lives as long as the process tree.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    start: NonNull<AtomicU64>,
    words: usize,
}

impl Shared {
    /// Maps `words` zeroed words.
    ///
    /// # Errors
    /// ENOMEM where the address space or the overcommit limit is exhausted.
    pub fn new(words: usize) -> io::Result<Self> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let bytes = length(words)?;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe {
            mmap_anonymous(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE,
            )
        }?;
        Ok(Self { start: start.cast(), words })
    }

    /// Maps `words` zeroed words of a file in memory, which the descriptor holds: over an exec the words stay. Nobody can
    /// shrink it, so a mapping never loses its pages.
    ///
    /// # Errors
    /// As [`Shared::new`]; EMFILE.
    pub fn in_file(words: usize) -> io::Result<(Self, OwnedFd)> {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"hatchery-board", flags)?);
        file.set_len(length(words)?.get() as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let file = OwnedFd::from(file);
        Ok((Self::of_file(file.as_fd(), words)?, file))
    }

    /// Maps what [`Shared::in_file`] made.
    ///
    /// # Errors
    /// `InvalidData` if it does not have that size or could be shrunk; as [`Shared::new`].
    pub fn of_file(file: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let bytes = length(words)?;
        let size = nix::sys::stat::fstat(file)?.st_size;
        let seals = SealFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GET_SEALS)?);
        if u64::try_from(size) != Ok(bytes.get() as u64) || !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing; the file is as long and stays so.
        let start = unsafe { mmap(None, bytes, protection, flags, file, 0) }?;
        Ok(Self { start: start.cast(), words })
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &'static [AtomicU64] {
        // SAFETY: the mapping is page aligned, zeroed (a valid AtomicU64), `words` long and never unmapped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

fn length(words: usize) -> io::Result<NonZeroUsize> {
    let bytes = words.checked_mul(size_of::<AtomicU64>()).and_then(NonZeroUsize::new);
    bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_of_a_file_are_the_same_in_two_mappings_and_cannot_be_cut_off() {
        let (shared, file) = Shared::in_file(1 << 20).unwrap();
        shared.words()[77].store(7, Ordering::SeqCst);
        let again = Shared::of_file(file.as_fd(), 1 << 20).unwrap();
        assert_eq!(again.words()[77].load(Ordering::SeqCst), 7);
        assert!(Shared::of_file(file.as_fd(), 1 << 19).is_err(), "another size");
        let file = File::from(file);
        assert!(file.set_len(8).is_err() && file.set_len(1 << 30).is_err());
        let other = File::from(crate::sys::process::memory_file(&[0; 4096]).unwrap());
        assert!(Shared::of_file(other.as_fd(), 512).is_err(), "it could be shrunk");
    }

    #[test]
    fn words_start_at_zero_and_keep_what_is_stored() {
        let shared = Shared::new(1 << 20).unwrap();
        assert!(shared.words().iter().step_by(4096).all(|word| word.load(Ordering::Relaxed) == 0));
        shared.words()[12_345].store(7, Ordering::SeqCst);
        assert_eq!(shared.words()[12_345].load(Ordering::SeqCst), 7);
    }
}
