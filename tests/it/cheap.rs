//! Cheap mode: what nobody asks for costs nothing.

use crate::harness::{Connection, Load, SOON, Server, Setup, get, holds, now, wait_until};
use std::time::Duration;

fn tree(server: &Server) -> Vec<String> {
    server.master.descendants().iter().map(|process| process.title()).collect()
}

#[track_caller]
fn assert_asleep(server: &Server, within: Duration) {
    wait_until(within, "the tree is the master alone", || {
        let tree = tree(server);
        holds(tree.is_empty(), tree)
    });
    wait_until(SOON, "it says so", || {
        let mode = server.status().mode;
        holds(mode == "asleep", mode)
    });
    assert_eq!(tree(server), [""; 0], "asking for the status woke it");
}

#[test]
fn the_tree_is_one_process_until_the_first_request_and_after_idling() {
    let setup = Setup::flags(&[
        "run",
        "--http",
        "{address}",
        "--module",
        "app",
        "--chdir",
        "{apps}/plain",
        "--home",
        "{venv}",
        "--static",
        "/static/={dir}/static",
        "--cheap",
        "--idle",
        "2s",
    ]);
    setup.directory.write("static/file.txt", "file\n");
    let server = setup.start();
    assert_asleep(&server, SOON);
    for _ in 0..2 {
        assert_eq!(get(server.address, "/hello").text(), "hello\n");
        assert!(tree(&server).len() >= 2, "{:?}", tree(&server));
        assert_asleep(&server, SOON);
    }
}

#[test]
fn a_file_wakes_a_worker_but_no_app() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2, cheap: true, idle: "1s"),
    sites: [(
        listen: ["{address}"],
        locations: [(path: "/static/", to: Files(root: "static")), (path: "/", to: App("plain"))],
    )],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: (min: 0, max: 2), idle: "1s")},"#,
    );
    setup.directory.write("static/file.txt", "file\n");
    let server = setup.start();
    assert_asleep(&server, SOON);
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.get("/static/file.txt").unwrap().text(), "file\n");
    assert_eq!(server.pool("plain").children, []);
    assert_eq!(connection.get("/hello").unwrap().text(), "hello\n");
    assert_eq!(server.ready("plain").len(), 1);
    // The app sleeps while the connection keeps the worker awake.
    wait_until(SOON, "the app sleeps", || {
        let pool = server.pool("plain");
        holds(pool.children.is_empty(), pool)
    });
    assert!(!server.pool("worker").children.is_empty());
    assert_eq!(connection.get("/hello").unwrap().text(), "hello\n");
    drop(connection);
    assert_asleep(&server, SOON);
}

#[test]
fn many_connections_at_once_are_all_answered_by_a_sleeping_server() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2, cheap: true, idle: "1s"),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: (min: 0, max: 2), idle: "1s")},"#,
    );
    let server = setup.start();
    for _ in 0..2 {
        assert_asleep(&server, SOON);
        let mut connections: Vec<_> = (0..50).map(|_| Connection::open(server.address).unwrap()).collect();
        for connection in &mut connections {
            connection.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        }
        for connection in &mut connections {
            assert_eq!(connection.reply("GET").unwrap().text(), "hello\n");
        }
    }
}

#[test]
fn a_cheap_app_is_proved_before_the_server_listens() {
    let mut setup =
        Setup::flags(&["run", "--http", "{address}", "--module", "broken", "--chdir", "{dir}", "--cheap"]);
    setup.directory.write("broken.py", "import nothing_of_this_name\n");
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("No module named 'nothing_of_this_name'"), "{ended:?}");
}

#[test]
fn a_sleeping_app_that_cannot_import_answers_503_and_recovers() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("late"))])],
    apps: {"late": (module: "late", chdir: "{dir}", home: "{venv}", processes: (min: 0, max: 1), idle: "1m")},"#,
    );
    setup.directory.write("late.py", "import nothing_of_this_name\n");
    let server = setup.start().tolerant(&["late"]);
    let start = now();
    let refused = get(server.address, "/");
    assert_eq!(refused.status, 503);
    // At once when the wake-up has failed, not when the patience of the queue is at its end.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    server.wait_log("nothing_of_this_name");
    server.directory().write(
        "late.py",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'late']\n",
    );
    wait_until(SOON, "it serves", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200 && reply.text() == "late", reply)
    });
}

#[test]
fn workers_come_when_all_have_as_many_connections_as_they_may_and_go_when_they_are_idle() {
    let setup = Setup::new(
        r#"
    workers: (processes: (min: 1, max: 3), connections: 4, idle: "1s"),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#,
    );
    let server = setup.start();
    let first = server.wait_ready(SOON, "worker", 1);
    let mut connections: Vec<_> = (0..12).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut connections {
        // More than one worker can hold: the last ones are answered by others.
        assert_eq!(connection.get("/").unwrap().text(), "here");
    }
    assert_eq!(server.wait_ready(SOON, "worker", 3).len(), 3);
    drop(connections);
    assert_eq!(server.wait_ready(SOON, "worker", 1), first);
}

#[test]
fn a_worker_whose_loop_does_not_rest_gets_help() {
    // Work that only the loop can do: a long path that hardly any of many expressions takes.
    let expressions: String = (0..60)
        .map(|number| format!("(regex: r\"^/(a|aa|b)*{number}$\", to: Respond(status: 204)),"))
        .collect();
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: (min: 0, max: 2), idle: "1s"),
    sites: [(listen: ["{{address}}"], locations: [{expressions}
        (path: "/", to: Respond(status: 200, body: "here")),
    ])],"#
    ));
    let server = setup.start();
    let path = format!("/{}", "a".repeat(6000));
    let load = Load::start(server.address, 4, &[path.as_str()]);
    server.wait_ready(SOON, "worker", 2);
    server.wait_log("worker: the only one is busy: one more");
    load.finish();
    assert_asleep(&server, SOON);
}
