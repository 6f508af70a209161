//! ASGI apps in the real program: what they see, what becomes of what they send, and what happens when they misbehave.

mod life;
mod socket;
mod websocket;

pub(crate) use socket::masked;

use crate::harness::{Connection, SOON, Server, Setup, get, holds, now, wait_until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// The app with more keys of its own, and of the file.
fn setup(keys: &str, more: &str) -> Setup {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    {more}
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/mounted", to: App(name: "asgi", mount: "/mounted")),
            (path: "/", to: App("asgi")),
        ],
    )],
    apps: {{"asgi": (module: "app:app", chdir: "{{apps}}/asgi", home: "{{venv}}", {keys})}},"#
    ))
}

fn server(keys: &str) -> Server {
    setup(keys, "").start()
}

/// What the app has seen so far; null while it has no place for who asks.
fn seen(address: SocketAddr) -> Value {
    let reply = get(address, "/seen");
    if reply.status == 200 { reply.json() } else { Value::Null }
}

#[track_caller]
fn wait_seen(address: SocketAddr, what: &str, wanted: u64) {
    wait_until(SOON, what, || {
        let seen = seen(address);
        holds(seen[what] == wanted, &seen)
    });
}

/// Waits until a count has begun and has not changed for a while; what it is then.
#[track_caller]
fn wait_still(what: &str, count: impl Fn() -> u64) -> u64 {
    let (mut before, mut since) = (0, now());
    wait_until(SOON, what, || {
        let seen = count();
        if std::mem::replace(&mut before, seen) != seen {
            since = now();
        }
        holds(seen > 0 && since.elapsed() > Duration::from_millis(400), seen)
    });
    before
}

#[test]
fn an_app_sees_the_request_as_it_came() {
    let server = server("");
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("X-A", "1"), ("x-a", "2"), ("X_B", "dropped"), ("Cookie", "c=1")];
    let scope = connection.request("GET", "/mounted/caf%C3%A9%20x?q=%20", &fields, b"").unwrap();
    assert_eq!(scope.status, 200);
    assert!(scope.text().starts_with("/mounted/café x "), "{}", scope.text());
    let scope = connection.request("GET", "/mounted/scope", &fields, b"").unwrap();
    assert!(scope.text().starts_with("/mounted/scope "), "the path has the mount: {}", scope.text());
    let scope = connection.request("GET", "/scope?q=%20", &fields, b"").unwrap().json();
    let told = |name: &str| scope[name].clone();
    assert_eq!(
        (told("type"), told("http_version"), told("method"), told("scheme")),
        (json!("http"), json!("1.1"), json!("GET"), json!("http"))
    );
    assert_eq!(
        (told("path"), told("raw_path"), told("query"), told("root_path")),
        (json!("/scope"), json!("/scope"), json!("q=%20"), json!(""))
    );
    assert_eq!(scope["client"][0], "127.0.0.1");
    let headers = scope["headers"].as_array().unwrap();
    let own: Vec<&Value> = headers.iter().filter(|field| field[0] == "x-a").map(|field| &field[1]).collect();
    assert_eq!(own, [&json!("1"), &json!("2")]);
    assert!(!headers.iter().any(|field| field[0] == "x_b"), "{headers:?}");
}

#[test]
fn bodies_come_whole_however_long_they_are() {
    let server = server("");
    let mut connection = Connection::open(server.address).unwrap();
    for length in [0, 1, 65_536, 65_537, 3_000_000] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 1_000_003;
        let reply = connection.request("POST", "/body", &[], &body).unwrap();
        assert_eq!(reply.text(), format!("{length} {sum}"));
    }
    let reply = connection.request_chunked("POST", "/body", &[], b"abcde").unwrap();
    assert_eq!(reply.text(), "5 495");
}

#[test]
fn many_requests_run_in_one_process_beside_one_another() {
    let server = server("");
    let one = || {
        let address = server.address;
        thread::spawn(move || get(address, "/together?count=50").text())
    };
    let all: Vec<_> = (0..50).map(|_| one()).collect();
    let mut processes: Vec<String> = all.into_iter().map(|one| one.join().unwrap()).collect();
    processes.dedup();
    assert_eq!(processes.len(), 1);
}

#[test]
fn no_more_run_than_may() {
    let server = server("max_connections: 2, queue_timeout: \"1s\"");
    let open = |path: &str| {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        connection
    };
    let running = [open("/sleep"), open("/sleep")];
    wait_until(SOON, "both run", || {
        let runs = server.pool("asgi").children[0].running.len();
        holds(runs == 2, runs)
    });
    assert_eq!(get(server.address, "/x").status, 503, "the third waits for its turn");
    drop(running);
    wait_seen(server.address, "cancelled", 2);
}

#[test]
fn a_client_that_leaves_ends_its_task() {
    let server = server("");
    for (path, what) in [("/disconnect", "disconnected"), ("/sleep", "cancelled")] {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        wait_until(SOON, "it runs", || {
            let runs = server.pool("asgi").children[0].running.clone();
            holds(runs.iter().any(|run| run.request == format!("GET {path}")), &runs)
        });
        drop(connection);
        wait_seen(server.address, what, 1);
        assert!(server.wait_log(path).contains(" 499 "));
    }
}

#[test]
fn a_request_that_takes_too_long_is_cancelled_and_the_process_goes_on() {
    let server = server("timeout: \"500ms\"").tolerant(&["no response in time"]);
    let process = server.ready("asgi");
    assert_eq!(get(server.address, "/sleep").status, 504);
    wait_seen(server.address, "cancelled", 1);
    assert_eq!(server.ready("asgi"), process);
}

#[test]
fn a_loop_that_is_held_up_is_found_and_its_process_replaced() {
    let server =
        server("timeout: \"200ms\"").tolerant(&["event loop has answered nothing", "no response in time"]);
    let [process] = server.ready("asgi")[..] else { panic!("one process") };
    assert_eq!(get(server.address, "/block").status, 504);
    wait_until(SOON, "another process serves", || {
        let ready = server.ready("asgi");
        holds(!ready.is_empty() && ready != [process], &ready)
    });
    assert_eq!(get(server.address, "/x").status, 200);
    server.wait_log("its event loop has answered nothing");
}

#[test]
fn a_slow_reader_holds_up_its_own_task_and_no_more() {
    let server = server("");
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /stream?count=1000&size=100000 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let before = wait_still("nothing more is sent", || seen(server.address)["sent"].as_u64().unwrap());
    assert!(before < 20_000_000, "{before} bytes wait for a client that reads nothing");
    let reply = slow.reply("GET").unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 100_000_000));
}

#[test]
fn events_are_not_held_back_and_need_no_place() {
    let server = server("max_connections: 1");
    let mut streams: Vec<Connection> = (0..3)
        .map(|_| {
            let mut connection = Connection::open(server.address).unwrap();
            connection.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let head = connection.reply_head().unwrap();
            assert_eq!(head.field("content-type"), Some("text/event-stream; charset=utf-8"));
            let mut chunk = Vec::new();
            connection.exactly(b"9\r\ndata: 0\n\n\r\n".len(), &mut chunk).unwrap();
            assert_eq!(chunk, b"9\r\ndata: 0\n\n\r\n");
            connection
        })
        .collect();
    server.wait_tunnels(3);
    assert_eq!(get(server.address, "/x").status, 200);
    streams.clear();
    wait_seen(server.address, "disconnected", 3);
    server.wait_tunnels(0);
}

#[test]
fn hints_trailers_and_files_reach_the_client() {
    let setup = setup("env: {\"FILE\": \"{dir}/file\"}", "");
    setup.directory.write("file", "a file of the app");
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let hint = connection.reply_head().unwrap();
    assert_eq!((hint.status, hint.field("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(connection.reply("GET").unwrap().text(), "hinted");
    assert_eq!(connection.get("/file").unwrap().text(), "a file of the app");
    connection.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").unwrap();
    let mut head = connection.reply_head().unwrap();
    assert_eq!(head.status, 200);
    head.body.clear();
    let mut rest = Vec::new();
    let wanted = "4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n";
    connection.exactly(wanted.len(), &mut rest).unwrap();
    assert_eq!(String::from_utf8(rest).unwrap().to_lowercase(), wanted);
}

#[test]
fn an_exception_is_a_500_and_in_the_log() {
    let server = server("");
    assert_eq!(get(server.address, "/raise").status, 500);
    server.wait_log("what the log shows");
    assert_eq!(get(server.address, "/x").status, 200);
}

#[test]
fn what_an_app_does_wrong_is_its_own_request_alone() {
    let server = server("").tolerant(&["app asgi: "]);
    let process = server.ready("asgi");
    let mut held = socket::Socket::open(server.address, "/echo");
    assert_eq!(get(server.address, "/stray").status, 500);
    assert_eq!(get(server.address, "/bad").status, 502);
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /bad-trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    // Whoever reads slowly while the app closes, or gives up, hurts nobody else either.
    let mut slow = ["/kick", "/broken-off"].map(|path| socket::Socket::open(server.address, path));
    let codes = slow.each_mut().map(|socket| socket.closed().map(|(code, _)| code));
    assert_eq!(codes, [Some(4002), Some(1011)]);
    held.say("still there");
    assert_eq!(held.message().1, b"still there");
    assert_eq!(server.ready("asgi"), process);
}
