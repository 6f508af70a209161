//! What a client may not do in HTTP/2, each with what must come of it; and beside it what looks odd and is allowed. Every
//! MUST of RFC 9113, 9218 and 7541 that a server can check.

#![allow(clippy::too_many_lines, reason = "they are rows")]

use crate::harness::http2::*;

/// What must come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The connection ends with this code.
    GoAway(u32),
    /// A stream is reset with this code, and the connection goes on.
    Reset(u32, u32),
    /// Stream 1 is answered with this status, then reset with this code, and the connection goes on.
    Refused(u16, u32),
    /// Stream 1 is answered with this status, and the connection goes on.
    Status(u16),
    /// Nothing, and the connection goes on.
    Nothing,
}

use Expected::{GoAway, Nothing, Refused, Reset, Status};

/// What is sent, and waited for.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Vec<u8>),
    /// Until the response on this stream is complete.
    Answered(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) what: String,
    /// It begins with what stands for the preface; else preface and settings were exchanged before.
    pub(super) bare: bool,
    pub(super) steps: Vec<Step>,
    pub(super) expected: Expected,
}

/// Streams that may be open at once, in the configuration that the cases are run with.
pub(super) const STREAMS: u32 = 8;

struct Table(Vec<Case>);

impl Table {
    fn steps(&mut self, what: &str, steps: Vec<Step>, expected: Expected) {
        self.0.push(Case { what: what.to_owned(), bare: false, steps, expected });
    }

    fn row<const N: usize>(&mut self, what: &str, frames: [Vec<u8>; N], expected: Expected) {
        self.steps(what, vec![Step::Send(frames.concat())], expected);
    }

    fn bare<const N: usize>(&mut self, what: &str, frames: [Vec<u8>; N], expected: Expected) {
        self.row(what, frames, expected);
        self.0.last_mut().unwrap().bare = true;
    }

    /// A request for `/` with these fields in the place of those of a GET that have their names, and behind the others.
    fn fields(&mut self, what: &str, fields: &[(&str, &str)], expected: Expected) {
        self.row(what, [headers(1, END_STREAM, &with(fields))], expected);
    }
}

/// The fields of a GET, but for those that are named; then these.
fn with<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = asks("GET", "/");
    all.retain(|(name, _)| !fields.iter().any(|(other, _)| other == name));
    // Pseudo-header fields stand before others.
    let at = all.len();
    for (name, value) in fields {
        if name.starts_with(':') {
            all.insert(at.min(all.len()), (name, value))
        } else {
            all.push((name, value))
        }
    }
    all
}

/// A GET without the pseudo-header field of that name.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    asks("GET", "/").into_iter().filter(|(have, _)| *have != name).collect()
}

/// A POST that an upstream reads, open for its body.
fn post(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    headers(stream, 0, &[&asks("POST", "/up/")[..], fields].concat())
}

fn data(stream: u32, flags: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

/// HEADERS of stream 1 with a block as it is, behind that of a GET.
fn raw_block(bytes: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, [&block(&asks("GET", "/"))[..], bytes].concat())
}

/// A GET of stream 1 in HEADERS without END_HEADERS, and the rest of its block.
fn begun() -> (Vec<u8>, Vec<u8>) {
    let block = block(&asks("GET", "/"));
    let (begin, rest) = block.split_at(10);
    (frame(HEADERS, END_STREAM, 1, begin), rest.to_vec())
}

static BIG: [u8; 16_385] = [0; 16_385];
const MOST: u32 = (1 << 31) - 1;

pub(super) fn cases() -> Vec<Case> {
    let mut table = Table(Vec::new());
    beginnings(&mut table);
    frames(&mut table);
    blocks(&mut table);
    states(&mut table);
    connection_frames(&mut table);
    windows(&mut table);
    requests(&mut table);
    bodies(&mut table);
    priorities(&mut table);
    table.0
}

fn beginnings(table: &mut Table) {
    let preface = || PREFACE.to_vec();
    let wrong = |bytes: &[u8]| bytes.to_vec();
    table.bare(
        "3.4: PING in the place of SETTINGS",
        [preface(), frame(PING, 0, 0, [0; 8])],
        GoAway(PROTOCOL_ERROR),
    );
    table.bare("3.4: a request in the place of SETTINGS", [preface(), get(1, "/")], GoAway(PROTOCOL_ERROR));
    table.bare(
        "3.4: an acknowledgement in the place of SETTINGS",
        [preface(), frame(SETTINGS, ACK, 0, "")],
        GoAway(PROTOCOL_ERROR),
    );
    table.bare(
        "3.4: an unknown frame in the place of SETTINGS",
        [preface(), frame(0x42, 0, 0, "")],
        GoAway(PROTOCOL_ERROR),
    );
    table.bare("3.4: the preface twice", [preface(), preface(), settings(&[])], GoAway(FRAME_SIZE_ERROR));
    table.bare(
        "3.4: SETTINGS of 5 bytes first",
        [preface(), frame(SETTINGS, 0, 0, [0; 5])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.bare(
        "3.4: SETTINGS on a stream first",
        [preface(), frame(SETTINGS, 0, 1, "")],
        GoAway(PROTOCOL_ERROR),
    );
    table.bare(
        "3.4: a request right behind empty SETTINGS",
        [wrong(PREFACE), settings(&[]), get(1, "/")],
        Status(200),
    );
}

fn frames(table: &mut Table) {
    let reserved = |mut frame: Vec<u8>| {
        frame[5] |= 0x80;
        frame
    };
    table.row("4.1: the reserved bit is ignored", [reserved(get(1, "/"))], Status(200));
    table.row(
        "4.1: the reserved bit is ignored on the connection",
        [reserved(frame(PING, 0, 0, [0; 8]))],
        Nothing,
    );
    table.row(
        "4.1: unused flags of HEADERS are ignored",
        [headers(1, END_STREAM | 0xd2, &asks("GET", "/"))],
        Status(200),
    );
    table.row(
        "4.1: unused flags of DATA are ignored",
        [post(1, &[]), data(1, END_STREAM | 0xf6, "x")],
        Status(200),
    );
    table.row("4.1: unused flags of SETTINGS are ignored", [frame(SETTINGS, 0xfe, 0, "")], Nothing);
    table.row("4.1: unused flags of PING are ignored", [frame(PING, 0xfe, 0, [0; 8])], Nothing);
    table.row(
        "4.1: unused flags of WINDOW_UPDATE are ignored",
        [frame(WINDOW_UPDATE, 0xff, 0, 1_u32.to_be_bytes())],
        Nothing,
    );
    table.row(
        "4.1: unused flags of RST_STREAM are ignored",
        [get(1, "/"), frame(RST_STREAM, 0xff, 1, [0; 4])],
        Nothing,
    );

    table.row("4.1: unknown frames are ignored", [frame(0xff, 0xff, 0, [7; 100])], Nothing);
    table.row(
        "4.1: unknown frames of an idle stream are ignored",
        [frame(0xff, 0xff, 99, [7; 100])],
        Nothing,
    );
    table.row(
        "4.1: unknown frames of an open stream are ignored",
        [post(1, &[]), frame(0x0b, 1, 1, "x"), data(1, END_STREAM, "")],
        Status(200),
    );
    table.row("4.1: unknown frames of the largest size are ignored", [frame(0xfe, 0, 0, &BIG[1..])], Nothing);

    table.row("4.2: DATA above the largest size", [post(1, &[]), data(1, 0, BIG)], GoAway(FRAME_SIZE_ERROR));
    table.row("4.2: DATA of the largest size", [post(1, &[]), data(1, END_STREAM, &BIG[1..])], Status(200));
    table.row(
        "4.2: HEADERS above the largest size",
        [frame(HEADERS, END_HEADERS, 1, BIG)],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row(
        "4.2: CONTINUATION above the largest size",
        [begun().0, frame(CONTINUATION, 0, 1, BIG)],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row(
        "4.2: SETTINGS above the largest size",
        [frame(SETTINGS, 0, 0, [0; 16_386])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row("4.2: GOAWAY above the largest size", [frame(GOAWAY, 0, 0, BIG)], GoAway(FRAME_SIZE_ERROR));
    table.row(
        "4.2: an unknown frame above the largest size",
        [frame(0xff, 0, 0, BIG)],
        GoAway(FRAME_SIZE_ERROR),
    );
}

/// RFC 9113 §4.3 and §6.10, RFC 7541.
fn blocks(table: &mut Table) {
    let (begin, rest) = begun();
    let end = || frame(CONTINUATION, END_HEADERS, 1, &rest);
    for (what, between) in [
        ("DATA", data(1, 0, "x")),
        ("HEADERS of another stream", get(3, "/")),
        ("HEADERS of the same stream", get(1, "/")),
        ("PRIORITY", frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])),
        ("RST_STREAM", reset(1, CANCEL)),
        ("SETTINGS", settings(&[])),
        ("an acknowledgement of SETTINGS", frame(SETTINGS, ACK, 0, "")),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])),
        ("PING", frame(PING, 0, 0, [0; 8])),
        ("GOAWAY", frame(GOAWAY, 0, 0, [0; 8])),
        ("WINDOW_UPDATE", window_update(0, 1)),
        ("CONTINUATION of another stream", frame(CONTINUATION, END_HEADERS, 3, &rest)),
        ("an unknown frame", frame(0xff, 0, 0, "")),
    ] {
        table.row(
            &format!("4.3: {what} within a block"),
            [begin.clone(), between, end()],
            GoAway(PROTOCOL_ERROR),
        );
    }
    table.row(
        "6.10: CONTINUATION without HEADERS",
        [frame(CONTINUATION, END_HEADERS, 1, &rest)],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.10: CONTINUATION on stream 0",
        [begin.clone(), frame(CONTINUATION, END_HEADERS, 0, &rest)],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.10: CONTINUATION behind END_HEADERS",
        [get(1, "/"), frame(CONTINUATION, END_HEADERS, 1, "")],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.10: CONTINUATION behind DATA",
        [post(1, &[]), data(1, 0, "x"), frame(CONTINUATION, END_HEADERS, 1, "")],
        GoAway(PROTOCOL_ERROR),
    );
    table.row("6.10: a block in two frames", [begin.clone(), end()], Status(200));
    table.row(
        "6.10: an empty CONTINUATION",
        [begin.clone(), frame(CONTINUATION, 0, 1, ""), end()],
        Status(200),
    );
    let pieces: Vec<u8> = rest.iter().flat_map(|byte| frame(CONTINUATION, 0, 1, [*byte])).collect();
    table.row(
        "6.10: a block byte by byte",
        [begin.clone(), pieces, frame(CONTINUATION, END_HEADERS, 1, "")],
        Status(200),
    );
    table.row(
        "6.10: HEADERS without a byte of the block",
        [frame(HEADERS, END_STREAM, 1, ""), frame(CONTINUATION, END_HEADERS, 1, block(&asks("GET", "/")))],
        Status(200),
    );

    for (what, bytes) in [
        ("6.1: index 0", &[0x80][..]),
        ("2.3.3: an index behind both tables", &[0xbe]),
        ("2.3.3: the index of a name behind both tables", &[0x7f, 0x00, 0x01, b'x']),
        ("5.1: an integer without end", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("5.1: an integer above 32 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("5.2: a name that breaks off", &[0x00, 0x05, b'a']),
        ("5.2: a value that breaks off", &[0x00, 0x01, b'a', 0x05, b'b']),
        ("5.2: a name without a value", &[0x00, 0x01, b'a']),
        ("5.2: padding of eight bits", &[0x00, 0x01, b'a', 0x82, 0x1f, 0xff]),
        ("5.2: padding that is not of ones", &[0x00, 0x01, b'a', 0x81, 0x18]),
        ("5.2: the end of strings in a string", &[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ("4.2: a size of the table behind a field", &[0x20]),
    ] {
        table.row(&format!("RFC 7541 {what}"), [raw_block(bytes)], GoAway(COMPRESSION_ERROR));
    }
    let sized = |sizes: &[u8]| {
        frame(HEADERS, END_STREAM | END_HEADERS, 1, [sizes, &block(&asks("GET", "/"))].concat())
    };
    table.row(
        "RFC 7541 6.3: a size of the table above ours",
        [sized(&[0x3f, 0xe2, 0x1f])],
        GoAway(COMPRESSION_ERROR),
    );
    table.row("RFC 7541 6.3: sizes of the table", [sized(&[0x20, 0x3f, 0xe1, 0x1f])], Status(200));
    table.row(
        "4.3: a block that is none for a stream that was reset",
        [post(1, &[]), reset(1, CANCEL), frame(HEADERS, END_HEADERS | END_STREAM, 1, [0x80])],
        GoAway(COMPRESSION_ERROR),
    );
    table.row(
        "4.3: a block that is none in trailers",
        [post(1, &[]), frame(HEADERS, END_HEADERS | END_STREAM, 1, [0xbe])],
        GoAway(COMPRESSION_ERROR),
    );
    let mut refused: Vec<u8> = (0..STREAMS).flat_map(|nth| post(2 * nth + 1, &[])).collect();
    refused.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * STREAMS + 1, [0x80]));
    table.row("4.3: a block that is none for a stream that is refused", [refused], GoAway(COMPRESSION_ERROR));
    // The table of a block that is refused counts for the next one.
    let kept = |stream, bytes: &[u8]| {
        frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            [&block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")])[..], bytes].concat(),
        )
    };
    table.row(
        "RFC 7541 2.2: an entry of a malformed request",
        [kept(3, b"\x40\x01A\x01b\x41\x01a"), kept(5, &[0xbe])],
        Reset(3, PROTOCOL_ERROR),
    );
}

/// RFC 9113 §5.1.
fn states(table: &mut Table) {
    for (what, idle) in
        [("DATA", data(1, 0, "x")), ("RST_STREAM", reset(1, CANCEL)), ("WINDOW_UPDATE", window_update(1, 1))]
    {
        table.row(&format!("5.1: {what} on an idle stream"), [idle], GoAway(PROTOCOL_ERROR));
    }
    table.row(
        "5.1: DATA on an idle stream above others",
        [get(1, "/"), data(3, 0, "x")],
        GoAway(PROTOCOL_ERROR),
    );
    table.row("5.1: PRIORITY on an idle stream", [frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])], Nothing);

    // Half-closed: an upstream that does not answer keeps it so.
    let waiting = || headers(1, END_STREAM, &asks("GET", "/wait/"));
    table.row("5.1: DATA behind END_STREAM", [waiting(), data(1, 0, "x")], Reset(1, STREAM_CLOSED));
    table.row(
        "5.1: HEADERS behind END_STREAM",
        [waiting(), headers(1, END_STREAM, &[("a", "b")])],
        Reset(1, STREAM_CLOSED),
    );
    table.row(
        "5.1: DATA behind the END_STREAM of DATA",
        [headers(1, 0, &asks("POST", "/wait/")), data(1, END_STREAM, "x"), data(1, 0, "y")],
        Reset(1, STREAM_CLOSED),
    );
    table.row(
        "5.1: DATA behind trailers",
        [headers(1, 0, &asks("POST", "/wait/")), headers(1, END_STREAM, &[("a", "b")]), data(1, 0, "y")],
        Reset(1, STREAM_CLOSED),
    );
    table.row(
        "5.1: WINDOW_UPDATE behind END_STREAM",
        [headers(1, END_STREAM, &asks("GET", "/up/")), window_update(1, 1)],
        Status(200),
    );
    table.row(
        "5.1: PRIORITY behind END_STREAM",
        [headers(1, END_STREAM, &asks("GET", "/up/")), frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])],
        Status(200),
    );
    table.row("5.1: RST_STREAM behind END_STREAM", [waiting(), reset(1, CANCEL)], Nothing);

    // Closed: the response was complete.
    let closed = |table: &mut Table, what: &str, behind: Vec<u8>, expected| {
        let steps = vec![Step::Send(get(1, "/")), Step::Answered(1), Step::Send(behind)];
        table.steps(&format!("5.1: {what} on a closed stream"), steps, expected);
    };
    closed(table, "DATA", data(1, 0, "x"), GoAway(STREAM_CLOSED));
    closed(table, "HEADERS", headers(1, END_STREAM, &[("a", "b")]), GoAway(STREAM_CLOSED));
    closed(table, "a request", get(1, "/"), GoAway(STREAM_CLOSED));
    closed(table, "WINDOW_UPDATE", window_update(1, 1), Status(200));
    closed(table, "RST_STREAM", reset(1, NO_ERROR), Status(200));
    closed(table, "PRIORITY", frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1]), Status(200));
    closed(
        table,
        "PRIORITY_UPDATE",
        frame(PRIORITY_UPDATE, 0, 0, [0, 0, 0, 1, b'u', b'=', b'1']),
        Status(200),
    );

    table.row(
        "5.1: HEADERS behind RST_STREAM of the client",
        [waiting(), reset(1, CANCEL), headers(1, END_STREAM, &[("a", "b")])],
        GoAway(STREAM_CLOSED),
    );
    table.row(
        "5.1: DATA behind RST_STREAM of the client",
        [post(1, &[]), reset(1, CANCEL), data(1, 0, "x")],
        GoAway(STREAM_CLOSED),
    );
    table.row("5.1: RST_STREAM twice", [waiting(), reset(1, CANCEL), reset(1, CANCEL)], Nothing);
    // What was on its way when we reset is borne.
    table.row(
        "5.1: DATA behind our RST_STREAM",
        [post(1, &[("Bad", "x")]), data(1, 0, "x"), data(1, END_STREAM, "y")],
        Refused(400, PROTOCOL_ERROR),
    );
    table.row(
        "5.1: trailers behind our RST_STREAM",
        [post(1, &[("Bad", "x")]), headers(1, END_STREAM, &[("a", "b")])],
        Refused(400, PROTOCOL_ERROR),
    );

    table.row("5.1.1: a stream with an even number", [get(2, "/")], GoAway(PROTOCOL_ERROR));
    table.row("5.1.1: a stream below another one", [get(5, "/"), get(3, "/")], GoAway(STREAM_CLOSED));
    table.row("5.1.1: streams with gaps", [get(1, "/"), get(9, "/up/"), get(77, "/")], Status(200));

    let full: Vec<u8> = (0..=STREAMS).flat_map(|nth| post(2 * nth + 1, &[])).collect();
    let close: Vec<u8> = (0..STREAMS).flat_map(|nth| reset(2 * nth + 1, CANCEL)).collect();
    table.row("5.1.2: one stream too many", [full, close], Reset(2 * STREAMS + 1, REFUSED_STREAM));
    let reused: Vec<u8> = (0..2 * STREAMS)
        .flat_map(|nth| [post(2 * nth + 1, &[]), reset(2 * nth + 1, CANCEL)].concat())
        .collect();
    table.row("5.1.2: streams that were reset do not count", [reused], Nothing);
}

/// RFC 9113 §6.4 to §6.8.
fn connection_frames(table: &mut Table) {
    table.row("6.4: RST_STREAM on stream 0", [reset(0, CANCEL)], GoAway(PROTOCOL_ERROR));
    table.row(
        "6.4: RST_STREAM of 3 bytes",
        [post(1, &[]), frame(RST_STREAM, 0, 1, [0; 3])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row(
        "6.4: RST_STREAM of 5 bytes",
        [post(1, &[]), frame(RST_STREAM, 0, 1, [0; 5])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row("7: RST_STREAM with an unknown code", [post(1, &[]), reset(1, 0xdead_beef)], Nothing);

    table.row("6.5: SETTINGS on a stream", [frame(SETTINGS, 0, 1, "")], GoAway(PROTOCOL_ERROR));
    table.row("6.5: an acknowledgement on a stream", [frame(SETTINGS, ACK, 1, "")], GoAway(PROTOCOL_ERROR));
    table.row(
        "6.5: an acknowledgement with values",
        [frame(SETTINGS, ACK, 0, [0, 3, 0, 0, 0, 1])],
        GoAway(FRAME_SIZE_ERROR),
    );
    for length in [1, 5, 7, 8] {
        table.row(
            &format!("6.5: SETTINGS of {length} bytes"),
            [frame(SETTINGS, 0, 0, &BIG[..length])],
            GoAway(FRAME_SIZE_ERROR),
        );
    }
    table.row("6.5: an acknowledgement nobody asked for", [frame(SETTINGS, ACK, 0, "")], Nothing);
    for (what, id, value, code) in [
        ("ENABLE_PUSH of 2", ENABLE_PUSH, 2, PROTOCOL_ERROR),
        ("ENABLE_PUSH of the largest number", ENABLE_PUSH, u32::MAX, PROTOCOL_ERROR),
        ("INITIAL_WINDOW_SIZE of 2^31", INITIAL_WINDOW_SIZE, MOST + 1, FLOW_CONTROL_ERROR),
        ("INITIAL_WINDOW_SIZE of 2^32 - 1", INITIAL_WINDOW_SIZE, u32::MAX, FLOW_CONTROL_ERROR),
        ("MAX_FRAME_SIZE of 0", MAX_FRAME_SIZE, 0, PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE of 2^14 - 1", MAX_FRAME_SIZE, 16_383, PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE of 2^24", MAX_FRAME_SIZE, 1 << 24, PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE of 2^32 - 1", MAX_FRAME_SIZE, u32::MAX, PROTOCOL_ERROR),
    ] {
        table.row(&format!("6.5.2: {what}"), [settings(&[(id, value)])], GoAway(code));
    }
    for (what, values) in [
        (
            "6.5.2: the lowest values",
            &[
                (HEADER_TABLE_SIZE, 0),
                (ENABLE_PUSH, 0),
                (MAX_CONCURRENT_STREAMS, 0),
                (MAX_FRAME_SIZE, 16_384),
                (MAX_HEADER_LIST_SIZE, 0),
            ][..],
        ),
        (
            "6.5.2: the highest values",
            &[
                (HEADER_TABLE_SIZE, u32::MAX),
                (ENABLE_PUSH, 1),
                (MAX_CONCURRENT_STREAMS, u32::MAX),
                (INITIAL_WINDOW_SIZE, MOST),
                (MAX_FRAME_SIZE, (1 << 24) - 1),
                (MAX_HEADER_LIST_SIZE, u32::MAX),
            ],
        ),
        ("6.5.2: unknown settings", &[(0, 1), (0x7777, 2), (0xffff, u32::MAX)]),
        ("6.5.3: a value that another follows", &[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 65_535)]),
    ] {
        table.row(what, [settings(values), get(1, "/")], Status(200));
    }
    table.row("RFC 9218 2.1: NO_RFC7540_PRIORITIES of 2", [settings(&[(9, 2)])], GoAway(PROTOCOL_ERROR));

    table.row(
        "8.4: PUSH_PROMISE of a client",
        [frame(PUSH_PROMISE, END_HEADERS, 1, [&[0, 0, 0, 2][..], &block(&asks("GET", "/"))].concat())],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "8.4: PUSH_PROMISE on an open stream",
        [post(1, &[]), frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])],
        GoAway(PROTOCOL_ERROR),
    );

    table.row("6.7: PING on a stream", [frame(PING, 0, 1, [0; 8])], GoAway(PROTOCOL_ERROR));
    for length in [0, 7, 9] {
        table.row(
            &format!("6.7: PING of {length} bytes"),
            [frame(PING, 0, 0, &BIG[..length])],
            GoAway(FRAME_SIZE_ERROR),
        );
    }
    table.row("6.7: an acknowledgement of 7 bytes", [frame(PING, ACK, 0, [0; 7])], GoAway(FRAME_SIZE_ERROR));
    table.row("6.7: an acknowledgement nobody asked for", [frame(PING, ACK, 0, [0; 8])], Nothing);

    table.row("6.8: GOAWAY on a stream", [frame(GOAWAY, 0, 1, [0; 8])], GoAway(PROTOCOL_ERROR));
    table.row("6.8: GOAWAY of 7 bytes", [frame(GOAWAY, 0, 0, [0; 7])], GoAway(FRAME_SIZE_ERROR));
    table.row(
        "6.8: a request behind GOAWAY",
        [frame(GOAWAY, 0, 0, [&[0; 8][..], b"bye"].concat()), get(1, "/")],
        Status(200),
    );
    table.row(
        "7: GOAWAY with an unknown code",
        [frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])],
        Nothing,
    );
}

/// RFC 9113 §6.9.
fn windows(table: &mut Table) {
    let waiting = || headers(1, END_STREAM, &asks("GET", "/wait/"));
    for length in [0, 3, 5] {
        table.row(
            &format!("6.9: WINDOW_UPDATE of {length} bytes"),
            [frame(WINDOW_UPDATE, 0, 0, &BIG[..length])],
            GoAway(FRAME_SIZE_ERROR),
        );
        table.row(
            &format!("6.9: WINDOW_UPDATE of {length} bytes on a stream"),
            [waiting(), frame(WINDOW_UPDATE, 0, 1, &BIG[..length])],
            GoAway(FRAME_SIZE_ERROR),
        );
    }
    table.row("6.9: an increment of 0", [window_update(0, 0)], GoAway(PROTOCOL_ERROR));
    table.row(
        "6.9: an increment of 0 on a stream",
        [waiting(), window_update(1, 0)],
        Reset(1, PROTOCOL_ERROR),
    );
    table.row(
        "6.9: an increment of 0 with the reserved bit",
        [window_update(0, 1 << 31)],
        GoAway(PROTOCOL_ERROR),
    );
    table.row("6.9: the reserved bit of an increment is ignored", [window_update(0, 1 << 31 | 1)], Nothing);
    table.row("6.9.1: a window above 2^31 - 1", [window_update(0, MOST)], GoAway(FLOW_CONTROL_ERROR));
    table.row("6.9.1: a window of 2^31 - 1", [window_update(0, MOST - 65_535)], Nothing);
    table.row(
        "6.9.1: a window above 2^31 - 1 by two increments",
        [window_update(0, MOST - 65_535), window_update(0, 1)],
        GoAway(FLOW_CONTROL_ERROR),
    );
    table.row(
        "6.9.1: a window of a stream above 2^31 - 1",
        [waiting(), window_update(1, MOST)],
        Reset(1, FLOW_CONTROL_ERROR),
    );
    table.row(
        "6.9.1: a window of a stream of 2^31 - 1",
        [get(1, "/up/"), window_update(1, MOST - 65_535)],
        Status(200),
    );
    table.row(
        "6.9.2: SETTINGS that make a window too large",
        [waiting(), window_update(1, MOST - 65_535), settings(&[(INITIAL_WINDOW_SIZE, 65_536)])],
        GoAway(FLOW_CONTROL_ERROR),
    );
    table.row(
        "6.9.2: SETTINGS that make a window negative",
        [get(1, "/up/"), settings(&[(INITIAL_WINDOW_SIZE, 0)]), settings(&[(INITIAL_WINDOW_SIZE, 100)])],
        Status(200),
    );
    table.row(
        "6.9.2: an increment opens a window of 0",
        [settings(&[(INITIAL_WINDOW_SIZE, 0)]), get(1, "/"), window_update(1, 1), window_update(1, 100)],
        Status(200),
    );
    table.row(
        "6.9: empty DATA in a closed window",
        [post(1, &[]), data(1, 0, ""), data(1, 0, ""), data(1, END_STREAM, "")],
        Status(200),
    );
}

/// RFC 9113 §8.2 and §8.3.
fn requests(table: &mut Table) {
    let wrong = Refused(400, PROTOCOL_ERROR);
    for (what, name) in [
        ("an upper-case letter", "Accept"),
        ("a space", "a b"),
        ("a space at its end", "a "),
        ("a colon", "a:b"),
        ("a control character", "a\x01"),
        ("DEL", "a\x7f"),
        ("a line end", "a\r\nb"),
        ("a byte above 127", "\u{e9}"),
    ] {
        table.fields(&format!("8.2.1: a name with {what}"), &[(name, "x")], wrong);
    }
    table.fields("8.2.1: an empty name", &[("", "x")], wrong);
    for (what, value) in [
        ("NUL", "a\0b"),
        ("CR", "a\rb"),
        ("LF", "a\nb"),
        ("a space at its beginning", " a"),
        ("a tab at its beginning", "\ta"),
        ("a space at its end", "a "),
        ("a tab at its end", "a\t"),
    ] {
        table.fields(&format!("8.2.1: a value with {what}"), &[("x-a", value)], wrong);
    }
    for (what, value) in
        [("nothing", ""), ("a space and a tab within", "a \tb"), ("bytes above 127", "\u{e9}")]
    {
        table.fields(&format!("8.2.1: a value with {what}"), &[("x-a", value)], Status(200));
    }
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        table.fields(&format!("8.2.2: {name}: {value}"), &[(name, value)], wrong);
    }
    table.fields("8.2.2: te: trailers", &[("te", "trailers")], Status(200));

    for name in [":method", ":scheme", ":path"] {
        table.row(&format!("8.3.1: no {name}"), [headers(1, END_STREAM, &without(name))], wrong);
    }
    table.row("8.3.1: neither :authority nor Host", [headers(1, END_STREAM, &without(":authority"))], wrong);
    table.row(
        "8.3.1: Host in the place of :authority",
        [headers(1, END_STREAM, &[&without(":authority")[..], &[("host", "a")]].concat())],
        Status(200),
    );
    table.row("8.3: no field at all", [headers(1, END_STREAM, &[])], wrong);
    for (name, value) in asks("GET", "/") {
        table.row(
            &format!("8.3.1: {name} twice"),
            [headers(1, END_STREAM, &[&[(name, value)], &asks("GET", "/")[..]].concat())],
            wrong,
        );
        table.row(
            &format!("8.3: {name} behind another field"),
            [headers(1, END_STREAM, &[&without(name)[..], &[("x-a", "b"), (name, value)]].concat())],
            wrong,
        );
        table.fields(&format!("8.3.1: an empty {name}"), &[(name, "")], wrong);
    }
    for (name, value) in
        [(":status", "200"), (":protocol", "websocket"), (":unknown", "x"), (":", "x"), (":Path", "/")]
    {
        table.fields(&format!("8.3: {name} in a request"), &[(name, value)], wrong);
    }
    for (what, name, value) in [
        ("8.3.1: a path without a slash", ":path", "index.html"),
        ("8.3.1: a path that is a URL", ":path", "http://a/"),
        ("8.3.1: '*' of another method than OPTIONS", ":path", "*"),
        ("8.2.1: a path with a space", ":path", "/a b"),
        ("8.2.1: a path with a line end", ":path", "/a\r\nx: y"),
        ("8.3.1: a path with a fragment", ":path", "/a#b"),
        ("8.3.1: :authority with a user", ":authority", "user@a"),
        ("8.3.1: :authority with a path", ":authority", "a/b"),
        ("8.3.1: :authority with a space", ":authority", "a b"),
        ("8.3.1: a method that is no token", ":method", "GE T"),
        ("8.3.1: a method with a line end", ":method", "GET / HTTP/1.1\r\n"),
        ("8.3.1: a scheme that is none", ":scheme", "ht tp"),
    ] {
        table.fields(what, &[(name, value)], wrong);
    }
    // Of a proxy that ends TLS.
    table.fields("8.3.1: https in the clear", &[(":scheme", "https")], Status(200));
    table.fields("8.3.1: OPTIONS *", &[(":method", "OPTIONS"), (":path", "*")], Status(204));
    table.fields("8.3.1: Host that differs from :authority", &[("host", "b")], wrong);
    table.fields("8.3.1: Host that is the same as :authority", &[("host", "A")], Status(200));
    table.fields("RFC 9110 7.2: Host twice", &[("host", "a"), ("host", "a")], wrong);
    table.fields("8.2.3: cookies in pieces", &[("cookie", "a=1"), ("cookie", "b=2")], Status(200));

    let tunnel = [(":method", "CONNECT"), (":authority", "a:80")];
    table.row("8.5: CONNECT", [headers(1, END_STREAM, &tunnel)], Status(501));
    table.fields("RFC 9110 9.3.8: TRACE", &[(":method", "TRACE")], Status(405));

    let long = "x".repeat(40_000);
    let continued = |fields: &[(&str, &str)]| {
        let block = block(&with(fields));
        let parts = block.chunks(16_000).enumerate().map(|(nth, part)| match nth {
            0 => frame(HEADERS, END_STREAM, 1, part),
            _ => frame(CONTINUATION, 0, 1, part),
        });
        parts.chain([frame(CONTINUATION, END_HEADERS, 1, "")]).collect::<Vec<_>>().concat()
    };
    table.row("6.5.2: a list above the limit", [continued(&[("x-a", &long)])], Status(431));
    table.row(
        "10.5.1: a block far above the limit",
        [continued(&[("x-a", &long), ("x-b", &long)])],
        GoAway(ENHANCE_YOUR_CALM),
    );
    let path = format!("/{}", &long[..9000]);
    table.fields("RFC 9110 15.5.15: a path above the limit", &[(":path", &path)], Status(414));
    let many: Vec<_> = (0..101).map(|_| ("x-a", "b")).collect();
    table.fields("6.5.2: too many fields", &many, Status(431));
}

/// RFC 9113 §6.1, §6.2, §8.1.
fn bodies(table: &mut Table) {
    let wrong = Refused(400, PROTOCOL_ERROR);
    table.row("6.1: DATA on stream 0", [data(0, 0, "x")], GoAway(PROTOCOL_ERROR));
    table.row(
        "6.1: padding as long as its frame",
        [post(1, &[]), data(1, PADDED, [3, 0, 0])],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.1: padding longer than its frame",
        [post(1, &[]), data(1, PADDED, [255, b'x', 0])],
        GoAway(PROTOCOL_ERROR),
    );
    table.row("6.1: PADDED without a byte", [post(1, &[]), data(1, PADDED, "")], GoAway(FRAME_SIZE_ERROR));
    table.row(
        "6.1: padded DATA",
        [post(1, &[("content-length", "1")]), data(1, PADDED | END_STREAM, [2, b'x', 0, 0])],
        Status(200),
    );
    table.row(
        "6.1: DATA of padding only",
        [post(1, &[("content-length", "0")]), data(1, PADDED | END_STREAM, [2, 0, 0])],
        Status(200),
    );
    table.row(
        "6.1: padding of no byte",
        [post(1, &[("content-length", "1")]), data(1, PADDED | END_STREAM, [0, b'x'])],
        Status(200),
    );
    table.row(
        "6.1: padding that is not of zeros",
        [post(1, &[]), data(1, PADDED | END_STREAM, [1, b'x', 7])],
        Status(200),
    );
    table.row(
        "6.1: DATA of no byte",
        [post(1, &[]), data(1, 0, ""), data(1, 0, "x"), data(1, END_STREAM, "")],
        Status(200),
    );

    let fields = block(&asks("GET", "/"));
    let headers_with = |flags, before: &[u8], behind: &[u8]| {
        frame(HEADERS, flags | END_HEADERS | END_STREAM, 1, [before, &fields, behind].concat())
    };
    table.row(
        "6.2: HEADERS on stream 0",
        [frame(HEADERS, END_HEADERS | END_STREAM, 0, &fields)],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.2: padding longer than its HEADERS",
        [headers_with(PADDED, &[255], b"")],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "6.2: PADDED without a byte",
        [frame(HEADERS, PADDED | END_HEADERS, 1, "")],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row(
        "6.2: PRIORITY in 4 bytes",
        [frame(HEADERS, WITH_PRIORITY | END_HEADERS, 1, [0; 4])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row(
        "6.2: padding that leaves no room for PRIORITY",
        [frame(HEADERS, PADDED | WITH_PRIORITY | END_HEADERS, 1, [4, 0, 0, 0, 0, 0])],
        GoAway(PROTOCOL_ERROR),
    );
    table.row("6.2: padded HEADERS", [headers_with(PADDED, &[3], &[0; 3])], Status(200));
    table.row(
        "6.2: HEADERS with priority",
        [headers_with(WITH_PRIORITY, &[0x80, 0, 0, 3, 255], b"")],
        Status(200),
    );
    table.row(
        "6.2: padded HEADERS with priority",
        [headers_with(PADDED | WITH_PRIORITY, &[2, 0, 0, 0, 0, 7], &[0; 2])],
        Status(200),
    );
    table.row(
        "5.3.1: HEADERS that depend on themselves",
        [headers_with(WITH_PRIORITY, &[0, 0, 0, 1, 7], b"")],
        Status(200),
    );

    let length = |value| post(1, &[("content-length", value)]);
    table.row("8.1.1: a body longer than Content-Length", [length("1"), data(1, END_STREAM, "xy")], wrong);
    table.row(
        "8.1.1: a body longer than Content-Length in two frames",
        [length("1"), data(1, 0, "x"), data(1, 0, "y")],
        wrong,
    );
    table.row("8.1.1: a body shorter than Content-Length", [length("3"), data(1, END_STREAM, "xy")], wrong);
    table.row(
        "8.1.1: trailers before the length is reached",
        [length("3"), data(1, 0, "xy"), headers(1, END_STREAM, &[("a", "b")])],
        wrong,
    );
    table.row(
        "8.1.1: Content-Length without a body",
        [headers(1, END_STREAM, &with(&[("content-length", "3")]))],
        wrong,
    );
    table.row("8.1.1: a body although Content-Length is 0", [length("0"), data(1, END_STREAM, "x")], wrong);
    table.row(
        "8.1.1: Content-Length of 0 without a body",
        [headers(1, END_STREAM, &with(&[("content-length", "0")]))],
        Status(200),
    );
    table.row(
        "8.1.1: a body as long as Content-Length",
        [length("3"), data(1, 0, "xy"), data(1, END_STREAM, "z")],
        Status(200),
    );
    for value in ["", "-1", "+1", "1 1", "0x1", "1,1", "99999999999999999999999"] {
        table.row(
            &format!("RFC 9110 8.6: Content-Length of '{value}'"),
            [length(value), data(1, END_STREAM, "x")],
            wrong,
        );
    }
    table.row(
        "RFC 9110 8.6: Content-Length twice",
        [post(1, &[("content-length", "1"), ("content-length", "1")]), data(1, END_STREAM, "x")],
        wrong,
    );

    let trailers =
        |flags, fields: &[(&str, &str)]| [post(1, &[]), data(1, 0, "x"), headers(1, flags, fields)];
    table.row("8.1: trailers", trailers(END_STREAM, &[("x-checksum", "1")]), Status(200));
    table.row(
        "8.1: trailers in two frames",
        [
            post(1, &[]),
            frame(HEADERS, END_STREAM, 1, &block(&[("a", "b")])[..2]),
            frame(CONTINUATION, END_HEADERS, 1, &block(&[("a", "b")])[2..]),
        ],
        Status(200),
    );
    table.row("8.1: empty trailers", trailers(END_STREAM, &[]), Status(200));
    table.row("8.1: trailers without END_STREAM", trailers(0, &[("a", "b")]), wrong);
    table.row("8.1: a pseudo-header field in trailers", trailers(END_STREAM, &[(":path", "/")]), wrong);
    table.row("8.2.1: an upper-case name in trailers", trailers(END_STREAM, &[("A", "b")]), wrong);
    table.row("8.2.1: a value with LF in trailers", trailers(END_STREAM, &[("a", "b\nc")]), wrong);
    table.row(
        "8.2.2: a field of the connection in trailers",
        trailers(END_STREAM, &[("connection", "close")]),
        wrong,
    );
}

/// RFC 9113 §5.3 and §6.3, which mean nothing any more, and RFC 9218.
fn priorities(table: &mut Table) {
    let update = |stream: u32, value: &str| {
        frame(PRIORITY_UPDATE, 0, 0, [&stream.to_be_bytes()[..], value.as_bytes()].concat())
    };
    table.row("6.3: PRIORITY on stream 0", [frame(PRIORITY, 0, 0, [0; 5])], GoAway(PROTOCOL_ERROR));
    table.row(
        "6.3: PRIORITY of 4 bytes",
        [headers(1, END_STREAM, &asks("GET", "/wait/")), frame(PRIORITY, 0, 1, [0; 4])],
        Reset(1, FRAME_SIZE_ERROR),
    );
    table.row(
        "6.3: PRIORITY of 6 bytes",
        [headers(1, END_STREAM, &asks("GET", "/wait/")), frame(PRIORITY, 0, 1, [0; 6])],
        Reset(1, FRAME_SIZE_ERROR),
    );
    table.row("5.3.1: PRIORITY that depends on itself", [frame(PRIORITY, 0, 3, [0, 0, 0, 3, 1])], Nothing);
    table.row(
        "RFC 9218 7.1: PRIORITY_UPDATE on a stream",
        [frame(PRIORITY_UPDATE, 0, 1, [0, 0, 0, 1])],
        GoAway(PROTOCOL_ERROR),
    );
    table.row(
        "RFC 9218 7.1: PRIORITY_UPDATE of 3 bytes",
        [frame(PRIORITY_UPDATE, 0, 0, [0; 3])],
        GoAway(FRAME_SIZE_ERROR),
    );
    table.row("RFC 9218 7.1: PRIORITY_UPDATE of stream 0", [update(0, "u=1")], GoAway(PROTOCOL_ERROR));
    table.row(
        "RFC 9218 7.1: PRIORITY_UPDATE of a stream to come",
        [update(1, "u=1, i"), get(1, "/")],
        Status(200),
    );
    table.row(
        "RFC 9218 4: a priority that nobody understands",
        [update(1, "u=99;;;,,\"\x01"), get(1, "/")],
        Status(200),
    );
    table.fields("RFC 9218 4: the field with the priority", &[("priority", "u=0, i")], Status(200));
    table.fields("RFC 9218 4: a field that nobody understands", &[("priority", "u=;;;,\"")], Status(200));
}
