//! A stream socket and what it may do: readiness is remembered from the last event and cleared on EAGAIN **and on a
//! short read or write**, which saves the system call that would only say EAGAIN. After the peer closed its side,
//! short reads no longer clear it: end of file is still to come and brings no further edge.

use super::Readiness;
use crate::buf::{Pipe, Queue};
use crate::sys::{rights, socket, transfer};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A non-blocking stream socket with its cached readiness.
#[derive(Debug)]
pub(crate) struct Endpoint {
    fd: OwnedFd,
    readable: bool,
    writable: bool,
    read_closed: bool,
    gone: bool,
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer closed its writing side.
    Eof,
    /// Nothing now; an event will come.
    Blocked,
}

impl Endpoint {
    /// A connection just accepted or made. It is taken for readable and writable until a call says otherwise: a
    /// request is usually there with the connection.
    #[must_use]
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, readable: true, writable: true, read_closed: false, gone: false }
    }

    /// A connection that is being made: nothing can be done before the first event.
    #[must_use]
    pub(crate) fn connecting(fd: OwnedFd) -> Self {
        Self { fd, readable: false, writable: false, read_closed: false, gone: false }
    }

    /// Takes note of an event.
    pub(crate) fn note(&mut self, readiness: Readiness) {
        self.readable |= readiness.read;
        self.writable |= readiness.write;
        self.read_closed |= readiness.read_closed;
        self.gone |= readiness.gone;
    }

    /// Whether reading may give something.
    #[must_use]
    pub(crate) fn readable(&self) -> bool {
        self.readable
    }

    /// Whether writing may take something.
    #[must_use]
    pub(crate) fn writable(&self) -> bool {
        self.writable
    }

    /// Whether the peer has closed its side: what it has sent before may wait to be read.
    #[must_use]
    pub(crate) fn read_closed(&self) -> bool {
        self.read_closed
    }

    /// Whether both directions are closed, by a reset or by both sides.
    #[must_use]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Reads once.
    ///
    /// # Errors
    /// ECONNRESET and the like.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let result = transfer::read(self.fd.as_fd(), buffer);
        self.after_read(result, buffer.len())
    }

    /// Reads once, into a pipe that is empty. A short read says nothing: the pipe may have been full.
    ///
    /// # Errors
    /// As [`transfer::splice`].
    pub(crate) fn read_into(&mut self, pipe: &Pipe, most: usize) -> io::Result<Read> {
        let result = transfer::splice(self.fd.as_fd(), pipe.inlet(), most);
        pipe.filled(result.as_ref().map_or(0, |count| *count as u64));
        self.after_read(result, 0)
    }

    /// Looks at what a read would give, which stays. An event tells when there is more to look at.
    ///
    /// # Errors
    /// ECONNRESET and the like.
    pub(crate) fn peek(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let result = transfer::peek(self.fd.as_fd(), buffer);
        self.after_read(result, buffer.len())
    }

    /// Whether nothing waits to be read, not even the end. Nothing is taken: what came stays, with its descriptors.
    pub(crate) fn is_silent(&mut self) -> bool {
        if !self.readable {
            return true;
        }
        self.readable = !transfer::is_silent(self.fd.as_fd());
        !self.readable
    }

    /// The socket, to be closed elsewhere.
    #[must_use]
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.fd
    }

    /// Reads once, with the descriptors that came along.
    ///
    /// # Errors
    /// ECONNRESET and the like.
    pub(crate) fn read_with_descriptors(
        &mut self,
        buffer: &mut [u8],
        take: &mut Vec<OwnedFd>,
    ) -> io::Result<Read> {
        let result = rights::receive(self.fd.as_fd(), buffer, take).map(|received| received.bytes);
        // A read that brought descriptors ends where they were attached: more may wait.
        let full = if take.is_empty() { buffer.len() } else { 0 };
        self.after_read(result, full)
    }

    fn after_read(&mut self, result: io::Result<usize>, full: usize) -> io::Result<Read> {
        match result {
            Ok(0) => {
                self.read_closed = true;
                Ok(Read::Eof)
            }
            Ok(count) => {
                self.readable = count >= full || self.read_closed;
                Ok(Read::Bytes(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Read::Blocked)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what stands first in the queue; how many bytes left it.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET; `UnexpectedEof` when a file is shorter than its segment.
    pub(crate) fn write(&mut self, queue: &mut Queue) -> io::Result<u64> {
        let written = transfer::write_queue(self.fd.as_fd(), queue);
        self.written(written.map(|written| (written.count, !written.short)))
    }

    /// Writes a copy of the beginning of the file that stands first in the queue, as [`Self::write`].
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_copy(&mut self, queue: &mut Queue, buffer: &mut [u8]) -> io::Result<u64> {
        let written = transfer::write_copy(self.fd.as_fd(), queue, buffer);
        self.written(written.map(|written| (written.count, !written.short)))
    }

    /// Writes bytes; how many were taken.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = transfer::write(self.fd.as_fd(), bytes);
        self.written(sent.map(|count| (count, count == bytes.len())))
    }

    /// How much of what was written the peer's kernel has not acknowledged; nothing if it cannot be asked.
    pub(crate) fn unacknowledged(&self) -> u64 {
        socket::unacknowledged(self.fd.as_fd()).unwrap_or(0)
    }

    /// Writes bytes with a descriptor; how many bytes were taken (the descriptor went if any were).
    ///
    /// # Errors
    /// EPIPE, ECONNRESET.
    pub(crate) fn write_with_descriptor(
        &mut self,
        bytes: &[u8],
        attach: BorrowedFd<'_>,
    ) -> io::Result<usize> {
        let sent = transfer::send_with_descriptor(self.fd.as_fd(), bytes, Some(attach));
        self.written(sent.map(|count| (count, count == bytes.len())))
    }

    /// How much was written, and whether that was everything.
    fn written<T: Default>(&mut self, outcome: io::Result<(T, bool)>) -> io::Result<T> {
        let (count, whole) = match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (T::default(), false),
            outcome => outcome?,
        };
        self.writable = whole;
        Ok(count)
    }

    /// The pending error of the socket; after a connect, whether it worked.
    #[must_use]
    pub(crate) fn error(&self) -> Option<io::Error> {
        socket::error(self.fd.as_fd())
    }

    /// Closes the writing side.
    pub(crate) fn shut_write(&self) {
        socket::shut_write(self.fd.as_fd());
    }

    /// Ends both directions: the peer reads the end, and what is still in it waits for the close.
    pub(crate) fn shut(&self) {
        socket::shut(self.fd.as_fd());
    }

    /// Makes the coming close a reset.
    pub(crate) fn reset_on_close(&self) {
        socket::reset_on_close(self.fd.as_fd());
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Endpoint, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_nonblocking(true).unwrap();
        (Endpoint::new(here.into()), there)
    }

    #[test]
    fn a_short_read_clears_readiness_unless_the_peer_has_closed() {
        let (mut endpoint, mut peer) = pair();
        peer.write_all(b"hello").unwrap();
        let mut buffer = [0u8; 64];
        assert_eq!(endpoint.read(&mut buffer).unwrap(), Read::Bytes(5));
        assert!(!endpoint.readable());
        peer.write_all(b"bye").unwrap();
        drop(peer);
        endpoint.note(Readiness { read: true, read_closed: true, ..Readiness::default() });
        assert_eq!(endpoint.read(&mut buffer).unwrap(), Read::Bytes(3));
        assert!(endpoint.readable());
        assert_eq!(endpoint.read(&mut buffer).unwrap(), Read::Eof);
    }

    #[test]
    fn a_full_socket_is_not_writable() {
        let (mut endpoint, _peer) = pair();
        let mut queue = Queue::new();
        queue.extend(&vec![7u8; 8 << 20]);
        while endpoint.writable() {
            endpoint.write(&mut queue).unwrap();
        }
        assert!(!queue.is_empty());
        assert_eq!(endpoint.write(&mut queue).unwrap(), 0);
    }
}
