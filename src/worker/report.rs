//! What a worker tells of itself: the access log and its counters on the board, once a turn.

use crate::accesslog::{self, Format, Record};
use crate::dispatch::WorkerBoard;
use crate::sys::sink::Sink;
use std::os::fd::OwnedFd;

/// Lines are written at the end of a turn, or earlier when so many bytes wait.
const FLUSH_ABOVE: usize = 64 * 1024;

/// See the module.
pub(super) struct Report {
    log: Option<Sink>,
    format: Option<Format>,
    lines: Vec<u8>,
    /// Lines that could not be written.
    lost: u64,
    turn: u64,
    /// Requests of this turn.
    requests: u64,
}

impl Report {
    pub(super) fn new(log: Option<OwnedFd>, format: Option<Format>) -> Self {
        Self { log: log.map(Sink::new), format, lines: Vec::new(), lost: 0, turn: 0, requests: 0 }
    }

    /// The loop is busy from here on; the master notices a worker that stays in one turn.
    pub(super) fn turn_begins(&mut self, board: WorkerBoard<'_>) {
        self.turn += 1;
        board.beat(self.turn);
    }

    /// The loop waits for events: it may do so for ever.
    pub(super) fn rests(&mut self, board: WorkerBoard<'_>) {
        board.rest();
    }

    /// Publishes the counters and writes the lines of this turn.
    pub(super) fn turn_ends(&mut self, board: WorkerBoard<'_>) {
        board.count_requests(std::mem::take(&mut self.requests));
        self.flush();
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Some(log) = &mut self.log {
            if let Err(error) = log.append(&self.lines) {
                if self.lost == 0 {
                    log::error!(
                        "worker: cannot write the access log: {error}; lines are lost until it works again"
                    );
                }
                self.lost += 1;
            } else if std::mem::take(&mut self.lost) > 0 {
                log::info!("worker: the access log works again");
            }
        }
        self.lines.clear();
    }

    /// The master has reopened the access log.
    pub(super) fn reopen(&mut self, log: Option<OwnedFd>) {
        if log.is_some() {
            self.log = log.map(Sink::new);
        }
    }

    /// Whether lines are written at all; if not, nobody need make them.
    pub(super) fn is_on(&self) -> bool {
        self.format.is_some() && self.log.is_some()
    }

    /// One exchange is over.
    pub(super) fn count(&mut self) {
        self.requests += 1;
    }

    /// The line of an exchange.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        let (Some(format), Some(log)) = (self.format, &self.log) else { return };
        accesslog::render(format, record, log.longest_line(), &mut self.lines);
        if self.lines.len() > FLUSH_ABOVE {
            self.flush();
        }
    }
}
