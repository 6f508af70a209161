use super::*;
use crate::buf::Segment;
use crate::h1::Prepared;
use crate::h2::PREFACE;
use crate::http::serving::Common;
use crate::http::{BodyLength, ResponseHead};

mod tunnels;

const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";

/// What left: kind, flags, stream, payload.
type Sent = (u8, u8, StreamId, Vec<u8>);

/// A connection and its client, which also keeps count of what flow control allows.
struct Peer {
    conn: Conn,
    encoder: Encoder,
    decoder: Decoder,
    now: Time,
    /// What of a frame has come.
    came: Vec<u8>,
}

impl Peer {
    /// Greeted on both sides.
    fn new() -> Self {
        Self::with(Limits::default(), Settings::default())
    }

    fn with(limits: Limits, settings: Settings) -> Self {
        let mut peer = Self::silent(limits, settings);
        let mut bytes = PREFACE.to_vec();
        frame::write_settings(&[], &mut bytes);
        frame::write_settings_ack(&mut bytes);
        peer.feed(&bytes);
        let greeting = peer.frames();
        assert_eq!(greeting.iter().map(|frame| frame.0).collect::<Vec<_>>(), [4, 8, 4], "{greeting:?}");
        peer
    }

    fn silent(limits: Limits, settings: Settings) -> Self {
        let now = Time(1_000_000_000);
        let conn = Conn::new(Rc::new(limits), Rc::new(settings), false, now);
        Self { conn, encoder: Encoder::new(), decoder: Decoder::new(), now, came: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.conn.feed(bytes, self.now);
    }

    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.feed(&bytes);
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        let mut writer = self.encoder.block(&mut block);
        fields.iter().for_each(|(name, value)| writer.field(name.as_bytes(), value.as_bytes()));
        block
    }

    fn request(&mut self, id: StreamId, method: &str, more: &[(&str, &str)], end: bool) {
        let usual =
            [(":method", method), (":scheme", "http"), (":path", "/a?b"), (":authority", "shop.example")];
        let block = self.block(&[&usual[..], more].concat());
        self.say(|out| frame::write_headers(id, end, out, |out| out.extend_from_slice(&block)));
    }

    fn data(&mut self, id: StreamId, data: &[u8], end: bool) {
        self.say(|out| {
            frame::write_data_head(id, data.len(), end, out);
            out.extend_from_slice(data);
        });
    }

    /// What is written now, at most so many bytes.
    fn read(&mut self, most: usize) -> Vec<Sent> {
        let mut bytes = Vec::new();
        loop {
            let out = self.conn.out();
            let before = bytes.len();
            out.slices(usize::MAX, |slice| bytes.extend_from_slice(slice));
            bytes.truncate(most);
            out.consume((bytes.len() - before) as u64);
            self.conn.wrote(self.now);
            if bytes.len() == before || bytes.len() == most {
                break;
            }
        }
        self.came.extend_from_slice(&bytes);
        let mut frames = Vec::new();
        while let Some(([a, b, c, kind, flags, stream @ ..], rest)) = self.came.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some(payload) = rest.get(..length) else { break };
            frames.push((*kind, *flags, u32::from_be_bytes(*stream), payload.to_vec()));
            self.came.drain(..9 + length);
        }
        frames
    }

    fn frames(&mut self) -> Vec<Sent> {
        self.read(usize::MAX)
    }

    fn fields(&mut self, block: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.decoder.decode(block, 1 << 20, |name, value| fields.push((text(name), text(value)))).unwrap();
        fields
    }

    fn poll(&mut self) -> (StreamId, Event) {
        self.conn.poll().expect("an event")
    }

    /// Opens a stream whose request is polled.
    fn open(&mut self, id: StreamId, method: &str, more: &[(&str, &str)], end: bool) {
        self.request(id, method, more, end);
        let (of, event) = self.poll();
        assert!(of == id && matches!(event, Event::Request(_)), "{event:?}");
    }

    fn respond(&mut self, id: StreamId, body: BodyLength) -> bool {
        self.conn.respond(id, &ResponseHead::new(200), body, DATE, self.now)
    }

    fn done(&mut self) -> Vec<(StreamId, u64)> {
        std::iter::from_fn(|| self.conn.poll_done()).collect()
    }

    /// The code of the GOAWAY that was sent.
    fn goaway(&mut self) -> u32 {
        let frames = self.frames();
        let (_, _, _, payload) = frames.iter().find(|frame| frame.0 == 7).expect("GOAWAY");
        code(&payload[4..])
    }

    fn wait(&mut self, time: Duration) -> Option<&'static str> {
        self.now = self.now.after(time);
        self.conn.turn(self.now)
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(*bytes.first_chunk().unwrap())
}

/// Kinds, flags and streams; of resets and GOAWAY the code, of DATA the length.
fn short(frames: &[Sent]) -> Vec<(u8, u8, StreamId, u32)> {
    frames
        .iter()
        .map(|(kind, flags, stream, payload)| {
            let number = match kind {
                0 => payload.len() as u32,
                3 | 8 => code(payload),
                7 => code(&payload[4..]),
                _ => 0,
            };
            (*kind, *flags, *stream, number)
        })
        .collect()
}

#[test]
fn a_request_and_its_answer() {
    let mut peer = Peer::new();
    peer.request(1, "GET", &[("accept", "*/*")], true);
    let (id, Event::Request(request)) = peer.poll() else { panic!("no request") };
    assert_eq!((id, request.body), (1, BodyLength::None));
    assert_eq!((request.head.method_bytes(), request.head.target()), (&b"GET"[..], &b"/a?b"[..]));
    assert_eq!(request.head.get("Host"), Some(&b"shop.example"[..]));
    assert!(peer.conn.poll().is_none());
    let head = ResponseHead::new(200).with("Content-Type", "text/plain ").with("Connection", "close");
    let head = head.with("Upgrade", "h2c");
    assert!(peer.conn.respond(1, &head, BodyLength::Known(5), DATE, peer.now));
    peer.conn.send(1, Segment::from(b"hello, world".to_vec()));
    peer.conn.finish(1, peer.now);
    assert_eq!(peer.done(), []);
    let frames = peer.frames();
    assert_eq!(short(&frames), [(1, 4, 1, 0), (0, 1, 1, 5)]);
    assert_eq!(frames[1].3, b"hello");
    let fields = peer.fields(&frames[0].3);
    let want = [
        (":status", "200"),
        ("date", DATE),
        ("server", "hatchery"),
        ("content-type", "text/plain"),
        ("content-length", "5"),
    ];
    assert_eq!(fields, want.map(|(name, value)| (name.into(), value.into())));
    assert_eq!(peer.done(), [(1, 5)]);
    assert!(peer.conn.is_idle() && peer.conn.is_kept());
}

#[test]
fn a_prepared_answer_leaves_with_its_head() {
    let mut peer = Peer::new();
    let head = ResponseHead::new(200).with("Content-Type", "text/html").with("ETag", "\"a:b\"");
    let prepared = Prepared::new(&head, 3);
    for (id, method, sent) in [(1, "GET", 3), (3, "HEAD", 0)] {
        peer.open(id, method, &[], true);
        let common = Common { date: DATE.as_bytes(), id: Some(("X-Request-ID", b"0a")), strict: None };
        let body = Some(Segment::from(b"abc".to_vec()));
        assert_eq!(peer.conn.respond_prepared(id, &prepared, body, common, peer.now), sent > 0);
        assert!(peer.conn.waiting().len() > 10, "queued already");
        let frames = peer.frames();
        let fields = peer.fields(&frames[0].3);
        for (name, value) in
            [("x-request-id", "0a"), ("etag", "\"a:b\""), ("content-length", "3"), ("server", "hatchery")]
        {
            assert!(fields.contains(&(name.into(), value.into())), "{name} in {fields:?}");
        }
        let expected = if sent > 0 { vec![(1, 4, id, 0), (0, 1, id, 3)] } else { vec![(1, 5, id, 0)] };
        assert_eq!(short(&frames), expected);
        assert_eq!(peer.done(), [(id, sent)]);
    }
}

#[test]
fn windows_of_the_client_bound_what_is_sent() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::Known(100_000));
    for _ in 0..2 {
        peer.conn.send(1, Segment::from(vec![1; 50_000]));
    }
    peer.conn.finish(1, peer.now);
    let sizes = |frames: &[Sent]| -> Vec<usize> {
        frames.iter().filter(|frame| frame.0 == 0).map(|frame| frame.3.len()).collect()
    };
    let frames = peer.frames();
    assert_eq!(sizes(&frames), [16_384, 16_384, 16_384, 16_383]);
    assert!(!peer.conn.wants().write);
    peer.say(|out| frame::write_window_update(1, 100_000, out));
    assert!(!peer.conn.wants().write, "the window of the connection is closed");
    assert_eq!(sizes(&peer.frames()), Vec::<usize>::new());
    peer.say(|out| frame::write_window_update(0, 34_465, out));
    let frames = peer.frames();
    assert_eq!(sizes(&frames), [16_384, 16_384, 1_697]);
    assert_eq!(frames.last().unwrap().1, 1, "END_STREAM");
    assert_eq!(peer.done(), [(1, 100_000)]);
}

#[test]
fn the_initial_window_changes_those_that_are_open_also_below_zero() {
    let mut peer = Peer::new();
    let settings =
        |value| move |out: &mut Vec<u8>| frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, value)], out);
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::Known(50_000));
    peer.conn.send(1, Segment::from(vec![1; 1000]));
    assert_eq!(peer.frames().len(), 2);
    peer.say(settings(400));
    peer.conn.send(1, Segment::from(vec![1; 1000]));
    assert_eq!(short(&peer.frames()), [(4, 1, 0, 0)], "its window is -600");
    peer.say(|out| frame::write_window_update(1, 601, out));
    assert_eq!(short(&peer.frames()), [(0, 0, 1, 1)]);
    peer.say(settings(500));
    assert_eq!(short(&peer.frames()), [(4, 1, 0, 0), (0, 0, 1, 100)]);
    peer.open(3, "GET", &[], true);
    peer.respond(3, BodyLength::Known(50_000));
    peer.conn.send(3, Segment::from(vec![1; 1000]));
    assert_eq!(short(&peer.frames()), [(1, 4, 3, 0), (0, 0, 3, 500)]);
    peer.say(|out| frame::write_window_update(3, (1 << 31) - 1, out));
    peer.say(settings((1 << 31) - 1));
    assert_eq!(peer.goaway(), Code::FlowControl as u32);
}

#[test]
fn a_window_grows_by_something_and_not_beyond_its_end() {
    for (stream, increment, expected) in [
        (1, 0, (3, 0, 1, Code::Protocol as u32)),
        (1, ANY, (3, 0, 1, Code::FlowControl as u32)),
        (0, 0, (7, 0, 0, Code::Protocol as u32)),
        (0, ANY, (7, 0, 0, Code::FlowControl as u32)),
        (3, 1, (7, 0, 0, Code::Protocol as u32)),
    ] {
        let mut peer = Peer::new();
        peer.open(1, "GET", &[], true);
        peer.say(|out| frame::write_window_update(stream, increment, out));
        assert_eq!(short(&peer.frames()), [expected], "{stream} {increment}");
        assert!(matches!(peer.poll(), (1, Event::Gone)));
    }
}

#[test]
fn bodies_that_nobody_polls_close_the_window() {
    let mut peer = Peer::new();
    peer.open(1, "POST", &[], false);
    peer.open(3, "POST", &[], false);
    peer.conn.hold(1, true, peer.now);
    let piece = vec![7; 16_384];
    for _ in 0..16 {
        peer.data(1, &piece, false);
    }
    assert!(peer.conn.poll().is_none(), "held");
    assert!(peer.frames().iter().all(|frame| frame.2 == 0), "no window for the stream");
    // Another one goes on for ever.
    for _ in 0..300 {
        peer.data(3, &piece, false);
        let (3, Event::Body(body)) = peer.poll() else { panic!("no body") };
        assert_eq!(body.len(), piece.len());
        peer.frames();
    }
    peer.conn.hold(1, false, peer.now);
    let (1, Event::Body(body)) = peer.poll() else { panic!("no body") };
    assert_eq!(body.len(), 256 * 1024);
    assert_eq!(short(&peer.frames()), [(8, 0, 1, 256 * 1024)]);
    peer.data(1, b"", true);
    assert!(matches!(peer.poll(), (1, Event::BodyEnd)));
}

#[test]
fn more_than_the_window_of_a_stream_is_an_error_of_it() {
    let mut peer = Peer::new();
    peer.open(1, "POST", &[], false);
    peer.conn.hold(1, true, peer.now);
    for _ in 0..16 {
        peer.data(1, &[7; 16_384], false);
    }
    peer.frames();
    peer.data(1, b"x", false);
    assert!(matches!(peer.poll(), (1, Event::Gone)));
    assert_eq!(short(&peer.frames()), [(3, 0, 1, Code::FlowControl as u32)]);
    assert_eq!((peer.done(), peer.conn.kept), (vec![(1, 0)], 0));
    // What was on its way is forgiven.
    peer.data(1, b"x", false);
    assert_eq!(peer.conn.phase, Phase::Open);
}

#[test]
fn what_all_bodies_keep_is_bounded() {
    let mut peer = Peer::new();
    let mut sent = 0;
    'all: for id in (1..128).step_by(2) {
        peer.open(id, "POST", &[], false);
        peer.conn.hold(id, true, peer.now);
        for _ in 0..16 {
            peer.data(id, &[7; 16_384], false);
            peer.frames();
            if peer.conn.phase != Phase::Open {
                break 'all;
            }
            sent += 16_384;
        }
    }
    assert_eq!(sent, KEPT_FREE + CONNECTION_WINDOW as usize);
}

#[test]
fn a_reset_of_the_client_is_told_once_and_the_stream_counts_until_then() {
    let mut peer = Peer::with(Limits::default(), Settings { streams: 2, ..Settings::default() });
    peer.open(1, "GET", &[], true);
    peer.request(3, "GET", &[], true);
    peer.say(|out| frame::write_reset(3, Code::Cancel, out));
    assert!(peer.conn.poll().is_none(), "nobody knows of it");
    peer.open(5, "GET", &[], true);
    peer.respond(1, BodyLength::Unknown);
    peer.conn.send(1, Segment::from(b"part".to_vec()));
    peer.frames();
    peer.say(|out| frame::write_reset(1, Code::Cancel, out));
    peer.request(7, "GET", &[], true);
    assert_eq!(short(&peer.frames()), [(3, 0, 7, Code::RefusedStream as u32)]);
    assert_eq!(peer.done(), []);
    assert!(matches!(peer.poll(), (1, Event::Gone)));
    assert_eq!(peer.done(), [(1, 4)]);
    // Nothing happens any more.
    peer.conn.send(1, Segment::from(b"more".to_vec()));
    peer.conn.finish(1, peer.now);
    peer.conn.break_off(1);
    assert!(!peer.respond(1, BodyLength::None) && !peer.conn.has_room(1));
    peer.open(9, "GET", &[], true);
    assert_eq!((peer.frames(), peer.done(), peer.conn.poll().is_none()), (vec![], vec![], true));
}

#[test]
fn rapid_resets_end_the_connection_and_answers_pay_for_some() {
    let mut peer = Peer::new();
    let mut rounds = 0;
    for id in (1..100_000).step_by(2) {
        peer.request(id, "GET", &[], true);
        if peer.conn.phase != Phase::Open {
            break;
        }
        peer.poll();
        peer.say(|out| frame::write_reset(id, Code::Cancel, out));
        while peer.conn.poll().is_some() {}
        rounds += 1;
    }
    assert!((100..1000).contains(&rounds), "{rounds}");
    assert_eq!(peer.goaway(), Code::EnhanceYourCalm as u32);
    let mut peer = Peer::with(Limits { keepalive_requests: 0, ..Limits::default() }, Settings::default());
    for id in (1..10_000).step_by(4) {
        peer.open(id, "GET", &[], true);
        peer.respond(id, BodyLength::None);
        peer.conn.finish(id, peer.now);
        peer.open(id + 2, "GET", &[], true);
        peer.say(|out| frame::write_reset(id + 2, Code::Cancel, out));
        while peer.conn.poll().is_some() {}
        peer.frames();
    }
    assert_eq!(peer.conn.phase, Phase::Open);
}

#[test]
fn floods_of_control_frames_end_the_connection() {
    let ping = |out: &mut Vec<u8>| frame::write_ping(*b"flooding", false, out);
    let settings = |out: &mut Vec<u8>| frame::write_settings(&[], out);
    let update = |out: &mut Vec<u8>| frame::write_window_update(0, 1, out);
    let empty = |out: &mut Vec<u8>| frame::write_data_head(1, 0, false, out);
    let priority = |out: &mut Vec<u8>| out.extend_from_slice(b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\0");
    let unknown = |out: &mut Vec<u8>| out.extend_from_slice(b"\0\0\0\xbb\0\0\0\0\x01");
    type Flood<'a> = &'a dyn Fn(&mut Vec<u8>);
    let floods: [Flood<'_>; 6] = [&ping, &settings, &update, &empty, &priority, &unknown];
    for (at, flood) in floods.into_iter().enumerate() {
        let mut peer = Peer::new();
        peer.open(1, "POST", &[], false);
        let count = (0..10_000).take_while(|_| {
            peer.say(flood);
            peer.conn.phase == Phase::Open
        });
        assert!((100..9_000).contains(&count.count()), "{at}");
        assert!(peer.conn.waiting().len() < 100_000, "{at}");
        assert_eq!(peer.goaway(), Code::EnhanceYourCalm as u32, "{at}");
        assert!(matches!(peer.poll(), (1, Event::Gone)));
        assert_eq!(peer.done(), [(1, 0)]);
    }
}

/// A frame of a byte for each stream, for one SETTINGS.
#[test]
fn windows_that_open_by_a_byte_pay_for_nothing() {
    let mut peer = Peer::new();
    let window =
        |size| move |out: &mut Vec<u8>| frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, size)], out);
    peer.say(window(0));
    for id in (1..20).step_by(2) {
        peer.open(id, "GET", &[], true);
        peer.respond(id, BodyLength::Unknown);
        peer.conn.send(id, vec![0; 2000].into());
    }
    let rounds = (1..1000).take_while(|size| {
        peer.say(window(*size));
        peer.frames();
        peer.conn.phase == Phase::Open
    });
    assert!((100..300).contains(&rounds.count()));
}

#[test]
fn blocks_are_bounded_whatever_they_come_in() {
    let mut peer = Peer::new();
    let block = peer.block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]);
    peer.say(|out| {
        for (at, byte) in block.iter().enumerate() {
            let kind = if at == 0 { 1 } else { 9 };
            let flags = if at + 1 == block.len() { 4 } else { 0 } | u8::from(at == 0);
            out.extend_from_slice(&[0, 0, 1, kind, flags, 0, 0, 0, 1, *byte]);
        }
    });
    assert!(matches!(peer.poll(), (1, Event::Request(_))));
    peer.say(|out| out.extend_from_slice(b"\0\0\x01\x01\0\0\0\0\x03\x82"));
    peer.say(|out| {
        for _ in 0..5 {
            out.extend_from_slice(b"\0\x40\0\x09\0\0\0\0\x03");
            out.extend_from_slice(&[0x82; 16_384]);
        }
    });
    assert_eq!(peer.goaway(), Code::EnhanceYourCalm as u32);
    let mut peer = Peer::new();
    let long = "x".repeat(40_000);
    peer.request(1, "GET", &[("cookie", &long)], true);
    let (1, Event::Refused(refusal)) = peer.poll() else { panic!("not refused") };
    assert_eq!(refusal.status, 431);
    assert_eq!(peer.conn.take_refused(1).map(|line| line.target), Some(b"/a?b".to_vec()));
    peer.open(3, "GET", &[], true);
}

#[test]
fn requests_wait_until_they_may_run_and_what_may_not_wait_is_refused() {
    let mut peer = Peer::new();
    peer.conn.allow(2);
    for id in [1, 3, 5, 7] {
        peer.request(id, "GET", &[], true);
    }
    // Its body would have to be kept.
    peer.request(9, "POST", &[], false);
    assert_eq!(short(&peer.frames()), [(3, 0, 9, Code::RefusedStream as u32)]);
    assert!(matches!(peer.conn.poll(), Some((1, Event::Request(_)))));
    assert!(matches!(peer.conn.poll(), Some((3, Event::Request(_)))));
    assert_eq!((peer.conn.poll().map(|(id, _)| id), peer.conn.running()), (None, 2));
    // What the client takes back was never there; what runs is told of it, whatever waits.
    peer.say(|out| frame::write_reset(5, Code::Cancel, out));
    peer.say(|out| frame::write_reset(3, Code::Cancel, out));
    assert!(matches!(peer.conn.poll(), Some((3, Event::Gone))));
    assert!(matches!(peer.conn.poll(), Some((7, Event::Request(_)))));
    assert_eq!(peer.conn.running(), 2);
    // Many small heads may wait, but not many large ones.
    let long = "x".repeat(10_000);
    for id in [11, 13, 15, 17, 19] {
        peer.request(id, "GET", &[("cookie", &long)], true);
    }
    assert_eq!(short(&peer.frames()), [(3, 0, 19, Code::RefusedStream as u32)]);
}

#[test]
fn the_heads_that_are_kept_are_bounded() {
    let mut peer = Peer::new();
    let long = "x".repeat(30_000);
    let mut opened = Vec::new();
    for id in (1..100).step_by(2) {
        peer.request(id, "GET", &[("cookie", &long)], true);
        let Some((_, Event::Request(_))) = peer.conn.poll() else { break };
        opened.push(id);
    }
    assert_eq!(opened.len(), HEADS_MAX / 30_000 + 1);
    assert_eq!(short(&peer.frames()), [(3, 0, 37, Code::RefusedStream as u32)]);
    for id in opened {
        peer.conn.finish(id, peer.now);
    }
    peer.frames();
    assert_eq!((peer.done().len(), peer.conn.heads), (18, 0));
    peer.open(101, "GET", &[("cookie", &long)], true);
}

#[test]
fn a_body_must_be_as_long_as_it_says() {
    for (length, pieces, status) in [
        ("3", &["abc"][..], None),
        ("3", &["ab", ""], Some(400)),
        ("3", &["ab", "cd"], Some(400)),
        ("0", &[""], None),
        ("0", &["a"], Some(400)),
    ] {
        let mut peer = Peer::new();
        peer.open(1, "POST", &[("content-length", length)], false);
        for (at, piece) in pieces.iter().enumerate() {
            peer.data(1, piece.as_bytes(), at + 1 == pieces.len());
        }
        let mut last = None;
        while let Some((_, event)) = peer.conn.poll() {
            last = Some(event);
        }
        match (last, status) {
            (Some(Event::BodyEnd), None) => {}
            (Some(Event::Refused(refusal)), Some(status)) if refusal.status == status => {
                peer.respond(1, BodyLength::None);
                peer.conn.finish(1, peer.now);
                assert_eq!(short(&peer.frames()), [(1, 5, 1, 0), (3, 0, 1, Code::Protocol as u32)]);
            }
            other => panic!("{length} {pieces:?}: {other:?}"),
        }
    }
}

#[test]
fn trailers_are_told_to_who_wants_them() {
    let sum = [("x-sum", "1"), ("x-sum", "2")];
    // Before the owner knows of the request, or behind its body.
    for (early, keep, data) in [
        (true, true, "body"),
        (false, true, "body"),
        (false, true, ""),
        (true, false, "body"),
        (false, false, ""),
    ] {
        let mut peer = Peer::new();
        peer.request(1, "POST", &[], false);
        let mut told = Vec::new();
        let mut hear = |peer: &mut Peer| {
            while let Some((1, event)) = peer.conn.poll() {
                told.push(match event {
                    Event::Request(_) => {
                        if keep {
                            peer.conn.keep_trailers(1);
                        }
                        "request".to_owned()
                    }
                    Event::Body(bytes) => String::from_utf8(bytes).unwrap(),
                    Event::Trailers(fields) => fields
                        .iter()
                        .map(|(name, value)| format!("{}: {};", name.escape_ascii(), value.escape_ascii()))
                        .collect(),
                    Event::BodyEnd => "end".to_owned(),
                    other => panic!("{other:?}"),
                });
            }
        };
        if !early {
            hear(&mut peer);
        }
        if !data.is_empty() {
            peer.data(1, data.as_bytes(), false);
        }
        let block = peer.block(&sum);
        peer.say(|out| frame::write_headers(1, true, out, |out| out.extend_from_slice(&block)));
        hear(&mut peer);
        let trailers = if keep { "x-sum: 1;x-sum: 2;" } else { "" };
        let expected: Vec<_> =
            ["request", data, trailers, "end"].into_iter().filter(|told| !told.is_empty()).collect();
        assert_eq!(told, expected);
        peer.respond(1, BodyLength::None);
        peer.conn.finish(1, peer.now);
        peer.frames();
        assert_eq!((peer.done().len(), peer.conn.heads), (1, 0));
    }
}

#[test]
fn trailers_longer_than_anyone_needs_refuse_the_request() {
    let long = "x".repeat(16 * 1024);
    let many: Vec<_> = (0..500).map(|_| ("x-many", "1")).collect();
    for fields in [&[("x-long", &*long)][..], &many] {
        let mut peer = Peer::new();
        peer.open(1, "POST", &[], false);
        let block = peer.block(fields);
        let (first, rest) = block.split_at(block.len().min(10_000));
        peer.say(|out| {
            let length = [0, (first.len() >> 8) as u8, first.len() as u8];
            out.extend_from_slice(&[&length[..], &[1, 1, 0, 0, 0, 1], first].concat());
            let length = [0, (rest.len() >> 8) as u8, rest.len() as u8];
            out.extend_from_slice(&[&length[..], &[9, 4, 0, 0, 0, 1], rest].concat());
        });
        match peer.poll() {
            (1, Event::Refused(refusal)) => assert_eq!(refusal.why, "trailers longer than 16 KiB"),
            other => panic!("{other:?}"),
        }
        peer.respond(1, BodyLength::None);
        peer.conn.finish(1, peer.now);
        assert_eq!(short(&peer.frames()), [(1, 5, 1, 0)], "the request has ended: nothing to reset");
        assert!(peer.conn.poll().is_none());
    }
}

#[test]
fn trailers_end_a_request_and_are_dropped() {
    for (fields, end, good) in [
        (&[("x-sum", "1")][..], true, true),
        (&[("x-sum", "1")], false, false),
        (&[(":path", "/")], true, false),
        (&[("x-sum", "a\nb")], true, false),
    ] {
        let mut peer = Peer::new();
        peer.open(1, "POST", &[], false);
        peer.data(1, b"body", false);
        assert!(matches!(peer.poll(), (1, Event::Body(_))));
        let block = peer.block(fields);
        peer.say(|out| frame::write_headers(1, end, out, |out| out.extend_from_slice(&block)));
        match peer.poll() {
            (1, Event::BodyEnd) if good => {}
            (1, Event::Refused(refusal)) if !good => assert_eq!(refusal.status, 400),
            other => panic!("{fields:?} {other:?}"),
        }
        assert!(peer.conn.poll().is_none());
    }
}

/// Answers a stream with two bytes.
fn answer_early(peer: &mut Peer, id: StreamId) {
    peer.respond(id, BodyLength::Known(2));
    peer.conn.send(id, Segment::from(b"no".to_vec()));
    peer.conn.finish(id, peer.now);
}

#[test]
fn a_request_that_is_answered_early_may_end_as_far_as_its_window_goes() {
    let reset = |id| (3, 0, id, 0);
    let answer = |id| [(1, 4, id, 0), (0, 1, id, 2)];
    let mut peer = Peer::new();
    // More than there is room for, or that waits for a word.
    for (id, more) in [
        (1, [("content-length", "300000"), ("te", "trailers")]),
        (3, [("content-length", "3"), ("expect", "100-continue")]),
    ] {
        peer.open(id, "POST", &more, false);
        answer_early(&mut peer, id);
        assert_eq!(short(&peer.frames()), [&answer(id)[..], &[reset(id)]].concat());
        assert_eq!(peer.done(), [(id, 2)]);
        peer.data(id, b"on its way", true);
        assert!(peer.conn.streams.is_empty());
    }
    // Little: it ends, by DATA before or after the answer has left, by trailers, or by a reset.
    for id in [5, 7, 9, 11] {
        peer.open(id, "POST", &[("content-length", "4")], false);
        answer_early(&mut peer, id);
        if id == 5 {
            peer.data(id, b"body", true);
        }
        assert_eq!(short(&peer.frames()), answer(id));
        assert_eq!(peer.done(), [(id, 2)]);
        assert_eq!(peer.conn.streams.len(), usize::from(id > 5), "it counts until then");
        match id {
            7 => peer.data(id, b"body", true),
            9 => {
                let block = peer.block(&[("x-sum", "1")]);
                peer.say(|out| frame::write_headers(id, true, out, |out| out.extend_from_slice(&block)));
            }
            11 => peer.say(|out| frame::write_reset(id, Code::Cancel, out)),
            _ => {}
        }
        assert!(peer.conn.streams.is_empty() && peer.conn.is_idle(), "{id}");
        assert_eq!((peer.conn.poll().is_none(), peer.done(), peer.frames()), (true, vec![], vec![]));
    }
    // It does not end: until the window is used up, the time is over, or the connection takes leave.
    for id in [13, 15, 17] {
        peer.open(id, "POST", &[], false);
        answer_early(&mut peer, id);
        assert_eq!(short(&peer.frames()), answer(id));
        match id {
            13 => (0..16).for_each(|_| peer.data(id, &[0; 16_384], false)),
            15 => drop(peer.wait(Duration::from_secs(30))),
            _ => {
                peer.conn.drain();
                peer.say(|out| frame::write_ping(FAREWELL, true, out));
            }
        }
        assert!(short(&peer.frames()).contains(&reset(id)), "{id}");
        assert_eq!((peer.done(), peer.conn.kept), (vec![(id, 2)], 0));
        assert!(peer.conn.streams.is_empty());
    }
    assert_eq!(peer.conn.end(), End::Linger);
}

#[test]
fn a_body_is_asked_for_once_and_bounded() {
    let mut peer = Peer::new();
    peer.open(1, "POST", &[("content-length", "100000")], false);
    assert_eq!(peer.conn.limit_body(1, 99_999), Err(Refusal::BODY_TOO_LARGE));
    peer.open(3, "POST", &[("expect", "100-continue")], false);
    peer.conn.proceed(3);
    peer.conn.proceed(3);
    let frames = peer.frames();
    assert_eq!(short(&frames), [(1, 4, 3, 0)]);
    assert_eq!(peer.fields(&frames[0].3), [(":status".into(), "100".into())]);
    assert_eq!(peer.conn.limit_body(3, 5), Ok(()));
    peer.data(3, b"123456", false);
    let (3, Event::Refused(refusal)) = peer.poll() else { panic!("not refused") };
    assert_eq!(refusal, Refusal::BODY_TOO_LARGE);
}

#[test]
fn an_answer_that_is_too_short_is_reset_behind_what_there_is() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::Known(100_000));
    peer.conn.send(1, Segment::from(vec![1; 70_000]));
    peer.conn.finish(1, peer.now);
    peer.conn.finish(1, peer.now);
    assert_eq!(peer.frames().len(), 5, "as much as the windows allow");
    assert_eq!(peer.done(), []);
    peer.say(|out| {
        frame::write_window_update(0, 10_000, out);
        frame::write_window_update(1, 10_000, out);
    });
    assert_eq!(short(&peer.frames()), [(0, 0, 1, 4465), (3, 0, 1, Code::Internal as u32)]);
    assert_eq!(peer.done(), [(1, 70_000)]);
    peer.open(3, "GET", &[], true);
    peer.conn.finish(3, peer.now);
    assert_eq!(short(&peer.frames()), [(3, 0, 3, Code::Internal as u32)]);
    assert_eq!(peer.done(), [(3, 0)]);
}

#[test]
fn the_end_known_late_is_a_frame_of_its_own() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.conn.interim(1, &ResponseHead::new(103).with("Link", "</a>"));
    assert!(peer.respond(1, BodyLength::Unknown));
    peer.conn.interim(1, &ResponseHead::new(103));
    peer.conn.send(1, Segment::from(b"event".to_vec()));
    let frames = peer.frames();
    assert_eq!(short(&frames), [(1, 4, 1, 0), (1, 4, 1, 0), (0, 0, 1, 5)]);
    assert_eq!(
        peer.fields(&frames[0].3),
        [(":status", "103"), ("link", "</a>")].map(|(a, b)| (a.into(), b.into()))
    );
    peer.conn.finish(1, peer.now);
    assert_eq!(short(&peer.frames()), [(0, 1, 1, 0)]);
    // Known to be whole, sent, and only then finished.
    peer.open(3, "GET", &[], true);
    peer.respond(3, BodyLength::Known(5));
    peer.conn.send(3, Segment::from(b"event".to_vec()));
    assert_eq!(short(&peer.frames()), [(1, 4, 3, 0), (0, 1, 3, 5)]);
    assert_eq!(peer.done(), [(1, 5)]);
    peer.conn.finish(3, peer.now);
    assert_eq!((peer.done(), peer.frames()), (vec![(3, 5)], vec![]));
}

#[test]
fn what_was_written_is_known_to_the_byte() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::Known(1000));
    let head = peer.conn.waiting().len() as usize;
    peer.conn.send(1, Segment::from(vec![1; 1000]));
    peer.conn.finish(1, peer.now);
    assert_eq!(peer.conn.waiting_of(1), (1000, 1000));
    peer.read(head + 9);
    assert_eq!((peer.conn.written_of(1), peer.conn.waiting_of(1)), (0, (1000, 1000)));
    peer.read(1);
    assert_eq!(peer.conn.written_of(1), 1);
    peer.read(998);
    assert_eq!((peer.conn.written_of(1), peer.done()), (999, vec![]));
    peer.read(1);
    assert_eq!(peer.done(), [(1, 1000)]);
}

#[test]
fn urgent_answers_overtake() {
    let mut peer = Peer::new();
    peer.say(|out| frame::write_window_update(0, 1_000_000, out));
    for (id, priority) in [(1, "u=5"), (3, "u=1"), (5, "u=1")] {
        peer.open(id, "GET", &[("priority", priority)], true);
        peer.respond(id, BodyLength::Known(32_768));
        peer.conn.send(id, Segment::from(vec![1; 32_768]));
        peer.conn.finish(id, peer.now);
    }
    peer.say(|out| out.extend_from_slice(b"\0\0\x07\x10\0\0\0\0\0\0\0\0\x05u=0"));
    let order: Vec<_> = peer.frames().iter().filter(|frame| frame.0 == 0).map(|frame| frame.2).collect();
    assert_eq!(order, [5, 5, 3, 3, 1, 1]);
}

#[test]
fn data_is_cut_when_the_output_runs_low() {
    let mut peer = Peer::new();
    peer.say(|out| {
        frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)], out);
        frame::write_window_update(0, 1 << 30, out);
    });
    peer.frames();
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::Unknown);
    while peer.conn.has_room(1) {
        peer.conn.send(1, Segment::from(vec![1; 30_000]));
    }
    assert!((256 * 1024..300_000).contains(&peer.conn.waiting_of(1).1));
    assert!((65_536..90_000).contains(&peer.conn.out().len()));
    peer.read(20_000);
    assert!(!peer.conn.has_room(1) || peer.conn.waiting_of(1).1 < 300_000);
    peer.say(|out| frame::write_reset(1, Code::Cancel, out));
    assert!(peer.conn.out().len() < 90_000);
    assert!(matches!(peer.poll(), (1, Event::Gone)));
    assert_eq!(peer.conn.queued, 0);
}

#[test]
fn what_all_answers_keep_is_bounded_and_none_is_left_out() {
    let mut peer = Peer::new();
    peer.say(|out| frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, 0)], out));
    for id in (1..100).step_by(2) {
        peer.open(id, "GET", &[], true);
        peer.respond(id, BodyLength::Unknown);
        assert!(peer.conn.has_room(id), "each has something to send when its turn comes");
        while peer.conn.has_room(id) {
            peer.conn.send(id, Segment::from(vec![1; 10_000]));
        }
    }
    assert!((STREAMS_MAX..STREAMS_MAX + 50 * 10_000).contains(&peer.conn.queued), "{}", peer.conn.queued);
}

#[test]
fn leaving_loses_nothing() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.conn.drain();
    peer.conn.drain();
    assert_eq!(short(&peer.frames()), [(7, 0, 0, 0), (6, 0, 0, 0)]);
    peer.open(3, "GET", &[], true);
    assert!(!peer.conn.is_idle());
    peer.say(|out| frame::write_ping(FAREWELL, true, out));
    let frames = peer.frames();
    assert_eq!((short(&frames), code(&frames[0].3)), (vec![(7, 0, 0, 0)], 3));
    peer.request(5, "GET", &[], true);
    peer.data(5, b"body", true);
    assert!(peer.conn.poll().is_none() && peer.conn.end() == End::Open);
    assert_eq!(short(&peer.frames()), [(3, 0, 5, Code::RefusedStream as u32)]);
    for id in [1, 3] {
        peer.respond(id, BodyLength::None);
        peer.conn.finish(id, peer.now);
        assert_eq!(peer.conn.end(), End::Open);
        peer.frames();
    }
    assert_eq!((peer.done(), peer.conn.end()), (vec![(1, 0), (3, 0)], End::Linger));
    assert!(peer.conn.deadline().is_some());
    peer.conn.eof(peer.now);
    assert_eq!(peer.conn.end(), End::Close);
    // Nobody answers the PING.
    let mut peer = Peer::new();
    peer.conn.drain();
    peer.frames();
    peer.wait(Duration::from_secs(1));
    assert_eq!(short(&peer.frames()), [(7, 0, 0, 0)]);
    assert_eq!(peer.conn.end(), End::Linger);
}

#[test]
fn the_last_request_of_a_connection_is_followed_by_leave() {
    let mut peer = Peer::with(Limits { keepalive_requests: 2, ..Limits::default() }, Settings::default());
    peer.open(1, "GET", &[], true);
    assert_eq!(peer.frames(), []);
    peer.open(3, "GET", &[], true);
    assert_eq!(short(&peer.frames()), [(7, 0, 0, 0), (6, 0, 0, 0)]);
}

/// A client that hears of it sends nothing more: as many as it may have open were on their way then.
#[test]
fn who_does_not_hear_that_the_connection_ends_is_served_what_was_on_its_way() {
    let limits = Limits { keepalive_requests: 2, ..Limits::default() };
    let mut peer = Peer::with(limits, Settings { streams: 3, ..Settings::default() });
    let mut served = Vec::new();
    for id in (1..=21).step_by(2) {
        peer.request(id, "GET", &[], true);
        while let Some((id, event)) = peer.conn.poll() {
            assert!(matches!(event, Event::Request(_)));
            served.push(id);
            peer.conn.respond(id, &ResponseHead::new(204), BodyLength::None, "", peer.now);
            peer.conn.finish(id, peer.now);
        }
        peer.frames();
    }
    assert_eq!(served, [1, 3, 5, 7, 9], "two, and three that were on their way");
}

#[test]
fn the_greeting_has_its_order_and_its_time() {
    let mut peer = Peer::silent(Limits::default(), Settings::default());
    peer.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nx");
    assert_eq!(peer.conn.phase, Phase::Open);
    peer.wait(Duration::from_secs(15));
    peer.frames();
    assert_eq!(peer.conn.end(), End::Close, "silent");
    let mut peer = Peer::silent(Limits::default(), Settings::default());
    peer.feed(b"PRI * HTTP/2.0\r\n\r\nSN");
    assert_eq!(peer.goaway(), Code::Protocol as u32);
    let mut peer = Peer::silent(Limits::default(), Settings::default());
    peer.feed(PREFACE);
    peer.say(|out| frame::write_ping(*b"too soon", false, out));
    assert_eq!(peer.goaway(), Code::Protocol as u32);
    let mut peer = Peer::silent(Limits::default(), Settings::default());
    peer.feed(PREFACE);
    peer.say(|out| frame::write_settings(&[], out));
    peer.frames();
    peer.wait(Duration::from_secs(15));
    assert_eq!(peer.goaway(), Code::SettingsTimeout as u32);
    assert_eq!(peer.conn.end(), End::Linger);
    peer.wait(Duration::from_secs(6));
    assert_eq!(peer.conn.end(), End::Close);
}

#[test]
fn time_ends_what_does_not_move() {
    // Nothing runs.
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.respond(1, BodyLength::None);
    peer.conn.finish(1, peer.now);
    peer.frames();
    assert_eq!(peer.conn.ends(), Some(peer.now.after(Duration::from_secs(65))));
    peer.wait(Duration::from_secs(1));
    assert_eq!(peer.conn.deadline(), Some(peer.now.after(Duration::from_secs(64))));
    peer.wait(Duration::from_secs(64));
    assert_eq!(short(&peer.frames()), [(7, 0, 0, 0)]);
    assert_eq!(peer.conn.end(), End::Close);
    // A body.
    let mut peer = Peer::new();
    peer.open(1, "POST", &[], false);
    peer.open(3, "POST", &[], false);
    peer.conn.hold(3, true, peer.now);
    peer.wait(Duration::from_secs(30));
    let (1, Event::Refused(refusal)) = peer.poll() else { panic!("not refused") };
    assert_eq!(refusal.status, 408);
    assert!(peer.conn.poll().is_none(), "a held one is not waited for");
    peer.conn.hold(3, false, peer.now);
    peer.respond(3, BodyLength::Unknown);
    peer.frames();
    peer.wait(Duration::from_secs(30));
    assert!(matches!(peer.poll(), (3, Event::Gone)));
    assert_eq!(short(&peer.frames()), [(3, 0, 3, Code::Cancel as u32)]);
    // A head.
    let mut peer = Peer::new();
    peer.say(|out| out.extend_from_slice(b"\0\0\x01\x01\0\0\0\0\x03\x82"));
    peer.wait(Duration::from_secs(15));
    assert_eq!(peer.goaway(), Code::Protocol as u32);
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let answer = |peer: &mut Peer, id| {
        peer.open(id, "GET", &[], true);
        peer.respond(id, BodyLength::Unknown);
        peer.conn.send(id, Segment::from(vec![1; 60_000]));
    };
    // One stream.
    let mut peer = Peer::new();
    peer.say(|out| frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, 10)], out));
    answer(&mut peer, 1);
    peer.frames();
    assert_eq!(peer.conn.deadline(), Some(peer.now.after(Duration::from_secs(60))));
    peer.wait(Duration::from_secs(59));
    peer.say(|out| frame::write_window_update(1, 5, out));
    peer.frames();
    assert_eq!(peer.wait(Duration::from_secs(59)), None);
    assert!(peer.conn.poll().is_none());
    peer.wait(Duration::from_secs(1));
    assert!(matches!(peer.poll(), (1, Event::Gone)));
    assert_eq!((short(&peer.frames()), peer.done()), (vec![(3, 0, 1, 8)], vec![(1, 15)]));
    // The connection's window.
    let mut peer = Peer::new();
    answer(&mut peer, 1);
    answer(&mut peer, 3);
    peer.frames();
    assert!(peer.wait(Duration::from_secs(60)).is_some());
    assert_eq!(peer.conn.end(), End::Abort);
    assert!(matches!((peer.poll(), peer.poll()), ((1, Event::Gone), (3, Event::Gone))));
    assert_eq!(peer.done().len(), 2);
    // The socket.
    let mut peer = Peer::new();
    answer(&mut peer, 1);
    peer.read(100);
    assert!(peer.wait(Duration::from_secs(60)).is_some());
    assert_eq!(peer.conn.end(), End::Abort);
}

#[test]
fn a_client_that_has_closed_its_side_is_answered() {
    let mut peer = Peer::new();
    peer.open(1, "GET", &[], true);
    peer.open(3, "POST", &[], false);
    peer.conn.eof(peer.now);
    assert!(matches!(peer.poll(), (3, Event::Gone)));
    peer.respond(1, BodyLength::None);
    peer.conn.finish(1, peer.now);
    assert_eq!(peer.conn.end(), End::Open);
    peer.frames();
    assert_eq!((peer.done(), peer.conn.end()), (vec![(3, 0), (1, 0)], End::Close));
}

#[test]
fn what_is_beyond_the_windows_of_a_client_that_has_closed_its_side_is_given_up() {
    for eof_first in [false, true] {
        let mut peer = Peer::new();
        for id in [1, 3, 5] {
            peer.open(id, "GET", &[], true);
        }
        if eof_first {
            peer.conn.eof(peer.now);
        }
        // The first one takes the window of the connection with it.
        for (id, length) in [(1, 70_000), (3, 10)] {
            peer.respond(id, BodyLength::Known(length));
            peer.conn.send(id, Segment::from(vec![1; length as usize]));
            peer.frames();
        }
        if !eof_first {
            peer.conn.eof(peer.now);
        }
        let mut gone: Vec<_> =
            (0..2).map(|_| peer.poll()).map(|(id, event)| (id, event_name(&event))).collect();
        gone.sort_unstable();
        assert_eq!(gone, [(1, "gone"), (3, "gone")], "{eof_first}");
        peer.respond(5, BodyLength::None);
        peer.conn.finish(5, peer.now);
        peer.frames();
        assert_eq!((peer.done().len(), peer.conn.end()), (3, End::Close), "{eof_first}");
    }
}

fn event_name(event: &Event) -> &'static str {
    if matches!(event, Event::Gone) { "gone" } else { "another" }
}

#[test]
fn an_idle_connection_is_small() {
    let mut peer = Peer::new();
    for id in (1..100).step_by(2) {
        peer.open(id, "POST", &[], false);
        peer.data(id, &[1; 1000], true);
        peer.respond(id, BodyLength::Known(20_000));
        peer.conn.send(id, Segment::from(vec![1; 20_000]));
    }
    while peer.conn.poll().is_some() {}
    peer.say(|out| frame::write_window_update(0, 1 << 30, out));
    for id in (1..100).step_by(2) {
        peer.conn.finish(id, peer.now);
    }
    peer.frames();
    assert_eq!(peer.done().len(), 50);
    let kept = |conn: &Conn| (conn.events.capacity(), conn.news.capacity(), conn.done.capacity());
    let busy = kept(&peer.conn);
    assert!(busy.0 > 0 && busy.1 > 0 && peer.conn.is_roomy(), "{busy:?}");
    peer.now = peer.conn.deadline().unwrap();
    peer.conn.turn(peer.now);
    let is_roomy = peer.conn.is_roomy() || peer.conn.scratch.is_some();
    assert_eq!((kept(&peer.conn), is_roomy), ((0, 0, 0), false));
    assert!(size_of::<Conn>() < 1024, "{}", size_of::<Conn>());
}
