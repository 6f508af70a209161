//! Finding what a path leads to: the only part of a static location that opens files.

use super::cache::Cache;
use super::entry::{Body, EXHAUSTED, Entry, File, Found, IN_MEMORY, OnDisk, Variant, believed_until};
use super::first::{First, Known, Lookup, Seen};
use super::manifest::Manifest;
use super::names::{hidden, last};
use super::response::{About, caching, has_hash};
use super::root::Root;
use super::watch::{Trail, Watches};
use crate::config;
use crate::http::encoding::Encoding;
use crate::http::mime;
use crate::sys::file::{Kind, Metadata, metadata, read_at};
use crate::sys::page_cache::read_if_cached;
use crate::timer::{Time, Wall};
use crate::worker::shortage::is_shortage;
use nix::errno::Errno;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// One search.
pub(super) struct Search<'a> {
    root: &'a Root,
    manifest: &'a mut Manifest,
    settings: &'a config::Files,
    watches: &'a mut Watches,
    cache: &'a mut Cache<Entry>,
    wall: Wall,
    /// The names that the result depends on.
    trail: Trail,
    /// What happens to them tells everything.
    watched: bool,
    /// What was found changed so recently that it may change again without a trace.
    fresh: bool,
    /// A part of it is far.
    far: bool,
    /// Bytes that the result takes.
    cost: usize,
    /// Whether what is not in memory is waited for.
    waits: bool,
    /// What is known already.
    known: &'a Known,
    /// What has to be done elsewhere, and ended the search.
    first: Option<First>,
}

/// What a name below the root leads to, if it leads anywhere.
enum Named {
    File(Vec<Variant>),
    Directory,
}

/// Files of several codings are opened; this many seconds after a change another one may carry the same time.
const RECENT: i64 = 2;

impl<'a> Search<'a> {
    pub(super) fn new(
        (root, manifest): (&'a Root, &'a mut Manifest),
        settings: &'a config::Files,
        watches: &'a mut Watches,
        cache: &'a mut Cache<Entry>,
        (known, waits): (&'a Known, bool),
        wall: Wall,
    ) -> Self {
        Self {
            root,
            manifest,
            settings,
            watches,
            cache,
            wall,
            trail: Vec::new(),
            watched: true,
            fresh: false,
            far: false,
            cost: 1024,
            waits,
            known,
            first: None,
        }
    }

    /// Looks for `rest` and keeps what is found under `name`.
    ///
    /// # Errors
    /// What has to be done first.
    pub(super) fn run(mut self, rest: &[u8], name: &[u8], now: Time) -> Result<Found, First> {
        let result = match self.find(rest) {
            Ok((found, path)) => Ok((found, path)),
            Err(error) => match failed(&error) {
                (404, why) => self.fall_back(why),
                (status @ 500.., why) if self.first.is_none() => return Ok(Found::Nothing(status, why)),
                (status, why) => Ok((Found::Nothing(status, why), None)),
            },
        };
        // Whatever was concluded without it.
        if let Some(first) = self.first.take() {
            return Err(first);
        }
        let (found, path) = match result {
            Ok(result) => result,
            Err(error) => {
                let (status, why) = failed(&error);
                return Ok(Found::Nothing(status, why));
            }
        };
        let near = !self.far && self.root.is_near();
        let recheck = path.filter(|_| near && !self.fresh && self.settings.precompressed.is_empty());
        let until = Cell::new(believed_until(now, self.watched));
        let entry = Entry { found: found.clone(), until, watched: self.watched, recheck };
        if let Some(key) = self.cache.insert(name, Rc::new(entry), self.cost + name.len()) {
            self.watches.depend(&self.trail, key, self.cache);
        }
        Ok(found)
    }

    /// The second value is the path that alone decides, if there is one.
    fn find(&mut self, rest: &[u8]) -> io::Result<(Found, Option<Box<[u8]>>)> {
        if let Some(why) = self.is_hidden(rest) {
            return self.fall_back(why);
        }
        if !self.settings.try_files.is_empty() {
            return self.try_files(rest);
        }
        if rest.is_empty() || rest.ends_with(b"/") {
            return self.index(rest);
        }
        match self.named(rest)? {
            Some(Named::File(variants)) => Ok((file(variants), Some(rest.into()))),
            Some(Named::Directory) => Ok((Found::Directory, None)),
            None => self.fall_back(SPECIAL),
        }
    }

    fn is_hidden(&self, path: &[u8]) -> Option<&'static str> {
        if self.settings.any_name {
            return None;
        }
        path.split(|byte| *byte == b'/').find_map(|segment| hidden(segment, self.settings.dotfiles))
    }

    /// The first index file of a directory. Looked for without asking whether the directory exists.
    fn index(&mut self, rest: &[u8]) -> io::Result<(Found, Option<Box<[u8]>>)> {
        let settings = self.settings;
        for (number, index) in settings.index.iter().enumerate() {
            let path = [rest, index.as_bytes()].concat();
            match self.named(&path) {
                Ok(Some(Named::File(variants))) => {
                    let alone = (number == 0).then(|| path.into());
                    return Ok((file(variants), alone));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if settings.listing {
            let path = rest.strip_suffix(b"/").unwrap_or(rest);
            if rest.is_empty() || matches!(self.named(path)?, Some(Named::Directory)) {
                return Ok((Found::Listing, None));
            }
        }
        self.fall_back("no index file in this directory, or no such directory")
    }

    /// The first of the names of `try_files` that is there.
    fn try_files(&mut self, rest: &[u8]) -> io::Result<(Found, Option<Box<[u8]>>)> {
        let settings = self.settings;
        let plain = rest.strip_suffix(b"/").unwrap_or(rest);
        for (number, pattern) in settings.try_files.iter().enumerate() {
            let path = fill(pattern, plain);
            if self.is_hidden(&path).is_some() {
                continue;
            }
            let tried = if path.is_empty() || path.ends_with(b"/") {
                self.index_of(&path, rest)
            } else {
                self.named(&path).map(|named| match named {
                    Some(Named::File(variants)) => Some(file(variants)),
                    _ => None,
                })
            };
            match tried {
                Ok(Some(found)) => {
                    let alone =
                        (number == 0 && !path.ends_with(b"/") && !path.is_empty()).then(|| path.into());
                    return Ok((found, alone));
                }
                Ok(None) => {}
                Err(error) if failed(&error).0 == 404 => {}
                Err(error) => return Err(error),
            }
        }
        self.fall_back("none of try_files is there")
    }

    /// A name with a slash in `try_files`: the directory's index, or the way to the path with a slash.
    fn index_of(&mut self, path: &[u8], asked: &[u8]) -> io::Result<Option<Found>> {
        let settings = self.settings;
        for index in &settings.index {
            let index = [path, index.as_bytes()].concat();
            match self.named(&index) {
                Ok(Some(Named::File(variants))) => {
                    let is_there = asked.is_empty() || asked.ends_with(b"/");
                    return Ok(Some(if is_there { file(variants) } else { Found::Directory }));
                }
                Ok(_) => {}
                Err(error) if failed(&error).0 == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Nothing is there: the file that the location gives instead.
    fn fall_back(&mut self, why: &'static str) -> io::Result<(Found, Option<Box<[u8]>>)> {
        let settings = self.settings;
        if let Some(path) = &settings.stand_in
            && let Ok(Some(Named::File(variants))) = self.named(path.as_bytes())
        {
            return Ok((file(variants), None));
        }
        Ok((Found::Nothing(404, why), None))
    }

    /// What a name below the root is; `None`: neither a file nor a directory.
    fn named(&mut self, path: &[u8]) -> io::Result<Option<Named>> {
        let Some(opened) = self.open(path)? else { return Ok(None) };
        let (metadata, body) = match opened {
            Opened::File(metadata, body) => (metadata, body),
            Opened::Directory => return Ok(Some(Named::Directory)),
        };
        let about = self.about(path, &metadata);
        let encoded = self.encoded(path, &about, &metadata);
        let mut variants = vec![(about, metadata, body)];
        variants.extend(encoded);
        let varies = variants.len() > 1;
        let wall = self.wall;
        Ok(Some(Named::File(
            variants
                .into_iter()
                .map(|(about, metadata, body)| {
                    let variant = Variant::new(About { varies, ..about }, metadata, body, wall);
                    self.cost += variant.cost();
                    variant
                })
                .collect(),
        )))
    }

    /// The same file in other codings, if it is kept in them and they are not stale.
    fn encoded(&mut self, path: &[u8], about: &About, original: &Metadata) -> Vec<(About, Metadata, Body)> {
        let mut variants = Vec::new();
        let settings = self.settings;
        for encoding in &settings.precompressed {
            let path = [path, b".", encoding.suffix().as_bytes()].concat();
            let Ok(Some(Opened::File(metadata, body))) = self.open(&path) else { continue };
            if is_stale(&metadata, original) {
                self.manifest.warn_stale(&path);
                continue;
            }
            let about = About {
                size: metadata.size,
                modified: metadata.modified,
                encoding: Some(*encoding),
                ..about.clone()
            };
            variants.push((about, metadata, body));
        }
        variants
    }

    fn about(&mut self, path: &[u8], metadata: &Metadata) -> About {
        let name = last(path);
        let settings = self.settings;
        let given = settings.types.iter().filter(|(suffix, _)| {
            let suffix = suffix.as_bytes();
            let before = name.len().checked_sub(suffix.len() + 1).and_then(|dot| name.get(dot..));
            before.is_some_and(|end| end.starts_with(b".") && end.ends_with(suffix))
        });
        let given = given.max_by_key(|(suffix, _)| suffix.len()).map(|(_, kind)| kind.clone());
        let immutable = settings.cache == config::Cache::Immutable;
        let named =
            |name| settings.immutable.as_ref().map_or_else(|| has_hash(name), |named| named.is_match(path));
        let hashed = immutable && (named(name) || self.is_in_manifest(path));
        About {
            size: metadata.size,
            modified: metadata.modified,
            encoding: None::<Encoding>,
            varies: false,
            content_type: given.unwrap_or_else(|| mime::of(name).to_owned()),
            caching: caching(settings.cache, hashed),
        }
    }

    /// Whether `staticfiles.json` in the root says that this name carries a hash.
    fn is_in_manifest(&mut self, path: &[u8]) -> bool {
        if self.watched
            && let Some(watch) = self.root.watch
        {
            self.trail.push((watch, super::manifest::NAME.as_bytes().into()));
        }
        if let Some(contents) = self.known.take_manifest() {
            self.manifest.take_in(contents);
        }
        if !self.known.has_manifest() && !self.manifest.is_current(self.root) {
            self.first = Some(First::Lookup(Lookup::manifest(self.root, self.settings)));
            return false;
        }
        self.manifest.has(path)
    }

    /// Opens a file and takes a copy of it, if it is small.
    fn open(&mut self, path: &[u8]) -> io::Result<Option<Opened>> {
        let root = self.root;
        let watch = root.watch.filter(|watch| self.watches.has(*watch));
        let told = watch.is_some_and(|watch| self.watches.lead((root.fd(), watch), path, &mut self.trail));
        self.watched &= told;
        let Some((file, by_link)) = root.open_near(path, &self.settings.symlinks)? else {
            return self.open_far(path);
        };
        self.watched &= !by_link;
        let (metadata, data) = match self.load(&file)? {
            Loaded::File(metadata, data) => (metadata, data),
            Loaded::Directory => return Ok(Some(Opened::Directory)),
            Loaded::Other => return Ok(None),
            Loaded::OnDisk(len) => {
                self.first = Some(First::Near(OnDisk { file: Rc::new(file.into()), len }));
                return Err(io::ErrorKind::WouldBlock.into());
            }
        };
        self.watched &= metadata.links == 1;
        // A later change may come without another time: believe such a file only as long as changes are told.
        self.fresh |= self.wall.seconds.saturating_sub(metadata.changed.seconds) < RECENT;
        let body = match data {
            Some(data) => Body::Memory(data.into()),
            None => Body::File(Rc::new(file.into())),
        };
        Ok(Some(Opened::File(metadata, body)))
    }

    /// What a thread has found under a name that is far, or has to look up.
    fn open_far(&mut self, path: &[u8]) -> io::Result<Option<Opened>> {
        (self.watched, self.far) = (false, true);
        let Some(known) = self.known.name(path) else {
            let most = if self.cache.has_room_for(4096) { IN_MEMORY } else { 0 };
            self.first = Some(First::Lookup(Lookup::name(self.root, self.settings, path, most)));
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let (metadata, seen) = known?;
        Ok(match seen {
            Seen::Small(data) => Some(Opened::File(metadata, Body::Memory(data))),
            Seen::File(file) => Some(Opened::File(metadata, Body::File(file))),
            Seen::Directory => Some(Opened::Directory),
            Seen::Other => None,
        })
    }

    fn load(&self, file: &OwnedFd) -> io::Result<Loaded> {
        // A file that changes while it is read is read again.
        for _ in 0..4 {
            let found = metadata(file.as_fd())?;
            match found.kind {
                Kind::Regular if found.size <= IN_MEMORY && self.cache.has_room_for(found.size + 4096) => {
                    let data = if self.waits {
                        read_at(file.as_fd(), 0, found.size as usize)?
                    } else {
                        match read_if_cached(file.as_fd(), 0, found.size as usize)? {
                            Some(data) => data,
                            None => return Ok(Loaded::OnDisk(found.size)),
                        }
                    };
                    let is_same = metadata(file.as_fd())?.stamp() == found.stamp();
                    if is_same && data.len() as u64 == found.size {
                        return Ok(Loaded::File(found, Some(data)));
                    }
                }
                Kind::Regular => return Ok(Loaded::File(found, None)),
                Kind::Directory => return Ok(Loaded::Directory),
                Kind::Other => return Ok(Loaded::Other),
            }
        }
        Err(Errno::EAGAIN.into())
    }
}

enum Opened {
    File(Metadata, Body),
    Directory,
}

/// What a descriptor turned out to be: a file with its content, if that is small.
enum Loaded {
    File(Metadata, Option<Vec<u8>>),
    /// Small, and so many bytes of it are not in memory.
    OnDisk(u64),
    Directory,
    Other,
}

fn file(variants: Vec<Variant>) -> Found {
    Found::File(Rc::new(File { variants }))
}

/// A compressed file may be older than its original by so many seconds: what copies and collects files writes both anew,
/// in any order.
const TOGETHER: i64 = 10;

fn is_stale(compressed: &Metadata, original: &Metadata) -> bool {
    compressed.modified.seconds.saturating_add(TOGETHER) < original.modified.seconds
}

/// `$path` in a name of `try_files`; without its slash at the front.
pub(super) fn fill(pattern: &str, path: &[u8]) -> Vec<u8> {
    let mut filled = Vec::with_capacity(pattern.len() + path.len());
    for (number, part) in pattern.split("$path").enumerate() {
        if number > 0 {
            filled.extend_from_slice(path);
        }
        filled.extend_from_slice(part.as_bytes());
    }
    let slashes = filled.iter().take_while(|byte| **byte == b'/').count();
    filled.split_off(slashes)
}

/// The status of a failed system call (research, web servers §4.15), and why.
pub(super) fn failed(error: &io::Error) -> (u16, &'static str) {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EINVAL => (404, "no such file"),
        Errno::ENXIO | Errno::ENODEV => (404, SPECIAL),
        Errno::EACCES | Errno::EPERM => (403, "permission denied"),
        Errno::ELOOP | Errno::EXDEV => (403, "a symbolic link leads out of the root, or in a circle"),
        _ if is_shortage(error) => (503, EXHAUSTED),
        Errno::EAGAIN => (503, "the file changes all the time"),
        _ if error.kind() == io::ErrorKind::InvalidData => (503, "the file has just changed"),
        _ => (500, "the file cannot be read"),
    }
}

pub(super) const SPECIAL: &str = "not a regular file";
