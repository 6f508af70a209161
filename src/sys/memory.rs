//! What the allocator keeps.

/// Free memory at the end of the heap that stays there: bodies of a megabyte come and go, and what is given back to the system
/// with each of them has to be had again from it, page by page, which costs as much as to pass it on.
#[cfg(target_env = "gnu")]
const KEPT: nix::libc::c_int = 8 << 20;

/// What is larger is had from the system each time. The bound would move by itself if the one above were not set, and the tables
/// of a brotli coder, a few hundred KiB to 2 MiB a response, cost up to a third of its time then, page by page.
#[cfg(target_env = "gnu")]
const LARGE: nix::libc::c_int = 4 << 20;

/// Has the allocator keep what it will need again.
pub(crate) fn keep() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; it sets numbers of the allocator.
    unsafe {
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT);
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives free memory back to the system; the allocator does so by itself only for what lies at the end of the heap. Takes
/// about a millisecond for each MiB that there is.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; it locks what it looks at.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
