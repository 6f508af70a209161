//! Names of servers: which of the addresses that a name leads to are servers, each in a place of its own, and when the name
//! is looked up again. Pure: who is asked, and how, is the master's and the helper's.
//!
//! | a name | is looked up again | its places |
//! |---|---|---|
//! | was found | when its time to live is over, [`LEAST`] to [`MOST`] | have what was found |
//! | was not, or nobody has answered | after 1 s, 2 s, 4 s … 30 s | keep what they have |
//! | is being looked up | when an answer is there, or whoever looks has died | as before |

use crate::timer::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Places of a name: so many of its addresses are used.
pub(crate) const PLACES: usize = 16;

/// What a time to live is taken for.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(300);
/// Until the next try, after the first failure in a row, and never longer.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Whoever looks has so long.
const LONGEST: Duration = Duration::from_secs(15);

/// A server that a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    /// Its share; 0: as configured.
    pub(crate) weight: u16,
    /// Others go before.
    pub(crate) backup: bool,
}

/// Which place has which server, of those that were found: one that is there keeps its place, others take free ones. How many
/// found none.
pub(crate) fn assign(places: &mut [Option<Found>], found: &[Found]) -> usize {
    for place in places.iter_mut() {
        *place = place.and_then(|known| found.iter().find(|one| one.address == known.address).copied());
    }
    let mut left = 0;
    for (at, one) in found.iter().enumerate() {
        let is_there = |place: &Option<Found>| place.is_some_and(|known| known.address == one.address);
        if found.iter().take(at).any(|other| other.address == one.address) || places.iter().any(is_there) {
            continue;
        }
        match places.iter_mut().find(|place| place.is_none()) {
            Some(free) => *free = Some(*one),
            None => left += 1,
        }
    }
    left
}

/// What is known of the names that are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookups {
    names: BTreeMap<String, Lookup>,
    /// Those that are being looked up, and since when; some may not be wanted any more.
    asked: BTreeSet<String>,
    since: Time,
}

#[derive(Clone, Debug, Default)]
struct Lookup {
    /// When it is to be looked up again.
    due: Time,
    /// In a row.
    failures: u32,
    /// Of the last.
    reason: Option<String>,
    /// There was an answer, good or bad.
    is_answered: bool,
}

impl Lookups {
    /// These names are wanted from now on; new ones are due at once.
    pub(crate) fn want(&mut self, wanted: impl IntoIterator<Item = String>) {
        let mut before = std::mem::take(&mut self.names);
        self.names.extend(wanted.into_iter().map(|name| {
            let known = before.remove(&name).unwrap_or_default();
            (name, known)
        }));
    }

    /// A name is wanted by one more, who does not wait for its time to be over.
    pub(crate) fn hurry(&mut self, name: &str, now: Time) {
        self.names.get_mut(name).into_iter().for_each(|lookup| lookup.due = lookup.due.min(now));
    }

    /// Those that are to be looked up now; none as long as some are.
    pub(crate) fn due(&self, now: Time) -> Vec<String> {
        let due = self.names.iter().filter(|(_, lookup)| self.is_done() && lookup.due <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// They are being looked up.
    pub(crate) fn asked(&mut self, names: &[String], now: Time) {
        self.asked.extend(names.iter().cloned());
        self.since = now;
    }

    /// An answer came. False: nobody has asked.
    pub(crate) fn answered(&mut self, name: &str) -> bool {
        self.asked.remove(name)
    }

    /// Nobody will answer any more; what was asked.
    pub(crate) fn lost(&mut self) -> Vec<String> {
        std::mem::take(&mut self.asked).into_iter().collect()
    }

    /// None is being looked up.
    pub(crate) fn is_done(&self) -> bool {
        self.asked.is_empty()
    }

    /// Whoever looks takes too long.
    pub(crate) fn has_hung(&self, now: Time) -> bool {
        !self.is_done() && now >= self.since.after(LONGEST)
    }

    /// A name was found, for so long. Whether that is news: it was not before.
    pub(crate) fn found(&mut self, name: &str, ttl: Duration, now: Time) -> bool {
        let Some(lookup) = self.names.get_mut(name) else { return false };
        let had_failed = lookup.failures > 0;
        let due = now.after(ttl.clamp(LEAST, MOST));
        *lookup = Lookup { due, is_answered: true, ..Lookup::default() };
        had_failed
    }

    /// A name was not found. Whether that is news: for another reason, or it was before.
    pub(crate) fn failed(&mut self, name: &str, reason: &str, now: Time) -> bool {
        let Some(lookup) = self.names.get_mut(name) else { return false };
        let wait = WAITS.0.saturating_mul(1 << lookup.failures.min(12)).min(WAITS.1);
        lookup.failures = lookup.failures.saturating_add(1);
        (lookup.due, lookup.is_answered) = (now.after(wait), true);
        lookup.reason.replace(reason.to_owned()).is_none_or(|before| before != reason)
    }

    /// Why the name was not found the last time, if it was not.
    pub(crate) fn reason(&self, name: &str) -> Option<&str> {
        self.names.get(name)?.reason.as_deref()
    }

    /// Nobody has answered yet, not even that it is not found.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|lookup| !lookup.is_answered)
    }

    /// When one is to be looked up, or whoever looks has taken too long.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.is_done() {
            self.names.values().map(|lookup| lookup.due).min()
        } else {
            Some(self.since.after(LONGEST))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(last: u8) -> Found {
        Found { address: SocketAddr::from(([10, 0, 0, last], 80)), weight: 0, backup: false }
    }

    fn shown(places: &[Option<Found>]) -> Vec<u8> {
        let last = |found: Found| match found.address {
            SocketAddr::V4(address) => address.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        };
        places.iter().map(|place| place.map_or(0, last)).collect()
    }

    #[test]
    fn who_is_there_keeps_its_place_and_others_take_free_ones() {
        let mut places = [None; 3];
        let mut assigned = |last: &[u8]| {
            let found: Vec<Found> = last.iter().copied().map(found).collect();
            let left = assign(&mut places, &found);
            (shown(&places), left)
        };
        assert_eq!(assigned(&[5, 6]), (vec![5, 6, 0], 0));
        assert_eq!(assigned(&[6, 5]), (vec![5, 6, 0], 0), "an answer in another order changes nothing");
        assert_eq!(assigned(&[6, 7, 7]), (vec![7, 6, 0], 0), "each once");
        assert_eq!(assigned(&[1, 2, 3, 4, 6]), (vec![1, 6, 2], 2));
        assert_eq!(assigned(&[]), (vec![0, 0, 0], 0));
    }

    #[test]
    fn a_share_that_changes_reaches_the_same_place() {
        let mut places = [None, Some(found(5))];
        assert_eq!(assign(&mut places, &[Found { weight: 7, backup: true, ..found(5) }]), 0);
        assert_eq!(places, [None, Some(Found { weight: 7, backup: true, ..found(5) })]);
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    #[test]
    fn names_are_looked_up_by_their_time_to_live_and_failures_ever_later() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut lookups = Lookups::default();
        lookups.want(names.clone());
        assert_eq!((lookups.due(at(1)), lookups.is_open("a")), (names.to_vec(), true));
        lookups.asked(&names, at(1));
        assert!(lookups.answered("a") && !lookups.answered("a") && !lookups.answered("c"), "each once");
        assert!(!lookups.found("a", Duration::from_secs(200), at(2)), "a success is no news");
        assert_eq!(lookups.due(at(300)), Vec::<String>::new(), "one order at a time");
        assert!(lookups.has_hung(at(16)) && !lookups.has_hung(at(15)));
        assert!(lookups.answered("b") && lookups.failed("b", "NXDOMAIN", at(2)));
        assert!(!lookups.is_open("a") && !lookups.is_open("b") && lookups.is_done());
        for (wait, now) in [(1, 2), (2, 3), (4, 5), (8, 9), (16, 17), (30, 33)] {
            assert_eq!(lookups.deadline(), Some(at(now + wait)));
            assert!(!lookups.failed("b", "NXDOMAIN", at(now + wait)), "told once");
        }
        assert!(lookups.failed("b", "SERVFAIL", at(70)), "another reason");
        assert!(lookups.found("b", Duration::ZERO, at(71)), "it is there again");
        assert_eq!((lookups.deadline(), lookups.reason("b")), (Some(at(72)), None), "not every moment");
        lookups.found("a", Duration::from_secs(86_400), at(72));
        lookups.asked(&names, at(73));
        lookups.want(["a".to_owned()]);
        assert_eq!((lookups.deadline(), lookups.lost()), (Some(at(88)), names.to_vec()));
        assert_eq!(lookups.deadline(), Some(at(372)), "what is known stays known, five minutes at most");
        lookups.hurry("a", at(80));
        assert_eq!(lookups.due(at(80)), ["a"]);
    }
}
