//! Random words wherever a worker can write: whoever reads them comes to an end, believes nothing that leads outside, and
//! what a worker that is reaped has left is as if it had never been.

use super::board::tests::{NOW, master, words, worker};
use super::board::{Board, Freed, Lease, Rows};
use super::layout::{self, Address as _, SLOTS, THREADS, WORKERS};
use super::word::{NOBODY, Unit, UnitState};
use super::{Process, Sweep};
use crate::control::pool::PoolState;
use crate::timer::Time;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

const POOL: u16 = 1;
const INCARNATION: u32 = 7;
const LIAR: u16 = 2;
const PROCESSES: u16 = 3;
const THREADS_EACH: u16 = 4;

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Likely words of units as well as unlikely ones.
    fn unit(&mut self) -> u64 {
        let random = self.next();
        let incarnation = if random & 3 == 0 { random >> 32 } else { INCARNATION.into() };
        let owner = [0, 1, 2, 63, 64, u64::from(NOBODY), random >> 40 & 0xffff][(random >> 8) as usize % 7];
        if random & 0xf0 == 0 { self.next() } else { incarnation << 32 | owner << 16 | random >> 16 & 7 }
    }
}

fn open(board: super::MasterBoard<'_>) {
    board.publish(POOL, PoolState::Serving);
    for slot in 0..PROCESSES {
        let _ = board.open(POOL, slot, INCARNATION, THREADS_EACH, 0);
    }
}

fn processes(leaving: bool) -> impl Iterator<Item = Process> {
    (0..PROCESSES).map(move |slot| Process { pool: POOL, slot, leaving })
}

/// Overwrites everything that the liar can reach.
fn lie(words: &[AtomicU64], random: &mut Random) {
    for at in Board::area(LIAR).unwrap() {
        words[at].store(random.next() | u64::from(at % 3 == 0), SeqCst);
    }
    for slot in 0..SLOTS as u16 {
        for thread in 0..THREADS as u16 {
            words[layout::unit(POOL, slot, thread).unwrap().index()].store(random.unit(), SeqCst);
        }
    }
}

#[test]
fn random_words_lead_nobody_astray() {
    let words = words();
    let board = master(&words);
    let mut random = Random(42);
    for round in 0..60 {
        open(board);
        lie(&words, &mut random);
        // What others read, and decide by.
        assert_eq!(board.state(POOL), PoolState::Serving);
        for row in (0..WORKERS as u16).filter(|row| *row != LIAR) {
            let seen = (board.turn(row), board.connections(row), board.accepting(row), board.requests(row));
            assert_eq!(seen, (None, Some(0), false, Some(0)), "the words of others");
        }
        let most = usize::from(THREADS_EACH);
        assert!(board.last_activity(POOL, NOW) <= NOW && board.claimed(POOL, 0) <= most);
        // What the others do: no more is claimed than there is, of no other process.
        let mut claimed = 0;
        for row in [0, 1, 5] {
            while let Some(lease) = worker(&words, row).wait(POOL, Time(3)) {
                assert!(lease.slot < PROCESSES && lease.thread < THREADS_EACH, "{lease:?}");
                assert_eq!(lease.incarnation, INCARNATION);
                claimed += 1;
                match claimed % 3 {
                    0 => worker(&words, row).abandon(lease),
                    1 => drop(worker(&words, row).free(lease, NOW)),
                    _ => {}
                }
                assert!(claimed < 100);
            }
            assert!(worker(&words, row).head(POOL, None).iter().all(|row| usize::from(row) < WORKERS));
        }
        // What the master does.
        let mut sweep = Sweep::default();
        let alive = Rows::of([0, 1, LIAR].into_iter());
        for _ in 0..4 {
            let sweeping = sweep.look(board, alive, processes(round % 2 == 0));
            assert!(sweeping.poke.iter().all(|row| alive.has(row)), "{sweeping:?}");
            assert!(sweeping.ask.iter().all(|(lease, _)| lease.incarnation == INCARNATION));
        }
        for slot in 0..PROCESSES {
            assert!(board.leave(POOL, slot) <= most);
            let lease = Lease { pool: POOL, slot, thread: 0, incarnation: INCARNATION };
            let _ = board.freed(lease, LIAR, NOW);
            board.close(POOL, slot);
        }
    }
}

#[test]
fn after_a_liar_has_gone_everything_is_as_before() {
    let words = words();
    let board = master(&words);
    let mut random = Random(7);
    for _ in 0..40 {
        open(board);
        lie(&words, &mut random);
        let _ = board.worker_left(LIAR, NOW);
        // `sys::shm` gives the pages back.
        Board::area(LIAR).unwrap().for_each(|at| words[at].store(0, SeqCst));
        let mut sweep = Sweep::default();
        for _ in 0..20 {
            let sweeping = sweep.look(board, Rows::of([0, 1].into_iter()), processes(false));
            // The host runs nothing.
            for (lease, row) in sweeping.ask {
                let _ = board.freed(lease, row, NOW);
            }
        }
        let wanted = usize::from(PROCESSES * THREADS_EACH);
        let leases: Vec<Lease> = std::iter::from_fn(|| worker(&words, 0).claim(POOL)).collect();
        assert_eq!(leases.len(), wanted, "no unit is lost");
        for lease in leases {
            assert_eq!(worker(&words, 0).free(lease, NOW), Freed::Idle);
        }
        assert_eq!(board.last_activity(POOL, Time(500)), NOW, "nor does anything seem to run");
    }
}

#[test]
fn what_others_do_is_not_hidden_by_a_liar() {
    let words = words();
    let board = master(&words);
    open(board);
    let lease = worker(&words, 0).claim(POOL).unwrap();
    // A request runs; the liar says that the unit is free.
    let at = layout::unit(POOL, lease.slot, lease.thread).unwrap();
    words[at.index()].store(Unit::new(INCARNATION, UnitState::Idle, NOBODY).encode(), SeqCst);
    assert_eq!(board.claimed(POOL, lease.slot), 0);
    assert_eq!(board.last_activity(POOL, Time(900)), Time(900), "its worker says that it holds one");
    assert_eq!(worker(&words, 0).free(lease, Time(901)), Freed::Stale);
    assert_eq!(board.last_activity(POOL, Time(999)), Time(901));
}

#[test]
fn a_claim_is_orphaned_only_if_its_worker_says_that_it_has_none() {
    let words = words();
    let board = master(&words);
    open(board);
    let alive = Rows::of([0, 1].into_iter());
    let honest = worker(&words, 0).claim(POOL).unwrap();
    let forged = layout::unit(POOL, 0, 1).unwrap();
    words[forged.index()].store(Unit::new(INCARNATION, UnitState::Claimed, 1).encode(), SeqCst);
    let mut sweep = Sweep::default();
    assert_eq!(sweep.look(board, alive, processes(false)).repaired, 0, "seen once");
    // Its owner sets out to claim in between: it may be the one.
    let busy = worker(&words, 1);
    let other = busy.claim(POOL).unwrap();
    assert_eq!(sweep.look(board, alive, processes(false)).repaired, 0);
    assert_eq!(busy.free(other, NOW), Freed::Idle);
    let rounds: Vec<usize> = (0..4).map(|_| sweep.look(board, alive, processes(false)).repaired).collect();
    assert_eq!(rounds, [0, 1, 0, 0]);
    assert_eq!(Unit::decode(words[forged.index()].load(SeqCst)).state, UnitState::Orphaned);
    let lease = Lease { pool: POOL, slot: 0, thread: 1, incarnation: INCARNATION };
    assert_eq!(board.freed(lease, 1, NOW), Freed::Idle);
    assert_eq!(worker(&words, 0).free(honest, NOW), Freed::Idle);
}

/// Who writes there without end does not hold the others.
#[test]
fn a_liar_that_never_rests_holds_nobody() {
    let words = words();
    let board = master(&words);
    open(board);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(9);
            let heads = layout::head(POOL, LIAR).unwrap();
            while !over.load(SeqCst) {
                for slot in 0..PROCESSES {
                    for thread in 0..THREADS_EACH {
                        words[layout::unit(POOL, slot, thread).unwrap().index()].store(random.unit(), SeqCst);
                        words[heads.index()].store(random.next() & 1, SeqCst);
                    }
                }
            }
        });
        for _ in 0..300 {
            let mut sweep = Sweep::default();
            for row in [0, 1] {
                if let Some(lease) = worker(&words, row).wait(POOL, Time(5)) {
                    let _ = worker(&words, row).free(lease, NOW);
                }
                let _ = worker(&words, row).head(POOL, None);
            }
            let _ = sweep.look(board, Rows::of([0, 1].into_iter()), processes(false));
            let _ = sweep.look(board, Rows::of([0, 1].into_iter()), processes(false));
            (0..PROCESSES).for_each(|slot| _ = board.leave(POOL, slot));
            let _ = board.worker_left(LIAR, NOW);
        }
        over.store(true, SeqCst);
    });
}
