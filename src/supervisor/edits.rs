//! Apps whose code is watched: an edit replaces their processes as `restart` does, but it may come while one boots, whose code
//! is then old before it serves, or while the app is down for want of this edit.

use super::machine::{Mode, Supervisor};
use super::pool::{Trouble, is_open, is_relief};
use super::slot::{COULD_NOT_START, Event, Role, State, TERM_GRACE};
use super::{Output, PoolIndex};
use crate::timer::Time;

impl Supervisor {
    /// The code of an app has changed; only while nothing else is going on.
    pub(super) fn on_edited(&mut self, index: PoolIndex, now: Time) {
        let Some(at) = self.pool_at(index).filter(|_| matches!(self.mode, Mode::Running)) else { return };
        if !self.pools.get(at).is_some_and(|pool| pool.is_listed() && pool.is_app() && pool.stopped.is_none())
        {
            return;
        }
        let boots =
            |state: &State| matches!(state, State::Booting { role: Role::Current | Role::Relief, .. });
        for position in self.positions_in(at, boots) {
            self.order(position, Event::Kill { until: now.after(TERM_GRACE) }, now);
        }
        self.begin_roll(None, at, "its code has changed", now);
        if let Some(pool) = self.pools.get_mut(at) {
            pool.edited = true;
        }
    }

    /// Code has not started, for this reason. Whether it is the same as before.
    pub(super) fn trouble_with(&mut self, at: usize, reason: &str, now: Time) -> bool {
        let text = reason.strip_prefix(COULD_NOT_START).unwrap_or(reason);
        let Some(pool) = self.pools.get_mut(at).filter(|pool| pool.plan.watched) else { return false };
        let known = pool.trouble.as_ref().is_some_and(|trouble| trouble.text == text);
        pool.trouble = Some(Trouble { since: now, text: text.to_owned() });
        let pool = pool.plan.index;
        self.tell(Output::Trouble { pool });
        known
    }

    /// What is wrong with the app of a pool, and since when.
    #[must_use]
    pub fn trouble(&self, index: PoolIndex) -> Option<(Time, &str)> {
        let pool = self.pools.get(self.pool_at(index)?)?;
        pool.trouble.as_ref().map(|trouble| (trouble.since, trouble.text.as_str()))
    }

    /// Tells of edits that have come to their end, and forgets what was wrong with code of which a process serves by now.
    pub(super) fn settle_edits(&mut self) {
        for at in 0..self.pools.len() {
            let Some(pool) = self.pools.get_mut(at) else { return };
            if pool.edited && pool.worn.is_empty() && !pool.is_unsettled() && pool.count(is_relief) == 0 {
                pool.edited = false;
                // If it sleeps, the next request boots code of which nothing is known yet.
                let sleeps = pool.target == 0 && !pool.is_alive();
                self.outputs.push_back(Output::Renewed);
                if sleeps {
                    self.mend(at);
                }
            }
            let Some(pool) = self.pools.get(at) else { return };
            let Some(Trouble { since, .. }) = pool.trouble else { continue };
            let is_newer = |state: &State| {
                is_open(state) && matches!(state, State::Ready { since: ready, .. } if *ready > since)
            };
            if pool.count(is_newer) > 0 || !pool.plan.watched {
                self.mend(at);
            }
        }
    }

    fn mend(&mut self, at: usize) {
        let Some(pool) = self.pools.get_mut(at).filter(|pool| pool.trouble.is_some()) else { return };
        pool.trouble = None;
        let pool = pool.plan.index;
        self.tell(Output::Trouble { pool });
    }
}
