//! What a worker tells of itself: the access logs and its counters on the board, once a turn.

use crate::accesslog::{self, Format, Record};
use crate::config::Config;
use crate::control::command::LogStatus;
use crate::dispatch::WorkerBoard;
use crate::sys::sink::{self, Lost, Sink};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Lines are written at the end of a turn, or earlier when so many bytes wait.
const FLUSH_ABOVE: usize = 64 * 1024;

/// See the module.
pub(super) struct Report {
    logs: Vec<Log>,
    /// Of each site, then of requests that are no site's: which log, and how its lines look there.
    lines: Vec<Option<(usize, Format)>>,
    /// Logs for which something waits.
    waiting: Vec<usize>,
    /// Lines of our messages that the master knows to be lost.
    told: u64,
    turn: u64,
    /// Requests of this turn.
    requests: u64,
}

/// An access log.
struct Log {
    /// `None`: standard output.
    path: Option<PathBuf>,
    sink: Sink,
    /// What waits.
    lines: Vec<u8>,
    /// What could not be written.
    lost: Option<Lost>,
    /// Lines of it that the master knows of.
    told: u64,
}

impl Report {
    /// With the descriptors of `config.access_logs()`; none in the trial of an upgrade.
    pub(super) fn new(config: &Config, descriptors: Vec<OwnedFd>) -> Self {
        let files = config.access_logs();
        let logs = files.iter().zip(descriptors).map(|((_, log), descriptor)| Log {
            path: log.path.clone(),
            sink: Sink::new(descriptor),
            lines: Vec::new(),
            lost: None,
            told: 0,
        });
        let of = |site| {
            let log = config.access_log(site)?;
            Some((files.iter().position(|(_, file)| file.path == log.path)?, log.format))
        };
        let sites = (0..config.sites.len()).map(Some).chain([None]);
        Self {
            logs: logs.collect(),
            lines: sites.map(of).collect(),
            waiting: Vec::new(),
            told: 0,
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
        for log in self.waiting.drain(..) {
            self.logs.get_mut(log).into_iter().for_each(Log::flush);
        }
    }

    /// Logs of which the master is to be told that they cannot be written, at once and whenever they have lost twice as much,
    /// or that they can again.
    pub(super) fn news(&mut self) -> Vec<LogStatus> {
        let logs = self.logs.iter_mut().filter(|log| log.lost.is_some() || log.told > 0);
        let logs = logs
            .filter_map(|log| news(log.lost.as_ref(), &mut log.told, "access", name(log.path.as_deref())));
        let own = news(sink::lost_messages().as_ref(), &mut self.told, "error", String::new());
        logs.chain(own).collect()
    }

    /// The master has reopened an access log.
    pub(super) fn reopen(&mut self, path: Option<&Path>, descriptor: Option<OwnedFd>) {
        let Some(log) = self.logs.iter_mut().find(|log| log.path.as_deref() == path) else { return };
        match descriptor {
            Some(descriptor) => log.sink = Sink::new(descriptor),
            None => log::error!(
                "worker: the access log {} stays as it was, for want of a descriptor; send USR1 to the master again \
                 once fewer connections are open, or raise the limit of open files",
                path.unwrap_or(Path::new("-")).display()
            ),
        }
    }

    /// Whether lines of this site, or of none, are written at all; if not, nobody need make them.
    pub(super) fn is_on(&self, site: Option<usize>) -> bool {
        self.place(site).is_some_and(|(log, _)| log < self.logs.len())
    }

    fn place(&self, site: Option<usize>) -> Option<(usize, Format)> {
        *site.map_or(self.lines.last(), |site| self.lines.get(site))?
    }

    /// One exchange is over.
    pub(super) fn count(&mut self) {
        self.requests += 1;
    }

    /// The line of an exchange with this site, or with none.
    pub(super) fn record(&mut self, site: Option<usize>, record: &Record<'_>) {
        let Some((log, format)) = self.place(site) else { return };
        let (number, Some(log)) = (log, self.logs.get_mut(log)) else { return };
        if log.lines.is_empty() {
            self.waiting.push(number);
        }
        accesslog::render(format, record, log.sink.longest_line(), &mut log.lines);
        if log.lines.len() > FLUSH_ABOVE {
            self.flush();
        }
    }
}

impl Log {
    fn flush(&mut self) {
        match (self.sink.append(&self.lines), self.lost.take()) {
            (Err(lost), before) => {
                if before.is_none() {
                    let (path, reason) = (name(self.path.as_deref()), lost.reason());
                    log::error!(
                        "worker: cannot write the access log {path}: {reason}; lines are lost until it works again"
                    );
                }
                self.lost = Some(lost.after(before));
            }
            (Ok(()), Some(lost)) => {
                log::info!("worker: the access log {} works again; {lost}", name(self.path.as_deref()));
            }
            (Ok(()), None) => {}
        }
        self.lines.clear();
    }
}

fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string())
}

fn news(lost: Option<&Lost>, told: &mut u64, log: &str, path: String) -> Option<LogStatus> {
    let lines = lost.map_or(0, |lost| lost.lines);
    // Less than before: it has worked meanwhile.
    let is_new = lines < *told || (lines > 0 && lines / 2 >= *told);
    is_new.then(|| {
        *told = lines;
        LogStatus {
            log: log.to_owned(),
            path,
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
            news(Some(&lost).filter(|_| count > 0), &mut told, "access", "a.log".to_owned())
                .map(|status| status.lines)
        };
        let counts = [0, 1, 1, 2, 3, 4, 7, 100, 0, 0, 1];
        let expected = [None, Some(1), None, Some(2), None, Some(4), None, Some(100), Some(0), None, Some(1)];
        assert_eq!(counts.map(&mut lines), expected);
    }
}
