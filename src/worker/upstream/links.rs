//! Links: stream sockets to apps and upstream servers. A link that serves an exchange names it as its owner, and its
//! events drive the owner's client. A loose link is either idle (any byte or end of file from the other side ends it)
//! or an app's that still finishes a request nobody waits for, or whose next request is about to be sent by who was granted room
//! there.

use crate::buf::Queue;
use crate::dispatch::board::Lease;
use crate::event::{Endpoint, Poll, Read, Readiness, Source};
use crate::gateway;
use crate::slab::{Key, Slab};
use crate::sys::fd::Handed;
use crate::timer::Time;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use super::app::{Ahead, SharedLink};
use super::arrivals::Arrivals;
use super::checks::Checking;
use super::places::Held;
use crate::worker::owner::Owner;
use crate::worker::transport::{Keyring, Outgoing};

/// All links of a worker.
#[derive(Default)]
pub(in crate::worker) struct Links {
    slab: Slab<Link>,
    closed: Vec<Key>,
    /// What is to be written to these goes out at the end of the turn.
    kept: Vec<Key>,
    /// How many are [`Peer::Tunnel`].
    tunnels: u64,
}

/// One link.
pub(in crate::worker) struct Link {
    pub(in crate::worker) endpoint: Endpoint,
    /// What begins in it, if that is not in the clear.
    pub(in crate::worker) tls: Option<Box<Outgoing>>,
    /// The exchange that it serves.
    owner: Option<Owner>,
    pub(in crate::worker) peer: Peer,
    /// What is to be written.
    pub(in crate::worker) out: Queue,
    /// A descriptor that goes with the first byte of `out`.
    pub(in crate::worker) attach: Option<Rc<Handed>>,
    /// What is to be written goes out at the end of the turn, with what comes up until then.
    kept: bool,
    room: Room,
}

/// Whether an event tells that a link has room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Told,
    /// None does: of a Unix socket it would come whenever the peer has read something.
    Untold,
    /// Of such a one, until everything is sent.
    Asked,
}

/// What is on the other side.
pub(in crate::worker) enum Peer {
    /// A unit of an app.
    Unit(Box<UnitLink>),
    /// All units of a process.
    Shared(Box<SharedLink>),
    /// A server of an upstream.
    Server(ServerLink),
    /// A server of an upstream that speaks another protocol by now; never used for anything else.
    Tunnel(Held),
    /// A server of an upstream that is asked how it is.
    Check(Box<Checking>),
}

/// A connection to a server of an upstream.
pub(in crate::worker) struct ServerLink {
    /// Index as [`Config::upstream`](crate::config::Config::upstream) has it, and into its places.
    pub(in crate::worker) upstream: usize,
    pub(in crate::worker) server: usize,
    /// Which version of where the server is it leads to.
    pub(in crate::worker) version: u64,
    /// Since when it is idle.
    pub(in crate::worker) since: Time,
    /// Until when it is kept while idle.
    pub(in crate::worker) until: Time,
}

/// A unit of an app, as a link knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::worker) struct Unit {
    /// Index into `config.apps`.
    pub(in crate::worker) app: usize,
    /// The claimed unit.
    pub(in crate::worker) lease: Lease,
}

/// The state of a stream to a unit.
pub(in crate::worker) struct UnitLink {
    pub(in crate::worker) unit: Unit,
    /// Counts the requests.
    pub(in crate::worker) stream: u32,
    /// A request runs in the unit.
    pub(in crate::worker) response: Option<gateway::app::Response>,
    /// Descriptors that came along.
    pub(in crate::worker) arrivals: Arrivals,
    /// When a request that nobody waits for has run long enough.
    pub(in crate::worker) until: Time,
    /// When the request that runs began, and when the master is told of it.
    pub(in crate::worker) began: Time,
    pub(in crate::worker) tell_at: Time,
    /// A timer will look at that.
    pub(in crate::worker) armed: bool,
    /// The master was told of the request that runs.
    pub(in crate::worker) told: bool,
    /// What lies behind that request.
    pub(in crate::worker) ahead: Ahead,
    /// The host has said how long a request took.
    pub(in crate::worker) tells_time: bool,
}

impl Links {
    /// Adds a link, that serves an exchange or is loose, and watches it.
    ///
    /// # Errors
    /// If it cannot be watched.
    pub(in crate::worker) fn add(
        &mut self,
        endpoint: Endpoint,
        tls: Option<Box<Outgoing>>,
        peer: Peer,
        owner: Option<Owner>,
        poll: &Poll,
    ) -> io::Result<Key> {
        // A Unix socket is connected at once, or not at all.
        let room = if endpoint.writable() && tls.is_none() { Room::Untold } else { Room::Told };
        let link = Link { endpoint, tls, owner, peer, out: Queue::new(), attach: None, kept: false, room };
        let key = self.slab.insert(link);
        let Some(link) = self.slab.get(key) else { return Ok(key) };
        let (descriptor, source) = (link.endpoint.as_fd(), Source::Link(key));
        let watched = match room {
            Room::Untold => poll.watch_reading(descriptor, source),
            Room::Told | Room::Asked => poll.watch(descriptor, source),
        };
        if let Err(error) = watched {
            if let Some(link) = self.slab.remove(key) {
                link.close();
            }
            return Err(error);
        }
        Ok(key)
    }

    pub(in crate::worker) fn get_mut(&mut self, key: Key) -> Option<&mut Link> {
        self.slab.get_mut(key)
    }

    /// Takes note of an event; the owner to drive (`Some(None)`: a loose link), `None` for a stale key.
    pub(in crate::worker) fn note(&mut self, key: Key, readiness: Readiness) -> Option<Option<Owner>> {
        let link = self.slab.get_mut(key)?;
        link.endpoint.note(readiness);
        Some(link.owner)
    }

    /// Whom an event of it concerns; `None`: nobody, it is loose.
    pub(in crate::worker) fn owner(&self, key: Key) -> Option<Owner> {
        self.slab.get(key)?.owner
    }

    /// What is to be written to a link goes out at the end of the turn.
    pub(in crate::worker) fn keep(&mut self, key: Key) {
        if let Some(link) = self.slab.get_mut(key)
            && !std::mem::replace(&mut link.kept, true)
        {
            self.kept.push(key);
        }
    }

    /// It is the end of the turn: the links to which something is to be written.
    pub(in crate::worker) fn take_kept(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.kept)
    }

    /// Lends a link to an exchange: one that is idle, or over which its request runs now.
    pub(in crate::worker) fn lend(&mut self, key: Key, owner: Owner) -> Option<&mut Link> {
        let link = self.slab.get_mut(key)?;
        link.owner = Some(owner);
        Some(link)
    }

    /// The owner has no more use for it.
    pub(in crate::worker) fn let_go(&mut self, key: Key) {
        if let Some(link) = self.slab.get_mut(key) {
            link.owner = None;
        }
    }

    /// It carries another protocol from here on.
    pub(in crate::worker) fn becomes_tunnel(&mut self, key: Key, held: Held) {
        if let Some(link) = self.slab.get_mut(key) {
            link.peer = Peer::Tunnel(held);
            self.tunnels += 1;
        }
    }

    /// How many tunnels are open.
    pub(in crate::worker) fn tunnels(&self) -> u64 {
        self.tunnels
    }

    /// Closes a link at the end of the turn; its key is stale to `get_mut` only then, so mark it loose now.
    pub(in crate::worker) fn close(&mut self, key: Key) {
        self.let_go(key);
        self.closed.push(key);
    }

    /// Frees what was closed in this turn; of tunnels, what they held.
    pub(in crate::worker) fn free_closed(&mut self, poll: &Poll) -> Vec<Held> {
        let mut left = Vec::new();
        for key in self.closed.drain(..) {
            if let Some(link) = self.slab.remove(key) {
                if let Peer::Tunnel(held) = &link.peer {
                    self.tunnels -= 1;
                    left.push(*held);
                }
                // It may stay open for a while.
                poll.forget(link.endpoint.as_fd());
                link.close();
            }
        }
        left
    }

    /// Whether a request still runs in a unit over one of the links.
    pub(in crate::worker) fn any_busy(&self) -> bool {
        self.slab.iter().any(|(_, link)| match &link.peer {
            Peer::Unit(unit) => unit.is_awaited(),
            Peer::Shared(shared) => shared.is_awaited(),
            Peer::Server(_) | Peer::Tunnel(_) | Peer::Check(_) => false,
        })
    }
}

impl Link {
    /// Whether it serves no exchange.
    pub(in crate::worker) fn is_loose(&self) -> bool {
        self.owner.is_none()
    }

    /// Whether the other side of an idle link has closed it, or sent what nobody asked for.
    pub(in crate::worker) fn is_spoilt(&mut self, keyring: &mut Keyring, scratch: &mut [u8]) -> bool {
        match &mut self.tls {
            Some(tls) => tls.is_spoilt(&mut self.endpoint, keyring, scratch),
            None => !self.endpoint.is_silent(),
        }
    }

    /// The same, and the kernel is asked: no event may have told of it yet.
    pub(in crate::worker) fn is_spoilt_by_now(&mut self, keyring: &mut Keyring, scratch: &mut [u8]) -> bool {
        self.endpoint.note(Readiness { read: true, ..Readiness::default() });
        self.is_spoilt(keyring, scratch)
    }

    /// Whether reading may give something.
    pub(in crate::worker) fn readable(&self) -> bool {
        self.tls.as_ref().map_or(self.endpoint.readable(), |tls| tls.readable(&self.endpoint))
    }

    /// Reads once into `scratch`, perhaps no bytes.
    ///
    /// # Errors
    /// ECONNRESET and the like; of TLS, why it cannot go on, in words.
    pub(in crate::worker) fn read(&mut self, keyring: &mut Keyring, scratch: &mut [u8]) -> io::Result<Read> {
        self.read_at_most(usize::MAX, keyring, scratch)
    }

    /// The same, not more than so many bytes where they do not come in records of TLS.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(in crate::worker) fn read_at_most(
        &mut self,
        most: usize,
        keyring: &mut Keyring,
        scratch: &mut [u8],
    ) -> io::Result<Read> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.endpoint, keyring, scratch),
            None => {
                let most = scratch.len().min(most);
                self.endpoint.read(scratch.get_mut(..most).unwrap_or_default())
            }
        }
    }

    /// As [`Self::write`], also where TLS begins in it.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET.
    pub(in crate::worker) fn send(&mut self, keyring: &mut Keyring, scratch: &mut [u8]) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.out, &mut self.endpoint, keyring, scratch),
            None => self.write(),
        }
    }

    /// Nothing more is written.
    pub(in crate::worker) fn shut_write(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.endpoint);
        }
        self.endpoint.shut_write();
    }

    /// If it has taken less than it was given, an event is to tell when there is room again.
    pub(in crate::worker) fn await_room(&mut self, key: Key, poll: &Poll) {
        if self.room == Room::Untold && !self.endpoint.writable() {
            self.ask_room(key, poll, true);
        }
    }

    /// If everything was sent, whoever reads it wakes nobody any more.
    pub(in crate::worker) fn has_sent(&mut self, key: Key, poll: &Poll) {
        if self.room == Room::Asked && self.out.is_empty() {
            self.ask_room(key, poll, false);
        }
    }

    /// If it cannot be watched so, it stays as it was: what waits for room runs into a time-out.
    fn ask_room(&mut self, key: Key, poll: &Poll, ask: bool) {
        if poll.watch_writing(self.endpoint.as_fd(), Source::Link(key), ask).is_ok() {
            self.room = if ask { Room::Asked } else { Room::Untold };
        }
    }

    fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.endpoint);
        }
        let arrivals = match &self.peer {
            Peer::Unit(unit) => &unit.arrivals,
            Peer::Shared(shared) => &shared.arrivals,
            Peer::Server(_) | Peer::Tunnel(_) | Peer::Check(_) => return,
        };
        // It may be closed late: the process is told now.
        self.endpoint.shut();
        arrivals.close(self.endpoint.into_socket());
    }

    /// The same for a stream to an app; `false` if nothing can be written any more. What the host has said before may still
    /// be there to be read, and its end tells what is true.
    pub(in crate::worker) fn write_or_read(&mut self) -> bool {
        let written = self.write().is_ok();
        if !written {
            self.abandon_output();
            self.endpoint.note(Readiness { read: true, ..Readiness::default() });
        }
        written
    }

    /// What was to be written is not.
    pub(in crate::worker) fn abandon_output(&mut self) {
        self.out.clear();
        self.attach = None;
    }

    /// It is the end of the turn.
    pub(in crate::worker) fn release(&mut self) {
        self.kept = false;
    }

    /// Writes what it can, unless that is kept; whether anything was written.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET.
    pub(in crate::worker) fn write(&mut self) -> io::Result<bool> {
        let mut any = false;
        while !self.kept && self.endpoint.writable() && !self.out.is_empty() {
            if let Some(descriptor) = self.attach.take() {
                let mut first = Vec::new();
                self.out.slices(1, |slice| first.extend_from_slice(slice));
                let count = self.endpoint.write_with_descriptor(&first, descriptor.as_fd())?;
                if count == 0 {
                    self.attach = Some(descriptor);
                }
                self.out.consume(count as u64);
                any |= count > 0;
            } else {
                any |= self.endpoint.write(&mut self.out)? > 0;
            }
        }
        Ok(any)
    }
}
