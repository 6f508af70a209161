//! Bodies between a client and an app or upstream: small ones stay in memory, as far as the [`Budget`] of the worker goes,
//! larger ones go to an unlinked file, so that neither a slow client holds an app nor a fast app fills the memory.

use super::budget::{Budget, Share};
use super::closer::Closer;
use super::reply::Reply;
use crate::buf::{OpenFile, Pipe, Queue, Segment};
use crate::config::ResponseBuffer;
use crate::config::boot::PIPE_SIZE;
use crate::http::Fields;
use crate::sys::fd::{self, Handed};
use crate::sys::process;
use crate::timer::Time;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Request bodies for an upstream stay in memory up to so many bytes, where there is plenty of it: by way of a file a megabyte
/// takes three times as much of the processor.
pub(super) const REQUEST_MEMORY: u64 = 1024 * 1024;

/// Bytes of it that are put together at most where they come in shorter pieces.
const PIECE: usize = 64 * 1024;

/// So much of a request body stays in memory where it is not plenty.
const MODEST: u64 = 64 * 1024;

/// So little stays in memory whatever others have there: a file is dearer.
const LITTLE: u64 = 8 * 1024;

/// A client is slow that makes no room for so long. One on this machine or beside it is not, and a file would cost it more
/// than the server that waits for it gains: with files for all, 10 MiB for 16 clients at a time took six times as long.
const SLOW: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(1);

/// What there is of memory, and where files are made. What they occupy on the disk is given back when they are closed, which
/// may take a while: that is left to a thread, as thousands of requests may end in one turn.
pub(super) struct Store {
    pub(super) budget: Budget,
    /// As the master opened it; `None` if it could not.
    directory: Option<OwnedFd>,
    closer: Rc<Closer>,
    /// Those that nobody else holds are free.
    pipes: Vec<Rc<Pipe>>,
}

/// From that length on a body goes through pipes, where it can.
pub(super) const PIPED_FROM: u64 = 1024 * 1024;

impl Store {
    pub(super) fn new(memory: u64, directory: Option<OwnedFd>) -> Self {
        let closer = Rc::new(Closer::for_own(process::open_files_limit()));
        Self { budget: Budget::new(memory), directory, closer, pipes: Vec::new() }
    }

    /// The same, with pipes of so many bytes as [`PIPE_SIZE`] says.
    pub(super) fn with_pipes(mut self, ends: Vec<(OwnedFd, OwnedFd)>) -> Self {
        self.pipes = ends.into_iter().map(|ends| Rc::new(Pipe::new(ends))).collect();
        self
    }

    /// An empty pipe, if one is free. `scratch`: for what was left in it, as its client went.
    pub(super) fn pipe(&self, scratch: &mut [u8]) -> Option<Rc<Pipe>> {
        let pipe = self.pipes.iter().find(|pipe| Rc::strong_count(pipe) == 1)?;
        while pipe.held() > 0 {
            pipe.drained(fd::read_pipe(pipe.outlet(), scratch).ok()? as u64);
        }
        Some(Rc::clone(pipe))
    }

    fn make(&self) -> io::Result<Handed> {
        let directory = self.directory.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let file = fd::unnamed_file_in(directory.as_fd())?;
        Ok(self.closer.lend_own(file.into()))
    }
}

/// A request body while it comes in.
#[derive(Debug)]
pub(super) struct RequestSpool {
    /// What is longer goes to a file.
    in_memory: u64,
    /// What stays in memory, as it came; what came in short pieces is put together.
    pieces: Vec<Vec<u8>>,
    share: Share,
    file: Option<Handed>,
    len: u64,
    /// What follows it.
    trailers: Option<Box<Fields>>,
}

/// A whole request body.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// At most as many bytes as stay in memory; possibly none.
    Memory { bytes: Vec<u8>, _share: Share },
    /// `len` bytes from offset 0 of an unlinked file.
    File { file: Rc<Handed>, len: u64 },
}

impl RequestSpool {
    pub(super) fn new(in_memory: u64, store: &Store) -> Self {
        Self {
            in_memory,
            pieces: Vec::new(),
            share: store.budget.share(),
            file: None,
            len: 0,
            trailers: None,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the temporary file cannot be made or written: ENOSPC, EACCES, EMFILE. What came before is kept then, and these
    /// bytes stay with the caller.
    pub(super) fn push(&mut self, bytes: &mut Vec<u8>, store: &Store) -> io::Result<()> {
        let len = self.len.saturating_add(bytes.len() as u64);
        let most = match () {
            () if store.budget.has_plenty() => self.in_memory,
            () if store.budget.has_room() => self.in_memory.min(MODEST),
            () => self.in_memory.min(LITTLE),
        };
        if self.file.is_none() && len > most {
            let file = store.make()?;
            let mut at = 0;
            for piece in &self.pieces {
                fd::write_all_at(file.as_fd(), piece, at)?;
                at += piece.len() as u64;
            }
            self.pieces = Vec::new();
            self.file = Some(file);
        }
        match &self.file {
            Some(file) => fd::write_all_at(file.as_fd(), bytes, self.len)?,
            None => self.keep(std::mem::take(bytes)),
        }
        self.len = len;
        self.share.set(self.pieces.iter().map(|piece| piece.capacity() as u64).sum());
        Ok(())
    }

    /// What follows the body, for who takes that: it is as little as a head.
    pub(super) fn push_trailers(&mut self, trailers: Box<Fields>) {
        self.trailers = Some(trailers);
    }

    /// That, once the body has come.
    pub(super) fn take_trailers(&mut self) -> Option<Box<Fields>> {
        self.trailers.take()
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        match self.pieces.last_mut() {
            Some(last) if last.len().saturating_add(bytes.len()) <= PIECE => {
                if last.capacity() - last.len() < bytes.len() {
                    // Not twice of what is the most.
                    let room = last.capacity().min(PIECE - last.len() - bytes.len());
                    last.reserve_exact(bytes.len().saturating_add(room));
                }
                last.extend_from_slice(&bytes);
            }
            _ => self.pieces.push(bytes),
        }
    }

    /// The whole body.
    pub(super) fn finish(mut self) -> RequestBody {
        match self.file {
            Some(file) => RequestBody::File { file: Rc::new(file), len: self.len },
            None => {
                let is_one = self.pieces.len() == 1;
                let bytes = if is_one { self.pieces.pop().unwrap_or_default() } else { self.pieces.concat() };
                RequestBody::Memory { bytes, _share: self.share }
            }
        }
    }

    /// What has come, for whoever takes it as it is; with what it holds of the budget until that has left.
    pub(super) fn into_queue(self) -> (Queue, Share) {
        let Self { pieces, share, file, len, .. } = self;
        let mut queue = Queue::new();
        if let Some(file) = file {
            let file = Rc::new(OpenFile::of(file));
            queue.push(Segment::File { file, offset: 0, len, stamp: None });
        }
        pieces.into_iter().for_each(|piece| queue.push(Segment::from(piece)));
        (queue, share)
    }
}

impl RequestBody {
    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory { bytes, .. } => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// A response body on its way to a client that is slower than the app or upstream: straight to the reply while little waits
/// there, through an unlinked file once that has not changed for a moment; when that is full too, or cannot be had, who
/// sends it waits.
#[derive(Debug)]
pub(super) struct ResponseSpool {
    limits: ResponseBuffer,
    file: Option<Spill>,
    /// What comes after what lies in our file: a file of the app's, or what our file did not take.
    after: Option<Segment>,
    /// Of the budget, for that.
    share: Share,
    pace: Pace,
    /// Our file did not take something: the disk is full, or descriptors ran out.
    refused: bool,
}

/// How the client keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// There is room in memory.
    Quick,
    /// There is none; until then it may be quick.
    Full { until: Time },
    /// And its time is over, but this worker may have been late: it is looked once more, after what can be written was.
    Late { until: Time },
    /// It is slow.
    Slow,
}

#[derive(Debug)]
struct Spill {
    file: Rc<OpenFile>,
    /// Bytes written to the file.
    written: u64,
    /// Bytes of them that the connection has been given.
    handed: u64,
}

/// The connection is given the next part of the file when it has less than this waiting, and at most so much.
const HAND_BELOW: u64 = 256 * 1024;
const HAND_MOST: u64 = 1024 * 1024;

/// For a response that is passed on as it comes: so much is read at a time.
pub(super) const PASSED_ON: ResponseBuffer = ResponseBuffer { memory: 32 * 1024, file: 0 };

impl ResponseSpool {
    pub(super) fn new(limits: ResponseBuffer, store: &Store) -> Self {
        Self {
            limits,
            file: None,
            after: None,
            share: store.budget.share(),
            pace: Pace::Quick,
            refused: false,
        }
    }

    /// So much is kept, of what has not come yet.
    pub(super) fn limit(&mut self, limits: ResponseBuffer) {
        self.limits = limits;
    }

    /// Takes a file of the app's as the next part of the body.
    pub(super) fn push_file(&mut self, file: Segment, reply: &mut Reply<'_>) {
        if self.is_empty() {
            reply.send(file);
        } else {
            self.after = Some(file);
        }
    }

    /// Whether it can keep the order of what comes next.
    pub(super) fn takes_events(&self) -> bool {
        self.after.is_none()
    }

    /// How many bytes may go to the client through a pipe: it has taken nearly all that came before.
    pub(super) fn room_in_pipe(&self, reply: &Reply<'_>, store: &Store) -> usize {
        let keeps_up = self.is_empty() && reply.waiting() < LITTLE && store.budget.has_plenty();
        if keeps_up { PIPE_SIZE } else { 0 }
    }

    /// How many bytes may be read of who sends the response, before anything of its body has come.
    pub(super) fn first_room(store: &Store) -> usize {
        if store.budget.has_room() { usize::MAX } else { LITTLE as usize }
    }

    /// How many bytes may be read of who sends the response; 0: it waits.
    pub(super) fn room(&mut self, reply: &Reply<'_>, store: &Store, now: Time) -> usize {
        if self.after.is_some() {
            return 0;
        }
        let (most, left) = in_memory(self.limits.memory, reply, store);
        // Not a little at a time.
        let has_room = self.is_empty() && left as u64 >= most / 2;
        let in_memory = if has_room { left } else { 0 };
        self.pace = match self.pace {
            _ if in_memory > 0 => Pace::Quick,
            Pace::Quick => Pace::Full { until: now.after(SLOW) },
            Pace::Full { until } if now >= until => Pace::Late { until: now.after(LATE) },
            Pace::Late { until } if now >= until => Pace::Slow,
            pace => pace,
        };
        if self.pace == Pace::Slow && self.has_file() { usize::MAX } else { in_memory }
    }

    /// As much of a buffer as may be read into.
    pub(super) fn part<'b>(
        &mut self,
        buffer: &'b mut [u8],
        reply: &Reply<'_>,
        store: &Store,
        now: Time,
    ) -> &'b mut [u8] {
        let room = self.room(reply, store, now).min(buffer.len());
        buffer.get_mut(..room).unwrap_or_default()
    }

    /// When more may be read although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.pace {
            Pace::Full { until } | Pace::Late { until } if self.has_file() && self.after.is_none() => {
                Some(until)
            }
            _ => None,
        }
    }

    /// Takes the next bytes of the body. If the temporary file cannot be made or written they stay in memory, and who sends
    /// them waits for the client until they are gone.
    ///
    /// # Errors
    /// Why it could not, the first time.
    pub(super) fn push(&mut self, bytes: Vec<u8>, reply: &mut Reply<'_>, store: &Store) -> io::Result<()> {
        if self.is_empty() && bytes.len() <= in_memory(self.limits.memory, reply, store).1 {
            reply.send(Segment::from(bytes));
            return Ok(());
        }
        let takes = self.pace == Pace::Slow && self.has_file();
        let spilt = if takes { self.spill(&bytes, store) } else { Ok(false) };
        if let Ok(true) = spilt {
            return Ok(());
        }
        self.share.set(bytes.capacity() as u64);
        self.after = Some(Segment::from(bytes));
        self.refused |= spilt.is_err();
        spilt.map(drop)
    }

    /// Whether the file takes more.
    fn has_file(&self) -> bool {
        !self.refused && self.file.as_ref().map_or(0, |spill| spill.written) < self.limits.file
    }

    fn spill(&mut self, bytes: &[u8], store: &Store) -> io::Result<bool> {
        let spill = match &mut self.file {
            Some(spill) => spill,
            none => none.insert(Spill::new(store)?),
        };
        fd::write_all_at(spill.file.as_fd(), bytes, spill.written)?;
        spill.written = spill.written.saturating_add(bytes.len() as u64);
        Ok(true)
    }

    /// Gives the connection the next part of the file if it has little left; whether it did.
    pub(super) fn pump(&mut self, reply: &mut Reply<'_>) -> bool {
        let waiting = self.file.as_ref().map_or(0, |spill| spill.written.saturating_sub(spill.handed));
        if waiting == 0
            && reply.waiting() < HAND_BELOW
            && let Some(after) = self.after.take()
        {
            self.share.set(0);
            reply.send(after);
            return true;
        }
        let Some(spill) = &mut self.file else { return false };
        if waiting == 0 {
            if reply.waiting() == 0 && spill.written > 0 {
                // Everything has left: begin again, so that the file does not grow with the response.
                let _ = fd::truncate(spill.file.as_fd());
                (spill.written, spill.handed) = (0, 0);
            }
            return false;
        }
        if reply.waiting() >= HAND_BELOW {
            return false;
        }
        let len = waiting.min(HAND_MOST);
        reply.send(Segment::File { file: Rc::clone(&spill.file), offset: spill.handed, len, stamp: None });
        spill.handed = spill.handed.saturating_add(len);
        true
    }

    /// Whether the file did not take something, so that the app had to wait for the client.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether the connection has been given everything.
    pub(super) fn is_empty(&self) -> bool {
        self.after.is_none() && self.file.as_ref().is_none_or(|spill| spill.written == spill.handed)
    }
}

/// What the log says where `who` sends a response that cannot be kept.
pub(super) fn unkept(error: &io::Error, directory: &Path, who: &str) -> String {
    let directory = directory.display();
    format!("worker: cannot keep a response in {directory}: {error}; {who} waits for its client")
}

/// How much of a response may wait in memory where so much of it was to, and how much more may be put there now.
fn in_memory(most: u64, reply: &Reply<'_>, store: &Store) -> (u64, usize) {
    let most = if store.budget.has_room() && !reply.is_crowded() { most.max(LITTLE) } else { LITTLE };
    (most, usize::try_from(most.saturating_sub(reply.in_memory())).unwrap_or(usize::MAX))
}

impl Spill {
    fn new(store: &Store) -> io::Result<Self> {
        let file = Rc::new(OpenFile::of(store.make()?));
        Ok(Self { file, written: 0, handed: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1;
    use crate::http::serving::Common;
    use crate::http::{BodyLength, ResponseHead};
    use crate::sys::file;
    use crate::worker::filters::Filters;
    use crate::worker::id::RequestId;
    use crate::worker::reply::{Door, Tally};
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    const MEMORY: usize = 64 * 1024;
    const MOST: u64 = u64::MAX;

    #[test]
    fn a_body_is_whole_wherever_it_lies() {
        let temp = Store::new(MOST, file::open_directory(&std::env::temp_dir()).ok());
        for size in [0, 1, MEMORY, MEMORY + 1, 300_000] {
            let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let mut spool = RequestSpool::new(MEMORY as u64, &temp);
            body.chunks(1000).for_each(|chunk| spool.push(&mut chunk.to_vec(), &temp).unwrap());
            let whole = spool.finish();
            assert_eq!(whole.len(), size as u64);
            let read = match whole {
                RequestBody::Memory { bytes, .. } => {
                    assert!(size <= MEMORY);
                    bytes
                }
                RequestBody::File { file, len } => {
                    assert!(size > MEMORY);
                    let file = File::from(file.as_fd().try_clone_to_owned().unwrap());
                    let mut bytes = vec![0; len as usize];
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    bytes
                }
            };
            assert_eq!(read, body);
        }
    }

    /// A connection that waits for an answer, and what was given to it.
    type Answered = (h1::Conn, Tally, Option<Box<Filters>>);

    fn connection() -> Answered {
        let mut conn = h1::Conn::new(Rc::default(), Time::ZERO);
        conn.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Time::ZERO);
        assert!(conn.poll().is_some());
        let common = Common { date: b"", id: None, strict: None };
        conn.respond(&ResponseHead::new(200), BodyLength::Known(1 << 20), common, Time::ZERO);
        (conn, Tally::default(), None)
    }

    fn reply<'a>((conn, tally, filters): &'a mut Answered) -> Reply<'a> {
        Reply::new(Door::H1 { conn, written: 0 }, tally, filters, RequestId::SOME)
    }

    fn take_all((conn, ..): &mut Answered) {
        let length = conn.waiting().len();
        conn.out().consume(length);
    }

    #[test]
    fn a_client_that_makes_no_room_for_a_moment_is_slow_until_it_has_caught_up() {
        let temp = Store::new(MOST, file::open_directory(&std::env::temp_dir()).ok());
        let limits = ResponseBuffer { memory: 16 * 1024, file: 64 * 1024 };
        let mut spool = ResponseSpool::new(limits, &temp);
        let mut client = connection();
        let (start, later) = (Time::ZERO, Time::ZERO.after(SLOW));
        for _ in 0..2 {
            let room = spool.room(&reply(&mut client), &temp, start);
            assert!((8 * 1024..=16 * 1024).contains(&room), "{room}");
            spool.push(vec![0; room], &mut reply(&mut client), &temp).unwrap();
            assert_eq!((spool.room(&reply(&mut client), &temp, start), spool.deadline()), (0, Some(later)));
            // It is quick.
            take_all(&mut client);
            assert!(spool.file.is_none());
        }
        let room = spool.room(&reply(&mut client), &temp, start);
        spool.push(vec![0; room], &mut reply(&mut client), &temp).unwrap();
        assert_eq!(spool.room(&reply(&mut client), &temp, start), 0);
        assert_eq!(spool.room(&reply(&mut client), &temp, later), 0, "what can be written is written first");
        let later = later.after(LATE);
        assert_eq!(spool.deadline(), Some(later));
        assert_eq!(spool.room(&reply(&mut client), &temp, later), usize::MAX);
        assert_eq!(spool.deadline(), None, "nothing is waited for");
        for _ in 0..2 {
            spool.push(vec![0; 40_000], &mut reply(&mut client), &temp).unwrap();
        }
        assert_eq!(spool.room(&reply(&mut client), &temp, later), 0, "the file is full");
        assert!(spool.pump(&mut reply(&mut client)) && spool.is_empty());
        take_all(&mut client);
        assert!(!spool.pump(&mut reply(&mut client)));
        assert_eq!(spool.room(&reply(&mut client), &temp, later), 16 * 1024, "it has caught up");
        assert_eq!(temp.budget.held(), 0);
    }

    #[test]
    fn what_has_no_file_waits_with_who_sends_it() {
        for (memory, file, reason) in
            [(MOST, 0, "none wanted"), (MOST, MOST, "none to be had"), (0, 0, "memory")]
        {
            let nowhere = Store::new(memory, None);
            let mut spool = ResponseSpool::new(ResponseBuffer { memory: 64 * 1024, file }, &nowhere);
            let mut client = connection();
            let (due, late) = (Time::ZERO.after(SLOW), Time::ZERO.after(SLOW + LATE));
            let room = spool.room(&reply(&mut client), &nowhere, Time::ZERO);
            assert_eq!(room > LITTLE as usize, memory > 0, "{reason}: {room}");
            spool.push(vec![0; room], &mut reply(&mut client), &nowhere).unwrap();
            assert_eq!(spool.room(&reply(&mut client), &nowhere, Time::ZERO), 0);
            assert_eq!(spool.room(&reply(&mut client), &nowhere, due), 0);
            let hopes = spool.room(&reply(&mut client), &nowhere, late) > 0;
            assert_eq!(hopes, file > 0, "{reason}");
            let pushed = spool.push(vec![0; 5000], &mut reply(&mut client), &nowhere);
            assert_eq!((pushed.is_err(), spool.takes_events()), (hopes, false), "{reason}");
            assert_eq!(nowhere.budget.held(), 5000, "{reason}");
            assert_eq!((spool.room(&reply(&mut client), &nowhere, late), spool.deadline()), (0, None));
            assert!(spool.pump(&mut reply(&mut client)) && spool.is_empty(), "{reason}");
            assert_eq!((nowhere.budget.held(), client.0.waiting().memory() > room + 5000), (0, true));
            assert_eq!(spool.room(&reply(&mut client), &nowhere, late), 0, "{reason}");
            take_all(&mut client);
            assert!(spool.room(&reply(&mut client), &nowhere, late) > 0, "{reason}");
        }
    }

    #[test]
    fn the_loop_closes_no_file() {
        let temp = Store::new(MOST, file::open_directory(&std::env::temp_dir()).ok());
        let mut spool = RequestSpool::new(0, &temp);
        spool.push(&mut b"x".to_vec(), &temp).unwrap();
        drop(spool.finish());
        assert!(temp.closer.has_thread(), "a thread does");
    }

    #[test]
    fn pieces_are_put_together_up_to_a_length_and_long_ones_stay_as_they_came() {
        let temp = Store::new(MOST, None);
        let mut spool = RequestSpool::new(REQUEST_MEMORY, &temp);
        let long = vec![1; PIECE];
        let place = long.as_ptr();
        spool.push(&mut long.clone(), &temp).unwrap();
        spool.push(&mut { long }, &temp).unwrap();
        assert_eq!(spool.pieces.last().map(|piece| piece.as_ptr()), Some(place), "without a copy");
        (0..PIECE + 1).for_each(|_| spool.push(&mut vec![2], &temp).unwrap());
        let lengths: Vec<usize> = spool.pieces.iter().map(Vec::len).collect();
        assert_eq!(lengths, [PIECE, PIECE, PIECE, 1]);
        assert!(temp.budget.held() <= 3 * PIECE as u64 + 64, "{}", temp.budget.held());
        assert_eq!(spool.into_queue().0.len(), 3 * PIECE as u64 + 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let nowhere = Store::new(MOST, None);
        let mut spool = RequestSpool::new(MEMORY as u64, &nowhere);
        spool.push(&mut b"kept".to_vec(), &nowhere).unwrap();
        let mut more = vec![0; MEMORY];
        assert!(spool.push(&mut more, &nowhere).is_err() && more.len() == MEMORY);
        let (mut kept, share) = spool.into_queue();
        let kept = kept.pop().unwrap();
        assert_eq!((kept.as_bytes(), nowhere.budget.held() > 0), (&b"kept"[..], true));
        drop(share);
        assert_eq!(nowhere.budget.held(), 0);
    }

    #[test]
    fn what_finds_the_memory_taken_goes_to_a_file() {
        let temp = Store::new(1000, file::open_directory(&std::env::temp_dir()).ok());
        let mut others = temp.budget.share();
        for (held, most) in [(499, REQUEST_MEMORY), (500, MODEST), (999, MODEST), (1000, LITTLE)] {
            others.set(held);
            for (size, in_file) in [(most as usize, false), (most as usize + 1, true)] {
                let mut spool = RequestSpool::new(REQUEST_MEMORY, &temp);
                spool.push(&mut vec![0; size], &temp).unwrap();
                assert_eq!(matches!(spool.finish(), RequestBody::File { .. }), in_file, "{held} {size}");
            }
            assert_eq!(temp.budget.held(), held, "what is over holds nothing");
        }
    }
}
