//! A hierarchical timer wheel: four levels of 64 slots, one tick a millisecond, horizon 4.6 hours (later entries wait
//! in the last slot and are sorted in again). Insert and expire are O(1); there is no cancel: owners compare with
//! their real deadline when an entry fires, and re-arm, so a deadline moved later costs nothing.

use super::Time;

const LEVELS: usize = 4;
const SLOTS: u64 = 64;
const TICK_NANOS: u64 = 1_000_000;

/// Entries of type `K` ordered by the tick at which they fire.
#[derive(Debug)]
pub(crate) struct Wheel<K> {
    /// The last tick that was expired.
    now: u64,
    levels: [Level<K>; LEVELS],
    length: usize,
}

#[derive(Debug)]
struct Level<K> {
    occupied: u64,
    slots: Vec<Vec<(u64, K)>>,
}

impl<K> Wheel<K> {
    /// An empty wheel whose clock stands at `now`.
    #[must_use]
    pub(crate) fn new(now: Time) -> Self {
        let level = || Level { occupied: 0, slots: (0..SLOTS).map(|_| Vec::new()).collect() };
        Self { now: now.0 / TICK_NANOS, levels: [level(), level(), level(), level()], length: 0 }
    }

    /// Fires `key` at the first `expire` at or after `at`, never earlier than `at`.
    pub(crate) fn insert(&mut self, at: Time, key: K) {
        let tick = at.0.div_ceil(TICK_NANOS).max(self.now + 1);
        self.length += 1;
        self.place(tick, key);
    }

    fn place(&mut self, tick: u64, key: K) {
        let distance = tick - self.now;
        let level =
            (0..LEVELS - 1).find(|level| distance < SLOTS.pow(*level as u32 + 1)).unwrap_or(LEVELS - 1);
        let span = SLOTS.pow(level as u32);
        // Beyond the horizon the entry waits in the farthest slot and is placed again from there.
        let reach = tick.min(self.now + span * (SLOTS - 1));
        let slot = (reach / span) % SLOTS;
        let level = &mut self.levels[level];
        level.occupied |= 1 << slot;
        level.slots[slot as usize].push((tick, key));
    }

    /// Fires every entry due at `now`, in no particular order among those of one tick.
    pub(crate) fn expire(&mut self, now: Time, mut fire: impl FnMut(K)) {
        let target = now.0 / TICK_NANOS;
        while self.now < target {
            if self.length == 0 {
                self.now = target;
                return;
            }
            // Jump to the next tick that can matter instead of walking empty slots.
            let next = self.next_tick().unwrap_or(target).min(target);
            self.now = next.max(self.now + 1);
            self.cascade();
            self.fire_slot(&mut fire);
        }
    }

    /// Takes apart the slots of the upper levels that begin at the current tick.
    fn cascade(&mut self) {
        for level in (1..LEVELS).rev() {
            let span = SLOTS.pow(level as u32);
            if !self.now.is_multiple_of(span) {
                continue;
            }
            let slot = (self.now / span) % SLOTS;
            if self.levels[level].occupied & (1 << slot) == 0 {
                continue;
            }
            self.levels[level].occupied &= !(1 << slot);
            for (tick, key) in std::mem::take(&mut self.levels[level].slots[slot as usize]) {
                if tick <= self.now {
                    self.push_now(key);
                } else {
                    self.place(tick, key);
                }
            }
        }
    }

    fn push_now(&mut self, key: K) {
        let slot = self.now % SLOTS;
        self.levels[0].occupied |= 1 << slot;
        self.levels[0].slots[slot as usize].push((self.now, key));
    }

    fn fire_slot(&mut self, fire: &mut impl FnMut(K)) {
        let slot = self.now % SLOTS;
        if self.levels[0].occupied & (1 << slot) == 0 {
            return;
        }
        self.levels[0].occupied &= !(1 << slot);
        let mut due = std::mem::take(&mut self.levels[0].slots[slot as usize]);
        self.length -= due.len();
        due.drain(..).for_each(|(_, key)| fire(key));
        self.levels[0].slots[slot as usize] = due;
    }

    /// When `expire` must be called next: the time of the earliest entry, or a little earlier where an upper level
    /// has to be taken apart first.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Time> {
        self.next_tick().map(|tick| Time(tick * TICK_NANOS))
    }

    fn next_tick(&self) -> Option<u64> {
        let mut earliest: Option<u64> = None;
        for (index, level) in self.levels.iter().enumerate() {
            if level.occupied == 0 {
                continue;
            }
            let span = SLOTS.pow(index as u32);
            let position = self.now / span;
            // Slots after the current one come first; the current one means a full round.
            let ahead = level.occupied.rotate_right(((position + 1) % SLOTS) as u32).trailing_zeros();
            let tick = (position + 1 + u64::from(ahead)) * span;
            earliest = Some(earliest.map_or(tick, |known| known.min(tick)));
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(value: u64) -> Time {
        Time(value * TICK_NANOS)
    }

    #[test]
    fn fires_once_never_early_and_by_the_next_wake_up() {
        let mut wheel = Wheel::new(millis(1_000));
        let mut seed = 7u64;
        let mut want = Vec::new();
        for key in 0..2_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 1_000 + (seed >> 33) % [50, 5_000, 400_000, 30_000_000][(key % 4) as usize];
            want.push((at.max(1_001), key));
            wheel.insert(millis(at), key);
        }
        want.sort_unstable();
        let mut fired = Vec::new();
        while let Some(next) = wheel.next() {
            wheel.expire(next, |key| fired.push((next.0 / TICK_NANOS, key)));
        }
        fired.sort_unstable();
        assert_eq!(fired, want);
        assert!(wheel.length == 0);
    }

    #[test]
    fn a_late_expire_fires_everything_that_was_due() {
        let mut wheel = Wheel::new(Time::ZERO);
        (1..500u64).for_each(|at| wheel.insert(millis(at * 37), at));
        let mut fired = Vec::new();
        wheel.expire(millis(37 * 250), |key| fired.push(key));
        fired.sort_unstable();
        assert_eq!(fired, (1..=250).collect::<Vec<_>>());
        assert_eq!(wheel.length, 249);
    }

    #[test]
    fn a_time_in_the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(millis(10));
        wheel.insert(millis(3), ());
        let mut count = 0;
        wheel.expire(millis(10), |()| count += 1);
        assert_eq!(count, 0);
        wheel.expire(millis(11), |()| count += 1);
        assert_eq!(count, 1);
    }
}
