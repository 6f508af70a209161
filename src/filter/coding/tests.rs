use super::*;
use crate::http::Status;
use crate::http::conditional::tests::head as request;
use crate::policy::compress::Levels;

/// A request for a place where all is compressed as by default; and what it asks for.
fn asked(method: &str, fields: &[(&str, &str)]) -> (Asked, Option<RequestHead>) {
    let head = request(method, fields);
    let mut asked = Asked::of(&Rc::new(Compress::default()), &head);
    let translated = asked.translate(&head);
    (asked, translated)
}

fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    fields.iter().fold(ResponseHead::new(status), |head, (name, value)| head.with(name, value))
}

/// The fields of a response that leaves.
fn lines(head: &ResponseHead) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    head.fields
        .iter()
        .map(|(name, value)| format!("{}: {}", text(name).to_lowercase(), text(value)))
        .collect()
}

const TEXT: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");
const LONG: BodyLength = BodyLength::Known(5000);

#[test]
fn a_response_is_compressed_where_that_is_right_and_worth_it() {
    use BodyLength::{Known, None, Unknown};
    let gzip = Coded::By(Encoding::Gzip, Levels::ON_THE_FLY.gzip);
    // What is said of the response; whether it is compressed, and whether it says that it could be.
    for (status, fields, body, coded, varies) in [
        (200, &[TEXT][..], LONG, gzip, true),
        (200, &[TEXT], Unknown, gzip, true),
        (404, &[TEXT], LONG, gzip, true),
        (500, &[TEXT], LONG, gzip, true),
        (200, &[TEXT], Known(1024), gzip, true),
        (200, &[TEXT], Known(1023), Coded::Plain, false),
        (200, &[TEXT], Known(0), Coded::Plain, false),
        (200, &[TEXT], None, Coded::Plain, false),
        (204, &[TEXT], None, Coded::Plain, false),
        (204, &[TEXT], Unknown, Coded::Plain, false),
        (200, &[], LONG, Coded::Plain, false),
        (200, &[("Content-Type", "image/png")], LONG, Coded::Plain, false),
        (200, &[("Content-Type", "application/zip")], LONG, Coded::Plain, false),
        (200, &[("Content-Type", "image/svg+xml")], LONG, gzip, true),
        (200, &[("Content-Type", "application/wasm")], LONG, gzip, true),
        (200, &[("Content-Type", "application/problem+json")], LONG, gzip, true),
        (200, &[("Content-Type", "font/woff2")], LONG, Coded::Plain, false),
        (200, &[("Content-Type", "text/event-stream")], Unknown, Coded::Plain, false),
        (200, &[("Content-Type", "Text/Event-Stream; charset=utf-8")], Unknown, Coded::Plain, false),
        (200, &[TEXT, ("Content-Encoding", "gzip")], LONG, Coded::Plain, false),
        (200, &[TEXT, ("Content-Encoding", "aes128gcm")], LONG, Coded::Plain, false),
        (206, &[TEXT, ("Content-Range", "bytes 0-4999/9999")], LONG, Coded::Plain, false),
        (206, &[TEXT], LONG, Coded::Plain, false),
        (200, &[TEXT, ("Content-Range", "bytes 0-4999/9999")], LONG, Coded::Plain, false),
        (200, &[TEXT, ("Cache-Control", "max-age=1, No-Transform")], LONG, Coded::Plain, false),
        (
            200,
            &[TEXT, ("Cache-Control", "private"), ("Cache-Control", "no-transform")],
            LONG,
            Coded::Plain,
            false,
        ),
        (200, &[TEXT, ("Cache-Control", "no-transformation")], LONG, gzip, true),
    ] {
        let mut head = response(status, fields);
        let (asked, _) = asked("GET", &[("Accept-Encoding", "gzip")]);
        let label = format!("{status} {fields:?} {body:?}");
        assert_eq!(asked.decide(&mut head, body), coded, "{label}");
        assert_eq!(head.fields.get("vary").is_some(), varies, "{label}");
        let is_coded = matches!(coded, Coded::By(..));
        let says = fields.iter().any(|(name, _)| *name == "Content-Encoding");
        assert_eq!(head.fields.get("content-encoding").is_some(), is_coded || says, "{label}");
        assert_eq!(head.status, Status(status));
    }
}

#[test]
fn the_request_decides_into_what() {
    for (fields, expected) in [
        (&[("Accept-Encoding", "gzip, deflate, br, zstd")][..], Some(Encoding::Zstd)),
        (&[("Accept-Encoding", "gzip, deflate, br")], Some(Encoding::Brotli)),
        (&[("Accept-Encoding", "gzip, deflate")], Some(Encoding::Gzip)),
        (&[("Accept-Encoding", "br;q=0.5, gzip;q=0.6")], Some(Encoding::Gzip)),
        (&[("Accept-Encoding", "zstd;q=0, *;q=0.1")], Some(Encoding::Brotli)),
        (&[("Accept-Encoding", "identity")], None),
        (&[("Accept-Encoding", "deflate")], None),
        (&[("Accept-Encoding", "identity;q=0")], None),
        (&[("Accept-Encoding", "identity;q=0, gzip;q=0.001")], Some(Encoding::Gzip)),
        (&[("Accept-Encoding", "gzip"), ("Accept-Encoding", "br")], Some(Encoding::Brotli)),
        (&[("Accept-Encoding", "")], None),
        (&[], None),
        // Parts are of what is not compressed; and a proxy or the client may forbid it.
        (&[("Accept-Encoding", "gzip"), ("Range", "bytes=0-")], None),
        (&[("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")], None),
        (&[("Accept-Encoding", "gzip"), ("Cache-Control", "no-cache")], Some(Encoding::Gzip)),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let (asked, _) = asked(method, fields);
            let mut head = response(200, &[TEXT]);
            let coded = asked.decide(&mut head, LONG);
            let encoding = match coded {
                Coded::By(encoding, _) => Some(encoding),
                Coded::Plain => None,
            };
            assert_eq!(encoding, expected, "{method} {fields:?}");
            // Whatever it was, another client would have had another.
            assert_eq!(head.fields.get("vary"), Some(&b"Accept-Encoding"[..]), "{method} {fields:?}");
            assert_eq!(asked.head_only, method == "HEAD");
        }
    }
    // HTTP/1.0 has no chunks, so that the end of a body that was cut off would look like its end.
    let raw = b"GET/accept-encodinggzip".to_vec();
    let span = |start, end| crate::http::Span { start, end };
    let old =
        RequestHead::new(raw, span(0, 3), span(3, 4), Version::Http10, vec![(span(4, 19), span(19, 23))]);
    let mut head = response(200, &[TEXT]);
    assert_eq!(Asked::of(&Rc::new(Compress::default()), &old).decide(&mut head, LONG), Coded::Plain);
    assert_eq!(head.fields.get("vary"), Some(&b"Accept-Encoding"[..]));
}

#[test]
fn events_are_compressed_where_that_is_said() {
    let compress = Rc::new(Compress { streams: true, ..Compress::default() });
    let asked = Asked::of(&compress, &request("GET", &[("Accept-Encoding", "gzip")]));
    let mut head = response(200, &[("Content-Type", "text/event-stream")]);
    assert!(matches!(asked.decide(&mut head, BodyLength::Unknown), Coded::By(Encoding::Gzip, _)));
}

#[test]
fn the_head_tells_of_what_leaves() {
    let (asked, _) = asked("GET", &[("Accept-Encoding", "br")]);
    let mut head = response(
        200,
        &[
            TEXT,
            ("ETag", "\"abc\""),
            ("Accept-Ranges", "bytes"),
            ("Content-MD5", "x"),
            ("Digest", "x"),
            ("Content-Digest", "x"),
            ("Repr-Digest", "x"),
            ("Content-Encoding", "Identity"),
            ("Vary", "Cookie"),
            ("X-Own", "1"),
        ],
    );
    asked.decide(&mut head, LONG);
    let mut lines = lines(&head);
    lines.sort();
    assert_eq!(
        lines,
        [
            "content-encoding: br",
            "content-type: text/html; charset=utf-8",
            "etag: \"abc-br\"",
            "vary: Cookie, Accept-Encoding",
            "x-own: 1"
        ]
    );
}

#[test]
fn vary_is_said_once() {
    for (given, expected) in [
        (&[][..], &["Accept-Encoding"][..]),
        (&["Cookie"], &["Cookie, Accept-Encoding"]),
        (&["Cookie", "Accept-Language"], &["Cookie, Accept-Language, Accept-Encoding"]),
        (&["accept-encoding"], &["accept-encoding"]),
        (&["Cookie, Accept-Encoding"], &["Cookie, Accept-Encoding"]),
        (&["Cookie", "accept-encoding , Origin"], &["Cookie", "accept-encoding , Origin"]),
        (&["*"], &["*"]),
        (&["Accept-Encoding-Not"], &["Accept-Encoding-Not, Accept-Encoding"]),
    ] {
        let mut fields = Fields::new();
        given.iter().for_each(|value| fields.add("vary", value));
        vary(&mut fields);
        vary(&mut fields);
        let have: Vec<_> = all(&fields, "vary").map(|value| std::str::from_utf8(value).unwrap()).collect();
        assert_eq!(have, expected, "{given:?}");
    }
}

#[test]
fn only_a_strong_tag_is_of_a_coding() {
    for (tag, expected) in [
        ("\"abc\"", Some("\"abc-gzip\"")),
        ("\"\"", Some("\"-gzip\"")),
        ("\"a,b\"", Some("\"a,b-gzip\"")),
        ("W/\"abc\"", None),
        ("abc", None),
        ("\"abc\" x", None),
        ("\"abc", None),
        ("", None),
    ] {
        let coded = coded_tag(tag.as_bytes(), Encoding::Gzip).map(|tag| String::from_utf8(tag).unwrap());
        assert_eq!(coded.as_deref(), expected, "{tag}");
    }
}

/// What whoever answers sees of a precondition.
#[test]
fn a_tag_of_ours_is_asked_for_as_who_answers_knows_it() {
    for (name, value, expected) in [
        ("If-None-Match", "\"abc-gzip\"", Some("\"abc-gzip\", \"abc\"")),
        ("If-None-Match", "\"x\", \"abc-gzip\"", Some("\"x\", \"abc-gzip\", \"abc\"")),
        ("If-None-Match", "\"abc-gzip\", \"abc\"", None),
        // What the client has in another coding than it takes now is not what it would get.
        ("If-None-Match", "\"abc-br\"", None),
        ("If-None-Match", "W/\"abc-gzip\"", None),
        ("If-None-Match", "\"abc\"", None),
        ("If-None-Match", "\"gzip\"", None),
        ("If-None-Match", "*", None),
        ("If-None-Match", "abc-gzip", None),
        // It is the same thing that is to be changed.
        ("If-Match", "\"abc-gzip\"", Some("\"abc-gzip\", \"abc\"")),
        ("If-Match", "\"abc-br\"", Some("\"abc-br\", \"abc\"")),
        ("If-Match", "\"abc-br\", \"abc-gzip\"", Some("\"abc-br\", \"abc-gzip\", \"abc\"")),
        // Bytes that were compressed are not continued by others.
        ("If-Range", "\"abc-gzip\"", None),
    ] {
        let (_, translated) = asked("GET", &[("Accept-Encoding", "gzip"), (name, value), ("Host", "a")]);
        let seen = translated.as_ref().map(|head| head.get(name).unwrap());
        assert_eq!(seen.map(|value| std::str::from_utf8(value).unwrap()), expected, "{name}: {value}");
        if let Some(head) = translated {
            assert_eq!((head.get("host"), head.target()), (Some(&b"a"[..]), &b"/"[..]));
        }
    }
    let many = (0..100).map(|number| format!("\"{number}-gzip\"")).collect::<Vec<_>>().join(", ");
    let (_, translated) = asked("GET", &[("Accept-Encoding", "gzip"), ("If-None-Match", &many)]);
    let value = translated.unwrap().get("if-none-match").unwrap().len();
    assert!(value < many.len() * 2, "{value} of {}", many.len());
}

#[test]
fn a_304_names_what_the_client_has() {
    for (asks, says, expected) in [
        ("\"abc-gzip\"", "\"abc\"", "\"abc-gzip\""),
        ("\"abc\"", "\"abc\"", "\"abc\""),
        // Which one it is does not matter: it has both.
        ("\"abc\", \"abc-gzip\"", "\"abc\"", "\"abc-gzip\""),
        ("\"abc-gzip\"", "\"abc-gzip\"", "\"abc-gzip\""),
        ("\"abc-gzip\"", "W/\"abc\"", "W/\"abc\""),
        ("\"abc-gzip\"", "\"other\"", "\"other\""),
    ] {
        let (asked, _) = asked("GET", &[("Accept-Encoding", "gzip"), ("If-None-Match", asks)]);
        let mut head = response(304, &[("ETag", says)]);
        assert_eq!(asked.decide(&mut head, BodyLength::None), Coded::Plain);
        let tag = head.fields.get("etag").unwrap();
        assert_eq!(std::str::from_utf8(tag), Ok(expected), "{asks} {says}");
        assert_eq!(head.fields.get("vary"), Some(&b"Accept-Encoding"[..]));
    }
}

#[test]
fn trailers_tell_nothing_of_bytes_that_did_not_leave() {
    let mut trailers = Fields::new();
    for (name, value) in [("Repr-Digest", "x"), ("Server-Timing", "db;dur=1"), ("content-md5", "y")] {
        trailers.add(name, value);
    }
    strip_trailers(&mut trailers);
    assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"Server-Timing"[..], &b"db;dur=1"[..])]);
}
