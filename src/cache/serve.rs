//! How what is kept is sent: whole, in part (RFC 9110 §14), or not at all, since the client has it (RFC 9111 §4.3.2).

use super::Millis;
use super::status::Note;
use super::stored::Head;
use crate::http::conditional::{self, Outcome, Validators};
use crate::http::range::{self, ByteRange, Ranges, Unsatisfied};
use crate::http::text::decimal;
use crate::http::{Method, Names, RequestHead, ResponseHead, Status};
use crate::timer::Wall;

/// How it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// As it is; to HEAD, its head.
    Whole,
    /// 304.
    NotModified,
    /// 206 with this part.
    Part(ByteRange),
    /// 206 with these, as multipart/byteranges.
    Parts(Vec<ByteRange>),
    /// 416: there is no such part.
    Unsatisfiable,
}

const READ: Names = Names::new(&["if-none-match", "if-modified-since", "range"]);
/// They ask whether to do something, or for a part of what the client has seen before; only who has the resource can tell.
const FOR_ORIGIN: Names = Names::new(&["if-match", "if-unmodified-since"]);

/// How a response with a body of `length` bytes is sent to who has sent this request.
#[must_use]
pub fn plan(request: &RequestHead, head: &Head, length: u64, now: Wall) -> Plan {
    let is_good = matches!(head.status.0, 200 | 203);
    if !is_good || !request.fields().any(|(name, _)| READ.has(name)) {
        return Plan::Whole;
    }
    let validators = Validators { etag: head.etag(), modified: head.modified() };
    // Without a time of its last change the response has at least one at which it was right.
    let dated = Validators { modified: validators.modified.or(Some(head.life.date)), ..validators };
    let is_for_origin = request.fields().any(|(name, _)| FOR_ORIGIN.has(name));
    let outcome = if is_for_origin {
        conditional::evaluate(&request.without(|name| FOR_ORIGIN.has(name)), dated, now)
    } else {
        conditional::evaluate(request, dated, now)
    };
    if outcome == Outcome::NotModified {
        return Plan::NotModified;
    }
    let range = request.get("range").filter(|_| request.method() == Method::Get && head.status.0 == 200);
    let Some(range) = range.filter(|_| conditional::if_range(request, validators, now)) else {
        return Plan::Whole;
    };
    match range::parse(range, length) {
        Ranges::Whole => Plan::Whole,
        Ranges::Unsatisfiable => Plan::Unsatisfiable,
        Ranges::One(part) => Plan::Part(part),
        Ranges::Several(parts) => Plan::Parts(parts),
    }
}

/// Fields that tell of a body, which a 304 and a 416 do not have; `Content-Location` tells of the resource.
const OF_BODY: Names = Names::new(&[
    "content-type",
    "content-encoding",
    "content-language",
    "content-range",
    "content-disposition",
    "content-digest",
    "content-md5",
    "digest",
    "accept-ranges",
]);

/// The head that is sent. Of several parts, `Content-Type` is still to be replaced by that of the whole.
#[must_use]
pub fn response(head: Head, plan: &Plan, length: u64, note: &Note, now: Millis) -> ResponseHead {
    let age = head.life.age(now);
    let Head { status, reason, mut fields, .. } = head;
    let (status, reason) = match plan {
        Plan::Whole => (status, reason),
        Plan::NotModified => (Status(304), None),
        Plan::Part(_) | Plan::Parts(_) => (Status(206), None),
        Plan::Unsatisfiable => (Status(416), None),
    };
    match plan {
        Plan::NotModified | Plan::Unsatisfiable => fields.retain(|name| !OF_BODY.has(name)),
        Plan::Part(part) => fields.set("Content-Range", part.content_range(length)),
        Plan::Whole | Plan::Parts(_) => {}
    }
    if matches!(plan, Plan::Unsatisfiable) {
        fields.add("Content-Range", Unsatisfied(length).to_string());
    }
    let mut seconds = Vec::with_capacity(10);
    decimal((age / super::SECOND).min(super::control::LONGEST), &mut seconds);
    fields.add("Age", seconds);
    note.add(&mut fields);
    ResponseHead { status, reason, fields }
}
