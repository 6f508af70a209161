//! Places: the right of a request to be at a server. Which server that is, [`crate::balance`] says; what is in flight, and
//! who waits, is on the roster. A request that finds no server with room waits in the worker that read it; who leaves a
//! server lets the oldest of all workers have what has come free.

use super::links::Unit;
use super::servers::Group;
use crate::balance::{Ask, Picked, Seen, Standing, WHOLE, Wish, WorkerRoster};
use crate::config::Upstream;
use crate::http::fault::Fault;
use crate::timer::Time;
use crate::worker::context::{Context, Timer};
use crate::worker::owner::Owner;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Whoever waits looks again after this, whatever others have or have not told.
const AGAIN: Duration = Duration::from_millis(25);

/// What a request needs of a server.
#[derive(Clone, Debug, Default)]
pub(in crate::worker) struct Wanted {
    /// When it came.
    pub(super) since: Time,
    /// What it has in common with others.
    pub(super) hash: Option<u64>,
    /// The server that has its session.
    pub(super) session: Option<usize>,
    /// It can be repeated if the server fails.
    pub(super) may_repeat: bool,
    /// Servers that have failed in it.
    pub(super) tried: Vec<usize>,
    /// It has had a place already.
    pub(super) again: bool,
}

impl Wanted {
    /// Any server could take it: it has no session, and failed at none.
    fn takes_any(&self) -> bool {
        self.session.is_none() && self.tried.is_empty()
    }
}

/// A place that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Held {
    /// As [`Config::upstream`](crate::config::Config::upstream) has it.
    pub(super) upstream: usize,
    /// At this server.
    pub(super) server: usize,
    /// Which is a process of an app: in this unit of it.
    pub(super) unit: Option<Unit>,
}

/// What a request that asks for a place gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This one.
    At(Held),
    /// It waits, until then at most.
    Waits(Time),
}

/// Requests that wait for a place at the servers of one upstream.
#[derive(Default)]
pub(super) struct Waiting {
    /// The oldest first.
    line: VecDeque<(Wanted, Owner)>,
    /// What those have got that have not been driven since: a server, or none as none is left.
    granted: HashMap<Owner, Option<usize>>,
    /// The roster shows that requests wait here.
    published: bool,
}

impl Waiting {
    /// When the oldest request came that any server could take.
    fn first(&self) -> Option<Time> {
        self.line.iter().find(|(wanted, _)| wanted.takes_any()).map(|(wanted, _)| wanted.since)
    }
}

impl Group {
    /// The server that takes a request, in which it has a place then.
    fn take(
        &mut self,
        upstream: &Upstream,
        roster: WorkerRoster<'_>,
        wanted: &Wanted,
        random: u64,
        now: Time,
    ) -> Picked {
        self.look(upstream, roster, now);
        let awaits = wanted.tried.is_empty() && self.awaits_names(roster);
        let Wanted { hash, session, may_repeat, .. } = *wanted;
        let ask = Ask { tried: &wanted.tried, hash, session, may_repeat, random };
        // Each round leaves one out that another worker was faster at.
        for _ in 0..=2 * self.seen.len() {
            let picked = self.chooser.pick(&self.seen, &ask);
            let (index, on_trial) = match picked {
                Picked::Server(index) => (index, false),
                Picked::Trial(index) => (index, true),
                Picked::Nobody if awaits => return Picked::Full(None),
                Picked::Full(_) | Picked::Nobody => return picked,
            };
            let number = self.number(index);
            let most = self.entry(upstream, index).and_then(|server| server.max_connections);
            let Some(seen) = self.seen.get_mut(index) else { return Picked::Nobody };
            if on_trial && !roster.try_out(number, now) {
                seen.standing = Standing::Down;
            } else if roster.enter(number, most) {
                return Picked::Server(index);
            } else {
                seen.full = true;
                if on_trial {
                    // Nobody tries it after all.
                    roster.unanswered(number, now);
                }
            }
        }
        Picked::Full(None)
    }

    /// What is known of the servers now.
    pub(super) fn look(&mut self, upstream: &Upstream, roster: WorkerRoster<'_>, now: Time) {
        let needs_loads = self.chooser.needs_loads();
        self.look_at_spots(roster);
        let servers = upstream.places().zip(&self.spots);
        self.seen.clear();
        self.seen.extend(servers.map(|((_, server), spot)| {
            let number = spot.number;
            let most = server.max_connections;
            let load = if needs_loads || most.is_some() { roster.in_flight(number) } else { 0 };
            Seen {
                id: spot.id,
                weight: spot.weight.map_or(server.weight, u32::from),
                backup: server.backup || spot.backup,
                standing: match spot.address {
                    Some(_) => standing(roster, number, now),
                    None => Standing::Disabled,
                },
                load,
                full: most.is_some_and(|most| load >= u64::from(most)),
                ramp: ramp(upstream.slow_start, || roster.been(number, now)),
            }
        }));
    }

    /// Whether another server is up than these.
    pub(super) fn has_other(&self, not: impl Fn(usize) -> bool) -> bool {
        self.seen.iter().enumerate().any(|(index, seen)| seen.standing == Standing::Up && !not(index))
    }
}

fn standing(roster: WorkerRoster<'_>, number: u16, now: Time) -> Standing {
    match roster.wish(number) {
        Wish::Disabled => Standing::Disabled,
        Wish::Drained => Standing::Drained,
        Wish::Enabled => match roster.health(number) {
            health if health.is_up() => Standing::Up,
            health if health.may_be_tried(now) => Standing::MayBeTried,
            _ => Standing::Down,
        },
    }
}

/// The part of its share that a server has which came back so long ago.
fn ramp(slow_start: Option<Duration>, been: impl FnOnce() -> Option<Duration>) -> u32 {
    let Some((slow_start, been)) = slow_start.and_then(|slow_start| Some((slow_start, been()?))) else {
        return WHOLE;
    };
    let part = been.as_millis() * u128::from(WHOLE) / slow_start.as_millis().max(1);
    u32::try_from(part).unwrap_or(WHOLE).clamp(1, WHOLE)
}

impl Context {
    /// Asks for a place at a server for a request.
    ///
    /// # Errors
    /// No server is left for it, or too many wait.
    pub(super) fn ask_place(
        &mut self,
        upstream: usize,
        wanted: &Wanted,
        owner: Owner,
    ) -> Result<Place, Fault> {
        if let Some(app) = self.config.app_of(upstream) {
            return self.ask_process(upstream, app, wanted, owner);
        }
        let random = self.draw(upstream);
        let Self { config, servers, roster, now, .. } = self;
        let (Some(group), Some(settings)) = (servers.group(upstream), config.upstream(upstream)) else {
            return Err(Fault::Nobody);
        };
        let at = |server| Place::At(Held { upstream, server, unit: None });
        if !group.goes_behind(*roster, wanted.since) {
            match group.take(settings, *roster, wanted, random, *now) {
                Picked::Server(index) => return Ok(at(index)),
                Picked::Nobody if wanted.tried.is_empty() => return Err(group.nobody()),
                Picked::Nobody => return Err(Fault::Refused),
                Picked::Full(_) | Picked::Trial(_) => {}
            }
        }
        let queue = settings.queue;
        let line = &mut group.waiting.line;
        if line.len() >= queue.size as usize {
            return Err(Fault::Crowded);
        }
        let place = line.partition_point(|(earlier, _)| earlier.since <= wanted.since);
        line.insert(place, (wanted.clone(), owner));
        // A name that is being looked up for the first time is a part of connecting.
        let timeout = match group.awaits_names(*roster) {
            true => queue.timeout.min(settings.patience.connect),
            false => queue.timeout,
        };
        let until = now.after(timeout);
        self.give_places(upstream, false);
        match self.granted_place(upstream, owner) {
            Some(Some(held)) => Ok(Place::At(held)),
            Some(None) => Err(self.nobody(upstream)),
            None => Ok(Place::Waits(until)),
        }
    }

    /// A random number for a request, where its server is drawn.
    fn draw(&mut self, upstream: usize) -> u64 {
        let draws = self.servers.shown(upstream).is_some_and(|group| group.chooser.draws());
        if draws { self.random() } else { 0 }
    }

    /// What a waiting request was given: a server, or none, as none is left. `None`: it waits.
    pub(super) fn granted_place(&mut self, upstream: usize, owner: Owner) -> Option<Option<Held>> {
        if let Some(app) = self.config.app_of(upstream) {
            return self.granted_process(upstream, app, owner);
        }
        let granted = self.servers.group(upstream)?.waiting.granted.remove(&owner)?;
        Some(granted.map(|server| Held { upstream, server, unit: None }))
    }

    /// A waiting request gives up.
    pub(super) fn leave_line(&mut self, upstream: usize, owner: Owner) {
        if let Some(app) = self.config.app_of(upstream) {
            return self.leave_queue(app, owner);
        }
        if let Some(Some(held)) = self.granted_place(upstream, owner) {
            self.leave_place(held);
        }
        if let Some(group) = self.servers.group(upstream) {
            group.waiting.line.retain(|(_, waiting)| *waiting != owner);
        }
        self.give_places(upstream, false);
    }

    /// A request has left the server.
    pub(in crate::worker) fn leave_place(&mut self, held: Held) {
        let Held { upstream, server: index, unit } = held;
        if let Some(unit) = unit {
            return self.free_unit(unit);
        }
        let Self { servers, roster, .. } = self;
        let Some(group) = servers.group(upstream) else { return };
        roster.leave(group.number(index));
        if !group.is_bounded {
            return;
        }
        let own = !group.waiting.line.is_empty();
        let others =
            roster.next_in_line(group.upstream).into_iter().chain(roster.with_certain(group.upstream));
        others.for_each(|row| self.poke(row));
        if own {
            self.give_places(upstream, false);
        }
    }

    /// Something has changed on the roster, or it is time to look.
    pub(in crate::worker) fn give_all_places(&mut self, anyway: bool) {
        (0..self.servers.len()).for_each(|upstream| self.give_places(upstream, anyway));
    }

    /// Gives places to waiting requests, the oldest first, as long as there are places. A request that waits for certain
    /// servers only lets others pass. `anyway`: also before older ones of other workers, which may hang.
    fn give_places(&mut self, upstream: usize, anyway: bool) {
        let mut poke = None;
        let mut at = 0;
        // One that any server could take has found none, or goes behind others: whether it could show if a server is back, as
        // not all can.
        let mut full = None;
        if let Some(group) = self.servers.group(upstream) {
            group.publish(self.roster);
        }
        loop {
            let random = self.draw(upstream);
            let Self { config, servers, roster, now, next, .. } = self;
            let (Some(group), Some(settings)) = (servers.group(upstream), config.upstream(upstream)) else {
                return;
            };
            let Some((wanted, owner)) = group.waiting.line.get(at) else { break };
            if full.is_some_and(|might_try| wanted.takes_any() && (might_try || !wanted.may_repeat)) {
                at += 1;
                continue;
            }
            let (wanted, owner) = (wanted.clone(), *owner);
            // Who waits for certain servers takes nothing that others wait for who came before.
            if !anyway && wanted.takes_any() && roster.is_overtaking(group.upstream, wanted.since) {
                poke = roster.next_in_line(group.upstream);
                full = Some(true);
                at += 1;
                continue;
            }
            let granted = match group.take(settings, *roster, &wanted, random, *now) {
                Picked::Server(index) => Some(index),
                Picked::Nobody => None,
                Picked::Full(_) | Picked::Trial(_) => {
                    if wanted.takes_any() {
                        full = Some(wanted.may_repeat);
                    }
                    at += 1;
                    continue;
                }
            };
            group.waiting.line.remove(at);
            group.waiting.granted.insert(owner, granted);
            group.publish(*roster);
            next.push_back(owner);
        }
        if let Some(row) = poke.filter(|_| self.has_room(upstream)) {
            self.poke(row);
        }
        let waits = self.servers.group(upstream).is_some_and(|group| !group.waiting.line.is_empty());
        if waits && !std::mem::replace(&mut self.servers.looks_again, true) {
            self.timers.insert(self.now.after(AGAIN), Timer::Places);
        }
    }

    fn has_room(&mut self, upstream: usize) -> bool {
        let Self { config, servers, roster, now, .. } = self;
        let (Some(group), Some(settings)) = (servers.group(upstream), config.upstream(upstream)) else {
            return false;
        };
        group.look(settings, *roster, *now);
        group.seen.iter().any(|seen| seen.standing == Standing::Up && !seen.full)
    }

    /// It is time for who waits to look again.
    pub(in crate::worker) fn look_for_places(&mut self) {
        self.servers.looks_again = false;
        self.give_all_places(true);
    }
}

impl Group {
    /// Whether others that wait have come before.
    fn goes_behind(&self, roster: WorkerRoster<'_>, since: Time) -> bool {
        self.is_bounded
            && (self.waiting.first().is_some_and(|first| first < since)
                || roster.is_overtaking(self.upstream, since))
    }

    /// Shows the oldest request that any server could take.
    fn publish(&mut self, roster: WorkerRoster<'_>) {
        let (first, line) = (self.waiting.first(), &self.waiting.line);
        if !line.is_empty() || self.waiting.published {
            self.waiting.published = !line.is_empty();
            let certain = line.iter().any(|(wanted, _)| !wanted.takes_any());
            roster.wait(self.upstream, first, certain);
        }
    }
}
