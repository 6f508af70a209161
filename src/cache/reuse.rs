//! Whether what is kept answers a request (RFC 9111 §4), and whether it does so in the place of an error (RFC 5861 §4).

use super::asked::Asked;
use super::control::LONGEST;
use super::status::Forward;
use super::stored::Life;
use super::{Millis, SECOND};

/// What is done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What is kept is the answer.
    Fresh,
    /// What is kept is the answer although its time is over; if `refresh`, it is fetched anew for those who come later
    /// (RFC 5861 §3).
    Stale {
        /// Nobody who asks waits for that.
        refresh: bool,
    },
    /// The app or upstream is asked, if what is kept can be validated whether it is still right, or else for another one; the
    /// reason.
    Forward(Forward),
    /// 504: the client wants what is kept or nothing (RFC 9111 §5.2.1.7).
    Refuse,
}

/// What is done about a request for which this is kept.
#[must_use]
pub fn judge(asked: &Asked, life: &Life, now: Millis) -> Use {
    let used = use_of(asked, life, now);
    if asked.control.only_if_cached && matches!(used, Use::Forward(_)) { Use::Refuse } else { used }
}

/// What is done about a request for which nothing is kept, for that reason.
#[must_use]
pub fn missing(asked: &Asked, reason: Forward) -> Use {
    if asked.control.only_if_cached { Use::Refuse } else { Use::Forward(reason) }
}

fn use_of(asked: &Asked, life: &Life, now: Millis) -> Use {
    let control = &asked.control;
    if control.no_cache || asked.authorized && !life.for_authorized {
        return Use::Forward(Forward::Request);
    }
    if life.always_validate {
        return Use::Forward(Forward::Stale);
    }
    let age = life.age(now);
    if control.max_age.is_some_and(|most| age > most * SECOND) {
        return Use::Forward(if life.is_fresh(now) { Forward::Request } else { Forward::Stale });
    }
    if life.is_fresh(now) {
        let is_enough = control.min_fresh.is_none_or(|least| life.lifetime - age >= least * SECOND);
        return if is_enough { Use::Fresh } else { Use::Forward(Forward::Request) };
    }
    // One that wants it to be fresh for some time, or younger than it is, does not want it stale, unless it says so.
    let wants_fresh = control.min_fresh.is_some() || control.max_age.is_some();
    let staleness = life.staleness(now);
    if life.while_revalidate > staleness && !(wants_fresh && control.max_stale.is_none()) {
        return Use::Stale { refresh: true };
    }
    let by_client = control.max_stale.is_some_and(|most| most == LONGEST || staleness <= most * SECOND);
    if by_client && !life.never_stale && age < Millis::MAX {
        return Use::Stale { refresh: false };
    }
    Use::Forward(Forward::Stale)
}

/// Whether what is kept is the answer in the place of what came of asking the app or upstream: a status, or none at all
/// (`None`: it could not be reached, or has not answered in time).
#[must_use]
pub fn on_error(asked: &Asked, life: &Life, status: Option<u16>, now: Millis) -> bool {
    let is_error = status.is_none_or(|status| matches!(status, 500 | 502..=504));
    let may_answer = !asked.authorized || life.for_authorized;
    if !is_error || !may_answer || life.always_validate || asked.control.no_cache {
        return false;
    }
    if life.is_fresh(now) {
        // It was asked for although it was not necessary.
        return true;
    }
    let by_client = asked.control.stale_if_error.filter(|_| !life.never_stale).unwrap_or(0) * SECOND;
    let staleness = life.staleness(now);
    staleness < life.if_error.max(life.while_revalidate).max(by_client)
}
