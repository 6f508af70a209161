//! Where a server of an upstream is: an address, or a name that is looked up while we run; and `resolver: (…)`, who is asked.

use super::address::Address;
use super::located::{Node, Report};
use super::problem::Complaint;
use super::walk::{Form, Section, Walk};
use super::written::Written;
use crate::balance::PLACES;
use crate::control::helper::SERVICE;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// Always there (never [`Address::Any`] or [`Address::Passed`]).
    At(Address),
    /// Where its name leads.
    Named(Name),
}

/// A name that is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `api.internal:8080`: its addresses, all on this port.
    Host(String, u16),
    /// `srv:_http._tcp.api.internal`: the hosts and ports that its SRV records name (RFC 2782).
    Service(String),
}

impl Where {
    /// So many servers it may come to.
    pub(crate) fn places(&self) -> usize {
        if self.name().is_some() { PLACES } else { 1 }
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        if let Self::Named(name) = self { Some(name) } else { None }
    }

    pub(crate) fn address(&self) -> Option<&Address> {
        if let Self::At(address) = self { Some(address) } else { None }
    }

    /// Its TCP port, as far as it is known.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::At(address) => address.port(),
            Self::Named(Name::Host(_, port)) => Some(*port),
            Self::Named(Name::Service(_)) => None,
        }
    }

    /// Its host as its certificate names it: of a service the domain (RFC 6125 §6.5).
    pub(crate) fn host(&self) -> Option<String> {
        let name = match self {
            Self::At(Address::Tcp(address)) => return Some(address.ip().to_string()),
            Self::At(_) => return None,
            Self::Named(Name::Host(host, _)) => host.as_str(),
            Self::Named(Name::Service(name)) => {
                let labels: Vec<&str> = name.splitn(3, '.').collect();
                labels.get(2).copied()?
            }
        };
        Some(name.trim_end_matches('.').to_owned())
    }
}

impl Form for Where {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let dir = &node.file.dir;
        node.parse(report, "an address such as \"127.0.0.1:9000\", or (address: …, weight: …)", |text| {
            if let Some(rest) = text.strip_prefix("https://") {
                let address = rest.trim_end_matches('/');
                let port =
                    if address.rsplit(']').next().is_some_and(|end| end.contains(':')) { "" } else { ":443" };
                let what = "TLS is a key of the upstream, not a scheme of its servers";
                return Err(Complaint::new(
                    what,
                    format!("write \"{address}{port}\", and `tls: ()` beside `servers`"),
                ));
            }
            let name = Name::parse(text).transpose()?;
            match name
                .map_or_else(|| Address::parse(text, dir).map(Self::At), |name| Ok(Self::Named(name)))?
            {
                Self::At(Address::Any(port)) => Err(Complaint::new(
                    format!("`{text}` names no host"),
                    format!("for a server on this machine write \"127.0.0.1:{port}\""),
                )),
                Self::At(Address::Passed(_)) => Err(Complaint::new(
                    format!("`{text}` is an address to listen on"),
                    "write where the server listens, for example \"unix:/run/x.sock\"",
                )),
                address if address.port() == Some(0) => {
                    Err(Complaint::new(format!("`{text}`: nothing listens on port 0"), ""))
                }
                address => Ok(address),
            }
        })
    }

    fn write(&self) -> Written {
        Written::text(self)
    }
}

impl Name {
    /// As it is asked for: the port has nothing to do with it.
    pub(crate) fn question(&self) -> String {
        match self {
            Self::Host(host, _) => host.clone(),
            Self::Service(name) => format!("{SERVICE}{name}"),
        }
    }

    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    /// `None`: it is none, or something is wrong with it, which [`Address::parse`] says.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Complaint>> {
        if let Some(name) = text.strip_prefix(SERVICE) {
            let is_service =
                name.starts_with('_') && name.split('.').nth(1).is_some_and(|protocol| protocol == "_tcp");
            return Some(if is_service && is_name(name) && name.splitn(3, '.').count() == 3 {
                Ok(Self::Service(name.to_ascii_lowercase()))
            } else {
                let what = format!("`{text}` names no service");
                Err(Complaint::new(what, "for example \"srv:_http._tcp.api.internal\""))
            });
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        (is_name(host) && host != "localhost").then(|| Ok(Self::Host(host.to_ascii_lowercase(), port)))
    }
}

/// Whether it can be looked up (RFC 1035 §2.3.4), and is not rather a number.
fn is_name(text: &str) -> bool {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..64).contains(&label.len()) && label.bytes().all(is_good) && !label.starts_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    bare.len() <= 253 && bare.split('.').all(is_label) && !bare.rsplit('.').next().is_some_and(is_number)
}

/// As it is written in the file.
impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Service(name) => write!(f, "{SERVICE}{name}"),
        }
    }
}

/// `resolver: (…)`: who is asked for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers; those of the system, with its `/etc/hosts`.
    pub(crate) servers: Vec<NameServer>,
}

/// A name server: `"10.0.0.2"`, or with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameServer(pub(crate) SocketAddr);

/// Where a name server listens that gives no port.
const DNS: u16 = 53;

impl Form for NameServer {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "the address of a name server, such as \"10.0.0.2\"", |text| {
            let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
            let address = alone.or_else(|_| text.parse::<SocketAddr>());
            match address {
                Ok(address) if address.port() != 0 => Ok(Self(address)),
                _ => Err(Complaint::new(
                    format!("`{text}` is not the address of a name server"),
                    "write its IP address, \"10.0.0.2\", or that with a port, \"10.0.0.2:5353\"",
                )),
            }
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.0)
    }
}

impl Section for Resolver {
    const SHORT: Option<&'static str> = Some("servers");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("servers", &mut self.servers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses_and_mistakes() {
        let parse = |text: &str| Name::parse(text);
        for (text, host) in [
            ("api.internal:8080", "api.internal"),
            ("my_app:8000", "my_app"),
            ("api.internal.:80", "api.internal"),
            ("srv:_http._tcp.api.internal", "api.internal"),
        ] {
            let found = Where::Named(parse(text).unwrap().unwrap());
            assert_eq!((found.to_string().as_str(), found.host().as_deref()), (text, Some(host)));
        }
        assert_eq!(parse("API.internal:80"), Some(Ok(Name::Host("api.internal".to_owned(), 80))));
        let long = format!("{}:80", "a".repeat(64));
        for other in [
            "127.0.0.1:80",
            "[::1]:80",
            "::1:80",
            "localhost:80",
            "1.2.3:80",
            "a..b:80",
            ":80",
            "a",
            "a:x",
            "a b:80",
            &long,
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        for wrong in
            ["srv:api.internal", "srv:_http._udp.api", "srv:_http._tcp", "srv:", "srv:_http._tcp.a..b"]
        {
            assert!(parse(wrong).unwrap().is_err(), "{wrong}");
        }
    }
}
