//! How a WebSocket begins: what a client must ask, and what it is answered.
//!
//! A tunnel for WebSocket that a client of HTTP/2 asks for by CONNECT (RFC 8441) is asked for by an upgrade of HTTP/1.1 behind us
//! (RFC 6455 §4.1), whose key is ours: the client has none.

use crate::control::digits::base64url;
use crate::gateway::http1::{HOP_BY_HOP, OURS, says_upgrade};
use crate::h1::tokens;
use crate::http::fault::Refusal;
use crate::http::fields::is_name;
use crate::http::{BodyLength, Fields, Method, RequestHead, ResponseHead, Version};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What is asked for.
pub(in crate::gateway) const PROTOCOL: &[u8] = b"websocket";

/// Whether it is. Every other CONNECT has been refused.
pub(crate) fn is_asked(head: &RequestHead) -> bool {
    head.method() == Method::Connect
}

/// The key of the request with that id, which has as many bytes as a key. It is no secret: a server that sends back what
/// belongs to it has understood what was asked.
pub(in crate::gateway) fn key(id: &str) -> String {
    base64(id.as_bytes())
}

/// What belongs to it (RFC 6455 §4.2.2).
pub(in crate::gateway) fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// A request for a WebSocket that is well-formed, and what its answer depends on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What belongs to its key; `None` over HTTP/2, where there is none.
    accept: Option<Box<str>>,
    /// The subprotocols that the client offers, in its order.
    pub(crate) protocols: Vec<Box<str>>,
}

/// The version that we speak, which a 426 tells the client in `Sec-WebSocket-Version` (RFC 6455 §4.4).
pub(crate) const VERSION: &str = "13";

/// What fields of the handshake begin with.
const PREFIX: &[u8] = b"sec-websocket-";

const BODY: Refusal = Refusal { status: 400, why: "request for a WebSocket with a body" };
const KEY: Refusal = Refusal { status: 400, why: "Sec-WebSocket-Key is not one of 16 bytes in base64" };
const OTHER_VERSION: Refusal = Refusal { status: 426, why: "Sec-WebSocket-Version is not 13" };
const SUBPROTOCOL: Refusal =
    Refusal { status: 400, why: "Sec-WebSocket-Protocol is no list of subprotocols" };

const CHOICE: &str = "it accepts a WebSocket with a subprotocol that the client does not offer";
const FIELD: &str =
    "it accepts a WebSocket with a Sec-WebSocket-… field of its own; a subprotocol goes in `subprotocol`";

/// What a request asks for, if that is a WebSocket: by the upgrade of a GET of HTTP/1.1 (RFC 6455 §4.2.1), or by CONNECT (RFC 8441
/// §5). Another method or version that offers the upgrade is answered without it (RFC 9110 §7.8).
///
/// # Errors
/// If it asks for one and is not as it must be.
pub(crate) fn asked(head: &RequestHead, body: BodyLength) -> Result<Option<Asked>, Refusal> {
    let by_connect = is_asked(head);
    if !by_connect && !is_upgrade(head) {
        return Ok(None);
    }
    if !by_connect && body != BodyLength::None {
        return Err(BODY);
    }
    let mut versions = head.all("sec-websocket-version");
    if versions.next() != Some(VERSION.as_bytes()) || versions.next().is_some() {
        return Err(OTHER_VERSION);
    }
    let accept = if by_connect { None } else { Some(accept(key_of(head).ok_or(KEY)?).into()) };
    let offered = head.all("sec-websocket-protocol").flat_map(tokens);
    let protocols = offered.map(|name| match std::str::from_utf8(name) {
        Ok(text) if is_name(name) => Ok(text.into()),
        _ => Err(SUBPROTOCOL),
    });
    Ok(Some(Asked { accept, protocols: protocols.collect::<Result<_, _>>()? }))
}

fn is_upgrade(head: &RequestHead) -> bool {
    head.method() == Method::Get
        && head.version() == Version::Http11
        && says_upgrade(head.all("connection"))
        && head.all("upgrade").flat_map(tokens).any(|name| name.eq_ignore_ascii_case(PROTOCOL))
}

/// The key of the client, if it is one.
fn key_of(head: &RequestHead) -> Option<&str> {
    let mut keys = head.all("sec-websocket-key");
    let key = keys.next().filter(|_| keys.next().is_none())?;
    // 16 bytes are 22 digits, and as many more as make the number one of fours.
    let digits = key.strip_suffix(b"==").filter(|digits| digits.len() == 22)?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if !digits.iter().all(is_digit) {
        return None;
    }
    std::str::from_utf8(key).ok()
}

impl Asked {
    /// The answer by which the app accepts it, with the subprotocol that it chose and fields of its own, for
    /// `h1::Conn::switch` and that of HTTP/2. Fields of the connection are left out, as of every answer of an app.
    ///
    /// # Errors
    /// What the app has done wrong.
    pub(crate) fn accept(
        &self,
        chosen: Option<&[u8]>,
        fields: &Fields,
    ) -> Result<ResponseHead, &'static str> {
        let mut head = ResponseHead::new(101);
        head.fields.add("Upgrade", PROTOCOL);
        if let Some(accept) = &self.accept {
            head.fields.add("Sec-WebSocket-Accept", accept.as_bytes());
        }
        if let Some(chosen) = chosen {
            if !self.protocols.iter().any(|offered| offered.as_bytes() == chosen) {
                return Err(CHOICE);
            }
            head.fields.add("Sec-WebSocket-Protocol", chosen);
        }
        for (name, value) in fields.iter() {
            if name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)) {
                return Err(FIELD);
            }
            if !HOP_BY_HOP.has(name) && !OURS.has(name) {
                head.fields.add(name, value);
            }
        }
        Ok(head)
    }
}

/// In the usual alphabet, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = base64url(bytes).replace('-', "+").replace('_', "/");
    text.push_str(["", "=", "=="].get((3 - bytes.len() % 3) % 3).copied().unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::http::Span;

    const LINES: &str = "Connection: keep-alive, Upgrade\nUpgrade: websocket\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13";

    /// What `GET /` with these lines asks for.
    fn ask(lines: &str) -> Result<Option<Asked>, Refusal> {
        request("GET", Version::Http11, lines, BodyLength::None)
    }

    fn request(
        method: &str,
        version: Version,
        lines: &str,
        body: BodyLength,
    ) -> Result<Option<Asked>, Refusal> {
        let mut raw = format!("{method}/").into_bytes();
        let span = |start: usize, end: usize| Span { start: start as u32, end: end as u32 };
        let method = span(0, method.len());
        let target = span(raw.len() - 1, raw.len());
        let mut put = |text: &str| {
            raw.extend_from_slice(text.as_bytes());
            span(raw.len() - text.len(), raw.len())
        };
        let pairs = lines.lines().filter_map(|line| line.split_once(": "));
        let fields = pairs.map(|(name, value)| (put(name), put(value))).collect();
        asked(&RequestHead::new(raw, method, target, version, fields), body)
    }

    #[test]
    fn a_request_asks_for_a_websocket_if_it_is_an_upgrade_to_it() {
        let good = ask(LINES).unwrap().unwrap();
        assert_eq!(good.accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(good.protocols.is_empty());
        for (from, to) in [("Upgrade: websocket", "Upgrade: h2c, WebSocket"), ("Upgrade\n", "UPGRADE\n")] {
            assert_eq!(ask(&LINES.replace(from, to)).unwrap().unwrap(), good, "{to}");
        }
        for (from, to) in [("keep-alive, Upgrade", "keep-alive"), ("Upgrade: websocket", "Upgrade: h2c")] {
            assert_eq!(ask(&LINES.replace(from, to)), Ok(None), "{to}");
        }
        for (method, version) in
            [("POST", Version::Http11), ("HEAD", Version::Http11), ("GET", Version::Http10)]
        {
            assert_eq!(request(method, version, LINES, BodyLength::None), Ok(None), "{method} {version:?}");
        }
    }

    #[test]
    fn what_is_not_as_it_must_be_is_refused_with_a_reason() {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n";
        for (from, to, refusal) in [
            (key, "", KEY),
            (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\n", KEY),
            (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\n", KEY),
            (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\n", KEY),
            (key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2-jZQ==\n", KEY),
            (key, &key.repeat(2), KEY),
            ("Version: 13", "Version: 8", OTHER_VERSION),
            ("Version: 13", "Version: 13, 8", OTHER_VERSION),
            ("Sec-WebSocket-Version: 13", "", OTHER_VERSION),
            ("Version: 13", "Version: 13\nSec-WebSocket-Version: 13", OTHER_VERSION),
            ("Version: 13", "Version: 13\nSec-WebSocket-Protocol: a, b c", SUBPROTOCOL),
            ("Version: 13", "Version: 13\nSec-WebSocket-Protocol: ä", SUBPROTOCOL),
            ("Version: 13", "Version: 13\nSec-WebSocket-Protocol: a,,b", SUBPROTOCOL),
        ] {
            assert!(LINES.contains(from));
            assert_eq!(ask(&LINES.replace(from, to)), Err(refusal), "{to:?}");
        }
        for body in [BodyLength::Known(3), BodyLength::Unknown] {
            assert_eq!(request("GET", Version::Http11, LINES, body), Err(BODY));
        }
    }

    #[test]
    fn a_connect_of_http2_needs_no_key() {
        let ask = |lines| request("CONNECT", Version::Http2, lines, BodyLength::Unknown);
        let asked = ask("Sec-WebSocket-Version: 13\nSec-WebSocket-Protocol: a").unwrap().unwrap();
        assert_eq!((asked.accept.as_deref(), &*asked.protocols), (None, &["a".into()][..]));
        assert_eq!(asked.accept(None, &Fields::new()).unwrap().fields.get("sec-websocket-accept"), None);
        assert_eq!(ask("Sec-WebSocket-Version: 8"), Err(OTHER_VERSION));
        assert_eq!(ask(""), Err(OTHER_VERSION));
    }

    #[test]
    fn an_app_chooses_among_what_is_offered_and_adds_fields() {
        let asked =
            ask(&format!("{LINES}\nSec-WebSocket-Protocol: chat, graphql-ws\nSec-WebSocket-Protocol: v2"));
        let asked = asked.unwrap().unwrap();
        assert_eq!(*asked.protocols, ["chat", "graphql-ws", "v2"].map(Box::<str>::from));
        let mut fields = Fields::new();
        for (name, value) in
            [("Set-Cookie", "a=1"), ("Content-Length", "3"), ("connection", "close"), ("Date", "x")]
        {
            fields.add(name, value);
        }
        let head = asked.accept(Some(b"graphql-ws"), &fields).unwrap();
        let written: Vec<_> = head.fields.iter().map(|(name, value)| [name, b"=", value].concat()).collect();
        let wanted = [
            &b"Upgrade=websocket"[..],
            b"Sec-WebSocket-Accept=s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            b"Sec-WebSocket-Protocol=graphql-ws",
            b"Set-Cookie=a=1",
        ];
        assert_eq!((head.status.0, &*written), (101, &wanted.map(<[u8]>::to_vec)[..]));
        assert_eq!(asked.accept(Some(b"v1"), &Fields::new()), Err(CHOICE));
        assert_eq!(asked.accept(Some(b"CHAT"), &Fields::new()), Err(CHOICE), "they differ by case");
        let mut fields = Fields::new();
        fields.add("sec-websocket-Extensions", "permessage-deflate");
        assert_eq!(asked.accept(None, &fields), Err(FIELD));
    }

    #[test]
    fn a_key_has_its_accept() {
        // RFC 6455 §1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key("the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        let texts = ["", "f", "fo", "foo"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v"]);
    }
}
