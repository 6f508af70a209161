//! What a worker that was taken over can write to shared memory, and have the master believe. The test plays it from
//! outside: root writes to the memory of a worker what that could write itself, and speaks over its channel.

use crate::harness::{
    Connection, Gate, Load, Process, SOON, Server, Setup, get, holds, now, virtualenv, wait_until,
};
use hatchery::balance::roster::{self, Roster};
use hatchery::control::worker::{Complaint, Load as Busy, ToMaster, Unit};
use hatchery::dispatch::{Board, board};
use nix::libc;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

const SITE: &str = r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], locations: [
        (exact: "/fixed", to: Respond(status: 200, body: "here", content_type: "text/plain")),
        (path: "/", to: App("site"))])],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", processes: 2, threads: 2, {app})},"#;

const APP: &str = "import os, threading\ndef application(environ, start_response):\n    \
    if environ['PATH_INFO'] == '/wait':\n        open('waits-%d-%d' % (os.getpid(), threading.get_ident()), 'w').close()\n        \
    open('gate').read()\n    \
    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [str(os.getpid()).encode()]\n";

/// The app's pool: the first after the workers'.
const POOL: u16 = 1;

fn server(app: &str) -> Option<Server> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("nothing to test: only root may write to the memory of another process");
        return None;
    }
    let setup = Setup::new(&SITE.replace("{app}", app));
    setup.directory.write("site_of_test.py", APP);
    let server = setup.start();
    server.wait_ready(SOON, "worker", 2);
    server.wait_ready(SOON, "site", 2);
    Some(server)
}

/// A part of the board in the memory of a process: its words, where they are, and whether it may write there.
#[derive(Debug)]
struct Mapped {
    words: Range<usize>,
    start: usize,
    writable: bool,
}

/// The board as a process has it, in order.
fn mapped(process: Process) -> Vec<Mapped> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap();
    let ours = maps.lines().filter(|line| line.contains("memfd:hatchery-board"));
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        let (start, end) = fields[0].split_once('-').unwrap();
        let first = number(fields[2]) / 8;
        let words = first..first + (number(end) - number(start)) / 8;
        assert!(["r--s", "rw-s"].contains(&fields[1]), "{line}");
        Mapped { words, start: number(start), writable: fields[1] == "rw-s" }
    };
    let mut parts: Vec<Mapped> = ours.map(parse).collect();
    parts.sort_by_key(|part| part.words.start);
    parts
}

/// The row of a worker: the one whose area it may write.
fn row_of(worker: Process) -> u16 {
    let parts = mapped(worker);
    let may_write = |row: &u16| {
        let area = Board::area(*row).unwrap();
        parts.iter().any(|part| part.writable && part.words.contains(&area.start))
    };
    let rows: Vec<u16> = (0..board::WORKERS as u16).filter(may_write).collect();
    assert_eq!(rows.len(), 1, "{parts:?}");
    rows[0]
}

/// Writes a word of the board as the process would.
fn write(process: Process, at: usize, word: u64) -> std::io::Result<()> {
    let parts = mapped(process);
    let part = parts.iter().find(|part| part.words.contains(&at)).unwrap();
    let memory = File::options().write(true).open(format!("/proc/{}/mem", process.pid)).unwrap();
    memory.write_all_at(&word.to_ne_bytes(), (part.start + (at - part.words.start) * 8) as u64)
}

fn pids(processes: &[Process]) -> Vec<u32> {
    processes.iter().map(|process| process.pid).collect()
}

#[test]
fn a_worker_can_write_its_own_words_and_the_units_and_has_no_descriptor_of_the_rest() {
    let Some(server) = server("") else { return };
    let workers = server.ready("worker");
    let rows: Vec<u16> = workers.iter().map(|worker| row_of(*worker)).collect();
    assert_ne!(rows[0], rows[1]);
    for (worker, row) in workers.iter().zip(&rows) {
        let parts = mapped(*worker);
        assert_eq!(
            parts.iter().map(|part| part.words.len()).sum::<usize>(),
            board::WORDS + roster::WORDS,
            "all of it is there"
        );
        let writable: Vec<&Range<usize>> =
            parts.iter().filter(|part| part.writable).map(|part| &part.words).collect();
        let behind = |words: Range<usize>| words.start + board::WORDS..words.end + board::WORDS;
        let (counts, shared) = (behind(Roster::area(*row).unwrap()), behind(Roster::shared()));
        assert_eq!(writable, [&Board::area(*row).unwrap(), &Board::units(), &counts, &shared]);
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", worker.pid)).unwrap();
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let left: Vec<_> = links.filter(|link| link.to_string_lossy().contains("hatchery-board")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    // The beat of the other one, its head, the state of a pool, the mark.
    let other = Board::area(rows[1]).unwrap().start;
    for at in [other + 3, other + 12, 512 + 136, 0] {
        assert!(write(workers[0], at, 11).is_err(), "{at}");
    }
    write(workers[0], Board::area(rows[0]).unwrap().end - 1, 11).unwrap();
    assert_eq!(get(server.address, "/").status, 200);
}

#[test]
fn a_worker_that_pretends_to_hang_is_ended_alone() {
    let Some(server) = server("") else { return };
    let server = server.tolerant(&["hangs in one turn", "worker"]);
    let workers = server.ready("worker");
    let (liar, honest) = (workers[0], workers[1]);
    let beat = Board::area(row_of(liar)).unwrap().start + 3;
    let apps = pids(&server.ready("site"));
    wait_until(Duration::from_secs(40), "it is replaced", || {
        // An idle worker writes there only when it wakes: the lie stands.
        let _ = write_if_alive(liar, beat, 77);
        holds(!liar.is_alive(), "it lives")
    });
    let serving = server.wait_ready(SOON, "worker", 2);
    assert!(serving.contains(&honest), "{honest:?} {serving:?}");
    assert_eq!(pids(&server.ready("site")), apps);
}

fn write_if_alive(process: Process, at: usize, word: u64) -> std::io::Result<()> {
    if std::fs::read_to_string(format!("/proc/{}/maps", process.pid)).is_ok_and(|maps| !maps.is_empty()) {
        let parts = mapped(process);
        let Some(part) = parts.iter().find(|part| part.words.contains(&at)) else { return Ok(()) };
        let memory = File::options().write(true).open(format!("/proc/{}/mem", process.pid))?;
        return memory.write_all_at(&word.to_ne_bytes(), (part.start + (at - part.words.start) * 8) as u64);
    }
    Ok(())
}

#[test]
fn random_words_over_units_let_requests_wait_or_fail_and_end_no_process() {
    let Some(server) = server("queue_timeout: \"1s\"") else { return };
    // Those that fail are told of.
    let server = server.tolerant(&["app site: GET /: "]);
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    let parts = mapped(workers[0]);
    let units = parts.iter().find(|part| part.words == Board::units()).unwrap();
    let memory = File::options().write(true).open(format!("/proc/{}/mem", workers[0].pid)).unwrap();
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(100);
    let mut random = 88_172_645_463_325_252_u64;
    for _ in 0..3000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Of both processes both units, likely words and others.
        let unit = (usize::from(POOL) * board::SLOTS + (random >> 8) as usize % 2) * board::THREADS
            + (random >> 9) as usize % 2;
        let word = if random & 7 == 0 {
            random
        } else {
            (random >> 10 & 15) << 32 | (random >> 20 & 3) << 16 | random >> 30 & 7
        };
        memory.write_all_at(&word.to_ne_bytes(), (units.start + unit * 8) as u64).unwrap();
    }
    let report = load.finish();
    let answered = ["503", "504", "502"];
    for failure in &report.failures {
        assert!(answered.iter().any(|status| failure.what.contains(status)), "{failure:?}");
    }
    let _gate = Gate::new(server.directory(), "gate");
    // Nobody has died, and every unit comes back: four requests run at the same time.
    wait_until(Duration::from_secs(60), "four requests run at the same time", || four_at_once(&server));
    assert_eq!(pids(&server.ready("worker")), pids(&workers));
    // Two workers that claim one unit find answers to each other's requests there: of that a process is renewed.
    let renewed =
        server.log().iter().any(|line| line.contains("replaced: GET /: its answer is not the protocol"));
    assert!(renewed || pids(&server.ready("site")) == pids(&apps));
    assert_eq!((server.pool("worker").restarts, server.pool("site").restarts), (0, 0));
}

/// Whether four requests run in the app at the same time, in both threads of both processes.
fn four_at_once(server: &Server) -> Result<(), String> {
    let directory = server.directory().path();
    let waits = || {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("waits-");
        entries.filter(is_it).collect::<Vec<_>>()
    };
    waits().into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let send = |_| {
        let mut client = Connection::open(server.address).unwrap();
        client.send("GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        client.socket().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        client
    };
    let mut clients: Vec<Connection> = (0..4).map(send).collect();
    // Those that find no unit are answered 503.
    let start = now();
    while waits().len() < 4 && start.elapsed() < Duration::from_secs(2) {
        std::thread::yield_now();
    }
    let together = waits().len();
    while let Some(client) = clients.last_mut() {
        let mut options = File::options();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        // Nobody may wait there at the moment.
        drop(options.open(directory.join("gate")));
        if client.reply("GET").is_ok() {
            clients.pop();
        }
        assert!(start.elapsed() < SOON, "a request has no answer");
    }
    holds(together == 4, together)
}

/// The voice of a worker: its channel to the master, once more.
enum Voice {
    /// A pipe can be opened again.
    Pipe(File),
    /// A socket has to be taken out of the worker (pidfd_getfd(2)); who does that says what comes in.
    Socket(std::process::Child),
}

/// Finds the only stream of a process that leads to no socket with a name, tells how many there are, and sends it what comes
/// in.
const SPEAKER: &str = r#"
import ctypes, os, select, socket, stat, sys
libc, process = ctypes.CDLL(None), int(sys.argv[1])
handle, found = libc.syscall(434, process, 0), []
for number in os.listdir("/proc/%d/fd" % process):
    copy = libc.syscall(438, handle, int(number), 0)
    if copy >= 0 and stat.S_ISSOCK(os.fstat(copy).st_mode):
        end = socket.socket(fileno=copy)
        try:
            if end.family == socket.AF_UNIX and end.type == socket.SOCK_STREAM and not end.getpeername():
                found.append(end)
        except OSError:
            pass
print(len(found), flush=True)
while True:
    said = sys.stdin.buffer.raw.read(65536)
    if not said:
        break
    while said:
        select.select([], found, [])
        try:
            said = said[found[0].send(said) :]
        except BlockingIOError:
            pass
    print("said", flush=True)
"#;

impl Voice {
    fn of(server: &Server, worker: Process) -> Self {
        if !hatchery::sys::rights::can_be_refused() {
            return Self::Pipe(Self::pipe(server, worker));
        }
        let mut command = Command::new(virtualenv().join("bin/python"));
        command.args(["-c", SPEAKER, &worker.pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut speaker = command.spawn().unwrap();
        assert_eq!(heard(&mut speaker), "1\n");
        Self::Socket(speaker)
    }

    /// On kernels that cannot keep descriptors from sockets: the pipe to which the worker writes and from which the master
    /// reads.
    fn pipe(server: &Server, worker: Process) -> File {
        let pipes = |pid: u32| {
            let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let links = entries.filter_map(|entry| {
                let path = entry.unwrap().path();
                Some((std::fs::read_link(&path).ok()?, path))
            });
            links.filter(|(link, _)| link.to_string_lossy().starts_with("pipe:")).collect::<Vec<_>>()
        };
        let has = |pid: u32, path: &PathBuf, mode: i32| {
            let number = path.file_name().unwrap().to_string_lossy();
            let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            i32::from_str_radix(flags, 8).unwrap() & 3 == mode
        };
        let mut masters = pipes(server.master.pid);
        masters.retain(|(_, path)| has(server.master.pid, path, libc::O_RDONLY));
        let mut found = pipes(worker.pid);
        found.retain(|(link, path)| {
            masters.iter().any(|(known, _)| known == link) && has(worker.pid, path, libc::O_WRONLY)
        });
        assert_eq!(found.len(), 1, "{found:?}");
        File::options().write(true).open(&found[0].1).unwrap()
    }

    fn say(&mut self, message: &ToMaster) {
        match self {
            Self::Pipe(pipe) => pipe.write_all(&message.encode()).unwrap(),
            Self::Socket(speaker) => {
                speaker.stdin.as_mut().unwrap().write_all(&message.encode()).unwrap();
                assert_eq!(heard(speaker), "said\n");
            }
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if let Self::Socket(speaker) = self {
            drop(speaker.stdin.take());
            drop(speaker.wait());
        }
    }
}

/// A line.
fn heard(speaker: &mut std::process::Child) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && speaker.stdout.as_mut().unwrap().read(&mut byte).unwrap() > 0 {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}

/// Everything that a worker could say against the processes of the app, whatever their incarnation.
fn accuse(voice: &mut Voice) {
    for incarnation in 0..24 {
        for (slot, thread) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let at = Unit { pool: POOL, slot, thread, incarnation };
            voice.say(&ToMaster::Runs { at, since: 1, request: "GET /lie".to_owned() });
            for complaint in [Complaint::Late, Complaint::Unreachable] {
                voice.say(&ToMaster::Stuck { at, complaint, reason: "a lie".to_owned() });
            }
            voice.say(&ToMaster::Left { pool: POOL, slot });
        }
    }
    voice.say(&ToMaster::Want { pool: 0 });
    voice.say(&ToMaster::Want { pool: u16::MAX });
    voice.say(&ToMaster::RootReplaced);
    voice.say(&ToMaster::Load(Busy::High));
    for (upstream, word) in [("none", "closed"), ("", "no word")] {
        let (upstream, word) = (upstream.to_owned(), word.to_owned());
        voice.say(&ToMaster::Faults { upstream, word, count: u64::MAX });
    }
}

#[test]
fn what_a_worker_says_ends_neither_its_siblings_nor_the_processes_of_apps() {
    let Some(server) = server("timeout: \"1s\"") else { return };
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    let mut voice = Voice::of(&server, workers[0]);
    let start = now();
    // Longer than any claim needs to be believed.
    wait_until(SOON, "some seconds of lies", || {
        accuse(&mut voice);
        holds(start.elapsed() > Duration::from_secs(4), start.elapsed())
    });
    assert_eq!(get(server.address, "/").status, 200);
    wait_until(SOON, "no lie is left", || {
        let children = server.pool("site").children;
        let shown: Vec<_> = children.into_iter().flat_map(|child| child.running).collect();
        holds(shown.is_empty(), shown)
    });
    assert_eq!((pids(&server.ready("worker")), pids(&server.ready("site"))), (pids(&workers), pids(&apps)));
    assert_eq!((server.pool("worker").restarts, server.pool("site").restarts), (0, 0));
}

#[test]
fn an_answer_that_only_one_worker_has_seen_renews_a_process_without_losing_a_request() {
    let Some(server) = server("") else { return };
    let old = server.ready("site");
    let mut voice = Voice::of(&server, server.ready("worker")[0]);
    let load = Load::start(server.address, 4, &["/"]);
    load.wait_for(100);
    for _ in 0..3 {
        for incarnation in 0..24 {
            for slot in [0, 1] {
                let at = Unit { pool: POOL, slot, thread: 0, incarnation };
                let complaint = Complaint::Malformed;
                voice.say(&ToMaster::Stuck { at, complaint, reason: "a lie".to_owned() });
            }
        }
    }
    wait_until(SOON, "one is renewed", || {
        let serving = server.ready("site");
        let kept = serving.iter().filter(|process| old.contains(process)).count();
        holds(serving.len() == 2 && kept == 1, serving)
    });
    load.wait_for(500);
    load.finish().assert_flawless();
    let kept = server.ready("site").iter().filter(|process| old.contains(process)).count();
    assert_eq!((kept, server.pool("site").restarts), (1, 0), "once a minute, and none has died");
}
