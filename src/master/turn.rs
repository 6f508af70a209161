//! The turns of the master: wait, take in what happened, let the supervisor decide, carry it out.

use super::apps::{App, Said};
use super::child::{Child, Hearing, Role};
use super::control::is_same;
use super::cronjobs::CronRun;
use super::output::Output;
use super::{Channel, Master, Token};
use crate::control::command::{Order, Request, Response};
use crate::control::worker::{ToMaster, Unit};
use crate::dispatch::{Freed, Lease, Rows};
use crate::supervisor::{ChildId, Input, Ticket};
use crate::sys::poll::{Interest, Ready, Set};
use crate::sys::sandbox::Applied;
use crate::sys::{clock, fd, process, signals};
use crate::timer::{Time, earliest};
use std::os::fd::AsFd as _;

impl Master {
    /// Until the supervisor says that nothing is left.
    pub(super) fn run(&mut self) -> Result<u8, String> {
        self.settle(clock::now());
        loop {
            let is_idle = self.scheduler.is_idle() && self.nursery.is_idle() && self.upgrade.trial.is_none();
            if let Some(code) = self.exit.filter(|_| is_idle) {
                let code = if self.tell_left_behind() { 1 } else { code };
                log::info!(target: "hatchery", "stopped");
                return Ok(code);
            }
            let ready = self.wait(clock::now())?;
            let now = clock::now();
            if self.unreaped {
                self.reap(now);
            }
            for event in ready {
                self.take_in(event, now);
            }
            self.expire(now);
            self.settle(now);
            self.answer_followers(now);
            self.execute_if_told(now);
        }
    }

    /// The set is derived from the state each time.
    fn wait(&self, now: Time) -> Result<Vec<Ready<Token>>, String> {
        let mut set = Set::new();
        set.add(self.signals.descriptor(), Token::Signals, Interest::READ);
        self.control.watch(&mut set);
        self.children.iter().for_each(|(id, child)| child.watch(*id, &mut set));
        self.nursery.watch(&mut set);
        set.add(self.alarm.descriptor(), Token::Alarm, Interest::READ);
        self.runs.iter().for_each(|(id, run)| run.watch(*id, &mut set));
        self.heirs.watch(&mut set);
        self.upgrade.watch(&mut set);
        if self.watching {
            let sockets = self.current.listening.iter().flat_map(|listening| &listening.sockets);
            sockets.for_each(|socket| set.add(socket.descriptor(), Token::Listener, Interest::READ));
        }
        let deadline = if self.unreaped { Some(now) } else { self.deadline() };
        set.wait(now, deadline).map_err(|error| format!("cannot wait for events: {error}"))
    }

    /// When something is to be done for the output of a child that prints too much.
    fn output_deadline(&self) -> Option<Time> {
        let children = self.children.values().filter_map(Child::output);
        let runs = self.runs.values().map(CronRun::output);
        let others = self.nursery.outputs().chain(self.heirs.outputs()).chain(self.upgrade.output());
        let all = children.chain(runs).chain(others);
        all.map(Output::deadline).fold(None, earliest)
    }

    /// Does what is to be done then.
    fn expire_outputs(&mut self, now: Time) {
        if self.output_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let children = self.children.values_mut().filter_map(Child::output_mut);
        let runs = self.runs.values_mut().map(CronRun::output_mut);
        let others =
            self.nursery.outputs_mut().chain(self.heirs.outputs_mut()).chain(self.upgrade.output_mut());
        let all = children.chain(runs).chain(others);
        for (name, output) in all {
            output.on_timeout(&name, &mut self.journal, now);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let cores = earliest(self.supervisor.deadline(), self.scheduler.deadline());
        let own = earliest(self.control.deadline(), self.heartbeat.deadline());
        let own = earliest(earliest(own, self.notify.deadline()), self.nursery.deadline());
        let own = earliest(own, self.complaints_deadline());
        let asked = earliest(self.inquiry_deadline(), self.output_deadline());
        earliest(cores, earliest(own, asked))
    }

    fn expire(&mut self, now: Time) {
        if self.supervisor.deadline().is_some_and(|deadline| deadline <= now) {
            self.supervisor.on_timeout(now);
        }
        self.expire_templates(now);
        self.control.on_timeout(now);
        self.notify.on_timeout(now);
        self.expire_inquiries(now);
        self.expire_outputs(now);
        self.believe_complaints(now);
        if self.heartbeat.deadline().is_some_and(|deadline| deadline <= now) {
            self.look_for_hung_workers(now);
        }
    }

    /// Begins to look when the first worker serves, and goes on as long as one lives.
    pub(super) fn look_for_hung_workers(&mut self, now: Time) {
        let board = self.board();
        let turns = self.children.iter().filter_map(|(id, child)| match &child.role {
            Role::Worker(worker) => Some((*id, board.turn(worker.row))),
            Role::App(_) | Role::Daemon(_) => None,
        });
        let hung = self.heartbeat.look(now, turns);
        self.sweep_units();
        for child in hung {
            self.supervisor.on(Input::Hung { child }, now);
        }
    }

    /// Carries out what the supervisor decided, and what follows from that, until nothing more does.
    pub(super) fn settle(&mut self, now: Time) {
        loop {
            while let Some(output) = self.supervisor.poll() {
                self.perform(output, now);
            }
            // What is done for a template may be news for the supervisor.
            if !self.tend_template(now) {
                break;
            }
        }
        self.run_jobs(now);
    }

    fn take_in(&mut self, event: Ready<Token>, now: Time) {
        match event.token {
            Token::Signals => self.take_signals(now),
            Token::Control => self.control.accept(now),
            Token::Client(number) => {
                if let Some((ticket, order)) = self.control.ready(number, now) {
                    match self.mistaken(&order) {
                        None => self.command(ticket, &order.request, now),
                        Some(text) => self.control.answer(ticket, &Response::Failed { text }, now),
                    }
                }
            }
            Token::Listener => {
                // Several listeners may be ready in one turn; one is enough to wake the workers.
                if self.watching {
                    self.supervisor.on(Input::Readable, now);
                    self.settle(now);
                }
            }
            Token::Alarm => self.alarm.clear(),
            Token::Run(id, channel) => {
                if let Some(run) = self.runs.get_mut(&id) {
                    run.ready(channel, &mut self.journal, now);
                }
            }
            Token::Heir(number) => self.heirs.read(number, &mut self.journal, now),
            Token::Template(key, channel) => self.template_ready(key, channel, now),
            Token::Trial(channel) => self.trial_ready(channel, now),
            Token::Child(id, channel) => self.child_ready(id, channel, now),
        }
    }

    /// What to tell a client that means another master.
    fn mistaken(&self, order: &Order) -> Option<String> {
        let (own, meant) = (&self.start.identity, order.meant.as_ref()?);
        let (path, pid) = (self.control.path().display(), std::process::id());
        (!is_same(meant, own)).then(|| {
            format!(
                "another server answers on {path} (process {pid}): {own}; the one that is meant does not: {meant}; to \
                 reach the other all the same: --control {path}"
            )
        })
    }

    fn command(&mut self, ticket: Ticket, request: &Request, now: Time) {
        match request.clone() {
            Request::Status => {
                let status = self.status(now);
                self.control.answer(ticket, &Response::Status(Box::new(status)), now);
            }
            Request::Reload { wait, prove } => {
                self.supervisor.on(Input::Reload { ticket, wait, prove }, now);
            }
            Request::Scale { name, count } => self.supervisor.on(Input::Scale { ticket, name, count }, now),
            Request::Restart { name } => {
                self.renew_template(&name, now);
                self.supervisor.on(Input::Restart { ticket, name, why: "restart was asked for" }, now);
            }
            Request::CronRun { name } => {
                let response = self.run_by_hand(&name, now);
                self.control.answer(ticket, &response, now);
            }
            Request::Logs { name, after, wait } => self.show_logs(ticket, name, after, wait, now),
            Request::Stop { fast } => {
                self.hasten(fast, now);
                self.supervisor.on(Input::Stop { ticket, fast }, now);
            }
        }
    }

    fn child_ready(&mut self, id: ChildId, channel: Channel, now: Time) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let name = child.name();
        match (&mut child.role, channel) {
            (Role::Worker(worker), Channel::Ear) => {
                worker.writable();
                self.notice_break(id, now);
            }
            (Role::Worker(_), _) | (Role::App(_), Channel::Control) => self.hear(id, Hearing::Turn, now),
            (Role::App(app), Channel::Output) => app.output.read(&name, &mut self.journal, now),
            (Role::App(app), Channel::Launch) => {
                if let Some(reason) = app.launched() {
                    self.supervisor.on(Input::Failed { child: id, reason }, now);
                }
            }
            (Role::Daemon(daemon), Channel::Output) => daemon.output.read(&name, &mut self.journal, now),
            (Role::Daemon(daemon), _) => {
                if let Some(reason) = daemon.launched() {
                    self.supervisor.on(Input::Failed { child: id, reason }, now);
                }
            }
            (Role::App(_), Channel::Inquiry) => self.hear_inquiry(id, now),
            (Role::App(app), Channel::Ear) => {
                app.writable();
                self.notice_break(id, now);
            }
        }
    }

    /// Takes in what a child has said.
    pub(super) fn hear(&mut self, id: ChildId, hearing: Hearing, now: Time) {
        match self.children.get_mut(&id).map(|child| &mut child.role) {
            Some(Role::Worker(worker)) => {
                worker.hear(hearing.bytes()).into_iter().for_each(|message| self.on_worker(id, message, now));
            }
            Some(Role::App(app)) => {
                app.hear(hearing.bytes()).into_iter().for_each(|said| self.on_app(id, said, now));
            }
            Some(Role::Daemon(_)) | None => {}
        }
        self.notice_break(id, now);
    }

    /// The channel to a child may have ended.
    fn notice_break(&mut self, id: ChildId, now: Time) {
        let broken = self.children.get(&id).and_then(|child| match &child.role {
            Role::Worker(worker) => worker.broken(),
            Role::App(app) => app.broken(),
            Role::Daemon(_) => None,
        });
        if let Some(how) = broken {
            self.supervisor.on(Input::Cut { child: id, how }, now);
        }
    }

    fn on_worker(&mut self, id: ChildId, message: ToMaster, now: Time) {
        match message {
            ToMaster::Ready => self.supervisor.on(Input::Ready { child: id }, now),
            ToMaster::Failed(reason) => self.supervisor.on(Input::Failed { child: id, reason }, now),
            ToMaster::Sandboxed { landlock, seccomp } => {
                if let Some(Role::Worker(worker)) = self.children.get_mut(&id).map(|child| &mut child.role) {
                    worker.sandbox = Some(Applied { landlock, seccomp });
                }
            }
            ToMaster::RootReplaced => self.root_replaced(now),
            ToMaster::Closed => self.supervisor.on(Input::Closed { child: id }, now),
            ToMaster::Load(load) => self.supervisor.on(Input::Load { child: id, load }, now),
            // Apps only: how many workers there are is not theirs to say, but by how busy they are.
            ToMaster::Want { pool: 0 } => {}
            ToMaster::Want { pool } => self.supervisor.on(Input::Wanted { pool }, now),
            ToMaster::Left { pool, slot } => {
                if let Some(app) = self.app_in(pool, slot, None) {
                    self.let_go(app, now);
                }
            }
            ToMaster::Runs { at, since, request } => {
                let row = self.row_of(id);
                if let (Some(row), Some(app)) = (row, self.app_of(at)) {
                    app.runs(at.thread, row, Time(since), &request, now);
                }
            }
            ToMaster::Ran { at } => {
                let row = self.row_of(id);
                if let (Some(row), Some(app)) = (row, self.app_of(at)) {
                    app.running.ran(at.thread, row, now);
                }
            }
            ToMaster::Stuck { at, complaint, reason } => self.on_complaint(id, at, complaint, reason, now),
        }
    }

    fn on_app(&mut self, id: ChildId, said: Said, now: Time) {
        match said {
            Said::Ready => self.ask_ready(id, now),
            Said::Worn { requests } => {
                let reason = format!("it served {requests} requests (max_requests)");
                self.supervisor.on(Input::Worn { child: id, reason }, now);
            }
            Said::Failed(reason) => self.supervisor.on(Input::Failed { child: id, reason }, now),
            Said::Free { row, unit } => {
                let Some(child) = self.children.get_mut(&id) else { return };
                let Role::App(app) = &mut child.role else { return };
                app.running.freed(unit, row, now);
                let lease =
                    Lease { pool: child.pool, slot: child.slot, thread: unit, incarnation: app.incarnation };
                match self.board().freed(lease, row, now) {
                    Freed::Offered(row) => self.poke(row),
                    Freed::Left => self.let_go(id, now),
                    Freed::Idle | Freed::Stale => {}
                }
            }
        }
    }

    /// A process of an app that was told to drain leaves once none of its units is claimed.
    pub(super) fn let_go(&mut self, id: ChildId, now: Time) {
        let board = self.board();
        let Some(child) = self.children.get_mut(&id) else { return };
        if let Role::App(app) = &mut child.role
            && app.leaving
            && board.claimed(child.pool, child.slot) == 0
        {
            // On TERM, too, a host finishes the requests that run in it.
            if !app.leave()
                && let Err(error) = process::signal(&child.process, signals::SIGTERM, false)
            {
                log::debug!(target: "hatchery", "cannot signal {}: {error}", child.name());
            }
            self.supervisor.on(Input::Idle { child: id }, now);
        }
    }

    pub(super) fn row_of(&self, worker: ChildId) -> Option<u16> {
        match &self.children.get(&worker)?.role {
            Role::Worker(worker) => Some(worker.row),
            Role::App(_) | Role::Daemon(_) => None,
        }
    }

    pub(super) fn app_of(&mut self, unit: Unit) -> Option<&mut App> {
        let id = self.app_in(unit.pool, unit.slot, Some(unit.incarnation))?;
        match &mut self.children.get_mut(&id)?.role {
            Role::App(app) => Some(app),
            Role::Worker(_) | Role::Daemon(_) => None,
        }
    }

    pub(super) fn app_in(&self, pool: u16, slot: u16, incarnation: Option<u32>) -> Option<ChildId> {
        let found = self.children.iter().find(|(_, child)| match &child.role {
            Role::App(app) => {
                child.pool == pool
                    && child.slot == slot
                    && incarnation.is_none_or(|wanted| wanted == app.incarnation)
            }
            Role::Worker(_) | Role::Daemon(_) => false,
        });
        found.map(|(id, _)| *id)
    }

    /// Wakes the worker in a row.
    pub(super) fn poke(&self, row: u16) {
        if let Some(wake) = self.wake.get(usize::from(row)) {
            fd::poke(wake.as_fd());
        }
    }

    /// Wakes the workers in these rows.
    pub(super) fn poke_all(&self, rows: Rows) {
        rows.iter().for_each(|row| self.poke(row));
    }
}
