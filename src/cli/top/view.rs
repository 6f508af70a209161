//! What `hatchery top` draws: a line for each process, in an order and from a line on that keys change. Pure.

use super::keys::Key;
use crate::cli::status::{Health, problems, row_of_job, size, summary};
use crate::control::command::{ChildStatus, PoolStatus, Running, Status};
use crate::control::text::{self, about};
use crate::timer::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

/// By what the lines are sorted, the largest first; names from A to Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Cpu,
    Memory,
    Requests,
    Name,
}

/// Each with its name, the key that chooses it, and the one that follows upon `s`.
const SORTS: [(Sort, &str, char, Sort); 4] = [
    (Sort::Cpu, "cpu", 'c', Sort::Memory),
    (Sort::Memory, "memory", 'm', Sort::Requests),
    (Sort::Requests, "requests", 'r', Sort::Name),
    (Sort::Name, "name", 'n', Sort::Cpu),
];

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct View {
    head: Vec<(Health, String)>,
    rows: Vec<Row>,
    sort: Sort,
    /// The first line that is drawn.
    first: usize,
    /// Lines that were drawn last.
    page: usize,
    /// When the processes were last looked at, and what processor time each had had by then, in milliseconds.
    seen: Option<(Time, BTreeMap<u32, u64>)>,
}

#[derive(Clone, Debug)]
struct Row {
    health: Health,
    name: String,
    pid: u32,
    state: String,
    /// Seconds.
    up: Option<u64>,
    /// Percent of one processor.
    cpu: Option<f64>,
    memory: Option<u64>,
    requests: Option<u64>,
    /// Whatever else is to be said.
    more: String,
}

impl View {
    /// Takes in how the server is at `now`.
    pub(super) fn take(&mut self, status: &Status, now: Time) {
        self.head = vec![(Health::Good, summary(status))];
        for problem in problems(status) {
            // All of it is in `status`.
            let lines = problem.lines().take(3).map(|line| (Health::Failed, line.to_owned()));
            self.head.extend(lines);
        }
        self.rows = status.pools.iter().flat_map(|pool| self.rows_of(pool, now)).collect();
        self.rows.extend(status.cron.iter().map(|job| Row {
            health: Health::of_job(job),
            more: row_of_job(job).trim_start().trim_start_matches(job.name.as_str()).to_owned(),
            ..Row::of("cron", &job.name, if job.running.is_empty() { "waiting" } else { "running" })
        }));
        let children = status.pools.iter().flat_map(|pool| &pool.children);
        self.seen = Some((now, children.map(|child| (child.pid, child.cpu_ms)).collect()));
        self.order();
    }

    /// The server does not answer, for that reason.
    pub(super) fn lack(&mut self, reason: &str) {
        self.head = reason.lines().map(|line| (Health::Failed, line.to_owned())).collect();
        self.rows.clear();
        self.seen = None;
    }

    /// Does what a key means; false: the end.
    pub(super) fn press(&mut self, key: Key) -> bool {
        let page = self.page.max(1);
        match key {
            Key::Char('q' | 'Q') => return false,
            Key::Up | Key::Char('k') => self.first = self.first.saturating_sub(1),
            Key::Down | Key::Char('j') => self.first += 1,
            Key::PageUp | Key::Char('b') => self.first = self.first.saturating_sub(page),
            Key::PageDown | Key::Char(' ') => self.first += page,
            Key::Home | Key::Char('g') => self.first = 0,
            Key::End | Key::Char('G') => self.first = usize::MAX / 2,
            Key::Char(key) => {
                let (sort, _, _, next) = self.sorted();
                let chosen = SORTS.iter().find(|(_, _, letter, _)| key.eq_ignore_ascii_case(letter));
                self.sort = chosen.map_or(if key == 's' { next } else { sort }, |(sort, ..)| *sort);
                self.order();
            }
        }
        // Within what there is, so that the next key does something.
        self.first = self.first.min(self.rows.len().saturating_sub(self.page.max(1)));
        true
    }

    /// Lines that fit a window of so many rows and columns.
    pub(super) fn lines(&mut self, (rows, columns): (usize, usize)) -> Vec<(Health, String)> {
        let mut lines = self.head.clone();
        // A line for the keys, and one for the columns.
        self.page = rows.saturating_sub(lines.len() + 2);
        self.first = self.first.min(self.rows.len().saturating_sub(self.page.max(1)));
        let shown = || self.rows.iter().skip(self.first).take(self.page);
        let (_, sort, ..) = self.sorted();
        let (from, to) = (self.first + shown().count().min(1), self.first + shown().count());
        let place = format!("{from}-{to} of {}", self.rows.len());
        lines.push((
            Health::Good,
            format!("sorted by {sort} (s, or c m r n)  {place} (arrows, pages)  q quits"),
        ));
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(4);
        lines.push((
            Health::Good,
            format!("{:width$}      pid  state       up    cpu%     memory  requests", "unit"),
        ));
        lines.extend(shown().map(|row| (row.health, row.line(width))));
        let cut = |line: &str| text::line(line).chars().take(columns).collect();
        lines.into_iter().take(rows).map(|(health, line)| (health, cut(&line))).collect()
    }

    fn sorted(&self) -> (Sort, &'static str, char, Sort) {
        SORTS.into_iter().find(|(sort, ..)| *sort == self.sort).unwrap_or(SORTS[0])
    }

    fn order(&mut self) {
        let sort = self.sort;
        self.rows.sort_by(|one, other| {
            let by = match sort {
                Sort::Cpu => other.cpu.unwrap_or(-1.0).total_cmp(&one.cpu.unwrap_or(-1.0)),
                Sort::Memory => Reverse(one.memory).cmp(&Reverse(other.memory)),
                Sort::Requests => Reverse(one.requests).cmp(&Reverse(other.requests)),
                Sort::Name => Ordering::Equal,
            };
            by.then_with(|| one.name.cmp(&other.name))
        });
    }

    /// Its processes, or how it is without any.
    fn rows_of(&self, pool: &PoolStatus, now: Time) -> Vec<Row> {
        let kind = if pool.kind == "workers" { "worker" } else { &pool.kind };
        let name =
            if matches!(pool.kind.as_str(), "workers" | "helper" | "resolver") { "" } else { &pool.name };
        let health = Health::of_pool(pool);
        let of =
            |what: &str, state: &str| Row { health, ..Row::of(kind, format!("{name} {what}").trim(), state) };
        let children = pool.children.iter().map(|child| Row {
            pid: child.pid,
            up: Some(child.uptime_seconds),
            cpu: Some(self.cpu(child, now)),
            memory: Some(child.rss_bytes),
            requests: child.requests,
            more: more(child),
            ..of(&child.number.to_string(), &child.state)
        });
        let templates = pool.templates.iter().map(|template| Row {
            pid: template.pid,
            up: Some(template.uptime_seconds),
            memory: Some(template.rss_bytes),
            ..of("template", &template.state)
        });
        let abandoned = pool.unkillable.iter().map(|process| Row {
            pid: process.pid,
            more: format!("  {}", process.reason),
            ..of(&process.number.map_or("template".to_owned(), |number| number.to_string()), "undying")
        });
        let rows: Vec<Row> = children.chain(templates).chain(abandoned).collect();
        if rows.is_empty() { vec![of("", &pool.state)] } else { rows }
    }

    /// What a process has had of a processor since the last look, or in all its life.
    fn cpu(&self, child: &ChildStatus, now: Time) -> f64 {
        let seen = self.seen.as_ref().and_then(|(at, cpu)| Some((*at, *cpu.get(&child.pid)?)));
        let (used, time) = match seen {
            Some((at, before)) if now > at => {
                (child.cpu_ms.saturating_sub(before), now.since(at).as_millis() as f64)
            }
            _ => (child.cpu_ms, child.uptime_seconds.max(1) as f64 * 1000.0),
        };
        used as f64 * 100.0 / time
    }
}

fn more(child: &ChildStatus) -> String {
    let connections = child.connections.map(|count| format!("  connections {count}"));
    let runs = child
        .running
        .iter()
        .map(|Running { request, seconds }| format!("  runs {request} for {}", about(*seconds)));
    connections.into_iter().chain(runs).collect()
}

impl Row {
    fn of(kind: &str, name: &str, state: &str) -> Self {
        Self {
            health: Health::Good,
            name: text::line(format!("{kind} {name}").trim()),
            pid: 0,
            state: state.to_owned(),
            up: None,
            cpu: None,
            memory: None,
            requests: None,
            more: String::new(),
        }
    }

    fn line(&self, width: usize) -> String {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let pid = or_none(Some(self.pid).filter(|pid| *pid > 0).map(|pid| pid.to_string()));
        let (name, state, more) = (&self.name, &self.state, &self.more);
        let (up, cpu) = (or_none(self.up.map(about)), or_none(self.cpu.map(|cpu| format!("{cpu:.1}"))));
        let (memory, requests) =
            (or_none(self.memory.map(size)), or_none(self.requests.map(|count| count.to_string())));
        format!("{name:width$}  {pid:>7}  {state:<8}  {up:>4}  {cpu:>6}  {memory:>9}  {requests:>8}{more}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(number: u16, cpu_ms: u64, rss_bytes: u64, requests: u64) -> ChildStatus {
        let (pid, requests) = (100 + u32::from(number), Some(requests));
        ChildStatus { pid, number, cpu_ms, rss_bytes, requests, uptime_seconds: 10, ..ChildStatus::default() }
    }

    fn status() -> Status {
        let workers = vec![child(0, 100, 3 << 20, 5), child(1, 300, 1 << 20, 7), child(2, 200, 2 << 20, 6)];
        let workers = PoolStatus { kind: "workers".into(), children: workers, ..PoolStatus::default() };
        let app = PoolStatus {
            kind: "app".into(),
            name: "shop".into(),
            state: "failed".into(),
            ..PoolStatus::default()
        };
        Status { pools: vec![workers, app], ..Status::default() }
    }

    fn shown(view: &mut View) -> String {
        let lines = view.lines((99, 99)).into_iter().skip(3);
        lines.map(|(_, line)| line.split("  ").next().unwrap().to_owned() + ",").collect()
    }

    #[test]
    fn lines_are_sorted_as_the_head_says() {
        let mut view = View::default();
        view.take(&status(), Time(0));
        for (key, sort, expected) in [
            (' ', "cpu", "worker 1,worker 2,worker 0,app shop,"),
            ('s', "memory", "worker 0,worker 2,worker 1,app shop,"),
            ('s', "requests", "worker 1,worker 2,worker 0,app shop,"),
            ('s', "name", "app shop,worker 0,worker 1,worker 2,"),
            ('s', "cpu", "worker 1,worker 2,worker 0,app shop,"),
            ('m', "memory", "worker 0,worker 2,worker 1,app shop,"),
            ('N', "name", "app shop,worker 0,worker 1,worker 2,"),
            ('x', "name", "app shop,worker 0,worker 1,worker 2,"),
        ] {
            assert!(view.press(Key::Char(key)));
            assert_eq!(shown(&mut view), expected, "{key}");
            assert!(view.lines((99, 99))[1].1.starts_with(&format!("sorted by {sort} ")), "{key}");
        }
        assert!(!view.press(Key::Char('q')));
    }

    #[test]
    fn the_processor_is_that_of_the_last_moment() {
        let mut view = View::default();
        view.take(&status(), Time(0));
        let mut later = status();
        later.pools[0].children[0].cpu_ms += 1000;
        view.take(&later, Time(2_000_000_000));
        assert_eq!(view.rows[0].cpu, Some(50.0));
        assert_eq!((view.rows[1].cpu, view.rows[3].cpu), (Some(0.0), None));
    }

    #[test]
    fn keys_move_within_what_there_is() {
        let mut view = View::default();
        view.take(&status(), Time(0));
        view.press(Key::Char('n'));
        // Two of four lines fit.
        let mut first = |key| {
            view.press(key);
            view.lines((5, 99))[3].1.split("  ").next().unwrap().to_owned()
        };
        for (key, expected) in [
            (Key::Up, "app shop"),
            (Key::Down, "worker 0"),
            (Key::PageDown, "worker 1"),
            (Key::Down, "worker 1"),
            (Key::Char('k'), "worker 0"),
            (Key::PageUp, "app shop"),
            (Key::Char('j'), "worker 0"),
            (Key::End, "worker 1"),
            (Key::Up, "worker 0"),
            (Key::Home, "app shop"),
        ] {
            assert_eq!(first(key), expected, "{key:?}");
        }
        view.press(Key::End);
        assert!(view.lines((5, 99))[1].1.contains("  3-4 of 4 "));
        // The window has grown, or is tiny, or the server has gone.
        assert_eq!(view.lines((99, 99)).len(), 7);
        for size in [(0, 0), (1, 1), (3, 5), (4, 1)] {
            let lines = view.lines(size);
            assert!(lines.len() <= size.0 && lines.iter().all(|(_, line)| line.chars().count() <= size.1));
            assert!(view.press(Key::PageDown) && view.press(Key::End));
        }
        view.lack("no master\nlistens");
        assert_eq!(view.lines((99, 99))[1].1, "listens");
    }

    #[test]
    fn nothing_in_a_line_steers_the_terminal() {
        let forged = || "\x1b[2J\n\u{202e}".to_owned();
        let running = vec![Running { request: forged(), seconds: 1 }];
        let children = vec![ChildStatus { state: forged(), running, ..ChildStatus::default() }];
        let pool = PoolStatus { name: forged(), kind: forged(), children, ..PoolStatus::default() };
        let mut view = View::default();
        let status = Status {
            version: forged(),
            last_reload_error: Some(forged()),
            pools: vec![pool],
            ..Status::default()
        };
        view.take(&status, Time(0));
        assert!(view.lines((99, 99)).iter().all(|(_, line)| !line.contains(text::steers)));
    }
}
