//! Cases that are no question of one response and one request: errors, validation, what must go, names, and what is said.

use super::*;
use crate::cache::invalidate::{invalidates, others};
use crate::cache::key;
use crate::cache::reuse::on_error;
use crate::cache::settings::{Keyed, Query};
use crate::cache::update::{self, Said, freshened, merged, selected};
use crate::cache::{fetch, tags, vary};
use crate::http::{Fields, Method};

fn stored(said: &str, settings: &str) -> Head {
    admitted("", said, settings).expect("it is kept").head
}

fn at(after: u64) -> Millis {
    (RECEIVED as u64 + after) * SECOND
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    let same = fields.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()));
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// RFC 5861 §4: settings, the response, the request, seconds, what the origin says (0: nothing), whether what is kept is sent.
const ERRORS: &[(&str, &str, &str, u64, u16, bool)] = &[
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 500, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 502, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 503, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 504, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 0, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 659, 500, true),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 660, 500, false),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 501, false),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 404, false),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 429, false),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=600", "", 70, 200, false),
    ("", "200 | Cache-Control: max-age=60, stale-if-error=x", "", 70, 500, false),
    ("", "200 | Cache-Control: max-age=60", "", 70, 500, false),
    ("", "200 | Cache-Control: max-age=60, stale-while-revalidate=600", "", 70, 500, true),
    ("", "200 | Cache-Control: s-maxage=60, stale-if-error=600", "", 70, 500, true),
    ("", "200 | Cache-Control: max-age=60, must-revalidate, stale-if-error=600", "", 70, 500, false),
    ("", "200 | Cache-Control: max-age=60, proxy-revalidate, stale-if-error=600", "", 70, 500, false),
    ("", "200 | Cache-Control: no-cache, stale-if-error=600 | ETag: \"a\"", "", 1, 500, false),
    ("stale_if_error=600", "200 | Cache-Control: max-age=60", "", 70, 500, true),
    ("stale_if_error=600", "200 | Cache-Control: max-age=60", "", 660, 500, false),
    ("stale_if_error=600", "200 | Cache-Control: max-age=60, must-revalidate", "", 70, 500, false),
    ("stale_if_error=600", "200 | Cache-Control: s-maxage=60", "", 70, 500, false),
    ("stale_if_error=600", "200 | Cache-Control: max-age=60, stale-if-error=5", "", 70, 500, false),
    ("stale_if_error=600", "200 | Cache-Control: max-age=60", "GET | Authorization: x", 70, 500, false),
    (
        "stale_if_error=600",
        "200 | Cache-Control: max-age=60, public",
        "GET | Authorization: x",
        70,
        500,
        true,
    ),
    (
        "client=honour",
        "200 | Cache-Control: max-age=60",
        "GET | Cache-Control: stale-if-error=600",
        70,
        500,
        true,
    ),
    (
        "client=honour",
        "200 | Cache-Control: max-age=60",
        "GET | Cache-Control: stale-if-error=5",
        70,
        500,
        false,
    ),
    (
        "client=honour",
        "200 | Cache-Control: s-maxage=60",
        "GET | Cache-Control: stale-if-error=600",
        70,
        500,
        false,
    ),
    (
        "client=honour stale_if_error=600",
        "200 | Cache-Control: max-age=60",
        "GET | Cache-Control: no-cache",
        70,
        500,
        false,
    ),
    ("", "200 | Cache-Control: max-age=60", "GET | Cache-Control: stale-if-error=600", 70, 500, false),
    ("client=honour", "200 | Cache-Control: max-age=60", "GET | Cache-Control: max-age=5", 10, 500, true),
];

#[test]
fn rfc_5861_4_what_is_kept_answers_in_the_place_of_an_error() {
    for row in ERRORS {
        let (settings, said, by, after, status, wanted) = *row;
        let head = stored(said, settings);
        let asked = asked(&request_of(by), BodyLength::None, &settings_of(settings).0).unwrap();
        let status = Some(status).filter(|status| *status > 0);
        assert_eq!(on_error(&asked, &head.life, status, at(after)), wanted, "{row:?}");
    }
}

/// RFC 9111 §3.2 and §4.3.4: what is kept, what the 304 says ten minutes later, what is then kept, or why it is not.
const UPDATES: &[(&str, &str, &str)] = &[
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\"",
        "304 | ETag: \"a\"",
        "+Cache-Control: max-age=60 +ETag: \"a\"",
    ),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\"",
        "304 | Cache-Control: max-age=90",
        "+Cache-Control: max-age=90 fresh=90",
    ),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1 | X-A: 2", "304 | X-A: 3", "+X-A: 3 once=X-A"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1", "304 | X-B: 2", "+X-A: 1 +X-B: 2"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1", "304 | X-A: 2 | X-A: 3", "+X-A: 2 +X-A: 3"),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Type: text/css",
        "304 | Content-Type: text/html",
        "+Content-Type: text/css",
    ),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Encoding: gzip",
        "304 | Content-Encoding: br",
        "+Content-Encoding: gzip",
    ),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Content-Length: 0", "-Content-Length"),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Location: /a",
        "304 | Content-Location: /b",
        "+Content-Location: /b",
    ),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Language: de",
        "304 | Content-Language: en",
        "+Content-Language: en",
    ),
    (
        "200 | Cache-Control: max-age=60 | ETag: \"a\"",
        "304 | Connection: X-Mine | X-Mine: 1",
        "-X-Mine -Connection",
    ),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Age: 20", "fresh=40 -Age"),
    ("200 | Date: @0 | Expires: @60 | ETag: \"a\"", "304 | Date: @600 | Expires: @690", "fresh=90"),
    ("200 | Date: @0 | Expires: @60 | ETag: \"a\"", "304 | Date: @600", "fresh=0"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Cache-Control: no-store", "no-store"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Cache-Control: private", "private"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Set-Cookie: a=1", "set-cookie"),
    ("200 | Cache-Control: max-age=60 | ETag: \"a\"", "304 | Vary: *", "vary"),
    ("200 | Cache-Control: no-cache | ETag: \"a\"", "304 | Cache-Control: max-age=60", "fresh=60"),
    ("404 | Cache-Control: max-age=60 | ETag: \"a\"", "304", "fresh=60"),
];

#[test]
fn rfc_9111_3_2_a_304_updates_what_is_kept() {
    for row in UPDATES {
        let (said, not_modified, wanted) = *row;
        let old = stored(said, "");
        let received = at(600);
        let (request, response) = (request_of(""), response_of(not_modified));
        let times = Times { requested: received, received };
        let exchange = Exchange { request: &request, response: &response, times };
        let admitted = match freshened(&old, &exchange, &Settings::default(), SECRET) {
            Ok(admitted) => admitted,
            Err(refused) => {
                assert_eq!(refused.word(), wanted, "{row:?}");
                continue;
            }
        };
        let Head { status, fields, life, .. } = admitted.head;
        assert_eq!(status, old.status, "{row:?}");
        let left = life.lifetime.saturating_sub(life.age) / SECOND;
        let came = Came {
            word: String::new(),
            head: Some(ResponseHead { status, reason: None, fields }),
            ttl: Some(left as i64),
        };
        let wanted = wanted.replace("fresh=", "ttl=");
        assert_eq!(complaint(&came, &wanted), None, "{row:?}");
        assert_eq!(life.received, received, "{row:?}");
    }
}

#[test]
fn rfc_9111_3_2_tags_stay_unless_a_304_names_others() {
    let old = stored("200 | Cache-Control: max-age=60 | ETag: \"a\" | Cache-Tag: x", "");
    let times = Times { requested: at(1), received: at(1) };
    for (said, tag) in [("304", b"x"), ("304 | Cache-Tag: y", b"y")] {
        let (request, response) = (request_of(""), response_of(said));
        let exchange = Exchange { request: &request, response: &response, times };
        let head = freshened(&old, &exchange, &Settings::default(), SECRET).unwrap().head;
        assert_eq!(head.tags, [tags::hash(tag, SECRET)], "{said}");
    }
}

#[test]
fn rfc_9111_4_3_4_a_304_is_about_the_responses_that_it_names() {
    let kept = [
        "200 | Date: @-30 | Cache-Control: max-age=600 | ETag: \"a\" | Last-Modified: @-100",
        "200 | Date: @-20 | Cache-Control: max-age=600 | ETag: \"a\" | Last-Modified: @-100",
        "200 | Date: @-10 | Cache-Control: max-age=600 | ETag: W/\"b\" | Last-Modified: @-90",
        "200 | Date: @-40 | Cache-Control: max-age=600 | ETag: W/\"b\" | Last-Modified: @-90",
        "200 | Date: @0 | Cache-Control: max-age=600",
    ]
    .map(|said| stored(said, ""));
    let all: Vec<&Head> = kept.iter().collect();
    for (said, wanted) in [
        ("304 | ETag: \"a\"", &[0, 1][..]),
        ("304 | ETag: W/\"b\"", &[2]),
        ("304 | ETag: W/\"a\"", &[1]),
        ("304 | ETag: \"b\"", &[]),
        ("304 | ETag: \"c\"", &[]),
        ("304 | Last-Modified: @-100", &[1]),
        ("304 | Last-Modified: @-101", &[]),
        ("304", &[]),
    ] {
        assert_eq!(selected(&all, &response_of(said)), wanted, "{said}");
    }
    // One alone needs no name, but not the wrong one.
    assert_eq!(selected(&all[..1], &response_of("304")), [0]);
    assert_eq!(selected(&all[4..], &response_of("304")), [0]);
    assert!(selected(&all[..1], &response_of("304 | ETag: \"z\"")).is_empty());
    assert!(selected(&all[4..], &response_of("304 | ETag: \"z\"")).is_empty());
}

#[test]
fn rfc_9111_4_3_5_the_answer_to_a_head_freshens_or_ends_what_is_kept() {
    let kept = stored("200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1", "");
    let request = request_of("HEAD");
    let times = Times { requested: at(50), received: at(50) };
    let said = |said: &str, length| {
        let response = response_of(said);
        let exchange = Exchange { request: &request, response: &response, times };
        update::on_head((&kept, LENGTH), length, &exchange, &Settings::default(), SECRET)
    };
    let Said::Right(admitted) = said("200 | ETag: \"a\" | X-A: 2", Some(LENGTH)) else { panic!("not right") };
    assert_eq!(
        (values(&admitted.head.fields, "x-a"), admitted.head.life.received),
        (vec!["2".into()], at(50))
    );
    assert!(matches!(said("200 | ETag: \"a\"", None), Said::Right(_)));
    assert_eq!(said("200 | ETag: \"a\"", Some(LENGTH + 1)), Said::Changed);
    assert_eq!(said("200 | ETag: \"b\"", Some(LENGTH)), Said::Changed);
    assert_eq!(said("200 | Last-Modified: @0", Some(LENGTH)), Said::Changed);
    assert_eq!(said("301", None), Said::Changed);
    assert_eq!(said("500", None), Said::Nothing);
    assert_eq!(said("404", None), Said::Nothing);
}

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
        scheme: Scheme::Https,
        host: b"shop.example",
        port: None,
        path: b"/a",
        query: b"x=1&y=2",
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
         If-Unmodified-Since: @0 | Cookie: a=1 | Accept-Encoding: deflate, gzip;q=0.5, br",
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

#[test]
fn a_request_with_a_body_is_not_answered_by_what_answers_one_without() {
    let judged = |body| asked(&request_of(""), body, &Settings::default()).err();
    assert_eq!(judged(BodyLength::None), None);
    assert_eq!(judged(BodyLength::Known(0)), None);
    assert_eq!(judged(BodyLength::Known(1)), Some(Forward::Bypass));
    assert_eq!(judged(BodyLength::Unknown), Some(Forward::Bypass));
}

#[test]
fn who_validated_is_answered_also_by_what_may_not_be_kept() {
    let old = stored("200 | Cache-Control: max-age=60 | ETag: \"a\" | X-A: 1", "");
    let head = merged(&old, &response_of("304 | Cache-Control: private | Set-Cookie: a=1 | Content-Type: x"));
    assert_eq!(head.status.0, 200);
    assert_eq!(values(&head.fields, "cache-control"), ["private"]);
    assert_eq!(values(&head.fields, "set-cookie"), ["a=1"]);
    assert!(values(&head.fields, "content-type").is_empty());
    assert_eq!(values(&head.fields, "x-a"), ["1"]);
}
