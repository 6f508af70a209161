//! One epoll instance and the events of one wait.

use super::Source;
use crate::sys::epoll;
use crate::timer::Time;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What the kernel reported of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// Reading may give bytes, end of file or an error.
    pub(crate) read: bool,
    /// Writing may take bytes.
    pub(crate) write: bool,
    /// The peer has closed its writing side: read on until end of file.
    pub(crate) read_closed: bool,
    /// Both directions are closed: by a reset, or by both sides.
    pub(crate) gone: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Poll {
    poll: mio::Poll,
    events: Events,
}

fn token(source: Source) -> Token {
    Token(source.pack() as usize)
}

impl Poll {
    /// A new instance; make it after the fork, never share it.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { poll: mio::Poll::new()?, events: Events::with_capacity(1024) })
    }

    /// Watches a descriptor for reading and writing, edge-triggered, until it is closed.
    ///
    /// # Errors
    /// ENOSPC, ENOMEM; EPERM for a file that cannot be polled.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token(source), both)
    }

    /// Watches a Unix socket for reading only: for writing it has an event whenever its peer has read something.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) fn watch_reading(&self, fd: BorrowedFd<'_>, source: Source) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token(source), Interest::READABLE)
    }

    /// Watches it for writing, too, or no longer; what is so already has an event.
    ///
    /// # Errors
    /// ENOENT if it is not watched, ENOMEM.
    pub(crate) fn watch_writing(&self, fd: BorrowedFd<'_>, source: Source, also: bool) -> io::Result<()> {
        let interest = if also { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().reregister(&mut SourceFd(&fd.as_raw_fd()), token(source), interest)
    }

    /// Stops watching a descriptor that lives on elsewhere.
    pub(crate) fn forget(&self, fd: BorrowedFd<'_>) {
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
    }

    /// Watches a shared listener, level-triggered and exclusive.
    ///
    /// # Errors
    /// EEXIST, ENOSPC, ENOMEM.
    pub(crate) fn watch_listener(&self, fd: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        epoll::add_exclusive(&self.poll, fd, Source::Listener(number).pack())
    }

    /// Stops watching a shared listener; must come before it is closed.
    ///
    /// # Errors
    /// ENOENT if it was not watched.
    pub(crate) fn forget_listener(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        epoll::delete(&self.poll, fd)
    }

    /// Waits for events until `deadline` (`None`: for ever), then reports each.
    ///
    /// # Errors
    /// Only what cannot happen with valid descriptors; EINTR counts as no events.
    pub(crate) fn wait(
        &mut self,
        now: Time,
        deadline: Option<Time>,
        mut report: impl FnMut(Source, Readiness),
    ) -> io::Result<()> {
        // Rounded up: a wait that ends a fraction early would spin until the deadline.
        let timeout =
            deadline.map(|at| Duration::from_millis(at.since(now).as_nanos().div_ceil(1_000_000) as u64));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let Some(source) = Source::unpack(event.token().0 as u64) else { continue };
            let failed = event.is_error();
            let readiness = Readiness {
                read: event.is_readable() || event.is_read_closed() || failed,
                write: event.is_writable() || failed,
                read_closed: event.is_read_closed() || failed,
                gone: event.is_write_closed() || failed,
            };
            report(source, readiness);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    /// What is there to be told at once.
    fn told(poll: &mut Poll) -> Vec<Readiness> {
        let mut told = Vec::new();
        poll.wait(Time::ZERO, Some(Time::ZERO), |_, readiness| told.push(readiness)).unwrap();
        told
    }

    #[test]
    fn a_peer_that_reads_is_no_event_unless_room_is_awaited() {
        let mut poll = Poll::new().unwrap();
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        let source = Source::Link(Key { index: 7, reuse: 0 });
        poll.watch_reading(here.as_fd(), source).unwrap();
        let mut pass = |here: &mut UnixStream| {
            here.write_all(b"request").unwrap();
            there.read_exact(&mut [0; 7]).unwrap();
        };
        pass(&mut here);
        assert_eq!(told(&mut poll), []);
        let room = Readiness { write: true, ..Readiness::default() };
        poll.watch_writing(here.as_fd(), source, true).unwrap();
        assert_eq!(told(&mut poll), [room], "there is some");
        pass(&mut here);
        assert_eq!(told(&mut poll), [room]);
        poll.watch_writing(here.as_fd(), source, false).unwrap();
        pass(&mut here);
        assert_eq!(told(&mut poll), []);
        there.write_all(b"answer").unwrap();
        assert_eq!(told(&mut poll), [Readiness { read: true, ..Readiness::default() }]);
    }
}
