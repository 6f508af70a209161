//! Who is on the other end of a socket.

use crate::harness::{Directory, as_nobody, binary, hatchery};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

const NOBODY: u32 = 65534;

/// Plays a master, and prints what it is told.
const IMPOSTOR: &str = r#"
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    told = client.recv(1000)
    if told == b"end":
        break
    if told:
        print(told.decode(), flush=True)
        client.sendall(b'{"answer":"done","text":"believe me"}\n')
    client.close()
"#;

/// A socket that nobody listens on, which is a user here.
struct Impostor(Child, BufReader<ChildStdout>);

impl Impostor {
    fn at(socket: &Path) -> Self {
        let words: Vec<&str> =
            as_nobody().iter().copied().chain(["/usr/bin/python3", "-c", IMPOSTOR]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(socket).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child, said)
    }

    /// What it was told until now.
    fn end(mut self, socket: &Path) -> String {
        use std::io::Write as _;
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(b"end").unwrap();
        let mut told = String::new();
        self.1.read_to_string(&mut told).unwrap();
        told.trim().to_owned()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

fn theirs(directory: &Directory) -> std::path::PathBuf {
    let path = directory.path().join("theirs");
    std::fs::create_dir(&path).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    path
}

#[test]
fn a_command_asks_no_master_of_another_user() {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can play another user");
        return;
    }
    let directory = Directory::new();
    let socket = theirs(&directory).join("control.sock");
    directory.write(
        "hatchery.ron",
        format!(
            "(control: \"{}\", sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204))])])\n",
            socket.display()
        ),
    );
    let impostor = Impostor::at(&socket);
    let shown = socket.to_str().unwrap();
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["stop"],
        &["reload", "--wait"],
        &["logs"],
        &["cron", "list"],
    ] {
        for where_it_is in [&["--control", shown][..], &["-c", "hatchery.ron"]] {
            let words: Vec<&str> = command.iter().chain(where_it_is).copied().collect();
            let asked = hatchery(&directory, &words);
            assert_eq!(asked.code, Some(1), "{words:?}: {asked:?}");
            assert!(
                asked.stderr.contains("the user `nobody` listens on") && asked.stderr.contains(shown),
                "{asked:?}"
            );
            assert!(!asked.stdout.contains("believe me"), "{asked:?}");
        }
    }
    // It is no master whose addresses are left alone, nor one whose place is taken over.
    let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
    assert!(!checked.stderr.contains("a master runs"), "{checked:?}");
    let started = hatchery(&directory, &["run", "-c", "hatchery.ron"]);
    assert!(started.code == Some(1) && started.stderr.contains(shown), "{started:?}");
    assert_eq!(impostor.end(&socket), "");
}

#[test]
fn nor_in_the_default_places() {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can play another user");
        return;
    }
    // A third user, whose place nobody was the first to make.
    let directory = Directory::new();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let runtime = theirs(&directory);
    let ask = |arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid=65533", "--regid=65533", "--clear-groups", "--"])
            .arg(binary())
            .args(arguments)
            .current_dir(directory.path())
            .env("XDG_RUNTIME_DIR", &runtime)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // The place is told when nobody listens there.
    let (_, said) = ask(&["stop"]);
    let place = said.split_once("listens on ").and_then(|(_, rest)| rest.split_once(": is it running?"));
    let socket = std::path::PathBuf::from(place.expect("the place").0);
    assert_eq!(socket.parent(), Some(&*runtime));
    let impostor = Impostor::at(&socket);
    for command in ["top", "stop", "reload"] {
        let (code, said) = ask(&[command]);
        assert!(
            code == Some(1) && said.contains("the user `nobody` listens on"),
            "{command}: {code:?} {said}"
        );
    }
    // Nor does a master of that user make its own socket there.
    let (code, said) = ask(&["serve", ".", "--http", "127.0.0.1:0"]);
    assert!(code == Some(1) && said.contains("belongs to the user `nobody`"), "{code:?} {said}");
    assert_eq!(impostor.end(&socket), "");
}

/// Listens with a queue of one, which is full, and takes nobody.
const DEAF: &str = r#"
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen(0)
first = socket.socket(socket.AF_UNIX)
first.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(1000)
"#;

#[test]
fn a_command_does_not_wait_in_the_queue_of_a_stranger() {
    let directory = Directory::new();
    let socket = directory.path().join("control.sock");
    let python = ["/usr/bin/python3", "-c", DEAF];
    let mut child = Command::new(python[0])
        .args(&python[1..])
        .arg(&socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ended: Vec<_> = ["stop", "status", "reload"]
        .map(|command| {
            let mut words = Command::new("timeout");
            words.arg("20").arg(binary()).args([command, "--control"]).arg(&socket);
            words.stdin(Stdio::null()).output().unwrap()
        })
        .into();
    child.kill().unwrap();
    child.wait().unwrap();
    for output in ended {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("does not answer"), "{output:?}");
    }
}
