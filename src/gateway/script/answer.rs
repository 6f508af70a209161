//! What a script writes, as the frames of its response.

use crate::control::frame::{self, Kind};
use crate::gateway::Event;
use crate::gateway::http1::Response;
use crate::http::fault::Fault;
use crate::http::{BodyLength, Method, ResponseHead, Status};

/// The answer to one request.
///
/// | stage | what it writes | its end | |
/// |---|---|---|---|
/// | Head | HEAD once its head is whole → Body; END with 502 if it is none → Over | END with 502 → Over | |
/// | Body | BODY; END once it is as long as announced → Over | END, or END with ABORT if it is too short → Over | |
/// | Over | is dropped | | |
#[derive(Debug)]
pub(crate) struct Answer {
    /// Number of the request on its stream.
    number: u32,
    response: Response,
    stage: Stage,
    method: Method,
    /// What has come of its head.
    start: Vec<u8>,
    /// The head of one that leads to another place of the site. It is told of at its end: the script is not given up for that.
    kept: Option<Vec<u8>>,
    why: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Over,
}

/// A script that writes its own status line ("non-parsed header", RFC 3875 §5).
const NPH: &[u8] = b"HTTP/";

impl Answer {
    /// Nothing was written yet.
    #[must_use]
    pub(crate) fn new(number: u32, method: Method) -> Self {
        let response = Response::of_program(method);
        Self { number, response, stage: Stage::Head, method, start: Vec::new(), kept: None, why: None }
    }

    /// Whether nothing can follow.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// What was wrong with it, for the log.
    #[must_use]
    pub(crate) fn why(&self) -> Option<&'static str> {
        self.why
    }

    /// The script has written this.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.stage == Stage::Over {
            return;
        }
        if self.stage == Stage::Head {
            self.start.extend_from_slice(bytes);
            if self.start.starts_with(NPH) {
                return self.refuse(
                    "it writes a status line of HTTP (\"NPH\"), and a script says `Status: 200 OK`",
                    out,
                );
            }
        }
        self.response.feed(bytes);
        self.take(out);
    }

    /// It writes nothing more.
    pub(crate) fn eof(&mut self, out: &mut Vec<u8>) {
        self.response.eof();
        self.take(out);
    }

    /// It is to be broken off. `status`: the worker answers so, if it was told of no head.
    pub(crate) fn abort(&mut self, status: Option<u16>, out: &mut Vec<u8>) {
        let is_untold = self.stage == Stage::Head || self.kept.is_some();
        let status = status.filter(|_| is_untold).map(u16::to_le_bytes);
        if std::mem::replace(&mut self.stage, Stage::Over) != Stage::Over {
            let payload = status.as_ref().map_or(&[][..], |status| &status[..]);
            frame::push(out, Kind::End, frame::ABORT, self.number, payload);
        }
    }

    fn refuse(&mut self, why: &'static str, out: &mut Vec<u8>) {
        self.why = Some(why);
        self.abort(Some(502), out);
    }

    fn take(&mut self, out: &mut Vec<u8>) {
        while self.stage != Stage::Over {
            match self.response.poll() {
                Some(Event::Head { head, body }) => self.on_head(&head, body, out),
                Some(Event::Body(bytes)) if self.method != Method::Head && self.kept.is_none() => {
                    frame::push(out, Kind::Body, 0, self.number, &bytes);
                }
                Some(Event::End) => {
                    if let Some(head) = self.kept.take() {
                        frame::push(out, Kind::Head, frame::PLACE, self.number, &head);
                    }
                    frame::push(out, Kind::End, 0, self.number, b"");
                    self.stage = Stage::Over;
                }
                Some(Event::Broken(fault)) => self.refuse(words(fault), out),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn on_head(&mut self, head: &ResponseHead, body: BodyLength, out: &mut Vec<u8>) {
        let leads = leads(head, &self.start);
        let status = if leads { Status(200) } else { head.status };
        let reason = head.reason.as_deref().filter(|_| !leads).unwrap_or(status.reason().as_bytes());
        let mut payload = status.0.to_string().into_bytes();
        payload.push(b' ');
        payload.extend_from_slice(reason);
        payload.push(0);
        let mut put = |name: &[u8], value: &[u8]| {
            for part in [name, value] {
                payload.extend_from_slice(part);
                payload.push(0);
            }
        };
        head.fields.iter().for_each(|(name, value)| put(name, value));
        self.stage = Stage::Body;
        self.start = Vec::new();
        if leads {
            self.kept = Some(payload);
            return;
        }
        if let BodyLength::Known(length) = body {
            put(b"Content-Length", length.to_string().as_bytes());
        }
        frame::push(out, Kind::Head, 0, self.number, &payload);
    }
}

/// Whether a head is nothing but the path of another place of the site: a local redirect (RFC 3875 §6.2.2). It goes on as a 200
/// with this field alone, and the flag that says so. `text`: what has come.
fn leads(head: &ResponseHead, text: &[u8]) -> bool {
    let is_local = |value: &[u8]| value.starts_with(b"/") && !value.starts_with(b"//");
    let others = head.fields.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"date"));
    let is_alone = others.count() == 1 && head.fields.get("location").is_some_and(is_local);
    let is_status = |line: &[u8]| line.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"status:"));
    let mut lines = text.split(|byte| *byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    is_alone && !lines.any(is_status)
}

/// What is wrong with what a script has written, in words that name the script's part.
fn words(fault: Fault) -> &'static str {
    match fault {
        Fault::Closed => "it writes nothing",
        Fault::Truncated => "it ends before its head, or before as much as its Content-Length says",
        Fault::HeadTooLarge => "its head has more than 64 KiB, or no empty line behind it",
        other => other.row().why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::frame::{Frame, Reader};

    /// Kind, flags and payload of frames, and what was wrong.
    type Told = (Vec<(Kind, u8, Vec<u8>)>, Option<&'static str>);

    /// The frames of what is written in these pieces, up to the end.
    fn frames(method: Method, pieces: &[&[u8]]) -> Told {
        let mut answer = Answer::new(7, method);
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| answer.feed(piece, &mut out));
        answer.eof(&mut out);
        assert!(answer.is_over());
        let mut reader = Reader::from(out);
        let mut all: Vec<(Kind, u8, Vec<u8>)> = Vec::new();
        while let Some(Frame { header, payload }) = reader.poll().unwrap() {
            assert_eq!(header.stream, 7);
            match all.last_mut() {
                Some((Kind::Body, _, before)) if header.kind == Kind::Body => before.extend(payload),
                _ => all.push((header.kind, header.flags, payload)),
            }
        }
        (all, answer.why())
    }

    fn play(method: Method, text: &[u8]) -> Told {
        let whole = frames(method, &[text]);
        assert_eq!(whole, frames(method, &text.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
        whole
    }

    fn head(text: &[u8]) -> (Kind, u8, Vec<u8>) {
        (Kind::Head, 0, text.to_vec())
    }

    const END: (Kind, u8, Vec<u8>) = (Kind::End, 0, Vec::new());

    #[test]
    fn a_response_becomes_frames() {
        let (all, _) = play(Method::Get, b"Content-Type: text/plain\nX: y\n\nhello");
        let fields = head(b"200 OK\0Content-Type\0text/plain\0X\0y\0");
        assert_eq!(all, [fields, (Kind::Body, 0, b"hello".to_vec()), END]);
        let (all, _) = play(Method::Get, b"Status: 404 Gone fishing\r\nConnection: close\r\n\r\n");
        assert_eq!(all, [head(b"404 Gone fishing\0"), END]);
        let (all, _) = play(Method::Get, b"Content-Length: 2\n\nok and more");
        assert_eq!(all, [head(b"200 OK\0Content-Length\x002\0"), (Kind::Body, 0, b"ok".to_vec()), END]);
        let (all, _) = play(Method::Head, b"Content-Length: 5\n\nhello");
        assert_eq!(all, [head(b"200 OK\0Content-Length\x005\0"), END]);
    }

    #[test]
    fn a_path_alone_leads_to_another_place_and_anything_else_is_the_clients() {
        for (text, leads) in [
            ("Location: /there?x=y\n\n", true),
            ("location: /there\r\n\r\nbody", true),
            ("Location: /there\nDate: now\n\n", true),
            ("Location: //there\n\n", false),
            ("Location: http://there/\n\n", false),
            ("Location: there\n\n", false),
            ("Status: 302 Found\nLocation: /there\n\n", false),
            ("Status: 200 OK\nLocation: /there\n\n", false),
            ("Location: /there\nContent-Type: text/plain\n\n", false),
            ("Location: /there\nSet-Cookie: a=b\n\n", false),
        ] {
            let (all, _) = play(Method::Get, text.as_bytes());
            let (Kind::Head, flags, payload) = &all[0] else { panic!("{text}: {all:?}") };
            assert_eq!(*flags, if leads { frame::PLACE } else { 0 }, "{text}");
            let is_200 = leads || text.starts_with("Status: 200");
            assert!(payload.starts_with(if is_200 { b"200 OK\0" } else { b"302 Found\0" }), "{text}");
            assert!(!leads || all.len() == 2, "nothing goes with it: {all:?}");
        }
    }

    #[test]
    fn what_is_no_response_is_a_502_and_says_why() {
        let refused = |status: u16| vec![(Kind::End, frame::ABORT, status.to_le_bytes().to_vec())];
        for (text, why) in [
            (&b""[..], "nothing"),
            (b"Content-Type: text/plain\n", "ends before"),
            (b"HTTP/1.1 200 OK\n\nx", "NPH"),
            (b"hello\n\n", "no field"),
            (b"Status: 99\n\n", "no status"),
        ] {
            let (all, said) = play(Method::Get, text);
            assert_eq!(all, refused(502), "{text:?}");
            assert!(said.is_some_and(|said| said.contains(why)), "{text:?}: {said:?}");
        }
        let (all, said) = frames(Method::Get, &[&b"X: ".repeat(30_000)]);
        assert_eq!((all, said.is_some_and(|said| said.contains("64 KiB"))), (refused(502), true));
    }

    #[test]
    fn one_that_is_too_short_is_broken_off() {
        let (all, why) = play(Method::Get, b"Content-Length: 9\n\nshort");
        assert_eq!(all.last(), Some(&(Kind::End, frame::ABORT, Vec::new())));
        assert!(why.is_some());
    }

    #[test]
    fn an_abort_tells_a_status_only_as_long_as_there_is_no_head() {
        let mut out = Vec::new();
        let mut answer = Answer::new(7, Method::Get);
        answer.abort(Some(504), &mut out);
        answer.abort(Some(502), &mut out);
        let frame = Reader::from(out).poll().unwrap().unwrap();
        assert_eq!((frame.header.flags, &frame.payload[..]), (frame::ABORT, &504_u16.to_le_bytes()[..]));
        let (mut out, mut answer) = (Vec::new(), Answer::new(7, Method::Get));
        answer.feed(b"X: y\n\n", &mut out);
        out.clear();
        answer.abort(Some(504), &mut out);
        let mut reader = Reader::from(out);
        assert!(reader.poll().unwrap().unwrap().payload.is_empty() && reader.poll() == Ok(None));
        let (mut out, mut answer) = (Vec::new(), Answer::new(7, Method::Get));
        answer.feed(b"Location: /there\n\nbody", &mut out);
        assert!(out.is_empty(), "that it leads elsewhere is told at its end");
        answer.abort(Some(504), &mut out);
        assert_eq!(Reader::from(out).poll().unwrap().unwrap().payload, 504_u16.to_le_bytes());
    }
}
