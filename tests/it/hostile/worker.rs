//! What a worker that was taken over can still call: a living one is stopped by ptrace(2), has its registers set as an
//! intruder would, and makes the call. Many more calls are tried in `master::spawn::tests`, from inside of a worker that is
//! made for it.
#![cfg(target_arch = "x86_64")]

use crate::harness::{SOON, Setup, get, holds, wait_until};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

/// A living process that makes the calls it is told to.
struct TakenOver {
    pid: Pid,
    /// As it was stopped: behind the instruction by which it waits.
    stopped: libc::user_regs_struct,
    memory: File,
}

/// `syscall` on x86-64.
const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

impl TakenOver {
    /// Stops it while it waits in a system call.
    fn new(pid: u32) -> Self {
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem")).unwrap();
        let pid = Pid::from_raw(pid.try_into().unwrap());
        let stopped = wait_until(SOON, "the worker waits", || {
            ptrace::attach(pid).unwrap();
            assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Stopped(..)));
            let registers = ptrace::getregs(pid).unwrap();
            let mut before = [0; 2];
            memory.read_exact_at(&mut before, registers.rip - 2).unwrap();
            if before == INSTRUCTION {
                return Ok(registers);
            }
            ptrace::detach(pid, None).unwrap();
            holds(false, before).map(|()| registers)
        });
        Self { pid, stopped, memory }
    }

    /// Puts bytes below its stack; where.
    fn put(&self, at: u64, bytes: &[u8]) -> u64 {
        let place = (self.stopped.rsp & !0xfff) - 4096 + at;
        self.memory.write_all_at(bytes, place).unwrap();
        place
    }

    /// Has it make a call; the result, or the error below zero.
    fn call(&self, number: i64, arguments: &[i64]) -> i64 {
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default().cast_unsigned();
        let registers = libc::user_regs_struct {
            rip: self.stopped.rip - 2,
            rax: number.cast_unsigned(),
            // It does not begin the call anew that it was stopped in.
            orig_rax: u64::MAX,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            ..self.stopped
        };
        ptrace::setregs(self.pid, registers).unwrap();
        ptrace::step(self.pid, None).unwrap();
        assert_eq!(waitpid(self.pid, None).unwrap(), WaitStatus::Stopped(self.pid, Signal::SIGTRAP));
        ptrace::getregs(self.pid).unwrap().rax.cast_signed()
    }

    /// It goes on as if nothing had been.
    fn free(self) {
        ptrace::setregs(self.pid, self.stopped).unwrap();
        ptrace::detach(self.pid, None).unwrap();
    }
}

#[test]
fn a_worker_that_was_taken_over_calls_what_workers_call_and_nothing_else() {
    if !geteuid().is_root() || !hatchery::sys::sandbox::has_seccomp() {
        eprintln!("nothing to test: only root may stop a worker, and without seccomp it may call everything");
        return;
    }
    let setup = Setup::new(
        "    workers: (processes: 2),\n    \
         sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 200, body: \"here\"))])],",
    );
    let outside = setup.directory.write("outside", "precious");
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Here calls are to be refused, not to be told.
    let server = setup.env("HATCHERY_SANDBOX_TRAP", "").start();
    let workers = server.wait_ready(SOON, "worker", 2);
    let sibling = i64::from(workers[1].pid);
    let worker = TakenOver::new(workers[0].pid);
    let path = worker.put(0, &[outside.as_os_str().as_encoded_bytes(), b"\0"].concat()).cast_signed();
    let limit = worker.put(1024, &[64_u64.to_ne_bytes(), 64_u64.to_ne_bytes()].concat()).cast_signed();
    let (port, one) = (server.address.port(), worker.put(2048, &1_u32.to_ne_bytes()).cast_signed());
    let address = [&2_u16.to_ne_bytes()[..], &port.to_be_bytes(), &[127, 0, 0, 1], &[0; 8]].concat();
    let address = worker.put(3072, &address).cast_signed();
    let (inet, unix, stream) = (2, 1, i64::from(libc::SOCK_STREAM | libc::SOCK_NONBLOCK));
    let fast_open = i64::from(libc::MSG_FASTOPEN);
    let socket = worker.call(libc::SYS_socket, &[inet, stream, 0]);
    let calls: &[(&str, i64, &[i64])] = &[
        ("multipath TCP", libc::SYS_socket, &[inet, stream, 262]),
        ("UDP", libc::SYS_socket, &[inet, i64::from(libc::SOCK_DGRAM), 0]),
        ("Unix datagrams", libc::SYS_socket, &[unix, i64::from(libc::SOCK_DGRAM), 0]),
        ("netlink", libc::SYS_socket, &[i64::from(libc::AF_NETLINK), i64::from(libc::SOCK_RAW), 0]),
        ("virtual machines", libc::SYS_socket, &[i64::from(libc::AF_VSOCK), stream, 0]),
        ("Fast Open", libc::SYS_sendto, &[socket, one, 4, fast_open, address, 16]),
        ("Fast Open for connect", libc::SYS_setsockopt, &[socket, 6, 30, one, 4]),
        ("bind", libc::SYS_bind, &[socket, address, 16]),
        ("listen", libc::SYS_listen, &[socket, 1]),
        ("limits of a sibling", libc::SYS_prlimit64, &[sibling, libc::RLIMIT_NOFILE.into(), limit, 0]),
        ("priority of a sibling", libc::SYS_setpriority, &[0, sibling, 19]),
        ("scheduler of a sibling", libc::SYS_sched_setscheduler, &[sibling, 0, limit]),
        ("disk priority of a sibling", libc::SYS_ioprio_set, &[1, sibling, 0x6000]),
        ("signal to a sibling", libc::SYS_kill, &[sibling, 0]),
        ("chmod", libc::SYS_chmod, &[path, 0o666]),
        ("chown", libc::SYS_chown, &[path, 65534, 65534]),
        ("times", libc::SYS_utimensat, &[libc::AT_FDCWD.into(), path, 0, 0]),
        ("truncate", libc::SYS_truncate, &[path, 0]),
        ("shared memory", libc::SYS_shmget, &[0, 4096, 0o1600]),
        ("POSIX queue", libc::SYS_mq_open, &[path, 0o102, 0o600, 0]),
        ("a process", libc::SYS_clone, &[i64::from(libc::SIGCHLD), 0, 0, 0, 0]),
        ("code", libc::SYS_mmap, &[0, 4096, 5, 0x22, -1, 0]),
        ("blocking for all", libc::SYS_fcntl, &[socket, libc::F_SETFL.into(), 0]),
    ];
    let results: Vec<_> =
        calls.iter().map(|(what, number, arguments)| (*what, worker.call(*number, arguments))).collect();
    let unknown = [1000, 0x4000_0000 + 520].map(|number| worker.call(number, &[]));
    let closed = worker.call(libc::SYS_close, &[socket]);
    worker.free();
    assert!(socket >= 0 && closed == 0, "what every worker does: {socket}, {closed}");
    for (what, result) in results {
        assert_eq!(result, -i64::from(libc::EPERM), "{what}");
    }
    assert_eq!(unknown, [-i64::from(libc::ENOSYS); 2], "a newer C library takes the older way");
    let found = std::fs::metadata(&outside).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o600, 8));
    // Nobody has died of it.
    assert_eq!(get(server.address, "/").text(), "here");
    assert_eq!(server.wait_ready(SOON, "worker", 2), workers);
}
