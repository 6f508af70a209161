//! One request on its way through an upstream: **Lease** a channel, **Send** the request, the **Head** and the **Body** of
//! the response, **Release** the channel once. Pure: which server, the socket and the clock are the shell's; what is sent,
//! what has come, how long to wait and whether another try is safe are decided here.
//!
//! | stage | `leased` | `connected` | `feed`, `eof` | `failed` |
//! |---|---|---|---|---|
//! | `Lease`: there is no channel | `Connecting`, or `Exchange` on a kept one | – | – | says whether to lease another |
//! | `Connecting` | – | `Exchange` | – | `Lease` |
//! | `Exchange`: request and response on their way | – | – | the codec's events in `poll` | `Lease` |
//!
//! `release` says whether the channel can carry another request. A response begins once: after its head was polled nothing
//! is tried again.

use super::fastcgi::Scripts;
use super::{BodyEncoder, Event, Protocol, Request, Response, http1, websocket};
use crate::buf::{Queue, Segment};
use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields, Method, ResponseHead};
use crate::timer::Time;
use std::time::Duration;

/// Bytes of a request body that wait for the upstream at most.
const AHEAD: u64 = 64 * 1024;

/// An idle channel is kept so long unless the server announces how long it keeps it (`Keep-Alive: timeout=N`, less a
/// second then): below the 2 s after which gunicorn closes its side.
const IDLE: Duration = Duration::from_millis(1_500);

/// Never kept longer than this.
const IDLE_MOST: Duration = Duration::from_secs(60);

/// How long an upstream is waited for; 504 when it runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection; 3 s.
    pub connect: Duration,
    /// For the next bytes of a response; 60 s.
    pub(crate) silence: Duration,
    /// For it to take more of the request; as `silence`.
    pub(crate) send: Option<Duration>,
    /// For the head of the response, from when it has the whole request; as `silence`.
    pub(crate) first_byte: Option<Duration>,
    /// For all of it, other servers and the response included; for ever.
    pub(crate) total: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        let (connect, silence) = (Duration::from_secs(3), Duration::from_secs(60));
        Self { connect, silence, send: None, first_byte: None, total: None }
    }
}

/// When a request is sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Channels that are leased for one request at most.
    pub(crate) tries: u32,
    /// No try begins later than this after the first; one time-out of a server fits into it.
    pub(crate) within: Duration,
    /// Statuses of a server after which another one is asked, if the request can be repeated.
    pub(crate) statuses: Vec<u16>,
}

impl Default for Retries {
    fn default() -> Self {
        Self { tries: 3, within: Duration::from_secs(90), statuses: Vec::new() }
    }
}

/// What comes out of a [`Client`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// An interim response.
    Interim(ResponseHead),
    /// The head of the response.
    Head(ResponseHead, BodyLength),
    /// The server goes on in another protocol that the request has offered: the channel, with [`Client::take_rest`], is a
    /// tunnel from here on.
    Switched(ResponseHead),
    /// The next bytes of the body.
    Body(Vec<u8>),
    /// What follows the body.
    Trailers(Fields),
    /// The response is complete: release the channel.
    Done,
    /// It cannot be completed: ask [`Client::failed`].
    Broken(Fault),
}

/// What to do about a channel that failed; it is closed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The server closed an idle channel just as it was used: that says nothing about its health, but much about its other
    /// idle ones. Lease a new one of the same server; if that fails, of another.
    SameServer,
    /// Lease a channel of another server.
    AnotherServer,
    /// The client is told.
    No,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    protocol: Protocol,
    method: Method,
    /// The encoded head, kept for another try.
    head: Vec<u8>,
    /// Where it offers to go on in another protocol.
    offer: Option<Box<http1::Offer>>,
    /// The client wants trailers.
    takes_trailers: bool,
    encoder: BodyEncoder,
    /// Encoded body bytes that no server has been given.
    body: Queue,
    body_complete: bool,
    /// Bytes of the body have been given to a server.
    committed: bool,
    /// The whole body, as long as it can be sent again.
    whole: Option<Box<Queue>>,
    /// What follows it; it is framed in chunks then.
    trailers: Option<Box<Fields>>,
    /// The head of the response was polled.
    answered: bool,
    /// How many channels may be leased yet.
    tries: u32,
    /// No try begins after this.
    until: Time,
    /// A server was silent for too long already.
    has_waited: bool,
    stage: Stage,
    patience: Patience,
    /// When something came or went last; `None`: right now, as the next look will find.
    moved: Option<Time>,
    /// Since when the server has the whole request, and has to say something.
    asked: Option<Time>,
    deadline: Time,
    /// When its time is over, whatever happens.
    expires: Option<Time>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "of every request there is one, nearly always the large one")]
enum Stage {
    Lease,
    Connecting,
    Exchange {
        response: Response,
        /// The channel had carried another request before.
        kept: bool,
        /// The server has closed its side.
        ended: bool,
    },
}

impl Client {
    /// A request that is to be sent, and what is known of its body.
    ///
    /// # Errors
    /// If it cannot be said in the protocol.
    pub(crate) fn new(
        protocol: Protocol,
        request: &Request<'_>,
        scripts: Option<&Scripts>,
        body: BodyLength,
        patience: Patience,
        retries: &Retries,
        now: Time,
    ) -> Result<Self, Fault> {
        let tunnel = websocket::is_asked(request.head);
        // As what the server is asked.
        let method = if tunnel { Method::Get } else { request.head.method() };
        let mut head = Vec::with_capacity(request.head.wire_len() + protocol.words());
        protocol.encode(request, scripts, body, &mut head)?;
        Ok(Self {
            protocol,
            method,
            head,
            offer: protocol.offered(request, body).map(|protocols| {
                let accept = tunnel.then(|| websocket::accept(&websocket::key(request.id)));
                Box::new(http1::Offer { protocols, accept })
            }),
            takes_trailers: http1::takes_trailers(request),
            encoder: protocol.body(body),
            body: Queue::new(),
            body_complete: body == BodyLength::None,
            committed: false,
            whole: None,
            trailers: None,
            answered: false,
            tries: retries.tries,
            until: now.after(retries.within),
            has_waited: false,
            stage: Stage::Lease,
            patience,
            moved: None,
            asked: None,
            deadline: now,
            expires: patience.total.map(|total| now.after(total)),
        })
    }

    // ---- the request's body ---------------------------------------------------------------------------------------

    /// Takes the next bytes of the body.
    pub(crate) fn push_body(&mut self, segment: Segment) {
        self.encoder.push(segment, &mut self.body);
    }

    /// What follows a body whose length was not announced; the body ends next.
    pub(crate) fn push_trailers(&mut self, trailers: Box<Fields>) {
        self.trailers = Some(trailers);
    }

    /// The body is complete.
    pub(crate) fn end_body(&mut self) {
        self.encoder.finish(self.trailers.as_deref(), &mut self.body);
        self.body_complete = true;
    }

    /// Takes the whole body, of the length that was announced, or behind which what follows it was pushed.
    pub(crate) fn push_whole(&mut self, mut body: Queue) {
        if self.method.is_idempotent() {
            body.share();
            self.whole = Some(Box::new(body.clone()));
        }
        while let Some(piece) = body.pop() {
            self.push_body(piece);
        }
        self.end_body();
    }

    /// Goes back to the beginning of a body that was kept.
    fn rewind(&mut self) {
        if let (true, Some(body)) = (self.committed, self.whole.take()) {
            self.committed = false;
            self.body.clear();
            let length = match self.trailers {
                Some(_) => BodyLength::Unknown,
                None => BodyLength::Known(body.len()),
            };
            self.encoder = self.protocol.body(length);
            self.push_whole(*body);
        }
    }

    /// Whether it takes more of the body.
    #[must_use]
    pub(crate) fn wants_body(&self) -> bool {
        self.body.len() < AHEAD
    }

    // ---- lease ----------------------------------------------------------------------------------------------------

    /// Whether a channel may be leased; counts as a try.
    pub(crate) fn try_lease(&mut self, now: Time) -> bool {
        let may = self.has_tries(now);
        self.tries -= u32::from(may);
        may
    }

    /// What was leased was none: it does not count.
    pub(crate) fn try_again(&mut self) {
        self.tries += 1;
    }

    /// Whether another try may begin.
    #[must_use]
    pub(crate) fn has_tries(&self, now: Time) -> bool {
        self.tries > 0 && now <= self.until
    }

    /// No server has room: it waits, until then.
    pub(crate) fn waits(&mut self, until: Time) {
        self.deadline = until;
    }

    /// Whether a channel is still to be leased.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Lease)
    }

    /// Whether the request could be sent once more although the server may have begun it: nothing of its body is gone.
    #[must_use]
    pub(crate) fn can_repeat(&self) -> bool {
        self.method.is_idempotent() && self.has_body()
    }

    /// Whether no byte of the body is gone.
    fn has_body(&self) -> bool {
        !self.committed || self.whole.is_some()
    }

    /// Whether the request can be sent once more when its channel is closed before the response begins.
    #[must_use]
    pub(crate) fn may_repeat(&self) -> bool {
        self.method.is_idempotent() && (!self.sends_more() || self.whole.is_some())
    }

    /// A channel is being made.
    pub(crate) fn connecting(&mut self, now: Time) {
        self.stage = Stage::Connecting;
        self.deadline = now.after(self.patience.connect);
    }

    /// Whether a channel is being made.
    #[must_use]
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting)
    }

    /// There is a channel, a kept one or a new one: the head of the request goes behind what is in `out`.
    pub(crate) fn leased(&mut self, kept: bool, out: &mut Queue, now: Time) {
        let mut response = self.protocol.response(self.method);
        if let Some(offer) = &self.offer {
            response.offer(&offer.protocols, offer.accept.as_deref());
        }
        if self.takes_trailers {
            response.keep_trailers();
        }
        self.stage = Stage::Exchange { response, kept, ended: false };
        self.asked = None;
        self.progressed(false, now);
        out.extend(&self.head);
    }

    // ---- send -----------------------------------------------------------------------------------------------------

    /// Moves what there is of the body into `out`, unless much waits there.
    pub(crate) fn fill(&mut self, out: &mut Queue) {
        if out.len() < AHEAD && !self.body.is_empty() {
            self.committed = true;
            out.append(&mut self.body);
        }
    }

    /// Whether more of the request is to be sent than was given to [`Self::fill`].
    #[must_use]
    pub(crate) fn sends_more(&self) -> bool {
        !(self.body_complete && self.body.is_empty())
    }

    /// The server takes no more; what it said is still to be read.
    pub(crate) fn stop_sending(&mut self) {
        self.body.clear();
    }

    // ---- head and body --------------------------------------------------------------------------------------------

    /// Whether bytes of the server are wanted; `room`: the client has room for more of the body.
    ///
    /// # Errors
    /// That the server has closed before the response was complete.
    pub(crate) fn wants_bytes(&self, room: bool) -> Result<bool, Fault> {
        match &self.stage {
            Stage::Exchange { ended: true, .. } => Err(Fault::Closed),
            _ => Ok(!self.answered || room),
        }
    }

    /// Bytes of the server.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if let Stage::Exchange { response, .. } = &mut self.stage {
            response.feed(bytes);
        }
    }

    /// How many bytes of the body of the response may go on unread.
    #[must_use]
    pub(crate) fn unread(&self) -> Option<u64> {
        match &self.stage {
            Stage::Exchange { response, ended: false, .. } if self.answered => response.unread(),
            _ => None,
        }
    }

    /// So many of [`Self::unread`] went on.
    pub(crate) fn passed(&mut self, count: u64) {
        if let Stage::Exchange { response, .. } = &mut self.stage {
            response.passed(count);
        }
    }

    /// The server has closed its side in an orderly way; the next [`Self::poll`] says whether the response is complete.
    pub(crate) fn eof(&mut self) {
        if let Stage::Exchange { response, ended, .. } = &mut self.stage {
            response.eof();
            *ended = true;
        }
    }

    /// The connection was reset, which is no end, not even of a body that ends with its connection.
    #[must_use]
    pub(crate) fn reset(&self) -> Fault {
        if self.has_begun() { Fault::Truncated } else { Fault::Closed }
    }

    fn has_begun(&self) -> bool {
        matches!(&self.stage, Stage::Exchange { response, .. } if response.has_begun())
    }

    /// Whether the head of the response was polled.
    #[must_use]
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// What has come; `None` if more is needed.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        let Stage::Exchange { response, .. } = &mut self.stage else { return None };
        if self.answered {
            // The head that was polled has gone to the client.
            self.whole = None;
        }
        loop {
            return Some(match response.poll()? {
                Event::Interim(head) => {
                    self.asked = None;
                    Output::Interim(head)
                }
                Event::Head { head, body } => {
                    self.answers();
                    Output::Head(head, body)
                }
                Event::Switched(head) => {
                    self.answers();
                    Output::Switched(head)
                }
                Event::Body(bytes) => Output::Body(bytes),
                Event::Trailers(fields) => Output::Trailers(fields),
                Event::End => Output::Done,
                Event::Broken(fault) => Output::Broken(fault),
                // Of apps only.
                Event::File { .. } | Event::Free => continue,
            });
        }
    }

    fn answers(&mut self) {
        self.answered = true;
        self.moved = None;
    }

    /// The head that was polled goes to nobody: the request is to be sent once more.
    pub(crate) fn take_back(&mut self) {
        self.answered = false;
    }

    /// What has come behind [`Output::Switched`].
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        match &mut self.stage {
            Stage::Exchange { response, .. } => response.take_rest(),
            Stage::Lease | Stage::Connecting => Vec::new(),
        }
    }

    /// What the server says besides, for the log.
    pub(crate) fn said(&mut self) -> Option<Vec<u8>> {
        match &mut self.stage {
            Stage::Exchange { response, .. } => response.said(),
            Stage::Lease | Stage::Connecting => None,
        }
    }

    // ---- time -----------------------------------------------------------------------------------------------------

    /// Something came or went. `given`: nothing of the request waits to be written.
    pub(crate) fn progressed(&mut self, given: bool, now: Time) {
        self.moved = Some(now);
        self.settle(given, now);
    }

    /// Derives the deadline of an exchange.
    fn settle(&mut self, given: bool, now: Time) {
        let Stage::Exchange { .. } = self.stage else { return };
        let Patience { silence, send, first_byte, .. } = self.patience;
        let moved = *self.moved.get_or_insert(now);
        self.deadline = if self.answered {
            moved.after(silence)
        } else if self.is_sent(given) {
            self.asked.get_or_insert(now).after(first_byte.unwrap_or(silence))
        } else {
            moved.after(send.unwrap_or(silence))
        };
    }

    /// Whether the server has the whole request.
    fn is_sent(&self, given: bool) -> bool {
        !self.sends_more() && given
    }

    /// When it fails if nothing happens.
    #[must_use]
    pub(crate) fn deadline(&self) -> Time {
        self.expires.map_or(self.deadline, |expires| expires.min(self.deadline))
    }

    /// Whether nothing can go on before the client has sent more of its body. `given`: nothing of the request waits to be
    /// written.
    pub(crate) fn awaits_body(&self, given: bool) -> bool {
        !self.answered && !self.body_complete && self.body.is_empty() && given
    }

    /// Its time is over at `now`: why, unless it is the client that takes nothing or has not sent its body. The client's own
    /// deadlines bound that, and the server is not to blame. `given`: nothing of the request waits to be written; `room` as
    /// in [`Self::wants_bytes`].
    pub(crate) fn on_timeout(&mut self, given: bool, room: bool, now: Time) -> Option<Fault> {
        if self.expires.is_some_and(|expires| expires <= now) {
            return Some(Fault::Overdue);
        }
        self.settle(given, now);
        if now < self.deadline {
            return None;
        }
        let by_client = match self.stage {
            Stage::Lease | Stage::Connecting => false,
            Stage::Exchange { .. } if self.answered => !room,
            Stage::Exchange { .. } => self.awaits_body(given),
        };
        if by_client {
            self.progressed(given, now);
            return None;
        }
        Some(match self.stage {
            Stage::Lease => Fault::Crowded,
            Stage::Connecting => Fault::ConnectTimeout,
            Stage::Exchange { .. } if self.answered => Fault::Stalled,
            Stage::Exchange { .. } if self.is_sent(given) => Fault::Silent,
            Stage::Exchange { .. } => Fault::Untaken,
        })
    }

    // ---- release --------------------------------------------------------------------------------------------------

    /// The channel failed: whether to lease another one.
    pub(crate) fn failed(&mut self, fault: Fault) -> Again {
        let unseen = fault == Fault::Closed && !self.has_begun();
        let kept = matches!(self.stage, Stage::Exchange { kept: true, .. });
        self.stage = Stage::Lease;
        if self.answered || !self.has_body() {
            return Again::No;
        }
        self.rewind();
        if kept && unseen && self.method.is_idempotent() {
            return Again::SameServer;
        }
        let allowed = match fault.row().retry {
            // The client waits for one time-out, and not for that of every server.
            retry if matches!(fault, Fault::Silent | Fault::Untaken) => {
                retry.allows(self.method) && !std::mem::replace(&mut self.has_waited, true)
            }
            retry => retry.allows(self.method),
        };
        if allowed { Again::AnotherServer } else { Again::No }
    }

    /// Whether bytes follow the response.
    #[must_use]
    pub(crate) fn has_excess(&self) -> bool {
        matches!(&self.stage, Stage::Exchange { response, .. } if response.has_excess())
    }

    /// The response is complete: how long the channel may be kept for another request, if nothing of this one is left on it.
    /// `given` as in [`Self::on_timeout`].
    #[must_use]
    pub(crate) fn release(&self, given: bool) -> Option<Duration> {
        let Stage::Exchange { response, .. } = &self.stage else { return None };
        if !(self.is_sent(given) && response.reusable()) {
            return None;
        }
        let announced = response.idle_timeout().map(|timeout| timeout.saturating_sub(Duration::from_secs(1)));
        Some(announced.unwrap_or(IDLE).min(IDLE_MOST))
    }
}

#[cfg(test)]
mod tests;
