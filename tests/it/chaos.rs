//! Everything at once, for a while, under load: killed workers and app processes, reloads good and broken, upgrades,
//! changes of size, stopped workers. Afterwards everything must be as if nothing had happened.
//!
//! Ten seconds in the suite; longer with `scripts/chaos SECONDS [SEED]`, which sets `HATCHERY_CHAOS_SECONDS` and
//! `HATCHERY_CHAOS_SEED`. The seed stands in what a failed run prints; what happens in which order follows from it, when
//! does not.

use crate::harness::{Load, Server, Setup, Upstream, holds, keep_loading, now, wait_until};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::time::Duration;

const WORKERS: usize = 2;
const PROCESSES: usize = 2;
const CLIENTS: usize = 32;

/// What every request must be answered within; also how long after a kill a failure may show.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that sends on a kept connection learns only then that it was closed.
const NOTICED: Duration = Duration::from_millis(250);

/// The longest back-off of what had been ready (1 s) and what comes on top of it.
const SETTLED: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    KillWorker,
    KillApp,
    Reload,
    BrokenCode,
    BrokenFile,
    More,
    Fewer,
    Freeze,
    Upgrade,
}

/// Each of them once in a round, in another order each time.
const ROUND: [Action; 13] = [
    Action::KillWorker,
    Action::Reload,
    Action::KillApp,
    Action::More,
    Action::BrokenCode,
    Action::KillApp,
    Action::Reload,
    Action::Freeze,
    Action::KillWorker,
    Action::Fewer,
    Action::BrokenFile,
    Action::Upgrade,
    Action::Reload,
];

fn configuration(version: u32, upstream: &Upstream, preload: bool) -> String {
    format!(
        r#"
    workers: (processes: {WORKERS}),
    drain_timeout: "3s",
    shutdown_timeout: "5s",
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (exact: "/version", to: Respond(status: 200, body: "{version}", content_type: "text/plain")),
            (path: "/static/", to: Files(root: "static")),
            (path: "/api/", to: Proxy("api")),
            (path: "/", to: App("site")),
        ],
    )],
    upstreams: {{"api": (servers: ["{}"])}},
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", processes: {PROCESSES},
                    preload: {preload})}},"#,
        upstream.address
    )
}

const APP: &str = "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
                   return [b'app']\n";

struct Chaos {
    server: Server,
    upstream: Upstream,
    /// Of the random order.
    state: u64,
    version: u32,
    /// Whether the app's processes are forked from a template: those of every other seed.
    preload: bool,
    /// Requests that may fail: those in flight in what was killed.
    allowed: usize,
    /// When something was killed, from the start of the load.
    kills: Vec<Duration>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let upstream = Upstream::start(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napi").is_ok()
        });
        let preload = seed.is_multiple_of(2);
        let setup = Setup::new(&configuration(0, &upstream, preload));
        setup.directory.write("site_of_test.py", APP);
        setup.directory.write("static/file.txt", "file\n".repeat(200));
        setup.directory.write("static/large.bin", vec![7; 1 << 20]);
        let server = setup.start().tolerant(&["worker", "site", "reload", "hatchery.ron"]);
        Self { server, upstream, state: seed | 1, version: 0, preload, allowed: 0, kills: Vec::new() }
    }

    fn random(&mut self, below: usize) -> usize {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % below
    }

    /// Every action once, in random order, under load.
    fn round(&mut self, load: &Load) {
        let mut actions = ROUND.to_vec();
        while !actions.is_empty() {
            let next = self.random(actions.len());
            let action = actions.swap_remove(next);
            self.act(action, load);
            let pause = 20 + self.random(200) as u64;
            keep_loading(Duration::from_millis(pause));
        }
    }

    fn act(&mut self, action: Action, load: &Load) {
        match action {
            Action::KillWorker => {
                // Connections move while we look: as many as there are can be there.
                self.allowed += CLIENTS;
                self.kill("worker", load);
            }
            Action::KillApp => {
                // One thread, one request.
                self.allowed += 1;
                self.kill("site", load);
            }
            Action::Reload => {
                self.version += 1;
                self.server.configure(&configuration(self.version, &self.upstream, self.preload));
                self.reload(true);
            }
            Action::BrokenCode => {
                self.server.directory().write("site_of_test.py", "def application(:\n");
                self.reload(false);
                self.server.directory().write("site_of_test.py", APP);
            }
            Action::BrokenFile => {
                self.server.configure("    sites: [(listen: [\"nowhere\"])],");
                self.reload(false);
                self.server.configure(&configuration(self.version, &self.upstream, self.preload));
            }
            Action::More => self.server.master.signal(Signal::SIGTTIN),
            Action::Fewer => self.server.master.signal(Signal::SIGTTOU),
            Action::Upgrade => self.upgrade(),
            Action::Freeze => {
                if let Some(worker) = self.pick("worker") {
                    worker.signal(Signal::SIGSTOP);
                    keep_loading(Duration::from_millis(300));
                    worker.signal(Signal::SIGCONT);
                }
            }
        }
    }

    fn pick(&mut self, pool: &str) -> Option<crate::harness::Process> {
        let ready = self.server.ready(pool);
        let chosen = self.random(ready.len().max(1));
        ready.get(chosen).copied()
    }

    fn kill(&mut self, pool: &str, load: &Load) {
        if let Some(victim) = self.pick(pool) {
            self.kills.push(load.elapsed());
            victim.signal(Signal::SIGKILL);
        }
    }

    /// Reloads and waits for the end. A good one may fail when what it boots is killed; nothing is then.
    fn reload(&self, succeeds: bool) {
        let reload = self.server.command(&["reload", "--wait"]);
        assert_eq!(reload.code == Some(0), succeeds, "{reload:?}");
    }

    /// The program in place of itself; waits until all workers are new.
    fn upgrade(&self) {
        let before = self.server.status().generation;
        self.server.master.signal(Signal::SIGUSR2);
        wait_until(SETTLED, "the upgrade is over", || {
            let status = self.server.status();
            holds(status.generation > before && status.mode == "running", status)
        });
        assert_eq!(self.server.status().last_upgrade_error, None);
    }

    /// Waits until the tree has exactly the shape that the configuration asks for.
    fn settle(&mut self) {
        self.version += 1;
        self.server.configure(&configuration(self.version, &self.upstream, self.preload));
        // Sizes changed by signals hold until a reload.
        self.reload(true);
        wait_until(SETTLED, "the tree has its shape again", || {
            let status = self.server.status();
            let is_whole = |name: &str, count: usize| {
                status.pools.iter().any(|pool| {
                    pool.name == name
                        && pool.children.len() == count
                        && pool.children.iter().all(|child| child.state == "ready")
                })
            };
            let templates = status.pools.iter().map(|pool| pool.templates.len()).sum::<usize>();
            let tree = self.server.master.descendants();
            let whole = is_whole("worker", WORKERS) && is_whole("site", PROCESSES);
            holds(
                whole
                    && templates == usize::from(self.preload)
                    && tree.len() == WORKERS + PROCESSES + templates
                    && status.mode == "running",
                (&status, &tree),
            )
        });
        wait_until(SETTLED, "every child is reaped", || {
            let zombies = self.server.master.zombies();
            holds(zombies.is_empty(), zombies)
        });
    }

    /// Descriptors and resident memory of the master, once they do not change any more.
    fn weigh(&self) -> (usize, u64) {
        let master = self.server.master;
        let weigh = || (master.descriptors(), master.memory("VmRSS"));
        let (mut last, mut same) = (weigh(), 0);
        wait_until(SETTLED, "the master is at rest", || {
            let now = weigh();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            holds(same >= 20, last)
        });
        last
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn everything_at_once_under_load_leaves_no_trace() {
    let seconds = setting("HATCHERY_CHAOS_SECONDS").unwrap_or(10);
    let seed = setting("HATCHERY_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("seed {seed}");
    let mut chaos = Chaos::new(seed);
    let paths = ["/static/file.txt", "/app", "/api/", "/static/large.bin", "/version"];
    // The first round shows what the master keeps for good: journals, tables, arenas.
    let load = Load::start(chaos.server.address, CLIENTS, &paths);
    chaos.round(&load);
    chaos.settle();
    let warm = load.finish();
    let before = chaos.weigh();
    chaos.check(&warm);

    let load = Load::start(chaos.server.address, CLIENTS, &paths);
    let start = now();
    while start.elapsed() < Duration::from_secs(seconds) {
        chaos.round(&load);
    }
    chaos.settle();
    load.wait_for(200);
    let report = load.finish();
    chaos.check(&report);
    wait_until(SETTLED, "the master holds what it held before", || {
        let after = chaos.weigh();
        let lean = after.0 == before.0 && after.1 <= before.1 + before.1 / 10 + (256 << 10);
        holds(lean, (before, after))
    });
    eprintln!("{} answered, {} failed in what was killed", report.answered, report.failures.len());
}

impl Chaos {
    /// No more failed than were in flight in what was killed, each soon after a kill: none from a reload.
    fn check(&mut self, report: &crate::harness::LoadReport) {
        report.assert_failures(std::mem::take(&mut self.allowed));
        let kills = std::mem::take(&mut self.kills);
        let stray = report.failures.iter().find(|failure| {
            // When it was sent is what counts: it may have waited for its answer.
            let (sent, failed) = (failure.at.saturating_sub(failure.took), failure.at);
            !kills.iter().any(|kill| sent <= *kill + NOTICED && *kill <= failed && failed - *kill < PATIENCE)
        });
        assert!(stray.is_none(), "failed without a kill: {stray:#?}; kills at {kills:?}");
        assert!(report.longest < PATIENCE, "a request took {:?}", report.longest);
    }
}
