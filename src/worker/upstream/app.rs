//! Requests to apps: the queue of each app, the claim of a unit, the run of one request in it.
//!
//! A request waits in the worker that read it. Units are claimed on the board; a unit that another worker frees is
//! offered to this one and comes with a wake-up. The unit is free again when the app says FREE, which does not wait
//! for the client: the response lies in a [`ResponseSpool`](crate::worker::spool::ResponseSpool) meanwhile.

mod ahead;
mod run;
mod shared;
mod shared_run;

pub(in crate::worker) use ahead::Ahead;
pub(in crate::worker) use run::{AppRun, Unsent};
pub(in crate::worker) use shared::{Came, Leave, SharedLink};
pub(in crate::worker) use shared_run::SharedRun;

use super::READS;
use super::arrivals::{Arrivals, Stranger};
use super::links::{Link, Peer, Unit, UnitLink};
use crate::buf::Segment;
use crate::config::{App, Config};
use crate::control::app_socket;
use crate::control::pool::PoolState;
use crate::control::worker::{Complaint, ToMaster};
use crate::dispatch::WorkerBoard;
use crate::dispatch::ahead::Pace;
use crate::dispatch::board::{Freed, Lease};
use crate::event::{Endpoint, Read};
use crate::gateway::websocket::Settings;
use crate::gateway::{self, Event};
use crate::slab::Key;
use crate::sys::socket;
use crate::timer::Time;
use crate::worker::closer::Closer;
use crate::worker::context::{Context, Timer};
use crate::worker::owner::Owner;
use crate::worker::spool::RequestBody;
use crate::worker::troubles::Trouble;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;

/// The master is asked for a process at most this often per app and worker.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// So much later an app is asked again that passes descriptors which do not close.
const ASK_STUBBORN: Duration = Duration::from_secs(2);

/// While an app serves, a request waits so long before another process is asked for: the units that are there usually
/// come free sooner.
const PATIENCE: Duration = Duration::from_millis(25);

/// Units that are tried before a request is given up: all of two processes that have died at the same time. Each that fails
/// is out of use; a neighbour that was taken over could put them back without end.
pub(in crate::worker) const UNREACHED: u16 = 128;

/// So much of a request's line is shown.
const REQUEST: usize = 200;

/// How the master calls a unit.
fn named(lease: Lease) -> crate::control::worker::Unit {
    let Lease { pool, slot, thread, incarnation } = lease;
    crate::control::worker::Unit { pool, slot, thread, incarnation }
}

/// A request's line, as it is shown: what follows the path may be secret.
fn shown(line: &str) -> String {
    line.split('?').next().unwrap_or_default().chars().take(REQUEST).collect()
}

/// The apps as this worker sees them, by index into `config.apps`.
pub(in crate::worker) struct Apps {
    queues: Vec<AppQueue>,
    /// WebSockets and event streams that share the stream of their process.
    shared_tunnels: u64,
    /// A timer will ask for processes once more.
    asks_again: bool,
    /// A timer will look whether requests lie behind a slow one; it has fired.
    looks_ahead: bool,
    calls_back: bool,
}

struct AppQueue {
    /// Pool on the board.
    pool: u16,
    /// It has processes to win: the master decides whether it starts one.
    elastic: bool,
    /// Its processes serve many requests at a time each: they share them.
    spreads: bool,
    /// Exchanges that wait, the oldest first.
    waiting: VecDeque<Waiting>,
    /// So many may.
    most: usize,
    /// What exchanges have got that have not been driven since.
    granted: HashMap<Owner, Grant>,
    /// How long its requests take.
    pace: Pace,
    /// Open streams by unit.
    streams: HashMap<Lease, Key>,
    /// Those that all units of a process share.
    shared: Vec<shared::Standing>,
    /// What its WebSockets may do.
    websocket: Rc<Settings>,
    /// When the master was asked last.
    asked: Option<Time>,
    /// The board shows that requests wait here.
    published: bool,
    /// Closes what it has passed.
    closer: Rc<Closer>,
    /// How many tunnels there are to a process: its slot and incarnation.
    tunnels: HashMap<(u16, u32), u32>,
}

/// An exchange that waits for a unit.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// When its request came.
    since: Time,
    owner: Owner,
    /// It may be sent to a unit that is busy.
    ahead: bool,
}

/// A request that asks for a unit.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct Asks {
    /// When it came.
    pub(in crate::worker) since: Time,
    /// It may be sent to a unit that is busy.
    pub(in crate::worker) ahead: bool,
    /// It had a unit before, and has its place in the queue however many wait.
    pub(in crate::worker) again: bool,
}

/// What an exchange gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Grant {
    /// A unit that is free for it.
    Unit(Lease),
    /// Room behind the request that this unit runs, over this link.
    Ahead(Lease, Key),
}

impl Grant {
    /// The unit.
    pub(in crate::worker) fn lease(self) -> Lease {
        match self {
            Self::Unit(lease) | Self::Ahead(lease, _) => lease,
        }
    }
}

/// What became of a request for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Ask {
    /// It has a unit, or room ahead.
    Granted(Grant),
    /// It waits.
    Waiting,
    /// As many wait as may.
    Full,
    /// The app does not start; the next attempt is at this time.
    Failed {
        /// When.
        retry: Time,
    },
}

impl Apps {
    pub(in crate::worker) fn new(config: &Config, pools: &[u16]) -> Self {
        let queue = |(index, app): (usize, &App)| AppQueue {
            pool: pools.get(index).copied().unwrap_or(u16::MAX),
            elastic: app.processes.min < app.processes.max,
            spreads: app.kind.command().is_some() && app.processes.max > 1,
            waiting: VecDeque::new(),
            most: app.queue_size as usize,
            granted: HashMap::new(),
            pace: Pace::default(),
            streams: HashMap::new(),
            shared: Vec::new(),
            websocket: shared::settings(app),
            asked: None,
            published: false,
            closer: Rc::default(),
            tunnels: HashMap::new(),
        };
        Self {
            queues: config.apps.iter().enumerate().map(queue).collect(),
            shared_tunnels: 0,
            asks_again: false,
            looks_ahead: false,
            calls_back: false,
        }
    }
}

impl AppQueue {
    /// Claims an idle unit; where processes share what comes, of the one that has the least to do, tunnels of this worker
    /// included.
    fn claim(&self, board: WorkerBoard<'_>) -> Option<Lease> {
        if self.spreads {
            let tunnels =
                |slot| self.tunnels.iter().filter(move |((of, _), _)| *of == slot).map(|(_, count)| count);
            let load =
                |slot, running| running as u64 + tunnels(slot).map(|count| u64::from(*count)).sum::<u64>();
            let slots = board.loads(self.pool).map(|(slot, running)| (load(slot, running), slot));
            if let Some(lease) = slots.min().and_then(|(_, slot)| board.claim_in(self.pool, slot)) {
                return Some(lease);
            }
        }
        self.claim_shared(board).or_else(|| board.claim(self.pool))
    }
}

/// When the next attempt is to start an app; `None`: it need not wait for one.
fn failed_until(state: PoolState) -> Option<Time> {
    match state {
        PoolState::Failed { retry } => Some(retry),
        PoolState::Stopped => Some(Time::NEVER),
        PoolState::Asleep | PoolState::Booting | PoolState::Serving => None,
    }
}

impl Context {
    /// Asks for a unit of an app.
    pub(in crate::worker) fn ask_unit(&mut self, app: usize, owner: Owner, asks: Asks) -> Ask {
        let Asks { since, ahead, again } = asks;
        let Some(queue) = self.apps.queues.get_mut(app) else { return Ask::Failed { retry: self.now } };
        let pool = queue.pool;
        self.board.touch(pool, self.now);
        if queue.closer.is_held_up(self.now) {
            self.note_stranger(app, Stranger::Stubborn);
            return Ask::Failed { retry: self.now.after(ASK_STUBBORN) };
        }
        if queue.waiting.is_empty()
            && let Some(lease) = queue.claim(self.board)
        {
            return Ask::Granted(Grant::Unit(lease));
        }
        if let Some(retry) = failed_until(self.board.state(pool)).filter(|retry| self.now < *retry) {
            return Ask::Failed { retry };
        }
        if !again && queue.waiting.len() >= queue.most {
            self.tell_want(app);
            return Ask::Full;
        }
        let place = queue.waiting.partition_point(|earlier| earlier.since <= since);
        queue.waiting.insert(place, Waiting { since, owner, ahead });
        self.pump_queue(app);
        match self.take_grant(app, owner) {
            Some(grant) => Ask::Granted(grant),
            None => {
                if self.app_state(app) != PoolState::Serving {
                    self.want(app);
                }
                self.ask_again(app);
                Ask::Waiting
            }
        }
    }

    /// What a waiting exchange has got.
    pub(in crate::worker) fn take_grant(&mut self, app: usize, owner: Owner) -> Option<Grant> {
        self.apps.queues.get_mut(app)?.granted.remove(&owner)
    }

    /// Whether nothing of the app runs; a request would wake it.
    pub(in crate::worker) fn is_asleep(&self, app: usize) -> bool {
        self.app_state(app) == PoolState::Asleep
    }

    /// What is wrong with the code of an app that is watched, while it is not being tried: other code serves in its place, or
    /// none does.
    pub(in crate::worker) fn trouble(&self, app: usize) -> Option<(Rc<Trouble>, bool)> {
        let trouble = self.edits.troubles.of(self.apps.queues.get(app)?.pool)?;
        match self.app_state(app) {
            PoolState::Serving => Some((trouble, true)),
            PoolState::Failed { .. } => Some((trouble, false)),
            PoolState::Asleep | PoolState::Booting | PoolState::Stopped => None,
        }
    }

    fn app_state(&self, app: usize) -> PoolState {
        self.apps.queues.get(app).map_or(PoolState::Asleep, |queue| self.board.state(queue.pool))
    }

    /// Whether the app of a waiting request has failed to start, or was stopped; when the next attempt is.
    pub(in crate::worker) fn app_failed(&self, app: usize) -> Option<Time> {
        failed_until(self.app_state(app))
    }

    /// A waiting exchange gives up.
    pub(in crate::worker) fn leave_queue(&mut self, app: usize, owner: Owner) {
        if let Some(queue) = self.apps.queues.get_mut(app) {
            queue.waiting.retain(|waiting| waiting.owner != owner);
        }
        if let Some(grant) = self.take_grant(app, owner) {
            self.decline(app, grant);
        }
        self.pump_queue(app);
    }

    /// What was granted is not used.
    pub(in crate::worker) fn decline(&mut self, app: usize, grant: Grant) {
        match grant {
            Grant::Unit(lease) => self.free_unit(Unit { app, lease }),
            Grant::Ahead(lease, key) => self.leave_room_ahead(Unit { app, lease }, key),
        }
    }

    /// Something changed on the board: units may be free or offered, apps may have started or failed.
    pub(in crate::worker) fn woken(&mut self) {
        for app in 0..self.apps.queues.len() {
            self.pump_queue(app);
            if self.app_failed(app).is_some() {
                let Some(queue) = self.apps.queues.get(app) else { continue };
                self.runnable.extend(queue.waiting.iter().map(|waiting| waiting.owner));
            } else if self.app_state(app) == PoolState::Asleep
                && self.apps.queues.get(app).is_some_and(|queue| !queue.waiting.is_empty())
            {
                self.want(app);
            }
        }
    }

    /// Gives units, and room ahead, to waiting requests, the oldest first, as long as there is any.
    fn pump_queue(&mut self, app: usize) {
        let board = self.board;
        while let Some(queue) = self.apps.queues.get_mut(app)
            && let Some(Waiting { since, owner, ahead }) = queue.waiting.front().copied()
        {
            queue.published = true;
            let grant = match board.wait(queue.pool, since) {
                Some(lease) => Grant::Unit(lease),
                None if ahead && let Some(grant) = self.room_ahead(app, since) => grant,
                None => return,
            };
            let Some(queue) = self.apps.queues.get_mut(app) else { return };
            queue.waiting.pop_front();
            queue.granted.insert(owner, grant);
            self.next.push_back(owner);
        }
        let Some(queue) = self.apps.queues.get_mut(app) else { return };
        if std::mem::take(&mut queue.published) {
            // What was offered in the meantime goes to others.
            let poke = board.head(queue.pool, None);
            poke.iter().for_each(|row| self.poke(row));
        }
    }

    /// Tells the master that a request waits, unless it was told a moment ago or can do nothing about it.
    pub(in crate::worker) fn want(&mut self, app: usize) {
        // Units of a process that has just become ready may be free already, before anybody has told.
        self.pump_queue(app);
        let waits = |queue: &AppQueue| !queue.waiting.is_empty();
        if self.app_state(app) == PoolState::Serving && !self.apps.queues.get(app).is_some_and(waits) {
            return;
        }
        self.tell_want(app);
    }

    /// The same, whether or not one waits.
    fn tell_want(&mut self, app: usize) {
        let Some(queue) = self.apps.queues.get_mut(app) else { return };
        let state = self.board.state(queue.pool);
        let useful = match state {
            PoolState::Asleep => true,
            PoolState::Serving => queue.elastic,
            PoolState::Failed { retry } => retry <= self.now,
            PoolState::Booting | PoolState::Stopped => false,
        };
        if useful && queue.asked.is_none_or(|asked| self.now.since(asked) >= ASK_AGAIN) {
            queue.asked = Some(self.now);
            let pool = queue.pool;
            self.tell(&ToMaster::Want { pool });
        }
    }

    /// Sees to it that a process is asked for once more, if that could be of use: what was asked for may not have come.
    fn ask_again(&mut self, app: usize) {
        let serves = self.app_state(app) == PoolState::Serving;
        let Some(queue) = self.apps.queues.get(app) else { return };
        if (queue.elastic || !serves)
            && !queue.waiting.is_empty()
            && !std::mem::replace(&mut self.apps.asks_again, true)
        {
            self.timers.insert(self.now.after(PATIENCE), Timer::Wants);
        }
    }

    /// It is time for that.
    pub(in crate::worker) fn want_again(&mut self) {
        self.apps.asks_again = false;
        for app in 0..self.apps.queues.len() {
            if self.apps.queues.get(app).is_some_and(|queue| !queue.waiting.is_empty()) {
                self.want(app);
                self.ask_again(app);
            }
        }
    }

    /// The process of a claimed unit cannot be connected to: the unit is out of use until the master has looked.
    pub(in crate::worker) fn lose_unit(&mut self, unit: Unit, error: &dyn std::fmt::Display) {
        self.board.abandon(unit.lease);
        if self.is_shared(unit.lease) {
            self.abandon_process(unit);
        }
        let reason = format!("a worker cannot connect to it: {error}");
        self.complain(unit, Complaint::Unreachable, reason);
    }

    /// A request has become a tunnel to the process of this unit, which others can have.
    pub(super) fn unit_becomes_tunnel(&mut self, unit: Unit) {
        let Lease { slot, incarnation, .. } = unit.lease;
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            let count = queue.tunnels.entry((slot, incarnation)).or_default();
            *count += 1;
            // Before the unit is free: a process that is to leave waits for either.
            if *count == 1 {
                self.tell(&ToMaster::Tunnels { at: named(unit.lease), any: true });
            }
        }
        self.free_unit(unit);
    }

    /// A tunnel to the process that had this unit has ended.
    pub(super) fn unit_tunnel_ended(&mut self, unit: Unit) {
        let Lease { slot, incarnation, .. } = unit.lease;
        let Some(queue) = self.apps.queues.get_mut(unit.app) else { return };
        let Some(count) = queue.tunnels.get_mut(&(slot, incarnation)) else { return };
        *count -= 1;
        if *count == 0 {
            queue.tunnels.remove(&(slot, incarnation));
            self.tell(&ToMaster::Tunnels { at: named(unit.lease), any: false });
        }
    }

    /// Frees a claimed unit and lets whoever waits longest have it.
    pub(super) fn free_unit(&mut self, unit: Unit) {
        let Unit { app, lease } = unit;
        match self.board.free(lease, self.now) {
            Freed::Offered(row) if row == self.row => self.pump_queue(app),
            Freed::Offered(row) => self.poke(row),
            Freed::Left => self.tell(&ToMaster::Left { pool: lease.pool, slot: lease.slot }),
            Freed::Idle | Freed::Stale => {}
        }
    }

    /// A stream to the unit: one that is open, or a new one.
    fn stream_to(&mut self, unit: Unit, owner: Owner) -> io::Result<Key> {
        let open = self.apps.queues.get(unit.app).and_then(|queue| queue.streams.get(&unit.lease)).copied();
        if let Some(key) = open {
            if let Some(link) = self.links.lend(key, owner)
                && !link.is_spoilt(&mut self.keyring, &mut self.scratch)
                && let Peer::Unit(link) = &mut link.peer
                // Else somebody has written over the claim.
                && !link.is_awaited()
            {
                link.ahead = Ahead::default();
                return Ok(key);
            }
            self.drop_stream(key, unit);
        }
        let lease = unit.lease;
        let (endpoint, closer) = self.connect_to(unit)?;
        let peer = Peer::Unit(Box::new(UnitLink {
            unit,
            stream: 0,
            response: None,
            arrivals: Arrivals::new(unit.app, closer),
            began: self.now,
            tell_at: self.now,
            until: self.now,
            armed: false,
            told: false,
            ahead: Ahead::default(),
            tells_time: false,
        }));
        let key = self.links.add(endpoint, None, peer, Some(owner), &self.poll)?;
        if let Some(link) = self.links.get_mut(key) {
            let mut hello = Vec::new();
            gateway::app::hello(self.row, lease.thread, &mut hello);
            link.out.extend(&hello);
        }
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.streams.insert(lease, key);
        }
        Ok(key)
    }

    /// A new connection to the process of a unit, and what closes the descriptors that come over it.
    fn connect_to(&self, unit: Unit) -> io::Result<(Endpoint, Rc<Closer>)> {
        let Lease { pool, slot, incarnation, .. } = unit.lease;
        let closer = self.apps.queues.get(unit.app).map(|queue| Rc::clone(&queue.closer)).unwrap_or_default();
        let path = app_socket(&self.runtime_dir, pool, slot, incarnation);
        let stream = socket::connect_unix(&path, socket::Expect::Descriptors)?;
        if socket::peer_process(stream.as_fd()) != Some(self.master) {
            closer.close(stream);
            return Err(io::Error::other("what listens on the socket of the process is not the master's"));
        }
        Ok((Endpoint::new(stream), closer))
    }

    fn drop_stream(&mut self, key: Key, unit: Unit) {
        if let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) {
            unit_link.response = None;
        }
        self.links.close(key);
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.streams.remove(&unit.lease);
        }
        self.give_back_ahead(key);
    }

    /// The stream is of no more use while a request is in the unit. The unit stays taken until the master has reaped
    /// its process, or the host says that the request is over.
    fn give_up_unit(&mut self, key: Key, unit: Unit) {
        self.board.abandon(unit.lease);
        self.drop_stream(key, unit);
    }

    /// An app has passed what it must not.
    fn note_stranger(&mut self, app: usize, stranger: Stranger) {
        let name = self.config.apps.get(app).map_or("", |app| &app.name);
        let line = format!("app {name}: {stranger}");
        self.note_fault(log::Level::Error, &line, format_args!("{line}"));
    }

    /// The process of a unit seems to be of no more use.
    fn complain(&self, unit: Unit, complaint: Complaint, reason: String) {
        self.tell(&ToMaster::Stuck { at: named(unit.lease), complaint, reason });
    }

    /// Writes a request to a stream, as far as it goes now; one that lies behind others, by the end of the turn. `encode` writes
    /// the frames. Its number, and whether it runs.
    fn send_request(
        &mut self,
        key: Key,
        owner: Owner,
        body: &RequestBody,
        encode: impl FnOnce(u32, gateway::app::Body<'_>, &mut Vec<u8>),
    ) -> io::Result<(u32, bool)> {
        let Some(link) = self.links.get_mut(key) else { return Err(io::ErrorKind::NotConnected.into()) };
        let Peer::Unit(unit_link) = &mut link.peer else { return Err(io::ErrorKind::NotConnected.into()) };
        unit_link.stream = unit_link.stream.wrapping_add(1);
        let stream = unit_link.stream;
        if unit_link.response.is_some() {
            unit_link.ahead.push(stream, owner);
            link.out.encode(|out| encode(stream, gateway::app::Body::None, out));
            self.links.keep(key);
            return Ok((stream, false));
        }
        unit_link.response = Some(gateway::app::Response::new(stream));
        unit_link.began = self.now;
        link.release();
        match body {
            RequestBody::Memory { bytes, .. } if bytes.is_empty() => {
                link.out.encode(|out| encode(stream, gateway::app::Body::None, out));
            }
            RequestBody::Memory { bytes, .. } => {
                link.out.encode(|out| encode(stream, gateway::app::Body::Inline(bytes), out));
            }
            RequestBody::File { file, .. } => {
                // A descriptor travels with the first byte of its frame: what was queued before goes first.
                if !link.out.is_empty() {
                    link.write()?;
                }
                link.out.push(Segment::from({
                    let mut frames = Vec::new();
                    encode(stream, gateway::app::Body::Descriptor, &mut frames);
                    frames
                }));
                link.attach = Some(Rc::clone(file));
            }
        }
        link.write()?;
        link.await_room(key, &self.poll);
        Ok((stream, true))
    }

    /// Nobody waits any more for the response that still comes over a link: its host is to ask the app for no more of it.
    fn cancel_request(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if let Peer::Unit(unit_link) = &link.peer
            && let Some(response) = &unit_link.response
        {
            let stream = response.stream();
            link.out.encode(|out| gateway::app::cancel(stream, out));
        }
    }

    /// Nobody waits any more for the request that runs over a link. It may go on until then: a request that never
    /// ends would take its unit out of use for ever.
    fn finish_alone(&mut self, key: Key, began: Time, tell_at: Time, until: Time) {
        self.links.let_go(key);
        if let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) {
            (unit_link.began, unit_link.tell_at, unit_link.until) = (began, tell_at, until);
        }
        self.tend_loose_link(key);
        self.expire_unit(key);
    }

    /// Looks whether a request that nobody waits for has run long enough, or so long that the master is to know; if not, the
    /// timer comes back to it. At most one timer a link: most such requests are over at once.
    fn expire_unit(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key).filter(|link| link.is_loose()) else { return };
        let Peer::Unit(unit_link) = &mut link.peer else { return };
        let (unit, until, tell_at) = (unit_link.unit, unit_link.until, unit_link.tell_at);
        if unit_link.response.is_none() {
            return;
        }
        if until <= self.now {
            let reason = "a request whose client has left ran into the time-out";
            self.complain(unit, Complaint::Late, reason.to_owned());
            return self.give_up_unit(key, unit);
        }
        let tell = !unit_link.told && tell_at <= self.now;
        if !std::mem::replace(&mut unit_link.armed, true) {
            let next = if unit_link.told || tell { until } else { until.min(tell_at) };
            self.timers.insert(next, Timer::Unit(key));
        }
        if tell {
            let began = unit_link.began;
            self.show_request(key, began, "a request that nobody waits for");
        }
    }

    /// The timer of a link has fired.
    pub(in crate::worker) fn unit_timer(&mut self, key: Key) {
        match self.links.get_mut(key).map(|link| &mut link.peer) {
            Some(Peer::Unit(unit_link)) => {
                unit_link.armed = false;
                self.expire_unit(key);
            }
            Some(Peer::Shared(_)) => self.expire_shared(key),
            _ => {}
        }
    }

    /// The app said FREE: its unit takes the next request, its stream is kept.
    fn unit_is_free(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        link.has_sent(key, &self.poll);
        let Peer::Unit(unit_link) = &mut link.peer else { return };
        let unit = unit_link.unit;
        let took = unit_link.response.as_ref().and_then(gateway::app::Response::took);
        unit_link.tells_time |= took.is_some();
        let told = std::mem::take(&mut unit_link.told);
        self.links.let_go(key);
        if told {
            self.tell(&ToMaster::Ran { at: named(unit.lease) });
        }
        self.note_pace(unit, took);
        if self.run_next(key) {
            self.pump_queue(unit.app);
        } else {
            self.free_unit(unit);
        }
    }

    /// A request has run for a while: the master shows it until it is over.
    fn show_request(&mut self, key: Key, since: Time, line: &str) {
        let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) else { return };
        unit_link.told = true;
        let at = named(unit_link.unit.lease);
        self.tell(&ToMaster::Runs { at, since: since.0, request: shown(line) });
    }

    /// A loose link had an event: an idle one that was closed by the other side goes, a unit that finishes a request
    /// nobody waits for is read until it is free. A timer may find that it serves an exchange by now.
    pub(in crate::worker) fn tend_loose_link(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key).filter(|link| link.is_loose()) else { return };
        match &link.peer {
            Peer::Check(_) => self.tend_check(key),
            Peer::Shared(_) => self.tend_shared(key),
            Peer::Server(_) | Peer::Tunnel(_) => {
                if link.is_spoilt(&mut self.keyring, &mut self.scratch) {
                    self.lose_idle_link(key);
                }
            }
            Peer::Unit(unit_link) if unit_link.response.is_none() => {
                let (unit, is_awaited) = (unit_link.unit, unit_link.is_awaited());
                match link.is_spoilt(&mut self.keyring, &mut self.scratch) {
                    true if is_awaited => self.give_up_unit(key, unit),
                    true => self.drop_stream(key, unit),
                    false => {}
                }
            }
            Peer::Unit(unit_link) => {
                let unit = unit_link.unit;
                let closing = self.config.apps.get(unit.app).map_or(Duration::ZERO, |app| app.timeout);
                match finish_unwanted(link, &mut self.scratch, self.now, self.now.after(closing)) {
                    Ok(Unwanted::Running) => link.await_room(key, &self.poll),
                    Ok(Unwanted::More) => self.timers.insert(self.now, Timer::Loose(key)),
                    Ok(Unwanted::Free) => self.unit_is_free(key),
                    Ok(Unwanted::Broken) => self.give_up_unit(key, unit),
                    Err(stranger) => {
                        self.note_stranger(unit.app, stranger);
                        self.give_up_unit(key, unit);
                    }
                }
            }
        }
    }
}

enum Unwanted {
    Running,
    /// There is more to read than others should wait for.
    More,
    Free,
    Broken,
}

/// Reads and drops the response of a request that nobody waits for. Once it has ended, `close()` may take until `closed`.
fn finish_unwanted(
    link: &mut Link,
    scratch: &mut [u8],
    now: Time,
    closed: Time,
) -> Result<Unwanted, Stranger> {
    link.write_or_read();
    let Peer::Unit(unit) = &mut link.peer else { return Ok(Unwanted::Broken) };
    let UnitLink { response: Some(response), arrivals, until, .. } = &mut **unit else {
        return Ok(Unwanted::Free);
    };
    for _ in 0..READS {
        // What was read before nobody waited any more comes first.
        while let Some(event) = response.poll() {
            match event {
                Event::Free => return arrivals.end(response).map(|()| Unwanted::Free),
                Event::Broken(_) if response.is_lost() => return Ok(Unwanted::Broken),
                Event::File { .. } => drop(arrivals.file(now)?),
                Event::End | Event::Broken(_) if response.has_ended() => *until = closed,
                _ => {}
            }
        }
        // What is not the protocol brings no event once the response is over.
        if response.is_lost() {
            return Ok(Unwanted::Broken);
        }
        arrivals.end(response)?;
        if !link.endpoint.readable() {
            return Ok(Unwanted::Running);
        }
        let mut came = Vec::new();
        let read = link.endpoint.read_with_descriptors(scratch, &mut came);
        arrivals.take_in(came)?;
        match read {
            Ok(Read::Bytes(count)) => response.feed(scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return Ok(Unwanted::Running),
            Ok(Read::Eof) | Err(_) => return Ok(Unwanted::Broken),
        }
    }
    Ok(Unwanted::More)
}
