//! Signals to inputs, and the reaping of children.

use super::apps::said_by_probe;
use super::child::{Child, Hearing, Held, Id, Role};
use super::output::Output;
use super::upgrade::verdict;
use super::{Master, helper, shared};
use crate::control::exit::signal_name;
use crate::supervisor::{Exit, Input, Signal, templates};
use crate::sys::clock;
use crate::sys::process::{self, Ended};
use crate::sys::signals::{self, Signals};
use crate::timer::Time;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Children that are taken in before the loop looks at everything else.
const REAPED_A_TURN: usize = 64;

/// What means something to a master that runs, and nothing to one that starts.
const ORDERS: [i32; 5] =
    [signals::SIGHUP, signals::SIGTTIN, signals::SIGTTOU, signals::SIGUSR1, signals::SIGUSR2];

/// Catches what the master reacts to.
pub(super) fn catch() -> io::Result<Signals> {
    let ends = [signals::SIGCHLD, signals::SIGINT, signals::SIGQUIT, signals::SIGTERM];
    Signals::new(&[&ends[..], &ORDERS, &signals::STRAY].concat())
}

/// A start that has not come to [`catch`] yet is ended by what asks it to, and by nothing else. One in place of another
/// program has all signals blocked and must miss none.
pub(crate) fn heed_only_ends() {
    if !super::is_upgrade() {
        signals::ignore(&[&ORDERS[..], &signals::STRAY].concat());
    }
}

impl Master {
    /// Takes in the signals that came.
    pub(super) fn take_signals(&mut self, now: Time) {
        for number in self.signals.pending() {
            self.take_signal(number, now);
        }
    }

    /// Takes in one signal.
    pub(super) fn take_signal(&mut self, number: i32, now: Time) {
        match number {
            signals::SIGCHLD => self.reap(now),
            signals::SIGHUP => self.signal(Signal::Hup, now),
            signals::SIGINT => self.signal(Signal::Int, now),
            signals::SIGQUIT => self.signal(Signal::Quit, now),
            signals::SIGTERM => self.signal(Signal::Term, now),
            signals::SIGTTIN => self.signal(Signal::Ttin, now),
            signals::SIGTTOU => self.signal(Signal::Ttou, now),
            signals::SIGUSR1 => self.reopen_logs(),
            signals::SIGUSR2 => self.signal(Signal::Usr2, now),
            stray => {
                let name = signal_name(stray).unwrap_or("?");
                log::warn!(target: "hatchery", "received SIG{name}, which means nothing here: ignored");
            }
        }
    }

    fn signal(&mut self, signal: Signal, now: Time) {
        log::info!(target: "hatchery", "received SIG{}", format!("{signal:?}").to_uppercase());
        match signal {
            Signal::Int => self.hasten(true, now),
            Signal::Term | Signal::Quit => self.hasten(false, now),
            Signal::Hup | Signal::Ttin | Signal::Ttou | Signal::Usr2 => {}
        }
        self.supervisor.on(Input::Signal(signal), now);
    }

    /// An order to stop came: a fast one, and any second one, does not wait for cron jobs.
    pub(super) fn hasten(&mut self, fast: bool, now: Time) {
        self.hurry |= fast;
        if self.supervisor.mode() == "stopping" {
            self.scheduler.stop(Duration::ZERO, now);
        }
    }

    /// Takes in children that have ended. What an app forks and leaves to us without end must not hold the loop: what is
    /// left is there in the next turn, which comes at once, as there may be no other signal for it.
    pub(super) fn reap(&mut self, now: Time) {
        for _ in 0..REAPED_A_TURN {
            let Some(pid) = process::ended() else { return self.unreaped = false };
            match self.children.get(&pid).map(|child| &child.role) {
                // It may have been forked from a template, and have said so before it ended.
                None => self.hear_templates(now),
                // While it is not reaped, nobody else has its number, and its group is surely still its own.
                Some(Role::Worker(_) | Role::GivenUp(Some(_))) => self.each_app_to_be(|app| app.dismiss(pid)),
                Some(Role::Daemon(_) | Role::Gate) => self.end_group(pid),
                Some(Role::App(app)) if app.command.is_some() => self.end_group(pid),
                Some(_) => {}
            }
            let Some(ended) = process::reap(pid) else { return self.unreaped = false };
            let exit = match ended {
                Ended::Code(code) => Exit::Code(code),
                Ended::Signal(signal) => Exit::Signal(signal),
            };
            if self.children.contains_key(&pid) {
                self.bury(pid, exit, now);
            } else if !self.bury_unborn(pid, exit, now) {
                log::debug!(target: "hatchery", "reaped {pid}, which is none of ours: {exit}");
            }
        }
        self.unreaped = true;
    }

    /// What a process of a daemon or a command, or a gate, has left behind would get in the way of its successor.
    fn end_group(&self, pid: u32) {
        if let Some(child) = self.children.get(&pid) {
            // ESRCH: it was alone.
            let _ = process::signal(&child.process, signals::SIGKILL, true);
        }
    }

    /// A child has ended: what it said last, then what is held of it, then the core that decides about it.
    fn bury(&mut self, pid: u32, exit: Exit, now: Time) {
        self.hear(pid, Hearing::Last, now);
        let killed = self.children.get(&pid).is_some_and(|child| child.killed);
        let exit = if killed { exit } else { self.cause(exit) };
        let Some(child) = self.children.get_mut(&pid) else { return };
        let said = match &mut child.held.role {
            Role::Probe(pipe) => said_by_probe(pipe),
            _ => None,
        };
        let mut last_words = |child: &mut Child| child.last_words(exit, &mut self.journal, now);
        if let Some(reason) = child.launched().or(said).or_else(|| last_words(child)) {
            self.failed(pid, reason, now);
        }
        let Some(Child { answered, failure, held, .. }) = self.children.remove(&pid) else { return };
        let Held { id, name, output, role, .. } = held;
        log::debug!(target: "hatchery", "{name} (process {pid}) ended: {exit}");
        if exit == Exit::OutOfMemory {
            log::error!(
                target: "hatchery",
                "{name} (process {pid}) was killed by the kernel: probably out of memory; give the machine or the \
                 service more, or start fewer processes"
            );
        }
        let given_up = matches!(role, Role::GivenUp(_));
        self.clear_up(&name, role, output, now);
        match id {
            // The supervisor tells the operator itself.
            Id::Pool(child) => {
                self.end_probe(child);
                self.supervisor.on(Input::Exited { child, exit }, now);
            }
            Id::Probe(child) => self.probed(child, exit, failure, now),
            Id::Trial | Id::Helper | Id::Resolver if given_up => {}
            Id::Trial => self.supervisor.on(Input::Tried(verdict(answered, failure, exit)), now),
            _ if given_up => {
                log::info!(target: "hatchery", "{name} (process {pid}), which did not die, has ended: {exit}");
                match id {
                    Id::Run(run) => self.scheduler.exited(run, exit, clock::wall(), now),
                    _ => self.template_input(templates::Input::Buried { pid }, now),
                }
            }
            Id::Template(key) => self.template_input(templates::Input::Exited { key, exit }, now),
            Id::Run(run) => self.run_ended(run, &name, failure, exit, now),
            Id::Helper => {
                helper::tell_end(&name, pid, failure, exit, killed);
                self.helper_ended(now);
            }
            Id::Resolver => {
                helper::tell_end(&name, pid, failure, exit, killed);
                self.resolver_ended(now);
            }
        }
    }

    /// A child will not do anything any more: its place on the board and what it still printed.
    pub(super) fn clear_up(&mut self, name: &str, role: Role, output: Option<Output>, now: Time) {
        match role {
            Role::Worker(worker) => {
                self.requests = self.requests.wrapping_add(worker.answered(*self.board()));
                let rows = self.board().worker_left(worker.row, now);
                let released = shared::release(self.shared, worker.row);
                if let Err(error) = released.and_then(|()| self.limits.release(worker.row)) {
                    log::error!(target: "hatchery", "the words of {name} cannot be cleared: {error}");
                }
                self.poke_all(rows.and(self.cache.worker_left(worker.row, name)));
                let mut waited = Vec::new();
                for (id, app) in self.children.apps_mut() {
                    if app.worker_gone(worker.row, now) {
                        waited.push(id);
                    }
                }
                waited.into_iter().for_each(|id| self.let_go(id, now));
            }
            Role::App(app) => {
                self.board().close(app.pool, app.slot);
                app.bury();
            }
            _ => {}
        }
        if let Some(output) = output {
            self.heirs.add(name, output.finish(name, &mut self.journal, now));
        }
    }

    /// What is behind an exit: a SIGKILL that we did not send, while the kernel has killed for want of memory.
    pub(super) fn cause(&mut self, exit: Exit) -> Exit {
        let starved = exit == Exit::Signal(signals::SIGKILL) && self.out_of_memory.has_grown();
        if starved { Exit::OutOfMemory } else { exit }
    }

    /// USR1: access logs were moved away. During a reload it waits for the end, when all workers use the same ones.
    pub(super) fn reopen_logs(&mut self) {
        self.reopen = self.candidate.is_some();
        if self.reopen {
            return;
        }
        let config = Rc::clone(&self.current.config);
        let logs = config.access_logs();
        let numbered = logs.iter().enumerate();
        let reopened = numbered.filter(|(number, _)| self.reopen_log(*number));
        let reopened: Vec<_> = reopened.map(|(_, (_, log))| &log.path).collect();
        self.each_worker(|worker| worker.reopened(reopened.iter().copied().cloned()));
        match (reopened.len(), logs.len()) {
            (_, 0) => log::info!(target: "hatchery", "received SIGUSR1; there is no log file to reopen"),
            (0, _) => {}
            (1, 1) => log::info!(target: "hatchery", "received SIGUSR1; the access log was reopened"),
            (count, all) => {
                log::info!(target: "hatchery", "received SIGUSR1; {count} of {all} access logs were reopened");
            }
        }
        self.send_logs();
    }

    /// False: the old one stays in use, and the log says why.
    fn reopen_log(&mut self, number: usize) -> bool {
        let reopened = self.current.reopen_access_log(number);
        if let Err(error) = &reopened {
            log::error!(target: "hatchery", "the access log stays as it is: {error}");
        }
        reopened.is_ok()
    }

    /// Has workers write to the access logs that were opened again; those that do not read get them later.
    pub(super) fn send_logs(&mut self) {
        let logs = self.current.logs_by_path();
        for child in self.children.values_mut() {
            let Held { name, role, .. } = &mut child.held;
            let Some(worker) = role.worker_mut() else { continue };
            let is_news = worker.lacking().is_none();
            worker.send_logs(&logs);
            if let Some(lacking) = worker.lacking().filter(|_| is_news) {
                let first = lacking.iter().flatten().next().map_or("-".into(), |path| path.to_string_lossy());
                log::warn!(
                    target: "hatchery",
                    "{name} goes on with {} access logs as they were, {first} first, until processes of this user have \
                     taken the descriptors that are under way to them: the limit of open files allows no more; raise it \
                     (`LimitNOFILE=` of the unit, `ulimit -n`) to have all of them reopened at once",
                    lacking.len()
                );
            }
        }
    }

    /// Whether a worker lacks access logs or credentials, and nothing will tell when they can be sent.
    pub(super) fn is_crowded(&self) -> bool {
        self.children.workers().any(|(_, worker)| worker.is_crowded())
    }
}
