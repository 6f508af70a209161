//! The algorithms, one atomic access a step.

use super::board::{Freed, Lease, Rows};
use super::layout::{self, Address, OwnAt, PoolWord, SLOTS, THREADS, WORKERS};
use super::word::{NOBODY, Unit, UnitState, hold, let_go};
use std::task::Poll;

/// The words, sequentially consistent. A word that does not exist reads 0 and cannot be changed, nor can one that is
/// another's.
pub(super) trait Memory {
    fn load(&mut self, at: impl Address) -> u64;
    fn store(&mut self, at: OwnAt, value: u64);
    fn exchange(&mut self, at: layout::UnitAt, seen: u64, value: u64) -> bool;
}

/// How often an exchange is tried again after somebody came in between. In truth that is a few times; a liar who writes
/// there without end must not hold up the others.
const TRIES: u16 = 1000;

/// A machine that does at most one access a step.
pub(super) trait Machine {
    type Output;
    fn step(&mut self, memory: &mut impl Memory) -> Poll<Self::Output>;

    fn run(&mut self, memory: &mut impl Memory) -> Self::Output {
        loop {
            if let Poll::Ready(output) = self.step(memory) {
                return output;
            }
        }
    }
}

/// Walks over the units of a pool that are in use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Walk {
    pool: u16,
    slots: Option<u16>,
    slot: u16,
    /// What is in use of the slot: which process, how many threads.
    header: Option<(u32, u16)>,
    thread: u16,
}

/// A unit on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Found {
    pub(super) slot: u16,
    pub(super) thread: u16,
    /// The process that the master has opened there.
    pub(super) incarnation: u32,
    pub(super) at: layout::UnitAt,
}

impl Walk {
    pub(super) fn new(pool: u16) -> Self {
        Self { pool, slots: None, slot: 0, header: None, thread: 0 }
    }

    /// Walks over the units of one slot only.
    pub(super) fn of_slot(pool: u16, slot: u16) -> Self {
        Self { slots: Some(slot.saturating_add(1)), slot, ..Self::new(pool) }
    }

    /// Looks at the unit just passed again.
    fn again(&mut self) {
        self.thread = self.thread.saturating_sub(1);
    }
}

impl Machine for Walk {
    type Output = Option<(Found, u64)>;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Self::Output> {
        let Some(slots) = self.slots else {
            let used = layout::pool(self.pool, PoolWord::SlotsUsed).map_or(0, |at| memory.load(at));
            self.slots = Some(used.min(SLOTS as u64) as u16);
            return Poll::Pending;
        };
        if self.slot >= slots {
            return Poll::Ready(None);
        }
        let Some((incarnation, threads)) = self.header else {
            let header = layout::slot(self.pool, self.slot).map_or(0, |at| memory.load(at));
            self.header = Some(((header >> 32) as u32, (header as u16).min(THREADS as u16)));
            return Poll::Pending;
        };
        let (slot, thread) = (self.slot, self.thread);
        if thread >= threads {
            (self.slot, self.thread, self.header) = (slot + 1, 0, None);
            return Poll::Pending;
        }
        self.thread += 1;
        let Some(at) = layout::unit(self.pool, slot, thread) else { return Poll::Ready(None) };
        Poll::Ready(Some((Found { slot, thread, incarnation, at }, memory.load(at))))
    }
}

/// Takes the first unit that is offered to `me` or free for anyone. With a `head`, publishes that first.
/// While it looks, `held` (the word of that name) counts one unit more, so that a unit that is claimed is always held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Take {
    me: u16,
    held: u64,
    phase: Taking,
    walk: Walk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Taking {
    /// Count one unit more in `held`.
    Hold(Option<u64>),
    /// Publish the head.
    Head(u64),
    Look,
    /// Exchange what was found.
    Claim(Found, Unit),
    /// Nothing was found: count one unit fewer in `held`.
    LetGo,
}

impl Take {
    pub(super) fn new(pool: u16, me: u16, head: Option<u64>, held: u64) -> Self {
        Self { me, held: hold(held), phase: Taking::Hold(head), walk: Walk::new(pool) }
    }

    /// One of this slot only.
    pub(super) fn in_slot(pool: u16, slot: u16, me: u16, held: u64) -> Self {
        Self { walk: Walk::of_slot(pool, slot), ..Self::new(pool, me, None, held) }
    }

    fn look(&mut self, memory: &mut impl Memory) {
        match self.walk.step(memory) {
            Poll::Pending => {}
            Poll::Ready(None) => self.phase = Taking::LetGo,
            Poll::Ready(Some((found, word))) => {
                let unit = Unit::decode(word);
                // Else the unit's word is of a process that has gone, or never was.
                let right = unit.incarnation == found.incarnation;
                if right && (unit.is(UnitState::Offered, self.me) || unit.state == UnitState::Idle) {
                    self.phase = Taking::Claim(found, unit);
                }
            }
        }
    }
}

impl Machine for Take {
    type Output = Option<Lease>;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Self::Output> {
        let pool = self.walk.pool;
        let held = layout::held(pool, self.me);
        match self.phase {
            Taking::Hold(head) => {
                held.into_iter().for_each(|at| memory.store(at, self.held));
                self.phase = head.map_or(Taking::Look, Taking::Head);
            }
            Taking::Head(head) => {
                layout::head(pool, self.me).into_iter().for_each(|at| memory.store(at, head));
                self.phase = Taking::Look;
            }
            Taking::Look => self.look(memory),
            Taking::Claim(Found { slot, thread, at, .. }, unit) => {
                let claimed = unit.to(UnitState::Claimed, self.me);
                if memory.exchange(at, unit.encode(), claimed.encode()) {
                    return Poll::Ready(Some(Lease { pool, slot, thread, incarnation: unit.incarnation }));
                }
                self.phase = Taking::Look;
            }
            Taking::LetGo => {
                held.into_iter().for_each(|at| memory.store(at, let_go(self.held)));
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    }
}

/// Gives a unit to whoever waits longest, or leaves it idle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hand {
    pool: u16,
    at: layout::UnitAt,
    /// The word as we believe it to be.
    held: Unit,
    /// Whether only we and the master may change that word; else a failed exchange means that somebody took it.
    ours: bool,
    phase: Phase,
    /// How often it may still begin again.
    tries: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Look at the word.
    Look,
    /// The unit is leaving: let go of it.
    LetGo(Unit),
    /// How many rows there are.
    Count,
    /// Look at the head of the next row.
    Scan { rows: u16, row: u16, oldest: u64, best: u16 },
    /// Offer the unit to that row, or make it idle.
    Give(u16),
    /// Is the head still there?
    Recheck(u16),
}

impl Hand {
    /// A unit that is idle or offered to us; a failed exchange means that somebody else has it.
    pub(super) fn loose(pool: u16, at: layout::UnitAt, held: Unit) -> Self {
        Self { pool, at, held, ours: false, phase: Phase::Count, tries: TRIES }
    }

    /// A unit that somebody offered to its owner and may not have looked further.
    fn offered(pool: u16, at: layout::UnitAt, held: Unit) -> Self {
        Self { phase: Phase::Recheck(held.owner), ..Self::loose(pool, at, held) }
    }

    /// A unit that was claimed by `owner`, or orphaned.
    pub(super) fn owned(lease: Lease, at: layout::UnitAt, state: UnitState, owner: u16) -> Self {
        let held = Unit::new(lease.incarnation, state, owner);
        Self { pool: lease.pool, at, held, ours: true, phase: Phase::Look, tries: TRIES }
    }

    fn leaving(&self) -> Unit {
        let state = if self.held.state == UnitState::Claimed {
            UnitState::Leaving
        } else {
            UnitState::LeavingOrphaned
        };
        self.held.to(state, self.held.owner)
    }

    fn look(&mut self, seen: Unit) -> Poll<Freed> {
        self.phase = match seen {
            _ if seen == self.held => Phase::Count,
            _ if seen == self.leaving() => Phase::LetGo(seen),
            _ => return Poll::Ready(Freed::Stale),
        };
        Poll::Pending
    }

    fn give(&mut self, best: u16, memory: &mut impl Memory) -> Poll<Freed> {
        let Some(tries) = self.tries.checked_sub(1) else { return Poll::Ready(Freed::Stale) };
        let next = match best {
            NOBODY if self.held.state == UnitState::Idle => return Poll::Ready(Freed::Idle),
            NOBODY => self.held.to(UnitState::Idle, NOBODY),
            row => self.held.to(UnitState::Offered, row),
        };
        if !memory.exchange(self.at, self.held.encode(), next.encode()) {
            if !self.ours {
                return Poll::Ready(Freed::Idle);
            }
            (self.phase, self.tries) = (Phase::Look, tries);
            return Poll::Pending;
        }
        (self.held, self.ours) = (next, false);
        self.phase = if best == NOBODY { Phase::Count } else { Phase::Recheck(best) };
        Poll::Pending
    }
}

impl Machine for Hand {
    type Output = Freed;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Freed> {
        match self.phase {
            Phase::Look => self.look(Unit::decode(memory.load(self.at))),
            Phase::LetGo(seen) => {
                let left = seen.to(UnitState::Leaving, NOBODY);
                let done = memory.exchange(self.at, seen.encode(), left.encode());
                Poll::Ready(if done { Freed::Left } else { Freed::Stale })
            }
            Phase::Count => {
                let rows = memory.load(layout::ROWS_USED).min(WORKERS as u64) as u16;
                self.phase = Phase::Scan { rows, row: 0, oldest: u64::MAX, best: NOBODY };
                Poll::Pending
            }
            Phase::Scan { rows, row, best, .. } if row >= rows => self.give(best, memory),
            Phase::Scan { rows, row, oldest, best } => {
                let head = layout::head(self.pool, row).map_or(0, |at| memory.load(at));
                let (oldest, best) = if head != 0 && head < oldest { (head, row) } else { (oldest, best) };
                self.phase = Phase::Scan { rows, row: row + 1, oldest, best };
                Poll::Pending
            }
            Phase::Give(best) => self.give(best, memory),
            Phase::Recheck(row) => {
                if layout::head(self.pool, row).map_or(0, |at| memory.load(at)) != 0 {
                    return Poll::Ready(Freed::Offered(row));
                }
                self.phase = Phase::Give(NOBODY);
                self.tries = self.tries.saturating_sub(1);
                Poll::Pending
            }
        }
    }
}

/// Withdraws the head of a row from a pool and passes on what was offered to it. If the worker is `dead`, its claims
/// become orphans, and what it may have left undone is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Withdraw {
    row: u16,
    dead: bool,
    cleared: bool,
    walk: Walk,
    act: Option<Act>,
    poke: Rows,
    /// How often it may still look at a unit again.
    tries: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Act {
    Pass(Hand),
    Orphan(layout::UnitAt, Unit),
}

impl Withdraw {
    pub(super) fn new(pool: u16, row: u16, dead: bool) -> Self {
        let (walk, poke) = (Walk::new(pool), Rows::default());
        Self { row, dead, cleared: false, walk, act: None, poke, tries: TRIES }
    }
}

impl Machine for Withdraw {
    type Output = Rows;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Rows> {
        if !self.cleared {
            if let Some(at) = layout::head(self.walk.pool, self.row) {
                memory.store(at, 0);
            }
            self.cleared = true;
            return Poll::Pending;
        }
        match self.act.take() {
            Some(Act::Pass(mut hand)) => match hand.step(memory) {
                Poll::Ready(freed) => self.poke.add(freed),
                Poll::Pending => self.act = Some(Act::Pass(hand)),
            },
            Some(Act::Orphan(at, unit)) => {
                let state = if unit.state == UnitState::Claimed {
                    UnitState::Orphaned
                } else {
                    UnitState::LeavingOrphaned
                };
                if !memory.exchange(at, unit.encode(), unit.to(state, unit.owner).encode())
                    && let Some(tries) = self.tries.checked_sub(1)
                {
                    self.tries = tries;
                    self.walk.again();
                }
            }
            None => match self.walk.step(memory) {
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready(self.poke),
                Poll::Ready(Some((place, word))) => {
                    let unit = Unit::decode(word);
                    let orphan =
                        unit.is(UnitState::Claimed, self.row) || unit.is(UnitState::Leaving, self.row);
                    // The dead may have made a unit idle or offered it, and not have looked for heads or poked.
                    let left = self.dead && unit.state == UnitState::Idle;
                    if unit.is(UnitState::Offered, self.row) || left {
                        self.act = Some(Act::Pass(Hand::loose(self.walk.pool, place.at, unit)));
                    } else if self.dead && orphan {
                        self.act = Some(Act::Orphan(place.at, unit));
                    } else if self.dead && unit.state == UnitState::Offered {
                        self.act = Some(Act::Pass(Hand::offered(self.walk.pool, place.at, unit)));
                    }
                }
            },
        }
        Poll::Pending
    }
}

/// Marks a unit: a process leaves, or a worker gives its claim up without knowing whether the request still runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    at: layout::UnitAt,
    how: How,
    seen: Option<Unit>,
    /// How often it may still begin again.
    tries: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// The unit's process leaves: nothing new for it.
    Leave,
    /// The claim of that incarnation and owner is an orphan from now on.
    Abandon { incarnation: u32, owner: u16 },
}

impl Mark {
    pub(super) fn new(at: layout::UnitAt, how: How) -> Self {
        Self { at, how, seen: None, tries: TRIES }
    }

    fn next(&self, unit: Unit) -> Option<Unit> {
        match (self.how, unit.state) {
            (How::Leave, UnitState::Idle | UnitState::Offered) => Some(unit.to(UnitState::Leaving, NOBODY)),
            (How::Leave, UnitState::Claimed) => Some(unit.to(UnitState::Leaving, unit.owner)),
            (How::Leave, UnitState::Orphaned) => Some(unit.to(UnitState::LeavingOrphaned, unit.owner)),
            (How::Leave, _) => None,
            (How::Abandon { incarnation, owner }, _)
                if unit.incarnation != incarnation || unit.owner != owner =>
            {
                None
            }
            (How::Abandon { .. }, UnitState::Claimed) => Some(unit.to(UnitState::Orphaned, unit.owner)),
            (How::Abandon { .. }, UnitState::Leaving) => {
                Some(unit.to(UnitState::LeavingOrphaned, unit.owner))
            }
            (How::Abandon { .. }, _) => None,
        }
    }
}

impl Machine for Mark {
    /// What the unit is now.
    type Output = Unit;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Unit> {
        let Some(seen) = self.seen.take() else {
            let unit = Unit::decode(memory.load(self.at));
            if self.next(unit).is_none() || self.tries == 0 {
                return Poll::Ready(unit);
            }
            self.seen = Some(unit);
            return Poll::Pending;
        };
        match self.next(seen) {
            Some(next) if memory.exchange(self.at, seen.encode(), next.encode()) => Poll::Ready(next),
            _ => {
                self.tries = self.tries.saturating_sub(1);
                Poll::Pending
            }
        }
    }
}
