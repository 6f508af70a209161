//! What workers (`control::worker`), processes of apps and templates (`control::frame`) tell the master, over a channel
//! that carries bytes and nothing else (`sys::channel`, docs/decisions/0012-descriptors.md).

use crate::control::frame;
use crate::control::worker::{self, ToMaster};
use crate::supervisor::Break;
use crate::sys::carried::Carried;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Read at a time. Before more is read the words are taken out, so that never more than one of them is kept.
const PIECE: usize = 8 * 1024;

/// How bytes become words.
pub(super) trait Reader: Default {
    /// What is said.
    type Word;
    /// Why something is none, after which nothing is understood any more.
    type Error;

    /// Takes bytes.
    fn feed(&mut self, bytes: &[u8]);
    /// The next word, `None` if more bytes are needed.
    fn poll(&mut self) -> Result<Option<Self::Word>, Self::Error>;
    /// What is not a whole word yet.
    fn rest(&self) -> &[u8];
}

impl Reader for frame::Reader {
    type Word = frame::Frame;
    type Error = frame::Error;

    fn feed(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn poll(&mut self) -> Result<Option<frame::Frame>, frame::Error> {
        self.poll()
    }

    fn rest(&self) -> &[u8] {
        self.rest()
    }
}

impl Reader for worker::Reader {
    /// `None`: of no known kind.
    type Word = Option<ToMaster>;
    type Error = Infallible;

    fn feed(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn poll(&mut self) -> Result<Option<Option<ToMaster>>, Infallible> {
        Ok(self.poll())
    }

    fn rest(&self) -> &[u8] {
        self.rest()
    }
}

/// Our end of such a channel.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "R: Reader")]
pub(super) struct Voice<R> {
    pipe: Option<Carried<File>>,
    #[serde(serialize_with = "write", deserialize_with = "read")]
    reader: R,
    /// What came over it was no word, or none for us.
    garbled: bool,
}

/// What one read has brought.
#[derive(Debug)]
pub(super) enum Heard<Word, Error> {
    /// These words, in order; none if the first is not whole yet.
    Words(Vec<Word>),
    /// Nothing now, or nothing ever again: see [`Voice::descriptor`].
    Silence,
    /// These words, and then something that is none. The channel is closed.
    Garbled(Vec<Word>, Error),
}

impl<R: Reader> Voice<R> {
    /// Listens to our end of a channel, which does not block.
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()), reader: R::default(), garbled: false }
    }

    /// To wait for; `None` once it is closed.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Why nothing more can come: nobody is left who could speak, or what came was no word.
    pub(super) fn broken(&self) -> Option<Break> {
        let how = if self.garbled { Break::Garbled } else { Break::Closed };
        self.pipe.is_none().then_some(how)
    }

    /// A word came that is none for us: nothing more is heard.
    pub(super) fn refuse(&mut self) {
        (self.pipe, self.garbled) = (None, true);
    }

    /// Reads once and takes what was read from `left`, the bytes that may still be read in this turn.
    pub(super) fn hear(&mut self, left: &mut usize) -> Heard<R::Word, R::Error> {
        let mut buffer = [0; PIECE];
        while let Some(pipe) = self.pipe.as_mut().filter(|_| *left > 0) {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    *left = left.saturating_sub(length);
                    self.reader.feed(buffer.get(..length).unwrap_or_default());
                    return self.words();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        Heard::Silence
    }

    fn words(&mut self) -> Heard<R::Word, R::Error> {
        let mut words = Vec::new();
        loop {
            match self.reader.poll() {
                Ok(Some(word)) => words.push(word),
                Ok(None) => return Heard::Words(words),
                Err(error) => {
                    self.refuse();
                    return Heard::Garbled(words, error);
                }
            }
        }
    }

    /// What was read and is not yet a whole word.
    #[cfg(test)]
    pub(super) fn rest(&self) -> &[u8] {
        self.reader.rest()
    }
}

/// As what it has read and is not yet a whole word.
fn write<R: Reader, S: Serializer>(reader: &R, to: S) -> Result<S::Ok, S::Error> {
    reader.rest().serialize(to)
}

fn read<'de, R: Reader, D: Deserializer<'de>>(from: D) -> Result<R, D::Error> {
    let mut reader = R::default();
    reader.feed(&Vec::<u8>::deserialize(from)?);
    Ok(reader)
}
