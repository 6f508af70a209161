use super::*;
use crate::http::ResponseHead;

const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";
const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Time {
    Time(seconds * SECOND)
}

fn conn() -> Conn {
    Conn::new(Rc::new(Settings::default()), at(0))
}

/// A connection that was fed `bytes` at 1 s.
fn fed(bytes: &str) -> Conn {
    let mut conn = conn();
    conn.feed(bytes.as_bytes(), at(1));
    conn
}

fn wire(conn: &mut Conn, now: Time) -> String {
    let mut all = Vec::new();
    conn.out().slices(usize::MAX, |slice| all.extend_from_slice(slice));
    let length = conn.out().len();
    conn.out().consume(length);
    conn.wrote(now);
    String::from_utf8(all).unwrap()
}

fn request(conn: &mut Conn) -> super::super::Request {
    match conn.poll() {
        Some(Event::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn refused(conn: &mut Conn) -> u16 {
    match conn.poll() {
        Some(Event::Refused(refusal)) => refusal.status,
        other => panic!("{other:?}"),
    }
}

fn body(conn: &mut Conn) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match conn.poll() {
            Some(Event::Body(bytes)) => all.extend(bytes),
            Some(Event::BodyEnd) => return all,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn trailers_are_told_to_who_wants_them() {
    let sent = "3\r\nabc\r\n0\r\nX-Sum:  1 \r\nX-sum: 2\r\n\r\n";
    for (rest, keep, expected) in [
        (sent, true, &[("X-Sum", "1"), ("X-sum", "2")][..]),
        (sent, false, &[]),
        ("3\r\nabc\r\n0\r\n\r\n", true, &[]),
    ] {
        let bytes = [CHUNKED, rest, GET].concat();
        for step in [bytes.len(), 1, 7] {
            let mut conn = conn();
            let (mut told, mut data, mut ended) = (Vec::new(), Vec::new(), false);
            for piece in bytes.as_bytes().chunks(step) {
                conn.feed(piece, at(1));
                while let Some(event) = conn.poll() {
                    match event {
                        Event::Request(_) if keep => conn.keep_trailers(),
                        Event::Request(_) => {}
                        Event::Body(bytes) => data.extend(bytes),
                        Event::Trailers(fields) => told.push(fields),
                        Event::BodyEnd => ended = true,
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert!(ended && data == b"abc" && told.len() == usize::from(!expected.is_empty()), "{told:?}");
            let told: Vec<_> = told.iter().flat_map(Fields::iter).collect();
            let expected: Vec<_> =
                expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(told, expected, "{rest:?} by {step}");
            // They were none of what follows.
            answer(&mut conn, 200, at(1));
            assert_eq!(request(&mut conn).head.get("x-sum"), None);
        }
    }
}

#[test]
fn trailers_that_are_none_or_too_many_refuse_the_request_whoever_wants_them() {
    let long = format!("X: {}", "x".repeat(16 * 1024));
    for trailers in ["X", "X : y", " folded", "X: a\nb", &long] {
        for keep in [true, false] {
            let mut conn = fed(CHUNKED);
            request(&mut conn);
            if keep {
                conn.keep_trailers();
            }
            conn.feed(format!("3\r\nabc\r\n0\r\nA: b\r\n{trailers}\r\n\r\n{GET}").as_bytes(), at(1));
            let told = match conn.poll() {
                Some(Event::Body(_)) => refused(&mut conn),
                Some(Event::Refused(refusal)) => refusal.status,
                other => panic!("{other:?}"),
            };
            assert_eq!(told, 400, "{trailers:?}");
            assert!(conn.poll().is_none(), "something behind it is parsed");
        }
    }
}

/// Answers with `ok` and returns what went out.
fn answer(conn: &mut Conn, status: u16, now: Time) -> String {
    conn.respond(&ResponseHead::new(status), BodyLength::Known(2), DATE, now);
    conn.send(Segment::from(b"ok".to_vec()));
    conn.finish(now);
    wire(conn, now)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n";
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const BAD: &str = "GET / HTTP/1.1\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn an_idle_connection_is_small_and_keeps_no_buffers() {
    assert!(size_of::<Conn>() <= 320, "{}", size_of::<Conn>());
    let mut conn = fed(POST);
    request(&mut conn);
    conn.feed(b"hello", at(1));
    assert_eq!(body(&mut conn), b"hello");
    answer(&mut conn, 200, at(1));
    assert!(conn.is_idle());
    assert_eq!(conn.input.capacity(), 0);
    assert_eq!(conn.wants(), Wants { read: true, ..Wants::default() });
}

#[test]
fn a_response_for_each_kind_of_body() {
    let ok = |end: &str| format!("HTTP/1.1 200 OK\r\nDate: {DATE}\r\nServer: hatchery\r\n{end}");
    let close = "Connection: close\r\n";
    for (request_text, length, expected) in [
        (GET, BodyLength::None, ok("Content-Length: 0\r\n\r\n")),
        (GET, BodyLength::Known(4), ok("Content-Length: 4\r\n\r\nabcd")),
        (GET, BodyLength::Known(2), ok("Content-Length: 2\r\n\r\nab")),
        (GET, BodyLength::Unknown, ok("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")),
        (HEAD, BodyLength::Known(4), ok("Content-Length: 4\r\n\r\n")),
        (HEAD, BodyLength::Unknown, ok("Transfer-Encoding: chunked\r\n\r\n")),
        (OLD, BodyLength::Known(4), ok(&format!("Content-Length: 4\r\n{close}\r\nabcd"))),
        (OLD, BodyLength::Unknown, ok(&format!("{close}\r\nabcd"))),
    ] {
        let mut conn = fed(request_text);
        request(&mut conn);
        conn.respond(&ResponseHead::new(200), length, DATE, at(1));
        for piece in [&b"abc"[..], b"", b"d"] {
            conn.send(Segment::from(piece.to_vec()));
        }
        conn.finish(at(1));
        assert_eq!(wire(&mut conn, at(1)), expected, "{request_text:?} {length:?}");
        let end = if request_text == OLD { End::Close } else { End::Open };
        assert_eq!(conn.end(), end, "{request_text:?} {length:?}");
    }
}

#[test]
fn statuses_without_body_have_no_framing() {
    for status in [204, 304] {
        let mut conn = fed(GET);
        request(&mut conn);
        let out = answer(&mut conn, status, at(1));
        assert!(!out.contains("Content-Length") && out.ends_with("\r\n\r\n"), "{out}");
        assert!(conn.is_idle());
    }
}

#[test]
fn a_short_response_is_written_as_far_as_it_goes_and_none_aborts() {
    let begun = |request_head: &str, body: BodyLength| {
        let mut conn = fed(request_head);
        request(&mut conn);
        conn.respond(&ResponseHead::new(200), body, DATE, at(1));
        conn.send(Segment::from(b"short".to_vec()));
        conn
    };
    for (body, end) in [(BodyLength::Known(10), "\r\n\r\nshort"), (BodyLength::Unknown, "\r\n5\r\nshort\r\n")]
    {
        let mut conn = begun(GET, body);
        if body == BodyLength::Unknown {
            conn.break_off();
        } else {
            conn.finish(at(1));
        }
        conn.send(Segment::from(b"more".to_vec()));
        conn.feed(GET.as_bytes(), at(1));
        assert_eq!((conn.end(), conn.poll().is_none()), (End::Open, true), "the rest is written first");
        let written = wire(&mut conn, at(1));
        assert!(written.ends_with(end), "{written}");
        assert_eq!(conn.end(), End::Close);
    }
    // Of a body that ends with its connection the end would say that it is whole.
    let mut conn = begun("GET / HTTP/1.0\r\n\r\n", BodyLength::Unknown);
    conn.break_off();
    assert_eq!(conn.end(), End::Abort);
    assert!(wire(&mut conn, at(1)).ends_with("\r\n\r\nshort"), "what can be written at once comes first");
    let mut conn = fed(GET);
    request(&mut conn);
    conn.finish(at(1));
    assert_eq!(conn.end(), End::Abort);
}

/// What is left of a connection once a response is complete, for every reading and every writing state.
#[test]
fn every_pair_of_reading_and_writing() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum After {
        Next,
        Drops,
        Lingers,
        Closes,
    }
    let readings: [(&str, &str, After); 7] = [
        ("done", GET, After::Next),
        ("sized, complete", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", After::Next),
        ("sized, short rest", POST, After::Drops),
        ("sized, long rest", UPLOAD, After::Lingers),
        ("chunked", CHUNKED, After::Drops),
        ("discard", BAD, After::Lingers),
        ("done, http/1.0", OLD, After::Closes),
    ];
    let writings = [
        (200, BodyLength::None),
        (200, BodyLength::Known(3)),
        (200, BodyLength::Unknown),
        (304, BodyLength::None),
    ];
    for (name, bytes, after) in readings {
        for (status, length) in writings {
            for draining in [false, true] {
                let mut conn = fed(bytes);
                assert!(matches!(conn.poll(), Some(Event::Request(_) | Event::Refused(_))), "{name}");
                if draining {
                    conn.drain();
                }
                assert!(conn.wants().body, "{name}");
                conn.respond(&ResponseHead::new(status), length, DATE, at(1));
                conn.send(Segment::from(b"abc".to_vec()));
                conn.finish(at(1));
                assert!(!conn.wants().body, "{name}");
                assert_eq!(conn.end(), End::Open, "{name}: something is left to write");
                let out = wire(&mut conn, at(1));
                let expected = match after {
                    After::Next if draining => After::Closes,
                    After::Drops if draining => After::Lingers,
                    _ => after,
                };
                let found = match (conn.end(), &conn.reading) {
                    (End::Open, Reading::Head(_)) => After::Next,
                    (End::Open, _) => After::Drops,
                    (End::Linger, _) => After::Lingers,
                    (End::Close, _) => After::Closes,
                    (End::Abort | End::Shut, _) => panic!("{name}: {:?}", conn.end()),
                };
                assert_eq!(found, expected, "{name} {status} {length:?} draining: {draining}");
                let told = out.contains("Connection: close\r\n");
                assert_eq!(told, matches!(expected, After::Lingers | After::Closes), "{name}: {out}");
                conn.eof(at(2));
                assert_eq!((conn.end(), conn.poll().is_none()), (End::Close, true), "{name}");
            }
        }
    }
}

#[test]
fn the_rest_of_a_body_is_dropped_before_the_next_request() {
    for (first, rest) in [(POST, "hello"), (CHUNKED, "5\r\nhello\r\n0\r\n\r\n")] {
        let mut conn = fed(first);
        request(&mut conn);
        answer(&mut conn, 200, at(1));
        let next = format!("{rest}{GET}");
        for byte in next.as_bytes() {
            conn.feed(&[*byte], at(2));
            if conn.is_exchange_open() {
                assert!(conn.poll().is_none());
            }
        }
        request(&mut conn);
        answer(&mut conn, 200, at(2));
        assert!(conn.is_idle());
    }
    let mut conn = fed(CHUNKED);
    request(&mut conn);
    answer(&mut conn, 200, at(1));
    conn.feed(&[b"fffff\r\n".as_slice(), &[0; 70_000]].concat(), at(2));
    assert_eq!(conn.end(), End::Linger);
}

#[test]
fn continue_is_sent_only_when_asked_for_and_still_of_use() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n";
    let mut conn = fed(head);
    request(&mut conn);
    assert_eq!(conn.deadline(), None, "the client waits for us");
    conn.proceed();
    conn.proceed();
    assert_eq!(wire(&mut conn, at(1)), "HTTP/1.1 100 Continue\r\n\r\n");
    conn.feed(b"hello", at(2));
    assert_eq!(body(&mut conn), b"hello");
    assert!(!answer(&mut conn, 200, at(2)).contains("Connection: close"));

    // The body came without waiting.
    for bytes in [format!("{head}h"), head.to_owned()] {
        let mut conn = fed(&bytes);
        request(&mut conn);
        conn.feed(b"he", at(1));
        conn.proceed();
        assert_eq!(wire(&mut conn, at(1)), "");
    }

    // Refused without the body: nobody knows whether it will come.
    let mut conn = fed(head);
    request(&mut conn);
    assert!(answer(&mut conn, 403, at(1)).contains("Connection: close"));
    assert_eq!(conn.end(), End::Linger);
    conn.proceed();
    assert!(conn.out().is_empty());
}

#[test]
fn bodies_are_bounded() {
    let mut conn = fed(POST);
    request(&mut conn);
    assert_eq!(conn.limit_body(4).map_err(|refusal| refusal.status), Err(413));
    conn.feed(b"hello", at(1));
    assert!(conn.poll().is_none());
    assert!(answer(&mut conn, 413, at(1)).contains("Connection: close"));
    assert_eq!(conn.end(), End::Linger);

    let mut conn = fed(POST);
    request(&mut conn);
    assert_eq!(conn.limit_body(5), Ok(()));

    let mut conn = fed(CHUNKED);
    request(&mut conn);
    assert_eq!(conn.limit_body(5), Ok(()));
    conn.feed(b"5\r\nhello\r\n", at(1));
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    conn.feed(b"1\r\nX", at(1));
    assert_eq!(refused(&mut conn), 413);
}

#[test]
fn pipelined_requests_come_out_one_by_one() {
    let mut conn = fed(&GET.repeat(3));
    for left in (0..3).rev() {
        request(&mut conn);
        assert!(conn.poll().is_none());
        answer(&mut conn, 200, at(1));
        assert_eq!(conn.is_idle(), left == 0);
    }
    // Not while much of the response waits to be written.
    let mut conn = fed(&GET.repeat(2));
    request(&mut conn);
    conn.respond(&ResponseHead::new(200), BodyLength::Known(20_000), DATE, at(1));
    conn.send(Segment::from(vec![0; 20_000]));
    conn.finish(at(1));
    assert!(conn.poll().is_none());
    wire(&mut conn, at(1));
    request(&mut conn);
    // Reading stops at a cap.
    assert!(conn.wants().read);
    conn.feed(&[b'x'; PIPELINE_MAX], at(1));
    assert!(!conn.wants().read);
}

#[test]
fn a_half_closed_client_gets_what_it_asked_for() {
    let mut conn = fed(&GET.repeat(2));
    conn.eof(at(1));
    request(&mut conn);
    assert!(!answer(&mut conn, 200, at(1)).contains("Connection: close"));
    request(&mut conn);
    assert_eq!(conn.end(), End::Open);
    assert!(answer(&mut conn, 200, at(1)).contains("Connection: close"));
    assert_eq!(conn.end(), End::Close);

    let mut conn = fed(POST);
    request(&mut conn);
    conn.feed(b"hel", at(1));
    conn.eof(at(1));
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    assert!(matches!(conn.poll(), Some(Event::Gone)));
    assert_eq!((conn.poll().is_none(), conn.end()), (true, End::Abort));

    for bytes in ["", "GET / HT"] {
        let mut conn = fed(bytes);
        conn.eof(at(1));
        assert_eq!((conn.poll().is_none(), conn.end()), (true, End::Close));
    }
}

#[test]
fn heads_have_a_deadline_and_idle_connections_another() {
    // Nothing came: closed silently.
    let mut conn = conn();
    assert_eq!(conn.deadline(), Some(at(15)));
    conn.on_timeout(at(14));
    assert_eq!(conn.end(), End::Open);
    conn.on_timeout(at(15));
    assert_eq!((conn.poll().is_none(), conn.end()), (true, End::Close));

    // Bytes dripping in do not move it.
    let mut conn = fed("GET / HTTP/1.1\r\n");
    assert!(conn.poll().is_none());
    for second in 2..15 {
        conn.feed(b"X: y\r\n", at(second));
        assert!(conn.poll().is_none());
        assert_eq!(conn.deadline(), Some(at(15)));
    }
    conn.on_timeout(at(15));
    assert_eq!(refused(&mut conn), 408);
    assert!(answer(&mut conn, 408, at(15)).contains("Connection: close"));
    assert_eq!((conn.end(), conn.deadline()), (End::Linger, Some(at(20))));

    // Between requests the keep-alive time counts, from the first byte on the header's.
    let mut conn = fed(GET);
    request(&mut conn);
    assert_eq!(conn.deadline(), None);
    answer(&mut conn, 200, at(3));
    assert_eq!(conn.deadline(), Some(at(68)));
    conn.feed(b"G", at(60));
    assert!(conn.poll().is_none());
    assert_eq!(conn.deadline(), Some(at(75)));
    let mut conn = fed(GET);
    request(&mut conn);
    answer(&mut conn, 200, at(3));
    conn.on_timeout(at(68));
    assert_eq!((conn.poll().is_none(), conn.end()), (true, End::Close));
}

#[test]
fn bodies_have_a_deadline_between_reads() {
    let fed = |bytes: &str| {
        let mut conn = Conn::new(Rc::new(Settings { body_rate: 0, ..Settings::default() }), at(0));
        conn.feed(bytes.as_bytes(), at(1));
        conn
    };
    let mut conn = fed(POST);
    request(&mut conn);
    assert_eq!(conn.deadline(), Some(at(61)));
    conn.feed(b"h", at(50));
    assert_eq!(conn.deadline(), None, "the owner has not polled");
    conn.resume(at(90));
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    assert_eq!(conn.deadline(), Some(at(150)));
    conn.on_timeout(at(150));
    assert_eq!(refused(&mut conn), 408);

    // The response has begun: it cannot be taken back.
    let mut conn = fed(POST);
    request(&mut conn);
    conn.respond(&ResponseHead::new(200), BodyLength::Unknown, DATE, at(1));
    wire(&mut conn, at(1));
    assert_eq!(conn.on_timeout(at(61)), Some("request body stalled; raise limits.body_timeout"));
    assert!(matches!(conn.poll(), Some(Event::Gone)));
    assert_eq!(conn.end(), End::Abort);
}

#[test]
fn bodies_have_a_lowest_rate() {
    // 512 bytes a second, and 30 seconds before that counts.
    let drip = |step: u64, bytes: usize| {
        let mut conn = fed(UPLOAD);
        request(&mut conn);
        let mut now = 1;
        while conn.end() == End::Open && now < 1000 {
            now += step;
            conn.turn(at(now));
            conn.feed(&vec![0; bytes], at(now));
            match conn.poll() {
                Some(Event::Body(piece)) => assert_eq!(piece.len(), bytes),
                Some(Event::Refused(refusal)) => {
                    assert_eq!(refusal.status, 408);
                    assert!(refusal.why.contains("limits.body_rate"), "{}", refusal.why);
                    return now;
                }
                other => panic!("{other:?}"),
            }
        }
        now.min(1000)
    };
    assert_eq!(drip(1, 1), 32, "30 bytes earned less than a second");
    assert_eq!(drip(1, 256), 60, "half the rate doubles the grace");
    assert_eq!(drip(1, 512), 1000);
    assert_eq!(drip(29, 512 * 29), 1000, "in gulps");
    assert_eq!(drip(40, 512 * 40), 41, "the grace bounds the first gulp");
    // A fast start earns no more than a pause of body_timeout.
    let mut conn = fed(UPLOAD);
    request(&mut conn);
    conn.feed(&[0; 60_000], at(2));
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    assert_eq!(conn.deadline(), Some(at(62)));
    conn.feed(b"x", at(61));
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    assert_eq!(conn.deadline().map(|deadline| deadline.0 / SECOND), Some(62));
    // Whether the body comes with the head or after it makes no difference.
    let mut conn = fed(&format!("{UPLOAD}{}", "x".repeat(5120)));
    request(&mut conn);
    assert!(matches!(conn.poll(), Some(Event::Body(_))));
    assert_eq!(conn.deadline(), Some(at(41)));
}

#[test]
fn a_connection_can_be_refused_before_anything_came() {
    let mut conn = conn();
    conn.refuse_early(Refusal { status: 429, why: "too many" });
    assert_eq!(refused(&mut conn), 429);
    assert!(answer(&mut conn, 429, at(0)).contains("Connection: close"));
    conn.feed(GET.as_bytes(), at(1));
    assert!(conn.poll().is_none(), "nothing is parsed");
    assert_eq!(conn.end(), End::Linger);
    conn.eof(at(1));
    assert_eq!(conn.end(), End::Close);
}

/// Control characters anywhere, and what no token has in a method or a name.
#[test]
fn every_byte_in_every_place() {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let text = |byte: u8| !byte.is_ascii_control();
    for byte in 0..=u8::MAX {
        for (place, before, after, allowed) in [
            ("method", "G", "T / HTTP/1.1\r\nHost: h\r\n\r\n", token(byte)),
            (
                "target",
                "GET /?a",
                "b HTTP/1.1\r\nHost: h\r\n\r\n",
                text(byte) && !matches!(byte, b' ' | b'#'),
            ),
            ("name", "GET / HTTP/1.1\r\nHost: h\r\nX", "Y: z\r\n\r\n", token(byte) || byte == b':'),
            ("value", "GET / HTTP/1.1\r\nHost: h\r\nX: a", "b\r\n\r\n", text(byte) || byte == b'\t'),
            ("line end", "GET / HTTP/1.1\r\nHost: h\r", "\r\n\r\n", byte == b'\n'),
        ] {
            let mut conn = conn();
            conn.feed(&[before.as_bytes(), &[byte], after.as_bytes()].concat(), at(1));
            let accepted = match conn.poll() {
                Some(Event::Request(_)) => true,
                Some(Event::Refused(refusal)) => {
                    assert_eq!(refusal.status, 400, "{byte:#04x} in a {place}");
                    false
                }
                other => panic!("{byte:#04x} in a {place}: {other:?}"),
            };
            assert_eq!(accepted, allowed, "{byte:#04x} in a {place}");
        }
    }
}

/// Every LF of these heads without its CR, whole and byte by byte.
#[test]
fn a_line_that_ends_without_cr_is_refused_wherever_it_is() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nBlank: \t\r\nLast: 1 \r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nEmpty:\r\n\r\n",
    ] {
        assert!(matches!(fed(head).poll(), Some(Event::Request(_))), "{head:?}");
        for (cr, _) in head.match_indices("\r\n") {
            let bare = [&head[..cr], &head[cr + 1..]].concat();
            assert_eq!(refused(&mut fed(&bare)), 400, "{bare:?}");
            let mut slow = conn();
            let refused = bare.bytes().any(|byte| {
                slow.feed(&[byte], at(0));
                matches!(slow.poll(), Some(Event::Refused(_)))
            });
            assert!(refused, "{bare:?} byte by byte");
        }
    }
}

#[test]
fn answers_to_pipelined_requests_leave_together() {
    let mut conn = fed(&GET.repeat(16));
    for _ in 0..16 {
        request(&mut conn);
        conn.respond(&ResponseHead::new(200), BodyLength::Known(2), DATE, at(1));
        conn.send(Segment::from(b"ok".to_vec()));
        conn.finish(at(1));
    }
    assert!(conn.poll().is_none());
    let out = wire(&mut conn, at(1));
    assert_eq!(out.matches("HTTP/1.1 200 OK\r\n").count(), 16);
    assert!(conn.is_idle());
}

#[test]
fn every_limit_names_the_key_to_raise() {
    let with = |change: fn(&mut Settings), bytes: &str| {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut conn = Conn::new(Rc::new(settings), at(0));
        conn.feed(bytes.as_bytes(), at(0));
        conn
    };
    let refusal = |mut conn: Conn| loop {
        match conn.poll() {
            Some(Event::Refused(refusal)) => return (refusal.status, refusal.why),
            Some(Event::Request(_)) => {
                let limited = conn.limit_body(4);
                if let Err(refusal) = limited {
                    return (refusal.status, refusal.why);
                }
            }
            Some(Event::Body(_)) => {}
            None => assert_eq!(conn.turn(conn.deadline().unwrap()), None),
            other => panic!("{other:?}"),
        }
    };
    for (conn, status, key) in [
        (with(|settings| settings.request_line = 8, GET), 414, "limits.request_line"),
        (with(|settings| settings.head = 20, GET), 431, "limits.head"),
        (with(|settings| settings.fields = 0, GET), 431, "limits.fields"),
        (with(|_| {}, "GET / HT"), 408, "limits.header_timeout"),
        (with(|_| {}, UPLOAD), 413, "max_body"),
        (with(|_| {}, &format!("{CHUNKED}5\r\nhello\r\n")), 413, "max_body"),
        (with(|_| {}, &POST.replace('5', "4")), 408, "limits.body_rate"),
        (with(|settings| settings.body_rate = 0, &POST.replace('5', "4")), 408, "limits.body_timeout"),
    ] {
        let (found, why) = refusal(conn);
        assert_eq!(found, status, "{key}: {why}");
        assert!(why.contains(key), "{key}: {why}");
    }
}

#[test]
fn writing_has_a_deadline_between_writes() {
    let mut conn = fed(GET);
    request(&mut conn);
    conn.respond(&ResponseHead::new(200), BodyLength::Unknown, DATE, at(100));
    wire(&mut conn, at(100));
    assert_eq!(conn.deadline(), None, "the app may take its time");
    // The wait begins with what is sent next, in the turn in which it is.
    conn.turn(at(150));
    conn.send(Segment::from(b"late".to_vec()));
    assert_eq!((conn.end(), conn.deadline()), (End::Open, Some(at(210))));
    conn.turn(at(155));
    conn.send(Segment::from(b"more".to_vec()));
    assert_eq!(conn.deadline(), Some(at(210)), "the wait goes on");
    conn.out().consume(1);
    conn.wrote(at(200));
    assert_eq!(conn.deadline(), Some(at(260)));
    assert_eq!(conn.turn(at(259)), None);
    assert_eq!(conn.end(), End::Open);
    assert_eq!(conn.turn(at(260)), Some("response not taken in time; raise limits.body_timeout"));
    assert!(matches!(conn.poll(), Some(Event::Gone)));
    assert_eq!(conn.end(), End::Abort);
}

#[test]
fn the_wait_for_a_body_that_was_asked_for_begins_with_the_asking() {
    let mut conn = fed("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    request(&mut conn);
    conn.turn(at(50));
    assert_eq!(conn.deadline(), None);
    conn.proceed();
    wire(&mut conn, at(50));
    assert_eq!(conn.deadline(), Some(at(80)));
    conn.turn(at(80));
    assert_eq!(refused(&mut conn), 408);
}

#[test]
fn lingering_ends_by_the_client_by_silence_by_time_or_by_bytes() {
    let lingering = || {
        let mut conn = fed(BAD);
        refused(&mut conn);
        answer(&mut conn, 400, at(10));
        assert_eq!((conn.end(), conn.wants().read), (End::Linger, true));
        conn
    };
    let mut conn = lingering();
    conn.eof(at(11));
    assert_eq!(conn.end(), End::Close);

    let mut conn = lingering();
    assert_eq!(conn.deadline(), Some(at(15)));
    conn.on_timeout(at(15));
    assert_eq!(conn.end(), End::Close);

    let mut conn = lingering();
    for second in 11..40 {
        conn.feed(GET.as_bytes(), at(second));
        conn.on_timeout(at(second));
        assert!(conn.poll().is_none(), "nothing after a refusal is parsed");
        assert_eq!(conn.end(), End::Linger);
    }
    conn.on_timeout(at(40));
    assert_eq!(conn.end(), End::Close);

    let mut conn = lingering();
    let megabyte = vec![0; 1 << 20];
    let megabytes = (0..100).position(|_| {
        conn.feed(&megabyte, at(10));
        conn.end() == End::Close
    });
    assert_eq!(megabytes, Some(63));
}

#[test]
fn a_draining_connection_tells_its_client_with_the_next_response() {
    let mut conn = fed(GET);
    request(&mut conn);
    answer(&mut conn, 200, at(1));
    conn.drain();
    assert_eq!((conn.end(), conn.is_idle()), (End::Open, true));
    conn.feed(GET.as_bytes(), at(2));
    request(&mut conn);
    assert!(answer(&mut conn, 200, at(2)).contains("Connection: close\r\n"));
    assert_eq!(conn.end(), End::Close);
    // More was on its way: closing at once would reset it.
    let mut conn = fed(&GET.repeat(2));
    conn.drain();
    request(&mut conn);
    answer(&mut conn, 200, at(1));
    assert_eq!(conn.end(), End::Linger);
}

#[test]
fn who_leaves_lingers_from_then_on_however_long_its_client_was_silent() {
    let mut conn = fed(POST);
    request(&mut conn);
    answer(&mut conn, 405, at(1));
    conn.leave(at(10));
    assert_eq!((conn.end(), conn.deadline()), (End::Linger, Some(at(12))));
}

#[test]
fn requests_on_a_connection_are_counted() {
    let settings = Settings { keepalive_requests: 2, ..Settings::default() };
    let mut conn = Conn::new(Rc::new(settings), at(0));
    conn.feed(GET.repeat(3).as_bytes(), at(0));
    request(&mut conn);
    assert!(!answer(&mut conn, 200, at(0)).contains("Connection: close"));
    request(&mut conn);
    assert!(answer(&mut conn, 200, at(0)).contains("Connection: close"));
    assert!(conn.poll().is_none());
}

#[test]
fn interim_responses_go_to_those_who_understand_them() {
    for (text, status, sent) in
        [(GET, 103, true), (GET, 100, false), (GET, 101, false), (GET, 200, false), (OLD, 103, false)]
    {
        let mut conn = fed(text);
        request(&mut conn);
        conn.interim(&ResponseHead::new(status).with("Link", "</a>"));
        assert_eq!(!conn.out().is_empty(), sent, "{status}");
        answer(&mut conn, 200, at(1));
        conn.interim(&ResponseHead::new(103));
        assert!(conn.out().is_empty());
    }
}

/// A file goes out untouched, between chunk framing.
#[test]
fn a_file_is_framed_too() {
    let mut conn = fed(GET);
    request(&mut conn);
    conn.respond(&ResponseHead::new(200), BodyLength::Unknown, DATE, at(1));
    wire(&mut conn, at(1));
    let file = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap();
    conn.send(Segment::File { file: Rc::new(file.into()), offset: 0, len: 255, stamp: None });
    assert_eq!((conn.out().len(), conn.out().memory()), (255 + 6, 6));
    assert!(conn.wants().body);
    conn.send(Segment::from(vec![0; OUT_MAX]));
    assert!(!conn.wants().body);
}

#[test]
fn spurious_calls_are_harmless() {
    for bytes in ["", "G", GET, POST, CHUNKED, BAD, OLD] {
        let mut conn = fed(bytes);
        let _ = conn.poll();
        conn.on_timeout(at(1));
        conn.wrote(at(1));
        conn.feed(b"", at(1));
        conn.proceed();
        assert_eq!(conn.end(), End::Open, "{bytes:?}");
        conn.abort();
        conn.feed(GET.as_bytes(), at(1));
        conn.eof(at(1));
        conn.on_timeout(at(1000));
        conn.finish(at(1000));
        conn.respond(&ResponseHead::new(200), BodyLength::None, DATE, at(1));
        conn.send(Segment::from(b"x".to_vec()));
        assert!(conn.poll().is_none() && conn.out().is_empty());
        assert_eq!((conn.end(), conn.deadline(), conn.wants()), (End::Abort, None, Wants::default()));
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// A connection that was switched at 1 s, behind whose request `bytes` came, and what it said.
fn tunnel(bytes: &str) -> Conn {
    let mut conn = fed(&format!("{UPGRADE}{bytes}"));
    request(&mut conn);
    assert!(conn.switch(&ResponseHead::new(101).with("Upgrade", "x"), DATE, at(1)));
    let told = format!(
        "HTTP/1.1 101 Switching Protocols\r\nDate: {DATE}\r\nServer: hatchery\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    );
    assert!(!conn.wants().body, "one after the other");
    assert_eq!(wire(&mut conn, at(1)), told);
    assert!(conn.wants().body);
    conn
}

#[test]
fn a_tunnel_passes_bytes_on_as_they_are_and_one_read_at_a_time() {
    let mut conn = tunnel(GET);
    assert!(!conn.wants().read, "what came behind the request comes first");
    assert!(matches!(conn.poll(), Some(Event::Body(bytes)) if bytes == GET.as_bytes()));
    assert!(conn.wants().read && conn.poll().is_none());
    conn.feed(b"\r\n0\0", at(5000));
    assert!(matches!(conn.poll(), Some(Event::Body(bytes)) if bytes == b"\r\n0\0"));
    conn.send(Segment::from(b"HTTP".to_vec()));
    assert!(!conn.wants().body);
    assert_eq!(conn.deadline(), Some(at(5060)), "the client has to take what there is for it");
    assert_eq!(wire(&mut conn, at(5001)), "HTTP");
    assert_eq!((conn.deadline(), conn.end()), (None, End::Open));
    conn.drain();
    assert_eq!(conn.end(), End::Open, "it has the time that the worker has");
}

#[test]
fn each_way_of_a_tunnel_ends_by_itself() {
    let mut conn = tunnel("");
    conn.send(Segment::from(b"bye".to_vec()));
    conn.shut();
    assert_eq!(conn.end(), End::Open, "something is to be written");
    assert_eq!(wire(&mut conn, at(2)), "bye");
    assert_eq!(conn.end(), End::Shut);
    conn.feed(b"more", at(3));
    assert!(matches!(conn.poll(), Some(Event::Body(bytes)) if bytes == b"more"));
    conn.eof(at(4));
    assert!(matches!(conn.poll(), Some(Event::BodyEnd)) && conn.poll().is_none());
    assert_eq!(conn.end(), End::Shut, "its owner says when it is over");
    conn.finish(at(5));
    assert_eq!(conn.end(), End::Close);

    let mut conn = tunnel("");
    conn.eof(at(2));
    assert!(matches!(conn.poll(), Some(Event::BodyEnd)));
    conn.send(Segment::from(b"answer".to_vec()));
    assert_eq!((wire(&mut conn, at(3)).as_str(), conn.end()), ("answer", End::Open));
}

#[test]
fn a_tunnel_that_ends_writes_what_there_is_and_lingers() {
    for broken in [false, true] {
        let mut conn = tunnel("");
        conn.send(Segment::from(b"last".to_vec()));
        if broken {
            conn.break_off()
        } else {
            conn.finish(at(2))
        }
        assert_eq!(conn.end(), End::Open);
        assert_eq!((wire(&mut conn, at(2)).as_str(), conn.end()), ("last", End::Linger));
        conn.feed(b"dropped", at(3));
        assert!(conn.poll().is_none());
        conn.eof(at(4));
        assert_eq!(conn.end(), End::Close);
    }
    let mut stuck = tunnel("");
    stuck.send(Segment::from(b"unread".to_vec()));
    assert!(stuck.on_timeout(at(100)).is_some());
    assert!(matches!(stuck.poll(), Some(Event::Gone)));
    assert_eq!(stuck.end(), End::Abort);
}

#[test]
fn only_a_request_without_a_body_becomes_a_tunnel() {
    let head = ResponseHead::new(101);
    let mut conn = fed(POST);
    request(&mut conn);
    assert!(!conn.switch(&head, DATE, at(1)));
    let mut conn = fed(UPGRADE);
    request(&mut conn);
    conn.abort();
    assert!(!conn.switch(&head, DATE, at(1)) && conn.out().is_empty());
}
