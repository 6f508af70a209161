//! Cases that are no question of one response and one request: what must go, names, and what is said.

use super::*;
use crate::cache::invalidate::{invalidates, others};
use crate::cache::key;
use crate::cache::settings::{Keyed, Query};
use crate::cache::{fetch, tags, vary};
use crate::http::Method;

#[test]
fn rfc_9111_4_4_what_changes_something_invalidates() {
    for (method, status, wanted) in [
        ("POST", 200, true),
        ("POST", 201, true),
        ("POST", 303, true),
        ("PUT", 204, true),
        ("DELETE", 204, true),
        ("PATCH", 200, true),
        ("MKCOL", 201, true),
        ("FOO", 200, true),
        ("post", 200, true),
        ("POST", 400, false),
        ("POST", 500, false),
        ("POST", 101, false),
        ("DELETE", 404, false),
        ("GET", 200, false),
        ("HEAD", 200, false),
        ("OPTIONS", 200, false),
        ("TRACE", 200, false),
        ("PROPFIND", 207, false),
        ("QUERY", 200, false),
    ] {
        assert_eq!(invalidates(&request_of(method), status), wanted, "{method} {status}");
    }
}

#[test]
fn rfc_9111_4_4_other_resources_go_if_they_are_of_the_same_origin() {
    for (location, wanted) in [
        ("/b", Some("/b")),
        ("/b?x=1#top", Some("/b?x=1")),
        ("b", Some("/dir/b")),
        ("../b", Some("/b")),
        ("./b/../c/.", Some("/dir/c/")),
        ("../../../b", Some("/b")),
        ("?page=2", Some("/dir/a?page=2")),
        ("https://shop.example/b", Some("/b")),
        ("HTTPS://Shop.Example/b", Some("/b")),
        ("https://shop.example", Some("/")),
        ("https://shop.example?x", Some("/?x")),
        ("//shop.example/b", Some("/b")),
        ("http://shop.example/b", None),
        ("https://shop.example:8443/b", None),
        ("https://shop.example.evil/b", None),
        ("https://evil/b", None),
        ("//evil/b", None),
        ("https:/b", None),
        ("ftp://shop.example/b", None),
        ("mailto:a@b", None),
    ] {
        for name in ["Location", "Content-Location"] {
            let head = ResponseHead::new(201).with(name, location);
            let wanted: Vec<Vec<u8>> = wanted.iter().map(|wanted| wanted.as_bytes().to_vec()).collect();
            assert_eq!(others(&head, b"https://shop.example", b"/dir/a"), wanted, "{location}");
        }
    }
    let both = ResponseHead::new(201).with("Location", "/b").with("Content-Location", "/c");
    assert_eq!(others(&both, b"https://shop.example", b"/a"), [b"/b", b"/c"]);
}

#[test]
fn rfc_9111_2_two_requests_have_one_key_only_if_one_response_is_for_both() {
    let parts = Parts {
        site: "shop",
        when: "",
        unless: "",
        scheme: Scheme::Https,
        host: b"shop.example",
        port: None,
        path: b"/a",
        query: b"x=1&y=2",
        rewritten: None,
        trusted: false,
    };
    let keyed = Keyed {
        headers: vec!["X-Tier".to_owned()],
        cookies: vec!["lang".to_owned()],
        query: Query::Ignore(vec!["utm_*".to_owned()]),
        ..Keyed::default()
    };
    let key = |parts: &Parts<'_>, request: &str| {
        Key::primary(parts, &request_of(request), &keyed, SECRET).expect("a key")
    };
    let same = key(&parts, "");
    for (parts, request) in [
        (parts, "HEAD"),
        (parts, "GET | Cookie: other=1 | Accept: x"),
        (Parts { port: Some(443), ..parts }, ""),
        (Parts { query: b"y=2&utm_source=b&x=1", ..parts }, ""),
        (Parts { path: b"/%61", ..parts }, ""),
    ] {
        assert_eq!(key(&parts, request), same, "{parts:?} {request}");
    }
    let others = [
        key(&Parts { site: "other", ..parts }, ""),
        key(&Parts { when: "bots", ..parts }, ""),
        key(&Parts { unless: "bots", ..parts }, ""),
        key(&Parts { when: "bots", unless: "bots", ..parts }, ""),
        key(&Parts { rewritten: Some((b"/a", b"x=1&y=2")), ..parts }, ""),
        key(&Parts { rewritten: Some((b"/a", b"")), ..parts }, ""),
        key(&Parts { scheme: Scheme::Http, ..parts }, ""),
        key(&Parts { host: b"www.shop.example", ..parts }, ""),
        key(&Parts { port: Some(8443), ..parts }, ""),
        key(&Parts { path: b"/A", ..parts }, ""),
        key(&Parts { path: b"/a/", ..parts }, ""),
        key(&Parts { path: b"//a", ..parts }, ""),
        key(&Parts { path: b"/b/../a", ..parts }, ""),
        key(&Parts { query: b"", ..parts }, ""),
        key(&Parts { query: b"x=1&y=3", ..parts }, ""),
        key(&parts, "GET | X-Tier: gold"),
        key(&parts, "GET | X-Tier: "),
        key(&parts, "GET | Cookie: lang=de"),
        key(&parts, "GET | Cookie: lang=de; lang=en"),
        key(&parts, "GET | Cookie: a=1; lang="),
    ];
    for (at, one) in others.iter().enumerate() {
        assert!(*one != same, "{at}");
        for other in others.iter().skip(at + 1) {
            assert!(one.text() != other.text() && one.hash() != other.hash(), "{at}");
        }
    }
    assert_eq!(Key::url(same.text()), Some((&b"shop"[..], &b"https://shop.example/a?x=1&y=2"[..])));
    assert_eq!(key::url(&parts, &keyed), b"https://shop.example/a?x=1&y=2");
    let long = vec![b'a'; 20_000];
    assert_eq!(Key::primary(&Parts { path: &long, ..parts }, &request_of(""), &keyed, SECRET), None);
    assert!(Key::primary(&parts, &request_of(""), &keyed, Secret([1, 3])).unwrap().hash() != same.hash());
}

#[test]
fn what_trusted_proxies_say_of_the_url_is_in_the_key() {
    let key = |request: &str, trusted| {
        let parts = Parts {
            site: "shop",
            when: "",
            unless: "",
            scheme: Scheme::Https,
            host: b"shop.example",
            port: None,
            path: b"/a",
            query: b"",
            rewritten: None,
            trusted,
        };
        Key::primary(&parts, &request_of(request), &Keyed::default(), SECRET).expect("a key")
    };
    let plain = key("", false);
    for (request, trusted) in [
        ("GET | X-Forwarded-Host: a | Forwarded: host=a", false),
        ("", true),
        ("GET | X-Forwarded-For: a | Forwarded: for=a;by=b", true),
        ("GET | X-Forwarded-Host: Shop.example | X-Forwarded-Port: 443 | X-Forwarded-Proto: https", true),
    ] {
        assert_eq!(key(request, trusted), plain, "{request}");
    }
    let others = [
        "X-Forwarded-Host: a",
        "X-Forwarded-Host: b",
        "Forwarded: host=a",
        "Forwarded: for=x; Host=b, for=y",
        "x-forwarded-prefix: a",
        "X-Forwarded-Port: 8443",
    ];
    let keys: Vec<Key> = others.iter().map(|said| key(&format!("GET | {said}"), true)).collect();
    for (place, key) in keys.iter().enumerate() {
        assert!(*key != plain && keys.iter().filter(|other| *other == key).count() == 1, "{}", others[place]);
    }
}

#[test]
fn rfc_9111_4_1_a_marker_grows_and_its_variants_are_found_by_it_alone() {
    let names = |value: &str| vary::Names::of(&response_of(&format!("200 | Vary: {value}")).fields).unwrap();
    let marker = Marker::new(names("Accept, X-A"), 1);
    for fewer in ["", "Accept", "x-a, ACCEPT"] {
        assert_eq!(marker.with(&names(fewer), 2), None, "{fewer}");
    }
    let grown = marker.with(&names("Cookie"), 2).expect("one more");
    assert_eq!(grown, Marker::new(names("Cookie, Accept, X-A"), 2));
    let request = request_of("GET | X-A: 1");
    let (key, old) = (key_of(&request), Marker::new(names("X-A"), 1));
    let renewed = Marker::new(names("X-A"), 2);
    assert!(key.variant(&old, &request, SECRET) != key.variant(&renewed, &request, SECRET));
    // As many as there may be, and one more.
    let list = |count: usize| (0..count).map(|number| format!("f{number}")).collect::<Vec<_>>().join(",");
    assert!(vary::Names::of(&ResponseHead::new(200).with("Vary", list(16)).fields).is_ok());
    assert!(vary::Names::of(&ResponseHead::new(200).with("Vary", list(17)).fields).is_err());
    assert!(vary::Names::of(&ResponseHead::new(200).with("Vary", "a".repeat(129)).fields).is_err());
    let many = Marker::new(names(&list(16)), 1).with(&names("other"), 2).expect("the other");
    assert_eq!(many, Marker::new(names("other"), 2), "more than fit: the newest counts");
}

#[test]
fn what_is_asked_for_all_is_the_whole_response() {
    let asked = request_of(
        "HEAD | Host: a | Range: bytes=0-1 | If-Range: \"x\" | If-None-Match: \"x\" | If-Modified-Since: @0 | If-Match: \"y\" | \
         If-Unmodified-Since: @0 | Cookie: a=1 | Accept-Encoding: deflate, gzip;q=0.5, br | X-HTTP-Method-Override: POST | X-Original-URL: /admin",
    );
    let kept = stored("200 | Cache-Control: max-age=60 | ETag: W/\"a\" | Last-Modified: @-100", "");
    let shown = |head: &RequestHead| {
        let fields = head.fields().map(|(name, value)| {
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        });
        fields.collect::<Vec<_>>()
    };
    let plain = fetch::request(&asked, None);
    assert_eq!((plain.method(), plain.target()), (Method::Get, asked.target()));
    assert_eq!(shown(&plain), ["Host: a", "Cookie: a=1", "Accept-Encoding: br, gzip"]);
    let validating = fetch::request(&asked, Some(&kept));
    let modified = format!("If-Modified-Since: {}", dated("@-100"));
    assert_eq!(shown(&validating)[2..], ["Accept-Encoding: br, gzip", "If-None-Match: W/\"a\"", &modified]);
    assert_eq!(shown(&fetch::request(&request_of("GET | Accept-Encoding: deflate"), None)), [""; 0]);
}

#[test]
fn rfc_9211_what_was_done_is_said_behind_what_others_say() {
    let said = |note: Note| {
        let mut fields = Fields::new();
        note.add(&mut fields);
        values(&fields, "cache-status").join(", ")
    };
    let forward = |forward| Note { forward: Some(forward), ..Note::default() };
    for (note, wanted) in [
        (Note::default(), "hatchery; hit"),
        (Note { ttl: Some(30), ..Note::default() }, "hatchery; hit; ttl=30"),
        (Note { ttl: Some(-412), ..Note::default() }, "hatchery; hit; ttl=-412"),
        (
            Note { ttl: Some(0), detail: Some("error"), ..Note::default() },
            "hatchery; hit; ttl=0; detail=error",
        ),
        (Note { stored: true, ..forward(Forward::UriMiss) }, "hatchery; fwd=uri-miss; stored"),
        (Note { collapsed: true, ..forward(Forward::UriMiss) }, "hatchery; fwd=uri-miss; collapsed"),
        (
            Note { forward_status: Some(304), ttl: Some(60), ..forward(Forward::Stale) },
            "hatchery; fwd=stale; fwd-status=304; ttl=60",
        ),
        (forward(Forward::VaryMiss), "hatchery; fwd=vary-miss"),
        (forward(Forward::Request), "hatchery; fwd=request"),
        (forward(Forward::Bypass), "hatchery; fwd=bypass"),
        (
            Note { detail: Some("set-cookie"), ..forward(Forward::Method) },
            "hatchery; fwd=method; detail=set-cookie",
        ),
    ] {
        assert_eq!(said(note), wanted);
    }
    let mut fields = Fields::new();
    fields.add("Cache-Status", "Origin; hit");
    Note::default().add(&mut fields);
    assert_eq!(values(&fields, "cache-status"), ["Origin; hit", "hatchery; hit"]);
}

#[test]
fn tags_are_those_of_both_fields_and_never_too_many() {
    let hashes = |names: &[&str]| {
        let mut hashes: Vec<_> = names.iter().map(|name| tags::hash(name.as_bytes(), SECRET)).collect();
        hashes.sort_unstable();
        hashes
    };
    for (said, wanted) in [
        ("200", &[][..]),
        ("200 | Cache-Tag: a, b c,,a", &["a", "b c"]),
        ("200 | Surrogate-Key: a  b,c", &["a", "b,c"]),
        ("200 | Cache-Tag: a | cache-tag: B | Surrogate-Key: c", &["a", "B", "c"]),
    ] {
        let head = stored(&said.replacen("200", "200 | Cache-Control: max-age=60", 1), "");
        assert_eq!(head.tags, hashes(wanted), "{said}");
        assert!(wanted.iter().all(|tag| head.is_tagged(tags::hash(tag.as_bytes(), SECRET))), "{said}");
        assert!(!head.is_tagged(tags::hash(b"z", SECRET)), "{said}");
    }
    let many = |count: usize| {
        let list: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        admitted("", &format!("200 | Cache-Control: max-age=60 | Surrogate-Key: {}", list.join(" ")), "")
    };
    assert_eq!(many(256).unwrap().head.tags.len(), 256);
    assert_eq!(many(257).unwrap_err().word(), "tags");
}

#[test]
fn what_was_for_us_goes_no_further_and_what_is_not_heard_does() {
    let said = "200 | X-Accel-Expires: 5 | Cache-Tag: a | Surrogate-Key: b | X-A: 1";
    let left = |settings: &Settings| {
        let mut head = response_of(said);
        crate::cache::admit::strip(&mut head.fields, settings);
        head.fields.iter().count()
    };
    assert_eq!(left(&Settings::default()), 1);
    assert_eq!(left(&Settings { tags: false, ..Settings::default() }), 3);
    assert_eq!(left(&Settings { accel: false, ..Settings::default() }), 2);
}

/// One client must not be able to switch the cache off for others.
#[test]
fn what_a_request_is_refused_for_says_nothing_of_others() {
    for (by, said, wanted) in [
        ("GET | Authorization: x", "200 | Cache-Control: max-age=60", true),
        ("GET | Cache-Control: no-store", "200 | Cache-Control: max-age=60", true),
        ("POST", "200 | Cache-Control: max-age=60", true),
        ("GET | Authorization: x", "200 | Cache-Control: private", false),
        ("", "200", false),
        ("", "200 | Cache-Control: max-age=60 | Set-Cookie: a=1", false),
    ] {
        let refused = admitted(by, said, "client=honour").unwrap_err();
        assert_eq!(refused.is_of_request(), wanted, "{by} {said}");
    }
}

#[test]
fn a_request_with_a_body_is_not_answered_by_what_answers_one_without() {
    let judged = |body| asked(&request_of(""), body, &Settings::default()).err();
    assert_eq!(judged(BodyLength::None), None);
    assert_eq!(judged(BodyLength::Known(0)), None);
    assert_eq!(judged(BodyLength::Known(1)), Some(Forward::Bypass));
    assert_eq!(judged(BodyLength::Unknown), Some(Forward::Bypass));
}
