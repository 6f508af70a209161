//! Coming and going: what the master tells a worker, and when the worker may leave.
//!
//! | mode | accepts | idle connections | running exchanges |
//! |---|---|---|---|
//! | `Waiting` | no, set up but not yet told to | | |
//! | `Serving` | yes | stay | run |
//! | `Draining` | no | stay until their next request, which is answered with `Connection: close`, or their time-out | run, until the bound |
//! | `Stopping` | no | closed at once, after a last read | run, until the bound |

use super::Worker;
use super::client::Client;
use crate::control::worker::{PACKET, ToMaster, ToWorker};
use crate::timer::Time;
use std::io;
use std::time::Duration;

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
                        Some(ToWorker::AccessLog) => self.cx.report.reopen(descriptor),
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
                    self.cx.board.set_accepting(self.cx.row, true);
                }
            }
            ToWorker::Drain { within } => self.leave(Mode::Draining, Duration::from_nanos(within)),
            ToWorker::Stop { within } => self.leave(Mode::Stopping, Duration::from_nanos(within)),
            ToWorker::Rearm => self.gate.rearm(&self.cx),
            ToWorker::AccessLog => {}
        }
    }

    /// Stops accepting and lets the connections end in the way of `mode`.
    fn leave(&mut self, mode: Mode, within: Duration) {
        let by = self.cx.now.after(within);
        self.cx.leave_by = Some(self.cx.leave_by.map_or(by, |earlier: Time| earlier.min(by)));
        if self.drain != Mode::Stopping {
            self.drain = mode;
        }
        self.cx.board.set_accepting(self.cx.row, false);
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
                client.drain(hurry);
                self.cx.run_soon(key);
            }
        }
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
