//! Names of servers, as the master handles them: a helper process of their own looks them up (`crate::helper`), and what it
//! finds is put on the roster, where workers of every generation see it. When to ask, and which address has which place,
//! `balance` decides; when the process runs, `renewal`. What the helper says is checked as a stranger's word.
//!
//! It is not the process that orders certificates: that has keys in its memory, which are no business of whoever answers for a
//! name, and an order takes its time.

use super::Master;
use super::child::{Child, Id, Role};
use super::helper::{self, Helper};
use super::sticky;
use crate::balance::{Found, Lookups, PLACES, Spot, assign};
use crate::config::Name;
use crate::control::helper::{Answer, Located, Order, SERVICE};
use crate::control::text;
use crate::renewal::{End, Kill, Process, Step};
use crate::supervisor;
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Of its pool, its title and in logs.
pub(super) const NAME: &str = "resolver";

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Names {
    process: Process,
    #[serde(skip)]
    lookups: Lookups,
}

impl Names {
    /// Why a name was not found the last time, if it was not.
    pub(super) fn reason(&self, name: &Name) -> Option<&str> {
        self.lookups.reason(&name.question())
    }

    /// Nobody has said yet where it leads.
    pub(super) fn is_open(&self, name: &Name) -> bool {
        self.lookups.is_open(&name.question())
    }
}

/// An entry of an upstream that is a name.
struct Entry<'a> {
    /// Index of its upstream.
    upstream: usize,
    name: &'a Name,
    numbers: &'a [u16],
}

impl Master {
    /// The names of the current configuration, from now on.
    pub(super) fn follow_names(&mut self, now: Time) {
        let wanted: BTreeSet<String> = self.entries().iter().map(|entry| entry.name.question()).collect();
        self.names.lookups.want(wanted);
        // It cannot be given more than it was started with.
        let ports = self.name_ports();
        if self.resolver().is_some_and(|helper| !ports.is_subset(&helper.ports)) {
            self.names.process.dismiss();
        }
        // An entry may be new although its name is known.
        let is_new =
            |entry: &Entry<'_>| entry.numbers.iter().all(|number| self.roster().version(*number) == 0);
        let new: Vec<String> =
            self.entries().iter().filter(|entry| is_new(entry)).map(|entry| entry.name.question()).collect();
        new.iter().for_each(|question| self.names.lookups.hurry(question, now));
    }

    /// After an upgrade: the helper is another program's.
    pub(super) fn follow_names_again(&mut self, now: Time) {
        self.names.process.dismiss();
        self.follow_names(now);
    }

    /// The server stops.
    pub(super) fn stop_names(&mut self) {
        self.names.lookups.want([]);
        self.names.process.dismiss();
    }

    /// Every entry that is a name, with the numbers of its places.
    fn entries(&self) -> Vec<Entry<'_>> {
        let mut entries = Vec::new();
        let all = self.current.config.upstreams.iter().zip(&self.current.upstreams).enumerate();
        for (upstream, (settings, enrolled)) in all {
            let own = enrolled.entries(settings);
            let own = own.filter_map(|(server, numbers)| Some((server.address.name()?, numbers)));
            entries.extend(own.map(|(name, numbers)| Entry { upstream, name, numbers }));
        }
        entries
    }

    fn name_ports(&self) -> BTreeSet<u16> {
        self.current.config.resolver.servers.iter().map(|server| server.0.port()).collect()
    }

    /// When something is due. While the workers sleep no name is.
    pub(super) fn names_deadline(&self, now: Time) -> Option<Time> {
        let Names { process, lookups } = &self.names;
        let due = lookups.deadline().filter(|_| !self.watching || !lookups.is_done());
        let is_past = due.is_some_and(|due| due <= now);
        earliest(due.filter(|_| !is_past), process.deadline(is_past && lookups.is_done()))
    }

    /// Carries out what is due.
    pub(super) fn look_names_up(&mut self, now: Time) {
        if self.names.lookups.has_hung(now) {
            self.names.process.hung();
        }
        loop {
            while let Some(step) = self.names.process.poll(now) {
                self.step_resolver(step, now);
            }
            let due = if self.watching { Vec::new() } else { self.names.lookups.due(now) };
            if due.is_empty() {
                return;
            }
            if self.names.process.takes(now) {
                self.names.lookups.asked(&due, now);
                let servers = self.current.config.resolver.servers.iter().map(|server| server.0).collect();
                if let Some(helper) = self.resolver() {
                    helper.tell(&Order::LookUp { servers, names: due });
                }
                return;
            }
            let Some(step) = self.names.process.poll(now) else { return };
            self.step_resolver(step, now);
        }
    }

    fn step_resolver(&mut self, step: Step, now: Time) {
        match step {
            Step::Start => match helper::spawn(&self.current, Id::Resolver, self.name_ports(), now) {
                Ok(child) => {
                    log::debug!(target: "hatchery", "started the resolver (process {})", child.process.pid);
                    self.children.add(child);
                }
                Err(error) => {
                    self.names.process.exited(now);
                    let due = self.names.lookups.due(now);
                    self.all_failed(&due, &format!("its resolver cannot be started: {error}"), now);
                }
            },
            Step::Kill(how) => {
                if let Some(child) = self.children.find_mut(Id::Resolver) {
                    child.kill(match how {
                        Kill::Term => supervisor::Kill::Term,
                        Kill::Kill => supervisor::Kill::Kill,
                    });
                }
            }
            Step::Abandon => {
                self.abandon(Id::Resolver, now);
                self.names.process.exited(now);
            }
        }
    }

    fn resolver(&mut self) -> Option<&mut Helper> {
        match &mut self.children.find_mut(Id::Resolver)?.held.role {
            Role::Helper(helper) => Some(helper),
            _ => None,
        }
    }

    /// The helper has said something. False: what it does not say about names.
    pub(super) fn on_resolver(&mut self, answer: Answer, now: Time) -> bool {
        match answer {
            Answer::Ready => {
                self.names.process.ready(now);
                self.children.find_mut(Id::Resolver).map(Child::answers);
            }
            Answer::Note(text) => log::warn!(target: "hatchery", "resolver: {text}"),
            Answer::Found { name, .. } | Answer::NotFound { name, .. }
                if !self.names.lookups.answered(&name) =>
            {
                log::debug!(target: "hatchery", "resolver: nobody has asked for {}", text::line(&name));
            }
            Answer::Found { name, mut servers, ttl } => {
                servers.retain(|server| is_usable(&name, server));
                if servers.is_empty() {
                    self.all_failed(&[name], "no server can be at where it leads to", now);
                } else {
                    self.found(&name, &servers, ttl, now);
                }
                self.may_rest(now);
            }
            Answer::NotFound { name, reason } => {
                self.all_failed(&[name], &text::line(&reason), now);
                self.may_rest(now);
            }
            Answer::Stale => {
                self.names.lookups.lost();
                self.names.process.dismiss();
            }
            _ => return false,
        }
        true
    }

    fn may_rest(&mut self, now: Time) {
        if self.names.lookups.is_done() {
            self.names.process.rests(now);
        }
    }

    fn found(&mut self, question: &str, servers: &[Located], ttl: u64, now: Time) {
        if self.names.lookups.found(question, Duration::from_secs(ttl), now) {
            log::info!(target: "hatchery", "{question} is found");
        }
        let roster = self.roster();
        for Entry { upstream, name, numbers } in self.entries() {
            if name.question() != question {
                continue;
            }
            let Some(settings) = self.current.config.upstreams.get(upstream) else { continue };
            let before: Vec<Option<Found>> =
                numbers.iter().map(|number| found_at(roster.spot(*number))).collect();
            let mut places = before.clone();
            let left = assign(&mut places, &servers_of(name, servers));
            for (number, place) in numbers.iter().zip(&places) {
                let spot = place.map(|Found { address, weight, backup }| {
                    let tag = sticky::tag(settings, &self.numbers.key, &address.to_string());
                    Spot { address, weight, backup, tag: tag.unwrap_or_default() }
                });
                roster.put(*number, spot, now);
            }
            let addresses = |places: &[Option<Found>]| -> Vec<String> {
                places.iter().flatten().map(|found| found.address.to_string()).collect()
            };
            let (old, new) = (addresses(&before), addresses(&places));
            if old != new {
                let more = if left > 0 {
                    format!("; {left} more than the {PLACES} that are used are left out")
                } else {
                    String::new()
                };
                let new = if new.is_empty() { "no address".to_owned() } else { new.join(", ") };
                log::info!(target: "hatchery", "upstream {}: {name} leads to {new}{more}", settings.name);
            }
        }
        self.poke_workers();
    }

    /// Names that were not found keep what they have; of one that has nothing it is known now.
    fn all_failed(&mut self, questions: &[String], reason: &str, now: Time) {
        for question in questions {
            let is_news = self.names.lookups.failed(question, reason, now);
            let roster = self.roster();
            let entries = self.entries();
            let own = || entries.iter().filter(|entry| entry.name.question() == *question);
            let has_any = own().flat_map(|entry| entry.numbers).any(|number| roster.spot(*number).is_some());
            for number in own().flat_map(|entry| entry.numbers).filter(|number| roster.version(**number) == 0)
            {
                roster.put(*number, None, now);
            }
            if is_news {
                let upstreams: BTreeSet<&str> = own()
                    .filter_map(|entry| self.current.config.upstreams.get(entry.upstream))
                    .map(|upstream| upstream.name.as_str())
                    .collect();
                let upstreams = upstreams.into_iter().collect::<Vec<_>>().join(", ");
                let what = if has_any {
                    "its last known addresses stay in use"
                } else {
                    "requests are answered 503 until it is"
                };
                log::warn!(target: "hatchery", "upstream {upstreams}: {question} is not found: {reason}; {what}");
            }
        }
        self.poke_workers();
    }

    /// The process was reaped.
    pub(super) fn resolver_ended(&mut self, now: Time) {
        let asked = self.names.lookups.lost();
        // Told to, it is about to be started again, and they are due.
        if self.names.process.exited(now) != End::Told {
            let due = self.names.lookups.due(now);
            let all: BTreeSet<String> = asked.into_iter().chain(due).collect();
            let all: Vec<String> = all.into_iter().collect();
            self.all_failed(&all, "the process that looks names up has died", now);
        }
    }
}

fn found_at(spot: Option<Spot>) -> Option<Found> {
    spot.map(|Spot { address, weight, backup, .. }| Found { address, weight, backup })
}

/// Whether a server can be there.
fn is_usable(question: &str, Located { ip, port, .. }: &Located) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && (*port != 0 || !question.starts_with(SERVICE))
}

/// As the configuration and the records say.
fn servers_of(name: &Name, servers: &[Located]) -> Vec<Found> {
    let first = servers.iter().map(|server| server.priority).min().unwrap_or(0);
    let found = servers.iter().map(|Located { ip, port, priority, weight }| match name {
        Name::Host(_, port) => Found { address: SocketAddr::new(*ip, *port), weight: 0, backup: false },
        Name::Service(_) => Found {
            address: SocketAddr::new(*ip, *port),
            weight: (*weight).max(1),
            backup: *priority > first,
        },
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_the_ports_of_its_records_and_a_host_its_own() {
        let located = |port, priority, weight| Located { ip: [10, 0, 0, 5].into(), port, priority, weight };
        let answer = [located(81, 7, 0), located(82, 3, 9), located(83, 3, 1)];
        let seen = |name: &Name| -> Vec<_> {
            let found = servers_of(name, &answer);
            found.iter().map(|found| (found.address.port(), found.weight, found.backup)).collect()
        };
        let service = Name::Service("_http._tcp.a".to_owned());
        assert_eq!(seen(&service), [(81, 1, true), (82, 9, false), (83, 1, false)]);
        assert_eq!(seen(&Name::Host("a".to_owned(), 80)), [(80, 0, false); 3]);
    }

    #[test]
    fn no_server_is_nowhere_or_everywhere() {
        let usable = |question: &str, ip: &str, port| {
            is_usable(question, &Located { ip: ip.parse().unwrap(), port, priority: 0, weight: 0 })
        };
        assert!(usable("a", "127.0.0.1", 0) && usable("srv:a", "::1", 1));
        for (question, ip) in
            [("srv:a", "10.0.0.1"), ("a", "0.0.0.0"), ("a", "::"), ("a", "224.0.0.1"), ("a", "ff02::1")]
        {
            assert!(!usable(question, ip, 0), "{question} {ip}");
        }
    }
}
