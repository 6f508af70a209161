//! Requests to apps: the queue of each app, the claim of a unit, the run of one request in it.
//!
//! A request waits in the worker that read it. Units are claimed on the board; a unit that another worker frees is
//! offered to this one and comes with a wake-up. The unit is free again when the app says FREE, which does not wait
//! for the client: the response lies in a [`ResponseSpool`] meanwhile.

use super::links::{Link, Peer, UnitLink};
use crate::buf::Segment;
use crate::config::{App, Config};
use crate::control::app_socket;
use crate::control::worker::ToMaster;
use crate::dispatch::board::{Freed, Lease, PoolState};
use crate::event::{Endpoint, Read};
use crate::gateway::{self, Event, Fault};
use crate::h1;
use crate::slab::Key;
use crate::sys::socket;
use crate::timer::Time;
use crate::worker::context::{Context, Timer};
use crate::worker::spool::{RequestBody, ResponseSpool};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The master is asked for a process at most this often per app and worker.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// While an app serves, a request waits so long before another process is asked for: the units that are there usually
/// come free sooner.
pub(in crate::worker) const PATIENCE: Duration = Duration::from_millis(25);

/// A unit of an app, as a link knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::worker) struct Unit {
    /// Index into `config.apps`.
    pub(in crate::worker) app: usize,
    /// The claimed unit.
    pub(in crate::worker) lease: Lease,
}

/// The apps as this worker sees them, by index into `config.apps`.
pub(in crate::worker) struct Apps {
    queues: Vec<AppQueue>,
}

struct AppQueue {
    /// Pool on the board.
    pool: u16,
    /// It has processes to win: the master decides whether it starts one.
    elastic: bool,
    /// Clients whose requests wait, the oldest first.
    waiting: VecDeque<(Time, Key)>,
    /// Units claimed for clients that have not been driven since.
    granted: HashMap<Key, Lease>,
    /// Open streams by unit.
    streams: HashMap<Lease, Key>,
    /// When the master was asked last.
    asked: Option<Time>,
    /// The board shows that requests wait here.
    published: bool,
}

/// What became of a request for a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Ask {
    /// It has a unit.
    Granted(Lease),
    /// It waits.
    Waiting,
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
            waiting: VecDeque::new(),
            granted: HashMap::new(),
            streams: HashMap::new(),
            asked: None,
            published: false,
        };
        Self { queues: config.apps.iter().enumerate().map(queue).collect() }
    }
}

impl Context {
    /// Asks for a unit of an app for the request of a client that arrived at `since`.
    pub(in crate::worker) fn ask_unit(&mut self, app: usize, client: Key, since: Time) -> Ask {
        let Some(queue) = self.apps.queues.get_mut(app) else { return Ask::Failed { retry: self.now } };
        let pool = queue.pool;
        self.board.touch(pool, self.now);
        if queue.waiting.is_empty()
            && let Some(lease) = self.board.claim(pool, self.row)
        {
            return Ask::Granted(lease);
        }
        if let PoolState::Failed { retry } = self.board.state(pool)
            && self.now < retry
        {
            return Ask::Failed { retry };
        }
        let place = queue.waiting.partition_point(|(earlier, _)| *earlier <= since);
        queue.waiting.insert(place, (since, client));
        self.pump_queue(app);
        match self.take_grant(app, client) {
            Some(lease) => Ask::Granted(lease),
            None => {
                if self.app_state(app) != PoolState::Serving {
                    self.want(app);
                }
                Ask::Waiting
            }
        }
    }

    /// The unit that was claimed for a waiting client.
    pub(in crate::worker) fn take_grant(&mut self, app: usize, client: Key) -> Option<Lease> {
        self.apps.queues.get_mut(app)?.granted.remove(&client)
    }

    /// Whether nothing of the app runs; a request would wake it.
    pub(in crate::worker) fn is_asleep(&self, app: usize) -> bool {
        self.app_state(app) == PoolState::Asleep
    }

    fn app_state(&self, app: usize) -> PoolState {
        self.apps.queues.get(app).map_or(PoolState::Asleep, |queue| self.board.state(queue.pool))
    }

    /// Whether the app of a waiting request has failed to start; when the next attempt is.
    pub(in crate::worker) fn app_failed(&self, app: usize) -> Option<Time> {
        match self.app_state(app) {
            PoolState::Failed { retry } => Some(retry),
            PoolState::Asleep | PoolState::Booting | PoolState::Serving => None,
        }
    }

    /// A waiting client gives up.
    pub(in crate::worker) fn leave_queue(&mut self, app: usize, client: Key) {
        if let Some(queue) = self.apps.queues.get_mut(app) {
            queue.waiting.retain(|(_, key)| *key != client);
        }
        if let Some(lease) = self.take_grant(app, client) {
            self.free_unit(Unit { app, lease });
        }
        self.pump_queue(app);
    }

    /// Something changed on the board: units may be free or offered, apps may have started or failed.
    pub(in crate::worker) fn woken(&mut self) {
        for app in 0..self.apps.queues.len() {
            self.pump_queue(app);
            if self.app_failed(app).is_some() {
                let waiting: Vec<Key> = self
                    .apps
                    .queues
                    .get(app)
                    .map(|queue| queue.waiting.iter().map(|(_, key)| *key).collect())
                    .unwrap_or_default();
                waiting.into_iter().for_each(|key| self.run_soon(key));
            } else if self.app_state(app) == PoolState::Asleep
                && self.apps.queues.get(app).is_some_and(|queue| !queue.waiting.is_empty())
            {
                self.want(app);
            }
        }
    }

    /// Gives units to waiting requests, the oldest first, as long as there are units.
    fn pump_queue(&mut self, app: usize) {
        let (board, row) = (self.board, self.row);
        let Some(queue) = self.apps.queues.get_mut(app) else { return };
        while let Some((since, client)) = queue.waiting.front().copied() {
            queue.published = true;
            let Some(lease) = board.wait(queue.pool, row, since) else { return };
            queue.waiting.pop_front();
            queue.granted.insert(client, lease);
            self.runnable.push_back(client);
        }
        if std::mem::take(&mut queue.published) {
            // What was offered in the meantime goes to others.
            let poke = board.head(queue.pool, row, None);
            poke.iter().for_each(|row| self.poke(row));
        }
    }

    /// Tells the master that a request waits, unless it was told a moment ago or can do nothing about it.
    pub(in crate::worker) fn want(&mut self, app: usize) {
        let Some(queue) = self.apps.queues.get_mut(app) else { return };
        let state = self.board.state(queue.pool);
        let useful = match state {
            PoolState::Asleep => true,
            PoolState::Serving => queue.elastic,
            PoolState::Failed { retry } => retry <= self.now,
            PoolState::Booting => false,
        };
        if useful && queue.asked.is_none_or(|asked| self.now.since(asked) >= ASK_AGAIN) {
            queue.asked = Some(self.now);
            let pool = queue.pool;
            self.tell(&ToMaster::Want { pool });
        }
    }

    /// Frees a claimed unit and lets whoever waits longest have it.
    fn free_unit(&mut self, unit: Unit) {
        let Unit { app, lease } = unit;
        match self.board.free(lease, self.row, self.now) {
            Freed::Offered(row) if row == self.row => self.pump_queue(app),
            Freed::Offered(row) => self.poke(row),
            Freed::Left => self.tell(&ToMaster::Left { pool: lease.pool, slot: lease.slot }),
            Freed::Idle | Freed::Stale => {}
        }
    }

    /// A stream to the unit: one that is open, or a new one.
    fn stream_to(&mut self, unit: Unit, owner: Key) -> io::Result<Key> {
        let open = self.apps.queues.get(unit.app).and_then(|queue| queue.streams.get(&unit.lease)).copied();
        if let Some(key) = open {
            if self.links.lend(key, owner).is_some_and(|link| !link.is_spoilt()) {
                return Ok(key);
            }
            self.drop_stream(key, unit);
        }
        let lease = unit.lease;
        let path = app_socket(&self.runtime_dir, lease.pool, lease.slot, lease.generation);
        let endpoint = Endpoint::new(socket::connect_unix(&path)?);
        let peer = Peer::Unit(Box::new(UnitLink {
            unit,
            stream: 0,
            response: None,
            descriptors: VecDeque::new(),
            until: self.now,
            armed: false,
        }));
        let key = self.links.add(endpoint, peer, owner, &self.poll)?;
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

    fn drop_stream(&mut self, key: Key, unit: Unit) {
        if let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) {
            unit_link.response = None;
        }
        self.links.close(key);
        if let Some(queue) = self.apps.queues.get_mut(unit.app) {
            queue.streams.remove(&unit.lease);
        }
    }

    /// The stream is of no more use while a request is in the unit. The unit stays taken until the master has reaped
    /// its process, or the host says that the request is over.
    fn give_up_unit(&mut self, key: Key, unit: Unit) {
        self.board.abandon(unit.lease, self.row);
        self.drop_stream(key, unit);
    }

    /// The process of a unit is to be replaced: its request ran out of time, or it does not speak the protocol.
    fn replace_process(&self, unit: Unit, reason: String) {
        let Lease { pool, slot, generation, .. } = unit.lease;
        self.tell(&ToMaster::Stuck { pool, slot, generation, reason });
    }

    /// Writes a request to a stream, as far as it goes now. `encode` writes the frames.
    fn send_request(
        &mut self,
        key: Key,
        body: &RequestBody,
        encode: impl FnOnce(u32, gateway::app::Body<'_>, &mut Vec<u8>),
    ) -> io::Result<()> {
        let Some(link) = self.links.get_mut(key) else { return Err(io::ErrorKind::NotConnected.into()) };
        let Peer::Unit(unit_link) = &mut link.peer else { return Err(io::ErrorKind::NotConnected.into()) };
        unit_link.stream = unit_link.stream.wrapping_add(1);
        unit_link.response = Some(gateway::app::Response::new(unit_link.stream));
        let stream = unit_link.stream;
        match body {
            RequestBody::Memory(bytes) if bytes.is_empty() => {
                link.out.encode(|out| encode(stream, gateway::app::Body::None, out));
            }
            RequestBody::Memory(bytes) => {
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
        link.write().map(|_| ())
    }

    /// Nobody waits any more for the request that runs over a link. It may go on until then: a request that never
    /// ends, as a stream of events whose client has left, would take its unit out of use for ever.
    fn finish_alone(&mut self, key: Key, until: Time) {
        self.links.let_go(key);
        if let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) {
            unit_link.until = until;
        }
        self.tend_loose_link(key);
        self.expire_unit(key);
    }

    /// Looks whether a request that nobody waits for has run long enough; if not, the wheel comes back to it. At most
    /// one timer a link: most such requests are over at once.
    fn expire_unit(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key).filter(|link| link.is_loose()) else { return };
        let Peer::Unit(unit_link) = &mut link.peer else { return };
        let (unit, until) = (unit_link.unit, unit_link.until);
        if unit_link.response.is_none() {
            return;
        }
        if until <= self.now {
            self.give_up_unit(key, unit);
            self.replace_process(unit, "a request whose client has left ran into the time-out".to_owned());
        } else if !std::mem::replace(&mut unit_link.armed, true) {
            self.wheel.insert(until, Timer::Unit(key));
        }
    }

    /// The timer of a link has fired.
    pub(in crate::worker) fn unit_timer(&mut self, key: Key) {
        if let Some(Link { peer: Peer::Unit(unit_link), .. }) = self.links.get_mut(key) {
            unit_link.armed = false;
        }
        self.expire_unit(key);
    }

    /// The app said FREE: its unit takes the next request, its stream is kept.
    fn unit_is_free(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        let Peer::Unit(unit_link) = &mut link.peer else { return };
        unit_link.response = None;
        unit_link.descriptors.clear();
        let unit = unit_link.unit;
        self.links.let_go(key);
        self.free_unit(unit);
    }

    /// A loose link had an event: an idle one that was closed by the other side goes, a unit that finishes a request
    /// nobody waits for is read until it is free.
    pub(in crate::worker) fn tend_loose_link(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        match &link.peer {
            Peer::Server { .. } => {
                if link.is_spoilt() {
                    self.links.close(key);
                }
            }
            Peer::Unit(unit_link) if unit_link.response.is_none() => {
                let unit = unit_link.unit;
                if link.is_spoilt() {
                    self.drop_stream(key, unit);
                }
            }
            Peer::Unit(unit_link) => {
                let unit = unit_link.unit;
                match finish_unwanted(link, &mut self.scratch) {
                    Unwanted::Running => {}
                    Unwanted::Free => self.unit_is_free(key),
                    Unwanted::Broken => self.give_up_unit(key, unit),
                }
            }
        }
    }
}

enum Unwanted {
    Running,
    Free,
    Broken,
}

/// Reads and drops the response of a request that nobody waits for.
fn finish_unwanted(link: &mut Link, scratch: &mut [u8]) -> Unwanted {
    if link.write().is_err() {
        return Unwanted::Broken;
    }
    let Peer::Unit(unit) = &mut link.peer else { return Unwanted::Broken };
    let mut dropped = Vec::new();
    let Some(response) = &mut unit.response else { return Unwanted::Free };
    loop {
        // What was read before nobody waited any more comes first.
        while let Some(event) = response.poll() {
            match event {
                Event::Free => return Unwanted::Free,
                Event::Broken(_) if response.is_lost() => return Unwanted::Broken,
                _ => {}
            }
        }
        // What is not the protocol brings no event once the response is over.
        if response.is_lost() {
            return Unwanted::Broken;
        }
        if !link.endpoint.readable() {
            return Unwanted::Running;
        }
        match link.endpoint.read_with_descriptors(scratch, &mut dropped) {
            Ok(Read::Bytes(count)) => response.feed(scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return Unwanted::Running,
            Ok(Read::Eof) | Err(_) => return Unwanted::Broken,
        }
        dropped.clear();
    }
}

/// A request that runs in a unit.
pub(in crate::worker) struct Run {
    link: Key,
    unit: Unit,
    spool: ResponseSpool,
    /// The app's `timeout`, and when that is over.
    timeout: Duration,
    deadline: Time,
    /// The app has said END.
    complete: bool,
    /// The app has said FREE: the link is not ours any more.
    free: bool,
}

/// Why a unit did not get a request.
#[derive(Debug)]
pub(in crate::worker) enum Unsent {
    /// Its process has gone: another may have it.
    Gone(io::Error),
    /// This worker lacks descriptors or memory, which is no fault of the process.
    Shortage(io::Error),
}

fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::ENOSPC, Errno::EAGAIN];
    error.raw_os_error().is_some_and(|code| short.contains(&Errno::from_raw(code)))
}

/// What an exchange has to do next for its run.
pub(in crate::worker) enum Step {
    /// Nothing came, or it has been passed on.
    Wait,
    /// Something was passed on.
    Progress,
    /// The response head.
    Head(crate::http::ResponseHead, crate::http::BodyLength),
    /// Everything was given to the connection.
    Done,
    /// It failed.
    Broken(Fault),
}

impl Run {
    /// Sends a request to a claimed unit. `encode` writes the frames.
    ///
    /// # Errors
    /// If the unit did not get the request; the claim is not ours any more.
    pub(in crate::worker) fn start(
        unit: Unit,
        owner: Key,
        body: &RequestBody,
        encode: impl FnOnce(u32, gateway::app::Body<'_>, &mut Vec<u8>),
        cx: &mut Context,
    ) -> Result<Self, Unsent> {
        let key = match cx.stream_to(unit, owner) {
            Ok(key) => key,
            Err(error) if is_shortage(&error) => {
                cx.free_unit(unit);
                return Err(Unsent::Shortage(error));
            }
            Err(error) => {
                cx.board.abandon(unit.lease, cx.row);
                cx.replace_process(unit, format!("a worker cannot connect to it: {error}"));
                return Err(Unsent::Gone(error));
            }
        };
        // An app begins with a request that it has whole: after an error here it has not begun.
        if let Err(error) = cx.send_request(key, body, encode) {
            cx.give_up_unit(key, unit);
            return Err(Unsent::Gone(error));
        }
        let app = cx.config.apps.get(unit.app);
        let (timeout, buffer) = app.map(|app| (app.timeout, app.response_buffer)).unwrap_or_default();
        Ok(Self {
            link: key,
            unit,
            spool: ResponseSpool::new(buffer),
            timeout,
            deadline: cx.now.after(timeout),
            complete: false,
            free: false,
        })
    }

    /// When the app has taken too long; `None` once its response is complete.
    pub(in crate::worker) fn deadline(&self) -> Option<Time> {
        (!self.complete).then_some(self.deadline)
    }

    /// Body bytes given to the connection so far.
    pub(in crate::worker) fn sent(&self) -> u64 {
        self.spool.sent()
    }

    /// Moves what can be moved between the unit and the client's connection. `line` names the request, for whoever asks
    /// why its process was replaced.
    pub(in crate::worker) fn advance(
        &mut self,
        h1: &mut h1::Conn,
        line: impl Fn() -> String,
        cx: &mut Context,
    ) -> Step {
        let pumped = self.spool.pump(h1);
        if self.complete && self.spool.is_empty() {
            return self.finish(cx);
        }
        if self.free {
            return if pumped { Step::Progress } else { Step::Wait };
        }
        if !self.spool.has_room() {
            // The app waits for the client, whose own deadline bounds that.
            self.deadline = cx.now.after(self.timeout);
        }
        if !self.complete && self.deadline <= cx.now {
            self.give_up(cx);
            cx.replace_process(self.unit, format!("{} ran into the time-out of {:?}", line(), self.timeout));
            return Step::Broken(Fault::Silent);
        }
        match self.exchange_bytes(h1, cx) {
            Ok(Step::Wait) if pumped => Step::Progress,
            Ok(step) => step,
            Err(fault) => {
                self.give_up(cx);
                if fault == Fault::Malformed {
                    cx.replace_process(self.unit, format!("{}: its answer is not the protocol", line()));
                }
                Step::Broken(fault)
            }
        }
    }

    /// The response is complete for the client; the unit may still be closing its iterable.
    fn finish(&mut self, cx: &mut Context) -> Step {
        self.let_go(cx);
        Step::Done
    }

    fn give_up(&mut self, cx: &mut Context) {
        if !self.free {
            self.free = true;
            cx.give_up_unit(self.link, self.unit);
        }
    }

    fn exchange_bytes(&mut self, h1: &mut h1::Conn, cx: &mut Context) -> Result<Step, Fault> {
        let mut progress = false;
        loop {
            let Some(link) = cx.links.get_mut(self.link) else { return Err(Fault::Closed) };
            progress |= link.write().map_err(|_| Fault::Closed)?;
            let Peer::Unit(unit) = &mut link.peer else { return Err(Fault::Closed) };
            let Some(response) = &mut unit.response else { return Err(Fault::Closed) };
            while self.spool.takes_events() {
                let Some(event) = response.poll() else { break };
                progress = true;
                match event {
                    Event::Head { head, body } => return Ok(Step::Head(head, body)),
                    Event::Body(bytes) => {
                        let directory = &cx.config.temp_dir;
                        if let Err(error) = self.spool.push(bytes, h1, directory) {
                            let directory = directory.display();
                            log::error!(
                                "worker: cannot keep a response in {directory}: {error}; the app waits for its client"
                            );
                        }
                    }
                    Event::File { offset, len } => {
                        // Lost on the way when this worker has no descriptor left: the process is not to blame.
                        let file = unit.descriptors.pop_front().ok_or(Fault::Truncated)?;
                        self.spool
                            .push_file(Segment::File { file: Rc::new(file), offset, len, stamp: None }, h1);
                    }
                    Event::End => self.complete = true,
                    Event::Free => {
                        self.free = true;
                        cx.unit_is_free(self.link);
                        return Ok(Step::Progress);
                    }
                    // The app failed but its unit lives: it says FREE by and by.
                    Event::Broken(fault) => {
                        if let Some(why) = response.why() {
                            log::error!("app: {why}");
                        }
                        if response.is_lost() {
                            return Err(fault);
                        }
                        self.cancel(cx);
                        return Ok(Step::Broken(fault));
                    }
                    Event::Interim(_) => {}
                }
            }
            if !(link.endpoint.readable() && self.spool.has_room()) {
                return Ok(if progress { Step::Progress } else { Step::Wait });
            }
            progress |= read_frames(link, &mut cx.scratch)?;
        }
    }

    /// The client has gone: the unit finishes without it.
    pub(in crate::worker) fn cancel(&mut self, cx: &mut Context) {
        self.let_go(cx);
    }

    /// What still runs has the rest of its time; closing the iterable has its own.
    fn let_go(&mut self, cx: &mut Context) {
        if !std::mem::replace(&mut self.free, true) {
            let until = if self.complete { cx.now.after(self.timeout) } else { self.deadline };
            cx.finish_alone(self.link, until);
        }
    }
}

fn read_frames(link: &mut Link, scratch: &mut [u8]) -> Result<bool, Fault> {
    let Peer::Unit(unit) = &mut link.peer else { return Err(Fault::Closed) };
    let Some(response) = &mut unit.response else { return Err(Fault::Closed) };
    let mut taken = Vec::new();
    let read = link.endpoint.read_with_descriptors(scratch, &mut taken);
    unit.descriptors.extend(taken);
    match read {
        Ok(Read::Bytes(count)) => {
            response.feed(scratch.get(..count).unwrap_or_default());
            Ok(true)
        }
        Ok(Read::Blocked) => Ok(false),
        Ok(Read::Eof) | Err(_) => {
            response.eof();
            match response.poll() {
                Some(Event::Broken(fault)) => Err(fault),
                _ => Err(Fault::Closed),
            }
        }
    }
}
