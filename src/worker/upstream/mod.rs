//! Connections to elsewhere: app processes ([`app`]) and upstream servers ([`proxy`]), made in [`links`], kept by
//! [`servers`], and lent to one exchange at a time.

pub(super) mod app;
mod arrivals;
mod faults;
pub(super) mod links;
pub(super) mod proxy;
mod servers;

pub(super) use app::Apps;
pub(super) use faults::Faults;
pub(super) use links::Links;
pub(super) use servers::Servers;
