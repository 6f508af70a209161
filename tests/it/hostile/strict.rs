//! Requests that two implementations could read in two ways.

use crate::harness::{Connection, Server, Setup, Upstream, get, reply_to};

/// One worker in front of an upstream at `/`.
fn proxy(upstream: &Upstream, site: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {site} locations: [
        (path: "/fixed", to: Respond(body: "fixed")),
        (path: "/", to: Proxy("behind")),
    ])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ))
    .start()
}

/// A request that is refused with `status`, its connection with it, and the reason in the log.
#[track_caller]
fn refused(server: &Server, request: &str, status: u16, why: &str) {
    let behind = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let (reply, closed) = reply_to(server.address, format!("{request}{behind}"));
    assert_eq!((reply.status, closed), (status, true), "{request:?}: {reply:?}");
    server.wait_log(&format!("refused with {status}: {why}"));
}

#[test]
fn lines_end_with_cr_lf() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&upstream, "");
    let lf = "bare LF in the request head; lines end with CR LF";
    for request in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(&server, request, 400, lf);
    }
    let cr = "bare CR in the request head; lines end with CR LF";
    refused(&server, "GET / HTTP/1.1\rHost: a\r\n\r\n", 400, cr);
    refused(&server, "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400, cr);
    for (body, why) in [
        ("2\nhi\r\n0\r\n\r\n", "missing CR LF in the chunked body"),
        ("2\r\nhi\n0\r\n\r\n", "missing CR LF in the chunked body"),
        ("2;a\nhi\r\n0\r\n\r\n", "invalid chunk extension"),
        ("0\r\nA: b\n\r\n", "invalid trailer field"),
        ("0\r\n\n", "invalid trailer field"),
    ] {
        refused(
            &server,
            &format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
            400,
            why,
        );
    }
    assert!(upstream.received().iter().all(|request| !request.line.contains("smuggled")));
    // What is behind a good request is judged on its own.
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /fixed HTTP/1.1\r\nHost: a\r\n\r\nGET /fixed HTTP/1.1\r\nHost: a\n\n").unwrap();
    assert_eq!(connection.reply("GET").unwrap().text(), "fixed");
    assert_eq!(connection.reply("GET").unwrap().status, 400);
}

/// Where a response ends is a matter between the operator's own servers: old ones write LF.
#[test]
fn responses_of_upstreams_may_end_lines_with_lf() {
    use std::io::Write as _;
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\nContent-Length: 2\nX-Old: yes\n\nok").is_ok()
    });
    let server = proxy(&upstream, "");
    let reply = get(server.address, "/");
    assert_eq!((reply.status, reply.field("x-old"), reply.text().as_str()), (200, Some("yes"), "ok"));
}

#[test]
fn a_body_ends_where_chunked_is_the_last_coding_or_nowhere() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&upstream, "");
    let last = "the last Transfer-Encoding is not chunked";
    let malformed = "malformed Transfer-Encoding";
    for (codings, status, why) in [
        ("Transfer-Encoding: gzip\r\n", 400, last),
        ("Transfer-Encoding: identity\r\n", 400, last),
        ("Transfer-Encoding: xchunked\r\n", 400, last),
        ("Transfer-Encoding: chunked, identity\r\n", 400, malformed),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", 400, malformed),
        ("Transfer-Encoding: chunked, chunked\r\n", 400, malformed),
        ("Transfer-Encoding: \r\n", 400, malformed),
        ("Transfer-Encoding: chunked,\r\n", 400, malformed),
        ("Transfer-Encoding: chunked;a=b\r\n", 400, malformed),
        ("Transfer-Encoding: gzip, chunked\r\n", 501, "Transfer-Encoding other than chunked"),
    ] {
        refused(&server, &format!("POST / HTTP/1.1\r\nHost: a\r\n{codings}\r\n0\r\n\r\n"), status, why);
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n";
    refused(&server, old, 400, "Transfer-Encoding in HTTP/1.0");
    assert_eq!(upstream.received().len(), 0);
}

#[test]
fn chunk_extensions_are_of_the_grammar() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&upstream, "");
    let request = |line: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{line}\r\nhi\r\n0\r\n\r\n")
    };
    for line in ["2;", "2;a=", "2;a[b", "2;a b", "2;a ", "2 ", "2;a=\"b", "2;a=\"b\"c", "2;;a"] {
        refused(&server, &request(line), 400, "invalid chunk extension");
    }
    for line in ["2;a", "2;a = \"x;y\" ; b", "2 ;a=b", "2;a=\"\\\"\""] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(request(line)).unwrap();
        assert_eq!(connection.reply("POST").unwrap().status, 200, "{line}");
        assert_eq!(upstream.last().body, b"hi", "{line}");
    }
}

#[test]
fn an_absolute_target_names_what_is_served_here() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&upstream, "");
    let https = "https target on a connection without TLS";
    for request in [
        "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTPS://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "GET https://a/ HTTP/1.0\r\n\r\n",
        "OPTIONS https://a HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(&server, request, 400, https);
    }
    let other = "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n";
    refused(&server, other, 400, "Host differs from the authority of the request target");
    assert_eq!(upstream.received().len(), 0);
}

/// RFC 9110 §5.3: several lines are one list.
#[test]
fn several_x_forwarded_proto_lines_are_a_list() {
    let upstream = Upstream::fixed("ok");
    let trusted = proxy(&upstream, r#"trusted_proxies: ["127.0.0.0/8"],"#);
    for lines in [&["https, http"][..], &["https", "http"]] {
        let fields: Vec<_> = lines.iter().map(|line| ("X-Forwarded-Proto", *line)).collect();
        let mut connection = Connection::open(trusted.address).unwrap();
        connection.request("GET", "/", &fields, b"").unwrap();
        assert_eq!(upstream.last().all("x-forwarded-proto"), ["https, http"], "{lines:?}");
    }
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], trusted_proxies: ["127.0.0.0/8"],
        locations: [(path: "/", to: Redirect(location: "$scheme://a.example/"))])],"#,
    );
    let server = setup.start();
    for (lines, scheme) in
        [(&["https"][..], "https"), (&["https, http"], "http"), (&["https", "http"], "http")]
    {
        let fields: Vec<_> = lines.iter().map(|line| ("X-Forwarded-Proto", *line)).collect();
        let reply = Connection::open(server.address).unwrap().request("GET", "/", &fields, b"").unwrap();
        assert_eq!(reply.field("location"), Some(format!("{scheme}://a.example/").as_str()), "{lines:?}");
    }
}

/// What the upstream behind a prefix gets, and what it never gets because another server would find it elsewhere.
#[test]
fn no_path_leaves_its_location_on_the_way_to_the_upstream() {
    let (up, rest) = (Upstream::fixed("up"), Upstream::fixed("rest"));
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/up/", to: Proxy("up")),
        (exact: "/up", to: Proxy("up")),
        (path: "/admin/", to: Respond(status: 403, body: "no")),
        (path: "/files/", to: Files(root: "files", fallback: Proxy("up"))),
        (path: "/", to: Proxy("rest")),
    ])],
    upstreams: {{"up": (servers: ["{}"]), "rest": (servers: ["{}"])}},"#,
        up.address, rest.address
    ));
    setup.directory.write("files/a.txt", "text");
    let server = setup.start();
    let ask = |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        reply_to(server.address, request).0
    };
    for target in [
        "/up/a/../b",
        "/up/a/%2e%2e/b?q=/../..;/",
        "/up/%2E/a",
        "/up/a;v=1/b",
        "/up/a/..;/b",
        "/up/group%2Fname",
        "/up/%252e%252e/admin",
        "/up/a\\b",
        "/%75p/a",
        "/up",
        "/files/none/../b",
    ] {
        let reply = ask(target);
        assert_eq!((reply.status, reply.text().as_str()), (200, "up"), "{target}");
        assert_eq!(up.last().line, format!("GET {target} HTTP/1.1"));
    }
    let received = (up.received().len(), rest.received().len());
    for target in [
        "/up/..;/admin",
        "/up/..;x=y/admin/",
        "/up/..%3b/admin",
        "/up/%2e%2e%3B/admin",
        "/up/..\\admin",
        "/up/..%5cadmin/x",
        "/up/%2e%2e%5cadmin",
        "/up/..%2frest",
        "/up/%2e%2e%2frest",
        "/up/%2e%2e/rest",
        "/admin/%2e%2e/up",
        "/admin/%2e%2e/up/",
        "/admin/..%2fup/a",
        "/admin%2f..%2fup/a",
        "/admin/../up/a",
        "/admin;x/secret",
        "/admin%5csecret",
        "/files/..;/admin",
        "/x/..;/..;/..;/admin",
        "http://a/up/..;/admin",
    ] {
        let reply = ask(target);
        assert_eq!(reply.status, 400, "{target}: {reply:?}");
    }
    server.wait_log("refused with 400: the path could be read as one of another location");
    assert_eq!((up.received().len(), rest.received().len()), received);
    // What is not passed on has one reading: ours.
    assert_eq!(ask("/up/%2e%2e/admin/x").status, 403);
    assert_eq!(ask("/admin/..;/x").status, 403);
}
