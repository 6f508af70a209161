//! `websocket` of ASGI, case by case. The worker speaks the protocol of the client; here are messages.

use super::asgi_harness::{ABORT, Ask, LENGTH, Line, app, failed, get};
use super::harness::Host;
use hatchery::control::frame::{Frame, Kind, MESSAGE, MORE};

fn host() -> Host {
    app("asgi_websocket", "application", &[("MAX_MESSAGE", "200000")])
}

fn socket(path: &str) -> Ask<'_> {
    Ask { kind: "websocket", ..get(path) }
}

/// Asks for a WebSocket, up to its ACCEPT.
fn open(line: &mut Line, path: &str) -> u32 {
    let stream = line.send(0, &socket(path));
    assert_eq!(line.expect(Kind::Accept, stream).payload, b"\0");
    stream
}

/// Code and reason of a CLOSE.
fn closed(line: &mut Line, stream: u32) -> (u16, String) {
    let frame = line.expect(Kind::Close, stream);
    let reason = String::from_utf8(frame.payload[2..].to_vec()).unwrap();
    (u16::from_le_bytes([frame.payload[0], frame.payload[1]]), reason)
}

fn over(line: &mut Line, stream: u32) {
    assert_eq!(line.expect(Kind::End, stream).header.flags, 0);
    line.expect(Kind::Free, stream);
}

fn close(line: &mut Line, stream: u32, code: u16, reason: &str) {
    line.say(Kind::Close, 0, stream, &[&code.to_le_bytes(), reason.as_bytes()].concat());
}

/// The next message, whole, for which credit is given.
fn message(line: &mut Line, stream: u32) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let Frame { header, payload } = line.next(stream);
        if header.kind == Kind::Credit {
            continue;
        }
        assert!(matches!(header.kind, Kind::Text | Kind::Binary), "{header:?}");
        line.credit(stream, payload.len() as u32);
        whole.extend_from_slice(&payload);
        if header.flags & MORE == 0 {
            return whole;
        }
    }
}

#[test]
fn a_handshake_has_its_scope_and_is_accepted() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let fields: &[(&str, &[u8])] =
        &[("sec-websocket-protocol", b"chat.1, chat.2"), ("sec-websocket-protocol", b"soap")];
    let stream = line.send(0, &Ask { fields, query: "a=1", ..socket("/dump") });
    assert_eq!(line.expect(Kind::Accept, stream).payload, b"chat.2\0x-a\x001\0set-cookie\0a=b\0");
    let text = String::from_utf8(message(&mut line, stream)).unwrap();
    for said in [
        "type='websocket'\n",
        "asgi={'version': '3.0', 'spec_version': '2.5'}\n",
        "scheme='ws'\n",
        "path='/dump'\n",
        "query_string=b'a=1'\n",
        "subprotocols=['chat.1', 'chat.2', 'soap']\n",
        "extensions={'websocket.http.response': {}, 'hatchery': ",
        "state={}\n",
    ] {
        assert!(text.contains(said), "{said}{text}");
    }
    assert!(!text.contains("method="), "{text}");
    assert_eq!(closed(&mut line, stream), (1000, String::new()));
    over(&mut line, stream);
}

#[test]
fn messages_go_both_ways_and_the_client_s_close_is_told() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let stream = open(&mut line, "/echo");
    line.say(Kind::Text, 0, stream, "gr\u{fc}\u{df}e".as_bytes());
    let frame = line.expect(Kind::Text, stream);
    assert_eq!((frame.header.flags, &*frame.payload), (0, "gr\u{fc}\u{df}e".as_bytes()));
    line.say(Kind::Binary, 0, stream, b"\xff\0");
    assert_eq!(line.expect(Kind::Binary, stream).payload, b"\xff\0");
    line.say(Kind::Text, 0, stream, b"");
    assert_eq!(line.expect(Kind::Text, stream).payload, b"");
    // The cut goes through a character.
    line.say(Kind::Text, MORE, stream, b"\xe2\x82");
    line.say(Kind::Text, MORE, stream, b"");
    line.say(Kind::Text, 0, stream, b"\xac!");
    assert_eq!(line.expect(Kind::Text, stream).payload, "\u{20ac}!".as_bytes());
    close(&mut line, stream, 4001, "b\u{e4}h");
    over(&mut line, stream);
    assert_eq!(
        line.notes(),
        "[('code', 4001), ('reason', 'b\u{e4}h'), ('type', 'websocket.disconnect')]\nagain\nsend raised OSError"
    );
    assert_eq!(host.stderr(), "");
}

#[test]
fn long_messages_come_in_parts_as_there_is_room_and_are_not_mixed() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let stream = open(&mut line, "/long");
    let mut came = 0;
    while came < 65_536 {
        let frame = line.expect(Kind::Text, stream);
        assert_eq!(frame.header.flags, MORE);
        came += frame.payload.len();
    }
    assert_eq!(came, 65_536);
    line.credit(stream, 1000);
    let frame = line.expect(Kind::Text, stream);
    assert_eq!((frame.header.flags, frame.payload.len()), (MORE, 1000));
    line.credit(stream, 65_536);
    assert_eq!(message(&mut line, stream).len(), 150_000 - 66_536);
    let mut lengths = [message(&mut line, stream), message(&mut line, stream)].map(|message| message.len());
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 100_000]);
    assert_eq!(closed(&mut line, stream), (4000, "gr\u{fc}\u{df}e".to_owned()));
    over(&mut line, stream);
    assert_eq!(
        line.notes(),
        "[('code', 4000), ('reason', 'gr\u{fc}\u{df}e'), ('type', 'websocket.disconnect')]"
    );
}

#[test]
fn credit_is_given_for_what_the_app_has_taken() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let stream = open(&mut line, "/slow");
    let takes = line.send(1, &socket("/takes"));
    line.expect(Kind::Accept, takes);
    let taken = |line: &mut Line| {
        line.say(Kind::Text, 0, takes, b"take one");
        let mut credit = 0;
        loop {
            let Frame { header, payload } = line.next(stream);
            if header.kind != Kind::Credit {
                return (String::from_utf8(payload).unwrap(), credit);
            }
            credit += u32::from_le_bytes(payload[..].try_into().unwrap());
        }
    };
    for _ in 0..3 {
        line.say(Kind::Binary, 0, stream, &[0; 20_000]);
    }
    for _ in 0..3 {
        assert_eq!(taken(&mut line), ("20000".to_owned(), 20_000 + MESSAGE));
    }
    // Parts of a message that is not whole are credited as they come.
    line.say(Kind::Binary, MORE, stream, &[0; 60_000]);
    let credit = line.expect(Kind::Credit, stream);
    assert_eq!(credit.payload, 60_000_u32.to_le_bytes());
    line.say(Kind::Binary, 0, stream, &[0; 30_000]);
    assert_eq!(taken(&mut line), ("90000".to_owned(), 30_000 + MESSAGE));
    // Less than a quarter of the window waits until more has been taken.
    for _ in 0..2 {
        line.say(Kind::Binary, 0, stream, &[0; 10_000]);
    }
    assert_eq!(taken(&mut line), ("10000".to_owned(), 0));
    assert_eq!(taken(&mut line), ("10000".to_owned(), 20_000 + 2 * MESSAGE));
}

#[test]
fn a_message_that_is_too_long_closes_it() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let stream = open(&mut line, "/waits");
    for _ in 0..4 {
        line.say(Kind::Binary, MORE, stream, &[0; 60_000]);
    }
    let mut frame = line.next(stream);
    while frame.header.kind == Kind::Credit {
        frame = line.next(stream);
    }
    assert_eq!((frame.header.kind, &frame.payload[..2]), (Kind::Close, &1009_u16.to_le_bytes()[..]));
    over(&mut line, stream);
    assert!(line.notes().starts_with("[('code', 1009), "));
}

#[test]
fn a_websocket_can_be_refused() {
    let host = host();
    let mut line = Line::to(&host, 0);
    let lost = "[('code', 1006), ('reason', ''), ('type', 'websocket.disconnect')]";
    let stream = line.send(0, &socket("/refuses"));
    let answer = line.answer(stream);
    assert_eq!((answer.status(), answer.flags, answer.end), ("403", LENGTH, Some(0)));
    assert_eq!(line.notes(), lost);
    let stream = line.send(0, &socket("/denies"));
    let answer = line.answer(stream);
    assert_eq!((answer.status(), &*answer.text(), answer.end), ("401", "log in", Some(0)));
    assert_eq!(answer.head, ["401", "content-type: text/plain"]);
    assert_eq!(line.notes(), lost);
    let stream = line.send(0, &socket("/half_denied"));
    let answer = line.answer(stream);
    assert_eq!((answer.status(), answer.end), ("401", Some(ABORT)));
}

#[test]
fn an_app_that_returns_or_raises_closes_it() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    for (path, code) in [("/returns", 1000), ("/raises", 1011)] {
        let stream = open(&mut line, path);
        assert_eq!(closed(&mut line, stream), (code, String::new()));
        over(&mut line, stream);
    }
    for path in ["/returns_early", "/raises_early"] {
        let stream = line.send(0, &socket(path));
        failed(&line.answer(stream));
    }
    let stderr = host.stderr();
    for said in [
        "WebSocket /raises (request test-1) failed:\n",
        "ValueError: while it is open\n",
        "WebSocket /raises_early (request test-1) failed:\n",
        "the app returned without websocket.accept or websocket.close\n",
    ] {
        assert!(stderr.contains(said), "{said}\n{stderr}");
    }
    assert!(!stderr.contains("/returns (request"), "{stderr}");
}

#[test]
fn who_is_lost_before_or_after_the_handshake_is_told() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let lost = "[('code', 1006), ('reason', ''), ('type', 'websocket.disconnect')]";
    let stream = line.begin(0, &socket("/waits_early"));
    line.cancel(stream);
    failed(&line.answer(stream));
    assert_eq!(line.notes(), lost);
    let stream = open(&mut line, "/waits");
    close(&mut line, stream, 1006, "");
    over(&mut line, stream);
    assert_eq!(line.notes(), lost);
    let stream = open(&mut line, "/framework");
    close(&mut line, stream, 1001, "");
    over(&mut line, stream);
    open(&mut line, "/waits");
    drop(line);
    let mut line = Line::to(&host, 1);
    crate::harness::wait_until(crate::harness::SOON, "the app is told", || {
        let notes = line.notes();
        crate::harness::holds(notes == lost, notes)
    });
    assert_eq!(host.stderr(), "");
}

#[test]
fn what_is_open_when_the_process_leaves_is_told_to_come_back() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    let stream = open(&mut line, "/stays");
    host.tell(Kind::Leave, b"");
    assert_eq!(closed(&mut line, stream), (1012, String::new()));
    over(&mut line, stream);
    let said = "[('code', 1012), ('reason', ''), ('type', 'websocket.disconnect')]\n";
    assert_eq!(host.ended(), (Some(0), said.to_owned()));
}

#[test]
fn misuse_of_send_raises_and_says_what_is_wrong() {
    let mut host = host();
    let mut line = Line::to(&host, 0);
    for (query, said) in [
        ("send_first", "Misuse: websocket.send was sent before websocket.accept"),
        ("accept_twice", "Misuse: websocket.accept was sent after websocket.accept"),
        ("after_close", "Misuse: websocket.send was sent after the WebSocket was closed"),
        ("after_refusal", "Misuse: websocket.accept was sent after the WebSocket was closed"),
        ("deny_late", "Misuse: websocket.http.response.start was sent after websocket.accept"),
        ("deny_body", "Misuse: websocket.http.response.body was sent before websocket.http.response.start"),
        (
            "unknown",
            "ValueError: 'websocket.open' cannot be sent to a WebSocket; it is 'websocket.accept' or",
        ),
        ("http", "ValueError: 'http.response.start' cannot be sent to a WebSocket"),
        ("neither", "ValueError: websocket.send must have either bytes or text, not none"),
        ("both", "ValueError: websocket.send must have either bytes or text, not both"),
        ("text_bytes", "TypeError: the text of websocket.send must be str, not bytes"),
        ("bytes_text", "TypeError: the bytes of websocket.send must be bytes, not str"),
        ("code", "ValueError: the code of websocket.close must be 1000 to 1014 or 3000 to 4999, not 1006"),
        (
            "text_code",
            "ValueError: the code of websocket.close must be 1000 to 1014 or 3000 to 4999, not '1000'",
        ),
        ("reason", "ValueError: the reason of websocket.close is longer than 123 bytes"),
        ("bytes_reason", "TypeError: the reason of websocket.close must be str, not bytes"),
        ("subprotocol", "TypeError: the subprotocol of websocket.accept must be str, not b'chat'"),
        ("split_subprotocol", "ValueError: a control character in the subprotocol of websocket.accept"),
        ("protocol_header", "ValueError: websocket.accept names the subprotocol by its key 'subprotocol'"),
        ("header", "ValueError: a control character in the headers of websocket.accept"),
    ] {
        let stream = line.send(0, &Ask { query, ..socket("/misuse") });
        let mut kinds = Vec::new();
        while kinds.last() != Some(&Kind::Free) {
            kinds.push(line.next(stream).header.kind);
        }
        let notes = line.notes();
        assert!(notes.starts_with(said), "{query}: {said}\n{notes}");
    }
    let stderr = host.stderr();
    assert!(!stderr.contains("Exception"), "{stderr}");
}
