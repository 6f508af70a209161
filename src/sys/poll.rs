//! Waiting on a handful of descriptors: poll(2), level-triggered, the set built anew for every wait. The master has no
//! more descriptors than children, so there is nothing to register and nothing to forget. Workers use `event/`.

use crate::timer::Time;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::BorrowedFd;

/// What to wait for on one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Until it can be read (or the peer is gone).
    pub(crate) read: bool,
    /// Until it can be written.
    pub(crate) write: bool,
}

impl Interest {
    /// Reading only.
    pub(crate) const READ: Self = Self { read: true, write: false };

    /// Writing only.
    pub(crate) const WRITE: Self = Self { read: false, write: true };
}

/// The descriptors of one wait, each with what it stands for.
#[derive(Debug)]
pub(crate) struct Set<'a, T> {
    descriptors: Vec<PollFd<'a>>,
    tokens: Vec<T>,
}

/// What happened to one descriptor. A closed or broken one is readable: the read says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready<T> {
    /// What the descriptor stands for.
    pub(crate) token: T,
    /// Can be read.
    pub(crate) read: bool,
    /// Can be written.
    pub(crate) write: bool,
}

impl<'a, T: Copy> Set<'a, T> {
    /// An empty set.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { descriptors: Vec::new(), tokens: Vec::new() }
    }

    /// Adds a descriptor.
    pub(crate) fn add(&mut self, descriptor: BorrowedFd<'a>, token: T, interest: Interest) {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, interest.read);
        flags.set(PollFlags::POLLOUT, interest.write);
        self.descriptors.push(PollFd::new(descriptor, flags));
        self.tokens.push(token);
    }

    /// Waits until a descriptor is ready, or until `deadline` (`None`: for ever). A signal ends the wait early with
    /// nothing ready. A deadline that has passed only looks.
    ///
    /// # Errors
    /// EINVAL with more descriptors than the limit of open files, ENOMEM.
    pub(crate) fn wait(mut self, now: Time, deadline: Option<Time>) -> io::Result<Vec<Ready<T>>> {
        let timeout = deadline.map(|deadline| TimeSpec::from_duration(deadline.since(now)));
        match ppoll(&mut self.descriptors, timeout, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let broken = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        let ready = self.descriptors.iter().zip(&self.tokens).filter_map(|(descriptor, token)| {
            let flags = descriptor.revents().unwrap_or(PollFlags::empty());
            (!flags.is_empty()).then(|| Ready {
                token: *token,
                read: flags.intersects(PollFlags::POLLIN | broken),
                write: flags.intersects(PollFlags::POLLOUT | broken),
            })
        });
        Ok(ready.collect())
    }
}

impl<T: Copy> Default for Set<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn tells_which_descriptor_is_ready_and_for_what() {
        let (mut one, two) = UnixStream::pair().unwrap();
        one.write_all(b"x").unwrap();
        let mut set = Set::new();
        set.add(one.as_fd(), 1, Interest::READ);
        set.add(two.as_fd(), 2, Interest { read: true, write: true });
        let ready = set.wait(Time::ZERO, None).unwrap();
        assert_eq!(ready, [Ready { token: 2, read: true, write: true }]);
    }

    #[test]
    fn a_passed_deadline_does_not_wait_and_a_gone_peer_is_readable() {
        let (one, two) = UnixStream::pair().unwrap();
        let mut set = Set::new();
        set.add(one.as_fd(), (), Interest::READ);
        assert!(set.wait(Time(5), Some(Time(1))).unwrap().is_empty());
        drop(two);
        let mut set = Set::new();
        set.add(one.as_fd(), (), Interest::READ);
        assert!(set.wait(Time(5), None).unwrap()[0].read);
    }
}
