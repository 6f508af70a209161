//! What is around a program that runs as an app, a daemon or a cron job does: environment, directory, user and limits. For
//! the master, which starts such programs, and for `hatchery exec`, which becomes one.

use super::env_files::EnvFiles;
use super::environment::{Environment, string};
use crate::config::{App, Config, Task};
use crate::sys::process::Program;
use crate::sys::resources::Resources;
use crate::sys::user::Account;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) environment: Environment,
    /// Where it runs.
    pub(super) directory: PathBuf,
    /// That is the home of its user: where it does not exist, it runs in `/`.
    pub(super) is_at_home: bool,
    /// `None`: ours.
    account: Option<Account>,
    resources: Resources,
}

impl Surroundings {
    /// Those of an app.
    ///
    /// # Errors
    /// As [`EnvFiles::set`], as of all of these.
    pub(super) fn of_app(app: &App, files: &EnvFiles, account: Option<&Account>) -> io::Result<Self> {
        let task = Task { resources: app.resources.clone(), ..Task::default() };
        if app.kind.scripts().is_some() {
            // What scripts find around them is what the configuration and the request say.
            let around = Self::of_task(Environment::of_scripts(), Some(app), &task, files, None)?;
            return Ok(Self { account: account.cloned(), ..around });
        }
        Self::of_task(Environment::ours(), Some(app), &task, files, account)
    }

    /// Those of a daemon: of its app, and what it says itself.
    pub(super) fn of_daemon(
        config: &Config,
        task: &Task,
        files: &EnvFiles,
        account: Option<&Account>,
    ) -> io::Result<Self> {
        Self::of_task(Environment::ours(), app_of(config, task), task, files, account)
    }

    /// Those of a cron job: as of a daemon with an app; without one those that cron(8) gives, a clean environment and the
    /// home of its user.
    pub(super) fn of_job(
        config: &Config,
        task: &Task,
        files: &EnvFiles,
        account: Option<&Account>,
    ) -> io::Result<Self> {
        if task.app.is_some() {
            return Self::of_daemon(config, task, files, account);
        }
        let mut environment = Environment::clean();
        let own = account.cloned().or_else(|| Account::own().ok());
        if let Some(own) = &own {
            environment.set_account(own);
        }
        let home = own.filter(|_| task.chdir.is_none()).map(|own| own.home);
        let around = Self::of_task(environment, None, task, files, account)?;
        Ok(Self { is_at_home: home.is_some(), directory: home.unwrap_or(around.directory), ..around })
    }

    fn of_task(
        mut environment: Environment,
        app: Option<&App>,
        task: &Task,
        files: &EnvFiles,
        account: Option<&Account>,
    ) -> io::Result<Self> {
        if let Some(account) = account {
            environment.set_account(account);
        }
        if let Some(app) = app {
            environment.set_app(app, files)?;
        }
        environment.set_task(task, files)?;
        let directory = task.chdir.as_ref().or(app.map(|app| &app.chdir));
        Ok(Self {
            environment,
            directory: directory.cloned().unwrap_or_else(|| "/".into()),
            is_at_home: false,
            account: account.cloned(),
            resources: task.resources.clone(),
        })
    }

    /// The program of a command among them, which prints to `output`.
    pub(super) fn program(&self, command: &[impl AsRef<OsStr>], output: OwnedFd) -> io::Result<Program> {
        let name = command.first().map(AsRef::as_ref).unwrap_or_default();
        Ok(Program {
            candidates: self.environment.candidates(name),
            arguments: command.iter().filter_map(|argument| string(argument.as_ref())).collect(),
            environment: self.environment.strings(),
            directory: string(self.directory.as_os_str()),
            or_in_root: self.is_at_home,
            account: self.account.clone(),
            stdin: None,
            stdout: output.try_clone()?,
            stderr: output,
            descriptors: Vec::new(),
            resources: self.resources.clone(),
            death_signal: None,
            umask: None,
            told_pid: false,
        })
    }
}

/// The app that a task belongs to.
pub(super) fn app_of<'a>(config: &'a Config, task: &Task) -> Option<&'a App> {
    task.app.and_then(|app| config.apps.get(app))
}
