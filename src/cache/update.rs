//! What becomes of a response that is kept when the app or upstream says 304 (RFC 9111 §4.3.3, §4.3.4).

use super::admit::{self, Admitted, Exchange, Refused};
use super::hash::Secret;
use super::settings::Settings;
use super::stored::Head;
use crate::http::conditional::weak_match;
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

/// Whether a 304 to our question is about the response that we have asked for. If it is not, it answers nobody: what it says is
/// right is not there, and what is there is not known to be right. Tags are compared weakly, as `If-None-Match` is: servers that
/// compress on the way say `W/"x"` of what they send, and `"x"` of what has not changed.
#[must_use]
pub fn is_about(stored: &Head, not_modified: &ResponseHead) -> bool {
    match (stored.etag(), not_modified.fields.get("etag")) {
        (Some(asked), Some(named)) => weak_match(asked, named),
        (None, Some(_)) => false,
        // A date is named, and is that of another one; or nothing is, and our question has named it.
        (_, None) => {
            let modified = not_modified.fields.get("last-modified");
            modified.is_none() || stored.fields.get("last-modified") == modified
        }
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
