//! What processes of apps and templates tell the master: frames (`control::frame`) over a pipe. A pipe, and not a socket,
//! because a message of a socket may carry descriptors: whoever reads it closes what it did not ask for, and a descriptor
//! can be made so that its last `close` takes as long as its sender likes (docs/decisions/0012-descriptors.md).

use super::saved::{Keeping, Kept, Taking};
use crate::control::frame::{Error, Frame, Reader};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Read at a time. Before more is read the frames are taken out, so that never more than one of them is kept.
const PIECE: usize = 8 * 1024;

/// Our end of such a pipe.
#[derive(Debug)]
pub(super) struct Voice {
    pipe: Option<File>,
    reader: Reader,
}

/// What an upgrade keeps of a [`Voice`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedVoice {
    pipe: Option<Kept>,
    /// Of a frame that is not whole yet.
    read: Vec<u8>,
}

/// What one read has brought.
#[derive(Debug)]
pub(super) enum Heard {
    /// These frames, in order; none if the first is not whole yet.
    Frames(Vec<Frame>),
    /// Nothing now, or nothing ever again: see [`Voice::descriptor`].
    Silence,
    /// These frames, and then something that is none. The pipe is closed.
    Garbled(Vec<Frame>, Error),
}

impl Voice {
    /// Listens to the read end of a pipe, which does not block.
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()), reader: Reader::new() }
    }

    /// To wait for; `None` once it is closed.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(File::as_fd)
    }

    /// Whether nothing more can come: nobody is left who could speak, or what came was no frame.
    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.pipe.is_none()
    }

    /// Reads once and takes what was read from `left`, the bytes that may still be read in this turn.
    pub(super) fn hear(&mut self, left: &mut usize) -> Heard {
        let mut buffer = [0; PIECE];
        while let Some(pipe) = self.pipe.as_mut().filter(|_| *left > 0) {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    *left = left.saturating_sub(length);
                    self.reader.feed(buffer.get(..length).unwrap_or_default());
                    return self.frames();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        Heard::Silence
    }

    fn frames(&mut self) -> Heard {
        let mut frames = Vec::new();
        loop {
            match self.reader.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return Heard::Frames(frames),
                Err(error) => {
                    self.pipe = None;
                    return Heard::Garbled(frames, error);
                }
            }
        }
    }

    /// For an upgrade.
    pub(super) fn save(&self, descriptors: &mut Keeping) -> SavedVoice {
        let pipe = self.pipe.as_ref().map(|pipe| descriptors.keep(pipe));
        SavedVoice { pipe, read: self.reader.rest().to_vec() }
    }

    /// What was read and is not yet a whole frame.
    #[cfg(test)]
    pub(super) fn rest(&self) -> &[u8] {
        self.reader.rest()
    }
}

impl SavedVoice {
    /// The same again.
    pub(super) fn restore(self, descriptors: &mut Taking) -> Result<Voice, String> {
        let pipe = self.pipe.map(|kept| descriptors.take(kept)).transpose()?;
        let mut reader = Reader::new();
        reader.feed(&self.read);
        Ok(Voice { pipe: pipe.map(File::from), reader })
    }
}
