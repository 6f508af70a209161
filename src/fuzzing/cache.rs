//! What the cache takes from others: the head of a response that it judges, and the bytes in which one is kept, which another
//! process may have written.

use crate::cache::admit::{self, Exchange};
use crate::cache::asked::{Asked, asked};
use crate::cache::fresh::Times;
use crate::cache::hash::Secret;
use crate::cache::key::{Key, Parts};
use crate::cache::settings::{Client, Keyed, Query};
use crate::cache::status::Note;
use crate::cache::stored::Head;
use crate::cache::vary::Marker;
use crate::cache::{Settings, control, fetch, invalidate, reuse, serve, update};
use crate::http::fields::{is_name, is_value};
use crate::http::{BodyLength, RequestHead, ResponseHead, Scheme, Span, Version};
use crate::timer::Wall;

/// When everything happens, in seconds.
const NOW: u64 = 1_790_000_000;
const SECRET: Secret = Secret([1, 2]);
/// All that a request can want.
const WANTS: &[u8] = b"max-age=2147483648, min-fresh=1, max-stale=2147483647, stale-if-error=2147483648";

/// Bytes in which a head is kept, or a marker: what is taken for one can be sent, and is the same when it is kept again.
pub fn kept(bytes: &[u8]) {
    if let Some(head) = Head::decode(bytes) {
        can_be_sent(head.fields.iter());
        assert!(head.status.0 >= 200, "an interim response is kept");
        assert_eq!(Head::decode(&head.encode()).as_ref(), Some(&head), "another one when it is kept again");
        let now = head.life.received;
        assert!(!head.life.is_fresh(now) || head.life.ttl(now) >= 0, "fresh, and has been stale");
        for point in [0, now, head.life.end(), u64::MAX] {
            let asked = Asked { control: control::Request::parse(std::iter::once(WANTS)), authorized: false };
            let used = reuse::judge(&asked, &head.life, point);
            assert!(used != reuse::Use::Fresh || head.life.is_fresh(point), "stale, and taken for fresh");
            let _either = reuse::on_error(&asked, &head.life, None, point);
        }
        let plan = serve::plan(&request(b"GET", b"Range: bytes=0-1"), &head, 9, Wall::default());
        can_be_sent(serve::response(head, &plan, 9, &Note::default(), now).fields.iter());
    }
    if let Some(marker) = Marker::decode(bytes) {
        assert_eq!(Marker::decode(&marker.encode()), Some(marker), "another one when it is kept again");
    }
}

/// Fields of a request, a line without anything, fields of a response: what is kept of it is fit to be sent to all.
pub fn caching(bytes: &[u8]) {
    let bytes = bytes.get(..super::MOST).unwrap_or(bytes);
    let Some((choice, text)) = bytes.split_first() else { return };
    let at = text.windows(2).position(|two| two == b"\n\n").unwrap_or(text.len());
    let (of_request, of_response) = text.split_at_checked(at).unwrap_or((text, &[]));
    let method: &[u8] = if choice & 1 == 0 { b"GET" } else { b"HEAD" };
    let client = if choice & 2 == 0 { Client::Ignore } else { Client::Honour };
    let settings = Settings { client, ttl: (choice & 4 == 0).then_some(1000), ..Settings::default() };
    let asker = request(method, of_request);
    let response = response(if choice & 8 == 0 { 200 } else { 404 }, of_response);
    name(&asker, text);
    let (fetched, now) = (fetch::request(&asker, None), NOW * 1000);
    can_be_sent(fetched.fields());
    let _others = invalidate::others(&response, b"https://shop.example", b"/a/b");
    let times = Times { requested: now, received: now };
    let exchange = Exchange { request: &fetched, response: &response, times, authorized: false };
    let Ok(admitted) = admit::admit(&exchange, &settings, SECRET) else { return };
    let head = admitted.head;
    assert!(head.fields.get("set-cookie").is_none(), "a cookie is kept");
    assert!(head.fields.get("connection").is_none(), "a field of the connection is kept");
    let said = response.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"vary"));
    assert!(said.into_iter().all(|(_, value)| value.trim_ascii() != b"*"), "what depends on all is kept");
    assert_eq!(Head::decode(&head.encode()).as_ref(), Some(&head), "another one when it is kept");
    let freshened = update::freshened(&head, &exchange, &settings, SECRET);
    assert!(freshened.is_ok_and(|again| again.head.life == head.life), "its own words make it another one");
    let Ok(asked) = asked(&asker, BodyLength::None, &settings) else { return };
    let used = reuse::judge(&asked, &head.life, now);
    if used == reuse::Use::Fresh {
        assert!(head.life.is_fresh(now) && !head.life.always_validate, "stale or to be validated, and taken");
    }
    let plan = serve::plan(&asker, &head, 10, Wall { seconds: NOW as i64, nanos: 0 });
    can_be_sent(serve::response(head, &plan, 10, &Note::default(), now).fields.iter());
}

/// Keys with text of the client's in them: what belongs to different hosts never has one.
fn name(head: &RequestHead, text: &[u8]) {
    let graphic: Vec<u8> = text.iter().copied().filter(u8::is_ascii_graphic).collect();
    let keyed = Keyed { query: Query::Ignore(vec!["u*".to_owned()]), ..Keyed::default() };
    let parts = Parts {
        site: "a",
        when: "",
        unless: "",
        scheme: Scheme::Http,
        host: b"a",
        port: None,
        path: b"/",
        query: &graphic,
        rewritten: None,
        trusted: false,
    };
    let key = |parts: &Parts<'_>| Key::primary(parts, head, &keyed, SECRET);
    let (one, other) = (key(&parts), key(&Parts { host: b"b", ..parts }));
    assert!(one.is_none() || one != other, "one key for two hosts");
}

fn can_be_sent<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in fields {
        assert!(is_name(name) && is_value(value), "{} cannot be sent", name.escape_ascii());
    }
}

/// Names and values of the lines that are fields.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..at)?, line.get(at + 1..)?.trim_ascii());
        (is_name(name) && is_value(value)).then_some((name, value))
    })
}

fn request(method: &[u8], text: &[u8]) -> RequestHead {
    let mut raw = Vec::new();
    let mut put = |bytes: &[u8]| {
        let start = raw.len() as u32;
        raw.extend_from_slice(bytes);
        Span { start, end: raw.len() as u32 }
    };
    let (method, target) = (put(method), put(b"/"));
    let fields = lines(text).map(|(name, value)| (put(name), put(value))).collect();
    RequestHead::new(raw, method, target, Version::Http11, fields)
}

fn response(status: u16, text: &[u8]) -> ResponseHead {
    lines(text).fold(ResponseHead::new(status), |mut head, (name, value)| {
        head.fields.add(name, value);
        head
    })
}
