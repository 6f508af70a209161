//! Addresses and blocks of addresses.

use super::located::{Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::source::absolute;
use super::walk::Form;
use super::written::Written;
use crate::http::Network;
use crate::http::network;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// An address to listen on, or of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Address {
    /// `:8000`: every interface, IPv4 and IPv6 (two sockets).
    Any(u16),
    /// `127.0.0.1:8000`, `[::1]:8000`.
    Tcp(std::net::SocketAddr),
    /// `unix:/run/x.sock`.
    Unix(PathBuf),
    /// `systemd:http`: every socket of that name (`FileDescriptorName=`) that is passed at the start. To listen on only.
    Passed(String),
}

const EXAMPLES: &str =
    "write \":8000\" (every interface), \"127.0.0.1:8000\", \"[::1]:8000\" or \"unix:/run/x.sock\"";

impl Address {
    /// The address as it is written in a file or on the command line; `dir` is where a relative path starts.
    pub(crate) fn parse(text: &str, dir: &Path) -> Result<Self, Complaint> {
        let bad = |hint: String| Err(Complaint::new(format!("`{text}` is not an address"), hint));
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return bad("for example \"unix:/run/x.sock\"".to_owned());
            }
            let path = absolute(dir, path);
            // sockaddr_un has 108 bytes with the NUL at the end (unix(7)).
            if path.as_os_str().len() > 107 {
                let what = format!("the path of `{text}` is longer than 107 bytes");
                return Err(Complaint::new(what, "use a shorter one, for example below /run"));
            }
            return Ok(Self::Unix(path));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // What systemd takes as FileDescriptorName=, without the names that we give ourselves.
            let good = |char: char| char.is_ascii_graphic() && char != ':';
            if name.is_empty() || name.len() > 255 || !name.chars().all(good) || name.starts_with("hatchery-")
            {
                return bad(
                    "after `systemd:` stands a FileDescriptorName=, for example \"systemd:http\"".to_owned()
                );
            }
            return Ok(Self::Passed(name.to_owned()));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address));
        }
        if text.contains("://") {
            let after = text.split_once("://").map_or("", |(_, after)| after).trim_end_matches('/');
            return bad(format!("write it without the scheme: \"{after}\""));
        }
        if text.parse::<u16>().is_ok() {
            return bad(format!("did you mean \":{text}\"?"));
        }
        let unbracketed =
            text.rsplit_once(':').filter(|(host, port)| is_v6(host) && port.parse::<u16>().is_ok());
        if let Some((host, port)) = unbracketed {
            return bad(format!("an IPv6 address stands in brackets: \"[{host}]:{port}\""));
        }
        let inside =
            text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).filter(|text| is_v6(text));
        if let Ok(ip) = inside.unwrap_or(text).parse::<IpAddr>() {
            let example = SocketAddr::new(ip, 8000);
            return Err(Complaint::new(
                format!("`{text}` has no port"),
                format!("for example \"{example}\""),
            ));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let hint = if text.starts_with('/') {
                format!("did you mean \"unix:{text}\"?")
            } else {
                EXAMPLES.to_owned()
            };
            return bad(hint);
        };
        let Ok(number) = port.parse::<u16>() else {
            let what = format!("`{port}` in `{text}` is not a port");
            return Err(Complaint::new(what, "a port is a number from 0 to 65535"));
        };
        match host {
            "" => Ok(Self::Any(number)),
            "*" => bad(format!("did you mean \":{number}\"?")),
            "localhost" => Ok(Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), number))),
            _ if host.contains(':') => bad(EXAMPLES.to_owned()),
            _ => Err(Complaint::new(
                format!("`{host}` is not an address"),
                "write an IP address, or `localhost`",
            )),
        }
    }

    /// Both cannot be bound at the same time, although they are not the same.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(port), Self::Tcp(tcp)) | (Self::Tcp(tcp), Self::Any(port)) => {
                *port == tcp.port() && *port != 0
            }
            (Self::Tcp(one), Self::Tcp(two)) => {
                one != two
                    && one.port() == two.port()
                    && one.port() != 0
                    && one.is_ipv4() == two.is_ipv4()
                    && (one.ip().is_unspecified() || two.ip().is_unspecified())
            }
            _ => false,
        }
    }

    /// The port of a TCP address.
    #[must_use]
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Any(port) => Some(*port),
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) | Self::Passed(_) => None,
        }
    }
}

/// As it is written in the file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, ":{port}"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Passed(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl Form for Address {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let dir = &node.file.dir;
        if let Shape::Integer(port @ 0..=65535) = node.shape() {
            let what = format!("expected an address, found the number {port}");
            return node.refuse(report, Complaint::new(what, format!("write \":{port}\"")));
        }
        node.parse(report, "an address such as \":8000\"", |text| Self::parse(text, dir))
    }

    fn write(&self) -> Written {
        Written::text(self)
    }
}

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, one address, or `unix:`.
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "unix:" {
            return Ok(Self::Unix);
        }
        let bad = || {
            let hint = "write \"10.0.0.0/8\", \"2001:db8::/32\", \"192.0.2.7\" or \"unix:\" (peers of Unix listeners)";
            Complaint::new(format!("`{text}` is not a network"), hint)
        };
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(Complaint::new(format!("`{text}`: at most /{most}"), ""));
        }
        let first = network::first(base, bits);
        if first != base {
            let what = format!("`{text}` has bits below its prefix");
            return Err(Complaint::new(what, format!("did you mean \"{first}/{bits}\"?")));
        }
        Ok(Self::Block { base, bits })
    }
}

fn is_v6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

impl Form for Network {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a network such as \"10.0.0.0/8\"", Self::parse)
    }

    fn write(&self) -> Written {
        Written::text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_their_mistakes() {
        let parse = |text: &str| Address::parse(text, Path::new("/etc/hatchery"));
        for text in [":8000", "127.0.0.1:8000", "[::1]:8000", "unix:/run/x.sock", ":0", "systemd:http"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("unix:x.sock").unwrap(), Address::Unix("/etc/hatchery/x.sock".into()));
        assert_eq!(parse("localhost:80").unwrap().to_string(), "127.0.0.1:80");
        for (text, hint) in [
            ("8000", "did you mean \":8000\"?"),
            ("*:80", "did you mean \":80\"?"),
            ("::1:8000", "an IPv6 address stands in brackets: \"[::1]:8000\""),
            ("http://10.0.0.1:9000/", "write it without the scheme: \"10.0.0.1:9000\""),
            ("/run/x.sock", "did you mean \"unix:/run/x.sock\"?"),
            ("127.0.0.1", "for example \"127.0.0.1:8000\""),
            ("127.0.0.1:99999", "a port is a number from 0 to 65535"),
            ("systemd:", "after `systemd:` stands a FileDescriptorName=, for example \"systemd:http\""),
            ("systemd:a:b", "after `systemd:` stands a FileDescriptorName=, for example \"systemd:http\""),
            ("db.example:80", "write an IP address, or `localhost`"),
            ("", EXAMPLES),
        ] {
            assert_eq!(parse(text).unwrap_err().hint, hint, "{text}");
        }
        assert!(parse(&format!("unix:/{}", "x".repeat(108))).is_err());
    }

    #[test]
    fn overlapping_addresses_are_known() {
        let parse = |text: &str| Address::parse(text, Path::new("/")).unwrap();
        for (one, two, want) in [
            (":80", "127.0.0.1:80", true),
            (":80", "[::]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::]:80", false),
            (":80", ":81", false),
            (":80", ":80", false),
            (":0", "127.0.0.1:0", false),
            ("unix:/a", ":80", false),
        ] {
            assert_eq!(parse(one).overlaps(&parse(two)), want, "{one} {two}");
            assert_eq!(parse(two).overlaps(&parse(one)), want, "{two} {one}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        for (network, peer, want) in [
            ("10.0.0.0/8", Some("10.255.0.1"), true),
            ("10.0.0.0/8", Some("11.0.0.1"), false),
            ("10.0.0.0/8", Some("::ffff:10.0.0.1"), true),
            ("0.0.0.0/0", Some("203.0.113.9"), true),
            ("0.0.0.0/0", Some("::1"), false),
            ("::1", Some("::1"), true),
            ("unix:", None, true),
            ("unix:", Some("127.0.0.1"), false),
            ("::/0", None, false),
        ] {
            let peer = peer.map(|text| text.parse().unwrap());
            assert_eq!(Network::parse(network).unwrap().contains(peer), want, "{network} {peer:?}");
        }
        assert_eq!(Network::parse("10.1.2.3/8").unwrap_err().hint, "did you mean \"10.0.0.0/8\"?");
        for text in ["all", "10.0.0.0/33", "10/8", ""] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
