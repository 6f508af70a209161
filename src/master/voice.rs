//! What workers (`control::worker`), processes of apps and templates (`control::frame`) tell the master, over a channel
//! that carries bytes and nothing else (`sys::channel`, docs/decisions/0012-descriptors.md).

use crate::control::frame;
use crate::control::worker::{self, ToMaster};
use crate::secret;
use crate::supervisor::Break;
use crate::sys::carried::Carried;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Read at a time. Before more is read the words are taken out, so that never more than one of them is kept.
const PIECE: usize = 8 * 1024;

/// How bytes become words.
pub(super) trait Reader {
    /// What is said.
    type Word;
    /// Why something is none, after which nothing is understood any more.
    type Error: Debug;

    /// Of these bytes.
    fn of(bytes: Vec<u8>) -> Self;
    /// The next word, `None` if more bytes are needed.
    fn poll(&mut self) -> Result<Option<Self::Word>, Self::Error>;
    /// What is not a whole word yet.
    fn into_rest(self) -> Vec<u8>;
}

impl Reader for frame::Reader {
    type Word = frame::Frame;
    type Error = frame::Error;

    fn of(bytes: Vec<u8>) -> Self {
        bytes.into()
    }

    fn poll(&mut self) -> Result<Option<frame::Frame>, frame::Error> {
        self.poll()
    }

    fn into_rest(self) -> Vec<u8> {
        self.into_rest()
    }
}

impl Reader for worker::Reader {
    /// `None`: of no known kind.
    type Word = Option<ToMaster>;
    type Error = Infallible;

    fn of(bytes: Vec<u8>) -> Self {
        bytes.into()
    }

    fn poll(&mut self) -> Result<Option<Option<ToMaster>>, Infallible> {
        Ok(self.poll())
    }

    fn into_rest(self) -> Vec<u8> {
        self.into_rest()
    }
}

/// Our end of such a channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Voice {
    pipe: Option<Carried<File>>,
    /// What was read and is not yet a whole word.
    rest: Vec<u8>,
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

impl Voice {
    /// Listens to our end of a channel, which does not block.
    pub(super) fn new(pipe: OwnedFd) -> Self {
        Self { pipe: Some(pipe.into()), rest: Vec::new(), garbled: false }
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
    pub(super) fn hear<R: Reader>(&mut self, left: &mut usize) -> Heard<R::Word, R::Error> {
        let mut buffer = [0; PIECE];
        while let Some(pipe) = self.pipe.as_mut().filter(|_| *left > 0) {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    *left = left.saturating_sub(length);
                    // The helper says keys.
                    secret::extend(&mut self.rest, buffer.get(..length).unwrap_or_default());
                    secret::wipe(&mut buffer);
                    return self.words::<R>();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        Heard::Silence
    }

    fn words<R: Reader>(&mut self) -> Heard<R::Word, R::Error> {
        let mut reader = R::of(std::mem::take(&mut self.rest));
        let mut words = Vec::new();
        loop {
            match reader.poll() {
                Ok(Some(word)) => words.push(word),
                Ok(None) => {
                    self.rest = reader.into_rest();
                    return Heard::Words(words);
                }
                Err(error) => {
                    self.refuse();
                    return Heard::Garbled(words, error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::channel;
    use std::io::Write as _;

    /// Frames that are heard until nothing more comes, or so many bytes were read.
    fn heard(voice: &mut Voice, mut left: usize) -> usize {
        let mut count = 0;
        while let Heard::Words(frames) = voice.hear::<frame::Reader>(&mut left) {
            assert!(frames.iter().all(|frame| frame.payload == [3, 0, 0, 0]));
            count += frames.len();
        }
        count
    }

    #[test]
    fn what_is_said_without_end_is_heard_in_parts_and_not_kept() {
        let (read, tell) = channel::from_child().unwrap();
        channel::never_block(&tell).unwrap();
        let (mut voice, mut theirs) = (Voice::new(read), File::from(tell));
        let mut free = Vec::new();
        frame::push(&mut free, frame::Kind::Free, 0, 0, &[3, 0, 0, 0]);
        let many = free.repeat(4096);
        // A frame may be cut where the pipe is full; the rest comes with the next write.
        let (mut sent, mut rest) = (0, Vec::new());
        let mut fill = |rest: &mut Vec<u8>| {
            loop {
                if rest.is_empty() {
                    rest.extend(&many);
                }
                match theirs.write(rest) {
                    Ok(length) => {
                        sent += length;
                        rest.drain(..length);
                    }
                    Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            sent
        };
        let budget = 16 * 1024;
        let mut count = 0;
        for _ in 0..100 {
            assert!(fill(&mut rest) > count * free.len() + 2 * budget, "there is more than is heard at once");
            let now = heard(&mut voice, budget);
            assert!(now * free.len() <= budget + 8 * 1024, "{now}");
            assert!(voice.rest.len() < free.len(), "only what is not whole is kept");
            count += now;
        }
        // Everything that was said before the end is heard at the end.
        let sent = fill(&mut rest);
        drop(theirs);
        count += heard(&mut voice, 1 << 20);
        assert_eq!(count, sent / free.len());
        assert_eq!(voice.broken(), Some(Break::Closed));
    }
}
