//! The same with workers that send requests ahead to a unit that they hold: as `worker::upstream::app::ahead` does, one access a
//! step. Nothing of theirs is in shared memory but the claim, which lasts as long as something lies there.

use super::{Doing, Duty, POOL, World, explore, held_at, unit_at, wait};
use crate::dispatch::board::Lease;
use crate::dispatch::layout;
use crate::dispatch::steps::{Hand, How, Machine, Mark, Memory, Take, Withdraw};
use crate::dispatch::word::{Unit, UnitState, let_go};
use std::task::Poll;

/// How many requests may lie behind one that runs; and how many of them although an older one waits elsewhere.
const DEPTH: u8 = 2;
const SPARE: u8 = 1;

/// What such a worker has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ahead {
    /// The units that it holds, and how many requests lie behind the one that runs there.
    pub(super) held: Vec<(Lease, u8)>,
    spare: u8,
    /// So many requests of the other, which came later, were sent ahead since its own began to wait.
    overtaken: u8,
}

/// What it is doing besides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Looks for a unit for its oldest request, whose head is published.
    Filling(Take),
    /// Its queue is empty.
    Emptied(Withdraw),
    /// Lets go of a unit; has, and says so.
    Freeing(Hand),
    Freed,
    /// The process of a unit is gone; so many requests come back.
    Losing(Mark, u8),
    /// Waits for what runs, or to be poked.
    Busy,
}

impl World {
    fn ahead(&mut self, index: usize) -> &mut Ahead {
        self.workers[index].ahead.as_mut().unwrap()
    }

    /// Takes the oldest request out of the queue, which has got what it waited for.
    fn granted(&mut self, index: usize) -> Step {
        self.workers[index].queue -= 1;
        match self.workers[index].queue {
            0 => Step::Emptied(Withdraw::new(POOL, index as u16, false)),
            _ => self.fill(index),
        }
    }

    pub(super) fn fill(&mut self, index: usize) -> Step {
        let held = self.words.load(held_at(index as u16));
        Step::Filling(wait(index as u16, held))
    }

    /// No unit is free: is there room behind what runs?
    fn has_room(&mut self, index: usize) -> bool {
        let row = index as u16;
        let other = self.words.load(layout::head(POOL, 1 - row).unwrap());
        let is_oldest = other == 0 || other > u64::from(row);
        let keeps = |words: &super::Words, lease: &Lease| {
            let claimed = Unit::new(lease.incarnation, UnitState::Claimed, row).encode();
            words.0.get(&layout::Address::index(unit_at(lease.thread))) == Some(&claimed)
        };
        let words = self.words.clone();
        let ahead = self.ahead(index);
        let may = is_oldest || ahead.spare > 0;
        let place = ahead.held.iter_mut().find(|(lease, behind)| *behind < DEPTH && keeps(&words, lease));
        let Some((_, behind)) = place.filter(|_| may) else { return false };
        *behind += 1;
        if !is_oldest {
            ahead.spare -= 1;
            if let Some(other) = &mut self.workers[1 - index].ahead {
                other.overtaken += 1;
                assert!(other.overtaken <= SPARE, "a worker waits while another goes on and on");
            }
        }
        true
    }

    /// What follows once something was done: more for the queue, or waiting.
    fn after(&mut self, index: usize) -> Doing {
        let worker = &self.workers[index];
        let holds = worker.ahead.as_ref().is_some_and(|ahead| !ahead.held.is_empty());
        match (holds, worker.queue) {
            (true, _) => Doing::Ahead(Step::Busy),
            (false, 0) => Doing::Done,
            (false, _) => Doing::Parked,
        }
    }

    pub(super) fn advance_ahead(&mut self, index: usize, step: Step) -> Option<Doing> {
        let row = index as u16;
        Some(Doing::Ahead(match step {
            Step::Busy if self.poked >> row & 1 == 1 && self.workers[index].queue > 0 => {
                self.poked &= !(1 << row);
                self.fill(index)
            }
            Step::Busy => return None,
            Step::Filling(mut take) => match take.step(&mut self.words) {
                Poll::Pending => Step::Filling(take),
                Poll::Ready(Some(lease)) => {
                    let ahead = self.ahead(index);
                    ahead.held.push((lease, 0));
                    (ahead.spare, ahead.overtaken) = (SPARE, 0);
                    self.granted(index)
                }
                Poll::Ready(None) if self.has_room(index) => self.granted(index),
                Poll::Ready(None) => return Some(self.after(index)),
            },
            Step::Emptied(mut withdraw) => match withdraw.step(&mut self.words) {
                Poll::Pending => Step::Emptied(withdraw),
                Poll::Ready(poke) => {
                    poke.iter().for_each(|row| self.poked |= 1 << row);
                    return Some(self.after(index));
                }
            },
            Step::Freeing(mut hand) => match hand.step(&mut self.words) {
                Poll::Pending => Step::Freeing(hand),
                Poll::Ready(freed) => {
                    self.freed(freed);
                    Step::Freed
                }
            },
            Step::Freed => {
                self.holds_one_fewer(row);
                return Some(self.after(index));
            }
            Step::Losing(mut mark, back) => match mark.step(&mut self.words) {
                Poll::Pending => Step::Losing(mark, back),
                Poll::Ready(_) => {
                    self.holds_one_fewer(row);
                    self.workers[index].queue += back;
                    match self.workers[index].queue {
                        0 => return Some(self.after(index)),
                        _ => self.fill(index),
                    }
                }
            },
        }))
    }

    fn holds_one_fewer(&mut self, row: u16) {
        let held = self.words.load(held_at(row));
        self.words.store(held_at(row), let_go(held));
    }

    /// What may come of each unit that a worker holds and does nothing else with: the request that runs there is over, or
    /// its process is found dead.
    pub(super) fn run_ahead(&self, index: usize, next: &mut Vec<Self>) {
        if self.workers[index].doing != Doing::Ahead(Step::Busy) {
            return;
        }
        let held = self.workers[index].ahead.as_ref().map_or(&[][..], |ahead| &ahead.held);
        for (place, (lease, behind)) in held.iter().enumerate() {
            let mut world = self.clone();
            world.workers[index].doing = if *behind > 0 {
                world.ahead(index).held[place].1 -= 1;
                match world.workers[index].queue {
                    0 => Doing::Ahead(Step::Busy),
                    _ => Doing::Ahead(world.fill(index)),
                }
            } else {
                world.ahead(index).held.remove(place);
                let row = index as u16;
                let hand = Hand::owned(*lease, unit_at(lease.thread), UnitState::Claimed, row);
                Doing::Ahead(Step::Freeing(hand))
            };
            next.push(world);
            let mut world = self.clone();
            if world.incarnation() != lease.incarnation {
                world.ahead(index).held.remove(place);
                let how = How::Abandon { incarnation: lease.incarnation, owner: index as u16 };
                let mark = Mark::new(unit_at(lease.thread), how);
                world.workers[index].doing = Doing::Ahead(Step::Losing(mark, *behind));
                next.push(world);
            }
        }
    }

    /// Workers that send ahead.
    fn looking_ahead(queues: [u8; 2], threads: u16) -> Self {
        let mut world = Self::new(queues, threads);
        for (index, queue) in queues.into_iter().enumerate() {
            world.workers[index].ahead = Some(Ahead::default());
            if queue > 0 {
                world.workers[index].doing = Doing::Ahead(world.fill(index));
            }
        }
        world
    }
}

#[test]
fn every_request_is_served_and_nobody_is_overtaken_for_long() {
    for queues in [[1, 1], [2, 3], [3, 2], [4, 1], [1, 4]] {
        assert!(explore(World::looking_ahead(queues, 1), 1) > 100);
    }
}

#[test]
fn every_request_is_served_by_two_units() {
    assert!(explore(World::looking_ahead([3, 2], 2), 2) > 100);
}

#[test]
fn beside_a_worker_that_does_not_look_ahead() {
    for index in 0..2 {
        let mut world = World::looking_ahead([2, 2], 1);
        world.workers[index].ahead = None;
        world.workers[index].doing = world.wait(index as u16);
        assert!(explore(world, 1) > 100);
    }
}

#[test]
fn clients_that_give_up_leave_nothing_behind() {
    let mut world = World::looking_ahead([2, 2], 1);
    world.workers[0].impatient = true;
    world.workers[1].impatient = true;
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_process_is_replaced_under_requests() {
    let mut world = World::looking_ahead([3, 2], 1);
    world.duties = vec![Duty::Leave(Mark::new(unit_at(0), How::Leave)), Duty::Close, Duty::Header(2)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_process_dies_and_what_lay_there_is_served_by_its_successor() {
    let mut world = World::looking_ahead([3, 2], 1);
    world.duties = vec![Duty::Header(2)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_worker_dies_at_any_moment() {
    let mut world = World::looking_ahead([2, 2], 1);
    world.workers[0].mortal = true;
    world.duties = vec![Duty::Reap(0), Duty::Report(0)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_worker_dies_while_a_process_is_replaced() {
    let mut world = World::looking_ahead([2, 1], 1);
    world.workers[0].mortal = true;
    let leave = Duty::Leave(Mark::new(unit_at(0), How::Leave));
    world.duties = vec![leave, Duty::Reap(0), Duty::Report(0), Duty::Close, Duty::Header(2)];
    assert!(explore(world, 1) > 100);
}

#[test]
fn a_sweep_takes_nothing_from_anybody() {
    let mut world = World::looking_ahead([2, 2], 1);
    world.duties = vec![Duty::Sweep(0), Duty::Sweep(0)];
    assert!(explore(world, 1) > 100);
}
