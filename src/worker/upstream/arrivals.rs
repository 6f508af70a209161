//! Descriptors that an app passes over its stream: one with each FILE frame, a regular file open for reading. Whoever
//! passes anything else loses the stream.
//!
//! Everything that comes is owned before it is judged, and is closed by the app's [`Closer`], whatever becomes of it. No
//! more than one waits for its frame: a second one, or one that is still there when all frames were taken, has none.

use crate::buf::{Far, OpenFile};
use crate::gateway::app::Response;
use crate::sys::fd::Handed;
use crate::sys::file::{self, Nature};
use crate::timer::Time;
use crate::worker::closer::Closer;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

/// What came over the stream of a unit and was not used yet.
#[derive(Debug)]
pub(in crate::worker) struct Arrivals {
    /// Its place in the configuration.
    app: usize,
    closer: Rc<Closer>,
    waiting: Option<Handed>,
}

/// What an app must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) enum Stranger {
    /// More than one with a frame, or one with a frame that brings none.
    Unasked,
    /// Not a regular file that can be read.
    NoFile,
    /// What it has passed before does not close.
    Stubborn,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unasked => "passed a descriptor that nobody asked for",
            Self::NoFile => "passed something in place of a regular file that can be read",
            Self::Stubborn => "has passed descriptors whose closing takes very long; it gets no more",
        })
    }
}

impl Arrivals {
    /// Of the app whose descriptors go there in the end.
    pub(in crate::worker) fn new(app: usize, closer: Rc<Closer>) -> Self {
        Self { app, closer, waiting: None }
    }

    /// Takes in what one read has brought.
    pub(in crate::worker) fn take_in(&mut self, came: Vec<OwnedFd>) -> Result<(), Stranger> {
        let mut came: Vec<Handed> = came.into_iter().map(|descriptor| self.closer.lend(descriptor)).collect();
        let Some(last) = came.pop() else { return Ok(()) };
        if self.waiting.is_some() || !came.is_empty() {
            return Err(Stranger::Unasked);
        }
        self.waiting = Some(last);
        Ok(())
    }

    /// The file of a FILE frame; `None` if it was lost on the way, for want of room in this process. Here a descriptor is
    /// looked at for the first time, in a way that waits for nobody ([`file::nature`]): a thread that asks would cost each
    /// file two changes of threads.
    pub(in crate::worker) fn file(&mut self, now: Time) -> Result<Option<OpenFile>, Stranger> {
        let Some(file) = self.waiting.take() else { return Ok(None) };
        match file::nature(file.as_fd()) {
            Nature::Other => Err(Stranger::NoFile),
            Nature::Disk | Nature::Elsewhere if self.closer.is_held_up(now) => Err(Stranger::Stubborn),
            Nature::Disk => Ok(Some(OpenFile::from(file.keep()))),
            // A thread reads it: nothing of it is known to answer.
            Nature::Elsewhere => Ok(Some(OpenFile::of(file).brought_by(Far::App(self.app)))),
        }
    }

    /// If all frames that have come were taken, be it of this answer or of one behind it, what is left belongs to none.
    pub(in crate::worker) fn end(&self, response: &Response) -> Result<(), Stranger> {
        self.end_if(response.is_between())
    }

    /// The same where all answers come over one stream: `is_between` if what has come was taken as a whole.
    pub(in crate::worker) fn end_if(&self, is_between: bool) -> Result<(), Stranger> {
        if self.waiting.is_some() && is_between { Err(Stranger::Unasked) } else { Ok(()) }
    }

    /// Closes the stream over which they came: descriptors that nobody has read may lie in it.
    pub(in crate::worker) fn close(&self, stream: OwnedFd) {
        self.closer.close(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    fn judge(file: impl Into<OwnedFd>) -> Result<(), Stranger> {
        let mut arrivals = Arrivals::new(0, Rc::default());
        arrivals.take_in(vec![file.into()]).unwrap();
        let result = arrivals.file(Time::ZERO);
        assert_eq!(arrivals.end(&Response::new(1)), Ok(()), "it is used up");
        result.map(|file| assert!(file.is_some()))
    }

    #[test]
    fn a_file_that_can_be_read_and_nothing_else() {
        let here = std::env::current_exe().unwrap();
        assert_eq!(judge(File::open(&here).unwrap()), Ok(()));
        assert_eq!(judge(crate::sys::process::memory_file(b"x").unwrap()), Ok(()));
        let path = std::env::temp_dir().join(format!("hatchery-arrivals-{}", std::process::id()));
        assert_eq!(judge(File::create(&path).unwrap()), Err(Stranger::NoFile), "for writing only");
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let fifo = File::options().read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(judge(fifo), Err(Stranger::NoFile));
        assert_eq!(judge(File::open("/dev/null").unwrap()), Err(Stranger::NoFile));
        assert_eq!(judge(File::open("/").unwrap()), Err(Stranger::NoFile));
        assert_eq!(judge(UnixStream::pair().unwrap().0), Err(Stranger::NoFile));
        assert_eq!(judge(crate::sys::fd::pipe().unwrap().0), Err(Stranger::NoFile));
        let flags = nix::fcntl::OFlag::O_PATH;
        let path = nix::fcntl::open(&here, flags, nix::sys::stat::Mode::empty()).unwrap();
        assert_eq!(judge(path), Err(Stranger::NoFile));
    }

    #[test]
    fn one_waits_for_its_frame_and_no_more() {
        let some =
            |count| (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect::<Vec<OwnedFd>>();
        let mut arrivals = Arrivals::new(0, Rc::default());
        assert_eq!(arrivals.take_in(some(0)), Ok(()));
        assert!(arrivals.file(Time::ZERO).unwrap().is_none());
        assert_eq!(arrivals.take_in(some(2)), Err(Stranger::Unasked));
        assert_eq!(arrivals.end(&Response::new(1)), Ok(()), "none of them is kept");
        assert_eq!(arrivals.take_in(some(1)), Ok(()));
        assert_eq!(arrivals.end(&Response::new(1)), Err(Stranger::Unasked));
        assert_eq!(arrivals.take_in(some(1)), Err(Stranger::Unasked));
    }
}
