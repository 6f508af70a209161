//! All orders of atomic steps of two workers and a master around one process; of a liar, who writes one word of a unit at
//! any moment, too.

mod ahead;

use super::board::{Freed, Lease, Rows};
use super::layout::{self, Address, OwnAt, PoolWord};
use super::steps::{Found, Hand, How, Machine, Mark, Memory, Take, Withdraw};
use super::sweep::{Change, Doubt, Look, Remedy};
use super::word::{NOBODY, Unit, UnitState, let_go};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::task::Poll;

const POOL: u16 = 0;

/// The words that were ever written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Words(BTreeMap<usize, u64>);

impl Words {
    fn set(&mut self, at: impl Address, value: u64) {
        self.0.insert(at.index(), value);
    }
}

impl Memory for Words {
    fn load(&mut self, at: impl Address) -> u64 {
        self.0.get(&at.index()).copied().unwrap_or(0)
    }
    fn store(&mut self, at: OwnAt, value: u64) {
        self.set(at, value);
    }
    fn exchange(&mut self, at: layout::UnitAt, seen: u64, value: u64) -> bool {
        let same = self.load(at) == seen;
        if same {
            self.set(at, value);
        }
        same
    }
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// Looking for a unit, with its head published.
    Waiting(Take),
    /// Asleep until poked; or its client goes, if that is possible.
    Parked,
    /// It has a unit and nothing else waits: withdraws its head before it runs the request.
    Withdrawing(Withdraw, Option<Lease>),
    /// The request runs on the unit.
    Running(Lease),
    Freeing(Hand),
    /// It has freed the unit, and says so.
    Freed,
    /// Of a worker that sends requests ahead.
    Ahead(ahead::Step),
    Done,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Worker {
    row: u16,
    /// Requests in its queue.
    queue: u8,
    /// Its clients may give up.
    impatient: bool,
    mortal: bool,
    /// It sends requests ahead.
    ahead: Option<ahead::Ahead>,
    doing: Doing,
}

/// What the master does, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Duty {
    Leave(Mark),
    /// Once no request runs: closes the process.
    Close,
    /// The slot belongs to that process.
    Header(u32),
    Open(u32),
    Offer(Hand),
    /// Once the worker of that row is dead.
    Reap(u16),
    Reaping(Withdraw),
    /// The host says FREE for the dead worker.
    Report(u16),
    Reporting(Hand),
    /// Looks at every unit, from this one on.
    Sweep(u16),
    Looking(u16, Look),
    Changing(u16, Change),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    words: Words,
    workers: Vec<Worker>,
    duties: Vec<Duty>,
    /// Rows that were poked.
    poked: u8,
    left: bool,
    /// What a liar may still write, and whether one has.
    lie: Option<u64>,
    lied: bool,
    /// So often the master may still look when nothing else happens any more.
    ticks: u8,
    /// What the last sweep has seen of each unit.
    doubts: BTreeMap<u16, Doubt>,
}

fn unit_at(thread: u16) -> layout::UnitAt {
    layout::unit(POOL, 0, thread).unwrap()
}

fn held_at(row: u16) -> OwnAt {
    layout::held(POOL, row).unwrap()
}

impl World {
    fn new(queues: [u8; 2], threads: u16) -> Self {
        let mut words = Words::default();
        words.set(layout::ROWS_USED, 2);
        words.set(layout::pool(POOL, PoolWord::SlotsUsed).unwrap(), 1);
        words.set(layout::slot(POOL, 0).unwrap(), 1 << 32 | u64::from(threads));
        for thread in 0..threads {
            words.set(unit_at(thread), Unit::new(1, UnitState::Idle, NOBODY).encode());
        }
        let workers = (0..).zip(queues).map(|(row, queue)| Worker {
            row,
            queue,
            impatient: false,
            mortal: false,
            ahead: None,
            doing: if queue == 0 { Doing::Done } else { Doing::Waiting(wait(row, 0)) },
        });
        let workers = workers.collect();
        let (duties, doubts) = (Vec::new(), BTreeMap::new());
        Self { words, workers, duties, poked: 0, left: false, lie: None, lied: false, ticks: 0, doubts }
    }

    /// A worker begins to wait.
    fn wait(&mut self, row: u16) -> Doing {
        Doing::Waiting(wait(row, self.words.load(held_at(row))))
    }

    fn freed(&mut self, freed: Freed) {
        match freed {
            Freed::Offered(row) => self.poked |= 1 << row,
            Freed::Left => self.left = true,
            Freed::Idle | Freed::Stale => {}
        }
    }

    /// Every world that can follow by one step.
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for index in 0..self.workers.len() {
            self.worker_steps(index, &mut next);
        }
        let mut world = self.clone();
        if world.master_step() {
            next.push(world);
        }
        let mut world = self.clone();
        if let Some(word) = world.lie.take() {
            world.words.set(unit_at(0), word);
            world.lied = true;
            next.push(world);
        }
        if next.is_empty() && self.ticks > 0 {
            let mut world = self.clone();
            world.ticks -= 1;
            world.duties = vec![Duty::Sweep(0)];
            next.push(world);
        }
        next
    }

    fn worker_steps(&self, index: usize, next: &mut Vec<Self>) {
        let worker = &self.workers[index];
        if worker.mortal && !matches!(worker.doing, Doing::Done | Doing::Dead) {
            let mut world = self.clone();
            world.workers[index].doing = Doing::Dead;
            next.push(world);
        }
        if worker.impatient && worker.doing == Doing::Parked {
            let mut world = self.clone();
            world.workers[index].queue = 0;
            world.workers[index].doing = Doing::Withdrawing(Withdraw::new(POOL, worker.row, false), None);
            next.push(world);
        }
        let mut world = self.clone();
        let doing = std::mem::replace(&mut world.workers[index].doing, Doing::Done);
        if let Some(doing) = world.advance(index, doing) {
            world.workers[index].doing = doing;
            next.push(world);
        }
        self.run_ahead(index, next);
    }

    fn advance(&mut self, index: usize, doing: Doing) -> Option<Doing> {
        let row = self.workers[index].row;
        Some(match doing {
            Doing::Done | Doing::Dead => return None,
            Doing::Parked if self.poked >> row & 1 == 0 => return None,
            Doing::Parked => {
                self.poked &= !(1 << row);
                if self.workers[index].ahead.is_some() {
                    Doing::Ahead(self.fill(index))
                } else {
                    self.wait(row)
                }
            }
            Doing::Ahead(step) => return self.advance_ahead(index, step),
            Doing::Waiting(mut take) => match take.step(&mut self.words) {
                Poll::Pending => Doing::Waiting(take),
                Poll::Ready(None) => Doing::Parked,
                Poll::Ready(Some(lease)) => {
                    self.workers[index].queue -= 1;
                    match self.workers[index].queue {
                        0 => Doing::Withdrawing(Withdraw::new(POOL, row, false), Some(lease)),
                        _ => Doing::Running(lease),
                    }
                }
            },
            Doing::Withdrawing(mut withdraw, lease) => match withdraw.step(&mut self.words) {
                Poll::Pending => Doing::Withdrawing(withdraw, lease),
                Poll::Ready(poke) => {
                    poke.iter().for_each(|row| self.poked |= 1 << row);
                    lease.map_or(Doing::Done, Doing::Running)
                }
            },
            Doing::Running(lease) => {
                Doing::Freeing(Hand::owned(lease, unit_at(lease.thread), UnitState::Claimed, row))
            }
            Doing::Freeing(mut hand) => match hand.step(&mut self.words) {
                Poll::Pending => Doing::Freeing(hand),
                Poll::Ready(freed) => {
                    self.freed(freed);
                    Doing::Freed
                }
            },
            Doing::Freed => {
                let held = self.words.load(held_at(row));
                self.words.store(held_at(row), let_go(held));
                if self.workers[index].queue == 0 { Doing::Done } else { self.wait(row) }
            }
        })
    }

    /// One step of the master's next duty; `false` if it must wait.
    fn master_step(&mut self) -> bool {
        if self.duties.is_empty() {
            return false;
        }
        let unit = Unit::decode(self.words.load(unit_at(0)));
        let follow = match self.duties.remove(0) {
            Duty::Leave(mut mark) => mark.step(&mut self.words).is_pending().then_some(Duty::Leave(mark)),
            Duty::Close if unit.is_running() => return false,
            Duty::Close => {
                self.words.set(unit_at(0), unit.to(UnitState::Gone, NOBODY).encode());
                None
            }
            Duty::Header(incarnation) => {
                self.words.set(layout::slot(POOL, 0).unwrap(), u64::from(incarnation) << 32 | 1);
                Some(Duty::Open(incarnation))
            }
            Duty::Open(incarnation) => {
                let idle = Unit::new(incarnation, UnitState::Idle, NOBODY);
                self.words.set(unit_at(0), idle.encode());
                Some(Duty::Offer(Hand::loose(POOL, unit_at(0), idle)))
            }
            Duty::Offer(mut hand) => match hand.step(&mut self.words) {
                Poll::Pending => Some(Duty::Offer(hand)),
                Poll::Ready(freed) => {
                    self.freed(freed);
                    None
                }
            },
            Duty::Reap(row) if self.workers[usize::from(row)].doing != Doing::Dead => return false,
            Duty::Reap(row) => Some(Duty::Reaping(Withdraw::new(POOL, row, true))),
            Duty::Reaping(mut withdraw) => match withdraw.step(&mut self.words) {
                Poll::Pending => Some(Duty::Reaping(withdraw)),
                Poll::Ready(poke) => {
                    poke.iter().for_each(|row| self.poked |= 1 << row);
                    let dead: Vec<u16> = (0..2).filter(|row| !self.lives(*row)).collect();
                    dead.into_iter().for_each(|row| self.words.set(held_at(row), 0));
                    None
                }
            },
            Duty::Report(row) => {
                let lease = Lease { pool: POOL, slot: 0, thread: 0, incarnation: unit.incarnation };
                Some(Duty::Reporting(Hand::owned(lease, unit_at(0), UnitState::Orphaned, row)))
            }
            Duty::Reporting(mut hand) => match hand.step(&mut self.words) {
                Poll::Pending => Some(Duty::Reporting(hand)),
                Poll::Ready(freed) => {
                    self.freed(freed);
                    None
                }
            },
            Duty::Sweep(thread) => self.sweep(thread),
            Duty::Looking(thread, mut look) => match look.step(&mut self.words) {
                Poll::Pending => Some(Duty::Looking(thread, look)),
                Poll::Ready(None) => {
                    self.doubts.remove(&thread);
                    self.next_look(thread)
                }
                Poll::Ready(Some(doubt)) => self.remedy(thread, doubt),
            },
            Duty::Changing(thread, mut change) => match change.step(&mut self.words) {
                Poll::Pending => Some(Duty::Changing(thread, change)),
                Poll::Ready(freed) => {
                    self.freed(freed);
                    self.next_look(thread)
                }
            },
        };
        if let Some(duty) = follow {
            self.duties.insert(0, duty);
        }
        true
    }

    fn lives(&self, row: u16) -> bool {
        self.workers[usize::from(row)].doing != Doing::Dead
    }

    /// What the master's sweep does with one unit; the rule is in `Sweep::look`.
    fn sweep(&mut self, thread: u16) -> Option<Duty> {
        let word = self.words.load(unit_at(thread));
        let found = Found { slot: 0, thread, incarnation: self.incarnation(), at: unit_at(thread) };
        let alive = Rows::of((0..2).filter(|row| self.lives(*row)));
        Some(Duty::Looking(thread, Look::new(POOL, found, word, alive, false)))
    }

    fn incarnation(&mut self) -> u32 {
        (self.words.load(layout::slot(POOL, 0).unwrap()) >> 32) as u32
    }

    fn next_look(&mut self, thread: u16) -> Option<Duty> {
        let threads = self.words.load(layout::slot(POOL, 0).unwrap()) as u16;
        (thread + 1 < threads).then_some(Duty::Sweep(thread + 1))
    }

    fn remedy(&mut self, thread: u16, doubt: Doubt) -> Option<Duty> {
        if self.doubts.get(&thread) != Some(&doubt) {
            self.doubts.insert(thread, doubt);
            return self.next_look(thread);
        }
        self.doubts.remove(&thread);
        match doubt.remedy {
            Remedy::Poke(row) => {
                self.poked |= 1 << row;
                self.next_look(thread)
            }
            Remedy::Change(unit) => {
                Some(Duty::Changing(thread, Change::new(POOL, unit_at(thread), doubt.word, unit)))
            }
            // The host is idle, as nobody runs anything for ever here.
            Remedy::Ask(row) => {
                let lease = Lease { pool: POOL, slot: 0, thread, incarnation: self.incarnation() };
                let runs = |worker: &Worker| {
                    let ahead = |ahead: &ahead::Ahead| ahead.held.iter().any(|(held, _)| *held == lease);
                    let runs = matches!(&worker.doing, Doing::Running(running) if *running == lease);
                    worker.row == row && (runs || worker.ahead.as_ref().is_some_and(ahead))
                };
                let asked = self.workers.iter().any(runs);
                if asked {
                    return self.next_look(thread);
                }
                Some(Duty::Reporting(Hand::owned(lease, unit_at(thread), UnitState::Orphaned, row)))
            }
        }
    }

    /// Holds at every moment.
    fn check(&self, path: impl Fn() -> String) {
        if self.lied {
            // A host runs one request at a time in a unit: the other waits.
            return;
        }
        let mut held = HashSet::new();
        for worker in &self.workers {
            let ahead = worker.ahead.iter().flat_map(|ahead| ahead.held.iter().map(|(lease, _)| *lease));
            let runs = match &worker.doing {
                Doing::Dead => continue,
                Doing::Running(lease) | Doing::Withdrawing(_, Some(lease)) => Some(*lease),
                _ => None,
            };
            for lease in ahead.chain(runs) {
                assert!(held.insert(lease), "two requests on one unit\n{}", path());
            }
        }
    }

    /// Holds when nothing can happen any more.
    fn check_end(&mut self, threads: u16, path: impl Fn() -> String) {
        for worker in &self.workers {
            assert!(
                matches!(worker.doing, Doing::Done | Doing::Dead),
                "a request waits for ever\n{}",
                path()
            );
        }
        for row in 0..self.workers.len() as u16 {
            assert_eq!(self.words.load(layout::head(POOL, row).unwrap()), 0, "a head is left\n{}", path());
        }
        for thread in 0..threads {
            let unit = Unit::decode(self.words.load(unit_at(thread)));
            assert_eq!(unit.state, UnitState::Idle, "a unit is lost\n{}", path());
        }
    }
}

fn wait(row: u16, held: u64) -> Take {
    Take::new(POOL, row, Some(u64::from(row) + 1), held)
}

/// Visits every world that can be reached; how many there are.
fn explore(start: World, threads: u16) -> usize {
    let mut seen = HashMap::from([(start.clone(), None)]);
    let mut stack = vec![start];
    while let Some(world) = stack.pop() {
        let path = || path(&seen, &world);
        world.check(path);
        let next = world.next();
        // A mortal worker need not die, so a world in which nothing but a death could happen is an end.
        let dead = |world: &World| world.workers.iter().filter(|worker| worker.doing == Doing::Dead).count();
        let optional = |duty: &Duty| matches!(duty, Duty::Reap(_) | Duty::Report(_));
        if next.iter().all(|after| dead(after) > dead(&world)) && world.duties.iter().all(optional) {
            let mut end = world.clone();
            end.check_end(threads, path);
        }
        for after in next {
            if !seen.contains_key(&after) {
                seen.insert(after.clone(), Some(world.clone()));
                stack.push(after);
            }
        }
    }
    seen.len()
}

/// How a world came about, for the message of a failure.
fn path(seen: &HashMap<World, Option<World>>, world: &World) -> String {
    let mut lines = Vec::new();
    let mut at = Some(world);
    while let Some(world) = at {
        let doing: Vec<_> = world.workers.iter().map(|worker| &worker.doing).collect();
        let unit = world.words.0.get(&unit_at(0).index()).map(|word| Unit::decode(*word));
        lines.push(format!("{doing:?} {:?} {unit:?} poked {:b}", world.duties, world.poked));
        at = seen.get(world).and_then(Option::as_ref);
    }
    lines.reverse();
    lines.join("\n")
}

#[test]
fn every_request_is_served_by_one_unit() {
    let worlds = explore(World::new([1, 1], 1), 1);
    assert!(worlds > 100, "{worlds}");
}

#[test]
fn every_request_of_a_queue_is_served() {
    let worlds = explore(World::new([2, 2], 1), 1);
    assert!(worlds > 100, "{worlds}");
}

#[test]
fn every_request_is_served_by_two_units() {
    let worlds = explore(World::new([2, 1], 2), 2);
    assert!(worlds > 100, "{worlds}");
}

#[test]
fn clients_that_give_up_leave_nothing_behind() {
    let mut world = World::new([1, 1], 1);
    world.workers[0].impatient = true;
    world.workers[1].impatient = true;
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_process_is_replaced_under_requests() {
    let mut world = World::new([1, 2], 1);
    world.duties = vec![Duty::Leave(Mark::new(unit_at(0), How::Leave)), Duty::Close, Duty::Header(2)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_process_dies_under_requests() {
    let mut world = World::new([1, 1], 1);
    world.duties = vec![Duty::Header(2)]; // close() and open() of a process that was killed
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_worker_dies_at_any_moment() {
    let mut world = World::new([1, 1], 1);
    world.workers[0].mortal = true;
    world.duties = vec![Duty::Reap(0), Duty::Report(0)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_worker_dies_while_a_process_is_replaced() {
    let mut world = World::new([1, 1], 1);
    world.workers[0].mortal = true;
    let leave = Duty::Leave(Mark::new(unit_at(0), How::Leave));
    world.duties = vec![leave, Duty::Reap(0), Duty::Report(0), Duty::Close, Duty::Header(2)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_sweep_takes_nothing_from_anybody() {
    let mut world = World::new([1, 1], 1);
    world.duties = vec![Duty::Sweep(0), Duty::Sweep(0)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_sweep_takes_nothing_from_clients_that_give_up() {
    let mut world = World::new([1, 1], 1);
    world.workers[0].impatient = true;
    world.duties = vec![Duty::Sweep(0), Duty::Sweep(0)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_sweep_comes_between_the_death_of_a_worker_and_its_consequences() {
    let mut world = World::new([1, 1], 1);
    world.workers[0].mortal = true;
    world.duties = vec![Duty::Sweep(0), Duty::Reap(0), Duty::Sweep(0), Duty::Report(0)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn whatever_is_written_over_a_unit_every_request_is_served_and_no_unit_is_lost() {
    let state = |incarnation, state, owner| Unit::new(incarnation, state, owner).encode();
    let lies = [
        u64::MAX,
        0,
        7,
        1 << 32 | 9,
        state(1, UnitState::Gone, NOBODY),
        state(1, UnitState::Idle, NOBODY),
        state(9, UnitState::Idle, NOBODY),
        state(1, UnitState::Offered, 0),
        state(1, UnitState::Offered, 1),
        state(1, UnitState::Offered, 70),
        state(1, UnitState::Claimed, 0),
        state(1, UnitState::Claimed, 1),
        state(1, UnitState::Claimed, 63),
        state(1, UnitState::Claimed, NOBODY),
        state(1, UnitState::Orphaned, 0),
        state(1, UnitState::Orphaned, 5),
        state(1, UnitState::Leaving, 0),
        state(1, UnitState::Leaving, NOBODY),
        state(1, UnitState::LeavingOrphaned, 1),
    ];
    for lie in lies {
        let mut world = World::new([1, 1], 1);
        (world.lie, world.ticks) = (Some(lie), 12);
        assert!(explore(world, 1) > 100);
    }
}
