//! The words that a connection of any version of HTTP speaks with its owner, on the server's side: what it is told, what
//! it tells, what it wants.

use super::fault::Refusal;
use super::target::{Host, Target};
use super::{BodyLength, Fields, RequestHead, ResponseHead, Version};
use crate::timer::Time;
use std::time::Duration;

/// Limits and time-outs of a connection (research, web-servers §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the request line, without its end; more: 414.
    pub request_line: usize,
    /// Bytes of the whole head; more: 431.
    pub head: usize,
    /// Number of fields; more: 431.
    pub fields: u32,
    /// From the accept (first request) or the first byte (later ones) to the end of the head; absolute, 408.
    pub(crate) header_timeout: Duration,
    /// Between two reads of a request body (408), and between two writes of a response (the connection is aborted).
    pub(crate) body_timeout: Duration,
    /// Bytes a second of a request body, at least (408). 0: no minimum.
    pub(crate) body_rate: u64,
    /// How far a request body may lag behind `body_rate`; also counts from its start.
    pub(crate) body_grace: Duration,
    /// Between two requests; then the connection is closed silently.
    pub(crate) keepalive_timeout: Duration,
    /// Requests on one connection; the last is answered with `Connection: close`. 0: no limit.
    pub(crate) keepalive_requests: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 32 * 1024,
            fields: 100,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            body_rate: 512,
            body_grace: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(65),
            keepalive_requests: 1000,
        }
    }
}

impl Settings {
    /// When a body is due that was due before, of which so many bytes have come now: they earn time, but no more than a pause may
    /// take anyway.
    pub(crate) fn earn(&self, due: Time, bytes: u64, now: Time) -> Time {
        const NANOSECONDS: u64 = 1_000_000_000;
        let Some(earned) = bytes.saturating_mul(NANOSECONDS).checked_div(self.body_rate) else { return due };
        let most = now.after(self.body_grace.max(self.body_timeout));
        due.after(Duration::from_nanos(earned)).min(most)
    }
}

/// Bytes of all trailers of a body: of names and values, and [`TRAILER`] for each (as in RFC 9113 §6.5.2).
pub(crate) const TRAILERS_MAX: usize = 16 * 1024;
pub(crate) const TRAILER: usize = 32;

/// They are more.
pub(crate) const LONG_TRAILERS: Refusal = Refusal { status: 400, why: "trailers longer than 16 KiB" };

/// Why a client that takes too long gets no further.
pub(crate) const STALLED_BODY: Refusal =
    Refusal { status: 408, why: "request body stalled; raise limits.body_timeout" };
pub(crate) const SLOW_BODY: Refusal =
    Refusal { status: 408, why: "request body too slow; lower limits.body_rate or raise limits.body_grace" };
pub(crate) const UNREAD: &str = "response not taken in time; raise limits.body_timeout";

/// A request, as far as its head tells.
#[derive(Clone, Debug)]
pub struct Request {
    /// The head as it was received.
    pub head: RequestHead,
    /// The request-target, decoded once.
    pub target: Target,
    /// The host it is for: of the target if that has one (then the same as the Host field), else the Host field.
    /// `None` only in HTTP/1.0.
    pub host: Option<Host>,
    /// The body that follows: `None` if the head announced none; then no body event comes.
    pub body: BodyLength,
}

/// The first line of a request that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) version: Version,
}

/// What came from the client.
#[derive(Clone, Debug)]
pub enum Event {
    /// A request. Its exchange is open until `finish`.
    Request(Request),
    /// The next bytes of its body, never empty.
    Body(Vec<u8>),
    /// What follows its body (RFC 9110 §6.5), if that is wanted and there is something. Fields of a connection and whatever else
    /// should be none are there, too.
    Trailers(Fields),
    /// Its body is complete. Comes for every body but [`BodyLength::None`], unless `finish` was called before.
    BodyEnd,
    /// What came is no request to be served, or the rest of it did not come in time. The caller answers it with
    /// `respond`, `send` and `finish` like a request. Nothing after it is parsed.
    Refused(Refusal),
    /// The client vanished, or stopped reading, in the middle of the exchange. Nothing more can be answered.
    Gone,
}

/// What a connection waits for; derived from its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Bytes of the client.
    pub read: bool,
    /// A chance to write: there are bytes to be written.
    pub write: bool,
    /// Those are the last ones: nothing is said after them.
    pub last: bool,
    /// More of the response: there is room for another `send`.
    pub body: bool,
}

/// Whether and how the connection ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on, or has something to write first.
    Open,
    /// All is written and nothing more will be, while the client is still heard: shut down writing, be it again.
    Shut,
    /// All is written, but the client may still be sending: shut down writing, go on reading (what is fed is
    /// discarded) until this becomes `Close`. Closing at once would reset the connection and could destroy the answer
    /// on its way (RFC 9112 §9.6).
    Linger,
    /// All is written and nothing is left to be read: close.
    Close,
    /// Close at once, without a clean end.
    Abort,
}

/// What every response says besides its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Common<'a> {
    /// Value of the Date field (RFC 9110 §6.6.1), made once a second by the caller.
    pub(crate) date: &'a [u8],
    /// Name and value of the field with the id of the request. One of that name that the response has is sent instead.
    pub(crate) id: Option<(&'a str, &'a [u8])>,
    /// Value of the field Strict-Transport-Security (RFC 6797 §7.1), of a site that says so and over TLS. One that the
    /// response has is sent instead.
    pub(crate) strict: Option<&'a str>,
}

/// Tells browsers to ask by HTTPS only.
pub(crate) const STRICT: &str = "Strict-Transport-Security";

impl Common<'_> {
    /// Without what the response says itself.
    #[must_use]
    pub(crate) fn beside(mut self, head: &ResponseHead) -> Self {
        self.id = self.id.filter(|(name, _)| head.fields.get(name).is_none());
        self.strict = self.strict.filter(|_| head.fields.get(STRICT).is_none());
        self
    }
}

impl Common<'_> {
    /// Without what an encoded head says itself; `has` tells of a name in lower case.
    #[must_use]
    pub(crate) fn beside_encoded(mut self, has: impl Fn(&[u8]) -> bool) -> Self {
        self.id = self.id.filter(|(name, _)| !has(name.to_ascii_lowercase().as_bytes()));
        self.strict = self.strict.filter(|_| !has(STRICT.to_ascii_lowercase().as_bytes()));
        self
    }
}

impl<'a> From<&'a str> for Common<'a> {
    fn from(date: &'a str) -> Self {
        Self { date: date.as_bytes(), id: None, strict: None }
    }
}
