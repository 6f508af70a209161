//! The word of one unit: `{incarnation 32 | owner 16 | state 16}`; and the word in which a worker counts the units that it
//! holds.
//!
//! | state | owner | meaning | who leaves it |
//! |---|---|---|---|
//! | Gone | – | no process; the incarnation is that of the last | master: open |
//! | Idle | – | can be claimed | any worker, master |
//! | Offered | row | freed for the worker whose request waited longest | that worker: Claimed; the offerer, if it finds the head withdrawn; master |
//! | Claimed | row | runs a request of that worker | that worker: Idle, Offered, Orphaned; master: Leaving, Orphaned |
//! | Orphaned | row | its worker is dead or gave the stream up; the request may still run | master, when the host says FREE |
//! | Leaving | row or none | the process takes nothing new; with a row: still runs a request | that worker: Leaving(none); master |
//! | LeavingOrphaned | row | both | master, when the host says FREE |

/// What a unit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub(super) enum UnitState {
    Gone = 0,
    Idle = 1,
    Offered = 2,
    Claimed = 3,
    Orphaned = 4,
    Leaving = 5,
    LeavingOrphaned = 6,
}

/// The owner of a unit that has none.
pub(super) const NOBODY: u16 = u16::MAX;

/// A unit's word, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Unit {
    pub(super) incarnation: u32,
    pub(super) state: UnitState,
    pub(super) owner: u16,
}

impl Unit {
    pub(super) fn new(incarnation: u32, state: UnitState, owner: u16) -> Self {
        Self { incarnation, state, owner }
    }

    /// The word is a number from a stranger: an unknown state is nobody's.
    pub(super) fn decode(word: u64) -> Self {
        let state = match word as u16 {
            1 => UnitState::Idle,
            2 => UnitState::Offered,
            3 => UnitState::Claimed,
            4 => UnitState::Orphaned,
            5 => UnitState::Leaving,
            6 => UnitState::LeavingOrphaned,
            _ => UnitState::Gone,
        };
        Self { incarnation: (word >> 32) as u32, state, owner: (word >> 16) as u16 }
    }

    pub(super) fn encode(self) -> u64 {
        u64::from(self.incarnation) << 32 | u64::from(self.owner) << 16 | self.state as u64
    }

    pub(super) fn is(self, state: UnitState, owner: u16) -> bool {
        self.state == state && self.owner == owner
    }

    /// The same incarnation in another state.
    pub(super) fn to(self, state: UnitState, owner: u16) -> Self {
        Self { state, owner, ..self }
    }

    /// Whether a request may be running on it.
    pub(super) fn is_running(self) -> bool {
        match self.state {
            UnitState::Claimed | UnitState::Orphaned | UnitState::LeavingOrphaned => true,
            UnitState::Leaving => self.owner != NOBODY,
            UnitState::Gone | UnitState::Idle | UnitState::Offered => false,
        }
    }
}

/// The bits of a worker's `held` word ([`super::layout::held`]) that count units; the rest counts how often the worker has
/// set out to claim some.
const UNITS: u64 = 0xffff;

/// How many units a worker holds, from its `held` word.
pub(super) fn units_held(held: u64) -> u64 {
    held & UNITS
}

/// The `held` word with one unit and one attempt more.
pub(super) fn hold(held: u64) -> u64 {
    held.wrapping_add(UNITS + 1) & !UNITS | (units_held(held) + 1).min(UNITS)
}

/// The `held` word with one unit fewer.
pub(super) fn let_go(held: u64) -> u64 {
    held & !UNITS | units_held(held).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decode_to_what_was_encoded() {
        for state in 0..7 {
            let unit = Unit::decode(u64::MAX << 32 | 5 << 16 | state);
            assert_eq!((unit.incarnation, unit.owner, unit.state as u64), (u32::MAX, 5, state));
            assert_eq!(Unit::decode(unit.encode()), unit);
        }
        assert_eq!(Unit::decode(999).state, UnitState::Gone);
    }
}
