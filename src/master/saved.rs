//! The state of a master as it travels to the program that it executes (`upgrade`): JSON in a file in memory, every
//! thing under its name, descriptors by number. What belongs to one area is saved and restored there.

use super::abandoned::SavedAbandoned;
use super::child::SavedChild;
use super::control::SavedControl;
use super::cronjobs::SavedRun;
use super::follow::Follower;
use super::generation::{PoolNumbers, SavedGeneration};
use super::journal::Journal;
use super::kept::{Kept, Taking};
use super::listeners::SavedTaken;
use super::notify::SavedNotify;
use super::template::SavedNursery;
use crate::config::Config;
use crate::control::PROTOCOL;
use crate::control::command::Identity;
use crate::cron::{RunId, Scheduler};
use crate::dispatch::Board;
use crate::supervisor::{ChildId, Supervisor};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Number of this format: another one whenever a field goes or changes its meaning. New ones have a default.
const FORMAT: u32 = 1;

/// What is read first, so its fields stay for ever: whether the rest can be understood at all, and how the program was
/// started that wrote it, so that it can be started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    board: u64,
    protocol: u32,
    /// Version of the program that wrote it.
    pub(super) version: String,
    /// Its arguments.
    pub(super) arguments: Vec<OsString>,
    /// Its environment, which children inherit.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Header {
    /// Of this program, started so.
    pub(super) fn own(arguments: Vec<OsString>) -> Self {
        Self {
            format: FORMAT,
            board: Board::layout(),
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            arguments,
            environment: std::env::vars_os().collect(),
        }
    }

    /// The header of a state, whatever follows it.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn read(state: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Headed {
            header: Header,
        }
        let headed: Result<Headed, _> = serde_json::from_slice(state);
        headed.map(|headed| headed.header).map_err(|error| format!("the state cannot be read: {error}"))
    }

    fn check(&self) -> Result<(), String> {
        let restart = "restart the server instead";
        let Self { format, board, protocol, version, .. } = self;
        if *format != FORMAT {
            return Err(format!(
                "version {version} hands over its state in format {format}, this one knows {FORMAT}; {restart}"
            ));
        }
        if *board != Board::layout() {
            return Err(format!("version {version} lays its shared memory out differently; {restart}"));
        }
        if *protocol != PROTOCOL {
            return Err(format!(
                "processes of version {version} speak protocol {protocol}, this one speaks {PROTOCOL}; {restart}"
            ));
        }
        Ok(())
    }
}

/// The whole state.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) header: Header,
    /// Where the next program will be.
    pub(super) program: Option<PathBuf>,
    /// The configuration file that a reload reads.
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    /// By what commands tell this master from others.
    #[serde(default)]
    pub(super) identity: Option<Identity>,
    pub(super) supervisor: Supervisor,
    pub(super) scheduler: Scheduler,
    pub(super) children: Vec<(ChildId, SavedChild)>,
    #[serde(default)]
    pub(super) abandoned: Vec<SavedAbandoned>,
    pub(super) nursery: SavedNursery,
    pub(super) runs: Vec<(RunId, SavedRun)>,
    pub(super) generation: SavedGeneration,
    pub(super) numbers: PoolNumbers,
    pub(super) inherited: Vec<SavedTaken>,
    pub(super) board: Kept,
    pub(super) wake: Vec<Kept>,
    pub(super) activity: (u64, Time),
    pub(super) watching: bool,
    pub(super) journal: Journal,
    pub(super) followers: Vec<Follower>,
    pub(super) control: SavedControl,
    pub(super) notify: SavedNotify,
    pub(super) stored: BTreeSet<String>,
    pub(super) runtime: (PathBuf, Kept),
    pub(super) pid_file: Option<(PathBuf, Kept)>,
    pub(super) started: Time,
    /// Signals that had come and were not taken in.
    pub(super) signals: Vec<i32>,
    /// Every descriptor that is named above.
    pub(super) descriptors: Vec<RawFd>,
}

impl Saved {
    /// Reads a state, and the configuration in it as this program understands it.
    ///
    /// # Errors
    /// Another format; what is not understood.
    pub(super) fn read(state: &[u8]) -> Result<(Self, Config), String> {
        Header::read(state)?.check()?;
        let saved: Self =
            serde_json::from_slice(state).map_err(|error| format!("the state is not understood: {error}"))?;
        let config = saved.generation.config()?;
        Ok((saved, config))
    }

    /// What is restored from it leaves the files of the running server alone, whatever becomes of it.
    pub(super) fn disown(&mut self) {
        self.generation.listening.disown();
        self.control.disown();
        self.runtime.0 = PathBuf::new();
        self.pid_file.iter_mut().for_each(|(path, _)| *path = PathBuf::new());
    }

    /// All descriptors, each open and named once; to be taken over.
    ///
    /// # Errors
    /// One that is not there.
    pub(super) fn descriptors(&self) -> Result<Taking, String> {
        Taking::of(&self.descriptors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_kind_is_refused_with_both_versions() {
        let own = Header { version: "9.9.9".to_owned(), ..Header::own(vec!["hatchery".into()]) };
        let read = |header: &Header| {
            let text = format!("{{\"later\": 1, \"header\": {}}}", serde_json::to_string(header).unwrap());
            Header::read(text.as_bytes())
        };
        let again = read(&own).unwrap();
        assert_eq!((&again, again.check()), (&own, Ok(())));
        assert!(again.environment.iter().any(|(name, _)| name == "PATH"));
        for (other, what) in [
            (Header { format: FORMAT + 1, ..own.clone() }, "format"),
            (Header { board: own.board + 1, ..own.clone() }, "memory"),
            (Header { protocol: PROTOCOL + 1, ..own }, "protocol"),
        ] {
            let why = read(&other).unwrap().check().unwrap_err();
            assert!(why.contains(what) && why.contains("9.9.9") && why.contains("restart"), "{why}");
        }
        assert!(Header::read(b"{}").is_err() && Header::read(b"\xff").is_err());
        assert!(Saved::read(b"not a state").is_err());
    }
}
