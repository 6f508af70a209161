//! The trial, in the new program: it rehearses what the real start does with the state, boots one worker with copies of the
//! sockets on a board of its own, says READY and leaves. The worker never accepts. Nothing of the running server is touched.

use super::limits::Segment;
use super::saved::{Saved, State, Unread};
use super::store::Store;
use super::voice::{Heard, Voice};
use super::{Master, Start, logger, shared, show_title, signals as caught, spawn, wake};
use crate::control::exit::Exit;
use crate::control::frame;
use crate::control::worker::{self, ToMaster};
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{Ended, OnlyChild};
use crate::sys::{carried, clock, inherited, process, signals};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd, RawFd};

/// Where the master put the pipe for READY, the state, and the first of the sockets.
const REPORT: RawFd = 3;
const STATE: RawFd = 4;
const SOCKETS: RawFd = 5;

/// Tries everything; the exit code is 0 once READY was said.
///
/// # Errors
/// Why this program would not do.
pub(super) fn run(start: &Start) -> Result<u8, String> {
    process::forget_variables(&[c"HATCHERY_UPGRADE"])
        .map_err(|error| format!("cannot forget HATCHERY_UPGRADE: {error}"))?;
    signals::ignore_broken_pipes();
    let report = inherited::take(REPORT).ok_or("the trial has no pipe to its master")?;
    let state = inherited::contents(STATE).map_err(|error| format!("the state cannot be read: {error}"))?;
    drop(inherited::take(STATE));
    let unread = Unread::read(&state)?;
    rehearse(start, &state, &unread)?;
    let mut given = BTreeMap::new();
    for (number, place) in unread.sockets.iter().zip(SOCKETS..) {
        given.insert(*number, carried::take(place)?);
    }
    pretend(&unread, given).map_err(unlike)?;
    let Saved { file, state, .. } = Saved::<State>::read(&state)?;
    logger::set_level(state.current.config.log.level);
    if let Err(problems) = (start.load)(file.as_deref()) {
        log::warn!(target: "hatchery", "the next reload would fail with this program: {problems}");
    }
    // Whether what the real start needs can be had.
    drop(caught::catch().map_err(|error| format!("cannot catch signals: {error}"))?);
    show_title("hatchery: upgrade trial");
    let shared = shared::of(state.board_file.as_fd())?;
    let limits =
        Segment::new(&state.current.config).map_err(|error| format!("cannot map shared memory: {error}"))?;
    // Its logs and directory for temporary files are not really there.
    let mut generation = state.current;
    (generation.access_logs, generation.temp_dir) = (Vec::new(), None);
    let cache = Store::in_memory(&generation.config.cache)?;
    let worker = spawn::Worker {
        cache: &cache,
        candidate: false,
        generation: &generation,
        credentials: state.keyring.handed(&generation),
        number: state.supervisor.generation(),
        row: 0,
        slot: 0,
        shared,
        board: state.board_file.as_fd(),
        limits: limits.lent(),
        wake: wake().map_err(|error| format!("cannot make event descriptors: {error}"))?,
        runtime_dir: state.runtime.path().to_owned(),
        run: start.worker,
    };
    let (worker, line) =
        spawn::worker(worker).map_err(|error| format!("its worker cannot be started: {error}"))?;
    // The master's end of the socket stays open: a worker leaves when that is closed.
    let booted = wait_for(Voice::new(line.voice));
    drop(line.ear);
    // A worker that was never opened has nothing to finish.
    if let Err(error) = process::signal(&worker, signals::SIGKILL, true) {
        log::debug!(target: "hatchery", "cannot signal the worker of the trial: {error}");
    }
    booted.map_err(|reason| format!("its worker did not start: {reason}"))?;
    let mut report = std::fs::File::from(report);
    let mut ready = Vec::new();
    frame::push(&mut ready, frame::Kind::Ready, 0, 0, &[]);
    report.write_all(&ready).map_err(|error| format!("the master does not listen: {error}"))?;
    Ok(0)
}

/// Takes the state over as the real start will, in a process of its own: if that fails, or crashes, the running server is
/// none the worse for it.
fn rehearse(start: &Start, state: &[u8], unread: &Unread) -> Result<(), String> {
    let trial = std::process::id();
    let child = process::fork(|alone| {
        let result = contain(&alone, trial, unread).map_err(unlike);
        match result.and_then(|()| Master::rehearse(start.without_source(), state)) {
            Ok(()) => 0,
            Err(reason) => {
                let _ = writeln!(std::io::stderr(), "{reason}");
                1
            }
        }
    });
    let ended = child.and_then(|child| process::wait(&child));
    match ended.map_err(|error| format!("taking over cannot be rehearsed: {error}"))? {
        Ended::Code(0) => Ok(()),
        Ended::Code(_) => Err("the rehearsal of taking over has failed".to_owned()),
        Ended::Signal(signal) => Err(format!("the rehearsal of taking over was {}", Exit::Signal(signal))),
    }
}

/// In a forked process: lets go of everything that is the running server's.
fn contain(alone: &OnlyChild, trial: u32, unread: &Unread) -> io::Result<()> {
    process::die_with_parent(signals::SIGKILL, trial)?;
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    log::set_max_level(log::LevelFilter::Off);
    alone.close_except(&[])?;
    pretend(unread, BTreeMap::new())
}

/// Puts something else in the place of each descriptor that the state names, but for those that are given; in that of the
/// shared memory, memory of our own.
fn pretend(unread: &Unread, given: BTreeMap<RawFd, OwnedFd>) -> io::Result<()> {
    let mut all = given;
    for number in &unread.descriptors {
        if let Entry::Vacant(place) = all.entry(*number) {
            place.insert(if *number == unread.board { shared::new()?.1 } else { process::memory_file(&[])? });
        }
    }
    carried::pretend(all);
    Ok(())
}

fn unlike(error: io::Error) -> String {
    format!("there is nothing to put in the place of each descriptor: {error}")
}

/// Until the worker is set up. The master bounds the trial.
fn wait_for(mut voice: Voice) -> Result<(), String> {
    let broken = |error: io::Error| error.to_string();
    loop {
        let Some(pipe) = voice.descriptor() else { return Err("it ended".to_owned()) };
        let mut set = Set::new();
        set.add(pipe, (), Interest::READ);
        set.wait(clock::now(), None).map_err(broken)?;
        let (Heard::Words(messages) | Heard::Garbled(messages, _)) =
            voice.hear::<worker::Reader>(&mut { usize::MAX })
        else {
            continue;
        };
        for message in messages {
            match message {
                Some(ToMaster::Ready) => return Ok(()),
                Some(ToMaster::Failed(reason)) => return Err(reason),
                _ => {}
            }
        }
    }
}
