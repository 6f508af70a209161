//! What the reverse proxy keeps for clients that are slow, so that they hold no connection to an upstream; and where it keeps
//! nothing.

use crate::harness::http2::Client;
use crate::harness::{
    Connection, SOON, Server, Setup, Upstream, get, holds, keep_loading, noise, wait_until, without,
};
use nix::libc;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// More than sockets take.
const LARGE: usize = 32 << 20;

/// What a location, an upstream and the workers are told besides.
#[derive(Default)]
struct Keys<'a> {
    location: &'a str,
    upstream: &'a str,
    workers: &'a str,
    more: &'a str,
}

/// One worker, so that what it keeps can be counted.
fn front(upstream: &Upstream, keys: &Keys<'_>) -> Setup {
    let Keys { location, upstream: behind, workers, more } = keys;
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1, {workers}),
    temp_dir: "{{dir}}/spool",
    sites: [(
        listen: ["{{address}}"],
        max_body: "64MiB",
        locations: [(path: "/", to: Proxy(name: "behind", {location}), {more})],
    )],
    upstreams: {{"behind": (servers: ["{}"], {behind})}},"#,
        upstream.address
    ));
    std::fs::create_dir(setup.directory.path().join("spool")).unwrap();
    setup
}

/// An upstream that answers with a large body, framed as the path says, and how far it has come.
struct Source {
    upstream: Upstream,
    written: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
}

fn source(body: Vec<u8>, fields: &'static str) -> Source {
    let (written, answered) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let (writes, answers) = (written.clone(), answered.clone());
    let upstream = Upstream::start(move |request, stream| {
        let (chunked, until_close) = (request.line.contains("chunked"), request.line.contains("close"));
        let framing = match () {
            () if chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            () if until_close => String::new(),
            () => format!("Content-Length: {}\r\n", body.len()),
        };
        let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
        if !send(format!("HTTP/1.1 200 OK\r\n{fields}{framing}\r\n").as_bytes()) {
            return false;
        }
        for piece in body.chunks(50_000) {
            let size = format!("{:x}\r\n", piece.len());
            let sent =
                if chunked { send(size.as_bytes()) && send(piece) && send(b"\r\n") } else { send(piece) };
            if !sent {
                return false;
            }
            writes.fetch_add(piece.len(), Ordering::SeqCst);
        }
        let ended = !chunked || send(b"0\r\n\r\n");
        answers.fetch_add(usize::from(ended), Ordering::SeqCst);
        ended && !until_close
    });
    Source { upstream, written, answered }
}

impl Source {
    #[track_caller]
    fn wait_answered(&self, count: usize) {
        wait_until(SOON, "responses that the upstream is rid of", || {
            let (answered, written) =
                (self.answered.load(Ordering::SeqCst), self.written.load(Ordering::SeqCst));
            holds(answered == count, (answered, written))
        });
    }

    /// The upstream gets rid of nothing more for a while; of how much it has.
    #[track_caller]
    fn wait_stalled(&self) -> usize {
        let mut last = 0;
        wait_until(SOON, "an upstream that waits", || {
            let written = self.written.load(Ordering::SeqCst);
            keep_loading(Duration::from_millis(300));
            last = self.written.load(Ordering::SeqCst);
            holds(last > 0 && written == last, last)
        });
        last
    }
}

/// A client that has asked and reads the head only.
fn asks(server: &Server, path: &str) -> Connection {
    let mut client = Connection::open(server.address).unwrap();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).unwrap();
    client
}

/// What waits in the memory of the worker.
fn buffered(server: &Server) -> u64 {
    server.pool("worker").children.iter().filter_map(|child| child.buffered_bytes).sum()
}

#[track_caller]
fn wait_nothing_kept(server: &Server, descriptors: usize) {
    let worker = server.ready("worker")[0];
    wait_until(SOON, "nothing is kept", || {
        let seen = (buffered(server), worker.descriptors());
        holds(seen.0 == 0 && seen.1 <= descriptors, seen)
    });
}

#[test]
fn a_client_that_does_not_read_holds_no_connection_to_the_upstream() {
    let body = noise(LARGE, 1);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    for (count, path) in ["/sized", "/chunked", "/close"].into_iter().enumerate() {
        let mut client = asks(&server, path);
        source.wait_answered(count + 1);
        assert!(client.reply("GET").unwrap().body == body, "{path}");
        // Whoever comes next gets the connection that was freed.
        assert_eq!(source.upstream.last().connection, 0, "{path}");
    }
    wait_nothing_kept(&server, usize::MAX);
}

#[test]
fn it_is_the_same_over_http2_however_small_the_window() {
    let body = noise(LARGE, 2);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    let mut client = Client::open(server.address, &[]).unwrap();
    let fields = client.asks("GET", "/chunked").to_vec();
    let streams: Vec<_> = (0..3).map(|_| client.request(&fields, true).unwrap()).collect();
    source.wait_answered(3);
    assert!(buffered(&server) < 3 * (64 << 10) + (256 << 10), "{}", buffered(&server));
    for stream in streams {
        assert!(client.answer(stream).unwrap().body == body);
    }
}

#[test]
fn a_client_that_has_closed_its_side_gets_what_was_kept_for_it() {
    let body = noise(LARGE, 14);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    let mut client = asks(&server, "/chunked");
    assert_eq!(client.reply_head().unwrap().status, 200);
    source.wait_answered(1);
    client.socket().shutdown(std::net::Shutdown::Write).unwrap();
    // Its end has come: the next answer is later.
    assert_eq!(get(server.address, "/none").status, 200);
    let rest = client.rest().unwrap();
    assert!(rest.len() > body.len() && rest.ends_with(b"\r\n0\r\n\r\n"), "{}", rest.len());
}

#[test]
fn what_waits_in_memory_is_bounded_for_all_together() {
    const CLIENTS: usize = 16;
    let body = noise(12 << 20, 3);
    let source = source(body.clone(), "");
    let keys = Keys { workers: "buffers: \"128KiB\"", ..Keys::default() };
    let server = front(&source.upstream, &keys).start();
    let descriptors = server.ready("worker")[0].descriptors();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| asks(&server, "/sized")).collect();
    source.wait_answered(CLIENTS);
    let waits = buffered(&server);
    // One turn of one connection above, and a little for each.
    assert!((1..(128 + 64 + CLIENTS as u64 * 16) << 10).contains(&waits), "{waits}");
    clients.truncate(2);
    for mut client in clients {
        assert!(client.reply("GET").unwrap().body == body);
    }
    // Those that have gone have left nothing either.
    wait_nothing_kept(&server, descriptors + 2);
}

#[test]
fn a_full_file_makes_the_upstream_wait_and_nothing_is_lost() {
    let body = noise(LARGE, 4);
    let source = source(body.clone(), "");
    let keys = Keys { upstream: "response_buffer: (memory: \"16KiB\", file: \"1MiB\")", ..Keys::default() };
    let server = front(&source.upstream, &keys).start();
    for (count, path) in ["/sized", "/chunked"].into_iter().enumerate() {
        let mut client = asks(&server, path);
        source.wait_stalled();
        assert_eq!(source.answered.load(Ordering::SeqCst), count, "it waits");
        assert!(client.reply("GET").unwrap().body == body, "{path}");
    }
}

#[test]
fn without_a_directory_for_files_bodies_are_passed_on_and_the_log_says_so() {
    let body = noise(LARGE, 5);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    let server = server.tolerant(&["cannot keep a re"]);
    std::fs::remove_dir(server.directory().path().join("spool")).unwrap();
    let mut client = asks(&server, "/sized");
    server.wait_log("cannot keep a response in ");
    source.wait_stalled();
    assert_eq!(source.answered.load(Ordering::SeqCst), 0);
    assert!(client.reply("GET").unwrap().body == body);
    let sent = noise(3_000_000, 6);
    let mut client = Connection::open(server.address).unwrap();
    assert!(client.request("POST", "/", &[], &sent).unwrap().body == body);
    assert!(source.upstream.last().body == sent);
    assert!(client.request_chunked("POST", "/", &[], &sent).unwrap().body == body);
    let received = source.upstream.last();
    assert!(received.body == sent && received.all("transfer-encoding") == ["chunked"]);
    server.wait_log("cannot keep a request body in ");
}

#[test]
fn responses_that_are_not_to_be_kept_make_the_upstream_wait() {
    for (location, fields, waits) in [
        ("buffering: Off", "", true),
        ("buffering: Off", "X-Accel-Buffering: YES\r\n", false),
        ("", "X-Accel-Buffering: no\r\n", true),
        ("", "X-Accel-Buffering: maybe\r\n", false),
        ("", "Content-Type: text/event-stream; charset=utf-8\r\n", true),
        ("", "Content-Type: text/event-stream\r\nX-Accel-Buffering: yes\r\n", true),
    ] {
        let body = noise(LARGE, 7);
        let source = source(body.clone(), fields);
        let server = front(&source.upstream, &Keys { location, ..Keys::default() }).start();
        let mut client = asks(&server, "/sized");
        if waits {
            source.wait_stalled();
            assert_eq!(source.answered.load(Ordering::SeqCst), 0, "{location} {fields}");
            assert!(buffered(&server) < 128 << 10, "{}", buffered(&server));
        } else {
            source.wait_answered(1);
        }
        let reply = client.reply("GET").unwrap();
        assert!(reply.body == body && reply.field("x-accel-buffering").is_none(), "{location} {fields}");
    }
}

/// An upstream that answers a piece at a time, when it is told to by the client.
#[test]
fn what_comes_is_passed_on_at_once_whatever_is_kept() {
    for location in ["", "buffering: Off"] {
        let upstream = Upstream::raw(|_, mut stream| {
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
            // The rest comes when the client has told that it has these, on a connection of its own.
            keep_loading(Duration::from_millis(500));
            let _ = stream.write_all(b"1\r\nc\r\n0\r\n\r\n");
        });
        let server = front(&upstream, &Keys { location, ..Keys::default() }).start();
        let mut client = asks(&server, "/");
        assert_eq!(client.reply_head().unwrap().status, 200);
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        client.exactly(7, &mut first).unwrap();
        assert_eq!(first, b"2\r\nab\r\n", "{location}");
        client.exactly(11, &mut rest).unwrap();
        assert_eq!(rest, b"1\r\nc\r\n0\r\n\r\n");
    }
}

#[test]
fn a_client_that_sends_slowly_holds_no_connection_to_the_upstream() {
    let upstream = Upstream::fixed("ok");
    let server = front(&upstream, &Keys::default()).start();
    for length in [4, 500_000, 3_000_000] {
        let body = noise(length, 8);
        let (first, rest) = body.split_at(length / 2);
        let mut client = Connection::open(server.address).unwrap();
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).unwrap();
        assert_eq!(client.reply_head().unwrap().status, 100);
        client.send(first).unwrap();
        // Somebody else is served meanwhile.
        assert_eq!(get(server.address, "/").text(), "ok");
        let seen = upstream.received().iter().filter(|request| request.line.starts_with("POST")).count();
        assert_eq!((seen, upstream.open()), (0, 1), "{length}");
        client.send(rest).unwrap();
        assert_eq!(client.reply("POST").unwrap().text(), "ok");
        let received = upstream.take_received();
        assert!(received.iter().any(|request| request.body == body && request.connection == 0));
        // A length that was not told is known by now.
        assert_eq!(client.request_chunked("POST", "/", &[], &body).unwrap().text(), "ok");
        assert!(upstream.last().body == body);
        assert_eq!(upstream.last().all("content-length"), [length.to_string()]);
        upstream.take_received();
    }
    let mut client = Client::open(server.address, &[]).unwrap();
    let stream = client.request(&client.asks("POST", "/").to_vec(), false).unwrap();
    client.send(crate::harness::http2::frame(0, 0, stream, b"ab")).unwrap();
    assert_eq!(get(server.address, "/").text(), "ok");
    assert_eq!(upstream.received().len(), 1, "only that");
    client.send(crate::harness::http2::frame(0, 1, stream, b"cd")).unwrap();
    assert_eq!(client.answer(stream).unwrap().text(), "ok");
    assert_eq!(upstream.last().body, b"abcd");
    wait_nothing_kept(&server, usize::MAX);
}

#[test]
fn a_body_that_is_too_large_never_reaches_the_upstream() {
    let upstream = Upstream::fixed("ok");
    let server = front(&upstream, &Keys { more: "max_body: \"100KB\"", ..Keys::default() }).start();
    let mut client = Connection::open(server.address).unwrap();
    let body = noise(300_000, 9);
    assert_eq!(client.request_chunked("POST", "/", &[], &body).map_or(413, |reply| reply.status), 413);
    assert_eq!(upstream.received().len(), 0);
    wait_nothing_kept(&server, usize::MAX);
}

#[test]
fn without_buffering_the_upstream_hears_the_beginning_before_there_is_an_end() {
    let upstream = Upstream::raw(|_, mut stream| {
        let mut seen = Vec::new();
        let mut room = [0; 1000];
        while !seen.ends_with(b"ab") {
            match stream.read(&mut room) {
                Ok(count @ 1..) => seen.extend_from_slice(&room[..count]),
                _ => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        let _ = stream.read(&mut room);
    });
    let server = front(&upstream, &Keys { location: "buffering: Off", ..Keys::default() }).start();
    let mut client = Connection::open(server.address).unwrap();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").unwrap();
    assert_eq!(client.reply("POST").unwrap().text(), "early");
}

/// A server that reads a request and closes, once; what may be sent twice is, with its body.
#[test]
fn a_body_that_was_kept_is_sent_again_where_the_method_lets_it() {
    for (method, length, status) in [("PUT", 5, 200), ("PUT", 3_000_000, 200), ("POST", 5, 502)] {
        let upstream = Upstream::start(|request, stream| {
            request.connection > 0
                && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
        });
        let other = Upstream::fixed("ok");
        let keys = Keys::default();
        let setup = front(&upstream, &keys);
        let servers = format!("servers: [\"{}\", \"{}\"]", upstream.address, other.address);
        let text = std::fs::read_to_string(setup.directory.path().join("hatchery.ron")).unwrap();
        let one = format!("servers: [\"{}\"]", upstream.address);
        setup.directory.write("hatchery.ron", text.replace(&one, &servers));
        let server = setup.start().tolerant(&["upstream behind", "proxy behind"]);
        let body = noise(length, 10);
        let mut client = Connection::open(server.address).unwrap();
        // Until it was the turn of the one that closes.
        while upstream.received().is_empty() {
            let reply = client.request(method, "/", &[], &body).unwrap();
            let expected = if upstream.received().is_empty() { 200 } else { status };
            assert_eq!(reply.status, expected, "{method} {length}");
        }
        let received = [upstream.received(), other.received()].concat();
        assert!(received.iter().all(|request| request.body == body), "{method} {length}");
    }
}

#[test]
fn what_came_of_a_response_that_breaks_off_is_given_before_it_does() {
    let body = noise(LARGE, 11);
    let sent = body.clone();
    let upstream = Upstream::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len() + 1);
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&sent));
        false
    });
    let server = front(&upstream, &Keys::default()).start().tolerant(&["behind"]);
    let mut client = asks(&server, "/");
    server.wait_log("in the middle of the response");
    assert_eq!(client.reply_head().unwrap().status, 200);
    let mut came = Vec::new();
    client.exactly(body.len(), &mut came).unwrap();
    assert!(came == body);
    assert!(client.is_closed());
    wait_nothing_kept(&server, usize::MAX);
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let source = source(noise(LARGE, 12), "");
    let server = front(&source.upstream, &Keys { upstream: "keepalive: 0", ..Keys::default() }).start();
    let worker = server.ready("worker")[0];
    let descriptors = worker.descriptors();
    // While the upstream still sends, and when it does not any more; and in the middle of a body.
    for waits in [false, true] {
        let mut client = asks(&server, "/sized");
        assert_eq!(client.reply_head().unwrap().status, 200);
        if waits {
            source.wait_answered(1);
        }
        drop(client);
        wait_nothing_kept(&server, descriptors);
        source.answered.store(0, Ordering::SeqCst);
        wait_until(SOON, "the upstream is free", || {
            holds(source.upstream.open() == 0, source.upstream.open())
        });
    }
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n").unwrap();
    client.write_all(&noise(3_000_000, 13)).unwrap();
    wait_until(SOON, "a file for the body", || holds(worker.descriptors() > descriptors + 1, "none"));
    drop(client);
    wait_nothing_kept(&server, descriptors);
    let before = source.upstream.received().iter().filter(|request| request.line.starts_with("POST")).count();
    assert_eq!(before, 0);
}

/// Clients that do not read stop responses on whatever way those go.
#[test]
fn large_bodies_go_through_pipes_where_nobody_has_to_look_at_them() {
    const CLIENTS: usize = 8;
    let (large, small) = (noise(LARGE, 21), noise((1 << 20) - 1, 22));
    for (body, keys, path, piped) in [
        (&large, "", "/sized", true),
        (&large, "", "/chunked", false),
        (&large, "", "/close", false),
        (&large, "buffering: Off", "/sized", false),
        (&small, "", "/sized", false),
    ] {
        let source = source(body.clone(), "");
        let server = front(&source.upstream, &Keys { location: keys, ..Keys::default() }).start();
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| asks(&server, path)).collect();
        if keys.is_empty() {
            source.wait_answered(CLIENTS);
        } else {
            source.wait_stalled();
        }
        let worker = server.ready("worker")[0];
        assert_eq!(worker.has_something_in_pipes(), piped, "{keys} {path}");
        for client in &mut clients {
            assert!(client.reply("GET").unwrap().body == *body, "{keys} {path}");
        }
        // Both connections go on, and pipes serve again.
        for client in clients.iter_mut().take(2).filter(|_| path != "/close") {
            assert!(client.request("GET", path, &[], b"").unwrap().body == *body, "{keys} {path}");
        }
        wait_nothing_kept(&server, usize::MAX);
    }
}

#[test]
fn what_clients_leave_in_pipes_reaches_nobody() {
    let body = noise(LARGE, 26);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    // More than there are pipes.
    for _ in 0..3 {
        let clients: Vec<_> = (0..10).map(|_| asks(&server, "/sized")).collect();
        source.wait_answered(10);
        drop(clients);
        wait_nothing_kept(&server, usize::MAX);
        source.answered.store(0, Ordering::SeqCst);
    }
    for _ in 0..4 {
        assert!(get(server.address, "/sized").body == body);
    }
}

#[test]
fn what_went_through_a_pipe_counts_in_the_log() {
    let body = noise(4 << 20, 24);
    let source = source(body.clone(), "");
    let server = front(&source.upstream, &Keys::default()).start();
    assert!(asks(&server, "/sized").reply("GET").unwrap().body == body);
    let line = server.wait_log("GET /sized");
    assert!(line.contains(&format!(" 200 {} ", body.len())), "{line}");
}

#[test]
fn a_large_body_that_breaks_off_breaks_off_for_the_client_and_spoils_no_connection() {
    let body = noise(3 << 20, 25);
    let sent = body.clone();
    let upstream = Upstream::start(move |request, stream| {
        let more = usize::from(request.line.contains("/cut"));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len() + more);
        stream.write_all(head.as_bytes()).is_ok() && stream.write_all(&sent).is_ok() && more == 0
    });
    let server = front(&upstream, &Keys::default()).start().tolerant(&["behind"]);
    let mut client = asks(&server, "/cut");
    assert_eq!(client.reply_head().unwrap().status, 200);
    assert!(client.rest().unwrap() == body, "what came of it, and no more");
    server.wait_log("[truncated]");
    let mut client = asks(&server, "/whole");
    assert!(client.reply("GET").unwrap().body == body);
    assert!(client.request("GET", "/whole", &[], b"").unwrap().body == body);
    assert_eq!(upstream.last().connection, 1, "the second one, for both");
}

/// Another sandbox around ours may refuse the call.
#[test]
fn a_large_body_arrives_where_nothing_can_be_spliced() {
    let body = noise(4 << 20, 27);
    let source = source(body.clone(), "");
    let prefix = without(&[libc::SYS_splice]);
    let prefix: Vec<_> = prefix.iter().map(String::as_str).collect();
    let server = front(&source.upstream, &Keys::default()).under(&prefix).start();
    for _ in 0..2 {
        assert!(get(server.address, "/sized").body == body);
    }
}
