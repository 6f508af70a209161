//! The connections that the reverse proxy keeps to its upstreams.

use crate::harness::{
    Connection, Load, SOON, Server, Setup, Upstream, get, holds, keep_loading, now, wait_until,
};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

/// One worker, so that what it keeps can be counted.
fn proxy(upstream: &Upstream, keys: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: ["{}"], {keys})}},"#,
        upstream.address
    ));
    setup.start()
}

/// Takes a moment for each request, and says that it keeps connections for long.
fn patient_upstream(takes: Duration) -> Upstream {
    Upstream::start(move |_, stream| {
        keep_loading(takes);
        let answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).is_ok()
    })
}

fn opened(upstream: &Upstream) -> usize {
    upstream.received().iter().map(|request| request.connection + 1).max().unwrap_or_default()
}

#[test]
fn connections_to_an_upstream_are_as_many_as_are_busy_and_go_with_the_load() {
    const CLIENTS: usize = 64;
    let upstream = patient_upstream(Duration::from_millis(10));
    let server = proxy(&upstream, "");
    let load = Load::start(server.address, CLIENTS, &["/"]);
    load.wait_for(3_000);
    load.finish().assert_flawless();
    let opened = opened(&upstream);
    assert!((2..=CLIENTS + 8).contains(&opened), "{opened} connections for {CLIENTS} clients");
    // Those that were busy at the end, at least.
    let kept = upstream.open();
    assert!(kept > 1, "none is kept");
    let begun = now();
    wait_until(SOON, "connections gone with the load", || holds(upstream.open() == 1, upstream.open()));
    // Not by what the server says of 60 s.
    assert!(begun.elapsed() < Duration::from_secs(45));
    // The last one stays for who comes next.
    assert_eq!(get(server.address, "/").status, 200);
    assert_eq!(self::opened(&upstream), opened);
}

#[test]
fn keepalive_bounds_what_is_kept() {
    let upstream = patient_upstream(Duration::from_millis(10));
    let server = proxy(&upstream, "keepalive: 3");
    let load = Load::start(server.address, 16, &["/"]);
    load.wait_for(200);
    load.finish().assert_flawless();
    wait_until(SOON, "connections above the bound closed", || holds(upstream.open() <= 3, upstream.open()));
    assert!(opened(&upstream) > 16, "some were opened anew");
    let upstream = Upstream::fixed("ok");
    let server = proxy(&upstream, "keepalive: 0");
    let mut client = Connection::open(server.address).unwrap();
    (0..3).for_each(|_| assert_eq!(client.get("/").unwrap().status, 200));
    assert_eq!(opened(&upstream), 3);
}

#[test]
fn what_cannot_be_sent_twice_goes_over_a_connection_of_this_moment() {
    let upstream = patient_upstream(Duration::ZERO);
    let server = proxy(&upstream, "");
    let mut client = Connection::open(server.address).unwrap();
    let mut ask = |method: &str, body: &[u8]| {
        assert_eq!(client.request(method, "/", &[], body).unwrap().status, 200);
        upstream.last().connection
    };
    assert_eq!(ask("GET", b""), 0);
    keep_loading(Duration::from_millis(1_100));
    assert_eq!(ask("GET", b""), 0, "a request that can be sent again takes it");
    keep_loading(Duration::from_millis(1_100));
    assert_eq!(ask("POST", b"x"), 1);
    keep_loading(Duration::from_millis(1_100));
    assert_eq!(ask("PUT", b"x"), 1, "nor is that of a PUT lost, which was had whole before");
}

#[test]
fn posts_do_not_fail_by_an_upstream_that_closes_idle_connections_soon() {
    // It closes when nothing has come for 60 ms; what comes after 45 ms finds it closing.
    let answered = Mutex::new(HashMap::new());
    let upstream = Upstream::start(move |request, stream| {
        let last = answered.lock().unwrap().insert(request.connection, now());
        if last.is_some_and(|last| last.elapsed() > Duration::from_millis(45)) {
            return false;
        }
        stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let server = proxy(&upstream, "");
    // It is seen how soon that is.
    for _ in 0..3 {
        assert_eq!(get(server.address, "/").status, 200);
        wait_until(SOON, "the upstream closes", || holds(upstream.open() == 0, upstream.open()));
    }
    let address = server.address;
    let clients = (0..8).map(|client| {
        std::thread::spawn(move || {
            let mut connection = Connection::open(address).unwrap();
            for turn in 0..40 {
                let reply = connection.request("POST", "/", &[], b"x").unwrap();
                assert_eq!(reply.status, 200, "client {client}, request {turn}");
                keep_loading(Duration::from_millis(46 + turn % 8));
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    let posts = upstream.received().iter().filter(|request| request.line.starts_with("POST")).count();
    assert_eq!(posts, 8 * 40, "none was sent twice");
}
