//! The files of a directory and of those in it, compressed by several threads. Nothing is done by a path: each name is one in a
//! directory that was opened once, and no link is followed, so that whoever can change names there leads nobody out of it.

use crate::filter::encoder::Encoder;
use crate::http::encoding::Encoding;
use crate::http::mime;
use crate::policy::compress::{Compress, TypePattern};
use crate::sys::file::{self, Kind, Links, Metadata};
use crate::sys::place::{put_beside, remove_beside};
use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

/// Read at a time.
const PIECE: usize = 1024 * 1024;

/// Directories in directories that are gone into.
const DEEPEST: usize = 64;

/// The only name with a dot in front that is served by default.
const WELL_KNOWN: &[u8] = b".well-known";

/// What is to be done.
pub(super) struct Wanted {
    pub(super) encodings: Vec<Encoding>,
    /// Smaller files stay alone.
    pub(super) min: u64,
    /// What has no original is removed.
    pub(super) prune: bool,
}

/// What was done with a file.
pub(super) struct Done {
    pub(super) path: PathBuf,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// It is one of those that are compressed.
    Looked,
    /// It has been compressed before.
    Current,
    NotSmaller,
    Removed,
    Written {
        encoding: Encoding,
        before: u64,
        after: u64,
    },
    Failed(String),
}

/// A file to be compressed, in one coding.
struct Job {
    directory: Arc<OwnedFd>,
    name: Vec<u8>,
    path: PathBuf,
    encoding: Encoding,
}

/// Goes through a directory; what was done, in no order.
pub(super) fn run(root: OwnedFd, path: &Path, wanted: &Wanted, jobs: usize) -> Vec<Done> {
    let mut search =
        Search { wanted, types: Compress::default().types, jobs: VecDeque::new(), done: Vec::new() };
    search.directory(&Arc::new(root), path, 0);
    let Search { jobs: queue, mut done, .. } = search;
    let jobs = jobs.min(queue.len());
    let queue = Mutex::new(queue);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (tell, queue) = (tell.clone(), &queue);
            scope.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(job) = job else { break };
                    let outcome = job.run().unwrap_or_else(|error| Outcome::Failed(error.to_string()));
                    drop(tell.send(Done { path: job.path, outcome }));
                }
            });
        }
    });
    drop(tell);
    done.extend(told);
    done
}

struct Search<'a> {
    wanted: &'a Wanted,
    types: Vec<TypePattern>,
    jobs: VecDeque<Job>,
    done: Vec<Done>,
}

impl Search<'_> {
    fn tell(&mut self, path: PathBuf, outcome: Outcome) {
        self.done.push(Done { path, outcome });
    }

    fn directory(&mut self, directory: &Arc<OwnedFd>, path: &Path, depth: usize) {
        let names = match names(directory.as_fd()) {
            Ok(names) => names,
            Err(error) => return self.tell(path.to_owned(), Outcome::Failed(error.to_string())),
        };
        let known: HashSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
        for name in &names {
            if name.starts_with(b".") && name != WELL_KNOWN {
                continue;
            }
            let path = path.join(OsStr::from_bytes(name));
            match file::metadata_of_entry(directory.as_fd(), name) {
                Ok(Metadata { kind: Kind::Directory, .. }) if depth < DEEPEST => {
                    match file::open_beneath(directory.as_fd(), name, Links::Refuse) {
                        Ok(inner) => self.directory(&Arc::new(inner), &path, depth + 1),
                        Err(error) => self.tell(path, Outcome::Failed(error.to_string())),
                    }
                }
                Ok(Metadata { kind: Kind::Directory, .. }) => {
                    self.tell(path, Outcome::Failed("too deep".to_owned()));
                }
                Ok(metadata) if metadata.kind == Kind::Regular => {
                    self.file(directory, name, path, &metadata, &known);
                }
                // A link, a FIFO, a socket.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.tell(path, Outcome::Failed(error.to_string())),
            }
        }
    }

    fn file(
        &mut self,
        directory: &Arc<OwnedFd>,
        name: &[u8],
        path: PathBuf,
        metadata: &Metadata,
        known: &HashSet<&[u8]>,
    ) {
        if let Some(original) = original(name) {
            if self.wanted.prune && !known.contains(original) && self.is_worth_it(original) {
                let outcome = match remove_beside(directory.as_fd(), name) {
                    Ok(()) => Outcome::Removed,
                    Err(error) => Outcome::Failed(error.to_string()),
                };
                self.tell(path, outcome);
            }
            return;
        }
        if metadata.size < self.wanted.min.max(1) || !self.is_worth_it(name) {
            return;
        }
        self.tell(path.clone(), Outcome::Looked);
        for &encoding in &self.wanted.encodings {
            let (directory, name, path) = (Arc::clone(directory), name.to_vec(), path.clone());
            self.jobs.push_back(Job { directory, name, path, encoding });
        }
    }

    /// Whether files of that name become smaller.
    fn is_worth_it(&self, name: &[u8]) -> bool {
        let kind = mime::of(name).split(';').next().unwrap_or_default();
        self.types.iter().any(|pattern| pattern.takes(kind.as_bytes()))
    }
}

/// The name of the file that one of this name is compressed from.
fn original(name: &[u8]) -> Option<&[u8]> {
    Encoding::ALL.into_iter().find_map(|encoding| {
        name.strip_suffix(encoding.suffix().as_bytes()).and_then(|name| name.strip_suffix(b"."))
    })
}

/// The names in a directory, sorted.
fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // Opened anew: a descriptor has one position in its directory, whoever has a copy of it.
    let again = file::open_beneath(directory, b"", Links::Refuse)?;
    file::list(again, usize::MAX, |_, name| {
        names.push(name.to_vec());
        true
    })?;
    names.sort_unstable();
    Ok(names)
}

impl Job {
    fn run(&self) -> io::Result<Outcome> {
        let opened = file::open_beneath(self.directory.as_fd(), &self.name, Links::Refuse)?;
        let metadata = file::metadata(opened.as_fd())?;
        if metadata.kind != Kind::Regular {
            return Err(io::Error::other("it is no regular file any more"));
        }
        let name = [&self.name[..], b".", self.encoding.suffix().as_bytes()].concat();
        let beside = match file::metadata_of_entry(self.directory.as_fd(), &name) {
            Ok(beside) => Some(beside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match beside {
            // What another program has made has another time, and may be of another content with a time that is older.
            Some(beside) if beside.kind == Kind::Regular && beside.modified == metadata.modified => {
                return Ok(Outcome::Current);
            }
            Some(Metadata { kind: Kind::Directory, .. }) => {
                return Err(io::Error::other(format!(
                    "a directory has the name {}",
                    String::from_utf8_lossy(&name)
                )));
            }
            _ => {}
        }
        let content = self.compress(opened.as_fd(), metadata.size)?;
        if file::metadata(opened.as_fd())?.stamp() != metadata.stamp() {
            return Err(io::Error::other("it has changed while it was compressed: try again"));
        }
        let after = content.len() as u64;
        if after >= metadata.size {
            // What is there is of another content.
            if beside.is_some() {
                remove_beside(self.directory.as_fd(), &name)?;
            }
            return Ok(Outcome::NotSmaller);
        }
        put_beside(self.directory.as_fd(), &name, &content, opened.as_fd())?;
        Ok(Outcome::Written { encoding: self.encoding, before: metadata.size, after })
    }

    fn compress(&self, opened: BorrowedFd<'_>, size: u64) -> io::Result<Vec<u8>> {
        let failed = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let mut encoder = Encoder::best(self.encoding, size).map_err(failed)?;
        let (mut out, mut offset) = (Vec::new(), 0);
        while offset < size {
            let wanted = usize::try_from(size - offset).unwrap_or(PIECE).min(PIECE);
            let piece = file::read_at(opened, offset, wanted)?;
            if piece.is_empty() {
                return Err(io::Error::other("it has become shorter while it was compressed: try again"));
            }
            encoder.write(&piece, &mut out).map_err(failed)?;
            offset += piece.len() as u64;
        }
        encoder.finish(&mut out).map_err(failed)?;
        Ok(out)
    }
}
