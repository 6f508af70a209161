//! The first thread: takes connections, from those of whom the master has told, and does what the master says. It never waits
//! for a script.

use super::stream::Stream;
use super::{Host, say};
use crate::control::frame::{Error, Frame, Kind, Reader, VERSION};
use crate::sys::poll::{Interest, Set};
use crate::sys::signals::{SIGTERM, Signals};
use crate::sys::{clock, fd, rights, socket};
use crate::timer::Time;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the master may take to say who somebody is.
const ACQUAINTANCE: Duration = Duration::from_secs(5);
/// Those of whom it has not said so yet, at a time.
const STRANGERS: usize = 64;
/// Streams for one unit of one worker: its own, and one of the worker that was in its row before, whose script has not ended.
const STREAMS: usize = 2;
/// What runs when the master dies has so long.
const LAST_MOMENT: Duration = Duration::from_secs(5);
/// Without descriptors the listener is looked at so much later again.
const PAUSE: Duration = Duration::from_millis(100);
/// From one complaint about strangers to the next.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// A connection of which it is not known whose it is, or for which unit.
struct Stranger {
    connection: OwnedFd,
    process: Option<u32>,
    user: Option<u32>,
    until: Time,
    is_admitted: bool,
    said: Vec<u8>,
}

/// What the first thread knows.
struct Door {
    host: Arc<Host>,
    listener: OwnedFd,
    hear: File,
    from_master: Reader,
    master: Option<u32>,
    /// Process ids of those who may connect, and users of those whose processes cannot be seen from here.
    workers: BTreeSet<u32>,
    users: BTreeSet<u32>,
    strangers: Vec<Stranger>,
    /// Streams of workers: row and unit, and the socket as long as its thread has it.
    streams: Vec<(u16, u16, Weak<OwnedFd>)>,
    /// There were no descriptors for another one: when to look again.
    listens_at: Time,
    refused: u64,
    complains_at: Time,
    orphaned: Option<Time>,
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener,
    Master,
    Signal,
    Wake,
    Stranger,
}

/// Serves until it is to leave.
///
/// # Errors
/// EMFILE and the like, at the start.
pub(super) fn serve(host: Host, listener: OwnedFd, hear: File, users: BTreeSet<u32>) -> io::Result<u8> {
    let mut signals = Signals::new(&[SIGTERM])?;
    let master = Some(std::os::unix::process::parent_id());
    let mut door = Door {
        host: Arc::new(host),
        listener,
        hear,
        from_master: Reader::new(),
        master,
        workers: BTreeSet::new(),
        users,
        strangers: Vec::new(),
        streams: Vec::new(),
        listens_at: Time::ZERO,
        refused: 0,
        complains_at: Time::ZERO,
        orphaned: None,
    };
    let hello = format!(r#"{{"version": {VERSION}, "scripts": true, "pid": {}}}"#, std::process::id());
    door.host.tell(Kind::Hello, hello.as_bytes());
    door.host.tell(Kind::Ready, b"");
    while !door.is_over(clock::now()) {
        door.turn(&mut signals)?;
    }
    Ok(0)
}

impl Door {
    /// Whether nothing keeps it: it is to leave, and nothing runs.
    fn is_over(&self, now: Time) -> bool {
        let runs = !self.host.in_use().running.is_empty();
        match self.orphaned {
            Some(until) => !runs || until <= now,
            None => self.is_leaving() && !runs,
        }
    }

    fn is_leaving(&self) -> bool {
        self.host.leaving.load(Ordering::SeqCst)
    }

    fn turn(&mut self, signals: &mut Signals) -> io::Result<()> {
        let mut set = Set::new();
        set.add(signals.descriptor(), Token::Signal, Interest::READ);
        set.add(self.host.wake.as_fd(), Token::Wake, Interest::READ);
        if self.orphaned.is_none() {
            set.add(self.hear.as_fd(), Token::Master, Interest::READ);
        }
        let now = clock::now();
        if !self.is_leaving() && self.listens_at <= now {
            set.add(self.listener.as_fd(), Token::Listener, Interest::READ);
        }
        for stranger in self.strangers.iter().filter(|stranger| stranger.is_admitted) {
            set.add(stranger.connection.as_fd(), Token::Stranger, Interest::READ);
        }
        let strangers = self.strangers.iter().map(|stranger| stranger.until).min();
        let listens = Some(self.listens_at).filter(|at| *at > now);
        let until = [strangers, self.orphaned, listens].into_iter().flatten().min();
        let ready: Vec<Token> = set.wait(now, until)?.into_iter().map(|ready| ready.token).collect();
        if ready.contains(&Token::Wake) {
            fd::quiet(self.host.wake.as_fd());
        }
        if ready.contains(&Token::Signal) && signals.pending().contains(&SIGTERM) {
            self.host.leaving.store(true, Ordering::SeqCst);
            if Some(std::os::unix::process::parent_id()) != self.master {
                self.orphan();
            }
        }
        if ready.contains(&Token::Listener) {
            self.accept();
        }
        if ready.contains(&Token::Master) {
            self.hear_master();
        }
        if !self.strangers.is_empty() {
            self.admit();
        }
        Ok(())
    }

    /// The master is dead: what runs has a moment, since nobody is left to end us.
    fn orphan(&mut self) {
        self.host.leaving.store(true, Ordering::SeqCst);
        self.orphaned.get_or_insert(clock::now().after(LAST_MOMENT));
    }

    // ---- who connects ---------------------------------------------------------------------------------------------

    fn accept(&mut self) {
        loop {
            let connection = match socket::accept(self.listener.as_fd()) {
                Ok((connection, _)) => connection,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    say(&format!("no connection of a worker can be taken: {error}; raise limits.open_files"));
                    self.listens_at = clock::now().after(PAUSE);
                    break;
                }
            };
            let (process, user) =
                (socket::peer_process(connection.as_fd()), socket::peer_user(connection.as_fd()));
            let until = clock::now().after(ACQUAINTANCE);
            let said = Vec::new();
            self.strangers.push(Stranger { connection, process, user, until, is_admitted: false, said });
        }
        // What the master has said before they came.
        self.hear_master();
    }

    /// Any process of the user can connect, and whoever speaks as a worker can be anyone.
    fn admit(&mut self) {
        let now = clock::now();
        let all = std::mem::take(&mut self.strangers);
        let count = all.len();
        for (at, mut stranger) in all.into_iter().enumerate() {
            stranger.is_admitted = stranger.is_admitted || self.is_known(&stranger);
            if stranger.is_admitted {
                match stranger.hear() {
                    Heard::Unit(row, unit) => self.begin(stranger, row, unit),
                    Heard::Nothing => {
                        self.strangers.push(Stranger { until: now.after(ACQUAINTANCE), ..stranger })
                    }
                    Heard::End => {}
                }
            } else if now < stranger.until && count - at < STRANGERS {
                self.strangers.push(stranger);
            } else {
                self.refuse(&stranger, now);
            }
        }
    }

    fn is_known(&self, stranger: &Stranger) -> bool {
        match stranger.process {
            Some(process) => self.workers.contains(&process) || Some(process) == self.master,
            // In a PID namespace of our own: only the user is to be seen.
            None => stranger.user.is_some_and(|user| self.users.contains(&user)),
        }
    }

    fn refuse(&mut self, stranger: &Stranger, now: Time) {
        self.refused += 1;
        if self.complains_at <= now {
            self.complains_at = now.after(COMPLAINTS);
            let (process, user) = (stranger.process.unwrap_or_default(), stranger.user.unwrap_or_default());
            say(&format!(
                "refused: process {process} of user {user} has connected, which is no worker ({} so far)",
                self.refused
            ));
        }
    }

    /// A stream has said for which unit it is: it gets a thread.
    fn begin(&mut self, stranger: Stranger, row: u16, unit: u16) {
        if unit >= self.host.units {
            return;
        }
        self.streams.retain(|(.., socket)| socket.strong_count() > 0);
        let same = self.streams.iter().filter(|(at, of, _)| (*at, *of) == (row, unit)).count();
        if same >= STREAMS {
            return say(&format!("refused: worker {row} has {same} streams for unit {unit} already"));
        }
        let socket = Arc::new(stranger.connection);
        self.streams.push((row, unit, Arc::downgrade(&socket)));
        match Stream::new(Arc::clone(&self.host), socket, row, unit).spawn() {
            Ok(()) => {}
            // The stream is closed: its worker asks another unit.
            Err(error) => say(&format!("no thread for another script: {error}; raise limits.processes")),
        }
    }

    // ---- what the master says -------------------------------------------------------------------------------------

    fn hear_master(&mut self) {
        let mut buffer = [0; 4096];
        while has_event(self.hear.as_fd(), Interest::READ) {
            match self.hear.read(&mut buffer) {
                Ok(0) => return self.orphan(),
                Ok(count) => self.from_master.feed(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.orphan(),
            }
        }
        loop {
            match self.from_master.poll() {
                Ok(Some(frame)) => self.on_master(&frame),
                Ok(None) => return,
                Err(Error::UnknownType(_) | Error::Reserved | Error::TooLong(_)) => return self.orphan(),
            }
        }
    }

    fn on_master(&mut self, frame: &Frame) {
        let payload = frame.payload.as_slice();
        let process = payload.try_into().map(u32::from_le_bytes);
        let row = payload.try_into().map(u16::from_le_bytes);
        match (frame.header.kind, process, row) {
            (Kind::Leave, ..) => self.host.leaving.store(true, Ordering::SeqCst),
            (Kind::Admit, Ok(process), _) => drop(self.workers.insert(process)),
            (Kind::Dismiss, Ok(process), _) => drop(self.workers.remove(&process)),
            (Kind::Gone, _, Ok(row)) => self.gone(row),
            (Kind::Ask, Ok(both), _) => self.host.ask((both & 0xffff) as u16, (both >> 16) as u16),
            _ => {}
        }
    }

    /// That worker has ended. What runs for it is told of at its end, and so is a stream that was hung up: its thread finds
    /// that out. One that was not belongs to a new worker in that row.
    fn gone(&mut self, row: u16) {
        let lingers = |unit: u16| {
            let own = self.streams.iter().filter(|(at, of, _)| (*at, *of) == (row, unit));
            own.filter_map(|(.., socket)| socket.upgrade()).any(|socket| has_event(socket.as_fd(), HANGUP))
        };
        for unit in (0..self.host.units).filter(|unit| !lingers(*unit)) {
            self.host.free(row, unit);
        }
    }
}

/// Of a socket: that the other side was closed.
const HANGUP: Interest = Interest { read: false, write: false };

fn has_event(descriptor: BorrowedFd<'_>, interest: Interest) -> bool {
    let mut set = Set::new();
    set.add(descriptor, (), interest);
    let now = clock::now();
    set.wait(now, Some(now)).is_ok_and(|ready| !ready.is_empty())
}

/// What a stream begins with.
enum Heard {
    Unit(u16, u16),
    Nothing,
    End,
}

impl Stranger {
    /// Reads no more than HELLO.
    fn hear(&mut self) -> Heard {
        let mut buffer = [0; HELLO];
        let room = buffer.get_mut(self.said.len()..).unwrap_or_default();
        let mut came = Vec::new();
        let count = match rights::receive(self.connection.as_fd(), room, &mut came) {
            Ok(received) if received.bytes > 0 && came.is_empty() => received.bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
            _ => return Heard::End,
        };
        self.said.extend_from_slice(room.get(..count).unwrap_or_default());
        let mut reader = Reader::from(self.said.clone());
        match reader.poll() {
            Ok(None) if self.said.len() < HELLO => Heard::Nothing,
            Ok(Some(Frame { header, payload })) if header.kind == Kind::Hello => match payload.as_slice() {
                [v0, v1, v2, v3, r0, r1, u0, u1] if u32::from_le_bytes([*v0, *v1, *v2, *v3]) == VERSION => {
                    Heard::Unit(u16::from_le_bytes([*r0, *r1]), u16::from_le_bytes([*u0, *u1]))
                }
                _ => Heard::End,
            },
            _ => Heard::End,
        }
    }
}

/// Bytes of HELLO.
const HELLO: usize = 20;
