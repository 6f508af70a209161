//! Bodies between a client and an app: small ones stay in memory, larger ones go to an unlinked file, so that neither a
//! slow client holds an app nor a fast app fills the memory.

use super::closer::Closer;
use super::reply::Reply;
use crate::buf::{OpenFile, Segment};
use crate::config::ResponseBuffer;
use crate::sys::fd::{self, Handed};
use crate::sys::process;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

/// Request bodies for an upstream that wants to know their length stay in memory up to so many bytes.
pub(super) const REQUEST_MEMORY: u64 = 64 * 1024;

/// Where files are made. What they occupy on the disk is given back when they are closed, which may take a while: that is
/// left to a thread, as thousands of requests may end in one turn.
pub(super) struct TempDir {
    /// As the master opened it; `None` if it could not.
    directory: Option<OwnedFd>,
    closer: Rc<Closer>,
}

impl TempDir {
    pub(super) fn new(directory: Option<OwnedFd>) -> Self {
        Self { directory, closer: Rc::new(Closer::for_own(process::open_files_limit())) }
    }

    fn make(&self) -> io::Result<Handed> {
        let directory = self.directory.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let file = fd::unnamed_file_in(directory.as_fd())?;
        Ok(self.closer.lend_own(file.into()))
    }
}

/// A request body while it comes in.
#[derive(Debug)]
pub(super) struct RequestSpool {
    /// What is longer goes to a file.
    in_memory: u64,
    memory: Vec<u8>,
    file: Option<Handed>,
    len: u64,
}

/// A whole request body.
#[derive(Debug)]
pub(super) enum RequestBody {
    /// At most as many bytes as stay in memory; possibly none.
    Memory(Vec<u8>),
    /// `len` bytes from offset 0 of an unlinked file.
    File { file: Rc<Handed>, len: u64 },
}

impl RequestSpool {
    pub(super) fn new(in_memory: u64) -> Self {
        Self { in_memory, memory: Vec::new(), file: None, len: 0 }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// If the temporary file cannot be made or written: ENOSPC, EACCES, EMFILE.
    pub(super) fn push(&mut self, bytes: &[u8], directory: &TempDir) -> io::Result<()> {
        let len = self.len.saturating_add(bytes.len() as u64);
        if self.file.is_none() && len > self.in_memory {
            let file = directory.make()?;
            fd::write_all_at(file.as_fd(), &self.memory, 0)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &self.file {
            Some(file) => fd::write_all_at(file.as_fd(), bytes, self.len)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.len = len;
        Ok(())
    }

    /// The whole body.
    pub(super) fn finish(self) -> RequestBody {
        match self.file {
            Some(file) => RequestBody::File { file: Rc::new(file), len: self.len },
            None => RequestBody::Memory(self.memory),
        }
    }
}

impl From<RequestSpool> for Segment {
    /// The whole body, for whoever takes it as it is.
    fn from(spool: RequestSpool) -> Self {
        let RequestSpool { memory, file, len, .. } = spool;
        match file {
            Some(file) => {
                let file = Rc::new(OpenFile::of(file));
                Self::File { file, offset: 0, len, stamp: None }
            }
            None => Self::from(memory),
        }
    }
}

impl RequestBody {
    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// A response body on its way to a client that is slower than the app: straight to the reply while little waits
/// there, through an unlinked file otherwise; when that is full too, the app waits.
#[derive(Debug)]
pub(super) struct ResponseSpool {
    limits: ResponseBuffer,
    file: Option<Spill>,
    /// What comes after what lies in our file: a file of the app's, or what our file did not take.
    after: Option<Segment>,
    /// Our file did not take something: the disk is full, or descriptors ran out.
    refused: bool,
}

#[derive(Debug)]
struct Spill {
    file: Rc<OpenFile>,
    /// Bytes written to the file.
    written: u64,
    /// Bytes of them that the connection has been given.
    handed: u64,
}

/// The connection is given the next part of the file when it has less than this waiting, and at most so much.
const HAND_BELOW: u64 = 256 * 1024;
const HAND_MOST: u64 = 1024 * 1024;

impl ResponseSpool {
    pub(super) fn new(limits: ResponseBuffer) -> Self {
        Self { limits, file: None, after: None, refused: false }
    }

    /// Takes a file of the app's as the next part of the body.
    pub(super) fn push_file(&mut self, file: Segment, reply: &mut Reply<'_>) {
        if self.is_empty() {
            reply.send(file);
        } else {
            self.after = Some(file);
        }
    }

    /// Whether it can keep the order of what comes next.
    pub(super) fn takes_events(&self) -> bool {
        self.after.is_none()
    }

    /// Takes the next bytes of the body. If the temporary file cannot be made or written they stay in memory, and the
    /// app waits for the client until they are gone; the app's `timeout` bounds that.
    ///
    /// # Errors
    /// Why it could not, the first time.
    pub(super) fn push(
        &mut self,
        bytes: Vec<u8>,
        reply: &mut Reply<'_>,
        directory: &TempDir,
    ) -> io::Result<()> {
        if self.is_empty() && reply.keeps_more(self.limits.memory) {
            reply.send(Segment::from(bytes));
            return Ok(());
        }
        let Err(error) = self.spill(&bytes, directory) else { return Ok(()) };
        self.after = Some(Segment::from(bytes));
        if std::mem::replace(&mut self.refused, true) { Ok(()) } else { Err(error) }
    }

    fn spill(&mut self, bytes: &[u8], directory: &TempDir) -> io::Result<()> {
        let spill = match &mut self.file {
            Some(spill) => spill,
            none => none.insert(Spill::new(directory)?),
        };
        fd::write_all_at(spill.file.as_fd(), bytes, spill.written)?;
        spill.written = spill.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Gives the connection the next part of the file if it has little left; whether it did.
    pub(super) fn pump(&mut self, reply: &mut Reply<'_>) -> bool {
        let waiting = self.file.as_ref().map_or(0, |spill| spill.written.saturating_sub(spill.handed));
        if waiting == 0
            && reply.waiting() < HAND_BELOW
            && let Some(after) = self.after.take()
        {
            reply.send(after);
            return true;
        }
        let Some(spill) = &mut self.file else { return false };
        if waiting == 0 {
            if reply.waiting() == 0 && spill.written > 0 {
                // Everything has left: begin again, so that the file does not grow with the response.
                let _ = fd::truncate(spill.file.as_fd());
                (spill.written, spill.handed) = (0, 0);
            }
            return false;
        }
        if reply.waiting() >= HAND_BELOW {
            return false;
        }
        let len = waiting.min(HAND_MOST);
        reply.send(Segment::File { file: Rc::clone(&spill.file), offset: spill.handed, len, stamp: None });
        spill.handed = spill.handed.saturating_add(len);
        true
    }

    /// Whether the app may go on.
    pub(super) fn has_room(&self) -> bool {
        self.after.is_none() && self.file.as_ref().is_none_or(|spill| spill.written < self.limits.file)
    }

    /// Whether the file did not take something, so that the app had to wait for the client.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether the connection has been given everything.
    pub(super) fn is_empty(&self) -> bool {
        self.after.is_none() && self.file.as_ref().is_none_or(|spill| spill.written == spill.handed)
    }
}

impl Spill {
    fn new(directory: &TempDir) -> io::Result<Self> {
        let file = Rc::new(OpenFile::of(directory.make()?));
        Ok(Self { file, written: 0, handed: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    const MEMORY: usize = 64 * 1024;

    #[test]
    fn a_body_is_whole_wherever_it_lies() {
        let temp = TempDir::new(file::open_directory(&std::env::temp_dir()).ok());
        for size in [0, 1, MEMORY, MEMORY + 1, 300_000] {
            let body: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let mut spool = RequestSpool::new(MEMORY as u64);
            body.chunks(1000).for_each(|chunk| spool.push(chunk, &temp).unwrap());
            let whole = spool.finish();
            assert_eq!(whole.len(), size as u64);
            let read = match whole {
                RequestBody::Memory(bytes) => {
                    assert!(size <= MEMORY);
                    bytes
                }
                RequestBody::File { file, len } => {
                    assert!(size > MEMORY);
                    let file = File::from(file.as_fd().try_clone_to_owned().unwrap());
                    let mut bytes = vec![0; len as usize];
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    bytes
                }
            };
            assert_eq!(read, body);
        }
    }

    #[test]
    fn the_loop_closes_no_file() {
        let temp = TempDir::new(file::open_directory(&std::env::temp_dir()).ok());
        let mut spool = RequestSpool::new(0);
        spool.push(b"x", &temp).unwrap();
        drop(spool.finish());
        assert!(temp.closer.has_thread(), "a thread does");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let mut spool = RequestSpool::new(MEMORY as u64);
        assert!(spool.push(&vec![0; MEMORY + 1], &TempDir::new(None)).is_err());
    }
}
