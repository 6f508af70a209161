//! The state of a master as it travels to the program that it executes (`upgrade`): JSON in a file in memory, every
//! thing under its name, descriptors by number (`sys::carried`). What is held of a thing while it lives writes and reads
//! itself; what it cannot take along is marked there (`#[serde(skip)]`) and made anew.

use super::acme::Acme;
use super::child::Children;
use super::control::Control;
use super::follow::Follower;
use super::generation::{Generation, PoolNumbers};
use super::heirs::Heirs;
use super::journal::Journal;
use super::keyring::Keyring;
use super::limits;
use super::listeners::Inherited;
use super::maintenance::Closed;
use super::names::Names;
use super::notify::Notify;
use super::pidfile::PidFile;
use super::runtime::RuntimeDir;
use super::template::Nursery;
use super::touch::Touch;
use crate::control::PROTOCOL;
use crate::control::command::Identity;
use crate::cron::Scheduler;
use crate::dispatch::Board;
use crate::supervisor::Supervisor;
use crate::sys::carried::Carried;
use crate::timer::Time;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;

/// Number of this format: another one whenever a field goes or changes its meaning. New ones have a default.
const FORMAT: u32 = 5;

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

/// What travels: the state, and what must be known before it is read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved<S> {
    pub(super) header: Header,
    /// Where the next program will be.
    pub(super) program: Option<PathBuf>,
    /// The configuration file that a reload reads.
    pub(super) file: Option<PathBuf>,
    /// By what commands tell this master from others.
    pub(super) identity: Identity,
    /// Signals that had come and were not taken in.
    pub(super) signals: Vec<i32>,
    /// Every descriptor that the state names.
    pub(super) descriptors: Vec<RawFd>,
    /// Of these the one of the shared memory.
    pub(super) board: RawFd,
    /// And those of the listening sockets, in the order in which a trial is given copies.
    pub(super) sockets: Vec<RawFd>,
    /// [`super::Master`] as it writes itself, [`State`] as it is read.
    pub(super) state: S,
}

/// What of a master goes on in the next program.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) supervisor: Supervisor,
    #[serde(default)]
    pub(super) closed: Closed,
    #[serde(default)]
    pub(super) touch: Touch,
    pub(super) keyring: Keyring,
    pub(super) scheduler: Scheduler,
    #[serde(default)]
    pub(super) acme: Acme,
    pub(super) names: Names,
    pub(super) children: Children,
    pub(super) nursery: Nursery,
    pub(super) heirs: Heirs,
    pub(super) current: Generation,
    pub(super) numbers: PoolNumbers,
    pub(super) inherited: Inherited,
    pub(super) board_file: Carried,
    /// Programs before had none.
    #[serde(default)]
    pub(super) cache: Option<super::store::Saved>,
    #[serde(default)]
    pub(super) limits: Option<limits::Kept>,
    #[serde(default)]
    pub(super) limited: BTreeMap<String, limits::Exceeded>,
    pub(super) wake: Rc<[Carried]>,
    pub(super) requests: u64,
    #[serde(default)]
    pub(super) faults: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) activity: (u64, Time),
    pub(super) watching: bool,
    pub(super) journal: Journal,
    pub(super) followers: Vec<Follower>,
    pub(super) control: Control,
    pub(super) notify: Notify,
    pub(super) stored: BTreeSet<String>,
    pub(super) runtime: RuntimeDir,
    pub(super) pid_file: Option<PidFile>,
    pub(super) started: Time,
}

impl<S: DeserializeOwned> Saved<S> {
    /// Reads a state, and takes over what it names (`sys::carried`).
    ///
    /// # Errors
    /// Another format; what is not understood; a descriptor that did not come along.
    pub(super) fn read(state: &[u8]) -> Result<Self, String> {
        Header::read(state)?.check()?;
        serde_json::from_slice(state).map_err(|error| format!("the state is not understood: {error}"))
    }
}

/// A state of which only what comes before it is read.
pub(super) type Unread = Saved<IgnoredAny>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::place::Access;
    use crate::sys::{carried, process};

    #[test]
    fn what_is_read_ends_nothing_until_this_process_is_the_server() {
        let folder = std::env::temp_dir().join(format!("hatchery-saved-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (socket, number) = (folder.join("control.sock"), folder.join("x.pid"));
        let (control, pid_file) =
            (Control::bind(&socket, Access::of_mode(0o600)).unwrap(), PidFile::write(&number).unwrap());
        let runtime = RuntimeDir::create().unwrap();
        let paths = [socket, number, runtime.path().to_owned()];
        let (text, descriptors) =
            carried::written(|| serde_json::to_string(&(&control, &pid_file, &runtime)).unwrap());
        let in_place = |number| (number, process::memory_file(&[]).unwrap());
        carried::pretend(descriptors.into_iter().map(in_place).collect());
        let read: (Control, PidFile, RuntimeDir) = serde_json::from_str(&text).unwrap();
        drop((read, control));
        assert!(paths.iter().all(|path| path.exists()), "{paths:?}");
        carried::own();
        let connected = std::os::unix::net::UnixStream::connect(&paths[0]);
        assert!(connected.is_ok(), "what was dropped still listens");
        drop((pid_file, runtime));
        assert!(paths[0].exists() && paths[1..].iter().all(|path| !path.exists()), "{paths:?}");
        std::fs::remove_dir_all(folder).unwrap();
    }

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
        assert!(Unread::read(b"not a state").is_err());
    }
}
