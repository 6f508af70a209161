//! Scenes with the whole supervisor. `Scene` plays the master: it keeps the living children and checks the outputs.

use super::pool::Pool;
use super::*;
use crate::timer::Time;
use std::collections::BTreeMap;

mod apps;
mod commands;
mod daemons;
mod edits;
mod gates;
mod modes;
mod recycling;
mod reloads;
mod starts;
mod stops;
mod upgrades;
mod workers;

/// The master's part of a test: outputs are collected, children answer when the test says so.
struct Scene {
    supervisor: Supervisor,
    now: Time,
    /// Living children: pool, slot, generation.
    living: BTreeMap<ChildId, (PoolIndex, u16, u32)>,
    outputs: Vec<Output>,
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn workers(min: u32, max: u32) -> PoolPlan {
    PoolPlan {
        index: 0,
        name: "worker".to_owned(),
        processes: Processes { min, max },
        most: 32,
        upkeep: Upkeep { idle: seconds(60), boot_timeout: seconds(10), ..Upkeep::default() },
        ..PoolPlan::default()
    }
}

fn app(index: PoolIndex, name: &str, min: u32, max: u32) -> PoolPlan {
    let plan = workers(min, max);
    let upkeep = Upkeep { boot_timeout: seconds(30), ..plan.upkeep };
    PoolPlan { index, name: name.to_owned(), upkeep, ..plan }
}

fn plan(pools: Vec<PoolPlan>) -> Plan {
    Plan {
        pools,
        workers_changed: true,
        shutdown_timeout: seconds(30),
        drain_timeout: seconds(600),
        later: Vec::new(),
        all_or_nothing: false,
    }
}

impl Scene {
    fn new(plan: Plan) -> Self {
        let now = Time(1_000_000_000_000);
        let supervisor = Supervisor::new(plan, now);
        let mut scene = Self { supervisor, now, living: BTreeMap::new(), outputs: Vec::new() };
        scene.drain();
        scene
    }

    /// One worker, one app with one process, both serving.
    fn serving(plan: Plan) -> Self {
        let mut scene = Self::new(plan);
        scene.boot_all();
        scene.boot_all();
        assert_eq!(scene.mode(), "running");
        scene.outputs.clear();
        scene
    }

    fn on(&mut self, input: Input) -> Vec<Output> {
        self.supervisor.on(input, self.now);
        self.drain()
    }

    /// Lets time pass, firing timers when they are due.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now.after(time);
        let mut outputs = Vec::new();
        while let Some(deadline) = self.supervisor.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline must move on: {deadline:?} at {:?}", self.now);
            self.now = deadline;
            self.supervisor.on_timeout(self.now);
            outputs.extend(self.drain());
        }
        self.now = end;
        outputs
    }

    /// Polls everything; forks succeed at once.
    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.supervisor.poll() {
            if let Output::Spawn { child, pool, slot, generation, .. } = output {
                let twin = self.living.values().any(|other| (other.0, other.1) == (pool, slot));
                assert!(!twin, "slot {slot} of pool {pool} is taken");
                self.living.insert(child, (pool, slot, generation));
                self.supervisor.on(Input::Forked { child, pid: 1000 + child.0 as u32 }, self.now);
            }
            if let Output::Abandon { child } = output {
                assert!(self.living.remove(&child).is_some(), "{child:?} is given up once");
            }
            outputs.push(output);
        }
        self.outputs.extend(outputs.iter().cloned());
        outputs
    }

    fn exit(&mut self, child: ChildId, exit: Exit) -> Vec<Output> {
        assert!(self.living.remove(&child).is_some(), "{child:?} does not live");
        self.on(Input::Exited { child, exit })
    }

    fn ready(&mut self, child: ChildId) -> Vec<Output> {
        self.on(Input::Ready { child })
    }

    /// Everything that boots becomes Ready.
    fn boot_all(&mut self) -> Vec<Output> {
        let booting = self.in_state("booting");
        booting.into_iter().flat_map(|child| self.ready(child)).collect()
    }

    /// The workers that were told to leave accept no more.
    fn close_all(&mut self) -> Vec<Output> {
        let draining = self.of(0, "draining");
        draining.into_iter().flat_map(|child| self.on(Input::Closed { child })).collect()
    }

    /// Everything that was told to leave leaves.
    fn leave_all(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for child in [self.in_state("draining"), self.in_state("killing")].concat() {
            outputs.extend(self.exit(child, Exit::Code(0)));
        }
        outputs
    }

    fn in_state(&self, state: &str) -> Vec<ChildId> {
        let slots = self
            .supervisor
            .pools
            .iter()
            .flat_map(|pool| pool.slots.iter().map(|slot| (pool.is_daemon(), slot)));
        let found = slots.filter(|(daemon, slot)| slot.state.shown(*daemon) == Some(state));
        found.filter_map(|(_, slot)| slot.state.process()).map(|process| process.child).collect()
    }

    /// Living children of a pool in a state.
    fn of(&self, pool: PoolIndex, state: &str) -> Vec<ChildId> {
        let in_state = self.in_state(state);
        in_state
            .into_iter()
            .filter(|child| self.living.get(child).is_some_and(|place| place.0 == pool))
            .collect()
    }

    fn one(&self, pool: PoolIndex, state: &str) -> ChildId {
        let all = self.of(pool, state);
        assert_eq!(all.len(), 1, "{state} of pool {pool}: {all:?}");
        all[0]
    }

    fn generation(&self, child: ChildId) -> u32 {
        self.living[&child].2
    }

    fn pool(&self, index: PoolIndex) -> &Pool {
        self.supervisor.pools.iter().find(|pool| pool.plan.index == index).expect("the pool")
    }

    fn wanted(&self, index: PoolIndex) -> (u32, u32) {
        let plan = &self.pool(index).plan;
        (plan.processes.min, plan.processes.max)
    }

    fn waits_for(&self, index: PoolIndex) -> Vec<String> {
        self.supervisor.waits_for(self.pool(index))
    }

    fn mode(&self) -> &'static str {
        self.supervisor.mode()
    }
}

/// The children spawned in some outputs: pool and generation.
fn spawned(outputs: &[Output]) -> Vec<(PoolIndex, u32)> {
    let spawn = |output: &Output| match output {
        Output::Spawn { pool, generation, .. } => Some((*pool, *generation)),
        _ => None,
    };
    outputs.iter().filter_map(spawn).collect()
}

fn killed(outputs: &[Output]) -> Vec<(ChildId, Kill)> {
    let kill = |output: &Output| match output {
        Output::Kill { child, how } => Some((*child, *how)),
        _ => None,
    };
    outputs.iter().filter_map(kill).collect()
}

fn drained(outputs: &[Output]) -> Vec<(ChildId, Duration, bool)> {
    let drain = |output: &Output| match output {
        Output::Drain { child, within, hurry } => Some((*child, *within, *hurry)),
        _ => None,
    };
    outputs.iter().filter_map(drain).collect()
}

fn answers(outputs: &[Output]) -> Vec<(u64, Result<String, String>)> {
    let answer = |output: &Output| match output {
        Output::Answer { ticket, result } => Some((ticket.0, result.clone())),
        _ => None,
    };
    outputs.iter().filter_map(answer).collect()
}

fn published(outputs: &[Output], pool: PoolIndex) -> Vec<PoolState> {
    let publish = |output: &Output| match output {
        Output::Publish { pool: of, state } if *of == pool => Some(*state),
        _ => None,
    };
    outputs.iter().filter_map(publish).collect()
}

fn notes(outputs: &[Output], at: Level) -> Vec<&str> {
    let note = |output: &'_ Output| matches!(output, Output::Note { level, .. } if *level == at);
    outputs
        .iter()
        .filter(|output| note(output))
        .filter_map(|output| match output {
            Output::Note { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn position(outputs: &[Output], wanted: &Output) -> usize {
    outputs
        .iter()
        .position(|output| output == wanted)
        .unwrap_or_else(|| panic!("{wanted:?} is not in {outputs:#?}"))
}

#[test]
fn the_whole_state_is_plain_data() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 2)]));
    scene.on(Input::Reload { ticket: Ticket(1), wait: true, prove: false });
    scene.on(Input::Loaded(plan(vec![workers(2, 2), app(1, "shop", 0, 2), app(2, "blog", 1, 1)])));
    let text = serde_json::to_string(&scene.supervisor).expect("serialises");
    let mut back: Supervisor = serde_json::from_str(&text).expect("deserialises");
    assert_eq!(back, scene.supervisor);
    back.on(Input::Signal(Signal::Term), scene.now);
    scene.supervisor.on(Input::Signal(Signal::Term), scene.now);
    assert_eq!(back, scene.supervisor);
}

#[test]
fn strangers_and_late_answers_are_ignored() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let before = scene.supervisor.clone();
    let child = ChildId(999);
    for input in [
        Input::Forked { child, pid: 1 },
        Input::ForkFailed { child, reason: String::new() },
        Input::Ready { child },
        Input::Failed { child, reason: String::new() },
        Input::Exited { child, exit: Exit::Code(0) },
        Input::Closed { child },
        Input::Stuck { child, reason: String::new() },
        Input::Unready { child, reason: String::new() },
        Input::Worn { child, reason: String::new() },
        Input::Measured { child, rss: u64::MAX },
        Input::Readable,
        Input::Load { child, load: Load::High },
        Input::Wanted { pool: 9 },
        Input::Activity { pool: 9, last: Time::ZERO },
        Input::Activity { pool: 1, last: Time::ZERO },
        Input::Rejected { reason: String::new() },
    ] {
        assert_eq!(scene.on(input.clone()), [], "{input:?}");
    }
    assert_eq!(scene.supervisor, before);
    // A plan that nobody asked for still has listeners that must be closed.
    assert_eq!(scene.on(Input::Loaded(plan(vec![workers(9, 9)]))), [Output::Discard]);
}
