//! What workers say of the requests that run for long in a process: that they do, and that one has run for too long. The
//! process is replaced for that, and every request in it may be lost; so the word of one worker is not enough. The host is
//! asked at once whether a request of that worker runs in that unit, and says FREE when none does; the claim is believed
//! when the host has not said so for as long as the app's `timeout` lasts after the first word of it, on our own clock.
//! A host with one thread cannot answer while any request runs: of two workers that claim the same unit only the first is
//! believed, the other one's time begins when the first is over. Pure.

use crate::control::text;
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Workers tell of a request when it has run for so long, or half of the `timeout` (`worker::upstream::app`).
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// What the first word of it may come late, on a machine that is busy.
const SLACK: Duration = Duration::from_millis(500);
/// What a host gets at least to say that it knows better.
const ANSWER: Duration = Duration::from_millis(250);
/// Characters of a request, or of a reason, that are kept.
const LONGEST: usize = 256;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::master) struct Running {
    /// By unit: who says that its request runs there, the first one first; each row once.
    units: BTreeMap<u16, Vec<Claim>>,
    /// Row and unit of which the host has been asked, and has not answered.
    asked: BTreeSet<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    row: u16,
    /// Since when, as the worker says.
    since: Time,
    /// Since when it is the first that we have heard of that unit.
    first: Time,
    request: String,
    /// It has run for too long, says the worker.
    late: Option<String>,
}

impl Running {
    /// A worker says that its request runs for long. Whether to ask the host.
    #[must_use]
    pub(in crate::master) fn runs(
        &mut self,
        unit: u16,
        row: u16,
        since: Time,
        request: &str,
        now: Time,
    ) -> bool {
        let claims = self.units.entry(unit).or_default();
        if claims.iter().all(|claim| claim.row != row) {
            let request = cut(request);
            claims.push(Claim { row, since, first: now, request, late: None });
        }
        self.asked.insert((row, unit))
    }

    /// Whether the host has not been asked already; from now on it has.
    #[must_use]
    pub(in crate::master) fn ask(&mut self, unit: u16, row: u16) -> bool {
        self.asked.insert((row, unit))
    }

    /// A worker says that its request has run for too long. Whether to ask the host.
    #[must_use]
    pub(in crate::master) fn late(&mut self, unit: u16, row: u16, reason: &str, now: Time) -> bool {
        let ask = self.runs(unit, row, now, "", now);
        let claim =
            self.units.get_mut(&unit).and_then(|claims| claims.iter_mut().find(|claim| claim.row == row));
        if let Some(claim) = claim {
            claim.late.get_or_insert_with(|| cut(reason));
        }
        ask
    }

    /// No request of that worker runs there any more, says the worker. What it has complained of stands until the host says
    /// the same.
    pub(in crate::master) fn ran(&mut self, unit: u16, row: u16, now: Time) {
        self.forget(now, |at, claim| at == unit && claim.row == row && claim.late.is_none());
    }

    /// No request of that worker runs there any more, says the host.
    pub(in crate::master) fn freed(&mut self, unit: u16, row: u16, now: Time) {
        self.asked.remove(&(row, unit));
        self.forget(now, |at, claim| at == unit && claim.row == row);
    }

    /// That worker is gone.
    pub(in crate::master) fn gone(&mut self, row: u16, now: Time) {
        self.forget(now, |_, claim| claim.row == row && claim.late.is_none());
    }

    fn forget(&mut self, now: Time, which: impl Fn(u16, &Claim) -> bool) {
        for (unit, claims) in &mut self.units {
            let first = claims.first().map(|claim| claim.row);
            claims.retain(|claim| !which(*unit, claim));
            if let Some(next) = claims.first_mut().filter(|next| Some(next.row) != first) {
                next.first = now;
            }
        }
        self.units.retain(|_, claims| !claims.is_empty());
    }

    /// When a claim will be believed, with the app's `timeout`.
    pub(in crate::master) fn deadline(&self, timeout: Duration) -> Option<Time> {
        self.complaints().map(|(claim, _)| believed(claim, timeout)).fold(None, |a, b| earliest(a, Some(b)))
    }

    /// Why the process has to go, if by now a claim is believed.
    pub(in crate::master) fn overdue(&self, timeout: Duration, now: Time) -> Option<&str> {
        self.complaints().find(|(claim, _)| believed(claim, timeout) <= now).map(|(_, reason)| reason)
    }

    /// What is believed by now has been acted upon.
    pub(in crate::master) fn told(&mut self, now: Time) {
        for claim in self.units.values_mut().filter_map(|claims| claims.first_mut()) {
            if claim.late.take().is_some() {
                claim.first = now;
            }
        }
    }

    fn complaints(&self) -> impl Iterator<Item = (&Claim, &str)> {
        self.units.values().filter_map(|claims| {
            let claim = claims.first()?;
            Some((claim, claim.late.as_deref()?))
        })
    }

    /// Requests that run for long, those that began first first.
    pub(in crate::master) fn shown(&self) -> Vec<(Time, &str)> {
        let claims = self.units.values().flatten().filter(|claim| !claim.request.is_empty());
        let mut shown: Vec<(Time, &str)> =
            claims.map(|claim| (claim.since, claim.request.as_str())).collect();
        shown.sort_unstable();
        shown
    }
}

fn believed(claim: &Claim, timeout: Duration) -> Time {
    let rest = timeout - TOLD_AFTER.min(timeout / 2);
    claim.first.after((rest - SLACK.min(rest / 2)).max(ANSWER))
}

fn cut(text: &str) -> String {
    text::line(text).chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn due(seconds: u64) -> Time {
        Time(at(seconds).0 - u64::try_from(SLACK.as_nanos()).unwrap())
    }

    #[test]
    fn a_request_that_the_host_does_not_deny_is_believed_when_its_time_is_over() {
        let mut running = Running::default();
        assert!(running.runs(0, 3, at(100), "GET /hang", at(101)), "the host is asked");
        assert_eq!(running.shown(), [(at(100), "GET /hang")]);
        assert_eq!((running.deadline(TIMEOUT), running.overdue(TIMEOUT, at(999))), (None, None));
        assert!(!running.late(0, 3, "it hangs", at(160)), "once is enough");
        assert_eq!(running.deadline(TIMEOUT), Some(due(160)));
        assert_eq!(running.overdue(TIMEOUT, at(159)), None);
        assert_eq!(running.overdue(TIMEOUT, at(160)), Some("it hangs"));
    }

    #[test]
    fn a_complaint_that_comes_alone_is_believed_later() {
        let mut running = Running::default();
        assert!(running.late(0, 3, "it hangs", at(100)));
        assert!(running.shown().is_empty());
        assert_eq!(running.deadline(TIMEOUT), Some(due(159)));
        assert_eq!(running.deadline(Duration::from_millis(500)), Some(at(100).after(ANSWER)));
        assert_eq!(
            running.deadline(Duration::from_millis(1500)),
            Some(at(100).after(Duration::from_millis(375)))
        );
        assert_eq!(running.deadline(Duration::ZERO), Some(at(100).after(ANSWER)));
    }

    #[test]
    fn the_host_knows_better() {
        let mut running = Running::default();
        assert!(running.runs(0, 3, at(100), "GET /", at(100)));
        running.freed(0, 3, at(101));
        assert!(running.late(0, 3, "a lie", at(160)), "and is asked again");
        running.freed(0, 3, at(160));
        assert_eq!((running.deadline(TIMEOUT), running.overdue(TIMEOUT, at(999))), (None, None));
        assert_eq!(running, Running::default(), "nothing is kept");
    }

    #[test]
    fn a_worker_that_takes_its_word_back_or_dies_does_not_take_a_complaint_back() {
        let mut running = Running::default();
        assert!(
            running.runs(0, 3, at(100), "GET /", at(100)) && running.runs(1, 3, at(100), "GET /", at(100))
        );
        assert!(!running.late(1, 3, "it hangs", at(160)));
        running.ran(0, 3, at(160));
        running.ran(1, 3, at(160));
        running.gone(3, at(160));
        assert_eq!(running.overdue(TIMEOUT, at(160)), Some("it hangs"));
        assert_eq!(running.units.len(), 1);
    }

    #[test]
    fn while_one_worker_uses_a_unit_another_has_nothing_to_complain_of() {
        let mut running = Running::default();
        assert!(running.runs(0, 1, at(100), "GET /download", at(101)));
        assert!(running.runs(0, 2, at(100), "GET /lie", at(102)));
        assert!(!running.late(0, 2, "a lie", at(162)));
        assert_eq!((running.deadline(TIMEOUT), running.overdue(TIMEOUT, at(999))), (None, None));
        running.ran(0, 1, at(500));
        assert_eq!(running.deadline(TIMEOUT), Some(due(559)), "it waited for the first until now");
        // Nor does it hide what the other one says, or name.
        assert_eq!(running.shown(), [(at(100), "GET /lie")]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut running = Running::default();
        let long = "x\n".repeat(10_000);
        for _ in 0..1000 {
            let _ = running.runs(0, 3, at(1), &long, at(1));
            let _ = running.late(0, 3, &long, at(1));
            running.ran(0, 3, at(1));
        }
        assert_eq!((running.units[&0].len(), running.asked.len()), (1, 1));
        let claim = &running.units[&0][0];
        assert_eq!((claim.request.len(), claim.late.as_ref().map(String::len)), (LONGEST, Some(LONGEST)));
    }
}
