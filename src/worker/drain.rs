//! Coming and going: what the master tells a worker, and when the worker may leave.
//!
//! | mode | accepts | idle connections | running exchanges |
//! |---|---|---|---|
//! | `Waiting` | no, set up but not yet told to | | |
//! | `Serving` | yes | stay | run |
//! | `Draining` | no | stay until their next request, which is answered with `Connection: close`, or their time-out | run, until the bound; what is left then is broken off over its last tenth |
//! | `Stopping` | no | closed at once, after a last read | run, until the bound; tunnels end over its last tenth |

use super::Worker;
use super::client::Client;
use super::context::{Context, Timer};
use crate::config::credentials::Credentials;
use crate::control::worker::{PACKET, ToMaster, ToWorker};
use crate::secret::Secret;
use crate::sys::{fd, file};
use crate::timer::Time;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// The part of the bound over which the last connections are broken off.
const SPREAD: u128 = 10;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Waiting,
    Serving,
    Draining,
    Stopping,
}

impl Mode {
    /// Whether the worker takes new connections.
    pub(super) fn accepts(self) -> bool {
        self == Self::Serving
    }
}

/// When a connection of a worker that leaves by `by`, `within` so long, is broken off: in the last tenth of that time,
/// not all in one moment, so that not all of the clients come back in the same moment.
fn cut_at(by: Time, within: Duration, random: u64) -> Time {
    let share = u128::from(random >> 32);
    let earlier = (within.as_nanos() / SPREAD * share) >> 32;
    Time(by.0.saturating_sub(u64::try_from(earlier).unwrap_or(u64::MAX)))
}

impl Worker {
    /// Reads everything the master said.
    pub(super) fn obey(&mut self) {
        let mut packet = [0u8; PACKET];
        loop {
            match self.cx.hear(&mut packet) {
                Ok((0, _)) => return self.leave(Mode::Stopping, Duration::ZERO),
                Ok((length, descriptor)) => {
                    let message = packet.get(..length).and_then(ToWorker::decode);
                    match message {
                        Some(ToWorker::AccessLog { path }) => {
                            self.cx.report.reopen(path.as_deref(), descriptor)
                        }
                        Some(ToWorker::Credentials { serial }) => self.take_credentials(serial, descriptor),
                        Some(message) => self.follow(message),
                        None => {
                            log::error!("worker: the master sent a message that this version does not know")
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::error!("worker: lost the master: {error}");
                    return self.leave(Mode::Stopping, Duration::ZERO);
                }
            }
        }
    }

    fn follow(&mut self, message: ToWorker) {
        match message {
            ToWorker::Open => {
                if self.drain == Mode::Waiting {
                    self.drain = Mode::Serving;
                    self.cx.board.set_accepting(true);
                }
            }
            ToWorker::Drain { within } => self.leave(Mode::Draining, Duration::from_nanos(within)),
            ToWorker::Stop { within } => self.leave(Mode::Stopping, Duration::from_nanos(within)),
            ToWorker::Rearm => self.gate.rearm(&self.cx),
            ToWorker::Trouble(part) => self.cx.edits.troubles.take(part),
            ToWorker::Edited { serial } => {
                let Context { edits, runnable, .. } = &mut self.cx;
                runnable.extend(edits.note(serial));
            }
            ToWorker::Maintenance { site, closed, .. } => {
                let Context { closed: sites, config, .. } = &mut self.cx;
                sites.take(&site, closed.as_deref(), config);
            }
            ToWorker::Mended { pool } => self.cx.edits.troubles.mended(pool),
            ToWorker::AccessLog { .. } | ToWorker::Credentials { .. } => {}
        }
    }

    /// Goes by the credentials in this file from now on.
    fn take_credentials(&mut self, serial: u64, file: Option<OwnedFd>) {
        let read = |file: OwnedFd| {
            let length = usize::try_from(file::metadata(file.as_fd())?.size).unwrap_or(0);
            io::Result::Ok(Secret(file::read_at(file.as_fd(), 0, length)?))
        };
        let bytes = file.map_or(Err(io::ErrorKind::NotFound.into()), read);
        match bytes.map(|bytes| Credentials::decode(&bytes.0)) {
            Ok(Some(credentials)) => {
                self.cx.renew(&credentials);
                self.cx.tell(&ToMaster::Credentials { serial });
            }
            Ok(None) => log::error!("worker: certificates stay as they are: the master's are not understood"),
            Err(error) => log::error!("worker: certificates stay as they are: {error}"),
        }
    }

    /// Stops accepting and lets the connections end in the way of `mode`.
    fn leave(&mut self, mode: Mode, within: Duration) {
        let by = self.cx.now.after(within);
        self.cx.leave_by = Some(self.cx.leave_by.map_or(by, |earlier: Time| earlier.min(by)));
        if self.drain != Mode::Stopping {
            self.drain = mode;
        }
        self.cx.board.set_accepting(false);
        let Self { clients, gate, cx, .. } = self;
        let mut arrived = Vec::new();
        gate.leave(cx, |fd, peer, listener| arrived.push((fd, peer, listener)));
        for (fd, peer, listener) in arrived {
            if let Err(error) = Client::open(clients, fd, peer, listener, true, cx) {
                log::warn!("worker: cannot watch a new connection: {error}");
            }
        }
        self.cx.tell(&ToMaster::Closed);
        let hurry = self.drain == Mode::Stopping;
        for key in self.clients.keys() {
            if let Some(client) = self.clients.get_mut(key) {
                client.drain(hurry, self.cx.now);
                self.cx.run_soon(key);
                if !hurry || client.is_tunnel() {
                    let at = cut_at(by, within, fd::random());
                    self.cx.timers.insert(at, Timer::Cut(key));
                }
            }
        }
        let Context { edits, runnable, .. } = &mut self.cx;
        runnable.extend(edits.listening());
        // Others may have stood back because this worker had fewer connections.
        self.cx.poke_others();
    }

    /// Whether nothing is left to do, or the bound has passed.
    pub(super) fn may_leave(&self) -> bool {
        if matches!(self.drain, Mode::Waiting | Mode::Serving) {
            return false;
        }
        let done = self.clients.is_empty() && !self.cx.links.any_busy();
        done || self.cx.leave_by.is_some_and(|by| by <= self.cx.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_connections_are_broken_off_over_the_last_tenth_of_the_time() {
        let (by, within) = (Time(1_000_000_000_000), Duration::from_secs(600));
        assert_eq!(cut_at(by, within, 0), by);
        assert_eq!(by.since(cut_at(by, within, 1 << 63)), Duration::from_secs(30));
        assert!(by.since(cut_at(by, within, u64::MAX)) < Duration::from_secs(60));
        assert_eq!(cut_at(by, Duration::ZERO, u64::MAX), by);
        assert!(cut_at(Time(5), Duration::MAX, u64::MAX) <= Time(5));
        // Numbers like those that a worker draws: no second of the minute is without, none has many.
        let mut seconds = [0; 60];
        for count in 1..=1200_u64 {
            let random = 0x1234_5678_9abc_def0 ^ count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            seconds[by.since(cut_at(by, within, random)).as_secs() as usize] += 1;
        }
        assert!(seconds.iter().all(|count| (10..=30).contains(count)), "{seconds:?}");
    }
}
