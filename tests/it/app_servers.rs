//! The examples of `conf/` for app servers that are there: each with the real server behind it.

use crate::harness::{
    Connection, Directory, Process, SOON, Server, Setup, apps, assert_bodies_arrive_whole, get, holds,
    php_fpm, spawn, virtualenv, wait_until,
};
use nix::sys::signal::Signal;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// An app server, ended with the test.
struct AppServer(Child);

impl AppServer {
    fn start(command: &mut Command, socket: &Path) -> Self {
        let server = Self::spawn(command.stdout(Stdio::null()));
        wait_until(SOON, "it listens", || UnixStream::connect(socket).map_err(|error| error.to_string()));
        server
    }

    fn spawn(command: &mut Command) -> Self {
        let mut own = Command::new("true");
        std::mem::swap(command, &mut own);
        own.stdin(Stdio::null()).stderr(Stdio::null());
        Self(spawn(own).unwrap())
    }

    fn process(&self) -> Process {
        Process::of(self.0.id()).expect("it runs")
    }
}

impl Drop for AppServer {
    fn drop(&mut self) {
        // Killed it would leave its processes; one that was stopped hears nothing but CONT first.
        if let Some(process) = Process::of(self.0.id()) {
            process.signal(Signal::SIGCONT);
            process.signal(Signal::SIGTERM);
        }
        drop(self.0.wait());
    }
}

/// The site of an example, with other words where it names places of a real machine; each stands there.
fn example(name: &str, words: &[(&str, &str)]) -> Server {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("(\n").unwrap();
    let mut text = text.trim_end().strip_suffix(')').unwrap().to_owned();
    for (word, other) in
        [("    user: \"www-data\",\n", "    workers: (processes: 1),\n"), (":80", "{address}")]
            .iter()
            .chain(words)
    {
        assert!(text.contains(word), "{name} does not say {word}");
        text = text.replace(word, other);
    }
    Setup::new(&text).start()
}

/// The host of an example.
fn ask(server: &Server, host: &str, path: &str) -> crate::harness::Reply {
    let mut connection = Connection::open(server.address).unwrap();
    connection.request("GET", path, &[("Host", host)], b"").unwrap()
}

#[test]
fn gunicorn() {
    let directory = Directory::new();
    directory.write("static/a.css", "a {}");
    let dir = directory.path().display().to_string();
    for (number, arguments) in
        [&["--workers", "2"][..], &["--threads", "4", "--keep-alive", "5"]].iter().enumerate()
    {
        let socket = directory.path().join(number.to_string());
        let mut command = Command::new(virtualenv().join("bin/gunicorn"));
        command.args(*arguments).arg("--bind").arg(format!("unix:{}", socket.display()));
        command.arg("--chdir").arg(apps().join("plain")).arg("app:application");
        let _gunicorn = AppServer::start(&mut command, &socket);
        let server = example(
            "gunicorn.ron",
            &[
                ("/run/shop/gunicorn.sock", socket.to_str().unwrap()),
                ("/srv/shop/static", &format!("{dir}/static")),
                ("shop.example", "localhost"),
            ],
        );
        assert_eq!(get(server.address, "/static/a.css").text(), "a {}");
        let mut connection = Connection::open(server.address).unwrap();
        let fields = [("Cookie", "a=1"), ("X-Forwarded-For", "192.0.2.1"), ("Proxy", "x")];
        let environ = connection.request("GET", "/caf%C3%A9/environ?q=%20", &fields, b"").unwrap().json();
        for (name, value) in [
            ("PATH_INFO", "/caf\u{c3}\u{a9}/environ"),
            ("QUERY_STRING", "q=%20"),
            ("HTTP_HOST", "localhost"),
            ("HTTP_COOKIE", "a=1"),
            ("HTTP_X_FORWARDED_FOR", "127.0.0.1"),
            ("HTTP_X_FORWARDED_PROTO", "http"),
            ("wsgi.url_scheme", "http"),
        ] {
            assert_eq!(environ[name], value, "{name}: {environ}");
        }
        assert!(environ.get("HTTP_PROXY").is_none(), "{environ}");
        assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3_000_000]);
        // What cannot be sent twice fails as little, however soon gunicorn closes what it keeps.
        for _ in 0..200 {
            let reply = connection.request("POST", "/echo", &[], b"hello").unwrap();
            assert_eq!((reply.status, &reply.json()["length"]), (200, &5.into()));
        }
        assert_eq!(connection.get("/raise_before").unwrap().status, 500);
        assert_eq!(connection.get("/hello").unwrap().text(), "hello\n");
    }
}

/// Node, and the port that it listens on.
fn node() -> (AppServer, u16) {
    let mut command = Command::new("node");
    command.arg(apps().join("node_site/server.js")).stdout(Stdio::piped());
    let mut server = AppServer::spawn(&mut command);
    let mut line = String::new();
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
    (server, line.trim().parse().expect("Node is missing: apt install nodejs"))
}

fn in_front_of_node(directory: &Directory, ports: [u16; 2]) -> Server {
    directory.write("assets/index-BkR3x1aZ.js", "a");
    example(
        "node.ron",
        &[
            ("127.0.0.1:3000", &format!("127.0.0.1:{}", ports[0])),
            ("127.0.0.1:3001", &format!("127.0.0.1:{}", ports[1])),
            ("/srv/chat/dist/assets", directory.path().join("assets").to_str().unwrap()),
            ("chat.example", "localhost"),
        ],
    )
}

#[test]
fn node_serves_pages_and_upgrades() {
    let ((_one, first), (_two, second)) = (node(), node());
    let directory = Directory::new();
    let server = in_front_of_node(&directory, [first, second]);
    let asset = get(server.address, "/assets/index-BkR3x1aZ.js");
    assert!(asset.field("cache-control").unwrap().contains("immutable") && asset.text() == "a", "{asset:?}");
    let mut connection = Connection::open(server.address).unwrap();
    let told =
        connection.request("GET", "/request?a=%20", &[("X-Twice", "a"), ("X-Twice", "b")], b"").unwrap();
    let told = told.json();
    assert_eq!(
        (&told["url"], &told["headers"]["x-twice"]),
        (&"/request?a=%20".into(), &"a, b".into()),
        "{told}"
    );
    assert_eq!(told["headers"]["x-forwarded-for"], "127.0.0.1", "{told}");
    let mut pids: Vec<_> =
        (0..20).map(|_| get(server.address, "/request").json()["pid"].to_string()).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 2, "both are asked");
    assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3_000_000]);
    let hints = connection.get("/hints").unwrap();
    assert_eq!((hints.status, hints.interim), (200, vec![103]));
    assert_eq!(connection.get("/trailers").unwrap().text(), "a body");
    assert_eq!(connection.get("/none").unwrap().status, 404);

    let mut socket = Connection::open(server.address).unwrap();
    socket
        .send("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
        .unwrap();
    assert_eq!(socket.reply_head().unwrap().status, 101);
    let mut echoed = Vec::new();
    socket.exactly(5, &mut echoed).unwrap();
    assert_eq!(echoed, b"hello");

    // A piece of a stream is there as soon as it was sent, and its end reaches Node.
    let mut events = Connection::open(server.address).unwrap();
    events.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(events.reply_head().unwrap().field("content-type"), Some("text/event-stream"));
    let mut piece = Vec::new();
    events.exactly("d\r\ndata: first\n\n".len(), &mut piece).unwrap();
    assert_eq!(piece, b"d\r\ndata: first\n\n");
}

/// One of two processes ends: who only reads notices nothing.
#[test]
fn one_of_two_processes_of_node_may_fail() {
    let ((one, first), (two, second)) = (node(), node());
    let directory = Directory::new();
    let server = in_front_of_node(&directory, [first, second]);
    let seen = |server: &Server| get(server.address, "/request").json()["pid"].as_u64().unwrap();
    let (gone, left) = (u64::from(one.process().pid), u64::from(two.process().pid));
    wait_until(SOON, "both answer", || holds(seen(&server) == gone, "the other one"));
    one.process().signal(Signal::SIGKILL);
    for _ in 0..50 {
        assert_eq!(seen(&server), left);
    }
    let faults = || server.status().upstreams[0].faults.clone();
    let refused = wait_until(SOON, "it is counted", || {
        let faults = faults();
        holds(faults.contains_key("connect-refused"), &faults).map(|()| faults["connect-refused"])
    });
    assert!(refused < 10, "it is left alone after a few tries: {refused}");
}

#[test]
fn uwsgi() {
    let directory = Directory::new();
    directory.write("static/a.css", "a {}");
    let socket = directory.path().join("s");
    let mut command = Command::new(virtualenv().join("bin/uwsgi"));
    command.args(["--need-app", "--die-on-term", "--buffer-size", "65535", "--uwsgi-socket"]).arg(&socket);
    command.arg("--wsgi-file").arg(apps().join("plain/app.py"));
    let _uwsgi = AppServer::start(&mut command, &socket);
    let server = example(
        "uwsgi.ron",
        &[
            ("/run/shop/uwsgi.sock", socket.to_str().unwrap()),
            ("/srv/shop/static", directory.path().join("static").to_str().unwrap()),
        ],
    );
    assert_eq!(ask(&server, "shop.example", "/static/a.css").text(), "a {}");
    assert_eq!(ask(&server, "shop.example", "/hello").text(), "hello\n");
    assert_eq!(ask(&server, "other.example", "/hello").status, 421);
}

#[test]
fn php() {
    let directory = Directory::new();
    for (path, text) in [
        ("blog/index.php", "<?php echo 'index ' . $_SERVER['REQUEST_URI'];"),
        ("blog/wp-login.php", "<?php echo 'login';"),
        ("blog/wp-admin/index.php", "<?php echo 'admin';"),
        ("blog/wp-content/uploads/cat.jpg", "a cat"),
        ("blog/wp-content/uploads/evil.php", "<?php echo 'evil';"),
    ] {
        directory.write(path, text);
    }
    let (dir, socket) = (directory.path().display().to_string(), directory.path().join("s"));
    let pool = format!(
        "[global]\nerror_log = {dir}/fpm.log\n[www]\nlisten = {dir}/s\nlisten.mode = 0666\nuser = nobody\npm = static\n\
         pm.max_children = 2\n"
    );
    let mut command = Command::new(php_fpm());
    command.args(["-n", "--nodaemonize", "--fpm-config"]).arg(directory.write("fpm.conf", pool));
    let _php = AppServer::start(&mut command, &socket);
    let server = example(
        "php.ron",
        &[("/run/php/php-fpm.sock", socket.to_str().unwrap()), ("/srv/blog", &format!("{dir}/blog"))],
    );
    for (path, status, text) in [
        ("/", 200, "index /"),
        ("/2024/hello?a=1", 200, "index /2024/hello?a=1"),
        ("/wp-login.php", 200, "login"),
        ("/wp-admin/index.php", 200, "admin"),
        ("/wp-content/uploads/cat.jpg", 200, "a cat"),
        ("/wp-content/uploads/evil.php", 404, ""),
    ] {
        let reply = ask(&server, "blog.example", path);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(status != 200 || reply.text() == text, "{path}: {reply:?}");
    }
    let redirect = ask(&server, "blog.example", "/wp-admin/");
    assert_eq!((redirect.status / 100, redirect.field("location")), (3, Some("/wp-admin/index.php")));
}
