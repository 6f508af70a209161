//! The start of a program that was executed in place of another one. Everything that can fail comes first and touches
//! nothing: until then the program before can be executed again, with the same state (`put_back`).

use super::cronjobs::CronRun;
use super::heartbeat::Heartbeat;
use super::kept::{Kept, Taking};
use super::listeners::Inherited;
use super::memory::OutOfMemory;
use super::notify::Notify;
use super::order::{Order, REASON, Resume};
use super::pidfile::PidFile;
use super::runtime::RuntimeDir;
use super::saved::{Header, Saved};
use super::upgrade::Upgrade;
use super::{Master, Start, find_code, logger, show_title, signals as caught};
use crate::config::Config;
use crate::cron::RunId;
use crate::dispatch::board::{WORDS, WORKERS};
use crate::dispatch::{Board, Sweep};
use crate::supervisor::Input;
use crate::sys::alarm::Alarm;
use crate::sys::exec::{self, Image};
use crate::sys::shm::Shared;
use crate::sys::signals::{self, Signals};
use crate::sys::{clock, inherited, process};
use crate::timer::Time;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

/// Whether this process stands, or is to stand, in place of another program: what the disk says by now is then no reason
/// not to start.
#[must_use]
pub fn is_upgrade() -> bool {
    Order::from_environment().is_some()
}

/// If this program was executed in place of another one and cannot start: executes the one before again, with the state
/// as it was. Comes back if there is none, or nothing can be done.
pub fn put_back(reason: &str) {
    let Some(Order::Resume(from)) = Order::from_environment() else { return };
    let header = inherited::contents(from.state).map_err(|error| error.to_string());
    let Ok(header) = header.and_then(|state| Header::read(&state)) else { return };
    if from.back {
        return;
    }
    let text = |text: &OsStr| CString::new(text.as_bytes().to_vec()).ok();
    let arguments: Vec<CString> = header.arguments.iter().filter_map(|argument| text(argument)).collect();
    let pair = |name: &OsStr, value: &OsStr| {
        text(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
    };
    let order = OsString::from(Order::Resume(Resume { back: true, ..from }).to_string());
    // The kernel bounds a variable.
    let reason: String = reason.chars().filter(|char| *char != '\0').take(4096).collect();
    let reason = OsString::from(reason);
    let own = [(OsStr::new(Order::VARIABLE), order.as_os_str()), (OsStr::new(REASON), reason.as_os_str())];
    let before = header.environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let environment: Vec<CString> = before.chain(own).filter_map(|(name, value)| pair(name, value)).collect();
    let error = match inherited::copy(from.executable) {
        Ok(executable) => {
            let image = Image::Open(executable.as_fd());
            exec::become_image(image, &arguments, &environment, &[])
        }
        Err(error) => error,
    };
    log::error!(target: "hatchery", "the program before cannot be executed again: {error}");
}

/// All that can fail, and that nobody misses if the program before goes on.
struct Prepared {
    saved: Saved,
    config: Config,
    descriptors: Taking,
    shared: Shared,
    signals: Signals,
    alarm: Alarm,
    upgrade: Upgrade,
}

fn prepare(state: &[u8]) -> Result<Prepared, String> {
    let (saved, config) = Saved::read(state)?;
    let descriptors = saved.descriptors()?;
    let shared = inherited::shared(saved.board.number(), WORDS);
    let shared = shared.map_err(|error| format!("the shared memory cannot be mapped: {error}"))?;
    if !Board::new(shared.words()).is_ours() || saved.wake.len() != WORKERS {
        return Err("the shared memory is laid out differently; restart the server instead".to_owned());
    }
    Ok(Prepared {
        upgrade: Upgrade::resume(saved.program.clone(), saved.header.arguments.clone())?,
        signals: caught::catch().map_err(|error| format!("cannot catch signals: {error}"))?,
        alarm: Alarm::new().map_err(|error| format!("cannot make a timer: {error}"))?,
        saved,
        config,
        descriptors,
        shared,
    })
}

impl Master {
    /// Goes on where the program before has stopped.
    ///
    /// # Errors
    /// For the operator. Nothing was taken over, unless the state contradicts itself.
    pub(super) fn resume(start: Start, from: Resume) -> Result<Self, String> {
        signals::ignore_broken_pipes();
        let state =
            inherited::contents(from.state).map_err(|error| format!("the state cannot be read: {error}"))?;
        let prepared = prepare(&state)?;
        let failure = std::env::var(REASON).ok().filter(|_| from.back);
        process::forget_variables(&[c"HATCHERY_UPGRADE", c"HATCHERY_UPGRADE_REASON"])
            .map_err(|error| format!("cannot forget HATCHERY_UPGRADE: {error}"))?;
        // This program writes a state of its own at the next upgrade, and holds its own executable.
        drop((inherited::take(from.state), inherited::take(from.executable)));
        let version = prepared.saved.header.version.clone();
        logger::set_level(prepared.config.log.level);
        let came = prepared.saved.signals.clone();
        let mut master = Self::take_over(start, prepared)?;
        exec::name_process(c"hatchery");
        show_title("hatchery: master");
        find_code();
        if let Err(error) = process::adopt_orphans() {
            log::debug!(target: "hatchery", "orphans of apps and jobs go to init: {error}");
        }
        let now = clock::now();
        let result = if from.back { Err(failure.unwrap_or_default()) } else { Ok(()) };
        if result.is_ok() {
            let own = env!("CARGO_PKG_VERSION");
            log::info!(target: "hatchery", "upgrade: version {own} goes on in place of {version}");
        }
        master.go_on(result, now);
        signals::unblock_all();
        came.into_iter().for_each(|number| master.take_signal(number, now));
        master.reap(now);
        master.look_for_hung_workers(now);
        master.ask_ready_again(now);
        Ok(master)
    }

    /// The core knows which program runs from now on.
    fn go_on(&mut self, result: Result<(), String>, now: Time) {
        self.supervisor.on(Input::Executed(result), now);
        self.generation = self.supervisor.generation();
        self.nursery.renumber(self.generation);
        self.find_ready_requests();
    }

    /// Does with a state what [`Self::resume`] does, up to the first thing that would be seen outside. In a process of its
    /// own, which ends afterwards, with descriptors in the places of those that the state names.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub(super) fn rehearse(start: Start, state: &[u8]) -> Result<(), String> {
        signals::ignore_broken_pipes();
        let mut prepared = prepare(state)?;
        prepared.saved.disown();
        // What a master removes at its end is in use by the running one.
        let mut master = ManuallyDrop::new(Self::take_over(start, prepared)?);
        let now = clock::now();
        master.go_on(Ok(()), now);
        while master.supervisor.poll().is_some() {}
        // What the first command and the next upgrade will want.
        let _unread = (master.status(now), master.state(&[]).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn take_over(start: Start, prepared: Prepared) -> Result<Self, String> {
        let Prepared { saved, config, mut descriptors, shared, signals, alarm, upgrade } = prepared;
        let descriptors = &mut descriptors;
        let current = saved.generation.restore(config, descriptors)?;
        let log = current.access_log.as_ref().and_then(|log| log.try_clone().ok()).map(Rc::new);
        let mut children = BTreeMap::new();
        for (id, child) in saved.children {
            children.insert(id, child.restore(log.as_ref(), descriptors)?);
        }
        let abandoned = saved.abandoned.into_iter().map(|known| known.restore(descriptors));
        let abandoned = abandoned.collect::<Result<Vec<_>, _>>()?;
        let nursery = saved.nursery.restore(descriptors)?;
        let mut runs: BTreeMap<RunId, CronRun> = BTreeMap::new();
        for (id, run) in saved.runs {
            runs.insert(id, run.restore(descriptors)?);
        }
        let mut take = |kept: Kept| descriptors.take(kept);
        let wake: Vec<OwnedFd> = saved.wake.into_iter().map(&mut take).collect::<Result<_, _>>()?;
        let board_file = take(saved.board)?;
        let pid_file = saved.pid_file.map(|file| PidFile::restore(file, descriptors)).transpose()?;
        // Where this program would look for them may mean something else by now.
        let file = saved.file.or(start.file);
        let identity = saved.identity.unwrap_or(start.identity);
        Ok(Self {
            start: Start { file, identity, load: start.load, worker: start.worker, control: start.control },
            generation: saved.supervisor.generation(),
            supervisor: saved.supervisor,
            children,
            abandoned,
            nursery,
            current,
            candidate: None,
            numbers: saved.numbers,
            inherited: Inherited::restore(saved.inherited, descriptors)?,
            shared,
            board_file,
            upgrade,
            wake: wake.into(),
            activity: saved.activity,
            heartbeat: Heartbeat::default(),
            sweep: Sweep::default(),
            roots_seen: None,
            scheduler: saved.scheduler,
            runs,
            alarm,
            unreaped: false,
            reopen: false,
            hurry: false,
            watching: saved.watching,
            exit: None,
            journal: saved.journal,
            followers: saved.followers,
            control: saved.control.restore(descriptors)?,
            signals,
            notify: Notify::restore(saved.notify),
            stored: saved.stored,
            out_of_memory: OutOfMemory::new(),
            runtime: RuntimeDir::restore(saved.runtime, descriptors)?,
            pid_file,
            started: saved.started,
        })
    }
}
