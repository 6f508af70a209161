//! A response on its way to its client, of which the cache takes a copy, or the client only a part: it is the first of the
//! filters, and sees what the app or upstream has said.
//!
//! The copy is a matter of the cache alone: whatever becomes of it, the client is not slowed down and gets all that is for it.

use super::{Claim, GivenUp};
use crate::buf::Segment;
use crate::cache;
use crate::cache::key::Key;
use crate::cache::store::Fetch;
use crate::cache::stored::Head;
use crate::cache::vary::Marker;
use crate::http::BodyLength;
use crate::sys::page_cache;
use crate::worker::budget::Share;
use crate::worker::context::Context;
use std::os::fd::AsFd as _;

/// A file is read so much at a time.
const PIECE: u64 = 64 * 1024;

/// See the module.
pub(in crate::worker) struct Tap {
    /// What was announced of the body, and what came.
    announced: BodyLength,
    came: u64,
    window: Option<Window>,
    keep: Option<Box<Keep>>,
}

/// The part of a body that is for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::worker) struct Window {
    pub(in crate::worker) first: u64,
    pub(in crate::worker) length: u64,
}

/// What is kept of it once it is complete.
pub(in crate::worker) struct Keep {
    /// Under which key.
    pub(in crate::worker) key: Key,
    /// Under which others look for it.
    pub(in crate::worker) at: Key,
    /// What stands under the key of the URL then, if that is another one.
    pub(in crate::worker) marker: Option<(Key, Marker)>,
    pub(in crate::worker) head: Head,
    /// How the store was when it was asked for.
    pub(in crate::worker) fetch: Fetch,
    /// The right to fetch it, which others wait for.
    pub(in crate::worker) claim: Option<Claim>,
    /// The largest body that is kept.
    pub(in crate::worker) most: u64,
    pub(in crate::worker) body: Vec<u8>,
    /// What that holds of the budget.
    pub(in crate::worker) share: Share,
    /// Where it is given up.
    pub(in crate::worker) given_up: GivenUp,
}

impl Tap {
    pub(in crate::worker) fn new(announced: BodyLength, window: Option<Window>, keep: Option<Keep>) -> Self {
        let keep = keep.filter(|keep| !matches!(announced, BodyLength::Known(length) if length > keep.most));
        Self { announced, came: 0, window, keep: keep.map(Box::new) }
    }

    /// A piece of the body; what of it is for the client.
    pub(in crate::worker) fn send(&mut self, mut segment: Segment) -> Option<Segment> {
        let (start, length) = (self.came, segment.len());
        self.came = self.came.saturating_add(length);
        if let Some(keep) = &mut self.keep
            && !keep.take(&segment)
        {
            // Who waits for it is told at once.
            self.keep.take().into_iter().for_each(|keep| keep.give_up());
        }
        let Some(Window { first, length: wanted }) = self.window else { return Some(segment) };
        segment.advance(first.saturating_sub(start).min(length));
        let left = first.saturating_add(wanted).saturating_sub(start.max(first));
        segment.truncate(left);
        (!segment.is_empty()).then_some(segment)
    }

    /// All of the body has come.
    pub(in crate::worker) fn finish(self, cx: &mut Context) {
        let is_whole = match self.announced {
            BodyLength::Known(length) => length == self.came,
            BodyLength::None => self.came == 0,
            BodyLength::Unknown => true,
        };
        if let Some(keep) = self.keep.filter(|_| is_whole) {
            let times = (cx.now, cache::millis(cx.wall));
            for (what, held) in cx.cache.keep(*keep, times) {
                cx.write_kept(what, held);
            }
        }
    }

    /// Whether it must see the bytes.
    pub(in crate::worker) fn reads_body(&self) -> bool {
        self.keep.is_some() || self.window.is_some()
    }
}

impl Keep {
    /// It is not kept: who waits goes on, and later ones do not wait.
    fn give_up(self) {
        self.given_up.add(self.at, self.claim);
    }

    /// Copies a piece of the body; whether it could.
    fn take(&mut self, segment: &Segment) -> bool {
        let length = (self.body.len() as u64).saturating_add(segment.len());
        if length > self.most || !self.share.has_room() {
            return false;
        }
        let is_copied = match segment {
            Segment::Owned { .. } | Segment::Shared { .. } => {
                self.body.extend_from_slice(segment.as_bytes());
                true
            }
            Segment::File { file, offset, len, .. } => {
                file.far().is_none() && self.read(file.as_fd(), *offset, *len)
            }
            Segment::Pipe { .. } => false,
        };
        self.share.set(self.body.capacity() as u64);
        is_copied
    }

    /// Reads what lies in memory of a file: the loop waits for no disk.
    fn read(&mut self, file: std::os::fd::BorrowedFd<'_>, offset: u64, len: u64) -> bool {
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            let start = self.body.len();
            let most = (end - at).min(PIECE) as usize;
            self.body.resize(start + most, 0);
            let place = self.body.get_mut(start..).unwrap_or_default();
            match page_cache::read_into_if_cached(file, at, place) {
                Ok(Some(count)) if count > 0 => {
                    self.body.truncate(start + count);
                    at = at.saturating_add(count as u64);
                }
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of a body in pieces of that length is for its client.
    fn passed(window: Option<Window>, piece: usize) -> String {
        let mut tap = Tap::new(BodyLength::Known(10), window, None);
        let mut passed = Vec::new();
        for piece in b"0123456789".chunks(piece) {
            if let Some(segment) = tap.send(Segment::from(piece.to_vec())) {
                assert!(!segment.is_empty());
                passed.extend_from_slice(segment.as_bytes());
            }
        }
        String::from_utf8(passed).unwrap()
    }

    #[test]
    fn a_client_gets_its_part_however_the_body_comes() {
        for piece in 1..=10 {
            assert_eq!(passed(None, piece), "0123456789");
            for (first, length, part) in [
                (0, 0, ""),
                (0, 3, "012"),
                (2, 3, "234"),
                (9, 1, "9"),
                (0, 10, "0123456789"),
                (5, 99, "56789"),
            ] {
                assert_eq!(
                    passed(Some(Window { first, length }), piece),
                    part,
                    "{first} {length} in {piece}"
                );
            }
        }
    }
}
