//! The host of CGI scripts: the process that the master starts as `hatchery cgi-host` for the scripts of a directory. It speaks
//! the frames of [`crate::control::frame`] as the host of a WSGI app does, and starts a script for each request
//! (docs/decisions/0030-cgi.md).
//!
//! | file | what |
//! |---|---|
//! | `door` | the first thread: who may connect, what the master says, the end |
//! | `stream` | a thread for each stream of a worker to a unit: its requests, one after the other |
//! | `start` | from a request to a process: which file, what is around it |
//! | `run` | what a script writes, what its worker says of it, its time, its end |

mod door;
mod run;
mod start;
mod stream;

use crate::control::cgi;
use crate::control::frame::{self, Kind};
use crate::gateway::script::Around;
use crate::sys::{exec, fd, inherited, process, signals, title};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the master calls a host's settings in its environment.
const PREFIX: &str = "HATCHERY_HOST_";

/// What all threads of the host share.
#[derive(Debug)]
struct Host {
    /// Root, environment.
    around: Around,
    /// Symbolic links: none, or which; and to which directories besides the root.
    links: crate::sys::file::Links,
    links_to: Vec<PathBuf>,
    interpreters: Vec<(String, CString)>,
    timeout: Duration,
    units: u16,
    /// What scripts without a request body read.
    null: File,
    /// To the master.
    tell: Mutex<File>,
    units_in_use: Mutex<InUse>,
    /// A request has ended.
    has_room: Condvar,
    /// It leaves once nothing runs any more: its first thread is woken to look.
    leaving: AtomicBool,
    wake: OwnedFd,
}

/// Requests that run, and what the master wants to know of them: row of the worker, unit.
#[derive(Debug, Default)]
struct InUse {
    /// How many in each: two for a moment, when a worker has gone and the next one in its row is there.
    running: BTreeMap<(u16, u16), usize>,
    asked: BTreeSet<(u16, u16)>,
}

impl InUse {
    /// Whether another one may begin where there are so many units. The board sees to it, but for a moment, as long as workers
    /// are what they should be.
    fn has_room(&self, units: u16) -> bool {
        self.running.values().sum::<usize>() < usize::from(units)
    }

    fn begin(&mut self, row: u16, unit: u16) {
        *self.running.entry((row, unit)).or_default() += 1;
    }

    /// One of them is over; whether the master has asked for the last one.
    fn end(&mut self, row: u16, unit: u16) -> bool {
        let left = self.running.remove(&(row, unit)).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            self.running.insert((row, unit), left);
        }
        left == 0 && self.asked.remove(&(row, unit))
    }
}

impl Host {
    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.units_in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of that worker runs in that unit from now on, as soon as fewer than all units run one.
    fn begins(&self, row: u16, unit: u16) {
        let is_full = |in_use: &mut InUse| !in_use.has_room(self.units);
        let waited = self.has_room.wait_while(self.in_use(), is_full);
        waited.unwrap_or_else(PoisonError::into_inner).begin(row, unit);
    }

    /// It does no more.
    fn is_over(&self, row: u16, unit: u16) {
        let was_asked = self.in_use().end(row, unit);
        self.has_room.notify_one();
        if was_asked {
            self.free(row, unit);
        }
        if self.leaving.load(Ordering::SeqCst) {
            fd::poke(self.wake.as_fd());
        }
    }

    /// The master wants to know when no request of that worker runs in that unit.
    fn ask(&self, row: u16, unit: u16) {
        let mut in_use = self.in_use();
        if in_use.running.contains_key(&(row, unit)) {
            in_use.asked.insert((row, unit));
        } else {
            drop(in_use);
            self.free(row, unit);
        }
    }

    /// Tells the master that no request of that worker runs in that unit.
    fn free(&self, row: u16, unit: u16) {
        self.tell(Kind::Free, &[row.to_le_bytes(), unit.to_le_bytes()].concat());
    }

    fn tell(&self, kind: Kind, payload: &[u8]) {
        let mut out = Vec::new();
        frame::push(&mut out, kind, 0, 0, payload);
        // If it has gone, the end of what it says is seen by the first thread.
        let _ = self.tell.lock().unwrap_or_else(PoisonError::into_inner).write_all(&out);
    }
}

/// A line of the log: standard error is the master's to read. What programs and clients wrote cannot steer a terminal; the
/// master sees to that.
fn say(line: &str) {
    let line = line.replace('\n', " ") + "\n";
    // There is nobody to tell that it cannot be told.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Serves until the master says that it is to leave, or has gone.
///
/// # Errors
/// Why it cannot.
pub(crate) fn run() -> Result<u8, String> {
    let by_hand = "the server itself starts this command, to run CGI scripts";
    let mut order = Vec::new();
    let read = io::stdin().read_to_end(&mut order);
    let scripts: Option<cgi::Scripts> = read.ok().and_then(|_| serde_json::from_slice(&order).ok());
    let scripts = scripts.ok_or(by_hand)?;
    let number = |name| setting(name).and_then(|text| text.parse().ok()).and_then(inherited::take);
    let (Some(hear), Some(tell), Some(listener)) =
        (number("HEAR_FD"), number("TELL_FD"), number("LISTEN_FD"))
    else {
        return Err(by_hand.to_owned());
    };
    process::null_input().map_err(|error| format!("/dev/null: {error}"))?;
    exec::name_process(c"cgi-host");
    let own_title = setting("TITLE");
    let users = setting("USERS").unwrap_or_default();
    let host = host_of(scripts, File::from(tell))?;
    // Titles are nothing to fail for.
    let _untitled = title::prepare();
    own_title.iter().for_each(|own| title::set(own));
    // It has no stacks to show that anybody could read.
    signals::ignore(&[signals::SIGINT, signals::stacks()]);
    let users = users.split(',').filter_map(|user| user.parse().ok()).collect();
    door::serve(host, listener, File::from(hear), users).map_err(|error| error.to_string())
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("{PREFIX}{name}")).ok()
}

fn host_of(scripts: cgi::Scripts, tell: File) -> Result<Host, String> {
    use crate::sys::file::Links;
    let (links, links_to) = match scripts.links {
        cgi::Links::Refuse => (Links::Refuse, Vec::new()),
        cgi::Links::Beneath => (Links::Beneath, Vec::new()),
        cgi::Links::Follow(to) => (Links::Beneath, to),
    };
    let own = |name: &std::ffi::OsStr| name.as_bytes().starts_with(PREFIX.as_bytes());
    let variables = std::env::vars_os().filter(|(name, _)| !own(name));
    let variables = variables.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let environment = variables.filter_map(|text| CString::new(text).ok()).collect();
    let program = |(ending, path): (String, PathBuf)| {
        Some((ending, CString::new(path.into_os_string().as_encoded_bytes()).ok()?))
    };
    let failed = |error: io::Error| error.to_string();
    Ok(Host {
        around: Around { root: scripts.root, environment, pass_authorization: scripts.pass_authorization },
        links,
        links_to,
        interpreters: scripts.interpreters.into_iter().filter_map(program).collect(),
        timeout: scripts.timeout,
        units: scripts.units,
        null: File::open("/dev/null").map_err(failed)?,
        tell: Mutex::new(tell),
        units_in_use: Mutex::default(),
        has_room: Condvar::new(),
        leaving: AtomicBool::new(false),
        wake: fd::eventfd().map_err(failed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_run_than_there_are_units_whoever_asks() {
        let mut in_use = InUse::default();
        in_use.begin(0, 0);
        assert!(in_use.has_room(2));
        in_use.begin(9, 0);
        assert!(!in_use.has_room(2), "whatever row it says");
        assert!(!in_use.end(9, 0));
        in_use.begin(0, 0);
        assert!(!in_use.has_room(2), "nor twice in one unit");
        in_use.asked.insert((0, 0));
        assert!(!in_use.end(0, 0), "the other one runs");
        assert!(in_use.end(0, 0), "the master is told now");
        assert!(in_use.running.is_empty() && in_use.has_room(1));
    }
}
