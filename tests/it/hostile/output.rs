//! What children print and say: it stays theirs, in the log and on a terminal, and there is never more of it than others
//! can stand.

use crate::harness::{SOON, Server, Setup, get, hatchery, holds, now, wait_until};
use std::time::Duration;

/// Looks like a line of ours, and steers the terminal, in each way that there is. In Python's notation.
const FORGED: &str = r"first\n2026-01-31T12:00:00Z ERROR hatchery: forged\r<3>forged\x1b]0;title\x07\x1b[2J\x9b2J\u202eforged\u2028forged\u2066\x7f\x00end";

fn configuration(apps: &[&str]) -> String {
    let locations: String =
        apps.iter().map(|app| format!("(path: \"/{app}\", to: App(\"{app}\")), ")).collect();
    let entry = |app: &&str| {
        format!("\"{app}\": (module: \"{app}\", chdir: \"{{dir}}\", processes: 1, boot_timeout: \"20s\"), ")
    };
    let entries: String = apps.iter().map(entry).collect();
    format!(
        "    workers: (processes: 1),\n    sites: [(listen: [\"{{address}}\"], locations: [{locations}])],\n    \
         apps: {{{entries}}},"
    )
}

/// An app that does something before it answers.
fn app(does: &str) -> String {
    format!(
        "import gc, os, sys, threading\n\
         FORGED = '{FORGED}'\n\
         def host():\n    return next(one for one in gc.get_objects() if type(one).__name__ == 'Host')\n\
         def application(environ, start_response):\n    {does}\n    start_response('200 OK', [])\n    \
         return [b'served']\n"
    )
}

fn started(apps: &[(&str, &str)]) -> Server {
    let names: Vec<&str> = apps.iter().map(|(name, _)| *name).collect();
    let setup = Setup::new(&configuration(&names));
    for (name, does) in apps {
        setup.directory.write(format!("{name}.py"), app(does));
    }
    // The harness looks for lines of level ERROR as others would be deceived.
    setup.start().tolerant(&["forged"])
}

/// Nothing in it steers a terminal, or reorders what is read.
#[track_caller]
fn assert_harmless(text: &str) {
    let steers = |char: char| {
        let code = u32::from(char);
        (code < 0x20 && !matches!(char, '\n' | '\t'))
            || (0x7f..0xa0).contains(&code)
            || (0x2028..=0x202e).contains(&code)
            || (0x2066..=0x2069).contains(&code)
    };
    assert!(!text.contains(steers), "{text:?}");
}

/// Lines that were forged, and look it.
#[track_caller]
fn assert_not_forged(text: &str) {
    assert_harmless(text);
    assert!(text.contains("forged"), "{text:?}");
    for line in text.lines().filter(|line| line.contains("forged")) {
        assert!(!line.starts_with("2026-01-31T12:00:00Z ERROR") && !line.starts_with("<3>"), "{line:?}");
    }
}

#[test]
fn what_an_app_prints_is_never_a_line_of_ours() {
    let server = started(&[("shop", "print(FORGED); os.write(2, b'\\xff\\xc2\\x9b2J end of raw\\n')")]);
    assert_eq!(get(server.address, "/shop").text(), "served");
    server.wait_log("end of raw");
    let log = server.log();
    let printed: Vec<_> = log.iter().filter(|line| line.contains("forged")).collect();
    assert!(printed.iter().all(|line| line.contains(" hatchery: app shop 0: ")), "{printed:#?}");
    assert_not_forged(&log.join("\n"));
    let shown = server.command(&["logs", "shop"]).stdout;
    assert_not_forged(&shown);
    assert!(shown.lines().all(|line| line.starts_with("app shop 0: ")), "{shown}");
}

#[test]
fn the_reason_of_a_failure_is_shown_and_is_not_obeyed() {
    let server = started(&[("shop", "pass")]).tolerant(&["reload failed"]);
    server.directory().write("shop.py", format!("raise RuntimeError('{FORGED}')\n"));
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!(reload.code, Some(1));
    assert_not_forged(&reload.stderr);
    server.wait_log("hatchery: forged");
    assert_not_forged(&server.log().join("\n"));
    for line in server.log().iter().filter(|line| line.contains("12:00:00Z ERROR hatchery: forged")) {
        assert!(
            line.contains("Z ERROR hatchery:     | "),
            "a line after the first one of a record is marked: {line:?}"
        );
    }
    assert_not_forged(&server.command(&["status"]).stdout);
    let json = server.command(&["status", "--json"]).stdout;
    assert_harmless(&json);
    assert!(server.status().last_reload_error.unwrap().contains("forged"), "{json}");
    let directory = server.directory();
    let checked = hatchery(directory, &["check", "-c", "hatchery.ron"]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert_not_forged(&checked.stderr);
}

#[test]
fn an_app_that_fails_the_start_writes_no_line_of_its_own() {
    let mut setup = Setup::new(&configuration(&["shop"]));
    setup.directory.write("shop.py", format!("raise RuntimeError('{FORGED}')\n"));
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_not_forged(&ended.stderr);
}

#[test]
fn cron_jobs_and_daemons_are_no_better() {
    let setup = Setup::new(
        "    workers: (processes: 1),\n    \
         sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 204))])],\n    \
         daemons: {\"loud\": (command: [\"sh\", \"{dir}/print.sh\", \"wait\"], ready_after: \"100ms\")},\n    \
         cron: [(name: \"job\", at: \"0 0 1 1 *\", command: [\"sh\", \"{dir}/print.sh\"])],",
    );
    let script = "printf '2026-01-31T12:00:00Z ERROR hatchery: forged\\n\\033[2J\\302\\2332J\\r<3>forged\\377\\n'\n\
                  if [ \"$1\" ]; then exec sleep 1000; fi\n";
    setup.directory.write("print.sh", script);
    let server = setup.start().tolerant(&["forged"]);
    assert_eq!(server.command(&["cron", "run", "job"]).code, Some(0));
    wait_until(SOON, "the job has run", || holds(!server.job("job").history.is_empty(), server.log()));
    for name in ["daemon loud 0", "cron job"] {
        server.wait_log(&format!("hatchery: {name}: \\x1b[2J"));
    }
    assert_not_forged(&server.log().join("\n"));
    assert_not_forged(&server.command(&["logs"]).stdout);
    assert_harmless(&server.command(&["cron", "history", "job"]).stdout);
}

#[test]
fn a_flood_of_output_is_bounded_and_holds_up_nobody() {
    let flood = "threading.Thread(target=flood, daemon=True).start()";
    let server = started(&[("loud", flood), ("quiet", "pass")]);
    let code = app(flood) + "def flood():\n    while True:\n        os.write(1, b'x' * 99 + b'\\n')\n";
    server.directory().write("loud.py", code);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let began = now();
    assert_eq!(get(server.address, "/loud").text(), "served");
    wait_until(SOON, "what was dropped is told", || {
        assert_eq!(get(server.address, "/quiet").text(), "served");
        assert_eq!(get(server.address, "/loud").text(), "served");
        let asked = now();
        server.status();
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        let told = server.log().iter().filter(|line| line.contains("of output dropped: more than")).count();
        holds(told >= 2, told)
    });
    let log = server.log();
    let logged = log.iter().filter(|line| line.contains(": xxx")).count() as u64;
    // A burst of a MiB, that is 10,486 such lines, at most 1,000 lines a second, and some seconds for a busy machine.
    let most = 10_500 + 1000 * (began.elapsed().as_secs() + 3);
    assert!(logged > 1000 && logged < most, "{logged} of at most {most}");
    let told = log.iter().find(|line| line.contains("of output dropped: more than")).unwrap();
    assert!(told.contains(" WARN  hatchery: app loud "), "{told}");
}

#[test]
fn a_burst_of_output_is_logged_to_its_last_line() {
    let server = started(&[("shop", "os.write(1, b''.join(b'line %d\\n' % n for n in range(9000)))")]);
    assert_eq!(get(server.address, "/shop").text(), "served");
    server.wait_log("line 8999");
    let log = server.log();
    assert_eq!(log.iter().filter(|line| line.contains(": line ")).count(), 9000);
    assert!(!log.iter().any(|line| line.contains("dropped")));
}

/// Python that sends its output from a socket into which nothing ever comes: who splices into a pipe holds the lock that
/// its reader needs.
const HOLDER: &str = r#"
import ctypes, os, socket
silent, ours = socket.socketpair()
libc = ctypes.CDLL(None, use_errno=True)
print("it holds", flush=True)
while libc.splice(ours.fileno(), None, 1, None, 4096, 0) >= 0:
    pass
libc.sendfile(1, ours.fileno(), None, 4096)
silent.recv(1)
"#;

#[test]
fn what_is_printed_from_where_nothing_comes_holds_up_nobody() {
    if !hatchery::sys::rights::can_be_refused() {
        eprintln!("nothing to test: before Linux 6.16 output comes over pipes");
        return;
    }
    let setup = Setup::new(
        r#"
    shutdown_timeout: "1s",
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],
    daemons: {"holder": (command: ["{venv}/bin/python", "holder.py"])},"#,
    );
    setup.directory.write("holder.py", HOLDER);
    let mut server = setup.start();
    server.wait_log("it holds");
    // Each of these is an answer of the master, which reads the daemon's output in between.
    for _ in 0..3 {
        assert_eq!(server.status().mode, "running");
    }
    assert_eq!(server.command(&["restart", "holder"]).code, Some(0));
    assert_eq!(server.end(nix::sys::signal::Signal::SIGTERM), Some(0));
}
