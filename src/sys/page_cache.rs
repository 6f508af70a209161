//! What of a file lies in memory: reading that does not wait for a disk (`preadv2(2)` with RWF_NOWAIT). Where a file
//! system cannot say, everything counts as in memory; waiting for it is then up to whoever reads.

use nix::errno::Errno;
use nix::libc;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Between two bytes asked for. The kernel reads ahead in larger steps (128 KiB by default), so that what is missing
/// between two pages that are there is rare.
const STRIDE: usize = 32 * 1024;

/// Reads `len` bytes from `offset` on if none of them has to come from a disk; fewer if the file ends before. `None`:
/// some have to.
///
/// # Errors
/// As `pread(2)`: EIO, EISDIR; EINVAL if the offset does not fit.
pub(crate) fn read_if_cached(file: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut data = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_now(file, offset.saturating_add(filled as u64), rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                return super::file::read_at(file, offset, len).map(Some);
            }
            Err(error) => return Err(error.into()),
        }
    }
    data.truncate(filled);
    Ok(Some(data))
}

/// Reads once into `buffer` what can be read without waiting for a disk; `None`: nothing of it.
///
/// # Errors
/// As `pread(2)`.
pub(crate) fn read_into_if_cached(
    file: BorrowedFd<'_>,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    match read_now(file, offset, buffer) {
        Err(Errno::EAGAIN) => Ok(None),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => super::file::read_into(file, offset, buffer).map(Some),
        read => Ok(Some(read?)),
    }
}

/// Whether this part of a file can be read without waiting for a disk. Errors are left to who reads.
#[must_use]
pub(crate) fn is_cached(file: BorrowedFd<'_>, range: &Range<u64>) -> bool {
    let last = range.end.saturating_sub(1);
    let asked = range.clone().step_by(STRIDE).chain((last > range.start).then_some(last));
    let mut byte = [0];
    asked.into_iter().all(|offset| read_now(file, offset, &mut byte) != Err(Errno::EAGAIN))
}

/// Asks the kernel to have this part of a file in memory soon; does not wait.
pub(crate) fn want_soon(file: BorrowedFd<'_>, offset: u64, len: usize) {
    let (Ok(offset), Ok(len)) = (libc::off_t::try_from(offset), libc::off_t::try_from(len)) else { return };
    let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_WILLNEED;
    // Advice: without it the next read is slower.
    let _ = nix::fcntl::posix_fadvise(file, offset, len, advice);
}

fn read_now(file: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> nix::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    loop {
        // SAFETY: the kernel writes at most the length of `buffer`, which is borrowed mutably across the call.
        let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
        match Errno::result(count) {
            Err(Errno::EINTR) => {}
            result => return result.map(|count| count as usize),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    /// Has the kernel drop a file from memory; whether it does so on this file system. Advice about a page that some
    /// processor has just put aside has no effect; it has a moment later.
    pub(crate) fn drop_from_memory(file: &std::fs::File) -> bool {
        use nix::sys::statfs::{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, fstatfs};
        if ![EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC].contains(&fstatfs(file).unwrap().filesystem_type()) {
            return false;
        }
        file.sync_all().unwrap();
        for _ in 0..10_000 {
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            nix::fcntl::posix_fadvise(file, 0, 0, advice).unwrap();
            if pages_in_memory(file) == 0 {
                return true;
            }
            std::thread::yield_now();
        }
        panic!("the kernel keeps {} pages of the file in memory", pages_in_memory(file));
    }

    /// By `mincore(2)`: asking by a read would have the kernel read ahead.
    fn pages_in_memory(file: &std::fs::File) -> usize {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let Some(size) = std::num::NonZeroUsize::new(length) else { return 0 };
        let mut pages = vec![0_u8; length.div_ceil(4096)];
        // SAFETY: a new mapping of its own, which nobody reads through; `pages` has a byte for each page of it.
        let asked = unsafe {
            let map = mmap(None, size, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0).unwrap();
            let asked = libc::mincore(map.as_ptr(), length, pages.as_mut_ptr());
            munmap(map, length).unwrap();
            asked
        };
        assert_eq!(asked, 0);
        pages.iter().filter(|page| **page & 1 == 1).count()
    }

    #[test]
    fn what_is_not_in_memory_is_not_waited_for() {
        let mut file = crate::sys::fd::unnamed_file(&std::env::temp_dir()).unwrap();
        file.write_all(&vec![7; 3 << 20]).unwrap();
        if !drop_from_memory(&file) {
            return;
        }
        let all = 0..3 << 20;
        assert!(!is_cached(file.as_fd(), &all));
        assert_eq!(read_if_cached(file.as_fd(), 2 << 20, 4096).unwrap(), None);
        let data = crate::sys::file::read_at(file.as_fd(), 0, 3 << 20).unwrap();
        assert!(is_cached(file.as_fd(), &all));
        assert_eq!(read_if_cached(file.as_fd(), 0, 3 << 20).unwrap(), Some(data));
    }

    #[test]
    fn a_file_that_is_shorter_gives_what_it_has() {
        let mut file = crate::sys::fd::unnamed_file(&std::env::temp_dir()).unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(read_if_cached(file.as_fd(), 4, 100).unwrap(), Some(b"456789".to_vec()));
        assert_eq!(read_if_cached(file.as_fd(), 40, 100).unwrap(), Some(Vec::new()));
        assert!(is_cached(file.as_fd(), &(0..10)) && is_cached(file.as_fd(), &(0..0)));
        assert!(read_if_cached(file.as_fd(), u64::MAX, 1).is_err());
    }
}
