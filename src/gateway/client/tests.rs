use super::*;
use crate::http::fault::Flaw;
use crate::http::{RequestHead, Span, Version};

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_secs(60),
    send: None,
    first_byte: None,
    total: None,
};
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn whole(bytes: &[u8]) -> Queue {
    let mut body = Queue::new();
    body.extend(bytes);
    body
}

fn at(seconds: u64) -> Time {
    Time::ZERO.after(Duration::from_secs(seconds))
}

fn client(method: &str, body: BodyLength) -> Client {
    client_with(method, body, &[])
}

fn client_with(method: &str, body: BodyLength, fields: &[(&str, &str)]) -> Client {
    let mut raw = format!("{method}/x").into_bytes();
    let end = raw.len() as u32;
    let (name, target) = (Span { start: 0, end: end - 2 }, Span { start: end - 2, end });
    let mut put = |text: &str| {
        let start = raw.len() as u32;
        raw.extend_from_slice(text.as_bytes());
        Span { start, end: raw.len() as u32 }
    };
    let fields = fields.iter().map(|(name, value)| (put(name), put(value))).collect();
    let head = RequestHead::new(raw, name, target, Version::Http11, fields);
    let request = Request {
        path: b"/x",
        raw: b"/x",
        authority: b"shop.example",
        server_name: b"shop.example",
        id: "1",
        ..Request::of(&head)
    };
    Client::new(Protocol::Http, &request, None, body, PATIENCE, &Retries::default(), Time::ZERO).unwrap()
}

/// One that has each of the time-outs.
fn impatient(method: &str, body: BodyLength) -> (Client, Queue) {
    let mut client = client(method, body);
    let [connect, send, first_byte, silence, total] = [1, 2, 5, 30, 100].map(Duration::from_secs);
    let (send, first_byte, total) = (Some(send), Some(first_byte), Some(total));
    client.patience = Patience { connect, silence, send, first_byte, total };
    client.expires = Some(at(100));
    let mut out = Queue::new();
    client.leased(false, &mut out, Time::ZERO);
    (client, out)
}

/// A client with a channel, and what it wrote there.
fn leased(method: &str, body: BodyLength, kept: bool) -> (Client, Queue) {
    let mut client = client(method, body);
    let mut out = Queue::new();
    assert!(client.try_lease(Time::ZERO));
    client.leased(kept, &mut out, Time::ZERO);
    (client, out)
}

fn text(out: &Queue) -> String {
    let mut text = Vec::new();
    out.slices(100, |slice| text.extend_from_slice(slice));
    String::from_utf8(text).unwrap()
}

#[test]
fn a_request_goes_out_and_its_response_comes_in_once() {
    let (mut client, mut out) = leased("POST", BodyLength::Known(3), false);
    assert!(text(&out).starts_with("POST /x HTTP/1.1\r\n"), "{}", text(&out));
    let head = out.len();
    client.push_body(Segment::from(b"abc".to_vec()));
    client.end_body();
    client.fill(&mut out);
    assert_eq!(text(&out)[usize::try_from(head).unwrap()..], *"abc");
    assert_eq!(client.poll(), None);
    client.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    client.feed(OK);
    assert!(matches!(client.poll(), Some(Output::Interim(head)) if head.status.0 == 103));
    assert!(matches!(client.poll(), Some(Output::Head(head, BodyLength::Known(2))) if head.status.0 == 200));
    assert_eq!(client.poll(), Some(Output::Body(b"ok".to_vec())));
    assert_eq!(client.poll(), Some(Output::Done));
    assert_eq!(client.release(false), None, "something of the request is left");
    assert_eq!(client.release(true), Some(IDLE));
}

#[test]
fn a_channel_is_kept_for_as_long_as_the_server_keeps_it_and_no_longer() {
    for (fields, keep) in [
        ("", Some(IDLE)),
        ("Keep-Alive: timeout=5\r\n", Some(Duration::from_secs(4))),
        ("Keep-Alive: timeout=600\r\n", Some(IDLE_MOST)),
        ("Connection: close\r\n", None),
    ] {
        let (mut client, _) = leased("GET", BodyLength::None, false);
        client.feed(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes());
        while client.poll().is_some_and(|output| output != Output::Done) {}
        assert_eq!(client.release(true), keep, "{fields}");
    }
    // Answered before the whole request was sent: the rest would be taken for the next one.
    let (mut client, _) = leased("POST", BodyLength::Known(3), false);
    client.feed(OK);
    while client.poll().is_some_and(|output| output != Output::Done) {}
    assert_eq!(client.release(true), None);
}

/// Where a request stands when its channel fails.
#[derive(Clone, Copy, Debug)]
enum Stand {
    Connecting,
    /// Sent over a new channel; over a kept one.
    Sent,
    SentKept,
    /// A byte of its body was sent.
    Committed,
    /// A part of the response's head has come over a kept channel; the whole of it.
    Begun,
    Answered,
}

fn standing(stand: Stand, method: &str) -> Client {
    let body = if matches!(stand, Stand::Committed) { BodyLength::Known(3) } else { BodyLength::None };
    let kept = matches!(stand, Stand::SentKept | Stand::Committed | Stand::Begun);
    let (mut client, mut out) = leased(method, body, kept);
    match stand {
        Stand::Connecting => client.connecting(Time::ZERO),
        Stand::Sent | Stand::SentKept => {}
        Stand::Committed => {
            client.push_body(Segment::from(b"a".to_vec()));
            client.fill(&mut out);
        }
        Stand::Begun => client.feed(b"HTTP/1.1 2"),
        Stand::Answered => {
            client.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            assert!(matches!(client.poll(), Some(Output::Head(..))));
        }
    }
    client
}

/// Every stand of a request with every fault that can meet it, for a method that may be repeated and for one that may not.
#[test]
fn another_try_is_made_where_it_is_safe() {
    use Again::{AnotherServer, No, SameServer};
    for (stand, fault, get, post) in [
        (Stand::Connecting, Fault::Refused, AnotherServer, AnotherServer),
        (Stand::Connecting, Fault::ConnectTimeout, AnotherServer, AnotherServer),
        (Stand::Sent, Fault::Closed, AnotherServer, No),
        (Stand::Sent, Fault::Silent, AnotherServer, No),
        (Stand::Sent, Fault::Unhealthy, AnotherServer, No),
        (Stand::Sent, Fault::Malformed(Flaw::Chunk), AnotherServer, No),
        (Stand::SentKept, Fault::Closed, SameServer, No),
        (Stand::SentKept, Fault::Silent, AnotherServer, No),
        (Stand::Committed, Fault::Closed, No, No),
        (Stand::Committed, Fault::Silent, No, No),
        (Stand::Begun, Fault::Closed, AnotherServer, No),
        (Stand::Begun, Fault::Truncated, AnotherServer, No),
        (Stand::Begun, Fault::Malformed(Flaw::Chunk), AnotherServer, No),
        (Stand::Answered, Fault::Closed, No, No),
        (Stand::Answered, Fault::Truncated, No, No),
        (Stand::Answered, Fault::Stalled, No, No),
    ] {
        for (method, expected) in [("GET", get), ("POST", post)] {
            let mut client = standing(stand, method);
            assert_eq!(client.failed(fault), expected, "{method} {stand:?} {fault:?}");
            assert!(matches!(client.stage, Stage::Lease));
        }
    }
}

#[test]
fn a_client_waits_for_one_silent_server_and_no_more() {
    let (mut client, mut out) = leased("GET", BodyLength::None, false);
    assert_eq!(client.failed(Fault::Silent), Again::AnotherServer);
    client.leased(false, &mut out, at(60));
    assert_eq!(client.failed(Fault::Silent), Again::No);
}

#[test]
fn no_try_begins_later_than_it_may() {
    let (mut client, _) = leased("GET", BodyLength::None, false);
    assert_eq!(client.failed(Fault::Closed), Again::AnotherServer);
    assert!(!client.try_lease(at(91)) && client.try_lease(at(90)));
}

#[test]
fn an_answer_that_is_taken_back_was_none() {
    let mut client = standing(Stand::Answered, "GET");
    assert!(client.can_repeat());
    client.take_back();
    assert_eq!(client.failed(Fault::Unhealthy), Again::AnotherServer);
    assert!(!client.has_answered());
    assert!(
        !standing(Stand::Answered, "POST").can_repeat() && !standing(Stand::Committed, "PUT").can_repeat()
    );
}

#[test]
fn a_request_is_tried_three_times_and_sent_whole_each_time() {
    let mut client = client("PUT", BodyLength::Known(3));
    client.push_body(Segment::from(b"abc".to_vec()));
    client.end_body();
    for _ in 0..Retries::default().tries {
        assert!(client.try_lease(Time::ZERO));
        client.connecting(Time::ZERO);
        assert_eq!(client.failed(Fault::Refused), Again::AnotherServer);
    }
    assert!(!client.try_lease(Time::ZERO));
    // What was given to no server is still there for the one that comes.
    let mut out = Queue::new();
    client.leased(false, &mut out, Time::ZERO);
    client.fill(&mut out);
    assert!(text(&out).ends_with("\r\n\r\nabc"), "{}", text(&out));
}

/// A body that was there as a whole goes out whole with each try, framed anew.
#[test]
fn what_was_kept_of_a_request_is_sent_again() {
    for (method, again) in
        [("PUT", Again::AnotherServer), ("DELETE", Again::AnotherServer), ("POST", Again::No)]
    {
        let mut client = client(method, BodyLength::Known(3));
        client.push_whole(whole(b"abc"));
        assert_eq!(client.may_repeat(), again != Again::No, "{method}");
        for fault in [Fault::Closed, Fault::Unhealthy] {
            let mut out = Queue::new();
            client.leased(false, &mut out, Time::ZERO);
            client.fill(&mut out);
            assert!(text(&out).ends_with("\r\n\r\nabc"), "{method} {}", text(&out));
            if fault == Fault::Unhealthy {
                client.feed(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
                assert!(matches!(client.poll(), Some(Output::Head(..))));
                assert!(client.can_repeat());
                client.take_back();
            }
            assert_eq!(client.failed(fault), again, "{method} {fault:?}");
            if again == Again::No {
                break;
            }
        }
    }
    // The client has seen something: it is not kept any longer.
    let mut client = client("PUT", BodyLength::Known(3));
    client.push_whole(whole(b"abc"));
    client.leased(false, &mut Queue::new(), Time::ZERO);
    client.fill(&mut Queue::new());
    client.feed(OK);
    while client.poll().is_some_and(|output| output != Output::Done) {}
    assert!(client.whole.is_none() && !client.can_repeat());
}

#[test]
fn what_follows_a_body_is_sent_again_with_it() {
    let mut client = client("PUT", BodyLength::Unknown);
    let mut trailers = Fields::new();
    trailers.add("X-Sum", "1");
    client.push_trailers(Box::new(trailers));
    client.push_whole(whole(b"abc"));
    for _ in 0..2 {
        let mut out = Queue::new();
        client.leased(false, &mut out, Time::ZERO);
        client.fill(&mut out);
        assert!(text(&out).ends_with("\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), "{}", text(&out));
        assert_eq!(client.failed(Fault::Closed), Again::AnotherServer);
    }
}

/// Every stand of a request with every way to wait for the client.
#[test]
fn who_waits_for_the_client_does_not_blame_the_server() {
    let late = at(60);
    for (stand, given, room, fault) in [
        (Stand::Connecting, false, true, Some(Fault::ConnectTimeout)),
        (Stand::Sent, true, true, Some(Fault::Silent)),
        (Stand::Sent, false, true, Some(Fault::Untaken)),
        // Its body is still to come, and what there is of it was given.
        (Stand::Committed, true, true, None),
        (Stand::Committed, false, true, Some(Fault::Untaken)),
        (Stand::Begun, true, true, Some(Fault::Silent)),
        (Stand::Answered, true, true, Some(Fault::Stalled)),
        (Stand::Answered, true, false, None),
    ] {
        let mut client = standing(stand, "GET");
        client.settle(given, Time::ZERO);
        assert_eq!(client.on_timeout(given, room, at(4)), None, "spurious: {stand:?}");
        assert_eq!(client.on_timeout(given, room, late), fault, "{stand:?} {given} {room}");
        let again = if fault.is_none() { at(120) } else { client.deadline() };
        assert_eq!(client.deadline(), again, "{stand:?}: the client's time is its own");
    }
    let mut client = standing(Stand::Answered, "GET");
    client.progressed(true, at(30));
    assert_eq!((client.deadline(), client.on_timeout(true, true, late)), (at(90), None));
}

#[test]
fn a_request_is_to_be_taken_piece_by_piece() {
    let (mut client, mut out) = impatient("PUT", BodyLength::Known(2));
    client.push_body(Segment::from(b"a".to_vec()));
    client.fill(&mut out);
    assert_eq!((client.deadline(), client.on_timeout(false, true, at(1))), (at(2), None));
    client.progressed(false, at(1));
    assert_eq!((client.on_timeout(false, true, at(2)), client.deadline()), (None, at(3)));
    // All that has come of the body was taken: the rest is the client's matter.
    assert_eq!((client.on_timeout(true, true, at(3)), client.deadline()), (None, at(5)));
    client.push_body(Segment::from(b"b".to_vec()));
    assert_eq!(client.on_timeout(false, true, at(5)), Some(Fault::Untaken));
    assert_eq!(client.failed(Fault::Untaken), Again::No, "a part of its body is gone");
}

#[test]
fn a_response_is_to_begin_after_the_request_and_then_to_go_on() {
    let (mut client, mut out) = impatient("PUT", BodyLength::Known(1));
    client.push_body(Segment::from(b"a".to_vec()));
    client.fill(&mut out);
    client.progressed(true, at(1));
    assert_eq!(client.deadline(), at(3));
    // Only now it is known that there is no more of it.
    client.end_body();
    assert_eq!((client.on_timeout(true, true, at(2)), client.deadline()), (None, at(7)));
    client.feed(b"HTTP/1.1 103 Early Hints\r\n");
    assert_eq!(client.poll(), None);
    client.progressed(true, at(6));
    assert_eq!(client.deadline(), at(7), "a part of a head is no head");
    client.feed(b"\r\nHTTP/1.1 20");
    assert!(matches!(client.poll(), Some(Output::Interim(_))));
    client.progressed(true, at(6));
    assert_eq!((client.on_timeout(true, true, at(10)), client.deadline()), (None, at(11)));
    client.feed(b"0 OK\r\nContent-Length: 2\r\n\r\n");
    assert!(matches!(client.poll(), Some(Output::Head(..))));
    assert_eq!((client.on_timeout(true, true, at(40)), client.deadline()), (None, at(70)));
    assert_eq!(client.on_timeout(true, true, at(70)), Some(Fault::Stalled));

    let (mut client, _) = impatient("GET", BodyLength::None);
    client.progressed(true, at(1));
    assert_eq!(client.on_timeout(true, true, at(6)), Some(Fault::Silent));
    client.failed(Fault::Silent);
    client.leased(false, &mut Queue::new(), at(6));
    client.progressed(true, at(7));
    assert_eq!(client.deadline(), at(12), "of another server anew");
}

#[test]
fn all_of_it_has_one_time() {
    for answered in [false, true] {
        let (mut client, _) = impatient("GET", BodyLength::None);
        if answered {
            client.feed(b"HTTP/1.1 200 OK\r\n\r\n");
            assert!(matches!(client.poll(), Some(Output::Head(..))));
        }
        client.progressed(true, at(98));
        assert_eq!((client.deadline(), client.on_timeout(true, false, at(99))), (at(100), None));
        assert_eq!(client.on_timeout(true, false, at(100)), Some(Fault::Overdue));
        assert_eq!(client.failed(Fault::Overdue), Again::No);
    }
    let (mut client, _) = impatient("GET", BodyLength::None);
    client.stage = Stage::Lease;
    client.waits(at(200));
    assert_eq!((client.deadline(), client.on_timeout(true, true, at(100))), (at(100), Some(Fault::Overdue)));
}

#[test]
fn the_end_of_a_connection_is_judged_by_what_has_come() {
    let (mut client, _) = leased("GET", BodyLength::None, false);
    assert_eq!(client.reset(), Fault::Closed);
    client.feed(b"HTTP/1.1 200 OK\r\n\r\nbegun");
    assert_eq!(client.reset(), Fault::Truncated, "no end of a body that ends with its connection");
    assert!(matches!(client.poll(), Some(Output::Head(_, BodyLength::Unknown))));
    assert_eq!(client.poll(), Some(Output::Body(b"begun".to_vec())));
    assert_eq!(client.wants_bytes(false), Ok(false), "the client has no room");
    assert_eq!(client.wants_bytes(true), Ok(true));
    client.eof();
    assert_eq!(client.poll(), Some(Output::Done));
    assert_eq!(client.wants_bytes(true), Err(Fault::Closed));

    let (mut client, _) = leased("GET", BodyLength::None, false);
    client.eof();
    assert_eq!(client.poll(), Some(Output::Broken(Fault::Closed)));
}

#[test]
fn a_body_waits_for_the_upstream_up_to_a_limit() {
    let (mut client, mut out) = leased("POST", BodyLength::Known(2 * AHEAD), false);
    assert!(client.wants_body());
    client.push_body(Segment::from(vec![0; usize::try_from(AHEAD).unwrap()]));
    assert!(!client.wants_body());
    client.fill(&mut out);
    assert!(client.wants_body(), "the channel has it");
    client.push_body(Segment::from(vec![0; 10]));
    let waiting = out.len();
    client.fill(&mut out);
    assert_eq!(out.len(), waiting, "the channel has enough");
    client.stop_sending();
    assert_eq!(client.body.len(), 0);
}

#[test]
fn a_channel_that_is_switched_is_a_tunnel_and_no_other_is() {
    const ASKS: [(&str, &str); 2] = [("Connection", "upgrade"), ("Upgrade", "websocket")];
    const SWITCHED: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
    for (asks, answer, expected) in
        [(true, SWITCHED, "switched"), (false, SWITCHED, "Some(Broken(Unasked))"), (true, OK, "head")]
    {
        let mut client = client_with("GET", BodyLength::None, if asks { &ASKS } else { &[] });
        let mut out = Queue::new();
        client.leased(true, &mut out, Time::ZERO);
        assert_eq!(text(&out).contains("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"), asks);
        client.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n");
        assert!(matches!(client.poll(), Some(Output::Interim(_))));
        client.feed(answer);
        let came = match client.poll() {
            Some(Output::Switched(head)) => {
                assert_eq!((head.status.0, client.take_rest()), (101, b"first".to_vec()));
                assert!(client.has_answered() && client.release(true).is_none());
                assert_eq!(client.failed(Fault::Truncated), Again::No);
                "switched".to_owned()
            }
            Some(Output::Head(..)) => "head".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(came, expected, "{asks}");
    }
}

#[test]
fn only_what_is_idempotent_and_all_there_may_be_repeated() {
    for (method, body, may) in [
        ("GET", BodyLength::None, true),
        ("DELETE", BodyLength::None, true),
        ("POST", BodyLength::None, false),
        ("PUT", BodyLength::Known(3), false),
        ("PUT", BodyLength::Unknown, false),
    ] {
        assert_eq!(client(method, body).may_repeat(), may, "{method}, {body:?}");
    }
}
