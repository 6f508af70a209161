//! Limits of rate and of concurrency, over all workers, reloads, upgrades and deaths.

use crate::harness::{Connection, Process, Reply, SOON, Server, Setup, holds, http2, wait_until};
use nix::sys::signal::Signal;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;

/// A server of four workers that believes whom a client says that it is.
fn server(limits: &str, locations: &str) -> Server {
    configured(limits, locations).start()
}

fn configured(limits: &str, locations: &str) -> Setup {
    Setup::new(&format!(
        r#"
    workers: (processes: 4),
    limits: ({limits}),
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: ["127.0.0.0/8"],
        {locations}
    )],"#
    ))
}

const FIXED: &str = r#"to: Respond(status: 200, body: "fixed\n", content_type: "text/plain")"#;

/// Each request by a connection of its own, so that all workers have some.
fn ask(server: &Server, path: &str, client: &str) -> Reply {
    ask_with(server, path, &[("X-Forwarded-For", client)])
}

fn ask_with(server: &Server, path: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request("GET", path, fields, b"").unwrap()
}

/// How many of so many requests were answered.
fn answered(server: &Server, path: &str, client: &str, of: usize) -> usize {
    let replies = (0..of).map(|_| ask(server, path, client).status);
    replies
        .inspect(|status| assert!([200, 429].contains(status), "{status}"))
        .filter(|status| *status == 200)
        .count()
}

/// What `status` says of a limit: how often it has refused, and would have.
#[track_caller]
fn wait_told(server: &Server, name: &str, refused: u64, spared: u64) {
    wait_until(SOON, "what was refused is told", || {
        let limits = server.status().limits.limits;
        let found = limits.iter().find(|limit| limit.name == name);
        holds(found.is_some_and(|limit| (limit.refused, limit.spared) == (refused, spared)), &limits)
    });
}

#[test]
fn a_rate_holds_over_all_workers_and_says_when_to_come_back() {
    let server = server("", &format!(r#"limit: (rate: "5/h"), locations: [(path: "/", {FIXED})]"#));
    assert_eq!(answered(&server, "/", "192.0.2.1", 40), 5);
    let refused = ask(&server, "/", "192.0.2.1");
    assert_eq!(refused.status, 429);
    let retry: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((600..=720).contains(&retry), "{refused:?}");
    assert_eq!(refused.field("ratelimit-policy"), Some("\"default\";q=5;w=3600"));
    assert_eq!(refused.field("ratelimit"), Some(format!("\"default\";r=0;t={retry}").as_str()));
    assert!(!refused.closes(), "{refused:?}");
    // Others have their own: another address, another network of IPv6, but not another address of the same.
    assert_eq!(answered(&server, "/", "192.0.2.2", 10), 5);
    assert_eq!(answered(&server, "/", "2001:db8::1", 3) + answered(&server, "/", "2001:db8::ffff:2", 5), 5);
    assert_eq!(answered(&server, "/", "2001:db8:0:1::1", 5), 5);
    server.wait_log("192.0.2.1: refused with 429 by limit site 1");
    wait_told(&server, "site 1", 36 + 5 + 3, 0);
    let status = server.status().limits;
    assert_eq!((status.used, status.evicted), (4, 0), "{status:?}");
    assert_eq!(status.size, 8 << 17, "8 MiB");
    let log = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap();
    let limited = log.lines().filter(|line| line.contains(r#""fault":"limited""#)).count();
    assert_eq!(limited, 44, "{log}");
}

#[test]
fn on_one_connection_it_is_the_same_and_bodies_do_not_get_in_the_way() {
    let server = server("", &format!(r#"limit: (rate: "2/h"), locations: [(path: "/", {FIXED})]"#));
    let mut connection = Connection::open(server.address).unwrap();
    let statuses: Vec<u16> =
        (0..6).map(|_| connection.request("POST", "/", &[], &[b'x'; 1000]).unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
    let mut second = http2::Client::open(server.address, &[]).unwrap();
    assert_eq!((second.get("/").unwrap().status, second.get("/").unwrap().status), (429, 429));
}

#[test]
fn what_is_counted_together_is_what_the_limit_says() {
    let server = server(
        r#"classes: {"few": (rate: "3/h", by: All)}"#,
        &format!(
            r#"
        limit: (rate: "4/h"),
        locations: [
            (path: "/key/", {FIXED}, limit: (rate: "2/h", by: Header("X-Api-Key"))),
            (path: "/cookie/", {FIXED}, limit: (rate: "2/h", by: Cookie("sid"))),
            (path: "/path/", {FIXED}, limit: (rate: "2/h", by: Path)),
            (path: "/net/", {FIXED}, limit: (rate: "2/h", by: Subnet)),
            (path: "/one/", {FIXED}, limit: "few"),
            (path: "/other/", {FIXED}, limit: [(rate: "1/h"), "few"]),
            (path: "/free/", {FIXED}, limit: None),
            (path: "/a/", {FIXED}), (path: "/b/", {FIXED}),
        ]"#
        ),
    );
    let ones = |path: &str, fields: &[&[(&str, &str)]]| {
        let replies = fields.iter().map(|fields| ask_with(&server, path, fields).status);
        replies.map(|status| u32::from(status == 200)).collect::<Vec<_>>()
    };
    let key = |value| [("X-Api-Key", value)];
    let (one, two) = (key("one"), key("two"));
    assert_eq!(ones("/key/", &[&one, &one, &one, &two, &two, &two]), [1, 1, 0, 1, 1, 0]);
    // Without one it is the client, who is none of those.
    assert_eq!(ones("/key/", &[&[], &key(""), &[]]), [1, 1, 0]);
    let cookie = |value| [("Cookie", value)];
    let (one, two) = (cookie("a=b; sid=1"), cookie("sid=2; a=b"));
    assert_eq!(ones("/cookie/", &[&one, &one, &two, &one, &two]), [1, 1, 1, 0, 1]);
    assert_eq!([2, 2], ["/path/x", "/path/y"].map(|path| answered(&server, path, "192.0.2.7", 4)));
    assert_eq!(
        [1, 1, 0],
        ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|from| answered(&server, "/net/", from, 1))
    );
    assert_eq!(answered(&server, "/net/", "192.0.3.1", 1), 1);
    // Two places have the class. Who is refused by one limit takes nothing of the other.
    assert_eq!(answered(&server, "/other/", "192.0.2.1", 10), 1);
    assert_eq!(answered(&server, "/other/", "192.0.2.2", 1), 1);
    assert_eq!(answered(&server, "/one/", "192.0.2.3", 5), 1);
    assert_eq!(answered(&server, "/other/", "192.0.2.4", 5), 0);
    // What a site says holds for all its places together that say nothing.
    assert_eq!(answered(&server, "/a/", "192.0.2.1", 2) + answered(&server, "/b/", "192.0.2.1", 5), 4);
    assert_eq!(answered(&server, "/free/", "192.0.2.1", 9), 9);
    wait_told(&server, "class few", 4 + 5, 0);
}

#[test]
fn a_limit_that_is_only_tried_refuses_nobody() {
    let server =
        server("", &format!(r#"limit: (rate: "2/h", dry_run: true), locations: [(path: "/", {FIXED})]"#));
    assert_eq!(answered(&server, "/", "192.0.2.1", 12), 12);
    server.wait_log("192.0.2.1: would be refused by limit site 1 (dry run)");
    wait_told(&server, "site 1", 0, 10);
}

/// A server that lets requests wait, each until it is told to go on.
struct Slow(TcpListener);

impl Slow {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn upstream(&self) -> String {
        format!(r#"upstreams: {{"slow": (servers: ["{}"], keepalive: 0)}},"#, self.0.local_addr().unwrap())
    }

    /// The next request, whose head has come.
    fn next(&self) -> TcpStream {
        let (stream, _) = self.0.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "" {}
        stream
    }
}

fn answer(stream: TcpStream) {
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").unwrap();
}

fn slow_server(slow: &Slow, limits: &str, more: &str) -> Server {
    let configuration = format!(
        r#"
    workers: (processes: 3),
    limits: ({limits}),
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: ["127.0.0.0/8"],
        locations: [(path: "/", to: Proxy("slow"), {more})],
    )],
    {}"#,
        slow.upstream()
    );
    // Of requests that are given up, and their workers.
    Setup::new(&configuration).start().tolerant(&["[closed]"])
}

/// A request that is on its way.
fn begin(server: &Server) -> Connection {
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    connection
}

fn refused(server: &Server) -> u16 {
    begin(server).reply("GET").unwrap().status
}

#[test]
fn so_many_run_at_a_time_and_each_that_is_over_makes_room() {
    let slow = Slow::new();
    let server = slow_server(
        &slow,
        r#"classes: {"dear": (concurrency: 2, by: All, status: 503)}"#,
        r#"limit: "dear""#,
    );
    let (mut one, first) = (begin(&server), slow.next());
    let (two, second) = (begin(&server), slow.next());
    let reply = begin(&server).reply("GET").unwrap();
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")), "{reply:?}");
    assert_eq!(reply.field("ratelimit"), None);
    // One is answered.
    answer(first);
    assert_eq!(one.reply("GET").unwrap().text(), "ok");
    let (three, third) = (begin_until_taken(&server), slow.next());
    assert_eq!(refused(&server), 503);
    // The client of one leaves, in HTTP/1.
    drop((two, second));
    let (four, fourth) = (begin_until_taken(&server), slow.next());
    assert_eq!(refused(&server), 503);
    // And that of one in HTTP/2 takes it back.
    drop((three, third));
    let mut client = http2::Client::open(server.address, &[]).unwrap();
    let (stream, running) = wait_until(SOON, "a place is free", || {
        let asks = client.asks("GET", "/");
        let stream = client.request(&asks, true).unwrap();
        slow.0.set_nonblocking(true).unwrap();
        let mut taken = None;
        wait_briefly(|| {
            taken = slow.0.accept().ok();
            taken.is_some()
        });
        slow.0.set_nonblocking(false).unwrap();
        taken.map(|taken| (stream, taken)).ok_or_else(|| format!("{:?}", client.answer(stream)))
    });
    assert_eq!(refused(&server), 503);
    client.send(http2::reset(stream, 8)).unwrap();
    drop(running);
    let (five, fifth) = (begin_until_taken(&server), slow.next());
    assert_eq!(refused(&server), 503);
    // A worker dies with what it had; the master gives that back.
    let workers = server.ready("worker");
    workers.iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    drop((four, fourth, five, fifth));
    wait_until(SOON, "all are replaced", || {
        let ready = server.ready("worker");
        holds(ready.len() == 3 && ready.iter().all(|one| !workers.contains(one)), ready)
    });
    let held: Vec<_> = (0..2).map(|_| (begin(&server), slow.next())).collect();
    assert_eq!(refused(&server), 503);
    drop(held);
}

/// Whether something comes true soon; not that it does.
fn wait_briefly(mut is_true: impl FnMut() -> bool) -> bool {
    let begun = crate::harness::now();
    while begun.elapsed() < std::time::Duration::from_millis(300) {
        if is_true() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// A request that is refused until there is room for it.
fn begin_until_taken(server: &Server) -> Connection {
    wait_until(SOON, "a place is free", || {
        let mut connection = begin(server);
        connection.socket().set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        match connection.reply("GET") {
            Ok(reply) => Err(format!("{reply:?}")),
            Err(_) => {
                connection.socket().set_read_timeout(Some(SOON)).unwrap();
                Ok(connection)
            }
        }
    })
}

#[test]
fn one_dear_path_cannot_take_every_process_of_an_app() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    limits: (classes: {"dear": (concurrency: 1, by: All)}),
    sites: [(listen: ["{address}"], locations: [
        (path: "/sleep", to: App("plain"), limit: "dear"),
        (path: "/", to: App("plain")),
    ])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 2)},"#,
    );
    let server = setup.start();
    let mut slow: Vec<_> = (0..2).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut slow {
        connection.send("GET /sleep?seconds=8 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        connection.socket().set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    }
    // Either of them.
    wait_until(SOON, "one is refused", || {
        let found = slow.iter_mut().find_map(|connection| connection.reply("GET").ok());
        found.map(|reply| assert_eq!(reply.status, 429)).ok_or_else(String::new)
    });
    for _ in 0..5 {
        let mut other = Connection::open(server.address).unwrap();
        assert_eq!(other.get("/sleep?seconds=8").unwrap().status, 429);
        assert_eq!(other.get("/hello").unwrap().text(), "hello\n");
    }
}

#[test]
fn what_was_taken_stays_taken_over_a_reload_and_an_upgrade() {
    let locations = format!(r#"limit: (rate: "3/h"), locations: [(path: "/", {FIXED})]"#);
    let server = server("", &locations);
    assert_eq!(answered(&server, "/", "192.0.2.1", 5), 3);
    server.hang_up();
    assert_eq!(answered(&server, "/", "192.0.2.1", 5), 0);
    assert_eq!(answered(&server, "/", "192.0.2.2", 2), 2);
    let before = server.status();
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        holds(status.generation > before.generation && status.mode == "running", &status)
    });
    assert_eq!(answered(&server, "/", "192.0.2.1", 5), 0);
    assert_eq!(answered(&server, "/", "192.0.2.2", 5), 1);
    wait_told(&server, "site 1", 2 + 5 + 5 + 4, 0);
    // Another size is for a restart.
    server.configure(&configuration_with_table(&locations));
    server.hang_up();
    server.wait_log("`limits.table` stays as it is until the server is restarted");
    assert_eq!(answered(&server, "/", "192.0.2.1", 5), 0);
}

fn configuration_with_table(locations: &str) -> String {
    format!(
        r#"
    workers: (processes: 4),
    limits: (table: "1MiB"),
    sites: [(listen: ["{{address}}"], trusted_proxies: ["127.0.0.0/8"], {locations})],"#
    )
}

#[test]
fn workers_that_die_at_any_time_leave_no_count_behind() {
    let slow = Slow::new();
    let server = slow_server(&slow, "", r#"limit: [(concurrency: 6, by: All), (rate: "10000/s", by: All)]"#);
    let answers =
        std::thread::spawn({
            let listener = slow.0.try_clone().unwrap();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let mut line = String::new();
                    let read = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
                    if line.starts_with("GET /end") {
                        return;
                    }
                    if read.is_ok() {
                        let mut stream = stream;
                        drop(stream.write_all(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                        ));
                    }
                }
            }
        });
    for round in 0..12 {
        let open: Vec<_> = (0..20).map(|_| Connection::open(server.address)).collect();
        for mut connection in open.into_iter().flatten() {
            drop(connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        if let Some(victim) = server.ready("worker").get(round % 3) {
            victim.signal(Signal::SIGKILL);
        }
    }
    server.wait_ready(SOON, "worker", 3);
    // Nothing runs any more: as many as may enter, at the same time, again and again.
    wait_until(SOON, "all places are free", || {
        let mut all: Vec<_> = (0..6).map(|_| begin(&server)).collect();
        let statuses: Vec<u16> =
            all.iter_mut().map(|one| one.reply("GET").map_or(0, |reply| reply.status)).collect();
        holds(statuses.iter().all(|status| *status == 200), statuses)
    });
    drop(Connection::open(server.address).unwrap().get("/end"));
    answers.join().unwrap();
}

/// The file that the table is mapped from, as a worker that was taken over could write to it: second, its words.
fn table_of(master: Process) -> (File, u64) {
    let folder = format!("/proc/{}/fd", master.pid);
    let memory = std::fs::read_dir(&folder).unwrap().flatten().filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().contains("hatchery-limits"))
    });
    let found = memory.filter_map(|entry| {
        let file = File::options().read(true).write(true).open(entry.path()).ok()?;
        let mut mark = [0; 8];
        file.read_exact_at(&mut mark, 0).ok()?;
        (mark[4..] == *b"tmil").then(|| (file.metadata().unwrap().len() / 8, file))
    });
    let (words, file) = found.last().expect("a table");
    (file, words)
}

#[test]
fn what_a_worker_writes_that_was_taken_over_ends_nobody_and_heals() {
    const ROWS: std::ops::Range<u64> = 8192..65 * 8192;
    let slow = Slow::new();
    let server = slow_server(
        &slow,
        r#"table: "64KiB", connections_per_client: 1000"#,
        r#"limit: [(rate: "600/m", burst: 20), (concurrency: 5, by: All)]"#,
    );
    let (file, words) = table_of(server.master);
    assert_eq!(words, 65 * 8192 + 8192);
    let mut seed = 17_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let workers = server.ready("worker");
    for round in 0..10 {
        let lie: Vec<u8> = (0..8192)
            .flat_map(|_| {
                match round % 3 {
                    0 => random(),
                    1 => u64::MAX,
                    _ => 1,
                }
                .to_ne_bytes()
            })
            .collect();
        file.write_all_at(&lie, ROWS.end * 8).unwrap();
        // The row of a worker, too; the lies of others last as long as they live.
        file.write_all_at(&lie, (ROWS.start + round % 3 * 8192) * 8).unwrap();
        for _ in 0..20 {
            let mut connection = Connection::open(server.address).unwrap();
            drop(connection.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        }
        assert!(server.status().limits.size > 0);
    }
    assert_eq!(server.ready("worker"), workers, "nobody has died of it");
    // The liars go.
    workers.iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    wait_until(SOON, "all are replaced", || {
        let ready = server.ready("worker");
        holds(ready.len() == 3 && ready.iter().all(|one| !workers.contains(one)), ready)
    });
    slow.0.set_nonblocking(true).unwrap();
    while wait_briefly(|| slow.0.accept().is_ok()) {}
    slow.0.set_nonblocking(false).unwrap();
    // What a bucket takes to fill is two seconds.
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push((begin_until_taken(&server), slow.next()));
    }
    assert_eq!(refused(&server), 429, "and no more than may");
}

#[test]
fn connections_of_a_client_are_counted_over_all_workers() {
    let server = Setup::new(
        r#"
    workers: (processes: 4),
    limits: (connections_per_client: 6),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed\n"))])],"#,
    )
    .start();
    let mut open: Vec<Connection> = Vec::new();
    for _ in 0..6 {
        let mut connection = Connection::open(server.address).unwrap();
        assert_eq!(connection.get("/").unwrap().status, 200);
        open.push(connection);
    }
    let mut refused: Vec<_> = (0..6).map(|_| Connection::open(server.address).unwrap()).collect();
    for connection in &mut refused {
        assert_eq!(connection.reply("GET").unwrap().status, 429);
    }
    wait_told(&server, "connections_per_client", 6, 0);
    // Those whose worker dies are gone.
    server.ready("worker").iter().for_each(|worker| worker.signal(Signal::SIGKILL));
    drop((open, refused));
    server.wait_ready(SOON, "worker", 4);
    wait_until(SOON, "all places are free", || {
        let mut all: Vec<_> = (0..6).map(|_| Connection::open(server.address).unwrap()).collect();
        let statuses: Vec<u16> =
            all.iter_mut().map(|one| one.get("/").map_or(0, |reply| reply.status)).collect();
        holds(statuses.iter().all(|status| *status == 200), statuses)
    });
}

#[test]
fn a_flood_of_addresses_stays_within_the_table_and_others_are_served() {
    let locations = format!(r#"limit: (rate: "10/m", burst: 3), locations: [(path: "/", {FIXED})]"#);
    let server = server(r#"table: "64KiB""#, &locations);
    while answered(&server, "/", "203.0.113.5", 1) == 1 {}
    let mut connection = Connection::open(server.address).unwrap();
    for number in 0..10_000_u32 {
        let client = format!("10.{}.{}.1", number >> 8, number & 0xff);
        let field = [("X-Forwarded-For", client.as_str())];
        match connection.request("GET", "/", &field, b"") {
            Ok(reply) => assert_eq!(reply.status, 200, "{client}"),
            Err(_) => connection = Connection::open(server.address).unwrap(),
        }
        if number % 1000 == 999 {
            connection = Connection::open(server.address).unwrap();
        }
    }
    let status = server.status().limits;
    assert!(status.size == 8192 && (7000..=8192).contains(&status.used), "{status:?}");
    assert!(status.evicted > 0, "{status:?}");
    assert_eq!(ask(&server, "/", "203.0.113.5").status, 429, "it was not freed by that");
}
