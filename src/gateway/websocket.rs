//! A tunnel for WebSocket that a client of HTTP/2 asks for by CONNECT (RFC 8441) is asked for by an upgrade of HTTP/1.1 behind us
//! (RFC 6455 §4.1), whose key is ours: the client has none.

use crate::control::digits::base64url;
use crate::http::{Method, RequestHead};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What is asked for.
pub(super) const PROTOCOL: &[u8] = b"websocket";

/// Whether it is. Every other CONNECT has been refused.
pub(crate) fn is_asked(head: &RequestHead) -> bool {
    head.method() == Method::Connect
}

/// The key of the request with that id, which has as many bytes as a key. It is no secret: a server that sends back what
/// belongs to it has understood what was asked.
pub(super) fn key(id: &str) -> String {
    base64(id.as_bytes())
}

/// What belongs to it (RFC 6455 §4.2.2).
pub(super) fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
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

    #[test]
    fn a_key_has_its_accept() {
        // RFC 6455 §1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key("the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        let texts = ["", "f", "fo", "foo"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v"]);
    }
}
