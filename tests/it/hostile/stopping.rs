//! Processes that do not die. A process that is traced (ptrace(2)) is not reaped by its parent before its tracer has taken
//! note of its end, so that one that traces and does nothing keeps it for as long as it likes.

use crate::deaths::hang;
use crate::harness::{Load, Process, SOON, Setup, get, holds, wait_until};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

/// `trace(pid)` attaches the caller to a process; `keep()` has an orphan do so to the caller, and says which process that
/// is. Run as a program it does that and waits.
const TRACE: &str = r#"
import ctypes, os, signal, sys, time

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, SET_PTRACER, ANY = 0x4206, 0x59616d61, ctypes.c_ulong(-1)

def trace(pid):
    return "0" if libc.ptrace(SEIZE, pid, None, None) == 0 else os.strerror(ctypes.get_errno())

def keep():
    libc.prctl(SET_PTRACER, ANY, 0, 0, 0)
    pid, (read, write), (wait, go) = os.getpid(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os.setsid()
            # A traced process would stop at the signal of the child that ends.
            os.read(wait, 1)
            os.write(write, "{} {}".format(os.getpid(), trace(pid)).encode())
            while True:
                signal.pause()
        os._exit(0)
    os.waitpid(child, 0)
    os.write(go, b"x")
    return os.read(read, 100)

def application(environ, start_response):
    start_response("200 OK", [])
    return [keep() if environ["PATH_INFO"] == "/keep" else b"here"]

if __name__ == "__main__":
    if sys.argv[1:]:
        print(trace(int(sys.argv[1])), flush=True)
    else:
        with open("kept", "wb") as file:
            file.write(keep())
        os.rename("kept", "kept.pid")
    while True:
        signal.pause()
"#;

/// A process that must not outlive the test, however that ends.
struct Ended(Process);

impl Ended {
    fn now(&self) {
        if self.0.is_alive() {
            self.0.signal(Signal::SIGKILL);
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.now();
    }
}

/// What `keep` says: the tracer, or why it could not.
fn tracer(said: &str) -> Ended {
    let (pid, result) = said.split_once(' ').expect(said);
    assert_eq!(result, "0", "an orphan may trace who has started it");
    Ended(Process::of(pid.parse().unwrap()).expect("it waits"))
}

#[test]
fn a_stop_leaves_behind_what_its_tracer_does_not_let_go() {
    let setup = Setup::new(
        r#"
    shutdown_timeout: "1s",
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("traced"))])],
    apps: {"traced": (module: "trace", chdir: "{dir}", home: "{venv}", processes: 1)},
    cron: [(name: "run", at: "@yearly", command: ["{venv}/bin/python", "trace.py"], chdir: "{dir}")],"#,
    );
    setup.directory.write("trace.py", TRACE);
    let server = setup.start();
    let mut server = server.tolerant(&["does not die", "left behind"]);
    let first = tracer(&get(server.address, "/keep").text());
    assert_eq!(server.command(&["cron", "run", "run"]).code, Some(0));
    let second = wait_until(SOON, "the run is traced", || {
        std::fs::read_to_string(server.directory().path().join("kept.pid")).map_err(|error| error.to_string())
    });
    let second = tracer(&second);
    let (app, run) = (server.ready("traced")[0].pid, server.job("run").running[0]);
    let stopped = server.command(&["stop"]);
    let told = format!(
        "hatchery: stopped, but for what does not die: app traced 0 (process {app}), cron run (process {run})"
    );
    assert_eq!((stopped.code, stopped.stderr.trim_end()), (Some(1), &*told));
    for (name, pid, by) in [("app traced 0", app, &first), ("cron run", run, &second)] {
        let by = by.0.pid;
        let said = format!(
            "left behind: {name} (process {pid}), which does not die: process {by} traces it (ptrace) and must let go of it"
        );
        server.wait_log(&said);
    }
    first.now();
    second.now();
    assert_eq!(server.wait_end(), Some(1), "not all is done");
}

#[test]
fn a_worker_that_outlives_kill_gets_a_replacement() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#,
    );
    let server = setup.start().tolerant(&["hangs in one turn of its loop", "does not die"]);
    let workers = server.wait_ready(SOON, "worker", 2);
    let load = Load::start(server.address, 16, &["/"]);
    load.wait_for(100);
    hang(workers[0]);
    let script = server.directory().write("trace.py", TRACE);
    let mut command = Command::new(crate::harness::virtualenv().join("bin/python"));
    command.arg(script).arg(workers[0].pid.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let tracer = Ended(Process::of(child.id()).expect("it runs"));
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut said)
        .unwrap();
    assert_eq!(said, "0\n", "it is traced");
    // Ten seconds, three looks of the master, ABRT, KILL, five seconds.
    let pool = wait_until(SOON * 3, "another one is in its place", || {
        let ready = server.ready("worker");
        let pool = server.pool("worker");
        let whole = ready.len() == 2 && !ready.contains(&workers[0]);
        if whole { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    load.finish();
    let shown = |pool: &hatchery::control::command::PoolStatus| {
        pool.unkillable.iter().map(|process| (process.pid, process.reason.clone())).collect::<Vec<_>>()
    };
    let why = format!("process {} traces it (ptrace) and must let go of it first", tracer.0.pid);
    assert_eq!(shown(&pool), [(workers[0].pid, why)]);
    assert_eq!(pool.restarts, 1);
    let table = server.command(&["status", "-v"]).stdout;
    assert!(table.contains("does not die since "), "{table}");
    assert_eq!(get(server.address, "/").text(), "here");
    // The next program knows of it, too.
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("upgrade: generation 2 serves");
    assert_eq!(shown(&server.pool("worker")), shown(&pool));
    tracer.now();
    child.wait().unwrap();
    wait_until(SOON, "it is reaped", || {
        let pool = server.pool("worker");
        holds(pool.unkillable.is_empty(), &pool)
    });
    server.wait_log("which did not die, has ended: killed by SIGKILL");
    assert_eq!(server.master.zombies(), [0; 0]);
}
