//! USR2: another program in the same process. Apps, cron runs and connections are not touched, workers are replaced; a
//! program that does not work changes nothing.

use crate::harness::{
    Connection, Directory, Load, SOON, Server, Setup, binary, get, holds, keep_loading, wait_until,
};
use hatchery::control::command::{Order, Request};
use hatchery::dispatch::{Board, board};
use hatchery::master::control::Asked;
use nix::sys::signal::Signal;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SITE: &str = r#"
    workers: (processes: 2),
    sites: [(
        listen: ["{address}"],
        locations: [
            (exact: "/fixed", to: Respond(status: 200, body: "here", content_type: "text/plain")),
            (path: "/static/", to: Files(root: "static")),
            (path: "/", to: App("site")),
        ],
    )],
    apps: {"site": (module: "site_of_test", chdir: "{dir}", processes: 2)},
    daemons: {"beat": (command: ["sleep", "1000"])},
    cron: [(name: "long", at: "@yearly", command: ["sh", "-c", "echo begun; exec sleep 1000"])],"#;

const APP: &str = "import os\ndef application(environ, start_response):\n    \
    start_response('200 OK', [('Content-Type', 'text/plain')])\n    if environ['PATH_INFO'] == '/environment':\n        \
    return [' '.join(os.environ).encode()]\n    return [str(os.getpid()).encode()]\n";

/// The program under a name of its own, which may be replaced.
fn install(directory: &Directory) -> PathBuf {
    let path = directory.path().join("hatchery");
    replace(directory, binary());
    path
}

/// Puts another file in the place of the program, as package managers do: under another name first.
fn replace(directory: &Directory, by: impl AsRef<Path>) {
    let new = directory.path().join("hatchery.new");
    std::fs::copy(by, &new).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, directory.path().join("hatchery")).unwrap();
}

/// Puts a shell script in the place of the program. `$REAL` is the real one.
fn replace_by_script(directory: &Directory, script: &str) {
    let text = format!("#!/bin/sh\nREAL={}\n{script}\n", binary().display());
    replace(directory, directory.write("script", text));
}

fn setup() -> Setup {
    let setup = Setup::new(SITE);
    setup.directory.write("site_of_test.py", APP);
    setup.directory.write("static/file.txt", "file\n".repeat(200));
    let program = install(&setup.directory);
    setup.env("PATH", "/usr/bin:/bin").program(program)
}

/// USR2, and waits until the generation has changed and all workers are new.
#[track_caller]
fn upgrade(server: &Server) {
    let before = server.status().generation;
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        let up = ["running", "asleep"].contains(&status.mode.as_str());
        holds(status.generation > before && up, &status)
    });
}

/// USR2, and waits until the upgrade has failed; the reason.
#[track_caller]
fn fail_to_upgrade(server: &Server) -> String {
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON * 3, "the upgrade has failed", || {
        let status = server.status();
        let failed = status.last_upgrade_error.clone().filter(|_| status.mode == "running");
        failed.ok_or_else(|| format!("{status:?}"))
    })
}

#[test]
fn the_master_its_apps_and_runs_stay_and_the_workers_are_new() {
    let server = setup().start();
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    server.wait_log("begun");
    let before = server.status();
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    let daemons = server.wait_ready(SOON, "beat", 1);
    let run = server.job("long").running;
    assert_eq!(run.len(), 1);
    replace(server.directory(), binary());
    upgrade(&server);
    let status = server.status();
    assert_eq!((status.pid, status.generation), (server.master.pid, 2));
    assert_eq!(status.last_upgrade_error, None);
    assert!(status.uptime_seconds >= before.uptime_seconds);
    let new = server.wait_ready(SOON, "worker", 2);
    assert!(new.iter().all(|worker| !workers.contains(worker)), "{workers:?} {new:?}");
    assert!(server.pool("worker").children.iter().all(|worker| worker.generation == 2));
    assert_eq!(server.ready("site"), apps);
    assert!(server.pool("site").children.iter().all(|app| app.generation == 1));
    assert_eq!(server.ready("beat"), daemons);
    assert_eq!(server.job("long").running, run);
    // What was printed before is still there.
    let logs = server.command(&["logs", "long"]);
    assert!(logs.stdout.contains("begun"), "{logs:?}");
    let answered: u32 = get(server.address, "/").text().parse().unwrap();
    assert!(apps.iter().any(|app| app.pid == answered), "{answered} {apps:?}");
    assert_eq!(server.master.title(), server.master_title());
}

/// Everything below a master by its title; the numbers of workers, which differ with the order of their replacement, as N.
fn titles(server: &Server) -> Vec<String> {
    let title =
        |title: String| match title.strip_prefix("hatchery: worker ").and_then(|rest| rest.split_once(' ')) {
            Some((number, rest)) if number.parse::<u16>().is_ok() => format!("hatchery: worker N {rest}"),
            _ => title,
        };
    let mut found: Vec<_> =
        server.master.descendants().iter().map(|process| title(process.title())).collect();
    found.sort();
    found
}

#[test]
fn every_process_has_its_title_before_and_after_an_upgrade() {
    let preloaded = "\"forked\": (module: \"site_of_test\", chdir: \"{dir}\", preload: true, processes: 2)";
    let both = SITE.replace("apps: {", &format!("apps: {{{preloaded}, "));
    let setup = setup();
    setup.configure(
        &both.replace("to: App(\"site\")", "to: App(\"forked\")), (path: \"/site/\", to: App(\"site\")"),
    );
    let server = setup.start();
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    server.wait_log("begun");
    let wanted = |workers: u32| {
        [
            "hatchery: app forked 0 gen 1".to_owned(),
            "hatchery: app forked 1 gen 1".to_owned(),
            "hatchery: app forked template gen 1".to_owned(),
            "hatchery: app site 0 gen 1".to_owned(),
            "hatchery: app site 1 gen 1".to_owned(),
            format!("hatchery: worker N gen {workers}"),
            format!("hatchery: worker N gen {workers}"),
            "sleep 1000".to_owned(),
            "sleep 1000".to_owned(),
        ]
    };
    for workers in [1, 2] {
        wait_until(SOON, "titles", || holds(titles(&server) == wanted(workers), titles(&server)));
        assert_eq!(server.master.title(), server.master_title());
        assert_eq!(server.pool("forked").templates[0].generation, 1, "as in its title");
        if workers == 1 {
            upgrade(&server);
        }
    }
    // What comes after it has the new number.
    server.kill_and_wait("site", server.ready("site")[0], 2);
    let pid =
        server.ready("site").iter().find(|process| process.title().ends_with("gen 2")).map(|new| new.pid);
    assert!(pid.is_some(), "{:?}", titles(&server));
    server.kill_and_wait("forked", server.ready("forked")[0], 2);
    wait_until(SOON, "the title of a forked one", || {
        let titles = titles(&server);
        holds(
            titles
                .iter()
                .any(|title| title.starts_with("hatchery: app forked ") && title.ends_with(" gen 2")),
            &titles,
        )
    });
}

#[test]
fn three_upgrades_under_load_fail_no_request() {
    let server = setup().start();
    let load = Load::start(server.address, 32, &["/static/file.txt", "/fixed", "/"]);
    load.wait_for(200);
    for _ in 0..3 {
        replace(server.directory(), binary());
        upgrade(&server);
        load.wait_for(50);
    }
    keep_loading(Duration::from_millis(500));
    load.finish().assert_flawless();
    assert_eq!(server.status().generation, 4);
    server.wait_ready(SOON, "worker", 2);
}

/// Requests that `status` shows, those of workers that have left included.
fn requests(server: &Server) -> u64 {
    server.pool("worker").requests.unwrap()
}

/// Makes ones of these words of the board.
fn spoil(words: Range<usize>) -> String {
    let (first, bytes) = (words.start, words.len() * 8);
    format!("printf '\\377%.0s' $(seq {bytes}) | dd of=$board bs=8 seek={first} conv=notrunc || exit 9\n")
}

#[test]
fn workers_that_count_in_another_way_serve_until_they_are_replaced() {
    let server = setup().start();
    let answer = |all: u64| {
        (0..40).for_each(|_| drop(get(server.address, "/fixed")));
        wait_until(SOON, "all are counted", || holds(requests(&server) == all, requests(&server)));
    };
    answer(40);
    // Those of a worker that has left, too.
    let most = server.pool("worker").children.into_iter().max_by_key(|worker| worker.requests).unwrap();
    let workers = server.ready("worker");
    let worker = workers.iter().find(|worker| worker.pid == most.pid).unwrap();
    server.kill_and_wait("worker", *worker, 2);
    answer(80);
    // To the next program what the two have counted, and then what tells how they count, is something else.
    let counters = (0..2).map(|row| Board::area(row).unwrap().start).map(|start| start..start + 8);
    let spoil: String = counters.chain(std::iter::once(64..64 + board::WORKERS)).map(spoil).collect();
    let script = format!(
        "case \"$HATCHERY_UPGRADE\" in resume*)\nfor board in /proc/$$/fd/*; do\n\
         case \"$(readlink $board)\" in *hatchery-board*)\n{spoil}touch spoilt\n;; esac\ndone\n;; esac\n\
         exec $REAL \"$@\""
    );
    replace_by_script(server.directory(), &script);
    upgrade(&server);
    assert!(server.directory().path().join("spoilt").exists());
    assert_eq!(requests(&server), 80);
    server.wait_ready(SOON, "worker", 2);
    answer(120);
    // And while there is more to do.
    let load = Load::start(server.address, 8, &["/static/file.txt", "/fixed", "/"]);
    load.wait_for(100);
    upgrade(&server);
    load.wait_for(100);
    load.finish().assert_flawless();
    assert_eq!(server.status().last_upgrade_error, None);
}

#[test]
fn a_connection_that_was_open_is_served_to_its_end() {
    let server = setup().start();
    let mut idle = Connection::open(server.address).unwrap();
    assert_eq!(idle.get("/fixed").unwrap().text(), "here");
    upgrade(&server);
    let last = idle.get("/fixed").unwrap();
    assert_eq!((last.status, last.closes()), (200, true), "{:?}", last.fields);
}

/// What must not change when an upgrade fails.
#[track_caller]
fn refuses(script: &str, expected: &str) {
    let server = setup().start().tolerant(&["upgrade failed"]);
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    replace_by_script(server.directory(), script);
    let reason = fail_to_upgrade(&server);
    assert!(reason.contains(expected), "{reason}");
    let shown = server.command(&["status"]).stdout;
    assert!(shown.contains("last upgrade failed: "), "{shown}");
    assert_eq!(server.status().generation, 1);
    assert_eq!((server.ready("worker"), server.ready("site")), (workers, apps));
    assert_eq!(get(server.address, "/fixed").text(), "here");
    // The next one is none the worse for it.
    replace(server.directory(), binary());
    upgrade(&server);
    assert_eq!(server.status().last_upgrade_error, None);
}

#[test]
fn a_program_that_says_no_leaves_the_old_one() {
    refuses("echo 'not on this machine' >&2\nexit 1", "not on this machine");
}

#[test]
fn a_program_that_leaves_without_a_word_leaves_the_old_one() {
    refuses("exit 0", "without READY");
}

#[test]
fn a_program_that_hangs_leaves_the_old_one() {
    refuses("exec sleep 1000", "silent");
}

#[test]
fn a_program_that_does_not_know_the_arguments_leaves_the_old_one() {
    refuses("exec $REAL \"$@\" --no-such-flag", "--no-such-flag");
}

#[test]
fn a_program_whose_worker_does_not_start_leaves_the_old_one() {
    // Not enough for the event descriptors that workers share.
    refuses("ulimit -n 40\nexec $REAL \"$@\"", "descriptor");
}

/// The trial of the real program, with a state that `edit` has changed.
#[track_caller]
fn refuses_state(edit: &str, expected: &[&str]) {
    let server = setup().start().tolerant(&["upgrade failed"]);
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    let files = || {
        let control = server.directory().path().join("control.sock").exists();
        (control, server.runtime_directories())
    };
    let before = files();
    assert!(before.0 && before.1.len() == 1, "{before:?}");
    let script = format!("sed '{edit}' <&4 >changed || exit 9\nexec 4<changed\nexec $REAL \"$@\"");
    replace_by_script(server.directory(), &script);
    let reason = fail_to_upgrade(&server);
    for part in expected {
        assert!(reason.contains(part), "{part} is not in {reason}");
    }
    assert_eq!(files(), before, "the rehearsal leaves the files of the server alone");
    assert_eq!((server.ready("worker"), server.ready("site")), (workers, apps));
    assert_eq!(get(server.address, "/").status, 200);
    replace(server.directory(), binary());
    upgrade(&server);
    assert_eq!(server.status().last_upgrade_error, None);
}

#[test]
fn a_state_that_cannot_be_taken_over_is_found_by_the_trial() {
    // Among the last that is taken over: what came before is given up again.
    let lost = r#"s/\("runtime":{"path":"[^"]*","lock":\)[0-9]*/\19999/"#;
    refuses_state(lost, &["the rehearsal of taking over has failed", "descriptor 9999 is lost"]);
}

#[test]
fn a_program_that_cannot_be_executed_leaves_the_old_one() {
    let server = setup().start().tolerant(&["upgrade failed"]);
    let program = server.directory().path().join("hatchery");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
    let reason = fail_to_upgrade(&server);
    assert!(reason.contains("cannot be executed"), "{reason}");
    assert_eq!(get(server.address, "/fixed").text(), "here");
    std::fs::remove_file(&program).unwrap();
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the second reason", || {
        let log = server.log().join("\n");
        holds(log.matches("upgrade failed").count() == 2 && server.status().mode == "running", log)
    });
    assert_eq!(server.status().generation, 1);
}

#[test]
fn a_program_that_fails_after_its_trial_is_replaced_by_the_one_before() {
    let server = setup().start().tolerant(&["upgrade failed"]);
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    server.wait_log("begun");
    let (workers, apps) = (server.ready("worker"), server.ready("site"));
    let run = server.job("long").running;
    let descriptors = server.master.descriptors();
    // The trial is what it should be, the real start is not; and it leaves traces in the environment.
    replace_by_script(
        server.directory(),
        "case \"$HATCHERY_UPGRADE\" in\n\
         try) exec $REAL \"$@\" ;;\n\
         resume*) LEFT_BEHIND=1 exec $REAL \"$@\" --no-such-flag ;;\nesac\nexit 99",
    );
    let reason = fail_to_upgrade(&server);
    assert!(reason.contains("did not start") && reason.contains("--no-such-flag"), "{reason}");
    assert_eq!((server.status().pid, server.status().generation), (server.master.pid, 1));
    assert_eq!((server.ready("worker"), server.ready("site")), (workers, apps));
    assert_eq!(server.job("long").running, run);
    // What whoever started the server left open for it is closed by the first exec.
    wait_until(SOON, "no descriptor is left over", || {
        let now = server.master.descriptors();
        holds(now <= descriptors, now)
    });
    assert_eq!(get(server.address, "/fixed").text(), "here");
    // New processes inherit what the first ones did.
    assert_eq!(server.command(&["restart", "site"]).code, Some(0));
    let environment = get(server.address, "/environment").text();
    assert!(environment.contains("PATH"), "{environment}");
    assert!(
        !environment.contains("LEFT_BEHIND") && !environment.contains("HATCHERY_UPGRADE"),
        "{environment}"
    );
    // What was put back can be upgraded as any other.
    replace(server.directory(), binary());
    upgrade(&server);
    assert_eq!(server.status().last_upgrade_error, None);
}

#[test]
fn a_template_stays_and_goes_on_forking() {
    let preloaded = SITE.replace("\"{dir}\", processes: 2", "\"{dir}\", preload: true, processes: 2");
    let setup = Setup::new(&preloaded);
    setup.directory.write("site_of_test.py", APP);
    setup.directory.write("static/file.txt", "file\n");
    let program = install(&setup.directory);
    let server = setup.program(program).start().tolerant(&["site"]);
    let template = || {
        wait_until(SOON, "one template is ready", || {
            let found = server.pool("site").templates;
            match found.as_slice() {
                [one] if one.state == "ready" => Ok((one.pid, one.generation)),
                _ => Err(format!("{found:?}")),
            }
        })
    };
    let apps = server.wait_ready(SOON, "site", 2);
    let (pid, _) = template();
    for _ in 2..=3 {
        upgrade(&server);
        assert_eq!(template(), (pid, 1));
        server.wait_ready(SOON, "site", 2);
    }
    assert_eq!(server.ready("site"), apps);
    server.kill_and_wait("site", apps[0], 2);
    assert_eq!(template(), (pid, 1), "what died was not replaced from the template");
    // A reload imports anew, and the old template leaves.
    server.hang_up();
    let (new, generation) = template();
    assert!(new != pid && generation == 4, "{new} {generation}");
    server.wait_ready(SOON, "site", 2);
    wait_until(SOON, "nothing else is left", || {
        let tree = server.master.descendants();
        holds(tree.len() == 2 + 2 + 1 + 1, tree)
    });
}

#[test]
fn five_upgrades_leave_no_descriptor_behind() {
    let server = setup().start();
    let counts: Vec<usize> = (0..5)
        .map(|_| {
            upgrade(&server);
            server.wait_ready(SOON, "worker", 2);
            server.master.descriptors()
        })
        .collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn children_end_with_a_master_that_was_upgraded() {
    let mut server = setup().start();
    upgrade(&server);
    server.wait_ready(SOON, "worker", 2);
    let tree = server.kill_master();
    assert!(tree.len() >= 4, "{tree:?}");
    wait_until(SOON, "all processes are gone", || {
        let left: Vec<_> = tree.iter().filter(|process| process.is_alive()).collect();
        holds(left.is_empty(), left)
    });
}

#[test]
fn what_was_edited_meanwhile_waits_for_the_next_reload() {
    let server = setup().start().tolerant(&["reload failed"]);
    server.configure("    sites: [(lokations: [])],");
    upgrade(&server);
    server.wait_log("the next reload would fail");
    assert_eq!(get(server.address, "/fixed").text(), "here");
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    server.configure(&SITE.replace("\"here\"", "\"there\""));
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(get(server.address, "/fixed").text(), "there");
    assert_eq!(server.status().generation, 3);
}

#[test]
fn an_unchanged_configuration_is_unchanged_after_an_upgrade_too() {
    let server = setup().start();
    upgrade(&server);
    let (workers, apps) = (server.wait_ready(SOON, "worker", 2), server.ready("site"));
    server.hang_up();
    assert_eq!(server.wait_ready(SOON, "worker", 2), workers);
    let new = server.wait_ready(SOON, "site", 2);
    assert!(new.iter().all(|process| !apps.contains(process)), "{apps:?} {new:?}");
}

#[test]
fn a_sleeping_server_wakes_after_an_upgrade() {
    let sleeping =
        SITE.replace("workers: (processes: 2)", "workers: (processes: 2, cheap: true, idle: \"200ms\")");
    let setup = setup();
    setup.configure(&sleeping);
    let server = setup.start();
    wait_until(SOON, "it sleeps", || holds(server.status().mode == "asleep", server.status()));
    upgrade(&server);
    assert_eq!(get(server.address, "/fixed").text(), "here");
}

#[test]
fn one_that_follows_the_log_sees_what_is_printed_after_an_upgrade() {
    let server = setup().start();
    let control = server.directory().path().join("control.sock");
    let asked = std::thread::spawn(move || {
        let request = Request::Logs { name: None, after: 0, wait: true };
        Asked::send(&control, &Order { request, meant: None }, SOON).and_then(Asked::answer)
    });
    upgrade(&server);
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let answer = asked.join().unwrap().unwrap();
    assert!(format!("{answer:?}").contains("begun"), "{answer:?}");
}

#[test]
fn a_server_without_a_file_is_upgraded_even_if_its_directory_was_swapped() {
    let setup = Setup::flags(&["serve", "{dir}/public", "--http", "{address}"]);
    setup.directory.write("public/a.txt", "first");
    let program = install(&setup.directory);
    let server = setup.program(program).start();
    assert_eq!(get(server.address, "/a.txt").text(), "first");
    let public = server.directory().path().join("public");
    std::fs::rename(&public, server.directory().path().join("before")).unwrap();
    server.directory().write("public/a.txt", "second");
    upgrade(&server);
    wait_until(SOON, "what is there now is served", || {
        let text = get(server.address, "/a.txt").text();
        holds(text == "second", text)
    });
}

#[test]
fn the_file_of_the_start_is_read_whatever_its_directory_is_called_by_now() {
    let setup = Setup::flags(&["run"]);
    let text = |body: &str| {
        let to = format!("Respond(status: 200, body: \"{body}\", content_type: \"text/plain\")");
        setup
            .replace(&format!("(sites: [(listen: [\"{{address}}\"], locations: [(path: \"/\", to: {to})])])"))
    };
    let [first, second, third] = ["first", "second", "third"].map(text);
    setup.directory.write("site/hatchery.ron", first);
    let (site, old) = (setup.directory.path().join("site"), setup.directory.path().join("site.old"));
    let program = install(&setup.directory);
    let server = setup.program(program).under(&["env", "-C", site.to_str().unwrap()]).start();
    let server = server.tolerant(&["reload failed"]);
    assert_eq!(get(server.address, "/").text(), "first");
    let file = server.status().config;
    assert_eq!(file.as_deref(), Some(site.join("hatchery.ron").as_path()));
    std::fs::rename(&site, &old).unwrap();
    server.directory().write("site/hatchery.ron", second);
    upgrade(&server);
    assert_eq!(server.status().config, file);
    server.hang_up();
    assert_eq!(get(server.address, "/").text(), "second");
    // The file is missing at the next upgrade, and comes back.
    std::fs::remove_file(site.join("hatchery.ron")).unwrap();
    std::fs::remove_file(old.join("hatchery.ron")).unwrap();
    upgrade(&server);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(1));
    server.directory().write("site/hatchery.ron", third);
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    assert_eq!(get(server.address, "/").text(), "third");
    assert_eq!(server.status().config, file);
}
