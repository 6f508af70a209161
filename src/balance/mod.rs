//! Which server of an upstream takes a request: smooth weighted round robin over those that are not resting after
//! failures. Pure: no I/O, no clock; a worker keeps one [`Balancer`] per upstream, for itself.
//!
//! A server that fails three times within ten seconds, with no success between, rests for ten seconds; then it gets one
//! request like any other, and rests again if that fails too. The last server that does not rest never begins to: an
//! upstream of one server, or one whose servers all fail, is asked each time, so that it is back with the first success.
//!
//! How many connections to each are worth keeping, [`Keep`] says.

mod keep;

pub(crate) use keep::{Keep, WINDOW};

use crate::timer::Time;
use std::time::Duration;

/// The servers of one upstream, by index.
#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    servers: Vec<Server>,
}

#[derive(Clone, Debug)]
struct Server {
    /// Its share; 0: takes nothing.
    weight: i64,
    /// Goes up by the weight each round, down by the sum of all when it is picked.
    credit: i64,
    /// Its last failures since the last success, oldest first.
    failures: [Option<Time>; FAILURES],
    /// Until when it rests.
    rests_until: Option<Time>,
}

impl Balancer {
    /// One server for each weight. A weight of 0 takes no requests.
    #[must_use]
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let server = |weight: u32| Server {
            weight: i64::from(weight),
            credit: 0,
            failures: [None; FAILURES],
            rests_until: None,
        };
        Self { servers: weights.into_iter().map(server).collect() }
    }

    /// The server whose turn it is, among those that do not rest and that `skip` lets stand (it tells what was tried
    /// already for this request). `None` if none is left.
    pub(crate) fn pick(&mut self, now: Time, skip: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (index, server) in self.servers.iter_mut().enumerate() {
            if server.weight == 0 || server.rests(now) || skip(index) {
                continue;
            }
            total += server.weight;
            server.credit += server.weight;
            if best.is_none_or(|(_, credit)| server.credit > credit) {
                best = Some((index, server.credit));
            }
        }
        let (index, _) = best?;
        self.servers.get_mut(index)?.credit -= total;
        Some(index)
    }

    /// A request to the server failed before its response began: refused, reset, silent for too long.
    pub(crate) fn failed(&mut self, index: usize, now: Time) {
        let others_live = self
            .servers
            .iter()
            .enumerate()
            .any(|(other, server)| other != index && server.weight > 0 && !server.rests(now));
        let Some(server) = self.servers.get_mut(index) else { return };
        server.failures.rotate_left(1);
        server.failures[FAILURES - 1] = Some(now);
        let is_burst = server.failures[0].is_some_and(|oldest| now.since(oldest) <= BURST);
        // What failed again in the first request after its rest has not recovered.
        let is_relapse = server.rests_until.is_some();
        if others_live && (is_burst || is_relapse) {
            server.rests_until = Some(now.after(REST));
            server.credit = 0;
        }
    }

    /// The server began to answer: its failures are forgotten.
    pub(crate) fn succeeded(&mut self, index: usize) {
        if let Some(server) = self.servers.get_mut(index) {
            server.failures = [None; FAILURES];
            server.rests_until = None;
        }
    }
}

impl Server {
    fn rests(&self, now: Time) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

/// So many failures in a row…
const FAILURES: usize = 3;
/// …within this long…
const BURST: Duration = Duration::from_secs(10);
/// …make a server rest for so long.
const REST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn picks(balancer: &mut Balancer, now: Time, count: usize) -> Vec<usize> {
        (0..count).map(|_| balancer.pick(now, |_| false).unwrap()).collect()
    }

    fn fail(balancer: &mut Balancer, index: usize, times: &[u64]) {
        for time in times {
            balancer.failed(index, at(*time));
        }
    }

    #[test]
    fn equal_weights_take_turns() {
        let mut balancer = Balancer::new([1, 1, 1]);
        assert_eq!(picks(&mut balancer, at(1), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn weights_are_shares_spread_smoothly() {
        // nginx's example: a a b a c a a, never five times a in a row.
        assert_eq!(picks(&mut Balancer::new([5, 1, 1]), at(1), 7), [0, 0, 1, 0, 2, 0, 0]);
        let mut balancer = Balancer::new([7, 0, 3, u32::MAX]);
        let mut counts = [0; 4];
        for index in picks(&mut balancer, at(1), 1000) {
            counts[index] += 1;
        }
        assert_eq!(counts[1], 0);
        let mut balancer = Balancer::new([7, 0, 3]);
        let mut counts = [0; 3];
        for index in picks(&mut balancer, at(1), 1000) {
            counts[index] += 1;
        }
        assert_eq!(counts, [700, 0, 300]);
    }

    #[test]
    fn what_is_skipped_is_not_picked() {
        let mut balancer = Balancer::new([1, 1]);
        for _ in 0..5 {
            assert_eq!(balancer.pick(at(1), |index| index == 0), Some(1));
        }
        assert_eq!(balancer.pick(at(1), |_| true), None);
        assert_eq!(Balancer::new([]).pick(at(1), |_| false), None);
        assert_eq!(Balancer::new([0]).pick(at(1), |_| false), None);
    }

    #[test]
    fn three_failures_in_ten_seconds_rest_for_ten() {
        let mut balancer = Balancer::new([1, 1]);
        fail(&mut balancer, 0, &[100, 105]);
        assert!(!balancer.servers[0].rests(at(105)));
        fail(&mut balancer, 0, &[110]);
        assert!(balancer.servers[0].rests(at(110)));
        assert_eq!(picks(&mut balancer, at(119), 3), [1, 1, 1]);
        assert!(picks(&mut balancer, at(120), 2).contains(&0));
    }

    #[test]
    fn slow_failures_and_those_before_a_success_do_not_add_up() {
        let mut balancer = Balancer::new([1, 1]);
        fail(&mut balancer, 0, &[100, 105, 111, 120, 125]);
        assert!(!balancer.servers[0].rests(at(125)));
        let mut balancer = Balancer::new([1, 1]);
        fail(&mut balancer, 0, &[100, 101]);
        balancer.succeeded(0);
        fail(&mut balancer, 0, &[102, 103]);
        assert!(!balancer.servers[0].rests(at(103)));
        fail(&mut balancer, 0, &[104]);
        assert!(balancer.servers[0].rests(at(104)));
    }

    #[test]
    fn after_its_rest_one_failure_is_enough_and_one_success_heals() {
        let mut balancer = Balancer::new([1, 1]);
        fail(&mut balancer, 0, &[100, 100, 100, 130]);
        assert!(balancer.servers[0].rests(at(139)) && !balancer.servers[0].rests(at(140)));
        balancer.succeeded(0);
        fail(&mut balancer, 0, &[150]);
        assert!(!balancer.servers[0].rests(at(150)));
    }

    #[test]
    fn the_last_living_server_never_rests() {
        let mut balancer = Balancer::new([1, 1, 0]);
        fail(&mut balancer, 0, &[100, 100, 100]);
        fail(&mut balancer, 1, &[101, 101, 101, 101]);
        assert_eq!(picks(&mut balancer, at(101), 3), [1, 1, 1]);
        // The other is back: now it may rest.
        fail(&mut balancer, 1, &[110]);
        assert_eq!(picks(&mut balancer, at(110), 3), [0, 0, 0]);
        let mut single = Balancer::new([1]);
        fail(&mut single, 0, &[1, 1, 1, 1]);
        assert_eq!(single.pick(at(1), |_| false), Some(0));
    }

    #[test]
    fn who_returns_from_a_rest_does_not_take_all() {
        let mut balancer = Balancer::new([1, 1]);
        picks(&mut balancer, at(99), 7);
        fail(&mut balancer, 0, &[100, 100, 100]);
        picks(&mut balancer, at(101), 1000);
        let after = picks(&mut balancer, at(200), 10);
        assert_eq!(after.iter().filter(|index| **index == 0).count(), 5, "{after:?}");
    }

    #[test]
    fn a_stranger_s_index_is_ignored() {
        let mut balancer = Balancer::new([1]);
        balancer.failed(9, at(1));
        balancer.succeeded(9);
    }
}
