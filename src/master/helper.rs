//! The helper process (`crate::helper`): the program of this master, started as it is in memory, whatever has its name on
//! disk by now. When one runs, `renewal` decides; it does one order at a time. There is one for certificates and one for names
//! (`names`).

use super::child::{Child, Held, Id, Origin, Role};
use super::environment::Environment;
use super::generation::Generation;
use super::names;
use super::output::Output;
use super::voice::Reader;
use crate::control::command::{ChildStatus, PoolStatus};
use crate::control::helper::{self, Answer, Order};
use crate::secret;
use crate::supervisor::{Exit, Kill};
use crate::sys::carried::Carried;
use crate::sys::process::Program;
use crate::sys::resources::Resources;
use crate::sys::{channel, signals};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

/// As in titles and logs.
pub(super) const NAME: &str = "helper";

/// Of a debug build: what asks for the trap of `sys::sandbox` goes along.
const TRAP: &str = "HATCHERY_SANDBOX_TRAP";

/// What it may use of the machine: it is small, and speaks to strangers.
const LIMITS: Resources = Resources {
    open_files: Some(64),
    processes: None,
    address_space: Some(2 << 30),
    core: Some(0),
    oom_score_adj: None,
};

/// Our end of what it is told by.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Helper {
    started: Time,
    ear: Option<Carried<File>>,
    /// What did not fit the channel.
    waiting: Vec<u8>,
    /// Ports that it may connect to.
    pub(super) ports: BTreeSet<u16>,
}

impl Reader for helper::Reader {
    type Word = Answer;
    type Error = helper::Error;

    fn of(bytes: Vec<u8>) -> Self {
        bytes.into()
    }

    fn poll(&mut self) -> Result<Option<Answer>, helper::Error> {
        self.poll()
    }

    fn into_rest(self) -> Vec<u8> {
        self.into_rest()
    }
}

/// Starts it.
///
/// # Errors
/// For the log: why there is no process.
pub(super) fn spawn(generation: &Generation, id: Id, ports: BTreeSet<u16>, now: Time) -> io::Result<Child> {
    let name = if id == Id::Resolver { names::NAME } else { NAME };
    let (voice, tell) = channel::from_child()?;
    let (ear, hear) = channel::to_child()?;
    let (printed, output) = channel::from_child()?;
    let numbers = ports.iter().map(|port| format!("{port}"));
    let arguments = ["hatchery".to_owned(), NAME.to_owned()].into_iter().chain(numbers);
    let mut environment = Environment::clean();
    if cfg!(debug_assertions)
        && let Some(value) = std::env::var_os(TRAP)
    {
        environment.set(TRAP, value);
    }
    let program = Program {
        candidates: vec![c"/proc/self/exe".to_owned()],
        arguments: arguments.filter_map(|argument| CString::new(argument).ok()).collect(),
        environment: environment.strings(),
        directory: Some(c"/".to_owned()),
        or_in_root: false,
        account: generation.account.clone(),
        stdin: None,
        stdout: output.try_clone()?,
        stderr: output,
        descriptors: vec![hear, tell],
        resources: LIMITS,
        death_signal: Some(signals::SIGKILL),
        umask: None,
        told_pid: false,
    };
    let role = Role::Helper(Helper { started: now, ear: Some(ear.into()), waiting: Vec::new(), ports });
    Held::new(id, name.to_owned(), role)
        .says(voice)
        .prints(Output::new(name, printed))
        .start(&program, Origin::Command("/proc/self/exe".to_owned(), None))
}

/// What it says is not understood: its end follows.
pub(super) fn kill(child: &mut Child) {
    let (name, pid) = (&child.name, child.process.pid);
    log::warn!(target: "hatchery", "{name} (process {pid}): what it says is not understood; it is killed");
    child.kill(Kill::Kill);
}

/// It was reaped: tells of an end that nobody wanted.
pub(super) fn tell_end(name: &str, pid: u32, failure: Option<String>, exit: Exit, was_killed: bool) {
    let what = if name == names::NAME { "looks names up" } else { "orders certificates" };
    match failure {
        Some(why) => log::error!(target: "hatchery", "the {name}, which {what}, cannot be started: {why}"),
        None if was_killed || exit == Exit::Signal(signals::SIGTERM) => {}
        None => log::warn!(target: "hatchery", "{name} (process {pid}): ended: {exit}"),
    }
}

impl Helper {
    /// For `status`, as a pool of its own.
    pub(super) fn pool(&self, name: &str, pid: u32, is_ready: bool, now: Time) -> PoolStatus {
        let state = if is_ready { "ready" } else { "booting" }.to_owned();
        let uptime_seconds = now.since(self.started).as_secs();
        PoolStatus {
            name: name.to_owned(),
            kind: name.to_owned(),
            state: if is_ready { "ready" } else { "starting" }.to_owned(),
            processes: (0, 1),
            children: vec![ChildStatus { pid, state, uptime_seconds, ..ChildStatus::default() }],
            ..PoolStatus::default()
        }
    }

    /// Where it is told something, as long as it listens, and whether something waits.
    pub(super) fn ear(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.ear.as_ref().map(|ear| (ear.as_fd(), !self.waiting.is_empty()))
    }

    /// Gives it an order.
    pub(super) fn tell(&mut self, order: &Order) {
        secret::extend(&mut self.waiting, &helper::encode(order).0);
        self.flush();
    }

    /// Sends what waits, as far as it goes. One that does not listen any more ends soon.
    pub(super) fn flush(&mut self) {
        while let Some(ear) = self.ear.as_mut().filter(|_| !self.waiting.is_empty()) {
            match ear.write(&self.waiting) {
                Ok(length) => {
                    let rest = self.waiting.split_off(length.min(self.waiting.len()));
                    secret::wipe(&mut std::mem::replace(&mut self.waiting, rest));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.ear = None,
            }
        }
    }
}
