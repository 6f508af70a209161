//! The part in which what is kept is the answer.

use super::super::Exchange;
use crate::cache;
use crate::cache::serve::{self, Plan};
use crate::cache::status::Note;
use crate::http::BodyLength;
use crate::worker::cache::Kept;
use crate::worker::drive::Drive;
use crate::worker::handler::file::multipart::Multipart;

impl Exchange {
    /// Answers with what is kept: all of it, a part, or that the client has it.
    pub(super) fn give(&mut self, kept: &Kept, drive: &mut Drive<'_>) {
        let Some(head) = self.head_of_client() else { return };
        let now = cache::millis(drive.cx.wall);
        if self.cached.as_ref().is_some_and(|cached| cached.note.forward.is_none()) {
            drive.cx.cache.count(true);
        }
        // With a new date beside an `Age`, who knows `Expires` only counts its age twice (RFC 9111 §4.2.3).
        drive.reply.dated(kept.date);
        let length = kept.body.len();
        let plan = serve::plan(head, &kept.head, length, drive.cx.wall);
        let note = self.cached.as_ref().map(|cached| Note { collapsed: cached.waited, ..cached.note });
        let note = note.unwrap_or_default();
        if plan == Plan::Whole && note == Note::default() && !kept.head.status.forbids_body() {
            let prepared = kept.prepared(now);
            drive.reply.prepared(&prepared, Some(kept.body.whole()), drive.cx);
            return self.given(drive);
        }
        let note = Note { ttl: Some(kept.head.life.ttl(now)), ..note };
        let mut head = serve::response(kept.head.clone(), &plan, length, &note, now);
        let (announced, segments) = match plan {
            Plan::Whole if head.status.forbids_body() => (BodyLength::None, Vec::new()),
            Plan::Whole => (BodyLength::Known(length), vec![kept.body.whole()]),
            Plan::NotModified => (BodyLength::None, Vec::new()),
            Plan::Unsatisfiable => (BodyLength::Known(0), Vec::new()),
            Plan::Part(part) => (BodyLength::Known(part.len()), vec![kept.body.part(part.first, part.len())]),
            Plan::Parts(parts) => {
                let kind = head.fields.get("content-type").unwrap_or(b"application/octet-stream");
                let kind = String::from_utf8_lossy(kind).into_owned();
                let seed = [drive.cx.random(), drive.cx.random()];
                let multipart = Multipart::new(&parts, length, &kind, seed);
                head.fields.set("Content-Type", &multipart.content_type);
                let mut segments = Vec::with_capacity(2 * parts.len() + 1);
                for (before, range) in multipart.parts {
                    segments.push(before.into());
                    segments.push(kept.body.part(range.first, range.len()));
                }
                segments.push(multipart.end.into());
                (BodyLength::Known(multipart.length), segments)
            }
        };
        drive.reply.head(&head, announced, drive.cx);
        segments.into_iter().for_each(|segment| drive.reply.send(segment));
        self.finish(drive);
    }
}
