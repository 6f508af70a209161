//! `upstreams: {…}`.

use super::address::Address;
use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::Positive;
use super::shape::Shape;
use crate::gateway::Protocol;
use serde::Deserialize;
use std::time::Duration;

/// Servers that requests are balanced over.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its key in the file.
    pub(crate) name: String,
    /// How they are spoken to; HTTP/1.1.
    pub(crate) protocol: Protocol,
    /// One or more.
    pub(crate) servers: Vec<Server>,
    /// To connect; 3 s, 502... 504 when it runs out.
    pub connect_timeout: Duration,
    /// Silence before the first byte of the response and between two reads; 60 s, 504.
    pub(crate) timeout: Duration,
    /// Idle connections kept per worker; 32.
    pub keepalive: u32,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it listens (never [`Address::Any`] or [`Address::Passed`]).
    pub(crate) address: Address,
    /// Its share; 1.
    pub(crate) weight: u32,
}

/// An upstream as written.
#[derive(Deserialize)]
pub(crate) struct RawUpstream<'a> {
    #[serde(borrow)]
    protocol: Option<Located<'a, Protocol>>,
    balance: Option<Located<'a, Balance>>,
    servers: Option<Located<'a, Vec<At<Server>>>>,
    connect_timeout: Option<Located<'a, Positive>>,
    timeout: Option<Located<'a, Positive>>,
    keepalive: Option<Located<'a, u32>>,
}

impl<'a> Raw<'a> for RawUpstream<'a> {
    const LATER: &'static [&'static str] = &["health", "sticky"];
}

/// A server as written, if it is more than an address.
#[derive(Deserialize)]
pub(crate) struct RawServer<'a> {
    #[serde(borrow)]
    address: Option<Located<'a, ServerAddress>>,
    weight: Option<Located<'a, u32>>,
}

impl<'a> Raw<'a> for RawServer<'a> {}

impl Upstream {
    /// The upstream of this name.
    pub(crate) fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawUpstream<'_>>(report)?;
        let protocol = at.or(raw.protocol, Protocol::Http, report);
        at.or(raw.balance, Balance, report);
        let before = report.problems.len();
        let servers = at.need(raw.servers, "servers", "[\"127.0.0.1:9000\"]", report);
        let all_read = report.problems.len() == before;
        let connect_timeout = at.or(raw.connect_timeout, Positive(Duration::from_secs(3)), report).0;
        let timeout = at.or(raw.timeout, Positive(Duration::from_secs(60)), report).0;
        let keepalive = at.or(raw.keepalive, 32, report);
        let servers = servers?;
        if servers.is_empty() && all_read {
            node.complain(report, Complaint::new("no server", "for example servers: [\"127.0.0.1:9000\"]"));
        }
        for (index, server) in servers.iter().enumerate() {
            let first = servers.iter().take(index).find(|other| other.value.address == server.value.address);
            if let Some(first) = first {
                let what = format!("the same server as {}", first.place.mention());
                report.add(&server.place, Complaint::new(what, "give it once, with a larger `weight`"));
            }
        }
        let servers = servers.into_iter().map(|server| server.value).collect();
        Some(Self { name: name.to_owned(), protocol, servers, connect_timeout, timeout, keepalive })
    }
}

impl Read for Protocol {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let known = [Self::Http, Self::Scgi].map(|protocol| (protocol.name(), protocol));
        node.choice(report, &known, &["FastCgi", "Uwsgi"])
    }
}

#[derive(Clone, Copy)]
struct Balance;

impl Read for Balance {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &[("RoundRobin", Self)], &["LeastConnections", "Hash"])
    }
}

/// `"127.0.0.1:9000"` or `(address: "127.0.0.1:9000", weight: 2)`.
impl Read for Server {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if !matches!(node.shape(), Shape::Struct(_)) {
            return ServerAddress::read(node, report).map(|address| Self { address: address.0, weight: 1 });
        }
        let (raw, at) = node.fields::<RawServer<'_>>(report)?;
        let address = at.need(raw.address, "address", "\"127.0.0.1:9000\"", report);
        let weight = at.or(raw.weight, 1, report);
        if weight == 0 || weight > 10_000 {
            node.complain(report, Complaint::new("`weight` is out of range", "from 1 to 10000"));
        }
        Some(Self { address: address?.0, weight })
    }
}

struct ServerAddress(Address);

impl Read for ServerAddress {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let dir = &node.file.dir;
        node.parse(report, "an address such as \"127.0.0.1:9000\", or (address: …, weight: …)", |text| {
            if text.starts_with("https://") {
                return Err(Complaint::later("scheme", "https"));
            }
            match Address::parse(text, dir)? {
                Address::Any(port) => Err(Complaint::new(
                    format!("`{text}` names no host"),
                    format!("for a server on this machine write \"127.0.0.1:{port}\""),
                )),
                Address::Passed(_) => Err(Complaint::new(
                    format!("`{text}` is an address to listen on"),
                    "write where the server listens, for example \"unix:/run/x.sock\"",
                )),
                address if address.port() == Some(0) => {
                    Err(Complaint::new(format!("`{text}`: nothing listens on port 0"), ""))
                }
                address => Ok(Self(address)),
            }
        })
    }
}
