//! Closing what an app has sent, on a thread of its own, so that the loop never waits in close(2).
//!
//! A descriptor from an app can be made so that closing it takes as long as the app likes: a socket with SO_LINGER and a
//! full buffer, a file of a file system in user space that does not answer the flush, one of a network server that has
//! gone. The same holds for the stream to the app, in which descriptors may lie that nobody has read. So both are given to
//! the app's [`Closer`], whoever drops them and for whatever reason: they were refused, were sent, the client has gone, the
//! process has died. Only what [`Nature::Disk`](crate::sys::file::Nature) says is closed on the spot.
//!
//! Each app has a thread, made when there is something to close, so that one whose descriptors do not close holds up
//! nobody but itself. Its queue is bounded by refusing what would make it longer: while a close has lasted for [`LONG`] and
//! [`MOST`] others wait, the app's requests get 503 from this worker, and a response that brings one more file is broken
//! off. What waits then is what the streams held that were open. A worker that leaves closes nothing of this: it exits,
//! and the kernel does not linger for a process that exits.
//!
//! The worker's own temporary files have one, too ([`Closer::relieve`]): what they occupy on a disk is given back at their close,
//! and thousands may be dropped in one turn.
//!
//! What remains: descriptors that find no room in the worker's table (RLIMIT_NOFILE) are closed by the kernel while the
//! loop reads; the heartbeat replaces a worker that hangs in that.

use crate::sys::fd::Handed;
use crate::sys::{clock, signals};
use crate::timer::Time;
use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A close that takes so long is not worth waiting for.
const LONG: Duration = Duration::from_secs(2);

/// So many may wait behind one that takes long.
const MOST: usize = 64;

/// So many of the worker's own may wait, at most: beyond, the loop goes no faster than the disk does.
const MANY: usize = 4096;

/// No more of them than one part of so many of what descriptors a worker may have.
const PART: u64 = 16;

/// It calls `close` and nothing else.
const STACK: usize = 64 * 1024;

/// Closes what one app has sent. See the module.
#[derive(Debug, Default)]
pub(super) struct Closer {
    shared: Arc<Shared>,
    has_thread: Cell<bool>,
    /// So many of the worker's own may wait.
    most_own: usize,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<OwnedFd>,
    /// When the close was begun that goes on.
    since: Option<Time>,
}

impl Closer {
    /// For the worker's own, where it may have so many descriptors.
    pub(super) fn for_own(descriptors: u64) -> Self {
        let most_own = usize::try_from(descriptors / PART).unwrap_or(MANY).min(MANY);
        Self { most_own, ..Self::default() }
    }

    /// Closes it, by and by.
    pub(super) fn close(&self, descriptor: OwnedFd) {
        self.shared.lock().waiting.push_back(descriptor);
        if self.has_thread.get() {
            self.shared.more.notify_one();
        } else {
            self.has_thread.set(self.add_thread());
        }
    }

    /// Closes it, by and by unless many wait or there is no thread to be had: what is our own may hold up the loop.
    fn relieve(&self, descriptor: OwnedFd) {
        if self.shared.lock().waiting.len() < self.most_own {
            self.close(descriptor);
        }
        if !self.has_thread.get() {
            self.shared.lock().waiting.clear();
        }
    }

    /// The descriptor of one of the worker's own files, which comes here when it is dropped.
    pub(super) fn lend_own(self: &Rc<Self>, descriptor: OwnedFd) -> Handed {
        let closer = Rc::clone(self);
        Handed::new(descriptor, Box::new(move |descriptor| closer.relieve(descriptor)))
    }

    /// The descriptor, which comes here when it is dropped.
    pub(super) fn lend(self: &Rc<Self>, descriptor: OwnedFd) -> Handed {
        let closer = Rc::clone(self);
        Handed::new(descriptor, Box::new(move |descriptor| closer.close(descriptor)))
    }

    /// Whether nothing more may be taken from the app.
    pub(super) fn is_held_up(&self, now: Time) -> bool {
        // The usual case takes no lock.
        if !self.has_thread.get() && self.shared.lock().waiting.is_empty() {
            return false;
        }
        let queue = self.shared.lock();
        let long = !self.has_thread.get() || queue.since.is_some_and(|since| now.since(since) >= LONG);
        long && queue.waiting.len() >= MOST
    }

    #[cfg(test)]
    pub(super) fn has_thread(&self) -> bool {
        self.has_thread.get()
    }

    /// False if there is no thread to be had: it is tried again with the next descriptor.
    fn add_thread(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        // Signals are the loop's business: the thread begins with all of them blocked.
        let mask = signals::block_all();
        let made = std::thread::Builder::new().name("closer".to_owned()).stack_size(STACK);
        let made = made.spawn(move || work(&shared));
        signals::restore(&mask);
        made.is_ok()
    }
}

impl Shared {
    /// Nothing in here panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: one after the other, for as long as the worker lives.
fn work(shared: &Shared) {
    let mut queue = shared.lock();
    loop {
        queue.since = None;
        let Some(descriptor) = queue.waiting.pop_front() else {
            queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        queue.since = Some(clock::now());
        drop(queue);
        drop(descriptor);
        queue = shared.lock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    /// A socket whose close sleeps until the other end is gone.
    fn hostile() -> (OwnedFd, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (two, _) = listener.accept().unwrap();
        let linger = nix::libc::linger { l_onoff: 1, l_linger: 600 };
        nix::sys::socket::setsockopt(&one, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        one.set_nonblocking(true).unwrap();
        let full = one.write_all(&vec![0; 64 << 20]).unwrap_err().kind();
        assert_eq!(full, ErrorKind::WouldBlock);
        (one.into(), two)
    }

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = clock::now().after(Duration::from_secs(30));
        while !is_so() {
            assert!(clock::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }

    /// Its other end reads the end of it once it is closed.
    fn is_closed(end: &mut UnixStream) -> bool {
        end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        end.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn a_close_that_sleeps_holds_up_its_app_and_nobody_else() {
        let (stubborn, other) = (Rc::new(Closer::default()), Closer::default());
        let (socket, peer) = hostile();
        // Lent and dropped, as it is when a client goes away.
        drop(stubborn.lend(socket));
        wait_until("the thread closes it", || stubborn.shared.lock().since.is_some());
        let since = stubborn.shared.lock().since.unwrap();
        let mut ends = Vec::new();
        for number in 0..MOST {
            assert!(!stubborn.is_held_up(since.after(LONG)), "{number} wait");
            let (one, end) = UnixStream::pair().unwrap();
            stubborn.close(one.into());
            ends.push(end);
        }
        assert!(!stubborn.is_held_up(since.after(LONG / 2)), "it may still be about to end");
        assert!(stubborn.is_held_up(since.after(LONG)));
        let (one, mut end) = UnixStream::pair().unwrap();
        other.close(one.into());
        assert!(is_closed(&mut end), "another app's");
        assert!(!other.is_held_up(Time(u64::MAX)));
        // The peer is gone, with what it had not read: a reset, which ends the wait.
        drop(peer);
        assert!(ends.iter_mut().all(is_closed), "it goes on afterwards");
        wait_until("nothing is left", || !stubborn.is_held_up(Time(u64::MAX)));
    }

    #[test]
    fn a_file_of_our_own_is_left_to_the_thread() {
        let closer = Rc::new(Closer::for_own(2 * PART));
        let (socket, peer) = hostile();
        drop(closer.lend(socket));
        wait_until("the thread closes it", || closer.shared.lock().since.is_some());
        let [mut end, mut second, mut third] = [(); 3].map(|()| {
            let (own, end) = UnixStream::pair().unwrap();
            drop(closer.lend_own(own.into()));
            end
        });
        assert_eq!(closer.shared.lock().waiting.len(), 2, "no more may wait");
        assert!(is_closed(&mut third));
        drop(peer);
        assert!(is_closed(&mut end) && is_closed(&mut second));
    }

    #[test]
    fn few_of_our_own_wait_where_descriptors_are_few() {
        assert_eq!([1024, 1 << 20, u64::MAX].map(|limit| Closer::for_own(limit).most_own), [64, MANY, MANY]);
    }

    #[test]
    fn what_is_lent_can_be_used_until_it_is_dropped() {
        let closer = Rc::new(Closer::default());
        let (one, mut end) = UnixStream::pair().unwrap();
        let lent = closer.lend(one.into());
        nix::unistd::write(lent.as_fd(), b"x").unwrap();
        assert!(!closer.has_thread.get());
        drop(lent);
        let mut byte = [0];
        end.read_exact(&mut byte).unwrap();
        assert!(is_closed(&mut end));
    }
}
