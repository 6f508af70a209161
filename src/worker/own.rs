//! Requests of the server itself: exchanges without a client, with the same steps, queue and retries as any. A request that has
//! to know something first asks for one ([`Context::ask_own`]) and is driven again once the answer is there; a response that is
//! to be fetched anew is asked for by nobody.
//!
//! | who | does |
//! |---|---|
//! | an exchange | asks, waits, takes the answer or forgets it |
//! | the worker | gives what was asked for a place among its clients, in the same turn |
//! | [`Own`] | drives its exchange, to a [`Sink`] instead of a connection |

use super::cache::Claim;
use super::client::DriveEnd;
use super::context::{Context, Timer};
use super::drive::Drive;
use super::exchange::{Exchange, Given};
use super::owner::Owner;
use super::reply::{Door, Reply};
use super::stream::{Room, Stream};
use crate::buf::Segment;
use crate::http::ResponseHead;
use crate::slab::Key;
use crate::timer::{Time, earliest};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// Steps of one in a turn.
const STEPS: usize = 16;

/// After the head nobody waits any more. So much of the body is let come, in that time: then the connection can be used again.
const REST: (u64, Duration) = (64 * 1024, Duration::from_secs(1));

/// The number of its exchange, which is the only one.
const NUMBER: u32 = 1;

/// A request to be made.
pub(super) struct Ask {
    /// Who is driven when it is answered; `None`: nobody waits for it.
    pub(super) whom: Option<Owner>,
    /// What is asked, and of whom.
    pub(super) given: Given,
    /// Given up by then.
    pub(super) until: Time,
    /// What it fetches anew for the cache, and the right to do so.
    pub(super) claim: Option<(u128, Claim)>,
}

/// Where the response to a request of our own goes: nobody wants more of it than the head.
#[derive(Debug)]
pub(super) struct Sink {
    head: Option<ResponseHead>,
    /// So much of the body may come.
    left: u64,
}

impl Sink {
    fn new() -> Self {
        Self { head: None, left: u64::MAX }
    }

    pub(super) fn begin(&mut self, head: ResponseHead) {
        self.head = Some(head);
    }

    pub(super) fn take(&mut self, segment: &Segment) {
        self.left = self.left.saturating_sub(segment.len());
    }
}

/// Those that are asked for, run, and were answered.
#[derive(Default)]
pub(super) struct Owns {
    asked: VecDeque<Ask>,
    /// For whom, and who does it.
    waited_for: HashMap<Owner, Option<Key>>,
    answers: HashMap<Owner, Option<ResponseHead>>,
    running: usize,
}

impl Owns {
    /// How many of the worker's clients are none.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Whether some are to begin.
    pub(super) fn any_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Ask> {
        self.asked.pop_front()
    }

    fn begins(&mut self, whom: Option<Owner>, key: Key) {
        self.running += 1;
        if let Some(key_of) = whom.and_then(|whom| self.waited_for.get_mut(&whom)) {
            *key_of = Some(key);
        }
    }

    fn wants(&self, whom: Option<Owner>) -> bool {
        whom.is_none_or(|whom| self.waited_for.contains_key(&whom))
    }
}

impl Context {
    /// Has the server make a request, one at a time for each exchange that waits.
    pub(super) fn ask_own(&mut self, ask: Ask) {
        if let Some(whom) = ask.whom {
            self.owns.answers.remove(&whom);
            self.owns.waited_for.insert(whom, None);
        }
        self.owns.asked.push_back(ask);
    }

    /// The head of the answer to the request that this exchange waits for. Outer `None`: nothing yet; inner: there is none, it
    /// was given up.
    pub(super) fn take_own(&mut self, whom: Owner) -> Option<Option<ResponseHead>> {
        self.owns.answers.remove(&whom)
    }

    /// Nobody waits any more for what this exchange has asked for.
    pub(super) fn forget_own(&mut self, whom: Owner) {
        self.owns.answers.remove(&whom);
        if let Some(Some(key)) = self.owns.waited_for.remove(&whom) {
            self.run_soon(key);
        }
        self.owns.asked.retain(|ask| ask.whom != Some(whom));
    }

    fn answer_own(&mut self, whom: Option<Owner>, answer: Option<ResponseHead>) {
        let Some(whom) = whom else { return };
        if self.owns.waited_for.remove(&whom).is_some() {
            self.owns.answers.insert(whom, answer);
            self.runnable.push_back(whom);
        }
    }
}

/// One that runs.
pub(super) struct Own {
    room: Room,
    whom: Option<Owner>,
    until: Time,
    sink: Sink,
    begin: Option<Given>,
    /// Until it begins.
    claim: Option<(u128, Claim)>,
    /// What it fetches for the cache.
    fetches: Option<u128>,
    is_over: bool,
    armed: Time,
}

impl Own {
    pub(super) fn new(ask: Ask, key: Key, cx: &mut Context) -> Self {
        let Ask { whom, given, until, claim } = ask;
        let fetches = claim.as_ref().map(|(hash, _)| *hash);
        cx.owns.begins(whom, key);
        let exchange = Exchange::of_our_own(given.peer.clone(), cx);
        let room = cx.rooms.take(Stream::new(exchange));
        let (begin, armed) = (Some(given), Time::NEVER);
        Self { room, whom, until, sink: Sink::new(), begin, claim, fetches, is_over: false, armed }
    }

    fn with_exchange<T>(
        &mut self,
        key: Key,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut Drive<'_>) -> T,
    ) -> Option<T> {
        let Stream { exchange, tally, filters } = (*self.room).as_mut()?;
        let config = Rc::clone(&cx.config);
        let reply = Reply::new(Door::Own { sink: &mut self.sink }, tally, filters, exchange.id());
        let owner = Owner { client: key, stream: NUMBER };
        Some(act(exchange, &mut Drive { owner, reply, config: &config, cx }))
    }

    /// Moves it on until it waits, or is over.
    pub(super) fn drive(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        if self.is_over {
            return DriveEnd::Closed;
        }
        if cx.now >= self.until || self.sink.left == 0 || !cx.owns.wants(self.whom) {
            self.give_up(key, cx);
            return DriveEnd::Closed;
        }
        if let Some(given) = self.begin.take() {
            if let Some((hash, claim)) = self.claim.take() {
                cx.cache.entrust(hash, claim);
            }
            self.with_exchange(key, cx, |exchange, drive| exchange.begin_own(given, drive));
        }
        for _ in 0..STEPS {
            let moved =
                self.with_exchange(key, cx, |exchange, drive| !exchange.is_sent() && exchange.advance(drive));
            self.answer(cx);
            if self.is_sent() {
                self.is_over = true;
                self.drop_claim(cx);
                cx.answer_own(self.whom, None);
                return DriveEnd::Closed;
            }
            if moved != Some(true) {
                return DriveEnd::Idle;
            }
        }
        DriveEnd::Again
    }

    fn is_sent(&self) -> bool {
        (*self.room).as_ref().is_none_or(|stream| stream.exchange.is_sent())
    }

    /// Whoever waits has the head, once it is there.
    fn answer(&mut self, cx: &mut Context) {
        if self.whom.is_none() {
            return;
        }
        if let Some(head) = self.sink.head.take() {
            cx.answer_own(self.whom.take(), Some(head));
            let (length, time) = REST;
            self.sink.left = length;
            self.until = self.until.min(cx.now.after(time));
        }
    }

    /// If it ends before the cache was asked: nobody is to wait for it.
    fn drop_claim(&mut self, cx: &mut Context) {
        self.claim = None;
        if let Some(hash) = self.fetches.take() {
            drop(cx.cache.entrusted(hash, true));
        }
    }

    /// Nobody waits for it, or for as long.
    fn give_up(&mut self, key: Key, cx: &mut Context) {
        self.is_over = true;
        self.drop_claim(cx);
        self.with_exchange(key, cx, |exchange, drive| {
            exchange.cancel(drive);
            if drive.reply.has_begun() {
                drive.reply.break_off();
            }
        });
        cx.answer_own(self.whom, None);
    }

    /// What it waited for was read.
    pub(super) fn note_found(&mut self, number: u32, outcome: super::reader::Outcome) {
        if let Some(stream) = (*self.room).as_mut().filter(|_| number == NUMBER) {
            stream.exchange.note_read(outcome);
        }
    }

    /// A timer has fired.
    pub(super) fn disarm(&mut self, now: Time) {
        if self.armed <= now {
            self.armed = Time::NEVER;
        }
    }

    /// Sets a timer if it has to be looked at before what is armed.
    pub(super) fn rearm(&mut self, key: Key, cx: &mut Context) {
        let exchange = (*self.room).as_ref().and_then(|stream| stream.exchange.deadline());
        let Some(deadline) = earliest(exchange, Some(self.until)) else { return };
        if deadline < self.armed {
            self.armed = deadline;
            cx.timers.insert(deadline, Timer::Client(key));
        }
    }

    /// The worker leaves: it has had its time.
    pub(super) fn cut(&mut self) {
        self.until = Time::ZERO;
    }

    /// It is out of the slab.
    pub(super) fn left(self, cx: &mut Context) {
        cx.owns.running = cx.owns.running.saturating_sub(1);
        cx.rooms.give_back(self.room);
    }
}

#[cfg(test)]
impl Owns {
    /// Whether nothing is left of any.
    pub(super) fn is_empty(&self) -> bool {
        self.waited_for.is_empty() && self.answers.is_empty() && self.asked.is_empty() && self.running == 0
    }
}
