//! Upstreams that speak FastCGI: php-fpm, and servers that only say so.

use crate::harness::http2::Client;
use crate::harness::{
    Connection, Directory, Process, SOON, Server, Setup, Upstream, assert_bodies_arrive_whole, get, php_fpm,
    wait_until,
};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// php-fpm with a site, ended with the test.
struct Php {
    child: Child,
    directory: Directory,
}

const SCRIPTS: [(&str, &str); 7] = [
    ("index.php", "<?php header('X-Pid: ' . getmypid()); echo json_encode($_SERVER);"),
    (
        "echo.php",
        "<?php $in = file_get_contents('php://input');
        echo json_encode(['length' => strlen($in), 'sha256' => hash('sha256', $in)]);",
    ),
    (
        "big.php",
        "<?php if (isset($_GET['length'])) header('Content-Length: ' . $_GET['size']);
        for ($i = 0; $i < $_GET['size']; $i += 1000) echo str_repeat('x', min(1000, $_GET['size'] - $i));",
    ),
    ("tea.php", "<?php http_response_code(418); header('X-A: 1'); header('X-A: 2', false); echo 'tea';"),
    ("log.php", "<?php error_log('the script complains'); echo 'ok';"),
    ("upload.jpg", "an upload <?php echo 'was run';"),
    ("sub/index.php", "<?php echo 'sub ' . $_SERVER['SCRIPT_NAME'];"),
];

impl Php {
    fn start() -> Self {
        Self::start_with(&[], "")
    }

    fn start_with(arguments: &[&str], pool: &str) -> Self {
        let directory = Directory::new();
        for (name, text) in SCRIPTS {
            directory.write(format!("www/{name}"), text);
        }
        let dir = directory.path().display();
        let pool = format!(
            "[global]\nerror_log = {dir}/fpm.log\n[www]\nlisten = {dir}/s\nlisten.mode = 0666\nuser = nobody\n\
             pm = static\npm.max_children = 2\nphp_admin_flag[log_errors] = on\n{pool}\n"
        );
        let configuration = directory.write("fpm.conf", pool);
        let mut command = Command::new(php_fpm());
        command.args(["-n", "--nodaemonize", "--fpm-config"]).arg(configuration).stdin(Stdio::null());
        command.args(arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let php = Self { child, directory };
        wait_until(SOON, "php-fpm listens", || {
            UnixStream::connect(php.directory.path().join("s")).map_err(|error| error.to_string())
        });
        php
    }

    fn front(&self, keys: &str) -> Server {
        let dir = self.directory.path().display();
        front(&format!("servers: [\"unix:{dir}/s\"], root: \"{dir}/www\", {keys}"))
    }
}

impl Drop for Php {
    fn drop(&mut self) {
        // Killed it would leave its processes.
        if let Some(process) = Process::of(self.child.id()) {
            process.signal(Signal::SIGTERM);
        }
        self.child.wait().unwrap();
    }
}

fn front(upstream: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], max_body: "100MiB", locations: [(path: "/", to: Proxy("site"))])],
    upstreams: {{"site": (protocol: FastCgi, {upstream})}},"#
    ))
    .start()
}

#[test]
fn php_is_told_what_it_needs() {
    let php = Php::start();
    let server = php.front("");
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Host", "shop.example:81"), ("Cookie", "a=1"), ("X_Under", "1"), ("Proxy", "x")];
    let told = connection.request("GET", "/index.php/caf%C3%A9?q=%20", &fields, b"").unwrap().json();
    let root = php.directory.path().join("www").display().to_string();
    for (name, value) in [
        ("SCRIPT_NAME", "/index.php"),
        ("PATH_INFO", "/café"),
        ("PHP_SELF", "/index.php/café"),
        ("SCRIPT_FILENAME", &format!("{root}/index.php")),
        ("DOCUMENT_ROOT", &root),
        ("QUERY_STRING", "q=%20"),
        ("REQUEST_URI", "/index.php/caf%C3%A9?q=%20"),
        ("SERVER_NAME", "shop.example"),
        ("SERVER_PORT", "81"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_COOKIE", "a=1"),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
    assert!(told.get("HTTP_X_UNDER").is_none() && told.get("HTTP_PROXY").is_none(), "{told}");
    for (path, status, text) in [
        ("/sub/", 200, "sub /sub/index.php"),
        ("/tea.php", 418, "tea"),
        ("/none.php", 404, "File not found.\n"),
    ] {
        let reply = connection.get(path).unwrap();
        assert_eq!((reply.status, reply.text()), (status, text.to_owned()), "{path}");
    }
    assert_eq!(connection.get("/tea.php").unwrap().all("x-a"), ["1", "2"]);
    let answer = Client::open(server.address, &[]).unwrap().get("/").unwrap();
    assert!(answer.text().contains(r#""SERVER_PROTOCOL":"HTTP\/2.0""#), "{answer:?}");
}

#[test]
fn what_is_no_script_is_never_run() {
    let php = Php::start();
    let server = php.front("");
    for (path, status) in [
        ("/upload.jpg", 404),
        // PHP looks for a script in these, and by its defaults runs only what is named so.
        ("/upload.jpg/", 403),
        ("/upload.jpg/x.php", 403),
        ("/x/..%2fupload.jpg%2fx.php", 403),
        ("/upload.jpg/a/b.php/c", 403),
    ] {
        let reply = get(server.address, path);
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    server.wait_log("the path names no script");
    // The other way to be safe: it does not look.
    let strict = Php::start_with(&["-d", "cgi.fix_pathinfo=0"], "security.limit_extensions =");
    let server = strict.front("");
    for path in ["/upload.jpg/x.php", "/upload.jpg"] {
        assert_eq!(get(server.address, path).status, 404, "{path}");
    }
    assert_eq!(get(server.address, "/index.php/more").json()["PATH_INFO"], "/more");
    let all = php.front("index: \"/index.php\"");
    for path in ["/upload.jpg", "/2024/hello"] {
        let told = get(all.address, path).json();
        assert_eq!(
            (&told["SCRIPT_NAME"], &told["REQUEST_URI"]),
            (&"/index.php".into(), &path.into()),
            "{told}"
        );
    }
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let php = Php::start();
    let server = php.front("keepalive: 1");
    let mut connection = Connection::open(server.address).unwrap();
    assert_bodies_arrive_whole(&mut connection, ".php", &[0, 1, 65_528, 65_529, 3 << 20]);
}

#[test]
fn a_kept_connection_keeps_its_process_and_none_is_kept_unasked() {
    let php = Php::start();
    let kept = php.front("keepalive: 1");
    let pid = |server: &Server| get(server.address, "/").field("x-pid").unwrap().to_owned();
    let first = pid(&kept);
    (0..10).for_each(|_| assert_eq!(pid(&kept), first));
    // One of the two processes is that connection's.
    let other = php.front("");
    let second = pid(&other);
    (0..10).for_each(|_| assert_eq!(pid(&other), second));
    assert_ne!(first, second);
}

#[test]
fn what_a_script_complains_of_is_in_the_log() {
    let php = Php::start();
    let server = php.front("");
    assert_eq!(get(server.address, "/log.php").text(), "ok");
    let line = server.wait_log("the script complains");
    assert!(line.contains("upstream site: unix:") && line.contains("PHP message"), "{line}");
}

#[test]
fn a_server_that_is_not_there_is_502() {
    let php = Php::start();
    let server = php.front("").tolerant(&["upstream site", "proxy site"]);
    drop(php);
    assert_eq!(get(server.address, "/index.php").status, 502);
}

// ---- servers that are none ----------------------------------------------------------------------------------------------

/// Reads a record; its kind and length.
fn record(stream: &mut TcpStream) -> Option<(u8, u16)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let length = u16::from_be_bytes([header[4], header[5]]);
    stream.read_exact(&mut vec![0; usize::from(length) + usize::from(header[6])]).ok()?;
    Some((header[1], length))
}

/// Takes a request with its body.
fn take(stream: &mut TcpStream) -> Option<()> {
    while record(stream)? != (5, 0) {}
    Some(())
}

fn say(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
}

fn end(status: u8) -> Vec<u8> {
    say(3, &[0, 0, 0, 0, status, 0, 0, 0])
}

fn ok() -> Vec<u8> {
    [say(6, b"Content-Type: text/plain\n\nok"), end(0)].concat()
}

fn front_of(upstreams: &[&Upstream]) -> Server {
    let servers: Vec<String> = upstreams.iter().map(|server| format!("\"{}\"", server.address)).collect();
    front(&format!("keepalive: 4, servers: [{}]", servers.join(", ")))
        .tolerant(&["upstream site", "proxy site"])
}

#[test]
fn liars_are_found_out() {
    for (bytes, status, why) in [
        (Vec::new(), 502, "connection closed before a response"),
        (vec![1, 6, 0], 502, "connection closed in the middle of the response"),
        (say(6, b"Content-Type: text"), 502, "connection closed in the middle of the response"),
        (b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 502, "malformed response"),
        (b"\x02\x06\0\x01\0\0\0\0".to_vec(), 502, "malformed response"),
        ([say(6, b"Status: 101 Up\n\n"), end(0)].concat(), 502, "malformed response"),
        (end(0), 502, "malformed response"),
        (say(6, &[b'x'; 60_000]).repeat(2), 502, "response head too large"),
        (end(1), 503, "the server takes no more requests"),
    ] {
        let liar = Upstream::raw(move |_, mut stream| {
            while take(&mut stream).is_some() && stream.write_all(&bytes).is_ok() && bytes == end(1) {}
        });
        let server = front_of(&[&liar]);
        assert_eq!(get(server.address, "/").status, status, "{why}");
        server.wait_log(why);
    }
    for bytes in [say(6, b"X: y\n\nshort"), [say(6, b"Content-Length: 9\n\nshort"), end(0)].concat()] {
        let liar = Upstream::raw(move |_, mut stream| {
            take(&mut stream);
            drop(stream.write_all(&bytes));
        });
        let server = front_of(&[&liar]);
        let broken = Connection::open(server.address).unwrap().get("/");
        assert!(broken.is_err(), "a response that was cut off looks whole: {broken:?}");
    }
}

#[test]
fn a_server_that_is_overloaded_is_passed_over() {
    let busy = Upstream::raw(
        |_, mut stream| while take(&mut stream).is_some() && stream.write_all(&end(2)).is_ok() {},
    );
    let free = Upstream::raw(
        |_, mut stream| while take(&mut stream).is_some() && stream.write_all(&ok()).is_ok() {},
    );
    let server = front_of(&[&busy, &free]);
    for _ in 0..6 {
        assert_eq!(get(server.address, "/").text(), "ok");
    }
    server.wait_log("the server takes no more requests");
}

/// A server that answers each request with these bytes; connections are counted.
fn counted(answer: Vec<u8>) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let upstream = Upstream::raw(move |_, mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        while take(&mut stream).is_some() && stream.write_all(&answer).is_ok() {}
    });
    (upstream, count)
}

#[test]
fn a_connection_is_kept_only_behind_a_clean_end() {
    for (answer, connections) in [
        (ok(), 1),
        ([ok(), b"\x01".to_vec()].concat(), 5),
        ([ok(), say(6, b"HTTP/1.1 200 OK\r\n\r\nof another")].concat(), 5),
    ] {
        let (upstream, count) = counted(answer);
        let server = front_of(&[&upstream]);
        for _ in 0..5 {
            assert_eq!(get(server.address, "/").text(), "ok");
        }
        assert_eq!(count.load(Ordering::SeqCst), connections);
    }
}

#[test]
fn one_that_is_closed_as_it_is_used_again_costs_a_get_nothing() {
    // Each connection answers once, and closes when it is asked again.
    let upstream = Upstream::raw(|_, mut stream| {
        if take(&mut stream).is_some() && stream.write_all(&ok()).is_ok() {
            take(&mut stream);
        }
    });
    let server = front_of(&[&upstream]);
    for _ in 0..6 {
        assert_eq!(get(server.address, "/").text(), "ok");
    }
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.request("POST", "/", &[], b"once").unwrap().status, 502, "it may have been seen");
}

#[test]
fn what_comes_on_the_side_is_told_even_before_the_head() {
    let (upstream, _) = counted([say(7, b"a \x1b[31mwarning\n"), ok()].concat());
    let server = front_of(&[&upstream]);
    assert_eq!(get(server.address, "/").text(), "ok");
    let line = server.wait_log("warning");
    assert!(line.contains("upstream site: 127.0.0.1:") && line.contains("a \\x1b[31mwarning"), "{line}");
}

#[test]
fn one_that_complains_for_ever_holds_nobody_else() {
    let flood = say(7, b"").repeat(8 * 1024);
    let upstream = Upstream::raw(move |_, mut stream| {
        take(&mut stream);
        while stream.write_all(&flood).is_ok() {}
    });
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/flood", to: Proxy("site")),
        (path: "/", to: Respond(status: 200, body: "free")),
    ])],
    upstreams: {{"site": (protocol: FastCgi, servers: ["{}"], health: (path: "/", every: "1s", timeout: "1s"))}},"#,
        upstream.address
    ))
    .start()
    .tolerant(&["upstream site", "proxy site"]);
    let mut flooded = Connection::open(server.address).unwrap();
    flooded.send("GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // Why depends on how fast this machine is: as its head is too large, or in want of time.
    server.wait_log("is given up until its checks pass: ");
    assert_eq!(get(server.address, "/").text(), "free");
}
