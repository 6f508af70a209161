//! What clients are refused for: each limit has its status and a log line that names the key to raise, floods are
//! counted, and the answer arrives.

use crate::harness::{Connection, SOON, Server, Setup, get, holds, http2, reply_to, tls, wait_until};
use std::io::Read as _;
use std::net::TcpStream;

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
fn what_is_refused_is_logged_with_its_first_line_if_that_was_complete() {
    let server = fixed("fields: 3", "");
    for (request, logged) in [
        ("GET /bad HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "\"GET /bad HTTP/1.1\" 400 "),
        ("PUT /nohost HTTP/1.1\r\n\r\n", "\"PUT /nohost HTTP/1.1\" 400 "),
        ("HEAD /many HTTP/1.0\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n", "\"HEAD /many HTTP/1.0\" 431 "),
        ("GET /cut\n\n", "\"-\" 400 "),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(request).unwrap();
        drop(connection.reply(request.split(' ').next().unwrap()));
        server.wait_log(logged);
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

/// RFC 9110 §9.3.7: asked of the server as a whole, by whichever way of writing it.
#[test]
fn options_of_the_server_are_told() {
    let server = fixed("", r#"names: ["a.example"],"#);
    for (request, status) in [
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n", 204),
        ("OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", 204),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\nbody", 204),
        ("OPTIONS * HTTP/1.1\r\nHost: b.example\r\n\r\n", 421),
        ("GET * HTTP/1.1\r\nHost: a.example\r\n\r\n", 400),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(request).unwrap();
        let reply = connection.reply("OPTIONS").unwrap();
        assert_eq!(reply.status, status, "{request:?}");
        let allowed = reply.field("allow").is_some_and(|methods| methods.contains("OPTIONS"));
        assert_eq!(allowed, status == 204, "{request:?}: {reply:?}");
    }
}

/// RFC 9110 §10.1.1: what is decided from the head alone is said at once, and nobody is told to send a body for it.
#[test]
fn nobody_is_asked_for_a_body_that_is_not_wanted() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        names: ["a"],
        listen: ["{address}"],
        locations: [
            (path: "/old/", to: Redirect(location: "/new/")),
            (path: "/fixed", to: Respond(body: "fixed")),
            (path: "/files/", to: Files("files")),
        ],
    )],"#,
    );
    setup.directory.write("files/a.txt", "text");
    let server = setup.start();
    for (path, host, status) in [
        ("/old/x", "a", 302),
        ("/fixed", "a", 200),
        ("/files/a.txt", "a", 405),
        ("/nothing", "a", 404),
        ("/fixed", "b", 421),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        );
        connection.send(head).unwrap();
        let reply = connection.reply("POST").unwrap();
        // Whether the client sends its body now cannot be known: the connection ends.
        assert_eq!((reply.status, reply.interim.len(), reply.closes()), (status, 0, true), "{path} {host}");
        connection.send("GET /").unwrap();
        assert!(connection.is_closed(), "{path}: what follows is no request");
    }
}

/// RFC 9110 §9.3.2, §6.4.1: no body follows whatever answers HEAD, or the next response would be misread.
#[test]
fn no_answer_to_head_has_a_body() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        names: ["localhost"],
        listen: ["{address}"],
        error_pages: {410: "gone.html"},
        locations: [
            (path: "/old/", to: Redirect(location: "/new/")),
            (path: "/fixed", to: Respond(body: "fixed")),
            (path: "/empty", to: Respond(status: 204)),
            (path: "/gone/", to: Files(root: "files", fallback: 410)),
            (path: "/files/", to: Files(root: "files", listing: true, precompressed: true)),
            (path: "/up/", to: Proxy("dead")),
        ],
    )],
    upstreams: {"dead": (servers: ["unix:{dir}/nobody-listens"])},"#,
    );
    setup.directory.write("gone.html", "<p>gone</p>");
    for (name, text) in [("a.txt", "text"), ("a.txt.gz", "GZ"), ("sub/b.txt", "b")] {
        setup.directory.write(format!("files/{name}"), text);
    }
    let server = setup.start().tolerant(&["proxy dead: "]);
    let mut connection = Connection::open(server.address).unwrap();
    for (path, fields, status) in [
        ("/old/x", &[][..], 302),
        ("/fixed", &[], 200),
        ("/empty", &[], 204),
        ("/gone/x", &[], 410),
        ("/files/a.txt", &[], 200),
        ("/files/a.txt", &[("Accept-Encoding", "gzip")], 200),
        ("/files/a.txt", &[("If-None-Match", "*")], 304),
        ("/files/a.txt", &[("If-Match", "\"x\"")], 412),
        ("/files/", &[], 200),
        ("/files/sub", &[], 301),
        ("/files/none", &[], 404),
        ("/nowhere", &[], 404),
        ("/nowhere", &[("Host", "other")], 421),
        ("/up/x", &[], 502),
    ] {
        let get = connection.request("GET", path, fields, b"").unwrap();
        let head = connection.request("HEAD", path, fields, b"").unwrap();
        assert_eq!((get.status, head.status), (status, status), "{path}");
        let fields = |reply: &crate::harness::Reply| {
            let differs = ["date", "x-request-id"];
            let fields = reply
                .fields
                .iter()
                .filter(|(name, _)| !differs.contains(&name.to_ascii_lowercase().as_str()));
            fields.cloned().collect::<Vec<_>>()
        };
        assert_eq!(fields(&get), fields(&head), "{path}");
        assert_eq!(get.body.is_empty(), matches!(status, 204 | 301 | 304), "{path}");
    }
}

/// RFC 9110 §6.6.1: the time of the answer, once.
#[test]
fn the_date_is_that_of_the_answer() {
    let server = fixed("", "");
    let mut connection = Connection::open(server.address).unwrap();
    let wall = || hatchery::sys::clock::wall();
    for _ in 0..3 {
        let before = wall();
        let reply = connection.get("/").unwrap();
        let after = wall();
        let date = hatchery::http::date::parse(reply.field("date").unwrap().as_bytes(), after).unwrap();
        assert!((before.seconds..=after.seconds).contains(&date), "{before:?} {reply:?} {after:?}");
        // The next answer in another second.
        wait_until(SOON, "the next second", || holds(wall().seconds > after.seconds, wall()));
    }
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

/// One too many is told so in what it has agreed to speak.
#[test]
fn over_tls_a_connection_too_many_is_told_so_in_its_own_words() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    limits: (connections_per_client: 1),
    sites: [(
        names: ["a"],
        tls: (listen: ["{address}"], certificates: SelfSigned),
        locations: [(path: "/", to: Respond(status: 200, body: "fixed"))],
    )],"#,
    )
    .start();
    let connect = || http2::Client::open_tls(server.address, &[]).unwrap();
    let (mut served, mut refused) = (connect(), connect());
    assert_eq!(served.get("/").unwrap().status, 200);
    assert_eq!(refused.get("/").unwrap().status, 429);
    assert!(refused.goaway.is_some() || matches!(refused.next().unwrap(), http2::Came::GoAway { .. }));
    drop(refused);
    wait_until(SOON, "the place is free", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 1, workers)
    });
    // And who agreed to nothing, in HTTP/1.
    let mut plain = tls::connect(TcpStream::connect(server.address).unwrap(), &[]).unwrap();
    let mut answer = [0; 12];
    plain.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 429");
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
