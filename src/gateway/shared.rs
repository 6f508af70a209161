//! Worker to an app process whose requests share one stream, as those of an ASGI app do: requests into frames, frames into
//! what they are for each request. The frames are described in [`crate::control::frame`], why it is so in
//! `docs/decisions/0029-asgi.md`.
//!
//! A request has the number `count << 16 | unit`. [`Streams`] holds those that are not over; what comes for one that is over,
//! or was never sent, is not the protocol.

mod answer;
mod ask;

pub(crate) use answer::{Answer, Part};
pub(crate) use ask::{Asked, ask};

use crate::control::frame::{self, Kind, Reader};
use std::collections::HashMap;

/// Bytes of an answer that a host may send before the worker has made room for more, where so many are kept for a client.
pub(crate) fn window(memory: u64) -> u32 {
    u32::try_from(memory.clamp(16 << 10, 1 << 20)).unwrap_or(1 << 20)
}

/// Appends the first frame of a stream.
pub(crate) fn hello(row: u16, out: &mut Vec<u8>) {
    super::app::hello(row, frame::WHOLE, out);
}

/// Appends that so many bytes more of that answer may come.
pub(crate) fn credit(stream: u32, bytes: u32, out: &mut Vec<u8>) {
    frame::push(out, Kind::Credit, 0, stream, &bytes.to_le_bytes());
}

/// Appends that nobody waits for that answer any more; `late`: it had its time.
pub(crate) fn cancel(stream: u32, late: bool, out: &mut Vec<u8>) {
    frame::push(out, Kind::Cancel, 0, stream, if late { &[1] } else { &[] });
}

/// Appends a message of a client, or a part of one: `more` follows.
pub(crate) fn message(stream: u32, is_text: bool, more: bool, bytes: &[u8], out: &mut Vec<u8>) {
    let kind = if is_text { Kind::Text } else { Kind::Binary };
    frame::push(out, kind, if more { frame::MORE } else { 0 }, stream, bytes);
}

/// Appends that a WebSocket has ended.
pub(crate) fn closed(stream: u32, code: u16, reason: &str, out: &mut Vec<u8>) {
    let payload = [&code.to_le_bytes(), reason.as_bytes()].concat();
    frame::push(out, Kind::Close, 0, stream, &payload);
}

/// The requests of a worker to one process, and what comes of them. `T` is what the shell keeps of each.
#[derive(Debug)]
pub(crate) struct Streams<T> {
    reader: Reader,
    open: HashMap<u32, (Answer, T)>,
    count: u16,
}

impl<T> Default for Streams<T> {
    fn default() -> Self {
        Self { reader: Reader::new(), open: HashMap::new(), count: 0 }
    }
}

impl<T> Streams<T> {
    /// A request that is about to be sent to that unit; its number. `None`: all numbers of the unit are in use, by what has
    /// given it back.
    pub(crate) fn begin(&mut self, unit: u16, asked: Asked, kept: T) -> Option<u32> {
        for _ in 0..=u16::MAX {
            self.count = self.count.wrapping_add(1);
            let stream = u32::from(self.count) << 16 | u32::from(unit);
            if stream != 0 && !self.open.contains_key(&stream) {
                self.open.insert(stream, (Answer::to(asked), kept));
                return Some(stream);
            }
        }
        None
    }

    /// What is kept of a request that is not over.
    pub(crate) fn get_mut(&mut self, stream: u32) -> Option<&mut T> {
        Some(&mut self.open.get_mut(&stream)?.1)
    }

    /// Where the answer stands.
    pub(crate) fn answer(&self, stream: u32) -> Option<&Answer> {
        Some(&self.open.get(&stream)?.0)
    }

    /// How many are not over.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// All that are not over, and what is kept of them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.open.iter_mut().map(|(stream, (_, kept))| (*stream, kept))
    }

    /// Where each of them stands.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&Answer, &T)> {
        self.open.values().map(|(answer, kept)| (answer, kept))
    }

    /// A request whose task has ended, and that is over; whether there was one.
    pub(crate) fn end(&mut self, stream: u32) -> bool {
        self.open.remove(&stream).is_some()
    }

    /// Takes bytes read from the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
    }

    /// Whether every frame that has come was taken as a whole.
    pub(crate) fn is_between(&self) -> bool {
        self.reader.is_between()
    }

    /// What came next, and of which request; `None` if more bytes are needed.
    ///
    /// # Errors
    /// What is not the protocol: the stream is of no more use.
    pub(crate) fn poll(&mut self) -> Result<Option<(u32, Part)>, String> {
        loop {
            let frame = self.reader.poll().map_err(|error| format!("not a frame: {error:?}"))?;
            let Some(frame) = frame else { return Ok(None) };
            let stream = frame.header.stream;
            let Some((answer, _)) = self.open.get_mut(&stream) else {
                return Err(format!("a frame of request {stream}, which is over"));
            };
            if let Some(part) = answer.on_frame(frame)? {
                return Ok(Some((stream, part)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
