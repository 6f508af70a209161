//! Answering with a head that was encoded before.

use super::{Conn, Writing};
use crate::buf::Segment;
use crate::h1::{Prepared, encode};
use crate::http::BodyLength;
use crate::http::serving::Common;
use crate::timer::Time;

/// A body up to here is copied behind its head: one buffer and one plain write are cheaper than two.
const COPIED: u64 = 8 * 1024;

impl Conn {
    /// Queues a whole response: as `respond`, `send` and `finish`, with a head that was encoded before. `body` has the
    /// length that the head announces, or is not there. Whether a body leaves.
    pub(crate) fn respond_prepared(
        &mut self,
        head: &Prepared,
        body: Option<Segment>,
        common: Common<'_>,
        now: Time,
    ) -> bool {
        let announced = BodyLength::Known(head.length());
        let Some((_, connection)) = self.open_response(head.status(), announced, now) else { return false };
        let follows = self.writing != Writing::Bodiless;
        let body = body.filter(|_| matches!(self.writing, Writing::Sized { .. }));
        let small = body.as_ref().filter(|body| body.len() <= COPIED).map(Segment::as_bytes);
        let small = small.unwrap_or_default();
        let expected = head.bytes().len() + common.len() + 64 + small.len();
        self.out.encode_with(expected, |out| {
            out.extend_from_slice(head.bytes());
            common.write(out);
            out.extend_from_slice(encode::end(connection));
            out.extend_from_slice(small);
        });
        if let Writing::Sized { left } = &mut self.writing {
            *left = left.saturating_sub(small.len() as u64);
        }
        if small.is_empty()
            && let Some(body) = body
        {
            self.send(body);
        }
        self.finish(now);
        follows
    }
}
