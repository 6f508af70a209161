//! What is served over HTTP/1 is served over HTTP/2: each handler, each kind of body, each end, asked by curl, nghttp and
//! h2load.

use crate::harness::{
    Connection, SOON, Server, Setup, Upstream, get, holds, noise, reply_to, sha256, wait_until,
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// One of each handler, in one worker.
fn site(upstream: &Upstream, keys: &str) -> Setup {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    {keys}
    sites: [(
        names: ["127.0.0.1", "localhost"],
        listen: ["{{address}}"],
        locations: [
            (path: "/fixed", to: Respond(status: 200, body: "fixed\n")),
            (path: "/old/", to: Redirect(status: 301, location: "https://$host/new$rest")),
            (path: "/files/", to: Files(root: "files")),
            (path: "/behind/", to: Proxy("behind")),
            (path: "/small/", to: Proxy("behind"), max_body: "5B"),
            (path: "/", to: App("plain")),
        ],
    )],
    upstreams: {{"behind": (servers: ["{}"])}},
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1)}},"#,
        upstream.address
    ));
    setup.directory.write("files/file.txt", "a file\n");
    setup
}

/// What curl has received.
struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn curl_command(server: &Server, path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command.args(["--http2-prior-knowledge", "--silent", "--show-error", "--max-time", "60"]);
    command
        .args(["--include", "--path-as-is"])
        .args(arguments)
        .arg(format!("http://{}{path}", server.address));
    command
}

/// Asks with curl, over HTTP/2; the final response.
#[track_caller]
fn curl(server: &Server, path: &str, arguments: &[&str]) -> Reply {
    curl_with(server, path, arguments, b"")
}

/// The same, with this on its standard input.
#[track_caller]
fn curl_with(server: &Server, path: &str, arguments: &[&str], input: &[u8]) -> Reply {
    let mut command = curl_command(server, path, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("curl");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{path} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let mut rest = output.stdout.as_slice();
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
        let head: String = rest[..end].iter().copied().map(char::from).collect();
        rest = &rest[end + 4..];
        let mut lines = head.lines();
        let status = lines.next().unwrap().strip_prefix("HTTP/2 ").expect("HTTP/2").trim().parse().unwrap();
        let fields = lines.map(|line| line.split_once(": ").expect("a field"));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if status >= 200 {
            return Reply { status, fields, body: rest.to_vec() };
        }
    }
}

/// Runs h2load with one connection; how many requests succeeded.
#[track_caller]
fn h2load(server: &Server, path: &str, requests: usize, streams: usize) -> String {
    let arguments = [format!("-n{requests}"), "-c1".to_owned(), format!("-m{streams}")];
    let url = format!("http://{}{path}", server.address);
    let output = Command::new("h2load").args(arguments).arg(url).output().expect("h2load");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_handler_answers() {
    let upstream = Upstream::fixed("behind\n");
    let server = site(&upstream, "").start();
    for (path, body) in [
        ("/fixed", "fixed\n"),
        ("/files/file.txt", "a file\n"),
        ("/behind/a", "behind\n"),
        ("/hello", "hello\n"),
    ] {
        let reply = curl(&server, path, &[]);
        assert_eq!((reply.status, reply.text()), (200, body), "{path}");
        assert_eq!(reply.field("content-length"), Some(&*body.len().to_string()), "{path}");
        assert_eq!(reply.field("server"), Some("hatchery"));
        assert_eq!(reply.field("x-request-id").map(str::len), Some(16));
        let head = curl(&server, path, &["--head"]);
        assert_eq!((head.status, head.text()), (200, ""), "{path}");
        assert_eq!(head.field("content-length"), reply.field("content-length"), "{path}");
        assert!(head.fields.iter().all(|(name, _)| !name.bytes().any(|byte| byte.is_ascii_uppercase())));
    }
    let moved = curl(&server, "/old/a?b", &[]);
    let new = format!("https://{}/new/a?b", server.address);
    assert_eq!((moved.status, moved.field("location")), (301, Some(&*new)));
    let missing = curl(&server, "/files/none", &[]);
    assert_eq!((missing.status, missing.field("content-type")), (404, Some("text/html; charset=utf-8")));
    assert!(missing.text().contains(missing.field("x-request-id").unwrap()));
    assert_eq!(curl(&server, "/files/file.txt", &["--data", "a"]).status, 405);
    let elsewhere = curl(&server, "/fixed", &["--header", "Host: other.example"]);
    assert_eq!(elsewhere.status, 421);
    assert_eq!(curl(&server, "/", &["--request", "OPTIONS", "--request-target", "*"]).status, 204);
}

#[test]
fn parts_and_conditions_of_files() {
    let upstream = Upstream::fixed("");
    let server = site(&upstream, "").start();
    let whole = curl(&server, "/files/file.txt", &[]);
    let part = curl(&server, "/files/file.txt", &["--range", "2-3"]);
    assert_eq!((part.status, part.text(), part.field("content-range")), (206, "fi", Some("bytes 2-3/7")));
    assert_eq!(curl(&server, "/files/file.txt", &["--range", "9-"]).status, 416);
    let tag = format!("If-None-Match: {}", whole.field("etag").unwrap());
    let same = curl(&server, "/files/file.txt", &["--header", &tag]);
    assert_eq!((same.status, same.text(), same.field("content-length")), (304, "", None));
    let several = curl(&server, "/files/file.txt", &["--range", "0-0,2-3"]);
    assert!(several.text().contains("Content-Range: bytes 0-0/7"), "{}", several.text());
}

#[test]
fn an_app_sees_a_request_as_it_is() {
    let upstream = Upstream::fixed("");
    let server = site(&upstream, "").start();
    let arguments = [
        "--header",
        "Cookie: a=1",
        "--header",
        "X-Twice: one",
        "--header",
        "X-Twice: two",
        "--data",
        "12345",
    ];
    let environ: serde_json::Value =
        serde_json::from_slice(&curl(&server, "/a%20b/environ?x=%41", &arguments).body).unwrap();
    for (name, value) in [
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("REQUEST_METHOD", "POST"),
        ("PATH_INFO", "/a b/environ"),
        ("QUERY_STRING", "x=%41"),
        ("REQUEST_URI", "/a%20b/environ?x=%41"),
        ("CONTENT_LENGTH", "5"),
        ("HTTP_HOST", &*server.address.to_string()),
        ("SERVER_NAME", "127.0.0.1"),
        ("HTTP_COOKIE", "a=1"),
        ("HTTP_X_TWICE", "one, two"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("wsgi.url_scheme", "http"),
    ] {
        assert_eq!(environ[name], json!(value), "{name}");
    }
    for absent in ["HTTP_TRANSFER_ENCODING", "HTTP_:PATH", "HTTP_CONNECTION"] {
        assert!(environ.get(absent).is_none(), "{absent}");
    }
    let fields = curl(&server, "/headers", &[]);
    let cookies: Vec<_> = fields.fields.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!((fields.status, cookies.len()), (204, 2));
}

#[test]
fn an_upstream_is_told_where_a_request_comes_from_and_nothing_of_the_connection() {
    let upstream = Upstream::start(|_, stream| {
        let head = "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, X-Hop\r\n\
                    X-Hop: a\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-Own: b\r\n\r\n";
        stream.write_all(format!("{head}6\r\nbehind\r\n0\r\n\r\n").as_bytes()).is_ok()
    });
    let server = site(&upstream, "").start();
    let reply = curl(&server, "/behind/%61?b=%41", &["--header", "TE: trailers", "--header", "Cookie: a=1"]);
    assert_eq!((reply.status, reply.text(), reply.field("x-own")), (200, "behind", Some("b")));
    for dropped in ["transfer-encoding", "connection", "keep-alive", "upgrade", "x-hop", "content-length"] {
        assert_eq!(reply.field(dropped), None, "{dropped}");
    }
    let received = upstream.last();
    assert_eq!(received.line, "GET /behind/%61?b=%41 HTTP/1.1");
    let host = server.address.to_string();
    for (name, value) in [
        ("via", "2.0 hatchery"),
        ("host", &*host),
        ("x-forwarded-host", &*host),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("cookie", "a=1"),
    ] {
        assert_eq!(received.all(name), [value], "{name}");
    }
    assert!(received.all("te").is_empty() && !received.fields.iter().any(|(name, _)| name.starts_with(':')));
}

/// A body whose length is not told is had whole first, so that whoever gets it knows.
#[test]
fn bodies_of_requests_arrive_whole() {
    let upstream = Upstream::fixed("behind\n");
    let server = site(&upstream, "").start();
    for length in [0, 1, 5, 70_000, 3_000_000] {
        let body = noise(length, 7);
        let found = json!({"length": length, "sha256": sha256(&body), "content_length": length.to_string()});
        let told = curl_with(&server, "/echo", &["--data-binary", "@-"], &body);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&told.body).unwrap(), found);
        let untold = curl_with(&server, "/echo", &["--upload-file", "-"], &body);
        let untold = serde_json::from_slice::<serde_json::Value>(&untold.body).unwrap();
        assert_eq!((&untold["length"], &untold["sha256"]), (&found["length"], &found["sha256"]));

        curl_with(&server, "/behind/", &["--data-binary", "@-"], &body);
        assert_eq!(upstream.last().all("content-length"), [length.to_string()]);
        assert!(upstream.last().body == body);
        curl_with(&server, "/behind/", &["--upload-file", "-"], &body);
        assert_eq!(upstream.last().all("content-length"), [length.to_string()]);
        assert!(upstream.last().body == body);
    }
}

#[test]
fn a_request_that_is_too_much_is_refused_on_its_stream_alone() {
    let upstream = Upstream::fixed("behind\n");
    let server = site(&upstream, "limits: (head: \"4KiB\"),").start();
    assert_eq!(curl_with(&server, "/small/", &["--data-binary", "@-"], b"123456").status, 413);
    assert_eq!(curl_with(&server, "/small/", &["--upload-file", "-"], &noise(100_000, 1)).status, 413);
    assert_eq!(curl_with(&server, "/small/", &["--data-binary", "@-"], b"12345").text(), "behind\n");
    let long = format!("X-Long: {}", "a".repeat(5000));
    assert_eq!(curl(&server, "/fixed", &["--header", &long]).status, 431);
    let expected = curl_with(&server, "/behind/", &["--header", "Expect: 100-continue", "--data", "a"], b"");
    assert_eq!((expected.status, upstream.last().body), (200, b"a".to_vec()));
    assert_eq!(upstream.last().all("expect"), [""; 0]);
}

#[test]
fn a_hundred_requests_run_at_once_on_one_connection() {
    let upstream = Upstream::fixed("behind\n");
    let server = site(&upstream, "limits: (keepalive_requests: 0),").start();
    for (path, requests) in
        [("/fixed", 5000), ("/files/file.txt", 5000), ("/behind/", 1000), ("/hello", 1000)]
    {
        // More than a connection may have running waits.
        for streams in [100, 200] {
            let report = h2load(&server, path, requests, streams);
            let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
            assert!(report.contains(&all), "{path}: {report}");
            assert!(report.contains(&format!("status codes: {requests} 2xx")), "{path}: {report}");
        }
    }
}

/// An upstream that takes what is sent to it slowly: the rest waits at the client.
#[test]
fn an_upload_waits_at_the_client_while_its_upstream_is_slow() {
    const LENGTH: usize = 32 << 20;
    let (told, counted) = std::sync::mpsc::channel();
    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = slow.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = slow.accept().unwrap();
        let (mut buffer, mut got) = ([0; 16 << 10], Vec::new());
        let head = |got: &[u8]| got.windows(4).position(|window| window == b"\r\n\r\n");
        while head(&got).is_none_or(|end| got.len() < end + 4 + LENGTH) {
            let count = stream.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..count]);
            told.send(()).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("slow"), max_body: "100MiB")])],
    upstreams: {{"slow": (servers: ["{address}"])}},"#
    ))
    .start();
    let worker = server.ready("worker")[0];
    assert_eq!(curl(&server, "/*", &["--request", "OPTIONS", "--header", "Max-Forwards: 0"]).status, 204);
    let before = worker.memory("VmRSS");
    let reply = curl_with(&server, "/", &["--data-binary", "@-"], &noise(LENGTH, 1));
    assert_eq!(reply.text(), "ok");
    reader.join().unwrap();
    assert!(counted.iter().count() > 100);
    let grown = worker.memory("VmHWM").saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[test]
fn large_bodies_arrive_whole_and_occupy_no_memory() {
    const LENGTH: usize = 100 << 20;
    let upstream = Upstream::start(|_, stream| {
        let block = noise(1 << 20, 2);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).is_ok() && (0..100).all(|_| stream.write_all(&block).is_ok())
    });
    let setup = site(&upstream, "");
    let large = setup.directory.write("files/large", noise(1 << 20, 2).repeat(100));
    let server = setup.start();
    let worker = server.ready("worker")[0];
    assert_eq!(curl(&server, "/fixed", &[]).status, 200);
    let before = worker.memory("VmRSS");
    for path in ["/files/large", "/behind/"] {
        let got = server.directory().path().join("got");
        let mut command = curl_command(&server, path, &["--no-include", "--output", got.to_str().unwrap()]);
        assert!(command.status().unwrap().success(), "{path}");
        let same = Command::new("cmp").args([&large, &got]).status().unwrap();
        assert!(same.success(), "{path}");
    }
    let size = curl(&server, &format!("/big?size={LENGTH}"), &[]).body.len();
    assert_eq!(size, LENGTH);
    let sent = noise(10 << 20, 3);
    let echo = curl_with(&server, "/echo", &["--data-binary", "@-"], &sent).body;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&echo).unwrap()["sha256"], sha256(&sent));
    let grown = worker.memory("VmHWM").saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
}

#[test]
fn a_response_that_breaks_off_is_no_whole_one() {
    let upstream = Upstream::start(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\na beginning"));
        false
    });
    let server = site(&upstream, "").start().tolerant(&["proxy behind: ", "app plain: "]);
    for path in ["/behind/", "/raise_after"] {
        let output = curl_command(&server, path, &[]).output().unwrap();
        // CURLE_HTTP2_STREAM
        assert_eq!(output.status.code(), Some(92), "{path}: {output:?}");
    }
}

#[test]
fn each_request_has_its_line_in_the_log() {
    let upstream = Upstream::fixed("behind\n");
    let server = site(&upstream, "log: (access: (path: \"{dir}/access.log\", format: Json)),").start();
    curl(&server, "/fixed?a", &["--user-agent", "of a test", "--referer", "there"]);
    curl(&server, "/behind/", &["--head"]);
    curl(&server, "/files/none", &[]);
    let lines = wait_until(SOON, "three lines", || {
        let text = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap_or_default();
        let lines: Vec<serde_json::Value> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        holds(lines.len() == 3, &text).map(|()| lines)
    });
    for (line, (target, handler, status)) in lines.iter().zip([
        ("/fixed?a", "respond", 200),
        ("/behind/", "proxy behind", 200),
        ("/files/none", "files", 404),
    ]) {
        assert_eq!(line["version"], "HTTP/2.0");
        assert_eq!((&line["target"], &line["handler"]), (&json!(target), &json!(handler)), "{line}");
        assert_eq!(line["status"], status, "{line}");
    }
    assert_eq!((&lines[0]["user_agent"], &lines[0]["referer"]), (&json!("of a test"), &json!("there")));
    assert_eq!((&lines[0]["bytes"], &lines[1]["bytes"]), (&json!(6), &json!(0)), "{lines:?}");
}

#[test]
fn what_runs_at_a_stop_is_answered() {
    let (go_on, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let upstream = Upstream::start(move |_, stream| {
        gate.lock().unwrap().recv().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").is_ok()
    });
    let mut server = site(&upstream, "").start();
    let running = curl_command(&server, "/behind/", &[]).stdout(Stdio::piped()).spawn().unwrap();
    wait_until(SOON, "the request runs", || holds(!upstream.received().is_empty(), ()));
    server.master.signal(Signal::SIGTERM);
    wait_until(SOON, "the server stops", || {
        let refused = std::net::TcpStream::connect(server.address);
        holds(refused.is_err(), refused)
    });
    go_on.send(()).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"late"), "{output:?}");
    assert_eq!(server.wait_end(), Some(0));
}

/// Frames without their payload: type and stream.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32)> {
    let mut found = Vec::new();
    while let [a, b, c, kind, _flags, s1, s2, s3, s4, rest @ ..] = bytes {
        found.push((*kind, u32::from_be_bytes([*s1, *s2, *s3, *s4])));
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(length..).unwrap_or_default();
    }
    found
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
const GOAWAY: u8 = 7;

#[test]
fn an_idle_connection_is_closed_with_a_word() {
    let server = site(&Upstream::fixed(""), "limits: (keepalive_timeout: \"1s\"),").start();
    let mut client = Connection::open(server.address).unwrap();
    client.send([PREFACE, EMPTY_SETTINGS, SETTINGS_ACK].concat()).unwrap();
    let said = frames(&client.rest().unwrap());
    assert_eq!((said.first().map(|(kind, _)| *kind), said.last()), (Some(4), Some(&(GOAWAY, 0))), "{said:?}");
}

#[test]
fn a_client_that_never_goes_on_is_closed_in_time() {
    let server = site(&Upstream::fixed(""), "limits: (header_timeout: \"1s\"),").start();
    for begun in [PREFACE, &PREFACE[..20], &PREFACE[..1]] {
        let mut client = Connection::open(server.address).unwrap();
        client.send(begun).unwrap();
        client.rest().unwrap();
    }
}

#[test]
fn http2_can_be_turned_off() {
    let server = site(&Upstream::fixed(""), "limits: (streams: 0),").start();
    let (reply, closed) = reply_to(server.address, PREFACE);
    assert_eq!((reply.status, closed), (505, true));
    assert_eq!(get(server.address, "/fixed").text(), "fixed\n");
}
