//! Tells systemd how the server does (sd_notify(3)), and gives it the listening sockets to keep over a restart.
//!
//! | when | what is sent |
//! |---|---|
//! | the server serves, a reload has ended | `READY=1`, `STATUS` |
//! | a reload begins | `RELOADING=1` and `MONOTONIC_USEC` in one message |
//! | a stop begins | `STOPPING=1` |
//! | every half `WATCHDOG_USEC`, from the master's loop | `WATCHDOG=1` |
//! | every five seconds of a start, reload or stop | `EXTEND_TIMEOUT_USEC`: our own deadlines end what takes too long |
//! | a socket was bound, or is not needed any more | `FDSTORE=1` with the socket, `FDSTOREREMOVE=1` |

use crate::control::text;
use crate::sys::carried::Carried;
use crate::sys::{process, rights};
use crate::timer::{Time, earliest};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

/// How often more time is asked for, and how much.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: Duration = Duration::from_secs(15);

/// Where notifications go, and when the next one is due.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notify {
    /// With the address as it was given to us.
    socket: Option<(Carried<UnixDatagram>, OsString)>,
    /// Time between two signs of life, and when the next is due.
    watchdog: Option<(Duration, Time)>,
    /// While something takes its time: when to ask for more.
    extend: Option<Time>,
}

impl Notify {
    /// Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes the variables, so that no child uses them.
    /// Nothing is sent without the first.
    ///
    /// # Errors
    /// For the operator: the environment cannot be changed.
    pub(super) fn from_environment(now: Time) -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name);
        let (address, interval, pid) =
            (variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
        process::forget_variables(&[c"NOTIFY_SOCKET", c"WATCHDOG_USEC", c"WATCHDOG_PID"])
            .map_err(|error| format!("cannot forget NOTIFY_SOCKET: {error}"))?;
        let text = |value: &Option<OsString>| value.as_ref()?.to_str().map(str::to_owned);
        let every = watchdog(text(&interval).as_deref(), text(&pid).as_deref(), std::process::id());
        let socket = address.as_deref().and_then(|address| match connect(address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!(target: "hatchery", "systemd will not be notified: NOTIFY_SOCKET: {error}");
                None
            }
        });
        Ok(Self::new(socket, every, now))
    }

    fn new(socket: Option<(Carried<UnixDatagram>, OsString)>, every: Option<Duration>, now: Time) -> Self {
        let used = socket.is_some();
        Self {
            socket,
            watchdog: every.filter(|_| used).map(|every| (every, now)),
            extend: used.then(|| now.after(EXTEND_EVERY)),
        }
    }

    /// When it has something to say by itself.
    pub(super) fn deadline(&self) -> Option<Time> {
        earliest(self.watchdog.map(|(_, next)| next), self.extend)
    }

    /// Says what is due.
    pub(super) fn on_timeout(&mut self, now: Time) {
        if let Some((every, next)) = &mut self.watchdog
            && *next <= now
        {
            *next = now.after(*every);
            self.send("WATCHDOG=1", None);
        }
        if self.extend.is_some_and(|at| at <= now) {
            self.extend = Some(now.after(EXTEND_EVERY));
            self.send(&format!("EXTEND_TIMEOUT_USEC={}", EXTEND_BY.as_micros()), None);
        }
    }

    /// The server serves: at the start, and at the end of a reload, be it a failed one.
    pub(super) fn ready(&mut self, status: &str) {
        self.extend = None;
        // What follows the end of a line would be another assignment.
        let status = text::line(&status.replace('\n', " "));
        self.send(&format!("READY=1\nSTATUS={status}\nMAINPID={}", std::process::id()), None);
    }

    /// A reload begins.
    pub(super) fn reloading(&mut self, now: Time) {
        self.begin(now);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.0 / 1000), None);
    }

    /// The stop begins.
    pub(super) fn stopping(&mut self, now: Time) {
        self.begin(now);
        self.send("STOPPING=1\nSTATUS=stopping: running requests are finished", None);
    }

    fn begin(&mut self, now: Time) {
        self.extend = self.socket.is_some().then(|| now.after(EXTEND_EVERY));
    }

    /// Has systemd keep a copy of the socket until the service is stopped for good.
    pub(super) fn store(&self, name: &str, socket: BorrowedFd<'_>) {
        self.send(&format!("FDSTORE=1\nFDNAME={name}"), Some(socket));
    }

    /// systemd closes its copy.
    pub(super) fn forget(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
    }

    fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) {
        let Some((socket, address)) = &self.socket else { return };
        let numbers = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
        let rights = numbers.as_ref().map(|numbers| [ControlMessage::ScmRights(numbers)]);
        let messages = rights.as_ref().map_or(&[][..], |rights| &rights[..]);
        let parts = [IoSlice::new(text.as_bytes())];
        // Best effort: systemd's own time-outs tell when it is lost.
        let sent = parse(address).and_then(|address| {
            sendmsg(socket.as_raw_fd(), &parts, messages, MsgFlags::MSG_NOSIGNAL, Some(&address))
        });
        if let Err(error) = sent {
            log::debug!(target: "hatchery", "systemd was not notified: {error}");
        }
    }
}

fn parse(address: &OsStr) -> nix::Result<UnixAddr> {
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name),
        None => UnixAddr::new(Path::new(address)),
    }
}

fn connect(address: &OsStr) -> io::Result<(Carried<UnixDatagram>, OsString)> {
    parse(address)?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    rights::send_only(socket.as_fd())?;
    Ok((socket.into(), address.to_owned()))
}

/// Half the interval in which a sign of life must come; `None` if none is wanted, or from another process.
fn watchdog(interval: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let interval: u64 = interval?.parse().ok()?;
    let ours = pid.is_none_or(|pid| pid.parse() == Ok(own));
    (ours && interval > 1).then(|| Duration::from_micros(interval / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, every: Option<Duration>) -> (UnixDatagram, Notify) {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::SocketAddr;
        let name = format!("hatchery-notify-{name}-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let socket = connect(OsStr::new(&format!("@{name}"))).unwrap();
        (receiver, Notify::new(Some(socket), every, Time(0)))
    }

    fn said(receiver: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| receiver.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
            .map(|message| String::from_utf8(message).unwrap())
            .collect()
    }

    #[test]
    fn messages_reach_an_abstract_socket() {
        let (receiver, mut notify) = pair("messages", None);
        notify.reloading(Time(5_000_000));
        notify.ready("reload failed: two\nlines");
        notify.stopping(Time(6_000_000));
        let said = said(&receiver);
        assert_eq!(said[0], "RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=reloading");
        assert!(said[1].starts_with("READY=1\nSTATUS=reload failed: two lines\nMAINPID="), "{said:?}");
        assert!(said[2].starts_with("STOPPING=1\n"), "{said:?}");
    }

    #[test]
    fn signs_of_life_come_at_half_the_interval_and_more_time_is_asked_for_until_ready() {
        let second = |second: u64| Time(second * 1_000_000_000);
        let (receiver, mut notify) = pair("watchdog", watchdog(Some("8000000"), None, 7));
        let mut times = Vec::new();
        while let Some(at) = notify.deadline().filter(|at| *at <= second(10)) {
            notify.on_timeout(at);
            times.push((at.0 / 1_000_000_000, said(&receiver).join(", ")));
        }
        let (alive, more) = ("WATCHDOG=1".to_owned(), "EXTEND_TIMEOUT_USEC=15000000".to_owned());
        let wanted = [(0, &alive), (4, &alive), (5, &more), (8, &alive), (10, &more)];
        assert_eq!(times, wanted.map(|(at, what)| (at, what.clone())));
        notify.ready("serving");
        assert_eq!(notify.deadline(), Some(second(12)));
        notify.stopping(second(11));
        notify.on_timeout(second(12));
        assert_eq!(notify.deadline(), Some(second(16)));
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_fed() {
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7), Some(Duration::from_micros(1_500_000)));
        assert_eq!(watchdog(Some("3000000"), None, 7), Some(Duration::from_micros(1_500_000)));
        for (interval, pid) in
            [(None, None), (Some("3000000"), Some("8")), (Some("x"), None), (Some("0"), None)]
        {
            assert_eq!(watchdog(interval, pid, 7), None);
        }
        let silent = Notify::new(None, Some(Duration::from_secs(1)), Time(0));
        assert_eq!(silent.deadline(), None);
    }

    #[test]
    fn a_socket_is_given_away_by_name() {
        use nix::sys::socket::{ControlMessageOwned, recvmsg};
        use std::io::IoSliceMut;
        let (receiver, notify) = pair("store", None);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        notify.store("hatchery-x", socket.as_fd());
        let (mut buffer, mut space) = ([0; 64], nix::cmsg_space!([i32; 1]));
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<()>(receiver.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
        assert!(
            matches!(message.cmsgs().unwrap().next(), Some(ControlMessageOwned::ScmRights(rights)) if rights.len() == 1)
        );
        let length = message.bytes;
        assert_eq!(&buffer[..length], b"FDSTORE=1\nFDNAME=hatchery-x");
    }
}
