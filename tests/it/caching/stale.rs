//! What is kept and has had its time: asked about, given meanwhile, or given because there is nothing better.

use super::{ask, asked, front, get, is_hit, origin, status_of};
use crate::harness::{SOON, holds, wait_until};

/// Its time is over as soon as it is kept.
const OLD: &str = "200 OK\nCache-Control: max-age=60\nAge: 60\nETag: \"x\"\nX-Kind: old\n\nbody";

#[test]
fn a_304_makes_it_fresh_again_and_brings_new_fields() {
    let upstream = origin(&[
        ("/a", OLD),
        (
            "/a",
            "304 Not Modified\nCache-Control: max-age=60\nETag: \"x\"\nX-Kind: new\nContent-Length: 99\n\n",
        ),
        ("/a", "200 OK\n\nasked once more"),
    ]);
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").text(), "body");
    // A condition of the client is its own business.
    let reply = ask(&server, "GET", "/a", &[("If-None-Match", "\"other\"")]);
    assert_eq!((reply.status, reply.text().as_str()), (200, "body"), "{reply:?}");
    assert_eq!((reply.field("x-kind"), reply.field("content-length")), (Some("new"), Some("4")));
    assert_eq!(upstream.last().all("if-none-match"), ["\"x\""]);
    assert!(status_of(&reply).starts_with("fwd=stale; fwd-status=304"), "{reply:?}");
    let reply = get(&server, "/a");
    assert!(is_hit(&reply) && reply.field("x-kind") == Some("new"), "{reply:?}");
    assert_eq!(ask(&server, "GET", "/a", &[("If-None-Match", "\"x\"")]).status, 304);
    assert_eq!(asked(&upstream, "/a"), 2);
}

#[test]
fn another_response_takes_its_place() {
    let upstream = origin(&[("/a", OLD), ("/a", "200 OK\nCache-Control: max-age=60\nETag: \"y\"\n\nnew")]);
    let server = front(&upstream, "true");
    assert_eq!((get(&server, "/a").text(), get(&server, "/a").text()), ("body".into(), "new".into()));
    assert!(is_hit(&get(&server, "/a")));
    assert_eq!(asked(&upstream, "/a"), 2);
}

#[test]
fn it_is_given_while_it_is_fetched_anew() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60, stale-while-revalidate=600\nAge: 60\n\n{n}"),
        ("/a", "200 OK\nCache-Control: max-age=60, stale-while-revalidate=600\n\n{n}"),
    ]);
    let server = front(&upstream, "true");
    assert_eq!(get(&server, "/a").text(), "1");
    let reply = get(&server, "/a");
    assert_eq!(reply.text(), "1", "{reply:?}");
    wait_until(SOON, "the new one", || {
        let reply = get(&server, "/a");
        holds(reply.text() == "2" && is_hit(&reply), reply)
    });
    assert_eq!(asked(&upstream, "/a"), 2);
}

#[test]
fn the_configuration_says_for_how_long_where_a_response_does_not() {
    let upstream = origin(&[("/a", OLD), ("/a", "200 OK\nCache-Control: max-age=60\n\nnew")]);
    let server = front(&upstream, r#"(stale_while_revalidate: "1h")"#);
    assert_eq!((get(&server, "/a").text(), get(&server, "/a").text()), ("body".into(), "body".into()));
    wait_until(SOON, "the new one", || {
        let reply = get(&server, "/a");
        holds(reply.text() == "new", reply)
    });
}

#[test]
fn it_is_given_where_the_upstream_fails() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60, stale-if-error=600\nAge: 60\n\nold"),
        ("/a", "503 Service Unavailable\n\nno"),
        ("/b", "200 OK\nCache-Control: max-age=60\nAge: 60\n\nold"),
        ("/b", "503 Service Unavailable\n\nno"),
        ("/c", "200 OK\nCache-Control: max-age=60, stale-if-error=600, must-revalidate\nAge: 60\n\nold"),
        ("/c", "503 Service Unavailable\n\nno"),
    ]);
    let server = front(&upstream, "true");
    for path in ["/a", "/b", "/c"] {
        assert_eq!(get(&server, path).text(), "old");
    }
    let reply = get(&server, "/a");
    assert_eq!((reply.status, reply.text()), (200, "old".to_owned()), "{reply:?}");
    assert_eq!((get(&server, "/b").status, get(&server, "/c").status), (503, 503));
    // Also where nobody answers at all.
    drop(upstream);
    let server = server.tolerant(&["refused", "behind"]);
    assert_eq!(get(&server, "/a").text(), "old");
    assert!(get(&server, "/b").status >= 500);
}

#[test]
fn it_is_given_where_the_upstream_breaks_off() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60\nAge: 60\n\nold"),
        ("/a", "200 OK\nTransfer-Encoding: nonsense\n\n"),
    ]);
    let server = front(&upstream, r#"(stale_if_error: "1h")"#).tolerant(&["behind"]);
    assert_eq!(get(&server, "/a").text(), "old");
    assert_eq!(get(&server, "/a").text(), "old");
}
