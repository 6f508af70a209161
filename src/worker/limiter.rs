//! The limits of requests and connections, as this worker applies them: over the table that all workers share.

use crate::policy::condition::Facts;
use crate::policy::limit::counts::Counts;
use crate::policy::limit::table::WorkerTable;
use crate::policy::limit::{self, Excess, Limit, key};
use crate::timer::Time;
use std::net::IpAddr;
use std::time::Duration;

/// How often the master is told what was refused.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Limiter {
    table: WorkerTable<'static>,
    counts: Counts,
    exceeded: Vec<Exceeded>,
    /// When the master was told last.
    told: Option<Time>,
}

/// How often a limit was exceeded since the master was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// The limit.
    pub(super) label: String,
    pub(super) refused: u64,
    pub(super) spared: u64,
}

/// What a request was told by the limits of its place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// It is refused.
    pub(super) excess: Option<Excess>,
    /// Those who would refuse it, were they not only tried.
    pub(super) spared: Vec<String>,
    /// What it is counted for as long as it runs.
    pub(super) held: Vec<u64>,
}

/// As what a connection is counted against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Not at all.
    Not,
    /// As one of those the limit allows.
    Served,
    /// As one of those that get a 429.
    Refused,
}

impl Limiter {
    pub(super) fn new(table: WorkerTable<'static>) -> Self {
        Self { table, counts: Counts::default(), exceeded: Vec::new(), told: None }
    }

    /// A request comes to a place with these limits. One that is refused has taken nothing of any.
    pub(super) fn judge(&mut self, limits: &[Limit], facts: &Facts<'_>, now: Time) -> Judged {
        let mut judged = Judged::default();
        let concerns = |limit: &&Limit| limit.concerns(facts);
        if let [only] = limits {
            if concerns(&only) {
                self.apply(only, facts, now, &mut judged);
            }
            return judged;
        }
        let limits: Vec<&Limit> = limits.iter().filter(concerns).collect();
        let refusing = limits.iter().filter(|limit| !limit.dry_run).find_map(|limit| {
            let outcome = self.table.peek(self.hash(limit, facts)?, limit.bucket?, now);
            Excess::of(limit, outcome)
        });
        if let Some(excess) = refusing {
            self.note(&excess.label, true);
            judged.excess = Some(excess);
            return judged;
        }
        // What can be given back goes first.
        let (counting, others): (Vec<_>, Vec<_>) =
            limits.into_iter().partition(|limit| limit.concurrency.is_some());
        for limit in counting.into_iter().chain(others) {
            self.apply(limit, facts, now, &mut judged);
            if judged.excess.is_some() {
                self.leave(&std::mem::take(&mut judged.held));
                break;
            }
        }
        judged
    }

    fn hash(&self, limit: &Limit, facts: &Facts<'_>) -> Option<u64> {
        limit.by.with(facts, |kind, bytes| self.table.hash(limit.seed, kind, bytes))
    }

    fn apply(&mut self, limit: &Limit, facts: &Facts<'_>, now: Time, judged: &mut Judged) {
        let Some(hash) = self.hash(limit, facts) else { return };
        let mut excess = None;
        let counted = limit.concurrency.is_some_and(|most| {
            let enters = self.counts.enter(hash, most, self.table);
            excess = (!enters).then(|| Excess::at_once(limit));
            enters
        });
        if let Some(bucket) = limit.bucket.filter(|_| excess.is_none()) {
            excess = Excess::of(limit, self.table.take(hash, bucket, now));
        }
        match excess {
            Some(_) if limit.dry_run => {
                self.note(&limit.label, false);
                judged.spared.push(limit.label.clone());
                judged.held.extend(counted.then_some(hash));
            }
            Some(excess) => {
                self.note(&limit.label, true);
                if counted {
                    self.counts.leave(hash, self.table);
                }
                judged.excess = Some(excess);
            }
            None => judged.held.extend(counted.then_some(hash)),
        }
    }

    /// A request that was counted for these is over.
    pub(super) fn leave(&mut self, held: &[u64]) {
        held.iter().for_each(|hash| self.counts.leave(*hash, self.table));
    }

    fn connection(&self, kind: &str, address: IpAddr) -> u64 {
        let seed = limit::seed(kind);
        key::client(address, |family, bytes| self.table.hash(seed, family, bytes))
    }

    /// A connection of that address has come, of which there may be so many: as what it is counted; `None`: close it at once.
    pub(super) fn connect(&mut self, address: IpAddr, most: u32) -> Option<Counted> {
        for (kind, counted) in [(limit::CONNECTIONS, Counted::Served), (REFUSED, Counted::Refused)] {
            if self.counts.enter(self.connection(kind, address), most, self.table) {
                if counted == Counted::Refused {
                    self.note(limit::CONNECTIONS, true);
                }
                return Some(counted);
            }
        }
        self.note(limit::CONNECTIONS, true);
        None
    }

    /// A connection that was counted so is closed.
    pub(super) fn disconnect(&mut self, address: IpAddr, counted: Counted) {
        let kind = match counted {
            Counted::Not => return,
            Counted::Served => limit::CONNECTIONS,
            Counted::Refused => REFUSED,
        };
        self.counts.leave(self.connection(kind, address), self.table);
    }

    fn note(&mut self, label: &str, is_refused: bool) {
        let at = self.exceeded.iter().position(|known| known.label == label).unwrap_or_else(|| {
            self.exceeded.push(Exceeded { label: label.to_owned(), refused: 0, spared: 0 });
            self.exceeded.len() - 1
        });
        if let Some(known) = self.exceeded.get_mut(at) {
            *(if is_refused { &mut known.refused } else { &mut known.spared }) += 1;
        }
    }

    /// When there is something to tell the master.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.exceeded.is_empty()).then(|| self.told.map_or(Time::ZERO, |told| told.after(PAUSE)))
    }

    /// What was exceeded since the last time, at once or when it is time.
    pub(super) fn take(&mut self, now: Time, at_once: bool) -> Vec<Exceeded> {
        if !at_once && self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        self.told = Some(now);
        std::mem::take(&mut self.exceeded)
    }
}

/// Connections on which a 429 is on its way.
const REFUSED: &str = "connections that are refused";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::condition::{Condition, When};
    use crate::policy::limit::table::{self, MasterTable};
    use crate::policy::limit::{By, Rate};
    use std::sync::atomic::AtomicU64;

    /// Workers that share a table.
    fn limiters(count: u16) -> Vec<Limiter> {
        let words = (0..table::words(table::SMALLEST)).map(|_| AtomicU64::new(0));
        let words: &'static [AtomicU64] = Vec::leak(words.collect());
        let master = MasterTable::new(words);
        master.begin([3, 4]);
        (0..count).for_each(|row| master.seat(row));
        let of = |row| {
            let (own, shared) = (table::area(row).unwrap(), table::shared(words.len()));
            Limiter::new(WorkerTable::new(words, row, &words[own], &words[shared]))
        };
        (0..count).map(of).collect()
    }

    fn named(limit: Limit, label: &str) -> Limit {
        let mut limit = limit;
        limit.named(label.to_owned());
        limit
    }

    fn rate(count: u32, by: By) -> Limit {
        Limit { rate: Some(Rate { count, per: Duration::from_secs(60) }), by, ..Limit::default() }
    }

    fn facts(client: Option<IpAddr>) -> Facts<'static> {
        let (head, target) = (Box::new(key::tests::head(&[])), Box::new(key::tests::target()));
        Facts { client, ..Facts::of(Box::leak(head), Box::leak(target)) }
    }

    const NOW: Time = Time(5_000_000_000);

    #[test]
    fn each_address_has_its_places_over_all_workers() {
        let mut all = limiters(2);
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let counted: Vec<_> = (0..5).map(|round| all[round % 2].connect(one, 2)).collect();
        let (served, refused) = (Some(Counted::Served), Some(Counted::Refused));
        assert_eq!(counted, [served, served, refused, refused, None]);
        assert_eq!(all[0].connect("::ffff:192.0.2.1".parse().unwrap(), 2), None, "the same in IPv6 clothes");
        assert_eq!(all[1].connect(other, 2), served);
        // One that was refused leaves: the places of the served stay taken.
        all[0].disconnect(one, Counted::Refused);
        assert_eq!(all[1].connect(one, 2), refused);
        all[1].disconnect(one, Counted::Served);
        assert_eq!(all[0].connect(one, 2), served);
        let told: u64 =
            all.iter_mut().flat_map(|limiter| limiter.take(NOW, true)).map(|one| one.refused).sum();
        assert_eq!(told, 5);
    }

    #[test]
    fn who_is_refused_by_one_limit_takes_nothing_of_others() {
        let mut all = limiters(2);
        let limits = [
            named(rate(10, By::All), "all"),
            named(Limit { concurrency: Some(3), by: By::All, ..Limit::default() }, "at once"),
            named(rate(2, By::Client), "client"),
        ];
        let ask = |limiter: &mut Limiter, client: u8| {
            limiter.judge(&limits, &facts(Some(IpAddr::from([192, 0, 2, client]))), NOW)
        };
        for _ in 0..100 {
            let judged = ask(&mut all[0], 1);
            all[0].leave(&judged.held);
        }
        // 8 tokens are left of all; three run.
        let mut held = Vec::new();
        for client in 2..5 {
            let judged = ask(&mut all[1], client);
            assert_eq!(judged.excess, None, "{client}");
            held.push(judged.held);
        }
        let fourth = ask(&mut all[0], 5);
        assert_eq!(
            fourth.excess.map(|excess| (excess.label, excess.quota)),
            Some(("at once".to_owned(), None))
        );
        assert!(fourth.held.is_empty());
        held.iter().for_each(|held| all[1].leave(held));
        let allowed = (6..30).filter(|client| {
            let judged = ask(&mut all[0], *client);
            all[0].leave(&judged.held);
            judged.excess.is_none()
        });
        assert_eq!(allowed.count(), 5);
    }

    #[test]
    fn what_is_only_tried_refuses_nothing_and_is_counted() {
        let mut all = limiters(1);
        let limits = [named(Limit { dry_run: true, ..rate(1, By::Client) }, "tried")];
        let client = facts(Some(IpAddr::from([192, 0, 2, 1])));
        let spared: Vec<_> = (0..3).map(|_| all[0].judge(&limits, &client, NOW)).collect();
        assert!(spared.iter().all(|judged| judged.excess.is_none()));
        assert_eq!(spared[2].spared, ["tried"]);
        assert_eq!(all[0].take(NOW, true), [Exceeded { label: "tried".to_owned(), refused: 0, spared: 2 }]);
        assert_eq!((all[0].take(NOW, true), all[0].deadline()), (vec![], None));
    }

    #[test]
    fn a_limit_counts_those_for_whom_its_conditions_hold() {
        let conditions = [
            ("gets".to_owned(), Condition { method: vec!["GET".to_owned()], ..Condition::default() }),
            ("puts".to_owned(), Condition { method: vec!["PUT".to_owned()], ..Condition::default() }),
        ];
        let client = Facts { conditions: &conditions, ..facts(Some(IpAddr::from([192, 0, 2, 1]))) };
        for (when, unless, counts) in
            [(Some(0), None, true), (Some(1), None, false), (None, Some(0), false), (Some(0), Some(1), true)]
        {
            let mut all = limiters(1);
            let (when, unless) = (when.map(When), unless.map(When));
            let limits = [named(Limit { when, unless, ..rate(1, By::Client) }, "one")];
            let judged: Vec<bool> =
                (0..2).map(|_| all[0].judge(&limits, &client, NOW).excess.is_some()).collect();
            assert_eq!(judged, [false, counts], "{when:?} {unless:?}");
        }
    }

    #[test]
    fn nobody_knows_whose_a_request_is_that_has_no_address() {
        let mut all = limiters(1);
        let limits = [named(rate(1, By::Client), "client")];
        assert!((0..5).all(|_| all[0].judge(&limits, &facts(None), NOW).excess.is_none()));
    }
}
