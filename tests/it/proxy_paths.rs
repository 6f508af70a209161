//! The paths that an upstream sees, and where its answers lead.

use crate::harness::{Connection, Server, Setup, Upstream, get};
use std::io::Write;

fn front(upstream: &Upstream, locations: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], trusted_proxies: ["127.0.0.1"], locations: [{locations}])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("files/here", "here");
    setup.start()
}

/// Answers with the fields that stand in the query, separated by `|`.
fn leads() -> Upstream {
    Upstream::start(|request, stream| {
        let query =
            request.line.split(['?', ' ']).nth(2).filter(|query| query.contains(':')).unwrap_or("X:1");
        let fields = query.replace("%20", " ").replace('|', "\r\n").replace("%3F", "?");
        write!(stream, "HTTP/1.1 302 Found\r\n{fields}\r\nContent-Length: 0\r\n\r\n").is_ok()
    })
}

#[test]
fn a_stripped_prefix_is_not_seen_by_the_upstream() {
    let upstream = Upstream::fixed("ok");
    let server = front(
        &upstream,
        r#"(path: "/api", to: Proxy(name: "up", strip: true)),
           (path: "/ü b/", to: Proxy(name: "up", strip: true)),
           (path: "/files/", to: Files(root: "files", fallback: Proxy(name: "up", strip: true))),
           (path: "/", to: Proxy("up"))"#,
    );
    for (asked, seen, prefix) in [
        ("/api/users?id=%37", "/users?id=%37", "/api"),
        ("/api/caf%C3%A9%2F;x", "/caf%C3%A9%2F;x", "/api"),
        ("/api", "/", "/api"),
        ("/api?x", "/?x", "/api"),
        ("/api/", "/", "/api"),
        ("/api//evil.example/x", "/evil.example/x", "/api"),
        ("/%61pi/a%20b", "/a%20b", "/api"),
        ("/api/caf\u{e9}?\u{e9}", "/caf%C3%A9?%C3%A9", "/api"),
        ("/%C3%BC%20b/x", "/x", "/%C3%BC%20b"),
        ("/files/none", "/none", "/files"),
        ("/apix", "/apix", "/theirs"),
    ] {
        let mut client = Connection::open(server.address).unwrap();
        let reply = client.request("GET", asked, &[("X-Forwarded-Prefix", "/theirs")], b"").unwrap();
        assert_eq!(reply.status, 200, "{asked}");
        let received = upstream.last();
        assert_eq!(received.line, format!("GET {seen} HTTP/1.1"), "{asked}");
        assert_eq!(received.all("x-forwarded-prefix"), [prefix], "{asked}");
    }
    // What could be read as a path of another location goes nowhere.
    upstream.take_received();
    assert_eq!(get(server.address, "/api/..;/admin").status, 400);
    assert!(upstream.received().is_empty());
}

#[test]
fn what_a_stripped_upstream_answers_leads_back() {
    let upstream = leads();
    let server = front(
        &upstream,
        r#"(path: "/api/", to: Proxy(name: "up", strip: true)), (path: "/", to: Proxy("up"))"#,
    );
    let own = format!("http://{}", upstream.address);
    let mut client = Connection::open(server.address).unwrap();
    for (field, given, expected) in [
        ("Location", "/login", "/api/login"),
        ("Location", &format!("{own}/login"), "http://shop.example/api/login"),
        ("Location", "http://shop.example/login", "http://shop.example/api/login"),
        ("Location", "//other.example/login", "//other.example/login"),
        ("Location", "/api/login", "/api/login"),
        ("Content-Location", "/x", "/api/x"),
        ("Refresh", "5;%20url=/x", "5; url=/api/x"),
        ("Set-Cookie", "a=1;%20Path=/;%20HttpOnly", "a=1; Path=/api; HttpOnly"),
        ("Set-Cookie", "__Host-a=1;%20Path=/", "__Host-a=1; Path=/"),
    ] {
        let unmapped = given.replace("%20", " ");
        for (prefix, expected) in [("/api", expected), ("", unmapped.as_str())] {
            let target = format!("{prefix}/x?{field}:%20{given}");
            let reply = client.request("GET", &target, &[("Host", "shop.example")], b"").unwrap();
            assert_eq!(reply.field(field), Some(expected), "{target}");
        }
    }
    let reply = client.get("/api/x?Set-Cookie:a=1;Path=/|Set-Cookie:b=2;Path=/b|X:/x").unwrap();
    assert_eq!(reply.all("set-cookie"), ["a=1; Path=/api", "b=2; Path=/api/b"]);
    assert_eq!(reply.field("x"), Some("/x"));
}

#[test]
fn another_host_is_asked_for_and_its_own_urls_lead_here() {
    let upstream = leads();
    let server = front(&upstream, r#"(path: "/", to: Proxy(name: "up", host: "api.internal:81"))"#);
    let mut client = Connection::open(server.address).unwrap();
    let asked = "/x?Location:http://api.internal:81/login";
    let reply = client.request("GET", asked, &[("Host", "shop.example")], b"").unwrap();
    assert_eq!(reply.field("location"), Some("http://shop.example/login"));
    let received = upstream.last();
    assert_eq!(received.all("host"), ["api.internal:81"]);
    assert_eq!(received.all("x-forwarded-host"), ["shop.example"]);
}

#[test]
fn a_path_is_rewritten_by_a_template() {
    let upstream = leads();
    let server = front(
        &upstream,
        r#"(path: "/api/", to: Proxy(name: "up", rewrite: "/v2$rest")),
           (exact: "/one", to: Proxy(name: "up", rewrite: "/other?from=$path")),
           (regex: "\\.php$", to: Proxy(name: "up", rewrite: "/php$path"))"#,
    );
    for (asked, seen) in [
        ("/api/a%20b?x=%41", "/v2/a%20b?x=%41"),
        ("/api/", "/v2/"),
        ("/one", "/other?from=/one"),
        ("/a/b.php?x", "/php/a/b.php?x"),
    ] {
        get(server.address, asked);
        assert_eq!(upstream.last().line, format!("GET {seen} HTTP/1.1"), "{asked}");
    }
    assert_eq!(get(server.address, "/api/x?Location:/v2/y").field("location"), Some("/v2/y"));
}
