//! The words of each worker: what it has to do now and has done. Each row is written by its worker alone, and by the
//! master once that worker was reaped.

use super::board::{Board, WORKERS};
use super::layout::{self, Row};

impl Board<'_> {
    /// Stores how many client connections the worker has.
    pub fn set_connections(self, row: u16, connections: u64) {
        self.set(layout::row(row, Row::Connections), connections);
    }

    /// How many client connections the worker has.
    #[must_use]
    pub fn connections(self, row: u16) -> u64 {
        self.get(layout::row(row, Row::Connections))
    }

    /// Counts a request that was answered.
    pub fn count_request(self, row: u16) {
        self.add(layout::row(row, Row::Requests), 1);
    }

    /// How many requests all workers that ever had this row have answered.
    #[must_use]
    pub fn requests(self, row: u16) -> u64 {
        self.get(layout::row(row, Row::Requests))
    }

    /// Stores whether the worker accepts connections.
    pub fn set_accepting(self, row: u16, accepting: bool) {
        if usize::from(row) < WORKERS {
            self.raise(Some(layout::ROWS_USED), u64::from(row) + 1);
        }
        self.set(layout::row(row, Row::Accepting), u64::from(accepting));
    }

    /// Whether the worker accepts connections.
    #[must_use]
    pub fn accepting(self, row: u16) -> bool {
        self.get(layout::row(row, Row::Accepting)) != 0
    }

    /// The number of connections of the worker that accepts and has the fewest; `u64::MAX` if none accepts.
    #[must_use]
    pub fn least_connections(self) -> u64 {
        let rows = self.get(Some(layout::ROWS_USED)).min(WORKERS as u64) as u16;
        (0..rows)
            .filter(|row| self.accepting(*row))
            .map(|row| self.connections(row))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The worker begins to run its turn of that number.
    pub fn beat(self, row: u16, turn: u64) {
        self.set(layout::row(row, Row::Beat), turn << 1 | 1);
    }

    /// The worker is about to poll.
    pub fn rest(self, row: u16) {
        self.set(layout::row(row, Row::Beat), 0);
    }

    /// The turn that the worker is running, `None` while it polls. A worker that hangs shows the same turn for long.
    #[must_use]
    pub fn turn(self, row: u16) -> Option<u64> {
        let word = self.get(layout::row(row, Row::Beat));
        (word & 1 == 1).then_some(word >> 1)
    }

    /// The worker was reaped. Its requests stay counted.
    pub(super) fn clear_row(self, row: u16) {
        for word in [Row::Connections, Row::Accepting, Row::Beat] {
            self.set(layout::row(row, word), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn rows_are_separate_and_bounded() {
        let words: Vec<AtomicU64> =
            (0..layout::row(WORKERS as u16 - 1, Row::Beat).unwrap() + 1).map(|_| AtomicU64::new(0)).collect();
        let board = Board::new(&words);
        assert_eq!(board.least_connections(), u64::MAX);
        for (row, connections) in [(0, 9), (1, 4), (63, 6), (64, 0)] {
            board.set_connections(row, connections);
            board.set_accepting(row, true);
            board.count_request(row);
            board.beat(row, 5);
        }
        assert_eq!((board.least_connections(), board.requests(64), board.turn(64)), (4, 0, None));
        board.set_accepting(1, false);
        board.rest(0);
        assert_eq!((board.least_connections(), board.turn(0), board.turn(63)), (6, None, Some(5)));
        board.clear_row(63);
        assert_eq!((board.connections(63), board.requests(63), board.accepting(63)), (0, 1, false));
    }
}
