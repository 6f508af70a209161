//! The shared memory of the tree: the words of the board, and behind them those of the roster.

use crate::balance::{MasterRoster, Roster, WorkerRoster, roster};
use crate::dispatch::{Board, MasterBoard, WorkerBoard, board};
use crate::sys::shm::Shared;
use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

/// Words of both.
pub(super) const WORDS: usize = board::WORDS + roster::WORDS;

const _: () = assert!(roster::ROWS == board::WORKERS, "a row is one on both");

/// New memory with nobody on it, and the file that it is mapped from.
///
/// # Errors
/// As [`Shared::in_file`].
pub(super) fn new() -> io::Result<(Shared, OwnedFd)> {
    let (shared, file) = Shared::in_file(WORDS)?;
    board_of(shared).begin();
    Ok((shared, file))
}

/// The memory of a program before.
///
/// # Errors
/// As [`Shared::of_file`]; that it is laid out differently, for the operator.
pub(super) fn of(file: BorrowedFd<'_>) -> Result<Shared, String> {
    let differs = || "the shared memory is laid out differently; restart the server instead".to_owned();
    let shared = Shared::of_file(file, WORDS).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => differs(),
        _ => format!("the shared memory cannot be mapped: {error}"),
    })?;
    if Board::new(shared.words()).is_ours() { Ok(shared) } else { Err(differs()) }
}

/// The board as the master has it.
pub(super) fn board_of(shared: Shared) -> MasterBoard<'static> {
    MasterBoard::new(shared.words())
}

/// The roster as the master has it.
pub(super) fn roster_of(shared: Shared) -> MasterRoster<'static> {
    MasterRoster::new(behind_the_board(shared.words()))
}

/// A worker is about to be forked for that row.
pub(super) fn seat(shared: Shared, row: u16) {
    board_of(shared).seat(row);
    roster_of(shared).seat(row);
}

/// Zeroes what the worker of that row, which was reaped, has written there.
///
/// # Errors
/// As [`Shared::release`].
pub(super) fn release(shared: Shared, row: u16) -> io::Result<()> {
    Board::area(row).map_or(Ok(()), |words| shared.release(words))?;
    Roster::area(row).map_or(Ok(()), |words| shared.release(moved(words)))
}

/// What the worker of that row may do with both; it can write nothing else from then on, in this process.
///
/// # Errors
/// As [`Shared::confine`]; there is no such row.
pub(super) fn confine(
    shared: Shared,
    file: BorrowedFd<'_>,
    row: u16,
) -> io::Result<(WorkerBoard<'static>, WorkerRoster<'static>)> {
    let (Some(on_board), Some(on_roster)) = (Board::area(row), Roster::area(row)) else {
        return Err(io::Error::other("there is no such row"));
    };
    let parts = [on_board, Board::units(), moved(on_roster), moved(Roster::shared())];
    let confined = shared.confine(file, &parts)?;
    let words = confined.words;
    match confined.writable.as_slice() {
        [own, units, counts, common] => Ok((
            WorkerBoard::new(words, row, own, units),
            WorkerRoster::new(behind_the_board(words), row, counts, common),
        )),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn behind_the_board(words: &'static [AtomicU64]) -> &'static [AtomicU64] {
    words.get(board::WORDS..).unwrap_or_default()
}

/// Words of the roster, counted from the beginning of the memory.
fn moved(words: Range<usize>) -> Range<usize> {
    words.start + board::WORDS..words.end + board::WORDS
}
