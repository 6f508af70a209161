//! Templates of preloaded apps: started like a process of the app, told over a socket to fork one, and the birth of what
//! they fork. What to do is decided by `supervisor::templates`.
//!
//! The steps of a birth: the supervisor says Spawn; once there is a template, the process's listener and pipes are made
//! here and travel to it (FORK); it forks twice and the process in between says which one it has forked (FORKED) and
//! ends, so that the new process is ours; that says BORN with its number over its copy of the template's pipe. From there
//! on it is a child like any other. One that ends before is known by its number.
//!
//! Names and numbers can be guessed: what a template says counts only for what that template was asked for, and a number
//! only if it is a child of ours, nothing else yet, and of the app's own user: one that this user could end by itself.
//!
//! The socket goes one way: nothing can be sent to the master over it, a descriptor least of all.

use super::apps::{self, App, Wanted};
use super::child::{Child, Hearing, Held, Id, Role};
use super::output::Output;
use super::{Master, logger};
use crate::control::command::TemplateStatus;
use crate::control::frame::{self, Kind};
use crate::supervisor::templates::{Input, Key, Output as Order, TemplatePlan, Templates};
use crate::supervisor::{self, ChildId, Exit};
use crate::sys::carried::Carried;
use crate::sys::process;
use crate::sys::{channel, seqpacket, signals, user};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Which templates there are, and what is to be forked from them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Nursery {
    pub(super) core: Templates,
    unborn: BTreeMap<ChildId, Unborn>,
}

/// What the master holds of a template only.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Template {
    /// The template and the processes that it forks run as this user.
    user: u32,
    /// Where it is told to fork: a socket, as descriptors go with it.
    ear: Carried,
}

/// A process that waits for its template.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unborn {
    pool: u16,
    slot: u16,
    generation: u32,
    /// Once the template was told.
    held: Option<Held>,
    /// Its process id, as the template says it; it counts once the process has spoken itself, or has ended.
    pid: Option<u32>,
}

impl Unborn {
    /// A process in this slot, of this generation.
    pub(super) fn new(pool: u16, slot: u16, generation: u32) -> Self {
        Self { pool, slot, generation, held: None, pid: None }
    }

    /// Removes what was made for a process that will not be.
    fn forget(self) {
        if let Some(Held { role: Role::App(app), .. }) = self.held {
            app.bury();
        }
    }
}

impl Nursery {
    /// With the preloaded apps of the first generation.
    pub(super) fn new(plans: Vec<TemplatePlan>, now: Time) -> Self {
        Self { core: Templates::new(plans, now), unborn: BTreeMap::new() }
    }

    /// What is held of processes that are being forked.
    pub(super) fn unborn_apps(&mut self) -> impl Iterator<Item = &mut App> {
        self.unborn.values_mut().filter_map(|unborn| unborn.held.as_mut()?.role.app_mut())
    }
}

impl Master {
    /// Something that templates must know.
    pub(super) fn template_input(&mut self, input: Input, now: Time) {
        self.nursery.core.on(input, now);
    }

    /// After an upgrade the current generation has another number; its templates stay.
    pub(super) fn renumber_templates(&mut self) {
        let from = self.nursery.core.renumber(self.generation);
        for child in self.children.values_mut() {
            if let Id::Template(key) = &mut child.id
                && key.generation == from
            {
                key.generation = self.generation;
            }
        }
    }

    /// For `status`: those of an app.
    pub(super) fn templates(&self, app: &str, now: Time) -> Vec<TemplateStatus> {
        let mut all = self.nursery.core.status(app, now);
        all.iter_mut().for_each(|known| known.rss_bytes = process::resident(known.pid).unwrap_or(0));
        all
    }

    pub(super) fn expire_templates(&mut self, now: Time) {
        if self.nursery.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.nursery.core.on_timeout(now);
        }
    }

    /// Whether the process is to come from a template.
    pub(super) fn ask_template(&mut self, child: ChildId, wanted: Unborn, now: Time) -> bool {
        let plans = self.source(wanted.generation).template_plans();
        let Some(plan) = plans.into_iter().find(|plan| plan.pool == wanted.pool) else { return false };
        let generation = wanted.generation;
        self.nursery.unborn.insert(child, wanted);
        self.template_input(Input::Want { child, generation, plan }, now);
        true
    }

    /// The supervisor does not want a process any more that is not born yet.
    pub(super) fn cancel_birth(&mut self, child: ChildId, now: Time) {
        if let Some(unborn) = self.nursery.unborn.remove(&child) {
            // Whoever is born nevertheless finds that nobody speaks to it any more.
            unborn.forget();
        }
        self.template_input(Input::Cancel { child }, now);
        // In any case: the supervisor waits for the end of a process that was never born.
        let reason = "not wanted any more".to_owned();
        self.supervisor.on(supervisor::Input::ForkFailed { child, reason }, now);
    }

    /// `restart` of an app: its next processes come from code that is read now.
    pub(super) fn renew_template(&mut self, name: &str, now: Time) {
        let plans = self.current.template_plans();
        let running = matches!(self.supervisor.mode(), "running" | "asleep");
        if let Some(plan) = plans.into_iter().find(|plan| running && plan.name == name) {
            self.template_input(Input::Renew { pool: plan.pool }, now);
        }
    }

    /// Carries out the next decision about templates; false: there is none.
    pub(super) fn tend_template(&mut self, now: Time) -> bool {
        let Some(order) = self.nursery.core.poll(now) else { return false };
        match order {
            Order::Boot { key } => self.boot_template(key, now),
            Order::Fork { key, child } => self.fork_from_template(key, child, now),
            Order::Plain { child } => {
                if let Some(Unborn { pool, slot, generation, .. }) = self.nursery.unborn.remove(&child) {
                    self.start_process(child, pool, slot, generation, now);
                }
            }
            Order::Refuse { child, reason } => {
                if let Some(unborn) = self.nursery.unborn.remove(&child) {
                    unborn.forget();
                }
                self.supervisor.on(supervisor::Input::Failed { child, reason: reason.clone() }, now);
                self.supervisor.on(supervisor::Input::ForkFailed { child, reason }, now);
            }
            Order::Leave { key } => self.tell_template(key, Kind::Leave, &[], &[]).unwrap_or_else(|error| {
                log::debug!(target: "hatchery", "cannot tell a template to leave: {error}");
            }),
            Order::Kill { key, how } => {
                self.children.find_mut(Id::Template(key)).into_iter().for_each(|template| template.kill(how));
            }
            Order::Abandon { key } => self.abandon(Id::Template(key), now),
            Order::Note { level, text } => logger::note(level, &text),
        }
        true
    }

    fn boot_template(&mut self, key: Key, now: Time) {
        let input = match self.start_template(key) {
            Ok(template) => {
                let pid = template.process.pid;
                log::debug!(target: "hatchery", "started {} (process {pid})", template.name);
                self.children.add(template);
                Input::Forked { key, pid }
            }
            Err(error) => Input::ForkFailed { key, reason: format!("cannot start a process: {error}") },
        };
        self.template_input(input, now);
    }

    fn start_template(&self, key: Key) -> io::Result<Child> {
        if key.generation > self.generation && self.candidate.is_none() {
            return Err(io::Error::other("its generation has been given up"));
        }
        let generation = self.source(key.generation);
        let app = generation
            .app(key.pool)
            .ok_or_else(|| io::Error::other("the app is not in the configuration"))?;
        let wanted = Wanted {
            generation,
            app,
            pool: key.pool,
            slot: 0,
            number: key.generation,
            child: ChildId(0),
            max_requests: None,
            strict: self.is_strict(key.pool, key.generation),
            runtime_dir: Path::new(""),
            workers: Vec::new(),
        };
        let settings = wanted.settings()?;
        let name = settings.name.clone();
        let (ear, hear) = seqpacket::one_way()?;
        let (voice, tell) = channel::from_child()?;
        let (read, write) = channel::from_child()?;
        let mut more = apps::host_settings(&wanted)?;
        more.extend([
            ("HEAR_FD", "3".to_owned()),
            ("TELL_FD", "4".to_owned()),
            ("TITLE", format!("hatchery: app {name} template gen {}", key.generation)),
        ]);
        let host = settings.kind.template().ok_or(io::ErrorKind::Unsupported)?;
        let program = apps::program(&wanted, &host, &more, vec![hear, tell], write)?;
        let user = generation.app_account(app).map_or_else(user::uid, |account| account.uid);
        let role = Role::Template(Template { user, ear: ear.into() });
        Held::new(Id::Template(key), format!("app {name} template"), role)
            .says(voice)
            .prints(Output::new(&name, read).with_past())
            .start(&program, apps::origin(settings, &host))
    }

    fn fork_from_template(&mut self, key: Key, child: ChildId, now: Time) {
        if let Err(error) = self.hand_over(key, child) {
            let reason = error.to_string();
            self.template_input(Input::Unborn { key, child, reason }, now);
        }
    }

    /// Makes everything for the process and sends it to the template.
    fn hand_over(&mut self, key: Key, child: ChildId) -> io::Result<()> {
        let Some(unborn) = self.nursery.unborn.get(&child) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let wanted = self.wanted(child, unborn.pool, unborn.slot, unborn.generation)?;
        let mut packet = child.0.to_le_bytes().to_vec();
        for (name, value) in apps::process_settings(&wanted)? {
            packet.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        // Pairs are separated, not ended.
        packet.pop();
        let (mut held, ends) = apps::prepare(&wanted)?;
        held.role.app_mut().into_iter().for_each(|app| app.preloaded = true);
        if let Some(unborn) = self.nursery.unborn.get_mut(&child) {
            unborn.held = Some(held);
        }
        self.tell_template(
            key,
            Kind::Fork,
            &packet,
            &[&ends.hear, &ends.tell, &ends.listener, &ends.output],
        )?;
        apps::expect_bodies(&ends.listener);
        Ok(())
    }

    fn tell_template(
        &self,
        key: Key,
        kind: Kind,
        payload: &[u8],
        descriptors: &[&OwnedFd],
    ) -> io::Result<()> {
        let template = self.children.find(Id::Template(key)).and_then(|child| child.role.template());
        let template = template.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut packet = Vec::new();
        frame::push(&mut packet, kind, 0, 0, payload);
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        seqpacket::send_all(template.ear.as_fd(), &packet, &descriptors)
    }

    /// Takes in what all templates and their newborn have said: one of them has ended.
    pub(super) fn hear_templates(&mut self, now: Time) {
        let templates = self.children.values().filter(|child| child.role.template().is_some());
        let pids: Vec<u32> = templates.map(|child| child.process.pid).collect();
        pids.into_iter().for_each(|pid| self.hear(pid, Hearing::Last, now));
    }

    /// False: a frame that no template sends to the master.
    pub(super) fn on_template(&mut self, key: Key, kind: Kind, payload: &[u8], now: Time) -> bool {
        let name = payload.first_chunk().map(|name| ChildId(u64::from_le_bytes(*name)));
        let number = || payload.get(8..)?.first_chunk::<4>().map(|pid| u32::from_le_bytes(*pid));
        match (kind, name) {
            (Kind::Forked, Some(child)) => self.was_forked(key, child, number()),
            (Kind::Born, Some(child)) => return self.born(key, child, number(), now),
            (Kind::Unborn, Some(child)) => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                self.template_input(Input::Unborn { key, child, reason }, now);
            }
            _ => return false,
        }
        true
    }

    /// A process was forked, and has not spoken yet.
    fn was_forked(&mut self, key: Key, child: ChildId, pid: Option<u32>) {
        if self.nursery.core.asked_for(child) == Some(key)
            && let Some(unborn) = self.nursery.unborn.get_mut(&child)
        {
            unborn.pid = pid;
        }
    }

    /// A process was forked, and is a child of ours from now on. The number is only what somebody has written: whoever
    /// speaks for an app reaches no process with it but those of the app's own user.
    /// False: whoever has written that number lies.
    fn born(&mut self, key: Key, child: ChildId, pid: Option<u32>, now: Time) -> bool {
        let Some(pid) = pid.filter(|pid| !self.children.contains_key(pid)) else { return true };
        let process = match process::adopted(pid) {
            Ok(process) if self.is_of_app(key, pid) => process,
            Ok(_) => {
                let name = self.children.find(Id::Template(key)).map_or("", |template| &template.name);
                log::warn!(
                    target: "hatchery",
                    "{name} passes process {pid} of another user off as one of the app"
                );
                return false;
            }
            Err(error) => {
                log::warn!(target: "hatchery", "process {pid}, forked from a template, is not ours: {error}");
                return false;
            }
        };
        let asked = self.nursery.core.asked_for(child) == Some(key);
        self.template_input(Input::Born { key, child }, now);
        let told = self.nursery.unborn.get(&child).is_some_and(|unborn| unborn.held.is_some());
        let unborn = if asked && told { self.nursery.unborn.remove(&child) } else { None };
        let Some(held) = unborn.and_then(|unborn| unborn.held) else {
            // It was cancelled meanwhile, or nobody has asked this template for it.
            log::debug!(target: "hatchery", "process {pid}, forked from a template, is not wanted: killed");
            drop(process::signal(&process, signals::SIGKILL, true));
            return true;
        };
        log::debug!(target: "hatchery", "forked {} (process {pid}) from its template", held.name);
        self.children.add(held.born(process));
        self.supervisor.on(supervisor::Input::Forked { child, pid }, now);
        true
    }

    /// Whether the process runs as the user of the template's app.
    fn is_of_app(&self, key: Key, pid: u32) -> bool {
        let template = self.children.find(Id::Template(key)).and_then(|child| child.role.template());
        template.is_some_and(|template| process::user_of(pid) == Some(template.user))
    }

    /// A process has ended: whether it was one that a template had forked and that had not spoken yet.
    pub(super) fn bury_unborn(&mut self, pid: u32, exit: Exit, now: Time) -> bool {
        let unborn = self.nursery.unborn.iter().filter(|(_, unborn)| unborn.pid == Some(pid));
        let asked = |child: &ChildId| Some((*child, self.nursery.core.asked_for(*child)?));
        // One at most, unless a template lies.
        let ended: Vec<(ChildId, Key)> = unborn.filter_map(|(child, _)| asked(child)).collect();
        for (child, key) in &ended {
            let reason = format!("the new process ended before it had become one of the app: {exit}");
            self.template_input(Input::Unborn { key: *key, child: *child, reason }, now);
        }
        !ended.is_empty()
    }
}
