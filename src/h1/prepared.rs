//! Response heads that are encoded once and sent many times.

use super::encode;
use crate::http::{ResponseHead, Span, Status, text};

/// A response head, encoded but for what differs from response to response: `Date` and `Connection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    status: Status,
    /// Bytes of the body; 0 where the status forbids one.
    length: u64,
    bytes: Box<[u8]>,
    /// The same with the names in lower case, as HTTP/2 has them.
    lower: Box<[u8]>,
    /// Where names and values are in both.
    places: Box<[(Span, Span)]>,
}

impl Prepared {
    /// Encodes the head of a response with a body of `length` bytes (of a response that can have one).
    #[must_use]
    pub(crate) fn new(head: &ResponseHead, length: u64) -> Self {
        let mut bytes = Vec::with_capacity(512);
        encode::status_line(head, &mut bytes);
        bytes.extend_from_slice(b"Server: hatchery\r\n");
        encode::fields(head, &mut bytes);
        let length = if head.status.forbids_body() {
            0
        } else {
            bytes.extend_from_slice(b"Content-Length: ");
            text::decimal(length, &mut bytes);
            bytes.extend_from_slice(b"\r\n");
            length
        };
        let places: Box<[_]> = places(&bytes).collect();
        let mut lower: Box<[u8]> = bytes.as_slice().into();
        for (name, _) in &places {
            let name = lower.get_mut(name.start as usize..name.end as usize);
            name.unwrap_or_default().make_ascii_lowercase();
        }
        Self { status: head.status, length, bytes: bytes.into(), lower, places }
    }

    /// The status code.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// Bytes of the body.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Names, in lower case, and values of what is encoded.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|(name, value)| (name.of(&self.lower), value.of(&self.lower)))
    }

    /// The head that it was made of: without what the protocol adds.
    #[must_use]
    pub(crate) fn unprepared(&self) -> ResponseHead {
        let mut head = ResponseHead::new(self.status.0);
        let fields = self.places.iter().map(|(name, value)| (name.of(&self.bytes), value.of(&self.bytes)));
        for (name, value) in fields.filter(|(name, _)| !encode::is_ours(name)) {
            head.fields.add(name, value);
        }
        head
    }

    /// Whether a field of this name, in lower case, is among what is encoded.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.fields().any(|(other, _)| other == name)
    }

    /// Everything before the Date.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Looks for names and values behind the status line.
fn places(bytes: &[u8]) -> impl Iterator<Item = (Span, Span)> {
    let mut end = 0;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        end += line.len();
        (end - line.len(), line)
    });
    lines.skip(1).filter_map(|(start, line)| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line.get(colon + 1..)?;
        let from = start + line.len() - value.trim_ascii_start().len();
        let span = |start: usize, length: usize| Span { start: start as u32, end: (start + length) as u32 };
        Some((span(start, colon), span(from, value.trim_ascii().len())))
    })
}
