//! Whose addresses are let in where, ready to be asked: made anew when a list has changed.

use crate::config::Config;
use crate::config::credentials::Credentials;
use crate::policy::Policies;
use crate::policy::access::{Access, Block, Table};
use std::rc::Rc;

/// The tables of all places.
#[derive(Default)]
pub(super) struct Guards {
    /// Those of the sites, for what no location takes.
    sites: Vec<Option<Rc<Table>>>,
    /// By site and location. Places that demand the same share one.
    places: Vec<Vec<Option<Rc<Table>>>>,
}

impl Guards {
    /// Those of a configuration.
    pub(super) fn of(config: &Config, credentials: &Credentials) -> Self {
        let blocks = |list| credentials.blocks(config, list);
        let mut made = Vec::new();
        let mut table = |policies| table(policies, &mut made, blocks);
        let sites = config.sites.iter().map(|site| table(&site.policies)).collect();
        let mut places = Vec::with_capacity(config.sites.len());
        for site in &config.sites {
            places.push(site.locations.iter().map(|location| table(&location.policies)).collect());
        }
        Self { sites, places }
    }

    /// Who is let in at this location, or at the site where none takes the path, if anything is demanded there.
    pub(super) fn at(&self, site: usize, location: Option<usize>) -> Option<&Rc<Table>> {
        match location {
            Some(location) => self.places.get(site)?.get(location)?.as_ref(),
            None => self.sites.get(site)?.as_ref(),
        }
    }
}

fn table<'a, 'b>(
    policies: &'a Policies,
    made: &mut Vec<(&'a Access, Rc<Table>)>,
    blocks: impl Fn(usize) -> &'b [Block],
) -> Option<Rc<Table>> {
    let access = policies.access.get()?;
    if let Some((_, table)) = made.iter().find(|(known, _)| *known == access) {
        return Some(Rc::clone(table));
    }
    let table = Rc::new(Table::of(access, blocks));
    made.push((access, Rc::clone(&table)));
    Some(table)
}
