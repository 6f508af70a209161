//! Processes that do not die, whatever they were for: nothing waits for them any more, what they hold is theirs until they
//! are reaped. When one is given up, the cores decide (`supervisor`, `supervisor::templates`, `cron`).

use super::Master;
use super::child::{Child, Role};
use crate::control::command;
use crate::supervisor::{self, ChildId, Exit, Input, templates};
use crate::sys::process;
use crate::sys::stuck::{self, Stuck};
use crate::timer::Time;
use serde::{Deserialize, Serialize};

/// One process that was sent KILL.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Abandoned {
    /// As in titles and logs.
    name: String,
    process: process::Child,
    what: What,
}

/// What the process was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// A process of a pool; of a worker its row, which nobody else may have while it is there.
    Child(ChildId, Option<u16>),
    /// A template.
    Template,
    /// A run of a cron job.
    Run(crate::cron::RunId),
    /// The trial of a new program, which was killed a moment ago and is only not waited for.
    Trial,
}

impl Abandoned {
    /// A process that was sent KILL.
    pub(super) fn new(name: String, process: process::Child, what: What) -> Self {
        Self { name, process, what }
    }

    /// Whether this is the process of that id.
    pub(super) fn is(&self, pid: u32) -> bool {
        self.process.pid == pid
    }

    /// The row of the board that it holds.
    pub(super) fn row(&self) -> Option<u16> {
        match self.what {
            What::Child(_, row) => row,
            What::Template | What::Run(_) | What::Trial => None,
        }
    }
}

impl Master {
    /// A process of a pool does not die: it has no place any more, and nobody talks to it.
    pub(super) fn abandon_child(&mut self, id: ChildId, now: Time) {
        let Some(child) = self.children.remove(&id) else { return };
        let name = child.name();
        let row = match &child.role {
            Role::Worker(worker) => Some(worker.row),
            Role::App(_) | Role::Daemon(_) => None,
        };
        let Child { process, pool, slot, role, .. } = child;
        self.clear_up(&name, (pool, slot), role, now);
        self.abandon(Abandoned::new(name, process, What::Child(id, row)));
    }

    /// Nothing waits for that process any more.
    pub(super) fn abandon(&mut self, process: Abandoned) {
        if process.what != What::Trial {
            log::error!(
                target: "hatchery",
                "{} (process {}) was killed and does not die: {}; it is left alone from now on",
                process.name,
                process.process.pid,
                reason(process.process.pid)
            );
        }
        self.abandoned.push(process);
    }

    /// A process has ended: whether it was one that had been given up.
    pub(super) fn bury_abandoned(&mut self, pid: u32, exit: Exit, now: Time) -> bool {
        let Some(at) = self.abandoned.iter().position(|known| known.process.pid == pid) else { return false };
        let Abandoned { name, what, .. } = self.abandoned.swap_remove(at);
        let told = |name: &str| {
            log::info!(target: "hatchery", "{name} (process {pid}), which did not die, has ended: {exit}");
        };
        match what {
            // The supervisor tells the operator itself.
            What::Child(child, _) => self.supervisor.on(Input::Exited { child, exit }, now),
            What::Template => {
                told(&name);
                self.template_input(templates::Input::Buried { pid }, now);
            }
            What::Run(run) => {
                told(&name);
                self.scheduler.exited(run, exit, crate::sys::clock::wall(), now);
            }
            What::Trial => {}
        }
        true
    }

    /// The server has stopped: says what is still there; whether anything is.
    pub(super) fn tell_left_behind(&self) -> bool {
        let left = self.abandoned.iter().filter(|known| known.what != What::Trial);
        for Abandoned { name, process, .. } in left.clone() {
            let (pid, why) = (process.pid, reason(process.pid));
            log::error!(target: "hatchery", "left behind: {name} (process {pid}), which does not die: {why}");
        }
        left.count() > 0
    }

    /// For `status`: a process of a pool.
    pub(super) fn unkillable(&self, view: &supervisor::Abandoned, now: Time) -> command::Unkillable {
        command::Unkillable {
            pid: view.pid,
            number: view.slot,
            generation: view.generation,
            seconds: now.since(view.since).as_secs(),
            reason: reason(view.pid),
        }
    }
}

fn reason(pid: u32) -> String {
    match stuck::why(pid) {
        Stuck::Uninterruptible => {
            "it waits in the kernel for a device or file system that does not answer".to_owned()
        }
        Stuck::Traced { by } => format!("process {by} traces it (ptrace) and must let go of it first"),
        Stuck::Ended => "it has ended, but the kernel has not said so yet".to_owned(),
        Stuck::Unknown => "the kernel does not say why".to_owned(),
    }
}
