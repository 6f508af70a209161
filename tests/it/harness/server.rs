//! The real binary with a real configuration.

use super::process::{Process, as_nobody, spawn};
use super::{Directory, SOON, holds, wait_until};
use hatchery::control::command::{JobStatus, PoolStatus, Status};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HATCHERY: &str = env!("CARGO_BIN_EXE_hatchery");

/// Hands the listener over as systemd would: descriptor 3, and the process id that only the child itself knows.
const PASS_LISTENER: &str = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#;

/// What a server is started with. In texts, `{address}`, `{port}`, `{dir}` (the test's directory), `{apps}`
/// (`tests/apps`), `{venv}` (a virtualenv with Django and Flask) and `{real_venv}` (that of `tests/apps/real`) are replaced.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) directory: Directory,
    pub(crate) address: SocketAddr,
    listener: Option<TcpListener>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    prefix: Vec<String>,
    /// Words before commands to the server, which answers only its own user and root's.
    user: &'static [&'static str],
    program: PathBuf,
    control: &'static str,
}

/// The line that says where the control socket is.
const CONTROL: &str = "    control: \"{dir}/control.sock\",\n";

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code; `None`: killed.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whether all processes that a pool keeps are there; a server serves as soon as one of each is.
fn is_whole(pool: &PoolStatus) -> bool {
    let ready = pool.children.iter().filter(|child| child.state == "ready").count();
    ["failed", "waiting"].contains(&pool.state.as_str()) || ready >= pool.processes.0 as usize
}

impl Setup {
    fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            directory: Directory::new(),
            address: listener.local_addr().unwrap(),
            listener: Some(listener),
            arguments: Vec::new(),
            environment: Vec::new(),
            prefix: Vec::new(),
            user: &[],
            program: binary(),
            control: CONTROL,
        }
    }

    /// `hatchery run -c hatchery.ron`. The text is what stands between the outermost parentheses, without `control`.
    pub(crate) fn new(configuration: &str) -> Self {
        let mut setup = Self::empty();
        setup.arguments =
            ["run", "-c", "{dir}/hatchery.ron"].map(|argument| setup.replace(argument)).to_vec();
        setup.configure(configuration);
        setup
    }

    /// As [`Self::new`]; the control socket is where it is by default.
    pub(crate) fn default_control(configuration: &str) -> Self {
        let setup = Self { control: "", ..Self::new(configuration) };
        setup.configure(configuration);
        setup
    }

    /// `hatchery` with these arguments; a control socket is added.
    pub(crate) fn flags(arguments: &[&str]) -> Self {
        let mut setup = Self::empty();
        setup.arguments = arguments
            .iter()
            .chain(&["--control", "{dir}/control.sock"])
            .map(|text| setup.replace(text))
            .collect();
        setup
    }

    /// Writes the configuration (again).
    pub(crate) fn configure(&self, configuration: &str) {
        self.directory.write("hatchery.ron", self.wrap(configuration));
    }

    fn wrap(&self, configuration: &str) -> String {
        self.replace(&format!("(\n{}{configuration}\n)\n", self.control))
    }

    /// Fills the placeholders in.
    pub(crate) fn replace(&self, text: &str) -> String {
        replace(text, self.address, &self.directory)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        let value = self.replace(value);
        self.environment.push((name.to_owned(), value));
        self
    }

    /// The server binds its address itself; nobody listens there now.
    pub(crate) fn bind_itself(mut self) -> Self {
        self.listener = None;
        self
    }

    /// The server runs as nobody (as the user of the tests, unless that is root).
    pub(crate) fn run_as_nobody(mut self) -> Self {
        if !as_nobody().is_empty() {
            std::os::unix::fs::chown(self.directory.path(), Some(65534), Some(65534)).unwrap();
        }
        self.user = as_nobody();
        self.prefix = as_nobody().iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The server is passed this listener, and serves its address.
    pub(crate) fn listener(mut self, listener: TcpListener) -> Self {
        self.address = listener.local_addr().unwrap();
        self.listener = Some(listener);
        self
    }

    /// The server is this program instead of the one that was built.
    pub(crate) fn program(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// The server is started by this command.
    pub(crate) fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it without waiting for anything; for a prefix that is not replaced by the server.
    pub(crate) fn spawn_only(&mut self) -> Child {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        spawn(command).unwrap()
    }

    fn command(&mut self) -> Command {
        let mut words: Vec<String> = ["setpriv", "--pdeathsig=KILL", "--"].map(str::to_owned).to_vec();
        words.append(&mut self.prefix);
        let listener = self.listener.take();
        if listener.is_some() {
            words.extend(["sh", "-c", PASS_LISTENER].map(str::to_owned));
        }
        words.push(self.program.to_str().unwrap().to_owned());
        words.append(&mut self.arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.directory.path());
        environment(&mut command, &self.directory);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(listener.map_or_else(Stdio::null, |listener| OwnedFd::from(listener).into()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it serves (or sleeps).
    #[track_caller]
    pub(crate) fn start(mut self) -> Server {
        let child = spawn(self.command()).unwrap();
        let mut server = Server {
            address: self.address,
            user: self.user,
            control: self.control,
            master: Process::of(child.id()).expect("the server has not ended at once"),
            directory: Some(self.directory),
            log: Arc::default(),
            readers: Vec::new(),
            child,
            allowed: Vec::new(),
            seen: Mutex::default(),
            ended: false,
        };
        server.readers = vec![
            follow(server.child.stderr.take().unwrap(), server.log.clone()),
            follow(server.child.stdout.take().unwrap(), server.log.clone()),
        ];
        wait_until(SOON, "the server is ready", || {
            if let Some(status) = server.child.try_wait().unwrap() {
                server.ended = true;
                panic!("the server ended with {status}");
            }
            let status = server.try_status()?;
            let up = status.mode == "running" || status.mode == "asleep";
            holds(up && status.pools.iter().all(is_whole), &status)
        });
        server
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub(crate) fn run_to_end(&mut self) -> Finished {
        let mut child = spawn(self.command()).unwrap();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = [
            follow(child.stdout.take().unwrap(), Arc::clone(&stdout)),
            follow(child.stderr.take().unwrap(), Arc::clone(&stderr)),
        ];
        let deadline = super::now() + SOON;
        let status = wait_until(SOON * 2, "the command has ended", || {
            if super::now() > deadline {
                drop(child.kill());
            }
            child.try_wait().unwrap().ok_or_else(|| format!("{:?}", stderr.lock().unwrap()))
        });
        // Its children would keep the pipes open.
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let text = |lines: &Lines| lines.lock().unwrap().join("\n");
        Finished { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) }
    }
}

/// A running server. Dropping it ends it, and checks that nothing of it is left and that no unexpected error was logged.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pub(crate) master: Process,
    user: &'static [&'static str],
    control: &'static str,
    /// Always there but while it is dropped.
    directory: Option<Directory>,
    child: Child,
    log: Lines,
    readers: Vec<std::thread::JoinHandle<()>>,
    allowed: Vec<String>,
    /// All processes of its tree that were ever seen.
    seen: Mutex<BTreeSet<Process>>,
    ended: bool,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Server {
    pub(crate) fn directory(&self) -> &Directory {
        self.directory.as_ref().unwrap()
    }

    /// Writes the configuration again, for a reload.
    pub(crate) fn configure(&self, configuration: &str) {
        let text = format!("(\n{}{configuration}\n)\n", self.control);
        self.directory().write("hatchery.ron", replace(&text, self.address, self.directory()));
    }

    /// What `ps` shows of a master that was started from the file.
    pub(crate) fn master_title(&self) -> String {
        format!("hatchery: master {}", self.directory().path().join("hatchery.ron").display())
    }

    /// Runs `hatchery ARGUMENTS --control …`, or with `-c` where nothing says where the socket is.
    #[track_caller]
    pub(crate) fn command(&self, arguments: &[&str]) -> Finished {
        let [flag, name] =
            if self.control.is_empty() { ["-c", "hatchery.ron"] } else { ["--control", "control.sock"] };
        let words: Vec<&str> = self.user.iter().copied().chain([HATCHERY]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).arg(flag).arg(self.directory().path().join(name));
        command.current_dir(self.directory().path());
        environment(&mut command, self.directory());
        finished(&mut command)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Status {
        self.try_status().unwrap()
    }

    fn try_status(&self) -> Result<Status, String> {
        let mut seen = self.seen.lock().unwrap();
        seen.extend(self.master.descendants());
        drop(seen);
        let finished = self.command(&["status", "--json"]);
        if finished.code != Some(0) {
            return Err(format!("{finished:?}"));
        }
        serde_json::from_str(&finished.stdout).map_err(|error| format!("{error}: {}", finished.stdout))
    }

    /// The pool of this name; the workers are `worker`.
    #[track_caller]
    pub(crate) fn pool(&self, name: &str) -> PoolStatus {
        let status = self.status();
        status
            .pools
            .iter()
            .find(|pool| pool.name == name)
            .cloned()
            .unwrap_or_else(|| panic!("no {name}: {status:?}"))
    }

    /// The tunnels of all workers.
    #[track_caller]
    pub(crate) fn tunnels(&self) -> u64 {
        self.pool("worker").children.iter().filter_map(|child| child.tunnels).sum()
    }

    /// Waits until there are so many.
    #[track_caller]
    pub(crate) fn wait_tunnels(&self, count: u64) {
        wait_until(SOON, "so many tunnels", || holds(self.tunnels() == count, self.pool("worker")));
    }

    /// The first line of the access log `access.log`, in JSON.
    #[track_caller]
    pub(crate) fn logged_request(&self) -> serde_json::Value {
        let path = self.directory().path().join("access.log");
        wait_until(SOON, "a line in the access log", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let line = text.lines().next().filter(|_| text.ends_with('\n'));
            line.map(|line| serde_json::from_str(line).unwrap()).ok_or(text.clone())
        })
    }

    /// The cron job of this name.
    #[track_caller]
    pub(crate) fn job(&self, name: &str) -> JobStatus {
        let status = self.status();
        status
            .cron
            .iter()
            .find(|job| job.name == name)
            .cloned()
            .unwrap_or_else(|| panic!("no {name}: {status:?}"))
    }

    /// The processes of a pool that are ready, in any generation but not draining.
    #[track_caller]
    pub(crate) fn ready(&self, pool: &str) -> Vec<Process> {
        let children = self.pool(pool).children;
        children
            .iter()
            .filter(|child| child.state == "ready")
            .filter_map(|child| Process::of(child.pid))
            .collect()
    }

    /// Waits until a pool has this many ready processes and no other.
    #[track_caller]
    pub(crate) fn wait_ready(&self, within: Duration, pool: &str, count: usize) -> Vec<Process> {
        wait_until(within, "processes ready", || {
            let found = self.pool(pool);
            let ready = self.ready(pool);
            if ready.len() == count && found.children.len() == count {
                Ok(ready)
            } else {
                Err(format!("{found:?}"))
            }
        })
    }

    /// Kills a process of a pool of `count`, and waits until another has taken its place; how long that took.
    #[track_caller]
    pub(crate) fn kill_and_wait(&self, pool: &str, victim: Process, count: usize) -> Duration {
        victim.signal(Signal::SIGKILL);
        let start = super::now();
        wait_until(SOON, "the killed process is replaced", || {
            let ready = self.ready(pool);
            holds(ready.len() == count && !ready.contains(&victim), self.pool(pool))
        });
        start.elapsed()
    }

    /// HUP, and waits until the next generation serves.
    #[track_caller]
    pub(crate) fn hang_up(&self) {
        let before = self.status().generation;
        self.master.signal(Signal::SIGHUP);
        wait_until(SOON, "the next generation serves", || {
            let status = self.status();
            holds(
                status.generation > before && (status.mode == "running" || status.mode == "asleep"),
                &status,
            )
        });
    }

    /// Everything it logged and wrote so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until a line of the log holds `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        wait_until(SOON, &format!("`{text}` in the log"), || {
            let log = self.log();
            log.iter().find(|line| line.contains(text)).cloned().ok_or_else(|| log.join("\n"))
        })
    }

    /// Lines of level ERROR that hold one of these texts are expected.
    pub(crate) fn tolerant(mut self, texts: &[&str]) -> Self {
        self.allowed.extend(texts.iter().map(|&text| text.to_owned()));
        self
    }

    /// The master was or will be killed by the test.
    pub(crate) fn kill_master(&mut self) -> Vec<Process> {
        let tree = self.master.descendants();
        self.master.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        self.ended = true;
        tree
    }

    /// Sends `signal` and waits for the end; the exit code.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: Signal) -> Option<i32> {
        self.seen.lock().unwrap().extend(self.master.descendants());
        self.master.signal(signal);
        self.wait_end()
    }

    /// Waits for the end, which something else has caused; the exit code.
    #[track_caller]
    pub(crate) fn wait_end(&mut self) -> Option<i32> {
        let status = wait_until(SOON, "the server has ended", || {
            self.child.try_wait().unwrap().ok_or_else(|| self.log().join("\n"))
        });
        self.ended = true;
        self.assert_gone();
        assert!(self.runtime_directories().is_empty(), "{:?}", self.runtime_directories());
        status.code()
    }

    /// No process of the tree is left.
    #[track_caller]
    pub(crate) fn assert_gone(&self) {
        wait_until(SOON, "all processes are gone", || {
            let seen = self.seen.lock().unwrap();
            let left: Vec<_> =
                seen.iter().filter(|process| process.is_alive()).map(|process| process.title()).collect();
            holds(left.is_empty(), left)
        });
    }

    /// Directories for the sockets of apps that this master made and did not remove.
    pub(crate) fn runtime_directories(&self) -> Vec<PathBuf> {
        let places = [PathBuf::from("/run/hatchery"), self.directory().path().to_owned()];
        let ours = format!("hatchery-run-{}-", self.master.pid);
        let found = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten();
        let found = found.map(|entry| entry.unwrap().path());
        found.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&ours)).collect()
    }

    #[track_caller]
    fn assert_no_errors(&self) {
        let log = self.log();
        let message =
            |line: &str| line.split_once(" hatchery: ").map_or(String::new(), |(_, text)| text.to_owned());
        // Who has printed a traceback: those are errors of apps, and the other lines of a message say nothing new.
        let begins = log.iter().filter_map(|line| line.strip_suffix("Traceback (most recent call last):"));
        let printers: BTreeSet<String> = begins.map(message).collect();
        let is_ours = |text: &str| {
            !text.starts_with("    |") && !printers.iter().any(|name| text.starts_with(name.as_str()))
        };
        let unexpected: Vec<_> = log
            .iter()
            .filter(|line| {
                (line.contains("Z ERROR hatchery: ") && is_ours(&message(line)))
                    || ["panicked at", "sandbox refused"].iter().any(|text| line.contains(text))
            })
            .filter(|line| !self.allowed.iter().any(|allowed| line.contains(allowed)))
            .collect();
        assert!(unexpected.is_empty(), "unexpected errors were logged: {unexpected:#?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.seen.lock().unwrap().extend(self.master.descendants());
            if !self.ended {
                drop(self.child.kill());
                drop(self.child.wait());
            }
            for left in self.seen.lock().unwrap().iter().filter(|process| process.is_alive()) {
                left.signal(Signal::SIGKILL);
            }
            eprintln!("--- log of the server\n{}\n--- end of the log", self.log().join("\n"));
            return;
        }
        if !self.ended {
            assert_eq!(self.end(Signal::SIGTERM), Some(0), "exit code after TERM\n{}", self.log().join("\n"));
        }
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.assert_no_errors();
    }
}

/// Runs `hatchery ARGUMENTS` in a directory, to its end.
pub(crate) fn hatchery(directory: &Directory, arguments: &[&str]) -> Finished {
    let mut command = Command::new(HATCHERY);
    command.args(arguments).current_dir(directory.path());
    environment(&mut command, directory);
    finished(&mut command)
}

/// The program's path.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(HATCHERY)
}

fn finished(command: &mut Command) -> Finished {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The user's environment with what would differ from machine to machine, or leave files, taken out.
fn environment(command: &mut Command, directory: &Directory) {
    for name in [
        "HATCHERY_LOG",
        "JOURNAL_STREAM",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_PID",
        "PYTHONPATH",
    ] {
        command.env_remove(name);
    }
    command.env("XDG_RUNTIME_DIR", directory.path()).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1");
    // A system call that is missing in the list of a worker's ends it and is told, instead of an error that is handled.
    command.env("HATCHERY_SANDBOX_TRAP", "1");
}

fn replace(text: &str, address: SocketAddr, directory: &Directory) -> String {
    let mut text = text
        .replace("{address}", &address.to_string())
        .replace("{port}", &address.port().to_string())
        .replace("{dir}", directory.path().to_str().unwrap())
        .replace("{apps}", super::apps().to_str().unwrap());
    if text.contains("{venv}") {
        text = text.replace("{venv}", super::virtualenv().to_str().unwrap());
    }
    if text.contains("{real_venv}") {
        text = text.replace("{real_venv}", super::real_virtualenv().to_str().unwrap());
    }
    text
}

/// Collects lines until the end of the pipe, which is made large: on a busy machine the reader is late at times, and lines
/// of the access log that find no room are lost.
fn follow(
    pipe: impl std::io::Read + std::os::fd::AsFd + Send + 'static,
    into: Lines,
) -> std::thread::JoinHandle<()> {
    let _ = nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            into.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    })
}
