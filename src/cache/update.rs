//! What becomes of a response that is kept when the app or upstream says 304 (RFC 9111 §4.3.3, §4.3.4), or answers a HEAD
//! (§4.3.5).

use super::admit::{self, Admitted, Exchange, Refused};
use super::hash::Secret;
use super::settings::Settings;
use super::stored::Head;
use crate::http::conditional::{strong_match, weak_match};
use crate::http::{Fields, Names, ResponseHead};

/// Fields that tell of a body that is kept as it came: a 304 has none to tell of, and what servers say there nevertheless is often
/// what they say of every response. And those that are never kept.
const STAYS: Names = Names::new(&[
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "content-digest",
    "content-md5",
    "digest",
    "transfer-encoding",
]);

/// Which of several responses to a URL a 304 is about (RFC 9111 §4.3.4), by their places.
///
/// With a strong tag, all that have the same; with a weak one, or a date, the latest that has it; with neither, the only one, if
/// it can be told by nothing either.
#[must_use]
pub fn selected(stored: &[&Head], not_modified: &ResponseHead) -> Vec<usize> {
    let fields = &not_modified.fields;
    let places = stored.iter().enumerate();
    let latest = |places: &mut dyn Iterator<Item = (usize, &&Head)>| -> Vec<usize> {
        places.max_by_key(|(_, head)| head.life.date).map(|(place, _)| place).into_iter().collect()
    };
    if let Some(etag) = fields.get("etag") {
        let mut same =
            places.clone().filter(|(_, head)| head.etag().is_some_and(|have| strong_match(have, etag)));
        if !etag.starts_with(b"W/") {
            return same.map(|(place, _)| place).collect();
        }
        debug_assert!(same.next().is_none(), "a weak tag matches strongly");
        let mut alike = places.filter(|(_, head)| head.etag().is_some_and(|have| weak_match(have, etag)));
        return latest(&mut alike);
    }
    if let Some(modified) = fields.get("last-modified") {
        let mut same = places.filter(|(_, head)| head.fields.get("last-modified") == Some(modified));
        return latest(&mut same);
    }
    match stored {
        // Our question has named it, and nothing else was asked for.
        [_] => vec![0],
        _ => Vec::new(),
    }
}

/// Whether a 304 to our question is about the response that we have asked for. If it is not, it answers nobody: what it says is
/// right is not there, and what is there is not known to be right. Tags are compared weakly, as `If-None-Match` is: servers that
/// compress on the way say `W/"x"` of what they send, and `"x"` of what has not changed.
#[must_use]
pub fn is_about(stored: &Head, not_modified: &ResponseHead) -> bool {
    match (stored.etag(), not_modified.fields.get("etag")) {
        (Some(asked), Some(named)) => weak_match(asked, named),
        _ => !selected(&[stored], not_modified).is_empty(),
    }
}

/// The response with what a 304 to our question says (RFC 9111 §3.2), as it is kept and sent from now on.
///
/// # Errors
/// It may not be kept any more. It is the answer to who has asked nevertheless: see [`merged`].
pub fn freshened(
    stored: &Head,
    exchange: &Exchange<'_>,
    settings: &Settings,
    secret: Secret,
) -> Result<Admitted, Refused> {
    let response = merged(stored, exchange.response);
    let mut admitted = admit::admit(&Exchange { response: &response, ..*exchange }, settings, secret)?;
    if settings.tags && !has_tags(&exchange.response.fields) {
        // They are not among the fields that are kept.
        admitted.head.tags.clone_from(&stored.tags);
    }
    Ok(admitted)
}

fn has_tags(fields: &Fields) -> bool {
    fields.iter().any(|(name, _)| super::tags::FIELDS.has(name))
}

/// The fields that are kept with those of a 304 in their places.
#[must_use]
pub fn merged(stored: &Head, not_modified: &ResponseHead) -> ResponseHead {
    let said: Vec<_> = not_modified.fields.iter().filter(|(name, _)| !STAYS.has(name)).collect();
    let mut fields = stored.fields.clone();
    fields.retain(|name| !said.iter().any(|(other, _)| name.eq_ignore_ascii_case(other)));
    said.into_iter().for_each(|(name, value)| fields.add(name, value));
    ResponseHead { status: stored.status, reason: stored.reason.clone(), fields }
}

/// What the answer to a HEAD says about the response to GET that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing: it is an error, or about another one.
    Nothing,
    /// It is still right; this is kept from now on.
    Right(Box<Admitted>),
    /// It has changed: what is kept answers nobody any more.
    Changed,
}

/// Judges the answer to a HEAD, whose response to a GET would have `length` bytes, as far as it says so.
#[must_use]
pub fn on_head(
    (stored, stored_length): (&Head, u64),
    length: Option<u64>,
    exchange: &Exchange<'_>,
    settings: &Settings,
    secret: Secret,
) -> Said {
    let Exchange { request, response, .. } = *exchange;
    if response.status != stored.status {
        return if response.status.0 < 400 && response.status.0 != 304 {
            Said::Changed
        } else {
            Said::Nothing
        };
    }
    let differs =
        |name: &str| response.fields.get(name).is_some_and(|value| stored.fields.get(name) != Some(value));
    if differs("etag") || differs("last-modified") || length.is_some_and(|length| length != stored_length) {
        return Said::Changed;
    }
    let request = request.as_get(|_| true, std::iter::empty());
    let exchange = Exchange { request: &request, ..*exchange };
    match freshened(stored, &exchange, settings, secret) {
        Ok(admitted) => Said::Right(Box::new(admitted)),
        Err(_) => Said::Changed,
    }
}
