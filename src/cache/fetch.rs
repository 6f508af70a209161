//! What the app or upstream is asked by the cache, for the client that has asked: the whole response as it is for everybody, or
//! whether what is kept of it is still right (RFC 9111 §4.3.1).

use super::stored::Head;
use super::vary;
use crate::http::{Names, RequestHead};

/// Preconditions and ranges of the client: they are answered from what the cache has then.
const OF_CLIENT: Names = Names::new(&[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
    "accept-encoding",
]);

/// Fields by which some apps take a request for another one than its key tells of: what they answer would be kept for all
/// (web cache poisoning). Proxies say the like in `X-Forwarded-…`, which is judged before.
const OF_ANOTHER: Names = Names::new(&[
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-host",
]);

/// The request that is sent on: a GET, also for a HEAD. `stored` is what may be still right, and can be asked for.
#[must_use]
pub fn request(head: &RequestHead, stored: Option<&Head>) -> RequestHead {
    let codings = vary::codings(head);
    let etag = stored.and_then(Head::etag);
    let modified = stored.and_then(|stored| stored.fields.get("last-modified"));
    let added = [
        ("Accept-Encoding", Some(codings.as_bytes()).filter(|codings| !codings.is_empty())),
        ("If-None-Match", etag),
        ("If-Modified-Since", modified),
    ];
    let added = added.into_iter().filter_map(|(name, value)| Some((name.as_bytes(), value?)));
    head.as_get(|name| !OF_CLIENT.has(name) && !OF_ANOTHER.has(name), added)
}
