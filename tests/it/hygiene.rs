//! What children find around them, and what they leave behind: descriptors, groups, signals, limits, output, orphans.

use crate::harness::{Connection, Gate, Process, SOON, Server, Setup, get, holds, wait_until};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

/// One of everything that the master starts: a worker, an app, an app with a template, a daemon, a run of a job.
const EVERYTHING: &str = r#"
    workers: (processes: 1),
    log: (access: (path: "{dir}/access.log")),
    sites: [(listen: ["{address}"], locations: [
        (path: "/forked/", to: App("forked")), (path: "/", to: App("plain"))])],
    apps: {
        "plain": (module: "site_of_test", chdir: "{dir}"),
        "forked": (module: "site_of_test", chdir: "{dir}", preload: true),
    },
    daemons: {"beat": (command: ["sleep", "1000"])},
    cron: [(name: "long", at: "@yearly", command: ["sleep", "1001"])],"#;

const APP: &str =
    "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n";

fn start(configuration: &str) -> Server {
    let setup = Setup::new(configuration);
    setup.directory.write("site_of_test.py", APP);
    setup.env("PATH", "/usr/bin:/bin").start()
}

/// Every child of [`EVERYTHING`], by kind.
fn children(server: &Server) -> BTreeMap<&'static str, Process> {
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let run = wait_until(SOON, "the job runs", || {
        let found = server.job("long").running.first().copied().and_then(Process::of);
        found.filter(|run| run.title() == "sleep 1001").ok_or_else(|| "not yet".to_owned())
    });
    let template = wait_until(SOON, "the template is there", || {
        let pool = server.pool("forked");
        pool.templates.first().and_then(|found| Process::of(found.pid)).ok_or_else(|| format!("{pool:?}"))
    });
    let one = |pool: &str| server.wait_ready(SOON, pool, 1)[0];
    let found = [
        ("worker", one("worker")),
        ("app", one("plain")),
        ("template", template),
        ("forked app", one("forked")),
        ("daemon", one("beat")),
        ("job", run),
    ];
    wait_until(SOON, "the daemon is what it should be", || {
        holds(found[4].1.title() == "sleep 1000", found[4].1.title())
    });
    BTreeMap::from(found)
}

fn status_of(process: Process, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key} in {status}")).trim().to_owned()
}

/// Signals in a set of /proc/PID/status, without those that the C library keeps for itself.
fn signals(process: Process, key: &str) -> Vec<u32> {
    let set = u64::from_str_radix(&status_of(process, key), 16).unwrap();
    (1..=64)
        .filter(|number| ![32, 33].contains(number))
        .filter(|number| set >> (number - 1) & 1 == 1)
        .collect()
}

/// What its descriptors are, by number; sockets and pipes with their inodes.
fn descriptors(process: Process) -> BTreeMap<u32, String> {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
    entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            Some((number, std::fs::read_link(&path).ok()?.display().to_string()))
        })
        .collect()
}

#[test]
fn every_child_has_a_group_of_its_own_and_nothing_to_read() {
    let server = start(EVERYTHING);
    for (kind, child) in children(&server) {
        let pid = nix::unistd::Pid::from_raw(child.pid.try_into().unwrap());
        assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid, "group of the {kind}");
        assert_eq!(descriptors(child)[&0], "/dev/null", "standard input of the {kind}");
        assert_eq!(status_of(child, "PPid"), server.master.pid.to_string(), "parent of the {kind}");
        assert_eq!(signals(child, "SigBlk"), [0; 0], "blocked in the {kind}");
    }
    let found = children_without_run(&server);
    for kind in ["daemon", "job"] {
        assert_eq!(signals(found[kind], "SigIgn"), [0; 0], "ignored in the {kind}");
    }
}

/// As [`children`], where the job runs already.
fn children_without_run(server: &Server) -> BTreeMap<&'static str, Process> {
    let run = Process::of(server.job("long").running[0]).unwrap();
    BTreeMap::from([("daemon", server.ready("beat")[0]), ("job", run)])
}

#[test]
fn children_have_no_descriptor_of_the_master_but_their_own() {
    let server = start(EVERYTHING);
    // A client of the control socket and one of the site, whose connections nobody else may hold.
    let control = std::os::unix::net::UnixStream::connect(server.directory().path().join("control.sock"));
    let _client = (control.unwrap(), std::net::TcpStream::connect(server.address).unwrap());
    let children = children(&server);
    let masters = descriptors(server.master);
    for (kind, child) in &children {
        let own = descriptors(*child);
        // Sockets and pipes have inodes, by which it is seen who shares them.
        let shared: Vec<&String> = own
            .values()
            .filter(|what| what.contains('[') && !what.starts_with("anon_inode"))
            .filter(|what| masters.values().any(|of_master| of_master == *what))
            .collect();
        let output = |what: &&String| what.starts_with("pipe:");
        match *kind {
            // The listening socket, and the log, which is the master's own standard error here.
            "worker" => {
                let sockets = shared.iter().filter(|what| what.starts_with("socket:")).count();
                assert_eq!(sockets, 1, "{kind}: {own:?}");
                assert!(own.values().any(|what| what.ends_with("/access.log")), "{own:?}");
                assert!(!own.values().any(|what| what.contains("hatchery-run-")), "{own:?}");
            }
            // What they print, the master reads at the other end of the same pipe.
            _ => assert!(shared.iter().all(output), "{kind}: {own:?}"),
        }
        if ["daemon", "job"].contains(kind) {
            assert_eq!(own.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{kind}: {own:?}");
            assert_eq!(own[&1], own[&2], "{kind}: {own:?}");
        }
    }
    // None of them shares a socket or pipe with another child: not the connection to an app, not its output.
    let mut holders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (kind, child) in &children {
        let sockets = descriptors(*child).into_values().filter(|what| what.starts_with("socket:["));
        sockets.for_each(|socket| holders.entry(socket).or_default().push(kind));
    }
    holders.retain(|_, kinds| kinds.windows(2).any(|pair| pair[0] != pair[1]));
    assert!(holders.is_empty(), "{holders:?}");
}

#[test]
fn no_child_outlives_a_killed_master() {
    let mut server = start(EVERYTHING);
    // Also code that does not listen to TERM, which the kernel sends in the master's place.
    let deaf = format!("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{APP}");
    server.directory().write("site_of_test.py", deaf);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let children = children(&server);
    server.kill_master();
    wait_until(SOON, "all are gone", || {
        let left: Vec<_> = children.iter().filter(|(_, child)| child.is_alive()).collect();
        holds(left.is_empty(), left)
    });
}

#[test]
fn a_request_without_end_does_not_keep_an_app_alive_when_the_master_is_killed() {
    let app = |keys: &str| format!("(module: \"site_of_test\", chdir: \"{{dir}}\", {keys})");
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/one/", to: App("one")), (path: "/two/", to: App("two")), (path: "/forked/", to: App("forked"))])],
    apps: {{"one": {}, "two": {}, "forked": {}}},"#,
        app("threads: 1"),
        app("threads: 2"),
        app("preload: true"),
    ));
    setup.directory.write(
        "site_of_test.py",
        "def application(environ, start_response):\n    open('gate').read()\n    start_response('200 OK', [])\n    return []\n",
    );
    let _gate = Gate::new(&setup.directory, "gate");
    let mut server = setup.env("PATH", "/usr/bin:/bin").start();
    let names = ["one", "two", "forked"];
    let mut clients = Vec::new();
    for name in names {
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("GET /{name}/ HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        clients.push(client);
    }
    let apps: Vec<Process> = names
        .iter()
        .map(|name| {
            wait_until(SOON, "the request runs", || {
                let children = server.pool(name).children;
                let busy = children.iter().find(|child| !child.running.is_empty());
                busy.and_then(|child| Process::of(child.pid)).ok_or_else(|| format!("{children:?}"))
            })
        })
        .collect();
    server.kill_master();
    wait_until(SOON, "all are gone", || {
        let left: Vec<_> = apps.iter().filter(|app| app.is_alive()).map(|app| app.title()).collect();
        holds(left.is_empty(), left)
    });
}

#[test]
fn orphans_of_apps_are_adopted_and_reaped() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}")},"#,
    );
    let gate = Gate::new(&setup.directory, "gate");
    // The shell between leaves at once; its child, which must not keep the pipe that the app reads, ends when somebody
    // opens the gate.
    setup.directory.write(
        "site_of_test.py",
        "import subprocess\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         shell = '(read line < gate) > /dev/null 2>&1 & echo $!'\n    \
         return [subprocess.run(['sh', '-c', shell], stdout=subprocess.PIPE).stdout]\n",
    );
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    let pid: u32 = get(server.address, "/").text().trim().parse().unwrap();
    let orphan = Process::of(pid).expect("it waits");
    wait_until(SOON, "the master is its parent", || {
        let parent = status_of(orphan, "PPid");
        holds(parent == server.master.pid.to_string(), parent)
    });
    gate.open();
    wait_until(SOON, "it is reaped", || {
        holds(!Path::new(&format!("/proc/{pid}")).exists(), server.master.zombies())
    });
    assert_eq!(server.pool("site").restarts, 0);
}

#[test]
fn the_last_64_kib_of_what_a_child_printed_are_kept() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    daemons: {"loud": (command: ["sh", "-c", "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo line $i of a text that is not short; done; echo the end; exec sleep 1000"])},
    cron: [(name: "quiet", at: "@yearly", command: ["echo", "one line"])],"#,
    );
    let server = setup.start();
    server.wait_log("daemon loud 0: the end");
    let kept = server.command(&["logs", "loud"]).stdout;
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(
        lines[lines.len() - 2..],
        ["daemon loud 0: line 3000 of a text that is not short", "daemon loud 0: the end"]
    );
    // With what it takes to keep a line, no more than that; but not much less either.
    assert!((16 << 10..=64 << 10).contains(&kept.len()), "{} bytes", kept.len());
    assert!(!kept.contains("line 1 of"));
    // In a row, without a gap.
    let first: usize = lines[0].split(' ').nth(4).unwrap().parse().unwrap();
    assert_eq!(lines.len(), 3000 - first + 2);
    // What others printed is not pushed out by it.
    assert_eq!(server.command(&["cron", "run", "quiet"]).code, Some(0));
    server.wait_log("cron quiet: one line");
    assert_eq!(server.command(&["logs", "quiet"]).stdout.trim_end(), "cron quiet: one line");
}

#[test]
fn limits_of_a_job_and_of_a_daemon_are_in_force() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    daemons: {"beat": (command: ["sleep", "1000"], oom_score_adj: 250, limits: (open_files: 77, core: "0B"))},
    cron: [(name: "long", at: "@yearly", command: ["sleep", "1001"], oom_score_adj: 500,
            limits: (open_files: 88, processes: 3000, address_space: "2GiB"))],"#,
    )
    .start();
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let run = wait_until(SOON, "the job runs", || {
        let found = server.job("long").running.first().copied().and_then(Process::of);
        found.filter(|run| run.title() == "sleep 1001").ok_or_else(|| "not yet".to_owned())
    });
    let beat = wait_until(SOON, "the daemon runs", || {
        let found = server.ready("beat").first().copied();
        found.filter(|beat| beat.title() == "sleep 1000").ok_or_else(|| "not yet".to_owned())
    });
    let limit = |process: Process, name: &str| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.pid)).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let score = |process: Process| {
        std::fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid)).unwrap().trim().to_owned()
    };
    assert_eq!((limit(beat, "Max open files"), score(beat)), ("77 77".to_owned(), "250".to_owned()));
    assert_eq!(limit(beat, "Max core file size"), "0 0");
    assert_eq!((limit(run, "Max open files"), score(run)), ("88 88".to_owned(), "500".to_owned()));
    assert_eq!(limit(run, "Max processes"), "3000 3000");
    assert_eq!(limit(run, "Max address space"), format!("{0} {0}", 2_u64 << 30));
}

#[test]
fn a_user_comes_with_its_groups_and_without_those_of_root() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mounts = Command::new("unshare").args(["-m", "true"]).output();
    if !mounts.is_ok_and(|made| made.status.success()) {
        eprintln!("nothing to test: no right to make a mount namespace");
        return;
    }
    let setup = Setup::new(&EVERYTHING.replace("workers:", "user: \"daemon\",\n    workers:"));
    setup.directory.write("site_of_test.py", APP);
    setup.directory.write("access.log", "");
    // The server sees a list of groups in which the user is a member of two more.
    let known = std::fs::read_to_string("/etc/group").unwrap();
    let groups =
        setup.directory.write("group", known + "extra-one:x:64001:daemon\nextra-two:x:64002:bin,daemon\n");
    let script = format!("mount --bind {} /etc/group && exec \"$0\" \"$@\"", groups.display());
    // The master is in a group of its own, which is nobody's business.
    let prefix = ["unshare", "-m", "setpriv", "--groups=0,64009", "--", "sh", "-c", &script];
    let server = setup.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").under(&prefix).start();
    let user = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    assert_eq!(status_of(server.master, "Groups"), "0 64009");
    for (kind, child) in children(&server) {
        let ids = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
        assert_eq!(status_of(child, "Uid"), ids(user.uid.as_raw()), "{kind}");
        assert_eq!(status_of(child, "Gid"), ids(user.gid.as_raw()), "{kind}");
        let mut found: Vec<u32> =
            status_of(child, "Groups").split_whitespace().map(|group| group.parse().unwrap()).collect();
        found.retain(|group| *group != user.gid.as_raw());
        assert_eq!(found, [64001, 64002], "groups of the {kind}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status_of(child, set), "0000000000000000", "{set} of the {kind}");
        }
    }
}

#[test]
fn the_memory_of_a_worker_is_not_for_others_of_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let site = "    user: \"nobody\",\n    workers: (processes: 1),\n    \
                sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 204))])],";
    let server = Setup::new(site).start();
    let owner = || {
        let worker = server.wait_ready(SOON, "worker", 1)[0];
        // Of a process that may not be traced the kernel gives these files to root.
        std::fs::metadata(format!("/proc/{}/mem", worker.pid)).unwrap().uid()
    };
    assert_eq!(owner(), 0);
    server.configure(&format!("    sandbox: Off,\n{site}"));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    assert_eq!(owner(), nobody);
}

#[test]
fn status_tells_of_a_daemon_what_it_tells_of_every_child() {
    let server = start(EVERYTHING);
    let before = server.ready("beat")[0];
    before.signal(Signal::SIGKILL);
    let child = wait_until(SOON, "it is replaced", || {
        let pool = server.pool("beat");
        let child = pool.children.iter().find(|child| child.state == "ready" && child.pid != before.pid);
        child.cloned().ok_or_else(|| format!("{pool:?}"))
    });
    assert_eq!((child.restarts, child.generation), (1, 1), "{child:?}");
    assert!(child.last_exit.as_deref().is_some_and(|exit| exit.contains("SIGKILL")), "{child:?}");
    let text = server.command(&["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    for pool in json["pools"].as_array().unwrap() {
        for child in pool["children"].as_array().unwrap() {
            for key in ["pid", "generation", "state", "uptime_seconds", "restarts", "last_exit", "rss_bytes"]
            {
                assert!(child.get(key).is_some(), "{key} in {child:#}");
            }
        }
    }
}

#[test]
fn apps_use_usr1_and_usr2_themselves() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", timeout: "1s")},"#,
    );
    setup.directory.write(
        "site_of_test.py",
        "import signal\n\
         for number in (signal.SIGUSR1, signal.SIGUSR2):\n    \
         signal.signal(number, lambda number, frame: print('got', signal.Signals(number).name, flush=True))\n\
         def application(environ, start_response):\n    start_response('200 OK', [])\n    \
         if environ['PATH_INFO'] == '/hang':\n        open('gate').read()\n    return [b'ok']\n",
    );
    let _gate = Gate::new(&setup.directory, "gate");
    let server = setup.env("PATH", "/usr/bin:/bin").start().tolerant(&["site"]);
    let app = server.ready("site")[0];
    for (signal, name) in [(Signal::SIGUSR1, "SIGUSR1"), (Signal::SIGUSR2, "SIGUSR2")] {
        app.signal(signal);
        // Python looks at signals between two steps of its main thread.
        wait_until(SOON, "the app's own handler runs", || {
            let reply = get(server.address, "/");
            let said = server.log().iter().any(|line| line.ends_with(&format!("app site 0: got {name}")));
            holds(said && reply.text() == "ok", reply)
        });
    }
    // Stacks are asked for by another signal.
    assert_eq!(get(server.address, "/hang").status, 504);
    server.wait_log("in application");
    assert_eq!(server.log().iter().filter(|line| line.contains(": got SIGUSR")).count(), 2);
}
