//! What `hatchery status` shows.

use super::child::Role;
use super::{Master, abandoned, logger};
use crate::config;
use crate::control::command::{ChildStatus, LogStatus, PoolStatus, Running, SandboxStatus, Status};
use crate::http::fault::Fault;
use crate::supervisor::ChildId;
use crate::sys::sandbox::Applied;
use crate::sys::{clock, process, sandbox, sink};
use crate::timer::Time;

impl Master {
    /// The process tree as it is now.
    pub(super) fn status(&self, now: Time) -> Status {
        let sockets = self.current.listening.iter().flat_map(|listening| &listening.sockets);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            config: self.start.identity.config.clone(),
            generation: self.supervisor.generation(),
            mode: self.supervisor.mode().to_owned(),
            uptime_seconds: now.since(self.started).as_secs(),
            listeners: sockets.map(|socket| socket.name()).collect(),
            last_reload_error: self.supervisor.last_reload_error().map(str::to_owned),
            last_upgrade_error: self.supervisor.last_upgrade_error().map(str::to_owned),
            sandbox: self.sandbox(),
            logs: self.logs(),
            maintenance: self.maintenance(),
            sites: self.labels(),
            pools: self.pools(now),
            cron: self.scheduler.status(clock::wall()),
            upstreams: self.upstreams(now),
            cache: self.cache_status(),
            certificates: self.certificates(now),
            limits: self.limits(),
        }
    }

    /// A worker says that it cannot write a log; or that it can, and so can the others, which may have nothing to write.
    pub(super) fn note_log(&mut self, worker: ChildId, status: &LogStatus) {
        for (id, own) in self.children.workers_mut() {
            if id == worker || status.lines == 0 {
                own.log(status.clone());
            }
        }
    }

    /// Where our log could not be written, only a line shows whether it can be by now.
    pub(super) fn try_log(&mut self) {
        if self.logs().iter().any(|log| log.log == "error") {
            logger::probe();
            if sink::lost_messages().is_none() {
                let workers = self.children.workers_mut();
                workers.for_each(|(_, worker)| worker.logs.retain(|log| log.log != "error"));
            }
        }
    }

    /// A worker says how often more servers of an upstream were at fault.
    pub(super) fn note_faults(&mut self, upstream: String, word: &str, count: u64) {
        let is_there =
            |name: &String| self.current.config.upstreams.iter().any(|upstream| upstream.name == *name);
        self.faults.retain(|name, _| is_there(name));
        if let (true, Some(fault)) = (is_there(&upstream), Fault::of_upstream(word)) {
            let known =
                self.faults.entry(upstream).or_default().entry(fault.row().word.to_owned()).or_default();
            *known = known.saturating_add(count);
        }
    }

    /// Logs that cannot be written: what all processes have lost of each.
    fn logs(&self) -> Vec<LogStatus> {
        let own = sink::lost_messages().as_ref().map(|lost| LogStatus {
            log: "error".to_owned(),
            path: String::new(),
            since: lost.since(),
            error: lost.reason(),
            lines: lost.lines,
            bytes: lost.bytes,
        });
        let workers = self.children.workers().map(|(_, worker)| &worker.logs);
        let mut logs: Vec<LogStatus> = Vec::new();
        for more in own.into_iter().chain(workers.flatten().cloned()) {
            match logs.iter_mut().find(|known| (&known.log, &known.path) == (&more.log, &more.path)) {
                Some(known) => {
                    known.since = more.since.min(std::mem::take(&mut known.since));
                    known.lines = known.lines.saturating_add(more.lines);
                    known.bytes = known.bytes.saturating_add(more.bytes);
                }
                None => logs.push(more),
            }
        }
        // They all have the master's.
        logs.iter_mut().filter(|log| log.log == "error").for_each(|log| log.path = logger::path());
        logs
    }

    /// The least of what took effect in the workers.
    fn sandbox(&self) -> SandboxStatus {
        let mode = self.current.config.sandbox;
        let workers = self.children.workers().filter_map(|(_, worker)| worker.sandbox);
        let offered = Applied { landlock: sandbox::landlock_version(), seccomp: sandbox::has_seccomp() };
        let least = workers.reduce(|one, other| Applied {
            landlock: one.landlock.min(other.landlock),
            seccomp: one.seccomp && other.seccomp,
        });
        let Applied { landlock, seccomp } = match mode {
            config::Sandbox::Off => Applied::default(),
            config::Sandbox::Try | config::Sandbox::Require => least.unwrap_or(offered),
        };
        let off = mode == config::Sandbox::Off;
        let parts = [
            (true, "no capabilities".to_owned()),
            (true, "no new privileges".to_owned()),
            (!off, "no core dumps".to_owned()),
            (landlock > 0, if landlock > 0 { format!("Landlock {landlock}") } else { "Landlock".to_owned() }),
            (seccomp, "seccomp".to_owned()),
        ];
        let (applied, missing): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(applied, _)| *applied);
        let texts = |parts: Vec<(bool, String)>| parts.into_iter().map(|(_, text)| text).collect();
        SandboxStatus { mode: mode.name().to_owned(), applied: texts(applied), missing: texts(missing) }
    }

    /// What the supervisor says, with what it does not know.
    fn pools(&self, now: Time) -> Vec<PoolStatus> {
        let mut pools = self.supervisor.pools(now);
        pools.extend(self.children.values().filter_map(|child| match &child.role {
            Role::Helper(helper) => Some(helper.pool(&child.name, child.process.pid, child.answered, now)),
            _ => None,
        }));
        for pool in &mut pools {
            pool.children.iter_mut().for_each(|child| self.complete(child, now));
            match pool.kind.as_str() {
                "workers" => pool.requests = Some(self.requests()),
                "app" => {
                    pool.templates = self.templates(&pool.name, now);
                    pool.unkillable.extend(self.nursery.core.unkillable(&pool.name, now));
                }
                _ => {}
            }
            pool.unkillable.iter_mut().for_each(|process| process.reason = abandoned::reason(process.pid));
        }
        pools
    }

    /// How many requests the workers have answered, those that have left included. It wraps.
    pub(super) fn requests(&self) -> u64 {
        let workers = self.children.workers().map(|(_, worker)| worker.answered(*self.board()));
        workers.fold(self.requests, u64::wrapping_add)
    }

    fn complete(&self, status: &mut ChildStatus, now: Time) {
        let Some(child) = self.children.get(&status.pid) else { return };
        status.cpu_ms = process::cpu_time(status.pid).map_or(0, |used| used.as_millis() as u64);
        status.rss_bytes = process::resident(status.pid).unwrap_or(0);
        if let Some(worker) = child.role.worker() {
            let board = self.board();
            status.requests = Some(worker.answered(*board));
            status.connections = board.connections(worker.row);
            status.tunnels = board.tunnels(worker.row);
            status.buffered_bytes = board.buffered(worker.row);
        }
        if let Some(app) = child.role.app() {
            let running = app.running.shown().into_iter();
            let running = running.map(|(since, request)| Running {
                request: request.to_owned(),
                seconds: now.since(since).as_secs(),
            });
            status.running = running.collect();
        }
    }
}
