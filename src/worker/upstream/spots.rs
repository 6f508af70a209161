//! Where the servers of an upstream are: as configured, or as the roster says of those that are looked up.

use super::servers::{Group, Servers};
use crate::balance::{WorkerRoster, hash};
use crate::config::{Address, Server, Upstream, Where};
use crate::control::digits::hex;
use crate::http::fault::Fault;
use crate::worker::context::Context;

/// Where one is, and what it is known by.
pub(super) struct Spot {
    /// Its number on the roster.
    pub(super) number: u16,
    /// What tells it from others on every machine.
    pub(super) id: u64,
    /// What stands for it in a cookie; empty: nothing.
    pub(super) tag: String,
    /// Its index into `servers` of the upstream.
    pub(super) entry: usize,
    /// `None`: nowhere, for now.
    pub(super) address: Option<Address>,
    /// Its own share, and whether others go before, as an SRV record says.
    pub(super) weight: Option<u16>,
    pub(super) backup: bool,
    /// Of the roster; `None`: it is where it is. Of a process: which one it is.
    pub(super) version: Option<u64>,
    /// The user who must be the one that listens there.
    pub(super) owner: Option<u32>,
}

impl Spot {
    pub(super) fn of((entry, server): (usize, &Server), number: u16, tag: String) -> Self {
        let id = hash::of(server.address.to_string().as_bytes());
        let address = server.address.address().cloned();
        let version = server.address.name().map(|_| 0);
        Self { number, id, tag, entry, address, weight: None, backup: false, version, owner: None }
    }
}

impl Spot {
    /// Where nothing is.
    pub(super) fn nowhere() -> Self {
        let (number, tag) = (u16::MAX, String::new());
        let (address, weight, version, owner) = (None, None, None, None);
        Self { number, id: 0, tag, entry: 0, address, weight, backup: false, version, owner }
    }

    /// Where a process of an app is; `owner`: where it makes its socket itself, its user.
    pub(super) fn of_process(address: Address, owner: Option<u32>, incarnation: u32) -> Self {
        Self { address: Some(address), version: Some(u64::from(incarnation)), owner, ..Self::nowhere() }
    }
}

impl Group {
    /// Takes in what has changed on the roster.
    pub(super) fn look_at_spots(&mut self, roster: WorkerRoster<'_>) {
        for (index, spot) in self.spots.iter_mut().enumerate() {
            let moved = spot.version.and_then(|seen| roster.moved(spot.number, seen));
            let Some((version, found)) = moved else { continue };
            spot.version = Some(version);
            spot.address = found.map(|found| Address::Tcp(found.address));
            spot.weight = found.map(|found| found.weight).filter(|weight| *weight > 0);
            spot.backup = found.is_some_and(|found| found.backup);
            if let Some(found) = found {
                spot.id = hash::of(found.address.to_string().as_bytes());
            }
            spot.tag = found.map(|found| hex(&found.tag)).unwrap_or_default();
            self.chooser.forget(index);
        }
    }

    /// The entry of the configuration that a place is of.
    pub(super) fn entry<'a>(&self, upstream: &'a Upstream, index: usize) -> Option<&'a Server> {
        upstream.servers.get(self.spots.get(index)?.entry)
    }

    /// Whether none of its servers is anywhere, and nobody has said yet of one where that is.
    pub(super) fn awaits_names(&self, roster: WorkerRoster<'_>) -> bool {
        let is_open = |spot: &Spot| spot.version.is_some() && roster.version(spot.number) == 0;
        !self.has_addresses() && self.spots.iter().any(is_open)
    }

    fn has_addresses(&self) -> bool {
        self.spots.iter().any(|spot| spot.address.is_some())
    }

    /// Why no server takes a request.
    pub(super) fn nobody(&self) -> Fault {
        if self.has_addresses() { Fault::Nobody } else { Fault::Unresolved }
    }
}

impl Servers {
    /// Where a server is.
    pub(super) fn spot(&self, upstream: usize, index: usize) -> Option<&Spot> {
        self.shown(upstream)?.spots.get(index)
    }
}

impl Context {
    /// Which version of its place a server is at.
    pub(super) fn version_of(&self, upstream: usize, index: usize) -> u64 {
        self.servers.spot(upstream, index).and_then(|spot| spot.version).unwrap_or(0)
    }

    /// Takes in where the servers of an upstream are.
    pub(super) fn look_at_spots(&mut self, upstream: usize) {
        let Self { servers, roster, .. } = self;
        servers.group(upstream).into_iter().for_each(|group| group.look_at_spots(*roster));
    }

    /// Whether requests wait for the first answer to the names of the upstream's servers.
    pub(super) fn awaits_names(&mut self, upstream: usize) -> bool {
        self.servers.group(upstream).is_some_and(|group| group.awaits_names(self.roster))
    }

    /// Why no server takes a request.
    pub(super) fn nobody(&mut self, upstream: usize) -> Fault {
        if self.config.app_of(upstream).is_some() {
            return Fault::Unavailable;
        }
        self.servers.group(upstream).map_or(Fault::Nobody, |group| group.nobody())
    }

    /// Upstream and server, for the log: with the name by which it was found; an app and its process.
    pub(super) fn server_name(&self, upstream: usize, index: usize) -> String {
        if let Some(app) = self.config.app_of(upstream) {
            let name = self.config.apps.get(app).map_or("", |app| &app.name);
            return format!("app {name} {index}");
        }
        let spot = self.servers.spot(upstream, index);
        let Some((settings, spot)) = self.config.upstream(upstream).zip(spot) else {
            return String::new();
        };
        let name = settings.servers.get(spot.entry).map(|server| server.address.to_string());
        let address = spot.address.as_ref().filter(|_| spot.version.is_some());
        let address = address.map(|address| format!(" {address}")).unwrap_or_default();
        format!("upstream {}: {}{address}", settings.name, name.unwrap_or_default())
    }

    /// How others know the servers of an upstream: names and addresses, with their ports.
    pub(in crate::worker) fn authorities(&self, upstream: usize) -> Vec<String> {
        let Some(settings) = self.config.upstream(upstream) else { return Vec::new() };
        let names = settings.servers.iter().filter_map(|server| match &server.address {
            Where::Named(name) if !name.is_service() => Some(name.to_string()),
            _ => None,
        });
        let places = 0..settings.places().count();
        let addresses = places.filter_map(|index| match &self.servers.spot(upstream, index)?.address {
            Some(Address::Tcp(address)) => Some(address.to_string()),
            _ => None,
        });
        names.chain(addresses).collect()
    }
}
