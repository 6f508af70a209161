//! Notifications, the store of sockets, activation, and the unit files; without systemd, by a socket of the test's own.

use crate::harness::{
    Connection, Directory, Gate, Process, SOON, Setup, binary, get, hatchery, holds, wait_until,
};
use hatchery::sys::seqpacket;
use nix::fcntl::FcntlArg;
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the server sends its notifications.
struct Notified {
    socket: UnixDatagram,
    /// What came so far, in order.
    seen: Vec<String>,
    /// Sockets that came along, by name.
    stored: Vec<(String, TcpListener)>,
}

impl Notified {
    fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, seen: Vec::new(), stored: Vec::new() }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok((length, descriptor)) = seqpacket::receive(self.socket.as_fd(), &mut buffer) {
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if let Some(descriptor) = descriptor {
                let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap().to_owned();
                self.stored.push((name, descriptor.into()));
            }
            self.seen.push(text);
        }
    }

    /// Waits for a message that begins like this, after those of the last call; everything that came up to it.
    #[track_caller]
    fn wait(&mut self, start: &str) -> Vec<String> {
        wait_until(SOON, &format!("the notification {start}"), || {
            self.receive();
            match self.seen.iter().position(|text| text.starts_with(start)) {
                Some(place) => Ok(self.seen.drain(..=place).collect()),
                None => Err(self.seen.join(" | ")),
            }
        })
    }
}

const SITE: &str = r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],"#;

fn notified(setup: Setup) -> (Setup, Notified) {
    let path = setup.directory.path().join("notify.sock");
    let notified = Notified::bind(&path);
    (setup.env("NOTIFY_SOCKET", path.to_str().unwrap()), notified)
}

#[test]
fn systemd_is_told_when_it_serves_reloads_and_stops() {
    let (setup, mut notified) = notified(Setup::new(SITE));
    let mut server = setup.start().tolerant(&["reload"]);
    let ready = notified.wait("READY=1").pop().unwrap();
    assert!(ready.contains("\nSTATUS=generation 1 serves\n"), "{ready}");
    assert!(ready.contains(&format!("MAINPID={}", server.master.pid)), "{ready}");
    assert_eq!(get(server.address, "/").text(), "here");

    server.master.signal(Signal::SIGHUP);
    let told = notified.wait("READY=1");
    let reloading =
        told.iter().find(|text| text.starts_with("RELOADING=1\nMONOTONIC_USEC=")).expect("told of it");
    let stamp = reloading.lines().nth(1).unwrap().trim_start_matches("MONOTONIC_USEC=");
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let age = uptime - stamp.parse::<f64>().unwrap() / 1e6;
    assert!((-1.0..60.0).contains(&age), "{stamp} of {uptime}");
    assert!(told.last().unwrap().contains("STATUS=generation 2 serves"), "{told:?}");

    server.configure("    sites: [(lokations: [])],");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    let told = notified.wait("READY=1").pop().unwrap();
    assert!(told.contains("STATUS=reload failed, generation 2 goes on: "), "{told}");
    assert!(told.contains("lokations"), "{told}");

    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    notified.wait("STOPPING=1");
}

#[test]
fn systemd_is_told_why_new_code_does_not_serve_and_that_a_long_start_goes_on() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "app_of_test", chdir: "{dir}")},"#,
    );
    let gate = Gate::new(&setup.directory, "gate");
    let app =
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'here']\n";
    setup.directory.write("app_of_test.py", format!("open('gate').read()\n{app}"));
    let (setup, mut notified) = notified(setup);
    let server = std::thread::scope(|scope| {
        let patient = scope.spawn(|| {
            // The import takes longer than five seconds: more time is asked for.
            let told = notified.wait("EXTEND_TIMEOUT_USEC=");
            gate.open();
            told
        });
        let server = setup.env("PATH", "/usr/bin:/bin").start().tolerant(&["reload", "app"]);
        let told = patient.join().unwrap();
        assert!(told.iter().all(|text| !text.starts_with("READY=1")), "{told:?}");
        server
    });
    notified.wait("READY=1");
    server.directory().write("app_of_test.py", "import nothing_of_this_name\n");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    let told = notified.wait("READY=1").pop().unwrap();
    let status = told.lines().find(|line| line.starts_with("STATUS=")).unwrap();
    assert!(status.starts_with("STATUS=reload failed, generation 1 goes on: "), "{told}");
    assert!(status.contains("No module named 'nothing_of_this_name'"), "in the same line: {told}");
    assert_eq!(get(server.address, "/").text(), "here");
    server.directory().write("app_of_test.py", app);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let told = notified.wait("READY=1").pop().unwrap();
    // The attempt that failed had a number, too.
    assert!(told.contains("\nSTATUS=generation 3 serves\n"), "{told}");
}

#[test]
fn systemd_is_told_of_an_upgrade_and_the_watchdog_is_fed_after_it() {
    let (setup, mut notified) = notified(Setup::new(SITE).env("WATCHDOG_USEC", "400000"));
    let server = setup.start();
    notified.wait("READY=1");
    server.master.signal(Signal::SIGUSR2);
    let told = notified.wait("READY=1");
    assert!(told.iter().any(|text| text.starts_with("RELOADING=1\nMONOTONIC_USEC=")), "{told:?}");
    let ready = told.last().unwrap();
    assert!(ready.contains("\nSTATUS=generation 2 serves\n"), "{ready}");
    assert!(ready.contains(&format!("MAINPID={}", server.master.pid)), "{ready}");
    for _ in 0..3 {
        notified.wait("WATCHDOG=1");
    }
    assert_eq!(get(server.address, "/").text(), "here");
}

#[test]
fn the_watchdog_is_fed_and_apps_know_nothing_of_it() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "app_of_test", chdir: "{dir}", processes: 1)},"#,
    );
    setup.directory.write(
        "app_of_test.py",
        "import os\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         names = ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES')\n    \
         return [repr([name for name in names if name in os.environ]).encode()]\n",
    );
    let (setup, mut notified) = notified(setup);
    let server = setup.env("PATH", "/usr/bin:/bin").env("WATCHDOG_USEC", "200000").start();
    notified.wait("READY=1");
    for _ in 0..3 {
        notified.wait("WATCHDOG=1");
    }
    assert_eq!(get(server.address, "/").text(), "[]");
    // Nobody but the loop itself could feed it.
    assert_eq!(server.master.threads(), 1);
}

#[test]
fn a_restart_refuses_no_connection() {
    let (setup, mut notified) = notified(Setup::new(SITE).bind_itself());
    let address = setup.address;
    let mut server = setup.start();
    notified.wait("READY=1");
    let name = format!("hatchery-{address}").replace(':', "_");
    let (stored, listener) = notified.stored.pop().expect("the socket is given away");
    assert_eq!((stored.as_str(), listener.local_addr().unwrap()), (name.as_str(), address));
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    // Nobody serves now, but nobody is refused.
    let mut waiting = Connection::open(address).unwrap();
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();

    let (setup, mut notified) =
        self::notified(Setup::new(SITE).listener(listener).env("LISTEN_FDNAMES", &name));
    setup.configure(SITE);
    let server = setup.start();
    let told = notified.wait("READY=1");
    assert!(told.iter().all(|text| !text.starts_with("FDSTORE")), "it is kept already: {told:?}");
    assert_eq!(waiting.reply("GET").unwrap().text(), "here");
    // What is not needed any more is closed by systemd too.
    server.configure(&SITE.replace("{address}", "unix:{dir}/only.sock"));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let told = notified.wait("READY=1");
    assert!(told.contains(&format!("FDSTOREREMOVE=1\nFDNAME={name}")), "{told:?}");
}

#[test]
fn a_kept_socket_that_is_in_the_way_of_a_new_address_is_named() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let (setup, _notified) = notified(Setup::new(SITE));
    setup.configure(&SITE.replace("{address}", &format!("0.0.0.0:{}", address.port())));
    let name = format!("hatchery-{address}").replace(':', "_");
    let ended = setup.listener(kept).env("LISTEN_FDNAMES", &name).run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why =
        format!("it overlaps with {address}, on which this server listened before and which systemd keeps");
    assert!(ended.stderr.contains(&why) && ended.stderr.contains("`systemctl stop`"), "{}", ended.stderr);
}

#[test]
fn a_socket_of_a_socket_unit_is_not_stored() {
    let (setup, mut notified) = notified(Setup::new(SITE));
    let server = setup.env("LISTEN_FDNAMES", "web").start();
    let told = notified.wait("READY=1");
    assert!(told.iter().all(|text| !text.starts_with("FDSTORE")), "{told:?}");
    assert_eq!(get(server.address, "/").text(), "here");
}

/// Passes sockets as systemd would, from descriptor 3 on.
fn activated(setup: Setup, names: &str, sockets: Vec<OwnedFd>) -> Setup {
    let mut script = String::new();
    for (place, socket) in sockets.iter().enumerate() {
        // The copy is open in what the test starts too, and out of the way of what is to be passed.
        let copy = nix::fcntl::fcntl(socket.as_fd(), FcntlArg::F_DUPFD(100)).unwrap();
        script += &format!("exec {}<&{copy} {copy}<&-; ", 3 + place);
    }
    script += &format!("export LISTEN_FDS={} LISTEN_PID=$$; exec \"$0\" \"$@\"", sockets.len());
    setup.bind_itself().under(&["bash", "-c", &script]).env("LISTEN_FDNAMES", names)
}

fn by_name(names: &str) -> String {
    SITE.replace("\"{address}\"", names)
}

#[test]
fn sockets_of_a_socket_unit_are_found_by_name() {
    use std::io::{Read as _, Write as _};
    let setup = Setup::new(&by_name(r#""systemd:web", "systemd:local""#));
    let path = setup.directory.path().join("local.sock");
    let tcp: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = tcp.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let local = UnixListener::bind(&path).unwrap();
    let sockets = tcp.into_iter().map(OwnedFd::from).chain([local.into()]).collect();
    let server = activated(setup, "web:web:local", sockets).start();
    let served = || {
        for address in &addresses {
            assert_eq!(get(*address, "/").text(), "here");
        }
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.ends_with("\r\n\r\nhere"), "{reply}");
    };
    served();
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    served();
    // The same sockets by their addresses, and a name that was not passed.
    let known = addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    server.configure(&by_name(&format!("{known}, \"systemd:local\"")));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    served();
    server.configure(&by_name(r#""systemd:wep""#));
    let refused = server.command(&["reload", "--wait"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("no socket was passed for systemd:wep"),
        "{refused:?}"
    );
    served();
    drop(server.tolerant(&["systemd:wep"]));
}

#[test]
fn a_socket_that_is_not_passed_is_explained() {
    let setup = Setup::new(&by_name(r#""systemd:web""#));
    let checked = hatchery(&setup.directory, &["check"]);
    assert!(
        checked.code == Some(0) && checked.stderr.contains("FileDescriptorName=web; not tried"),
        "{checked:?}"
    );
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let ended = activated(setup, "other", vec![other.into()]).run_to_end();
    let why = "sites[0].listen[0]: no socket was passed for systemd:web (there is \"other\")";
    assert!(ended.code == Some(1) && ended.stderr.contains(why), "{ended:?}");
}

#[test]
fn it_works_as_the_first_process_of_a_pid_namespace() {
    let tried = Command::new("unshare").args(["-pf", "--mount-proc", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("nothing to test: no right to make a pid namespace");
        return;
    }
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "app_of_test", chdir: "{dir}", processes: 1)},"#,
    );
    // The app leaves a grandchild behind, which ends as a child of the master.
    setup.directory.write(
        "app_of_test.py",
        "import os, subprocess\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         subprocess.run(['sh', '-c', 'sleep 0.1 &'])\n    return [str(os.getppid()).encode()]\n",
    );
    let mut setup =
        setup.under(&["unshare", "-pf", "--kill-child", "--mount-proc", "--"]).env("PATH", "/usr/bin:/bin");
    let directory = setup.directory.path().to_owned();
    let address = setup.address;
    let mut child = setup.spawn_only();
    let text = wait_until(SOON, "it serves", || {
        let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
        connection.get("/").map(|reply| reply.text()).map_err(|error| error.to_string())
    });
    assert_eq!(text, "1", "the app's parent is the first process");
    let first = Process::of(child.id()).unwrap().descendants();
    let first = first
        .into_iter()
        .find(|process| process.title().starts_with("hatchery: master"))
        .expect("the master");
    first.signal(Signal::SIGUSR2);
    wait_until(SOON, "the first process was upgraded", || {
        let output = Command::new(binary())
            .args(["status", "--control"])
            .arg(directory.join("control.sock"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        holds(text.contains("running  pid 1  generation 2"), text)
    });
    assert_eq!(get(address, "/").text(), "1");
    let command = |name: &str| {
        Command::new(binary()).args([name, "--control"]).arg(directory.join("control.sock")).output().unwrap()
    };
    assert!(command("status").status.success());
    assert!(command("stop").status.success());
    let ended = wait_until(SOON, "it has ended", || child.try_wait().unwrap().ok_or("it runs".to_owned()));
    assert!(ended.success(), "{ended}");
}

/// The unit files of `conf/`.
fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/systemd")
}

/// `systemd-analyze`, where there is one that can judge files.
fn analyze(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).env("SYSTEMD_PAGER", "").env("NO_COLOR", "1").output().ok()?;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some(text)
}

#[test]
fn the_units_are_understood() {
    for unit in
        ["hatchery.service", "hatchery-user.service", "hatchery-user.socket", "hatchery-user-https.socket"]
    {
        let path = units().join(unit);
        let Some(said) = analyze(&["verify", "--man=no", "--recursive-errors=no", path.to_str().unwrap()])
        else {
            eprintln!("nothing to test: no systemd-analyze");
            return;
        };
        // The program is not installed where the unit says; anything else is a mistake.
        let mistakes: Vec<&str> = said.lines().filter(|line| !line.contains("is not executable")).collect();
        assert!(mistakes.is_empty(), "{mistakes:#?}");
    }
}

#[test]
fn the_units_are_hardened() {
    for (unit, most) in [("hatchery.service", 3.6), ("hatchery-user.service", 2.5)] {
        let path = units().join(unit);
        let Some(said) = analyze(&["security", "--offline=true", "--no-pager", path.to_str().unwrap()])
        else {
            eprintln!("nothing to test: no systemd-analyze");
            return;
        };
        let line =
            said.lines().find(|line| line.contains("Overall exposure level")).expect("an overall level");
        let level = line.split(':').nth(1).unwrap().split_whitespace().next().unwrap();
        assert!(level.parse::<f64>().unwrap() <= most, "{unit}: {said}");
    }
}

#[test]
fn the_directories_are_made_as_the_file_for_tmpfiles_says() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = Directory::new();
    for file in ["passwd", "group"] {
        root.write(format!("etc/{file}"), std::fs::read(Path::new("/etc").join(file)).unwrap());
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/tmpfiles.d/hatchery.conf");
    let made = Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(format!("--root={}", root.path().display()))
        .arg(file)
        .output();
    let is_root = nix::unistd::geteuid().is_root();
    let Some(made) = made.ok().filter(|_| is_root) else {
        eprintln!("nothing to test: no systemd-tmpfiles, or no right to give directories away");
        return;
    };
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    for (path, mode) in [("run/hatchery", 0o755), ("var/log/hatchery", 0o750)] {
        let found = std::fs::metadata(root.path().join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn the_rotation_of_logs_is_understood() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/logrotate.d/hatchery");
    let state = Directory::new();
    let tried =
        Command::new("logrotate").arg("-d").arg("-s").arg(state.path().join("state")).arg(&file).output();
    let Ok(tried) = tried else {
        eprintln!("nothing to test: no logrotate");
        return;
    };
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(tried.status.success() && !said.contains("error:"), "{said}");
    // The unit that it signals is the one of this project.
    let script = std::fs::read_to_string(file).unwrap();
    assert!(script.contains("--signal=USR1") && script.contains(" hatchery.service "), "{script}");
    assert!(units().join("hatchery.service").exists());
}

/// Has the stream that the server logs to named as the journal's, as systemd does.
const TO_THE_JOURNAL: &[&str] =
    &["sh", "-c", "JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$0\" \"$@\""];

fn printing() -> Setup {
    let setup = Setup::new(
        r#"
    workers: (processes: 1), log: (access: Off),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "app_of_test", chdir: "{dir}", processes: 1)},"#,
    );
    let app = "import sys\nprint('\\x1b[32mgreen\\x1b[0m')\ndef application(environ, start_response):\n    \
               sys.stderr.write('<0>' + 'x' * 9000 + '\\n')\n    raise LookupError('first\\n  second')\n";
    setup.directory.write("app_of_test.py", app);
    setup
}

/// For a message of a test.
fn without_long(log: &[String]) -> Vec<&String> {
    log.iter().filter(|line| line.len() < 500).collect()
}

#[test]
fn the_journal_gets_a_priority_for_each_line_and_no_times() {
    let server = printing().under(TO_THE_JOURNAL).start();
    assert_eq!(get(server.address, "/").status, 500);
    server.wait_log("LookupError: first");
    let log = server.log();
    let first = |text: &str| {
        log.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{:#?}", without_long(&log)))
    };
    assert!(first("listening on").starts_with("<6>listening on http://"), "{:#?}", without_long(&log));
    assert_eq!(first("green"), "<6>app app 0: green");
    for part in ["GET / (request", "Traceback (most", "  File \"", "LookupError: first", "  second"] {
        let begin = format!("<3>app app 0: {part}");
        assert!(log.iter().any(|line| line.starts_with(&begin)), "{part}: {:#?}", without_long(&log));
    }
    let printed: Vec<_> = log.iter().filter(|line| line.contains("xxx")).collect();
    assert!(printed.len() > 2 && printed[0].starts_with("<6>app app 0: <0>xxx"), "{}", printed.len());
    assert!(
        printed[1..].iter().all(|line| line.starts_with("<6>app app 0: xxx")),
        "each piece names its app"
    );
    assert!(log.iter().all(|line| line.starts_with('<') && line.len() < 4096), "{:#?}", without_long(&log));
    // Other messages of several lines.
    let server = server.tolerant(&["reload"]);
    server.directory().write("app_of_test.py", "import nothing_of_this_name\n");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    server.wait_log("<3>reload failed");
    let log = server.log();
    assert!(
        log.iter().any(|line| line.starts_with("<3>    | ") && line.contains("nothing_of_this_name")),
        "{log:#?}"
    );
    assert!(log.iter().all(|line| line.starts_with('<')), "{:#?}", without_long(&log));
    drop(server);
    let mut setup = printing().under(TO_THE_JOURNAL);
    setup.directory.write("hatchery.ron", "(sites: [(lokations: [])],\n pid: 3)");
    let ended = setup.run_to_end();
    assert!(ended.stderr.lines().count() >= 2, "{ended:?}");
    assert!(ended.stderr.lines().all(|line| line.starts_with("<3>")), "{ended:?}");
}

#[test]
fn a_journal_that_others_log_to_changes_nothing() {
    let server = printing().env("JOURNAL_STREAM", "8:15").start().tolerant(&["app app 0: "]);
    assert_eq!(get(server.address, "/").status, 500);
    for (text, level) in [("listening on", "INFO "), ("LookupError: first", "ERROR"), ("green", "INFO ")] {
        let line = server.wait_log(text);
        assert!(line.starts_with("20") && line.contains(&format!("Z {level} hatchery: ")), "{line}");
    }
}
