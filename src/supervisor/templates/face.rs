//! What templates are told and what they ask for.

use super::super::{Break, ChildId, Exit, Kill, Level, PoolIndex, PoolState};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which template: there is one for each pool and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    /// The pool.
    pub(crate) pool: PoolIndex,
    /// Generation of the code.
    pub(crate) generation: u32,
}

/// What a preloaded pool wants of its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplatePlan {
    /// Number of the pool.
    pub(crate) pool: PoolIndex,
    /// Name of the app.
    pub(crate) name: String,
    /// Longest time to import the app.
    pub(crate) boot_timeout: Duration,
    /// It is there also while the pool sleeps.
    pub(crate) keep: bool,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Input {
    /// The supervisor wants a process of a preloaded pool.
    Want {
        /// The process to be.
        child: ChildId,
        /// Its generation.
        generation: u32,
        /// What that generation says of the pool's template.
        plan: TemplatePlan,
    },
    /// The process is not wanted any more.
    Cancel {
        /// The process that was to be.
        child: ChildId,
    },
    /// `Boot` worked.
    Forked {
        /// The template.
        key: Key,
        /// Its process id.
        pid: u32,
    },
    /// `Boot` did not work.
    ForkFailed {
        /// The template.
        key: Key,
        /// Why.
        reason: String,
    },
    /// The template has imported the app.
    Ready {
        /// The template.
        key: Key,
        /// Threads that it has.
        threads: u32,
    },
    /// The template cannot; its exit follows.
    Failed {
        /// The template.
        key: Key,
        /// The traceback.
        reason: String,
    },
    /// The channel between the template and the master has ended.
    Cut {
        /// The template.
        key: Key,
        /// How.
        how: Break,
    },
    /// The template was reaped.
    Exited {
        /// The template.
        key: Key,
        /// How.
        exit: Exit,
    },
    /// A template that was given up has ended after all.
    Buried {
        /// Its process id.
        pid: u32,
    },
    /// `Fork` worked.
    Born {
        /// The template.
        key: Key,
        /// The process.
        child: ChildId,
    },
    /// `Fork` did not work.
    Unborn {
        /// The template.
        key: Key,
        /// The process that there will not be.
        child: ChildId,
        /// Why.
        reason: String,
    },
    /// The pool fell asleep, woke up, or was stopped by hand.
    State {
        /// The pool.
        pool: PoolIndex,
        /// How it is now.
        state: PoolState,
    },
    /// The next processes of the pool must come from code that is read now.
    Renew {
        /// The pool.
        pool: PoolIndex,
    },
    /// This generation is the current one, with these preloaded pools.
    Switch {
        /// Its number.
        generation: u32,
        /// Its preloaded pools.
        plans: Vec<TemplatePlan>,
    },
    /// The generation that a reload brought up has failed.
    Discard,
    /// The server stops.
    Stop,
}

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Output {
    /// Start the template; answered by `Forked` or `ForkFailed` before anything else about it.
    Boot {
        /// Which.
        key: Key,
    },
    /// Have the template make a process; answered by `Born` or `Unborn`.
    Fork {
        /// The template.
        key: Key,
        /// The process to be.
        child: ChildId,
    },
    /// Start the process without a template.
    Plain {
        /// The process to be.
        child: ChildId,
    },
    /// There will be no such process.
    Refuse {
        /// The process that was to be.
        child: ChildId,
        /// Why.
        reason: String,
    },
    /// The template leaves by itself.
    Leave {
        /// Which.
        key: Key,
    },
    /// Send a signal to the template.
    Kill {
        /// Which.
        key: Key,
        /// Which signal.
        how: Kill,
    },
    /// The template does not die: it is not waited for any longer. `Buried` follows if it ends after all.
    Abandon {
        /// Which.
        key: Key,
    },
    /// A line for the log.
    Note {
        /// How bad.
        level: Level,
        /// What.
        text: String,
    },
}
