//! Clients and servers that mean the cache ill, or that are only odd.

use super::{ask, asked, configuration, front, front_with, get, is_hit, origin, response, status_of};
use crate::harness::{Connection, SOON, Setup, Upstream, holds, wait_until};
use std::io::Write as _;

/// Answers with all that it was told, and may be kept.
fn mirror() -> Upstream {
    Upstream::start(|request, stream| {
        let fields: String =
            request.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let body = format!("{}\n{fields}", request.line);
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).is_ok()
    })
}

#[test]
fn what_the_key_does_not_tell_of_does_not_poison_what_is_kept() {
    let upstream = mirror();
    let server = front(&upstream, "true");
    for (number, (name, value)) in [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "evil"),
        ("X-Forwarded-Server", "evil.example"),
        ("Forwarded", "host=evil.example;proto=evil"),
        ("X-Host", "evil.example"),
        ("X-Original-Host", "evil.example"),
        ("X-Original-URL", "/evil"),
        ("X-Rewrite-URL", "/evil"),
        ("X-HTTP-Method-Override", "EVIL"),
        ("X-HTTP-Method", "EVIL"),
        ("X-Method-Override", "EVIL"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/{number}");
        let poisoned = ask(&server, "GET", &path, &[(name, value)]);
        assert_eq!(poisoned.status, 200, "{name}");
        let reply = get(&server, &path);
        assert!(!reply.text().to_lowercase().contains("evil"), "{name}: {}", reply.text());
    }
}

#[test]
fn targets_that_apps_tell_apart_are_told_apart_and_others_are_not() {
    let upstream = mirror();
    let server = front(&upstream, "true");
    let line = |target: &str, host: &str| {
        let reply = ask(&server, "GET", target, &[("Host", host)]);
        reply.text().lines().next().unwrap_or_default().to_owned()
    };
    let all = [
        "/a/b",
        "/a%2Fb",
        "/a%2fb?",
        "/a/b?x=1&y=2",
        "/a/b?x=1%26y=2",
        "/a/b;p=1",
        "/a/b/",
        "/A/b",
        "/a/b?x=",
        "/a/b?x",
    ];
    let mut seen: Vec<String> = all.iter().map(|target| line(target, "localhost")).collect();
    let again: Vec<String> = all.iter().map(|target| line(target, "localhost")).collect();
    assert_eq!(seen, again);
    seen.sort();
    seen.dedup();
    assert!(seen.len() >= all.len() - 1, "{seen:?}");
    let before = upstream.received().len();
    for (target, host) in [
        ("/a/b?y=2&x=1", "localhost"),
        ("/a/b", "LOCALHOST"),
        ("http://localhost/a/b", "localhost"),
        ("http://localhost/a/b", "evil.example"),
        ("/a/b", "localhost:80"),
    ] {
        let reply = ask(&server, "GET", target, &[("Host", host)]);
        assert!(reply.status == 400 || is_hit(&reply), "{target} {host}: {reply:?}");
    }
    assert_eq!(upstream.received().len(), before);
    // Another host is another site, as far as the app is concerned.
    assert!(!is_hit(&ask(&server, "GET", "/a/b", &[("Host", "evil.example")])));
    assert!(!is_hit(&ask(&server, "GET", "/a/b", &[("Host", "localhost:81")])));
}

#[test]
fn who_asks_for_the_head_or_a_part_first_has_all_of_it_be_kept() {
    let upstream = origin(&[
        ("/head", "200 OK\nCache-Control: max-age=60\nETag: \"x\"\n\n0123456789"),
        ("/part", "200 OK\nCache-Control: max-age=60\nETag: \"x\"\n\n0123456789"),
    ]);
    let server = front(&upstream, "true");
    let head = ask(&server, "HEAD", "/head", &[]);
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("10"), 0));
    let part = ask(&server, "GET", "/part", &[("Range", "bytes=3-4")]);
    assert_eq!(
        (part.status, part.text().as_str(), part.field("content-range")),
        (206, "34", Some("bytes 3-4/10"))
    );
    assert!(
        upstream
            .received()
            .iter()
            .all(|request| request.all("range").is_empty() && request.line.starts_with("GET "))
    );
    for path in ["/head", "/part"] {
        let reply = get(&server, path);
        assert!(is_hit(&reply) && reply.status == 200 && reply.text() == "0123456789", "{reply:?}");
    }
}

#[test]
fn a_request_with_a_body_is_not_answered_from_it_nor_kept() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(&upstream, "true");
    let with_body = || Connection::open(server.address).unwrap().request("GET", "/a", &[], b"body").unwrap();
    assert_eq!(with_body().text(), "1");
    assert_eq!(
        (get(&server, "/a").text(), with_body().text(), get(&server, "/a").text()),
        ("2".into(), "3".into(), "2".into())
    );
}

#[test]
fn thousands_of_variants_of_one_url_cost_the_others_nothing() {
    let upstream = origin(&[
        ("/many", "200 OK\nCache-Control: max-age=60\nVary: X-Kind\n\n{n}"),
        ("/other", "200 OK\nCache-Control: max-age=60\n\n{n}"),
    ]);
    let server = front_with(&upstream, "true", "cache: (memory: \"1MiB\"),");
    assert_eq!(get(&server, "/other").text(), "1");
    let long = "x".repeat(700);
    let mut client = Connection::open(server.address).unwrap();
    for number in 0..3000 {
        if number % 500 == 0 {
            client = Connection::open(server.address).unwrap();
        }
        let kind = format!("{number}{long}");
        let reply = client.request("GET", "/many", &[("X-Kind", &kind)], b"").unwrap();
        assert_eq!(reply.status, 200);
        if number % 100 == 0 {
            // What is asked for stays.
            let reply = client.get("/other").unwrap();
            assert!(is_hit(&reply) && reply.text() == "1", "{number}: {reply:?}");
        }
    }
    let kept = server.status().cache.unwrap();
    assert!(kept.objects > 10 && kept.objects * 700 <= kept.memory, "{kept:?}");
}

#[test]
fn a_vary_that_is_long_or_odd_is_kept_right_or_not_at_all() {
    let names: String = (0..300).map(|number| format!("X-Name-{number}, ")).collect();
    let long = format!("200 OK\nCache-Control: max-age=60\nVary: {names}X-Kind\n\n{{n}}");
    let answers: &'static [(&str, &str)] = Box::leak(Box::new([
        ("/long", &*Box::leak(long.into_boxed_str())),
        ("/odd", "200 OK\nCache-Control: max-age=60\nVary: , X-Kind ,, \"a b\"\n\n{n}"),
        ("/twice", "200 OK\nCache-Control: max-age=60\nVary: X-A\nVary: X-Kind\n\n{n}"),
        ("/star", "200 OK\nCache-Control: max-age=60\nVary: X-A, *\n\n{n}"),
    ]));
    let upstream = origin(answers);
    let server = front(&upstream, "true");
    for path in ["/long", "/odd", "/twice", "/star"] {
        let one = ask(&server, "GET", path, &[("X-Kind", "1")]).text();
        let two = ask(&server, "GET", path, &[("X-Kind", "2")]).text();
        assert_ne!(one, two, "{path}");
        let reply = ask(&server, "GET", path, &[("X-Kind", "1")]);
        assert!(!is_hit(&reply) || reply.text() == one, "{path}: {reply:?}");
    }
    assert_eq!(asked(&upstream, "/star"), 3);
}

#[test]
fn hints_and_trailers_are_for_who_fetches_and_a_tunnel_is_for_nobody_else() {
    let upstream = Upstream::start(|request, stream| {
        if request.line.contains("/tunnel") {
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            return false;
        }
        stream
            .write_all(
                b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\
                  Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n",
            )
            .is_ok()
    });
    let server = front(&upstream, "true");
    let first = get(&server, "/a");
    assert_eq!((first.interim.as_slice(), first.text().as_str()), (&[103][..], "body"));
    let hit = get(&server, "/a");
    assert!(is_hit(&hit) && hit.interim.is_empty(), "{hit:?}");
    assert_eq!(
        (hit.text().as_str(), hit.field("content-length"), hit.field("x-sum")),
        ("body", Some("4"), None)
    );
    for _ in 0..2 {
        let mut socket = Connection::open(server.address).unwrap();
        socket
            .send("GET /tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
            .unwrap();
        assert_eq!(socket.reply_head().unwrap().status, 101);
    }
}

#[test]
fn copies_that_are_not_whole_count_as_what_waits_and_the_response_goes_on() {
    let large: &'static str = Box::leak(
        format!("200 OK\nCache-Control: max-age=60\n\n{}", "0123456789".repeat(80_000)).into_boxed_str(),
    );
    let upstream = Upstream::start(move |_, stream| stream.write_all(&response(large, 1)).is_ok());
    let top = "cache: (memory: \"256MiB\", max_object: \"1MiB\"),";
    let text = configuration(upstream.address, "true", top);
    let text = text.replace("(processes: 2)", "(processes: 2, buffers: \"64KiB\")");
    let server = Setup::new(&text).start();
    for _ in 0..3 {
        assert_eq!(get(&server, "/a").body.len(), 800_000);
    }
    wait_until(SOON, "it still serves", || {
        let reply = get(&server, "/a");
        holds(reply.body.len() == 800_000, status_of(&reply))
    });
}
