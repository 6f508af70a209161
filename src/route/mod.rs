//! Host and path to site and location. Pure: no I/O, no clock; the table is built once per generation.

use regex_lite::Regex;

/// A host name in a site's `names`, lower case, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `shop.example`
    Exact(String),
    /// `*.shop.example`; holds `.shop.example`.
    Suffix(String),
}

/// Which paths a location takes.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// `exact: "/robots.txt"`.
    Exact(String),
    /// `path: "/static/"`, on segment boundaries: `/api` takes `/api` and `/api/…`, `/static/` does not take `/static`.
    Prefix {
        /// As written.
        path: String,
        /// Wins over regular expressions (nginx's `^~`).
        over_regex: bool,
    },
    /// `regex: "\\.php$"`, on the decoded path.
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
