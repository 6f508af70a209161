//! Signals to inputs, and the reaping of children.

use super::Master;
use super::child::{Hearing, Role};
use crate::control::exit::signal_name;
use crate::control::worker::ToWorker;
use crate::dispatch::Board;
use crate::supervisor::{ChildId, Exit, Input, Signal};
use crate::sys::process::{self, Ended};
use crate::sys::signals::{self, Signals};
use crate::timer::Time;
use std::io;
use std::time::Duration;

/// Children that are taken in before the loop looks at everything else.
const REAPED_A_TURN: usize = 64;

/// Catches what the master reacts to.
pub(super) fn catch() -> io::Result<Signals> {
    let meant = [
        signals::SIGCHLD,
        signals::SIGHUP,
        signals::SIGINT,
        signals::SIGQUIT,
        signals::SIGTERM,
        signals::SIGTTIN,
        signals::SIGTTOU,
        signals::SIGUSR1,
        signals::SIGUSR2,
    ];
    Signals::new(&[&meant[..], &signals::STRAY].concat())
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
            if self.child_of(pid).is_none() {
                // It may have been forked from a template, and have said so before it ended.
                self.hear_templates(now);
            }
            self.end_group(pid);
            let child = self.children.values().find(|child| child.process.pid == pid);
            if child.is_some_and(|child| matches!(child.role, Role::Worker(_))) {
                self.each_app_to_be(|app| app.dismiss(pid));
            }
            let Some(ended) = process::reap(pid) else { return self.unreaped = false };
            let exit = match ended {
                Ended::Code(code) => Exit::Code(code),
                Ended::Signal(signal) => Exit::Signal(signal),
            };
            match self.child_of(pid) {
                Some(id) => self.bury(id, exit, now),
                None => self.reap_other(pid, exit, now),
            }
        }
        self.unreaped = true;
    }

    fn child_of(&self, pid: u32) -> Option<ChildId> {
        self.children.iter().find(|(_, child)| child.process.pid == pid).map(|(id, _)| *id)
    }

    fn reap_other(&mut self, pid: u32, exit: Exit, now: Time) {
        if self.bury_abandoned(pid, exit, now) || self.bury_template(pid, exit, now) {
            return;
        }
        match self.runs.iter().find(|(_, run)| run.process.pid == pid).map(|(id, _)| *id) {
            Some(id) => self.bury_run(id, exit, now),
            None if self.upgrade.is_trial(pid) => self.bury_trial(exit, now),
            None if self.bury_unborn(pid, exit, now) => {}
            None => log::debug!(target: "hatchery", "reaped {pid}, which is none of ours: {exit}"),
        }
    }

    /// A child of a pool has ended: what it said last, then its place on the board, then the supervisor.
    fn bury(&mut self, id: ChildId, exit: Exit, now: Time) {
        self.hear(id, Hearing::Last, now);
        let Some(mut child) = self.children.remove(&id) else { return };
        let name = child.name();
        let exit = if child.killed { exit } else { self.cause(exit) };
        if let Role::App(app) = &mut child.role
            && let Some(reason) = app.launched().or_else(|| app.silence(&name, exit, &mut self.journal, now))
        {
            self.supervisor.on(Input::Failed { child: id, reason }, now);
        }
        if let Role::Daemon(daemon) = &mut child.role
            && let Some(reason) = daemon.launched()
        {
            self.supervisor.on(Input::Failed { child: id, reason }, now);
        }
        log::debug!(target: "hatchery", "{name} (process {pid}) ended: {exit}", pid = child.process.pid);
        if exit == Exit::OutOfMemory {
            let pid = child.process.pid;
            log::error!(
                target: "hatchery",
                "{name} (process {pid}) was killed by the kernel: probably out of memory; give the machine or the \
                 service more, or start fewer processes"
            );
        }
        self.clear_up(&name, (child.pool, child.slot), child.role, now);
        self.supervisor.on(Input::Exited { child: id, exit }, now);
    }

    /// A child of a pool will not do anything any more: its place on the board and what it still printed.
    pub(super) fn clear_up(&mut self, name: &str, (pool, slot): (u16, u16), role: Role, now: Time) {
        match role {
            Role::Worker(worker) => {
                let rows = self.board().worker_left(worker.row, now);
                if let Some(words) = Board::area(worker.row)
                    && let Err(error) = self.shared.release(words)
                {
                    log::error!(target: "hatchery", "the words of {name} cannot be cleared: {error}");
                }
                self.poke_all(rows);
                self.each_app(|app| app.worker_gone(worker.row, now));
            }
            Role::App(app) => {
                self.board().close(pool, slot);
                self.heirs.add(name, app.bury(name, &mut self.journal, now));
            }
            Role::Daemon(daemon) => {
                self.heirs.add(name, daemon.output.finish(name, &mut self.journal, now));
            }
        }
    }

    /// What is behind an exit: a SIGKILL that we did not send, while the kernel has killed for want of memory.
    pub(super) fn cause(&mut self, exit: Exit) -> Exit {
        let starved = exit == Exit::Signal(signals::SIGKILL) && self.out_of_memory.has_grown();
        if starved { Exit::OutOfMemory } else { exit }
    }

    /// USR1: the access log was moved away. During a reload it waits for the end, when all workers use the same one.
    pub(super) fn reopen_logs(&mut self) {
        self.reopen = self.candidate.is_some();
        if self.reopen {
            return;
        }
        if let Err(error) = self.current.reopen_access_log() {
            log::error!(target: "hatchery", "the access log stays as it is: {error}");
            return;
        }
        let Some(log) = &self.current.access_log else {
            log::info!(target: "hatchery", "received SIGUSR1; there is no log file to reopen");
            return;
        };
        for child in self.children.values_mut() {
            let Role::Worker(worker) = &mut child.role else { continue };
            match log.try_clone() {
                Ok(log) => worker.tell(ToWorker::AccessLog, Some(log)),
                Err(error) => log::error!(target: "hatchery", "a worker keeps the old access log: {error}"),
            }
        }
        log::info!(target: "hatchery", "received SIGUSR1; the access log was reopened");
    }
}
