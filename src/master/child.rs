//! The processes of the pools: what the master holds of each while it lives.

use super::Channel;
use super::Token;
use super::apps::{App, SavedApp};
use super::daemons::{Daemon, SavedDaemon};
use super::kept::{Keeping, Kept, SavedProcess, Taking};
use super::output::Output;
use super::spawn::Line;
use super::voice::{Heard, SavedVoice, Voice};
use crate::control::worker::{self, ToMaster, ToWorker};
use crate::supervisor::{Break, ChildId};
use crate::sys::poll::{Interest, Set};
use crate::sys::sandbox::Applied;
use crate::sys::{process, seqpacket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

/// A process of a pool.
#[derive(Debug)]
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

/// What an upgrade keeps of a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedChild {
    process: SavedProcess,
    pool: u16,
    slot: u16,
    killed: bool,
    role: SavedRole,
}

/// What an upgrade keeps of a role. A new kind of child is one more.
#[derive(Debug, Serialize, Deserialize)]
enum SavedRole {
    Worker(SavedWorker),
    App(Box<SavedApp>),
    Daemon(Box<SavedDaemon>),
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedWorker {
    row: u16,
    counted: u64,
    sandbox: Option<Applied>,
    ear: Kept,
    voice: SavedVoice,
    /// Second: whether the access log goes with the packet.
    waiting: VecDeque<(Vec<u8>, bool)>,
}

impl SavedChild {
    /// The child again; `log` goes with packets that had a descriptor.
    pub(super) fn restore(
        self,
        log: Option<&Rc<OwnedFd>>,
        descriptors: &mut Taking,
    ) -> Result<Child, String> {
        let role = match self.role {
            SavedRole::Worker(saved) => Role::Worker(Worker {
                row: saved.row,
                counted: saved.counted,
                sandbox: saved.sandbox,
                renewed: None,
                ear: descriptors.take(saved.ear)?,
                deaf: false,
                voice: saved.voice.restore(descriptors)?,
                waiting: saved
                    .waiting
                    .into_iter()
                    .map(|(packet, with_log)| (packet, log.filter(|_| with_log).cloned()))
                    .collect(),
            }),
            SavedRole::App(saved) => Role::App(Box::new(saved.restore(descriptors)?)),
            SavedRole::Daemon(saved) => Role::Daemon(Box::new(saved.restore(descriptors)?)),
        };
        let process = self.process.restore(descriptors)?;
        Ok(Child { process, pool: self.pool, slot: self.slot, killed: self.killed, role })
    }
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
#[derive(Debug)]
pub(super) enum Role {
    /// An event loop.
    Worker(Worker),
    /// A process of an app.
    App(Box<App>),
    /// A process of a daemon.
    Daemon(Box<Daemon>),
}

impl Child {
    /// For an upgrade.
    pub(super) fn save(&self, descriptors: &mut Keeping) -> SavedChild {
        let role = match &self.role {
            Role::Worker(worker) => SavedRole::Worker(SavedWorker {
                row: worker.row,
                counted: worker.counted,
                sandbox: worker.sandbox,
                ear: descriptors.keep(&worker.ear),
                voice: worker.voice.save(descriptors),
                waiting: worker.waiting.iter().map(|(packet, log)| (packet.clone(), log.is_some())).collect(),
            }),
            Role::App(app) => SavedRole::App(Box::new(app.save(descriptors))),
            Role::Daemon(daemon) => SavedRole::Daemon(Box::new(daemon.save(descriptors))),
        };
        SavedChild {
            process: SavedProcess::of(&self.process, descriptors),
            pool: self.pool,
            slot: self.slot,
            killed: self.killed,
            role,
        }
    }

    /// Whether the process of that id belongs to this child.
    pub(super) fn is(&self, pid: u32) -> bool {
        self.process.pid == pid || matches!(&self.role, Role::Daemon(daemon) if daemon.strays.have(pid))
    }

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
#[derive(Debug)]
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
    ear: OwnedFd,
    /// The worker has closed its end of `ear`.
    deaf: bool,
    /// What it says.
    voice: Voice<worker::Reader>,
    /// Packets that did not fit the socket.
    waiting: VecDeque<(Vec<u8>, Option<Rc<OwnedFd>>)>,
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
            ear,
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
    pub(super) fn tell(&mut self, message: ToWorker, descriptor: Option<&Rc<OwnedFd>>) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back((message.encode(), descriptor.cloned()));
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
