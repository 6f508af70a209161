//! Checks of servers, as `health` of an upstream says. Which worker makes one is settled on the roster; what comes of it
//! all workers see there.

use super::links::{Link, Peer};
use crate::balance::{Cause, Wish};
use crate::event::Read;
use crate::gateway::check::{Check, Verdict};
use crate::http::fault::Fault;
use crate::slab::Key;
use crate::timer::{Time, earliest};
use crate::worker::context::{Context, Timer};
use std::io;

/// A check on its way.
pub(in crate::worker) struct Checking {
    upstream: usize,
    server: usize,
    is_connected: bool,
    /// It has come out; the connection is closed at the end of the turn.
    is_over: bool,
    /// `None`: it is enough that there is a connection.
    check: Option<Check>,
}

impl Context {
    /// Begins the checks that are due and fall to this worker; the timer comes back for the next.
    pub(in crate::worker) fn check_servers(&mut self) {
        let config = std::rc::Rc::clone(&self.config);
        let mut next: Option<Time> = None;
        for (upstream, settings) in config.upstreams.iter().enumerate() {
            let Some(health) = &settings.health else { continue };
            for server in 0..settings.servers.len() {
                let Some(number) = self.servers.group(upstream).map(|group| group.number(server)) else {
                    continue;
                };
                if self.roster.wish(number) != Wish::Disabled
                    && self.leave_by.is_none()
                    && self.roster.take_check(number, self.now, health.every)
                {
                    self.begin_check(upstream, server);
                }
                let latest = self.now.after(health.every);
                let due = self.roster.check_due(number).min(latest);
                next = earliest(next, Some(if due > self.now { due } else { latest }));
            }
        }
        if let Some(next) = next {
            self.timers.insert(next, Timer::Checks);
        }
    }

    fn begin_check(&mut self, upstream: usize, server: usize) {
        let Some(settings) = self.config.upstreams.get(upstream) else { return };
        let Some(health) = settings.health.clone() else { return };
        let mut question = health.question;
        if question.host.is_empty() {
            let address = settings.servers.get(server).map(|server| server.address.to_string());
            question.host =
                address.filter(|address| !address.starts_with("unix:")).unwrap_or("localhost".into());
        }
        let spoken = (settings.protocol, settings.scripts.as_ref());
        let check = Some(question).filter(|question| !question.path.is_empty());
        let check = check.map(|question| Check::new(question, health.body, spoken, health.timeout, self.now));
        let begun = check.transpose().and_then(|check| {
            let checking = Checking { upstream, server, is_connected: false, is_over: false, check };
            self.open_check(checking).map_err(|_| Fault::Refused)
        });
        match begun {
            Ok(key) => {
                self.timers.insert(self.now.after(health.timeout), Timer::Check(key));
                self.tend_check(key);
            }
            Err(fault) => self.note_check(upstream, server, Err(fault.code())),
        }
    }

    fn open_check(&mut self, checking: Checking) -> io::Result<Key> {
        let endpoint = self.dial(checking.upstream, checking.server)?;
        self.links.add(endpoint, Peer::Check(Box::new(checking)), None, &self.poll)
    }

    /// Something has happened to the connection of a check.
    pub(in crate::worker) fn tend_check(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        if let Some(verdict) = go_on(link, &mut self.scratch, self.now) {
            self.close_check(key, verdict);
        }
    }

    /// A check has had its time.
    pub(in crate::worker) fn end_check(&mut self, key: Key) {
        let Some(Link { peer: Peer::Check(checking), .. }) = self.links.get_mut(key) else { return };
        let fault = if checking.is_connected { Fault::Silent } else { Fault::ConnectTimeout };
        self.close_check(key, Err(fault.code()));
    }

    fn close_check(&mut self, key: Key, verdict: Verdict) {
        let Some(Link { peer: Peer::Check(checking), .. }) = self.links.get_mut(key) else { return };
        let (upstream, server) = (checking.upstream, checking.server);
        if std::mem::replace(&mut checking.is_over, true) {
            return;
        }
        self.links.close(key);
        self.note_check(upstream, server, verdict);
    }

    fn note_check(&mut self, upstream: usize, server: usize, verdict: Verdict) {
        let health = self.config.upstreams.get(upstream).and_then(|upstream| upstream.health.as_ref());
        let Some(rows) = health.map(|health| (health.rise, health.fall)) else { return };
        let Some(number) = self.servers.group(upstream).map(|group| group.number(server)) else { return };
        let cause = Cause(verdict.err().unwrap_or_default());
        let change = self.roster.checked(number, verdict.is_ok(), cause, rows, self.now);
        self.tell_change(upstream, server, change);
    }
}

/// Does what can be done now; how the check came out, once that is known.
fn go_on(link: &mut Link, scratch: &mut [u8], now: Time) -> Option<Verdict> {
    let Link { endpoint, peer: Peer::Check(checking), out, .. } = link else { return None };
    if !checking.is_connected {
        if !endpoint.writable() {
            return None;
        }
        if endpoint.error().is_some() {
            return Some(Err(Fault::Refused.code()));
        }
        checking.is_connected = true;
        match &mut checking.check {
            Some(check) => check.connected(out, now),
            None => return Some(Ok(())),
        }
    }
    while endpoint.writable() && !out.is_empty() {
        if endpoint.write(out).is_err() {
            out.clear();
        }
    }
    let check = checking.check.as_mut()?;
    loop {
        if let Some(verdict) = check.poll() {
            return Some(verdict);
        }
        if !endpoint.readable() {
            return None;
        }
        match endpoint.read(scratch) {
            Ok(Read::Bytes(count)) => check.feed(scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return None,
            Ok(Read::Eof) => check.eof(),
            Err(_) => return Some(Err(Fault::Closed.code())),
        }
    }
}
