//! What the allocator keeps.

/// Gives free memory back to the system; the allocator does so by itself only for what lies at the end of the heap. Takes
/// about a millisecond for each MiB that there is.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; it locks what it looks at.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
