//! Listening sockets: bound, non-blocking, close-on-exec; inherited ones (sd_listen_fds(3)) are taken over.

use super::carried::Carried;
use super::place::{self, Access, Aside, Hold, Identity, Place};
use super::{inherited, process, rights};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Local {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

/// A bound socket that listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The socket.
    pub(crate) socket: Carried,
    /// Where it is bound; the real port for port 0.
    pub(crate) local: Local,
    /// An inherited IPv6 socket that takes IPv4 too.
    pub(crate) dual: bool,
    /// The file of a Unix socket that we made, to remove no other at the end.
    pub(crate) file: Option<Identity>,
}

/// Listens on a TCP address. An IPv6 socket takes IPv6 only.
///
/// # Errors
/// EADDRINUSE, EACCES for a port below 1024 without the right to, EADDRNOTAVAIL for an address this machine does not
/// have.
pub(crate) fn tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound { socket: socket.into(), local: Local::Tcp(local), dual: false, file: None })
}

/// Listens on a port of every interface: IPv4, and IPv6 where this machine has it, on the same port.
///
/// # Errors
/// As [`tcp`].
pub(crate) fn any(port: u16) -> io::Result<Vec<Bound>> {
    // Port 0: the kernel picks one for IPv4, which may be taken for IPv6; then it picks again.
    let mut attempts = if port == 0 { 16 } else { 1 };
    loop {
        attempts -= 1;
        let four = tcp((Ipv4Addr::UNSPECIFIED, port).into())?;
        let Local::Tcp(bound) = four.local else { return Ok(vec![four]) };
        match tcp((Ipv6Addr::UNSPECIFIED, bound.port()).into()) {
            Ok(six) => return Ok(vec![four, six]),
            Err(error) if lacks_ipv6(&error) => return Ok(vec![four]),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on at the moment.
///
/// # Errors
/// As bind(2).
pub(crate) fn free_port() -> io::Result<u16> {
    // Closed at once: it has had no connection, so that the port is free.
    let bound = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(bound.local_addr()?.port())
}

/// Whether this machine has no IPv6 at all.
#[must_use]
pub(crate) fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

/// Listens on a path, for peers that may use it so and send no descriptors. A socket that a dead process left there is
/// replaced, a living one is not. Where others can change the directory, the socket is made aside and shows up with its
/// mode and owner: what has its name at some other moment may be a link of theirs.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if something else than a socket is there; what bind says; a link
/// on the way that cannot be trusted.
pub(crate) fn unix(path: &Path, access: Access) -> io::Result<Bound> {
    let place = Place::of(path)?;
    clear(&place)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    rights::refuse(socket.as_fd());
    let file = if place.hold() == Hold::Own {
        // Bound by its own path, which tools show. Nobody can connect before it listens.
        socket.bind(&SockAddr::unix(place.path())?)?;
        let made = place.stat()?.as_ref().map(place::identity);
        let listening = place.set(access).and_then(|()| socket.listen(BACKLOG));
        listening.inspect_err(|_| drop(made.map(|made| place.remove(made))))?;
        made
    } else {
        let aside = Aside::new(&place)?;
        socket.bind(&SockAddr::unix(aside.path())?)?;
        aside.set(access)?;
        socket.listen(BACKLOG)?;
        Some(aside.publish()?)
    };
    Ok(Bound { socket: socket.into(), local: Local::Unix(path.to_owned()), dual: false, file })
}

/// Removes the socket of a dead process at this place.
fn clear(place: &Place) -> io::Result<()> {
    let found = match place.open(OFlag::O_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let stat = nix::sys::stat::fstat(&found)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFSOCK {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    // This very socket, whatever has its name by now.
    if listens(&PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()))) {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    place.remove(place::identity(&stat))
}

/// Whether somebody listens on the socket at `path`: connecting is the only way to know. A full backlog is alive.
fn listens(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        // Whoever listens there may be anybody, and nothing is to be heard from them.
        rights::send_only(socket.as_fd())?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        Err(error) => {
            !matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::ENOENT | libc::ENOTDIR))
        }
    }
}

/// Gives the file of a socket that we made another mode and group; false: it has them already. Whoever may use it before and
/// after may do so all the time, nobody else meanwhile.
///
/// # Errors
/// ENOENT: something else has its name by now; EPERM.
pub(crate) fn set_access(path: &Path, file: Identity, access: Access) -> io::Result<bool> {
    let place = Place::of(path)?;
    let opened = place.open(OFlag::O_PATH)?;
    let stat = nix::sys::stat::fstat(&opened)?;
    if place::identity(&stat) != file {
        return Err(io::ErrorKind::NotFound.into());
    }
    let group = access.group.map_or_else(|| place.group_of_new(), Ok)?;
    let mode = stat.st_mode & 0o777;
    if (mode, stat.st_gid) == (access.mode, group) {
        return Ok(false);
    }
    place::set_mode(opened.as_fd(), mode & access.mode)?;
    place::set_group(opened.as_fd(), group)?;
    place::set_mode(opened.as_fd(), access.mode).map(|()| true)
}

/// Whether the file of a socket that we made still has its name.
#[must_use]
pub(crate) fn is_there(path: &Path, file: Identity) -> bool {
    place::identity_at(path) == Some(file)
}

/// Removes the file of a socket that we made, unless something else has its name by now.
pub(crate) fn remove(path: &Path, file: Identity) {
    // Nothing more can be done about a file that stays.
    let _ = Place::of(path).and_then(|place| place.remove(file));
}

/// Takes over the listening sockets that systemd or a test harness passed (LISTEN_FDS, LISTEN_PID), with their names
/// (LISTEN_FDNAMES; empty without), and removes the variables, so that no child takes them for its own.
///
/// # Errors
/// With more than one thread, as [`process::forget_variables`].
pub(crate) fn inherited() -> io::Result<Vec<(String, Bound)>> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<i32>().ok());
    let ours = number("LISTEN_PID").is_some_and(|pid| pid.unsigned_abs() == std::process::id());
    let count = number("LISTEN_FDS").filter(|count| ours && (0..1024).contains(count)).unwrap_or(0);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    process::forget_variables(&[c"LISTEN_FDS", c"LISTEN_PID", c"LISTEN_FDNAMES"])?;
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    let taken = (3..3 + count).zip(names);
    Ok(taken.filter_map(|(number, name)| Some((name, take_over(inherited::take(number)?)?))).collect())
}

/// An inherited descriptor, if it is a listening socket of a kind that we serve.
fn take_over(socket: OwnedFd) -> Option<Bound> {
    let view = SockRef::from(&socket);
    if !view.is_listener().ok()? || view.r#type().ok()? != Type::STREAM {
        return None;
    }
    view.set_nonblocking(true).ok()?;
    // Before somebody connects to what we serve; fails for TCP, which carries none.
    rights::refuse(socket.as_fd());
    let address = view.local_addr().ok()?;
    let local = address
        .as_socket()
        .map(Local::Tcp)
        .or_else(|| address.as_pathname().map(|path| Local::Unix(path.to_owned())))?;
    let dual = matches!(local, Local::Tcp(SocketAddr::V6(_))) && !view.only_v6().unwrap_or(true);
    Some(Bound { socket: socket.into(), local, dual, file: None })
}

/// While `on`, a TCP connection is reported only once it has sent something: whoever only knocks wakes nobody.
/// Harmless on other sockets.
pub(crate) fn defer_accept(socket: BorrowedFd<'_>, on: bool) {
    let delay = if on { Duration::from_secs(10) } else { Duration::ZERO };
    let seconds = libc::c_int::try_from(delay.as_secs()).unwrap_or(0);
    // Refused by Unix sockets, which need it least.
    let _ = nix::sys::socket::setsockopt(&socket, TcpDeferAccept, &seconds);
}

#[derive(Clone, Copy)]
struct TcpDeferAccept;

impl nix::sys::socket::SetSockOpt for TcpDeferAccept {
    type Val = libc::c_int;

    fn set<F: std::os::fd::AsFd>(&self, fd: &F, value: &Self::Val) -> nix::Result<()> {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the pointer and size describe a living integer.
        let result = unsafe {
            libc::setsockopt(
                fd.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_DEFER_ACCEPT,
                std::ptr::from_ref(value).cast(),
                size,
            )
        };
        nix::errno::Errno::result(result).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hatchery-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn port_zero_becomes_a_real_port_and_taken_is_told() {
        let bound = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let Local::Tcp(address) = bound.local else { panic!() };
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).unwrap();
        assert_eq!(tcp(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let elsewhere = tcp("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
        defer_accept(bound.socket.as_fd(), true);
        defer_accept(bound.socket.as_fd(), false);
    }

    #[test]
    fn every_interface_is_one_port_in_both_families() {
        let bound = any(0).unwrap();
        let ports: Vec<u16> = bound
            .iter()
            .map(|bound| if let Local::Tcp(address) = &bound.local { address.port() } else { 0 })
            .collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
        assert_eq!(any(ports[0]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let folder = folder("listener");
        let path = folder.join("x.sock");
        let first = unix(&path, Access::of_mode(0o600)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(unix(&path, Access::of_mode(0o600)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = unix(&path, Access::of_mode(0o666)).unwrap();
        assert!(is_there(&path, second.file.unwrap()) && !is_there(&folder, second.file.unwrap()));
        remove(&folder.join("x.sock"), (0, 0));
        assert!(path.exists(), "another file");
        remove(&path, second.file.unwrap());
        assert!(!path.exists());
        let file = folder.join("file");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(unix(&file, Access::of_mode(0o600)).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_socket_that_is_there_gets_another_mode_and_group() {
        let folder = folder("access");
        let path = folder.join("x.sock");
        let file = unix(&path, Access::of_mode(0o666)).unwrap().file.unwrap();
        let found = || std::fs::metadata(&path).map(|found| (found.mode() & 0o777, found.gid())).unwrap();
        let own = found().1;
        assert!(!set_access(&path, file, Access::of_mode(0o666)).unwrap(), "nothing to do");
        assert!(set_access(&path, file, Access::of_mode(0o600)).unwrap());
        assert_eq!(found(), (0o600, own));
        if crate::sys::user::is_root() {
            let access = Access { group: Some(1), ..Access::of_mode(0o660) };
            assert!(set_access(&path, file, access).unwrap());
            assert_eq!(found(), (0o660, 1));
            let again = unix(&folder.join("y.sock"), access).unwrap();
            assert!(!set_access(&folder.join("y.sock"), again.file.unwrap(), access).unwrap(), "made so");
            assert!(set_access(&path, file, Access::of_mode(0o660)).unwrap());
            assert_eq!(found(), (0o660, own), "a group that is not named any more");
        }
        let error = set_access(&path, (0, 0), Access::of_mode(0o666)).unwrap_err();
        assert_eq!((error.kind(), found().0 & 0o006), (io::ErrorKind::NotFound, 0), "another file");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_inherited_socket_is_recognised_and_anything_else_is_not() {
        let bound = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = bound.local.clone();
        assert_eq!(take_over(bound.socket.try_clone().unwrap()).unwrap().local, local);
        assert!(take_over(std::fs::File::open("/dev/null").unwrap().into()).is_none());
    }
}
