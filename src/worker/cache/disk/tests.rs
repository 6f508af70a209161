use super::*;
use crate::cache::hash::Secret;
use crate::cache::store::{Layout, MasterStore, Sizes, WorkerStore};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

const SIZES: Sizes = Sizes { memory: 1 << 20, disk: 1 << 20 };
const LIFE: u64 = 3;
const NOW: Time = Time(1_000_000_000_000);

struct Scene {
    path: PathBuf,
    disk: Disk,
    store: WorkerStore<'static>,
}

fn scene(name: &str) -> Scene {
    let path = std::env::temp_dir().join(format!("hatchery-cache-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let words = (0..Layout::of(SIZES).words()).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
    let words: &'static [AtomicU64] = words;
    let master = MasterStore::new(words, SIZES);
    master.begin(Secret([7, 9]), LIFE);
    master.seat(0);
    let (own, shared) = (&words[Layout::area(0).unwrap()], &words[Layout::of(SIZES).shared()]);
    let store = WorkerStore::new(SIZES, words, 0, own, shared);
    let files = Files::in_directory(file::open_directory(&path).unwrap());
    Scene { disk: Disk::new(files, store.view()), path, store }
}

impl Scene {
    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A file of that name, written so many seconds ago.
    fn put(&self, name: &str, age: u64) -> String {
        let file = File::create(self.path.join(name)).unwrap();
        let now = u64::try_from(crate::sys::clock::wall().seconds).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(now - age)).unwrap();
        name.to_owned()
    }

    fn what(&self, text: &[u8], head: &[u8], body: &[u8]) -> ToWrite {
        let hash = self.store.secret().hash(text);
        let fetch = self.store.fetch(hash);
        ToWrite {
            kind: RESPONSE,
            hash,
            text: text.into(),
            tags: vec![5],
            head: head.to_vec(),
            body: body.to_vec(),
            fetch,
            in_memory: false,
        }
    }

    /// Enters it as a worker does that has its thread write.
    fn keep(&self, written: Written) {
        let Written { hash, text, tags, fetch, in_memory, pending } = written;
        let named = Named { hash, text: &text };
        let (_, gone) = self.store.publish(&named, &fetch, &tags, (pending, in_memory), NOW);
        self.disk.remove(&gone);
    }

    fn read(&mut self, text: &[u8]) -> Option<Read> {
        let hash = self.store.secret().hash(text);
        match self.store.find(&Named { hash, text }, NOW) {
            crate::cache::store::Found::Disk(filed) => self.disk.read(hash, text, &filed),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn bytes_of(read: &Read) -> Vec<u8> {
    match &read.body {
        ReadBody::Bytes(bytes) => bytes.clone(),
        ReadBody::Part { file, offset, len } => file::read_at(file.as_fd(), *offset, *len as usize).unwrap(),
    }
}

#[test]
fn what_nobody_finishes_or_nothing_leads_to_is_removed() {
    let scene = scene("tidy");
    let wall = crate::sys::clock::wall();
    let written = scene.disk.write(scene.what(b"a", b"head", b"body"), 1).unwrap().unwrap();
    scene.keep(written);
    let kept = scene.names();
    assert_eq!(kept.len(), 1);
    let mut stay = kept.clone();
    // Nobody has entered it yet: all that is there at the start is taken in.
    scene.disk.tidy(NOW, wall);
    assert_eq!(scene.names(), stay);
    let unfinished = |life: u64, number: u64| format!("unfinished-{life:016x}-{number:016x}");
    stay.insert(scene.put(&unfinished(LIFE, 1), 0));
    stay.insert(scene.put(&unfinished(LIFE, 2), 3500));
    scene.put(&unfinished(LIFE, 3), 3700);
    scene.put(&unfinished(LIFE + 1, 4), 0);
    scene.put("anything else", 0);
    // Of two that have no entry one was written a moment ago, and is about to have one.
    let name = |text: &[u8]| scene.store.file_name(scene.store.secret().hash(text)).to_string();
    stay.insert(scene.put(&name(b"new"), 1));
    scene.put(&name(b"old"), 100);
    scene.disk.tidy(NOW, wall);
    assert_eq!(scene.names(), stay);
}

#[test]
fn a_file_is_written_anew_with_another_head_and_the_same_body() {
    let mut scene = scene("again");
    for body in [b"small".to_vec(), vec![7; 300_000]] {
        let written = scene.disk.write(scene.what(b"a", b"old head", &body), 1).unwrap().unwrap();
        scene.keep(written);
        let file = File::open(scene.path.join(scene.names().first().unwrap())).unwrap();
        let read = scene.read(b"a").unwrap();
        assert_eq!((read.head.as_slice(), bytes_of(&read) == body), (&b"old head"[..], true));
        let offset = file.metadata().unwrap().len() - body.len() as u64;
        let part = Part { file, offset, len: body.len() as u64 };
        let again = scene.disk.write_again(scene.what(b"a", b"new", b""), &part, 2).unwrap().unwrap();
        scene.keep(again);
        let read = scene.read(b"a").unwrap();
        assert_eq!((read.head.as_slice(), bytes_of(&read) == body), (&b"new"[..], true));
        assert_eq!(scene.names().len(), 1);
        // One that is shorter than it was is not taken for whole.
        let short = Part { len: part.len + 1, ..part };
        assert!(scene.disk.write_again(scene.what(b"a", b"x", b""), &short, 3).is_err());
        assert_eq!(scene.names().len(), 1);
    }
}
