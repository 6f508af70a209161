//! WebSocket and other upgrades through the reverse proxy: against a raw server of the test's own, and a real one.

use crate::harness::{
    Connection, SOON, Server, Setup, apps, get, holds, noise, reply_to, virtualenv, wait_until,
};
use nix::sys::signal::Signal;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\nX-Own: 1\r\n\r\n";

/// A server that reads a head and leaves the rest to `act`: what came behind the head and the connection.
struct Raw {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    fn start(act: impl Fn(&str, Vec<u8>, TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let raw = Self { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let (heads, act) = (Arc::clone(&raw.heads), Arc::new(act));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (heads, act) = (Arc::clone(&heads), Arc::clone(&act));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(SOON)).unwrap();
                    let Some((head, rest)) = read_head(&mut stream) else { return };
                    heads.lock().unwrap().push(head.clone());
                    act(&head, rest, stream);
                });
            }
        });
        raw
    }

    /// Sends back what comes, to the end.
    fn echo() -> Self {
        Self::start(|_, rest, mut stream| {
            drop(stream.write_all(SWITCH.as_bytes()).and_then(|()| stream.write_all(&rest)));
            drop(std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        })
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().last().cloned().unwrap()
    }

    fn front(&self, upstream: &str, more: &str) -> Server {
        front(self.address, upstream, more).start()
    }
}

fn front(address: SocketAddr, upstream: &str, more: &str) -> Setup {
    Setup::new(&configuration(address, upstream, more))
}

fn configuration(address: SocketAddr, upstream: &str, more: &str) -> String {
    format!(
        r#"
    workers: (processes: 1), log: (access: (path: "{{dir}}/access.log", format: Json)), {more}
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["{address}"], {upstream})}},"#
    )
}

fn read_head(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut come = Vec::new();
    loop {
        if let Some(end) = come.windows(4).position(|part| part == b"\r\n\r\n") {
            let rest = come.split_off(end + 4);
            return Some((String::from_utf8(come).unwrap(), rest));
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => come.extend_from_slice(&piece[..count]),
        }
    }
}

/// A client whose request was answered with 101; what came behind that.
#[track_caller]
fn open(server: &Server, behind: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream.write_all(&[ASK.as_bytes(), behind].concat()).unwrap();
    let (head, rest) = read_head(&mut stream).expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("\r\nUpgrade: x\r\n") && head.contains("\r\nConnection: upgrade\r\n"), "{head}");
    (stream, rest)
}

/// Reads to the end of the stream.
#[track_caller]
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    all
}

fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    stream.read_exact(&mut all).unwrap();
    all
}

#[test]
fn what_came_with_the_heads_is_the_first_of_the_tunnel() {
    let upstream = Raw::start(|_, rest, mut stream| {
        stream.write_all(format!("{SWITCH}first,").as_bytes()).unwrap();
        stream.write_all(&rest).unwrap();
        drop(std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
    });
    let server = upstream.front("", "");
    let (mut client, mut come) = open(&server, b"GET /early HTTP/1.1\r\n\r\n");
    let expected = b"first,GET /early HTTP/1.1\r\n\r\n";
    come.extend(exactly(&mut client, expected.len() - come.len()));
    assert_eq!(come, expected);
    let head = upstream.head();
    for line in ["GET /chat HTTP/1.1", "Connection: upgrade", "Upgrade: x", "Sec-WebSocket-Key: k"] {
        assert!(head.contains(&format!("{line}\r\n")), "{line}: {head}");
    }
    server.wait_tunnels(1);
    assert!(server.command(&["status"]).stdout.contains("connections 1  tunnels 1"));
    client.write_all(b"\0\xff").unwrap();
    assert_eq!(exactly(&mut client, 2), b"\0\xff");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest_of(&mut client), b"");
    server.wait_tunnels(0);
    let line = server.logged_request();
    for (name, value) in [("status", 101), ("bytes", 31), ("received", 25)] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert_eq!((&line["handler"], line.get("error")), (&"proxy x".into(), None), "{line}");
}

#[test]
fn the_fields_of_a_101_are_changed_as_those_of_any_answer() {
    let upstream = Raw::echo();
    let changes = r#"response_headers: (remove: ["X-Own"], set: {"X-Set": "2"})"#;
    let text = configuration(upstream.address, "", "")
        .replace("Proxy(\"x\")", &format!("Proxy(name: \"x\", {changes})"));
    let server = Setup::new(&text).start();
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(ASK.as_bytes()).unwrap();
    let (head, _) = read_head(&mut client).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("\r\nUpgrade: x\r\n"), "{head}");
    assert!(head.contains("\r\nX-Set: 2\r\n") && !head.contains("X-Own"), "{head}");
}

#[test]
fn each_side_may_end_before_the_other() {
    // The client first: what it is answered to that still comes.
    let upstream = Raw::start(|_, mut come, mut stream| {
        stream.write_all(SWITCH.as_bytes()).unwrap();
        stream.read_to_end(&mut come).unwrap();
        stream.write_all(&come).unwrap();
    });
    let server = upstream.front("", "");
    let (mut client, _) = open(&server, b"");
    let sent = noise(1 << 20, 1);
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(rest_of(&mut client) == sent);
    server.wait_tunnels(0);
    // The server first: it still hears.
    let (tell, told) = std::sync::mpsc::channel();
    let upstream = Raw::start(move |_, mut come, mut stream| {
        stream.write_all(format!("{SWITCH}bye").as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        stream.read_to_end(&mut come).unwrap();
        tell.send(come).unwrap();
    });
    let server = upstream.front("", "");
    let (mut client, mut come) = open(&server, b"");
    come.extend(rest_of(&mut client));
    assert_eq!(come, b"bye");
    assert_eq!(server.tunnels(), 1);
    client.write_all(&sent).unwrap();
    drop(client);
    assert!(told.recv_timeout(SOON).unwrap() == sent);
    server.wait_tunnels(0);
}

#[test]
fn much_goes_both_ways_at_once_and_waits_for_slow_readers() {
    let upstream = Raw::echo();
    let server = upstream.front("", "");
    let worker = server.ready("worker")[0];
    let (mut small, _) = open(&server, b"");
    small.write_all(&vec![0; 100_000]).unwrap();
    exactly(&mut small, 100_000);
    drop(small);
    let before = worker.memory("VmRSS");
    // As much as the sockets on the way take: what is not read holds up what is sent, and not the memory of the worker.
    let piece = noise(8 << 20, 2);
    let (mut client, _) = open(&server, b"");
    let mut writer = client.try_clone().unwrap();
    let sent = piece.clone();
    let (stuck, is_stuck) = std::sync::mpsc::channel();
    let writing = std::thread::spawn(move || {
        writer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (mut pieces, mut has_waited) = (0, false);
        while !has_waited {
            assert!(pieces < 64, "nothing holds it up");
            let mut rest = &sent[..];
            while !rest.is_empty() {
                match writer.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(_) => {
                        has_waited = true;
                        let _first = stuck.send(());
                    }
                }
            }
            pieces += 1;
        }
        writer.shutdown(Shutdown::Write).unwrap();
        pieces
    });
    is_stuck.recv_timeout(SOON).expect("a writer whose bytes nobody reads has to wait");
    let now = worker.memory("VmRSS");
    assert!(now < before + (2 << 20), "{before} bytes before, {now} now");
    let come = rest_of(&mut client);
    assert_eq!(come.len(), writing.join().unwrap() * piece.len());
    assert!(come.chunks(piece.len()).all(|part| part == piece));
    server.wait_tunnels(0);
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502_and_its_connection_is_closed() {
    let (tell, told) = std::sync::mpsc::channel();
    let upstream = Raw::start(move |head, _, mut stream| {
        let answer =
            if head.contains("/other") { SWITCH.replace("Upgrade: x", "Upgrade: y") } else { SWITCH.into() };
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream.write_all(b"GET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
        let mut come = Vec::new();
        drop(stream.read_to_end(&mut come));
        tell.send(come).unwrap();
    });
    let server = upstream.front("", "").tolerant(&["101 to a protocol that was not asked for"]);
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let no_option = ASK.replace(", Upgrade", "");
    let again = ASK.replace("Upgrade: x", "Upgrade: h2c");
    for request in [plain, &no_option, &again, &ASK.replace("/chat", "/other")] {
        assert_eq!(reply_to(server.address, request).0.status, 502, "{request}");
        assert_eq!(told.recv_timeout(SOON).unwrap(), b"", "{request}");
    }
    assert_eq!(server.tunnels(), 0);
    // Neither did such a request reach it as an upgrade.
    assert!(upstream.heads.lock().unwrap()[..3].iter().all(|head| !head.contains("pgrade")));
}

#[test]
fn an_upgrade_that_is_refused_is_a_request_like_any_other() {
    let upstream = crate::harness::Upstream::start(|request, stream| {
        let answer =
            if request.all("upgrade").is_empty() { "200 OK" } else { "426 Upgrade Required\r\nUpgrade: y" };
        stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nno").as_bytes()).is_ok()
    });
    let server = front(upstream.address, "", "").start();
    let mut client = Connection::open(server.address).unwrap();
    for _ in 0..2 {
        let fields = [("Connection", "upgrade"), ("Upgrade", "x")];
        let reply = client.request("GET", "/", &fields, b"").unwrap();
        assert_eq!((reply.status, reply.text().as_str(), reply.closes()), (426, "no", false));
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert!(upstream.received().iter().all(|request| request.connection == 0), "{:?}", upstream.received());
}

#[test]
fn a_tunnel_is_a_connection_of_its_client_and_never_used_again() {
    let upstream = Raw::start(|head, _, mut stream| {
        let answer =
            if head.contains("pgrade") { SWITCH } else { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
        stream.write_all(answer.as_bytes()).unwrap();
        drop(std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
    });
    let server = upstream.front("", "limits: (connections_per_client: 1),");
    let (client, _) = open(&server, b"");
    assert_eq!(get(server.address, "/").status, 429);
    drop(client);
    server.wait_tunnels(0);
    wait_until(SOON, "its place is free", || {
        let status = get(server.address, "/").status;
        holds(status == 200, status)
    });
    assert_eq!(upstream.heads.lock().unwrap().len(), 2);
}

#[test]
fn an_idle_tunnel_ends_after_its_time_and_one_in_use_does_not() {
    let upstream = Raw::echo();
    // Longer than a busy machine lets this process wait.
    let server = upstream.front("tunnel_timeout: \"4s\"", "");
    let (mut idle, _) = open(&server, b"");
    let (mut used, _) = open(&server, b"");
    let ended = std::thread::spawn(move || rest_of(&mut idle));
    while !ended.is_finished() {
        used.write_all(b"x").unwrap();
        assert_eq!(exactly(&mut used, 1), b"x");
    }
    assert_eq!(ended.join().unwrap(), b"");
    assert_eq!(server.logged_request()["error"], "tunnel idle for tunnel_timeout");
    server.wait_tunnels(1);
    used.write_all(b"y").unwrap();
    assert_eq!(exactly(&mut used, 1), b"y");
}

#[test]
fn a_server_that_is_lost_ends_the_tunnel() {
    let upstream = Raw::start(|_, _, mut stream| {
        stream.write_all(format!("{SWITCH}last").as_bytes()).unwrap();
        let mut one = [0];
        stream.read_exact(&mut one).unwrap();
        // With something unread, a close is a reset.
    });
    let server = upstream.front("", "").tolerant(&["connection closed in the middle"]);
    let (mut client, mut come) = open(&server, b"");
    client.write_all(b"to be reset").unwrap();
    come.extend(rest_of(&mut client));
    assert_eq!(come, b"last");
    server.wait_tunnels(0);
}

#[test]
fn a_tunnel_outlives_a_reload_until_drain_timeout_and_a_stop_until_shutdown_timeout() {
    let upstream = Raw::echo();
    let times = "drain_timeout: \"4s\", shutdown_timeout: \"2s\",";
    let mut server = upstream.front("", times);
    let (mut first, _) = open(&server, b"");
    // Workers for which nothing changes stay.
    server.configure(&configuration(upstream.address, "timeout: \"59s\"", times));
    server.hang_up();
    let reloaded = crate::harness::now();
    first.write_all(b"still").unwrap();
    assert_eq!(exactly(&mut first, 5), b"still");
    let (mut second, _) = open(&server, b"");
    assert_eq!(rest_of(&mut first), b"", "an orderly end");
    assert!(reloaded.elapsed() > Duration::from_secs(2), "{:?}", reloaded.elapsed());
    assert_eq!(server.logged_request()["error"], "tunnel ended by a reload or stop");
    second.write_all(b"goes on").unwrap();
    assert_eq!(exactly(&mut second, 7), b"goes on");
    let waiting = std::thread::spawn(move || {
        assert_eq!(second.read(&mut [0]).unwrap(), 0, "an orderly end");
        crate::harness::now()
    });
    let told = crate::harness::now();
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    let ended = waiting.join().unwrap() - told;
    assert!(ended > Duration::from_secs(1) && told.elapsed() < Duration::from_secs(8), "{ended:?}");
}

// ---- a real server and client ---------------------------------------------------------------------------------------

struct WebSocket {
    child: Child,
    address: SocketAddr,
}

fn python(arguments: &[&str]) -> Child {
    let mut command = Command::new(virtualenv().join("bin/python"));
    command.arg(apps().join("websocket_site/echo.py")).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

impl WebSocket {
    fn start() -> Self {
        let mut child = python(&["serve"]);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = format!("127.0.0.1:{}", line.trim()).parse().unwrap();
        Self { child, address }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[track_caller]
fn talks(url: &str) {
    let finished = python(&["talk", url]).wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&finished.stdout), "done\n", "{url}: {finished:?}");
}

#[test]
fn a_websocket_server_and_its_client_notice_nothing() {
    let behind = WebSocket::start();
    let server = front(behind.address, "", "").start();
    talks(&format!("ws://{}/", server.address));
    // A plain request is told what it should have asked for.
    let reply = get(server.address, "/");
    assert_eq!((reply.status, reply.field("upgrade")), (426, None));
    server.wait_tunnels(0);
}

#[test]
fn it_is_the_same_over_tls() {
    let behind = WebSocket::start();
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(names: ["localhost"], tls: (listen: ["{{address}}"], certificates: SelfSigned),
        locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["{}"])}},"#,
        behind.address
    ))
    .start();
    talks(&format!("wss://localhost:{}/", server.address.port()));
    server.wait_tunnels(0);
}

#[test]
fn an_idle_websocket_holds_up_a_stop_no_longer_than_it_may() {
    let behind = WebSocket::start();
    let mut server = front(behind.address, "", "shutdown_timeout: \"2s\",").start();
    let mut client = python(&["wait", &format!("ws://{}/", server.address)]);
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "open");
    server.hang_up();
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    // Not a close of WebSocket's, as nothing knows where one may stand.
    assert_eq!(said.next().unwrap().unwrap(), "ended None");
    assert!(client.wait().unwrap().success());
}
