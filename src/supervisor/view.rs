//! What `status` shows: the state as it is, read-only.

use super::machine::{Mode, Supervisor};
use super::pool::{Abandoned, Pool};
use super::slot::{Cause, Slot, State};
use super::{PoolIndex, PoolState};
use crate::control::command::{ChildStatus, PoolStatus, Unkillable};
use crate::timer::Time;

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

    /// Workers first, then apps, then daemons by name; also pools that have left the plan while a process of them lives. What
    /// only the system or the board knows is missing.
    #[must_use]
    pub fn pools(&self, now: Time) -> Vec<PoolStatus> {
        let mut pools: Vec<&Pool> = self.pools.iter().collect();
        pools.sort_by_key(|pool| (pool.plan.index > 0, pool.is_daemon(), pool.plan.name.clone()));
        pools.into_iter().map(|pool| self.pool_status(pool, now)).collect()
    }

    fn pool_status(&self, pool: &Pool, now: Time) -> PoolStatus {
        let waits_for = self.waits_for(pool);
        let state = match pool.state(None) {
            _ if !waits_for.is_empty() => "waiting",
            PoolState::Stopped => "stopped",
            PoolState::Asleep if pool.is_daemon() => "stopped",
            PoolState::Asleep => "asleep",
            PoolState::Booting => "starting",
            PoolState::Serving => "ready",
            PoolState::Failed { .. } => "failed",
        };
        let kind = match (pool.is_workers(), pool.is_daemon()) {
            (true, _) => "workers",
            (_, true) => "daemon",
            (_, false) => "app",
        };
        PoolStatus {
            name: pool.plan.name.clone(),
            kind: kind.to_owned(),
            state: state.to_owned(),
            waits_for,
            processes: (pool.plan.processes.min, pool.plan.processes.max),
            worn: u32::try_from(pool.worn.len()).unwrap_or(u32::MAX),
            restarts: pool.restarts,
            last_exit: pool.last_exit.clone(),
            retry_in_ms: pool.retry().map(|retry| retry.since(now).as_millis() as u64),
            requests: None,
            children: pool.slots.iter().filter_map(|slot| slot.status(pool.is_daemon(), now)).collect(),
            unkillable: pool.abandoned.iter().map(|process| process.status(now)).collect(),
            templates: Vec::new(),
        }
    }
}

impl Slot {
    fn status(&self, daemon: bool, now: Time) -> Option<ChildStatus> {
        let process = self.state.process()?;
        Some(ChildStatus {
            pid: process.pid.unwrap_or(0),
            number: self.number,
            generation: process.generation,
            state: self.state.shown(daemon)?.to_owned(),
            uptime_seconds: now.since(process.spawned).as_secs(),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            ..ChildStatus::default()
        })
    }
}

impl State {
    /// As `status` calls it; `None`: there is no process.
    pub(super) fn shown(&self, daemon: bool) -> Option<&'static str> {
        Some(match self {
            Self::Empty { .. } => return None,
            Self::Booting { .. } => "booting",
            Self::Ready { .. } => "ready",
            Self::Draining { .. } => "draining",
            // It got its stop signal and may take its time.
            Self::Killing { cause: Cause::Ordered, .. } if daemon => "draining",
            Self::Killing { .. } | Self::Killed { .. } => "killing",
        })
    }
}

impl Abandoned {
    fn status(&self, now: Time) -> Unkillable {
        Unkillable {
            pid: self.pid,
            number: Some(self.slot),
            generation: self.generation,
            seconds: now.since(self.since).as_secs(),
            reason: String::new(),
        }
    }
}
