//! Processes that are replaced although they serve: never with a request in them, and only once another one is ready.

use crate::harness::{Connection, Gate, Process, SOON, Server, Setup, get, holds, wait_until};
use hatchery::control::command::ChildStatus;
use std::collections::BTreeSet;

/// `/hold` answers when somebody opens the pipe `gate`; `/grow` keeps 64 MiB; `/linger` starts a thread without an end.
const SITE: &str = r#"
import os
import threading
KEPT = []
def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/hold':
        open('gate').read()
    if path == '/linger':
        threading.Thread(target=threading.Event().wait, name='sleeper').start()
    if path == '/grow':
        KEPT.append(b'x' * (64 << 20))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"#;

fn setup(app: &str) -> Setup {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", {app})}},"#
    ));
    setup.directory.write("site_of_test.py", SITE);
    setup.env("PATH", "/usr/bin:/bin")
}

#[test]
fn a_process_that_cannot_end_is_ended_with_a_word_on_its_threads() {
    let server = setup("processes: 1, max_requests: 3, stop_timeout: \"300ms\"").start();
    for _ in 0..40 {
        assert_eq!(get(server.address, "/linger").status, 200);
        let children = server.pool("site").children;
        assert!(children.len() <= 2, "more than one process beyond the maximum: {children:?}");
    }
    let line = server.wait_log("was told to end, does not, and is killed");
    assert!(
        line.contains("app site 0 (process ") && line.contains("its threads \"sleeper\", \"sleeper"),
        "{line}"
    );
    wait_until(SOON, "one is left", || {
        let children = server.pool("site").children;
        holds(children.len() == 1, children)
    });
}

/// A request that runs in an app until the gate is opened.
fn hold(server: &Server) -> Connection {
    let mut held = Connection::open(server.address).unwrap();
    held.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request runs", || {
        let children = server.pool("site").children;
        let running: usize = children.iter().map(|child| child.running.len()).sum();
        holds(running == 1, children)
    });
    held
}

/// A request runs in the only process while `wear` makes that one due for replacement: another one serves meanwhile, the
/// old one waits for its request, answers it, and leaves.
#[track_caller]
fn a_request_outlasts_the_replacement(app: &str, wear: impl Fn(&Server), reason: &str) {
    let setup = setup(&format!("threads: 2, {app}"));
    let gate = Gate::new(&setup.directory, "gate");
    let server = setup.start();
    let old = server.wait_ready(SOON, "site", 1)[0];
    let mut held = hold(&server);
    wear(&server);
    let (draining, ready) = wait_until(SOON, "another process serves beside it", || {
        let children = server.pool("site").children;
        let found = |state: &str| children.iter().find(|child| child.state == state).cloned();
        let pair = found("draining").zip(found("ready"));
        pair.ok_or_else(|| format!("{children:?}"))
    });
    assert_eq!(draining.pid, old.pid, "{draining:?}");
    assert_eq!(draining.running.len(), 1, "{draining:?}");
    assert_eq!(get(server.address, "/").text(), ready.pid.to_string());
    assert!(old.is_alive());
    gate.open();
    assert_eq!(held.reply("GET").unwrap().text(), old.pid.to_string());
    wait_until(SOON, "the old process has left", || holds(!old.is_alive(), server.pool("site")));
    server.wait_log(&format!("(process {}): replaced: {reason}", old.pid));
    assert_eq!(server.pool("site").last_exit, None, "it has not died");
}

#[test]
fn max_requests_waits_for_the_request_that_runs() {
    let wear = |server: &Server| {
        let mut connection = Connection::open(server.address).unwrap();
        (0..30).for_each(|_| assert_eq!(connection.get("/").unwrap().status, 200));
    };
    a_request_outlasts_the_replacement("max_requests: 30", wear, "it served ");
}

#[test]
fn max_rss_waits_for_the_request_that_runs() {
    let wear = |server: &Server| assert_eq!(get(server.address, "/grow").status, 200);
    a_request_outlasts_the_replacement("max_rss: \"60MiB\"", wear, "its memory is ");
}

#[test]
fn max_lifetime_waits_for_the_request_that_runs() {
    // Long enough for the request to be seen running first; its successors are replaced, too.
    a_request_outlasts_the_replacement("max_lifetime: \"5s\"", |_| (), "it reached max_lifetime");
}

#[test]
fn a_successor_that_does_not_start_leaves_the_process_that_serves() {
    let server = setup("max_requests: 10").start().tolerant(&["app site"]);
    let old = server.wait_ready(SOON, "site", 1)[0];
    server.directory().write("site_of_test.py", "raise RuntimeError('new code')\n");
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..30 {
        assert_eq!(connection.get("/").unwrap().text(), old.pid.to_string());
    }
    let line = server.wait_log("the process that it was to replace goes on");
    assert!(line.contains("RuntimeError: new code"), "{line}");
    assert_eq!(get(server.address, "/").text(), old.pid.to_string());
    server.directory().write("site_of_test.py", SITE);
    wait_until(SOON, "the next attempt succeeds", || {
        let now = server.ready("site");
        holds(now.len() == 1 && now[0] != old, now)
    });
}

/// The numbers of requests after which processes were replaced, as the log has them.
fn served(server: &Server) -> Vec<u32> {
    let number = |line: &String| {
        let (_, rest) = line.split_once("replaced: it served ")?;
        rest.split_once(" requests (max_requests)")?.0.parse().ok()
    };
    server.log().iter().filter_map(number).collect()
}

#[test]
fn the_limit_of_requests_is_a_little_lower_for_each_process() {
    let server = setup("max_requests: 200").start();
    let mut connection = Connection::open(server.address).unwrap();
    let mut processes = BTreeSet::new();
    let numbers = wait_until(SOON * 2, "six processes had their requests", || {
        (0..100).for_each(|_| {
            _ = processes.insert(connection.get("/").map_or_else(
                |_| {
                    connection = Connection::open(server.address).unwrap();
                    String::new()
                },
                |reply| reply.text(),
            ))
        });
        let numbers = served(&server);
        if numbers.len() >= 6 { Ok(numbers) } else { Err(format!("{numbers:?}")) }
    });
    assert!(numbers.iter().all(|number| (180..=200).contains(number)), "{numbers:?}");
    let different: BTreeSet<_> = numbers.iter().collect();
    assert!(different.len() >= 3, "they would all leave together: {numbers:?}");
}

#[test]
fn one_more_process_than_the_maximum_at_most() {
    let server = setup("processes: 2, max_lifetime: \"1s\"").start();
    let mut seen: BTreeSet<Process> = BTreeSet::new();
    wait_until(SOON * 2, "six processes have served", || {
        let children: Vec<ChildStatus> = server.pool("site").children;
        let count = |states: &[&str]| children.iter().filter(|child| states.contains(&&*child.state)).count();
        assert!(count(&["ready"]) >= 2, "one left before its successor was ready: {children:?}");
        assert!(count(&["ready", "booting"]) <= 3, "{children:?}");
        seen.extend(server.ready("site"));
        holds(seen.len() >= 6, &seen)
    });
}
