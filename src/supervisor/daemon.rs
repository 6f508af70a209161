//! Daemons: pools of programs that know nothing of us. They differ from apps in five ways, and only in these:
//!
//! - nothing is heard from them, so a process that has lived for `boot_timeout` (its `ready_after`) is Ready;
//! - they are ended with their stop signal and, after `stop_timeout`, KILL: every order to drain becomes that here;
//! - they may put themselves to the background, out of reach: one that ends with 0 within [`SOON`] has failed to boot;
//! - they start after what they come `after`, and leave before it;
//! - a reload does not boot them beside the old ones: at the switch the old ones are *dismissed*, and the places that
//!   they leave are filled from the new configuration. Thus a reload that fails never touched them, and what must not
//!   run twice (a scheduler, whoever binds a port) never does, unless it says `overlap`.
//!
//! None of them is needed for a site to serve: a start waits for them only with `start: AllOrNothing`, a reload never.

use super::machine::{Position, Supervisor};
use super::pool::{Listing, Pool, is_failing, is_leaving, is_waiting};
use super::slot::{Event, State};
use super::{ChildId, Exit, Output, PoolIndex};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A program that goes to the background does so soon after its start.
const SOON: Duration = Duration::from_secs(10);

/// What a daemon's plan has besides that of any pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonPlan {
    /// Pools that are Ready before it starts, and leave after it.
    pub after: Vec<PoolIndex>,
    /// New processes need not wait until the old ones have left.
    pub overlap: bool,
    /// What becomes of its processes when this plan takes the place of another one.
    pub on_reload: OnReload,
}

/// What a reload does with the processes of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnReload {
    /// Nothing of them has changed.
    Keep,
    /// Their code or configuration may have changed.
    Replace,
    /// They read their code and configuration again when they get their reload signal.
    Signal,
}

impl Supervisor {
    /// The event as a slot of a daemon takes it: told to leave, the process gets its stop signal and then KILL, on its
    /// own time; `hurry` bounds that. One that was not told to and ends without a failure, just after its start, has
    /// most likely gone to the background.
    pub(super) fn fitting(&self, position: Position, event: Event, now: Time) -> Event {
        let Some(pool) = self.pools.get(position.pool) else { return event };
        let Some(slot) = pool.slots.get(position.slot).filter(|_| pool.is_daemon()) else { return event };
        match (event, &slot.state) {
            (Event::Drain { within, hurry, until }, state) => {
                let own = now.after(pool.plan.upkeep.stop_timeout);
                let until = if hurry { own.min(until) } else { own };
                // A second signal might mean something else to the program.
                let told = matches!(state, State::Killing { .. });
                if told { Event::Drain { within, hurry, until } } else { Event::Kill { until } }
            }
            (Event::Time, State::Booting { process, .. }) if process.pid.is_some() => Event::Ready,
            (Event::Exited(Exit::Code(0)), State::Booting { process, .. } | State::Ready { process, .. })
                if now.since(process.spawned) <= SOON =>
            {
                Event::Background
            }
            (event, _) => event,
        }
    }

    /// Whether every pool that this one comes `after` is there. A pool that is asleep is not waited for.
    pub(super) fn may_start(&self, at: usize) -> bool {
        let may = |pool: &Pool| pool.after().iter().all(|index| self.is_up(*index)) && !self.is_closed(pool);
        self.pools.get(at).is_none_or(may)
    }

    fn is_up(&self, index: PoolIndex) -> bool {
        let pool = self.pool_at(index).and_then(|at| self.pools.get(at));
        pool.is_none_or(|pool| {
            pool.plan.processes.min == 0 || (pool.ready() > 0 && pool.dismissed.is_empty())
        })
    }

    /// What the pool waits for before it starts, for `status`.
    pub(super) fn waits_for(&self, pool: &Pool) -> Vec<String> {
        if pool.places() > 0 || pool.target == 0 {
            return Vec::new();
        }
        let missing = pool.after().iter().filter(|index| !self.is_up(**index));
        let found = missing.filter_map(|index| self.pool_at(*index).and_then(|at| self.pools.get(at)));
        found.map(|pool| pool.plan.name.clone()).collect()
    }

    /// The old processes of a restart have gone: whether new ones have taken their place, or cannot. `None`: not yet.
    pub(super) fn started_again(&self, pool: Option<&Pool>) -> Option<Result<(), String>> {
        pool.filter(|pool| pool.is_daemon()).map_or(Some(Ok(())), |pool| self.is_complete(pool))
    }

    /// Whether all processes of a pool serve, or cannot. `None`: not yet.
    pub(super) fn is_complete(&self, pool: &Pool) -> Option<Result<(), String>> {
        if pool.ready() >= pool.target {
            return Some(Ok(()));
        }
        let missing = self.waits_for(pool);
        if !missing.is_empty() {
            return Some(Err(format!("{} waits for {}", pool.label(), missing.join(", "))));
        }
        let reason = pool.last_exit.as_deref().unwrap_or("it does not start");
        pool.retry().map(|_| Err(format!("{}: {reason}", pool.label())))
    }

    /// The switch of a reload, as the daemons of the new plan and those that are not in it see it.
    pub(super) fn reload_daemons(&mut self) {
        for at in 0..self.pools.len() {
            let Some(pool) = self.pools.get(at) else { return };
            let Some(daemon) = &pool.plan.daemon else { continue };
            let gone = matches!(pool.listing, Listing::Vanished { .. });
            match daemon.on_reload {
                _ if gone => self.dismiss(at),
                OnReload::Keep => {}
                OnReload::Replace => self.dismiss(at),
                OnReload::Signal => self.signal_reload(at),
            }
        }
    }

    /// A process that is just starting may not know the signal yet, so it is replaced.
    fn signal_reload(&mut self, at: usize) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        let mut ready = Vec::new();
        for slot in &pool.slots {
            match &slot.state {
                State::Ready { process, .. } => ready.push(process.child),
                State::Booting { process, .. } => pool.dismissed.push(process.child),
                State::Empty { .. }
                | State::Draining { .. }
                | State::Killing { .. }
                | State::Killed { .. } => {}
            }
        }
        pool.forget_deaths();
        ready.into_iter().for_each(|child| self.tell(Output::Reload { child }));
    }

    /// Every process of the pool is to leave; what takes its place has deserved no back-off yet.
    pub(super) fn dismiss(&mut self, at: usize) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        for child in pool.coming() {
            if !pool.dismissed.contains(&child) {
                pool.dismissed.push(child);
            }
        }
        pool.forget_deaths();
    }

    /// Tells those that are dismissed to leave, once no dismissed process comes after them.
    pub(super) fn send_dismissed_away(&mut self, now: Time) {
        for pool in &mut self.pools {
            let living: Vec<ChildId> = pool
                .slots
                .iter()
                .filter_map(|slot| slot.state.process())
                .map(|process| process.child)
                .collect();
            pool.dismissed.retain(|child| living.contains(child));
        }
        for at in 0..self.pools.len() {
            let Some(pool) = self.pools.get(at) else { return };
            let index = pool.plan.index;
            let needed = |other: &Pool| other.after().contains(&index) && !other.dismissed.is_empty();
            if pool.dismissed.is_empty() || self.pools.iter().any(needed) {
                continue;
            }
            let stays = |state: &State| match state.process() {
                Some(process) => state.role().is_none() || !pool.dismissed.contains(&process.child),
                None => true,
            };
            let drain = self.drain_order(now);
            for position in self.positions_in(at, |state| !stays(state)) {
                self.order(position, drain.clone(), now);
            }
        }
    }
}

impl Pool {
    /// Whether it is a daemon.
    #[must_use]
    pub(super) fn is_daemon(&self) -> bool {
        self.plan.daemon.is_some()
    }

    /// Whether it is an app.
    #[must_use]
    pub(super) fn is_app(&self) -> bool {
        !self.is_workers() && !self.is_daemon()
    }

    /// Pools that it comes after.
    #[must_use]
    pub(super) fn after(&self) -> &[PoolIndex] {
        self.plan.daemon.as_ref().map_or(&[], |daemon| &daemon.after)
    }

    /// Places that cannot be filled yet, because the process that was in one still leaves.
    #[must_use]
    pub(super) fn held(&self) -> u32 {
        let exclusive = self.plan.daemon.as_ref().is_some_and(|daemon| !daemon.overlap);
        if exclusive { self.count(|state| is_leaving(state) && !is_failing(state)) } else { 0 }
    }

    /// Processes that boot or serve.
    #[must_use]
    pub(super) fn coming(&self) -> Vec<ChildId> {
        let coming = self.slots.iter().filter(|slot| slot.state.role().is_some());
        coming.filter_map(|slot| slot.state.process()).map(|process| process.child).collect()
    }

    /// Other code runs in the slots of the pool from now on: none has to wait for the end of a back-off.
    pub(super) fn forget_deaths(&mut self) {
        for slot in &mut self.slots {
            slot.backoff.reset();
            if is_waiting(&slot.state) {
                slot.state = State::EMPTY;
            }
        }
    }
}
