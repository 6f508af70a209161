//! WebSocket over HTTP/2 (RFC 8441): against a raw server of the test's own, and real peers on both sides.

use crate::asgi::masked;
use crate::harness::http2::*;
use crate::harness::{Process, SOON, Server, Setup, apps, holds, noise, now, virtualenv, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server of HTTP/1.1 that leaves all behind a head to `act`. It counts its connections.
struct Raw {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

impl Raw {
    fn start(act: impl Fn(&str, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw =
            Self { address: listener.local_addr().unwrap(), heads: Arc::default(), open: Arc::default() };
        let (heads, open, act) = (Arc::clone(&raw.heads), Arc::clone(&raw.open), Arc::new(act));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heads, open, act) = (Arc::clone(&heads), Arc::clone(&open), Arc::clone(&act));
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") && matches!((&stream).read(&mut byte), Ok(1)) {
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    if !head.is_empty() {
                        heads.lock().unwrap().push(head.clone());
                        act(&head, stream);
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        raw
    }

    /// Sends back what comes, to the end.
    fn echo() -> Self {
        Self::start(|head, mut stream| {
            let switched = stream.write_all(switch(head).as_bytes());
            drop(switched.and_then(|()| std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)));
        })
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }

    /// With all kinds of places that are no upstream of HTTP, too.
    fn front(&self, upstream: &str, more: &str) -> Server {
        configured(&self.configuration(upstream, more)).start()
    }

    fn configuration(&self, upstream: &str, more: &str) -> String {
        format!(
            r#"
    workers: (processes: 1), log: (access: (path: "{{dir}}/access.log", format: Json)), {more}
    sites: [(listen: ["{{address}}"], max_body: "1KiB", locations: [
        (path: "/files/", to: Files(root: "{{dir}}/files")),
        (path: "/spa/", to: Files(root: "{{dir}}/files", fallback: Proxy("x"))),
        (path: "/fixed/", to: Respond(status: 200, body: "x")),
        (path: "/moved/", to: Redirect(location: "/chat")),
        (path: "/app/", to: App("plain"), probe: (answer: Asleep200)),
        (path: "/scgi/", to: Proxy("scgi")),
        (path: "/", to: Proxy("x")),
    ])],
    apps: {{"plain": (module: "app", chdir: "{apps}", interface: Wsgi, processes: (min: 0, max: 1))}},
    upstreams: {{"x": (servers: ["{address}"], {upstream}), "scgi": (protocol: Scgi, servers: ["{address}"])}},"#,
            apps = apps().join("plain").display(),
            address = self.address,
        )
    }
}

fn configured(text: &str) -> Setup {
    let setup = Setup::new(text);
    setup.directory.write("files/a.txt", "a");
    setup
}

/// The 101 that belongs to a request.
fn switch(head: &str) -> String {
    let key = field(head, "Sec-WebSocket-Key").unwrap_or_default();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (have, value) = line.split_once(": ")?;
        have.eq_ignore_ascii_case(name).then_some(value)
    })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at <= three.len() { digit } else { '=' });
        }
    }
    text
}

fn connect(path: &str) -> Vec<(&str, &str)> {
    [asks("CONNECT", path), vec![(":protocol", "websocket"), ("sec-websocket-version", "13")]].concat()
}

/// Steps until the head of a response has come; its status.
#[track_caller]
fn status(client: &mut Client, stream: u32) -> u16 {
    while client.answers.get(&stream).is_none_or(|answer| answer.status == 0) {
        assert_ne!(client.step().unwrap(), Came::Closed, "{:?}", client.answers);
    }
    client.answers[&stream].status
}

#[track_caller]
fn open(client: &mut Client, path: &str) -> u32 {
    let stream = client.request(&connect(path), false).unwrap();
    assert_eq!(status(client, stream), 200, "{:?}", client.answers);
    stream
}

/// Steps until so many bytes have come.
#[track_caller]
fn exactly(client: &mut Client, stream: u32, length: usize) -> Vec<u8> {
    while client.answers[&stream].body.len() < length {
        assert_ne!(client.step().unwrap(), Came::Closed, "{:?}", client.answers);
    }
    std::mem::take(&mut client.answers.get_mut(&stream).unwrap().body)
}

fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
}

/// Steps until the server has ended a stream: whether it has done so in order, and what came.
#[track_caller]
fn rest(client: &mut Client, stream: u32) -> (bool, Vec<u8>) {
    loop {
        let answer = &client.answers[&stream];
        if answer.complete || answer.reset.is_some() {
            return (answer.complete, answer.body.clone());
        }
        assert_ne!(client.step().unwrap(), Came::Closed, "{:?}", client.answers);
    }
}

#[test]
fn a_connect_becomes_an_upgrade_and_the_stream_a_tunnel() {
    let upstream = Raw::echo();
    let server = upstream.front("", "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let mut fields = connect("/chat?room=1");
    fields.extend([("sec-websocket-key", "of-the-client"), ("origin", "http://a"), ("cookie", "a=1")]);
    let stream = client.request(&fields, false).unwrap();
    // Before there is a tunnel.
    client.send(data(stream, b"early,", false)).unwrap();
    assert_eq!(status(&mut client, stream), 200);
    server.wait_tunnels(1);
    let answer = &client.answers[&stream];
    assert_eq!(answer.field("sec-websocket-protocol"), Some("chat"));
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert_eq!(answer.field(name), None, "{answer:?}");
    }
    client.send(data(stream, b"late", false)).unwrap();
    assert_eq!(exactly(&mut client, stream, 10), b"early,late");
    // Other requests of the connection go on beside it.
    assert_eq!(client.get("/fixed/").unwrap().text(), "x");
    client.send(data(stream, b"last", true)).unwrap();
    assert_eq!(rest(&mut client, stream), (true, b"last".to_vec()));

    let head = upstream.head();
    assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("Connection", "upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Cookie", "a=1"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    let key = field(&head, "Sec-WebSocket-Key").unwrap();
    assert!(key.len() == 24 && key.ends_with("==") && !head.contains("of-the-client"), "{head}");
    assert!(!head.contains("protocol") && !head.contains("Content-Length"), "{head}");
    server.wait_tunnels(0);
    assert_eq!(server.logged_request()["target"], "/fixed/");
    let log = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    for (name, value) in [("method", "CONNECT"), ("target", "/chat?room=1"), ("version", "HTTP/2.0")] {
        assert_eq!(line[name], value, "{line}");
    }
    assert_eq!(
        (&line["status"], &line["bytes"], &line["received"]),
        (&200.into(), &14.into(), &14.into()),
        "{line}"
    );
}

#[test]
fn each_side_may_end_before_the_other() {
    let upstream = Raw::start(|head, mut stream| {
        stream.write_all(format!("{}first", switch(head)).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut come = Vec::new();
        stream.read_to_end(&mut come).unwrap();
        assert_eq!(come, b"heard");
    });
    let server = upstream.front("", "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let stream = open(&mut client, "/");
    assert_eq!(rest(&mut client, stream), (true, b"first".to_vec()));
    client.send(data(stream, b"heard", true)).unwrap();
    server.wait_tunnels(0);
    wait_until(SOON, "it is over", || holds(upstream.open.load(Ordering::SeqCst) == 0, "open"));
}

#[test]
fn what_is_no_tunnel_is_told_so_by_an_answer() {
    let upstream = Raw::start(|head, mut stream| {
        let answer = match head.split(' ').nth(1).unwrap() {
            "/denied" => "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(),
            "/page" => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage".to_owned(),
            "/endless" => "HTTP/1.1 200 OK\r\n\r\npage".to_owned(),
            "/none" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/wrong" => switch("Sec-WebSocket-Key: other"),
            "/without" => {
                switch(head).lines().filter(|line| !line.contains("Accept")).collect::<Vec<_>>().join("\r\n")
                    + "\r\n\r\n"
            }
            "/other" => switch(head).replace("Upgrade: WebSocket", "Upgrade: x"),
            _ => switch(head),
        };
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let server = upstream.front("keepalive: 0", "").tolerant(&["101 to a protocol that was not asked for"]);
    for (path, wanted) in [
        ("/denied", 403),
        ("/page", 501),
        ("/endless", 501),
        ("/none", 501),
        ("/wrong", 502),
        ("/without", 502),
        ("/other", 502),
        ("/files/a.txt", 404),
        ("/files/missing", 404),
        ("/fixed/", 501),
        ("/moved/", 302),
        ("/app/hello", 501),
        ("/scgi/", 501),
        ("/spa/a.txt", 200),
    ] {
        let mut client = Client::open(server.address, &[]).unwrap();
        let stream = client.request(&connect(path), false).unwrap();
        client.send(data(stream, b"x", false)).unwrap();
        assert_eq!(status(&mut client, stream), wanted, "{path}");
        if wanted != 200 {
            // Nobody listens behind the answer.
            assert!(rest(&mut client, stream).0, "{path}");
            assert_eq!(client.get("/fixed/").unwrap().text(), "x", "{path}");
        }
    }
    for (fields, wanted) in [
        (vec![(":method", "CONNECT"), (":authority", "a:1")], 501),
        ([asks("CONNECT", "/"), vec![(":protocol", "connect-udp")]].concat(), 501),
        ([asks("GET", "/"), vec![(":protocol", "websocket")]].concat(), 400),
    ] {
        let mut client = Client::open(server.address, &[]).unwrap();
        let stream = client.request(&fields, false).unwrap();
        assert_eq!(status(&mut client, stream), wanted, "{fields:?}");
    }
    server.wait_log("refused with 501: nothing takes a WebSocket there");
    server.wait_tunnels(0);
    assert!(server.pool("plain").children.is_empty(), "no app was woken");
}

#[test]
fn a_client_is_told_where_it_may_ask() {
    let upstream = Raw::echo();
    let none =
        Setup::new(r#" sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(body: "x"))])],"#)
            .start();
    for (server, told) in [(upstream.front("", ""), true), (none, false)] {
        let mut client = Client::connect(server.address).unwrap();
        client.send([PREFACE, &settings(&[])].concat()).unwrap();
        let Came::Settings(values) = client.next().unwrap() else { panic!("no settings") };
        assert_eq!(values.contains(&(8, 1)), told, "{values:?}");
        if !told {
            let stream = client.request(&connect("/"), false).unwrap();
            assert_eq!(status(&mut client, stream), 400);
        }
    }
}

#[test]
fn a_reset_of_one_side_ends_the_other() {
    let upstream = Raw::start(|head, mut stream| {
        stream.write_all(switch(head).as_bytes()).unwrap();
        let mut come = [0; 5];
        if stream.read_exact(&mut come).is_ok() && &come == b"reset" {
            // With something unread, a close is a reset.
            let mut one = [0];
            stream.read_exact(&mut one).unwrap();
        }
    });
    let server = upstream.front("", "").tolerant(&["connection closed in the middle"]);
    let mut client = Client::open(server.address, &[]).unwrap();
    let stream = open(&mut client, "/");
    client.send(reset(stream, CANCEL)).unwrap();
    wait_until(SOON, "the server is told", || holds(upstream.open.load(Ordering::SeqCst) == 0, "open"));
    let stream = open(&mut client, "/");
    client.send(data(stream, b"reset behind", false)).unwrap();
    assert!(!rest(&mut client, stream).0);
    assert_eq!(client.answers[&stream].reset, Some(CANCEL));
    server.wait_tunnels(0);
    // The end of the connection is that of its tunnels.
    open(&mut client, "/");
    drop(client);
    wait_until(SOON, "the server is told", || holds(upstream.open.load(Ordering::SeqCst) == 0, "open"));
}

#[test]
fn what_nobody_takes_waits_where_it_was_sent() {
    // The server sends without end and reads nothing.
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let upstream = Raw::start(move |head, mut stream| {
        let piece = noise(64 << 10, 1);
        let mut result = stream.write_all(switch(head).as_bytes());
        while result.is_ok() {
            result = stream.write_all(&piece);
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let server = upstream.front("", "");
    let worker = server.ready("worker")[0];
    let mut client = Client::open(server.address, &[]).unwrap();
    // Without the code, of which a tunnel is the first to need a part.
    let before = worker.memory("RssAnon");
    let streams: Vec<_> = (0..8).map(|_| client.request(&connect("/"), false).unwrap()).collect();
    // As much as the windows allow, which nobody reads at the server.
    let mut open: Vec<_> = streams.clone();
    while !open.is_empty() {
        if let Came::Headers { stream, .. } = client.next().unwrap() {
            open.retain(|other| *other != stream);
        }
    }
    for stream in &streams {
        for _ in 0..7 {
            client.send(data(*stream, &[0; 16_000], false)).unwrap();
        }
    }
    let (mut seen, mut since) = (0, now());
    wait_until(SOON, "it stands still", || {
        let before = std::mem::replace(&mut seen, sent.load(Ordering::SeqCst));
        since = if seen == before { since } else { now() };
        holds(seen > 1 << 20 && since.elapsed() > Duration::from_millis(300), seen)
    });
    let after = worker.memory("RssAnon");
    assert!(after < before + (2 << 20), "{before} bytes before, {after} after {seen} sent");
    drop(client);
    server.wait_tunnels(0);
}

#[test]
fn much_goes_both_ways_at_once() {
    let upstream = Raw::echo();
    let server = upstream.front("", "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let streams = [open(&mut client, "/"), open(&mut client, "/")];
    let bytes = noise(3 << 20, 2);
    let (mut sent, mut room) = ([0; 2], [256 << 10, 256 << 10, 1 << 20]);
    while !streams.iter().all(|stream| client.answers[stream].body.len() == bytes.len()) {
        for (at, stream) in streams.iter().enumerate() {
            let count = (bytes.len() - sent[at]).min(16 << 10).min(room[at]).min(room[2]);
            if count > 0 {
                client.send(data(*stream, &bytes[sent[at]..sent[at] + count], false)).unwrap();
                (sent[at], room[at], room[2]) = (sent[at] + count, room[at] - count, room[2] - count);
            }
        }
        if let Came::Window { stream, increment } = client.step().unwrap() {
            let at = streams.iter().position(|one| *one == stream).unwrap_or(2);
            room[at] += increment as usize;
        }
    }
    assert!(streams.iter().all(|stream| client.answers[stream].body == bytes));
}

#[test]
fn an_idle_one_ends_after_its_time_and_one_in_use_does_not() {
    let upstream = Raw::echo();
    let server = upstream.front("tunnel_timeout: \"1s\"", "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let (idle, used) = (open(&mut client, "/"), open(&mut client, "/"));
    while !client.answers[&idle].complete {
        client.send(data(used, b"x", false)).unwrap();
        assert_eq!(exactly(&mut client, used, 1), b"x");
    }
    assert_eq!(server.logged_request()["error"], "tunnel idle for tunnel_timeout");
    server.wait_tunnels(1);
}

#[test]
fn one_outlives_a_reload_until_drain_timeout_and_a_stop_until_shutdown_timeout() {
    let upstream = Raw::echo();
    let times = "drain_timeout: \"4s\", shutdown_timeout: \"2s\",";
    let mut server = upstream.front("", times);
    let mut first = Client::open(server.address, &[]).unwrap();
    let stream = open(&mut first, "/");
    server.configure(&upstream.configuration("timeout: \"59s\"", times));
    server.hang_up();
    let reloaded = now();
    first.send(data(stream, b"still", false)).unwrap();
    assert_eq!(exactly(&mut first, stream, 5), b"still");
    let mut second = Client::open(server.address, &[]).unwrap();
    let other = open(&mut second, "/");
    assert_eq!(rest(&mut first, stream), (true, Vec::new()), "an orderly end");
    assert!(reloaded.elapsed() > Duration::from_secs(2), "{:?}", reloaded.elapsed());
    assert_eq!(server.logged_request()["error"], "tunnel ended by a reload or stop");
    second.send(data(other, b"goes on", false)).unwrap();
    assert_eq!(exactly(&mut second, other, 7), b"goes on");
    let waiting = std::thread::spawn(move || {
        assert_eq!(rest(&mut second, other), (true, Vec::new()), "an orderly end");
        now()
    });
    let told = now();
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    let ended = waiting.join().unwrap() - told;
    assert!(ended > Duration::from_secs(1) && told.elapsed() < Duration::from_secs(8), "{ended:?}");
}

#[test]
fn who_opens_and_resets_without_end_is_told_to_stop_and_leaves_nothing_behind() {
    let upstream = Raw::echo();
    let server = upstream.front("", "limits: (keepalive_requests: 0),");
    let worker: Process = server.ready("worker")[0];
    let mut client = Client::open(server.address, &[]).unwrap();
    let ended = (0..4000).find_map(|_| {
        let stream = client.request(&connect("/"), false).ok()?;
        match client.send(reset(stream, CANCEL)) {
            Ok(()) => None,
            Err(_) => Some(stream),
        }
    });
    assert!(ended.is_none_or(|stream| stream < 8000));
    while client.goaway.is_none() {
        match client.step() {
            Ok(Came::Closed) | Err(_) => break,
            Ok(_) => {}
        }
    }
    server.wait_log("connection ended: too much work for too few answers");
    server.wait_tunnels(0);
    wait_until(SOON, "no connection is left", || {
        let (open, descriptors) = (upstream.open.load(Ordering::SeqCst), worker.descriptors());
        holds(open <= 1, (open, descriptors))
    });
    assert_eq!(Client::open(server.address, &[]).unwrap().get("/fixed/").unwrap().status, 200);
}

// ---- real peers -----------------------------------------------------------------------------------------------------

fn python(arguments: &[&str]) -> Child {
    let mut command = Command::new(virtualenv().join("bin/python"));
    command.arg(apps().join("websocket_site/echo.py")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn serve() -> (Child, u16) {
    let mut child = python(&["serve"]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().parse().unwrap())
}

/// `scripts/https` runs it where there is a Chromium.
#[test]
#[ignore = "needs Chromium"]
fn a_browser_talks_over_the_connection_of_its_page() {
    let (mut behind, port) = serve();
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1), log: (access: (path: "{{dir}}/access.log")),
    sites: [(names: ["localhost"], tls: (listen: ["{{address}}"], certificates: SelfSigned), locations: [
        (path: "/ws", to: Proxy("x")), (path: "/done", to: Respond(body: "ok")), (path: "/", to: Files("site"))])],
    upstreams: {{"x": (servers: ["127.0.0.1:{port}"])}},"#
    ));
    setup.directory.write(
        "site/index.html",
        "<script>const ws = new WebSocket(`wss://${location.host}/ws`, 'chat');
        ws.onopen = () => ws.send('hello');
        ws.onmessage = event => ws.send(event.data == 'hello' ? 'close' : '');
        ws.onclose = event => fetch(`/done?${event.code}-${event.wasClean}`);</script>",
    );
    let server = setup.start();
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"]);
    chromium.arg(format!("--user-data-dir={}", server.directory().path().join("profile").display()));
    chromium.arg(format!("https://localhost:{}/", server.address.port()));
    let mut chromium = chromium.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let log = server.directory().path().join("access.log");
    wait_until(SOON, "it is done", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = ["\"GET /done?4001-true HTTP/2.0\" 200", "\"CONNECT /ws HTTP/2.0\" 200"];
        holds(lines.iter().all(|line| text.contains(line)), text)
    });
    kill(Pid::from_raw(chromium.id() as i32), Signal::SIGTERM).unwrap();
    chromium.wait().unwrap();
    behind.kill().unwrap();
    behind.wait().unwrap();
}

#[test]
fn a_websocket_server_notices_nothing_nor_does_a_client_of_http_2() {
    let (mut behind, port) = serve();
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(names: ["localhost"], listen: ["127.0.0.1:0"],
        tls: (listen: ["{{address}}"], certificates: SelfSigned, redirect_http: false),
        locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["127.0.0.1:{port}"])}},"#
    ))
    .start();
    let listening = server.wait_log("listening on http://127.0.0.1:");
    let clear = listening.rsplit(':').next().unwrap().to_owned();
    for url in [format!("ws://localhost:{clear}/"), format!("wss://localhost:{}/", server.address.port())] {
        let finished = python(&["talk2", &url]).wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&finished.stdout), "done\n", "{url}: {finished:?}");
    }
    server.wait_tunnels(0);
    behind.kill().unwrap();
    behind.wait().unwrap();
}

#[test]
fn an_asgi_app_has_its_websocket_over_a_stream() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("asgi"))])],
    apps: {"asgi": (module: "app:app", chdir: "{apps}/asgi", home: "{venv}")},"#,
    )
    .start()
    .tolerant(&["subprotocol that the client does not offer"]);
    let mut client = Client::open(server.address, &[]).unwrap();
    let stream = client.request(&connect("/echo?protocol=chat"), false).unwrap();
    assert_ne!(status(&mut client, stream), 200, "a subprotocol that was not offered");
    let stream = open(&mut client, "/echo");
    let answer = &client.answers[&stream];
    assert_eq!((answer.field("x-own"), answer.field("upgrade")), (Some("1"), None));
    client.send(data(stream, &masked(0x81, b"hello"), false)).unwrap();
    assert_eq!(exactly(&mut client, stream, 7), b"\x81\x05hello");
    assert_eq!(client.get("/seen").unwrap().status, 200);
    client.send(data(stream, &masked(0x88, &1000_u16.to_be_bytes()), true)).unwrap();
    assert_eq!(rest(&mut client, stream), (true, b"\x88\x02\x03\xe8".to_vec()));
    server.wait_tunnels(0);
}
