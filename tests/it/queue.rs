//! The queue of an app: how long it is, what is told of the wait in it, and who comes back to it.

use crate::harness::{
    Connection, Gate, Reply, SOON, Server, Setup, Upstream, get, holds, noise, sha256, virtualenv, wait_until,
};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{SystemTime, UNIX_EPOCH};

/// Each page runs as `note()` says in a file of its name; the path says which is meant, what follows it differs from client to
/// client.
const SITE: &str = r#"
import hashlib, os, signal

def note(environ):
    name = environ["PATH_INFO"].split("/")[1]
    with open(name + ".runs", "a") as runs:
        runs.write("x")
    return name, os.path.getsize(name + ".runs")

def application(environ, start_response):
    name, runs = note(environ)
    body = environ["wsgi.input"].read()
    if name == "hold" or name == "stuck":
        open("gate").read()
    if name == "half":
        return half(start_response)
    if name == "dies" or name == "once" and runs == 1:
        os._exit(3)
    if name == "killed" and runs == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    said = {"start": environ.get("HTTP_X_REQUEST_START", "none"), "once": hashlib.sha256(body).hexdigest()}
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.get(name, name).encode()]

def half(start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1000000")])
    yield b"x" * 1000
    open("gate").read()
    os._exit(3)
"#;

/// The same pages, as far as they are asked for, of a command, each in a connection of its own.
const COMMAND: &str = r#"
import http.server, socket, socketserver
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/hold"):
            open("hold.runs", "a").write("x")
            open("gate").read()
        text = self.headers.get("X-Request-Start", "none") if self.path == "/start" else self.path.split("/")[1]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_): pass
    def address_string(self): return ""
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("", 0)
server = Server(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever(poll_interval=0.01)
"#;

/// An app with these keys at `/`, and a fixed answer at `/fixed`; with the gate that its pages wait at.
fn site(app: &str, keys: &str) -> (Server, Gate) {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/fixed", to: Respond(status: 200, body: "fixed")),
        (path: "/", to: App("site")),
    ])],
    apps: {{"site": ({app}, chdir: "{{dir}}", {keys})}},"#
    ));
    setup.directory.write("site_of_test.py", SITE);
    setup.directory.write("command.py", COMMAND);
    let gate = Gate::new(&setup.directory, "gate");
    (setup.start(), gate)
}

const HOSTED: &str = r#"module: "site_of_test", home: "{venv}""#;

fn hosted(keys: &str) -> (Server, Gate) {
    site(HOSTED, keys)
}

fn command() -> String {
    let python = virtualenv().join("bin/python").display().to_string();
    format!(r#"command: ["{python}", "command.py"], max_connections: 1"#)
}

/// How often a page was begun.
fn runs(server: &Server, page: &str) -> u64 {
    let path = server.directory().path().join(format!("{page}.runs"));
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Asks for a page at the gate and waits until it stands there.
fn hold(server: &Server) -> Connection {
    let before = runs(server, "hold");
    let mut holder = Connection::open(server.address).unwrap();
    holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "it runs", || holds(runs(server, "hold") == before + 1, runs(server, "hold")));
    holder
}

/// Asks for so many pages, each by a client of its own; what comes in the order in which it does.
fn ask(address: SocketAddr, count: usize) -> Receiver<Reply> {
    let (tell, told) = channel();
    for number in 0..count {
        let tell = tell.clone();
        std::thread::spawn(move || tell.send(get(address, &format!("/hello/{number}"))));
    }
    told
}

/// The members of the lines in the access log that stand for one path, once there are so many lines.
fn logged(server: &Server, path: &str, count: usize) -> Vec<serde_json::Value> {
    let file = server.directory().path().join("access.log");
    wait_until(SOON, "lines in the access log", || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> = lines
            .filter(|line: &serde_json::Value| line["target"].as_str().is_some_and(|at| at.starts_with(path)))
            .collect();
        holds(lines.len() >= count, text).map(|()| lines)
    })
}

// ---- how long it is -----------------------------------------------------------------------------------------------------

#[test]
fn who_finds_the_queue_full_is_sent_away_at_once_and_the_log_says_who_waited() {
    for app in [HOSTED.to_owned(), command()] {
        let (server, gate) = site(&app, "processes: 1, queue_size: 2, queue_timeout: \"60s\"");
        let mut holder = hold(&server);
        // Two of three wait, whoever comes first.
        let replies = ask(server.address, 3);
        let refused = replies.recv_timeout(SOON).unwrap();
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "{app}: {refused:?}");
        assert!(replies.try_recv().is_err(), "{app}: the others wait");
        // Until then, and then no more: the unit is not free the moment that its client has its answer.
        gate.open();
        for _ in 0..2 {
            let reply = replies.recv_timeout(SOON).unwrap();
            assert_eq!((reply.status, reply.text().as_str()), (200, "hello"), "{app}");
        }
        assert_eq!(holder.reply("GET").unwrap().text(), "hold", "{app}");

        let lines = logged(&server, "/hello", 3);
        let of = |status: u16| lines.iter().filter(move |line| line["status"] == status);
        assert!(of(200).all(|line| line["queue_time"].as_f64().unwrap() > 0.0), "{app}: {lines:?}");
        let refused = of(503).next().unwrap();
        assert_eq!((of(503).count(), &refused["fault"]), (1, &"queue-full".into()), "{app}: {lines:?}");
        assert!(refused.get("queue_time").is_none(), "{app}: {refused}");
        // A unit was free: it has waited for nothing.
        assert_eq!(logged(&server, "/hold", 1)[0]["queue_time"], 0.0, "{app}");
        assert_eq!(get(server.address, "/fixed").text(), "fixed");
        assert!(logged(&server, "/fixed", 1)[0].get("queue_time").is_none());
        server.wait_log("no free process, and queue_size requests wait for one [queue-full]");
    }
}

#[test]
fn where_none_may_wait_idle_units_serve_and_a_sleeping_app_is_woken() {
    for app in [HOSTED.to_owned(), command()] {
        let (server, gate) = site(&app, "processes: (min: 0, max: 1), queue_size: 0");
        let until_served = |server: &Server| {
            wait_until(SOON, "it is served", || {
                let reply = get(server.address, "/hello");
                holds(reply.status == 200, reply)
            });
        };
        assert_eq!(get(server.address, "/hello").status, 503, "{app}: it sleeps");
        until_served(&server);
        // The unit that has just served may not be free yet.
        let mut tries = 0;
        let mut holder = wait_until(SOON, "it holds", || {
            tries += 1;
            let mut holder = Connection::open(server.address).unwrap();
            holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            wait_until(SOON, "it runs, or is refused", || {
                let log = std::fs::read_to_string(server.directory().path().join("access.log")).unwrap();
                holds(runs(&server, "hold") == 1 || log.matches("\"/hold\"").count() == tries, log)
            });
            if runs(&server, "hold") == 1 { Ok(holder) } else { Err("refused".to_owned()) }
        });
        assert_eq!(get(server.address, "/hello").status, 503, "{app}: it is busy");
        gate.open();
        assert_eq!(holder.reply("GET").unwrap().text(), "hold", "{app}");
        until_served(&server);
    }
}

#[test]
fn who_is_refused_has_another_process_started() {
    let (server, gate) = hosted("processes: (min: 1, max: 2), queue_size: 0");
    let mut holder = hold(&server);
    wait_until(SOON, "the other one serves", || {
        let reply = get(server.address, "/hello");
        holds(reply.status == 200, reply)
    });
    gate.open();
    assert_eq!(holder.reply("GET").unwrap().text(), "hold");
}

#[test]
fn who_waits_in_vain_has_waited_too() {
    let (server, gate) = hosted("processes: 1, queue_timeout: \"200ms\"");
    let mut holder = hold(&server);
    let refused = get(server.address, "/hello");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    let line = &logged(&server, "/hello", 1)[0];
    assert_eq!(line["fault"], "queue-timeout");
    assert!(line["queue_time"].as_f64().unwrap() >= 0.2, "{line}");
    gate.open();
    assert_eq!(holder.reply("GET").unwrap().text(), "hold");
}

#[test]
fn who_waits_for_a_server_of_an_upstream_is_in_the_log_too() {
    let (let_go, gate) = channel();
    let gate = Mutex::new(gate);
    let upstream = Upstream::start(move |received, stream| {
        if received.line.contains("/hold") {
            gate.lock().unwrap().recv().unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_ok()
    });
    let server = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("one"))])],
    upstreams: {{"one": (servers: [(address: "{}", max_connections: 1)], queue: 1)}},"#,
        upstream.address
    ))
    .start();
    let mut holder = Connection::open(server.address).unwrap();
    holder.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait_until(SOON, "it is there", || holds(upstream.received().len() == 1, upstream.received()));
    let replies = ask(server.address, 2);
    assert_eq!(replies.recv_timeout(SOON).unwrap().status, 503);
    let_go.send(()).unwrap();
    assert_eq!(replies.recv_timeout(SOON).unwrap().status, 200);
    assert_eq!(holder.reply("GET").unwrap().text(), "hello");
    for line in logged(&server, "/", 3) {
        let waited = line["queue_time"].as_f64();
        match (line["target"].as_str().unwrap(), line["status"].as_u64().unwrap()) {
            ("/hold", 200) => assert_eq!(waited, Some(0.0), "{line}"),
            (_, 200) => assert!(waited > Some(0.0), "{line}"),
            (_, status) => assert_eq!((status, waited), (503, None), "{line}"),
        }
    }
}

// ---- when it came -------------------------------------------------------------------------------------------------------

#[test]
#[expect(clippy::disallowed_methods, reason = "it is compared with the real clock")]
fn an_app_is_told_when_its_request_came_and_no_client_tells_it() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for app in [HOSTED.to_owned(), command()] {
        let (server, _gate) = site(&app, "processes: 1");
        for fields in
            [&[][..], &[("X-Request-Start", "t=1.5")], &[("x-request-start", "t=1.5"), ("X-A", "1")]]
        {
            let before = now();
            let said = Connection::open(server.address).unwrap().request("GET", "/start", fields, b"");
            let said = said.unwrap().text();
            let at: f64 = said.strip_prefix("t=").unwrap_or_else(|| panic!("{said}")).parse().unwrap();
            assert_eq!(said.len(), "t=1760013296.007999".len(), "{said}");
            // Six decimals, cut.
            assert!(before - 0.000_002 <= at && at <= now(), "{app}: {before} {said}");
        }
    }
}

#[test]
fn what_a_trusted_proxy_says_of_that_stays() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"], trusted_proxies: ["127.0.0.1/32"],
        locations: [(path: "/", to: App("site"))],
    )],
    apps: {"site": (module: "site_of_test", home: "{venv}", chdir: "{dir}")},"#,
    );
    setup.directory.write("site_of_test.py", SITE);
    let server = setup.start();
    let said = |fields: &[(&str, &str)]| {
        Connection::open(server.address).unwrap().request("GET", "/start", fields, b"").unwrap().text()
    };
    assert_eq!(said(&[("X-Request-Start", "t=1760013296.007")]), "t=1760013296.007");
    assert!(said(&[]).starts_with("t="), "{}", said(&[]));
}

// ---- who comes back -----------------------------------------------------------------------------------------------------

#[test]
fn another_process_answers_what_one_has_died_with() {
    for keys in ["processes: 1", "processes: 2, threads: 2", "processes: 1, preload: true"] {
        for page in ["/once", "/killed"] {
            let (server, _gate) = hosted(keys);
            assert_eq!(get(server.address, page).status, 200, "{keys}");
            assert_eq!(runs(&server, &page[1..]), 2, "{keys}");
            let line = server.wait_log("its process has died; another one is asked");
            assert!(line.contains(&format!("app site: GET {page}: ")), "{line}");
            let logged = &logged(&server, page, 1)[0];
            assert_eq!((&logged["status"], logged.get("fault")), (&200.into(), None), "{logged}");
        }
    }
}

#[test]
fn a_body_is_handed_over_once_more_as_it_was() {
    for size in [0, 1, 65_536, 65_537, 5 << 20] {
        let (server, _gate) = hosted("processes: 2");
        let body = noise(size, 7);
        let mut connection = Connection::open(server.address).unwrap();
        let reply = connection.request("PUT", "/once", &[], &body).unwrap();
        assert_eq!((reply.status, reply.text()), (200, sha256(&body)), "{size}");
        assert_eq!(runs(&server, "once"), 2);
    }
}

#[test]
fn what_may_have_been_done_is_not_done_twice() {
    let (server, _gate) = hosted("processes: 2");
    let server = server.tolerant(&["POST /once", "PATCH /dies", "connection closed before a response"]);
    for (method, page) in [("POST", "once"), ("PATCH", "dies")] {
        let mut connection = Connection::open(server.address).unwrap();
        let reply = connection.request(method, &format!("/{page}"), &[], b"body").unwrap();
        assert_eq!((reply.status, runs(&server, page)), (502, 1), "{method}");
        assert_eq!(connection.get("/hello").unwrap().text(), "hello", "nobody else is hurt");
    }
}

#[test]
fn what_kills_two_processes_is_given_up() {
    for keys in ["processes: 1", "processes: 3"] {
        let (server, _gate) = hosted(keys);
        let server = server.tolerant(&["GET /dies"]);
        assert_eq!(get(server.address, "/dies").status, 502, "{keys}");
        assert_eq!(get(server.address, "/hello").text(), "hello", "{keys}");
        assert_eq!(runs(&server, "dies"), 2, "{keys}");
        assert_eq!(logged(&server, "/dies", 1)[0]["fault"], "closed");
    }
}

#[test]
fn what_has_begun_to_be_answered_is_not_begun_again() {
    let (server, gate) = hosted("processes: 2");
    let server = server.tolerant(&["GET /half"]);
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    gate.open();
    assert!(connection.rest().unwrap().len() <= 1000);
    assert_eq!(get(server.address, "/hello").text(), "hello");
    assert_eq!(runs(&server, "half"), 1);
}

#[test]
fn what_takes_too_long_is_not_done_twice() {
    let (server, gate) = hosted("processes: 2, timeout: \"300ms\"");
    let server = server.tolerant(&["GET /stuck"]);
    assert_eq!(get(server.address, "/stuck").status, 504);
    assert_eq!(get(server.address, "/hello").text(), "hello");
    assert_eq!(runs(&server, "stuck"), 1);
    gate.open();
}

#[test]
fn who_comes_back_stands_where_it_stood_and_is_not_refused() {
    let (server, gate) = hosted("processes: 1, queue_size: 1, queue_timeout: \"60s\"");
    // Its process dies with it while another one waits, which fills the queue.
    let victim = server.ready("site")[0];
    let mut holder = hold(&server);
    let replies = ask(server.address, 2);
    assert_eq!(replies.recv_timeout(SOON).unwrap().status, 503);
    victim.signal(nix::sys::signal::Signal::SIGKILL);
    wait_until(SOON, "it is begun once more", || holds(runs(&server, "hold") == 2, runs(&server, "hold")));
    assert_eq!(runs(&server, "hello"), 0, "it came before the one that waits");
    assert!(replies.try_recv().is_err());
    gate.open();
    assert_eq!(holder.reply("GET").unwrap().text(), "hold");
    assert_eq!(replies.recv_timeout(SOON).unwrap().status, 200);
    let line = &logged(&server, "/hold", 1)[0];
    assert!(line["queue_time"].as_f64().unwrap() > 0.0, "the new process was waited for: {line}");
}
