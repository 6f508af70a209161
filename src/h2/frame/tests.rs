use super::*;

/// What came of a stream of frames that follow the preface, fed in these pieces; DATA as one for each frame.
fn read(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = Reader::default();
    let (mut told, mut data) = (Vec::new(), (Vec::new(), 0));
    for piece in [&[PREFACE][..], pieces].concat() {
        let mut rest = piece;
        loop {
            let (used, frame) = reader.next(rest);
            rest = &rest[used..];
            match frame {
                None => break assert!(rest.is_empty(), "left over"),
                Some(Ok(Frame::Data { stream, data: bytes, counted, empty, end, .. })) => {
                    data.0.extend_from_slice(bytes);
                    data.1 += counted;
                    if !matches!(reader.state, State::Data { .. }) {
                        let text = data.0.escape_ascii().to_string();
                        told.push(format!("DATA {stream} {text} {} {empty} {end}", data.1));
                        data = (Vec::new(), 0);
                    }
                }
                Some(Ok(frame)) => told.push(format!("{frame:?}")),
                Some(Err(Error { stream, code, .. })) => {
                    told.push(format!("{code:?} {stream}"));
                    if stream == 0 {
                        return told;
                    }
                }
            }
        }
    }
    told
}

/// A frame written by hand.
fn raw(kind: u8, flags: u8, stream: StreamId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_head(payload.len(), kind, flags, stream, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn frames_are_the_same_whatever_the_cuts() {
    let mut bytes = raw(SETTINGS, 0, 0, b"\0\x04\0\0\0\x05");
    bytes.extend(raw(SETTINGS, ACK, 0, b""));
    bytes.extend(raw(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x02\0\0\0\0\x10block\0\0"));
    bytes.extend(raw(HEADERS, END_STREAM, 0x8000_0003, b"block"));
    bytes.extend(raw(CONTINUATION, END_HEADERS, 3, b""));
    bytes.extend(raw(DATA, 0, 1, b"body"));
    bytes.extend(raw(DATA, PADDED | END_STREAM, 1, b"\x03body\0\0\0"));
    bytes.extend(raw(DATA, PADDED, 1, b"\x00"));
    bytes.extend(raw(DATA, PADDED, 1, b"\x02\0\0"));
    bytes.extend(raw(DATA, END_STREAM, 1, b""));
    bytes.extend(raw(RST_STREAM, 0, 1, b"\0\0\0\x08"));
    bytes.extend(raw(PRIORITY, 0, 1, b"12345"));
    bytes.extend(raw(PRIORITY, 0, 1, b"1234"));
    bytes.extend(raw(PING, ACK, 0, b"12345678"));
    bytes.extend(raw(WINDOW_UPDATE, 0, 5, b"\x80\0\0\x07"));
    bytes.extend(raw(PRIORITY_UPDATE, 0, 0, b"\x80\0\0\x07u=1"));
    bytes.extend(raw(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0why"));
    bytes.extend(raw(0xbe, 0xff, 9, b"extension"));
    let whole = read(&[&bytes]);
    assert_eq!(
        whole,
        [
            "Settings { values: [0, 4, 0, 0, 0, 5] }",
            "SettingsAck",
            "Headers { stream: 1, block: [98, 108, 111, 99, 107], end_stream: false, end_headers: true }",
            "Headers { stream: 3, block: [98, 108, 111, 99, 107], end_stream: true, end_headers: false }",
            "Continuation { stream: 3, block: [], end_headers: true }",
            "DATA 1 body 4 false false",
            "DATA 1 body 8 false true",
            "DATA 1  1 true false",
            "DATA 1  3 true false",
            "DATA 1  0 true true",
            "Reset { stream: 1 }",
            "Other",
            "FrameSize 1",
            "Ping { opaque: [49, 50, 51, 52, 53, 54, 55, 56], ack: true }",
            "WindowUpdate { stream: 5, increment: 7 }",
            "PriorityUpdate { stream: 7, value: [117, 61, 49] }",
            "Other",
            "Other",
        ]
    );
    for size in 1..bytes.len() {
        assert_eq!(read(&bytes.chunks(size).collect::<Vec<_>>()), whole, "{size}");
    }
}

#[test]
fn what_no_frame_may_be() {
    for (kind, flags, stream, payload, code) in [
        (DATA, 0, 0, &b"x"[..], "Protocol 0"),
        (DATA, PADDED, 1, b"", "FrameSize 0"),
        (DATA, PADDED, 1, b"\x04123", "Protocol 0"),
        (HEADERS, 0, 0, b"x", "Protocol 0"),
        (HEADERS, PADDED, 1, b"", "FrameSize 0"),
        (HEADERS, PADDED, 1, b"\x041234", "Headers"),
        (HEADERS, PADDED, 1, b"\x05123", "Protocol 0"),
        (HEADERS, WITH_PRIORITY, 1, b"1234", "FrameSize 0"),
        (PRIORITY, 0, 0, b"12345", "Protocol 0"),
        (RST_STREAM, 0, 0, b"1234", "Protocol 0"),
        (RST_STREAM, 0, 1, b"12345", "FrameSize 0"),
        (SETTINGS, 0, 1, b"", "Protocol 0"),
        (SETTINGS, 0, 0, b"12345", "FrameSize 0"),
        (SETTINGS, ACK, 0, b"123456", "FrameSize 0"),
        (PUSH_PROMISE, 0, 1, b"1234", "Protocol 0"),
        (PING, 0, 1, b"12345678", "Protocol 0"),
        (PING, 0, 0, b"1234567", "FrameSize 0"),
        (GOAWAY, 0, 1, b"12345678", "Protocol 0"),
        (GOAWAY, 0, 0, b"1234567", "FrameSize 0"),
        (WINDOW_UPDATE, 0, 0, b"123", "FrameSize 0"),
        (CONTINUATION, 0, 0, b"", "Protocol 0"),
        (PRIORITY_UPDATE, 0, 1, b"\0\0\0\x01", "Protocol 0"),
        (PRIORITY_UPDATE, 0, 0, b"\0\0\x01", "FrameSize 0"),
        (PRIORITY_UPDATE, 0, 0, b"\0\0\0\0u=1", "Protocol 0"),
        (0xbe, 0, 0, &[0; PAYLOAD_MAX + 1], "FrameSize 0"),
    ] {
        let told = read(&[&raw(kind, flags, stream, payload)]);
        assert!(told.len() == 1 && told[0].starts_with(code), "{kind} {flags} {payload:?}: {told:?}");
    }
    let mut reader = Reader::default();
    let (_, frame) = reader.next(b"GET / HTTP/1.1\r\n");
    assert!(matches!(frame, Some(Err(Error { code: Code::Protocol, .. }))));
}

#[test]
fn a_block_that_is_too_long_for_a_frame_goes_on_in_others() {
    for length in [0, 1, PAYLOAD_MAX, PAYLOAD_MAX + 1, 3 * PAYLOAD_MAX] {
        let block: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut bytes = b"before".to_vec();
        write_headers(7, true, &mut bytes, |out| out.extend_from_slice(&block));
        let mut reader = Reader { state: State::Head, ..Reader::default() };
        let (mut rest, mut read, mut ended) = (bytes.strip_prefix(b"before").unwrap(), Vec::new(), false);
        while !rest.is_empty() {
            assert!(!ended, "frames behind the end of the block");
            let (used, frame) = reader.next(rest);
            rest = &rest[used..];
            match frame.unwrap().unwrap() {
                Frame::Headers { stream: 7, block, end_stream: true, end_headers } if read.is_empty() => {
                    read.extend_from_slice(block);
                    ended = end_headers;
                }
                Frame::Continuation { stream: 7, block, end_headers } if !read.is_empty() => {
                    read.extend_from_slice(block);
                    ended = end_headers;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(ended && read == block, "{length}");
    }
}

#[test]
fn memory_is_kept_only_within_a_frame() {
    let mut reader = Reader { state: State::Head, ..Reader::default() };
    let ping = raw(PING, 0, 0, b"12345678");
    reader.next(&ping[..12]);
    assert!(reader.kept.capacity() > 0);
    assert!(matches!(reader.next(&ping[12..]), (5, Some(Ok(Frame::Ping { .. })))));
    assert_eq!(reader.next(&[]), (0, None));
    assert_eq!(reader.kept.capacity(), 0);
}
