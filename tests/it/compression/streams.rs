//! What apps and upstreams send: with and without length, in pieces, with pauses, badly.

use super::{ALL, ask, decoded, prose, so_far};
use crate::harness::{Connection, Gate, Server, Setup, Upstream, noise};
use std::io::Write as _;
use std::net::TcpStream;

const APP: &str = r#"
import hashlib, os, pathlib
from urllib.parse import parse_qsl

TEXT = pathlib.Path(__file__).with_name("prose").read_bytes()

def app(environ, start_response):
    asked = dict(parse_qsl(environ["QUERY_STRING"]))
    headers = [("Content-Type", asked.get("type", "text/html")), ("ETag", '"v1"')]
    headers += [tuple(asked[name].split(": ", 1)) for name in asked if name.startswith("field")]
    if environ.get("HTTP_IF_NONE_MATCH") and '"v1"' in environ["HTTP_IF_NONE_MATCH"]:
        start_response("304 Not Modified", [("ETag", '"v1"')])
        return []
    path = environ["PATH_INFO"]
    if path == "/whole":
        start_response("200 OK", headers + [("Content-Length", str(len(TEXT)))])
        return [TEXT]
    if path == "/pieces":
        start_response("200 OK", headers)
        return [TEXT[at:at + 777] for at in range(0, len(TEXT), 777)]
    if path == "/file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(pathlib.Path(__file__).with_name("prose"), "rb"))
    if path == "/short":
        start_response("200 OK", headers + [("Content-Length", str(len(TEXT) + 5))])
        return [TEXT]
    if path == "/events":
        start_response("200 OK", headers)
        return events(asked["gate"])
    if path == "/fails":
        start_response("200 OK", headers)
        return fails()
    start_response("200 OK", headers)
    return [repr(sorted((name, environ[name]) for name in environ if name.startswith("HTTP_IF"))).encode() + b" " * 2000]

def events(gate):
    yield b"data: first\n\n"
    with open(gate) as waits:
        waits.read()
    yield b"data: second\n\n"

def fails():
    yield TEXT[:5000]
    raise RuntimeError("as meant")
"#;

/// An app behind `compress: (keys)`.
fn app(keys: &str) -> (Server, Vec<u8>) {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], compress: ({keys}), locations: [(path: "/", to: App("app"))])],
    apps: {{"app": (module: "compressed:app", chdir: "{{dir}}/app", home: "{{venv}}", processes: 1)}},"#
    ));
    let text = prose(400_000);
    setup.directory.write("app/compressed.py", APP);
    setup.directory.write("app/prose", &text);
    (setup.start(), text)
}

#[test]
fn what_an_app_sends_is_what_its_client_has_however_it_is_sent() {
    let (server, text) = app("");
    let mut connection = Connection::open(server.address).unwrap();
    for encoding in ALL {
        for path in ["/whole", "/pieces", "/file"] {
            let fields = [("Accept-Encoding", encoding)];
            let reply = connection.request("GET", path, &fields, b"").unwrap();
            assert_eq!(reply.field("content-encoding"), Some(encoding), "{path}");
            assert!(decoded(encoding, &reply.body) == text, "{path} {encoding}");
            assert!(reply.body.len() < text.len() / 2, "{path} {encoding}: {}", reply.body.len());
            assert_eq!(reply.field("etag"), Some(&*format!("\"v1-{encoding}\"")));
            let fields = [("Accept-Encoding", encoding), ("If-None-Match", reply.field("etag").unwrap())];
            let again = connection.request("GET", path, &fields, b"").unwrap();
            assert_eq!((again.status, again.field("etag")), (304, reply.field("etag")), "{path} {encoding}");
        }
    }
    let plain = ask(&server, "/whole", &[]);
    assert!(plain.body == text && plain.field("vary") == Some("Accept-Encoding"));
    assert_eq!(plain.field("etag"), Some("\"v1\""));
}

#[test]
fn what_an_app_says_of_its_response_is_respected_and_what_does_not_hold_any_more_is_gone() {
    let (server, _) = app("");
    let all = [("Accept-Encoding", "gzip, br, zstd")];
    for (query, vary) in [
        ("field=Content-Encoding: gzip", None),
        ("field=Cache-Control: no-transform", None),
        ("type=image/png", None),
        ("type=text/event-stream", None),
        ("field=Vary: Cookie&field2=Cache-Control: no-transform", Some("Cookie")),
    ] {
        let reply = ask(&server, &format!("/pieces?{}", query.replace(' ', "%20")), &all);
        let own = query.contains("Content-Encoding");
        assert_eq!(reply.field("content-encoding"), own.then_some("gzip"), "{query}");
        assert_eq!((reply.field("vary"), reply.field("etag")), (vary, Some("\"v1\"")), "{query}");
    }
    let query = "field=Vary:%20Cookie&field2=Content-MD5:%20x&field3=Repr-Digest:%20sha-256=:x=:&field4=Accept-Ranges:%20bytes";
    let reply = ask(&server, &format!("/pieces?{query}"), &all);
    assert_eq!(
        (reply.field("vary"), reply.field("content-encoding")),
        (Some("Cookie, Accept-Encoding"), Some("zstd"))
    );
    for name in ["content-md5", "repr-digest", "accept-ranges", "content-length"] {
        assert!(reply.field(name).is_none(), "{name}: {reply:?}");
    }
    // What it is asked by is what it knows; a range is none of what was compressed.
    let fields = [("Accept-Encoding", "gzip"), ("If-Match", "\"x-gzip\""), ("If-Range", "\"y-gzip\"")];
    let reply = ask(&server, "/said", &fields);
    let said = String::from_utf8(decoded("gzip", &reply.body)).unwrap();
    assert!(said.contains(r#"('HTTP_IF_MATCH', '"x-gzip", "x"'), ('HTTP_IF_RANGE', '"y-gzip"')"#), "{said}");
}

/// A chunk of what comes.
fn chunk(client: &mut Connection) -> Vec<u8> {
    let mut size = Vec::new();
    while !size.ends_with(b"\r\n") {
        client.exactly(1, &mut size).unwrap();
    }
    let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
    let mut chunk = Vec::new();
    client.exactly(size + 2, &mut chunk).unwrap();
    chunk.truncate(size);
    chunk
}

#[test]
fn what_an_app_has_said_before_it_pauses_is_not_held_back() {
    let (server, _) = app("streams: true");
    for encoding in ALL {
        let gate = Gate::new(server.directory(), encoding);
        let path = server.directory().path().join(encoding);
        let mut client = Connection::open(server.address).unwrap();
        let asked = format!(
            "GET /events?type=text/event-stream&gate={} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n",
            path.display()
        );
        client.send(asked).unwrap();
        assert_eq!(client.reply_head().unwrap().field("content-encoding"), Some(encoding));
        let mut body = Vec::new();
        while so_far(encoding, &body) != b"data: first\n\n" {
            body.extend(chunk(&mut client));
        }
        gate.open();
        loop {
            let next = chunk(&mut client);
            if next.is_empty() {
                break;
            }
            body.extend(next);
        }
        assert_eq!(decoded(encoding, &body), b"data: first\n\ndata: second\n\n", "{encoding}");
    }
}

#[test]
fn a_response_that_breaks_off_does_not_look_complete() {
    let (server, text) = app("");
    for path in ["/short", "/fails"] {
        for encoding in ALL {
            let mut client = Connection::open(server.address).unwrap();
            let fields = [("Accept-Encoding", encoding)];
            let came = client.request("GET", path, &fields, b"");
            assert!(came.is_err(), "{path} {encoding}: {came:?}");
        }
    }
    assert!(ask(&server, "/whole", &[]).body == text, "the app goes on");
    drop(server.tolerant(&["wrong-length", "truncated", "failed in the middle", "as meant"]));
}

/// An upstream that answers as its path says: `/LENGTH` with a length, `/chunked/LENGTH` without, in uneven pieces.
fn upstream() -> Upstream {
    Upstream::start(|request, stream: &mut TcpStream| {
        let path = request.line.split(' ').nth(1).unwrap().to_owned();
        let length = path.rsplit('/').next().unwrap().parse().unwrap();
        let body = prose(length);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: W/\"weak\"\r\n";
        if !path.starts_with("/chunked/") {
            let head = format!("{head}Content-Length: {length}\r\n\r\n");
            return stream.write_all(&[head.as_bytes(), &body].concat()).is_ok();
        }
        let mut sent =
            stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).is_ok();
        let mut sizes = noise(1000, 3).into_iter().cycle();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let size = (1 + usize::from(sizes.next().unwrap()).pow(2)).min(rest.len());
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            let framed = [format!("{size:x}\r\n").as_bytes(), piece, b"\r\n"].concat();
            sent &= stream.write_all(&framed).is_ok();
        }
        let end = "0\r\nRepr-Digest: x\r\nX-Own: 1\r\n\r\n";
        sent & stream.write_all(end.as_bytes()).is_ok()
    })
}

#[test]
fn what_an_upstream_sends_is_what_its_client_has() {
    let upstream = upstream();
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/", to: Proxy(name: "behind", trailers: true), compress: true),
    ])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ));
    let server = setup.start();
    let mut client = Connection::open(server.address).unwrap();
    // Also so long a one that it would go through a pipe unread.
    for path in ["/5000", "/600000", "/chunked/5", "/chunked/70000", "/chunked/1000000", "/6000000"] {
        let text = prose(path.rsplit('/').next().unwrap().parse().unwrap());
        for encoding in ALL {
            let reply = client.request("GET", path, &[("Accept-Encoding", encoding)], b"").unwrap();
            assert_eq!(reply.field("content-encoding"), Some(encoding), "{path}");
            assert!(decoded(encoding, &reply.body) == text, "{path} {encoding}");
            assert_eq!(reply.field("etag"), Some("W/\"weak\""), "the content is the same");
        }
        let plain = client.request("GET", path, &[], b"").unwrap();
        assert!(plain.body == text, "{path}");
    }
    // What follows the body goes on, but for what tells of other bytes.
    let mut client = Connection::open(server.address).unwrap();
    client
        .send("GET /chunked/5 HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nAccept-Encoding: gzip\r\nConnection: close, te\r\n\r\n")
        .unwrap();
    let all = client.rest().unwrap();
    assert!(all.ends_with(b"\r\n0\r\nX-Own: 1\r\n\r\n"), "{}", all.escape_ascii());
}
