//! Version 2: a signature, version and command, family and protocol, the length of the rest; then addresses and fields of
//! type, length and value. Of the fields only the checksum is understood.

use super::{Addresses, Header, MOST, Mistake};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// How every header begins.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// The connection is the proxy's own.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The type of the field with a CRC32c of the whole header.
const CHECKSUM: u8 = 0x03;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Mistake> {
    let Some([.., command, family, high, low]) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([*high, *low]));
    if length > MOST {
        return Err(Mistake::TooLong);
    }
    let local = match *command {
        LOCAL => true,
        PROXY => false,
        _ => return Err(Mistake::Unknown),
    };
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    if local {
        return Ok(Some(Header { addresses: None, length }));
    }
    let (addresses, fields) = addresses(*family, header.get(FIXED..).unwrap_or_default())?;
    check_fields(header, length - fields)?;
    Ok(Some(Header { addresses, length }))
}

/// The addresses, and how many bytes are left behind them. Those of Unix sockets and datagrams are passed over, and where
/// family or protocol is not said, all bytes: what they are is not known.
fn addresses(family: u8, bytes: &[u8]) -> Result<(Option<Addresses>, usize), Mistake> {
    let size = match family {
        0x00 | 0x01 | 0x02 | 0x10 | 0x20 | 0x30 => bytes.len(),
        TCP4 | 0x12 => 12,
        TCP6 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Mistake::Unknown),
    };
    let (block, fields) = bytes.split_at_checked(size).ok_or(Mistake::Length)?;
    let addresses = match family {
        TCP4 => ends::<4>(block),
        TCP6 => ends::<16>(block),
        _ => None,
    };
    Ok((addresses, fields.len()))
}

/// Two addresses of so many bytes, then their ports.
fn ends<const SIZE: usize>(block: &[u8]) -> Option<Addresses>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (source, rest) = block.split_first_chunk::<SIZE>()?;
    let (destination, ports) = rest.split_first_chunk::<SIZE>()?;
    let [a, b, c, d] = *ports.first_chunk()?;
    Some(Addresses {
        source: (*source, u16::from_be_bytes([a, b])).into(),
        destination: (*destination, u16::from_be_bytes([c, d])).into(),
    })
}

/// Walks the fields of a header, which begin there: each must end within it, and a checksum must be right.
fn check_fields(header: &[u8], mut at: usize) -> Result<(), Mistake> {
    while let Some(rest) = header.get(at..).filter(|rest| !rest.is_empty()) {
        let [kind, high, low] = *rest.first_chunk::<3>().ok_or(Mistake::Length)?;
        let start = at + 3;
        at = start + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(start..at).ok_or(Mistake::Length)?;
        if kind == CHECKSUM {
            let sum: [u8; 4] = value.try_into().map_err(|_| Mistake::Length)?;
            if u32::from_be_bytes(sum) != checksum(header, &(start..at)) {
                return Err(Mistake::Checksum);
            }
        }
    }
    Ok(())
}

/// CRC32c of a header in which the checksum itself is taken for zeros.
fn checksum(header: &[u8], without: &Range<usize>) -> u32 {
    let bytes = header.iter().enumerate();
    !bytes.fold(!0, |sum: u32, (at, byte)| {
        let byte = if without.contains(&at) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1)))
    })
}

pub(super) fn write(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Some(Addresses { source, destination }) = addresses else {
        return out.extend_from_slice(&[LOCAL, 0, 0, 0]);
    };
    let (family, size) = if source.is_ipv4() { (TCP4, 12) } else { (TCP6, 36) };
    out.extend_from_slice(&[PROXY, family, 0, size]);
    for end in [source, destination] {
        match end {
            SocketAddr::V4(end) => out.extend_from_slice(&end.ip().octets()),
            SocketAddr::V6(end) => out.extend_from_slice(&end.ip().octets()),
        }
    }
    for end in [source, destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
}
