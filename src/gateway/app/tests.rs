use super::*;

fn frames(list: &[(Kind, u8, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    list.iter().for_each(|(kind, flags, payload)| frame::push(&mut wire, *kind, *flags, 3, payload));
    wire
}

fn events(wire: &[u8], eof: bool) -> (Vec<Event>, Response) {
    let mut response = Response::new(3);
    response.feed(wire);
    let mut events: Vec<_> = std::iter::from_fn(|| response.poll()).collect();
    if eof {
        response.eof();
        events.extend(std::iter::from_fn(|| response.poll()));
    }
    (events, response)
}

fn whole(head: &[u8]) -> (Vec<Event>, Response) {
    events(
        &frames(&[
            (Kind::Head, 0, head),
            (Kind::Body, 0, b"hello"),
            (Kind::End, 0, b""),
            (Kind::Free, 0, b""),
        ]),
        false,
    )
}

/// Whether the unit is free and the stream can carry the next request.
fn is_free(response: &Response) -> bool {
    response.stage == Stage::Free && response.reader.is_between() && !response.ended
}

#[test]
fn requests_carry_their_body_or_announce_a_descriptor() {
    let raw = b"POST".to_vec();
    let method = crate::http::Span { start: 0, end: 4 };
    let head = crate::http::RequestHead::new(
        raw,
        method,
        crate::http::Span::default(),
        crate::http::Version::Http10,
        Vec::new(),
    );
    let request = Request {
        path: b"/nul\0",
        raw: b"/nul%00",
        authority: b"a",
        server_name: b"a",
        id: "1",
        ..Request::of(&head)
    };
    for (body, kinds, flags) in [
        (Body::None, &[Kind::Request][..], frame::END),
        (Body::Descriptor, &[Kind::Request][..], frame::FD),
        (Body::Inline(b"body"), &[Kind::Request, Kind::Body, Kind::End][..], 0),
    ] {
        let mut out = b"before".to_vec();
        super::request(9, &request, Some(4), body, &mut out);
        let mut reader = Reader::new();
        reader.feed(out.strip_prefix(b"before").unwrap());
        let frames: Vec<_> = std::iter::from_fn(|| reader.poll().unwrap()).collect();
        assert_eq!(frames.iter().map(|frame| frame.header.kind).collect::<Vec<_>>(), kinds);
        assert!(frames.iter().all(|frame| frame.header.stream == 9) && reader.is_between());
        assert_eq!(frames[0].header.flags, flags);
        let text = frames[0].payload.strip_suffix(b"\0").unwrap();
        let parts: Vec<_> = text.split(|byte| *byte == 0).collect();
        assert_eq!(parts.len() % 2, 0);
        let pairs: Vec<_> = parts.chunks(2).collect();
        assert!(pairs.contains(&&[&b"CONTENT_LENGTH"[..], b"4"][..]));
        assert!(pairs.contains(&&[&b"SERVER_PROTOCOL"[..], b"HTTP/1.0"][..]));
        assert!(!pairs.iter().any(|pair| pair[0] == b"PATH_INFO"), "a NUL would shift every name after it");
    }
    let mut out = Vec::new();
    hello(258, 3, &mut out);
    assert_eq!(out[frame::HEADER..], [1, 0, 0, 0, 2, 1, 3, 0]);
}

#[test]
fn a_response_comes_out_at_every_cut() {
    let wire = frames(&[
        (
            Kind::Head,
            8,
            b"200 OK\0Content-Type\0text/plain\0Set-Cookie\0a=1\0Content-Length\x0015\0Set-Cookie\0b=2\0",
        ),
        (Kind::Body, 0, b"hello"),
        (Kind::File, 0, b"\x07\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0"),
        (Kind::End, 0, b""),
        (Kind::Free, 0, b""),
    ]);
    let head = ResponseHead::new(200)
        .with("Content-Type", "text/plain")
        .with("Set-Cookie", "a=1")
        .with("Set-Cookie", "b=2");
    for cut in 0..=wire.len() {
        let mut response = Response::new(3);
        let mut got = Vec::new();
        for part in [&wire[..cut], &wire[cut..]] {
            assert!(!is_free(&response) || part.is_empty());
            response.feed(part);
            got.extend(std::iter::from_fn(|| response.poll()));
        }
        let body: Vec<u8> = got
            .iter()
            .filter_map(|event| match event {
                Event::Body(bytes) => Some(bytes.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(body, b"hello", "cut at {cut}");
        got.retain(|event| !matches!(event, Event::Body(_)));
        let rest = [
            Event::Head { head: head.clone(), body: BodyLength::Known(15) },
            Event::File { offset: 7, len: 10 },
            Event::End,
            Event::Free,
        ];
        assert_eq!(got, rest, "cut at {cut}");
        assert!(is_free(&response) && !response.is_lost());
    }
}

#[test]
fn heads_an_app_must_not_send_are_refused_and_the_unit_still_comes_free() {
    for head in [
        &b"200 OK\0X-A\0a\r\nSet-Cookie: b=1\0"[..],
        b"200 OK\0X-A\r\nB\0a\0",
        b"200 OK\r\nX: y\0",
        b"200 OK\0X A\0a\0",
        b"200 OK\0\0a\0",
        b"200 OK\0X-A\0",
        b"200 OK\0Content-Length\0-1\0",
        b"200 OK\0Content-Length\0+1\0",
        b"200 OK\0Content-Length\0\0",
        b"200 OK\0Content-Length\x001\0Content-Length\x002\0",
        b"200 OK\0Content-Length\x0099999999999999999999\0",
        b"099 Low\0",
        b"99\0",
        b"1000 High\0",
        b"101 Switching Protocols\0",
        b"OK\0",
        b"200OK\0",
        b"200 OK",
        b"",
    ] {
        let (events, response) = whole(head);
        assert_eq!(
            events,
            [Event::Broken(Fault::Malformed(Flaw::Frame)), Event::Free],
            "{}",
            head.escape_ascii()
        );
        assert!(response.why().is_some_and(|why| !why.contains('\n')));
        assert!(is_free(&response));
    }
}

#[test]
fn fields_of_the_server_are_dropped_and_reasons_kept() {
    let (events, _) = whole(
        b"299 Very Fine\0Connection\0keep-alive\0DATE\0x\0Server\0me\0Transfer-Encoding\0chunked\0X\0 caf\xe9 \0",
    );
    let mut head = ResponseHead::new(299).with("DATE", "x").with("X", b"caf\xe9");
    head.reason = Some(Box::from(&b"Very Fine"[..]));
    assert_eq!(events[0], Event::Head { head, body: BodyLength::Unknown });
    assert_eq!(events[1..], [Event::Body(b"hello".to_vec()), Event::End, Event::Free]);
    let (events, _) = whole(b"204 No Content\0Content-Length\x005\0");
    let head = ResponseHead::new(204);
    assert_eq!(events, [Event::Head { head, body: BodyLength::None }, Event::End, Event::Free]);
}

#[test]
fn an_end_of_the_stream_is_told_by_how_far_it_came() {
    let head: (Kind, u8, &[u8]) = (Kind::Head, 0, b"200 OK\0");
    for (list, fault) in [
        (&[][..], Some(Fault::Closed)),
        (&[head][..], Some(Fault::Truncated)),
        (&[head, (Kind::Body, 0, b"x")][..], Some(Fault::Truncated)),
        (&[head, (Kind::End, 0, b"")][..], None),
        (&[head, (Kind::End, 0, b""), (Kind::Free, 0, b"")][..], None),
    ] {
        let (events, response) = events(&frames(list), true);
        let broken = events.iter().find_map(|event| match event {
            Event::Broken(fault) => Some(*fault),
            _ => None,
        });
        assert_eq!(broken, fault, "{list:?}");
        assert!(response.is_lost() && !is_free(&response));
    }
}

#[test]
fn a_response_that_broke_off_frees_its_unit() {
    let wire = frames(&[
        (Kind::Head, 0, b"200 OK\0"),
        (Kind::Body, 0, b"x"),
        (Kind::End, frame::ABORT, b""),
        (Kind::Free, 0, b""),
    ]);
    let (events, response) = events(&wire, false);
    assert_eq!(events[1..], [Event::Body(b"x".to_vec()), Event::Broken(Fault::Truncated), Event::Free]);
    assert!(is_free(&response));
}

#[test]
fn an_app_that_raises_before_its_head_frees_its_unit() {
    for (flags, fault) in [(frame::ABORT, Fault::Failed), (0, Fault::Malformed(Flaw::Frame))] {
        let (events, response) = events(&frames(&[(Kind::End, flags, b""), (Kind::Free, 0, b"")]), false);
        assert_eq!(events, [Event::Broken(fault), Event::Free]);
        assert!(is_free(&response));
    }
}

#[test]
fn what_is_not_the_protocol_loses_the_stream() {
    let head: (Kind, u8, &[u8]) = (Kind::Head, 0, b"200 OK\0");
    for list in [
        &[(Kind::Body, 0, &b"x"[..])][..],
        &[(Kind::Free, 0, &b""[..])][..],
        &[head, head][..],
        &[head, (Kind::Free, 0, b"")][..],
        &[head, (Kind::File, 0, b"short")][..],
        &[head, (Kind::File, 0, b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0")][..],
        &[(Kind::Request, 0, &b""[..])][..],
    ] {
        let (events, response) = events(&frames(list), false);
        assert_eq!(events.last(), Some(&Event::Broken(Fault::Malformed(Flaw::Frame))), "{list:?}");
        assert!(response.is_lost());
    }
    let mut response = Response::new(4);
    response.feed(&frames(&[head]));
    assert_eq!(response.poll(), Some(Event::Broken(Fault::Malformed(Flaw::Frame))));
    let (_, mut response) = whole(b"200 OK\0");
    response.feed(b"more");
    assert!(!is_free(&response));
}

#[test]
fn heads_before_the_final_one_are_counted() {
    let hint = b"103\0Link\0</a>\0";
    for (hints, fault) in [(INTERIMS_MAX, None), (INTERIMS_MAX + 1, Some(Fault::Malformed(Flaw::Interims)))] {
        let mut list: Vec<(Kind, u8, &[u8])> = vec![(Kind::Head, 0, hint); usize::from(hints)];
        list.extend([(Kind::Head, 0, &b"200 OK\0"[..]), (Kind::End, 0, b""), (Kind::Free, 0, b"")]);
        let (events, response) = events(&frames(&list), false);
        let interim =
            events.iter().filter(|event| matches!(event, Event::Interim(head) if head.status.0 == 103));
        assert_eq!(interim.count(), usize::from(INTERIMS_MAX), "{hints}");
        let broken = events.iter().find_map(|event| match event {
            Event::Broken(fault) => Some(*fault),
            _ => None,
        });
        assert_eq!(broken, fault, "{hints}");
        assert!(is_free(&response), "{hints}");
    }
}

#[test]
fn who_has_no_response_may_say_what_is_to_be_answered() {
    let told = |payload: &[u8]| {
        let (mut wire, mut response) = (Vec::new(), Response::new(7));
        frame::push(&mut wire, Kind::End, frame::ABORT, 7, payload);
        response.feed(&wire);
        match response.poll() {
            Some(Event::Broken(fault)) => fault.row().status,
            other => panic!("{other:?}"),
        }
    };
    for status in [403, 404, 414, 431, 500, 502, 503, 504_u16] {
        assert_eq!(told(&status.to_le_bytes()), status);
    }
    for payload in [&b""[..], b"x", b"long", &200_u16.to_le_bytes(), &101_u16.to_le_bytes()] {
        assert_eq!(told(payload), 500, "{payload:?}");
    }
}
