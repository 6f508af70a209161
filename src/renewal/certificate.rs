//! One certificate: when something is to be done about it.
//!
//! It is renewed at two thirds of its life, or within the window that the authority has told (RFC 9773), which is asked for
//! twice a day. After a failure the waits grow from a minute to a day, a quarter more or less; where the authority says how
//! long, no shorter.

use super::{Errand, Outcome, hash};
use crate::timer::{Time, Wall};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After the first failure in a row, the second, … Authorities count failures: five an hour and name, some.
const WAITS: [u64; 8] = [60, 180, 540, 1620, 4860, 14_580, 43_200, 86_400];
/// No authority makes us wait longer.
const LONGEST_WAIT: u64 = 7 * 86_400;
/// Between two questions when it should be renewed, and as far as an authority may change that.
const LOOK: u64 = 12 * 3600;
const LOOKS: (u64, u64) = (3600, 86_400);
/// After this part of the way from two thirds of its life to its end no renewal is begun for the first time.
const SPREAD: u64 = 10;

/// From when to when a certificate is good, in seconds of the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validity {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

/// When an authority wants it to be renewed, in seconds of the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Certificate {
    pub(super) held: Option<Validity>,
    window: Option<Window>,
    /// When to ask for the window; `None`: at once.
    look: Option<Time>,
    /// In a row.
    failures: u32,
    /// The last one.
    failed: Option<(String, Time)>,
    /// It is to be had anew, whatever it is good for.
    hurried: bool,
}

impl Certificate {
    /// There is one now, or none.
    pub(super) fn hold(&mut self, held: Option<Validity>) {
        if self.held != held {
            (self.held, self.window, self.look) = (held, None, None);
        }
    }

    pub(super) fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// Does not wait any longer; `anew`: although it may be good. Whether it has waited.
    pub(super) fn hurry(&mut self, anew: bool) -> bool {
        self.hurried |= anew;
        if let Some((_, until)) = &mut self.failed {
            *until = Time::ZERO;
        }
        self.failed.is_some() || self.held.is_none()
    }

    /// Why there is no new one, and how long until the next try.
    pub(super) fn waiting(&self, now: Time) -> Option<(&str, Duration)> {
        self.failed.as_ref().map(|(reason, until)| (reason.as_str(), until.since(now)))
    }

    /// Until it should be renewed.
    pub(super) fn renews_in(&self, key: &str, wall: Wall) -> Duration {
        let at = match (self.held, self.window) {
            _ if self.hurried => i64::MIN,
            (None, _) => i64::MIN,
            (Some(held), Some(window)) => {
                let width = seconds(window.start, window.end);
                let at = add(window.start, spread(key, window.end, width));
                // A window beyond its end is no reason to let it end.
                at.min(last_call(held))
            }
            (Some(held), None) => {
                let life = seconds(held.from, held.until);
                let third = life / 3;
                add(held.until.saturating_sub(signed(third)), spread(key, held.until, third / SPREAD))
            }
        };
        Duration::from_secs(seconds(wall.seconds, at))
    }

    /// What is due next, and after how long.
    pub(super) fn due(&self, key: &str, wall: Wall, now: Time) -> (Errand, Duration) {
        let waits = self.waiting(now).map_or(Duration::ZERO, |(_, wait)| wait);
        let issue = self.renews_in(key, wall).max(waits);
        let look = self.look.map_or(Duration::ZERO, |at| at.since(now));
        match self.held {
            Some(_) if !issue.is_zero() && look < issue => (Errand::Look, look),
            _ => (Errand::Issue, issue),
        }
    }

    /// An errand has ended so.
    pub(super) fn settle(&mut self, key: &str, errand: Errand, outcome: &Outcome, now: Time) {
        match (errand, outcome) {
            (Errand::Issue, Outcome::Issued(validity)) => {
                // Not at once: who always says that it is too late would have us order without end.
                let look = now.after(Duration::from_secs(LOOK));
                *self = Self { held: Some(*validity), look: Some(look), ..Self::default() };
            }
            (Errand::Issue, _) => {
                let (reason, again) = match outcome {
                    Outcome::Failed(reason, again) => (reason.clone(), *again),
                    _ => ("the helper process answered another question".to_owned(), None),
                };
                let index = usize::try_from(self.failures).unwrap_or(usize::MAX).min(WAITS.len() - 1);
                let wait = WAITS.get(index).copied().unwrap_or(LONGEST_WAIT);
                let more = spread(key, i64::from(self.failures), wait / 2);
                let wait = (wait - wait / 4 + more).max(again.unwrap_or(0).min(LONGEST_WAIT));
                self.failures = self.failures.saturating_add(1);
                self.failed = Some((reason, now.after(Duration::from_secs(wait))));
            }
            (Errand::Look, outcome) => {
                let mut again = LOOK;
                match outcome {
                    Outcome::Window(window, after) if window.start < window.end => {
                        self.window = Some(*window);
                        again = after.unwrap_or(LOOK);
                    }
                    Outcome::NoWindow => self.window = None,
                    Outcome::Failed(_, after) => again = after.unwrap_or(LOOK),
                    _ => {}
                }
                let again = again.clamp(LOOKS.0, LOOKS.1);
                let less = spread(key, signed(now.0), again / 10);
                self.look = Some(now.after(Duration::from_secs(again - less)));
            }
        }
    }
}

/// When it is renewed at the latest, whatever an authority says: with a tenth of its life left.
fn last_call(held: Validity) -> i64 {
    held.until.saturating_sub(signed(seconds(held.from, held.until) / 10))
}

/// From one point to another; none backwards.
fn seconds(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

fn add(at: i64, seconds: u64) -> i64 {
    at.saturating_add(signed(seconds))
}

/// A number below `range`, the same for the same certificate and occasion, and another one for others.
fn spread(key: &str, occasion: i64, range: u64) -> u64 {
    hash(&format!("{key} {occasion}")) % range.max(1)
}
