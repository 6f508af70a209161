//! Connections to elsewhere: app processes ([`app`]) and upstream servers ([`proxy`]), made in [`links`], kept by
//! [`servers`], and lent to one exchange at a time. Where servers are, say [`spots`]. Who may be at which server is decided in [`places`]; how servers are,
//! what requests find out ([`standing`]) and [`checks`].

pub(super) mod app;
mod arrivals;
pub(super) mod checks;
mod dial;
mod faults;
pub(super) mod links;
mod places;
pub(super) mod proxy;
mod servers;
mod spots;
mod standing;

pub(super) use app::Apps;
pub(super) use faults::Faults;
pub(super) use links::Links;
pub(super) use servers::Servers;
