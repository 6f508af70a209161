//! One HTTP/1.x connection between a random client and a random server, on a virtual clock: requests of all kinds,
//! pipelined or not, cut anywhere; responses of all kinds, early or late; partial writes, stalls, half-closes, drains.
//! A shadow model knows what was sent; the client reads with the decoder for upstreams.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use hatchery::buf::{Queue, Segment};
use hatchery::gateway::{self, http1::Response};
use hatchery::h1::{Conn, End, Event, Settings};
use hatchery::http::{BodyLength, Method, ResponseHead};
use hatchery::timer::Time;
use std::collections::VecDeque;
use std::rc::Rc;

const SEEDS: u64 = 256;
const STEPS: usize = 200_000;
const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";
/// No request may be parsed behind one that was refused.
const NEVER: &str = "GET /never HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn random_connections() {
    let mut totals = Totals::default();
    (0..SEEDS).for_each(|seed| World::new(seed).run(&mut totals));
    // The simulation is worth something only if it goes everywhere.
    assert!(totals.answered > 500 && totals.refused > 10 && totals.aborted > 5, "{totals:?}");
    assert!(totals.lingered > 10 && totals.closed > 50 && totals.gone > 5, "{totals:?}");
}

#[derive(Debug, Default)]
struct Totals {
    answered: usize,
    refused: usize,
    gone: usize,
    aborted: usize,
    lingered: usize,
    closed: usize,
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

struct Sent {
    method: Method,
    target: String,
    body: Vec<u8>,
}

struct World {
    random: Random,
    seed: u64,
    now: Time,
    conn: Conn,
    // The client.
    script: Vec<Sent>,
    bad: bool,
    to_send: VecDeque<u8>,
    half_closes: bool,
    /// After so many bytes the client sends (reads) no more, without closing.
    sends: usize,
    reads: usize,
    eof: bool,
    reader: Response,
    received: Vec<(u16, Vec<u8>)>,
    body: Vec<u8>,
    // The server.
    open: Option<Exchange>,
    served: Vec<(String, Vec<u8>)>,
    answers: Vec<(u16, Vec<u8>)>,
    gone: bool,
}

/// A request the server is answering.
struct Exchange {
    body: Vec<u8>,
    complete: bool,
    early: bool,
    status: u16,
    length: BodyLength,
    head_only: bool,
    begun: bool,
    left: usize,
    sent: Vec<u8>,
    target: String,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut script = Vec::new();
        let mut wire = Vec::new();
        for number in 0..1 + random.below(8) {
            let (sent, bytes) = request(&mut random, number);
            script.push(sent);
            wire.extend(bytes);
        }
        let bad = random.one_in(4);
        if bad {
            let all = [
                "BAD\r\n\r\n",
                "GET / HTTP/1.1\r\n\r\n",
                "GET / HTTP/3.0\r\n",
                "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n",
            ];
            wire.extend_from_slice(all[random.below(all.len() as u64) as usize].as_bytes());
            wire.extend_from_slice(NEVER.as_bytes());
        }
        let mut limit =
            |total: usize| if random.one_in(5) { random.below(total as u64) as usize } else { usize::MAX };
        let (sends, reads) = (limit(wire.len()), limit(2000));
        Self {
            conn: Conn::new(Rc::new(Settings::default()), Time::ZERO),
            reader: Response::new(script[0].method),
            half_closes: random.one_in(2),
            random,
            seed,
            now: Time::ZERO,
            script,
            bad,
            to_send: wire.into(),
            sends,
            reads,
            eof: false,
            received: Vec::new(),
            body: Vec::new(),
            open: None,
            served: Vec::new(),
            answers: Vec::new(),
            gone: false,
        }
    }

    fn run(mut self, totals: &mut Totals) {
        let mut lingered = false;
        for _ in 0..STEPS {
            match self.conn.end() {
                End::Close | End::Abort => return self.judge(totals, lingered),
                End::Linger => lingered = true,
                End::Open => {}
                End::Shut => panic!("seed {}: nothing was switched", self.seed),
            }
            let moved = match self.random.below(8) {
                0..3 => self.client_sends(totals),
                3..5 => self.client_reads(),
                5..7 => self.server_answers(),
                _ => self.server_drains(),
            };
            if !moved && self.random.one_in(40) {
                self.time_passes();
            }
            self.server_polls(totals);
            self.check();
        }
        panic!("seed {}: still {:?} after {STEPS} steps: {:?}", self.seed, self.conn.end(), self.conn);
    }

    fn client_sends(&mut self, totals: &mut Totals) -> bool {
        if !self.conn.wants().read || self.eof {
            return false;
        }
        let most = self.to_send.len().min(self.sends).min(1 + self.random.below(300) as usize);
        if most == 0 {
            let all = self.to_send.is_empty();
            let answered = self.received.len() >= self.script.len() || self.conn.end() == End::Linger;
            if all && (self.half_closes || answered) {
                self.eof = true;
                self.conn.eof(self.now);
                self.server_polls(totals);
            }
            return self.eof;
        }
        let bytes: Vec<u8> = self.to_send.drain(..most).collect();
        self.sends -= if self.sends == usize::MAX { 0 } else { most };
        self.conn.feed(&bytes, self.now);
        true
    }

    fn client_reads(&mut self) -> bool {
        let waiting = self.conn.out().len() as usize;
        let most = waiting.min(self.reads).min(1 + self.random.below(400) as usize);
        if most == 0 {
            return false;
        }
        self.reads -= if self.reads == usize::MAX { 0 } else { most };
        let mut bytes = Vec::new();
        self.conn.out().slices(usize::MAX, |slice| bytes.extend_from_slice(slice));
        self.conn.out().consume(most as u64);
        self.conn.wrote(self.now);
        bytes.truncate(most);
        for byte in bytes {
            // A refusal is the last answer; the method it was for may not have been known.
            if self.was_refused() {
                return true;
            }
            self.reader.feed(&[byte]);
            self.client_understands();
        }
        true
    }

    fn was_refused(&self) -> bool {
        self.received.last().is_some_and(|(status, _)| *status >= 400)
    }

    fn client_understands(&mut self) {
        while let Some(event) = self.reader.poll() {
            match event {
                gateway::Event::Interim(_) => {}
                gateway::Event::Head { head, .. } => self.received.push((head.status.0, Vec::new())),
                gateway::Event::Body(bytes) => self.body.extend(bytes),
                gateway::Event::End => {
                    self.received.last_mut().expect("a head").1 = std::mem::take(&mut self.body);
                    let next = self.script.get(self.received.len()).map_or(Method::Get, |sent| sent.method);
                    self.reader = Response::new(next);
                }
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }

    fn server_polls(&mut self, totals: &mut Totals) {
        loop {
            // Now and then the server leaves a body unread for a while.
            let lazy = self.open.as_ref().is_some_and(|exchange| !exchange.complete);
            if lazy && self.random.one_in(4) {
                return;
            }
            let Some(event) = self.conn.poll() else { return };
            self.conn.resume(self.now);
            match event {
                Event::Request(request) => {
                    let target = String::from_utf8_lossy(request.head.target()).into_owned();
                    let head_only = request.head.method() == Method::Head;
                    let complete = request.body == BodyLength::None;
                    self.admit(target, head_only, complete);
                    if !self.random.one_in(8) {
                        self.conn.proceed();
                    }
                }
                Event::Body(bytes) => self.exchange().body.extend(bytes),
                Event::Trailers(fields) => unreachable!("nobody wants {fields:?}"),
                Event::BodyEnd => self.exchange().complete = true,
                Event::Refused(refusal) => {
                    totals.refused += 1;
                    assert!(refusal.status >= 400);
                    let open = self.open.take();
                    assert!(
                        open.is_none_or(|exchange| !exchange.begun),
                        "seed {}: response begun",
                        self.seed
                    );
                    self.admit(String::new(), false, true);
                    self.exchange().status = refusal.status;
                }
                Event::Gone => {
                    totals.gone += 1;
                    self.gone = true;
                    self.open = None;
                }
            }
        }
    }

    fn exchange(&mut self) -> &mut Exchange {
        let seed = self.seed;
        self.open.as_mut().unwrap_or_else(|| panic!("seed {seed}: an event of no exchange"))
    }

    fn admit(&mut self, target: String, head_only: bool, complete: bool) {
        assert!(self.open.is_none(), "seed {}: two exchanges at once", self.seed);
        let left = self.random.below(3000) as usize;
        let (status, length, left) = match self.random.below(6) {
            0 => (304, BodyLength::None, 0),
            1 => (200, BodyLength::None, 0),
            2 | 3 => (200, BodyLength::Known(left as u64), left),
            _ => (200, BodyLength::Unknown, left),
        };
        let early = self.random.one_in(5);
        self.open = Some(Exchange {
            body: Vec::new(),
            complete,
            early,
            status,
            length,
            head_only,
            begun: false,
            left,
            sent: Vec::new(),
            target,
        });
    }

    fn server_answers(&mut self) -> bool {
        let (now, piece) = (self.now, 1 + self.random.below(900) as usize);
        let Some(exchange) = self.open.as_mut() else { return false };
        if !exchange.begun {
            if !exchange.complete && !exchange.early {
                return false;
            }
            exchange.begun = true;
            self.conn.respond(&ResponseHead::new(exchange.status), exchange.length, DATE, now);
            return true;
        }
        if exchange.left > 0 {
            let room = self.conn.wants().body;
            let here = exchange.left.min(piece);
            if room {
                self.conn.send(Segment::from(vec![b'a' + (here % 26) as u8; here]));
                exchange.sent.extend(vec![b'a' + (here % 26) as u8; here]);
                exchange.left -= here;
            }
            return room;
        }
        let exchange = self.open.take().expect("just seen");
        let refused = exchange.status >= 400;
        if !exchange.target.is_empty() && exchange.complete {
            self.served.push((exchange.target, exchange.body));
        } else if !exchange.target.is_empty() {
            self.served.push((exchange.target, Vec::new()));
        }
        let bodiless = exchange.head_only || refused;
        self.answers.push((exchange.status, if bodiless { Vec::new() } else { exchange.sent }));
        self.conn.finish(now);
        true
    }

    fn server_drains(&mut self) -> bool {
        if self.random.one_in(200) {
            self.conn.drain();
        }
        false
    }

    /// To the next deadline, or a little further; without one something else has to move.
    fn time_passes(&mut self) {
        let some = Time(self.now.0 + self.random.below(500_000_000));
        self.now = match self.conn.deadline() {
            Some(deadline) if self.random.one_in(4) => deadline.max(self.now),
            _ => some,
        };
        self.conn.on_timeout(self.now);
    }

    fn check(&mut self) {
        let seed = self.seed;
        let wants = self.conn.wants();
        let end = self.conn.end();
        assert_eq!(wants.write, !self.conn.out().is_empty(), "seed {seed}");
        assert!(self.conn.out().memory() <= 300 * 1024, "seed {seed}");
        let waits_for_client = self.open.is_none() || wants.write;
        if end == End::Open && waits_for_client && !self.eof {
            assert!(self.conn.deadline().is_some(), "seed {seed}: waits without a deadline: {:?}", self.conn);
        }
        assert!(!self.served.iter().any(|(target, _)| target == "/never"), "seed {seed}");
    }

    fn judge(mut self, totals: &mut Totals, lingered: bool) {
        let seed = self.seed;
        let aborted = self.conn.end() == End::Abort;
        if !aborted {
            self.reader.eof();
            while let Some(event) = self.reader.poll().filter(|_| !self.was_refused()) {
                match event {
                    gateway::Event::Body(bytes) => self.body.extend(bytes),
                    gateway::Event::End => {
                        self.received.last_mut().expect("a head").1 = std::mem::take(&mut self.body);
                    }
                    gateway::Event::Broken(fault) => {
                        assert_eq!(fault, hatchery::http::fault::Fault::Closed, "seed {seed}")
                    }
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
            assert_eq!(self.received, self.answers, "seed {seed}: every answer arrives whole and in order");
        }
        assert!(self.served.len() <= self.script.len(), "seed {seed}");
        for (sent, (target, body)) in self.script.iter().zip(&self.served) {
            assert_eq!(&sent.target, target, "seed {seed}");
            assert!(body.is_empty() || sent.body == *body, "seed {seed}: body of {target}");
        }
        assert!(!self.gone || aborted, "seed {seed}: gone, but not aborted");
        assert!(!self.bad || self.answers.len() <= self.script.len() + 1, "seed {seed}");
        let mut queue = Queue::new();
        queue.append(self.conn.out());
        assert!(queue.is_empty(), "seed {seed}: closed with bytes unwritten");
        totals.answered += self.answers.len();
        totals.aborted += usize::from(aborted);
        totals.closed += usize::from(!aborted);
        totals.lingered += usize::from(lingered);
    }
}

/// A request of a random kind; its number is in the target.
fn request(random: &mut Random, number: u64) -> (Sent, Vec<u8>) {
    let target = format!("/{number}");
    let kind = random.below(12);
    let (method, name) = match kind {
        0..5 => (Method::Get, "GET"),
        5 => (Method::Head, "HEAD"),
        _ => (Method::Post, "POST"),
    };
    let body: Vec<u8> = match kind {
        0..6 => Vec::new(),
        11 => vec![b'L'; 70_000],
        _ => (0..random.below(4000)).map(|at| b"\r\nGET / HTTP/1.1"[(at % 16) as usize]).collect(),
    };
    let old = random.one_in(12);
    let chunked = !old && kind > 5 && random.one_in(2);
    let mut wire = format!("{name} {target} HTTP/1.{}\r\nHost: h\r\n", u8::from(!old)).into_bytes();
    let mut line = |when: bool, text: &str| wire.extend_from_slice(if when { text.as_bytes() } else { b"" });
    line(old && random.one_in(2), "Connection: keep-alive\r\n");
    line(random.one_in(30), "Connection: close\r\n");
    line(random.one_in(4), "Expect: 100-continue\r\n");
    line(random.one_in(4), "X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    if chunked {
        wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(1 + random.below(5000) as usize) {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
    } else if kind > 5 {
        wire.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        wire.extend_from_slice(&body);
    } else {
        wire.extend_from_slice(b"\r\n");
    }
    (Sent { method, target, body }, wire)
}
