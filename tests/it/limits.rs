//! Bad requests and what is too much: each gets its status, and the server goes on.

use crate::harness::{Connection, SOON, Server, Setup, get, holds, noise, reply_to, wait_until};

fn server() -> Server {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        max_body: "100KiB",
        locations: [
            (exact: "/fixed", to: Respond(status: 200, body: "fixed\n", content_type: "text/plain")),
            (path: "/old/", to: Redirect(status: 301, location: "/new$rest")),
            (path: "/files/", to: Files(root: "files")),
            (path: "/", to: App("plain")),
        ],
    )],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},"#,
    );
    setup.directory.write("files/file.txt", "file\n");
    setup.start()
}

#[test]
fn malformed_requests_get_400_and_the_connection_closes() {
    let server = server();
    for request in [
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET /fixed\r\n\r\n",
        "GET /fixed HTTP/1.1\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHost: a\r\nName : x\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHost: a\r\nA: b\r\n folded\r\n\r\n",
        "GET /fixed HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
        "POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        "POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        "POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /fixed HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let (reply, closed) = reply_to(server.address, request);
        assert_eq!((reply.status, closed), (400, true), "{request:?}: {reply:?}");
    }
    assert_eq!(get(server.address, "/fixed").text(), "fixed\n");
}

#[test]
fn what_is_too_long_has_its_own_status() {
    let server = server();
    let long = "x".repeat(9000);
    let (reply, closed) = reply_to(server.address, format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!((reply.status, closed), (414, true));
    let many: String = (0..101).map(|number| format!("X-{number}: x\r\n")).collect();
    let (reply, closed) = reply_to(server.address, format!("GET /fixed HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
    assert_eq!((reply.status, closed), (431, true));
    let large = "x".repeat(40 << 10);
    let (reply, closed) =
        reply_to(server.address, format!("GET /fixed HTTP/1.1\r\nHost: a\r\nX: {large}\r\n\r\n"));
    assert_eq!((reply.status, closed), (431, true));
    assert_eq!(get(server.address, "/fixed").text(), "fixed\n");
}

#[test]
fn a_body_that_is_too_large_gets_413() {
    let server = server();
    // Announced: refused before a byte of it is read.
    let (reply, _) =
        reply_to(server.address, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 102401\r\n\r\n");
    assert_eq!(reply.status, 413);
    let expecting =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 102401\r\n\r\n";
    let (reply, _) = reply_to(server.address, expecting);
    assert_eq!((reply.status, reply.interim.len()), (413, 0));
    // Chunked: refused when it has become too much.
    let chunk = format!("19000\r\n{}\r\n", "x".repeat(102_400));
    let start = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (reply, _) = reply_to(server.address, format!("{start}{chunk}1\r\nx\r\n0\r\n\r\n"));
    assert_eq!(reply.status, 413);
    // What just fits is taken.
    let mut connection = Connection::open(server.address).unwrap();
    let reply = connection.request("POST", "/echo", &[], &noise(102_400, 3)).unwrap();
    assert_eq!(reply.json()["length"], 102_400);
    let reply = connection.request_chunked("POST", "/echo", &[], &noise(102_400, 3)).unwrap();
    assert_eq!(reply.json()["length"], 102_400);
}

#[test]
fn fixed_answers_and_redirects() {
    let server = server();
    let fixed = get(server.address, "/fixed?x=1");
    assert_eq!((fixed.status, fixed.field("content-type")), (200, Some("text/plain")));
    assert_eq!(get(server.address, "/fixed/more").status, 404);
    let redirect = get(server.address, "/old/a%20b/c?d=e");
    assert_eq!(redirect.status, 301);
    let location = redirect.field("location").unwrap();
    assert!(location.contains("/new") && location.contains("a%20b/c"), "{location}");
    assert!(!location.contains("/old/"), "{location}");
}

#[test]
fn a_head_that_never_ends_is_timed_out() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    limits: (header_timeout: "300ms", keepalive_timeout: "400ms"),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed\n"))])],"#,
    );
    let server = setup.start();
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET / HTTP/1.1\r\nHost: ").unwrap();
    assert_eq!(slow.reply("GET").unwrap().status, 408);
    assert!(slow.is_closed());
    // One that says nothing at all, and one that is idle after a response, are closed without a word.
    let mut silent = Connection::open(server.address).unwrap();
    assert_eq!(silent.rest().unwrap(), b"");
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/").unwrap().text(), "fixed\n");
    assert_eq!(idle.rest().unwrap(), b"");
    wait_until(SOON, "no connection is open", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().all(|worker| worker.connections == Some(0)), workers)
    });
}

#[test]
fn an_unknown_host_is_misdirected() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [
        (names: ["one.example"], listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "one"))]),
        (names: ["*.two.example"], listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "two"))]),
    ],"#,
    );
    let server = setup.start();
    let ask = |host: &str| reply_to(server.address, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).0;
    assert_eq!(ask("one.example").text(), "one");
    assert_eq!(ask("ONE.example:8000").text(), "one");
    assert_eq!(ask("a.two.example").text(), "two");
    assert_eq!(ask("two.example").status, 421);
    assert_eq!(ask("three.example").status, 421);
    // One dot at the end is the same name; HTTP/1.0 without a host names none.
    assert_eq!(ask("one.example.").text(), "one");
    assert_eq!(ask("one.example.:80").text(), "one");
    assert_eq!(ask("A.B.Two.Example.").text(), "two");
    assert_eq!(reply_to(server.address, "GET / HTTP/1.0\r\n\r\n").0.status, 421);
    let absolute = "GET http://one.example/ HTTP/1.0\r\n\r\n";
    assert_eq!(reply_to(server.address, absolute).0.text(), "one");
}

#[test]
fn a_default_site_answers_every_other_host() {
    let server = Setup::new(
        r#"
    default_site: "two.example",
    workers: (processes: 1),
    sites: [
        (names: ["*.example"], listen: ["{address}"], locations: [(path: "/", to: Respond(body: "wild"))]),
        (names: ["one.example"], listen: ["{address}"], locations: [(path: "/", to: Respond(body: "one"))]),
        (names: ["two.example"], listen: ["{address}"], locations: [(path: "/", to: Respond(body: "two"))]),
    ],"#,
    )
    .start();
    let ask = |head: &str| reply_to(server.address, format!("{head}\r\n")).0.text();
    assert_eq!(ask("GET / HTTP/1.1\r\nHost: one.example\r\n"), "one", "the plain name before the pattern");
    assert_eq!(ask("GET / HTTP/1.1\r\nHost: three.example\r\n"), "wild");
    assert_eq!(ask("GET / HTTP/1.1\r\nHost: elsewhere\r\n"), "two");
    assert_eq!(ask("GET / HTTP/1.0\r\n"), "two");
}

/// What a location guards is guarded however its path is written.
#[test]
fn a_location_is_found_by_the_path_that_is_served() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        locations: [
            (path: "/private/", to: Respond(status: 403)),
            (regex: "\\.secret$", to: Respond(status: 403)),
            (path: "/files/", to: Files("files")),
            (exact: "/one", to: Files("files")),
            (path: "/", to: Files("files")),
        ],
    )],"#,
    );
    for name in ["private/a", "a.secret", "one", "a"] {
        setup.directory.write(format!("files/{name}"), name);
    }
    setup.directory.write("filesystem/a", "beside");
    let server = setup.start();
    for (path, status) in [
        ("/private/a", 403),
        ("/%70rivate/a", 403),
        ("/private%2fa", 403),
        ("//private/a", 403),
        ("/./private/a", 403),
        ("/x/../private/a", 403),
        ("/x/%2e%2e/private/a", 403),
        ("/x/..%2fprivate/a", 403),
        ("/files/private/a", 200),
        ("/a.secret", 403),
        ("/a.secre%74", 403),
        ("/a.secret%00", 400),
        ("/files/a", 200),
        ("/files", 404),
        ("/filesystem/a", 404),
        ("/files../filesystem/a", 404),
        ("/one", 200),
        ("/one/", 404),
        ("/one/../a", 200),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        assert_eq!(connection.get(path).unwrap().status, status, "{path}");
    }
}

#[test]
fn a_request_that_finds_no_free_process_in_time_gets_503() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1, queue_timeout: "200ms")},"#,
    );
    let server = setup.start();
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /sleep?seconds=2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let refused = wait_until(SOON, "a request is refused", || {
        let reply = get(server.address, "/hello");
        if reply.status == 503 { Ok(reply) } else { Err(format!("{reply:?}")) }
    });
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    assert_eq!(slow.reply("GET").unwrap().text(), "slept\n");
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
}

#[test]
fn a_worker_holds_no_more_connections_than_it_may() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1, connections: 4),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#,
    );
    let server = setup.start();
    let worker = server.ready("worker")[0];
    // All of them wait when it looks, and it takes several at a time.
    worker.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut connections: Vec<_> = (0..12).map(|_| Connection::open(server.address).unwrap()).collect();
    connections.iter_mut().for_each(|one| one.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap());
    worker.signal(nix::sys::signal::Signal::SIGCONT);
    let held = || server.pool("worker").children[0].connections;
    // Each that was answered makes room for the next.
    for connection in &mut connections {
        assert_eq!(connection.reply("GET").unwrap().text(), "here");
        assert!(held() <= Some(4), "{:?}", held());
    }
    wait_until(SOON, "as many as it may", || holds(held() == Some(4), held()));
}
