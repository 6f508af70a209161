//! Host and path to site and location. Pure: no I/O, no clock; the table is built once per generation.
//!
//! Order of the sites on a listener, as in nginx: an exact name, the longest suffix (`*.shop.example`), the longest prefix
//! (`shop.*`), the first regular expression in the order of the file, the first site without names.
//! Order of a site's locations, as in nginx: `exact`; the longest prefix, if it says `over_regex`; the first regular
//! expression in the order of the file; the longest prefix. A location whose [`Guard`] does not admit a request is, for that
//! request, as if it was not there; of equal paths the first in the order of the file that admits it counts.

#[cfg(test)]
mod tests;

use crate::http::message::is_one_of;
use regex_lite::Regex;
use std::borrow::Cow;

/// A host name in a site's `names`, lower case, without a dot at the end.
#[derive(Clone, Debug)]
pub(crate) enum HostPattern {
    /// `shop.example`
    Exact(String),
    /// `*.shop.example`; holds `.shop.example`.
    Suffix(String),
    /// `shop.*`; holds `shop.`.
    Prefix(String),
    /// `~^shop[0-9]+\\.example$`, without regard to case.
    Regex(Regex),
}

impl HostPattern {
    /// The name, if it is one.
    #[must_use]
    pub(crate) fn plain(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Suffix(_) | Self::Prefix(_) | Self::Regex(_) => None,
        }
    }

    /// The same as a name in a certificate, if there can be one for it.
    #[must_use]
    pub(crate) fn in_certificate(&self) -> Option<String> {
        match self {
            Self::Exact(name) => Some(name.clone()),
            Self::Suffix(suffix) => Some(format!("*{suffix}")),
            Self::Prefix(_) | Self::Regex(_) => None,
        }
    }
}

impl PartialEq for HostPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(two))
            | (Self::Suffix(one), Self::Suffix(two))
            | (Self::Prefix(one), Self::Prefix(two)) => one == two,
            (Self::Regex(one), Self::Regex(two)) => one.as_str() == two.as_str(),
            _ => false,
        }
    }
}

impl Eq for HostPattern {}

/// Which paths a location takes.
#[derive(Clone, Debug)]
pub(crate) enum Matcher {
    /// `exact: "/robots.txt"`.
    Exact(String),
    /// `path: "/static/"`, on segment boundaries: `/api` takes `/api` and `/api/…`, `/static/` does not take `/static`.
    Prefix {
        /// As written.
        path: String,
        /// Wins over regular expressions (nginx's `^~`).
        over_regex: bool,
    },
    /// `regex: "\\.php$"`, on the decoded path; bytes that are not UTF-8 count as U+FFFD.
    Regex(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(two)) => one == two,
            (Self::Prefix { path, over_regex }, Self::Prefix { path: path2, over_regex: over2 }) => {
                path == path2 && over_regex == over2
            }
            (Self::Regex(one), Self::Regex(two)) => one.as_str() == two.as_str(),
            _ => false,
        }
    }
}

/// What a location asks of a request besides its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard {
    /// One of these; none: any.
    pub(crate) methods: Vec<String>,
    /// The index of a condition that must hold.
    pub(crate) when: Option<usize>,
    /// The index of one that must not.
    pub(crate) unless: Option<usize>,
}

/// A request, as guards ask for it.
pub(crate) trait Asks {
    fn method(&self) -> &[u8];

    /// Whether the condition at this index holds.
    fn holds(&self, condition: usize) -> bool;
}

impl Guard {
    /// Whether it admits every request.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.methods.is_empty() && self.when.is_none() && self.unless.is_none()
    }

    /// Whether it admits this one.
    #[must_use]
    pub(crate) fn admits(&self, request: &impl Asks) -> bool {
        self.takes_method(request) && self.is_met(request)
    }

    fn takes_method(&self, request: &impl Asks) -> bool {
        self.methods.is_empty() || is_one_of(&self.methods, request.method())
    }

    fn is_met(&self, request: &impl Asks) -> bool {
        self.when.is_none_or(|when| request.holds(when))
            && !self.unless.is_some_and(|unless| request.holds(unless))
    }
}

/// What a site is for routing.
#[derive(Clone, Debug, Default)]
pub(crate) struct SiteSpec {
    /// Hosts; none: any host.
    pub(crate) names: Vec<HostPattern>,
    /// In the order of the file.
    pub(crate) locations: Vec<(Matcher, Guard)>,
}

/// All sites of a generation. Sites and locations are known by their index in what the table was made from. Looking up
/// allocates nothing, but for a path that is not UTF-8 at a site with regular expressions.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Name and site, sorted.
    exact: Vec<(String, usize)>,
    /// `.shop.example` and site, sorted.
    suffixes: Vec<(String, usize)>,
    /// `shop.` and site, sorted.
    prefixes: Vec<(String, usize)>,
    /// In the order of the file.
    regexes: Vec<(Regex, usize)>,
    sites: Vec<Site>,
}

#[derive(Debug)]
struct Site {
    is_nameless: bool,
    locations: Vec<(Matcher, Guard)>,
    /// Sorted by path, and by location.
    exact: Vec<Exact>,
    /// Sorted by path; of equal ones the first in the order of the file stands last.
    prefixes: Vec<Prefix>,
    /// Location of each regular expression, in the order of the file.
    regexes: Vec<usize>,
}

#[derive(Debug)]
struct Exact {
    path: String,
    location: usize,
    guarded: bool,
}

#[derive(Debug)]
struct Prefix {
    path: String,
    over_regex: bool,
    location: usize,
    guarded: bool,
    /// The longest other prefix in the list that this path begins with; of an equal one the next in the order of the file.
    parent: Option<usize>,
}

impl Table {
    /// Sorts the sites out. Of two equal names or paths the first in the order of the file counts.
    #[must_use]
    pub(crate) fn new(sites: Vec<SiteSpec>) -> Self {
        let mut table = Self::default();
        for (index, site) in sites.into_iter().enumerate() {
            for name in &site.names {
                match name {
                    HostPattern::Exact(name) => table.exact.push((name.to_ascii_lowercase(), index)),
                    HostPattern::Suffix(name) => table.suffixes.push((name.to_ascii_lowercase(), index)),
                    HostPattern::Prefix(name) => table.prefixes.push((name.to_ascii_lowercase(), index)),
                    HostPattern::Regex(regex) => table.regexes.push((regex.clone(), index)),
                }
            }
            table.sites.push(Site::new(site.names.is_empty(), site.locations));
        }
        table.exact.sort_unstable();
        table.suffixes.sort_unstable();
        table.prefixes.sort_unstable();
        table
    }

    /// The site that answers `host` (lower case, no port, no dot at the end) among those on a listener. `None`: no site
    /// names this host and none is nameless; what then answers is the configuration's `default_site`.
    #[must_use]
    pub(crate) fn site(&self, candidates: &[usize], host: &[u8]) -> Option<usize> {
        if let Some(site) = named(&self.exact, host, candidates) {
            return Some(site);
        }
        // From the left: the first dot begins the longest suffix. `*.a.b` takes neither `a.b` nor `.a.b`.
        let ends = if self.suffixes.is_empty() { &[][..] } else { host };
        let dots = ends.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.');
        for (dot, _) in dots {
            if let Some(site) = host.get(dot..).and_then(|suffix| named(&self.suffixes, suffix, candidates)) {
                return Some(site);
            }
        }
        if let Some(site) = self.site_by_start(candidates, host) {
            return Some(site);
        }
        candidates.iter().copied().find(|site| self.sites.get(*site).is_some_and(|site| site.is_nameless))
    }

    /// That of the longest prefix, else that of the first regular expression.
    fn site_by_start(&self, candidates: &[usize], host: &[u8]) -> Option<usize> {
        // From the right: the last dot ends the longest prefix. `a.*` takes neither `a` nor `a.`.
        let begins = if self.prefixes.is_empty() { &[][..] } else { host };
        let dots = begins.iter().enumerate().rev().skip(1).filter(|(_, byte)| **byte == b'.');
        for (dot, _) in dots {
            if let Some(site) = host.get(..=dot).and_then(|prefix| named(&self.prefixes, prefix, candidates))
            {
                return Some(site);
            }
        }
        if self.regexes.is_empty() || host.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(host);
        let takes = |(regex, site): &&(Regex, usize)| candidates.contains(site) && regex.is_match(&text);
        self.regexes.iter().find(takes).map(|(_, site)| *site)
    }

    /// The location of `site` that takes `path` (decoded once, normalised) of this request.
    #[must_use]
    pub(crate) fn location(&self, site: usize, path: &[u8], request: &impl Asks) -> Option<usize> {
        let site = self.sites.get(site)?;
        if let Some(found) = site.first_exact(path, request) {
            return Some(found);
        }
        let prefix = site.longest_prefix(path, request);
        if let Some(prefix) = prefix.filter(|prefix| prefix.over_regex) {
            return Some(prefix.location);
        }
        site.first_regex(path, request).or(prefix.map(|prefix| prefix.location))
    }

    /// Whether the path is one of a location's, whatever else it asks for.
    #[must_use]
    pub(crate) fn takes(&self, site: usize, location: usize, path: &[u8]) -> bool {
        self.matcher(site, location).is_some_and(|matcher| matcher.takes(path))
    }

    /// The methods for which some location of `site` would take the request, if that is all that it lacks.
    #[must_use]
    pub(crate) fn methods(&self, site: usize, path: &[u8], request: &impl Asks) -> Vec<&str> {
        let mut methods: Vec<&str> = Vec::new();
        let locations = self.sites.get(site).map_or(&[][..], |site| &site.locations);
        let lacking = locations.iter().filter(|(_, guard)| !guard.methods.is_empty());
        for (_, guard) in lacking.filter(|(matcher, _)| matcher.takes(path)) {
            if guard.is_met(request) && !guard.takes_method(request) {
                let head = guard.methods.iter().any(|method| method == "GET").then_some("HEAD");
                methods.extend(guard.methods.iter().map(String::as_str).chain(head));
            }
        }
        let mut seen = Vec::new();
        methods.retain(|method| {
            let is_new = !seen.contains(method);
            seen.push(*method);
            is_new
        });
        methods
    }

    /// What of `path` follows the prefix of a location that takes it: `/a.css` or `a.css` after `/static` or `/static/`.
    /// Nothing after an exact path, everything after a regular expression.
    #[must_use]
    pub(crate) fn rest<'a>(&self, site: usize, location: usize, path: &'a [u8]) -> &'a [u8] {
        match self.matcher(site, location) {
            Some(Matcher::Prefix { path: prefix, .. }) => path.get(prefix.len()..).unwrap_or_default(),
            Some(Matcher::Exact(_)) => &[],
            Some(Matcher::Regex(_)) | None => path,
        }
    }

    /// What of `path` names a file below the root of a location that takes it: as [`Table::rest`], but the last segment
    /// of an exact path, so that `(exact: "/favicon.ico", to: Files(root: "static"))` is `static/favicon.ico`.
    #[must_use]
    pub(crate) fn file<'a>(&self, site: usize, location: usize, path: &'a [u8]) -> &'a [u8] {
        match self.matcher(site, location) {
            Some(Matcher::Exact(_)) => path.rsplit(|byte| *byte == b'/').next().unwrap_or_default(),
            _ => self.rest(site, location, path),
        }
    }

    /// What the groups of a location's regular expression find in a path; nothing, if it has none.
    #[must_use]
    pub(crate) fn groups(&self, site: usize, location: usize, path: &[u8]) -> Vec<(String, Vec<u8>)> {
        match self.matcher(site, location) {
            Some(Matcher::Regex(regex)) => groups(regex, path),
            _ => Vec::new(),
        }
    }

    fn matcher(&self, site: usize, location: usize) -> Option<&Matcher> {
        self.sites.get(site)?.locations.get(location).map(|(matcher, _)| matcher)
    }
}

/// The groups of a regular expression, by number, and by name where they have one.
pub(crate) fn groups_of(regex: &Regex) -> Vec<String> {
    let named = regex.capture_names().enumerate().skip(1);
    named.flat_map(|(number, name)| [Some(number.to_string()), name.map(str::to_owned)]).flatten().collect()
}

/// What its groups find in a path.
pub(crate) fn groups(regex: &Regex, path: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = String::from_utf8_lossy(path);
    let Some(found) = regex.captures(&text) else { return Vec::new() };
    let named = regex.capture_names().enumerate().skip(1);
    let found = named.filter_map(|(number, name)| Some((number, name, found.get(number)?.as_str())));
    found
        .flat_map(|(number, name, text)| {
            let names = [Some(number.to_string()), name.map(str::to_owned)];
            names.into_iter().flatten().map(|name| (name, text.as_bytes().to_vec()))
        })
        .collect()
}

/// The first site of that name, in the order of the file, that is a candidate.
fn named(names: &[(String, usize)], name: &[u8], candidates: &[usize]) -> Option<usize> {
    let start = names.partition_point(|(have, _)| have.as_bytes() < name);
    let same = names.get(start..)?.iter().take_while(|(have, _)| have.as_bytes() == name);
    same.map(|(_, site)| *site).find(|site| candidates.contains(site))
}

impl Matcher {
    fn takes(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix { path: prefix, .. } => is_below(prefix, path),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(path)),
        }
    }
}

impl Site {
    fn new(is_nameless: bool, locations: Vec<(Matcher, Guard)>) -> Self {
        let (mut exact, mut prefixes, mut regexes) = (Vec::new(), Vec::new(), Vec::new());
        for (location, (matcher, guard)) in locations.iter().enumerate() {
            let guarded = !guard.is_open();
            match matcher {
                Matcher::Exact(path) => exact.push(Exact { path: path.clone(), location, guarded }),
                Matcher::Prefix { path, over_regex } => prefixes.push(Prefix {
                    path: path.clone(),
                    over_regex: *over_regex,
                    location,
                    guarded,
                    parent: None,
                }),
                Matcher::Regex(_) => regexes.push(location),
            }
        }
        exact.sort_unstable_by(|one, other| (&one.path, one.location).cmp(&(&other.path, other.location)));
        prefixes.sort_unstable_by(|one, other| (&one.path, other.location).cmp(&(&other.path, one.location)));
        for index in 0..prefixes.len() {
            // Sorted: the prefixes of a path stand before it, and the nearest one before it is the longest.
            prefixes[index].parent = (0..index)
                .rev()
                .find(|earlier| prefixes[index].path.starts_with(prefixes[*earlier].path.as_str()));
        }
        Self { is_nameless, locations, exact, prefixes, regexes }
    }

    fn admits(&self, location: usize, request: &impl Asks) -> bool {
        self.locations.get(location).is_some_and(|(_, guard)| guard.admits(request))
    }

    fn first_exact(&self, path: &[u8], request: &impl Asks) -> Option<usize> {
        let start = self.exact.partition_point(|exact| exact.path.as_bytes() < path);
        let mut same = self.exact.get(start..)?.iter().take_while(|exact| exact.path.as_bytes() == path);
        let found = same.find(|exact| !exact.guarded || self.admits(exact.location, request));
        found.map(|exact| exact.location)
    }

    /// Every prefix of `path` is also one of whatever stands between the two in the order, so that all of them are
    /// ancestors of the last entry that is not greater than `path`: one binary search, then a walk to the parents.
    fn longest_prefix(&self, path: &[u8], request: &impl Asks) -> Option<&Prefix> {
        let after = self.prefixes.partition_point(|prefix| prefix.path.as_bytes() <= path);
        let mut next = after.checked_sub(1);
        while let Some(prefix) = next.and_then(|index| self.prefixes.get(index)) {
            if is_below(&prefix.path, path) && (!prefix.guarded || self.admits(prefix.location, request)) {
                return Some(prefix);
            }
            next = prefix.parent;
        }
        None
    }

    fn first_regex(&self, path: &[u8], request: &impl Asks) -> Option<usize> {
        if self.regexes.is_empty() {
            return None;
        }
        let text: Cow<'_, str> = String::from_utf8_lossy(path);
        let takes = |location: &&usize| {
            self.locations.get(**location).is_some_and(|(matcher, guard)| {
                let Matcher::Regex(regex) = matcher else { return false };
                regex.is_match(&text) && (guard.is_open() || guard.admits(request))
            })
        };
        self.regexes.iter().find(takes).copied()
    }
}

/// On segment boundaries: what follows is nothing or a segment of its own.
fn is_below(prefix: &str, path: &[u8]) -> bool {
    path.strip_prefix(prefix.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || prefix.ends_with('/'))
}
