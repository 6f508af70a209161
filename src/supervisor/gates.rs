//! Gates: commands of an app that must succeed before its first process of a generation boots (`before`), at a start and at
//! a reload, also for an app that sleeps. They run one after the other in the place of the process that they let
//! boot: it is that process that boots, and whatever becomes of a boot that fails becomes of a gate that fails. Until they
//! have succeeded no other place of the pool is filled, so none of them runs twice at a time. What is started later, in
//! place of what has died, say, does not ask them again.

use super::PoolPlan;
use super::machine::{Mode, Position, Supervisor};
use super::pool::Pool;
use super::slot::{Event, Role, State, TERM_GRACE};
use crate::timer::Time;

/// How the reason begins if a gate did not succeed.
const BEFORE: &str = "before it boots";

impl Supervisor {
    /// One has succeeded: the next one follows, or the process itself.
    pub(super) fn gate_passed(&mut self, position: Position, role: Role, now: Time) {
        let boots = role != Role::Proof || self.is_proving(position.pool);
        let Some(pool) = self.pools.get_mut(position.pool) else { return };
        if matches!(self.mode, Mode::Stopping(_)) {
            return;
        }
        let next = usize::from(pool.is_for_next(role));
        if let Some(passed) = pool.passed.get_mut(next) {
            *passed += 1;
        }
        if pool.gate_for(role).is_none() {
            pool.forget_gates();
        }
        if boots || pool.gate_for(role).is_some() {
            self.boot(position, role, now);
        }
    }

    /// Whether an app that sleeps is to show that it boots, and not only to pass its gates.
    fn is_proving(&self, at: usize) -> bool {
        let Some(pool) = self.pools.get(at) else { return false };
        match &self.mode {
            Mode::Reloading(reload) => reload.is_proving(pool.plan.index),
            _ => pool.plan.upkeep.prove,
        }
    }

    /// A reload brings gates of its own: those of the generation that did not get beyond its own are not tried again.
    pub(super) fn close_gates(&mut self, now: Time) {
        self.order_all(is_gate, &Event::Kill { until: now.after(TERM_GRACE) }, now);
    }

    /// Whether nothing of the current generation may be started, since a reload brings gates of its own.
    pub(super) fn is_closed(&self, pool: &Pool) -> bool {
        matches!(self.mode, Mode::Reloading(_)) && pool.gate_for(Role::Current).is_some()
    }

    /// With the command, if a gate could not succeed.
    pub(super) fn reason_of_gate(
        &self,
        position: Position,
        role: Role,
        gate: Option<u16>,
        reason: String,
    ) -> String {
        let pool = self.pools.get(position.pool);
        let command = gate.and_then(|gate| pool?.plan_for(role).before.get(usize::from(gate)));
        match command {
            Some(command) => format!("{BEFORE} `{command}` must succeed: {reason}"),
            None => reason,
        }
    }
}

impl Pool {
    /// Whether what boots for this belongs to the generation that a reload brings up.
    fn is_for_next(&self, role: Role) -> bool {
        role != Role::Current && self.next.is_some()
    }

    /// The plan that what boots for this belongs to.
    pub(super) fn plan_for(&self, role: Role) -> &PoolPlan {
        self.next.as_ref().filter(|_| role != Role::Current).unwrap_or(&self.plan)
    }

    /// The gate that is to succeed before what boots for this.
    pub(super) fn gate_for(&self, role: Role) -> Option<u16> {
        let [current, next] = self.passed;
        let passed = if self.is_for_next(role) { next } else { current };
        u16::try_from(passed).ok().filter(|_| passed < self.plan_for(role).before.len())
    }

    /// They have succeeded: that one had not is no news of the app any more.
    fn forget_gates(&mut self) {
        let slots = self.slots.iter_mut().map(|slot| &mut slot.last_exit);
        for last in slots.chain([&mut self.last_exit]) {
            last.take_if(|reason| reason.starts_with(BEFORE));
        }
    }

    /// Whether a gate of it lives, be it one that was told to go.
    pub(super) fn is_gated(&self) -> bool {
        self.count(is_gate) > 0
    }
}

fn is_gate(state: &State) -> bool {
    state.process().is_some_and(|process| process.gate.is_some())
}
