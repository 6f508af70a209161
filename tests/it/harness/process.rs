//! Processes as the kernel shows them.

use nix::fcntl::{OFlag, SpliceFFlags, tee};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::{Mutex, OnceLock, mpsc};

/// One process; its start time tells it from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: u64,
}

impl Process {
    /// The process of this id, unless it is gone or only waits to be reaped.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let (state, _, started) = stat(pid)?;
        (state != 'Z' && state != 'X').then_some(Self { pid, started })
    }

    /// Whether these bytes are anywhere in what it may write.
    pub(crate) fn has_in_memory(self, wanted: &[u8]) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap();
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.pid)).unwrap();
        let mut seen = 0;
        let found = maps.lines().filter(|line| line.contains(" rw")).any(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            let read = std::os::unix::fs::FileExt::read_at(&memory, &mut bytes, start).unwrap_or(0);
            seen += read;
            bytes[..read].windows(wanted.len()).any(|part| part == wanted)
        });
        assert!(found || seen > 1 << 19, "{seen}");
        found
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Children, theirs, and so on.
    pub(crate) fn descendants(self) -> Vec<Self> {
        let all: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| stat(pid).map(|(_, parent, _)| (pid, parent)))
            .collect();
        let mut found = vec![self.pid];
        let mut at = 0;
        while let Some(&parent) = found.get(at) {
            found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
            at += 1;
        }
        found.into_iter().skip(1).filter_map(Self::of).collect()
    }

    /// Children that have ended and wait to be reaped.
    pub(crate) fn zombies(self) -> Vec<u32> {
        let pids = std::fs::read_dir("/proc").unwrap();
        let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| stat(*pid).is_some_and(|(state, parent, _)| state == 'Z' && parent == self.pid))
            .collect()
    }

    pub(crate) fn signal(self, signal: Signal) {
        assert!(self.is_alive(), "{self:?} is gone");
        kill(Pid::from_raw(self.pid.try_into().unwrap()), signal).unwrap();
    }

    /// A size from `/proc/PID/status` in bytes: `VmRSS` (now), `RssAnon` (of that, what is no file's), `VmHWM` (the most so far).
    pub(crate) fn memory(self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("a memory size");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Title or command line.
    pub(crate) fn title(self) -> String {
        let line = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
    }

    /// Number of threads.
    pub(crate) fn threads(self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().count()
    }

    /// Number of open descriptors.
    pub(crate) fn descriptors(self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).map_or(0, Iterator::count)
    }

    /// Whether something is in one of its pipes.
    pub(crate) fn has_something_in_pipes(self) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        let pipes = open.map(|entry| entry.path()).filter(|path| {
            std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"))
        });
        let (_outlet, inlet) = nix::unistd::pipe().unwrap();
        let mut filled = pipes.filter(|pipe| {
            let pipe = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(pipe);
            // A copy of what is there, which stays.
            pipe.is_ok_and(|pipe| {
                tee(pipe, &inlet, 1, SpliceFFlags::SPLICE_F_NONBLOCK).is_ok_and(|one| one > 0)
            })
        });
        filled.next().is_some()
    }

    /// Effective user id.
    pub(crate) fn user(self) -> u32 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("user ids");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// State, parent and start time.
fn stat(pid: u32) -> Option<(char, u32, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((state, parent, fields.nth(17)?.parse().ok()?))
}

/// Starts a command from a thread that lives as long as the test run: a death signal (PDEATHSIG) counts the thread
/// that spawned, not its process.
pub(crate) fn spawn(command: Command) -> std::io::Result<std::process::Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            jobs.iter().for_each(|(mut command, answer)| drop(answer.send(command.spawn())))
        });
        Mutex::new(sender)
    });
    let (answer, child) = mpsc::channel();
    spawner.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}

/// Words before a command that make it run as nobody, none if the tests do not run as root: as root every test of
/// permissions would pass.
pub(crate) fn as_nobody() -> &'static [&'static str] {
    if nix::unistd::geteuid().is_root() {
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    } else {
        &[]
    }
}

/// Words before a command that make it run as on a kernel without these system calls.
pub(crate) fn without(calls: &[i64]) -> Vec<String> {
    // A filter of its own (seccomp(2)): each of the calls is answered with ENOSYS.
    const SCRIPT: &str = r#"
import ctypes, os, struct, sys
calls = [int(call) for call in sys.argv[1].split(',')]
lines = [(0x20, 0, 0, 0)]
for at, call in enumerate(calls):
    lines.append((0x15, len(calls) - at, 0, call))
lines += [(0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x00050000 | 38)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in lines))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
program = Program(len(lines), ctypes.addressof(code))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0 and prctl(22, 2, ctypes.byref(program), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"#;
    let numbers: Vec<String> = calls.iter().map(i64::to_string).collect();
    ["python3", "-c", SCRIPT, &numbers.join(",")].map(str::to_owned).to_vec()
}
