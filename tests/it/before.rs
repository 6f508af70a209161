//! `before`: commands that must succeed before an app boots.

use crate::harness::{Connection, Process, SOON, Server, Setup, get, hatchery, holds, wait_until};
use nix::sys::signal::Signal;

const APP: &str = "import os\ndef application(environ, start_response):\n    \
    start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [open('release').read().encode()]\n";

/// What is to be around it is checked by the command itself; it says so, and ends as the file `verdict` has it.
const CHECK: &str = "#!/bin/sh\necho \"checked $GREETING in $(basename \"$PWD\") with $VIRTUAL_ENV\"\n\
    echo run >>../runs\nsleep 1000 </dev/null >/dev/null 2>&1 & echo $! >../left\ntest ! -e ../hang || { sleep 1000 & echo $! >../sleeper; wait; }\nexit \"$(cat ../verdict)\"\n";

fn configuration(app: &str) -> String {
    format!(
        r#"
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/other", to: Respond(status: 200, body: "other")),
        (path: "/plain", to: App("plain")),
        (path: "/", to: App("shop")),
    ])],
    apps: {{
        "shop": (
            module: "shop", chdir: "{{dir}}/code", home: "{{venv}}", env: {{"GREETING": "hello"}}, {app}
            before: [["true"], ["./check.sh"]],
        ),
        "plain": (module: "app", chdir: "{{apps}}/plain"),
    }},"#
    )
}

fn setup(app: &str, verdict: u8) -> Setup {
    use std::os::unix::fs::PermissionsExt as _;
    let setup = Setup::new(&configuration(app));
    setup.directory.write("code/shop.py", APP);
    setup.directory.write("code/release", "one");
    setup.directory.write("verdict", verdict.to_string());
    let script = setup.directory.write("code/check.sh", CHECK);
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    setup
}

fn runs(server: &Server) -> usize {
    std::fs::read_to_string(server.directory().path().join("runs")).unwrap_or_default().lines().count()
}

#[test]
fn a_reload_whose_command_fails_is_refused_and_the_old_release_goes_on() {
    let server = setup("processes: 2,", 0).start().tolerant(&["must succeed", "reload failed"]);
    let venv = crate::harness::virtualenv();
    server.wait_log(&format!("app shop before: checked hello in code with {}", venv.display()));
    assert_eq!((get(server.address, "/").text(), runs(&server)), ("one".to_owned(), 1));
    let left = std::fs::read_to_string(server.directory().path().join("left")).unwrap();
    let left = Process::of(left.trim().parse().unwrap());
    assert!(left.is_none_or(|left| !left.is_alive()), "what a command leaves behind is ended");
    let before = server.wait_ready(SOON, "shop", 2);
    server.directory().write("verdict", "3");
    let refused = server.command(&["reload"]);
    let told = "app shop: before it boots `./check.sh` must succeed: exit 3; it had printed:";
    assert!(refused.code == Some(1) && refused.stderr.contains(told), "{refused:?}");
    assert!(refused.stderr.contains("checked hello in code"), "{refused:?}");
    assert_eq!((server.ready("shop"), runs(&server)), (before.clone(), 2));
    assert!(server.status().last_reload_error.unwrap().starts_with("app shop: before it boots"));
    let last = server.pool("shop").last_exit;
    assert_eq!(last.as_deref(), Some("before it boots `./check.sh` must succeed: exit 3"));
    // Mended, it goes on; neither what dies nor what is restarted asks again.
    server.directory().write("verdict", "0");
    assert_eq!(server.command(&["reload"]).code, Some(0));
    assert_eq!(server.pool("shop").last_exit, None, "it has succeeded since");
    let new = server.wait_ready(SOON, "shop", 2);
    assert!(new.iter().all(|process| !before.contains(process)) && runs(&server) == 3);
    assert_eq!(server.command(&["restart", "shop"]).code, Some(0));
    server.kill_and_wait("shop", server.ready("shop")[0], 2);
    assert_eq!(runs(&server), 3);
    let logged = server.command(&["logs", "shop"]);
    assert!(logged.stdout.contains("app shop before: checked hello"), "{logged:?}");
}

#[test]
fn a_start_whose_command_fails_is_that_of_an_app_that_does_not_boot() {
    let server = setup("", 1).start().tolerant(&["must succeed"]);
    assert_eq!(get(server.address, "/plain/hello").status, 200);
    let refused = get(server.address, "/");
    assert!(refused.status == 503 && refused.field("Retry-After").is_some(), "{refused:?}");
    server.wait_log("app shop: before it boots `./check.sh` must succeed: exit 1");
    server.directory().write("verdict", "0");
    wait_until(SOON, "it is tried again, and boots", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200, reply.status)
    });
    drop(server);
    let all = Setup::new(&(configuration("") + "start: AllOrNothing,"));
    all.directory.write("code/shop.py", APP);
    let mut all = all;
    let ended = all.run_to_end();
    assert!(ended.code == Some(1) && ended.stderr.contains("before it boots `./check.sh`"), "{ended:?}");
}

#[test]
fn one_that_hangs_is_ended_with_what_it_started_by_its_time_and_by_a_stop() {
    let mut server = setup("processes: (min: 0, max: 1), boot_timeout: \"1s\",", 0)
        .start()
        .tolerant(&["must succeed", "reload failed"]);
    assert_eq!(runs(&server), 1, "of an app that sleeps, too");
    server.directory().write("hang", "");
    let refused = server.command(&["reload"]);
    let told = "`./check.sh` must succeed: did not end within 1s";
    assert!(refused.code == Some(1) && refused.stderr.contains(told), "{refused:?}");
    assert_eq!(get(server.address, "/").text(), "one");
    server.configure(&configuration("processes: (min: 0, max: 1),"));
    server.master.signal(Signal::SIGHUP);
    wait_until(SOON, "it runs again", || holds(runs(&server) == 3, runs(&server)));
    let sleeper = server.directory().path().join("sleeper");
    let mut slow = Connection::open(server.address).unwrap();
    assert_eq!(slow.get("/other").unwrap().text(), "other");
    assert!(sleeper.exists());
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    server.assert_gone();
}

#[test]
fn check_looks_for_the_commands() {
    let setup = setup("", 0);
    let directory = setup.directory.path().display().to_string();
    setup.directory.write(
        "hatchery.ron",
        setup
            .replace(&configuration(""))
            .replace("[\"true\"]", "[\"pyton\", \"x\"]")
            .replacen("sites", "(sites", 1)
            + ")",
    );
    let checked = hatchery(&setup.directory, &["check"]);
    let told = "before[0]: there is no program `pyton`; it is neither in the app's virtualenv nor on PATH";
    assert!(checked.code == Some(1) && checked.stderr.contains(told), "{directory}: {checked:?}");
    assert!(!checked.stderr.contains("before[1]"), "{checked:?}");
    setup.directory.write("hatchery.ron", "(apps: {\"a\": (module: \"a\", before: [\"true\"])})");
    let checked = hatchery(&setup.directory, &["check"]);
    assert!(
        checked.code == Some(2) && checked.stderr.contains("each command is a list of its words"),
        "{checked:?}"
    );
}
