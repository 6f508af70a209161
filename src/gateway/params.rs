//! A request as CGI variables (RFC 3875 §4.1, PEP 3333): what an app and an SCGI server are told.
//!
//! Values are bytes as they were received; a protocol that needs text reads them as latin-1. Which fields become
//! `HTTP_…` variables is a matter of safety:
//!
//! - `Content-Type` and `Content-Length` have variables of their own; the length is that of the body after de-chunking.
//! - A name with `_` is dropped: `X_Forwarded_For` would become the same variable as `X-Forwarded-For`.
//! - `Proxy` is dropped: HTTP_PROXY is a setting of many HTTP clients (CVE-2016-5385).
//! - What tells of the way of a request (`X-Forwarded-…`, `Forwarded`, `X-Real-IP`) is dropped unless the peer is a
//!   trusted proxy: frameworks believe it.
//! - So is `X-Request-Start`, for who is told when the request came: ours stands in its place.
//! - `Authorization` is dropped where this server has asked for it, and `Remote-User`: who has logged in is REMOTE_USER.
//! - `X-SSL-Client-…` is dropped where a site asks clients for certificates: ours are `SSL_CLIENT_…`.
//! - Fields of the connection (RFC 9110 §7.6.1) and those that `Connection` names are dropped, but for those that are
//!   meant for the origin whatever a client says, such as `Cookie`.
//! - Fields of the same name are joined with `, `, those of `Cookie` with `; `.

use super::http1::{is_nominated, nominated};
use super::request::START;
use super::{Request, moment, shown};
use crate::http::text::Short;
use crate::http::{Names, Scheme, fields};

/// SERVER_SOFTWARE.
const SOFTWARE: &[u8] = concat!("hatchery/", env!("CARGO_PKG_VERSION")).as_bytes();

/// The pairs of a REQUEST frame, `name\0value\0…` (`control::frame`). What has no value is none.
pub(super) fn split_pairs(payload: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut parts = payload.split(|byte| *byte == 0);
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

/// Calls `put` with the name and value of each variable, each name once. `length` is that of the body after de-chunking
/// in bytes, `None` if there is no body.
pub(crate) fn each(request: &Request<'_>, length: Option<u64>, mut put: impl FnMut(&[u8], &[u8])) {
    put(b"GATEWAY_INTERFACE", b"CGI/1.1");
    put(b"SERVER_SOFTWARE", SOFTWARE);
    put(b"REQUEST_METHOD", request.head.method_bytes());
    let (script, path) = split(request.path, request.mount.as_bytes());
    put(b"SCRIPT_NAME", script);
    put(b"PATH_INFO", path);
    put(b"QUERY_STRING", request.query);
    put(b"REQUEST_URI", request.raw);
    put(b"RAW_URI", request.raw);
    put(b"SERVER_PROTOCOL", request.head.version().as_str().as_bytes());
    put(b"SERVER_NAME", if request.server_name.is_empty() { b"localhost" } else { request.server_name });
    put(b"SERVER_PORT", &Short::number(request.server_port.into()));
    put(b"REQUEST_SCHEME", request.origin.scheme.as_str().as_bytes());
    if request.origin.scheme == Scheme::Https {
        put(b"HTTPS", b"on");
    }
    if let Some(secure) = request.secure.connection {
        put(b"SSL_PROTOCOL", secure.version.as_bytes());
        put(b"SSL_CIPHER", secure.cipher.as_bytes());
    }
    request.secure.each_of_client(|name, value| {
        let name = name.to_ascii_uppercase().replace('-', "_");
        put(format!("SSL_CLIENT_{name}").as_bytes(), value.as_bytes());
    });
    put(b"REQUEST_ID", request.id.as_bytes());
    let direct = request.peer_address();
    let client = request.origin.client.map(|client| client.to_canonical()).or(direct);
    match client {
        Some(client) => put(b"REMOTE_ADDR", &Short::address(client)),
        None => put(b"REMOTE_ADDR", b""),
    }
    if let Some(peer) = request.peer.filter(|_| client == direct) {
        put(b"REMOTE_PORT", &Short::number(peer.port().into()));
    }
    if let Some(user) = request.shown.login.user {
        put(b"REMOTE_USER", user);
        if !request.shown.login.kind.is_empty() {
            put(b"AUTH_TYPE", request.shown.login.kind.as_bytes());
        }
    }
    if let Some(kind) = content_type(request) {
        put(b"CONTENT_TYPE", kind);
    }
    if let Some(length) = length {
        put(b"CONTENT_LENGTH", &Short::number(length));
    }
    each_variable(request, &mut put);
}

/// The type of the body, as it came or as the operator says.
pub(super) fn content_type<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let said = request.shown.said().find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
    let received = request.head.get("content-type").filter(|_| !request.shown.drops(b"content-type"));
    said.map(|(_, kind)| kind).or(received)
}

/// The fields that an app is shown as such, but for those of the body.
pub(super) struct Passed<'a> {
    request: &'a Request<'a>,
    nominated: Vec<&'a [u8]>,
    way: Option<Vec<u8>>,
    start: Option<[u8; moment::LEN]>,
}

impl<'a> Passed<'a> {
    pub(super) fn of(request: &'a Request<'a>) -> Self {
        Self {
            request,
            nominated: nominated(request.head.all("connection")),
            way: request.shown.forwarded.then(|| shown::forwarded(request)),
            start: request.start(),
        }
    }

    /// Names and values, in their order.
    pub(super) fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let shown = &self.request.shown;
        let way = self.way.as_ref().map(|way| (&b"Forwarded"[..], &way[..]));
        let way = way.filter(|(name, _)| !shown.drops(name));
        let start = self.start.as_ref().map(|start| (START.as_bytes(), &start[..]));
        let host = shown.host.map(|host| (&b"Host"[..], host.as_bytes()));
        let said = shown.said().filter(|(name, _)| !name.eq_ignore_ascii_case(b"content-type"));
        let fields = self.request.head.fields().filter(|(name, _)| self.passes(name));
        fields.chain(host).chain(way).chain(start).chain(said)
    }

    fn passes(&self, name: &[u8]) -> bool {
        fields::is_name(name)
            && !name.contains(&b'_')
            && !self.request.is_claim(name)
            && !self.request.is_replaced(name)
            && !DROPPED.has(name)
            && !is_nominated(name, &self.nominated)
    }
}

/// The `HTTP_…` variables.
fn each_variable(request: &Request<'_>, put: &mut impl FnMut(&[u8], &[u8])) {
    let passed = Passed::of(request);
    let all: Vec<(&[u8], &[u8])> = passed.each().collect();
    let (mut variable, mut joined) = (Vec::with_capacity(32), Vec::new());
    for (position, (name, value)) in all.iter().enumerate() {
        let same = |(other, _): &&(&[u8], &[u8])| other.eq_ignore_ascii_case(name);
        if all.iter().take(position).any(|field| same(&field)) {
            continue;
        }
        variable.clear();
        variable.extend_from_slice(b"HTTP_");
        variable.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
        let mut later = all.iter().skip(position + 1).filter(same).peekable();
        if later.peek().is_none() {
            put(&variable, value);
            continue;
        }
        joined.clear();
        joined.extend_from_slice(value);
        let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
        for (_, more) in later {
            joined.extend_from_slice(separator);
            joined.extend_from_slice(more);
        }
        put(&variable, &joined);
    }
}

/// Fields that never become `HTTP_…`.
const DROPPED: Names = Names::new(&[
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
]);

/// The path divided at the mount. Where the mount does not end at a segment boundary of the path, which routing
/// excludes, the app is told the truth about the path and mounted at the root.
pub(super) fn split<'a>(path: &'a [u8], mount: &[u8]) -> (&'a [u8], &'a [u8]) {
    match path.strip_prefix(mount) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => path.split_at(path.len() - rest.len()),
        _ => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::RequestHead;

    use crate::http::{Span, Version};
    use crate::timer::Wall;
    use std::collections::BTreeMap;

    fn head(method: &str, fields: &[(&str, &[u8])]) -> RequestHead {
        let mut raw = method.as_bytes().to_vec();
        let mut store = |bytes: &[u8]| {
            let start = raw.len() as u32;
            raw.extend_from_slice(bytes);
            Span { start, end: raw.len() as u32 }
        };
        let spans = fields.iter().map(|(name, value)| (store(name.as_bytes()), store(value))).collect();
        let end = method.len() as u32;
        RequestHead::new(raw, Span { start: 0, end }, Span { start: 0, end: 0 }, Version::Http11, spans)
    }

    fn variables(request: &Request<'_>) -> BTreeMap<String, Vec<u8>> {
        with_body(request, None)
    }

    fn with_body(request: &Request<'_>, length: Option<u64>) -> BTreeMap<String, Vec<u8>> {
        let mut map = BTreeMap::new();
        each(request, length, |name, value| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            assert!(map.insert(name.clone(), value.to_vec()).is_none(), "{name} twice");
        });
        map
    }

    fn request<'a>(head: &'a RequestHead, path: &'a [u8], mount: &'a str) -> Request<'a> {
        Request {
            path,
            raw: b"/caf%C3%A9?a=%20",
            query: b"a=%20",
            mount,
            peer: Some("[::ffff:192.0.2.1]:4711".parse().unwrap()),
            authority: b"shop.example:8000",
            server_name: b"shop.example",
            server_port: 8000,
            id: "1-2",
            ..Request::of(head)
        }
    }

    #[test]
    fn what_every_request_has() {
        let head = head("GET", &[("Host", b"shop.example:8000")]);
        let map = variables(&request(&head, "/café".as_bytes(), ""));
        let expected: BTreeMap<String, Vec<u8>> = [
            ("GATEWAY_INTERFACE", &b"CGI/1.1"[..]),
            ("SERVER_SOFTWARE", SOFTWARE),
            ("REQUEST_METHOD", b"GET"),
            ("SCRIPT_NAME", b""),
            ("PATH_INFO", "/café".as_bytes()),
            ("QUERY_STRING", b"a=%20"),
            ("REQUEST_URI", b"/caf%C3%A9?a=%20"),
            ("RAW_URI", b"/caf%C3%A9?a=%20"),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("SERVER_NAME", b"shop.example"),
            ("SERVER_PORT", b"8000"),
            ("REQUEST_SCHEME", b"http"),
            ("REQUEST_ID", b"1-2"),
            ("REMOTE_ADDR", b"192.0.2.1"),
            ("REMOTE_PORT", b"4711"),
            ("HTTP_HOST", b"shop.example:8000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .into();
        assert_eq!(map, expected);
    }

    #[test]
    fn fields_are_joined_and_unsafe_ones_dropped() {
        let head = head(
            "POST",
            &[
                ("X-Forwarded-For", b"10.0.0.1"),
                ("X_Forwarded_For", b"6.6.6.6"),
                ("Cookie", b"a=1"),
                ("Accept", b"text/html"),
                ("cookie", b"b=2"),
                ("ACCEPT", b"*/*"),
                ("Proxy", b"http://evil"),
                ("Connection", b"close, X-Hop ,,te, Cookie"),
                ("x-hop", b"1"),
                ("Transfer-Encoding", b"chunked"),
                ("Content-Length", b"999"),
                ("Content-Type", b"text/plain"),
                ("Upgrade", b"websocket"),
                ("X-Latin", b"caf\xe9"),
            ],
        );
        let mut request = request(&head, b"/", "");
        request.origin.trusted = true;
        let map = with_body(&request, Some(5));
        assert_eq!(map["HTTP_COOKIE"], b"a=1; b=2");
        assert_eq!(map["HTTP_ACCEPT"], b"text/html, */*");
        assert_eq!(map["HTTP_X_FORWARDED_FOR"], b"10.0.0.1");
        assert_eq!(map["HTTP_X_LATIN"], b"caf\xe9");
        assert_eq!(map["CONTENT_LENGTH"], b"5");
        assert_eq!(map["CONTENT_TYPE"], b"text/plain");
        let names: Vec<_> = map.keys().filter(|name| name.starts_with("HTTP_")).collect();
        assert_eq!(names, ["HTTP_ACCEPT", "HTTP_COOKIE", "HTTP_X_FORWARDED_FOR", "HTTP_X_LATIN"]);
    }

    #[test]
    fn only_a_trusted_proxy_tells_of_the_way() {
        let claims = ["X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-SSL", "Forwarded", "X-Real-IP"];
        let mut fields: Vec<(&str, &[u8])> = claims.iter().map(|name| (*name, &b"1"[..])).collect();
        fields.push(("X-Forwarded", b"1"));
        let head = head("GET", &fields);
        let mut request = request(&head, b"/", "");
        let names = |request: &Request<'_>| -> Vec<String> {
            variables(request).into_keys().filter(|name| name.starts_with("HTTP_")).collect()
        };
        assert_eq!(names(&request), ["HTTP_X_FORWARDED"]);
        request.origin.trusted = true;
        assert_eq!(names(&request).len(), fields.len());
    }

    #[test]
    fn when_it_came_is_told_by_us_or_a_trusted_proxy_and_by_no_client() {
        let told = |fields: &[(&str, &[u8])], arrived, trusted| {
            let head = head("GET", fields);
            let mut request = request(&head, b"/", "");
            (request.arrived, request.origin.trusted) = (arrived, trusted);
            variables(&request).remove("HTTP_X_REQUEST_START").map(|text| String::from_utf8(text).unwrap())
        };
        let (ours, claim) = ("t=1760013296.007999", [("X-Request-START", &b"t=1.5"[..])]);
        let arrived = Some(Wall { seconds: 1_760_013_296, nanos: 7_999_999 });
        for trusted in [false, true] {
            assert_eq!(told(&[], arrived, trusted).as_deref(), Some(ours));
            assert_eq!(told(&[], None, trusted), None);
            // Who is not told is shown what the client says, as ever.
            assert_eq!(told(&claim, None, trusted).as_deref(), Some("t=1.5"));
        }
        assert_eq!(told(&claim, arrived, false).as_deref(), Some(ours));
        assert_eq!(told(&claim, arrived, true).as_deref(), Some("t=1.5"));
    }

    #[test]
    fn mounts_end_at_a_segment() {
        let head = head("GET", &[]);
        for (path, mount, script, info) in [
            ("/blog/2024", "/blog", "/blog", "/2024"),
            ("/blog", "/blog", "/blog", ""),
            ("/blogs", "/blog", "", "/blogs"),
            ("/", "", "", "/"),
        ] {
            let map = variables(&request(&head, path.as_bytes(), mount));
            assert_eq!(
                (&map["SCRIPT_NAME"][..], &map["PATH_INFO"][..]),
                (script.as_bytes(), info.as_bytes())
            );
        }
    }

    #[test]
    fn a_client_behind_a_proxy_has_no_port() {
        let head = head("GET", &[]);
        let mut request = request(&head, b"/", "");
        request.origin.client = Some("2001:db8::1".parse().unwrap());
        request.origin.scheme = Scheme::Https;
        request.server_name = b"";
        let map = variables(&request);
        assert_eq!(map["REMOTE_ADDR"], b"2001:db8::1");
        assert_eq!(map["HTTPS"], b"on");
        assert_eq!(map["SERVER_NAME"], b"localhost");
        assert!(!map.contains_key("REMOTE_PORT"));
        request.origin.client = None;
        request.peer = None;
        assert_eq!(variables(&request)["REMOTE_ADDR"], b"");
    }
}
