//! The trial, in the new program: it reads the state as the real start will, boots one worker with copies of the sockets
//! on a board of its own, rehearses what the real start does with the state, says READY and leaves. The worker never
//! accepts. Nothing of the running server is touched.

use super::kept::Kept;
use super::order::READY;
use super::saved::Saved;
use super::voice::{Heard, Voice};
use super::{Master, Start, logger, show_title, signals as caught, spawn, wake};
use crate::control::exit::Exit;
use crate::control::worker::{self, ToMaster};
use crate::dispatch::MasterBoard;
use crate::dispatch::board::WORDS;
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{Ended, OnlyChild};
use crate::sys::shm::Shared;
use crate::sys::{clock, inherited, process, signals};
use std::io::Write as _;
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
    let (saved, config) = Saved::read(&state)?;
    logger::set_level(config.log.level);
    if let Err(problems) = (start.load)(saved.file.as_deref().or(start.file.as_deref())) {
        log::warn!(target: "hatchery", "the next reload would fail with this program: {problems}");
    }
    // Whether what the real start needs can be had.
    drop(caught::catch().map_err(|error| format!("cannot catch signals: {error}"))?);
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for (number, _) in (SOCKETS..).zip(&saved.generation.listening.sockets) {
        let socket = inherited::take(number);
        sockets.push(socket.ok_or_else(|| format!("descriptor {number} did not come along"))?);
    }
    show_title("hatchery: upgrade trial");
    let number = saved.supervisor.generation();
    let kept = (saved.descriptors.clone(), saved.board);
    let generation = saved.generation.try_with(config, sockets);
    let (shared, board) =
        Shared::in_file(WORDS).map_err(|error| format!("cannot map shared memory: {error}"))?;
    MasterBoard::new(shared.words()).begin();
    let worker = spawn::Worker {
        generation: &generation,
        number,
        row: 0,
        slot: 0,
        shared,
        board: board.as_fd(),
        wake: wake().map_err(|error| format!("cannot make event descriptors: {error}"))?,
        runtime_dir: saved.runtime.0,
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
    rehearse(start, &state, &kept)?;
    let mut report = std::fs::File::from(report);
    report.write_all(READY).map_err(|error| format!("the master does not listen: {error}"))?;
    Ok(0)
}

/// Takes the state over as the real start will, in a process of its own: if that fails, or crashes, the running server is
/// none the worse for it.
fn rehearse(start: &Start, state: &[u8], kept: &(Vec<RawFd>, Kept)) -> Result<(), String> {
    let trial = std::process::id();
    let child = process::fork(|alone| {
        let result = contain(&alone, trial, kept).map_err(|error| format!("it cannot be set up: {error}"));
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

/// In a forked process: lets go of everything that is the running server's, and puts something else at the numbers that
/// the state names, the second one being the board. A panic must not unwind: what it would drop removes files.
fn contain(alone: &OnlyChild, trial: u32, (descriptors, board): &(Vec<RawFd>, Kept)) -> std::io::Result<()> {
    process::die_with_parent(signals::SIGKILL, trial)?;
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::abort();
    }));
    log::set_max_level(log::LevelFilter::Off);
    alone.close_except(&[])?;
    for number in descriptors.iter().copied().filter(|number| *number != board.number()) {
        // Each is a file of its own: some are locked.
        inherited::put_at(process::memory_file(&[])?, number)?;
    }
    let (shared, file) = Shared::in_file(WORDS)?;
    MasterBoard::new(shared.words()).begin();
    inherited::put_at(file, board.number())
}

/// Until the worker is set up. The master bounds the trial.
fn wait_for(mut voice: Voice<worker::Reader>) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    loop {
        let Some(pipe) = voice.descriptor() else { return Err("it ended".to_owned()) };
        let mut set = Set::new();
        set.add(pipe, (), Interest::READ);
        set.wait(clock::now(), None).map_err(broken)?;
        let (Heard::Words(messages) | Heard::Garbled(messages, _)) = voice.hear(&mut { usize::MAX }) else {
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
