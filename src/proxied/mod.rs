//! The header of the PROXY protocol (haproxy's `proxy-protocol.txt`), with which a proxy begins a connection to say whose it
//! is: a line in version 1, bytes in version 2. Pure.
//!
//! A header is judged from the bytes that have come so far: [`read`] has its addresses and length once it is whole, wants
//! more as long as it can still become one, and else says what is wrong. Nothing behind the header is looked at.

mod v1;
mod v2;

use std::net::SocketAddr;

/// A header is never longer.
pub const MOST: usize = 4096;

/// The two ends of a connection, as its proxy has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// The one that the client connected to.
    pub destination: SocketAddr,
}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None`: those of the connection itself hold. It is the proxy's own (LOCAL), of a kind that is not said (UNSPEC), or of
    /// one without IP addresses.
    pub addresses: Option<Addresses>,
    /// Bytes that it takes.
    pub length: usize,
}

/// A version, to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// Why some bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// They begin like none.
    Absent,
    /// It has more bytes than it may have.
    TooLong,
    /// A line of version 1 that is not of the grammar.
    Line,
    /// A version, command, family or protocol that there is not.
    Unknown,
    /// Addresses or the fields behind them do not fit the length that is announced.
    Length,
    /// Its checksum is another one.
    Checksum,
}

impl Mistake {
    /// What is wrong with the header, for the log.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Absent => "is missing; have the proxy send one, or remove it from `proxy_protocol`",
            Self::TooLong => "is too long",
            Self::Line => "is a malformed line",
            Self::Unknown => "is of an unknown version, command or family",
            Self::Length => "has parts that do not fit its length",
            Self::Checksum => "has a wrong checksum",
        }
    }
}

/// The header that these bytes begin with; `None`: more are needed to know.
///
/// # Errors
/// They do not begin with a header, whatever follows.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Mistake> {
    let begins_as = |start: &[u8]| bytes.iter().zip(start).all(|(byte, wanted)| byte == wanted);
    if begins_as(v2::SIGNATURE) {
        v2::read(bytes)
    } else if begins_as(v1::START) {
        v1::read(bytes)
    } else {
        Err(Mistake::Absent)
    }
}

/// Writes a header; without addresses it says that there are none to tell.
pub fn write(version: Version, addresses: Option<Addresses>, out: &mut Vec<u8>) {
    let addresses = addresses.map(Addresses::of_one_family);
    match version {
        Version::V1 => v1::write(addresses, out),
        Version::V2 => v2::write(addresses, out),
    }
}

impl Addresses {
    /// A header has room for one family: IPv4 where both are (RFC 4291 §2.5.5.2), else IPv6.
    fn of_one_family(self) -> Self {
        let Self { mut source, mut destination } = self;
        for end in [&mut source, &mut destination] {
            end.set_ip(end.ip().to_canonical());
        }
        if source.is_ipv4() != destination.is_ipv4() {
            for end in [&mut source, &mut destination] {
                if let SocketAddr::V4(four) = *end {
                    *end = (four.ip().to_ipv6_mapped(), four.port()).into();
                }
            }
        }
        Self { source, destination }
    }
}

#[cfg(test)]
mod tests;
