//! Daemons that put themselves to the background: what they left behind is found among the master's children and belongs
//! to the daemon's place until it has ended, so that the next one does not meet it. Whose it is, `supervisor::Trail`
//! decides; what follows, the supervisor.

use super::Master;
use super::child::Role;
use crate::supervisor::{ChildId, Exit, Input, Left, Seen, Trail};
use crate::sys::{process, signals};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// All processes are listed at most so often in one turn of the loop, however many end in it.
const LISTS: usize = 8;

/// Processes of one daemon that are held at a time. Others are found again when these end.
const MOST: usize = 256;

/// Processes of one child besides that by which it is known.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Strays {
    trail: Option<Trail>,
    others: Vec<process::Child>,
}

/// What of a daemon's process lives on when one of its processes has ended.
#[derive(Debug)]
pub(super) struct Remains {
    /// That was the first one, which is to be in the foreground.
    begins: bool,
    trail: Trail,
    /// Not known before.
    new: Vec<process::Child>,
}

impl Strays {
    /// Whether the process of that id is a stray.
    pub(super) fn have(&self, pid: u32) -> bool {
        self.others.iter().any(|other| other.pid == pid)
    }

    /// Sends all of them a signal; `group`: what they have started, too.
    pub(super) fn signal(&self, signal: i32, group: bool) {
        self.others.iter().for_each(|other| tell(other, signal, group));
    }

    /// Gives them away: nothing waits for them any more.
    pub(super) fn take(&mut self) -> Vec<process::Child> {
        std::mem::take(&mut self.others)
    }
}

impl Master {
    /// A process has ended, and is not reaped yet: what of its child lives on. `None`: nothing, or it is none of a daemon.
    pub(super) fn remains(&self, pid: u32, exit: Exit, census: &mut Census, now: Time) -> Option<Remains> {
        let id = self.child_of(pid)?;
        let child = self.children.get(&id)?;
        let Role::Daemon(daemon) = &child.role else { return None };
        let known = |pid: u32| self.is_known(pid);
        if let Some(trail) = &daemon.strays.trail {
            let mut trail = trail.clone();
            let room = MOST.saturating_sub(daemon.strays.others.len());
            let new = census.look(pid, room, |children| trail.go_on(children, known));
            let lives = child.process.pid != pid || daemon.strays.others.iter().any(|other| other.pid != pid);
            return (lives || !new.is_empty()).then_some(Remains { begins: false, trail, new });
        }
        let found = self.supervisor.may_hide(id, exit, now).then(|| {
            let first = census.again().iter().find(|child| child.pid == pid).copied()?;
            let mut trail = Trail::of(&first, process::session());
            let new = census.look(pid, MOST, |children| trail.begin(children, known));
            (!new.is_empty()).then_some(Remains { begins: true, trail, new })
        });
        let found = found.flatten();
        if found.is_none() {
            self.end_group(pid);
        }
        found
    }

    /// The process was reaped: the child goes on, known by the processes that it has left behind.
    pub(super) fn follow(&mut self, id: ChildId, pid: u32, remains: Remains, now: Time) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let name = child.name();
        let Role::Daemon(daemon) = &mut child.role else { return };
        let Remains { begins, trail, new } = remains;
        for process in &new {
            log::debug!(target: "hatchery", "{name} (process {pid}) has left process {} behind", process.pid);
            // The supervisor decides about the first ones; those that come later get the signal that was sent to these.
            if !begins {
                let signal = if child.killed { signals::SIGKILL } else { daemon.stop_signal };
                tell(process, signal, child.killed);
            }
        }
        let strays = &mut daemon.strays;
        strays.trail = Some(trail);
        strays.others.retain(|other| other.pid != pid);
        strays.others.extend(new);
        if child.process.pid != pid {
            return;
        }
        let Some(next) = strays.others.pop() else { return };
        let pid = next.pid;
        child.process = next;
        let input =
            if begins { Input::Background { child: id, pid } } else { Input::Forked { child: id, pid } };
        self.supervisor.on(input, now);
    }
}

fn tell(process: &process::Child, signal: i32, group: bool) {
    if let Err(error) = process::signal(process, signal, group) {
        log::debug!(target: "hatchery", "cannot signal process {}: {error}", process.pid);
    }
}

/// The master's children as they were listed in this turn. Listing reads a file for each process of the machine.
#[derive(Debug, Default)]
pub(super) struct Census {
    last: Vec<Seen>,
    /// Ended already when the last list was begun: what they have forked is in it.
    before: BTreeSet<u32>,
    made: usize,
}

impl Census {
    /// One more list, or the last once more if there were too many.
    fn again(&mut self) -> &[Seen] {
        if self.made < LISTS {
            self.before.extend(self.last.iter().filter(|seen| seen.ended).map(|seen| seen.pid));
            (self.last, self.made) = (children(), self.made + 1);
        }
        &self.last
    }

    /// What a process has left behind that has ended, at most `room`. Looks again while others end in the meantime: a
    /// list that shows how one has ended may lack what it has forked before.
    fn look(
        &mut self,
        ended: u32,
        room: usize,
        mut find: impl FnMut(&[Seen]) -> Left,
    ) -> Vec<process::Child> {
        if self.before.contains(&ended) {
            return adopt(find(&self.last), room);
        }
        let mut known = 0;
        loop {
            let left = find(self.again());
            let ended = left.ended;
            let found = adopt(left, room);
            if !found.is_empty() || ended <= known || self.made == LISTS {
                return found;
            }
            known = ended;
        }
    }
}

/// Those that are still ours: the number of what was reaped since it was listed may be anybody's.
fn adopt(left: Left, room: usize) -> Vec<process::Child> {
    left.alive.into_iter().filter_map(|pid| process::adopted(pid).ok()).take(room).collect()
}

fn children() -> Vec<Seen> {
    match process::children() {
        Ok(children) => children.into_iter().map(seen).collect(),
        Err(error) => {
            log::warn!(target: "hatchery", "what a daemon has left behind cannot be found: {error}");
            Vec::new()
        }
    }
}

fn seen(listed: process::Listed) -> Seen {
    let process::Listed { pid, group, session, started, user, ended } = listed;
    Seen { pid, group, session, started, user, ended }
}
