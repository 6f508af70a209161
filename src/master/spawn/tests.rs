//! What is left to a worker after the steps, tried in a forked one.

mod board;

use super::*;
use crate::config::{self, Disk};
use crate::master::generation::PoolNumbers;
use crate::master::listeners::Inherited;
use crate::sys::fd;
use crate::sys::sandbox::probe;
use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A directory with a static root, a file for spooling, a socket, and two TCP listeners of which one is an upstream.
struct Scene {
    directory: PathBuf,
    _socket: UnixListener,
    upstream: TcpListener,
    stranger: TcpListener,
}

impl Scene {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("hatchery-spawn-{name}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("static")).unwrap();
        std::fs::create_dir_all(directory.join("spool")).unwrap();
        std::fs::write(directory.join("static/file.txt"), "public").unwrap();
        std::fs::write(directory.join("secret.txt"), "secret").unwrap();
        let socket = UnixListener::bind(directory.join("app.sock")).unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        Self { directory, _socket: socket, upstream: listen(), stranger: listen() }
    }

    fn config(&self, sandbox: &str) -> config::Config {
        let port = self.upstream.local_addr().unwrap().port();
        let text = format!(
            r#"(sandbox: {sandbox}, temp_dir: "spool", sites: [(listen: ["127.0.0.1:0"], locations: [
                (path: "/static/", to: Files("static")), (path: "/", to: Proxy("api"))])],
            upstreams: {{"api": (servers: ["127.0.0.1:{port}"])}})"#
        );
        let file = self.directory.join("hatchery.ron");
        std::fs::write(&file, text).unwrap();
        config::load(&file, &Disk).unwrap()
    }

    /// What a worker says after it was forked.
    fn told(&self, sandbox: &str, run: fn(WorkerBoot) -> i32) -> Vec<ToMaster> {
        let (shared, board) = shared::new().unwrap();
        // The stranger's port travels where a worker would find its apps.
        let number = self.stranger.local_addr().unwrap().port().into();
        self.fork(sandbox, number, 0, (shared, board.as_fd()), run).0
    }

    /// What a worker in that row says that runs this, and how it ends.
    fn fork(
        &self,
        sandbox: &str,
        number: u32,
        row: u16,
        (shared, board): (Shared, BorrowedFd<'_>),
        run: fn(WorkerBoot) -> i32,
    ) -> (Vec<ToMaster>, process::Ended) {
        let mut numbers = PoolNumbers::default();
        let mut generation =
            Generation::prepare(self.config(sandbox), None, &Inherited::default(), &mut numbers).unwrap();
        // What the test hands to the worker that it runs; see `handed`.
        generation.app_pools = vec![(number >> 16) as u16, number as u16];
        let limits = crate::master::limits::Segment::new(&generation.config).unwrap();
        let worker = Worker {
            candidate: false,
            credentials: Credentials::default(),
            generation: &generation,
            number,
            row,
            slot: 0,
            shared,
            board,
            cache: &Store::in_memory(&generation.config.cache).unwrap(),
            limits: limits.lent(),
            wake: Rc::new([]),
            runtime_dir: self.directory.clone(),
            run,
        };
        let (line, theirs) = line().unwrap();
        nix::fcntl::fcntl(&line.voice, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
        let master = std::process::id();
        let child = process::fork_of_test(move |alone| match child(worker, theirs, master, &alone) {
            Ok((run, boot)) => run(boot),
            Err((step, error)) => panic!("{step}: {error}"),
        })
        .unwrap();
        let mut bytes = Vec::new();
        File::from(line.voice).read_to_end(&mut bytes).unwrap();
        let mut reader = crate::control::worker::Reader::from(bytes);
        let said = std::iter::from_fn(|| reader.poll()).map(Option::unwrap).collect();
        (said, process::wait(&child).unwrap())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// The number that the test has handed to the worker.
fn handed(boot: &WorkerBoot) -> u32 {
    u32::from(boot.app_pools[0]) << 16 | u32::from(boot.app_pools[1])
}

/// In the worker: one line for each attempt, in a message.
fn try_everything(boot: WorkerBoot) -> i32 {
    let directory = boot.runtime_dir.clone();
    let config = &boot.config;
    let config::Where::At(config::Address::Tcp(upstream)) = config.upstreams[0].servers[0].address else {
        return 1;
    };
    let mut lines = Vec::new();
    let mut tell = |what: &str, result: Result<(), i32>| {
        let result = result
            .map_or_else(|error| nix::errno::Errno::from_raw(error).to_string(), |()| "done".to_owned());
        let result = result.split(':').next().unwrap_or_default().to_owned();
        lines.push(format!("{what}: {result}"));
    };
    let io = |result: io::Result<()>| result.map_err(|error| error.raw_os_error().unwrap_or(0));
    let open = |path: &Path| io(File::open(path).map(drop));
    tell("passwd", open(Path::new("/etc/passwd")));
    tell("beside the root", open(&directory.join("secret.txt")));
    tell("static", open(&directory.join("static/file.txt")));
    tell("write static", io(std::fs::write(directory.join("static/new.txt"), "")));
    tell("spool", io(fd::unnamed_file(&directory.join("spool")).map(drop)));
    tell("spool by name", io(fd::named_then_unlinked(&directory.join("spool")).map(drop)));
    tell("app socket", io(UnixStream::connect(directory.join("app.sock")).map(drop)));
    tell("upstream", io(TcpStream::connect(upstream).map(drop)));
    let stranger = (std::net::Ipv4Addr::LOCALHOST, u16::try_from(handed(&boot)).unwrap());
    tell("other port", io(TcpStream::connect(stranger).map(drop)));
    tell("listen", io(TcpListener::bind("127.0.0.1:0").map(drop)));
    tell("thread", io(std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join()))));
    tell(
        "own limits are seen",
        io(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map(drop)
            .map_err(io::Error::from)),
    );
    let master = std::os::unix::process::parent_id();
    let attempts = [
        probe::network(stranger.1),
        probe::processes(master),
        probe::files(&directory.join("secret.txt")),
        probe::code(),
    ];
    let allowed = attempts.concat().into_iter().filter(|(_, result)| *result != Err(nix::libc::EPERM));
    allowed.for_each(|(what, result)| tell(what, result));
    probe::calls_of_the_future().into_iter().for_each(|result| tell("future", result));
    #[cfg(target_arch = "x86_64")]
    tell("execute x32", probe::execute_x32());
    tell("execute", Err(probe::execute(Path::new("/bin/true"))));
    let said = ToMaster::Failed(lines.join("\n")).encode();
    i32::from(fd::write_whole(boot.tell.as_fd(), &said).is_err())
}

/// In a worker without a filter nothing else should be tried.
fn try_to_execute(boot: WorkerBoot) -> i32 {
    let said = ToMaster::Failed(probe::execute(Path::new("/bin/true")).to_string()).encode();
    i32::from(seqpacket::send(boot.control.as_fd(), &said, None).is_err())
}

#[test]
fn a_worker_reaches_what_it_needs_and_nothing_else() {
    if !sandbox::missing().is_empty() {
        eprintln!("this kernel does not offer {:?}", sandbox::missing());
        return;
    }
    let version = sandbox::landlock_version();
    let said = Scene::new("try").told("Require", try_everything);
    let [ToMaster::Sandboxed { landlock, seccomp: true }, ToMaster::Failed(lines)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(*landlock, version);
    let since = |first: u8, refused: &'static str| if version >= first { refused } else { "done" };
    let wanted = [
        ("passwd", "EACCES"),
        ("beside the root", "EACCES"),
        ("static", "done"),
        ("write static", "EACCES"),
        ("spool", "done"),
        ("spool by name", "done"),
        ("app socket", "done"),
        ("upstream", "done"),
        ("other port", since(4, "EACCES")),
        ("listen", "EPERM"),
        ("thread", "done"),
        ("own limits are seen", "done"),
        // By the rules of Landlock: a file of the cache is renamed where its directory allows it.
        ("renameat2", "EACCES"),
        // Everything else that was tried is refused with EPERM, and not told.
        ("future", "ENOSYS"),
        ("future", "ENOSYS"),
        #[cfg(target_arch = "x86_64")]
        ("execute x32", "ENOSYS"),
        ("execute", "EPERM"),
    ];
    let wanted: Vec<String> = wanted.iter().map(|(what, result)| format!("{what}: {result}")).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn without_a_sandbox_a_worker_could_run_programs() {
    let said = Scene::new("off").told("Off", try_to_execute);
    // The last attempt works: it becomes the other program, and says nothing more.
    assert_eq!(said, []);
}
