//! Moving bytes and descriptors over sockets. Every function makes one system call and retries EINTR only.

use super::{file, page_cache};
use crate::buf::{Front, Queue, Stamp};
use nix::fcntl::{self, SpliceFFlags};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Most slices gathered into one write.
const GATHER: usize = 64;

/// As many as nearly every write has; to make the list for more costs as much as the call.
const FEW: usize = 8;

/// Most bytes of a file in one call: the socket takes about so much at a time, and less means asking the file more often
/// whether it is still the same.
pub(crate) const FILE_SLICE: u64 = 2048 * 1024;

/// Of a file that others may change, so much at its end is left to [`write_copy`].
pub(crate) const COPIED: u64 = 68 * 1024;

/// Most bytes of memory in one call: larger ones are slower, not faster, once they leave the processor's caches.
const MEMORY_SLICE: usize = 64 * 1024;

/// Reads into `buffer`; 0 is end of file.
///
/// # Errors
/// EAGAIN when nothing waits, ECONNRESET.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| recv(fd, buffer, MsgFlags::empty()))
}

/// As [`read`], but what was read stays and is read again, with the descriptors that came along.
///
/// # Errors
/// As [`read`].
pub(crate) fn peek(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    retry(|| recv(fd, buffer, MsgFlags::MSG_PEEK))
}

/// Whether a socket has nothing to read, not even its end. What is looked at stays there, and with it the descriptors that
/// came along.
#[must_use]
pub(crate) fn is_silent(fd: BorrowedFd<'_>) -> bool {
    peek(fd, &mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// What one call of [`write_queue`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes that left the queue.
    pub(crate) count: u64,
    /// The socket took less than offered: it is full. Of a file this is only likely: a signal, even one that does no more
    /// than stop and continue the process, ends `sendfile` early too, and then no event tells that there is room.
    pub(crate) short: bool,
}

/// Writes what stands first in the queue and consumes what was written: slices of memory gathered in one `sendmsg`
/// (with MSG_MORE if a file follows), a slice of a file by `sendfile`, or what is in a pipe by `splice`. The end of a file
/// with a stamp is left, see [`COPIED`].
///
/// # Errors
/// EAGAIN when the socket is full, EPIPE and ECONNRESET when the peer has gone. `UnexpectedEof` when a file turned
/// out shorter than its segment, `InvalidData` when it is not any more what its stamp says: the response cannot be
/// completed.
pub(crate) fn write_queue(fd: BorrowedFd<'_>, queue: &mut Queue) -> io::Result<Written> {
    let (count, offered) = match queue.front() {
        Front::Empty => return Ok(Written { count: 0, short: false }),
        Front::File { file, offset, len, stamp } => {
            check(file.as_fd(), stamp)?;
            let left = if stamp.is_some() { COPIED } else { 0 };
            let offered = len.saturating_sub(left).min(FILE_SLICE);
            let count = send_file(fd, file.as_fd().as_raw_fd(), offset, offered)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (count, offered)
        }
        Front::Pipe(pipe, len) => (splice(pipe.outlet(), fd, size(len))? as u64, len),
        Front::Only(bytes) => send_bytes(fd, bytes, MsgFlags::MSG_NOSIGNAL)?,
        Front::Bytes(..=FEW) => send_slices::<FEW>(fd, queue)?,
        Front::Bytes(_) => send_slices::<GATHER>(fd, queue)?,
    };
    queue.consume(count);
    Ok(Written { count, short: count < offered })
}

/// Reads the beginning of the file that stands first in the queue into `buffer` and writes that. Of this copy nothing
/// can change any more, and it is of the state of the stamp: that is compared after the read.
///
/// # Errors
/// As [`write_queue`].
pub(crate) fn write_copy(fd: BorrowedFd<'_>, queue: &mut Queue, buffer: &mut [u8]) -> io::Result<Written> {
    let Front::File { file, offset, stamp, .. } = queue.front() else {
        return Ok(Written { count: 0, short: false });
    };
    let read = copy(file.as_fd(), offset, stamp, true, buffer)?;
    let bytes = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
    let (count, offered) = send_bytes(fd, bytes, MsgFlags::MSG_NOSIGNAL)?;
    queue.consume(count);
    Ok(Written { count, short: count < offered })
}

/// Reads a part of a file that is to be sent, never nothing, of the state of the stamp. `None`: it would have to wait for
/// a disk, and is not to.
///
/// # Errors
/// As [`write_queue`], of files.
pub(crate) fn copy(
    file: BorrowedFd<'_>,
    offset: u64,
    stamp: Option<Stamp>,
    waits: bool,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    let read = if waits {
        file::read_into(file, offset, buffer).map(Some)
    } else {
        page_cache::read_into_if_cached(file, offset, buffer)
    };
    let read = read?;
    check(file, stamp)?;
    if read == Some(0) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) }
}

/// Writes bytes; how many were taken.
///
/// # Errors
/// EAGAIN when the socket is full, EPIPE and ECONNRESET when the peer has gone.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    retry(|| send(fd, bytes, MsgFlags::MSG_NOSIGNAL))
}

/// Moves at most so many bytes from a socket to a pipe or from a pipe to a socket, in the kernel (splice(2)); how many. 0 is
/// the end of what a socket sends. Neither end is waited for.
///
/// # Errors
/// EAGAIN when nothing comes or there is no room, EPIPE and ECONNRESET as for reading and writing; EPERM, ENOSYS and EINVAL
/// where it cannot be done.
pub(crate) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    retry(|| fcntl::splice(from, None, to, None, most, flags))
}

fn size(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Fails if the content is not that of the stamp. A file that cannot be asked is not.
fn check(fd: BorrowedFd<'_>, stamp: Option<Stamp>) -> io::Result<()> {
    match stamp {
        Some(stamp) if file::metadata(fd).ok().is_none_or(|now| now.stamp() != stamp) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"))
        }
        _ => Ok(()),
    }
}

fn send_slices<const MOST: usize>(fd: BorrowedFd<'_>, queue: &Queue) -> io::Result<(u64, u64)> {
    let mut slices = [IoSlice::new(&[]); MOST];
    let (mut used, mut offered) = (0, 0);
    let more = queue.slices(MOST, |slice| {
        let room = MEMORY_SLICE.saturating_sub(offered);
        let slice = slice.get(..room).unwrap_or(slice);
        if !slice.is_empty() {
            slices[used] = IoSlice::new(slice);
            used += 1;
            offered += slice.len();
        }
    });
    let more = if more { MsgFlags::from_bits_retain(libc::MSG_MORE) } else { MsgFlags::empty() };
    let flags = MsgFlags::MSG_NOSIGNAL | more;
    let filled = slices.get(..used).unwrap_or_default();
    if let [one] = filled {
        return send_bytes(fd, one, flags);
    }
    let count = retry(|| sendmsg::<()>(fd.as_raw_fd(), filled, &[], flags, None))?;
    Ok((count as u64, offered as u64))
}

/// Sends one slice without the list of slices, which costs more to fill than the call to make.
fn send_bytes(fd: BorrowedFd<'_>, bytes: &[u8], flags: MsgFlags) -> io::Result<(u64, u64)> {
    let bytes = bytes.get(..MEMORY_SLICE).unwrap_or(bytes);
    let count = retry(|| send(fd, bytes, flags))?;
    Ok((count as u64, bytes.len() as u64))
}

// The two calls of every request, without glibc's: in a process with a thread, which a worker has once a file was read,
// those are points of cancellation, and leaving one costs as much as the rest of the call. Nothing is cancelled here.

fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> nix::Result<usize> {
    let (at, len, none) = (buffer.as_mut_ptr(), buffer.len(), std::ptr::null_mut::<u8>());
    // SAFETY: recvfrom(2): the kernel writes at most `len` bytes into the buffer; no address is asked for.
    let read =
        unsafe { libc::syscall(libc::SYS_recvfrom, fd.as_raw_fd(), at, len, flags.bits(), none, none) };
    nix::Error::result(read).map(|read| read as usize)
}

fn send(fd: BorrowedFd<'_>, bytes: &[u8], flags: MsgFlags) -> nix::Result<usize> {
    let (at, len, none) = (bytes.as_ptr(), bytes.len(), std::ptr::null::<u8>());
    // SAFETY: sendto(2): the kernel reads `len` bytes; no address is given.
    let sent = unsafe { libc::syscall(libc::SYS_sendto, fd.as_raw_fd(), at, len, flags.bits(), none, 0) };
    nix::Error::result(sent).map(|sent| sent as usize)
}

fn send_file(socket: BorrowedFd<'_>, file: RawFd, offset: u64, count: u64) -> io::Result<u64> {
    let mut position = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    retry(|| {
        // SAFETY: the socket is borrowed, the file is open as long as its segment, `position` lives across the call.
        let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file, &raw mut position, count as usize) };
        nix::Error::result(sent).map(|sent| sent as u64)
    })
}

/// Sends bytes, and one descriptor with the first of them.
///
/// # Errors
/// EAGAIN, EPIPE; ETOOMANYREFS when too many descriptors are in flight.
pub(crate) fn send_with_descriptor(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    attach: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let descriptors: Vec<RawFd> = attach.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if attach.is_some() { &rights[..] } else { &[] };
    retry(|| sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None))
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::{Pipe, Segment};
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    #[test]
    fn a_queue_of_bytes_and_files_arrives_in_order() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let directory = std::env::temp_dir();
        let mut file = super::super::fd::unnamed_file(&directory).unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut queue = Queue::new();
        queue.extend(b"head ");
        queue.push(Segment::File {
            file: Rc::new(OwnedFd::from(file).into()),
            offset: 2,
            len: 5,
            stamp: None,
        });
        queue.push(Segment::from(b" tail".to_vec()));
        while !queue.is_empty() {
            write_queue(here.as_fd(), &mut queue).unwrap();
        }
        drop(here);
        let mut text = String::new();
        there.read_to_string(&mut text).unwrap();
        assert_eq!(text, "head 23456 tail");
    }

    #[test]
    fn what_goes_through_a_pipe_arrives_in_order_however_little_is_taken_at_a_time() {
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let here = listener.accept().unwrap().0;
            here.set_nonblocking(true).unwrap();
            (here, there)
        };
        let ((from, mut server), (to, client)) = (pair(), pair());
        let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let sent = body.clone();
        let writer = std::thread::spawn(move || server.write_all(&sent));
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            { client }.read_to_end(&mut all).map(|_| all)
        });
        let wait = |result: io::Result<usize>| match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::yield_now();
                None
            }
            other => Some(other.unwrap()),
        };
        let pipe = Rc::new(Pipe::new(super::super::fd::pipe_of(128 * 1024).unwrap()));
        let mut queue = Queue::new();
        queue.extend(b"head ");
        let mut ended = false;
        while !(ended && queue.is_empty()) {
            if pipe.held() == 0
                && !ended
                && let Some(count) = wait(splice(from.as_fd(), pipe.inlet(), 100_000))
            {
                pipe.filled(count as u64);
                queue.push(Segment::Pipe { pipe: Rc::clone(&pipe), len: count as u64 });
                ended = count == 0;
                assert_eq!((queue.memory() as u64, queue.own() >= count as u64), (queue.len(), true));
            }
            if !queue.is_empty() {
                wait(write_queue(to.as_fd(), &mut queue).map(|written| written.count as usize));
            }
        }
        assert_eq!((pipe.held(), Rc::strong_count(&pipe)), (0, 1));
        drop(to);
        writer.join().unwrap().unwrap();
        assert!(reader.join().unwrap().unwrap() == [b"head ", &*body].concat());
    }

    #[test]
    fn a_file_that_shrank_is_an_error_not_a_loop() {
        let (here, _there) = UnixStream::pair().unwrap();
        let file = super::super::fd::unnamed_file(&std::env::temp_dir()).unwrap();
        let mut queue = Queue::new();
        queue.push(Segment::File {
            file: Rc::new(OwnedFd::from(file).into()),
            offset: 0,
            len: 5,
            stamp: None,
        });
        assert_eq!(write_queue(here.as_fd(), &mut queue).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_descriptor_travels_with_the_first_byte() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = super::super::fd::unnamed_file(&std::env::temp_dir()).unwrap();
        file.write_all(b"body").unwrap();
        send_with_descriptor(here.as_fd(), b"frame", Some(file.as_fd())).unwrap();
        let (mut buffer, mut taken) = ([0u8; 64], Vec::new());
        assert_eq!(super::super::rights::receive(there.as_fd(), &mut buffer, &mut taken).unwrap().bytes, 5);
        let mut copy = std::fs::File::from(taken.remove(0));
        let mut text = String::new();
        std::io::Seek::rewind(&mut copy).unwrap();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "body");
    }
}
