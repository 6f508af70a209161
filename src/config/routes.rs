//! What routing is made from: sites and locations, and how a request looks to them.

use super::{Config, Site};
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

impl Asks for Facts<'_> {
    fn method(&self) -> &[u8] {
        self.method
    }

    fn holds(&self, condition: usize) -> bool {
        When(condition).holds(self)
    }
}
