//! `hatchery explain`: what it says is what the server then does.

use crate::harness::{Connection, Directory, Finished, Setup, hatchery};

const SITES: &str = r#"
    conditions: {"bots": (header: ("User-Agent", "~*bot")), "beta": (query: ("beta", "1"))},
    workers: (processes: 1),
    sites: [(
        names: ["shop.example", "www.shop.example", "*.dev.example", "~^s[0-9]+[.]example$"], canonical: "shop.example",
        listen: ["{address}"], trusted_proxies: ["10.0.0.0/8"],
        rewrite: (regex: "^/blog/([0-9]+)$", to: "/page?id=$1"),
        locations: [
            (path: "/static/", to: Files(root: "static", precompressed: ["gz"])),
            (path: "/spa/", to: Files(root: "static", fallback: "index.html")),
            (path: "/api/", methods: ["GET"], max_body: "1KiB", to: Proxy(name: "up", strip: true)),
            (path: "/only/", methods: ["PUT"], to: Respond(body: "put")),
            (path: "/page", when: "bots", to: Respond(status: 403)),
            (path: "/page", rewrite: "/inner$rest"),
            (path: "/inner", internal: true, to: Respond(body: "inner")),
            (path: "/loop/", rewrite: "/loop/x"),
            (regex: "^/old/(.*)$", to: Redirect(status: 301, location: "/new/$1")),
        ],
    ), (
        names: ["office.example"], listen: ["{address}"], trusted_proxies: ["127.0.0.1"],
        access: (allow: ["@office"]), auth: (basic: (users: "htpasswd")), satisfy: All,
        locations: [
            (path: "/in/", to: Respond(body: "in"), auth: None),
            (path: "/either/", to: Respond(body: "in"), satisfy: Any),
            (path: "/open/", to: Respond(body: "in"), auth: None, access: None),
        ],
    )],
    upstreams: {"up": (servers: ["127.0.0.1:9"])},
    lists: {"office": (file: "office.txt")},"#;

/// Of alice: secret.
const USERS: &str = "alice:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.\n";

fn directory() -> Directory {
    let directory = Directory::new();
    for (name, text) in
        [("static/a.css", "a{}"), ("static/index.html", "<p>"), ("static/b.js", "1"), ("static/b.js.gz", "x")]
    {
        directory.write(name, text);
    }
    directory.write("office.txt", "192.0.2.0/24\n");
    directory.write("htpasswd", USERS);
    directory.write("hatchery.ron", format!("({})", SITES.replace("{address}", "127.0.0.1:8000")));
    directory
}

fn explain(directory: &Directory, arguments: &[&str]) -> Finished {
    hatchery(directory, &[&["explain"], arguments].concat())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of what is asked and what is told")]
fn each_step_is_told_with_its_reason() {
    let directory = directory();
    for (arguments, code, wanted) in [
        (
            &["http://shop.example:8000/static/a.css"][..],
            0,
            &[
                "127.0.0.1:8000 (HTTP)",
                "sites[0] shop.example: it has the name shop.example",
                "locations[0] (path: \"/static/\")",
                "static/a.css (text/css",
                "3 bytes)",
            ][..],
        ),
        (&["http://shop.example:8000/static/"], 0, &["200:", "static/index.html"]),
        (&["http://shop.example:8000/static/none"], 1, &["nothing:", "static/none", "404"]),
        (&["http://shop.example:8000/static/.git/x"], 1, &["nothing:"]),
        (&["http://shop.example:8000/static"], 1, &["404 Not Found: no location takes this path"]),
        (&["http://shop.example:8000/spa/some/where"], 0, &["200:", "static/index.html"]),
        (
            &["http://shop.example:8000/static/b.js", "-H", "Accept-Encoding: gzip"],
            0,
            &["static/b.js.gz", "as gz"],
        ),
        (&["http://shop.example:8000/static/a.css", "--method", "POST"], 1, &["405"]),
        (&["http://www.shop.example:8000/a?b"], 0, &["301 to http://shop.example:8000/a?b (canonical)"]),
        (
            &["http://a.dev.example:8000/a", "-m", "POST"],
            0,
            &["its name *.dev.example takes a.dev.example", "308 to http://shop.example:8000/a"],
        ),
        (&["http://s17.example:8000/a"], 0, &["its name ~^s[0-9]+[.]example$ takes s17.example"]),
        (&["http://other.example:8000/"], 1, &["421 Misdirected Request"]),
        (&["https://shop.example/"], 1, &["none speaks HTTPS"]),
        (
            &["shop.example/api/x?y"],
            0,
            &[
                "none has port 80; if somebody passes it on: 127.0.0.1:8000 (HTTP)",
                "max_body: \"1KiB\"",
                "Proxy up: it is asked for /x?y",
            ],
        ),
        (&["http://shop.example:8000/only/x"], 1, &["405 Method Not Allowed: taken are PUT"]),
        (
            &["http://shop.example:8000/blog/17"],
            0,
            &[
                "bots: does not hold",
                "to /page?id=17, by the site's `/page?id=$1`",
                "locations[5] (path: \"/page\")",
                "locations[4] (path: \"/page\", when: \"bots\"): does not take this request",
                "to /inner?id=17",
                "locations[6] (path: \"/inner\")",
                "internal: true",
                "200, fixed",
            ],
        ),
        (
            &["http://shop.example:8000/page", "-H", "User-Agent: Googlebot"],
            1,
            &["bots: holds", "locations[4]", "403, fixed"],
        ),
        (&["http://shop.example:8000/inner"], 1, &["404: a policy of the place says so"]),
        (
            &["http://shop.example:8000/loop/"],
            1,
            &["500 Internal Server Error: it is rewritten more than ten times"],
        ),
        (
            &["http://shop.example:8000/api/..;/only/x"],
            1,
            &["400: the path could be read as one of another location"],
        ),
        (
            &["http://office.example:8000/in/"],
            1,
            &["403: a policy of the place says so", "allow: [\"@office\"]"],
        ),
        (&["http://office.example:8000/in/", "--from", "192.0.2.7"], 0, &["200, fixed"]),
        (&["http://office.example:8000/either/"], 0, &["satisfy: Any", "200, fixed"]),
        (
            &["http://office.example:8000/none"],
            1,
            &["allow: [\"@office\"]", "403: a policy of the place says so"],
        ),
        (
            &["http://office.example:8000/none", "--from", "192.0.2.7"],
            1,
            &["auth: (", "404 Not Found: no location takes this path"],
        ),
        (&["http://shop.example:8000/old/a%20b"], 0, &["301 to /new/a%20b"]),
        (
            &["http://shop.example:8000/x", "--from", "10.0.0.1", "-H", "X-Forwarded-For: 192.0.2.9"],
            1,
            &["192.0.2.9 by http, as the trusted proxy 10.0.0.1 says"],
        ),
    ] {
        let found = explain(&directory, arguments);
        assert_eq!(found.code, Some(code), "{arguments:?}\n{}{}", found.stdout, found.stderr);
        for text in wanted {
            assert!(found.stdout.contains(text), "{arguments:?}: {text}\n{}", found.stdout);
        }
    }
}

#[test]
fn programs_get_the_steps_as_json() {
    let found = explain(&directory(), &["http://shop.example:8000/blog/17", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&told["status"], &told["url"]), (&200.into(), &"http://shop.example:8000/blog/17".into()));
    let steps: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(steps[..4], ["request", "listener", "site", "condition"]);
    assert_eq!(steps.last(), Some(&"answer"));
}

#[test]
fn what_was_typed_wrong_is_told() {
    let directory = directory();
    for (arguments, wanted) in [
        (&["ftp://shop.example/"][..], "is no URL of this server"),
        (&["http:///x"], "is no URL of this server: invalid host name"),
        (&["http://shop.example/%zz"], "invalid percent-encoding"),
        (&["http://shop.example/../x"], "'..' above the root"),
        (&["http://shop.example/", "-H", "Cookie"], "`Cookie` is no header field"),
        (&["http://shop.example/", "-H", "Host: x"], "the host stands in the URL"),
        (&["http://shop.example/", "-m", "G T"], "is no method"),
        (&["http://shop.example/", "-c", "none.ron"], "no such file"),
        (&["http://shop.example/", "--from", "here"], "invalid"),
    ] {
        let found = explain(&directory, arguments);
        assert_eq!(found.code, Some(2), "{arguments:?}\n{}", found.stdout);
        assert!(found.stderr.contains(wanted), "{arguments:?}: {wanted}\n{}", found.stderr);
    }
}

#[test]
fn it_says_what_the_server_then_does() {
    let setup = Setup::new(SITES);
    let files = [("office.txt", "192.0.2.0/24\n"), ("htpasswd", USERS)];
    for (name, text) in [("static/a.css", "a{}"), ("static/index.html", "<p>")].into_iter().chain(files) {
        setup.directory.write(name, text);
    }
    let server = setup.start().tolerant(&["a rewrite leads nowhere"]);
    let port = server.address.port();
    for (method, host, path) in [
        ("GET", "shop.example", "/static/a.css"),
        ("GET", "shop.example", "/static/"),
        ("GET", "shop.example", "/static/none"),
        ("POST", "shop.example", "/static/a.css"),
        ("GET", "shop.example", "/spa/x/y"),
        ("GET", "www.shop.example", "/a"),
        ("PUT", "s1.example", "/a"),
        ("GET", "nobody.example", "/a"),
        ("GET", "shop.example", "/only/x"),
        ("PUT", "shop.example", "/only/x"),
        ("GET", "shop.example", "/blog/1"),
        ("GET", "shop.example", "/inner"),
        ("GET", "shop.example", "/loop/"),
        ("GET", "shop.example", "/old/x"),
        ("GET", "shop.example", "/nowhere"),
        ("GET", "shop.example", "/api/..;/only/x"),
        ("GET", "shop.example", "/api/a%2fb%5c..;/x"),
        ("GET", "office.example", "/in/"),
        ("GET", "office.example", "/open/"),
        ("GET", "office.example", "/none"),
    ] {
        let url = format!("http://{host}:{port}{path}");
        let told = hatchery(server.directory(), &["explain", &url, "-m", method, "--json"]);
        let told: serde_json::Value =
            serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{url}: {error}: {told:?}"));
        let host = format!("{host}:{port}");
        let mut client = Connection::open(server.address).unwrap();
        let reply = client.request(method, path, &[("Host", &host)], b"").unwrap();
        assert_eq!(told["status"], reply.status, "{method} {url}: {told:#}");
    }
}
