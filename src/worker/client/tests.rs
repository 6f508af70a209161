mod own;
mod tls;

use super::*;
use crate::balance::WorkerRoster;
use crate::cache::store::{Sizes, WorkerStore};
use crate::config;
use crate::config::boot::WorkerBoot;
use crate::config::credentials::Credentials;
use crate::dispatch::{Board, WorkerBoard};
use crate::http::Scheme;
use crate::policy::limit::table::WorkerTable;
use crate::sys::{fd, seqpacket};
use crate::worker::accept::Gate;
use crate::worker::context::ListenerInfo;
use crate::worker::heap::Heap;
use crate::worker::reader::{Outcome, Whom};
use crate::worker::{Worker, drain};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

impl Client {
    fn http1(&self) -> &Http1 {
        match &self.http {
            Http::H1(http) => http,
            Http::H2(_) => panic!("it speaks HTTP/2"),
        }
    }
}

/// A worker with one client. Its turns are the test's, and so is its clock, which stands still.
struct Bench {
    directory: PathBuf,
    worker: Worker,
    key: Key,
    /// The client's end.
    peer: UnixStream,
    /// The server's end, once more.
    server: UnixStream,
    /// What jobs have brought and nobody was told of.
    brought: VecDeque<(Whom, Outcome)>,
    _master: [OwnedFd; 2],
}

impl Bench {
    /// With this location, and these files in the directory `files`.
    fn new(name: &str, location: &str, files: &[&str]) -> Self {
        let site = format!("(listen: [\"127.0.0.1:1\"], locations: [({location})])");
        Self::with(name, &site, Scheme::Http, files)
    }

    /// With these sites on one listener, at which clients speak so.
    fn with(name: &str, sites: &str, scheme: Scheme, files: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("hatchery-client-{name}-{}", std::process::id()));
        for name in files {
            let path = directory.join("files").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("hatchery.ron");
        let text = format!("(sites: [{sites}], log: (access: (path: \"access.log\", format: Json)))");
        fs::write(&file, text).unwrap();
        let (config, _) = config::load_with_warnings(&file, &config::Disk).unwrap();
        // No pools: there are no apps.
        let units = Board::units().start;
        let words: &[AtomicU64] = Vec::leak((0..units).map(|_| AtomicU64::new(0)).collect());
        let board = WorkerBoard::new(words, 0, &words[Board::area(0).unwrap()], &words[units..]);
        let (control, master) = seqpacket::pair().unwrap();
        let (hear, tell) = nix::unistd::pipe().unwrap();
        let found = |path: PathBuf| (path.clone(), config::boot::StaticRoot::find(&path).ok());
        let mut cx = Context::new(WorkerBoot {
            roots: [found(directory.join("files"))].into(),
            config: Rc::new(config),
            listeners: Vec::new(),
            control,
            tell,
            board,
            roster: WorkerRoster::new(&[], 0, &[], &[]),
            cache: WorkerStore::new(Sizes { memory: 0, disk: 0 }, &[], 0, &[], &[]),
            cache_files: None,
            limits: WorkerTable::new(&[], 0, &[], &[]),
            upstreams: Vec::new(),
            wake: Rc::from([fd::eventfd().unwrap().into()]),
            runtime_dir: directory.clone(),
            master: 0,
            temp_dir: None,
            pipes: Vec::new(),
            app_pools: Vec::new(),
            access_logs: vec![fs::File::create(directory.join("access.log")).unwrap().into()],
            credentials: Credentials::default(),
            candidate: false,
        })
        .unwrap();
        cx.watch_own().unwrap();
        let sites = (0..cx.config.sites.len()).collect();
        cx.listeners =
            vec![ListenerInfo { local: None, unix: true, scheme, front: false, sites, proxies: Vec::new() }];
        let (gate, drain) = (Gate::new(Vec::new(), 1), drain::Mode::Serving);
        let (closed, heap) = (Vec::new(), Heap::default());
        let mut worker = Worker { clients: Slab::new(), gate, drain, cx, closed, heap };
        let (key, peer, server) = connect(&mut worker);
        let brought = VecDeque::new();
        Self { directory, worker, key, peer, server, brought, _master: [master, hear] }
    }

    /// Writes another content into one of its files.
    fn fill(&self, name: &str, contents: &[u8]) {
        fs::write(self.directory.join("files").join(name), contents).unwrap();
    }

    /// Another client takes the place of the first, which stays.
    fn connect_anew(&mut self) {
        (self.key, self.peer, self.server) = connect(&mut self.worker);
    }

    /// As above, but what one call writes is what one call reads.
    fn connect_by_messages(&mut self) {
        let (peer, server) = seqpacket::pair().unwrap();
        (self.key, self.peer, self.server) = connect_by(&mut self.worker, peer.into(), server.into());
    }

    fn client(&mut self) -> &mut Client {
        let Some(Party::Client(client)) = self.worker.clients.get_mut(self.key) else { panic!("gone") };
        client
    }

    /// Drives the client until there is nothing to do before something happens.
    fn drive(&mut self) {
        let Self { worker, key, .. } = self;
        let client = worker.clients.get_mut(*key).unwrap();
        client.note(Readiness { read: true, write: true, ..Readiness::default() });
        while client.drive(*key, &mut worker.cx) == DriveEnd::Again {}
        while worker.cx.has_work() {
            worker.run_clients();
        }
    }

    fn ask(&mut self, path: &str) {
        write!(self.peer, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        self.drive();
    }

    /// What has been answered since the last call.
    fn answered(&mut self) -> String {
        let mut bytes = Vec::new();
        let error = self.peer.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        String::from_utf8(bytes).unwrap()
    }

    /// Waits for what the next job brings.
    fn brought(&mut self) -> (Whom, Outcome) {
        while self.brought.is_empty() {
            self.worker.cx.poll.wait(Time::ZERO, None, |_, _| {}).unwrap();
            self.brought.extend(self.worker.cx.take_read());
        }
        self.brought.pop_front().unwrap()
    }

    fn tell(&mut self, (whom, outcome): (Whom, Outcome)) {
        self.worker.note_read(whom, outcome);
        self.drive();
    }

    /// Has the root of `/` opened, which the first request waits for.
    fn open_root(&mut self) {
        self.ask("/none");
        let opened = self.brought();
        self.tell(opened);
        assert!(self.answered().starts_with("HTTP/1.1 404 "));
    }
}

/// A client of the worker: its key, its end and once more the server's.
fn connect(worker: &mut Worker) -> (Key, UnixStream, UnixStream) {
    let (peer, server) = UnixStream::pair().unwrap();
    connect_by(worker, peer, server)
}

fn connect_by(worker: &mut Worker, peer: UnixStream, server: UnixStream) -> (Key, UnixStream, UnixStream) {
    peer.set_nonblocking(true).unwrap();
    server.set_nonblocking(true).unwrap();
    let stream = server.try_clone().unwrap().into();
    Client::open(&mut worker.clients, stream, None, 0, false, &mut worker.cx).unwrap();
    (worker.cx.runnable.pop_back().unwrap().client, peer, server)
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn what_comes_too_late_for_an_exchange_is_not_for_the_next_one() {
    let location = r#"path: "/", to: Files(root: "files", listing: true)"#;
    let mut bench = Bench::new("late", location, &["one/first", "two/second"]);
    bench.open_root();
    bench.ask("/one/");
    let late = bench.brought();
    assert_eq!(bench.answered(), "");
    bench.worker.cx.now = bench.worker.cx.now.after(Duration::from_secs(61));
    bench.drive();
    assert!(bench.answered().starts_with("HTTP/1.1 503 "), "its disk did not answer in time");

    bench.ask("/two/");
    let own = bench.brought();
    bench.tell(late);
    assert_eq!(bench.answered(), "", "it is answered by what the first one asked for");
    bench.tell(own);
    let answered = bench.answered();
    assert!(answered.starts_with("HTTP/1.1 200 ") && answered.contains("second"), "{answered}");
    assert!(!answered.contains("first"), "{answered}");
}

/// Each request is kept until its response was written, for the access log.
#[test]
fn a_client_that_pipelines_and_does_not_read_is_served_as_much_as_may_be_kept() {
    const HEAD: usize = 7000;
    const KEPT: usize = 32 * 1024;
    let mut bench = Bench::new("pipeline", r#"path: "/", to: Respond(status: 204)"#, &[]);
    // Nothing that is answered leaves any more.
    while bench.server.write(&[b' '; 4096]).is_ok() {}
    let padding = "x".repeat(HEAD);
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Padding: {padding}\r\n\r\n").repeat(1000);
    let mut rest = request.as_bytes();
    while let Ok(count) = bench.peer.write(rest) {
        rest = &rest[count..];
        bench.drive();
    }
    let served = bench.client().http1().streams as usize;
    assert!((KEPT / HEAD..=KEPT / HEAD + 2).contains(&served), "{served} requests are kept");
    assert!(!rest.is_empty());

    // It reads after all: the others are served.
    let mut answers = 0;
    while answers < 1000 {
        answers += bench.answered().matches("HTTP/1.1 204 ").count();
        if let Ok(count) = bench.peer.write(rest) {
            rest = &rest[count..];
        }
        bench.drive();
    }
}

/// All of a large file but its end is in the kernel, where the client has not read it.
fn holding(name: &str) -> Bench {
    let mut bench = Bench::new(name, r#"path: "/", to: Files(root: "files")"#, &["large"]);
    fs::write(bench.directory.join("files/large"), [b'1'; LARGE]).unwrap();
    // As much as may be had, which is twice of what is usual.
    nix::sys::socket::setsockopt(&bench.server, nix::sys::socket::sockopt::SndBuf, &(1 << 20)).unwrap();
    bench.open_root();
    bench.ask("/large");
    bench
}

const LARGE: usize = 263_000;

#[test]
fn the_end_of_a_large_file_waits_for_as_long_as_the_client_takes_something() {
    let mut bench = holding("slow");
    let long = bench.worker.cx.settings.body_timeout;
    let mut got = 0;
    while got < 100_000 {
        let waiting = bench.client().http1().conn.waiting().len();
        assert!(0 < waiting && waiting < 16 << 10, "{waiting} bytes wait");
        let now = bench.worker.cx.now;
        assert!(bench.client().deadline().unwrap() <= now.after(Duration::from_millis(50)));
        got += bench.peer.read(&mut [0; 40_000]).unwrap();
        bench.worker.cx.now = now.after(long - Duration::from_secs(1));
        bench.drive();
    }
    let rest = bench.answered();
    bench.worker.cx.now = bench.worker.cx.now.after(Duration::from_millis(50));
    bench.drive();
    let end = bench.answered();
    assert!(end.len() < 16 << 10 && got + rest.len() + end.len() > LARGE, "{} bytes at the end", end.len());
    assert!(end.bytes().all(|byte| byte == b'1') && bench.client().http1().conn.is_kept());
}

#[test]
fn a_client_that_leaves_a_large_file_unread_is_given_up() {
    let mut bench = holding("unread");
    let (long, step) = (bench.worker.cx.settings.body_timeout, Duration::from_millis(40));
    let begun = bench.worker.cx.now;
    while bench.client().wire.phase == Phase::Open {
        bench.worker.cx.now = bench.worker.cx.now.after(step);
        bench.drive();
        assert!(bench.worker.cx.now.since(begun) <= long + step, "looking takes no time away");
    }
    assert!(bench.worker.cx.now.since(begun) >= long);
}

#[test]
fn a_large_file_that_changes_before_its_end_is_broken_off() {
    let mut bench = holding("changed");
    let file = fs::File::options().append(true).open(bench.directory.join("files/large")).unwrap();
    (&file).write_all(b"2").unwrap();
    let got = bench.answered();
    bench.worker.cx.now = bench.worker.cx.now.after(Duration::from_millis(50));
    bench.drive();
    assert_eq!(bench.client().wire.phase, Phase::Closed);
    assert!(bench.peer.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
    assert!(got.starts_with("HTTP/1.1 200 ") && got.len() < LARGE);
}

#[test]
fn what_only_begins_like_http2_is_http1() {
    let mut bench = Bench::new("begins", r#"path: "/", to: Respond(status: 204)"#, &[]);
    for part in ["P", "R", "I / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(bench.answered(), "");
        bench.peer.write_all(part.as_bytes()).unwrap();
        bench.drive();
    }
    assert!(bench.answered().starts_with("HTTP/1.1 204 "));
}

#[test]
fn a_preface_is_known_in_pieces() {
    let mut bench = Bench::new("pieces", r#"path: "/", to: Respond(status: 204)"#, &[]);
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        assert!(matches!(bench.client().http, Http::H1(_)));
        bench.peer.write_all(&[*byte]).unwrap();
        bench.drive();
    }
    assert!(matches!(bench.client().http, Http::H2(_)));
}

/// Whether or not its client answers: it has said up to which request it serves, and none runs.
#[test]
fn an_idle_connection_of_http2_ends_at_a_stop_after_its_last_word() {
    for hurry in [true, false] {
        let mut bench = Bench::new("stop", r#"path: "/", to: Respond(status: 204)"#, &[]);
        bench.peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        bench.drive();
        let now = bench.worker.cx.now.after(Duration::from_secs(1));
        bench.worker.cx.now = now;
        bench.client().drain(hurry, now);
        bench.drive();
        let mut said = Vec::new();
        let rest = bench.peer.read_to_end(&mut said);
        assert_eq!(
            (bench.client().wire.phase, rest.is_ok()),
            if hurry { (Phase::Closed, false) } else { (Phase::Open, false) }
        );
        let last = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(said.ends_with(last), hurry, "{}", said.escape_ascii());
    }
}

/// The time for a head runs on, whatever it will be.
#[test]
fn what_is_broken_off_before_it_is_known_what_it_speaks_is_over() {
    let mut bench = Bench::new("cut", r#"path: "/", to: Respond(status: 204)"#, &[]);
    for begun in [&b""[..], b"PRI * HTT"] {
        bench.connect_anew();
        bench.peer.write_all(begun).unwrap();
        bench.drive();
        let Bench { worker, key, .. } = &mut bench;
        let client = worker.clients.get_mut(*key).unwrap();
        client.cut();
        assert_eq!(client.drive(*key, &mut worker.cx), DriveEnd::Closed, "{}", begun.escape_ascii());
    }
}

#[test]
fn a_part_of_a_preface_does_not_wait_for_ever() {
    let mut bench = Bench::new("preface", r#"path: "/", to: Respond(status: 204)"#, &[]);
    bench.peer.write_all(b"PRI * HTTP/2.0\r\n\r\n").unwrap();
    bench.drive();
    assert_eq!(bench.answered(), "");
    bench.worker.cx.now = bench.worker.cx.now.after(bench.worker.cx.settings.header_timeout);
    bench.drive();
    let mut answered = String::new();
    bench.peer.read_to_string(&mut answered).unwrap();
    assert!(answered.starts_with("HTTP/1.1 408 "), "{answered}");
}

/// Nor is it kept beyond the time of a worker that leaves.
#[test]
fn who_has_not_said_what_it_speaks_can_be_cut() {
    for bytes in [&b""[..], b"PRI * HTTP"] {
        let mut bench = Bench::new("cut", r#"path: "/", to: Respond(status: 204)"#, &[]);
        bench.peer.write_all(bytes).unwrap();
        bench.drive();
        bench.client().cut();
        bench.drive();
        assert_eq!(bench.client().wire.phase, Phase::Closed, "{}", bytes.escape_ascii());
    }
}
