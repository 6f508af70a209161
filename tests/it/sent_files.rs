//! Whoever an app or upstream names answers in its place: `X-Accel-Redirect` and `X-Sendfile`.

use crate::harness::http2::Client;
use crate::harness::{Connection, Reply, SOON, Server, Setup, Upstream, holds, noise, wait_until};
use std::io::{Read as _, Write as _};

/// The app below /, internal places beside it.
fn start(app: &str, locations: &str, rest: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (format: Json)),
    sites: [(
        listen: ["{{address}}"],
        error_pages: {{418: "files/teapot.html"}},
        locations: [
            (path: "/protected/", internal: true, to: Files(root: "files", cache: "1h")),
            (path: "/inside/", internal: true, to: App(name: "app", mount: "/inside")),
            (path: "/said/", internal: true, to: Respond(status: 403, body: "no", content_type: "text/x-no")),
            {locations}
            (path: "/", to: App("app")),
        ],
    )],
    apps: {{"app": (module: "app", chdir: "{{apps}}/sending", home: "{{venv}}", processes: 1, {app})}},{rest}"#
    ));
    for (name, content) in
        [("a.txt", "the file"), ("b c%.html", "another"), ("teapot.html", "short and stout")]
    {
        setup.directory.write(format!("files/{name}"), content);
    }
    setup.directory.write("files/big", noise(3_000_000, 7));
    setup.directory.write("files/below/index.html", "an index");
    setup.start()
}

/// A path at which the app answers with these fields.
fn saying(fields: &[(&str, &str)]) -> String {
    let quoted = |text: &str| {
        let quote = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02x}"),
        };
        text.bytes().map(quote).collect::<String>()
    };
    let all: Vec<_> =
        fields.iter().map(|(name, value)| format!("field={}", quoted(&format!("{name}: {value}")))).collect();
    format!("/said-by-app?{}", all.join("&"))
}

fn led(place: &str) -> String {
    saying(&[("X-Accel-Redirect", place)])
}

fn is_hidden(reply: &Reply) -> bool {
    ["x-accel-redirect", "x-sendfile"].iter().all(|name| reply.field(name).is_none())
}

#[test]
fn a_place_inside_answers_instead_of_the_app_with_ranges_and_conditions() {
    let server = start("", "", "");
    let mut client = Connection::open(server.address).unwrap();
    for path in [
        "/protected/a.txt",
        "/protected/",
        "/protected/none",
        "/inside/environ",
        "/%70rotected/a.txt",
        "//protected//a.txt",
    ] {
        let reply = client.get(path).unwrap();
        assert_eq!(reply.status, 404, "{path} is nowhere for who asks for it");
    }
    let path = led("/protected/a.txt");
    let reply = client.get(&path).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "the file"));
    assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(
        (reply.field("cache-control"), reply.field("accept-ranges")),
        (Some("max-age=3600"), Some("bytes"))
    );
    assert!(is_hidden(&reply));
    let tag = reply.field("etag").unwrap().to_owned();
    let head = client.request("HEAD", &path, &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("8"), 0));
    let part = client.request("GET", &path, &[("Range", "bytes=4-")], b"").unwrap();
    assert_eq!(
        (part.status, part.text().as_str(), part.field("content-range")),
        (206, "file", Some("bytes 4-7/8"))
    );
    let past = client.request("GET", &path, &[("Range", "bytes=9-")], b"").unwrap();
    assert_eq!((past.status, past.field("content-range")), (416, Some("bytes */8")));
    let same = client.request("GET", &path, &[("If-None-Match", &tag)], b"").unwrap();
    assert_eq!((same.status, same.field("etag"), same.body.len()), (304, Some(&*tag), 0));
    let other = client.request("GET", &path, &[("If-Match", "\"x\"")], b"").unwrap();
    assert_eq!(other.status, 412);
    // What is asked is a GET, whatever the client has asked for, and no part of what it sent.
    let posted =
        client.request("POST", &path, &[("Range", "bytes=4-"), ("If-None-Match", &tag)], b"a body").unwrap();
    assert_eq!((posted.status, posted.text().as_str()), (200, "the file"));
    // The line of the access log is that of the client's request.
    let line = server.wait_log("\"method\":\"POST\"");
    assert!(
        line.contains(r#""target":"/said-by-app?field="#) && line.contains(r#""handler":"files""#),
        "{line}"
    );
    let mut whole = Vec::new();
    whole.extend_from_slice(&client.get(&led("/protected/big")).unwrap().body);
    assert!(whole == noise(3_000_000, 7));
}

#[test]
fn the_fields_of_the_app_go_along_but_for_those_of_its_body() {
    let server = start("", "", "");
    let mut client = Connection::open(server.address).unwrap();
    let fields = [
        ("X-Accel-Redirect", "/protected/a.txt"),
        ("Content-Type", "application/x-own"),
        ("Content-Disposition", "attachment; filename=\"b.txt\""),
        ("Cache-Control", "private"),
        ("ETag", "\"of the app\""),
        ("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("Content-Encoding", "gzip"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Vary", "Cookie"),
        ("X-Accel-Buffering", "no"),
        ("X-Accel-Limit-Rate", "1"),
        ("X-Accel-Charset", "x"),
        ("X-Accel-Expires", "0"),
    ];
    let path = saying(&fields);
    let reply = client.get(&path).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "the file"));
    for (name, values) in [
        ("content-type", &["application/x-own"][..]),
        ("content-disposition", &["attachment; filename=\"b.txt\""]),
        ("cache-control", &["private"]),
        ("set-cookie", &["a=1", "b=2"]),
        ("vary", &["Cookie"]),
        ("content-encoding", &[]),
        ("x-accel-buffering", &[]),
        ("x-accel-limit-rate", &[]),
        ("x-accel-charset", &[]),
        ("x-accel-expires", &[]),
        ("content-length", &["8"]),
    ] {
        assert_eq!(reply.all(name), values, "{name}");
    }
    assert_ne!(reply.field("etag"), Some("\"of the app\""));
    assert_ne!(reply.field("last-modified"), Some("Sat, 01 Jan 2000 00:00:00 GMT"));
    let parts = client.request("GET", &path, &[("Range", "bytes=0-0,7-7")], b"").unwrap();
    assert!(parts.field("content-type").unwrap().starts_with("multipart/byteranges"), "{parts:?}");
    assert_eq!(parts.text().matches("Content-Type: application/x-own").count(), 2, "{}", parts.text());
    // A page for an error is none of the file.
    let mut missing = fields;
    missing[0].1 = "/protected/none";
    let reply = client.get(&saying(&missing)).unwrap();
    assert_eq!((reply.status, reply.field("content-disposition")), (404, None));
    assert_eq!((reply.field("cache-control"), reply.all("set-cookie").len()), (None, 2));
    assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    // Without a type of the app's it is that of the file.
    let reply = client.get(&saying(&[fields[0], ("Content-Type", "")])).unwrap();
    assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn the_place_is_decoded_once_and_resolved_as_any_other() {
    let server =
        start("", r#"(exact: "/open", to: Respond(status: 200, body: "open")),"#, "").tolerant(&["[misled]"]);
    let mut client = Connection::open(server.address).unwrap();
    for (place, status, text) in [
        ("protected/a.txt", 502, ""),
        ("/protected/b%20c%25.html", 200, "another"),
        ("/protected/b c%.html", 200, "another"),
        ("/protected/below/", 200, "an index"),
        ("/protected/../open", 200, "open"),
        ("/protected/%2e%2e/open?x", 200, "open"),
        ("/open", 200, "open"),
        ("/protected/b%2520c%2525.html", 404, ""),
        ("/protected/below", 404, ""),
        ("/protected/..%2f..%2f..%2fetc/passwd", 502, ""),
        ("/protected/a.txt%00", 502, ""),
        ("http://evil.example/protected/a.txt", 502, ""),
    ] {
        let reply = client.get(&led(place)).unwrap();
        assert_eq!(reply.status, status, "{place}");
        assert!(reply.status != 200 || reply.text() == text, "{place}: {}", reply.text());
        assert!(is_hidden(&reply) && reply.field("location").is_none(), "{place}");
    }
    let line = server.wait_log("`protected/a.txt`");
    assert!(line.contains("begins with a slash") && line.contains("[misled]"), "{line}");
}

#[test]
fn an_app_or_a_fixed_answer_inside_may_answer_and_the_query_is_its_own() {
    let server = start("", "", "");
    let mut client = Connection::open(server.address).unwrap();
    let fields = [
        ("X-Accel-Redirect", "/inside/environ?b=%41&c"),
        ("Set-Cookie", "a=1"),
        ("Content-Type", "text/x-first"),
    ];
    let reply = client.request("POST", &saying(&fields), &[("X-Own", "1")], b"a body").unwrap();
    let answer = reply.json();
    let (environ, body) = (&answer[0], &answer[1]);
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/inside"),
        ("PATH_INFO", "/environ"),
        ("QUERY_STRING", "b=%41&c"),
        ("HTTP_X_OWN", "1"),
    ] {
        assert_eq!(environ[name], value, "{environ:#}");
    }
    assert_eq!((body.as_str(), reply.all("set-cookie")), (Some(""), vec!["a=1"]));
    for absent in ["CONTENT_TYPE", "CONTENT_LENGTH"] {
        assert!(environ.get(absent).is_none_or(|value| value == ""), "{environ:#}");
    }
    let reply = client.get(&led("/said/x")).unwrap();
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.field("content-type")),
        (403, "no", Some("text/x-no"))
    );
    // Over HTTP/2, too.
    let mut client = Client::open(server.address, &[]).unwrap();
    let answer = client.get(&led("/protected/a.txt")).unwrap();
    assert_eq!((answer.field(":status"), answer.text().as_str()), (Some("200"), "the file"));
}

#[test]
fn who_leads_in_a_circle_is_stopped() {
    let server =
        start("", r#"(path: "/round/", internal: true, to: App("app")),"#, "").tolerant(&["[circle]"]);
    let mut client = Connection::open(server.address).unwrap();
    // Each hop asks the same app for the same answer.
    let path = led("/inside/x?field=X-Accel-Redirect%3a%20/protected/a.txt");
    assert_eq!(client.get(&path).unwrap().text(), "the file");
    let circle = "/round/x?field=X-Accel-Redirect%3a%20";
    let mut place = "/protected/a.txt".to_owned();
    for hops in 1..=11 {
        let reply = client.get(&led(&place)).unwrap();
        assert_eq!(reply.status, if hops <= 10 { 200 } else { 500 }, "{hops} hops");
        place = format!(
            "{circle}{}",
            place.replace('%', "%25").replace('?', "%3f").replace('&', "%26").replace('=', "%3d")
        );
    }
    let line = server.wait_log("[circle]");
    assert!(line.contains("app app") && line.contains("without end"), "{line}");
    assert_eq!(client.get("/x").unwrap().status, 200, "it serves on");
}

#[test]
fn the_process_is_free_at_once_and_its_iterable_is_closed() {
    let server = start("threads: 1", "", "");
    let mut client = Connection::open(server.address).unwrap();
    let path = format!("{}&endless=1", led("/protected/a.txt"));
    for count in 1..=3 {
        assert_eq!(client.get(&path).unwrap().text(), "the file");
        wait_until(SOON, "a closed iterable", || {
            let closed = client.get("/closed").unwrap().text();
            holds(closed == count.to_string(), closed)
        });
    }
    assert_eq!(server.pool("app").children.len(), 1);
}

#[test]
fn an_upstream_leads_as_an_app_does_unless_it_is_not_to() {
    let upstream = Upstream::start(|received, stream| {
        let (fields, body) = match received.line.split(' ').nth(1).unwrap_or_default() {
            path if path.starts_with("/direct") => ("", "direct"),
            _ => ("X-Accel-Redirect: /protected/a.txt\r\nX-Kept: 1\r\n", "instead"),
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len());
        // At once: what has not come is not waited for, and its connection of no more use.
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let server = start(
        "",
        r#"(path: "/up/", to: Proxy(name: "up", strip: true, response_headers: (set: {"X-Set": "1"}))),
           (path: "/streamed/", to: Proxy(name: "up", buffering: Off)),
           (path: "/ignored/", to: Proxy(name: "up", x_accel: Ignore)),
           (path: "/passed/", to: Proxy(name: "up", x_accel: Pass)),
           (path: "/behind/", internal: true, to: Proxy(name: "up", strip: true)),"#,
        &format!(r#" upstreams: {{"up": (servers: ["{}"])}},"#, upstream.address),
    );
    let mut client = Connection::open(server.address).unwrap();
    let reply = client.get("/up/x").unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.field("x-kept"), reply.field("x-set")),
        ("the file", Some("1"), Some("1"))
    );
    assert!(is_hidden(&reply));
    // The connection to it is of use again.
    assert_eq!(client.get("/up/direct").unwrap().text(), "direct");
    assert_eq!(upstream.received().iter().map(|received| received.connection).max(), Some(0));
    let reply = client.get("/ignored/x").unwrap();
    assert_eq!((reply.text().as_str(), is_hidden(&reply)), ("instead", true));
    let reply = client.get("/passed/x").unwrap();
    assert_eq!(
        (reply.text().as_str(), reply.field("x-accel-redirect")),
        ("instead", Some("/protected/a.txt"))
    );
    // From the app to the upstream, which leads on.
    let reply = client.get(&led("/behind/direct?q")).unwrap();
    assert_eq!((reply.text().as_str(), upstream.last().line.as_str()), ("direct", "GET /direct?q HTTP/1.1"));
    assert_eq!(client.get(&led("/behind/x")).unwrap().text(), "the file");
    assert_eq!(client.get("/behind/direct").unwrap().status, 404);
}

#[test]
fn the_rest_of_a_body_is_for_nobody_once_its_upstream_has_led_on() {
    let upstream = Upstream::raw(|_, mut stream| {
        let mut head = [0; 4096];
        let answer = b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inside/environ\r\nContent-Length: 0\r\n\r\n";
        if stream.read(&mut head).is_ok_and(|count| count > 0) && stream.write_all(answer).is_ok() {
            while stream.read(&mut head).is_ok_and(|count| count > 0) {}
        }
    });
    let server = start(
        "",
        r#"(path: "/streamed/", to: Proxy(name: "up", buffering: Off)),"#,
        &format!(r#" upstreams: {{"up": (servers: ["{}"])}},"#, upstream.address),
    );
    let mut client = Connection::open(server.address).unwrap();
    client.send(b"POST /streamed/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").unwrap();
    let reply = client.reply("POST").unwrap();
    assert_eq!((reply.status, reply.json()[1].as_str()), (200, Some("")));
    client.send(b"67890").unwrap();
    assert_eq!(server.wait_log("/streamed/x").matches("\"status\":200").count(), 1);
}

#[test]
fn what_an_app_is_not_to_lead_to_reaches_nobody() {
    let server = start("x_accel: Ignore", "", "");
    let mut client = Connection::open(server.address).unwrap();
    let reply = client.get(&format!("{}&body=own", led("/protected/a.txt"))).unwrap();
    assert_eq!((reply.text().as_str(), is_hidden(&reply)), ("own", true));
    let server = start("x_accel: Pass", "", "");
    let reply = Connection::open(server.address).unwrap().get(&led("/protected/a.txt")).unwrap();
    assert_eq!((reply.body.len(), reply.field("x-accel-redirect")), (0, Some("/protected/a.txt")));
}

/// Files at other places than the site's, with what lies beside them.
fn files(setup: &Setup) {
    for (name, content) in [
        ("sent/a b.txt", "sent"),
        ("sent/.hidden.bak", "hidden"),
        ("sent/100%.txt", "percent"),
        ("sent/below/index.html", "an index"),
        ("other/o.txt", "other"),
        ("secret.txt", "secret"),
    ] {
        setup.directory.write(name, content);
    }
    for (link, target) in [("sent/in", "below/index.html"), ("sent/out", "../secret.txt")] {
        std::os::unix::fs::symlink(target, setup.directory.path().join(link)).unwrap();
    }
    std::os::unix::fs::symlink("sent", setup.directory.path().join("current")).unwrap();
}

/// Two apps, one of which may have files sent.
fn sending() -> Setup {
    Setup::new(
        r#"
    workers: (processes: 1),
    sandbox: Try,
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app")), (path: "/none/", to: App("none"))])],
    apps: {
        "app": (module: "app", chdir: "{apps}/sending", home: "{venv}", send_files_from: ["{dir}/current", "{dir}/other"]),
        "none": (module: "app", chdir: "{apps}/sending", home: "{venv}"),
    },"#,
    )
}

#[test]
fn a_file_that_an_app_names_is_sent_from_where_it_may() {
    let setup = sending();
    files(&setup);
    setup.directory.write("sent/big", noise(2_000_000, 3));
    let server = setup.start().tolerant(&["[unsendable]"]);
    let dir = server.directory().path().display().to_string();
    let mut client = Connection::open(server.address).unwrap();
    let mut ask = |file: &str, more: &[(&str, &str)]| {
        let path = saying(&[("X-Sendfile", &file.replace("{dir}", &dir)), ("Content-Disposition", "inline")]);
        let reply = client.request("GET", &path, more, b"").unwrap();
        assert!(is_hidden(&reply), "{file}");
        reply
    };
    for (file, status, text) in [
        ("{dir}/current/a%20b.txt", 200, "sent"),
        ("{dir}/current/a b.txt", 200, "sent"),
        // Where the directory leads to.
        ("{dir}/sent/a%20b.txt", 200, "sent"),
        ("{dir}/sent/.hidden.bak", 200, "hidden"),
        ("{dir}/sent/100%25.txt", 200, "percent"),
        ("{dir}/sent//below/index.html", 200, "an index"),
        ("{dir}/sent/in", 200, "an index"),
        ("{dir}/other/o.txt", 200, "other"),
        ("{dir}/sent/out", 403, ""),
        ("{dir}/sent/none", 404, ""),
        ("{dir}/sent/below", 404, ""),
        ("{dir}/sent/below/", 404, ""),
        ("{dir}/secret.txt", 502, ""),
        ("{dir}/sent/../secret.txt", 502, ""),
        ("{dir}/sent/%2e%2e/secret.txt", 502, ""),
        ("{dir}/sent/a%20b.txt%00", 502, ""),
        ("{dir}/sent", 502, ""),
        ("/etc/passwd", 502, ""),
        ("sent/a", 502, ""),
        ("", 502, ""),
    ] {
        let reply = ask(file, &[]);
        assert_eq!(reply.status, status, "{file}: {}", reply.text());
        assert!(status != 200 || reply.text() == text, "{file}: {}", reply.text());
        assert_eq!(reply.field("content-disposition"), (status == 200).then_some("inline"), "{file}");
    }
    let whole = ask("{dir}/sent/big", &[]);
    assert!(whole.body == noise(2_000_000, 3));
    let tag = whole.field("etag").unwrap();
    let part = ask("{dir}/sent/big", &[("Range", "bytes=1999990-")]);
    assert!(part.status == 206 && part.body == noise(2_000_000, 3)[1_999_990..]);
    assert_eq!(ask("{dir}/sent/big", &[("If-None-Match", tag)]).status, 304);
    server.wait_log("X-Sendfile names");
    assert_eq!(
        client.get(&saying(&[("X-Sendfile", "/x")]).replace("/said", "/none/said")).unwrap().status,
        502
    );
    let line = server.wait_log("app none: GET");
    assert!(line.contains("send_files_from: [\"/srv/files\"]") && line.contains("app `none`"), "{line}");
}

#[test]
fn a_reload_sends_from_the_directory_that_has_come_in_the_place_of_another() {
    let setup = sending();
    files(&setup);
    let server = setup.start();
    let dir = server.directory().path().display().to_string();
    let sent = |server: &Server| {
        let path = saying(&[("X-Sendfile", &format!("{dir}/current/a%20b.txt"))]);
        Connection::open(server.address).unwrap().get(&path).unwrap().text()
    };
    assert_eq!(sent(&server), "sent");
    server.directory().write("sent2/a b.txt", "sent anew");
    let link = server.directory().path().join("current");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("sent2", &link).unwrap();
    assert_eq!(server.command(&["reload"]).code, Some(0));
    wait_until(SOON, "the new directory", || holds(sent(&server) == "sent anew", "the old one"));
}

#[test]
fn a_file_that_an_upstream_names_is_sent_from_the_directories_of_its_location() {
    let directory = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let of = std::sync::Arc::clone(&directory);
    let upstream = Upstream::start(move |received, stream| {
        let name = received.line.split(' ').nth(1).unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let file = format!(
            "{}/{name}",
            of.lock().unwrap().replace("sent", if name == "o.txt" { "other" } else { "sent" })
        );
        write!(stream, "HTTP/1.1 200 OK\r\nX-Sendfile: {file}\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/one/", to: Proxy(name: "up", send_files_from: ["{{dir}}/sent"])),
        (path: "/two/", to: Proxy(name: "up", send_files_from: "{{dir}}/other")),
        (path: "/three/", to: Files(root: "{{dir}}/empty", fallback: Proxy(name: "up", send_files_from: "{{dir}}/other"))),
        (path: "/four/", to: Proxy("up")),
        (path: "/five/", to: Proxy(name: "up", x_accel: Ignore, send_files_from: "{{dir}}/sent")),
    ])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ));
    files(&setup);
    setup.directory.write("empty/x", "");
    *directory.lock().unwrap() = setup.directory.path().join("sent").display().to_string();
    let server = setup.start().tolerant(&["[unsendable]"]);
    let mut client = Connection::open(server.address).unwrap();
    for (path, status, text) in [
        ("/one/100%25.txt", 200, "percent"),
        ("/one/o.txt", 502, ""),
        ("/two/o.txt", 200, "other"),
        ("/two/100%25.txt", 502, ""),
        ("/three/o.txt", 200, "other"),
        ("/four/o.txt", 502, ""),
        ("/five/100%25.txt", 200, ""),
    ] {
        let reply = client.get(path).unwrap();
        assert_eq!(reply.status, status, "{path}");
        assert!(is_hidden(&reply) && (status != 200 || reply.text() == text), "{path}: {}", reply.text());
    }
    let line = server.wait_log("[unsendable]");
    assert!(line.contains("below no directory of send_files_from"), "{line}");
    assert_eq!(
        upstream.received().iter().map(|received| received.connection).max(),
        Some(0),
        "one is enough"
    );
}
