//! Certificates that authorities have given, found by the names that they are for. The one for the most names of a site serves
//! until there is one for exactly these: browsers that were told to come by HTTPS only take no other.

use super::{chain, store, wanted};
use crate::config::certificate::Facts;
use crate::config::credentials::Certificate;
use crate::config::tls::Acme;
use crate::config::{Certificates, Site};
use crate::renewal;
use crate::timer::Wall;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Default)]
pub(in crate::master) struct Issued {
    all: Vec<One>,
    /// Places in the list.
    by_name: HashMap<String, Vec<usize>>,
    /// The directories that were read.
    read: BTreeSet<PathBuf>,
}

struct One {
    facts: Facts,
    certificate: Certificate,
    /// What one of that authority for its names is known by.
    key: String,
    /// It comes from disk.
    is_kept: bool,
}

/// The one that serves a site.
pub(in crate::master) struct Best<'a> {
    pub(in crate::master) certificate: &'a Certificate,
    pub(in crate::master) facts: &'a Facts,
    /// Names of the site that it is not for.
    pub(in crate::master) missing: Vec<String>,
    /// It is of the authority and for the names of the site and no others, and good now.
    pub(in crate::master) is_right: bool,
}

impl Issued {
    /// One more, that serves that site: of its authority, if it has `Acme`.
    pub(in crate::master) fn add(&mut self, facts: Facts, certificate: Certificate, site: &Site) {
        if let Some(authority) = authority(site) {
            let key = renewal::key(&authority.directory, &facts.names);
            self.put(One { facts, certificate, key, is_kept: false });
        }
    }

    fn put(&mut self, one: One) {
        for name in &one.facts.names {
            self.by_name.entry(name.clone()).or_default().push(self.all.len());
        }
        self.all.push(one);
    }

    /// The best one for a site; what is on disk is looked at if need be.
    pub(in crate::master) fn serving(&mut self, site: &Site, now: Wall) -> Option<Best<'_>> {
        let authority = authority(site)?;
        if self.best(site, now).is_none_or(|best| !best.is_right) {
            self.read(&authority.storage);
        }
        self.best(site, now)
    }

    /// The best one for a site of those that are known.
    pub(in crate::master) fn best(&self, site: &Site, now: Wall) -> Option<Best<'_>> {
        let authority = authority(site)?;
        let names = wanted::names(site);
        let key = renewal::key(&authority.directory, &names);
        let places: BTreeSet<usize> =
            names.iter().filter_map(|name| self.by_name.get(name)).flatten().copied().collect();
        let ones = places.into_iter().filter_map(|place| self.all.get(place));
        let ranked = ones.map(|one| {
            let missing: Vec<String> = names.iter().filter(|name| !one.facts.covers(name)).cloned().collect();
            let is_good = one.facts.is_valid(now.seconds);
            let is_exact = missing.is_empty() && one.facts.names.len() == names.len();
            let is_own = one.key == key;
            let rank = (is_good, names.len() - missing.len(), is_exact, is_own, one.facts.not_after);
            let (certificate, facts) = (&one.certificate, &one.facts);
            (rank, one, Best { certificate, facts, missing, is_right: is_good && is_exact && is_own })
        });
        let mut ranked: Vec<_> = ranked.collect();
        ranked.sort_by_key(|(rank, ..)| Reverse(*rank));
        ranked.into_iter().find(|(_, one, _)| one.is_sound(now)).map(|(.., best)| best)
    }

    /// What is kept in a directory, once. What is wrong with a file is told when its certificate is followed.
    fn read(&mut self, storage: &Path) {
        if !self.read.insert(storage.to_owned()) {
            return;
        }
        for (key, kept) in store::certificates(storage) {
            if let Some(facts) = kept.chain.first().and_then(|der| Facts::of(der)) {
                let certificate = Certificate { site: 0, chain: kept.chain, key: kept.key, ocsp: None };
                self.put(One { facts, certificate, key, is_kept: true });
            }
        }
    }
}

impl One {
    /// What is on disk may be anything; there may be much of it that nobody asks for.
    fn is_sound(&self, now: Wall) -> bool {
        let Certificate { chain, key, .. } = &self.certificate;
        !self.is_kept || chain::check(chain, key, &[], now.seconds).is_ok()
    }
}

fn authority(site: &Site) -> Option<&Acme> {
    match &site.tls.as_ref()?.certificates {
        Certificates::Acme(authority) => Some(authority),
        _ => None,
    }
}
