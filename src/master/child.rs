//! The processes of the master, in one table: whatever it has started or adopted, from its start until it is reaped. What they
//! have in common is a [`Child`]; what differs is its [`Role`].
//!
//! | role | decided about by ([`Id`]) | says | hears | prints |
//! |---|---|---|---|---|
//! | worker | `supervisor` | `control::worker` | packets, with descriptors | |
//! | process of an app | `supervisor` | frames | frames | to the log |
//! | probe of a process of an app | `supervisor`, that process | | | why it does not serve |
//! | gate of an app | `supervisor` | | | to the log |
//! | process of a daemon | `supervisor` | | | to the log |
//! | template | `supervisor::templates` | frames | packets, with descriptors | to the log |
//! | run of a cron job | `cron` | | | to the log |
//! | trial of an upgrade | `supervisor` | a frame | | to the log |
//! | helper | `renewal` | `control::helper` | the same | to the log |
//! | given up: KILL has not ended it | as before | | | |

use super::apps::{self, App};
use super::daemons::Daemon;
use super::environment;
use super::helper::Helper;
use super::journal::Journal;
use super::output::Output;
use super::template::Template;
use super::voice::Voice;
use super::{Channel, Token};
use crate::control::command::LogStatus;
use crate::control::worker::ToWorker;
use crate::cron::RunId;
use crate::dispatch::Board;
use crate::supervisor::templates::Key;
use crate::supervisor::{Break, ChildId, Exit, Kill};
use crate::sys::carried::Carried;
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{self, Launch, LaunchStep, Program};
use crate::sys::sandbox::Applied;
use crate::sys::{seqpacket, signals};
use crate::timer::Time;
use nix::libc;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The table, by process id: no other process has it until the child is reaped.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Children(BTreeMap<u32, Child>);

/// A process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Child {
    /// The process.
    pub(super) process: process::Child,
    /// We sent it a SIGKILL.
    pub(super) killed: bool,
    /// While it is not known whether its program could be started.
    pub(super) launch: Option<(Launch, Origin)>,
    /// Why it is of no use, of one that is told of at its end only.
    pub(super) failure: Option<String>,
    /// It said that it is ready, or why it is not.
    pub(super) answered: bool,
    /// It said that its requests will fail.
    pub(super) troubled: bool,
    /// What there was before the process.
    pub(super) held: Held,
}

/// What the master holds of a process besides the process, and before there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// Who decides about it.
    pub(super) id: Id,
    /// As in titles and logs.
    pub(super) name: String,
    /// What it says.
    pub(super) voice: Option<Voice>,
    /// What it prints.
    pub(super) output: Option<Output>,
    /// What it is.
    pub(super) role: Role,
}

/// Which core decides about a child, and the child's name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Id {
    /// In a pool: the supervisor.
    Pool(ChildId),
    /// `supervisor::templates`.
    Template(Key),
    /// `cron`.
    Run(RunId),
    /// The supervisor, of which there is one at a time.
    Trial,
    /// Of a process in a pool: what it finds out is about that.
    Probe(ChildId),
    /// `renewal`, of which there is one at a time.
    Helper,
    /// The same for names.
    Resolver,
}

/// What a child is, with what the master holds of no other kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Role {
    /// An event loop.
    Worker(Worker),
    /// A process of an app.
    App(Box<App>),
    /// Finds out whether a process of a command serves, and says why not.
    Probe(Carried<File>),
    /// A command that must succeed before an app boots.
    Gate,
    /// A process of a daemon.
    Daemon(Daemon),
    /// What an app's processes are forked from.
    Template(Template),
    /// A run of a cron job.
    Run,
    /// Shows that a new program works.
    Trial,
    /// Orders certificates, or looks names up.
    Helper(Helper),
    /// Nothing waits for it any more (`abandoned`). Of a worker: its row, which nobody else may have while it is there.
    GivenUp(Option<u16>),
}

/// What a program is started from, to say what is wrong if it cannot be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The interpreter of an app, and where it runs.
    Host(PathBuf, PathBuf),
    /// A command; the home of its user, if that is where it is to run.
    Command(String, Option<PathBuf>),
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

impl Children {
    /// From now on it is one of ours.
    pub(super) fn add(&mut self, child: Child) {
        self.insert(child.process.pid, child);
    }

    /// What a core calls so: not what was given up.
    pub(super) fn find(&self, id: Id) -> Option<&Child> {
        self.values().find(|child| child.is(id))
    }

    /// The same.
    pub(super) fn find_mut(&mut self, id: Id) -> Option<&mut Child> {
        self.values_mut().find(|child| child.is(id))
    }

    /// The worker of that name.
    pub(super) fn worker_mut(&mut self, id: ChildId) -> Option<&mut Worker> {
        self.find_mut(Id::Pool(id))?.role.worker_mut()
    }

    /// The process of an app of that name.
    pub(super) fn app_mut(&mut self, id: ChildId) -> Option<&mut App> {
        self.find_mut(Id::Pool(id))?.role.app_mut()
    }

    /// All workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = (ChildId, &Worker)> {
        self.values().filter_map(|child| Some((child.id.in_pool()?, child.role.worker()?)))
    }

    /// The same.
    pub(super) fn workers_mut(&mut self) -> impl Iterator<Item = (ChildId, &mut Worker)> {
        self.values_mut().filter_map(|child| Some((child.id.in_pool()?, child.held.role.worker_mut()?)))
    }

    /// All processes of apps.
    pub(super) fn apps(&self) -> impl Iterator<Item = (ChildId, &App)> {
        self.values().filter_map(|child| Some((child.id.in_pool()?, child.role.app()?)))
    }

    /// The same.
    pub(super) fn apps_mut(&mut self) -> impl Iterator<Item = (ChildId, &mut App)> {
        self.values_mut().filter_map(|child| Some((child.id.in_pool()?, child.held.role.app_mut()?)))
    }
}

impl Deref for Children {
    type Target = BTreeMap<u32, Child>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Children {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Deref for Child {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl DerefMut for Child {
    fn deref_mut(&mut self) -> &mut Held {
        &mut self.held
    }
}

impl Held {
    /// Says nothing and prints nothing.
    pub(super) fn new(id: Id, name: String, role: Role) -> Self {
        Self { id, name, voice: None, output: None, role }
    }

    /// Says something over a channel of which this is our end.
    pub(super) fn says(self, pipe: OwnedFd) -> Self {
        Self { voice: Some(Voice::new(pipe)), ..self }
    }

    /// Prints.
    pub(super) fn prints(self, output: Output) -> Self {
        Self { output: Some(output), ..self }
    }

    /// Starts the program.
    ///
    /// # Errors
    /// For the log: why there is no process.
    pub(super) fn start(self, program: &Program, origin: Origin) -> io::Result<Child> {
        let (process, launch) = process::spawn(program)?;
        Ok(Child { launch: Some((launch, origin)), ..self.born(process) })
    }

    /// This is the process.
    pub(super) fn born(self, process: process::Child) -> Child {
        Child {
            process,
            killed: false,
            launch: None,
            failure: None,
            answered: false,
            troubled: false,
            held: self,
        }
    }
}

impl Child {
    /// Whether a core calls it so.
    fn is(&self, id: Id) -> bool {
        self.id == id && !self.is_given_up()
    }

    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.role, Role::GivenUp(_))
    }

    /// Waits until the child tells or prints something, or can be told what waits for it.
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        let token = |channel| Token::Child(self.process.pid, channel);
        if let Some((launch, _)) = &self.launch {
            set.add(launch.descriptor().as_fd(), token(Channel::Launch), Interest::READ);
        }
        if let Some(voice) = self.voice.as_ref().and_then(Voice::descriptor) {
            set.add(voice, token(Channel::Control), Interest::READ);
        }
        if let Some((ear, waits)) = self.role.ear() {
            // poll(2) tells in any case that the child has closed its end.
            set.add(ear, token(Channel::Ear), Interest { read: false, write: waits });
        }
        if let Some(inquiry) = self.role.app().and_then(|app| app.inquiry.as_ref()) {
            inquiry.watch(token(Channel::Inquiry), set);
        }
        if let Some(output) = &self.output {
            output.watch(set, token(Channel::Output));
        }
    }

    /// Its name, and what it prints.
    pub(super) fn output_mut(&mut self) -> Option<(&String, &mut Output)> {
        let Held { name, output, .. } = &mut self.held;
        output.as_mut().map(|output| (&*name, output))
    }

    /// Logs what it has printed.
    pub(super) fn print(&mut self, journal: &mut Journal, now: Time) {
        if let Some((name, output)) = self.output_mut() {
            output.read(name, journal, now);
        }
    }

    /// It can be told more, or has closed its end.
    pub(super) fn writable(&mut self) {
        match &mut self.role {
            Role::Worker(worker) => worker.writable(),
            Role::App(app) => app.writable(),
            Role::Helper(helper) => helper.flush(),
            _ => {}
        }
    }

    /// How the channel to it has ended, if it has.
    pub(super) fn broken(&self) -> Option<Break> {
        let hears = match &self.role {
            Role::Worker(_) => true,
            Role::App(app) => app.command.is_none(),
            _ => false,
        };
        let deaf = hears && self.role.ear().is_none();
        self.voice.as_ref().and_then(Voice::broken).or(deaf.then_some(Break::Closed))
    }

    /// It says that it is ready, or why it is not: whether it had not before.
    pub(super) fn answers(&mut self) -> bool {
        self.forget_past();
        !std::mem::replace(&mut self.answered, true)
    }

    fn forget_past(&mut self) {
        self.output.iter_mut().for_each(Output::forget_past);
    }

    /// Why its program could not be started, once that is known.
    pub(super) fn launched(&mut self) -> Option<String> {
        let outcome = self.launch.as_mut()?.0.outcome()?;
        let (launch, origin) = self.launch.take()?;
        if let Origin::Command(_, Some(home)) = &origin
            && launch.is_astray()
        {
            log::warn!(
                target: "hatchery",
                "{}: runs in `/`, as the home of its user, `{}`, does not exist; give it `chdir`",
                self.name,
                home.display()
            );
        }
        let (step, error) = outcome?;
        self.forget_past();
        Some(origin.failed(step, &error))
    }

    /// It was reaped: why, as far as what it printed tells, if it had not answered.
    pub(super) fn last_words(&mut self, exit: Exit, journal: &mut Journal, now: Time) -> Option<String> {
        let (name, output) = self.output_mut()?;
        output.read_last(name, journal, now);
        let mut said = output.tail();
        let ended = match self.role {
            Role::Gate if exit == Exit::Code(0) => return None,
            Role::Gate => {
                said = tail(&said);
                exit.to_string()
            }
            _ => format!("ended before it was ready ({exit})"),
        };
        (!said.trim().is_empty()).then(|| format!("{ended}; it had printed:\n{}", said.trim_end()))
    }

    /// Ends it.
    pub(super) fn kill(&mut self, how: Kill) {
        self.killed |= how == Kill::Kill;
        let (signal, group) = match (how, &self.role) {
            (Kill::Term, Role::Daemon(daemon)) => (daemon.stop_signal, false),
            (Kill::Term, Role::App(app)) => (app.stop_signal(), false),
            // A shell does not pass signals on to what it runs.
            (Kill::Term, Role::Run | Role::Gate) => (signals::SIGTERM, true),
            (Kill::Term, _) => (signals::SIGTERM, false),
            (Kill::Abort, _) => (signals::SIGABRT, false),
            (Kill::Kill, _) => (signals::SIGKILL, true),
        };
        self.signal(signal, group);
    }

    /// Sends it, or its group, a signal.
    pub(super) fn signal(&self, signal: i32, group: bool) {
        if let Err(error) = process::signal(&self.process, signal, group) {
            log::debug!(target: "hatchery", "cannot signal {}: {error}", self.name);
        }
    }
}

/// The last lines of what a gate printed: its log has the rest.
fn tail(said: &str) -> String {
    const MOST: usize = 2048;
    let Some(start) = said.trim_end().len().checked_sub(MOST) else { return said.to_owned() };
    let last = (start..said.len()).find_map(|at| said.get(at..)).unwrap_or_default();
    // A line that is longer has its end.
    let whole = last.trim_end().split_once('\n').map_or(last, |(_, whole)| whole);
    format!("[…]\n{whole}")
}

impl Id {
    /// Its name if it is in a pool.
    pub(super) fn in_pool(self) -> Option<ChildId> {
        if let Self::Pool(child) = self { Some(child) } else { None }
    }
}

impl Role {
    pub(super) fn worker(&self) -> Option<&Worker> {
        if let Self::Worker(worker) = self { Some(worker) } else { None }
    }

    pub(super) fn worker_mut(&mut self) -> Option<&mut Worker> {
        if let Self::Worker(worker) = self { Some(worker) } else { None }
    }

    pub(super) fn app(&self) -> Option<&App> {
        if let Self::App(app) = self { Some(app) } else { None }
    }

    pub(super) fn app_mut(&mut self) -> Option<&mut App> {
        if let Self::App(app) = self { Some(app) } else { None }
    }

    pub(super) fn template(&self) -> Option<&Template> {
        if let Self::Template(template) = self { Some(template) } else { None }
    }

    /// Where it is told something, as long as it listens, and whether something waits.
    fn ear(&self) -> Option<(BorrowedFd<'_>, bool)> {
        match self {
            Self::Worker(worker) => worker.ear(),
            Self::App(app) => app.ear(),
            Self::Helper(helper) => helper.ear(),
            _ => None,
        }
    }
}

impl Origin {
    fn failed(&self, step: LaunchStep, error: &io::Error) -> String {
        match self {
            Self::Host(python, directory) => apps::cannot_start(python, directory, step, error),
            Self::Command(command, _) => environment::refused(command, step, error),
        }
    }
}

/// What the master shares with a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Worker {
    /// Its row on the board.
    pub(super) row: u16,
    /// The generation whose configuration it has.
    pub(super) generation: u32,
    /// Number of the credentials that it goes by.
    pub(super) credentials: u64,
    /// It is to have newer ones than it was handed.
    needy: bool,
    /// The newest that it is to have.
    newest: u64,
    /// Requests that it had answered before the last upgrade.
    pub(super) requests: u64,
    /// What of the sandbox took effect in it, once it has said so.
    pub(super) sandbox: Option<Applied>,
    /// When a process of an app was last renewed on this worker's word alone.
    pub(super) renewed: Option<Time>,
    /// Logs that it cannot write, as it says.
    #[serde(default)]
    pub(super) logs: Vec<LogStatus>,
    /// Where it is told something: a socket, as descriptors go with it.
    ear: Carried,
    /// The worker has closed its end of `ear`.
    deaf: bool,
    /// Packets that did not fit the socket; none twice, as it would mean the same.
    waiting: VecDeque<Vec<u8>>,
    /// Paths of access logs that were opened again, which it has as they were. They come after what waits.
    #[serde(default)]
    stale: BTreeSet<Option<PathBuf>>,
    /// So many descriptors are under way that the kernel takes no more from us (ETOOMANYREFS, unix(7)). Nothing wakes us
    /// when it does again.
    #[serde(skip)]
    crowded: bool,
}

/// Logs of one worker that are told of.
const LOGS: usize = 64;

impl Worker {
    /// A worker that hears us by `ear`.
    pub(super) fn new(row: u16, generation: u32, credentials: u64, ear: OwnedFd) -> Self {
        Self {
            row,
            generation,
            credentials,
            needy: false,
            newest: credentials,
            requests: 0,
            sandbox: None,
            renewed: None,
            logs: Vec::new(),
            ear: ear.into(),
            deaf: false,
            waiting: VecDeque::new(),
            stale: BTreeSet::new(),
            crowded: false,
        }
    }

    /// How many requests it has answered, as far as it can be read.
    pub(super) fn answered(&self, board: Board<'_>) -> u64 {
        board.requests(self.row).unwrap_or(self.requests)
    }

    /// What it says of a log.
    pub(super) fn log(&mut self, status: LogStatus) {
        self.logs.retain(|known| (&known.log, &known.path) != (&status.log, &status.path));
        if status.lines > 0 && self.logs.len() < LOGS {
            self.logs.push(status);
        }
    }

    /// Its ear, as long as it listens, and whether something waits for it to read.
    fn ear(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let waits = !self.waiting.is_empty() || (self.lacks() && !self.crowded);
        (!self.deaf).then(|| (self.ear.as_fd(), waits))
    }

    /// Sends a message.
    pub(super) fn tell(&mut self, message: &ToWorker) {
        let packet = message.encode();
        if !self.waiting.contains(&packet) {
            self.waiting.push_back(packet);
        }
        self.flush();
    }

    /// The worker can be told more, or has closed its end.
    fn writable(&mut self) {
        self.deaf |= self.waiting.is_empty() && !self.lacks();
        self.flush();
    }

    /// Sends what waits, as far as it goes.
    fn flush(&mut self) {
        while let Some(packet) = self.waiting.pop_front() {
            if let Err(error) = self.send(&packet, None) {
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.waiting.push_front(packet);
                }
                return;
            }
        }
    }

    /// Something is to be sent with a descriptor.
    fn lacks(&self) -> bool {
        self.needy || !self.stale.is_empty()
    }

    /// The credentials of this number are the newest.
    pub(super) fn needs(&mut self, serial: u64) {
        self.needy |= serial > self.newest && !self.deaf;
        self.newest = serial;
    }

    /// Whether it can be told anything.
    pub(super) fn hears(&self) -> bool {
        !self.deaf
    }

    /// Whether it has not been handed the newest.
    pub(super) fn is_needy(&self) -> bool {
        self.needy
    }

    /// Hands it the newest credentials, which are in this file, if it can be told something now.
    pub(super) fn hand_over(&mut self, file: BorrowedFd<'_>) {
        if self.waiting.is_empty() {
            let message = ToWorker::Credentials { serial: self.newest };
            let sent = self.send(&message.encode(), Some(file));
            self.crowded = sent.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ETOOMANYREFS));
            self.needy &= sent.is_err();
        }
    }

    /// No descriptor can be sent to it for now, and nothing tells when one can.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// The access logs of these paths were opened again.
    pub(super) fn reopened(&mut self, paths: impl Iterator<Item = Option<PathBuf>>) {
        self.stale.extend(paths);
    }

    /// The access logs that it has as they were because no descriptor can be sent.
    pub(super) fn lacking(&self) -> Option<&BTreeSet<Option<PathBuf>>> {
        Some(&self.stale).filter(|stale| self.crowded && !stale.is_empty())
    }

    /// Sends it the access logs that were opened again, as far as it goes. What is among `logs` no more nobody needs.
    pub(super) fn send_logs(&mut self, logs: &BTreeMap<Option<&Path>, BorrowedFd<'_>>) {
        while self.waiting.is_empty()
            && let Some(path) = self.stale.pop_first()
        {
            let Some(log) = logs.get(&path.as_deref()) else { continue };
            let message = ToWorker::AccessLog { path: path.clone() };
            if let Err(error) = self.send(&message.encode(), Some(*log)) {
                self.crowded = error.raw_os_error() == Some(libc::ETOOMANYREFS);
                if self.crowded || error.kind() == io::ErrorKind::WouldBlock {
                    self.stale.insert(path);
                }
                return;
            }
        }
        self.crowded &= self.lacks();
    }

    /// A worker that cannot be told anything any more is deaf.
    fn send(&mut self, packet: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let sent = seqpacket::send(self.ear.as_fd(), packet, descriptor);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
            && error.raw_os_error() != Some(libc::ETOOMANYREFS)
        {
            self.waiting.clear();
            self.stale.clear();
            self.needy = false;
            self.deaf = true;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(pid: u32, id: Id, role: Role) -> Child {
        Held::new(id, format!("child {pid}"), role).born(process::Child { pid, handle: None })
    }

    #[test]
    fn a_core_reaches_what_it_has_not_given_up_and_only_by_its_own_name() {
        let mut children = Children::default();
        let (run, worker) = (Id::Run(RunId(5)), Id::Pool(ChildId(5)));
        children.add(child(1, run, Role::GivenUp(None)));
        children.add(child(2, worker, Role::GivenUp(Some(3))));
        assert!(children.find(run).is_none() && children.find_mut(worker).is_none());
        children.add(child(4, run, Role::Run));
        let text = serde_json::to_string(&children).unwrap();
        let children: Children = serde_json::from_str(&text).unwrap();
        assert_eq!(children.find(run).map(|child| child.process.pid), Some(4), "after an upgrade, too");
        assert_eq!((children.len(), children.workers().count(), children.apps().count()), (3, 0, 0));
        assert!(matches!(children[&2].role, Role::GivenUp(Some(3))), "its row is still taken");
    }

    #[test]
    fn of_what_a_gate_printed_the_last_lines_are_told() {
        assert_eq!(tail("one\ntwo\n"), "one\ntwo\n");
        let lines: Vec<String> = (0..1000).map(|number| format!("é {number}\n")).collect();
        let told = tail(&lines.concat());
        assert!(told.len() < 2100 && told.starts_with("[…]\né ") && told.ends_with("é 999"), "{told}");
        assert!(tail(&"é".repeat(5000)).len() > 2000);
    }

    #[test]
    fn what_a_child_printed_tells_why_it_ended_until_it_has_answered() {
        let (read, write) = crate::sys::channel::from_child().unwrap();
        io::Write::write_all(&mut std::fs::File::from(write), b"Traceback\n").unwrap();
        let held = Held::new(Id::Trial, "trial".to_owned(), Role::Trial);
        let held = held.prints(Output::new("trial", read).with_past());
        let mut child = held.born(process::Child { pid: 1, handle: None });
        let (mut journal, now) = (Journal::default(), Time(1_000_000_000));
        let words = child.last_words(Exit::Code(3), &mut journal, now).unwrap();
        assert_eq!(words, "ended before it was ready (exit 3); it had printed:\nTraceback");
        assert!(child.answers() && !child.answers());
        assert_eq!(child.last_words(Exit::Code(3), &mut journal, now), None);
    }

    /// What a worker hears while its master goes on sending: paths, and whether a descriptor came along.
    fn heard(
        worker: &mut Worker,
        ear: &OwnedFd,
        logs: &BTreeMap<Option<&Path>, BorrowedFd<'_>>,
    ) -> Vec<(ToWorker, bool)> {
        let mut packet = [0; 256];
        let mut heard = Vec::new();
        while let Ok((length, descriptor)) = seqpacket::receive(ear.as_fd(), &mut packet) {
            heard.push((ToWorker::decode(&packet[..length]).unwrap(), descriptor.is_some()));
            worker.flush();
            worker.send_logs(logs);
        }
        heard
    }

    #[test]
    fn a_worker_gets_all_logs_each_once_and_orders_before_them() {
        let (ours, ear) = seqpacket::pair().unwrap();
        let mut worker = Worker::new(0, 1, 0, ours);
        let null = std::fs::File::open("/dev/null").unwrap();
        let paths: Vec<PathBuf> = (0..2000).map(|number| format!("/{number}.log").into()).collect();
        let logs = paths.iter().map(|path| (Some(path.as_path()), null.as_fd())).collect();
        worker.reopened(paths.iter().cloned().map(Some));
        worker.send_logs(&logs);
        let sent = paths.len() - worker.stale.len();
        assert!(sent > 0 && worker.ear().unwrap().1 && worker.lacking().is_none(), "{sent}");
        worker.reopened(paths.iter().cloned().map(Some).chain([Some("/gone.log".into())]));
        [ToWorker::Rearm, ToWorker::Open, ToWorker::Rearm].iter().for_each(|message| worker.tell(message));
        let mut heard = heard(&mut worker, &ear, &logs);
        assert!(!worker.ear().unwrap().1);
        let orders = [(ToWorker::Rearm, false), (ToWorker::Open, false)];
        assert_eq!(heard.drain(sent..sent + 2).collect::<Vec<_>>(), orders);
        assert_eq!(heard.len(), sent + paths.len());
        let told = |path: &PathBuf| (ToWorker::AccessLog { path: Some(path.clone()) }, true);
        assert!(paths.iter().map(told).all(|told| heard[sent..].contains(&told)));
    }

    #[test]
    fn descriptors_under_way_hold_up_logs_but_no_orders_and_make_nobody_deaf() {
        use crate::sys::process::{Ended, fork_of_test, wait};
        use nix::sys::resource::{Resource, setrlimit};
        let ended = fork_of_test(|_| {
            setrlimit(Resource::RLIMIT_NOFILE, 50, 50).unwrap();
            // Root is not held up, and another user has none under way.
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setuid(54_321.into()).unwrap();
            }
            let (ours, ear) = seqpacket::pair().unwrap();
            let mut worker = Worker::new(0, 1, 0, ours);
            let null = std::fs::File::open("/dev/null").unwrap();
            let paths: Vec<PathBuf> = (0..100).map(|number| format!("/{number}.log").into()).collect();
            let logs = paths.iter().map(|path| (Some(path.as_path()), null.as_fd())).collect();
            worker.reopened(paths.iter().cloned().map(Some));
            worker.send_logs(&logs);
            assert!(worker.lacking().is_some_and(|lacking| lacking.len() >= 40));
            assert!(!worker.ear().unwrap().1, "it could be written to without end");
            worker.tell(&ToWorker::Open);
            assert!(worker.waiting.is_empty() && worker.lacking().is_some());
            assert_eq!(heard(&mut worker, &ear, &logs).len(), 101);
            assert!(worker.lacking().is_none() && worker.ear().is_some());
            0
        });
        assert_eq!(wait(&ended.unwrap()).unwrap(), Ended::Code(0));
    }
}
