//! A site that is closed for maintenance: what the operator says, the master keeps and the workers are told.

use serde::{Deserialize, Serialize};

/// What its clients are answered, and who is served all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The site, by its label.
    pub site: String,
    /// Blocks of addresses of clients that are served, as in `trusted_proxies`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Seconds after which clients may come again; 0: they are not told.
    #[serde(default)]
    pub retry_after: u64,
    /// What the page says; empty: the site's page for 503, or what the server says.
    #[serde(default)]
    pub message: String,
    /// Since when, in seconds since 1970-01-01T00:00:00Z.
    #[serde(default)]
    pub since: i64,
}

/// Most blocks, and characters of a message: with both a [`Maintenance`] fits the packet by which a worker is told.
pub(crate) const BLOCKS: usize = 32;
pub(crate) const CHARACTERS: usize = 300;

/// Whether this is a line of text that a page may say.
#[must_use]
pub(crate) fn is_message(text: &str) -> bool {
    text.chars().count() <= CHARACTERS && !text.chars().any(char::is_control)
}
