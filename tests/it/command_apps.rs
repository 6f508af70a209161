//! Apps that run by a command: real servers, started, watched, put to sleep and replaced like the others.

use crate::harness::{
    Connection, Load, Process, SOON, Server, Setup, apps, assert_bodies_arrive_whole, get, holds, php_fpm,
    virtualenv, wait_until,
};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A server in Python that answers what it has in hand: `python -c …`, on the socket that it inherits.
const THREADED: &str = r#"
import http.server, os, signal, socket, socketserver, sys, threading, time
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/slow"):
            os.write(1, b"runs %s\n" % self.path.encode())
            time.sleep(float(self.path[5:]))
        if self.path == "/exit":
            os._exit(3)
        body = ("%d %s" % (os.getpid(), self.path)).encode()
        self.send_response(200 if self.path != "/sick" else 503)
        self.send_header("Content-Length", str(len(body)))
        # In one piece: a head without its body cannot be taken back.
        self._headers_buffer.append(b"\r\n" + body)
        self.flush_headers()
    do_POST = do_GET
    def log_message(self, *_): pass
    def address_string(self): return ""
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("", 0)
server = Server(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
def leave(*_):
    print("asked to leave", flush=True)
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, leave)
print("pid", os.environ["LISTEN_PID"] == str(os.getpid()), os.environ["LISTEN_FDS"], flush=True)
server.serve_forever(poll_interval=0.01)
"#;

/// As `{port}`, which in a text of the tests is the port of the server.
const PORT: &str = "{\\u{70}ort}";

fn python() -> String {
    virtualenv().join("bin/python").display().to_string()
}

/// One app at `/`, with these keys.
fn site(keys: &str, more: &str) -> Setup {
    Setup::new(&format!(
        r#"{more}
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{"site": ({keys})}},"#
    ))
}

/// One whose command is [`THREADED`].
fn threaded(keys: &str, more: &str) -> Setup {
    let setup = site(&format!("command: [\"{}\", \"{{dir}}/server.py\"], {keys}", python()), more);
    setup.directory.write("server.py", THREADED);
    setup
}

fn pid_of(text: &str) -> u32 {
    text.split(' ').next().and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no pid: {text}"))
}

#[test]
fn gunicorn_runs_on_every_kind_of_socket() {
    let (home, plain) = (virtualenv().display().to_string(), apps().join("plain").display().to_string());
    for (words, protocol) in [
        (r#""gunicorn", "--workers", "2", "app:application""#, "http"),
        (r#""gunicorn", "--bind", "unix:{socket}", "app:application""#, "http"),
        (r#""gunicorn", "--bind", "127.0.0.1:PORT", "app:application""#, "http"),
        (
            r#""uwsgi", "--need-app", "--die-on-term", "--uwsgi-socket", "{socket}", "--wsgi-file", "app.py""#,
            "Uwsgi",
        ),
    ] {
        let protocol = if protocol == "http" { String::new() } else { format!("protocol: {protocol},") };
        let words = words.replace("PORT", PORT);
        let server =
            site(&format!(r#"command: [{words}], {protocol} home: "{home}", chdir: "{plain}""#), "").start();
        let mut connection = Connection::open(server.address).unwrap();
        let environ = connection.request("GET", "/caf%C3%A9/environ?q=%20", &[], b"").unwrap().json();
        for (name, value) in [
            ("PATH_INFO", "/caf\u{c3}\u{a9}/environ"),
            ("QUERY_STRING", "q=%20"),
            ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ("wsgi.url_scheme", "http"),
        ] {
            // By the uwsgi protocol the client is REMOTE_ADDR.
            let is_told = protocol.is_empty() || name != "HTTP_X_FORWARDED_FOR";
            assert!(!is_told || environ[name] == value, "{words}: {name}: {environ}");
        }
        assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3_000_000]);
        assert_eq!(connection.get("/hello").unwrap().text(), "hello\n", "{words}");
        assert_eq!(server.pool("site").children.len(), 1, "{words}");
    }
}

#[test]
fn node_and_php_run_so_too() {
    let script = apps().join("node_site/server.js").display().to_string();
    for env in ["", &format!(r#"env: {{"PORT": "{PORT}"}}"#), r#"env: {"SOCKET": "{socket}"}"#] {
        let server = site(&format!(r#"command: ["node", "{script}"], {env}"#), "").start();
        let told = get(server.address, "/request?a=1").json();
        assert_eq!(
            (&told["url"], &told["headers"]["x-forwarded-proto"]),
            (&"/request?a=1".into(), &"http".into())
        );
        assert_eq!(get(server.address, "/hints").interim, [103]);
    }
    let fpm = php_fpm().display().to_string();
    let keys = format!(
        r#"command: ["{fpm}", "-n", "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", "{{dir}}/fpm.conf"],
        env: {{"SOCKET": "{{socket}}"}}, protocol: FastCgi, root: "{{dir}}/blog", index: "/index.php", stop_signal: Quit"#
    );
    let setup = site(&keys, "");
    setup.directory.write("blog/index.php", "<?php echo 'index ' . $_SERVER['REQUEST_URI'];");
    let dir = setup.directory.path().display().to_string();
    let pool = format!(
        "[global]\nerror_log = {dir}/fpm.log\n[www]\nlisten = ${{SOCKET}}\nlisten.mode = 0666\npm = static\npm.max_children = 2\n\
         user = {0}\ngroup = {0}\n",
        if nix::unistd::geteuid().is_root() { "root" } else { "nobody" }
    );
    setup.directory.write("fpm.conf", pool);
    let server = setup.start();
    assert_eq!(get(server.address, "/2024/hello?a=1").text(), "index /2024/hello?a=1");
}

/// The app, the workers and the master are three users: each reaches what it must, and nobody else does.
#[test]
fn an_app_of_another_user_makes_a_socket_that_workers_reach() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let script = "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['AT'])\ns.listen()\nwhile True:\n \
                  c = s.accept()[0]\n d = c.recv(9999)\n d and c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\n%5d' % os.getuid())\n c.close()\n";
    let keys =
        r#"command: ["/usr/bin/python3", "{dir}/s.py"], env: {"AT": "{socket}"}, user: "daemon", chdir: "/""#;
    let setup = site(keys, "user: \"nobody\",");
    setup.directory.write("s.py", script);
    let server = setup.start();
    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap().uid;
    assert_eq!(get(server.address, "/").text(), format!("{daemon:>5}"));
    let runtime = server.runtime_directories();
    let rooms = runtime.iter().flat_map(|path| std::fs::read_dir(path).unwrap().flatten());
    let room = rooms.map(|entry| entry.path()).find(|path| path.is_dir()).expect("a directory of its own");
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(&room).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o7777), (daemon.as_raw(), 0o2710));
    // A process of it that ends leaves nothing behind.
    let victim = server.ready("site")[0];
    server.kill_and_wait("site", victim, 1);
    assert_eq!(get(server.address, "/").status, 200);
    wait_until(SOON, "its directory is gone", || holds(!room.exists(), &room));
}

/// What an app makes of its own directory leads workers nowhere else.
#[test]
fn a_link_in_the_place_of_its_socket_leads_nowhere() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let script = "import os, socket, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['AT'])\ns.listen()\n\
                  s.accept()\nos.unlink(os.environ['AT'])\nos.symlink(os.environ['OTHER'], os.environ['AT'])\ntime.sleep(600)\n";
    let keys = r#"command: ["/usr/bin/python3", "{dir}/s.py"], env: {"AT": "{socket}", "OTHER": "{dir}/other"}, user: "daemon", chdir: "/""#;
    let setup = site(keys, "user: \"nobody\",");
    setup.directory.write("s.py", script);
    let other = std::os::unix::net::UnixListener::bind(setup.directory.path().join("other")).unwrap();
    std::fs::set_permissions(
        setup.directory.path().join("other"),
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    let server = setup.start().tolerant(&["app site"]);
    // Whatever becomes of the request, nothing of it comes there.
    let asked = std::thread::spawn({
        let address = server.address;
        move || Connection::open(address).and_then(|mut connection| connection.get("/secret"))
    });
    let (mut came, _) = other.accept().unwrap();
    let mut said = Vec::new();
    came.read_to_end(&mut said).unwrap();
    assert_eq!(String::from_utf8_lossy(&said), "");
    drop((other, server));
    drop(asked.join());
}

#[test]
fn a_port_that_another_user_has_taken_is_no_app() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // It stands for a thief who was faster: the process gives up its user's rights only for what listens.
    let script = "import os, socket, sys, time\nif os.fork() == 0:\n os.setuid(2)\n s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n \
                  time.sleep(600)\ntime.sleep(600)\n";
    let mut setup =
        site(&format!(r#"command: ["/usr/bin/python3", "{{dir}}/s.py", "{PORT}"], boot_timeout: "20s""#), "");
    setup.directory.write("s.py", script);
    let finished = setup.run_to_end();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("is user 2, and not that of the app, 0"), "{}", finished.stderr);
}

#[test]
fn it_sleeps_wakes_and_is_told_what_it_inherits() {
    let server = threaded("processes: (min: 0, max: 2), idle: \"300ms\", prove: true", "").start();
    // It was proved, and has left.
    server.wait_log("asked to leave");
    wait_until(SOON, "it sleeps", || holds(server.pool("site").children.is_empty(), server.pool("site")));
    let first = pid_of(&get(server.address, "/a").text());
    server.wait_log("pid True 1");
    wait_until(SOON, "it sleeps", || holds(server.pool("site").children.is_empty(), server.pool("site")));
    let second = pid_of(&get(server.address, "/b").text());
    assert_ne!(first, second);
}

#[test]
fn more_requests_than_it_takes_start_another_one_and_wait() {
    let keys = "processes: (min: 1, max: 2), max_connections: 2, queue_timeout: \"1s\"";
    let server = threaded(keys, "workers: (processes: 1),").start().tolerant(&["GET /slow"]);
    let ask = |path: &'static str, count: usize| {
        let address = server.address;
        let asked = (0..count).map(|_| std::thread::spawn(move || get(address, path)));
        asked.collect::<Vec<_>>()
    };
    let replies = ask("/slow0.3", 4).into_iter().map(|asked| asked.join().unwrap());
    let pids: BTreeSet<u32> = replies.map(|reply| pid_of(&reply.text())).collect();
    assert!(!pids.is_empty() && pids.len() <= 2, "{pids:?}");
    server.wait_ready(SOON, "site", 2);
    // Two processes with two requests each, for longer than others wait.
    let busy = ask("/slow3", 4);
    wait_until(SOON, "all are busy", || {
        let reply = get(server.address, "/late");
        holds(reply.status == 503 && reply.field("retry-after").is_some(), reply)
    });
    busy.into_iter().for_each(|asked| assert_eq!(asked.join().unwrap().status, 200));
    assert_eq!(get(server.address, "/late").status, 200);
}

#[test]
fn processes_share_what_comes() {
    let server = node("processes: 3", "workers: (processes: 1),");
    server.wait_ready(SOON, "site", 3);
    let tunnels: Vec<Connection> = (0..6).map(|_| tunnel(&server)).collect();
    let mut held: Vec<Connection> = (0..3)
        .map(|_| {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert_eq!(connection.reply_head().unwrap().status, 200);
            connection
        })
        .collect();
    // Each has a third of both: one more goes to each of them, as long as it is there.
    let tunnels_of = |pid: u32| Process::of(pid).unwrap().descriptors();
    let counts: Vec<usize> = server.ready("site").iter().map(|process| tunnels_of(process.pid)).collect();
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    held.clear();
    drop(tunnels);
}

#[test]
fn a_request_that_takes_too_long_is_not_made_twice() {
    let server = threaded("timeout: \"500ms\", processes: 2", "").start().tolerant(&["GET /slow"]);
    let reply = get(server.address, "/slow3");
    assert_eq!(reply.status, 504);
    let made = server.log().iter().filter(|line| line.contains("runs /slow3")).count();
    assert_eq!(made, 1);
}

/// A server with a short queue, which it empties slowly.
#[test]
fn requests_wait_where_the_queue_of_a_server_is_full() {
    let script = "import os, socket, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(os.environ['AT'])\ns.listen(1)\nwhile True:\n \
                  c = s.accept()[0]\n d = c.recv(9999)\n d and c.sendall(b'HTTP/1.1 204 No\\r\\nConnection: close\\r\\n\\r\\n')\n \
                  c.close()\n time.sleep(0.01)\n";
    let keys = format!(r#"command: ["{}", "{{dir}}/s.py"], env: {{"AT": "{{socket}}"}}"#, python());
    let setup = site(&keys, "");
    setup.directory.write("s.py", script);
    let server = setup.start();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let address = server.address;
            std::thread::spawn(move || get(address, "/").status)
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.join().unwrap(), 204);
    }
}

#[test]
fn what_ends_is_started_again_and_who_only_reads_notices_nothing() {
    let server = threaded("processes: 2", "").start();
    server.wait_ready(SOON, "site", 2);
    let load = Load::start(server.address, 8, &["/a", "/b"]);
    load.wait_for(200);
    for _ in 0..4 {
        let victim = server.ready("site")[0];
        victim.signal(Signal::SIGKILL);
        wait_until(SOON, "it is gone", || holds(!victim.is_alive(), ()));
        load.wait_for(200);
    }
    server.wait_ready(Duration::from_secs(60), "site", 2);
    load.finish().assert_flawless();
}

#[test]
fn a_worker_that_dies_leaves_no_unit_behind() {
    let server = threaded("max_connections: 2, queue_timeout: \"60s\"", "workers: (processes: 2),").start();
    let server = server.tolerant(&["was killed", "worker"]);
    for round in 1..4 {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(b"GET /slow30 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            streams.push(stream);
        }
        wait_until(SOON, "both units are taken", || {
            let runs = server.log().iter().filter(|line| line.contains("runs /slow30")).count();
            holds(runs == 2 * round, runs)
        });
        let mut waits = Connection::open(server.address).unwrap();
        waits.send("GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        waits.socket().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(waits.socket().read(&mut [0; 1]).is_err(), "it is answered");
        drop(waits);
        let workers = server.ready("worker");
        workers.iter().for_each(|worker| worker.signal(Signal::SIGKILL));
        wait_until(SOON, "they are gone", || holds(workers.iter().all(|worker| !worker.is_alive()), ()));
        server.wait_ready(SOON, "worker", 2);
        assert_eq!(get(server.address, "/free").status, 200);
    }
}

#[test]
fn a_reload_replaces_it_and_loses_nothing() {
    let server = threaded("processes: 2", "").start();
    let before: BTreeSet<u32> = server.ready("site").iter().map(|process| process.pid).collect();
    let load = Load::start(server.address, 8, &["/a", "/slow0.05"]);
    load.wait_for(100);
    for _ in 0..3 {
        server.hang_up();
        load.wait_for(100);
    }
    load.finish().assert_flawless();
    let after: BTreeSet<u32> = server.ready("site").iter().map(|process| process.pid).collect();
    assert!(before.is_disjoint(&after), "{before:?} {after:?}");
}

#[test]
fn another_protocol_or_kind_of_app_is_another_pool() {
    let setup = threaded("processes: 1", "");
    let plain = apps().join("plain").display().to_string();
    let server = setup.start();
    let load = Load::start(server.address, 4, &["/hello"]);
    load.wait_for(100);
    let home = virtualenv().display().to_string();
    let configuration = |app: &str| {
        format!(
            r#"sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])], apps: {{"site": ({app})}},"#
        )
    };
    server.configure(&configuration(&format!(
        r#"module: "app:application", home: "{home}", chdir: "{plain}""#
    )));
    server.hang_up();
    load.wait_for(100);
    let uwsgi = format!(
        r#"command: ["uwsgi", "--need-app", "--die-on-term", "--uwsgi-socket", "{{socket}}", "--wsgi-file", "app.py"],
        protocol: Uwsgi, home: "{home}", chdir: "{plain}""#
    );
    server.configure(&configuration(&uwsgi));
    server.hang_up();
    load.wait_for(100);
    load.finish().assert_flawless();
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
}

#[test]
fn an_upgrade_of_the_server_leaves_it_alone() {
    let server = threaded("", "").start();
    let pid = pid_of(&get(server.address, "/").text());
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("upgraded");
    assert_eq!(pid_of(&get(server.address, "/").text()), pid);
    // The new program watches it like the old one.
    let victim = server.ready("site")[0];
    assert_eq!(victim.pid, pid);
    server.kill_and_wait("site", victim, 1);
    assert_ne!(pid_of(&get(server.address, "/").text()), pid);
}

// ---- what does not serve ------------------------------------------------------------------------------------------------

/// The start fails, and says this.
fn fails(keys: &str, said: &str) {
    let mut setup = site(keys, "");
    setup.directory.write("server.py", THREADED);
    let finished = setup.run_to_end();
    assert_eq!(finished.code, Some(1), "{keys}: {finished:?}");
    assert!(finished.stderr.contains(said), "{keys}: wanted {said}\n{}", finished.stderr);
}

#[test]
fn what_does_not_serve_is_told_of() {
    let server = format!("command: [\"{}\", \"{{dir}}/server.py\"]", python());
    fails(r#"command: ["/nowhere/program"]"#, "`/nowhere/program`");
    fails(r#"command: ["false"]"#, "ended before it was ready: exit 1");
    fails(
        r#"command: ["sleep", "100"], boot_timeout: "500ms""#,
        "it accepts no connection on the socket that it inherits",
    );
    fails(
        &format!(r#"command: ["sh", "-c", "sleep 100", "{PORT}"], boot_timeout: "500ms""#),
        "Connection refused",
    );
    fails(
        r#"command: ["sh", "-c", "sleep 100", "{socket}"], boot_timeout: "500ms""#,
        "No such file or directory",
    );
    fails(&format!("{server}, ready: (path: \"/sick\")"), "not ready: GET /sick: answered 503");
    fails(
        &format!("{server}, ready: (path: \"/slow9\", timeout: \"300ms\")"),
        "GET /slow9 got no answer within 300ms",
    );
    let good = site(&format!("{server}, ready: (path: \"/well\")"), "");
    good.directory.write("server.py", THREADED);
    assert_eq!(get(good.start().address, "/").status, 200);
}

#[test]
fn a_broken_new_version_keeps_the_old_one() {
    let server = threaded("boot_timeout: \"5s\"", "").start().tolerant(&["reload", "app site"]);
    let pid = pid_of(&get(server.address, "/").text());
    server.directory().write("server.py", "raise SystemExit('broken')");
    let finished = server.command(&["reload"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("broken"), "{finished:?}");
    assert_eq!(pid_of(&get(server.address, "/").text()), pid);
}

#[test]
fn it_is_asked_to_end_once_and_killed_if_it_does_not() {
    let server = threaded("stop_timeout: \"300ms\"", "").start();
    assert_eq!(get(server.address, "/").status, 200);
    let asked = || server.log().iter().filter(|line| line.contains("asked to leave")).count();
    let deaf = "signal.signal(signal.SIGTERM, lambda *_: print('stays', flush=True))";
    server.directory().write("server.py", THREADED.replace("signal.signal(signal.SIGTERM, leave)", deaf));
    assert_eq!(server.command(&["restart", "site"]).code, Some(0));
    wait_until(SOON, "the first one left", || {
        holds(server.pool("site").children.len() == 1, server.pool("site"))
    });
    assert_eq!(asked(), 1);
    assert_eq!(server.command(&["restart", "site"]).code, Some(0));
    server.wait_log("was told to end, does not, and is killed: it goes on after its stop signal");
    assert_eq!((asked(), server.log().iter().filter(|line| line.contains(": stays")).count()), (1, 1));
}

// ---- tunnels ------------------------------------------------------------------------------------------------------------

/// A client that has its 101, from node or the like.
fn tunnel(server: &Server) -> Connection {
    let mut connection = Connection::open(server.address).unwrap();
    connection
        .send("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 101);
    echoes(&mut connection, "hello");
    connection
}

#[track_caller]
fn echoes(connection: &mut Connection, text: &str) {
    let mut echoed = Vec::new();
    connection.exactly(text.len(), &mut echoed).unwrap();
    assert_eq!(String::from_utf8_lossy(&echoed), text);
}

fn node(keys: &str, more: &str) -> Server {
    let script = apps().join("node_site/server.js").display().to_string();
    site(&format!("command: [\"node\", \"{script}\"], {keys}"), more).start()
}

#[test]
fn tunnels_take_no_unit_and_keep_it_awake() {
    let script = apps().join("node_site/server.js").display().to_string();
    let app = format!("command: [\"node\", \"{script}\"], processes: (min: 0, max: 1), idle: \"200ms\"");
    let server = Setup::new(&format!(
        r#"workers: (processes: 2),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/", to: App("site")), (path: "/clock/", to: App("clock")),
    ])],
    apps: {{"site": ({app}, max_connections: 2), "clock": ({app})}},"#
    ))
    .start();
    let mut tunnels: Vec<Connection> = (0..8).map(|_| tunnel(&server)).collect();
    server.wait_tunnels(8);
    assert_eq!(get(server.address, "/request").status, 200);
    let pid = server.ready("site")[0].pid;
    // Another one that is idle for as long falls asleep meanwhile, several times.
    for _ in 0..3 {
        get(server.address, "/clock/");
        wait_until(SOON, "the clock sleeps", || {
            holds(server.pool("clock").children.is_empty(), server.pool("clock"))
        });
    }
    assert_eq!(server.ready("site")[0].pid, pid, "it is the same process");
    for tunnel in &mut tunnels {
        tunnel.send("more").unwrap();
        echoes(tunnel, "more");
    }
    drop(tunnels);
    server.wait_tunnels(0);
    wait_until(SOON, "it sleeps", || holds(server.pool("site").children.is_empty(), server.pool("site")));
}

#[test]
fn a_worker_that_dies_with_tunnels_lets_their_process_leave() {
    let server = node("", "workers: (processes: 1), drain_timeout: \"10m\",").tolerant(&["worker"]);
    let tunnel = tunnel(&server);
    let (worker, old) = (server.ready("worker")[0], server.ready("site")[0]);
    assert_eq!(server.command(&["scale", "site", "2"]).code, Some(0));
    server.wait_ready(SOON, "site", 2);
    server.hang_up();
    wait_until(SOON, "the old one waits for its tunnel", || {
        let children = server.pool("site").children;
        holds(children.iter().any(|child| child.pid == old.pid && child.state == "draining"), children)
    });
    worker.signal(Signal::SIGKILL);
    wait_until(SOON, "it leaves", || holds(!old.is_alive(), server.pool("site")));
    drop(tunnel);
}

/// What goes no further is answered here (RFC 9110 §7.6.2).
#[test]
fn a_request_that_may_not_be_forwarded_reaches_no_process() {
    let server = node("", "");
    let mut connection = Connection::open(server.address).unwrap();
    let reply = connection.request("OPTIONS", "/request", &[("Max-Forwards", "0")], b"").unwrap();
    assert!(reply.status < 300 && reply.field("allow").is_some(), "{reply:?}");
    let reply = connection.request("OPTIONS", "/request", &[("Max-Forwards", "1")], b"").unwrap();
    assert_eq!(reply.json()["headers"]["max-forwards"], "0");
}

#[test]
fn a_process_that_is_replaced_keeps_its_tunnels_until_they_end() {
    let server = node("", "drain_timeout: \"60s\",");
    let mut old = tunnel(&server);
    let before = get(server.address, "/request").json()["pid"].clone();
    server.hang_up();
    let mut new = tunnel(&server);
    assert_ne!(get(server.address, "/request").json()["pid"], before);
    for connection in [&mut old, &mut new] {
        connection.send("still").unwrap();
        echoes(connection, "still");
    }
    assert_eq!(server.pool("site").children.len(), 2);
    drop(old);
    wait_until(SOON, "it leaves", || holds(server.pool("site").children.len() == 1, server.pool("site")));
    new.send("on").unwrap();
    echoes(&mut new, "on");
}

#[test]
fn its_tunnels_end_with_drain_timeout() {
    let server = node("", "drain_timeout: \"1s\",");
    let mut old = tunnel(&server);
    server.hang_up();
    assert_eq!(old.rest().unwrap_or_default(), b"", "closed");
    wait_until(SOON, "it leaves", || holds(server.pool("site").children.len() == 1, server.pool("site")));
}

#[test]
fn websocket_over_http1_and_http2() {
    let script = apps().join("websocket_site/echo.py").display().to_string();
    let python = python();
    let keys = format!(r#"command: ["{python}", "{script}", "serve", "{PORT}"]"#);
    let server = site(&keys, "").start();
    for how in ["talk", "talk2"] {
        let mut talk = std::process::Command::new(&python);
        talk.arg(&script).args([how, &format!("ws://localhost:{}/", server.address.port())]);
        let finished = talk.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&finished.stdout), "done\n", "{how}: {finished:?}");
    }
    assert_eq!(get(server.address, "/").status, 426);
    server.wait_tunnels(0);
}
