//! How much work a client may make that no answer comes of.
//!
//! Everything that costs a client little and us something is counted in one number: resets, settings, pings, updates of
//! windows, empty frames, refused and malformed requests. Answers and what is sent of them take it down, and so does time,
//! for connections that live for days. A limit for each kind would be a limit too many for somebody and none for who mixes
//! them (rapid reset, CVE-2023-44487; the floods of CVE-2019-9511 to 9518).

use crate::timer::Time;

/// More is not borne. A browser that throws away a page of a hundred pictures is far below.
const MOST: u32 = 4000;

/// What a second takes down.
const PER_SECOND: u64 = 100;

/// What makes work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A request that was begun for nothing: reset by the client, or by us for what it did.
    Wasted,
    /// A request above the limit of streams.
    Refused,
    Settings,
    Ping,
    /// A frame of DATA or of a block without content.
    Empty,
    /// All else that changes no more than a number, or nothing.
    Small,
}

impl Work {
    fn cost(self) -> u32 {
        match self {
            Self::Wasted | Self::Settings => 20,
            Self::Refused | Self::Ping | Self::Empty => 4,
            Self::Small => 1,
        }
    }
}

/// What a whole answer takes down, and what each frame of it: a client may tell for each that it has taken it, twice, and
/// measure with a ping how long that took.
const ANSWER: u32 = 20;
const FRAME: u32 = 8;
/// What is cut to less than this by windows takes nothing down: one SETTINGS can open those of all streams by a byte.
const WORTH: u64 = 256;

/// The number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    spent: u32,
    since: Time,
}

impl Budget {
    pub(super) fn new(now: Time) -> Self {
        Self { spent: 0, since: now }
    }

    /// The client makes that work; `None` if it is too much.
    #[must_use]
    pub(super) fn spend(&mut self, work: Work, now: Time) -> Option<()> {
        let seconds = now.since(self.since).as_secs();
        if seconds > 0 {
            self.since = now;
            self.earn(u32::try_from(seconds.saturating_mul(PER_SECOND)).unwrap_or(MOST));
        }
        self.spent += work.cost();
        (self.spent <= MOST).then_some(())
    }

    /// An answer was given.
    pub(super) fn answered(&mut self) {
        self.earn(ANSWER);
    }

    /// A frame of an answer was, of so many bytes; `scant`: more would follow if the client's windows were not that small.
    pub(super) fn sent(&mut self, bytes: u64, scant: bool) {
        if !scant || bytes >= WORTH {
            self.earn(FRAME);
        }
    }

    fn earn(&mut self, count: u32) {
        self.spent = self.spent.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn work_for_nothing_ends_and_mixing_it_does_not_help() {
        let start = Time(5);
        for works in [&[Work::Wasted][..], &[Work::Ping, Work::Settings], &[Work::Empty, Work::Small]] {
            let mut budget = Budget::new(start);
            let cost = works.iter().map(|work| work.cost()).sum::<u32>();
            let rounds =
                (0..).take_while(|_| works.iter().all(|work| budget.spend(*work, start).is_some())).count();
            assert_eq!(rounds as u32, MOST / cost, "{works:?}");
        }
    }

    #[test]
    fn answers_and_time_pay_for_it() {
        let mut budget = Budget::new(Time(0));
        for _ in 0..10_000 {
            assert_eq!(budget.spend(Work::Wasted, Time(0)), Some(()));
            budget.answered();
        }
        for _ in 0..10_000 {
            assert_eq!(budget.spend(Work::Small, Time(0)), Some(()));
            assert_eq!(budget.spend(Work::Small, Time(0)), Some(()));
            budget.sent(1, false);
        }
        assert!((0..=MOST).any(|_| {
            budget.sent(WORTH - 1, true);
            budget.spend(Work::Small, Time(0)).is_none()
        }));
        let mut budget = Budget::new(Time(0));
        for _ in 0..10_000 {
            budget.sent(WORTH, true);
            assert_eq!(budget.spend(Work::Ping, Time(0)), Some(()));
        }
        let mut now = Time(0);
        for _ in 0..10_000 {
            now = now.after(Duration::from_secs(1));
            assert_eq!(budget.spend(Work::Ping, now), Some(()));
            assert_eq!(budget.spend(Work::Wasted, now), Some(()));
        }
        assert_eq!(budget.spent, 24);
    }
}
