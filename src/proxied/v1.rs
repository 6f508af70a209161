//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 4711 80`, CR and LF.

use super::{Addresses, Header, Mistake};
use std::net::{IpAddr, SocketAddr};
use std::str::{FromStr, Split};

/// How every line begins.
pub(super) const START: &[u8] = b"PROXY ";

/// The longest line, with its end.
const LONGEST: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Mistake> {
    let seen = bytes.get(..LONGEST).unwrap_or(bytes);
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < LONGEST { Ok(None) } else { Err(Mistake::TooLong) };
    };
    let line = seen.get(..end).and_then(|line| line.strip_suffix(b"\r")?.strip_prefix(START));
    let addresses = addresses(line.ok_or(Mistake::Line)?).ok_or(Mistake::Line)?;
    Ok(Some(Header { addresses, length: end + 1 }))
}

/// What stands between the beginning and the end of a line; `None`: it is malformed.
fn addresses(line: &[u8]) -> Option<Option<Addresses>> {
    // What else stands in such a line has no meaning.
    if line.split(|byte| *byte == b' ').next() == Some(b"UNKNOWN") {
        return Some(None);
    }
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let ips = match words.next()? {
        "TCP4" => (ip::<std::net::Ipv4Addr>(&mut words)?, ip::<std::net::Ipv4Addr>(&mut words)?),
        "TCP6" => (ip::<std::net::Ipv6Addr>(&mut words)?, ip::<std::net::Ipv6Addr>(&mut words)?),
        _ => return None,
    };
    let ports = (port(&mut words)?, port(&mut words)?);
    let (source, destination) = (SocketAddr::new(ips.0, ports.0), SocketAddr::new(ips.1, ports.1));
    words.next().is_none().then_some(Some(Addresses { source, destination }))
}

fn ip<T: FromStr + Into<IpAddr>>(words: &mut Split<'_, char>) -> Option<IpAddr> {
    Some(words.next()?.parse::<T>().ok()?.into())
}

/// Without signs and leading zeros.
fn port(words: &mut Split<'_, char>) -> Option<u16> {
    let word = words.next()?;
    let port: u16 = word.parse().ok()?;
    (port.to_string() == word).then_some(port)
}

pub(super) fn write(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    let line = match addresses {
        None => "PROXY UNKNOWN\r\n".to_owned(),
        Some(Addresses { source, destination }) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let ports = (source.port(), destination.port());
            format!("PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), ports.0, ports.1)
        }
    };
    out.extend_from_slice(line.as_bytes());
}
