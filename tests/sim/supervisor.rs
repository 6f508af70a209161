//! The supervisor against a world of unreliable processes on a virtual clock: boots that take long, fail or hang,
//! crashes, processes that ignore TERM, or even KILL, for a while or for ever, forks that fail, suspended machines, and people who reload, scale and stop at
//! any moment. After every step the invariants of `World::check` hold; every run ends in a calm tree of exactly the
//! wanted shape and then in a stop that leaves nothing.
//!
//! `HATCHERY_SEEDS=N` runs N seeds (1,000), `HATCHERY_SEED=K` only this one; a failing seed is printed with its last steps.

use hatchery::control::command::{ChildStatus, PoolStatus};
use hatchery::supervisor::{
    Break, ChildId, DaemonPlan, Exit, Input, Kill, Load, OnReload, Output, Plan, PoolIndex, PoolPlan,
    PoolState, Processes, Signal, Supervisor, Ticket, Upkeep,
};
use hatchery::timer::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const REACTION: Duration = Duration::from_millis(20);
const TERM_GRACE: Duration = Duration::from_secs(5);
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// From the end of a channel to the order to leave.
const CUT_GRACE: Duration = Duration::from_secs(2);
const ABORT_GRACE: Duration = Duration::from_secs(1);
/// From KILL until a process is given up.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Processes of a pool that are given up at a time.
const MOST_ABANDONED: usize = 16;
/// The pools from here on are daemons.
const DAEMONS: PoolIndex = 512;
/// What commands may name, by pool.
const NAMES: [&str; 7] = ["workers", "shop", "blog", "wiki", "redis", "celery", "beat"];
/// The longest that a daemon may take to end.
const LONGEST_STOP: Duration = Duration::from_secs(20);

#[test]
fn the_supervisor_survives_everything() {
    let one = std::env::var("HATCHERY_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("HATCHERY_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let seeds = one.map_or(0..count, |seed| seed..seed + 1);
    let mut ends = BTreeMap::new();
    for seed in seeds {
        *ends.entry(World::live(seed)).or_insert(0) += 1;
    }
    println!("{ends:?}");
}

/// A life of a tree that only ever fails to boot must not eat the machine, however often it is asked for.
#[test]
fn what_cannot_boot_never_spins() {
    for seed in 0..32 {
        let mut world = World::new(seed, false);
        world.health = Health::Good;
        world.until(Duration::from_secs(60), |world| world.supervisor.mode() != "starting");
        world.health = Health::Broken;
        let living: Vec<ChildId> = world.children.keys().copied().collect();
        living.into_iter().for_each(|child| world.die(child, Exit::Signal(9)));
        world.spawns.clear();
        for _ in 0..12_000 {
            world.step_to(world.now.after(Duration::from_millis(10)));
            world.demand();
        }
        // Waits of 0, 0.1, 0.2 … 25.6, 30 seconds: thirteen attempts of a slot fit into two minutes.
        for (slot, count) in &world.spawns {
            assert!(*count <= 14, "slot {slot:?} was filled {count} times in two minutes");
        }
    }
}

/// Processes that nothing ends are replaced, up to a bound, and one that ends after all makes room for another.
#[test]
fn what_never_dies_is_replaced_but_not_without_end() {
    for seed in 0..8 {
        let mut world = World::new(seed, false);
        world.until(Duration::from_secs(60), |world| world.started);
        world.health = Health::Deaf;
        let pool = world.current.pools.iter().find(|pool| pool.processes.min > 0).map(|pool| pool.index);
        let Some(pool) = pool else { continue };
        for _ in 0..200 {
            let living = world.children.iter().find(|(_, fake)| fake.pool == pool && fake.ready);
            if let Some(child) = living.map(|(child, _)| *child) {
                world.on(Input::Hung { child });
            }
            world.step_to(world.now.after(Duration::from_secs(10)));
        }
        let view = |world: &World| {
            world.supervisor.pools(world.now).into_iter().find(|view| index(view) == pool).unwrap()
        };
        // Those that served when the bound was reached come on top.
        let most = MOST_ABANDONED + view(&world).processes.1 as usize;
        assert!((MOST_ABANDONED..most).contains(&view(&world).unkillable.len()), "{:#?}", view(&world));
        assert!(
            view(&world).children.is_empty() && view(&world).retry_in_ms.is_some(),
            "{:#?}",
            view(&world)
        );
        assert!(view(&world).last_exit.unwrap().contains("do not die"));
        world.health = Health::Good;
        for ended in view(&world).unkillable.iter().skip(MOST_ABANDONED - 1) {
            let child = ChildId(u64::from(ended.pid));
            world.undead.remove(&child);
            world.on(Input::Exited { child, exit: Exit::Signal(9) });
        }
        world.step_to(world.now.after(Duration::from_secs(40)));
        assert_eq!(view(&world).children.len() as u32, view(&world).processes.0);
        world.stop();
        assert_eq!(world.exit, Some(1));
    }
}

/// What a process will do.
struct Fake {
    pool: PoolIndex,
    slot: u16,
    /// It is a command that must succeed before the app boots.
    gate: bool,
    /// It waits for the template of its app: there is no process yet.
    unborn: bool,
    ready: bool,
    opened: bool,
    /// It was told to go, or has failed: since when it counts as leaving, and until when it must be gone.
    leaving: Option<(Time, Time)>,
    /// The channel to it has ended, and it was not told to go: until when it must be gone.
    cut: Option<Time>,
    /// KILL was sent and did not end it: how long after it is given up it ends all the same; `None` in it: never.
    deaf: Option<Option<Duration>>,
    /// What it does next by itself.
    plans: Vec<(Time, Deed)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Deed {
    /// Its template forks it.
    Born,
    /// Its template cannot.
    Unborn,
    Ready,
    Fail,
    /// It could serve, and is not fit to.
    Unfit,
    /// A worker accepts no more.
    Close,
    /// The channel to it ends, as it does by itself before its end.
    Cut(Break),
    /// Nothing runs any more in a process of an app that was told to leave.
    Idle,
    Exit(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    /// Boots at once, leaves when told.
    Good,
    /// Anything may happen.
    Mixed,
    /// Nothing boots.
    Broken,
    /// Boots at once, and never dies.
    Deaf,
}

struct World {
    seed: u64,
    random: Random,
    now: Time,
    supervisor: Supervisor,
    health: Health,
    children: BTreeMap<ChildId, Fake>,
    /// Processes that were given up, and when they end after all.
    undead: BTreeMap<ChildId, Option<Time>>,
    last_child: u64,
    /// The answer to `Load`, and when it comes.
    loading: Option<(Time, Result<Plan, String>)>,
    /// The answer to `Try`, and when it comes.
    trial: Option<(Time, Result<(), String>)>,
    /// The program is to be replaced.
    execute: bool,
    current: Plan,
    /// Loaded, and neither switched to nor discarded.
    pending: Option<Plan>,
    tickets: u64,
    unanswered: BTreeSet<u64>,
    watching: bool,
    published: BTreeMap<PoolIndex, PoolState>,
    spawns: BTreeMap<(PoolIndex, u16), u32>,
    started: bool,
    /// A stop was asked for: nothing may live then.
    stop_by: Option<Time>,
    exit: Option<u8>,
    log: Vec<String>,
}

impl World {
    /// One life; says how it ended.
    fn live(seed: u64) -> &'static str {
        // A start among failures often is one; most lives should get further.
        let mut world = World::new(seed, seed.is_multiple_of(4));
        if !seed.is_multiple_of(4) {
            world.until(Duration::from_secs(60), |world| world.started);
            world.health = Health::Mixed;
        }
        let steps = world.random.below(400);
        for _ in 0..steps {
            world.step();
            if world.exit.is_some() {
                return world.over();
            }
        }
        if world.random.one_in(3) {
            world.stop();
            return world.over();
        }
        world.calm_down();
        if world.exit.is_some() {
            return world.over();
        }
        world.stop();
        world.over()
    }

    fn new(seed: u64, mixed: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
        let now = Time(random.below(1 << 50));
        let current = random.plan(None);
        let mut world = Self {
            seed,
            random,
            now,
            supervisor: Supervisor::new(current.clone(), now),
            health: if mixed { Health::Mixed } else { Health::Good },
            children: BTreeMap::new(),
            undead: BTreeMap::new(),
            last_child: 0,
            loading: None,
            trial: None,
            execute: false,
            current,
            pending: None,
            tickets: 0,
            unanswered: BTreeSet::new(),
            watching: false,
            published: BTreeMap::new(),
            spawns: BTreeMap::new(),
            started: false,
            stop_by: None,
            exit: None,
            log: Vec::new(),
        };
        world.pump();
        world
    }

    /// Something happens: what is due, or somebody does something.
    fn step(&mut self) {
        let pause = match self.random.below(100) {
            0 => Duration::from_secs(self.random.below(7200)),
            1..10 => Duration::from_secs(self.random.below(60)),
            10..50 => Duration::from_millis(self.random.below(2000)),
            _ => Duration::ZERO,
        };
        if self.random.one_in(100) {
            self.suspend(pause);
        } else {
            self.step_to(self.now.after(pause));
        }
        if self.random.one_in(20) {
            self.restart_from_text();
        }
        if self.exit.is_none() {
            self.somebody();
        }
    }

    /// Lets time pass, with everything at its moment.
    fn step_to(&mut self, end: Time) {
        while self.exit.is_none() {
            let own = self.supervisor.deadline();
            let plans = self.children.values().flat_map(|fake| &fake.plans).map(|(at, _)| *at);
            let fake = plans.chain(self.undead.values().filter_map(|end| *end)).min();
            let load = self.loading.as_ref().map(|(at, _)| *at);
            let trial = self.trial.as_ref().map(|(at, _)| *at);
            let Some(next) = [own, fake, load, trial].into_iter().flatten().min().filter(|next| *next <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            self.due();
        }
        self.now = self.now.max(end);
    }

    /// The machine sleeps: nothing runs in between, and nobody may lose time to it.
    fn suspend(&mut self, pause: Duration) {
        self.say(|| format!("suspended for {pause:?}"));
        self.now = self.now.after(pause);
        for fake in self.children.values_mut() {
            fake.leaving = fake.leaving.map(|(since, until)| (since, until.after(pause * 2)));
            fake.cut = fake.cut.map(|until| until.after(pause * 2));
            fake.plans.iter_mut().for_each(|(at, _)| *at = at.after(pause));
        }
        self.stop_by = self.stop_by.map(|by| by.after(pause * 2));
        self.trial = self.trial.take().map(|(at, result)| (at.after(pause), result));
        self.due();
    }

    /// Everything that is due now, in a random order of the four sources.
    fn due(&mut self) {
        let mut sources = [0, 1, 2, 3];
        sources.swap(0, self.random.below(4) as usize);
        for source in sources {
            match source {
                0 if self.supervisor.deadline().is_some_and(|deadline| deadline <= self.now) => {
                    self.say(|| "timeout".to_owned());
                    self.supervisor.on_timeout(self.now);
                    self.pump();
                    let stuck = self.supervisor.deadline().is_some_and(|deadline| deadline <= self.now);
                    assert!(!stuck, "on_timeout made no progress");
                }
                1 => self.due_deeds(),
                3 if self.trial.as_ref().is_some_and(|(at, _)| *at <= self.now) => {
                    let Some((_, result)) = self.trial.take() else { continue };
                    self.on(Input::Tried(result));
                }
                2 if self.loading.as_ref().is_some_and(|(at, _)| *at <= self.now) => {
                    let Some((_, answer)) = self.loading.take() else { continue };
                    match answer {
                        Ok(plan) => {
                            self.pending = Some(plan.clone());
                            self.on(Input::Loaded(plan));
                        }
                        Err(reason) => self.on(Input::Rejected { reason }),
                    }
                }
                _ => {}
            }
        }
    }

    fn due_deeds(&mut self) {
        let over = |(_, end): &(&ChildId, &Option<Time>)| end.is_some_and(|end| end <= self.now);
        for child in self.undead.iter().filter(over).map(|(child, _)| *child).collect::<Vec<_>>() {
            self.undead.remove(&child);
            self.on(Input::Exited { child, exit: Exit::Signal(9) });
            if self.exit.is_some() {
                return;
            }
        }
        while let Some((child, at)) = self.children.iter().find_map(|(child, fake)| {
            fake.plans.iter().position(|(at, _)| *at <= self.now).map(|position| (*child, position))
        }) {
            let Some(fake) = self.children.get_mut(&child) else { return };
            match fake.plans.swap_remove(at).1 {
                Deed::Born => {
                    fake.unborn = false;
                    let pool = fake.pool;
                    let fate = self.fate(child, pool);
                    self.children.get_mut(&child).expect("it lives").plans = fate;
                    self.on(Input::Forked { child, pid: child.0 as u32 });
                }
                Deed::Unborn => self.die(child, Exit::Code(1)),
                Deed::Ready => {
                    fake.ready = true;
                    self.on(Input::Ready { child });
                }
                Deed::Fail => {
                    let by = self.now.after(TERM_GRACE + REACTION);
                    fake.cut = None;
                    fake.leaving.get_or_insert((self.now, by));
                    self.on(Input::Failed { child, reason: "Traceback\nValueError: no".to_owned() });
                }
                Deed::Unfit => {
                    let by = self.now.after(TERM_GRACE + REACTION);
                    fake.cut = None;
                    fake.leaving.get_or_insert((self.now, by));
                    self.on(Input::Unready { child, reason: "GET /healthz answered 503".to_owned() });
                }
                Deed::Close => self.on(Input::Closed { child }),
                Deed::Idle => {
                    let by = self.now.after(LONGEST_STOP + REACTION);
                    fake.leaving = fake.leaving.map(|(since, until)| (since, until.min(by)));
                    self.on(Input::Idle { child });
                }
                Deed::Cut(how) => {
                    if fake.leaving.is_none() {
                        fake.cut.get_or_insert(self.now.after(CUT_GRACE + REACTION));
                    }
                    self.on(Input::Cut { child, how });
                }
                Deed::Exit(exit) => self.die(child, exit),
            }
        }
    }

    fn die(&mut self, child: ChildId, exit: Exit) {
        let fake = self.children.remove(&child).expect("reaped once");
        if fake.unborn {
            let reason = "its template failed".to_owned();
            self.supervisor.on(Input::Failed { child, reason: reason.clone() }, self.now);
            self.on(Input::ForkFailed { child, reason });
        } else {
            self.on(Input::Exited { child, exit });
        }
    }

    /// People, clients and bad luck.
    fn somebody(&mut self) {
        let wait = self.random.one_in(2);
        let prove = self.random.one_in(4);
        match self.random.below(40) {
            0..3 => self.on(Input::Signal(Signal::Hup)),
            3..6 => {
                let ticket = self.ticket();
                self.on(Input::Reload { ticket, wait, prove });
            }
            6..12 => self.demand(),
            12..14 => self.on(Input::Signal(Signal::Ttin)),
            14..16 => self.on(Input::Signal(Signal::Ttou)),
            16..19 => {
                if let Some(child) = self.any_child() {
                    self.die(child, Exit::Signal(9));
                }
            }
            19..21 => {
                if let Some(child) = self.any_child() {
                    let fake = &self.children[&child];
                    let (ready, pool, leaving) = (fake.ready, fake.pool, fake.leaving.is_some());
                    if ready && (1..DAEMONS).contains(&pool) && !leaving {
                        match self.random.below(3) {
                            0 => self.on(Input::Worn { child, reason: "max_requests".to_owned() }),
                            _ => self.on(Input::Stuck { child, reason: "GET /".to_owned() }),
                        }
                    }
                }
            }
            24..26 => {
                let name = NAMES[self.random.below(NAMES.len() as u64) as usize].to_owned();
                let (ticket, count) = (self.ticket(), self.random.below(6) as u32);
                let what = self.random.below(4);
                self.on(match what {
                    0 => Input::Scale { ticket, name, count },
                    1 => Input::Restart { ticket, name, why: "restart was asked for" },
                    2 => Input::StopOne { ticket, name },
                    _ => Input::StartOne { ticket, name },
                });
            }
            26..28 => self.on(Input::Signal(Signal::Usr2)),
            28 => self.on(Input::Executed(Err("nobody asked".to_owned()))),
            21 => self.on(Input::Activity { pool: 1, last: Time::ZERO }),
            29 => {
                if let Some(child) = self.any_child()
                    && self.children[&child].pool == 0
                    && self.children[&child].ready
                {
                    self.on(Input::Hung { child });
                }
            }
            30..32 => {
                let pool = 1 + self.random.below(4) as PoolIndex;
                self.on(Input::Edited { pool });
            }
            22 => self.on(Input::Exited { child: ChildId(u64::MAX), exit: Exit::Code(0) }),
            23 if self.random.one_in(8) => {
                self.supervisor.on_timeout(self.now);
                self.pump();
            }
            _ => {}
        }
    }

    /// Requests and connections.
    fn demand(&mut self) {
        let pool = self.random.below(5) as PoolIndex;
        self.on(Input::Wanted { pool });
        if self.watching || self.random.one_in(10) {
            self.on(Input::Readable);
        }
        if let Some(child) = self.any_child() {
            let load = [Load::Low, Load::Middle, Load::High, Load::High][self.random.below(4) as usize];
            self.on(Input::Load { child, load });
        }
    }

    /// Afterwards nothing fails any more, nobody asks, and the tree finds its shape.
    fn calm_down(&mut self) {
        self.health = Health::Good;
        self.say(|| "calm".to_owned());
        for child in self.children.keys().copied().collect::<Vec<_>>() {
            self.on(Input::Load { child, load: Load::Low });
        }
        self.step_to(self.now.after(Duration::from_secs(600)));
        if self.exit.is_some() {
            return;
        }
        // Some may just be replaced because their time is over.
        self.until(Duration::from_secs(60), |world| {
            let pools = world.supervisor.pools(world.now);
            pools.iter().flat_map(|pool| &pool.children).all(|child| child.state == "ready")
        });
        let mode = self.supervisor.mode();
        assert!(["running", "asleep"].contains(&mode), "still {mode}");
        assert!(self.unanswered.is_empty(), "no answer for {:?}", self.unanswered);
        assert!(self.started);
        let mut pools = self.supervisor.pools(self.now);
        // What does not die is remembered, and nothing else of such a pool is there.
        pools.retain(|pool| {
            pool.unkillable.is_empty() || self.current.pools.iter().any(|plan| plan.index == index(pool))
        });
        let listed: BTreeSet<PoolIndex> = self.current.pools.iter().map(|pool| pool.index).collect();
        assert_eq!(pools.iter().map(index).collect::<BTreeSet<_>>(), listed);
        for pool in &pools {
            assert!(pool.children.iter().all(|child| child.state == "ready"), "{pool:#?}");
            assert_eq!(pool.children.len(), pool.processes.0 as usize, "{pool:#?}");
            assert_eq!(pool.retry_in_ms, None);
            let old = index(pool) > 0
                && pool.children.iter().any(|child| child.generation > self.supervisor.generation());
            assert!(!old, "a process of a generation that never came: {pool:#?}");
            let serves = match pool.processes.0 {
                0 if index(pool) >= DAEMONS || pool.state == "stopped" => "stopped",
                0 => "asleep",
                _ => "ready",
            };
            assert_eq!(pool.state, serves, "{pool:#?}");
        }
        assert_eq!(mode == "asleep", pools[0].processes.0 == 0);
        let watched = |pool: &PoolPlan| pool.upkeep.max_rss.is_some() || pool.upkeep.max_lifetime.is_some();
        if !self.current.pools.iter().any(watched) {
            assert_eq!(self.supervisor.deadline(), None, "a calm tree waits for nothing");
        }
    }

    /// A stop from any state ends within its bound.
    fn stop(&mut self) {
        self.health = Health::Mixed;
        let bound = self.current.shutdown_timeout + DRAIN_GRACE;
        let fast = Duration::from_secs(1);
        let by = match self.random.below(5) {
            0 => {
                self.on(Input::Signal(Signal::Term));
                bound
            }
            1 => {
                self.on(Input::Signal(Signal::Int));
                fast
            }
            2 => {
                self.on(Input::Stop { fast: false });
                bound
            }
            3 => {
                self.on(Input::Stop { fast: true });
                fast
            }
            _ => {
                self.on(Input::Signal(Signal::Quit));
                let pause = Duration::from_millis(self.random.below(500));
                self.step_to(self.now.after(pause));
                self.on(Input::Signal(Signal::Term));
                fast
            }
        };
        self.stop_by.get_or_insert(self.now.after(by + REACTION));
        for _ in 0..200 {
            self.step();
        }
        self.step_to(self.now.after(bound + GIVE_UP + REACTION));
        assert!(self.exit.is_some(), "still {} children after the bound", self.children.len());
    }

    fn over(&mut self) -> &'static str {
        assert!(self.children.is_empty(), "left behind: {:?}", self.children.keys());
        assert!(self.unanswered.is_empty(), "no answer for {:?}", self.unanswered);
        assert_eq!(self.supervisor.deadline(), None);
        self.supervisor.on(Input::Signal(Signal::Hup), self.now);
        self.supervisor.on_timeout(self.now);
        assert_eq!(self.supervisor.poll(), None, "it goes on after its end");
        let code = self.exit.expect("it has ended");
        let left = self.supervisor.abandoned();
        let failed = !self.started || left > 0;
        assert!(code == 0 && left == 0 || code == 1 && failed, "exit {code}, started: {}", self.started);
        match code {
            0 => "stopped",
            _ if left > 0 => "stopped, but for what does not die",
            _ => "start failed",
        }
    }

    fn until(&mut self, bound: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now.after(bound);
        while !done(self) {
            assert!(self.now < end, "not within {bound:?}");
            self.step_to(self.now.after(Duration::from_millis(10)));
        }
    }

    /// State is plain data: it survives being written down at any moment.
    fn restart_from_text(&mut self) {
        let text = serde_json::to_string(&self.supervisor).expect("serialises");
        self.supervisor = serde_json::from_str(&text).expect("deserialises");
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.unanswered.insert(self.tickets);
        Ticket(self.tickets)
    }

    fn any_child(&mut self) -> Option<ChildId> {
        let count = self.children.len() as u64;
        let at = self.random.below(count.max(1)) as usize;
        self.children.keys().nth(at).copied()
    }

    fn on(&mut self, input: Input) {
        self.say(|| format!("{input:?}"));
        self.supervisor.on(input, self.now);
        self.pump();
    }

    /// Carries out everything that the supervisor says.
    fn pump(&mut self) {
        let mut count = 0;
        while let Some(output) = self.supervisor.poll() {
            count += 1;
            assert!(count < 10_000, "poll does not end");
            assert!(self.exit.is_none(), "after Exit: {output:?}");
            self.say(|| format!("    {output:?}"));
            self.perform(output);
        }
        if std::mem::take(&mut self.execute) {
            return self.become_another();
        }
        if self.exit.is_none() {
            let pools = self.supervisor.pools(self.now);
            self.published.retain(|known, _| pools.iter().any(|pool| index(pool) == *known));
            self.check();
        }
    }

    /// The program is replaced, or cannot be.
    fn become_another(&mut self) {
        assert_eq!(self.supervisor.mode(), "upgrading", "nothing is executed otherwise");
        self.restart_from_text();
        let generation = self.supervisor.generation();
        let fails = self.health == Health::Mixed && self.random.one_in(4);
        let result = if fails { Err("no such file".to_owned()) } else { Ok(()) };
        self.on(Input::Executed(result));
        assert_eq!(self.supervisor.generation() > generation, !fails, "a new program is a new generation");
    }

    /// The new program is tried: it may say no, or nothing in time.
    fn begin_trial(&mut self) {
        assert!(self.trial.is_none() && self.loading.is_none(), "one operation at a time");
        let says = if self.health == Health::Mixed { self.random.below(4) } else { 0 };
        let bound = if says == 1 { 60_000 } else { 3000 };
        let at = self.now.after(Duration::from_millis(self.random.below(bound)));
        let result = if says == 2 { Err("exit 1".to_owned()) } else { Ok(()) };
        self.trial = Some((at, result));
    }

    /// An upgrade that went well leaves no worker of the old program that serves or comes.
    fn upgraded(&self) {
        assert!(self.trial.is_none());
        if self.supervisor.last_upgrade_error().is_none() {
            let pools = self.supervisor.pools(self.now);
            let old = pools[0]
                .children
                .iter()
                .find(|child| is_coming(child) && child.generation < self.supervisor.generation());
            assert!(old.is_none(), "{old:?}");
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Spawn { child, pool, slot, gate, .. } => self.spawn(child, pool, slot, gate),
            Output::Open { child } => {
                let fake = self.children.get_mut(&child).expect("only the living are opened");
                // Nothing is heard from a daemon: it is ready because it lives.
                fake.ready |= fake.pool >= DAEMONS;
                assert!(
                    fake.ready && !fake.opened && fake.leaving.is_none(),
                    "{child:?} is opened out of turn"
                );
                fake.opened = true;
            }
            Output::Drain { child, within, .. } => self.drain(child, within),
            Output::Kill { child, how } => self.kill(child, how),
            Output::Abandon { child } => self.give_up(child),
            Output::Watch(watch) => {
                assert_ne!(watch, self.watching, "said twice");
                self.watching = watch;
            }
            Output::Sample { pool } => {
                let busy = self.health == Health::Mixed && self.random.one_in(2);
                let last = if busy { self.now } else { Time::ZERO };
                if self.random.below(10) > 0 || self.health == Health::Good {
                    self.say(|| format!("Activity of {pool}: {last:?}"));
                    self.supervisor.on(Input::Activity { pool, last }, self.now);
                }
            }
            Output::Measure { child } => {
                assert!(self.children[&child].opened, "only what serves is measured");
                let rss = self.random.below(if self.health == Health::Good { 100 } else { 110 });
                self.supervisor.on(Input::Measured { child, rss }, self.now);
            }
            Output::Inspect { child } => assert!(self.children.contains_key(&child)),
            Output::Reload { child } => {
                let fake = &self.children[&child];
                assert!(fake.pool >= DAEMONS && fake.ready && fake.leaving.is_none());
            }
            Output::Publish { pool, state } => {
                assert!((1..DAEMONS).contains(&pool), "nobody asks for {pool}");
                self.published.insert(pool, state);
            }
            Output::Load => {
                assert!(self.loading.is_none() && self.pending.is_none(), "one reload at a time");
                let answer = if self.random.one_in(5) && self.health == Health::Mixed {
                    Err("hatchery.ron:1:1: no".to_owned())
                } else {
                    Ok(self.random.plan(Some(&self.current)))
                };
                self.loading = Some((self.now.after(Duration::from_millis(self.random.below(1000))), answer));
            }
            Output::Switch { .. } => self.current = self.pending.take().expect("a plan to switch to"),
            Output::Discard => drop(self.pending.take().expect("a plan to discard")),
            Output::Answer { ticket, .. } => {
                assert!(self.unanswered.remove(&ticket.0), "{ticket:?} is answered twice")
            }
            Output::Started => {
                assert!(!self.started);
                self.started = true;
            }
            Output::Stopping => assert!(self.exit.is_none()),
            Output::Exit { code } => {
                assert!(self.children.is_empty());
                self.exit = Some(code);
            }
            Output::Try => self.begin_trial(),
            Output::GiveUp => drop(self.trial.take().expect("a trial to give up")),
            Output::Execute => self.execute = true,
            Output::Upgraded => self.upgraded(),
            Output::Trouble { pool } => assert!((1..DAEMONS).contains(&pool)),
            Output::Rearm | Output::Renewed | Output::Note { .. } => {}
        }
    }

    fn give_up(&mut self, child: ChildId) {
        let fake = self.children.remove(&child).expect("given up once");
        let deaf = fake.deaf.expect("only what KILL has not ended is given up");
        let end = deaf.map(|time| self.now.after(time));
        self.undead.insert(child, end);
    }

    fn spawn(&mut self, child: ChildId, pool: PoolIndex, slot: u16, gate: Option<u16>) {
        // Decided before the stop, and its end already with it.
        let pools = self.supervisor.pools(self.now);
        let view = pools.iter().find(|view| index(view) == pool).expect("its pool is there");
        let known = view.children.iter().find(|known| known.number == slot);
        let ends = known.is_some_and(|known| ["draining", "killing"].contains(&known.state.as_str()));
        assert!(self.supervisor.mode() != "stopping" || ends, "nothing starts during a stop");
        assert!(
            view.state != "stopped" || self.supervisor.mode() == "reloading" || ends,
            "it is stopped by hand"
        );
        assert!(child.0 > self.last_child, "{child:?} was used before");
        self.last_child = child.0;
        let twin = self.children.values().any(|fake| (fake.pool, fake.slot) == (pool, slot));
        assert!(!twin, "slot {slot} of pool {pool} is taken");
        *self.spawns.entry((pool, slot)).or_insert(0) += 1;
        // Whoever boots beside a full pool is to take the place of a worn one.
        let count = |state: &str| view.children.iter().filter(|child| child.state == state).count();
        let beside = count("booting") == 1 && count("ready") >= view.processes.1 as usize;
        if beside && self.supervisor.mode() == "running" && (1..DAEMONS).contains(&pool) {
            let most = view.processes.1 as usize + 1;
            assert!(view.children.len() <= most, "more than {most} processes: {view:#?}");
        }
        if self.health != Health::Good && self.random.one_in(40) {
            self.say(|| "fork failed".to_owned());
            return self.supervisor.on(Input::ForkFailed { child, reason: "EAGAIN".to_owned() }, self.now);
        }
        let fake = Fake {
            pool,
            slot,
            gate: gate.is_some(),
            unborn: false,
            ready: false,
            opened: false,
            leaving: None,
            cut: None,
            deaf: None,
            plans: Vec::new(),
        };
        if gate.is_some() {
            let other = self.children.values().any(|other| other.pool == pool && other.gate);
            assert!(!other, "two gates of pool {pool} run at a time");
            let fails =
                self.health == Health::Broken || (self.health == Health::Mixed && self.random.one_in(4));
            let bound = if fails { 60_000 } else { 500 };
            let at = self.now.after(Duration::from_millis(self.random.below(bound)));
            let plans = vec![(at, Deed::Exit(Exit::Code(i32::from(fails))))];
            self.children.insert(child, Fake { plans, ..fake });
            return self.supervisor.on(Input::Forked { child, pid: child.0 as u32 }, self.now);
        }
        if (1..DAEMONS).contains(&pool) && self.random.one_in(4) {
            let fails = self.health != Health::Good && self.random.one_in(4);
            let at = self.now.after(Duration::from_millis(self.random.below(500)));
            let plans = vec![(at, if fails { Deed::Unborn } else { Deed::Born })];
            self.children.insert(child, Fake { unborn: true, plans, ..fake });
            return;
        }
        let plans = self.fate(child, pool);
        self.children.insert(child, Fake { plans, ..fake });
        self.supervisor.on(Input::Forked { child, pid: child.0 as u32 }, self.now);
    }

    /// What a process will do.
    fn fate(&mut self, child: ChildId, pool: PoolIndex) -> Vec<(Time, Deed)> {
        let soon = self.now.after(Duration::from_millis(self.random.below(300)));
        let later = self.now.after(Duration::from_millis(self.random.below(60_000)));
        let chance = match self.health {
            Health::Good | Health::Deaf => 99,
            Health::Mixed => self.random.below(100),
            Health::Broken => self.random.below(12),
        };
        match chance {
            _ if pool >= DAEMONS => self.daemon_spawned(child, pool, chance, soon, later),
            0..6 => vec![(soon, Deed::Exit(Exit::Code(1)))],
            6 => vec![(soon, Deed::Unfit)],
            7..11 => vec![(soon, Deed::Fail), (soon.after(REACTION), Deed::Exit(Exit::Code(1)))],
            11 => vec![(soon, Deed::Fail)],
            12..15 => vec![],
            15..20 => vec![(later, Deed::Ready)],
            20..30 => vec![(soon, Deed::Ready), (later, Deed::Exit(Exit::Signal(11)))],
            30..34 => vec![
                (soon, Deed::Ready),
                (later, Deed::Cut(Break::Closed)),
                (later.after(REACTION), Deed::Exit(Exit::Signal(11))),
            ],
            34..38 => vec![(soon, Deed::Ready), (later, Deed::Cut(Break::Closed))],
            38..40 => vec![(soon, Deed::Ready), (later, Deed::Cut(Break::Garbled))],
            40 => vec![(soon, Deed::Cut(Break::Closed)), (later, Deed::Ready)],
            _ => vec![(soon, Deed::Ready)],
        }
    }

    /// A daemon runs, or ends sooner or later. Unless it may, it never runs beside another one in its place.
    fn daemon_spawned(
        &self,
        child: ChildId,
        pool: PoolIndex,
        chance: u64,
        soon: Time,
        later: Time,
    ) -> Vec<(Time, Deed)> {
        let plan = self.current.pools.iter().find(|plan| plan.index == pool).expect("a pool of the plan");
        let view =
            self.supervisor.pools(self.now).into_iter().find(|view| index(view) == pool).expect("its pool");
        let others = self.children.values().filter(|fake| fake.pool == pool).count() as u32;
        // One that cannot boot ends before it counts as ready, which may be soon.
        let soon = if self.health == Health::Broken { self.now.after(REACTION) } else { soon };
        let exclusive = plan.daemon.as_ref().is_some_and(|daemon| !daemon.overlap);
        assert!(!exclusive || others < view.processes.1, "{child:?} runs beside {others} others: {view:#?}");
        match chance {
            0..6 => vec![(soon, Deed::Exit(Exit::Code(1)))],
            6..9 => vec![(soon, Deed::Fail), (soon.after(REACTION), Deed::Exit(Exit::Code(127)))],
            // As one that goes to the background, also when it counts as ready already.
            9 => vec![(soon, Deed::Exit(Exit::Code(0)))],
            10..12 => vec![(soon.after(Duration::from_secs(2)), Deed::Exit(Exit::Code(0)))],
            30..34 => vec![(later, Deed::Exit(Exit::Code(0)))],
            12..30 => vec![(later, Deed::Exit(Exit::Signal(11)))],
            _ => vec![],
        }
    }

    fn drain(&mut self, child: ChildId, within: Duration) {
        let leaves = self.health == Health::Good || self.random.below(10) > 0;
        let pause = self.random.below(within.as_millis() as u64 + 1)
            / if self.health == Health::Good { 100 } else { 1 };
        let at = self.now.after(Duration::from_millis(pause));
        let by = self.now.after(within + DRAIN_GRACE + TERM_GRACE + REACTION);
        let fake = self.children.get_mut(&child).expect("only the living are drained");
        fake.leaving = Some(match fake.leaving {
            Some((since, until)) => (since, until.min(by)),
            None => (self.now, by),
        });
        fake.cut = None;
        fake.plans.retain(|(_, deed)| matches!(deed, Deed::Exit(_)));
        if (1..DAEMONS).contains(&fake.pool) {
            fake.plans.push((self.now.after(Duration::from_millis(pause / 2)), Deed::Idle));
        }
        if leaves {
            if fake.pool == 0 {
                fake.plans.push((self.now.after(Duration::from_millis(pause / 2)), Deed::Close));
            }
            fake.plans.push((at, Deed::Exit(Exit::Code(0))));
        }
    }

    fn kill(&mut self, child: ChildId, how: Kill) {
        if self.children.get(&child).is_some_and(|fake| fake.unborn) {
            // Nobody is there who would have to leave.
            self.children.remove(&child);
            let reason = "not wanted any more".to_owned();
            return self.supervisor.on(Input::ForkFailed { child, reason }, self.now);
        }
        let obeys = how == Kill::Kill || self.health == Health::Good || self.random.below(5) > 0;
        if self.is_deaf(how) {
            return self.ignore_kill(child);
        }
        let at = self.now.after(REACTION / 2);
        let fake = self.children.get_mut(&child).expect("only the living are killed");
        let grace = match how {
            Kill::Abort => ABORT_GRACE,
            _ if fake.pool < DAEMONS => TERM_GRACE,
            _ => TERM_GRACE.max(LONGEST_STOP),
        };
        let by = self.now.after(if how == Kill::Kill { REACTION } else { grace + REACTION });
        fake.leaving = Some(match fake.leaving {
            Some((since, until)) => (since, until.min(by)),
            None => (self.now, by),
        });
        fake.cut = None;
        fake.plans.retain(|(_, deed)| matches!(deed, Deed::Exit(_)));
        if obeys {
            fake.plans.push((at, Deed::Exit(Exit::Signal(15))));
        }
    }

    /// Whether the signal ends nothing: the process waits in the kernel, or is traced.
    fn is_deaf(&mut self, how: Kill) -> bool {
        match self.health {
            Health::Deaf => true,
            // So few that no pool comes to its bound.
            Health::Mixed => {
                how == Kill::Kill && self.undead.len() < MOST_ABANDONED - 1 && self.random.one_in(10)
            }
            Health::Good | Health::Broken => false,
        }
    }

    fn ignore_kill(&mut self, child: ChildId) {
        let time = Duration::from_millis(self.random.below(60_000));
        let ends = self.health != Health::Deaf && !self.random.one_in(3);
        let by = self.now.after(GIVE_UP + REACTION);
        let fake = self.children.get_mut(&child).expect("only the living are killed");
        let since = fake.leaving.map_or(self.now, |(since, _)| since);
        (fake.leaving, fake.deaf) = (Some((since, by.after(TERM_GRACE))), Some(ends.then_some(time)));
        fake.plans.clear();
        // It may end a moment before it is given up.
        if ends && self.random.one_in(4) {
            fake.plans.push((self.now.after(time / 15), Deed::Exit(Exit::Signal(9))));
        }
        self.stop_by = self.stop_by.map(|stop| stop.max(by));
    }

    /// What holds at every moment.
    fn check(&self) {
        let pools = self.supervisor.pools(self.now);
        let stopping = self.supervisor.mode() == "stopping";
        let known: BTreeSet<(PoolIndex, u16, u32)> = pools
            .iter()
            .flat_map(|pool| pool.children.iter().map(|child| (index(pool), child.number, child.pid)))
            .collect();
        // The process id of a fake is its name.
        let pid = |child: ChildId, fake: &Fake| if fake.unborn { 0 } else { child.0 as u32 };
        let living = self.children.iter().map(|(child, fake)| (fake.pool, fake.slot, pid(*child, fake)));
        assert_eq!(known, living.collect(), "the supervisor knows exactly the living");
        let abandoned: BTreeSet<ChildId> = pools
            .iter()
            .flat_map(|pool| &pool.unkillable)
            .map(|known| ChildId(u64::from(known.pid)))
            .collect();
        assert_eq!(abandoned, self.undead.keys().copied().collect(), "and exactly those that do not die");
        for pool in &pools {
            self.check_pool(pool, stopping);
        }
        for (child, fake) in &self.children {
            if let Some((_, until)) = fake.leaving {
                assert!(self.now <= until, "{child:?} should have left by {until:?}");
            }
            if let Some(until) = fake.cut {
                assert!(self.now <= until, "{child:?} should have been told to go by {until:?}");
            }
        }
        // One that KILL has not ended is given up some seconds after it, if it was sent before the stop, too.
        let deaf = self.children.values().filter(|fake| fake.deaf.is_some());
        let deaf = deaf.filter_map(|fake| fake.leaving.map(|(_, until)| until)).max();
        if let Some(by) = self.stop_by {
            assert!(self.now <= deaf.map_or(by, |deaf| deaf.max(by)), "not empty within the bound of a stop");
        }
        self.check_watch(&pools[0], stopping);
    }

    fn check_pool(&self, pool: &PoolStatus, stopping: bool) {
        let at = index(pool);
        let coming = pool.children.iter().filter(|child| is_coming(child)).count();
        let next = self.pending.iter().flat_map(|plan| &plan.pools).find(|next| next.index == at);
        // One more may boot to take the place of a worn one.
        let bound = pool.processes.1 + next.map_or(0, |next| next.processes.max) + pool.worn.min(1);
        assert!(coming as u32 <= bound, "{coming} of at most {bound}: {pool:#?}");
        if at == 0 || at >= DAEMONS {
            return;
        }
        let open =
            self.children.values().any(|fake| fake.pool == at && fake.opened && fake.leaving.is_none());
        let published = self.published.get(&at);
        assert_eq!(published == Some(&PoolState::Serving), open, "{published:?}: {pool:#?}");
        if !stopping && published.is_some() {
            let (state, retry) = match published {
                Some(PoolState::Serving) => ("ready", None),
                Some(PoolState::Booting) => ("starting", None),
                Some(PoolState::Stopped) => ("stopped", None),
                Some(PoolState::Failed { retry }) => ("failed", Some(*retry)),
                Some(PoolState::Asleep) | None => ("asleep", None),
            };
            assert_eq!(pool.state, state, "{published:?}: {pool:#?}");
            // Of one that has left the plan nothing more is tried.
            let soon = retry.map(|retry| retry.since(self.now).as_millis() as u64);
            assert!(
                pool.retry_in_ms.is_none() || soon.is_none_or(|soon| pool.retry_in_ms == Some(soon)),
                "{pool:#?}"
            );
        }
    }

    /// A client that connects always finds a worker, one that comes, or the master watching.
    fn check_watch(&self, workers: &PoolStatus, stopping: bool) {
        let coming = workers.children.iter().any(is_coming);
        if self.watching {
            assert!(!stopping);
            let serving =
                self.children.values().any(|fake| fake.pool == 0 && fake.opened && fake.leaving.is_none());
            assert!(!serving, "watching beside a worker that accepts");
            let busy = self.children.values().filter(|fake| fake.pool == 0 && fake.opened).any(|fake| {
                fake.leaving.is_some_and(|(since, _)| self.now.since(since) < Duration::from_secs(1))
            });
            assert!(!busy, "watching beside a worker that may still accept");
        } else if !stopping && self.started {
            let leaving = !workers.children.is_empty();
            assert!(coming || leaving || workers.retry_in_ms.is_some(), "nobody would notice a client");
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.log.len() >= 400 {
            self.log.drain(..200);
        }
        self.log.push(format!("{:>14.3} {}", self.now.0 as f64 / 1e9, line()));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.log.len().saturating_sub(80);
            eprintln!("{}\n^ the last steps of HATCHERY_SEED={}", self.log[last..].join("\n"), self.seed);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(from + self.below(to - from))
    }

    /// A configuration; with the current one sometimes the same again.
    fn plan(&mut self, current: Option<&Plan>) -> Plan {
        if let Some(current) = current.filter(|_| self.one_in(3)) {
            return Plan { workers_changed: false, ..current.clone() };
        }
        let mut pools = vec![self.pool(0)];
        for index in 1..4 {
            if self.one_in(2) {
                pools.push(self.pool(index));
            }
        }
        for index in DAEMONS..DAEMONS + 3 {
            if self.one_in(2) {
                let after = pools[1..].iter().map(|pool| pool.index).filter(|_| self.one_in(2)).collect();
                pools.push(self.daemon(index, after));
            }
        }
        Plan {
            pools,
            workers_changed: true,
            shutdown_timeout: self.seconds(1, 30),
            drain_timeout: self.seconds(1, 60),
            later: Vec::new(),
            all_or_nothing: self.one_in(4),
        }
    }

    fn daemon(&mut self, index: PoolIndex, after: Vec<PoolIndex>) -> PoolPlan {
        let count = 1 + self.below(3) as u32;
        let on_reload = [OnReload::Keep, OnReload::Replace, OnReload::Signal][self.below(3) as usize];
        let stop_timeout = self.seconds(1, LONGEST_STOP.as_secs());
        PoolPlan {
            index,
            name: NAMES[usize::from(index - DAEMONS) + 4].to_owned(),
            processes: Processes { min: count, max: count },
            most: 8,
            upkeep: Upkeep {
                boot_timeout: Duration::from_millis(100 + self.below(3000)),
                stop_timeout,
                ..Upkeep::default()
            },
            daemon: Some(DaemonPlan { after, overlap: self.one_in(3), on_reload }),
            ..PoolPlan::default()
        }
    }

    fn pool(&mut self, index: PoolIndex) -> PoolPlan {
        let min = self.below(4) as u32;
        let more = if self.one_in(2) { 0 } else { self.below(4) as u32 };
        PoolPlan {
            index,
            name: ["worker", "shop", "blog", "wiki"][usize::from(index)].to_owned(),
            processes: Processes { min, max: (min + more).max(1) },
            most: 8,
            upkeep: Upkeep {
                idle: self.seconds(1, 60),
                boot_timeout: self.seconds(1, 30),
                stop_timeout: self.seconds(1, LONGEST_STOP.as_secs()),
                prove: index > 0 && self.one_in(3),
                max_rss: (index > 0 && self.one_in(3)).then_some(100),
                max_lifetime: (index > 0 && self.one_in(3)).then(|| self.seconds(10, 200)),
            },
            before: ["one", "two"][..if index > 0 { self.below(5).saturating_sub(2) as usize } else { 0 }]
                .iter()
                .map(|command| (*command).to_owned())
                .collect(),
            ready_timeout: self.seconds(0, 10),
            watched: index > 0 && self.one_in(5),
            kept: index > 0 && self.one_in(4),
            daemon: None,
        }
    }
}

/// The number of a pool that `status` shows.
fn index(pool: &PoolStatus) -> PoolIndex {
    let at = NAMES.iter().position(|name| *name == pool.name).unwrap_or(0) as PoolIndex;
    if at < 4 { at } else { DAEMONS + at - 4 }
}

fn is_coming(child: &ChildStatus) -> bool {
    ["booting", "ready"].contains(&child.state.as_str())
}
