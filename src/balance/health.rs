//! How a server of an upstream is: one word in shared memory, which every worker exchanges. Pure: a word and what has
//! happened make the next word.
//!
//! | state | a failure | a success | its checks pass (`rise` times) | fail (`fall` times) |
//! |---|---|---|---|---|
//! | Up | counted; with `max_fails` in a row within `fail_timeout` it rests, or fails where there are checks | forgets failures | – | Failed |
//! | Resting, until a time | – | Up | Up | Failed |
//! | Trial: one request shows whether it is back | rests twice as long | Up | Up | Failed |
//! | Failed | – | – | Up | – |
//!
//! A trial whose request is given up, as its client has left, says nothing: another may begin at once. A server whose rest is
//! over, or whose trial has had its time, may be tried by the next request that can be repeated. Where
//! there are checks no request is asked to: only they bring a server back.

use crate::timer::Time;
use std::time::Duration;

/// A trial whose end nobody has told of, as that worker is gone, may be begun again after this.
const TRIAL: Duration = Duration::from_secs(60);

/// A rest becomes twice as long with each trial that fails, so often at most.
const DOUBLINGS: u32 = 5;

/// When a server is given up without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passive {
    /// So many failures in a row; 0: never.
    pub(crate) max_fails: u32,
    /// Within this long; also how long it rests first.
    pub(crate) fail_timeout: Duration,
}

impl Default for Passive {
    fn default() -> Self {
        Self { max_fails: 3, fail_timeout: Duration::from_secs(10) }
    }
}

/// Why a server was given up, as a number of 12 bits; what it means is its writer's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) u16);

/// The state of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It takes requests.
    #[default]
    Up,
    /// It has failed, and takes none until then.
    Resting,
    /// One request tries it.
    Trial,
    /// Its checks fail, or requests did and no check has passed since.
    Failed,
}

/// A server's word, decoded: `{milliseconds 41 | cause 12 | count 8 | state 3}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) state: State,
    /// Up: failures in a row; resting, on trial: rests in a row.
    pub(super) count: u8,
    /// Of the last failure.
    pub(crate) cause: Cause,
    /// Up: when the first of the failures was. Resting: until when. On trial: since when.
    pub(super) at: u64,
}

/// The bits of a cause.
const CAUSES: u16 = 0xfff;

/// Milliseconds, as the words have them.
pub(super) fn millis(time: Time) -> u64 {
    time.0 / 1_000_000
}

impl Health {
    /// The word is a number from a stranger: an unknown state is as good as none.
    pub(super) fn decode(word: u64) -> Self {
        let state = match word & 7 {
            1 => State::Resting,
            2 => State::Trial,
            3 => State::Failed,
            _ => State::Up,
        };
        Self { state, count: (word >> 3) as u8, cause: Cause((word >> 11) as u16 & CAUSES), at: word >> 23 }
    }

    pub(super) fn encode(self) -> u64 {
        let cause = u64::from(self.cause.0 & CAUSES);
        self.at << 23 | cause << 11 | u64::from(self.count) << 3 | self.state as u64
    }

    /// Whether it takes requests like any other.
    pub(crate) fn is_up(self) -> bool {
        self.state == State::Up
    }

    /// Whether the next request may show if it is back.
    pub(crate) fn may_be_tried(self, now: Time) -> bool {
        match self.state {
            State::Up | State::Failed => false,
            State::Resting => millis(now) >= self.at,
            State::Trial => millis(now) >= self.at + TRIAL.as_millis() as u64,
        }
    }

    /// A request tries it.
    pub(super) fn on_trial(self, now: Time) -> Self {
        Self { state: State::Trial, at: millis(now), ..self }
    }

    /// A request failed before its response began. `is_last`: no other server is up. `is_checked`: checks bring it back.
    pub(super) fn after_failure(
        self,
        cause: Cause,
        now: Time,
        rule: Passive,
        is_last: bool,
        is_checked: bool,
    ) -> Self {
        let within = rule.fail_timeout.as_millis() as u64;
        let now = millis(now);
        match self.state {
            State::Up => {
                let count = if self.count > 0 && now <= self.at + within { self.count } else { 0 };
                let first = if count == 0 { now } else { self.at };
                let failed = Self { count: count.saturating_add(1), cause, at: first, ..self };
                if is_last || rule.max_fails == 0 || u32::from(failed.count) < rule.max_fails.min(255) {
                    failed
                } else if is_checked {
                    Self { state: State::Failed, count: 0, cause, at: now }
                } else {
                    Self { state: State::Resting, count: 1, cause, at: now + within }
                }
            }
            State::Trial => self.rests_again(cause, now, within),
            State::Resting if now >= self.at => self.rests_again(cause, now, within),
            State::Resting | State::Failed => self,
        }
    }

    fn rests_again(self, cause: Cause, now: u64, within: u64) -> Self {
        let doublings = u32::from(self.count).min(DOUBLINGS);
        let count = self.count.saturating_add(1);
        Self { state: State::Resting, count, cause, at: now + (within << doublings) }
    }

    /// A request was given up before a response began: if it was the trial, another may begin.
    pub(super) fn after_nothing(self, now: Time) -> Self {
        match self.state {
            State::Trial => Self { state: State::Resting, at: millis(now), ..self },
            State::Up | State::Resting | State::Failed => self,
        }
    }

    /// A response began.
    pub(super) fn after_success(self) -> Self {
        match self.state {
            State::Up => Self { count: 0, at: 0, ..self },
            State::Resting | State::Trial => Self::default(),
            State::Failed => self,
        }
    }

    /// Its checks have decided.
    pub(super) fn after_checks(self, passed: bool, cause: Cause, now: Time) -> Self {
        match (passed, self.state) {
            (true, State::Up) | (false, State::Failed) => self,
            (true, _) => Self::default(),
            (false, _) => Self { state: State::Failed, count: 0, cause, at: millis(now) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Passive = Passive { max_fails: 3, fail_timeout: Duration::from_secs(10) };
    const REFUSED: Cause = Cause(7);

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn fail(health: Health, times: &[u64]) -> Health {
        times.iter().fold(health, |health, time| health.after_failure(REFUSED, at(*time), RULE, false, false))
    }

    #[test]
    fn words_decode_to_what_was_encoded() {
        for state in [State::Up, State::Resting, State::Trial, State::Failed] {
            let health = Health { state, count: 200, cause: Cause(4_000), at: (1 << 41) - 1 };
            assert_eq!(Health::decode(health.encode()), health);
        }
        assert_eq!(Health::decode(7).state, State::Up);
    }

    #[test]
    fn three_failures_in_ten_seconds_rest_for_ten() {
        let health = fail(Health::default(), &[100, 105]);
        assert!(health.is_up());
        let health = fail(health, &[110]);
        assert_eq!((health.state, health.cause), (State::Resting, REFUSED));
        assert!(!health.may_be_tried(at(119)) && health.may_be_tried(at(120)));
        // What was on its way then says nothing new.
        assert_eq!(fail(health, &[115]), health);
    }

    #[test]
    fn slow_failures_and_those_before_a_success_do_not_add_up() {
        assert!(fail(Health::default(), &[100, 105, 111, 112]).is_up(), "the third is a first one");
        let health = fail(fail(Health::default(), &[100, 101]).after_success(), &[102, 103]);
        assert!(health.is_up());
        assert!(!fail(health, &[104]).is_up());
    }

    #[test]
    fn the_last_one_never_rests_and_none_does_that_is_not_to() {
        let last = [1, 2, 3, 4].iter().fold(Health::default(), |health, time| {
            health.after_failure(REFUSED, at(*time), RULE, true, false)
        });
        assert!(last.is_up());
        let rule = Passive { max_fails: 0, ..RULE };
        let never = (0..300)
            .fold(Health::default(), |health, _| health.after_failure(REFUSED, at(1), rule, false, false));
        assert!(never.is_up());
    }

    #[test]
    fn a_trial_that_fails_makes_the_rest_longer_up_to_a_bound_and_one_success_heals() {
        let mut health = fail(Health::default(), &[100, 100, 100]);
        let mut now = 110;
        for rest in [20, 40, 80, 160, 320, 320] {
            assert!(health.may_be_tried(at(now)), "{now}");
            health = fail(health.on_trial(at(now)), &[now]);
            assert!(
                !health.may_be_tried(at(now + rest - 1)) && health.may_be_tried(at(now + rest)),
                "{rest}"
            );
            now += rest;
        }
        let trial = health.on_trial(at(now));
        assert!(!trial.may_be_tried(at(now + 59)) && trial.may_be_tried(at(now + 60)), "its worker is gone");
        assert_eq!(trial.after_success(), Health::default());
        let unanswered = trial.after_nothing(at(now + 1));
        assert!(!unanswered.is_up() && unanswered.may_be_tried(at(now + 1)), "its client has left");
        assert_eq!(fail(unanswered, &[now + 2]), fail(trial, &[now + 2]));
        assert_eq!(Health::default().after_nothing(at(1)), Health::default());
    }

    #[test]
    fn where_there_are_checks_only_they_bring_it_back() {
        let failed = [1, 1, 1].iter().fold(Health::default(), |health, time| {
            health.after_failure(REFUSED, at(*time), RULE, false, true)
        });
        assert_eq!(failed.state, State::Failed);
        assert!(!failed.may_be_tried(at(9_999)));
        assert_eq!(failed.after_success(), failed);
        assert_eq!(failed.after_checks(true, REFUSED, at(3)), Health::default());
        let down = Health::default().after_checks(false, Cause(3), at(5));
        assert_eq!((down.state, down.cause), (State::Failed, Cause(3)));
        assert_eq!(down.after_checks(false, REFUSED, at(6)), down, "since when it is so stays");
    }
}
