//! Rewrites: the path by which a request is routed again in its site. Which one applies is said here; the path is made by
//! [`crate::http::location`].

use super::condition::{Facts, When};
use regex_lite::Regex;

/// So often one request is rewritten at most.
pub(crate) const MOST: usize = 10;

/// One rewrite.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// It must be found in the path.
    pub(crate) regex: Option<Regex>,
    /// Template of the new path, and perhaps a query.
    pub(crate) to: String,
    /// Must hold.
    pub(crate) when: Option<When>,
    /// Must not hold.
    pub(crate) unless: Option<When>,
}

impl Rewrite {
    /// Whether it applies to every request.
    #[must_use]
    pub(crate) fn is_always(&self) -> bool {
        self.regex.is_none() && self.when.is_none() && self.unless.is_none()
    }

    /// Whether it applies to this one.
    #[must_use]
    pub(crate) fn applies(&self, facts: &Facts<'_>) -> bool {
        self.when.is_none_or(|when| when.holds(facts))
            && !self.unless.is_some_and(|unless| unless.holds(facts))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(&String::from_utf8_lossy(facts.path)))
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        let text = |rewrite: &Self| rewrite.regex.as_ref().map(|regex| regex.as_str().to_owned());
        (&self.to, self.when, self.unless) == (&other.to, other.when, other.unless)
            && text(self) == text(other)
    }
}
