//! Runs of cron jobs: the program with its environment, its output in the log, how it ended. When one starts, and what
//! happens to a run that takes too long, `cron` decides.

use super::Master;
use super::child::{Child, Held, Id, Origin, Role};
use super::generation::Generation;
use super::output::Output;
use super::surroundings::Surroundings;
use crate::config::{Config, CronJob};
use crate::control::command::Response;
use crate::cron::{Decision, JobSpec, Kill, RunId, Schedule};
use crate::supervisor::{self, Exit};
use crate::sys::process::Program;
use crate::sys::{channel, clock, signals};
use crate::timer::Time;
use std::io;
use std::time::Duration;

/// Starts a run of the job at `index`.
///
/// # Errors
/// For the log: why there is no process.
fn spawn(generation: &Generation, index: usize, id: RunId) -> io::Result<Child> {
    let config = &generation.config;
    let job = config.cron.get(index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let (read, write) = channel::from_child()?;
    let account = generation.job_accounts.get(index).and_then(Option::as_ref);
    let around = Surroundings::of_job(config, &job.task, &generation.env_files, account)?;
    let program = around.program(&job.task.command, write)?;
    let program = Program { death_signal: Some(signals::SIGTERM), ..program };
    let home = Some(around.directory).filter(|_| around.is_at_home);
    let command = job.task.command.first().cloned().unwrap_or_default();
    Held::new(Id::Run(id), format!("cron {}", job.name), Role::Run)
        .prints(Output::new(&job.name, read))
        .start(&program, Origin::Command(command, home))
}

/// From TERM to KILL when the server stops fast.
const FAST: Duration = Duration::from_secs(1);

impl Master {
    /// The jobs of the current configuration, from now on.
    pub(super) fn schedule(&mut self) {
        self.scheduler.replace(specs(&self.current.config), clock::wall());
    }

    /// Carries out what is due.
    pub(super) fn run_jobs(&mut self, now: Time) {
        let wall = clock::wall();
        while let Some(decision) = self.scheduler.poll(wall, now) {
            match decision {
                Decision::Run { job, run, .. } => self.run_job(&job, run),
                Decision::Skip { job, reason } => {
                    log::warn!(target: "hatchery", "cron {job}: skipped: {reason}")
                }
                Decision::Kill { run, how } => self.kill_run(run, how),
                Decision::Abandon { run } => self.abandon(Id::Run(run), now),
            }
        }
        if let Err(error) = self.alarm.set(self.scheduler.next_wall()) {
            log::error!(target: "hatchery", "cron: cannot set the timer: {error}");
        }
    }

    /// `cron run`: as if it were due now.
    pub(super) fn run_by_hand(&mut self, name: &str, now: Time) -> Response {
        match self.scheduler.run_now(name, clock::wall(), now) {
            Ok(()) => Response::Done {
                text: format!("cron {name}: begun; `hatchery logs {name}` shows its output"),
            },
            Err(text) => Response::Failed { text },
        }
    }

    fn run_job(&mut self, job: &str, id: RunId) {
        let index = self.current.config.cron.iter().position(|known| known.name == job);
        // A job that has left the configuration is not run any more, so it is always found.
        let Some(index) = index else {
            return self.scheduler.could_not_start(id, "it has left the configuration");
        };
        match spawn(&self.current, index, id) {
            Ok(run) => {
                let pid = run.process.pid;
                log::info!(target: "hatchery", "cron {job}: started (process {pid})");
                self.scheduler.started(id, pid);
                self.children.add(run);
            }
            Err(error) => {
                log::error!(target: "hatchery", "cron {job}: could not start: {error}");
                self.scheduler.could_not_start(id, &error.to_string());
            }
        }
    }

    fn kill_run(&mut self, id: RunId, how: Kill) {
        if let Some(run) = self.children.find_mut(Id::Run(id)) {
            run.kill(match how {
                Kill::Term => supervisor::Kill::Term,
                Kill::Kill => supervisor::Kill::Kill,
            });
        }
    }

    /// A run was reaped.
    pub(super) fn run_ended(
        &mut self,
        id: RunId,
        name: &str,
        failure: Option<String>,
        exit: Exit,
        now: Time,
    ) {
        if let Some(why) = failure {
            log::error!(target: "hatchery", "{name}: {why}");
            return self.scheduler.could_not_start(id, &why);
        }
        let level = if exit == Exit::Code(0) { log::Level::Info } else { log::Level::Warn };
        log::log!(target: "hatchery", level, "{name}: ended: {exit}");
        self.scheduler.exited(id, exit, clock::wall(), now);
    }

    /// The server stops: runs get TERM and, in the end, KILL.
    pub(super) fn stop_jobs(&mut self, now: Time) {
        let within = if self.hurry { FAST } else { self.current.config.shutdown_timeout };
        self.scheduler.stop(within, now);
    }
}

/// The jobs as `cron` wants them.
fn specs(config: &Config) -> Vec<JobSpec> {
    let spec = |job: &CronJob| match Schedule::parse(&job.at, job.timezone.as_deref()) {
        Ok(schedule) => {
            let (name, overlap, timeout) = (job.name.clone(), job.overlap, job.timeout);
            Some(JobSpec { name, schedule, overlap, timeout })
        }
        Err(error) => {
            // Checked when the configuration was read; the database of time zones can change.
            log::error!(target: "hatchery", "cron {}: never runs: {error}", job.name);
            None
        }
    };
    config.cron.iter().filter_map(spec).collect()
}
