//! What a response of an authority says of certificates (OCSP, RFC 6960 §4.2.1). Its signature is the clients' to check.

use super::certificate::parts;
use x509_cert::der::asn1::{AnyRef, GeneralizedTime};
use x509_cert::der::{Tag, Tagged as _};

/// What is said of one certificate.
pub(super) struct Said {
    /// Big-endian.
    pub(super) serial: Vec<u8>,
    /// Neither revoked nor unknown.
    pub(super) is_good: bool,
    /// Until when it is believed, in seconds since the epoch.
    pub(super) end: Option<i64>,
}

/// `None`: it is no response, or one that says nothing.
pub(super) fn said(response: &[u8]) -> Option<Vec<Said>> {
    let outer = within(parts(response)?.first()?)?;
    let [status, bytes] = &outer[..] else { return None };
    if status.tag() != Tag::Enumerated || status.value() != [0] {
        return None;
    }
    // ResponseBytes: the type, and the BasicOCSPResponse in a string of bytes.
    let bytes = within(within(bytes)?.first()?)?;
    let basic = within(parts(bytes.get(1)?.value())?.first()?)?;
    // ResponseData: before the list stand version, responder and time, which are no SEQUENCE.
    let data = within(basic.first()?)?;
    let list = data.iter().find(|part| part.tag() == Tag::Sequence)?;
    within(list)?.iter().map(one).collect()
}

fn within<'a>(part: &AnyRef<'a>) -> Option<Vec<AnyRef<'a>>> {
    parts(part.value())
}

/// SingleResponse.
fn one(part: &AnyRef<'_>) -> Option<Said> {
    let all = within(part)?;
    let serial = within(all.first()?)?.get(3)?.value().to_vec();
    let next = all.get(3).filter(|part| is(part, 0));
    let end = next.and_then(|part| within(part)?.first()?.decode_as::<GeneralizedTime>().ok());
    let end = end.and_then(|end| i64::try_from(end.to_unix_duration().as_secs()).ok());
    Some(Said { serial, is_good: is(all.get(1)?, 0), end })
}

/// `[NUMBER]`.
fn is(part: &AnyRef<'_>, number: u32) -> bool {
    matches!(part.tag(), Tag::ContextSpecific { number: own, .. } if own.value() == number)
}
