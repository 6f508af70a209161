//! Static files. A path becomes a descriptor in one call that cannot leave the root; what is found is kept, with the
//! heads of its responses and, if it is small, its content, so that the next request needs no system call but those
//! that move bytes.
//!
//! | found | answer |
//! |---|---|
//! | a regular file | 200, 206, 304, 412 or 416 |
//! | a directory, path with a slash at the end | its first index file, else a listing if the location has them, else 404 |
//! | a directory, path without | 301 to the path with a slash, relative, query kept |
//! | FIFO, device, socket | 404 |
//! | name that begins with a dot (but `.well-known`), editor and database droppings | 404 |
//! | no such file, not a directory, name too long | nothing: the fallback of the location has it |
//! | no permission; a symbolic link that leaves the root | 403 |
//! | no descriptors or memory left | 503 |
//!
//! What is kept holds until inotify tells of a change of a name on its path (`watch`); where that cannot tell (a symbolic
//! link or a second name, a file system shared with other machines), it is compared with the disk once a second. The
//! content of a small file is a copy made between two equal `fstat`s; a large file is compared before each slice of it
//! is sent, and before its end, which waits for acknowledgements; the connection is broken off if it is another: a response
//! does not mix two states of a file.

mod cache;
mod entry;
pub(crate) mod explain;
mod find;
mod first;
mod listing;
mod location;
mod manifest;
pub(in crate::worker) mod multipart;
mod names;
mod response;
mod root;
#[cfg(test)]
mod tests;
mod watch;

pub(crate) use entry::{Ready, Refused};
pub(crate) use first::{First, Known, Looked, Lookup};
pub(crate) use root::Replaced;

use crate::buf::{Far, Segment};
use crate::config::boot::StaticRoot;
use crate::config::{self, Config, FileCache, Handler, Sending};
use crate::dispatch::board;
use crate::http::{BodyLength, Method, RequestHead, ResponseHead, percent};
use crate::sys::fd::random;
use crate::sys::process::open_files_limit;
use crate::timer::{Time, Wall};
use crate::worker::shortage::is_shortage;
use cache::Cache;
use entry::{EXHAUSTED, Entry, File, Found, Variant, believed_until};
use find::Search;
use location::StaticLocation;
use multipart::Multipart;
use names::{encode_segment, last, trim_slashes};
use response::{Asked, Plan};
use root::{Directory, Root};
use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::rc::Rc;
use watch::Watches;

/// The files of all static locations of a worker.
#[derive(Debug)]
pub(crate) struct Files {
    /// By site and location, as [`Config::files_at`] has them.
    places: Vec<Vec<Option<StaticLocation>>>,
    cache: Cache<Entry>,
    watches: Watches,
    /// What entries are found by: the number of a root and a path below it.
    name: Vec<u8>,
    /// Numbers of roots given out.
    numbers: u32,
    /// Roots that are open at most.
    most_open: usize,
    /// Site and location of roots that are to be looked at.
    due: Vec<(usize, usize)>,
}

/// A look at a root.
pub(crate) struct Due {
    /// Its site and location.
    pub(crate) place: (usize, usize),
    /// Its number.
    pub(crate) far: Far,
    /// Its path.
    pub(crate) path: PathBuf,
    /// The look, which may take as long as it likes.
    pub(crate) look: Box<dyn FnOnce() -> Replaced + Send>,
}

/// A request as a static location sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The head: method, preconditions, range.
    pub head: &'a RequestHead,
    /// The whole path, decoded once and normalised.
    pub(crate) path: &'a [u8],
    /// What of `path` names the file below the root ([`crate::route::Table::file`]).
    pub(crate) rest: &'a [u8],
    /// The query as it was written, without its question mark.
    pub(crate) query: Option<&'a [u8]>,
    /// A segment of the path held an encoded slash: it can name no file.
    pub(crate) encoded_slash: bool,
    /// Another handler answers where there is no file, whatever the method.
    pub(crate) falls_back: bool,
    /// Wait for a disk of this machine rather than answer [`Answer::First`].
    pub(crate) waits: bool,
    /// What jobs have brought for it.
    pub(crate) known: &'a Known,
    /// Whoever was asked has led here; the client knows nothing of this path.
    pub(crate) led: Option<Led<'a>>,
}

/// What is said of a file by those who have led to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Led<'a> {
    /// Its type, if they say it.
    pub(crate) content_type: Option<&'a [u8]>,
}

/// What a static location answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A whole response, its head encoded before.
    Ready(Ready),
    /// A response as it is.
    Send {
        /// Status and fields.
        head: ResponseHead,
        /// `Known` with the length for HEAD too, which has no segments.
        body: BodyLength,
        /// The body.
        segments: Vec<Segment>,
    },
    /// An error.
    Refuse(Refused),
    /// There is no such file, for this reason.
    Nothing(&'static str),
    /// Nothing yet: this has to be done first, elsewhere; then the same request will be answered.
    First(First),
}

impl Files {
    /// Looks at the roots of all locations. One that cannot be opened costs its location, unless all are `needed`.
    ///
    /// # Errors
    /// For the operator: the root that cannot be opened, and why.
    pub(crate) fn new(
        config: &Config,
        roots: &HashMap<PathBuf, Option<StaticRoot>>,
        needed: bool,
    ) -> Result<Self, String> {
        let FileCache { entries, memory } = config.workers.file_cache;
        let mut files = Self {
            places: Vec::new(),
            cache: Cache::new(entries as usize, usize::try_from(memory).unwrap_or(usize::MAX)),
            watches: Watches::new(
                config.sites.iter().flat_map(|site| &site.locations).any(is_static)
                    || !config.sending.is_empty(),
            ),
            name: Vec::new(),
            numbers: 0,
            most_open: most_open(open_files_limit(), config.workers.connections),
            due: Vec::new(),
        };
        for site in &config.sites {
            let places = site.locations.iter().map(|location| match &*location.handler {
                Handler::Files(settings) => {
                    let root = roots.get(&settings.root).and_then(Option::as_ref);
                    files.add(settings, root, needed).map(Some)
                }
                _ => Ok(None),
            });
            let places = places.collect::<Result<_, _>>()?;
            files.places.push(places);
        }
        let sending = config.sending.iter().filter_map(Sending::files);
        let sending = sending.map(|settings| {
            let root = roots.get(&settings.root).and_then(Option::as_ref);
            files.add(settings, root, needed).map(Some)
        });
        let sending = sending.collect::<Result<_, _>>()?;
        files.places.push(sending);
        Ok(files)
    }

    fn add(
        &mut self,
        settings: &config::Files,
        root: Option<&StaticRoot>,
        needed: bool,
    ) -> Result<StaticLocation, String> {
        self.numbers += 1;
        let found = Directory::open(root.map_or(&settings.root, |root| &root.real));
        if let Err(error) = &found {
            let root = settings.root.display();
            let reason = format!(
                "cannot open the static root {root}: {error}; `hatchery check` names the key to correct"
            );
            if needed {
                return Err(reason);
            }
            log::warn!("worker: {reason}; its location answers 503");
        }
        let lost = match found {
            Ok(found) if root.is_some_and(|root| root.id == found.id) => None,
            Ok(_) => Some(location::OUT_OF_REACH),
            Err(_) => Some(location::MISSING),
        };
        Ok(StaticLocation::new(self.numbers, root.cloned(), lost))
    }

    /// What becomes readable when files have changed.
    #[must_use]
    pub(crate) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.watches.descriptor()
    }

    /// The roots that are to be looked at now: what their paths lead to by now nobody knows, so that a thread has to.
    pub(crate) fn take_due(&mut self, config: &Config) -> Vec<Due> {
        let due = std::mem::take(&mut self.due).into_iter().filter_map(|place| {
            let (site, location) = place;
            let settings = config.files_at(place)?;
            Some(self.places.get(site)?.get(location)?.as_ref()?.due(place, settings))
        });
        due.collect()
    }

    /// What a look has found; `None`: it could not be made, and is tried again. Whether the root was replaced by a directory
    /// that the master has not found good: this worker serves the old one as long as it lives.
    pub(crate) fn take_in(&mut self, place: (usize, usize), found: Option<Replaced>) -> bool {
        if let Some(place) = self.place(place) {
            place.looks.over();
        }
        match found {
            None | Some(Replaced::No) => false,
            Some(Replaced::OutOfReach) => true,
            Some(Replaced::By(directory)) if self.is_good(place, &directory) => {
                self.open(place, directory);
                false
            }
            Some(Replaced::By(_)) => true,
        }
    }

    fn place(&mut self, (site, location): (usize, usize)) -> Option<&mut StaticLocation> {
        self.places.get_mut(site)?.get_mut(location)?.as_mut()
    }

    /// What a thread has brought that was to open a root; the answer, if it failed for want of descriptors.
    fn take_opened(&mut self, at: (usize, usize), opened: io::Result<Replaced>) -> Option<Answer> {
        let why = match opened {
            Ok(Replaced::By(directory)) if self.is_good(at, &directory) => {
                self.open(at, directory);
                return None;
            }
            Ok(Replaced::By(_) | Replaced::OutOfReach) => location::OUT_OF_REACH,
            Err(error) if is_shortage(&error) => {
                self.cache.clear();
                return Some(refuse(503, EXHAUSTED));
            }
            Ok(Replaced::No) | Err(_) => location::MISSING,
        };
        // Another request may have had it opened since.
        if let Some(place) = self.place(at) {
            place.lost = place.root.is_none().then_some(why);
        }
        None
    }

    /// Whether it is the directory that the master has found good.
    fn is_good(&mut self, at: (usize, usize), directory: &Directory) -> bool {
        self.place(at).and_then(|place| place.id()) == Some(directory.id)
    }

    /// Descriptors are short: closes the half of the open roots that were not needed for longest; whether there was any.
    pub(crate) fn close_unused(&mut self) -> bool {
        let open = self.places.iter_mut().flatten().flatten().filter(|place| place.root.is_some());
        let mut open: Vec<_> = open.collect();
        open.sort_unstable_by_key(|place| place.used);
        let half = open.len().div_ceil(2);
        open.into_iter().take(half).for_each(|place| place.root = None);
        half > 0
    }

    fn open(&mut self, (site, location): (usize, usize), directory: Directory) {
        let open = self.places.iter_mut().flatten().flatten().filter(|place| place.root.is_some());
        let (count, oldest) = open.fold((0, None), |(count, oldest), place| {
            let older = oldest.filter(|oldest: &&mut StaticLocation| oldest.used <= place.used);
            (count + 1, older.or(Some(place)))
        });
        if let Some(oldest) = oldest.filter(|_| count >= self.most_open) {
            oldest.root = None;
        }
        let Some(Some(place)) = self.places.get_mut(site).and_then(|site| site.get_mut(location)) else {
            return;
        };
        place.open(directory, &mut self.watches);
    }

    /// Drops what may have changed.
    pub(crate) fn catch_up(&mut self) {
        if !self.watches.catch_up(&mut self.cache) {
            for root in self.places.iter_mut().flatten().flatten().filter_map(|place| place.root.as_mut()) {
                root.watch_again(&mut self.watches);
            }
        }
    }

    /// Answers a request for a file of a location. It waits for the names of a path to be looked up on disks of this
    /// machine, and for content only if the request says so; for anything else it does not.
    #[must_use]
    pub(crate) fn serve(
        &mut self,
        (site, location): (usize, usize),
        settings: &config::Files,
        request: &Request<'_>,
        (now, wall): (Time, Wall),
    ) -> Answer {
        let method = request.head.method();
        if !matches!(method, Method::Get | Method::Head) && !request.falls_back {
            return other_method(method);
        }
        if let Some(opened) = request.known.take_root()
            && let Some(answer) = self.take_opened((site, location), opened)
        {
            return answer;
        }
        let Self { places, cache, watches, name, due, .. } = self;
        let Some(place) = places.get_mut(site).and_then(|site| site.get_mut(location)?.as_mut()) else {
            return refuse(500, "no static location");
        };
        place.used = now;
        if place.looks.is_due(now) {
            due.push((site, location));
        }
        if let Some(why) = place.lost {
            return refuse(503, why);
        }
        let rest = trim_slashes(request.rest);
        if rest.is_empty() && !request.path.ends_with(b"/") {
            return to_directory(request);
        }
        if request.encoded_slash {
            return Answer::Nothing("an encoded slash names no file");
        }
        name.clear();
        name.extend_from_slice(&place.number.to_ne_bytes());
        name.extend_from_slice(rest);
        let mut found = None;
        if let Some((key, entry)) = cache.get(name) {
            if now < entry.until.get() || still_holds(entry, place.root.as_ref(), &settings.symlinks, now) {
                found = Some(entry.found.clone());
            } else {
                cache.remove(key);
            }
        }
        let mut search = |cache: &mut Cache<Entry>| {
            let asked = (request.known, request.waits);
            match &place.root {
                Some(root) => Search::new((root, &mut place.manifest), settings, watches, cache, asked, wall)
                    .run(rest, name, now),
                None => Err(place.open_first(settings)),
            }
        };
        let found = match found.map_or_else(|| search(cache), Ok) {
            Ok(Found::Nothing(503, EXHAUSTED)) => {
                // What is kept open is what can be done without.
                cache.clear();
                search(cache)
            }
            found => found,
        };
        match found {
            Ok(found) => answer_found(found, place, settings, (rest, request), wall),
            Err(first) => Answer::First(first),
        }
    }
}

/// Roots that may be open under a limit of descriptors: what connections leave of those that a worker has not at its start,
/// but an eighth of them at least, since connections can give way, and a quarter at most.
fn most_open(limit: u64, connections: u32) -> usize {
    let free = limit.saturating_sub(board::WORKERS as u64);
    let most = free.saturating_sub(connections.into()).clamp(free / 8, free / 4).max(1);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The answer for what the path leads to.
fn answer_found(
    found: Found,
    place: &StaticLocation,
    settings: &config::Files,
    (rest, request): (&[u8], &Request<'_>),
    wall: Wall,
) -> Answer {
    let method = request.head.method();
    match found {
        Found::File(_) | Found::Directory | Found::Listing
            if !matches!(method, Method::Get | Method::Head) =>
        {
            other_method(method)
        }
        Found::File(file) => answer(file, request, wall),
        Found::Directory => to_directory(request),
        Found::Listing => match (request.known.take_listing(), &place.root) {
            (Some(made), _) => listing::answer(made, request),
            (None, Some(root)) => {
                let wanted = listing::Wanted::new(rest, settings, request);
                Answer::First(First::Lookup(Lookup::listing(root, settings, rest, wanted)))
            }
            (None, None) => Answer::First(place.open_first(settings)),
        },
        Found::Nothing(404, why) => Answer::Nothing(why),
        Found::Nothing(status, why) => refuse(status, why),
    }
}

fn is_static(location: &config::Location) -> bool {
    matches!(*location.handler, Handler::Files(_))
}

/// Looks at the disk; whether an entry whose time is over still holds, which it does for another while then.
fn still_holds(entry: &Entry, root: Option<&Root>, links: &config::Symlinks, now: Time) -> bool {
    let (Found::File(file), Some(path), Some(root)) = (&entry.found, &entry.recheck, root) else {
        return false;
    };
    let known = file.variants.first().map(|variant| variant.metadata);
    let holds = root.metadata_near(path, links).is_ok_and(|metadata| known == Some(metadata));
    if holds {
        entry.until.set(believed_until(now, entry.watched));
    }
    holds
}

fn other_method(method: Method) -> Answer {
    let head = |status| ResponseHead::new(status).with("Allow", ALLOW);
    if method == Method::Options {
        return Answer::Send { head: head(204), body: BodyLength::None, segments: Vec::new() };
    }
    Answer::Refuse(Refused { head: head(405), why: "a static location takes GET and HEAD only" })
}

fn answer(file: Rc<File>, request: &Request<'_>, wall: Wall) -> Answer {
    let asked = Asked::of(request.head);
    let number = file.choose(request.head, asked.with_encodings);
    let Some(variant) = file.variants.get(number) else { return refuse(500, "no such variant") };
    let is_head = request.head.method() == Method::Head;
    let about = variant.about_as(request.led.and_then(|led| led.content_type));
    let plan =
        if asked.with_conditions { about.plan(&variant.etag, request.head, wall) } else { Plan::Whole };
    match plan {
        Plan::Whole => {
            let body =
                if is_head { Ok(None) } else { variant.segment(0, variant.metadata.size, request.waits) };
            match body {
                Ok(body) if request.led.is_some() => Answer::Send {
                    head: about.whole(wall),
                    body: BodyLength::Known(about.size),
                    segments: body.into_iter().collect(),
                },
                Ok(body) => Answer::Ready(Ready { file, variant: number, not_modified: false, body }),
                Err(error) => unread(variant, &error),
            }
        }
        Plan::NotModified if request.led.is_some() => {
            Answer::Send { head: about.not_modified(), body: BodyLength::None, segments: Vec::new() }
        }
        Plan::NotModified => Answer::Ready(Ready { file, variant: number, not_modified: true, body: None }),
        Plan::Part(head, range) => match variant.segment(range.first, range.len(), request.waits) {
            Ok(segment) => {
                let body = BodyLength::Known(range.len());
                Answer::Send { head, body, segments: segment.into_iter().collect() }
            }
            Err(error) => unread(variant, &error),
        },
        Plan::Parts(head, ranges) => {
            let multipart = Multipart::new(&ranges, about.size, &about.content_type, [random(), random()]);
            send_parts(variant, head, multipart, request.waits)
                .unwrap_or_else(|error| unread(variant, &error))
        }
        Plan::Refuse(head, why) => Answer::Refuse(Refused { head, why }),
    }
}

fn send_parts(
    variant: &Variant,
    head: ResponseHead,
    multipart: Multipart,
    waits: bool,
) -> io::Result<Answer> {
    let head = head.with("Content-Type", &multipart.content_type);
    let mut segments = Vec::with_capacity(2 * multipart.parts.len() + 1);
    for (start, range) in multipart.parts {
        segments.push(Segment::from(start));
        segments.extend(variant.segment(range.first, range.len(), waits)?);
    }
    segments.push(Segment::from(multipart.end));
    Ok(Answer::Send { head, body: BodyLength::Known(multipart.length), segments })
}

/// What is not to be found by the path of a directory without a slash at its end. Who was led there has another path.
fn to_directory(request: &Request<'_>) -> Answer {
    if request.led.is_some() { Answer::Nothing("a directory is no file") } else { redirect(request) }
}

/// To the same path with a slash at its end. The reference is relative (RFC 3986 §4.2), so that scheme, host and any
/// prefix that a proxy took off stay right, and it begins with an encoded name, so that it can point to no other host.
fn redirect(request: &Request<'_>) -> Answer {
    let name = last(request.path);
    let mut location = Vec::with_capacity(name.len() + 16);
    encode_segment(name, &mut location);
    location.push(b'/');
    if let Some(query) = request.query {
        location.push(b'?');
        percent::encode(query, |byte| byte.is_ascii_graphic(), &mut location);
    }
    let head = ResponseHead::new(301).with("Location", location);
    Answer::Send { head, body: BodyLength::Known(0), segments: Vec::new() }
}

/// The answer where a part of a file could not be had.
fn unread(variant: &Variant, error: &io::Error) -> Answer {
    match variant.on_disk().filter(|_| error.kind() == io::ErrorKind::WouldBlock) {
        Some(on_disk) => Answer::First(First::Near(on_disk)),
        None => failed(error),
    }
}

/// The answer to a failed system call.
fn failed(error: &io::Error) -> Answer {
    let (status, why) = find::failed(error);
    refuse(status, why)
}

fn refuse(status: u16, why: &'static str) -> Answer {
    Answer::Refuse(Refused { head: ResponseHead::new(status), why })
}

const ALLOW: &str = "GET, HEAD, OPTIONS";
