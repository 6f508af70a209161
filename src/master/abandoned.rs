//! Processes that do not die, whatever they were for: nothing waits for them any more, what they hold is theirs until they
//! are reaped. When one is given up, the cores decide (`supervisor`, `supervisor::templates`, `cron`).

use super::Master;
use super::child::{Child, Id, Role};
use crate::sys::stuck::{self, Stuck};
use crate::timer::Time;

impl Master {
    /// A child that was sent KILL does not die: it has no place any more, and nobody talks to it.
    pub(super) fn abandon(&mut self, id: Id, now: Time) {
        let Some(child) = self.children.find_mut(id) else { return };
        let (name, pid) = (child.name.clone(), child.process.pid);
        // The trial was killed a moment ago and is only not waited for.
        if id != Id::Trial {
            log::error!(
                target: "hatchery",
                "{name} (process {pid}) was killed and does not die: {}; it is left alone from now on",
                reason(pid)
            );
        }
        let given_up = Role::GivenUp(child.role.worker().map(|worker| worker.row));
        let role = std::mem::replace(&mut child.role, given_up);
        (child.launch, child.held.voice) = (None, None);
        let output = child.output.take();
        self.clear_up(&name, role, output, now);
    }

    /// The server has stopped: says what is still there, and returns it.
    pub(super) fn tell_left_behind(&self) -> Vec<String> {
        let left = self.children.values().filter(|child| child.is_given_up() && child.id != Id::Trial);
        left.map(|Child { process, held, .. }| {
            let who = format!("{} (process {})", held.name, process.pid);
            let why = reason(process.pid);
            log::error!(target: "hatchery", "left behind: {who}, which does not die: {why}");
            who
        })
        .collect()
    }
}

/// What keeps the process from ending, as far as the kernel tells.
pub(super) fn reason(pid: u32) -> String {
    match stuck::why(pid) {
        Stuck::Uninterruptible => {
            "it waits in the kernel for a device or file system that does not answer".to_owned()
        }
        Stuck::Traced { by } => format!("process {by} traces it (ptrace) and must let go of it first"),
        Stuck::Ended => "it has ended, but the kernel has not said so yet".to_owned(),
        Stuck::Unknown => "the kernel does not say why".to_owned(),
    }
}
