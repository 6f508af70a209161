//! Files as words and bytes: what is written is read, and the budget holds whatever happens.

use super::super::tests::{Memory, SMALL, named, object};
use super::super::{Found, Put, WorkerStore};
use super::*;
use std::collections::BTreeMap;

const NOW: Time = Time(1_000_000_000_000);

/// A file as it would lie on a disk.
fn file(store: &WorkerStore<'_>, key: &str, body: &[u8]) -> Vec<u8> {
    let object = Object { body: &[], ..object(&[]) };
    let mut draft = store.draft(key.as_bytes(), store.last_ban(), &object).unwrap();
    body.chunks(7).for_each(|piece| draft.add(piece));
    let mut bytes = draft.front(store.seed());
    bytes.extend_from_slice(body);
    bytes
}

fn front(bytes: &[u8], seed: u64) -> Option<Front> {
    let length = Front::length(bytes.get(..FIXED)?)?;
    Front::read(bytes.get(..length)?.to_vec(), seed)
}

/// Reserves, writes and publishes, as a thread does and then its worker.
fn save(store: &WorkerStore<'_>, key: &str, bytes: u64) -> (Option<Put>, Vec<FileName>) {
    let key = named(key);
    let fetch = store.fetch(key.hash);
    let (pending, mut gone) = store.reserve(bytes);
    let Some(pending) = pending else { return (None, gone) };
    let (put, more) = store.publish(&key, &fetch, &[], (pending, false), NOW);
    gone.extend(more);
    (Some(put), gone)
}

fn filed(store: &mut WorkerStore<'_>, key: &str) -> Option<Filed> {
    match store.find(&named(key), NOW) {
        Found::Disk(filed) => Some(filed),
        _ => None,
    }
}

#[test]
fn what_is_written_is_read_and_no_bit_of_the_front_can_be_another_one() {
    let memory = Memory::new(SMALL);
    let store = memory.worker(0);
    let bytes = file(&store, "key", b"all of the body");
    let read = front(&bytes, store.seed()).unwrap();
    assert_eq!((read.key(), read.kind(), read.head()), (&b"key"[..], 1, &b"head"[..]));
    assert_eq!(read.tags().collect::<Vec<_>>(), [5, 6]);
    let (offset, length) = read.body();
    assert_eq!(&bytes[offset as usize..], b"all of the body");
    assert_eq!(length, 15);
    let mut sum = body_sum(store.seed());
    sum.update(&bytes[offset as usize..]);
    assert_eq!(sum.digest(), read.body_sum());
    for bit in 0..offset as usize * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(front(&other, store.seed()).is_none(), "{bit}");
    }
    for length in 0..offset as usize {
        assert!(front(&bytes[..length], store.seed()).is_none(), "{length}");
    }
    assert!(front(&bytes, store.seed() ^ 1).is_none());
}

#[test]
fn a_file_is_found_until_it_is_invalidated_purged_or_another_one_s() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    store.reconcile();
    let key = "s\nhttp://h/a";
    assert_eq!(save(&store, key, 10_000), (Some(Put::Kept), vec![]));
    let found = filed(&mut store, key).unwrap();
    let read = front(&file(&store, key, b"x"), store.seed()).unwrap();
    assert!(store.is_good(&named(key), &read) && !store.is_unproven(&found, &read));
    assert!(!store.is_good(&named("s\nhttp://h/b"), &read));
    memory.master().ban(&crate::cache::store::Ban::ALL);
    assert!(!store.is_good(&named(key), &read));
    store.lost(&found);
    assert!(filed(&mut store, key).is_none());
    assert_eq!(store.disk_used(), 0);
    assert_eq!(save(&store, key, 10_000).0, Some(Put::Kept));
    assert_eq!(store.invalidate(named(key).hash), Some(found.name));
    assert!(filed(&mut store, key).is_none());
    assert_eq!(store.disk_used(), 0);
}

#[test]
fn what_was_invalidated_while_it_was_written_is_removed_again() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let key = named("k");
    let fetch = store.fetch(key.hash);
    let (pending, _) = store.reserve(5000);
    let _ = store.invalidate(key.hash);
    let published = store.publish(&key, &fetch, &[], (pending.unwrap(), false), NOW);
    assert_eq!(published, (Put::Invalidated, vec![store.file_name(key.hash)]));
    assert!(filed(&mut store, "k").is_none());
    assert_eq!(store.disk_used(), 0);
}

#[test]
fn of_memory_and_file_the_newer_one_is_found() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let key = named("k");
    save(&store, "k", 5000);
    let fetch = store.fetch(key.hash);
    let (put, gone) = store.put(&key, &fetch, &object(&[b"newer"]), NOW);
    assert_eq!((put, gone), (Put::Kept, vec![store.file_name(key.hash)]));
    assert!(matches!(store.find(&key, NOW), Found::Memory(..)));
    save(&store, "k", 5000);
    assert!(filed(&mut store, "k").is_some(), "what is in memory is older");
    let found = filed(&mut store, "k").unwrap();
    assert_eq!(store.put_copy(&key, &found, (store.last_ban(), &object(&[b"copy"])), NOW), None);
    assert!(matches!(store.find(&key, NOW), Found::Memory(..)));
    // The file is there when memory forgets it.
    (0..400).for_each(|number| {
        let other = format!("{number}");
        let fetch = store.fetch(named(&other).hash);
        assert_eq!(store.put(&named(&other), &fetch, &object(&[&[0; 4000]]), NOW).0, Put::Kept);
    });
    assert!(filed(&mut store, "k").is_some());
}

#[test]
fn files_never_take_more_than_the_budget_and_what_is_of_use_stays() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    assert_eq!(save(&store, "hot", 8192).0, Some(Put::Kept));
    let (mut there, mut removed) = (BTreeMap::new(), 0);
    for number in 0..2000_u64 {
        let key = format!("{number}");
        let bytes = 1 + number * 37 % 60_000;
        let (put, gone) = save(&store, &key, bytes);
        assert_eq!(put, Some(Put::Kept), "{number}");
        there.insert(store.file_name(named(&key).hash), Size::of(bytes).bytes());
        for name in gone {
            removed += usize::from(there.remove(&name).is_some());
        }
        let sum: u64 = there.values().sum::<u64>() + 8192;
        assert_eq!(store.disk_used(), sum, "{number}");
        assert!(sum <= SMALL.disk, "{number}: {sum}");
        let hot = filed(&mut store, "hot").expect("it is asked for all the time");
        store.used(&hot);
    }
    assert!(removed > 1500, "{removed}");
    assert!(store.reserve(SMALL.disk + 1).0.is_none(), "larger than all of it");
    let census = store.census(0..store.sets());
    assert_eq!((census.on_disk, census.disk_bytes), (there.len() as u64 + 1, store.disk_used()));
}

#[test]
fn whoever_dies_with_a_file_under_way_takes_nothing_from_the_budget_for_long() {
    let memory = Memory::new(SMALL);
    for round in 0..50 {
        let row = (round % 3) as u16;
        let store = memory.worker(row);
        save(&store, &format!("{round}"), 20_000);
        std::mem::forget(store.reserve(20_000));
        assert!(store.disk_used() <= SMALL.disk);
        memory.reap(row);
    }
    let store = memory.worker(5);
    let truth = store.census(0..store.sets()).disk_bytes;
    assert_eq!(store.disk_used(), truth, "what was under way is not counted any more");
    // A liar has counted what it liked.
    store.count(Count::Files, 1 << 50);
    memory.reap(5);
    let store = memory.worker(6);
    store.reconcile();
    assert_eq!(store.disk_used(), truth);
    memory.worker(7).count(Count::Files, (1_u64 << 50).wrapping_neg());
    store.reconcile();
    assert_eq!(store.disk_used(), truth);
}

#[test]
fn files_of_before_are_entered_once_and_read_whole_before_they_are_believed() {
    let memory = Memory::new(SMALL);
    let before = file(&memory.worker(0), "k", b"body");
    // Another life, with the same secret.
    let memory = Memory::of_life(SMALL, 4);
    let mut store = memory.worker(0);
    let name = store.file_name(named("k").hash);
    assert_eq!(
        store.invalidate(named("other").hash),
        Some(store.file_name(named("other").hash)),
        "it may lie there"
    );
    assert!(store.found_file(name, before.len() as u64, NOW) && store.found_file(name, 9, NOW));
    assert_eq!(store.disk_used(), 4096, "once");
    let found = filed(&mut store, "k").unwrap();
    let read = front(&before, store.seed()).unwrap();
    assert!(store.is_good(&named("k"), &read) && store.is_unproven(&found, &read));
    store.proven(&found);
    let found = filed(&mut store, "k").unwrap();
    assert!(!found.unproven);
    store.reconcile();
    assert_eq!(store.invalidate(named("other").hash), None);
    let other = store.file_name(named("other").hash);
    assert!(!store.found_file(other, 9, NOW), "it has lost its entry");
    assert!(store.found_file(name, 9, NOW));
}

#[test]
fn more_files_than_the_budget_allows_are_not_entered() {
    let memory = Memory::new(SMALL);
    let store = memory.worker(0);
    let entered = (0..100)
        .filter(|number| store.found_file(store.file_name(named(&format!("{number}")).hash), 40_000, NOW));
    assert_eq!(entered.count(), 25, "1 MiB of 40 KiB");
}

#[test]
fn one_worker_tidies_up_at_a_time() {
    let memory = Memory::new(SMALL);
    let (one, other) = (memory.worker(0), memory.worker(1));
    let every = Duration::from_secs(60);
    assert!(one.takes_upkeep(NOW, every));
    assert!(!other.takes_upkeep(NOW, every) && !one.takes_upkeep(NOW, every));
    assert!(other.takes_upkeep(NOW.after(every), every));
    // Somebody has pretended to do so in the future.
    assert!(one.takes_upkeep(NOW, every));
}
