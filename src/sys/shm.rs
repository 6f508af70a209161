//! Shared memory as a slice of atomic words, in a file without a name: created before the first fork, seen by every fork
//! and by the program that this one becomes. A fork can give up writing all of it but some parts, for good.

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A shared mapping of words, zeroed. Forked processes see the same words; pages cost memory once touched. It is never
/// unmapped: it lives as long as the process tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared {
    start: NonNull<AtomicU64>,
    words: usize,
}

/// What a process sees that has given up writing the rest.
#[derive(Debug)]
pub(crate) struct Confined {
    /// All words, to be read: to store one that is not writable ends the process (SIGSEGV).
    pub(crate) words: &'static [AtomicU64],
    /// The parts that it may write, in the order in which they were asked for.
    pub(crate) writable: Vec<&'static [AtomicU64]>,
}

impl Shared {
    /// Maps `words` zeroed words of a file in memory, which the descriptor holds: over an exec the words stay. Nobody can
    /// shrink it, so a mapping never loses its pages.
    ///
    /// # Errors
    /// ENOMEM where the address space or the overcommit limit is exhausted; EMFILE.
    pub(crate) fn in_file(words: usize) -> io::Result<(Self, OwnedFd)> {
        Self::in_file_of_name(c"hatchery-board", words)
    }

    /// The same, in a file that is shown with this name.
    ///
    /// # Errors
    /// As [`Shared::in_file`].
    pub(crate) fn in_file_of_name(name: &CStr, words: usize) -> io::Result<(Self, OwnedFd)> {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(name, flags)?);
        file.set_len(length(words)?.get() as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let file = OwnedFd::from(file);
        Ok((Self::of_file(file.as_fd(), words)?, file))
    }

    /// Maps what [`Shared::in_file`] made.
    ///
    /// # Errors
    /// `InvalidData` if it does not have that size or could be shrunk; ENOMEM as for [`Shared::in_file`].
    pub(crate) fn of_file(file: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        let bytes = checked(file, words)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing; the file is as long and stays so.
        let start = unsafe { mmap(None, bytes, protection, flags, file, 0) }?;
        Ok(Self { start: start.cast(), words })
    }

    /// The same, however long it is.
    ///
    /// # Errors
    /// As [`Shared::of_file`]; `InvalidData` if there is nothing in it.
    pub(crate) fn of_any(file: BorrowedFd<'_>) -> io::Result<Self> {
        let size = usize::try_from(nix::sys::stat::fstat(file)?.st_size).unwrap_or(0);
        if size == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Self::of_file(file, size / size_of::<AtomicU64>())
    }

    /// The words.
    #[must_use]
    pub(crate) fn words(&self) -> &'static [AtomicU64] {
        // SAFETY: the mapping is page aligned, zeroed (a valid AtomicU64), `words` long and never unmapped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// Gives up writing anything but these parts, for this process and all that it forks, and for good: the rest becomes a
    /// mapping of a descriptor that cannot write (`file` opened again), which mprotect(2) and mremap(2) cannot make
    /// writable (no VM_MAYWRITE). As long as the process has no descriptor of the file that can write, and cannot open one
    /// ([`super::sandbox`]), nothing else can. Every other copy of this mapping in the process is the same memory, to be
    /// read only.
    ///
    /// # Errors
    /// `InvalidInput` if a part does not begin and end at a page; as [`Shared::of_file`]; where /proc is not mounted. Some
    /// of the mapping may be replaced then: the process should end.
    pub(crate) fn confine(self, file: BorrowedFd<'_>, parts: &[Range<usize>]) -> io::Result<Confined> {
        let bytes = checked(file, self.words)?;
        let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let (known, opened) = (nix::sys::stat::fstat(file)?, again.metadata()?);
        if (known.st_dev, known.st_ino) != (opened.dev(), opened.ino()) {
            return Err(io::Error::other("/proc/self/fd leads elsewhere"));
        }
        let parts: Vec<(usize, usize)> =
            parts.iter().map(|part| self.part(part)).collect::<io::Result<_>>()?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE | MapFlags::MAP_FIXED;
        // SAFETY: it takes the place of our own mapping, which is as long, with a file that is as long and stays so: what
        // has references into it finds words again, those of the same file if it is the right one.
        unsafe { mmap(Some(self.start.addr()), bytes, ProtFlags::PROT_READ, flags, &again, 0) }?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mut writable = Vec::new();
        for (first, count) in parts {
            let offset = first * size_of::<AtomicU64>();
            let start = self.start.addr().checked_add(offset);
            let start = start.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            let at = i64::try_from(offset).map_err(io::Error::other)?;
            // SAFETY: as above; `part` has seen that it lies inside of our own mapping and begins and ends at a page.
            unsafe { mmap(Some(start), length(count)?, protection, flags, file, at) }?;
            // SAFETY: inside of the mapping, which is never unmapped.
            writable.push(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(first), count) });
        }
        // Loads of a word are plain instructions on every machine that Linux 5.10 and Rust both have 64 bit atomics for.
        Ok(Confined { words: self.words(), writable })
    }

    /// Zeroes words and gives their memory back; for others that still write there it is as if they wrote afterwards.
    ///
    /// # Errors
    /// `InvalidInput` if they do not begin and end at a page.
    pub(crate) fn release(self, part: Range<usize>) -> io::Result<()> {
        let (first, count) = self.part(&part)?;
        // SAFETY: inside of the mapping; a shared one, of which the pages are removed from the file and are zero afterwards,
        // which is a valid AtomicU64. Atomics may change at any time.
        let removed = unsafe {
            let start = NonNull::new_unchecked(self.start.as_ptr().add(first)).cast();
            madvise(start, length(count)?.get(), MmapAdvise::MADV_REMOVE)
        };
        if removed.is_err() {
            self.words().get(part).into_iter().flatten().for_each(|word| word.store(0, SeqCst));
        }
        Ok(())
    }

    /// First and number of words of a part that can be mapped by itself.
    fn part(self, part: &Range<usize>) -> io::Result<(usize, usize)> {
        let page = page_words();
        let good = part.start < part.end
            && part.end <= self.words
            && part.start.is_multiple_of(page)
            && part.end.is_multiple_of(page);
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "words that are not whole pages");
        if good { Ok((part.start, part.end - part.start)) } else { Err(wrong()) }
    }
}

/// Words in a page of this system.
fn page_words() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    // The largest that Linux has.
    size.unwrap_or(64 * 1024) / size_of::<AtomicU64>()
}

/// The length of a file that can hold so many words, and cannot be shrunk.
fn checked(file: BorrowedFd<'_>, words: usize) -> io::Result<NonZeroUsize> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let bytes = length(words)?;
    let size = nix::sys::stat::fstat(file)?.st_size;
    let seals = SealFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GET_SEALS)?);
    if u64::try_from(size) != Ok(bytes.get() as u64) || !seals.contains(SealFlag::F_SEAL_SHRINK) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok(bytes)
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
        let (shared, _file) = Shared::in_file(1 << 20).unwrap();
        assert!(shared.words().iter().step_by(4096).all(|word| word.load(Ordering::Relaxed) == 0));
        shared.words()[12_345].store(7, Ordering::SeqCst);
        assert_eq!(shared.words()[12_345].load(Ordering::SeqCst), 7);
    }

    const PART: usize = 64 * 1024 / 8;

    #[test]
    fn what_is_released_is_zero_and_the_rest_stays() {
        let (shared, file) = Shared::in_file(3 * PART).unwrap();
        let words = shared.words();
        [0, PART - 1, PART, 2 * PART - 1, 2 * PART].into_iter().for_each(|at| words[at].store(7, SeqCst));
        let blocks = || nix::sys::stat::fstat(&file).unwrap().st_blocks;
        let before = blocks();
        shared.release(PART..2 * PART).unwrap();
        // To read a page is to have it again.
        assert!(blocks() < before, "the memory went back");
        let now = [0, PART - 1, PART, 2 * PART - 1, 2 * PART].map(|at| words[at].load(SeqCst));
        assert_eq!(now, [7, 7, 0, 0, 7]);
        for wrong in [1..PART, 0..0, 0..4 * PART, PART..PART + 1] {
            assert!(shared.release(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    /// What becomes of a process that does this.
    fn ends(act: impl FnOnce() -> i32) -> crate::sys::process::Ended {
        let child = crate::sys::process::fork_of_test(|_| act()).unwrap();
        crate::sys::process::wait(&child).unwrap()
    }

    #[test]
    fn a_confined_process_writes_its_parts_and_nothing_else_whatever_it_tries() {
        use crate::sys::process::Ended;
        use crate::sys::sandbox::probe;
        let (shared, file) = Shared::in_file(4 * PART).unwrap();
        let confine = || shared.confine(file.as_fd(), &[PART..2 * PART, 3 * PART..4 * PART]).unwrap();
        let worked = ends(|| {
            let confined = confine();
            confined.writable[0][5].store(1, SeqCst);
            confined.writable[1][0].store(2, SeqCst);
            let seen = [PART + 5, 3 * PART].map(|at| confined.words[at].load(SeqCst));
            i32::from(seen != [1, 2] || confined.writable.iter().any(|part| part.len() != PART))
        });
        assert_eq!(worked, Ended::Code(0));
        assert_eq!(shared.words()[PART + 5].load(SeqCst), 1, "everybody sees it");
        for at in [0, PART - 1, 2 * PART, 3 * PART - 1] {
            let stored = ends(|| {
                confine().words[at].store(9, SeqCst);
                0
            });
            assert_eq!(stored, Ended::Signal(nix::libc::SIGSEGV), "{at}");
            let unlocked = ends(|| {
                let word = &confine().words[at];
                // EACCES: it may never be written.
                i32::from(probe::make_writable(word) != Err(nix::libc::EACCES))
            });
            assert_eq!(unlocked, Ended::Code(0), "{at}");
            assert_eq!(shared.words()[at].load(SeqCst), 0);
        }
        let elsewhere = ends(|| {
            let words = confine().words;
            i32::from(probe::move_and_make_writable(&words[..PART]) != Err(nix::libc::EACCES))
        });
        assert_eq!(elsewhere, Ended::Code(0), "a copy is no more writable");
        // Whoever is not confined goes on.
        shared.words()[0].store(3, SeqCst);
        assert!(shared.confine(file.as_fd(), std::slice::from_ref(&(1..PART))).is_err(), "not a page");
        shared.words()[0].store(4, SeqCst);
    }
}
