//! What routing is made from: sites and locations, and how a request looks to them.

use super::walk::Form as _;
use super::written::Written;
use super::{Config, Location, Site};
use crate::http::Scheme;
use crate::policy::condition::{Facts, When};
use crate::route::{Asks, SiteSpec, Table};

impl Config {
    /// Finds site and location of a request; by their indices here.
    #[must_use]
    pub(crate) fn routes(&self) -> Table {
        let spec = |site: &Site| SiteSpec {
            names: site.names.clone(),
            locations: site
                .locations
                .iter()
                .map(|location| (location.matcher.clone(), location.guard.clone()))
                .collect(),
        };
        Table::new(self.sites.iter().map(spec).collect())
    }
}

impl Config {
    /// What a location says beside its paths and its handler, as it is written; what is said of nothing is left out.
    pub(crate) fn said_of(&self, location: &Location) -> Vec<(String, String)> {
        let keys = |location: &Location| match location.write() {
            Written::Group(_, items, _) => items,
            _ => Vec::new(),
        };
        let plain = keys(&Location::default());
        let own = keys(location).into_iter().filter(|(key, value)| {
            let is_plain = plain.iter().any(|(other, by_default)| key == other && value == by_default);
            let key = key.trim_end_matches(": ");
            !value.is_absent() && !is_plain && !["exact", "path", "regex", "over_regex", "to"].contains(&key)
        });
        own.map(|(key, value)| (key.trim_end_matches(": ").to_owned(), value.render(0, self))).collect()
    }

    /// A location by its path and what else it asks for, as it is written.
    pub(crate) fn matcher_of(&self, location: &Location) -> String {
        let Written::Group(_, items, _) = location.write() else { return String::new() };
        let keys = ["exact", "path", "regex", "over_regex", "methods", "when", "unless"];
        let shown = items.iter().filter(|(key, value)| {
            let said = !value.is_absent() && *value != Written::plain(&false);
            said && keys.contains(&key.trim_end_matches(": "))
        });
        let shown: Vec<String> =
            shown.map(|(key, value)| format!("{key}{}", value.render(0, self))).collect();
        format!("({})", shown.join(", "))
    }
}

impl Site {
    /// The name that it wants to be called by, if it was called by another.
    pub(crate) fn canonical_for(&self, host: &[u8]) -> Option<&str> {
        self.canonical.as_deref().filter(|name| name.as_bytes() != host)
    }

    /// Whether who comes by that scheme is sent to HTTPS.
    pub(crate) fn wants_https(&self, scheme: Scheme) -> bool {
        scheme == Scheme::Http && self.tls.as_ref().is_some_and(|tls| tls.redirect_http)
    }
}

impl Asks for Facts<'_> {
    fn method(&self) -> &[u8] {
        self.method
    }

    fn holds(&self, condition: usize) -> bool {
        When(condition).holds(self)
    }
}
