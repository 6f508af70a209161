//! One template: the process that imports an app once so that others are forked from it. All changes of its state
//! happen in [`TemplateState::step`] and nowhere else. Pure, like `slot`; `templates` decides when one is needed.
//!
//! ```text
//!           Boot               Ready              Leave, Stuck
//!  Absent ────────► Booting ──────────► Ready ──────────────────► Leaving
//!    ▲                 │ Failed, time, Leave                         ▲ │ time: KILL
//!    │                 └─────────────────────────────────────────────┘ │
//!    └── Exited, from every state; time, after KILL ◄──────────────────┘
//! ```

use super::slot::{Cut, GIVE_UP, TERM_GRACE, now_or_at};
use super::{Break, Exit, Kill, exit};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What there is of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TemplateState {
    /// No process.
    #[default]
    Absent,
    /// It imports the app.
    Booting {
        /// Its process id, once it was started.
        pid: Option<u32>,
        /// When it was asked for.
        since: Time,
        /// When it must be Ready.
        deadline: Time,
        /// The bound that led to `deadline`.
        within: Duration,
        /// The channel to it has ended.
        #[serde(default)]
        cut: Option<Cut>,
    },
    /// It forks.
    Ready {
        /// Its process id.
        pid: Option<u32>,
        /// When it was asked for.
        since: Time,
        /// When it became Ready.
        ready: Time,
        /// The channel to it has ended.
        #[serde(default)]
        cut: Option<Cut>,
    },
    /// It was told to go, or said that it fails.
    Leaving {
        /// Its process id.
        pid: Option<u32>,
        /// When it was asked for.
        since: Time,
        /// KILL is sent then.
        #[serde(deserialize_with = "now_or_at")]
        until: Time,
    },
    /// KILL was sent.
    Killed {
        /// Its process id.
        pid: Option<u32>,
        /// When it was asked for.
        since: Time,
        /// It is given up then.
        until: Time,
    },
}

/// What happens to a template, and orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Order: start it.
    Boot(Duration),
    /// It was started.
    Forked(u32),
    /// It was not.
    ForkFailed(String),
    /// It has imported the app.
    Ready,
    /// It cannot; its exit follows.
    Failed(String),
    /// The channel between it and the master has ended.
    Cut(Break),
    /// It was reaped.
    Exited(Exit),
    /// The clock; early and spurious ones are harmless.
    Time,
    /// Order: go.
    Leave,
    /// It does not answer: end it.
    Stuck,
}

/// For the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Start it.
    Boot,
    /// Have it leave by itself.
    Leave,
    /// Send it a signal.
    Kill(Kill),
}

/// What the set of templates must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not boot: why.
    Refused(String),
    /// It could fork, and died without having been told to.
    Lost {
        /// How.
        reason: String,
        /// How long it had been Ready.
        ready_for: Duration,
    },
    /// KILL has not ended it.
    Abandoned(Option<u32>),
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    /// The next state.
    pub(super) state: TemplateState,
    /// For the master.
    pub(super) order: Option<Order>,
    /// For the set.
    pub(super) outcome: Option<Outcome>,
}

impl TemplateState {
    /// Its process id.
    #[must_use]
    pub(super) fn pid(self) -> Option<u32> {
        match self {
            Self::Absent => None,
            Self::Booting { pid, .. }
            | Self::Ready { pid, .. }
            | Self::Leaving { pid, .. }
            | Self::Killed { pid, .. } => pid,
        }
    }

    /// The earliest timer of this state.
    #[must_use]
    pub(super) fn deadline(self) -> Option<Time> {
        match self {
            Self::Absent => None,
            Self::Ready { cut, .. } => cut.map(|cut| cut.until),
            Self::Booting { deadline, cut, .. } => Some(cut.map_or(deadline, |cut| cut.until.min(deadline))),
            Self::Leaving { until, .. } | Self::Killed { until, .. } => Some(until),
        }
    }

    /// The machine was suspended for so long.
    pub(super) fn postpone(&mut self, lost: Duration) {
        if let Self::Booting { cut: Some(cut), .. } | Self::Ready { cut: Some(cut), .. } = self {
            cut.until = cut.until.after(lost);
        }
        match self {
            Self::Absent | Self::Ready { .. } => {}
            Self::Booting { deadline: timer, .. }
            | Self::Leaving { until: timer, .. }
            | Self::Killed { until: timer, .. } => {
                *timer = timer.after(lost);
            }
        }
    }

    /// It leaves no later than that.
    pub(super) fn hurry(&mut self, sooner: Time) {
        if let Self::Leaving { until, .. } = self {
            *until = sooner.min(*until);
        }
    }

    /// The transition table.
    #[must_use]
    pub(super) fn step(self, event: Event, now: Time) -> Transition {
        match self {
            Self::Absent => match event {
                Event::Boot(within) => {
                    let deadline = now.after(within);
                    let booting = Self::Booting { pid: None, since: now, deadline, within, cut: None };
                    Transition::to(booting).tell(Order::Boot)
                }
                _ => Transition::to(self),
            },
            Self::Booting { pid, since, deadline, within, cut } => {
                self.booting(event, Booting { pid, since, deadline, within, cut }, now)
            }
            Self::Ready { pid, since, ready, cut } => match event {
                Event::Cut(how) => {
                    let cut = cut.or(Some(Cut::new(how, now)));
                    Transition::to(Self::Ready { pid, since, ready, cut })
                }
                Event::Time => match cut.and_then(|cut| cut.due(now)) {
                    None => Transition::to(self),
                    Some(reason) => leaving(pid, since, now)
                        .tell(Order::Kill(Kill::Term))
                        .report(Outcome::Lost { reason, ready_for: now.since(ready) }),
                },
                Event::Exited(exit) => Transition::to(Self::Absent)
                    .report(Outcome::Lost { reason: exit::describe(exit), ready_for: now.since(ready) }),
                Event::Leave => leaving(pid, since, now).tell(Order::Leave),
                Event::Stuck => killed(pid, since, now),
                _ => Transition::to(self),
            },
            Self::Leaving { pid, since, until } => match event {
                Event::Forked(pid) => Transition::to(Self::Leaving { pid: Some(pid), since, until }),
                Event::ForkFailed(_) | Event::Exited(_) => Transition::to(Self::Absent),
                Event::Time if now >= until => killed(pid, since, now),
                _ => Transition::to(self),
            },
            Self::Killed { pid, since, until } => match event {
                Event::Forked(pid) => Transition::to(Self::Killed { pid: Some(pid), since, until }),
                Event::ForkFailed(_) | Event::Exited(_) => Transition::to(Self::Absent),
                Event::Time if now >= until => Transition::to(Self::Absent).report(Outcome::Abandoned(pid)),
                _ => Transition::to(self),
            },
        }
    }

    fn booting(self, event: Event, booting: Booting, now: Time) -> Transition {
        let Booting { pid, since, deadline, within, cut } = booting;
        let lost = cut.and_then(|cut| cut.due(now));
        match event {
            Event::Forked(pid) => {
                Transition::to(Self::Booting { pid: Some(pid), since, deadline, within, cut })
            }
            Event::Cut(how) => {
                let cut = cut.or(Some(Cut::new(how, now)));
                Transition::to(Self::Booting { pid, since, deadline, within, cut })
            }
            Event::ForkFailed(reason) => Transition::to(Self::Absent)
                .report(Outcome::Refused(format!("could not be started: {reason}"))),
            Event::Ready => Transition::to(Self::Ready { pid, since, ready: now, cut }),
            Event::Failed(reason) => leaving(pid, since, now).report(Outcome::Refused(reason)),
            Event::Exited(exit) => {
                let reason = format!("ended before it was ready: {}", exit::describe(exit));
                Transition::to(Self::Absent).report(Outcome::Refused(reason))
            }
            Event::Time if now >= deadline || lost.is_some() => {
                let reason = lost.unwrap_or_else(|| format!("did not become ready within {within:?}"));
                leaving(pid, since, now).tell(Order::Kill(Kill::Term)).report(Outcome::Refused(reason))
            }
            Event::Leave | Event::Stuck => leaving(pid, since, now).tell(Order::Kill(Kill::Term)),
            Event::Time | Event::Boot(_) => Transition::to(self),
        }
    }
}

struct Booting {
    pid: Option<u32>,
    since: Time,
    deadline: Time,
    within: Duration,
    cut: Option<Cut>,
}

fn leaving(pid: Option<u32>, since: Time, now: Time) -> Transition {
    Transition::to(TemplateState::Leaving { pid, since, until: now.after(TERM_GRACE) })
}

fn killed(pid: Option<u32>, since: Time, now: Time) -> Transition {
    Transition::to(TemplateState::Killed { pid, since, until: now.after(GIVE_UP) })
        .tell(Order::Kill(Kill::Kill))
}

impl Transition {
    fn to(state: TemplateState) -> Self {
        Self { state, order: None, outcome: None }
    }

    fn tell(self, order: Order) -> Self {
        Self { order: Some(order), ..self }
    }

    fn report(self, outcome: Outcome) -> Self {
        Self { outcome: Some(outcome), ..self }
    }
}

#[cfg(test)]
mod tests;
