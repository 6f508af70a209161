//! The response cache as HTTP has it: a shared cache (RFC 9111), with stale responses (RFC 5861), fields for caches like this
//! one (RFC 9213) and a word about each answer (RFC 9211). Pure: what may be stored, when it is fresh, whom it answers. No I/O
//! and no clock; `now` is an argument.
//!
//! A request goes through it like this:
//!
//! | step | who decides |
//! |---|---|
//! | may the cache answer this request at all, and what does it say about caches | [`asked::asked`] |
//! | under which name is the response kept | [`key::Key`], [`vary::Marker`] |
//! | is what is kept good for this request now | [`reuse::judge`] |
//! | how is it sent: whole, in part, or not at all | [`serve::plan`], [`serve::response`] |
//! | what is the app or upstream asked otherwise | [`fetch::request`] |
//! | may its response be kept, how, and for how long | [`admit::admit`] |
//! | what does its 304 say about what is kept, or its error | [`update`], [`reuse::on_error`] |
//! | what must go, because of a request that changes something | [`invalidate`] |
//! | what is the client told about all this | [`status::Note`] |
//!
//! What is kept is a [`stored::Head`], as bytes, and a body, of which nothing here knows. Where it is kept, for all workers, and
//! how they agree on who fetches: [`store`].

pub mod admit;
pub mod asked;
pub mod control;
pub mod fetch;
pub mod fresh;
pub mod hash;
pub mod invalidate;
pub mod key;
mod query;
pub mod reuse;
pub mod serve;
pub mod settings;
pub mod status;
pub mod store;
pub mod stored;
pub mod tags;
mod targeted;
#[cfg(test)]
mod tests;
pub mod update;
pub mod vary;

pub use settings::Settings;

use crate::timer::Wall;

/// Milliseconds: a length of time, or a point since the Unix epoch.
pub type Millis = u64;

/// A second.
pub(crate) const SECOND: Millis = 1000;

/// The point in time of a clock; what is before the epoch is the epoch.
#[must_use]
pub fn millis(wall: Wall) -> Millis {
    let seconds = u64::try_from(wall.seconds).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(u64::from(wall.nanos) / 1_000_000)
}
