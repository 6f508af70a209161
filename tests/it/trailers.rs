//! What is said before and behind a message: early hints, and trailers of responses and requests.

use crate::harness::http2::{self, Came, Client, END_STREAM};
use crate::harness::{Connection, Reply, SOON, Server, Setup, Upstream, noise};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

/// A proxy in front of a server that answers with hints, a body of the length in the path, and trailers.
fn server(keys: &str) -> (Server, Upstream) {
    let upstream = Upstream::start(|request, stream| {
        let length = request.line.split(' ').nth(1).unwrap().trim_start_matches('/').parse().unwrap();
        let mut answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nX-Gone: 1\r\n\r\n\
                           HTTP/1.1 200 OK\r\nX-Gone: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
        for chunk in noise(length, 1).chunks(10_000) {
            answer.extend(format!("{:x}\r\n", chunk.len()).bytes());
            answer.extend(chunk);
            answer.extend(b"\r\n");
        }
        answer.extend(
            b"0\r\nX-Checksum:  abc \r\nServer-Timing: db;dur=5\r\nX-Gone: 1\r\nSet-Cookie: a=1\r\nContent-Length: 3\r\n\
              Connection: close\r\nTransfer-Encoding: chunked\r\nX-Checksum: def\r\n\r\n",
        );
        stream.write_all(&answer).is_ok()
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (request_id: Off),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy(
        name: "behind", response_headers: (remove: ["X-Gone"]), {keys}))])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ));
    (setup.start(), upstream)
}

const PASSED: [(&str, &str); 3] =
    [("x-checksum", "abc"), ("server-timing", "db;dur=5"), ("x-checksum", "def")];

/// What follows the last chunk, for a client that says these fields.
fn behind_the_body(server: &Server, version: &str, fields: &str) -> Vec<(String, String)> {
    let mut client = Connection::open(server.address).unwrap();
    client.send(format!("GET /5 {version}\r\nHost: a\r\n{fields}\r\n")).unwrap();
    while client.reply_head().unwrap().status == 103 {}
    client.send("GET /0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let rest = client.rest().unwrap();
    let text: String = rest.iter().copied().map(char::from).collect();
    let Some((_, end)) = text.split_once("\r\n0\r\n") else { return Vec::new() };
    let (trailers, next) = match end.strip_prefix("\r\n") {
        Some(next) => ("", next),
        None => end.split_once("\r\n\r\n").unwrap(),
    };
    assert!(next.starts_with("HTTP/1.1 "), "the connection goes on: {end:?}");
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    trailers.lines().map(field).collect()
}

#[test]
fn trailers_reach_who_asks_for_them() {
    let (server, upstream) = server("trailers: true");
    let passed = PASSED.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(behind_the_body(&server, "HTTP/1.1", "Connection: te\r\nTE: gzip, trailers\r\n"), passed);
    let received = upstream.take_received();
    assert_eq!((received[0].all("te"), received[0].all("connection")), (vec!["trailers"], vec!["te"]));
    assert_eq!(received[1].all("te"), [""; 0]);
    for fields in ["", "TE: gzip\r\n"] {
        assert_eq!(behind_the_body(&server, "HTTP/1.1", fields), [], "{fields:?}");
    }
    // No version to have them in: the body ends with the connection.
    let mut old = Connection::open(server.address).unwrap();
    old.send("GET /5 HTTP/1.0\r\nTE: trailers\r\n\r\n").unwrap();
    assert_eq!(old.reply("GET").unwrap().body, noise(5, 1));
}

#[test]
fn trailers_reach_who_asks_for_them_over_http_2() {
    let (server, _upstream) = server("trailers: true");
    // More and less than a window, and nothing.
    for length in [0, 5, 100_000, 300_000] {
        let mut client = Client::open(server.address, &[]).unwrap();
        let path = format!("/{length}");
        for asks in [true, false] {
            let mut fields = client.asks("GET", &path);
            if asks {
                fields.push(("te", "trailers"));
            }
            let stream = client.request(&fields, true).unwrap();
            let answer = client.answer(stream).unwrap();
            assert!(
                answer.body == noise(length, 1) && answer.complete && answer.interim == [103],
                "{length}"
            );
            let told: Vec<_> =
                answer.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(told, if asks { &PASSED[..] } else { &[] }, "{length}");
        }
    }
}

#[test]
fn nobody_is_told_of_trailers_unasked() {
    let (server, upstream) = server("");
    assert_eq!(behind_the_body(&server, "HTTP/1.1", "Connection: te\r\nTE: trailers\r\n"), []);
    assert!(upstream.received().iter().all(|request| request.all("te").is_empty()));
}

#[test]
fn hints_can_be_kept_back() {
    for (keys, hints) in [("", vec![103]), ("early_hints: false", vec![])] {
        let (server, _upstream) = server(keys);
        let mut client = Connection::open(server.address).unwrap();
        client.send("GET /5 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        if hints == [103] {
            let hint = client.reply_head().unwrap();
            // What is removed from the response is removed from them, too.
            assert_eq!(hint.fields, [("Link".to_owned(), "</a.css>".to_owned())]);
        }
        let reply = client.reply("GET").unwrap();
        assert_eq!((reply.interim, reply.body), (vec![], noise(5, 1)));
        let answer = Client::open(server.address, &[]).unwrap().get("/5").unwrap();
        assert_eq!(answer.interim, hints, "{keys}");
    }
}

/// A proxy to these servers, whose location has these keys besides.
fn proxy(servers: &[String], keys: &str, upstream: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    temp_dir: "{{dir}}",
    sites: [(listen: ["{{address}}"], max_body: "8MiB", locations: [(path: "/", to: Proxy(
        name: "behind", request_headers: (set: {{"X-Api-Key": "ours"}}, remove: ["X-Gone"]), {keys}))])],
    upstreams: {{"behind": (servers: [{}], {upstream})}},"#,
        servers.join(", ")
    ))
    .start()
}

fn proxy_to(upstream: &Upstream, keys: &str) -> Server {
    proxy(&[format!("\"{}\"", upstream.address)], keys, "")
}

/// Nothing, what stays in memory, what goes to a file where it is kept, and what needs more than one window.
const LENGTHS: [usize; 4] = [0, 5, 400_000, 3 << 20];

const SUM: &[(&str, &str)] = &[("X-Sum", "abc"), ("X-Sum", "def")];

/// Sends a body by chunks, and what follows it.
fn send(client: &mut Connection, method: &str, fields: &str, body: &[u8], trailers: &str) -> Reply {
    let head = format!("{method} /up HTTP/1.1\r\nHost: a\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for chunk in body.chunks(50_000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(format!("0\r\n{trailers}\r\n").bytes());
    client.send(bytes).unwrap();
    client.reply(method).unwrap()
}

/// The same over HTTP/2: as much at a time as the windows of the server let go.
fn send2(
    client: &mut Client,
    fields: &[(&str, &str)],
    body: &[u8],
    trailers: &[(&str, &str)],
) -> http2::Answer {
    let head = [&client.asks("POST", "/up")[..], fields].concat();
    let stream = client.request(&head, false).unwrap();
    let mut window = 256 << 10;
    for chunk in body.chunks(16_000) {
        while window < chunk.len() {
            if let Came::Window { stream: of, increment } = client.step().unwrap()
                && of == stream
            {
                window += increment as usize;
            }
        }
        window -= chunk.len();
        client.send(http2::frame(http2::DATA, 0, stream, chunk)).unwrap();
    }
    client.send(http2::headers(stream, END_STREAM, trailers)).unwrap();
    client.answer(stream).unwrap()
}

fn pairs(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn trailers_of_requests_reach_the_upstream_behind_whatever_body() {
    for keys in ["trailers: true", "trailers: true, buffering: Off"] {
        let upstream = Upstream::fixed("ok");
        let server = proxy_to(&upstream, keys);
        let mut client = Connection::open(server.address).unwrap();
        for (at, length) in LENGTHS.into_iter().enumerate() {
            let body = noise(length, at as u64);
            let fields = "Trailer: X-Sum, Content-Length\r\n";
            let reply = send(&mut client, "POST", fields, &body, "X-Sum: abc\r\nX-Sum:def\r\n");
            assert_eq!(reply.text(), "ok", "{keys} {length}");
            assert_eq!(client.get("/next").unwrap().text(), "ok");
            let [request, next] = &upstream.take_received()[..] else { panic!("{keys} {length}") };
            assert!(request.body == body, "{keys} {length}");
            assert_eq!(pairs(&request.trailers), SUM);
            assert_eq!(request.all("transfer-encoding"), ["chunked"]);
            assert_eq!((request.all("trailer"), request.all("content-length")), (vec!["X-Sum"], vec![]));
            assert_eq!((next.connection, next.all("x-sum")), (0, vec![]), "{keys} {length}");
        }
    }
}

#[test]
fn trailers_of_requests_over_http_2_reach_the_upstream() {
    let sum = &[("x-sum", "abc"), ("x-sum", "def")][..];
    for keys in ["trailers: true", "trailers: true, buffering: Off"] {
        let upstream = Upstream::fixed("ok");
        let server = proxy_to(&upstream, keys);
        let mut client = Client::open(server.address, &[]).unwrap();
        for length in LENGTHS {
            let (body, size) = (noise(length, 3), length.to_string());
            for (fields, announced) in [
                (&[][..], vec![]),
                (&[("trailer", "x-sum")], vec!["x-sum"]),
                (&[("content-length", &*size), ("trailer", "x-sum")], vec!["x-sum"]),
                (&[("content-length", &*size)], vec![]),
            ] {
                assert_eq!(send2(&mut client, fields, &body, sum).text(), "ok", "{keys} {length}");
                let [request] = &upstream.take_received()[..] else { panic!("{keys} {length}") };
                assert!(request.body == body, "{keys} {length}");
                // Of a length alone it was told before anybody knew of more.
                let is_told = fields == [("content-length", &*size)];
                let is_dropped = is_told && (length == 0 || keys.contains("Off"));
                assert_eq!(
                    pairs(&request.trailers),
                    if is_dropped { &[][..] } else { sum },
                    "{keys} {fields:?}"
                );
                assert_eq!(request.all("content-length").is_empty(), !is_dropped, "{keys} {fields:?}");
                assert_eq!(request.all("trailer"), announced, "{keys} {fields:?}");
            }
        }
    }
}

#[test]
fn a_kept_body_without_trailers_has_its_length_whatever_was_announced() {
    let upstream = Upstream::fixed("ok");
    let server = proxy_to(&upstream, "trailers: true");
    let mut client = Connection::open(server.address).unwrap();
    for trailers in ["", "Authorization: Basic eA==\r\n"] {
        assert_eq!(send(&mut client, "POST", "Trailer: X-Sum\r\n", b"hello", trailers).text(), "ok");
        let request = upstream.last();
        assert_eq!((request.all("content-length"), request.all("trailer")), (vec!["5"], vec![]));
    }
}

#[test]
fn trailers_of_requests_are_dropped_unless_the_location_says_otherwise() {
    for (keys, length) in [("", Some("5")), ("buffering: Off", None)] {
        let upstream = Upstream::fixed("ok");
        let server = proxy_to(&upstream, keys);
        let mut client = Connection::open(server.address).unwrap();
        assert_eq!(send(&mut client, "POST", "Trailer: X-Sum\r\n", b"hello", "X-Sum: abc\r\n").text(), "ok");
        let mut client = Client::open(server.address, &[]).unwrap();
        assert_eq!(send2(&mut client, &[("trailer", "x-sum")], b"hello", &[("x-sum", "a")]).text(), "ok");
        for request in upstream.take_received() {
            assert_eq!((&*request.body, &*request.trailers), (&b"hello"[..], &[][..]), "{keys}");
            assert_eq!(request.all("content-length").first().copied(), length, "{keys}");
            assert_eq!((request.all("trailer"), request.all("x-sum")), (vec![], vec![]), "{keys}");
        }
    }
}

#[test]
fn a_request_that_is_sent_again_has_its_trailers_again() {
    for length in [5, 3 << 20] {
        let (bad, good) = (Upstream::start(|_, _| false), Upstream::fixed("good"));
        let servers =
            [format!("\"{}\"", bad.address), format!("(address: \"{}\", backup: true)", good.address)];
        let server = proxy(&servers, "trailers: true", "").tolerant(&["behind"]);
        let mut client = Connection::open(server.address).unwrap();
        let body = noise(length, 4);
        let reply = send(&mut client, "PUT", "", &body, "X-Sum: abc\r\nX-Sum: def\r\n");
        assert_eq!(reply.text(), "good");
        for upstream in [&bad, &good] {
            let [request] = &upstream.take_received()[..] else { panic!("{length}") };
            assert!(request.body == body && pairs(&request.trailers) == SUM, "{:?}", request.trailers);
        }
    }
}

#[test]
fn what_means_something_in_the_head_is_no_trailer_of_a_request() {
    let upstream = Upstream::fixed("ok");
    let server = proxy_to(&upstream, "trailers: true");
    let bad = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nAuthorization: Basic eA==\r\n\
               Cookie: admin=1\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTE: trailers\r\n\
               Connection: close\r\nX-Named: 1\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
               X-Real-IP: 6.6.6.6\r\nX-Api-Key: theirs\r\nX-Gone: 1\r\nX_Sum: 1\r\nX-Request-Id: theirs\r\n\
               Via: 1.1 evil\r\nExpect: 100-continue\r\nTrailer: X-Sum\r\n";
    let mut client = Connection::open(server.address).unwrap();
    let trailers = format!("{bad}X-Sum: abc\r\n{bad}X-Sum: def\r\n");
    assert_eq!(send(&mut client, "POST", "Connection: x-named\r\n", b"hello", &trailers).text(), "ok");
    let request = upstream.last();
    assert_eq!(pairs(&request.trailers), SUM);
    assert_eq!((request.all("host"), request.all("x-api-key")), (vec!["a"], vec!["ours"]));
    // A name of HTTP/2 is refused that is one of its connection, as in a head.
    let mut client = Client::open(server.address, &[]).unwrap();
    let sent = [("host", "evil"), ("x_sum", "1"), ("x-real-ip", "6.6.6.6"), ("x-sum", "abc")];
    assert_eq!(send2(&mut client, &[], b"hello", &sent).text(), "ok");
    assert_eq!(pairs(&upstream.last().trailers), [("x-sum", "abc")]);
    assert_eq!(send2(&mut client, &[], b"hello", &[("connection", "close")]).status, 400);
    assert_eq!(upstream.received().len(), 2);
}

/// A server that tells what it has read once that contains `hello`, and at its end; on its first connection it may answer in
/// the middle.
fn overheard(answers_early: bool) -> (Upstream, mpsc::Receiver<(usize, String)>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::raw(move |connection, mut stream: TcpStream| {
        let tell = tell.lock().unwrap().clone();
        let (mut all, mut room, mut half) = (Vec::new(), [0; 4096], false);
        while let Ok(count @ 1..) = stream.read(&mut room) {
            all.extend_from_slice(&room[..count]);
            let text = String::from_utf8_lossy(&all).into_owned();
            let is_whole = text.starts_with("GET") || text.ends_with("0\r\n\r\n");
            if text.contains("hello") && !half {
                half = true;
                tell.send((connection, text)).unwrap();
            }
            if is_whole || half && answers_early && connection == 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        }
        let _ = tell.send((connection, String::from_utf8_lossy(&all).into_owned()));
    });
    (upstream, told)
}

const UPLOAD: &str =
    "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\n";

#[test]
fn trailers_that_are_none_refuse_the_request_and_its_connection_carries_no_other() {
    let long = format!("X: {}", "x".repeat(16 << 10));
    let smuggled = "X\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n";
    for line in ["X : y", " folded", "X: a\nb: c", smuggled, &long] {
        let (upstream, told) = overheard(false);
        let server = proxy_to(&upstream, "trailers: true, buffering: Off");
        let mut client = Connection::open(server.address).unwrap();
        client.send(UPLOAD).unwrap();
        let (connection, text) = told.recv_timeout(SOON).unwrap();
        assert!(
            connection == 0 && text.starts_with("POST /up ") && text.ends_with("5\r\nhello\r\n"),
            "{text}"
        );
        client.send(format!("{line}\r\n\r\n")).unwrap();
        let reply = client.reply("POST").unwrap();
        assert_eq!((reply.status, reply.closes()), (400, true), "{line:?}");
        // It has got neither an end nor anything else.
        assert_eq!(told.recv_timeout(SOON).unwrap(), (0, text), "{line:?}");
        let mut next = Connection::open(server.address).unwrap();
        assert_eq!(next.get("/next").unwrap().text(), "ok");
        drop((next, server));
        let (connection, text) = told.recv_timeout(SOON).unwrap();
        assert!(connection == 1 && text.starts_with("GET /next "), "{text}");

        // Of one that was to be kept the upstream hears nothing.
        let upstream = Upstream::fixed("ok");
        let server = proxy_to(&upstream, "trailers: true");
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("{UPLOAD}{line}\r\n\r\n")).unwrap();
        assert_eq!(client.reply("POST").unwrap().status, 400, "{line:?}");
        assert!(upstream.received().is_empty(), "{line:?}");
    }
}

#[test]
fn trailers_of_http_2_that_are_none_refuse_the_request_and_its_connection_carries_no_other() {
    let long = "x".repeat(16 << 10);
    for field in [("X-Sum", "1"), (":path", "/"), ("x-sum", "a\r\nb: c"), ("x-long", &*long)] {
        let (upstream, told) = overheard(false);
        let server = proxy_to(&upstream, "trailers: true, buffering: Off");
        let mut client = Client::open(server.address, &[]).unwrap();
        let stream = client.request(&client.asks("POST", "/up"), false).unwrap();
        client.send(http2::frame(http2::DATA, 0, stream, "hello")).unwrap();
        let (_, text) = told.recv_timeout(SOON).unwrap();
        client.send(trailers_in_frames(stream, &[("x-sum", "abc"), field])).unwrap();
        assert_eq!(client.answer(stream).unwrap().status, 400, "{field:?}");
        assert_eq!(told.recv_timeout(SOON).unwrap(), (0, text), "{field:?}");
        // The other requests of the client go on.
        assert_eq!(client.get("/next").unwrap().text(), "ok");
    }
}

/// HEADERS and as many CONTINUATION frames as it takes.
fn trailers_in_frames(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = http2::block(fields);
    let mut parts = block.chunks(16_000).peekable();
    let (mut bytes, mut kind, mut flags) = (Vec::new(), http2::HEADERS, END_STREAM);
    while let Some(part) = parts.next() {
        let last = if parts.peek().is_none() { http2::END_HEADERS } else { 0 };
        bytes.extend(http2::frame(kind, flags | last, stream, part));
        (kind, flags) = (http2::CONTINUATION, 0);
    }
    bytes
}

#[test]
fn trailers_of_a_request_that_was_answered_already_reach_nobody() {
    let (upstream, told) = overheard(true);
    let server = proxy_to(&upstream, "trailers: true, buffering: Off");
    let mut client = Connection::open(server.address).unwrap();
    client.send(UPLOAD).unwrap();
    assert_eq!(client.reply("POST").unwrap().text(), "ok");
    let (_, text) = told.recv_timeout(SOON).unwrap();
    // The connection to the upstream is of no use to anybody else.
    assert_eq!(told.recv_timeout(SOON).unwrap(), (0, text));
    client.send("X-Sum: def\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.reply("GET").unwrap().text(), "ok");
}

#[test]
fn other_protocols_have_no_trailers() {
    let upstream = Upstream::raw(|_, mut stream| {
        let (mut all, mut room) = (Vec::new(), [0; 4096]);
        while !all.ends_with(b"hello") {
            match stream.read(&mut room) {
                Ok(count @ 1..) => all.extend_from_slice(&room[..count]),
                _ => return,
            }
        }
        let has_sum = all.windows(3).any(|part| part.eq_ignore_ascii_case(b"sum"));
        let _ = write!(stream, "Status: 200 OK\r\n\r\n{has_sum}");
    });
    for keys in ["trailers: true", "trailers: true, buffering: Off"] {
        let server = proxy(&[format!("\"{}\"", upstream.address)], keys, "protocol: Scgi");
        let mut client = Connection::open(server.address).unwrap();
        let reply = send(&mut client, "POST", "Trailer: X-Sum\r\n", b"hello", "X-Sum: abc\r\n");
        assert_eq!((reply.status, &*reply.text()), (200, "false"), "{keys}");
        let mut client = Client::open(server.address, &[]).unwrap();
        let fields = [("content-length", "5"), ("trailer", "x-sum")];
        assert_eq!(send2(&mut client, &fields, b"hello", &[("x-sum", "abc")]).text(), "false", "{keys}");
    }
}
