//! What a worker says against a process of an app, and how much of it is believed. A worker that was taken over says what it
//! likes: the master acts on what it has seen for itself, or on what the host does not deny. What a worker says of itself
//! (ready, failed, closed, how busy it is) concerns itself alone; *want* starts a process of an app as any request
//! does, up to `processes.max`; *left* is looked up on the board, and a host that is told to leave finishes what it runs;
//! of a replaced root the master looks for itself, twice a second at most; what *runs* is shown as that worker's word.
//!
//! | it says | believed | then |
//! |---|---|---|
//! | a request has run into `timeout` | when the host had the time to deny it, and has not: see `apps::running` | the process is replaced at once |
//! | the process cannot be connected to | when we cannot either, and it has not ended | the same |
//! | what it answers is not the protocol | nobody else can know | another one is started beside it, ready before it leaves; once a minute for each worker |

use super::Master;
use super::apps::App;
use super::child::Id;
use crate::control::worker::{Complaint, Unit};
use crate::dispatch::{Process, Rows};
use crate::supervisor::{ChildId, Input};
use crate::sys::process;
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
                let pid = self.children.find(Id::Pool(child)).map(|child| child.process.pid);
                let Some(app) = self.app_of(at) else { return };
                if pid.is_some_and(process::has_ended) {
                    // How it has ended tells more, and is found in a moment.
                } else if app.is_reachable(now) {
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
        let Some(worker) = self.children.worker_mut(worker) else { return false };
        let may = worker.renewed.is_none_or(|renewed| now.since(renewed) >= RENEWAL);
        if may {
            worker.renewed = Some(now);
        }
        may
    }

    /// When the next complaint will be believed.
    pub(super) fn complaints_deadline(&self) -> Option<Time> {
        let apps = self.children.apps().filter(|(_, app)| !app.leaving);
        let deadlines = apps.filter_map(|(_, app)| app.running.deadline(app.timeout));
        deadlines.fold(None, |first, next| earliest(first, Some(next)))
    }

    /// Has the processes replaced against which a complaint is believed by now.
    pub(super) fn believe_complaints(&mut self, now: Time) {
        let mut overdue = Vec::new();
        for (child, app) in self.children.apps_mut().filter(|(_, app)| !app.leaving) {
            if let Some(reason) = app.running.overdue(app.timeout, now).map(str::to_owned) {
                app.running.told(now);
                overdue.push((child, reason));
            }
        }
        for (child, reason) in overdue {
            self.supervisor.on(Input::Stuck { child, reason }, now);
        }
    }

    /// Looks for units that nobody would give back.
    pub(super) fn sweep_units(&mut self) {
        let board = self.board();
        let alive = Rows::of(self.children.workers().map(|(_, worker)| worker.row));
        // Not before its units were opened.
        let opened = |app: &App| board.incarnation(app.pool, app.slot) == app.incarnation;
        let apps = self.children.apps().map(|(_, app)| app).filter(|app| opened(app));
        let processes = apps.map(|app| Process { pool: app.pool, slot: app.slot, leaving: app.leaving });
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
