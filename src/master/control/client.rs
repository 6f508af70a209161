//! The other end of the control socket: finding the master, and asking it. Whoever can make a socket where a master is
//! looked for would be told commands and believed answers, so it is looked at first whose the socket is.

use crate::control::command::{Order, Request, Response};
use crate::sys::peer::Peer;
use crate::sys::socket::{self, Expect};
use crate::sys::trust::user_name;
use crate::sys::user;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a client waits for a status: a master gives it at once, or is stopped, or has no processor.
pub const STATUS: Duration = Duration::from_secs(15);

/// Sends one command to the master that listens on `path` and waits for its answer; for its status not longer than
/// `patience`.
///
/// # Errors
/// For the operator: nobody listens there, or what went wrong on the way.
pub fn ask(path: &Path, order: &Order, patience: Duration) -> Result<Response, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(
                "no master listens on {}: is it running? (--control PATH names another socket)",
                path.display()
            )
        }
        io::ErrorKind::WouldBlock => {
            format!("the master on {} does not answer: it is stopped or very busy", path.display())
        }
        // What [`connect`] says of a stranger.
        _ if error.raw_os_error().is_none() => error.to_string(),
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to connect to {}: use the user the master was started by", path.display())
        }
        _ => format!("cannot talk to the master on {}: {error}", path.display()),
    };
    let (mut stream, _) = connect(path).map_err(failed)?;
    if order.request == Request::Status {
        // Whoever asks a master that hangs must not hang too.
        stream.set_read_timeout(Some(patience)).map_err(failed)?;
    }
    let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(failed)?;
    if answer.is_empty() {
        return Err("the master went away before it answered".to_owned());
    }
    serde_json::from_slice(&answer).map_err(|error| format!("cannot understand the master's answer: {error}"))
}

/// Where a master listens that was not told: the user's place, then one for the working directory if that is taken.
#[must_use]
pub fn places() -> [PathBuf; 2] {
    let directory = std::env::current_dir().unwrap_or_default();
    let hash =
        directory.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    if user::is_root() {
        let folder = Path::new("/run/hatchery");
        return [folder.join("control.sock"), folder.join(format!("control-{hash:016x}.sock"))];
    }
    let folder = runtime.unwrap_or_else(|| std::env::temp_dir().join(format!("hatchery-{}", user::uid())));
    [folder.join("hatchery.sock"), folder.join(format!("hatchery-{hash:016x}.sock"))]
}

/// The default place where a master listens now; the working directory's own goes first.
#[must_use]
pub fn find() -> PathBuf {
    let [common, own] = places();
    if is_running(&own) { own } else { common }
}

/// Whether a master of the superuser's or ours listens on `path`. One that we may not connect to counts, and one whose
/// queue is full.
#[must_use]
pub fn is_running(path: &Path) -> bool {
    match connect(path) {
        Ok(_) => true,
        Err(error) => matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)),
    }
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
