//! What `status` shows: the state as it is, read-only.

use super::machine::{Mode, Supervisor};
use super::pool::{Abandoned, Pool};
use super::slot::{Cause, Slot, State};
use super::{ChildId, PoolIndex, PoolState};
use crate::timer::Time;

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Its number; 0: the workers.
    pub index: PoolIndex,
    /// `worker`, or the name of the app or daemon.
    pub(crate) name: String,
    /// It is a daemon.
    pub(crate) daemon: bool,
    /// What must be ready before it starts, by name.
    pub(crate) waits_for: Vec<String>,
    /// As [`super::PoolState`]; also of the workers.
    pub state: PoolState,
    /// Wanted at least and at most (with TTIN and TTOU).
    pub wanted: (u32, u32),
    /// Processes started in place of one that died or hung, since the master started.
    pub(crate) restarts: u64,
    /// How the last process ended that was not told to.
    pub last_exit: Option<String>,
    /// When the next attempt comes, while backing off.
    pub retry: Option<Time>,
    /// Processes that are to be replaced although they serve.
    pub worn: u32,
    /// Its living processes, by slot.
    pub children: Vec<ChildView>,
    /// Processes that do not die.
    pub abandoned: Vec<Abandoned>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildView {
    /// Its name between supervisor and master.
    pub child: ChildId,
    /// Its process id, once it was forked.
    pub pid: Option<u32>,
    /// Its slot.
    pub(crate) slot: u16,
    /// Its generation.
    pub generation: u32,
    /// `booting`, `ready`, `draining`, `killing`.
    pub state: &'static str,
    /// When it was started.
    pub(crate) since: Time,
    /// Processes started in this slot in place of one that died.
    pub(crate) restarts: u64,
    /// How the last one in this slot ended that was not told to.
    pub(crate) last_exit: Option<String>,
}

impl Supervisor {
    /// `starting`, `running`, `asleep`, `reloading`, `upgrading` or `stopping`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match &self.mode {
            Mode::Starting(_) => "starting",
            Mode::Running if self.watching => "asleep",
            Mode::Running => "running",
            Mode::Reloading(_) => "reloading",
            Mode::Upgrading(_) => "upgrading",
            Mode::Stopping(_) => "stopping",
        }
    }

    /// The current generation, from 1.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Why the last reload failed, if it did.
    #[must_use]
    pub(crate) fn last_reload_error(&self) -> Option<&str> {
        self.last_reload_error.as_deref()
    }

    /// Why the last upgrade failed, if it did.
    #[must_use]
    pub fn last_upgrade_error(&self) -> Option<&str> {
        self.last_upgrade_error.as_deref()
    }

    /// Whether a process of the pool serves, and would go on if a new one could not.
    #[must_use]
    pub(crate) fn serves(&self, pool: PoolIndex) -> bool {
        self.pool_at(pool).and_then(|at| self.pools.get(at)).is_some_and(|pool| pool.ready() > 0)
    }

    /// Workers first, then apps, then daemons by number; also pools that have left the plan while a process of them lives.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolView> {
        let view = |pool: &Pool| PoolView { waits_for: self.waits_for(pool), ..PoolView::of(pool) };
        self.pools.iter().map(view).collect()
    }
}

impl PoolView {
    fn of(pool: &Pool) -> Self {
        Self {
            index: pool.plan.index,
            name: pool.plan.name.clone(),
            daemon: pool.is_daemon(),
            waits_for: Vec::new(),
            state: pool.state(None),
            wanted: (pool.plan.min, pool.plan.max),
            restarts: pool.restarts,
            last_exit: pool.last_exit.clone(),
            retry: pool.retry(),
            worn: u32::try_from(pool.worn.len()).unwrap_or(u32::MAX),
            children: pool.slots.iter().filter_map(|slot| ChildView::of(slot, pool.is_daemon())).collect(),
            abandoned: pool.abandoned.clone(),
        }
    }
}

impl ChildView {
    fn of(slot: &Slot, daemon: bool) -> Option<Self> {
        let process = slot.state.process()?;
        let state = match slot.state {
            State::Empty { .. } => return None,
            State::Booting { .. } => "booting",
            State::Ready { .. } => "ready",
            State::Draining { .. } => "draining",
            // It got its stop signal and may take its time.
            State::Killing { cause: Cause::Ordered, .. } if daemon => "draining",
            State::Killing { .. } | State::Killed { .. } => "killing",
        };
        Some(Self {
            child: process.child,
            pid: process.pid,
            slot: slot.number,
            generation: process.generation,
            state,
            since: process.spawned,
            restarts: slot.restarts,
            last_exit: slot.last_exit.clone(),
        })
    }
}
