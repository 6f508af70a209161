//! What a shared cache does, case by case: what it was given, what it is asked then, and what comes of it. Plain data, from the
//! sections of RFC 9111, RFC 5861 and RFC 9213.
//!
//! A request or response is its method or status, and its fields behind ` | `; a GET without fields is empty. `@-10` is the date ten
//! seconds before the response came. The body has ten bytes. What comes is one of
//!
//! | | |
//! |---|---|
//! | `refused WHY` | the response is not kept |
//! | `hit` | it is the answer |
//! | `stale`, `stale refresh` | it is, though its time is over; it is fetched anew meanwhile |
//! | `fwd=WHY` | the origin is asked |
//! | `504` | nobody is, and there is nothing |
//! | `304`, `416`, `206 FIRST-LAST …` | it is, but not as a whole |
//!
//! and behind that what its head has (`+Name: value`), has not (`-Name`), and its `ttl=`.

/// Name, the request by which it came, the response, the request now, seconds after the response came, what comes of it.
pub(crate) type Row = (&'static str, &'static str, &'static str, &'static str, u64, &'static str);

/// Cases of one section, under the same settings.
pub(crate) struct Group {
    pub(crate) section: &'static str,
    pub(crate) settings: &'static str,
    pub(crate) rows: &'static [Row],
}

mod reusing;
mod storing;

/// All of them.
pub(crate) const GROUPS: [&[Group]; 2] = [storing::GROUPS, reusing::GROUPS];
