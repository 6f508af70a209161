//! What `hatchery status` shows.

use super::Master;
use super::child::Role;
use crate::control::command::{Child, Pool, Status};
use crate::supervisor::{ChildView, PoolState, PoolView};
use crate::sys::process;
use crate::timer::Time;

impl Master {
    /// The process tree as it is now.
    pub(super) fn status(&self, now: Time) -> Status {
        let sockets = self.current.listening.iter().flat_map(|listening| &listening.sockets);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            generation: self.supervisor.generation(),
            mode: self.supervisor.mode().to_owned(),
            uptime_seconds: now.since(self.started).as_secs(),
            listeners: sockets.map(|socket| socket.name()).collect(),
            last_reload_error: self.supervisor.last_reload_error().map(str::to_owned),
            pools: self.pools(now),
            cron: self.scheduler.status(),
        }
    }

    fn pools(&self, now: Time) -> Vec<Pool> {
        let mut pools: Vec<PoolView> = self.supervisor.pools();
        pools.sort_by(|one, two| (one.index > 0, &one.name).cmp(&(two.index > 0, &two.name)));
        pools.into_iter().map(|view| self.pool(view, now)).collect()
    }

    fn pool(&self, view: PoolView, now: Time) -> Pool {
        let state = match view.state {
            PoolState::Asleep => "asleep",
            PoolState::Booting => "starting",
            PoolState::Serving => "ready",
            PoolState::Failed { .. } => "failed",
        };
        Pool {
            name: view.name,
            kind: if view.index == 0 { "workers" } else { "app" }.to_owned(),
            state: state.to_owned(),
            processes: view.wanted,
            restarts: view.restarts,
            last_exit: view.last_exit,
            retry_in_ms: view.retry.map(|retry| retry.since(now).as_millis() as u64),
            children: view.children.iter().map(|child| self.child(child, now)).collect(),
        }
    }

    fn child(&self, view: &ChildView, now: Time) -> Child {
        let row = self.children.get(&view.child).and_then(|child| match &child.role {
            Role::Worker(worker) => Some((worker.row, worker.counted)),
            Role::App(_) => None,
        });
        let board = self.board();
        Child {
            pid: view.pid.unwrap_or(0),
            number: view.slot,
            generation: view.generation,
            state: view.state.to_owned(),
            uptime_seconds: now.since(view.since).as_secs(),
            restarts: view.restarts,
            last_exit: view.last_exit.clone(),
            rss_bytes: view.pid.and_then(process::resident).unwrap_or(0),
            requests: row.map(|(row, before)| board.requests(row).saturating_sub(before)),
            connections: row.map(|(row, _)| board.connections(row)),
        }
    }
}
