//! `hatchery status`.

mod cache;
mod limits;
mod upstreams;

use super::locate::{self, Found, Master};
use super::{Failure, names, print, print_json, put, stacks};
use crate::config::certificate_files::SOON;
use crate::config::suggestion;
use crate::control::command::{
    CertificateStatus, ChildStatus, JobStatus, LogStatus, MaintenanceStatus, PoolStatus, Request, Response,
    Running, SandboxStatus, Status, TemplateStatus, Unkillable,
};
use crate::control::text::{self, about};
use crate::master::control;
use clap::Args;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

/// Show the running server: workers, apps, daemons, cron jobs, upstreams, a line each; what has failed comes first
///
/// Without a configuration in sight: the servers that run.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One app, daemon, cron job or upstream, or `workers`, with its processes; else all
    #[arg(add = names::of(&["workers", "app", "daemon", "cron", "upstream"]))]
    name: Option<String>,
    /// A line for each process, too
    #[arg(short, long)]
    verbose: bool,
    /// Where each thread of the app is: the Python stacks of its processes
    #[arg(long, requires = "name")]
    stacks: bool,
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
    let mut status = asked_within(&found, control::STATUS)?;
    if let Some(name) = &arguments.name {
        only(&mut status, name)?;
    }
    if arguments.stacks {
        fill_stacks(&found, &mut status)?;
    }
    if arguments.json {
        return print_json(&status);
    }
    let look = Look { verbose: arguments.verbose || arguments.name.is_some(), coloured: is_coloured() };
    put(&if arguments.name.is_some() { units(&status, look) } else { table(&status, look) })
}

/// Leaves what has this name.
fn only(status: &mut Status, name: &str) -> Result<(), Failure> {
    let pools = status.pools.iter().map(unit_name);
    let jobs = status.cron.iter().map(|job| job.name.as_str());
    let upstreams = status.upstreams.iter().map(|upstream| upstream.name.as_str());
    let names: Vec<&str> = pools.chain(jobs).chain(upstreams).collect();
    let name = if name == "worker" && !names.contains(&name) { "workers" } else { name };
    if !names.contains(&name) {
        let (there, meant) = (names.join(", "), suggestion(name, &names));
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
        let what = "there is no app, daemon, cron job or upstream";
        return Err(Failure::Failed(format!("{what} \"{name}\"; there is: {there}{meant}")));
    }
    status.pools.retain(|pool| unit_name(pool) == name);
    status.cron.retain(|job| job.name == name);
    status.upstreams.retain(|upstream| upstream.name == name);
    status.certificates.clear();
    status.cache = None;
    status.limits.limits.clear();
    Ok(())
}

fn fill_stacks(found: &Found, status: &mut Status) -> Result<(), Failure> {
    match status.pools.iter_mut().find(|pool| pool.kind == "app") {
        Some(app) => stacks::fill(found, app),
        None => Err(Failure::Failed("only the processes of apps have Python stacks to show".to_owned())),
    }
}

/// By what commands call it.
fn unit_name(pool: &PoolStatus) -> &str {
    if pool.kind == "workers" { "workers" } else { &pool.name }
}

/// Asks the running master.
pub(super) fn fetch(master: &Master) -> Result<Box<Status>, Failure> {
    fetch_within(master, control::STATUS)
}

/// Asks the running master, which has so long to answer.
pub(super) fn fetch_within(master: &Master, patience: Duration) -> Result<Box<Status>, Failure> {
    asked_within(&master.find()?, patience)
}

/// Nothing says which one is meant.
fn show_masters(masters: &[control::Running], json: bool) -> Result<u8, Failure> {
    match masters {
        // No server answers, as without it.
        [] if json => print_json(&masters).map(|_| 1),
        _ if json => print_json(&masters),
        [] => Err(Failure::Failed(
            "no server of yours runs that can be found here, and there is no configuration in sight; name one with -c \
             FILE, or its control socket with --control PATH"
                .to_owned(),
        )),
        _ => print(&format!("these run; -c FILE or --control PATH shows one\n{}", locate::list(masters))),
    }
}

/// Asks that master, which has so long to answer.
pub(super) fn asked_within(found: &Found, patience: Duration) -> Result<Box<Status>, Failure> {
    match found.ask_within(&Request::Status, patience)? {
        Response::Status(status) => Ok(status),
        Response::Done { text } | Response::Failed { text } => Err(Failure::Failed(text)),
        Response::Logs { .. } | Response::Asked { .. } => {
            Err(Failure::Failed("the master answered another question".to_owned()))
        }
    }
}

/// How much of it is shown, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// A line for each process, too.
    pub(super) verbose: bool,
    /// In colours, which are for terminals only.
    pub(super) coloured: bool,
}

/// How a thing is; what is worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Failed,
    Ailing,
    Good,
}

impl Health {
    pub(super) fn of_pool(pool: &PoolStatus) -> Self {
        match pool.state.as_str() {
            "failed" => Self::Failed,
            "starting" | "waiting" | "stopped" => Self::Ailing,
            _ if pool.retry_in_ms.is_some() || !pool.unkillable.is_empty() => Self::Ailing,
            _ => Self::Good,
        }
    }

    pub(super) fn of_job(job: &JobStatus) -> Self {
        let last = job.history.first().map_or("ok", |run| &run.outcome);
        // Skipped, or told to end.
        let harmless = ["ok", "skipped: ", "ended: "].iter().any(|start| last.starts_with(start));
        if harmless { Self::Good } else { Self::Failed }
    }

    fn of_certificate(certificate: &CertificateStatus) -> Self {
        match certificate.expires_in_seconds {
            ..0 => Self::Failed,
            _ if certificate.fault.is_some() || until(certificate) > 0 => Self::Failed,
            _ if certificate.acme.as_ref().is_some_and(|acme| acme.starts_with("waiting: ")) => Self::Ailing,
            left if left < SOON => Self::Ailing,
            _ => Self::Good,
        }
    }

    /// SGR of ECMA-48: red and yellow.
    pub(super) fn paint(self, line: &str) -> String {
        let colour = match self {
            Self::Failed => 31,
            Self::Ailing => 33,
            Self::Good => return line.to_owned(),
        };
        format!("\x1b[{colour}m{line}\x1b[0m")
    }
}

/// Lines for people: each is one line, whatever is in it.
struct Page {
    text: String,
    look: Look,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.line_of(Health::Good, &text::line(line));
    }

    /// Its head, apart from what is above it.
    fn section(&mut self, name: &str, is_there: bool) {
        if is_there {
            let space = if self.text.is_empty() { "" } else { "\n" };
            let _ = writeln!(self.text, "{space}{name}");
        }
    }

    /// `line` steers no terminal.
    fn line_of(&mut self, health: Health, line: &str) {
        let line = if self.look.coloured { health.paint(line) } else { line.to_owned() };
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// The whole status.
pub(super) fn table(status: &Status, look: Look) -> String {
    let mut page = Page { text: String::new(), look };
    page.line(&summary(status));
    if let Some(config) = &status.config {
        page.line(&format!("  configuration {}", config.display()));
    }
    status.listeners.iter().for_each(|listener| page.line(&format!("  listening on {listener}")));
    problems(status).iter().for_each(|problem| page.line_of(Health::Failed, problem));
    let SandboxStatus { mode, applied, missing } = &status.sandbox;
    if !mode.is_empty() {
        let without =
            if missing.is_empty() { String::new() } else { format!("; without {}", missing.join(", ")) };
        page.line(&format!("  sandbox {mode}: {}{without}", applied.join(", ")));
    }
    page.text.push('\n');
    page.text + &units(status, look)
}

/// The server in one line.
pub(super) fn summary(status: &Status) -> String {
    let Status { version, mode, pid, generation, uptime_seconds, .. } = status;
    let up = about(*uptime_seconds);
    format!("hatchery {version}  {mode}  pid {pid}  generation {generation}  up {up}")
}

/// What is wrong with the server itself; each steers no terminal and may have several lines.
pub(super) fn problems(status: &Status) -> Vec<String> {
    let last = [("reload", &status.last_reload_error), ("upgrade", &status.last_upgrade_error)];
    let last = last.into_iter().filter_map(|(what, error)| {
        Some(format!("  last {what} failed: {}", text::record(error.as_ref()?.trim_end())))
    });
    let log = |LogStatus { log, path, since, error, lines, bytes }: &LogStatus| {
        let lost = format!("lost {lines} lines ({bytes} bytes) or more");
        text::line(&format!("  {log} log {path}: cannot be written since {since}: {error}; {lost}"))
    };
    let closed = |closed: &MaintenanceStatus| {
        let MaintenanceStatus { site, seconds, allow, .. } = closed;
        let but = if allow.is_empty() { String::new() } else { format!(" but for {}", allow.join(", ")) };
        let since = about(*seconds);
        text::line(&format!(
            "  {site} is closed for maintenance since {since}{but}; `hatchery maintenance off {site}` opens it"
        ))
    };
    let closed = status.maintenance.iter().map(closed);
    last.chain(status.logs.iter().map(log)).chain(closed).collect()
}

/// The units alone.
fn units(status: &Status, look: Look) -> String {
    let mut page = Page { text: String::new(), look };
    if !status.pools.is_empty() {
        show_pools(&status.pools, &mut page);
    }
    page.section("cron", !status.cron.is_empty());
    show_jobs(&status.cron, &mut page);
    page.section("upstreams", !status.upstreams.is_empty());
    upstreams::show(&status.upstreams, &mut page);
    cache::show(status.cache.as_ref(), &mut page);
    limits::show(&status.limits, &mut page);
    page.section("certificates", !status.certificates.is_empty());
    for certificate in &status.certificates {
        page.line_of(
            Health::of_certificate(certificate),
            &text::line(&certificate_line(certificate, page.look.verbose)),
        );
    }
    page.text
}

fn show_pools(pools: &[PoolStatus], page: &mut Page) {
    let mut pools: Vec<&PoolStatus> = pools.iter().collect();
    pools.sort_by_key(|pool| Health::of_pool(pool));
    let name = |pool: &PoolStatus| match pool.kind.as_str() {
        kind @ ("workers" | "helper" | "resolver") => kind.to_owned(),
        kind => text::line(&format!("{kind} {}", pool.name)),
    };
    let width = pools.iter().map(|pool| name(pool).chars().count()).max().unwrap_or(0);
    let _ = writeln!(page.text, "{:width$}  state     processes     memory", "unit");
    for (number, pool) in pools.into_iter().enumerate() {
        if page.look.verbose && number > 0 {
            page.text.push('\n');
        }
        let unit = format!("{:width$}  {}", name(pool), text::line(&unit(pool)));
        page.line_of(Health::of_pool(pool), &unit);
        if page.look.verbose {
            show_processes(pool, page);
        }
    }
}

/// `  shop.example  expires in 61d  from R11 (Let's Encrypt), by file /k/shop.pem (ECDSA P-256)  for shop.example`
fn certificate_line(certificate: &CertificateStatus, is_verbose: bool) -> String {
    let CertificateStatus { site, names, issuer, expires_in_seconds: left, from, fault, acme, .. } =
        certificate;
    let end = if *left < 0 {
        format!("expired {} ago", about(left.unsigned_abs()))
    } else if until(certificate) > 0 {
        format!("not valid yet, but in {}", about(until(certificate).unsigned_abs()))
    } else {
        format!("expires in {}", about(left.unsigned_abs()))
    };
    let origin = match from.as_str() {
        "self-signed" => "self-signed".to_owned(),
        _ => format!("from {issuer}, by {from}"),
    };
    let file = certificate.file.as_ref().map_or_else(String::new, |file| format!(" {file}"));
    let CertificateStatus { key, serial, fingerprint, stapled, .. } = certificate;
    let stapled = if *stapled { ", stapled" } else { "" };
    let numbers = if is_verbose { format!("  serial {serial}  sha256 {fingerprint}") } else { String::new() };
    let fault = fault.as_ref().map_or_else(String::new, |fault| format!("  not taken: {fault}"));
    let acme = acme.as_ref().map_or_else(String::new, |standing| format!("  acme: {standing}"));
    let names = names.join(", ");
    format!("  {site}  {end}  {origin}{file} ({key}{stapled})  for {names}{numbers}{fault}{acme}")
}

/// Seconds until it becomes valid.
fn until(certificate: &CertificateStatus) -> i64 {
    let now = certificate.not_after.saturating_sub(certificate.expires_in_seconds);
    certificate.not_before.saturating_sub(now)
}

/// A pool in one line, after its name.
fn unit(pool: &PoolStatus) -> String {
    let (least, most) = pool.processes;
    // What is stopped has no use for a range.
    let fixed = least == most || pool.state == "stopped";
    let wanted = if fixed { most.to_string() } else { format!("{least}-{most}") };
    let ready = pool.children.iter().filter(|child| child.state == "ready").count();
    let processes = pool.children.iter().map(|child| child.rss_bytes);
    let memory: u64 = processes.chain(pool.templates.iter().map(|template| template.rss_bytes)).sum();
    let memory = if memory == 0 { "-".to_owned() } else { size(memory) };
    let mut row = format!("{:<8}  {:>9}  {memory:>9}", pool.state, format!("{ready} of {wanted}"));
    if !pool.waits_for.is_empty() {
        let _ = write!(row, "  for {}", pool.waits_for.join(", "));
    }
    if pool.state == "stopped" && least == 0 {
        row.push_str("  by hand");
    }
    if let Some(requests) = pool.requests {
        let connections: u64 = pool.children.iter().filter_map(|child| child.connections).sum();
        let _ = write!(row, "  requests {requests}  connections {connections}");
        show_tunnels(pool.children.iter().filter_map(|child| child.tunnels).sum(), &mut row);
        show_buffered(pool.children.iter().filter_map(|child| child.buffered_bytes).sum(), &mut row);
    }
    show_past(pool.restarts, pool.last_exit.as_deref(), &mut row);
    if let Some(wait) = pool.retry_in_ms {
        let _ = write!(row, "  next attempt in {:.1}s", wait as f64 / 1000.0);
    }
    if !pool.unkillable.is_empty() {
        let _ = write!(row, "  do not die: {}", pool.unkillable.len());
    }
    let running = || pool.children.iter().flat_map(|child| &child.running);
    if let Some(Running { request, seconds }) = running().max_by_key(|running| running.seconds) {
        let _ = write!(row, "  runs {request} for {}", about(*seconds));
        if let more @ 1.. = running().count() - 1 {
            let _ = write!(row, ", and {more} more");
        }
    }
    row
}

fn show_processes(pool: &PoolStatus, page: &mut Page) {
    if pool.children.is_empty() && pool.templates.is_empty() && pool.unkillable.is_empty() {
        return;
    }
    let serves = pool.children.iter().any(|child| child.requests.is_some());
    let head = if serves { "  requests  connections" } else { "" };
    page.line(&format!("     #      pid  gen  state       up      memory{head}"));
    pool.templates.iter().for_each(|template| show_template(template, page));
    pool.children.iter().for_each(|child| show_child(child, page));
    pool.unkillable.iter().for_each(|process| show_unkillable(process, page));
}

fn show_template(template: &TemplateStatus, page: &mut Page) {
    let TemplateStatus { pid, generation, state, uptime_seconds, rss_bytes, restarts, last_exit } = template;
    let (up, memory) = (about(*uptime_seconds), size(*rss_bytes));
    let mut row = format!("     t  {pid:>7}  {generation:>3}  {state:<9}  {up:>6}  {memory:>8}  template");
    show_past(*restarts, last_exit.as_deref(), &mut row);
    page.line(&row);
}

/// How many connections are tunnels, if some are.
fn show_tunnels(tunnels: u64, out: &mut String) {
    if tunnels > 0 {
        let _ = write!(out, "  tunnels {tunnels}");
    }
}

/// How much waits in memory for who is slow, if that is much.
fn show_buffered(bytes: u64, out: &mut String) {
    if bytes >= 1 << 20 {
        let _ = write!(out, "  buffered {}", size(bytes));
    }
}

/// What became of those that had this place before.
fn show_past(restarts: u64, last_exit: Option<&str>, out: &mut String) {
    if restarts > 0 {
        let _ = write!(out, "  crashes {restarts}");
    }
    if let Some(exit) = last_exit {
        let _ = write!(out, "  last exit: {exit}");
    }
}

fn show_child(child: &ChildStatus, page: &mut Page) {
    let ChildStatus {
        number, pid, generation, state, uptime_seconds, rss_bytes, requests, connections, ..
    } = child;
    let (up, memory) = (about(*uptime_seconds), size(*rss_bytes));
    // One that waits for its template is no process yet.
    let pid = if *pid == 0 { "-".to_owned() } else { pid.to_string() };
    let mut row = format!("  {number:>4}  {pid:>7}  {generation:>3}  {state:<9}  {up:>6}  {memory:>8}");
    if let Some(requests) = requests {
        let _ = write!(row, "  {requests:>8}");
    }
    if let Some(connections) = connections {
        let _ = write!(row, "  {connections:>11}");
    }
    show_tunnels(child.tunnels.unwrap_or(0), &mut row);
    show_buffered(child.buffered_bytes.unwrap_or(0), &mut row);
    show_past(child.restarts, child.last_exit.as_deref(), &mut row);
    page.line(&row);
    for Running { request, seconds } in &child.running {
        page.line(&format!("        {request} for {}", about(*seconds)));
    }
    let stacks = child.stacks.iter().flat_map(|stacks| stacks.lines());
    // Marked: a line of theirs is no row of ours.
    stacks.for_each(|line| page.line(&format!("    {}{line}", text::MARK)));
}

fn show_unkillable(process: &Unkillable, page: &mut Page) {
    let Unkillable { pid, number, generation, seconds, reason } = process;
    let (since, number) = (about(*seconds), number.map_or("t".to_owned(), |number| number.to_string()));
    page.line(&format!("  {number:>4}  {pid:>7}  {generation:>3}  does not die since {since}: {reason}"));
}

/// The jobs of cron as a page of their own.
pub(super) fn job_table(jobs: &[JobStatus], look: Look) -> String {
    let mut page = Page { text: String::new(), look };
    show_jobs(jobs, &mut page);
    page.text
}

fn show_jobs(jobs: &[JobStatus], page: &mut Page) {
    let mut jobs: Vec<&JobStatus> = jobs.iter().collect();
    jobs.sort_by_key(|job| Health::of_job(job));
    for job in jobs {
        page.line_of(Health::of_job(job), &text::line(&row_of_job(job)));
    }
}

pub(super) fn row_of_job(job: &JobStatus) -> String {
    let next = match (&job.next, job.next_in_seconds) {
        (Some(at), Some(seconds)) => format!("in {} ({at})", about(seconds)),
        (at, _) => at.clone().unwrap_or_else(|| "never".to_owned()),
    };
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
        let by_hand = if last.by_hand { ", by hand" } else { "" };
        let _ = write!(row, "  last: {} after {seconds:.1}s{by_hand} ({})", last.outcome, last.started);
    }
    row
}

/// Whether standard output is a terminal that is to have colours.
pub(super) fn is_coloured() -> bool {
    // https://no-color.org
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `12.3MiB`.
pub(super) fn size(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    format!("{:.1}MiB", bytes as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::{RunStatus, ServerStatus, UpstreamStatus};

    fn upstream(name: &str, address: &str) -> UpstreamStatus {
        let server = |state: &str| ServerStatus {
            address: address.into(),
            state: state.into(),
            requests: 10,
            ..ServerStatus::default()
        };
        let down = ServerStatus {
            reason: Some(format!("refused by {address}")),
            seconds: Some(75),
            failures: 3,
            backup: true,
            max_connections: Some(8),
            ..server("down")
        };
        UpstreamStatus {
            name: name.into(),
            balance: "RoundRobin".into(),
            servers: vec![server("up"), down],
            faults: [(format!("{name}-fault"), 2), ("silent".to_owned(), 1)].into(),
        }
    }

    fn jobs() -> Vec<JobStatus> {
        let run = RunStatus { outcome: "ok".into(), by_hand: true, duration_ms: 1200, ..Default::default() };
        vec![
            JobStatus {
                name: "clean".into(),
                at: "17 3 * * *".into(),
                history: vec![RunStatus {
                    outcome: "ended: replaced by the next run".into(),
                    ..RunStatus::default()
                }],
                ..JobStatus::default()
            },
            JobStatus {
                name: "mail".into(),
                at: "* * * * *".into(),
                next: Some("2026-01-02T03:04:00Z".into()),
                next_in_seconds: Some(185),
                history: vec![run],
                ..JobStatus::default()
            },
            JobStatus {
                name: "broken".into(),
                history: vec![RunStatus { outcome: "exit 3".into(), ..RunStatus::default() }],
                ..JobStatus::default()
            },
        ]
    }

    fn busy() -> Status {
        let worker = ChildStatus {
            cpu_ms: 0,
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
            tunnels: Some(3),
            buffered_bytes: Some(5 << 20),
            running: vec![Running { request: "GET /slow".to_owned(), seconds: 90 }],
            stacks: None,
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
                requests: Some(1300),
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
        Status {
            mode: "running".into(),
            generation: 3,
            listeners: vec!["[::]:80".into()],
            pools,
            cron: jobs(),
            upstreams: vec![upstream("api", "10.0.0.1:80")],
            ..Status::default()
        }
    }

    #[test]
    fn the_table_shows_what_an_operator_looks_for() {
        let status = busy();
        let text = table(&status, Look::default());
        let expected = "\
hatchery   running  pid 0  generation 3  up 0s
  listening on [::]:80

unit           state     processes     memory
app shop       failed     0 of 0-4          -  crashes 2  last exit: exit 3  next attempt in 1.5s
daemon celery  waiting      0 of 1          -  for redis, shop
workers        ready        1 of 1     5.0MiB  requests 1300  connections 7  tunnels 3  buffered 5.0MiB  runs GET /slow for 1m

cron
  broken  at   next never  last: exit 3 after 0.0s ()
  clean  at 17 3 * * *  next never  last: ended: replaced by the next run after 0.0s ()
  mail  at * * * * *  next in 3m (2026-01-02T03:04:00Z)  last: ok after 1.2s, by hand ()

upstreams
  api  1 of 2 up  RoundRobin
    10.0.0.1:80  down      backup  for 1m: refused by 10.0.0.1:80  requests 10  failures 3  in flight 0 of 8
";
        assert_eq!(text, expected);
        let text = table(&status, Look { verbose: true, coloured: false });
        for part in [
            "workers        ready        1 of 1     5.0MiB",
            "     0     4712    3  ready          2m    5.0MiB      1234            7  tunnels 3  buffered 5.0MiB\n",
            "        GET /slow for 1m\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let text = table(&status, Look { verbose: false, coloured: true });
        for part in [
            "\n\x1b[31mapp shop ",
            "\n\x1b[33mdaemon celery ",
            "\nworkers ",
            "\n\x1b[31m  broken ",
            "\n  clean ",
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
            stacks: Some(forged()),
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
            logs: vec![LogStatus { log: forged(), path: forged(), error: forged(), ..LogStatus::default() }],
            sandbox: SandboxStatus { mode: forged(), applied: vec![forged()], missing: vec![forged()] },
            pools: vec![pool],
            cron: vec![job],
            upstreams: vec![upstream(&forged(), &forged())],
            ..Status::default()
        };
        let text = [false, true].map(|verbose| table(&status, Look { verbose, coloured: false })).concat();
        assert!(!text.contains(|char| char != '\n' && text::steers(char)), "{text}");
        assert!(!text.lines().any(|line| line.trim_start().starts_with("0     4712")), "{text}");
    }

    #[test]
    fn one_unit_is_shown_alone_and_an_unknown_one_is_told_what_there_is() {
        for (name, first) in [
            ("shop", "unit      state     processes     memory\napp shop  failed"),
            ("workers", "unit     state     processes     memory\nworkers  ready"),
            ("worker", "unit     state     processes     memory\nworkers  ready"),
            ("mail", "cron\n  mail  at "),
            (
                "api",
                "upstreams\n  api  1 of 2 up  RoundRobin\n    \
                 10.0.0.1:80  up        requests 10  failures 0  in flight 0\n    \
                 10.0.0.1:80  down      backup  for 1m: refused by 10.0.0.1:80  requests 10  failures 3  in flight 0 of 8\n    faults: api-fault 2, silent 1\n",
            ),
        ] {
            let mut status = busy();
            only(&mut status, name).unwrap();
            let shown = units(&status, Look { verbose: true, coloured: false });
            assert!(shown.starts_with(first) && !shown.contains("celery"), "{name}: {shown}");
        }
        let refused = only(&mut busy(), "shpo").unwrap_err();
        let text = "there is no app, daemon, cron job or upstream \"shpo\"; there is: workers, shop, celery, clean, mail, \
                    broken, api; did you mean \"shop\"?";
        assert_eq!(refused, Failure::Failed(text.to_owned()));
    }
}
