//! One job: when it is due next, what of it runs, and what became of its last runs.

use super::timeline::Timeline;
use super::{Overlap, Schedule};
use crate::control::command;
use crate::control::exit::Exit;
use crate::timer::{Time, Wall};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Runs remembered.
const HISTORY: usize = 20;
/// Leaps remembered: as many as the timeline has stretches.
const LEAPS: usize = 16;
/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(10);
/// From KILL until a run is given up that has not ended: it waits in the kernel, or for a tracer.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Runs of a job that are given up at a time. One more counts as running.
const MOST_ABANDONED: usize = 16;
const STILL_RUNNING: &str = "still running";

/// One run over its whole life; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct RunId(pub(crate) u64);

/// A job as it is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobSpec {
    /// Unique; a job of the same name is the same job after a reload.
    pub(crate) name: String,
    /// When it runs.
    pub(crate) schedule: Schedule,
    /// What happens if it is due and still runs.
    pub(crate) overlap: Overlap,
    /// TERM after so long, KILL ten seconds later.
    pub(crate) timeout: Option<Duration>,
}

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Decision {
    /// Start a process for the job; answered by `started` or `could_not_start`.
    Run {
        /// The job.
        job: String,
        /// The run.
        run: RunId,
        /// The time it is for.
        scheduled: Wall,
    },
    /// It is due but does not run; for the log.
    Skip {
        /// The job.
        job: String,
        /// Why.
        reason: String,
    },
    /// Send the run's process a signal; it exits later.
    Kill {
        /// The run.
        run: RunId,
        /// Which.
        how: Kill,
    },
    /// The run does not die: nothing waits for it any longer. `exited` follows if it ends after all.
    Abandon {
        /// The run.
        run: RunId,
    },
}

/// How to end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kill {
    /// SIGTERM.
    Term,
    /// SIGKILL, to the whole process group.
    Kill,
}

/// One job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) spec: JobSpec,
    /// Still in the configuration.
    pub(super) listed: bool,
    pub(super) next: Option<Wall>,
    /// Times it was due for that a clock leapt over, so that they were not lived through.
    leapt: VecDeque<Wall>,
    /// It is to run for this time, as soon as it may.
    pub(super) waiting: Option<Wall>,
    /// The run that waits was asked for by hand.
    #[serde(default)]
    by_hand: bool,
    pub(super) runs: Vec<Run>,
    /// Runs that KILL has not ended, and that nothing waits for any more.
    #[serde(default)]
    pub(super) abandoned: Vec<RunId>,
    /// Newest first.
    history: VecDeque<command::RunStatus>,
}

/// One run that lives, or is being started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) pid: Option<u32>,
    pub(super) started: Wall,
    pub(super) begun: Time,
    #[serde(default)]
    pub(super) by_hand: bool,
    ending: Option<Ending>,
}

/// A run was told to end.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ending {
    why: Why,
    /// When KILL follows; `None`: it did.
    kill: Option<Time>,
    /// When it is given up, after KILL.
    #[serde(default)]
    give_up: Option<Time>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Why {
    TimedOut,
    Replaced,
    Stopped,
}

impl Job {
    pub(super) fn new(spec: JobSpec) -> Self {
        Self {
            spec,
            listed: true,
            next: None,
            leapt: VecDeque::new(),
            waiting: None,
            by_hand: false,
            runs: Vec::new(),
            abandoned: Vec::new(),
            history: VecDeque::new(),
        }
    }

    /// Finds out when it is due next: after `wall`, and for no time that was lived through or that it ran for.
    pub(super) fn plan(&mut self, timeline: &Timeline, wall: Wall) {
        let schedule = &self.spec.schedule;
        self.next = timeline.first_new(wall, |after| {
            let mut next = schedule.next_after(after)?;
            while self.leapt.contains(&next) {
                next = schedule.next_after(next)?;
            }
            Some(next)
        });
    }

    /// Of all times that were missed from `due` on, the last one, if it is new.
    pub(super) fn latest(&self, due: Wall, timeline: &Timeline, wall: Wall) -> Wall {
        let is_new = |last: &Wall| *last > due && !self.leapt.contains(last) && !timeline.was_lived(*last);
        self.spec.schedule.last_until(wall).filter(is_new).unwrap_or(due)
    }

    /// It was due for a time that the clock leapt over.
    pub(super) fn leap(&mut self, due: Wall) {
        self.leapt.push_back(due);
        if self.leapt.len() > LEAPS {
            self.leapt.pop_front();
        }
    }

    /// It is due, or asked for by hand.
    pub(super) fn due(
        &mut self,
        scheduled: Wall,
        by_hand: bool,
        now: Time,
        decisions: &mut VecDeque<Decision>,
    ) {
        match self.spec.overlap {
            _ if self.runs.is_empty() && self.waiting.is_none() => {}
            Overlap::Skip => return self.skip(scheduled, by_hand, STILL_RUNNING, decisions),
            Overlap::Queue if self.waiting.is_some() => {
                return self.skip(scheduled, by_hand, "still running, and the next run waits", decisions);
            }
            Overlap::Allow | Overlap::Queue => {}
            Overlap::Replace => {
                if let Some(older) = self.waiting {
                    self.skip(older, self.by_hand, "replaced before it could start", decisions);
                }
                for run in &mut self.runs {
                    run.tell(Why::Replaced, now.after(GRACE), decisions);
                }
            }
        }
        (self.waiting, self.by_hand) = (Some(scheduled), by_hand);
    }

    /// The time of a run that may start now.
    pub(super) fn startable(&self) -> Option<Wall> {
        self.waiting.filter(|_| self.runs.is_empty() || self.spec.overlap == Overlap::Allow)
    }

    pub(super) fn start(&mut self, id: RunId, wall: Wall, now: Time) {
        self.waiting = None;
        let by_hand = self.by_hand;
        self.runs.push(Run { id, pid: None, started: wall, begun: now, by_hand, ending: None });
    }

    /// Ends what has run for too long, or was told to end and did not; gives up what KILL has not ended. `stopping`: as
    /// many as there are.
    pub(super) fn end_overdue(&mut self, stopping: bool, now: Time, decisions: &mut VecDeque<Decision>) {
        let timeout = self.spec.timeout;
        let mut abandoned = Vec::new();
        for run in &mut self.runs {
            if run.deadline(timeout).is_none_or(|deadline| now < deadline) {
                continue;
            }
            match &mut run.ending {
                None => run.tell(Why::TimedOut, now.after(GRACE), decisions),
                Some(ending) if ending.kill.is_some() => {
                    ending.kill = None;
                    ending.give_up = Some(now.after(GIVE_UP));
                    decisions.push_back(Decision::Kill { run: run.id, how: Kill::Kill });
                }
                Some(ending) => {
                    ending.give_up = None;
                    if stopping || self.abandoned.len() + abandoned.len() < MOST_ABANDONED {
                        abandoned.push((run.id, run.started, run.by_hand, now.since(run.begun)));
                    }
                }
            }
        }
        for (run, started, by_hand, duration) in abandoned {
            self.runs.retain(|known| known.id != run);
            self.abandoned.push(run);
            self.remember(started, by_hand, duration, "does not die, although it was killed".to_owned());
            decisions.push_back(Decision::Abandon { run });
        }
    }

    /// Writes down what became of a run.
    pub(super) fn remember(&mut self, started: Wall, by_hand: bool, duration: Duration, outcome: String) {
        let started = self.spec.schedule.local(started);
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.history.push_front(command::RunStatus { started, by_hand, duration_ms, outcome });
        self.history.truncate(HISTORY);
    }

    pub(super) fn status(&self, wall: Wall) -> command::JobStatus {
        let running =
            self.runs.iter().filter_map(|run| Some((run.pid?, self.spec.schedule.local(run.started))));
        let (running, running_since) = running.unzip();
        command::JobStatus {
            name: self.spec.name.clone(),
            at: self.spec.schedule.text().to_owned(),
            next: self.next.map(|next| self.spec.schedule.local(next)),
            next_in_seconds: self
                .next
                .map(|next| next.seconds.saturating_sub(wall.seconds).max(0).unsigned_abs()),
            running,
            running_since,
            history: self.history.iter().cloned().collect(),
        }
    }

    fn skip(&mut self, scheduled: Wall, by_hand: bool, reason: &str, decisions: &mut VecDeque<Decision>) {
        self.remember(scheduled, by_hand, Duration::ZERO, format!("skipped: {reason}"));
        decisions.push_back(Decision::Skip { job: self.spec.name.clone(), reason: reason.to_owned() });
    }
}

impl Run {
    /// TERM, unless it got it already; KILL follows then at the latest.
    pub(super) fn tell(&mut self, why: Why, kill: Time, decisions: &mut VecDeque<Decision>) {
        match &mut self.ending {
            Some(Ending { kill: Some(planned), .. }) => *planned = kill.min(*planned),
            // It did not count then, or an earlier version does not say.
            Some(ending) => ending.give_up = ending.give_up.or(Some(kill.after(GIVE_UP))),
            None => {
                self.ending = Some(Ending { why, kill: Some(kill), give_up: None });
                decisions.push_back(Decision::Kill { run: self.id, how: Kill::Term });
            }
        }
    }

    /// When it must be told to end, or killed.
    pub(super) fn deadline(&self, timeout: Option<Duration>) -> Option<Time> {
        match self.ending {
            None => timeout.map(|timeout| self.begun.after(timeout)),
            Some(ending) => ending.kill.or(ending.give_up),
        }
    }

    /// What became of it, for the history.
    pub(super) fn outcome(&self, exit: Exit) -> String {
        match (self.ending.map(|ending| ending.why), exit) {
            (Some(Why::TimedOut), _) => "timed out".to_owned(),
            (Some(Why::Replaced), _) => "ended: replaced by the next run".to_owned(),
            (Some(Why::Stopped), _) => "ended: the server stopped".to_owned(),
            (None, Exit::Code(0)) => "ok".to_owned(),
            (None, exit) => exit.to_string(),
        }
    }
}
