//! Listeners of the uwsgi protocol: with nginx in front, by `uwsgi_pass` and the parameters that it comes with, and with raw
//! packets.

use crate::harness::{
    Connection, Nginx, SOON, Server, Setup, Upstream, apps, assert_bodies_arrive_whole, get, holds, now,
    wait_until,
};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// An nginx that passes everything to the server, by the parameters that it comes with.
fn nginx(server: &Server, more: &str) -> Nginx {
    let to = socket(server);
    let location = format!("include /etc/nginx/uwsgi_params; uwsgi_pass unix:{}; {more}", to.display());
    Nginx::start("", &format!("client_max_body_size 100m; location / {{ {location} }}"))
}

/// What it has found wrong.
fn complaints(nginx: &Nginx) -> Vec<String> {
    nginx.log().lines().filter(|line| line.contains("[error]")).map(str::to_owned).collect()
}

fn socket(server: &Server) -> PathBuf {
    server.directory().path().join("s")
}

/// With everything behind the listener that there is.
fn behind(upstream: &Upstream, more: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{{dir}}/access.log")),
    {more}
    sites: [(
        listen: ["{{address}}", (address: "unix:{{dir}}/s", protocol: Uwsgi, mode: "0600")],
        max_body: "50MiB",
        error_pages: {{404: "{{dir}}/404.html"}},
        locations: [
            (path: "/files/", to: Files("{{dir}}/files")),
            (path: "/teller/", to: Proxy("teller")),
            (path: "/none/", to: Respond(status: 404)),
            (path: "/", to: App("plain")),
        ],
    )],
    apps: {{"plain": (module: "app", chdir: "{}", threads: 2)}},
    upstreams: {{"teller": (servers: ["{}"])}},"#,
        apps().join("plain").display(),
        upstream.address
    ));
    std::fs::create_dir(setup.directory.path().join("files")).unwrap();
    setup.directory.write("files/a.txt", "0123456789");
    setup.directory.write("files/large", vec![b'x'; 3 << 20]);
    setup.directory.write("404.html", "not here");
    setup.start()
}

/// Answers with what it was told of the client.
fn teller() -> Upstream {
    Upstream::start(|request, stream| {
        let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "host"];
        let body = told.map(|name| request.all(name).join("+")).join(" ");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

#[test]
fn behind_nginx_a_request_is_one_like_any_other() {
    let upstream = teller();
    let server = behind(&upstream, "");
    let nginx = nginx(&server, "");
    let mut connection = Connection::open(nginx.address).unwrap();
    let fields =
        [("Host", "shop.example"), ("Cookie", "a=1"), ("X-Forwarded-For", "6.6.6.6"), ("X-Real-IP", "9")];
    let environ = connection.request("GET", "/caf%C3%A9//environ?q=%20", &fields, b"").unwrap().json();
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("PATH_INFO", "/caf\u{c3}\u{a9}//environ"),
        ("QUERY_STRING", "q=%20"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "shop.example"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("wsgi.url_scheme", "http"),
        ("HTTP_COOKIE", "a=1"),
    ] {
        assert_eq!(environ[name], value, "{name}: {environ}");
    }
    assert!(environ.get("UWSGI_FILE").is_none() && environ.get("DOCUMENT_ROOT").is_none(), "{environ}");
    let told = connection.request("GET", "/teller/", &fields, b"").unwrap().text();
    assert!(told.starts_with("6.6.6.6, 127.0.0.1 http shop.example"), "{told}");

    let whole = connection.get("/files/a.txt").unwrap();
    assert_eq!((whole.status, whole.text()), (200, "0123456789".to_owned()));
    let head = connection.request("HEAD", "/files/a.txt", &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    let etag = whole.field("etag").unwrap();
    assert_eq!(
        connection.request("GET", "/files/a.txt", &[("If-None-Match", etag)], b"").unwrap().status,
        304
    );
    let part = connection.request("GET", "/files/a.txt", &[("Range", "bytes=2-4")], b"").unwrap();
    assert_eq!((part.status, part.text()), (206, "234".to_owned()));
    assert_eq!(connection.get("/files/large").unwrap().body.len(), 3 << 20);
    let missing = connection.get("/none/").unwrap();
    assert_eq!((missing.status, missing.text()), (404, "not here".to_owned()));
    assert_eq!(connection.get("/headers").unwrap().all("set-cookie"), ["one=1", "two=2"]);
    assert_eq!(complaints(&nginx), [""; 0]);
    let log = wait_until(SOON, "the access log", || {
        let log = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap();
        holds(log.lines().count() == 9, &log).map(|()| log)
    });
    assert!(log.lines().all(|line| line.starts_with("127.0.0.1 - - [")), "{log}");
    assert!(log.contains("\"GET /caf%C3%A9//environ?q=%20 HTTP/1.1\" 200 "), "{log}");
}

#[test]
fn bodies_arrive_whole_both_ways() {
    let upstream = teller();
    let server = behind(&upstream, "");
    for more in ["", "uwsgi_request_buffering off; uwsgi_buffering off;"] {
        let nginx = nginx(&server, more);
        let mut connection = Connection::open(nginx.address).unwrap();
        assert_bodies_arrive_whole(&mut connection, "", &[0, 1, 100_000, 3 << 20]);
        let fields = [("Expect", "100-continue"), ("Content-Type", "text/plain")];
        let echoed = connection.request("POST", "/echo", &fields, b"hello").unwrap().json();
        assert_eq!(echoed["length"], 5, "{echoed}");
        // Without a length, which ends with the connection.
        assert_eq!(connection.get("/big?size=3000000").unwrap().body.len(), 3_000_000);
        assert_eq!(connection.get("/drip").unwrap().status, 200);
        assert_eq!(complaints(&nginx), [""; 0]);
    }
}

#[test]
fn a_body_that_is_too_large_is_413_while_nginx_still_sends() {
    let upstream = teller();
    let server = behind(&upstream, "");
    let nginx = nginx(&server, "");
    let mut connection = Connection::open(nginx.address).unwrap();
    let reply = connection.request("POST", "/echo", &[], &vec![b'x'; 60 << 20]).unwrap();
    assert_eq!(reply.status, 413);
}

// ---- raw packets --------------------------------------------------------------------------------------------------------

fn packet(pairs: &[(&str, &str)]) -> Vec<u8> {
    let usual = [
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/teller/"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("HTTP_HOST", "a"),
        ("REMOTE_ADDR", "203.0.113.9"),
    ];
    let is_said = |(name, _): &&(&str, &str)| !pairs.iter().any(|(said, _)| said == name);
    let mut variables = Vec::new();
    for text in usual.iter().filter(is_said).chain(pairs).flat_map(|(name, value)| [name, value]) {
        variables.extend_from_slice(&(text.len() as u16).to_le_bytes());
        variables.extend_from_slice(text.as_bytes());
    }
    let [low, high] = (variables.len() as u16).to_le_bytes();
    [&[0, low, high, 0], &*variables].concat()
}

fn post(length: &str) -> Vec<u8> {
    packet(&[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/echo"), ("CONTENT_LENGTH", length)])
}

/// All of the answer, to the end of the connection. It may have come before what stands behind the request was sent, which
/// cannot be sent then, or resets what was.
fn ask(server: &Server, pieces: &[&[u8]]) -> String {
    let mut stream = UnixStream::connect(socket(server)).unwrap();
    let _sent = pieces.iter().try_for_each(|piece| stream.write_all(piece));
    let mut answer = Vec::new();
    let _end = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn rest(stream: &mut impl Read) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or(answer)
}

#[test]
fn a_response_has_no_chunks_and_ends_with_the_connection() {
    let upstream = teller();
    let server = behind(&upstream, "");
    let endless = packet(&[("REQUEST_URI", "/big?size=200000"), ("HTTP_CONNECTION", "keep-alive")]);
    let answer = ask(&server, &[&endless]);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nConnection: close") && !head.contains("Transfer-Encoding"), "{head}");
    assert!(body.len() >= 200_000, "{}", body.len());
    // Byte by byte; and what comes behind the request is no other one.
    let bytes = [post("5"), b"hello".to_vec(), packet(&[]), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat();
    let answer = ask(&server, &bytes.chunks(1).collect::<Vec<_>>());
    assert!(answer.contains("\"length\": 5") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    let expects = packet(&[
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/echo"),
        ("CONTENT_LENGTH", "2"),
        ("HTTP_EXPECT", "100-continue"),
    ]);
    let answer = ask(&server, &[&expects, b"ab"]);
    assert!(status(&answer) == "200" && answer.contains("\"length\": 2"), "{answer}");
}

#[test]
fn what_is_no_request_is_refused_and_the_log_says_why() {
    let upstream = teller();
    let server = behind(&upstream, "limits: (header_timeout: \"500ms\", body_timeout: \"500ms\"),");
    let long = format!("/{}", "x".repeat(9000));
    for (bytes, wanted, why) in [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "400", "no packet of the uwsgi protocol"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), "400", "no packet of the uwsgi protocol"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "400", "no packet of the uwsgi protocol"),
        ([b"\x1e", &packet(&[])[1..]].concat(), "400", "no packet of the uwsgi protocol"),
        (b"\0\x06\0\0\x01\0A\xff\xff\0".to_vec(), "400", "variables that do not fit"),
        (b"\0\0\0\0".to_vec(), "400", "include uwsgi_params"),
        (packet(&[("REQUEST_METHOD", "CONNECT"), ("REQUEST_URI", "a:1")]), "501", "CONNECT"),
        (packet(&[("REQUEST_METHOD", "TRACE")]), "405", "TRACE"),
        (packet(&[("HTTP_HOST", "a b")]), "400", "invalid Host"),
        (packet(&[("HTTP_HOST", "a"), ("HTTP_HOST", "b")]), "400", "more than one Host"),
        (packet(&[("HTTP_X", "a\r\nTransfer-Encoding: chunked")]), "400", "malformed header field"),
        (packet(&[("REQUEST_URI", &long)]), "414", "raise limits.request_line"),
        (
            packet(&[("HTTP_X", &long), ("HTTP_Y", &long), ("HTTP_Z", &long), ("HTTP_A", &long)]),
            "431",
            "limits.head",
        ),
        (post("-1"), "400", "invalid Content-Length"),
        (post("99999999999"), "413", "max_body"),
        (packet(&[])[..40].to_vec(), "408", "raise limits.header_timeout"),
        ([post("5"), b"hel".to_vec()].concat(), "408", "raise limits.body_timeout"),
    ] {
        let answer = ask(&server, &[&bytes]);
        assert_eq!(status(&answer), wanted, "{why}: {answer}");
        server.wait_log(why);
    }
    // Nobody is there any more, or never was.
    drop(UnixStream::connect(socket(&server)).unwrap());
    let mut stream = UnixStream::connect(socket(&server)).unwrap();
    stream.write_all(&packet(&[])[..40]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), "");
    assert_eq!(status(&ask(&server, &[&packet(&[])])), "200");
}

#[test]
fn who_may_connect_to_the_socket_says_from_whom_a_request_comes() {
    let upstream = teller();
    let server = behind(&upstream, "");
    for (pairs, told) in [
        (&[][..], "203.0.113.9 http "),
        (&[("HTTPS", "on"), ("REQUEST_SCHEME", "https")], "203.0.113.9 https "),
        (
            &[("HTTP_X_FORWARDED_FOR", "6.6.6.6"), ("HTTP_X_FORWARDED_PROTO", "https")],
            "6.6.6.6, 203.0.113.9 ",
        ),
        (&[("REMOTE_ADDR", "unix:"), ("HTTP_X_FORWARDED_FOR", "6.6.6.6")], "6.6.6.6, unknown "),
    ] {
        let answer = ask(&server, &[&packet(pairs)]);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with(told), "{pairs:?}: {body}");
    }
    // An app gets the same client and scheme.
    for (pairs, address, scheme) in [
        (&[("REQUEST_URI", "/environ"), ("HTTPS", "on")][..], "203.0.113.9", "https"),
        (&[("REQUEST_URI", "/environ"), ("HTTP_X_FORWARDED_FOR", "6.6.6.6")], "203.0.113.9", "http"),
        (
            &[("REQUEST_URI", "/environ"), ("REMOTE_ADDR", "x"), ("HTTP_X_FORWARDED_FOR", "6.6.6.6")],
            "",
            "http",
        ),
        (
            &[("REQUEST_URI", "/environ"), ("SERVER_PROTOCOL", "HTTP/2.0"), ("HTTPS", "on")],
            "203.0.113.9",
            "https",
        ),
    ] {
        let answer = ask(&server, &[&packet(pairs)]);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let environ: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&environ["REMOTE_ADDR"], &environ["wsgi.url_scheme"]),
            (&address.into(), &scheme.into()),
            "{pairs:?}"
        );
    }
}

#[test]
fn over_tcp_only_a_trusted_front_says_so() {
    for (trusted, told) in
        [("", "127.0.0.1 http a"), ("trusted_proxies: [\"127.0.0.1\"],", "203.0.113.9, 127.0.0.1 https a")]
    {
        let upstream = teller();
        let server = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: [(address: "{{address}}", protocol: Uwsgi)], {trusted} locations: [(path: "/", to: Proxy("teller"))])],
    upstreams: {{"teller": (servers: ["{}"])}},"#,
            upstream.address
        ))
        .start();
        server.wait_log(&format!("listening on uwsgi://{}", server.address));
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&packet(&[("HTTPS", "on")])).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.contains(&format!("\r\n\r\n{told}")), "{answer}");
    }
}

#[test]
fn a_reload_and_a_stop_let_requests_end() {
    let upstream = teller();
    let mut server = behind(&upstream, "");
    let begin = || {
        let mut stream = UnixStream::connect(socket(&server)).unwrap();
        stream.write_all(&post("5")).unwrap();
        stream.write_all(b"he").unwrap();
        stream
    };
    let mut streams = vec![begin()];
    streams.push(begin());
    for stream in &mut streams {
        stream.write_all(b"llo").unwrap();
        let answer = rest(stream);
        assert!(answer.contains("\"length\": 5"), "{answer}");
    }
    let mut stream = begin();
    server.master.signal(Signal::SIGTERM);
    server.wait_log("stopping");
    stream.write_all(b"llo").unwrap();
    let answer = rest(&mut stream);
    assert!(answer.contains("\"length\": 5"), "{answer}");
    server.wait_end();
}

#[test]
fn a_reload_changes_what_is_spoken() {
    let with = |protocol: &str| {
        format!(
            r#"
    workers: (processes: 1),
    sites: [(listen: [(address: "{{address}}", protocol: {protocol})], locations: [(path: "/", to: Respond(body: "ok"))])],"#
        )
    };
    let server = Setup::new(&with("Http")).start();
    assert_eq!(get(server.address, "/").status, 200);
    server.configure(&with("Uwsgi"));
    server.hang_up();
    let begun = now();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&packet(&[])).unwrap();
    assert!(rest(&mut stream).ends_with("\r\n\r\nok"));
    assert!(begun.elapsed() < Duration::from_secs(10), "at once");
    assert_eq!(get(server.address, "/").status, 400);
}
