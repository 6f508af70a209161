//! Processes of apps: started from their virtualenv with the embedded host program, watched over two pipes
//! (`control::frame`): one from which they hear the master, one over which they tell it something.

mod command;
mod running;

use super::child::{Child, Held, Id, Origin, Role};
use super::environment::refused;
use super::generation::Generation;
use super::inquiry::Inquiry;
use super::output::Output;
use super::surroundings::Surroundings;
use crate::config::{App as Settings, HostProgram, Ready};
use crate::control::{app_socket, frame, text};
use crate::gateway::shared;
use crate::supervisor::ChildId;
use crate::sys::carried::Carried;
use crate::sys::listener::Bound;
use crate::sys::place::{Access, Place};
use crate::sys::process::{self, LaunchStep, Program};
use crate::sys::{channel, listener, rights, signals, socket, user};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use command::said as said_by_probe;

use command::Command;
use running::Running;

/// Bytes for the title of a process besides its other arguments.
const TITLE: usize = 256;

/// So many of the threads that a process waits for are named.
const NAMED: usize = 10;
/// With so many characters.
const LONGEST_NAME: usize = 100;

/// Bytes that wait for a process that does not listen, besides those in its pipe.
const WAITING: usize = 64 * 1024;

/// What the master holds of a process of an app.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct App {
    /// Name of the app.
    pub(super) name: String,
    /// Its pool on the board.
    pub(super) pool: u16,
    /// Its slot there.
    pub(super) slot: u16,
    /// Which process of its slot it is, on the board; unique in the slot.
    pub(super) incarnation: u32,
    /// Units: threads, or as many as share one stream to each worker.
    pub(super) units: u16,
    /// They share one.
    #[serde(default)]
    pub(super) shared: bool,
    /// How many there are if they turn out to.
    #[serde(default)]
    shared_units: u16,
    /// Rows of the workers that have tunnels to it.
    #[serde(default)]
    pub(super) tunnels: BTreeSet<u16>,
    /// It was told to drain: LEAVE is sent once no unit is claimed.
    pub(super) leaving: bool,
    /// It was told to end: nothing runs in it any more.
    pub(super) ending: bool,
    /// Threads that it waits for with that, as it says.
    lingering: Vec<String>,
    /// Its ready request runs; after an upgrade: is to run again.
    pub(super) inquired: bool,
    /// What it is asked before it serves; after an upgrade as the configuration says.
    #[serde(skip)]
    pub(super) ready: Option<Ready>,
    /// The ready request, while it runs.
    #[serde(skip)]
    pub(super) inquiry: Option<Inquiry>,
    /// Where it is told something; `None` once it does not listen.
    ear: Option<Carried<File>>,
    waiting: Vec<u8>,
    /// It was forked from a template: its memory is shared in part.
    pub(super) preloaded: bool,
    /// Longest time of a request.
    pub(super) timeout: Duration,
    /// Requests that run for long.
    pub(super) running: Running,
    /// When we have connected to it last.
    reached: Option<Time>,
    /// Where it listens.
    pub(super) socket: PathBuf,
    /// It runs by a command.
    #[serde(default)]
    pub(super) command: Option<Command>,
}

/// A process's ends of what we share with it.
#[derive(Debug)]
pub(super) struct Ends {
    /// Where it hears the master: a pipe to read.
    pub(super) hear: OwnedFd,
    /// Where it tells the master something: a pipe to write.
    pub(super) tell: OwnedFd,
    /// Where workers connect.
    pub(super) listener: OwnedFd,
    /// Where it prints.
    pub(super) output: OwnedFd,
}

/// Which process to start.
pub(super) struct Wanted<'a> {
    /// What it is started from.
    pub(super) generation: &'a Generation,
    /// Index of the app in the configuration.
    pub(super) app: usize,
    /// Its pool on the board.
    pub(super) pool: u16,
    /// Its slot.
    pub(super) slot: u16,
    /// Number of the generation, for the title.
    pub(super) number: u32,
    /// Its name for the supervisor.
    pub(super) child: ChildId,
    /// It says WORN after so many requests.
    pub(super) max_requests: Option<u32>,
    /// What would make its requests fail is a failure to boot.
    pub(super) strict: bool,
    /// Where its socket is made.
    pub(super) runtime_dir: &'a Path,
    /// Process ids of those who may connect to it: the workers that live.
    pub(super) workers: Vec<u32>,
}

/// Starts a process of an app.
///
/// # Errors
/// For the log: why there is no process.
pub(super) fn spawn(wanted: &Wanted<'_>) -> io::Result<Child> {
    let kind = &wanted.settings()?.kind;
    match (kind.program(), kind.command()) {
        (Some(host), _) => spawn_host(wanted, &host),
        (None, Some(command)) => command::spawn(wanted, command),
        (None, None) => Err(io::ErrorKind::NotFound.into()),
    }
}

fn spawn_host(wanted: &Wanted<'_>, host: &HostProgram<'_>) -> io::Result<Child> {
    let (held, ends) = prepare(wanted)?;
    let mut settings = host_settings(wanted)?;
    settings.extend(process_settings(wanted)?);
    settings.extend([("HEAR_FD", "3"), ("TELL_FD", "4"), ("LISTEN_FD", "5")].map(own));
    let Ends { hear, tell, listener, output } = ends;
    let program = program(wanted, host, &settings, vec![hear, tell, listener], output)?;
    let child =
        held.start(&program, origin(wanted.settings()?, host)).inspect_err(|_| remove(&wanted.socket()))?;
    program.descriptors.last().into_iter().for_each(expect_bodies);
    Ok(child)
}

/// Of a program of this app.
pub(super) fn origin(settings: &Settings, host: &HostProgram<'_>) -> Origin {
    Origin::Host(host.file.to_owned(), settings.chdir.clone())
}

fn own((name, value): (&'static str, &str)) -> (&'static str, String) {
    (name, value.to_owned())
}

/// Everything for a process but the process.
///
/// # Errors
/// For the log: what could not be opened.
pub(super) fn prepare(wanted: &Wanted<'_>) -> io::Result<(Held, Ends)> {
    let settings = wanted.settings()?;
    let socket = wanted.socket();
    let listener = listen(&socket, wanted.generation)?.socket.release();
    let (ear, hear) = channel::to_child()?;
    let (voice, tell) = channel::from_child()?;
    let (read, write) = channel::from_child()?;
    let mut app = App { ear: Some(ear.into()), ..App::new(wanted, settings) };
    wanted.workers.iter().for_each(|worker| app.admit(*worker));
    let name = format!("app {} {}", settings.name, wanted.slot);
    let output = Output::new(&settings.name, read).with_past();
    let held = Held::new(Id::Pool(wanted.child), name, Role::App(Box::new(app))).says(voice).prints(output);
    Ok((held, Ends { hear, tell, listener, output: write }))
}

impl Wanted<'_> {
    /// What the configuration says of the app.
    pub(super) fn settings(&self) -> io::Result<&Settings> {
        let settings = self.generation.config.apps.get(self.app);
        settings.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Children are numbered upwards for ever, so the incarnations in a slot grow.
    fn incarnation(&self) -> u32 {
        self.child.0 as u32
    }

    fn socket(&self) -> PathBuf {
        app_socket(self.runtime_dir, self.pool, self.slot, self.incarnation())
    }
}

/// The socket on which workers connect: theirs alone.
fn listen(path: &Path, generation: &Generation) -> io::Result<Bound> {
    let account = generation.account.as_ref();
    let (user, group) = account.map(|account| (account.uid, account.gid)).unzip();
    listener::unix(path, Access { mode: 0o600, user, group })
}

/// The process has its listening socket: from now on descriptors come over it, of bodies that were spooled to a file. Not
/// before, or closing the socket of a process that could not be started might have to close some.
pub(super) fn expect_bodies(listener: &OwnedFd) {
    rights::expect(listener.as_fd());
}

/// Removes the socket of a process.
fn remove(socket: &Path) {
    // One that stays goes with the directory.
    let _ = Place::of(socket).and_then(|place| place.unlink());
}

/// What every host is told of its app.
pub(super) fn host_settings(wanted: &Wanted<'_>) -> io::Result<Vec<(&'static str, String)>> {
    let settings = wanted.settings()?;
    let own = user::uid();
    let workers = wanted.generation.account.as_ref().map_or(own, |account| account.uid);
    let multiprocess = if settings.processes.max > 1 { "1" } else { "0" };
    let window = shared::window(settings.response_buffer.memory);
    Ok(vec![
        ("APP", settings.name.clone()),
        ("WINDOW", window.to_string()),
        ("MULTIPROCESS", multiprocess.to_owned()),
        ("STRICT", u8::from(wanted.strict).to_string()),
        ("STACKS_SIGNAL", signals::stacks().to_string()),
        ("USERS", format!("{workers},{own}")),
    ])
}

/// What it is told of this process.
pub(super) fn process_settings(wanted: &Wanted<'_>) -> io::Result<[(&'static str, String); 2]> {
    let name = &wanted.settings()?.name;
    Ok([
        ("MAX_REQUESTS", wanted.max_requests.unwrap_or(0).to_string()),
        ("TITLE", format!("hatchery: app {name} {} gen {}", wanted.slot, wanted.number)),
    ])
}

/// How a process or template of the app is started: with `more` settings, and `descriptors` at 3, 4, ….
pub(super) fn program(
    wanted: &Wanted<'_>,
    host: &HostProgram<'_>,
    more: &[(&'static str, String)],
    descriptors: Vec<OwnedFd>,
    output: OwnedFd,
) -> io::Result<Program> {
    let settings = wanted.settings()?;
    let mut around = Surroundings::of_app(
        settings,
        &wanted.generation.env_files,
        wanted.generation.app_account(wanted.app),
    )?;
    for (name, value) in host.settings.iter().chain(more) {
        around.environment.set(format!("HATCHERY_HOST_{name}"), value);
    }
    let file = host.file.as_os_str();
    // The last argument is room: the host writes its title over its arguments.
    let room = " ".repeat(TITLE);
    let arguments = host.arguments.iter().map(OsStr::new);
    let arguments: Vec<&OsStr> = [file].into_iter().chain(arguments).chain([OsStr::new(&room)]).collect();
    Ok(Program {
        stdin: Some(process::memory_file(host.input.as_bytes())?),
        descriptors,
        // The host leaves after the request that it runs.
        death_signal: Some(signals::SIGTERM),
        ..around.program(&arguments, output)?
    })
}

/// Why the program could not be started, for the operator.
pub(super) fn cannot_start(path: &Path, directory: &Path, step: LaunchStep, error: &io::Error) -> String {
    let python = path.display();
    match step {
        LaunchStep::Execute if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "cannot start the interpreter {python}: {error}; may the user it runs as execute it, and enter every \
             directory above it?"
        ),
        LaunchStep::Execute if path.is_symlink() && !path.exists() => format!(
            "cannot start the interpreter {python}: it is a link to a Python that is not there any more; make the \
             virtualenv again (python3 -m venv --clear DIR, and install its packages)"
        ),
        LaunchStep::Execute => format!(
            "cannot start the interpreter {python}: {error}; `home` must be a virtualenv (python3 -m venv DIR makes \
             one)"
        ),
        LaunchStep::Directory => {
            format!("cannot enter the directory {} (chdir): {error}", directory.display())
        }
        _ => refused("", step, error),
    }
}

impl App {
    fn new(wanted: &Wanted<'_>, settings: &Settings) -> Self {
        Self {
            name: settings.name.clone(),
            pool: wanted.pool,
            slot: wanted.slot,
            incarnation: wanted.incarnation(),
            units: settings.kind.units(),
            shared: false,
            shared_units: settings.kind.shared_units(),
            tunnels: BTreeSet::new(),
            leaving: false,
            ending: false,
            lingering: Vec::new(),
            inquired: false,
            ready: settings.ready.clone(),
            inquiry: None,
            ear: None,
            waiting: Vec::new(),
            timeout: settings.timeout,
            running: Running::default(),
            reached: None,
            preloaded: false,
            socket: wanted.socket(),
            command: None,
        }
    }

    /// Asks it to end.
    pub(super) fn stop_signal(&self) -> i32 {
        self.command.as_ref().map_or(signals::SIGTERM, |command| command.stop_signal)
    }

    /// Whether nothing holds it that was told to drain, besides requests in its units.
    pub(super) fn is_free_of_tunnels(&self) -> bool {
        self.tunnels.is_empty()
    }

    /// It serves, and its units share one stream to each worker.
    pub(super) fn shares(&mut self) {
        (self.shared, self.units) = (true, self.shared_units);
    }

    /// Its ear, as long as it listens, and whether something waits.
    pub(super) fn ear(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.ear.as_ref().map(|ear| (ear.as_fd(), !self.waiting.is_empty()))
    }

    /// It says, separated by NUL, for which of its threads it waits.
    pub(super) fn lingers(&mut self, names: &[u8]) {
        let names = String::from_utf8_lossy(names);
        self.lingering = names.split('\0').take(NAMED).map(named).collect();
    }

    /// What is known of why it does not end.
    pub(super) fn keeps_it(&self) -> String {
        match self.lingering.as_slice() {
            [] if self.command.is_some() => "it goes on after its stop signal".to_owned(),
            [] => "it hangs in its exit handlers (atexit), or in C".to_owned(),
            [name] => format!("it waits for its thread \"{name}\", which should be a daemon thread"),
            names => format!(
                "it waits for its threads \"{}\", which should be daemon threads",
                names.join("\", \"")
            ),
        }
    }

    /// A worker says that a request runs for long in a unit.
    pub(super) fn runs(&mut self, unit: u16, row: u16, since: Time, request: &str, now: Time) {
        if unit < self.units && self.running.runs(unit, row, since, request, now) {
            self.ask(unit, row);
        }
    }

    /// A worker says that a request has run for too long in a unit.
    pub(super) fn late(&mut self, unit: u16, row: u16, reason: &str, now: Time) {
        if unit < self.units && self.running.late(unit, row, reason, now) {
            self.ask(unit, row);
        }
    }

    /// FREE is wanted once no request of that worker runs in that unit.
    fn ask(&mut self, unit: u16, row: u16) {
        if let Some(command) = &mut self.command {
            return command.is_over(unit, row);
        }
        self.tell(frame::Kind::Ask, &[row.to_le_bytes(), unit.to_le_bytes()].concat());
    }

    /// The same, if the host has not been asked already.
    pub(super) fn ask_once(&mut self, unit: u16, row: u16) {
        if unit < self.units && self.running.ask(unit, row) {
            self.ask(unit, row);
        }
    }

    /// Whether workers can connect to it. A queue that is full says nothing: it does not take the next one at the moment.
    /// Tried once a second at most: workers could ask without end.
    pub(super) fn is_reachable(&mut self, now: Time) -> bool {
        if self.reached.is_some_and(|reached| now.since(reached) < Duration::from_secs(1)) {
            return true;
        }
        let reached = match &self.command {
            Some(command) => command.is_reachable(&self.socket),
            None => match socket::connect_unix(&self.socket, socket::Expect::Nothing) {
                // What listens there is what we bound.
                Ok(stream) => socket::peer_process(stream.as_fd()) == Some(std::process::id()),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            },
        };
        self.reached = reached.then_some(now);
        reached
    }

    /// No request is claimed any more: it may leave. False: it cannot be told.
    pub(super) fn leave(&mut self) -> bool {
        self.ending = true;
        self.tell(frame::Kind::Leave, &[]);
        self.ear.is_some()
    }

    /// A worker was reaped: FREE is wanted for what it left behind. Whether it had tunnels, for which the process may have waited.
    pub(super) fn worker_gone(&mut self, row: u16, now: Time) -> bool {
        self.running.gone(row, now);
        let had_tunnels = self.tunnels.remove(&row);
        if let Some(command) = &mut self.command {
            (0..self.units).for_each(|unit| command.is_over(unit, row));
        } else {
            self.tell(frame::Kind::Gone, &row.to_le_bytes());
        }
        had_tunnels
    }

    /// A worker was forked: it may connect.
    pub(super) fn admit(&mut self, worker: u32) {
        self.tell(frame::Kind::Admit, &worker.to_le_bytes());
    }

    /// A worker has ended, and is not reaped yet: nobody else has its number.
    pub(super) fn dismiss(&mut self, worker: u32) {
        self.tell(frame::Kind::Dismiss, &worker.to_le_bytes());
    }

    fn tell(&mut self, kind: frame::Kind, payload: &[u8]) {
        if self.command.is_some() {
            return;
        }
        if self.waiting.len() > WAITING {
            // It has not listened for thousands of messages.
            self.waiting.clear();
            self.ear = None;
        }
        if self.ear.is_some() {
            frame::push(&mut self.waiting, kind, 0, 0, payload);
            self.flush();
        }
    }

    /// It can be told more, or has closed its end.
    pub(super) fn writable(&mut self) {
        if self.waiting.is_empty() {
            self.ear = None;
        }
        self.flush();
    }

    /// Sends what waits, as far as it goes.
    fn flush(&mut self) {
        while let Some(ear) = &mut self.ear
            && !self.waiting.is_empty()
        {
            match ear.write(&self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.waiting.clear();
                    self.ear = None;
                }
            }
        }
    }

    /// It is no more, or will not be.
    pub(super) fn bury(self) {
        // The whole directory goes at the end anyway.
        match &self.command {
            Some(command) => command.bury(&self.socket),
            None => remove(&self.socket),
        }
    }
}

/// The name of a thread, for the log.
fn named(name: &str) -> String {
    text::line(name).chars().take(LONGEST_NAME).collect()
}
