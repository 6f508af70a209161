//! Daemons: kept running, ended with all they started, rolled with their app.

use crate::harness::{Process, SOON, Server, Setup, get, hatchery, holds, wait_until};
use nix::sys::signal::Signal;

/// An app in the test's directory, whose code says `answer`, and some daemons; a process counts as ready after 100 ms
/// unless it says otherwise.
fn configuration(daemons: &str) -> String {
    let daemons = daemons.replace("command:", "ready_after: \"100ms\", command:");
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{
        "site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", env: {{"FROM_APP": "of the app"}}),
    }},
    daemons: {{{daemons}}},"#
    )
}

fn setup(daemons: &str) -> Setup {
    let setup = Setup::new(&configuration(daemons));
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'alive']\n",
    );
    setup
}

/// Runs until TERM, and says when it starts and when it is told to end, in a file.
const LOUD: &str = r#"
echo "$1 starts" >> order
trap 'echo "$1 ends" >> order; exit 0' TERM
while :; do sleep 0.05; done
"#;

/// Complains if another one of it runs.
const EXCLUSIVE: &str = r#"
mkdir lock || { echo OVERLAP; exit 9; }
trap 'sleep 0.1; rmdir lock; exit 0' TERM
while :; do sleep 0.05; done
"#;

fn lines(server: &Server, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(server.directory().path().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn wait_gone(process: Process) {
    wait_until(SOON, "the process is gone", || holds(!process.is_alive(), process.title()));
}

#[track_caller]
fn reload(server: &Server) {
    let finished = server.command(&["reload", "--wait"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[track_caller]
fn logs(server: &Server, name: &str) -> String {
    let finished = server.command(&["logs", name]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

#[test]
fn a_daemon_that_is_killed_is_replaced() {
    let server = setup(r#""sleeper": (command: ["sleep", "1000"], processes: 2)"#).start();
    let before = server.wait_ready(SOON, "sleeper", 2);
    assert_eq!(before[0].title(), "sleep 1000", "its title is its own");
    server.kill_and_wait("sleeper", before[0], 2);
    assert!(before[1].is_alive());
    let pool = server.pool("sleeper");
    assert_eq!((pool.kind.as_str(), pool.restarts), ("daemon", 1), "{pool:?}");
    let shown = server.command(&["status"]).stdout;
    let line = shown.lines().find(|line| line.starts_with("daemon sleeper  ready ")).unwrap_or_default();
    assert!(line.contains("  2 of 2  ") && line.contains("  crashes 1  "), "{shown}");
    let found = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(before[1].pid as i32))).unwrap();
    assert_eq!(found.as_raw() as u32, before[1].pid, "a group of its own");
}

#[test]
fn a_daemon_has_what_its_app_has_and_what_it_prints_is_kept() {
    let server = {
        let setup = setup(
            r#""own": (command: ["python", "daemon.py"], app: "site", env: {"FROM_DAEMON": "of the daemon"}),
               "sh": (command: ["sh", "-c", "echo in $PWD; exec sleep 1000"])"#,
        );
        setup.directory.write(
            "daemon.py",
            "import os, sys, time\n\
             print('prefix', sys.prefix)\n\
             print('directory', os.getcwd(), file=sys.stderr)\n\
             print('environment', os.environ['FROM_APP'], 'and', os.environ['FROM_DAEMON'])\n\
             print('input', os.readlink('/proc/self/fd/0'), flush=True)\n\
             time.sleep(1000)\n",
        );
        setup.start()
    };
    let directory = server.directory().path().display().to_string();
    let line = server.wait_log("input ");
    assert!(line.contains("daemon own 0"), "{line}");
    let kept = logs(&server, "own");
    for part in [
        &format!("prefix {}", crate::harness::virtualenv().display()),
        &format!("directory {directory}"),
        "environment of the app and of the daemon",
        "input /dev/null",
    ] {
        assert!(kept.contains(part), "{part} is missing in\n{kept}");
    }
    server.wait_log(&format!("in {directory}"));
    assert!(!logs(&server, "sh").contains("prefix"));
    let refused = server.command(&["logs", "other"]);
    assert!(refused.stderr.contains("there is no app, daemon or job \"other\""), "{refused:?}");
}

#[test]
fn a_daemon_that_keeps_dying_is_shown_and_fails_nothing() {
    let daemons = r#""dying": (command: ["sh", "-c", "echo gives up; exit 7"]),
           "absent": (command: ["no-such-program-anywhere"])"#;
    let server = setup(daemons);
    // A busy machine must not take a slow end for a life.
    server.configure(&configuration(daemons).replace("100ms", "30s"));
    let server = server.start().tolerant(&["daemon dying", "daemon absent"]);
    assert_eq!(get(server.address, "/").text(), "alive");
    let pool = wait_until(SOON, "it waits before the next attempt", || {
        let pool = server.pool("dying");
        if pool.retry_in_ms.is_some_and(|wait| wait > 300) { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert_eq!(pool.state, "failed");
    assert!((2..=8).contains(&pool.restarts), "{pool:?}");
    assert_eq!(pool.last_exit.as_deref(), Some("ended before it was ready: exit 7"));
    assert!(logs(&server, "dying").contains("gives up"));
    let absent = server.pool("absent").last_exit.unwrap_or_default();
    assert!(
        absent.starts_with(
            "could not start: the command `no-such-program-anywhere` cannot be executed: No such file"
        ),
        "{absent}"
    );
    assert_eq!(get(server.address, "/").text(), "alive");
}

#[test]
fn a_start_that_is_all_or_nothing_fails_with_a_daemon() {
    let daemons = configuration(r#""dying": (command: ["sh", "-c", "exit 7"])"#);
    let mut setup = setup("");
    setup.configure(&format!("start: AllOrNothing,\n{daemons}"));
    let finished = setup.run_to_end();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("daemon dying: ended before it was ready: exit 7"), "{finished:?}");
}

#[test]
fn a_reload_replaces_the_daemon_of_an_app_and_leaves_others() {
    let exclusive = format!("{EXCLUSIVE:?}");
    let daemons = |more: &str, count: u32| {
        format!(
            r#""rolled": (command: ["sh", "-c", {exclusive}], app: "site"),
               "kept": (command: ["sleep", "1000"], processes: {count}),
               "other": (command: ["sleep", "{more}"])"#
        )
    };
    let server = setup(&daemons("1001", 1)).start();
    let of = |name: &str| server.wait_ready(SOON, name, 1)[0];
    let (rolled, kept, other) = (of("rolled"), of("kept"), of("other"));
    reload(&server);
    wait_gone(rolled);
    let next = of("rolled");
    assert_ne!(next, rolled);
    assert_eq!((of("kept"), of("other")), (kept, other));
    assert_eq!(server.pool("rolled").children[0].generation, 2);
    assert_eq!(server.pool("rolled").restarts, 0, "it has not died");
    server.configure(&configuration(&daemons("1002", 2)));
    reload(&server);
    wait_gone(next);
    wait_gone(other);
    assert_eq!(of("other").title(), "sleep 1002");
    assert!(server.wait_ready(SOON, "kept", 2).contains(&kept), "another number replaces nobody");
    of("rolled");
    assert!(!server.log().iter().any(|line| line.contains("OVERLAP")), "two ran at a time");
}

#[test]
fn a_reload_that_fails_leaves_daemons_alone() {
    let daemons =
        r#""rolled": (command: ["sleep", "1000"], app: "site"), "kept": (command: ["sleep", "1000"])"#;
    let server = setup(daemons).start().tolerant(&["reload", "site"]);
    let of = |name: &str| server.wait_ready(SOON, name, 1)[0];
    let before = (of("rolled"), of("kept"));
    let refused = |server: &Server, why: &str| {
        let finished = server.command(&["reload", "--wait"]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains(why), "{said}");
        assert_eq!((of("rolled"), of("kept")), before);
    };
    server.directory().write("site_of_test.py", "def application(:\n");
    refused(&server, "SyntaxError");
    server.configure(&configuration(r#""kept": (command: ["sleep", "1000"], after: ["nobody"])"#));
    refused(&server, "unknown daemon or app `nobody`");
    server.configure(&configuration(r#""new": (command: ["sleep", "1000"])"#));
    refused(&server, "SyntaxError");
    assert!(server.status().pools.iter().all(|pool| pool.name != "new"));
    assert_eq!(get(server.address, "/").text(), "alive");
}

#[test]
fn a_reload_signal_takes_the_place_of_a_replacement() {
    let script = r#"trap "echo read again" HUP; while :; do sleep 0.05; done"#;
    let daemon = |word: &str| {
        format!(
            r#""listens": (command: ["sh", "-c", {script:?}, "{word}"], app: "site", stop_timeout: "500ms",
                           reload_signal: Hup)"#
        )
    };
    let server = setup(&daemon("first")).start();
    let before = server.wait_ready(SOON, "listens", 1)[0];
    reload(&server);
    server.wait_log("read again");
    assert_eq!(server.wait_ready(SOON, "listens", 1)[0], before);
    server.configure(&configuration(&daemon("second")));
    reload(&server);
    wait_gone(before);
    assert!(server.wait_ready(SOON, "listens", 1)[0].title().ends_with(" second"));
}

#[test]
fn daemons_come_and_go_with_the_file() {
    let server = setup(r#""old": (command: ["sleep", "1000"])"#).start();
    let old = server.wait_ready(SOON, "old", 1)[0];
    server.configure(&configuration(r#""new": (command: ["sleep", "1001"])"#));
    reload(&server);
    wait_gone(old);
    assert_eq!(server.wait_ready(SOON, "new", 1)[0].title(), "sleep 1001");
    wait_until(SOON, "it is not listed any more", || {
        let status = server.status();
        holds(status.pools.iter().all(|pool| pool.name != "old"), status)
    });
}

#[test]
fn daemons_start_after_and_stop_before_what_they_need() {
    let loud = format!("{LOUD:?}");
    let late = format!("{:?}", LOUD.replace("echo \"$1 ends\"", "sleep 0.3; echo \"$1 ends\""));
    let mut server = setup(&format!(
        r#""celery": (command: ["sh", "-c", {late}, "sh", "worker"], after: ["queue", "site"]),
           "queue": (command: ["sh", "-c", {loud}, "sh", "queue"], after: ["base"]),
           "base": (command: ["sh", "-c", {loud}, "sh", "base"])"#
    ))
    .start();
    assert_eq!(lines(&server, "order"), ["base starts", "queue starts", "worker starts"]);
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    let order = lines(&server, "order");
    assert_eq!(order[3..], ["worker ends", "queue ends", "base ends"]);
}

#[test]
fn whoever_waits_for_another_says_so() {
    let server = setup(
        r#""celery": (command: ["sleep", "1000"], after: ["redis"]),
           "redis": (command: ["sh", "-c", "exit 1"])"#,
    );
    let server = server.start().tolerant(&["daemon redis"]);
    assert_eq!(server.pool("celery").waits_for, ["redis"]);
    let shown = server.command(&["status"]).stdout;
    let line = shown.lines().find(|line| line.starts_with("daemon celery  waiting ")).unwrap_or_default();
    assert!(line.contains("  0 of 1  ") && line.contains("  for redis"), "{shown}");
    let failed = shown.lines().position(|line| line.starts_with("daemon redis  "));
    let ready = shown.lines().position(|line| line.starts_with("workers  "));
    assert!(failed < ready, "{shown}");
}

#[test]
fn what_a_daemon_started_ends_with_it() {
    let deaf = r#"trap "" TERM; sleep 1000 & echo $! > child; wait; while :; do sleep 0.05; done"#;
    let deaf = format!(r#""deaf": (command: ["sh", "-c", {deaf:?}], stop_timeout: "200ms")"#);
    let server = setup(&deaf).start();
    let child = |server: &Server| {
        wait_until(SOON, "it has started its child", || {
            let text = std::fs::read_to_string(server.directory().path().join("child")).unwrap_or_default();
            text.trim().parse().ok().and_then(Process::of).ok_or(text)
        })
    };
    // It dies: its successor must not meet what it left behind.
    let (main, first) = (server.wait_ready(SOON, "deaf", 1)[0], child(&server));
    server.kill_and_wait("deaf", main, 1);
    wait_gone(first);
    let second = wait_until(SOON, "the next one has a child, too", || {
        let found = child(&server);
        if found == first { Err(format!("{found:?}")) } else { Ok(found) }
    });
    // It is told to go, and does not.
    let main = server.ready("deaf")[0];
    server.configure(&configuration(""));
    reload(&server);
    wait_gone(main);
    wait_gone(second);
}

/// Goes to the background like daemon(3), once: twice forked, in a session of its own, all descriptors elsewhere.
const DETACHING: &str = r#"
import os, time
if os.path.exists("detached"):
    os._exit(0)
if os.fork():
    while not os.path.exists("detached"):
        time.sleep(0.01)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
null = os.open("/dev/null", os.O_RDWR)
for descriptor in range(3):
    os.dup2(null, descriptor)
with open("new", "w") as file:
    file.write(str(os.getpid()))
os.rename("new", "detached")
time.sleep(1000)
"#;

const BACKGROUND: &str = "ended with exit 0 within ten seconds of its start, as a program does that goes to the \
                          background: run it in the foreground";

/// Process ids that a file names.
fn numbers(server: &Server, file: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(server.directory().path().join(file)).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_daemon_that_goes_to_the_background_is_told_so_and_what_is_not_in_its_group_is_left_alone() {
    let setup = setup(r#""hidden": (command: ["python", "detach.py"], app: "site")"#);
    setup.directory.write("detach.py", DETACHING);
    let server = setup.start().tolerant(&["daemon hidden"]);
    let line = server.wait_log("daemon hidden: ended with exit 0");
    assert!(line.contains("ERROR") && line.contains(BACKGROUND) && line.contains("`daemonize no`"), "{line}");
    // A failed boot, whatever `ready_after` is.
    let pool = wait_until(SOON, "it waits before the next attempt", || {
        let pool = server.pool("hidden");
        if pool.retry_in_ms.is_some_and(|wait| wait > 1000) { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert_eq!((pool.state.as_str(), pool.children.len()), ("failed", 0), "{pool:?}");
    assert!(pool.last_exit.is_some_and(|why| why.starts_with(BACKGROUND)));
    let shown = server.command(&["status"]).stdout;
    assert!(shown.contains("run it in the foreground"), "{shown}");
    let left = Process::of(numbers(&server, "detached")[0]).expect("whatever is not surely its own lives on");
    server.configure(&configuration(""));
    reload(&server);
    assert!(left.is_alive());
    left.signal(Signal::SIGKILL);
    wait_gone(left);
}

#[test]
fn what_is_left_in_the_group_of_a_daemon_is_killed_before_the_next_one_comes() {
    // What was killed is there until the kernel and the master have taken note of it.
    let script = r#"if [ -e left ]; then
            n=0; while kill -0 $(cat left) && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.01; done
            [ $n -lt 500 ] || echo OVERLAP
            exec sleep 1000
        fi
        sh -c 'trap "" TERM; echo $$ > new; mv new left; while :; do sleep 0.05; done' &
        while [ ! -e left ]; do sleep 0.01; done"#;
    let server = setup(&format!(r#""hidden": (command: ["sh", "-c", {script:?}])"#));
    let server = server.start().tolerant(&["daemon hidden"]);
    let line = server.wait_log("daemon hidden: ended with exit 0");
    assert!(line.contains(BACKGROUND), "{line}");
    let next = server.wait_ready(SOON, "hidden", 1)[0];
    assert_eq!(next.title(), "sleep 1000");
    let left = numbers(&server, "left");
    assert!(left.len() == 1 && Process::of(left[0]).is_none_or(|process| !process.is_alive()), "{left:?}");
    assert!(!server.log().iter().any(|line| line.contains("OVERLAP")), "two ran at a time");
}

#[test]
fn restart_and_scale_know_daemons() {
    let server = setup(r#""sleeper": (command: ["sleep", "1000"])"#).start();
    let before = server.wait_ready(SOON, "sleeper", 1)[0];
    let restarted = server.command(&["restart", "sleeper"]);
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert!(!before.is_alive());
    assert_eq!(server.ready("sleeper").len(), 1, "it answers when the new one is ready");
    assert_eq!(server.command(&["scale", "sleeper", "3"]).code, Some(0));
    let three = server.wait_ready(SOON, "sleeper", 3);
    assert_eq!(server.command(&["scale", "sleeper", "0"]).code, Some(0));
    three.into_iter().for_each(wait_gone);
    wait_until(SOON, "it is stopped", || {
        let pool = server.pool("sleeper");
        holds(pool.state == "stopped" && pool.children.is_empty(), pool)
    });
    reload(&server);
    server.wait_ready(SOON, "sleeper", 1);
}

#[test]
fn a_daemon_may_have_a_user_and_limits_of_its_own() {
    let user = if nix::unistd::geteuid().is_root() { "user: \"nobody\"," } else { "" };
    let server = setup(&format!(
        r#""limited": (command: ["sh", "-c", "echo files $(ulimit -n) user $(id -u); exec sleep 1000"], chdir: "/", {user}
                       limits: (open_files: 77))"#
    ))
    .start();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    let uid = if user.is_empty() { nix::unistd::geteuid() } else { nobody };
    server.wait_log(&format!("files 77 user {uid}"));
}

#[test]
fn check_looks_for_the_programs_of_daemons() {
    let setup = setup(r#""absent": (command: ["no-such-program-anywhere"], app: "site")"#);
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let wanted = "daemons.absent.command: there is no program `no-such-program-anywhere`; it is neither in the app's \
                  virtualenv nor on PATH";
    assert!(checked.stderr.contains(wanted), "{checked:?}");
}
