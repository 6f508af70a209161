//! The arena: chunks that are filled from the beginning to the end, each by one worker, and begin anew in turn. So the oldest
//! objects leave; one that is asked for shortly before its chunk's turn is put into a new one (`worker`).
//!
//! A hand gives out the chunks: a worker that wants one takes its next number, its *turn*, which is written at the chunk
//! before anything else is written into it. An entry of the index has a part of the turn, so that what was there before is
//! seen to be gone. Which chunk it fills a worker says in its own row, where no other one can lie about it: others pass it
//! over. Should two fill the same one anyway, they tear objects, which is found out when they are read.

use super::entry::Where;
use super::layout::{self, LINE, OPEN, WORD};
use super::object;
use super::view::View;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// A chunk that this worker fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    chunk: usize,
    turn: u64,
    /// Words that are taken.
    at: usize,
}

impl View<'_> {
    /// Bytes of the largest object that has room in memory.
    #[must_use]
    pub fn most_in_memory(&self) -> usize {
        self.layout.chunk * WORD
    }

    fn lap(&self, turn: u64) -> u64 {
        (turn / self.layout.chunks as u64) & 0x3ff
    }

    fn turn_of(&self, chunk: usize) -> u64 {
        self.layout.turn(chunk).map_or(0, |at| self.load(at))
    }

    /// Whether what the entry says is there, or may be.
    pub(super) fn is_there(&self, chunk: usize, lap: u64) -> bool {
        chunk < self.layout.chunks && self.lap(self.turn_of(chunk)) == lap
    }

    /// Whether the turn of the chunk comes soon.
    pub(super) fn is_old(&self, chunk: usize) -> bool {
        let chunks = self.layout.chunks as u64;
        self.load(layout::HAND).saturating_sub(self.turn_of(chunk)) > chunks - chunks / 4
    }

    /// Takes a chunk to be filled.
    fn take(&self, which: usize) -> Option<Filling> {
        let hand = self.shared(layout::HAND)?;
        let chunks = self.layout.chunks as u64;
        for _ in 0..chunks.min(1024) {
            let turn = hand.fetch_add(1, SeqCst);
            let chunk = (turn % chunks) as usize;
            let is_held = self.rows().any(|row| (0..OPEN).any(|held| self.held(row, held) == Some(chunk)));
            if is_held {
                continue;
            }
            self.hold(which, chunk);
            self.shared(self.layout.turn(chunk)?)?.store(turn, SeqCst);
            return Some(Filling { chunk, turn, at: 0 });
        }
        None
    }

    /// Writes an object, and says where it is.
    pub(super) fn append(&self, open: &mut [Option<Filling>; OPEN], bytes: &[u8]) -> Option<Where> {
        let words = bytes.len().div_ceil(WORD).next_multiple_of(LINE);
        if words > self.layout.chunk {
            return None;
        }
        // What is small does not have a chunk left half empty by what is large.
        let which = usize::from(words > self.layout.chunk / 8);
        let slot = open.get_mut(which)?;
        let fits = |filling: &Filling| {
            filling.at + words <= self.layout.chunk && self.turn_of(filling.chunk) == filling.turn
        };
        if !slot.as_ref().is_some_and(fits) {
            *slot = self.take(which);
        }
        let filling = slot.as_mut()?;
        write(self.chunk(filling.chunk).get(filling.at..filling.at + words)?, bytes);
        let line = filling.at / LINE;
        filling.at += words;
        Some(Where::Memory { chunk: filling.chunk, line, lap: self.lap(filling.turn) })
    }

    /// Whether what is there says that it is of this key.
    pub(super) fn has_key(&self, chunk: usize, line: usize, key: &[u8]) -> bool {
        let words = line.checked_mul(LINE).and_then(|at| self.chunk(chunk).get(at..));
        let words = words.and_then(|words| words.get(..object::words_of_key(key))).unwrap_or_default();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect();
        object::begins_with_key(&bytes, key)
    }

    /// Copies what is there, if it looks like an object.
    pub(super) fn copy(&self, chunk: usize, line: usize) -> Option<Vec<u8>> {
        let words = self.chunk(chunk).get(line.checked_mul(LINE)?..)?;
        let length = object::length(words.first()?.load(Relaxed))?;
        let words = words.get(..length.div_ceil(WORD))?;
        let mut bytes = vec![0; words.len() * WORD];
        for (place, word) in bytes.chunks_exact_mut(WORD).zip(words) {
            place.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        bytes.truncate(length);
        Some(bytes)
    }
}

fn write(words: &[AtomicU64], bytes: &[u8]) {
    let mut pieces = bytes.chunks(WORD);
    for word in words {
        let mut whole = [0; WORD];
        match pieces.next() {
            Some(piece) => whole.iter_mut().zip(piece).for_each(|(place, byte)| *place = *byte),
            None => break,
        }
        word.store(u64::from_le_bytes(whole), Relaxed);
    }
}
