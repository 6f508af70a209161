//! The upgrade as the running master sees it: the trial of the new program, and its execution in place with the state
//! (`saved`). The other side is in `trial` and `resume`; the rules are in docs/decisions/0010-upgrade.md.

use super::Master;
use super::child::{Held, Id, Origin, Role};
use super::environment::{Environment, string};
use super::order::Order;
use super::output::Output;
use super::saved::{Header, Saved};
use crate::supervisor::{Exit, Input, Kill};
use crate::sys::exec::{self, Image};
use crate::sys::process::{self, Program};
use crate::sys::resources::Resources;
use crate::sys::{carried, channel, signals};
use crate::timer::Time;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// What the trial prints is shown under this name.
const NAME: &str = "upgrade trial";

/// The programs.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Where the next program will be.
    pub(super) program: Option<PathBuf>,
    /// This one, to be executed again by one that cannot start.
    executable: OwnedFd,
    /// How this one was started.
    arguments: Vec<OsString>,
    /// The supervisor has decided: at the end of this turn.
    pub(super) execute: bool,
}

impl Upgrade {
    /// At the start: the next program will be where this one is.
    ///
    /// # Errors
    /// For the operator.
    pub(super) fn new() -> Result<Self, String> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let program = exec::place(arguments.first().map(OsString::as_os_str));
        Self::resume(program, arguments)
    }

    /// With the place and arguments that were found at the start, whatever a script between two programs has added.
    ///
    /// # Errors
    /// For the operator.
    pub(super) fn resume(program: Option<PathBuf>, arguments: Vec<OsString>) -> Result<Self, String> {
        let executable = exec::own().map_err(|error| format!("cannot open /proc/self/exe: {error}"))?;
        Ok(Self { program, executable, arguments, execute: false })
    }

    fn place(&self) -> io::Result<&Path> {
        let unknown = || io::Error::other("where the program is could not be found out at the start");
        self.program.as_deref().ok_or_else(unknown)
    }
}

/// The trial has ended: whether it has shown that the new program works.
pub(super) fn verdict(is_ready: bool, failure: Option<String>, exit: Exit) -> Result<(), String> {
    match (failure, exit) {
        (Some(reason), _) => Err(reason),
        (None, Exit::Code(0)) if is_ready => Ok(()),
        (None, Exit::Code(0)) => Err("it left without READY".to_owned()),
        (None, exit) => Err(exit.to_string()),
    }
}

impl Master {
    /// Starts the trial.
    pub(super) fn try_program(&mut self, now: Time) {
        self.notify.reloading(now);
        if let Err(error) = self.begin_trial() {
            let reason = format!("it cannot be started: {error}");
            self.supervisor.on(Input::Tried(Err(reason)), now);
        }
    }

    fn begin_trial(&mut self) -> io::Result<()> {
        let (state, _) = self.state(&[])?;
        let path = self.upgrade.place()?;
        log::info!(target: "hatchery", "upgrade: trying {}", path.display());
        let (read, report) = channel::from_child()?;
        let (printed, output) = channel::from_child()?;
        let mut descriptors = vec![report, process::memory_file(&state)?];
        for socket in self.current.sockets() {
            descriptors.push(socket.descriptor().try_clone_to_owned()?);
        }
        let mut environment = Environment::ours();
        environment.set(Order::VARIABLE, Order::Try.to_string());
        let program = Program {
            candidates: string(path.as_os_str()).into_iter().collect(),
            arguments: self.upgrade.arguments.iter().filter_map(|argument| string(argument)).collect(),
            environment: environment.strings(),
            directory: None,
            or_in_root: false,
            account: None,
            stdin: None,
            stdout: output.try_clone()?,
            stderr: output,
            descriptors,
            resources: Resources::default(),
            death_signal: Some(signals::SIGKILL),
            umask: None,
            told_pid: false,
        };
        let origin = Origin::Command(path.display().to_string(), None);
        let trial = Held::new(Id::Trial, NAME.to_owned(), Role::Trial)
            .says(read)
            .prints(Output::new(NAME, printed).with_past())
            .start(&program, origin)?;
        self.children.add(trial);
        Ok(())
    }

    /// Neither the answer of the trial is waited for any longer nor its end.
    pub(super) fn give_up_trial(&mut self, now: Time) {
        if let Some(trial) = self.children.find_mut(Id::Trial) {
            trial.kill(Kill::Kill);
            self.abandon(Id::Trial, now);
        }
    }

    /// The upgrade is over, one way or the other.
    pub(super) fn upgraded(&mut self) {
        let status = match self.supervisor.last_upgrade_error() {
            None => self.serves(),
            Some(reason) => {
                let reason: String = reason.chars().take(200).collect();
                format!("upgrade failed, generation {} goes on: {reason}", self.supervisor.generation())
            }
        };
        self.reload_ended(&status);
    }

    /// Executes the new program if the supervisor has decided so. Comes back only if that fails.
    pub(super) fn execute_if_told(&mut self, now: Time) {
        if !std::mem::take(&mut self.upgrade.execute) || self.exit.is_some() {
            return;
        }
        // From here to the new program's own handlers no signal may be lost: what comes waits in the kernel.
        let mask = signals::block_all();
        let came = self.signals.pending();
        let board = self.board();
        self.children.workers_mut().for_each(|(_, worker)| worker.requests = worker.answered(*board));
        let error = self.execute(&came);
        signals::restore(&mask);
        came.into_iter().for_each(|number| self.take_signal(number, now));
        self.supervisor.on(Input::Executed(Err(error.to_string())), now);
        self.settle(now);
    }

    fn execute(&self, came: &[i32]) -> io::Error {
        let prepare = || -> io::Result<(OwnedFd, Vec<RawFd>, &Path)> {
            let (state, numbers) = self.state(came)?;
            Ok((process::memory_file(&state)?, numbers, self.upgrade.place()?))
        };
        let (state, mut numbers, path) = match prepare() {
            Ok(prepared) => prepared,
            Err(error) => return error,
        };
        let order = Order::resume(state.as_raw_fd(), self.upgrade.executable.as_raw_fd(), std::process::id());
        numbers.extend([state.as_raw_fd(), self.upgrade.executable.as_raw_fd()]);
        let mut environment = Environment::ours();
        environment.set(Order::VARIABLE, order.to_string());
        let arguments: Vec<CString> =
            self.upgrade.arguments.iter().filter_map(|argument| string(argument)).collect();
        log::info!(target: "hatchery", "upgrade: executing {}", path.display());
        exec::become_image(Image::Path(path), &arguments, &environment.strings().0, &numbers)
    }

    /// The state as it travels, and the descriptors that go with it.
    pub(super) fn state(&self, came: &[i32]) -> io::Result<(Vec<u8>, Vec<RawFd>)> {
        let (state, descriptors) = carried::written(|| serde_json::value::to_raw_value(self));
        let sockets = self.current.sockets();
        let saved = Saved {
            header: Header::own(self.upgrade.arguments.clone()),
            program: self.upgrade.program.clone(),
            file: self.start.file.clone(),
            identity: self.start.identity.clone(),
            signals: came.to_vec(),
            descriptors: descriptors.clone(),
            board: self.board_file.as_raw_fd(),
            sockets: sockets.iter().map(|socket| socket.descriptor().as_raw_fd()).collect(),
            state: state?,
        };
        Ok((serde_json::to_vec(&saved)?, descriptors))
    }
}
