//! The master: owns the listening sockets, the board and every child; never touches a client byte. What happens
//! becomes an `Input` of the pure `supervisor`, what that decides is carried out here. Nothing in it sleeps, and nothing
//! waits for one child.
//!
//! | file | what |
//! |---|---|
//! | `turn` | wait, one input after the other, then the supervisor's outputs |
//! | `perform` | one small method for each output |
//! | `signals` | signals to inputs; reaping |
//! | `said` | what children say, to inputs |
//! | `generation`, `listeners` | what is opened for one reading of the configuration |
//! | `spawn`, `apps`, `daemons`, `cronjobs` | starting workers, processes of apps and daemons, runs of jobs |
//! | `surroundings`, `exec` | what is around all of these but workers; a command in the same place |
//! | `gates` | commands that must succeed before an app boots |
//! | `template` | processes that import an app once, and what is forked from them |
//! | `abandoned` | processes that KILL does not end |
//! | `inquiry` | the ready request to a new process of an app |
//! | `child`, `voice`, `output`, `heartbeat` | the table of all processes, what is held of each; hung workers |
//! | `heirs` | what is printed for a child that has ended |
//! | `events`, `journal`, `follow` | what children printed, for `hatchery logs` |
//! | `names` | names of servers: looked up by a process of their own, put on the roster |
//! | `acme`, `helper` | certificates that authorities issue; the process that orders them |
//! | `roots` | static roots that were replaced |
//! | `control`, `status` | the operator's commands |
//! | `upgrade`, `order`, `saved`, `resume`, `trial` | another program in place of this one: the decision, the order to it, the state, its start, its trial |
//! | `memory` | whether the kernel killed for want of memory |
//! | `limits` | the table of limits, and what was refused |
//! | `env_files` | what the files of `env_file` said |
//! | `keyring`, `self_signed` | what workers are handed for TLS |
//! | `touch` | files whose being touched reloads the server |
//! | `edits` | changes of code, which roll its app |
//! | `runtime`, `pidfile`, `notify`, `logger`, `environment` | one small thing each |

mod abandoned;
mod acme;
mod allowance;
mod apps;
mod child;
mod complaints;
pub mod control;
mod cronjobs;
mod daemons;
mod edits;
mod env_files;
mod environment;
mod events;
pub(crate) mod exec;
mod follow;
mod gates;
mod generation;
mod heartbeat;
mod heirs;
mod helper;
mod inquiry;
mod journal;
mod keyring;
mod limits;
mod listeners;
pub(crate) mod logger;
mod maintenance;
mod memory;
mod names;
mod notify;
mod order;
mod output;
mod perform;
mod pidfile;
mod purge;
mod resume;
mod roots;
mod runtime;
mod said;
mod saved;
mod self_signed;
mod shared;
mod signals;
mod spawn;
mod status;
mod sticky;
mod store;
mod surroundings;
mod template;
mod touch;
mod trial;
mod turn;
mod upgrade;
mod upstreams;
mod voice;

use crate::balance::MasterRoster;
use crate::config::boot::WorkerBoot;
use crate::config::{Config, Problem, Sandbox};
use crate::control::command::Identity;
use crate::cron::Scheduler;
use crate::dispatch::board::WORKERS;
use crate::dispatch::{MasterBoard, Sweep};
use crate::supervisor::Supervisor;
use crate::sys::alarm::Alarm;
use crate::sys::carried::Carried;
use crate::sys::shm::Shared;
use crate::sys::signals::Signals;
use crate::sys::{clock, code, fd, process, title};
use crate::timer::Time;
use acme::Acme;
use child::Children;
use control::Control;
use edits::Edits;
use follow::Follower;
use generation::{Generation, PoolNumbers};
use heartbeat::Heartbeat;
use heirs::Heirs;
use journal::Journal;
use keyring::Keyring;
use listeners::Inherited;
use memory::OutOfMemory;
use names::Names;
use notify::Notify;
use order::Order;
use pidfile::PidFile;
use runtime::RuntimeDir;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use template::Nursery;
use touch::Touch;
use upgrade::Upgrade;

pub use resume::{is_upgrade, put_back};
pub(crate) use signals::heed_only_ends;

/// Reads the configuration, from the file if there is one; the error is for the operator.
pub type Load = Box<dyn Fn(Option<&Path>) -> Result<Config, String>>;

/// What a master is started with.
pub(crate) struct Start {
    /// Reads the configuration, now and at each reload.
    pub(crate) load: Load,
    /// The configuration file, absolute; it stays the same over upgrades.
    pub(crate) file: Option<PathBuf>,
    /// What runs in a forked worker; returns its exit code.
    pub(crate) worker: fn(WorkerBoot) -> i32,
    /// Control socket; overrides the configuration.
    pub(crate) control: Option<PathBuf>,
    /// By what commands tell it from other masters.
    pub(crate) identity: Identity,
}

impl Start {
    /// The same for a master that reads no configuration.
    fn without_source(&self) -> Self {
        Self {
            load: Box::new(|_| Err("there is no configuration to read".to_owned())),
            file: self.file.clone(),
            worker: self.worker,
            control: self.control.clone(),
            identity: self.identity.clone(),
        }
    }

    fn config(&self) -> Result<Config, String> {
        (self.load)(self.file.as_deref())
    }
}

/// Why a master could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The configuration is wrong; all of its problems.
    Configuration(String),
    /// The surroundings do not allow it: a port in use, a missing user, …
    Environment(String),
}

/// Runs a master until it is told to stop; returns its exit code. What it opened and made is gone afterwards.
///
/// # Errors
/// When nothing was started.
pub(crate) fn run(start: Start) -> Result<u8, Refused> {
    let mut master = match Order::from_environment() {
        None => {
            let config = start.config().map_err(Refused::Configuration)?;
            logger::set_level(config.log.level);
            let master = Master::new(start, config).map_err(Refused::Environment)?;
            master.announce_start();
            master
        }
        Some(Order::Try) => return trial::run(&start).map_err(Refused::Environment),
        Some(Order::Resume(from)) => Master::resume(start, from).map_err(Refused::Environment)?,
    };
    master.run().map_err(Refused::Environment)
}

/// Every reason why the addresses of `config` cannot be listened on now, or no sockets of apps be made, and notes on what cannot be tried; for
/// `hatchery check`.
#[must_use]
pub(crate) fn unbindable(config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut reasons, untried) = listeners::trial(config);
    reasons.extend(runtime::problem());
    (reasons, untried)
}

/// What certificates by ACME would fail of on this machine, and what is doubtful about what they need; for `hatchery check`.
#[must_use]
pub(crate) fn unfit_for_acme(config: &Config) -> (Vec<Problem>, Vec<Problem>) {
    acme::judge(config)
}

/// What a descriptor that became ready stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A signal came.
    Signals,
    /// Somebody connects to the control socket.
    Control,
    /// A client of the control socket.
    Client(u64),
    /// Something happened to a file of `touch_reload`, perhaps.
    Touch,
    /// Something happened to code that is watched, perhaps.
    Edits,
    /// The same of a file by which such an app is configured.
    Settings,
    /// The same of a file of `tls`.
    Certificates,
    /// A connection waits while the workers are asleep.
    Listener,
    /// A child, by its process id.
    Child(u32, Channel),
    /// A cron job may be due, or the clock was set.
    Alarm,
    /// What somebody prints for a child that has ended.
    Heir(u64),
}

/// Which descriptor of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channel {
    /// What the child tells the master.
    Control,
    /// Where the master tells the child something.
    Ear,
    /// What the child prints.
    Output,
    /// Whether the child's program could be started.
    Launch,
    /// The child's answer to the ready request.
    Inquiry,
}

/// The whole state of the master. An upgrade takes along what is not skipped (`saved::State`).
#[derive(Serialize)]
struct Master {
    #[serde(skip)]
    start: Start,
    supervisor: Supervisor,
    /// Every process that is not reaped yet.
    children: Children,
    /// What decides about templates of apps, and processes that are to be forked from them.
    nursery: Nursery,
    /// The configuration in use.
    current: Generation,
    /// The number of `current`.
    #[serde(skip)]
    generation: u32,
    /// The generation that a reload is bringing up.
    #[serde(skip)]
    candidate: Option<Generation>,
    numbers: PoolNumbers,
    inherited: Inherited,
    #[serde(skip)]
    shared: Shared,
    /// The file in memory that `shared` is mapped from.
    board_file: Carried,
    /// What workers share of the response cache.
    cache: store::Store,
    /// The table of limits.
    limits: limits::Segment,
    /// How often each was exceeded, by its label.
    limited: BTreeMap<String, limits::Exceeded>,
    #[serde(skip)]
    upgrade: Upgrade,
    wake: Rc<[Carried]>,
    /// Requests answered by workers that have left.
    requests: u64,
    /// How often servers were at fault, by upstream and reason.
    faults: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests counted when the workers' activity was last sampled, and when that count last changed.
    activity: (u64, Time),
    #[serde(skip)]
    heartbeat: Heartbeat,
    /// Looks for units that may be lost.
    #[serde(skip)]
    sweep: Sweep,
    /// When a worker had us look at the static roots.
    #[serde(skip)]
    roots_seen: Option<Time>,
    /// What they were when some were refused last.
    #[serde(skip)]
    roots_refused: Option<roots::Roots>,
    touch: Touch,
    /// Sites that are closed for maintenance.
    closed: maintenance::Closed,
    #[serde(skip)]
    edits: Edits,
    keyring: Keyring,
    scheduler: Scheduler,
    acme: Acme,
    names: Names,
    heirs: Heirs,
    #[serde(skip)]
    alarm: Alarm,
    /// More children may have ended than were taken in.
    #[serde(skip)]
    unreaped: bool,
    /// USR1 came during a reload.
    #[serde(skip)]
    reopen: bool,
    /// The server stops without waiting.
    #[serde(skip)]
    hurry: bool,
    /// The listeners are watched because the workers are asleep.
    watching: bool,
    /// The supervisor is done: the code to exit with.
    #[serde(skip)]
    exit: Option<u8>,
    journal: Journal,
    followers: Vec<Follower>,
    control: Control,
    #[serde(skip)]
    signals: Signals,
    notify: Notify,
    /// Names of the sockets that systemd keeps for us.
    stored: BTreeSet<String>,
    #[serde(skip)]
    out_of_memory: OutOfMemory,
    runtime: RuntimeDir,
    pid_file: Option<PidFile>,
    started: Time,
}

/// What all workers share.
struct Memories {
    shared: Shared,
    board_file: Carried,
    cache: store::Store,
    limits: limits::Segment,
}

impl Memories {
    fn new(current: &Generation) -> Result<Self, String> {
        let cannot = |error: std::io::Error| format!("cannot map shared memory: {error}");
        let (shared, board_file) = shared::new().map_err(cannot)?;
        let cache = store::Store::new(&current.config.cache, current.account.as_ref())?;
        let limits = limits::Segment::new(&current.config).map_err(cannot)?;
        Ok(Self { shared, board_file: board_file.into(), cache, limits })
    }
}

/// By what others and the clock are heard.
fn ears() -> Result<(Rc<[Carried]>, Signals, Alarm), String> {
    let wake = wake().map_err(|error| format!("cannot make {WORKERS} event descriptors: {error}"))?;
    let signals = signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?;
    let alarm = Alarm::new().map_err(|error| format!("cannot make a timer: {error}"))?;
    Ok((wake, signals, alarm))
}

impl Master {
    fn new(start: Start, config: Config) -> Result<Self, String> {
        crate::sys::signals::ignore_broken_pipes();
        let inherited = Inherited::from_environment()?;
        close_at_exec();
        let stored = inherited.stored();
        let notify = Notify::from_environment(clock::now())?;
        let control = Control::open(start.control.as_deref(), config.control.as_ref(), &start.identity)?;
        let pid_file = config.pid_file.as_deref().map(PidFile::write).transpose()?;
        let mut numbers = PoolNumbers::default();
        let current = Generation::prepare(config, None, &inherited, &mut numbers)?;
        current.tell_missing_roots()?;
        warn_about(&current);
        inherited.warn_about_rest();
        adopt_orphans();
        let runtime = RuntimeDir::create()?;
        runtime.announce(&start.identity, control.path());
        let Memories { shared, board_file, cache, limits } = Memories::new(&current)?;
        let (wake, signals, alarm) = ears()?;
        let now = clock::now();
        // Before the title, which is written over the arguments.
        let upgrade = Upgrade::new()?;
        show_title(&master_title(&start.identity));
        find_code();
        Ok(Self {
            supervisor: Supervisor::new(current.plan(None), now),
            start,
            children: Children::default(),
            nursery: Nursery::new(current.template_plans(), now),
            current,
            generation: 1,
            candidate: None,
            numbers,
            inherited,
            shared,
            board_file,
            cache,
            limits,
            limited: BTreeMap::new(),
            upgrade,
            wake,
            requests: 0,
            faults: BTreeMap::new(),
            activity: (0, now),
            heartbeat: Heartbeat::default(),
            sweep: Sweep::default(),
            roots_seen: None,
            roots_refused: None,
            touch: Touch::default(),
            closed: maintenance::Closed::load(control.path()),
            edits: Edits::default(),
            keyring: Keyring::default(),
            scheduler: Scheduler::new(Vec::new(), clock::wall()),
            acme: Acme::default(),
            names: Names::default(),
            heirs: Heirs::default(),
            alarm,
            unreaped: false,
            reopen: false,
            hurry: false,
            watching: false,
            exit: None,
            journal: Journal::default(),
            followers: Vec::new(),
            control,
            signals,
            notify,
            stored,
            out_of_memory: OutOfMemory::new(),
            runtime,
            pid_file,
            started: now,
        })
    }

    fn board(&self) -> MasterBoard<'static> {
        shared::board_of(self.shared)
    }

    fn roster(&self) -> MasterRoster<'static> {
        shared::roster_of(self.shared)
    }
}

fn master_title(identity: &Identity) -> String {
    let file = identity.config.as_ref().map(|file| format!(" {}", file.display()));
    format!("hatchery: master{}", file.unwrap_or_default())
}

fn show_title(text: &str) {
    if let Err(error) = title::prepare() {
        log::debug!(target: "hatchery", "process titles stay as they are: {error}");
    }
    title::set(text);
}

fn close_at_exec() {
    if let Err(error) = process::close_at_exec() {
        log::warn!(target: "hatchery", "apps, daemons and jobs get what was left open for this program: {error}");
    }
}

fn adopt_orphans() {
    if let Err(error) = process::adopt_orphans() {
        log::debug!(target: "hatchery", "orphans of apps and jobs go to init: {error}");
    }
}

/// Before the first fork.
fn find_code() {
    if let Err(error) = code::find() {
        log::debug!(target: "hatchery", "memory of code once run is kept: {error}");
    }
}

/// One eventfd for each row of the board.
fn wake() -> std::io::Result<Rc<[Carried]>> {
    (0..WORKERS).map(|_| Ok(fd::eventfd()?.into())).collect()
}

fn warn_about_sandbox(config: &Config) {
    let missing = crate::sys::sandbox::missing().join(" and ");
    if config.sandbox != Sandbox::Off && !missing.is_empty() {
        log::warn!(target: "hatchery", "workers are sandboxed in part: this kernel does not offer {missing}");
    }
}

fn warn_about(generation: &Generation) {
    warn_about_sandbox(&generation.config);
    if crate::sys::user::is_root() && generation.account.is_none() {
        log::warn!(
            target: "hatchery",
            "running as root without `user`: workers and apps run as root too; set `user` (or --user) to an \
             unprivileged one"
        );
    }
    if let Some(shared) = crate::config::check::shared_user(&generation.config) {
        log::warn!(target: "hatchery", "{shared}");
    }
}
