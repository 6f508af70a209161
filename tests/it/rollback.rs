//! Reloads that fail, that come while another one goes on, and that meet what is still in use.

use crate::harness::{Connection, Gate, Process, SOON, Server, Setup, as_nobody, get, holds, wait_until};
use hatchery::control::command::Status;
use nix::sys::signal::Signal;
use std::io::{BufRead as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// What `/version` says, and more of the listen list and of the file.
fn configuration(version: &str, listen: &str, more: &str) -> String {
    format!(
        r#"
    workers: (processes: 2),
    sites: [(
        listen: ["{{address}}"{listen}],
        locations: [
            (exact: "/version", to: Respond(status: 200, body: "{version}", content_type: "text/plain")),
            (path: "/", to: App("site")),
        ],
    )],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", threads: 4)}},
    {more}"#
    )
}

/// `/hold` answers when somebody opens the pipe `gate`.
fn app(answer: &str) -> String {
    format!(
        "def application(environ, start_response):\n    if environ['PATH_INFO'] == '/hold':\n        \
         open('gate').read()\n    start_response('200 OK', [])\n    return [b'{answer}']\n"
    )
}

fn setup() -> Setup {
    let setup = Setup::new(&configuration("one", "", ""));
    setup.directory.write("site_of_test.py", app("first"));
    setup.env("PATH", "/usr/bin:/bin")
}

/// The code of an app whose import waits until the gate `import` is opened.
fn slow(answer: &str) -> String {
    format!("open('begun', 'w')\nopen('import').read()\n{}", app(answer))
}

/// Waits until the import of [`slow`] has begun.
fn wait_for_import(server: &Server) {
    let mark = server.directory().path().join("begun");
    wait_until(SOON, "the new process imports", || holds(mark.exists(), server.pool("site").children));
}

/// An address that nobody listens on at this moment.
fn free_address() -> SocketAddr {
    // Of an own host of the loopback network: other tests cannot get the port meanwhile.
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = std::net::Ipv4Addr::new(127, 99, high, low);
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

#[track_caller]
fn reload(server: &Server) {
    let finished = server.command(&["reload", "--wait"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

/// `reload` in the background.
fn begin_reload(server: &Server) -> Child {
    Command::new(crate::harness::binary())
        .args(["reload", "--control"])
        .arg(server.directory().path().join("control.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `reload` without the program, so that it has been sent when this returns.
fn ask_to_reload(server: &Server) -> UnixStream {
    let mut stream = UnixStream::connect(server.directory().path().join("control.sock")).unwrap();
    stream.write_all(b"{\"command\":\"reload\",\"wait\":true,\"prove\":false}\n").unwrap();
    stream
}

#[track_caller]
fn end_of(reload: Child) -> (Option<i32>, String) {
    let output = reload.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What must not change when a reload fails.
fn shape(server: &Server) -> (u32, Vec<String>, Vec<Vec<Process>>, usize) {
    let status = server.status();
    let children = ["worker", "site"].map(|pool| server.ready(pool)).to_vec();
    (status.generation, status.listeners, children, server.master.descriptors())
}

#[test]
fn a_reload_is_waited_for_unless_told_otherwise_and_goes_on_without_who_waits() {
    let server = setup().start().tolerant(&["reload", "site"]);
    server.directory().write("site_of_test.py", "def application(:\n");
    let refused = server.command(&["reload"]);
    assert_eq!((refused.code, refused.stderr.contains("SyntaxError")), (Some(1), true), "{refused:?}");
    let _gate = Gate::new(server.directory(), "import");
    server.directory().write("site_of_test.py", slow("second"));
    let both = server.command(&["reload", "--wait", "--no-wait"]);
    assert_eq!(both.code, Some(2), "{both:?}");
    let begun = server.command(&["reload", "--no-wait"]);
    assert_eq!((begun.code, &*begun.stdout), (Some(0), "reload begun\n"), "{begun:?}");
    wait_for_import(&server);
    // The next one waits for it, and for its own.
    let mut waiting = begin_reload(&server);
    let process = Process::of(waiting.id()).unwrap();
    // From here on it asks before it looks for the signal.
    wait_until(SOON, "it catches the signal", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        holds(u64::from_str_radix(caught, 16).unwrap() >> (Signal::SIGINT as u32 - 1) & 1 == 1, status)
    });
    assert_eq!(waiting.try_wait().unwrap(), None);
    process.signal(Signal::SIGINT);
    let (code, said) = end_of(waiting);
    assert!(code == Some(1) && said.contains("interrupted, but the reload goes on"), "{code:?} {said}");
    assert_eq!(get(server.address, "/").text(), "first");
    // The one that failed has used up a number.
    wait_until(SOON, "both reloads have ended", || {
        // Whoever waits there is let go, until nobody does.
        let mut options = std::fs::OpenOptions::new();
        let pipe = server.directory().path().join("import");
        drop(options.write(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe));
        let status = server.status();
        holds(status.generation == 4 && status.mode == "running", status)
    });
    assert_eq!(get(server.address, "/").text(), "second");
}

#[test]
fn nothing_of_a_failed_reload_is_left() {
    let server = setup().start().tolerant(&["reload", "site", "new", "could not be set up"]);
    server.wait_ready(SOON, "worker", 2);
    // A client of the control socket may just be leaving.
    let mut same = (shape(&server), 0);
    let before = wait_until(SOON, "the server is at rest", || {
        let now = shape(&server);
        same = if now == same.0 { (now, same.1 + 1) } else { (now, 0) };
        if same.1 == 5 { Ok(same.0.clone()) } else { Err(format!("{same:?}")) }
    });
    let new = free_address();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    let more = r#"daemons: {"new": (command: ["sleep", "1000"])},
    cron: [(name: "new", at: "@yearly", command: ["true"])],"#;
    let broken = "def application(:\n".to_owned();
    let cases = [
        // A new address and a broken app: the address is closed again.
        (
            configuration("two", &format!(r#", "{new}", "unix:{{dir}}/new.sock""#), more),
            broken,
            "SyntaxError",
        ),
        // A good app, and an address that somebody else has.
        (
            configuration("two", &format!(r#", "{new}", "{}""#, taken.1), more),
            app("second"),
            "the address is in use",
        ),
        // A good app, and a static root that is missing.
        (
            configuration("two", &format!(r#", "{new}""#), more)
                .replace("(path: \"/\"", "(path: \"/s/\", to: Files(root: \"missing\")), (path: \"/\""),
            app("second"),
            "cannot be opened; create it, or correct the path",
        ),
        // A good app, and workers that cannot serve: they boot last.
        (
            configuration("two", &format!(r#", "{new}""#), more)
                .replace("workers: (", "workers: (limits: (open_files: 2000000000), "),
            app("second"),
            "worker: ended before it was ready",
        ),
        // A mistake in the file.
        (configuration("two", &format!(r#", "{new}""#), "cronn: [],"), app("second"), "unknown key `cronn`"),
    ];
    for (text, code, reason) in cases {
        server.directory().write("site_of_test.py", code);
        server.configure(&text);
        let refused = server.command(&["reload", "--wait"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let said = refused.stdout + &refused.stderr;
        assert!(said.contains(reason), "{reason}: {said}");
        wait_until(SOON, "everything is as it was", || {
            let tree = server.master.descendants().len();
            let now = shape(&server);
            holds(now == before && tree == 3, (now, &before, tree))
        });
        let status = server.status();
        assert!(
            status.last_reload_error.as_deref().is_some_and(|error| error.contains(reason)),
            "{status:?}"
        );
        let shown = server.command(&["status"]).stdout;
        assert!(shown.contains("  last reload failed: "), "{shown}");
        assert!(server.wait_log("reload failed, generation 1 goes on: ").contains(" ERROR "));
        assert!(status.pools.iter().all(|pool| pool.name != "new") && status.cron.is_empty(), "{status:?}");
        assert!(TcpStream::connect(new).is_err(), "nobody listens there");
        assert!(!server.directory().path().join("new.sock").exists());
        assert_eq!(get(server.address, "/version").text(), "one");
        assert_eq!(get(server.address, "/").text(), "first");
    }
    server.directory().write("site_of_test.py", app("second"));
    server.configure(&configuration("two", &format!(r#", "{new}""#), ""));
    reload(&server);
    assert_eq!((get(new, "/version").text(), get(new, "/").text()), ("two".to_owned(), "second".to_owned()));
    assert_eq!(server.status().last_reload_error, None);
}

#[test]
fn reloads_that_come_meanwhile_are_one_and_the_latest_file_wins() {
    let setup = setup();
    let import = Gate::new(&setup.directory, "import");
    let server = setup.start();
    server.directory().write("site_of_test.py", slow("second"));
    server.configure(&configuration("two", "", ""));
    let first = begin_reload(&server);
    let mode = |wanted: &str| {
        wait_until(SOON, wanted, || {
            let status = server.status();
            holds(status.mode == wanted, status)
        });
    };
    mode("reloading");
    wait_for_import(&server);
    // Three more, of which the last file counts; the old one serves meanwhile.
    server.directory().write("site_of_test.py", app("third"));
    server.configure(&configuration("three", "", ""));
    server.master.signal(Signal::SIGHUP);
    let second = ask_to_reload(&server);
    server.configure(&configuration("four", "", ""));
    let third = ask_to_reload(&server);
    // The answer to this comes after both have been heard.
    assert_eq!(server.status().generation, 1);
    assert_eq!(get(server.address, "/version").text(), "one");
    assert_eq!(get(server.address, "/").text(), "first");
    server.wait_log("received SIGHUP");
    import.open();
    let (code, said) = end_of(first);
    assert!(code == Some(0) && said.contains("generation 2 serves"), "{said}");
    for mut waited in [second, third] {
        let mut said = String::new();
        std::io::BufReader::new(&mut waited).read_line(&mut said).unwrap();
        assert!(said.contains("\"done\"") && said.contains("generation 3 serves"), "{said}");
    }
    mode("running");
    assert_eq!(server.status().generation, 3, "no reload more than needed");
    assert_eq!(get(server.address, "/version").text(), "four");
    assert_eq!(get(server.address, "/").text(), "third");
}

#[test]
fn a_stop_during_a_reload_tells_who_waits() {
    let setup = setup();
    let _import = Gate::new(&setup.directory, "import");
    let mut server = setup.start();
    server.directory().write("site_of_test.py", slow("second"));
    let waiting = begin_reload(&server);
    wait_for_import(&server);
    assert_eq!(server.command(&["stop"]).code, Some(0));
    let (code, said) = end_of(waiting);
    assert!(code == Some(1) && said.contains("the server is stopping"), "{said}");
    assert_eq!(server.wait_end(), Some(0));
}

#[test]
fn sleeping_apps_are_named_and_proved_if_asked_for() {
    let text = |prove: &str| {
        format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/b/", to: App("drowsy")), (path: "/", to: App("site"))])],
    apps: {{
        "site": (module: "site_of_test", chdir: "{{dir}}"),
        "drowsy": (module: "drowsy", chdir: "{{dir}}", processes: (min: 0, max: 2), {prove}),
    }},"#
        )
    };
    let setup = Setup::new(&text(""));
    setup.directory.write("site_of_test.py", app("first"));
    setup.directory.write("drowsy.py", format!("open('imports', 'a').write('x')\n{}", app("drowsy")));
    let server = setup.env("PATH", "/usr/bin:/bin").start().tolerant(&["drowsy", "reload"]);
    let imports =
        || std::fs::read_to_string(server.directory().path().join("imports")).unwrap_or_default().len();
    let plain = server.command(&["reload", "--wait"]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert!(plain.stdout.contains("generation 2 serves; not proved (asleep): drowsy"), "{plain:?}");
    assert_eq!(imports(), 0);
    let proved = server.command(&["reload", "--wait", "--prove"]);
    assert!(proved.code == Some(0) && !proved.stdout.contains("not proved"), "{proved:?}");
    assert_eq!(imports(), 1);
    wait_until(SOON, "it sleeps again", || {
        holds(server.pool("drowsy").children.is_empty(), server.pool("drowsy"))
    });
    // Broken code is not seen by the one, and by the other.
    server.directory().write("drowsy.py", "import nothing_of_this_name\n");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let app = server.ready("site");
    let refused = server.command(&["reload", "--wait", "--prove"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("nothing_of_this_name"), "{refused:?}");
    assert_eq!((server.ready("site"), server.status().generation), (app, 4));
    // With `prove: true` in the file every reload asks.
    server.configure(&text("prove: true"));
    let refused = server.command(&["reload", "--wait"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("nothing_of_this_name"), "{refused:?}");
}

#[test]
fn prove_in_the_file_boots_a_sleeping_app_at_the_start() {
    let site = |prove: bool| {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("drowsy"))])],
    apps: {{"drowsy": (module: "drowsy", chdir: "{{dir}}", processes: (min: 0, max: 2), prove: {prove})}},"#
        ));
        setup.directory.write("drowsy.py", "import nothing_of_this_name\n");
        setup.env("PATH", "/usr/bin:/bin")
    };
    let ended = site(true).run_to_end();
    assert!(ended.code == Some(1) && ended.stderr.contains("nothing_of_this_name"), "{ended:?}");
    let server = site(false).start().tolerant(&["drowsy"]);
    assert_eq!(server.pool("drowsy").state, "asleep");
    assert_eq!(get(server.address, "/").status, 503);
}

/// A request that runs in the app until the gate is opened.
fn hold(server: &Server) -> Connection {
    let before = running(&server.status());
    let mut held = Connection::open(server.address).unwrap();
    held.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request runs", || {
        let status = server.status();
        holds(running(&status) == before + 1, status)
    });
    held
}

fn running(status: &Status) -> usize {
    let children = status.pools.iter().flat_map(|pool| &pool.children);
    children.map(|child| child.running.len()).sum()
}

#[test]
fn what_an_old_generation_still_does_is_bounded() {
    let setup = setup();
    let _gate = Gate::new(&setup.directory, "gate");
    let server = setup.start().tolerant(&["site", "worker"]);
    let bounded = configuration("two", "", "drain_timeout: \"500ms\",");
    server.configure(&bounded);
    reload(&server);
    let old = [server.wait_ready(SOON, "worker", 2), server.wait_ready(SOON, "site", 1)].concat();
    let mut held = hold(&server);
    server.configure(&bounded.replace("\"two\"", "\"three\""));
    reload(&server);
    assert_eq!(get(server.address, "/version").text(), "three");
    // It gets an error, or its connection is closed; and nobody waits for it any longer.
    let reply = held.reply("GET");
    assert!(reply.as_ref().map_or(true, |reply| reply.status >= 500), "{reply:?}");
    wait_until(SOON, "the old generation has left", || {
        let left: Vec<_> = old.iter().filter(|process| process.is_alive()).collect();
        holds(left.is_empty(), left)
    });
    assert_eq!(get(server.address, "/").text(), "first");
}

#[test]
fn at_most_three_old_generations_drain() {
    let setup = setup();
    let gate = Gate::new(&setup.directory, "gate");
    let server = setup.start().tolerant(&["site", "worker"]);
    let mut held = Vec::new();
    for version in 1..=4 {
        held.push((hold(&server), server.ready("site")[0]));
        server.configure(&configuration(&format!("number {version}"), "", ""));
        reload(&server);
    }
    server.wait_log("generation 1 still drains after 3 reloads: hurried");
    let (first, oldest) = &mut held[0];
    let oldest = *oldest;
    wait_until(SOON, "the oldest has left", || holds(!oldest.is_alive(), server.pool("site")));
    let reply = first.reply("GET");
    assert!(reply.as_ref().map_or(true, |reply| reply.status >= 500), "{reply:?}");
    // The others have all their time.
    let draining = server.pool("site").children.iter().filter(|child| child.state == "draining").count();
    assert_eq!(draining, 3, "{:?}", server.pool("site"));
    gate.open();
    for (held, process) in &mut held[1..] {
        assert_eq!(held.reply("GET").unwrap().text(), "first");
        wait_until(SOON, "it leaves when it has answered", || holds(!process.is_alive(), process.title()));
    }
}

#[test]
fn what_waits_at_an_address_that_is_removed_is_answered() {
    let away = free_address();
    let setup = setup();
    setup.configure(&configuration("one", &format!(", \"{away}\""), ""));
    let server = setup.start();
    let workers = server.wait_ready(SOON, "worker", 2);
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/version").unwrap().text(), "one");
    // Nobody accepts, so that the connections stay in the queue.
    workers.iter().for_each(|worker| worker.signal(Signal::SIGSTOP));
    let mut waiting: Vec<_> = (0..5).map(|_| Connection::open(away).unwrap()).collect();
    for connection in &mut waiting {
        connection.send("GET /version HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    server.configure(&configuration("two", "", ""));
    let reload = begin_reload(&server);
    wait_until(SOON, "the next generation serves", || {
        let status = server.status();
        holds(status.generation == 2, status)
    });
    workers.iter().for_each(|worker| worker.signal(Signal::SIGCONT));
    for connection in &mut waiting {
        assert_eq!(connection.reply("GET").unwrap().text(), "one");
    }
    assert_eq!(end_of(reload).0, Some(0));
    // Also while an old worker lives on for a connection of another address.
    wait_until(SOON, "the address is given up", || {
        holds(TcpStream::connect(away).is_err(), server.status().listeners)
    });
    let last = idle.get("/version").unwrap();
    assert_eq!((last.text().as_str(), last.closes()), ("one", true));
    assert_eq!(get(server.address, "/version").text(), "two");
}

#[test]
fn an_address_that_overlaps_with_an_old_one_is_refused_with_the_reason() {
    let server = setup().bind_itself().start().tolerant(&["reload"]);
    let port = server.address.port();
    let text = configuration("two", "", "").replace("\"{address}\"", &format!("\"0.0.0.0:{port}\""));
    server.configure(&text);
    let refused = server.command(&["reload", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = refused.stdout + &refused.stderr;
    assert!(
        said.contains(&format!("cannot listen on 0.0.0.0:{port}: it overlaps with {}", server.address)),
        "{said}"
    );
    assert_eq!(get(server.address, "/version").text(), "one");
}

#[test]
fn counters_survive_a_reload_and_an_upgrade() {
    let server = setup().start();
    for pool in ["site", "worker"] {
        let victim = server.ready(pool)[0];
        let count = server.ready(pool).len();
        server.kill_and_wait(pool, victim, count);
    }
    let counted = || {
        let last = |name: &str| server.pool(name).last_exit;
        let status = server.status();
        let restarts: u64 = status.pools.iter().map(|pool| pool.restarts).sum();
        ([last("site"), last("worker")], restarts, status.uptime_seconds)
    };
    let before = counted();
    assert!(before.0.iter().all(Option::is_some) && before.1 == 2, "{before:?}");
    let check = || {
        let after = counted();
        // The workers that an upgrade replaces are counted, too.
        assert!(after.0 == before.0 && after.1 >= before.1 && after.2 >= before.2, "{after:?} {before:?}");
    };
    server.configure(&configuration("two", "", ""));
    reload(&server);
    check();
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        holds(status.generation == 3 && status.mode == "running", status)
    });
    check();
    reload(&server);
    check();
}

/// How many processes the user of the server may have from now on; what runs, runs on. Returns what it was before.
fn limit_processes(server: &Server, limit: &str) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.master.pid)).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max processes")).unwrap();
    let before = line.split_whitespace().next().unwrap().to_owned();
    let (pid, soft) = (server.master.pid.to_string(), format!("--nproc={limit}:"));
    let words = [as_nobody(), &["prlimit", "--pid", &pid, &soft]].concat();
    let set = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(set.status.success(), "{set:?}");
    before
}

#[test]
fn a_reload_whose_processes_cannot_be_forked_keeps_the_old_ones() {
    let text = |version: u32| {
        format!(
            r#"
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Respond(status: 200, body: "{version}"))])],"#
        )
    };
    // The kernel does not hold root to such a limit.
    let server = Setup::new(&text(1)).run_as_nobody().start().tolerant(&["worker", "reload"]);
    let before = server.wait_ready(SOON, "worker", 2);
    let usual = limit_processes(&server, "1");
    server.configure(&text(2));
    let refused = server.command(&["reload", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("worker") && refused.stderr.contains("Resource temporarily unavailable"),
        "{refused:?}"
    );
    assert_eq!((server.ready("worker"), server.status().generation), (before.clone(), 1));
    assert_eq!(get(server.address, "/").text(), "1");
    // A worker that dies now cannot be replaced; the master tries again, and the other one serves.
    before[0].signal(Signal::SIGKILL);
    wait_until(SOON, "it waits before the next attempt", || {
        let pool = server.pool("worker");
        holds(pool.retry_in_ms.is_some_and(|wait| wait > 200), pool)
    });
    assert_eq!(get(server.address, "/").text(), "1");
    limit_processes(&server, &usual);
    let both = server.wait_ready(SOON * 2, "worker", 2);
    assert!(both.contains(&before[1]));
    reload(&server);
    assert_eq!(get(server.address, "/").text(), "2");
}

#[test]
fn a_reload_that_comes_during_an_upgrade_waits_for_it() {
    let server = setup().start();
    let workers = server.wait_ready(SOON, "worker", 2);
    server.directory().write("site_of_test.py", app("second"));
    server.configure(&configuration("two", "", ""));
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the upgrade has begun", || {
        let status = server.status();
        holds(status.mode == "upgrading" || status.generation == 2, status)
    });
    let waited = server.command(&["reload", "--wait"]);
    assert!(waited.code == Some(0) && waited.stdout.contains("generation 3 serves"), "{waited:?}");
    let status = server.status();
    assert_eq!((status.last_upgrade_error, status.last_reload_error), (None, None));
    assert_eq!(
        (get(server.address, "/version").text(), get(server.address, "/").text()),
        ("two".into(), "second".into())
    );
    let new = server.wait_ready(SOON, "worker", 2);
    assert!(new.iter().all(|worker| !workers.contains(worker)), "{workers:?} {new:?}");
}
