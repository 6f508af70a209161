//! What an app or upstream says when somebody else is to answer in its place: `X-Accel-Redirect` names a place of the same
//! site, as nginx has it, `X-Sendfile` a file. Such a response gives its fields to the one that takes its place, but for
//! those that tell of its own body.

use crate::http::{Fields, Names, ResponseHead, percent};

/// What is done about these fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// What they say.
    #[default]
    Follow,
    /// Nothing: they are for a server in front of this one.
    Pass,
    /// Nothing, and nobody sees them.
    Ignore,
}

/// Who is to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Who answers at this place of the site, as it was written.
    Inside(Vec<u8>),
    /// A file of this path, as it was written.
    File(Vec<u8>),
}

/// Who answers in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answerer {
    /// A file: what was said before of its type and its caching counts more than what is known of it here.
    File,
    /// Somebody who says such things itself.
    Other,
}

const REDIRECT: &str = "x-accel-redirect";
const SENDFILE: &str = "x-sendfile";

/// Fields that tell of a body that is not sent, or where another one is.
const OF_BODY: Names = Names::new(&[
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "digest",
    "etag",
    "last-modified",
    "location",
    "refresh",
    "repr-digest",
    "trailer",
    "transfer-encoding",
    "www-authenticate",
    REDIRECT,
    SENDFILE,
]);
/// What nginx is told of a response.
const ORDERS: &[u8] = b"x-accel-";
/// Of which each one counts.
const ADDED: Names = Names::new(&["set-cookie", "vary"]);
/// An error has these alone: it has another type, no name as a file, and is not to be cached like one.
const OF_ERRORS: Names = Names::new(&["set-cookie"]);
/// These tell of a body that a 304 does not have.
const OF_CONTENT: &[u8] = b"content-";

/// Takes out of the fields of a response who is to answer in its place; of both the place.
pub(crate) fn take(fields: &mut Fields, accel: Accel) -> Option<Elsewhere> {
    if accel == Accel::Pass {
        return None;
    }
    let inside = fields.get(REDIRECT).map(|place| Elsewhere::Inside(place.to_vec()));
    let elsewhere = inside.or_else(|| fields.get(SENDFILE).map(|path| Elsewhere::File(path.to_vec())))?;
    fields.retain(|name| !is(name, REDIRECT) && !is(name, SENDFILE));
    (accel == Accel::Follow).then_some(elsewhere)
}

/// Leaves of the fields of such a response those that the answer is to have.
pub(crate) fn keep(fields: &mut Fields) {
    let is_order = |name: &[u8]| starts_with(name, ORDERS);
    fields.retain(|name| !OF_BODY.has(name) && !is_order(name));
    let has_type = fields.get("content-type").is_some_and(|value| !value.is_empty());
    if !has_type {
        fields.remove("content-type");
    }
}

/// Gives the answer the fields that were kept.
pub(crate) fn give(kept: &Fields, head: &mut ResponseHead, answerer: Answerer) {
    let passes = |name: &[u8]| match head.status.0 {
        400.. => OF_ERRORS.has(name),
        304 => !starts_with(name, OF_CONTENT),
        // Each part has it.
        206 if is(name, "content-type") => !has_parts(&head.fields),
        _ => true,
    };
    let passing: Vec<_> = kept.iter().filter(|(name, _)| passes(name)).collect();
    let own =
        |name: &[u8]| !ADDED.has(name) && passing.iter().any(|(kept, _)| kept.eq_ignore_ascii_case(name));
    if answerer == Answerer::File {
        head.fields.retain(|name| !own(name));
    }
    let there: Vec<Vec<u8>> = head.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    for (name, value) in passing {
        if ADDED.has(name) || !there.contains(&name.to_ascii_lowercase()) {
            head.fields.add(name, value);
        }
    }
}

/// The target of a request for such a place. As nginx does, it takes what was not percent-encoded, too: spaces, bytes above
/// 0x7F, a `#`, a `%` that begins no encoding.
pub(crate) fn target(place: &[u8]) -> Vec<u8> {
    let mut target = Vec::with_capacity(place.len() + 16);
    for (at, byte) in place.iter().enumerate() {
        let follow = place.get(at + 1..at + 3).unwrap_or_default();
        let encodes = follow.len() == 2 && follow.iter().all(u8::is_ascii_hexdigit);
        let may_stand = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && (byte != b'%' || encodes);
        percent::encode(&[*byte], may_stand, &mut target);
    }
    target
}

fn is(name: &[u8], other: &str) -> bool {
    name.eq_ignore_ascii_case(other.as_bytes())
}

fn starts_with(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

fn has_parts(fields: &Fields) -> bool {
    fields.get("content-type").is_some_and(|value| starts_with(value, b"multipart/byteranges"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        pairs.iter().for_each(|(name, value)| fields.add(name, value));
        fields
    }

    fn shown(fields: &Fields) -> Vec<String> {
        let line =
            |(name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        fields.iter().map(line).collect()
    }

    #[test]
    fn who_is_to_answer_is_taken_out_unless_it_is_for_others() {
        let both =
            [("X-Sendfile", "/srv/a"), ("A", "1"), ("x-accel-redirect", "/b"), ("X-Accel-Redirect", "/c")];
        for (said, accel, elsewhere, left) in [
            (&both[..], Accel::Follow, Some(Elsewhere::Inside(b"/b".to_vec())), 1),
            (&both[..2], Accel::Follow, Some(Elsewhere::File(b"/srv/a".to_vec())), 1),
            (&both, Accel::Pass, None, 4),
            (&both, Accel::Ignore, None, 1),
            (&both[1..2], Accel::Follow, None, 1),
        ] {
            let mut fields = fields(said);
            assert_eq!(take(&mut fields, accel), elsewhere, "{said:?} {accel:?}");
            assert_eq!(fields.iter().count(), left, "{said:?} {accel:?}");
        }
    }

    #[test]
    fn what_tells_of_the_body_that_is_not_sent_is_not_kept() {
        let mut all = fields(&[
            ("Content-Type", "text/plain"),
            ("Content-Disposition", "attachment"),
            ("ETag", "\"x\""),
            ("Last-Modified", "x"),
            ("content-encoding", "gzip"),
            ("X-Accel-Buffering", "no"),
            ("X-ACCEL-EXPIRES", "0"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=1"),
            ("X-Frame-Options", "DENY"),
        ]);
        keep(&mut all);
        let kept = [
            "Content-Type: text/plain",
            "Content-Disposition: attachment",
            "Set-Cookie: a=1",
            "Set-Cookie: b=1",
        ];
        assert_eq!(shown(&all), [&kept[..], &["X-Frame-Options: DENY"]].concat());
        let mut empty = fields(&[("Content-Type", "")]);
        keep(&mut empty);
        assert!(empty.is_empty());
    }

    #[test]
    fn the_answer_has_what_was_kept_as_far_as_it_suits_it() {
        let kept = fields(&[
            ("Content-Type", "text/x"),
            ("Cache-Control", "private"),
            ("Vary", "Cookie"),
            ("Set-Cookie", "a=1"),
            ("Content-Disposition", "attachment"),
        ]);
        let own = [
            ("content-type", "text/y"),
            ("Cache-Control", "max-age=1"),
            ("Vary", "Accept-Encoding"),
            ("ETag", "\"1\""),
        ];
        let given = |status, own: &[(&str, &str)], answerer| {
            let mut head = ResponseHead { fields: fields(own), ..ResponseHead::new(status) };
            give(&kept, &mut head, answerer);
            shown(&head.fields)
        };
        let vary = "Vary: Accept-Encoding";
        assert_eq!(
            given(200, &own, Answerer::File),
            [
                vary,
                "ETag: \"1\"",
                "Content-Type: text/x",
                "Cache-Control: private",
                "Vary: Cookie",
                "Set-Cookie: a=1",
                "Content-Disposition: attachment"
            ]
        );
        assert_eq!(
            given(200, &own, Answerer::Other),
            [
                "content-type: text/y",
                "Cache-Control: max-age=1",
                vary,
                "ETag: \"1\"",
                "Vary: Cookie",
                "Set-Cookie: a=1",
                "Content-Disposition: attachment"
            ]
        );
        assert_eq!(
            given(304, &own[3..], Answerer::File),
            ["ETag: \"1\"", "Cache-Control: private", "Vary: Cookie", "Set-Cookie: a=1"]
        );
        let parts = [("Content-Type", "multipart/byteranges; boundary=x")];
        assert_eq!(given(206, &parts, Answerer::File)[0], "Content-Type: multipart/byteranges; boundary=x");
        assert_eq!(given(404, &own[..1], Answerer::File), ["content-type: text/y", "Set-Cookie: a=1"]);
    }

    #[test]
    fn a_place_may_be_written_as_it_is_or_encoded() {
        for (place, wanted) in [
            ("/a%20b?x=%41", "/a%20b?x=%41"),
            ("/a b#c", "/a%20b%23c"),
            ("/100%.txt", "/100%25.txt"),
            ("/%4", "/%254"),
            ("/\u{e9}", "/%C3%A9"),
        ] {
            assert_eq!(String::from_utf8(target(place.as_bytes())).unwrap(), wanted, "{place}");
        }
    }
}
