//! The configuration as RON, every default written out: what `hatchery config` prints, and what loads to the same.

use super::Config;
use super::load::{load_with_warnings, written};
use super::problem::Problem;
use super::source::Source;
use std::io;
use std::path::{Path, PathBuf};

/// The configuration as resolved. What has no default and is not given is left out.
#[must_use]
pub fn to_ron(config: &Config) -> String {
    format!("{}\n", written(config).render(0, config))
}

/// Reads what [`to_ron`] wrote, for a configuration from `origin`. Asks neither the disk nor the environment.
///
/// # Errors
/// What this version does not understand.
pub fn from_resolved(text: &str, origin: &str) -> Result<Config, Vec<Problem>> {
    let (config, _) = load_with_warnings(Path::new(RESOLVED), &Resolved(text))?;
    Ok(Config { origin: origin.to_owned(), ..config })
}

/// What a resolved configuration is called in messages.
const RESOLVED: &str = "resolved configuration";

/// Holds one file and nothing else.
struct Resolved<'a>(&'a str);

impl Source for Resolved<'_> {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn is_file(&self, _: &Path) -> bool {
        false
    }

    fn is_dir(&self, _: &Path) -> bool {
        false
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/")
    }

    fn cpus(&self) -> u32 {
        1
    }
}
