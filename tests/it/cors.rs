//! What scripts of other origins are told.

use crate::harness::http2::Client as Http2;
use crate::harness::{Connection, Reply, Setup, Upstream};
use std::io::Write as _;

const OURS: &str = "https://app.example";

fn values(reply: &Reply, name: &str) -> Vec<String> {
    reply.all(name).into_iter().map(str::to_owned).collect()
}

/// What a browser asks before a script of that origin may.
fn preflight(client: &mut Connection, path: &str, origin: &str) -> Reply {
    let fields = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "authorization,x-token"),
    ];
    client.request("OPTIONS", path, &fields, b"").unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of preflights and their answers")]
fn a_preflight_is_answered_by_the_server_and_never_reaches_the_app() {
    let upstream = Upstream::start(|_, stream| {
        let fields = "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: false\r\nVary: Cookie\r\nX-Total: 3";
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"],
        cors: (origins: ["{OURS}", "https://*.preview.example"], methods: ["GET", "PUT"], headers: ["Authorization", "X-Token"],
               expose: ["X-Total"], credentials: true, max_age: "1h"),
        headers: {{"X-Site": "1"}},
        locations: [
            (path: "/up/", to: Proxy("up")),
            (path: "/static/", to: Files("static")),
            (path: "/open/", to: Files("static"), cors: "*"),
            (path: "/shut/", to: Proxy("up"), cors: None),
            (path: "/hidden/", internal: true, to: Files("static"), cors: None),
        ])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("static/font.woff2", "font");
    let server = setup.start();
    let client = &mut Connection::open(server.address).unwrap();

    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let told = |reply: &Reply| {
        ["allow-origin", "allow-methods", "allow-headers", "allow-credentials", "max-age"]
            .map(|name| values(reply, &format!("access-control-{name}")).join("|"))
    };
    for path in ["/up/x", "/static/font.woff2", "/nowhere"] {
        let yes = preflight(client, path, OURS);
        assert_eq!((yes.status, yes.body.len()), (204, 0), "{path}");
        assert_eq!(told(&yes), [OURS, "GET, PUT", "Authorization, X-Token", "true", "3600"], "{path}");
        assert_eq!(
            (values(&yes, "vary"), values(&yes, "x-site")),
            (vec![vary.to_owned()], vec!["1".to_owned()])
        );
        assert_eq!(yes.field("content-length"), None);
    }
    let no = preflight(client, "/up/x", "https://evil.example");
    assert_eq!((no.status, told(&no)), (204, [""; 5].map(str::to_owned)));
    assert_eq!(values(&no, "vary"), [vary]);
    assert_eq!(upstream.received().len(), 0, "a preflight has reached the upstream");

    // Without `cors` it is a request like any other, and so is an OPTIONS that is none.
    assert_eq!(preflight(client, "/shut/", OURS).status, 200);
    assert_eq!(client.request("OPTIONS", "/up/", &[("Origin", OURS)], b"").unwrap().status, 200);
    assert_eq!(upstream.received().len(), 2);

    let told = |reply: &Reply| {
        [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-expose-headers",
            "vary",
        ]
        .map(|name| values(reply, name).join("|"))
    };
    for (path, origin, status, want) in [
        ("/up/", Some(OURS), 200, [OURS, "true", "X-Total", "Cookie|Origin"]),
        (
            "/up/",
            Some("https://a.preview.example"),
            200,
            ["https://a.preview.example", "true", "X-Total", "Cookie|Origin"],
        ),
        ("/up/", Some("https://preview.example"), 200, ["", "", "", "Cookie|Origin"]),
        ("/up/", None, 200, ["", "", "", "Cookie|Origin"]),
        ("/static/font.woff2", Some(OURS), 200, [OURS, "true", "X-Total", "Origin"]),
        ("/static/font.woff2", Some(OURS), 200, [OURS, "true", "X-Total", "Origin"]),
        ("/static/font.woff2", None, 200, ["", "", "", "Origin"]),
        ("/static/none", Some(OURS), 404, [OURS, "true", "X-Total", "Origin"]),
        ("/nowhere", Some(OURS), 404, [OURS, "true", "X-Total", "Origin"]),
        ("/static/none", Some("null"), 404, ["", "", "", "Origin"]),
        ("/open/font.woff2", Some("https://evil.example"), 200, ["*", "", "", ""]),
        ("/open/font.woff2", None, 200, ["*", "", "", ""]),
        ("/shut/", Some(OURS), 200, ["*", "false", "", "Cookie"]),
    ] {
        let fields: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        let reply = client.request("GET", path, &fields, b"").unwrap();
        assert_eq!((reply.status, told(&reply)), (status, want.map(str::to_owned)), "{path} {origin:?}");
    }
    let known = client.request("GET", "/static/font.woff2", &[], b"").unwrap();
    let etag = known.field("etag").unwrap().to_owned();
    let same = client
        .request("GET", "/static/font.woff2", &[("If-None-Match", &etag), ("Origin", OURS)], b"")
        .unwrap();
    assert_eq!((same.status, same.field("access-control-allow-origin")), (304, Some(OURS)));

    let mut client = Http2::open(server.address, &[]).unwrap();
    let mut asks = client.asks("OPTIONS", "/up/x");
    asks.extend([("origin", OURS), ("access-control-request-method", "PUT")]);
    let stream = client.request(&asks, true).unwrap();
    let answer = client.answer(stream).unwrap();
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, Some(OURS)));
}

/// Who is led on by an app is told what holds where the client has asked, as a preflight was answered there.
#[test]
fn a_file_that_an_app_has_sent_is_open_to_whom_the_app_is() {
    let upstream = Upstream::start(|_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /hidden/a.txt\r\nContent-Length: 0\r\n\r\n")
            .is_ok()
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/up/", to: Proxy("up"), cors: ["{OURS}"]),
        (path: "/hidden/", internal: true, to: Files("static")),
    ])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("static/a.txt", "file");
    let server = setup.start();
    let reply =
        Connection::open(server.address).unwrap().request("GET", "/up/", &[("Origin", OURS)], b"").unwrap();
    assert_eq!((reply.text(), reply.field("access-control-allow-origin")), ("file".to_owned(), Some(OURS)));
}

#[test]
fn what_would_open_a_site_to_all_or_is_no_origin_is_refused_before_it_starts() {
    for (cors, what) in [
        (r#"(origins: "*", credentials: true)"#, "any site could act for whoever is logged in"),
        (r#"(origins: ["null"], credentials: true)"#, "`null` is the origin of every sandboxed frame"),
        (r#"(methods: ["GET"])"#, "missing key `origins`"),
        ("[]", "no origin is listed"),
        (r#"["app.example"]"#, "begin with the scheme: \"https://app.example\""),
        (r#"["https://app.example/"]"#, "an origin ends with host or port"),
        (r#"["https://app.example:443"]"#, "browsers leave out the port of the scheme"),
        (r#"["*", "https://a.example"]"#, "write origins: \"*\" alone"),
        (r#"(origins: "*", methods: ["put"])"#, "the case of a method counts"),
        (r#"(origins: "*", headers: ["X A"])"#, "is no name"),
    ] {
        let finished = Setup::new(&format!(
            r#"sites: [(listen: ["{{address}}"], cors: {cors}, locations: [(path: "/", to: Respond(body: ""))])],"#
        ))
        .run_to_end();
        assert_eq!(finished.code, Some(2), "{cors}: {}", finished.stderr);
        assert!(finished.stderr.contains(what), "{cors}: {}", finished.stderr);
    }
}
