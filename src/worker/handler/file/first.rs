//! What has to be done before a request can be answered, elsewhere than in the loop: jobs for threads, and what they bring.
//! The request is then answered again from its beginning, knowing more than before.

use super::entry::{IN_MEMORY, OnDisk};
use super::listing::Wanted;
use super::manifest::{self, Contents};
use super::root::{Replaced, Root, look, open_file};
use crate::buf::{Far, OpenFile};
use crate::config;
use crate::sys::file::{Kind, Metadata, is_near, metadata, read_at};
use crate::worker::reader::{FarFile, Hand};
use nix::errno::Errno;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub(crate) enum First {
    /// A part of a file on a disk of this machine has to be in memory.
    Near(OnDisk),
    /// Something that takes its time, or may never end.
    Lookup(Lookup),
}

/// Work for a thread.
pub(crate) struct Lookup {
    /// Who has brought what may not answer; `None`: it is near, only long.
    pub(crate) far: Option<Far>,
    /// What it is about, for the log.
    pub(crate) path: PathBuf,
    /// The work.
    pub(crate) work: Box<dyn FnOnce(&Hand) -> Looked + Send>,
}

/// What a job has brought; opaque to all but [`Known`].
#[derive(Debug)]
pub(crate) struct Looked(What);

#[derive(Debug)]
enum What {
    Root(io::Result<Replaced>),
    Name(Vec<u8>, io::Result<(Metadata, LookedUp)>),
    Manifest(Contents),
    Listing(io::Result<Vec<u8>>),
}

/// A name that a thread has looked up.
#[derive(Debug)]
enum LookedUp {
    Small(Vec<u8>),
    Near(OwnedFd),
    Far(FarFile),
    Directory,
    Other,
}

/// The same in the loop.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A small file.
    Small(Rc<[u8]>),
    /// A file that is sent from.
    File(Rc<OpenFile>),
    /// A directory.
    Directory,
    /// Nothing that is served.
    Other,
}

/// A name that was looked up, or the number of the error.
type Name = Result<(Metadata, Seen), i32>;

/// What is known for one request; nothing of most.
#[derive(Debug, Default)]
pub(crate) struct Known(RefCell<Option<Box<Brought>>>);

/// What jobs have brought.
#[derive(Debug, Default)]
struct Brought {
    root: Option<io::Result<Replaced>>,
    names: HashMap<Vec<u8>, Name>,
    manifest: Option<Contents>,
    has_manifest: bool,
    listing: Option<io::Result<Vec<u8>>>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("far", &self.far).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Known {
    /// Takes in what a job has brought.
    pub(crate) fn add(&self, looked: Looked) {
        let mut known = self.0.borrow_mut();
        let brought = known.get_or_insert_default();
        match looked.0 {
            What::Root(opened) => brought.root = Some(opened),
            What::Name(path, result) => {
                let seen = result.map(|(metadata, found)| (metadata, Seen::of(found)));
                let seen = seen.map_err(|error| error.raw_os_error().unwrap_or(Errno::EIO as i32));
                brought.names.insert(path, seen);
            }
            What::Manifest(contents) => {
                brought.manifest = Some(contents);
                brought.has_manifest = true;
            }
            What::Listing(made) => brought.listing = Some(made),
        }
    }

    fn take<T>(&self, of: impl FnOnce(&mut Brought) -> Option<T>) -> Option<T> {
        of(self.0.borrow_mut().as_mut()?)
    }

    /// The root, opened, once.
    pub(super) fn take_root(&self) -> Option<io::Result<Replaced>> {
        self.take(|brought| brought.root.take())
    }

    /// What a name is, if it was looked up.
    pub(super) fn name(&self, path: &[u8]) -> Option<io::Result<(Metadata, Seen)>> {
        let known = self.0.borrow();
        Some(known.as_ref()?.names.get(path)?.clone().map_err(io::Error::from_raw_os_error))
    }

    /// Whether the manifest was read for this request.
    pub(super) fn has_manifest(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|brought| brought.has_manifest)
    }

    /// It, once.
    pub(super) fn take_manifest(&self) -> Option<Contents> {
        self.take(|brought| brought.manifest.take())
    }

    /// The listing, once.
    pub(super) fn take_listing(&self) -> Option<io::Result<Vec<u8>>> {
        self.take(|brought| brought.listing.take())
    }
}

impl Seen {
    fn of(found: LookedUp) -> Self {
        match found {
            LookedUp::Small(data) => Self::Small(data.into()),
            LookedUp::Near(file) => Self::File(Rc::new(file.into())),
            LookedUp::Far(file) => Self::File(Rc::new(file.into())),
            LookedUp::Directory => Self::Directory,
            LookedUp::Other => Self::Other,
        }
    }
}

impl Lookup {
    /// Opens a root of this number, which was this directory.
    pub(super) fn root(number: u32, known: Option<(u64, u64)>, path: &Path) -> Self {
        let (path, far) = (path.to_owned(), Some(Far::Root(number)));
        let opened = look(path.clone(), known, true);
        Self { far, path, work: Box::new(move |_: &Hand| Looked(What::Root(opened()))) }
    }

    /// Looks a name up that is far; `most`: a file of so many bytes is read at once.
    pub(super) fn name(root: &Root, settings: &config::Files, path: &[u8], most: u64) -> Self {
        let (directory, links, far) = (root.shared(), settings.symlinks.clone(), Far::Root(root.number));
        let path = path.to_vec();
        let shown = shown(settings, &path);
        let work = move |hand: &Hand| {
            let found =
                open_file(directory.as_fd(), &path, &links).and_then(|file| find(file, most, far, hand));
            Looked(What::Name(path, found))
        };
        Self { far: Some(far), path: shown, work: Box::new(work) }
    }

    /// Reads the manifest of a root.
    pub(super) fn manifest(root: &Root, settings: &config::Files) -> Self {
        let directory = root.shared();
        let work = move |_: &Hand| Looked(What::Manifest(manifest::load(directory.as_fd())));
        Self { far: far(root), path: shown(settings, manifest::NAME.as_bytes()), work: Box::new(work) }
    }

    /// Lists a directory.
    pub(super) fn listing(root: &Root, settings: &config::Files, path: &[u8], wanted: Wanted) -> Self {
        let directory = root.shared();
        let work = move |_: &Hand| Looked(What::Listing(wanted.make(directory.as_fd())));
        Self { far: far(root), path: shown(settings, path), work: Box::new(work) }
    }
}

fn far(root: &Root) -> Option<Far> {
    (!root.is_near()).then_some(Far::Root(root.number))
}

fn shown(settings: &config::Files, path: &[u8]) -> PathBuf {
    settings.root.join(Path::new(std::ffi::OsStr::from_bytes(path)))
}

/// What was opened. Whatever is not kept is closed here.
fn find(file: OwnedFd, most: u64, far: Far, hand: &Hand) -> io::Result<(Metadata, LookedUp)> {
    let (found, data) = load(file.as_fd(), most)?;
    let what = match (found.kind, data) {
        (Kind::Regular, Some(data)) => LookedUp::Small(data),
        (Kind::Regular, None) if is_near(file.as_fd()) => LookedUp::Near(file),
        (Kind::Regular, None) => LookedUp::Far(FarFile::new(file, far, hand)),
        (Kind::Directory, _) => LookedUp::Directory,
        (Kind::Other, _) => LookedUp::Other,
    };
    Ok((found, what))
}

/// What a file is, and a copy of it made between two equal looks, if it is small.
fn load(file: BorrowedFd<'_>, most: u64) -> io::Result<(Metadata, Option<Vec<u8>>)> {
    // A file that changes while it is read is read again.
    for _ in 0..4 {
        let found = metadata(file)?;
        if found.kind != Kind::Regular || found.size > most.min(IN_MEMORY) {
            return Ok((found, None));
        }
        let data = read_at(file, 0, found.size as usize)?;
        if metadata(file)?.stamp() == found.stamp() && data.len() as u64 == found.size {
            return Ok((found, Some(data)));
        }
    }
    Err(Errno::EAGAIN.into())
}
