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
/// `trusts(None)` says whether those are trusted. `scheme` is what the direct peer uses, `asked` the one of the target. With
/// `named` the client is whoever that field says.
pub(crate) fn origin(
    head: &RequestHead,
    peer: Option<IpAddr>,
    scheme: Scheme,
    asked: Scheme,
    named: Option<&str>,
    trusts: impl Fn(Option<IpAddr>) -> bool,
) -> Origin {
    if !trusts(peer) {
        return Origin { client: peer, trusted: false, scheme };
    }
    let mut client = peer;
    let mut passed = 0;
    for hop in list(head, "x-forwarded-for").take_while(|_| named.is_none()) {
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !trusts(client) {
            break;
        }
        passed += 1;
    }
    // Of a list the scheme counts that the proxy has seen which the client came to: one for each that was passed. Where
    // there are fewer, the first proxy has said it and the others have left it alone.
    let schemes: Vec<&[u8]> = list(head, "x-forwarded-proto").collect();
    let said = schemes.get(passed).or(schemes.last());
    let said = said.and_then(|said| Scheme::parse(said.trim_ascii()));
    // Where nothing is said of it, a proxy may have left it in the target.
    let scheme = said.unwrap_or(if asked == Scheme::Https { asked } else { scheme });
    if let Some(name) = named {
        // One line with one address. Whatever else a proxy sends, X-Forwarded-For is not asked in its place: what stands
        // there may be a claim of the client's.
        let mut lines = head.all(name);
        let said = lines.next().filter(|_| lines.next().is_none()).and_then(address);
        client = said.or(peer);
    }
    Origin { client, trusted: true, scheme }
}

/// The elements of a list in one line or several (RFC 9110 §5.3), the last one first.
fn list<'a>(head: &'a RequestHead, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&[u8]> = head.all(name).collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','))
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
        let origin = origin(&head, ip("192.0.2.7"), Scheme::Http, Scheme::Http, None, ten);
        assert_eq!(origin, Origin { client: ip("192.0.2.7"), trusted: false, scheme: Scheme::Http });
    }

    #[test]
    fn where_a_field_names_the_client_x_forwarded_for_says_nothing_of_the_scheme_either() {
        let head = head(&[
            ("X-Real", "203.0.113.9"),
            ("X-Forwarded-For", "10.9.9.9"),
            ("X-Forwarded-Proto", "https, http"),
        ]);
        let origin = origin(&head, ip("10.0.0.1"), Scheme::Http, Scheme::Http, Some("X-Real"), ten);
        assert_eq!(origin, Origin { client: ip("203.0.113.9"), trusted: true, scheme: Scheme::Http });
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let head = head(&[
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.9"),
            ("x-forwarded-for", "10.0.0.3 , 10.0.0.2:4711"),
            ("X-Forwarded-Proto", "HTTPS"),
        ]);
        let origin = origin(&head, ip("10.0.0.1"), Scheme::Http, Scheme::Http, None, ten);
        assert_eq!(origin, Origin { client: ip("203.0.113.9"), trusted: true, scheme: Scheme::Https });
    }

    #[test]
    fn of_several_schemes_the_one_counts_that_the_client_has_used() {
        for (clients, schemes, https) in [
            // One proxy, which appends to what the client claims.
            ("203.0.113.9", &["https"][..], true),
            ("203.0.113.9", &["https, http"], false),
            ("203.0.113.9", &["https", "http"], false),
            ("203.0.113.9", &["http", "https"], true),
            ("6.6.6.6, 203.0.113.9", &["https, http"], false),
            // Two: the client came to 10.0.0.2.
            ("203.0.113.9, 10.0.0.2", &["https, http"], true),
            ("203.0.113.9, 10.0.0.2", &["https", "http"], true),
            ("203.0.113.9, 10.0.0.2", &["http, https"], false),
            ("203.0.113.9, 10.0.0.2", &["https, http, http"], false),
            ("203.0.113.9, 10.0.0.2", &["https"], true),
            ("203.0.113.9, 10.0.0.2", &["http"], false),
            // Who has looked for clients in vain.
            ("10.0.0.3, 10.0.0.2", &["https, http, http"], true),
            ("unknown", &["https, http"], false),
            ("", &["https, http"], false),
            ("203.0.113.9", &["https", ""], false),
            ("203.0.113.9", &[], false),
        ] {
            let lines = schemes.iter().map(|line| ("X-Forwarded-Proto", *line));
            let fields: Vec<_> = lines.chain([("X-Forwarded-For", clients)]).collect();
            let scheme = origin(&head(&fields), ip("10.0.0.1"), Scheme::Http, Scheme::Http, None, ten).scheme;
            assert_eq!(scheme == Scheme::Https, https, "{clients}: {schemes:?}");
        }
    }

    #[test]
    fn a_target_of_https_counts_where_a_trusted_proxy_says_nothing_else() {
        for (peer, fields, asked, scheme) in [
            ("10.0.0.1", &[][..], Scheme::Https, Scheme::Https),
            ("10.0.0.1", &[], Scheme::Http, Scheme::Http),
            ("10.0.0.1", &[("X-Forwarded-Proto", "http")], Scheme::Https, Scheme::Http),
            ("10.0.0.1", &[("X-Forwarded-Proto", "https")], Scheme::Http, Scheme::Https),
            ("192.0.2.7", &[], Scheme::Https, Scheme::Http),
        ] {
            let origin = origin(&head(fields), ip(peer), Scheme::Http, asked, None, ten);
            assert_eq!(origin.scheme, scheme, "{peer} {fields:?} {asked:?}");
        }
        // Over TLS what stands in no target is not `http`.
        let origin = origin(&head(&[]), ip("10.0.0.1"), Scheme::Https, Scheme::Http, None, ten);
        assert_eq!(origin.scheme, Scheme::Https);
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        let head = head(&[("X-Forwarded-For", "203.0.113.9, unknown, [2001:db8::1]:443")]);
        let trusts = |address: Option<IpAddr>| ten(address) || address == ip("2001:db8::1");
        assert_eq!(
            origin(&head, ip("10.0.0.1"), Scheme::Http, Scheme::Http, None, trusts).client,
            ip("2001:db8::1")
        );
    }

    #[test]
    fn a_field_that_is_named_says_who_the_client_is_if_a_trusted_proxy_sends_it() {
        let named = Some("CF-Connecting-IP");
        for (peer, fields, client) in [
            (
                "10.0.0.1",
                &[("cf-connecting-ip", "203.0.113.9"), ("X-Forwarded-For", "6.6.6.6")][..],
                "203.0.113.9",
            ),
            ("10.0.0.1", &[("CF-Connecting-IP", "2001:db8::1")], "2001:db8::1"),
            // Nothing that could be read in two ways, and nothing in its place.
            ("10.0.0.1", &[("X-Forwarded-For", "6.6.6.6")], "10.0.0.1"),
            ("10.0.0.1", &[("CF-Connecting-IP", "1.1.1.1"), ("CF-Connecting-IP", "2.2.2.2")], "10.0.0.1"),
            ("10.0.0.1", &[("CF-Connecting-IP", "1.1.1.1, 2.2.2.2")], "10.0.0.1"),
            ("192.0.2.7", &[("CF-Connecting-IP", "1.1.1.1")], "192.0.2.7"),
        ] {
            let origin = origin(&head(fields), ip(peer), Scheme::Http, Scheme::Http, named, ten);
            assert_eq!(origin.client, ip(client), "{peer} {fields:?}");
        }
    }
}
