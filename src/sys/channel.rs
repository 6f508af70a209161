//! What children say to the master and it to them, in one direction each, as bytes alone: what they tell, what they print.
//! A child must not be able to hold up who is at the other end.
//!
//! A socket that takes no descriptors (`rights::refuse`) gives it no way to: what is sent lies in memory of the kernel
//! before anybody can read it, and each side has locks of its own. Where the kernel cannot refuse descriptors (before Linux
//! 6.16), closing one that was passed may take for ever, so it is a pipe there. A pipe has one lock for both ends, and
//! whoever splices (splice(2), sendfile(2)) into it from a file that never answers, or writes from memory that such a file
//! backs, holds the lock meanwhile: the reader sleeps, though it asked not to.

use super::rights;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
#[cfg(test)]
use nix::libc;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// Our end, from which we read without blocking, and the child's, to which it writes; both close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn from_child() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = match pair()? {
        Some((ours, theirs)) => {
            shutdown(ours.as_raw_fd(), Shutdown::Write)?;
            (ours, theirs)
        }
        None => nix::unistd::pipe2(OFlag::O_CLOEXEC)?,
    };
    never_block(&ours)?;
    Ok((ours, theirs))
}

/// Our end, to which we write without blocking, and the child's, from which it reads; both close-on-exec.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn to_child() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = match pair()? {
        Some((ours, theirs)) => {
            rights::send_only(ours.as_fd())?;
            (ours, theirs)
        }
        None => {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            (write, read)
        }
    };
    never_block(&ours)?;
    Ok((ours, theirs))
}

/// Has reading or writing fail with EAGAIN where it would wait.
///
/// # Errors
/// EBADF.
pub(crate) fn never_block(end: &OwnedFd) -> io::Result<()> {
    fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Two ends that take no descriptors; `None` where the kernel cannot refuse them.
fn pair() -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let (one, two) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let refused = rights::refuse(one.as_fd()) && rights::refuse(two.as_fd());
    Ok(refused.then_some((one, two)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{ErrorKind, Read as _, Write as _};

    #[test]
    fn bytes_go_one_way_until_nobody_is_left_to_say_any() {
        for (mut reads, mut writes, reader_waits) in [
            from_child().map(|(ours, theirs)| (File::from(ours), File::from(theirs), false)).unwrap(),
            to_child().map(|(ours, theirs)| (File::from(theirs), File::from(ours), true)).unwrap(),
        ] {
            let mut buffer = [0; 16];
            if !reader_waits {
                assert_eq!(reads.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
            }
            writes.write_all(b"said").unwrap();
            assert_eq!(reads.read(&mut buffer).unwrap(), 4);
            assert!(reads.write(b"back").is_err(), "it goes the other way too");
            drop(writes);
            assert_eq!(reads.read(&mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn nobody_holds_up_the_reader_by_splicing_from_what_never_comes() {
        if !rights::can_be_refused() {
            eprintln!("nothing to test: before Linux 6.16 it is a pipe, which can be held");
            return;
        }
        let (ours, theirs) = from_child().unwrap();
        let (silent, source) = std::os::unix::net::UnixStream::pair().unwrap();
        File::from(theirs.try_clone().unwrap()).write_all(b"something to read").unwrap();
        let holder = std::thread::spawn(move || {
            let (to, from) = (theirs.as_raw_fd(), source.as_raw_fd());
            // SAFETY: both are open, and there is no offset.
            unsafe { libc::sendfile(to, from, std::ptr::null_mut(), 4096) }
        });
        let mut buffer = [0; 32];
        assert_eq!(File::from(ours).read(&mut buffer).unwrap(), 17);
        drop(silent);
        assert!(holder.join().unwrap() <= 0);
    }
}
