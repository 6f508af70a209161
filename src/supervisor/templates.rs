//! Templates of preloaded apps (`preload: true`): which there are, and what is forked from them. Pure; beside the
//! [`Supervisor`](super::Supervisor), which does not know them: to it a process that waits for its template boots.
//!
//! The master passes on what the supervisor wants of a preloaded pool ([`Input::Want`]); the answer is [`Output::Fork`]
//! once the template is ready, [`Output::Plain`] if the app cannot be forked, or [`Output::Refuse`]. After each input
//! `settle` derives the rest from the state:
//!
//! | a template is needed | |
//! |---|---|
//! | while a process waits for it | always |
//! | of the current generation | while its pool is awake, or with `keep`, and not stopped by hand |
//! | of a generation that a reload brings up | until the switch or the failure of the reload |
//! | of an older one, or when the server stops | not any more |
//!
//! There is at most one template process of each pool and generation, besides those that do not die: it has a slot as every other
//! process (`slot`). One that died without being told to is booted again after a back-off, or at once when a process waits for it.

mod face;

pub(crate) use face::{Input, Key, Output, TemplatePlan};

use super::abandoned::MOST;
use super::exit::headline;
use super::slot::{Boot, COULD_NOT_START, Event, Outcome, Process, Role, Slot, State, TERM_GRACE};
use super::{ChildId, Exit, Level, Output as Order, PoolIndex, PoolState};
use crate::control::command::{TemplateStatus, Unkillable};
use crate::control::text::printable;
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// A fork takes milliseconds; a template that has not answered for so long hangs.
const FORK_TIMEOUT: Duration = Duration::from_secs(10);
/// From the order to leave to KILL when the server stops: nothing runs in a template.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// A timer that fires so late means that the machine did not run.
const SUSPENDED: Duration = Duration::from_secs(5);

/// All templates. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Templates {
    /// Preloaded pools of the current generation.
    plans: Vec<TemplatePlan>,
    generation: u32,
    /// The newest generation that was discarded: it will not come.
    discarded: u32,
    stopping: bool,
    asleep: BTreeSet<PoolIndex>,
    #[serde(default)]
    stopped: BTreeSet<PoolIndex>,
    templates: Vec<Template>,
    /// Templates that KILL has not ended.
    #[serde(default)]
    abandoned: Vec<Abandoned>,
    seen: Time,
    outputs: VecDeque<Output>,
}

/// A template that does not die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Abandoned {
    pool: PoolIndex,
    /// Name of its app.
    app: String,
    pid: u32,
    generation: u32,
    /// When it was given up.
    since: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Template {
    key: Key,
    plan: TemplatePlan,
    slot: Slot,
    /// The app has threads after its import: its processes are started without a template.
    plain: bool,
    /// Not before then, unless a process waits.
    retry: Option<Time>,
    /// The last one has died or did not boot.
    #[serde(default)]
    failed: bool,
    /// Processes that wait for it.
    waiting: Vec<ChildId>,
    /// Processes that it was asked for.
    asked: Vec<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    child: ChildId,
    /// When it must have answered.
    until: Time,
    /// Nobody wants it any more; the answer is still due.
    cancelled: bool,
}

impl Templates {
    /// The templates of the first generation.
    #[must_use]
    pub(crate) fn new(plans: Vec<TemplatePlan>, now: Time) -> Self {
        let mut templates = Self {
            plans,
            generation: 1,
            discarded: 0,
            stopping: false,
            asleep: BTreeSet::new(),
            stopped: BTreeSet::new(),
            templates: Vec::new(),
            abandoned: Vec::new(),
            seen: now,
            outputs: VecDeque::new(),
        };
        templates.settle(now);
        templates
    }

    /// The current generation has another number from now on: another program goes on with the same processes. Its number
    /// before.
    pub(crate) fn renumber(&mut self, generation: u32) -> u32 {
        let before = std::mem::replace(&mut self.generation, generation);
        for template in self.templates.iter_mut().filter(|template| template.key.generation == before) {
            template.key.generation = generation;
        }
        before
    }

    /// Something happened. What does not fit is ignored.
    pub(crate) fn on(&mut self, input: Input, now: Time) {
        self.forgive(now);
        match input {
            Input::Want { child, generation, plan } => self.want(child, generation, plan, now),
            Input::Cancel { child } => self.cancel(child),
            Input::Forked { key, pid } => self.happen(key, Event::Forked(pid), now),
            Input::ForkFailed { key, reason } => self.happen(key, Event::ForkFailed(printable(&reason)), now),
            Input::Ready { key, threads } => self.on_ready(key, threads, now),
            Input::Failed { key, reason } => self.happen(key, Event::Failed(printable(&reason)), now),
            Input::Cut { key, how } => self.happen(key, Event::Cut(how), now),
            Input::Exited { key, exit } => self.on_exited(key, exit, now),
            Input::Buried { pid } => self.abandoned.retain(|known| known.pid != pid),
            Input::Born { key, child } => drop(self.answered(key, child)),
            Input::Unborn { key, child, reason } => {
                if self.answered(key, child) {
                    self.refuse(child, format!("its template could not fork: {}", printable(&reason)));
                }
            }
            Input::State { pool, state } => {
                for (set, of) in
                    [(&mut self.asleep, PoolState::Asleep), (&mut self.stopped, PoolState::Stopped)]
                {
                    let _ = if state == of { set.insert(pool) } else { set.remove(&pool) };
                }
            }
            Input::Renew { pool } => self.renew(pool, now),
            Input::Switch { generation, plans } => {
                self.generation = generation;
                self.plans = plans;
            }
            Input::Discard => {
                let newest = self.templates.iter().map(|template| template.key.generation).max();
                self.discarded = newest.unwrap_or(0).max(self.discarded);
            }
            Input::Stop => self.stop(now),
        }
    }

    /// The next thing to carry out; `None`: nothing more for now. What follows from the inputs is decided here and not
    /// before, so that inputs that belong together have all been seen.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle(now);
        }
        self.outputs.pop_front()
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.templates.iter().map(Template::deadline).fold(None, earliest)
    }

    /// The clock reached the deadline. A spurious call is harmless.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        self.forgive(now);
        for key in self.keys() {
            self.happen(key, Event::Time, now);
            let Some(template) = self.find(key) else { continue };
            template.retry = template.retry.filter(|retry| *retry > now);
            if template.asked.iter().any(|asked| asked.until <= now) {
                let text = format!("{}: its template hangs and is ended", template.label());
                self.note(Level::Error, text);
                self.happen(key, Event::KillNow, now);
                self.refuse_asked(key, "its template did not fork it in time");
            }
        }
    }

    /// The template that was asked for this process and has not answered yet, while somebody waits for the process.
    #[must_use]
    pub(crate) fn asked_for(&self, child: ChildId) -> Option<Key> {
        let waits = |asked: &Asked| asked.child == child && !asked.cancelled;
        let asked = self.templates.iter().find(|template| template.asked.iter().any(waits));
        asked.map(|template| template.key)
    }

    /// For `status`: those of an app, the oldest first; what only the system knows is missing.
    #[must_use]
    pub(crate) fn status(&self, app: &str, now: Time) -> Vec<TemplateStatus> {
        let own = self.templates.iter().filter(|template| template.plan.name == app);
        let mut all: Vec<TemplateStatus> = own.filter_map(|template| template.status(now)).collect();
        all.sort_by_key(|template| template.generation);
        all
    }

    /// For `status`: those of an app that do not die; why not is missing.
    #[must_use]
    pub(crate) fn unkillable(&self, app: &str, now: Time) -> Vec<Unkillable> {
        let own = self.abandoned.iter().filter(|known| known.app == app);
        own.map(|known| Unkillable {
            pid: known.pid,
            number: None,
            generation: known.generation,
            seconds: now.since(known.since).as_secs(),
            reason: String::new(),
        })
        .collect()
    }

    fn want(&mut self, child: ChildId, generation: u32, plan: TemplatePlan, now: Time) {
        let key = Key { pool: plan.pool, generation };
        // A template may be past its time at this moment, before the timer was looked at: nobody joins it then.
        let deadline = self.find(key).and_then(|template| template.slot.state.deadline());
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.happen(key, Event::Time, now);
        }
        match self.find(key) {
            Some(template) => template.waiting.push(child),
            None => self.templates.push(Template { waiting: vec![child], ..Template::new(key, plan) }),
        }
    }

    fn cancel(&mut self, child: ChildId) {
        for template in &mut self.templates {
            template.waiting.retain(|waiting| *waiting != child);
            for asked in template.asked.iter_mut().filter(|asked| asked.child == child) {
                asked.cancelled = true;
            }
        }
    }

    fn on_ready(&mut self, key: Key, threads: u32, now: Time) {
        self.happen(key, Event::Ready, now);
        let ready = |template: &&mut Template| matches!(template.slot.state, State::Ready { .. });
        let Some(template) = self.find(key).filter(ready).filter(|_| threads > 1) else { return };
        template.plain = true;
        let text = format!(
            "{}: its import starts threads ({threads} now), so it cannot be forked and `preload` is off: each process \
             imports the app itself; start threads at the first request instead, or remove `preload`",
            template.label()
        );
        self.note(Level::Warn, text);
    }

    fn on_exited(&mut self, key: Key, exit: Exit, now: Time) {
        self.happen(key, Event::Exited(exit), now);
        self.refuse_asked(key, "its template ended while it forked");
    }

    /// The template has answered; whether somebody still waits for the process.
    fn answered(&mut self, key: Key, child: ChildId) -> bool {
        let Some(template) = self.find(key) else { return false };
        let Some(at) = template.asked.iter().position(|asked| asked.child == child) else { return false };
        !template.asked.remove(at).cancelled
    }

    fn renew(&mut self, pool: PoolIndex, now: Time) {
        let key = Key { pool, generation: self.generation };
        self.let_go(key, now);
        if let Some(template) = self.find(key) {
            template.plain = false;
            template.retry = None;
        }
    }

    /// Lets an event happen to a template and deals with what it means.
    fn happen(&mut self, key: Key, event: Event, now: Time) {
        let Some(template) = self.find(key) else { return };
        let (orders, outcomes) = template.slot.take(event, now);
        let output = |order| match order {
            Order::Spawn { .. } => Some(Output::Boot { key }),
            Order::Drain { .. } => Some(Output::Leave { key }),
            Order::Kill { how, .. } => Some(Output::Kill { key, how }),
            _ => None,
        };
        self.outputs.extend(orders.into_iter().filter_map(output));
        for outcome in outcomes {
            match outcome {
                Outcome::Refused { reason, .. } => self.refused(key, &reason, now),
                Outcome::Lost { reason, ready_for }
                | Outcome::Died { reason: Some(reason), ready_for, .. } => {
                    self.lost(key, &reason, ready_for, now);
                }
                Outcome::Abandoned { process } => self.abandon(key, process, now),
                Outcome::Died { reason: None, .. } | Outcome::Gone { .. } | Outcome::Passed { .. } => {}
            }
        }
    }

    /// A template did not boot. The reason, which may be a long traceback, is told once.
    fn refused(&mut self, key: Key, reason: &str, now: Time) {
        let Some(template) = self.find(key) else { return };
        // As the supervisor says of each process that waits.
        let reason = reason.strip_prefix(COULD_NOT_START).unwrap_or(reason);
        template.retry =
            Some(now.after(template.slot.backoff.died(Duration::ZERO).max(super::backoff::FIRST_WAIT)));
        (template.failed, template.slot.last_exit) = (true, Some(headline(reason).to_owned()));
        let label = template.label();
        let waiting = std::mem::take(&mut template.waiting);
        if waiting.is_empty() {
            return self.note(Level::Error, format!("{label}: its template failed: {reason}"));
        }
        let mut reason = Some(reason);
        for child in waiting {
            let reason = reason.take().unwrap_or("its template failed, as told before");
            self.refuse(child, reason.to_owned());
        }
    }

    /// KILL has not ended a template: another one may take its place.
    fn abandon(&mut self, key: Key, process: Process, now: Time) {
        let Process { pid, generation, .. } = process;
        let app = self.find(key).map(|template| template.plan.name.clone()).unwrap_or_default();
        self.abandoned.extend(pid.map(|pid| Abandoned { pool: key.pool, app, pid, generation, since: now }));
        self.outputs.push_back(Output::Abandon { key });
        self.refuse_asked(key, "its template does not die");
    }

    /// A template died, and was not told to.
    fn lost(&mut self, key: Key, reason: &str, ready_for: Duration, now: Time) {
        let Some(template) = self.find(key) else { return };
        let wait = template.slot.backoff.died(ready_for);
        template.retry = Some(now.after(wait));
        (template.failed, template.slot.last_exit) = (true, Some(reason.to_owned()));
        let text = format!("{}: its template is lost: {reason}; its processes go on", template.label());
        self.note(Level::Warn, text);
    }

    fn refuse(&mut self, child: ChildId, reason: String) {
        self.outputs.push_back(Output::Refuse { child, reason });
    }

    fn refuse_asked(&mut self, key: Key, reason: &str) {
        let asked = self.find(key).map(|template| std::mem::take(&mut template.asked)).unwrap_or_default();
        for asked in asked.into_iter().filter(|asked| !asked.cancelled) {
            self.refuse(asked.child, reason.to_owned());
        }
    }

    /// Everything that follows from the state.
    fn settle(&mut self, now: Time) {
        let kept = self.plans.iter().filter(|plan| plan.keep && !self.stopping);
        for plan in kept.cloned().collect::<Vec<_>>() {
            let key = Key { pool: plan.pool, generation: self.generation };
            if self.find(key).is_none() {
                self.templates.push(Template::new(key, plan));
            }
        }
        let needed: BTreeSet<Key> = self.keys().into_iter().filter(|key| self.is_needed(*key)).collect();
        for key in self.keys() {
            self.settle_one(key, needed.contains(&key), now);
        }
        let current = self.generation;
        self.templates.retain(|template| {
            let known = template.plain && template.key.generation >= current;
            known || template.slot.state != State::EMPTY || needed.contains(&template.key)
        });
    }

    fn settle_one(&mut self, key: Key, needed: bool, now: Time) {
        let full = self.is_full(key.pool);
        let Some(template) = self.find(key) else { return };
        if template.plain {
            let waiting = std::mem::take(&mut template.waiting);
            self.outputs.extend(waiting.into_iter().map(|child| Output::Plain { child }));
            return self.let_go(key, now);
        }
        let waits = !template.waiting.is_empty();
        let boots = waits || (needed && template.retry.is_none_or(|retry| retry <= now));
        match template.slot.state {
            State::Empty { .. } if boots && full => {
                self.refused(key, &format!("{MOST} templates of it do not die, although KILL was sent"), now);
            }
            State::Empty { .. } if boots => {
                template.retry = None;
                template.slot.restarts += u64::from(std::mem::take(&mut template.failed));
                let Key { pool, generation } = key;
                let (role, within) = (Role::Current, template.plan.boot_timeout);
                // Of each key there is one: it needs no other name.
                let boot = Boot { child: ChildId(0), pool, slot: 0, generation, gate: None, role, within };
                self.happen(key, Event::Boot(boot), now);
            }
            State::Ready { .. } if needed => {
                let waiting = std::mem::take(&mut template.waiting);
                let until = now.after(FORK_TIMEOUT);
                template.asked.extend(waiting.iter().map(|child| Asked {
                    child: *child,
                    until,
                    cancelled: false,
                }));
                self.outputs.extend(waiting.into_iter().map(|child| Output::Fork { key, child }));
            }
            _ if !needed => self.let_go(key, now),
            _ => {}
        }
    }

    /// It leaves if it has not been told to yet; nothing runs in it.
    fn let_go(&mut self, key: Key, now: Time) {
        let within = if self.stopping { STOP_GRACE } else { TERM_GRACE };
        let until = now.after(within);
        if self.find(key).is_some_and(|template| template.slot.state.role().is_some()) {
            self.happen(key, Event::Drain { within, hurry: self.stopping, until }, now);
            self.happen(key, Event::Idle { until }, now);
        }
    }

    /// The server stops: those that leave already do so no later than the others.
    fn stop(&mut self, now: Time) {
        self.stopping = true;
        let until = now.after(STOP_GRACE);
        for key in self.keys() {
            match self.find(key).map(|template| &template.slot.state) {
                Some(State::Draining { .. }) => self.happen(key, Event::Idle { until }, now),
                Some(State::Killing { .. }) => self.happen(key, Event::Kill { until }, now),
                _ => {}
            }
        }
    }

    fn is_full(&self, pool: PoolIndex) -> bool {
        self.abandoned.iter().filter(|known| known.pool == pool).count() >= MOST
    }

    fn is_needed(&self, key: Key) -> bool {
        let Some(template) = self.templates.iter().find(|template| template.key == key) else { return false };
        if !template.waiting.is_empty() || template.asked.iter().any(|asked| !asked.cancelled) {
            return true;
        }
        if self.stopping || template.plain {
            return false;
        }
        if key.generation == self.generation {
            let plan = self.plans.iter().find(|plan| plan.pool == key.pool);
            let rests = self.stopped.contains(&key.pool);
            return plan.is_some_and(|plan| !rests && (plan.keep || !self.asleep.contains(&key.pool)));
        }
        key.generation > self.generation.max(self.discarded)
    }

    /// If the earliest timer is long over, nothing ran in between: everybody gets as much time as was left before.
    fn forgive(&mut self, now: Time) {
        let late = self.deadline().map_or(Duration::ZERO, |deadline| now.since(deadline));
        let lost = now.since(self.seen);
        self.seen = self.seen.max(now);
        if late > SUSPENDED {
            for template in &mut self.templates {
                template.slot.state.postpone(lost, now);
                template.asked.iter_mut().for_each(|asked| asked.until = asked.until.after(lost));
            }
        }
    }

    fn keys(&self) -> Vec<Key> {
        self.templates.iter().map(|template| template.key).collect()
    }

    fn find(&mut self, key: Key) -> Option<&mut Template> {
        self.templates.iter_mut().find(|template| template.key == key)
    }

    fn note(&mut self, level: Level, text: String) {
        self.outputs.push_back(Output::Note { level, text });
    }
}

impl Template {
    fn new(key: Key, plan: TemplatePlan) -> Self {
        Self {
            key,
            plan,
            slot: Slot::new(0),
            plain: false,
            retry: None,
            failed: false,
            waiting: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn label(&self) -> String {
        format!("app {}", self.plan.name)
    }

    fn deadline(&self) -> Option<Time> {
        let asked = self.asked.iter().map(|asked| asked.until).min();
        let retry = self.retry.filter(|_| self.slot.state == State::EMPTY && !self.plain);
        earliest(earliest(self.slot.state.deadline(), asked), retry)
    }

    /// `None`: there is no process.
    fn status(&self, now: Time) -> Option<TemplateStatus> {
        let process = self.slot.state.process()?;
        let state = match self.slot.state {
            State::Booting { .. } => "booting",
            State::Ready { .. } => "ready",
            _ => "leaving",
        };
        Some(TemplateStatus {
            pid: process.pid.unwrap_or(0),
            // An upgrade gives its key another number, not the process.
            generation: process.generation,
            state: state.to_owned(),
            uptime_seconds: now.since(process.spawned).as_secs(),
            restarts: self.slot.restarts,
            last_exit: self.slot.last_exit.clone(),
            rss_bytes: 0,
        })
    }
}

#[cfg(test)]
mod tests;
