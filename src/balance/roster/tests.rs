use super::*;
use std::collections::HashSet;

struct Words(Vec<AtomicU64>);

impl Words {
    fn new() -> Self {
        let words = Self((0..WORDS).map(|_| AtomicU64::new(0)).collect());
        (0..4).for_each(|row| words.master().seat(row));
        words
    }

    fn master(&self) -> MasterRoster<'_> {
        MasterRoster::new(&self.0)
    }

    fn worker(&self, row: u16) -> WorkerRoster<'_> {
        WorkerRoster::new(&self.0, row, &self.0[Roster::area(row).unwrap()], &self.0[Roster::shared()])
    }
}

const RULE: Passive = Passive { max_fails: 1, fail_timeout: Duration::from_secs(10) };
const CAUSE: Cause = Cause(5);

fn at(seconds: u64) -> Time {
    Time(seconds * 1_000_000_000)
}

#[test]
fn no_two_words_share_a_place_and_all_are_where_their_writer_may_write() {
    let mut seen = HashSet::new();
    let mut take = |at: usize, part: Range<usize>| assert!(seen.insert(at) && part.contains(&at), "{at}");
    take(ROWS_USED, 0..FIRST_AREA);
    for server in [0, 1, SERVERS as u16 - 1] {
        take(order(server).unwrap(), 0..FIRST_AREA);
        (0..SPOT).for_each(|word| take(spot(server).unwrap() + word, 0..FIRST_AREA));
        for word in [Common::Health, Common::Since, Common::Due, Common::Checks] {
            take(common(server, word).unwrap(), Roster::shared());
        }
    }
    for row in 0..ROWS as u16 {
        for upstream in [0, UPSTREAMS as u16 - 1] {
            take(certain(row, upstream).unwrap(), Roster::area(row).unwrap());
            take(head(row, upstream).unwrap(), Roster::area(row).unwrap());
        }
        for server in [0, SERVERS as u16 - 1] {
            for what in [Count::InFlight, Count::Requests, Count::Failures] {
                take(count(row, server, what).unwrap(), Roster::area(row).unwrap());
            }
        }
    }
    for part in (0..ROWS as u16).filter_map(Roster::area).chain([Roster::shared()]) {
        assert_eq!((part.start % ALIGNED, part.end % ALIGNED), (0, 0));
    }
    assert_eq!(Roster::shared().end, WORDS);
    let (row, server, upstream) = (ROWS as u16, SERVERS as u16, UPSTREAMS as u16);
    assert_eq!(order(server).or(common(server, Common::Due)).or(head(0, upstream)), None);
    assert_eq!(count(row, 0, Count::Requests).or(count(0, server, Count::Requests)).or(head(row, 0)), None);
}

#[test]
fn a_limit_is_that_of_all_workers() {
    let words = Words::new();
    let (one, two) = (words.worker(0), words.worker(3));
    assert!(one.enter(9, Some(2)) && two.enter(9, Some(2)));
    assert!(!one.enter(9, Some(2)) && !two.enter(9, Some(2)));
    assert_eq!((one.in_flight(9), one.requests(9)), (2, 2));
    assert!(one.enter(8, Some(1)), "another server");
    two.leave(9);
    assert!(one.enter(9, Some(2)));
    assert!(two.enter(9, None), "no limit");
    one.leave(7);
    assert_eq!(one.in_flight(7), 0, "more left than came");
}

#[test]
fn who_waits_longest_is_next() {
    let words = Words::new();
    let (one, two, three) = (words.worker(0), words.worker(1), words.worker(2));
    assert!(!one.is_overtaking(4, at(9)));
    two.wait(4, Some(at(5)), false);
    three.wait(4, Some(at(3)), true);
    assert!(one.is_overtaking(4, at(4)) && !one.is_overtaking(4, at(3)) && !one.is_overtaking(5, at(4)));
    assert!(!three.is_overtaking(4, at(4)), "its own head");
    assert_eq!((one.next_in_line(4), two.next_in_line(4), three.next_in_line(4)), (Some(2), Some(2), None));
    three.wait(4, None, true);
    assert_eq!((one.next_in_line(4), two.next_in_line(4)), (Some(1), None));
    let with_certain = |worker: WorkerRoster<'_>| worker.with_certain(4).collect::<Vec<_>>();
    assert_eq!((with_certain(one), with_certain(three), one.with_certain(5).count()), (vec![2], vec![], 0));
}

#[test]
fn a_change_is_told_of_once_by_who_made_it() {
    let words = Words::new();
    let (one, two) = (words.worker(0), words.worker(1));
    let failed = |worker: WorkerRoster<'_>, now| worker.failed(3, CAUSE, at(now), RULE, false, false);
    let change = Change { before: State::Up, now: State::Resting, cause: CAUSE };
    assert_eq!((failed(one, 100), failed(two, 100)), (Some(change), None));
    assert_eq!(two.been(3, at(104)), Some(Duration::from_secs(4)));
    assert!(!one.try_out(3, at(109)));
    assert!(one.try_out(3, at(110)) && !two.try_out(3, at(110)), "one request tries it");
    let still = Change { before: State::Trial, now: State::Resting, cause: CAUSE };
    assert_eq!((failed(one, 111), one.been(3, at(112))), (Some(still), Some(Duration::from_secs(12))));
    assert!(two.try_out(3, at(131)));
    one.unanswered(3, at(132));
    assert!(two.try_out(3, at(132)), "nothing came of it");
    let back = Change { before: State::Trial, now: State::Up, cause: CAUSE };
    assert_eq!((two.succeeded(3, at(133)), one.succeeded(3, at(133))), (Some(back), None));
    assert_eq!((one.failures(3), one.been(4, at(9))), (3, None));
}

#[test]
fn checks_are_one_worker_s_at_a_time_and_decide_in_rows() {
    let words = Words::new();
    let (one, two) = (words.worker(0), words.worker(1));
    let every = Duration::from_secs(5);
    assert!(one.take_check(3, at(100), every) && !two.take_check(3, at(100), every));
    assert_eq!(two.check_due(3), at(105));
    assert!(!two.take_check(3, at(104), every) && two.take_check(3, at(105), every));
    // A liar may not put it off for ever.
    two.common(3, Common::Due).unwrap().store(u64::MAX, SeqCst);
    assert!(one.take_check(3, at(106), every));
    let check = |passed| one.checked(3, passed, CAUSE, (2, 3), at(200));
    assert_eq!((check(false), check(false), check(true), check(false), check(false)), Default::default());
    let down = Change { before: State::Up, now: State::Failed, cause: CAUSE };
    assert_eq!((check(false), check(false), check(true)), (Some(down), None, None));
    let back = Change { before: State::Failed, now: State::Up, cause: CAUSE };
    assert_eq!(check(true), Some(back));
}

#[test]
fn what_the_operator_wants_holds_and_who_is_enabled_begins_anew() {
    let words = Words::new();
    let worker = words.worker(0);
    words.master().order(3, Wish::Drained, at(50));
    assert_eq!((worker.wish(3), worker.wish(4)), (Wish::Drained, Wish::Enabled));
    assert!(worker.failed(3, CAUSE, at(60), RULE, false, true).is_some());
    words.master().order(3, Wish::Enabled, at(70));
    assert!(worker.wish(3) == Wish::Enabled && worker.health(3).is_up());
    assert_eq!(worker.been(3, at(71)), Some(Duration::from_secs(1)));
}

#[test]
fn of_a_number_that_another_has_now_nothing_is_known() {
    let words = Words::new();
    let worker = words.worker(0);
    words.master().order(3, Wish::Disabled, at(50));
    assert!(worker.failed(3, CAUSE, at(60), RULE, false, true).is_some());
    assert!(worker.take_check(3, at(60), RULE.fail_timeout));
    words.master().clear(3);
    assert!(worker.wish(3) == Wish::Enabled && worker.health(3).is_up());
    assert_eq!((worker.been(3, at(61)), worker.check_due(3), worker.version(3)), (None, Time::ZERO, 0));
}

#[test]
fn what_does_not_exist_is_nobody_s() {
    let words = Words::new();
    let worker = words.worker(0);
    let none = SERVERS as u16;
    assert!(
        worker.enter(none, Some(1))
            && !worker.try_out(none, at(1))
            && !worker.take_check(none, at(1), RULE.fail_timeout)
    );
    assert_eq!((worker.in_flight(none), worker.succeeded(none, at(1))), (0, None));
    worker.wait(UPSTREAMS as u16, Some(at(1)), true);
    assert_eq!(worker.next_in_line(UPSTREAMS as u16), None);
}

/// A worker that was taken over writes what it likes, wherever it can.
#[test]
fn what_a_liar_writes_ends_nobody() {
    for lie in [u64::MAX, 1 << 63, 7, 0x5555_5555_5555_5555] {
        let words = Words::new();
        let (liar, honest) = (words.worker(0), words.worker(1));
        liar.own.iter().chain(liar.shared).for_each(|word| word.store(lie, SeqCst));
        assert!(!honest.enter(3, Some(1)) && honest.enter(3, None), "requests wait where there is a limit");
        honest.leave(3);
        let _ = (honest.failed(3, CAUSE, at(5), RULE, false, false), honest.succeeded(3, at(5)));
        let _ = (honest.try_out(3, at(5)), honest.take_check(3, at(5), RULE.fail_timeout));
        let _ = honest.checked(3, true, CAUSE, (1, 1), at(5));
        let _ = (honest.been(3, at(5)), honest.check_due(3), honest.health(3), honest.next_in_line(2));
        assert!(honest.health(3).is_up(), "one check brings it back, whatever was written");
        // The master clears what it had when it is reaped.
        words.0[Roster::area(0).unwrap()].iter().for_each(|word| word.store(0, SeqCst));
        assert!(honest.enter(3, Some(1)));
    }
}

/// Four workers, each on a thread of its own, and never more than two at a server of two.
#[test]
fn a_limit_holds_whoever_comes_at_the_same_time() {
    use std::sync::atomic::AtomicUsize;
    let words = Words::new();
    let (there, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for row in 0..4 {
            let (worker, there, served) = (words.worker(row), &there, &served);
            scope.spawn(move || {
                let mut left = 3_000;
                while left > 0 {
                    if worker.enter(5, Some(2)) {
                        let most = there.fetch_add(1, SeqCst) + 1;
                        assert!(most <= 2, "{most} at a time");
                        there.fetch_sub(1, SeqCst);
                        worker.leave(5);
                        served.fetch_add(1, SeqCst);
                        left -= 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    assert_eq!((served.into_inner(), words.worker(0).in_flight(5)), (12_000, 0));
}

fn spot_at(address: &str) -> Spot {
    Spot { address: address.parse().unwrap(), weight: 7, backup: true, tag: *b"0123456789abcdef" }
}

#[test]
fn a_server_that_is_looked_up_is_where_the_master_says_and_begins_anew_where_it_moves() {
    let words = Words::new();
    let (master, worker) = (words.master(), words.worker(0));
    assert_eq!((worker.version(3), worker.moved(3, 0), worker.spot(3)), (0, None, None));
    master.put(3, None, at(1));
    let (version, nowhere) = worker.moved(3, 0).unwrap();
    assert!(nowhere.is_none() && version > 0, "it was looked up in vain");
    for address in ["10.0.0.5:8080", "[2001:db8::1]:65535", "[::ffff:10.0.0.5]:1"] {
        master.put(3, Some(spot_at(address)), at(2));
        assert_eq!((worker.spot(3), worker.spot(4)), (Some(spot_at(address)), None));
    }
    let seen = worker.version(3);
    master.order(3, Wish::Disabled, at(3));
    let lost = worker.failed(3, CAUSE, at(3), RULE, false, false);
    assert!(lost.is_some() && worker.enter(3, None));
    master.put(3, Some(spot_at("[::ffff:10.0.0.5]:1")), at(4));
    master.put(3, Some(Spot { weight: 1, ..spot_at("[::ffff:10.0.0.5]:1") }), at(4));
    assert!(worker.moved(3, seen).is_some_and(|(_, spot)| spot.is_some_and(|spot| spot.weight == 1)));
    assert_eq!((worker.wish(3), worker.health(3).is_up()), (Wish::Disabled, false), "it has not moved");
    master.put(3, Some(spot_at("10.0.0.6:8080")), at(5));
    assert_eq!((worker.wish(3), worker.health(3).is_up()), (Wish::Enabled, true));
    assert_eq!((worker.in_flight(3), worker.requests(3)), (1, 1), "what is there goes on");
}

#[test]
fn nobody_takes_half_of_an_address() {
    let words = Words::new();
    let (master, worker) = (words.master(), words.worker(0));
    master.put(3, Some(spot_at("10.0.0.5:8080")), at(1));
    let version = worker.version(3);
    let first = spot(3).unwrap();
    words.0[first].store(version + 1, SeqCst);
    words.0[first + 2].store(0, SeqCst);
    assert_eq!((worker.moved(3, 0), worker.spot(3)), (None, None), "the master is about to write");
    // Another master goes on where that one died.
    master.put(3, Some(spot_at("10.0.0.6:8080")), at(2));
    assert_eq!(worker.moved(3, version), Some((version + 2, Some(spot_at("10.0.0.6:8080")))));
}
