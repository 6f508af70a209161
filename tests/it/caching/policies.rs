//! The cache together with what else a place says: passwords, fields, compression, conditions and limits.

use super::{ask, asked, is_hit, origin, status_of};
use crate::harness::{Reply, Server, Setup, Upstream};
use flate2::read::GzDecoder;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

const ALICE: (&str, &str) = ("Authorization", "Basic YWxpY2U6c2VjcmV0");
const BOB: (&str, &str) = ("Authorization", "Basic Ym9iOmJ1aWxkZXI=");
const WRONG: (&str, &str) = ("Authorization", "Basic YWxpY2U6d3Jvbmc=");
/// As `htpasswd` makes it: alice:secret, bob:builder.
const USERS: &str = "\
alice:$argon2id$v=19$m=512,t=2,p=1$YWJjZGVmZ2hzYWx0c2FsdA$QP82SEAjyJzDgoqnUQmj/5Bf8PWaCTb8ZJzEn2qH+6c
bob:$2y$05$wyVMbQ93Buhn/yuyewGm1elG0sr7tYDxg6liYdIgY/FZY1lMkhwHa
";

/// One place in front of it, which is kept and says this, too.
fn serve(upstream: &Upstream, place: &str, top: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 2), {top}
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"), {place})])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ));
    let users = setup.directory.write("htpasswd", USERS);
    std::fs::set_permissions(users, std::fs::Permissions::from_mode(0o600)).unwrap();
    setup.start()
}

fn get(server: &Server, path: &str, fields: &[(&str, &str)]) -> Reply {
    ask(server, "GET", path, fields)
}

#[test]
fn only_who_has_the_password_gets_what_is_kept() {
    let upstream = origin(&[
        ("/all", "200 OK\nCache-Control: public, max-age=60\n\n{n}"),
        ("/own", "200 OK\nCache-Control: max-age=60\n\n{n}"),
    ]);
    let server = serve(&upstream, r#"cache_responses: true, auth: (basic: (users: "htpasswd"))"#, "");
    assert_eq!(get(&server, "/all", &[ALICE]).text(), "1");
    let reply = get(&server, "/all", &[BOB]);
    assert!(is_hit(&reply) && reply.text() == "1", "{reply:?}");
    for fields in [&[][..], &[WRONG]] {
        let refused = get(&server, "/all", fields);
        assert_eq!((refused.status, refused.field("cache-status")), (401, None), "{refused:?}");
        assert_ne!(refused.text(), "1");
    }
    // What does not say that it is for all is for the one who has asked.
    assert_eq!(
        (get(&server, "/own", &[ALICE]).text(), get(&server, "/own", &[BOB]).text()),
        ("1".into(), "2".into())
    );
    // Nor does a purge tell anybody anything.
    assert_eq!(ask(&server, "PURGE", "/all", &[]).status, 401);
}

#[test]
fn fields_of_the_place_are_there_once_on_hits_too() {
    let upstream = origin(&[(
        "/a",
        "200 OK\nCache-Control: max-age=60\nETag: \"x\"\nX-Powered-By: a\nX-Site: theirs\n\n{n}",
    )]);
    let headers = r#"headers: (set: {"X-Site": "ours"}, add: {"Vary": "Accept"}, remove: ["X-Powered-By"])"#;
    let server = serve(&upstream, &format!("cache_responses: true, {headers}"), "");
    for number in 0..3 {
        let reply = get(&server, "/a", &[]);
        assert_eq!(is_hit(&reply), number > 0);
        let seen =
            ["x-site", "vary", "x-powered-by", "date", "x-request-id"].map(|name| reply.all(name).len());
        assert_eq!((seen, reply.field("x-site")), ([1, 1, 0, 1, 1], Some("ours")), "{reply:?}");
    }
    let unmodified = get(&server, "/a", &[("If-None-Match", "\"x\"")]);
    assert_eq!((unmodified.status, unmodified.all("x-site")), (304, vec!["ours"]));
}

#[test]
fn what_is_kept_as_it_is_leaves_in_the_coding_that_each_client_can_read() {
    let text: &'static str = Box::leak("a word and another one, ".repeat(400).into_boxed_str());
    let answer =
        format!("200 OK\nCache-Control: max-age=60\nContent-Type: text/plain\nETag: \"x\"\n\n{text}");
    let answers: &'static [_] = Box::leak(Box::new([("/a", &*Box::leak(answer.into_boxed_str()))]));
    let upstream = origin(answers);
    let server = serve(&upstream, "cache_responses: true, compress: (encodings: [Gzip])", "");
    let gzip = ("Accept-Encoding", "gzip");
    for _ in 0..2 {
        let reply = get(&server, "/a", &[gzip]);
        let mut plain = String::new();
        GzDecoder::new(reply.body.as_slice()).read_to_string(&mut plain).unwrap();
        assert_eq!((reply.field("content-encoding"), plain.as_str()), (Some("gzip"), text));
        assert!(reply.body.len() < text.len() / 4);
        assert_eq!((reply.field("vary"), reply.field("etag")), (Some("Accept-Encoding"), Some("\"x-gzip\"")));
        let head = ask(&server, "HEAD", "/a", &[gzip]);
        assert_eq!((head.field("content-encoding"), head.field("content-length")), (Some("gzip"), None));
        let reply = get(&server, "/a", &[]);
        assert_eq!((reply.field("content-encoding"), reply.text().as_str()), (None, text));
        assert_eq!((reply.field("vary"), reply.field("etag")), (Some("Accept-Encoding"), Some("\"x\"")));
        // Each of the tags that a client may have is known again.
        for (fields, tag) in [
            (&[gzip, ("If-None-Match", "\"x-gzip\"")][..], "\"x-gzip\""),
            (&[("If-None-Match", "\"x\"")], "\"x\""),
        ] {
            let unmodified = get(&server, "/a", fields);
            assert_eq!((unmodified.status, unmodified.field("etag")), (304, Some(tag)), "{unmodified:?}");
            assert_eq!(unmodified.field("vary"), Some("Accept-Encoding"));
        }
        let part = get(&server, "/a", &[gzip, ("Range", "bytes=2-5")]);
        assert_eq!((part.status, part.text().as_str(), part.field("content-encoding")), (206, "word", None));
    }
    assert_eq!(asked(&upstream, "/a"), 1);
}

#[test]
fn requests_of_a_condition_pass_by() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = serve(
        &upstream,
        r#"cache_responses: (bypass: "logged_in")"#,
        r#"conditions: {"logged_in": (cookie: "session")},"#,
    );
    let session = [("Cookie", "session=1")];
    // Neither kept nor looked for.
    assert_eq!(get(&server, "/a", &session).text(), "1");
    assert_eq!((get(&server, "/a", &[]).text(), get(&server, "/a", &[]).text()), ("2".into(), "2".into()));
    let reply = get(&server, "/a", &session);
    assert_eq!(
        (reply.text().as_str(), status_of(&reply).starts_with("fwd=bypass")),
        ("3", true),
        "{reply:?}"
    );
    assert_eq!(get(&server, "/a", &[("Cookie", "other=1")]).text(), "2");
}

#[test]
fn a_hit_counts_as_a_request() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = serve(&upstream, r#"cache_responses: true, limit: (rate: "5/h")"#, "");
    let replies: Vec<_> = (0..6).map(|_| get(&server, "/a", &[])).collect();
    assert!(replies[1..5].iter().all(is_hit), "{replies:?}");
    assert_eq!((replies[4].text().as_str(), replies[5].status), ("1", 429));
    assert_eq!(asked(&upstream, "/a"), 1);
}
