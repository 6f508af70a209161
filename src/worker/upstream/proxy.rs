//! Requests to upstream servers: bytes both ways, and what waits for the client. Which server that is, and the next if it
//! fails, is in [`tries`].
//!
//! Decisions are those of [`gateway::Client`]; sockets are here.

mod tries;

use super::READS;
use super::places::{Held, Wanted};
use crate::balance::{hash, sticky};
use crate::buf::{Queue, Segment};
use crate::config::{Common, ResponseBuffer};
use crate::control::text;
use crate::event::{Read, Readiness};
use crate::gateway::{self, Output};
use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields};
use crate::proxied;
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::budget::Share;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};
use crate::worker::owner::Owner;
use crate::worker::reply::Reply;
use crate::worker::spool::{PASSED_ON, ResponseSpool, unkept};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A request on its way through an upstream. What few of them have is in boxes: larger blocks than [`QUICK`] take the allocator
/// several times as long.
pub(in crate::worker) struct ProxyRun {
    owner: Owner,
    upstream: usize,
    server: usize,
    /// Its place at the server.
    held: Option<Held>,
    /// The queue of the server was full: when it is tried again.
    full: Option<Time>,
    /// Units of processes that were not there.
    unreached: u16,
    link: Option<Key>,
    wanted: Wanted,
    /// What a connection begins with, before the request.
    header: Vec<u8>,
    client: gateway::Client,
    /// What is known of the fault that comes next.
    why: Option<String>,
    /// What a body that was kept holds of the budget, until there is a response.
    kept: Option<Share>,
    spool: ResponseSpool,
    /// What follows the body of the response.
    trailers: Option<Box<Fields>>,
    /// The body may go on unread.
    piped: bool,
    /// How the response has ended, once its connection is not needed any more; its client may not have been given all of it.
    end: Option<Result<(), Fault>>,
}

/// The largest block of which glibc keeps some at hand.
const QUICK: usize = 1032;
const _: () = assert!(size_of::<ProxyRun>() <= QUICK);

/// The body of a request.
pub(in crate::worker) enum Body {
    /// It comes by and by.
    Announced(BodyLength),
    /// All of it, with what it holds of the budget, and what follows it.
    Whole(Queue, Share, Option<Box<Fields>>),
}

impl ProxyRun {
    /// Begins with the first server that can be reached, or waits for one that has room. `local` is where the client
    /// connected to, `since` is when the request came.
    ///
    /// # Errors
    /// When none can be, or the request is none for them.
    pub(in crate::worker) fn start(
        upstream: usize,
        request: &gateway::Request<'_>,
        body: Body,
        local: Option<SocketAddr>,
        since: Time,
        drive: &mut Drive<'_>,
    ) -> Result<Box<Self>, Fault> {
        let Drive { owner, config, cx, .. } = drive;
        let described = config.upstream(upstream).ok_or(Fault::Nobody)?;
        let (protocol, scripts) = (described.protocol, described.scripts.as_ref());
        let (patience, retries) = (described.patience, &described.retries);
        let length = match &body {
            Body::Announced(length) => *length,
            Body::Whole(_, _, Some(_)) => BodyLength::Unknown,
            Body::Whole(body, _, None) => BodyLength::Known(body.len()),
        };
        let mut client = gateway::Client::new(protocol, request, scripts, length, patience, retries, cx.now)?;
        let kept = match body {
            Body::Announced(_) => None,
            Body::Whole(body, share, trailers) => {
                trailers.into_iter().for_each(|trailers| client.push_trailers(trailers));
                client.push_whole(body);
                Some(share)
            }
        };
        let header =
            described.proxy_protocol.map(|version| header(version, request, local)).unwrap_or_default();
        let hash = described.balance.by.as_ref().and_then(|common| in_common(common, request));
        let session = cx.session_of(upstream, request.head.all("cookie"));
        let wanted = Wanted { since, hash, session, ..Wanted::default() };
        cx.request_came(upstream);
        let mut run = Box::new(Self {
            owner: *owner,
            upstream,
            server: 0,
            held: None,
            full: None,
            unreached: 0,
            link: None,
            wanted,
            header,
            client,
            why: None,
            kept,
            spool: ResponseSpool::new(PASSED_ON, &cx.store),
            trailers: None,
            piped: false,
            end: None,
        });
        run.try_next(cx).inspect_err(|_| run.leave(cx))?;
        Ok(run)
    }

    /// Takes the next bytes of the request body.
    pub(in crate::worker) fn push_body(&mut self, segment: Segment) {
        self.client.push_body(segment);
    }

    /// What follows it; it ends next.
    pub(in crate::worker) fn push_trailers(&mut self, trailers: Box<Fields>) {
        self.client.push_trailers(trailers);
    }

    /// The request body is complete.
    pub(in crate::worker) fn end_body(&mut self) {
        self.client.end_body();
    }

    /// Whether it takes more of the request body.
    pub(in crate::worker) fn wants_body(&self) -> bool {
        self.client.wants_body()
    }

    /// Whether it waits for a place.
    pub(in crate::worker) fn waits(&self) -> bool {
        self.client.is_waiting()
    }

    /// Whether the response has ended, though its client may not have been given all of it.
    pub(in crate::worker) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// So much of the response waits for a slow client.
    pub(in crate::worker) fn keep(&mut self, limits: ResponseBuffer) {
        self.spool.limit(limits);
    }

    /// When it fails if nothing happens; `None` once the response has ended.
    pub(in crate::worker) fn deadline(&self) -> Option<Time> {
        let late = self.client.deadline();
        let late = self.full.map_or(late, |full| late.min(full));
        self.end.is_none().then(|| self.spool.deadline().map_or(late, |full| late.min(full)))
    }

    /// Moves what can be moved between the upstream and the reply.
    pub(in crate::worker) fn advance(&mut self, drive: &mut Drive<'_>) -> Advance {
        let Drive { reply, cx, .. } = drive;
        let pumped = self.spool.pump(reply);
        if self.end.is_none() {
            match self.go_on(reply, cx) {
                Advance::Done => self.end = Some(Ok(())),
                // What has come is given to the client first.
                Advance::Broken(fault) => self.end = Some(Err(fault)),
                Advance::Wait | Advance::Later if pumped => return Advance::Progress,
                advance => return advance,
            }
        }
        match self.end {
            Some(Ok(())) if self.spool.is_empty() => Advance::Done,
            Some(Err(fault)) if self.spool.is_empty() => Advance::Broken(fault),
            _ if pumped => Advance::Progress,
            _ => Advance::Wait,
        }
    }

    /// The same while the response has not ended.
    fn go_on(&mut self, reply: &mut Reply<'_>, cx: &mut Context) -> Advance {
        let given = self.has_given_all(cx);
        let has_room = self.spool.room(reply, &cx.store, cx.now) > 0;
        let result = match self.client.on_timeout(given, has_room, cx.now) {
            Some(fault) => Err(fault),
            None if self.client.is_waiting() => self.await_place(cx),
            None => self.exchange_bytes(reply, cx),
        };
        match result {
            Ok(Advance::Done) => {
                self.release(cx);
                Advance::Done
            }
            Ok(advance) => advance,
            Err(fault) if self.client.is_waiting() => {
                let fault = match fault {
                    Fault::Crowded if cx.config.app_of(self.upstream).is_some() => Fault::Busy,
                    Fault::Crowded if cx.awaits_names(self.upstream) => Fault::Unresolved,
                    fault => fault,
                };
                self.leave(cx);
                Advance::Broken(fault)
            }
            Err(fault) => self.fail(fault, cx),
        }
    }

    /// Whether nothing of the request waits to be written.
    fn has_given_all(&self, cx: &mut Context) -> bool {
        self.link.and_then(|key| cx.links.get_mut(key)).is_some_and(|link| link.out.is_empty())
    }

    fn exchange_bytes(&mut self, reply: &mut Reply<'_>, cx: &mut Context) -> Result<Advance, Fault> {
        let Some(key) = self.link else { return self.connect_again(cx) };
        if self.client.is_connecting() && !self.connected(key, cx)? {
            return Ok(Advance::Wait);
        }
        // Whether anything came or went, and whether somebody else can go on for it.
        let (mut came, mut moved) = (false, false);
        let mut rest = Advance::Later;
        for _ in 0..READS {
            if self.write(key, cx)? {
                came = true;
                moved |= self.client.sends_more();
            }
            if let Some(said) = self.client.said() {
                let said = String::from_utf8_lossy(&said);
                said.lines().for_each(|line| self.tell(&text::line(line), cx));
            }
            while self.spool.takes_events()
                && let Some(output) = self.client.poll()
            {
                (came, moved) = (true, true);
                match output {
                    Output::Interim(head) => {
                        let given = self.has_given_all(cx);
                        self.client.progressed(given, cx.now);
                        return Ok(Advance::Interim(head));
                    }
                    Output::Head(head, _) if self.is_refused(head.status.0, cx) => {
                        self.client.take_back();
                        return Err(Fault::Unhealthy);
                    }
                    Output::Head(head, body) => {
                        self.kept = None;
                        return Ok(Advance::Head(head, body));
                    }
                    Output::Switched(head) => {
                        cx.note_success(self.upstream, self.server);
                        return Ok(Advance::Switched(head));
                    }
                    Output::Body(bytes) => self.take_body(bytes, reply, cx),
                    Output::Trailers(fields) => self.trailers = Some(Box::new(fields)),
                    Output::Done => return Ok(Advance::Done),
                    Output::Broken(fault) => return Err(fault),
                }
            }
            if !self.read(key, reply, cx)? {
                rest = Advance::Wait;
                break;
            }
            came = true;
        }
        if came {
            let given = self.has_given_all(cx);
            self.client.progressed(given, cx.now);
        }
        Ok(if moved { Advance::Progress } else { rest })
    }

    fn take_body(&mut self, bytes: Vec<u8>, reply: &mut Reply<'_>, cx: &mut Context) {
        if let Err(error) = self.spool.push(bytes, reply, &cx.store) {
            let line = unkept(&error, &cx.config.temp_dir, "the upstream");
            cx.note_fault(log::Level::Error, &line, format_args!("{line}"));
        }
    }

    fn write(&mut self, key: Key, cx: &mut Context) -> Result<bool, Fault> {
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Closed) };
        self.client.fill(&mut link.out);
        let sent = link.send(&mut cx.keyring, &mut cx.scratch);
        link.await_room(key, &cx.poll);
        match sent {
            Ok(any) => Ok(any),
            // The server may have answered early and closed: what it said is still to be read, though no event has told of
            // it yet (RFC 9112 §9.5).
            Err(_) => {
                link.out.clear();
                link.endpoint.note(Readiness { read: true, ..Readiness::default() });
                self.client.stop_sending();
                Ok(false)
            }
        }
    }

    fn read(&mut self, key: Key, reply: &mut Reply<'_>, cx: &mut Context) -> Result<bool, Fault> {
        if !self.spool.takes_events() {
            return Ok(false);
        }
        if let Some(read) = self.pass(key, reply, cx)? {
            return Ok(read);
        }
        let room = self.spool.room(reply, &cx.store, cx.now);
        let wanted = self.client.wants_bytes(room > 0)?;
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Closed) };
        if !(wanted && link.readable()) {
            return Ok(false);
        }
        let most = if self.client.has_answered() { room } else { ResponseSpool::first_room(&cx.store) };
        match link.read_at_most(most, &mut cx.keyring, &mut cx.scratch) {
            Ok(Read::Bytes(0)) => {}
            Ok(Read::Bytes(count)) => self.client.feed(cx.scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return Ok(false),
            Ok(Read::Eof) => self.client.eof(),
            Err(error) => {
                // In words, if there are any.
                self.why = error.get_ref().map(|why| format!("TLS failed: {why}"));
                return Err(self.client.reset());
            }
        }
        Ok(true)
    }

    /// The body may go on unread, as its client takes bytes as they are, and the server sends them so.
    pub(in crate::worker) fn pass_unread(&mut self, cx: &Context) {
        self.piped = cx.can_be_piped(self.upstream, self.server);
    }

    /// Has the body go to the client through a pipe; whether something did. `None`: it is to be read, by now at least.
    fn pass(&mut self, key: Key, reply: &mut Reply<'_>, cx: &mut Context) -> Result<Option<bool>, Fault> {
        if !self.piped {
            return Ok(None);
        }
        let Some(unread) = self.client.unread() else { return Ok(None) };
        let Some(link) = cx.links.get_mut(key).filter(|link| link.readable()) else { return Ok(None) };
        let room = self.spool.room_in_pipe(reply, &cx.store);
        let most = usize::try_from(unread).unwrap_or(usize::MAX).min(room);
        if most == 0 {
            return Ok(None);
        }
        let Some(pipe) = cx.store.pipe(&mut cx.scratch) else { return Ok(None) };
        match link.endpoint.read_into(&pipe, most) {
            Ok(Read::Bytes(count)) => {
                self.client.passed(count as u64);
                reply.send(Segment::Pipe { pipe, len: count as u64 });
            }
            Ok(Read::Eof) => self.client.eof(),
            Ok(Read::Blocked) => return Ok(Some(false)),
            Err(error) if is_impossible(&error) => {
                self.piped = false;
                return Ok(None);
            }
            Err(_) => return Err(self.client.reset()),
        }
        Ok(Some(true))
    }

    /// The response is complete: keep the connection if nothing is left on it.
    fn release(&mut self, cx: &mut Context) {
        if self.client.has_excess() {
            self.blame(Fault::Excess, &Fault::Excess.row().why, cx);
        }
        let given = self.has_given_all(cx);
        let Some(key) = self.link.take() else { return };
        cx.link_freed(self.upstream, self.server);
        match self.client.release(given) {
            Some(keep) => cx.keep_link(self.upstream, self.server, key, keep),
            None => cx.links.close(key),
        }
        self.leave(cx);
    }

    /// What followed the body.
    pub(in crate::worker) fn take_trailers(&mut self) -> Fields {
        self.trailers.take().map_or_else(Fields::new, |trailers| *trailers)
    }

    /// The rest of the response is not wanted. A connection on which all of it has come is kept.
    pub(in crate::worker) fn discard(&mut self, cx: &mut Context) {
        loop {
            match self.client.poll() {
                Some(Output::Body(_) | Output::Trailers(_)) => {}
                Some(Output::Done) => return self.release(cx),
                _ => return self.cancel(cx),
            }
        }
    }

    /// The connection goes on as a tunnel; with what has come through it already, and how long it may be idle or stand still.
    pub(in crate::worker) fn into_tunnel(
        mut self,
        cx: &mut Context,
    ) -> Option<(Key, Vec<u8>, Duration, Duration)> {
        let key = self.link.take()?;
        cx.link_freed(self.upstream, self.server);
        let held = self.held.take()?;
        cx.links.becomes_tunnel(key, held);
        cx.tunnel_begins(held);
        let upstream = cx.config.upstream(self.upstream)?;
        Some((key, self.client.take_rest(), upstream.tunnel_timeout, upstream.patience.silence))
    }

    /// Nobody waits for the response any more.
    pub(in crate::worker) fn cancel(&mut self, cx: &mut Context) {
        self.drop_link(cx);
        self.leave(cx);
    }

    fn drop_link(&mut self, cx: &mut Context) {
        if let Some(key) = self.link.take() {
            cx.link_freed(self.upstream, self.server);
            cx.links.close(key);
        }
    }

    /// Has the client come back to the same server, if the upstream says so.
    pub(in crate::worker) fn bind_session(&self, is_https: bool, fields: &mut Fields, cx: &mut Context) {
        cx.bind_session((self.upstream, self.server), self.wanted.session, is_https, fields);
    }
}

/// Whether a call was refused as such, by this kernel or by what guards it.
fn is_impossible(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput
    )
}

/// What a request has in common with others that go to the same server.
fn in_common(common: &Common, request: &gateway::Request<'_>) -> Option<u64> {
    match common {
        Common::Client => {
            request.origin.client.map(|client| hash::of(client.to_canonical().to_string().as_bytes()))
        }
        Common::Uri => Some(hash::of(request.raw)),
        Common::Header(name) => request.head.get(name.as_str()).map(hash::of),
        Common::Cookie(name) => sticky::cookie(request.head.all("cookie"), name.as_str()).map(hash::of),
    }
}

/// Tells a server who the client is: as REMOTE_ADDR has it, with a port only where it is the direct peer.
fn header(version: proxied::Version, request: &gateway::Request<'_>, local: Option<SocketAddr>) -> Vec<u8> {
    let port =
        request.peer.filter(|peer| Some(peer.ip()) == request.origin.client).map_or(0, |peer| peer.port());
    let addresses = request.origin.client.zip(local).map(|(client, destination)| proxied::Addresses {
        source: SocketAddr::new(client, port),
        destination,
    });
    let mut header = Vec::new();
    proxied::write(version, addresses, &mut header);
    header
}
