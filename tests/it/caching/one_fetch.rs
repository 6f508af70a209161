//! However many ask for the same at once, one of them fetches it.

use super::{asked, configuration, front, front_with, is_hit, response};
use crate::harness::http2;
use crate::harness::{
    Connection, Reply, SOON, Server, Setup, Upstream, holds, keep_loading, now, wait_until,
};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Holds its answers back until it is told.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Two are left: of the upstream, and this one.
        if Arc::strong_count(&self.0) <= 2 {
            self.open();
        }
    }
}

fn gated(gate: &Gate, answer: &'static str) -> Upstream {
    let gate = gate.clone();
    Upstream::start(move |_, stream| {
        gate.pass();
        stream.write_all(&response(answer, 1)).is_ok()
    })
}

/// Clients of HTTP/1 that have asked and read nothing yet.
fn clients(server: &Server, count: usize, path: &str) -> Vec<Connection> {
    (0..count)
        .map(|_| {
            let mut client = Connection::open(server.address).unwrap();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            client
        })
        .collect()
}

/// One of them with its answer: of the same host as the others, which is another key than that of `super::get`.
fn get(server: &Server, path: &str) -> Reply {
    clients(server, 1, path)[0].reply("GET").unwrap()
}

#[test]
fn a_thousand_at_once_ask_the_upstream_once() {
    let gate = Gate::default();
    let upstream = gated(&gate, "200 OK\nCache-Control: max-age=60\n\nthe one");
    let server = front_with(&upstream, "(lock_timeout: \"1m\")", "limits: (streams: 1000),");
    let mut plain = clients(&server, 600, "/a");
    let mut multiplexed: Vec<_> = (0..4).map(|_| http2::Client::open(server.address, &[]).unwrap()).collect();
    let mut streams = Vec::new();
    for (number, client) in multiplexed.iter_mut().enumerate() {
        for _ in 0..100 {
            streams.push((number, client.request(&http2::asks("GET", "/a"), true).unwrap()));
        }
    }
    wait_until(SOON, "one asks", || holds(upstream.received().len() == 1, upstream.received().len()));
    // The others have time to do so, too.
    keep_loading(Duration::from_millis(300));
    gate.open();
    for client in &mut plain {
        let reply = client.reply("GET").unwrap();
        assert_eq!((reply.status, reply.text()), (200, "the one".to_owned()));
    }
    for (number, stream) in streams {
        let answer = multiplexed[number].answer(stream).unwrap();
        assert_eq!(answer.text(), "the one");
    }
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn who_waits_is_told_at_once_that_nothing_is_kept_and_later_ones_do_not_queue() {
    let upstream = Upstream::start(|_, stream| {
        keep_loading(Duration::from_millis(200));
        stream.write_all(&response("200 OK\nCache-Control: no-store\n\nmine", 1)).is_ok()
    });
    let server = front(&upstream, "(lock_timeout: \"1m\")");
    let began = now();
    for _ in 0..2 {
        for mut client in clients(&server, 24, "/a") {
            assert_eq!(client.reply("GET").unwrap().text(), "mine");
        }
    }
    // One after the other they would have taken ten seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(upstream.received().len(), 48);
}

#[test]
fn who_has_waited_long_enough_goes_its_own_way() {
    let held = AtomicBool::new(false);
    let gate = Gate::default();
    let upstream = {
        let gate = gate.clone();
        Upstream::start(move |_, stream| {
            if !held.swap(true, Ordering::SeqCst) {
                gate.pass();
            }
            stream.write_all(&response("200 OK\nCache-Control: max-age=60\n\nlate", 1)).is_ok()
        })
    };
    let server = front(&upstream, "(lock_timeout: \"200ms\")");
    let mut first = clients(&server, 1, "/a");
    wait_until(SOON, "it asks", || holds(upstream.received().len() == 1, ()));
    assert_eq!(get(&server, "/a").text(), "late");
    gate.open();
    assert_eq!(first[0].reply("GET").unwrap().text(), "late");
    assert!(is_hit(&get(&server, "/a")));
}

#[test]
fn a_client_that_leaves_is_followed_by_one_that_waits() {
    let gate = Gate::default();
    let upstream = gated(&gate, "200 OK\nCache-Control: max-age=60\n\nbody");
    let server = front(&upstream, "(lock_timeout: \"1m\")");
    let first = clients(&server, 1, "/a");
    wait_until(SOON, "it asks", || holds(upstream.received().len() == 1, ()));
    let mut others = clients(&server, 8, "/a");
    drop(first);
    wait_until(SOON, "another one asks", || holds(upstream.received().len() == 2, ()));
    gate.open();
    for client in &mut others {
        assert_eq!(client.reply("GET").unwrap().text(), "body");
    }
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_response_that_breaks_off_is_not_kept() {
    let upstream = Upstream::start(|request, stream| {
        if request.line.contains("/short") {
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nshort",
            );
            return false;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n");
        false
    });
    let server = front(&upstream, "true").tolerant(&["behind"]);
    for path in ["/short", "/chunked"] {
        for _ in 0..2 {
            let mut client = Connection::open(server.address).unwrap();
            assert!(client.get(path).is_err(), "{path}");
        }
        assert_eq!(asked(&upstream, path), 2, "{path}");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_kept_whole_or_not_at_all() {
    let upstream = Upstream::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nto the end");
        false
    });
    let server = front(&upstream, "true");
    assert_eq!(
        (get(&server, "/a").text(), get(&server, "/a").text()),
        ("to the end".into(), "to the end".into())
    );
}

#[test]
fn the_worker_that_fetches_may_be_killed() {
    let gate = Gate::default();
    let upstream = gated(&gate, "200 OK\nCache-Control: max-age=60\n\nbody");
    let server = Setup::new(&configuration(upstream.address, "(lock_timeout: \"10m\")", "")).start();
    let server = server.tolerant(&["worker"]);
    let _first = clients(&server, 1, "/a");
    wait_until(SOON, "it asks", || holds(upstream.received().len() == 1, ()));
    // One by one, so that the one that fetches is among them; who comes then finds nobody who fetches.
    for victim in server.wait_ready(SOON, "worker", 2) {
        server.kill_and_wait("worker", victim, 2);
    }
    let mut client = clients(&server, 1, "/a");
    wait_until(SOON, "another one asks", || holds(upstream.received().len() >= 2, ()));
    gate.open();
    let reply = client[0].reply("GET").unwrap();
    assert_eq!(reply.text(), "body");
    let next = get(&server, "/a");
    assert!(is_hit(&next), "after {reply:?}: {next:?}");
}
