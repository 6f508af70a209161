//! The start: apps (and daemons, which nobody waits for) first, then workers, so that the first client meets a site that
//! works; or none at all, with the reason.

use super::machine::{Mode, Position, Supervisor};
use super::pool::is_serving;
use super::slot::{Role, State};
use super::{Level, Output, PoolIndex};
use crate::timer::Time;
use serde::{Deserialize, Serialize};

/// How far the start is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    /// The workers were begun.
    workers: bool,
    /// App pools whose first boot failed while none of their processes was Ready.
    failed: Vec<PoolIndex>,
}

impl Supervisor {
    /// Boots the apps and daemons: those that are never asleep, and one process of those that should prove that they
    /// boot, or pass their gates.
    pub(super) fn begin_start(&mut self, now: Time) {
        for at in 0..self.pools.len() {
            let Some(pool) = self.pools.get_mut(at) else { continue };
            if pool.is_workers() {
                continue;
            }
            // `fill` boots up to the target.
            pool.target = pool.plan.processes.min;
            if pool.plan.processes.min == 0 && (pool.plan.upkeep.prove || !pool.plan.before.is_empty()) {
                let slot = pool.free();
                self.boot(Position { pool: at, slot }, Role::Proof, now);
            }
        }
    }

    /// A boot failed before the server served.
    pub(super) fn start_refused(&mut self, at: usize, told: &str, now: Time) {
        self.note(Level::Error, told.to_owned());
        let apps = self.pools.iter().filter(|pool| pool.is_app()).count();
        let Some(pool) = self.pools.get(at) else { return };
        let (index, is_workers, serves) = (pool.plan.index, pool.is_workers(), pool.ready() > 0);
        let watched = self.pools.iter().any(|pool| pool.is_app() && pool.plan.watched);
        if pool.is_daemon() {
            // Sites serve without a daemon.
            if self.plan.all_or_nothing {
                self.abandon_start(now);
            }
            return;
        }
        let Mode::Starting(start) = &mut self.mode else { return };
        if !is_workers && !serves && !start.failed.contains(&index) {
            start.failed.push(index);
        }
        let failed = start.failed.len();
        // Who edits an app is shown what is wrong with it.
        if is_workers || (!watched && (failed == apps || (failed > 0 && self.plan.all_or_nothing))) {
            self.abandon_start(now);
        }
    }

    /// Goes on to the workers when every app is settled, and to Running when the workers are.
    pub(super) fn advance_start(&mut self, now: Time) {
        let Mode::Starting(start) = &self.mode else { return };
        let settled = self.pools.iter().all(|pool| {
            let proving = |state: &State| matches!(state, State::Booting { role: Role::Proof, .. });
            let left = |state: &State| matches!(state, State::Draining { .. });
            let booted = pool.plan.processes.min == 0 || pool.count(is_serving) > 0;
            let proved = pool.plan.processes.min > 0 || (pool.count(proving) == 0 && pool.count(left) == 0);
            let waited_for = pool.is_app() || (pool.is_daemon() && self.plan.all_or_nothing);
            !waited_for || start.failed.contains(&pool.plan.index) || (booted && proved)
        });
        if !settled {
            return;
        }
        if !start.workers {
            self.mode = Mode::Starting(Start { workers: true, failed: start.failed.clone() });
            if let Some(workers) = self.workers() {
                workers.target = workers.plan.processes.min;
            }
            self.fill(now);
        }
        let served = self.workers().is_none_or(|workers| {
            workers.target == 0 || (workers.ready() >= workers.target && !workers.is_unsettled())
        });
        if served {
            self.mode = Mode::Running;
            self.tell(Output::Started);
        }
    }
}
