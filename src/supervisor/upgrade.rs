//! The upgrade: a trial of the new program, its execution in place, and then new workers, one after the other. Apps,
//! daemons and cron runs are untouched. What fails before the execution leaves everything as it was.
//!
//! ```text
//!  Running ──USR2──► Trying ──Tried(Ok)──► Executing ──Executed(Ok)──► Rolling ──► Running
//!                      │ Tried(Err), time      │ Executed(Err)           │ a worker does not come up, time
//!                      └───────────────────────┴─────────────────────────┴──────► Running, with the reason
//! ```

use super::machine::{Mode, Supervisor};
use super::pool::{Worn, is_serving};
use super::slot::{Role, State};
use super::{ChildId, Level, Output, exit};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The new program must have shown within this time that it works: it boots one worker, which takes a moment.
const TRIAL: Duration = Duration::from_secs(15);
/// So long the replacement of the workers counts as part of the upgrade; a reload that was asked for waits for it.
const ROLL: Duration = Duration::from_secs(60);

/// How far the upgrade is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Upgrade {
    /// The new program is tried, at the longest until then.
    Trying(Time),
    /// The master executes the new program.
    Executing,
    /// The new program runs; workers of the old one are replaced, at the longest until then.
    Rolling(Time),
}

impl Upgrade {
    /// When this step is not waited for any longer.
    pub(super) fn until(self) -> Option<Time> {
        match self {
            Self::Trying(until) | Self::Rolling(until) => Some(until),
            Self::Executing => None,
        }
    }

    /// The machine was suspended for so long.
    pub(super) fn postpone(&mut self, lost: Duration) {
        match self {
            Self::Trying(until) | Self::Rolling(until) => *until = until.after(lost),
            Self::Executing => {}
        }
    }
}

impl Supervisor {
    /// USR2: begins one as soon as what is going on is over.
    pub(super) fn on_upgrade(&mut self) {
        if !matches!(self.mode, Mode::Stopping(_)) {
            self.upgrade_queued = true;
        }
    }

    /// Only while Running.
    pub(super) fn begin_queued_upgrade(&mut self, now: Time) {
        if std::mem::take(&mut self.upgrade_queued) {
            self.mode = Mode::Upgrading(Upgrade::Trying(now.after(TRIAL)));
            self.tell(Output::Try);
        }
    }

    /// The trial has ended.
    pub(super) fn on_tried(&mut self, result: Result<(), String>) {
        if !matches!(self.mode, Mode::Upgrading(Upgrade::Trying(_))) {
            return;
        }
        match result {
            Ok(()) => {
                self.mode = Mode::Upgrading(Upgrade::Executing);
                self.tell(Output::Execute);
            }
            Err(reason) => self.end_upgrade(&format!("the new program failed its trial: {reason}")),
        }
    }

    /// Whether the master is to execute the new program; not if a stop came in between.
    pub(super) fn is_executing(&self) -> bool {
        matches!(self.mode, Mode::Upgrading(Upgrade::Executing))
    }

    /// The new program runs, or the old one still does.
    pub(super) fn on_executed(&mut self, result: Result<(), String>, now: Time) {
        if !matches!(self.mode, Mode::Upgrading(Upgrade::Executing)) {
            return;
        }
        match result {
            Ok(()) => {
                self.latest_generation += 1;
                self.generation = self.latest_generation;
                self.last_upgrade_error = None;
                self.mode = Mode::Upgrading(Upgrade::Rolling(now.after(ROLL)));
            }
            Err(reason) => self.end_upgrade(&format!("the new program did not start: {reason}")),
        }
    }

    /// Has the workers of the old program replaced; done when none of them serves any more.
    pub(super) fn advance_upgrade(&mut self) {
        let Mode::Upgrading(Upgrade::Rolling(_)) = self.mode else { return };
        let generation = self.generation;
        let Some(workers) = self.workers() else { return };
        let is_old = |state: &State| {
            state.role() == Some(Role::Current)
                && state.process().is_some_and(|process| process.generation < generation)
        };
        let old: Vec<ChildId> = workers
            .slots
            .iter()
            .filter(|slot| is_old(&slot.state) && is_serving(&slot.state) && !workers.is_worn(&slot.state))
            .filter_map(|slot| slot.state.process().map(|process| process.child))
            .collect();
        let reason = "the program was upgraded";
        workers.worn.extend(old.into_iter().map(|child| Worn::new(child, reason)));
        if workers.count(is_old) == 0 {
            self.mode = Mode::Running;
            self.note(Level::Info, format!("upgrade: generation {generation} serves"));
            self.tell(Output::Upgraded);
        }
    }

    /// A new worker cannot serve: the old ones go on, and the next attempt does not belong to the upgrade any more.
    pub(super) fn roll_refused(&mut self, at: usize, told: &str) {
        let is_workers = self.pools.get(at).is_some_and(super::pool::Pool::is_workers);
        if is_workers && matches!(self.mode, Mode::Upgrading(Upgrade::Rolling(_))) {
            self.end_roll(&format!("{told}; workers of the old program go on"));
        }
    }

    /// The bound of a trial, or of the replacement of workers.
    pub(super) fn upgrade_deadline(&mut self, now: Time) {
        let Mode::Upgrading(upgrade) = self.mode else { return };
        if upgrade.until().is_none_or(|until| now < until) {
            return;
        }
        match upgrade {
            Upgrade::Trying(_) => {
                self.tell(Output::GiveUp);
                self.end_upgrade(&format!("the new program was silent for {TRIAL:?} in its trial"));
            }
            Upgrade::Rolling(_) => self.end_roll("some workers of the old program are not replaced yet"),
            Upgrade::Executing => {}
        }
    }

    /// The server stops, or has failed to start.
    pub(super) fn cancel_upgrade(&mut self) {
        self.upgrade_queued = false;
        if let Mode::Upgrading(upgrade) = self.mode {
            self.mode = Mode::Running;
            if let Upgrade::Trying(_) = upgrade {
                self.tell(Output::GiveUp);
            }
        }
    }

    /// The old program goes on.
    fn end_upgrade(&mut self, reason: &str) {
        self.note(Level::Error, format!("upgrade failed, the old program goes on: {reason}"));
        self.give_reason(reason);
    }

    /// The new program goes on, with workers of the old one.
    fn end_roll(&mut self, reason: &str) {
        self.note(Level::Error, format!("upgrade: the new program runs, but {}", exit::headline(reason)));
        self.give_reason(reason);
    }

    fn give_reason(&mut self, reason: &str) {
        self.mode = Mode::Running;
        self.last_upgrade_error = Some(reason.to_owned());
        self.tell(Output::Upgraded);
    }
}
