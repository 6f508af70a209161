//! HTTP/2: what a client may send behind its preface.

use super::{MOST, judge_request, judge_trailers};
use crate::buf::Segment;
use crate::h1;
use crate::h2::{Conn, Settings, StreamId};
use crate::http::serving::{self, End, Event, Request};
use crate::http::{BodyLength, Method, ResponseHead};
use crate::timer::Time;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The preface and our own words of a polite client.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

/// What the owner was told of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    request: Option<Vec<u8>>,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    ended: bool,
    refused: Option<u16>,
    gone: bool,
    done: usize,
}

/// A whole connection: frames on as many streams as it likes.
pub fn frames(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let whole = play(&[bytes]);
    assert_eq!(whole, play(&bytes.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
    let (before, after) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
    assert_eq!(whole, play(&[before, after]), "whole and cut at {cut}");
}

/// Feeds the pieces, then takes what came of all of them, answers it, and ends. What was told, and written until then.
fn play(pieces: &[&[u8]]) -> (BTreeMap<StreamId, Told>, Vec<u8>) {
    let mut now = Time::ZERO;
    let limits =
        serving::Settings { head: 2000, fields: 20, request_line: 200, ..serving::Settings::default() };
    let mut conn =
        Conn::new(Rc::new(limits), Rc::new(Settings { connect: true, ..Settings::default() }), false, now);
    conn.feed(GREETING, now);
    pieces.iter().for_each(|piece| conn.feed(piece, now));
    let (mut told, mut written) = (BTreeMap::new(), Vec::new());
    drive(&mut conn, &mut told, &mut written, now);
    let mut later = Vec::new();
    conn.eof(now);
    // A client may close its windows; time ends that.
    for _ in 0..1000 {
        drive(&mut conn, &mut told, &mut later, now);
        if conn.end() != End::Open {
            break;
        }
        now = conn.deadline().expect("an open connection without a deadline");
        conn.on_timeout(now);
    }
    assert_ne!(conn.end(), End::Open, "open after the end of the stream and of time");
    conn.abort();
    drive(&mut conn, &mut told, &mut later, now);
    for (id, told) in &told {
        assert_eq!(told.done, 1, "stream {id} is over: {told:?}");
    }
    (told, written)
}

fn drive(conn: &mut Conn, all: &mut BTreeMap<StreamId, Told>, written: &mut Vec<u8>, now: Time) {
    while let Some((id, event)) = conn.poll() {
        let told: &mut Told = all.entry(id).or_default();
        assert!(!told.gone && told.done == 0, "something of stream {id} after its end");
        match event {
            Event::Request(request) => {
                judge(&request);
                let seen = [request.head.method_bytes(), b" ", request.head.target()].concat();
                assert!(told.request.replace(seen).is_none(), "stream {id} opens twice");
                conn.keep_trailers(id);
                conn.proceed(id);
                if request.head.method() == Method::Connect {
                    assert!(conn.switch(id, &ResponseHead::new(101), "", now), "no tunnel");
                } else if request.body == BodyLength::None {
                    answer(conn, id, now);
                }
            }
            Event::Body(bytes) => {
                assert!(told.request.is_some() && !told.ended && !bytes.is_empty(), "a body of nothing");
                told.body.extend(bytes);
            }
            Event::Trailers(fields) => {
                judge_trailers(&fields);
                assert!(told.trailers.is_empty() && !told.ended, "trailers out of place");
                told.trailers.extend(fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
            }
            Event::BodyEnd => {
                assert!(!std::mem::replace(&mut told.ended, true), "two ends");
                answer(conn, id, now);
            }
            Event::Refused(refusal) => {
                assert!((400..600).contains(&refusal.status) && !refusal.why.is_empty());
                told.refused = Some(refusal.status);
                answer(conn, id, now);
            }
            Event::Gone => told.gone = true,
        }
    }
    loop {
        let out = conn.out();
        let length = out.len();
        out.slices(usize::MAX, |slice| written.extend_from_slice(slice));
        out.consume(length);
        conn.wrote(now);
        if length == 0 {
            break;
        }
    }
    assert!(!conn.wants().write, "all was written");
    while let Some((id, _)) = conn.poll_done() {
        all.get_mut(&id).expect("a stream that was told of").done += 1;
    }
}

fn answer(conn: &mut Conn, id: StreamId, now: Time) {
    conn.respond(id, &ResponseHead::new(200), BodyLength::Known(3), "", now);
    conn.send(id, Segment::from(b"abc".to_vec()));
    conn.finish(id, now);
}

/// A request of HTTP/2 is one of HTTP/1.1, too, and only one: so it goes to apps and upstreams.
fn judge(request: &Request) {
    let head = &request.head;
    // A tunnel is asked for as by an upgrade.
    let method = if head.method() == Method::Connect { b"GET" } else { head.method_bytes() };
    let mut again = [method, b" ", head.target(), b" HTTP/1.1\r\n"].concat();
    for (name, value) in head.fields() {
        again.extend([name, b": ", value, b"\r\n"].concat());
    }
    if request.body == BodyLength::Unknown {
        again.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    again.extend_from_slice(b"\r\n");
    let mut conn = h1::Conn::new(Rc::default(), Time::ZERO);
    conn.feed(&again, Time::ZERO);
    let Some(Event::Request(second)) = conn.poll() else { unreachable!("refused as HTTP/1.1") };
    // Only HTTP/2 says which scheme it was asked with.
    let target = second.target.clone().of_scheme(request.target.scheme());
    assert_eq!((&target, &second.host), (&request.target, &request.host));
    assert_eq!((second.body, second.head.wire_len()), (request.body, again.len()));
    judge_request(&second);
}
