//! The part that names what a request asks for: the key under which a response to it is kept.

use super::super::{Exchange, Request};
use crate::cache::key::{Key, Parts};
use crate::config::{Config, Location};
use crate::http::{Method, target};
use crate::worker::drive::Drive;

impl Exchange {
    /// What of the request names what it asks for.
    pub(super) fn parts<'a>(&'a self, config: &'a Config) -> Option<Parts<'a>> {
        self.request.as_ref()?.parts(config)
    }

    /// Whether apps are told who asks, by a login of ours or a certificate: what they answer is perhaps for that one.
    pub(super) fn knows_who_asks(&self) -> bool {
        let session = self.peer.session.as_ref();
        self.user.is_some() || session.is_some_and(|session| session.secure.client.is_some())
    }

    /// The key of what a GET for this target of the same site would get, which says else what this request does.
    pub(super) fn key_of(&self, raw: &[u8], drive: &Drive<'_>) -> Option<Key> {
        let asked = self.request.as_ref()?.as_get_for(raw, drive.config, drive.cx)?;
        let how = asked.location(drive.config)?.caching.on()?;
        Key::primary(&asked.parts(drive.config)?, &asked.head, &how.settings.key, drive.cx.cache.secret)
    }
}

impl Request {
    fn location<'a>(&self, config: &'a Config) -> Option<&'a Location> {
        let (site, location) = self.place?;
        config.sites.get(site)?.locations.get(location)
    }

    fn parts<'a>(&'a self, config: &'a Config) -> Option<Parts<'a>> {
        let (raw, written) = (self.head.target(), self.head.written());
        let (path, query) = (self.target.raw_path(raw), self.target.query(raw).unwrap_or_default());
        let (when, unless) =
            self.location(config).map(|location| guards(location, config)).unwrap_or_default();
        let parts = Parts {
            site: config.sites.get(self.site?).map_or("", |site| site.label.as_str()),
            when,
            unless,
            scheme: self.origin.scheme,
            host: &self.host.name,
            port: self.host.port,
            path,
            query,
            rewritten: None,
            trusted: self.origin.trusted,
        };
        if !self.head.is_rewritten() {
            return Some(parts);
        }
        let first = target::parse(Method::Get, written).ok()?;
        let query_of_first = first.query(written).unwrap_or_default();
        Some(Parts {
            path: first.raw_path(written),
            query: query_of_first,
            rewritten: Some((path, query)),
            ..parts
        })
    }
}

/// The conditions by which a location is told from others of the same path: what one of them answers is not for the others.
fn guards<'a>(location: &Location, config: &'a Config) -> (&'a str, &'a str) {
    let named = |condition: Option<usize>| {
        condition.and_then(|at| config.conditions.get(at)).map_or("", |(name, _)| name.as_str())
    };
    (named(location.guard.when), named(location.guard.unless))
}
