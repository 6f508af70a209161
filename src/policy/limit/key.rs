//! What requests have in common that share a bucket.

use crate::http::RequestHead;
use crate::policy::condition::Facts;
use std::net::IpAddr;

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Those of a client address; IPv6: of one /64.
    Client,
    /// Those of a network: IPv4 a /24, IPv6 a /48.
    Subnet,
    /// Those with the same value of a field; without it those of a client.
    Header(String),
    /// Those with the same value of a cookie; without it those of a client.
    Cookie(String),
    /// Those for a path.
    Path,
    /// All of them.
    All,
}

impl By {
    /// Hands on what stands for those who are counted together with this request, a kind and its bytes; `None`: it is not
    /// counted, as nobody knows whose it is.
    pub(crate) fn with<T>(&self, facts: &Facts<'_>, then: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
        match self {
            Self::All => Some(then(b'*', &[])),
            Self::Path => Some(then(b'/', facts.path)),
            Self::Subnet => Some(network(facts.client?, then)),
            Self::Client => Some(client(facts.client?, then)),
            Self::Header(name) => given(facts.head.get(name), facts, then),
            Self::Cookie(name) => given(cookie(facts.head, name), facts, then),
        }
    }
}

/// A value that clients send, or the client that sends none.
fn given<T>(value: Option<&[u8]>, facts: &Facts<'_>, then: impl FnOnce(u8, &[u8]) -> T) -> Option<T> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => Some(then(b'=', value)),
        None => Some(client(facts.client?, then)),
    }
}

/// The first value of a cookie (RFC 6265 §5.4).
fn cookie<'a>(head: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let pairs = head.all("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    let mut named = pairs.filter_map(|pair| pair.trim_ascii_start().strip_prefix(name.as_bytes()));
    named.find_map(|rest| rest.strip_prefix(b"=")).map(<[u8]>::trim_ascii_end)
}

/// One client: an IPv4 address, or the /64 that a customer gets.
pub(crate) fn client<T>(address: IpAddr, then: impl FnOnce(u8, &[u8]) -> T) -> T {
    match address.to_canonical() {
        IpAddr::V4(address) => then(4, &address.to_bits().to_be_bytes()),
        IpAddr::V6(address) => then(6, &(address.to_bits() >> 64 << 64).to_be_bytes()),
    }
}

/// A client as a number.
#[must_use]
pub(crate) fn number(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// Its network: an IPv4 /24, or the /48 that a site gets.
fn network<T>(address: IpAddr, then: impl FnOnce(u8, &[u8]) -> T) -> T {
    match address.to_canonical() {
        IpAddr::V4(address) => then(4, &(address.to_bits() >> 8 << 8).to_be_bytes()),
        IpAddr::V6(address) => then(6, &(address.to_bits() >> 80 << 80).to_be_bytes()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::http::target::{self, Target};
    use crate::http::{Method, Span, Version};

    /// A head with these fields.
    pub(crate) fn head(fields: &[(&str, &[u8])]) -> RequestHead {
        let mut raw = b"GET/search".to_vec();
        let mut put = |bytes: &[u8]| {
            let start = raw.len() as u32;
            raw.extend_from_slice(bytes);
            Span { start, end: raw.len() as u32 }
        };
        let fields = fields.iter().map(|(name, value)| (put(name.as_bytes()), put(value))).collect();
        let (method, target) = (Span { start: 0, end: 3 }, Span { start: 3, end: 10 });
        RequestHead::new(raw, method, target, Version::Http11, fields)
    }

    /// What it asks for.
    pub(crate) fn target() -> Target {
        target::parse(Method::Get, b"/search").unwrap()
    }

    fn of(by: &By, client: Option<&str>, value: Option<&[u8]>) -> Option<(u8, Vec<u8>)> {
        let cookies = value.map(|value| [b"a=1; sidecar=x; sid=", value, b" ; b=2"].concat());
        let mut fields: Vec<(&str, &[u8])> = vec![("Host", b"a")];
        fields.extend(cookies.as_ref().map(|cookies| ("Cookie", cookies.as_slice())));
        fields.extend(value.map(|value| ("x-api-key", value)));
        let client = client.map(|address| address.parse().unwrap());
        let (head, target) = (head(&fields), target());
        let facts = Facts { client, ..Facts::of(&head, &target) };
        by.with(&facts, |kind, bytes| (kind, bytes.to_vec()))
    }

    #[test]
    fn a_client_is_an_address_and_a_customer_of_ipv6() {
        let same = |by: &By, one, other| of(by, Some(one), None) == of(by, Some(other), None);
        for (by, one, other, is_same) in [
            (By::Client, "192.0.2.1", "192.0.2.1", true),
            (By::Client, "192.0.2.1", "::ffff:192.0.2.1", true),
            (By::Client, "192.0.2.1", "192.0.2.2", false),
            (By::Client, "2001:db8::1", "2001:db8::ffff:2", true),
            (By::Client, "2001:db8::1", "2001:db8:0:1::1", false),
            (By::Subnet, "192.0.2.1", "192.0.2.254", true),
            (By::Subnet, "192.0.2.1", "192.0.3.1", false),
            (By::Subnet, "2001:db8:1:2::1", "2001:db8:1:ffff::2", true),
            (By::Subnet, "2001:db8:1::1", "2001:db8:2::1", false),
            (By::All, "192.0.2.1", "2001:db8::1", true),
            (By::Path, "192.0.2.1", "2001:db8::1", true),
        ] {
            assert_eq!(same(&by, one, other), is_same, "{by:?} {one} {other}");
        }
    }

    #[test]
    fn what_is_not_sent_is_the_client_and_looks_like_no_value() {
        let key = By::Header("X-Api-Key".to_owned());
        let sid = By::Cookie("sid".to_owned());
        for by in [&key, &sid] {
            let alone = of(by, Some("192.0.2.1"), None);
            assert_eq!(alone, of(&By::Client, Some("192.0.2.1"), None));
            assert_eq!(of(by, Some("192.0.2.1"), Some(b"")), alone);
            assert_eq!(of(by, Some("192.0.2.1"), Some(b"abc")), of(by, Some("192.0.2.2"), Some(b"abc")));
            assert_ne!(of(by, Some("192.0.2.1"), Some(b"\xc0\x00\x02\x01")), alone);
            assert_eq!(of(by, None, None), None);
        }
        assert_eq!((of(&By::Client, None, None), of(&By::Subnet, None, None)), (None, None));
        assert!(of(&By::All, None, None).is_some());
    }
}
