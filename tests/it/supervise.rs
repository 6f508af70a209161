//! Deaths and stops: what dies comes back, what ends leaves nothing.

use crate::harness::{Connection, Load, SOON, Server, Setup, Upstream, binary, get, holds, now, wait_until};
use nix::sys::signal::Signal;
use std::io::Read as _;
use std::time::Duration;

/// Two workers; a directory with a file, and the plain app in two processes.
fn site() -> Setup {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    shutdown_timeout: "5s",
    sites: [(
        listen: ["{address}", "unix:{dir}/site.sock"],
        locations: [(path: "/static/", to: Files(root: "static")), (path: "/", to: App("plain"))],
    )],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 2)},"#,
    );
    setup.directory.write("static/file.txt", "file\n".repeat(200));
    setup
}

/// Only sockets, pid files and the like: what the test itself wrote is not counted.
fn left_behind(server: &Server) -> Vec<String> {
    let names = std::fs::read_dir(server.directory().path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "static" && name != "hatchery.ron").collect()
}

#[test]
fn a_killed_worker_under_load_costs_its_connections_only() {
    let server = site().start().tolerant(&["worker"]);
    server.wait_ready(SOON, "worker", 2);
    let load = Load::start(server.address, 64, &["/static/file.txt", "/hello"]);
    load.wait_for(500);
    let victim = server.pool("worker").children[0].clone();
    let connections = usize::try_from(victim.connections.unwrap()).unwrap();
    let before = server.ready("worker");
    let killed = before.iter().find(|process| process.pid == victim.pid).unwrap();
    let back = server.kill_and_wait("worker", *killed, 2);
    load.wait_for(500);
    let report = load.finish();
    // Connections move between the look and the kill: each is closed after some requests and opened again.
    report.assert_failures(connections + 8);
    assert!(back < Duration::from_secs(10), "back after {back:?}");
    assert!(report.longest < Duration::from_secs(5), "a request took {:?}", report.longest);
    assert_eq!(server.pool("worker").restarts, 1);
}

#[test]
fn a_killed_app_process_under_load_costs_its_request_only() {
    let server = site().start().tolerant(&["app plain: GET /hello"]);
    server.wait_ready(SOON, "plain", 2);
    let load = Load::start(server.address, 64, &["/hello"]);
    load.wait_for(500);
    let killed = server.ready("plain")[0];
    let back = server.kill_and_wait("plain", killed, 2);
    load.wait_for(500);
    let report = load.finish();
    // One thread: one request was running.
    report.assert_failures(1);
    assert!(back < Duration::from_secs(10), "back after {back:?}");
    assert_eq!(server.pool("plain").restarts, 1);
}

#[test]
fn a_stop_finishes_what_runs_and_leaves_nothing() {
    let mut server = site().start();
    let mut running = Connection::open(server.address).unwrap();
    running.send("GET /sleep?seconds=1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/static/file.txt").unwrap().status, 200);
    // The request must have reached the app before the stop is asked for.
    wait_until(SOON, "the request runs", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 2, workers)
    });
    assert!(server.directory().path().join("site.sock").exists());
    assert_eq!(server.command(&["stop"]).code, Some(0));
    assert_eq!(running.reply("GET").unwrap().text(), "slept\n");
    assert_eq!(idle.rest().unwrap(), b"");
    assert_eq!(server.wait_end(), Some(0));
    assert_eq!(left_behind(&server), [""; 0]);
}

#[test]
fn int_and_a_second_term_do_not_wait() {
    for signals in [&[Signal::SIGINT][..], &[Signal::SIGTERM, Signal::SIGTERM]] {
        let mut server = site().start().tolerant(&["plain", "worker"]);
        let mut running = Connection::open(server.address).unwrap();
        running.send("GET /sleep?seconds=30 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        wait_until(SOON, "the request runs", || {
            let workers = server.pool("worker").children;
            holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 1, workers)
        });
        let start = now();
        let (last, first) = signals.split_last().unwrap();
        for &signal in first {
            server.master.signal(signal);
            wait_until(SOON, "it is stopping", || {
                let mode = server.status().mode;
                holds(mode == "stopping", mode)
            });
        }
        server.end(*last);
        assert!(start.elapsed() < Duration::from_secs(4), "{signals:?}: {:?}", start.elapsed());
        assert_eq!(left_behind(&server), [""; 0]);
    }
}

#[test]
fn a_stop_is_bounded() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    shutdown_timeout: "1s",
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},"#,
    );
    let mut server = setup.start().tolerant(&["plain", "worker"]);
    let mut running = Connection::open(server.address).unwrap();
    running.send("GET /sleep?seconds=60 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request runs", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 1, workers)
    });
    let start = now();
    server.end(Signal::SIGTERM);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_killed_master_takes_its_children_along() {
    let mut server = site().start();
    server.wait_ready(SOON, "plain", 2);
    let tree = server.kill_master();
    assert!(tree.len() >= 4, "{tree:?}");
    wait_until(SOON, "its children are gone", || {
        let left: Vec<_> =
            tree.iter().filter(|process| process.is_alive()).map(|process| process.title()).collect();
        holds(left.is_empty(), left)
    });
    // What it could not remove any more, the next one does.
    let same_place = server.directory().path().to_str().unwrap();
    drop(site().env("XDG_RUNTIME_DIR", same_place).start());
    assert!(server.runtime_directories().is_empty(), "{:?}", server.runtime_directories());
}

#[test]
fn an_app_that_dies_again_and_again_is_not_started_without_end() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("dying"))])],
    apps: {"dying": (module: "dying", chdir: "{dir}", home: "{venv}", processes: 1)},"#,
    );
    setup.directory.write(
        "dying.py",
        "import os, threading\n\
         if os.path.exists('dies'):\n    threading.Timer(0.05, os._exit, [7]).start()\n\
         def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'alive']\n",
    );
    let server = setup.start().tolerant(&["dying"]);
    assert_eq!(get(server.address, "/").text(), "alive");
    server.directory().write("dies", "");
    server.ready("dying")[0].signal(Signal::SIGKILL);
    let pool = wait_until(SOON, "it waits before the next attempt", || {
        let pool = server.pool("dying");
        if pool.retry_in_ms.is_some_and(|wait| wait > 300) { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert!((2..=8).contains(&pool.restarts), "{pool:?}");
    // With the reason gone it is well again by itself.
    std::fs::remove_file(server.directory().path().join("dies")).unwrap();
    wait_until(SOON, "it serves again", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200, reply)
    });
}

#[test]
fn workers_and_apps_give_up_privileges() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let setup = Setup::new(
        r#"
    user: "nobody",
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        locations: [(path: "/static/", to: Files(root: "static")), (path: "/", to: App("owner"))],
    )],
    apps: {"owner": (module: "owner", chdir: "{dir}", processes: 1)},"#,
    );
    let secret = setup.directory.write("static/secret.txt", "secret\n");
    setup.directory.write("static/public.txt", "public\n");
    setup.directory.write(
        "owner.py",
        "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         return [b'%d %d' % (os.getuid(), os.getgid())]\n",
    );
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    // The Python of the PATH may be out of reach for nobody.
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    assert_eq!(get(server.address, "/static/public.txt").text(), "public\n");
    assert_eq!(get(server.address, "/static/secret.txt").status, 403);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(get(server.address, "/").text(), format!("{} {}", nobody.uid, nobody.gid));
    for process in [server.ready("worker"), server.ready("owner")].concat() {
        assert_eq!(process.user(), nobody.uid.as_raw(), "{}", process.title());
    }
}

#[test]
fn limits_of_workers_are_in_force_and_change_with_a_reload() {
    let configuration = |workers: &str| {
        format!(
            r#"
    {user}
    workers: (processes: 1, connections: 100, {workers}),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Respond(body: "fixed"))])],"#,
            user = if nix::unistd::geteuid().is_root() { "user: \"nobody\"," } else { "" },
        )
    };
    let limits = "limits: (open_files: 345, processes: 4000, address_space: \"3GiB\", core: \"0B\")";
    let server = Setup::new(&configuration(&format!("{limits}, oom_score_adj: 300"))).start();
    assert_eq!(get(server.address, "/").text(), "fixed");
    let file = |name: &str| {
        let worker = server.wait_ready(SOON, "worker", 1)[0];
        std::fs::read_to_string(format!("/proc/{}/{name}", worker.pid)).unwrap()
    };
    let limit = |name: &str| {
        let all = file("limits");
        let line = all.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    let both = |value: u64| (value.to_string(), value.to_string());
    assert_eq!(limit("Max open files"), both(345));
    assert_eq!(limit("Max processes"), both(4000));
    assert_eq!(limit("Max address space"), both(3 << 30));
    assert_eq!(limit("Max core file size"), both(0));
    assert_eq!(file("oom_score_adj").trim(), "300");
    server.configure(&configuration("limits: (open_files: 234)"));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(limit("Max open files"), both(234));
    assert_ne!(file("oom_score_adj").trim(), "300");
    assert_eq!(get(server.address, "/").text(), "fixed");
}

#[test]
fn a_limit_that_the_master_may_not_set_keeps_the_old_workers() {
    let configuration = |workers: &str| {
        format!(
            r#"
    workers: (processes: 1, {workers}),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Respond(body: "fixed"))])],"#
        )
    };
    let server = Setup::new(&configuration("")).run_as_nobody().start().tolerant(&["worker", "reload"]);
    let before = server.wait_ready(SOON, "worker", 1);
    server.configure(&configuration("oom_score_adj: -1000"));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    let line = server.wait_log("could not be set up");
    assert!(line.contains("`workers.limits` or `workers.oom_score_adj`"), "{line}");
    assert_eq!(server.wait_ready(SOON, "worker", 1), before);
    assert_eq!(get(server.address, "/").text(), "fixed");
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_is_opened_again_on_usr1() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    log: (access: (path: "{dir}/access.log")),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed"))])],"#,
    );
    let server = setup.start();
    let (now, rotated) =
        (server.directory().path().join("access.log"), server.directory().path().join("access.log.1"));
    let wait_for_lines = |path: &std::path::Path, prefix: &str, count: usize| {
        wait_until(SOON, "lines in the access log", || {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let complete = text.lines().all(|line| line.contains(prefix) && line.contains(" 200 5 "));
            holds(complete && text.lines().count() == count, text)
        });
    };
    for number in 0..20 {
        assert_eq!(get(server.address, &format!("/before/{number}")).status, 200);
    }
    wait_for_lines(&now, "\"GET /before/", 20);
    std::fs::rename(&now, &rotated).unwrap();
    server.master.signal(Signal::SIGUSR1);
    wait_until(SOON, "the log is there again", || holds(now.exists(), &now));
    // Workers get the new file a moment later; until then they write to the old one.
    wait_until(SOON, "all workers write to the new file", || {
        (0..10).for_each(|_| drop(get(server.address, "/during")));
        let old = std::fs::read_to_string(&rotated).unwrap().lines().count();
        (0..10).for_each(|_| drop(get(server.address, "/during")));
        let later = std::fs::read_to_string(&rotated).unwrap().lines().count();
        holds(old == later, (old, later))
    });
    let new = std::fs::read_to_string(&now).unwrap();
    assert!(new.lines().count() >= 10 && !new.contains("/before/"), "{new}");
    assert!(server.pool("worker").restarts == 0);
}

/// The lines of the access log, once there are so many.
#[track_caller]
fn accessed(server: &Server, count: usize) -> Vec<String> {
    let path = server.directory().path().join("access.log");
    wait_until(SOON, "lines in the access log", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count { Ok(lines) } else { Err(text) }
    })
}

#[test]
fn lines_of_the_access_log_name_the_host_and_fit_into_a_pipe() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    log: (access: (format: VhostCombined)),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed"))])],"#,
    );
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    let agent = "\"".repeat(20_000);
    connection
        .send(format!("GET /long HTTP/1.1\r\nHost: SHOP.example:8\r\nUser-Agent: {agent}\r\n\r\n"))
        .unwrap();
    assert_eq!(connection.reply("GET").unwrap().status, 200);
    let line = server.wait_log("\"GET /long HTTP/1.1\" 200 5 ");
    assert!(
        line.starts_with("shop.example 127.0.0.1 - - [") && line.contains("\\x22\\x22...\" 0."),
        "{line}"
    );
    assert!((500..4096).contains(&line.len()), "{}", line.len());
}

/// The size that a line of the access log tells.
fn size(line: &str) -> u64 {
    let after = line.rsplit_once(" HTTP/1.1\" ").unwrap().1;
    after.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Sizes are those of bodies that were written, whatever else waited to be written when the response was complete.
#[test]
fn the_access_log_tells_what_was_written_of_a_body() {
    const LARGE: u64 = 64 << 20;
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{dir}/access.log")),
    limits: (body_timeout: "1s"),
    sites: [(listen: ["{address}"], locations: [
        (path: "/", to: Respond(status: 200, body: "fixed")),
        (path: "/large/", to: Files(root: "large")),
        (path: "/none", to: Respond(status: 503, body: "none")),
    ])],"#,
    );
    setup.directory.write("large/file", "");
    let file =
        std::fs::OpenOptions::new().write(true).open(setup.directory.path().join("large/file")).unwrap();
    file.set_len(LARGE).unwrap();
    let server = setup.start();
    let lines = |count: usize| accessed(&server, count);

    let mut pipelined = Connection::open(server.address).unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
    let requests = [get("/1"), get("/none"), head, get("/missing\u{1}"), get("/5")].concat();
    pipelined.send(&requests).unwrap();
    for method in ["GET", "GET", "HEAD", "GET"] {
        pipelined.reply(method).unwrap();
    }
    let logged = lines(4);
    assert_eq!(logged.iter().take(3).map(|line| size(line)).collect::<Vec<_>>(), [5, 4, 0], "{logged:?}");

    // One that never reads, until its time is over; one that leaves.
    let mut silent = Connection::open(server.address).unwrap();
    silent.send(get("/large/file")).unwrap();
    let stalled = lines(5);
    let sent = size(&stalled[4]);
    assert!(sent > 0 && sent < LARGE, "{stalled:?}");
    drop(silent);
}

#[test]
fn the_access_log_tells_what_was_written_to_a_client_that_left() {
    const LARGE: u64 = 64 << 20;
    const TAKEN: u64 = 8 << 20;
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{dir}/access.log")),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Files(root: "large"))])],"#,
    );
    setup.directory.write("large/file", "");
    let path = setup.directory.path().join("large/file");
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(LARGE).unwrap();
    let server = setup.start();
    let mut leaving = Connection::open(server.address).unwrap();
    leaving.send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(leaving.reply_head().unwrap().status, 200);
    leaving.socket().read_exact(&mut vec![0; TAKEN as usize]).unwrap();
    drop(leaving);
    // What the two sockets held besides is no more than some megabytes.
    let logged = accessed(&server, 1);
    assert!((TAKEN..LARGE / 2).contains(&size(&logged[0])), "{logged:?}");
}

#[test]
fn the_access_log_tells_of_no_body_to_head() {
    // It sends a body to HEAD, too.
    let upstream = Upstream::fixed("of the upstream");
    let server = Setup::new(
        &r#"
    workers: (processes: 1),
    log: (access: (path: "{dir}/access.log")),
    sites: [(listen: ["{address}"], locations: [
        (path: "/old/", to: Redirect(location: "/new/")),
        (path: "/up/", to: Proxy("up")),
        (path: "/", to: App("plain")),
    ])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},
    upstreams: {"up": (servers: ["{upstream}"])},"#
            .replace("{upstream}", &upstream.address.to_string()),
    )
    .start();
    let mut expected = Vec::new();
    for path in ["/hello", "/old/x", "/up/x"] {
        let reply = get(server.address, path);
        assert_ne!(reply.body.len(), 0, "{path}");
        expected.push(reply.body.len() as u64);
        let mut connection = Connection::open(server.address).unwrap();
        let head = connection.request("HEAD", path, &[], b"").unwrap();
        assert_eq!(head.status, reply.status, "{path}");
        expected.push(0);
        let logged = accessed(&server, expected.len());
        assert_eq!(logged.iter().map(|line| size(line)).collect::<Vec<_>>(), expected, "{logged:?}");
    }
}

/// More than the master takes in at a time, and one signal for all of them.
#[test]
fn a_heap_of_orphans_is_reaped() {
    let script = "while [ ! -e go ]; do sleep 0.05; done; i=0
        while [ $i -lt 300 ]; do (true &); i=$((i+1)); done; touch made; exec sleep 1000";
    let server = Setup::new(&format!(
        r#"daemons: {{"breeder": (command: ["sh", "-c", {script:?}], ready_after: "50ms")}},"#
    ))
    .start();
    server.master.signal(Signal::SIGSTOP);
    server.directory().write("go", "");
    wait_until(SOON, "orphans wait to be reaped", || {
        let (made, waiting) = (server.directory().path().join("made").exists(), server.master.zombies());
        holds(made && waiting.len() == 300, waiting)
    });
    server.master.signal(Signal::SIGCONT);
    wait_until(SOON, "none does any more", || {
        let waiting = server.master.zombies();
        holds(waiting.is_empty(), waiting)
    });
    server.wait_ready(SOON, "breeder", 1);
}

#[test]
fn titles_tell_the_processes_apart() {
    let server = site().start();
    assert_eq!(server.master.title(), server.master_title());
    for (number, worker) in server.ready("worker").iter().enumerate() {
        assert!(worker.title().starts_with(&format!("hatchery: worker {number} gen ")), "{}", worker.title());
    }
    for app in server.ready("plain") {
        assert!(app.title().contains("hatchery: app plain "), "{}", app.title());
    }
    assert!(binary().exists());
}
