//! Accepting: when to, from which listeners, and how many at a time.
//!
//! Whether to accept is decided before the poll, never between wake-up and accept: with an exclusive wake-up, a worker
//! that was woken and then declines would swallow a connection. Interest is derived in `settle` alone.

use super::context::Context;
use crate::config::boot::Listener;
use crate::sys::socket;
use crate::timer::{Time, earliest};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Accepts at most so many connections a turn.
const BATCH: usize = 8;

/// The same while handshakes wait, as far as it may have more than others: which of them go on, and how many, is decided
/// there, not by who waits here behind whom.
const MANY: usize = 64;

/// After running out of descriptors accepting rests so long.
const PAUSE: Duration = Duration::from_millis(500);

/// A worker that stands back for others looks again after so long.
const LOOK: Duration = Duration::from_millis(250);

/// A worker that is full waits so long for another one to be started.
const HELP: Duration = Duration::from_secs(2);

/// The listeners and whether they are watched.
pub(super) struct Gate {
    doors: Vec<Door>,
    /// Connections held at most.
    limit: u64,
    /// So many more may come before the next `settle`.
    room: usize,
    /// And so many in one turn.
    batch: usize,
    /// It has that many.
    full: bool,
    /// Descriptors ran out: not before then.
    paused_until: Option<Time>,
    /// Full, and others are to take what comes, or no connection can be done without: when it looks again.
    stands_until: Option<Time>,
    /// Others had their time.
    stood: bool,
    /// It stands back for others: when it looks whether they accept.
    look: Option<Time>,
    /// They did not: it looks again at once.
    found: bool,
}

struct Door {
    fd: OwnedFd,
    watched: bool,
    ready: bool,
}

impl Gate {
    /// No listener is watched before the first `settle`.
    pub(super) fn new(listeners: Vec<Listener>, limit: u32) -> Self {
        let doors =
            listeners.into_iter().map(|listener| Door { fd: listener.fd, watched: false, ready: false });
        Self {
            doors: doors.collect(),
            limit: u64::from(limit),
            room: 0,
            batch: BATCH,
            full: false,
            paused_until: None,
            stands_until: None,
            stood: false,
            look: None,
            found: false,
        }
    }

    /// A listener has connections waiting.
    pub(super) fn note(&mut self, number: u32) {
        if let Some(door) = self.doors.get_mut(number as usize) {
            door.ready = true;
        }
    }

    /// No connection can be taken at the moment.
    pub(super) fn is_full(&self) -> bool {
        self.full || self.paused_until.is_some()
    }

    /// When `settle` must be called again although nothing else happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        earliest(earliest(self.paused_until, self.stands_until), self.look)
    }

    /// Takes up to a batch of connections from the listeners that were reported. What stays is reported again.
    ///
    /// # Errors
    /// EMFILE, ENFILE and their kin: make room, or [`Self::rest`].
    pub(super) fn accept(
        &mut self,
        now: Time,
        mut each: impl FnMut(OwnedFd, Option<SocketAddr>, u16),
    ) -> io::Result<()> {
        let looks = self.look.is_some_and(|look| look <= now);
        let mut budget = self.batch.min(self.room);
        let whole = budget;
        for (number, door) in self.doors.iter_mut().enumerate() {
            if !(std::mem::take(&mut door.ready) || looks) {
                continue;
            }
            while budget > 0 {
                match accept_one(door) {
                    Accepted::Connection(fd, peer) => each(fd, peer, number as u16),
                    Accepted::None => break,
                    Accepted::Exhausted(error) => return Err(error),
                }
                budget -= 1;
            }
        }
        self.found = looks && budget < whole;
        Ok(())
    }

    /// Whether a connection waits, and it is full.
    pub(super) fn is_pressed(&self) -> bool {
        self.room == 0 && self.doors.iter().any(|door| door.ready)
    }

    /// Full, and no connection can be done without.
    pub(super) fn stand(&mut self, now: Time) {
        self.stands_until = Some(now.after(LOOK));
    }

    /// Full: whether others are to take what comes, for a while. One has room, or one more may be started.
    pub(super) fn leaves_it_to_others(&mut self, cx: &Context) -> bool {
        let has_room = cx.board.least_connections() < self.limit;
        let grows = cx.board.accepting_workers() < cx.config.workers.processes.max as usize;
        if !(has_room || grows) || std::mem::replace(&mut self.stood, true) {
            return false;
        }
        self.stands_until = Some(cx.now.after(if has_room { LOOK } else { HELP }));
        true
    }

    /// Nothing is accepted for a moment.
    pub(super) fn rest(&mut self, now: Time) {
        self.paused_until = Some(now.after(PAUSE));
    }

    /// Leaves the listeners for good: DEL first, then everything that was waiting is taken, so that no wake-up meant for
    /// this worker is lost. They are closed then: an address that nobody else serves any more must not go on taking
    /// connections as long as this worker has something to finish.
    pub(super) fn leave(&mut self, cx: &Context, mut each: impl FnMut(OwnedFd, Option<SocketAddr>, u16)) {
        for (number, door) in self.doors.iter_mut().enumerate() {
            door.watch(false, number as u32, cx);
            while let Accepted::Connection(fd, peer) = accept_one(door) {
                each(fd, peer, number as u16);
            }
        }
        self.doors.clear();
    }

    /// DEL and ADD: an ADD reports what is waiting, also what a dead worker was woken for.
    pub(super) fn rearm(&mut self, cx: &Context) {
        for (number, door) in self.doors.iter_mut().enumerate() {
            if door.watched {
                door.watch(false, number as u32, cx);
                door.watch(true, number as u32, cx);
            }
        }
    }

    /// Derives whether to accept and makes the kernel's interest match.
    pub(super) fn settle(&mut self, wanted: bool, own: u64, cx: &mut Context) {
        if self.paused_until.is_some_and(|until| until <= cx.now) {
            self.paused_until = None;
        }
        self.watch_limit(own, cx);
        self.room = usize::try_from(self.limit.saturating_sub(own)).unwrap_or(BATCH);
        let share = fair_share(cx.board.least_connections());
        let fair = own <= share;
        self.batch = batch(share.saturating_sub(own), cx.handshakes.any_waits());
        // Full, it goes on watching as long as it may find a connection that can be done without.
        self.stands_until = self.stands_until.filter(|until| own >= self.limit && *until > cx.now);
        let able = wanted && self.stands_until.is_none() && self.paused_until.is_none();
        let accepts = able && fair;
        self.look = match self.look {
            _ if !able || fair => None,
            Some(look) if look > cx.now => Some(look),
            _ if self.found => Some(cx.now),
            _ => Some(cx.now.after(LOOK)),
        };
        let mut left = false;
        for (number, door) in self.doors.iter_mut().enumerate() {
            left |= door.watched && !accepts;
            door.watch(accepts, number as u32, cx);
        }
        if left {
            // Others may have stood back because of this worker: they must look again, or nobody accepts.
            cx.poke_others();
        }
    }
}

impl Gate {
    /// Tells when the limit is reached, and again only after there was plenty of room.
    fn watch_limit(&mut self, own: u64, cx: &mut Context) {
        if own >= self.limit && !std::mem::replace(&mut self.full, true) {
            let limit = self.limit;
            cx.note(
                log::Level::Warn,
                "no more connections; raise workers.connections",
                format_args!(
                    "worker: {limit} connections, as many as it may have: idle ones are closed for new ones; raise \
                     workers.connections"
                ),
            );
        }
        self.full &= own >= self.limit - (self.limit / 8).max(1);
        self.stood &= self.full;
    }
}

/// A worker accepts only while it has no more connections than this: the least loaded has, and a little more.
fn fair_share(least: u64) -> u64 {
    least.saturating_add((least / 8).max(4))
}

/// How many connections it accepts in one turn that may have so many more than others.
fn batch(more: u64, handshakes_wait: bool) -> usize {
    if handshakes_wait { usize::try_from(more).unwrap_or(MANY).clamp(BATCH, MANY) } else { BATCH }
}

enum Accepted {
    Connection(OwnedFd, Option<SocketAddr>),
    None,
    Exhausted(io::Error),
}

fn accept_one(door: &Door) -> Accepted {
    loop {
        match socket::accept(door.fd.as_fd()) {
            Ok((fd, peer)) => {
                if peer.is_some() {
                    socket::no_delay(fd.as_fd());
                }
                return Accepted::Connection(fd, peer);
            }
            Err(error) => match nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                nix::errno::Errno::EAGAIN => return Accepted::None,
                // The peer has gone again: the next one may be there.
                nix::errno::Errno::ECONNABORTED | nix::errno::Errno::EPROTO => {}
                _ if !socket::is_waiting(door.fd.as_fd()) => return Accepted::None,
                _ => return Accepted::Exhausted(error),
            },
        }
    }
}

impl Door {
    fn watch(&mut self, wanted: bool, number: u32, cx: &Context) {
        if self.watched == wanted {
            return;
        }
        let result = if wanted {
            cx.poll.watch_listener(self.fd.as_fd(), number)
        } else {
            cx.poll.forget_listener(self.fd.as_fd())
        };
        match result {
            Ok(()) => self.watched = wanted,
            Err(error) => log::error!("worker: cannot change the interest in a listener: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH, MANY, batch, fair_share};

    #[test]
    fn a_worker_may_be_a_little_ahead_of_the_least_loaded() {
        assert_eq!((fair_share(0), fair_share(16), fair_share(800)), (4, 20, 900));
        assert_eq!(fair_share(u64::MAX), u64::MAX);
    }

    #[test]
    fn it_accepts_more_at_a_time_while_handshakes_wait_but_not_more_than_its_share() {
        assert_eq!([0, 20, u64::MAX].map(|more| batch(more, true)), [BATCH, 20, MANY]);
        assert_eq!(batch(u64::MAX, false), BATCH);
    }
}
