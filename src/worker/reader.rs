//! Reading what is not in memory, on threads of its own, so that the loop never waits for a disk. A job has the kernel
//! read a part of a file into its page cache; who asked sends or copies it from there when the job is done.
//!
//! The threads are made when the first file is found to lie on disk only; a worker that serves from memory has none.
//!
//! A thread that reads from a disk that has gone (NFS without its server) waits in the kernel, and nothing can end that.
//! A read that takes longer than [`LONG`] is told of, once, with the path; while all threads are in such reads, no file
//! is opened by way of them: who asks gets an error at once instead of a place in a queue that does not move.

use crate::slab::Key;
use crate::sys::{clock, fd, file, page_cache, signals};
use crate::timer::{Time, earliest};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Disks answer several questions at once; more threads than this only wait.
const THREADS: usize = 4;

/// They call `pread` with a buffer from the heap, and nothing else.
const STACK: usize = 64 * 1024;

/// A read that takes so long is not worth waiting for.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// Read at a time.
const PIECE: usize = 128 * 1024;

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To open and keep a small file.
    Open,
    /// To send the next part of a response.
    Send,
}

/// The threads and their jobs.
pub(super) struct Reader {
    shared: Arc<Shared>,
    done: Receiver<(Key, Purpose)>,
    /// Cloned into each thread.
    tell: Sender<(Key, Purpose)>,
    threads: usize,
    /// Jobs given and not taken back.
    running: usize,
    /// When to look how long they take.
    look: Option<Time>,
}

struct Shared {
    jobs: Mutex<Jobs>,
    more: Condvar,
    wake: OwnedFd,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    /// What each thread is at.
    reads: Vec<Reading>,
}

struct Job {
    client: Key,
    purpose: Purpose,
    file: Arc<OwnedFd>,
    range: Range<u64>,
}

struct Reading {
    file: Arc<OwnedFd>,
    since: Time,
    /// That it takes long.
    told: bool,
}

impl Reader {
    /// No thread yet.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub(super) fn new() -> io::Result<Self> {
        let (tell, done) = channel();
        let shared = Shared { jobs: Mutex::default(), more: Condvar::new(), wake: fd::eventfd()? };
        Ok(Self { shared: Arc::new(shared), done, tell, threads: 0, running: 0, look: None })
    }

    /// What becomes readable when jobs are done.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.shared.wake.as_fd()
    }

    /// Has a part of a file read for a client.
    ///
    /// # Errors
    /// EMFILE; EAGAIN if there is no thread and none can be made; `TimedOut` if the disk does not answer.
    pub(super) fn read(
        &mut self,
        (client, purpose): (Key, Purpose),
        file: BorrowedFd<'_>,
        range: Range<u64>,
        now: Time,
    ) -> io::Result<()> {
        if purpose == Purpose::Open && self.hangs(now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let file = Arc::new(file.try_clone_to_owned()?);
        if self.running >= self.threads && self.threads < THREADS {
            match self.add_thread() {
                Ok(()) => self.threads += 1,
                Err(error) if self.threads == 0 => return Err(error),
                Err(_) => {}
            }
        }
        self.running += 1;
        self.look = self.look.or_else(|| Some(now.after(LONG)));
        self.shared.lock().waiting.push_back(Job { client, purpose, file, range });
        self.shared.more.notify_one();
        Ok(())
    }

    /// When [`Self::take_long`] may have something to tell.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.look
    }

    /// The reads that take long and were not told of before: the path of each file, if it has one.
    pub(super) fn take_long(&mut self, now: Time) -> Vec<Option<PathBuf>> {
        if self.look.is_none_or(|look| now < look) {
            return Vec::new();
        }
        let mut jobs = self.shared.lock();
        let mut long = Vec::new();
        for read in jobs.reads.iter_mut().filter(|read| !read.told && read.is_long(now)) {
            read.told = true;
            long.push(Arc::clone(&read.file));
        }
        // A job that begins later takes long later.
        let next = jobs.reads.iter().filter(|read| !read.told).map(|read| read.since.after(LONG)).min();
        let waiting = (!jobs.waiting.is_empty()).then(|| now.after(LONG));
        self.look = earliest(next, waiting);
        drop(jobs);
        long.iter().map(|file| file::path_of(file.as_fd())).collect()
    }

    /// Whether all threads are in reads that take long.
    fn hangs(&self, now: Time) -> bool {
        let long = |jobs: &Jobs| jobs.reads.iter().filter(|read| read.is_long(now)).count();
        self.threads == THREADS && self.running >= THREADS && long(&self.shared.lock()) >= THREADS
    }

    /// Drops a job that no thread has begun, so that those that wait are of clients that do.
    pub(super) fn forget(&mut self, (client, purpose): (Key, Purpose)) {
        let waiting = &mut self.shared.lock().waiting;
        let before = waiting.len();
        waiting.retain(|job| (job.client, job.purpose) != (client, purpose));
        self.running -= (before - waiting.len()).min(self.running);
    }

    /// Whose jobs are done; a client may have gone meanwhile.
    pub(super) fn take_done(&mut self) -> Vec<(Key, Purpose)> {
        fd::quiet(self.shared.wake.as_fd());
        let done: Vec<_> = self.done.try_iter().collect();
        self.running -= done.len().min(self.running);
        if self.running == 0 {
            self.look = None;
        }
        done
    }

    fn add_thread(&self) -> io::Result<()> {
        let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
        let buffer = vec![0; PIECE];
        // Signals are the loop's business: the thread begins with all of them blocked.
        let mask = signals::block_all();
        let made = std::thread::Builder::new()
            .name("reader".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&shared, &tell, buffer));
        signals::restore(&mask);
        made.map(drop)
    }
}

impl Shared {
    /// Nothing in here panics while it holds the lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread: one job after the other, for as long as the worker lives.
fn work(shared: &Shared, tell: &Sender<(Key, Purpose)>, mut buffer: Vec<u8>) {
    loop {
        let job = {
            let mut jobs = shared.lock();
            let job = loop {
                match jobs.waiting.pop_front() {
                    Some(job) => break job,
                    None => jobs = shared.more.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            jobs.reads.push(Reading { file: Arc::clone(&job.file), since: clock::now(), told: false });
            job
        };
        job.run(&mut buffer);
        shared.lock().reads.retain(|read| !Arc::ptr_eq(&read.file, &job.file));
        if tell.send((job.client, job.purpose)).is_err() {
            return;
        }
        fd::poke(shared.wake.as_fd());
    }
}

impl Reading {
    fn is_long(&self, now: Time) -> bool {
        now.since(self.since) >= LONG
    }
}

impl Job {
    /// An error is met again by whoever reads afterwards, and told there.
    fn run(&self, buffer: &mut [u8]) {
        let mut at = self.range.start;
        while at < self.range.end {
            let left = usize::try_from(self.range.end - at).unwrap_or(usize::MAX).min(buffer.len());
            match buffer.get_mut(..left).map(|part| file::read_into(self.file.as_fd(), at, part)) {
                Some(Ok(count)) if count > 0 => at = at.saturating_add(count as u64),
                _ => return,
            }
        }
        if self.purpose == Purpose::Send {
            let len = self.range.end.saturating_sub(self.range.start);
            page_cache::want_soon(self.file.as_fd(), at, usize::try_from(len).unwrap_or(usize::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn wait_for(reader: &mut Reader, wanted: usize) -> Vec<(Key, Purpose)> {
        let mut done = Vec::new();
        while done.len() < wanted {
            let mut waits = [nix::poll::PollFd::new(reader.descriptor(), nix::poll::PollFlags::POLLIN)];
            assert_eq!(nix::poll::poll(&mut waits, 30_000u16).unwrap(), 1, "after {} jobs", done.len());
            done.extend(reader.take_done());
        }
        done
    }

    #[test]
    fn every_job_is_done_once_by_few_threads() {
        let mut file = fd::unnamed_file(&std::env::temp_dir()).unwrap();
        file.write_all(&vec![1; 1 << 20]).unwrap();
        let mut reader = Reader::new().unwrap();
        assert_eq!(reader.threads, 0);
        for index in 0..100 {
            let key = Key { index, generation: 1 };
            // Beyond the end and empty ones come back too.
            let from = u64::from(index) << 14;
            reader.read((key, Purpose::Send), file.as_fd(), from..from + (1 << 14), Time::ZERO).unwrap();
        }
        let mut done: Vec<_> = wait_for(&mut reader, 100).into_iter().map(|(key, _)| key.index).collect();
        done.sort_unstable();
        assert!(done.into_iter().eq(0..100));
        assert!((1..=THREADS).contains(&reader.threads) && reader.running == 0);
        assert_eq!(reader.deadline(), None);
        assert!(reader.shared.lock().reads.is_empty(), "what is done is not read any more");
    }

    #[test]
    fn reads_that_take_long_are_told_once_and_then_nothing_more_is_opened() {
        let at = |seconds| Time(seconds * 1_000_000_000);
        let path = std::env::temp_dir().join(format!("hatchery-reader-{}", std::process::id()));
        let file = Arc::new(OwnedFd::from(std::fs::File::create(&path).unwrap()));
        let mut reader = Reader::new().unwrap();
        // As if its threads were in reads that never return: none takes a job.
        reader.threads = THREADS;
        let key = Key { index: 1, generation: 1 };
        let hung = |reader: &mut Reader, since| {
            reader.running += 1;
            let read = Reading { file: Arc::clone(&file), since: at(since), told: false };
            reader.shared.lock().reads.push(read);
        };
        let open = |reader: &mut Reader, now| {
            reader.read((key, Purpose::Open), file.as_fd(), 0..1, at(now)).map_err(|error| error.kind())
        };
        hung(&mut reader, 1);
        // A job that waits since then, and may have begun at any time.
        open(&mut reader, 0).unwrap();
        assert_eq!(reader.deadline(), Some(at(10)));
        assert_eq!(reader.take_long(at(10)), []);
        assert_eq!(reader.deadline(), Some(at(11)));
        assert_eq!(reader.take_long(at(11)), [Some(path.clone())]);
        assert_eq!(reader.take_long(at(21)), [], "told once");
        (2..=THREADS as u64).for_each(|since| hung(&mut reader, since));
        let last = 10 + THREADS as u64;
        assert_eq!(open(&mut reader, last - 1), Ok(()), "one thread may still get on");
        assert_eq!(open(&mut reader, last), Err(io::ErrorKind::TimedOut));
        // What is on its way to a client waits, as long as that client has time.
        reader.read((key, Purpose::Send), file.as_fd(), 0..1, at(last)).unwrap();
        reader.shared.lock().reads.pop();
        assert_eq!(open(&mut reader, last), Ok(()), "the disk is back");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nothing_is_read_for_who_has_gone() {
        let file = fd::unnamed_file(&std::env::temp_dir()).unwrap();
        let mut reader = Reader::new().unwrap();
        // No thread takes a job.
        reader.threads = THREADS;
        let key = |index| Key { index, generation: 1 };
        let (open, send) = (Purpose::Open, Purpose::Send);
        for (index, purpose) in [(1, send), (2, send), (1, open), (3, open)] {
            reader.running += 1;
            let file = Arc::new(file.try_clone().unwrap().into());
            reader.shared.lock().waiting.push_back(Job { client: key(index), purpose, file, range: 0..1 });
        }
        // A request that is given up does not hold up what is still sent of the one before.
        reader.forget((key(1), open));
        let left: Vec<_> =
            reader.shared.lock().waiting.iter().map(|job| (job.client.index, job.purpose)).collect();
        assert_eq!((left, reader.running), (vec![(1, send), (2, send), (3, open)], 3));
    }
}
