//! Who is on the other end of a Unix socket.

use super::user;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use std::io;
use std::os::fd::AsFd;

/// A process, as the kernel knew it when it connected, or when it began to listen (SO_PEERCRED, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub(crate) uid: u32,
    /// Its process id; 0 if it cannot be seen from here.
    pub(crate) pid: u32,
}

impl Peer {
    /// Of a connected socket.
    ///
    /// # Errors
    /// ENOTSOCK and the like.
    pub(crate) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let found = getsockopt(socket, PeerCredentials)?;
        Ok(Self { uid: found.uid(), pid: u32::try_from(found.pid()).unwrap_or(0) })
    }

    /// Whether it is the superuser's or our own: any other could be anybody.
    #[must_use]
    pub(crate) fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == user::uid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_end_is_trusted_and_a_stranger_is_not() {
        let (one, _two) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer, Peer { uid: user::uid(), pid: std::process::id() });
        assert!(peer.is_trusted() && Peer { uid: 0, pid: 1 }.is_trusted());
        assert!(!Peer { uid: user::uid() + 1, pid: 1 }.is_trusted());
    }
}
