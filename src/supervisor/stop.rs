//! The stop: workers and daemons first, then the apps that served them, all within one bound; a second order makes it
//! fast. What comes after something else leaves before it, except in a fast stop.

use super::machine::{Mode, Supervisor};
use super::pool::{Pool, is_new, is_relief};
use super::slot::{DRAIN_GRACE, Event, State};
use super::{Level, Output, PoolIndex};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// From TERM to KILL in a fast stop.
const FAST_GRACE: Duration = Duration::from_secs(1);
pub(super) const STOPPING: &str = "the server is stopping";

/// How far the stop is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stop {
    /// KILL is sent to all that lives then; `None`: it was.
    pub(super) until: Option<Time>,
    /// When the stop is over at the latest: what requests that wait are told.
    pub(super) end: Time,
    /// Running requests are not waited for.
    fast: bool,
    /// Pools, besides the workers, that were told to leave.
    told: Vec<PoolIndex>,
    /// What the master exits with, unless something does not die.
    code: u8,
    /// It was told to exit.
    pub(super) over: bool,
}

impl Stop {
    /// One that is over by then, which the master ends with this code.
    fn by(until: Time, fast: bool, code: u8) -> Self {
        Self { until: Some(until), end: until, fast, told: Vec::new(), code, over: false }
    }

    /// The machine was suspended for so long.
    pub(super) fn postpone(&mut self, lost: Duration) {
        self.until = self.until.map(|until| until.after(lost));
        self.end = self.end.after(lost);
    }
}

impl Supervisor {
    /// A first order stops gracefully, unless it is fast; a second one is fast.
    pub(super) fn stop(&mut self, fast: bool, now: Time) {
        match &self.mode {
            Mode::Stopping(stop) if stop.fast => {}
            Mode::Stopping(stop) => {
                let code = stop.code;
                self.stop_fast(code, now);
            }
            Mode::Starting(_) | Mode::Running | Mode::Reloading(_) | Mode::Upgrading(_) => {
                self.leave_mode(STOPPING, now);
                self.tell(Output::Stopping);
                self.unwatch();
                if fast { self.stop_fast(0, now) } else { self.stop_gracefully(now) }
            }
        }
    }

    /// The start failed: nothing is left behind, and the master exits with 1.
    pub(super) fn abandon_start(&mut self, now: Time) {
        self.leave_mode("the start failed", now);
        self.stop_fast(1, now);
    }

    /// The overall bound.
    pub(super) fn stop_deadline(&mut self, now: Time) {
        let Mode::Stopping(stop) = &mut self.mode else { return };
        if stop.until.is_none_or(|until| now < until) {
            return;
        }
        stop.until = None;
        let graceful = !stop.fast;
        let living = self.positions(|state| state.process().is_some());
        if graceful && !living.is_empty() {
            let who = match living.len() {
                1 => "1 process did not leave in time and is killed",
                many => &format!("{many} processes did not leave in time and are killed"),
            };
            self.note(Level::Warn, who.to_owned());
        }
        living.into_iter().for_each(|position| self.order(position, Event::KillNow, now));
    }

    /// Tells each pool to leave once nobody needs it: apps when no worker lives, and whatever others come after when
    /// those have left.
    pub(super) fn advance_stop(&mut self, now: Time) {
        let any_worker = self.any_worker();
        for at in 0..self.pools.len() {
            let (Some(pool), Mode::Stopping(stop)) = (self.pools.get(at), &mut self.mode) else { return };
            let index = pool.plan.index;
            let needed = |other: &Pool| other.is_alive() && other.after().contains(&index);
            let waits = pool.is_workers() || (pool.is_app() && any_worker) || self.pools.iter().any(needed);
            if stop.fast || waits || stop.told.contains(&index) {
                continue;
            }
            stop.told.push(index);
            let left = stop.end.since(now);
            // The pools that the daemon comes `after` shall have time, too.
            let is_before = |other: &Pool| other.is_alive() && pool.after().contains(&other.plan.index);
            let shares = self.pools.iter().any(is_before);
            let until = now.after(if shares { left / 2 } else { left });
            let drain = Event::Drain { within: bound(until, now), hurry: true, until };
            for position in self.positions_in(at, |_| true) {
                self.order(position, drain.clone(), now);
            }
        }
    }

    /// Tells the master to exit once nothing lives. What does not die is left behind, and makes it a failure.
    pub(super) fn finish_stop(&mut self) {
        if self.pools.iter().any(Pool::is_alive) {
            return;
        }
        let left = self.abandoned() > 0;
        if let Mode::Stopping(stop) = &mut self.mode {
            stop.over = true;
            let code = if left { 1 } else { stop.code };
            self.tell(Output::Exit { code });
        }
    }

    fn stop_gracefully(&mut self, now: Time) {
        let within = self.plan.shutdown_timeout;
        let until = now.after(within + DRAIN_GRACE);
        self.mode = Mode::Stopping(Stop::by(until, false, 0));
        self.forget_wishes();
        // Apps go on, also those that boot: requests that run may wait for them.
        let workers = self.pools.iter().position(Pool::is_workers);
        let drain = Event::Drain { within, hurry: true, until };
        for position in workers.map(|at| self.positions_in(at, |_| true)).unwrap_or_default() {
            self.order(position, drain.clone(), now);
        }
    }

    fn stop_fast(&mut self, code: u8, now: Time) {
        let until = now.after(FAST_GRACE);
        self.mode = Mode::Stopping(Stop::by(until, true, code));
        self.forget_wishes();
        self.order_all(|_| true, &Event::Kill { until }, now);
    }

    /// Ends a reload that is under way or waits, and what it booted.
    fn leave_mode(&mut self, why: &str, now: Time) {
        self.cancel_reload(why);
        self.cancel_upgrade();
        self.order_all(
            |state| is_new(state) || is_relief(state),
            &Event::Kill { until: now.after(FAST_GRACE) },
            now,
        );
    }

    /// Nothing is filled or tried again any more.
    fn forget_wishes(&mut self) {
        for pool in &mut self.pools {
            pool.target = 0;
            pool.next = None;
            pool.sample = None;
            pool.calm = None;
            pool.measure = None;
            pool.relief_at = None;
            pool.dismissed.clear();
            for slot in &mut pool.slots {
                if matches!(slot.state, State::Empty { .. }) {
                    slot.state = State::EMPTY;
                }
            }
        }
    }

    fn unwatch(&mut self) {
        if self.watching {
            self.watching = false;
            self.tell(Output::Watch(false));
        }
    }

    /// The same event for every slot in such a state.
    pub(super) fn order_all(&mut self, which: impl Fn(&State) -> bool, event: &Event, now: Time) {
        for position in self.positions(which) {
            self.order(position, event.clone(), now);
        }
    }
}

/// What is left of the bound, for a child that should leave by itself before it.
fn bound(until: Time, now: Time) -> Duration {
    until.since(now).saturating_sub(DRAIN_GRACE).max(Duration::from_millis(100))
}
