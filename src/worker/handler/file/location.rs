//! What a worker holds of a static location. Its root is open from the first request on that needs it, so that locations
//! which nobody asks for cost nothing; of very many that are used, those are closed that were not for longest.

use super::Due;
use super::first::{First, Lookup};
use super::manifest::Manifest;
use super::root::{Directory, Replaced, Root, look};
use super::watch::Watches;
use crate::buf::Far;
use crate::config;
use crate::config::boot::StaticRoot;
use crate::timer::Time;
use crate::worker::handler::looks::Looks;

/// There is no such directory, or it cannot be opened.
pub(super) const MISSING: &str = "the static root is missing";
/// A sandbox is of what was there when the worker started.
pub(super) const OUT_OF_REACH: &str = "the static root was replaced before this worker had opened it";

/// See the module.
#[derive(Debug)]
pub(super) struct StaticLocation {
    /// Distinguishes what is cached of different directories.
    pub(super) number: u32,
    /// The directory that may be served; `None`: there was none.
    good: Option<StaticRoot>,
    pub(super) root: Option<Root>,
    pub(super) manifest: Manifest,
    /// Why it could not be opened: it answers nothing until a look finds it.
    pub(super) lost: Option<&'static str>,
    /// Whether its path names another directory now: a deployment may have put one in its place.
    pub(super) looks: Looks,
    /// When it was asked for last.
    pub(super) used: Time,
}

impl StaticLocation {
    /// One that nobody has asked for; `good`: the directory that may be served.
    pub(super) fn new(number: u32, good: Option<StaticRoot>, lost: Option<&'static str>) -> Self {
        Self {
            number,
            good,
            root: None,
            manifest: Manifest::default(),
            lost,
            looks: Looks::default(),
            used: Time::default(),
        }
    }

    /// Device and inode of the directory that may be served.
    pub(super) fn id(&self) -> Option<(u64, u64)> {
        self.good.as_ref().map(|root| root.id)
    }

    /// What has to be done before it can look for files: the directory is opened where it is, whatever the path of the
    /// location leads to by now.
    pub(super) fn open_first(&self, settings: &config::Files) -> First {
        let path = self.good.as_ref().map_or(&settings.root, |root| &root.real);
        First::Lookup(Lookup::root(self.number, self.id(), path))
    }

    /// A look at the root, which may take as long as it likes.
    pub(super) fn due(&self, place: (usize, usize), settings: &config::Files) -> Due {
        let path = settings.root.clone();
        let look = look(path.clone(), self.id(), self.lost.is_some());
        // What was opened keeps working.
        let look = Box::new(move || look().unwrap_or(Replaced::No));
        Due { place, far: Far::Root(self.number), path, look }
    }

    /// Takes in the directory that a thread has opened.
    pub(super) fn open(&mut self, directory: Directory, watches: &mut Watches) {
        self.lost = None;
        self.root = Some(Root::of(directory, self.number, watches));
    }
}
