use super::super::app::Body;
use super::super::tests::request;
use super::*;
use crate::http::fault::{Fault, Flaw};
use crate::http::{BodyLength, Fields};

fn frames(list: &[(Kind, u8, u32, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    list.iter()
        .for_each(|(kind, flags, stream, payload)| frame::push(&mut wire, *kind, *flags, *stream, payload));
    wire
}

/// What comes of these frames, in one piece and byte by byte, and where the stream is of no more use.
fn parts(streams: impl Fn() -> Streams<()>, wire: &[u8]) -> Result<Vec<(u32, Part)>, String> {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut streams, mut came) = (streams(), Vec::new());
        for piece in pieces {
            streams.feed(piece);
            while let Some(part) = streams.poll()? {
                came.push(part);
            }
        }
        Ok(came)
    };
    let whole = read(&mut [wire].into_iter());
    let split: Result<Vec<_>, String> = read(&mut wire.chunks(1));
    assert_eq!(whole.as_ref().err(), split.as_ref().err());
    whole
}

#[test]
fn answers_of_many_requests_come_mixed() {
    let streams = || {
        let mut streams = Streams::default();
        assert_eq!(streams.begin(0, Asked::Http, ()), Some(0x1_0000));
        assert_eq!(streams.begin(3, Asked::Http, ()), Some(0x2_0003));
        streams
    };
    let (first, second) = (0x1_0000, 0x2_0003);
    let wire = frames(&[
        (Kind::Head, 0, second, b"103\0Link\0</a>\0"),
        (Kind::Head, 0, first, b"200\0Content-Type\0text/plain\0"),
        (Kind::Head, 0, second, b"204\0"),
        (Kind::Body, 0, first, b"a"),
        (Kind::Body, 0, second, b"dropped"),
        (Kind::End, 0, second, b""),
        (Kind::File, 0, first, &[[1, 0, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]].concat()),
        (Kind::Trailers, 0, first, b"X-Sum\x007\0"),
        (Kind::Free, 0, second, &[0; 4]),
        (Kind::End, 0, first, b""),
        (Kind::Free, 0, first, &[0; 4]),
    ]);
    let came = parts(streams, &wire).unwrap();
    let of =
        |stream| came.iter().filter(move |(of, _)| *of == stream).map(|(_, part)| part).collect::<Vec<_>>();
    let mut sum = Fields::new();
    sum.add("X-Sum", b"7");
    assert!(matches!(of(first)[0], Part::Head(head, BodyLength::Unknown) if head.status.0 == 200));
    assert_eq!(
        of(first)[1..],
        [
            &Part::Body(b"a".to_vec()),
            &Part::File { offset: 1, len: 9 },
            &Part::Trailers(sum),
            &Part::End,
            &Part::Free
        ]
    );
    assert!(matches!(of(second)[0], Part::Interim(head) if head.status.0 == 103));
    assert!(matches!(of(second)[1..], [Part::Head(_, BodyLength::None), Part::End, Part::Free]));
}

#[test]
fn a_websocket_has_messages_and_an_end_of_its_own() {
    let streams = || {
        let mut streams = Streams::default();
        streams.begin(0, Asked::WebSocket, ());
        streams
    };
    let wire = frames(&[
        (Kind::Accept, 0, 0x1_0000, b"chat\0X-A\x001\0"),
        (Kind::Text, frame::MORE, 0x1_0000, b"he"),
        (Kind::Text, 0, 0x1_0000, b"llo"),
        (Kind::Credit, 0, 0x1_0000, &7_u32.to_le_bytes()),
        (Kind::Binary, 0, 0x1_0000, b""),
        (Kind::Close, 0, 0x1_0000, b"\xe8\x03bye"),
        (Kind::End, 0, 0x1_0000, b""),
        (Kind::Free, 0, 0x1_0000, &[0; 4]),
    ]);
    let mut fields = Fields::new();
    fields.add("X-A", b"1");
    let message = |is_text, more, bytes: &[u8]| Part::Message { is_text, more, bytes: bytes.to_vec() };
    let wanted = [
        Part::Accept(b"chat".to_vec(), fields),
        message(true, true, b"he"),
        message(true, false, b"llo"),
        Part::Credit(7),
        message(false, false, b""),
        Part::Close(1000, "bye".to_owned()),
        Part::End,
        Part::Free,
    ];
    let came: Vec<Part> = parts(streams, &wire).unwrap().into_iter().map(|(_, part)| part).collect();
    assert_eq!(came, wanted);
}

#[test]
fn what_fails_breaks_its_own_request_and_what_is_no_protocol_the_stream() {
    let streams = |asked| {
        move || {
            let mut streams = Streams::default();
            streams.begin(0, asked, ());
            streams
        }
    };
    let one = |asked, list: &[(Kind, u8, &[u8])]| {
        let list: Vec<_> =
            list.iter().map(|(kind, flags, payload)| (*kind, *flags, 0x1_0000, *payload)).collect();
        parts(streams(asked), &frames(&list))
            .map(|came| came.into_iter().map(|(_, part)| part).collect::<Vec<_>>())
    };
    let head: (Kind, u8, &[u8]) = (Kind::Head, 0, b"200\0");
    // The request alone.
    let abort = (Kind::End, frame::ABORT, &b""[..]);
    assert_eq!(one(Asked::Http, &[abort]), Ok(vec![Part::Broken(Fault::Failed, None)]));
    let broken = one(Asked::Http, &[head, abort]).unwrap();
    assert!(matches!(broken[1], Part::Broken(Fault::Truncated, Some(_))));
    for bad in [&b"999x\0"[..], b"200\0A\0b\r\nc\0", b"101\0", b"200\0Content-Length\0x\0"] {
        let came = one(
            Asked::Http,
            &[(Kind::Head, 0, bad), (Kind::Body, 0, b"x"), (Kind::End, 0, b""), (Kind::Free, 0, b"")],
        );
        let came = came.unwrap();
        assert!(
            matches!(came[..], [Part::Broken(Fault::Malformed(Flaw::Frame), Some(_)), Part::End, Part::Free]),
            "{came:?}"
        );
    }
    // The whole stream.
    let accept: (Kind, u8, &[u8]) = (Kind::Accept, 0, b"\0");
    for (asked, list) in [
        (Asked::Http, &[(Kind::Body, 0, &b"x"[..])][..]),
        (Asked::Http, &[accept]),
        (Asked::Http, &[head, head]),
        (Asked::Http, &[head, (Kind::Text, 0, b"x")]),
        (Asked::Http, &[head, (Kind::File, 0, b"short")]),
        (Asked::Http, &[head, (Kind::Free, 0, b"")]),
        (Asked::Http, &[head, (Kind::End, 0, b""), (Kind::Body, 0, b"x")]),
        (Asked::WebSocket, &[accept, head]),
        (Asked::WebSocket, &[accept, (Kind::Close, 0, b"x")]),
        (Asked::WebSocket, &[accept, (Kind::Credit, 0, b"x")]),
    ] {
        assert!(one(asked, list).is_err(), "{list:?}");
    }
    let strange = frames(&[(Kind::Head, 0, 7, b"200\0")]);
    assert_eq!(parts(streams(Asked::Http), &strange).unwrap_err(), "a frame of request 7, which is over");
}

#[test]
fn a_number_is_not_given_again_before_its_request_is_over() {
    let mut streams = Streams::default();
    let old = streams.begin(5, Asked::WebSocket, ()).unwrap();
    for _ in 0..u16::MAX {
        let stream = streams.begin(5, Asked::Http, ()).unwrap();
        assert!(stream != old && stream & 0xffff == 5);
        assert!(streams.end(stream));
    }
    assert_eq!(streams.len(), 1);
    for _ in 0..u16::MAX {
        assert!(streams.begin(5, Asked::WebSocket, ()).is_some());
    }
    assert_eq!(streams.begin(5, Asked::Http, ()), None, "all are open");
    assert!(streams.end(old));
    assert_eq!(streams.begin(5, Asked::Http, ()), Some(old));
}

#[test]
fn a_request_is_described_as_its_scope_needs_it() {
    let fields = [
        ("Host", "shop.example"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("X_Forwarded_For", "1"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("Connection", "close"),
        ("Content-Type", "text/plain"),
    ];
    let mut wire = Vec::new();
    request(&fields, |request| ask(0x1_0007, Asked::Http, request, Some(3), Body::Inline(b"abc"), &mut wire));
    let mut reader = Reader::new();
    reader.feed(&wire);
    let first = reader.poll().unwrap().unwrap();
    assert_eq!((first.header.kind, first.header.flags, first.header.stream), (Kind::Request, 0, 0x1_0007));
    let text = String::from_utf8(first.payload).unwrap();
    let wanted = "http|1.1|POST|http|/a/x|/a/x|q=1|||0|shop.example|80|1||\
        content-type|text/plain|content-length|3|host|shop.example|cookie|a=1|cookie|b=2|";
    assert_eq!(text.replace('\0', "|"), wanted);
    let body = reader.poll().unwrap().unwrap();
    assert_eq!((body.header.kind, &*body.payload), (Kind::Body, &b"abc"[..]));
    assert_eq!(reader.poll().unwrap().unwrap().header.kind, Kind::End);
    let mut wire = Vec::new();
    request(&[], |request| {
        let mut request = *request;
        (request.mount, request.origin.scheme) = ("/a", crate::http::Scheme::Https);
        ask(1, Asked::WebSocket, &request, None, Body::None, &mut wire);
    });
    let text = String::from_utf8_lossy(&wire[frame::HEADER..]).into_owned();
    let fields: Vec<&str> = text.split('\0').take(8).collect();
    assert_eq!(fields, ["websocket", "1.1", "POST", "wss", "/a/x", "/a/x", "q=1", "/a"]);
}
