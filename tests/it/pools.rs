//! Pools of apps: the ready request, replacement, stuck requests, scaling and restarting by command.

use crate::harness::{Connection, Load, SOON, Server, Setup, binary, get, hatchery, holds, wait_until};
use std::time::Duration;

const SITE: &str = r#"
import os, time, threading
LEAK = []
def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/healthz':
        health = open('health.txt').read()
        if health.startswith('hang'):
            time.sleep(60)
        start_response(health.split('\n')[0], [('Content-Type', 'text/plain')])
        return [health.partition('\n')[2].encode()]
    if path == '/hang':
        stuck_in_the_view()
    if path == '/leak':
        LEAK.append(b'x' * (64 << 20))
    start_response('200 OK', [('Content-Type', 'text/plain')])
    if path == '/environ':
        return [repr(sorted((k, v) for k, v in environ.items() if isinstance(v, str))).encode()]
    return [str(os.getpid()).encode()]

def stuck_in_the_view():
    time.sleep(60)
"#;

fn configuration(app: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(names: ["shop.example", "localhost"], listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    default_site: "shop.example",
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", {app})}},"#
    )
}

fn setup(app: &str) -> Setup {
    let setup = Setup::new(&configuration(app));
    setup.directory.write("site_of_test.py", SITE);
    setup.directory.write("health.txt", "200 OK\nfine");
    setup
}

fn assert_log(server: &Server, part: &str) {
    wait_until(SOON, "the log says it", || {
        let log = server.log().join("\n");
        holds(log.contains(part), format!("{part:?} is not in\n{log}"))
    });
}

#[test]
fn a_start_whose_app_is_not_ready_says_why() {
    let mut setup = setup(r#"processes: 2, ready: (path: "/healthz")"#);
    setup.directory.write("health.txt", "503 Down\nno database\nmore");
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let reason = "not ready: GET /healthz answered 503 instead of 2xx: no database";
    assert!(ended.stderr.contains(reason), "{}", ended.stderr);
}

#[test]
fn a_reload_whose_app_is_not_ready_keeps_the_old_processes() {
    let ready = r#"processes: 2, ready: (path: "/healthz", timeout: "500ms")"#;
    let server = setup(ready).start().tolerant(&["site", "reload"]);
    let old = server.wait_ready(SOON, "site", 2);
    for (health, reason) in [
        ("503 Down\nno database", "GET /healthz answered 503 instead of 2xx: no database"),
        ("301 Moved\n", "GET /healthz answered 301 instead of 2xx"),
        ("hang", "GET /healthz got no answer within 500ms"),
    ] {
        server.directory().write("health.txt", health);
        let refused = server.command(&["reload", "--wait"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!((refused.stdout + &refused.stderr).contains(reason));
        assert!(server.status().last_reload_error.is_some_and(|error| error.contains(reason)));
        assert_eq!(server.ready("site"), old);
    }
    server.directory().write("health.txt", "204 No Content\n");
    let accepted = server.command(&["reload", "--wait"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    let new = server.wait_ready(SOON, "site", 2);
    assert!(new.iter().all(|process| !old.contains(process)));
}

#[test]
fn the_ready_request_looks_like_one_of_a_client() {
    let server = setup(r#"ready: (path: "/environ?a=b", status: 200)"#).start();
    let pid = get(server.address, "/").text().to_owned();
    assert_eq!(server.ready("site")[0].pid.to_string(), pid);
    let host = setup(r#"ready: (path: "/healthz", host: "other.example", status: 503)"#);
    host.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    right = (environ['HTTP_HOST'], environ['wsgi.url_scheme']) == \
         ('other.example', 'http')\n    start_response('503 X' if right else '500 X', [])\n    return []\n",
    );
    host.start();
}

#[test]
fn max_requests_replaces_processes_and_loses_no_request() {
    let server = setup("processes: 2, threads: 2, max_requests: 200").start();
    let old = server.wait_ready(SOON, "site", 2);
    let load = Load::start(server.address, 16, &["/"]);
    load.wait_for(4000);
    load.finish().assert_flawless();
    let new = server.wait_ready(SOON, "site", 2);
    assert!(new.iter().all(|process| !old.contains(process)), "{old:?} {new:?}");
    // Until its replacement is ready, an old one may serve more than its limit.
    assert_eq!(server.pool("site").restarts, 0, "none has died");
    assert_log(&server, "requests (max_requests)");
}

#[test]
fn max_rss_replaces_what_has_grown() {
    let server = setup("max_rss: \"60MiB\"").start();
    let old = server.wait_ready(SOON, "site", 1);
    get(server.address, "/leak");
    wait_until(SOON, "another process serves", || {
        let now = server.ready("site");
        holds(now.len() == 1 && now != old, now)
    });
    assert_log(&server, "above max_rss 60");
}

#[test]
fn max_lifetime_replaces_what_is_old() {
    let server = setup("max_lifetime: \"1s\"").start();
    let old = server.wait_ready(SOON, "site", 1);
    wait_until(SOON, "another process serves", || {
        let now = server.ready("site");
        holds(now.len() == 1 && now != old, now)
    });
    assert_log(&server, "it reached max_lifetime");
}

#[test]
fn a_request_over_its_time_shows_where_it_hangs_and_only_its_process_goes() {
    let server = setup("processes: 2, timeout: \"1s\"").start().tolerant(&["site"]);
    let old = server.wait_ready(SOON, "site", 2);
    assert_eq!(get(server.address, "/hang?me=1").status, 504);
    assert_log(&server, "GET /hang?me=1 ran into the time-out of 1s; its process is replaced");
    assert_log(&server, "in stuck_in_the_view");
    let new = wait_until(SOON * 2, "two serve again", || {
        let now = server.ready("site");
        if now.len() == 2 && now != old { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert_eq!(new.iter().filter(|process| old.contains(process)).count(), 1, "{old:?} {new:?}");
    let last = server.pool("site").last_exit;
    // The query may be secret; only the log has it.
    assert!(last.as_ref().is_some_and(|last| last.contains("GET /hang ran into")), "{last:?}");
}

#[test]
fn a_pool_is_scaled_by_command() {
    let server = setup("processes: 1").start();
    let scaled = server.command(&["scale", "site", "3"]);
    assert_eq!(scaled.code, Some(0), "{scaled:?}");
    server.wait_ready(SOON, "site", 3);
    assert_eq!(server.command(&["scale", "workers", "2"]).code, Some(0));
    server.wait_ready(SOON, "worker", 2);
    assert_eq!(server.command(&["scale", "site", "0"]).code, Some(0));
    server.wait_ready(SOON, "site", 0);
    assert_eq!(get(server.address, "/").status, 200, "it wakes");
    let refused = server.command(&["scale", "sight", "2"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("there is no \"sight\"; there is: site, workers"), "{refused:?}");
    assert_eq!(server.command(&["scale", "site", "65"]).code, Some(1));
}

#[test]
fn a_restart_rolls_one_app_under_load_and_loses_no_request() {
    let server = setup("processes: 2").start().tolerant(&["SyntaxError", "site"]);
    let old = server.wait_ready(SOON, "site", 2);
    let workers = server.ready("worker");
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(100);
    let done = server.command(&["restart", "site"]);
    assert_eq!((done.code, done.stdout.trim()), (Some(0), "app site: 2 processes replaced"), "{done:?}");
    load.wait_for(100);
    load.finish().assert_flawless();
    let new = server.wait_ready(SOON, "site", 2);
    assert!(new.iter().all(|process| !old.contains(process)));
    assert_eq!(server.ready("worker"), workers);
    assert_eq!(server.pool("site").restarts, 0, "none has crashed");

    server.directory().write("site_of_test.py", "def application(:\n");
    let refused = server.command(&["restart", "site"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("SyntaxError"), "{refused:?}");
    assert_eq!(server.ready("site"), new);

    let done = server.command(&["restart", "workers"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(server.wait_ready(SOON, "worker", 1) != workers);
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.get("/").unwrap().status, 200);
}

#[test]
fn an_app_grows_while_requests_wait_and_shrinks_when_they_do_not() {
    let setup = setup("processes: (min: 1, max: 3), idle: \"1s\"");
    setup.directory.write(
        "site_of_test.py",
        "import time\ndef application(environ, start_response):\n    time.sleep(0.03)\n    start_response('200 OK', [])\n    \
         return [b'ok']\n",
    );
    let server = setup.start();
    server.wait_ready(SOON, "site", 1);
    let load = Load::start(server.address, 6, &["/"]);
    server.wait_ready(SOON, "site", 3);
    load.wait_for(120);
    load.finish().assert_flawless();
    server.wait_ready(SOON, "site", 1);
}

#[test]
fn idle_processes_are_not_kept_above_the_minimum() {
    let server = setup("processes: (min: 0, max: 1), idle: \"500ms\", ready: (path: \"/healthz\")").start();
    assert_eq!(get(server.address, "/").status, 200);
    server.wait_ready(Duration::from_secs(10), "site", 0);
}

#[test]
fn a_probe_wakes_no_app_and_asks_one_that_is_awake() {
    let text = configuration("processes: (min: 0, max: 1)").replace(
        "(path: \"/\"",
        "(exact: \"/healthz\", to: App(\"site\"), probe: (answer: Asleep200)), (path: \"/\"",
    );
    let setup = Setup::new(&text);
    setup.directory.write("site_of_test.py", SITE);
    setup.directory.write("health.txt", "202 Accepted\nawake");
    let server = setup.start();
    let asleep = get(server.address, "/healthz");
    assert_eq!((asleep.status, asleep.text().as_str()), (200, "asleep\n"));
    assert_eq!(server.pool("site").state, "asleep");
    assert_eq!(get(server.address, "/").status, 200);
    assert_eq!(get(server.address, "/healthz").status, 202);
}

/// What follows the answer of a probe belongs to its request, and is bounded as anywhere else.
#[test]
fn a_probe_of_a_sleeping_app_takes_no_longer_body_than_its_location() {
    const MOST: usize = 1000;
    let text = configuration("processes: (min: 0, max: 1)").replace(
        "(path: \"/\"",
        &format!(
            "(exact: \"/healthz\", to: App(\"site\"), probe: (answer: Asleep200), max_body: \"{MOST}B\"), (path: \"/\""
        ),
    );
    let setup = Setup::new(&text);
    setup.directory.write("site_of_test.py", SITE);
    let server = setup.start();
    let asleep = |connection: &mut Connection, body: usize| {
        let reply = connection.request_chunked("POST", "/healthz", &[], &vec![b'x'; body]).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "asleep\n"), "{body}");
    };
    let mut connection = Connection::open(server.address).unwrap();
    asleep(&mut connection, MOST);
    asleep(&mut connection, MOST + 1);
    assert!(connection.is_closed(), "the second body was taken");
    assert_eq!(server.pool("site").state, "asleep");
}

#[test]
fn logs_show_what_was_printed_and_go_on() {
    use std::io::BufRead as _;
    let setup = setup("processes: 1");
    setup.directory.write(
        "site_of_test.py",
        "print('imported')\ndef application(environ, start_response):\n    print('asked', environ['PATH_INFO'])\n    \
         start_response('200 OK', [])\n    return []\n",
    );
    let server = setup.start();
    get(server.address, "/one");
    wait_until(SOON, "both lines are shown", || {
        let shown = server.command(&["logs", "site"]).stdout;
        holds(shown.lines().eq(["app site 0: imported", "app site 0: asked /one"]), shown)
    });
    let last = |count: &str| server.command(&["logs", "site", "-n", count]).stdout;
    assert_eq!(["0", "1", "9"].map(last).map(|shown| shown.lines().count()), [0, 1, 2]);
    assert_eq!(server.command(&["logs", "-n1"]).stdout, "app site 0: asked /one\n");
    let stamped = server.command(&["logs", "-t", "--since", "1h"]).stdout;
    let (times, texts): (Vec<_>, Vec<_>) = stamped.lines().map(|line| line.split_once(' ').unwrap()).unzip();
    assert_eq!(texts, ["app site 0: imported", "app site 0: asked /one"]);
    assert_eq!(server.command(&["logs", "--since", times[1]]).stdout, "app site 0: asked /one\n");
    assert_eq!(server.command(&["logs", "--since", "2999-01-01"]).stdout, "");
    assert_eq!(server.command(&["logs", "--since", "yore"]).code, Some(2));
    let refused = server.command(&["logs", "sight"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("there is: site"), "{refused:?}");

    let mut command = std::process::Command::new(binary());
    command.args(["logs", "-f", "--control"]).arg(server.directory().path().join("control.sock"));
    let mut follower =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(follower.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "app site 0: imported");
    assert_eq!(lines.next().unwrap(), "app site 0: asked /one");
    get(server.address, "/two");
    assert_eq!(lines.next().unwrap(), "app site 0: asked /two");
    get(server.address, "/three");
    assert_eq!(lines.next().unwrap(), "app site 0: asked /three");
    // More at once than is kept.
    let pid = nix::unistd::Pid::from_raw(follower.id().cast_signed());
    let signal = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    signal(nix::sys::signal::Signal::SIGSTOP);
    let path = "/".to_owned() + &"x".repeat(2500);
    (0..40).for_each(|_| drop(get(server.address, &path)));
    get(server.address, "/end");
    wait_until(SOON, "the end is kept", || {
        let shown = server.command(&["logs", "-n1"]).stdout;
        holds(shown == "app site 0: asked /end\n", shown)
    });
    signal(nix::sys::signal::Signal::SIGCONT);
    let came = lines.by_ref().take_while(|line| line != "app site 0: asked /end").count();
    follower.kill().unwrap();
    let told = std::io::read_to_string(follower.stderr.take().unwrap()).unwrap();
    let passed = told.split(' ').nth(1).and_then(|count| count.parse::<usize>().ok());
    assert!(came < 40 && told.starts_with("hatchery: ") && passed == Some(40 - came), "{came}: {told}");
    follower.wait().unwrap();
}

#[test]
fn status_of_one_app_shows_where_its_threads_are() {
    let setup = setup("processes: 1");
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    if environ['PATH_INFO'] == '/hang':\n        waits_for_ever()\n    \
         start_response('200 OK', [])\n    return []\ndef waits_for_ever():\n    open('pipe').read()\n",
    );
    let pipe = setup.directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let server = setup.start();
    let mut hanging = Connection::open(server.address).unwrap();
    hanging.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let stacks = |more: &[&str]| server.command(&[&["status", "site", "--stacks"], more].concat()).stdout;
    wait_until(SOON, "the stacks show the function", || {
        let shown = stacks(&[]);
        holds(shown.contains(" in waits_for_ever\n") && !shown.contains("workers"), shown)
    });
    let status: hatchery::control::command::Status = serde_json::from_str(&stacks(&["--json"])).unwrap();
    let [pool] = &*status.pools else { panic!("{status:?}") };
    let told = pool.children[0].stacks.as_ref().unwrap();
    assert!(told.contains("site_of_test.py\", line 7 in waits_for_ever") && pool.name == "site", "{told}");
    // One that is stopped does not answer.
    let process = server.ready("site")[0];
    process.signal(nix::sys::signal::Signal::SIGSTOP);
    let shown = stacks(&[]);
    process.signal(nix::sys::signal::Signal::SIGCONT);
    assert!(shown.contains("no stacks within 3s: it is stopped"), "{shown}");
    std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    assert_eq!(hanging.reply("GET").unwrap().status, 200);

    let unknown = server.command(&["status", "sight"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""), "{unknown:?}");
    assert!(unknown.stderr.contains("\"sight\"; there is: workers, site"), "{unknown:?}");
    let none = server.command(&["status", "workers", "--stacks"]);
    assert!(none.code == Some(1) && none.stderr.contains("only the processes of apps"), "{none:?}");
}

#[test]
fn a_job_runs_by_hand_and_is_remembered() {
    let server = Setup::new(
        r#"    workers: (processes: 1),
    cron: [(name: "clean", at: "@yearly", command: ["sh", "-c", "echo swept"]),
           (name: "long", at: "@yearly", command: ["sleep", "600"])],"#,
    )
    .start();
    assert_eq!(server.command(&["cron", "run", "clean"]).code, Some(0));
    wait_until(SOON, "it is in the history", || {
        let history = server.command(&["cron", "history", "clean"]).stdout;
        holds(history.trim_end().ends_with("s  ok  by hand"), history)
    });
    assert_eq!(server.command(&["logs", "clean"]).stdout.trim_end(), "cron clean: swept");
    let listed = server.command(&["cron"]).stdout;
    for part in ["clean  at @yearly  next in ", "s, by hand ("] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let again = server.command(&["cron", "run", "long"]);
    assert!(again.code == Some(1) && again.stderr.contains("still running"), "{again:?}");
    let unknown = server.command(&["cron", "run", "cleen"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("there is: clean, long"), "{unknown:?}");
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let directory = crate::harness::Directory::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = hatchery(&directory, &["completions", shell]);
        assert!(script.code == Some(0) && script.stdout.contains("HATCHERY_COMPLETE"), "{script:?}");
    }
    let page = hatchery(&directory, &["man"]);
    assert!(page.stdout.contains(".TH") && page.stdout.contains("hatchery"), "{page:?}");
    for part in [
        ".SH \"EXIT STATUS\"\n",
        ".SH \"FILES\"\n",
        "/etc/hatchery/hatchery.ron",
        ".SH \"SIGNALS\"\n",
        "\\&USR2\n",
    ] {
        assert!(page.stdout.contains(part), "{part} is not in {page:?}");
    }
    let page = hatchery(&directory, &["man", "reload"]);
    assert!(page.stdout.contains(".TH") && page.stdout.contains("prove"), "{page:?}");
    assert!(page.stdout.contains("EXIT STATUS") && !page.stdout.contains("SIGNALS"), "{page:?}");
    assert_eq!(hatchery(&directory, &["man", "reboot"]).code, Some(2));
}

#[test]
fn a_shell_completes_names_of_the_server_that_runs_or_else_of_its_file() {
    use nix::sys::signal::Signal;
    let setup = setup("processes: 1");
    setup.configure(&format!(
        "{} upstreams: {{\"api\": (servers: [\"127.0.0.1:9\"])}}, cron: [(name: \"tidy\", at: \"@yearly\", command: [\"true\"])],",
        configuration("processes: 1")
    ));
    let server = setup.start();
    // As bash calls what the script registers.
    let completed = |line: &str| -> String {
        let (program, directory) = (binary(), server.directory().path());
        let words: Vec<&str> = line.split(' ').collect();
        let script = "source <(hatchery completions bash)\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n\
                      _clap_complete_hatchery hatchery \"${!#}\" x\necho \"${COMPREPLY[@]}\"";
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script, "bash"]).args(words).env("PATH", path).current_dir(directory);
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    for (line, expected) in [
        ("hatchery restart s", "site"),
        ("hatchery restart w", "workers"),
        ("hatchery status a", "api"),
        ("hatchery logs h", "hatchery"),
        ("hatchery cron run ", "tidy"),
        ("hatchery stop s", "site"),
        ("hatchery rest", "restart"),
        ("hatchery status -c none.ron s", ""),
    ] {
        let completed = completed(line);
        let names: Vec<&str> = completed.split_whitespace().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(names.join(" "), expected, "{line}: {completed:?}");
    }
    // What the file says since does not run.
    server.configure(&configuration("processes: 2").replace("\"site\"", "\"other\""));
    assert_eq!(completed("hatchery restart o"), "");
    let start = crate::harness::now();
    server.master.signal(Signal::SIGSTOP);
    let of_the_file = completed("hatchery restart o");
    server.master.signal(Signal::SIGCONT);
    assert_eq!(of_the_file, "other");
    assert!(start.elapsed() < SOON / 4, "{:?}", start.elapsed());
}

#[test]
fn a_request_that_runs_for_long_is_named_while_it_does() {
    let setup = setup("processes: 1, threads: 2");
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    if environ['PATH_INFO'] == '/slow':\n        \
         open('pipe').read()\n    start_response('200 OK', [])\n    return [b'ok']\n",
    );
    let pipe = setup.directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let server = setup.start();
    let running = || -> Vec<String> {
        let children = server.pool("site").children;
        children.into_iter().flat_map(|child| child.running).map(|running| running.request).collect()
    };
    // Once with a client that waits, once with one that leaves.
    for stays in [true, false] {
        let mut client = Connection::open(server.address).unwrap();
        client.send("GET /slow?token=secret HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        wait_until(SOON, "it is named", || holds(running() == ["GET /slow"], running()));
        assert_eq!(get(server.address, "/").text(), "ok");
        let shown = server.command(&["status", "-v"]).stdout;
        assert!(shown.contains("        GET /slow for "), "{shown}");
        let client = stays.then_some(client);
        // The request ends once somebody has opened the pipe for writing and closed it.
        drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
        if let Some(mut client) = client {
            assert_eq!(client.reply("GET").unwrap().text(), "ok");
        }
        wait_until(SOON, "it is not named any more", || holds(running().is_empty(), running()));
    }
}
