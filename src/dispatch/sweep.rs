//! Units that nobody would ever give back. Every worker can write the words of units, so one that was taken over can
//! leave there what no worker and no process means: a state that is none, a claim of somebody who never claimed it. The
//! master looks at the units of living processes now and then, and believes a word only if it finds the same twice and
//! what its owner says of itself, in words of its own, speaks against it. What honest workers do is never undone: they
//! are not between two steps for so long, and a claim is counted in `held` *before* it is made.
//!
//! | a unit of a process that serves is | and | then |
//! |---|---|---|
//! | no word of ours, of another process, gone, or leaving | | idle, or offered to who waits |
//! | idle | somebody waits | offered to who waits |
//! | offered to a row | that waits | its worker is poked |
//! | offered to a row | that does not wait | passed on |
//! | claimed by a row | that holds nothing there and has not tried to, or has no worker | orphaned |
//! | orphaned | | its host is asked whether the request runs |
//!
//! Of a process that leaves, units are put back to leaving in the same way.

use super::MasterBoard;
use super::board::{Freed, Lease, Rows};
use super::layout::{self, WORKERS};
use super::steps::{Found, Hand, Machine, Memory, Walk};
use super::word::{NOBODY, Unit, UnitState, units_held};
use std::collections::BTreeMap;
use std::task::Poll;

/// A process whose units are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Pool.
    pub(crate) pool: u16,
    /// Its slot.
    pub(crate) slot: u16,
    /// Its units leave.
    pub(crate) leaving: bool,
}

/// What was found, and is to be done elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweeping {
    /// Workers to poke.
    pub(crate) poke: Rows,
    /// Hosts to ask whether a request of the worker of that row runs in that unit: FREE is wanted if not.
    pub(crate) ask: Vec<(Lease, u16)>,
    /// How many units were taken back from nobody.
    pub(crate) repaired: usize,
}

/// What one look has shown of units that may be lost, kept for the next look.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    seen: BTreeMap<(u16, u16, u16), Doubt>,
}

impl Sweep {
    /// Looks at all units of these processes. `alive`: the rows that have a worker.
    #[must_use]
    pub(crate) fn look(
        &mut self,
        mut board: MasterBoard<'_>,
        alive: Rows,
        processes: impl Iterator<Item = Process>,
    ) -> Sweeping {
        let before = std::mem::take(&mut self.seen);
        let mut sweeping = Sweeping::default();
        for Process { pool, slot, leaving } in processes {
            let mut walk = Walk::of_slot(pool, slot);
            while let Some((found, word)) = walk.run(&mut board) {
                let Some(doubt) = Look::new(pool, found, word, alive, leaving).run(&mut board) else {
                    continue;
                };
                let key = (pool, found.slot, found.thread);
                if before.get(&key) == Some(&doubt) {
                    sweeping.settle(pool, found, doubt, &mut board);
                } else {
                    self.seen.insert(key, doubt);
                }
            }
        }
        sweeping
    }
}

impl Sweeping {
    fn settle(&mut self, pool: u16, found: Found, doubt: Doubt, board: &mut MasterBoard<'_>) {
        let Found { slot, thread, incarnation, at } = found;
        match doubt.remedy {
            Remedy::Poke(row) => self.poke.add(Freed::Offered(row)),
            Remedy::Ask(row) => self.ask.push((Lease { pool, slot, thread, incarnation }, row)),
            Remedy::Change(unit) => {
                let freed = Change::new(pool, at, doubt.word, unit).run(board);
                self.repaired += usize::from(freed != Freed::Stale);
                self.poke.add(freed);
            }
        }
    }
}

/// A unit that may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    pub(super) word: u64,
    /// The word in which its owner says what it holds or waits for.
    witness: u64,
    pub(super) remedy: Remedy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Remedy {
    /// The unit is to become this one.
    Change(Unit),
    /// The worker of that row is to look again.
    Poke(u16),
    /// The host is to say whether a request of that row runs in the unit.
    Ask(u16),
}

/// Looks at a unit and, where its owner matters, at the words in which the owner says what it holds: in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Look {
    pool: u16,
    found: Found,
    word: u64,
    alive: Rows,
    leaving: bool,
    /// The next row to look at, for who waits.
    row: u16,
}

impl Look {
    pub(super) fn new(pool: u16, found: Found, word: u64, alive: Rows, leaving: bool) -> Self {
        Self { pool, found, word, alive, leaving, row: 0 }
    }

    /// Whether anybody waits beside a unit that is idle: who made it so has not looked for heads.
    fn look_for_heads(&mut self, memory: &mut impl Memory) -> Poll<Option<Doubt>> {
        // The page of a row that no worker has is not even touched.
        let Some(row) = (self.row..WORKERS as u16).find(|row| self.alive.has(*row)) else {
            return Poll::Ready(None);
        };
        self.row = row + 1;
        match layout::head(self.pool, row).map_or(0, |at| memory.load(at)) {
            0 => Poll::Pending,
            head => self.doubt(head, Remedy::Change(Unit::decode(self.word))),
        }
    }

    fn doubt(&self, witness: u64, remedy: Remedy) -> Poll<Option<Doubt>> {
        Poll::Ready(Some(Doubt { word: self.word, witness, remedy }))
    }
}

impl Machine for Look {
    type Output = Option<Doubt>;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Self::Output> {
        let unit = Unit::decode(self.word);
        let row = unit.owner;
        let (resting, orphaned, claimed) = if self.leaving {
            (unit.to(UnitState::Leaving, NOBODY), UnitState::LeavingOrphaned, UnitState::Leaving)
        } else {
            (unit.to(UnitState::Idle, NOBODY), UnitState::Orphaned, UnitState::Claimed)
        };
        let change = |unit: Unit| self.doubt(0, Remedy::Change(unit));
        if unit.encode() != self.word || unit.incarnation != self.found.incarnation {
            return change(Unit { incarnation: self.found.incarnation, ..resting });
        }
        match unit.state {
            UnitState::Idle if !self.leaving => self.look_for_heads(memory),
            UnitState::Leaving if self.leaving && row == NOBODY => Poll::Ready(None),
            UnitState::Gone | UnitState::Idle => change(resting),
            UnitState::Leaving if row == NOBODY => change(resting),
            UnitState::Offered if self.leaving => change(resting),
            UnitState::Offered => {
                let head = layout::head(self.pool, row).map_or(0, |at| memory.load(at));
                let waits = head != 0 && self.alive.has(row);
                self.doubt(head, if waits { Remedy::Poke(row) } else { Remedy::Change(resting) })
            }
            UnitState::Claimed | UnitState::Leaving => {
                let held = layout::held(self.pool, row).map_or(0, |at| memory.load(at));
                if units_held(held) == 0 || !self.alive.has(row) {
                    return self.doubt(held, Remedy::Change(unit.to(orphaned, row)));
                }
                if unit.state == claimed { Poll::Ready(None) } else { change(unit.to(claimed, row)) }
            }
            UnitState::Orphaned | UnitState::LeavingOrphaned if unit.state == orphaned => {
                self.doubt(0, Remedy::Ask(row))
            }
            UnitState::Orphaned | UnitState::LeavingOrphaned => change(unit.to(orphaned, row)),
        }
    }
}

/// Puts a unit right if its word still is what was seen; one that is idle then goes to whoever waits longest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Change {
    at: layout::UnitAt,
    word: u64,
    unit: Unit,
    pool: u16,
    hand: Option<Hand>,
}

impl Change {
    pub(super) fn new(pool: u16, at: layout::UnitAt, word: u64, unit: Unit) -> Self {
        Self { at, word, unit, pool, hand: None }
    }
}

impl Machine for Change {
    /// What became of the unit; `Stale`: somebody else has changed it.
    type Output = Freed;

    fn step(&mut self, memory: &mut impl Memory) -> Poll<Freed> {
        if let Some(hand) = &mut self.hand {
            return hand.step(memory);
        }
        if !memory.exchange(self.at, self.word, self.unit.encode()) {
            return Poll::Ready(Freed::Stale);
        }
        if self.unit.state != UnitState::Idle {
            return Poll::Ready(Freed::Idle);
        }
        self.hand = Some(Hand::loose(self.pool, self.at, self.unit));
        Poll::Pending
    }
}
