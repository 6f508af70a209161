//! The fields that an upstream sees, and what of its answers the client sees.

use crate::harness::{Connection, Server, Setup, Upstream, get};
use std::io::{Read as _, Write};

fn front(upstream: &Upstream, site: &str, proxy: &str, keys: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {site} locations: [(path: "/", to: Proxy(name: "up", {proxy}))])],
    upstreams: {{"up": (servers: ["{}"], {keys})}},"#,
        upstream.address
    ))
    .start()
}

#[test]
fn fields_are_set_added_and_removed_both_ways() {
    let upstream = Upstream::start(|_, stream| {
        let fields = "X-Powered-By: PHP\r\nCache-Control: public\r\ncache-control: max-age=9\r\nVary: Cookie\r\nX-Kept: 1";
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = front(
        &upstream,
        "",
        r#"request_headers: (set: {"X-Api-Key": "secret", "X-Forwarded-Proto": "https"}, add: {"X-Seen": "here"},
                             remove: ["cookie", "X-Forwarded-Port", "X-Request-Id"]),
           response_headers: (set: {"Cache-Control": "no-store"}, add: {"Vary": "Accept"}, remove: ["x-powered-by"])"#,
        "",
    );
    let mut client = Connection::open(server.address).unwrap();
    let fields = [("X-Api-Key", "guess"), ("Cookie", "a=1"), ("X-Seen", "there"), ("X-Kept", "1")];
    let reply = client.request("GET", "/", &fields, b"").unwrap();
    assert_eq!(reply.all("cache-control"), ["no-store"]);
    assert_eq!(reply.all("vary"), ["Cookie", "Accept"]);
    assert_eq!(reply.all("x-kept"), ["1"]);
    assert_eq!(reply.field("x-powered-by"), None);
    let received = upstream.last();
    for (name, values) in [
        ("x-api-key", &["secret"][..]),
        ("x-forwarded-proto", &["https"]),
        ("x-seen", &["there", "here"]),
        ("x-kept", &["1"]),
        ("cookie", &[]),
        ("x-forwarded-port", &[]),
        ("x-request-id", &[]),
    ] {
        assert_eq!(received.all(name), values, "{name}");
    }
    assert_eq!(received.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn the_way_is_told_in_forwarded_on_demand() {
    let upstream = Upstream::fixed("ok");
    let host = ("Host", "shop.example:81");
    let claim = [host, ("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "6.6.6.6")];
    for (site, keys, fields, expected) in [
        ("", "", &claim[..], &[][..]),
        ("", "forwarded: true", &claim, &["for=127.0.0.1;host=\"shop.example:81\";proto=http"]),
        (
            "trusted_proxies: [\"127.0.0.1\"],",
            "forwarded: true",
            &claim,
            &["for=6.6.6.6", "for=127.0.0.1;host=\"shop.example:81\";proto=http"],
        ),
        (
            "trusted_proxies: [\"127.0.0.1\"],",
            "forwarded: true",
            &[host, ("X-Forwarded-For", "2001:db8::1"), ("X-Forwarded-Proto", "https")],
            &["for=\"[2001:db8::1]\";host=\"shop.example:81\";proto=https, for=127.0.0.1"],
        ),
    ] {
        let server = front(&upstream, site, "", keys);
        Connection::open(server.address).unwrap().request("GET", "/", fields, b"").unwrap();
        assert_eq!(upstream.last().all("forwarded"), expected, "{site} {keys} {fields:?}");
    }
}

#[test]
fn connection_takes_away_what_it_names_and_nothing_that_decides() {
    let upstream = Upstream::start(|_, stream| {
        let fields = "Connection: X-Hop, Content-Type, Set-Cookie-Not, Keep-Alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
                      Content-Type: text/plain\r\nX-End: 1";
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = front(&upstream, "", r#"request_headers: (set: {"X-Ours": "1"})"#, "");
    let mut client = Connection::open(server.address).unwrap();
    let names =
        "keep-alive, X-Hop, Host, Cookie, Authorization, Content-Length, X-Forwarded-For, X-Ours, Via";
    let fields = [
        ("Host", "shop.example"),
        ("Connection", names),
        ("X-Hop", "1"),
        ("Cookie", "a=1"),
        ("Authorization", "Basic eA=="),
        ("X-End", "1"),
    ];
    let reply = client.request("POST", "/", &fields, b"body").unwrap();
    assert_eq!((reply.text().as_str(), reply.field("x-hop"), reply.field("keep-alive")), ("ok", None, None));
    assert_eq!((reply.field("content-type"), reply.field("x-end")), (Some("text/plain"), Some("1")));
    let received = upstream.last();
    for (name, values) in [
        ("x-hop", &[][..]),
        ("host", &["shop.example"]),
        ("cookie", &["a=1"]),
        ("authorization", &["Basic eA=="]),
        ("content-length", &["4"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-ours", &["1"]),
        ("via", &["1.1 hatchery"]),
        ("x-end", &["1"]),
    ] {
        assert_eq!(received.all(name), values, "{name}");
    }
    assert_eq!(received.body, b"body");
}

#[test]
fn a_stream_that_wants_no_buffering_comes_piece_by_piece() {
    // The second piece is sent when the client says that it has the first.
    let (has_first, first) = std::sync::mpsc::sync_channel(1);
    let first = std::sync::Mutex::new(first);
    let upstream = Upstream::start(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nContent-Type: text/event-stream\r\n";
        write!(stream, "{head}Content-Length: 6\r\n\r\none").unwrap();
        first.lock().unwrap().recv().unwrap();
        stream.write_all(b"two").is_ok()
    });
    let server = front(&upstream, "", "", "");
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = client.reply_head().unwrap();
    assert_eq!((head.status, head.field("x-accel-buffering")), (200, None));
    let mut body = Vec::new();
    client.exactly(3, &mut body).unwrap();
    has_first.send(()).unwrap();
    client.exactly(3, &mut body).unwrap();
    assert_eq!(body, b"onetwo");
}

/// Answers with the status that is asked for.
fn statuses() -> Upstream {
    Upstream::start(|request, stream| {
        let status = request.line.split(['/', ' ']).nth(2).unwrap_or_default();
        let body = if request.line.starts_with("HEAD") { "" } else { "theirs" };
        let fields =
            "WWW-Authenticate: Basic\r\nRetry-After: 7\r\nAllow: GET\r\nX-Theirs: 1\r\nContent-Type: a/b";
        // In one piece: what has not come yet when a page takes its place is not waited for.
        let answer = format!("HTTP/1.1 {status} Theirs\r\n{fields}\r\nContent-Length: 6\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

#[test]
fn errors_of_an_upstream_are_replaced_by_the_pages_of_the_site_on_demand() {
    let upstream = statuses();
    let pages = r#"error_pages: {404: "404.html", 503: "503.html"},"#;
    for intercept in [true, false] {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {pages} locations: [(path: "/", to: Proxy(name: "up", intercept_errors: {intercept}))])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
            upstream.address
        ));
        setup.directory.write("404.html", "our own 404");
        setup.directory.write("503.html", "our own 503");
        let server = setup.start();
        upstream.take_received();
        let mut client = Connection::open(server.address).unwrap();
        for status in [200, 404, 410, 503, 404] {
            for method in ["GET", "HEAD", "POST"] {
                let body: &[u8] = if method == "POST" { b"x" } else { b"" };
                let reply = client.request(method, &format!("/{status}"), &[], body).unwrap();
                let ours = intercept && matches!(status, 404 | 503);
                assert_eq!(reply.status, status, "{method}");
                assert_eq!(reply.field("x-theirs").is_none(), ours, "{method} {status}");
                for kept in ["www-authenticate", "retry-after", "allow"] {
                    assert!(reply.field(kept).is_some(), "{method} {status} {kept}");
                }
                let expected = if ours { format!("our own {status}") } else { "theirs".to_owned() };
                assert_eq!(reply.text(), if method == "HEAD" { "" } else { &expected }, "{method} {status}");
            }
        }
        let connections: Vec<_> = upstream.received().iter().map(|request| request.connection).collect();
        assert!(connections.iter().all(|one| *one == connections[0]), "kept: {connections:?}");
    }
}

#[test]
fn an_endless_error_is_not_read_for_its_page() {
    let upstream = Upstream::start(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            .unwrap();
        // Until the connection is closed.
        drop(stream.read(&mut [0; 1]));
        false
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], error_pages: {{404: "404.html"}},
             locations: [(path: "/", to: Proxy(name: "up", intercept_errors: true))])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("404.html", "our own");
    let server = setup.start();
    for _ in 0..3 {
        assert_eq!(get(server.address, "/").text(), "our own");
    }
}
