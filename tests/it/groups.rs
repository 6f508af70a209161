//! Who may use the control socket and Unix listeners. Only root can play several users.

use crate::harness::{Server, Setup, as_nobody, binary, hatchery};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// A group that every Linux has, with the number 1.
const GROUP: &str = "daemon";

fn is_alone() -> bool {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can play another user");
    }
    as_nobody().is_empty()
}

fn site(listen: &str) -> String {
    format!(
        "sites: [(listen: [\"{{address}}\", {listen}], locations: [(path: \"/\", to: Respond(status: 204))])],"
    )
}

/// A server with this control socket in place of the usual one.
fn controlled(control: &str) -> Setup {
    let setup = Setup::new(&site(""));
    let text = std::fs::read_to_string(setup.directory.path().join("hatchery.ron")).unwrap();
    let usual = setup.replace("control: \"{dir}/control.sock\"");
    assert!(text.contains(&usual), "{text}");
    setup.directory.write("hatchery.ron", text.replace(&usual, &setup.replace(control)));
    setup
}

/// The command as a user of these groups: exit code and what it said.
fn ask(server: &Server, groups: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", groups, "--"])
        .arg(binary())
        .args(arguments)
        .current_dir(server.directory().path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn mode(server: &Server, name: &str) -> (u32, u32) {
    let found = std::fs::metadata(server.directory().path().join(name)).unwrap();
    (found.mode() & 0o777, found.gid())
}

#[test]
fn a_group_gives_commands_and_nobody_else_does() {
    if is_alone() {
        return;
    }
    let server =
        controlled(&format!("control: (path: \"{{dir}}/control.sock\", group: \"{GROUP}\")")).start();
    let directory = server.directory().path();
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(mode(&server, "control.sock"), (0o660, 1));
    // It is one of several groups of the user; the file says where the socket is, or the command does.
    for place in [&["-c", "hatchery.ron"][..], &["--control", "control.sock"]] {
        for command in ["status", "reload"] {
            let words = [&[command], place].concat();
            let (code, said) = ask(&server, "--groups=65533,1", &words);
            assert_eq!(code, Some(0), "{words:?}: {said}");
            let (code, said) = ask(&server, "--clear-groups", &words);
            let lacking = "that is for root and the group `daemon`, in which you are not";
            assert!(code == Some(1) && said.contains(lacking), "{words:?}: {said}");
        }
    }
    std::fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    let whole = directory.join("control.sock");
    let (_, said) = ask(&server, "--groups=1", &["status", "--control", whole.to_str().unwrap()]);
    assert!(said.contains(&format!("you may not enter the directory {}", directory.display())), "{said}");
}

#[test]
fn without_a_group_the_socket_is_root_s_alone() {
    if is_alone() {
        return;
    }
    let server = Setup::new(&site("")).start();
    std::fs::set_permissions(server.directory().path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(mode(&server, "control.sock").0, 0o600);
    let (code, said) = ask(&server, "--groups=1", &["status", "--control", "control.sock"]);
    assert!(code == Some(1) && said.contains("that is for root alone (`control: ("), "{said}");
}

#[test]
fn check_tells_of_groups_that_are_not_there_or_do_not_come_to_their_socket() {
    if is_alone() {
        return;
    }
    let setup = controlled("control: (path: \"{dir}/control.sock\", group: \"no-such-group\")");
    let check = || hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let missing = check();
    let place = "hatchery.ron:2:";
    let what = "control.group: there is no group `no-such-group`; create it: groupadd --system no-such-group";
    assert!(
        missing.code == Some(1) && missing.stderr.contains(place) && missing.stderr.contains(what),
        "{missing:?}"
    );
    let mut setup = controlled("control: (path: \"{dir}/control.sock\", group: \"no-such-group\")");
    let refused = setup.run_to_end();
    assert!(refused.code == Some(1) && refused.stderr.contains(what), "{refused:?}");

    let listen = format!("(address: \"unix:{{dir}}/x.sock\", mode: \"0660\", group: \"{GROUP}\")");
    let setup = Setup::new(&site(&listen)).bind_itself();
    let check = || hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    std::fs::set_permissions(setup.directory.path(), Permissions::from_mode(0o700)).unwrap();
    let closed = check();
    let shown = setup.directory.path().display();
    let what = format!("sites[0].listen[1].group: the group `daemon` has no right to enter `{shown}`");
    assert!(closed.code == Some(1) && closed.stderr.contains(&what), "{closed:?}");
    std::fs::set_permissions(setup.directory.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(check().code, Some(0));
}

/// Other settings of the socket, or none, for a reload.
fn control(server: &Server, settings: &str) {
    let path = server.directory().path().join("hatchery.ron");
    let text = std::fs::read_to_string(&path).unwrap();
    let settings = settings.replace("{dir}", server.directory().path().to_str().unwrap());
    let changed =
        text.lines().map(|line| if line.trim_start().starts_with("control:") { &settings } else { line });
    std::fs::write(&path, changed.collect::<Vec<_>>().join("\n")).unwrap();
}

#[test]
fn a_reload_lets_another_group_give_commands() {
    if is_alone() {
        return;
    }
    let server = Setup::new(&site("")).start().tolerant(&["reload failed"]);
    let reload = || server.command(&["reload"]);
    let of = |group: &str| format!("control: (path: \"{{dir}}/control.sock\", group: \"{group}\"),");
    let own = mode(&server, "control.sock");
    control(&server, &of(GROUP));
    assert_eq!(reload().stdout, "generation 2 serves\n");
    assert_eq!(mode(&server, "control.sock"), (0o660, 1));
    control(&server, &of("no-such-group"));
    let refused = reload();
    let what = "control.group: there is no group `no-such-group`";
    assert!(refused.code == Some(1) && refused.stderr.contains(what), "{refused:?}");
    assert_eq!(mode(&server, "control.sock"), (0o660, 1));
    control(&server, "control: \"{dir}/control.sock\",");
    assert_eq!(reload().code, Some(0));
    assert_eq!(mode(&server, "control.sock"), own);
}

#[test]
fn a_reload_says_that_another_path_waits_for_the_next_start() {
    let server = Setup::new(&site("")).start();
    let reload = || server.command(&["reload"]).stdout;
    control(&server, "control: \"{dir}/other.sock\", pid_file: \"{dir}/x.pid\",");
    let later = "generation 2 serves; a change takes effect at the next start: control, pid_file\n";
    assert_eq!(reload(), later);
    control(&server, "control: \"{dir}/control.sock\",");
    assert_eq!(reload(), "generation 3 serves\n", "what runs");
}

/// What a server answers over that socket.
fn answer(server: &Server) -> String {
    let mut stream = UnixStream::connect(server.directory().path().join("x.sock")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_reload_gives_a_unix_listener_another_mode_and_group_once_it_serves() {
    if is_alone() {
        return;
    }
    let of = |rest: &str| site(&format!("(address: \"unix:{{dir}}/x.sock\"{rest})"));
    let server = Setup::new(&of(", mode: \"0640\"")).start().tolerant(&["reload failed"]);
    let number = |server: &Server| std::fs::metadata(server.directory().path().join("x.sock")).unwrap().ino();
    let (first, own) = (number(&server), mode(&server, "x.sock").1);
    assert_eq!(mode(&server, "x.sock").0, 0o640);
    server.configure(&of(&format!(", mode: \"0660\", group: \"{GROUP}\"")));
    server.hang_up();
    assert_eq!(mode(&server, "x.sock"), (0o660, 1));
    assert!(server.log().iter().any(|line| line.contains("has the mode 0660")), "{:?}", server.log());
    // A reload that is refused changes nothing.
    server.configure(&(of("") + "user: \"no-such-user\","));
    assert_eq!(server.command(&["reload"]).code, Some(1));
    server.configure(&(of(", group: \"no-such-group\"")));
    let refused = server.command(&["reload"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("there is no group `no-such-group`"),
        "{refused:?}"
    );
    assert_eq!(mode(&server, "x.sock"), (0o660, 1));
    server.configure(&of(""));
    server.hang_up();
    assert_eq!(mode(&server, "x.sock"), (0o666, own));
    assert_eq!(number(&server), first, "the socket is the same all the time");
    assert!(answer(&server).starts_with("HTTP/1.1 204"), "{}", answer(&server));
}

#[test]
fn an_upgrade_leaves_a_unix_listener_as_it_is() {
    if is_alone() {
        return;
    }
    let listen = format!("(address: \"unix:{{dir}}/x.sock\", mode: \"0660\", group: \"{GROUP}\")");
    let server = Setup::new(&site(&listen)).start();
    server.master.signal(nix::sys::signal::Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    assert_eq!(mode(&server, "x.sock"), (0o660, 1));
    server.hang_up();
    assert_eq!(mode(&server, "x.sock"), (0o660, 1));
    assert!(answer(&server).starts_with("HTTP/1.1 204"));
}
