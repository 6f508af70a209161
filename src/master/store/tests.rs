//! The memory among processes, some of which are killed or lie; the directory over restarts.

use super::*;
use crate::cache::store::{Claim, Found, Named, Object, Put, Url};
use crate::sys::process::{self, Child, Ended};
use crate::sys::signals;
use crate::timer::Time;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const KEYS: u64 = 300;

fn config(path: Option<&Path>) -> CacheSizes {
    CacheSizes { memory: 1 << 20, path: path.map(Path::to_owned), disk: 1 << 20, ..CacheSizes::default() }
}

/// Numbers that look like chance and are the same in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What is kept under a key says which key that is, all over; its length is drawn.
fn body(key: u64, length: u64) -> Vec<u8> {
    key.to_le_bytes().repeat(length as usize)
}

/// As a worker does: looks, claims, keeps and invalidates, so many times. The exit code says what was wrong.
fn work(store: &Store, row: u16, seed: u64, rounds: u64) -> i32 {
    let Ok(mut worker) = store.confine(row) else { return 2 };
    let (secret, mut draw, mut hits) = (worker.secret(), Draw(seed | 1), 0_u64);
    for round in 0..rounds {
        let key = draw.next(KEYS);
        let text = format!("s\nhttp://h/{key}");
        let named = Named { hash: secret.hash(text.as_bytes()), text: text.as_bytes() };
        let now = Time((1 + round) * 1_000_000);
        if let Found::Memory(kept, _) = worker.find(&named, now) {
            let whole = kept.body().chunks(8).all(|piece| piece == key.to_le_bytes());
            if !whole || kept.head() != text.as_bytes() {
                return 3;
            }
            hits += 1;
        }
        let claim = worker.claim(named.hash, now, &mut 0);
        let fetch = worker.fetch(named.hash);
        let body = body(key, draw.next(2000));
        let object = Object { kind: 0, tags: &[key], head: text.as_bytes(), body: &[&body] };
        match worker.put(&named, &fetch, &object, now).0 {
            Put::TooLong => return 4,
            Put::Kept | Put::Invalidated | Put::Full => {}
        }
        if draw.next(20) == 0 {
            let _ = worker.invalidate(named.hash);
        }
        if let Claim::Mine(claimed) = claim {
            let _ = worker.release(claimed);
        }
    }
    if hits > 0 { 0 } else { 5 }
}

fn fork(store: &Store, row: u16, seed: u64, rounds: u64) -> Child {
    store.seat(row);
    process::fork_of_test(|_| work(store, row, seed, rounds)).unwrap()
}

/// Nothing is locked, and what is found is right.
fn serves(store: &Store, row: u16) {
    let child = fork(store, row, 77, 2000);
    assert_eq!(process::wait(&child).unwrap(), Ended::Code(0));
    let _ = store.worker_left(row, "a worker");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a moment at random, in which one is killed")]
fn workers_that_are_killed_at_any_moment_leave_nothing_locked_and_nothing_wrong() {
    let store = Store::in_memory(&config(None)).unwrap();
    let mut draw = Draw(0x9e37_79b9);
    let steady = fork(&store, 9, 5, 20_000);
    for round in 0..40 {
        let row = (round % 4) as u16;
        let child = fork(&store, row, round + 1, u64::MAX);
        std::thread::sleep(Duration::from_micros(200 + draw.next(4000)));
        process::signal(&child, signals::SIGKILL, false).unwrap();
        assert_eq!(process::wait(&child).unwrap(), Ended::Signal(signals::SIGKILL), "it found what is wrong");
        let _ = store.worker_left(row, "a worker");
    }
    assert_eq!(process::wait(&steady).unwrap(), Ended::Code(0), "what the others did is nothing to it");
    let _ = store.worker_left(9, "a worker");
    // Nobody lives, so nobody holds a claim.
    let worker = WorkerStore::new(
        store.sizes,
        store.shared.words(),
        0,
        &store.shared.words()[Layout::area(0).unwrap()],
        &store.shared.words()[Layout::of(store.sizes).shared()],
    );
    for key in 0..KEYS {
        let hash = worker.secret().hash(format!("s\nhttp://h/{key}").as_bytes());
        let Claim::Mine(claimed) = worker.claim(hash, Time(1), &mut 0) else { panic!("{key} is claimed") };
        let _ = worker.release(claimed);
    }
    serves(&store, 1);
}

#[test]
fn a_worker_that_writes_garbage_everywhere_costs_hits_and_nothing_else() {
    let store = Store::in_memory(&config(None)).unwrap();
    serves(&store, 0);
    let (file, shared) = (&store.file, store.shared);
    store.seat(3);
    let liar = process::fork_of_test(move |_| {
        let parts = [Layout::area(3).unwrap(), Layout::of(store_sizes()).shared()];
        let confined = shared.confine(file.as_fd(), &parts).unwrap();
        let mut draw = Draw(42);
        loop {
            for words in &confined.writable {
                let value = match draw.next(3) {
                    0 => u64::MAX,
                    1 => draw.next(1 << 20),
                    _ => draw.0,
                };
                words[draw.next(words.len() as u64) as usize].store(value, Relaxed);
                // Where it hurts most: hands, claims, turns, the first sets.
                words[draw.next(60_000.min(words.len() as u64)) as usize].store(draw.0, Relaxed);
            }
        }
    });
    let liar = liar.unwrap();
    let children = [0, 1, 2].map(|row| fork(&store, row, u64::from(row) + 11, 5000));
    for child in &children {
        let ended = process::wait(child).unwrap();
        // Whether there is a hit between the lies is chance.
        assert!(matches!(ended, Ended::Code(0 | 5)), "{ended:?}");
    }
    process::signal(&liar, signals::SIGKILL, false).unwrap();
    assert_eq!(process::wait(&liar).unwrap(), Ended::Signal(signals::SIGKILL));
    for row in 0..4 {
        let _ = store.worker_left(row, "a worker");
    }
    // What the liar left is overcome.
    serves(&store, 0);
    let census = store.master().census(0..store.master().sets());
    assert!(census.in_memory > 0);
}

fn store_sizes() -> Sizes {
    sizes(&config(None))
}

#[test]
fn a_worker_cannot_write_bans_nor_the_rows_of_others() {
    let store = Store::in_memory(&config(None)).unwrap();
    let ends = |at: usize| {
        let child = process::fork_of_test(|_| {
            let parts = [Layout::area(3).unwrap(), Layout::of(store.sizes).shared()];
            let confined = store.shared.confine(store.file.as_fd(), &parts).unwrap();
            confined.words[at].store(1, Relaxed);
            0
        });
        process::wait(&child.unwrap()).unwrap()
    };
    for at in [0, 5, 64, Layout::area(2).unwrap().start, Layout::area(4).unwrap().start] {
        assert_eq!(ends(at), Ended::Signal(nix::libc::SIGSEGV), "{at}");
    }
    assert_eq!(ends(Layout::area(3).unwrap().start), Ended::Code(0));
    assert_eq!(ends(Layout::of(store.sizes).shared().start), Ended::Code(0));
}

#[test]
fn secret_and_purges_outlive_a_restart_and_a_file_that_is_none_is_made_anew() {
    let path = std::env::temp_dir().join(format!("hatchery-cache-{}", std::process::id()));
    let mut first = Store::new(&config(Some(&path)), None).unwrap();
    let secret = first.master().secret();
    first.ban(&Ban { url: Url::Is(b"gone"), ..Ban::ALL }).unwrap();
    assert!(first.is_of(&config(Some(&path))) && !first.is_of(&config(None)));
    drop(first);
    let second = Store::new(&config(Some(&path)), None).unwrap();
    assert_eq!((second.master().secret(), second.master().last_ban()), (secret, 1));
    let none = std::iter::empty::<u64>;
    assert!(second.master().unbanned(b"s\ngone", 0, none).is_none());
    assert!(second.master().unbanned(b"s\nhere", 0, none).is_some());
    assert!(second.files().unwrap().is_some());
    std::fs::write(path.join(STATE), "something else").unwrap();
    let third = Store::new(&config(Some(&path)), None).unwrap();
    assert_ne!(
        third.master().secret(),
        secret,
        "no file of before is found, so none is given that was purged"
    );
    assert_eq!(Store::new(&config(Some(&path)), None).unwrap().master().secret(), third.master().secret());
    std::fs::remove_dir_all(path.join(OBJECTS)).unwrap();
    std::os::unix::fs::symlink("/tmp", path.join(OBJECTS)).unwrap();
    let refused = Store::new(&config(Some(&path)), None).unwrap_err();
    assert!(refused.starts_with("cache.path: "), "{refused}");
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_travels_is_what_was_there_and_anything_else_is_begun_anew() {
    let store = Store::in_memory(&config(None)).unwrap();
    serves(&store, 0);
    let secret = store.master().secret();
    let copy = |size| Saved {
        file: store.file.as_fd().try_clone_to_owned().unwrap().into(),
        sizes: Sizes { memory: size, disk: 0 },
        directory: None,
    };
    let same = Store::resume(Some(copy(1 << 20)), &config(None), None).unwrap();
    assert_eq!(same.master().secret(), secret);
    for saved in [Some(copy(2 << 20)), None] {
        let other = Store::resume(saved, &config(None), None).unwrap();
        assert_ne!(other.master().secret(), secret);
        serves(&other, 0);
    }
}
