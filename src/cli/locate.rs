//! Finding the configuration, and from it the running master.

use super::Failure;
use crate::config::{self, Config, Disk, Problem};
use crate::control::command::{Request, Response};
use crate::master::control;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where a configuration is looked for that was not named.
const PLACES: [&str; 2] = ["hatchery.ron", "/etc/hatchery/hatchery.ron"];

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
    /// It is not there, or refuses.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        control::ask(&self.socket()?, request).map_err(Failure::Failed)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The configuration that should say so is not there.
    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.control {
            return Ok(path.clone());
        }
        let Some(file) = self.config.clone().or_else(find) else { return Ok(control::find()) };
        match load(&file) {
            Ok(config) => Ok(config.control.unwrap_or_else(control::find)),
            Err(text) if self.config.is_some() && !file.exists() => Err(Failure::Usage(text)),
            Err(text) => {
                // A master may well run with what the file said before.
                eprintln!(
                    "{text}\nhatchery: looking for the master in the default place (or give --control PATH)"
                );
                Ok(control::find())
            }
        }
    }
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

/// Problems, one a line.
pub(super) fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
