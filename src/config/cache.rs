//! `cache: (…)`: what the kept responses of all sites may take of memory and disk.

use super::located::{Given, Report};
use super::problem::Complaint;
use super::walk::{Section, Walk};
use std::path::PathBuf;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Bytes in memory, of all workers together.
    pub(crate) memory: u64,
    /// A directory for what does not fit there; `None`: nothing is kept on disk.
    pub(crate) path: Option<PathBuf>,
    /// Bytes there.
    pub(crate) disk: u64,
    /// The largest body that is kept.
    pub(crate) max_object: u64,
}

/// Less holds nothing worth a look.
const LEAST_MEMORY: u64 = 1 << 20;
/// A mapping of more is refused by some kernels, and nobody has as many bytes of responses that are asked for.
const MOST_MEMORY: u64 = 1 << 40;

impl Default for Cache {
    fn default() -> Self {
        Self { memory: 64 << 20, path: None, disk: 10 << 30, max_object: 16 << 20 }
    }
}

impl Section for Cache {
    const MEANT: Option<&'static str> = Some("memory");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("memory", &mut self.memory);
        keys.key("path", &mut self.path);
        keys.key("disk", &mut self.disk);
        keys.key("max_object", &mut self.max_object);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if !(LEAST_MEMORY..=MOST_MEMORY).contains(&self.memory) {
            let complaint = Complaint::new("`memory` is out of range", "from \"1MiB\" to \"1TiB\"");
            given.complain(report, complaint);
        }
        // As it is written for another program it has all keys.
        if given.has("disk") && self.path.is_none() && self.disk != Self::default().disk {
            let hint = "name a directory for it, path: \"/var/cache/hatchery\"";
            given.complain(report, Complaint::new("`disk` has no `path`", hint));
        }
        if self.max_object == 0 {
            let hint = "to keep nothing leave `cache_responses` out";
            given.complain(report, Complaint::new("`max_object` must be more than nothing", hint));
        }
    }
}
