//! Streams beside each other: one that ends before its time, waits or is slow leaves the others alone.

use crate::harness::http2::{
    CANCEL, Came, Client, DATA, END_STREAM, INITIAL_WINDOW_SIZE, NO_ERROR, PRIORITY_UPDATE, asks, frame, get,
    headers, reset, settings, window_update,
};
use crate::harness::{Gate, SOON, Server, Setup, Upstream, holds, noise, sha256, wait_until};
use std::io::{Read as _, Write as _};
use std::sync::{Mutex, mpsc};

/// An app with one thread in one process: `/wait` waits at the gate, whatever runs is noted, `/large` is 200,000 bytes, `/echo`
/// tells of its body.
const APP: &str = r#"
import hashlib
def application(environ, start_response):
    path = environ['PATH_INFO']
    with open('ran', 'a') as ran:
        print(path, file=ran)
    if path == '/wait':
        open('gate').read()
    if path == '/large':
        start_response('200 OK', [])
        return [bytes([part]) * 50_000 for part in range(4)]
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [hashlib.sha256(body).hexdigest().encode()]
"#;

/// The app, files, and an upstream, in one worker.
fn site(upstream: &Upstream, keys: &str) -> (Server, Gate) {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1), {keys}
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(
        listen: ["{{address}}"],
        max_body: "100MiB",
        locations: [
            (path: "/fixed", to: Respond(status: 200, body: "fixed\n")),
            (path: "/files/", to: Files(root: "files")),
            (path: "/behind/", to: Proxy("behind")),
            (path: "/", to: App("site")),
        ],
    )],
    upstreams: {{"behind": (servers: ["{}"])}},
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", processes: 1)}},"#,
        upstream.address
    ));
    setup.directory.write("site_of_test.py", APP);
    setup.directory.write("files/large", noise(LARGE, 1));
    let gate = Gate::new(&setup.directory, "gate");
    (setup.start(), gate)
}

const LARGE: usize = 8 << 20;
/// What a stream may be sent by default.
const WINDOW: usize = 65_535;

/// A request with a body.
fn post(stream: u32, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let fields = [asks("POST", path), vec![("content-length", &length)]].concat();
    let mut frames = headers(stream, 0, &fields);
    for part in body.chunks(16 << 10) {
        frames.extend(frame(DATA, 0, stream, part));
    }
    frames.extend(frame(DATA, END_STREAM, stream, b""));
    frames
}

/// What of a test's directory is there by then.
fn read(server: &Server, name: &str) -> String {
    std::fs::read_to_string(server.directory().path().join(name)).unwrap_or_default()
}

#[track_caller]
fn wait_for(server: &Server, name: &str, text: &str) {
    wait_until(SOON, &format!("`{text}` in {name}"), || {
        let found = read(server, name);
        holds(found.contains(text), found)
    });
}

#[track_caller]
fn logged(server: &Server, target: &str) -> serde_json::Value {
    let of = format!("\"target\":\"{target}\"");
    wait_for(server, "access.log", &of);
    let lines = read(server, "access.log");
    serde_json::from_str(lines.lines().find(|line| line.contains(&of)).unwrap()).unwrap()
}

#[test]
fn what_runs_for_a_stream_that_is_reset_is_given_up_and_its_unit_comes_free() {
    let (server, gate) = site(&Upstream::fixed(""), "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let running = client.request(&asks("GET", "/wait"), true).unwrap();
    wait_for(&server, "ran", "/wait");
    let queued = client.request(&asks("GET", "/never"), true).unwrap();
    let next = client.request(&asks("GET", "/next"), true).unwrap();
    // Before that, nobody has heard of them.
    client.get("/fixed").unwrap();
    client.send([reset(running, CANCEL), reset(queued, CANCEL)].concat()).unwrap();
    assert_eq!(client.get("/fixed").unwrap().text(), "fixed\n");
    for given_up in ["/wait", "/never"] {
        assert_eq!(logged(&server, given_up)["status"], 499, "{given_up}");
    }
    gate.open();
    assert_eq!(client.answer(next).unwrap().text(), sha256(b""));
    assert_eq!(read(&server, "ran"), "/wait\n/next\n");
}

/// The app is done with all of them, and the memory of the worker is that of one.
#[test]
fn what_an_app_answers_to_streams_that_take_nothing_waits_in_files() {
    let (server, _gate) = site(&Upstream::fixed(""), "");
    let worker = server.ready("worker")[0];
    let mut client = Client::open(server.address, &[(INITIAL_WINDOW_SIZE, 0)]).unwrap();
    client.send(window_update(0, 100 * 200_000)).unwrap();
    let before = worker.memory("VmHWM");
    let streams: Vec<u32> = (0..100).map(|_| client.request(&asks("GET", "/large"), true).unwrap()).collect();
    wait_until(SOON, "all have run", || {
        let ran = read(&server, "ran").lines().count();
        holds(ran == streams.len(), ran)
    });
    // The last one, too.
    assert_eq!(Client::open(server.address, &[]).unwrap().get("/echo").unwrap().status, 200);
    let more = worker.memory("VmHWM") - before;
    assert!(more < 5 << 20, "{} KiB more", more >> 10);
    let whole: Vec<u8> = (0..4).flat_map(|part| [part; 50_000]).collect();
    client.send(settings(&[(INITIAL_WINDOW_SIZE, 200_000)])).unwrap();
    for stream in streams {
        assert_eq!(client.answer(stream).unwrap().body, whole, "{stream}");
    }
}

/// Nothing is written to it, so nothing else shows that it is not there any more.
#[test]
fn a_client_that_has_gone_with_its_windows_closed_is_not_waited_for() {
    let (server, _gate) = site(&Upstream::fixed(""), "limits: (body_timeout: \"10m\"),");
    let mut client = Client::open(server.address, &[(INITIAL_WINDOW_SIZE, 0)]).unwrap();
    for path in ["/large", "/files/large", "/echo"] {
        let stream = client.request(&asks("GET", path), true).unwrap();
        while !matches!(client.next().unwrap(), Came::Headers { stream: of, .. } if of == stream) {}
    }
    drop(client);
    wait_until(SOON, "it is gone", || {
        let workers = server.pool("worker").children;
        holds(workers.iter().filter_map(|worker| worker.connections).sum::<u64>() == 0, workers)
    });
}

#[test]
fn an_upstream_sees_that_a_stream_was_reset() {
    let (send, requests) = mpsc::channel();
    let (go_on, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let upstream = Upstream::start(move |request, stream| {
        if request.line.contains("slow") {
            send.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            return false;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick").is_ok()
    });
    let (server, _gate) = site(&upstream, "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let slow = client.request(&asks("GET", "/behind/slow"), true).unwrap();
    requests.recv().unwrap();
    client.send(reset(slow, CANCEL)).unwrap();
    assert_eq!(client.get("/behind/quick").unwrap().text(), "quick");
    let line = logged(&server, "/behind/slow");
    assert_eq!((&line["status"], &line["error"]), (&499.into(), &"the client has left".into()), "{line}");
    go_on.send(()).unwrap();
}

#[test]
fn a_download_that_is_reset_is_logged_with_what_was_sent() {
    let (server, _gate) = site(&Upstream::fixed(""), "");
    let mut client = Client::open(server.address, &[(INITIAL_WINDOW_SIZE, 100_000)]).unwrap();
    client.send(get(1, "/files/large")).unwrap();
    while client.answers.get(&1).is_none_or(|answer| answer.body.len() < 200_000) {
        client.step().unwrap();
    }
    client.send([reset(1, CANCEL), get(3, "/fixed")].concat()).unwrap();
    assert_eq!(client.answer(3).unwrap().text(), "fixed\n");
    let line = logged(&server, "/files/large");
    let sent = line["bytes"].as_u64().unwrap();
    assert!(line["status"] == 200 && (200_000..1 << 20).contains(&sent), "{line}");
}

/// What the client does not take, and what an upstream does not take, wait for themselves.
#[test]
fn a_stream_that_waits_holds_up_no_other() {
    let (go_on, gate) = mpsc::channel();
    // Takes nothing before it may.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = listener.local_addr().unwrap();
    let held = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        gate.recv().unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"end") {
            let mut part = [0; 16 << 10];
            let count = stream.read(&mut part).unwrap();
            got.extend_from_slice(&part[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntook").unwrap();
    });
    let (server, _gate) = site(&Upstream::fixed("behind"), "");
    server.configure(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        max_body: "100MiB",
        locations: [
            (path: "/slow", to: Proxy("slow")),
            (path: "/files/", to: Files(root: "files")),
            (path: "/", to: App("site")),
        ],
    )],
    upstreams: {{"slow": (servers: ["{slow}"])}},
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", processes: 1)}},"#
    ));
    server.hang_up();
    let mut client = Client::open(server.address, &[]).unwrap();
    // It waits in the server, its upstream and between them.
    client.send(post(1, "/slow", &[&noise(199_997, 2)[..], b"end"].concat())).unwrap();
    // The client has less window for it than it is long.
    client.send(get(3, "/files/large")).unwrap();
    let upload = noise(60_000, 3);
    client.send(post(5, "/echo", &upload)).unwrap();
    client.send(window_update(0, 1 << 20)).unwrap();
    let (mut file, mut echo) = (0, Vec::new());
    while file < WINDOW || echo.len() < 64 {
        match client.next().unwrap() {
            Came::Data { stream: 3, bytes, .. } => file += bytes.len(),
            Came::Data { stream: 5, bytes, .. } => echo.extend(bytes),
            Came::Closed => panic!("closed"),
            _ => {}
        }
    }
    assert_eq!((String::from_utf8(echo).unwrap(), file), (sha256(&upload), WINDOW));
    go_on.send(()).unwrap();
    assert_eq!(client.answer(1).unwrap().text(), "took");
    client.send(window_update(3, LARGE as u32)).unwrap();
    assert_eq!(client.answer(3).unwrap().body.len(), LARGE - WINDOW);
    held.join().unwrap();
}

#[test]
fn what_is_urgent_leaves_first() {
    let (server, _gate) = site(&Upstream::fixed(""), "");
    let with = |stream, path, priority| {
        let mut fields = asks("GET", path);
        fields.push(("priority", priority));
        headers(stream, END_STREAM, &fields)
    };
    // The one that is asked for last is first, and the first one last, as it says later.
    let mut client = Client::open(server.address, &[(INITIAL_WINDOW_SIZE, 16 << 20)]).unwrap();
    let update = [&5_u32.to_be_bytes()[..], b"u=7"].concat();
    client
        .send(
            [
                with(1, "/files/large?1", "u=6"),
                with(3, "/files/large?2", "u=5"),
                with(5, "/files/large?3", "u=1"),
                frame(PRIORITY_UPDATE, 0, 0, update),
                window_update(0, 1 << 30),
            ]
            .concat(),
        )
        .unwrap();
    let mut order = Vec::new();
    while order.len() < 3 {
        client.step().unwrap();
        let whole = client.answers.iter().filter(|(_, answer)| answer.complete).map(|(stream, _)| *stream);
        let new: Vec<_> = whole.filter(|stream| !order.contains(stream)).collect();
        order.extend(new);
    }
    assert_eq!(order, [3, 1, 5]);
}

#[test]
fn a_client_that_vanishes_frees_all_that_ran_for_it() {
    let (server, gate) = site(&Upstream::fixed(""), "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let paths: Vec<String> = (0..50).map(|number| format!("/queued/{number}")).collect();
    client.request(&asks("GET", "/wait"), true).unwrap();
    wait_for(&server, "ran", "/wait");
    for path in &paths {
        client.request(&asks("GET", path), true).unwrap();
    }
    client.send(get(201, "/fixed")).unwrap();
    client.answer(201).unwrap();
    drop(client);
    for path in &paths {
        assert_eq!(logged(&server, path)["status"], 499);
    }
    gate.open();
    let mut other = Client::open(server.address, &[]).unwrap();
    assert_eq!(other.get("/after").unwrap().text(), sha256(b""));
    assert_eq!(read(&server, "ran"), "/wait\n/after\n");
}

/// So does one that only closes its side, for what waits; what it can still be told it is told.
#[test]
fn a_client_that_closes_its_side_has_left() {
    let (server, gate) = site(&Upstream::fixed(""), "");
    let mut client = Client::open(server.address, &[]).unwrap();
    let running = client.request(&asks("GET", "/wait"), true).unwrap();
    wait_for(&server, "ran", "/wait");
    client.request(&asks("GET", "/queued"), true).unwrap();
    client.socket().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(logged(&server, "/queued")["status"], 499);
    gate.open();
    assert_eq!(client.answer(running).unwrap().text(), sha256(b""));
    assert_eq!(read(&server, "ran"), "/wait\n");
}

#[test]
fn the_last_request_that_a_connection_may_carry_is_answered_with_a_goaway() {
    let (server, _gate) = site(&Upstream::fixed(""), "limits: (keepalive_requests: 3),");
    let mut client = Client::open(server.address, &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/fixed").unwrap().text(), "fixed\n");
    }
    while client.step().unwrap() != Came::Closed {}
    assert_eq!(client.goaway, Some((5, NO_ERROR)));
}

/// One connection at a time is given up for each that comes, though none of the clients listens.
#[test]
fn an_idle_connection_makes_room_for_a_new_one() {
    let server = Setup::new(
        r#"
    workers: (processes: 1, connections: 4),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#,
    )
    .start();
    let mut idle: Vec<_> = (0..4).map(|_| Client::open(server.address, &[]).unwrap()).collect();
    idle.iter_mut().for_each(|one| assert_eq!(one.get("/").unwrap().text(), "here"));
    let mut new = Client::open(server.address, &[]).unwrap();
    assert_eq!(new.get("/").unwrap().text(), "here");
    let left = idle.iter_mut().filter_map(|one| one.get("/").ok()).count();
    assert_eq!(left, 3);
}
