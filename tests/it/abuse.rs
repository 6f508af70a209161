//! Clients that mean no good, or are merely slow: what they do costs them and nobody else.

use crate::harness::{Connection, Process, SOON, Server, Setup, Upstream, get, holds, noise, wait_until};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::os::fd::AsFd as _;

/// One worker with everything: files, the plain app in one process, an upstream.
fn site(upstream: &Upstream, limits: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    limits: ({limits}),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/static/", to: Files(root: "static")),
            (path: "/up/", to: Proxy("behind")),
            (path: "/", to: App("plain")),
        ],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1)}},
    upstreams: {{"behind": (servers: ["{}"], timeout: "300ms")}},"#,
        upstream.address
    ));
    setup.directory.write("static/file.txt", "file\n");
    setup.start()
}

fn wait_for_connections(server: &Server, count: u64) {
    wait_until(SOON, "so many connections", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == count, workers)
    });
}

#[test]
fn a_reset_in_any_phase_hurts_nobody_else() {
    let large = noise(4 << 20, 3);
    let upstream = Upstream::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len());
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&large).is_ok()
    });
    // A debug build checks after each drive that every connection can still end.
    let server = site(&upstream, "");
    let worker = server.ready("worker");
    for request in [
        "",
        "GET /",
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /static/file.txt HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /up/large HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegun",
        "POST /up/ HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nbegun",
    ] {
        for _ in 0..25 {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send(request).unwrap();
            let abrupt = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(
                &connection.socket().as_fd(),
                nix::sys::socket::sockopt::Linger,
                &abrupt,
            )
            .unwrap();
        }
    }
    assert_eq!(get(server.address, "/hello").status, 200);
    wait_for_connections(&server, 0);
    assert_eq!(server.ready("worker"), worker);
    assert_eq!(server.pool("worker").restarts, 0);
}

/// 64 MiB, and what is on its way.
#[test]
fn who_sends_on_and_does_not_take_the_last_answer_is_not_read_from_without_end() {
    const MOST: usize = 96 << 20;
    let server = site(&Upstream::fixed(""), "body_timeout: \"2s\"");
    let large = server.directory().path().join("static/large");
    std::fs::File::create(large).unwrap().set_len(64 << 20).unwrap();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /static/large HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n").unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    let sent = (0..).take_while(|_| connection.send(&megabyte).is_ok()).take(MOST >> 20).count();
    assert!((32..MOST >> 20).contains(&sent), "{sent} MiB");
    server.wait_log("response not taken in time");
}

#[test]
fn an_upload_that_stalls_is_the_clients_fault_not_the_upstreams() {
    let upstream = Upstream::fixed("ok");
    // The harness fails the test at a line about the upstream.
    let server = site(&upstream, r#"body_timeout: "1s""#);
    let mut stalled = Connection::open(server.address).unwrap();
    stalled.send("POST /up/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
    assert_eq!(stalled.reply("POST").unwrap().status, 408);
    assert_eq!(get(server.address, "/up/").text(), "ok");
}

#[test]
fn a_download_that_nobody_reads_is_the_clients_fault_not_the_upstreams() {
    let large = noise(32 << 20, 5);
    let upstream = Upstream::start(move |request, stream| {
        let body = if request.line.contains("large") { &large[..] } else { b"ok" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(body).is_ok()
    });
    let server = site(&upstream, r#"body_timeout: "1s""#);
    let mut idle = Connection::open(server.address).unwrap();
    idle.send("GET /up/large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_for_connections(&server, 1);
    // Given up by body_timeout, without a word about the upstream.
    wait_for_connections(&server, 0);
    server.wait_log("broken off: response not taken in time; raise limits.body_timeout");
    assert_eq!(get(server.address, "/up/").text(), "ok");
}

/// From now on a process has no more descriptors than up to its highest one; how many below that are free.
fn no_more_descriptors(worker: Process) -> usize {
    let (highest, free) = descriptors(worker);
    let (pid, limit) = (worker.pid.to_string(), format!("--nofile={0}:{0}", highest + 1));
    assert!(std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    free
}

/// The highest descriptor of a process, and how many there are below it that are not taken.
fn descriptors(worker: Process) -> (usize, usize) {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", worker.pid)).unwrap();
    let numbers = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<usize>().unwrap());
    let numbers: Vec<_> = numbers.collect();
    let highest = *numbers.iter().max().unwrap();
    (highest, highest + 1 - numbers.len())
}

#[test]
fn without_descriptors_idle_connections_make_room_for_new_ones() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], max_body: "1KiB", locations: [(path: "/", to: Respond(body: "fixed"))])],"#,
    );
    let server = setup.start();
    let worker = server.ready("worker")[0];
    let open = || Connection::open(server.address).unwrap();
    let served = |connection: &mut Connection| connection.get("/").unwrap().text() == "fixed";
    // Refused early and not gone, so that the worker reads on for a while.
    let mut lingering: Vec<_> = (0..8).map(|_| open()).collect();
    for connection in &mut lingering {
        connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\nbegun").unwrap();
        assert_eq!(connection.reply("POST").unwrap().status, 413);
    }
    let mut idle: Vec<_> = (0..8).map(|_| open()).collect();
    assert!(idle.iter_mut().all(served));
    let mut busy = open();
    busy.send("GET / HTTP/1.1\r\nHost:").unwrap();
    wait_for_connections(&server, 17);
    let free = no_more_descriptors(worker);
    // Those that linger go first.
    let mut new: Vec<_> = (0..free + 8).map(|_| open()).collect();
    assert!(new.iter_mut().all(served));
    assert!(idle.iter_mut().all(served), "idle ones stay as long as others linger");
    server.wait_log("idle connections are closed for new ones. Raise LimitNOFILE");
    // Then those that are idle, whoever they are, and nobody waits: each is served at once.
    for _ in 0..40 {
        let mut connection = open();
        assert!(served(&mut connection));
        new.push(connection);
    }
    assert!(idle.iter_mut().all(Connection::is_closed));
    // What is in the middle of something is left alone.
    busy.send(" a\r\n\r\n").unwrap();
    assert_eq!(busy.reply("GET").unwrap().text(), "fixed");
    assert_eq!(server.ready("worker"), [worker]);
}

#[test]
fn without_descriptors_requests_find_room_too() {
    let upstream = Upstream::fixed("ok");
    for path in ["/static/file.txt", "/up/", "/hello"] {
        let server = site(&upstream, "").tolerant(&["no descriptors or memory left"]);
        let worker = server.ready("worker")[0];
        let mut asking = Connection::open(server.address).unwrap();
        assert_eq!(asking.get("/static/none").unwrap().status, 404);
        let mut idle: Vec<_> = (0..20).map(|_| Connection::open(server.address).unwrap()).collect();
        for connection in &mut idle {
            assert_eq!(connection.get("/static/none").unwrap().status, 404);
        }
        wait_for_connections(&server, 21);
        for _ in 0..no_more_descriptors(worker) {
            let mut connection = Connection::open(server.address).unwrap();
            assert_eq!(connection.get("/static/none").unwrap().status, 404);
            idle.push(connection);
        }
        wait_until(SOON, "an answer", || {
            let reply = asking.get(path).map_err(|error| {
                asking = Connection::open(server.address).unwrap();
                error.to_string()
            })?;
            assert!(matches!(reply.status, 200 | 503), "{path}: {reply:?}");
            holds(reply.status == 200, reply)
        });
        assert!(
            !server.log().iter().any(|line| line.contains("upstream behind: ")),
            "the upstream is not to blame"
        );
        assert_eq!(server.ready("worker"), [worker]);
    }
}

#[test]
fn a_stopped_worker_does_not_keep_others_from_accepting() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(body: "fixed"))])],"#,
    );
    let server = setup.start();
    let stopped = server.wait_ready(SOON, "worker", 2)[0];
    stopped.signal(Signal::SIGSTOP);
    // Kept open, so that the other one soon has more than its share.
    let mut connections: Vec<_> = (0..30).map(|_| Connection::open(server.address).unwrap()).collect();
    let answered = connections.iter_mut().all(|connection| connection.get("/").unwrap().text() == "fixed");
    stopped.signal(Signal::SIGCONT);
    assert!(answered);
}

#[test]
fn an_app_that_gets_its_own_length_wrong_is_told_of() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("wrong"))])],
    apps: {"wrong": (module: "wrong", chdir: "{dir}", home: "{venv}", processes: 1)},"#,
    );
    setup.directory.write(
        "wrong.py",
        "def application(environ, start_response):\n    \
         length = environ['PATH_INFO'][1:]\n    \
         start_response('200 OK', [('Content-Length', length)])\n    \
         return [b'01234', b'56789']\n",
    );
    let server = setup.start().tolerant(&["app wrong: "]);
    let mut connection = Connection::open(server.address).unwrap();
    // What is too much is cut, so that it is not taken for the next response.
    for _ in 0..2 {
        assert_eq!(connection.get("/7").unwrap().text(), "0123456");
    }
    server
        .wait_log("app wrong: GET /7: the body is not as long as its Content-Length: 10 bytes instead of 7");
    assert_eq!(connection.get("/10").unwrap().text(), "0123456789");
    // HEAD has no body, however long that would be.
    let head = connection.request("HEAD", "/12", &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("12")));
    assert_eq!(connection.get("/10").unwrap().text(), "0123456789");
    // What is too little must not look whole.
    assert!(connection.get("/12").is_err());
    assert!(!server.log().iter().any(|line| line.contains("HEAD /12: ")), "{:?}", server.log());
}

/// An app in one process, and a directory for its responses that is taken away.
fn without_spool(timeout: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    temp_dir: "{{dir}}/spool",
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("plain"))])],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1, timeout: "{timeout}")}},"#,
    ));
    let spool = setup.directory.path().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let server = setup.start().tolerant(&["cannot keep a response", "in the middle of the response"]);
    std::fs::remove_dir(&spool).unwrap();
    server
}

#[test]
fn a_response_that_cannot_be_spooled_arrives_all_the_same() {
    let server = without_spool("60s");
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /big?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // The client reads nothing yet: what the socket does not take has nowhere to go.
    server.wait_log("cannot keep a response");
    let reply = slow.reply("GET").unwrap();
    let block: Vec<u8> = (0..=255).collect();
    assert_eq!(reply.body.len(), 50_000_000);
    assert!(reply.body.iter().zip(block.iter().cycle()).all(|(here, there)| here == there));
    let lines = server.log().iter().filter(|line| line.contains("cannot keep a response")).count();
    assert_eq!(lines, 1, "said once a response");
}

#[test]
fn without_a_spool_a_client_that_does_not_read_keeps_the_app_for_its_timeout_only() {
    let server = without_spool("1s");
    let app = server.ready("plain");
    let mut stalled = Connection::open(server.address).unwrap();
    stalled.send("GET /big?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    server.wait_log("cannot keep a response");
    // Waits in the queue until the app is free again.
    assert_eq!(get(server.address, "/hello").status, 200);
    assert!(stalled.reply("GET").is_err(), "it is broken off");
    assert_eq!(server.ready("plain"), app, "the process is not to blame");
}

#[test]
fn what_an_app_prints_is_logged_at_every_level() {
    let setup = Setup::new(
        r#"
    log: (level: "error"),
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("raises"))])],
    apps: {"raises": (module: "raises", chdir: "{dir}", home: "{venv}", processes: 1)},"#,
    );
    setup
        .directory
        .write("raises.py", "def application(environ, start_response):\n    raise KeyError('lost')\n");
    let server = setup.start().tolerant(&["KeyError", "raises"]);
    assert_eq!(get(server.address, "/").status, 500);
    server.wait_log("KeyError: 'lost'");
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let setup = Setup::new(
        r#"
    log: (access: (path: "-")),
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        locations: [(path: "/fixed", to: Respond(body: "fixed")), (path: "/", to: App("prints"))],
    )],
    apps: {"prints": (module: "prints", chdir: "{dir}", home: "{venv}", processes: 1)},"#,
    );
    setup.directory.write(
        "prints.py",
        "def application(environ, start_response):\n    \
         for _ in range(1000):\n        print('x' * 1000, flush=True)\n    \
         start_response('200 OK', [])\n    return [b'printed']\n",
    );
    let path = setup.directory.path().join("log");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open for reading too, so that it can be opened for writing; never read.
    let log = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let server = setup.under(&["sh", "-c", "exec \"$0\" \"$@\" >log 2>&1"]).start();
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..900 {
        // 900 lines of 100 bytes and more are above the 64 KiB of a pipe.
        assert_eq!(connection.get("/fixed").unwrap().text(), "fixed");
    }
    assert_eq!(get(server.address, "/").text(), "printed");
    assert_eq!(get(server.address, "/").text(), "printed");
    assert_eq!(server.status().mode, "running");
    drop(server);
    drop(log);
}
