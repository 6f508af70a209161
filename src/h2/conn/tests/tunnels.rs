//! Tunnels (RFC 8441).

use super::*;

const WEBSOCKET: (&str, &str) = (":protocol", "websocket");

fn peer() -> Peer {
    Peer::with(Limits::default(), Settings { connect: true, ..Settings::default() })
}

impl Peer {
    /// A tunnel that is open.
    fn tunnel(&mut self, id: StreamId) {
        self.open(id, "CONNECT", &[WEBSOCKET], false);
        assert!(self.switch(id));
        let frames = self.frames();
        assert!(matches!(&frames[..], [(1, 4, of, _)] if *of == id), "{frames:?}");
    }

    fn switch(&mut self, id: StreamId) -> bool {
        self.conn.switch(
            id,
            &ResponseHead::new(101).with("Upgrade", "websocket").with("X", "y"),
            DATE,
            self.now,
        )
    }

    fn send(&mut self, id: StreamId, bytes: &[u8]) {
        self.conn.send(id, Segment::from(bytes.to_vec()));
    }
}

#[test]
fn it_is_told_where_they_may_be_asked_for() {
    for connect in [true, false] {
        let mut peer = Peer::silent(Limits::default(), Settings { connect, ..Settings::default() });
        let frames = peer.frames();
        let told = frames[0].3.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]);
        assert_eq!(told, connect, "{frames:?}");
    }
}

#[test]
fn what_came_before_it_was_open_comes_first() {
    let mut peer = peer();
    peer.open(1, "CONNECT", &[WEBSOCKET], false);
    peer.data(1, b"early", false);
    assert!(peer.conn.poll().is_none());
    assert!(peer.conn.limit_body(1, 3).is_ok(), "it is no body");
    assert!(peer.switch(1));
    let frames = peer.frames();
    let fields = peer.fields(&frames[0].3);
    assert_eq!(fields[0], (":status".to_owned(), "200".to_owned()));
    assert!(fields.iter().any(|(name, value)| (&**name, &**value) == ("x", "y")), "{fields:?}");
    assert!(!fields.iter().any(|(name, _)| name == "upgrade" || name == "content-length"), "{fields:?}");
    assert!(matches!(peer.poll(), (1, Event::Body(bytes)) if bytes == b"early"));
    peer.data(1, b"late", true);
    assert!(matches!(peer.poll(), (1, Event::Body(bytes)) if bytes == b"late"));
    assert!(matches!(peer.poll(), (1, Event::BodyEnd)));
}

#[test]
fn each_side_may_end_before_the_other() {
    let mut peer = peer();
    peer.tunnel(1);
    peer.send(1, b"last");
    peer.conn.shut(1);
    assert_eq!(peer.frames(), [(0, 1, 1, b"last".to_vec())]);
    peer.send(1, b"too late");
    assert_eq!(peer.frames(), []);
    peer.data(1, b"still", false);
    assert!(matches!(peer.poll(), (1, Event::Body(bytes)) if bytes == b"still"));
    peer.data(1, b"", true);
    assert!(matches!(peer.poll(), (1, Event::BodyEnd)));
    peer.conn.finish(1, peer.now);
    assert_eq!((peer.frames(), peer.done()), (vec![], vec![(1, 4)]));

    peer.tunnel(3);
    peer.data(3, b"", true);
    assert!(matches!(peer.poll(), (3, Event::BodyEnd)));
    peer.send(3, b"after");
    assert_eq!(peer.frames(), [(0, 0, 3, b"after".to_vec())]);
    peer.conn.shut(3);
    assert_eq!(peer.frames(), [(0, 1, 3, vec![])]);
    peer.conn.finish(3, peer.now);
    assert_eq!((peer.frames(), peer.done()), (vec![], vec![(3, 5)]));
}

#[test]
fn one_that_is_ended_or_breaks_on_our_side_takes_no_more() {
    let mut peer = peer();
    peer.tunnel(1);
    peer.send(1, b"x");
    peer.conn.finish(1, peer.now);
    // Its end, and that nobody listens any more.
    assert_eq!(peer.frames(), [(0, 1, 1, b"x".to_vec()), (3, 0, 1, vec![0, 0, 0, 0])]);
    assert_eq!(peer.done(), [(1, 1)]);
    peer.tunnel(3);
    peer.send(3, b"x");
    peer.conn.break_off(3);
    assert_eq!(peer.frames(), [(0, 0, 3, b"x".to_vec()), (3, 0, 3, vec![0, 0, 0, 8])]);
    assert_eq!(peer.done(), [(3, 1)]);
    peer.data(3, b"on its way", false);
    assert!(peer.conn.poll().is_none() && peer.conn.end() == End::Open);
}

#[test]
fn one_that_is_refused_gets_an_answer_and_nothing_of_it_is_taken() {
    let mut peer = peer();
    peer.open(1, "CONNECT", &[WEBSOCKET], false);
    peer.data(1, b"early", false);
    assert!(peer.respond(1, BodyLength::Unknown));
    assert!(!peer.switch(1));
    peer.data(1, b"late", false);
    assert!(peer.conn.poll().is_none());
    peer.send(1, b"no");
    peer.conn.finish(1, peer.now);
    let frames = peer.frames();
    let kinds: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(kinds, [(1, 4), (0, 1), (3, 0)], "{frames:?}");
    peer.open(3, "GET", &[], true);
    assert!(!peer.switch(3), "nobody has asked");
}

#[test]
fn only_data_goes_through_it() {
    let mut peer = peer();
    peer.tunnel(1);
    let trailers = peer.block(&[("x", "y")]);
    peer.say(|out| frame::write_headers(1, true, out, |out| out.extend_from_slice(&trailers)));
    assert!(matches!(peer.poll(), (1, Event::Gone)));
    assert_eq!(peer.frames(), [(3, 0, 1, vec![0, 0, 0, 1])]);
    peer.tunnel(3);
    peer.say(|out| frame::write_reset(3, Code::Cancel, out));
    assert!(matches!(peer.poll(), (3, Event::Gone)));
}

#[test]
fn it_has_no_deadline_but_for_what_the_client_does_not_take() {
    let mut peer = peer();
    peer.tunnel(1);
    assert_eq!((peer.conn.deadline(), peer.wait(Duration::from_secs(100_000))), (None, None));
    assert!(peer.conn.has_room(1));
    peer.send(1, &[b'x'; 100_000]);
    assert!(!peer.conn.has_room(1));
    assert_eq!(peer.frames().iter().map(|frame| frame.3.len()).sum::<usize>(), 65_535);
    assert!(!peer.conn.has_room(1), "what came is written before more is read");
    peer.wait(Limits::default().body_timeout);
    assert!(peer.conn.end() == End::Abort || matches!(peer.poll(), (1, Event::Gone)));
}

#[test]
fn what_its_owner_has_no_room_for_closes_the_window() {
    let mut peer = peer();
    peer.tunnel(1);
    peer.conn.hold(1, true, peer.now);
    for _ in 0..16 {
        peer.data(1, &[b'x'; 16_000], false);
    }
    assert!(peer.conn.poll().is_none());
    assert!(!peer.frames().iter().any(|(kind, _, stream, _)| (*kind, *stream) == (8, 1)));
    peer.conn.hold(1, false, peer.now);
    assert!(matches!(peer.poll(), (1, Event::Body(bytes)) if bytes.len() == 256_000));
    assert!(peer.frames().iter().any(|(kind, _, stream, _)| (*kind, *stream) == (8, 1)));
}

#[test]
fn a_long_answer_before_it_does_not_hold_it_up() {
    let mut peer = peer();
    peer.say(|out| {
        frame::write_settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 30)], out);
        frame::write_window_update(0, 1 << 30, out);
    });
    let whole = ("priority", "u=3");
    peer.open(1, "GET", &[whole], true);
    assert!(peer.respond(1, BodyLength::Unknown));
    peer.open(3, "CONNECT", &[WEBSOCKET, whole], false);
    assert!(peer.switch(3));
    peer.frames();
    peer.send(1, &[b'x'; 250_000]);
    peer.send(3, b"now");
    let order: Vec<_> = peer.frames().iter().filter(|frame| frame.0 == 0).map(|frame| frame.2).collect();
    assert!(order.iter().position(|stream| *stream == 3) < Some(2), "{order:?}");
}
