//! The reverse proxy, in front of servers played by the test.

use crate::harness::{
    Connection, SOON, Server, Setup, Upstream, get, holds, keep_loading, noise, reply_to, wait_until,
};
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// One worker, so that what the pool keeps can be counted.
fn proxy(upstream: &str, site: &str) -> Server {
    proxy_setup(upstream, site).start()
}

fn proxy_setup(upstream: &str, site: &str) -> Setup {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {site} locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": ({upstream})}},"#
    ))
}

fn servers(upstreams: &[&Upstream]) -> String {
    let addresses: Vec<_> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.address)).collect();
    format!("servers: [{}]", addresses.join(", "))
}

#[test]
fn connections_to_the_upstream_are_kept_and_used_again() {
    let upstream = Upstream::fixed("behind\n");
    let server = proxy(&servers(&[&upstream]), "");
    for _ in 0..5 {
        assert_eq!(get(server.address, "/page").text(), "behind\n");
    }
    let mut kept = Connection::open(server.address).unwrap();
    for _ in 0..5 {
        assert_eq!(kept.get("/page").unwrap().text(), "behind\n");
    }
    let used: Vec<_> = upstream.received().iter().map(|request| request.connection).collect();
    assert_eq!(used, [0; 10]);
}

#[test]
fn an_options_request_that_may_go_no_further_is_answered_here() {
    let upstream = Upstream::fixed("behind");
    let server = proxy(&servers(&[&upstream]), "");
    let mut client = Connection::open(server.address).unwrap();
    for (method, forwards, status) in [("OPTIONS", "0", 204), ("OPTIONS", "1", 200), ("GET", "0", 200)] {
        let reply = client.request(method, "/a", &[("Max-Forwards", forwards)], b"").unwrap();
        assert_eq!(reply.status, status, "{method} {forwards}");
        assert_eq!(reply.field("allow").is_some(), status == 204, "{reply:?}");
    }
    let received = upstream.received();
    let seen: Vec<_> = received.iter().map(|request| request.all("max-forwards").concat()).collect();
    assert_eq!(seen, ["0", "0"], "the first one did not reach it");
}

#[test]
fn a_kept_connection_that_the_upstream_closed_is_no_error() {
    // Closes after each response without saying so.
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        false
    });
    let server = proxy(&servers(&[&upstream]), "");
    for _ in 0..20 {
        assert_eq!(get(server.address, "/").text(), "ok");
    }
}

#[test]
fn a_request_that_finds_its_kept_connection_dying_is_sent_again() {
    // Each connection answers one request and is closed when the second one comes: the race that every pool can lose.
    let upstream = Upstream::start(|request, stream| {
        let first = !request.line.contains("again");
        first && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst").is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "").tolerant(&["proxy behind: "]);
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "first");
    // The upstream closes on `/again` every time: one try on the kept connection, one on a fresh one.
    assert_eq!(get(server.address, "/again").status, 502);
    let tries = upstream.received().iter().filter(|request| request.line.contains("again")).count();
    assert_eq!(tries, 2, "{:?}", upstream.received());
    // That a kept connection was closed is no failure of the server.
    assert_eq!(get(server.address, "/").text(), "first");
    // What is not idempotent is never sent twice.
    assert_eq!(
        Connection::open(server.address).unwrap().request("POST", "/again", &[], b"x").unwrap().status,
        502
    );
    let posts = upstream.received().iter().filter(|request| request.line.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn the_request_is_passed_on_with_forwarding_fields() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [
        ("Host", "shop.example:8080"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Under_Score", "dropped"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "dropped"),
        ("Keep-Alive", "timeout=5"),
        ("Accept", "text/html"),
        ("X-Twice", "one"),
        ("X-Twice", "two"),
    ];
    connection.request("GET", "/a%20b/../c//d?q=%41&r", &fields, b"").unwrap();
    let received = upstream.last();
    assert_eq!(received.line, "GET /a%20b/../c//d?q=%41&r HTTP/1.1");
    assert_eq!(received.all("host"), ["shop.example:8080"]);
    // The client is nobody's trusted proxy: what it claims is overwritten.
    assert_eq!(received.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.all("x-forwarded-proto"), ["http"]);
    assert_eq!(received.all("x-forwarded-host"), ["shop.example:8080"]);
    assert_eq!(received.all("accept"), ["text/html"]);
    assert_eq!(received.all("x-twice"), ["one", "two"]);
    assert_eq!(received.all("via").len(), 1);
    for dropped in ["x-under_score", "x-hop", "keep-alive", "transfer-encoding", "content-length"] {
        assert_eq!(received.all(dropped), [""; 0], "{dropped}");
    }
    assert!(!received.all("connection").join(",").to_lowercase().contains("x-hop"));
}

/// RFC 9112 §3.2.2: the authority of an absolute target is the host, also where no Host field stands beside it.
#[test]
fn the_upstream_is_told_the_host_that_was_asked_for() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&servers(&[&upstream]), r#"names: ["*.example", "shop.example", "b.example"],"#);
    for (head, line, host) in [
        ("GET http://a.example:81/x?y HTTP/1.0\r\n\r\n", "GET /x?y HTTP/1.1", "a.example:81"),
        ("GET http://a.example HTTP/1.0\r\nHost: a.example:80\r\n\r\n", "GET / HTTP/1.1", "a.example"),
        (
            "GET http://A.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1",
            "A.example",
        ),
        ("OPTIONS http://b.example HTTP/1.0\r\n\r\n", "", ""),
    ] {
        let (reply, closed) = reply_to(server.address, head);
        assert!(matches!(reply.status, 200 | 204) && closed, "{head:?}: {reply:?}");
        if !line.is_empty() {
            let received = upstream.last();
            assert_eq!((received.line.as_str(), received.all("host")), (line, vec![host]), "{head:?}");
            assert_eq!(received.all("x-forwarded-host"), [host], "{head:?}");
        }
    }
    // The server itself answers what is asked of it as a whole.
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn who_names_no_host_gets_the_sites_own() {
    let upstream = Upstream::fixed("ok");
    let upstreams = servers(&[&upstream]);
    for (names, default, host) in [
        ("", "", "localhost"),
        (r#"names: ["*.example", "shop.example"],"#, r#"default_site: "shop.example","#, "shop.example"),
    ] {
        let setup = Setup::new(&format!(
            r#"
    {default}
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], {names} locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": ({upstreams})}},"#
        ));
        let server = setup.start();
        let (reply, _) = reply_to(server.address, "GET / HTTP/1.0\r\n\r\n");
        assert_eq!((reply.status, upstream.last().all("host")), (200, vec![host]));
    }
    // Without a site to be the default there is none to ask.
    let server = proxy(&upstreams, r#"names: ["shop.example"],"#);
    assert_eq!(reply_to(server.address, "GET / HTTP/1.0\r\n\r\n").0.status, 421);
}

/// RFC 9110 §15.2: what an upstream says before its answer is passed on, to those who understand it.
#[test]
fn early_hints_are_passed_on() {
    let upstream = Upstream::start(|_, stream| {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\nX: 1\r\n\r\n\
                       HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let hints = connection.reply_head().unwrap();
    assert_eq!((hints.status, hints.fields), (103, vec![("Link".to_owned(), "</a.css>".to_owned())]));
    assert_eq!(connection.reply("GET").unwrap().text(), "ok");
    let (reply, _) = reply_to(server.address, "GET / HTTP/1.0\r\n\r\n");
    assert_eq!((reply.interim.len(), reply.text().as_str()), (0, "ok"));
}

#[test]
fn a_trusted_proxy_is_believed() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&servers(&[&upstream]), r#"trusted_proxies: ["127.0.0.0/8"],"#);
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")];
    connection.request("GET", "/", &fields, b"").unwrap();
    let received = upstream.last();
    let addresses = received.all("x-forwarded-for").join(", ");
    assert_eq!(addresses, "203.0.113.9, 127.0.0.1");
    assert_eq!(received.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn request_bodies_arrive_as_they_were_sent() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    for size in [0, 1, 65_536, 3_000_017] {
        let body = noise(size, 7);
        assert_eq!(connection.request("POST", "/", &[], &body).unwrap().status, 200);
        let received = upstream.last();
        assert!(received.body == body, "{size} bytes with Content-Length");
        assert_eq!(connection.request_chunked("POST", "/", &[], &body).unwrap().status, 200);
        let received = upstream.last();
        assert!(received.body == body, "{size} bytes chunked");
        let framed = (received.all("content-length").len(), received.all("transfer-encoding").len());
        assert!(framed == (1, 0) || framed == (0, 1), "{framed:?}");
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on() {
    let upstream = Upstream::fixed("ok");
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    connection
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 100);
    connection.send("body").unwrap();
    assert_eq!(connection.reply("POST").unwrap().status, 200);
    assert_eq!(upstream.last().body, b"body");
}

#[test]
fn responses_of_every_framing_arrive_whole() {
    let body = noise(1_000_003, 11);
    let sent = body.clone();
    let upstream = Upstream::start(move |request, stream| {
        let framing = request.line.split(' ').nth(1).unwrap();
        let mut bytes = b"HTTP/1.1 200 OK\r\nX-Kept: yes\r\n".to_vec();
        match framing {
            "/length" => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", sent.len()).bytes());
                bytes.extend(&sent);
            }
            "/chunked" => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in sent.chunks(70_001) {
                    bytes.extend(format!("{:X};ext=1\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\nX-Trailer: dropped\r\n\r\n");
            }
            _ => {
                bytes.extend(b"\r\n");
                bytes.extend(&sent);
            }
        }
        stream.write_all(&bytes).is_ok() && framing != "/close"
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    for path in ["/length", "/chunked", "/close", "/length"] {
        let reply = connection.get(path).unwrap();
        assert_eq!((reply.status, reply.field("x-kept")), (200, Some("yes")), "{path}");
        assert!(reply.body == body, "{path}: {} of {} bytes", reply.body.len(), body.len());
    }
}

#[test]
fn head_and_empty_responses_leave_the_connection_usable() {
    let upstream = Upstream::start(|request, stream| {
        let answer: &[u8] = match request.line.split(' ').nth(1) {
            Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n",
            Some("/304") => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            Some("/early") => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            _ if request.line.starts_with("HEAD") => b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        stream.write_all(answer).is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    let head = connection.request("HEAD", "/", &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("123456")));
    assert_eq!(connection.get("/204").unwrap().status, 204);
    assert_eq!(connection.get("/304").unwrap().field("etag"), Some("\"x\""));
    assert_eq!(connection.get("/early").unwrap().text(), "ok");
    assert_eq!(connection.get("/").unwrap().text(), "ok");
    assert!(upstream.received().iter().all(|request| request.connection == 0));
}

#[test]
fn a_dead_upstream_is_502() {
    // Bound, then closed: nobody listens there.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = proxy(&format!("servers: [\"{dead}\"]"), "").tolerant(&["proxy behind: "]);
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..3 {
        assert_eq!(connection.get("/").unwrap().status, 502);
    }
}

#[test]
fn a_broken_upstream_is_told_at_once_and_then_counted() {
    const REQUESTS: usize = 150;
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nonsense = Upstream::start(|_, stream| stream.write_all(b"nonsense\r\n\r\n").is_err());
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/a/", to: Proxy("dead")), (path: "/b/", to: Proxy("nonsense"))])],
    upstreams: {{"dead": (servers: ["{dead}"]), "nonsense": (servers: ["{}"])}},"#,
        nonsense.address
    ));
    let server = setup.start().tolerant(&["proxy dead: ", "proxy nonsense: "]);
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..REQUESTS {
        assert_eq!(connection.get("/a/x").unwrap().status, 502);
    }
    // Another upstream has its own line, however many there are of the first.
    assert_eq!(connection.get("/b/y").unwrap().status, 502);
    assert!(
        server
            .wait_log("proxy nonsense: GET /b/y: malformed response: not HTTP/1.0 or 1.1 [no-http] (")
            .contains(" ERROR ")
    );
    let told = wait_until(SOON, "all failures are accounted for", || {
        let log = server.log();
        let written = log
            .iter()
            .filter(|line| line.contains("proxy dead: GET /a/x: connection refused [connect-refused] ("))
            .count();
        let held = log.iter().filter_map(|line| {
            let (before, _) =
                line.split_once(" more within a second: proxy dead: connection refused [connect-refused]")?;
            before.rsplit(' ').next()?.parse::<usize>().ok()
        });
        holds(written + held.sum::<usize>() == REQUESTS, written).map(|()| written)
    });
    assert!(told < REQUESTS / 10, "{told} lines for {REQUESTS} requests");
    let accessed =
        server.log().iter().filter(|line| line.contains("/a/x") && line.contains("\" 502 ")).count();
    assert_eq!(accessed, REQUESTS, "the access log has each");
}

#[test]
fn a_client_that_leaves_before_its_answer_is_499() {
    let upstream = Upstream::start(|request, stream| {
        let kept = request.line.contains("/kept");
        !kept || stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the request is with the upstream", || {
        holds(upstream.received().len() == 1, upstream.received())
    });
    let abrupt = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let socket = connection.socket();
    nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::Linger, &abrupt).unwrap();
    drop(connection);
    assert!(server.wait_log("\"GET /left HTTP/1.1\"").contains("\" 499 0 "));
    assert_eq!(get(server.address, "/kept").text(), "ok");
}

#[test]
fn a_silent_upstream_is_504() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = proxy(&format!("servers: [\"{}\"], timeout: \"300ms\"", silent.local_addr().unwrap()), "")
        .tolerant(&["proxy behind: "]);
    assert_eq!(get(server.address, "/").status, 504);
}

#[test]
fn a_client_that_takes_its_time_is_no_failure_of_the_upstream() {
    let body = noise(32 << 20, 3);
    let sent = body.clone();
    let upstream = Upstream::start(move |request, stream| {
        let body: &[u8] = if request.line.starts_with("POST") { b"ok" } else { &sent };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
    });
    let server = proxy(&format!("{}, timeout: \"300ms\"", servers(&[&upstream])), "");
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo").unwrap();
    keep_loading(Duration::from_secs(1));
    connection.send("dy").unwrap();
    assert_eq!(connection.reply("POST").unwrap().text(), "ok");
    connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    keep_loading(Duration::from_secs(1));
    assert!(connection.reply("GET").unwrap().body == body);
}

#[test]
fn nonsense_from_the_upstream_is_502() {
    let upstream = Upstream::start(|request, stream| {
        let answer: &[u8] = match request.line.split(' ').nth(1) {
            Some("/closed") => b"",
            Some("/half") => b"HTTP/1.1 200 OK\r\nContent-Le",
            Some("/twice") => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            _ => b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        };
        stream.write_all(answer).unwrap();
        false
    });
    let server = proxy(&servers(&[&upstream]), "").tolerant(&["proxy behind: "]);
    for path in ["/nonsense", "/closed", "/half", "/twice"] {
        assert_eq!(get(server.address, path).status, 502, "{path}");
    }
}

#[test]
fn a_response_that_breaks_off_is_not_passed_off_as_whole() {
    let upstream = Upstream::start(|request, stream| {
        let framing: &[u8] = if request.line.contains("length") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart"
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"
        };
        stream.write_all(framing).unwrap();
        false
    });
    let server = proxy(&servers(&[&upstream]), "").tolerant(&["proxy behind: "]);
    // What there is of it arrives, and then the end of the connection, which comes too early.
    for (path, end) in [("/length", "\r\n\r\npart"), ("/chunked", "\r\n4\r\npart\r\n")].repeat(20) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(end), "{path}: {answer}");
    }
    // Where that end would be the end of the body, it is no clean one.
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET /chunked HTTP/1.0\r\nHost: a\r\n\r\n").unwrap();
    assert!(stream.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn servers_take_turns_and_a_dead_one_is_passed_over() {
    let (one, two) = (Upstream::fixed("one"), Upstream::fixed("two"));
    let server = proxy(&servers(&[&one, &two]), "").tolerant(&["proxy behind: "]);
    let mut answers: Vec<_> = (0..10).map(|_| get(server.address, "/").text()).collect();
    answers.sort();
    assert_eq!(answers.concat(), "one".repeat(5) + &"two".repeat(5));
    drop(server);

    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server =
        proxy(&format!("servers: [\"{dead}\", \"{}\"]", one.address), "").tolerant(&["proxy behind: "]);
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..6 {
        assert_eq!(get(server.address, "/").text(), "one");
        // Not a byte of it went to the dead one: what is not idempotent may be tried elsewhere, body and all.
        assert_eq!(connection.request("POST", "/", &[], b"body").unwrap().text(), "one");
        assert_eq!(one.last().body, b"body");
        assert_eq!(connection.request_chunked("POST", "/", &[], b"chunks").unwrap().text(), "one");
        assert_eq!(one.last().body, b"chunks");
    }
}

/// §4.10: a request is sent again only where that is safe, and not for ever.
#[test]
fn tries_are_counted_and_stop_where_they_could_do_harm() {
    let start = |_| {
        Upstream::start(|request, stream| {
            // Closed before an answer, or in the middle of its head.
            if request.line.contains("/half") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap();
            }
            false
        })
    };
    let all: Vec<_> = (0..5).map(start).collect();
    let server = proxy(&servers(&all.iter().collect::<Vec<_>>()), "").tolerant(&["proxy behind: "]);
    let mut connection = Connection::open(server.address).unwrap();
    for (method, path, tries) in [
        ("GET", "/closed", 3),
        ("DELETE", "/closed", 3),
        ("POST", "/closed", 1),
        ("PATCH", "/closed", 1),
        ("GET", "/half", 3),
        ("POST", "/half", 1),
    ] {
        let before: usize = all.iter().map(|upstream| upstream.received().len()).sum();
        assert_eq!(connection.request(method, path, &[], b"").unwrap().status, 502, "{method} {path}");
        let after: usize = all.iter().map(|upstream| upstream.received().len()).sum();
        assert_eq!(after - before, tries, "{method} {path}");
    }
}

/// §4.11: a server that says how long it keeps a connection is not raced against.
#[test]
fn a_connection_that_the_upstream_keeps_for_a_moment_only_is_not_used_again() {
    let upstream = Upstream::start(|request, stream| {
        let timeout = if request.line.contains("/short") { 1 } else { 30 };
        let head = format!("HTTP/1.1 200 OK\r\nKeep-Alive: timeout={timeout}\r\nContent-Length: 2\r\n\r\nok");
        stream.write_all(head.as_bytes()).is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    for path in ["/long", "/short", "/short", "/long", "/long"] {
        assert_eq!(connection.get(path).unwrap().text(), "ok");
    }
    let used: Vec<_> = upstream.received().iter().map(|request| request.connection).collect();
    assert_eq!(used, [0, 0, 1, 2, 2]);
}

/// What an upstream sends that nobody asked for ends the connection, and is never the answer to another request.
#[test]
fn what_an_upstream_sends_unasked_is_nobodys_answer() {
    let upstream = Upstream::start(|request, stream| {
        let (answer, more): (&[u8], &[u8]) = match request.line.split(' ').nth(1) {
            Some("/plain") => (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain", b""),
            Some("/twice") => (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntwice",
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
            ),
            _ => (b"HTTP/1.1 204 No Content\r\n\r\n", b"wrong"),
        };
        stream.write_all(&[answer, more].concat()).is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let mut connection = Connection::open(server.address).unwrap();
    for (path, text) in
        [("/plain", "plain"), ("/twice", "twice"), ("/plain", "plain"), ("/none", ""), ("/plain", "plain")]
    {
        assert_eq!(connection.get(path).unwrap().text(), text);
    }
    let used: Vec<_> = upstream.received().iter().map(|request| request.connection).collect();
    assert_eq!(used, [0, 0, 1, 1, 2]);
}

/// An upstream that answers before it has read the body: the connection is not used for another request, which it would
/// take for the rest of the body.
#[test]
fn an_early_answer_spoils_the_connection_to_the_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            seen.push(String::from_utf8(head).unwrap().lines().next().unwrap().to_owned());
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            // Until the other side closes.
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }
        seen
    });
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy(name: "behind", buffering: Off))])],
    upstreams: {{"behind": (servers: ["{address}"])}},"#
    ));
    let server = server.start();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun").unwrap();
    let early = connection.reply("POST").unwrap();
    // The client was not going to be heard to the end.
    assert_eq!((early.text().as_str(), early.closes()), ("ok", true));
    assert_eq!(get(server.address, "/second").text(), "ok");
    assert_eq!(upstream.join().unwrap(), ["POST /first HTTP/1.1", "GET /second HTTP/1.1"]);
}

/// §4.3, §4.6: framing for old clients, bytes above ASCII for upstreams.
#[test]
fn what_upstreams_and_old_clients_cannot_take_is_translated() {
    let upstream = Upstream::start(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
            .is_ok()
    });
    let server = proxy(&servers(&[&upstream]), "");
    let (reply, closed) =
        reply_to(server.address, &b"GET /caf\xc3\xa9?\xff HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"[..]);
    assert_eq!((reply.field("transfer-encoding"), reply.text().as_str(), closed), (None, "body", true));
    assert_eq!(upstream.last().line, "GET /caf%C3%A9?%FF HTTP/1.1");
    assert_eq!(upstream.last().all("upgrade"), [""; 0]);
}

#[test]
fn fields_that_are_no_text_are_passed_on_as_they_are() {
    let upstream = Upstream::fixed("ok");
    let server = Setup::new(&format!(
        r#"
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("up"))])],
    upstreams: {{"up": (servers: ["{}"])}},"#,
        upstream.address
    ))
    .start();
    let (reply, _) =
        crate::harness::reply_to(server.address, b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xe9\r\n\r\n");
    assert_eq!(reply.status, 200);
    assert_eq!(upstream.last().all("x"), ["\u{ff}\u{e9}"]);
}
