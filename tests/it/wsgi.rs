//! WSGI apps: what they see, what becomes of what they answer, and what happens when they misbehave.

use crate::harness::http2::Client;
use crate::harness::{
    Browser, Connection, Gate, Load, SOON, Server, Setup, Upstream, get, hatchery, holds, keep_loading,
    noise, now, reply_to, sha256, wait_until,
};
use serde_json::json;
use std::time::Duration;

/// The plain app in one process, with more keys of the app.
fn plain(keys: &str) -> Setup {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/mounted", to: App(name: "plain", mount: "/mounted")),
            (path: "/", to: App("plain")),
        ],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", {keys})}},"#
    ))
}

/// The app of misdeeds in one process, with more keys of the app.
fn hostile(keys: &str) -> Setup {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("hostile"))])],
    apps: {{"hostile": (module: "hostile", chdir: "{{apps}}/hostile", home: "{{venv}}", processes: 1, {keys})}},"#
    ))
}

fn flask() -> Server {
    Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("flask"))])],
    apps: {"flask": (module: "app:app", chdir: "{apps}/flask_site", home: "{venv}", processes: 1)},"#,
    )
    .start()
}

#[test]
fn where_there_is_no_file_the_fallback_answers_whatever_the_method() {
    let upstream = Upstream::fixed("behind");
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (format: Json)),
    sites: [(
        listen: ["{{address}}"],
        max_body: "5B",
        locations: [
            (path: "/app/", to: Files(root: "files", fallback: App(name: "plain", mount: "/app"))),
            (path: "/up/", to: Files(root: "files", fallback: Proxy("behind"))),
        ],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}")}},
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.directory.write("files/there", "a file");
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    let log = |of: &str, handler: &str| {
        let line = server.wait_log(of);
        assert!(line.contains(&format!("\"handler\":\"{handler}\"")), "{line}");
    };
    for prefix in ["/app", "/up"] {
        assert_eq!(connection.get(&format!("{prefix}/there")).unwrap().text(), "a file");
        let denied = connection.request("POST", &format!("{prefix}/there"), &[], b"body").unwrap();
        assert_eq!((denied.status, denied.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
        log(&format!("\"POST\",\"target\":\"{prefix}/there\""), "files");
        let long = Connection::open(server.address).unwrap().request(
            "POST",
            &format!("{prefix}/environ"),
            &[],
            b"too long",
        );
        assert_eq!(long.unwrap().status, 413);
    }
    let environ = connection.request("POST", "/app/environ?a", &[], b"body").unwrap().json();
    assert_eq!((&environ["SCRIPT_NAME"], &environ["PATH_INFO"]), (&json!("/app"), &json!("/environ")));
    assert_eq!(environ["CONTENT_LENGTH"], "4");
    log("\"target\":\"/app/environ?a\"", "app plain");
    for body in [&b""[..], b"body"] {
        assert_eq!(connection.request("POST", "/up/none?b", &[], body).unwrap().text(), "behind");
        assert_eq!(
            (upstream.last().line.as_str(), &*upstream.last().body),
            ("POST /up/none?b HTTP/1.1", body)
        );
        assert_eq!(connection.request_chunked("POST", "/up/none?b", &[], body).unwrap().text(), "behind");
        assert_eq!(upstream.last().body, body);
    }
    log("\"target\":\"/up/none?b\"", "proxy behind");
    assert_eq!(connection.get("/up/a%2fb").unwrap().text(), "behind", "an encoded slash names no file");
    assert_eq!(upstream.last().line, "GET /up/a%2fb HTTP/1.1");
}

#[test]
fn the_environ_is_what_pep_3333_says() {
    let server = plain("processes: 1, threads: 2").start();
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [
        ("Host", "shop.example:8080"),
        ("X-Custom-Name", "caf\u{e9}"),
        ("X-Under_Score", "dropped"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("Content-Type", "text/x-test"),
        ("Proxy", "http://evil.example"),
    ];
    let environ =
        connection.request("POST", "/a%20b/%C3%A9//environ?x=%41&y", &fields, b"12345").unwrap().json();
    let latin_1 = |text: &str| text.bytes().map(char::from).collect::<String>();
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", &*latin_1("/a b/\u{e9}//environ")),
        ("QUERY_STRING", "x=%41&y"),
        ("CONTENT_TYPE", "text/x-test"),
        ("CONTENT_LENGTH", "5"),
        ("SERVER_NAME", "shop.example"),
        ("SERVER_PORT", "8080"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "shop.example:8080"),
        ("HTTP_X_CUSTOM_NAME", &*latin_1("caf\u{e9}")),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("wsgi.url_scheme", "http"),
    ] {
        assert_eq!(environ[name], value, "{name} in {environ:#}");
    }
    let twice = environ["HTTP_X_TWICE"].as_str().unwrap();
    assert!(twice == "one, two" || twice == "one,two", "{twice}");
    assert_eq!(environ["wsgi.version"], json!([1, 0]));
    assert_eq!(environ["wsgi.multithread"], true);
    assert_eq!(environ["wsgi.run_once"], false);
    for absent in ["HTTP_X_UNDER_SCORE", "HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"] {
        assert!(environ.get(absent).is_none(), "{absent} in {environ:#}");
    }
}

#[test]
fn early_hints_reach_clients_that_can_read_them() {
    let server = hostile("").start();
    let mut client = Connection::open(server.address).unwrap();
    let reply = client.get("/hints").unwrap();
    assert_eq!((reply.status, reply.text().as_str(), &reply.interim[..]), (200, "hinted", &[103, 103][..]));
    client.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let hint = client.reply_head().unwrap();
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a.css>; rel=preload")));
    client.reply("GET").unwrap();
    let (reply, _) = reply_to(server.address, "GET /hints HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!((reply.status, &reply.interim[..]), (200, &[][..]));
    let mut client = Client::open(server.address, &[]).unwrap();
    let answer = client.get("/hints").unwrap();
    assert_eq!((answer.field(":status"), answer.text().as_str()), (Some("200"), "hinted"));
}

#[test]
fn an_event_reaches_its_client_before_the_next_is_made() {
    let server = hostile("").start();
    let gate = Gate::new(server.directory(), "gate");
    let mut client = Connection::open(server.address).unwrap();
    let path = server.directory().path().join("gate");
    client.send(format!("GET /one_event?{} HTTP/1.1\r\nHost: a\r\n\r\n", path.display())).unwrap();
    let head = client.reply_head().unwrap();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    let mut first = Vec::new();
    client.exactly(b"d\r\ndata: first\n\n\r\n".len(), &mut first).unwrap();
    assert!(first.ends_with(b"data: first\n\n\r\n"), "{}", first.escape_ascii());
    gate.open();
    let rest = "e\r\ndata: second\n\n\r\n0\r\n\r\n";
    let mut second = Vec::new();
    client.exactly(rest.len(), &mut second).unwrap();
    assert_eq!(String::from_utf8_lossy(&second), rest);
}

#[test]
fn an_endless_stream_waits_for_its_client_and_is_closed_when_that_leaves() {
    let server =
        hostile(r#"threads: 2, response_buffer: (memory: "64KiB", file: "256KiB"), timeout: "600s""#).start();
    let mut reader = Connection::open(server.address).unwrap();
    reader.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(reader.reply_head().unwrap().status, 200);
    let mut client = Connection::open(server.address).unwrap();
    let mut produced = || client.get("/count_produced").unwrap().text().parse::<u64>().unwrap();
    // What stands in the buffers of the kernel is bounded, too.
    let mut before = produced();
    let mut same = 0;
    wait_until(SOON, "a stream that stands still", || {
        let now = produced();
        same = if now == before && now > 256 << 10 { same + 1 } else { 0 };
        before = now;
        holds(same > 50, now)
    });
    assert!(before < 32 << 20, "{before} bytes for a client that reads nothing");
    drop(reader);
    wait_until(SOON, "a closed iterable", || {
        let closed = client.get("/count_closed?events").unwrap().text();
        holds(closed == "1", closed)
    });
}

#[test]
fn a_file_stands_for_a_module() {
    let script = "import tracked\nfrom tracked import value\nnamed = __name__, __file__\n\n\ndef application(environ, start_response):\n    \
                  if environ['PATH_INFO'] == '/fail':\n        raise ValueError('in the file')\n    start_response('200 OK', [])\n    \
                  return [repr((value, *named)).encode()]\n";
    for (module, file, preload) in [
        ("tracked.wsgi", "tracked.wsgi", ""),
        ("deploy/my-app.wsgi:application", "deploy/my-app.wsgi", "preload: true,"),
        ("{dir}/site/deploy/abs.py", "deploy/abs.py", ""),
        ("my-site.wsgi", "my-site.wsgi", ""),
    ] {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("app"))])],
    apps: {{"app": (module: "{module}", chdir: "{{dir}}/site", home: "{{venv}}", {preload})}},"#
        ));
        // A package of the name of the script, as Trac has.
        setup.directory.write("site/tracked/__init__.py", "value = 'of the package'\n");
        let path = setup.directory.write(format!("site/{file}"), script);
        let text = format!(
            r#"(sites: [(listen: ["127.0.0.1:0"], locations: [(path: "/", to: App("app"))])],
                apps: {{"app": (module: "{module}", chdir: "site", home: "{{venv}}")}})"#
        );
        setup.directory.write("check.ron", setup.replace(&text));
        let checked = hatchery(&setup.directory, &["check", "check.ron"]);
        assert_eq!(checked.code, Some(0), "{module}: {checked:?}");
        setup.directory.write("check.ron", setup.replace(&text.replace(module, "tracked")));
        let checked = hatchery(&setup.directory, &["check", "check.ron"]);
        assert_eq!(checked.code, Some(1), "it imports what is named: {checked:?}");
        let server = setup.start();
        let seen = get(server.address, "/").text();
        assert!(seen.contains("of the package") && seen.contains("'_file_"), "{module}: {seen}");
        assert!(seen.contains(&format!("'{}'", path.display())), "{module}: {seen}");
        assert_eq!(get(server.address, "/fail").status, 500);
        server.wait_log(&format!("File \"{}\", line 8, in application", path.display()));
    }
}

/// Interpreters of other kinds, as far as there are any: PyPy, and CPython without its lock.
#[test]
fn other_interpreters_host_an_app_where_they_are_installed() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for name in ["pypy3", "python3.13t", "python3.14t"] {
        let Some(python) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
        else {
            println!("{name} is not installed");
            continue;
        };
        for keys in ["threads: 1", "threads: 4", "threads: 4, preload: true"] {
            let server = Setup::new(&format!(
                r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("hostile"))])],
    apps: {{"hostile": (module: "hostile", chdir: "{{apps}}/hostile", python: "{}", processes: 1, {keys})}},"#,
                python.display()
            ))
            .start();
            for (path, status, text) in [
                ("/hello", 200, "hello"),
                ("/lazy", 299, "lazy"),
                ("/write", 200, "one two three four"),
                ("/file_in_memory", 200, "in memory"),
                ("/file_temporary", 200, "temporary"),
                ("/hints", 200, "hinted"),
                ("/validated?lazy", 200, "valid"),
            ] {
                let reply = get(server.address, path);
                assert_eq!((reply.status, reply.text().as_str()), (status, text), "{name} {keys}: {path}");
            }
            assert_eq!(get(server.address, "/fail_early").status, 500);
            server.wait_log("ValueError: too early");
            let body = noise(300_000, 9);
            let mut client = Connection::open(server.address).unwrap();
            let reply = client.request("POST", "/echo", &[], &body).unwrap();
            assert_eq!(reply.text(), format!("300000 {}", sha256(&body)), "{name} {keys}");
            let load = Load::start(server.address, 8, &["/hello", "/parts", "/closing"]);
            load.wait_for(400);
            load.finish().assert_flawless();
            assert_eq!(server.command(&["restart", "hostile"]).code, Some(0), "{name} {keys}");
            assert_eq!(get(server.address, "/hello").text(), "hello");
        }
    }
}

#[test]
fn a_module_of_that_name_goes_before_a_file_and_a_missing_file_is_told() {
    let keys = |module: &str| {
        format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("app"))])],
    apps: {{"app": (module: "{module}", chdir: "{{dir}}/site", home: "{{venv}}")}},"#
        )
    };
    let setup = Setup::new(&keys("config.wsgi"));
    let app = |name: &str| {
        format!(
            "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{name}']\n"
        )
    };
    setup.directory.write("site/config/__init__.py", "");
    setup.directory.write("site/config/wsgi.py", app("module"));
    setup.directory.write("site/config.wsgi", app("file"));
    assert_eq!(get(setup.start().address, "/").text(), "module");
    let mut setup = Setup::new(&keys("deploy/none.wsgi"));
    setup.directory.write("site/x", "");
    let ended = setup.run_to_end();
    let wanted = "site/deploy/none.wsgi` does not exist";
    assert!(ended.code == Some(1) && ended.stderr.contains(wanted), "{ended:?}");
    assert!(ended.stderr.contains("apps.app.module"), "{ended:?}");
}

#[test]
fn a_trusted_proxy_tells_the_client_and_the_scheme() {
    let configuration = |trusted: &str| {
        format!(
            r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: ["{trusted}"],
        locations: [(path: "/", to: App("plain"))],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}")}},"#
        )
    };
    for (trusted, address, scheme) in
        [("127.0.0.1/32", "203.0.113.9", "https"), ("10.0.0.0/8", "127.0.0.1", "http")]
    {
        let server = Setup::new(&configuration(trusted)).start();
        let fields = [("X-Forwarded-For", "192.0.2.1, 203.0.113.9"), ("X-Forwarded-Proto", "https")];
        let mut connection = Connection::open(server.address).unwrap();
        let environ = connection.request("GET", "/environ", &fields, b"").unwrap().json();
        assert_eq!(
            (&environ["REMOTE_ADDR"], &environ["wsgi.url_scheme"]),
            (&address.into(), &scheme.into()),
            "{trusted}"
        );
    }
}

#[test]
fn a_trusted_proxy_names_the_client_in_the_field_that_the_site_says() {
    for (trusted, address, passed) in
        [("127.0.0.1/32", "203.0.113.9", true), ("10.0.0.0/8", "127.0.0.1", false)]
    {
        let server = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"], trusted_proxies: ["{trusted}"], client_address: "CF-Connecting-IP",
        locations: [(path: "/", to: App("plain"))],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}")}},"#
        ))
        .start();
        let fields = [("X-Forwarded-For", "192.0.2.1"), ("CF-Connecting-IP", "203.0.113.9")];
        let mut connection = Connection::open(server.address).unwrap();
        let environ = connection.request("GET", "/environ", &fields, b"").unwrap().json();
        assert_eq!(environ["REMOTE_ADDR"], address, "{trusted}");
        assert_eq!(environ.get("HTTP_CF_CONNECTING_IP").is_some(), passed, "{environ}");
    }
}

#[test]
fn a_mount_is_taken_off_the_path() {
    let server = plain("processes: 1").start();
    let environ = get(server.address, "/mounted/environ").json();
    assert_eq!((&environ["SCRIPT_NAME"], &environ["PATH_INFO"]), (&"/mounted".into(), &"/environ".into()));
    let environ = get(server.address, "/mountedx/environ").json();
    assert_eq!((&environ["SCRIPT_NAME"], &environ["PATH_INFO"]), (&"".into(), &"/mountedx/environ".into()));
}

#[test]
fn request_bodies_arrive_whole_and_with_a_length() {
    let server = plain("processes: 1").start();
    let mut connection = Connection::open(server.address).unwrap();
    for size in [0, 1, 65_535, 65_536, 65_537, 5 << 20] {
        let body = noise(size, 5);
        let expected = sha256(&body);
        let lengths = (size.into(), size.to_string().into());
        let announced = connection.request("POST", "/echo", &[], &body).unwrap().json();
        assert_eq!((&announced["sha256"], &announced["length"]), (&expected.clone().into(), &lengths.0));
        // The app knows no chunks: they are put together, and the length is told.
        let chunked = connection.request_chunked("POST", "/echo", &[], &body).unwrap().json();
        assert_eq!((&chunked["sha256"], &chunked["length"]), (&expected.into(), &lengths.0));
        assert_eq!((&announced["content_length"], &chunked["content_length"]), (&lengths.1, &lengths.1));
    }
}

#[test]
fn responses_are_framed_as_the_app_says() {
    let server = plain("processes: 1").start();
    let mut connection = Connection::open(server.address).unwrap();
    let hello = connection.get("/hello").unwrap();
    assert_eq!((hello.text().as_str(), hello.field("content-length")), ("hello\n", Some("6")));
    let block: Vec<u8> = (0..=255).collect();
    for (path, announced) in [("/big?size=300001&length=1", true), ("/big?size=300001", false)] {
        let big = connection.get(path).unwrap();
        assert_eq!(big.body.len(), 300_001);
        assert_eq!(big.field("content-length").is_some(), announced, "{:?}", big.fields);
        assert!(big.body.iter().zip(block.iter().cycle()).all(|(sent, expected)| sent == expected));
    }
    assert_eq!(connection.get("/big?size=0").unwrap().body.len(), 0);
    let head = connection.request("HEAD", "/big?size=300001&length=1", &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("300001")));
    let empty = connection.get("/headers").unwrap();
    assert_eq!(empty.status, 204);
    assert_eq!(empty.all("set-cookie"), ["one=1", "two=2"]);
    assert_eq!(connection.get("/write").unwrap().text(), "written and returned\n");
    let replaced = connection.get("/exc_info").unwrap();
    assert_eq!((replaced.status, replaced.field("x-replaced")), (500, Some("yes")));
    let file = connection.get("/file").unwrap();
    assert!(file.body == std::fs::read(crate::harness::apps().join("plain/app.py")).unwrap());
    for _ in 0..3 {
        assert_eq!(connection.get("/closing").unwrap().text(), "closing\n");
    }
    assert_eq!(connection.get("/closed").unwrap().text(), "3\n");
    assert_eq!(connection.get("/nothing").unwrap().status, 404);
}

#[test]
fn an_exception_is_500_and_the_traceback_is_logged() {
    let server =
        plain("processes: 1").start().tolerant(&["the app failed in the middle", "GET /raise_after"]);
    let mut connection = Connection::open(server.address).unwrap();
    let reply = connection.get("/raise_before").unwrap();
    assert_eq!(reply.status, 500);
    assert!(!reply.text().contains("raised"), "the client is not told: {}", reply.text());
    server.wait_log("RuntimeError: raised before the headers");
    server.wait_log("raise_before");
    // What has begun cannot be taken back: the client must see that the end is missing.
    let broken = Connection::open(server.address).unwrap().get("/raise_after");
    assert!(broken.as_ref().map_or(true, |reply| reply.status == 500), "{broken:?}");
    server.wait_log("RuntimeError: raised after the headers");
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
    assert_eq!(server.pool("plain").restarts, 0);
}

#[test]
fn an_exception_is_answered_with_a_page_that_names_the_request() {
    let server = |log: &str| {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    log: (access: (format: Json), {log}),
    default_site: "plain.example",
    sites: [
        (listen: ["{{address}}"], names: ["plain.example"], locations: [
            (path: "/app/", to: App(name: "plain", mount: "/app")), (path: "/", to: Files("files"))]),
        (listen: ["{{address}}"], names: ["own.example"], error_pages: {{500: "500.txt"}},
            locations: [(path: "/", to: App("plain"))]),
    ],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1)}},"#
        ));
        setup.directory.write("500.txt", "ours: $request_id");
        setup.directory.write("files/there", "a file");
        setup.start()
    };
    let named = server("");
    let mut connection = Connection::open(named.address).unwrap();
    let mut ids = Vec::new();
    for (target, host, status) in [
        ("/app/raise_before", "plain.example", 500),
        ("/raise_before", "own.example", 500),
        ("/app/hello", "plain.example", 200),
        ("/there", "plain.example", 200),
        ("/none", "plain.example", 404),
    ] {
        let reply = connection.request("GET", target, &[("Host", host)], b"").unwrap();
        let id = reply.field("x-request-id").unwrap_or_else(|| panic!("{target}: {reply:?}")).to_owned();
        assert_eq!((reply.status, id.len()), (status, 16), "{target}: {reply:?}");
        if host == "own.example" {
            assert_eq!(
                (reply.text(), reply.field("content-type").unwrap()),
                (format!("ours: {id}"), "text/plain; charset=utf-8")
            );
        } else if status >= 400 {
            assert!(
                reply.text().contains("<style>") && reply.text().contains(&id),
                "{target}: {}",
                reply.text()
            );
        }
        let line = named.wait_log(&id);
        assert!(line.contains(&format!("\"status\":{status}")) || line.contains("failed:"), "{line}");
        ids.push(id);
    }
    named.wait_log(&format!("GET /app/raise_before (request {}) failed", ids[0]));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each request has its own");
    let head = connection.request("HEAD", "/app/raise_before", &[("Host", "plain.example")], b"").unwrap();
    assert_eq!(
        (head.status, head.field("content-type"), &*head.body),
        (500, Some("text/html; charset=utf-8"), &b""[..])
    );
    assert_eq!(named.pool("plain").restarts, 0);

    for (log, field) in [("request_id: \"X-Trace\"", Some("x-trace")), ("request_id: Off", None)] {
        let server = server(log);
        for target in ["/app/raise_before", "/there", "/none"] {
            let reply = get(server.address, target);
            assert!(reply.field("x-request-id").is_none(), "{reply:?}");
            assert_eq!(field.is_some(), field.and_then(|field| reply.field(field)).is_some(), "{reply:?}");
        }
    }
}

#[test]
fn a_request_that_kills_its_processes_costs_itself_and_they_are_replaced() {
    let server = plain("processes: 1").start().tolerant(&["GET /crash"]);
    let before = get(server.address, "/pid").text();
    assert_eq!(get(server.address, "/crash").status, 502);
    let after = wait_until(SOON, "another process answers", || {
        let reply = get(server.address, "/pid");
        if reply.status == 200 { Ok(reply.text()) } else { Err(format!("{reply:?}")) }
    });
    assert_ne!(before, after);
    let broken = Connection::open(server.address).unwrap().get("/crash_later");
    assert!(broken.as_ref().map_or(true, |reply| reply.status == 502), "{broken:?}");
    // It was given to another one, which died with it, too.
    let pool = wait_until(SOON, "three restarts", || {
        let pool = server.pool("plain");
        if pool.restarts == 3 { Ok(pool) } else { Err(format!("{pool:?}")) }
    });
    assert!(pool.last_exit.as_deref().is_some_and(|exit| exit.contains('3')), "{pool:?}");
}

#[test]
fn a_slow_client_does_not_hold_the_process() {
    let server = plain("processes: 1, threads: 1").start();
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /big?size=31457280 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(slow.reply_head().unwrap().status, 200);
    let start = now();
    for _ in 0..3 {
        assert_eq!(get(server.address, "/hello").text(), "hello\n");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // So does a client that sends slowly: the app is asked when all has come.
    slow = Connection::open(server.address).unwrap();
    slow.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
    slow.send("cd").unwrap();
    assert_eq!(slow.reply("POST").unwrap().json()["length"], 4);
}

#[test]
fn an_app_that_waits_for_a_slow_client_is_not_out_of_time() {
    let buffer = "response_buffer: (memory: \"64KiB\", file: \"1MiB\")";
    let server = plain(&format!("processes: 1, timeout: \"300ms\", {buffer}")).start();
    let pid = get(server.address, "/pid").text();
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /big?size=31457280 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // The spool is full and the app is held for longer than its time-out.
    keep_loading(Duration::from_secs(1));
    assert_eq!(slow.reply("GET").unwrap().body.len(), 31_457_280);
    assert_eq!(get(server.address, "/pid").text(), pid);
}

#[test]
fn threads_run_requests_at_the_same_time() {
    let server = plain("processes: 1, threads: 4").start();
    let start = now();
    let mut connections: Vec<_> = (0..4).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut connections {
        connection.send("GET /sleep?seconds=1.5 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    for connection in &mut connections {
        assert_eq!(connection.reply("GET").unwrap().text(), "slept\n");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "one after the other: {:?}", start.elapsed());
    assert_eq!(server.ready("plain").len(), 1);
}

#[test]
fn a_request_that_takes_too_long_is_504_and_its_process_replaced() {
    let server = plain("processes: 1, timeout: \"500ms\"").start().tolerant(&["GET /sleep"]);
    let before = get(server.address, "/pid").text();
    assert_eq!(get(server.address, "/sleep?seconds=30").status, 504);
    let after = wait_until(SOON, "another process answers", || {
        let reply = get(server.address, "/pid");
        if reply.status == 200 { Ok(reply.text()) } else { Err(format!("{reply:?}")) }
    });
    assert_ne!(before, after);
}

#[test]
fn a_response_that_goes_on_is_not_cut_at_the_timeout() {
    let server = plain("processes: 1, timeout: \"3s\"").start();
    let pid = get(server.address, "/pid").text();
    let lines = get(server.address, "/drip?count=25&seconds=0.2").text();
    assert_eq!(lines.lines().count(), 25, "{lines}");
    assert_eq!(get(server.address, "/pid").text(), pid);
}

#[test]
fn a_response_that_stops_in_the_middle_breaks_off_at_the_timeout() {
    let server = plain("processes: 1, timeout: \"500ms\"").start().tolerant(&["GET /ticks"]);
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET /ticks?seconds=1000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.reply_head().unwrap().status, 200);
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(rest.contains("tick\n") && !rest.ends_with("0\r\n\r\n"), "{rest:?}");
    server.wait_log("GET /ticks?seconds=1000000 ran into the time-out of 500ms");
    wait_until(SOON, "a restart", || holds(server.pool("plain").restarts == 1, server.pool("plain")));
}

#[test]
fn stream_timeout_bounds_a_response_and_its_process_goes_on() {
    let server = plain("processes: 1, timeout: \"10m\", stream_timeout: \"500ms\"").start();
    let pid = get(server.address, "/pid").text();
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET /ticks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.reply_head().unwrap().status, 200);
    let rest = String::from_utf8(client.rest().unwrap()).unwrap();
    assert!(rest.contains("tick\n") && !rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert_eq!(get(server.address, "/closed").text(), "1\n");
    assert_eq!(get(server.address, "/pid").text(), pid);
}

#[test]
fn an_app_learns_that_its_client_has_left_and_keeps_its_process() {
    let server = plain("processes: 1, threads: 2, timeout: \"10m\"").start();
    let pid = get(server.address, "/pid").text();
    for (count, path) in ["/ticks", "/ticks_written"].iter().enumerate() {
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(client.reply_head().unwrap().status, 200);
        drop(client);
        let expected = format!("{}\n", count + 1);
        wait_until(SOON, "the response is closed", || {
            let closed = get(server.address, "/closed").text();
            holds(closed == expected, closed)
        });
    }
    assert_eq!(get(server.address, "/pid").text(), pid);
}

#[test]
fn a_response_without_end_is_over_where_nothing_more_can_be_sent() {
    let server = plain("processes: 1, timeout: \"10m\"").start().tolerant(&["GET /ticks_of_length"]);
    let mut client = Connection::open(server.address).unwrap();
    assert_eq!(client.request("HEAD", "/ticks", &[], b"").unwrap().status, 200);
    assert_eq!(client.get("/closed").unwrap().text(), "1\n");
    assert_eq!(client.get("/ticks_of_length").unwrap().text(), "tick\ntick\n");
    assert_eq!(get(server.address, "/closed").text(), "2\n");
}

#[test]
fn a_response_without_end_whose_client_has_left_gives_its_process_back() {
    let server =
        plain("processes: 1, timeout: \"1s\", queue_timeout: \"500ms\"").start().tolerant(&["GET /ticks"]);
    let before = get(server.address, "/pid").text();
    let mut client = Connection::open(server.address).unwrap();
    // The app does not come back to its host.
    client.send("GET /ticks?seconds=1000000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.reply_head().unwrap().status, 200);
    drop(client);
    let after = wait_until(SOON, "another process answers", || {
        let reply = get(server.address, "/pid");
        if reply.status == 200 { Ok(reply.text()) } else { Err(format!("{reply:?}")) }
    });
    assert_ne!(before, after);
}

#[test]
fn output_of_the_app_is_logged_with_its_name() {
    let server = plain("processes: 1").start();
    assert_eq!(get(server.address, "/print").text(), "printed\n");
    for text in ["on standard output", "on standard error", "on wsgi.errors"] {
        let line = server.wait_log(text);
        assert!(line.contains("plain"), "{line}");
    }
}

#[test]
fn what_an_app_starts_by_multiprocessing_works() {
    for keys in ["processes: 1", "processes: 1, threads: 2", "processes: 1, preload: true"] {
        let server = plain(keys).start();
        for method in ["spawn", "forkserver", "fork"] {
            let reply = get(server.address, &format!("/pool?method={method}"));
            assert_eq!(reply.text(), "[0, 1, 4, 9]\n", "{keys} {method}: {reply:?}");
        }
    }
}

#[test]
fn what_an_app_starts_has_the_default_signals() {
    for keys in ["processes: 1", "processes: 1, preload: true"] {
        let server = plain(keys).start();
        let text = get(server.address, "/signals").text();
        let masks: Vec<u64> = text
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split_once(":\t")?.1, 16).ok())
            // 32 and 33 are the C library's; what started us may ignore them.
            .map(|mask| mask & !(0b11 << 31))
            .collect();
        assert_eq!(masks, [0, 0], "{keys}: {text}");
    }
}

#[test]
fn what_an_app_has_started_goes_on_printing_after_its_process_was_replaced() {
    for upgraded in [false, true] {
        let setup = plain("processes: 1");
        let end = setup.directory.path().join("end");
        let server = setup.start();
        let before = get(server.address, "/pid").text();
        assert_eq!(get(server.address, &format!("/talker?until={}", end.display())).status, 200);
        server.wait_log("still there");
        server.command(&["restart", "plain"]);
        assert_ne!(get(server.address, "/pid").text(), before);
        if upgraded {
            server.master.signal(nix::sys::signal::Signal::SIGUSR2);
            server.wait_log("goes on in place of");
        }
        std::fs::write(&end, "").unwrap();
        server.wait_log("came to its end");
    }
}

#[test]
fn gevent_and_eventlet_may_replace_the_standard_library_of_an_app() {
    for module in ["with_gevent", "with_eventlet"] {
        for keys in ["threads: 1", "threads: 4", "threads: 4, preload: true"] {
            let setup = Setup::new(&format!(
                r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("green"))])],
    apps: {{"green": (module: "{module}", chdir: "{{apps}}/green_site", home: "{{venv}}", processes: 1, {keys})}},"#
            ));
            let gate = Gate::new(&setup.directory, "gate");
            let path = setup.directory.path().join("gate");
            let server = setup.start();
            let pid = get(server.address, "/pid").text();
            let units = if keys.contains('4') { 4 } else { 1 };
            let mut clients: Vec<_> = (0..units).map(|_| Connection::open(server.address).unwrap()).collect();
            for client in &mut clients {
                client
                    .send(format!("GET /held?gate={} HTTP/1.1\r\nHost: a\r\n\r\n", path.display()))
                    .unwrap();
            }
            wait_until(SOON, "all threads are held", || {
                let held = server.log().iter().filter(|line| line.contains("held at the gate")).count();
                holds(held == units, held)
            });
            gate.open();
            for client in &mut clients {
                assert_eq!(client.reply("GET").unwrap().text(), "let go\n", "{module} {keys}");
            }
            for client in &mut clients {
                assert_eq!(client.get("/sleep").unwrap().text(), "slept\n", "{module} {keys}");
            }
            assert_eq!(get(server.address, "/pid").text(), pid);
        }
    }
}

#[test]
fn an_app_without_a_virtualenv_runs_with_the_python_of_the_path() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app:application", chdir: "{apps}/plain", env: {"ADDED": "yes"}, processes: 2)},"#,
    );
    let server = setup.start();
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
    server.wait_ready(SOON, "plain", 2);
}

/// A project that needs a package, and has a virtualenv beside it.
fn project(setup: Setup) -> Setup {
    setup.directory.write(
        "site_of_test.py",
        "import flask\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'found']\n",
    );
    std::os::unix::fs::symlink(crate::harness::virtualenv(), setup.directory.path().join("venv")).unwrap();
    // Where there is no Flask.
    setup.env("PATH", "/usr/bin:/bin")
}

#[test]
fn run_with_flags_uses_a_virtualenv_in_the_directory() {
    let flags = ["run", "--http", "{address}", "--module", "site_of_test", "--chdir", "{dir}"];
    let server = project(Setup::flags(&flags)).start();
    assert_eq!(get(server.address, "/").text(), "found");
    let line = server.wait_log("runs in the virtualenv");
    assert!(line.contains("/venv, which was found there"), "{line}");
}

#[test]
fn a_missing_module_names_the_interpreter_and_the_virtualenv_beside_it() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", processes: 1)},"#,
    );
    let finished = project(setup).run_to_end();
    let text = format!("{finished:?}");
    let wanted = "No module named 'flask' (the interpreter is /usr/bin/python3; there is a virtualenv in ";
    assert!(
        text.contains(wanted) && text.contains("/venv: name it by `home` of the app, or --home)"),
        "{text}"
    );
}

#[test]
fn a_virtualenv_whose_python_has_gone_is_told_of() {
    let mut setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", home: "{dir}/venv", processes: 1)},"#,
    );
    let bin = setup.directory.path().join("venv/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink("python3", bin.join("python")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/python3.0", bin.join("python3")).unwrap();
    let text = format!("{:?}", setup.run_to_end());
    let wanted =
        "venv/bin/python: it is a link to a Python that is not there any more; make the virtualenv again";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn a_python_that_is_too_old_is_told_what_is_needed() {
    let mut setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", python: "{dir}/old", processes: 1)},"#,
    );
    let old = "#!/bin/sh\nexec /usr/bin/python3 -c 'import sys\nsys.version_info = (3, 6, 15)\n\
               exec(sys.stdin.read())'\n";
    setup.directory.write("old", old);
    let path = setup.directory.path().join("old");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!("{:?}", setup.run_to_end());
    assert!(text.contains("Python 3.8 or newer is needed; /usr/bin/python3 is 3.6"), "{text}");
}

#[test]
fn flask_is_served() {
    let server = flask().tolerant(&["broken on purpose", "Exception on /broken"]);
    let mut browser = Browser::new(server.address);
    assert!(browser.get("/").text().contains("Hello from Flask"));
    let hello = browser.get("/hello/W%C3%B6rld").json();
    assert_eq!(hello["hello"], "W\u{f6}rld");
    assert_eq!(hello["client"], "127.0.0.1");
    assert_eq!([browser.get("/count").text(), browser.get("/count").text()], ["1\n", "2\n"]);
    assert!(browser.cookie("session").is_some());
    assert_eq!(browser.get("/missing").status, 404);
    let lines = browser.get("/lines?many=3000").text();
    assert_eq!((lines.lines().count(), lines.lines().last()), (3000, Some("line 2999")));
    let body = noise(5 << 20, 9);
    let mut connection = Connection::open(server.address).unwrap();
    let stored = connection.request("POST", "/upload", &[], &body).unwrap().json();
    assert_eq!(stored["sha256"], sha256(&body));
    let stored = connection.request_chunked("POST", "/upload", &[], &body).unwrap().json();
    assert_eq!(stored["sha256"], sha256(&body));
    assert_eq!(browser.get("/broken").status, 500);
    server.wait_log("RuntimeError: broken on purpose");
}

#[test]
fn many_requests_one_after_the_other_on_one_connection() {
    let server = plain("processes: 2").start();
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..500 {
        assert_eq!(connection.get("/hello").unwrap().text(), "hello\n");
    }
    wait_until(SOON, "the worker counted them", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.requests).sum::<u64>() >= 500, workers)
    });
}
