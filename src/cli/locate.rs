//! Finding the configuration, and from it the running master.

use super::Failure;
use crate::config::{self, Config, Disk, Problem};
use crate::control::command::{Identity, Order, Request, Response};
use crate::control::text;
use crate::master::control::{self, Asked, Running};
use clap::Args;
use std::path::{Component, Path, PathBuf};
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
    pub(super) config: Option<PathBuf>,
    /// Control socket of the master [default: from the configuration]
    #[arg(long, value_name = "PATH")]
    pub(super) control: Option<PathBuf>,
}

impl Master {
    /// That of this file.
    pub(super) fn of(file: &Path) -> Self {
        Self { config: Some(file.to_owned()), control: None }
    }

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
        if let Some(path) = &self.control {
            return Ok(Found { path: path.clone(), meant: None, problems: None, is_in_sight: true });
        }
        // The nearest one that runs: a server that was started here with flags may have the file of another one behind it.
        let nearest = match &self.config {
            Some(file) => vec![of_file(file)],
            None => nearest(Path::is_file),
        };
        if let Some(Running { control, identity, .. }) = nearest.iter().find_map(control::master) {
            return Ok(Found::at(control, identity));
        }
        let Some(file) = self.config.clone().or_else(find) else {
            return Ok(Found { is_in_sight: false, ..Found::at(control::place(&here()), here()) });
        };
        let meant = of_file(&file);
        let place = control::place(&meant);
        match load(&file) {
            Ok(config) => Ok(Found::at(config.control.map_or(place, |control| control.path), meant)),
            Err(text) if !file.exists() => Err(Failure::Usage(text)),
            // A master may well run with what the file said before.
            Err(text) => Ok(Found { problems: Some(text), ..Found::at(place, meant) }),
        }
    }
}

/// Whom a command may mean that names no file. A file here that has no server does not mean the server of the system.
fn nearest(is_file: impl Fn(&Path) -> bool) -> Vec<Identity> {
    let [own, system] = PLACES.map(|place| Some(Path::new(place)).filter(|file| is_file(file)).map(of_file));
    let system = system.filter(|_| own.is_none());
    [own, Some(here()), system].into_iter().flatten().collect()
}

/// Where a master should listen.
#[derive(Debug)]
pub(super) struct Found {
    /// Its socket.
    pub(super) path: PathBuf,
    /// Who should listen there; `None`: whoever does.
    meant: Option<Identity>,
    /// What is wrong with the configuration that should have said where.
    problems: Option<String>,
    /// Something tells that there is one: what was typed, a file, or itself.
    pub(super) is_in_sight: bool,
}

impl Found {
    fn at(path: PathBuf, meant: Identity) -> Self {
        Self { path, meant: Some(meant), problems: None, is_in_sight: true }
    }

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
        self.send_within(request, patience)?.answer().map_err(|error| self.failure(error))
    }

    /// As [`Self::ask`], without waiting for the answer.
    pub(super) fn send(&self, request: &Request) -> Result<Asked, Failure> {
        self.send_within(request, control::STATUS)
    }

    fn send_within(&self, request: &Request, patience: Duration) -> Result<Asked, Failure> {
        let order = Order { request: request.clone(), meant: self.meant.clone() };
        Asked::send(&self.path, &order, patience).map_err(|error| self.failure(error))
    }

    fn failure(&self, error: String) -> Failure {
        let error = match &self.problems {
            Some(problems) => format!(
                "{problems}\n{error}; the file could not be asked for the control socket, so the default place was \
                 tried (--control PATH names another)"
            ),
            None => error,
        };
        let mut others = control::masters();
        others.retain(|master| master.control != self.path);
        Failure::Failed(match &*others {
            [] => error,
            others => format!("{error}\nthese run:\n{}", list(others)),
        })
    }
}

/// Masters that run, one a line.
pub(super) fn list(masters: &[Running]) -> String {
    let line = |Running { identity, pid, control }: &Running| {
        text::line(&format!("  {identity}  process {pid}  --control {}", control.display())) + "\n"
    };
    masters.iter().map(line).collect()
}

/// A server that is started, or a command that is given, here.
pub(super) fn here() -> Identity {
    let directory = std::env::current_dir().ok().map(|directory| named(&directory));
    Identity { config: None, directory }
}

/// The master of that file, wherever it was started.
pub(super) fn of_file(file: &Path) -> Identity {
    Identity { config: Some(named(file)), directory: None }
}

/// One name for each way to a file: absolute, with the links on it, which may be made to lead elsewhere (`current`).
fn named(path: &Path) -> PathBuf {
    let climbs = path.components().any(|component| component == Component::ParentDir);
    let real = || path.canonicalize().ok().filter(|_| climbs);
    let path = real().or_else(|| std::path::absolute(path).ok()).unwrap_or_else(|| path.to_owned());
    // It travels in JSON.
    path.to_string_lossy().into_owned().into()
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

/// Lines, of which those beyond a hundred are counted only.
pub(super) fn counted(mut lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown: Vec<String> = lines.by_ref().take(MOST_LINES).collect();
    if let more @ 1.. = lines.count() {
        shown.push(format!("and {more} more"));
    }
    shown
}

/// More are counted.
const MOST_LINES: usize = 100;

/// Problems, one a line.
pub(super) fn lines(problems: &[Problem]) -> String {
    counted(problems.iter().map(Problem::to_string)).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_here_keeps_a_command_from_the_server_of_the_system() {
        let [own, system] = PLACES.map(|place| of_file(Path::new(place)));
        let found = |there: &[&str]| nearest(|file| there.iter().any(|place| Path::new(place) == file));
        assert_eq!(found(&PLACES), [own.clone(), here()]);
        assert_eq!(found(&PLACES[..1]), [own, here()]);
        assert_eq!(found(&PLACES[1..]), [here(), system]);
        assert_eq!(found(&[]), [here()]);
    }
}
