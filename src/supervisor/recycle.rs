//! Replacing processes that serve: worn ones, and those of a pool that is restarted by command. The replacement is
//! ready before the old one is drained, one at a time in each pool, only while nothing else is going on.

use super::backoff::FIRST_WAIT;
use super::machine::{Mode, Position, Supervisor};
use super::pool::{Pool, Worn, is_relief, is_serving, is_waiting};
use super::slot::{Event, Role, Slot, State, TERM_GRACE};
use super::stop::STOPPING;
use super::{ChildId, Level, Output, PoolIndex, Ticket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often the memory of a pool with `max_rss` is looked at.
const MEASURE: Duration = Duration::from_secs(5);
/// Limits are reached up to this part earlier, so that processes that were started together are not replaced together.
const SPREAD: u128 = 10;

/// A restart by command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roll {
    /// `None`: nobody waits for its end.
    ticket: Option<Ticket>,
    pool: PoolIndex,
    total: usize,
    /// Processes that are still to be replaced.
    left: Vec<ChildId>,
}

/// The limit for this child: up to a tenth less, and always the same.
#[must_use]
pub(crate) fn spread(limit: u64, child: ChildId) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014): neighbours get values far apart.
    let mut mixed = child.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = u128::from(mixed >> 54);
    let less = u128::from(limit) * part / (1024 * SPREAD);
    limit - u64::try_from(less).unwrap_or(0)
}

impl Supervisor {
    /// The child must be replaced when another one is ready.
    pub(super) fn on_worn(&mut self, child: ChildId, reason: &str) {
        let Some(position) = self.position_of(child) else { return };
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        let serves =
            !pool.is_daemon() && pool.slots.get(position.slot).is_some_and(|slot| is_serving(&slot.state));
        match pool.worn.iter_mut().find(|worn| worn.child == child) {
            // The child says WORN only once, and stays worn if the restart fails.
            Some(worn) if worn.restart => *worn = Worn::new(child, reason),
            Some(_) => {}
            None if serves => pool.worn.push(Worn::new(child, reason)),
            None => {}
        }
    }

    /// The answer to `Measure`.
    pub(super) fn on_measured(&mut self, child: ChildId, rss: u64) {
        let limit =
            self.position_of(child).and_then(|position| self.pools.get(position.pool)?.plan.upkeep.max_rss);
        if let Some(limit) = limit.filter(|limit| rss > *limit) {
            let mib = |bytes: u64| bytes >> 20;
            self.on_worn(child, &format!("its memory is {} MiB, above max_rss {} MiB", mib(rss), mib(limit)));
        }
    }

    /// Nothing runs any more in a process that is to leave.
    pub(super) fn on_idle(&mut self, child: ChildId, now: Time) {
        let Some(position) = self.position_of(child) else { return };
        let Some(pool) = self.pools.get(position.pool) else { return };
        let until = now.after(pool.plan.upkeep.stop_timeout);
        self.order(position, Event::Idle { until }, now);
    }

    /// Asks for the memory of the pools whose time it is.
    pub(super) fn measure(&mut self, now: Time) {
        let mut asked = Vec::new();
        for pool in &mut self.pools {
            if pool.measure.is_some_and(|measure| measure <= now) {
                pool.measure = Some(now.after(MEASURE));
                let serving = pool.slots.iter().filter(|slot| is_serving(&slot.state));
                asked.extend(serving.filter_map(|slot| slot.state.process()).map(|process| process.child));
            }
        }
        asked.into_iter().for_each(|child| self.tell(Output::Measure { child }));
    }

    /// Processes that have served for so long as they should.
    pub(super) fn outlive(&mut self, now: Time) {
        for pool in &mut self.pools {
            while let Some((child, _)) = pool.first_outlived().filter(|(_, due)| *due <= now) {
                pool.worn.push(Worn::new(child, "it reached max_lifetime"));
            }
            pool.relief_at = pool.relief_at.filter(|at| *at > now);
        }
    }

    /// Boots a relief in every pool that needs one, and ends those that nobody needs any more.
    pub(super) fn recycle(&mut self, now: Time) {
        let running = matches!(self.mode, Mode::Running | Mode::Upgrading(_));
        for at in 0..self.pools.len() {
            let Some(pool) = self.pools.get_mut(at) else { return };
            pool.forget_gone();
            if pool.worn.is_empty() || !pool.is_listed() {
                for position in self.positions_in(at, is_relief) {
                    self.order(position, Event::Kill { until: now.after(TERM_GRACE) }, now);
                }
            } else if running
                && pool.count(is_relief) == 0
                && !pool.is_unsettled()
                && pool.has_room()
                && pool.relief_at.is_none_or(|at| at <= now)
            {
                let slot = pool.free();
                self.boot(Position { pool: at, slot }, Role::Relief, now);
            }
        }
    }

    /// A place is given up; if its process is worn, its relief has come.
    pub(super) fn relieve(&mut self, at: usize, slot: usize) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        let Some(slot) = pool.slots.get(slot) else { return };
        let Some(process) = slot.state.process().copied() else { return };
        let Some(found) = pool.worn.iter().position(|worn| worn.child == process.child) else { return };
        let worn = pool.worn.remove(found);
        let (number, pid) = (slot.number, process.pid.unwrap_or(0));
        pool.relief.reset();
        let text = format!("{} {number} (process {pid}): replaced: {}", pool.label(), worn.reason);
        self.note(Level::Info, text);
    }

    /// A relief cannot serve: the worn ones go on; who waits for a restart learns it.
    pub(super) fn relief_refused(&mut self, at: usize, told: &str) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        pool.worn.retain(|worn| !worn.restart);
        let index = pool.plan.index;
        self.note(Level::Error, format!("{}; the process that it was to replace goes on", told.trim_end()));
        let failed =
            self.rolls.extract_if(.., |roll| roll.pool == index).filter_map(|roll| roll.ticket).collect();
        self.answer(failed, &Err(told.to_owned()));
    }

    /// A relief that could not serve has ended: the next attempt comes later.
    pub(super) fn relief_died(&mut self, at: usize, now: Time) {
        if let Some(pool) = self.pools.get_mut(at) {
            let wait = pool.relief.died(Duration::ZERO).max(FIRST_WAIT);
            pool.relief_at = Some(now.after(wait));
        }
    }

    /// `restart`.
    pub(super) fn on_restart(&mut self, ticket: Ticket, name: &str, why: &'static str, now: Time) {
        let result = match self.commanded(name) {
            Ok(at) => self.begin_roll(Some(ticket), at, why, now),
            Err(text) => Some(Err(text)),
        };
        if let Some(result) = result {
            self.tell(Output::Answer { ticket, result });
        }
    }

    /// The answer to the command, if it is known at once.
    pub(super) fn begin_roll(
        &mut self,
        ticket: Option<Ticket>,
        at: usize,
        why: &'static str,
        now: Time,
    ) -> Option<Result<String, String>> {
        let pool = self.pools.get_mut(at)?;
        let label = pool.label();
        let index = pool.plan.index;
        if pool.stopped.is_some() {
            return Some(Err(format!(
                "{label} is stopped by hand; `hatchery start {}` starts it",
                pool.plan.name
            )));
        }
        if pool.is_daemon() && !pool.coming().is_empty() {
            let left = pool.coming();
            self.rolls.push(Roll { ticket, pool: index, total: left.len(), left });
            self.dismiss(at);
            return None;
        }
        let serving = pool.slots.iter().filter(|slot| is_serving(&slot.state));
        let left: Vec<ChildId> =
            serving.filter_map(|slot| slot.state.process().map(|process| process.child)).collect();
        let waiting = pool.positions(is_waiting);
        for slot in &waiting {
            if let Some(slot) = pool.slots.get_mut(*slot) {
                slot.backoff.reset();
                slot.state = State::Empty { retry: Some(now) };
            }
        }
        if left.is_empty() {
            return Some(Ok(match (waiting.is_empty(), pool.active()) {
                (false, _) => format!("{label}: another attempt is made now"),
                (true, 0) if pool.is_daemon() && pool.is_alive() => format!("{label} is just being replaced"),
                (true, 0) if pool.is_daemon() => format!("{label} has no process: nothing to replace"),
                (true, 0) => format!("{label} is asleep: nothing to replace"),
                (true, _) => format!("{label} is just starting"),
            }));
        }
        pool.relief_at = None;
        pool.relief.reset();
        for child in &left {
            if pool.worn.iter().all(|worn| worn.child != *child) {
                pool.worn.push(Worn { restart: true, ..Worn::new(*child, why) });
            }
        }
        self.rolls.push(Roll { ticket, pool: index, total: left.len(), left });
        None
    }

    /// Answers restarts that have come to their end.
    pub(super) fn settle_rolls(&mut self) {
        let stopping = matches!(self.mode, Mode::Stopping(_));
        for mut roll in std::mem::take(&mut self.rolls) {
            let pool = self.pool_at(roll.pool).and_then(|at| self.pools.get(at));
            // The old process of a daemon goes first, and its successor is waited for, too.
            let counts = |state: &State| is_serving(state) || pool.is_some_and(Pool::is_daemon);
            let stays = |child: &ChildId| {
                let is_it = |slot: &Slot| {
                    counts(&slot.state) && slot.state.process().is_some_and(|process| process.child == *child)
                };
                pool.is_some_and(|pool| pool.slots.iter().any(is_it))
            };
            roll.left.retain(stays);
            let end = if roll.left.is_empty() { self.started_again(pool) } else { None };
            let stopped = pool.filter(|pool| pool.stopped.is_some());
            let stopped = stopped.map(|pool| format!("{} was stopped meanwhile", pool.label()));
            if let Some(why) = if stopping { Some(STOPPING.to_owned()) } else { stopped } {
                self.answer(roll.ticket.into_iter().collect(), &Err(why));
            } else if let Some(end) = end {
                let processes = if roll.total == 1 { "process" } else { "processes" };
                let label = pool.map_or_else(String::new, Pool::label);
                let result = end.map(|()| format!("{label}: {} {processes} replaced", roll.total));
                self.answer(roll.ticket.into_iter().collect(), &result);
            } else {
                self.rolls.push(roll);
            }
        }
    }
}

impl Pool {
    /// Whether the process is to be replaced.
    pub(super) fn is_worn(&self, state: &State) -> bool {
        let child = state.process().map(|process| process.child);
        self.worn.iter().any(|worn| Some(worn.child) == child)
    }

    /// Whether one process more is at most one above the maximum: of an app what has been replaced before has ended. Old
    /// workers may have clients for long, and take little.
    fn has_room(&self) -> bool {
        !self.is_app() || self.count(|state| state.process().is_some()) <= self.plan.processes.max
    }

    /// The process that reaches its `max_lifetime` first, and when.
    fn first_outlived(&self) -> Option<(ChildId, Time)> {
        let limit = self.plan.upkeep.max_lifetime?;
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let due = |state: &State| match state {
            State::Ready { process, role: Role::Current, since } if !self.is_worn(state) => {
                let lifetime = Duration::from_nanos(spread(nanos, process.child));
                Some((process.child, since.after(lifetime)))
            }
            _ => None,
        };
        self.slots.iter().filter_map(|slot| due(&slot.state)).min_by_key(|(_, due)| *due)
    }

    /// When the next process has served for too long.
    pub(super) fn next_outlived(&self) -> Option<Time> {
        self.first_outlived().map(|(_, due)| due)
    }

    /// Keeps the timer of `Measure` as long as there is something to measure.
    pub(super) fn plan_measure(&mut self, now: Time) {
        let wanted = self.is_listed() && self.plan.upkeep.max_rss.is_some() && self.ready() > 0;
        self.measure = wanted.then(|| self.measure.unwrap_or(now.after(MEASURE)));
    }

    /// Forgets worn processes that do not serve any more: they need no relief.
    fn forget_gone(&mut self) {
        let serving: Vec<ChildId> = self
            .slots
            .iter()
            .filter(|slot| is_serving(&slot.state))
            .filter_map(|slot| slot.state.process().map(|process| process.child))
            .collect();
        self.worn.retain(|worn| serving.contains(&worn.child));
    }

    /// How the process in a slot ended that was not told to.
    pub(super) fn remember(&mut self, slot: usize, reason: &str) {
        self.last_exit = Some(reason.to_owned());
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.last_exit = Some(reason.to_owned());
        }
    }

    /// A process is started in place of one that died.
    pub(super) fn count_restart(&mut self, slot: usize) {
        self.restarts += 1;
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.restarts += 1;
        }
    }
}
