//! Static files. A path becomes a descriptor in one call that cannot leave the root; everything that shapes the answer
//! (validators, preconditions, ranges, caching) is computed in `response`, without a disk.
//!
//! | found | answer |
//! |---|---|
//! | a regular file | 200, 206, 304, 412 or 416 |
//! | a directory, path with a slash at the end | its first index file, else 404 |
//! | a directory, path without | 301 to the path with a slash, relative, query kept |
//! | FIFO, device, socket | 404 |
//! | name that begins with a dot (but `.well-known`), editor and database droppings | 404 |
//! | no such file, not a directory, name too long | 404 |
//! | no permission; a symbolic link that leaves the root | 403 |
//! | no descriptors or memory left | 503 |

mod response;
#[cfg(test)]
mod tests;

use crate::buf::Segment;
use crate::config;
use crate::http::{BodyLength, Method, RequestHead, ResponseHead};
use crate::sys::file::{Kind, identity, metadata, open_beneath, open_directory, read_at};
use crate::timer::Wall;
use nix::errno::Errno;
use response::Plan;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

/// The directory of a location, opened once. It names an inode: where the directory itself is replaced (a `current`
/// link that moves on), a new root has to be opened, by a worker whose sandbox allows it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

impl Root {
    /// Opens a directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES, EMFILE…
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = open_directory(path)?;
        let identity = identity(directory.as_fd())?;
        Ok(Self { directory, identity })
    }

    /// Whether another directory has this path now. One that cannot be looked at is none.
    #[must_use]
    pub fn is_replaced(&self, path: &Path) -> bool {
        open_directory(path)
            .and_then(|now| identity(now.as_fd()))
            .is_ok_and(|identity| identity != self.identity)
    }
}

/// A request as a static location sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The head: method, preconditions, range.
    pub head: &'a RequestHead,
    /// The whole path, decoded once and normalised.
    pub path: &'a [u8],
    /// What of `path` names the file below the root ([`crate::route::Table::file`]).
    pub rest: &'a [u8],
    /// The query as it was written, without its question mark.
    pub query: Option<&'a [u8]>,
    /// A segment of the path held an encoded slash: it can name no file.
    pub encoded_slash: bool,
}

/// What a static location answers.
#[derive(Debug)]
pub enum Answer {
    /// A response as it is.
    Send {
        /// Status and fields.
        head: ResponseHead,
        /// `Known` with the length for HEAD too, which has no segment.
        body: BodyLength,
        /// The body.
        segment: Option<Segment>,
    },
    /// An error: the caller adds the body of an error page to this head, which carries what the status needs (`Allow`,
    /// `Content-Range`).
    Refuse {
        /// Status and fields.
        head: ResponseHead,
        /// The reason, for the log.
        why: &'static str,
    },
}

/// Answers a request for a file below `root`. It never waits for anything but the disk.
#[must_use]
pub fn serve(root: &Root, settings: &config::Files, request: &Request<'_>, now: Wall) -> Answer {
    match request.head.method() {
        Method::Get | Method::Head => {}
        Method::Options => {
            let head = ResponseHead::new(204).with("Allow", ALLOW);
            return Answer::Send { head, body: BodyLength::None, segment: None };
        }
        _ => {
            let head = ResponseHead::new(405).with("Allow", ALLOW);
            return Answer::Refuse { head, why: "a static location takes GET and HEAD only" };
        }
    }
    if request.encoded_slash {
        return refuse(404, "an encoded slash names no file");
    }
    let rest = trim_slashes(request.rest);
    if let Some(why) = rest.split(|byte| *byte == b'/').find_map(hidden) {
        return refuse(404, why);
    }
    if request.path.ends_with(b"/") {
        return serve_index(root, settings, request, rest, now);
    }
    let file = match open_beneath(root.directory.as_fd(), rest) {
        Ok(file) => file,
        Err(error) => return failed(&error),
    };
    match send(file, rest, settings, request.head, now) {
        Sent::Answer(answer) => answer,
        Sent::Directory => redirect(request),
        Sent::Special => refuse(404, SPECIAL),
    }
}

/// The first index file of a directory. Looked for without asking whether the directory exists.
fn serve_index(
    root: &Root,
    settings: &config::Files,
    request: &Request<'_>,
    rest: &[u8],
    now: Wall,
) -> Answer {
    let mut path = Vec::with_capacity(rest.len() + 16);
    for index in &settings.index {
        path.clear();
        path.extend_from_slice(rest);
        path.extend_from_slice(index.as_bytes());
        let file = match open_beneath(root.directory.as_fd(), &path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return failed(&error),
        };
        if let Sent::Answer(answer) = send(file, &path, settings, request.head, now) {
            return answer;
        }
    }
    refuse(404, "no index file in this directory, or no such directory")
}

/// What an opened file came to.
enum Sent {
    Answer(Answer),
    Directory,
    Special,
}

fn send(file: OwnedFd, path: &[u8], settings: &config::Files, head: &RequestHead, now: Wall) -> Sent {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // A file that shrinks between fstat and read is looked at once more.
    for _ in 0..2 {
        let found = match metadata(file.as_fd()) {
            Ok(found) => found,
            Err(error) => return Sent::Answer(failed(&error)),
        };
        match found.kind {
            Kind::Regular => {}
            Kind::Directory => return Sent::Directory,
            Kind::Other => return Sent::Special,
        }
        let file_info = response::File { name, size: found.size, modified: found.modified };
        let (response, offset, len) = match response::plan(head, file_info, settings.cache, now) {
            Plan::Part { head, offset, len } => (head, offset, len),
            Plan::Bare(head) => {
                return Sent::Answer(Answer::Send { head, body: BodyLength::None, segment: None });
            }
            Plan::Refuse(head, why) => return Sent::Answer(Answer::Refuse { head, why }),
        };
        let segment = if head.method() == Method::Head || len == 0 {
            None
        } else if len > IN_MEMORY {
            Some(Segment::File { file: Rc::new(file), offset, len })
        } else {
            match read_at(file.as_fd(), offset, len as usize) {
                Ok(data) if data.len() as u64 == len => Some(Segment::from(data)),
                Ok(_) => continue,
                Err(error) => return Sent::Answer(failed(&error)),
            }
        };
        return Sent::Answer(Answer::Send { head: response, body: BodyLength::Known(len), segment });
    }
    Sent::Answer(refuse(503, "the file keeps shrinking"))
}

/// To the same path with a slash at its end. The reference is relative (RFC 3986 §4.2), so that scheme, host and any
/// prefix that a proxy took off stay right, and it begins with an encoded name, so that it can point to no other host.
fn redirect(request: &Request<'_>) -> Answer {
    let name = request.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut location = Vec::with_capacity(name.len() + 16);
    encode(name, |byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@".contains(&byte), &mut location);
    location.push(b'/');
    if let Some(query) = request.query {
        location.push(b'?');
        encode(query, |byte| byte.is_ascii_graphic(), &mut location);
    }
    let head = ResponseHead::new(301).with("Location", location);
    Answer::Send { head, body: BodyLength::Known(0), segment: None }
}

/// Percent-encodes what may not stand (RFC 3986 §2.1).
fn encode(text: &[u8], may_stand: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for byte in text {
        if may_stand(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Why a segment of a path names nothing that is served, if so. Not a security boundary by itself (a file may have
/// other names), but what deployments leave lying around.
fn hidden(segment: &[u8]) -> Option<&'static str> {
    if segment.starts_with(b".") && segment != b".well-known" {
        return Some("names that begin with a dot are not served");
    }
    if segment.iter().any(|byte| matches!(byte, 0 | b'\\')) {
        return Some("a NUL or backslash names no file");
    }
    DROPPINGS
        .iter()
        .any(|suffix| segment.ends_with(suffix.as_bytes()))
        .then_some("backup, bytecode and database files are not served")
}

/// The answer to a failed system call (research, web servers §4.15).
fn failed(error: &io::Error) -> Answer {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EINVAL => refuse(404, "no such file"),
        Errno::ENXIO | Errno::ENODEV => refuse(404, SPECIAL),
        Errno::EACCES | Errno::EPERM => refuse(403, "permission denied"),
        Errno::ELOOP | Errno::EXDEV => refuse(403, "a symbolic link leads out of the root, or in a circle"),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EAGAIN => {
            refuse(503, "no descriptors or memory left to open the file")
        }
        _ => refuse(500, "the file cannot be read"),
    }
}

fn refuse(status: u16, why: &'static str) -> Answer {
    Answer::Refuse { head: ResponseHead::new(status), why }
}

fn trim_slashes(mut path: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}

const ALLOW: &str = "GET, HEAD, OPTIONS";
const SPECIAL: &str = "not a regular file";
/// Up to here one read, and one write together with the head, is cheaper than sendfile.
const IN_MEMORY: u64 = 16 * 1024;
const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// Ends of names that are not served.
const DROPPINGS: [&str; 7] =
    ["~", ".swp", ".pyc", ".sqlite3", ".sqlite3-journal", ".sqlite3-wal", ".sqlite3-shm"];
