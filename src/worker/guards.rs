//! Whose addresses are let in where, ready to be asked: made anew when a list has changed.

use crate::config::credentials::Credentials;
use crate::config::{Config, ListFrom};
use crate::policy::access::{Access, Block, Table};
use std::rc::Rc;

/// The tables of all places.
#[derive(Default)]
pub(super) struct Guards {
    /// By site and location. Places that demand the same share one.
    places: Vec<Vec<Option<Rc<Table>>>>,
}

impl Guards {
    /// Those of a configuration.
    pub(super) fn of(config: &Config, credentials: &Credentials) -> Self {
        let blocks = |list: usize| -> &[Block] {
            match config.lists.get(list).map(|list| &list.from) {
                Some(ListFrom::Here(blocks)) => blocks,
                Some(ListFrom::File(path)) => {
                    let file = credentials.lists.iter().find(|file| file.path == *path);
                    file.map_or(&[], |file| &file.blocks)
                }
                None => &[],
            }
        };
        let mut made: Vec<(&Access, Rc<Table>)> = Vec::new();
        let mut places = Vec::with_capacity(config.sites.len());
        for site in &config.sites {
            let mut own = Vec::with_capacity(site.locations.len());
            for location in &site.locations {
                let Some(access) = location.policies.access.get() else {
                    own.push(None);
                    continue;
                };
                let known = made.iter().find(|(known, _)| *known == access);
                let table = known.map(|(_, table)| Rc::clone(table)).unwrap_or_else(|| {
                    let table = Rc::new(Table::of(access, blocks));
                    made.push((access, Rc::clone(&table)));
                    table
                });
                own.push(Some(table));
            }
            places.push(own);
        }
        Self { places }
    }

    /// Who is let in at this place, if anything is demanded there.
    pub(super) fn at(&self, (site, location): (usize, usize)) -> Option<&Rc<Table>> {
        self.places.get(site)?.get(location)?.as_ref()
    }
}
