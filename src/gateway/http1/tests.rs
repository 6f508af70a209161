use super::*;
use crate::gateway::Shown;
use crate::h1::{Conn, Settings};
use crate::http::forwarded::Origin;
use crate::http::secure::Told;
use crate::http::{Changes, RequestHead, Scheme};
use crate::timer::{Time, Wall};
use std::rc::Rc;

/// A request head, parsed by the connection like any other.
fn head(text: &str) -> RequestHead {
    let mut conn = Conn::new(Rc::new(Settings::default()), Time::ZERO);
    conn.feed(text.as_bytes(), Time::ZERO);
    match conn.poll() {
        Some(h1::Event::Request(request)) => request.head,
        other => panic!("{text}: {other:?}"),
    }
}

/// What the server knows besides the head.
const REQUEST: Known =
    Known { peer: Some("192.0.2.7:4711"), trusted: false, client_field: None, local_port: 8443, id: "id-1" };

#[derive(Clone, Copy)]
struct Known {
    peer: Option<&'static str>,
    trusted: bool,
    client_field: Option<&'static str>,
    local_port: u16,
    id: &'static str,
}

fn encoded(request: &str, known: Known, body: BodyLength) -> String {
    let mut out = Vec::new();
    described(request, known, |request| encode(request, body, &mut out));
    String::from_utf8(out).unwrap()
}

fn described(request: &str, known: Known, look: impl FnOnce(&Request<'_>)) {
    let head = head(request);
    look(&Request {
        path: b"/",
        peer: known.peer.map(|peer| peer.parse().unwrap()),
        origin: Origin { client: None, trusted: known.trusted, scheme: Scheme::Https },
        client_field: known.client_field,
        authority: b"shop.example:8443",
        server_name: b"shop.example",
        server_port: 8443,
        local_port: known.local_port,
        id: known.id,
        ..Request::of(&head)
    });
}

/// The fields that came through of those in `lines`, ours left out.
fn through(lines: &str, trusted: bool) -> Vec<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n");
    let out = encoded(&request, Known { trusted, ..REQUEST }, BodyLength::None);
    let ours = ["Host: ", "X-Forwarded-", "Via: 1.1 hatchery", "X-Request-Id: id-1"];
    out.trim_end()
        .split("\r\n")
        .skip(1)
        .filter(|line| !ours.iter().any(|ours| line.starts_with(ours)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_request_is_written_anew() {
    let request = "POST http://shop.example:8443/a%20b//c?d=%zz HTTP/1.1\r\nHost:shop.example:8443\r\nA:  b \r\n\
                   Transfer-Encoding:chunked\r\n\r\n";
    let expected = "POST /a%20b//c?d=%zz HTTP/1.1\r\nHost: shop.example:8443\r\nA: b\r\n\
                    X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: shop.example:8443\r\nX-Forwarded-Port: 8443\r\nVia: 1.1 hatchery\r\n\
                    X-Request-Id: id-1\r\n";
    for (body, framing) in [
        (BodyLength::None, ""),
        (BodyLength::Known(0), "Content-Length: 0\r\n"),
        (BodyLength::Known(1234), "Content-Length: 1234\r\n"),
        (BodyLength::Unknown, "Transfer-Encoding: chunked\r\n"),
    ] {
        assert_eq!(encoded(request, REQUEST, body), format!("{expected}{framing}\r\n"));
    }
}

#[test]
fn what_concerns_one_connection_is_stripped() {
    for (lines, expected) in [
        ("Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers\r\nTrailer: X\r\n", &[][..]),
        ("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: x\r\n", &[]),
        ("Proxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\n", &[]),
        ("Expect: 100-continue\r\nProxy: http://evil\r\nX-Request-Id: theirs\r\n", &[]),
        ("X_Forwarded_For: 1\r\nContent_Length: 1\r\n", &[]),
        (
            "Connection: close, X-Secret ,\tx-other\r\nX-Secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n",
            &["X-Kept: 3"],
        ),
        ("Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\n", &[]),
        (
            "Connection: Host, Cookie, Authorization, X-Forwarded-For, Via\r\nCookie: a=1\r\nAuthorization: x\r\n",
            &["Cookie: a=1", "Authorization: x"],
        ),
        ("Via: 1.0 first\r\n", &["Via: 1.0 first"]),
        ("Cookie: a=1\r\nCookie: b=2\r\n", &["Cookie: a=1", "Cookie: b=2"]),
    ] {
        assert_eq!(through(lines, false), expected, "{lines:?}");
    }
}

#[test]
fn only_an_options_request_counts_how_often_it_is_passed_on() {
    for (method, lines, expected) in [
        ("OPTIONS", "Max-Forwards: 3\r\n", "Max-Forwards: 2"),
        ("OPTIONS", "Max-Forwards: three\r\n", "Max-Forwards: three"),
        ("GET", "Max-Forwards: 3\r\n", "Max-Forwards: 3"),
    ] {
        let request = format!("{method} / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n");
        let out = encoded(&request, REQUEST, BodyLength::None);
        assert_eq!(out.matches(&format!("\r\n{expected}\r\n")).count(), 1, "{method} {lines}: {out}");
    }
}

#[test]
fn a_nomination_cannot_take_our_own_fields() {
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\n\
                   Connection: Host, X-Forwarded-For, X-Forwarded-Proto, Content-Length, Via\r\n\
                   X-Forwarded-For: 6.6.6.6\r\n\r\n";
    let out = encoded(request, REQUEST, BodyLength::Known(3));
    for line in [
        "Host: shop.example:8443",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "Content-Length: 3",
    ] {
        assert_eq!(out.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {out}");
    }
    assert!(!out.contains("6.6.6.6"));
}

#[test]
fn the_field_that_names_the_client_is_passed_on_from_a_trusted_peer_only() {
    let request = "GET / HTTP/1.1\r\nHost: shop.example\r\nCF-Connecting-IP: 6.6.6.6\r\n\r\n";
    for (trusted, client_field, passed) in [
        (true, Some("cf-connecting-ip"), true),
        (false, Some("cf-connecting-ip"), false),
        (false, None, true),
    ] {
        let out = encoded(request, Known { trusted, client_field, ..REQUEST }, BodyLength::None);
        assert_eq!(out.contains("6.6.6.6"), passed, "{trusted} {client_field:?}: {out}");
    }
}

#[test]
fn when_a_request_came_is_told_to_who_is_to_know() {
    let said = |arrived, trusted| {
        let mut out = Vec::new();
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx-request-start: t=1.5\r\n\r\n";
        described(head, Known { trusted, ..REQUEST }, |request| {
            encode(&Request { arrived, ..*request }, BodyLength::None, &mut out);
        });
        let out = String::from_utf8(out).unwrap();
        let lines = out.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-request-start"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let arrived = Some(Wall { seconds: 1_760_013_296, nanos: 7_999_999 });
    assert_eq!(said(arrived, false), ["X-Request-Start: t=1760013296.007999"]);
    assert_eq!(said(arrived, true), ["x-request-start: t=1.5"]);
    assert_eq!(said(None, false), ["x-request-start: t=1.5"]);
}

#[test]
fn only_a_trusted_peer_is_believed() {
    let lines = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.1.1.1, 10.1.1.2\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host: public.example\r\nX-Forwarded-Port: 80\r\nForwarded: for=1\r\nX-Real-IP: 1\r\n\
                 X-Forwarded-Prefix: /p\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n");
    let trusted = encoded(&request, Known { trusted: true, ..REQUEST }, BodyLength::None);
    for line in [
        "X-Forwarded-For: 203.0.113.9, 10.1.1.1, 10.1.1.2, 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: public.example",
        "X-Forwarded-Port: 80",
        "Forwarded: for=1",
        "X-Real-IP: 1",
        "X-Forwarded-Prefix: /p",
    ] {
        assert_eq!(trusted.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {trusted}");
    }
    let untrusted = encoded(&request, REQUEST, BodyLength::None);
    for word in
        ["203.0.113.9", "10.1.1", "public.example", "Forwarded: for", "X-Real-IP", "Prefix", "Port: 80\r"]
    {
        assert!(!untrusted.contains(word), "{word}: {untrusted}");
    }
}

#[test]
fn a_peer_without_address_adds_none() {
    let unix = Known { peer: None, local_port: 0, id: "", ..REQUEST };
    let out = encoded("GET / HTTP/1.0\r\n\r\n", unix, BodyLength::None);
    assert!(
        !out.contains("X-Forwarded-For")
            && !out.contains("X-Forwarded-Port")
            && !out.contains("X-Request-Id")
    );
    assert!(out.contains("\r\nVia: 1.0 hatchery\r\n"));
    let mapped = Known { peer: Some("[::ffff:192.0.2.7]:4711"), ..REQUEST };
    assert!(encoded("GET / HTTP/1.0\r\n\r\n", mapped, BodyLength::None).contains("For: 192.0.2.7\r\n"));
}

#[test]
fn bodies_are_framed_as_announced() {
    for (body, expected) in [
        (BodyLength::None, ""),
        (BodyLength::Known(7), "abcdefg"),
        (BodyLength::Known(9), "abcdefghi"),
        (BodyLength::Known(13), "abcdefghij"),
        (BodyLength::Unknown, "3\r\nabc\r\n7\r\ndefghij\r\n0\r\n\r\n"),
    ] {
        assert_eq!(framed(body, None), expected, "{body:?}");
    }
}

/// What a body of three pieces becomes, with its end told twice.
fn framed(body: BodyLength, trailers: Option<&Fields>) -> String {
    let mut encoder = BodyEncoder::new(body);
    let mut out = Queue::new();
    for piece in [&b"abc"[..], b"", b"defghij"] {
        encoder.push(Segment::from(piece.to_vec()), &mut out);
    }
    encoder.finish(trailers, &mut out);
    encoder.finish(trailers, &mut out);
    let mut wire = Vec::new();
    out.slices(usize::MAX, |slice| wire.extend_from_slice(slice));
    String::from_utf8(wire).unwrap()
}

#[test]
fn a_body_of_known_length_may_go_on_unread() {
    let mut response = Response::new(Method::Get);
    response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(response.unread(), None, "there is no head yet");
    assert!(matches!(response.poll(), Some(Event::Head { .. })));
    assert_eq!(response.unread(), None, "what has come is first");
    assert_eq!(response.poll(), Some(Event::Body(b"abc".to_vec())));
    assert_eq!(response.unread(), Some(7));
    response.passed(5);
    assert_eq!(response.unread(), Some(2));
    response.feed(b"ij");
    assert_eq!(response.unread(), None);
    assert_eq!(response.poll(), Some(Event::Body(b"ij".to_vec())));
    assert_eq!((response.unread(), response.poll()), (None, Some(Event::End)));
    assert!(response.reusable());
    // All of it goes on, and less than was announced does.
    for (passed, end) in [(4, Event::End), (3, Event::Broken(Fault::Truncated))] {
        let mut response = Response::new(Method::Get);
        response.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        assert!(matches!(response.poll(), Some(Event::Head { .. })));
        response.passed(passed);
        response.eof();
        assert_eq!(response.poll(), Some(end));
    }
    for (method, fields) in [
        (Method::Get, "Transfer-Encoding: chunked\r\n"),
        (Method::Get, ""),
        (Method::Head, "Content-Length: 9\r\n"),
    ] {
        let mut response = Response::new(method);
        response.feed(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        assert!(matches!(response.poll(), Some(Event::Head { .. })));
        assert_eq!(response.unread(), None, "{fields}");
    }
}

#[test]
fn trailers_stand_behind_chunks_and_nowhere_else() {
    let mut trailers = Fields::new();
    trailers.add("X-Sum", "1");
    trailers.add("X-Empty", "");
    for (body, expected) in [
        (BodyLength::None, ""),
        (BodyLength::Known(10), "abcdefghij"),
        (BodyLength::Unknown, "3\r\nabc\r\n7\r\ndefghij\r\n0\r\nX-Sum: 1\r\nX-Empty: \r\n\r\n"),
    ] {
        assert_eq!(framed(body, Some(&trailers)), expected, "{body:?}");
    }
}

/// Which of these names may follow the body of a request with these lines, and what of them is announced.
fn following(lines: &str, known: Known, changes: &Changes, names: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut passed, mut announced) = (Vec::new(), Vec::new());
    let trailer = format!("{lines}Trailer: {}\r\n", names.join(" , "));
    described(&format!("POST / HTTP/1.1\r\nHost: a\r\n{trailer}\r\n"), known, |request| {
        let request = Request {
            client_field: Some("X-Client-Ip"),
            secure: Told { is_asked: true, ..Told::default() },
            shown: Shown { changes: Some(changes), trailers: true, ..request.shown },
            ..*request
        };
        let mut fields = Fields::new();
        names.iter().for_each(|name| fields.add(name, "x"));
        pass_trailers(&request, &mut fields);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        passed = fields.iter().map(|(name, _)| text(name)).collect();
        let mut head = Vec::new();
        encode(&request, BodyLength::Unknown, &mut head);
        let lines = text(&head);
        let line = lines.lines().find_map(|line| line.strip_prefix("Trailer: "));
        announced = line.into_iter().flat_map(|line| line.split(", ")).map(str::to_owned).collect();
        for other in [BodyLength::None, BodyLength::Known(1)] {
            let mut head = Vec::new();
            encode(&request, other, &mut head);
            assert!(!text(&head).contains("Trailer:"), "{other:?}");
        }
    });
    (passed, announced)
}

#[test]
fn only_what_means_nothing_in_the_head_follows_a_body() {
    let changes = Changes {
        set: vec![("X-Api-Key".to_owned(), "1".to_owned())],
        remove: vec!["X-Gone".to_owned()],
        ..Changes::default()
    };
    let good = ["X-Sum", "server-timing", "Digest", "X-Forwarder", "X-SSL"];
    let bad = [
        // Framing, the connection, and what it names.
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Upgrade",
        "X-Named",
        // Who asks for what.
        "Host",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Range",
        "If-None-Match",
        "Expect",
        "Max-Forwards",
        "Cache-Control",
        // What it is.
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        // What is told here, changed here, or kept from the server in the head.
        "X-Forwarded-For",
        "x-forwarded-prefix",
        "X-Forwarded-Anything",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "X-SSL-Client-Verify",
        "Via",
        "X-Request-Id",
        "Proxy",
        "X_Sum",
        "x-api-key",
        "X-GONE",
    ];
    let lines = "Connection: close, x-named\r\n";
    for known in [REQUEST, Known { trusted: true, ..REQUEST }] {
        for name in bad {
            let (passed, announced) = following(lines, known, &changes, &[name]);
            assert_eq!((passed, announced), (vec![], vec![]), "{name}");
        }
        let all = [&bad[..], &good, &["no name"]].concat();
        let (passed, announced) = following(lines, known, &changes, &all);
        assert_eq!(passed[..good.len()], good);
        assert_eq!(announced, good);
    }
}

#[test]
fn trailers_are_announced_only_where_they_are_passed_on() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\n\r\n";
    assert!(!encoded(request, REQUEST, BodyLength::Unknown).contains("Trailer"));
}

/// What came of a response: status, length, body, end, and whether the connection can be used again.
fn response(method: Method, wire: &[u8], eof: bool) -> String {
    let mut results = Vec::new();
    for step in [wire.len().max(1), 1, 2, 3, 7, 16] {
        let mut response = Response::new(method);
        let (mut story, mut body) = (String::new(), Vec::new());
        let mut drain = |response: &mut Response, story: &mut String| {
            while let Some(event) = response.poll() {
                match event {
                    Event::Interim(head) => *story += &format!("interim {}, ", head.status.0),
                    Event::Head { head, body } => *story += &format!("{} {body:?}, ", head.status.0),
                    Event::Body(bytes) => body.extend(bytes),
                    Event::End => *story += &format!("{:?} end", String::from_utf8_lossy(&body)),
                    Event::Broken(fault) => {
                        *story += &format!("{:?} {fault:?}", String::from_utf8_lossy(&body))
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        for piece in wire.chunks(step) {
            response.feed(piece);
            drain(&mut response, &mut story);
        }
        if eof {
            response.eof();
            drain(&mut response, &mut story);
        }
        if response.reusable() {
            story += " reusable";
        }
        results.push(story);
    }
    // The data before an error is delivered as far as it was read; all else is the same at every cut.
    let key =
        |story: &String| if story.contains("Malformed") { "Malformed".to_owned() } else { story.clone() };
    assert!(results.iter().all(|story| key(story) == key(&results[0])), "{results:#?}");
    results.swap_remove(0)
}

#[test]
fn responses() {
    let get = |wire: &str| response(Method::Get, wire.as_bytes(), false);
    for (wire, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", r#"200 Known(5), "hello" end reusable"#),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", r#"200 Known(0), "" end reusable"#),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloX", r#"200 Known(5), "hello" end"#),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            r#"200 Known(5), "hello" end"#,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", r#"200 Known(5), "hello" end"#),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
            r#"200 Known(5), "hello" end reusable"#,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: x\r\n\r\n",
            r#"200 Unknown, "abcde" end reusable"#,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX", r#"200 Unknown, "" end"#),
        ("HTTP/1.1 204 No Content\r\n\r\n", r#"204 None, "" end reusable"#),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", r#"304 None, "" end reusable"#),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", r#"200 Known(0), "" end reusable"#),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            r#"interim 100, interim 103, 200 Known(1), "x" end reusable"#,
        ),
        ("HTTP/1.1 200 OK\nContent-Length: 1\n\nx", r#"200 Known(1), "x" end reusable"#),
        ("HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx", r#"200 Known(1), "x" end reusable"#),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx", r#"200 Known(1), "x" end reusable"#),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", "200 Unknown, "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "200 Known(5), "),
    ] {
        assert_eq!(get(wire), expected, "{wire:?}");
    }
}

#[test]
fn responses_to_head_have_no_body() {
    for (wire, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", r#"200 Known(5), "" end reusable"#),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", r#"200 Unknown, "" end reusable"#),
        ("HTTP/1.1 200 OK\r\n\r\n", r#"200 Unknown, "" end reusable"#),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", r#"200 Known(5), "" end"#),
    ] {
        assert_eq!(response(Method::Head, wire.as_bytes(), false), expected, "{wire:?}");
    }
}

#[test]
fn the_end_of_the_stream_ends_some_and_breaks_others() {
    for (wire, expected) in [
        ("", r#""" Closed"#),
        ("HTTP/1.1 200 OK\r\nConte", r#""" Truncated"#),
        ("HTTP/1.1 100 Continue\r\n\r\n", r#"interim 100, "" Truncated"#),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", r#"200 Known(5), "hel" Truncated"#),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            r#"200 Unknown, "abc" Truncated"#,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", r#"200 Unknown, "abc" end"#),
        ("HTTP/1.1 200 OK\r\n\r\n", r#"200 Unknown, "" end"#),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", r#"200 Known(3), "abc" end"#),
    ] {
        assert_eq!(response(Method::Get, wire.as_bytes(), true), expected, "{wire:?}");
    }
}

#[test]
fn what_could_be_framed_in_two_ways_is_broken() {
    for (fields, flaw) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Both"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "Length"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "Length"),
        ("Content-Length: 5, 5\r\n", "Length"),
        ("Content-Length: +5\r\n", "Length"),
        ("Content-Length: 5\r\n 5\r\n", "Length"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Coding"),
        ("Transfer-Encoding: gzip, chunked\r\n", "Coding"),
        ("Transfer-Encoding: xchunked\r\n", "Coding"),
        ("X: a\rb\r\n", "Field"),
        ("X: a\0b\r\n", "Field"),
        ("no colon\r\n", "Field"),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello");
        let expected = format!(r#""" Malformed({flaw})"#);
        assert_eq!(response(Method::Get, wire.as_bytes(), false), expected, "{fields:?}");
    }
    for (wire, flaw) in [
        ("HTTP/2.0 200 OK\r\n\r\n", "Start"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "Start"),
        ("HTTP/1.1 99 Low\r\n\r\n", "Status"),
        ("HTTP/1.1 099 Low\r\n\r\n", "Status"),
        ("HTTP/1.1 abc\r\n\r\n", "Status"),
        ("SSH-2.0-OpenSSH\r\n", "Start"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Coding"),
    ] {
        let expected = format!(r#""" Malformed({flaw})"#);
        assert_eq!(response(Method::Get, wire.as_bytes(), false), expected, "{wire:?}");
    }
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n";
    assert_eq!(response(Method::Get, broken.as_bytes(), false), r#"200 Unknown, "" Malformed(Chunk)"#);
    let endless = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(33);
    assert!(response(Method::Get, endless.as_bytes(), false).ends_with("Malformed(Interims)"));
}

#[test]
fn heads_are_bounded() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "a".repeat(HEAD_MAX));
    let mut response = Response::new(Method::Get);
    response.feed(large.as_bytes());
    assert_eq!(response.poll(), Some(Event::Broken(Fault::HeadTooLarge)));
    assert_eq!((response.poll(), response.reusable()), (None, false));
    let fits = format!("HTTP/1.1 204 No\r\nX: {}\r\n\r\n", "a".repeat(HEAD_MAX - 30));
    let mut response = Response::new(Method::Get);
    response.feed(fits.as_bytes());
    assert!(matches!(response.poll(), Some(Event::Head { .. })));
    for (fields, fits) in [(256, true), (257, false)] {
        let mut response = Response::new(Method::Get);
        response.feed(format!("HTTP/1.1 204 No\r\n{}\r\n", "X: y\r\n".repeat(fields)).as_bytes());
        let event = response.poll();
        assert_eq!(matches!(event, Some(Event::Head { .. })), fits, "{fields} fields: {event:?}");
        assert_eq!(matches!(event, Some(Event::Broken(_))), !fits, "{fields} fields: {event:?}");
    }
}

#[test]
fn the_head_that_is_passed_on_is_clean() {
    let wire = "HTTP/1.1 418 Teapot\r\nServer: other\r\nDate: then\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
                Keep-Alive: max=5, timeout=3\r\nUpgrade: h2c\r\nTrailer: T\r\nContent-Length: 0\r\n\
                Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX: folded\r\n  twice\r\n\r\n";
    let mut response = Response::new(Method::Get);
    response.feed(wire.as_bytes());
    let Some(Event::Head { head, .. }) = response.poll() else { panic!("no head") };
    let fields: Vec<_> =
        head.fields.iter().map(|(name, value)| [name, value].map(String::from_utf8_lossy)).collect();
    assert_eq!(
        fields,
        [["Date", "then"], ["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["X", "folded    twice"]]
    );
    assert_eq!(head.reason.as_deref(), Some(&b"Teapot"[..]));
    assert_eq!(response.idle_timeout(), Some(Duration::from_secs(3)));
}

#[test]
fn an_upgrade_is_passed_on_unless_it_is_http_again() {
    let said = |lines: &str| {
        let lines = through(lines, false);
        let upgrade = lines.iter().find_map(|line| line.strip_prefix("Upgrade: ")).map(str::to_owned);
        assert_eq!(lines.contains(&"Connection: upgrade".to_owned()), upgrade.is_some(), "{lines:?}");
        upgrade.unwrap_or_default()
    };
    for (lines, upgrade) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", "websocket"),
        ("Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", "WebSocket"),
        ("Upgrade: a/1\r\nConnection: keep-alive\r\nConnection: UPGRADE\r\nUpgrade: b, c\r\n", "a/1, b, c"),
        ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, a\r\nHTTP2-Settings: x\r\n", "a"),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n", ""),
        ("Connection: Upgrade\r\nUpgrade: H2C, HTTP/2.0, TLS/1.0, http/1.1\r\n", ""),
        ("Connection: Upgrade\r\nUpgrade: a b, c/d/e, /f, \r\n", ""),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", ""),
        ("Connection: X-Upgrade\r\nUpgrade: websocket\r\n", ""),
    ] {
        assert_eq!(said(lines), upgrade, "{lines:?}");
    }
    let asks = "Host: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
    for (line, body) in [
        ("POST / HTTP/1.1", BodyLength::None),
        ("HEAD / HTTP/1.1", BodyLength::None),
        ("GET / HTTP/1.0", BodyLength::None),
        ("GET / HTTP/1.1", BodyLength::Known(1)),
        ("GET / HTTP/1.1", BodyLength::Unknown),
    ] {
        assert_eq!(offered(&head(&format!("{line}\r\n{asks}")), body), None, "{line} {body:?}");
    }
}

#[test]
fn a_101_is_to_what_was_offered_or_a_fault() {
    let play = |offered: &str, fields: &str| {
        let mut response = Response::new(Method::Get);
        response.offer(offered.as_bytes(), None);
        response.feed(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\nrest").as_bytes());
        match response.poll() {
            Some(Event::Switched(head)) => {
                assert!(!response.reusable() && response.poll().is_none());
                assert_eq!(response.take_rest(), b"rest");
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let fields: Vec<_> = head
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{}={}", text(name), text(value)))
                    .collect();
                fields.join(" ")
            }
            other => format!("{other:?}"),
        }
    };
    let unasked = "Some(Broken(Unasked))";
    for (offered, fields, told) in [
        ("websocket", "Upgrade: WebSocket\r\nConnection: Upgrade\r\nA: b\r\n", "A=b Upgrade=WebSocket"),
        ("a, b", "Connection: x, upgrade\r\nUpgrade: b\r\nX: y\r\nKeep-Alive: 1\r\n", "Upgrade=b"),
        ("", "Connection: upgrade\r\nUpgrade: websocket\r\n", unasked),
        ("websocket", "Connection: upgrade\r\nUpgrade: h2c\r\n", unasked),
        ("websocket", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", unasked),
        ("websocket", "Connection: upgrade\r\n", unasked),
        ("websocket", "Upgrade: websocket\r\n", unasked),
        ("websocket", "Connection: upgrade\r\nUpgrade: \r\n", unasked),
    ] {
        assert_eq!(play(offered, fields), told, "{offered:?} {fields:?}");
    }
}
