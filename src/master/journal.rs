//! What children printed last, for `hatchery logs`: also of those that have ended since. And what the server itself has
//! logged, under a name that no child has and without the queries of requests.

use super::events::Event;
use crate::control::command::LogLine;
use crate::control::text::{line, without_queries};
use crate::sys::clock;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Kept of each app or job, in bytes.
const KEPT: usize = 64 * 1024;

/// The name of the server's own messages; the configuration refuses it for others.
pub(super) const OWN: &str = "hatchery";

/// Where those of workers are kept, which cannot push out what the master says; no name has a space.
const WORKERS: &str = "hatchery workers";

/// The last lines of every app and job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    /// By name of the app or job.
    kept: BTreeMap<String, Kept>,
    /// Number of the newest line.
    last: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// Lines that there have been.
    #[serde(default)]
    count: u64,
}

impl Journal {
    /// What a child has printed: `name` is the app or job, `child` which process of it. It also goes to the log.
    pub(super) fn write(&mut self, name: &str, child: &str, event: Event) {
        let level = if event.is_error { log::Level::Error } else { log::Level::Info };
        super::logger::print(level, child, &event.lines);
        event.lines.into_iter().for_each(|text| self.keep(name, child, text));
    }

    /// A line of ours about what a child prints; as before.
    pub(super) fn warn(&mut self, name: &str, child: &str, text: String) {
        log::warn!(target: "hatchery", "{child}: {text}");
        self.keep(name, child, text);
    }

    /// A message of the master's.
    pub(super) fn note(&mut self, text: &str) {
        text.split('\n').for_each(|text| self.keep(OWN, OWN, without_queries(text)));
    }

    /// A message of a worker's, as it says.
    pub(super) fn note_of(&mut self, worker: &str, text: &str) {
        text.split('\n').for_each(|text| self.keep(WORKERS, worker, line(&without_queries(text))));
    }

    fn keep(&mut self, name: &str, child: &str, text: String) {
        self.last += 1;
        if !self.kept.contains_key(name) {
            self.kept.insert(name.to_owned(), Kept::default());
        }
        let Some(kept) = self.kept.get_mut(name) else { return };
        let line = LogLine { number: self.last, child: child.to_owned(), text, at: clock::wall() };
        kept.count += 1;
        kept.bytes += line.weight();
        kept.lines.push_back(line);
        while kept.bytes > KEPT
            && let Some(line) = kept.lines.pop_front()
        {
            kept.bytes -= line.weight();
        }
    }

    /// Number of the newest line.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The lines of one app or job, of the server itself, or of all apps and jobs, after the one of that number; in the order
    /// in which they came.
    pub(super) fn after(&self, name: Option<&str>, number: u64) -> Vec<LogLine> {
        let new = |kept: &Kept| {
            let first = kept.lines.partition_point(|line| line.number <= number);
            kept.lines.range(first..).cloned().collect::<Vec<_>>()
        };
        let mut lines: Vec<LogLine> = self.wanted(name).flat_map(new).collect();
        lines.sort_by_key(|line| line.number);
        lines
    }

    /// How many lines of the same there have been.
    pub(super) fn count(&self, name: Option<&str>) -> u64 {
        self.wanted(name).map(|kept| kept.count).sum()
    }

    fn wanted(&self, name: Option<&str>) -> impl Iterator<Item = &Kept> {
        let is_wanted = move |key: &str| match name {
            None => !is_own(key),
            Some(OWN) => is_own(key),
            Some(name) => key == name,
        };
        self.kept.iter().filter(move |(key, _)| is_wanted(key)).map(|(_, kept)| kept)
    }

    /// Forgets apps and jobs that there are no more.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.kept.retain(|name, _| is_own(name) || exists(name));
    }
}

fn is_own(key: &str) -> bool {
    [OWN, WORKERS].contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_their_order_from_all_or_from_one() {
        let mut journal = Journal::default();
        for (name, child, text) in
            [("shop", "app shop 0", "a"), ("blog", "app blog 0", "b"), ("shop", "app shop 1", "c")]
        {
            journal.write(name, child, Event { lines: vec![text.to_owned()], is_error: false });
        }
        let texts = |name, after| {
            journal.after(name, after).into_iter().map(|line| line.text).collect::<Vec<_>>().concat()
        };
        assert_eq!(texts(None, 0), "abc");
        assert_eq!(texts(Some("shop"), 0), "ac");
        assert_eq!(texts(Some("shop"), 1), "c");
        assert_eq!(texts(None, journal.last()), "");
        assert_eq!(texts(Some("wiki"), 0), "");
    }

    #[test]
    fn the_servers_own_messages_are_apart() {
        let mut journal = Journal::default();
        journal.note("INFO  begins /a?b=c\n    | goes on");
        (0..10_000).for_each(|_| journal.note_of("worker 0", "ERROR \x1b[2J /d?e=f HTTP/1.1"));
        journal.write("shop", "app shop 0", Event { lines: vec!["printed".to_owned()], is_error: false });
        journal.retain(|name| name == "shop");
        assert_eq!(journal.after(None, 0).len(), 1);
        let own = journal.after(Some(OWN), 0);
        assert_eq!([&*own[0].text, &own[1].text], ["INFO  begins /a", "    | goes on"]);
        assert_eq!((&*own[2].child, &*own[2].text), ("worker 0", "ERROR \\x1b[2J /d HTTP/1.1"));
        assert!(own.len() < 2000);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_lines_stay() {
        let lines: Vec<String> = (0..10_000).map(|number| format!("line {number}")).collect();
        let mut journal = Journal::default();
        journal.write("shop", "app shop 0", Event { lines, is_error: true });
        let lines = journal.after(Some("shop"), 0);
        assert!(lines.iter().map(LogLine::weight).sum::<usize>() <= KEPT);
        assert!(lines.len() > 500 && lines.last().unwrap().text == "line 9999");
        journal.write("shop", "app shop 0", Event { lines: vec!["x".repeat(KEPT * 2)], is_error: false });
        assert_eq!(journal.after(Some("shop"), 0).len(), 0, "a line above the bound is not kept");
        assert_eq!((journal.count(Some("shop")), journal.count(None)), (10_001, 10_001));
        journal.retain(|name| name != "shop");
        assert!(journal.kept.is_empty());
    }
}
