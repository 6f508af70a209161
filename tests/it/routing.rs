//! Which location takes a request, by more than its path.

use crate::harness::{Connection, Directory, Reply, Server, Setup, Upstream, get, hatchery};

const CONDITIONS: &str = r#"
    conditions: {
        "writes": (method: ["POST", "PUT"]),
        "bots": (header: ("User-Agent", "~*bot|crawler")),
        "beta": (query: ("beta", "1")),
        "logged_in": (cookie: "sessionid"),
        "near": (client: "127.0.0.0/8"),
        "far": (client: ["192.0.2.0/24", "2001:db8::/32"]),
        "secure": (scheme: "https"),
        "shop": (host: "~^(www\\.)?shop\\.example$"),
        "either": (any: ["bots", (all: ["beta", (not: "logged_in")])]),
        "admin": (path: "~^/admin/"),
        "all": (any: ["writes", "near", "far", "secure", "shop", "either", "admin"]),
    },"#;

fn serve(locations: &str) -> Server {
    Setup::new(&format!(
        r#"{CONDITIONS}
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], trusted_proxies: ["127.0.0.1"], locations: [
        {locations}
        (exact: "/all", when: "all", to: Respond(body: "all")),
    ])],"#
    ))
    .start()
}

fn ask(server: &Server, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request(method, target, fields, b"").unwrap()
}

/// What answered, by its body.
fn who(server: &Server, method: &str, target: &str, fields: &[(&str, &str)]) -> String {
    let reply = ask(server, method, target, fields);
    assert_eq!(reply.status, 200, "{method} {target} {fields:?}");
    String::from_utf8(reply.body).unwrap()
}

#[test]
fn the_first_location_of_a_path_that_takes_a_request_has_it() {
    let server = serve(
        r#"(path: "/", when: "writes", to: Respond(body: "writes")),
           (path: "/", when: "either", to: Respond(body: "either")),
           (path: "/", when: "far", to: Respond(body: "far")),
           (path: "/", when: "secure", to: Respond(body: "secure")),
           (path: "/", when: "shop", unless: "logged_in", to: Respond(body: "shop")),
           (path: "/", to: Respond(body: "any")),"#,
    );
    let long = format!("a=1; sessionid={}; b=2", "x".repeat(200));
    for (method, target, fields, wanted) in [
        ("GET", "/", &[][..], "any"),
        ("POST", "/", &[("User-Agent", "GoogleBot")], "writes"),
        ("GET", "/x", &[("User-Agent", "GoogleBot/2.1")], "either"),
        ("GET", "/?a=b&beta=%31", &[], "either"),
        ("GET", "/?beta=11", &[], "any"),
        ("GET", "/?beta=1", &[("Cookie", &long)], "any"),
        ("GET", "/", &[("X-Forwarded-For", "192.0.2.9")], "far"),
        ("GET", "/", &[("X-Forwarded-For", "2001:db8::5")], "far"),
        ("GET", "/", &[("X-Forwarded-Proto", "https")], "secure"),
        ("GET", "/", &[("Host", "WWW.Shop.Example:80")], "shop"),
        ("GET", "/", &[("Host", "shop.example"), ("Cookie", &long)], "any"),
        ("GET", "/", &[("Host", "shop.example.evil")], "any"),
    ] {
        assert_eq!(who(&server, method, target, fields), wanted, "{method} {target} {fields:?}");
    }
}

#[test]
fn where_only_the_method_is_wrong_the_right_ones_are_told() {
    let server = serve(
        r#"(path: "/api/", methods: ["GET", "POST"], to: Respond(body: "api")),
           (exact: "/api/one", methods: ["DELETE"], to: Respond(body: "one")),
           (path: "/fall/", methods: "PUT", to: Respond(body: "put")),
           (path: "/fall", to: Respond(body: "fall")),
           (path: "/near/", methods: "GET", when: "far", to: Respond(body: "never")),"#,
    );
    assert_eq!(who(&server, "POST", "/api/one", &[]), "api");
    assert_eq!(who(&server, "DELETE", "/api/one", &[]), "one");
    assert_eq!(who(&server, "DELETE", "/fall/x", &[]), "fall", "as if the longer one was not there");
    for (method, target, status, allow) in [
        ("PATCH", "/api/x", 405, Some("GET, POST, HEAD")),
        ("PATCH", "/api/one", 405, Some("GET, POST, HEAD, DELETE")),
        ("HEAD", "/api/x", 200, None),
        ("OPTIONS", "/api/x", 405, Some("GET, POST, HEAD")),
        ("DELETE", "/near/x", 404, None),
        ("GET", "/nowhere", 404, None),
    ] {
        let reply = ask(&server, method, target, &[]);
        assert_eq!((reply.status, reply.field("allow")), (status, allow), "{method} {target}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_gets_past_no_condition() {
    let upstream = Upstream::fixed("up");
    let setup = Setup::new(&format!(
        r#"conditions: {{"admin": (path: "~^/admin/")}},
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/", when: "admin", to: Respond(status: 403)),
        (path: "/", to: Proxy("up")),
    ])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    let server = setup.start();
    assert_eq!(get(server.address, "/admin/x").status, 403);
    assert_eq!(get(server.address, "/other/../admin/x").status, 403);
    upstream.take_received();
    for odd in ["/public/..;/admin/x", "/public/..%5Cadmin/x", "/admin;a/x"] {
        assert_eq!(get(server.address, odd).status, 400, "{odd}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(get(server.address, "/public/a;b").status, 200);
}

#[test]
fn mistakes_are_found_before_anything_starts() {
    let directory = Directory::new();
    let file = directory.write(
        "hatchery.ron",
        r#"(conditions: {"bots": (header: ("User-Agent", "~bot"))},
    sites: [(listen: ["127.0.0.1:0"], locations: [(path: "/", when: "bot", to: Respond())])])"#,
    );
    let found = hatchery(&directory, &["check", "-c", file.to_str().unwrap()]);
    assert_eq!(found.code, Some(2));
    assert!(
        found
            .stderr
            .contains("2:69: sites[0].locations[0].when: unknown condition `bot`; did you mean `bots`?"),
        "{}",
        found.stderr
    );
}
