//! Variables from files: who has them, and who has not.

use crate::harness::{Process, SOON, Server, Setup, as_nobody, get, hatchery, holds, wait_until};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

const APP: &str = r#"
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(os.environ.get(environ["PATH_INFO"][1:], "-")).encode()]
"#;

/// An app, a daemon and a job, of which only the last two have files of their own.
fn everything(more: &str) -> String {
    format!(
        r#"sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("shop"))])],
        apps: {{"shop": (module: "shop", chdir: "{{dir}}", home: "{{venv}}", env_file: "app.env", env: {{"C": "env"}})}},
        daemons: {{"show": (command: ["sh", "-c", "echo daemon A=$A D=$D; exec sleep 1000"], app: "shop", env_file: ["d.env", "e.env"]),
                   "own": (command: ["sh", "-c", "echo own D=$D; exec sleep 1000"], env_file: "own.env")}},
        cron: [(name: "job", at: "@yearly", command: ["sh", "-c", "echo job A=$A B=$B"], app: "shop", env_file: "d.env")],
        {more}"#
    )
}

/// A name that nothing else in memory has.
const SECRET: &str = "correct-horse-8f3a1c27";

fn write(directory: &crate::harness::Directory, name: &str, text: &str) {
    let path = directory.write(name, text);
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn setup() -> Setup {
    let setup = Setup::new(&everything(""));
    setup.directory.write("shop.py", APP);
    write(&setup.directory, "app.env", &format!("# ours\nexport A={SECRET}\nB='one two'\nC=file\n"));
    write(&setup.directory, "d.env", "D=first\nB=job\n");
    write(&setup.directory, "e.env", "D=second\n");
    write(&setup.directory, "own.env", "D=before\n");
    setup
}

fn variable(server: &Server, name: &str) -> String {
    get(server.address, &format!("/{name}")).text()
}

#[test]
fn apps_daemons_and_jobs_have_what_their_files_say() {
    let server = setup().start();
    assert_eq!(["A", "B", "C", "D"].map(|name| variable(&server, name)), [SECRET, "one two", "env", "-"]);
    server.wait_log(&format!("daemon A={SECRET} D=second"));
    server.wait_log("own D=before");
    assert_eq!(server.command(&["cron", "run", "job"]).code, Some(0));
    server.wait_log(&format!("job A={SECRET} B=job"));
    // A reload reads them anew: a daemon without an app is replaced if its own file says something else.
    let own = || server.pool("own").children[0].pid;
    let before = own();
    write(server.directory(), "app.env", "A=other\n");
    server.hang_up();
    assert_eq!(["A", "B"].map(|name| variable(&server, name)), ["other", "-"]);
    server.wait_log("daemon A=other D=second");
    assert_eq!(own(), before);
    write(server.directory(), "own.env", "D=after\n");
    // A process that is started before the next reload has what was read at the last one.
    server.kill_and_wait("shop", server.ready("shop")[0], 1);
    assert_eq!(variable(&server, "A"), "other");
    server.hang_up();
    server.wait_log("own D=after");
    // So has one after an upgrade, whatever has become of the file.
    std::fs::remove_file(server.directory().path().join("app.env")).unwrap();
    server.master.signal(nix::sys::signal::Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    server.kill_and_wait("shop", server.ready("shop")[0], 1);
    assert_eq!(variable(&server, "A"), "other");
}

#[test]
fn a_file_that_is_of_no_use_stops_a_start_and_a_reload_and_is_told_with_its_line() {
    let mut setup = setup();
    write(&setup.directory, "app.env", &format!("A=1\n{SECRET}\n"));
    let shown = setup.directory.path().join("app.env");
    let what = format!("{}:2:1: apps.shop.env_file: a line without `=`; write NAME=value", shown.display());
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    assert!(checked.code == Some(1) && checked.stderr.contains(&what), "{checked:?}");
    let refused = setup.run_to_end();
    assert!(refused.code == Some(1) && refused.stderr.contains(&what), "{refused:?}");
    assert!(!format!("{checked:?}{refused:?}").contains(SECRET), "{checked:?}{refused:?}");
    std::fs::remove_file(&shown).unwrap();
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let what = "apps.shop.env_file: `";
    assert!(
        checked.code == Some(1) && checked.stderr.contains(what) && checked.stderr.contains("no such file"),
        "{checked:?}"
    );
    assert!(checked.stderr.contains("hatchery.ron:4:"), "{checked:?}");

    let server = self::setup().start().tolerant(&["reload failed"]);
    write(server.directory(), "e.env", "D='open\n");
    let failed = server.command(&["reload"]);
    assert!(
        failed.code == Some(1) && failed.stderr.contains("e.env:1:1: daemons.show.env_file: the value that"),
        "{failed:?}"
    );
    assert_eq!(variable(&server, "A"), SECRET);
    std::fs::set_permissions(server.directory().path().join("e.env"), Permissions::from_mode(0o604)).unwrap();
    write(server.directory(), "e.env", "D=2\n");
    std::fs::set_permissions(server.directory().path().join("e.env"), Permissions::from_mode(0o604)).unwrap();
    assert_eq!(server.command(&["reload"]).code, Some(0));
    let told = server.wait_log("every user can read its secrets");
    assert!(told.contains("e.env") && told.contains("(mode 0604); chmod o-r "), "{told}");
}

#[test]
fn a_path_from_a_file_is_that_of_check_as_of_what_runs() {
    let setup = setup();
    let tool = setup.directory.write("tools/tool", "#!/bin/sh\necho found\n");
    std::fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
    write(&setup.directory, "app.env", &format!("PATH={}\n", tool.parent().unwrap().display()));
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let missing = |key: &str| checked.stderr.contains(&format!("{key}.command: there is no program `sh`"));
    assert!(missing("daemons.show") && missing("cron[0]") && !missing("daemons.own"), "{checked:?}");
    let refused = hatchery(&setup.directory, &["exec", "show", "sh", "-c", "true"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("it was looked for in "), "{refused:?}");
    setup.configure(&everything("").replace("[\"sh\", \"-c\"", "[\"tool\""));
    let checked = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let missing = |key: &str| checked.stderr.contains(&format!("{key}.command: there is no program `tool`"));
    assert!(!missing("daemons.show") && !missing("cron[0]") && missing("daemons.own"), "{checked:?}");
    assert_eq!(hatchery(&setup.directory, &["exec", "show", "tool"]).stdout, "found\n");
}

/// Whether the memory of a process holds these bytes.
fn holds_in_memory(process: Process, wanted: &[u8]) -> bool {
    use std::os::unix::fs::FileExt as _;
    let memory = std::fs::File::open(format!("/proc/{}/mem", process.pid)).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap();
    let writable = maps.lines().filter(|line| line.contains(" rw"));
    let ranges = writable.filter_map(|line| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    });
    for (from, to) in ranges {
        let mut bytes = vec![0; (to - from) as usize];
        if memory.read_exact_at(&mut bytes, from).is_ok()
            && bytes.windows(wanted.len()).any(|part| part == wanted)
        {
            return true;
        }
    }
    false
}

#[test]
fn workers_config_status_and_log_have_none_of_it() {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can look into the memory of others");
        return;
    }
    let quiet =
        everything("").replace("echo daemon A=$A", "echo daemon").replace("echo job A=$A", "echo job");
    let before = setup();
    before.configure(&quiet);
    // So much that not all of it would be overwritten by chance.
    let large = format!("A={SECRET}\nB={}\n", SECRET.repeat(2000));
    write(&before.directory, "app.env", &large);
    let server = before.start();
    assert_eq!(variable(&server, "A"), SECRET);
    // Workers that are forked after processes were started with it.
    server.hang_up();
    assert_eq!(server.command(&["restart", "workers"]).code, Some(0));
    wait_until(SOON, "the app has it", || {
        let apps = server.ready("shop");
        holds(apps.iter().any(|app| holds_in_memory(*app, SECRET.as_bytes())), apps)
    });
    for process in server.ready("worker").into_iter().chain([server.master]) {
        assert!(!holds_in_memory(process, SECRET.as_bytes()), "{}", process.title());
        assert!(holds_in_memory(process, b"app.env"), "it is looked for in the right place");
    }
    for command in [&["status", "-v", "--json"][..], &["status", "-v"], &["logs", "shop"]] {
        assert!(!server.command(command).stdout.contains(SECRET), "{command:?}");
    }
    let config = hatchery(server.directory(), &["config", "-c", "hatchery.ron"]);
    assert!(config.stdout.contains("app.env") && !config.stdout.contains(SECRET), "{config:?}");
    assert!(!server.log().join("\n").contains(SECRET));
}

#[test]
fn a_pipe_in_place_of_a_file_holds_up_nobody() {
    let mut setup = setup();
    let path = setup.directory.path().join("d.env");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let refused = setup.run_to_end();
    assert!(refused.code == Some(1) && refused.stderr.contains("it is no file but"), "{refused:?}");
}

#[test]
fn root_reads_no_file_that_everybody_can_write_and_follows_no_link_of_another_user() {
    if as_nobody().is_empty() {
        eprintln!("nothing to test: only root can play another user");
        return;
    }
    let setup = setup().bind_itself();
    let check = || hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]).stderr;
    let path = setup.directory.path().join("app.env");
    std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(check().contains("every user can write it (mode 0666)"), "{}", check());
    std::fs::remove_file(&path).unwrap();
    write(&setup.directory, "root.env", "A=1\n");
    std::os::unix::fs::symlink("root.env", &path).unwrap();
    assert!(!check().contains("app.env"), "a link of root's own: {}", check());
    std::fs::remove_file(&path).unwrap();
    let theirs = setup.directory.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::symlink("../root.env", theirs.join("app.env")).unwrap();
    std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
    setup.configure(&everything("").replace("\"app.env\"", "\"theirs/app.env\""));
    assert!(check().contains("is a symbolic link"), "{}", check());
}
