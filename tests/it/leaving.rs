//! Clients that leave, or only close their side: what runs for them, what is given up, and who is not blamed for it.

use crate::harness::{Connection, Gate, SOON, Server, Setup, Upstream, get, holds, noise, wait_until};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One process with one thread; `/hold` waits at the gate, every path is written down when it runs.
const APP: &str = r#"
import os
here = os.path.dirname(__file__)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    with open(os.path.join(here, "ran"), "a") as ran:
        ran.write(path + "\n")
    if path == "/app/hold":
        with open(os.path.join(here, "gate")) as gate:
            gate.read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode()]
"#;

const SITE: &str = r#"
    workers: (processes: 1),
    LIMITS
    sites: [(listen: ["{address}"], locations: [
        (path: "/app/", to: App("one")),
        (path: "/behind/", to: Proxy("behind")),
        (path: "/", to: Files(root: "files")),
    ])],
    apps: {"one": (module: "app", chdir: "{dir}/app", home: "{venv}", processes: 1)},
    upstreams: {"behind": (servers: [SERVERS])},"#;

fn start(limits: &str, upstreams: &[&Upstream]) -> Server {
    let servers: Vec<String> = upstreams.iter().map(|one| format!("\"{}\"", one.address)).collect();
    let setup = Setup::new(&SITE.replace("LIMITS", limits).replace("SERVERS", &servers.join(", ")));
    setup.directory.write("app/app.py", APP);
    setup.directory.write("files/a.txt", "a\n");
    setup.directory.write("files/b.txt", "b\n");
    setup.start()
}

/// Sends a request and closes the client's side.
fn leave(server: &Server, path: &str) -> Connection {
    let mut connection = Connection::open(server.address).unwrap();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    connection.socket().shutdown(Shutdown::Write).unwrap();
    connection
}

fn ran(server: &Server) -> String {
    std::fs::read_to_string(server.directory().path().join("app/ran")).unwrap_or_default()
}

/// `/poll` is never answered, `/stream` begins and never ends.
fn endless() -> Upstream {
    Upstream::start(|request, stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent\n\r\n";
        if request.line.contains("/quick") {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok();
        }
        if request.line.contains("/stream") {
            stream.write_all(head.as_bytes()).unwrap();
        }
        drop(stream.read(&mut [0]));
        false
    })
}

#[test]
fn a_request_that_waits_for_a_process_never_runs_once_its_client_has_left() {
    let unused = Upstream::fixed("");
    let server = start("", &[&unused]);
    let gate = Gate::new(server.directory(), "app/gate");
    let mut holder = Connection::open(server.address).unwrap();
    holder.send("GET /app/hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the only process is taken", || holds(ran(&server) == "/app/hold\n", ran(&server)));
    let left: Vec<Connection> = (0..5).map(|one| leave(&server, &format!("/app/left{one}"))).collect();
    for (one, mut connection) in left.into_iter().enumerate() {
        assert!(server.wait_log(&format!("\"GET /app/left{one} HTTP/1.1\"")).contains("\" 499 0 "));
        assert_eq!(connection.rest().unwrap(), b"");
    }
    gate.open();
    assert_eq!(holder.reply("GET").unwrap().text(), "/app/hold");
    assert_eq!(get(server.address, "/app/live").text(), "/app/live");
    assert_eq!(ran(&server), "/app/hold\n/app/live\n");
}

#[test]
fn a_server_is_not_blamed_for_clients_that_leave() {
    let (first, second) = (endless(), endless());
    let server = start("", &[&first, &second]);
    for round in 0..8 {
        drop(leave(&server, &format!("/behind/poll{round}")));
        assert!(server.wait_log(&format!("\"GET /behind/poll{round} ")).contains("\" 499 0 "));
        let mut reader = Connection::open(server.address).unwrap();
        reader.send(format!("GET /behind/stream{round} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(reader.reply_head().unwrap().status, 200);
        reader.socket().shutdown(Shutdown::Write).unwrap();
        assert!(server.wait_log(&format!("\"GET /behind/stream{round} ")).contains("\" 499 "));
    }
    wait_until(SOON, "no connection to a server stays", || {
        holds(first.open() + second.open() == 0, (first.open(), second.open()))
    });
    first.take_received();
    second.take_received();
    for _ in 0..10 {
        assert_eq!(get(server.address, "/behind/quick").text(), "ok");
    }
    assert_eq!((first.received().len(), second.received().len()), (5, 5));
    let blamed: Vec<String> =
        server.log().into_iter().filter(|line| line.contains("upstream") || line.contains("proxy")).collect();
    assert!(blamed.is_empty(), "{blamed:?}");
}

#[test]
fn a_client_that_closes_its_side_gets_what_needs_no_waiting_and_what_already_runs() {
    let body = noise(8 << 20, 5);
    let sent = body.clone();
    let long = Upstream::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&sent)).is_ok()
    });
    let server = start("", &[&long]);
    let gate = Gate::new(server.directory(), "app/gate");
    // Pipelined requests that came whole.
    let mut pipelined = Connection::open(server.address).unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all = ["/a.txt", "/app/x", "/b.txt"].map(request).concat();
    pipelined.send(all + "GET /unfinished HTT").unwrap();
    pipelined.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(pipelined.reply("GET").unwrap().text(), "a\n");
    assert_eq!(pipelined.reply("GET").unwrap().text(), "/app/x");
    assert_eq!(pipelined.reply("GET").unwrap().text(), "b\n");
    assert_eq!(pipelined.rest().unwrap(), b"");
    // An app that runs is not interrupted.
    let mut waiting = leave(&server, "/app/hold");
    gate.open();
    assert_eq!(waiting.reply("GET").unwrap().text(), "/app/hold");
    // A response of known length that has begun.
    let mut flowing = Connection::open(server.address).unwrap();
    flowing.send(request("/behind/long")).unwrap();
    assert_eq!(flowing.reply_head().unwrap().status, 200);
    flowing.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(flowing.rest().unwrap(), body);
}

#[test]
fn with_half_close_a_client_that_closes_its_side_is_served_like_any_other() {
    let slow = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&slow);
    let behind = Upstream::start(move |_, stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        wait_until(SOON, "the client has closed its side", || {
            holds(seen.load(Ordering::SeqCst) > 1, "not yet")
        });
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = start("limits: (half_close: true),", &[&behind]);
    let gate = Gate::new(server.directory(), "app/gate");
    let mut holder = leave(&server, "/app/hold");
    wait_until(SOON, "the only process is taken", || holds(ran(&server) == "/app/hold\n", ran(&server)));
    let mut queued = leave(&server, "/app/queued");
    let mut proxied = leave(&server, "/behind/x");
    // The worker has seen the ends of both when it answers what came after them.
    assert_eq!(leave(&server, "/a.txt").reply("GET").unwrap().text(), "a\n");
    slow.fetch_add(1, Ordering::SeqCst);
    gate.open();
    assert_eq!(proxied.reply("GET").unwrap().text(), "ok");
    assert_eq!(holder.reply("GET").unwrap().text(), "/app/hold");
    assert_eq!(queued.reply("GET").unwrap().text(), "/app/queued");
}

#[test]
fn streams_that_break_do_not_count_against_a_server_that_answers() {
    let breaks = |request: &crate::harness::Received, stream: &mut std::net::TcpStream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nevent\n\r\n";
        if request.line.contains("/stream") {
            stream.write_all(head.as_bytes()).unwrap();
            return false;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    };
    let (first, second) = (Upstream::start(breaks), Upstream::fixed("ok"));
    let server = start("", &[&first, &second]).tolerant(&["upstream behind", "proxy behind"]);
    for _ in 0..8 {
        let mut reader = Connection::open(server.address).unwrap();
        reader.send("GET /behind/stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(!reader.rest().unwrap().is_empty());
    }
    assert_eq!(first.take_received().len(), 4);
    second.take_received();
    for _ in 0..10 {
        assert_eq!(get(server.address, "/behind/quick").text(), "ok");
    }
    assert_eq!((first.received().len(), second.received().len()), (5, 5));
}

#[test]
fn what_an_upstream_says_before_it_has_read_the_upload_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Reads the head, answers, and closes with the rest unread: a reset follows.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            drop(stream.read(&mut head));
            let answer =
                b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large";
            drop(stream.write_all(answer));
        }
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: ["{address}"])}},"#
    ));
    let server = setup.start();
    let upload = noise(1 << 20, 7);
    for round in 0..60 {
        let mut connection = Connection::open(server.address).unwrap();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", upload.len());
        connection.send(head).unwrap();
        // The answer may come before everything was sent.
        drop(connection.send(&upload));
        let reply = connection.reply("POST").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "too large"), "round {round}");
    }
}

#[test]
fn at_the_limit_of_connections_nobody_is_cut_off_who_is_served() {
    let unused = Upstream::fixed("");
    let server = start("", &[&unused]).tolerant(&["as many as it may have"]);
    let site = SITE.replace("LIMITS", "").replace("SERVERS", "\"127.0.0.1:1\"");
    server.configure(&site.replace("(processes: 1),\n    \n", "(processes: 1, connections: 2),\n"));
    server.hang_up();
    let gate = Gate::new(server.directory(), "app/gate");
    let hold = |_| {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("GET /app/hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        connection
    };
    let mut served: Vec<Connection> = (0..2).map(hold).collect();
    server.wait_log("2 connections, as many as it may have");
    let mut visitor = Connection::open(server.address).unwrap();
    visitor.send("GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for connection in &mut served {
        gate.open();
        assert_eq!(connection.reply("GET").unwrap().text(), "/app/hold");
    }
    assert_eq!(visitor.reply("GET").unwrap().text(), "a\n");
}

#[test]
fn at_the_limit_of_connections_a_visitor_is_answered_at_the_expense_of_who_is_idle_or_silent() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1, connections: 8),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here\n"))])],"#,
    );
    let server = setup.start().tolerant(&["as many as it may have"]);
    let mut idle: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(server.address).unwrap();
            assert_eq!(connection.get("/").unwrap().text(), "here\n");
            connection
        })
        .collect();
    let mut visitor = Connection::open(server.address).unwrap();
    assert_eq!(visitor.get("/").unwrap().text(), "here\n");
    assert!(idle.remove(0).is_closed(), "the one that was idle for longest");
    // The others were left alone.
    for connection in &mut idle {
        assert_eq!(connection.get("/").unwrap().text(), "here\n");
    }
    // Once those have had time that have sent nothing, or half a head, they go before those that were just answered.
    idle.truncate(1);
    let mut silent: Vec<Connection> = (0..6).map(|_| Connection::open(server.address).unwrap()).collect();
    silent.iter_mut().step_by(2).for_each(|connection| connection.send("GET / HT").unwrap());
    silent.iter_mut().for_each(|connection| connection.socket().set_nonblocking(true).unwrap());
    wait_until(SOON, "a silent one has given way", || {
        let mut late = Connection::open(server.address).unwrap();
        assert_eq!(late.get("/").unwrap().text(), "here\n");
        idle.push(late);
        holds(silent.iter_mut().any(Connection::is_closed), idle.len())
    });
}
