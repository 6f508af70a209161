//! The start of a program that was executed in place of another one. Everything that can fail comes first and touches
//! nothing: until then the program before can be executed again, with the same state (`put_back`).

use super::edits::Edits;
use super::heartbeat::Heartbeat;
use super::limits::Segment;
use super::memory::OutOfMemory;
use super::order::{Order, REASON, Resume};
use super::saved::{Header, Saved, State, Unread};
use super::store::Store;
use super::upgrade::Upgrade;
use super::{
    Master, Start, adopt_orphans, find_code, logger, master_title, shared, show_title, signals as caught,
};
use crate::dispatch::Sweep;
use crate::dispatch::board::WORKERS;
use crate::supervisor::Input;
use crate::sys::alarm::Alarm;
use crate::sys::exec::{self, Image};
use crate::sys::shm::Shared;
use crate::sys::signals::{self, Signals};
use crate::sys::{carried, clock, inherited, process};
use crate::timer::Time;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

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
    let Ok(state) = inherited::contents(from.state) else { return };
    let Ok(header) = Header::read(&state) else { return };
    if from.back {
        return;
    }
    // Those that were taken over already are its own again.
    let descriptors = Unread::read(&state).map(|unread| unread.descriptors).unwrap_or_default();
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
            exec::become_image(image, &arguments, &environment, &descriptors)
        }
        Err(error) => error,
    };
    log::error!(target: "hatchery", "the program before cannot be executed again: {error}");
}

/// All that can fail, and that nobody misses if the program before goes on.
struct Prepared {
    saved: Saved<State>,
    shared: Shared,
    cache: Store,
    limits: Segment,
    signals: Signals,
    alarm: Alarm,
    upgrade: Upgrade,
}

/// What it has taken over stays open, and no file is removed, until this program says that it is the server.
fn prepare(state: &[u8]) -> Result<Prepared, String> {
    let mut saved = Saved::<State>::read(state)?;
    let shared = shared::of(saved.state.board_file.as_fd())?;
    let limits = Segment::of(saved.state.limits.take(), &saved.state.current.config)
        .map_err(|error| format!("the table of limits cannot be mapped: {error}"))?;
    if saved.state.wake.len() != WORKERS {
        return Err("there are events for another number of workers; restart the server instead".to_owned());
    }
    let current = &saved.state.current;
    let cache = Store::resume(saved.state.cache.take(), &current.config.cache, current.account.as_ref())?;
    Ok(Prepared {
        cache,
        upgrade: Upgrade::resume(saved.program.clone(), saved.header.arguments.clone())?,
        signals: caught::catch().map_err(|error| format!("cannot catch signals: {error}"))?,
        alarm: Alarm::new().map_err(|error| format!("cannot make a timer: {error}"))?,
        saved,
        shared,
        limits,
    })
}

impl Master {
    /// Goes on where the program before has stopped.
    ///
    /// # Errors
    /// For the operator. The program before can go on with everything.
    pub(super) fn resume(start: Start, from: Resume) -> Result<Self, String> {
        signals::ignore_broken_pipes();
        let state =
            inherited::contents(from.state).map_err(|error| format!("the state cannot be read: {error}"))?;
        carried::inherit();
        let prepared = prepare(&state)?;
        let failure = std::env::var(REASON).ok().filter(|_| from.back);
        process::forget_variables(&[c"HATCHERY_UPGRADE", c"HATCHERY_UPGRADE_REASON"])
            .map_err(|error| format!("cannot forget HATCHERY_UPGRADE: {error}"))?;
        // From here on nothing fails.
        carried::own();
        let Saved { header, signals: came, descriptors, .. } = &prepared.saved;
        let (version, came) = (header.version.clone(), came.clone());
        // This program writes a state of its own at the next upgrade, and holds its own executable; and what the state names
        // and this program does not know has no owner.
        let rest = descriptors.iter().chain([&from.state, &from.executable]);
        rest.for_each(|number| drop(inherited::take(*number)));
        logger::set_level(prepared.saved.state.current.config.log.level);
        let mut master = Self::take_over(start, prepared);
        exec::name_process(c"hatchery");
        show_title(&master_title(&master.start.identity));
        // A version before did not.
        master.runtime.announce(&master.start.identity, master.control.path());
        find_code();
        adopt_orphans();
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
        master.touch.go_on(now);
        master.keyring.go_on(now);
        master.follow_acme_again();
        master.follow_names_again(now);
        Ok(master)
    }

    /// The core knows which program runs from now on.
    fn go_on(&mut self, result: Result<(), String>, now: Time) {
        self.supervisor.on(Input::Executed(result), now);
        self.generation = self.supervisor.generation();
        self.renumber_templates();
        self.find_ready_requests();
    }

    /// Does with a state what [`Self::resume`] does, up to the first thing that would be seen outside. In a process of its
    /// own, which ends afterwards and only pretends to hold what the state names ([`carried::pretend`]).
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub(super) fn rehearse(start: Start, state: &[u8]) -> Result<(), String> {
        signals::ignore_broken_pipes();
        let mut master = Self::take_over(start, prepare(state)?);
        let now = clock::now();
        master.go_on(Ok(()), now);
        while master.supervisor.poll().is_some() {}
        // What the first command and the next upgrade will want.
        let _unread = (master.status(now), master.state(&[]).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn take_over(start: Start, prepared: Prepared) -> Self {
        let Prepared { saved, shared, cache, limits, signals, alarm, upgrade } = prepared;
        let Saved { file, identity, state, .. } = saved;
        Self {
            // Where this program would look for them may mean something else by now.
            start: Start { file, identity, ..start },
            generation: state.supervisor.generation(),
            supervisor: state.supervisor,
            children: state.children,
            nursery: state.nursery,
            current: state.current,
            candidate: None,
            numbers: state.numbers,
            inherited: state.inherited,
            shared,
            board_file: state.board_file,
            cache,
            limits,
            limited: state.limited,
            upgrade,
            wake: state.wake,
            requests: state.requests,
            faults: state.faults,
            activity: state.activity,
            heartbeat: Heartbeat::default(),
            sweep: Sweep::default(),
            roots_seen: None,
            roots_refused: None,
            touch: state.touch,
            closed: state.closed,
            edits: Edits::default(),
            keyring: state.keyring,
            scheduler: state.scheduler,
            acme: state.acme,
            names: state.names,
            heirs: state.heirs,
            alarm,
            unreaped: false,
            reopen: false,
            hurry: false,
            watching: state.watching,
            exit: None,
            journal: state.journal,
            followers: state.followers,
            control: state.control,
            signals,
            notify: state.notify,
            stored: state.stored,
            out_of_memory: OutOfMemory::new(),
            runtime: state.runtime,
            pid_file: state.pid_file,
            started: state.started,
        }
    }
}
