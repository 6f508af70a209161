//! What a server says before and behind its response: early hints and trailers.

use crate::harness::http2::Client;
use crate::harness::{Connection, Server, Setup, Upstream, noise};
use std::io::Write as _;

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
