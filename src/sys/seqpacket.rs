//! Pairs of SOCK_SEQPACKET sockets: messages keep their borders, and descriptors may travel along (SCM_RIGHTS).

use super::rights;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A connected pair, close-on-exec and non-blocking.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// A pair over which the first sends and the second receives, and nothing goes the other way, on any kernel: who holds
/// the second gets EPIPE (unix(7)). So nobody can leave a descriptor in the first that its reading, or its closing, would
/// have to close.
///
/// # Errors
/// EMFILE, ENFILE.
pub(crate) fn one_way() -> io::Result<(OwnedFd, OwnedFd)> {
    let (sends, receives) = pair()?;
    rights::send_only(sends.as_fd())?;
    Ok((sends, receives))
}

/// Sends one packet, with a descriptor if given.
///
/// # Errors
/// `WouldBlock` while the peer's buffer is full, EPIPE when the peer is gone; ETOOMANYREFS, but for root, while more
/// descriptors are under way to processes of this user than one may have open.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    send_all(socket, packet, descriptor.as_slice())
}

/// Sends one packet, with these descriptors.
///
/// # Errors
/// As [`send`]; EMSGSIZE for a packet that is larger than the peer's whole buffer.
pub(crate) fn send_all(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let messages = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(packet)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, messages, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet into `buffer`: its length (0: the peer is gone) and the descriptor that came along. Of several the
/// last is returned and the others are closed, so the peer must be somebody who is trusted.
///
/// # Errors
/// `WouldBlock` if none waits; `InvalidData` if it was longer than `buffer`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let received = rights::receive(socket, buffer, &mut descriptors)?;
    if received.cut {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok((received.bytes, descriptors.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_one_way_does_not_go_the_other() {
        let (sends, receives) = one_way().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for descriptors in [&[][..], &[file.as_fd()]] {
            let error = send_all(receives.as_fd(), b"back", descriptors).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        send_all(sends.as_fd(), b"two", &[file.as_fd(), sends.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let (length, last) = receive(receives.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], last.is_some()), (&b"two"[..], true));
        drop((sends, last));
        assert_eq!(receive(receives.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn packets_keep_their_borders_and_carry_a_descriptor() {
        let (one, two) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        send(one.as_fd(), b"first", None).unwrap();
        send(one.as_fd(), b"second", Some(file.as_fd())).unwrap();
        let mut buffer = [0; 16];
        let (length, none) = receive(two.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], none.is_none()), (&b"first"[..], true));
        let (length, some) = receive(two.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], some.is_some()), (&b"second"[..], true));
        assert_eq!(receive(two.as_fd(), &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(receive(two.as_fd(), &mut buffer).unwrap().0, 0);
        assert_eq!(send(two.as_fd(), b"x", None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_packet_too_long_is_refused() {
        let (one, two) = pair().unwrap();
        send(one.as_fd(), b"much too long", None).unwrap();
        assert_eq!(receive(two.as_fd(), &mut [0; 4]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
