//! Descriptors that nobody asked for, and files that never answer.

use crate::harness::{Connection, Process, SOON, Server, Setup, get, holds, wait_until};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Nothing here waits for a close: what would, sleeps for ten minutes.
const PROMPT: Duration = Duration::from_secs(15);

/// A socket whose close sleeps: it lingers, its buffer is full, and its peer, the second, does not read.
fn stubborn() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (two, _) = listener.accept().unwrap();
    setsockopt(&one, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 600 }).unwrap();
    one.set_nonblocking(true).unwrap();
    let full = loop {
        if let Err(error) = one.write(&[0; 64 * 1024]) {
            break error.kind();
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    (one, two)
}

/// Without waiting for it.
fn close((one, two): (TcpStream, TcpStream)) {
    drop(two);
    drop(one);
}

fn pass(to: &UnixStream, bytes: &[u8], descriptors: &[RawFd]) -> nix::Result<usize> {
    let rights = [ControlMessage::ScmRights(descriptors)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None)
}

/// The same for an app, and what it has to do with it. `RESULTS` is what came of each attempt.
const APP: &str = r#"
import os, signal, socket, stat, struct, sys, tempfile
SOL, RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS
KEEP = []
RESULTS = []
MASTER = os.getppid()

def stubborn():
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    KEEP.append(listener.accept()[0])
    one.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 600))
    one.setblocking(False)
    try:
        while True:
            one.send(b"x" * 65536)
    except BlockingIOError:
        return one

def give(to, data, descriptors):
    return to.sendmsg([data], [(SOL, RIGHTS, struct.pack("%di" % len(descriptors), *descriptors))])

def give_away(pid, to, data, one):
    """Passes it to that process, which reads it when there is no other any more: its close is the last."""
    os.kill(pid, signal.SIGSTOP)
    while open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()[0] != "T":
        pass
    try:
        give(to, data, [one.fileno()])
    except OSError:
        one.setsockopt(SOL, socket.SO_LINGER, struct.pack("ii", 1, 0))  # or this process sleeps
        raise
    finally:
        one.close()
        os.kill(pid, signal.SIGCONT)

def attempt(what, to, data):
    try:
        give_away(MASTER, to, data, stubborn())
        RESULTS.append(what + " taken")
    except OSError as error:
        RESULTS.append(what + " " + error.strerror)

def to_everybody(data):
    """A stubborn one over every descriptor that was inherited: what leads to the master is among them."""
    for number in range(3, 8):
        if stat.S_ISSOCK(os.stat(number).st_mode if os.path.exists("/proc/self/fd/%d" % number) else 0):
            with socket.socket(fileno=os.dup(number)) as to:
                attempt(str(number), to, data)

def frame(kind, number, payload, flags=0):
    return struct.pack("<IBBHI", len(payload), kind, flags, 0, number) + payload

def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    response = start_response.__self__
    to, number = response.stream.socket, response.number
    worker = struct.unpack("3i", to.getsockopt(SOL, socket.SO_PEERCRED, 12))[0]
    if path.startswith("/file/"):
        response.stream.socket.sendall(response.head_frame())
        file = tempfile.TemporaryFile()
        file.write(b"12345")
        file.flush()
        fifo = os.path.join(tempfile.mkdtemp(), "fifo")
        os.mkfifo(fifo)
        pipe = os.pipe()
        what = path[6:]
        null = open("/dev/null")
        lingers = stubborn() if what == "socket" else null
        descriptors = {
            "one": [file.fileno()],
            "two": [file.fileno(), file.fileno()],
            "zero": [],
            "socket": [lingers.fileno()],
            "listener": [5],
            "pipe": [pipe[0]],
            "fifo": [os.open(fifo, os.O_RDWR)],
            "directory": [os.open("/", os.O_RDONLY)],
            "device": [os.open("/dev/zero", os.O_RDONLY)],
            "writer": [os.open(fifo + "x", os.O_WRONLY | os.O_CREAT)],
        }[what]
        os.unlink(fifo)
        if os.path.exists(fifo + "x"):
            os.unlink(fifo + "x")
        os.rmdir(os.path.dirname(fifo))
        extent = frame(10, number, struct.pack("<QQ", 0, 5))
        if what == "socket":
            give_away(worker, to, extent, lingers)
        elif descriptors:
            give(to, extent, descriptors)
        else:
            to.sendall(extent)
        for descriptor in [*pipe, *descriptors]:
            if descriptor not in (5, file.fileno()):
                try:
                    os.close(descriptor)
                except OSError:
                    pass
        file.close()
        return []
    if path.startswith("/park/"):
        count = int(path[6:])
        null = os.open("/dev/null", os.O_RDONLY)
        give(to, frame(9, number, b"103 Early Hints\0"), [null] * count)
        os.close(null)
    elif path == "/linger":
        give_away(worker, to, frame(9, number, b"103 Early Hints\0"), stubborn())
    elif path == "/later":  # with the last frame, when nobody looks at the answer any more
        response.stream.socket.sendall(response.head_frame() + frame(5, number, b"12345"))
        give_away(worker, to, frame(6, number, b"") + frame(11, number, b""), stubborn())
        response.stream.dead = True
        return []
    elif path == "/everybody":
        to_everybody(b"\x00\x00\x00\x00")
    elif path == "/healthz":
        attempt("ready", to, b"x")
    elif path == "/results":
        print("results:", "; ".join(RESULTS), flush=True)
    return [b"fine\n"]
"#;

fn server(app: &str, code: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}", "unix:{{dir}}/site.sock"],
        locations: [
            (path: "/fixed", to: Respond(status: 200, body: "fixed\n")),
            (path: "/", to: App("hostile")),
        ],
    )],
    apps: {{"hostile": (module: "hostile_app", chdir: "{{dir}}", home: "{{venv}}", processes: 1, {app})}},"#
    ));
    setup.directory.write("hostile_app.py", format!("{APP}{code}"));
    setup.start().tolerant(&["app hostile: ", "its answer is not"])
}

/// Whoever sleeps in a close does not answer.
#[track_caller]
fn all_answer_at_once(server: &Server) {
    let start = crate::harness::now();
    assert_eq!(server.status().mode, "running");
    for _ in 0..3 {
        assert_eq!(get(server.address, "/fixed").text(), "fixed\n");
    }
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
}

/// By its version, as what asks the kernel is what is tested.
fn kernel_refuses() -> bool {
    let name = nix::sys::utsname::uname().unwrap();
    let mut version =
        name.release().to_str().unwrap().split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let refuses = (version.next().unwrap_or(0), version.next().unwrap_or(0)) >= (6, 16);
    if !refuses {
        eprintln!("nothing to test: this kernel has no SO_PASSRIGHTS (Linux 6.16)");
    }
    refuses
}

#[test]
fn whoever_reaches_the_control_socket_passes_the_master_nothing() {
    if !kernel_refuses() {
        return;
    }
    let server = server("", "");
    let control = UnixStream::connect(server.directory().path().join("control.sock")).unwrap();
    let pair = stubborn();
    assert_eq!(pass(&control, b"{\n", &[pair.0.as_raw_fd()]), Err(nix::Error::EPERM));
    close(pair);
    all_answer_at_once(&server);
}

#[test]
fn a_client_of_a_unix_listener_passes_a_worker_nothing() {
    if !kernel_refuses() {
        return;
    }
    let server = server("", "");
    let worker = server.ready("worker");
    let mut client = UnixStream::connect(server.directory().path().join("site.sock")).unwrap();
    let pair = stubborn();
    let request = b"GET /fixed HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(pass(&client, request, &[pair.0.as_raw_fd()]), Err(nix::Error::EPERM));
    close(pair);
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(request).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    all_answer_at_once(&server);
    assert_eq!(server.ready("worker"), worker);
}

#[test]
fn an_app_passes_the_master_nothing_whatever_it_has_inherited() {
    let server = server("", "");
    let app = server.ready("hostile");
    assert_eq!(get(server.address, "/everybody").status, 200);
    all_answer_at_once(&server);
    assert_eq!(get(server.address, "/results").status, 200);
    // Nothing but its listener, which is not connected, is a socket.
    let results = server.wait_log("results:");
    assert!(!results.contains("taken"), "{results}");
    assert_eq!(server.ready("hostile"), app);
}

#[test]
fn the_answer_to_the_ready_request_brings_the_master_nothing() {
    let server = server("ready: (path: \"/healthz\", status: 200)", "");
    all_answer_at_once(&server);
    assert_eq!(get(server.address, "/results").status, 200);
    let results = server.wait_log("results:");
    assert!(results.contains("ready Broken pipe"), "{results}");
}

#[test]
fn a_template_passes_the_master_nothing() {
    let at_import = "\nto_everybody(b'\\x00')\nprint('results:', RESULTS, flush=True)\n";
    let server = server("preload: true", at_import);
    all_answer_at_once(&server);
    let results = server.wait_log("results:");
    assert!(results.contains("3 Broken pipe") && !results.contains("taken"), "{results}");
    let first = server.ready("hostile")[0];
    server.kill_and_wait("hostile", first, 1);
}

#[test]
fn an_app_that_passes_a_stubborn_descriptor_over_its_stream_loses_the_stream() {
    let server = server("", "");
    let worker = server.ready("worker");
    for path in ["/linger", "/linger", "/file/socket"] {
        let reply = Connection::open(server.address).unwrap().get(path);
        assert!(reply.as_ref().map_or(true, |reply| reply.status == 502), "{path}: {reply:?}");
        all_answer_at_once(&server);
    }
    server.wait_log("passed a descriptor that nobody asked for");
    server.wait_log("passed something in place of a regular file");
    assert_eq!(get(server.address, "/file/one").text(), "12345", "the app is used as before");
    // With the last frame: the response is broken off if it is not over by then.
    let reply = Connection::open(server.address).unwrap().get("/later");
    assert!(reply.as_ref().map_or(true, |reply| reply.text() == "12345"), "{reply:?}");
    all_answer_at_once(&server);
    assert_eq!((server.ready("worker"), server.pool("worker").restarts), (worker, 0));
}

#[test]
fn a_client_that_leaves_does_not_leave_a_stubborn_descriptor_to_the_loop() {
    let server = server("", "");
    let worker = server.ready("worker");
    for _ in 0..20 {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("GET /linger HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        drop(connection);
    }
    all_answer_at_once(&server);
    assert_eq!(get(server.address, "/file/one").text(), "12345");
    assert_eq!((server.ready("worker"), server.pool("worker").restarts), (worker, 0));
}

#[test]
fn no_descriptor_that_an_app_passes_stays_open() {
    let server = server("", "");
    let worker: Process = server.ready("worker")[0];
    let refused = |count: u32| {
        let reply = Connection::open(server.address).unwrap().get(&format!("/park/{count}"));
        assert!(reply.as_ref().is_ok_and(|reply| reply.status == 502), "{count}: {reply:?}");
    };
    // The thread that closes them, and what it takes.
    refused(9);
    assert_eq!(get(server.address, "/file/one").text(), "12345");
    let before = worker.descriptors();
    for round in 0..300 {
        refused([9, 253, 2, 40, 1][round % 5]);
    }
    assert_eq!(get(server.address, "/file/one").text(), "12345");
    wait_until(SOON, "all of them are closed", || {
        let now = worker.descriptors();
        holds(now <= before, (before, now))
    });
    assert_eq!(server.pool("worker").restarts, 0);
}

#[test]
fn a_file_is_one_regular_file_that_can_be_read() {
    let server = server("", "");
    let worker = server.ready("worker");
    for what in ["two", "zero", "socket", "listener", "pipe", "fifo", "directory", "device", "writer"] {
        // The head has left already in most cases: then the response is broken off.
        let reply = Connection::open(server.address).unwrap().get(&format!("/file/{what}"));
        assert!(reply.as_ref().map_or(true, |reply| reply.status == 502), "{what}: {reply:?}");
        assert_eq!(get(server.address, "/file/one").text(), "12345", "after {what}");
    }
    assert_eq!((server.ready("worker"), server.pool("worker").restarts), (worker, 0));
}

mod far {
    //! Files of a file system in user space that stops answering.

    use super::super::fuse::{FLUSH, Fuse, LOOKUP, READ};
    use crate::harness::{Connection, SOON, Server, Setup, get, holds, noise, wait_until};

    /// One worker; `/far/` is a static root in the file system, `/app/` an app that sends a file of it.
    fn serve(fuse: &Fuse) -> Server {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        locations: [
            (path: "/far/", to: Files(root: "{far}", listing: true)),
            (path: "/near/", to: Files(root: "near")),
            (path: "/app/", to: App("sends")),
        ],
    )],
    apps: {{"sends": (module: "sends", chdir: "{{dir}}", home: "{{venv}}", processes: 1, threads: 8)}},"#,
            far = fuse.path().display()
        ));
        setup.directory.write("near/file.txt", "near\n");
        setup.directory.write(
            "sends.py",
            format!(
                "def application(environ, start_response):\n    start_response('200 OK', [])\n    \
                 return environ['wsgi.file_wrapper'](open('{}/' + environ['PATH_INFO'].rpartition('/')[2], 'rb'))\n",
                fuse.path().display()
            ),
        );
        setup.start()
    }

    fn ask(server: &Server, path: &str) -> Connection {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        connection
    }

    /// The loop of the only worker goes on.
    fn assert_goes_on(server: &Server) {
        for _ in 0..5 {
            assert_eq!(get(server.address, "/near/file.txt").text(), "near\n");
        }
    }

    #[test]
    fn a_file_from_an_app_that_never_answers_holds_up_nobody() {
        let content = noise(700_000, 5);
        let Some(mut fuse) = Fuse::mount(&[("large.bin", &content)]) else { return };
        let server = serve(&fuse);
        let worker = server.ready("worker");
        assert!(get(server.address, "/app/large.bin").body == content, "it is sent whole");
        fuse.hush(&[READ, FLUSH]);
        let mut waiting: Vec<Connection> = (0..4).map(|_| ask(&server, "/app/large.bin")).collect();
        fuse.wait_held(READ, 1);
        assert_goes_on(&server);
        // Who has gone is forgotten; his file is closed by a thread, if ever.
        waiting.pop();
        assert_goes_on(&server);
        assert_eq!(server.ready("worker"), worker);
        fuse.speak();
        for mut connection in waiting {
            assert!(connection.reply("GET").unwrap().body == content, "it came after all");
        }
        wait_until(SOON, "everything is closed", || {
            let own = format!("{}/", fuse.path().display());
            let links = std::fs::read_dir(format!("/proc/{}/fd", worker[0].pid)).unwrap();
            let open = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
            let open: Vec<_> = open.filter(|path| path.to_string_lossy().starts_with(&own)).collect();
            holds(open.is_empty(), open)
        });
        fuse.end();
    }

    #[test]
    fn a_root_that_never_answers_holds_up_no_other() {
        let content = noise(700_000, 6);
        let Some(mut fuse) = Fuse::mount(&[("large.bin", &content), ("small.txt", b"far\n")]) else { return };
        let server = serve(&fuse).tolerant(&["does not answer"]);
        let worker = server.ready("worker");
        assert!(get(server.address, "/far/large.bin").body == content, "it is sent whole");
        assert_eq!(get(server.address, "/far/small.txt").text(), "far\n");
        assert_eq!(get(server.address, "/far/none").status, 404);
        assert!(get(server.address, "/far/").text().contains("small.txt"));
        fuse.hush(&[LOOKUP, READ, FLUSH]);
        let waiting: Vec<Connection> =
            (0..6).map(|number| ask(&server, &format!("/far/none-{number}"))).collect();
        let mut small = ask(&server, "/far/small.txt");
        fuse.wait_held(LOOKUP, 1);
        assert_goes_on(&server);
        let reply = wait_until(SOON * 2, "what asks later is refused", || {
            assert_goes_on(&server);
            let mut connection = ask(&server, "/far/another");
            connection.socket().set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
            connection.reply("GET").map_err(|error| error.to_string())
        });
        assert_eq!(reply.status, 503);
        server.wait_log("the disk does not answer");
        assert_eq!(server.ready("worker"), worker);
        fuse.speak();
        for mut connection in waiting {
            assert_eq!(connection.reply("GET").unwrap().status, 404);
        }
        assert_eq!(small.reply("GET").unwrap().text(), "far\n");
        assert_eq!(get(server.address, "/far/small.txt").text(), "far\n");
        fuse.end();
    }

    #[test]
    fn a_file_system_below_a_root_on_a_disk_is_not_entered_by_the_loop() {
        let Some(mut fuse) = Fuse::mount(&[("small.txt", b"far\n")]) else { return };
        let server = serve(&fuse);
        let near = server.directory().path().join("near");
        std::os::unix::fs::symlink(fuse.path(), near.join("link")).unwrap();
        // A deployment of an app that was taken over: the root itself leads there from now on.
        fuse.hush(&[LOOKUP, READ, FLUSH]);
        assert_eq!(get(server.address, "/near/link/small.txt").status, 403);
        std::fs::rename(&near, server.directory().path().join("was")).unwrap();
        std::os::unix::fs::symlink(fuse.path().join("small.txt"), &near).unwrap();
        wait_until(SOON, "the root is looked at", || {
            assert_goes_on(&server);
            holds(fuse.held() > 0, fuse.held())
        });
        assert_goes_on(&server);
        fuse.end();
    }
}
