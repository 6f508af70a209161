//! Anonymous shared memory as a slice of atomic words: created before the first fork, seen by every fork.

use std::io;
use std::num::NonZeroUsize;
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
        let bytes = words
            .checked_mul(size_of::<AtomicU64>())
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
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

    /// The words.
    #[must_use]
    pub fn words(&self) -> &'static [AtomicU64] {
        // SAFETY: the mapping is page aligned, zeroed (a valid AtomicU64), `words` long and never unmapped.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn words_start_at_zero_and_keep_what_is_stored() {
        let shared = Shared::new(1 << 20).unwrap();
        assert!(shared.words().iter().step_by(4096).all(|word| word.load(Ordering::Relaxed) == 0));
        shared.words()[12_345].store(7, Ordering::SeqCst);
        assert_eq!(shared.words()[12_345].load(Ordering::SeqCst), 7);
    }
}
