//! What the master tells the process that runs the scripts of a directory (`hatchery cgi-host`), on its standard input, as
//! JSON.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Scripts below a directory, and how they are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scripts {
    /// The directory.
    pub(crate) root: PathBuf,
    /// Which symbolic links lead to a script.
    pub(crate) links: Links,
    /// What runs scripts whose names end so, in place of the script itself.
    pub(crate) interpreters: Vec<(String, PathBuf)>,
    /// Longest time until the head of a response, and without anything more of it; and from there to the script's end.
    pub(crate) timeout: Duration,
    /// Scripts are shown what clients log in with.
    pub(crate) pass_authorization: bool,
    /// Most that run at a time.
    pub(crate) units: u16,
}

/// Which symbolic links are followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Links {
    /// None.
    Refuse,
    /// Those that stay below the root.
    Beneath,
    /// Those, and those to these directories.
    Follow(Vec<PathBuf>),
}
