//! Processes of daemons: a program with its environment, its output in the log, its own signals. When one is started,
//! ended or replaced, the supervisor decides.

use super::Master;
use super::child::{Child, Held, Id, Origin, Role};
use super::generation::Generation;
use super::output::Output;
use super::surroundings::{Surroundings, app_of};
use crate::config::{Daemon as Settings, Dependency};
use crate::supervisor::{ChildId, DaemonPlan, OnReload, PoolPlan, Processes};
use crate::sys::channel;
use crate::sys::process::Program;
use serde::{Deserialize, Serialize};
use std::io;

/// The signals of a process of a daemon.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Daemon {
    /// Asks it to end.
    pub(super) stop_signal: i32,
    /// Has it read its code and configuration again.
    reload_signal: Option<i32>,
}

/// Starts a process of the daemon at `index`.
///
/// # Errors
/// For the log: why there is no process.
pub(super) fn spawn(generation: &Generation, index: usize, id: ChildId, slot: u16) -> io::Result<Child> {
    let config = &generation.config;
    let daemon = config.daemons.get(index).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let around = Surroundings::of_daemon(
        config,
        &daemon.task,
        &generation.env_files,
        generation.daemon_account(index),
    )?;
    let stop_signal = daemon.stop_signal.number();
    let (read, write) = channel::from_child()?;
    let program = around.program(&daemon.task.command, write)?;
    let program = Program { death_signal: Some(stop_signal), ..program };
    let name = daemon.task.command.first().cloned().unwrap_or_default();
    let role = Role::Daemon(Daemon {
        stop_signal,
        reload_signal: daemon.reload_signal.map(crate::config::Signal::number),
    });
    Held::new(Id::Pool(id), format!("daemon {} {slot}", daemon.name), role)
        .prints(Output::new(&daemon.name, read))
        .start(&program, Origin::Command(name, None))
}

impl Master {
    /// Only the process itself: what it started is its own business.
    pub(super) fn reload_daemon(&self, id: ChildId) {
        if let Some(child) = self.children.find(Id::Pool(id))
            && let Role::Daemon(Daemon { reload_signal: Some(signal), .. }) = child.role
        {
            log::info!(target: "hatchery", "{} gets its reload signal", child.name);
            child.signal(signal, false);
        }
    }
}

impl Generation {
    /// The pools of the daemons.
    pub(super) fn daemon_plans(&self, before: Option<&Self>) -> Vec<PoolPlan> {
        let plan = |(at, daemon): (usize, &Settings)| PoolPlan {
            index: self.daemon_pools.get(at).copied().unwrap_or(u16::MAX),
            name: daemon.name.clone(),
            processes: Processes { min: daemon.processes, max: daemon.processes },
            most: crate::config::MOST_PROCESSES,
            upkeep: daemon.upkeep,
            daemon: Some(DaemonPlan {
                after: daemon.after.iter().filter_map(|dependency| self.pool_of(*dependency)).collect(),
                overlap: daemon.overlap,
                on_reload: before.map_or(OnReload::Replace, |before| self.on_reload(at, daemon, before)),
            }),
            ..PoolPlan::default()
        };
        self.config.daemons.iter().enumerate().map(plan).collect()
    }

    fn pool_of(&self, dependency: Dependency) -> Option<u16> {
        match dependency {
            Dependency::App(at) => self.app_pools.get(at).copied(),
            Dependency::Daemon(at) => self.daemon_pools.get(at).copied(),
        }
    }

    /// What of a process is fixed when it is started decides; the code of an app is not ours to compare.
    fn on_reload(&self, at: usize, daemon: &Settings, before: &Self) -> OnReload {
        let old = before.config.daemons.iter().position(|old| old.name == daemon.name);
        let same = old.is_some_and(|old| self.identity(at) == before.identity(old));
        match (same, daemon.reload_signal, daemon.task.app) {
            (false, _, _) | (true, None, Some(_)) => OnReload::Replace,
            (true, Some(_), _) => OnReload::Signal,
            (true, None, None) => OnReload::Keep,
        }
    }

    /// Everything that a process keeps from its start. How many there are, when they start and how long they may take
    /// to end can change without them.
    fn identity(&self, at: usize) -> Option<impl PartialEq + '_> {
        let daemon = self.config.daemons.get(at)?;
        let app = app_of(&self.config, &daemon.task);
        let files = [app.map_or(&[][..], |app| &app.env_file), &daemon.task.env_file];
        let files = files.map(|paths| self.env_files.of(paths).ok());
        let directory = daemon.task.chdir.as_ref().or(app.map(|app| &app.chdir));
        let app = app.map(|app| (&app.name, &app.home, &app.env));
        let signals = (daemon.stop_signal, daemon.reload_signal);
        let account = self.daemon_account(at);
        Some((
            &daemon.task.command,
            &daemon.task.env,
            files,
            app,
            directory,
            account,
            signals,
            &daemon.task.resources,
        ))
    }
}
