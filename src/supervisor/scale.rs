//! How many processes a pool has now: places are filled up to its target and given up above it; demand raises the
//! target, idleness lowers it to `min`. A pool with `min` 0 is asleep at 0.
//!
//! Activity is known of a whole pool, so a pool shrinks to `min` at once after `idle` without any, not step by step.
//! Workers also come and go with how busy they are (`busy`).

use super::machine::{Mode, Position, Supervisor};
use super::pool::{Listing, Pool, is_leaving, is_new, is_serving, is_waiting};
use super::slot::{DRAIN_GRACE, Event, Role, State, TERM_GRACE};
use super::{ChildId, Level, Output, PoolIndex, Processes, Ticket};
use crate::control::text::without_queries;
use crate::timer::Time;
use std::collections::BTreeSet;
use std::time::Duration;

/// A process in which a request hangs gets so long to finish the others.
const STUCK_LEAVE: Duration = Duration::from_secs(1);
/// So many old generations may drain at once.
const GENERATIONS: usize = 3;

/// The reason, with the line of a request, as `status` shows it.
fn shown(reason: &str) -> String {
    const LONGEST: usize = 200;
    let cut = |word: &str| word.chars().take(LONGEST).collect::<String>();
    without_queries(reason).split(' ').map(cut).collect::<Vec<_>>().join(" ")
}

/// How often a retry looks whether a reload is over that keeps its gates closed.
const UNTIL_OPEN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// A client connects while the workers are asleep: one worker first.
    pub(super) fn on_readable(&mut self) {
        if !self.watching {
            return;
        }
        self.watching = false;
        self.tell(Output::Watch(false));
        if let Some(workers) = self.workers() {
            workers.target = workers.target.max(1);
        }
    }

    /// A request waits: one process more, one boot at a time, and none while a back-off lasts.
    pub(super) fn on_wanted(&mut self, index: PoolIndex) {
        let starting = matches!(self.mode, Mode::Starting(_));
        if matches!(self.mode, Mode::Stopping(_)) {
            return;
        }
        let Some(pool) = self.pool_at(index).and_then(|at| self.pools.get_mut(at)) else { return };
        // No worker serves before every proof is over, so nobody who asks then is left waiting.
        if !pool.is_listed()
            || pool.is_daemon()
            || pool.stopped.is_some()
            || (starting && (pool.is_workers() || pool.count(is_new) > 0))
        {
            return;
        }
        if pool.count(is_waiting) > 0 {
            // Whoever asks may have missed it.
            pool.published = None;
        } else if !pool.is_unsettled() && pool.target == pool.ready() && pool.target < pool.plan.processes.max
        {
            pool.target += 1;
        }
    }

    /// The answer to `Sample`.
    pub(super) fn on_activity(&mut self, index: PoolIndex, last: Time, now: Time) {
        let Some(pool) = self.pool_at(index).and_then(|at| self.pools.get_mut(at)) else { return };
        if !pool.could_shrink() || matches!(self.mode, Mode::Stopping(_)) {
            return;
        }
        let due = last.after(pool.idle());
        if due <= now {
            pool.target = pool.plan.processes.min;
            pool.sample = None;
        } else {
            pool.sample = Some(due);
        }
    }

    /// Looks at the pools that may have been idle for long enough. A lost answer is asked for again.
    pub(super) fn sample(&mut self, now: Time) {
        let mut due = Vec::new();
        for pool in &mut self.pools {
            if pool.sample.is_some_and(|sample| sample <= now) {
                pool.sample = Some(now.after(pool.idle()));
                due.push(pool.plan.index);
            }
        }
        due.into_iter().for_each(|pool| self.tell(Output::Sample { pool }));
    }

    /// A request in it ran into its time-out: another process takes its place at once, and it must go. Workers are
    /// never stuck in this sense: they do not run requests.
    pub(super) fn on_stuck(&mut self, child: ChildId, reason: &str, now: Time) {
        let is_it = |state: &State| {
            is_serving(state) && state.process().is_some_and(|process| process.child == child)
        };
        let Some(position) = self.positions(is_it).first().copied() else { return };
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        if !pool.is_app() {
            return;
        }
        pool.remember(position.slot, &shown(reason));
        pool.restarts += 1;
        let text = format!("{}: {reason}; its process is replaced", pool.label());
        self.note(Level::Warn, text);
        self.tell(Output::Inspect { child });
        let until = now.after(STUCK_LEAVE + DRAIN_GRACE);
        self.order(position, Event::Drain { within: STUCK_LEAVE, hurry: false, until }, now);
    }

    /// TTIN and TTOU: one worker more, one fewer, until the next reload. A cheap pool stays cheap.
    pub(super) fn resize_workers(&mut self, more: bool) {
        let Some(workers) = self.workers() else { return };
        let most = workers.plan.most;
        let step = |count: u32| {
            if more { count.saturating_add(1).min(most) } else { count.saturating_sub(1).max(1) }
        };
        let Processes { min, max } = &mut workers.plan.processes;
        *max = step(*max);
        if *min > 0 {
            *min = step(*min);
        }
        if workers.target > 0 {
            workers.target = workers.target.clamp(*min, *max);
        }
        let text = format!("workers: {min} to {max} until the next reload");
        self.note(Level::Info, text);
    }

    /// `scale`: exactly so many, until the next reload; 0: asleep until wanted.
    pub(super) fn on_scale(&mut self, ticket: Ticket, name: &str, count: u32) {
        let result = self.scale(name, count);
        if let Ok(text) = &result {
            self.note(Level::Info, text.clone());
        }
        self.tell(Output::Answer { ticket, result });
    }

    fn scale(&mut self, name: &str, count: u32) -> Result<String, String> {
        let at = self.commanded(name)?;
        let pool = self.pools.get_mut(at).ok_or("no such pool")?;
        if count > pool.plan.most {
            return Err(format!("{}: at most {} processes are possible", pool.label(), pool.plan.most));
        }
        let label = pool.label();
        let what = match count {
            0 if pool.is_daemon() => {
                self.halt(at);
                return Ok(format!("{label}: stopped, until the next reload"));
            }
            0 if pool.stopped.is_some() => {
                return Ok(format!(
                    "{label}: stays stopped by hand, until `hatchery start {name}` or a reload"
                ));
            }
            0 => "asleep until wanted",
            1 => "1 process",
            _ => &format!("{count} processes"),
        };
        pool.stopped = None;
        pool.plan.processes.min = count;
        pool.plan.processes.max = if count == 0 { pool.plan.processes.max } else { count };
        pool.target = count;
        Ok(format!("{label}: {what}, until the next reload"))
    }

    /// The pool that an operator means; only while nothing else is going on.
    pub(super) fn commanded(&self, name: &str) -> Result<usize, String> {
        if !matches!(self.mode, Mode::Running) {
            return Err(format!("the server is {}; try again when it is running", self.mode()));
        }
        let named = |pool: &Pool| pool.is_listed() && !pool.is_workers() && pool.plan.name == name;
        let workers = |pool: &Pool| pool.is_workers() && ["worker", "workers"].contains(&name);
        let found = self.pools.iter().position(named).or_else(|| self.pools.iter().position(workers));
        found.ok_or_else(|| {
            let others = self.pools.iter().filter(|pool| pool.is_listed() && !pool.is_workers());
            let names: Vec<&str> = others.map(|pool| pool.plan.name.as_str()).chain(["workers"]).collect();
            format!("there is no \"{name}\"; there is: {}", names.join(", "))
        })
    }

    /// Brings every pool to its target.
    pub(super) fn fill(&mut self, now: Time) {
        for at in 0..self.pools.len() {
            self.retry(at, now);
            self.grow(at, now);
            self.shrink(at, now);
            let Some(pool) = self.pools.get_mut(at) else { continue };
            pool.sample = match (pool.could_shrink(), pool.sample) {
                (false, _) => None,
                (true, None) => Some(now.after(pool.idle())),
                (true, sample) => sample,
            };
            pool.plan_measure(now);
        }
    }

    /// Back-offs that have ended: the place is filled if the pool has less than it always wants, else given up until
    /// somebody asks.
    fn retry(&mut self, at: usize, now: Time) {
        for position in self
            .positions_in(at, |state| matches!(state, State::Empty { retry: Some(retry) } if *retry <= now))
        {
            let may_start = self.may_start(at);
            let is_closed = self.pools.get(at).is_some_and(|pool| self.is_closed(pool));
            let Some(pool) = self.pools.get_mut(at) else { return };
            if pool.active() < pool.plan.processes.min && may_start {
                pool.count_restart(position.slot);
                self.boot(position, Role::Current, now);
            } else if is_closed {
                // A reload that fails must find it as failed as it was.
                if let Some(slot) = pool.slots.get_mut(position.slot) {
                    slot.state = State::Empty { retry: Some(now.after(UNTIL_OPEN)) };
                }
            } else {
                // A daemon whose dependency is gone starts with it again.
                pool.target = pool.target.saturating_sub(1).max(pool.plan.processes.min);
                if let Some(slot) = pool.slots.get_mut(position.slot) {
                    slot.state = State::EMPTY;
                }
            }
        }
    }

    fn grow(&mut self, at: usize, now: Time) {
        while let Some(pool) = self.pools.get(at) {
            if !pool.is_listed() || pool.places() + pool.held() >= pool.target {
                return;
            }
            let gated = pool.is_gated() || (pool.gate_for(Role::Current).is_some() && pool.places() > 0);
            if gated || !self.may_start(at) {
                return;
            }
            let Some(pool) = self.pools.get_mut(at) else { return };
            let slot = pool.free();
            self.boot(Position { pool: at, slot }, Role::Current, now);
        }
    }

    /// Gives up places above the target: first those that only wait, then those that boot, then the worn, then the
    /// highest numbers.
    fn shrink(&mut self, at: usize, now: Time) {
        let Some(pool) = self.pools.get(at) else { return };
        if !pool.is_listed() {
            return;
        }
        let excess = pool.places().saturating_sub(pool.target) as usize;
        let booting = |state: &State| matches!(state, State::Booting { role: Role::Current, .. });
        let worn = |state: &State| is_serving(state) && pool.is_worn(state);
        let good = |state: &State| is_serving(state) && !pool.is_worn(state);
        let ordered =
            [pool.positions(is_waiting), pool.positions(booting), pool.positions(worn), pool.positions(good)];
        let leaving: Vec<usize> =
            ordered.into_iter().flat_map(|slots| slots.into_iter().rev()).take(excess).collect();
        leaving.iter().for_each(|slot| self.relieve(at, *slot));
        let drain = self.drain_order(now);
        leaving.into_iter().for_each(|slot| self.order(Position { pool: at, slot }, drain.clone(), now));
    }

    /// Finish what runs, at leisure.
    pub(super) fn drain_order(&self, now: Time) -> Event {
        let within = self.plan.drain_timeout;
        Event::Drain { within, hurry: false, until: now.after(within + DRAIN_GRACE) }
    }

    /// Sends away what older generations do not need any more.
    pub(super) fn retire(&mut self, now: Time) {
        let old_worker = self
            .pools
            .iter()
            .filter(|pool| pool.is_workers())
            .flat_map(|pool| &pool.slots)
            .filter(|slot| is_leaving(&slot.state))
            .filter_map(|slot| slot.state.process().map(|process| process.generation))
            .min();
        let done = |pool: &Pool| match pool.listing {
            // Dismissed at the switch.
            _ if pool.is_daemon() => false,
            Listing::Vanished { generation, .. } => old_worker.is_none_or(|oldest| oldest >= generation),
            Listing::Listed | Listing::Coming => false,
        };
        let drain = self.drain_order(now);
        for at in 0..self.pools.len() {
            if self.pools.get(at).is_some_and(done) {
                for position in self.positions_in(at, is_serving) {
                    self.order(position, drain.clone(), now);
                }
            }
        }
        self.hurry_oldest(now);
    }

    /// At most three old generations drain at once; then the oldest has had its time.
    fn hurry_oldest(&mut self, now: Time) {
        let generation = |state: &State| match state {
            State::Draining { process, .. } => Some(process.generation),
            _ => None,
        };
        let current = self.generation;
        let draining: BTreeSet<u32> = self
            .pools
            .iter()
            .flat_map(|pool| &pool.slots)
            .filter_map(|slot| generation(&slot.state).filter(|generation| *generation < current))
            .collect();
        let excess = draining.len().saturating_sub(GENERATIONS);
        for oldest in draining.into_iter().take(excess) {
            self.note(
                Level::Warn,
                format!("generation {oldest} still drains after {GENERATIONS} reloads: hurried"),
            );
            let until = now.after(TERM_GRACE);
            self.order_all(|state| generation(state) == Some(oldest), &Event::Kill { until }, now);
        }
    }
}
