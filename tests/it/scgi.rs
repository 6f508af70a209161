//! Upstreams that speak SCGI, against a server of others (flup).

use crate::harness::{
    Connection, Directory, SOON, Server, Setup, apps, assert_bodies_arrive_whole, get, virtualenv, wait_until,
};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

/// A server that is ended with the test.
struct Scgi {
    child: Child,
    directory: Directory,
}

impl Scgi {
    fn start() -> Self {
        let directory = Directory::new();
        let socket = directory.path().join("s");
        let mut command = Command::new(virtualenv().join("bin/python"));
        command.arg(apps().join("scgi_site/serve.py")).arg(&socket).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let server = Self { child, directory };
        wait_until(SOON, "the SCGI server listens", || {
            UnixStream::connect(&socket).map_err(|error| error.to_string())
        });
        server
    }

    fn front(&self) -> Server {
        self.front_of(r#"(path: "/", to: Proxy("site"))"#)
    }

    fn front_of(&self, locations: &str) -> Server {
        Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], max_body: "100MiB", locations: [{locations}])],
    upstreams: {{"site": (protocol: Scgi, servers: ["unix:{}/s"], forwarded: true)}},"#,
            self.directory.path().display()
        ))
        .start()
    }
}

impl Drop for Scgi {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_request_is_described_by_variables() {
    let scgi = Scgi::start();
    let server = scgi.front();
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Host", "shop.example:81"), ("Cookie", "a=1"), ("X_Under", "1"), ("Proxy", "evil")];
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
        ("SCGI", "1"),
    ] {
        assert_eq!(environ[name], value, "{name}: {environ}");
    }
    assert!(environ.get("HTTP_X_UNDER").is_none() && environ.get("HTTP_PROXY").is_none(), "{environ}");
}

#[test]
fn a_stripped_prefix_is_script_name_and_changed_fields_are_variables() {
    let scgi = Scgi::start();
    let server = scgi.front_of(
        r#"(path: "/app/", to: Proxy(name: "site", strip: true, host: "in.example",
                request_headers: (set: {"X-Key": "k", "Content-Type": "a/b"}, add: {"X-More": "2"}, remove: ["Cookie"]))),
           (path: "/old/", to: Proxy(name: "site", rewrite: "/ne%77$rest"))"#,
    );
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Host", "shop.example"), ("Cookie", "a=1"), ("X-Key", "guess"), ("X-More", "1")];
    let environ = connection.request("GET", "/app/caf%C3%A9/environ?q", &fields, b"").unwrap().json();
    for (name, value) in [
        ("SCRIPT_NAME", "/app"),
        ("PATH_INFO", "/caf\u{c3}\u{a9}/environ"),
        ("REQUEST_URI", "/app/caf%C3%A9/environ?q"),
        ("QUERY_STRING", "q"),
        ("HTTP_HOST", "in.example"),
        ("HTTP_X_KEY", "k"),
        ("HTTP_X_MORE", "1, 2"),
        ("CONTENT_TYPE", "a/b"),
        ("HTTP_FORWARDED", "for=127.0.0.1;host=\"shop.example\";proto=http"),
    ] {
        assert_eq!(environ[name], value, "{name}: {environ}");
    }
    assert!(environ.get("HTTP_COOKIE").is_none(), "{environ}");
    let environ = connection.get("/old/a%20b/environ?q").unwrap().json();
    for (name, value) in [
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/new/a b/environ"),
        ("REQUEST_URI", "/ne%77/a%20b/environ?q"),
        ("QUERY_STRING", "q"),
    ] {
        assert_eq!(environ[name], value, "{name}: {environ}");
    }
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let scgi = Scgi::start();
    let server = scgi.front();
    let mut connection = Connection::open(server.address).unwrap();
    assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3 << 20]);
}

#[test]
fn statuses_and_fields_are_the_sites() {
    let scgi = Scgi::start();
    let server = scgi.front();
    assert_eq!(get(server.address, "/none").status, 404);
    let reply = get(server.address, "/headers");
    assert_eq!((reply.status, reply.all("set-cookie")), (204, vec!["one=1", "two=2"]));
    assert_eq!(reply.field("status"), None);
}

#[test]
fn a_server_that_is_not_there_is_502() {
    let scgi = Scgi::start();
    let server = scgi.front().tolerant(&["upstream site", "proxy site"]);
    drop(scgi);
    assert_eq!(get(server.address, "/hello").status, 502);
}
