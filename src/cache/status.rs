//! `Cache-Status` (RFC 9211): what the cache has done about a request. The caches that a response came through before have said
//! theirs in front of ours.

use super::{Millis, SECOND};
use crate::http::Fields;
use crate::http::text::decimal;

/// The name of the field.
pub(super) const FIELD: &str = "Cache-Status";
/// Ours in it.
const NAME: &[u8] = b"hatchery";

/// Why a request went on to the app or upstream (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache is not asked for such requests.
    Bypass,
    /// Nor for those of this method.
    Method,
    /// Nothing is kept of this URL.
    UriMiss,
    /// What is kept of this URL is for other requests.
    VaryMiss,
    /// What is kept would do, but the request wants it from its origin.
    Request,
    /// The time of what is kept is over.
    Stale,
}

impl Forward {
    /// Its word in the field.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// What is said about a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Why somebody else was asked; `None`: nobody was, it is a hit.
    pub forward: Option<Forward>,
    /// What that one said, if it is not the status that the client sees.
    pub forward_status: Option<u16>,
    /// Its response is kept.
    pub stored: bool,
    /// It was asked by another request than this one, which has waited for it.
    pub collapsed: bool,
    /// For how long the response is fresh; negative: for how long it has not been.
    pub ttl: Option<i64>,
    /// A word more, which is a token.
    pub detail: Option<&'static str>,
}

impl Note {
    /// Adds it behind those of others.
    pub fn add(&self, fields: &mut Fields) {
        let mut value = Vec::with_capacity(64);
        value.extend_from_slice(NAME);
        match self.forward {
            None => value.extend_from_slice(b"; hit"),
            Some(forward) => {
                value.extend_from_slice(b"; fwd=");
                value.extend_from_slice(forward.word().as_bytes());
            }
        }
        if let Some(status) = self.forward_status {
            value.extend_from_slice(b"; fwd-status=");
            decimal(status.into(), &mut value);
        }
        if let Some(ttl) = self.ttl {
            value.extend_from_slice(if ttl < 0 { b"; ttl=-" } else { b"; ttl=" });
            decimal(ttl.unsigned_abs(), &mut value);
        }
        if self.stored {
            value.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            value.extend_from_slice(b"; collapsed");
        }
        if let Some(detail) = self.detail {
            value.extend_from_slice(b"; detail=");
            value.extend_from_slice(detail.as_bytes());
        }
        fields.add(FIELD, value);
    }
}

/// Seconds that are left of a lifetime, or over it: rounded down, as an age is.
pub(super) fn ttl(lifetime: Millis, age: Millis) -> i64 {
    let lifetime = i64::try_from(lifetime / SECOND).unwrap_or(i64::MAX);
    let age = i64::try_from(age / SECOND).unwrap_or(i64::MAX);
    lifetime.saturating_sub(age)
}
