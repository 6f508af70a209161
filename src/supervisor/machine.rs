//! The supervisor itself: inputs in, outputs out, and `settle`, which derives everything that follows.

use super::backoff::{FIRST_WAIT, LONGEST_WAIT};
use super::by_hand::Awaited;
use super::handover::Handover;
use super::pool::{Listing, Pool, WORKERS, is_leaving, is_open};
use super::recycle::Roll;
use super::reload::{Queued, Reload};
use super::slot::{Boot, Event, Outcome, Process, Role, State};
use super::start::Start;
use super::stop::Stop;
use super::upgrade::Upgrade;
use super::{ChildId, Input, Level, Output, Plan, PoolIndex, Signal, exit};
use crate::control::text::printable;
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Which processes there are and what becomes of them. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervisor {
    /// The current plan; its pools live in `pools`.
    pub(super) plan: Plan,
    pub(super) mode: Mode,
    /// The current generation.
    pub(super) generation: u32,
    /// The latest generation that was begun; the number of a failed one is not used again.
    pub(super) latest_generation: u32,
    /// Workers first.
    pub(super) pools: Vec<Pool>,
    pub(super) queued: Option<Queued>,
    pub(super) last_reload_error: Option<String>,
    /// An upgrade waits for the end of the start or reload.
    #[serde(default)]
    pub(super) upgrade_queued: bool,
    #[serde(default)]
    pub(super) last_upgrade_error: Option<String>,
    /// Reloads that have switched and are still to be answered.
    pub(super) handovers: Vec<Handover>,
    /// Restarts by command that are still to be answered.
    pub(super) rolls: Vec<Roll>,
    /// Starts and stops of a pool by command that are still to be answered.
    #[serde(default)]
    pub(super) awaited: Vec<Awaited>,
    /// The master watches the listeners because the workers are asleep.
    pub(super) watching: bool,
    /// When something happened last.
    seen: Time,
    next_child: u64,
    pub(super) outputs: VecDeque<Output>,
}

/// What the whole server is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    Starting(Start),
    Running,
    Reloading(Reload),
    Upgrading(Upgrade),
    Stopping(Stop),
}

/// Where a slot is: positions in `pools` and in its `slots`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) pool: usize,
    pub(super) slot: usize,
}

/// A timer that fires so late means that the machine, and with it the children, did not run.
const SUSPENDED: Duration = Duration::from_secs(5);
/// A sleeping worker pool is watched again at the latest so long after its workers were told to leave: what a draining
/// worker does first is to stop accepting, so nothing is lost, and new clients do not wait for slow old ones.
const LEAVE_GRACE: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Starts at once: there are outputs to [`poll`](Self::poll).
    #[must_use]
    pub fn new(plan: Plan, now: Time) -> Self {
        let mut pools: Vec<Pool> =
            plan.pools.iter().cloned().map(|pool| Pool::new(pool, Listing::Listed)).collect();
        pools.sort_by_key(|pool| pool.plan.index);
        let mut supervisor = Self {
            plan,
            mode: Mode::Starting(Start::default()),
            generation: 1,
            latest_generation: 1,
            pools,
            queued: None,
            last_reload_error: None,
            upgrade_queued: false,
            last_upgrade_error: None,
            handovers: Vec::new(),
            rolls: Vec::new(),
            awaited: Vec::new(),
            watching: false,
            seen: now,
            next_child: 1,
            outputs: VecDeque::new(),
        };
        supervisor.begin_start(now);
        supervisor.settle(now);
        supervisor
    }

    /// Something happened. What does not fit (an unknown child, a late answer) is ignored.
    pub fn on(&mut self, input: Input, now: Time) {
        if self.is_over() {
            return;
        }
        self.forgive(now);
        match input {
            Input::Signal(signal) => self.on_signal(signal, now),
            Input::Forked { child, pid } => self.on_child(child, Event::Forked(pid), now),
            Input::ForkFailed { child, reason } => {
                self.on_child(child, Event::ForkFailed(printable(&reason)), now);
            }
            Input::Ready { child } => self.on_child(child, Event::Ready, now),
            Input::Failed { child, reason } => self.on_child(child, Event::Failed(printable(&reason)), now),
            Input::Unready { child, reason } => self.on_child(child, Event::Unready(printable(&reason)), now),
            Input::Cut { child, how } => self.on_child(child, Event::Cut(how), now),
            Input::Exited { child, exit } => self.on_child(child, Event::Exited(exit), now),
            Input::Closed { child } => self.on_closed(child),
            Input::Idle { child } => self.on_idle(child, now),
            Input::Stuck { child, reason } => self.on_stuck(child, &printable(&reason), now),
            Input::Hung { child } => self.on_child(child, Event::Hung, now),
            Input::Worn { child, reason } => self.on_worn(child, &reason),
            Input::Measured { child, rss } => self.on_measured(child, rss),
            Input::Scale { ticket, name, count } => self.on_scale(ticket, &name, count),
            Input::Restart { ticket, name, why } => self.on_restart(ticket, &name, why, now),
            Input::Edited { pool } => self.on_edited(pool, now),
            Input::Readable => self.on_readable(),
            Input::Wanted { pool } => self.on_wanted(pool),
            Input::Load { child, load } => self.on_load(child, load),
            Input::Activity { pool, last } => self.on_activity(pool, last, now),
            Input::Loaded(plan) => self.on_loaded(plan),
            Input::Rejected { reason } => self.on_rejected(&reason),
            Input::Tried(result) => self.on_tried(result.map_err(|reason| printable(&reason))),
            Input::Executed(result) => self.on_executed(result, now),
            Input::Reload { ticket, wait, prove } => self.on_reload(Some((ticket, wait)), prove),
            Input::StopOne { ticket, name } => self.on_stop_one(ticket, &name),
            Input::StartOne { ticket, name } => self.on_start_one(ticket, &name),
            Input::Stop { fast } => self.stop(fast, now),
        }
        self.settle(now);
    }

    /// The next thing to carry out, in order; `None`: nothing more for now. Orders to a child that has gone meanwhile
    /// are left out.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            let output = self.outputs.pop_front()?;
            match output {
                Output::Spawn { child, .. }
                | Output::Open { child }
                | Output::Drain { child, .. }
                | Output::Kill { child, .. }
                | Output::Reload { child }
                | Output::Inspect { child }
                | Output::Measure { child }
                    if self.position_of(child).is_none() => {}
                Output::Execute if !self.is_executing() => {}
                _ => return Some(output),
            }
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.is_over() {
            return None;
        }
        let mode = match &self.mode {
            Mode::Stopping(stop) => stop.until,
            Mode::Upgrading(upgrade) => upgrade.until(),
            Mode::Starting(_) | Mode::Running | Mode::Reloading(_) => None,
        };
        let watch = if self.watching { None } else { self.watch_from() };
        let own = earliest(earliest(mode, watch), self.handover_deadline());
        self.pools.iter().map(Pool::deadline).fold(own, earliest)
    }

    /// The clock reached the deadline. A spurious call is harmless.
    pub fn on_timeout(&mut self, now: Time) {
        if self.is_over() {
            return;
        }
        self.forgive(now);
        self.stop_deadline(now);
        self.upgrade_deadline(now);
        for position in self.positions(|state| state.deadline().is_some_and(|deadline| deadline <= now)) {
            self.order(position, Event::Time, now);
        }
        self.sample(now);
        self.measure(now);
        self.outlive(now);
        self.settle(now);
    }

    fn on_signal(&mut self, signal: Signal, now: Time) {
        match signal {
            Signal::Hup => self.on_reload(None, false),
            Signal::Term | Signal::Quit => self.stop(false, now),
            Signal::Int => self.stop(true, now),
            Signal::Ttin => self.resize_workers(true),
            Signal::Ttou => self.resize_workers(false),
            Signal::Usr2 => self.on_upgrade(),
        }
    }

    fn on_child(&mut self, child: ChildId, event: Event, now: Time) {
        if self.forget_abandoned(child, &event) {
            return;
        }
        if let Some(position) = self.position_of(child) {
            self.order(position, event, now);
        }
    }

    /// Everything that follows from the state, and from what cannot be started.
    fn settle(&mut self, now: Time) {
        self.derive(now);
        while self.refuse_boots(now) {
            self.derive(now);
        }
    }

    /// Everything that follows from the state, in the order in which the master should do it.
    fn derive(&mut self, now: Time) {
        match self.mode {
            Mode::Starting(_) => self.advance_start(now),
            Mode::Reloading(_) => self.advance_reload(now),
            Mode::Running | Mode::Upgrading(_) | Mode::Stopping(_) => {}
        }
        self.begin_queued(now);
        if matches!(self.mode, Mode::Stopping(_)) {
            self.advance_stop(now);
        } else {
            self.send_dismissed_away(now);
            self.adapt(now);
            self.fill(now);
            self.advance_upgrade();
            self.begin_queued(now);
            self.await_calm(now);
            self.recycle(now);
            self.retire(now);
        }
        self.pools.retain(|pool| {
            pool.is_listed() || pool.next.is_some() || pool.is_alive() || !pool.abandoned.is_empty()
        });
        self.settle_edits();
        self.publish();
        self.watch(now);
        self.settle_rolls();
        self.settle_awaited();
        self.settle_handovers(matches!(self.mode, Mode::Stopping(_)), now);
        self.finish_stop();
    }

    /// Begins what has waited for the end of another mode: a reload, then an upgrade.
    fn begin_queued(&mut self, now: Time) {
        if matches!(self.mode, Mode::Running) {
            self.begin_queued_reload(now);
        }
        if matches!(self.mode, Mode::Running) {
            self.begin_queued_upgrade(now);
        }
    }

    /// Lets an event happen in a slot and deals with what it means.
    pub(super) fn order(&mut self, position: Position, event: Event, now: Time) {
        let event = self.fitting(position, event, now);
        let Some(slot) = self.pools.get_mut(position.pool).and_then(|pool| pool.slots.get_mut(position.slot))
        else {
            return;
        };
        let gate = slot.state.process().and_then(|process| process.gate);
        let (outputs, outcomes) = slot.take(event, now);
        self.outputs.extend(outputs);
        for outcome in outcomes {
            match outcome {
                Outcome::Refused { role, reason } => {
                    let reason = self.reason_of_gate(position, role, gate, reason);
                    self.refused(position, role, gate.is_some(), &reason, now);
                }
                Outcome::Passed { role } => self.gate_passed(position, role, now),
                Outcome::Lost { ready_for, reason } => self.lost(position, ready_for, &reason, now),
                Outcome::Died { process, role, ready_for, reason } => {
                    self.died(position, role, ready_for, reason, now);
                    self.rearm(position, process);
                }
                Outcome::Gone { process } => self.rearm(position, process),
                Outcome::Abandoned { process } => self.abandon(position, process, now),
            }
        }
    }

    /// Starts a process in a slot that is empty.
    pub(super) fn boot(&mut self, position: Position, role: Role, now: Time) {
        let generation = match self.mode {
            Mode::Reloading(_) if role != Role::Current => self.latest_generation,
            _ => self.generation,
        };
        let Some(pool) = self.pools.get(position.pool) else { return };
        let Some(slot) = pool.slots.get(position.slot) else { return };
        let (plan, gate) = (pool.plan_for(role), pool.gate_for(role));
        let boot = Boot {
            child: ChildId(self.next_child),
            pool: pool.plan.index,
            slot: slot.number,
            generation,
            gate,
            role,
            within: plan.upkeep.boot_timeout + gate.map_or(plan.ready_timeout, |_| Duration::ZERO),
        };
        self.next_child += 1;
        self.order(position, Event::Boot(boot), now);
    }

    /// A process will not serve.
    fn refused(&mut self, position: Position, role: Role, is_gate: bool, reason: &str, now: Time) {
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        // What a command printed says little without the command.
        let first = || reason.lines().next().unwrap_or_default().trim_end_matches("; it had printed:");
        pool.remember(position.slot, if is_gate { first() } else { exit::headline(reason) });
        let told = format!("{}: {reason}", pool.label());
        let headline = format!("{}: still {}", pool.label(), exit::headline(reason));
        let known = self.trouble_with(position.pool, reason, now);
        match (&self.mode, role) {
            (_, Role::Relief) => {
                self.relief_refused(position.pool, &told);
                self.roll_refused(position.pool, &told);
            }
            (Mode::Starting(_), _) => self.start_refused(position.pool, &told, now),
            (Mode::Reloading(_), Role::Next | Role::Proof) => self.fail_reload(&told, now),
            _ if known => self.note(Level::Error, headline),
            _ => self.note(Level::Error, told),
        }
    }

    /// A process ended without having been told to: its slot is filled again, now or later.
    fn died(
        &mut self,
        position: Position,
        role: Role,
        ready_for: Duration,
        reason: Option<String>,
        now: Time,
    ) {
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        let told = reason.map(|reason| {
            let told = format!("{} died: {reason}", pool.label());
            pool.remember(position.slot, &reason);
            told
        });
        let wanted = pool.is_listed() && pool.places() + pool.held() < pool.target;
        match (&self.mode, role) {
            (Mode::Starting(_) | Mode::Running | Mode::Reloading(_) | Mode::Upgrading(_), Role::Current)
                if wanted =>
            {
                self.replace(position, ready_for, told, now);
            }
            (Mode::Starting(_), Role::Proof) => {
                // Nobody asked for it yet, so not at once; until then requests are told that it failed.
                let wait = pool.slots.get_mut(position.slot).map(|slot| slot.backoff.died(ready_for));
                pool.target = pool.target.max(1);
                self.keep(position, now.after(wait.unwrap_or_default().max(FIRST_WAIT)));
            }
            (Mode::Reloading(_), Role::Next) => self.fail_reload(&told.unwrap_or_default(), now),
            (_, Role::Relief) => self.relief_died(position.pool, now),
            _ => told.into_iter().for_each(|told| self.note(Level::Warn, told)),
        }
    }

    /// A process that served finishes what it has and goes, and was not told to: another one takes its place, in another
    /// slot, with the back-off of this one.
    fn lost(&mut self, position: Position, ready_for: Duration, reason: &str, now: Time) {
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        pool.remember(position.slot, reason);
        let slot = pool.slots.get(position.slot);
        let number = slot.map_or(0, |slot| slot.number);
        let told = format!("{} {number} {reason}", pool.label());
        let wanted = pool.is_listed() && pool.places() + pool.held() < pool.target;
        let backoff = slot.map(|slot| slot.backoff);
        if matches!(self.mode, Mode::Stopping(_)) || !wanted {
            return self.note(Level::Warn, format!("{told}; it has to go"));
        }
        let free = pool.free();
        if let (Some(slot), Some(backoff)) = (pool.slots.get_mut(free), backoff) {
            slot.backoff = backoff;
        }
        self.replace(Position { pool: position.pool, slot: free }, ready_for, Some(told), now);
    }

    /// Fills the slot again: at once, or when its back-off ends.
    fn replace(&mut self, position: Position, ready_for: Duration, told: Option<String>, now: Time) {
        let may_start = self.may_start(position.pool);
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        let told = told.map_or_else(|| format!("{}: ", pool.label()), |told| format!("{told}; "));
        let Some(slot) = pool.slots.get_mut(position.slot) else { return };
        let mut wait = slot.backoff.died(ready_for);
        if pool.plan.watched && ready_for.is_zero() {
            // The same code fails in the same way; an edit is tried at once.
            wait = LONGEST_WAIT;
        }
        if wait.is_zero() && !may_start {
            // A pool that this one comes `after` is down, too: the slot is filled when that pool is ready again.
            slot.restarts += 1;
            pool.restarts += 1;
            self.note(Level::Warn, format!("{told}waits for what it comes after"));
        } else if wait.is_zero() {
            slot.restarts += 1;
            pool.restarts += 1;
            let what = if ready_for.is_zero() { "tried again at once" } else { "replaced at once" };
            self.note(Level::Warn, format!("{told}{what}"));
            self.boot(position, Role::Current, now);
        } else {
            self.note(Level::Warn, format!("{told}next attempt in {wait:?}"));
            self.keep(position, now.after(wait));
        }
    }

    /// Keeps the place for the next attempt.
    fn keep(&mut self, position: Position, retry: Time) {
        let slot = self.pools.get_mut(position.pool).and_then(|pool| pool.slots.get_mut(position.slot));
        if let Some(slot) = slot {
            slot.state = State::Empty { retry: Some(retry) };
        }
    }

    /// A worker that accepted is gone: an exclusive wake-up may be lost with it, so the others look again.
    fn rearm(&mut self, position: Position, process: Process) {
        let Some(pool) = self.pools.get(position.pool) else { return };
        if pool.is_workers() && process.opened && pool.count(is_open) > 0 {
            self.tell(Output::Rearm);
        }
    }

    fn publish(&mut self) {
        let stopping = match &self.mode {
            Mode::Stopping(stop) => Some(stop.end),
            Mode::Starting(_) | Mode::Running | Mode::Reloading(_) | Mode::Upgrading(_) => None,
        };
        for pool in &mut self.pools {
            let state = pool.state(stopping);
            if pool.is_app() && pool.listing != Listing::Coming && pool.published != Some(state) {
                pool.published = Some(state);
                self.outputs.push_back(Output::Publish { pool: pool.plan.index, state });
            }
        }
    }

    fn watch(&mut self, now: Time) {
        let watch = self.watch_from().is_some_and(|from| from <= now);
        if watch != self.watching {
            self.watching = watch;
            self.tell(Output::Watch(watch));
        }
    }

    /// From when on the master watches the listeners: no worker serves, comes or is waited for, and those that leave
    /// have left or had time to stop accepting.
    fn watch_from(&self) -> Option<Time> {
        let on = matches!(self.mode, Mode::Running | Mode::Reloading(_) | Mode::Upgrading(_));
        let workers = self.pools.iter().find(|pool| pool.is_workers())?;
        if !on || workers.places() > 0 || workers.target > 0 {
            return None;
        }
        let leaving =
            workers.slots.iter().filter(|slot| is_leaving(&slot.state)).map(|slot| match slot.state {
                State::Draining { since, process, .. }
                | State::Killing { since, process, .. }
                | State::Killed { since, process, .. }
                    if process.opened =>
                {
                    since.after(LEAVE_GRACE)
                }
                _ => Time::ZERO,
            });
        leaving.max().or(Some(Time::ZERO))
    }

    /// If the earliest timer is long over, nothing ran in between: everybody gets as much time as was left before.
    fn forgive(&mut self, now: Time) {
        let late = self.deadline().map_or(Duration::ZERO, |deadline| now.since(deadline));
        let lost = now.since(self.seen);
        self.seen = self.seen.max(now);
        if late <= SUSPENDED {
            return;
        }
        for pool in &mut self.pools {
            pool.sample = pool.sample.map(|sample| sample.max(now));
            pool.calm = pool.calm.map(|due| due.max(now));
            pool.measure = pool.measure.map(|measure| measure.max(now));
            pool.relief_at = pool.relief_at.map(|at| at.max(now));
            pool.slots.iter_mut().for_each(|slot| slot.state.postpone(lost, now));
        }
        match &mut self.mode {
            Mode::Stopping(stop) => stop.postpone(lost),
            Mode::Upgrading(upgrade) => upgrade.postpone(lost),
            Mode::Starting(_) | Mode::Running | Mode::Reloading(_) => {}
        }
    }

    fn is_over(&self) -> bool {
        matches!(&self.mode, Mode::Stopping(stop) if stop.over)
    }

    /// Every slot in such a state.
    pub(super) fn positions(&self, which: impl Fn(&State) -> bool) -> Vec<Position> {
        let positions = |(pool, slots): (usize, &Pool)| {
            slots.positions(&which).into_iter().map(move |slot| Position { pool, slot }).collect::<Vec<_>>()
        };
        self.pools.iter().enumerate().flat_map(positions).collect()
    }

    /// Every slot in such a state of one pool.
    pub(super) fn positions_in(&self, pool: usize, which: impl Fn(&State) -> bool) -> Vec<Position> {
        let positions = self.pools.get(pool).map(|pool| pool.positions(which)).unwrap_or_default();
        positions.into_iter().map(|slot| Position { pool, slot }).collect()
    }

    pub(super) fn position_of(&self, child: ChildId) -> Option<Position> {
        self.pools.iter().enumerate().find_map(|(pool, slots)| {
            let is_it =
                |slot: &super::slot::Slot| slot.state.process().is_some_and(|process| process.child == child);
            slots.slots.iter().position(is_it).map(|slot| Position { pool, slot })
        })
    }

    /// The position of a pool.
    pub(super) fn pool_at(&self, index: PoolIndex) -> Option<usize> {
        self.pools.iter().position(|pool| pool.plan.index == index)
    }

    /// The workers' pool and its position.
    pub(super) fn workers(&mut self) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.plan.index == WORKERS)
    }

    /// Whether any worker process lives.
    pub(super) fn any_worker(&self) -> bool {
        self.pools.iter().any(|pool| pool.is_workers() && pool.is_alive())
    }

    pub(super) fn tell(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn note(&mut self, level: Level, text: String) {
        self.tell(Output::Note { level, text });
    }
}
