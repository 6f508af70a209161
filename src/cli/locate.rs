//! Finding the configuration, and from it the running master.

use super::Failure;
use crate::config::{self, Config, Disk, Problem};
use crate::control::command::{Identity, Order, Request, Response};
use crate::master::control;
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a configuration is looked for that was not named.
const PLACES: [&str; 2] = ["hatchery.ron", "/etc/hatchery/hatchery.ron"];

/// The configuration that a command is about.
#[derive(Debug, Args)]
pub(super) struct File {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, without a flag
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl File {
    /// The file.
    ///
    /// # Errors
    /// As [`file()`].
    pub(super) fn find(&self) -> Result<PathBuf, Failure> {
        file(self.config.as_deref().or(self.file.as_deref()))
    }
}

/// Which master a command talks to.
#[derive(Debug, Args)]
pub(super) struct Master {
    /// Configuration file of the master [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket of the master [default: from the configuration]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Master {
    /// Sends a command to the running master.
    ///
    /// # Errors
    /// It is not there, is another than is meant, or refuses.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        self.find()?.ask(request)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The configuration that should say so is not there.
    pub(super) fn find(&self) -> Result<Found, Failure> {
        let certain = |path| Found { path, meant: None, problems: None };
        if let Some(path) = &self.control {
            return Ok(certain(path.clone()));
        }
        let file = self.config.clone().or_else(find);
        // Other masters of this user listen in the default places too.
        let by_default = |problems| {
            let config = file.as_deref().map(real);
            let directory = here().directory.filter(|_| self.config.is_none());
            Found { path: control::find(), meant: Some(Identity { config, directory }), problems }
        };
        match file.as_deref().map(load) {
            None => Ok(by_default(None)),
            Some(Ok(config)) => Ok(config.control.map_or_else(|| by_default(None), certain)),
            Some(Err(text)) if file.as_ref().is_some_and(|file| !file.exists()) => Err(Failure::Usage(text)),
            // A master may well run with what the file said before.
            Some(Err(text)) => Ok(by_default(Some(text))),
        }
    }
}

/// Where a master should listen.
#[derive(Debug)]
pub(super) struct Found {
    /// Its socket.
    pub(super) path: PathBuf,
    /// Who should listen there, where it may be another one.
    meant: Option<Identity>,
    /// What is wrong with the configuration that should have said where.
    problems: Option<String>,
}

impl Found {
    /// Sends a command.
    ///
    /// # Errors
    /// As [`Master::ask`]. What is wrong with the configuration is told only here, and once: a master that is asked to
    /// reload tells it too.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        self.ask_within(request, control::STATUS)
    }

    /// As [`Self::ask`]; a master that is asked for its status has so long to answer.
    pub(super) fn ask_within(&self, request: &Request, patience: Duration) -> Result<Response, Failure> {
        let meant = self.meant.clone().filter(|_| !request.is_harmless());
        let order = Order { request: request.clone(), meant };
        control::ask(&self.path, &order, patience).map_err(|error| {
            Failure::Failed(match &self.problems {
                Some(problems) => format!(
                    "{problems}\n{error}; the file could not be asked for the control socket, so the default place was \
                     tried (--control PATH names another)"
                ),
                None => error,
            })
        })
    }
}

/// A server that is started, or a command that is given, here.
pub(super) fn here() -> Identity {
    let directory = std::env::current_dir().ok().map(|directory| real(&directory));
    Identity { config: None, directory }
}

/// One name for each file: absolute, without symbolic links.
pub(super) fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// The configuration file to use.
///
/// # Errors
/// There is none; the message names the places.
pub(super) fn file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    find().ok_or_else(|| {
        let [here, system] = PLACES;
        Failure::Usage(format!(
            "no configuration: neither ./{here} nor {system} exists; name one with -c FILE, or serve an app without a \
             file: hatchery run --http :8000 --module config.wsgi"
        ))
    })
}

fn find() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Reads a configuration file.
///
/// # Errors
/// All of its problems, one a line.
pub(super) fn load(path: &Path) -> Result<Config, String> {
    config::load(path, &Disk).map_err(|problems| lines(&problems))
}

/// More are counted.
const MOST_LINES: usize = 100;

/// Problems, one a line.
pub(super) fn lines(problems: &[Problem]) -> String {
    let mut lines: Vec<String> = problems.iter().take(MOST_LINES).map(Problem::to_string).collect();
    if let more @ 1.. = problems.len().saturating_sub(MOST_LINES) {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}
