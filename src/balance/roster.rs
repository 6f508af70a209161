//! The roster: the words in shared memory by which workers and master know the servers of upstreams, so that limits and
//! health are the whole server's. Pure: it sees memory as `&[AtomicU64]`.
//!
//! ```text
//!  master  rows in use; of each server what the operator wants of it, and where it is if that is looked up
//!  own     an area for each worker's row: of each upstream its head and who waits besides, of each server what the
//!          worker has there
//!  shared  of each server its health and its checks, which every worker exchanges
//! ```
//!
//! A server has a place by its number, which the master gives out. The parts begin and end at
//! multiples of [`ALIGNED`], so that each can be mapped by itself; pages cost memory once touched.
//!
//! # Never more than `max_connections`
//!
//! What is in flight at a server is the sum over all rows, each of which has one writer: nothing is lost when a worker dies,
//! as the master clears its row. Who wants to send a request counts it *first* and *then* looks at the sum; if that is too
//! much, it takes its count back. Of two who come at once at least the second sees the first; it may be that both stand back,
//! and try again. A request that waits publishes its *head*, the time at which it came, and *then* tries once more; who
//! leaves a server counts down and *then* looks for the oldest head, whose worker it pokes. A head that is older than one's
//! own request goes first.
//!
//! # Servers that are looked up
//!
//! A name has several places. Which addresses it leads to, and which place has which, the master decides (`names`); it
//! writes them here, where workers of every generation read them when they choose: a place without an address takes nothing.
//! Its *version* is odd while the master writes, and another one afterwards: nobody takes half of an address.
//!
//! # What a liar can reach
//!
//! A worker that was taken over writes what it likes into its own area and the shared part. Requests are balanced worse,
//! wait, or are sent to a server that is down, which is found out again at once; nothing else. The master reads these words
//! for `status` only.
//!
//! | it writes | what comes of it |
//! |---|---|
//! | what it has in flight | others take less of a server, or none of one with `max_connections`: they wait, and get 503 |
//! | its head | others let it go first, for as long as one look at the queue takes (`AGAIN`) |
//! | health | servers are left alone or asked although they are down; where all are down, all are asked |
//! | checks | none are made, or more than wanted, one by each worker at a time |

use super::health::{Cause, Health, Passive, State, millis};
use super::sticky;
use crate::timer::Time;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, Range};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release, SeqCst},
};
use std::time::Duration;

/// Servers that may be known at a time.
pub(crate) const SERVERS: usize = 1024;
/// Upstreams that may be known at a time.
pub(crate) const UPSTREAMS: usize = 256;
/// Rows: as many as there are on the board.
pub(crate) const ROWS: usize = 64;

/// Words in the largest page that Linux has (64 KiB, on arm64).
const ALIGNED: usize = 64 * 1024 / size_of::<u64>();
/// The master's words: one line, then an order for each server, then where each is.
const ORDERS: usize = 64;
const ROWS_USED: usize = 0;
const SPOTS: usize = ORDERS + SERVERS;
/// Version, two of the address, port and share, two of the tag; a line of its own.
const SPOT: usize = 8;
const FIRST_AREA: usize = (SPOTS + SERVERS * SPOT).next_multiple_of(ALIGNED);
/// A worker's area: the heads, who waits besides, then the counts.
const AREA: usize = (2 * UPSTREAMS + SERVERS * COUNTS).next_multiple_of(ALIGNED);
const COUNTS: usize = 4;
const FIRST_SHARED: usize = FIRST_AREA + ROWS * AREA;
const SHARED: usize = (SERVERS * SHARED_WORDS).next_multiple_of(ALIGNED);
const SHARED_WORDS: usize = 4;

/// Words of the whole roster; zeroed.
pub const WORDS: usize = FIRST_SHARED + SHARED;

/// What a worker counts of a server.
#[derive(Clone, Copy)]
enum Count {
    InFlight = 0,
    Requests = 1,
    Failures = 2,
}

/// What all share of a server.
#[derive(Clone, Copy)]
enum Common {
    Health = 0,
    /// Since when it is up, or is not, in milliseconds; 0: it was never otherwise.
    Since = 1,
    /// When it is to be checked next, in milliseconds.
    Due = 2,
    /// How many checks in a row came out alike: `count << 1 | passed`.
    Checks = 3,
}

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It takes requests.
    #[default]
    Enabled,
    /// Only requests of sessions that it has.
    Drained,
    /// None.
    Disabled,
}

/// Where a server is that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) address: SocketAddr,
    /// Its share, as the SRV record says; 0: as configured.
    pub(crate) weight: u16,
    /// Other records go before.
    pub(crate) backup: bool,
    /// What stands for it in a cookie, in bytes.
    pub(crate) tag: [u8; sticky::TAG],
}

impl Spot {
    fn encode(place: Option<Self>) -> [u64; SPOT - 1] {
        let Some(Self { address, weight, backup, tag }) = place else { return [0; SPOT - 1] };
        let halves = |number: u128| [(number >> 64) as u64, number as u64];
        let (family, number) = match address.ip() {
            IpAddr::V4(v4) => (1, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (2, v6.to_bits()),
        };
        let [high, low] = halves(number);
        let share =
            u64::from(weight) << 32 | u64::from(backup) << 24 | family << 16 | u64::from(address.port());
        let [first, second] = halves(u128::from_be_bytes(tag));
        [high, low, share, first, second, 0, 0]
    }

    fn decode([high, low, share, first, second, ..]: [u64; SPOT - 1]) -> Option<Self> {
        let whole = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let ip = match share >> 16 & 0xff {
            1 => IpAddr::V4((low as u32).into()),
            2 => IpAddr::V6(whole(high, low).into()),
            _ => return None,
        };
        Some(Self {
            address: SocketAddr::new(ip, share as u16),
            weight: (share >> 32) as u16,
            backup: share >> 24 & 1 == 1,
            tag: whole(first, second).to_be_bytes(),
        })
    }
}

/// A server changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// From this.
    pub(crate) before: State,
    /// To this.
    pub(crate) now: State,
    /// Why.
    pub(crate) cause: Cause,
}

/// The words, to be read. A server, upstream or row that does not exist has zeros.
#[derive(Clone, Copy, Debug)]
pub struct Roster<'a>(&'a [AtomicU64]);

fn area(row: u16) -> Option<usize> {
    (usize::from(row) < ROWS).then(|| FIRST_AREA + usize::from(row) * AREA)
}

fn count(row: u16, server: u16, count: Count) -> Option<usize> {
    let place = 2 * UPSTREAMS + usize::from(server) * COUNTS + count as usize;
    (usize::from(server) < SERVERS).then_some(area(row)? + place)
}

fn head(row: u16, upstream: u16) -> Option<usize> {
    (usize::from(upstream) < UPSTREAMS).then_some(area(row)? + usize::from(upstream))
}

/// Whether requests wait there for certain servers only: those of sessions, and those that have failed at others.
fn certain(row: u16, upstream: u16) -> Option<usize> {
    Some(head(row, upstream)? + UPSTREAMS)
}

fn common(server: u16, common: Common) -> Option<usize> {
    let place = FIRST_SHARED + usize::from(server) * SHARED_WORDS + common as usize;
    (usize::from(server) < SERVERS).then_some(place)
}

fn order(server: u16) -> Option<usize> {
    (usize::from(server) < SERVERS).then(|| ORDERS + usize::from(server))
}

/// The first of its words.
fn spot(server: u16) -> Option<usize> {
    (usize::from(server) < SERVERS).then(|| SPOTS + usize::from(server) * SPOT)
}

impl<'a> Roster<'a> {
    /// The roster in these words: [`WORDS`] of them, all zero at first.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// Which words only the worker of that row writes.
    #[must_use]
    pub fn area(row: u16) -> Option<Range<usize>> {
        area(row).map(|start| start..start + AREA)
    }

    /// Which words every worker exchanges.
    #[must_use]
    pub fn shared() -> Range<usize> {
        FIRST_SHARED..FIRST_SHARED + SHARED
    }

    fn get(self, at: Option<usize>) -> u64 {
        at.and_then(|at| self.0.get(at)).map_or(0, |word| word.load(SeqCst))
    }

    fn rows(self) -> impl Iterator<Item = u16> {
        0..self.get(Some(ROWS_USED)).min(ROWS as u64) as u16
    }

    fn sum(self, server: u16, of: Count) -> u64 {
        self.rows().fold(0, |sum: u64, row| sum.saturating_add(self.get(count(row, server, of))))
    }

    /// How many requests are in flight at the server.
    #[must_use]
    pub(crate) fn in_flight(self, server: u16) -> u64 {
        self.sum(server, Count::InFlight)
    }

    /// How many requests it was given, by workers that live.
    #[must_use]
    pub(crate) fn requests(self, server: u16) -> u64 {
        self.sum(server, Count::Requests)
    }

    /// How many of them failed before a response began.
    #[must_use]
    pub(crate) fn failures(self, server: u16) -> u64 {
        self.sum(server, Count::Failures)
    }

    /// How it is.
    #[must_use]
    pub(crate) fn health(self, server: u16) -> Health {
        Health::decode(self.get(common(server, Common::Health)))
    }

    /// For how long it has been so; `None`: since the start.
    #[must_use]
    pub(crate) fn been(self, server: u16, now: Time) -> Option<Duration> {
        let since = self.get(common(server, Common::Since));
        (since > 0).then(|| Duration::from_millis(millis(now).saturating_sub(since)))
    }

    /// What the operator wants of it.
    #[must_use]
    pub(crate) fn wish(self, server: u16) -> Wish {
        match self.get(order(server)) {
            1 => Wish::Drained,
            2 => Wish::Disabled,
            _ => Wish::Enabled,
        }
    }

    /// Which version of its place is there; 0: nothing was found out of it yet.
    #[must_use]
    pub(crate) fn version(self, server: u16) -> u64 {
        self.get(spot(server))
    }

    /// Where it is by now, with the version of that, if that is not the one that was `seen`. `None`, too: the master is about
    /// to write.
    #[must_use]
    pub(crate) fn moved(self, server: u16, seen: u64) -> Option<(u64, Option<Spot>)> {
        let first = spot(server)?;
        let version = self.get(Some(first));
        if version == seen || version % 2 == 1 {
            return None;
        }
        let words = std::array::from_fn(|at| self.get(Some(first + 1 + at)));
        (self.get(Some(first)) == version).then(|| (version, Spot::decode(words)))
    }

    /// Where it is. `None`: nowhere.
    #[must_use]
    pub(crate) fn spot(self, server: u16) -> Option<Spot> {
        self.moved(server, 0)?.1
    }

    /// The row of the worker with the oldest head but that of `not`, and the head.
    fn oldest(self, upstream: u16, not: Option<u16>) -> Option<(u16, u64)> {
        let heads = self.rows().filter(|row| Some(*row) != not);
        let heads = heads.map(|row| (row, self.get(head(row, upstream)))).filter(|(_, head)| *head > 0);
        heads.min_by_key(|(_, head)| *head)
    }
}

/// The roster as a worker has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerRoster<'a> {
    roster: Roster<'a>,
    row: u16,
    own: &'a [AtomicU64],
    shared: &'a [AtomicU64],
}

impl<'a> Deref for WorkerRoster<'a> {
    type Target = Roster<'a>;

    fn deref(&self) -> &Roster<'a> {
        &self.roster
    }
}

impl<'a> WorkerRoster<'a> {
    /// For the worker of that row. `own` are the words of [`Roster::area`], `shared` those of [`Roster::shared`], in memory
    /// that it may write.
    #[must_use]
    pub(crate) fn new(
        words: &'a [AtomicU64],
        row: u16,
        own: &'a [AtomicU64],
        shared: &'a [AtomicU64],
    ) -> Self {
        Self { roster: Roster::new(words), row, own, shared }
    }

    fn own(self, at: Option<usize>) -> Option<&'a AtomicU64> {
        self.own.get(at?.checked_sub(area(self.row)?)?)
    }

    fn common(self, server: u16, word: Common) -> Option<&'a AtomicU64> {
        self.shared.get(common(server, word)?.checked_sub(FIRST_SHARED)?)
    }

    /// Adds to a count that others only show.
    fn tally(self, server: u16, what: Count) {
        if let Some(word) = self.own(count(self.row, server, what)) {
            word.store(word.load(Relaxed).wrapping_add(1), Release);
        }
    }

    /// Moves what is in flight by one.
    fn step(self, server: u16, up: bool) {
        if let Some(word) = self.own(count(self.row, server, Count::InFlight)) {
            let now = word.load(Relaxed);
            word.store(if up { now.wrapping_add(1) } else { now.saturating_sub(1) }, SeqCst);
        }
    }
}

/// What requests do.
impl WorkerRoster<'_> {
    /// A request goes to the server, if it takes no more than `most` at a time.
    #[must_use]
    pub(crate) fn enter(self, server: u16, most: Option<u32>) -> bool {
        self.step(server, true);
        let has_room = most.is_none_or(|most| self.in_flight(server) <= u64::from(most));
        if has_room {
            self.tally(server, Count::Requests);
        } else {
            self.step(server, false);
        }
        has_room
    }

    /// A request has left the server.
    pub(crate) fn leave(self, server: u16) {
        self.step(server, false);
    }

    /// The oldest request that waits here for any server of the upstream came then; `None`: none does. `certain`: some wait
    /// for certain servers only.
    pub(crate) fn wait(self, upstream: u16, since: Option<Time>, certain: bool) {
        if let Some(word) = self.own(self::certain(self.row, upstream)) {
            word.store(u64::from(certain), SeqCst);
        }
        if let Some(word) = self.own(head(self.row, upstream)) {
            word.store(since.map_or(0, |since| since.0.max(1)), SeqCst);
        }
    }

    /// The rows of other workers in which requests wait for certain servers: which, only they know.
    pub(crate) fn with_certain(self, upstream: u16) -> impl Iterator<Item = u16> {
        self.rows().filter(move |row| *row != self.row && self.get(certain(*row, upstream)) > 0)
    }

    /// Whether another worker has a request that has waited longer than one that came at `since`.
    #[must_use]
    pub(crate) fn is_overtaking(self, upstream: u16, since: Time) -> bool {
        self.oldest(upstream, Some(self.row)).is_some_and(|(_, head)| head < since.0)
    }

    /// The worker that may have what has come free: the one that waits longest, if that is not this one.
    #[must_use]
    pub(crate) fn next_in_line(self, upstream: u16) -> Option<u16> {
        self.oldest(upstream, None).map(|(row, _)| row).filter(|row| *row != self.row)
    }
}

/// What is found out about servers.
impl WorkerRoster<'_> {
    fn change(self, server: u16, now: Time, next: impl Fn(Health) -> Health) -> Option<Change> {
        /// How often another worker may come between; then what it has found out is as good.
        const TRIES: u32 = 8;
        let word = self.common(server, Common::Health)?;
        for _ in 0..TRIES {
            let seen = word.load(SeqCst);
            let (before, after) = (Health::decode(seen), next(Health::decode(seen)));
            if before == after {
                return None;
            }
            if word.compare_exchange(seen, after.encode(), SeqCst, SeqCst).is_ok() {
                if before.state == after.state {
                    return None;
                }
                if before.is_up() != after.is_up() {
                    self.common(server, Common::Since)?.store(millis(now), SeqCst);
                }
                let cause = if after.is_up() { before.cause } else { after.cause };
                return Some(Change { before: before.state, now: after.state, cause });
            }
        }
        None
    }

    /// A request failed at the server before a response began.
    pub(crate) fn failed(
        self,
        server: u16,
        cause: Cause,
        now: Time,
        rule: Passive,
        is_last: bool,
        is_checked: bool,
    ) -> Option<Change> {
        self.tally(server, Count::Failures);
        self.change(server, now, |health| health.after_failure(cause, now, rule, is_last, is_checked))
    }

    /// A request was given up before a response of the server began.
    pub(crate) fn unanswered(self, server: u16, now: Time) {
        self.change(server, now, |health| health.after_nothing(now));
    }

    /// A response of the server began.
    pub(crate) fn succeeded(self, server: u16, now: Time) -> Option<Change> {
        self.change(server, now, Health::after_success)
    }

    /// A request is to show whether the server is back: whether this one may.
    #[must_use]
    pub(crate) fn try_out(self, server: u16, now: Time) -> bool {
        let Some(word) = self.common(server, Common::Health) else { return false };
        let seen = word.load(SeqCst);
        let health = Health::decode(seen);
        health.may_be_tried(now)
            && word.compare_exchange(seen, health.on_trial(now).encode(), SeqCst, SeqCst).is_ok()
    }

    /// When the server is to be checked next.
    #[must_use]
    pub(crate) fn check_due(self, server: u16) -> Time {
        Time(self.get(common(server, Common::Due)).saturating_mul(1_000_000))
    }

    /// Whether it falls to this worker to check the server now; the next check is `every` later.
    #[must_use]
    pub(crate) fn take_check(self, server: u16, now: Time, every: Duration) -> bool {
        let Some(word) = self.common(server, Common::Due) else { return false };
        let seen = word.load(SeqCst);
        let next = millis(now) + every.as_millis() as u64;
        // One that is further away than it can be was written by a stranger.
        let is_due = seen <= millis(now) || seen > next;
        is_due && word.compare_exchange(seen, next, SeqCst, SeqCst).is_ok()
    }

    /// A check of the server has passed or not; so many alike in a row decide.
    pub(crate) fn checked(
        self,
        server: u16,
        passed: bool,
        cause: Cause,
        (rise, fall): (u32, u32),
        now: Time,
    ) -> Option<Change> {
        let word = self.common(server, Common::Checks)?;
        let seen = word.load(SeqCst);
        let alike = if (seen & 1 == 1) == passed { seen >> 1 } else { 0 };
        let count = alike.saturating_add(1).min(u64::from(u32::MAX));
        // One worker checks at a time.
        word.store(count << 1 | u64::from(passed), SeqCst);
        let enough = count >= u64::from(if passed { rise } else { fall });
        if enough { self.change(server, now, |health| health.after_checks(passed, cause, now)) } else { None }
    }
}

/// The roster as the master has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MasterRoster<'a>(Roster<'a>);

impl<'a> Deref for MasterRoster<'a> {
    type Target = Roster<'a>;

    fn deref(&self) -> &Roster<'a> {
        &self.0
    }
}

impl<'a> MasterRoster<'a> {
    /// The roster in these words, all of which can be written.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(Roster::new(words))
    }

    fn set(self, at: Option<usize>, value: u64) {
        if let Some(word) = at.and_then(|at| (self.0).0.get(at)) {
            word.store(value, SeqCst);
        }
    }

    /// A worker is about to be forked for that row.
    pub(crate) fn seat(self, row: u16) {
        if self.get(Some(ROWS_USED)) <= u64::from(row) {
            self.set(Some(ROWS_USED), u64::from(row) + 1);
        }
    }

    /// This is where the server is from now on; `None`: nowhere. One that has moved begins anew.
    pub(crate) fn put(self, server: u16, place: Option<Spot>, now: Time) {
        let Some(first) = spot(server) else { return };
        let before = self.spot(server);
        if self.version(server) > 0 && before == place {
            return;
        }
        // Odd is what a master has left that died in the middle.
        let begun = self.version(server) | 1;
        self.set(Some(first), begun);
        for (at, word) in Spot::encode(place).into_iter().enumerate() {
            self.set(Some(first + 1 + at), word);
        }
        let is_another =
            place.is_some_and(|place| before.is_none_or(|before| before.address != place.address));
        if is_another {
            self.order(server, Wish::Enabled, now);
        }
        self.set(Some(first), begun + 1);
    }

    /// The number is another server's from now on, of which nothing is known.
    pub(crate) fn clear(self, server: u16) {
        let words = [Common::Health, Common::Since, Common::Due, Common::Checks];
        words.into_iter().for_each(|word| self.set(common(server, word), 0));
        self.set(order(server), 0);
        let place = spot(server).into_iter().flat_map(|first| first..first + SPOT);
        place.for_each(|at| self.set(Some(at), 0));
    }

    /// What the operator wants of a server. One that is enabled begins anew.
    pub(crate) fn order(self, server: u16, wish: Wish, now: Time) {
        self.set(order(server), wish as u64);
        if wish == Wish::Enabled {
            self.set(common(server, Common::Health), 0);
            self.set(common(server, Common::Checks), 0);
            self.set(common(server, Common::Due), 0);
        }
        self.set(common(server, Common::Since), millis(now));
    }
}

#[cfg(test)]
mod tests;
