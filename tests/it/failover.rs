//! Servers of an upstream that fail, and how little of it a client sees: killed, hung, refusing, answering garbage or 500s,
//! closing kept connections at the worst moment; and how it is found out when they are back.

use crate::harness::{
    Connection, Load, SOON, Server, Setup, Upstream, get, holds, keep_loading, now, wait_until,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mood {
    Good,
    Hangs,
    Garbage,
    Fails,
    Closes,
    Unavailable,
}

/// A server whose mood changes.
struct Moody {
    upstream: Upstream,
    mood: Arc<AtomicU8>,
}

impl Moody {
    fn new(name: &'static str) -> Self {
        let mood = Arc::new(AtomicU8::new(0));
        let own = Arc::clone(&mood);
        let upstream = Upstream::start(move |request, stream| {
            let answer = |stream: &mut TcpStream, status: &str, body: &str| {
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).is_ok()
            };
            match own.load(Ordering::SeqCst) {
                mood if mood == Mood::Hangs as u8 => {
                    while own.load(Ordering::SeqCst) == Mood::Hangs as u8 {
                        keep_loading(Duration::from_millis(5));
                    }
                    false
                }
                mood if mood == Mood::Garbage as u8 => {
                    let _ = stream.write_all(b"\x16\x03\x01 what?\r\n\r\n");
                    false
                }
                mood if mood == Mood::Fails as u8 => answer(stream, "500 Oh", "broken"),
                mood if mood == Mood::Unavailable as u8 => answer(stream, "503 No", "away"),
                mood if mood == Mood::Closes as u8 && !request.line.contains("/healthz") => false,
                _ => answer(stream, "200 OK", name),
            }
        });
        Self { upstream, mood }
    }

    fn is(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }
}

fn proxy(servers: &[SocketAddr], keys: &str) -> Server {
    let servers: Vec<_> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    Setup::new(&format!(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: [{}], {keys})}},"#,
        servers.join(", ")
    ))
    .start()
}

fn three() -> ([Moody; 3], Vec<SocketAddr>) {
    let servers = ["one", "two", "six"].map(Moody::new);
    let addresses = servers.iter().map(|server| server.upstream.address).collect();
    (servers, addresses)
}

fn state(server: &Server, index: usize) -> String {
    server.status().upstreams[0].servers[index].state.clone()
}

fn wait_state(server: &Server, index: usize, wanted: &str) {
    wait_until(SOON, &format!("server {index} {wanted}"), || {
        let state = state(server, index);
        holds(state == wanted, state)
    });
}

const CHECKED: &str = "timeout: \"1s\", health: (path: \"/healthz\", every: \"100ms\", timeout: \"500ms\")";

#[test]
fn gets_see_nothing_of_a_server_that_goes_bad_in_any_way_and_comes_back() {
    for mood in [Mood::Hangs, Mood::Garbage, Mood::Closes] {
        let (servers, addresses) = three();
        let server = proxy(&addresses, CHECKED).tolerant(&["upstream behind"]);
        let load = Load::start(server.address, 8, &["/"]);
        load.wait_for(100);
        servers[1].is(mood);
        wait_state(&server, 1, "down");
        load.wait_for(200);
        servers[1].is(Mood::Good);
        wait_state(&server, 1, "up");
        let before = servers[1].upstream.received().len();
        load.wait_for(200);
        load.finish().assert_flawless();
        assert!(servers[1].upstream.received().len() > before + 20, "it takes its share again: {mood:?}");
        server.wait_log(&format!("upstream behind: {} is given up until its checks pass", addresses[1]));
        server.wait_log(&format!("upstream behind: {} is back", addresses[1]));
    }
}

#[test]
fn a_hung_server_costs_a_client_one_time_out_and_then_none() {
    let (servers, addresses) = three();
    let server = proxy(&addresses, "timeout: \"1s\", fail_timeout: \"60s\"").tolerant(&["upstream behind"]);
    servers[0].is(Mood::Hangs);
    let mut slow = 0;
    for _ in 0..12 {
        let begun = now();
        assert_eq!(get(server.address, "/").status, 200);
        slow += usize::from(begun.elapsed() > Duration::from_millis(900));
    }
    assert_eq!(slow, 3, "three failures, and it rests");
    assert_eq!([0, 1, 2].map(|index| state(&server, index)), ["down", "up", "up"]);
    servers[0].is(Mood::Good);
}

#[test]
fn after_its_rest_one_request_finds_out_that_a_server_is_back() {
    let (servers, addresses) = three();
    let server = proxy(&addresses[..2], "max_fails: 2, fail_timeout: \"1s\"").tolerant(&["upstream behind"]);
    servers[0].is(Mood::Closes);
    for _ in 0..8 {
        assert_eq!(get(server.address, "/").text(), "two");
    }
    assert_eq!(state(&server, 0), "down");
    server.wait_log(&format!("upstream behind: {} is given up for 1 s", addresses[0]));
    let refused = server.status().upstreams[0].servers[0].reason.clone();
    assert_eq!(refused.as_deref(), Some("connection closed before a response"));
    servers[0].is(Mood::Good);
    wait_until(SOON, "it answers again", || {
        let text = get(server.address, "/").text();
        holds(text == "one", text)
    });
    assert_eq!(state(&server, 0), "up");
    server.wait_log(&format!("upstream behind: {} is back", addresses[0]));
}

#[test]
fn a_client_that_leaves_does_not_keep_a_server_from_coming_back() {
    let (servers, addresses) = three();
    let server =
        proxy(&addresses[..2], "max_fails: 1, fail_timeout: \"100ms\"").tolerant(&["upstream behind"]);
    servers[0].is(Mood::Closes);
    get(server.address, "/");
    get(server.address, "/");
    wait_state(&server, 0, "down");
    servers[0].is(Mood::Hangs);
    servers[0].upstream.take_received();
    wait_until(SOON, "a trial", || {
        let mut client = Connection::open(server.address).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        keep_loading(Duration::from_millis(20));
        let tried = servers[0].upstream.received().len();
        holds(tried > 0, tried)
    });
    servers[0].is(Mood::Good);
    wait_until(SOON / 2, "it is back", || {
        get(server.address, "/");
        let state = state(&server, 0);
        holds(state == "up", state)
    });
}

#[test]
fn statuses_that_the_operator_names_are_asked_elsewhere() {
    let (servers, addresses) = three();
    let server = proxy(&addresses[..2], "retry_statuses: [503], max_fails: 0").tolerant(&["upstream behind"]);
    servers[0].is(Mood::Unavailable);
    let mut client = Connection::open(server.address).unwrap();
    for _ in 0..6 {
        let reply = client.get("/").unwrap();
        assert_eq!((reply.status, reply.text()), (200, "two".to_owned()));
    }
    // A 500 is an answer like any other, and so is a 503 where nobody else is, or where it cannot be asked again.
    servers[1].is(Mood::Fails);
    let mut statuses: Vec<u16> = (0..4).map(|_| client.get("/").unwrap().status).collect();
    statuses.dedup();
    assert_eq!(statuses, [500]);
    servers[1].is(Mood::Unavailable);
    assert_eq!(client.get("/").unwrap().text(), "away");
    let posted = client.request("POST", "/", &[], b"once").unwrap();
    assert_eq!((posted.status, posted.text()), (503, "away".to_owned()));
    let single = proxy(&addresses[..1], "retry_statuses: [503]");
    let reply = get(single.address, "/");
    assert_eq!((reply.status, reply.text()), (503, "away".to_owned()));
}

#[test]
fn what_is_never_repeated_leaves_repetitions_to_what_is() {
    let (servers, addresses) = three();
    let server = proxy(&addresses[..2], "balance: First, max_fails: 0").tolerant(&["proxy behind"]);
    servers[0].is(Mood::Closes);
    let mut client = Connection::open(server.address).unwrap();
    for _ in 0..140 {
        assert_eq!(client.request("POST", "/", &[], b"once").unwrap().status, 502);
    }
    let reply = client.get("/").unwrap();
    assert_eq!((reply.status, reply.text()), (200, "two".to_owned()));
}

#[test]
fn checks_take_a_server_out_before_a_client_meets_it_and_one_worker_makes_them() {
    let (servers, addresses) = three();
    let keys = "health: (path: \"/healthz\", body: \"one\", every: \"200ms\", rise: 1, fall: 2)";
    let server = proxy(&addresses[..1], keys);
    server.wait_ready(SOON, "worker", 2);
    wait_until(SOON, "five checks", || {
        let checks = servers[0].upstream.received().len();
        holds(checks >= 5, checks)
    });
    let asked = servers[0].upstream.received();
    assert!(asked.iter().all(|request| request.line == "GET /healthz HTTP/1.1"), "{asked:?}");
    assert_eq!(asked[0].all("host"), [addresses[0].to_string()]);
    assert!(asked[0].all("user-agent").concat().ends_with("(check)"), "{asked:?}");
    servers[0].is(Mood::Fails);
    wait_state(&server, 0, "down");
    let reason = server.status().upstreams[0].servers[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("answered 500"));
    // It is the last one: requests still go there, and say what it says.
    assert_eq!(get(server.address, "/").status, 500);
    servers[0].is(Mood::Good);
    wait_state(&server, 0, "up");
    // Both workers look at the same clock: five a second, and not ten.
    let (before, begun) = (servers[0].upstream.received().len(), now());
    wait_until(SOON, "ten checks more", || {
        let more = servers[0].upstream.received().len() - before;
        holds(more >= 10, more)
    });
    assert!(begun.elapsed() > Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

#[test]
fn a_check_without_a_path_is_a_connection_and_a_wrong_body_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        proxy(&[address], "health: (every: \"100ms\", fall: 1, rise: 1)").tolerant(&["upstream behind"]);
    let (first, _) = listener.accept().unwrap();
    drop(first);
    assert_eq!(state(&server, 0), "up");
    drop(listener);
    wait_state(&server, 0, "down");
    let reason = server.status().upstreams[0].servers[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("connection refused"));
    let (_servers, addresses) = three();
    let keys = "health: (path: \"/\", body: \"never\", every: \"100ms\", fall: 1)";
    let server = proxy(&addresses, keys).tolerant(&["upstream behind"]);
    for index in 0..3 {
        wait_state(&server, index, "down");
    }
    // As nobody is up, everybody is asked.
    let answers: std::collections::BTreeSet<_> = (0..6).map(|_| get(server.address, "/").text()).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
}

#[test]
fn who_comes_back_begins_with_a_small_share() {
    let (servers, addresses) = three();
    let server = proxy(&addresses[..2], "slow_start: \"10m\"");
    let address = addresses[0].to_string();
    for wish in ["disable", "enable"] {
        assert_eq!(server.command(&["upstream", "behind", &address, wish]).code, Some(0));
    }
    let mut client = Connection::open(server.address).unwrap();
    let firsts = (0..100).filter(|_| client.get("/").unwrap().text() == "one").count();
    assert!(firsts <= 10, "{firsts} of 100");
    assert!(!servers[1].upstream.received().is_empty());
}

#[test]
fn a_check_begins_as_the_connections_of_requests_do() {
    let good = Arc::new(AtomicU8::new(0));
    let count = Arc::clone(&good);
    let upstream = Upstream::raw(move |_, mut stream| {
        let mut came = Vec::new();
        let mut byte = [0];
        while !came.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => came.extend(byte),
                _ => return,
            }
        }
        if came.starts_with(b"PROXY UNKNOWN\r\nGET /healthz HTTP/1.1\r\n") {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let keys = "proxy_protocol: V1, health: (path: \"/healthz\", every: \"100ms\", rise: 1, fall: 1)";
    let server = proxy(&[upstream.address], keys);
    wait_until(SOON, "three checks that are understood", || {
        let good = good.load(Ordering::SeqCst);
        holds(good >= 3, good)
    });
    assert_eq!(state(&server, 0), "up");
}
