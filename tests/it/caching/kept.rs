//! What is kept, what is not, and what comes of it.

use super::{ask, asked, front, get, is_hit, origin, status_of};
use crate::harness::{Connection, SOON, holds, wait_until};

#[test]
fn a_response_that_says_for_how_long_is_fetched_once_for_all_workers() {
    let upstream = origin(&[(
        "/a",
        "200 OK\nCache-Control: max-age=60\nX-Own: 1\nConnection: x-hop\nX-Hop: 1\n\nanswer {n}",
    )]);
    let server = front(&upstream, "true");
    let first = get(&server, "/a");
    assert_eq!((first.status, first.text()), (200, "answer 1".to_owned()));
    assert!(status_of(&first).starts_with("fwd=uri-miss"), "{first:?}");
    for _ in 0..24 {
        let reply = get(&server, "/a");
        assert_eq!((reply.status, reply.text()), (200, "answer 1".to_owned()));
        assert_eq!((reply.field("x-own"), reply.field("x-hop")), (Some("1"), None));
        assert!(is_hit(&reply), "{reply:?}");
        assert!(reply.field("age").unwrap().parse::<u64>().unwrap() < 60);
        assert_eq!(reply.field("content-length"), Some("8"));
    }
    assert_eq!(asked(&upstream, "/a"), 1);
}

#[test]
fn one_line_microcaches_what_says_nothing() {
    let upstream =
        origin(&[("/a", "200 OK\n\nanswer {n}"), ("/private", "200 OK\nCache-Control: private\n\n{n}")]);
    let server = front(&upstream, r#"(ttl: "1s")"#);
    let first = get(&server, "/a");
    assert_eq!(first.text(), "answer 1");
    wait_until(SOON, "its time is over", || {
        let reply = get(&server, "/a");
        holds(reply.text() == "answer 2", reply)
    });
    assert!(asked(&upstream, "/a") <= 3);
    assert_eq!(
        (get(&server, "/private").text(), get(&server, "/private").text()),
        ("1".to_owned(), "2".to_owned())
    );
}

#[test]
fn nothing_is_kept_where_nobody_asks_for_it() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(&upstream, "false");
    let replies = [get(&server, "/a"), get(&server, "/a")];
    assert_eq!(replies.each_ref().map(|reply| reply.text()), ["1", "2"]);
    assert_eq!(replies[0].field("cache-status"), None);
}

#[test]
fn what_must_not_be_kept_is_not() {
    let upstream = origin(&[
        ("/no-store", "200 OK\nCache-Control: no-store, max-age=60\n\n{n}"),
        ("/private", "200 OK\nCache-Control: private, max-age=60\n\n{n}"),
        ("/cookie", "200 OK\nCache-Control: max-age=60\nSet-Cookie: a=1\n\n{n}"),
        ("/any", "200 OK\nCache-Control: max-age=60\nVary: *\n\n{n}"),
        ("/part", "206 Partial Content\nCache-Control: max-age=60\nContent-Range: bytes 0-0/9\n\n{n}"),
        ("/accel", "200 OK\nCache-Control: max-age=60\nX-Accel-Expires: 0\n\n{n}"),
        ("/expired", "200 OK\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\n\n{n}"),
        ("/silent", "200 OK\n\n{n}"),
        ("/error", "500 Internal Server Error\n\n{n}"),
        ("/plain", "200 OK\nCache-Control: max-age=60\n\n{n}"),
    ]);
    let server = front(&upstream, "true");
    for path in
        ["/no-store", "/private", "/cookie", "/any", "/part", "/accel", "/expired", "/silent", "/error"]
    {
        let replies = [get(&server, path), get(&server, path)];
        assert_eq!(replies.each_ref().map(|reply| reply.text()), ["1", "2"], "{path}: {replies:?}");
        assert!(!is_hit(&replies[1]), "{path}");
        assert_eq!(replies[1].field("x-accel-expires"), None);
    }
    // Requests for which the same response is not kept, and not looked for.
    for (method, fields) in [("GET", &[("Authorization", "Basic YTpi")][..]), ("POST", &[]), ("OPTIONS", &[])]
    {
        let before = asked(&upstream, "/plain");
        let reply = ask(&server, method, "/plain", fields);
        assert!(reply.status == 200 && !is_hit(&reply), "{method} {fields:?}: {reply:?}");
        assert_eq!(asked(&upstream, "/plain"), before + 1, "{method} {fields:?}");
    }
}

#[test]
fn credentials_are_kept_where_the_response_permits_it() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: public, max-age=60\n\n{n}")]);
    let server = front(&upstream, "true");
    let fields = [("Authorization", "Basic YTpi")];
    assert_eq!(ask(&server, "GET", "/a", &fields).text(), "1");
    assert_eq!(ask(&server, "GET", "/a", &fields).text(), "1");
    assert_eq!(get(&server, "/a").text(), "1");
}

#[test]
fn a_kept_response_answers_head_and_conditions_and_ranges() {
    let upstream = origin(&[(
        "/a",
        "200 OK\nCache-Control: max-age=60\nETag: \"x{n}\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/plain\n\n0123456789",
    )]);
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").status, 200);
    let head = ask(&server, "HEAD", "/a", &[]);
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("10"), 0));
    for (fields, status, body) in [
        (&[("If-None-Match", "\"x1\"")][..], 304, ""),
        (&[("If-None-Match", "\"y\", W/\"x1\"")], 304, ""),
        (&[("If-None-Match", "\"y\"")], 200, "0123456789"),
        (&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")], 304, ""),
        (&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT")], 200, "0123456789"),
        (&[("Range", "bytes=2-4")], 206, "234"),
        (&[("Range", "bytes=-1")], 206, "9"),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"x1\"")], 206, "234"),
        (&[("Range", "bytes=2-4"), ("If-Range", "\"y\"")], 200, "0123456789"),
        (&[("Range", "lines=2-4")], 200, "0123456789"),
    ] {
        let reply = ask(&server, "GET", "/a", fields);
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{fields:?}: {reply:?}");
        assert_eq!(reply.field("etag"), Some("\"x1\""), "{fields:?}");
        assert!(is_hit(&reply), "{fields:?}: {reply:?}");
    }
    let part = ask(&server, "GET", "/a", &[("Range", "bytes=2-4")]);
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    let none = ask(&server, "GET", "/a", &[("Range", "bytes=20-")]);
    assert_eq!((none.status, none.field("content-range")), (416, Some("bytes */10")));
    let parts = ask(&server, "GET", "/a", &[("Range", "bytes=0-0,9-9")]);
    assert_eq!(parts.status, 206);
    assert!(parts.field("content-type").unwrap().starts_with("multipart/byteranges; boundary="), "{parts:?}");
    assert!(parts.text().contains("Content-Range: bytes 9-9/10\r\n\r\n9\r\n"), "{}", parts.text());
    // Which only the server knows that has the resource.
    assert_eq!(ask(&server, "GET", "/a", &[("If-Match", "\"y\"")]).status, 200);
    assert_eq!(asked(&upstream, "/a"), 1);
}

#[test]
fn a_condition_on_what_is_not_kept_yet_is_answered_here_and_all_of_it_is_kept() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\nETag: \"x\"\n\nbody")]);
    let server = front(&upstream, "true");
    let mut connection = Connection::open(server.address).unwrap();
    let reply = connection.request("GET", "/a", &[("If-None-Match", "\"x\"")], b"").unwrap();
    assert_eq!((reply.status, reply.field("etag")), (304, Some("\"x\"")), "{reply:?}");
    assert_eq!(upstream.last().all("if-none-match"), Vec::<&str>::new());
    let reply = connection.get("/a").unwrap();
    assert_eq!((reply.status, reply.text(), is_hit(&reply)), (200, "body".to_owned(), true));
}

#[test]
fn variants_are_told_apart_by_the_fields_that_vary_names() {
    let upstream =
        origin(&[("/a", "200 OK\nCache-Control: max-age=60\nVary: Accept-Language, X-Kind\n\n{n}")]);
    let server = front(&upstream, "true");
    let in_language = |language: &str| ask(&server, "GET", "/a", &[("Accept-Language", language)]).text();
    assert_eq!(
        (in_language("de"), in_language("fr"), in_language("de"), in_language("fr")),
        ("1".into(), "2".into(), "1".into(), "2".into())
    );
    let kind = ask(&server, "GET", "/a", &[("Accept-Language", "de"), ("X-Kind", "b")]);
    assert!(status_of(&kind).starts_with("fwd=vary-miss"), "{kind:?}");
    assert_eq!((kind.text(), get(&server, "/a").text()), ("3".into(), "4".into()));
}

#[test]
fn what_of_a_request_tells_responses_apart_is_said() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(
        &upstream,
        r#"(key: (query: (ignore: ["utm_*", "fbclid"]), headers: ["X-Kind"], cookies: ["theme"]))"#,
    );
    assert_eq!(get(&server, "/a?b=1&a=2").text(), "1");
    for path in
        ["/a?a=2&b=1", "/a?utm_source=x&b=1&a=2", "/a?b=1&fbclid=y&a=2&utm_campaign=z", "/%61?b=1&a=2"]
    {
        assert_eq!(get(&server, path).text(), "1", "{path}");
    }
    let other = ask(&server, "GET", "/a?b=1&a=2", &[("X-Kind", "other")]);
    assert_eq!(other.text(), "2");
    let cookie = |value: &str| ask(&server, "GET", "/a?b=1&a=2", &[("Cookie", value)]).text();
    assert_eq!(
        (cookie("session=5"), cookie("a=b; theme=dark"), cookie("theme=dark; x=y")),
        ("1".into(), "3".into(), "3".into())
    );
    assert_eq!((get(&server, "/a").text(), get(&server, "/a?c").text()), ("4".into(), "5".into()));
}

#[test]
fn statuses_have_times_of_their_own() {
    let upstream = origin(&[("/gone", "404 Not Found\n\nno {n}"), ("/a", "200 OK\n\n{n}")]);
    let server = front(&upstream, r#"(statuses: {404: "1m"})"#);
    assert_eq!((get(&server, "/gone").text(), get(&server, "/gone").text()), ("no 1".into(), "no 1".into()));
    assert_eq!(get(&server, "/gone").status, 404);
    assert_eq!((get(&server, "/a").text(), get(&server, "/a").text()), ("1".into(), "2".into()));
}

#[test]
fn only_if_cached_asks_nobody() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(&upstream, "true");
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(ask(&server, "GET", "/a", &only).status, 504);
    assert_eq!(asked(&upstream, "/a"), 0);
    get(&server, "/a");
    assert_eq!(ask(&server, "GET", "/a", &only).text(), "1");
}

#[test]
fn directives_of_requests_count_where_that_is_said() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let no_cache = [("Cache-Control", "no-cache")];
    let server = front(&upstream, "true");
    assert_eq!(
        (get(&server, "/a").text(), ask(&server, "GET", "/a", &no_cache).text()),
        ("1".into(), "1".into())
    );
    let server = front(&upstream, "(client_directives: Honour)");
    assert_eq!((get(&server, "/a").text(), get(&server, "/a").text()), ("2".into(), "2".into()));
    assert_eq!(ask(&server, "GET", "/a", &no_cache).text(), "3");
    assert_eq!(get(&server, "/a").text(), "3");
    assert_eq!(ask(&server, "GET", "/a", &[("Pragma", "no-cache")]).text(), "4");
}

#[test]
fn x_accel_expires_goes_before_what_browsers_are_told() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=0\nX-Accel-Expires: 60\n\n{n}")]);
    let server = front(&upstream, "true");
    let replies = [get(&server, "/a"), get(&server, "/a")];
    assert_eq!(replies.each_ref().map(|reply| reply.text()), ["1", "1"]);
    for reply in replies {
        assert_eq!((reply.field("x-accel-expires"), reply.field("cache-control")), (None, Some("max-age=0")));
    }
}

#[test]
fn what_is_said_of_the_cache_stands_in_the_access_log() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(&upstream, "true");
    get(&server, "/a");
    get(&server, "/a");
    ask(&server, "POST", "/a", &[]);
    let path = server.directory().path().join("access.log");
    let lines = wait_until(SOON, "three lines", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() == 3 { Ok(lines) } else { Err(text) }
    });
    let mut words: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["cache"].to_string())
        .collect();
    words.sort();
    assert_eq!(words, ["\"BYPASS\"", "\"HIT\"", "\"MISS\""], "{lines:?}");
}

#[test]
fn what_is_kept_has_the_date_at_which_it_was_made() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let upstream = origin(&[(
        "/a",
        "200 OK\nCache-Control: max-age=2147483648\nDate: Sun, 06 Nov 1994 08:49:37 GMT\n\n{n}",
    )]);
    let server = front(&upstream, "true");
    get(&server, "/a");
    for fields in [&[][..], &[("Range", "bytes=0-0")], &[("If-None-Match", "*")]] {
        let reply = ask(&server, "GET", "/a", fields);
        assert!(is_hit(&reply), "{reply:?}");
        assert_eq!(reply.field("date"), Some(DATE), "{fields:?}");
    }
}
