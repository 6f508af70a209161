//! One pool: the slots of the workers, of one app or of one daemon, and what is counted in them.

use super::backoff::LONGEST_WAIT;
use super::slot::{Cause, Role, Slot, State};
use super::{ChildId, PoolIndex, PoolPlan, PoolState};
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pool of the workers.
pub(super) const WORKERS: PoolIndex = 0;
/// An idle time below this would do nothing but look.
const SHORTEST_IDLE: Duration = Duration::from_millis(100);

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pool {
    /// What the current generation wants.
    pub(super) plan: PoolPlan,
    /// What the generation that is being booted wants.
    pub(super) next: Option<PoolPlan>,
    /// How many gates of `plan` have succeeded, and of `next`.
    #[serde(default)]
    pub(super) passed: [usize; 2],
    /// Whether the current plan has it.
    #[serde(rename = "standing")]
    pub(super) listing: Listing,
    /// Stopped by hand: how many processes it had at least before.
    #[serde(default)]
    pub(super) stopped: Option<u32>,
    /// How many processes it should have now, from `min` to `max` of its plan.
    pub(super) target: u32,
    /// By number; a number is free if its slot is empty.
    pub(super) slots: Vec<Slot>,
    /// Processes that KILL has not ended.
    #[serde(default)]
    pub(super) abandoned: Vec<Abandoned>,
    /// When to look whether it is idle.
    pub(super) sample: Option<Time>,
    /// When it gives one process up, unless one of them has work until then.
    pub(super) calm: Option<Time>,
    /// When to look how much memory its processes have.
    pub(super) measure: Option<Time>,
    /// Processes that are to be replaced although they serve.
    pub(super) worn: Vec<Worn>,
    /// Reliefs in a row that failed.
    pub(super) relief: super::backoff::Backoff,
    /// No other relief is tried before then.
    pub(super) relief_at: Option<Time>,
    /// Processes of a daemon that are to leave, told so or not yet.
    pub(super) dismissed: Vec<ChildId>,
    /// What requests were told last.
    pub(super) published: Option<PoolState>,
    /// Processes started in place of one that died or hung, not of one that was to be replaced.
    pub(super) restarts: u64,
    /// How the last process ended that was not told to.
    pub(super) last_exit: Option<String>,
    /// Its code was edited, and what follows from that goes on.
    #[serde(default)]
    pub(super) edited: bool,
    /// Its code is watched and did not start, and no process has become ready since.
    #[serde(default)]
    pub(super) trouble: Option<Trouble>,
}

/// What code that is watched has said instead of starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub(super) since: Time,
    /// A traceback, mostly.
    pub(super) text: String,
}

/// A process that does not die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Abandoned {
    /// Its name between supervisor and master.
    pub(super) child: ChildId,
    /// Its process id.
    pub(super) pid: u32,
    /// The slot that it was in.
    pub(super) slot: u16,
    /// Its generation.
    pub(super) generation: u32,
    /// When it was started.
    pub(super) started: Time,
    /// When it was given up.
    pub(super) since: Time,
}

/// A process that is to be replaced although it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Worn {
    pub(super) child: ChildId,
    pub(super) reason: String,
    /// Worn only by a restart by command, and no longer than that goes on.
    #[serde(default)]
    pub(super) restart: bool,
}

impl Worn {
    /// For good.
    pub(super) fn new(child: ChildId, reason: &str) -> Self {
        Self { child, reason: reason.to_owned(), restart: false }
    }
}

/// Whether the current plan has a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Listing {
    /// The plan has it.
    Listed,
    /// Not yet: a reload boots it.
    Coming,
    /// Not any more; its processes serve the last requests of older workers.
    Vanished {
        /// First generation without it.
        generation: u32,
        /// When that generation was switched to.
        since: Time,
    },
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub(super) fn new(plan: PoolPlan, listing: Listing) -> Self {
        Self {
            plan,
            next: None,
            passed: [0; 2],
            listing,
            stopped: None,
            target: 0,
            slots: Vec::new(),
            abandoned: Vec::new(),
            sample: None,
            calm: None,
            measure: None,
            worn: Vec::new(),
            relief: super::backoff::Backoff::default(),
            relief_at: None,
            dismissed: Vec::new(),
            published: None,
            restarts: 0,
            last_exit: None,
            edited: false,
            trouble: None,
        }
    }

    /// `worker`, `app shop`, `daemon celery`.
    #[must_use]
    pub(super) fn label(&self) -> String {
        if self.is_workers() {
            return "worker".to_owned();
        }
        format!("{} {}", if self.is_daemon() { "daemon" } else { "app" }, self.plan.name)
    }

    /// Whether these are the workers.
    #[must_use]
    pub(super) fn is_workers(&self) -> bool {
        self.plan.index == WORKERS
    }

    /// Whether the current plan has it.
    #[must_use]
    pub(super) fn is_listed(&self) -> bool {
        self.listing == Listing::Listed
    }

    /// How many slots are in such a state.
    pub(super) fn count(&self, which: impl Fn(&State) -> bool) -> u32 {
        u32::try_from(self.slots.iter().filter(|slot| which(&slot.state)).count()).unwrap_or(u32::MAX)
    }

    /// Positions of the slots in such a state.
    pub(super) fn positions(&self, which: impl Fn(&State) -> bool) -> Vec<usize> {
        self.slots.iter().enumerate().filter(|(_, slot)| which(&slot.state)).map(|(at, _)| at).collect()
    }

    /// Current processes that boot or serve.
    #[must_use]
    pub(super) fn active(&self) -> u32 {
        self.count(|state| state.role() == Some(Role::Current))
    }

    /// Current processes that serve.
    #[must_use]
    pub(super) fn ready(&self) -> u32 {
        self.count(is_serving)
    }

    /// Places taken: active ones, and those that failed and will be tried again.
    #[must_use]
    pub(super) fn places(&self) -> u32 {
        self.count(|state| state.role() == Some(Role::Current) || is_failing(state) || is_waiting(state))
    }

    /// Whether a boot is on its way or failed: no other one is begun on demand.
    #[must_use]
    pub(super) fn is_unsettled(&self) -> bool {
        self.places() > self.ready()
    }

    /// Whether any process lives that is not given up.
    #[must_use]
    pub(super) fn is_alive(&self) -> bool {
        self.slots.iter().any(|slot| slot.state.process().is_some())
    }

    /// The number of a slot that can be filled; a new one if all are in use.
    pub(super) fn free(&mut self) -> usize {
        if let Some(at) = self.slots.iter().position(|slot| slot.state == State::EMPTY) {
            return at;
        }
        // 65,535 living processes of a pool are not reached: a plan's `max` is far below.
        self.slots.push(Slot::new(u16::try_from(self.slots.len()).unwrap_or(u16::MAX)));
        self.slots.len() - 1
    }

    /// End of the earliest back-off.
    #[must_use]
    pub(super) fn retry(&self) -> Option<Time> {
        self.slots
            .iter()
            .filter_map(|slot| match slot.state {
                State::Empty { retry } => retry,
                _ => None,
            })
            .min()
    }

    /// Whether the next process to come replaces one that had been able to serve: requests wait for it.
    fn crashed(&self) -> bool {
        let next = self.slots.iter().filter_map(|slot| match slot.state {
            State::Empty { retry } => retry.map(|retry| (retry, slot.backoff.was_ready())),
            _ => None,
        });
        next.min_by_key(|(retry, _)| *retry).is_some_and(|(_, was_ready)| was_ready)
    }

    /// What requests that wait for it should know. `stopping`: the server stops until then, so nothing boots any more.
    #[must_use]
    pub(super) fn state(&self, stopping: Option<Time>) -> PoolState {
        if self.count(is_open) > 0 {
            return PoolState::Serving;
        }
        if self.stopped.is_some() {
            return PoolState::Stopped;
        }
        if self.active() > 0 || self.count(is_failing) > 0 {
            return PoolState::Booting;
        }
        if stopping.is_none() && self.is_listed() && self.crashed() {
            return PoolState::Booting;
        }
        let retry = match (stopping, self.listing) {
            (Some(end), _) => Some(end),
            (None, Listing::Vanished { since, .. }) => Some(since.after(LONGEST_WAIT)),
            (None, Listing::Listed | Listing::Coming) => self.retry(),
        };
        retry.map_or(PoolState::Asleep, |retry| PoolState::Failed { retry })
    }

    /// How long it must have been idle to shrink.
    #[must_use]
    pub(super) fn idle(&self) -> Duration {
        self.plan.upkeep.idle.max(SHORTEST_IDLE)
    }

    /// Whether it has more than it needs when nobody asks, and all of them serve.
    #[must_use]
    pub(super) fn could_shrink(&self) -> bool {
        let more = self.ready() > self.plan.processes.min;
        self.is_listed() && !self.is_daemon() && more && !self.is_unsettled()
    }

    /// The earliest of all timers.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Time> {
        let own = earliest(earliest(self.sample, self.calm), earliest(self.measure, self.relief_at));
        let slots = self.slots.iter().map(|slot| slot.state.deadline()).fold(own, earliest);
        earliest(slots, self.next_outlived())
    }
}

/// Serves, or will at once.
pub(super) fn is_serving(state: &State) -> bool {
    matches!(state, State::Ready { role: Role::Current, .. })
}

/// Accepts connections or requests.
pub(super) fn is_open(state: &State) -> bool {
    matches!(state, State::Ready { process, .. } if process.opened)
}

/// The place is kept until a back-off ends.
pub(super) fn is_waiting(state: &State) -> bool {
    matches!(state, State::Empty { retry: Some(_) })
}

/// Failed, has not ended yet, and will be tried again.
pub(super) fn is_failing(state: &State) -> bool {
    matches!(state.cause(), Some(Cause::Failed { role: Role::Current, .. }))
}

/// Was told to go.
pub(super) fn is_leaving(state: &State) -> bool {
    matches!(state, State::Draining { .. } | State::Killing { .. } | State::Killed { .. })
}

/// Boots beside a worn process, or failed to.
pub(super) fn is_relief(state: &State) -> bool {
    match (state, state.cause()) {
        (State::Booting { role, .. }, _) | (_, Some(Cause::Failed { role, .. })) => *role == Role::Relief,
        _ => false,
    }
}

/// Boots for a new generation or to prove that it does.
pub(super) fn is_new(state: &State) -> bool {
    let failed = match state.cause() {
        Some(Cause::Failed { role, .. }) => Some(*role),
        Some(Cause::Ordered) | None => None,
    };
    matches!(state.role().or(failed), Some(Role::Next | Role::Proof))
}
