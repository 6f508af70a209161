//! WebSockets of an app, by the real program and a client of ours.

use super::socket::{BINARY, FIN, PING, PONG, Socket, TEXT, masked};
use super::{seen, server, setup, wait_seen, wait_still};
use crate::harness::{Connection, SOON, get, holds, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn messages_go_both_ways_whatever_their_length() {
    let server = server("");
    let mut socket = Socket::open(server.address, "/echo");
    assert!(socket.head.contains("x-own: 1\r\n") || socket.head.contains("X-Own: 1\r\n"), "{}", socket.head);
    assert!(socket.head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{}", socket.head);
    for length in [0, 1, 125, 126, 65_535, 65_536, 1_000_000] {
        socket.frame(FIN | BINARY, &vec![7; length]);
        assert_eq!(socket.message(), (false, vec![7; length]));
    }
    socket.say("grün");
    assert_eq!(socket.message(), (true, "grün".as_bytes().to_vec()));
    // In parts, within a character, with a control frame in between.
    let text = "grün".as_bytes();
    socket.frame(TEXT, &text[..3]);
    socket.frame(FIN | PING, b"here?");
    assert_eq!(socket.hear().unwrap(), (FIN | PONG, b"here?".to_vec()));
    socket.frame(FIN, &text[3..]);
    assert_eq!(socket.message(), (true, text.to_vec()));
    assert_eq!(socket.end(1000), Some((1000, String::new())));
    wait_until(SOON, "the app knows", || {
        let seen = seen(server.address);
        holds(seen["closed"] == serde_json::json!([1000]), &seen)
    });
    assert!(server.wait_log("GET /echo").contains(" 101 "));
}

#[test]
fn an_open_one_needs_no_place_and_holds_its_process() {
    let server = server("max_connections: 1, processes: (min: 0, max: 1), idle: \"100ms\"");
    let mut sockets: Vec<Socket> = (0..3).map(|_| Socket::open(server.address, "/echo")).collect();
    server.wait_tunnels(3);
    let process = seen(server.address)["pid"].clone();
    for socket in &mut sockets {
        socket.say("still there");
        assert_eq!(socket.message().1, b"still there");
    }
    assert_eq!(seen(server.address)["pid"], process);
    drop(sockets);
    wait_until(SOON, "the process sleeps", || {
        let pool = server.pool("asgi");
        holds(pool.children.is_empty(), &pool)
    });
}

#[test]
fn an_app_refuses_closes_and_chooses_a_subprotocol() {
    let server = server("").tolerant(&["subprotocol that the client does not offer"]);
    let head = |target: &str, more: &str| Socket::ask(server.address, target, more).head;
    assert!(head("/refuse", "").starts_with("HTTP/1.1 403 "));
    let offer = "Sec-WebSocket-Protocol: chat, v2\r\n";
    let chosen = head("/echo?protocol=v2", offer).to_lowercase();
    assert!(
        chosen.starts_with("http/1.1 101 ") && chosen.contains("sec-websocket-protocol: v2\r\n"),
        "{chosen}"
    );
    assert!(head("/echo?protocol=v3", offer).starts_with("HTTP/1.1 50"), "not among those");
    assert_eq!(Socket::open(server.address, "/close").closed(), Some((4001, "enough".to_owned())));
    assert_eq!(Socket::open(server.address, "/raise").closed(), Some((1011, String::new())));
    server.wait_log("in a WebSocket");
    assert_eq!(get(server.address, "/x").status, 200);
}

#[test]
fn a_handshake_that_is_none_is_told_what_is_wrong() {
    let server = server("");
    let ask = |fields: &[(&str, &str)]| {
        let mut all = vec![("Connection", "Upgrade"), ("Upgrade", "websocket")];
        all.extend(fields);
        Connection::open(server.address).unwrap().request("GET", "/echo", &all, b"").unwrap()
    };
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let old = ask(&[key, ("Sec-WebSocket-Version", "8")]);
    assert_eq!((old.status, old.field("sec-websocket-version")), (426, Some("13")));
    assert_eq!(old.field("upgrade"), Some("websocket"));
    assert_eq!(ask(&[("Sec-WebSocket-Key", "short"), ("Sec-WebSocket-Version", "13")]).status, 400);
    // Another method offers what it cannot have, and gets its answer.
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    assert_eq!(connection.request("POST", "/body", &fields, b"abc").unwrap().text(), "3 294");
}

#[test]
fn what_a_client_does_wrong_ends_it_with_the_reason() {
    let server = server("websocket: (max_message: \"1KiB\")");
    for (first, payload, code) in [
        (FIN | BINARY, vec![0; 1025], 1009),
        (FIN | TEXT, vec![0xff], 1007),
        (FIN | 0x40 | TEXT, b"x".to_vec(), 1002),
        (FIN, b"of nothing".to_vec(), 1002),
        (FIN | 3, b"x".to_vec(), 1002),
    ] {
        let mut socket = Socket::open(server.address, "/echo");
        socket.frame(first, &payload);
        assert_eq!(socket.closed().map(|(code, _)| code), Some(code), "{first:x}");
    }
    server.wait_tunnels(0);
}

#[test]
fn a_client_that_says_nothing_is_asked_and_then_let_go() {
    let server = server("websocket: (ping_interval: \"1s\", ping_timeout: \"1s\")");
    let mut socket = Socket::open(server.address, "/echo");
    assert_eq!(socket.hear().unwrap(), (FIN | PING, Vec::new()));
    socket.frame(FIN | PONG, b"");
    assert_eq!(socket.hear().unwrap(), (FIN | PING, Vec::new()), "it is asked again");
    assert_eq!(socket.closed().map(|(code, _)| code), Some(1011));
    wait_until(SOON, "the app knows", || {
        let seen = seen(server.address);
        holds(seen["closed"] == serde_json::json!([1006]), &seen)
    });
}

#[test]
fn an_app_that_takes_nothing_holds_up_its_client_and_keeps_little() {
    const FRAMES: u64 = 4000;
    let server = server("");
    // Messages cost room even if nothing is in them.
    for length in [0, 10_000] {
        let mut socket = Socket::open(server.address, "/deaf");
        let said = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&said);
        let saying = thread::spawn(move || {
            let frames = masked(FIN | BINARY, &vec![0; length]).repeat(if length == 0 { 10_000 } else { 1 });
            (0..FRAMES).try_for_each(|_| {
                count.fetch_add(1, Ordering::Relaxed);
                socket.send(&frames)
            })
        });
        wait_still("it is held up", || said.load(Ordering::Relaxed));
        assert!(!saying.is_finished(), "an app that takes nothing has taken all");
        assert_eq!(get(server.address, "/x").status, 200, "others are served");
        let [process] = server.ready("asgi")[..] else { panic!("one process") };
        server.kill_and_wait("asgi", process, 1);
        // What comes behind the end is dropped.
        drop(saying.join().unwrap());
    }
}

#[test]
fn a_process_that_dies_lets_its_clients_know() {
    let server = server("");
    let mut other = Socket::open(server.address, "/echo");
    let mut socket = Socket::open(server.address, "/echo");
    socket.say("die");
    for socket in [&mut socket, &mut other] {
        assert_eq!(socket.closed().map(|(code, _)| code), Some(1012));
    }
    server.wait_tunnels(0);
    wait_until(SOON, "another process serves", || {
        let reply = get(server.address, "/x");
        holds(reply.status == 200, reply)
    });
}

#[test]
fn a_reload_lets_them_be_until_drain_timeout_and_says_that_the_server_restarts() {
    let server = setup("", "drain_timeout: \"1s\",").start();
    let mut socket = Socket::open(server.address, "/echo");
    let before = seen(server.address)["pid"].clone();
    assert_eq!(server.command(&["reload"]).code, Some(0));
    assert_ne!(seen(server.address)["pid"], before);
    socket.say("old");
    assert_eq!(socket.message().1, b"old", "it goes on");
    assert_eq!(socket.closed().map(|(code, _)| code), Some(1012));
    wait_seen(server.address, "sent", 0);
}
