//! Descriptors that come along with messages of Unix sockets (SCM_RIGHTS, unix(7)).
//!
//! Any peer of a Unix socket may send some. Whoever reads the message gets them, or, if it has asked for none or has no
//! room for them, the kernel closes them in the reader's name; what nobody has read is closed by whoever closes the socket.
//! And a descriptor can be made so that its last close sleeps for as long as its sender likes (SO_LINGER on a socket whose
//! peer does not read). So a socket that expects no descriptor says so to the kernel ([`refuse`]), one that only sends is
//! shut for what comes ([`send_only`], on any kernel), and one that expects them takes all of them ([`receive`]), to judge
//! them afterwards and to have somebody close them who may sleep.

use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// SO_PASSRIGHTS of asm-generic/socket.h: whether the socket takes descriptors, 1 until it is set. Linux 6.16.
const SO_PASSRIGHTS: libc::c_int = 83;

/// Most descriptors of one message: SCM_MAX_FD of the kernel.
pub(crate) const MOST: usize = 253;

/// Room for that many, with their header (cmsg(3)), in words that are aligned for it.
const SPACE: usize = (MOST * size_of::<RawFd>() + size_of::<libc::cmsghdr>()) / size_of::<u64>() + 2;

/// Has whoever sends a descriptor to this Unix socket get EPERM, and nothing else happen. Connections to a listener are as
/// the listener was when they were made, so this comes before listen(2). False where the kernel does not know it.
pub(crate) fn refuse(socket: BorrowedFd<'_>) -> bool {
    pass(socket, false)
}

/// Has descriptors come again over a socket whose maker expected none.
pub(crate) fn expect(socket: BorrowedFd<'_>) {
    pass(socket, true);
}

fn pass(socket: BorrowedFd<'_>, any: bool) -> bool {
    let any = libc::c_int::from(any);
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an integer that lives across the call, and its size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const any).cast(), length)
    };
    result == 0
}

/// Whether the kernel knows [`refuse`].
#[must_use]
pub fn can_be_refused() -> bool {
    use std::os::fd::AsFd as _;
    std::os::unix::net::UnixDatagram::unbound().is_ok_and(|socket| refuse(socket.as_fd()))
}

/// Has whoever sends anything to this Unix socket get EPIPE, on any kernel. May come before connect(2).
///
/// # Errors
/// ENOTSOCK.
pub(crate) fn send_only(socket: BorrowedFd<'_>) -> io::Result<()> {
    refuse(socket);
    Ok(nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Read)?)
}

/// What one [`receive`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes written to the buffer; 0 is the end.
    pub(crate) bytes: usize,
    /// Of a packet: it was longer than the buffer.
    pub(crate) cut: bool,
    /// Descriptors were lost: this process may not open as many more.
    pub(crate) lost: bool,
}

/// Receives bytes and all descriptors that came with them (close-on-exec), which are the caller's from then on, whatever
/// they are.
///
/// # Errors
/// EAGAIN when nothing waits, ECONNRESET.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    take: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let mut space = [0_u64; SPACE];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: plain old data, for which zero is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&space) as _;
    let bytes = loop {
        // SAFETY: `message` points to `buffer` and `space`, with their sizes; all of them live across the call.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(result) {
            Ok(bytes) => break bytes,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    // SAFETY: the kernel has filled `message`, whose control part lies in `space`.
    unsafe { collect(&message, take) };
    let flag = |flag| message.msg_flags & flag != 0;
    Ok(Received { bytes, cut: flag(libc::MSG_TRUNC), lost: flag(libc::MSG_CTRUNC) })
}

/// Takes over every descriptor of a received message.
///
/// # Safety
/// `message` was filled by recvmsg(2), its control part is there, and this is called once for it.
unsafe fn collect(message: &libc::msghdr, take: &mut Vec<OwnedFd>) {
    // SAFETY: as the caller says; each header lies within the control part, as CMSG_FIRSTHDR and CMSG_NXTHDR see to, and
    // its length is that of what follows it. The kernel has made the descriptors for us: nobody else owns them.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(part) = header.as_ref() {
            if part.cmsg_level == libc::SOL_SOCKET && part.cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
                let length = (part.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for at in 0..length / size_of::<RawFd>() {
                    take.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::transfer::send_with_descriptor;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    fn file() -> std::fs::File {
        std::fs::File::open("/dev/null").unwrap()
    }

    /// Sends that many at once.
    fn send(socket: &UnixStream, count: usize) -> nix::Result<usize> {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let file = file();
        let numbers = vec![file.as_raw_fd(); count];
        let rights = [ControlMessage::ScmRights(&numbers)];
        sendmsg::<()>(socket.as_raw_fd(), &[io::IoSlice::new(b"x")], &rights, MsgFlags::empty(), None)
    }

    #[test]
    fn as_many_come_as_a_message_can_bring_and_each_is_owned() {
        let (one, two) = UnixStream::pair().unwrap();
        for count in [1, 2, 8, 9, MOST] {
            send(&one, count).unwrap();
            let (mut buffer, mut taken) = ([0; 8], Vec::new());
            let received = receive(two.as_fd(), &mut buffer, &mut taken).unwrap();
            assert_eq!(received, Received { bytes: 1, cut: false, lost: false });
            assert_eq!(taken.len(), count);
            for descriptor in &taken {
                let flags = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
                assert_eq!(flags, libc::FD_CLOEXEC);
            }
        }
        assert!(send(&one, MOST + 1).is_err());
    }

    #[test]
    fn who_sends_one_to_a_socket_that_refuses_gets_an_error_and_bytes_go_on() {
        if !can_be_refused() {
            return eprintln!("nothing to test: this kernel has no SO_PASSRIGHTS (Linux 6.16)");
        }
        let (mut one, two) = UnixStream::pair().unwrap();
        assert!(refuse(two.as_fd()));
        assert_eq!(send(&one, 1), Err(nix::Error::EPERM));
        one.write_all(b"bytes").unwrap();
        let (mut buffer, mut taken) = ([0; 8], Vec::new());
        assert_eq!(receive(two.as_fd(), &mut buffer, &mut taken).unwrap().bytes, 5);
        assert!(taken.is_empty());
        expect(two.as_fd());
        assert_eq!(send(&one, 1), Ok(1));
        // The other way round nobody has refused.
        send_with_descriptor(two.as_fd(), b"x", Some(file().as_fd())).unwrap();
    }

    #[test]
    fn nothing_comes_back_to_a_socket_that_only_sends() {
        let directory = std::env::temp_dir().join(format!("hatchery-rights-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(directory.join("x.sock")).unwrap();
        let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        // The older kernels' half of `send_only`.
        client.shutdown(std::net::Shutdown::Read).unwrap();
        client.connect(&socket2::SockAddr::unix(directory.join("x.sock")).unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(send(&server, 1), Err(nix::Error::EPIPE));
        client.send(b"there").unwrap();
        let (mut buffer, mut taken) = ([0; 8], Vec::new());
        assert_eq!(receive(server.as_fd(), &mut buffer, &mut taken).unwrap().bytes, 5);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_packet_that_is_too_long_is_told_of() {
        let (one, two) = crate::sys::seqpacket::pair().unwrap();
        nix::unistd::write(&one, b"longer").unwrap();
        let (mut buffer, mut taken) = ([0; 2], Vec::new());
        assert!(receive(two.as_fd(), &mut buffer, &mut taken).unwrap().cut);
        let error = receive(two.as_fd(), &mut buffer, &mut taken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
