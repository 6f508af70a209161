//! The one door out: all that an exchange may ask of the connection that it answers over, and the only code that writes
//! a response. What it gives is queued; the connection writes what is queued together.
//!
//! | call | when |
//! |---|---|
//! | `proceed`, `bound_request`, `pace`, `ignore_rest`, `last`, `interim` | before the head |
//! | `head`, then `send` as long as `has_room`, then `finish` | once |
//! | `prepared` | instead of these three |
//! | `break_off` | instead of `finish` |
//! | `compress` | before all of these: what the response passes (`super::filters`) |
//! | `pause`, `pump` | while it passes that |
//! | `switch`, then `send` as long as `has_room`, `shut`, `finish` | instead of an answer: a tunnel |

use super::cache::Tap;
use super::context::Context;
use super::filters::{Filters, Pumped};
use super::heads::{HeadPolicy, SharedHead};
use super::id::RequestId;
use super::own::Sink;
use super::owner::Owner;
use crate::buf::Segment;
use crate::filter::coding::Asked;
use crate::h1::{self, Prepared};
use crate::h2::{self, StreamId};
use crate::http::date::ImfDate;
use crate::http::fault::Refusal;
use crate::http::serving::Common;
use crate::http::{BodyLength, Fields, Pace, ResponseHead, Status};
use crate::policy::limit::Bandwidth;
use crate::timer::Time;

/// See the module.
pub(super) struct Reply<'a> {
    door: Door<'a>,
    tally: &'a mut Tally,
    /// What it passes; `None` of most.
    filters: &'a mut Option<Box<Filters>>,
    /// Of the request.
    id: RequestId,
}

/// What the response leaves by.
pub(super) enum Door<'a> {
    H1 {
        conn: &'a mut h1::Conn,
        /// Bytes that the transport has written since the connection began.
        written: u64,
    },
    H2 {
        conn: &'a mut h2::Conn,
        stream: StreamId,
    },
    /// Of a request of our own: nowhere.
    Own {
        sink: &'a mut Sink,
    },
}

/// What was given to the connection of one response.
#[derive(Default)]
pub(super) struct Tally {
    /// What the cache takes of it, and what of it is for the client.
    tap: Option<Box<Tap>>,
    /// `None` before there is a head.
    status: Option<Status>,
    /// What the head says of the body that leaves after it: `None` for HEAD, too.
    announced: BodyLength,
    /// Bytes of the body.
    given: u64,
    /// How many bytes leave over the connection before them, of HTTP/1.
    before: u64,
    /// The site of a request that came over TLS.
    secure: Option<usize>,
    /// What the place of the request says of heads, if anything.
    policy: Option<HeadPolicy>,
    /// When it was made, of one that was kept; else it is made now.
    date: Option<ImfDate>,
}

impl Tally {
    /// The status; `None` before there is a head.
    pub(super) fn status(&self) -> Option<Status> {
        self.status
    }

    /// Bytes of the body among so many that were written since the connection began. Of a chunked one that was broken
    /// off, the framing counts as well.
    pub(super) fn sent(&self, written: u64) -> u64 {
        let most = match self.announced {
            BodyLength::None => 0,
            BodyLength::Known(length) => length,
            BodyLength::Unknown => u64::MAX,
        };
        self.given.min(most).min(written.saturating_sub(self.before))
    }
}

impl<'a> Reply<'a> {
    /// To the request of that id.
    pub(super) fn new(
        door: Door<'a>,
        tally: &'a mut Tally,
        filters: &'a mut Option<Box<Filters>>,
        id: RequestId,
    ) -> Self {
        Self { door, tally, filters, id }
    }

    /// What was announced of the body, by who gives it, and bytes that were given.
    fn given(&self) -> (BodyLength, u64) {
        let given = self.filters.as_ref().and_then(|filters| filters.given());
        given.unwrap_or((self.tally.announced, self.tally.given))
    }

    /// Whether there is a head that does not tell how long the body will be.
    pub(super) fn is_endless(&self) -> bool {
        self.has_begun() && self.given().0 == BodyLength::Unknown
    }

    /// Bytes given and announced, if they differ.
    pub(super) fn mismatch(&self) -> Option<(u64, u64)> {
        match self.given() {
            (BodyLength::Known(length), given) if length != given => Some((given, length)),
            _ => None,
        }
    }

    /// Whether it is for us.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.door, Door::Own { .. })
    }

    /// How the response is compressed, if it is to be: before its head.
    pub(super) fn compress(&mut self, asked: Option<Asked>) {
        *self.filters = asked.map(|asked| Box::new(Filters::of(asked)));
    }

    /// Whether there is a head already.
    pub(super) fn has_begun(&self) -> bool {
        self.tally.status.is_some()
    }

    /// The request came over TLS and is for this site.
    pub(super) fn is_secure(&mut self, site: Option<usize>) {
        self.tally.secure = site;
    }

    /// What the place of the request says of heads; `None`: nothing.
    pub(super) fn set_policy(&mut self, policy: Option<HeadPolicy>) {
        // What is asked for ourselves is seen as it was said.
        self.tally.policy = policy.filter(|_| !matches!(self.door, Door::Own { .. }));
    }

    /// The head to come says itself what scripts of other origins may.
    pub(super) fn says_cors(&mut self) {
        if let Some(policy) = &mut self.tally.policy {
            policy.drop_cors();
        }
    }

    /// Bounds the body of the request, before any of it is taken.
    ///
    /// # Errors
    /// 413, to be answered.
    pub(super) fn bound_request(&mut self, max: u64) -> Result<(), Refusal> {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.limit_body(max),
            Door::H2 { conn, stream } => conn.limit_body(*stream, max),
            Door::Own { .. } => Ok(()),
        }
    }

    /// How fast the response leaves that is to come; `None`: as fast as it can.
    pub(super) fn pace(&mut self, bandwidth: Option<Bandwidth>, now: Time) {
        let pace = bandwidth.map(|Bandwidth { rate, after }| Pace::new(rate, after, now));
        match &mut self.door {
            Door::H1 { conn, .. } => conn.set_pace(pace),
            Door::H2 { conn, stream } => conn.set_pace(*stream, pace),
            Door::Own { .. } => {}
        }
    }

    /// Nothing more is taken of the request, which is to be answered with this.
    pub(super) fn ignore_rest(&mut self, refusal: Refusal) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.refuse_early(refusal),
            Door::H2 { conn, stream } => conn.refuse_early(*stream, refusal),
            Door::Own { .. } => {}
        }
    }

    /// What follows the body of the request is wanted, before any of it is taken.
    pub(super) fn keep_trailers(&mut self) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.keep_trailers(),
            Door::H2 { conn, stream } => conn.keep_trailers(*stream),
            Door::Own { .. } => {}
        }
    }

    /// The body of the request is wanted: `100 Continue` for a client that waits for it.
    pub(super) fn proceed(&mut self) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.proceed(),
            Door::H2 { conn, stream } => conn.proceed(*stream),
            Door::Own { .. } => {}
        }
    }

    /// The rest of the request is not taken: a connection for one exchange at a time closes after this response.
    pub(super) fn last(&mut self) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.drain(),
            Door::H2 { .. } | Door::Own { .. } => {}
        }
    }

    /// An interim response of an upstream, such as 103.
    pub(super) fn interim(&mut self, head: &ResponseHead) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.interim(head),
            Door::H2 { conn, stream } => conn.interim(*stream, head),
            Door::Own { .. } => {}
        }
    }

    /// The head. `body` says what follows; it is left out where the method or the status forbids it.
    pub(super) fn head(&mut self, head: &ResponseHead, body: BodyLength, cx: &mut Context) {
        match self.filters.as_deref_mut() {
            None => self.pass_head(head, body, cx),
            Some(filters) => {
                let mut head = head.clone();
                let body = filters.head(&mut head, body, cx);
                self.pass_head(&head, body, cx);
            }
        }
    }

    fn pass_head(&mut self, head: &ResponseHead, body: BodyLength, cx: &Context) {
        let changed = self.tally.policy.as_ref().map(|policy| policy.apply(head));
        let head = changed.as_ref().unwrap_or(head);
        let id = self.id.digits();
        let common = common(&id, head.status, self.tally, cx);
        let follows = match &mut self.door {
            Door::H1 { conn, .. } => conn.respond(head, body, common, cx.now),
            Door::H2 { conn, stream } => conn.respond(*stream, head, body, common, cx.now),
            Door::Own { sink } => {
                sink.begin(head.clone());
                !head.status.forbids_body()
            }
        };
        self.begin(head.status, if follows { body } else { BodyLength::None }, 0);
    }

    /// The head of a 101, which HTTP/2 has as a 200; what follows it, both ways, is of another protocol. Whether it does.
    pub(super) fn switch(&mut self, head: &ResponseHead, cx: &Context) -> bool {
        *self.filters = None;
        self.pace(None, cx.now);
        let changed = self.tally.policy.as_ref().map(|policy| policy.apply(head));
        let head = changed.as_ref().unwrap_or(head);
        let id = self.id.digits();
        let common = common(&id, head.status, self.tally, cx);
        let (status, follows) = match &mut self.door {
            Door::H1 { conn, .. } => (head.status, conn.switch(head, common, cx.now)),
            Door::H2 { conn, stream } => (Status(200), conn.switch(*stream, head, common, cx.now)),
            Door::Own { .. } => (head.status, false),
        };
        if follows {
            self.begin(status, BodyLength::Unknown, 0);
        }
        follows
    }

    /// Nothing more leaves through the tunnel; what the client sends still comes.
    pub(super) fn shut(&mut self) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.shut(),
            Door::H2 { conn, stream } => conn.shut(*stream),
            Door::Own { .. } => {}
        }
    }

    /// A head is queued, and so much of the body behind it.
    fn begin(&mut self, status: Status, announced: BodyLength, given: u64) {
        let before = match &self.door {
            Door::H1 { conn, written } => written.saturating_add(conn.waiting().len()).saturating_sub(given),
            Door::H2 { .. } | Door::Own { .. } => 0,
        };
        let tally = &mut *self.tally;
        (tally.status, tally.announced, tally.given, tally.before) = (Some(status), announced, given, before);
    }

    /// The response was made then: before its head.
    pub(super) fn dated(&mut self, date: ImfDate) {
        self.tally.date = Some(date);
    }

    /// The cache sees the body, or the client a part of it: before the first piece.
    pub(super) fn tap(&mut self, tap: Tap) {
        self.tally.tap = Some(Box::new(tap));
    }

    /// The next piece of the body.
    pub(super) fn send(&mut self, segment: Segment) {
        let passed = match &mut self.tally.tap {
            Some(tap) => tap.send(segment),
            None => Some(segment),
        };
        let Some(segment) = passed else { return };
        match self.filters.as_deref_mut() {
            None => self.pass(segment),
            Some(filters) => {
                if let Some(segment) = filters.send(segment) {
                    self.pass(segment);
                }
            }
        }
    }

    fn pass(&mut self, segment: Segment) {
        self.tally.given = self.tally.given.saturating_add(segment.len());
        match &mut self.door {
            Door::H1 { conn, .. } => conn.send(segment),
            Door::H2 { conn, stream } => conn.send(*stream, segment),
            Door::Own { sink } => sink.take(&segment),
        }
    }

    /// Whether it passes something.
    #[inline(always)]
    pub(super) fn is_filtered(&self) -> bool {
        self.filters.is_some()
    }

    /// Who gives the body has nothing more of it now: what there is leaves, unless other bytes wait before it.
    pub(super) fn pause(&mut self) {
        let has_room = self.has_room();
        if let Some(filters) = self.filters.as_deref_mut().filter(|_| has_room)
            && let Some(segment) = filters.pause()
        {
            self.pass(segment);
        }
    }

    /// Goes on with what was given and has not left, as there is room for it.
    pub(super) fn pump(&mut self, owner: Owner, cx: &mut Context) -> Pumped {
        let has_room = self.has_room_behind();
        let Some(filters) = self.filters.as_deref_mut().filter(|_| has_room) else { return Pumped::Nothing };
        match filters.pump(owner, cx) {
            Pumped::Moved(segment) => {
                if let Some(segment) = segment {
                    self.pass(segment);
                }
                self.end(cx);
                Pumped::Moved(None)
            }
            pumped => pumped,
        }
    }

    /// The response is complete, with what follows the body where that can be said.
    pub(super) fn finish(&mut self, trailers: Fields, cx: &mut Context) {
        if let Some(tap) = self.tally.tap.take() {
            tap.finish(cx);
        }
        match self.filters.as_deref_mut() {
            Some(filters) if filters.reads_body() => {
                filters.finish(trailers);
                self.end(cx);
            }
            _ => self.pass_finish(trailers, cx),
        }
    }

    /// The end leaves, if all before it has come out of what it passes.
    fn end(&mut self, cx: &mut Context) {
        match self.filters.as_deref_mut().and_then(|filters| filters.end(cx)) {
            None => {}
            Some(Ok((last, trailers))) => {
                if let Some(last) = last {
                    self.pass(last);
                }
                self.pass_finish(trailers, cx);
            }
            Some(Err(())) => self.break_off(),
        }
    }

    fn pass_finish(&mut self, trailers: Fields, cx: &Context) {
        match &mut self.door {
            Door::H1 { conn, .. } => conn.finish_with(&trailers, cx.now),
            Door::H2 { conn, stream } => conn.finish_with(*stream, trailers, cx.now),
            Door::Own { .. } => {}
        }
    }

    /// Whether something was given that the connection has not been given yet, be it only the end.
    pub(super) fn holds_back(&self) -> bool {
        self.filters.as_ref().is_some_and(|filters| filters.reads_body())
    }

    /// Whether what it passes waits for a disk.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.filters.as_ref().is_some_and(|filters| filters.waits_for_disk())
    }

    /// A whole response, its head encoded before; `body` has the length that the head announces, or is not there.
    pub(super) fn prepared(&mut self, head: &SharedHead, body: Option<Segment>, cx: &mut Context) {
        if self.is_filtered() {
            return self.unprepared(head, body, cx);
        }
        let Some(policy) = &self.tally.policy else { return self.encoded(head.plain(), body, cx) };
        match policy.prepared(head) {
            Some(head) => self.encoded(&head, body, cx),
            // It is another one for each request.
            None => self.unprepared(head, body, cx),
        }
    }

    fn encoded(&mut self, head: &Prepared, body: Option<Segment>, cx: &Context) {
        let given = body.as_ref().map_or(0, Segment::len);
        let id = self.id.digits();
        let mut common = common(&id, head.status(), self.tally, cx);
        if self.tally.policy.is_some() {
            common = common.beside_encoded(|name| head.has(name));
        }
        let follows = match &mut self.door {
            Door::H1 { conn, .. } => conn.respond_prepared(head, body, common, cx.now),
            Door::H2 { conn, stream } => conn.respond_prepared(*stream, head, body, common, cx.now),
            Door::Own { sink } => {
                sink.begin(head.unprepared());
                !head.status().forbids_body()
            }
        };
        if follows {
            self.begin(head.status(), BodyLength::Known(head.length()), given);
        } else {
            self.begin(head.status(), BodyLength::None, 0);
        }
    }

    /// The same as an ordinary response.
    fn unprepared(&mut self, head: &SharedHead, body: Option<Segment>, cx: &mut Context) {
        self.head(&head.plain().unprepared(), head.body(), cx);
        body.into_iter().for_each(|body| self.send(body));
        self.finish(Fields::new(), cx);
    }

    /// The response cannot be completed: what there is of it leaves, and the client sees that the rest is missing.
    pub(super) fn break_off(&mut self) {
        self.tally.tap = None;
        *self.filters = None;
        match &mut self.door {
            Door::H1 { conn, .. } => conn.break_off(),
            Door::H2 { conn, stream } => conn.break_off(*stream),
            Door::Own { .. } => {}
        }
    }

    /// Whether more of the body may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.held().0 == 0 && self.has_room_behind()
    }

    /// Bytes that what it passes has not done, and those of them in memory.
    fn held(&self) -> (u64, u64) {
        self.filters.as_ref().map_or((0, 0), |filters| filters.held())
    }

    fn has_room_behind(&self) -> bool {
        match &self.door {
            Door::H1 { conn, .. } => conn.has_room(),
            Door::H2 { conn, stream } => conn.has_room(*stream),
            Door::Own { .. } => true,
        }
    }

    /// Bytes that wait to be written, files included.
    pub(super) fn waiting(&self) -> u64 {
        let waiting = match &self.door {
            Door::H1 { conn, .. } => conn.waiting().len(),
            Door::H2 { conn, stream } => conn.waiting_of(*stream).0,
            Door::Own { .. } => 0,
        };
        waiting.saturating_add(self.held().0)
    }

    /// Bytes that wait in memory to be written.
    pub(super) fn in_memory(&self) -> u64 {
        let waiting = match &self.door {
            Door::H1 { conn, .. } => conn.waiting().memory() as u64,
            Door::H2 { conn, stream } => conn.waiting_of(*stream).1,
            Door::Own { .. } => 0,
        };
        waiting.saturating_add(self.held().1)
    }

    /// Whether a body of known length leaves as it is, without frames; to be asked once there is a head.
    pub(super) fn is_unframed(&self) -> bool {
        let is_tapped = self.tally.tap.as_ref().is_some_and(|tap| tap.reads_body());
        matches!(self.door, Door::H1 { .. }) && !self.holds_back() && !is_tapped
    }

    /// Whether other responses of the connection take as much memory as all may.
    pub(super) fn is_crowded(&self) -> bool {
        match &self.door {
            Door::H1 { .. } | Door::Own { .. } => false,
            Door::H2 { conn, .. } => conn.is_crowded(),
        }
    }
}

/// What every response says, of that request.
fn common<'a>(
    id: &'a [u8; RequestId::DIGITS],
    status: Status,
    tally: &'a Tally,
    cx: &'a Context,
) -> Common<'a> {
    let name = cx.config.log.request_id.as_ref();
    let strict = tally.secure.and_then(|site| cx.https.strict(site));
    let date = tally.date.as_ref().unwrap_or(&cx.date).as_ref();
    let common = Common { date, id: name.map(|name| (name.as_str(), &id[..])), strict };
    match &tally.policy {
        Some(policy) => policy.common(common, status),
        None => common,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::Time;
    use std::rc::Rc;

    /// What was announced, given, and written before and of the body; what counts as sent, and whether it is as announced.
    #[test]
    fn what_was_written_of_what_was_announced_counts() {
        use BodyLength::{Known, None, Unknown};
        for (announced, given, before, written, sent, mismatch) in [
            (Known(5), 5, 100, 105, 5, false),
            (Known(5), 5, 100, 103, 3, false),
            (Known(5), 5, 100, 99, 0, false),
            // The next response has left, too.
            (Known(5), 5, 100, 900, 5, false),
            (Known(5), 9, 100, 105, 5, true),
            (Known(5), 2, 100, 102, 2, true),
            (Known(0), 0, 100, 100, 0, false),
            (Unknown, 50, 100, 900, 50, false),
            (Unknown, 50, 100, 120, 20, false),
            // HEAD, 204, 304.
            (None, 50, 100, 900, 0, false),
        ] {
            let mut tally = Tally { status: Some(Status(200)), announced, given, before, ..Tally::default() };
            let label = format!("{announced:?} {given} {before} {written}");
            let mut conn = h1::Conn::new(Rc::new(h1::Settings::default()), Time::ZERO);
            let (sent_now, mut filters) = (tally.sent(written), Option::None);
            let door = Door::H1 { conn: &mut conn, written };
            let reply = Reply::new(door, &mut tally, &mut filters, RequestId::SOME);
            assert_eq!((sent_now, reply.mismatch().is_some()), (sent, mismatch), "{label}");
        }
    }
}
