//! The reload: a new generation boots beside the old one, which serves and is looked after until the moment of the
//! switch. Whatever fails before that moment ends the new one and leaves the old one as it was. Daemons are replaced
//! after it (`daemon`).

use super::machine::{Mode, Position, Supervisor};
use super::pool::{Listing, Pool, is_failing, is_new, is_relief, is_waiting};
use super::slot::{Event, Role, State, TERM_GRACE};
use super::{ChildId, Level, Output, Plan, PoolIndex, Processes, Ticket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};

/// One reload that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reload {
    /// The new plan; `None` until `Loaded`.
    plan: Option<Plan>,
    /// Who waits for the end.
    tickets: Vec<Ticket>,
    /// Sleeping apps are booted too.
    prove: bool,
    /// Sleeping apps that were begun to be proved.
    proved: Vec<PoolIndex>,
}

/// A reload that waits for the current one, or for the start; all that were asked for meanwhile are one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queued {
    tickets: Vec<Ticket>,
    prove: bool,
}

impl Reload {
    /// Whether a sleeping app is to show that it boots.
    pub(super) fn is_proving(&self, pool: PoolIndex) -> bool {
        self.proved.contains(&pool)
    }
}

impl Supervisor {
    /// HUP, or `reload` over the control socket: begins one as soon as the current one (or the start) is over.
    pub(super) fn on_reload(&mut self, ticket: Option<(Ticket, bool)>, prove: bool) {
        if matches!(self.mode, Mode::Stopping(_)) {
            if let Some((ticket, _)) = ticket {
                self.tell(Output::Answer { ticket, result: Err("the server is stopping".to_owned()) });
            }
            return;
        }
        let queued = self.queued.get_or_insert_default();
        queued.prove |= prove;
        match ticket {
            Some((ticket, true)) => queued.tickets.push(ticket),
            Some((ticket, false)) => {
                self.tell(Output::Answer { ticket, result: Ok("reload begun".to_owned()) });
            }
            None => {}
        }
    }

    /// Only while Running.
    pub(super) fn begin_queued_reload(&mut self, now: Time) {
        let Some(Queued { tickets, prove }) = self.queued.take() else { return };
        // Whatever is worn is replaced by the reload, or afterwards.
        self.order_all(is_relief, &Event::Kill { until: now.after(TERM_GRACE) }, now);
        self.close_gates(now);
        self.mode = Mode::Reloading(Reload { plan: None, tickets, prove, proved: Vec::new() });
        self.tell(Output::Load);
    }

    /// The new configuration is good: its pools come.
    pub(super) fn on_loaded(&mut self, plan: Plan) {
        let Mode::Reloading(reload) = &mut self.mode else {
            // A stop came in between; its listeners are closed again.
            self.tell(Output::Discard);
            return;
        };
        if reload.plan.is_some() {
            return;
        }
        for next in &plan.pools {
            match self.pools.iter_mut().find(|pool| pool.plan.index == next.index) {
                Some(pool) => {
                    pool.next = Some(next.clone());
                    pool.passed[1] = 0;
                }
                None => {
                    let mut pool = Pool::new(next.clone(), Listing::Coming);
                    pool.next = Some(next.clone());
                    self.pools.push(pool);
                }
            }
        }
        self.pools.sort_by_key(|pool| pool.plan.index);
        reload.plan = Some(plan);
        self.latest_generation += 1;
    }

    /// The new configuration is not good.
    pub(super) fn on_rejected(&mut self, reason: &str) {
        if matches!(&self.mode, Mode::Reloading(reload) if reload.plan.is_none()) {
            self.end_failed(reason);
        }
    }

    /// Something of the new generation failed: all of it goes.
    pub(super) fn fail_reload(&mut self, reason: &str, now: Time) {
        if !matches!(self.mode, Mode::Reloading(_)) {
            return;
        }
        self.tell(Output::Discard);
        self.end_failed(reason);
        self.order_all(is_new, &Event::Kill { until: now.after(TERM_GRACE) }, now);
    }

    /// Ends the reload because the server stops (or the start failed); everybody who waits is told.
    pub(super) fn cancel_reload(&mut self, why: &str) {
        if let Mode::Reloading(reload) = &self.mode {
            let (loaded, tickets) = (reload.plan.is_some(), reload.tickets.clone());
            self.mode = Mode::Running;
            if loaded {
                self.tell(Output::Discard);
            }
            self.answer(tickets, &Err(why.to_owned()));
        }
        if let Some(queued) = self.queued.take() {
            self.answer(queued.tickets, &Err(why.to_owned()));
        }
    }

    /// Boots what is missing: the apps first, then the workers that will use them; switches when all are Ready.
    pub(super) fn advance_reload(&mut self, now: Time) {
        let Mode::Reloading(Reload { plan: Some(plan), .. }) = &self.mode else { return };
        let workers_changed = plan.workers_changed;
        for workers in [false, true] {
            if workers && !workers_changed {
                break;
            }
            for at in 0..self.pools.len() {
                let wanted = |pool: &Pool| pool.is_workers() == workers && !pool.is_daemon();
                if self.pools.get(at).is_some_and(wanted) {
                    self.boot_next(at, now);
                }
            }
            // A proof counts when it is Ready: it drains from then on.
            let boots = |pool: &Pool| {
                let booting =
                    |pool: &Pool| pool.count(|state| is_new(state) && !matches!(state, State::Ready { .. }));
                pool.is_workers() == workers && (booting(pool) > 0 || pool.is_gated())
            };
            if self.pools.iter().any(boots) {
                return;
            }
        }
        self.switch(now);
    }

    /// Boots the new generation of one pool, unless it was begun already: as many processes as serve now, within the
    /// new bounds, if the pool is awake or never sleeps; one that proves that it boots, if that is asked for or its new
    /// template must boot in any case. With gates one at first, and the others when they have succeeded.
    fn boot_next(&mut self, at: usize, now: Time) {
        let Mode::Reloading(reload) = &mut self.mode else { return };
        let Some(pool) = self.pools.get_mut(at) else { return };
        let Some(next) = &pool.next else { return };
        let (new, gated) = (pool.count(is_new), pool.gate_for(Role::Next).is_some());
        if pool.is_gated() || (new > 0 && next.before.is_empty()) {
            return;
        }
        let Processes { min, max } = next.processes;
        let (role, count) = if pool.places() > 0 || min > 0 {
            (Role::Next, min.max(pool.ready().min(max)).max(1))
        } else if !pool.is_workers()
            && (reload.prove || next.upkeep.prove || next.kept)
            && !reload.proved.contains(&next.index)
        {
            reload.proved.push(next.index);
            (Role::Proof, 1)
        } else if gated {
            (Role::Proof, 1)
        } else {
            return;
        };
        for _ in new..if gated { 1 } else { count } {
            let Some(pool) = self.pools.get_mut(at) else { return };
            let slot = pool.free();
            if let Some(slot) = pool.slots.get_mut(slot) {
                slot.backoff.reset();
            }
            self.boot(Position { pool: at, slot }, role, now);
        }
    }

    /// The moment: new ones open, old ones drain.
    fn switch(&mut self, now: Time) {
        let Mode::Reloading(Reload { plan: Some(plan), tickets, proved, .. }) =
            std::mem::replace(&mut self.mode, Mode::Running)
        else {
            return;
        };
        let generation = self.latest_generation;
        self.generation = generation;
        self.tell(Output::Switch { generation });
        let asleep: Vec<&str> = plan
            .pools
            .iter()
            .filter(|next| !proved.contains(&next.index))
            .filter(|next| self.pool_at(next.index).and_then(|at| self.pools.get(at)).is_some_and(is_asleep))
            .map(|next| next.name.as_str())
            .collect();
        let mut text = format!("generation {generation} serves");
        if !asleep.is_empty() {
            text.push_str(&format!("; not proved (asleep): {}", asleep.join(", ")));
        }
        if !plan.later.is_empty() {
            text.push_str(&format!("; a change takes effect at the next start: {}", plan.later.join(", ")));
        }
        let rolled = |pool: &Pool| {
            pool.next.is_some() && (pool.is_app() || (pool.is_workers() && plan.workers_changed))
        };
        let old: Vec<Position> = (0..self.pools.len())
            .filter(|at| self.pools.get(*at).is_some_and(rolled))
            .flat_map(|at| self.positions_in(at, |state| !is_new(state)))
            .filter(|position| !self.is_draining(*position))
            .collect();
        let closing = self.children_at(&old, |pool| pool.is_workers());
        self.adopt(plan, now);
        // Apps come before workers, so that a worker that opens finds them.
        let mut new = self.positions(|state| matches!(state, State::Ready { role: Role::Next, .. }));
        new.sort_by_key(|position| self.pools.get(position.pool).is_some_and(Pool::is_workers));
        new.into_iter().for_each(|position| self.order(position, Event::Open, now));
        let drain = self.drain_order(now);
        for position in old {
            self.order(position, drain.clone(), now);
        }
        self.reload_daemons();
        self.last_reload_error = None;
        self.note(Level::Info, format!("reload: {text}"));
        self.answer_when_closed(tickets, text, closing, now);
    }

    /// The new plan becomes the current one.
    fn adopt(&mut self, plan: Plan, now: Time) {
        let generation = self.generation;
        let mut started = Vec::new();
        for pool in &mut self.pools {
            if pool.stopped.take().is_some() && pool.next.is_some() {
                started.push(format!("{}: was stopped by hand, and is started by the reload", pool.label()));
            }
            let fresh = pool.count(is_new);
            match pool.next.take() {
                Some(next) => {
                    let Processes { min, max } = next.processes;
                    pool.target = if fresh > 0 { fresh } else { pool.target }.clamp(min, max.max(min));
                    pool.plan = next;
                    pool.passed = [pool.passed[1], 0];
                    pool.listing = Listing::Listed;
                }
                None if pool.is_listed() => {
                    pool.listing = Listing::Vanished { generation, since: now };
                    pool.target = 0;
                    pool.sample = None;
                    pool.measure = None;
                }
                None => {}
            }
        }
        started.into_iter().for_each(|text| self.note(Level::Info, text));
        let gone =
            |state: &State| matches!(state, State::Booting { .. }) || is_failing(state) || is_waiting(state);
        for at in 0..self.pools.len() {
            let app_gone = |pool: &Pool| pool.is_app() && matches!(pool.listing, Listing::Vanished { .. });
            if self.pools.get(at).is_some_and(app_gone) {
                for position in self.positions_in(at, gone) {
                    self.order(position, Event::Kill { until: now.after(TERM_GRACE) }, now);
                }
            }
        }
        self.plan = plan;
    }

    fn children_at(&self, positions: &[Position], which: impl Fn(&Pool) -> bool) -> Vec<ChildId> {
        let child = |position: &Position| {
            let pool = self.pools.get(position.pool).filter(|pool| which(pool))?;
            pool.slots.get(position.slot)?.state.process().map(|process| process.child)
        };
        positions.iter().filter_map(child).collect()
    }

    fn is_draining(&self, position: Position) -> bool {
        let slot = self.pools.get(position.pool).and_then(|pool| pool.slots.get(position.slot));
        slot.is_some_and(|slot| matches!(slot.state, State::Draining { .. }))
    }

    fn end_failed(&mut self, reason: &str) {
        let Mode::Reloading(reload) = std::mem::replace(&mut self.mode, Mode::Running) else { return };
        for pool in &mut self.pools {
            pool.next = None;
        }
        let text = format!("reload failed, generation {} goes on: {reason}", self.generation);
        self.note(Level::Error, text);
        self.last_reload_error = Some(reason.to_owned());
        self.answer(reload.tickets, &Err(reason.to_owned()));
    }

    pub(super) fn answer(&mut self, tickets: Vec<Ticket>, result: &Result<String, String>) {
        for ticket in tickets {
            self.tell(Output::Answer { ticket, result: result.clone() });
        }
    }
}

/// Nothing of it runs, in any generation.
fn is_asleep(pool: &Pool) -> bool {
    pool.is_app() && pool.places() == 0 && pool.count(is_new) == 0
}
