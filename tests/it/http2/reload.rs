//! Reloads and upgrades under load of clients that open another connection after GOAWAY, as browsers do: no request fails.
//! The same of clients that speak HTTP/1 over TLS.

use crate::harness::http2::{Came, Client, REFUSED_STREAM};
use crate::harness::{Load, SOON, Server, Setup, holds, noise, wait_until};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const APP: &str = "def application(environ, start_response):\n    \
    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'app']\n";

fn configuration(tls: bool, version: u32) -> String {
    let listen = if tls {
        r#"tls: (listen: ["{address}"], certificates: SelfSigned)"#
    } else {
        r#"listen: ["{address}"]"#
    };
    format!(
        r#"
    workers: (processes: 2),
    sites: [(
        names: ["a", "localhost"],
        {listen},
        locations: [
            (exact: "/version", to: Respond(status: 200, body: "{version}", content_type: "text/plain")),
            (path: "/static/", to: Files(root: "static")),
            (path: "/", to: App("site")),
        ],
    )],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", processes: 2)}},"#
    )
}

/// Larger than the window of a connection, so that reloads come in the middle of it.
const LARGE: usize = 300_000;

fn server(tls: bool) -> Server {
    let setup = Setup::new(&configuration(tls, 0));
    setup.directory.write("site_of_test.py", APP);
    setup.directory.write("static/large", noise(LARGE, 7));
    setup.start()
}

/// Requests that one client has on their way at once.
const AT_ONCE: usize = 8;

const PATHS: [(&str, usize); 3] = [("/version", 1), ("/static/large", LARGE), ("/", 3)];

/// What a client tells at its end.
#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    /// Connections that it opened, and requests that it sent again because they were refused before they were served.
    opened: u64,
    again: u64,
    failures: Vec<String>,
}

/// One client: a connection and what is on its way over it.
struct Visitor<'a> {
    address: SocketAddr,
    tls: bool,
    client: Option<Client>,
    running: BTreeMap<u32, usize>,
    again: VecDeque<usize>,
    turn: usize,
    tally: Tally,
    done: &'a AtomicU64,
}

impl Visitor<'_> {
    fn run(mut self, stop: &AtomicBool) -> Tally {
        while !(stop.load(Ordering::Relaxed) && self.running.is_empty() && self.again.is_empty()) {
            if let Err(error) = self.advance(stop.load(Ordering::Relaxed)) {
                self.lose(&error.to_string());
            }
        }
        self.tally
    }

    fn advance(&mut self, stop: bool) -> io::Result<()> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                self.tally.opened += 1;
                let open = if self.tls { Client::open_tls } else { Client::open };
                self.client.insert(open(self.address, &[])?)
            }
        };
        // What was sent is waited for also after GOAWAY; what is next goes over another connection.
        let leaves = client.goaway.is_some();
        if leaves && self.running.is_empty() {
            self.client = None;
            return Ok(());
        }
        while !leaves && self.running.len() < AT_ONCE && !(stop && self.again.is_empty()) {
            let turn = self.again.pop_front().unwrap_or_else(|| {
                self.turn += 1;
                self.turn
            });
            // Counted as sent also if it fails.
            self.running.insert(client.upcoming(), turn);
            let fields = client.asks("GET", PATHS[turn % PATHS.len()].0);
            client.request(&fields, true)?;
        }
        match client.step()? {
            Came::Closed => return Err(io::Error::other("closed")),
            Came::Headers { stream, .. } | Came::Data { stream, .. } => self.take(stream),
            Came::Reset { stream, code: REFUSED_STREAM } => self.repeat(stream),
            Came::Reset { stream, code } => self.fail(stream, &format!("reset with {code}")),
            Came::GoAway { last, code: 0, .. } => {
                let refused: Vec<u32> =
                    self.running.range(last.saturating_add(1)..).map(|(id, _)| *id).collect();
                refused.into_iter().for_each(|stream| self.repeat(stream));
            }
            Came::GoAway { code, debug, .. } => {
                return Err(io::Error::other(format!("GOAWAY {code} {debug}")));
            }
            _ => {}
        }
        Ok(())
    }

    /// A part of a response has come.
    fn take(&mut self, stream: u32) {
        let Some(client) = &mut self.client else { return };
        let Some(answer) = client.answers.get(&stream).filter(|answer| answer.complete) else { return };
        let turn = self.running.get(&stream).copied().unwrap_or_default();
        if (answer.status, answer.body.len()) == (200, PATHS[turn % PATHS.len()].1) {
            client.answers.remove(&stream);
            self.running.remove(&stream);
            self.tally.answered += 1;
            self.done.fetch_add(1, Ordering::Relaxed);
        } else {
            let what = format!("{} with {} bytes", answer.status, answer.body.len());
            self.fail(stream, &what);
        }
    }

    fn repeat(&mut self, stream: u32) {
        self.again.extend(self.running.remove(&stream));
        self.tally.again += 1;
    }

    fn fail(&mut self, stream: u32, what: &str) {
        let turn = self.running.remove(&stream).unwrap_or_default();
        self.tally.failures.push(format!("{}: {what}", PATHS[turn % PATHS.len()].0));
    }

    /// The connection is gone: what was on its way has failed, but for what GOAWAY said is not served.
    fn lose(&mut self, what: &str) {
        let last = self.client.take().and_then(|client| client.goaway).map_or(u32::MAX, |(last, _)| last);
        let streams: Vec<u32> = self.running.keys().copied().collect();
        for stream in streams {
            if stream > last { self.repeat(stream) } else { self.fail(stream, what) }
        }
    }
}

/// So many clients, while `act` goes on; it gets the number of requests answered so far.
fn under_load(server: &Server, tls: bool, clients: usize, act: impl FnOnce(&AtomicU64)) {
    let (stop, done) = (AtomicBool::new(false), Arc::new(AtomicU64::new(0)));
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..clients)
            .map(|turn| {
                let (client, running, again, tally) = Default::default();
                let address = server.address;
                let visitor = Visitor { address, tls, client, running, again, turn, tally, done: &done };
                let stop = &stop;
                scope.spawn(move || visitor.run(stop))
            })
            .collect();
        act(&done);
        stop.store(true, Ordering::Relaxed);
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).collect()
    });
    let failures: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failures).collect();
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (answered, opened, again) = (sum(|one| one.answered), sum(|one| one.opened), sum(|one| one.again));
    assert!(failures.is_empty(), "{} of {answered} failed: {failures:#?}", failures.len());
    assert!(opened > clients as u64, "{opened} connections of {clients} clients: nothing was left");
    println!("{answered} answered over {opened} connections, {again} of them sent again");
}

fn more(done: &AtomicU64, count: u64) {
    let goal = done.load(Ordering::Relaxed) + count;
    wait_until(SOON, "requests answered", || {
        let answered = done.load(Ordering::Relaxed);
        holds(answered >= goal, (answered, goal))
    });
}

fn change(server: &Server, signal: Signal) {
    let before = server.status().generation;
    server.master.signal(signal);
    wait_until(SOON, "the next generation serves", || {
        let status = server.status();
        holds(status.generation > before && status.mode == "running", &status)
    });
}

/// HUPs with another configuration each, then USR2s; before and after each of them, `more` waits for some requests.
fn changes(server: &Server, tls: bool, hups: u32, upgrades: u32, more: impl Fn()) {
    more();
    for version in 1..=hups {
        server.configure(&configuration(tls, version % 10));
        change(server, Signal::SIGHUP);
        more();
    }
    for _ in 0..upgrades {
        change(server, Signal::SIGUSR2);
        more();
    }
    // Also the last ones leave their connections.
    let leaving = || server.pool("worker").children.len();
    wait_until(SOON, "old workers have left", || holds(leaving() == 2, leaving()));
    assert_eq!(server.status().generation, 1 + hups + upgrades);
}

fn change_under_load(tls: bool, clients: usize, hups: u32, upgrades: u32) {
    let server = server(tls);
    under_load(&server, tls, clients, |done| changes(&server, tls, hups, upgrades, || more(done, 100)));
}

/// Kept connections of HTTP/1 over TLS, whose clients open another one when a response says that it is the last.
fn change_under_load_of_http_1(clients: usize, hups: u32, upgrades: u32) {
    let server = server(true);
    let load = Load::start_tls(server.address, clients, &PATHS.map(|(path, _)| path));
    changes(&server, true, hups, upgrades, || load.wait_for(100));
    let report = load.finish();
    report.assert_flawless();
    assert!(report.opened > clients as u64, "{} connections: nothing was left", report.opened);
    println!("{} answered over {} connections of HTTP/1", report.answered, report.opened);
}

#[test]
fn reloads_and_an_upgrade_fail_no_request() {
    change_under_load(false, 6, 3, 1);
}

#[test]
fn reloads_and_an_upgrade_fail_no_request_over_tls() {
    change_under_load(true, 6, 3, 1);
}

#[test]
fn reloads_and_an_upgrade_fail_no_request_of_http_1_over_tls() {
    change_under_load_of_http_1(6, 3, 1);
}

#[test]
#[ignore = "takes a minute"]
fn twenty_reloads_and_five_upgrades_fail_no_request_of_http_1_over_tls() {
    change_under_load_of_http_1(24, 20, 5);
}

#[test]
#[ignore = "takes a minute"]
fn twenty_reloads_and_five_upgrades_fail_no_request() {
    for tls in [false, true] {
        change_under_load(tls, 24, 20, 5);
    }
}
