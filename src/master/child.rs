//! The processes of the pools: what the master holds of each while it lives.

use super::Channel;
use super::Token;
use super::apps::App;
use super::daemons::Daemon;
use super::output::Output;
use super::spawn::Line;
use super::voice::{Heard, Voice};
use crate::control::worker::{self, ToMaster, ToWorker};
use crate::supervisor::{Break, ChildId};
use crate::sys::carried::Carried;
use crate::sys::poll::{Interest, Set};
use crate::sys::sandbox::Applied;
use crate::sys::{process, seqpacket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// A process of a pool.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Child {
    /// The process.
    pub(super) process: process::Child,
    /// Its pool.
    pub(super) pool: u16,
    /// Its slot in the pool.
    pub(super) slot: u16,
    /// We sent it a SIGKILL.
    pub(super) killed: bool,
    /// What it is.
    pub(super) role: Role,
}

/// How much of what a process says is taken in at once: whoever talks without end must neither hold up the others nor
/// fill our memory. What is left is there in the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Something came.
    Turn,
    /// A process has ended: more than a pipe holds.
    Last,
}

impl Hearing {
    /// So much.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Turn => 64 * 1024,
            Self::Last => 1 << 20,
        }
    }
}

/// What a child is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Role {
    /// An event loop.
    Worker(Worker),
    /// A process of an app.
    App(Box<App>),
    /// A process of a daemon.
    Daemon(Box<Daemon>),
}

impl Child {
    /// Waits until the child tells or prints something, or can be told what waits for it.
    pub(super) fn watch<'a>(&'a self, id: ChildId, set: &mut Set<'a, Token>) {
        match &self.role {
            Role::Worker(worker) => worker.watch(id, set),
            Role::App(app) => app.watch(id, set),
            Role::Daemon(daemon) => daemon.watch(id, set),
        }
    }

    /// What it prints.
    pub(super) fn output(&self) -> Option<&Output> {
        match &self.role {
            Role::Worker(_) => None,
            Role::App(app) => Some(&app.output),
            Role::Daemon(daemon) => Some(&daemon.output),
        }
    }

    /// The same, with its name.
    pub(super) fn output_mut(&mut self) -> Option<(String, &mut Output)> {
        let name = self.name();
        match &mut self.role {
            Role::Worker(_) => None,
            Role::App(app) => Some((name, &mut app.output)),
            Role::Daemon(daemon) => Some((name, &mut daemon.output)),
        }
    }

    /// As in titles and logs.
    pub(super) fn name(&self) -> String {
        match &self.role {
            Role::Worker(_) => format!("worker {}", self.slot),
            Role::App(app) => format!("app {} {}", app.name, self.slot),
            Role::Daemon(daemon) => format!("daemon {} {}", daemon.name, self.slot),
        }
    }
}

/// What the master shares with a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    /// Its row on the board.
    pub(super) row: u16,
    /// Requests counted in that row before this worker.
    pub(super) counted: u64,
    /// What of the sandbox took effect in it, once it has said so.
    pub(super) sandbox: Option<Applied>,
    /// When a process of an app was last renewed on this worker's word alone.
    pub(super) renewed: Option<Time>,
    /// Where it is told something: a socket, as descriptors go with it.
    ear: Carried,
    /// The worker has closed its end of `ear`.
    deaf: bool,
    /// What it says.
    voice: Voice<worker::Reader>,
    /// Packets that did not fit the socket.
    waiting: VecDeque<(Vec<u8>, Option<Carried>)>,
}

/// Packets that wait for a worker that does not read; beyond it the worker is hung and will be killed.
const WAITING: usize = 256;

impl Worker {
    /// A worker at the other ends of `line`.
    pub(super) fn new(row: u16, counted: u64, line: Line) -> Self {
        let Line { ear, voice } = line;
        Self {
            row,
            counted,
            sandbox: None,
            renewed: None,
            ear: ear.into(),
            deaf: false,
            voice: Voice::new(voice),
            waiting: VecDeque::new(),
        }
    }

    fn watch<'a>(&'a self, id: ChildId, set: &mut Set<'a, Token>) {
        if let Some(voice) = self.voice.descriptor() {
            set.add(voice, Token::Child(id, Channel::Control), Interest::READ);
        }
        if !self.deaf {
            // poll(2) tells in any case that the worker has closed its end.
            let interest = Interest { read: false, write: !self.waiting.is_empty() };
            set.add(self.ear.as_fd(), Token::Child(id, Channel::Ear), interest);
        }
    }

    /// Sends a message, with a descriptor if given.
    pub(super) fn tell(&mut self, message: ToWorker, descriptor: Option<OwnedFd>) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back((message.encode(), descriptor.map(Carried::from)));
        }
        self.flush();
    }

    /// The worker can be told more, or has closed its end.
    pub(super) fn writable(&mut self) {
        self.deaf |= self.waiting.is_empty();
        self.flush();
    }

    /// How the channel to the worker ended, if it has.
    pub(super) fn broken(&self) -> Option<Break> {
        self.voice.broken().or(self.deaf.then_some(Break::Closed))
    }

    /// Sends what waits, as far as it goes.
    fn flush(&mut self) {
        while let Some((packet, descriptor)) = self.waiting.front() {
            let descriptor = descriptor.as_ref().map(|descriptor| descriptor.as_fd());
            match seqpacket::send(self.ear.as_fd(), packet, descriptor) {
                Ok(()) => _ = self.waiting.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.waiting.clear();
                    self.deaf = true;
                }
            }
        }
    }

    /// What the worker has said: all of it, or about so many bytes.
    pub(super) fn hear(&mut self, bytes: usize) -> Vec<ToMaster> {
        let (mut said, mut left) = (Vec::new(), bytes);
        loop {
            let messages = match self.voice.hear(&mut left) {
                Heard::Silence => return said,
                Heard::Words(messages) | Heard::Garbled(messages, _) => messages,
            };
            for message in messages {
                match message {
                    Some(message) if self.voice.broken() != Some(Break::Garbled) => said.push(message),
                    Some(_) => {}
                    None => self.voice.refuse(),
                }
            }
        }
    }
}
