//! Upstreams that speak the uwsgi protocol: uWSGI, and servers that only say so.

use crate::harness::http2::Client;
use crate::harness::{
    Connection, Directory, SOON, Server, Setup, Upstream, apps, assert_bodies_arrive_whole, get, virtualenv,
    wait_until,
};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// One that is ended with the test.
struct Uwsgi {
    child: Child,
    directory: Directory,
}

impl Uwsgi {
    fn start() -> Self {
        let directory = Directory::new();
        let socket = directory.path().join("s");
        let mut command = Command::new(virtualenv().join("bin/uwsgi"));
        command.args(["--need-app", "--buffer-size", "65535", "--uwsgi-socket"]).arg(&socket);
        command.arg("--wsgi-file").arg(apps().join("plain/app.py")).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, directory };
        wait_until(SOON, "uWSGI listens", || UnixStream::connect(&socket).map_err(|error| error.to_string()));
        server
    }

    fn front(&self) -> Server {
        front(&format!("unix:{}/s", self.directory.path().display()))
    }
}

impl Drop for Uwsgi {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn front(address: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    limits: (head: "128KiB"),
    sites: [(listen: ["{{address}}"], max_body: "100MiB", locations: [(path: "/", to: Proxy("site"))])],
    upstreams: {{"site": (protocol: Uwsgi, servers: ["{address}"])}},"#
    ))
    .start()
}

#[test]
fn a_request_is_described_by_variables() {
    let uwsgi = Uwsgi::start();
    let server = uwsgi.front();
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [
        ("Host", "shop.example:81"),
        ("Cookie", "a=1"),
        ("X_Under", "1"),
        ("UWSGI_FILE", "/x"),
        ("Proxy", "x"),
    ];
    let environ = connection.request("GET", "/caf%C3%A9/environ?q=%20", &fields, b"").unwrap().json();
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/caf\u{c3}\u{a9}/environ"),
        ("QUERY_STRING", "q=%20"),
        ("REQUEST_URI", "/caf%C3%A9/environ?q=%20"),
        ("SERVER_NAME", "shop.example"),
        ("SERVER_PORT", "81"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_COOKIE", "a=1"),
    ] {
        assert_eq!(environ[name], value, "{name}: {environ}");
    }
    for name in ["HTTP_X_UNDER", "HTTP_PROXY", "UWSGI_FILE", "HTTP_UWSGI_FILE"] {
        assert!(environ.get(name).is_none(), "{name}: {environ}");
    }
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let uwsgi = Uwsgi::start();
    let server = uwsgi.front();
    let mut connection = Connection::open(server.address).unwrap();
    assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3 << 20]);
    assert_eq!(connection.get("/none").unwrap().status, 404);
    let reply = connection.get("/headers").unwrap();
    assert_eq!((reply.status, reply.all("set-cookie")), (204, vec!["one=1", "two=2"]));
}

/// uWSGI answers in that version.
#[test]
fn a_client_that_speaks_http_2_is_answered() {
    let uwsgi = Uwsgi::start();
    let server = uwsgi.front();
    let answer = Client::open(server.address, &[]).unwrap().get("/environ").unwrap();
    assert!(answer.text().contains(r#""SERVER_PROTOCOL": "HTTP/2.0""#), "{answer:?}");
}

#[test]
fn what_does_not_fit_into_a_packet_is_refused_and_the_log_says_why() {
    let uwsgi = Uwsgi::start();
    let server = uwsgi.front();
    // The query is in three variables.
    let path = format!("/environ?{}", "q".repeat(7_000));
    for (length, status) in [(30_000, 200), (46_000, 431)] {
        let fields = [("X", &*"x".repeat(length))];
        let mut connection = Connection::open(server.address).unwrap();
        assert_eq!(connection.request("POST", &path, &fields, b"body").unwrap().status, status, "{length}");
    }
    server.wait_log("more variables than the uwsgi protocol takes (65535 bytes)");
}

#[test]
fn a_server_that_is_not_there_is_502() {
    let uwsgi = Uwsgi::start();
    let server = uwsgi.front().tolerant(&["upstream site", "proxy site"]);
    drop(uwsgi);
    assert_eq!(get(server.address, "/hello").status, 502);
}

/// Takes a request without a body.
fn take(stream: &mut TcpStream) {
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    stream.read_exact(&mut vec![0; u16::from_le_bytes([header[1], header[2]]).into()]).unwrap();
}

#[test]
fn liars_are_found_out() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let answers: [(&[u8], Result<&str, &str>); 10] = [
        (b"", Err("connection closed before a response")),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Err("connection closed in the middle of the response")),
        (b"\x16\x03\x01\x00\x02\x02\x28", Err("malformed response")),
        (b"\0\0\0\0\n\n", Err("malformed response")),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Err("malformed response")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Err("malformed response")),
        (b"Status: 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", Err("malformed response")),
        (head.as_bytes(), Err("response head too large")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", Ok("ok")),
        (b"Status: 200 OK\nX: y\n\nto the end", Ok("to the end")),
    ];
    for (bytes, wanted) in answers {
        let answer = bytes.to_vec();
        let liar = Upstream::raw(move |_, mut stream| {
            take(&mut stream);
            drop(stream.write_all(&answer));
        });
        let server = front(&liar.address.to_string()).tolerant(&["upstream site", "proxy site"]);
        let reply = get(server.address, "/");
        match wanted {
            Ok(body) => assert_eq!((reply.status, reply.text()), (200, body.to_owned())),
            Err(why) => {
                assert_eq!(reply.status, 502, "{why}");
                server.wait_log(why);
            }
        }
    }
    let short = Upstream::raw(|_, mut stream| {
        take(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort").unwrap();
    });
    let server = front(&short.address.to_string()).tolerant(&["upstream site", "proxy site"]);
    let broken = Connection::open(server.address).unwrap().get("/");
    assert!(broken.is_err(), "a response that was cut off looks whole: {broken:?}");
}
