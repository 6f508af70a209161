//! Connections to elsewhere: app processes ([`app`]) and upstream servers ([`proxy`]), made in [`links`], kept by
//! [`servers`], and lent to one exchange at a time. Where servers are, say [`spots`]; who may be at which, [`places`].
//! How servers are, requests ([`standing`]) and [`checks`] find out.

pub(super) mod app;
mod arrivals;
pub(super) mod checks;
mod dial;
mod faults;
pub(super) mod links;
mod places;
mod processes;
pub(super) mod proxy;
mod servers;
mod spots;
mod standing;

pub(super) use app::Apps;
pub(super) use faults::Faults;
pub(super) use links::Links;
pub(super) use servers::Servers;

/// So often a server or a process is read at a time: one may say for ever what is not for the client.
const READS: usize = 2;
