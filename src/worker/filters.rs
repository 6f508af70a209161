//! What the response of an exchange passes before the connection has it, and where each of these filters is with it. A response
//! that passes none has none of this; [`super::reply::Reply`] asks for it with one look.
//!
//! The order is that of docs/decisions/0033-policies.md: what keeps a response sees it before what changes it.
//!
//! | call | a filter |
//! |---|---|
//! | `head` | sees the head and what is announced of the body; may change both |
//! | `send` | is given the next piece of the body; what comes out of it goes on |
//! | `pause` | who sends the body has given what it has, for now: what a filter keeps of it comes out |
//! | `finish` | has the body, and what follows it; it may take turns until all of it has come out |
//! | `pump` | goes on with what it was given and has not done yet, as the connection has room |
//!
//! Broken off is what is dropped before `finish`.

mod compress;

pub(super) use compress::Encoders;

use super::context::Context;
use super::owner::Owner;
use super::reader::Outcome;
use crate::buf::Segment;
use crate::filter::coding::{self, Coded};
use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields, ResponseHead};
use compress::Compression;

/// See the module.
#[derive(Default)]
pub(super) struct Filters {
    compress: Compress,
}

/// Where a response is with being compressed.
#[derive(Default)]
enum Compress {
    /// It is not, or not any more.
    #[default]
    Not,
    /// Its head has not come yet.
    Asked(coding::Asked),
    Runs(Box<Compression>),
}

/// What came of going on.
pub(super) enum Pumped {
    /// Nothing is left to be done.
    Nothing,
    /// It waits for a disk.
    Waits,
    /// It has had its share of this turn.
    Later,
    /// Something was done; what leaves.
    Moved(Option<Segment>),
    /// It cannot go on: the response is to be broken off.
    Broken(Option<Fault>),
}

impl Filters {
    /// The response is for a request that says this of codings.
    pub(super) fn of(asked: coding::Asked) -> Self {
        Self { compress: Compress::Asked(asked) }
    }

    /// The head; what is announced of the body that leaves.
    pub(super) fn head(&mut self, head: &mut ResponseHead, body: BodyLength, cx: &mut Context) -> BodyLength {
        let Compress::Asked(asked) = std::mem::take(&mut self.compress) else { return body };
        let before = head.clone();
        let Coded::By(encoding, level) = asked.decide(head, body) else { return body };
        if asked.head_only {
            return BodyLength::Unknown;
        }
        match Compression::begin((encoding, level), body, cx) {
            Some(compression) => {
                self.compress = Compress::Runs(Box::new(compression));
                BodyLength::Unknown
            }
            None => {
                *head = before;
                asked.decide_plain(head, body);
                body
            }
        }
    }

    fn running(&mut self) -> Option<&mut Compression> {
        match &mut self.compress {
            Compress::Runs(compression) => Some(compression),
            Compress::Not | Compress::Asked(_) => None,
        }
    }

    fn runs(&self) -> Option<&Compression> {
        match &self.compress {
            Compress::Runs(compression) => Some(compression),
            Compress::Not | Compress::Asked(_) => None,
        }
    }

    /// A piece of the body; what leaves of it now.
    pub(super) fn send(&mut self, segment: Segment) -> Option<Segment> {
        match self.running() {
            Some(compression) => compression.send(segment),
            None => Some(segment),
        }
    }

    /// Nothing more of the body is there now; what leaves.
    pub(super) fn pause(&mut self) -> Option<Segment> {
        self.running()?.pause()
    }

    /// The body is complete. What is not done with it is kept, with what follows the body, until [`Self::end`] takes it.
    pub(super) fn finish(&mut self, trailers: Fields) {
        if let Some(compression) = self.running() {
            compression.finish(trailers);
        }
    }

    /// Goes on with what was given.
    pub(super) fn pump(&mut self, owner: Owner, cx: &mut Context) -> Pumped {
        self.running().map_or(Pumped::Nothing, |compression| compression.pump(owner, cx))
    }

    /// All of the body is done: what leaves last of it, and what follows. `Err`: it is not complete.
    pub(super) fn end(&mut self, cx: &mut Context) -> Option<Result<(Option<Segment>, Fields), ()>> {
        if !self.runs()?.has_ended() {
            return None;
        }
        match std::mem::take(&mut self.compress) {
            Compress::Runs(compression) => Some(compression.end(cx)),
            Compress::Not | Compress::Asked(_) => None,
        }
    }

    /// Whether the body is changed, so that it must be read.
    pub(super) fn reads_body(&self) -> bool {
        self.runs().is_some()
    }

    /// Bytes that were given and are not done, files included; and those of them in memory.
    pub(super) fn held(&self) -> (u64, u64) {
        self.runs().map_or((0, 0), Compression::held)
    }

    /// What was announced of the body that is given, if that is not what leaves; and bytes that were given.
    pub(super) fn given(&self) -> Option<(BodyLength, u64)> {
        self.runs().map(Compression::given)
    }

    /// A job that was asked for is done.
    pub(super) fn note_read(&mut self, outcome: Outcome) {
        if let Some(compression) = self.running() {
            compression.note_read(outcome);
        }
    }

    /// Whether it waits for such a job.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.runs().is_some_and(Compression::waits_for_disk)
    }
}
