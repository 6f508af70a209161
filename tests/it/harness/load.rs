//! A load client: kept-alive connections in threads, and what became of each request.

use super::Connection;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Open = fn(SocketAddr) -> io::Result<Connection>;

/// Running load.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    start: Instant,
    threads: Vec<std::thread::JoinHandle<Tally>>,
}

/// What became of all requests.
#[derive(Debug)]
pub(crate) struct Report {
    /// Answered with the expected status and body.
    pub(crate) answered: u64,
    /// The others.
    pub(crate) failures: Vec<Failure>,
    /// The longest time that one request took, answered or not.
    pub(crate) longest: Duration,
    /// Connections opened.
    pub(crate) opened: u64,
    pub(crate) took: Duration,
}

/// One request that was not answered as it should.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "printed when a test fails")]
pub(crate) struct Failure {
    /// Number of the client's thread.
    pub(crate) client: usize,
    /// Since the start of the load.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) path: String,
    /// The status and body, or the error.
    pub(crate) what: String,
    /// Whether bytes of a response had come.
    pub(crate) response_begun: bool,
    /// How many requests the connection had carried before.
    pub(crate) carried: u64,
}

#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    failures: Vec<Failure>,
    longest: Duration,
    opened: u64,
}

impl Load {
    /// Starts `clients` connections that ask for `paths` in turn; a request counts as answered with status 200.
    pub(crate) fn start(address: SocketAddr, clients: usize, paths: &[&str]) -> Self {
        Self::over(Connection::open, address, clients, paths)
    }

    /// The same over TLS.
    pub(crate) fn start_tls(address: SocketAddr, clients: usize, paths: &[&str]) -> Self {
        Self::over(Connection::open_tls, address, clients, paths)
    }

    fn over(open: Open, address: SocketAddr, clients: usize, paths: &[&str]) -> Self {
        let (stop, done, start) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Instant::now());
        let paths: Arc<[String]> = paths.iter().map(|path| (*path).to_owned()).collect();
        let threads = (0..clients)
            .map(|client| {
                let (stop, done, paths) = (stop.clone(), done.clone(), paths.clone());
                let run = move || run(client, open, address, &paths, &stop, &done, start);
                std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap()
            })
            .collect();
        Self { stop, done, start, threads }
    }

    /// Since it was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until `more` requests have been answered from now on.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: u64) {
        let goal = self.answered() + more;
        super::wait_until(super::SOON, "requests answered", || {
            super::holds(self.answered() >= goal, (self.answered(), goal))
        });
    }

    /// Ends after the requests that run.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = Report {
            answered: 0,
            failures: Vec::new(),
            longest: Duration::ZERO,
            opened: 0,
            took: Duration::ZERO,
        };
        for thread in self.threads {
            let tally = thread.join().unwrap();
            report.answered += tally.answered;
            report.failures.extend(tally.failures);
            report.longest = report.longest.max(tally.longest);
            report.opened += tally.opened;
        }
        report.took = self.start.elapsed();
        report
    }
}

impl Report {
    /// No request failed, and there were some.
    #[track_caller]
    pub(crate) fn assert_flawless(&self) {
        self.assert_failures(0);
    }

    /// At most `allowed` failed, and enough were answered for that to mean something.
    #[track_caller]
    pub(crate) fn assert_failures(&self, allowed: usize) {
        let shown = &self.failures[..self.failures.len().min(10)];
        assert!(
            self.failures.len() <= allowed,
            "{} of {} requests failed, {allowed} allowed; first of them: {shown:#?}",
            self.failures.len(),
            self.answered
        );
        assert!(self.answered > 100, "only {} requests were answered in {:?}", self.answered, self.took);
    }
}

fn run(
    client: usize,
    open: Open,
    address: SocketAddr,
    paths: &[String],
    stop: &AtomicBool,
    done: &AtomicU64,
    start: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut connection: Option<(Connection, u64)> = None;
    let mut turn = client;
    while !stop.load(Ordering::Relaxed) {
        let path = &paths[turn % paths.len()];
        turn += 1;
        let begun = Instant::now();
        let mut response_begun = false;
        let mut carried = 0;
        let answer = match connection.take() {
            Some(kept) => Ok(kept),
            None => open(address).map(|new| (new, 0)),
        }
        .and_then(|(mut kept, already)| {
            carried = already;
            let reply = kept.get(path);
            response_begun = kept.response_begun;
            reply.map(|reply| (kept, reply))
        });
        let took = begun.elapsed();
        tally.longest = tally.longest.max(took);
        tally.opened += u64::from(carried == 0);
        let what = match answer {
            Ok((kept, reply)) => {
                if !reply.closes() {
                    connection = Some((kept, carried + 1));
                }
                if reply.status == 200 {
                    tally.answered += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                format!("status {}: {}", reply.status, reply.text())
            }
            Err(error) => error.to_string(),
        };
        let at = start.elapsed();
        tally.failures.push(Failure { client, at, took, path: path.clone(), what, response_begun, carried });
    }
    tally
}
