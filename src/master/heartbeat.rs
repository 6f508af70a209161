//! Hung workers: a worker shows the number of the turn that it runs, and none while it polls. One that shows the same
//! turn over three of our own ticks and ten seconds is ended: ABRT (a core tells where it hangs), a second later KILL.
//! Three ticks, since after a suspended machine a long time passes in one. Pure: the loop carries out the verdicts.

use crate::supervisor::{ChildId, Kill};
use crate::timer::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two looks.
const TICK: Duration = Duration::from_secs(4);
/// How long one turn may take.
const HUNG: Duration = Duration::from_secs(10);
/// Ticks that must have seen it.
const TICKS: u32 = 3;
/// From ABRT to KILL.
const GRACE: Duration = Duration::from_secs(1);

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
    aborted: bool,
}

impl Heartbeat {
    /// When to look next, if there are workers.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Looks at each living worker and the turn it shows. Without workers it stops looking until called again.
    pub(super) fn look(
        &mut self,
        now: Time,
        workers: impl Iterator<Item = (ChildId, Option<u64>)>,
    ) -> Vec<(ChildId, Kill)> {
        let before = std::mem::take(&mut self.seen);
        let mut verdicts = Vec::new();
        let mut soon = false;
        let mut any = false;
        for (child, turn) in workers {
            any = true;
            let Some(turn) = turn else { continue };
            let known = before.get(&child).filter(|seen| seen.turn == turn);
            let mut seen = known.copied().unwrap_or(Seen { turn, since: now, ticks: 0, aborted: false });
            seen.ticks += 1;
            if seen.aborted {
                verdicts.push((child, Kill::Kill));
            } else if seen.ticks > TICKS && now.since(seen.since) >= HUNG {
                verdicts.push((child, Kill::Abort));
                seen.aborted = true;
                soon = true;
            }
            self.seen.insert(child, seen);
        }
        self.next = any.then(|| now.after(if soon { GRACE } else { TICK }));
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: ChildId = ChildId(7);

    /// Looks whenever it is due until `seconds` have passed.
    fn watch(seconds: u64, turn: impl Fn(u64) -> Option<u64>) -> Vec<(u64, Kill)> {
        let mut heartbeat = Heartbeat::default();
        let mut now = Time(1);
        let mut verdicts = Vec::new();
        while now.0 / 1_000_000_000 < seconds {
            let second = now.0 / 1_000_000_000;
            let found = heartbeat.look(now, [(WORKER, turn(second))].into_iter());
            verdicts.extend(found.into_iter().map(|(_, how)| (second, how)));
            now = heartbeat.deadline().unwrap();
        }
        verdicts
    }

    #[test]
    fn a_hung_worker_is_aborted_and_then_killed() {
        let verdicts = watch(14, |_| Some(5));
        assert_eq!(verdicts, [(12, Kill::Abort), (13, Kill::Kill)]);
    }

    #[test]
    fn a_busy_or_idle_worker_is_left_alone() {
        assert_eq!(watch(60, |second| Some(second / 8)), []);
        assert_eq!(watch(60, |_| None), []);
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
