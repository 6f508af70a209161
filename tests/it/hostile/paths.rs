//! A local user in the same directory as what the master makes: nobody, in a directory of its own, while the master is
//! root. Whatever nobody puts there, now or between any two system calls, no file of root changes its mode, owner or
//! content.

use crate::harness::{Directory, Finished, SOON, Setup, as_nobody, binary, get, hatchery, wait_until};
use nix::sys::signal::Signal;
use std::io::BufRead as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NOBODY: u32 = 65534;

/// Whether there is another user to play; says so if not.
fn has_neighbour() -> bool {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can play another user");
    }
    !as_nobody().is_empty()
}

/// `hatchery run`, which should end by itself.
fn run(directory: &Directory, file: &str) -> Finished {
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary()).args(["run", "-c", file]).current_dir(directory.path());
    command.env("XDG_RUNTIME_DIR", directory.path()).env("NO_COLOR", "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory of nobody's below the test's, and a file of root that nobody wants.
fn theirs(directory: &Directory) -> (PathBuf, Victim) {
    let path = directory.path().join("theirs");
    std::fs::create_dir(&path).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    (path, Victim::new(directory))
}

/// A file of root with one name, which stays as it is, in a directory to which nothing is added.
struct Victim(PathBuf);

impl Victim {
    fn new(directory: &Directory) -> Self {
        let path = directory.write("root/victim", "precious\n");
        mode(&path, 0o600);
        Self(path)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let found = std::fs::metadata(&self.0).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o600, 0, 0), "mode and owner");
        assert_eq!(std::fs::read_to_string(&self.0).unwrap(), "precious\n");
        assert_eq!(
            std::fs::read_dir(self.0.parent().unwrap()).unwrap().count(),
            1,
            "something was made beside it"
        );
    }
}

/// A Python program that runs as nobody until it is dropped; it has said a line.
struct Neighbour(Child);

impl Neighbour {
    fn new(program: &str, arguments: &[&Path]) -> Self {
        let words: Vec<&str> =
            as_nobody().iter().copied().chain(["/usr/bin/python3", "-c", program]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Puts a link to the victim in place of whatever appears under a name, as fast as it can, and takes it away again.
const SWAP: &str = r#"
import os, sys
name, victim = sys.argv[1:]
link = name + ".link"
print("ready", flush=True)
while True:
    try:
        os.symlink(victim, link)
    except FileExistsError:
        pass
    for _ in range(20000):
        try:
            os.lstat(name)
        except OSError:
            continue
        break
    try:
        os.rename(link, name)
        os.lstat(name)
        os.unlink(name)
    except OSError:
        pass
"#;

/// Waits for one socket after the other, and puts a link to the victim in its place at once.
const SNATCH: &str = r#"
import os, sys
prefix, victim = sys.argv[1:]
names = [f"{prefix}{number}.sock" for number in range(64)]
for name in names:
    os.symlink(victim, name + ".link")
print("ready", flush=True)
stat, rename = os.stat, os.rename
for name in names:
    link = name + ".link"
    while True:
        try:
            stat(name)
        except OSError:
            continue
        try:
            rename(link, name)
        except OSError:
            pass
        break
"#;

/// The addresses that `SNATCH` waits for.
fn sockets(prefix: &Path) -> String {
    let each = (0..64).map(|number| format!("\"unix:{}{number}.sock\"", prefix.display()));
    each.collect::<Vec<_>>().join(", ")
}

/// Puts a link in place of a directory of its own, and the directory back.
const SWAP_DIRECTORY: &str = r#"
import os, sys
name, victim = sys.argv[1:]
os.mkdir(name)
os.symlink(os.path.dirname(victim), name + ".link")
print("ready", flush=True)
while True:
    os.rename(name, name + ".real")
    os.rename(name + ".link", name)
    os.rename(name, name + ".link")
    os.rename(name + ".real", name)
"#;

fn listening(addresses: &str) -> String {
    format!("(sites: [(listen: [{addresses}], locations: [(path: \"/\", to: Respond(status: 204))])])\n")
}

#[test]
fn a_link_in_place_of_a_socket_gets_no_mode() {
    if !has_neighbour() {
        return;
    }
    let directory = Directory::new();
    let (theirs, victim) = theirs(&directory);
    for round in 0..8 {
        let prefix = theirs.join(format!("{round}-"));
        directory.write("hatchery.ron", listening(&sockets(&prefix)));
        let neighbour = Neighbour::new(SNATCH, &[&prefix, &victim.0]);
        let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
        assert!(matches!(checked.code, Some(0 | 1)), "{checked:?}");
        drop(neighbour);
        victim.assert_untouched();
    }
    // And left alone it works, and leaves nothing.
    let alone = theirs.join("alone");
    std::fs::create_dir(&alone).unwrap();
    chown(&alone, Some(NOBODY), Some(NOBODY)).unwrap();
    directory.write("hatchery.ron", listening(&sockets(&alone.join("x"))));
    let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(names(&alone), [""; 0]);
    let left: Vec<_> = names(&theirs).into_iter().filter(|name| name.starts_with(".hatchery")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_link_in_place_of_the_directory_of_a_socket_is_not_followed() {
    if !has_neighbour() {
        return;
    }
    let directory = Directory::new();
    let (theirs, victim) = theirs(&directory);
    let folder = theirs.join("run");
    directory.write("hatchery.ron", listening(&format!("\"unix:{}\"", folder.join("site.sock").display())));
    let _neighbour = Neighbour::new(SWAP_DIRECTORY, &[&folder, &victim.0]);
    for _ in 0..15 {
        let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
        assert!(matches!(checked.code, Some(0 | 1)), "{checked:?}");
        victim.assert_untouched();
    }
}

const SITE: &str = r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"{more}], locations: [(path: "/", to: Respond(status: 200, body: "fixed"))])],"#;

#[test]
fn sockets_in_a_directory_of_another_user_serve_and_a_reload_loses_nothing_to_links() {
    if !has_neighbour() {
        return;
    }
    use std::io::{Read as _, Write as _};
    let site = |more: &str| SITE.replace("{more}", more);
    let setup = Setup::new(&site(""));
    let (theirs, victim) = theirs(&setup.directory);
    let server = setup.start().tolerant(&["reload", "cannot listen"]);
    for round in 0..3 {
        let prefix = theirs.join(format!("{round}-"));
        let neighbour = Neighbour::new(SNATCH, &[&prefix, &victim.0]);
        server.configure(&site(&format!(", {}", sockets(&prefix))));
        let reloaded = server.command(&["reload", "--wait"]);
        assert!(matches!(reloaded.code, Some(0 | 1)), "{reloaded:?}");
        victim.assert_untouched();
        drop(neighbour);
        server.configure(&site(""));
        assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
        victim.assert_untouched();
    }
    let path = theirs.join("good.sock");
    server.configure(&site(", \"unix:{dir}/theirs/good.sock\""));
    let reloaded = server.command(&["reload", "--wait"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert_eq!((found.mode() & 0o777, found.uid()), (0o666, 0));
    let shown = format!("unix:{}", path.display());
    assert!(
        server.status().listeners.iter().any(|line| line.contains(&shown)),
        "{:?}",
        server.status().listeners
    );
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("fixed"), "{text}");
    // The same socket after a reload and an upgrade; gone at the end.
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), found.ino());
    let mut server = server;
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    assert!(!path.exists());
}

/// What is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A link, a second name, or a directory that is a link: at each place where the master makes something.
#[test]
fn whatever_lies_at_a_place_is_refused_with_the_reason_and_stays_as_it_is() {
    if !has_neighbour() {
        return;
    }
    let keys = [
        ("pid_file", "pid_file: \"{path}\","),
        ("log.access.path", "log: (access: (path: \"{path}\")),"),
        ("control", ""),
        ("listen", ""),
    ];
    for (key, line) in keys {
        for trap in ["link", "dangling", "second", "parent"] {
            let directory = Directory::new();
            let (theirs, victim) = theirs(&directory);
            let path = match trap {
                "parent" => theirs.join("folder/name"),
                _ => theirs.join("name"),
            };
            match trap {
                "link" => symlink(&victim.0, &path).unwrap(),
                "dangling" => symlink(victim.0.with_file_name("made"), &path).unwrap(),
                "second" => std::fs::hard_link(&victim.0, &path).unwrap(),
                _ => symlink(victim.0.parent().unwrap(), theirs.join("folder")).unwrap(),
            }
            let _ = lchown(
                if trap == "parent" { theirs.join("folder") } else { path.clone() },
                link_owner(trap),
                None,
            );
            let shown = path.display().to_string();
            let control = if key == "control" {
                shown.clone()
            } else {
                directory.path().join("c.sock").display().to_string()
            };
            let listen = if key == "listen" { format!("unix:{shown}") } else { "127.0.0.1:0".to_owned() };
            let text = format!(
                "(control: \"{control}\", {} sites: [(listen: [\"{listen}\"], locations: [(path: \"/\", to: Respond(status: 204))])])\n",
                line.replace("{path}", &shown)
            );
            directory.write("hatchery.ron", text);
            let ended = run(&directory, "hatchery.ron");
            assert_eq!(ended.code, Some(1), "{key} {trap}: {ended:?}");
            assert!(
                ended.stderr.contains(&shown) || ended.stderr.contains("theirs/folder"),
                "{key} {trap}: {ended:?}"
            );
            if !(key == "control" && trap != "parent") {
                let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
                assert_eq!(checked.code, Some(1), "{key} {trap}: {checked:?}");
                assert!(checked.stderr.contains(key), "{key} {trap}: {checked:?}");
            }
            if trap == "second" {
                std::fs::remove_file(&path).unwrap();
            }
            victim.assert_untouched();
        }
    }
}

/// The victim's second name stays root's.
fn link_owner(trap: &str) -> Option<u32> {
    (trap != "second").then_some(NOBODY)
}

#[test]
fn the_access_log_is_not_reopened_through_a_link() {
    if !has_neighbour() {
        return;
    }
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    log: (access: (path: "{dir}/theirs/access.log")),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "fixed"))])],"#,
    );
    let (theirs, victim) = theirs(&setup.directory);
    let server = setup.start().tolerant(&["log.access.path"]);
    let lines = |name: &str| std::fs::read_to_string(theirs.join(name)).unwrap_or_default().lines().count();
    // A worker that has not been given the new file yet logs to the old one, as long as that takes.
    let asked = |name: &str, count: usize| {
        wait_until(SOON, "a request is logged", || {
            assert_eq!(get(server.address, "/").text(), "fixed");
            let found = lines(name);
            if found >= count { Ok(()) } else { Err(format!("{found} lines in {name}")) }
        });
    };
    asked("access.log", 1);
    // As logrotate does it.
    std::fs::rename(theirs.join("access.log"), theirs.join("access.log.1")).unwrap();
    server.master.signal(Signal::SIGUSR1);
    server.wait_log("the access log was reopened");
    asked("access.log", 1);
    for target in [victim.0.clone(), victim.0.with_file_name("made")] {
        std::fs::rename(theirs.join("access.log"), theirs.join("kept.log")).unwrap();
        symlink(&target, theirs.join("access.log")).unwrap();
        lchown(theirs.join("access.log"), Some(NOBODY), None).unwrap();
        let before = server.log().len();
        server.master.signal(Signal::SIGUSR1);
        wait_until(SOON, "it says why", || {
            let log = server.log();
            let said = log.iter().skip(before).any(|line| line.contains("access.log` is a symbolic link"));
            if said { Ok(()) } else { Err(log.join("\n")) }
        });
        let count = lines("kept.log");
        asked("kept.log", count + 1);
        victim.assert_untouched();
        let refused = server.command(&["reload", "--wait"]);
        assert!(refused.code == Some(1) && refused.stderr.contains("is a symbolic link"), "{refused:?}");
        std::fs::rename(theirs.join("kept.log"), theirs.join("access.log")).unwrap();
    }
    // And with links that come and go.
    let neighbour = Neighbour::new(SWAP, &[&theirs.join("access.log"), &victim.0]);
    for _ in 0..200 {
        server.master.signal(Signal::SIGUSR1);
        server.status();
        victim.assert_untouched();
    }
    drop(neighbour);
}

/// Holds every lock on a file that one who can only read it can hold.
const HOLD: &str = r#"
import fcntl, sys, time
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
fcntl.lockf(file, fcntl.LOCK_SH)
print("ready", flush=True)
time.sleep(1000)
"#;

#[test]
fn a_lock_on_the_pid_file_that_a_reader_holds_stops_no_start() {
    if !has_neighbour() {
        return;
    }
    let text = r#"
    pid_file: "{dir}/hatchery.pid",
    workers: (processes: 1),
    sites: [(listen: ["127.0.0.1:0"], locations: [(path: "/", to: Respond(status: 200))])],"#;
    let setup = Setup::new(text);
    let path = setup.directory.path().join("hatchery.pid");
    std::fs::write(&path, "1\n").unwrap();
    let left = Neighbour::new(HOLD, &[&path]);
    let server = setup.start();
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written.trim(), server.master.pid.to_string());
    // It may be read, but not locked; and a second master is told who has it.
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    let other = Directory::new();
    let second = text.replace("{dir}", server.directory().path().to_str().unwrap());
    other.write("hatchery.ron", format!("(control: \"{}/c.sock\", {second})", other.path().display()));
    let refused = run(&other, "hatchery.ron");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains(&format!("a running master (process {})", server.master.pid)),
        "{refused:?}"
    );
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    let refused = run(&other, "hatchery.ron");
    assert!(refused.code == Some(1) && refused.stderr.contains("a running master"), "{refused:?}");
    drop(left);
    let names = names(server.directory().path());
    assert!(!names.iter().any(|name| name.ends_with(".start")), "{names:?}");
}

#[test]
fn a_temporary_directory_behind_a_link_of_another_user_is_refused() {
    if !has_neighbour() {
        return;
    }
    let text = r#"
    temp_dir: "{dir}/theirs/spool",
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Proxy("up"))])],
    upstreams: {"up": (servers: ["127.0.0.1:9"])},"#;
    let mut setup = Setup::new(text);
    let (theirs, victim) = theirs(&setup.directory);
    let place = |path: &Path| {
        let _ = std::fs::remove_file(theirs.join("spool"));
        symlink(path, theirs.join("spool")).unwrap();
        lchown(theirs.join("spool"), Some(NOBODY), None).unwrap();
    };
    place(victim.0.parent().unwrap());
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    assert!(checked.code == Some(1) && checked.stderr.contains("is a symbolic link"), "{checked:?}");
    let ended = setup.run_to_end();
    assert!(ended.code == Some(1) && ended.stderr.contains("temp_dir: "), "{ended:?}");
    victim.assert_untouched();
}

#[test]
fn a_configuration_that_others_can_change_is_refused_by_root() {
    if !has_neighbour() {
        return;
    }
    let directory = Directory::new();
    let main = directory.write(
        "etc/hatchery.ron",
        "(control: \"/nonexistent/c.sock\", include: [\"sites/*.ron\"], sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204))])])\n",
    );
    let site = directory.write("etc/sites/one.ron", "(cron: [])\n");
    let (etc, sites) = (main.parent().unwrap().to_owned(), site.parent().unwrap().to_owned());
    let check = || hatchery(&directory, &["check", "-c", "etc/hatchery.ron"]);
    let good = |what: &str| {
        let checked = check();
        assert!(!checked.stderr.contains("become root;"), "{what}: {checked:?}");
    };
    good("as it is");
    let refused = |what: &str, path: &Path, remedy: &str| {
        let checked = check();
        assert_eq!(checked.code, Some(2), "{what}: {checked:?}");
        let remedy = match remedy.starts_with("ch") {
            true => format!("; {remedy} {}", path.display()),
            // Never somebody's home.
            false => format!("; {remedy}"),
        };
        assert!(checked.stderr.contains(&remedy), "{what}: no `{remedy}` in {checked:?}");
        let started = run(&directory, "etc/hatchery.ron");
        assert_eq!(started.code, Some(2), "{what}: {started:?}");
    };
    for file in [&main, &site] {
        mode(file, 0o646);
        refused("written by all", file, "chmod o-w");
        mode(file, 0o664);
        good("root's group");
        chown(file, None, Some(NOBODY)).unwrap();
        refused("written by a group", file, "chmod g-w");
        mode(file, 0o644);
        chown(file, Some(NOBODY), None).unwrap();
        refused("of another user", file, "chown root");
        chown(file, Some(0), Some(0)).unwrap();
    }
    for folder in [&etc, &sites] {
        mode(folder, 0o777);
        refused("in a directory of all", folder, "chmod o-w");
        mode(folder, 0o1777);
        good("in a sticky one");
        mode(folder, 0o755);
        chown(folder, Some(NOBODY), None).unwrap();
        refused("in a directory of another user", folder, "move the configuration to a directory of root's");
        chown(folder, Some(0), None).unwrap();
    }
    // A pattern that matches nothing yet.
    std::fs::remove_file(&site).unwrap();
    mode(&sites, 0o777);
    refused("a directory of a pattern", &sites, "chmod o-w");
}

#[test]
fn a_configuration_of_the_user_who_ran_sudo_or_of_a_container_is_read() {
    if !has_neighbour() {
        return;
    }
    let directory = Directory::new();
    let main = directory.write("hatchery.ron", "(control: \"/nonexistent/c.sock\", sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204))])])\n");
    let check = |sudo: &str| {
        let mut command = Command::new(binary());
        command.args(["config", "-c"]).arg(&main).env("SUDO_UID", sudo).env("SUDO_GID", sudo);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    chown(&main, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_eq!(check("65534").0, Some(0));
    assert_eq!(check("1").0, Some(2));
    chown(&main, Some(3_999_999_999), None).unwrap();
    let (code, _) = check("");
    assert_eq!(code, Some(0));
    let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
    assert_eq!(checked.stderr.matches("no account").count(), 1, "{checked:?}");
}

#[test]
fn a_configuration_that_all_can_write_is_a_warning_for_a_plain_user() {
    if !has_neighbour() {
        return;
    }
    let directory = Directory::new();
    mode(directory.path(), 0o755);
    let main = directory.write("hatchery.ron", "(control: \"/tmp/c.sock\", sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204))])])\n");
    mode(&main, 0o777);
    let mut command = Command::new(as_nobody()[0]);
    command.args(&as_nobody()[1..]).arg(binary()).args(["check", "-c"]).arg(&main).current_dir("/");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("every user can write the file (mode 0777)").count(), 1, "{said}");
}
