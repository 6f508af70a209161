//! A response that is compressed while it leaves. Pieces in memory that are not large are compressed as they come; a file, or
//! what is large, a part at a time as the connection has room, and no more in one turn of the loop than others can wait for.

use super::Pumped;
use crate::buf::{Front, OpenFile, Queue, Segment, Stamp};
use crate::filter::coding;
use crate::filter::encoder::Encoder;
use crate::http::encoding::Encoding;
use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields};
use crate::sys::{file, page_cache};
use crate::timer::Time;
use crate::worker::budget::Share;
use crate::worker::context::{Context, ReadFirst};
use crate::worker::owner::Owner;
use crate::worker::reader::{Outcome, Whom};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

/// Compressed at once.
const PIECE: usize = 32 * 1024;

/// Of one response in one turn: at the default levels one to three milliseconds.
const TURN: u64 = 128 * 1024;

/// Of all together, each having the same; but no less than is worth a turn.
const TURN_OF_ALL: u64 = 1024 * 1024;
const LEAST: u64 = 8 * 1024;

/// Levels from which a turn takes a quarter of that.
const DEAR: [(Encoding, u32); 2] = [(Encoding::Brotli, 7), (Encoding::Zstd, 10)];

/// Of a file that has to come from a disk, so much is asked for.
const AHEAD: u64 = 1024 * 1024;

/// Coders of one kind that are kept for the next response.
const KEPT: usize = 8;

/// The coders of a worker.
#[derive(Debug, Default)]
pub(in crate::worker) struct Encoders {
    /// That nobody uses now: what they take of memory is dear to have.
    kept: Vec<Encoder>,
    /// How many are used.
    used: Rc<()>,
}

impl Encoders {
    fn take(&mut self, (encoding, level): (Encoding, u32), length: Option<u64>) -> Option<Encoder> {
        let found = self.kept.iter().position(|kept| kept.encoding() == encoding && kept.level() == level);
        let kept = found.map(|index| self.kept.swap_remove(index));
        kept.and_then(|kept| kept.again(length)).or_else(|| Encoder::new(encoding, level, length).ok())
    }

    fn give_back(&mut self, encoder: Encoder) {
        // Brotli's cannot be used again.
        let same = |kept: &&Encoder| kept.encoding() == encoder.encoding();
        if encoder.encoding() != Encoding::Brotli && self.kept.iter().filter(same).count() < KEPT {
            self.kept.push(encoder);
        }
    }
}

/// See the module.
pub(super) struct Compression {
    encoder: Encoder,
    /// What was announced of the body, and what was given of it.
    announced: BodyLength,
    given: u64,
    /// What was given and is not done.
    held: Queue,
    /// It was given all, with what follows the body.
    ending: Option<Fields>,
    disk: Disk,
    /// The coder has failed.
    failed: bool,
    /// In which turn it has done how much.
    turn: Time,
    done: u64,
    /// It has said in this turn that there is more to do.
    told: bool,
    /// One of those that are used.
    used: Rc<()>,
    _share: Share,
}

/// How it is with a part of a file that does not lie in memory.
enum Disk {
    Idle,
    /// A thread reads it.
    Reads,
    /// It has.
    HasRead,
    /// The bytes of a far file.
    Brought(Vec<u8>),
    Failed,
}

/// A part of a file.
struct Part {
    file: Rc<OpenFile>,
    offset: u64,
    len: u64,
    stamp: Option<Stamp>,
}

impl Compression {
    /// `None`: what waits in this worker for slow clients takes half of the memory that there is for that.
    pub(super) fn begin(how: (Encoding, u32), announced: BodyLength, cx: &mut Context) -> Option<Self> {
        if !cx.store.budget.has_plenty() {
            return None;
        }
        let length = match announced {
            BodyLength::Known(length) => Some(length),
            BodyLength::None | BodyLength::Unknown => None,
        };
        let encoder = cx.encoders.take(how, length)?;
        let mut share = cx.store.budget.share();
        share.set(encoder.memory());
        Some(Self {
            encoder,
            announced,
            given: 0,
            held: Queue::new(),
            ending: None,
            disk: Disk::Idle,
            failed: false,
            turn: cx.now,
            done: 0,
            told: false,
            used: Rc::clone(&cx.encoders.used),
            _share: share,
        })
    }

    /// What exceeds the announced length is cut, as by a connection.
    pub(super) fn send(&mut self, mut segment: Segment) -> Option<Segment> {
        let length = segment.len();
        if let BodyLength::Known(announced) = self.announced {
            segment.truncate(announced.saturating_sub(self.given));
        }
        self.given = self.given.saturating_add(length);
        if self.held.is_empty() && segment.as_bytes().len() as u64 == segment.len() && length <= PIECE as u64
        {
            return self.write(segment.as_bytes());
        }
        self.held.push(segment);
        None
    }

    fn write(&mut self, bytes: &[u8]) -> Option<Segment> {
        let mut out = Vec::new();
        self.failed |= self.encoder.write(bytes, &mut out).is_err();
        self.done = self.done.saturating_add(bytes.len() as u64);
        (!out.is_empty()).then(|| Segment::from(out))
    }

    pub(super) fn pause(&mut self) -> Option<Segment> {
        if !self.held.is_empty() || self.ending.is_some() {
            return None;
        }
        let mut out = Vec::new();
        self.failed |= self.encoder.flush(&mut out).is_err();
        (!out.is_empty()).then(|| Segment::from(out))
    }

    pub(super) fn finish(&mut self, trailers: Fields) {
        self.ending = Some(trailers);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() && (self.held.is_empty() || self.failed)
    }

    pub(super) fn end(mut self, cx: &mut Context) -> Result<(Option<Segment>, Fields), ()> {
        let is_short = matches!(self.announced, BodyLength::Known(length) if self.given < length);
        let mut out = Vec::new();
        if self.failed || is_short || self.encoder.finish(&mut out).is_err() {
            return Err(());
        }
        cx.encoders.give_back(self.encoder);
        let mut trailers = self.ending.unwrap_or_default();
        coding::strip_trailers(&mut trailers);
        Ok(((!out.is_empty()).then(|| Segment::from(out)), trailers))
    }

    /// The next part of what is held.
    pub(super) fn pump(&mut self, owner: Owner, cx: &mut Context) -> Pumped {
        if self.failed {
            return Pumped::Broken(Some(Fault::Shortage));
        }
        if std::mem::replace(&mut self.turn, cx.now) != cx.now {
            (self.done, self.told) = (0, false);
        }
        if self.held.is_empty() {
            return Pumped::Nothing;
        }
        if self.done >= self.share_of_turn() {
            return if std::mem::replace(&mut self.told, true) { Pumped::Nothing } else { Pumped::Later };
        }
        let part = match self.held.front() {
            Front::Empty => return Pumped::Nothing,
            Front::File { file, offset, len, stamp } => Part { file: Rc::clone(file), offset, len, stamp },
            // What is to be compressed is read, not piped.
            Front::Pipe(..) => return Pumped::Broken(None),
            Front::Only(_) | Front::Bytes(_) => return self.pump_bytes(),
        };
        self.pump_file(&part, owner, cx)
    }

    fn share_of_turn(&self) -> u64 {
        let is_dear = DEAR
            .iter()
            .any(|(encoding, level)| self.encoder.encoding() == *encoding && self.encoder.level() >= *level);
        let others = Rc::strong_count(&self.used).saturating_sub(1).max(1) as u64;
        let most = (TURN_OF_ALL / others).clamp(LEAST, TURN);
        if is_dear { (most / 4).max(LEAST) } else { most }
    }

    /// So much is compressed at once of what is held.
    fn piece(&self) -> usize {
        usize::try_from(self.share_of_turn()).unwrap_or(PIECE).min(PIECE)
    }

    fn pump_bytes(&mut self) -> Pumped {
        let most = self.piece();
        let mut out = Vec::new();
        let Some(bytes) = self.held.segments().next().map(Segment::as_bytes) else { return Pumped::Nothing };
        let bytes = bytes.get(..most.min(bytes.len())).unwrap_or_default();
        let count = bytes.len() as u64;
        self.failed |= self.encoder.write(bytes, &mut out).is_err();
        self.did(count);
        Pumped::Moved((!out.is_empty()).then(|| Segment::from(out)))
    }

    /// So much of what is held is done.
    fn did(&mut self, count: u64) {
        self.held.consume(count);
        self.done = self.done.saturating_add(count);
    }

    fn pump_file(&mut self, part: &Part, owner: Owner, cx: &mut Context) -> Pumped {
        let has_read = match std::mem::replace(&mut self.disk, Disk::Idle) {
            Disk::Reads => {
                self.disk = Disk::Reads;
                return Pumped::Waits;
            }
            Disk::Failed => return Pumped::Broken(None),
            Disk::Brought(bytes) => return self.take_brought(bytes, part.len),
            Disk::HasRead => true,
            Disk::Idle => false,
        };
        let most = part.len.min(self.piece() as u64) as usize;
        let range = part.offset..part.offset.saturating_add(part.len.min(AHEAD));
        if let Some(far) = part.file.far() {
            let begun = cx.fetch(Whom::Exchange(owner), (&part.file, far), &range, part.stamp);
            return self.await_disk(begun);
        }
        let buffer = cx.scratch.get_mut(..most).unwrap_or_default();
        let read = match page_cache::read_into_if_cached(part.file.as_fd(), part.offset, buffer) {
            Ok(None) if !has_read => {
                match cx.read_first(Whom::Exchange(owner), part.file.as_fd(), range) {
                    // No thread for it: the loop waits.
                    ReadFirst::Cannot => read_now(part, most, cx),
                    begun => return self.await_disk(begun),
                }
            }
            Ok(None) => read_now(part, most, cx),
            Ok(Some(count)) => Ok(count),
            Err(error) => Err(error),
        };
        match read.and_then(|count| unchanged(part, count)) {
            Ok(count) => {
                let out = self.write(cx.scratch.get(..count).unwrap_or_default());
                self.held.consume(count as u64);
                Pumped::Moved(out)
            }
            Err(error) => {
                log::debug!("worker: a response is broken off: {error}");
                Pumped::Broken(None)
            }
        }
    }

    fn await_disk(&mut self, begun: ReadFirst) -> Pumped {
        if begun != ReadFirst::Begun {
            return Pumped::Broken(Some(Fault::Disk));
        }
        self.disk = Disk::Reads;
        Pumped::Waits
    }

    /// Bytes of a far file: a piece of them, the rest in its turn.
    fn take_brought(&mut self, mut bytes: Vec<u8>, left: u64) -> Pumped {
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let rest = bytes.split_off(self.piece().min(bytes.len()));
        let out = self.write(&bytes);
        self.held.consume(bytes.len() as u64);
        if !rest.is_empty() {
            self.disk = Disk::Brought(rest);
        }
        Pumped::Moved(out)
    }

    pub(super) fn held(&self) -> (u64, u64) {
        (self.held.len(), self.held.memory() as u64)
    }

    pub(super) fn given(&self) -> (BodyLength, u64) {
        (self.announced, self.given)
    }

    pub(super) fn waits_for_disk(&self) -> bool {
        matches!(self.disk, Disk::Reads)
    }

    pub(super) fn note_read(&mut self, outcome: Outcome) {
        self.disk = match outcome {
            Outcome::Bytes(Ok(bytes)) => Disk::Brought(bytes),
            Outcome::Bytes(Err(error)) => {
                log::debug!("worker: a response is broken off: {error}");
                Disk::Failed
            }
            _ => Disk::HasRead,
        };
    }
}

/// Reads whatever it takes.
fn read_now(part: &Part, most: usize, cx: &mut Context) -> io::Result<usize> {
    file::read_into(part.file.as_fd(), part.offset, cx.scratch.get_mut(..most).unwrap_or_default())
}

/// A response does not mix two states of a file.
fn unchanged(part: &Part, count: usize) -> io::Result<usize> {
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match part.stamp {
        Some(stamp) if file::metadata(part.file.as_fd())?.stamp() != stamp => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"))
        }
        _ => Ok(count),
    }
}
