//! As many workers as there is work for, between `min` and `max`: one more while all are busy, one fewer when none has
//! been busy for `idle`. Whether the last one of a cheap pool leaves is decided in `scale`.

use super::machine::{Mode, Supervisor};
use super::pool::{Pool, is_serving};
use super::{ChildId, Level, Load};
use crate::timer::Time;

impl Supervisor {
    /// A worker says how busy it is.
    pub(super) fn on_load(&mut self, child: ChildId, load: Load) {
        let Some(position) = self.position_of(child) else { return };
        let slot = self.pools.get_mut(position.pool).and_then(|pool| pool.slots.get_mut(position.slot));
        if let Some(process) = slot.and_then(|slot| slot.state.process_mut()) {
            process.load = load;
        }
    }

    /// Derives how many workers there should be from how busy they are.
    pub(super) fn adapt(&mut self, now: Time) {
        let running = matches!(self.mode, Mode::Running);
        let Some(workers) = self.workers().filter(|workers| running && workers.is_settled()) else { return };
        let count = workers.target;
        if workers.least_load() == Some(Load::High) && count < workers.plan.processes.max {
            workers.target += 1;
            let all = if count == 1 { "the only one is".to_owned() } else { format!("all {count} are") };
            self.note(Level::Info, format!("worker: {all} busy: one more"));
        } else if workers.has_surplus() && workers.calm.is_some_and(|due| due <= now) {
            workers.target -= 1;
            workers.calm = None;
        }
    }

    /// Derives when one worker fewer is enough; after `fill`.
    pub(super) fn await_calm(&mut self, now: Time) {
        let running = matches!(self.mode, Mode::Running);
        let Some(workers) = self.workers() else { return };
        workers.calm = match workers.calm {
            _ if !(running && workers.is_settled() && workers.has_surplus()) => None,
            None => Some(now.after(workers.idle())),
            due => due,
        };
    }
}

impl Pool {
    /// As many serve as should.
    fn is_settled(&self) -> bool {
        self.is_listed() && !self.is_unsettled() && self.target == self.ready()
    }

    /// Whether one worker fewer would do.
    fn has_surplus(&self) -> bool {
        self.target > self.plan.processes.min.max(1) && self.loads().max() == Some(Load::Low)
    }

    fn loads(&self) -> impl Iterator<Item = Load> {
        let serving = self.slots.iter().filter(|slot| is_serving(&slot.state));
        serving.filter_map(|slot| slot.state.process()).map(|process| process.load)
    }

    fn least_load(&self) -> Option<Load> {
        self.loads().min()
    }
}
