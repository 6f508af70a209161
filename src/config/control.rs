//! `control`: where commands reach the server, and who may give them.

use super::listen::access;
use super::problem::Complaint;
use super::walk::{Section, Walk};
use crate::sys::place::Access;
use std::path::PathBuf;

/// The control socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Control {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whose members may give commands too, besides root and the user of the server.
    pub(crate) group: Option<String>,
}

impl Section for Control {
    const SHORT: Option<&'static str> = Some("path");
    const BRIEF: bool = true;

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("path", "\"/run/hatchery/control.sock\"", &mut self.path);
        keys.key("group", &mut self.group);
    }
}

impl From<PathBuf> for Control {
    fn from(path: PathBuf) -> Self {
        Self { path, group: None }
    }
}

impl Control {
    /// Who may connect to it.
    ///
    /// # Errors
    /// As [`access()`].
    pub(crate) fn access(&self) -> Result<Access, Complaint> {
        access(if self.group.is_some() { 0o660 } else { 0o600 }, self.group.as_deref())
    }
}
