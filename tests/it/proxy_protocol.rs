//! The PROXY protocol: who is believed to say whose a connection is, and what upstreams are told. With raw bytes, and with
//! haproxy in front and behind; and what it says of its clients in HTTP/2.

use crate::harness::http2::{Client, asks};
use crate::harness::{
    Authority, Connection, Directory, SOON, Server, Setup, Upstream, holds, now, wait_until,
};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.7 4711 8443\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The same in version 2, with something behind the addresses.
fn v2(behind: &[u8]) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 198, 51, 100, 7, 0x12, 0x67, 0x20, 0xfb];
    let length = (addresses.len() + behind.len()) as u16;
    [SIGNATURE, &[0x21, 0x11], &length.to_be_bytes(), &addresses, behind].concat()
}

/// Answers with whom a request is for and which port it came to, as it was told.
fn teller() -> Upstream {
    Upstream::start(|request, stream| {
        let told = ["x-forwarded-for", "x-forwarded-port"].map(|name| request.all(name).join(" "));
        let body = told.join(" ");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

/// In front of an upstream, with these proxies before it and these limits.
fn front(upstream: &Upstream, proxies: &str, limits: &str) -> Server {
    let text = format!(
        r#"
    workers: (processes: 1),
    limits: ({limits}),
    sites: [(
        listen: [(address: "{{address}}", proxy_protocol: [{proxies}]),
                 (address: "unix:{{dir}}/s", proxy_protocol: ["unix:"])],
        locations: [(path: "/", to: Proxy("teller"))],
    )],
    upstreams: {{"teller": (servers: ["{}"])}},"#,
        upstream.address
    );
    Setup::new(&text).start()
}

const LOOPBACK: &str = "\"127.0.0.0/8\"";

#[test]
fn a_header_says_whose_a_connection_is() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    for header in [V1.to_vec(), v2(&[]), v2(&[4, 0, 2, 9, 9])] {
        for piece in [1, 7, 1000] {
            let mut connection = Connection::open(server.address).unwrap();
            for bytes in [&header[..], GET].concat().chunks(piece) {
                connection.send(bytes).unwrap();
            }
            assert_eq!(connection.reply("GET").unwrap().text(), "203.0.113.9 8443");
            assert_eq!(connection.get("/again").unwrap().text(), "203.0.113.9 8443");
        }
    }
    let mut connection = Connection::open(server.address).unwrap();
    let six = b"PROXY TCP6 2001:db8::9 2001:db8::7 4711 8443\r\n";
    connection.send([&six[..], GET].concat()).unwrap();
    assert_eq!(connection.reply("GET").unwrap().text(), "2001:db8::9 8443");
    server.wait_log("203.0.113.9 - - [");
    server.wait_log("2001:db8::9 - - [");
}

#[test]
fn a_connection_of_the_proxy_itself_keeps_its_address() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    let port = server.address.port();
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    let unspecified = [SIGNATURE, &[0x21, 0, 0, 0]].concat();
    let unix = [SIGNATURE, &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat();
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN ::1 ::1 1 2\r\n", &local, &unspecified, &unix] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send([header, GET].concat()).unwrap();
        assert_eq!(connection.reply("GET").unwrap().text(), format!("127.0.0.1 {port}"));
    }
}

#[test]
fn what_comes_in_the_place_of_a_header_is_not_answered() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    let truncated = &v2(&[])[..20];
    let past_the_end = v2(&[4, 0, 200, 9]);
    let checksum = v2(&[3, 0, 4, 0, 0, 0, 0]);
    for (bytes, why) in [
        (GET, "is missing; have the proxy send one, or remove it from `proxy_protocol`"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "is missing"),
        (b"PROXY TCP4 203.0.113.9 198.51.100.7 4711 0x50\r\n", "is a malformed line"),
        (b"PROXY TCP4 203.0.113.9 198.51.100.7 4711 80\n", "is a malformed line"),
        (&[b'P'; 200], "is missing"),
        (&[b"PROXY UNKNOWN ".as_slice(), &[b' '; 200]].concat(), "is too long"),
        (&past_the_end, "has parts that do not fit its length"),
        (&checksum, "has a wrong checksum"),
        (&[SIGNATURE, &[0x23, 0x11, 0, 0]].concat(), "is of an unknown version, command or family"),
        (&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(), "is too long"),
        (truncated, "breaks off"),
        (&V1[..30], "breaks off"),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(bytes).unwrap();
        if why == "breaks off" {
            connection.socket().shutdown(std::net::Shutdown::Write).unwrap();
        }
        let answered = connection.rest().or_else(|error| match error.kind() {
            ErrorKind::ConnectionReset => Ok(Vec::new()),
            _ => Err(error),
        });
        assert_eq!(answered.unwrap(), b"", "{}", bytes.escape_ascii());
        server.wait_log(&format!("closed: the PROXY header {why}"));
    }
    // A second one is no request.
    let mut connection = Connection::open(server.address).unwrap();
    connection.send([V1, V1, GET].concat()).unwrap();
    assert_eq!(connection.reply("GET").unwrap().status, 400);
    assert_eq!(upstream.received().len(), 0);
    // Whoever looks whether somebody listens is no line in the log.
    let before = server.log().iter().filter(|line| line.contains("PROXY")).count();
    drop(TcpStream::connect(server.address).unwrap());
    let mut connection = Connection::open(server.address).unwrap();
    connection.send([V1, GET].concat()).unwrap();
    connection.reply("GET").unwrap();
    let after = server.log().iter().filter(|line| line.contains("PROXY")).count();
    assert_eq!(before, after, "{:?}", server.log());
}

#[test]
fn of_anybody_else_a_header_is_no_header() {
    let upstream = teller();
    let server = front(&upstream, "\"192.0.2.0/24\", \"::1\", \"unix:\"", "");
    for header in [V1.to_vec(), v2(&[])] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send([&header[..], GET].concat()).unwrap();
        assert_eq!(connection.reply("GET").unwrap().status, 400);
    }
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), format!("127.0.0.1 {}", server.address.port()));
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_header_comes_over_a_unix_socket_too() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(server.directory().path().join("s")).unwrap();
        stream.write_all(bytes).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer
    };
    assert!(ask(V1).ends_with("\r\n203.0.113.9 8443"));
    assert!(ask(b"PROXY UNKNOWN\r\n").ends_with("\r\n 80"));
    assert_eq!(ask(b""), "");
}

#[test]
fn a_header_that_does_not_come_is_waited_for_as_a_head_is() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "header_timeout: \"500ms\"");
    let start = now();
    for begun in [&b""[..], &V1[..10], &v2(&[])[..20]] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(begun).unwrap();
        assert!(connection.is_closed());
    }
    // The time of the head does not begin anew behind it.
    let mut connection = Connection::open(server.address).unwrap();
    connection.send(V1).unwrap();
    assert!(connection.is_closed());
    assert!(start.elapsed() > Duration::from_secs(2));
    server.wait_log("closed: the PROXY header did not come in time; raise limits.header_timeout");
}

#[test]
fn connections_are_counted_by_client_and_not_by_proxy() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "connections_per_client: 1");
    let open = |client: u8| {
        let mut connection = Connection::open(server.address).unwrap();
        let header = format!("PROXY TCP4 203.0.113.{client} 198.51.100.7 4711 80\r\n");
        connection.send([header.as_bytes(), GET].concat()).unwrap();
        connection
    };
    let mut held: Vec<_> = (1..5).map(open).collect();
    for connection in &mut held {
        assert_eq!(connection.reply("GET").unwrap().status, 200);
    }
    let mut refused = open(4);
    assert_eq!(refused.reply("GET").unwrap().status, 429);
    let mut local: Vec<_> = (0..3).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut local {
        connection.send([b"PROXY UNKNOWN\r\n", GET].concat()).unwrap();
        assert_eq!(connection.reply("GET").unwrap().status, 200);
    }
    drop(held);
    wait_until(SOON, "the client may come again", || {
        let status = open(4).reply("GET").map(|reply| reply.status);
        holds(matches!(status, Ok(200)), status)
    });
}

#[test]
fn a_connection_that_waits_for_its_header_is_served_over_a_reload() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    let mut silent = Connection::open(server.address).unwrap();
    let mut begun = Connection::open(server.address).unwrap();
    begun.send(&V1[..20]).unwrap();
    // Both are taken in by the worker that is to leave.
    wait_until(SOON, "two connections", || {
        let status = server.command(&["status", "--json"]);
        holds(
            status.stdout.contains("\"connections\": 2") || status.stdout.contains("\"connections\":2"),
            status,
        )
    });
    let text = std::fs::read_to_string(server.directory().path().join("hatchery.ron")).unwrap();
    let other = text.replace("limits: ()", "limits: (keepalive_requests: 999)");
    assert_ne!(text, other);
    server.directory().write("hatchery.ron", other);
    server.hang_up();
    silent.send([V1, GET].concat()).unwrap();
    begun.send([&V1[20..], GET].concat()).unwrap();
    for mut connection in [silent, begun] {
        assert_eq!(connection.reply("GET").unwrap().text(), "203.0.113.9 8443");
    }
}

#[test]
fn an_app_has_the_client_and_the_port_that_it_came_to() {
    let server = Setup::new(
        r#"
    sites: [(
        listen: [(address: "{address}", proxy_protocol: ["127.0.0.1"])],
        locations: [(path: "/", to: App("plain"))],
    )],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},"#,
    )
    .start();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send(v2(&[])).unwrap();
    let environ = connection.get("/environ").unwrap().json();
    for (name, value) in [("REMOTE_ADDR", "203.0.113.9"), ("REMOTE_PORT", "4711"), ("SERVER_PORT", "8443")] {
        assert_eq!(environ[name], value, "{environ}");
    }
}

#[test]
fn a_header_comes_before_tls() {
    let upstream = teller();
    let text = format!(
        r#"
    workers: (processes: 1),
    sites: [(
        tls: (listen: [(address: "{{address}}", proxy_protocol: ["127.0.0.1"])], certificates: SelfSigned),
        locations: [(path: "/", to: Proxy("teller"))],
    )],
    upstreams: {{"teller": (servers: ["{}"])}},"#,
        upstream.address
    );
    let server = Setup::new(&text).start();
    let script = r#"
import socket, ssl, sys
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
plain.sendall(sys.argv[2].encode())
secure = ssl._create_unverified_context().wrap_socket(plain, server_hostname="localhost")
secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
while got := secure.recv(9999):
    sys.stdout.buffer.write(got)"#;
    let port = server.address.port().to_string();
    let ask = |header: &[u8]| {
        let header = String::from_utf8(header.to_vec()).unwrap();
        let output = Command::new("python3").args(["-c", script, &port, &header]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = ask(V1);
    assert!(told.ends_with("\r\n203.0.113.9 8443"), "{told}");
    assert_eq!(ask(b""), "");
    server.wait_log("closed: the PROXY header is missing");
}

#[test]
fn http_2_may_follow_a_header() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    let url = format!("http://{}/", server.address);
    let output = Command::new("curl")
        .args([
            "--silent",
            "--haproxy-protocol",
            "--http2-prior-knowledge",
            "--write-out",
            " %{http_version}",
            &url,
        ])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("127.0.0.1 {} 2", server.address.port()));
}

// ---- to upstreams -------------------------------------------------------------------------------------------------------

/// Takes a connection for each request, and keeps what each began with, to the end of the head.
struct Raw {
    listener: TcpListener,
    begun: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Raw {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let begun: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (accepting, kept) = (listener.try_clone().unwrap(), Arc::clone(&begun));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                let mut lines = Vec::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while !lines.ends_with(b"Host: a\r\n") && reader.read_until(b'\n', &mut lines).unwrap() > 0 {}
                kept.lock().unwrap().push(lines);
                std::thread::spawn(move || {
                    while !reader.fill_buf().unwrap().starts_with(b"\r\n") {
                        if reader.read_until(b'\n', &mut Vec::new()).unwrap() == 0 {
                            return;
                        }
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                    drop(reader.read_to_end(&mut Vec::new()));
                });
            }
        });
        Self { listener, begun }
    }

    /// In front of it; the site listens for whom has a header, too.
    fn front(&self, version: &str) -> Server {
        let text = format!(
            r#"
    workers: (processes: 1),
    sites: [(
        listen: [(address: "{{address}}", proxy_protocol: ["127.0.0.2"]), "unix:{{dir}}/s"],
        trusted_proxies: ["127.0.0.1"],
        locations: [(path: "/", to: Proxy("raw"))],
    )],
    upstreams: {{"raw": (servers: ["{}"], proxy_protocol: {version})}},"#,
            self.listener.local_addr().unwrap()
        );
        Setup::new(&text).start()
    }

    /// With what the next connection has begun.
    fn take(&self) -> Vec<u8> {
        wait_until(SOON, "a connection", || {
            let mut begun = self.begun.lock().unwrap();
            if begun.is_empty() { Err(String::new()) } else { Ok(begun.remove(0)) }
        })
    }
}

#[test]
fn an_upstream_is_told_whose_each_connection_is() {
    let raw = Raw::start();
    for version in ["V1", "V2"] {
        let server = raw.front(version);
        let mut connection = Connection::open(server.address).unwrap();
        let client = connection.socket().local_addr().unwrap();
        let ports = [client.port().to_be_bytes(), server.address.port().to_be_bytes()].concat();
        let direct = match version {
            "V1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.port(), server.address.port())
                .into(),
            _ => [SIGNATURE, &[0x21, 0x11, 0, 12], &[127, 0, 0, 1, 127, 0, 0, 1], &ports].concat(),
        };
        // None is kept, as the next one may be another client's.
        for _ in 0..3 {
            let reply = connection.request("GET", "/", &[("Host", "a")], b"").unwrap();
            assert_eq!(reply.text(), "ok");
            let begun = raw.take();
            assert!(begun.starts_with(&direct) && begun[direct.len()..].starts_with(b"GET / HTTP/1.1\r\n"));
        }
        // As a trusted proxy tells it, which does not know the port.
        connection.request("GET", "/", &[("Host", "a"), ("X-Forwarded-For", "203.0.113.9")], b"").unwrap();
        let told = match version {
            "V1" => format!("PROXY TCP4 203.0.113.9 127.0.0.1 0 {}\r\n", server.address.port()).into_bytes(),
            _ => {
                [SIGNATURE, &[0x21, 0x11, 0, 12], &[203, 0, 113, 9, 127, 0, 0, 1, 0, 0], &ports[2..]].concat()
            }
        };
        let begun = raw.take();
        assert!(begun.starts_with(&told), "{}", begun.escape_ascii());
        // A Unix socket has no address.
        let mut stream = UnixStream::connect(server.directory().path().join("s")).unwrap();
        stream.write_all(GET).unwrap();
        let nobody = match version {
            "V1" => b"PROXY UNKNOWN\r\nGET /".to_vec(),
            _ => [SIGNATURE, &[0x20, 0, 0, 0], b"GET /"].concat(),
        };
        let begun = raw.take();
        assert!(begun.starts_with(&nobody), "{}", begun.escape_ascii());
    }
}

// ---- haproxy ------------------------------------------------------------------------------------------------------------

struct HaProxy {
    child: Child,
    address: std::net::SocketAddr,
    _directory: Directory,
}

impl HaProxy {
    /// With these words for its side of clients and that of servers.
    fn start(bind: &str, server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = Directory::new();
        let file = directory.write(
            "haproxy.cfg",
            format!(
                "global\n maxconn 50\ndefaults\n mode http\n timeout connect 10s\n timeout client 30s\n timeout server 30s\n\
                 listen all\n bind fd@3 {bind}\n http-request set-header X-Forwarded-For %[src]\n \
                 http-request set-header X-Forwarded-Port %[dst_port]\n server one {server}\n"
            ),
        );
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig=KILL",
            "--",
            "sh",
            "-c",
            "exec 3<&0 </dev/null; exec haproxy -db -f \"$0\"",
        ]);
        command.arg(file).stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), address, _directory: directory }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn haproxy_in_front_says_who_its_clients_are() {
    let upstream = teller();
    let server = front(&upstream, LOOPBACK, "");
    for words in ["send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"] {
        // It is told of a client itself, and passes that on.
        let haproxy = HaProxy::start("accept-proxy", &format!("{} {words}", server.address));
        for header in [V1.to_vec(), v2(&[])] {
            let mut connection = Connection::open(haproxy.address).unwrap();
            connection.send([&header[..], GET].concat()).unwrap();
            assert_eq!(connection.reply("GET").unwrap().text(), "203.0.113.9 8443", "{words}");
        }
    }
}

/// It ends TLS, and says so in `:scheme` alone; the teller is a redirect.
#[test]
fn haproxy_in_front_says_in_http_2_that_its_clients_came_by_https() {
    let directory = Directory::new();
    let certificate = Authority::new().sign(&directory, "front", "a");
    let both =
        ["front.pem", "front.key"].map(|name| std::fs::read_to_string(directory.path().join(name)).unwrap());
    let both = directory.write(certificate.with_extension("both"), both.concat());
    for (trusted, told) in [("\"127.0.0.1\"", "https://other/"), ("", "http://other/")] {
        let server = Setup::new(&format!(
            r#"
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: [{trusted}],
        locations: [(path: "/", to: Redirect(location: "$scheme://other/"))],
    )],"#
        ))
        .start();
        let bind = format!("ssl crt {} alpn h2,http/1.1", both.display());
        let haproxy = HaProxy::start(&bind, &format!("{} proto h2", server.address));
        let answer = Client::open_tls(haproxy.address, &[]).unwrap().get("/").unwrap();
        assert_eq!((answer.status, answer.field("location")), (302, Some(told)));
        // Of those who come by themselves the scheme says nothing, unless they are trusted.
        let mut client = Client::open(server.address, &[]).unwrap();
        let mut fields = asks("GET", "/");
        fields[1].1 = "https";
        let stream = client.request(&fields, true).unwrap();
        assert_eq!(client.answer(stream).unwrap().field("location"), Some(told));
    }
}

#[test]
fn haproxy_behind_is_told_who_our_clients_are() {
    let upstream = teller();
    let haproxy = HaProxy::start("accept-proxy", &upstream.address.to_string());
    for version in ["V1", "V2"] {
        let text = format!(
            r#"
    sites: [(
        listen: [(address: "{{address}}", proxy_protocol: ["127.0.0.1"])],
        locations: [(path: "/", to: Proxy("haproxy"))],
    )],
    upstreams: {{"haproxy": (servers: ["{}"], proxy_protocol: {version})}},"#,
            haproxy.address
        );
        let server = Setup::new(&text).start();
        for header in [V1.to_vec(), v2(&[])] {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send([&header[..], GET].concat()).unwrap();
            assert_eq!(connection.reply("GET").unwrap().text(), "203.0.113.9 8443", "{version}");
        }
    }
}
