//! The listening sockets: bound once, shared by all workers and by generations that listen on the same address.

pub(super) mod saved;

use crate::config::{Address, Complaint, Config};
use crate::sys::carried;
use crate::sys::listener::{self, Bound, Local};
use crate::sys::place::{Access, Identity};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

/// One bound socket; closed, and its path removed, when the last generation that uses it is gone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Socket {
    bound: Bound,
    /// The name under which a socket unit passed it; that unit keeps the socket open by itself.
    passed: Option<String>,
}

impl Socket {
    fn new(bound: Bound) -> Rc<Self> {
        Rc::new(Self { bound, passed: None })
    }

    fn inherited(taken: Taken) -> Rc<Self> {
        Rc::new(Self { bound: taken.bound, passed: (!taken.stored).then_some(taken.name) })
    }

    /// The name by which systemd keeps it over a restart; `None` for a socket that a socket unit keeps, and for a path,
    /// which is removed at the end.
    pub(super) fn store_name(&self) -> Option<String> {
        let address = self.address().filter(|_| self.passed.is_none())?;
        // A colon separates names in LISTEN_FDNAMES.
        Some(format!("{STORED}{address}").replace(':', "_"))
    }

    /// The socket.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.bound.socket.as_fd()
    }

    /// Whether clients still find it: nobody has removed or replaced the file of a Unix socket.
    fn is_there(&self) -> bool {
        self.file().is_none_or(|(path, file)| listener::is_there(path, file))
    }

    /// The file of a Unix socket, to remove no other. Whoever else bound it removes it.
    fn file(&self) -> Option<(&Path, Identity)> {
        match &self.bound.local {
            Local::Unix(path) => Some((path, self.bound.file?)),
            Local::Tcp(_) => None,
        }
    }

    /// The IP address it is bound to, if it is not a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self.bound.local {
            Local::Tcp(address) => Some(address),
            Local::Unix(_) => None,
        }
    }

    /// As in the configuration, but as bound: `127.0.0.1:8000`, `unix:/run/x.sock`.
    pub(super) fn name(&self) -> String {
        match &self.bound.local {
            Local::Tcp(address) => address.to_string(),
            Local::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, file)) = self.file().filter(|_| carried::is_ours()) {
            listener::remove(path, file);
        }
    }
}

/// One address of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// As in the configuration.
    pub(super) address: Address,
    /// Its sockets: two for every interface where there is IPv6.
    pub(super) sockets: Vec<Rc<Socket>>,
    /// Sites that listen there.
    pub(super) sites: Vec<usize>,
    /// HTTPS is spoken there.
    pub(super) is_tls: bool,
    /// Who may use the file of a Unix socket; an upgrade leaves it as it is.
    access: Access,
}

impl Listening {
    /// Sockets that were there before the configuration that says so get their new mode and group.
    pub(super) fn settle_access(&self) {
        for (path, file) in self.sockets.iter().filter_map(|socket| socket.file()) {
            settle_access(&self.address, path, file, self.access);
        }
    }
}

/// Gives a socket that we made another mode and group, and says so.
pub(super) fn settle_access(name: impl fmt::Display, path: &Path, file: Identity, access: Access) {
    let mode = access.mode;
    match listener::set_access(path, file, access) {
        Ok(true) => log::info!(target: "hatchery", "{name} has the mode {mode:04o} and its group now"),
        Ok(false) => {}
        // Somebody has removed it: the next reload makes a listener anew.
        Err(_) if !listener::is_there(path, file) => {}
        Err(error) => {
            log::error!(target: "hatchery", "{name} keeps its mode and group, which cannot be changed: {error}");
        }
    }
}

/// Sockets that came with the start of the program and that no address has asked for yet.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Inherited(RefCell<Vec<Taken>>);

/// A socket that came with the start.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    /// As systemd calls it.
    name: String,
    /// We gave it to systemd to keep, before a restart.
    stored: bool,
    bound: Bound,
}

/// How the names begin that we give to sockets that systemd keeps.
const STORED: &str = "hatchery-";

impl Inherited {
    /// Takes over what systemd or a test harness passed.
    ///
    /// # Errors
    /// For the operator: the environment cannot be changed.
    pub(super) fn from_environment() -> Result<Self, String> {
        let taken = |(name, bound): (String, Bound)| {
            log::debug!(target: "hatchery", "inherited {:?}, called {name:?}", bound.local);
            Taken { stored: name.starts_with(STORED), name, bound }
        };
        let sockets = listener::inherited().map_err(|error| format!("cannot take sockets over: {error}"))?;
        Ok(Self(RefCell::new(sockets.into_iter().map(taken).collect())))
    }

    /// Names of the sockets that systemd has kept over a restart.
    pub(super) fn stored(&self) -> BTreeSet<String> {
        let taken = self.0.borrow();
        taken.iter().filter(|taken| taken.stored).map(|taken| taken.name.clone()).collect()
    }

    /// Whoever passed a socket that nothing listens on has made a mistake; one that was kept and is not needed any more
    /// is closed.
    pub(super) fn warn_about_rest(&self) {
        self.0.borrow_mut().retain(|taken| !taken.stored);
        for Taken { name, bound, .. } in self.0.borrow().iter() {
            log::warn!(target: "hatchery", "an inherited socket is not used by any site: {:?} {name}; sites listen on it by `listen: [\"systemd:NAME\"]` or its address", bound.local);
        }
    }

    /// What systemd has kept of this port, if nobody has asked for it yet.
    fn stored_at(&self, port: u16) -> Option<SocketAddr> {
        let taken = self.0.borrow();
        taken.iter().filter(|taken| taken.stored).find_map(|taken| match taken.bound.local {
            Local::Tcp(address) => Some(address).filter(|address| address.port() == port),
            Local::Unix(_) => None,
        })
    }

    fn take(&self, wanted: &Local) -> Option<Taken> {
        let mut taken = self.0.borrow_mut();
        let place = taken.iter().position(|taken| taken.bound.local == *wanted)?;
        Some(taken.swap_remove(place))
    }

    /// All of this name.
    fn take_named(&self, name: &str) -> Vec<Taken> {
        let mut taken = self.0.borrow_mut();
        let is_it = |taken: &Taken| !taken.stored && taken.name == name;
        let (named, others) = std::mem::take(&mut *taken).into_iter().partition(is_it);
        *taken = others;
        named
    }

    /// What socket units passed that nobody has asked for, for messages.
    fn names(&self) -> String {
        let taken = self.0.borrow();
        let passed = taken.iter().filter(|taken| !taken.stored);
        let names: BTreeSet<String> = passed.map(|taken| format!("\"{}\"", taken.name)).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Whether a socket unit passed anything.
    fn is_activated(&self) -> bool {
        self.0.borrow().iter().any(|taken| !taken.stored)
    }
}

/// Binds what `config` listens on, using what is `open` already.
///
/// # Errors
/// For the operator: the site, the address, why it cannot be bound and what to do. Nothing new stays bound.
pub(super) fn bind(
    config: &Config,
    open: &[Listening],
    inherited: &Inherited,
) -> Result<Vec<Listening>, String> {
    let mut all: Vec<Listening> = Vec::new();
    for (site, settings) in config.sites.iter().enumerate() {
        for (key, listen, is_tls) in settings.addresses() {
            let address = &listen.address;
            if let Some(known) = all.iter_mut().find(|known| known.address == *address) {
                if !known.sites.contains(&site) {
                    known.sites.push(site);
                }
                continue;
            }
            let key = format!("sites[{site}].{key}");
            let access =
                listen.access().map_err(|Complaint { what, hint }| format!("{key}.group: {what}; {hint}"))?;
            let sockets = sockets(address, access, open, inherited).map_err(|error| {
                let in_the_way = (error.kind() == io::ErrorKind::AddrInUse)
                    .then(|| in_the_way(address, open.iter().chain(&all), inherited))
                    .flatten();
                let why = in_the_way.unwrap_or_else(|| match address {
                    Address::Passed(_) => not_passed(address, inherited),
                    _ => refused(address, &error),
                });
                format!("{key}: {why}")
            })?;
            if listen.has_access() && sockets.iter().any(|socket| socket.file().is_none()) {
                log::warn!(
                    target: "hatchery",
                    "{key}: the mode and group of {address} are those of the socket unit that passed it (SocketMode=, \
                     SocketGroup=); remove `mode` and `group` here"
                );
            }
            all.push(Listening { address: address.clone(), sockets, sites: vec![site], is_tls, access });
        }
    }
    Ok(all)
}

/// Every reason why `config` could not be bound now; what could is let go again. And what cannot be tried: sockets that
/// somebody else passes at the start.
pub(super) fn trial(config: &Config) -> (Vec<String>, Vec<String>) {
    let inherited = match Inherited::from_environment() {
        Ok(inherited) => inherited,
        Err(reason) => return (vec![reason], Vec::new()),
    };
    let activated = inherited.is_activated();
    let mut open: Vec<Listening> = Vec::new();
    let (mut reasons, mut untried) = (Vec::new(), Vec::new());
    for (site, settings) in config.sites.iter().enumerate() {
        for (key, listen, is_tls) in settings.addresses() {
            let address = &listen.address;
            if let (Address::Passed(name), false) = (address, activated) {
                untried.push(format!(
                    "sites[{site}].{key}: {address} is passed at the start by a socket unit with \
                     FileDescriptorName={name}; not tried"
                ));
                continue;
            }
            // Nobody is to connect to it.
            let access = Access::of_mode(0o600);
            match sockets(address, access, &open, &inherited) {
                Ok(sockets) => {
                    open.push(Listening {
                        address: address.clone(),
                        sockets,
                        sites: Vec::new(),
                        is_tls,
                        access,
                    });
                }
                Err(error) => {
                    let why = match address {
                        Address::Passed(_) => not_passed(address, &inherited),
                        _ => refused(address, &error),
                    };
                    reasons.push(format!("sites[{site}].{key}: {why}"));
                }
            }
        }
    }
    (reasons, untried)
}

fn sockets(
    address: &Address,
    access: Access,
    open: &[Listening],
    inherited: &Inherited,
) -> io::Result<Vec<Rc<Socket>>> {
    // The same words mean the same sockets, also for port 0.
    let there = |known: &&Listening| known.sockets.iter().all(|socket| socket.is_there());
    if let Some(known) = open.iter().find(|known| known.address == *address).filter(there) {
        return Ok(known.sockets.clone());
    }
    match address {
        Address::Tcp(address) => Ok(vec![tcp(*address, open, inherited)?]),
        Address::Unix(path) => Ok(vec![unix(path, access, open, inherited)?]),
        Address::Any(0) => Ok(listener::any(0)?.into_iter().map(Socket::new).collect()),
        Address::Any(port) => every(*port, open, inherited),
        Address::Passed(name) => passed(name, open, inherited),
    }
}

/// Every socket of this name: those that are in use already by their address, and those that nobody asked for yet.
fn passed(name: &str, open: &[Listening], inherited: &Inherited) -> io::Result<Vec<Rc<Socket>>> {
    let mut all: Vec<Rc<Socket>> = Vec::new();
    for socket in open.iter().flat_map(|listening| &listening.sockets) {
        if socket.passed.as_deref() == Some(name) && !all.iter().any(|known| Rc::ptr_eq(known, socket)) {
            all.push(Rc::clone(socket));
        }
    }
    all.extend(inherited.take_named(name).into_iter().map(Socket::inherited));
    if all.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(all) }
}

fn not_passed(address: &Address, inherited: &Inherited) -> String {
    let names = inherited.names();
    let there = if names.is_empty() { "none was".to_owned() } else { format!("there is {names}") };
    format!(
        "no socket was passed for {address} ({there}): start the server by a socket unit with that \
         FileDescriptorName=, and restart it after a change of the unit"
    )
}

/// A port of every interface, piece by piece, since one of them may be there already.
fn every(port: u16, open: &[Listening], inherited: &Inherited) -> io::Result<Vec<Rc<Socket>>> {
    let six: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
    if let Some(taken) = inherited.take(&Local::Tcp(six)) {
        let dual = taken.bound.dual;
        let six = Socket::inherited(taken);
        // systemd's ListenStream=8000 is one socket for both families.
        return Ok(if dual {
            vec![six]
        } else {
            vec![tcp((Ipv4Addr::UNSPECIFIED, port).into(), open, inherited)?, six]
        });
    }
    let four = tcp((Ipv4Addr::UNSPECIFIED, port).into(), open, inherited)?;
    match tcp(six, open, inherited) {
        Ok(six) => Ok(vec![four, six]),
        Err(error) if listener::lacks_ipv6(&error) => Ok(vec![four]),
        Err(error) => Err(error),
    }
}

fn tcp(address: SocketAddr, open: &[Listening], inherited: &Inherited) -> io::Result<Rc<Socket>> {
    let local = Local::Tcp(address);
    match known(&local, open) {
        Some(socket) => Ok(socket),
        None => match inherited.take(&local) {
            Some(taken) => Ok(Socket::inherited(taken)),
            None => listener::tcp(address).map(Socket::new),
        },
    }
}

fn unix(path: &Path, access: Access, open: &[Listening], inherited: &Inherited) -> io::Result<Rc<Socket>> {
    let local = Local::Unix(path.to_owned());
    if let Some(socket) = known(&local, open) {
        return Ok(socket);
    }
    if let Some(taken) = inherited.take(&local) {
        return Ok(Socket::inherited(taken));
    }
    listener::unix(path, access).map(Socket::new)
}

fn known(local: &Local, open: &[Listening]) -> Option<Rc<Socket>> {
    let sockets = open.iter().flat_map(|listening| &listening.sockets);
    sockets.filter(|socket| socket.is_there()).find(|socket| socket.bound.local == *local).cloned()
}

/// Why an address is in use, if it is by a socket of our own.
fn in_the_way<'a>(
    address: &Address,
    ours: impl Iterator<Item = &'a Listening>,
    inherited: &Inherited,
) -> Option<String> {
    if let Some(ours) = overlapping(address, ours) {
        return Some(format!(
            "cannot listen on {address}: it overlaps with {ours}, which this server listens on itself; use one of the two, \
             and after a change from one to the other stop and start the server"
        ));
    }
    let kept = inherited.stored_at(port_of(address)?)?;
    Some(format!(
        "cannot listen on {address}: it overlaps with {kept}, on which this server listened before and which systemd keeps \
         over a restart; `systemctl stop` gives it up, then start the service"
    ))
}

/// An address of the same port among those of this server.
fn overlapping<'a>(address: &Address, mut ours: impl Iterator<Item = &'a Listening>) -> Option<String> {
    let wanted = port_of(address)?;
    ours.find(|listening| port_of(&listening.address) == Some(wanted))
        .map(|listening| listening.address.to_string())
}

/// The port that is asked for; `None` if it is any, or no number.
fn port_of(address: &Address) -> Option<u16> {
    let port = match address {
        Address::Any(port) => *port,
        Address::Tcp(address) => address.port(),
        Address::Unix(_) | Address::Passed(_) => 0,
    };
    (port != 0).then_some(port)
}

fn refused(address: &Address, error: &io::Error) -> String {
    let port = port_of(address).unwrap_or(0);
    match (error.kind(), address) {
        (io::ErrorKind::AddrInUse, Address::Unix(_)) => {
            format!(
                "cannot listen on {address}: another server listens there; stop it or choose another path"
            )
        }
        (io::ErrorKind::AlreadyExists, _) => {
            format!(
                "cannot listen on {address}: the file exists and is not a socket; remove it or choose another path"
            )
        }
        (io::ErrorKind::AddrInUse, _) => format!(
            "cannot listen on {address}: the address is in use; stop the other server (`ss -ltnp 'sport = :{port}'` names \
             it) or choose another port"
        ),
        (io::ErrorKind::PermissionDenied, Address::Any(_) | Address::Tcp(_)) if (1..1024).contains(&port) => {
            format!(
                "cannot listen on {address}: permission denied: ports below 1024 need privileges; start as root and set `user`, give the program \
             CAP_NET_BIND_SERVICE, or choose a port from 1024 on"
            )
        }
        (io::ErrorKind::AddrNotAvailable, _) => {
            format!("cannot listen on {address}: no interface of this machine has that address")
        }
        _ => format!("cannot listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Access = Access { mode: 0o666, user: None, group: None };

    #[test]
    fn the_same_address_keeps_its_socket() {
        let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
        let first = sockets(&address, OPEN, &[], &Inherited::default()).unwrap();
        let local = first[0].address().unwrap();
        let open = [Listening {
            address: address.clone(),
            sockets: first.clone(),
            sites: vec![0],
            is_tls: false,
            access: OPEN,
        }];
        let again = sockets(&address, OPEN, &open, &Inherited::default()).unwrap();
        assert!(Rc::ptr_eq(&first[0], &again[0]));
        // Written with its number it is still the same socket.
        let again = sockets(&Address::Tcp(local), OPEN, &open, &Inherited::default()).unwrap();
        assert!(Rc::ptr_eq(&first[0], &again[0]));
        let error = sockets(&Address::Tcp(local), OPEN, &[], &Inherited::default()).unwrap_err();
        assert!(refused(&Address::Tcp(local), &error).contains("is in use"), "{error}");
    }

    #[test]
    fn the_address_that_is_in_the_way_is_named_if_it_is_our_own() {
        let listening = |text: &str| Listening {
            address: Address::Tcp(text.parse().unwrap()),
            sockets: Vec::new(),
            sites: vec![0],
            is_tls: false,
            access: OPEN,
        };
        let open = [listening("127.0.0.1:0"), listening("127.0.0.1:8001"), listening("127.0.0.1:8000")];
        let found = |address: &Address| overlapping(address, open.iter());
        assert_eq!(found(&Address::Any(8000)).unwrap(), "127.0.0.1:8000");
        assert_eq!(found(&Address::Tcp("0.0.0.0:8001".parse().unwrap())).unwrap(), "127.0.0.1:8001");
        assert_eq!((found(&Address::Any(80)), found(&Address::Any(0))), (None, None));
    }

    #[test]
    fn passed_sockets_are_found_by_name_also_after_they_were_used_by_address() {
        let taken = |name: &str, stored| {
            let bound = listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
            Taken { name: name.to_owned(), stored, bound }
        };
        let (one, two) = (taken("web", false), taken("web", false));
        let Local::Tcp(local) = one.bound.local else { panic!() };
        let all = vec![one, taken("other", false), two, taken("web", true)];
        let inherited = Inherited(RefCell::new(all));
        let first = sockets(&Address::Tcp(local), OPEN, &[], &inherited).unwrap();
        let open = [Listening {
            address: Address::Tcp(local),
            sockets: first.clone(),
            sites: vec![0],
            is_tls: false,
            access: OPEN,
        }];
        let named = Address::Passed("web".to_owned());
        let found = sockets(&named, OPEN, &open, &inherited).unwrap();
        assert_eq!(found.len(), 2);
        assert!(Rc::ptr_eq(&found[0], &first[0]) && found[1].store_name().is_none());
        assert_eq!(inherited.0.borrow().len(), 2, "what has another name, and what was stored, stays");
        let missing = Address::Passed("none".to_owned());
        assert!(sockets(&missing, OPEN, &open, &inherited).is_err());
        let why = not_passed(&missing, &inherited);
        assert!(why.contains("systemd:none") && why.contains("there is \"other\")"), "{why}");
    }

    #[test]
    fn an_inherited_socket_serves_its_address() {
        let bound = listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let Local::Tcp(local) = bound.local else { panic!() };
        let taken = Taken { name: String::new(), stored: false, bound };
        let inherited = Inherited(RefCell::new(vec![taken]));
        let found = sockets(&Address::Tcp(local), OPEN, &[], &inherited).unwrap();
        assert_eq!((found[0].address(), found[0].store_name()), (Some(local), None));
        assert!(inherited.0.borrow().is_empty());
    }

    #[test]
    fn what_we_bind_is_kept_by_systemd_under_the_same_name_as_before() {
        let bound = Socket::new(listener::tcp("[::1]:0".parse().unwrap()).unwrap());
        let name = bound.store_name().unwrap();
        assert!(name.starts_with("hatchery-[__1]_"), "{name}");
        let Ok(socket) = Rc::try_unwrap(bound) else { panic!() };
        let Socket { bound: Bound { socket, local, dual, .. }, .. } = &socket;
        let copy = Bound {
            socket: socket.try_clone().unwrap().into(),
            local: local.clone(),
            dual: *dual,
            file: None,
        };
        let Local::Tcp(address) = local else { panic!() };
        let inherited =
            Inherited(RefCell::new(vec![Taken { name: name.clone(), stored: true, bound: copy }]));
        assert_eq!(inherited.stored().into_iter().collect::<Vec<_>>(), [name.as_str()]);
        let found = sockets(&Address::Tcp(*address), OPEN, &[], &inherited).unwrap();
        assert_eq!(found[0].store_name().unwrap(), name);
    }

    #[test]
    fn a_path_goes_with_its_last_user() {
        let path = std::env::temp_dir().join(format!("hatchery-listening-{}.sock", std::process::id()));
        let address = Address::Unix(path.clone());
        let socket = sockets(&address, OPEN, &[], &Inherited::default()).unwrap();
        let open = [Listening {
            address: address.clone(),
            sockets: socket,
            sites: vec![],
            is_tls: false,
            access: OPEN,
        }];
        let again = sockets(&address, OPEN, &open, &Inherited::default()).unwrap();
        drop(open);
        assert!(path.exists());
        drop(again);
        assert!(!path.exists());
    }

    #[test]
    fn reasons_name_the_address_and_a_way_out() {
        let reason = |text: &str, error: i32| {
            refused(&Address::Tcp(text.parse().unwrap()), &io::Error::from_raw_os_error(error))
        };
        assert!(reason("127.0.0.1:80", libc::EACCES).contains("permission denied: ports below 1024"));
        assert!(reason("192.0.2.1:8000", libc::EADDRNOTAVAIL).contains("192.0.2.1:8000: no interface"));
        assert!(
            refused(&Address::Any(8000), &io::Error::from_raw_os_error(libc::EADDRINUSE))
                .contains("sport = :8000")
        );
    }
}
