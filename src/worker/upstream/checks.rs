//! Checks of servers, as `health` of an upstream says. Which worker makes one is settled on the roster; what comes of it
//! all workers see there.

use super::links::{Link, Peer};
use crate::balance::{Cause, Wish};
use crate::config::{Address, Name};
use crate::event::Read;
use crate::gateway::check::{Check, Verdict};
use crate::http::fault::Fault;
use crate::proxied;
use crate::slab::Key;
use crate::timer::{Time, earliest};
use crate::worker::context::{Context, Timer};
use crate::worker::transport::Keyring;
use std::io;
use std::rc::Rc;

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
        let config = Rc::clone(&self.config);
        let mut next: Option<Time> = None;
        for (upstream, settings) in config.upstreams.iter().enumerate() {
            let Some(health) = &settings.health else { continue };
            self.look_at_spots(upstream);
            for server in 0..settings.places().count() {
                let Some(number) = self.servers.group(upstream).map(|group| group.number(server)) else {
                    continue;
                };
                let is_there = self.servers.spot(upstream, server).is_some_and(|spot| spot.address.is_some());
                if is_there
                    && self.roster.wish(number) != Wish::Disabled
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
        let Some(settings) = self.config.upstream(upstream) else { return };
        let Some(health) = settings.health.clone() else { return };
        let mut question = health.question;
        if question.host.is_empty() {
            let spot = self.servers.spot(upstream, server);
            let name = spot.and_then(|spot| settings.servers.get(spot.entry)?.address.name());
            question.host = match (name, spot.and_then(|spot| spot.address.as_ref())) {
                (Some(name @ Name::Host(..)), _) => name.to_string(),
                (_, Some(Address::Tcp(address))) => address.to_string(),
                _ => "localhost".to_owned(),
            };
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
            Err(fault) => self.note_check(upstream, server, Err(fault.code()), None),
        }
    }

    fn open_check(&mut self, checking: Checking) -> io::Result<Key> {
        let settings = self.config.upstream(checking.upstream);
        let mut header = Vec::new();
        if let Some(version) = settings.and_then(|settings| settings.proxy_protocol) {
            // It is our own connection.
            proxied::write(version, None, &mut header);
        }
        let (endpoint, tls) = self.dial(checking.upstream, checking.server, &header)?;
        let is_plain = tls.is_none();
        let key = self.links.add(endpoint, tls, Peer::Check(Box::new(checking)), None, &self.poll)?;
        if let Some(link) = self.links.get_mut(key).filter(|_| is_plain) {
            link.out.extend(&header);
        }
        Ok(key)
    }

    /// Something has happened to the connection of a check.
    pub(in crate::worker) fn tend_check(&mut self, key: Key) {
        let Some(link) = self.links.get_mut(key) else { return };
        let mut why = None;
        let verdict = go_on(link, &mut self.keyring, &mut self.scratch, self.now, &mut why);
        link.await_room(key, &self.poll);
        if let Some(verdict) = verdict {
            self.close_check(key, verdict, why);
        }
    }

    /// A check has had its time.
    pub(in crate::worker) fn end_check(&mut self, key: Key) {
        let Some(Link { peer: Peer::Check(checking), .. }) = self.links.get_mut(key) else { return };
        let fault = if checking.is_connected { Fault::Silent } else { Fault::ConnectTimeout };
        self.close_check(key, Err(fault.code()), None);
    }

    fn close_check(&mut self, key: Key, verdict: Verdict, why: Option<String>) {
        let Some(Link { peer: Peer::Check(checking), .. }) = self.links.get_mut(key) else { return };
        let (upstream, server) = (checking.upstream, checking.server);
        if std::mem::replace(&mut checking.is_over, true) {
            return;
        }
        self.links.close(key);
        self.note_check(upstream, server, verdict, why);
    }

    /// `why` in more words than the verdict has.
    fn note_check(&mut self, upstream: usize, server: usize, verdict: Verdict, why: Option<String>) {
        let config = Rc::clone(&self.config);
        let Some(health) = config.upstream(upstream).and_then(|settings| settings.health.as_ref()) else {
            return;
        };
        let Some(number) = self.servers.group(upstream).map(|group| group.number(server)) else { return };
        let cause = Cause(verdict.err().unwrap_or_default());
        let rows = (health.rise, health.fall);
        let change = self.roster.checked(number, verdict.is_ok(), cause, rows, self.now);
        if let (Some(why), Some(_)) = (why, &change) {
            log::warn!("upstream {}: {why}", self.server_name(upstream, server));
        }
        self.tell_change(upstream, server, change);
    }
}

/// Does what can be done now; how the check came out, once that is known.
fn go_on(
    link: &mut Link,
    keyring: &mut Keyring,
    scratch: &mut [u8],
    now: Time,
    why: &mut Option<String>,
) -> Option<Verdict> {
    if !checking(link)?.is_connected {
        match link.connects(keyring, scratch) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(none) => {
                *why = none.why;
                return Some(Err(none.fault.code()));
            }
        }
        let Link { peer: Peer::Check(checking), out, .. } = link else { return None };
        checking.is_connected = true;
        match &mut checking.check {
            Some(check) => check.connected(out, now),
            None => return Some(Ok(())),
        }
    }
    if link.send(keyring, scratch).is_err() {
        link.out.clear();
    }
    loop {
        if let Some(verdict) = checking(link)?.check.as_mut()?.poll() {
            return Some(verdict);
        }
        if !link.readable() {
            return None;
        }
        let read = link.read(keyring, scratch);
        let check = checking(link)?.check.as_mut()?;
        match read {
            Ok(Read::Bytes(0)) => {}
            Ok(Read::Bytes(count)) => check.feed(scratch.get(..count).unwrap_or_default()),
            Ok(Read::Blocked) => return None,
            Ok(Read::Eof) => check.eof(),
            Err(_) => return Some(Err(Fault::Closed.code())),
        }
    }
}

fn checking(link: &mut Link) -> Option<&mut Checking> {
    match &mut link.peer {
        Peer::Check(checking) => Some(checking),
        _ => None,
    }
}
