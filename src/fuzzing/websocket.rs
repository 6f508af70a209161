//! WebSocket: what a client may send behind its handshake.

use super::MOST;
use crate::buf::{Queue, Segment};
use crate::gateway::websocket::handshake;
use crate::gateway::websocket::{
    Conn, End, Event, Kind, LOST, NO_CODE, NO_TEXT, REASON, Settings, may_be_sent,
};
use crate::h1;
use crate::http::{Fields, Method};
use crate::timer::Time;
use std::rc::Rc;

/// What came of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Whole messages; whether each is a text.
    messages: Vec<(bool, Vec<u8>)>,
    /// Code and reason of its end.
    closed: Option<(u16, String)>,
    /// The code in the Close that was sent; [`NO_CODE`] if there was none in it.
    said: Option<u16>,
    /// Payloads of pongs, as far as they were written.
    pongs: Vec<Vec<u8>>,
}

/// How a client that has said all ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its connection does.
    Eof,
    /// It says nothing more.
    Silence,
    /// We close, and it says nothing more.
    Close,
}

/// Longest message of these connections.
const MESSAGE: u64 = 1000;

/// A whole connection.
pub fn websocket(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    for ending in [Ending::Eof, Ending::Silence, Ending::Close] {
        let whole = play(&[bytes], ending);
        let told = |pieces: &[&[u8]]| Told { pongs: whole.pongs.clone(), ..play(pieces, ending) };
        assert_eq!(whole, told(&bytes.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
        let cut = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
        let (before, after) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
        assert_eq!(whole, told(&[before, after]), "whole and cut at {cut}");
        judge(&whole);
    }
}

/// What must hold of what was told.
fn judge(told: &Told) {
    let (code, reason) = told.closed.as_ref().expect("an end");
    assert!(may_be_sent(*code) || matches!(*code, NO_CODE | LOST), "{code} is no code");
    assert!(reason.len() <= REASON);
    let mut again = Vec::new();
    for (text, bytes) in &told.messages {
        assert!(bytes.len() as u64 <= MESSAGE, "over the limit");
        assert!(!text || std::str::from_utf8(bytes).is_ok(), "a text that is none");
        frame(if *text { 1 } else { 2 }, bytes, &mut again);
    }
    assert_eq!(play(&[&again], Ending::Eof).messages, told.messages, "others when sent again");
    assert!(*code != NO_TEXT || told.said.is_none_or(|said| said == NO_TEXT || told.messages.is_empty()));
}

/// Writes a frame of a client, the last of its message.
fn frame(opcode: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match u16::try_from(bytes.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length as u8),
        Ok(length) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    let mask = [0x5a, 0x01, 0xff, 0x80];
    out.extend(mask);
    out.extend(bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Feeds the pieces to a connection that reads all it is sent, then ends it.
fn play(pieces: &[&[u8]], ending: Ending) -> Told {
    let settings = Settings { max_message: MESSAGE, ..Settings::default() };
    let mut now = Time::ZERO;
    let mut conn = Conn::new(Rc::new(settings), now);
    let (mut told, mut open) = (Told::default(), Vec::new());
    for piece in pieces {
        conn.feed(piece.to_vec(), now);
        drive(&mut conn, &mut told, &mut open, now);
    }
    match ending {
        Ending::Eof => conn.eof(),
        // It takes what it was sent, and that is the last sign of it.
        Ending::Silence => {
            conn.room(false, now);
            assert!(conn.end() != End::Open || conn.deadline().is_none(), "time runs without room");
            conn.room(true, now);
        }
        Ending::Close => conn.close(1001, "going away"),
    }
    drive(&mut conn, &mut told, &mut open, now);
    // A ping, the wait for its answer, or for the end of a client that was told of a breach.
    for _ in 0..3 {
        let Some(deadline) = conn.deadline() else { break };
        now = deadline;
        conn.on_timeout(now);
        drive(&mut conn, &mut told, &mut open, now);
    }
    assert_eq!((conn.end(), conn.wants_read()), (End::Over, false), "open after the end");
    told
}

fn drive(conn: &mut Conn, told: &mut Told, open: &mut Vec<u8>, now: Time) {
    assert!(
        told.closed.is_none()
            || !conn.send(Kind::Text, Segment::from(b"x".to_vec()), false, &mut Queue::new())
    );
    while let Some(event) = conn.poll(now) {
        assert!(told.closed.is_none(), "something after the end");
        match event {
            Event::Part { kind, bytes, more } => {
                assert!(!(bytes.is_empty() && more), "an empty part");
                open.extend_from_slice(bytes);
                if !more {
                    told.messages.push((kind == Kind::Text, std::mem::take(open)));
                }
            }
            Event::Closed(close) => told.closed = Some((close.code, close.reason.into())),
        }
    }
    let mut out = Queue::new();
    if conn.wants_write() {
        conn.write(&mut out, now);
    }
    assert!(!conn.wants_write(), "all was written");
    let mut bytes = Vec::new();
    out.slices(usize::MAX, |slice| bytes.extend_from_slice(slice));
    heard(&bytes, told);
}

/// What a client makes of control frames that are written to it.
fn heard(mut bytes: &[u8], told: &mut Told) {
    while let [first, length, rest @ ..] = bytes {
        let (payload, behind) =
            rest.split_at_checked((*length).into()).expect("a whole frame, without a mask");
        assert!(payload.len() <= 125 && told.said.is_none(), "too long, or behind a Close");
        match first {
            0x88 => {
                let (code, reason) = payload.split_first_chunk().unwrap_or((&[3, 237], b""));
                assert!(payload.len() != 1 && std::str::from_utf8(reason).is_ok(), "no Close");
                let code = u16::from_be_bytes(*code);
                assert!(may_be_sent(code) || payload.is_empty(), "{code} may not be sent");
                told.said = Some(code);
            }
            0x89 => assert!(payload.is_empty()),
            0x8a => told.pongs.push(payload.to_vec()),
            other => unreachable!("a frame {other:x}"),
        }
        bytes = behind;
    }
    assert!(bytes.is_empty(), "half a frame");
}

/// What must hold of a request that was accepted, if it asks for a WebSocket.
pub(super) fn judge_request(request: &h1::Request) {
    let Ok(Some(asked)) = handshake::asked(&request.head, request.body) else { return };
    for chosen in asked.protocols.iter().map(Some).chain([None]) {
        let head = asked.accept(chosen.map(|text| text.as_bytes()), &Fields::new());
        let head = head.expect("what is offered may be chosen");
        let of_key = head.fields.get("sec-websocket-accept").map(<[u8]>::len);
        assert_eq!(of_key, (request.head.method() != Method::Connect).then_some(28));
        assert_eq!(head.fields.get("sec-websocket-protocol"), chosen.map(|text| text.as_bytes()));
    }
    assert!(asked.accept(Some(b"never,offered"), &Fields::new()).is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look like chance, the same for each seed (splitmix64).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % end
        }
    }

    /// Messages in frames, control frames between them, and now and then a byte that breaks the protocol.
    fn stream(chance: &mut Chance) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..1 + chance.below(8) {
            let mut frames = 1 + chance.below(3);
            let mut opcode = 1 + chance.below(2) as u8;
            while frames > 0 {
                let payload = ["", "a", "Grüße", "\u{10000}"][chance.below(4) as usize];
                let payload = payload.repeat(1 + chance.below(40) as usize);
                let start = bytes.len();
                frame(opcode, payload.as_bytes(), &mut bytes);
                (frames, opcode) = (frames - 1, 0);
                if frames > 0 {
                    bytes[start] &= 0x7f;
                    if chance.below(3) == 0 {
                        frame(9 + chance.below(2) as u8, b"ping", &mut bytes);
                    }
                }
            }
        }
        match chance.below(4) {
            0 => frame(8, b"\x03\xe8done", &mut bytes),
            1 => {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] = chance.below(256) as u8;
            }
            _ => {}
        }
        bytes
    }

    #[test]
    fn what_is_told_does_not_depend_on_where_reads_ended() {
        let (mut whole_messages, mut broken) = (0, 0);
        for seed in 0..400 {
            let mut chance = Chance(seed);
            let bytes = stream(&mut chance);
            let whole = play(&[&bytes], Ending::Eof);
            whole_messages += whole.messages.len();
            broken += usize::from(whole.said.is_some_and(|said| said != 1000));
            for _ in 0..8 {
                let (mut pieces, mut rest) = (Vec::new(), &*bytes);
                while !rest.is_empty() {
                    let (piece, behind) = rest.split_at(1 + chance.below(rest.len().min(60) as u64) as usize);
                    pieces.push(piece);
                    rest = behind;
                }
                let told = Told { pongs: whole.pongs.clone(), ..play(&pieces, Ending::Eof) };
                assert_eq!(told, whole, "seed {seed}");
            }
            websocket(&bytes);
        }
        assert!(whole_messages > 800 && broken > 20, "{whole_messages} messages, {broken} broken");
    }
}
