//! One server-side connection.
#![allow(dead_code, unused_variables, missing_docs, reason = "a skeleton")]

use super::{Settings, StreamId};
use crate::buf::{Queue, Segment};
use crate::h1::Prepared;
use crate::http::fault::Refusal;
use crate::http::serving::{Common, End, Event, Line, Settings as Limits, Wants};
use crate::http::{BodyLength, ResponseHead};
use crate::timer::Time;
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug)]
pub struct Conn {
    out: Queue,
}

impl Conn {
    #[must_use]
    pub fn new(limits: Rc<Limits>, settings: Rc<Settings>, secure: bool, now: Time) -> Self {
        Self { out: Queue::new() }
    }
    pub(crate) fn turn(&mut self, now: Time) -> Option<&'static str> {
        None
    }
    pub fn feed(&mut self, bytes: &[u8], now: Time) {}
    pub fn eof(&mut self, now: Time) {}
    pub fn poll(&mut self) -> Option<(StreamId, Event)> {
        None
    }
    pub(crate) fn take_refused(&mut self, stream: StreamId) -> Option<Box<Line>> {
        None
    }
    pub fn hold(&mut self, stream: StreamId, held: bool, now: Time) {}
    pub fn limit_body(&mut self, stream: StreamId, max: u64) -> Result<(), Refusal> {
        Ok(())
    }
    pub(crate) fn refuse_early(&mut self, stream: StreamId, refusal: Refusal) {}
    pub fn proceed(&mut self, stream: StreamId) {}
    pub(crate) fn interim(&mut self, stream: StreamId, head: &ResponseHead) {}
    pub fn respond<'a>(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        body: BodyLength,
        common: impl Into<Common<'a>>,
        now: Time,
    ) -> bool {
        false
    }
    pub(crate) fn respond_prepared(
        &mut self,
        stream: StreamId,
        head: &Prepared,
        body: Option<Segment>,
        common: Common<'_>,
        now: Time,
    ) -> bool {
        false
    }
    pub fn send(&mut self, stream: StreamId, segment: Segment) {}
    pub fn finish(&mut self, stream: StreamId, now: Time) {}
    pub fn break_off(&mut self, stream: StreamId) {}
    pub(crate) fn has_room(&self, stream: StreamId) -> bool {
        false
    }
    pub(crate) fn waiting_of(&self, stream: StreamId) -> (u64, u64) {
        (0, 0)
    }
    pub(crate) fn written_of(&self, stream: StreamId) -> u64 {
        0
    }
    pub(crate) fn poll_done(&mut self) -> Option<(StreamId, u64)> {
        None
    }
    pub fn out(&mut self) -> &mut Queue {
        &mut self.out
    }
    pub(crate) fn waiting(&self) -> &Queue {
        &self.out
    }
    pub fn wrote(&mut self, now: Time) {}
    #[must_use]
    pub fn wants(&self) -> Wants {
        Wants::default()
    }
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        None
    }
    pub fn on_timeout(&mut self, now: Time) -> Option<&'static str> {
        None
    }
    #[must_use]
    pub fn end(&self) -> End {
        End::Close
    }
    pub fn drain(&mut self) {}
    pub(crate) fn leave(&mut self, now: Time) {}
    pub(crate) fn abort(&mut self) {}
    pub(crate) fn is_idle(&self) -> bool {
        false
    }
    pub(crate) fn is_kept(&self) -> bool {
        false
    }
    pub(crate) fn silence(&self, now: Time) -> Duration {
        Duration::ZERO
    }
    pub(crate) fn has_ended(&self) -> bool {
        false
    }
    pub(crate) fn stop_lingering(&mut self) {}
}
