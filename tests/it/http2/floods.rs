//! Floods: what costs a client little and a server much. They end with ENHANCE_YOUR_CALM; the memory of the worker stays
//! flat, and somebody else is served meanwhile.

#![allow(clippy::too_many_lines, reason = "they are rows")]

use crate::harness::http2::*;
use crate::harness::{Process, SOON, Server, Setup, Upstream, holds, noise, now, wait_until};
use std::io::{self, Read as _, Write as _};
use std::time::Duration;

/// What a worker may need more at its peak than before.
const MORE_MEMORY: u64 = 12 << 20;

/// The same for hundreds of bodies that are not taken, each with what was read of it at once, 64 KiB.
const MORE_FOR_BODIES: u64 = 40 << 20;

/// Nobody needs to send more than that to be told to stop; on its way there may be as much.
const MOST_SENT: usize = 8 << 20;

/// `/` answers, `/large` is a large file, `/up/` sends as much and reads what comes, `/wait/` does not answer.
fn site(up: &Upstream, wait: &Upstream) -> Server {
    site_of(10_000, up, wait)
}

/// The same with a worker that may have so many connections.
fn site_of(connections: u32, up: &Upstream, wait: &Upstream) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1, connections: {connections}),
    limits: (body_timeout: "2s", keepalive_requests: 0),
    sites: [(
        listen: ["{{address}}"],
        log: (access: Off),
        locations: [
            (path: "/up/", to: Proxy("up")),
            (path: "/wait/", to: Proxy("wait")),
            (exact: "/large", to: Files(root: "static")),
            (path: "/", to: Respond(body: "fixed")),
        ],
    )],
    upstreams: {{"up": (servers: ["{}"]), "wait": (servers: ["{}"])}},"#,
        up.address, wait.address
    ));
    setup.directory.write("static/large", noise(8 << 20, 3));
    setup.start()
}

fn upstreams() -> (Upstream, Upstream) {
    let large = noise(8 << 20, 5);
    let up = Upstream::start(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len());
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&large)).is_ok()
    });
    // Until the server closes.
    (up, Upstream::start(|_, stream| stream.read(&mut [0]).is_err()))
}

/// A worker, and what it needed before something was done to it.
struct Watched {
    worker: Process,
    before: u64,
}

impl Watched {
    fn new(server: &Server) -> Self {
        let worker = server.ready("worker")[0];
        assert_eq!(Client::open(server.address, &[]).unwrap().get("/").unwrap().status, 200);
        Self { worker, before: worker.memory("VmHWM") }
    }

    #[track_caller]
    fn assert_flat(&self, server: &Server, what: &str) {
        self.assert_below(MORE_MEMORY, server, what);
    }

    #[track_caller]
    fn assert_below(&self, most: u64, server: &Server, what: &str) {
        assert_eq!(server.ready("worker"), [self.worker], "{what}");
        let more = self.worker.memory("VmHWM").saturating_sub(self.before);
        assert!(more < most, "{what}: {} KiB more", more >> 10);
    }
}

/// Sends what `round` makes, again and again, until it is told to stop; with which code. `bystander` asks for something
/// in between.
fn flood(server: &Server, what: &str, bystander: &mut Client, round: &dyn Fn(u32) -> Vec<u8>) -> u32 {
    let mut client = Client::open(server.address, &[]).unwrap();
    client.patience(Duration::from_millis(1)).unwrap();
    let mut sent = 0;
    for nth in 0.. {
        let bytes = round(nth);
        sent += bytes.len();
        let is_over = client.send(bytes).is_err() || sent > MOST_SENT;
        if is_over {
            client.patience(SOON).unwrap();
        }
        loop {
            match client.next_or_silence() {
                Came::GoAway { code, .. } => return code,
                Came::Closed => panic!("{what}: closed without a word"),
                Came::Silence if is_over => panic!("{what}: {sent} bytes and no word"),
                Came::Silence => break,
                _ => {}
            }
        }
        if nth % 8 == 0 {
            let begun = now();
            assert_eq!(bystander.get("/").unwrap().status, 200, "{what}");
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(2), "{what}: the bystander waited for {took:?}");
        }
    }
    unreachable!()
}

type Round = Box<dyn Fn(u32) -> Vec<u8>>;

/// Something for each of the next hundred streams.
fn streams(nth: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..100).flat_map(|count| of((nth * 100 + count) * 2 + 1)).collect()
}

/// The first round opens stream 1 with these fields; all send `frame` a hundred times.
fn behind(begin: Vec<u8>, frame: Vec<u8>) -> Round {
    Box::new(move |nth| [if nth == 0 { &begin[..] } else { b"" }, &frame.repeat(100)].concat())
}

fn floods() -> Vec<(&'static str, Round)> {
    let wait = |stream| headers(stream, END_STREAM, &asks("GET", "/wait/"));
    let post = || headers(1, 0, &asks("POST", "/up/"));
    let begun = || frame(HEADERS, END_STREAM, 1, block(&asks("GET", "/")));
    let resets = move |code| -> Round {
        Box::new(move |nth| streams(nth, |stream| [wait(stream), reset(stream, code)].concat()))
    };
    let spoilt = move |spoil: fn(u32) -> Vec<u8>| -> Round {
        Box::new(move |nth| streams(nth, |stream| [wait(stream), spoil(stream)].concat()))
    };
    vec![
        ("rapid reset", resets(CANCEL)),
        ("rapid reset without an error", resets(NO_ERROR)),
        (
            "rapid reset of what is answered at once",
            Box::new(|nth| streams(nth, |stream| [get(stream, "/"), reset(stream, CANCEL)].concat())),
        ),
        ("made to reset by an increment of 0", spoilt(|stream| window_update(stream, 0))),
        ("made to reset by a window too large", spoilt(|stream| window_update(stream, (1 << 31) - 1))),
        ("made to reset by DATA behind the end", spoilt(|stream| frame(DATA, 0, stream, "x"))),
        (
            "made to reset by HEADERS behind the end",
            spoilt(|stream| headers(stream, END_STREAM, &[("a", "b")])),
        ),
        ("made to reset by PRIORITY of 4 bytes", spoilt(|stream| frame(PRIORITY, 0, stream, [0; 4]))),
        (
            "malformed requests",
            Box::new(|nth| streams(nth, |stream| headers(stream, END_STREAM, &[("", ""), (":path", "/")]))),
        ),
        (
            "streams that are refused",
            Box::new(|nth| streams(nth, |stream| headers(stream, 0, &asks("POST", "/wait/")))),
        ),
        ("SETTINGS", behind(Vec::new(), settings(&[]))),
        (
            "SETTINGS that change all windows",
            behind(
                wait(1),
                [settings(&[(INITIAL_WINDOW_SIZE, 1)]), settings(&[(INITIAL_WINDOW_SIZE, 0)])].concat(),
            ),
        ),
        ("SETTINGS that change 2,730 times the windows of streams that wait for it", {
            let large = |stream| headers(stream, END_STREAM, &asks("GET", "/large"));
            let begin = [settings(&[(INITIAL_WINDOW_SIZE, 0)]), streams(0, large)].concat();
            let values = [(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 0)].repeat(1365);
            behind(begin, settings(&values))
        }),
        ("SETTINGS of 2,730 values", behind(Vec::new(), settings(&[(MAX_CONCURRENT_STREAMS, 1); 2730]))),
        ("acknowledgements of SETTINGS", behind(Vec::new(), frame(SETTINGS, ACK, 0, ""))),
        ("PING", behind(Vec::new(), frame(PING, 0, 0, [0; 8]))),
        ("acknowledgements of PING", behind(Vec::new(), frame(PING, ACK, 0, [0; 8]))),
        ("CONTINUATION without a byte", behind(begun(), frame(CONTINUATION, 0, 1, ""))),
        (
            "CONTINUATION of one byte",
            behind(frame(HEADERS, END_STREAM, 1, ""), frame(CONTINUATION, 0, 1, [0x82])),
        ),
        ("CONTINUATION of 16 KiB", behind(begun(), frame(CONTINUATION, 0, 1, [0x82; 16_384]))),
        ("DATA without a byte", behind(post(), frame(DATA, 0, 1, ""))),
        ("DATA of padding only", behind(post(), frame(DATA, PADDED, 1, [0]))),
        ("WINDOW_UPDATE", behind(Vec::new(), window_update(0, 1))),
        ("WINDOW_UPDATE of a stream", behind(wait(1), window_update(1, 1))),
        (
            "WINDOW_UPDATE of a closed stream",
            behind([wait(1), reset(1, CANCEL)].concat(), window_update(1, 1)),
        ),
        ("PRIORITY", behind(Vec::new(), frame(PRIORITY, 0, 7, [0, 0, 0, 1, 1]))),
        (
            "PRIORITY of many streams",
            Box::new(|nth| streams(nth, |stream| frame(PRIORITY, 0, stream, [0, 0, 0, 0, 1]))),
        ),
        (
            "PRIORITY_UPDATE of many streams",
            Box::new(|nth| {
                streams(nth, |stream| {
                    frame(PRIORITY_UPDATE, 0, 0, [&stream.to_be_bytes()[..], b"u=1"].concat())
                })
            }),
        ),
        ("RST_STREAM of a closed stream", behind([wait(1), reset(1, CANCEL)].concat(), reset(1, CANCEL))),
        ("DATA of a stream that was reset for it", behind(wait(1), frame(DATA, 0, 1, "x"))),
        ("GOAWAY", behind(Vec::new(), frame(GOAWAY, 0, 0, [0; 8]))),
        ("unknown frames", behind(Vec::new(), frame(0xfe, 0, 0, ""))),
    ]
}

#[test]
fn each_ends_with_a_word_and_hurts_nobody_else() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let watched = Watched::new(&server);
    let mut bystander = Client::open(server.address, &[]).unwrap();
    for (what, round) in floods() {
        let code = flood(&server, what, &mut bystander, &*round);
        assert_eq!(code, ENHANCE_YOUR_CALM, "{what}");
        watched.assert_flat(&server, what);
    }
    server.wait_log(": connection ended: too much work for too few answers");
    // What they opened was closed.
    wait_until(SOON, "nothing is left of them", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 1, workers)
    });
}

#[test]
fn a_browser_that_changes_its_mind_is_no_flood() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let mut client = Client::open(server.address, &[]).unwrap();
    // Twenty pages with fifty things each, half of which are thrown away, with the small work of a browser around them.
    for _ in 0..20 {
        let streams: Vec<u32> = (0..50).map(|_| client.request(&asks("GET", "/"), true).unwrap()).collect();
        let (kept, dropped) = streams.split_at(25);
        for stream in dropped {
            client.send(reset(*stream, CANCEL)).unwrap();
        }
        client.send(frame(PING, 0, 0, [1; 8])).unwrap();
        for stream in kept {
            assert_eq!(client.answer(*stream).unwrap().status, 200);
        }
    }
    assert_eq!(client.goaway, None);
}

/// A small entry of the table that stands for a list of a hundred megabytes: each request is refused, none is the end.
#[test]
fn lists_that_are_larger_than_they_look_are_refused_without_being_made() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let watched = Watched::new(&server);
    let mut client = Client::open(server.address, &[]).unwrap();
    let value = "x".repeat(4000);
    let entry = block(&[("a", &value)]);
    let mut first = block(&asks("GET", "/"));
    // Kept in the table.
    first.push(0x40);
    first.extend_from_slice(&entry[1..]);
    let again = [&block(&asks("GET", "/"))[..], &[0xbe; 16_000]].concat();
    for nth in 0..200 {
        let stream = client.request_of(if nth == 0 { &first } else { &again }, true).unwrap();
        let answer = client.answer(stream).unwrap();
        assert_eq!(answer.status, if nth == 0 { 200 } else { 431 });
    }
    assert_eq!(client.get("/").unwrap().status, 200);
    watched.assert_flat(&server, "lists");
}

/// Each of these requests takes a descriptor, as a connection of its own would.
#[test]
fn many_connections_with_many_streams_leave_room_for_others() {
    let (up, wait) = upstreams();
    let server = site_of(500, &up, &wait);
    let worker = server.ready("worker")[0];
    let few = worker.descriptors();
    // An address has a third of the room; what may not run yet waits.
    let clients: Vec<Client> = (0..30)
        .map(|_| {
            let mut client = Client::open(server.address, &[]).unwrap();
            ask_for(&mut client, "/wait/", 100).unwrap();
            client.send(frame(PING, 0, 0, [1; 8])).unwrap();
            assert_eq!(client.next().unwrap(), Came::PingAck([1; 8]));
            client
        })
        .collect();
    let mut other = Client::open_from(2, server.address).unwrap();
    ask_for(&mut other, "/wait/", 100).unwrap();
    other.send(frame(PING, 0, 0, [1; 8])).unwrap();
    assert_eq!(other.next().unwrap(), Came::PingAck([1; 8]), "another one has as many as the first");
    let more = worker.descriptors() - few;
    assert!(more < 171 + 100 + 2 * clients.len() + 16, "{more} more descriptors");
    assert_eq!(Client::open(server.address, &[]).unwrap().get("/").unwrap().status, 200);
    // What was taken is given back.
    drop((clients, other));
    wait_until(SOON, "they have left", || {
        let descriptors = worker.descriptors();
        holds(descriptors < few + 64, descriptors)
    });
    let mut client = Client::open(server.address, &[]).unwrap();
    let streams: Vec<u32> = (0..100).map(|_| client.request(&asks("GET", "/"), true).unwrap()).collect();
    for stream in streams {
        assert_eq!(client.answer(stream).unwrap().status, 200);
    }
}

/// More than may run at once, from one address.
#[test]
fn what_may_not_run_yet_waits_and_is_served() {
    let (up, _) = upstreams();
    let late = Upstream::start(|_, stream| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "it is late");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = site_of(500, &up, &late);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::open(server.address, &[]).unwrap()).collect();
    let mut asked = Vec::new();
    for client in &mut clients {
        let streams = (0..100).map(|_| client.request(&asks("GET", "/wait/"), true).unwrap());
        asked.push(streams.collect::<Vec<u32>>());
    }
    for (client, streams) in clients.iter_mut().zip(asked) {
        for stream in streams {
            assert_eq!(client.answer(stream).unwrap().status, 200);
        }
    }
}

fn ask_for(client: &mut Client, path: &str, count: usize) -> io::Result<()> {
    (0..count).try_for_each(|_| client.request(&asks("GET", path), true).map(drop))
}

#[test]
fn who_takes_nothing_costs_no_memory_and_is_dropped() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let watched = Watched::new(&server);
    let open = |values: &[(u16, u32)]| Client::open(server.address, values).unwrap();
    for (path, most) in [("/large", MORE_MEMORY), ("/up/large", MORE_FOR_BODIES)] {
        // Windows of nothing, for the streams or for the connection.
        let mut closed = open(&[(INITIAL_WINDOW_SIZE, 0)]);
        ask_for(&mut closed, path, 100).unwrap();
        let mut narrow = open(&[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
        ask_for(&mut narrow, path, 100).unwrap();
        // All the windows there can be, and nothing is read (CVE-2019-9517).
        let mut deaf = open(&[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
        deaf.send(window_update(0, (1 << 31) - 1 - 65_535)).unwrap();
        ask_for(&mut deaf, path, 100).unwrap();
        // A byte at a time.
        let mut slow = open(&[(INITIAL_WINDOW_SIZE, 1)]);
        ask_for(&mut slow, path, 100).unwrap();
        let mut bystander = open(&[]);
        assert_eq!(bystander.get("/").unwrap().status, 200);
        // All are given up in the end: their streams, or they.
        for mut client in [closed, narrow, slow] {
            let ended = (0..).find_map(|_| match client.next().unwrap() {
                Came::Closed => Some(true),
                Came::Reset { code, .. } => Some(code == CANCEL),
                _ => None,
            });
            assert_eq!(ended, Some(true), "{path}");
        }
        wait_until(SOON, "they are dropped", || {
            let workers = server.pool("worker").children;
            holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() <= 2, workers)
        });
        drop(deaf);
        assert_eq!(bystander.get("/").unwrap().status, 200);
        watched.assert_below(most, &server, path);
    }
}

/// The client may still be sending them, and is not disturbed by a reset.
#[test]
fn requests_that_are_answered_before_they_end_take_room_too() {
    let (up, wait) = upstreams();
    let server = site_of(500, &up, &wait);
    let open = || {
        let mut client = Client::open(server.address, &[]).unwrap();
        for _ in 0..100 {
            client.request(&asks("POST", "/"), false).unwrap();
        }
        client.send(frame(PING, 0, 0, [1; 8])).unwrap();
        let came: Vec<Came> = (0..)
            .map(|_| client.next().unwrap())
            .take_while(|came| !matches!(came, Came::PingAck(_)))
            .collect();
        let refused =
            came.iter().filter(|came| matches!(came, Came::Reset { code: REFUSED_STREAM, .. })).count();
        (client, refused)
    };
    let (first, refused) = open();
    assert_eq!(refused, 0);
    let (second, refused) = open();
    assert!(
        (25..100).contains(&refused),
        "{refused}: an address has a third of 512 beside the first of each"
    );
    // They are gone with their connection.
    drop((first, second));
    wait_until(SOON, "there is room again", || {
        let refused = open().1;
        holds(refused == 0, refused)
    });
}

/// What they took lies scattered in the heap of the worker.
#[test]
fn the_memory_of_many_who_have_left_is_given_back() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let worker = server.ready("worker")[0];
    let memory = || worker.memory("VmRSS");
    let before = memory();
    let mut many: Vec<Client> =
        (0..60).map(|_| Client::open(server.address, &[(INITIAL_WINDOW_SIZE, 0)]).unwrap()).collect();
    many.iter_mut().for_each(|client| ask_for(client, "/up/large", 10).unwrap());
    wait_until(SOON, "they cost memory", || holds(memory() > before + (30 << 20), memory() >> 20));
    // One stays.
    let rest = many.split_off(1);
    drop(rest);
    wait_until(SOON, "it is given back", || holds(memory() < before + (12 << 20), memory() >> 20));
}

/// As long as nobody reads, answers are not over, so that the streams of more requests are too many.
#[test]
fn who_asks_on_without_reading_is_dropped() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let watched = Watched::new(&server);
    let mut client = Client::open(server.address, &[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]).unwrap();
    client.send(window_update(0, (1 << 31) - 1 - 65_535)).unwrap();
    let rounds = (0..).map(|nth| streams(nth, |stream| get(stream, "/")));
    let sent: usize = rounds
        .map(|round| (round.len(), client.send(round)))
        .map_while(|(len, sent)| sent.ok().map(|()| len))
        .sum();
    // What comes after the last word is dropped, up to 64 MiB; the kernel may take as much as half of that besides.
    assert!(sent < 112 << 20, "{sent} bytes of requests");
    watched.assert_flat(&server, "answers");
    assert_eq!(Client::open(server.address, &[]).unwrap().get("/").unwrap().status, 200);
}

#[test]
fn uploads_that_nobody_takes_are_not_kept_in_memory() {
    let (up, wait) = upstreams();
    let server = site(&up, &wait);
    let watched = Watched::new(&server);
    let mut client = Client::open(server.address, &[]).unwrap();
    let streams: Vec<u32> =
        (0..100).map(|_| client.request(&asks("POST", "/wait/"), false).unwrap()).collect();
    // What the windows allow at the beginning, and as much again and again, whatever they say.
    for _ in 0..50 {
        for stream in &streams {
            client.send(frame(DATA, 0, *stream, [7; 16_384])).unwrap();
        }
    }
    assert_eq!(Client::open(server.address, &[]).unwrap().get("/").unwrap().status, 200);
    watched.assert_below(MORE_FOR_BODIES, &server, "uploads");
    drop(client);
}
