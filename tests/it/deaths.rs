//! What the master makes of deaths: hung workers, want of memory, children that do not listen.

use crate::harness::{Connection, Gate, Load, Process, SOON, Setup, get, holds, wait_until};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::Command;

const SITE: &str = r#"
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#;

/// Whether a stopped process was stopped within a turn of its loop, instead of while it waited for events.
fn is_within_a_turn(pid: u32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
    let waits = [
        nix::libc::SYS_epoll_pwait,
        #[cfg(target_arch = "x86_64")]
        nix::libc::SYS_epoll_wait,
    ];
    // "running": not in a call; -1: between two.
    number.is_some_and(|number| number >= 0 && !waits.contains(&number))
}

/// Stops a worker that serves within a turn of its loop.
pub(crate) fn hang(worker: Process) {
    wait_until(SOON, "it stands still within a turn", || {
        worker.signal(Signal::SIGSTOP);
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", worker.pid)).unwrap_or_default();
        wait_until(SOON, "it is stopped", || holds(state().contains(") T "), state()));
        if is_within_a_turn(worker.pid) {
            return Ok(());
        }
        worker.signal(Signal::SIGCONT);
        Err(std::fs::read_to_string(format!("/proc/{}/syscall", worker.pid)).unwrap_or_default())
    });
}

#[test]
fn a_worker_that_hangs_in_a_turn_is_ended_and_replaced() {
    let server = Setup::new(&format!("    workers: (processes: 2),\n{SITE}")).start();
    // On a busy machine the reader of the log may fall behind the load.
    let server = server.tolerant(&["hangs in one turn of its loop", "cannot write the access log"]);
    let workers = server.wait_ready(SOON, "worker", 2);
    let victim = workers[0];
    let load = Load::start(server.address, 16, &["/"]);
    load.wait_for(100);
    hang(victim);
    // Ten seconds, and three looks of the master.
    wait_until(SOON * 2, "the hang is noticed", || {
        let log = server.log();
        let said = format!("worker: process {} hangs in one turn of its loop", victim.pid);
        holds(log.iter().any(|line| line.contains(&said)), log.len())
    });
    let pool = wait_until(SOON, "another one is in its place", || {
        let whole = server.ready("worker").len() == 2 && !victim.is_alive();
        let pool = server.pool("worker");
        if whole { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    // A stopped process takes no ABRT, only the KILL that follows.
    let exit = pool.last_exit.as_deref().unwrap_or_default();
    assert!(exit.contains("SIGKILL") || exit.contains("SIGABRT"), "{pool:?}");
    assert!(!exit.contains("out of memory"), "we sent it ourselves: {pool:?}");
    assert_eq!(pool.restarts, 1);
    assert!(server.ready("worker").contains(&workers[1]), "the other one went on");
    load.finish();
    assert_eq!(get(server.address, "/").text(), "here");
}

/// The files in which the kernel counts what it killed for want of memory, as far as they are there.
fn counters() -> Vec<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = vec![PathBuf::from("/proc/vmstat")];
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap().trim_start_matches('/'));
        match controllers {
            "" => files.push(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events")),
            "memory" => {
                files.push(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"))
            }
            _ => {}
        }
    }
    files.retain(|file| file.exists());
    files
}

#[test]
fn a_kill_for_want_of_memory_is_called_that() {
    if !Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|made| made.status.success()) {
        eprintln!("nothing to test: no right to make a mount namespace");
        return;
    }
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", processes: 1)},
    daemons: {"beat": (command: ["sleep", "1000"])},
    cron: [(name: "long", at: "@yearly", command: ["sleep", "1000"])],"#,
    );
    // The server sees a file of ours where the kernel counts.
    let count = setup.directory.write("events", "low 0\noom 0\noom_kill 3\n");
    let mounts: Vec<String> = counters()
        .iter()
        .map(|file| format!("mount --bind {} {}", count.display(), file.display()))
        .collect();
    let script = format!("{} && exec \"$0\" \"$@\"", mounts.join(" && "));
    let server = setup
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .under(&["unshare", "-m", "sh", "-c", &script])
        .start()
        .tolerant(&["probably out of memory"]);
    let kill = |name: &str| {
        let victim = server.ready(name)[0];
        server.kill_and_wait(name, victim, 1);
        server.pool(name)
    };
    let grow = |number: u32| {
        std::fs::write(&count, format!("low 0\noom 9\noom_kill {number}\n")).unwrap();
    };
    let starved = Some("killed by SIGKILL: probably out of memory");
    let by_hand = kill("plain").last_exit.unwrap();
    assert!(!by_hand.contains("probably"), "the count has not grown: {by_hand}");
    for (number, name) in [(4, "plain"), (5, "worker"), (6, "beat")] {
        grow(number);
        let pool = kill(name);
        assert_eq!(pool.last_exit.as_deref(), starved);
        assert_eq!(pool.children[0].last_exit.as_deref(), starved, "in the row of its successor, too");
    }
    let shown = server.command(&["status", "-v"]).stdout;
    assert_eq!(shown.matches("last exit: killed by SIGKILL: probably out of memory").count(), 6, "{shown}");
    let said = server.log().iter().filter(|line| line.contains("was killed by the kernel: probably")).count();
    assert_eq!(said, 3);
    // Who leaves because it is told to has not died.
    for number in ["2", "1"] {
        assert_eq!(server.command(&["scale", "plain", number]).code, Some(0));
        server.wait_ready(SOON, "plain", number.parse().unwrap());
    }
    assert_eq!(server.pool("plain").last_exit.as_deref(), starved);
    let by_hand = kill("plain").last_exit.unwrap();
    assert!(!by_hand.contains("probably"), "growth counts once: {by_hand}");
    // A run of a job.
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let running = server.job("long").running[0];
    grow(7);
    Process::of(running).unwrap().signal(Signal::SIGKILL);
    wait_until(SOON, "the end is in the history", || {
        let history = server.job("long").history;
        holds(history.first().is_some_and(|run| Some(run.outcome.as_str()) == starved), history)
    });
    server.wait_log(&format!("cron long (process {running}) was killed by the kernel: probably"));
}

#[test]
fn an_app_that_does_not_listen_is_killed_in_the_end() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("deaf"))])],
    apps: {"deaf": (module: "deaf", chdir: "{dir}", timeout: "500ms")},"#,
    );
    setup.directory.write(
        "deaf.py",
        "import os, signal, time\n\
         signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         def application(environ, start_response):\n    if environ['PATH_INFO'] == '/hang':\n        \
         open('never').read()\n    start_response('200 OK', [])\n    return [str(os.getpid()).encode()]\n",
    );
    let _never = Gate::new(&setup.directory, "never");
    let server = setup.env("PATH", "/usr/bin:/bin").start().tolerant(&["deaf"]);
    let deaf = server.ready("deaf")[0];
    assert_eq!(get(server.address, "/hang").status, 504);
    // Another one serves long before it is gone.
    wait_until(SOON, "another one serves", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200 && reply.text() != deaf.pid.to_string(), reply)
    });
    wait_until(SOON, "it is shown as being killed", || {
        let children = server.pool("deaf").children;
        let state = children.iter().find(|child| child.pid == deaf.pid).map(|child| child.state.clone());
        holds(state.is_none() || state.as_deref() == Some("killing"), children)
    });
    wait_until(SOON, "it is gone", || holds(!deaf.is_alive(), server.pool("deaf")));
    assert_eq!(server.ready("deaf").len(), 1);
}

#[test]
fn an_import_without_end_is_given_up() {
    let mut setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("slow"))])],
    apps: {"slow": (module: "slow", chdir: "{dir}", boot_timeout: "300ms")},"#,
    )
    .env("PATH", "/usr/bin:/bin");
    setup.directory.write("slow.py", "import threading\nthreading.Event().wait()\n");
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("app slow") && ended.stderr.contains("300ms"), "{}", ended.stderr);
}

#[test]
fn a_worker_that_is_killed_again_and_again_waits_and_says_so() {
    let server = Setup::new(&format!("    workers: (processes: 2),\n{SITE}")).start();
    let before = server.wait_ready(SOON, "worker", 2);
    let pool = wait_until(SOON * 2, "it waits before the next attempt", || {
        let children = server.pool("worker").children;
        if let Some(first) = children.iter().find(|child| child.number == 0 && child.state == "ready")
            && let Some(process) = Process::of(first.pid)
        {
            process.signal(Signal::SIGKILL);
        }
        let pool = server.pool("worker");
        if pool.retry_in_ms.is_some_and(|wait| wait > 300) { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert!((2..=9).contains(&pool.restarts), "{pool:?}");
    // Each place waits for itself: the other worker has served all the time.
    assert!(before[1].is_alive());
    assert_eq!(get(server.address, "/").text(), "here");
    server.wait_ready(SOON, "worker", 2);
}

#[test]
fn quit_is_a_graceful_stop_and_the_pid_file_goes_with_the_server() {
    let setup = Setup::new(
        r#"
    pid_file: "{dir}/hatchery.pid",
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}")},"#,
    );
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    open('gate').read()\n    start_response('200 OK', [])\n    \
         return [b'finished']\n",
    );
    let gate = Gate::new(&setup.directory, "gate");
    let mut server = setup.env("PATH", "/usr/bin:/bin").start();
    let file = server.directory().path().join("hatchery.pid");
    let written = || std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
    assert_eq!(written(), server.master.pid.to_string());
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "it is upgraded", || {
        let status = server.status();
        holds(status.generation == 2 && status.mode == "running", status)
    });
    assert_eq!(written(), server.master.pid.to_string());
    let mut running = Connection::open(server.address).unwrap();
    running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request runs", || {
        let children = server.pool("site").children;
        holds(children.iter().any(|child| !child.running.is_empty()), children)
    });
    server.master.signal(Signal::SIGQUIT);
    wait_until(SOON, "it is stopping", || holds(server.status().mode == "stopping", server.status()));
    let refused = server.command(&["scale", "site", "2"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("the server is stopping"), "{refused:?}");
    gate.open();
    assert_eq!(running.reply("GET").unwrap().text(), "finished");
    assert_eq!(server.wait_end(), Some(0));
    assert!(!file.exists());
}
