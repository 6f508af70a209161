//! What a worker tells of itself: the access log and its counters on the board, once a turn.

use crate::accesslog::{self, Format, Record};
use crate::config::AccessLog;
use crate::control::command::LogStatus;
use crate::dispatch::WorkerBoard;
use crate::sys::sink::{self, Lost, Sink};
use std::os::fd::OwnedFd;

/// Lines are written at the end of a turn, or earlier when so many bytes wait.
const FLUSH_ABOVE: usize = 64 * 1024;

/// See the module.
pub(super) struct Report {
    log: Option<Sink>,
    format: Option<Format>,
    path: String,
    lines: Vec<u8>,
    /// What could not be written.
    lost: Option<Lost>,
    /// Lines that the master knows to be lost: of the access log, and of our messages.
    told: [u64; 2],
    turn: u64,
    /// Requests of this turn.
    requests: u64,
}

impl Report {
    pub(super) fn new(log: Option<OwnedFd>, access: Option<&AccessLog>) -> Self {
        let path = access.and_then(|access| access.path.as_ref());
        Self {
            log: log.map(Sink::new),
            format: access.map(|access| access.format),
            path: path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string()),
            lines: Vec::new(),
            lost: None,
            told: [0; 2],
            turn: 0,
            requests: 0,
        }
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
            let before = self.lost.take();
            match (log.append(&self.lines), before) {
                (Err(lost), before) => {
                    if before.is_none() {
                        let (path, reason) = (&self.path, lost.reason());
                        log::error!(
                            "worker: cannot write the access log {path}: {reason}; lines are lost until it works again"
                        );
                    }
                    self.lost = Some(lost.after(before));
                }
                (Ok(()), Some(lost)) => log::info!("worker: the access log works again; {lost}"),
                (Ok(()), None) => {}
            }
        }
        self.lines.clear();
    }

    /// Logs of which the master is to be told that they cannot be written, at once and whenever they have lost twice as much,
    /// or that they can again.
    pub(super) fn news(&mut self) -> Vec<LogStatus> {
        let [access, messages] = &mut self.told;
        let access = news(self.lost.as_ref(), access, "access", &self.path);
        access.into_iter().chain(news(sink::lost_messages().as_ref(), messages, "error", "")).collect()
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

fn news(lost: Option<&Lost>, told: &mut u64, log: &str, path: &str) -> Option<LogStatus> {
    let lines = lost.map_or(0, |lost| lost.lines);
    // Less than before: it has worked meanwhile.
    let is_new = lines < *told || (lines > 0 && lines / 2 >= *told);
    is_new.then(|| {
        *told = lines;
        LogStatus {
            log: log.to_owned(),
            path: path.to_owned(),
            since: lost.map(Lost::since).unwrap_or_default(),
            error: lost.map(Lost::reason).unwrap_or_default(),
            lines,
            bytes: lost.map_or(0, |lost| lost.bytes),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_at_once_then_when_it_has_doubled_and_at_the_end() {
        let mut told = 0;
        let mut lines = |count: usize| {
            let lost = Lost::new(std::io::Error::from_raw_os_error(28), "x\n".repeat(count).as_bytes());
            news(Some(&lost).filter(|_| count > 0), &mut told, "access", "a.log").map(|status| status.lines)
        };
        let counts = [0, 1, 1, 2, 3, 4, 7, 100, 0, 0, 1];
        let expected = [None, Some(1), None, Some(2), None, Some(4), None, Some(100), Some(0), None, Some(1)];
        assert_eq!(counts.map(&mut lines), expected);
    }
}
