//! Logins that an app or upstream decides about.

use crate::harness::{
    Connection, Directory, Received, Reply, SOON, Server, Setup, Upstream, hatchery, holds, http2, noise,
    sha256, wait_until,
};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

const SITE: &str = r#"
    workers: (processes: 1),
    log: (access: (path: "access.log", format: Json)),
    sites: [(
        listen: ["{address}"],
        auth: (request: (to: Proxy("login"), path: "/verify?x=1", user: "x-auth-user", timeout: "2s",
                         pass: {"X-User": "x-auth-user", "X-Groups": "x-auth-groups"})),
        trusted_proxies: ["127.0.0.1"],
        locations: [
            (path: "/app/", to: App("plain")),
            (path: "/up/", to: Proxy("up")),
            (path: "/self/", to: Respond(body: "in\n"), auth: (request: (to: App("plain"), path: "/hello"))),
            (path: "/no-such/", to: Respond(body: "in\n"), auth: (request: (to: App("plain"), path: "/missing"))),
            (path: "/gone/", to: Respond(body: "in\n"), auth: (request: (to: Proxy("nobody"), path: "/", timeout: "2s"))),
            (path: "/any/", to: Respond(body: "in\n"), satisfy: Any, access: (allow: ["192.0.2.0/24"])),
            (path: "/open/", to: Respond(body: "open\n"), auth: None),
            (exact: "/rewritten", rewrite: "/app/environ"),
            (path: "/", to: Respond(body: "in\n")),
        ],
    ), (
        listen: ["{address}"], names: ["few.example"],
        auth: (request: (to: Proxy("login"), path: "/verify", timeout: "2s")),
        locations: [(path: "/app/", to: Respond(body: "in\n"))],
    )],
    upstreams: {"up": (servers: ["{upstream}"]), "login": (servers: ["{login}"]), "nobody": (servers: ["127.0.0.1:1"])},
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},"#;

/// Answers by the cookie: the status in it, with a user.
fn verify(request: &Received, stream: &mut TcpStream) -> bool {
    let cookie = request.all("cookie").first().copied().unwrap_or("401").to_owned();
    if cookie == "silence" {
        return true;
    }
    if cookie == "endless" {
        return write!(stream, "HTTP/1.1 200 X\r\nX-Auth-User: alice\r\nContent-Length: 9\r\n\r\nab").is_ok();
    }
    let more = match cookie.as_str() {
        "200" => "X-Auth-User: alice\r\nX-Auth-Groups: staff, admin\r\nX-Secret: 1\r\n",
        "204" => "",
        "302" => "Location: https://login.example/?to=x\r\nSet-Cookie: s=1\r\n",
        "401" => "WWW-Authenticate: Bearer realm=\"x\"\r\nX-Secret: 1\r\n",
        _ => "X-Auth-User: root\r\n",
    };
    let body = if cookie == "204" { "" } else { "Content-Length: 6\r\n\r\nsecret" };
    let end = if body.is_empty() { "\r\n" } else { "" };
    write!(stream, "HTTP/1.1 {cookie} X\r\n{more}{body}{end}").is_ok()
}

struct Site {
    server: Server,
    login: Upstream,
    upstream: Upstream,
}

fn start() -> Site {
    let (login, upstream) = (Upstream::start(verify), Upstream::fixed("up\n"));
    let text = SITE
        .replace("{upstream}", &upstream.address.to_string())
        .replace("{login}", &login.address.to_string());
    let server = Setup::new(&text).start().tolerant(&[
        "auth: ",
        "nobody",
        "upstream",
        "who is asked about logins",
        "proxy login",
    ]);
    Site { server, login, upstream }
}

fn ask(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(address).unwrap().request("GET", path, fields, b"").unwrap()
}

#[test]
fn yes_lets_in_no_is_passed_on_and_anything_else_is_a_fault() {
    let Site { server, login: _login, upstream: _upstream } = start();
    for (cookie, status) in [
        ("200", 200),
        ("204", 200),
        ("401", 401),
        ("403", 403),
        ("302", 302),
        ("404", 500),
        ("500", 500),
        ("301", 500),
    ] {
        let reply = ask(server.address, "/", &[("Cookie", cookie)]);
        assert_eq!(reply.status, status, "{cookie}");
        assert!(reply.field("x-secret").is_none() && !reply.text().contains("secret"), "{reply:?}");
    }
    let denied = ask(server.address, "/", &[]);
    assert_eq!((denied.status, denied.field("www-authenticate")), (401, Some("Bearer realm=\"x\"")));
    let elsewhere = ask(server.address, "/", &[("Cookie", "302")]);
    assert_eq!(elsewhere.field("location"), Some("https://login.example/?to=x"));
    assert_eq!(elsewhere.field("set-cookie"), Some("s=1"));
    server.wait_log("who is asked about logins answered neither yes nor no");
    assert_eq!(ask(server.address, "/open/", &[]).status, 200);
    // By an app, also one that is the same as serves; by one that is not there.
    assert_eq!(ask(server.address, "/self/", &[]).status, 200);
    assert_eq!(ask(server.address, "/no-such/", &[]).status, 500);
    assert_eq!(ask(server.address, "/gone/", &[]).status, 500);
    assert_eq!(ask(server.address, "/any/", &[("X-Forwarded-For", "192.0.2.1")]).status, 200);
    assert_eq!(ask(server.address, "/any/", &[("X-Forwarded-For", "192.0.3.1")]).status, 401);
}

#[test]
fn who_decides_sees_the_request_without_its_body_and_no_claims() {
    let Site { server, login, upstream: _upstream } = start();
    let fields = [
        ("Cookie", "200"),
        ("Authorization", "Bearer x"),
        ("X-Original-URI", "/open"),
        ("x_original_uri", "/open"),
        ("X-Forwarded-Method", "HEAD"),
        ("If-None-Match", "*"),
        ("Range", "bytes=0-1"),
        ("Content-Type", "a/b"),
    ];
    let body = noise(100_000, 2);
    let mut connection = Connection::open(server.address).unwrap();
    let reply = connection.request("POST", "/app/echo?a=%20b", &fields, &body).unwrap();
    assert_eq!(reply.json()["sha256"], sha256(&body), "the body is for the app");
    let seen = login.last();
    assert_eq!(seen.line, "GET /verify?x=1 HTTP/1.1");
    assert!(seen.body.is_empty());
    for (name, wanted) in [
        ("x-original-method", vec!["POST"]),
        ("x-original-uri", vec!["/app/echo?a=%20b"]),
        ("x-original-url", vec!["http://localhost/app/echo?a=%20b"]),
        ("x-forwarded-method", vec!["POST"]),
        ("x-forwarded-uri", vec!["/app/echo?a=%20b"]),
        ("authorization", vec!["Bearer x"]),
        ("cookie", vec!["200"]),
        ("x_original_uri", vec![]),
        ("if-none-match", vec![]),
        ("range", vec![]),
        ("content-length", vec![]),
        ("content-type", vec![]),
    ] {
        assert_eq!(seen.all(name), wanted, "{name}");
    }
}

#[test]
fn what_is_judged_is_the_path_that_is_served() {
    let Site { server, login, upstream: _upstream } = start();
    for (asked, told) in [
        ("/public/../app/environ?x=%2e", "/app/environ?x=%2e"),
        ("/public/%2e%2e/app/environ", "/app/environ"),
        ("//app//environ", "/app/environ"),
        ("/%61pp/environ", "/app/environ"),
        ("/rewritten?y", "/app/environ?y"),
    ] {
        let reply = ask(server.address, asked, &[("Cookie", "200")]);
        assert_eq!(reply.status, 200, "{asked}");
        let seen = login.last();
        for name in ["x-original-uri", "x-forwarded-uri"] {
            assert_eq!(seen.all(name), [told], "{asked}");
        }
        assert_eq!(seen.all("x-original-url"), [format!("http://localhost{told}")], "{asked}");
    }
}

#[test]
fn where_no_location_takes_the_path_the_site_asks_all_the_same() {
    let Site { server, login: _login, upstream: _upstream } = start();
    for (cookie, status) in [("200", 404), ("401", 401)] {
        let fields = [("Cookie", cookie), ("Host", "few.example")];
        assert_eq!(ask(server.address, "/none", &fields).status, status, "{cookie}");
    }
}

#[test]
fn the_head_of_the_answer_is_enough() {
    let Site { server, login: _login, upstream: _upstream } = start();
    // Its body never ends, and the time-out would be a 500.
    for _ in 0..3 {
        assert_eq!(ask(server.address, "/", &[("Cookie", "endless")]).status, 200);
    }
    assert_eq!(ask(server.address, "/", &[("Cookie", "200")]).status, 200);
}

#[test]
fn what_is_known_of_the_user_is_told_on_and_no_client_tells_it() {
    let Site { server, upstream, login: _login } = start();
    let claims = [("X-User", "root"), ("x_groups", "root"), ("X-Groups", "root"), ("Remote-User", "root")];
    let with = |cookie| [&[("Cookie", cookie)][..], &claims].concat();
    assert_eq!(ask(server.address, "/up/", &with("200")).status, 200);
    let seen = upstream.last();
    assert_eq!((seen.all("x-user"), seen.all("x-groups")), (vec!["alice"], vec!["staff, admin"]));
    assert_eq!((seen.all("x_groups"), seen.all("remote-user")), (vec![], vec![]));
    // Who decides says nothing of the user: then nobody does.
    assert_eq!(ask(server.address, "/up/", &with("204")).status, 200);
    let seen = upstream.last();
    assert_eq!((seen.all("x-user"), seen.all("x-groups"), seen.all("x_groups")), (vec![], vec![], vec![]));
    let environ = ask(server.address, "/app/environ", &with("200")).json();
    assert_eq!((&environ["REMOTE_USER"], &environ["HTTP_X_USER"]), (&"alice".into(), &"alice".into()));
    assert_eq!((environ.get("AUTH_TYPE"), environ.get("HTTP_REMOTE_USER")), (None, None));
    let log = server.directory().path().join("access.log");
    wait_until(SOON, "the log has the user", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        holds(
            text.lines().any(|line| line.contains("\"user\":\"alice\"") && line.contains("/app/environ")),
            text,
        )
    });
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.contains("/verify"), "what is asked on the way is none of a client's: {text}");
}

#[test]
fn who_does_not_answer_holds_up_nobody_and_who_leaves_is_not_waited_for() {
    let Site { server, login, upstream: _upstream } = start();
    let mut patient = Connection::open(server.address).unwrap();
    patient.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: silence\r\n\r\n").unwrap();
    let mut leaves = Connection::open(server.address).unwrap();
    leaves.send("GET /left HTTP/1.1\r\nHost: a\r\nCookie: silence\r\n\r\n").unwrap();
    wait_until(SOON, "both are asked about", || holds(login.received().len() >= 2, login.received().len()));
    drop(leaves);
    let mut many = http2::Client::open(server.address, &[]).unwrap();
    let streams: Vec<u32> = (0..20)
        .map(|_| {
            let mut fields = many.asks("GET", "/");
            fields.push(("cookie", "200"));
            many.request(&fields, true).unwrap()
        })
        .collect();
    for stream in streams {
        assert_eq!(many.answer(stream).unwrap().status, 200);
    }
    assert_eq!(patient.reply("GET").unwrap().status, 500, "after its time-out");
    let log = server.directory().path().join("access.log");
    wait_until(SOON, "who has left is in the log", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        holds(text.lines().any(|line| line.contains("\"/left\"") && line.contains("\"status\":499")), text)
    });
}

#[test]
fn mistakes_are_told_and_what_is_good_is_written_back() {
    let directory = Directory::new();
    let file = |auth: &str| {
        format!(
            "(sites: [(listen: [\"127.0.0.1:0\"], auth: {auth}, locations: [(path: \"/\", to: Respond(status: 204))])],
              upstreams: {{\"login\": (servers: [\"127.0.0.1:1\"])}})"
        )
    };
    for (auth, wanted) in [
        ("()", "it is not said how"),
        ("(request: (to: Proxy(\"login\")))", "path"),
        ("(request: (to: Proxy(\"logni\"), path: \"/\"))", "did you mean `login`?"),
        ("(request: (to: Respond(status: 200), path: \"/\"))", "write App(\"login\") or Proxy(\"login\")"),
        ("(request: (to: Proxy(name: \"login\", host: \"a\"), path: \"/\"))", "with nothing else in it"),
        ("(request: (to: Proxy(\"login\"), path: \"verify\"))", "it does not begin with a slash"),
        (
            "(request: (to: Proxy(\"login\"), path: \"/\", pass: {\"Host\": \"a\"}))",
            "no name of a field that can be told on",
        ),
        (
            "(request: (to: Proxy(\"login\"), path: \"/\", pass: {\"X_User\": \"a\"}))",
            "no name of a field that can be told on",
        ),
        ("(request: (to: Proxy(\"login\"), path: \"/\"), basic: (users: \"u\"))", "exclude each other"),
    ] {
        directory.write("h.ron", file(auth));
        let said = hatchery(&directory, &["check", "-c", "h.ron"]).stderr;
        assert!(said.contains(wanted), "{auth}: {said}");
    }
    directory.write(
        "h.ron",
        file("(request: (to: Proxy(\"login\"), path: \"/v\", user: \"x-u\", pass: {\"X-U\": \"x-u\"}))"),
    );
    let first = hatchery(&directory, &["config", "-c", "h.ron"]).stdout;
    assert!(first.contains("timeout: \"10s\"") && first.contains("pass: {\"X-U\": \"x-u\"}"), "{first}");
    directory.write("again.ron", &first);
    assert_eq!(hatchery(&directory, &["config", "-c", "again.ron"]).stdout, first);
}
