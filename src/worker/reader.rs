//! What may wait for a disk, a server or a process of somebody else's, on threads of its own, so that the loop never does.
//!
//! | job | for |
//! |---|---|
//! | have the kernel read a part of a file into its page cache; the loop sends or copies it from there | a disk of this machine |
//! | read a part of a file and hand the bytes over | a file that is *far*: over a network, in user space (FUSE), of a kind that is not known |
//! | look a name up, read what is small, close | the same; the loop touches no far file in any way |
//! | look whether a root or an error page has been replaced | whatever a path leads to by now |
//! | list a directory, understand `staticfiles.json` | long work |
//! | hash a password | the processor |
//!
//! The threads are made when there is a first job for them; a worker that serves from memory has none.
//!
//! A thread that waits for what never answers (NFS without its server, a process that does not answer for its FUSE files)
//! waits in the kernel, and nothing can end that. Therefore each [`Origin`] has a few threads and no more, and what is far
//! never has the last ones. A job that takes longer than [`LONG`] is told of, once, with its path; while all threads of an
//! origin are in such jobs, who asks for another one gets an error at once instead of a place in a queue that does not move.

use super::owner::Owner;
use crate::buf::{Far, OpenFile, Stamp};
use crate::slab::Key;
use crate::sys::{clock, fd, file, page_cache, signals};
use crate::timer::{Time, earliest};
use crate::worker::cache;
use crate::worker::handler::file::{Looked, Replaced};
use crate::worker::handler::pages;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Disks answer several questions at once; more threads than this only wait.
const NEAR_THREADS: usize = 4;

/// For all that is far, together: these may never come back, so there are more of them.
const FAR_THREADS: usize = 12;

/// They call into the kernel with buffers from the heap, make pages of listings, and parse JSON.
const STACK: usize = 256 * 1024;

/// A job that takes so long is not worth waiting for.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// Read at a time.
const PIECE: usize = 128 * 1024;

/// Of a far file, for one connection at a time: it is kept until it is sent.
const CHUNK: u64 = 256 * 1024;

/// Who waits for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// An exchange, to find out what to answer.
    Exchange(Owner),
    /// A connection, to send the next part of a response.
    Connection(Key),
    /// The root of a location: site and number of the location.
    Root(usize, usize),
    /// An error page: site and number of the page.
    Page(usize, usize),
    /// A password, by the number of its job.
    Password(u64),
    /// The cache.
    Cache,
    /// Nobody.
    Nobody,
}

/// What holds up jobs, and therefore shares threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The disks of this machine.
    Disk,
    /// Long work on what lies on them.
    Work,
    /// Paths of error pages.
    Pages,
    /// Passwords, which take a processor for a while.
    Passwords,
    /// Files of the response cache.
    Cache,
    /// A far file system, or a path that may lead to one.
    Far(Far),
}

impl Origin {
    /// Threads that it may have.
    fn most(self) -> usize {
        match self {
            Self::Disk | Self::Cache => NEAR_THREADS,
            Self::Work | Self::Pages | Self::Passwords | Self::Far(_) => 2,
        }
    }

    fn is_near(self) -> bool {
        matches!(self, Self::Disk | Self::Cache)
    }
}

/// What a job brings.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A part of a file is in memory, or cannot be read: whoever reads it then meets the error.
    Near,
    /// A part of a far file.
    Bytes(io::Result<Vec<u8>>),
    /// What a static location has asked for.
    Looked(Looked),
    /// What has come in the place of a root.
    Replaced(Replaced),
    /// What an error page is now.
    Page(pages::Read),
    /// Whether a password is right.
    Password(bool),
    /// What was read of the cache; `None`: it is not there.
    Kept(Option<Box<cache::Read>>),
    /// What was written into it, by its number; `None`: there is no room.
    Wrote(u64, io::Result<Option<Box<cache::Written>>>),
    /// Nothing.
    Done,
}

pub(super) type Work = Box<dyn FnOnce(&mut [u8]) -> Outcome + Send>;

/// The threads and their jobs.
pub(super) struct Reader {
    hand: Hand,
    done: Receiver<(Whom, Outcome)>,
    /// Cloned into each thread.
    tell: Sender<(Whom, Outcome)>,
    threads: usize,
    /// Jobs given and not taken back.
    running: usize,
    /// When to look how long they take.
    look: Option<Time>,
}

/// By what descriptors that the loop must not close are given to the threads.
#[derive(Clone)]
pub(crate) struct Hand(Arc<Shared>);

struct Shared {
    jobs: Mutex<Jobs>,
    more: Condvar,
    wake: Arc<OwnedFd>,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// What each thread is at.
    runs: Vec<Running>,
    /// Threads that are at nothing, or were just made.
    idle: usize,
    next: u64,
}

struct Job {
    whom: Whom,
    origin: Origin,
    /// For the log.
    path: Option<PathBuf>,
    work: Work,
}

struct Running {
    number: u64,
    origin: Origin,
    path: Option<PathBuf>,
    since: Time,
    /// That it takes long.
    told: bool,
}

/// A descriptor of a far file. Whoever drops it closes nothing: a thread does, as a file system may be asked at every close.
pub(super) struct FarFile {
    fd: Arc<OwnedFd>,
    far: Far,
    hand: Hand,
}

impl FarFile {
    /// From now on a thread closes it.
    pub(super) fn new(fd: OwnedFd, far: Far, hand: &Hand) -> Self {
        Self { fd: Arc::new(fd), far, hand: hand.clone() }
    }
}

impl AsFd for FarFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for FarFile {
    fn drop(&mut self) {
        // Not one moment two of them: the last one closes.
        let fd = std::mem::replace(&mut self.fd, Arc::clone(&self.hand.0.wake));
        let work: Work = Box::new(move |_| {
            drop(fd);
            Outcome::Done
        });
        let job = Job { whom: Whom::Nobody, origin: Origin::Far(self.far), path: None, work };
        self.hand.0.push(job);
    }
}

impl From<FarFile> for OpenFile {
    fn from(file: FarFile) -> Self {
        let far = file.far;
        Self::of(file).brought_by(far)
    }
}

impl std::fmt::Debug for FarFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FarFile").field(&self.fd).finish()
    }
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hand")
    }
}

impl Reader {
    /// No thread yet.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub(super) fn new() -> io::Result<Self> {
        let (tell, done) = channel();
        let wake = Arc::new(fd::eventfd()?);
        let shared = Shared { jobs: Mutex::default(), more: Condvar::new(), wake };
        Ok(Self { hand: Hand(Arc::new(shared)), done, tell, threads: 0, running: 0, look: None })
    }

    /// What becomes readable when jobs are done.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.hand.0.wake.as_fd()
    }

    /// By what far files reach the threads.
    pub(super) fn hand(&self) -> &Hand {
        &self.hand
    }

    /// Has a part of a file on a disk of this machine read.
    ///
    /// # Errors
    /// EMFILE; as [`Self::order`].
    pub(super) fn read(
        &mut self,
        whom: Whom,
        file: BorrowedFd<'_>,
        range: Range<u64>,
        now: Time,
    ) -> io::Result<()> {
        let path = file::path_of(file);
        let file = file.try_clone_to_owned()?;
        let work = move |buffer: &mut [u8]| {
            let whole = bring_near(file.as_fd(), &range, buffer);
            if whole && matches!(whom, Whom::Connection(_)) {
                want_next(file.as_fd(), &range);
            }
            Outcome::Near
        };
        self.order(whom, Origin::Disk, path, Box::new(work), now)
    }

    /// Has the bytes at the beginning of a part of a far file read for who sends them.
    ///
    /// # Errors
    /// EMFILE; as [`Self::order`].
    pub(super) fn fetch(
        &mut self,
        whom: Whom,
        (file, far): (&OpenFile, Far),
        range: &Range<u64>,
        stamp: Option<Stamp>,
        now: Time,
    ) -> io::Result<()> {
        let path = file::path_of(file.as_fd());
        // Closed by whoever has read it.
        let file = FarFile::new(file.as_fd().try_clone_to_owned()?, far, &self.hand);
        let (offset, len) = (range.start, range.end.saturating_sub(range.start).min(CHUNK));
        let work = move |_: &mut [u8]| Outcome::Bytes(fetch(file.as_fd(), offset, len as usize, stamp));
        self.order(whom, Origin::Far(far), path, Box::new(work), now)
    }

    /// Gives the threads a job.
    ///
    /// # Errors
    /// EAGAIN if there is no thread and none can be made; `TimedOut` if nothing of this origin comes back.
    pub(super) fn order(
        &mut self,
        whom: Whom,
        origin: Origin,
        path: Option<PathBuf>,
        work: Work,
        now: Time,
    ) -> io::Result<()> {
        // What is on its way from a disk to a client waits, as long as that client has time.
        let waits = origin.is_near() && matches!(whom, Whom::Connection(_));
        if !waits && self.hangs(origin, now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.hand.0.push(Job { whom, origin, path, work });
        self.running += usize::from(whom != Whom::Nobody);
        self.look = self.look.or_else(|| Some(now.after(LONG)));
        let wanted = {
            let mut jobs = self.hand.0.lock();
            let wanted = jobs.startable() > jobs.idle && self.threads < NEAR_THREADS + FAR_THREADS;
            jobs.idle += usize::from(wanted);
            wanted
        };
        if wanted {
            match self.add_thread() {
                Ok(()) => self.threads += 1,
                Err(error) => {
                    self.hand.0.lock().idle -= 1;
                    if self.threads == 0 {
                        let waiting = std::mem::take(&mut self.hand.0.lock().waiting);
                        self.running = 0;
                        // What they hold becomes jobs again, to be closed by a thread that there may be later.
                        drop(waiting);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// When [`Self::take_long`] may have something to tell.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.look
    }

    /// The jobs that take long and were not told of before: the path of each file, if it has one.
    pub(super) fn take_long(&mut self, now: Time) -> Vec<Option<PathBuf>> {
        if self.look.is_none_or(|look| now < look) {
            return Vec::new();
        }
        let mut jobs = self.hand.0.lock();
        let mut long = Vec::new();
        for run in jobs.runs.iter_mut().filter(|run| !run.told && run.is_long(now)) {
            run.told = true;
            long.push(run.path.take());
        }
        // A job that begins later takes long later.
        let next = jobs.runs.iter().filter(|run| !run.told).map(|run| run.since.after(LONG)).min();
        let waiting = (!jobs.waiting.is_empty()).then(|| now.after(LONG));
        self.look = earliest(next, waiting);
        long
    }

    /// Whether all threads that this origin may have are in jobs that take long.
    fn hangs(&self, origin: Origin, now: Time) -> bool {
        let jobs = self.hand.0.lock();
        let long = |which: &dyn Fn(Origin) -> bool| {
            jobs.runs.iter().filter(|run| which(run.origin) && run.is_long(now)).count()
        };
        long(&|other| other == origin) >= origin.most()
            || (!origin.is_near() && long(&|other| !other.is_near()) >= FAR_THREADS)
    }

    /// Drops a job that no thread has begun, so that those that wait are of clients that do; whether there was one.
    pub(super) fn forget(&mut self, whom: Whom) -> bool {
        let (forgotten, kept): (Vec<Job>, Vec<Job>) =
            self.hand.0.lock().waiting.drain(..).partition(|job| job.whom == whom);
        let mut jobs = self.hand.0.lock();
        kept.into_iter().rev().for_each(|job| jobs.waiting.push_front(job));
        drop(jobs);
        self.running -= forgotten.len().min(self.running);
        let any = !forgotten.is_empty();
        // What they hold may become jobs again: to be closed.
        drop(forgotten);
        any
    }

    /// Whose jobs are done; a client may have gone meanwhile.
    pub(super) fn take_done(&mut self) -> Vec<(Whom, Outcome)> {
        fd::quiet(self.hand.0.wake.as_fd());
        let done: Vec<_> = self.done.try_iter().collect();
        self.running -= done.len().min(self.running);
        if self.running == 0 {
            self.look = None;
        }
        done
    }

    fn add_thread(&self) -> io::Result<()> {
        let (shared, tell) = (Arc::clone(&self.hand.0), self.tell.clone());
        let buffer = vec![0; PIECE];
        // Signals are the loop's business: the thread begins with all of them blocked.
        let mask = signals::block_all();
        let made = std::thread::Builder::new()
            .name("reader".to_owned())
            .stack_size(STACK)
            .spawn(move || run(&shared, &tell, buffer));
        signals::restore(&mask);
        made.map(drop)
    }
}

impl Shared {
    /// Nothing in here panics while it holds the lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        self.lock().waiting.push_back(job);
        self.more.notify_one();
    }
}

impl Jobs {
    /// How many of those that wait could begin now.
    fn startable(&self) -> usize {
        let mut begun: Vec<Origin> = self.runs.iter().map(|run| run.origin).collect();
        let running = begun.len();
        for job in &self.waiting {
            if may_begin(&begun, job.origin) {
                begun.push(job.origin);
            }
        }
        begun.len() - running
    }

    /// The next job that may begin.
    fn begin(&mut self) -> Option<(u64, Whom, Work)> {
        let running: Vec<Origin> = self.runs.iter().map(|run| run.origin).collect();
        let at = self.waiting.iter().position(|job| may_begin(&running, job.origin))?;
        let Job { whom, origin, path, work } = self.waiting.remove(at)?;
        let number = self.next;
        self.next += 1;
        self.runs.push(Running { number, origin, path, since: clock::now(), told: false });
        Some((number, whom, work))
    }
}

/// Whether a job of this origin may begin beside those.
fn may_begin(running: &[Origin], origin: Origin) -> bool {
    let same = running.iter().filter(|other| **other == origin).count();
    let far = running.iter().filter(|other| !other.is_near()).count();
    same < origin.most() && (origin.is_near() || far < FAR_THREADS)
}

/// A thread: one job after the other, for as long as the worker lives.
fn run(shared: &Shared, tell: &Sender<(Whom, Outcome)>, mut buffer: Vec<u8>) {
    loop {
        let (number, whom, work) = {
            let mut jobs = shared.lock();
            loop {
                if let Some(begun) = jobs.begin() {
                    jobs.idle = jobs.idle.saturating_sub(1);
                    break begun;
                }
                jobs = shared.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        };
        let outcome = work(&mut buffer);
        let mut jobs = shared.lock();
        jobs.runs.retain(|run| run.number != number);
        jobs.idle += 1;
        drop(jobs);
        if whom == Whom::Nobody {
            continue;
        }
        if tell.send((whom, outcome)).is_err() {
            return;
        }
        fd::poke(shared.wake.as_fd());
    }
}

impl Running {
    fn is_long(&self, now: Time) -> bool {
        now.since(self.since) >= LONG
    }
}

/// Whether all of it is there. An error is met again by whoever reads afterwards, and told there.
fn bring_near(file: BorrowedFd<'_>, range: &Range<u64>, buffer: &mut [u8]) -> bool {
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        match buffer.get_mut(..left).map(|part| file::read_into(file, at, part)) {
            Some(Ok(count)) if count > 0 => at = at.saturating_add(count as u64),
            _ => return false,
        }
    }
    true
}

/// As much again as this part will be wanted soon.
fn want_next(file: BorrowedFd<'_>, range: &Range<u64>) {
    let len = range.end.saturating_sub(range.start);
    page_cache::want_soon(file, range.end, usize::try_from(len).unwrap_or(usize::MAX));
}

/// A part of a file, which must be the same before and afterwards.
fn fetch(file: BorrowedFd<'_>, offset: u64, len: usize, stamp: Option<Stamp>) -> io::Result<Vec<u8>> {
    let data = file::read_at(file, offset, len)?;
    if data.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match stamp {
        Some(stamp) if file::metadata(file)?.stamp() != stamp => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"))
        }
        _ => Ok(data),
    }
}

#[cfg(test)]
mod tests;
