use super::fork::fork_of_test;
use super::*;
use std::os::fd::AsFd;
use std::time::Duration;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn program(candidates: &[&str], arguments: &[&str]) -> (Program, OwnedFd) {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let program = Program {
        candidates: candidates.iter().map(|text| c(text)).collect(),
        arguments: arguments.iter().map(|text| c(text)).collect(),
        environment: Strings(vec![c("PATH=/usr/bin:/bin"), c("GREETING=hello")]),
        directory: Some(c("/")),
        or_in_root: false,
        account: None,
        stdin: None,
        stderr: write.try_clone().unwrap(),
        stdout: write,
        descriptors: Vec::new(),
        resources: Resources::default(),
        death_signal: Some(signals::SIGKILL),
        umask: None,
        told_pid: false,
    };
    (program, read)
}

/// Waits for `child` alone: `reap` would take the children of other tests in this process.
fn wait(child: &Child) -> Ended {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.pid).unwrap());
    match nix::sys::wait::waitpid(pid, None).unwrap() {
        nix::sys::wait::WaitStatus::Exited(_, code) => Ended::Code(code),
        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => Ended::Signal(signal as i32),
        other => panic!("{other:?}"),
    }
}

fn outcome(launch: &mut Launch) -> Option<(LaunchStep, io::Error)> {
    let mut set = crate::sys::poll::Set::new();
    set.add(launch.descriptor().as_fd(), (), crate::sys::poll::Interest::READ);
    let now = crate::sys::clock::now();
    assert_eq!(set.wait(now, Some(now.after(Duration::from_secs(20)))).unwrap().len(), 1);
    launch.outcome().unwrap()
}

fn all(read: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_program_gets_its_environment_directory_and_descriptors() {
    let (mut spec, read) = program(
        &["/nonexistent/sh", "/bin/sh"],
        &["sh", "-c", "echo $GREETING; pwd; cat <&3; cat; ls /proc/self/fd | wc -l; exit 3"],
    );
    let (inner, mut outer) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut outer, b"third\n").unwrap();
    drop(outer);
    spec.descriptors.push(inner.into());
    let (child, mut launch) = spawn(&spec).unwrap();
    drop(spec);
    assert!(outcome(&mut launch).is_none());
    assert_eq!(wait(&child), Ended::Code(3));
    // 0, 1, 2, 3 and the listing's own.
    assert_eq!(all(read).replace(' ', ""), "hello\n/\nthird\n5\n");
}

#[test]
fn a_program_whose_directory_is_missing_runs_in_the_root_where_that_will_do() {
    for (directory, or_in_root, printed, astray, failed) in [
        ("/nonexistent/home", true, "/\n", true, None),
        ("/etc/passwd/home", true, "/\n", true, None),
        ("/usr", true, "/usr\n", false, None),
        ("/nonexistent/home", false, "", false, Some(LaunchStep::Directory)),
    ] {
        let (mut spec, read) = program(&["/bin/sh"], &["sh", "-c", "pwd"]);
        (spec.directory, spec.or_in_root) = (Some(c(directory)), or_in_root);
        let (child, mut launch) = spawn(&spec).unwrap();
        drop(spec);
        // By its end everything was told.
        assert_eq!(all(read), printed, "{directory}");
        wait(&child);
        assert_eq!(outcome(&mut launch).map(|(step, _)| step), failed, "{directory}");
        assert_eq!(launch.is_astray(), astray, "{directory}");
    }
}

#[test]
fn a_program_can_read_what_it_is_given() {
    let (mut spec, read) = program(&["/bin/cat"], &["cat"]);
    spec.stdin = Some(memory_file(b"from memory").unwrap());
    let (child, _launch) = spawn(&spec).unwrap();
    drop(spec);
    assert_eq!(all(read), "from memory");
    assert_eq!(wait(&child), Ended::Code(0));
}

#[test]
fn a_missing_program_is_told_with_its_reason() {
    let (spec, _read) = program(&["/nonexistent/python", "/etc/passwd/python"], &["python"]);
    let (child, mut launch) = spawn(&spec).unwrap();
    let (step, error) = outcome(&mut launch).unwrap();
    assert_eq!((step, error.kind()), (LaunchStep::Execute, io::ErrorKind::NotFound));
    assert_eq!(wait(&child), Ended::Code(127));
}

#[test]
fn a_missing_directory_is_told_apart() {
    let (mut spec, _read) = program(&["/bin/true"], &["true"]);
    spec.directory = Some(c("/nonexistent"));
    let (child, mut launch) = spawn(&spec).unwrap();
    let (step, error) = outcome(&mut launch).unwrap();
    assert_eq!((step, error.kind()), (LaunchStep::Directory, io::ErrorKind::NotFound));
    assert_eq!(wait(&child), Ended::Code(127));
}

#[test]
fn a_file_without_the_right_to_execute_is_denied() {
    let (spec, _read) = program(&["/etc/passwd", "/nonexistent"], &["passwd"]);
    let (child, mut launch) = spawn(&spec).unwrap();
    assert_eq!(outcome(&mut launch).unwrap().1.kind(), io::ErrorKind::PermissionDenied);
    wait(&child);
}

#[test]
fn a_fork_ends_with_its_result_and_its_group_can_be_killed() {
    let child = fork_of_test(|_| 42).unwrap();
    assert_eq!(wait(&child), Ended::Code(42));
    let (spec, _read) = program(&["/bin/sh"], &["sh", "-c", "sleep 60 & wait"]);
    let (child, mut launch) = spawn(&spec).unwrap();
    assert!(outcome(&mut launch).is_none());
    signal(&child, signals::SIGKILL, true).unwrap();
    assert_eq!(wait(&child), Ended::Signal(signals::SIGKILL));
    assert!(signal(&child, 0, false).is_err());
}

/// Waits until `fd` is readable, or for so long.
fn wait_for(fd: &OwnedFd, seconds: u64) -> bool {
    let mut set = crate::sys::poll::Set::new();
    set.add(fd.as_fd(), (), crate::sys::poll::Interest::READ);
    let now = crate::sys::clock::now();
    set.wait(now, Some(now.after(Duration::from_secs(seconds)))).is_ok_and(|ready| !ready.is_empty())
}

#[test]
fn a_child_that_moved_to_another_group_is_reached_all_the_same() {
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let (go, started) = pipe();
    let (told, tell) = pipe();
    let (never, _said) = pipe();
    // SAFETY: no arguments, cannot fail.
    let ours = unsafe { libc::getpgrp() };
    let child = fork_of_test(|_| {
        // Not before the parent has put it into a group of its own.
        // SAFETY: integers only.
        let moved = wait_for(&go, 20) && unsafe { libc::setpgid(0, ours) } == 0;
        let said = nix::unistd::write(&tell, if moved { b"y" } else { b"n" });
        // Ends by itself if it is not killed.
        i32::from(said.is_err() || wait_for(&never, 20))
    })
    .unwrap();
    nix::unistd::write(&started, b"x").unwrap();
    let mut answer = [0];
    assert!(wait_for(&told, 20));
    nix::unistd::read(&told, &mut answer).unwrap();
    assert_eq!(&answer, b"y", "it has moved");
    signal(&child, signals::SIGKILL, true).unwrap();
    assert_eq!(wait(&child), Ended::Signal(signals::SIGKILL));
}

#[test]
fn nothing_is_sent_to_everybody() {
    for pid in [0, 1] {
        let error = signal(&Child { pid, handle: None }, 0, true).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "{pid}");
    }
}

#[test]
fn variables_are_forgotten_by_the_only_thread() {
    let (leave, left) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || left.recv());
    assert!(forget_variables(&[c"HOME"]).is_err(), "another thread may read them");
    drop(leave);
    assert!(other.join().unwrap().is_err());
    let child = fork_of_test(|_| {
        let forgotten = forget_variables(&[c"PATH", c"NO_SUCH_VARIABLE_HERE"]);
        i32::from(forgotten.is_err() || std::env::var_os("PATH").is_some())
    });
    assert_eq!(wait(&child.unwrap()), Ended::Code(0));
}

/// What a process that is forked for it ends with. One of a few: async-signal-safe calls only.
fn in_fork(run: impl FnOnce() -> i32) -> i32 {
    // SAFETY: a forked process of a test, which has one thread.
    match unsafe { libc::fork() } {
        0 => leave(run()),
        started => {
            let mut status = 0;
            // SAFETY: `status` is a living integer.
            unsafe { libc::waitpid(started, &raw mut status, 0) };
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 99 }
        }
    }
}

#[test]
fn what_is_started_has_no_terminal() {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let has_terminal = || {
        // SAFETY: a NUL-terminated string.
        let opened = unsafe { libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        opened >= 0
    };
    let leader = || {
        // SAFETY: integers only.
        let leads =
            unsafe { libc::setsid() > 0 && libc::ioctl(terminal.slave.as_raw_fd(), libc::TIOCSCTTY, 0) == 0 };
        if !(leads && has_terminal()) {
            return 2;
        }
        let code = in_fork(|| {
            own_group();
            i32::from(has_terminal())
        });
        // The one that leads the session keeps it.
        if has_terminal() { code } else { 3 }
    };
    let child = fork_of_test(|_| in_fork(leader)).unwrap();
    assert_eq!(wait(&child), Ended::Code(0));
}

#[test]
fn a_child_that_has_ended_is_seen_before_it_is_reaped() {
    let (mut spec, _read) = program(&["/bin/cat"], &["cat"]);
    let (inner, outer) = std::os::unix::net::UnixStream::pair().unwrap();
    spec.stdin = Some(inner.into());
    let (child, _launch) = spawn(&spec).unwrap();
    drop(spec);
    assert!(!has_ended(child.pid));
    drop(outer);
    let begun = crate::sys::clock::now();
    while !has_ended(child.pid) {
        assert!(crate::sys::clock::now().since(begun) < Duration::from_secs(60));
        std::thread::yield_now();
    }
    assert_eq!(wait(&child), Ended::Code(0));
    assert!(!has_ended(child.pid), "it is nobody's any more");
}

#[test]
fn a_program_is_told_its_own_number() {
    let (program, read) = program(&["/bin/sh"], &["sh", "-c", "test \"$LISTEN_PID\" = $$ && umask"]);
    let program = Program { told_pid: true, umask: Some(0o002), ..program };
    let (child, _launch) = spawn(&program).unwrap();
    drop(program);
    let mut said = String::new();
    std::fs::File::from(read).read_to_string(&mut said).unwrap();
    assert_eq!((wait(&child), said.trim()), (Ended::Code(0), "0002"));
    // Numbers of every length.
    let mut variable = *OWN_PID;
    write_pid(&mut variable);
    let text = std::ffi::CStr::from_bytes_until_nul(&variable).unwrap().to_str().unwrap();
    assert_eq!(text, format!("LISTEN_PID={}", std::process::id()));
}
