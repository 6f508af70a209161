//! What comes to one client, or of one answer, and is not to change what others are given.

use super::{ask, asked, front, get, is_hit, origin, status_of};
use crate::harness::{Setup, Upstream};
use std::io::Write as _;

#[test]
fn one_who_is_refused_leaves_what_is_kept_for_others() {
    let upstream = Upstream::start(|request, stream| {
        let answer = match request.all("authorization").first() {
            Some(_) => "401 Unauthorized\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n",
            None => "200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nall",
        };
        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).is_ok()
    });
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").text(), "all");
    for _ in 0..4 {
        assert_eq!(ask(&server, "GET", "/a", &[("Authorization", "Basic YTpi")]).status, 401);
        let reply = get(&server, "/a");
        assert!(is_hit(&reply) && reply.text() == "all", "{reply:?}");
    }
    assert_eq!(asked(&upstream, "/a"), 5);
}

#[test]
fn the_cookie_of_a_sticky_upstream_is_for_one_client() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"), cache_responses: true)])],
    upstreams: {{"behind": (servers: ["{}"], sticky: (cookie: "way", secret: "0123456789abcdef"))}},"#,
        upstream.address
    ));
    let server = setup.start();
    let first = get(&server, "/a");
    assert!(first.field("set-cookie").is_some_and(|cookie| cookie.starts_with("way=")), "{first:?}");
    for _ in 0..4 {
        let reply = get(&server, "/a");
        assert!(is_hit(&reply) && reply.field("set-cookie").is_none(), "{reply:?}");
    }
}

#[test]
fn a_304_may_say_less_of_a_tag_than_the_response_did() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60\nAge: 60\nETag: W/\"x\"\n\nbody"),
        ("/a", "304 Not Modified\nCache-Control: max-age=60\nETag: \"x\"\n\n"),
    ]);
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").text(), "body");
    let reply = get(&server, "/a");
    assert_eq!((reply.status, reply.text().as_str()), (200, "body"), "{reply:?}");
    assert!(status_of(&reply).starts_with("fwd=stale; fwd-status=304"), "{reply:?}");
    assert!(is_hit(&get(&server, "/a")));
}

#[test]
fn a_304_about_an_older_one_has_all_of_it_asked_for() {
    let upstream = origin(&[
        (
            "/a",
            "200 OK\nCache-Control: max-age=60\nAge: 60\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\n\nold",
        ),
        ("/a", "304 Not Modified\nLast-Modified: Sun, 06 Nov 1994 08:49:30 GMT\n\n"),
        ("/a", "200 OK\nCache-Control: max-age=60\n\nnew"),
    ]);
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").text(), "old");
    let reply = get(&server, "/a");
    assert_eq!((reply.status, reply.text().as_str()), (200, "new"), "{reply:?}");
    assert!(upstream.last().all("if-modified-since").is_empty());
    assert!(is_hit(&get(&server, "/a")));
}

#[test]
fn a_304_that_depends_on_more_is_kept_for_one_no_longer() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60\nAge: 60\nETag: \"x\"\n\nbody"),
        ("/a", "304 Not Modified\nCache-Control: max-age=60\nETag: \"x\"\nVary: Cookie\n\n"),
        ("/a", "200 OK\nCache-Control: max-age=60\nVary: Cookie\n\n{n}"),
    ]);
    let server = front(&upstream, "true");
    let with = |cookie| ask(&server, "GET", "/a", &[("Cookie", cookie)]).text();
    assert_eq!((with("a=1"), with("a=1")), ("body".into(), "body".into()));
    assert_eq!((with("a=2"), with("a=2")), ("3".into(), "3".into()));
}
