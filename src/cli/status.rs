//! `hatchery status`.

use super::locate::{self, Found, Master};
use super::{Failure, print, print_json};
use crate::control::command::{
    ChildStatus, JobStatus, PoolStatus, Request, Response, Running, SandboxStatus, Status, TemplateStatus,
    Unkillable,
};
use crate::control::text;
use crate::master::control;
use clap::Args;
use std::fmt::Write as _;
use std::time::Duration;

/// Show the running server: workers, apps, daemons, cron jobs
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As one JSON object, for scripts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master and prints its answer.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let found = arguments.master.find()?;
    if !found.is_in_sight {
        return show_masters(&control::masters(), arguments.json);
    }
    let status = asked(&found, control::STATUS)?;
    if arguments.json {
        return print_json(&status);
    }
    print(&table(&status))
}

/// Asks the running master.
pub(super) fn fetch(master: &Master) -> Result<Box<Status>, Failure> {
    fetch_within(master, control::STATUS)
}

/// Asks the running master, which has so long to answer.
pub(super) fn fetch_within(master: &Master, patience: Duration) -> Result<Box<Status>, Failure> {
    asked(&master.find()?, patience)
}

/// Nothing says which one is meant.
fn show_masters(masters: &[control::Running], json: bool) -> Result<u8, Failure> {
    match masters {
        _ if json => print_json(&masters),
        [] => Err(Failure::Failed(
            "no server of yours runs that can be found here, and there is no configuration in sight; name one with -c \
             FILE, or its control socket with --control PATH"
                .to_owned(),
        )),
        _ => print(&format!("these run; -c FILE or --control PATH shows one\n{}", locate::list(masters))),
    }
}

fn asked(found: &Found, patience: Duration) -> Result<Box<Status>, Failure> {
    match found.ask_within(&Request::Status, patience)? {
        Response::Status(status) => Ok(status),
        Response::Done { text } | Response::Failed { text } => Err(Failure::Failed(text)),
        Response::Logs { .. } => Err(Failure::Failed("the master answered another question".to_owned())),
    }
}

/// For people: each row is one line, whatever is in it.
pub(super) fn table(status: &Status) -> String {
    let mut out = String::new();
    let Status { pid, generation, uptime_seconds, .. } = status;
    let (version, mode, uptime) =
        (text::line(&status.version), text::line(&status.mode), duration(*uptime_seconds));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "hatchery {version}  {mode}  pid {pid}  generation {generation}  up {uptime}");
    if let Some(config) = &status.config {
        let _ = writeln!(out, "  configuration {}", text::line(&config.display().to_string()));
    }
    let listeners = status.listeners.iter().map(|listener| text::line(listener));
    listeners.for_each(|listener| _ = writeln!(out, "  listening on {listener}"));
    if let Some(error) = &status.last_reload_error {
        let _ = writeln!(out, "  last reload failed: {}", text::record(error.trim_end()));
    }
    if let Some(error) = &status.last_upgrade_error {
        let _ = writeln!(out, "  last upgrade failed: {}", text::record(error.trim_end()));
    }
    let SandboxStatus { mode, applied, missing } = &status.sandbox;
    if !mode.is_empty() {
        let without =
            if missing.is_empty() { String::new() } else { format!("; without {}", missing.join(", ")) };
        let _ =
            writeln!(out, "  {}", text::line(&format!("sandbox {mode}: {}{without}", applied.join(", "))));
    }
    status.pools.iter().for_each(|pool| show_pool(pool, &mut out));
    if !status.cron.is_empty() {
        let _ = writeln!(out, "\ncron");
        status.cron.iter().for_each(|job| show_job(job, &mut out));
    }
    out
}

fn show_pool(pool: &PoolStatus, out: &mut String) {
    let (least, most) = pool.processes;
    let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let name =
        if pool.kind == "workers" { pool.kind.clone() } else { format!("{} {}", pool.kind, pool.name) };
    let mut row = format!("{name}  {}  processes {count}", pool.state);
    if !pool.waits_for.is_empty() {
        let _ = write!(row, "  for {}", pool.waits_for.join(", "));
    }
    show_past(pool.restarts, pool.last_exit.as_deref(), &mut row);
    if let Some(wait) = pool.retry_in_ms {
        let _ = write!(row, "  next attempt in {:.1}s", wait as f64 / 1000.0);
    }
    let _ = writeln!(out, "\n{}", text::line(&row));
    if pool.children.is_empty() && pool.templates.is_empty() && pool.unkillable.is_empty() {
        return;
    }
    let serves = pool.children.iter().any(|child| child.requests.is_some());
    let head = if serves { "  requests  connections" } else { "" };
    let _ = writeln!(out, "     #      pid  gen  state       up      memory{head}");
    pool.templates.iter().for_each(|template| show_template(template, out));
    pool.children.iter().for_each(|child| show_child(child, out));
    pool.unkillable.iter().for_each(|process| show_unkillable(process, out));
}

fn show_template(template: &TemplateStatus, out: &mut String) {
    let TemplateStatus { pid, generation, state, uptime_seconds, rss_bytes, restarts, last_exit } = template;
    let (up, memory) = (duration(*uptime_seconds), size(*rss_bytes));
    let mut row = format!("     t  {pid:>7}  {generation:>3}  {state:<9}  {up:>6}  {memory:>8}  template");
    show_past(*restarts, last_exit.as_deref(), &mut row);
    let _ = writeln!(out, "{}", text::line(&row));
}

/// What became of those that had this place before.
fn show_past(restarts: u64, last_exit: Option<&str>, out: &mut String) {
    if restarts > 0 {
        let _ = write!(out, "  restarts {restarts}");
    }
    if let Some(exit) = last_exit {
        let _ = write!(out, "  last exit: {exit}");
    }
}

fn show_child(child: &ChildStatus, out: &mut String) {
    let ChildStatus {
        number, pid, generation, state, uptime_seconds, rss_bytes, requests, connections, ..
    } = child;
    let (up, memory) = (duration(*uptime_seconds), size(*rss_bytes));
    // One that waits for its template is no process yet.
    let pid = if *pid == 0 { "-".to_owned() } else { pid.to_string() };
    let mut row = format!("  {number:>4}  {pid:>7}  {generation:>3}  {state:<9}  {up:>6}  {memory:>8}");
    if let Some(requests) = requests {
        let _ = write!(row, "  {requests:>8}");
    }
    if let Some(connections) = connections {
        let _ = write!(row, "  {connections:>11}");
    }
    show_past(child.restarts, child.last_exit.as_deref(), &mut row);
    let _ = writeln!(out, "{}", text::line(&row));
    for Running { request, seconds } in &child.running {
        let _ = writeln!(out, "        {} for {}", text::line(request), duration(*seconds));
    }
}

fn show_unkillable(process: &Unkillable, out: &mut String) {
    let Unkillable { pid, number, generation, seconds, reason } = process;
    let since = duration(*seconds);
    let _ = writeln!(out, "  {number:>4}  {pid:>7}  {generation:>3}  does not die since {since}: {reason}");
}

/// One job of cron.
pub(super) fn show_job(job: &JobStatus, out: &mut String) {
    let next = job.next.as_deref().unwrap_or("never");
    let mut row = format!("  {}  at {}  next {next}", job.name, job.at);
    if !job.running.is_empty() {
        let since = job.running_since.iter().map(Some).chain(std::iter::repeat(None));
        let run = |(pid, since): (&u32, Option<&String>)| match since {
            Some(since) => format!("{pid} since {since}"),
            None => pid.to_string(),
        };
        let runs: Vec<String> = job.running.iter().zip(since).map(run).collect();
        let _ = write!(row, "  running: pid {}", runs.join(", "));
    }
    if let Some(last) = job.history.first() {
        let seconds = last.duration_ms as f64 / 1000.0;
        let _ = write!(row, "  last: {} after {seconds:.1}s ({})", last.outcome, last.started);
    }
    let _ = writeln!(out, "{}", text::line(&row));
}

/// `7s`, `3m`, `5h`, `12d`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `12.3MiB`.
fn size(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    format!("{:.1}MiB", bytes as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::RunStatus;

    #[test]
    fn the_table_shows_what_an_operator_looks_for() {
        let worker = ChildStatus {
            pid: 4712,
            number: 0,
            generation: 3,
            state: "ready".to_owned(),
            uptime_seconds: 125,
            rss_bytes: 5 << 20,
            restarts: 0,
            last_exit: None,
            requests: Some(1234),
            connections: Some(7),
            running: vec![Running { request: "GET /slow".to_owned(), seconds: 90 }],
        };
        let daemon = PoolStatus {
            name: "celery".into(),
            kind: "daemon".into(),
            state: "waiting".into(),
            processes: (1, 1),
            waits_for: vec!["redis".into(), "shop".into()],
            ..PoolStatus::default()
        };
        let pools = vec![
            PoolStatus {
                name: "worker".into(),
                kind: "workers".into(),
                state: "ready".into(),
                processes: (1, 1),
                children: vec![worker],
                ..PoolStatus::default()
            },
            PoolStatus {
                name: "shop".into(),
                kind: "app".into(),
                state: "failed".into(),
                processes: (0, 4),
                restarts: 2,
                last_exit: Some("exit 3".into()),
                retry_in_ms: Some(1500),
                ..PoolStatus::default()
            },
        ];
        let pools = [pools, vec![daemon]].concat();
        let cron = vec![JobStatus { name: "clean".into(), at: "17 3 * * *".into(), ..JobStatus::default() }];
        let status = Status {
            mode: "running".into(),
            generation: 3,
            listeners: vec!["[::]:80".into()],
            pools,
            cron,
            ..Status::default()
        };
        let text = table(&status);
        for part in [
            "running  pid 0  generation 3",
            "listening on [::]:80",
            "     0     4712    3  ready          2m    5.0MiB      1234            7\n",
            "        GET /slow for 1m\n",
            "app shop  failed  processes 0 to 4  restarts 2  last exit: exit 3  next attempt in 1.5s",
            "daemon celery  waiting  processes 1  for redis, shop\n",
            "clean  at 17 3 * * *  next never",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn a_row_stays_one_row_whatever_is_in_it() {
        let forged = || "\x1b[2J\n     0     4712    3  ready\r\u{9b}2J\u{202e}".to_owned();
        let child = ChildStatus {
            state: forged(),
            last_exit: Some(forged()),
            running: vec![Running { request: forged(), seconds: 90 }],
            ..ChildStatus::default()
        };
        let template =
            TemplateStatus { state: forged(), last_exit: Some(forged()), ..TemplateStatus::default() };
        let run = RunStatus { started: forged(), outcome: forged(), ..Default::default() };
        let job = JobStatus {
            name: forged(),
            at: forged(),
            next: Some(forged()),
            history: vec![run],
            ..JobStatus::default()
        };
        let pool = PoolStatus {
            name: forged(),
            kind: forged(),
            state: forged(),
            waits_for: vec![forged()],
            last_exit: Some(forged()),
            children: vec![child],
            templates: vec![template],
            ..PoolStatus::default()
        };
        let status = Status {
            version: forged(),
            mode: forged(),
            config: Some(forged().into()),
            listeners: vec![forged()],
            last_reload_error: Some(forged()),
            last_upgrade_error: Some(forged()),
            sandbox: SandboxStatus { mode: forged(), applied: vec![forged()], missing: vec![forged()] },
            pools: vec![pool],
            cron: vec![job],
            ..Status::default()
        };
        let text = table(&status);
        assert!(!text.contains(|char| char != '\n' && text::steers(char)), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("0     4712")), "{text}");
    }

    #[test]
    fn times_are_short() {
        assert_eq!([59, 60, 7199, 90_000].map(duration), ["59s", "1m", "1h", "1d"]);
    }
}
