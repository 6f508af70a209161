//! An app that has been taken over, or a process of its user: what it says to the master, and who may speak to it.

use crate::harness::{Connection, Gate, SOON, Server, Setup, get, hatchery, holds, wait_until};

/// An app of two threads that does what the path says.
const APP: &str = r#"
import gc, os
def host():
    return next(one for one in gc.get_objects() if type(one).__name__ == "Host")
def flood():
    data = b"\0\0\0\0\x09\0\0\0\0\0\0\0" * 300  # HEAD, which is for workers
    try:
        for _ in range(1000):
            os.write(host().tells.fileno(), data)
    except OSError:
        pass
def application(environ, start_response):
    start_response("200 OK", [])
    what = environ["PATH_INFO"]
    if what == "/mute":
        host().tells.close()
    elif what == "/deaf":
        ours = host()
        ours.poll.unregister(ours.hears.fileno())
        ours.hears.close()
    elif what == "/flood":
        flood()
    elif what == "/garbage":
        os.write(host().tells.fileno(), b"\xff" * 100)
    elif what == "/die":
        os._exit(7)
    elif what == "/wait":
        open("gate").read()
    return [b"process %d" % os.getpid()]
"#;

fn setup(more: &str) -> Setup {
    let setup = Setup::new(&format!(
        "    workers: (processes: 1),\n    \
         sites: [(listen: [\"{{address}}\"], locations: [(path: \"/\", to: App(\"shop\"))])],\n    \
         apps: {{\"shop\": (module: \"shop\", chdir: \"{{dir}}\", processes: 1, threads: 2{more})}},"
    ));
    setup.directory.write("shop.py", APP);
    setup
}

fn pid(server: &Server) -> u32 {
    get(server.address, "/").text().strip_prefix("process ").unwrap().parse().unwrap()
}

#[test]
fn a_process_that_closes_its_control_channel_is_replaced_and_finishes_what_it_has() {
    for how in ["/mute", "/deaf"] {
        let server = setup("").start();
        let gate = Gate::new(server.directory(), "gate");
        let first = pid(&server);
        let mut waiting = Connection::open(server.address).unwrap();
        waiting.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(get(server.address, how).text(), format!("process {first}"));
        let line = server.wait_log("closed its control channel while it ran");
        assert!(line.contains("WARN") && line.contains("app shop 0 closed"), "{line}");
        let next = wait_until(SOON, "another process serves", || {
            let next = pid(&server);
            holds(next != first, server.log()).map(|()| next)
        });
        gate.open();
        assert_eq!(
            waiting.reply("GET").unwrap().text(),
            format!("process {first}"),
            "it finishes what it has"
        );
        wait_until(SOON, "the first process is gone", || {
            let pool = server.pool("shop");
            holds(pool.children.len() == 1 && pool.children[0].pid == next, &pool)
        });
        let pool = server.pool("shop");
        assert_eq!(pool.last_exit.as_deref(), Some("closed its control channel while it ran"), "{pool:?}");
        assert!(
            pool.restarts == 1 && server.command(&["status"]).stdout.contains("closed its control"),
            "{pool:?}"
        );
    }
}

#[test]
fn what_is_no_message_for_the_master_costs_a_process_its_place_and_the_log_one_line() {
    for how in ["/flood", "/garbage"] {
        let server = setup("").start();
        let first = pid(&server);
        get(server.address, how);
        wait_until(SOON, "another process serves", || holds(pid(&server) != first, server.log()));
        server.wait_log("app shop 0 sent what is no message over its control channel");
        let lines: Vec<_> = server
            .log()
            .into_iter()
            .filter(|line| line.contains(" hatchery: app shop") && line.contains("WARN"))
            .collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}

#[test]
fn a_process_that_ends_is_told_by_its_end() {
    let server = setup("").start().tolerant(&["connection closed before a response"]);
    for round in 0..3 {
        let first = pid(&server);
        assert_eq!(get(server.address, "/die").status, 502);
        // A request meanwhile would find its other thread unreachable, and be told of first.
        wait_until(SOON, "its end is told", || {
            let told = server.log().iter().filter(|line| line.contains("app shop died: exit 7")).count();
            holds(told > round, told)
        });
        wait_until(SOON, "another process serves", || {
            let reply = get(server.address, "/");
            holds(reply.status == 200 && reply.text() != format!("process {first}"), reply)
        });
    }
    let log = server.log().join("\n");
    assert!(log.contains("app shop died: exit 7") && !log.contains("control channel"), "{log}");
}

#[test]
fn an_app_that_closes_its_channel_before_it_is_ready_has_failed() {
    let mut setup = setup(", boot_timeout: \"60s\"");
    let code = format!("{APP}\nimport time\nhost().tells.close()\ntime.sleep(1000)\n");
    setup.directory.write("shop.py", code);
    let ended = setup.run_to_end();
    assert!(
        ended.code == Some(1) && ended.stderr.contains("app shop: closed its control channel"),
        "{ended:?}"
    );
}

#[test]
fn a_template_that_closes_its_channel_is_replaced_and_its_processes_go_on() {
    let setup = setup(", preload: true");
    let code = format!(
        "{APP}\nimport signal\n\
         found = [one for one in gc.get_objects() if type(one).__name__ == \"Template\"]\n\
         def close(*_):\n    found[0].tells.close()\n\
         if not os.path.exists(\"closed\"):\n    open(\"closed\", \"w\").close()\n    \
         signal.signal(signal.SIGALRM, close)\n    signal.setitimer(signal.ITIMER_REAL, 1)\n"
    );
    setup.directory.write("shop.py", code);
    let server = setup.start();
    let first = pid(&server);
    server.wait_log("its template is lost: closed its control channel while it ran");
    wait_until(SOON, "there is another template", || {
        let templates = server.pool("shop").templates;
        let whole = templates.len() == 1 && templates[0].state == "ready" && templates[0].restarts == 1;
        holds(whole, &templates)
    });
    assert_eq!(pid(&server), first);
}

/// Speaks frames to the socket of an app as a worker does, and says what came back. In Python, to be run as any user.
const STRANGER: &str = r#"
import socket, struct, sys
def frame(kind, flags, payload, stream=1):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, stream) + payload
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(30)
try:
    stream.connect(sys.argv[1])
    environ = b"\0".join([b"REQUEST_METHOD", b"GET", b"PATH_INFO", b"/", b"REMOTE_USER", b"root", b""])
    stream.sendall(frame(1, 0, struct.pack("<IHH", 1, 0, 0), 0) + frame(4, 1, environ))
    print("answered" if stream.recv(100) else "closed")
except ConnectionResetError:
    print("closed")
except OSError as error:
    print(type(error).__name__)
"#;

fn sockets(server: &Server) -> Vec<std::path::PathBuf> {
    let directories = server.runtime_directories();
    let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}

fn stranger(server: &Server) -> String {
    let socket = sockets(server).pop().expect("the socket of a process");
    let output = std::process::Command::new("python3").args(["-c", STRANGER]).arg(socket).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn nobody_but_a_worker_speaks_to_a_process_of_an_app() {
    for more in ["", ", preload: true"] {
        let setup = setup(&format!("{more}, ready: (path: \"/\")"));
        setup.directory.write("shop.py", format!("{APP}\nassert True\n"));
        let server = setup.start();
        let first = pid(&server);
        // The same user as workers, app and master: nothing but the number of the process tells it from them.
        assert_eq!(stranger(&server), "closed");
        let line = server.wait_log("which is no worker");
        assert!(line.contains("app shop 0: refused: process "), "{line}");
        assert_eq!(pid(&server), first, "it serves workers as before");
        // Workers that come later are known, and those that have gone are not in the way.
        let worker = server.ready("worker")[0];
        server.kill_and_wait("worker", worker, 1);
        assert_eq!(pid(&server), first);
        assert_eq!(server.command(&["restart", "workers"]).code, Some(0));
        assert_eq!(pid(&server), first);
        assert_eq!(server.command(&["restart", "shop"]).code, Some(0));
        assert_ne!(pid(&server), first);
        assert_eq!(stranger(&server), "closed");
        server.hang_up();
        get(server.address, "/");
        // An upgrade keeps the processes of the app, the master's number, and makes new workers.
        let before = pid(&server);
        let old = server.ready("worker")[0];
        server.master.signal(nix::sys::signal::Signal::SIGUSR2);
        wait_until(SOON, "the new program's worker serves", || {
            let ready = server.ready("worker");
            holds(ready.len() == 1 && ready[0] != old, server.log())
        });
        assert_eq!(pid(&server), before);
        assert_eq!(stranger(&server), "closed");
    }
}

#[test]
fn a_worker_speaks_to_nobody_but_a_process_of_the_master() {
    let server = setup("").start().tolerant(&["app shop"]);
    let socket = sockets(&server).pop().unwrap();
    std::fs::remove_file(&socket).unwrap();
    let impostor = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    std::fs::set_permissions(&socket, mode).unwrap();
    impostor.set_nonblocking(true).unwrap();
    // The request goes to another process, and this one, which cannot be reached, is replaced.
    assert_eq!(get(server.address, "/").status, 200);
    server.wait_log("what listens on the socket of the process is not the master's; its process is replaced");
    let (stream, _) = impostor.accept().expect("the worker has tried");
    stream.set_nonblocking(false).unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut &stream, &mut said).unwrap();
    assert!(said.is_empty(), "it has said something to a stranger: {said:?}");
}

#[test]
fn a_root_master_warns_of_one_user_for_workers_and_apps_once() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("nothing to test: only root can run workers and apps as other users");
        return;
    }
    let warned = |user: &str, more: &str| {
        let setup = setup(more);
        let text = std::fs::read_to_string(setup.directory.path().join("hatchery.ron")).unwrap();
        setup.directory.write("hatchery.ron", text.replacen('(', &format!("({user}"), 1));
        let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]).stderr;
        let server = setup.env("PATH", "/usr/bin:/bin").start();
        let texts = ["runs as the user of the workers, `nobody`", "as root without `user`"];
        let lines = server.log().join("\n") + &checked;
        texts.map(|text| lines.matches(text).count())
    };
    assert_eq!(warned("user: \"nobody\",", ""), [2, 0], "by the check and at the start");
    assert_eq!(warned("user: \"nobody\",", ", user: \"daemon\""), [0, 0]);
    assert_eq!(warned("", ""), [0, 2]);
}

/// Fills its stream for ever with frames that bring the client nothing, faster than they are read.
const FLOOD: &str = r#"
import socket, struct

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    response = start_response.__self__
    response.stream.socket.sendall(response.head_frame())
    response.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    empty = struct.pack("<IBBHI", 0, 5, 0, 0, response.number) * 400000
    while True:
        response.stream.socket.sendall(empty)
"#;

#[test]
fn frames_without_a_body_hold_nobody_else() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1), shutdown_timeout: "1s",
    sites: [(listen: ["{address}"], locations: [
        (path: "/ok", to: Respond(status: 200, body: "ok")), (path: "/", to: App("flood")),
    ])],
    apps: {"flood": (module: "flood", chdir: "{dir}/app", home: "{venv}", processes: 2, timeout: "5m")},"#,
    );
    setup.directory.write("app/flood.py", FLOOD);
    let server = setup.start();
    // One is waited for, and one is not any more.
    let mut waits = Connection::open(server.address).unwrap();
    waits.send("GET /one HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(waits.reply_head().unwrap().status, 200);
    let mut leaves = Connection::open(server.address).unwrap();
    leaves.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(leaves.reply_head().unwrap().status, 200);
    drop(leaves);
    for _ in 0..20 {
        assert_eq!(get(server.address, "/ok").text(), "ok");
    }
}
