//! Clients that leave, or only close their side: what runs for them, what is given up, and who is not blamed for it.

use crate::harness::{Connection, Gate, SOON, Server, Setup, Upstream, get, holds, noise, wait_until};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One process with one thread; `/hold` waits at the gate, every path is written down when it runs.
const APP: &str = r#"
import os
import time
here = os.path.dirname(__file__)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    with open(os.path.join(here, "ran"), "a") as ran:
        ran.write(path + "\n")
    if path == "/app/hold":
        with open(os.path.join(here, "gate")) as gate:
            gate.read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path.startswith("/app/ticks"):
        return ticks(path)
    return [path.encode()]

def ticks(path):
    with open(os.path.join(here, "gate")) as gate:
        gate.read()
    try:
        while True:
            yield b"tick"
            time.sleep(0.01)
    finally:
        with open(os.path.join(here, "ran"), "a") as ran:
            ran.write(path + " closed\n")
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

/// Has the socket of a client closed by a reset.
fn reset(mut connection: Connection) {
    let abrupt = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let socket = connection.socket();
    nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::Linger, &abrupt).unwrap();
}

/// `/poll` is never answered, `/stream` begins and never ends, `/flood` never stops, `/short` lacks most of what it announces.
fn endless() -> Upstream {
    Upstream::start(|request, stream| {
        if request.line.contains("/short") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun").unwrap();
        }
        if request.line.contains("/flood") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            let chunk = format!("10000\r\n{}\r\n", "f".repeat(0x10000));
            while stream.write_all(chunk.as_bytes()).is_ok() {}
            return false;
        }
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
fn a_stream_without_end_is_closed_also_where_it_begins_after_its_client_has_left() {
    let upstream = endless();
    let server = start("", &[&upstream]);
    let gate = Gate::new(server.directory(), "app/gate");
    drop(leave(&server, "/app/ticks"));
    wait_until(SOON, "it runs", || holds(ran(&server) == "/app/ticks\n", ran(&server)));
    gate.open();
    assert!(server.wait_log("\"GET /app/ticks HTTP/1.1\"").contains("\" 499 "));
    wait_until(SOON, "its iterable is closed", || holds(ran(&server).ends_with(" closed\n"), ran(&server)));
    assert_eq!(get(server.address, "/app/live").text(), "/app/live");
    assert_eq!(server.pool("one").restarts, 0);
    // Behind another one: that is answered.
    std::fs::remove_file(server.directory().path().join("app/gate")).unwrap();
    let gate = Gate::new(server.directory(), "app/gate");
    let mut pipelined = Connection::open(server.address).unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    pipelined.send(request("/app/hold") + &request("/behind/stream")).unwrap();
    pipelined.socket().shutdown(Shutdown::Write).unwrap();
    gate.open();
    assert_eq!(pipelined.reply("GET").unwrap().text(), "/app/hold");
    assert!(server.wait_log("\"GET /behind/stream ").contains("\" 499 "));
    wait_until(SOON, "no connection to the server stays", || holds(upstream.open() == 0, upstream.open()));
}

#[test]
fn a_stream_that_only_its_end_would_complete_is_reset_for_who_has_closed_its_side() {
    let upstream = endless();
    let server = start("", &[&upstream]);
    let mut old = Connection::open(server.address).unwrap();
    old.send("GET /behind/stream HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(old.reply_head().unwrap().status, 200);
    old.socket().shutdown(Shutdown::Write).unwrap();
    assert!(server.wait_log("\"GET /behind/stream HTTP/1.0\"").contains("\" 499 "));
    let rest = old.rest();
    assert!(rest.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "{rest:?}");
}

#[test]
fn a_stream_without_end_is_closed_also_where_its_client_takes_nothing() {
    let upstream = endless();
    let server = start("", &[&upstream]);
    let mut idle = Connection::open(server.address).unwrap();
    idle.send("GET /behind/flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(idle.reply_head().unwrap().status, 200);
    assert_eq!(upstream.open(), 1);
    idle.socket().shutdown(Shutdown::Write).unwrap();
    wait_until(SOON, "no connection to the server stays", || holds(upstream.open() == 0, upstream.open()));
    drop(idle);
    assert!(server.wait_log("\"GET /behind/flood ").contains("\" 499 "));
}

#[test]
fn a_reset_is_noticed_after_the_client_has_closed_its_side() {
    let upstream = endless();
    let server = start("", &[&upstream]).tolerant(&["upstream behind", "proxy behind"]);
    for round in 0..5 {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(format!("GET /behind/short{round} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(connection.reply_head().unwrap().status, 200);
        connection.socket().shutdown(Shutdown::Write).unwrap();
        assert_eq!(upstream.open(), 1, "a response of known length goes on");
        reset(connection);
        server.wait_log(&format!("\"GET /behind/short{round} "));
        wait_until(SOON, "no connection to the server stays", || {
            holds(upstream.open() == 0, upstream.open())
        });
    }
}

#[test]
fn a_server_is_not_blamed_for_uploads_that_stall() {
    // As servers do that wait for a body in vain: they close without a word.
    let upstream = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, live) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&live);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut head) = (stream.unwrap(), Vec::new());
                while !(head.ends_with(b"hello") || head.starts_with(b"GET") && head.ends_with(b"\r\n\r\n")) {
                    let mut bytes = [0; 1024];
                    let Ok(length @ 1..) = stream.read(&mut bytes) else { break };
                    head.extend_from_slice(&bytes[..length]);
                }
                if head.starts_with(b"GET") {
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(
                        stream.write_all(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                        ),
                    );
                }
            }
        });
        (address, live)
    };
    let ((first, first_live), (second, second_live)) = (upstream(), upstream());
    // Else a body is had whole before a server is asked.
    let site = SITE.replace("Proxy(\"behind\")", "Proxy(name: \"behind\", buffering: Off)");
    let site = site.replace("LIMITS", "").replace("SERVERS", &format!("\"{first}\", \"{second}\""));
    let setup = Setup::new(&site);
    setup.directory.write("app/app.py", APP);
    setup.directory.write("files/a.txt", "a\n");
    let server = setup.start().tolerant(&["upstream behind", "proxy behind"]);
    for _ in 0..8 {
        let mut stalls = Connection::open(server.address).unwrap();
        stalls.send("POST /behind/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello").unwrap();
        assert_eq!(stalls.reply("POST").unwrap().status, 502);
    }
    for _ in 0..10 {
        assert_eq!(get(server.address, "/behind/").text(), "ok");
    }
    assert_eq!((first_live.load(Ordering::SeqCst), second_live.load(Ordering::SeqCst)), (5, 5));
}

#[test]
fn a_stop_does_not_wait_for_the_rest_of_a_body_that_was_answered() {
    let unused = Upstream::fixed("");
    let limits = "shutdown_timeout: \"10m\", limits: (body_timeout: \"10m\", body_grace: \"10m\"),";
    let mut server = start(limits, &[&unused]);
    let mut half = Connection::open(server.address).unwrap();
    half.send("POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhello").unwrap();
    assert_eq!(half.reply("POST").unwrap().status, 405);
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
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
    // The one before accepts what waits, and leaves.
    wait_until(SOON, "one worker is left", || {
        let workers = server.pool("worker");
        holds(workers.children.len() == 1, workers)
    });
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
