//! The supervisor's outputs, carried out: one small method each.

use super::apps::{self, App};
use super::child::{Child, Held, Id, Role, Worker};
use super::generation::Generation;
use super::listeners::Listening;
use super::pidfile::PidFile;
use super::template::Unborn;
use super::{Master, Start, control, daemons, gates, keyring, logger, spawn};
use crate::config::Config;
use crate::control::command::Response;
use crate::control::worker::ToWorker;
use crate::dispatch::board::SHARED;
use crate::dispatch::board::{SLOTS, WORKERS};
use crate::supervisor::{ChildId, Input, Kill, Output, Plan, Ticket, spread, templates};
use crate::sys::{code, listener, process, signals};
use crate::timer::Time;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

impl Master {
    pub(super) fn perform(&mut self, output: Output, now: Time) {
        match output {
            Output::Spawn { child, pool, generation, gate: Some(gate), .. } => {
                let spawned = gates::spawn(self.source(generation), pool, gate, child);
                self.spawned(child, spawned, now);
            }
            Output::Spawn { child, pool, slot, generation, gate: None } => {
                self.spawn(child, pool, slot, generation, now);
            }
            Output::Open { child } => self.open(child, now),
            Output::Drain { child, within, hurry } => self.drain(child, within, hurry, now),
            Output::Kill { child, how } => self.kill(child, how, now),
            Output::Abandon { child } => self.abandon(Id::Pool(child), now),
            Output::Reload { child } => self.reload_daemon(child),
            Output::Inspect { child } => self.inspect(child),
            Output::Measure { child } => self.measure(child, now),
            Output::Watch(on) => {
                self.watch_listeners(on);
                // The server falls asleep: its code may leave memory. Not when it wakes, as it runs some at once.
                if on {
                    code::release();
                }
            }
            Output::Rearm => {
                self.each_worker(|worker| worker.tell(&ToWorker::Rearm));
            }
            Output::Sample { pool } => self.sample(pool, now),
            Output::Publish { pool, state } => {
                self.board().publish(pool, state);
                // Who waits is to know.
                self.poke_workers();
                self.template_input(templates::Input::State { pool, state }, now);
            }
            Output::Trouble { pool } => self.tell_trouble(pool),
            Output::Renewed => self.pages_are_old(),
            Output::Load => self.load(now),
            Output::Switch { generation } => {
                self.switch(generation, now);
                code::release();
            }
            Output::Discard => {
                self.candidate = None;
                self.template_input(templates::Input::Discard, now);
                self.reload_failed();
                code::release();
            }
            Output::Try => self.try_program(now),
            Output::GiveUp => self.give_up_trial(now),
            Output::Execute => self.upgrade.execute = true,
            Output::Upgraded => {
                self.upgraded();
                code::release();
            }
            Output::Answer { ticket, result } => self.answer(ticket, result, now),
            Output::Started => {
                self.announce();
                self.schedule();
                code::release();
            }
            Output::Stopping => self.stopping(now),
            Output::Exit { code } => {
                self.exit = Some(code);
                self.stop_acme();
                self.stop_names();
                self.template_input(templates::Input::Stop, now);
            }
            Output::Note { level, text } => logger::note(level, &text),
        }
    }

    fn spawn(&mut self, id: ChildId, pool: u16, slot: u16, generation: u32, now: Time) {
        let wanted = Unborn::new(pool, slot, generation);
        if !self.ask_template(id, wanted, now) {
            self.start_process(id, pool, slot, generation, now);
        }
    }

    /// Starts a process by itself, not from a template.
    pub(super) fn start_process(&mut self, id: ChildId, pool: u16, slot: u16, generation: u32, now: Time) {
        let source = self.source(generation);
        let spawned = if pool == 0 {
            self.spawn_worker(id, slot, generation)
        } else if let Some(daemon) = source.daemon(pool) {
            daemons::spawn(source, daemon, id, slot)
        } else {
            self.wanted(id, pool, slot, generation).and_then(|wanted| apps::spawn(&wanted))
        };
        self.spawned(id, spawned, now);
        self.probe(id, generation, now);
    }

    fn spawned(&mut self, id: ChildId, spawned: io::Result<Child>, now: Time) {
        match spawned {
            Ok(child) => {
                let pid = child.process.pid;
                log::debug!(target: "hatchery", "started {} (process {pid})", child.name);
                let is_worker = child.role.worker().is_some();
                if is_worker {
                    self.each_app_to_be(|app| app.admit(pid));
                }
                self.children.add(child);
                if is_worker {
                    self.tell_troubles(pid);
                    self.tell_closed(pid);
                }
                self.supervisor.on(Input::Forked { child: id, pid }, now);
            }
            Err(error) => {
                let reason = format!("cannot start a process: {error}");
                self.supervisor.on(Input::ForkFailed { child: id, reason }, now);
            }
        }
    }

    /// What a process of that generation is started from. One of an older generation that must be replaced gets the
    /// current configuration.
    pub(super) fn source(&self, generation: u32) -> &Generation {
        self.candidate.as_ref().filter(|_| generation > self.generation).unwrap_or(&self.current)
    }

    /// Whether a new process of the pool must be sound: it decides about a reload, or others serve that go on without it.
    pub(super) fn is_strict(&self, pool: u16, generation: u32) -> bool {
        self.is_candidate(generation) || self.supervisor.serves(pool)
    }

    fn is_candidate(&self, generation: u32) -> bool {
        self.candidate.is_some() && generation > self.generation
    }

    fn spawn_worker(&self, id: ChildId, slot: u16, generation: u32) -> io::Result<Child> {
        let row = self.free_row().ok_or_else(|| io::Error::other("all rows of the board are in use"))?;
        let (process, spawn::Line { ear, voice }) = spawn::worker(spawn::Worker {
            credentials: self.keyring.handed(self.source(generation)),
            generation: self.source(generation),
            number: generation,
            candidate: self.is_candidate(generation),
            row,
            slot,
            shared: self.shared,
            board: self.board_file.as_fd(),
            cache: &self.cache,
            limits: self.limits.lent(),
            wake: self.wake.clone(),
            runtime_dir: self.runtime.path().to_owned(),
            run: self.start.worker,
        })?;
        let role = Role::Worker(Worker::new(row, generation, self.keyring.serial(), ear));
        Ok(Held::new(Id::Pool(id), format!("worker {slot}"), role).says(voice).born(process))
    }

    /// Everything that a process of an app is started from.
    pub(super) fn wanted(
        &self,
        child: ChildId,
        pool: u16,
        slot: u16,
        number: u32,
    ) -> io::Result<apps::Wanted<'_>> {
        if usize::from(slot) >= SLOTS {
            let text = format!(
                "more than {SLOTS} processes, those of earlier generations that still drain included"
            );
            return Err(io::Error::other(text));
        }
        let generation = self.source(number);
        let app =
            generation.app(pool).ok_or_else(|| io::Error::other("the app is not in the configuration"))?;
        let runtime_dir = self.runtime.path();
        let limit = generation.config.apps.get(app).and_then(|app| app.max_requests);
        let spread = |limit: u32| u32::try_from(spread(u64::from(limit), child)).unwrap_or(limit);
        let max_requests = limit.map(spread);
        let workers = self.children.values().filter(|child| child.role.worker().is_some());
        let workers = workers.map(|child| child.process.pid).collect();
        Ok(apps::Wanted {
            generation,
            app,
            pool,
            slot,
            number,
            child,
            max_requests,
            strict: self.is_strict(pool, number),
            runtime_dir,
            workers,
        })
    }

    /// The lowest row that belongs neither to a living worker nor to one that does not die.
    fn free_row(&self) -> Option<u16> {
        let row = |role: &Role| match role {
            Role::Worker(worker) => Some(worker.row),
            Role::GivenUp(row) => *row,
            _ => None,
        };
        let taken: BTreeSet<u16> = self.children.values().filter_map(|child| row(&child.role)).collect();
        (0..WORKERS as u16).find(|row| !taken.contains(row))
    }

    fn open(&mut self, id: ChildId, now: Time) {
        let board = self.board();
        if let Some(worker) = self.children.worker_mut(id) {
            worker.tell(&ToWorker::Open);
            if self.heartbeat.deadline().is_none() {
                self.look_for_hung_workers(now);
            }
        } else if let Some(app) = self.children.app_mut(id) {
            let port = app.command.as_ref().map_or(0, |command| command.port);
            let port = if app.shared { SHARED } else { port };
            let rows = board.open(app.pool, app.slot, app.incarnation, app.units, port);
            self.poke_all(rows);
        }
    }

    fn drain(&mut self, id: ChildId, within: Duration, hurry: bool, now: Time) {
        let board = self.board();
        // A daemon is told to leave by its stop signal.
        if let Some(worker) = self.children.worker_mut(id) {
            let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            let message = if hurry { ToWorker::Stop { within } } else { ToWorker::Drain { within } };
            worker.tell(&message);
        } else if let Some(app) = self.children.app_mut(id) {
            app.leaving = true;
            board.leave(app.pool, app.slot);
            self.let_go(id, now);
        }
    }

    pub(super) fn kill(&mut self, id: ChildId, how: Kill, now: Time) {
        let Some(child) = self.children.find_mut(Id::Pool(id)) else { return self.cancel_birth(id, now) };
        // A command is asked once.
        if let (Kill::Term, Role::App(app)) = (how, &mut child.held.role)
            && app.command.is_some()
            && std::mem::replace(&mut app.ending, true)
        {
            return;
        }
        if let Role::App(app) = &child.role
            && how == Kill::Kill
            && app.ending
        {
            let (name, pid, why) = (&child.name, child.process.pid, app.keeps_it());
            log::warn!(target: "hatchery", "{name} (process {pid}) was told to end, does not, and is killed: {why}");
        }
        child.kill(how);
    }

    /// Has the processes of that app print their stacks. Those that have not answered yet might not expect the signal and die
    /// of it. The names of those that were asked.
    pub(super) fn ask_stacks(&self, app: &str) -> Vec<String> {
        let is_it = |own: &App| own.name == app && own.command.is_none();
        let of_app = |child: &&Child| child.answered && child.role.app().is_some_and(is_it);
        let asked = self.children.values().filter(of_app);
        asked.map(|child| (child.signal(signals::stacks(), false), child.name.clone()).1).collect()
    }

    /// The host writes the stacks of its threads to its standard error at once, whatever its code does.
    fn inspect(&self, id: ChildId) {
        let is_host = |child: &&Child| child.role.app().is_some_and(|app| app.command.is_none());
        if let Some(child) = self.children.find(Id::Pool(id)).filter(is_host) {
            child.signal(signals::stacks(), false);
        }
    }

    fn measure(&mut self, id: ChildId, now: Time) {
        let Some(child) = self.children.find(Id::Pool(id)) else { return };
        let shares = child.role.app().is_some_and(|app| app.preloaded);
        let pid = child.process.pid;
        // What is shared with the template and the others is no reason to replace one of them.
        let own = shares.then(|| process::proportional(pid)).flatten();
        if let Some(rss) = own.or_else(|| process::resident(pid)) {
            self.supervisor.on(Input::Measured { child: id, rss }, now);
        }
    }

    fn watch_listeners(&mut self, on: bool) {
        self.watching = on;
        for socket in self.current.listening.iter().flat_map(|listening| &listening.sockets) {
            listener::defer_accept(socket.descriptor(), on);
        }
    }

    fn sample(&mut self, pool: u16, now: Time) {
        let board = self.board();
        let last = if pool == 0 {
            let connected =
                self.children.workers().any(|(_, worker)| board.connections(worker.row) != Some(0));
            let requests = self.requests();
            if connected || requests != self.activity.0 {
                self.activity = (requests, now);
            }
            self.activity.1
        } else {
            if self.has_tunnels(pool) { now } else { board.last_activity(pool, now) }
        };
        self.supervisor.on(Input::Activity { pool, last }, now);
    }

    fn load(&mut self, now: Time) {
        self.notify.reloading(now);
        self.edits.covered();
        let loaded = self.start.config().and_then(|config| {
            control::access(config.control.as_ref())?;
            Generation::prepare(config, Some(&self.current), &self.inherited, &mut self.numbers)
        });
        self.numbers.take_inherited().into_iter().for_each(|server| self.roster().clear(server));
        let loaded = loaded.and_then(|candidate| match candidate.missing_root() {
            Some(reason) => Err(reason),
            None => Ok(candidate),
        });
        match loaded {
            Ok(candidate) => {
                let plan =
                    Plan { later: self.later(&candidate.config), ..candidate.plan(Some(&self.current)) };
                self.limits.compare(&candidate.config);
                self.candidate = Some(candidate);
                self.supervisor.on(Input::Loaded(plan), now);
            }
            Err(reason) => {
                self.supervisor.on(Input::Rejected { reason }, now);
                self.reload_failed();
            }
        }
    }

    /// Keys that say something else than what the server was started with, and runs with.
    fn later(&self, config: &Config) -> Vec<String> {
        let Start { control, identity, .. } = &self.start;
        let same = [
            ("control", self.control.stays(control.as_deref(), config.control.as_ref(), identity)),
            ("cache", self.cache.is_of(&config.cache)),
            ("pid_file", config.pid_file.as_deref() == self.pid_file.as_ref().map(PidFile::path)),
        ];
        same.iter().filter(|(_, same)| !same).map(|(key, _)| (*key).to_owned()).collect()
    }

    /// The candidate is the current one. Listeners that it does not have are closed here; the workers that leave
    /// accept what waits on their own copies first.
    fn switch(&mut self, generation: u32, now: Time) {
        let Some(mut candidate) = self.candidate.take() else { return };
        keyring::take_issued(&mut candidate, &self.current);
        let credentials_changed = candidate.credentials != self.current.credentials;
        if !candidate.differs_from(&self.current) {
            // They stay, and get what else has changed.
            let (before, own) = (self.generation, generation);
            self.each_worker(|worker| {
                if worker.generation == before {
                    worker.generation = own;
                }
            });
        }
        logger::set_level(candidate.config.log.level);
        self.current = candidate;
        self.roots_refused = None;
        self.current.listening.iter().for_each(Listening::settle_access);
        self.control.settle_access(self.current.config.control.as_ref());
        self.touch.follow("touch_reload", &self.current.config.touch_reload, now);
        self.edits.reload_over(true);
        self.follow_edits(now);
        self.pages_are_old();
        self.generation = generation;
        self.keyring.follow(&self.current.config, now);
        self.keyring.forget_faults();
        if credentials_changed {
            self.credentials_changed();
        }
        // Since the candidate read its files they may have changed, which nobody tells again.
        let Config { sites, upstreams, .. } = &*self.current.config;
        if sites.iter().any(|site| site.tls.is_some())
            || upstreams.iter().any(|upstream| upstream.tls.is_some())
        {
            self.read_certificates();
        }
        let plans = self.current.template_plans();
        self.template_input(templates::Input::Switch { generation, plans }, now);
        self.schedule();
        self.follow_acme();
        self.follow_names(now);
        self.await_end(now);
        self.store_listeners();
        let status = self.serves();
        self.reload_ended(&status);
        if self.watching {
            // New sockets are to wait for bytes too.
            self.watch_listeners(true);
        }
    }

    /// What systemd shows.
    pub(super) fn serves(&self) -> String {
        format!("generation {} serves", self.generation)
    }

    fn reload_failed(&mut self) {
        self.edits.reload_over(false);
        let reason = self.supervisor.last_reload_error().unwrap_or("stopped");
        // The last line of a traceback says most.
        let last = reason.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        self.reload_ended(&format!("reload failed, generation {} goes on: {last}", self.generation));
    }

    /// Has systemd keep what we bound, and nothing else, so that a restart refuses nobody.
    fn store_listeners(&mut self) {
        let mut names = BTreeSet::new();
        for socket in self.current.listening.iter().flat_map(|listening| &listening.sockets) {
            let Some(name) = socket.store_name() else { continue };
            if !self.stored.contains(&name) && !names.contains(&name) {
                self.notify.store(&name, socket.descriptor());
            }
            names.insert(name);
        }
        self.stored.difference(&names).for_each(|name| self.notify.forget(name));
        self.stored = names;
    }

    pub(super) fn reload_ended(&mut self, status: &str) {
        self.notify.ready(status);
        if self.reopen {
            self.reopen_logs();
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<String, String>, now: Time) {
        let response = match result {
            Ok(text) => Response::Done { text },
            Err(text) => Response::Failed { text },
        };
        self.control.answer(ticket, &response, now);
    }

    /// Connections wait from here on, for apps whose import may take its time.
    pub(super) fn announce_start(&self) {
        for Listening { address, sockets, is_tls, .. } in &self.current.listening {
            let scheme = match (is_tls, self.current.config.is_for_fronts(address)) {
                (true, _) => "https://",
                (false, true) => "uwsgi://",
                (false, false) => "http://",
            };
            for socket in sockets {
                let scheme = socket.address().map_or("", |_| scheme);
                log::info!(target: "hatchery", "listening on {scheme}{}", socket.name());
            }
        }
        for app in self.current.config.apps.iter().filter(|app| app.processes.min > 0 || app.upkeep.prove) {
            log::info!(target: "hatchery", "booting app {}: {}", app.name, app.kind.subject());
        }
    }

    fn announce(&mut self) {
        let config = &self.current.config;
        let workers = config.workers.processes;
        let cheap = if workers.min == 0 { " at most (cheap: none until the first connection)" } else { "" };
        log::info!(target: "hatchery", "workers: {}{cheap}", workers.max);
        for app in &config.apps {
            let processes = app.processes;
            let count = if processes.min == processes.max {
                format!("{}", processes.max)
            } else {
                format!("{} to {}", processes.min, processes.max)
            };
            let mut booted = self.children.apps().filter(|(_, process)| process.name == app.name);
            let shares = booted.any(|(_, process)| process.shared);
            let units = if shares { app.kind.shared_units() } else { app.kind.units() };
            let each = if shares { "connections" } else { app.kind.units_are() };
            let subject = app.kind.subject();
            log::info!(target: "hatchery", "app {}: {subject}, processes: {count}, {each}: {units}", app.name);
        }
        for daemon in &config.daemons {
            // Its arguments may be secret, or long.
            let program = daemon.task.command.first().map_or("", String::as_str);
            log::info!(target: "hatchery", "daemon {}: {program}, processes: {}", daemon.name, daemon.processes);
        }
        let (pid, control) = (std::process::id(), self.control.path().display());
        log::info!(
            target: "hatchery",
            "process {pid}; stop with Ctrl-C or `hatchery stop`, reload with `hatchery reload` (control socket {control})"
        );
        self.store_listeners();
        let status = self.serves();
        self.notify.ready(&status);
    }

    /// New connections are refused from here on, once the workers have let go of their copies too.
    fn stopping(&mut self, now: Time) {
        log::info!(target: "hatchery", "stopping");
        self.notify.stopping(now);
        self.stop_jobs(now);
        self.stop_acme();
        self.stop_names();
        self.template_input(templates::Input::Stop, now);
        self.watching = false;
        self.current.listening.clear();
    }

    /// For every living process of an app, and those that are just being forked.
    pub(super) fn each_app_to_be(&mut self, mut tell: impl FnMut(&mut App)) {
        self.each_app(&mut tell);
        self.nursery.unborn_apps().for_each(tell);
    }

    /// For every living process of an app.
    pub(super) fn each_app(&mut self, tell: impl FnMut(&mut App)) {
        self.children.apps_mut().map(|(_, app)| app).for_each(tell);
    }

    /// For every living worker.
    pub(super) fn each_worker(&mut self, tell: impl FnMut(&mut Worker)) {
        self.children.values_mut().filter_map(|child| child.held.role.worker_mut()).for_each(tell);
    }
}
