//! The message that comes, in frames between which control frames may be (RFC 6455 §5.4).

use super::frame::{Header, Opcode};
use super::utf8::Utf8;
use super::{Breach, Kind, NO_TEXT, POLICY, TOO_BIG};

/// So many frames a message may have: of ones that carry nothing it would never end, whatever the limit of its size.
const MOST_FRAMES: u32 = 1 << 16;

const NOT_UTF8: Breach = Breach { code: NO_TEXT, why: "text that is not UTF-8" };
const TOO_LONG: Breach = Breach { code: TOO_BIG, why: "message too long" };
const TOO_MANY: Breach = Breach { code: POLICY, why: "message in too many frames" };

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Message {
    /// `None`: none has begun.
    kind: Option<Kind>,
    frames: u32,
    /// Bytes of its frames so far, as they were announced.
    length: u64,
    text: Utf8,
}

impl Message {
    /// The header of a frame of a message came; a message may have `most` bytes.
    ///
    /// # Errors
    /// If it does not go on with the message, or makes it too long.
    pub(super) fn begin_frame(&mut self, header: &Header, most: u64) -> Result<(), Breach> {
        let kind = match header.opcode {
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            _ => None,
        };
        match (self.kind, kind) {
            (None, Some(_)) => *self = Self { kind, ..Self::default() },
            (Some(_), None) => {}
            (None, None) => return Err(Breach::protocol("continuation of no message")),
            (Some(_), Some(_)) => return Err(Breach::protocol("message within a message")),
        }
        self.frames += 1;
        self.length = self.length.saturating_add(header.length);
        if self.length > most {
            return Err(TOO_LONG);
        }
        if self.frames > MOST_FRAMES {
            return Err(TOO_MANY);
        }
        Ok(())
    }

    /// Judges the next bytes of it, without their mask; `end`: they are its last. What kind it is of.
    ///
    /// # Errors
    /// If it is a text and they are none.
    pub(super) fn take(&mut self, bytes: &[u8], end: bool) -> Result<Kind, Breach> {
        let kind = self.kind.unwrap_or(Kind::Binary);
        if kind == Kind::Text && !(self.text.feed(bytes) && (!end || self.text.end())) {
            return Err(NOT_UTF8);
        }
        if end {
            self.kind = None;
        }
        Ok(kind)
    }
}
