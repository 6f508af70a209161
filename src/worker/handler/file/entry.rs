//! What is kept of a path: what it leads to, with everything of the answer that does not change from request to request.

use super::response::About;
use crate::buf::{OpenFile, Segment};
use crate::http::encoding::{Encoding, pick};
use crate::http::{RequestHead, ResponseHead};
use crate::sys::file::{Metadata, read_at};
use crate::sys::page_cache::read_if_cached;
use crate::timer::{Time, Wall};
use crate::worker::heads::SharedHead;
use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// What a path leads to.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) found: Found,
    /// Believed until then.
    pub(super) until: Cell<Time>,
    /// Every change is told.
    pub(super) watched: bool,
    /// One `fstatat` of this path tells whether it still holds; `None`: it has to be found again.
    pub(super) recheck: Option<Box<[u8]>>,
}

/// See [`Entry`].
#[derive(Clone, Debug)]
pub(super) enum Found {
    File(Rc<File>),
    /// The path has to end with a slash.
    Directory,
    /// A directory without an index file, to be listed.
    Listing,
    /// Nothing that is served; the status and why.
    Nothing(u16, &'static str),
}

/// A file, in all codings it is kept in; the plain one is the first.
#[derive(Debug)]
pub(super) struct File {
    pub(super) variants: Vec<Variant>,
}

/// A file in one coding.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) about: About,
    pub(super) etag: Box<str>,
    pub(super) metadata: Metadata,
    pub(super) body: Body,
    pub(super) whole: SharedHead,
    pub(super) not_modified: SharedHead,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A copy made between two equal `fstat`s.
    Memory(Rc<[u8]>),
    /// In the file.
    File(Rc<OpenFile>),
}

/// EMFILE and its kin.
pub(super) const EXHAUSTED: &str = "no descriptors or memory left to open the file";

/// Where inotify tells of changes, a look from time to time finds what it cannot see: a file system mounted over a
/// directory, a file that is written to through a mapping.
const BELIEVED_WATCHED: Duration = Duration::from_secs(10);
const BELIEVED: Duration = Duration::from_secs(1);

/// How long what was found is believed: see [`Entry::until`].
pub(super) fn believed_until(now: Time, watched: bool) -> Time {
    now.after(if watched { BELIEVED_WATCHED } else { BELIEVED })
}

/// Up to here a file is read into memory: it is cheaper to send from there than by `sendfile`.
pub(super) const IN_MEMORY: u64 = 256 * 1024;

impl Variant {
    pub(super) fn new(about: About, metadata: Metadata, body: Body, now: Wall) -> Self {
        let whole = SharedHead::new(&about.whole(now), about.size);
        let not_modified = SharedHead::new(&about.not_modified(), 0);
        let etag = about.etag().into();
        Self { about, etag, metadata, body, whole, not_modified }
    }

    /// `len` bytes from `offset` on; with `waits` even if they have to come from a disk.
    ///
    /// # Errors
    /// EIO; `InvalidData` if the file is not any more what it was when it was opened; `WouldBlock` without `waits`.
    pub(super) fn segment(&self, offset: u64, len: u64, waits: bool) -> io::Result<Option<Segment>> {
        if len == 0 {
            return Ok(None);
        }
        Ok(Some(match &self.body {
            Body::Memory(data) => Segment::Shared {
                data: Rc::clone(data),
                start: usize::try_from(offset).unwrap_or(usize::MAX),
                end: usize::try_from(offset.saturating_add(len)).unwrap_or(usize::MAX),
            },
            // Not worth a place in the cache.
            Body::File(file) if self.metadata.size <= IN_MEMORY && file.far().is_none() => {
                let data = if waits {
                    read_at(file.as_fd(), offset, len as usize)?
                } else {
                    read_if_cached(file.as_fd(), offset, len as usize)?.ok_or(io::ErrorKind::WouldBlock)?
                };
                let is_same = crate::sys::file::metadata(file.as_fd())?.stamp() == self.metadata.stamp();
                if !is_same || data.len() as u64 != len {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the file has changed"));
                }
                Segment::from(data)
            }
            Body::File(file) => {
                Segment::File { file: Rc::clone(file), offset, len, stamp: Some(self.metadata.stamp()) }
            }
        }))
    }

    /// What is known of it, with another type if one is said.
    pub(super) fn about_as(&self, content_type: Option<&[u8]>) -> Cow<'_, About> {
        let Some(content_type) = content_type else { return Cow::Borrowed(&self.about) };
        let content_type = String::from_utf8_lossy(content_type).into_owned();
        Cow::Owned(About { content_type, ..self.about.clone() })
    }

    /// The file, if it is not kept in memory.
    pub(super) fn on_disk(&self) -> Option<OnDisk> {
        match &self.body {
            Body::Memory(_) => None,
            Body::File(file) => Some(OnDisk { file: Rc::clone(file), len: self.metadata.size }),
        }
    }

    /// Bytes it takes.
    pub(super) fn cost(&self) -> usize {
        let body = match &self.body {
            Body::Memory(data) => data.len(),
            Body::File(_) => 0,
        };
        body + 2048
    }
}

impl File {
    /// The number of the variant that suits the request best.
    pub(super) fn choose(&self, request: &RequestHead, with_encodings: bool) -> usize {
        if self.variants.len() == 1 || !with_encodings {
            return 0;
        }
        let fields = request.fields();
        let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding"));
        let values: Vec<&[u8]> = values.map(|(_, value)| value).collect();
        let available = self.variants.iter().filter_map(|variant| variant.about.encoding);
        let picked: Option<Encoding> = pick(values.iter().copied(), available);
        self.variants.iter().position(|variant| variant.about.encoding == picked).unwrap_or(0)
    }
}

/// A whole response to a file, with a head that was encoded before.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(super) file: Rc<File>,
    pub(super) variant: usize,
    pub(super) not_modified: bool,
    pub(super) body: Option<Segment>,
}

impl Ready {
    /// The head: 200 or 304.
    #[must_use]
    pub(crate) fn head(&self) -> Option<&SharedHead> {
        let variant = self.file.variants.get(self.variant)?;
        Some(if self.not_modified { &variant.not_modified } else { &variant.whole })
    }

    /// The body, once; none for HEAD and 304.
    pub(crate) fn take_body(&mut self) -> Option<Segment> {
        self.body.take()
    }
}

/// A small file that has to be read from a disk before it can be answered with.
#[derive(Debug)]
pub(crate) struct OnDisk {
    /// Open for reading.
    pub(crate) file: Rc<OpenFile>,
    /// Bytes from its start on.
    pub(crate) len: u64,
}

/// An error as a static location answers it: the caller adds the body of an error page to this head, which carries what
/// the status needs (`Allow`, `Content-Range`).
#[derive(Debug)]
pub(crate) struct Refused {
    /// Status and fields.
    pub(crate) head: ResponseHead,
    /// The reason, for the log.
    pub(crate) why: &'static str,
}

impl Refused {
    /// Whether there were no descriptors or memory left.
    #[must_use]
    pub(crate) fn is_for_shortage(&self) -> bool {
        self.why == EXHAUSTED
    }
}
