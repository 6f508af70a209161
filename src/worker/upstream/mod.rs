//! Connections to elsewhere: app processes ([`app`]) and upstream servers ([`proxy`]), kept in [`links`] and lent to
//! one exchange at a time.

pub(super) mod app;
mod arrivals;
pub(super) mod links;
pub(super) mod proxy;

pub(super) use app::Apps;
pub(super) use links::Links;
pub(super) use proxy::Servers;
