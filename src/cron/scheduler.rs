//! The jobs: what runs when, what waits, what is skipped, what must end.
//!
//! Two clocks: wall time says when a job is due, monotonic time how long it has run. A job is never run twice for the
//! same time, also if the clock is set back; if the clock leaps forward (or the machine slept) it runs at most once for
//! all that it missed.
//!
//! ```text
//!  due ──► nothing of it runs ─────────────────────────► Run
//!     └──► it runs: Skip → Skip | Allow → Run | Queue → waits for the end | Replace → Kill, then as Queue
//!  Run ──► started | could_not_start ──► exited          timeout → Kill(Term), ten seconds later Kill(Kill),
//!                                                        five seconds later Abandon: nothing ends it
//! ```

use super::Overlap;
use super::job::{Decision, Job, JobSpec, RunId, Why};
use super::timeline::Timeline;
use crate::control::command;
use crate::control::exit::Exit;
use crate::timer::{Time, Wall};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// All jobs and their runs. Plain data that can be serialised, as all cores of the master.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scheduler {
    jobs: Vec<Job>,
    timeline: Timeline,
    /// Both clocks when it was last looked at.
    seen: (Wall, Option<Time>),
    next_run: u64,
    decisions: VecDeque<Decision>,
    stopping: bool,
}

/// Wall time that passed beyond monotonic time by more than this is a leap, not a clock being adjusted.
const LEAP_SECONDS: i64 = 60;

impl Scheduler {
    /// Jobs in the order of the file. What was due before `wall` is not caught up with.
    #[must_use]
    pub(crate) fn new(jobs: Vec<JobSpec>, wall: Wall) -> Self {
        let mut scheduler = Self {
            jobs: Vec::new(),
            timeline: Timeline::new(wall),
            seen: (wall, None),
            next_run: 1,
            decisions: VecDeque::new(),
            stopping: false,
        };
        scheduler.replace(jobs, wall);
        scheduler
    }

    /// After a reload. A job of the same name keeps its runs and its history; one that has gone only ends its runs.
    pub(crate) fn replace(&mut self, jobs: Vec<JobSpec>, wall: Wall) {
        let mut old = std::mem::take(&mut self.jobs);
        for spec in jobs {
            let known = old.iter().position(|job| job.spec.name == spec.name).map(|at| old.remove(at));
            let mut job = known.unwrap_or_else(|| Job::new(spec.clone()));
            if job.next.is_none() || job.spec.schedule != spec.schedule {
                job.spec = spec;
                job.plan(&self.timeline, wall);
            } else {
                job.spec = spec;
            }
            job.listed = true;
            self.jobs.push(job);
        }
        for mut job in old {
            job.listed = false;
            job.next = None;
            job.waiting = None;
            self.jobs.push(job);
        }
        self.forget();
    }

    /// By hand: as if the job were due now; its schedule stays as it is.
    ///
    /// # Errors
    /// There is no such job, or it may not run now.
    pub(crate) fn run_now(&mut self, name: &str, wall: Wall, now: Time) -> Result<(), String> {
        if self.stopping {
            return Err("the server is stopping".to_owned());
        }
        let names: Vec<&str> =
            self.jobs.iter().filter(|job| job.listed).map(|job| job.spec.name.as_str()).collect();
        let unknown = match names.as_slice() {
            [] => "there are no cron jobs".to_owned(),
            names => format!("there is no job \"{name}\"; there is: {}", names.join(", ")),
        };
        let job = self.jobs.iter_mut().find(|job| job.listed && job.spec.name == name).ok_or(unknown)?;
        if !job.runs.is_empty() && job.spec.overlap == Overlap::Skip {
            return Err(format!("cron {name} is still running (overlap: Skip)"));
        }
        job.due(wall, true, now, &mut self.decisions);
        self.look(wall, now);
        Ok(())
    }

    /// When the next job is due, for a timer on the wall clock that also fires when the clock is set.
    #[must_use]
    pub(crate) fn next_wall(&self) -> Option<Wall> {
        if self.stopping { None } else { self.jobs.iter().filter_map(|job| job.next).min() }
    }

    /// When the next run must be told to end.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.jobs
            .iter()
            .flat_map(|job| job.runs.iter().filter_map(|run| run.deadline(job.spec.timeout)))
            .min()
    }

    /// What to do now. Call it until `None` after every other call, at `next_wall` and at `deadline`.
    pub(crate) fn poll(&mut self, wall: Wall, now: Time) -> Option<Decision> {
        if self.decisions.is_empty() {
            self.look(wall, now);
        }
        self.decisions.pop_front()
    }

    /// The process of a run has started.
    pub(crate) fn started(&mut self, run: RunId, pid: u32) {
        for job in &mut self.jobs {
            job.runs.iter_mut().filter(|known| known.id == run).for_each(|known| known.pid = Some(pid));
        }
    }

    /// The process of a run could not be started.
    pub(crate) fn could_not_start(&mut self, run: RunId, why: &str) {
        self.end(run, |job, run| {
            job.remember(run.started, run.by_hand, Duration::ZERO, format!("could not start: {why}"))
        });
    }

    /// The process of a run was reaped.
    pub(crate) fn exited(&mut self, run: RunId, exit: Exit, wall: Wall, now: Time) {
        self.jobs.iter_mut().for_each(|job| job.abandoned.retain(|known| *known != run));
        self.end(run, |job, run| {
            job.remember(run.started, run.by_hand, now.since(run.begun), run.outcome(exit))
        });
        self.look(wall, now);
    }

    /// The server stops: nothing starts any more, what runs gets TERM, and KILL after `within`.
    pub(crate) fn stop(&mut self, within: Duration, now: Time) {
        self.stopping = true;
        for decision in std::mem::take(&mut self.decisions) {
            match decision {
                // Not carried out yet: it never comes.
                Decision::Run { run, .. } => self.end(run, |_, _| {}),
                Decision::Skip { .. } | Decision::Kill { .. } | Decision::Abandon { .. } => {
                    self.decisions.push_back(decision);
                }
            }
        }
        for job in &mut self.jobs {
            job.waiting = None;
            for run in &mut job.runs {
                run.tell(Why::Stopped, now.after(within), &mut self.decisions);
            }
        }
    }

    /// Whether no run lives.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.iter().all(|job| job.runs.is_empty())
    }

    /// What `status` shows, in the order of the file.
    #[must_use]
    pub(crate) fn status(&self, wall: Wall) -> Vec<command::JobStatus> {
        self.jobs.iter().filter(|job| job.listed).map(|job| job.status(wall)).collect()
    }

    fn look(&mut self, wall: Wall, now: Time) {
        let (before, then) = self.seen;
        let passed = then.map_or(0, |then| now.since(then).as_secs().cast_signed());
        let leapt = then.is_some()
            && wall.seconds.saturating_sub(before.seconds) > passed.saturating_add(LEAP_SECONDS);
        self.seen = (wall, Some(now));
        let back = self.timeline.pass(wall, leapt);
        for job in &mut self.jobs {
            job.end_overdue(self.stopping, now, &mut self.decisions);
            if self.stopping || !job.listed {
                continue;
            }
            if back {
                job.plan(&self.timeline, wall);
            }
            if let Some(due) = job.next.filter(|next| *next <= wall) {
                let due = job.latest(due, &self.timeline, wall);
                if leapt {
                    job.leap(due);
                }
                job.plan(&self.timeline, wall);
                job.due(due, false, now, &mut self.decisions);
            }
            while let Some(scheduled) = job.startable() {
                let run = RunId(self.next_run);
                self.next_run += 1;
                job.start(run, wall, now);
                self.decisions.push_back(Decision::Run { job: job.spec.name.clone(), run, scheduled });
            }
        }
    }

    fn end(&mut self, run: RunId, told: impl FnOnce(&mut Job, &super::job::Run)) {
        let job = self.jobs.iter_mut().find(|job| job.runs.iter().any(|known| known.id == run));
        if let Some(job) = job
            && let Some(at) = job.runs.iter().position(|known| known.id == run)
        {
            let run = job.runs.remove(at);
            told(job, &run);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.jobs.retain(|job| job.listed || !job.runs.is_empty() || !job.abandoned.is_empty());
    }
}

#[cfg(test)]
mod tests;
