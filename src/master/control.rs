//! The control socket: commands of the operator, one JSON object a line each way (`control::command`). Several clients
//! at a time, none of which can hold up the master: everything is non-blocking, bounded, and dropped when it stalls.

mod saved;

use super::Token;
use crate::control::command::{Request, Response};
use crate::supervisor::Ticket;
use crate::sys::listener::{self, Bound, Local};
use crate::sys::poll::{Interest, Set};
use crate::sys::user;
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use saved::SavedControl;

/// Longest command.
const LINE: usize = 4 * 1024;

/// Clients at a time; more wait in the socket's queue.
const CLIENTS: usize = 16;

/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control socket and its clients.
#[derive(Debug)]
pub(super) struct Control {
    socket: UnixListener,
    path: PathBuf,
    identity: Option<(u64, u64)>,
    clients: BTreeMap<u64, Client>,
    last: u64,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    state: State,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    /// Its command is coming in.
    Asking { line: Vec<u8>, until: Time },
    /// The answer will come.
    Waiting,
    /// The answer is going out.
    Answering { bytes: Vec<u8>, sent: usize, until: Time },
}

impl Control {
    /// Listens on `path`, readable and writable for our user only.
    ///
    /// # Errors
    /// For the operator: who listens there already, or why it cannot be made.
    pub(super) fn bind(path: &Path) -> Result<Self, String> {
        let Bound { socket, local, .. } =
            listener::unix(path, 0o600).map_err(|error| refused(path, &error))?;
        let Local::Unix(path) = local else { return Err("not a Unix socket".to_owned()) };
        let identity = listener::identity(&path);
        Ok(Self { socket: socket.into(), path, identity, clients: BTreeMap::new(), last: 0 })
    }

    /// Listens in the first place of [`places`] that no other master has.
    ///
    /// # Errors
    /// As [`Control::bind`].
    pub(super) fn bind_default() -> Result<Self, String> {
        let mut failure = String::new();
        for path in places() {
            let made = path.parent().map_or(Ok(()), make_directory);
            match made.and_then(|()| Self::bind(&path)) {
                Ok(control) => return Ok(control),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for what each client has to do next.
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        if self.clients.len() < CLIENTS {
            set.add(self.socket.as_fd(), Token::Control, Interest::READ);
        }
        for (number, client) in &self.clients {
            let interest = match client.state {
                State::Asking { .. } => Interest::READ,
                // Told anyway when the client goes away.
                State::Waiting => Interest { read: false, write: false },
                State::Answering { .. } => Interest { read: false, write: true },
            };
            set.add(client.stream.as_fd(), Token::Client(*number), interest);
        }
    }

    /// The next moment at which somebody has stalled.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.clients.values().map(Client::deadline).fold(None, earliest)
    }

    /// Drops who has stalled.
    pub(super) fn on_timeout(&mut self, now: Time) {
        self.clients.retain(|_, client| client.deadline().is_none_or(|deadline| now < deadline));
    }

    /// Takes new clients.
    pub(super) fn accept(&mut self, now: Time) {
        while self.clients.len() < CLIENTS {
            let Ok((stream, _)) = self.socket.accept() else { return };
            if stream.set_nonblocking(true).is_ok() {
                self.last += 1;
                let state = State::Asking { line: Vec::new(), until: now.after(PATIENCE) };
                self.clients.insert(self.last, Client { stream, state });
            }
        }
    }

    /// A client's descriptor is ready: the command, if it is complete now.
    pub(super) fn ready(&mut self, number: u64, now: Time) -> Option<(Ticket, Request)> {
        let client = self.clients.get_mut(&number)?;
        match client.step() {
            Step::More => None,
            Step::Gone => {
                self.clients.remove(&number);
                None
            }
            Step::Line(line) => match serde_json::from_slice(&line) {
                Ok(request) => {
                    client.state = State::Waiting;
                    Some((Ticket(number), request))
                }
                Err(error) => {
                    let text = format!("not a command that this version knows: {error}");
                    self.answer(Ticket(number), &Response::Failed { text }, now);
                    None
                }
            },
        }
    }

    /// Whether a client still waits for its answer.
    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        self.clients.contains_key(&ticket.0)
    }

    /// Answers a client, if it is still there.
    pub(super) fn answer(&mut self, ticket: Ticket, response: &Response, now: Time) {
        let Some(client) = self.clients.get_mut(&ticket.0) else { return };
        let mut bytes = serde_json::to_vec(response).unwrap_or_default();
        bytes.push(b'\n');
        client.state = State::Answering { bytes, sent: 0, until: now.after(PATIENCE) };
        // Most answers fit the socket's buffer: then it is done at once, which matters at the end of the master.
        if matches!(client.step(), Step::Gone) {
            self.clients.remove(&ticket.0);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.identity.is_some() && listener::identity(&self.path) == self.identity {
            // Nothing more can be done about a file that stays.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

enum Step {
    More,
    Gone,
    Line(Vec<u8>),
}

impl Client {
    fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Asking { until, .. } | State::Answering { until, .. } => Some(until),
            State::Waiting => None,
        }
    }

    fn step(&mut self) -> Step {
        match &mut self.state {
            State::Waiting => Step::Gone,
            State::Asking { line, .. } => {
                let mut buffer = [0; LINE];
                match self.stream.read(&mut buffer) {
                    Ok(0) => Step::Gone,
                    Ok(length) => {
                        line.extend_from_slice(buffer.get(..length).unwrap_or_default());
                        match line.iter().position(|byte| *byte == b'\n') {
                            Some(end) => {
                                line.truncate(end);
                                Step::Line(std::mem::take(line))
                            }
                            None if line.len() > LINE => Step::Gone,
                            None => Step::More,
                        }
                    }
                    Err(error) => Self::failed(&error),
                }
            }
            State::Answering { bytes, sent, .. } => loop {
                let rest = bytes.get(*sent..).unwrap_or_default();
                if rest.is_empty() {
                    break Step::Gone;
                }
                match self.stream.write(rest) {
                    Ok(length) => *sent += length,
                    Err(error) => break Self::failed(&error),
                }
            },
        }
    }

    fn failed(error: &io::Error) -> Step {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Step::More,
            _ => Step::Gone,
        }
    }
}

/// Sends one command to the master that listens on `path` and waits for its answer.
///
/// # Errors
/// For the operator: nobody listens there, or what went wrong on the way.
pub fn ask(path: &Path, request: &Request) -> Result<Response, String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(
                "no master listens on {}: is it running? (--control PATH names another socket)",
                path.display()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("not allowed to connect to {}: use the user the master was started by", path.display())
        }
        _ => format!("cannot talk to the master on {}: {error}", path.display()),
    };
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
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
    if listener::is_alive(&own) { own } else { common }
}

/// Makes the directory of a default place, private. One that another user made in a public place is not used: they
/// could put a socket of theirs there.
fn make_directory(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let failed = |error: io::Error| format!("control: cannot use the directory {}: {error}", path.display());
    let mode = if user::is_root() { 0o755 } else { 0o700 };
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    let owner = std::fs::symlink_metadata(path).map_err(failed)?.uid();
    if owner == user::uid() {
        return Ok(());
    }
    Err(format!("control: the directory {} belongs to another user; give --control PATH", path.display()))
}

fn refused(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "control: another master listens on {path}; stop it (`hatchery stop`), or give this one a socket of its own \
             (`control` in the file, or --control PATH)"
        ),
        io::ErrorKind::AlreadyExists => format!("control: {path} exists and is not a socket; remove it"),
        io::ErrorKind::NotFound => format!("control: the directory of {path} does not exist"),
        _ => format!("control: cannot listen on {path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        control: Control,
        now: Time,
    }

    impl Bench {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hatchery-{name}-{}.sock", std::process::id()));
            Self { control: Control::bind(&path).unwrap(), now: Time(1) }
        }

        /// One turn: waits at most 10 s for something to happen.
        fn turn(&mut self) -> Option<(Ticket, Request)> {
            let mut set = Set::new();
            self.control.watch(&mut set);
            let ready = set.wait(Time::ZERO, Some(Time::ZERO.after(Duration::from_secs(10)))).unwrap();
            assert!(!ready.is_empty(), "nothing happened");
            let mut command = None;
            for event in ready {
                match event.token {
                    Token::Control => self.control.accept(self.now),
                    Token::Client(number) => command = self.control.ready(number, self.now).or(command),
                    other => panic!("{other:?}"),
                }
            }
            command
        }
    }

    #[test]
    fn a_command_comes_in_pieces_and_is_answered() {
        let mut bench = Bench::new("control-pieces");
        let mut client = UnixStream::connect(bench.control.path()).unwrap();
        assert_eq!(bench.turn(), None);
        client.write_all(br#"{"command":"sta"#).unwrap();
        assert_eq!(bench.turn(), None);
        client.write_all(b"tus\"}\n").unwrap();
        let (ticket, request) = bench.turn().unwrap();
        assert_eq!(request, Request::Status);
        bench.control.answer(ticket, &Response::Done { text: "fine".to_owned() }, bench.now);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "{\"answer\":\"done\",\"text\":\"fine\"}\n");
        assert!(bench.control.clients.is_empty());
    }

    #[test]
    fn garbage_is_answered_and_a_line_without_end_is_dropped() {
        let mut bench = Bench::new("control-garbage");
        let mut client = UnixStream::connect(bench.control.path()).unwrap();
        client.write_all(b"{\"command\":\"format_disk\"}\n").unwrap();
        assert_eq!((bench.turn(), bench.turn()), (None, None));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("failed") && answer.contains("format_disk"), "{answer}");
        let mut client = UnixStream::connect(bench.control.path()).unwrap();
        assert_eq!(bench.turn(), None);
        client.write_all(&vec![b'x'; LINE + 1]).unwrap();
        while !bench.control.clients.is_empty() {
            assert_eq!(bench.turn(), None);
        }
    }

    #[test]
    fn peers_that_stall_or_leave_are_dropped() {
        let mut bench = Bench::new("control-stall");
        let silent = UnixStream::connect(bench.control.path()).unwrap();
        let mut waiting = UnixStream::connect(bench.control.path()).unwrap();
        waiting.write_all(b"{\"command\":\"reload\",\"wait\":true,\"prove\":false}\n").unwrap();
        bench.turn();
        assert!(matches!(bench.turn(), Some((_, Request::Reload { wait: true, prove: false }))));
        assert_eq!(bench.control.clients.len(), 2);
        assert_eq!(bench.control.deadline(), Some(bench.now.after(PATIENCE)));
        bench.control.on_timeout(bench.now.after(PATIENCE));
        assert_eq!(bench.control.clients.len(), 1, "who waits for an answer stays");
        assert_eq!(bench.control.deadline(), None);
        drop((silent, waiting));
        bench.turn();
        assert!(bench.control.clients.is_empty());
    }

    #[test]
    fn a_living_master_keeps_its_socket_and_removes_it_at_the_end() {
        let bench = Bench::new("control-alive");
        let path = bench.control.path().to_owned();
        assert!(Control::bind(&path).unwrap_err().contains("another master listens"));
        drop(bench);
        assert!(!path.exists());
        assert!(ask(&path, &Request::Status).unwrap_err().contains("is it running?"));
    }
}
