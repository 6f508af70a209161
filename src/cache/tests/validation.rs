//! Cases of validation: what a 304, the answer to a HEAD or an error makes of what is kept.

use super::*;
use crate::cache::reuse::on_error;
use crate::cache::tags;
use crate::cache::update::{self, freshened, merged};

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
        let exchange = Exchange { request: &request, response: &response, times, authorized: false };
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
        let exchange = Exchange { request: &request, response: &response, times, authorized: false };
        let head = freshened(&old, &exchange, &Settings::default(), SECRET).unwrap().head;
        assert_eq!(head.tags, [tags::hash(tag, SECRET)], "{said}");
    }
}

#[test]
fn rfc_9111_4_3_4_a_304_is_about_what_it_names_or_what_was_asked_about() {
    let tagged = "200 | Cache-Control: max-age=600 | ETag: \"a\" | Last-Modified: @-100";
    let dated = "200 | Cache-Control: max-age=600 | Last-Modified: @-100";
    for (kept, said, wanted) in [
        (tagged, "304 | ETag: \"a\"", true),
        (tagged, "304 | ETag: W/\"a\"", true),
        (tagged, "304 | ETag: \"z\"", false),
        (tagged, "304 | ETag: W/\"z\" | Last-Modified: @-100", false),
        (tagged, "304 | Last-Modified: @-100", true),
        (tagged, "304 | Last-Modified: @-101", false),
        (tagged, "304", true),
        (dated, "304", true),
        (dated, "304 | Last-Modified: @-100", true),
        (dated, "304 | Last-Modified: @-101", false),
        (dated, "304 | ETag: \"a\"", false),
    ] {
        assert_eq!(update::is_about(&stored(kept, ""), &response_of(said)), wanted, "{kept}: {said}");
    }
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
