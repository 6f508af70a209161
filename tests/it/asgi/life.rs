//! How processes of ASGI apps begin and end.

use super::{seen, server, setup};
use crate::harness::{Connection, SOON, Setup, get, holds, wait_until};
use nix::sys::signal::Signal;

#[test]
fn an_app_that_does_not_start_up_keeps_the_one_that_serves() {
    let configuration = |env: &str| {
        format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("asgi"))])],
    apps: {{"asgi": (module: "app:app", chdir: "{{apps}}/asgi", home: "{{venv}}", env: {{{env}}})}},"#
        )
    };
    let server = Setup::new(&configuration("")).start().tolerant(&["no database today"]);
    let before = seen(server.address)["pid"].clone();
    server.configure(&configuration("\"FAILS\": \"1\""));
    let reload = server.command(&["reload"]);
    assert_eq!(reload.code, Some(1));
    assert!(reload.stderr.contains("no database today"), "{}", reload.stderr);
    assert_eq!(seen(server.address)["pid"], before);
}

#[test]
fn a_request_that_its_process_dies_with_is_made_once_more_elsewhere() {
    let server = server("processes: 2");
    let [one, other] = server.ready("asgi")[..] else { panic!("two processes") };
    let mut waiting: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send("GET /together?count=2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            connection
        })
        .collect();
    // Each waits for the other in a process of its own.
    wait_until(SOON, "both run", || {
        let children = server.pool("asgi").children;
        let runs: Vec<usize> = children.iter().map(|child| child.running.len()).collect();
        holds(runs == [1, 1], &runs)
    });
    one.signal(Signal::SIGKILL);
    let answers: Vec<String> = waiting.iter_mut().map(|one| one.reply("GET").unwrap().text()).collect();
    let expected = other.pid.to_string();
    assert_eq!(answers, [expected.clone(), expected]);
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let server = server("").tolerant(&["connection closed before a response"]);
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.request("POST", "/die", &[], b"x").unwrap().status, 502);
    wait_until(SOON, "another process serves", || {
        let reply = get(server.address, "/x");
        holds(reply.status == 200, reply)
    });
}

#[test]
fn a_worker_that_dies_gives_all_its_places_back() {
    let server = server("max_connections: 2");
    let mut running: Vec<Connection> = (0..2)
        .map(|_| {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send("GET /sleep HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            connection
        })
        .collect();
    wait_until(SOON, "both run", || {
        let runs = server.pool("asgi").children[0].running.len();
        holds(runs == 2, runs)
    });
    let [worker] = server.ready("worker")[..] else { panic!("one worker") };
    server.kill_and_wait("worker", worker, 1);
    running.clear();
    let reply = get(server.address, "/seen").json();
    assert_eq!(reply["cancelled"], 2, "nobody waits for what they did");
}

#[test]
fn it_sleeps_wakes_and_is_forked_as_others_are() {
    let asleep = server("processes: (min: 0, max: 1), idle: \"100ms\"");
    assert!(asleep.pool("asgi").children.is_empty());
    assert_eq!(get(asleep.address, "/x").status, 200);
    wait_until(SOON, "it sleeps again", || {
        let pool = asleep.pool("asgi");
        holds(pool.children.is_empty(), &pool)
    });
    let forked = server("preload: true, processes: 2, ready: (path: \"/healthz\")");
    assert_eq!(get(forked.address, "/x").status, 200);
    assert_eq!(forked.command(&["reload"]).code, Some(0));
    assert_eq!(get(forked.address, "/x").status, 200);
}

#[test]
fn a_file_that_asks_for_another_interface_is_told_what_it_is() {
    let mut setup = setup("interface: Wsgi", "start: AllOrNothing,");
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("interface"), "{}", ended.stderr);
}
