//! Blocks of addresses, as they are believed, let in and asked for in conditions.

use std::fmt;
use std::net::IpAddr;

/// A block of IP addresses, `10.0.0.0/8`, or the peers of Unix listeners (`unix:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// All peers of Unix listeners.
    Unix,
    /// `base/bits`.
    Block {
        /// First address.
        base: IpAddr,
        /// Length of the prefix.
        bits: u8,
    },
}

impl Network {
    /// The peer is in it; `None` is the peer of a Unix listener. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub(crate) fn contains(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Self::Unix, None) => true,
            (Self::Block { base, bits }, Some(peer)) => {
                let peer = peer.to_canonical();
                peer.is_ipv4() == base.is_ipv4() && first(peer, *bits) == *base
            }
            _ => false,
        }
    }
}

/// The first address of the block that the address is in.
pub(crate) fn first(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix:"),
            Self::Block { base, bits } => write!(f, "{base}/{bits}"),
        }
    }
}
