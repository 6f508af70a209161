//! Processes that KILL does not end: one that waits in the kernel for what never answers (a file system whose server has
//! gone), or whose end a tracer must take note of first (ptrace(2)). Nothing can be done about them, so nothing waits for
//! them: some seconds after KILL such a process is *given up*. Its place is filled again, a stop ends without it and says
//! so, and it is taken note of when it ends after all.
//!
//! Each of them still holds what it has (memory, a row of the board), so a pool has at most [`MOST`]; then nothing more of
//! it starts, which is told like any start that fails, with the same back-off.

use super::machine::{Position, Supervisor};
use super::pool::Abandoned;
use super::slot::{Event, Process};
use super::{ChildId, Level, Output, PoolIndex};
use crate::timer::Time;

/// Processes of one pool that are given up at a time.
pub(super) const MOST: usize = 16;

impl Supervisor {
    /// KILL has not ended the process: its slot is free for another one.
    pub(super) fn abandon(&mut self, position: Position, process: Process, now: Time) {
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        let Some(slot) = pool.slots.get(position.slot) else { return };
        let Process { child, pid, generation, spawned: started, .. } = process;
        let (pid, slot) = (pid.unwrap_or(0), slot.number);
        pool.abandoned.push(Abandoned { child, pid, slot, generation, started, since: now });
        self.tell(Output::Abandon { child });
    }

    /// An event of a process that was given up: it has ended after all. False: the child is none of those.
    pub(super) fn forget_abandoned(&mut self, child: ChildId, event: &Event) -> bool {
        for pool in &mut self.pools {
            let Some(at) = pool.abandoned.iter().position(|known| known.child == child) else { continue };
            if let Event::Exited(exit) = event {
                let Abandoned { slot, pid, .. } = pool.abandoned.remove(at);
                let text =
                    format!("{} {slot} (process {pid}), which did not die, has ended: {exit}", pool.label());
                self.note(Level::Info, text);
            }
            return true;
        }
        false
    }

    /// Refuses starts in pools of which [`MOST`] processes do not die; whether there were any.
    pub(super) fn refuse_boots(&mut self, now: Time) -> bool {
        let is_full = |index: PoolIndex| {
            let pool = self.pool_at(index).and_then(|at| self.pools.get(at));
            pool.is_some_and(|pool| pool.abandoned.len() >= MOST)
        };
        let asked = self.outputs.iter().filter_map(|output| match output {
            Output::Spawn { child, pool, .. } if is_full(*pool) => self.position_of(*child),
            _ => None,
        });
        let refused: Vec<Position> = asked.collect();
        for position in &refused {
            let reason = format!("{MOST} processes of it do not die, although KILL was sent to them");
            self.order(*position, Event::ForkFailed(reason), now);
        }
        !refused.is_empty()
    }

    /// How many processes do not die.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.pools.iter().map(|pool| pool.abandoned.len()).sum()
    }
}
