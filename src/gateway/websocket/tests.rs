//! A whole connection, by what it tells and writes.

use super::*;

use crate::buf::{Queue, Segment};
use crate::timer::Time;
use std::rc::Rc;
use std::time::Duration;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn at(seconds: u64) -> Time {
    Time::ZERO.after(Duration::from_secs(seconds))
}

fn conn() -> Conn {
    Conn::new(Rc::new(Settings { max_message: 200, ..Settings::default() }), at(0))
}

/// A frame of a client: its first byte, and its payload, which is masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match u16::try_from(payload.len()).unwrap() {
        length @ 0..126 => vec![0x80 | length as u8],
        length => [&[0xfe], &length.to_be_bytes()[..]].concat(),
    };
    let masked: Vec<u8> = payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    [&[first], &*length, &MASK, &masked].concat()
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// What it tells, a line for each: a message (`+` behind a part of it), or a close.
fn told(conn: &mut Conn, now: Time) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = conn.poll(now) {
        lines.push(match event {
            Event::Part { kind: Kind::Text, bytes, more } => {
                format!("text {}{}", String::from_utf8_lossy(bytes), if more { "+" } else { "" })
            }
            Event::Part { kind: Kind::Binary, bytes, more } => {
                format!("binary {}{}", bytes.escape_ascii(), if more { "+" } else { "" })
            }
            Event::Closed(Close { code, reason }) => format!("{code} {reason}"),
        });
    }
    lines
}

fn written(conn: &mut Conn, now: Time) -> Vec<u8> {
    let mut out = Queue::new();
    conn.write(&mut out, now);
    bytes_of(&out)
}

fn bytes_of(out: &Queue) -> Vec<u8> {
    let mut bytes = Vec::new();
    out.slices(usize::MAX, |slice| bytes.extend_from_slice(slice));
    bytes
}

fn fed(frames: &[Vec<u8>]) -> (Conn, Vec<String>) {
    let mut conn = conn();
    conn.feed(frames.concat(), at(0));
    let lines = told(&mut conn, at(0));
    (conn, lines)
}

#[test]
fn messages_come_in_the_parts_in_which_they_are_sent() {
    let cases: [(&[Vec<u8>], &[&str]); 7] = [
        (&[text("Hello")], &["text Hello"]),
        (&[text("")], &["text "]),
        (&[frame(0x82, b"\0\xff")], &["binary \\x00\\xff"]),
        (&[frame(0x01, b"Hel"), frame(0x80, b"lo")], &["text Hel+", "text lo"]),
        (&[frame(0x01, b""), frame(0x00, b"a"), frame(0x00, b""), frame(0x80, b"")], &["text a+", "text "]),
        (
            &[frame(0x01, b"\xc3"), frame(0x89, b"x"), frame(0x80, b"\xa9"), text("b")],
            &["text \u{fffd}+", "text \u{fffd}", "text b"],
        ),
        (&[frame(0x8a, b"unasked"), frame(0x82, &[b'a'; 200])], &[&format!("binary {}", "a".repeat(200))]),
    ];
    for (frames, lines) in cases {
        let (conn, told) = fed(frames);
        assert_eq!(told, lines, "{frames:x?}");
        assert_eq!((conn.end(), conn.wants_read()), (End::Open, true));
    }
}

#[test]
fn a_part_of_a_frame_is_a_part_of_the_message() {
    let mut conn = conn();
    let bytes = text("Hello");
    for (piece, lines) in
        [(&bytes[..3], &[][..]), (&bytes[3..8], &["text He+"]), (&bytes[8..11], &["text llo"])]
    {
        conn.feed(piece.to_vec(), at(0));
        assert_eq!(told(&mut conn, at(0)), lines);
    }
}

#[test]
fn a_breach_is_said_and_told_and_nothing_more_is_read() {
    let cases: [(&[Vec<u8>], &str); 20] = [
        (&[b"\x81\x05Hello".to_vec()], "1002 frame without a mask"),
        (&[frame(0xc1, b"")], "1002 reserved bits without an extension"),
        (&[frame(0x83, b"")], "1002 unknown opcode"),
        (&[frame(0x09, b"")], "1002 fragmented control frame"),
        (&[frame(0x89, &[0; 126])], "1002 control frame over 125 bytes"),
        (&[frame(0x80, b"")], "1002 continuation of no message"),
        (&[text("a"), frame(0x00, b"")], "1002 continuation of no message"),
        (&[frame(0x01, b"a"), text("b")], "1002 message within a message"),
        (&[frame(0x02, b"a"), frame(0x02, b"b")], "1002 message within a message"),
        (&[frame(0x88, b"\x03")], "1002 close with half a code"),
        (&[frame(0x88, b"\x03\xe7")], "1002 close code that is never sent"),
        (&[frame(0x88, b"\x03\xec")], "1002 close code that is never sent"),
        (&[frame(0x88, b"\x03\xed")], "1002 close code that is never sent"),
        (&[frame(0x88, b"\x03\xf7")], "1002 close code that is never sent"),
        (&[frame(0x88, b"\x13\x88")], "1002 close code that is never sent"),
        (&[frame(0x88, b"\x03\xe8\xff")], "1007 close reason that is not UTF-8"),
        (&[frame(0x81, b"\xff")], "1007 text that is not UTF-8"),
        (&[frame(0x81, b"\xc3")], "1007 text that is not UTF-8"),
        (&[frame(0x01, b"\xc3"), frame(0x80, b"(")], "1007 text that is not UTF-8"),
        (&[frame(0x02, &[0; 100]), frame(0x80, &[0; 101])], "1009 message too long"),
    ];
    for (frames, line) in cases {
        let mut frames = frames.to_vec();
        frames.push(text("behind"));
        let (mut conn, told_first) = fed(&frames);
        assert_eq!(told_first.last().map(String::as_str), Some(line), "{frames:x?}");
        assert!(!told_first.contains(&"text behind".to_owned()));
        assert_eq!(conn.end(), End::Open, "there is something to say first");
        let (code, why) = line.split_once(' ').unwrap();
        let said = written(&mut conn, at(0));
        let code = code.parse::<u16>().unwrap().to_be_bytes();
        assert_eq!(said, [&[0x88, 2 + why.len() as u8], &code[..], why.as_bytes()].concat(), "{line}");
        // What comes behind it is read, so that no reset overtakes what was said, and dropped.
        assert_eq!((conn.end(), conn.wants_read()), (End::Shut, true));
        conn.feed(text("later"), at(1));
        assert_eq!(told(&mut conn, at(1)), [""; 0]);
        assert!(!conn.send(Kind::Text, Segment::from(b"x".to_vec()), false, &mut Queue::new()));
        conn.eof();
        assert_eq!(conn.end(), End::Over);
    }
}

#[test]
fn a_message_is_too_long_by_what_it_announces() {
    let mut conn = conn();
    conn.feed(b"\x82\xff\x00\x00\x00\x01\x00\x00\x00\x00mask".to_vec(), at(0));
    assert_eq!(told(&mut conn, at(0)), ["1009 message too long"]);
}

#[test]
fn a_message_in_frames_without_end_is_too_much_of_it() {
    let mut conn = conn();
    conn.feed(frame(0x02, b""), at(0));
    let many = frame(0x00, b"").repeat(0xffff);
    conn.feed(many, at(0));
    assert_eq!(told(&mut conn, at(0)), [""; 0]);
    conn.feed(frame(0x00, b""), at(0));
    assert_eq!(told(&mut conn, at(0)), ["1008 message in too many frames"]);
}

#[test]
fn a_close_of_the_client_is_answered_with_its_code_and_ends_it() {
    for (payload, line, answer) in [
        (&b"\x03\xe8bye"[..], "1000 bye", &b"\x88\x02\x03\xe8"[..]),
        (b"", "1005 ", b"\x88\x00"),
        (b"\x0f\xa0", "4000 ", b"\x88\x02\x0f\xa0"),
    ] {
        let (mut conn, lines) = fed(&[text("a"), frame(0x89, b"p"), frame(0x88, payload), text("b")]);
        assert_eq!((&*lines, conn.end()), (&["text a".to_owned(), line.to_owned()][..], End::Open));
        assert_eq!(written(&mut conn, at(0)), answer);
        assert_eq!((conn.end(), conn.wants_read(), conn.deadline()), (End::Over, false, None));
    }
}

#[test]
fn our_close_waits_for_that_of_the_client_and_drops_its_messages() {
    let mut conn = conn();
    conn.close(1012, "restart");
    assert_eq!(written(&mut conn, at(1)), b"\x88\x09\x03\xf4restart");
    conn.close(1000, "once more");
    assert!(!conn.wants_write());
    conn.feed([text("late"), frame(0x89, b"p"), frame(0x88, b"\x03\xf4")].concat(), at(2));
    assert_eq!(told(&mut conn, at(2)), ["1012 "]);
    assert_eq!((conn.end(), conn.wants_write()), (End::Over, false));
}

#[test]
fn a_close_that_is_not_answered_ends_by_time_whatever_else_comes() {
    let mut conn = conn();
    conn.close(1000, "");
    assert_eq!(conn.deadline(), None, "it waits for room");
    written(&mut conn, at(1));
    conn.feed(text("a").repeat(3), at(5));
    assert_eq!(told(&mut conn, at(5)), [""; 0]);
    assert_eq!(conn.deadline(), Some(at(6)));
    conn.on_timeout(at(6));
    assert_eq!(
        (&*told(&mut conn, at(6)), conn.end()),
        (&["1006 no answer to a close".to_owned()][..], End::Over)
    );
}

#[test]
fn what_an_app_may_not_say_is_not_sent() {
    for (code, said) in [(NO_CODE, &b"\x88\x00"[..]), (LOST, b"\x88\x02\x03\xf3"), (0, b"\x88\x02\x03\xf3")] {
        let mut conn = conn();
        conn.close(code, "");
        assert_eq!(written(&mut conn, at(0)), said, "{code}");
    }
    let mut conn = conn();
    conn.close(1000, &"é".repeat(100));
    let said = written(&mut conn, at(0));
    assert_eq!(
        std::str::from_utf8(&said[4..]).unwrap(),
        "é".repeat(61),
        "as long as a frame may be, by characters"
    );
}

#[test]
fn an_end_without_a_close_is_told_behind_what_came() {
    let mut conn = conn();
    conn.feed([text("a"), frame(0x01, b"b")].concat(), at(0));
    conn.eof();
    assert_eq!(told(&mut conn, at(0)), ["text a", "text b+", "1006 "]);
    assert_eq!((conn.end(), conn.wants_write()), (End::Over, false));
}

#[test]
fn of_pongs_the_latest_waits_and_nothing_else() {
    let (mut conn, lines) = fed(&[frame(0x89, b"one"), frame(0x89, b"two"), frame(0x89, b"")]);
    assert_eq!((&*lines, conn.wants_write()), (&[][..], true));
    assert_eq!(written(&mut conn, at(0)), b"\x8a\x00");
    conn.feed(frame(0x89, b"three").repeat(10_000), at(0));
    assert_eq!(told(&mut conn, at(0)), [""; 0]);
    assert_eq!(written(&mut conn, at(0)), b"\x8a\x05three");
    assert!(!conn.wants_write());
}

#[test]
fn messages_are_sent_in_frames_without_a_mask() {
    let (mut conn, mut out) = (conn(), Queue::new());
    for (kind, bytes, more) in [
        (Kind::Text, &b"a"[..], false),
        (Kind::Binary, b"b", true),
        (Kind::Binary, b"", true),
        (Kind::Binary, b"c", false),
        (Kind::Text, &[b'd'; 126], false),
    ] {
        assert!(conn.send(kind, Segment::from(bytes.to_vec()), more, &mut out));
    }
    let long = [&b"\x81\x7e\0\x7e"[..], &[b'd'; 126]].concat();
    let wanted = [&b"\x81\x01a"[..], b"\x02\x01b", b"\x00\x00", b"\x80\x01c", &long].concat();
    assert_eq!(bytes_of(&out), wanted);
}

#[test]
fn a_client_that_is_silent_is_pinged_and_one_that_stays_so_is_lost() {
    let mut conn = conn();
    conn.feed(text("a"), at(5));
    assert_eq!(told(&mut conn, at(5)), ["text a"]);
    assert_eq!(conn.deadline(), Some(at(25)));
    conn.on_timeout(at(24));
    assert!(!conn.wants_write(), "too early");
    conn.on_timeout(at(25));
    assert_eq!(written(&mut conn, at(25)), b"\x89\x00");
    conn.feed(frame(0x8a, b""), at(30));
    assert_eq!(told(&mut conn, at(30)), [""; 0]);
    assert_eq!(conn.deadline(), Some(at(50)));
    conn.on_timeout(at(50));
    assert_eq!(conn.deadline(), Some(at(70)));
    conn.on_timeout(at(69));
    assert_eq!(conn.end(), End::Open);
    conn.on_timeout(at(70));
    assert_eq!(told(&mut conn, at(70)), ["1006 no answer to a ping"]);
    assert_eq!(written(&mut conn, at(70)), b"\x88\x15\x03\xf3no answer to a ping");
    assert_eq!(conn.end(), End::Over);
}

#[test]
fn no_time_runs_against_a_client_whose_messages_are_left_unread() {
    let mut conn = conn();
    conn.feed(text("a").repeat(2), at(1));
    assert_eq!((conn.wants_read(), conn.deadline()), (false, None));
    assert!(conn.poll(at(1)).is_some());
    assert_eq!((conn.wants_read(), conn.deadline()), (false, None));
    assert_eq!(told(&mut conn, at(99)), ["text a"]);
    assert_eq!((conn.wants_read(), conn.deadline()), (true, Some(at(119))));
}

#[test]
fn a_client_that_reads_slowly_is_not_lost_before_its_pong_can_come() {
    let mut conn = conn();
    conn.room(false, at(5));
    assert_eq!(conn.deadline(), None);
    conn.on_timeout(at(30));
    assert!(!conn.wants_write(), "a ping would wait behind the rest");
    conn.room(false, at(50));
    conn.room(true, at(90));
    assert_eq!(conn.deadline(), Some(at(110)));
    conn.on_timeout(at(110));
    conn.room(true, at(115));
    assert_eq!(conn.deadline(), Some(at(130)), "that there is room is no sign of itself");
    conn.room(false, at(120));
    conn.room(true, at(125));
    assert_eq!((conn.deadline(), conn.wants_write()), (Some(at(145)), false));
}

#[test]
fn without_an_interval_nobody_is_pinged() {
    let conn = Conn::new(Rc::new(Settings { ping_interval: None, ..Settings::default() }), at(0));
    assert_eq!(conn.deadline(), None);
}

#[test]
fn an_idle_connection_takes_little_memory() {
    assert!(size_of::<Conn>() <= 176, "{} bytes", size_of::<Conn>());
    let (conn, lines) = fed(&[frame(0x82, &[0; 200]).repeat(300), frame(0x89, b"x")[..5].to_vec()]);
    assert_eq!(lines.len(), 300);
    assert_eq!(conn.input.kept(), 5);
}
