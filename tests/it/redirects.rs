//! Redirects with groups, canonical names, rewrites, and the names by which a site is found.

use crate::harness::{Connection, Directory, Reply, Server, Setup, Upstream, get, hatchery};

fn ask(server: &Server, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request(method, target, fields, b"").unwrap()
}

fn location(server: &Server, target: &str, host: &str) -> (u16, String) {
    let reply = ask(server, "GET", target, &[("Host", host)]);
    (reply.status, reply.field("location").unwrap_or_default().to_owned())
}

#[test]
fn a_redirect_takes_groups_of_its_expression_and_leads_to_no_other_host() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (regex: "(?s)^/old/([0-9]+)/(?<name>.*)$", to: Redirect(status: 301, location: "/new/$name?id=$1&$query")),
        (regex: "^/go(.*)$", to: Redirect(location: "/$1")),
        (regex: "^/away/(.*)$", to: Redirect(status: 308, location: "https://new.example/$1")),
        (path: "/plain/", to: Redirect(status: 301, location: "/new$rest")),
    ])],"#,
    )
    .start();
    for (target, wanted) in [
        ("/old/17/a%20b", "/new/a%20b?id=17"),
        ("/old/17/a?x=%41", "/new/a?id=17&x=%41"),
        ("/old/17/a%26b%3Fc%23d", "/new/a%26b%3Fc%23d?id=17"),
        ("/old/1/%0d%0aX:%20y", "/new/%0D%0AX%3A%20y?id=1"),
        ("/go//evil.example", "/evil.example"),
        ("/go/%5cevil.example", "/%5Cevil.example"),
        ("/go%2f%2fevil.example", "/evil.example"),
        ("/goto?x", "/to?x"),
        ("/away/@evil.example", "https://new.example/%40evil.example"),
        ("/plain/x?y", "/new/x?y"),
    ] {
        let (status, found) = location(&server, target, "shop.example");
        assert!([301, 302, 308].contains(&status), "{target}: {status}");
        assert_eq!(found, wanted, "{target}");
    }
    let reply = ask(&server, "GET", "/old/1/%0d%0aX:%20y", &[]);
    assert!(reply.field("x").is_none());
}

#[test]
fn a_site_is_called_by_its_canonical_name() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        names: ["www.shop.example", "shop.example", "*.shop.example", "localhost"], canonical: "shop.example",
        listen: ["{address}"], trusted_proxies: ["127.0.0.1"], locations: [
            (exact: "/healthz", probe: (answer: Asleep200), to: App("shop")),
            (path: "/", to: Respond(body: "shop")),
        ],
    )],
    apps: {"shop": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: (min: 0, max: 1))},"#,
    )
    .start();
    let nobody = ask(&server, "GET", "/", &[("Host", "127.0.0.1")]);
    assert_eq!(nobody.status, 421, "an address is none of its names");
    for (method, target, host, status, wanted) in [
        ("GET", "/a%20b/?x=1", "www.shop.example", 301, Some("http://shop.example/a%20b/?x=1")),
        ("HEAD", "/", "WWW.Shop.Example:8080", 301, Some("http://shop.example:8080/")),
        ("POST", "/a", "x.shop.example", 308, Some("http://shop.example/a")),
        ("GET", "//evil.example/", "www.shop.example", 301, Some("http://shop.example//evil.example/")),
        ("GET", "/a", "shop.example", 200, None),
        ("GET", "/a", "shop.example.:80", 200, None),
        ("OPTIONS", "*", "www.shop.example", 204, None),
        ("GET", "/healthz", "www.shop.example", 200, None),
    ] {
        let reply = ask(&server, method, target, &[("Host", host)]);
        assert_eq!((reply.status, reply.field("location")), (status, wanted), "{method} {target} {host}");
    }
    let fields = [("Host", "www.shop.example"), ("X-Forwarded-Proto", "https")];
    assert_eq!(ask(&server, "GET", "/", &fields).field("location"), Some("https://shop.example/"));
    let mut client = Connection::open(server.address).unwrap();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.reply("GET").unwrap().status, 421, "who names no host is sent nowhere");
}

#[test]
fn to_https_and_to_the_canonical_name_is_one_hop() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        names: ["www.shop.example", "shop.example"], canonical: "shop.example", listen: ["{address}"],
        tls: (listen: ["unix:{dir}/tls.sock"], certificates: SelfSigned, redirect_http: true),
        locations: [(path: "/", to: Respond(body: "shop"))],
    )],"#,
    )
    .start();
    for host in ["www.shop.example", "shop.example"] {
        let found = location(&server, "/a?b", &format!("{host}:80"));
        assert_eq!(found, (301, "https://shop.example/a?b".to_owned()), "{host}");
    }
}

#[test]
fn a_rewritten_request_is_the_same_at_another_path() {
    let upstream = Upstream::fixed("up");
    let setup = Setup::new(&format!(
        r#"
    conditions: {{"mobile": (header: ("User-Agent", "~*mobile"))}},
    log: (access: (path: "access.log", format: Combined)),
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        rewrite: [(regex: "^/blog/(?<year>[0-9]+)/(.*)$", to: "/index.php?year=$year&slug=$2&$query"), (regex: "^/m/", to: "$path", when: "mobile")],
        locations: [
            (path: "/", rewrite: "/app$path"),
            (path: "/app/", to: Proxy("up")),
            (exact: "/index.php", internal: true, to: Proxy("up")),
            (path: "/hidden/", internal: true, to: Respond(body: "hidden")),
            (path: "/some/", rewrite: [(when: "mobile", to: "/app/mobile$rest"), (regex: "\\.old$", to: "/app/old?was=$path")], to: Respond(body: "some")),
            (path: "/loop/", rewrite: "/pool$rest"),
            (path: "/pool/", rewrite: "/loop$rest"),
            (path: "/up/", rewrite: "/../..$rest"),
        ],
    )],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    let server = setup.start().tolerant(&["a rewrite leads nowhere"]);
    for (method, target, fields, seen) in [
        ("GET", "/a%20b?x=%41", &[][..], "GET /app/a%20b?x=%41 HTTP/1.1"),
        ("POST", "/form", &[], "POST /app/form HTTP/1.1"),
        (
            "GET",
            "/blog/2026/first%26post?x=1",
            &[],
            "GET /index.php?year=2026&slug=first%26post&x=1 HTTP/1.1",
        ),
        ("GET", "/blog/2026/first", &[], "GET /index.php?year=2026&slug=first HTTP/1.1"),
        ("GET", "/some/x?y", &[("User-Agent", "Mobile/1")], "GET /app/mobile/x?y HTTP/1.1"),
        ("GET", "/some/x.old?y", &[], "GET /app/old?was=/some/x.old HTTP/1.1"),
        ("GET", "http://shop.example/a?b", &[("Host", "shop.example")], "GET /app/a?b HTTP/1.1"),
    ] {
        assert_eq!(ask(&server, method, target, fields).status, 200, "{method} {target}");
        assert_eq!(upstream.last().line, seen, "{method} {target}");
    }
    assert_eq!(ask(&server, "GET", "/some/x", &[]).body, b"some");
    for (target, status) in [
        ("/index.php", 404),
        ("/hidden/x", 404),
        ("/loop/x", 500),
        ("/up/x", 500),
        ("/..;/b", 400),
        ("/a/..;/b", 200),
    ] {
        assert_eq!(get(server.address, target).status, status, "{target}");
    }
    server.wait_log("`/loop/x` → `/pool/x` → `/loop/x`");
    server.wait_log("a rewrite leads nowhere: `/up/x`: '..' above the root of the path");
    let log = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap();
    assert!(log.contains("\"GET /blog/2026/first HTTP/1.1\" 200"), "{log}");
}

#[test]
fn sites_are_found_by_patterns_in_the_order_of_nginx() {
    let site = |names: &str, body: &str| {
        format!(
            "(names: [{names}], listen: [\"{{address}}\"], locations: [(path: \"/\", to: Respond(body: \"{body}\"))]),"
        )
    };
    let sites = [
        site(r#""~^(www[.])?s[0-9]+[.]""#, "expression"),
        site(r#""shop.*""#, "start"),
        site(r#""shop.co.*""#, "longer start"),
        site(r#""*.example""#, "end"),
        site(r#""shop.example""#, "name"),
        site("\"~.\"", "any"),
    ];
    let server = Setup::new(&format!("workers: (processes: 1), sites: [{}],", sites.concat())).start();
    for (host, wanted) in [
        ("shop.example", "name"),
        ("SHOP.de", "start"),
        ("shop.co.uk:81", "longer start"),
        ("www.shop.example", "end"),
        ("S17.de", "expression"),
        ("www.s1.de", "expression"),
        ("other.de", "any"),
    ] {
        assert_eq!(ask(&server, "GET", "/", &[("Host", host)]).body, wanted.as_bytes(), "{host}");
    }
}

#[test]
fn mistakes_in_rewrites_and_names_are_told_with_the_way_out() {
    let told = |sites: &str| {
        let directory = Directory::new();
        directory.write("hatchery.ron", format!("(sites: [(listen: [\"127.0.0.1:0\"], {sites})])"));
        let found = hatchery(&directory, &["config"]);
        assert_eq!(found.code, Some(2), "{sites}: {}", found.stderr);
        found.stderr
    };
    for (site, wanted) in [
        (r#"locations: [(path: "/", rewrite: "/x")], canonical: "shop.example""#, "is no name of this site"),
        (
            r#"names: ["*.a.example"], canonical: "*.a.example", locations: [(path: "/", rewrite: "/x")]"#,
            "is many names",
        ),
        (
            r#"locations: [(path: "/", rewrite: "x")]"#,
            "`x` is no path; it is a path of this site: begin with",
        ),
        (r#"locations: [(path: "/", rewrite: "https://x.example/")]"#, "is no path"),
        (r#"locations: [(path: "/", rewrite: "/x#y")]"#, "a `#` in a path"),
        (
            r#"locations: [(path: "/", rewrite: "/$1")]"#,
            "`$1`: there is no such group in a regular expression",
        ),
        (r#"locations: [(regex: "^/(a)", rewrite: "/$2")]"#, "`$2`: there is no such group"),
        (
            r#"locations: [(regex: "^/(?<page>a)", rewrite: "/$pge")]"#,
            "unknown variable `pge`; did you mean `page`?",
        ),
        (
            r#"locations: [(regex: "^/(a)", rewrite: (regex: "b", to: "/$1"), to: Respond())]"#,
            "`$1`: there is no such group",
        ),
        (
            r#"locations: [(path: "/", rewrite: "/x", to: Respond())]"#,
            "`to` never answers: `rewrite` leads every request to another path",
        ),
        (
            r#"locations: [(path: "/", rewrite: "/x", access: (deny: ["all"]))]"#,
            "`access` is never asked for: `rewrite` leads every request to another path",
        ),
        (r#"locations: [(path: "/", rewrite: "/x", limit: (rate: "1/s"))]"#, "`limit` is never asked for"),
        (r#"locations: [(path: "/", rewrite: "/x", satisfy: Any)]"#, "`satisfy` is never asked for"),
        (r#"locations: [(path: "/", rewrite: "/x", max_body: "1KiB")]"#, "`max_body` is never asked for"),
        (r#"locations: [(path: "/", rewrite: "/x", headers: Secure)]"#, "`headers` is never asked for"),
        (r#"locations: [(path: "/", rewrite: (regex: "a", to: "/x"))]"#, "missing key `to`"),
        (
            r#"locations: [(path: "/", rewrite: [(to: "/x"), (regex: "a", to: "/y")])]"#,
            "is never tried; put it last",
        ),
        (
            r#"locations: [(path: "/", rewrite: (to: "/x", last: true))]"#,
            "unknown key `last`; the request is always routed again",
        ),
        (
            r#"locations: [(path: "/", rewrite: [(to: "/x", when: "lost"), (regex: "a", to: "/y")], to: Respond())]"#,
            "unknown condition `lost`",
        ),
        (r#"names: ["~("], locations: [(path: "/", to: Respond())]"#, "`(` is not a regular expression"),
        (
            r#"names: ["shop.*"], tls: Acme, locations: [(path: "/", to: Respond())]"#,
            "`shop.*` cannot be had by `Acme`",
        ),
    ] {
        let found = told(site);
        assert!(found.contains(wanted), "{site}\n{found}\n{wanted}");
    }
}

#[test]
fn an_app_sees_the_new_path_and_what_the_client_wrote() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], max_body: "8B", locations: [
        (regex: "^/user/(.*)$", rewrite: "/environ?name=$1"),
        (exact: "/small", rewrite: "/echo"),
        (path: "/", max_body: "1MiB", to: App("plain")),
    ])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}")},"#,
    )
    .start();
    let seen = ask(&server, "GET", "/user/a%26b?x=1", &[]).json();
    for (name, wanted) in [
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/environ"),
        ("QUERY_STRING", "name=a%26b"),
        ("REQUEST_URI", "/user/a%26b?x=1"),
        ("RAW_URI", "/user/a%26b?x=1"),
    ] {
        assert_eq!(seen[name], wanted, "{name}: {seen:#}");
    }
    // The body goes along, and what bounds it is the place that answers.
    let mut client = Connection::open(server.address).unwrap();
    let reply = client.request("POST", "/small", &[], &[b'x'; 1000]).unwrap();
    assert_eq!((reply.status, &reply.json()["length"]), (200, &1000.into()));
}
