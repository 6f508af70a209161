//! The other end of the control socket: finding the master, and asking it. Whoever can make a socket where a master is
//! looked for would be told commands and believed answers, so it is looked at first whose the socket is.

use crate::control::command::{Identity, Order, Request, Response};
use crate::master::runtime;
use crate::sys::peer::Peer;
use crate::sys::socket::{self, Expect};
use crate::sys::trust::{Stranger, user_name};
use crate::sys::user;
use serde::Serialize;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a client waits for a status, or until its command is taken: a master does both at once, or is stopped, or has no
/// processor.
pub const STATUS: Duration = Duration::from_secs(15);

const GONE: &str = "the master went away before it answered";

/// A command that was sent.
#[derive(Debug)]
pub struct Asked {
    stream: UnixStream,
    path: PathBuf,
    /// Where the answer begins.
    begun: [u8; 1],
}

impl Asked {
    /// Sends one command to the master that listens on `path`. Until it is taken, and for a status, it is waited for `patience`.
    ///
    /// # Errors
    /// For the operator: nobody listens there, or what went wrong on the way.
    pub fn send(path: &Path, order: &Order, patience: Duration) -> Result<Self, String> {
        let failed = |error: io::Error| told(path, &error);
        let (mut stream, _) = connect(path).map_err(failed)?;
        // Whoever asks a master that hangs must not hang too.
        stream.set_read_timeout(Some(patience)).map_err(failed)?;
        let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
        line.push(b'\n');
        stream.write_all(&line).map_err(failed)?;
        let mut begun = [0];
        stream.read_exact(&mut begun).map_err(failed)?;
        if order.request != Request::Status {
            stream.set_read_timeout(None).map_err(failed)?;
        }
        Ok(Self { stream, path: path.to_owned(), begun })
    }

    /// Readable when the answer comes.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// For the operator, as [`Self::send`].
    pub fn answer(mut self) -> Result<Response, String> {
        let mut answer = self.begun.to_vec();
        self.stream.read_to_end(&mut answer).map_err(|error| told(&self.path, &error))?;
        if answer.trim_ascii().is_empty() {
            return Err(GONE.to_owned());
        }
        serde_json::from_slice(&answer)
            .map_err(|error| format!("cannot understand the master's answer: {error}"))
    }
}

/// What it means that the master on `path` could not be asked.
fn told(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => GONE.to_owned(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("no master listens on {shown}: is it running? (--control PATH names another socket)")
        }
        io::ErrorKind::WouldBlock => {
            format!("the master on {shown} does not answer: it is stopped or very busy")
        }
        // What [`connect`] says of a stranger.
        _ if error.raw_os_error().is_none() => error.to_string(),
        io::ErrorKind::PermissionDenied => format!("not allowed to connect to {shown}: {}", lacking(path)),
        _ => format!("cannot talk to the master on {shown}: {error}"),
    }
}

/// What somebody lacks who may not connect to the socket.
fn lacking(path: &Path) -> String {
    let Ok(found) = std::fs::metadata(path) else {
        let closed = path.ancestors().skip(1).find(|directory| directory.exists()).unwrap_or(path);
        return format!("you may not enter the directory {}", closed.display());
    };
    let owner = Some(found.uid()).filter(|uid| *uid != 0).map(|uid| format!(", {}", user_name(uid)));
    let owner = owner.unwrap_or_default();
    if found.mode() & 0o020 == 0 {
        return format!("that is for root{owner} alone (`control: (path: …, group: …)` lets a group, too)");
    }
    let group = Stranger::Group(found.gid());
    format!("that is for root{owner} and {group}, in which you are not (who was just added logs in again)")
}

/// Where a master listens that was not told: a place for its configuration file, or for its directory if it has none.
#[must_use]
pub fn place(identity: &Identity) -> PathBuf {
    let path = identity.config.as_ref().or(identity.directory.as_ref());
    let bytes = path.map_or(&[][..], |path| path.as_os_str().as_encoded_bytes());
    // FNV-1a; another version must find it too.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if user::is_root() {
        return Path::new("/run/hatchery").join(format!("control-{hash:016x}.sock"));
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = runtime.unwrap_or_else(|| std::env::temp_dir().join(format!("hatchery-{}", user::uid())));
    folder.join(format!("hatchery-{hash:016x}.sock"))
}

/// A master of this user's that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// What it was started with.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its control socket.
    pub(crate) control: PathBuf,
}

impl Running {
    /// What it has announced may be left by one that died, whose place another one may have.
    fn is_alive(&self) -> bool {
        match connect(&self.control) {
            Ok((_, peer)) => peer.pid == self.pid,
            Err(error) => error.raw_os_error() == Some(libc::EAGAIN),
        }
    }
}

/// All that run, wherever they listen: each tells in its runtime directory.
#[must_use]
pub fn masters() -> Vec<Running> {
    let mut masters = runtime::announced();
    masters.retain(Running::is_alive);
    masters.sort_by(|one, two| (&one.identity.config, one.pid).cmp(&(&two.identity.config, two.pid)));
    masters
}

/// The one that is meant, if it runs.
#[must_use]
pub fn master(meant: &Identity) -> Option<Running> {
    runtime::announced().into_iter().find(|master| is_same(meant, &master.identity) && master.is_alive())
}

/// Whether both mean one master.
#[must_use]
pub fn is_same(one: &Identity, other: &Identity) -> bool {
    one.is(other, |one, other| {
        one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
    })
}

/// Connects to the master that listens on `path`, if it is the superuser's or ours; with the process that it is.
///
/// # Errors
/// As `connect(2)`, EAGAIN if its queue is full; `PermissionDenied` for that of another user, with the reason.
pub fn connect(path: &Path) -> io::Result<(UnixStream, Peer)> {
    // Not waiting for room in the queue of whoever it is.
    let stream = UnixStream::from(socket::connect_unix(path, Expect::Bytes)?);
    let peer = Peer::of(&stream)?;
    if peer.is_trusted() {
        stream.set_nonblocking(false)?;
        return Ok((stream, peer));
    }
    let (path, owner) = (path.display(), user_name(peer.uid));
    let what = format!(
        "{owner} listens on {path}, and neither root nor you: it is not asked; if that is the master you mean, give the \
         command as that user (`sudo -u '#{}' hatchery …`), else name the right socket with --control PATH",
        peer.uid
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}
