//! The turns of the master: wait, take in what happened, let the supervisor decide, carry it out.

use super::child::{Child, Hearing, Role};
use super::control::is_same;
use super::output::Output;
use super::{Channel, Master, Token};
use crate::control::command::{Order, Request, Response};
use crate::supervisor::{Input, Ticket};
use crate::sys::clock;
use crate::sys::poll::{Interest, Ready, Set};
use crate::timer::{Time, earliest};
use std::time::Duration;

/// Between two tries to send a descriptor while too many are under way.
const CROWDED: Duration = Duration::from_millis(100);

impl Master {
    /// Until the supervisor says that nothing is left.
    pub(super) fn run(&mut self) -> Result<u8, String> {
        let now = clock::now();
        self.touch.follow("touch_reload", &self.current.config.touch_reload, now);
        self.follow_edits(now);
        self.keyring.follow(&self.current.config, now);
        self.await_end(now);
        self.follow_acme();
        self.follow_names(now);
        self.settle(now);
        loop {
            let waited_for =
                |child: &Child| matches!(child.role, Role::Template(_) | Role::Trial | Role::Helper(_));
            let is_idle = self.scheduler.is_idle() && !self.children.values().any(waited_for);
            if let Some(code) = self.exit.filter(|_| is_idle) {
                let left = self.tell_left_behind();
                log::info!(target: "hatchery", "stopped");
                return Ok(match &*left {
                    [] => {
                        self.control
                            .answer_stops(&Response::Done { text: "stopped".to_owned() }, clock::now());
                        code
                    }
                    _ => {
                        let text = format!("stopped, but for what does not die: {}", left.join(", "));
                        self.control.answer_stops(&Response::Failed { text }, clock::now());
                        1
                    }
                });
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
            self.write_purges();
            self.execute_if_told(now);
        }
    }

    /// The set is derived from the state each time.
    fn wait(&self, now: Time) -> Result<Vec<Ready<Token>>, String> {
        let mut set = Set::new();
        set.add(self.signals.descriptor(), Token::Signals, Interest::READ);
        self.control.watch(&mut set);
        self.touch.watch(&mut set, Token::Touch);
        self.edits.watch(&mut set);
        self.keyring.watch(&mut set);
        self.children.values().for_each(|child| child.watch(&mut set));
        set.add(self.alarm.descriptor(), Token::Alarm, Interest::READ);
        self.heirs.watch(&mut set);
        if self.watching {
            let sockets = self.current.listening.iter().flat_map(|listening| &listening.sockets);
            sockets.for_each(|socket| set.add(socket.descriptor(), Token::Listener, Interest::READ));
        }
        let deadline = if self.unreaped { Some(now) } else { self.deadline(now) };
        let deadline = earliest(deadline, self.is_crowded().then(|| now.after(CROWDED)));
        set.wait(now, deadline).map_err(|error| format!("cannot wait for events: {error}"))
    }

    /// When something is to be done for the output of a child that prints too much.
    fn output_deadline(&self) -> Option<Time> {
        let children = self.children.values().filter_map(|child| child.output.as_ref());
        children.chain(self.heirs.outputs()).map(Output::deadline).fold(None, earliest)
    }

    /// Does what is to be done then.
    fn expire_outputs(&mut self, now: Time) {
        if self.output_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let children = self.children.values_mut().filter_map(Child::output_mut);
        for (name, output) in children.chain(self.heirs.outputs_mut()) {
            output.on_timeout(name, &mut self.journal, now);
        }
    }

    fn deadline(&self, now: Time) -> Option<Time> {
        let cores = earliest(self.supervisor.deadline(), self.scheduler.deadline());
        let own = earliest(self.control.deadline(), self.heartbeat.deadline());
        let own = earliest(earliest(own, self.notify.deadline()), self.nursery.core.deadline());
        let own = earliest(earliest(own, self.touch.deadline()), self.complaints_deadline());
        let own = earliest(earliest(own, self.keyring.deadline()), self.edits_deadline(now));
        let asked = earliest(self.inquiry_deadline(), self.output_deadline());
        let asked = earliest(earliest(asked, self.acme.deadline(now)), self.names_deadline(now));
        earliest(cores, earliest(own, asked))
    }

    fn expire(&mut self, now: Time) {
        if self.supervisor.deadline().is_some_and(|deadline| deadline <= now) {
            self.supervisor.on_timeout(now);
        }
        self.expire_templates(now);
        self.control.on_timeout(now);
        self.reload_if_touched(now);
        self.tend_edits(now);
        self.tend_keyring(now);
        self.notify.on_timeout(now);
        self.expire_inquiries(now);
        self.expire_outputs(now);
        self.believe_complaints(now);
        if self.is_crowded() {
            self.hand_credentials();
            self.send_logs();
        }
        if self.heartbeat.deadline().is_some_and(|deadline| deadline <= now) {
            self.look_for_hung_workers(now);
        }
    }

    /// Begins to look when the first worker serves, and goes on as long as one lives.
    pub(super) fn look_for_hung_workers(&mut self, now: Time) {
        let board = self.board();
        let turns = self.children.workers().map(|(id, worker)| (id, board.turn(worker.row)));
        let hung = self.heartbeat.look(now, turns);
        self.sweep_units();
        for child in hung {
            self.supervisor.on(Input::Hung { child }, now);
        }
    }

    /// Carries out what the supervisor decided, and what follows from that, until nothing more does.
    pub(super) fn settle(&mut self, now: Time) {
        self.give_units_back(now);
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
        self.run_errands(now);
        self.look_names_up(now);
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
            Token::Touch => self.touch.ready(now),
            Token::Edits => self.edits.ready(now),
            Token::Settings => self.edits.settings_ready(now),
            Token::Certificates => self.keyring.ready(now),
            Token::Alarm => self.alarm.clear(),
            Token::Heir(number) => self.heirs.read(number, &mut self.journal, now),
            Token::Child(pid, channel) => self.child_ready(pid, channel, now),
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
                self.try_log();
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
            Request::StopOne { name } => self.supervisor.on(Input::StopOne { ticket, name }, now),
            Request::StartOne { name } => self.supervisor.on(Input::StartOne { ticket, name }, now),
            Request::Renew { name } => {
                let response = self.renew(name.as_deref(), now);
                self.control.answer(ticket, &response, now);
            }
            Request::Upstream { name, server, wish } => {
                let response = self.order_server(&name, &server, wish, now);
                self.control.answer(ticket, &response, now);
            }
            Request::Maintenance { site, closed } => {
                let response = self.maintain(&site, closed.map(|closed| *closed));
                self.control.answer(ticket, &response, now);
            }
            Request::Purge { what } => {
                let response = self.purge(&what);
                self.control.answer(ticket, &response, now);
            }
            Request::CronRun { name } => {
                let response = self.run_by_hand(&name, now);
                self.control.answer(ticket, &response, now);
            }
            Request::Logs { name, after, wait } => self.show_logs(ticket, name, after, wait, now),
            Request::Stacks { name } => {
                let children = self.ask_stacks(&name);
                let response = Response::Asked { children, last: self.journal.last() };
                self.control.answer(ticket, &response, now);
            }
            Request::Stop { fast } => {
                self.hasten(fast, now);
                self.supervisor.on(Input::Stop { fast }, now);
            }
        }
    }

    fn child_ready(&mut self, pid: u32, channel: Channel, now: Time) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        match channel {
            Channel::Control => self.hear(pid, Hearing::Turn, now),
            Channel::Ear => {
                child.writable();
                self.hand_credentials();
                self.send_logs();
                self.notice_break(pid, now);
            }
            Channel::Output => child.print(&mut self.journal, now),
            Channel::Launch => {
                if let Some(reason) = child.launched() {
                    self.failed(pid, reason, now);
                }
            }
            Channel::Inquiry => self.hear_inquiry(pid, now),
        }
    }
}
