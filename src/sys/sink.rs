//! Where log lines go. A pipe or terminal whose reader has stopped (`less`, Ctrl-S, a stuck log collector) must not hold
//! up whoever logs: it is opened anew without blocking, waited for a moment so that a burst is not lost, and then passed
//! over until it takes something again.
//!
//! What several processes write to one pipe does not mix if no piece is larger than PIPE_BUF (pipe(7)). So it goes there
//! in whole lines, as many at a time as that holds.

use crate::sys::clock;
use crate::timer::Wall;
use nix::libc;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most that a pipe takes in one piece. Lines that are longer can be torn apart by those of other processes.
pub const PIPE_BUF: usize = libc::PIPE_BUF;

/// Waited for a reader that has fallen behind, once.
const PATIENCE_MS: u16 = 100;

/// What standard error has not taken of the messages of this process.
static MESSAGES: Mutex<Option<Lost>> = Mutex::new(None);

/// The same, for whoever writes them, and whoever tells of it.
pub(crate) fn lost_messages() -> MutexGuard<'static, Option<Lost>> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for lines.
#[derive(Debug)]
pub(crate) struct Sink {
    file: File,
    /// So many bytes are written at a time, if there are whole lines in them.
    piece: usize,
    /// Nobody reads.
    stalled: bool,
    /// The last line was written in part.
    cut: bool,
}

impl Sink {
    /// Writes to that descriptor.
    #[must_use]
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let file = File::from(fd);
        let shared = file.metadata().is_ok_and(|data| {
            let kind = data.file_type();
            kind.is_fifo() || kind.is_socket()
        });
        Self { file, piece: if shared { PIPE_BUF } else { usize::MAX }, stalled: false, cut: false }
    }

    /// The longest line that nobody else's can tear apart.
    pub(crate) fn longest_line(&self) -> usize {
        self.piece
    }

    /// Appends lines.
    ///
    /// # Errors
    /// ENOSPC, EPIPE; EAGAIN if nobody reads. With what is lost, the first line of it perhaps in part.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        if self.cut {
            self.put(b"\n").map_err(|error| Lost::new(error, bytes))?;
            self.cut = false;
        }
        let mut left = bytes;
        while !left.is_empty() {
            match self.put(whole_lines(left, self.piece)) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) => {
                    self.cut = left.len() < bytes.len();
                    return Err(Lost::new(error, left));
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(count) => {
                    self.stalled = false;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.stalled => {
                    self.stalled = !writable(self.file.as_fd());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Why a log cannot be written, since when, and what it lacks for that.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: io::Error,
    since: Wall,
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Lost {
    /// These lines, now.
    pub(crate) fn new(error: io::Error, lost: &[u8]) -> Self {
        let lines = lost.iter().filter(|byte| **byte == b'\n').count() as u64;
        Self { error, since: clock::wall(), lines, bytes: lost.len() as u64 }
    }

    /// What was lost before, and this.
    pub(crate) fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        let (lines, bytes) = (before.lines + self.lines, before.bytes + self.bytes);
        Self { error: self.error, since: before.since, lines, bytes }
    }

    /// In RFC 3339.
    pub(crate) fn since(&self) -> String {
        jiff::Timestamp::from_second(self.since.seconds).unwrap_or_default().to_string()
    }

    /// Why.
    pub(crate) fn reason(&self) -> String {
        match self.error.kind() {
            io::ErrorKind::WouldBlock => "nobody reads it".to_owned(),
            _ => self.error.to_string(),
        }
    }
}

/// `3 lines (120 bytes) were lost since 2026-01-31T12:00:00Z: No space left on device (os error 28)`.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (since, reason) = (self.since(), self.reason());
        write!(f, "{} lines ({} bytes) were lost since {since}: {reason}", self.lines, self.bytes)
    }
}

/// As many lines as fit, or the first one if that is longer.
fn whole_lines(bytes: &[u8], most: usize) -> &[u8] {
    let end = |piece: &[u8]| piece.iter().rposition(|byte| *byte == b'\n');
    let fits = bytes.get(..most).map_or(Some(bytes.len()), |piece| end(piece).map(|end| end + 1));
    let first = || bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
    bytes.get(..fits.unwrap_or_else(first)).unwrap_or(bytes)
}

/// Whether it takes something within the patience.
fn writable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, poll};
    let mut set = [PollFd::new(fd, PollFlags::POLLOUT)];
    poll(&mut set, PATIENCE_MS).is_ok_and(|ready| ready > 0)
}

/// Whether JOURNAL_STREAM says that this stream goes to the journal (systemd.exec(5)): each line may then begin with its
/// priority (sd-daemon(3)), and has a time and a source already.
#[must_use]
pub fn is_journal(stream: BorrowedFd<'_>) -> bool {
    std::env::var("JOURNAL_STREAM").is_ok_and(|named| names(&named, stream))
}

fn names(named: &str, stream: BorrowedFd<'_>) -> bool {
    let data = stream.try_clone_to_owned().and_then(|copy| File::from(copy).metadata());
    data.is_ok_and(|data| named == format!("{}:{}", data.dev(), data.ino()))
}

/// A copy of a standard stream for a [`Sink`]: of a pipe or terminal with a description of its own, so that not to block
/// is nobody else's matter. What cannot be opened again, such as the terminal of another user, is copied as it is.
///
/// # Errors
/// EBADF if it is closed, EMFILE.
pub(crate) fn stream(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fd.try_clone_to_owned()?;
    let file = File::from(copy);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_char_device() {
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        if let Ok(own) = options.open(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
            return Ok(own.into());
        }
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_more() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut sink = Sink::new(stream(writer.as_fd()).unwrap());
        drop(writer);
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut written = 0;
        let error = loop {
            match sink.append(&line) {
                Ok(()) => written += 1,
                Err(lost) => break lost.error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(written > 0 && sink.append(&line).is_err());
        // Room for some, in the middle of which the next line ends.
        let mut room = vec![0; 8192];
        reader.read_exact(&mut room).unwrap();
        while sink.append(&line).is_ok() {}
        let mut rest = vec![0; 4096];
        reader.read_exact(&mut rest).unwrap();
        sink.append(b"again\n").unwrap();
        drop(sink);
        let mut text = room;
        text.append(&mut rest);
        reader.read_to_end(&mut text).unwrap();
        let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        assert_eq!(lines.last(), Some(&&b"again"[..]), "on a line of its own");
        assert!(lines.iter().rev().skip(1).all(|line| line.len() <= 999));
    }

    #[test]
    fn a_full_disk_is_told_with_what_it_has_cost() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(full.into());
        let first = sink.append(b"one\ntwo\n").unwrap_err();
        let since = first.since();
        let lost = sink.append(b"three\n").unwrap_err().after(Some(first));
        let text =
            format!("3 lines (14 bytes) were lost since {since}: No space left on device (os error 28)");
        assert_eq!(lost.to_string(), text);
    }

    #[test]
    fn a_pipe_gets_whole_lines_in_pieces_that_do_not_mix() {
        let text = b"one\ntwo\nthree\n";
        for (most, expected) in [(15, 14), (14, 14), (13, 8), (8, 8), (7, 4), (4, 4), (3, 4), (1, 4)] {
            assert_eq!(whole_lines(text, most).len(), expected, "{most}");
        }
        assert_eq!(whole_lines(b"no end", 3), b"no end");
        // Two that write at the same time, in more bytes than a pipe takes at once. What a slow reader makes them lose, they
        // write again.
        let (mut reader, writer) = io::pipe().unwrap();
        let write = |letter: &str| {
            let mut sink = Sink::new(stream(writer.as_fd()).unwrap());
            let text = (letter.repeat(998) + "\n").repeat(17);
            std::thread::spawn(move || (0..50).for_each(|_| while sink.append(text.as_bytes()).is_err() {}))
        };
        let writers = ["a", "b"].map(write);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let whole = |line: &str| ["", &"a".repeat(998), &"b".repeat(998)].contains(&line);
        assert!(text.lines().all(whole) && text.lines().count() >= 1700);
    }

    #[test]
    fn the_journal_is_known_by_the_stream_that_is_named() {
        let file = File::open("/dev/null").unwrap();
        let data = file.metadata().unwrap();
        let (device, inode) = (data.dev(), data.ino());
        assert!(names(&format!("{device}:{inode}"), file.as_fd()));
        for other in [format!("{device}:{}", inode + 1), format!("{}:{inode}", device + 1), String::new()] {
            assert!(!names(&other, file.as_fd()), "{other}");
        }
    }

    #[test]
    fn a_file_is_appended_to() {
        let path = std::env::temp_dir().join(format!("hatchery-sink-{}", std::process::id()));
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let mut sink = Sink::new(stream(file.as_fd()).unwrap());
        sink.append(b"one\n").unwrap();
        sink.append(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        std::fs::remove_file(&path).unwrap();
    }
}
