//! What is taken out of the cache: by commands, by requests, and by requests that change something.

use super::{ask, asked, front, get, is_hit, origin};
use crate::harness::{SOON, Server, Setup, holds, wait_until};

fn purge(server: &Server, arguments: &[&str]) -> String {
    let arguments: Vec<&str> = std::iter::once("purge").chain(arguments.iter().copied()).collect();
    let done = server.command(&arguments);
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

#[test]
fn commands_purge_a_url_what_begins_with_it_a_tag_a_site_or_everything() {
    let upstream = origin(&[
        ("/a/1", "200 OK\nCache-Control: max-age=60\nCache-Tag: red, blue\n\n{n}"),
        ("/a/2", "200 OK\nCache-Control: max-age=60\nSurrogate-Key: green blue\n\n{n}"),
        ("/b", "200 OK\nCache-Control: max-age=60\nVary: X-Kind\n\n{n}"),
    ]);
    let server = front(&upstream, "true");
    // As the tests ask: `Host: localhost`.
    let base = "http://localhost";
    let texts = || ["/a/1", "/a/2", "/b"].map(|path| get(&server, path).text());
    assert_eq!((texts(), texts()), (["1", "1", "1"].map(String::from), ["1", "1", "1"].map(String::from)));
    assert_eq!(
        (get(&server, "/a/1").field("cache-tag"), get(&server, "/a/2").field("surrogate-key")),
        (None, None)
    );
    purge(&server, &[&format!("{base}/a/1")]);
    assert_eq!(texts(), ["2", "1", "1"]);
    purge(&server, &["--tag", "green"]);
    assert_eq!(texts(), ["2", "2", "1"]);
    purge(&server, &["--tag", "blue"]);
    assert_eq!(texts(), ["3", "3", "1"]);
    purge(&server, &["--prefix", &format!("{base}/a/")]);
    assert_eq!(texts(), ["4", "4", "1"]);
    purge(&server, &[&format!("{base}/b")]);
    assert_eq!(texts(), ["4", "4", "2"]);
    purge(&server, &["--all"]);
    assert_eq!(texts(), ["5", "5", "3"]);
    for bad in [&[][..], &["not-a-site"], &["--prefix"], &["--all", "--tag", "x"]] {
        let arguments: Vec<&str> = std::iter::once("purge").chain(bad.iter().copied()).collect();
        assert_ne!(server.command(&arguments).code, Some(0), "{bad:?}");
    }
}

#[test]
fn purge_by_request_is_for_those_who_may() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let server = front(&upstream, r#"(purge: (allow: ["127.0.0.0/8"]))"#);
    assert_eq!((get(&server, "/a").text(), get(&server, "/a").text()), ("1".into(), "1".into()));
    assert_eq!(ask(&server, "PURGE", "/a", &[]).status, 200);
    assert_eq!(get(&server, "/a").text(), "2");
    assert!(is_hit(&get(&server, "/a")));
    // Nobody else, and nobody where it is not said.
    for how in [r#"(purge: (allow: ["192.0.2.0/24"]))"#, "true"] {
        let server = front(&upstream, how);
        let before = get(&server, "/a").text();
        let refused = ask(&server, "PURGE", "/a", &[]).status;
        assert!(refused == 403 || refused == 405, "{how}: {refused}");
        assert_eq!(get(&server, "/a").text(), before, "{how}");
    }
}

#[test]
fn a_request_that_changes_something_takes_out_what_it_changes() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=60\nLocation: /b\nContent-Location: /c\n\n{n}"),
        ("/b", "200 OK\nCache-Control: max-age=60\n\n{n}"),
        ("/c", "200 OK\nCache-Control: max-age=60\n\n{n}"),
        ("/d", "200 OK\nCache-Control: max-age=60\n\n{n}"),
        ("/d", "400 Bad Request\n\n{n}"),
        ("/d", "200 OK\nCache-Control: max-age=60\n\n{n}"),
    ]);
    let server = front(&upstream, "true");
    let texts = || ["/a", "/b", "/c", "/d"].map(|path| get(&server, path).text());
    assert_eq!((texts(), texts()), (["1"; 4].map(String::from), ["1"; 4].map(String::from)));
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(ask(&server, method, "/a", &[]).status, 200, "{method}");
    }
    assert_eq!(texts(), ["5", "2", "2", "1"]);
    // What went wrong has changed nothing.
    assert_eq!(ask(&server, "POST", "/d", &[]).status, 400);
    assert_eq!((get(&server, "/d").text(), asked(&upstream, "/d")), ("1".into(), 2));
}

/// Sends a PURGE that is not for one URL, over a worker of several; the master takes out what it says.
fn purge_more(server: &Server, path: &str, fields: &[(&str, &str)]) {
    let reply = ask(server, "PURGE", path, fields);
    assert_eq!(reply.status, 202, "{path} {fields:?}: {}", reply.text());
}

#[test]
fn purge_by_request_takes_out_what_is_tagged_or_begins_alike_over_all_workers() {
    let upstream = origin(&[
        ("/a/1", "200 OK\nCache-Control: max-age=60\nCache-Tag: red, blue\n\n{n}"),
        ("/a/2", "200 OK\nCache-Control: max-age=60\nSurrogate-Key: green blue\nVary: X-Kind\n\n{n}"),
        ("/b", "200 OK\nCache-Control: max-age=60\n\n{n}"),
    ]);
    let server = front(&upstream, r#"(purge: (allow: ["127.0.0.0/8"]))"#);
    let all = || ["/a/1", "/a/2", "/b"].map(|path| get(&server, path).text());
    // Whichever worker answers.
    let become_and_stay = |wanted: [&str; 3]| {
        wait_until(SOON, "what was purged is fetched anew", || holds(all() == wanted, all()));
        (0..8).for_each(|_| assert_eq!(all(), wanted));
    };
    become_and_stay(["1", "1", "1"]);
    purge_more(&server, "/", &[("Surrogate-Key", "none red")]);
    become_and_stay(["2", "1", "1"]);
    purge_more(&server, "/b", &[("Cache-Tag", "blue"), ("Surrogate-Key", "other")]);
    become_and_stay(["3", "2", "1"]);
    purge_more(&server, "/%61/*", &[]);
    become_and_stay(["4", "3", "1"]);
    purge_more(&server, "/*", &[]);
    become_and_stay(["5", "4", "2"]);
}

#[test]
fn a_purge_by_request_reaches_its_site_and_host_only() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\nCache-Tag: red\n\n{n}")]);
    let site = |names: &str| {
        format!(
            r#"(names: [{names}], listen: ["{{address}}"], cache_responses: (purge: (allow: ["127.0.0.1"])),
                locations: [(path: "/", to: Proxy("behind"))]),"#
        )
    };
    let server = Setup::new(&format!(
        r#"workers: (processes: 2), sites: [{}{}], upstreams: {{"behind": (servers: ["{}"])}},"#,
        site(r#""a.example", "www.a.example""#),
        site(r#""b.example""#),
        upstream.address
    ))
    .start();
    let text = |host: &str| ask(&server, "GET", "/a", &[("Host", host)]).text();
    let all = || ["a.example", "www.a.example", "b.example"].map(text);
    let until = |wanted: &str| {
        wait_until(SOON, "it is fetched anew", || holds(text("a.example") == wanted, wanted));
    };
    assert_eq!((all(), all()), (["1", "2", "3"].map(String::from), ["1", "2", "3"].map(String::from)));
    purge_more(&server, "/*", &[("Host", "a.example")]);
    until("4");
    assert_eq!(all(), ["4", "2", "3"]);
    purge_more(&server, "/", &[("Host", "www.a.example"), ("Cache-Tag", "red")]);
    until("5");
    assert_eq!(all(), ["5", "6", "3"]);
}

#[test]
fn a_purge_by_request_that_does_not_say_what_is_told_so() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\nCache-Tag: red\n\n{n}")]);
    let server = front(&upstream, r#"(purge: (allow: ["127.0.0.0/8"]))"#);
    assert_eq!(get(&server, "/a").text(), "1");
    let many = (0..33).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let long = format!("/{}*", "a".repeat(500));
    for (path, field, wanted) in [
        ("/", ("xkey", "red"), "`Cache-Tag`"),
        ("/", ("X-Purge", "prefix"), "`*` at its end"),
        ("/a", ("Cache-Tag", ""), "no tag"),
        ("/a", ("Surrogate-Key", " "), "no tag"),
        ("/a", ("Cache-Tag", " , ,"), "no tag"),
        ("/*", ("Cache-Tag", "red"), "send one PURGE for each"),
        ("/*?a=1", ("X-A", "1"), "leave out the query"),
        ("/a", ("Cache-Tag", &many), "more than 32 tags"),
        (&long, ("X-A", "1"), "too long"),
    ] {
        let reply = ask(&server, "PURGE", path, &[field]);
        assert_eq!(
            (reply.status, reply.text().contains(wanted)),
            (400, true),
            "{path} {field:?}: {}",
            reply.text()
        );
    }
    assert!(is_hit(&get(&server, "/a")));
    // Where nothing is tagged, and where nobody may.
    for (how, status) in [(r#"(purge: (allow: ["127.0.0.0/8"]), tags: false)"#, 400), ("true", 403)] {
        let server = front(&upstream, how);
        let before = get(&server, "/a").text();
        assert_eq!(ask(&server, "PURGE", "/", &[("Cache-Tag", "red")]).status, status, "{how}");
        if status == 403 {
            assert_eq!(ask(&server, "PURGE", "/*", &[]).status, status, "{how}");
        }
        assert_eq!(get(&server, "/a").text(), before, "{how}");
    }
}

#[test]
fn a_site_is_purged_by_its_name_and_no_other_one() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
    let site = |name: &str| {
        format!(
            r#"(names: ["{name}"], listen: ["{{address}}"], cache_responses: true, locations: [(path: "/", to: Proxy("behind"))]),"#
        )
    };
    let server = Setup::new(&format!(
        r#"workers: (processes: 2), sites: [{}{}], upstreams: {{"behind": (servers: ["{}"])}},"#,
        site("a.example"),
        site("b.example"),
        upstream.address
    ))
    .start();
    let text = |host: &str| ask(&server, "GET", "/a", &[("Host", host)]).text();
    assert_eq!(
        (text("a.example"), text("b.example"), text("a.example")),
        ("1".into(), "2".into(), "1".into())
    );
    purge(&server, &["a.example"]);
    assert_eq!((text("b.example"), text("a.example")), ("2".into(), "3".into()));
}
