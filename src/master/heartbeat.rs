//! Hung workers: a worker shows the number of the turn that it runs, and none while it polls. One that shows the same
//! turn over three of our own ticks and ten seconds hangs: the supervisor ends it. Three ticks, since after a suspended
//! machine a long time passes in one. Pure.

use crate::supervisor::ChildId;
use crate::timer::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks.
const TICK: Duration = Duration::from_secs(4);
/// How long one turn may take.
const HUNG: Duration = Duration::from_secs(10);
/// Ticks that must have seen it.
const TICKS: u32 = 3;

/// What was seen of the workers.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    seen: BTreeMap<ChildId, Seen>,
    next: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    turn: u64,
    since: Time,
    ticks: u32,
    told: bool,
}

impl Heartbeat {
    /// When to look next, if there are workers.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Looks at each living worker and the turn it shows: which of them hang, each told once. Without workers it stops
    /// looking until called again.
    pub(super) fn look(
        &mut self,
        now: Time,
        workers: impl Iterator<Item = (ChildId, Option<u64>)>,
    ) -> Vec<ChildId> {
        let before = std::mem::take(&mut self.seen);
        let mut hung = Vec::new();
        let mut any = false;
        for (child, turn) in workers {
            any = true;
            let Some(turn) = turn else { continue };
            let known = before.get(&child).filter(|seen| seen.turn == turn);
            let mut seen = known.copied().unwrap_or(Seen { turn, since: now, ticks: 0, told: false });
            seen.ticks += 1;
            if !seen.told && seen.ticks > TICKS && now.since(seen.since) >= HUNG {
                hung.push(child);
                seen.told = true;
            }
            self.seen.insert(child, seen);
        }
        self.next = any.then(|| now.after(TICK));
        hung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: ChildId = ChildId(7);

    /// Looks whenever it is due until `seconds` have passed.
    fn watch(seconds: u64, turn: impl Fn(u64) -> Option<u64>) -> Vec<u64> {
        let mut heartbeat = Heartbeat::default();
        let mut now = Time(1);
        let mut hung = Vec::new();
        while now.0 / 1_000_000_000 < seconds {
            let second = now.0 / 1_000_000_000;
            let found = heartbeat.look(now, [(WORKER, turn(second))].into_iter());
            hung.extend(found.into_iter().map(|_| second));
            now = heartbeat.deadline().unwrap();
        }
        hung
    }

    #[test]
    fn a_hung_worker_is_told_of_once() {
        assert_eq!(watch(60, |_| Some(5)), [12]);
    }

    #[test]
    fn a_busy_or_idle_worker_is_left_alone() {
        assert!(watch(60, |second| Some(second / 8)).is_empty());
        assert!(watch(60, |_| None).is_empty());
    }

    #[test]
    fn a_suspended_machine_is_no_hung_worker_and_no_worker_is_no_tick() {
        let mut heartbeat = Heartbeat::default();
        assert!(heartbeat.look(Time(1), [(WORKER, Some(5))].into_iter()).is_empty());
        let later = Time(1).after(Duration::from_secs(3600));
        assert!(heartbeat.look(later, [(WORKER, Some(5))].into_iter()).is_empty());
        assert!(heartbeat.look(later, std::iter::empty()).is_empty());
        assert_eq!(heartbeat.deadline(), None);
    }
}
