//! `hatchery exec`: a command in place of this process, as an app, a daemon or a cron job of the configuration would run it.
//! No master is needed for it, and none is asked.

use super::env_files::EnvFiles;
use super::environment;
use super::generation::account;
use super::surroundings::{Surroundings, app_of};
use crate::config::Config;
use crate::sys::process::{self, LaunchStep};
use crate::sys::user::{self, Account};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

/// As whom a command is to run.
#[derive(Debug)]
pub(crate) struct As {
    label: String,
    around: Surroundings,
}

impl As {
    /// The app, daemon or cron job of that name.
    ///
    /// # Errors
    /// For the operator: there is none; it has a user that we may not become, or a file that we may not read.
    pub(crate) fn named(config: &Config, name: &str) -> Result<Self, String> {
        if let Some(app) = config.apps.iter().find(|app| app.name == name) {
            let label = format!("app {name}");
            let account = user_of(config, &label, &app.user, None)?;
            let files = files_of(config, &label, &[&app.env_file])?;
            let around = Surroundings::of_app(app, &files, account.as_ref());
            return Ok(Self { label, around: around.map_err(|error| error.to_string())? });
        }
        let daemon = config.daemons.iter().find(|daemon| daemon.name == name).map(|daemon| &daemon.task);
        let job = config.cron.iter().find(|job| job.name == name).map(|job| &job.task);
        let Some(task) = daemon.or(job) else { return Err(unknown(config, name)) };
        let label = format!("{} {name}", if daemon.is_some() { "daemon" } else { "cron job" });
        let account = user_of(config, &label, &task.user, task.app)?;
        let of_app = app_of(config, task).map_or(&[][..], |app| &app.env_file);
        let files = files_of(config, &label, &[of_app, &task.env_file])?;
        let around = if daemon.is_some() { Surroundings::of_daemon } else { Surroundings::of_job };
        let around = around(config, task, &files, account.as_ref()).map_err(|error| error.to_string())?;
        Ok(Self { label, around })
    }

    /// Becomes the command; returns only if that cannot be, with the reason for the operator.
    pub(crate) fn become_command(&self, command: &[OsString]) -> String {
        let Self { label, around } = self;
        let output = io::stdout().as_fd().try_clone_to_owned();
        let (step, error) = match output.and_then(|output| around.program(command, output)) {
            Ok(program) => process::become_another(&program),
            Err(error) => (LaunchStep::Descriptors, error),
        };
        let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let told = environment::refused(&name, step, &error);
        match step {
            LaunchStep::Limits => format!(
                "{label}: cannot set {error}; to go beyond what this shell has takes CAP_SYS_RESOURCE, which root may lack in \
                 a container, and no process may have more open files than /proc/sys/fs/nr_open says"
            ),
            LaunchStep::Directory => format!("{label}: {told} ({})", around.directory.display()),
            LaunchStep::Execute if error.kind() == io::ErrorKind::NotFound && !name.contains('/') => {
                let path = around.environment.path();
                format!("{label}: {told}; it was looked for in {}", path.to_string_lossy())
            }
            _ => format!("{label}: {told}"),
        }
    }
}

/// The user, as the master would have it: its own, that of its app, that of the workers; `None`: ours.
fn user_of(
    config: &Config,
    label: &str,
    own: &Option<String>,
    app: Option<usize>,
) -> Result<Option<Account>, String> {
    let of_app = app.and_then(|app| config.apps.get(app)).and_then(|app| app.user.as_ref());
    let Some(name) = own.as_ref().or(of_app).or(config.user.as_ref()) else { return Ok(None) };
    let is_ours =
        || Account::named(name).is_ok_and(|found| found.is_some_and(|found| found.uid == user::uid()));
    if !user::is_root() && !is_ours() {
        return Err(format!(
            "{label} runs as the user \"{name}\", and only root and that user can run something as it does: use sudo"
        ));
    }
    account(&format!("{label}: user"), Some(name))
}

/// What its files say. Those of a server that root starts are often for root alone, who reads them for its users.
fn files_of(config: &Config, label: &str, paths: &[&[PathBuf]]) -> Result<EnvFiles, String> {
    let is_closed = |path: &&PathBuf| access(*path, AccessFlags::R_OK) == Err(Errno::EACCES);
    let closed = paths.iter().copied().flatten().find(is_closed);
    if let Some(path) = closed.filter(|_| !user::is_root()) {
        return Err(format!(
            "{label} has variables from `{}`, which this user cannot read: use sudo (with -u, if another user than root \
             starts the server)",
            path.display()
        ));
    }
    EnvFiles::read(config, |path| paths.iter().copied().flatten().any(|own| own == path))
}

fn unknown(config: &Config, name: &str) -> String {
    let apps = config.apps.iter().map(|app| &app.name);
    let daemons = config.daemons.iter().map(|daemon| &daemon.name);
    let names = apps.chain(daemons).chain(config.cron.iter().map(|job| &job.name));
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() {
        return "the configuration has no app, daemon or cron job that a command could run as".to_owned();
    }
    format!("there is no \"{name}\"; there is: {}", names.join(", "))
}
