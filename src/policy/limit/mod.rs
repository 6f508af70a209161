//! How often, how many at a time and how fast: limits of requests, and the table in shared memory by which they hold over all
//! workers. Pure: it sees memory as `&[AtomicU64]` and is told the time.
//!
//! | file | what |
//! |---|---|
//! | `rate` | a token bucket in one number, and what becomes of it |
//! | `counts` | how many of something are there at a time: the sum of what each worker has |
//! | `table` | where both are, and who writes them |
//! | `key` | what requests have in common that share a bucket |
//! | `hash` | by which a key finds its words |

pub(crate) mod counts;
pub(crate) mod hash;
pub(crate) mod key;
pub(crate) mod rate;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use key::By;
pub(crate) use rate::{Outcome, Rate};

use super::condition::{Facts, When};
use crate::http::ResponseHead;
use std::time::Duration;

/// A limit: of a place, or a class that several places have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    /// The class; `None`: it is of its place alone.
    pub(crate) class: Option<String>,
    /// How it is called in the log and by `status`.
    pub(crate) label: String,
    /// What tells its words in the table from those of other limits: it stays the same over reloads.
    pub(crate) seed: u64,
    /// So many in a time.
    pub(crate) rate: Option<Rate>,
    /// So many at once, of those; `None`: as many as the rate has in its time.
    pub(crate) burst: Option<u32>,
    /// So many at a time.
    pub(crate) concurrency: Option<u32>,
    /// Of which requests; all.
    pub(crate) when: Option<When>,
    /// Not of these.
    pub(crate) unless: Option<When>,
    /// Whose requests are counted together.
    pub(crate) by: By,
    /// The bucket of that rate.
    pub(crate) bucket: Option<rate::Bucket>,
    /// What is answered beyond it: 429, or 503.
    pub(crate) status: u16,
    /// Nothing is refused: what would be is logged and counted.
    pub(crate) dry_run: bool,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            class: None,
            label: String::new(),
            seed: 0,
            rate: None,
            burst: None,
            concurrency: None,
            when: None,
            unless: None,
            by: By::Client,
            bucket: None,
            status: 429,
            dry_run: false,
        }
    }
}

impl Limit {
    /// Whether such a request is counted.
    pub(crate) fn concerns(&self, facts: &Facts<'_>) -> bool {
        self.when.is_none_or(|when| when.holds(facts))
            && !self.unless.is_some_and(|unless| unless.holds(facts))
    }

    /// It is complete, and called so from now on; what is called alike shares its buckets.
    pub(crate) fn named(&mut self, label: String) {
        self.seed = seed(&label);
        self.bucket = self.rate.map(|rate| rate::Bucket::new(rate, self.burst.unwrap_or(rate.count)));
        self.label = label;
    }
}

/// How fast a response leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bandwidth {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// Bytes that leave as fast as they can before.
    pub(crate) after: u64,
}

/// What tells the words of a limit that is called so from those of others.
#[must_use]
pub(crate) fn seed(label: &str) -> u64 {
    hash::of([0, 0], 0, label.as_bytes())
}

/// How the limit of a client's connections is called.
pub(crate) const CONNECTIONS: &str = "connections_per_client";

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    /// The limit, for the log.
    pub(crate) label: String,
    /// The class, for the client.
    class: Option<String>,
    /// The answer.
    status: u16,
    /// When to come back.
    retry: Duration,
    /// So many in so many seconds; `None`: of those at a time.
    pub(crate) quota: Option<(u32, u64)>,
}

/// Nobody knows when one of those at a time has ended.
const SOON: Duration = Duration::from_secs(1);

fn seconds(of: Duration) -> u64 {
    of.as_secs() + u64::from(of.subsec_nanos() > 0)
}

impl Excess {
    /// By what has become of a token.
    pub(crate) fn of(limit: &Limit, outcome: Outcome) -> Option<Self> {
        let (Outcome::Refused { after }, Some(rate)) = (outcome, limit.rate) else { return None };
        let fills_in = limit.bucket.map_or(rate.per, rate::Bucket::fills_in);
        let quota = Some((limit.burst.unwrap_or(rate.count), seconds(fills_in).max(1)));
        Some(Self { retry: after, quota, ..Self::at_once(limit) })
    }

    /// As many run as may.
    pub(crate) fn at_once(limit: &Limit) -> Self {
        let (label, class) = (limit.label.clone(), limit.class.clone());
        Self { label, class, status: limit.status, retry: SOON, quota: None }
    }

    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The answer: Retry-After (RFC 9110 §10.2.3), RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10).
    pub(crate) fn head(&self) -> ResponseHead {
        let retry = seconds(self.retry).max(1);
        let head = ResponseHead::new(self.status).with("Retry-After", retry.to_string());
        let Some((quota, window)) = self.quota else { return head };
        let is_word =
            |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let name = self.class.as_ref().filter(is_word).map_or("default", String::as_str);
        head.with("RateLimit-Policy", format!("\"{name}\";q={quota};w={window}"))
            .with("RateLimit", format!("\"{name}\";r=0;t={retry}"))
    }
}
