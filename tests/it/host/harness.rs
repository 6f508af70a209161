//! A host process, and what a worker and a master say to it.

use hatchery::control::frame::{self, Frame, Kind, Reader};
use hatchery::gateway::app::{self, Body, HOST_ARGUMENTS, HOST_PROGRAM, Response};
use hatchery::gateway::{Event, Request};
use hatchery::http::fault::Fault;
use hatchery::http::{BodyLength, RequestHead, ResponseHead, Span, Version};
use hatchery::sys::channel;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a host prints, in its directory.
const PRINTED: &str = "printed";

pub(super) fn python() -> String {
    std::env::var("HATCHERY_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

pub(super) fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/hostile")
}

/// A path that no other test uses.
fn unique(what: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("hatchery-{what}-{}-{number}", std::process::id()))
}

/// A host process; killed and its directory removed at the end.
pub(super) struct Host {
    child: Child,
    /// Where it hears the master; `None`: that has gone.
    ear: Option<File>,
    voice: File,
    reader: Reader,
    pub(super) directory: PathBuf,
}

impl Host {
    /// Starts `module:callable` with so many threads, up to HELLO.
    pub(super) fn start(module: &str, callable: &str, threads: u16) -> Self {
        let threads = threads.to_string();
        Self::start_program(HOST_PROGRAM, module, callable, &[("THREADS", &threads)])
    }

    /// The same with these settings.
    pub(super) fn start_with(module: &str, callable: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_program(HOST_PROGRAM, module, callable, settings)
    }

    fn start_program(text: &str, module: &str, callable: &str, settings: &[(&str, &str)]) -> Self {
        let directory = unique("host");
        std::fs::create_dir_all(&directory).unwrap();
        let listener = UnixListener::bind(directory.join("app.sock")).unwrap();
        let (ear, hear) = channel::to_child().unwrap();
        let (voice, tell) = channel::from_child().unwrap();
        let program = directory.join("program");
        std::fs::write(&program, text).unwrap();
        // As the master does it: the program on standard input. What it inherits are standard streams of the shell, which
        // puts them where std cannot: a descriptor that is inherited by its number would get to whatever another test
        // starts at this moment, too.
        let script = r#"exec "$0" "$3" "$4" "hatchery: app" 3<&0 4>&1 5<&2 >"$2" 2>&1 <"$1""#;
        let child = Command::new("/bin/sh")
            .args(["-c", script, &python(), program.to_str().unwrap()])
            .arg(directory.join(PRINTED))
            .args(HOST_ARGUMENTS)
            .env("HATCHERY_HOST_LISTEN_FD", "3")
            .env("HATCHERY_HOST_TELL_FD", "4")
            .env("HATCHERY_HOST_HEAR_FD", "5")
            .env("HATCHERY_HOST_MODULE", module)
            .env("HATCHERY_HOST_CALLABLE", callable)
            .env("HATCHERY_HOST_CHDIR", apps())
            .env("HATCHERY_HOST_APP", "hostile")
            .envs(settings.iter().map(|(name, value)| (format!("HATCHERY_HOST_{name}"), value)))
            .env("HATCHERY_HOST_MULTIPROCESS", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::from(tell))
            .stderr(Stdio::from(hear))
            .spawn()
            .unwrap();
        let (ear, voice) = (Some(ear.into()), voice.into());
        let mut host = Self { child, ear, voice, reader: Reader::new(), directory };
        let hello = host.told();
        assert_eq!(hello.header.kind, Kind::Hello);
        let hello: serde_json::Value = serde_json::from_slice(&hello.payload).unwrap();
        assert_eq!((&hello["version"], &hello["pid"]), (&frame::VERSION.into(), &host.child.id().into()));
        host
    }

    /// Starts the app of the test cases, up to READY.
    pub(super) fn hostile(threads: u16) -> Self {
        let mut host = Self::start("hostile", "application", threads);
        assert_eq!(host.told().header.kind, Kind::Ready);
        host
    }

    /// The same where an answer is kept for so many seconds, and what takes longer is slow: a test that depends on that
    /// cannot depend on how fast the machine is.
    pub(super) fn keeping(seconds: &str, threads: u16) -> Self {
        let program = HOST_PROGRAM.replace("\nAT_ONCE = 0.0002 ", &format!("\nAT_ONCE = {seconds} "));
        assert_ne!(program, HOST_PROGRAM);
        let threads = threads.to_string();
        let mut host = Self::start_program(&program, "hostile", "application", &[("THREADS", &threads)]);
        assert_eq!(host.told().header.kind, Kind::Ready);
        host
    }

    /// The next frame for the master.
    pub(super) fn told(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.reader.poll().unwrap() {
                return frame;
            }
            let mut bytes = [0; 4096];
            let mut waits = [PollFd::new(self.voice.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut waits, 30_000u16).unwrap(), 1, "the host says nothing");
            let count = self.voice.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "the host ended: {}", self.stderr());
            self.reader.feed(&bytes[..count]);
        }
    }

    /// The next frame for the master, which must be FREE: row and unit.
    pub(super) fn told_free(&mut self) -> (u16, u16) {
        let frame = self.told();
        assert_eq!(frame.header.kind, Kind::Free);
        let word = |at: usize| u16::from_le_bytes([frame.payload[at], frame.payload[at + 1]]);
        (word(0), word(2))
    }

    pub(super) fn tell(&mut self, kind: Kind, payload: &[u8]) {
        let mut out = Vec::new();
        frame::push(&mut out, kind, 0, 0, payload);
        self.ear.as_mut().unwrap().write_all(&out).unwrap();
    }

    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The master dies.
    pub(super) fn hang_up(&mut self) {
        self.ear = None;
    }

    /// Exit code, once it ended by itself, and what it printed.
    pub(super) fn ended(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.printed())
    }

    /// Kills it and says what it printed.
    pub(super) fn stderr(&mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.printed()
    }

    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.directory.join(PRINTED)).unwrap()).into_owned()
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it has open.
    pub(super) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub(super) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    /// A connection over which nothing was said.
    pub(super) fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.join("app.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(super) fn connect(&self, row: u16, unit: u16) -> Worker {
        let stream = self.stream();
        let mut hello = Vec::new();
        app::hello(row, unit, &mut hello);
        (&stream).write_all(&hello).unwrap();
        Worker { stream, number: 0, frames: Reader::new(), files: Vec::new() }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.directory);
    }
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a [u8],
    pub(super) query: &'a str,
    pub(super) body: Option<&'a [u8]>,
    pub(super) spooled: bool,
    pub(super) fields: &'a [(&'a str, &'a [u8])],
}

pub(super) fn get(path: &str) -> Ask<'_> {
    Ask { method: "GET", path: path.as_bytes(), query: "", body: None, spooled: false, fields: &[] }
}

/// What came back, up to FREE or the end of the stream.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Option<ResponseHead>,
    /// Those before it.
    pub(super) interim: Vec<ResponseHead>,
    pub(super) length: Option<BodyLength>,
    pub(super) body: Vec<u8>,
    pub(super) broken: Option<Fault>,
    pub(super) freed: bool,
    /// Offset and length of files that were passed.
    pub(super) files: Vec<(u64, u64)>,
    /// How many reads it took.
    pub(super) reads: usize,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status.0)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A worker's stream to one unit.
pub(super) struct Worker {
    stream: UnixStream,
    number: u32,
    frames: Reader,
    /// What came with `frames`.
    pub(super) files: Vec<File>,
}

impl Worker {
    pub(super) fn ask(&mut self, ask: &Ask<'_>) -> Answer {
        self.send(ask);
        let mut reading = self.reading();
        while self.read(&mut reading) {}
        reading.answer
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.ask(&get(path))
    }

    pub(super) fn send(&mut self, ask: &Ask<'_>) {
        self.send_all(std::slice::from_ref(ask));
    }

    /// Sends these requests at once; only the first may have a body that is spooled.
    pub(super) fn send_all(&mut self, asks: &[Ask<'_>]) {
        let mut out = Vec::new();
        asks.iter().for_each(|ask| self.push(ask, &mut out));
        let spooled = asks.first().filter(|ask| ask.spooled).and_then(|ask| ask.body);
        assert!(asks.iter().skip(1).all(|ask| !ask.spooled));
        let spool = spooled.map(self::spooled);
        match &spool {
            Some(file) => self.pass(&out, file, 1),
            None => self.stream.write_all(&out).unwrap(),
        }
    }

    fn push(&mut self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        self.number += 1;
        let head = head(ask.method, ask.fields);
        let request = Request {
            path: ask.path,
            raw: ask.path,
            query: ask.query.as_bytes(),
            peer: Some("192.0.2.1:4711".parse().unwrap()),
            authority: b"shop.example",
            server_name: b"shop.example",
            id: "test-1",
            ..Request::of(&head)
        };
        let body = match ask.body {
            None => Body::None,
            Some(_) if ask.spooled => Body::Descriptor,
            Some(bytes) => Body::Inline(bytes),
        };
        app::request(self.number, &request, ask.body.map(|body| body.len() as u64), body, out);
    }

    /// How many requests it has sent.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Says that nobody waits for the answer to that request.
    pub(super) fn cancel(&mut self, number: u32) {
        let mut out = Vec::new();
        app::cancel(number, &mut out);
        self.stream.write_all(&out).unwrap();
    }

    /// All frames that come up to one of that kind and number.
    pub(super) fn frames(&mut self, kind: Kind, number: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = self.frames.poll().unwrap() {
                let header = frame.header;
                frames.push(frame);
                if (header.kind, header.stream) == (kind, number) {
                    return frames;
                }
            }
            assert!(frames.len() < 10_000, "it goes on and on");
            assert!(self.more(), "the host has closed the stream: {frames:?}");
        }
    }

    /// All frames that come up to the end of the stream.
    pub(super) fn rest(&mut self) -> Vec<Frame> {
        while self.more() {}
        std::iter::from_fn(|| self.frames.poll().unwrap()).collect()
    }

    /// Reads what comes next; `false` at the end of the stream.
    fn more(&mut self) -> bool {
        let (bytes, descriptors) = self.receive();
        self.files.extend(descriptors);
        self.frames.feed(&bytes);
        !bytes.is_empty()
    }

    /// Whether anything has come that `frames` did not return.
    pub(super) fn has_come(&mut self) -> bool {
        let mut waits = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        self.frames.poll().unwrap().is_some() || poll(&mut waits, 0u8).unwrap() > 0
    }

    /// Passes so many descriptors of this file with some bytes.
    pub(super) fn pass(&self, bytes: &[u8], file: &impl std::os::fd::AsRawFd, count: usize) {
        pass(&self.stream, bytes, file, count);
    }

    pub(super) fn reading(&self) -> Reading {
        let answer = Answer {
            interim: Vec::new(),
            head: None,
            length: None,
            body: Vec::new(),
            broken: None,
            freed: false,
            files: Vec::new(),
            reads: 0,
        };
        Reading { response: Response::new(self.number), answer, descriptors: Vec::new() }
    }

    /// What one read brings.
    fn receive(&self) -> (Vec<u8>, Vec<File>) {
        receive(&self.stream)
    }

    /// Reads once; `false` when the answer is over.
    pub(super) fn read(&mut self, reading: &mut Reading) -> bool {
        let (bytes, descriptors) = self.receive();
        reading.descriptors.extend(descriptors);
        reading.answer.reads += 1;
        match bytes.as_slice() {
            [] => reading.response.eof(),
            bytes => reading.response.feed(bytes),
        }
        while let Some(event) = reading.response.poll() {
            reading.take(event);
        }
        !reading.answer.freed && !reading.response.is_lost()
    }
}

/// What one read brings: bytes, none at the end of the stream, and files.
pub(super) fn receive(stream: &UnixStream) -> (Vec<u8>, Vec<File>) {
    let mut bytes = vec![0; 256 * 1024];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut files = Vec::new();
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                files.push(File::open(format!("/proc/self/fd/{descriptor}")).unwrap());
                nix::unistd::close(descriptor).unwrap();
            }
        }
    }
    let count = message.bytes;
    bytes.truncate(count);
    (bytes, files)
}

/// Passes so many descriptors of this file with some bytes.
pub(super) fn pass(stream: &UnixStream, bytes: &[u8], file: &impl std::os::fd::AsRawFd, count: usize) {
    let numbers = vec![file.as_raw_fd(); count];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let sent = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(bytes.len()));
}

/// A file without a name, with that content.
pub(super) fn spooled(bytes: &[u8]) -> File {
    let path = unique("spool");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An answer that is being read.
pub(super) struct Reading {
    response: Response,
    pub(super) answer: Answer,
    descriptors: Vec<File>,
}

impl Reading {
    fn take(&mut self, event: Event) {
        match event {
            Event::Interim(head) => self.answer.interim.push(head),
            Event::Head { head, body } => {
                self.answer.head = Some(head);
                self.answer.length = Some(body);
            }
            Event::Body(bytes) => self.answer.body.extend_from_slice(&bytes),
            Event::File { offset, len } => {
                let file = self.descriptors.remove(0);
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, offset).unwrap();
                self.answer.body.extend_from_slice(&bytes);
                self.answer.files.push((offset, len));
            }
            Event::End => {}
            Event::Free => self.answer.freed = true,
            Event::Broken(fault) => self.answer.broken = Some(fault),
            Event::Switched(head) => panic!("{head:?}"),
            Event::Trailers(fields) => panic!("{fields:?}"),
        }
    }
}

fn head(method: &str, fields: &[(&str, &[u8])]) -> RequestHead {
    let mut raw = method.as_bytes().to_vec();
    let mut store = |bytes: &[u8]| {
        let start = raw.len() as u32;
        raw.extend_from_slice(bytes);
        Span { start, end: raw.len() as u32 }
    };
    let spans = fields.iter().map(|(name, value)| (store(name.as_bytes()), store(value))).collect();
    let method = Span { start: 0, end: method.len() as u32 };
    RequestHead::new(raw, method, Span::default(), Version::Http11, spans)
}
