//! Pairs of SOCK_SEQPACKET sockets: messages keep their borders, and a descriptor may travel along (SCM_RIGHTS).

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A connected pair, close-on-exec and non-blocking.
///
/// # Errors
/// EMFILE, ENFILE.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one packet, with a descriptor if given.
///
/// # Errors
/// `WouldBlock` while the peer's buffer is full, EPIPE when the peer is gone.
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let numbers = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let rights = numbers.as_ref().map(|numbers| [ControlMessage::ScmRights(numbers)]);
    let messages = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
    let parts = [IoSlice::new(packet)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, messages, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one packet into `buffer`: its length (0: the peer is gone) and the descriptor that came along.
///
/// # Errors
/// `WouldBlock` if none waits; `InvalidData` if it was longer than `buffer`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([libc::c_int; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => break message,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptor = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just made this descriptor for us; dropping a second one closes it.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok((message.bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

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
