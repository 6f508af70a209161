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

use super::abandoned::{Abandoned, What};
use super::apps::{self, App, Start, Wanted};
use super::child::{Child, Hearing, Role};
use super::output::Output;
use super::voice::{Heard, Voice};
use super::{Channel, Master, Token, logger};
use crate::control::command::TemplateStatus;
use crate::control::frame::{self, Frame, Kind};
use crate::supervisor::templates::{Input, Key, Output as Order, TemplatePlan, Templates};
use crate::supervisor::{self, ChildId, Exit, Kill};
use crate::sys::carried::Carried;
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{self, Launch};
use crate::sys::{channel, seqpacket, signals, user};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// The templates, and what is to be forked from them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Nursery {
    core: Templates,
    #[serde(with = "pairs")]
    living: BTreeMap<Key, Template>,
    unborn: BTreeMap<ChildId, Unborn>,
}

/// A map as pairs: keys of JSON are texts.
mod pairs {
    use super::{BTreeMap, Deserialize, Key, Serialize};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<Key, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Key, V>, D::Error> {
        Ok(Vec::<(Key, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// A living template.
#[derive(Debug, Serialize, Deserialize)]
struct Template {
    process: process::Child,
    name: String,
    /// The template and the processes that it forks run as this user.
    user: u32,
    /// Where it is told to fork: a socket, as descriptors go with it.
    ear: Carried,
    /// What the template says, and the processes that it has forked until they are born.
    voice: Voice<frame::Reader>,
    launch: Option<Launch>,
    start: Start,
    /// What it prints; the past is kept until it has said that it is ready, or why it is not.
    output: Output,
    /// It said that the requests of its processes will fail.
    troubled: bool,
}

/// A process that waits for its template.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unborn {
    pool: u16,
    slot: u16,
    generation: u32,
    /// Once the template was told.
    app: Option<App>,
    /// Its process id, as the template says it; it counts once the process has spoken itself, or has ended.
    pid: Option<u32>,
}

impl Unborn {
    /// A process in this slot, of this generation.
    pub(super) fn new(pool: u16, slot: u16, generation: u32) -> Self {
        Self { pool, slot, generation, app: None, pid: None }
    }
}

impl Nursery {
    /// With the preloaded apps of the first generation.
    pub(super) fn new(plans: Vec<TemplatePlan>, now: Time) -> Self {
        Self { core: Templates::new(plans, now), living: BTreeMap::new(), unborn: BTreeMap::new() }
    }

    /// Whether no template lives.
    pub(super) fn is_idle(&self) -> bool {
        self.living.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.core.deadline()
    }

    /// After an upgrade the current generation has another number; its templates stay.
    pub(super) fn renumber(&mut self, generation: u32) {
        let from = self.core.renumber(generation);
        let living = std::mem::take(&mut self.living);
        self.living.extend(living.into_iter().map(|(key, template)| {
            let number = if key.generation == from { generation } else { key.generation };
            (Key { generation: number, ..key }, template)
        }));
    }

    /// Waits for what templates say and print.
    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        for (key, template) in &self.living {
            if let Some(voice) = template.voice.descriptor() {
                set.add(voice, Token::Template(*key, Channel::Control), Interest::READ);
            }
            if let Some(launch) = &template.launch {
                set.add(launch.descriptor().as_fd(), Token::Template(*key, Channel::Launch), Interest::READ);
            }
            template.output.watch(set, Token::Template(*key, Channel::Output));
        }
    }

    /// What is held of processes that are being forked.
    pub(super) fn unborn_apps(&mut self) -> impl Iterator<Item = &mut App> {
        self.unborn.values_mut().filter_map(|unborn| unborn.app.as_mut())
    }

    /// What templates print.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.living.values().map(|template| &template.output)
    }

    /// The same, with their names.
    pub(super) fn outputs_mut(&mut self) -> impl Iterator<Item = (String, &mut Output)> {
        self.living
            .values_mut()
            .map(|template| (format!("app {} template", template.name), &mut template.output))
    }

    /// For `status`: those of a pool.
    pub(super) fn status(&self, pool: u16, now: Time) -> Vec<TemplateStatus> {
        let mut all = self.core.status(pool, now);
        all.iter_mut().for_each(|known| known.rss_bytes = process::resident(known.pid).unwrap_or(0));
        all
    }
}

impl Master {
    /// Something that templates must know.
    pub(super) fn template_input(&mut self, input: Input, now: Time) {
        self.nursery.core.on(input, now);
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
            self.forget_birth(unborn, now);
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
                    self.forget_birth(unborn, now);
                }
                self.supervisor.on(supervisor::Input::Failed { child, reason: reason.clone() }, now);
                self.supervisor.on(supervisor::Input::ForkFailed { child, reason }, now);
            }
            Order::Leave { key } => self.tell_template(key, Kind::Leave, &[], &[]).unwrap_or_else(|error| {
                log::debug!(target: "hatchery", "cannot tell a template to leave: {error}");
            }),
            Order::Kill { key, how } => self.kill_template(key, how),
            Order::Abandon { key } => self.abandon_template(key, now),
            Order::Note { level, text } => logger::note(level, &text),
        }
        true
    }

    fn boot_template(&mut self, key: Key, now: Time) {
        let input = match self.start_template(key) {
            Ok(template) => {
                let pid = template.process.pid;
                log::debug!(target: "hatchery", "started the template of app {} (process {pid})", template.name);
                self.nursery.living.insert(key, template);
                Input::Forked { key, pid }
            }
            Err(error) => Input::ForkFailed { key, reason: format!("cannot start a process: {error}") },
        };
        self.template_input(input, now);
    }

    fn start_template(&self, key: Key) -> io::Result<Template> {
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
            incarnation: 0,
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
        let program = apps::program(&wanted, &settings.kind.template(), &more, vec![hear, tell], write)?;
        let (process, launch) = process::spawn(&program)?;
        let (start, output) = (Start::of(settings), Output::new(&name, read).with_past());
        let voice = Voice::new(voice);
        let user = generation.app_account(app).map_or_else(user::uid, |account| account.uid);
        let ear = ear.into();
        Ok(Template { process, name, user, ear, voice, launch: Some(launch), start, output, troubled: false })
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
        let (mut app, ends) = apps::prepare(&wanted)?;
        app.preloaded = true;
        if let Some(unborn) = self.nursery.unborn.get_mut(&child) {
            unborn.app = Some(app);
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
        let template = self.nursery.living.get(&key);
        let template = template.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let mut packet = Vec::new();
        frame::push(&mut packet, kind, 0, 0, payload);
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        seqpacket::send_all(template.ear.as_fd(), &packet, &descriptors)
    }

    fn kill_template(&mut self, key: Key, how: Kill) {
        let Some(template) = self.nursery.living.get(&key) else { return };
        let (signal, group) = match how {
            Kill::Term | Kill::Abort => (signals::SIGTERM, false),
            Kill::Kill => (signals::SIGKILL, true),
        };
        if let Err(error) = process::signal(&template.process, signal, group) {
            log::debug!(target: "hatchery", "cannot signal the template of app {}: {error}", template.name);
        }
    }

    /// A template does not die.
    fn abandon_template(&mut self, key: Key, now: Time) {
        let Some(template) = self.nursery.living.remove(&key) else { return };
        let name = format!("app {} template", template.name);
        self.heirs.add(&name, template.output.finish(&name, &mut self.journal, now));
        self.abandon(Abandoned::new(name, template.process, What::Template));
    }

    /// A descriptor of a template is ready.
    pub(super) fn template_ready(&mut self, key: Key, channel: Channel, now: Time) {
        let Some(template) = self.nursery.living.get_mut(&key) else { return };
        match channel {
            Channel::Output => {
                template.output.read(&format!("app {} template", template.name), &mut self.journal, now)
            }
            Channel::Launch => {
                let outcome = template.launch.as_mut().and_then(Launch::outcome);
                if outcome.is_some() {
                    template.launch = None;
                }
                if let Some(Some((step, error))) = outcome {
                    template.output.forget_past();
                    let reason = template.start.failed(step, &error);
                    self.template_input(Input::Failed { key, reason }, now);
                }
            }
            Channel::Control => self.hear_template(key, Hearing::Turn, now),
            Channel::Ear | Channel::Inquiry => {}
        }
    }

    /// Takes in what all templates and their newborn have said: one of them has ended.
    pub(super) fn hear_templates(&mut self, now: Time) {
        let keys: Vec<Key> = self.nursery.living.keys().copied().collect();
        keys.into_iter().for_each(|key| self.hear_template(key, Hearing::Last, now));
    }

    fn hear_template(&mut self, key: Key, hearing: Hearing, now: Time) {
        let mut left = hearing.bytes();
        loop {
            let Some(template) = self.nursery.living.get_mut(&key) else { return };
            let frames = match template.voice.hear(&mut left) {
                Heard::Silence => break,
                Heard::Words(frames) => frames,
                Heard::Garbled(frames, error) => {
                    let name = &template.name;
                    log::debug!(target: "hatchery", "app {name}: its template is not understood: {error:?}");
                    frames
                }
            };
            for frame in frames {
                if !self.on_template(key, &frame, now) {
                    if let Some(template) = self.nursery.living.get_mut(&key) {
                        template.voice.refuse();
                    }
                    break;
                }
            }
        }
        let broken = self.nursery.living.get(&key).and_then(|template| template.voice.broken());
        if let Some(how) = broken {
            self.template_input(Input::Cut { key, how }, now);
        }
    }

    /// False: a frame that no template sends to the master.
    fn on_template(&mut self, key: Key, frame: &Frame, now: Time) -> bool {
        let (kind, payload) = (frame.header.kind, frame.payload.as_slice());
        let name = payload.first_chunk().map(|name| ChildId(u64::from_le_bytes(*name)));
        let number = || payload.get(8..)?.first_chunk::<4>().map(|pid| u32::from_le_bytes(*pid));
        match (kind, name) {
            (Kind::Ready, _) => {
                let threads = payload.first_chunk().map_or(1, |threads| u32::from_le_bytes(*threads));
                self.template_answered(key);
                self.template_input(Input::Ready { key, threads }, now);
            }
            (Kind::Trouble, _) => {
                let Some(template) = self.nursery.living.get_mut(&key) else { return true };
                if std::mem::replace(&mut template.troubled, true) {
                    return false;
                }
                apps::tell_trouble(&template.name, payload);
            }
            (Kind::Failed, _) => {
                let reason = String::from_utf8_lossy(payload).into_owned();
                self.template_answered(key);
                self.template_input(Input::Failed { key, reason }, now);
            }
            (Kind::Forked, Some(child)) => self.was_forked(key, child, number()),
            (Kind::Born, Some(child)) => return self.born(key, child, number(), now),
            (Kind::Unborn, Some(child)) => {
                let reason = String::from_utf8_lossy(payload.get(8..).unwrap_or_default()).into_owned();
                self.template_input(Input::Unborn { key, child, reason }, now);
            }
            (Kind::Hello, _) => {}
            _ => return false,
        }
        true
    }

    fn template_answered(&mut self, key: Key) {
        if let Some(template) = self.nursery.living.get_mut(&key) {
            template.output.forget_past();
        }
    }

    /// Whether the master knows the process of that id as something else already.
    fn is_known(&self, pid: u32) -> bool {
        self.children.values().any(|child| child.process.pid == pid)
            || self.nursery.living.values().any(|template| template.process.pid == pid)
            || self.runs.values().any(|run| run.process.pid == pid)
            || self.abandoned.iter().any(|known| known.is(pid))
            || self.upgrade.is_trial(pid)
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
        let Some(pid) = pid.filter(|pid| !self.is_known(*pid)) else { return true };
        let process = match process::adopted(pid) {
            Ok(process) if self.is_of_app(key, pid) => process,
            Ok(_) => {
                let name = self.nursery.living.get(&key).map_or("", |template| &template.name);
                log::warn!(
                    target: "hatchery",
                    "app {name}: its template passes process {pid} of another user off as one of the app"
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
        let told = self.nursery.unborn.get(&child).is_some_and(|unborn| unborn.app.is_some());
        let unborn = if asked && told { self.nursery.unborn.remove(&child) } else { None };
        let Some(Unborn { pool, slot, app: Some(app), .. }) = unborn else {
            // It was cancelled meanwhile, or nobody has asked this template for it.
            log::debug!(target: "hatchery", "process {pid}, forked from a template, is not wanted: killed");
            drop(process::signal(&process, signals::SIGKILL, true));
            return true;
        };
        let newborn = Child { process, pool, slot, killed: false, role: Role::App(Box::new(app)) };
        log::debug!(target: "hatchery", "forked {} (process {pid}) from its template", newborn.name());
        self.children.insert(child, newborn);
        self.supervisor.on(supervisor::Input::Forked { child, pid }, now);
        true
    }

    /// Whether the process runs as the user of the template's app.
    fn is_of_app(&self, key: Key, pid: u32) -> bool {
        let Some(user) = self.nursery.living.get(&key).map(|template| template.user) else { return false };
        process::user_of(pid) == Some(user)
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

    /// A template has ended; false: this is none.
    pub(super) fn bury_template(&mut self, pid: u32, exit: Exit, now: Time) -> bool {
        let found = self.nursery.living.iter().find(|(_, template)| template.process.pid == pid);
        let Some(key) = found.map(|(key, _)| *key) else { return false };
        let Some(mut template) = self.nursery.living.remove(&key) else { return false };
        let name = format!("app {} template", template.name);
        let outcome = template.launch.as_mut().and_then(Launch::outcome).flatten();
        let reason = outcome
            .map(|(step, error)| template.start.failed(step, &error))
            .or_else(|| apps::last_words(&mut template.output, &name, exit, &mut self.journal, now));
        if let Some(reason) = reason {
            self.template_input(Input::Failed { key, reason }, now);
        }
        log::debug!(target: "hatchery", "{name} (process {pid}) ended: {exit}");
        self.heirs.add(&name, template.output.finish(&name, &mut self.journal, now));
        self.template_input(Input::Exited { key, exit }, now);
        true
    }

    /// Removes what was made for a process that will not be.
    fn forget_birth(&mut self, unborn: Unborn, now: Time) {
        if let Some(app) = unborn.app {
            app.bury("", &mut self.journal, now);
        }
    }
}
