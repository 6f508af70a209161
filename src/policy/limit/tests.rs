//! The table with several workers, in threads and one after the other, and with one that lies.

use super::counts::Counts;
use super::rate::{self, Bucket, Outcome, Rate};
use super::table::{self, MasterTable, Table, Usage, WorkerTable};
use crate::timer::Time;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

fn memory(bytes: u64) -> Vec<AtomicU64> {
    let words: Vec<AtomicU64> = (0..table::words(bytes)).map(|_| AtomicU64::new(0)).collect();
    let master = MasterTable::new(&words);
    master.begin([7, 11]);
    master.slowest(Some(rate::length(Duration::from_secs(60))));
    words
}

fn worker(words: &[AtomicU64], row: u16) -> WorkerTable<'_> {
    MasterTable::new(words).seat(row);
    let (own, shared) = (table::area(row).unwrap(), table::shared(words.len()));
    WorkerTable::new(words, row, &words[own], &words[shared])
}

fn bucket(count: u32, seconds: u64, burst: u32) -> Bucket {
    Bucket::new(Rate { count, per: Duration::from_secs(seconds) }, burst)
}

fn key(table: WorkerTable<'_>, number: u64) -> u64 {
    table.hash(1, 4, &number.to_be_bytes())
}

fn at(milliseconds: u64) -> Time {
    // Not at the beginning of all ticks.
    Time((1_000_000 + milliseconds) * 1_000_000)
}

fn is_allowed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Allowed { .. })
}

/// Numbers as any, the same each time.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn the_parts_lie_beside_one_another_and_are_whole_pages() {
    for bytes in [0, table::SMALLEST, 1 << 20, 8 << 20, u64::MAX] {
        let words = table::words(bytes);
        let shared = table::shared(words);
        let mut end = 8192;
        for row in 0..64 {
            let area = table::area(row).unwrap();
            assert_eq!((area.start, area.start % 8192, area.end % 8192), (end, 0, 0));
            end = area.end;
        }
        assert_eq!((shared.start, shared.end, shared.len() % 8192), (end, words, 0));
        assert!(shared.len() as u64 * 8 >= bytes.clamp(table::SMALLEST, table::LARGEST));
    }
    assert_eq!(table::area(64), None);
}

#[test]
fn what_is_laid_out_otherwise_is_not_ours() {
    let words = memory(table::SMALLEST);
    assert!(Table::new(&words).is_ours());
    assert!(!Table::new(&words[..words.len() - 8192]).is_ours(), "cut");
    words[0].fetch_add(1, SeqCst);
    assert!(!Table::new(&words).is_ours(), "another layout");
    assert!(!Table::new(&[]).is_ours());
}

#[test]
fn all_workers_have_the_same_buckets() {
    let words = memory(table::SMALLEST);
    let workers: Vec<_> = (0..4).map(|row| worker(&words, row)).collect();
    let ten = bucket(10, 60, 10);
    let key = key(workers[0], 1);
    let allowed = (0..40).filter(|round| is_allowed(workers[round % 4].take(key, ten, at(0)))).count();
    assert_eq!(allowed, 10);
    assert!(!is_allowed(workers[2].peek(key, ten, at(0))));
    assert!(is_allowed(workers[2].peek(key, ten, at(6_001))), "one more after a tenth of the time");
    assert!(
        is_allowed(workers[3].take(key, ten, at(6_001))) && !is_allowed(workers[0].take(key, ten, at(6_002)))
    );
    // A key of its own each.
    assert!((2..50).all(|other| is_allowed(workers[1].take(self::key(workers[1], other), ten, at(0)))));
}

#[test]
fn of_many_at_once_in_threads_none_is_let_in_twice() {
    let words = memory(table::SMALLEST);
    let twenty = bucket(20, 60, 20);
    for round in 0..20 {
        let allowed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|row| {
                    let table = worker(&words, row);
                    scope.spawn(move || {
                        let key = key(table, round);
                        (0..200).filter(|_| is_allowed(table.take(key, twenty, at(0)))).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(allowed, 20, "{round}");
    }
}

#[test]
fn a_flood_of_addresses_frees_nobody_who_has_asked_for_too_much() {
    let words = memory(table::SMALLEST);
    let table = worker(&words, 0);
    let slow = bucket(10, 60, 10);
    let guilty: Vec<u64> = (0..100).map(|number| key(table, number)).collect();
    for key in &guilty {
        while is_allowed(table.take(*key, slow, at(0))) {}
    }
    // Twenty times as many as there are words, each of which has one request to its name.
    for number in 0..160_000 {
        assert!(is_allowed(table.take(key(table, 1_000 + number), slow, at(1))));
    }
    let freed = guilty.iter().filter(|key| is_allowed(table.peek(**key, slow, at(2)))).count();
    assert_eq!(freed, 0);
    let Usage { size, used, evicted } = Table::new(&words).usage();
    assert_eq!((size, used), (8192, 8192));
    assert!(evicted > 100_000, "{evicted}");
}

#[test]
fn full_buckets_give_their_words_away() {
    let words = memory(table::SMALLEST);
    let table = worker(&words, 0);
    let fast = bucket(100, 1, 100);
    for number in 0..100_000 {
        // Each is full again long before as many others have come as there are words.
        assert!(is_allowed(table.take(key(table, number), fast, at(number))));
    }
    let usage = Table::new(&words).usage();
    assert_eq!((usage.evicted, usage.used), (0, 8192));
}

#[test]
fn what_a_liar_writes_into_buckets_heals() {
    let words = memory(table::SMALLEST);
    let table = worker(&words, 0);
    let (ten, keys) = (bucket(10, 60, 10), 0..500_u64);
    let mut seed = 99;
    for round in 0..20 {
        // Anything; times far ahead behind the right tags; everything alike.
        for place in &words[table::shared(words.len())] {
            let known = place.load(SeqCst);
            let number = random(&mut seed);
            let lie = match round % 4 {
                0 => number,
                1 => known & !rate::MASK | number & rate::MASK,
                2 => u64::MAX,
                _ => known & !rate::MASK | (rate::ticks(at(round * 1000)) + rate::length(rate::LONGEST)),
            };
            place.store(lie, SeqCst);
        }
        for number in keys.clone() {
            let _any = table.take(key(table, number), ten, at(round * 1000));
        }
    }
    // Once a bucket has had the time to fill, each client has what it may have, and no more.
    let later = 20_000 + 60_001;
    for number in keys {
        let key = key(table, number);
        let first = table.take(key, ten, at(later + number));
        assert!(is_allowed(first), "{number} {first:?}");
        let more = (0..20).filter(|_| is_allowed(table.take(key, ten, at(later + number)))).count();
        assert_eq!(more, 9, "{number}");
    }
}

#[test]
fn counts_of_all_workers_are_one() {
    let words = memory(table::SMALLEST);
    let tables: Vec<_> = (0..3).map(|row| worker(&words, row)).collect();
    let mut counts: Vec<Counts> = (0..3).map(|_| Counts::default()).collect();
    let hash = key(tables[0], 5);
    let entered: Vec<usize> =
        (0..12).filter(|round| counts[round % 3].enter(hash, 5, tables[round % 3])).collect();
    assert_eq!(entered, [0, 1, 2, 3, 4]);
    counts[1].leave(hash, tables[1]);
    assert!(counts[2].enter(hash, 5, tables[2]) && !counts[0].enter(hash, 5, tables[0]));
    // Another key is another count, and zero is nobody.
    let other = key(tables[0], 6);
    assert!(counts[0].enter(other, 1, tables[0]) && !counts[1].enter(other, 1, tables[1]));
    assert!(!counts[0].enter(hash, 0, tables[0]));
    // The worker of row 2 dies, with what it had; the master clears its words.
    words[table::area(2).unwrap()].iter().for_each(|word| word.store(0, SeqCst));
    let left = (0..9).filter(|_| counts[0].enter(hash, 5, tables[0])).count();
    assert_eq!(left + counts[1].held(hash) as usize + 2, 5, "{left}");
}

#[test]
fn all_that_is_counted_is_given_back() {
    let words = memory(table::SMALLEST);
    let tables: Vec<_> = (0..2).map(|row| worker(&words, row)).collect();
    let mut counts: Vec<Counts> = (0..2).map(|_| Counts::default()).collect();
    let (mut seed, mut held) = (5, Vec::new());
    for _ in 0..200_000 {
        let number = random(&mut seed);
        let (row, hash) = ((number % 2) as usize, key(tables[0], number >> 8 & 0x3fff));
        if number & 4 == 0 || held.len() < 100 {
            let others: usize = held.iter().filter(|(_, known)| *known == hash).count();
            let enters = counts[row].enter(hash, 3, tables[row]);
            assert!(others < 3 || !enters, "{others}");
            held.extend(enters.then_some((row, hash)));
        } else {
            let (row, hash) = held.swap_remove((number >> 32) as usize % held.len());
            counts[row].leave(hash, tables[row]);
        }
    }
    for (row, hash) in held {
        counts[row].leave(hash, tables[row]);
    }
    for (row, counts) in counts.iter().enumerate() {
        assert_eq!(counts.keys(), 0);
        let area = table::area(row as u16).unwrap();
        assert!(words[area].iter().skip(8).all(|word| word.load(SeqCst) == 0));
    }
}

#[test]
fn more_keys_than_there_are_words_are_counted_by_each_worker() {
    let words = memory(table::SMALLEST);
    let table = worker(&words, 0);
    let mut counts = Counts::default();
    let keys: Vec<u64> = (0..30_000).map(|number| key(table, number)).collect();
    assert!(keys.iter().all(|hash| counts.enter(*hash, 1, table)));
    assert!(keys.iter().all(|hash| !counts.enter(*hash, 1, table)));
    keys.iter().for_each(|hash| counts.leave(*hash, table));
    assert!(keys.iter().all(|hash| counts.enter(*hash, 1, table)));
}

#[test]
fn a_liar_who_counts_too_much_holds_up_others_until_it_is_gone() {
    let words = memory(table::SMALLEST);
    let tables: Vec<_> = (0..2).map(|row| worker(&words, row)).collect();
    let mut counts = Counts::default();
    let hash = key(tables[0], 5);
    let lies = &words[table::area(1).unwrap()];
    for lie in [u64::MAX, 0, hash, hash << 24 | 1 << 63 | 77] {
        lies.iter().for_each(|word| word.store(lie, SeqCst));
        let _any = counts.enter(hash, 5, tables[0]);
        while counts.held(hash) > 0 {
            counts.leave(hash, tables[0]);
        }
    }
    assert!(!counts.enter(hash, 5, tables[0]));
    MasterTable::new(&words).fold(1);
    lies.iter().for_each(|word| word.store(0, SeqCst));
    assert!(counts.enter(hash, 5, tables[0]));
    let Usage { size, used, .. } = Table::new(&words).usage();
    assert!(used <= size);
}

#[test]
fn at_the_same_moment_no_more_enter_than_may() {
    let words = memory(table::SMALLEST);
    for round in 0..200 {
        let entered: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|row| {
                    let table = worker(&words, row);
                    scope.spawn(move || {
                        let mut counts = Counts::default();
                        let hash = key(table, round);
                        (0..3).filter(|_| counts.enter(hash, 4, table)).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(entered <= 4, "{round} {entered}");
        (0..4).for_each(|row| words[table::area(row).unwrap()].iter().for_each(|word| word.store(0, SeqCst)));
    }
}

#[test]
fn a_worker_that_has_left_is_still_in_the_sum_of_what_was_used() {
    let words = memory(table::SMALLEST);
    let (master, table) = (MasterTable::new(&words), worker(&words, 3));
    let slow = bucket(1, 60, 1);
    (0..50).for_each(|number| assert!(is_allowed(table.take(key(table, number), slow, at(0)))));
    let before = master.usage();
    assert!(before.used >= 49, "{before:?}");
    master.fold(3);
    words[table::area(3).unwrap()].iter().for_each(|word| word.store(0, SeqCst));
    assert_eq!(master.usage(), before);
}
