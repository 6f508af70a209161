use super::*;
use crate::dispatch::{MasterBoard, WorkerBoard};

pub(in crate::dispatch) const NOW: Time = Time(100);

/// Zeroed words for pools 0 to 2.
pub(in crate::dispatch) fn words() -> Vec<AtomicU64> {
    let last = layout::unit(2, SLOTS as u16 - 1, THREADS as u16 - 1).unwrap().index();
    (0..=last).map(|_| AtomicU64::new(0)).collect()
}

/// The board of the worker of a row.
pub(in crate::dispatch) fn worker(words: &[AtomicU64], row: u16) -> WorkerBoard<'_> {
    let own = Board::area(row).and_then(|area| words.get(area)).unwrap_or_default();
    WorkerBoard::new(words, row, own, &words[Board::units().start..])
}

/// The board of the master, all rows of which were given to workers.
pub(in crate::dispatch) fn master(words: &[AtomicU64]) -> MasterBoard<'_> {
    let board = MasterBoard::new(words);
    (0..WORKERS as u16).for_each(|row| board.seat(row));
    board
}

#[test]
fn a_board_knows_its_own_layout() {
    let words = words();
    let board = MasterBoard::new(&words);
    assert!(!board.is_ours());
    board.begin();
    assert!(board.is_ours() && Board::layout() != 0);
    words[0].store(Board::layout() + 1, SeqCst);
    assert!(!board.is_ours());
    assert!(!Board::new(&[]).is_ours());
}

#[test]
fn nothing_is_read_of_a_worker_that_counts_in_another_way() {
    let words = words();
    let board = master(&words);
    for row in [1, 2] {
        let worker = worker(&words, row);
        worker.set_connections(7 - u64::from(row));
        worker.count_requests(9);
        worker.set_accepting(true);
        worker.beat(3);
    }
    let seen = |row| (board.connections(row), board.requests(row), board.accepting(row), board.turn(row));
    assert_eq!((board.accepting_workers(), board.least_connections()), (2, 5));
    let layout = layout::counting(2).unwrap().index();
    words[layout].store(layout::COUNTERS + 1, SeqCst);
    assert_eq!((seen(1), seen(2)), ((Some(6), Some(9), true, Some(3)), (None, None, false, None)));
    assert_eq!((board.accepting_workers(), board.least_connections()), (1, 6));
    // It claims as all do.
    assert_eq!(board.open(0, 0, 1, 1, 0), Rows::default());
    let lease = worker(&words, 2).claim(0).unwrap();
    assert_eq!((worker(&words, 1).wait(0, Time(1)), board.last_activity(0, NOW)), (None, NOW));
    assert_eq!(worker(&words, 2).free(lease, NOW), Freed::Offered(1));
    // Nor of one that was reaped; the next one counts as we do.
    let _ = board.worker_left(2, NOW);
    assert_eq!((words[layout].load(SeqCst), seen(2).1), (0, None));
    board.seat(2);
    assert_eq!(seen(2).1, Some(9), "`sys::shm` gives the pages back in between");
}

#[test]
fn a_unit_serves_one_request_at_a_time() {
    let words = words();
    let board = master(&words);
    assert_eq!(worker(&words, 0).claim(1), None);
    assert_eq!(board.open(1, 0, 1, 2, 0), Rows::default());
    let one = worker(&words, 0).claim(1).unwrap();
    let two = worker(&words, 1).claim(1).unwrap();
    assert_eq!((one.thread, two.thread, worker(&words, 2).claim(1)), (0, 1, None));
    assert_eq!(board.claimed(1, 0), 2);
    assert_eq!(worker(&words, 1).free(one, NOW), Freed::Stale, "not the owner");
    assert_eq!(worker(&words, 0).free(one, NOW), Freed::Idle);
    assert_eq!(worker(&words, 0).free(one, NOW), Freed::Stale, "twice");
    assert_eq!(worker(&words, 2).claim(1), Some(one));
}

#[test]
fn a_freed_unit_goes_to_the_request_that_waited_longest() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 1, 0), Rows::default());
    let lease = worker(&words, 0).claim(0).unwrap();
    assert_eq!(worker(&words, 3).wait(0, Time(20)), None);
    assert_eq!(worker(&words, 5).wait(0, Time(10)), None);
    assert_eq!(worker(&words, 0).free(lease, NOW), Freed::Offered(5));
    assert_eq!(worker(&words, 3).claim(0), None);
    assert_eq!(worker(&words, 5).claim(0), Some(lease));
    assert_eq!(worker(&words, 5).head(0, None), Rows::default());
    assert_eq!(worker(&words, 5).free(lease, NOW), Freed::Offered(3));
    assert_eq!(worker(&words, 3).head(0, None), Rows::default(), "nobody else waits");
    assert_eq!(worker(&words, 9).claim(0), Some(lease), "what was offered is idle again");
}

#[test]
fn an_offer_that_is_not_wanted_is_passed_on() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 1, 0), Rows::default());
    let lease = worker(&words, 0).claim(0).unwrap();
    assert_eq!((worker(&words, 1).wait(0, Time(1)), worker(&words, 2).wait(0, Time(2))), (None, None));
    assert_eq!(worker(&words, 0).free(lease, NOW), Freed::Offered(1));
    assert_eq!(worker(&words, 1).head(0, None).iter().collect::<Vec<_>>(), [2]);
    assert_eq!(worker(&words, 2).wait(0, Time(2)), Some(lease));
}

#[test]
fn opening_a_process_serves_who_waits() {
    let words = words();
    let board = master(&words);
    assert_eq!(worker(&words, 4).wait(0, Time(1)), None);
    assert_eq!(board.open(0, 2, 1, 3, 0).iter().collect::<Vec<_>>(), [4]);
    assert!(worker(&words, 4).claim(0).is_some());
    let poke = worker(&words, 4).head(0, None);
    assert_eq!(poke, Rows::default());
    assert!(worker(&words, 0).claim(0).is_some() && worker(&words, 0).claim(0).is_some());
}

#[test]
fn a_process_leaves_when_its_requests_are_done() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 3, 0), Rows::default());
    let (one, two) = (worker(&words, 0).claim(0).unwrap(), worker(&words, 1).claim(0).unwrap());
    assert_eq!(board.leave(0, 0), 2);
    assert_eq!(worker(&words, 2).claim(0), None);
    assert_eq!(worker(&words, 0).free(one, NOW), Freed::Left);
    assert_eq!((board.claimed(0, 0), board.leave(0, 0)), (1, 1));
    board.close(0, 0);
    assert_eq!(worker(&words, 1).free(two, NOW), Freed::Stale);
    assert_eq!(board.open(0, 0, 2, 3, 0), Rows::default());
    assert_eq!(worker(&words, 1).free(two, NOW), Freed::Stale, "a late free does not reach the next process");
    let again = worker(&words, 1).claim(0).map(|lease| lease.incarnation);
    assert_eq!(again, Some(2));
}

#[test]
fn a_port_is_no_unit_and_a_process_is_chosen_by_its_load() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 2, 40_000), Rows::default());
    assert_eq!(board.open(0, 1, 2, 2, 0), Rows::default());
    let worker = worker(&words, 0);
    assert_eq!(
        (worker.port(0, 0, 1), worker.port(0, 1, 2), worker.port(0, 0, 7)),
        (Some(40_000), Some(0), None)
    );
    let loads = || worker.loads(0).collect::<Vec<_>>();
    assert_eq!(loads(), [(0, 0), (1, 0)]);
    let first = worker.claim_in(0, 1).unwrap();
    assert_eq!((first.slot, loads()), (1, vec![(0, 0), (1, 1)]));
    let rest: Vec<_> =
        std::iter::from_fn(|| worker.claim(0)).map(|lease| (lease.slot, lease.thread)).collect();
    assert_eq!(rest, [(0, 0), (0, 1), (1, 1)]);
    assert_eq!((loads(), worker.claim_in(0, 1)), (vec![], None));
    assert_eq!((board.claimed(0, 0), board.leave(0, 0), board.leave(0, 1)), (2, 2, 2));
}

#[test]
fn claims_of_a_dead_worker_wait_for_the_host() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 2, 0), Rows::default());
    assert_eq!(board.open(1, 0, 1, 1, 0), Rows::default());
    let (one, two) = (worker(&words, 7).claim(0).unwrap(), worker(&words, 7).claim(1).unwrap());
    let other = worker(&words, 1).claim(0).unwrap();
    assert_eq!(board.freed(one, 7, NOW), Freed::Stale, "its worker lives");
    worker(&words, 7).set_connections(3);
    assert_eq!(board.worker_left(7, NOW), Rows::default());
    assert_eq!((board.claimed(0, 0), board.claimed(1, 0), board.connections(7)), (2, 1, None));
    assert_eq!(worker(&words, 7).free(one, NOW), Freed::Stale, "a new worker in that row owns nothing");
    assert_eq!(board.freed(other, 7, NOW), Freed::Stale);
    assert_eq!(board.leave(1, 0), 1);
    assert_eq!(board.freed(two, 7, NOW), Freed::Left);
    assert_eq!(worker(&words, 2).wait(0, Time(5)), None);
    assert_eq!(board.freed(one, 7, NOW), Freed::Offered(2));
    assert_eq!(board.freed(one, 7, NOW), Freed::Stale);
}

#[test]
fn an_abandoned_claim_waits_for_the_host_too() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 1, 0), Rows::default());
    let lease = worker(&words, 0).claim(0).unwrap();
    worker(&words, 1).abandon(lease);
    worker(&words, 0).abandon(lease);
    assert_eq!((worker(&words, 0).claim(0), worker(&words, 0).free(lease, NOW)), (None, Freed::Stale));
    assert_eq!(board.freed(lease, 0, NOW), Freed::Idle);
    assert_eq!(worker(&words, 0).claim(0), Some(lease));
}

#[test]
fn a_pool_is_active_while_a_request_runs_or_waits() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.last_activity(0, NOW), Time(0));
    assert_eq!(board.open(0, 0, 1, 1, 0), Rows::default());
    worker(&words, 0).touch(0, Time(40));
    worker(&words, 1).touch(0, Time(30));
    assert_eq!(board.last_activity(0, NOW), Time(40));
    let lease = worker(&words, 0).claim(0).unwrap();
    assert_eq!(board.last_activity(0, NOW), NOW);
    assert_eq!(worker(&words, 0).free(lease, Time(60)), Freed::Idle);
    assert_eq!(board.last_activity(0, NOW), Time(60));
    assert_eq!(worker(&words, 3).head(0, Some(Time(70))), Rows::default());
    assert_eq!(board.last_activity(0, NOW), NOW);
}

#[test]
fn states_survive_the_word() {
    let words = words();
    let board = master(&words);
    assert_eq!(board.state(0), PoolState::Asleep);
    for state in [
        PoolState::Booting,
        PoolState::Failed { retry: Time(86_400_000_000_000_000) },
        PoolState::Serving,
        PoolState::Asleep,
    ] {
        board.publish(0, state);
        assert_eq!(board.state(0), state);
    }
}

#[test]
fn what_does_not_exist_is_never_claimed() {
    let words = words();
    let board = master(&words);
    for (pool, row) in [(0, WORKERS as u16), (3, 0), (POOLS as u16, 0), (u16::MAX, u16::MAX)] {
        assert_eq!((worker(&words, row).claim(pool), worker(&words, row).wait(pool, NOW)), (None, None));
        assert_eq!(
            (worker(&words, row).head(pool, Some(NOW)), worker(&words, row).head(pool, None)),
            (Rows::default(), Rows::default())
        );
        assert_eq!(board.worker_left(row, NOW), Rows::default());
    }
    for (pool, slot) in [(0, SLOTS as u16), (3, 0), (u16::MAX, u16::MAX)] {
        assert_eq!(board.open(pool, slot, 1, 1, 0), Rows::default());
        assert_eq!((board.leave(pool, slot), board.claimed(pool, slot)), (0, 0));
        board.close(pool, slot);
        let lease = Lease { pool, slot, thread: 0, incarnation: 1 };
        assert_eq!(
            (worker(&words, 0).free(lease, NOW), board.freed(lease, 0, NOW)),
            (Freed::Stale, Freed::Stale)
        );
        worker(&words, 0).abandon(lease);
    }
    assert_eq!(board.open(0, 0, 1, u16::MAX, 0), Rows::default());
    assert_eq!((0..2 * THREADS).filter(|_| worker(&words, 0).claim(0).is_some()).count(), THREADS);
}

/// The real words under real threads; `interleave` has the proof, this has the processor.
#[test]
fn threads_never_share_a_unit_and_none_waits_for_ever() {
    const REQUESTS: usize = 3000;
    let words = words();
    let board = master(&words);
    assert_eq!(board.open(0, 0, 1, 2, 0), Rows::default());
    let poked = AtomicU64::new(0);
    let running = [AtomicU64::new(0), AtomicU64::new(0)];
    let poke = |freed| {
        if let Freed::Offered(row) = freed {
            poked.fetch_or(1 << row, SeqCst);
        }
    };
    let serve = |me: u16| {
        for request in 1..=REQUESTS as u64 {
            let lease = worker(&words, me).claim(0).unwrap_or_else(|| {
                loop {
                    if let Some(lease) = worker(&words, me).wait(0, Time(request)) {
                        worker(&words, me).head(0, None).iter().for_each(|row| poke(Freed::Offered(row)));
                        return lease;
                    }
                    while poked.fetch_and(!(1 << me), SeqCst) >> me & 1 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let unit = &running[usize::from(lease.thread)];
            assert_eq!(unit.fetch_add(1, SeqCst), 0, "two requests on one unit");
            std::hint::spin_loop();
            unit.fetch_sub(1, SeqCst);
            poke(worker(&words, me).free(lease, Time(request)));
        }
    };
    std::thread::scope(|scope| {
        for me in 0..4 {
            scope.spawn({
                let serve = &serve;
                move || serve(me)
            });
        }
    });
    assert_eq!(board.claimed(0, 0), 0);
    assert!(worker(&words, 0).claim(0).is_some() && worker(&words, 0).claim(0).is_some());
}
