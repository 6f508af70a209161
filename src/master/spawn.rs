//! The fork of a worker, step by step. The order matters: each step says what it must come after.

use super::generation::Generation;
use super::limits::Lent;
use super::store::Store;
use super::{logger, shared};
use crate::balance::WorkerRoster;
use crate::cache::store::WorkerStore;
use crate::config::boot::{Listener, PIPE_SIZE, PIPES, WorkerBoot};
use crate::config::credentials::Credentials;
use crate::config::{Config, Sandbox, Upstream};
use crate::control::worker::ToMaster;
use crate::dispatch::WorkerBoard;
use crate::policy::limit::table::WorkerTable;
use crate::sys::carried::Carried;
use crate::sys::place::Directory;
use crate::sys::process::OnlyChild;
use crate::sys::resources::Refused;
use crate::sys::shm::Shared;
use crate::sys::user::Account;
use crate::sys::{channel, fd, process, sandbox, seqpacket, signals, title, user};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

/// What a worker gets from the master besides the configuration.
pub(super) struct Worker<'a> {
    /// What it is started from.
    pub(super) generation: &'a Generation,
    /// For TLS.
    pub(super) credentials: Credentials,
    /// Number of the generation.
    pub(super) number: u32,
    /// That generation is being tried by a reload.
    pub(super) candidate: bool,
    /// Its row on the board.
    pub(super) row: u16,
    /// Its slot in the pool.
    pub(super) slot: u16,
    /// The board.
    pub(super) shared: Shared,
    /// The file that the board is mapped from.
    pub(super) board: BorrowedFd<'a>,
    /// What workers share of the response cache.
    pub(super) cache: &'a Store,
    /// The table of limits.
    pub(super) limits: Lent<'a>,
    /// The eventfd of every row.
    pub(super) wake: Rc<[Carried]>,
    /// Where the sockets of apps are.
    pub(super) runtime_dir: PathBuf,
    /// What runs in the worker.
    pub(super) run: fn(WorkerBoot) -> i32,
}

/// Our ends of what the master and a worker share.
#[derive(Debug)]
pub(super) struct Line {
    /// Socket by which it is told something.
    pub(super) ear: OwnedFd,
    /// Pipe over which it says something.
    pub(super) voice: OwnedFd,
}

/// A worker's ends of the same.
#[derive(Debug)]
struct Ends {
    control: OwnedFd,
    tell: OwnedFd,
}

/// Forks a worker; returns it and our ends of its socket and pipe.
///
/// # Errors
/// For the log: limits of processes, descriptors, memory; more than one thread.
pub(super) fn worker(worker: Worker<'_>) -> io::Result<(process::Child, Line)> {
    // 1  What it hears and tells the master by, and its row on the board.
    let (line, theirs) = line()?;
    shared::seat(worker.shared, worker.row);
    worker.cache.seat(worker.row);
    worker.limits.seat(worker.row, &worker.generation.config);
    let master = std::process::id();
    // 2  A fork copies one thread only: it is refused if there are more. Signals are blocked until step 11.
    let child = process::fork(move |alone| match child(worker, theirs, master, &alone) {
        Ok((run, boot)) => run(boot),
        Err((step, error)) => {
            log::error!(target: "hatchery", "could not be set up ({step}): {error}");
            1
        }
    })?;
    Ok((child, line))
}

/// Descriptors go to a worker, but never come from one: what it says comes over a pipe, and its socket is shut the other
/// way (docs/decisions/0012-descriptors.md).
fn line() -> io::Result<(Line, Ends)> {
    let (ear, control) = seqpacket::one_way()?;
    let (voice, tell) = channel::from_child()?;
    channel::never_block(&tell)?;
    Ok((Line { ear, voice }, Ends { control, tell }))
}

type Ready = (fn(WorkerBoot) -> i32, WorkerBoot);

/// In the child. Everything of the master's that it can still see is left alone: dropping it would unlink sockets
/// that the master uses.
fn child(
    worker: Worker<'_>,
    ends: Ends,
    master: u32,
    alone: &OnlyChild,
) -> Result<Ready, (&'static str, io::Error)> {
    let name = format!("worker {}", worker.slot);
    logger::speak_as(name.clone());
    let account: Option<Account> = worker.generation.account.clone();
    let resources = worker.generation.config.workers.resources.clone();
    let title = format!("hatchery: {name} gen {}", worker.number);
    let run = worker.run;
    // 3  Board, roster and limits become read-only but for its own words and those that all exchange, for good; while their
    //    descriptor is open, which is closed next, and may be opened again, which the sandbox forbids.
    let shared = shared::confine(worker.shared, worker.board, worker.row);
    let shared = shared.map_err(|error| ("mapping the shared memory", error))?;
    let cache = worker.cache.confine(worker.row);
    let cache = cache.map_err(|error| ("mapping the memory of the cache", error))?;
    let limits = worker.limits.confine(worker.row).map_err(|error| ("mapping the table of limits", error))?;
    // 4  Its own copies of what it keeps, then everything else is closed: a copy of the master's signal pipe would
    //    swallow the master's signals.
    process::raise_open_files();
    let boot = boot(worker, shared, cache, limits, ends, master);
    let boot = boot.map_err(|error| ("copying descriptors", error))?;
    alone.close_except(&kept(&boot)).map_err(|error| ("closing descriptors", error))?;
    process::null_input().map_err(|error| ("standard input", error))?;
    // 5  Default dispositions, so that TERM ends it. Signals meant for the master that reach all processes of the
    //    program (`pkill -HUP hatchery`) do nothing.
    signals::reset(&[signals::SIGPIPE, signals::SIGHUP, signals::SIGUSR1, signals::SIGUSR2]);
    // 6  A terminal's Ctrl-C reaches the master only.
    process::own_group();
    // 7  Its limits, some of which only root may raise; then its user, after everything that needs privileges; every
    //    capability, also of a worker that stays root.
    let refused = |refused: Refused| ("`workers.limits` or `workers.oom_score_adj`", refused.error);
    resources.apply().map_err(refused)?;
    sandbox::drop_bounding_set();
    if let Some(account) = &account {
        user::take_on(account).map_err(|error| ("user", error))?;
    }
    sandbox::drop_capabilities().map_err(|error| ("capabilities", error))?;
    process::no_new_privileges().map_err(|error| ("no new privileges", error))?;
    // 8  Not outliving the master; after the change of user, which clears it.
    process::die_with_parent(signals::SIGKILL, master).map_err(|error| ("parent", error))?;
    // 9  Descriptors for all its connections; what `ps` shows.
    process::raise_open_files();
    title::set(&title);
    // 10 The sandbox; after everything that opens files by name, before the first thread.
    confine(&boot)?;
    // 11 The worker draws its own random numbers and makes its own poll after this. Signals may come.
    signals::unblock_all();
    Ok((run, boot))
}

/// Gives up files and system calls, and tells the master what took effect. Memory stays private (no core, no tracing by
/// others of the same user), as it holds what clients sent.
fn confine(boot: &WorkerBoot) -> Result<(), (&'static str, io::Error)> {
    let config = &boot.config;
    let dumpable = config.sandbox == Sandbox::Off;
    sandbox::set_dumpable(dumpable).map_err(|error| ("core dumps", error))?;
    if config.sandbox == Sandbox::Off {
        return Ok(());
    }
    let required = config.sandbox == Sandbox::Require;
    let degrade = |what: &'static str, error: io::Error| {
        if required {
            return Err((what, error));
        }
        // What the kernel lacks has been said once, by the master.
        let level = if sandbox::missing().is_empty() { log::Level::Warn } else { log::Level::Debug };
        log::log!(target: "hatchery", level, "goes on without a part of the sandbox ({what}): {error}");
        Ok(())
    };
    let mut applied = sandbox::Applied::default();
    let mut rules = config.reach();
    // What was found good, whatever its path leads to by now.
    rules.read = rules
        .read
        .into_iter()
        .filter_map(|path| match boot.roots.get(&path) {
            Some(root) => root.as_ref().map(|root| root.real.clone()),
            None => Some(path),
        })
        .collect();
    rules.sockets.push(boot.runtime_dir.clone());
    if let Some(directory) = &boot.temp_dir {
        // The one that the master opened, whatever has its name by now.
        rules.write = vec![Directory::name_of(directory.as_fd(), "")];
    }
    if let Some(directory) = &boot.cache_files {
        rules.write.push(Directory::name_of(directory.as_fd(), ""));
    }
    match sandbox::restrict_files(&rules) {
        Ok(version) => applied.landlock = version,
        Err(error) => degrade("Landlock", error)?,
    }
    match sandbox::restrict_calls() {
        Ok(()) => applied.seccomp = true,
        Err(error) => degrade("seccomp", error)?,
    }
    let told = ToMaster::Sandboxed { landlock: applied.landlock, seccomp: applied.seccomp };
    fd::write_whole(boot.tell.as_fd(), &told.encode()).map_err(|error| ("pipe to the master", error))
}

fn boot(
    worker: Worker<'_>,
    (board, roster): (WorkerBoard<'static>, WorkerRoster<'static>),
    cache: WorkerStore<'static>,
    limits: WorkerTable<'static>,
    ends: Ends,
    master: u32,
) -> io::Result<WorkerBoot> {
    let mut listeners = Vec::new();
    for listening in &worker.generation.listening {
        for socket in &listening.sockets {
            listeners.push(Listener {
                fd: socket.descriptor().try_clone_to_owned()?,
                local: socket.address(),
                sites: listening.sites.clone(),
                is_tls: listening.is_tls,
                front: worker.generation.config.is_for_fronts(&listening.address),
                proxies: worker.generation.config.proxies_at(&listening.address).to_vec(),
            });
        }
    }
    let logs = worker.generation.access_logs.iter().map(|log| log.try_clone());
    let access_logs = logs.collect::<io::Result<_>>()?;
    Ok(WorkerBoot {
        config: worker.generation.config.clone(),
        listeners,
        control: ends.control,
        tell: ends.tell,
        board,
        roster,
        cache,
        cache_files: worker.cache.files()?,
        limits,
        upstreams: worker.generation.upstreams.clone(),
        wake: worker.wake,
        runtime_dir: worker.runtime_dir,
        master,
        temp_dir: worker.generation.temp_dir.as_ref().map(|directory| directory.try_clone()).transpose()?,
        pipes: pipes(&worker.generation.config),
        app_pools: worker.generation.app_pools.clone(),
        roots: worker.generation.roots.there(),
        access_logs,
        credentials: worker.credentials,
        candidate: worker.candidate,
    })
}

/// As many as can be had, if any upstream has a use for them, and where descriptors are few only some.
fn pipes(config: &Config) -> Vec<(OwnedFd, OwnedFd)> {
    let has_use = config.upstreams.iter().any(Upstream::can_be_piped);
    let most = if has_use { PIPES.min((process::open_files_limit() / 64) as usize) } else { 0 };
    std::iter::repeat_with(|| fd::pipe_of(PIPE_SIZE).ok()).take(most).map_while(|pipe| pipe).collect()
}

fn kept(boot: &WorkerBoot) -> Vec<RawFd> {
    let listeners = boot.listeners.iter().map(|listener| listener.fd.as_raw_fd());
    let wake = boot.wake.iter().map(|wake| wake.as_raw_fd());
    let others = boot
        .access_logs
        .iter()
        .chain(&boot.temp_dir)
        .chain(&boot.cache_files)
        .chain([&boot.control, &boot.tell])
        .chain(boot.pipes.iter().flat_map(|(outlet, inlet)| [outlet, inlet]))
        .map(OwnedFd::as_raw_fd);
    listeners.chain(wake).chain(others).chain(super::logger::descriptor()).collect()
}

#[cfg(test)]
mod tests;
