//! A mutating fuzzer against the whole server: clients, an upstream, an app and whoever may open the control socket send
//! mutations of what is well-formed. Whatever comes, nobody else notices: the same processes go on, with as many
//! descriptors as before; no file outside of its root is shown; one request is one request, for the upstream too; what
//! the client gets is HTTP or the end of its connection.
//!
//! A few seconds in the suite; longer with `scripts/attack SECONDS [SEED]`, which sets `HATCHERY_ATTACK_SECONDS` and
//! `HATCHERY_ATTACK_SEED`.

use crate::differential::{Random, mutate};
use crate::harness::{
    Connection, Process, Received, SOON, Server, Setup, Upstream, get, holds, now, wait_until,
};
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// What stands outside of every root.
const SECRET: &str = "nobody-may-read-this";

/// In a request that stands in the body of another: whoever sees it as a field of a request was led astray, for what
/// comes through the server names the client here.
const SMUGGLED: &str = "smuggled";

/// At a time.
const ATTACKERS: usize = 8;

/// Longest wait for the end of a connection whose client has said everything.
const PATIENCE: Duration = Duration::from_secs(20);

const APP: &str = r#"
import gc, random

def application(environ, start_response):
    if environ["PATH_INFO"] == "/frames":
        attack(start_response.__self__.stream, int(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]

def attack(stream, seed):
    """Frames that are wrong in one place or another, then what the server's own program would send."""
    source = random.Random(seed)
    for _ in range(source.randrange(1, 4)):
        payload = bytes(source.randrange(256) for _ in range(source.choice([0, 1, 8, 16, 300])))
        length = source.choice([len(payload), len(payload), 0, 1, 7, 2**20, 2**31, 2**32 - 1])
        head = length.to_bytes(4, "little") + bytes([source.choice([*range(16), 200, 255]), source.choice([0, 1, 2, 4, 8, 255])])
        head += source.choice([b"\0\0", b"\0\0", b"\1\0"]) + source.choice([1, 2, 3, 2**32 - 1]).to_bytes(4, "little")
        try:
            stream.socket.send((head + payload)[: source.choice([3, 12, 12 + len(payload)])])
        except OSError:
            return
"#;

/// What mutations begin with.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/head");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let inner = format!("GET /up/{SMUGGLED} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {SMUGGLED}\r\n\r\n");
    let length = inner.len();
    for place in ["/up/a", "/static/file.txt", "/", "/old/x", "/static/"] {
        seeds.push(
            format!("POST {place} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{inner}GET {place} HTTP/1.1\r\nHost: a\r\n\r\n")
                .into_bytes(),
        );
        seeds.push(
            format!("POST {place} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x};a=b\r\n{inner}\r\n0\r\nT: x\r\n\r\n")
                .into_bytes(),
        );
    }
    for path in [
        "/static/../secret",
        "/static/%2e%2e/secret",
        "/static/..%2fsecret",
        "/static/sub/..%5c..%5c..%5csecret",
        "/up/..;/static/..%00/secret",
        "/static/link",
        "//evil.example/%2e%2e",
        "/old/%2f%2fevil.example",
    ] {
        seeds.push(format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes=0-5,7-\r\n\r\n").into_bytes());
    }
    seeds
}

/// Mutations of well-formed responses.
fn responses() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close, X-A\r\nX-A: b\r\nSet-Cookie: a=b\r\n\r\nfine",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

struct Attack {
    server: Server,
    /// Sees what goes through the server.
    honest: Upstream,
    /// Keeps the server's own connections away from it.
    _hostile: Upstream,
    seeds: Vec<Vec<u8>>,
}

impl Attack {
    fn new() -> Self {
        let honest = Upstream::fixed("ok");
        let answers = responses();
        let hostile = Upstream::start(move |request, stream| {
            let number = request.line.split(['?', ' ']).nth(2).and_then(|text| text.parse().ok());
            let mut random = Random::new(number.unwrap_or(1));
            let answer = mutate(&answers[random.below(answers.len())], &answers, &mut random);
            stream.write_all(&answer).is_ok() && random.below(2) == 0
        });
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    log: (level: "error"),
    limits: (header_timeout: "2s", body_timeout: "2s", keepalive_timeout: "2s"),
    sites: [(
        listen: ["{{address}}", "unix:{{dir}}/open.sock"],
        locations: [
            (path: "/static/", to: Files(root: "static", listing: true)),
            (path: "/old/", to: Redirect(status: 301, location: "/$rest")),
            (path: "/up/", to: Proxy("honest")),
            (path: "/bad/", to: Proxy("hostile")),
            (path: "/", to: App("app")),
        ],
    )],
    apps: {{"app": (module: "app_of_test", chdir: "{{dir}}/code", processes: 1, timeout: "300ms")}},
    upstreams: {{"honest": (servers: ["{}"]), "hostile": (servers: ["{}"], timeout: "300ms")}},"#,
            honest.address, hostile.address
        ));
        let directory = &setup.directory;
        directory.write("static/file.txt", "file\n".repeat(100));
        directory.write("static/sub/other.txt", "other");
        directory.write("secret", SECRET);
        std::os::unix::fs::symlink("../secret", directory.path().join("static/link")).unwrap();
        directory.write("code/app_of_test.py", APP);
        let server = setup.start().tolerant(&["app app", "proxy hostile"]);
        Self { server, honest, _hostile: hostile, seeds: seeds() }
    }

    fn one(&self, random: &mut Random) {
        match random.below(128) {
            0 => self.app(random),
            1..=8 => self.upstream(random),
            9..=15 => self.control(random),
            16..=31 => self.client(true, random),
            _ => self.client(false, random),
        }
    }

    /// A client that sends a mutation in pieces and leaves in one way or another.
    fn client(&self, unix: bool, random: &mut Random) {
        let seed = random.below(self.seeds.len());
        let mut bytes = self.seeds[seed].clone();
        for _ in 0..=random.below(3) {
            bytes = mutate(&bytes, &self.seeds, random);
        }
        let cut = random.below(bytes.len() + 1);
        let (before, after) = bytes.split_at(cut);
        let reset = random.below(8) == 0;
        let answer = if unix {
            let path = self.server.directory().path().join("open.sock");
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let sent = stream.write_all(before).and_then(|()| stream.write_all(after));
            if reset {
                return;
            }
            drop(sent.and_then(|()| stream.shutdown(Shutdown::Write)));
            everything(&mut stream)
        } else {
            let mut stream = TcpStream::connect(self.server.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let sent = stream.write_all(before).and_then(|()| stream.write_all(after));
            if reset {
                return;
            }
            drop(sent.and_then(|()| stream.shutdown(Shutdown::Write)));
            everything(&mut stream)
        };
        let shown = String::from_utf8_lossy(&answer);
        let what = bytes.escape_ascii();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{what}\n{shown}");
        assert!(!shown.contains(SECRET), "a file outside of its root was shown: {what}\n{shown}");
        for location in shown.lines().filter_map(|line| line.strip_prefix("Location: ")) {
            let leaves = ["//", "/\\", "\\"].iter().any(|start| location.starts_with(start));
            assert!(!leaves, "a redirect to elsewhere: {what}\n{shown}");
        }
    }

    /// An upstream that answers with a mutation.
    fn upstream(&self, random: &mut Random) {
        let number = random.below(1 << 30);
        let mut connection = Connection::open(self.server.address).unwrap();
        if let Err(error) = connection.get(&format!("/bad/?{number}")) {
            let ended = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
            assert!(ended, "/bad/?{number}: the client gets what is not HTTP: {error}");
        }
    }

    /// An app that sends frames that are not in order.
    fn app(&self, random: &mut Random) {
        let number = random.below(1 << 30);
        let mut connection = Connection::open(self.server.address).unwrap();
        if let Err(error) = connection.get(&format!("/frames?{number}")) {
            let ended = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset);
            assert!(ended, "/frames?{number}: the client gets what is not HTTP: {error}");
        }
    }

    /// Somebody who may open the control socket and sends what is no command.
    fn control(&self, random: &mut Random) {
        let commands: [&[u8]; 2] =
            [b"{\"request\":\"Status\"}\n", b"{\"request\":{\"Logs\":{\"wait\":false}}}\n"];
        let commands = commands.map(<[u8]>::to_vec);
        let bytes = mutate(&commands[random.below(2)], &commands, random);
        let path = self.server.directory().path().join("control.sock");
        let Ok(mut stream) = UnixStream::connect(path) else { return };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write)));
        everything(&mut stream);
    }

    /// Nobody has noticed anything.
    fn judge(&self, worker: Process) {
        for path in ["/static/file.txt", "/up/good"] {
            assert_eq!(get(self.server.address, path).status, 200, "{path}");
        }
        // The app has a short time-out, for what it does not end: on a busy machine a good answer may miss it.
        wait_until(SOON, "the app answers", || {
            let status = get(self.server.address, "/good").status;
            holds(status == 200, status)
        });
        assert_eq!(self.server.ready("worker"), [worker], "the worker was replaced");
        assert_eq!(self.server.pool("worker").restarts, 0);
        self.honest.take_received().iter().for_each(well_formed);
    }

    /// So many attackers at a time, each with `each` mutations.
    fn wave(&self, each: usize, source: &mut Random) {
        std::thread::scope(|scope| {
            for _ in 0..ATTACKERS {
                let mut random = Random::new(source.below(usize::MAX) as u64);
                scope.spawn(move || (0..each).for_each(|_| self.one(&mut random)));
            }
        });
    }

    /// The descriptors of worker and master once no client is there.
    fn at_rest(&self, worker: Process) -> (usize, usize) {
        wait_until(SOON, "all connections are closed", || {
            let open = self.server.pool("worker").children[0].connections;
            holds(open == Some(0), open)
        });
        (worker.descriptors(), self.server.master.descriptors())
    }
}

/// Reads until the end, which may be an abrupt one.
fn everything(stream: &mut impl std::io::Read) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return answer,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("the connection does not end: {}", answer.escape_ascii())
            }
            Err(_) => return answer,
        }
    }
}

/// The upstream's view of one request: written by the server, with the client's address in its place.
#[track_caller]
fn well_formed(request: &Received) {
    let words: Vec<&str> = request.line.split(' ').collect();
    assert!(matches!(words[..], [_, _, "HTTP/1.1"]), "{request:?}");
    assert_eq!(request.all("host").len(), 1, "{request:?}");
    for name in ["x-forwarded-for", "x-real-ip", "forwarded"] {
        let led_astray = request.all(name).iter().any(|value| value.contains(SMUGGLED));
        assert!(!led_astray, "a body became a request: {request:?}");
    }
    assert!(!request.all("x-forwarded-for").is_empty() || request.all("forwarded").is_empty(), "{request:?}");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn mutations_find_nothing() {
    let time = Duration::from_secs(number("HATCHERY_ATTACK_SECONDS", 5));
    let seed = number("HATCHERY_ATTACK_SEED", 1);
    println!("seed {seed}");
    let (attack, mut source) = (Attack::new(), Random::new(seed));
    let worker = attack.server.ready("worker")[0];
    // Warmed up: threads, kept connections, files.
    attack.wave(50, &mut source);
    attack.judge(worker);
    let before = attack.at_rest(worker);
    let (start, mut count) = (now(), 0);
    while start.elapsed() < time {
        attack.wave(100, &mut source);
        attack.judge(worker);
        count += 100 * ATTACKERS;
    }
    println!("{count} mutations");
    let after = attack.at_rest(worker);
    // Some connections to the app and upstreams are kept, never more than can be in use at a time.
    let kept = ATTACKERS;
    assert!(after.0 <= before.0 + kept && after.1 <= before.1 + 2, "descriptors: {before:?}, then {after:?}");
}
