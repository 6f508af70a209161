//! Processes of apps that run by a command, as servers of an upstream: whoever asks for a place gets a unit of one, which the
//! board has (`crate::dispatch`), and the connections to them are kept as those to servers. Behind the upstreams each app is
//! one, by [`Config::upstream`](crate::config::Config::upstream); the server is the slot of the process.

use super::app::{Ask, Asks};
use super::links::Unit;
use super::places::{Held, Place, Wanted};
use super::spots::Spot;
use crate::config::{Address, Listens};
use crate::control::app_socket;
use crate::dispatch::board::Lease;
use crate::http::fault::Fault;
use crate::sys::place;
use crate::worker::context::Context;
use crate::worker::owner::Owner;
use std::net::Ipv4Addr;

impl Context {
    /// Asks for a unit of a process.
    ///
    /// # Errors
    /// The app does not start, or too many wait.
    pub(super) fn ask_process(
        &mut self,
        upstream: usize,
        app: usize,
        wanted: &Wanted,
        owner: Owner,
    ) -> Result<Place, Fault> {
        let patience = self.config.apps.get(app).ok_or(Fault::Nobody)?.queue_timeout;
        let asks = Asks { since: wanted.since, ahead: false, again: wanted.again };
        match self.ask_unit(app, owner, asks) {
            Ask::Granted(grant) => Ok(Place::At(self.process(upstream, Unit { app, lease: grant.lease() }))),
            Ask::Waiting => Ok(Place::Waits(self.now.after(patience))),
            Ask::Full => Err(Fault::Full),
            Ask::Failed { .. } => Err(Fault::Unavailable),
        }
    }

    /// What a waiting request was given: a unit, or none, as the app does not start. `None`: it waits.
    pub(super) fn granted_process(
        &mut self,
        upstream: usize,
        app: usize,
        owner: Owner,
    ) -> Option<Option<Held>> {
        match self.take_grant(app, owner) {
            Some(grant) => Some(Some(self.process(upstream, Unit { app, lease: grant.lease() }))),
            None => self.app_failed(app).map(|_| None),
        }
    }

    /// Where the process of a unit is.
    fn process(&mut self, upstream: usize, unit: Unit) -> Held {
        let Lease { pool, slot, incarnation, .. } = unit.lease;
        let Self { servers, config, board, runtime_dir, .. } = self;
        let place = || match board.port(pool, slot, incarnation).unwrap_or(0) {
            0 => {
                let mut path = app_socket(runtime_dir, pool, slot, incarnation);
                let app = config.apps.get(unit.app);
                let listens = app.and_then(|app| Some(app.kind.command()?.listens(&app.env)));
                if listens != Some(Listens::Socket) {
                    return (Address::Unix(path), None);
                }
                // What is in its room it can make a link to the socket of another app.
                let owner = place::owner_of_room(&path);
                path.push("socket");
                (Address::Unix(path), owner)
            }
            port => (Address::Tcp((Ipv4Addr::LOCALHOST, port).into()), None),
        };
        let server = usize::from(slot);
        if let Some(group) = servers.group(upstream) {
            let spot = || {
                let (address, owner) = place();
                Spot::of_process(address, owner, incarnation)
            };
            group.seat(server, spot, u64::from(incarnation));
        }
        Held { upstream, server, unit: Some(unit) }
    }

    /// A request has become a tunnel. A server has it as one request more; a process does not, as it has its units for those.
    pub(super) fn tunnel_begins(&mut self, held: Held) {
        if let Some(unit) = held.unit {
            self.unit_becomes_tunnel(unit);
        }
    }

    /// A tunnel has ended.
    pub(in crate::worker) fn tunnel_ended(&mut self, held: Held) {
        match held.unit {
            Some(unit) => self.unit_tunnel_ended(unit),
            None => self.leave_place(held),
        }
    }
}
