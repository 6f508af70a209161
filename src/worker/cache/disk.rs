//! Responses in files: what threads do with them ([`crate::worker::reader`]), since a disk may take its time. The words and
//! bytes are the store's, [`crate::cache::store`].

use super::{Claim, MARKER, RESPONSE};
use crate::cache::key::Key;
use crate::cache::store::{
    Draft, FIXED, Fetch, FileName, Filed, Front, LONGEST_HEAD, Named, Object, Pending, View, body_sum,
};
use crate::sys::file;
use crate::sys::place::Files;
use crate::timer::{Time, Wall};
use crate::worker::budget::Share;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

/// A body up to here is read whole, and put into memory, too.
const SMALL: u64 = 64 * 1024;
/// Read at a time.
const PIECE: usize = 128 * 1024;
/// Nobody writes for so long, in seconds: who began a file that is older has died.
const LONGEST_WRITE: i64 = 3600;
/// A file that was written a moment ago, in seconds, is perhaps about to be entered in the index.
const MOMENT: i64 = 60;
/// How often what lies in the directory is compared with the index.
const UPKEEP: Duration = Duration::from_secs(600);

/// The directory, and the store that its files belong to.
#[derive(Clone)]
pub(super) struct Disk {
    files: Arc<Files>,
    view: View<'static>,
}

/// What is to be written.
pub(in crate::worker) struct ToWrite {
    pub(super) hash: u128,
    pub(super) text: Box<[u8]>,
    pub(super) kind: u8,
    pub(super) tags: Vec<u64>,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) fetch: Fetch,
    pub(super) in_memory: bool,
}

/// The body of a file.
pub(in crate::worker) struct Part {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// What is held until it was written, or not.
pub(in crate::worker) struct Held {
    /// Under which key others look for it.
    pub(super) at: Key,
    /// Its file.
    pub(super) name: FileName,
    /// The right to fetch it, of what is in no other place.
    #[expect(dead_code, reason = "held until it is dropped")]
    pub(super) claim: Option<Claim>,
    /// What its body holds of the budget.
    #[expect(dead_code, reason = "held until it is dropped")]
    pub(super) share: Option<Share>,
    /// It is kept in no other place.
    pub(super) is_alone: bool,
}

impl ToWrite {
    /// What more a key depends on.
    pub(super) fn marker(key: &Key, head: Vec<u8>, fetch: Fetch, in_memory: bool) -> Self {
        let (hash, text) = (key.hash(), key.text().into());
        Self { hash, text, kind: MARKER, tags: Vec::new(), head, body: Vec::new(), fetch, in_memory }
    }
}

/// What was written, and is to be entered in the index.
#[derive(Debug)]
pub(in crate::worker) struct Written {
    pub(super) hash: u128,
    pub(super) text: Box<[u8]>,
    pub(super) tags: Vec<u64>,
    pub(super) fetch: Fetch,
    pub(super) in_memory: bool,
    pub(super) pending: Pending,
}

/// What was read.
#[derive(Debug)]
pub(in crate::worker) struct Read {
    pub(super) kind: u8,
    pub(super) head: Vec<u8>,
    pub(super) tags: Vec<u64>,
    pub(super) bans: u64,
    pub(super) body: ReadBody,
}

#[derive(Debug)]
pub(super) enum ReadBody {
    Bytes(Vec<u8>),
    Part { file: File, offset: u64, len: u64 },
}

impl Disk {
    pub(super) fn new(files: Files, view: View<'static>) -> Self {
        Self { files: Arc::new(files), view }
    }

    /// What the file of that hash is called.
    pub(super) fn name(&self, hash: u128) -> FileName {
        self.view.file_name(hash)
    }

    /// Writes a file and gives it its name. `None`: there is no room for it. `number` is no other file's.
    pub(super) fn write(&self, what: ToWrite, number: u64) -> io::Result<Option<Written>> {
        let ToWrite { hash, text, kind, tags, head, body, fetch, in_memory } = what;
        let object = Object { kind, tags: &tags, head: &head, body: &[] };
        let Some(draft) = self.view.draft(&text, fetch.bans(), &object) else { return Ok(None) };
        let (pending, gone) = self.view.reserve(draft.offset().saturating_add(body.len() as u64));
        self.remove(&gone);
        let Some(pending) = pending else { return Ok(None) };
        match self.put(draft, &body, self.view.file_name(hash), number) {
            Ok(()) => Ok(Some(Written { hash, text, tags, fetch, in_memory, pending })),
            Err(error) => {
                self.view.give_back(pending);
                Err(error)
            }
        }
    }

    fn put(&self, mut draft: Draft, body: &[u8], name: FileName, number: u64) -> io::Result<()> {
        let unfinished = self.files.begin(self.view.life(), number)?;
        unfinished.write(body, draft.offset())?;
        draft.add(body);
        unfinished.write(&draft.front(self.view.seed()), 0)?;
        unfinished.finish(&name.to_string()).map(drop)
    }

    /// Writes a file anew with the body that it has and another head.
    pub(super) fn write_again(&self, what: ToWrite, of: &Part, number: u64) -> io::Result<Option<Written>> {
        let mut body = Vec::new();
        while (body.len() as u64) < of.len {
            let most = (of.len - body.len() as u64).min(PIECE as u64) as usize;
            let bytes = file::read_at(of.file.as_fd(), of.offset + body.len() as u64, most)?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            body.extend_from_slice(&bytes);
        }
        self.write(ToWrite { body, ..what }, number)
    }

    /// Removes files to which nothing leads any more.
    pub(super) fn remove(&self, names: &[FileName]) {
        for name in names {
            // What stays is found by who tidies up.
            let _ = self.files.remove(&name.to_string());
        }
    }

    /// Reads a file that the index names. `None`: it is none of this key, was purged, or is not whole; it goes.
    pub(super) fn read(&self, hash: u128, text: &[u8], filed: &Filed) -> Option<Read> {
        let found = self.read_good(&Named { hash, text }, filed);
        if found.is_none() {
            self.view.lost(filed);
            let _ = self.files.remove(&filed.name.to_string());
        }
        found
    }

    fn read_good(&self, named: &Named<'_>, filed: &Filed) -> Option<Read> {
        let file = self.files.open(&filed.name.to_string()).ok()?;
        let fixed = file::read_at(file.as_fd(), 0, FIXED).ok()?;
        let length = Front::length(&fixed).filter(|length| *length <= LONGEST_HEAD)?;
        let front = Front::read(file::read_at(file.as_fd(), 0, length).ok()?, self.view.seed())?;
        if !self.view.is_good(named, &front) || !matches!(front.kind(), RESPONSE | MARKER) {
            return None;
        }
        let (offset, len) = front.body();
        if file.metadata().ok()?.len() < offset.checked_add(len)? {
            return None;
        }
        if self.view.is_unproven(filed, &front) {
            self.prove(&file, &front)?;
            self.view.proven(filed);
        } else {
            self.view.used(filed);
        }
        let body = if len <= SMALL {
            let bytes = file::read_at(file.as_fd(), offset, len as usize).ok()?;
            (bytes.len() as u64 == len).then_some(ReadBody::Bytes(bytes))?
        } else {
            ReadBody::Part { file, offset, len }
        };
        Some(Read {
            kind: front.kind(),
            head: front.head().to_vec(),
            tags: front.tags().collect(),
            bans: front.bans(),
            body,
        })
    }

    /// Compares a body with its sum: a file of an earlier life may have lost bytes with the machine.
    fn prove(&self, file: &File, front: &Front) -> Option<()> {
        let (mut at, len) = front.body();
        let end = at.checked_add(len)?;
        let mut sum = body_sum(self.view.seed());
        while at < end {
            let bytes = file::read_at(file.as_fd(), at, PIECE.min((end - at) as usize)).ok()?;
            if bytes.is_empty() {
                return None;
            }
            sum.update(&bytes);
            at += bytes.len() as u64;
        }
        (sum.digest() == front.body_sum()).then_some(())
    }

    /// Whether it is for this worker to compare directory and index now.
    pub(super) fn is_untidy(&self, now: Time) -> bool {
        self.view.takes_upkeep(now, UPKEEP)
    }

    /// Enters what is found in the directory, and removes what nothing leads to or nobody finishes: what another life of the
    /// server has begun, or a worker that has died.
    pub(super) fn tidy(&self, now: Time, wall: Wall) {
        let mut gone = Vec::new();
        let listed = self.files.each(|name, bytes, written| {
            let age = wall.seconds.saturating_sub(written);
            let is_kept = match (FileName::parse(name), Files::writer_of(name)) {
                (Some(name), _) => self.view.found_file(name, bytes, now) || (0..MOMENT).contains(&age),
                (None, writer) => writer == Some(self.view.life()) && age < LONGEST_WRITE,
            };
            if let (false, Ok(name)) = (is_kept, std::str::from_utf8(name)) {
                gone.push(name.to_owned());
            }
        });
        if let Err(error) = listed {
            return log::warn!("worker: cannot list the files of the cache: {error}");
        }
        for name in gone {
            let _ = self.files.remove(&name);
        }
        self.view.reconcile();
    }
}

#[cfg(test)]
mod tests;
