//! What the client's bytes do to a connection: from input to events.

use super::{Chunked, Conn, Notice, PIPELINE_OUT, Phase, Reading, Writing};
use crate::h1::chunked::{self, Decoder};
use crate::h1::{Event, Line, Request, framing, packet};
use crate::http::fault::Refusal;
use crate::http::{BodyLength, Method, RequestHead, Version};

impl Conn {
    pub(super) fn poll_head(&mut self) -> Option<Event> {
        let Reading::Head(scan) = &mut self.reading else { return None };
        if self.input.is_empty() || self.out.len() >= PIPELINE_OUT {
            return self.poll_eof();
        }
        let taken = match self.front {
            true => packet::take(&mut self.input, &self.settings),
            false => scan.take(&mut self.input, &self.settings),
        };
        match taken {
            Ok(Some(head)) => Some(self.open(head)),
            Ok(None) => self.poll_eof(),
            Err(refusal) => Some(self.refuse(refusal)),
        }
    }

    /// A head is complete: opens its exchange.
    fn open(&mut self, head: RequestHead) -> Event {
        self.requests = self.requests.saturating_add(1);
        self.exchange.version = self.version(head.version());
        self.exchange.head_only = head.method() == Method::Head;
        self.reading = Reading::Done;
        let (target, host, framing) = match framing::judge(&head, self.scheme) {
            Ok(judged) => judged,
            Err(refusal) => {
                let (method, target) = (head.method_bytes().to_vec(), head.target().to_vec());
                let line = Line { method, target, version: head.version() };
                self.reading = Reading::Discard(Some(Box::new(line)));
                return self.refuse(refusal);
            }
        };
        let most = self.settings.keepalive_requests;
        self.exchange.persist = framing.persist && !self.front && (most == 0 || self.requests < most);
        self.exchange.expects = framing.expects && self.input.is_empty();
        self.await_body();
        self.gain(self.input.len());
        self.reading = match framing.body {
            BodyLength::None => Reading::Done,
            BodyLength::Known(left) => Reading::Sized { left },
            BodyLength::Unknown => {
                let body = Chunked { decoder: Decoder::new(), allowed: u64::MAX, trailers: None };
                Reading::Chunked(Box::new(body))
            }
        };
        Event::Request(Request { head, target, host, body: framing.body })
    }

    /// What the response is written for.
    fn version(&self, asked: Version) -> Version {
        if self.front { Version::Http10 } else { asked }
    }

    pub(super) fn poll_sized(&mut self) -> Option<Event> {
        let Reading::Sized { left } = &mut self.reading else { return None };
        if *left == 0 {
            self.reading = Reading::Done;
            return Some(Event::BodyEnd);
        }
        if self.input.is_empty() {
            return self.poll_eof();
        }
        let here = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= here as u64;
        let rest = self.input.split_off(here);
        Some(Event::Body(std::mem::replace(&mut self.input, rest)))
    }

    pub(super) fn poll_chunked(&mut self) -> Option<Event> {
        match self.decode() {
            Ok(None) => self.poll_eof(),
            Ok(event) => event,
            Err(refusal) => Some(self.refuse(refusal)),
        }
    }

    fn decode(&mut self) -> Result<Option<Event>, Refusal> {
        let Reading::Chunked(body) = &mut self.reading else { return Ok(None) };
        let Chunked { decoder, allowed, trailers } = &mut **body;
        let mut data = Vec::new();
        if !decoder.is_done() && !self.input.is_empty() {
            data.reserve(self.input.len());
            let used = decoder.decode_with(&self.input, &mut data, trailers.as_mut()).map_err(bad_chunk)?;
            drop(self.input.drain(..used));
            *allowed = allowed.checked_sub(data.len() as u64).ok_or(Refusal::BODY_TOO_LARGE)?;
        }
        if !data.is_empty() {
            return Ok(Some(Event::Body(data)));
        }
        if !decoder.is_done() {
            return Ok(None);
        }
        if let Some(lines) = trailers.take() {
            let fields = chunked::trailers(&lines);
            if !fields.is_empty() {
                return Ok(Some(Event::Trailers(fields)));
            }
        }
        self.reading = Reading::Done;
        Ok(Some(Event::BodyEnd))
    }

    /// What came is no complete request; if nothing more comes, it never will be.
    fn poll_eof(&mut self) -> Option<Event> {
        match self.reading {
            _ if !self.eof => None,
            // Pipelined requests may still wait for room.
            Reading::Head(_) if self.out.len() >= PIPELINE_OUT => None,
            Reading::Head(_) => {
                self.close(false);
                None
            }
            _ => {
                self.abort();
                Some(Event::Gone)
            }
        }
    }

    /// The request ends here; its answer, if none has begun, is the last.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Event {
        if self.writing == Writing::Await {
            self.stop_reading();
            return Event::Refused(refusal);
        }
        self.abort();
        Event::Gone
    }

    /// Nothing that follows is parsed.
    pub(super) fn stop_reading(&mut self) {
        let line = match std::mem::replace(&mut self.reading, Reading::Discard(None)) {
            Reading::Head(scan) => scan.request(&self.input).map(Box::new),
            Reading::Discard(line) => line,
            Reading::Sized { .. } | Reading::Chunked(_) | Reading::Done | Reading::Tunnel => None,
        };
        if let Some(line) = &line {
            self.exchange.head_only = Method::from_bytes(&line.method) == Method::Head;
            self.exchange.version = self.version(line.version);
        }
        self.reading = Reading::Discard(line);
        self.input = Vec::new();
        self.exchange.persist = false;
        self.exchange.expects = false;
    }

    /// The client is of no use any more.
    pub(super) fn vanish(&mut self) {
        if self.phase == Phase::Open && self.is_exchange_open() && self.writing != Writing::Done {
            self.notice = Some(Notice::Gone);
        }
        self.abort();
    }
}

fn bad_chunk(error: chunked::Error) -> Refusal {
    Refusal { status: 400, why: error.why() }
}
