//! Runs of cron jobs: the program with its environment, its output in the log, how it ended. When one starts, and what
//! happens to a run that takes too long, `cron` decides.

use super::abandoned::{Abandoned, What};
use super::environment::{self, Environment, string};
use super::generation::Generation;
use super::heirs::Heirs;
use super::journal::Journal;
use super::output::Output;
use super::{Channel, Master, Token};
use crate::config::{Config, CronJob};
use crate::control::command::Response;
use crate::control::exit::Exit;
use crate::cron::{Decision, JobSpec, Kill, RunId, Schedule};
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{self, Child, Launch, Program};
use crate::sys::user::Account;
use crate::sys::{channel, clock, signals};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

/// One run of a job.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CronRun {
    /// Name of the job.
    pub(super) job: String,
    /// Its process.
    pub(super) process: Child,
    program: String,
    launch: Option<Launch>,
    output: Output,
    /// The home of its user, if that is where it is to run and nobody was told yet that it does not exist.
    home: Option<PathBuf>,
    /// Why the program could not be started.
    failure: Option<String>,
}

impl CronRun {
    /// Starts the job at `index`.
    ///
    /// # Errors
    /// For the log: why there is no process.
    pub(super) fn start(generation: &Generation, index: usize) -> io::Result<Self> {
        let config = &generation.config;
        let job = config.cron.get(index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let (read, write) = channel::from_child()?;
        let (environment, directory) = surroundings(generation, index, job);
        let (directory, home) = match directory {
            Directory::Given(directory) => (directory, None),
            Directory::Home(home) => (home.clone(), Some(home)),
        };
        let name = job.task.command.first().map(OsStr::new).unwrap_or_default();
        let program = Program {
            candidates: environment.candidates(name),
            arguments: job.task.command.iter().filter_map(|argument| string(OsStr::new(argument))).collect(),
            environment: environment.strings(),
            directory: string(directory.as_os_str()),
            or_in_root: home.is_some(),
            account: generation.job_accounts.get(index).cloned().flatten(),
            stdin: None,
            stdout: write.try_clone()?,
            stderr: write,
            descriptors: Vec::new(),
            resources: job.task.resources.clone(),
            death_signal: Some(signals::SIGTERM),
        };
        let (process, launch) = process::spawn(&program)?;
        let output = Output::new(&job.name, read);
        let program = job.task.command.first().cloned().unwrap_or_default();
        Ok(Self {
            job: job.name.clone(),
            process,
            program,
            launch: Some(launch),
            output,
            home,
            failure: None,
        })
    }

    /// Waits for what it may print or tell.
    pub(super) fn watch<'a>(&'a self, id: RunId, set: &mut Set<'a, Token>) {
        if let Some(launch) = &self.launch {
            set.add(launch.descriptor().as_fd(), Token::Run(id, Channel::Launch), Interest::READ);
        }
        self.output.watch(set, Token::Run(id, Channel::Output));
    }

    /// What it prints.
    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// The same, with its name.
    pub(super) fn output_mut(&mut self) -> (String, &mut Output) {
        (format!("cron {}", self.job), &mut self.output)
    }

    /// A descriptor of the run is ready.
    pub(super) fn ready(&mut self, channel: Channel, journal: &mut Journal, now: Time) {
        match channel {
            Channel::Output => self.output.read(&format!("cron {}", self.job), journal, now),
            Channel::Launch | Channel::Control | Channel::Ear | Channel::Inquiry => self.launched(),
        }
    }

    fn launched(&mut self) {
        let Some(launch) = &mut self.launch else { return };
        let outcome = launch.outcome();
        if launch.is_astray()
            && let Some(home) = self.home.take()
        {
            log::warn!(
                target: "hatchery",
                "cron {}: runs in `/`, as the home of its user, `{}`, does not exist; give it `chdir`",
                self.job,
                home.display()
            );
        }
        let Some(outcome) = outcome else { return };
        self.launch = None;
        self.failure = outcome.map(|(step, error)| environment::refused(&self.program, step, &error));
    }

    /// The run was reaped: logs what it still printed; why its program could not be started, if it could not.
    pub(super) fn bury(mut self, journal: &mut Journal, heirs: &mut Heirs, now: Time) -> Option<String> {
        self.launched();
        let name = format!("cron {}", self.job);
        heirs.add(&name, self.output.finish(&name, journal, now));
        self.failure
    }
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
                Decision::Abandon { run } => self.abandon_run(run, now),
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
        match CronRun::start(&self.current, index) {
            Ok(run) => {
                let pid = run.process.pid;
                log::info!(target: "hatchery", "cron {job}: started (process {pid})");
                self.scheduler.started(id, pid);
                self.runs.insert(id, run);
            }
            Err(error) => {
                log::error!(target: "hatchery", "cron {job}: could not start: {error}");
                self.scheduler.could_not_start(id, &error.to_string());
            }
        }
    }

    fn kill_run(&self, id: RunId, how: Kill) {
        let Some(run) = self.runs.get(&id) else { return };
        let signal = match how {
            Kill::Term => signals::SIGTERM,
            Kill::Kill => signals::SIGKILL,
        };
        // The whole group: a shell does not pass signals on to what it runs.
        if let Err(error) = process::signal(&run.process, signal, true) {
            log::debug!(target: "hatchery", "cannot signal cron {}: {error}", run.job);
        }
    }

    /// A run does not die.
    fn abandon_run(&mut self, id: RunId, now: Time) {
        let Some(run) = self.runs.remove(&id) else { return };
        let name = format!("cron {}", run.job);
        self.heirs.add(&name, run.output.finish(&name, &mut self.journal, now));
        self.abandon(Abandoned::new(name, run.process, What::Run(id)));
    }

    /// A run was reaped.
    pub(super) fn bury_run(&mut self, id: RunId, exit: Exit, now: Time) {
        let Some(run) = self.runs.remove(&id) else { return };
        let job = run.job.clone();
        let exit = self.cause(exit);
        match run.bury(&mut self.journal, &mut self.heirs, now) {
            Some(why) => {
                log::error!(target: "hatchery", "cron {job}: {why}");
                self.scheduler.could_not_start(id, &why);
            }
            None => {
                let level = if exit == Exit::Code(0) { log::Level::Info } else { log::Level::Warn };
                log::log!(target: "hatchery", level, "cron {job}: ended: {exit}");
                self.scheduler.exited(id, exit, clock::wall(), now);
            }
        }
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

/// Where a job runs.
enum Directory {
    /// In a directory of its own, or that of its app.
    Given(PathBuf),
    /// At home, or in `/` where there is none.
    Home(PathBuf),
}

/// The environment and directory of a job: those of its app, or a clean one and the home of its user.
fn surroundings(generation: &Generation, index: usize, job: &CronJob) -> (Environment, Directory) {
    let app = job.task.app.and_then(|app| generation.config.apps.get(app));
    let mut environment = if app.is_some() { Environment::ours() } else { Environment::clean() };
    let account = match generation.job_accounts.get(index).cloned().flatten() {
        None if app.is_none() => Account::own().ok(),
        account => account,
    };
    if let Some(account) = &account {
        environment.set_account(account);
    }
    if let Some(app) = app {
        environment.set_app(app);
    }
    environment.set_all(&job.task.env);
    let directory = match job.task.chdir.clone().or_else(|| app.map(|app| app.chdir.clone())) {
        Some(given) => Directory::Given(given),
        None => Directory::Home(account.map_or_else(|| "/".into(), |account| account.home)),
    };
    (environment, directory)
}
