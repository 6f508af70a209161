//! Which server a request is at, and what becomes of it where that fails: the right to be there, the connection, the next
//! try.

use super::ProxyRun;
use crate::gateway::Again;
use crate::http::fault::{Fault, Retry};
use crate::slab::Key;
use crate::worker::context::Context;
use crate::worker::drive::Advance;
use crate::worker::shortage::is_shortage;
use crate::worker::upstream::app::UNREACHED;
use crate::worker::upstream::dial::NoConnection;
use crate::worker::upstream::links::{Peer, ServerLink};
use crate::worker::upstream::places::{Held, Place};
use std::io;
use std::time::Duration;

/// From one try to connect to a server whose queue is full to the next.
const FULL: Duration = Duration::from_millis(10);

impl ProxyRun {
    /// Asks for a place at a server and gets a connection to it.
    pub(super) fn try_next(&mut self, cx: &mut Context) -> Result<(), Fault> {
        let mut fault = Fault::Refused;
        while self.client.try_lease(cx.now) {
            self.wanted.may_repeat = self.client.may_repeat();
            match cx.ask_place(self.upstream, &self.wanted, self.owner)? {
                Place::Waits(until) => {
                    self.client.waits(until);
                    return Ok(());
                }
                Place::At(held) => match self.go_to(held, cx) {
                    Ok(()) => return Ok(()),
                    Err(Fault::Shortage) => return Err(Fault::Shortage),
                    Err(why) => fault = why,
                },
            }
        }
        Err(fault)
    }

    /// It has a place at the server: takes a kept connection, or makes one.
    fn go_to(&mut self, held: Held, cx: &mut Context) -> Result<(), Fault> {
        let server = held.server;
        (self.server, self.held, self.wanted.again) = (server, Some(held), true);
        let may_repeat = self.client.may_repeat();
        if let Some(key) = cx.idle_link(self.upstream, server, may_repeat, self.owner) {
            self.lease(key, true, cx);
            return Ok(());
        }
        self.connect(cx).map_err(|error| self.unconnected(&error, cx))
    }

    /// The queue of who listens there was full: tries once more when it is time.
    pub(super) fn connect_again(&mut self, cx: &mut Context) -> Result<Advance, Fault> {
        match self.full {
            None => Err(Fault::Refused),
            Some(until) if cx.now < until => Ok(Advance::Wait),
            Some(_) => match self.connect(cx) {
                Ok(()) => Ok(Advance::Progress),
                Err(error) => {
                    self.why = Some(error.to_string());
                    Err(if is_shortage(&error) { Fault::Shortage } else { Fault::Refused })
                }
            },
        }
    }

    /// No connection can be made: whose fault it is.
    fn unconnected(&mut self, error: &io::Error, cx: &mut Context) -> Fault {
        if is_shortage(error) {
            cx.is_short = true;
            return Fault::Shortage;
        }
        self.server_failed(Fault::Refused, error, cx);
        Fault::Refused
    }

    /// It has a unit of a process that is not there: another may have the request, and this was no try. As many are given up
    /// as two processes have that have died at the same time.
    fn lose_unit(&mut self, fault: Fault, error: &dyn std::fmt::Display, cx: &mut Context) -> bool {
        let Some(unit) = self.held.and_then(|held| held.unit).filter(|_| fault == Fault::Refused) else {
            return false;
        };
        self.held = None;
        cx.lose_unit(unit, error);
        if self.unreached < UNREACHED {
            self.unreached += 1;
            self.client.try_again();
        }
        true
    }

    /// A place may have come free for a request that waits.
    pub(super) fn await_place(&mut self, cx: &mut Context) -> Result<Advance, Fault> {
        match cx.granted_place(self.upstream, self.owner) {
            None => return Ok(Advance::Wait),
            Some(None) => return Err(cx.nobody(self.upstream)),
            Some(Some(held)) => match self.go_to(held, cx) {
                Ok(()) => {}
                Err(Fault::Shortage) => return Err(Fault::Shortage),
                Err(_) => self.try_next(cx)?,
            },
        }
        Ok(Advance::Progress)
    }

    /// Connects; a server whose queue is full takes it in a moment, or not within `connect_timeout`.
    fn connect(&mut self, cx: &mut Context) -> io::Result<()> {
        let (upstream, server) = (self.upstream, self.server);
        let was_full = self.full.take().is_some();
        let (endpoint, tls) = match cx.dial(upstream, server, &self.header) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full = Some(cx.now.after(FULL));
                if !was_full {
                    self.client.connecting(cx.now);
                }
                return Ok(());
            }
            dialled => dialled?,
        };
        // A handshake is a part of connecting.
        let connected = endpoint.writable() && tls.is_none();
        let version = cx.version_of(upstream, server);
        let peer = Peer::Server(ServerLink { upstream, server, version, since: cx.now, until: cx.now });
        let key = cx.links.add(endpoint, tls, peer, Some(self.owner), &cx.poll)?;
        self.link = Some(key);
        cx.link_taken(upstream, server);
        if connected {
            self.lease(key, false, cx);
        } else {
            self.client.connecting(cx.now);
        }
        Ok(())
    }

    /// There is a connection to the server.
    fn lease(&mut self, key: Key, kept: bool, cx: &mut Context) {
        self.link = Some(key);
        if let Some(link) = cx.links.get_mut(key) {
            link.has_sent(key, &cx.poll);
            if link.tls.is_none() {
                link.out.extend(&self.header);
            }
            self.client.leased(kept, &mut link.out, cx.now);
        }
    }

    /// The server did not even begin a response.
    fn server_failed(&mut self, fault: Fault, error: &dyn std::fmt::Display, cx: &mut Context) {
        if self.lose_unit(fault, error, cx) {
            return;
        }
        self.blame(fault, error, cx);
        self.leave(cx);
        self.wanted.tried.push(self.server);
        cx.note_failure(self.upstream, self.server, fault.code());
    }

    /// It has no place at the server any more, and waits for none.
    pub(super) fn leave(&mut self, cx: &mut Context) {
        if let Some(held) = self.held.take() {
            if !self.client.has_answered() {
                cx.note_nothing(self.upstream, self.server);
            }
            cx.leave_place(held);
        } else if self.client.is_waiting() {
            cx.leave_line(self.upstream, self.owner);
        }
    }

    /// Counts a fault of the server, and tells of it.
    pub(super) fn blame(&self, fault: Fault, error: &dyn std::fmt::Display, cx: &mut Context) {
        cx.faults.count(self.upstream, fault);
        self.tell(&format_args!("{error} [{}]", fault.row().word), cx);
    }

    pub(super) fn tell(&self, error: &dyn std::fmt::Display, cx: &mut Context) {
        let line = format!("{}: {error}", cx.server_name(self.upstream, self.server));
        cx.note_fault(log::Level::Warn, &line, format_args!("{line}"));
    }

    pub(super) fn connected(&mut self, key: Key, cx: &mut Context) -> Result<bool, Fault> {
        let Some(link) = cx.links.get_mut(key) else { return Err(Fault::Refused) };
        let connects = link.connects(&mut cx.keyring, &mut cx.scratch);
        if !connects.map_err(|NoConnection { fault, why }| {
            self.why = why;
            fault
        })? {
            return Ok(false);
        }
        self.lease(key, false, cx);
        Ok(true)
    }

    /// Tries again where that is safe, else gives the fault to the client.
    pub(super) fn fail(&mut self, fault: Fault, cx: &mut Context) -> Advance {
        // A server that closes while it waits for the client's body says nothing about the next request either.
        let by_client = matches!(fault, Fault::Closed | Fault::Overdue)
            && self.client.awaits_body(self.has_given_all(cx));
        self.full = None;
        self.drop_link(cx);
        let why = self.why.take().unwrap_or_else(|| fault.row().why.to_owned());
        let mut again = self.client.failed(fault);
        if self.held.is_some_and(|held| held.unit.is_some())
            && matches!(fault, Fault::Silent | Fault::Untaken)
        {
            // The process goes on with it, and would do it once more.
            again = Again::No;
        }
        if again == Again::SameServer {
            cx.close_idle_links(self.upstream, self.server);
            match self.connect(cx) {
                Ok(()) => return Advance::Progress,
                Err(error) => {
                    if let Fault::Shortage = self.unconnected(&error, cx) {
                        self.leave(cx);
                        return Advance::Broken(Fault::Shortage);
                    }
                }
            }
        } else if self.client.has_answered() || by_client {
            // It lives: a stream that falls silent, or is cut, says nothing about the next request.
            self.blame(fault, &why, cx);
            self.leave(cx);
        } else {
            // Only what would be repeated counts.
            if again != Again::No && fault.row().retry == Retry::Idempotent && !cx.may_repeat(self.upstream) {
                again = Again::No;
            }
            self.server_failed(fault, &why, cx);
        }
        if again == Again::No {
            return Advance::Broken(fault);
        }
        match self.try_next(cx) {
            Ok(()) => Advance::Progress,
            Err(Fault::Shortage) => Advance::Broken(Fault::Shortage),
            Err(_) => Advance::Broken(fault),
        }
    }

    /// Whether another server is to be asked in place of one that has answered so.
    pub(super) fn is_refused(&mut self, status: u16, cx: &mut Context) -> bool {
        let upstream = cx.config.upstream(self.upstream);
        if !upstream.is_some_and(|upstream| upstream.retries.statuses.contains(&status)) {
            cx.note_success(self.upstream, self.server);
            return false;
        }
        if self.client.can_repeat()
            && self.client.has_tries(cx.now)
            && cx.has_another(self.upstream, self.server, &self.wanted)
        {
            return true;
        }
        cx.note_failure(self.upstream, self.server, status);
        false
    }
}
