//! Apps whose code is watched: an edit replaces their processes as `restart` does, but it may come while one boots, whose code
//! is then old before it serves, or while the app is down for want of this edit.

use super::machine::Supervisor;
use super::slot::{Event, Role, State, TERM_GRACE};
use super::{PoolIndex, Ticket};
use crate::timer::Time;

/// Nobody waits for the end.
const NOBODY: Ticket = Ticket(u64::MAX);

impl Supervisor {
    /// The code of an app has changed.
    pub(super) fn on_edited(&mut self, index: PoolIndex, now: Time) {
        let Some(at) = self.pool_at(index) else { return };
        if !self.pools.get(at).is_some_and(|pool| pool.is_listed() && pool.is_app() && pool.stopped.is_none())
        {
            return;
        }
        let boots =
            |state: &State| matches!(state, State::Booting { role: Role::Current | Role::Relief, .. });
        for position in self.positions_in(at, boots) {
            self.order(position, Event::Kill { until: now.after(TERM_GRACE) }, now);
        }
        self.begin_roll(NOBODY, at, "its code has changed", now);
    }
}
