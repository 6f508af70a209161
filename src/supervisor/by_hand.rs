//! Apps and daemons that are stopped by hand: `stop NAME`, until `start NAME` or a reload. Requests for such an app get 503
//! and wake nothing; what comes `after` such a daemon goes on, and starts, without it.

use super::machine::{Mode, Supervisor};
use super::pool::Pool;
use super::stop::STOPPING;
use super::{Level, Output, PoolIndex, Ticket};
use serde::{Deserialize, Serialize};

/// A command that is answered at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Awaited {
    ticket: Ticket,
    pool: PoolIndex,
    /// All of its processes are to serve; else none is to live.
    start: bool,
}

impl Supervisor {
    /// `stop NAME`.
    pub(super) fn on_stop_one(&mut self, ticket: Ticket, name: &str) {
        const SERVER: &str = "`hatchery stop` without a name ends the server";
        let result = match self.commanded(name) {
            Ok(at) if self.pools.get(at).is_some_and(Pool::is_workers) => Err(format!(
                "workers are not stopped by name; {SERVER}, `hatchery scale workers 0` lets them sleep"
            )),
            Ok(at) => Ok(at),
            Err(text) => Err(format!("{text}; {SERVER}")),
        };
        match result {
            Ok(at) => {
                self.halt(at);
                self.wait_for(ticket, at, false);
            }
            Err(text) => self.tell(Output::Answer { ticket, result: Err(text) }),
        }
    }

    /// `start NAME`.
    pub(super) fn on_start_one(&mut self, ticket: Ticket, name: &str) {
        let result = match self.commanded(name) {
            Ok(at) if self.pools.get(at).is_some_and(Pool::is_workers) => Err(Err(
                "workers are not started or stopped by name; `hatchery scale workers N` sets how many there are"
                    .to_owned(),
            )),
            Ok(at) => self.start_one(at).map(|()| at),
            Err(text) => Err(Err(text)),
        };
        match result {
            Ok(at) => self.wait_for(ticket, at, true),
            Err(result) => self.tell(Output::Answer { ticket, result }),
        }
    }

    /// The answer, if it is known at once.
    fn start_one(&mut self, at: usize) -> Result<(), Result<String, String>> {
        let Some(pool) = self.pools.get_mut(at) else { return Ok(()) };
        let label = pool.label();
        let Some(min) = pool.stopped.take() else {
            return Err(Ok(format!("{label} was not stopped")));
        };
        (pool.plan.processes.min, pool.target) = (min, min);
        pool.forget_deaths();
        self.note(Level::Info, format!("{label}: started by hand"));
        Ok(())
    }

    /// None of its processes is wanted until further notice.
    pub(super) fn halt(&mut self, at: usize) {
        let Some(pool) = self.pools.get_mut(at) else { return };
        if pool.stopped.is_some() {
            return;
        }
        pool.stopped = Some(std::mem::take(&mut pool.plan.processes.min));
        pool.target = 0;
        let (label, name) = (pool.label(), pool.plan.name.clone());
        self.note(
            Level::Info,
            format!("{label}: stopped by hand, until `hatchery start {name}` or a reload"),
        );
    }

    fn wait_for(&mut self, ticket: Ticket, at: usize, start: bool) {
        if let Some(pool) = self.pools.get(at) {
            self.awaited.push(Awaited { ticket, pool: pool.plan.index, start });
        }
    }

    /// Answers what has come to its end.
    pub(super) fn settle_awaited(&mut self) {
        for awaited in std::mem::take(&mut self.awaited) {
            match self.end_of(&awaited) {
                Some(result) => self.tell(Output::Answer { ticket: awaited.ticket, result }),
                None => self.awaited.push(awaited),
            }
        }
    }

    /// `None`: not yet.
    fn end_of(&self, awaited: &Awaited) -> Option<Result<String, String>> {
        if matches!(self.mode, Mode::Stopping(_)) {
            return Some(Err(STOPPING.to_owned()));
        }
        let pool =
            self.pool_at(awaited.pool).and_then(|at| self.pools.get(at)).filter(|pool| pool.is_listed());
        let Some(pool) = pool else { return Some(Err("it has left the configuration".to_owned())) };
        let label = pool.label();
        if awaited.start == pool.stopped.is_some() {
            return Some(Err(format!(
                "{label} was {} meanwhile",
                if awaited.start { "stopped" } else { "started again" }
            )));
        }
        if !awaited.start {
            let text = format!("{label}: stopped, until `hatchery start {}` or a reload", pool.plan.name);
            let left: Vec<String> = pool.abandoned.iter().map(|known| known.pid.to_string()).collect();
            let result = match left.as_slice() {
                [] => Ok(text),
                _ => Err(format!(
                    "{label}: stopped, but for what does not die: process {}; what must not run beside it has to wait for its end",
                    left.join(", ")
                )),
            };
            return (!pool.is_alive()).then_some(result);
        }
        let text = match pool.target {
            0 => format!("{label}: asleep until wanted"),
            1 => format!("{label}: started"),
            processes => format!("{label}: {processes} processes started"),
        };
        self.is_complete(pool).map(|result| result.map(|()| text))
    }
}
