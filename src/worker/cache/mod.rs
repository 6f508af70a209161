//! The response cache as a worker has it: the store that all workers share ([`crate::cache::store`]), what was found there
//! lately, who of its exchanges waits for whom, and the responses that are on their way into it. What may be kept and whom it
//! answers says [`crate::cache`]; the exchange asks (`exchange::cached`).

mod claim;
mod disk;
mod front;
mod tap;
mod trouble;
mod waiting;

pub(super) use claim::Claim;
pub(super) use disk::{Held, Read, ToWrite, Written};
pub(super) use front::{Body, Kept};
pub(super) use tap::{Keep, Tap, Window};
pub(super) use trouble::GivenUp;

use super::context::Context;
use super::owner::Owner;
use super::reader::{Origin, Outcome, Whom, Work};
use crate::buf::OpenFile;
use crate::cache::hash::Secret;
use crate::cache::key::Key;
use crate::cache::store::{self, Count, Fetch, FileName, Filed, Named, Object, Put, Seen, WorkerStore};
use crate::cache::stored::Head;
use crate::cache::vary::Marker;
use crate::cache::{self, Millis};
use crate::sys::place::Files;
use crate::timer::Time;
use claim::Pokes;
use disk::{Disk, Part, ReadBody};
use front::Front;
use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::Duration;
use trouble::Failed;
use waiting::Waiting;

/// So long nobody waits for what could not be kept the last time.
const DECLINED: Duration = Duration::from_secs(10);
/// The same for what was too large: it rarely becomes smaller, and who wants a part of it would fetch all of it in between.
const TOO_LARGE: Duration = Duration::from_secs(600);

/// What is good for less than this is not worth a file, in milliseconds.
const LASTING: Millis = 60 * cache::SECOND;

/// Kinds of what is kept.
const RESPONSE: u8 = 0;
const MARKER: u8 = 1;

/// See the module.
pub(super) struct Cache {
    pub(super) secret: Secret,
    store: WorkerStore<'static>,
    row: u16,
    front: Front<Seen>,
    waiting: Waiting,
    pokes: Pokes,
    /// Files to which nothing leads any more.
    gone: Vec<FileName>,
    /// `None`: nothing is kept in files.
    disk: Option<Disk>,
    /// For exchanges of our own that are to begin: what they fetch anew.
    entrusted: HashMap<u128, Claim>,
    /// What is being written, by the number of its file.
    writing: HashMap<u64, Held>,
    failed: Failed,
    given_up: GivenUp,
}

/// What is kept under a key.
pub(super) enum Found {
    Nothing,
    /// Nothing, and it is not worth waiting for who fetches it.
    Declined,
    /// A file, which is to be read first.
    Filed(Filed),
    /// What more its key depends on.
    Marker(Marker),
    Response(Rc<Kept>),
}

/// Who fetches what is kept under a key.
pub(super) enum Claimed {
    /// Who has asked.
    Mine(Claim),
    /// Somebody else, who is waited for.
    Theirs,
    /// Nobody can tell; it is fetched as if nobody else wanted it.
    Crowded,
}

impl Cache {
    /// With the store of this worker's row.
    pub(super) fn new(store: WorkerStore<'static>, files: Option<Files>, row: u16) -> Self {
        let secret = store.secret();
        let disk = files.map(|files| Disk::new(files, store.view()));
        let (waiting, pokes) = (Waiting::default(), Pokes::default());
        Self {
            secret,
            store,
            row,
            front: Front::default(),
            waiting,
            pokes,
            gone: Vec::new(),
            disk,
            entrusted: HashMap::new(),
            writing: HashMap::new(),
            failed: Failed::default(),
            given_up: GivenUp::default(),
        }
    }

    /// What is kept under this key.
    pub(super) fn find(&mut self, key: &Key, now: Time) -> Found {
        if let Some((seen, kept)) = self.front.get(key.hash())
            && self.store.is_still(seen)
        {
            return Found::Response(Rc::clone(kept));
        }
        match self.store.find(&named(key), now) {
            store::Found::Nothing => Found::Nothing,
            store::Found::Disk(_) if self.disk.is_none() => Found::Nothing,
            store::Found::Disk(filed) => Found::Filed(filed),
            store::Found::Declined => Found::Declined,
            store::Found::Memory(kept, _) if kept.kind() == MARKER => {
                Marker::decode(kept.head()).map_or(Found::Nothing, Found::Marker)
            }
            store::Found::Memory(kept, seen) => {
                let Some(head) = Head::decode(kept.head()) else { return Found::Nothing };
                let (bytes, body) = kept.into_body();
                let body = Body::Memory { data: Rc::from(bytes), start: body.start };
                let kept = Rc::new(Kept::new(head, body));
                self.front.put(key.hash(), seen, &kept);
                Found::Response(kept)
            }
        }
    }

    /// A request was answered from it, or not.
    pub(super) fn count(&self, is_hit: bool) {
        self.store.count(if is_hit { Count::Hits } else { Count::Misses }, 1);
    }

    /// Before something is fetched: what it brings is kept only if nothing invalidates it meanwhile. `primary` is the key of
    /// its URL.
    pub(super) fn fetch(&self, primary: &Key) -> Fetch {
        self.store.fetch(primary.hash())
    }

    /// Asks for the right to fetch it.
    pub(super) fn claim(&mut self, key: &Key, now: Time) -> Claimed {
        if self.failed.has(key.hash(), now) {
            return Claimed::Crowded;
        }
        let mut poke = 0;
        let claimed = self.store.claim(key.hash(), now, &mut poke);
        self.pokes.add(poke);
        match claimed {
            store::Claim::Mine(claimed) => {
                let (waiting, pokes) = (self.waiting.clone(), self.pokes.clone());
                let claim = Claim::new(claimed, self.store.view(), (key.hash(), waiting), pokes);
                Claimed::Mine(claim)
            }
            store::Claim::Somebody => Claimed::Theirs,
            store::Claim::Crowded => Claimed::Crowded,
        }
    }

    /// A claim is for the exchange of our own that begins next with this key.
    pub(super) fn entrust(&mut self, hash: u128, claim: Claim) {
        self.entrusted.insert(hash, claim);
    }

    /// That claim, for such an exchange.
    pub(super) fn entrusted(&mut self, hash: u128, is_own: bool) -> Option<Claim> {
        if !is_own || self.entrusted.is_empty() { None } else { self.entrusted.remove(&hash) }
    }

    /// Keeps a response; who waits for it finds it then. What comes back is to be written into files, too or only there.
    pub(super) fn keep(&mut self, keep: Keep, (now, millis): (Time, Millis)) -> Vec<(ToWrite, Held)> {
        let Keep { key, at, marker, head, fetch, mut claim, body, share, .. } = keep;
        let mut files = Vec::new();
        if let Some((key, marker)) = marker {
            let encoded = marker.encode();
            let put = self.put(&key, &fetch, (MARKER, &[], &encoded), &[], now);
            if let (Some(disk), false) = (&self.disk, put == Put::Invalidated) {
                let held = Held {
                    at: key.clone(),
                    name: disk.name(key.hash()),
                    claim: None,
                    share: None,
                    is_alone: false,
                };
                files.push((ToWrite::marker(&key, encoded, fetch, put == Put::Kept), held));
            }
        }
        let encoded = head.encode();
        let put = self.put(&key, &fetch, (RESPONSE, &head.tags, &encoded), &body, now);
        let has_no_room = matches!(put, Put::TooLong | Put::Full);
        let is_alone = has_no_room && self.disk.is_some();
        if has_no_room && !is_alone {
            self.decline_for(&at, if put == Put::TooLong { TOO_LARGE } else { DECLINED }, now);
        }
        if !is_alone {
            // Also who waits for another one's fetch.
            self.waiting.wake(key.hash());
            claim = None;
        }
        let is_worth_it = is_alone || put == Put::Kept && head.life.end().saturating_sub(millis) >= LASTING;
        if let Some(disk) = self.disk.as_ref().filter(|_| is_worth_it) {
            let held = Held { at, name: disk.name(key.hash()), claim, share: Some(share), is_alone };
            let what = ToWrite {
                hash: key.hash(),
                text: key.text().into(),
                kind: RESPONSE,
                tags: head.tags,
                head: encoded,
                body,
                fetch,
                in_memory: put == Put::Kept,
            };
            files.push((what, held));
        }
        files
    }

    /// A thread has written a file: it is entered in the index. Who waits for it finds it then.
    fn publish(&mut self, written: Written, held: Option<Held>, now: Time) {
        let Written { hash, text, tags, fetch, in_memory, pending } = written;
        let named = Named { hash, text: &text };
        let (put, gone) = self.store.publish(&named, &fetch, &tags, (pending, in_memory), now);
        self.gone.extend(gone);
        if let Some(held) = held.filter(|held| held.is_alone && put == Put::Full) {
            self.decline(&held.at, now);
        }
        self.waiting.wake(hash);
    }

    /// A file could not be written: what is there under its name is older than what is kept.
    fn is_not_written(&mut self, held: Held, now: Time) {
        self.gone.push(held.name);
        if held.is_alone {
            self.decline(&held.at, now);
        }
    }

    /// What a thread has read of a file, as a response; a small one goes into memory.
    pub(super) fn brought(&mut self, key: &Key, filed: &Filed, read: Read, now: Time) -> Found {
        let Read { kind, head: encoded, tags, bans, body } = read;
        if let (MARKER, ReadBody::Bytes(_)) = (kind, &body) {
            let object = Object { kind, tags: &tags, head: &encoded, body: &[] };
            let gone = self.store.put_copy(&named(key), filed, (bans, &object), now);
            self.gone.extend(gone);
            return Marker::decode(&encoded).map_or(Found::Nothing, Found::Marker);
        }
        let Some(head) = Head::decode(&encoded) else { return Found::Nothing };
        let body = match body {
            ReadBody::Bytes(bytes) => {
                let object = Object { kind: RESPONSE, tags: &tags, head: &encoded, body: &[&bytes] };
                let gone = self.store.put_copy(&named(key), filed, (bans, &object), now);
                self.gone.extend(gone);
                Body::Memory { data: Rc::from(bytes), start: 0 }
            }
            ReadBody::Part { file, offset, len } => {
                Body::File { file: Rc::new(OpenFile::of(file)), offset, len }
            }
        };
        Found::Response(Rc::new(Kept::new(head, body)))
    }

    /// The same body with another head. What comes back is in a file, which is to be written anew.
    pub(super) fn renew(
        &mut self,
        key: &Key,
        fetch: &Fetch,
        kept: &Kept,
        now: Time,
    ) -> Option<(ToWrite, Part)> {
        let (head, encoded) = (&kept.head, kept.head.encode());
        match &kept.body {
            Body::Memory { data, start } => {
                let body = data.get(*start..).unwrap_or_default();
                let _ = self.put(key, fetch, (RESPONSE, &head.tags, &encoded), body, now);
                None
            }
            Body::File { file, offset, len } => {
                let again = file.as_fd().try_clone_to_owned().ok()?;
                let part = Part { file: again.into(), offset: *offset, len: *len };
                let what = ToWrite {
                    hash: key.hash(),
                    text: key.text().into(),
                    kind: RESPONSE,
                    tags: head.tags.clone(),
                    head: encoded,
                    body: Vec::new(),
                    fetch: *fetch,
                    in_memory: false,
                };
                Some((what, part))
            }
        }
    }

    fn put(
        &mut self,
        key: &Key,
        fetch: &Fetch,
        (kind, tags, head): (u8, &[u64], &[u8]),
        body: &[u8],
        now: Time,
    ) -> Put {
        let object = Object { kind, tags, head, body: &[body] };
        let (put, gone) = self.store.put(&named(key), fetch, &object, now);
        self.gone.extend(gone);
        put
    }

    /// What is fetched cannot be kept: for a while nobody waits for it.
    pub(super) fn decline(&mut self, key: &Key, now: Time) {
        self.decline_for(key, DECLINED, now);
    }

    /// The same, of what is larger than what is kept.
    pub(super) fn decline_large(&mut self, key: &Key, now: Time) {
        self.decline_for(key, TOO_LARGE, now);
    }

    fn decline_for(&mut self, key: &Key, lasts: Duration, now: Time) {
        let gone = self.store.decline(&named(key), now.after(lasts), now);
        self.gone.extend(gone);
    }

    /// A fetch has failed: for a moment nobody waits for another one. What is kept stays.
    pub(super) fn note_failed(&mut self, key: &Key, now: Time) {
        self.failed.add(key.hash(), now);
    }

    /// Where a copy is given up that was being taken.
    pub(super) fn given_up(&self) -> GivenUp {
        self.given_up.clone()
    }

    /// Nothing is kept of that URL any more, nor what is being fetched.
    pub(super) fn forget(&mut self, primary: &Key) {
        let gone = self.store.invalidate(primary.hash());
        self.gone.extend(gone);
    }

    /// An exchange waits for who fetches it.
    pub(super) fn join(&mut self, hash: u128, owner: Owner) {
        self.waiting.join(hash, owner);
    }

    /// It waits no more.
    pub(super) fn leave(&mut self, hash: u128, owner: Owner) {
        self.waiting.leave(hash, owner);
    }

    /// Whether it still waits.
    pub(super) fn is_waiting(&self, hash: u128, owner: Owner) -> bool {
        self.waiting.has(hash, owner)
    }

    /// Those who have waited and may go on.
    pub(super) fn take_woken(&mut self, now: Time) -> Vec<Owner> {
        for (key, claim) in self.given_up.take() {
            self.decline(&key, now);
            drop(claim);
        }
        self.waiting.take_woken()
    }

    /// Whether there are some.
    pub(super) fn has_woken(&self) -> bool {
        self.waiting.has_woken() || !self.given_up.is_empty()
    }

    /// Another worker has poked this one: what somebody here waits for may be there.
    pub(super) fn poked(&mut self) {
        if !self.waiting.is_empty() {
            self.waiting.wake_all();
        }
    }

    /// The rows of other workers that are to be poked, as bits.
    pub(super) fn take_pokes(&mut self) -> u64 {
        let rows = self.pokes.take();
        let own = 1_u64.checked_shl(u32::from(self.row)).unwrap_or(0);
        if rows & own != 0 {
            self.waiting.wake_all();
        }
        rows & !own
    }
}

fn named(key: &Key) -> Named<'_> {
    Named { hash: key.hash(), text: key.text() }
}

impl Context {
    /// Has a thread write a response into a file.
    pub(super) fn write_kept(&mut self, what: ToWrite, held: Held) {
        let Some(disk) = self.cache.disk.clone() else { return };
        // What is there is replaced; who removed it then would remove the new one.
        self.cache.gone.retain(|gone| *gone != held.name);
        let number = self.random();
        let work = Box::new(move |_: &mut [u8]| {
            Outcome::Wrote(number, disk.write(what, number).map(|one| one.map(Box::new)))
        });
        if self.order_for_cache(Whom::Cache, work) {
            self.cache.writing.insert(number, held);
        } else {
            let now = self.now;
            self.cache.is_not_written(held, now);
        }
    }

    /// Has a thread write one anew, with another head.
    pub(super) fn write_kept_again(&mut self, what: ToWrite, of: Part) {
        let Some(disk) = self.cache.disk.clone() else { return };
        let number = self.random();
        let work = Box::new(move |_: &mut [u8]| {
            Outcome::Wrote(number, disk.write_again(what, &of, number).map(|one| one.map(Box::new)))
        });
        self.order_for_cache(Whom::Cache, work);
    }

    /// Has a thread read a file for an exchange.
    pub(super) fn read_kept(&mut self, owner: Owner, key: &Key, filed: Filed) -> bool {
        let Some(disk) = self.cache.disk.clone() else { return false };
        let (hash, text): (_, Box<[u8]>) = (key.hash(), key.text().into());
        let work = Box::new(move |_: &mut [u8]| Outcome::Kept(disk.read(hash, &text, &filed).map(Box::new)));
        self.order_for_cache(Whom::Exchange(owner), work)
    }

    /// A thread has written one.
    pub(super) fn kept_is_written(&mut self, number: u64, wrote: std::io::Result<Option<Box<Written>>>) {
        let (held, now) = (self.cache.writing.remove(&number), self.now);
        let fault = match wrote {
            Ok(Some(written)) => return self.cache.publish(*written, held, now),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        held.into_iter().for_each(|held| self.cache.is_not_written(held, now));
        if let Some(error) = fault {
            let kind = "cannot keep a response on disk";
            self.note_fault(log::Level::Warn, kind, format_args!("worker: {kind}: {error}"));
        }
    }

    /// Has a thread remove files that are not wanted any more, and tidy up if it is time.
    pub(super) fn tidy_kept(&mut self) {
        let Some(disk) = self.cache.disk.clone() else { return self.cache.gone.clear() };
        let (now, wall) = (self.now, self.wall);
        let is_untidy = disk.is_untidy(now);
        if self.cache.gone.is_empty() && !is_untidy {
            return;
        }
        let gone = std::mem::take(&mut self.cache.gone);
        let work = Box::new(move |_: &mut [u8]| {
            disk.remove(&gone);
            if is_untidy {
                disk.tidy(now, wall);
            }
            Outcome::Done
        });
        self.order_for_cache(Whom::Nobody, work);
    }

    fn order_for_cache(&mut self, whom: Whom, work: Work) -> bool {
        let (path, now) = (None, self.now);
        self.reader.order(whom, Origin::Cache, path, work, now).is_ok()
    }
}
