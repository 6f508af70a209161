//! Requests to upstream servers: which server, a kept or a new connection, the exchange, retries.
//!
//! | phase | ends |
//! |---|---|
//! | Connecting | writable without an error: Exchanging; error or time-out: another server (nothing was sent) |
//! | Exchanging | response complete: the connection is kept if it can be; failure: another try if that is safe |

use super::Advance;
use super::links::{Link, Peer};
use crate::balance::Balancer;
use crate::buf::{Queue, Segment};
use crate::config::{Address, Config, Upstream};
use crate::event::{Endpoint, Read};
use crate::gateway::{BodyEncoder, Event, Fault, Protocol, Response, Retry};
use crate::http::{BodyLength, Method};
use crate::slab::Key;
use crate::sys::socket;
use crate::timer::Time;
use crate::worker::context::{Context, Timer};
use crate::worker::drive::{Drive, Owner};
use crate::worker::reply::Reply;
use crate::worker::spare::is_shortage;
use std::io;
use std::time::Duration;

/// An idle connection is kept so long unless the server announces how long it keeps it (`Keep-Alive: timeout=N`, less
/// a second then): below the 2 s after which gunicorn closes its side.
const IDLE: Duration = Duration::from_millis(1_500);

/// Never kept longer than this.
const IDLE_MOST: Duration = Duration::from_secs(60);

/// Tries in all.
const TRIES: u8 = 3;

/// Bytes of a request body that wait for the upstream at most.
const AHEAD: u64 = 256 * 1024;

/// The upstreams as this worker sees them, by index into `config.upstreams`.
pub(in crate::worker) struct Servers {
    groups: Vec<Group>,
    /// The wheel will look after idle connections.
    armed: bool,
}

struct Group {
    balancer: Balancer,
    /// Idle connections by server, the most recent last.
    idle: Vec<Vec<Key>>,
}

impl Servers {
    pub(in crate::worker) fn new(config: &Config) -> Self {
        let group = |upstream: &Upstream| Group {
            balancer: Balancer::new(upstream.servers.iter().map(|server| server.weight)),
            idle: upstream.servers.iter().map(|_| Vec::new()).collect(),
        };
        Self { groups: config.upstreams.iter().map(group).collect(), armed: false }
    }
}

impl Context {
    /// A kept connection to the server that is still open.
    fn idle_link(&mut self, upstream: usize, server: usize, owner: Owner) -> Option<Key> {
        loop {
            let key = self.servers.groups.get_mut(upstream)?.idle.get_mut(server)?.pop()?;
            let now = self.now;
            let fresh = |link: &mut Link| match link.peer {
                // The wheel may come late: it waits for the one that was kept first.
                Peer::Server { until } => now < until && !link.is_spoilt(),
                Peer::Unit(_) => false,
            };
            if self.links.lend(key, owner).is_some_and(fresh) {
                return Some(key);
            }
            self.links.close(key);
        }
    }

    fn keep_link(&mut self, upstream: usize, server: usize, key: Key, keep: Duration) {
        let most = self.config.upstreams.get(upstream).map_or(0, |upstream| upstream.keepalive) as usize;
        let Some(group) = self.servers.groups.get_mut(upstream) else { return };
        let kept: usize = group.idle.iter().map(Vec::len).sum();
        let (Some(idle), Some(link)) = (group.idle.get_mut(server), self.links.get_mut(key)) else { return };
        if kept >= most || link.is_spoilt() {
            return self.links.close(key);
        }
        let until = self.now.after(keep);
        link.peer = Peer::Server { until };
        self.links.let_go(key);
        idle.push(key);
        if !self.servers.armed {
            self.servers.armed = true;
            self.wheel.insert(until, Timer::Links);
        }
    }

    /// Closes every kept connection to a server.
    fn close_idle_links(&mut self, upstream: usize, server: usize) {
        let idle = self.servers.groups.get_mut(upstream).and_then(|group| group.idle.get_mut(server));
        for key in idle.map(std::mem::take).unwrap_or_default() {
            self.links.close(key);
        }
    }

    /// Closes idle connections that have been kept long enough.
    pub(in crate::worker) fn expire_links(&mut self) {
        let (now, links) = (self.now, &mut self.links);
        let mut next: Option<Time> = None;
        for idle in self.servers.groups.iter_mut().flat_map(|group| &mut group.idle) {
            idle.retain(|key| {
                let Some(link) = links.get_mut(*key) else { return false };
                let Peer::Server { until } = link.peer else { return false };
                if until <= now {
                    links.close(*key);
                    return false;
                }
                next = Some(next.map_or(until, |known| known.min(until)));
                true
            });
        }
        self.servers.armed = next.is_some();
        if let Some(next) = next {
            self.wheel.insert(next, Timer::Links);
        }
    }
}

/// A request on its way through an upstream.
pub(in crate::worker) struct Run {
    upstream: usize,
    server: usize,
    link: Option<Key>,
    phase: Phase,
    /// The connection had carried another request before.
    kept: bool,
    method: Method,
    /// The encoded head, kept for another try.
    head: Vec<u8>,
    encoder: BodyEncoder,
    protocol: Protocol,
    response: Response,
    /// Encoded body bytes that the server has not been given yet.
    body: Queue,
    body_complete: bool,
    /// Bytes of the body have been given to a server: they cannot be sent again.
    body_sent: bool,
    tries: u8,
    /// Servers that failed in this request.
    failed: Vec<usize>,
    /// The response head went to the client.
    answered: bool,
    /// The server has closed its side of the connection.
    ended: bool,
    deadline: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Exchanging,
}

impl Run {
    /// Begins with the first server that can be reached.
    ///
    /// # Errors
    /// When none can be.
    pub(in crate::worker) fn start(
        upstream: usize,
        (protocol, method): (Protocol, Method),
        head: Vec<u8>,
        body: BodyLength,
        drive: &mut Drive<'_>,
    ) -> Result<Self, Fault> {
        let Drive { owner, cx, .. } = drive;
        let mut run = Self {
            upstream,
            server: 0,
            link: None,
            phase: Phase::Connecting,
            kept: false,
            method,
            head,
            encoder: BodyEncoder::new(body),
            protocol,
            response: protocol.response(method),
            body: Queue::new(),
            body_complete: body == BodyLength::None,
            body_sent: false,
            tries: 0,
            failed: Vec::new(),
            answered: false,
            ended: false,
            deadline: cx.now,
        };
        run.try_next(*owner, cx)?;
        Ok(run)
    }

    /// Takes the next bytes of the request body.
    pub(in crate::worker) fn push_body(&mut self, segment: Segment) {
        let Self { encoder, body, .. } = self;
        encoder.push(segment, body);
    }

    /// The request body is complete.
    pub(in crate::worker) fn end_body(&mut self) {
        let Self { encoder, body, .. } = self;
        encoder.finish(body);
        self.body_complete = true;
    }

    /// Whether it takes more of the request body.
    pub(in crate::worker) fn wants_body(&self) -> bool {
        self.body.len() < AHEAD
    }

    /// When it fails if nothing happens.
    pub(in crate::worker) fn deadline(&self) -> Time {
        self.deadline
    }

    fn config<'a>(&self, cx: &'a Context) -> Option<&'a Upstream> {
        cx.config.upstreams.get(self.upstream)
    }

    /// Picks a server and gets a connection to it.
    fn try_next(&mut self, owner: Owner, cx: &mut Context) -> Result<(), Fault> {
        loop {
            if self.tries == TRIES {
                return Err(Fault::Refused);
            }
            self.tries += 1;
            let failed = std::mem::take(&mut self.failed);
            let now = cx.now;
            let picked = cx
                .servers
                .groups
                .get_mut(self.upstream)
                .and_then(|group| group.balancer.pick(now, |server| failed.contains(&server)));
            self.failed = failed;
            let Some(server) = picked else { return Err(Fault::Refused) };
            self.server = server;
            if let Some(key) = cx.idle_link(self.upstream, server, owner) {
                self.kept = true;
                self.begin_exchange(key, cx);
                return Ok(());
            }
            match self.connect(owner, cx) {
                Ok(()) => return Ok(()),
                // No fault of the server.
                Err(error) if is_shortage(&error) => {
                    cx.is_short = true;
                    return Err(Fault::Shortage);
                }
                Err(error) => self.server_failed(&error, cx),
            }
        }
    }

    fn connect(&mut self, owner: Owner, cx: &mut Context) -> io::Result<()> {
        let Some(upstream) = self.config(cx) else { return Err(io::ErrorKind::NotFound.into()) };
        let timeout = upstream.connect_timeout;
        let Some(server) = upstream.servers.get(self.server) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let endpoint = match &server.address {
            Address::Tcp(address) => Endpoint::connecting(socket::connect_tcp(*address)?),
            Address::Unix(path) => Endpoint::new(socket::connect_unix(path, socket::Expect::Bytes)?),
            Address::Any(_) | Address::Passed(_) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let connected = endpoint.writable();
        let key = cx.links.add(endpoint, Peer::Server { until: cx.now }, owner, &cx.poll)?;
        self.link = Some(key);
        self.kept = false;
        self.phase = Phase::Connecting;
        self.deadline = cx.now.after(timeout);
        if connected {
            self.begin_exchange(key, cx);
        }
        Ok(())
    }

    fn begin_exchange(&mut self, key: Key, cx: &mut Context) {
        self.link = Some(key);
        self.phase = Phase::Exchanging;
        self.response = self.protocol.response(self.method);
        self.ended = false;
        self.progressed(cx);
        if let Some(link) = cx.links.get_mut(key) {
            link.out.clear();
            link.out.extend(&self.head);
        }
    }

    fn progressed(&mut self, cx: &Context) {
        self.deadline = cx.now.after(self.config(cx).map_or(Duration::ZERO, |upstream| upstream.timeout));
    }

    fn server_failed(&mut self, error: &dyn std::fmt::Display, cx: &mut Context) {
        if let Some(upstream) = self.config(cx) {
            let address = upstream.servers.get(self.server).map(|server| server.address.to_string());
            let line = format!("upstream {}: {}: {error}", upstream.name, address.unwrap_or_default());
            cx.note_fault(log::Level::Warn, &line, format_args!("{line}"));
        }
        self.failed.push(self.server);
        let now = cx.now;
        if let Some(group) = cx.servers.groups.get_mut(self.upstream) {
            group.balancer.failed(self.server, now);
        }
    }

    /// Moves what can be moved between the upstream and the reply.
    pub(in crate::worker) fn advance(&mut self, drive: &mut Drive<'_>) -> Advance {
        let Drive { owner, reply, cx, .. } = drive;
        if self.deadline <= cx.now && self.waits_for_client(reply, cx) {
            self.progressed(cx);
        }
        let result =
            if self.deadline <= cx.now { Err(self.timed_out()) } else { self.exchange_bytes(reply, cx) };
        match result {
            Ok(Advance::Done) => {
                self.release(cx);
                Advance::Done
            }
            Ok(step) => step,
            Err(fault) => self.fail(fault, *owner, cx),
        }
    }

    /// The client takes nothing, or its body is still to come: `body_timeout` bounds that, and the server is not to
    /// blame.
    fn waits_for_client(&self, reply: &Reply<'_>, cx: &mut Context) -> bool {
        if self.phase == Phase::Connecting {
            return false;
        }
        if self.answered {
            return !reply.has_room();
        }
        let given = |key| cx.links.get_mut(key).is_some_and(|link| link.out.is_empty());
        !self.body_complete && self.body.is_empty() && self.link.is_some_and(given)
    }

    fn timed_out(&self) -> Fault {
        match self.phase {
            Phase::Connecting => Fault::ConnectTimeout,
            Phase::Exchanging if self.answered => Fault::Stalled,
            Phase::Exchanging => Fault::Silent,
        }
    }

    /// Tries again where that is safe, else gives the fault to the client.
    fn fail(&mut self, fault: Fault, owner: Owner, cx: &mut Context) -> Advance {
        if let Some(key) = self.link.take() {
            cx.links.close(key);
        }
        if self.lost_race(fault) {
            // The server closed an idle connection just as it was used again: that says nothing about its health, but
            // much about its other idle connections.
            cx.close_idle_links(self.upstream, self.server);
            match self.connect(owner, cx) {
                Ok(()) => return Advance::Progress,
                Err(error) => self.server_failed(&error, cx),
            }
        } else {
            self.server_failed(&fault.why(), cx);
        }
        let safe = !self.answered && !self.body_sent;
        let allowed = match fault.retry() {
            // A silent server is not asked twice: the client has waited its time-out already.
            Retry::Idempotent if fault == Fault::Silent => false,
            retry => retry.allows(self.method),
        };
        if safe && allowed {
            match self.try_next(owner, cx) {
                Ok(()) => return Advance::Progress,
                Err(Fault::Shortage) => return Advance::Broken(Fault::Shortage),
                Err(_) => {}
            }
        }
        Advance::Broken(fault)
    }

    /// Whether a kept connection was closed by the server before it can have seen the request, and the request can be
    /// sent again.
    fn lost_race(&self, fault: Fault) -> bool {
        let unseen = fault == Fault::Closed && !self.response.has_begun();
        self.kept && unseen && !self.body_sent && self.method.is_idempotent()
    }

    fn exchange_bytes(&mut self, reply: &mut Reply<'_>, cx: &mut Context) -> Result<Advance, Fault> {
        let Some(key) = self.link else { return Err(Fault::Refused) };
        if self.phase == Phase::Connecting && !self.connected(key, cx)? {
            return Ok(Advance::Wait);
        }
        let mut progress = false;
        loop {
            progress |= self.write(key, cx)?;
            while let Some(event) = self.response.poll() {
                progress = true;
                match event {
                    Event::Head { head, body } => {
                        self.answered = true;
                        return Ok(Advance::Head(head, body));
                    }
                    Event::Body(bytes) => {
                        reply.send(Segment::from(bytes));
                    }
                    Event::End => return Ok(Advance::Done),
                    Event::Broken(fault) => return Err(fault),
                    Event::Interim(head) => reply.interim(&head),
                    Event::File { .. } | Event::Free => {}
                }
            }
            if !(self.read(key, reply, cx)?) {
                if progress {
                    self.progressed(cx);
                }
                return Ok(if progress { Advance::Progress } else { Advance::Wait });
            }
            progress = true;
        }
    }

    fn connected(&mut self, key: Key, cx: &mut Context) -> Result<bool, Fault> {
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Refused) };
        if !link.endpoint.writable() {
            return Ok(false);
        }
        if link.endpoint.error().is_some() {
            return Err(Fault::Refused);
        }
        self.begin_exchange(key, cx);
        Ok(true)
    }

    fn write(&mut self, key: Key, cx: &mut Context) -> Result<bool, Fault> {
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Closed) };
        if link.out.len() < AHEAD && !self.body.is_empty() {
            self.body_sent = true;
            link.out.append(&mut self.body);
        }
        match link.write() {
            Ok(any) => Ok(any),
            // The server may have answered early and closed: what it said is still to be read.
            Err(_) if link.endpoint.readable() => {
                link.out.clear();
                self.body.clear();
                Ok(false)
            }
            Err(_) => Err(Fault::Closed),
        }
    }

    fn read(&mut self, key: Key, reply: &Reply<'_>, cx: &mut Context) -> Result<bool, Fault> {
        if self.ended {
            return Err(Fault::Closed);
        }
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Closed) };
        if !link.endpoint.readable() || (self.answered && !reply.has_room()) {
            return Ok(false);
        }
        match link.endpoint.read(&mut cx.scratch) {
            Ok(Read::Bytes(count)) => self.response.feed(cx.scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return Ok(false),
            Ok(Read::Eof) => {
                // Says End or Broken at its next poll.
                self.response.eof();
                self.ended = true;
            }
            // A reset is no end, not even of a body that ends with its connection.
            Err(_) if self.response.has_begun() => return Err(Fault::Truncated),
            Err(_) => return Err(Fault::Closed),
        }
        Ok(true)
    }

    /// The response is complete: keep the connection if nothing is left on it.
    fn release(&mut self, cx: &mut Context) {
        let Some(key) = self.link.take() else { return };
        if let Some(group) = cx.servers.groups.get_mut(self.upstream) {
            group.balancer.succeeded(self.server);
        }
        let sent = self.body_complete && self.body.is_empty();
        let clean = cx.links.get_mut(key).is_some_and(|link| link.out.is_empty());
        if sent && clean && self.response.reusable() {
            let announced =
                self.response.idle_timeout().map(|timeout| timeout.saturating_sub(Duration::from_secs(1)));
            cx.keep_link(self.upstream, self.server, key, announced.unwrap_or(IDLE).min(IDLE_MOST));
        } else {
            cx.links.close(key);
        }
    }

    /// The client has gone.
    pub(in crate::worker) fn cancel(&mut self, cx: &mut Context) {
        if let Some(key) = self.link.take() {
            cx.links.close(key);
        }
    }
}
