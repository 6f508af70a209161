//! What a worker says against a process of an app, and how much of it is believed. A worker that was taken over says what it
//! likes: the master acts on what it has seen for itself, or on what the host does not deny. What a worker says of itself
//! (ready, failed, closed, how busy it is) concerns itself alone; *want* starts a process of an app as any request
//! does, up to `processes.max`; *left* is looked up on the board, and a host that is told to leave finishes what it runs;
//! of a replaced root the master looks for itself, twice a second at most; what *runs* is shown as that worker's word.
//!
//! | it says | believed | then |
//! |---|---|---|
//! | a request has run into `timeout` | when the host had the time to deny it, and has not: see `apps::running` | the process is replaced at once |
//! | the process cannot be connected to | when we cannot either | the same |
//! | what it answers is not the protocol | nobody else can know | another one is started beside it, ready before it leaves; once a minute for each worker |

use super::Master;
use super::child::Role;
use crate::control::worker::{Complaint, Unit};
use crate::dispatch::{Process, Rows};
use crate::supervisor::{ChildId, Input};
use crate::timer::{Time, earliest};
use std::time::Duration;

/// A worker has another process renewed, on nothing but its word, so often at most.
const RENEWAL: Duration = Duration::from_secs(60);

impl Master {
    /// A worker complains of a process.
    pub(super) fn on_complaint(
        &mut self,
        worker: ChildId,
        at: Unit,
        complaint: Complaint,
        reason: String,
        now: Time,
    ) {
        let (Some(row), Some(child)) =
            (self.row_of(worker), self.app_in(at.pool, at.slot, Some(at.incarnation)))
        else {
            return;
        };
        match complaint {
            Complaint::Late => {
                if let Some(app) = self.app_of(at) {
                    app.late(at.thread, row, &reason, now);
                }
            }
            Complaint::Unreachable => {
                let Some(app) = self.app_of(at) else { return };
                if app.is_reachable(now) {
                    // What the worker has claimed there is given back if nothing runs.
                    app.ask_once(at.thread, row);
                } else {
                    self.supervisor.on(Input::Stuck { child, reason }, now);
                }
            }
            Complaint::Malformed => {
                if self.may_renew(worker, now) {
                    self.supervisor.on(Input::Worn { child, reason }, now);
                }
            }
        }
    }

    fn may_renew(&mut self, worker: ChildId, now: Time) -> bool {
        let Some(Role::Worker(worker)) = self.children.get_mut(&worker).map(|child| &mut child.role) else {
            return false;
        };
        let may = worker.renewed.is_none_or(|renewed| now.since(renewed) >= RENEWAL);
        if may {
            worker.renewed = Some(now);
        }
        may
    }

    /// When the next complaint will be believed.
    pub(super) fn complaints_deadline(&self) -> Option<Time> {
        let apps = self.children.values().filter_map(|child| match &child.role {
            Role::App(app) if !app.leaving => app.running.deadline(app.timeout),
            _ => None,
        });
        apps.fold(None, |first, next| earliest(first, Some(next)))
    }

    /// Has the processes replaced against which a complaint is believed by now.
    pub(super) fn believe_complaints(&mut self, now: Time) {
        let overdue = self.children.iter().filter_map(|(id, child)| match &child.role {
            Role::App(app) if !app.leaving => {
                app.running.overdue(app.timeout, now).map(|reason| (*id, reason.to_owned()))
            }
            _ => None,
        });
        let overdue: Vec<(ChildId, String)> = overdue.collect();
        for (child, reason) in overdue {
            if let Some(Role::App(app)) = self.children.get_mut(&child).map(|child| &mut child.role) {
                app.running.told(now);
            }
            self.supervisor.on(Input::Stuck { child, reason }, now);
        }
    }

    /// Looks for units that nobody would give back.
    pub(super) fn sweep_units(&mut self) {
        let board = self.board();
        let workers = self.children.values().filter_map(|child| match &child.role {
            Role::Worker(worker) => Some(worker.row),
            Role::App(_) | Role::Daemon(_) => None,
        });
        let alive = Rows::of(workers);
        let processes = self.children.values().filter_map(|child| match &child.role {
            // Not before its units were opened.
            Role::App(app) if board.incarnation(child.pool, child.slot) == app.incarnation => {
                Some(Process { pool: child.pool, slot: child.slot, leaving: app.leaving })
            }
            _ => None,
        });
        let sweeping = self.sweep.look(board, alive, processes);
        if sweeping.repaired > 0 {
            let units = sweeping.repaired;
            log::warn!(target: "hatchery", "units of apps that nobody would have given back: {units} taken back");
        }
        self.poke_all(sweeping.poke);
        for (lease, row) in sweeping.ask {
            let at = Unit {
                pool: lease.pool,
                slot: lease.slot,
                thread: lease.thread,
                incarnation: lease.incarnation,
            };
            if let Some(app) = self.app_of(at) {
                app.ask_once(at.thread, row);
            }
        }
    }
}
