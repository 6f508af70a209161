//! How many processes there are: by number of CPUs, by signal, and while nobody asks.

use crate::harness::{Connection, Gate, SOON, Server, Setup, get, hatchery, holds, wait_until};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::Command;

const SITE: &str = r#"
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#;

/// `min` and `max` of the workers.
fn workers(server: &Server) -> (u32, u32) {
    server.pool("worker").processes
}

#[test]
fn ttin_and_ttou_move_the_workers_by_one_until_the_next_reload() {
    let server = Setup::new(&format!("    workers: (processes: 2),\n{SITE}")).start();
    let before = server.wait_ready(SOON, "worker", 2);
    let step = |signal: Signal, count: usize| {
        server.master.signal(signal);
        // The number that is wanted comes first: one that is on its way out does not count any more.
        let count_wanted = u32::try_from(count).unwrap();
        wait_until(SOON, "another number is wanted", || {
            holds(workers(&server) == (count_wanted, count_wanted), server.pool("worker"))
        });
        server.wait_ready(SOON, "worker", count)
    };
    let three = step(Signal::SIGTTIN, 3);
    assert!(before.iter().all(|worker| three.contains(worker)), "{before:?} {three:?}");
    assert_eq!(step(Signal::SIGTTOU, 2), before, "the newest goes");
    assert_eq!(step(Signal::SIGTTOU, 1), before[..1]);
    // The last one stays.
    server.master.signal(Signal::SIGTTOU);
    wait_until(SOON, "it has heard that, too", || {
        let heard = server.log().iter().filter(|line| line.contains("received SIGTTOU")).count();
        holds(heard == 3, heard)
    });
    assert_eq!((workers(&server), server.ready("worker")), ((1, 1), before[..1].to_vec()));
    assert_eq!(get(server.address, "/").text(), "here");
    assert_eq!(step(Signal::SIGTTIN, 2)[0], before[0]);
    step(Signal::SIGTTIN, 3);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(workers(&server), (2, 2), "the file counts again");
    server.wait_ready(SOON, "worker", 2);
    assert_eq!(get(server.address, "/").text(), "here");
}

/// The number of workers in the configuration as resolved, by a process that is started by `prefix`.
fn resolved(prefix: &[&str], configuration: &str) -> String {
    let setup = Setup::new(configuration);
    let mut words = prefix.to_vec();
    let program = crate::harness::binary();
    words.extend([program.to_str().unwrap(), "config", "-c", "hatchery.ron"]);
    let output =
        Command::new(words[0]).args(&words[1..]).current_dir(setup.directory.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let workers = text.split_once("workers: (").map(|(_, workers)| workers.trim_start());
    let line = workers.and_then(|workers| workers.strip_prefix("processes: "));
    let line = line.unwrap_or_else(|| panic!("{output:?}"));
    line.split(',').next().unwrap().to_owned()
}

/// CPUs that this process may run on.
fn usable_cpus() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

#[test]
fn as_many_workers_as_cpus_that_it_may_run_on() {
    let cpus = usable_cpus();
    let one = cpus[0].to_string();
    let automatic = format!("    workers: (processes: \"auto\"),\n{SITE}");
    for configuration in [&automatic, SITE] {
        assert_eq!(resolved(&["taskset", "-c", &one], configuration), "1");
    }
    if let [first, second, ..] = cpus[..] {
        let two = format!("{first},{second}");
        assert!(["1", "2"].contains(&&*resolved(&["taskset", "-c", &two], SITE)));
    }
    // And they are started.
    let server = Setup::new(&automatic).under(&["taskset", "-c", &one]).start();
    server.wait_ready(SOON, "worker", 1);
    assert_eq!(workers(&server), (1, 1));
}

/// A control group of the test's own with at most so much of a CPU; `None` where it cannot be made.
struct CpuGroup(PathBuf);

impl CpuGroup {
    fn new(quota_us: u32) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("hatchery-test-{}", std::process::id());
        let path_of = |controller: &str| {
            groups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let controllers = fields.next()?;
                let found = controllers.split(',').any(|found| found == controller);
                found.then(|| fields.next()).flatten().map(|path| path.trim_start_matches('/').to_owned())
            })
        };
        let (parent, file, text) = match path_of("cpu") {
            Some(path) => {
                (PathBuf::from("/sys/fs/cgroup/cpu").join(path), "cpu.cfs_quota_us", quota_us.to_string())
            }
            None => {
                let path = PathBuf::from("/sys/fs/cgroup").join(path_of("")?);
                (path, "cpu.max", format!("{quota_us} 100000"))
            }
        };
        let group = Self(parent.join(name));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(file), text).ok()?;
        Some(group)
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn a_quota_of_the_control_group_counts() {
    if usable_cpus().len() < 2 {
        eprintln!("nothing to test: one CPU is all there is");
        return;
    }
    let Some(group) = CpuGroup::new(100_000) else {
        eprintln!("nothing to test: no right to make a control group with a quota");
        return;
    };
    let script = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.0.display());
    assert_eq!(resolved(&["sh", "-c", &script], SITE), "1");
}

/// An app whose import waits until somebody opens `gate`; each import leaves a letter in a file.
fn gated(app: &str) -> (Setup, Gate) {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", {app})}},"#
    ));
    setup.directory.write(
        "site_of_test.py",
        "open('imports', 'a').write('x')\nopen('gate').read()\n\
         def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'awake']\n",
    );
    let gate = Gate::new(&setup.directory, "gate");
    (setup.env("PATH", "/usr/bin:/bin"), gate)
}

#[test]
fn a_request_waits_for_an_app_that_wakes_but_not_for_ever() {
    let (setup, gate) = gated("processes: (min: 0, max: 1), queue_timeout: \"300ms\"");
    let server = setup.start();
    for _ in 0..3 {
        let refused = get(server.address, "/");
        assert_eq!(refused.status, 503);
        assert!(
            refused.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()),
            "{refused:?}"
        );
    }
    // Its import ends now.
    gate.open();
    wait_until(SOON, "it is awake", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200 && reply.text() == "awake", reply)
    });
    let imports = std::fs::read_to_string(server.directory().path().join("imports")).unwrap();
    assert_eq!(imports, "x", "one boot for all requests");
}

#[test]
fn a_request_that_wakes_an_app_is_held_and_answered() {
    let (setup, gate) = gated("processes: (min: 0, max: 1)");
    let server = setup.start();
    let mut held: Vec<_> = (0..5).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut held {
        connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    wait_until(SOON, "it boots", || {
        let pool = server.pool("site");
        holds(pool.children.iter().any(|child| child.state == "booting"), pool)
    });
    gate.open();
    for connection in &mut held {
        let reply = connection.reply("GET").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "awake"));
    }
    let imports = std::fs::read_to_string(server.directory().path().join("imports")).unwrap();
    assert_eq!(imports, "x", "one boot for all requests");
}

#[test]
fn an_app_that_does_not_boot_is_not_booted_once_per_request() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", processes: (min: 0, max: 4))},"#,
    );
    setup.directory.write("site_of_test.py", "open('imports', 'a').write('x')\nraise RuntimeError('no')\n");
    let server = setup.env("PATH", "/usr/bin:/bin").start().tolerant(&["site"]);
    for _ in 0..200 {
        assert_eq!(get(server.address, "/").status, 503);
    }
    let imports = std::fs::read_to_string(server.directory().path().join("imports")).unwrap().len();
    // The pauses double from a tenth of a second: even on a machine that is a hundred times slower, far fewer.
    assert!((1..=20).contains(&imports), "{imports} boots");
    // The last request may just have asked for another attempt.
    let pool = wait_until(SOON, "it has failed", || {
        let pool = server.pool("site");
        if pool.state == "failed" { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert!(pool.last_exit.is_some_and(|exit| exit.contains("RuntimeError: no")));
}

#[test]
fn check_refuses_numbers_that_cannot_be() {
    for (processes, reason) in [
        ("0", "at least 1 process is needed"),
        ("(min: 3, max: 2)", "min 3 is more than max 2"),
        ("\"many\"", "expected a number, \"auto\" or (min: N, max: N)"),
    ] {
        let setup = Setup::new(&format!("    workers: (processes: {processes}),\n{SITE}"));
        let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
        assert!(checked.code == Some(2) && checked.stderr.contains(reason), "{checked:?}");
    }
}

#[test]
fn a_size_that_was_asked_for_holds_until_the_next_reload() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", processes: 2)},"#,
    );
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    server.wait_ready(SOON, "plain", 2);
    for count in [3, 1] {
        let said = server.command(&["scale", "plain", &count.to_string()]);
        assert!(said.code == Some(0) && said.stdout.contains("until the next reload"), "{said:?}");
        server.wait_ready(SOON, "plain", count);
    }
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(server.pool("plain").processes, (2, 2));
    server.wait_ready(SOON, "plain", 2);
}
