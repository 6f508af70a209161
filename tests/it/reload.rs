//! Reloads: the old serves until the new can.

use crate::harness::{Connection, Gate, Load, SOON, Server, Setup, get, holds, keep_loading, wait_until};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::time::Duration;

/// A file, a fixed answer that says `version`, and an app in the test's directory.
fn configuration(version: u32) -> String {
    format!(
        r#"
    workers: (processes: 2),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (exact: "/version", to: Respond(status: 200, body: "{version}", content_type: "text/plain")),
            (path: "/static/", to: Files(root: "static")),
            (path: "/", to: App("site")),
        ],
    )],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", processes: 2)}},"#
    )
}

fn app(answer: &str) -> String {
    format!(
        "import time\ndef application(environ, start_response):\n    if environ['PATH_INFO'] == '/slow':\n        \
         time.sleep(1)\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [b'{answer}']\n"
    )
}

fn server() -> Server {
    let setup = Setup::new(&configuration(1));
    setup.directory.write("site_of_test.py", app("first"));
    setup.directory.write("static/file.txt", "file\n".repeat(200));
    setup.start()
}

/// HUP ten times while the load runs; every other time the configuration has changed, so that workers roll too.
fn hang_up_ten_times(server: &Server, paths: &[&str]) {
    let load = Load::start(server.address, 64, paths);
    load.wait_for(200);
    for round in 1..=10 {
        if round % 2 == 0 {
            server.configure(&configuration(round));
        }
        server.hang_up();
        load.wait_for(50);
    }
    keep_loading(Duration::from_millis(500));
    load.finish().assert_flawless();
    assert_eq!(server.status().generation, 11);
    assert_eq!(get(server.address, "/version").text(), "10");
    // The old generations leave in the end.
    server.wait_ready(SOON, "worker", 2);
    server.wait_ready(SOON, "site", 2);
}

#[test]
fn ten_reloads_under_load_of_static_files_fail_no_request() {
    hang_up_ten_times(&server(), &["/static/file.txt", "/version"]);
}

#[test]
fn ten_reloads_under_load_of_dynamic_pages_fail_no_request() {
    hang_up_ten_times(&server(), &["/"]);
}

#[test]
fn broken_code_keeps_the_old_processes() {
    let server = server().tolerant(&["site", "reload"]);
    assert_eq!(get(server.address, "/").text(), "first");
    let before = server.ready("site");
    server.directory().write("site_of_test.py", "def application(:\n");
    let refused = server.command(&["reload", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = refused.stdout + &refused.stderr;
    assert!(said.contains("SyntaxError") && said.contains("site_of_test.py"), "{said}");
    assert_eq!(get(server.address, "/").text(), "first");
    assert_eq!(server.ready("site"), before);
    let reason = server.status().last_reload_error;
    assert!(reason.as_ref().is_some_and(|reason| reason.contains("SyntaxError")), "{reason:?}");
    // The same by signal.
    server.master.signal(Signal::SIGHUP);
    wait_until(SOON, "the second attempt has failed", || {
        let log = server.log().join("\n");
        holds(log.matches("SyntaxError").count() >= 2 && server.status().mode == "running", log)
    });
    assert_eq!(get(server.address, "/").text(), "first");

    server.directory().write("site_of_test.py", app("second"));
    let accepted = server.command(&["reload", "--wait"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert_eq!(get(server.address, "/").text(), "second");
    assert_eq!(server.status().last_reload_error, None);
    wait_until(SOON, "the old processes are gone", || {
        let left: Vec<_> = before.iter().filter(|process| process.is_alive()).collect();
        holds(left.is_empty(), left)
    });
}

#[test]
fn a_broken_configuration_keeps_the_old_one() {
    let server = server().tolerant(&["hatchery.ron", "reload"]);
    let workers = server.ready("worker");
    server.configure("    sites: [(listen: [\"{address}\"], lokations: [])],");
    let refused = server.command(&["reload", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = refused.stdout + &refused.stderr;
    assert!(said.contains("lokations") && said.contains("locations"), "{said}");
    assert_eq!(get(server.address, "/version").text(), "1");
    assert_eq!(server.ready("worker"), workers);
}

#[test]
fn workers_stay_when_the_configuration_has_not_changed() {
    let server = server();
    let (workers, apps) = (server.wait_ready(SOON, "worker", 2), server.wait_ready(SOON, "site", 2));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(server.wait_ready(SOON, "worker", 2), workers);
    let new = server.wait_ready(SOON, "site", 2);
    assert!(new.iter().all(|process| !apps.contains(process)), "{apps:?} {new:?}");

    server.configure(&configuration(2));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(get(server.address, "/version").text(), "2");
    let new = server.wait_ready(SOON, "worker", 2);
    assert!(new.iter().all(|process| !workers.contains(process)), "{workers:?} {new:?}");
}

#[test]
fn a_kept_connection_is_told_to_close_and_a_running_request_is_finished() {
    let server = server();
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/version").unwrap().text(), "1");
    let mut running = Connection::open(server.address).unwrap();
    running.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request has been read", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 2, workers)
    });
    server.directory().write("site_of_test.py", app("second"));
    server.configure(&configuration(2));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let last = idle.get("/static/file.txt").unwrap();
    assert_eq!((last.status, last.closes()), (200, true), "{:?}", last.fields);
    assert!(idle.is_closed());
    let slow = running.reply("GET").unwrap();
    assert!(slow.status == 200 && (slow.text() == "first" || slow.text() == "second"), "{slow:?}");
    assert_eq!(get(server.address, "/").text(), "second");
    server.wait_ready(SOON, "worker", 2);
}

#[test]
fn addresses_come_and_go() {
    let server = server();
    let with = |listen: &str| {
        configuration(1).replace("listen: [\"{address}\"", &format!("listen: [\"{{address}}\"{listen}"))
    };
    let socket = server.directory().path().join("new.sock");
    server.configure(&with(", \"unix:{dir}/new.sock\""));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    server.configure(&with(""));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    wait_until(SOON, "the socket is gone", || holds(!socket.exists(), &socket));
    assert_eq!(get(server.address, "/version").text(), "1");
}

/// Workers of a generation that is left.
fn wait_gone(processes: &[crate::harness::Process]) {
    wait_until(SOON, "the old processes are gone", || {
        let left: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        holds(left.is_empty(), left)
    });
}

#[test]
fn the_last_request_of_an_old_connection_reaches_the_new_code_or_the_old_if_there_is_no_new() {
    let server = server();
    let open = || {
        let mut connection = Connection::open(server.address).unwrap();
        assert_eq!(connection.get("/").unwrap().text(), "first");
        connection
    };
    let mut connection = open();
    server.directory().write("site_of_test.py", app("second"));
    server.configure(&configuration(2));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let last = connection.get("/").unwrap();
    assert_eq!((last.text().as_str(), last.closes()), ("second", true));

    // The app is gone from the file: a worker that still knows it can still ask it.
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.get("/version").unwrap().text(), "2");
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    server.configure(
        "    workers: (processes: 2),\n    sites: [(listen: [\"{address}\"], \
         locations: [(path: \"/\", to: Respond(status: 200, body: \"alone\"))])],",
    );
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(get(server.address, "/").text(), "alone");
    let last = connection.get("/").unwrap();
    assert_eq!((last.text().as_str(), last.closes()), ("second", true));
    drop(connection);
    wait_gone(&[workers, apps].concat());
    assert!(server.status().pools.iter().all(|pool| pool.name != "site"));
}

#[test]
fn streams_go_on_and_idle_connections_have_their_keep_alive_time() {
    let setup = Setup::new(&format!("    limits: (keepalive_timeout: \"1s\"),\n{}", configuration(1)));
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
         yield b'begun '\n    open('gate').read()\n    yield b'and ended'\n",
    );
    setup.directory.write("static/file.txt", "file");
    let gate = Gate::new(&setup.directory, "gate");
    let server = setup.start();
    let workers = server.wait_ready(SOON, "worker", 2);
    let mut stream = Connection::open(server.address).unwrap();
    stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = stream.reply_head().unwrap();
    assert_eq!(head.status, 200);
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/version").unwrap().text(), "1");
    server.configure(&configuration(2));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(get(server.address, "/version").text(), "2");
    assert!(idle.is_closed(), "after its time");
    wait_until(SOON, "the worker of the stream is the last old one", || {
        let left = workers.iter().filter(|worker| worker.is_alive()).count();
        holds(left == 1, left)
    });
    gate.open();
    // The end of its body is the end of its connection, too.
    let rest = String::from_utf8(stream.rest().unwrap()).unwrap();
    assert!(rest.contains("begun ") && rest.contains("and ended") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    wait_gone(&workers);
}

#[test]
fn runs_of_jobs_and_their_history_stay() {
    let text = |version: u32| {
        configuration(version)
            + "    cron: [(name: \"long\", at: \"@yearly\", command: [\"sleep\", \"1000\"]),\n           \
               (name: \"short\", at: \"@yearly\", command: [\"true\"])],"
    };
    let setup = Setup::new(&text(1));
    setup.directory.write("site_of_test.py", app("first"));
    setup.directory.write("static/file.txt", "file");
    let server = setup.start();
    for name in ["long", "short"] {
        assert_eq!(server.command(&["cron", "run", name]).code, Some(0));
    }
    wait_until(SOON, "the short one has ended", || {
        let job = server.job("short");
        holds(job.history.len() == 1 && job.running.is_empty(), job)
    });
    let before = (server.job("long").running, server.job("short").history);
    assert_eq!(before.0.len(), 1);
    for version in [1, 2] {
        server.configure(&text(version));
        assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
        assert_eq!((server.job("long").running, server.job("short").history), before);
    }
}

#[test]
fn a_unix_socket_whose_file_is_gone_is_bound_again() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}", "unix:{dir}/site.sock"], locations: [(path: "/", to: Respond(status: 200))])],"#,
    );
    let server = setup.start();
    let socket = server.directory().path().join("site.sock");
    std::fs::remove_file(&socket).unwrap();
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // One that is there stays, and so do the workers.
    let workers = server.ready("worker");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(server.ready("worker"), workers);
}
