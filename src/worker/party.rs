//! Those for whom exchanges run: clients, and the server itself. What is asked of both stands here.

use super::client::{Client, DriveEnd};
use super::context::Context;
use super::own::Own;
use super::reader;
use super::shortage::Expendable;
use crate::event::Readiness;
use crate::slab::Key;
use crate::timer::Time;

/// See the module.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are clients, which stand in their place in the slab"
)]
pub(super) enum Party {
    Client(Client),
    Own(Box<Own>),
}

impl Party {
    /// Takes note of an event of its socket.
    pub(super) fn note(&mut self, readiness: Readiness) {
        if let Self::Client(client) = self {
            client.note(readiness);
        }
    }

    /// Whether its handshake waits for its turn.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Client(client) if client.waits())
    }

    /// Its handshake goes on when it is driven next.
    pub(super) fn take_turn(&mut self) {
        if let Self::Client(client) = self {
            client.take_turn();
        }
    }

    /// What had to be read before more is written was read.
    pub(super) fn note_read(&mut self, outcome: reader::Outcome) {
        if let Self::Client(client) = self {
            client.note_read(outcome);
        }
    }

    /// What an exchange waited for was read.
    pub(super) fn note_found(&mut self, number: u32, outcome: reader::Outcome) {
        match self {
            Self::Client(client) => client.note_found(number, outcome),
            Self::Own(own) => own.note_found(number, outcome),
        }
    }

    /// An exchange can go on.
    pub(super) fn wake(&mut self, number: u32) {
        if let Self::Client(client) = self {
            client.wake(number);
        }
    }

    /// A timer has fired.
    pub(super) fn disarm(&mut self, now: Time) {
        match self {
            Self::Client(client) => client.disarm(now),
            Self::Own(own) => own.disarm(now),
        }
    }

    /// The worker leaves: see [`Client::drain`].
    pub(super) fn drain(&mut self, hurry: bool, now: Time) {
        if let Self::Client(client) = self {
            client.drain(hurry, now);
        }
    }

    /// Whether it can be done without, and when it would end by itself.
    pub(super) fn expendable(&self, now: Time) -> Option<(Expendable, Time)> {
        match self {
            Self::Client(client) => client.expendable(now),
            Self::Own(_) => None,
        }
    }

    /// Its descriptor is needed.
    pub(super) fn give_up(&mut self, now: Time) {
        if let Self::Client(client) = self {
            client.give_up(now);
        }
    }

    /// Whether it goes on in another protocol than HTTP.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self, Self::Client(client) if client.is_tunnel())
    }

    /// What still runs is broken off.
    pub(super) fn cut(&mut self) {
        match self {
            Self::Client(client) => client.cut(),
            Self::Own(own) => own.cut(),
        }
    }

    /// Sets a timer if the deadline has moved to before what is armed.
    pub(super) fn rearm(&mut self, key: Key, cx: &mut Context) {
        match self {
            Self::Client(client) => client.rearm(key, cx),
            Self::Own(own) => own.rearm(key, cx),
        }
    }

    /// Works until nothing more can be done now.
    pub(super) fn drive(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        match self {
            Self::Client(client) => client.drive(key, cx),
            Self::Own(own) => own.drive(key, cx),
        }
    }

    /// It is closed and out of the slab.
    pub(super) fn left(self, cx: &mut Context) {
        match self {
            Self::Client(client) => client.left(cx),
            Self::Own(own) => own.left(cx),
        }
    }
}
