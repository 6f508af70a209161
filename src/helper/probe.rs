//! A probe: connects to a new process of a command until it serves, and asks it the ready request if there is one. It is a
//! process of its own (`hatchery probe`), with the rights of workers, so that the master neither waits for a stranger nor
//! reads what it says. Its exit is the answer: 0, or 1 with a line that says why not.

use crate::buf::Queue;
use crate::control::text;
use crate::gateway::check::Check;
use crate::gateway::probe::{Asked, Door, Probe};
use crate::http::fault::cause;
use crate::sys::poll::{Interest, Set};
use crate::sys::socket::{self, Expect};
use crate::sys::{clock, exec, inherited, listeners, process, sandbox, title, transfer};
use crate::timer::Time;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::time::Duration;

/// Where the master put the listening socket of the process.
const LISTENER: RawFd = 3;

/// From one look to the next: at first, and at most.
const FIRST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(50);

/// Read at a time.
const PIECE: usize = 16 * 1024;

/// Does what stands on the standard input.
///
/// # Errors
/// Why the process does not serve.
pub(crate) fn run() -> Result<u8, String> {
    let mut order = Vec::new();
    let read = io::stdin().read_to_end(&mut order);
    let by_hand = "the server itself starts this command, to see whether a process of an app serves";
    let probe: Probe =
        read.ok().and_then(|_| serde_json::from_slice(&order).ok()).ok_or_else(|| by_hand.to_owned())?;
    exec::name_process(c"hatchery");
    let _untitled = title::prepare();
    title::set("hatchery: probe");
    // It needs nothing, and what it reads is a stranger's.
    let _ = (sandbox::set_dumpable(false), sandbox::drop_capabilities(), process::no_new_privileges());
    let listener = inherited::take(LISTENER).filter(|_| probe.inherited);
    let until = clock::now().after(probe.within);
    await_server(&probe, listener.as_ref(), until)?;
    // Nobody else is to hold it.
    drop(listener);
    probe.ready.as_ref().map_or(Ok(()), |asked| ask(&probe.door, asked))?;
    Ok(0)
}

/// Waits until somebody listens there; where the socket has been there before, until somebody accepts.
fn await_server(probe: &Probe, listener: Option<&OwnedFd>, until: Time) -> Result<(), String> {
    let Probe { door, within, .. } = probe;
    let mut pause = FIRST;
    let mut connected = None;
    loop {
        let now = clock::now();
        let why = match connected.take().map_or_else(|| connect(door, until), Ok) {
            Ok(connection) if listener.is_none() => return is_the_apps(probe, &connection),
            Ok(_) if listener.is_none_or(|listener| !waits(listener, now)) => return Ok(()),
            Ok(connection) => {
                connected = Some(connection);
                "it accepts no connection on the socket that it inherits (LISTEN_FDS); does it take it, or is it to \
                 be told `{socket}` or `{port}`?"
                    .to_owned()
            }
            Err(error) => format!("{door}: {error}"),
        };
        if now >= until {
            return Err(format!("nothing serves after {within:?}: {why}"));
        }
        // Nothing tells when it does.
        let _ = Set::<()>::new().wait(now, Some(now.after(pause)));
        pause = (pause * 2).min(LONGEST);
    }
}

/// Whether it is a process of the app's user that listens there: another user's may have been faster, or have been put there.
fn is_the_apps(probe: &Probe, connection: &OwnedFd) -> Result<(), String> {
    let users = match probe.door {
        Door::Socket(_) => socket::peer_user(connection.as_fd()).into_iter().collect(),
        Door::Port(port) => listeners::users_of(port),
    };
    match users.iter().find(|user| **user != probe.owner) {
        Some(user) => {
            let (door, owner) = (&probe.door, probe.owner);
            Err(format!("who listens on {door} is user {user}, and not that of the app, {owner}"))
        }
        None => Ok(()),
    }
}

/// Whether a connection waits to be accepted.
fn waits(listener: &OwnedFd, now: Time) -> bool {
    let mut set = Set::new();
    set.add(listener.as_fd(), (), Interest::READ);
    set.wait(now, Some(now)).is_ok_and(|ready| !ready.is_empty())
}

fn connect(door: &Door, until: Time) -> io::Result<OwnedFd> {
    match door {
        Door::Socket(path) => socket::connect_unix(path, Expect::Bytes),
        Door::Port(port) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
            let connection = socket::connect_tcp(address)?;
            await_any(&connection, Interest::WRITE, until)?;
            socket::error(connection.as_fd()).map_or(Ok(connection), Err)
        }
    }
}

/// Waits until it can be read or written.
fn await_any(connection: &OwnedFd, interest: Interest, until: Time) -> io::Result<()> {
    let mut set = Set::new();
    set.add(connection.as_fd(), (), interest);
    match set.wait(clock::now(), Some(until)) {
        Ok(ready) if ready.is_empty() => Err(io::ErrorKind::TimedOut.into()),
        waited => waited.map(drop),
    }
}

/// Asks, and judges the answer.
fn ask(door: &Door, asked: &Asked) -> Result<(), String> {
    let Asked { question, protocol, scripts, timeout } = asked;
    let what = format!("GET {}", question.path);
    let until = clock::now().after(*timeout);
    let spoken = (*protocol, scripts.as_ref());
    let check = Check::new(question.clone(), None, spoken, *timeout, clock::now());
    let mut check = check.map_err(|fault| format!("not ready: {what}: {}", fault.row().why))?;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => format!("not ready: {what} got no answer within {timeout:?}"),
        _ => format!("not ready: {what}: {error}"),
    };
    let connection = connect(door, until).map_err(failed)?;
    let mut out = Queue::new();
    check.connected(&mut out, clock::now());
    let mut buffer = vec![0; PIECE];
    loop {
        if let Some(verdict) = check.poll() {
            return verdict.map_err(|code| format!("not ready: {what}: {}", text::line(&cause(code))));
        }
        let interest = Interest { read: true, write: !out.is_empty() };
        await_any(&connection, interest, until).map_err(failed)?;
        if !out.is_empty() {
            pass(transfer::write_queue(connection.as_fd(), &mut out)).map_err(failed)?;
        }
        match pass(transfer::read(connection.as_fd(), &mut buffer)).map_err(failed)? {
            Some(0) => check.eof(),
            Some(count) => check.feed(buffer.get(..count).unwrap_or_default()),
            None => {}
        }
    }
}

/// `None`: not now.
fn pass<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
