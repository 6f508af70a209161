//! The control socket: commands of the operator, one JSON object a line each way (`control::command`). Several clients
//! at a time, none of which can hold up the master: everything is non-blocking, bounded, and dropped when it stalls.

mod client;

use super::{Token, listeners};
use crate::config::{self, Complaint};
use crate::control::command::{self as server, Order, Request, Response};
use crate::supervisor::Ticket;
use crate::sys::carried::{self, Carried};
use crate::sys::listener::{self, Bound};
use crate::sys::place::{Access, Directory, Identity};
use crate::sys::poll::{Interest, Set};
use crate::sys::{rights, user};
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::{Asked, Running, STATUS, connect, is_same, master, masters, place};

/// Longest command.
const LINE: usize = 4 * 1024;

/// Comes before the answer, at once: the command was taken. JSON may begin with it.
const TAKEN: u8 = b' ';

/// Clients at a time that ask or are answered; more wait in the socket's queue.
const CLIENTS: usize = 64;

/// Clients of each kind at a time that wait for something to happen; more are refused.
const WAITING: usize = 16;

/// How long a client may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same while more than half of [`CLIENTS`] do: an honest command sends its line at once.
const HASTE: Duration = Duration::from_millis(250);

/// The control socket and its clients.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Control {
    socket: Carried<UnixListener>,
    path: PathBuf,
    identity: Option<Identity>,
    clients: BTreeMap<u64, Client>,
    last: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Client {
    stream: Carried<UnixStream>,
    state: ClientState,
}

#[derive(Debug, Serialize, Deserialize)]
enum ClientState {
    /// Its command is coming in.
    Asking { line: Vec<u8>, since: Time },
    /// The answer will come.
    Waiting(Awaited),
    /// The answer is going out.
    Answering { bytes: Vec<u8>, sent: usize, since: Time },
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaited {
    /// What comes at once.
    Short,
    /// The end of a reload, or of what was asked for an app or daemon.
    End,
    /// Lines of the log.
    Lines,
    /// The end of the master.
    Stop,
}

impl Awaited {
    fn of(request: &Request) -> Self {
        match request {
            Request::Reload { wait: true, .. }
            | Request::Restart { .. }
            | Request::StopOne { .. }
            | Request::StartOne { .. } => Self::End,
            Request::Logs { wait: true, .. } => Self::Lines,
            Request::Stop { .. } => Self::Stop,
            _ => Self::Short,
        }
    }
}

impl Control {
    /// Listens where it is to be: at `path`, else where the configuration says, else in the default place. Who may give
    /// commands is a matter of the kernel's, which knows all groups of whoever connects.
    ///
    /// # Errors
    /// As [`Control::bind`]; there is no such group.
    pub(super) fn open(
        path: Option<&Path>,
        settings: Option<&config::Control>,
        own: &server::Identity,
    ) -> Result<Self, String> {
        let access = access(settings)?;
        match path.or(settings.map(|settings| settings.path.as_path())) {
            Some(path) => Self::bind(path, access),
            None => Self::bind_default(own),
        }
    }

    /// Listens on `path`, for whom the access lets in.
    ///
    /// # Errors
    /// For the operator: who listens there already, or why it cannot be made.
    pub(super) fn bind(path: &Path, access: Access) -> Result<Self, String> {
        let Bound { socket, file: identity, .. } =
            listener::unix(path, access).map_err(|error| refused(path, &error))?;
        let path = path.to_owned();
        Ok(Self { socket: socket.release().into(), path, identity, clients: BTreeMap::new(), last: 0 })
    }

    /// Listens in the [`place`] of that master, unless it runs already.
    ///
    /// # Errors
    /// As [`Control::bind`].
    fn bind_default(own: &server::Identity) -> Result<Self, String> {
        // By another link to the same file it has another place.
        if let Some(Running { pid, control, .. }) = master(own) {
            let control = control.display();
            return Err(format!(
                "control: {own} runs already (process {pid}, control socket {control}); stop that one (`hatchery stop`), \
                 or give this one a control socket of its own (--control PATH)"
            ));
        }
        let path = place(own);
        path.parent().map_or(Ok(()), make_directory)?;
        Self::bind(&path, Access::of_mode(0o600))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it would be where it is with these settings too.
    pub(super) fn stays(
        &self,
        path: Option<&Path>,
        settings: Option<&config::Control>,
        own: &server::Identity,
    ) -> bool {
        match path.or(settings.map(|settings| settings.path.as_path())) {
            Some(path) => path == self.path,
            None => place(own) == self.path,
        }
    }

    /// From now on those give commands whom these settings let in.
    pub(super) fn settle_access(&self, settings: Option<&config::Control>) {
        let Some(file) = self.identity else { return };
        match access(settings) {
            Ok(access) => {
                let name = format!("the control socket {}", self.path.display());
                listeners::settle_access(name, &self.path, file, access);
            }
            Err(error) => log::error!(target: "hatchery", "{error}; the control socket stays as it is"),
        }
    }

    /// Waits for what each client has to do next.
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        if self.brief() < CLIENTS {
            set.add(self.socket.as_fd(), Token::Control, Interest::READ);
        }
        for (number, client) in &self.clients {
            let interest = match client.state {
                ClientState::Asking { .. } => Interest::READ,
                // Told anyway when the client goes away.
                ClientState::Waiting(_) => Interest { read: false, write: false },
                ClientState::Answering { .. } => Interest { read: false, write: true },
            };
            set.add(client.stream.as_fd(), Token::Client(*number), interest);
        }
    }

    /// The next moment at which somebody has stalled.
    pub(super) fn deadline(&self) -> Option<Time> {
        let patience = self.patience();
        self.clients.values().map(|client| client.deadline(patience)).fold(None, earliest)
    }

    /// Drops who has stalled.
    pub(super) fn on_timeout(&mut self, now: Time) {
        let patience = self.patience();
        self.clients.retain(|_, client| client.deadline(patience).is_none_or(|deadline| now < deadline));
    }

    /// Clients that will soon be gone.
    fn brief(&self) -> usize {
        self.clients.values().filter(|client| !matches!(client.state, ClientState::Waiting(_))).count()
    }

    fn patience(&self) -> Duration {
        if self.brief() > CLIENTS / 2 { HASTE } else { PATIENCE }
    }

    /// Takes new clients.
    pub(super) fn accept(&mut self, now: Time) {
        while self.brief() < CLIENTS {
            let Ok((stream, _)) = self.socket.accept() else { return };
            rights::refuse(stream.as_fd());
            if stream.set_nonblocking(true).is_ok() {
                self.last += 1;
                let state = ClientState::Asking { line: Vec::new(), since: now };
                self.clients.insert(self.last, Client { stream: stream.into(), state });
            }
        }
    }

    /// A client's descriptor is ready: the command, if it is complete now.
    pub(super) fn ready(&mut self, number: u64, now: Time) -> Option<(Ticket, Order)> {
        let client = self.clients.get_mut(&number)?;
        match client.progress() {
            Progress::More => None,
            Progress::Gone => {
                self.clients.remove(&number);
                None
            }
            Progress::Line(line) => match serde_json::from_slice(&line) {
                Ok(order) => self.admit(number, order, now),
                Err(error) => {
                    let text = format!("not a command that this version knows: {error}");
                    self.answer(Ticket(number), &Response::Failed { text }, now);
                    None
                }
            },
        }
    }

    /// Takes a command, unless too many of its kind wait already.
    fn admit(&mut self, number: u64, order: Order, now: Time) -> Option<(Ticket, Order)> {
        let awaited = Awaited::of(&order.request);
        let alike = self
            .clients
            .values()
            .filter(|client| matches!(client.state, ClientState::Waiting(other) if other == awaited))
            .count();
        if awaited != Awaited::Short && alike >= WAITING {
            let text =
                format!("{alike} commands like this one wait for their answers already; try again later");
            self.answer(Ticket(number), &Response::Failed { text }, now);
            return None;
        }
        let client = self.clients.get_mut(&number)?;
        client.state = ClientState::Waiting(awaited);
        // What follows may take its time; who asks a master that hangs must not wait for it. There is room for a byte.
        let _ = client.stream.write(&[TAKEN]);
        Some((Ticket(number), order))
    }

    /// Whether a client still waits for its answer.
    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        self.clients.contains_key(&ticket.0)
    }

    /// Answers those who wait for the end of the master.
    pub(super) fn answer_stops(&mut self, response: &Response, now: Time) {
        let is_stop = |client: &Client| matches!(client.state, ClientState::Waiting(Awaited::Stop));
        let waiting = self.clients.iter().filter(|(_, client)| is_stop(client)).map(|(number, _)| *number);
        for number in waiting.collect::<Vec<_>>() {
            self.answer(Ticket(number), response, now);
        }
    }

    /// Answers a client, if it is still there.
    pub(super) fn answer(&mut self, ticket: Ticket, response: &Response, now: Time) {
        let Some(client) = self.clients.get_mut(&ticket.0) else { return };
        let mut bytes = serde_json::to_vec(response).unwrap_or_default();
        bytes.push(b'\n');
        client.state = ClientState::Answering { bytes, sent: 0, since: now };
        // Most answers fit the socket's buffer: then it is done at once, which matters at the end of the master.
        if matches!(client.progress(), Progress::Gone) {
            self.clients.remove(&ticket.0);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(file) = self.identity.filter(|_| carried::is_ours()) {
            listener::remove(&self.path, file);
        }
    }
}

enum Progress {
    More,
    Gone,
    Line(Vec<u8>),
}

impl Client {
    fn deadline(&self, patience: Duration) -> Option<Time> {
        match self.state {
            ClientState::Asking { since, .. } | ClientState::Answering { since, .. } => {
                Some(since.after(patience))
            }
            ClientState::Waiting(_) => None,
        }
    }

    fn progress(&mut self) -> Progress {
        match &mut self.state {
            ClientState::Waiting(_) => Progress::Gone,
            ClientState::Asking { line, .. } => {
                let mut buffer = [0; LINE];
                match self.stream.read(&mut buffer) {
                    Ok(0) => Progress::Gone,
                    Ok(length) => {
                        line.extend_from_slice(buffer.get(..length).unwrap_or_default());
                        match line.iter().position(|byte| *byte == b'\n') {
                            Some(end) => {
                                line.truncate(end);
                                Progress::Line(std::mem::take(line))
                            }
                            None if line.len() > LINE => Progress::Gone,
                            None => Progress::More,
                        }
                    }
                    Err(error) => Self::failed(&error),
                }
            }
            ClientState::Answering { bytes, sent, .. } => loop {
                let rest = bytes.get(*sent..).unwrap_or_default();
                if rest.is_empty() {
                    break Progress::Gone;
                }
                match self.stream.write(rest) {
                    Ok(length) => *sent += length,
                    Err(error) => break Self::failed(&error),
                }
            },
        }
    }

    fn failed(error: &io::Error) -> Progress {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Progress::More,
            _ => Progress::Gone,
        }
    }
}

/// Who may give commands.
///
/// # Errors
/// For the operator: there is no such group.
pub(super) fn access(settings: Option<&config::Control>) -> Result<Access, String> {
    let access = settings.map_or(Ok(Access::of_mode(0o600)), config::Control::access);
    access.map_err(|Complaint { what, hint }| format!("control.group: {what}; {hint}"))
}

/// Makes the directory of a default place, private. One that another user made in a public place, or can change, is not
/// used: they could put a socket of theirs there.
fn make_directory(path: &Path) -> Result<(), String> {
    let mode = if user::is_root() { 0o755 } else { 0o700 };
    Directory::own(path, mode).map(drop).map_err(|error| {
        format!("control: cannot use the directory {}: {error}; or give --control PATH", path.display())
    })
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
            Self { control: Control::bind(&path, Access::of_mode(0o600)).unwrap(), now: Time(1) }
        }

        /// One turn: waits at most 10 s for something to happen.
        fn turn(&mut self) -> Option<(Ticket, Order)> {
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
        let (ticket, order) = bench.turn().unwrap();
        assert_eq!(order, Order { request: Request::Status, meant: None });
        bench.control.answer(ticket, &Response::Done { text: "fine".to_owned() }, bench.now);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, " {\"answer\":\"done\",\"text\":\"fine\"}\n");
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
        let request = bench.turn().map(|(_, order)| order.request);
        assert_eq!(request, Some(Request::Reload { wait: true, prove: false }));
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
        assert!(Control::bind(&path, Access::of_mode(0o600)).unwrap_err().contains("another master listens"));
        drop(bench);
        assert!(!path.exists());
        let order = Order { request: Request::Status, meant: None };
        assert!(Asked::send(&path, &order, STATUS).unwrap_err().contains("is it running?"));
    }

    #[test]
    fn a_master_that_does_not_take_a_command_is_not_waited_for() {
        let mut bench = Bench::new("control-hangs");
        let path = bench.control.path().to_owned();
        let reload = || Order { request: Request::Reload { wait: true, prove: false }, meant: None };
        let hangs = Asked::send(&path, &reload(), Duration::from_millis(20)).unwrap_err();
        assert!(hangs.contains("does not answer: it is stopped or very busy"), "{hangs}");
        // The one that has given up leaves.
        bench.turn();
        while !bench.control.clients.is_empty() {
            bench.turn();
        }
        let asked = std::thread::spawn(move || Asked::send(&path, &reload(), STATUS)?.answer());
        let ticket = loop {
            if let Some((ticket, _)) = bench.turn() {
                break ticket;
            }
        };
        bench.control.answer(ticket, &Response::Done { text: "fine".to_owned() }, bench.now);
        assert_eq!(asked.join().unwrap(), Ok(Response::Done { text: "fine".to_owned() }));
    }

    #[test]
    fn those_who_wait_and_those_who_are_silent_leave_room_for_short_commands() {
        let mut bench = Bench::new("control-crowd");
        let path = bench.control.path().to_owned();
        let say = |line: &str| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
            stream
        };
        let reload = "{\"command\":\"reload\",\"wait\":true,\"prove\":false}\n";
        let mut waiting = Vec::new();
        for _ in 0..WAITING {
            waiting.push(say(reload));
            assert_eq!(bench.turn(), None, "it is accepted");
            assert!(bench.turn().is_some());
        }
        let mut refused = say(reload);
        assert_eq!((bench.turn(), bench.turn()), (None, None));
        let mut answer = String::new();
        refused.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("16 commands like this one wait"), "{answer}");

        let silent: Vec<_> = (0..CLIENTS + 5).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let _short = say("{\"command\":\"status\"}\n");
        assert_eq!(bench.turn(), None);
        assert_eq!(bench.control.clients.len(), WAITING + CLIENTS, "the rest is in the queue");
        let deadline = bench.control.deadline().unwrap();
        assert_eq!(deadline, bench.now.after(HASTE));
        bench.now = deadline;
        bench.control.on_timeout(deadline);
        assert_eq!(bench.control.clients.len(), WAITING, "the silent make room");
        assert_eq!(bench.turn(), None);
        assert_eq!(bench.turn().map(|(_, order)| order.request), Some(Request::Status));
        drop((silent, waiting));
    }
}
