//! How long an upstream is waited for: each of its time-outs alone, with all others out of reach.

use crate::harness::{Connection, Directory, Server, Setup, Upstream, get, keep_loading, now};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// In front of it, with these time-outs of milliseconds.
fn front(upstream: &Upstream, timeouts: &[(&str, u64)]) -> Server {
    let mut keys = String::new();
    for name in ["send_timeout", "first_byte_timeout", "timeout", "total_timeout"] {
        let given = timeouts.iter().find(|(key, _)| *key == name);
        keys += &given.map_or(format!("{name}: \"1h\", "), |(_, millis)| format!("{name}: \"{millis}ms\", "));
    }
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], max_body: "100MiB", locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["{}"], {keys})}},"#,
        upstream.address
    ))
    .start()
    .tolerant(&["proxy x: "])
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Says `piece` so many times, with a pause before each.
fn drip(stream: &mut TcpStream, piece: &str, times: u32, pause: Duration) -> bool {
    (0..times).all(|_| {
        keep_loading(pause);
        stream.write_all(piece.as_bytes()).is_ok()
    })
}

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_server_that_takes_nothing_of_the_request_gets_no_more_time_than_send_timeout() {
    let upstream = Upstream::raw(|_, mut stream| {
        let mut some = [0; 1000];
        drop(stream.read(&mut some));
        keep_loading(millis(3_000));
    });
    let server = front(&upstream, &[("send_timeout", 300)]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let begun = now();
    let sending = std::thread::spawn(move || {
        drop(writer.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"));
        drop(writer.write_all(&vec![b'x'; 50_000_000]));
    });
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 504");
    assert!(begun.elapsed() < millis(2_500), "{:?}", begun.elapsed());
    server.wait_log("the request was not taken in time");
    drop((stream.shutdown(std::net::Shutdown::Both), stream));
    sending.join().unwrap();
}

#[test]
fn a_response_begins_within_first_byte_timeout_of_the_whole_request() {
    let upstream = Upstream::start(|request, stream| match request.line.split(' ').nth(1).unwrap() {
        "/hints" => drip(stream, EARLY, 4, millis(250)) && stream.write_all(OK.as_bytes()).is_ok(),
        "/drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").is_ok() && drip(stream, "X: y\r\n", 8, millis(100))
        }
        "/late" => drip(stream, OK, 1, millis(1_000)),
        _ => stream.write_all(OK.as_bytes()).is_ok(),
    });
    let server = front(&upstream, &[("first_byte_timeout", 500)]);
    let begun = now();
    for path in ["/late", "/drip"] {
        assert_eq!(get(server.address, path).status, 504, "{path}");
    }
    assert!(begun.elapsed() < millis(1_900), "{:?}", begun.elapsed());
    server.wait_log("no response in time");
    // What says that it lives has its time again.
    assert_eq!(get(server.address, "/hints").text(), "ok");
    // It is not the server's time while the client sends.
    let mut client = Connection::open(server.address).unwrap();
    client.send("PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").unwrap();
    for _ in 0..4 {
        keep_loading(millis(250));
        client.send("x").unwrap();
    }
    assert_eq!(client.reply("PUT").unwrap().status, 200);
}

#[test]
fn timeout_is_between_two_pieces_of_a_response() {
    let upstream = Upstream::start(|request, stream| {
        keep_loading(millis(800));
        let begun = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n").is_ok();
        begun && drip(stream, "x", 6, millis(if request.line.contains("slow") { 1_000 } else { 150 }))
    });
    let server = front(&upstream, &[("timeout", 500)]);
    assert_eq!(get(server.address, "/").text(), "xxxxxx");
    let mut client = Connection::open(server.address).unwrap();
    assert!(client.get("/slow").is_err(), "its end is none");
    server.wait_log("response stalled");
}

#[test]
fn total_timeout_ends_what_goes_on_and_on() {
    let upstream = Upstream::start(|request, stream| {
        if request.line.contains("hints") {
            return drip(stream, EARLY, 20, millis(100));
        }
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).is_ok() && drip(stream, "1\r\nx\r\n", 20, millis(100))
    });
    let server = front(&upstream, &[("total_timeout", 500)]);
    let begun = now();
    assert_eq!(get(server.address, "/hints").status, 504);
    let mut client = Connection::open(server.address).unwrap();
    assert!(client.get("/").is_err(), "its end is none");
    assert!(begun.elapsed() < millis(1_900), "{:?}", begun.elapsed());
    server.wait_log("longer than total_timeout");
}

#[test]
fn timeout_stands_for_those_that_are_not_given() {
    let upstream = Upstream::start(|_, stream| drip(stream, OK, 1, millis(1_000)));
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["{}"], timeout: "300ms")}},"#,
        upstream.address
    ));
    let server = server.start().tolerant(&["proxy x: "]);
    assert_eq!(get(server.address, "/").status, 504);
}

/// The queue of connections of a Unix socket is full: it is tried until `connect_timeout`, then another server has the request.
#[test]
fn a_full_queue_is_waited_for_and_then_left_alone() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    use std::os::fd::AsRawFd as _;
    let directory = Directory::new();
    let path = directory.path().join("full");
    let unix = |flags| socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    let listener = unix(SockFlag::empty());
    let address = UnixAddr::new(&path).unwrap();
    bind(listener.as_raw_fd(), &address).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let stream = unix(SockFlag::SOCK_NONBLOCK);
        if connect(stream.as_raw_fd(), &address).is_err() {
            break;
        }
        waiting.push(stream);
    }
    let second = Upstream::start(|_, stream| stream.write_all(OK.as_bytes()).is_ok());
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": (servers: ["unix:{}", "{}"], balance: First, connect_timeout: "100ms")}},"#,
        path.display(),
        second.address
    ))
    .start();
    assert_eq!(get(server.address, "/").text(), "ok");
    server.wait_log("connect-timeout");
    // The next one goes over the connection that this has left.
    assert_eq!(get(server.address, "/").text(), "ok");
    let used: Vec<_> = second.received().iter().map(|request| request.connection).collect();
    assert_eq!(used, [0, 0]);
    drop((waiting, listener));
}
