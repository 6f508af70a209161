//! `preload`: one template imports the app, and its processes are forked from it.

use crate::harness::{Load, Process, SOON, Server, Setup, get, holds, wait_until};
use hatchery::control::command::TemplateStatus;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;

/// It keeps what was true at its import: the process and a random number.
const SITE: &str = r#"
import os, random, sys, threading, time, uuid
LEAK = []
IMPORTED = (os.getpid(), uuid.uuid4().hex)
print("imported", *IMPORTED)
def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/exit':
        os._exit(7)
    if path == '/hang':
        stuck_in_the_view()
    if path == '/print':
        print("printed by", os.getpid())
        print("and told by", os.getpid(), file=sys.stderr)
    if path == '/leak':
        LEAK.append(bytearray(b'y') * (80 << 20))
    text = {
        '/imported': "%d %s" % IMPORTED,
        '/random': "%d %r" % (os.getpid(), random.random()),
        '/tree': "%d %d %d" % (os.getpid(), os.getppid(), os.getpgid(0)),
        '/open': ' '.join(sorted(os.readlink('/proc/self/fd/' + fd) for fd in '012')),
        '/user': "%r" % ((os.getuid(), os.geteuid(), os.getgid(), os.getgroups()),),
        '/leak': str(os.getpid()),
        '/threads': "%d" % threading.active_count(),
    }.get(path, VERSION)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [text.encode()]

def stuck_in_the_view():
    time.sleep(3)

VERSION = 'one'
"#;

fn configuration(app: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: App("site"))])],
    apps: {{"site": (module: "site_of_test", chdir: "{{dir}}", home: "{{venv}}", preload: true, {app})}},"#
    )
}

fn setup(app: &str) -> Setup {
    let setup = Setup::new(&configuration(app));
    setup.directory.write("site_of_test.py", SITE);
    setup
}

fn text(server: &Server, path: &str) -> String {
    get(server.address, path).text().to_owned()
}

/// The one template, once it is ready.
#[track_caller]
fn template(server: &Server) -> TemplateStatus {
    wait_until(SOON, "one template is ready", || {
        let templates = server.pool("site").templates;
        match templates.as_slice() {
            [template] if template.state == "ready" => Ok(template.clone()),
            _ => Err(format!("{templates:?}")),
        }
    })
}

fn imports(server: &Server) -> usize {
    server.wait_log(": imported ");
    server.log().iter().filter(|line| line.contains(": imported ")).count()
}

#[test]
fn processes_come_from_one_import_and_are_children_like_any_other() {
    let server = setup("processes: 3").start();
    let processes = server.wait_ready(SOON, "site", 3);
    let template = template(&server);
    server.wait_log("imported ");
    assert_eq!(imports(&server), 1, "{:#?}", server.log());
    assert!(text(&server, "/imported").starts_with(&format!("{} ", template.pid)));
    let tree = text(&server, "/tree");
    let tree: Vec<u32> = tree.split(' ').map(|number| number.parse().unwrap()).collect();
    assert!(processes.iter().any(|process| process.pid == tree[0]));
    assert_eq!((tree[1], tree[2]), (server.master.pid, tree[0]), "parent and process group");
    let title = |process: &Process| process.title();
    for (slot, process) in processes.iter().enumerate() {
        assert_eq!(title(process), format!("hatchery: app site {slot} gen 1"));
    }
    let found = Process::of(template.pid).unwrap();
    assert_eq!(title(&found), "hatchery: app site template gen 1");
    assert_eq!(server.master.descendants().len(), 5, "master, worker, template and three processes");
    let open = text(&server, "/open");
    assert!(["pipe:", "socket:"].iter().any(|kind| open.starts_with(&format!("/dev/null {kind}"))), "{open}");
    assert_eq!(text(&server, "/threads"), "1");
    let shown = server.command(&["status", "-v"]).stdout;
    assert!(
        shown.contains(&format!("{}    1  ready", template.pid)) && shown.contains("  template\n"),
        "{shown}"
    );
}

#[test]
fn what_a_process_prints_has_its_name() {
    let server = setup("processes: 1").start();
    let pid = server.wait_ready(SOON, "site", 1)[0].pid;
    text(&server, "/print");
    assert!(server.wait_log(&format!("printed by {pid}")).contains("app site 0: "));
    assert!(server.wait_log(&format!("and told by {pid}")).contains("app site 0: "));
    assert!(server.wait_log("imported ").contains("app site template: "));
}

#[test]
fn two_processes_draw_different_random_numbers() {
    let server = setup("processes: 2").start();
    server.wait_ready(SOON, "site", 2);
    let mut seen = BTreeSet::new();
    let mut processes = BTreeSet::new();
    wait_until(SOON, "both have answered", || {
        let load = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| text(&server, "/random"))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
        });
        for answer in load {
            let (pid, number) = answer.split_once(' ').unwrap();
            processes.insert(pid.to_owned());
            assert!(seen.insert(number.to_owned()), "{number} came twice");
        }
        holds(processes.len() == 2, &processes)
    });
}

#[test]
fn a_dead_process_is_replaced_from_the_template_and_its_exit_is_told() {
    let server = setup("processes: 2").start().tolerant(&["/exit"]);
    let before = server.wait_ready(SOON, "site", 2);
    let template = template(&server);
    server.kill_and_wait("site", before[0], 2);
    assert!(server.pool("site").last_exit.is_some_and(|exit| exit.contains("SIGKILL")));
    assert_eq!(get(server.address, "/exit").status, 502);
    wait_until(SOON, "the exit is told", || {
        let pool = server.pool("site");
        holds(pool.last_exit.as_deref() == Some("exit 7"), pool)
    });
    server.wait_ready(SOON, "site", 2);
    assert!(text(&server, "/imported").starts_with(&format!("{} ", template.pid)));
    assert_eq!(imports(&server), 1);
}

#[test]
fn a_dead_template_costs_nothing_and_comes_back() {
    let server = setup("processes: 2").start();
    let before = server.wait_ready(SOON, "site", 2);
    let old = template(&server);
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(50);
    Process::of(old.pid).unwrap().signal(Signal::SIGKILL);
    wait_until(SOON, "another template is ready", || {
        let templates = server.pool("site").templates;
        holds(templates.len() == 1 && templates[0].pid != old.pid && templates[0].state == "ready", templates)
    });
    load.wait_for(50);
    load.finish().assert_flawless();
    assert_eq!(server.ready("site"), before);
    server.wait_log("its processes go on");
    let new = template(&server);
    assert_eq!(new.restarts, 1);
    assert!(new.last_exit.as_deref().is_some_and(|exit| exit.contains("SIGKILL")), "{new:?}");
    let shown = server.command(&["status", "-v"]).stdout;
    assert!(shown.contains("  template  crashes 1  last exit: killed by SIGKILL"), "{shown}");
    // And is used.
    server.kill_and_wait("site", before[0], 2);
    server.kill_and_wait("site", before[1], 2);
    assert!(text(&server, "/imported").starts_with(&format!("{} ", template(&server).pid)));
}

#[test]
fn a_reload_brings_new_code_and_loses_no_request() {
    let server = setup("processes: 2").start();
    server.wait_ready(SOON, "site", 2);
    let old = template(&server);
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(50);
    server.directory().write("site_of_test.py", SITE.replace("'one'", "'two'"));
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    load.wait_for(50);
    load.finish().assert_flawless();
    assert_eq!(text(&server, "/"), "two");
    server.wait_ready(SOON, "site", 2);
    let new = template(&server);
    assert_eq!((old.generation, new.generation), (1, 2));
    wait_until(SOON, "the old template is gone", || holds(Process::of(old.pid).is_none(), old.pid));
}

#[test]
fn broken_code_keeps_the_old_generation_and_its_traceback_comes_once() {
    let server = setup("processes: 3").start().tolerant(&["reload failed"]);
    let before = server.wait_ready(SOON, "site", 3);
    let old = template(&server);
    server.directory().write("site_of_test.py", format!("{SITE}\nraise ValueError('broken on purpose')\n"));
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!(reload.code, Some(1), "{reload:?}");
    let told = reload.stdout + &reload.stderr;
    assert!(told.contains("site_of_test.py") && told.contains("broken on purpose"), "{told}");
    assert_eq!(server.ready("site"), before);
    assert_eq!(template(&server).pid, old.pid);
    assert_eq!(text(&server, "/"), "one");
    server.directory().write("site_of_test.py", SITE.replace("'one'", "'two'"));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(text(&server, "/"), "two");
    // Everything before that line is in the log by then.
    server.wait_log("reload: generation");
    let log = server.log();
    assert_eq!(log.iter().filter(|line| line.contains("Traceback")).count(), 1, "{log:#?}");
}

#[test]
fn a_start_with_broken_code_says_why() {
    let mut broken = setup("processes: 2");
    broken.directory.write("site_of_test.py", "import no_such_module_here\n");
    let ended = broken.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("No module named 'no_such_module_here'"), "{}", ended.stderr);
    let mut killed = setup("processes: 2");
    killed.directory.write("site_of_test.py", "import os; print('last words', flush=True); os._exit(9)\n");
    let ended = killed.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("ended before it was ready (exit 9)"), "{}", ended.stderr);
    assert!(ended.stderr.contains("last words"), "{}", ended.stderr);
    let mut hanging = setup("boot_timeout: \"300ms\"");
    hanging.directory.write("site_of_test.py", "import time; time.sleep(60)\n");
    let ended = hanging.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("did not become ready within 300ms"), "{}", ended.stderr);
    let venv = configuration("").replace("{venv}", "{dir}/no-such-venv");
    let mut missing = Setup::new(&venv);
    missing.directory.write("site_of_test.py", SITE);
    let ended = missing.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no-such-venv"), "{}", ended.stderr);
}

#[test]
fn an_app_that_starts_threads_is_not_forked() {
    let setup = setup("processes: 2");
    let threads = "\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n";
    setup.directory.write("site_of_test.py", format!("{SITE}{threads}"));
    let server = setup.start();
    server.wait_ready(SOON, "site", 2);
    server.wait_log("its import starts threads (2 now), so it cannot be forked and `preload` is off");
    wait_until(SOON, "there is no template", || {
        let templates = server.pool("site").templates;
        holds(templates.is_empty(), templates)
    });
    let imported = text(&server, "/imported");
    let itself = |process: &Process| imported.starts_with(&format!("{} ", process.pid));
    assert!(server.ready("site").iter().any(itself), "{imported}");
    // Not tried again for each process.
    let first = server.ready("site")[0];
    server.kill_and_wait("site", first, 2);
    assert_eq!(server.log().iter().filter(|line| line.contains("starts threads")).count(), 1);
    assert_eq!(server.log().iter().filter(|line| line.contains("template: imported")).count(), 1);
}

#[test]
fn a_sleeping_app_keeps_its_template_or_nothing() {
    let nothing = setup("processes: (min: 0, max: 2), idle: \"200ms\"").start();
    assert_eq!(nothing.pool("site").templates, []);
    let first = text(&nothing, "/imported");
    wait_until(SOON, "all of it is gone", || {
        let pool = nothing.pool("site");
        holds(pool.children.is_empty() && pool.templates.is_empty(), pool)
    });
    assert_ne!(text(&nothing, "/imported"), first);

    let kept = setup("processes: (min: 0, max: 2), idle: \"200ms\", keep: Template").start();
    let before = template(&kept);
    assert_eq!(kept.pool("site").children, [], "nobody has asked yet");
    let first = text(&kept, "/imported");
    wait_until(SOON, "its processes are gone", || {
        let pool = kept.pool("site");
        holds(pool.children.is_empty() && pool.state == "asleep", pool)
    });
    assert_eq!(text(&kept, "/imported"), first);
    assert_eq!(template(&kept).pid, before.pid);
    // A reload of a sleeping app makes a template of the new code.
    wait_until(SOON, "its processes are gone again", || {
        let pool = kept.pool("site");
        holds(pool.children.is_empty() && pool.state == "asleep", pool)
    });
    kept.directory().write("site_of_test.py", SITE.replace("'one'", "'two'"));
    assert_eq!(kept.command(&["reload", "--wait"]).code, Some(0));
    wait_until(SOON, "a template of the new generation", || {
        let template = template(&kept);
        holds(template.generation == 2, template)
    });
    assert_eq!(text(&kept, "/"), "two");
}

#[test]
fn a_reload_proves_a_sleeping_app_whose_template_stays() {
    let server = setup("processes: (min: 0, max: 2), keep: Template").start().tolerant(&["reload failed"]);
    let before = template(&server);
    let imported = imports(&server);
    server.directory().write("site_of_test.py", format!("{SITE}\nraise ValueError('broken on purpose')\n"));
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!(reload.code, Some(1), "{reload:?}");
    let told = reload.stdout + &reload.stderr;
    assert!(told.contains("app site: ") && told.contains("broken on purpose"), "{told}");
    let same = wait_until(SOON, "the new template is gone", || {
        let templates = server.pool("site").templates;
        if templates.len() == 1 { Ok(templates[0].pid) } else { Err(format!("{templates:?}")) }
    });
    assert_eq!((same, server.status().generation), (before.pid, 1));
    assert_eq!(text(&server, "/"), "one", "it wakes from the old template");
    server.directory().write("site_of_test.py", SITE.replace("'one'", "'two'"));
    let reload = server.command(&["reload", "--wait"]);
    assert_eq!((reload.code, reload.stdout.contains("not proved")), (Some(0), false), "{reload:?}");
    assert_eq!(text(&server, "/"), "two");
    wait_until(SOON, "the new template is the only one", || {
        let templates = server.pool("site").templates;
        holds(templates.len() == 1 && templates[0].pid != before.pid, templates)
    });
    // The broken one as far as it came, and the new one: the proof and what woke afterwards were forked.
    wait_until(SOON, "imports", || holds(imports(&server) == imported + 2, imports(&server)));
}

#[test]
fn restart_imports_the_code_again() {
    let server = setup("processes: 2").start();
    let before = server.wait_ready(SOON, "site", 2);
    server.directory().write("site_of_test.py", SITE.replace("'one'", "'two'"));
    let restart = server.command(&["restart", "site"]);
    assert_eq!(restart.code, Some(0), "{restart:?}");
    let after = server.wait_ready(SOON, "site", 2);
    assert!(after.iter().all(|process| !before.contains(process)));
    assert_eq!(text(&server, "/"), "two");
    assert_eq!(server.status().generation, 1);
}

#[test]
fn a_request_over_its_time_shows_its_stack() {
    let server = setup("processes: 1, timeout: \"500ms\"").start().tolerant(&["/hang"]);
    let before = server.wait_ready(SOON, "site", 1);
    assert_eq!(get(server.address, "/hang").status, 504);
    let line = server.wait_log("in stuck_in_the_view");
    assert!(line.contains("app site 0: "), "{line}");
    wait_until(SOON, "its process is replaced", || {
        let ready = server.ready("site");
        holds(ready.len() == 1 && ready != before, ready)
    });
    template(&server);
}

#[test]
fn max_requests_replaces_forked_processes() {
    let server = setup("processes: 2, max_requests: 100").start();
    let before = server.wait_ready(SOON, "site", 2);
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(1500);
    load.finish().assert_flawless();
    let after = server.wait_ready(SOON, "site", 2);
    assert!(after.iter().all(|process| !before.contains(process)));
    assert_eq!(imports(&server), 1);
}

#[test]
fn what_is_shared_does_not_count_as_a_process_s_own_memory() {
    let setup = setup("processes: 4, max_rss: \"60MiB\"");
    setup.directory.write("site_of_test.py", format!("{SITE}\nSHARED = bytearray(b'x') * (80 << 20)\n"));
    let server = setup.start();
    let before = server.wait_ready(SOON, "site", 4);
    assert!(before.iter().all(|process| process.memory("VmRSS") > 60 << 20), "more than max_rss");
    let leaker: u32 = text(&server, "/leak").parse().unwrap();
    server.wait_log(&format!("(process {leaker}): replaced: its memory is"));
    let load = Load::start(server.address, 8, &["/"]);
    load.wait_for(500);
    load.finish().assert_flawless();
    let after = server.wait_ready(SOON, "site", 4);
    let stayed = before.iter().filter(|process| after.contains(process)).count();
    assert_eq!(stayed, 3, "only the one that grew is replaced");
}

#[test]
fn a_fork_that_fails_says_why() {
    let user =
        if nix::unistd::geteuid().is_root() { "user: \"nobody\", python: \"/usr/bin/python3\"" } else { "" };
    let text = configuration(&format!("processes: 1, {user}")).replace("home: \"{venv}\", ", "");
    let mut setup = Setup::new(&text);
    let limit = "\nimport resource\nresource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n";
    setup.directory.write("site_of_test.py", format!("{SITE}{limit}"));
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("app site: could not start: its template could not fork: "),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("Resource temporarily unavailable"), "{}", ended.stderr);
}

/// In the template: BORN for every process that there may be, over the channel.
const CLAIM: &str = r#"
def claim(channel):
    for child in range(64):
        name = child.to_bytes(8, 'little') + os.getpid().to_bytes(4, 'little')
        os.write(channel, (12).to_bytes(4, 'little') + bytes([17, 0, 0, 0, 0, 0, 0, 0]) + name)
"#;

#[test]
fn a_template_is_no_process_of_its_app_whatever_it_says() {
    let setup = setup("processes: 2");
    let hook = "\nos.register_at_fork(before=lambda: os.getpid() == IMPORTED[0] and claim(4))\n";
    setup.directory.write("site_of_test.py", format!("{SITE}{CLAIM}{hook}"));
    let server = setup.start();
    let before = server.wait_ready(SOON, "site", 2);
    let template = template(&server);
    assert!(before.iter().all(|process| process.pid != template.pid));
    server.kill_and_wait("site", before[0], 2);
    assert!(text(&server, "/imported").starts_with(&format!("{} ", template.pid)));
}

/// Its orphan, which is a child of the master, claims to be every process that there may be.
const HOSTILE: &str = r#"
import os, signal
MASTER = os.getppid()
CHANNEL = os.dup(4)
def application(environ, start_response):
    read, write = os.pipe()
    between = os.fork()
    if not between:
        if not os.fork():
            while os.getppid() != MASTER:
                pass
            claim(CHANNEL)
            os.write(write, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)
    os.waitpid(between, 0)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [os.read(read, 100)]
"#;

/// Before each fork, as long as the file is there.
const HOLD: &str = r#"
def hold():
    while os.path.exists(os.path.join(os.path.dirname(__file__), 'hold')):
        time.sleep(0.01)
os.register_at_fork(before=hold)
"#;

/// Kills the only process of the app, and returns when another was asked for, whose fork is held up.
#[track_caller]
fn hold_up_a_fork(server: &Server) {
    server.directory().write("hold", "");
    let first = server.wait_ready(SOON, "site", 1)[0];
    first.signal(Signal::SIGKILL);
    wait_until(SOON, "another process is being forked", || {
        let pool = server.pool("site");
        let held = matches!(pool.children.as_slice(), [child] if child.state == "booting");
        holds(held, pool)
    });
}

#[test]
fn an_app_has_no_say_in_the_births_of_another() {
    let configuration = configuration("processes: 1")
        .replace("locations: [", "locations: [(path: \"/hostile\", to: App(\"hostile\")), ")
        .replace(
            "apps: {",
            "apps: {\"hostile\": (module: \"hostile\", chdir: \"{dir}\", home: \"{venv}\", preload: true), ",
        );
    let setup = Setup::new(&configuration);
    setup.directory.write("site_of_test.py", format!("{SITE}{HOLD}"));
    setup.directory.write("hostile.py", format!("{HOSTILE}{CLAIM}"));
    let server = setup.start();
    hold_up_a_fork(&server);
    // All of it is said before the master hears the first.
    server.master.signal(Signal::SIGSTOP);
    let stray: u32 = text(&server, "/hostile").parse().unwrap();
    server.master.signal(Signal::SIGCONT);
    wait_until(SOON, "the stray is gone", || holds(Process::of(stray).is_none(), stray));
    std::fs::remove_file(server.directory().path().join("hold")).unwrap();
    let new = server.wait_ready(SOON, "site", 1)[0];
    assert_ne!(new.pid, stray);
    assert!(text(&server, "/tree").starts_with(&format!("{} ", new.pid)));
    server.wait_ready(SOON, "hostile", 1);
}

#[test]
fn a_template_does_not_pass_a_process_of_another_user_off_as_one_of_the_app() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("nothing to test: only root may become another user");
    }
    let configuration = configuration("processes: 1").replace("site_of_test", "hostile");
    let setup = Setup::new(&configuration);
    // The orphan becomes nobody, and then says that it is every process that there may be, for as long as it is heard.
    let claims = "            os.setuid(65534)\n            try:\n                claim(CHANNEL)\n            \
                  except BrokenPipeError:\n                pass";
    let nobody = HOSTILE.replace("            claim(CHANNEL)", claims);
    setup.directory.write("hostile.py", format!("{nobody}{CLAIM}"));
    let server = setup.start().tolerant(&["of another user"]);
    let before = server.wait_ready(SOON, "site", 1)[0];
    let stray: u32 = text(&server, "/").parse().unwrap();
    server
        .wait_log(&format!("app site template passes process {stray} of another user off as one of the app"));
    assert!(Process::of(stray).is_some(), "and nothing happens to it");
    assert_eq!(server.wait_ready(SOON, "site", 1)[0].pid, before.pid);
    Process::of(stray).unwrap().signal(Signal::SIGKILL);
}

#[test]
fn a_birth_that_ends_early_says_why_and_leaves_the_template() {
    let ends = |whose: &str, code: u32| {
        format!(
            "{SITE}\ndef early():\n    if os.getppid() {whose} IMPORTED[0] and os.path.exists(__file__ + '.end'):\n        \
             os._exit({code})\nos.register_at_fork(after_in_child=early)\n"
        )
    };
    for (whose, code, reason) in [
        ("==", 0, "its template could not fork: the process in between ended early: exit 0"),
        ("==", 9, "its template could not fork: the process in between ended early: exit 9"),
        (
            "!=",
            8,
            "its template could not fork: the new process ended before it had become one of the app: exit 8",
        ),
    ] {
        let setup = setup("processes: 1");
        setup.directory.write("site_of_test.py", ends(whose, code));
        let server = setup.start().tolerant(&["its template could not fork"]);
        let (first, before) = (server.wait_ready(SOON, "site", 1)[0], template(&server));
        let end = server.directory().write("site_of_test.py.end", "");
        first.signal(Signal::SIGKILL);
        server.wait_log(reason);
        assert_eq!(template(&server).pid, before.pid);
        std::fs::remove_file(end).unwrap();
        server.wait_ready(SOON, "site", 1);
        assert!(text(&server, "/imported").starts_with(&format!("{} ", before.pid)));
    }
}

#[test]
fn a_process_that_is_being_forked_during_an_upgrade_is_asked_whether_it_is_ready() {
    let setup = setup("processes: 1, ready: (path: \"/healthz\")");
    let asked = "\nserve = application\ndef application(environ, start_response):\n    \
                 print('asked', environ['PATH_INFO'], os.getpid(), flush=True)\n    \
                 return serve(environ, start_response)\n";
    setup.directory.write("site_of_test.py", format!("{SITE}{HOLD}{asked}"));
    let server = setup.start();
    hold_up_a_fork(&server);
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        holds(status.generation == 2 && status.mode == "running", &status)
    });
    assert_eq!(server.ready("site"), [], "still being forked");
    std::fs::remove_file(server.directory().path().join("hold")).unwrap();
    let new = server.wait_ready(SOON, "site", 1)[0];
    server.wait_log(&format!("asked /healthz {}", new.pid));
}

#[test]
fn the_death_of_the_master_leaves_nobody() {
    let mut server = setup("processes: 2").start();
    server.wait_ready(SOON, "site", 2);
    template(&server);
    let tree = server.kill_master();
    assert_eq!(tree.len(), 4);
    wait_until(SOON, "all have gone", || {
        let left: Vec<_> =
            tree.iter().filter(|process| process.is_alive()).map(|left| left.title()).collect();
        holds(left.is_empty(), left)
    });
    for directory in server.runtime_directories() {
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[test]
fn nothing_is_left_of_many_births() {
    let server = setup("processes: 2").start();
    server.wait_ready(SOON, "site", 2);
    let template_process = Process::of(template(&server).pid).unwrap();
    let descriptors = || (server.master.descriptors(), template_process.descriptors());
    let before = descriptors();
    for _ in 0..6 {
        let restart = server.command(&["scale", "site", "6"]);
        assert_eq!(restart.code, Some(0), "{restart:?}");
        server.wait_ready(SOON, "site", 6);
        assert_eq!(server.command(&["scale", "site", "2"]).code, Some(0));
        server.wait_ready(SOON, "site", 2);
    }
    wait_until(SOON, "as many descriptors as before", || {
        let after = descriptors();
        holds(after == before, (before, after))
    });
    let zombies = std::fs::read_dir("/proc").unwrap().filter(|entry| {
        let stat = entry.as_ref().unwrap().path().join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
        fields.first() == Some(&"Z")
            && fields.get(1).is_some_and(|parent| {
                [server.master.pid, template_process.pid].iter().any(|pid| pid.to_string() == *parent)
            })
    });
    assert_eq!(zombies.count(), 0);
}

#[test]
fn forked_processes_run_as_the_app_s_user_with_its_limits() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let text_of = configuration(
        "user: \"nobody\", limits: (open_files: 77), oom_score_adj: 300, python: \"/usr/bin/python3\"",
    )
    .replace("home: \"{venv}\", ", "");
    let setup = Setup::new(&text_of);
    setup.directory.write("site_of_test.py", SITE);
    let server = setup.start();
    let process = server.wait_ready(SOON, "site", 1)[0];
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    assert_eq!(process.user(), nobody.uid.as_raw());
    assert_eq!(Process::of(template(&server).pid).unwrap().user(), nobody.uid.as_raw());
    let proc_file = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.pid)).unwrap();
    assert_eq!(proc_file("oom_score_adj").trim(), "300");
    let limits = proc_file("limits");
    assert!(
        limits.lines().any(|line| line.starts_with("Max open files") && line.contains(" 77 ")),
        "{limits}"
    );
    assert_eq!(process.title(), "hatchery: app site 0 gen 1");
    assert!(text(&server, "/user").starts_with(&format!("({0}, {0}, ", nobody.uid)));
}

#[test]
fn an_import_is_seldom_looked_through_for_garbage_and_requests_as_ever() {
    let code = r#"
import gc
AT_IMPORT = gc.get_threshold()
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [('%r %r' % (AT_IMPORT, gc.get_threshold())).encode()]
"#;
    let python = |code: &str| {
        let mut command = std::process::Command::new(crate::harness::virtualenv().join("bin/python"));
        let output = command.args(["-c", &format!("import gc; {code}; print(gc.get_threshold())")]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    let (usual, seldom) = (python("pass"), python("gc.set_threshold(20000, *gc.get_threshold()[1:])"));
    assert_ne!(usual, seldom);
    for preload in ["true", "false"] {
        let keys = configuration("").replace("preload: true", &format!("preload: {preload}"));
        let setup = Setup::new(&keys);
        setup.directory.write("site_of_test.py", code);
        assert_eq!(text(&setup.start(), "/"), format!("{seldom} {usual}"), "preload: {preload}");
    }
    // An app that knows better is left alone.
    let setup = setup("");
    setup
        .directory
        .write("site_of_test.py", code.replace("AT_IMPORT =", "gc.set_threshold(7, 5, 3); AT_IMPORT ="));
    assert_eq!(text(&setup.start(), "/"), "(7, 5, 3) (7, 5, 3)");
}
