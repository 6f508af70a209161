//! A connection between a random client and a random owner, on a virtual clock: requests of all kinds, cut anywhere; windows
//! that open late or change; resets from both sides, stalls, leave, and ends of all kinds. The client keeps count of what it
//! allowed, and knows what it must have got.

use super::*;
use crate::buf::Segment;
use crate::h2::PREFACE;
use crate::http::{BodyLength, Method, ResponseHead};
use std::collections::BTreeMap;

const SEEDS: u64 = 50;
const STEPS: usize = 1500;
const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";

#[test]
fn random_connections() {
    let mut totals = Totals::default();
    (0..SEEDS).for_each(|seed| World::new(seed).run(&mut totals));
    // It is worth something only if it goes everywhere.
    assert!(totals.whole > 300 && totals.reset > 1000 && totals.gone > 300, "{totals:?}");
    assert!(
        totals.refused > 50
            && totals.bodies > 50
            && totals.aborted > 5
            && totals.closed > 10
            && totals.tunnels > 50
            && totals.trailers > 10,
        "{totals:?}"
    );
}

#[derive(Debug, Default)]
struct Totals {
    /// Answers that the client has got whole, and streams that were reset.
    whole: usize,
    reset: usize,
    /// What the owner was told.
    gone: usize,
    refused: usize,
    bodies: usize,
    aborted: usize,
    closed: usize,
    tunnels: usize,
    trailers: usize,
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

/// A stream as the client sees it.
#[derive(Default)]
struct Asked {
    /// What we may send, and have sent, of the body; and what it was announced to be.
    window: i64,
    sent: usize,
    length: Option<usize>,
    ended: bool,
    /// It has ended with trailers.
    trailers: bool,
    /// What the server may send.
    allows: i64,
    got: Vec<u8>,
    heads: usize,
    whole: bool,
    reset: bool,
}

/// A stream as the owner sees it.
#[derive(Default)]
struct Served {
    /// It asks for a tunnel; and nothing more leaves through it.
    tunnel: bool,
    shut: bool,
    body: usize,
    trailers: bool,
    body_ended: bool,
    refused: bool,
    gone: bool,
    begun: bool,
    /// What is left of the response, and whether its end is told beforehand.
    left: usize,
    sized: bool,
    given: usize,
    finished: bool,
    broken: bool,
    done: bool,
}

struct World {
    random: Random,
    seed: u64,
    now: Time,
    conn: Conn,
    encoder: Encoder,
    decoder: Decoder,
    /// On its way to the server, and to the client.
    up: VecDeque<u8>,
    down: Vec<u8>,
    next: StreamId,
    asked: BTreeMap<StreamId, Asked>,
    served: BTreeMap<StreamId, Served>,
    window: i64,
    allows: i64,
    initial: u32,
    left: bool,
    totals: Totals,
}

/// The byte at a place of the body of a stream.
fn byte(id: StreamId, at: usize) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(id.wrapping_mul(7)) as u8
}

/// Whether the owner of a stream wants its trailers.
fn keeps_trailers(id: StreamId) -> bool {
    id % 4 == 1
}

fn body(id: StreamId, at: usize, count: usize) -> Vec<u8> {
    (at..at + count).map(|at| byte(id, at)).collect()
}

impl World {
    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let now = Time(1_000_000_000);
        let settings = Settings { streams: 20, connect: true };
        let conn = Conn::new(Rc::new(Limits::default()), Rc::new(settings), false, now);
        let mut up = PREFACE.to_vec();
        frame::write_settings(&[], &mut up);
        frame::write_settings_ack(&mut up);
        Self {
            random,
            seed,
            now,
            conn,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            up: up.into(),
            down: Vec::new(),
            next: 1,
            asked: BTreeMap::new(),
            served: BTreeMap::new(),
            window: i64::from(INITIAL),
            allows: i64::from(INITIAL),
            initial: INITIAL,
            left: false,
            totals: Totals::default(),
        }
    }

    fn run(mut self, totals: &mut Totals) {
        for _ in 0..STEPS {
            match self.random.below(10) {
                0..3 => self.client(),
                3..5 => self.owner(),
                5 | 6 => self.upload(),
                7 | 8 => self.download(),
                _ => self.time(),
            }
            self.hear();
            self.check();
            if self.conn.end() != End::Open {
                break;
            }
        }
        self.end();
        for (id, served) in &self.served {
            assert!(served.done, "seed {}, stream {id} was never done", self.seed);
        }
        for (id, asked) in &self.asked {
            let Some(served) = self.served.get(id).filter(|_| asked.whole) else { continue };
            assert!(
                served.left == 0 && !served.broken,
                "seed {}, stream {id} ended though broken",
                self.seed
            );
            assert!(asked.got.len() == served.given, "seed {}, stream {id} is not whole", self.seed);
        }
        totals.whole += self.asked.values().filter(|asked| asked.whole).count();
        totals.reset += self.asked.values().filter(|asked| asked.reset).count();
        totals.gone += self.totals.gone;
        totals.refused += self.totals.refused;
        totals.bodies += self.totals.bodies;
        totals.aborted += self.totals.aborted;
        totals.closed += self.totals.closed;
        totals.tunnels += self.totals.tunnels;
        totals.trailers += self.totals.trailers;
    }

    /// The client says no more, but half of them that all may come; time passes until the connection is over.
    fn end(&mut self) {
        if self.seed.is_multiple_of(2) {
            for id in [0].into_iter().chain(self.asked.keys().copied()).collect::<Vec<_>>() {
                self.allows += if id == 0 { 1 << 29 } else { 0 };
                self.say(|out| frame::write_window_update(id, 1 << 29, out));
            }
            let rest: Vec<u8> = self.up.drain(..).collect();
            self.conn.feed(&rest, self.now);
        }
        self.up.clear();
        if self.conn.end() == End::Open {
            self.conn.eof(self.now);
        }
        for _ in 0..10_000 {
            self.hear();
            if self.conn.end() != End::Open {
                break;
            }
            for id in self.served.keys().copied().collect::<Vec<_>>() {
                self.answer(id);
            }
            self.hear();
            self.check();
            if self.random.one_in(2) {
                self.download();
            }
            if self.random.one_in(3)
                && let Some(deadline) = self.conn.deadline()
            {
                self.now = self.now.max(deadline);
                self.conn.turn(self.now);
            }
        }
        assert_ne!(self.conn.end(), End::Open, "seed {} never ends", self.seed);
        match self.conn.end() {
            End::Abort => self.totals.aborted += 1,
            _ => self.totals.closed += 1,
        }
        self.conn.abort();
        self.hear();
    }

    /// Queues what the client says.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.up.extend(bytes);
    }

    /// One of those that are open, or any of the latest.
    fn some_stream(&mut self) -> StreamId {
        let open: Vec<_> = self.conn.streams.iter().map(|(id, _)| id).collect();
        match self.random.below(open.len() as u64 + 1) as usize {
            0 => 1 + 2 * (self.next / 2).saturating_sub(1 + self.random.below(10) as u32),
            at => open[at - 1],
        }
    }

    fn client(&mut self) {
        let id = self.some_stream();
        match self.random.below(24) {
            0..6 => self.ask(),
            6..13 => self.send(id),
            13..16 => {
                let by = 1 + self.random.below(200_000) as u32;
                self.allows += i64::from(by);
                self.say(|out| frame::write_window_update(0, by, out));
            }
            16..19 => {
                let by = 1 + self.random.below(150_000) as u32;
                let Some(asked) = self.asked.get_mut(&id).filter(|asked| !asked.reset) else { return };
                asked.allows += i64::from(by);
                self.say(|out| frame::write_window_update(id, by, out));
            }
            19 if self.random.one_in(3) => {
                let size = self.random.below(100_000) as u32;
                let by = i64::from(size) - i64::from(std::mem::replace(&mut self.initial, size));
                self.asked.values_mut().for_each(|asked| asked.allows += by);
                self.say(|out| frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, size)], out));
            }
            20 => self.say(|out| frame::write_ping(*b"12345678", false, out)),
            21 => {
                let Some(asked) = self.asked.get_mut(&id) else { return };
                (asked.reset, asked.ended) = (true, true);
                self.say(|out| frame::write_reset(id, Code::Cancel, out));
            }
            22 => {
                let urgency = self.random.below(8);
                let value = format!("u={urgency}, i=?{}", urgency % 2);
                self.say(|out| {
                    out.extend_from_slice(&[0, 0, 4 + value.len() as u8, 0x10, 0, 0, 0, 0, 0]);
                    out.extend_from_slice(&id.to_be_bytes());
                    out.extend_from_slice(value.as_bytes());
                });
            }
            _ => {}
        }
    }

    fn ask(&mut self) {
        let id = self.next;
        self.next += 2;
        let tunnel = self.random.one_in(5);
        let bodiless = !tunnel && self.random.one_in(2);
        let length =
            (!tunnel && !bodiless && self.random.one_in(2)).then(|| self.random.below(100_000) as usize);
        let bad = self.random.one_in(15);
        let mut block = Vec::new();
        let mut fields = self.encoder.block(&mut block);
        if tunnel {
            fields.field(b":protocol", b"websocket");
        }
        let method = if tunnel { "CONNECT" } else { "POST" };
        for (name, value) in [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "h")] {
            fields.field(name.as_bytes(), value.as_bytes());
        }
        if let Some(length) = length {
            fields.field(b"content-length", length.to_string().as_bytes());
        }
        if bad {
            fields.field(b"connection", b"close");
        }
        if self.random.one_in(4) {
            fields.field(b"expect", b"100-continue");
        }
        if self.random.one_in(2) {
            fields.field(b"priority", format!("u={}, i", self.random.below(8)).as_bytes());
        }
        let ended = bodiless;
        self.say(|out| frame::write_headers(id, ended, out, |out| out.extend_from_slice(&block)));
        let allows = i64::from(self.initial);
        let window = i64::from(STREAM_WINDOW);
        self.asked.insert(id, Asked { window, allows, length, ended, ..Asked::default() });
    }

    fn send(&mut self, id: StreamId) {
        let Some(asked) = self.asked.get_mut(&id).filter(|asked| !asked.ended) else { return };
        let most = asked.window.min(self.window).clamp(0, 16_384) as u64;
        let most = asked.length.map_or(most, |length| most.min((length - asked.sent) as u64));
        let count = self.random.below(most + 1) as usize;
        let end = asked.length.map_or(self.random.one_in(4), |length| length == asked.sent + count);
        let bytes = body(id, asked.sent, count);
        asked.sent += count;
        asked.ended = end;
        asked.trailers = end && self.random.one_in(3);
        let end = end && !asked.trailers;
        asked.window -= count as i64;
        self.window -= count as i64;
        self.say(|out| {
            frame::write_data_head(id, count, end, out);
            out.extend_from_slice(&bytes);
        });
        if self.asked[&id].trailers {
            let mut block = Vec::new();
            self.encoder.block(&mut block).field(b"x-of", id.to_string().as_bytes());
            self.say(|out| frame::write_headers(id, true, out, |out| out.extend_from_slice(&block)));
        }
    }

    /// Some of what the client said arrives.
    fn upload(&mut self) {
        if !self.conn.wants().read {
            return;
        }
        let count = if self.random.one_in(2) { 40 } else { 70_000 };
        let count = self.random.below(count) as usize;
        let bytes: Vec<u8> = self.up.drain(..count.min(self.up.len())).collect();
        self.conn.feed(&bytes, self.now);
        if self.random.one_in(1000) {
            self.up.clear();
            self.conn.eof(self.now);
        }
    }

    /// Some of what is to be written is.
    fn download(&mut self) {
        let count = if self.random.one_in(2) { 40 } else { 70_000 };
        let count = self.random.below(count) as usize;
        let mut bytes = Vec::new();
        let out = self.conn.out();
        out.slices(usize::MAX, |slice| bytes.extend_from_slice(slice));
        bytes.truncate(count);
        out.consume(bytes.len() as u64);
        self.conn.wrote(self.now);
        self.down.extend_from_slice(&bytes);
        while let Some(([a, b, c, kind, flags, id @ ..], rest)) = self.down.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(payload) = rest.get(..length) else { break };
            let (kind, flags, id, payload) = (*kind, *flags, u32::from_be_bytes(*id), payload.to_vec());
            self.down.drain(..9 + length);
            self.receive(kind, flags & 1 != 0, id, &payload);
        }
    }

    fn receive(&mut self, kind: u8, end: bool, id: StreamId, payload: &[u8]) {
        let label = format!("seed {}, stream {id}", self.seed);
        let number = || u32::from_be_bytes(*payload.first_chunk().unwrap());
        match kind {
            0 => {
                let asked = self.asked.get_mut(&id).unwrap();
                asked.allows -= payload.len() as i64;
                self.allows -= payload.len() as i64;
                // Settings may be on their way; what was allowed before they were said is not counted exactly.
                assert!(self.allows >= 0, "{label}: more than the connection may");
                assert!(asked.heads > 0 && !asked.whole, "{label}: DATA out of place");
                assert_eq!(payload, body(id, asked.got.len(), payload.len()), "{label}: another body");
                asked.got.extend_from_slice(payload);
                asked.whole |= end;
            }
            1 => {
                let mut final_head = false;
                self.decoder
                    .decode(payload, 1 << 20, |name, value| {
                        final_head |= name == b":status" && value != b"100"
                    })
                    .unwrap();
                let asked = self.asked.get_mut(&id).unwrap();
                assert!(asked.heads == 0, "{label}: a second head");
                asked.heads += usize::from(final_head);
                asked.whole |= end;
            }
            3 => {
                let asked = self.asked.get_mut(&id).unwrap();
                asked.reset |= !asked.whole;
                asked.ended = true;
            }
            4 if !end && !payload.is_empty() => {}
            6 if !end => {
                let opaque = *payload.first_chunk().unwrap();
                if self.random.one_in(2) {
                    self.say(|out| frame::write_ping(opaque, true, out));
                }
            }
            8 if id == 0 => self.window += i64::from(number()),
            8 => self.asked.get_mut(&id).unwrap().window += i64::from(number()),
            _ => {}
        }
    }

    fn time(&mut self) {
        let nanos = match (self.random.below(200), self.conn.deadline()) {
            (0, Some(deadline)) => deadline.since(self.now).as_nanos() as u64,
            (1, _) => self.random.below(20_000_000_000),
            _ => self.random.below(50_000_000),
        };
        self.now = self.now.after(Duration::from_nanos(nanos));
        self.conn.turn(self.now);
        if self.random.one_in(300) && !std::mem::replace(&mut self.left, true) {
            self.conn.drain();
        }
    }

    /// The owner does something on some stream.
    fn owner(&mut self) {
        let id = self.some_stream();
        if !self.served.contains_key(&id) {
            return;
        }
        match self.random.below(12) {
            0 => self.conn.hold(id, true, self.now),
            1 | 2 => self.conn.hold(id, false, self.now),
            3 => self.conn.proceed(id),
            4 if self.random.one_in(6) => self.break_off(id),
            _ => self.answer(id),
        }
    }

    fn break_off(&mut self, id: StreamId) {
        let served = self.served.get_mut(&id).unwrap();
        if !served.finished && !served.gone {
            // What was announced and is there already is whole.
            served.broken = !(served.begun && (served.sized || served.shut) && served.left == 0);
            served.finished = true;
            self.conn.break_off(id);
        }
    }

    fn answer(&mut self, id: StreamId) {
        let served = self.served.get_mut(&id).unwrap();
        if served.gone || served.finished {
            return;
        }
        if !served.begun {
            served.begun = true;
            served.left = self.random.below(150_000) as usize;
            if served.tunnel && !self.random.one_in(4) {
                let head = ResponseHead::new(101);
                assert!(self.conn.switch(id, &head, DATE, self.now), "seed {}, stream {id}", self.seed);
                return;
            }
            served.tunnel = false;
            served.sized = self.random.one_in(2);
            let length =
                if served.sized { BodyLength::Known(served.left as u64) } else { BodyLength::Unknown };
            self.conn.respond(id, &ResponseHead::new(200), length, DATE, self.now);
        } else if served.left > 0 && self.conn.has_room(id) {
            let count = (1 + self.random.below(60_000) as usize).min(served.left);
            let bytes = body(id, served.given, count);
            served.given += count;
            served.left -= count;
            self.conn.send(id, Segment::from(bytes));
        } else if served.left == 0 && served.tunnel && !served.shut {
            served.shut = true;
            self.conn.shut(id);
            self.totals.tunnels += 1;
        } else if served.left == 0 && (!served.tunnel || served.body_ended || self.random.one_in(4)) {
            served.finished = true;
            self.conn.finish(id, self.now);
        }
    }

    /// Takes what the connection tells.
    fn hear(&mut self) {
        while let Some((id, event)) = self.conn.poll() {
            let label = format!("seed {}, stream {id}", self.seed);
            match event {
                Event::Request(request) => {
                    let tunnel = request.head.method() == Method::Connect;
                    assert!(
                        self.served.insert(id, Served { tunnel, ..Served::default() }).is_none(),
                        "{label}: twice"
                    );
                    if keeps_trailers(id) {
                        self.conn.keep_trailers(id);
                    }
                }
                Event::Trailers(fields) => {
                    let served = self.served.get_mut(&id).expect("a request before its trailers");
                    assert!(!served.trailers && !served.body_ended && !served.gone, "{label}: out of place");
                    assert_eq!(fields.get("x-of"), Some(id.to_string().as_bytes()), "{label}: of another");
                    served.trailers = true;
                }
                Event::Body(bytes) => {
                    let served = self.served.get_mut(&id).expect("a request before its body");
                    assert!(!bytes.is_empty() && !served.body_ended && !served.gone, "{label}: late");
                    assert_eq!(bytes, body(id, served.body, bytes.len()), "{label}: another request body");
                    served.body += bytes.len();
                }
                Event::BodyEnd => {
                    let served = self.served.get_mut(&id).expect("a request before its end");
                    assert!(!served.body_ended && !served.gone, "{label}: the end twice");
                    let asked = &self.asked[&id];
                    assert_eq!(served.body, asked.sent, "{label}: not all of the body");
                    assert_eq!(served.trailers, asked.trailers && keeps_trailers(id), "{label}: trailers");
                    self.totals.trailers += usize::from(served.trailers);
                    served.body_ended = true;
                    self.totals.bodies += 1;
                }
                Event::Refused(_) => {
                    let served = self.served.entry(id).or_default();
                    assert!(!served.begun && !served.refused && !served.gone, "{label}: refused too late");
                    served.refused = true;
                    self.totals.refused += 1;
                }
                Event::Gone => {
                    let served = self.served.get_mut(&id).expect("nobody knew of it");
                    assert!(!served.gone && !served.done, "{label}: gone twice");
                    served.gone = true;
                    self.totals.gone += 1;
                }
            }
        }
        while let Some((id, written)) = self.conn.poll_done() {
            let label = format!("seed {}, stream {id}", self.seed);
            let served = self.served.get_mut(&id).expect("nobody knew of it");
            assert!(!served.done && (served.gone || served.finished), "{label}: done too early, or twice");
            assert!(written <= served.given as u64, "{label}: more than there is");
            served.done = true;
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let conn = &self.conn;
        let label = format!("seed {}", self.seed);
        let streams = || conn.streams.iter().map(|(_, stream)| stream);
        assert_eq!(conn.kept, streams().map(|stream| stream.body.len()).sum::<usize>(), "{label}: kept");
        let queued: u128 = streams().map(|stream| stream.queue.memory() as u128).sum();
        assert_eq!(u128::from(conn.queued), queued, "{label}: queued");
        assert!(conn.streams.len() <= 20, "{label}: more streams than allowed");
        assert!(conn.waiting().len() < OUT_LOW + 200 * 1024, "{label}: {} wait", conn.waiting().len());
        assert!(conn.kept <= KEPT_FREE + CONNECTION_WINDOW as usize, "{label}: kept");
        let awaited = conn.streams.is_empty() || streams().any(|stream| stream.awaits_body());
        let waits = conn.wants().write || awaited || streams().any(|stream| stream.blocked.is_some());
        if conn.phase == Phase::Open && waits {
            assert!(conn.deadline().is_some(), "{label}: lives for ever");
        }
    }
}
