//! Response heads that are encoded once and sent many times.

use super::encode;
use crate::http::{ResponseHead, Status};

/// A response head, encoded but for what differs from response to response: `Date` and `Connection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    status: Status,
    /// Bytes of the body; 0 where the status forbids one.
    length: u64,
    bytes: Box<[u8]>,
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
            encode::decimal(length, &mut bytes);
            bytes.extend_from_slice(b"\r\n");
            length
        };
        Self { status: head.status, length, bytes: bytes.into() }
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

    /// Names and values of what is encoded.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.bytes.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
        })
    }

    /// Everything before the Date.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
