//! Stream sockets of a worker: accept, connect, options. All of them non-blocking and close-on-exec.

use super::rights;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, sockopt,
};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Takes one connection from a listener, with the peer's address (`None` for Unix sockets, which take no descriptors).
///
/// # Errors
/// EAGAIN when none waits, EMFILE and ENFILE when descriptors run out, ECONNABORTED when the peer has gone.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    loop {
        // SAFETY: sockaddr_storage is plain old data, for which zero is a valid value.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `storage` and `length` live across the call and match each other.
        let fd =
            unsafe { libc::accept4(listener.as_raw_fd(), (&raw mut storage).cast(), &raw mut length, flags) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        // SAFETY: accept4 returned a new descriptor that nobody else owns; `storage` holds `length` valid bytes.
        let (fd, address) = unsafe {
            (OwnedFd::from_raw_fd(fd), SockaddrStorage::from_raw((&raw const storage).cast(), Some(length)))
        };
        let address = address.and_then(|address| ip_address(&address));
        if address.is_none() {
            // As its listener does, unless it was made before we had that: a socket unit's may have waited.
            rights::refuse(as_fd(&fd));
        }
        return Ok((fd, address));
    }
}

fn ip_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::new(IpAddr::V6(v6.ip()), v6.port()))
}

/// Begins a TCP connection; it is there once the socket is writable and [`error`] is `None`.
///
/// # Errors
/// ENETUNREACH, EADDRNOTAVAIL, EMFILE…; ECONNREFUSED may come at once on loopback.
pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = stream_socket(family)?;
    no_delay(as_fd(&fd));
    begin(&fd, &SockaddrStorage::from(address))
}

/// Where the peer of an accepted connection connected to; `None` for Unix sockets.
#[must_use]
pub(crate) fn local(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    ip_address(&socket::getsockname(fd.as_raw_fd()).ok()?)
}

/// What may come over a connection to a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Bytes, and descriptors: see [`rights::receive`].
    Descriptors,
    /// Bytes only.
    Bytes,
    /// Nothing: it is for sending.
    Nothing,
}

/// Connects to a Unix socket. It connects at once or not at all: EAGAIN means that the listener's backlog is full.
///
/// # Errors
/// ENOENT, ECONNREFUSED, EACCES, EAGAIN, EMFILE.
pub(crate) fn connect_unix(path: &Path, expect: Expect) -> io::Result<OwnedFd> {
    let socket = stream_socket(AddressFamily::Unix)?;
    expect.tell(as_fd(&socket))?;
    begin(&socket, &UnixAddr::new(path)?)
}

/// Connects to a Unix socket that was opened (O_PATH), whatever has its name by now; nothing is to be received.
///
/// # Errors
/// As [`connect_unix`].
pub(crate) fn connect_opened(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    connect_unix(Path::new(&path), Expect::Nothing)
}

impl Expect {
    fn tell(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Self::Descriptors => Ok(()),
            Self::Bytes => {
                rights::refuse(socket);
                Ok(())
            }
            Self::Nothing => rights::send_only(socket),
        }
    }
}

/// The process id of who listens on the Unix socket that `fd` is connected to, or has connected to the one that `fd` was
/// accepted from (SO_PEERCRED, unix(7)); `None`: it cannot be seen from here.
#[must_use]
pub(crate) fn peer_process(fd: BorrowedFd<'_>) -> Option<u32> {
    let credentials = socket::getsockopt(&fd, sockopt::PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok().filter(|pid| *pid > 0)
}

/// The user who listens on the Unix socket that `fd` is connected to (SO_PEERCRED, unix(7)).
#[must_use]
pub(crate) fn peer_user(fd: BorrowedFd<'_>) -> Option<u32> {
    Some(socket::getsockopt(&fd, sockopt::PeerCredentials).ok()?.uid())
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket::socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?)
}

fn begin(fd: &OwnedFd, address: &dyn SockaddrLike) -> io::Result<OwnedFd> {
    match socket::connect(fd.as_raw_fd(), address) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(fd.try_clone()?),
        Err(error) => Err(error.into()),
    }
}

fn as_fd(fd: &OwnedFd) -> BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(fd)
}

/// The pending error of a socket, such as that of a connect; reading it clears it.
#[must_use]
pub(crate) fn error(fd: BorrowedFd<'_>) -> Option<io::Error> {
    match socket::getsockopt(&fd, sockopt::SocketError) {
        Ok(0) => None,
        Ok(code) => Some(io::Error::from_raw_os_error(code)),
        Err(error) => Some(error.into()),
    }
}

/// Sends small writes at once (TCP_NODELAY); without effect on Unix sockets.
pub(crate) fn no_delay(fd: BorrowedFd<'_>) {
    let _ = socket::setsockopt(&fd, sockopt::TcpNoDelay, &true);
}

/// How many bytes that were written the peer's kernel has not acknowledged (SIOCOUTQ, tcp(7)). On a Unix socket: how
/// much memory those take that the peer has not read, which is more.
///
/// # Errors
/// EBADF and the like.
pub(crate) fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one number, which lives across the call.
    let asked = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    nix::Error::result(asked)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Closes the writing side: the peer reads end of file and may still send.
pub(crate) fn shut_write(fd: BorrowedFd<'_>) {
    let _ = socket::shutdown(fd.as_raw_fd(), Shutdown::Write);
}

/// Ends both directions without closing: the peer reads end of file, and cannot send any more.
pub(crate) fn shut(fd: BorrowedFd<'_>) {
    let _ = socket::shutdown(fd.as_raw_fd(), Shutdown::Both);
}

/// Makes the coming close a reset (SO_LINGER 0), so that the peer sees a response that broke off.
pub(crate) fn reset_on_close(fd: BorrowedFd<'_>) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = socket::setsockopt(&fd, sockopt::Linger, &linger);
}

/// Whether a connection waits in a listener. [`accept`] without a descriptor to spare does not tell: it fails before it
/// looks.
#[must_use]
pub(crate) fn is_waiting(listener: BorrowedFd<'_>) -> bool {
    let mut set = [PollFd::new(listener, PollFlags::POLLIN)];
    poll(&mut set, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn accept_names_the_peer_and_says_when_none_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = connect_tcp(listener.local_addr().unwrap()).unwrap();
        let mut poll = [nix::poll::PollFd::new(listener.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut poll, 5_000u16).unwrap();
        assert!(is_waiting(listener.as_fd()));
        let (server, peer) = accept(listener.as_fd()).unwrap();
        assert!(!is_waiting(listener.as_fd()));
        let (client, server) = (std::net::TcpStream::from(client), std::net::TcpStream::from(server));
        assert_eq!(peer, client.local_addr().ok());
        assert_eq!(local(server.as_fd()), listener.local_addr().ok());
        assert!(error(client.as_fd()).is_none());
    }

    #[test]
    fn a_refused_connection_is_an_error_now_or_later() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        if let Ok(fd) = connect_tcp(port) {
            let mut poll = [nix::poll::PollFd::new(fd.as_fd(), nix::poll::PollFlags::POLLOUT)];
            nix::poll::poll(&mut poll, 5_000u16).unwrap();
            assert!(error(fd.as_fd()).is_some());
        }
        assert!(connect_unix(Path::new("/nonexistent/socket"), Expect::Bytes).is_err());
    }
}
