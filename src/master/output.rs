//! What children print: cut into lines for the log, and the last of it kept for whoever asks why a child died.

use super::journal::Journal;
use super::saved::{Keeping, Kept, Taking};
use crate::control::text::printable;
use crate::sys::poll::{Interest, Set};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

/// A line is logged in pieces of this size if it is longer.
const LINE: usize = 8 * 1024;

/// How much of the past is kept.
const KEPT: usize = 64 * 1024;

/// How much is read in one turn: a child that prints without end must not hold up the others.
const READ: usize = 64 * 1024;

/// The output of one child.
#[derive(Debug)]
pub(super) struct Output {
    /// The app or job.
    name: String,
    pipe: Option<File>,
    cutter: Cutter,
}

/// What an upgrade keeps of an [`Output`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedOutput {
    name: String,
    pipe: Option<Kept>,
    /// A line without its end yet.
    line: Vec<u8>,
    /// The last of what it printed, where somebody may ask for it.
    kept: Vec<u8>,
}

impl SavedOutput {
    /// The output again.
    pub(super) fn restore(self, descriptors: &mut Taking) -> Result<Output, String> {
        let pipe = self.pipe.map(|pipe| descriptors.take(pipe)).transpose()?;
        let cutter = Cutter { line: self.line, kept: self.kept.into() };
        Ok(Output { name: self.name, pipe: pipe.map(File::from), cutter })
    }
}

impl Output {
    /// For an upgrade; `past`: with what was printed.
    pub(super) fn save(&self, past: bool, descriptors: &mut Keeping) -> SavedOutput {
        SavedOutput {
            name: self.name.clone(),
            pipe: self.pipe.as_ref().map(|pipe| descriptors.keep(pipe)),
            line: self.cutter.line.clone(),
            kept: if past { self.cutter.kept.iter().copied().collect() } else { Vec::new() },
        }
    }

    /// Reads from the non-blocking `pipe` what processes of that app or job print.
    pub(super) fn new(name: &str, pipe: OwnedFd) -> Self {
        Self { name: name.to_owned(), pipe: Some(pipe.into()), cutter: Cutter::default() }
    }

    /// Waits for more, unless the child closed it.
    pub(super) fn watch<'a, T: Copy>(&'a self, set: &mut Set<'a, T>, token: T) {
        if let Some(pipe) = &self.pipe {
            set.add(pipe.as_fd(), token, Interest::READ);
        }
    }

    /// Logs what has come, each line with the name of the child.
    pub(super) fn read(&mut self, child: &str, journal: &mut Journal) {
        let mut buffer = [0; 8 * 1024];
        let mut left = READ;
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.cutter.feed(bytes, |line| journal.write(&self.name, child, line_of(line)));
                    left = left.saturating_sub(length);
                    if left == 0 {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// The child has ended: logs what is left, also a line without its end.
    pub(super) fn finish(mut self, child: &str, journal: &mut Journal) {
        self.read(child, journal);
        self.cutter.end(|line| journal.write(&self.name, child, line_of(line)));
    }

    /// The last of what it printed.
    pub(super) fn tail(&self) -> String {
        let (one, two) = self.cutter.kept.as_slices();
        String::from_utf8_lossy(&[one, two].concat()).into_owned()
    }
}

/// A line for the log and the journal.
fn line_of(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes))
}

/// Bytes to lines.
#[derive(Debug, Default)]
struct Cutter {
    line: Vec<u8>,
    kept: VecDeque<u8>,
}

impl Cutter {
    fn feed(&mut self, bytes: &[u8], mut show: impl FnMut(&[u8])) {
        self.kept.extend(bytes);
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
                    show(line);
                    self.line.clear();
                }
                byte => {
                    if self.line.len() == LINE {
                        self.end(&mut show);
                    }
                    self.line.push(*byte);
                }
            }
        }
    }

    fn end(&mut self, mut show: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            show(&self.line);
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> (Cutter, Vec<Vec<u8>>) {
        let mut cutter = Cutter::default();
        let mut lines = Vec::new();
        chunks.iter().for_each(|chunk| cutter.feed(chunk, |line| lines.push(line.to_vec())));
        cutter.end(|line| lines.push(line.to_vec()));
        (cutter, lines)
    }

    #[test]
    fn lines_do_not_depend_on_how_they_arrive() {
        let expected = [&b"one"[..], b"", b"two", b"three"];
        assert_eq!(cut(&[b"one\n\ntwo\r\nthree"]).1, expected);
        assert_eq!(cut(&[b"on", b"e\n", b"\ntw", b"o\r", b"\nthr", b"ee"]).1, expected);
    }

    #[test]
    fn a_line_without_end_is_cut_and_memory_is_bounded() {
        let (cutter, lines) = cut(&[&vec![b'x'; KEPT * 2]]);
        assert!(lines.iter().all(|line| line.len() == LINE));
        assert_eq!(lines.len(), KEPT * 2 / LINE);
        assert_eq!(cutter.kept.len(), KEPT);
        assert_eq!(cutter.line.capacity().next_power_of_two(), LINE);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(line_of(b"a\x1b[2Jb\tc\xff"), "a\u{fffd}[2Jb\tc\u{fffd}");
    }
}
