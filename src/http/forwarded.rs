//! Who the client is when proxies stand in between: X-Forwarded-For and X-Forwarded-Proto, believed only from peers
//! that the operator trusts (RFC 7239 §8.1 on why).

use super::{RequestHead, Scheme};
use std::net::IpAddr;

/// What is believed of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; `None` where neither a peer address nor a believed field names one.
    pub client: Option<IpAddr>,
    /// The direct peer is trusted: its X-Forwarded-* are passed on with ours added.
    pub trusted: bool,
    /// What the client used.
    pub scheme: Scheme,
}

/// Walks X-Forwarded-For from the right to the first address that is not trusted. `peer` is `None` for Unix sockets;
/// `trusts(None)` says whether those are trusted. `scheme` is what the direct peer uses.
pub(crate) fn origin(
    head: &RequestHead,
    peer: Option<IpAddr>,
    scheme: Scheme,
    trusts: impl Fn(Option<IpAddr>) -> bool,
) -> Origin {
    if !trusts(peer) {
        return Origin { client: peer, trusted: false, scheme };
    }
    let mut client = peer;
    let fields: Vec<&[u8]> = head.all("x-forwarded-for").collect();
    let hops = fields.iter().rev().flat_map(|field| field.rsplit(|byte| *byte == b','));
    for hop in hops {
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !trusts(client) {
            break;
        }
    }
    // A list, in one line or in several (RFC 9110 §5.3), says that proxies saw different things: no one of them counts.
    let mut schemes = head.all("x-forwarded-proto");
    let said = schemes.next().filter(|_| schemes.next().is_none());
    let scheme = said.and_then(|said| Scheme::parse(said.trim_ascii())).unwrap_or(scheme);
    Origin { client, trusted: true, scheme }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    if let Some(inner) = text.strip_prefix('[') {
        return inner.split(']').next()?.parse().ok();
    }
    text.parse().ok().or_else(|| text.split_once(':').and_then(|(host, _)| host.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Span, Version};

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let mut raw = b"GET /".to_vec();
        let mut span = |text: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            Span { start, end: raw.len() as u32 }
        };
        let spans = fields.iter().map(|(name, value)| (span(name), span(value))).collect();
        let (method, target) = (Span { start: 0, end: 3 }, Span { start: 4, end: 5 });
        RequestHead::new(raw, method, target, Version::Http11, spans)
    }

    fn ten(address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| address.to_string().starts_with("10."))
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        let head = head(&[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")]);
        let origin = origin(&head, ip("192.0.2.7"), Scheme::Http, ten);
        assert_eq!(origin, Origin { client: ip("192.0.2.7"), trusted: false, scheme: Scheme::Http });
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let head = head(&[
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
            ("x-forwarded-for", "10.0.0.3 , 10.0.0.2:4711"),
            ("X-Forwarded-Proto", "HTTPS"),
        ]);
        let origin = origin(&head, ip("10.0.0.1"), Scheme::Http, ten);
        assert_eq!(origin, Origin { client: ip("203.0.113.9"), trusted: true, scheme: Scheme::Https });
    }

    #[test]
    fn several_lines_are_a_list_and_a_list_of_schemes_is_not_https() {
        for (lines, https) in [
            (&["https"][..], true),
            (&["https, http"], false),
            (&["https", "http"], false),
            (&["http", "https"], false),
            (&["https, https"], false),
            (&["https", "https"], false),
            (&["https", ""], false),
            (&[], false),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("X-Forwarded-Proto", *line)).collect();
            assert_eq!(
                origin(&head(&fields), ip("10.0.0.1"), Scheme::Http, ten).scheme == Scheme::Https,
                https,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        let head = head(&[("X-Forwarded-For", "203.0.113.9, unknown, [2001:db8::1]:443")]);
        let trusts = |address: Option<IpAddr>| ten(address) || address == ip("2001:db8::1");
        assert_eq!(origin(&head, ip("10.0.0.1"), Scheme::Http, trusts).client, ip("2001:db8::1"));
    }
}
