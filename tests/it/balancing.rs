//! Which server of an upstream takes a request: shares, loads, hashes, sessions, limits, and what the operator takes out.

use crate::harness::{
    Connection, SOON, Server, Setup, Upstream, counts, get, holds, keep_loading, shares, wait_until,
};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// Servers that answer with their names.
fn named<const N: usize>() -> [Upstream; N] {
    std::array::from_fn(|number| {
        Upstream::start(move |_, stream| {
            let name = number.to_string();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}").as_bytes()).is_ok()
        })
    })
}

/// With these servers, written as they stand in the file.
fn proxy_with(workers: u32, servers: &[String], keys: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: {workers}),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: [{}], {keys})}},"#,
        servers.join(", ")
    ))
    .start()
}

fn plain(upstreams: &[Upstream]) -> Vec<String> {
    upstreams.iter().map(|upstream| format!("\"{}\"", upstream.address)).collect()
}

fn proxy(upstreams: &[Upstream], keys: &str) -> Server {
    proxy_with(1, &plain(upstreams), keys)
}

#[test]
fn turns_follow_weights_and_backups_wait_until_nobody_is_up() {
    let upstreams = named::<3>();
    let [one, two, three] = [0, 1, 2].map(|at: usize| upstreams[at].address);
    let servers = [
        format!("(address: \"{one}\", weight: 3)"),
        format!("\"{two}\""),
        format!("(address: \"{three}\", backup: true)"),
    ];
    let server = proxy_with(1, &servers, "").tolerant(&["no server takes requests"]);
    assert_eq!(shares(server.address, 40), counts(&[("0", 30), ("1", 10)]));
    let order = |address: SocketAddr, wish: &str| {
        let finished = server.command(&["upstream", "behind", &address.to_string(), wish]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };
    order(one, "disable");
    assert_eq!(shares(server.address, 5), counts(&[("1", 5)]));
    order(two, "disable");
    assert_eq!(shares(server.address, 5), counts(&[("2", 5)]));
    order(three, "disable");
    let reply = get(server.address, "/");
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    order(two, "enable");
    assert_eq!(shares(server.address, 5), counts(&[("1", 5)]));
}

#[test]
fn the_least_busy_server_takes_the_next_request_whichever_worker_has_it() {
    let busy = Arc::new(AtomicBool::new(true));
    let (hold, quick) = (Arc::clone(&busy), named::<1>());
    // The first is slow with what it has.
    let slow = Upstream::start(move |request, stream| {
        while request.line.contains("/slow") && hold.load(Ordering::SeqCst) {
            keep_loading(Duration::from_millis(5));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").is_ok()
    });
    let servers = [&slow, &quick[0]].map(|upstream| format!("\"{}\"", upstream.address));
    let server = proxy_with(2, &servers, "balance: LeastConnections");
    server.wait_ready(SOON, "worker", 2);
    let mut waiting = Connection::open(server.address).unwrap();
    waiting.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let in_flight =
        || server.status().upstreams[0].servers.iter().map(|server| server.in_flight).sum::<u64>();
    wait_until(SOON, "a request in flight", || holds(in_flight() == 1, in_flight()));
    for _ in 0..20 {
        // A connection each, so that both workers have some.
        assert_eq!(get(server.address, "/").text(), "0");
    }
    busy.store(false, Ordering::SeqCst);
    assert_eq!(waiting.reply("GET").unwrap().text(), "slow");
    wait_until(SOON, "nothing in flight", || holds(in_flight() == 0, in_flight()));
}

#[test]
fn requests_with_something_in_common_go_to_one_server_on_every_worker() {
    let upstreams = named::<3>();
    for (key, header) in [("Header(\"X-User\")", "X-User"), ("Cookie(\"id\")", "Cookie")] {
        let server = proxy_with(2, &plain(&upstreams), &format!("balance: Hash({key})"));
        let ask = |user: usize| {
            let value = if header == "Cookie" { format!("a=1; id=u{user}") } else { format!("u{user}") };
            let mut client = Connection::open(server.address).unwrap();
            client.request("GET", "/", &[(header, &value)], b"").unwrap().text()
        };
        let first: Vec<String> = (0..30).map(ask).collect();
        assert_eq!((0..30).map(ask).collect::<Vec<_>>(), first);
        assert!(["0", "1", "2"].iter().all(|name| first.contains(&(*name).to_owned())), "{first:?}");
    }
    let server = proxy(&upstreams, "balance: Hash(Uri)");
    let ask = |path: &str| get(server.address, path).text();
    assert!((0..9).all(|page| ask(&format!("/{page}?a")) == ask(&format!("/{page}?a"))));
    let server = proxy(&upstreams, "balance: Hash(Client)");
    assert_eq!(shares(server.address, 9).len(), 1);
    let server = proxy(&upstreams, "balance: First");
    assert_eq!(shares(server.address, 9), counts(&[("0", 9)]));
    let server = proxy(&upstreams, "balance: RandomTwo");
    assert_eq!(shares(server.address, 60).len(), 3);
}

#[test]
fn a_session_stays_with_its_server_by_a_cookie_of_ours() {
    let upstreams = named::<3>();
    let keys = "sticky: (cookie: \"route\", secret: \"0123456789abcdef\", max_age: \"1h\")";
    let server = proxy(&upstreams, keys);
    let mut client = Connection::open(server.address).unwrap();
    let first = client.get("/").unwrap();
    let set = first.field("set-cookie").unwrap().to_owned();
    assert!(
        set.starts_with("route=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
        "{set}"
    );
    let cookie = set.split(';').next().unwrap().to_owned();
    let mut ask = |cookie: &str| client.request("GET", "/", &[("Cookie", cookie)], b"").unwrap();
    for _ in 0..5 {
        let reply = ask(&format!("other=1; {cookie}"));
        assert_eq!((reply.text(), reply.field("set-cookie")), (first.text(), None));
    }
    // What nobody has signed says nothing, and is replaced.
    let forged = ask("route=00000000000000000000000000000001");
    assert!(forged.field("set-cookie").is_some());
    // The app sees the cookie; another server with the same secret understands it.
    let twin = proxy(&upstreams, keys);
    let mut other = Connection::open(twin.address).unwrap();
    for _ in 0..5 {
        let reply = other.request("GET", "/", &[("Cookie", &cookie)], b"").unwrap();
        assert_eq!(reply.text(), first.text());
    }
    // Draining keeps sessions and takes no new ones.
    let number: usize = first.text().parse().unwrap();
    let address = upstreams[number].address.to_string();
    let drained = server.command(&["upstream", "behind", &address, "drain"]);
    assert!(
        drained.stdout.contains(&format!("{address} of upstream behind takes only requests of its sessions"))
    );
    assert_eq!(ask(&cookie).text(), first.text());
    assert!(!shares(server.address, 12).contains_key(&first.text()));
    // Without it the session moves, and is told so.
    server.command(&["upstream", "behind", &address, "disable"]);
    let moved = ask(&cookie);
    assert!(moved.text() != first.text() && moved.field("set-cookie").is_some());
}

#[test]
fn a_session_stays_by_the_cookie_of_the_app_which_sees_its_own_value() {
    let upstreams: [Upstream; 2] = std::array::from_fn(|number| {
        Upstream::start(move |request, stream| {
            let body = format!("{number} {}", request.all("cookie").join("|"));
            let set = if request.line.contains("/login") { "Set-Cookie: sid=abc~1; Path=/\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\n{set}Content-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).is_ok()
        })
    });
    let server = proxy(&upstreams, "sticky: (cookie: \"sid\", mode: Prefix)");
    let mut client = Connection::open(server.address).unwrap();
    let first = client.get("/login").unwrap();
    let set = first.field("set-cookie").unwrap().to_owned();
    assert!(set.ends_with("~abc~1; Path=/"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    let own = first.text().split(' ').next().unwrap().to_owned();
    for _ in 0..4 {
        let reply = client.request("GET", "/", &[("Cookie", &format!("a=1; {cookie}"))], b"").unwrap();
        assert_eq!((reply.text(), reply.field("set-cookie")), (format!("{own} a=1; sid=abc~1"), None));
    }
}

/// A server that answers when it is let, and says how many it had at one time.
fn gated(most: &Arc<std::sync::Mutex<(usize, usize)>>, takes: Duration) -> Upstream {
    let most = Arc::clone(most);
    Upstream::start(move |_, stream| {
        {
            let mut most = most.lock().unwrap();
            most.0 += 1;
            most.1 = most.1.max(most.0);
        }
        keep_loading(takes);
        most.lock().unwrap().0 -= 1;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    })
}

#[test]
fn a_server_never_has_more_requests_than_it_may_and_who_waits_is_served() {
    let most = Arc::default();
    let upstream = gated(&most, Duration::from_millis(5));
    let servers = [format!("(address: \"{}\", max_connections: 3)", upstream.address)];
    let server = proxy_with(3, &servers, "");
    server.wait_ready(SOON, "worker", 3);
    let start = Arc::new(Barrier::new(24));
    let clients: Vec<_> = (0..24)
        .map(|_| {
            let (start, address) = (Arc::clone(&start), server.address);
            std::thread::spawn(move || {
                let mut client = Connection::open(address).unwrap();
                start.wait();
                (0..20).filter(|_| client.get("/").unwrap().status == 200).count()
            })
        })
        .collect();
    let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(served, 480);
    let most = most.lock().unwrap().1;
    assert!((2..=3).contains(&most), "{most} at a time");
    let status = &server.status().upstreams[0].servers[0];
    assert_eq!((status.in_flight, status.requests, status.max_connections), (0, 480, Some(3)));
}

#[test]
fn too_many_that_wait_and_who_waits_too_long_are_told_to_come_back() {
    let most = Arc::default();
    let upstream = gated(&most, Duration::from_secs(30));
    let servers = [format!("(address: \"{}\", max_connections: 1)", upstream.address)];
    let server = proxy_with(1, &servers, "queue: (size: 1, timeout: \"300ms\")");
    let in_flight = || server.status().upstreams[0].servers[0].in_flight;
    let mut first = Connection::open(server.address).unwrap();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the place taken", || holds(in_flight() == 1, in_flight()));
    let mut second = Connection::open(server.address).unwrap();
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // It may be that the third comes first; one waits, the other is sent away.
    let third = get(server.address, "/");
    let second = second.reply("GET").unwrap();
    for reply in [&second, &third] {
        assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")), "{reply:?}");
    }
    server.wait_log("every server has max_connections requests");
    // Who leaves gives its place back.
    drop(first);
    wait_until(SOON, "the place free", || holds(in_flight() == 0, in_flight()));
}

#[test]
fn a_request_that_waits_for_certain_servers_lets_others_pass() {
    let most = Arc::default();
    let full = gated(&most, Duration::from_secs(30));
    let closes = Upstream::start(|request, stream| {
        !request.line.contains("/closes")
            && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    });
    let servers =
        [&full, &closes].map(|upstream| format!("(address: \"{}\", max_connections: 1)", upstream.address));
    let server = proxy_with(1, &servers, "balance: First");
    let in_flight = || server.status().upstreams[0].servers[0].in_flight;
    let mut first = Connection::open(server.address).unwrap();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the place taken", || holds(in_flight() == 1, in_flight()));
    // It has failed at the only server that has room.
    let mut second = Connection::open(server.address).unwrap();
    second.send("GET /closes HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    server.wait_log("connection closed before a response");
    assert_eq!(get(server.address, "/").status, 200);
}

#[test]
fn a_worker_that_dies_gives_back_what_it_had() {
    let most = Arc::default();
    let upstream = gated(&most, Duration::from_secs(30));
    let servers = [format!("(address: \"{}\", max_connections: 1)", upstream.address)];
    let server = proxy_with(1, &servers, "");
    let in_flight = || server.status().upstreams[0].servers[0].in_flight;
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "the place taken", || holds(in_flight() == 1, in_flight()));
    let worker = server.ready("worker")[0];
    server.kill_and_wait("worker", worker, 1);
    wait_until(SOON, "the place free", || holds(in_flight() == 0, in_flight()));
}

#[test]
fn orders_for_servers_are_checked_and_outlive_a_reload() {
    let upstreams = named::<2>();
    let server = proxy(&upstreams, "");
    let [one, two] = [0, 1].map(|at: usize| upstreams[at].address.to_string());
    let failed = |arguments: &[&str]| {
        let finished = server.command(arguments);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        finished.stderr
    };
    let unknown = failed(&["upstream", "behnd", &one, "drain"]);
    assert!(
        unknown.contains("there is no upstream \"behnd\"") && unknown.contains("did you mean \"behind\"?"),
        "{unknown}"
    );
    let unknown = failed(&["upstream", "behind", "127.0.0.1:1", "drain"]);
    assert!(
        unknown.contains("there is no server of upstream behind \"127.0.0.1:1\"; there is: "),
        "{unknown}"
    );
    assert_eq!(server.command(&["upstream", "behind", &one, "disable"]).code, Some(0));
    assert_eq!(server.command(&["reload"]).code, Some(0));
    assert_eq!(shares(server.address, 6), counts(&[("1", 6)]));
    let states: Vec<_> =
        server.status().upstreams[0].servers.iter().map(|server| server.state.clone()).collect();
    assert_eq!(states, ["disabled", "up"]);
    let shown = server.command(&["status", "behind"]).stdout;
    assert!(
        shown.contains("behind  1 of 2 up  RoundRobin") && shown.contains(&format!("{one}  disabled")),
        "{shown}"
    );
    assert!(shown.contains(&two), "{shown}");
}
