//! Daemons that put themselves to the background: their first process ends with 0 while another one goes on, which the
//! master, as a subreaper or process 1, is given. Pure: which of the master's children those are follows from what the
//! kernel shows of them.
//!
//! A process that stays in the process group of the first one is certainly the daemon's. One in a session of its own
//! (setsid(2), as daemon(3) does it) has no tie left: it counts if the master knows it as nothing else, it began after the
//! first process, and its user could have been started by that of the first. Somebody else's process that was detached in
//! the same seconds looks the same, hence [`SOON`].

use super::machine::Supervisor;
use super::slot::{Event, State};
use super::{ChildId, Exit};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// A process that goes to the background does so soon after its start.
const SOON: Duration = Duration::from_secs(10);

/// A child of the master as the kernel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its process id.
    pub(crate) pid: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Its session.
    pub(crate) session: u32,
    /// When it was forked, on the kernel's clock.
    pub(crate) started: u64,
    /// Its real user.
    pub(crate) user: u32,
    /// It only waits to be reaped.
    pub(crate) ended: bool,
}

/// The marks by which the processes are known that a daemon has left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trail {
    /// The master's session, which proves nothing.
    ours: u32,
    started: u64,
    user: u32,
    /// Groups and sessions of its processes alone.
    groups: BTreeSet<u32>,
    sessions: BTreeSet<u32>,
}

/// What of a daemon was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Processes that live.
    pub(crate) alive: Vec<u32>,
    /// How many have ended: what such a one has forked in the meantime may be missing from the list.
    pub(crate) ended: usize,
}

impl Trail {
    /// Of a first process, which has ended and is not reaped yet; `ours`: the session of the master.
    #[must_use]
    pub(crate) fn of(first: &Seen, ours: u32) -> Self {
        Self {
            ours,
            started: first.started,
            user: first.user,
            groups: BTreeSet::from([first.pid]),
            sessions: BTreeSet::from([first.pid]),
        }
    }

    /// What of the master's `children` the daemon has left behind when its first process ended; `known`: what is
    /// something else.
    pub(crate) fn begin(&mut self, children: &[Seen], known: impl Fn(u32) -> bool) -> Left {
        let (ours, started, user) = (self.ours, self.started, self.user);
        let fresh =
            |seen: &Seen| seen.session != ours && seen.started >= started && (user == 0 || seen.user == user);
        self.find(children, known, fresh)
    }

    /// The same later, when one of them has ended: what that has left behind.
    pub(crate) fn go_on(&mut self, children: &[Seen], known: impl Fn(u32) -> bool) -> Left {
        self.find(children, known, |_| false)
    }

    fn find(
        &mut self,
        children: &[Seen],
        known: impl Fn(u32) -> bool,
        fresh: impl Fn(&Seen) -> bool,
    ) -> Left {
        let related = |seen: &&Seen| {
            self.groups.contains(&seen.group) || self.sessions.contains(&seen.session) || fresh(seen)
        };
        let found: Vec<Seen> =
            children.iter().filter(|seen| !known(seen.pid)).filter(related).copied().collect();
        for seen in &found {
            // It may be about to leave for a group and session of its own.
            self.groups.insert(seen.pid);
            self.sessions.insert(seen.pid);
            if seen.session != self.ours {
                self.groups.insert(seen.group);
                self.sessions.insert(seen.session);
            }
        }
        let (ended, alive): (Vec<Seen>, _) = found.into_iter().partition(|seen| seen.ended);
        Left { alive: alive.iter().map(|seen| seen.pid).collect(), ended: ended.len() }
    }
}

impl Supervisor {
    /// A child has ended: whether what it left behind must be looked for, as it may have put itself to the background.
    #[must_use]
    pub fn may_hide(&self, child: ChildId, exit: Exit, now: Time) -> bool {
        let Some(position) = self.position_of(child).filter(|_| exit == Exit::Code(0)) else { return false };
        let Some(pool) = self.pools.get(position.pool).filter(|pool| pool.is_daemon()) else { return false };
        pool.slots.get(position.slot).is_some_and(|slot| match &slot.state {
            State::Booting { process, .. } | State::Ready { process, .. } => {
                now.since(process.spawned) <= SOON
            }
            State::Empty { .. } | State::Draining { .. } | State::Killing { .. } | State::Killed { .. } => {
                false
            }
        })
    }

    /// The child has put itself to the background: it is known by another process from now on, which must go before the
    /// next one starts.
    pub(super) fn on_background(&mut self, child: ChildId, pid: u32, now: Time) {
        let Some(position) = self.position_of(child) else { return };
        let plan = self.pools.get(position.pool).and_then(|pool| pool.plan.daemon.as_ref());
        let Some(until) = plan.map(|daemon| now.after(daemon.stop_timeout)) else { return };
        self.order(position, Event::Background { pid, until }, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Seen = Seen { pid: 10, group: 10, session: 1, started: 500, user: 33, ended: true };

    fn first(pid: u32) -> bool {
        pid == FIRST.pid
    }

    #[test]
    fn what_stays_in_the_group_is_its_and_what_others_have_is_not() {
        let mut trail = Trail::of(&FIRST, 1);
        let child = |pid: u32, group: u32| Seen { pid, group, ended: false, ..FIRST };
        let children =
            [FIRST, child(11, 10), child(12, 12), child(13, 10), Seen { ended: true, ..child(14, 10) }];
        let left = trail.begin(&children, |pid| [10, 13].contains(&pid));
        assert_eq!(left, Left { alive: vec![11], ended: 1 });
        // The group of the first is left for one of its own.
        assert_eq!(trail.go_on(&[child(15, 11), child(16, 16)], first).alive, [15]);
    }

    #[test]
    fn a_session_of_its_own_counts_if_it_can_be_its() {
        let detached =
            |pid: u32| Seen { pid, group: pid, session: pid, started: 501, user: 33, ended: false };
        let children = [
            FIRST,
            detached(20),
            Seen { started: 499, ..detached(21) },
            Seen { user: 34, ..detached(22) },
            Seen { session: 1, ..detached(23) },
        ];
        assert_eq!(Trail::of(&FIRST, 1).begin(&children, first).alive, [20]);
        // Root may have become anybody.
        let root = Seen { user: 0, ..FIRST };
        assert_eq!(Trail::of(&root, 1).begin(&children, first).alive, [20, 22]);
    }

    #[test]
    fn a_second_fork_is_found_when_the_first_is_gone() {
        let mut trail = Trail::of(&FIRST, 1);
        let between = Seen { pid: 11, group: 10, session: 1, started: 501, user: 33, ended: false };
        assert_eq!(trail.begin(&[FIRST, between], first).alive, [11]);
        // That one has made a session and has forked again; somebody else's is too late.
        let last = Seen { pid: 12, group: 11, session: 11, started: 502, ..between };
        let other = Seen { pid: 13, group: 13, session: 13, started: 502, ..between };
        assert_eq!(trail.go_on(&[last, other], first).alive, [12]);
        // It had ended when it was seen: it is looked again.
        let mut trail = Trail::of(&FIRST, 1);
        let left = trail.begin(&[FIRST, Seen { ended: true, ..between }], first);
        assert_eq!(left, Left { alive: Vec::new(), ended: 1 });
        assert_eq!(trail.go_on(&[last, other], first).alive, [12]);
    }
}
