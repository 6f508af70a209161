//! The system calls of the floor, nothing around them.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A socket, closed when dropped.
pub type Descriptor = OwnedFd;

/// A descriptor became ready.
#[derive(Clone, Copy)]
pub struct Event {
    pub fd: RawFd,
    /// It waited for room and has some; otherwise there is something to read.
    pub writable: bool,
}

/// Level-triggered epoll: either readable or writable is watched, never both.
pub struct Epoll(OwnedFd);

/// Where the kernel writes what is ready.
pub type Events = Vec<libc::epoll_event>;

pub fn room_for_events() -> Events {
    vec![libc::epoll_event { events: 0, u64: 0 }; 512]
}

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: libc::ssize_t) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

fn interest(fd: RawFd, writable: bool) -> libc::epoll_event {
    let events = if writable { libc::EPOLLOUT } else { libc::EPOLLIN };
    libc::epoll_event { events: events.cast_unsigned(), u64: u64::from(fd.cast_unsigned()) }
}

impl Epoll {
    pub fn new() -> Result<Self> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self(descriptor))
    }

    fn control(&self, operation: libc::c_int, fd: RawFd, writable: bool) -> Result<()> {
        let mut event = interest(fd, writable);
        // SAFETY: `event` lives over the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) }).map(drop)
    }

    pub fn add(&self, fd: RawFd) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, false)
    }

    pub fn change(&self, fd: RawFd, writable: bool) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, writable)
    }

    pub fn wait<'a>(&self, events: &'a mut Events) -> Result<impl Iterator<Item = Event> + use<'a>> {
        let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
        let count = loop {
            // SAFETY: the kernel writes at most `room` events into the vector.
            let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, -1) };
            match check(count) {
                // It was stopped, and goes on.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                count => break usize::try_from(count?).unwrap_or_default(),
            }
        };
        Ok(events.iter().take(count).map(|event| Event {
            fd: RawFd::try_from(event.u64).unwrap_or(-1),
            writable: event.events & libc::EPOLLOUT.cast_unsigned() != 0,
        }))
    }
}

/// Listens on 127.0.0.1.
pub fn listen(port: u16) -> Result<Descriptor> {
    let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the result is checked and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, flags, 0))?) };
    let on: libc::c_int = 1;
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    // SAFETY: both structures live over the calls and their sizes are theirs.
    unsafe {
        check(libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        ))?;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        ))?;
        check(libc::listen(socket.as_raw_fd(), 16384))?;
    }
    Ok(socket)
}

/// The next client that waits.
pub fn accept(listener: &Descriptor) -> Option<Descriptor> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for; the result is checked and owned by nobody else.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) };
    let on: libc::c_int = 1;
    let on_size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: as above; `on` lives over the call.
    check(fd).ok().map(|fd| unsafe {
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), on_size);
        OwnedFd::from_raw_fd(fd)
    })
}

pub fn receive(socket: &Descriptor, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length.
    check_size(unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

pub fn send(socket: &Descriptor, bytes: &[u8], more: bool) -> Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: the kernel reads the slice.
    check_size(unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

pub fn send_file(socket: &Descriptor, file: &File, offset: usize, length: usize) -> Result<usize> {
    let mut offset = libc::off_t::try_from(offset).map_err(Error::other)?;
    // SAFETY: `offset` lives over the call.
    check_size(unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, length) })
}
