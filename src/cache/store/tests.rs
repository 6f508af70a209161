//! The store in words of a test, by several workers.

use super::*;
use crate::cache::hash::Secret;
use crate::timer::Time;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

pub(super) const SMALL: Sizes = Sizes { memory: 1 << 20, disk: 1 << 20 };
const WITHOUT_FILES: Sizes = Sizes { memory: 1 << 20, disk: 0 };
const SECRET: Secret = Secret([7, 9]);

pub(super) struct Memory {
    pub(super) words: Vec<AtomicU64>,
    sizes: Sizes,
}

impl Memory {
    pub(super) fn new(sizes: Sizes) -> Self {
        Self::of_life(sizes, 3)
    }

    pub(super) fn of_life(sizes: Sizes, life: u64) -> Self {
        let words = (0..Layout::of(sizes).words()).map(|_| AtomicU64::new(0)).collect();
        let memory = Self { words, sizes };
        memory.master().begin(SECRET, life);
        memory
    }

    pub(super) fn master(&self) -> MasterStore<'_> {
        MasterStore::new(&self.words, self.sizes)
    }

    pub(super) fn worker(&self, row: u16) -> WorkerStore<'_> {
        self.master().seat(row);
        let (area, shared) = (Layout::area(row).unwrap(), Layout::of(self.sizes).shared());
        WorkerStore::new(self.sizes, &self.words, row, &self.words[area], &self.words[shared])
    }

    /// As when the master reaps it.
    pub(super) fn reap(&self, row: u16) -> u64 {
        let poke = self.master().worker_left(row);
        self.words[Layout::area(row).unwrap()].iter().for_each(|word| word.store(0, SeqCst));
        poke
    }
}

pub(super) fn hash(text: &[u8]) -> u128 {
    SECRET.hash(text)
}

pub(super) fn named(text: &str) -> Named<'_> {
    Named { hash: hash(text.as_bytes()), text: text.as_bytes() }
}

pub(super) fn object<'a>(body: &'a [&'a [u8]]) -> Object<'a> {
    Object { kind: 1, tags: &[5, 6], head: b"head", body }
}

const NOW: Time = Time(1_000_000_000_000);

fn put(store: &mut WorkerStore<'_>, key: &str, body: &[u8]) -> (Put, Vec<FileName>) {
    let named = named(key);
    let fetch = store.fetch(named.hash);
    store.put(&named, &fetch, &object(&[body]), NOW)
}

pub(super) fn body(store: &mut WorkerStore<'_>, key: &str) -> Option<Vec<u8>> {
    match store.find(&named(key), NOW) {
        Found::Memory(kept, _) => Some(kept.body().to_vec()),
        _ => None,
    }
}

#[test]
fn what_one_worker_keeps_another_one_finds() {
    let memory = Memory::new(SMALL);
    let (mut one, mut other) = (memory.worker(0), memory.worker(1));
    assert!(matches!(other.find(&named("s\nhttp://h/a"), NOW), Found::Nothing));
    assert_eq!(put(&mut one, "s\nhttp://h/a", b"first"), (Put::Kept, vec![]));
    assert_eq!(put(&mut other, "s\nhttp://h/b", b""), (Put::Kept, vec![]));
    for store in [&mut one, &mut other] {
        let Found::Memory(kept, _) = store.find(&named("s\nhttp://h/a"), NOW) else { panic!("a hit") };
        assert_eq!((kept.kind(), kept.head(), kept.body()), (1, &b"head"[..], &b"first"[..]));
        assert_eq!(kept.tags().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(body(store, "s\nhttp://h/b"), Some(vec![]));
    }
    assert_eq!(put(&mut other, "s\nhttp://h/a", b"second").0, Put::Kept);
    assert_eq!(body(&mut one, "s\nhttp://h/a").unwrap(), b"second");
    assert_eq!(one.sum(Count::Stored), 3);
    assert_eq!(memory.master().census(0..one.sets()).in_memory, 2);
}

#[test]
fn keys_whose_hashes_coincide_are_two_keys() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let both = ["one", "other"].map(|text| Named { hash: 77, text: text.as_bytes() });
    for (at, named) in both.iter().enumerate() {
        let fetch = store.fetch(named.hash);
        let text = [b'0' + at as u8];
        assert_eq!(store.put(named, &fetch, &object(&[&text]), NOW).0, Put::Kept);
    }
    for (at, named) in both.iter().enumerate() {
        let Found::Memory(kept, _) = store.find(named, NOW) else { panic!("{at} is there") };
        assert_eq!(kept.body(), [b'0' + at as u8]);
    }
    assert!(matches!(store.find(&Named { hash: 77, text: b"none" }, NOW), Found::Nothing));
}

#[test]
fn the_oldest_leave_and_what_is_asked_for_stays() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let large = vec![1; 4000];
    assert_eq!(put(&mut store, "hot", &large).0, Put::Kept);
    for number in 0..2000 {
        assert_eq!(put(&mut store, &format!("cold {number}"), &large).0, Put::Kept, "{number}");
        assert!(body(&mut store, "hot").is_some(), "lost after {number}");
    }
    let there = (0..2000).filter(|number| body(&mut store, &format!("cold {number}")).is_some()).count();
    assert!((150..=262).contains(&there), "{there} of 4 KiB in 1 MiB");
    assert!(body(&mut store, "cold 0").is_none() && body(&mut store, "cold 1999").is_some());
    assert_eq!(store.sum(Count::Torn), 0);
}

#[test]
fn objects_up_to_a_chunk_fit_and_longer_ones_are_refused() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let most = store.most_in_memory();
    let room = most - object(&[]).length(b"k").unwrap();
    assert_eq!(put(&mut store, "k", &vec![3; room]).0, Put::Kept);
    assert_eq!(body(&mut store, "k").unwrap(), vec![3; room]);
    assert_eq!(put(&mut store, "k", &vec![3; room + 1]).0, Put::TooLong);
}

#[test]
fn what_was_invalidated_while_it_was_fetched_is_not_kept() {
    let memory = Memory::new(WITHOUT_FILES);
    let (mut one, other) = (memory.worker(0), memory.worker(1));
    let key = named("s\nhttp://h/a");
    let fetch = one.fetch(key.hash);
    assert_eq!(other.invalidate(key.hash), None);
    assert_eq!(one.put(&key, &fetch, &object(&[b"old"]), NOW).0, Put::Invalidated);
    assert!(matches!(one.find(&key, NOW), Found::Nothing));
    let fetch = one.fetch(key.hash);
    assert_eq!(one.put(&key, &fetch, &object(&[b"new"]), NOW).0, Put::Kept);
    let _ = other.invalidate(key.hash);
    assert!(matches!(one.find(&key, NOW), Found::Nothing));
    assert_eq!(one.sum(Count::Invalidated), 1);
}

#[test]
fn a_purge_takes_what_it_names_and_nothing_else_also_of_what_is_under_way() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let keys = ["s\nhttp://h/a", "s\nhttp://h/ab\nvary", "t\nhttp://h/a"];
    let cases: [(Ban<'_>, [bool; 3]); 7] = [
        (Ban::ALL, [false; 3]),
        (Ban { site: Some(b"s"), ..Ban::ALL }, [false, false, true]),
        (Ban { url: Url::Is(b"http://h/a"), ..Ban::ALL }, [false, true, false]),
        (Ban { site: Some(b"s"), url: Url::Begins(b"http://h/a"), tag: None }, [false, false, true]),
        (Ban { url: Url::Begins(b"http://h/ab"), ..Ban::ALL }, [true, false, true]),
        (Ban { tag: Some(6), ..Ban::ALL }, [false; 3]),
        (Ban { tag: Some(4), ..Ban::ALL }, [true; 3]),
    ];
    for (ban, stay) in cases {
        let fetches = keys.map(|key| store.fetch(named(key).hash));
        keys.iter().for_each(|key| assert_eq!(put(&mut store, key, b"x").0, Put::Kept));
        memory.master().ban(&ban);
        for ((key, stays), fetch) in keys.iter().zip(stay).zip(fetches) {
            assert_eq!(body(&mut store, key).is_some(), stays, "{key} {ban:?}");
            let late = store.put(&named(key), &fetch, &object(&[b"late"]), NOW).0;
            assert_eq!(late == Put::Kept, stays, "{key} {ban:?}");
        }
        assert_eq!(put(&mut store, keys[0], b"new").0, Put::Kept);
        assert!(body(&mut store, keys[0]).is_some(), "what is fetched afterwards");
    }
}

#[test]
fn what_is_older_than_all_bans_is_gone_and_what_is_asked_for_keeps_up() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    put(&mut store, "s\nasked", b"x");
    put(&mut store, "s\nnot asked", b"x");
    for number in 0..300 {
        memory.master().ban(&Ban { url: Url::Is(format!("{number}").as_bytes()), ..Ban::ALL });
        assert!(body(&mut store, "s\nasked").is_some(), "{number}");
    }
    assert!(body(&mut store, "s\nnot asked").is_none());
}

#[test]
fn bans_outlive_the_memory_and_half_of_them_purge_more() {
    let old = Memory::new(SMALL);
    for number in 0..300 {
        old.master().ban(&Ban { url: Url::Begins(format!("u{number}").as_bytes()), ..Ban::ALL });
    }
    let saved = old.master().bans();
    let view = old.master();
    let since = |age: u64| view.last_ban() - age;
    let none = std::iter::empty::<u64>;
    for (bytes, is_whole) in [(&saved[..], true), (&saved[..saved.len() / 2], false), (&saved[..9], false)] {
        let new = Memory::new(SMALL);
        new.master().restore(bytes);
        let new = new.master();
        assert_eq!(new.last_ban(), 300);
        assert!(new.unbanned(b"s\nu299", since(1), none).is_none());
        assert_eq!(new.unbanned(b"s\nother", since(1), none).is_some(), is_whole);
        assert!(new.unbanned(b"s\nother", 300, none).is_some());
        assert!(new.unbanned(b"s\nother", since(257), none).is_none());
    }
    let new = Memory::new(SMALL);
    new.master().restore(b"");
    assert_eq!(new.master().last_ban(), 0);
    assert!(new.master().unbanned(b"s\nother", 1, none).is_none(), "of a number that is not there yet");
}

#[test]
fn long_texts_of_bans_purge_more_not_less() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let long = "u".repeat(5000);
    let key = format!("s\n{long}");
    for ban in [
        Ban { url: Url::Is(long.as_bytes()), ..Ban::ALL },
        Ban { site: Some(b"s"), url: Url::Begins(long.as_bytes()), tag: None },
    ] {
        put(&mut store, &key, b"x");
        assert!(body(&mut store, &key).is_some());
        memory.master().ban(&ban);
        assert!(body(&mut store, &key).is_none());
    }
}

#[test]
fn one_claims_and_others_wait_until_it_is_over() {
    let memory = Memory::new(SMALL);
    let (one, other, third) = (memory.worker(0), memory.worker(1), memory.worker(63));
    let mut poke = 0;
    let Claim::Mine(claimed) = one.claim(1, NOW, &mut poke) else { panic!("nobody has it") };
    assert_eq!(one.claim(1, NOW, &mut poke), Claim::Somebody);
    assert_eq!(other.claim(1, NOW, &mut poke), Claim::Somebody);
    assert_eq!(third.claim(1, NOW, &mut poke), Claim::Somebody);
    assert_eq!(third.claim(1, NOW.after(Duration::from_secs(50)), &mut poke), Claim::Somebody);
    assert_eq!(one.release(claimed), 1 | 2 | 1 << 63);
    assert!(matches!(other.claim(1, NOW, &mut poke), Claim::Mine(_)));
    assert_eq!(poke, 0);
}

#[test]
fn the_claims_of_the_dead_and_of_those_who_take_too_long_end() {
    let memory = Memory::new(SMALL);
    let (one, other) = (memory.worker(0), memory.worker(1));
    let mut poke = 0;
    let Claim::Mine(dead) = one.claim(1, NOW, &mut poke) else { panic!() };
    assert_eq!(other.claim(1, NOW, &mut poke), Claim::Somebody);
    assert_eq!(memory.reap(0), 2, "who waited is told");
    let Claim::Mine(slow) = other.claim(1, NOW, &mut poke) else { panic!() };
    assert_eq!(one.release(dead), 0, "it is another one's by now");
    let later = NOW.after(Duration::from_secs(61));
    let Claim::Mine(_next) = one.claim(1, later, &mut poke) else { panic!("it took too long") };
    assert_eq!(other.release(slow), 0);
    assert_eq!(other.claim(1, later, &mut poke), Claim::Somebody);
}

#[test]
fn more_fetches_than_can_be_told_are_made_without_a_claim() {
    let memory = Memory::new(SMALL);
    let store = memory.worker(0);
    let mut poke = 0;
    // One set: the bits that choose it are the same.
    let claims: Vec<_> = (0..9_u128).map(|tag| store.claim(tag << 64, NOW, &mut poke)).collect();
    assert!(claims[..8].iter().all(|claim| matches!(claim, Claim::Mine(_))));
    assert_eq!(claims[8], Claim::Crowded);
}

#[test]
fn of_threads_that_want_one_key_no_two_are_inside() {
    let memory = Memory::new(SMALL);
    let stores: Vec<_> = (0..4).map(|row| memory.worker(row).view()).collect();
    let (inside, most, fetched) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for view in &stores {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let mut poke = 0;
                    if let Claim::Mine(claimed) = view.claim(1, NOW, &mut poke) {
                        most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                        fetched.fetch_add(1, SeqCst);
                        inside.fetch_sub(1, SeqCst);
                        let _ = view.release(claimed);
                    }
                }
            });
        }
    });
    assert_eq!(most.load(SeqCst), 1);
    assert!(fetched.load(SeqCst) > 0);
}

#[test]
fn what_is_declined_is_known_for_a_while() {
    let memory = Memory::new(WITHOUT_FILES);
    let mut store = memory.worker(0);
    put(&mut store, "k", b"before");
    let until = NOW.after(Duration::from_secs(2));
    assert_eq!(store.decline(&named("k"), until, NOW), None);
    assert!(matches!(store.find(&named("k"), NOW), Found::Declined));
    assert!(matches!(store.find(&named("k"), until), Found::Nothing));
    assert_eq!(put(&mut store, "k", b"after").0, Put::Kept);
    assert_eq!(body(&mut store, "k").unwrap(), b"after");
}

#[test]
fn what_was_seen_is_still_there_until_anything_happens_to_it() {
    let memory = Memory::new(SMALL);
    let mut store = memory.worker(0);
    let other = memory.worker(1);
    let seen = |store: &mut WorkerStore<'_>| {
        assert_eq!(put(store, "s\nk", b"x").0, Put::Kept);
        let Found::Memory(_, seen) = store.find(&named("s\nk"), NOW) else { panic!("a hit") };
        assert!(store.is_still(&seen) && other.is_still(&seen));
        seen
    };
    let first = seen(&mut store);
    let second = seen(&mut store);
    assert!(!store.is_still(&first) && store.is_still(&second), "there is a new one");
    let _ = other.invalidate(named("s\nk").hash);
    assert!(!store.is_still(&second));
    let third = seen(&mut store);
    memory.master().ban(&Ban { url: Url::Is(b"another"), ..Ban::ALL });
    assert!(!store.is_still(&third), "to be looked for again, and compared with the ban");
    let fourth = seen(&mut store);
    (0..20).for_each(|number| assert_eq!(put(&mut store, &format!("{number}"), &[0; 60_000]).0, Put::Kept));
    assert!(!store.is_still(&fourth), "it leaves with the oldest");
}
