//! The supervisor: which processes there are, when they start, serve, drain and are killed. Pure: it never forks,
//! signals, reads a file or the clock; `master/` turns what happens into [`Input`]s and carries out [`Output`]s. All of
//! its state is plain data that can be serialised.
//!
//! Everything it keeps alive is a child in a slot of a pool: the workers are one pool, each app and each daemon is one.
//!
//! # How it thinks
//!
//! An input changes the one thing that it is about (`slot`: the table of all states and events). Then `settle` derives
//! everything else from the state: what the mode waits for (`start`, `reload`, `stop`), which places are to be filled
//! or given up (`scale`), what waiting requests should know, whether the listeners are watched. Nothing is remembered
//! that can be derived, so no order of inputs leaves it stuck.
//!
//! | mode | waits for | then |
//! |---|---|---|
//! | starting | each app pool: one process Ready or a failed boot; then all workers Ready | running, or stopping with code 1 |
//! | running | | |
//! | reloading | `Loaded`; new app processes Ready; new workers Ready | switch, or everything new is killed; running |
//! | upgrading | `Tried`; `Executed`; no worker of the old program serves | running |
//! | stopping | no worker lives (apps still serve them), no daemon that comes after an app; then nothing lives | `Exit` |
//!
//! What KILL does not end is given up some seconds later (`abandoned`) and does not count as living.
//!
//! # Replacement
//!
//! A process that is *worn* (it had its requests, its time, too much memory, or `restart` was asked for) serves until
//! another one, its *relief*, is Ready beside it, and drains then; one at a time in each pool (`recycle`). A relief that
//! fails leaves everything as it is and is tried again later.
//!
//! # Bounds
//!
//! At most `max` current processes of a pool boot or serve, and one relief; during a reload as many of the new plan
//! besides them.
//! Leaving ones come on top: each is bound by its own deadline, and at most three old generations drain at once.

mod abandoned;
mod backoff;
mod busy;
mod by_hand;
mod daemon;
mod edits;
mod exit;
mod gates;
mod handover;
mod machine;
mod pool;
mod recycle;
mod reload;
mod scale;
mod slot;
mod start;
mod stop;
pub(crate) mod templates;
#[cfg(test)]
mod tests;
mod upgrade;
mod view;

pub use crate::control::exit::Exit;
pub use crate::control::pool::PoolState;
pub use crate::control::worker::Load;
pub use daemon::{DaemonPlan, OnReload};
pub use machine::Supervisor;
pub(crate) use recycle::spread;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Number of a pool; a pool of the same name keeps it as long as the master lives. The workers are pool 0.
pub type PoolIndex = u16;

/// One process over its whole life; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildId(pub u64);

/// What should run: made by the master from a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Pool 0 is the workers; `index` of the others is stable by name.
    pub pools: Vec<PoolPlan>,
    /// Whether a reload must replace the workers (the resolved configuration changed).
    pub workers_changed: bool,
    /// Bounds a graceful stop.
    pub shutdown_timeout: Duration,
    /// Bounds what an old generation may still do after a reload.
    pub drain_timeout: Duration,
    /// One failing app fails the start.
    pub all_or_nothing: bool,
    /// Keys of the configuration whose change waits for the next start.
    #[serde(default)]
    pub later: Vec<String>,
}

/// One pool of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPlan {
    /// Stable number.
    pub index: PoolIndex,
    /// `worker`, or the name of the app or daemon.
    pub name: String,
    /// How many processes; a command may say otherwise until the next plan.
    pub processes: Processes,
    /// Never more, whatever is asked for by command.
    pub most: u32,
    /// How they are kept.
    pub upkeep: Upkeep,
    /// Gates of an app: commands that must succeed, one after the other, before its first process boots.
    pub before: Vec<String>,
    /// Of an app: what the ready request may take besides the boot.
    pub ready_timeout: Duration,
    /// Its code is watched: an edit rolls it, a failed boot ends no start, and what it says is kept as a trouble (`edits`).
    #[serde(default)]
    pub watched: bool,
    /// A template of it stays while it sleeps. A reload has to import its new code anyway, and does so as its proof.
    pub kept: bool,
    /// It is a daemon.
    pub daemon: Option<DaemonPlan>,
}

/// How many processes of a pool there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// Kept alive even if idle; 0: asleep until wanted.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

/// How the processes of a pool are kept: what the configuration of an app or a daemon says. The defaults are an app's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// With `min` 0: how long without a request until they leave; 10 min.
    pub idle: Duration,
    /// Longest time from Spawn to Ready, and of each gate; of a daemon, the whole time; 90 s.
    pub boot_timeout: Duration,
    /// How long one that is to leave may take to end: an app's once nothing runs in it, a daemon's from its stop signal to
    /// KILL; 10 s.
    pub stop_timeout: Duration,
    /// Boot one at start although `min` is 0 (and let it leave again), to prove that it works.
    pub prove: bool,
    /// One with more resident memory, in bytes, is replaced.
    pub max_rss: Option<u64>,
    /// One that has served for about so long is replaced.
    pub max_lifetime: Option<Duration>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            boot_timeout: Duration::from_secs(90),
            stop_timeout: Duration::from_secs(10),
            prove: false,
            max_rss: None,
            max_lifetime: None,
        }
    }
}

/// A signal to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the signals")]
pub enum Signal {
    Hup,
    Term,
    Quit,
    Int,
    Ttin,
    Ttou,
    Usr2,
}

/// Who asked over the control socket; echoed in [`Output::Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A signal came in.
    Signal(Signal),
    /// `Spawn` worked.
    Forked {
        /// The child.
        child: ChildId,
        /// Its process id.
        pid: u32,
    },
    /// `Spawn` did not work; there is no process.
    ForkFailed {
        /// The child that is not.
        child: ChildId,
        /// Why.
        reason: String,
    },
    /// The child is set up and could serve.
    Ready {
        /// The child.
        child: ChildId,
    },
    /// The child says that it cannot serve; its exit follows.
    Failed {
        /// The child.
        child: ChildId,
        /// Why: a traceback, for an app.
        reason: String,
    },
    /// The child says that it could serve, and is not fit to: it must go.
    Unready {
        /// The child.
        child: ChildId,
        /// Why.
        reason: String,
    },
    /// The channel between the child and the master has ended: if the child does not end too, it has to go.
    Cut {
        /// The child.
        child: ChildId,
        /// How.
        how: Break,
    },
    /// The child must be replaced at once although it lives: a request in it ran into its time-out.
    Stuck {
        /// The child.
        child: ChildId,
        /// Why, with the request.
        reason: String,
    },
    /// The worker runs one turn of its loop without end: it must be ended.
    Hung {
        /// The worker.
        child: ChildId,
    },
    /// The child must be replaced when another one is ready.
    Worn {
        /// The child.
        child: ChildId,
        /// Why.
        reason: String,
    },
    /// The answer to `Measure`.
    Measured {
        /// The child.
        child: ChildId,
        /// Its resident memory in bytes.
        rss: u64,
    },
    /// No request runs any more in a process of an app that is to leave, and it was told to end.
    Idle {
        /// The child.
        child: ChildId,
    },
    /// The worker accepts no more: every new connection reaches others.
    Closed {
        /// The worker.
        child: ChildId,
    },
    /// The child was reaped.
    Exited {
        /// The child.
        child: ChildId,
        /// How.
        exit: Exit,
    },
    /// A listener is readable while the workers are asleep (`Watch(true)`).
    Readable,
    /// A request waits for a pool and no unit of it is free.
    Wanted {
        /// The pool.
        pool: PoolIndex,
    },
    /// The worker is busier, or less busy, than it said last (at first: Low).
    Load {
        /// The worker.
        child: ChildId,
        /// How busy.
        load: Load,
    },
    /// The answer to `Sample`: when the pool last had something to do (`now` if it has at this moment).
    Activity {
        /// The pool.
        pool: PoolIndex,
        /// Last moment of activity.
        last: crate::timer::Time,
    },
    /// The answer to `Load`: the new configuration is good and its new listeners are bound.
    Loaded(Plan),
    /// The answer to `Load`: why it is not.
    Rejected {
        /// For the operator.
        reason: String,
    },
    /// The answer to `Try`: the new program works, or why it does not.
    Tried(Result<(), String>),
    /// The answer to `Execute`: this is the new program, or it is still (or again) the old one, and why.
    Executed(Result<(), String>),
    /// `reload` over the control socket. Answered at the end with `wait`, at once without.
    Reload {
        /// Who asks.
        ticket: Ticket,
        /// Answer at the end.
        wait: bool,
        /// Boot sleeping apps too.
        prove: bool,
    },
    /// `scale` over the control socket: so many processes until the next reload; 0: asleep until wanted. Answered at
    /// once.
    Scale {
        /// Who asks.
        ticket: Ticket,
        /// Name of the pool.
        name: String,
        /// How many.
        count: u32,
    },
    /// `restart` over the control socket, or what the master has found: replaces every process of a pool, one after the
    /// other. Answered at the end.
    Restart {
        /// Who asks.
        ticket: Ticket,
        /// Name of the pool.
        name: String,
        /// Why, for the log.
        why: &'static str,
    },
    /// Code of an app that is watched has changed, while nothing else is going on: its processes are replaced, and those
    /// that boot begin again.
    Edited {
        /// The pool.
        pool: PoolIndex,
    },
    /// `stop NAME` over the control socket: none of its processes until it is started again. Answered when none lives.
    StopOne {
        /// Who asks.
        ticket: Ticket,
        /// Name of the pool.
        name: String,
    },
    /// `start NAME` over the control socket: takes a `StopOne` back. Answered when it serves.
    StartOne {
        /// Who asks.
        ticket: Ticket,
        /// Name of the pool.
        name: String,
    },
    /// `stop` over the control socket; the master answers at its end.
    Stop {
        /// Do not wait for running requests.
        fast: bool,
    },
}

/// How the channel between a child and the master ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Break {
    /// The child closed it, or ends.
    Closed,
    /// The child said what means nothing: it is not listened to any more.
    Garbled,
}

impl fmt::Display for Break {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Closed => "closed its control channel while it ran",
            Self::Garbled => "sent what is no message over its control channel",
        })
    }
}

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Start a process; answered by `Forked` or `ForkFailed` before anything else about that child.
    Spawn {
        /// The child to be.
        child: ChildId,
        /// Its pool.
        pool: PoolIndex,
        /// Its slot in the pool, from 0; unique among the pool's living children.
        slot: u16,
        /// Its generation, from 1.
        generation: u32,
        /// It is this gate, which ends, and no process that serves.
        gate: Option<u16>,
    },
    /// A Ready child may serve: a worker accepts, an app's units can be claimed.
    Open {
        /// The child.
        child: ChildId,
    },
    /// The child takes nothing new, finishes and leaves by itself; `Exited` follows. `hurry`: the server stops, so
    /// idle connections close at once.
    Drain {
        /// The child.
        child: ChildId,
        /// Bound that the child is told; the supervisor kills on its own deadline.
        within: Duration,
        /// The server stops.
        hurry: bool,
    },
    /// Have a daemon read its code and configuration again: send it its reload signal.
    Reload {
        /// The child.
        child: ChildId,
    },
    /// Send a signal to the child.
    Kill {
        /// The child.
        child: ChildId,
        /// TERM, or the certain one.
        how: Kill,
    },
    /// The child does not die: its place is given to another one. `Exited` follows if it ends after all.
    Abandon {
        /// The child.
        child: ChildId,
    },
    /// Have the child say where it hangs: its stacks go to the log.
    Inspect {
        /// The child.
        child: ChildId,
    },
    /// Start or stop watching the listeners for `Readable` (the workers are asleep).
    Watch(bool),
    /// Workers that serve must DEL and ADD the listeners: one of them left.
    Rearm,
    /// Look up when the pool last had something to do; answered by `Activity`.
    Sample {
        /// The pool.
        pool: PoolIndex,
    },
    /// Look up how much memory the child has; answered by `Measured`.
    Measure {
        /// The child.
        child: ChildId,
    },
    /// What requests that wait for the pool should know.
    Publish {
        /// The pool.
        pool: PoolIndex,
        /// Its state.
        state: PoolState,
    },
    /// What is wrong with an app whose code is watched has changed (`Supervisor::trouble`): those to whom it is shown are
    /// to know.
    Trouble {
        /// The pool.
        pool: PoolIndex,
    },
    /// The edits of an app have come to their end: what serves is new, or as before because the new does not start.
    Renewed,
    /// Read the configuration again; answered by `Loaded` or `Rejected`.
    Load,
    /// The loaded configuration is the current one: close removed listeners, publish it.
    Switch {
        /// The new generation.
        generation: u32,
    },
    /// The loaded configuration failed: forget it, close its new listeners.
    Discard,
    /// Have the new program show in a trial that it works; answered by `Tried`.
    Try,
    /// End the trial: its answer is not waited for any more.
    GiveUp,
    /// Replace the program of the master in place; answered by `Executed`, in the new program or in this one.
    Execute,
    /// The upgrade has ended, well or not.
    Upgraded,
    /// The answer to a command.
    Answer {
        /// Who asked.
        ticket: Ticket,
        /// What to tell.
        result: Result<String, String>,
    },
    /// The server serves for the first time.
    Started,
    /// The server begins to stop: listeners close once no worker accepts from them.
    Stopping,
    /// Nothing is left, or nothing that could be ended: end the master with this code.
    Exit {
        /// 0 or 1.
        code: u8,
    },
    /// A line for the log.
    Note {
        /// How bad.
        level: Level,
        /// What.
        text: String,
    },
}

/// How to kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kill {
    /// SIGTERM; its own stop signal to a daemon.
    Term,
    /// SIGABRT: with a core or a stack, for hung workers.
    Abort,
    /// SIGKILL, to the whole process group.
    Kill,
}

/// Severity of a [`Output::Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the levels")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}
