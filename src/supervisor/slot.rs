//! One slot: the place of one process in its pool, and the whole life of that process. All changes of a process's
//! state happen in [`State::step`] and nowhere else. Pure: it returns what to tell the master ([`Transition::outputs`]) and
//! what the pool must know ([`Transition::outcomes`]).
//!
//! ```text
//!            Boot                Ready                  Drain
//!  Empty ────────────► Booting ─────────► Ready ──────────────────► Draining
//!    ▲ ▲                 │ Failed, time,    │ Failed, Kill             │ time, Kill
//!    │ │                 ▼ Kill             ▼                          ▼
//!    │ └────────────── Killing ◄────────────┴──────────────────────────┘
//!    ├── Exited, from every state; a Proof goes from Booting to Draining without being opened
//!    └── time, after KILL: it does not die, so its place is given up (Killed, Abandoned)
//! ```
//!
//! A Relief is opened like a Current one, and is one from then on.
//!
//! ```text
//! Cut: in Booting and Ready it is remembered ([`Process::cut`]), since the end of a process shows there first; if none
//!      has come when the time is over, the process goes: as one that is late from Booting, and from Ready to Draining
//!      if it was opened, else to Killing
//!
//! Exited: in Booting of a gate with 0 to Empty, as a success: whatever it was for goes on there ([`Outcome::Passed`])
//!
//! Idle: in Draining nothing runs any more: it ends soon, or is sent KILL, since it has nothing to finish
//! Unready: as Failed in Booting, but it lives on and must be told to go
//! Background: as Exited in Booting, though it may have been Ready
//! Hung: from every state to Killing, with ABRT
//! ```

use super::{Break, ChildId, Exit, Kill, Load, Output, PoolIndex, exit};
use crate::timer::Time;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// From TERM to the certain KILL, outside a stop.
pub(super) const TERM_GRACE: Duration = Duration::from_secs(5);
/// From ABRT to KILL.
pub(super) const ABORT_GRACE: Duration = Duration::from_secs(1);
/// From KILL until a process is given up that has not ended: one that waits in the kernel for what never answers (a file
/// system without its server), or whose end somebody else has to take note of first (a tracer, ptrace(2)).
pub(super) const GIVE_UP: Duration = Duration::from_secs(5);
/// What a draining child gets beyond the bound it was told, to leave by itself.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// From the end of a process's channel to its own end, if that is what has ended the channel.
const CUT_GRACE: Duration = Duration::from_secs(2);
/// What still runs in a process that has cut its channel gets so long.
const CUT_LEAVE: Duration = Duration::from_secs(5);
/// What a process that only proved that it boots gets to leave; nothing runs in it.
pub(super) const PROOF_LEAVE: Duration = Duration::from_secs(5);

/// What is said before the reason why a process is not Ready.
pub(super) const COULD_NOT_START: &str = "could not start: ";

/// Why a daemon failed that has ended as if it had put itself to the background.
const WENT_TO_THE_BACKGROUND: &str = "ended with exit 0 within ten seconds of its start, as a program does that goes to \
    the background: run it in the foreground, for example with an option like --foreground, --nodaemon or -n, or with \
    `daemonize no` or `daemon off;` in its configuration; what it has left there is not touched, and is to be ended by \
    hand; what ends when its work is done belongs into cron";

/// A place and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Its number; unique in the pool.
    pub(super) number: u16,
    /// Deaths in a row.
    pub(super) backoff: super::backoff::Backoff,
    /// Processes started here in place of one that died.
    pub(super) restarts: u64,
    /// How the last one ended that was not told to.
    pub(super) last_exit: Option<String>,
    /// What is in it.
    pub(super) state: State,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its name between the supervisor and the master.
    pub(super) child: ChildId,
    /// Its process id, once it was forked.
    pub(super) pid: Option<u32>,
    /// Generation it was started for.
    pub(super) generation: u32,
    /// It is this gate of its pool.
    #[serde(default)]
    pub(super) gate: Option<u16>,
    /// When it was asked for.
    pub(super) spawned: Time,
    /// It was opened: it accepts connections, or its units can be claimed.
    pub(super) opened: bool,
    /// How busy it says it is (workers only).
    pub(super) load: Load,
    /// The channel between it and the master has ended, though it lives.
    #[serde(default)]
    pub(super) cut: Option<Cut>,
}

/// The end of the channel to a process that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// How.
    pub(super) how: Break,
    /// If it has not ended itself until then, it has to go.
    pub(super) until: Time,
}

impl Cut {
    /// It has just ended.
    #[must_use]
    pub(super) fn new(how: Break, now: Time) -> Self {
        let until = match how {
            Break::Closed => now.after(CUT_GRACE),
            // A child that says what means nothing need not be ending.
            Break::Garbled => now,
        };
        Self { how, until }
    }

    /// Why the process has to go, if it does by now.
    #[must_use]
    pub(super) fn due(self, now: Time) -> Option<String> {
        (self.until <= now).then(|| self.how.to_string())
    }
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// It serves as soon as it is Ready.
    Current,
    /// A reload boots it: it is opened at the switch.
    Next,
    /// It only shows that it boots, and leaves.
    Proof,
    /// It boots beside a worn process that it is to replace; Current as soon as it is Ready.
    Relief,
}

/// Why a process is being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    /// It failed by itself; its exit is a death.
    Failed {
        /// What it was for.
        role: Role,
        /// How long it was Ready.
        ready_for: Duration,
    },
    /// It has to go; its exit is no death.
    Ordered,
}

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Nothing. With `retry` the place is kept for the next attempt.
    Empty {
        /// When the back-off ends.
        retry: Option<Time>,
    },
    /// Asked for, perhaps forked, not yet able to serve.
    Booting {
        /// The process.
        process: Process,
        /// What for.
        role: Role,
        /// When it must be Ready.
        deadline: Time,
        /// The bound that led to `deadline`, for the message.
        within: Duration,
    },
    /// Able to serve; does, if it was opened.
    Ready {
        /// The process.
        process: Process,
        /// What for.
        role: Role,
        /// Since when.
        since: Time,
    },
    /// Takes nothing new and leaves by itself.
    Draining {
        /// The process.
        process: Process,
        /// Since when.
        since: Time,
        /// TERM is sent then; KILL, if nothing runs in it any more.
        until: Time,
        /// Nothing runs in it any more.
        #[serde(default)]
        idle: bool,
    },
    /// Was sent a signal, or said that it fails: its exit follows.
    Killing {
        /// The process.
        process: Process,
        /// Since when.
        since: Time,
        /// KILL is sent then.
        #[serde(deserialize_with = "now_or_at")]
        until: Time,
        /// Why.
        cause: Cause,
    },
    /// Was sent KILL: it has ended, or waits where no signal reaches it.
    Killed {
        /// The process.
        process: Process,
        /// Since when.
        since: Time,
        /// It is given up then.
        until: Time,
        /// Why.
        cause: Cause,
    },
}

/// Versions before [`State::Killed`] wrote nothing for a time that had passed: KILL is sent once more.
pub(super) fn now_or_at<'de, D: Deserializer<'de>>(value: D) -> Result<Time, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(Time::ZERO))
}

/// What happens to a slot: what its process does, the time, and orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The master forked it.
    Forked(u32),
    /// The master could not.
    ForkFailed(String),
    /// It can serve.
    Ready,
    /// It cannot.
    Failed(String),
    /// It says that it can, and is not fit to: it must go.
    Unready(String),
    /// The channel between it and the master has ended.
    Cut(Break),
    /// It runs one turn of its loop without end.
    Hung,
    /// Nothing runs in it any more, and it was told to end.
    Idle {
        /// When KILL is sent.
        until: Time,
    },
    /// It was reaped.
    Exited(Exit),
    /// It was reaped, and looks as if it had put itself to the background.
    Background,
    /// The clock; early and spurious ones are harmless.
    Time,
    /// Order: fill the slot.
    Boot(Boot),
    /// Order: serve (at the switch of a reload).
    Open,
    /// Order: finish and leave.
    Drain {
        /// Bound that the process is told.
        within: Duration,
        /// The server stops.
        hurry: bool,
        /// When TERM is sent.
        until: Time,
    },
    /// Order: TERM now, KILL then.
    Kill {
        /// When KILL is sent.
        until: Time,
    },
    /// Order: KILL now.
    KillNow,
}

/// Which process to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    /// Its name.
    pub(super) child: ChildId,
    /// Its pool and slot, for the master.
    pub(super) pool: PoolIndex,
    /// Number of the slot.
    pub(super) slot: u16,
    /// Its generation.
    pub(super) generation: u32,
    /// It is this gate of its pool.
    pub(super) gate: Option<u16>,
    /// What for.
    pub(super) role: Role,
    /// Bound of its boot.
    pub(super) within: Duration,
}

/// What the pool must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It will not serve, though it may still live for a moment.
    Refused {
        /// What it was for.
        role: Role,
        /// Why.
        reason: String,
    },
    /// It serves no more, since the channel to it has ended: it finishes what it has, beside another one.
    Lost {
        /// How long it was Ready.
        ready_for: Duration,
        /// Why.
        reason: String,
    },
    /// It died without having been told to; the slot is empty.
    Died {
        /// What was there.
        process: Process,
        /// What it was for.
        role: Role,
        /// How long it was Ready.
        ready_for: Duration,
        /// How it ended; `None`: `Refused` told it.
        reason: Option<String>,
    },
    /// It was a gate and has succeeded; the slot is empty.
    Passed {
        /// What it was for.
        role: Role,
    },
    /// It left as it was told; the slot is empty.
    Gone {
        /// What was there.
        process: Process,
    },
    /// It does not die; the slot is empty all the same. `Died` or `Gone` follows.
    Abandoned {
        /// What was there.
        process: Process,
    },
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// The next state.
    pub(super) state: State,
    /// For the master.
    pub(super) outputs: Vec<Output>,
    /// For the pool, in this order.
    pub(super) outcomes: Vec<Outcome>,
}

impl Process {
    /// The first end of its channel counts.
    fn cut_by(self, how: Break, now: Time) -> Self {
        Self { cut: self.cut.or(Some(Cut::new(how, now))), ..self }
    }

    /// Why it has to go, if its channel has ended and it does not end itself.
    fn is_lost(&self, now: Time) -> Option<String> {
        self.cut.and_then(|cut| cut.due(now))
    }
}

impl Slot {
    /// An empty slot.
    #[must_use]
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            backoff: super::backoff::Backoff::default(),
            restarts: 0,
            last_exit: None,
            state: State::EMPTY,
        }
    }

    /// Lets `event` happen.
    pub(super) fn take(&mut self, event: Event, now: Time) -> (Vec<Output>, Vec<Outcome>) {
        let Transition { state, outputs, outcomes } =
            std::mem::replace(&mut self.state, State::EMPTY).step(event, now);
        self.state = state;
        (outputs, outcomes)
    }
}

impl State {
    /// Nothing, and nothing is waited for.
    pub(super) const EMPTY: Self = Self::Empty { retry: None };

    /// The process in it.
    #[must_use]
    pub(super) fn process(&self) -> Option<&Process> {
        match self {
            Self::Empty { .. } => None,
            Self::Booting { process, .. }
            | Self::Ready { process, .. }
            | Self::Draining { process, .. }
            | Self::Killing { process, .. }
            | Self::Killed { process, .. } => Some(process),
        }
    }

    /// Why its process is being killed, if it is.
    #[must_use]
    pub(super) fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Killing { cause, .. } | Self::Killed { cause, .. } => Some(cause),
            Self::Empty { .. } | Self::Booting { .. } | Self::Ready { .. } | Self::Draining { .. } => None,
        }
    }

    /// The same, to change what is known of it.
    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Self::Empty { .. } => None,
            Self::Booting { process, .. }
            | Self::Ready { process, .. }
            | Self::Draining { process, .. }
            | Self::Killing { process, .. }
            | Self::Killed { process, .. } => Some(process),
        }
    }

    /// What the process is for, while it comes or serves.
    #[must_use]
    pub(super) fn role(&self) -> Option<Role> {
        match self {
            Self::Booting { role, .. } | Self::Ready { role, .. } => Some(*role),
            Self::Empty { .. } | Self::Draining { .. } | Self::Killing { .. } | Self::Killed { .. } => None,
        }
    }

    /// The earliest timer of this state.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Time> {
        match *self {
            Self::Empty { retry } => retry,
            Self::Booting { deadline, process, .. } => {
                Some(process.cut.map_or(deadline, |cut| cut.until.min(deadline)))
            }
            Self::Ready { process, .. } => process.cut.map(|cut| cut.until),
            Self::Draining { until, .. } | Self::Killing { until, .. } | Self::Killed { until, .. } => {
                Some(until)
            }
        }
    }

    /// The machine was suspended for so long: gives the process the time that it lost. Nothing is late afterwards.
    pub(super) fn postpone(&mut self, lost: Duration, now: Time) {
        if let Some(cut) = self.process_mut().and_then(|process| process.cut.as_mut()) {
            cut.until = cut.until.after(lost);
        }
        match self {
            Self::Empty { retry } => *retry = retry.map(|retry| retry.max(now)),
            Self::Ready { .. } => {}
            Self::Booting { deadline: timer, .. }
            | Self::Draining { until: timer, .. }
            | Self::Killing { until: timer, .. }
            | Self::Killed { until: timer, .. } => *timer = timer.after(lost),
        }
    }

    /// The transition table.
    #[must_use]
    pub(super) fn step(self, event: Event, now: Time) -> Transition {
        match self {
            Self::Empty { retry } => empty(retry, event, now),
            Self::Booting { process, role, deadline, within } => {
                booting(Booting { process, role, deadline, within }, event, now)
            }
            Self::Ready { process, role, since } => ready(process, role, since, event, now),
            Self::Draining { process, since, until, idle } => {
                draining(Draining { process, since, until, idle }, event, now)
            }
            Self::Killing { process, since, until, cause } => {
                killing(Killing { process, since, until, cause }, event, now)
            }
            Self::Killed { process, since, until, cause } => {
                killed(Killing { process, since, until, cause }, event, now)
            }
        }
    }
}

fn empty(retry: Option<Time>, event: Event, now: Time) -> Transition {
    match event {
        Event::Boot(boot) => {
            let Boot { child, pool, slot, generation, gate, role, within } = boot;
            let process = Process {
                child,
                pid: None,
                generation,
                gate,
                spawned: now,
                opened: false,
                load: Load::Low,
                cut: None,
            };
            Transition::to(State::Booting { process, role, deadline: now.after(within), within })
                .tell(Output::Spawn { child, pool, slot, generation, gate })
        }
        // An order to leave: the place is not kept any more.
        Event::Drain { .. } | Event::Kill { .. } | Event::KillNow => Transition::to(State::EMPTY),
        Event::Forked(_)
        | Event::ForkFailed(_)
        | Event::Ready
        | Event::Failed(_)
        | Event::Unready(_)
        | Event::Cut(_)
        | Event::Hung
        | Event::Idle { .. }
        | Event::Exited(_)
        | Event::Background
        | Event::Time
        | Event::Open => Transition::to(State::Empty { retry }),
    }
}

struct Booting {
    process: Process,
    role: Role,
    deadline: Time,
    within: Duration,
}

fn booting(booting: Booting, event: Event, now: Time) -> Transition {
    let Booting { process, role, deadline, within } = booting;
    let same = |process| Transition::to(State::Booting { process, role, deadline, within });
    let fail = |reason| fail(process, role, Duration::ZERO, reason, now.after(TERM_GRACE), now);
    match event {
        Event::Forked(pid) => same(Process { pid: Some(pid), ..process }),
        Event::ForkFailed(reason) => ended(process, role, could_not_start(&reason)),
        Event::Ready if process.gate.is_some() => same(process),
        Event::Ready => match role {
            Role::Current | Role::Relief => opened(process, now),
            Role::Next => Transition::to(State::Ready { process, role, since: now }),
            Role::Proof => drain(process, PROOF_LEAVE, false, now.after(PROOF_LEAVE + DRAIN_GRACE), now),
        },
        Event::Failed(reason) if process.gate.is_some() => fail(reason),
        Event::Failed(reason) => fail(could_not_start(&reason)),
        Event::Unready(reason) => fail(could_not_start(&reason)).kill(process, Kill::Term),
        Event::Cut(how) => same(process.cut_by(how, now)),
        Event::Hung => hung(process, role, Duration::ZERO, now),
        Event::Exited(Exit::Code(0)) if process.gate.is_some() => {
            Transition::to(State::EMPTY).report(Outcome::Passed { role })
        }
        Event::Exited(exit) if process.gate.is_some() => ended(process, role, exit::describe(exit)),
        Event::Exited(exit) => {
            ended(process, role, format!("ended before it was ready: {}", exit::describe(exit)))
        }
        Event::Background => ended(process, role, WENT_TO_THE_BACKGROUND.to_owned()),
        Event::Time if now >= deadline || process.is_lost(now).is_some() => {
            let late = || match process.gate {
                Some(_) => {
                    format!("did not end within {within:?}; `hatchery logs` shows what it had printed")
                }
                None => format!("did not become ready within {within:?}"),
            };
            let reason = process.is_lost(now).unwrap_or_else(late);
            fail(reason).kill(process, Kill::Term)
        }
        // Nothing runs in a process that is not Ready.
        Event::Drain { until, .. } => kill(process, until.min(now.after(TERM_GRACE)), now),
        Event::Kill { until } => kill(process, until, now),
        Event::KillNow => kill_now(process, Cause::Ordered, now),
        Event::Idle { .. } | Event::Time | Event::Boot(_) | Event::Open => same(process),
    }
}

fn ready(process: Process, role: Role, since: Time, event: Event, now: Time) -> Transition {
    let ready_for = now.since(since);
    let fail = |reason| fail(process, role, ready_for, reason, now.after(TERM_GRACE), now);
    match event {
        Event::Failed(reason) => fail(reason),
        Event::Cut(how) => Transition::to(State::Ready { process: process.cut_by(how, now), role, since }),
        Event::Time => match process.is_lost(now) {
            None => Transition::to(State::Ready { process, role, since }),
            Some(reason) if process.opened => {
                drain(process, CUT_LEAVE, false, now.after(CUT_LEAVE + DRAIN_GRACE), now)
                    .report(Outcome::Lost { ready_for, reason })
            }
            Some(reason) => fail(reason).kill(process, Kill::Term),
        },
        Event::Hung => hung(process, role, ready_for, now),
        Event::Exited(exit) => Transition::to(State::EMPTY).report(Outcome::Died {
            process,
            role,
            ready_for,
            reason: Some(exit::describe(exit)),
        }),
        Event::Background => ended(process, role, WENT_TO_THE_BACKGROUND.to_owned()),
        Event::Open if !process.opened => opened(process, since),
        Event::Drain { within, hurry, until } => drain(process, within, hurry, until, now),
        Event::Kill { until } => kill(process, until, now),
        Event::KillNow => kill_now(process, Cause::Ordered, now),
        Event::Forked(_)
        | Event::ForkFailed(_)
        | Event::Ready
        | Event::Unready(_)
        | Event::Idle { .. }
        | Event::Boot(_)
        | Event::Open => Transition::to(State::Ready { process, role, since }),
    }
}

struct Draining {
    process: Process,
    since: Time,
    until: Time,
    idle: bool,
}

fn draining(draining: Draining, event: Event, now: Time) -> Transition {
    let Draining { process, since, until, idle } = draining;
    let same = |process| Transition::to(State::Draining { process, since, until, idle });
    match event {
        Event::Forked(pid) => same(Process { pid: Some(pid), ..process }),
        Event::ForkFailed(_) | Event::Exited(_) | Event::Background => {
            Transition::to(State::EMPTY).report(Outcome::Gone { process })
        }
        Event::Time if now >= until && idle => kill_now(process, Cause::Ordered, now),
        Event::Time if now >= until => kill(process, now.after(TERM_GRACE), now),
        Event::Idle { until: sooner } => {
            Transition::to(State::Draining { process, since, until: until.min(sooner), idle: true })
        }
        Event::Hung => end(process, Kill::Abort, now.after(ABORT_GRACE), now),
        Event::Drain { within, hurry, until: sooner } => {
            let mut step = drain(process, within, hurry, until.min(sooner), now);
            step.state = State::Draining { process, since, until: until.min(sooner), idle };
            step
        }
        Event::Kill { until } => kill(process, until, now),
        Event::KillNow => kill_now(process, Cause::Ordered, now),
        Event::Ready
        | Event::Failed(_)
        | Event::Unready(_)
        | Event::Cut(_)
        | Event::Time
        | Event::Boot(_)
        | Event::Open => same(process),
    }
}

struct Killing {
    process: Process,
    since: Time,
    until: Time,
    cause: Cause,
}

fn killing(killing: Killing, event: Event, now: Time) -> Transition {
    let Killing { process, since, until, cause } = killing;
    let same = |process, until, cause| Transition::to(State::Killing { process, since, until, cause });
    match event {
        Event::Forked(pid) => same(Process { pid: Some(pid), ..process }, until, cause),
        Event::ForkFailed(_) | Event::Exited(_) | Event::Background => gone(process, cause),
        Event::Time if now >= until => kill_now(process, cause, now),
        Event::Drain { until: sooner, .. } => same(process, until.min(sooner), Cause::Ordered),
        Event::Kill { until: sooner } => {
            same(process, until.min(sooner), Cause::Ordered).kill(process, Kill::Term)
        }
        Event::KillNow => kill_now(process, Cause::Ordered, now),
        // A process that hangs does not take in orders.
        Event::Hung => same(process, until.min(now.after(ABORT_GRACE)), cause).kill(process, Kill::Abort),
        Event::Ready
        | Event::Failed(_)
        | Event::Unready(_)
        | Event::Cut(_)
        | Event::Idle { .. }
        | Event::Time
        | Event::Boot(_)
        | Event::Open => same(process, until, cause),
    }
}

fn killed(killed: Killing, event: Event, now: Time) -> Transition {
    let Killing { process, since, until, cause } = killed;
    let same = |process, cause| Transition::to(State::Killed { process, since, until, cause });
    match event {
        Event::Forked(pid) => same(Process { pid: Some(pid), ..process }, cause),
        Event::ForkFailed(_) | Event::Exited(_) | Event::Background => gone(process, cause),
        Event::Time if now >= until => {
            let Transition { state, outcomes, .. } = gone(process, cause);
            let outcomes = [vec![Outcome::Abandoned { process }], outcomes].concat();
            Transition { state, outputs: Vec::new(), outcomes }
        }
        Event::Drain { .. } | Event::Kill { .. } | Event::KillNow => same(process, Cause::Ordered),
        Event::Ready
        | Event::Failed(_)
        | Event::Unready(_)
        | Event::Cut(_)
        | Event::Hung
        | Event::Idle { .. }
        | Event::Time
        | Event::Boot(_)
        | Event::Open => same(process, cause),
    }
}

/// The process that was being killed is not there any more.
fn gone(process: Process, cause: Cause) -> Transition {
    Transition::to(State::EMPTY).report(match cause {
        Cause::Ordered => Outcome::Gone { process },
        Cause::Failed { role, ready_for } => Outcome::Died { process, role, ready_for, reason: None },
    })
}

fn opened(process: Process, since: Time) -> Transition {
    Transition::to(State::Ready { process: Process { opened: true, ..process }, role: Role::Current, since })
        .tell(Output::Open { child: process.child })
}

fn drain(process: Process, within: Duration, hurry: bool, until: Time, now: Time) -> Transition {
    Transition::to(State::Draining { process, since: now, until, idle: false }).tell(Output::Drain {
        child: process.child,
        within,
        hurry,
    })
}

fn kill(process: Process, until: Time, now: Time) -> Transition {
    end(process, Kill::Term, until, now)
}

fn end(process: Process, how: Kill, until: Time, now: Time) -> Transition {
    Transition::to(State::Killing { process, since: now, until, cause: Cause::Ordered }).kill(process, how)
}

/// It will not serve, and has to be gone by `until`.
fn fail(
    process: Process,
    role: Role,
    ready_for: Duration,
    reason: String,
    until: Time,
    now: Time,
) -> Transition {
    let cause = Cause::Failed { role, ready_for };
    Transition::to(State::Killing { process, since: now, until, cause })
        .report(Outcome::Refused { role, reason })
}

fn could_not_start(reason: &str) -> String {
    format!("{COULD_NOT_START}{reason}")
}

/// A core dump tells where the process hangs.
fn hung(process: Process, role: Role, ready_for: Duration, now: Time) -> Transition {
    let pid = process.pid.unwrap_or(0);
    let reason = format!("process {pid} hangs in one turn of its loop and is ended with SIGABRT");
    fail(process, role, ready_for, reason, now.after(ABORT_GRACE), now).kill(process, Kill::Abort)
}

/// It has ended and has been of no use, even if it was Ready.
fn ended(process: Process, role: Role, reason: String) -> Transition {
    let died = Outcome::Died { process, role, ready_for: Duration::ZERO, reason: None };
    Transition::to(State::EMPTY).report(Outcome::Refused { role, reason }).report(died)
}

fn kill_now(process: Process, cause: Cause, now: Time) -> Transition {
    Transition::to(State::Killed { process, since: now, until: now.after(GIVE_UP), cause })
        .kill(process, Kill::Kill)
}

impl Transition {
    fn to(state: State) -> Self {
        Self { state, outputs: Vec::new(), outcomes: Vec::new() }
    }

    fn tell(mut self, output: Output) -> Self {
        self.outputs.push(output);
        self
    }

    fn kill(self, process: Process, how: Kill) -> Self {
        self.tell(Output::Kill { child: process.child, how })
    }

    fn report(mut self, outcome: Outcome) -> Self {
        self.outcomes.push(outcome);
        self
    }
}

#[cfg(test)]
mod tests;
