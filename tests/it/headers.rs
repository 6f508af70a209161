//! The fields of all responses of a place.

use crate::harness::http2::Client as Http2;
use crate::harness::{Connection, Reply, Server, Setup, Upstream, get};
use std::io::Write as _;

/// A site with `site`, and locations with `static`, an upstream, a redirect and what is given.
fn server(site: &str, of_static: &str, upstream: &Upstream) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {site} max_body: "1KiB", locations: [
        (path: "/static/", to: Files("static"){of_static}),
        (path: "/up/", to: Proxy("up")),
        (path: "/old/", to: Redirect(status: 301, location: "/new$rest")),
        (exact: "/plain", to: Respond(body: "plain"), headers: None),
        (exact: "/gone", to: Respond(status: 410)),
    ])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("static/a.txt", "abc");
    setup.start()
}

/// An upstream that says so of itself.
fn upstream(fields: &'static str) -> Upstream {
    Upstream::start(move |_, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok").is_ok()
    })
}

fn values(reply: &Reply, name: &str) -> Vec<String> {
    reply.all(name).into_iter().map(str::to_owned).collect()
}

#[test]
fn every_response_of_a_site_has_what_the_site_says() {
    let upstream = upstream("X-Powered-By: PHP\r\nX-Site: theirs\r\nVary: Cookie\r\n");
    let site = r#"headers: (set: {"X-Site": "ours"}, add: {"Vary": "Accept"}, remove: ["X-Powered-By"]),"#;
    let server = server(site, "", &upstream);
    let mut client = Connection::open(server.address).unwrap();
    for (method, path, status) in [
        ("GET", "/static/a.txt", 200),
        ("GET", "/static/a.txt", 200),
        ("HEAD", "/static/a.txt", 200),
        ("GET", "/static/none", 404),
        ("POST", "/static/a.txt", 405),
        ("GET", "/static/.%2e/a", 400),
        ("GET", "/nowhere", 404),
        ("GET", "/old/x", 301),
        ("GET", "/gone", 410),
        ("GET", "/up/", 200),
    ] {
        let reply = match client.request(method, path, &[], b"") {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: {error}"),
        };
        if status != 400 {
            assert_eq!(reply.status, status, "{method} {path}");
            assert_eq!(values(&reply, "x-site"), ["ours"], "{method} {path}");
            assert!(values(&reply, "vary").contains(&"Accept".to_owned()), "{method} {path}");
        }
        assert_eq!(reply.field("x-powered-by"), None, "{method} {path}");
        if reply.closes() {
            client = Connection::open(server.address).unwrap();
        }
    }
    let found = client.request("GET", "/static/a.txt", &[], b"").unwrap();
    assert_eq!(found.text(), "abc");
    let etag = found.field("etag").unwrap().to_owned();
    let known = client.request("GET", "/static/a.txt", &[("If-None-Match", &etag)], b"").unwrap();
    assert_eq!((known.status, values(&known, "x-site")), (304, vec!["ours".to_owned()]));
    let part = client.request("GET", "/static/a.txt", &[("Range", "bytes=1-1")], b"").unwrap();
    assert_eq!(
        (part.status, part.text(), values(&part, "x-site")),
        (206, "b".to_owned(), vec!["ours".to_owned()])
    );
    // What it does not say is as it was, and a location can have none of it.
    let plain = client.get("/plain").unwrap();
    assert_eq!((plain.field("x-site"), plain.field("vary")), (None, None));
    // A body that is longer than it may be is refused while it comes.
    let long = client.request("POST", "/up/", &[], &[b'x'; 2000]).unwrap();
    assert_eq!((long.status, values(&long, "x-site")), (413, vec!["ours".to_owned()]));
}

#[test]
fn a_location_adds_to_its_site_for_the_statuses_that_it_names() {
    let upstream = Upstream::fixed("ok");
    let site = r#"headers: {"X-Site": "1", "X-Both": "site"},"#;
    let location = r#", headers: [
        {"X-Both": "location"},
        (set: {"X-Missing": "$path on $host"}, status: 404),
        (set: {"X-Bad": "1"}, status: ["5xx", 405]),
        (default: {"Content-Type": "never/sent", "X-Default": "1"}),
    ]"#;
    let server = server(site, location, &upstream);
    let mut client = Connection::open(server.address).unwrap();
    let found = client.get("/static/a.txt").unwrap();
    let of = |reply: &Reply, name: &str| reply.field(name).map(str::to_owned);
    let said =
        |reply: &Reply| ["x-site", "x-both", "x-missing", "x-bad", "x-default"].map(|name| of(reply, name));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(said(&found), [some("1"), some("location"), None, None, some("1")]);
    assert_eq!(found.all("content-type"), ["text/plain; charset=utf-8"]);
    let missing =
        client.request("GET", "/static/%0D%0AX-Evil:%20<1>", &[("Host", "shop.example")], b"").unwrap();
    let path = some("/static/%0D%0AX-Evil:%20%3C1%3E on shop.example");
    assert_eq!(said(&missing), [some("1"), some("location"), path, None, some("1")]);
    assert_eq!((missing.status, missing.field("x-evil")), (404, None));
    let refused = client.request("POST", "/static/a.txt", &[], b"").unwrap();
    assert_eq!((refused.status, of(&refused, "x-bad")), (405, some("1")));
    assert_eq!(said(&get(server.address, "/up/")), [some("1"), some("site"), None, None, None]);
}

#[test]
fn one_word_is_a_sane_set_that_yields_to_the_app() {
    let upstream = upstream("X-Frame-Options: DENY\r\nreferrer-policy: no-referrer\r\n");
    let server = server("headers: Secure,", "", &upstream);
    let said = |reply: &Reply| {
        ["x-content-type-options", "referrer-policy", "x-frame-options", "strict-transport-security"]
            .map(|name| values(reply, name).join("|"))
    };
    let own = ["nosniff", "strict-origin-when-cross-origin", "SAMEORIGIN", ""];
    assert_eq!(said(&get(server.address, "/static/a.txt")), own);
    assert_eq!(said(&get(server.address, "/static/none")), own);
    assert_eq!(said(&get(server.address, "/up/")), ["nosniff", "no-referrer", "DENY", ""]);
    assert_eq!(said(&get(server.address, "/plain"))[2], "");
}

#[test]
fn browsers_are_told_to_ask_by_https_only_where_the_response_goes_by_tls() {
    for (hsts, headers, said) in [
        ("Off", "Secure", None),
        ("\"1d\"", "Secure", Some("max-age=86400")),
        ("\"1d\"", "[Secure, (remove: [\"Strict-Transport-Security\"])]", None),
        ("\"1d\"", "{\"Strict-Transport-Security\": \"max-age=5\"}", Some("max-age=5")),
    ] {
        let server = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(names: ["a"], tls: (listen: ["{{address}}"], certificates: SelfSigned, hsts: {hsts}), headers: {headers},
             locations: [(path: "/", to: Respond(body: "ok")), (exact: "/gone", to: Respond(status: 410))])],"#
        ))
        .start();
        let mut one = Connection::open_tls(server.address).unwrap();
        let mut two = Http2::open_tls(server.address, &[]).unwrap();
        for path in ["/", "/gone"] {
            let reply = one.request("GET", path, &[("Host", "a")], b"").unwrap();
            let want: Vec<&str> = said.into_iter().collect();
            assert_eq!(reply.all("strict-transport-security"), want, "{hsts} {headers} {path}");
            let answer = two.get(path).unwrap();
            assert_eq!(answer.field("strict-transport-security"), said, "{hsts} {headers} {path}");
        }
    }
}

#[test]
fn http_2_has_the_same() {
    let upstream = upstream("X-Powered-By: PHP\r\n");
    let site =
        r#"headers: [{"X-Site": "ours", "X-Host": "$host"}, (remove: ["x-powered-by", "Last-Modified"])],"#;
    let server = server(site, r#", headers: (set: {"ETag": "\"fixed\""})"#, &upstream);
    let mut client = Http2::open(server.address, &[]).unwrap();
    for (path, status) in [("/static/a.txt", 200), ("/up/", 200), ("/static/none", 404), ("/gone", 410)] {
        let answer = client.get(path).unwrap();
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field("x-site"), Some("ours"), "{path}");
        assert!(answer.field("x-host").is_some(), "{path}");
        assert_eq!((answer.field("x-powered-by"), answer.field("last-modified")), (None, None), "{path}");
    }
    let answer = client.get("/static/a.txt").unwrap();
    assert_eq!((answer.field("etag"), answer.text()), (Some("\"fixed\""), "abc".to_owned()));
}

#[test]
fn a_switch_of_protocols_has_them_and_still_switches() {
    let upstream = Upstream::start(|_, stream| {
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello"
        )
        .is_ok()
    });
    let server = server(r#"headers: {"X-Site": "ours"},"#, "", &upstream);
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET /up/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    let reply = client.reply_head().unwrap();
    assert_eq!(
        (reply.status, reply.field("x-site"), reply.field("upgrade")),
        (101, Some("ours"), Some("echo"))
    );
}

#[test]
fn who_is_led_to_another_place_has_what_is_said_there() {
    let upstream = upstream("X-Accel-Redirect: /static/a.txt\r\n");
    let server = server(r#"headers: {"X-Site": "ours"},"#, r#", headers: {"X-Static": "1"}"#, &upstream);
    let reply = get(server.address, "/up/");
    assert_eq!(
        (reply.text(), reply.field("x-site"), reply.field("x-static")),
        ("abc".to_owned(), Some("ours"), Some("1"))
    );
}

#[test]
fn what_the_server_writes_itself_is_refused_before_it_starts() {
    for (headers, what) in [
        (r#"{"Content-Length": "5"}"#, "`Content-Length` is written by the server itself"),
        (r#"(remove: ["transfer-encoding"])"#, "`transfer-encoding` is written by the server itself"),
        (r#"(add: {"Connection": "close"})"#, "`Connection` is written by the server itself"),
        (r#"{"Date": "now"}"#, "`Date` is written by the server itself"),
        (r#"{"X A": "1"}"#, "is no name of a field"),
        (r#"{"X-A": "a\nb"}"#, "a control character"),
        (r#"{"X-A": "$hst"}"#, "unknown variable `hst`"),
        (r#"{"Host": "a"}"#, "`Host` is a field of requests"),
        (r#"(status: 404)"#, "nothing is set, added or removed"),
        (r#"(set: {"X-A": "1"}, status: 99)"#, "no status of a response"),
        (r#"(set: {"X-A": "1"}, status: "9xx")"#, "no status of a response"),
        (r#"(set: {"X-A": "1"}, remove: ["x-a"])"#, "`x-a` is set, too"),
        (r#"(set: {"X-A": "1"}, default: {"x-a": "2"})"#, "`x-a` is set, too"),
        ("Sekure", "unknown variant `Sekure`; did you mean `Secure`?"),
        (r#""Secure""#, "`Secure` stands without quotes here"),
    ] {
        let finished = Setup::new(&format!(
            r#"sites: [(listen: ["{{address}}"], headers: {headers}, locations: [(path: "/", to: Respond(body: ""))])],"#
        ))
        .run_to_end();
        assert_eq!(finished.code, Some(2), "{headers}: {}", finished.stderr);
        assert!(finished.stderr.contains(what), "{headers}: {}", finished.stderr);
        assert!(finished.stderr.contains("sites[0].headers"), "{headers}: {}", finished.stderr);
    }
}
