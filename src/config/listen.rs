//! `listen: […]` of a site: addresses, and who may use the file of a Unix socket.

use super::Config;
use super::address::Address;
use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{Choice, Form, Section, Walk};
use super::written::Written;
use crate::http::Network;
use crate::sys::place::Access;
use crate::sys::user;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// Where.
    pub(crate) address: Address,
    /// What is spoken there; HTTP.
    protocol: Option<Spoken>,
    /// Of the file of a Unix socket; `None`: everybody may connect.
    mode: Option<Mode>,
    /// Group of that file; `None`: ours.
    group: Option<String>,
    /// Peers who begin a connection with a header of the PROXY protocol. Nobody else may.
    proxy_protocol: Option<Vec<Network>>,
}

/// What clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    /// Any version of HTTP.
    Http,
    /// The uwsgi protocol: they are front servers.
    Uwsgi,
}

const PROTOCOLS: [(&str, Option<Spoken>); 2] = [("Http", Some(Spoken::Http)), ("Uwsgi", Some(Spoken::Uwsgi))];

/// Permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mode(u32);

impl Mode {
    /// A front server under another user must be able to connect.
    const OPEN: Self = Self(0o666);
}

impl Default for Listen {
    fn default() -> Self {
        Address::Any(0).into()
    }
}

impl From<Address> for Listen {
    fn from(address: Address) -> Self {
        Self { address, protocol: None, mode: None, group: None, proxy_protocol: None }
    }
}

impl Section for Listen {
    const SHORT: Option<&'static str> = Some("address");
    const BRIEF: bool = true;

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("address", "\"unix:/run/shop.sock\"", &mut self.address);
        keys.key("protocol", &mut Choice(&mut self.protocol, &PROTOCOLS, &[]));
        keys.key("mode", &mut self.mode);
        keys.key("group", &mut self.group);
        keys.key("proxy_protocol", &mut self.proxy_protocol);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        // A network that is wrong itself is reported already, and missing here.
        let there = given.node("proxy_protocol").and_then(|node| node.items().ok());
        let is_whole = self.proxy_protocol.as_ref().map(Vec::len) == there.map(|items| items.len());
        if let Some(complaint) = self.proxies_mistaken()
            && given.is_good("address")
            && is_whole
        {
            report.add(&given.place_of("proxy_protocol"), complaint);
        }
        let hint = match &self.address {
            _ if !given.is_good("address") => return,
            Address::Unix(_) => return,
            Address::Passed(_) => "its socket unit says so: SocketMode=, SocketGroup=",
            Address::Any(_) | Address::Tcp(_) => "remove it",
        };
        for key in ["mode", "group"].into_iter().filter(|key| given.has(key)) {
            let what = format!("`{key}` is of the file of a Unix socket, and `{}` is none", self.address);
            report.add(&given.place_of(key), Complaint::new(what, hint));
        }
    }
}

impl Listen {
    /// Something is said of the file of its socket.
    pub(crate) fn has_access(&self) -> bool {
        self.mode.is_some() || self.group.is_some()
    }

    /// Both say the same of a socket.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        let mode = |of: &Self| of.mode.unwrap_or(Mode::OPEN);
        let all = |of: &Self| (mode(of), of.is_for_fronts(), of.group.clone(), of.proxy_protocol.clone());
        all(self) == all(other)
    }

    /// Clients are front servers that speak the uwsgi protocol.
    pub(crate) fn is_for_fronts(&self) -> bool {
        self.protocol == Some(Spoken::Uwsgi)
    }

    /// Why nobody could be a proxy, if anything was said of them.
    fn proxies_mistaken(&self) -> Option<Complaint> {
        let proxies = self.proxy_protocol.as_deref()?;
        if proxies.is_empty() {
            let hint = "name the proxies that send the header, as \"10.0.0.0/8\", or leave the key out";
            return Some(Complaint::new("nobody is trusted to send a PROXY header", hint));
        }
        let is_unix = |network: &Network| *network == Network::Unix;
        match &self.address {
            Address::Unix(_) if !proxies.iter().any(is_unix) => Some(Complaint::new(
                format!("who connects to `{}` has no IP address", self.address),
                "write [\"unix:\"]",
            )),
            Address::Any(_) | Address::Tcp(_) if proxies.iter().all(is_unix) => Some(Complaint::new(
                format!("who connects to `{}` does not come by a Unix socket", self.address),
                "name the addresses of the proxies, as \"10.0.0.0/8\"",
            )),
            _ => None,
        }
    }

    /// Whether any user may connect, as far as its mode says.
    pub(crate) fn is_open(&self) -> bool {
        self.mode.unwrap_or(Mode::OPEN).0 & 0o002 != 0
    }

    /// The group that may connect.
    pub(crate) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The same for the system.
    ///
    /// # Errors
    /// As [`access()`].
    pub(crate) fn access(&self) -> Result<Access, Complaint> {
        access(self.mode.unwrap_or(Mode::OPEN).0, self.group())
    }
}

impl Config {
    /// Peers who begin each connection to this address with a header of the PROXY protocol.
    pub(crate) fn proxies_at(&self, address: &Address) -> &[Network] {
        self.listen_at(address).and_then(|listen| listen.proxy_protocol.as_deref()).unwrap_or_default()
    }

    /// Whether clients at this address are front servers that speak the uwsgi protocol.
    pub(crate) fn is_for_fronts(&self, address: &Address) -> bool {
        self.listen_at(address).is_some_and(Listen::is_for_fronts)
    }

    fn listen_at(&self, address: &Address) -> Option<&Listen> {
        let listens = self.sites.iter().flat_map(|site| site.addresses());
        listens.map(|(_, listen, _)| listen).find(|listen| listen.address == *address)
    }
}

/// For a socket with this mode and group.
///
/// # Errors
/// There is no such group, or no right to give it something.
pub(crate) fn access(mode: u32, group: Option<&str>) -> Result<Access, Complaint> {
    let Some(name) = group else { return Ok(Access::of_mode(mode)) };
    match user::group(name) {
        Ok(Some(group)) if user::may_give_to(group) => {
            Ok(Access { group: Some(group), ..Access::of_mode(mode) })
        }
        Ok(Some(_)) => {
            let what = format!("only root, and who is in it, can give a socket to the group `{name}`");
            Err(Complaint::new(what, "start as root, or name a group of your own"))
        }
        Ok(None) => {
            let hint = format!("create it: groupadd --system {name}");
            Err(Complaint::new(format!("there is no group `{name}`"), hint))
        }
        Err(error) => Err(Complaint::new(format!("cannot look up the group `{name}`: {error}"), "")),
    }
}

impl Form for Mode {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Integer(_) = node.shape() {
            let hint = format!("put it in quotes: \"{:0>4}\"", node.text);
            let what = format!("expected a mode, found the number {}", node.text);
            return node.refuse(report, Complaint::new(what, hint));
        }
        node.parse(report, "a mode such as \"0660\"", |text| {
            let is_octal = text.bytes().all(|digit| (b'0'..b'8').contains(&digit));
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
            match mode.filter(|_| text.len() >= 3) {
                None => Err(Complaint::new(
                    format!("`{text}` is not a mode"),
                    "three octal digits, for the user, the group and all others, as chmod takes them: \"0660\"",
                )),
                Some(mode) if mode & 0o222 == 0 => Err(Complaint::new(
                    format!("nobody could connect with the mode `{text}`"),
                    "to connect is to write: for example \"0660\"",
                )),
                Some(mode) => Ok(Self(mode)),
            }
        })
    }

    fn write(&self) -> Written {
        Written::text(&format!("{:04o}", self.0))
    }
}
