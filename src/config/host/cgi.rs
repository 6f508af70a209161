//! CGI (RFC 3875): scripts below a directory, each started for one request by a host of ours, `hatchery cgi-host`
//! (docs/decisions/0030-cgi.md).

use super::super::files::Symlinks;
use super::HostProgram;
use crate::control::cgi::{self, Links};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The scripts below a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripts {
    /// The directory.
    pub(crate) root: PathBuf,
    /// Which symbolic links lead to a script.
    pub(crate) symlinks: Symlinks,
    /// Endings of names, and the programs that run such scripts.
    pub(crate) interpreters: Vec<(String, PathBuf)>,
    /// Longest time until the response head, and without anything more of the response; 60 s.
    pub(crate) timeout: Duration,
    /// They see `Authorization`.
    pub(crate) pass_authorization: bool,
    /// Scripts that run at a time; 16.
    pub(crate) max_processes: u32,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            symlinks: Symlinks::Beneath,
            interpreters: Vec::new(),
            timeout: Duration::from_secs(60),
            pass_authorization: false,
            max_processes: 16,
        }
    }
}

impl Scripts {
    /// The program that is running, again: what it is told stands on its standard input.
    pub(super) fn program(&self) -> HostProgram<'_> {
        let links = match &self.symlinks {
            Symlinks::Refuse => Links::Refuse,
            Symlinks::Beneath => Links::Beneath,
            Symlinks::Follow(to) => Links::Follow(to.clone()),
        };
        let scripts = cgi::Scripts {
            root: self.root.clone(),
            links,
            interpreters: self.interpreters.clone(),
            timeout: self.timeout,
            pass_authorization: self.pass_authorization,
            units: self.units(),
        };
        // What stands in a configuration is text, so this fails for nothing.
        let input = serde_json::to_string(&scripts).unwrap_or_default();
        let file = Path::new("/proc/self/exe");
        HostProgram { file, arguments: &["cgi-host"], input: Cow::Owned(input), settings: Vec::new() }
    }

    pub(super) fn units(&self) -> u16 {
        u16::try_from(self.max_processes).unwrap_or(u16::MAX)
    }
}
