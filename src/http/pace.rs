//! How fast bytes leave: so many a second, once some have left as fast as they could. Pure.
//!
//! They leave in pieces of about a tenth of a second, so that neither each byte costs a system call nor the client waits long. Who
//! does not take what he could have has half a second of it at the most.

use crate::timer::Time;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes a second.
    rate: u64,
    /// Bytes that might leave at `since`.
    credit: u64,
    since: Time,
}

impl Pace {
    /// So many bytes a second, once `after` have left.
    #[must_use]
    pub(crate) fn new(rate: u64, after: u64, now: Time) -> Self {
        let pace = Self { rate: rate.max(1), credit: 0, since: now };
        Self { credit: after.saturating_add(pace.piece()), ..pace }
    }

    fn piece(&self) -> u64 {
        (self.rate / 10).clamp(128, 256 * 1024)
    }

    fn have(&self, now: Time) -> u64 {
        let most = self.credit.max(self.rate / 2).max(self.piece());
        let passed = u128::from(now.0.saturating_sub(self.since.0));
        let earned = passed * u128::from(self.rate) / u128::from(SECOND);
        self.credit.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)).min(most)
    }

    /// Bytes that may leave now; 0: none before [`Self::next`].
    #[must_use]
    pub(crate) fn room(&self, now: Time) -> u64 {
        let have = self.have(now);
        if have < self.piece() { 0 } else { have }
    }

    /// So many have left.
    pub(crate) fn took(&mut self, bytes: u64, now: Time) {
        if bytes > 0 {
            self.credit = self.have(now).saturating_sub(bytes);
            self.since = now;
        }
    }

    /// When there is room again, if there is none.
    #[must_use]
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
        let lacks = self.piece().saturating_sub(self.have(now));
        let nanos = u128::from(lacks) * u128::from(SECOND) / u128::from(self.rate) + 1;
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        (lacks > 0).then(|| now.after(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all that it may at each moment it names, until so many bytes have left: when that was, and in how many pieces.
    fn run(pace: Pace, bytes: u64) -> (Time, u32) {
        let (mut pace, mut now, mut left, mut pieces) = (pace, Time(7), bytes, 0);
        while left > 0 {
            match pace.next(now) {
                Some(next) => {
                    assert!(pace.room(now) == 0 && next > now);
                    now = next;
                }
                None => {
                    let take = pace.room(now).min(left);
                    assert!(take > 0);
                    pace.took(take, now);
                    (left, pieces) = (left - take, pieces + 1);
                }
            }
        }
        (now, pieces)
    }

    #[test]
    fn it_takes_as_long_as_it_should_and_is_no_busy_loop() {
        for (rate, after, bytes) in
            [(1024, 0, 10_240), (1 << 20, 0, 10 << 20), (1 << 20, 4 << 20, 6 << 20), (1 << 30, 0, 4 << 30)]
        {
            let (end, pieces) = run(Pace::new(rate, after, Time(7)), bytes);
            let expected = (bytes - after) as f64 / rate as f64;
            let took = end.since(Time(7)).as_secs_f64();
            assert!((expected - 0.15..expected + 0.15).contains(&took), "{rate} {after} {bytes}: {took}");
            let most = (expected * 11.0).max((bytes - after) as f64 / (256.0 * 1024.0) * 1.1) + 3.0;
            assert!(f64::from(pieces) <= most, "{rate}: {pieces}");
        }
    }

    #[test]
    fn who_pauses_saves_little() {
        let mut pace = Pace::new(1 << 20, 0, Time(0));
        pace.took(pace.room(Time(0)), Time(0));
        let later = Time(60 * SECOND);
        assert_eq!(pace.room(later), 1 << 19);
        // What leaves at once is not lost by a pause.
        let pace = Pace::new(1024, 1 << 20, Time(0));
        assert_eq!(pace.room(later), (1 << 20) + 128);
    }

    #[test]
    fn no_number_makes_it_wrap() {
        for (rate, after) in [(0, 0), (u64::MAX, u64::MAX), (1, u64::MAX)] {
            let mut pace = Pace::new(rate, after, Time(3));
            for now in [Time(3), Time(0), Time(u64::MAX)] {
                pace.took(pace.room(now), now);
                let _any = (pace.next(now), pace.room(Time(u64::MAX)));
            }
        }
    }
}
