//! What clients are refused for: each limit has its status and a log line that names the key to raise, floods are
//! counted, and the answer arrives.

use crate::harness::{Connection, SOON, Server, Setup, get, holds, reply_to, wait_until};

fn fixed(limits: &str, rest: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    limits: ({limits}),
    sites: [(listen: ["{{address}}"], max_body: "1KiB", {rest}
        locations: [(path: "/", to: Respond(status: 200, body: "fixed\n"))])],"#
    ))
    .start()
}

#[test]
fn every_limit_names_the_key_to_raise() {
    let server = fixed(r#"request_line: "100B", head: "1KiB", fields: 5, header_timeout: "300ms""#, "");
    let x = |count: usize| "x".repeat(count);
    for (request, status, key) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", x(100)), 414, "limits.request_line"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", x(1024)), 431, "limits.head"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(5)), 431, "limits.fields"),
        ("GET / HTTP/1.1\r\nHost:".to_owned(), 408, "limits.header_timeout"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n".to_owned(), 413, "max_body"),
    ] {
        let (reply, closed) = reply_to(server.address, request);
        assert_eq!((reply.status, closed), (status, true), "{key}: {reply:?}");
        let line = server.wait_log(key);
        assert!(line.contains(&format!("refused with {status}")) && line.contains("raise"), "{line}");
    }
}

#[test]
fn a_body_that_comes_too_slowly_is_timed_out() {
    for (limits, key) in [
        (r#"body_timeout: "300ms", body_rate: "0B""#, "raise limits.body_timeout"),
        (r#"body_rate: "1MiB", body_grace: "300ms""#, "lower limits.body_rate"),
    ] {
        let server = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    limits: ({limits}),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("plain"))])],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1)}},"#
        ))
        .start();
        let mut slow = Connection::open(server.address).unwrap();
        slow.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome of it").unwrap();
        let reply = slow.reply("POST").unwrap();
        assert_eq!((reply.status, reply.closes()), (408, true), "{limits}");
        server.wait_log(key);
        assert_eq!(get(server.address, "/hello").text(), "hello\n");
    }
}

#[test]
fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let server = fixed("", "");
    let body = "x".repeat(3 << 20);
    for head in ["Content-Length: 3145728\r\n", "Content-Length: 3145728\r\nContent-Length: 1\r\n"] {
        let (reply, closed) =
            reply_to(server.address, format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}"));
        assert!(matches!(reply.status, 400 | 413) && closed, "{reply:?}");
    }
}

#[test]
fn tunnels_and_traces_are_refused() {
    let server = fixed("", "");
    let (trace, closed) = reply_to(server.address, "TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n");
    assert_eq!((trace.status, closed), (405, true));
    assert!(trace.field("allow").is_some_and(|methods| methods.contains("GET")), "{trace:?}");
    assert!(!trace.text().contains("secret"), "{trace:?}");
    let (connect, closed) = reply_to(server.address, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((connect.status, closed), (501, true));
}

#[test]
fn a_client_address_may_have_so_many_connections() {
    let server = fixed("connections_per_client: 2", "");
    let connect = || Connection::open(server.address).unwrap();
    let (mut one, mut two) = (connect(), connect());
    assert_eq!(one.get("/").unwrap().status, 200);
    assert_eq!(two.get("/").unwrap().status, 200);
    // Told without a request, since those who never send one are who the limit is for.
    let (mut three, mut four) = (connect(), connect());
    for refused in [&mut three, &mut four] {
        let reply = refused.reply("GET").unwrap();
        assert_eq!((reply.status, reply.closes()), (429, true), "{reply:?}");
    }
    server.wait_log("raise limits.connections_per_client");
    // As many again are told; then nobody is.
    let mut five = connect();
    assert!(five.is_closed());
    // Those that are served stay so, and a place that becomes free is free.
    assert_eq!(one.get("/").unwrap().status, 200);
    drop(two);
    wait_until(SOON, "the place is free", || {
        let reply = connect().get("/").map_err(|error| error.to_string())?;
        holds(reply.status == 200, reply)
    });
}

#[test]
fn a_trusted_proxy_may_have_any_number_of_connections() {
    let server = fixed("connections_per_client: 1", r#"trusted_proxies: ["127.0.0.0/8"],"#);
    let mut open: Vec<_> = (0..5).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
}

#[test]
fn a_full_worker_says_so_and_serves_those_who_wait_later() {
    let server = Setup::new(
        r#"
    workers: (processes: 1, connections: 2),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed\n"))])],"#,
    )
    .start();
    let mut open: Vec<_> = (0..2).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut open {
        assert_eq!(connection.get("/").unwrap().status, 200);
    }
    server.wait_log("raise workers.connections");
    let mut waiting = Connection::open(server.address).unwrap();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    drop(open);
    assert_eq!(waiting.reply("GET").unwrap().text(), "fixed\n");
}

#[test]
fn a_flood_of_refusals_is_counted_in_the_log() {
    const FLOOD: usize = 200;
    let server = fixed("", "");
    for _ in 0..FLOOD {
        let (reply, _) = reply_to(server.address, "GET / HTTP/1.1\r\n\r\n");
        assert_eq!(reply.status, 400);
    }
    let log = wait_until(SOON, "all refusals are accounted for", || {
        let log = server.log();
        let lines = log.iter().filter(|line| line.contains("refused with 400")).count();
        let held = log.iter().filter_map(|line| {
            let (before, _) = line.split_once(" more within a second: HTTP/1.1 request without Host")?;
            before.rsplit(' ').next()?.parse::<usize>().ok()
        });
        let held: usize = held.sum();
        if lines + held == FLOOD && held > 0 { Ok(log) } else { Err(format!("{lines} + {held}")) }
    });
    // Each request is in the access log all the same.
    let accessed = log.iter().filter(|line| line.contains("\" 400 ")).count();
    assert_eq!(accessed, FLOOD);
}
