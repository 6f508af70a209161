//! Commands, their exit codes, and what an operator reads when something is wrong.

use crate::harness::{
    Directory, Finished, SOON, Server, Setup, as_nobody, binary, get, hatchery, holds, now, wait_until,
};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Both streams, for messages whose stream does not matter here.
fn said(finished: &Finished) -> String {
    format!("{}\n{}", finished.stdout, finished.stderr)
}

const GOOD: &str = r#"(
    control: "control.sock",
    sites: [(listen: ["127.0.0.1:0"], locations: [(path: "/", to: Respond(status: 200, body: "hello"))])],
)
"#;

#[test]
fn check_prints_every_mistake_with_its_line() {
    let directory = Directory::new();
    directory.write(
        "hatchery.ron",
        r#"(
    wokers: (processes: 2),
    sites: [(
        listen: ["127.0.0.1:port"],
        locations: [
            (path: "/static/", to: Fiels(root: "static")),
            (path: "/", to: App("shop")),
        ],
    )],
    apps: {
        "ship": (module: "config.wsgi", timeout: "60 parsecs"),
    },
    cron: [
        (name: "never", at: "61 * * * *", command: ["true"]),
    ],
)
"#,
    );
    let checked = hatchery(&directory, &["check"]);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    let said = said(&checked);
    for (line, text) in [
        (2, "wokers"),
        (4, "port"),
        (6, "did you mean `Files`?"),
        (11, "60 parsecs"),
        (14, "cron[0].at: minute `61`"),
    ] {
        let place = format!("hatchery.ron:{line}:");
        let found = said.lines().any(|printed| printed.contains(&place) && printed.contains(text));
        assert!(found, "{place} … {text} is not in\n{said}");
    }
}

#[test]
fn check_is_content_with_a_good_file() {
    let directory = Directory::new();
    directory.write("hatchery.ron", GOOD);
    let checked = hatchery(&directory, &["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let warned = checked.stderr.contains("user: started as root without `user`");
    assert_eq!(warned, nix::unistd::geteuid().is_root(), "{checked:?}");
}

#[test]
fn check_tells_what_the_machine_lacks_together_with_the_mistakes_of_the_file_and_where() {
    let directory = Directory::new();
    let location = "locations: [(path: \"/\", to: Files(\"no-root\"))]";
    directory.write(
        "sites/a.ron",
        format!("(\n  sites: [(listen: [\"127.0.0.1:0\"], names: [\"a\"],\n    {location})],\n)"),
    );
    let main = |key: &str| {
        format!("(\n  {key}: \"1s\",\n  pid_file: \"no-such/pid\",\n  include: [\"sites/*\"],\n)")
    };
    for (key, code, mistakes) in [("shutdown_timeout", 1, 0), ("shutdown_time", 2, 1)] {
        directory.write("other.ron", main(key));
        let checked = hatchery(&directory, &["check", "other.ron"]);
        assert_eq!(checked.code, Some(code), "{checked:?}");
        let lines: Vec<&str> =
            checked.stderr.lines().filter(|line| line.contains(".ron:") && !line.starts_with("w")).collect();
        assert_eq!(lines.len(), mistakes + 2, "{checked:?}");
        assert!(lines[mistakes].contains("other.ron:3:13: pid_file: the directory"), "{checked:?}");
        assert!(
            lines[mistakes + 1].starts_with("sites/a.ron:3:38: sites[0].locations[0].to.root:"),
            "{checked:?}"
        );
    }
    directory
        .write("many.ron", format!("({})", (0..150).map(|key| format!("k{key}: 1, ")).collect::<String>()));
    let checked = hatchery(&directory, &["check", "-c", "many.ron"]);
    assert!(checked.stderr.lines().filter(|line| line.contains("unknown key")).count() == 100, "{checked:?}");
    assert!(checked.stderr.contains("\nand 50 more\n"), "{checked:?}");
}

#[test]
fn what_a_pattern_of_include_finds_is_read_or_told_and_nothing_waits_for_it() {
    let setup = Setup::new(
        r#"
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(status: 200, body: "here"))])],
    include: ["sites/*.ron", "none/*.ron"],"#,
    );
    let sites = setup.directory.path().join("sites");
    std::fs::create_dir(&sites).unwrap();
    let server = setup.start().tolerant(&["sites/", "reload"]);
    std::fs::create_dir(sites.join("directory.ron")).unwrap();
    for (link, to) in [("gone.ron", "nowhere"), ("loop.ron", "loop.ron"), ("self.ron", "../hatchery.ron")] {
        std::os::unix::fs::symlink(to, sites.join(link)).unwrap();
    }
    nix::unistd::mkfifo(&sites.join("pipe.ron"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(sites.join("empty.ron"), "").unwrap();
    let huge = std::fs::File::create(sites.join("huge.ron")).unwrap();
    huge.set_len(100 << 20).unwrap();
    let told = [
        ("directory.ron", "it is a directory; write what is to be read in it"),
        ("gone.ron", "it is a symbolic link that leads nowhere; mend it"),
        ("loop.ron", "it is a symbolic link that leads back to itself; mend it"),
        ("pipe.ron", "it is no file but a pipe"),
        ("huge.ron", "it has more than 64 MiB"),
        ("empty.ron", "the file is empty; write"),
        ("self.ron", "names the main file itself"),
    ];
    let checked = hatchery(server.directory(), &["check"]);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    for (name, text) in told {
        let line = checked.stderr.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(text)), "{name}: {checked:?}");
    }
    // The master neither.
    let reloaded = server.command(&["reload", "--wait"]);
    assert!(told.iter().all(|(_, text)| said(&reloaded).contains(text)), "{reloaded:?}");
    assert_eq!(get(server.address, "/").text(), "here");
}

#[test]
fn who_comes_from_another_server_is_told_the_command_and_both_ways_to_name_a_file() {
    let directory = Directory::new();
    directory.write("site.ron", GOOD);
    for (typed, ours) in [("up", "run"), ("configtest", "check"), ("-t", "check"), ("shutdown", "stop")] {
        let finished = hatchery(&directory, &[typed]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(&format!("tip: `hatchery {ours}`")), "{finished:?}");
    }
    for command in ["check", "config"] {
        assert_eq!(hatchery(&directory, &[command, "site.ron"]).code, Some(0), "{command}");
        assert_eq!(hatchery(&directory, &[command, "-c", "site.ron"]).code, Some(0), "{command}");
    }
    assert_eq!(hatchery(&directory, &["run", "none.ron"]).code, Some(2));
    assert_eq!(hatchery(&directory, &["run", "site.ron", "--http", ":0"]).code, Some(2));
}

#[test]
fn config_prints_what_it_reads_back() {
    let directory = Directory::new();
    directory.write("hatchery.ron", GOOD);
    let first = hatchery(&directory, &["config"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.contains("shutdown_timeout"), "{}", first.stdout);
    directory.write("resolved.ron", &first.stdout);
    let second = hatchery(&directory, &["config", "-c", "resolved.ron"]);
    assert_eq!((second.code, &second.stdout), (Some(0), &first.stdout), "{}", second.stderr);
}

#[test]
fn a_mistake_in_the_file_is_exit_2_and_one_in_the_world_is_exit_1() {
    let in_use = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = in_use.local_addr().unwrap().to_string();
    let site = |listen: &str, to: &str| {
        format!("    sites: [(listen: [\"{listen}\"], locations: [(path: \"/\", to: {to})])],\n")
    };
    let app =
        |keys: &str| site("{address}", "App(\"plain\")") + &format!("    apps: {{\"plain\": ({keys})}},\n");
    let respond = "Respond(status: 200, body: \"x\")";
    for (configuration, code, texts) in [
        (
            site("{address}", respond) + "    shutdown_timout: \"1s\",",
            2,
            &["shutdown_timout", "shutdown_timeout"][..],
        ),
        (site("{address}", respond) + "    shutdown_timeout: 5,", 2, &["shutdown_timeout"]),
        (site("{address}", "App(\"none\")"), 2, &["none"]),
        (app("module: \"app\", chdir: \"{dir}/missing\""), 1, &["chdir", "missing"]),
        (app("module: \"app\", chdir: \"{apps}/plain\", home: \"{dir}/no-venv\""), 1, &["home", "no-venv"]),
        (app("module: \"nothing_here\", chdir: \"{apps}/plain\", home: \"{venv}\""), 1, &["nothing_here"]),
        (app("module: \"app:nothing\", chdir: \"{apps}/plain\", home: \"{venv}\""), 1, &["nothing"]),
        (
            site("{address}", "Files(root: \"{dir}/no-root\")") + "    start: AllOrNothing,",
            1,
            &["root", "no-root"],
        ),
        (
            site("{address}", respond)
                + "    cron: [(name: \"n\", at: \"0 0 30 2 *\", command: [\"true\"])],",
            2,
            &["0 0 30 2 *"],
        ),
        (site(&address, respond), 1, &["in use", &address]),
    ] {
        let mut setup = Setup::new(&configuration).bind_itself();
        let checked = hatchery(&setup.directory, &["check"]);
        assert_eq!(checked.code, Some(code), "check {configuration}: {checked:?}");
        let started = setup.run_to_end();
        assert_eq!(started.code, Some(code), "run {configuration}: {started:?}");
        for finished in [&checked, &started] {
            for text in texts {
                assert!(said(finished).contains(text), "`{text}` is not in {finished:?}");
            }
        }
        // Nothing half-started is left.
        let names: Vec<_> = std::fs::read_dir(setup.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["hatchery.ron"], "{configuration}");
    }
}

#[test]
fn a_privileged_port_without_rights_is_explained() {
    // Where any port may be bound there is nothing to explain.
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim().parse::<u16>().unwrap() <= 81 {
        return;
    }
    let configuration = "    sites: [(listen: [\"127.0.0.1:81\"], locations: [(path: \"/\", to: Respond(status: 200, body: \"x\"))])],";
    let started = Setup::new(configuration).bind_itself().run_as_nobody().run_to_end();
    assert_eq!(started.code, Some(1), "{started:?}");
    assert!(started.stderr.contains("127.0.0.1:81") && started.stderr.contains("privileges"), "{started:?}");
}

#[test]
fn without_a_file_both_places_are_named() {
    if std::path::Path::new("/etc/hatchery/hatchery.ron").exists() {
        return;
    }
    let directory = Directory::new();
    for command in ["run", "check", "config"] {
        let finished = hatchery(&directory, &[command]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(
            finished.stderr.contains("hatchery.ron")
                && finished.stderr.contains("/etc/hatchery/hatchery.ron")
        );
    }
    let missing = hatchery(&directory, &["run", "-c", "missing.ron"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("missing.ron"), "{missing:?}");
    assert_eq!(hatchery(&directory, &["frobnicate"]).code, Some(2));
    assert_eq!(hatchery(&directory, &["--help"]).code, Some(0));
    let version = hatchery(&directory, &["--version"]);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
}

#[test]
fn commands_to_a_server_that_is_not_there_fail() {
    let directory = Directory::new();
    directory.write("hatchery.ron", GOOD);
    // One that was left by a master that was killed is told from a living one by connecting.
    drop(std::os::unix::net::UnixListener::bind(directory.path().join("control.sock")).unwrap());
    for command in [&["status"][..], &["status", "--json"], &["reload"], &["reload", "--wait"], &["stop"]] {
        let finished = hatchery(&directory, command);
        assert_eq!(finished.code, Some(1), "{command:?}: {finished:?}");
        assert!(finished.stderr.contains("control.sock"), "{command:?}: {finished:?}");
    }
}

#[test]
fn status_shows_the_tree_and_the_socket_is_private() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},
    cron: [(name: "yearly", at: "@yearly", command: ["true"])],"#,
    );
    let server = setup.start();
    assert_eq!(get(server.address, "/hello").status, 200);
    let status = server.status();
    assert_eq!(status.pid, server.master.pid);
    assert_eq!((status.version.as_str(), status.mode.as_str()), (env!("CARGO_PKG_VERSION"), "running"));
    assert!(status.listeners[0].contains(&server.address.to_string()), "{status:?}");
    let names: Vec<_> = status.pools.iter().map(|pool| (pool.name.as_str(), pool.children.len())).collect();
    assert_eq!(names, [("worker", 2), ("plain", 1)]);
    let children: Vec<_> = status.pools.iter().flat_map(|pool| &pool.children).collect();
    assert!(children.iter().all(|child| child.rss_bytes > 1 << 20), "{children:?}");
    let tree = server.master.descendants();
    assert!(
        children.iter().all(|child| tree.iter().any(|process| process.pid == child.pid)),
        "{children:?} {tree:?}"
    );
    let text = server.command(&["status"]);
    assert_eq!(text.code, Some(0));
    for shown in ["worker", "plain", "yearly", &server.address.to_string(), &server.master.pid.to_string()] {
        assert!(text.stdout.contains(shown), "{shown} is not in\n{}", text.stdout);
    }
    assert!(!text.stdout.contains('\u{1b}'), "plain when not a terminal");
    // Found through the file as well.
    assert_eq!(hatchery(server.directory(), &["status"]).code, Some(0));
    assert_eq!(hatchery(server.directory(), &["status", "-c", "hatchery.ron"]).code, Some(0));
    let socket = server.directory().path().join("control.sock");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn flags_build_the_same_as_a_file() {
    let setup = Setup::flags(&[
        "run",
        "--http",
        "{address}",
        "--module",
        "app:application",
        "--chdir",
        "{apps}/plain",
        "--home",
        "{venv}",
        "--static",
        "/static/={dir}/static",
        "--processes",
        "2",
        "--threads",
        "3",
        "--env",
        "FROM_FLAG=yes",
    ]);
    setup.directory.write("static/file.txt", "file\n");
    let server = setup.start();
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
    assert_eq!(get(server.address, "/static/file.txt").text(), "file\n");
    assert_eq!(get(server.address, "/environ").json()["wsgi.multithread"], true);
    let apps = server.status().pools.into_iter().find(|pool| pool.kind == "app").unwrap();
    assert_eq!(apps.children.len(), 2, "{apps:?}");
}

#[test]
fn the_log_tells_of_a_slow_import_before_it_and_of_the_end() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1), log: (access: Off),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("shop"))])],
    apps: {"shop": (module: "slow", chdir: "{dir}", processes: 1), "blog": (module: "slow", chdir: "{dir}", processes: (min: 0, max: 1))},"#,
    );
    setup
        .directory
        .write("slow.py", "print('imports')\ndef application(environ, start_response):\n    pass\n");
    let mut server = setup.start();
    server.wait_log("app shop: slow, processes");
    let log = server.log();
    let place =
        |text: &str| log.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{log:#?}"));
    let places = [
        "listening on http://",
        "booting app shop: slow",
        "app shop 0: imports",
        "app shop: slow, processes",
    ];
    assert!(places.map(place).is_sorted(), "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("booting app blog")), "it sleeps: {log:#?}");
    assert_eq!(server.end(nix::sys::signal::Signal::SIGTERM), Some(0));
    server.wait_log("hatchery: stopped");
}

#[test]
fn an_app_that_does_not_import_ends_the_start_with_its_traceback() {
    let mut setup = Setup::flags(&[
        "run",
        "--http",
        "{address}",
        "--module",
        "broken",
        "--chdir",
        "{dir}",
        "--home",
        "{venv}",
    ]);
    setup.directory.write("broken.py", "import json\nraise LookupError('on purpose')\n");
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for text in [": could not start: ", "Traceback", "broken.py\", line 2", "LookupError: on purpose"] {
        assert!(ended.stderr.contains(text), "{text} is not in {ended:?}");
    }
    assert!(!setup.directory.path().join("control.sock").exists());
}

/// What `hatchery status` writes to a terminal.
fn on_terminal(server: &Server, no_color: Option<&str>) -> String {
    use std::io::Read as _;
    let pair = nix::pty::openpty(None, None).unwrap();
    let mut command = std::process::Command::new(binary());
    command.args(["status", "--control"]).arg(server.directory().path().join("control.sock"));
    command.env_remove("NO_COLOR").envs(no_color.map(|value| ("NO_COLOR", value)));
    let mut child = command.stdout(pair.slave).spawn().unwrap();
    // It holds the slave's end.
    drop(command);
    let (mut terminal, mut seen, mut buffer) = (std::fs::File::from(pair.master), Vec::new(), [0; 4096]);
    // Reading is an error when the other end is closed.
    while let Ok(length @ 1..) = terminal.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(seen).unwrap()
}

#[test]
fn one_failing_app_of_two_does_not_keep_the_other_from_serving() {
    let two = |more: &str| {
        format!(
            r#"
    {more}
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        locations: [(path: "/broken/", to: App("broken")), (path: "/", to: App("plain"))],
    )],
    apps: {{
        "plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1),
        "broken": (module: "nothing_here", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1),
    }},"#
        )
    };
    let server = Setup::new(&two("")).start().tolerant(&["broken"]);
    assert_eq!(get(server.address, "/hello").text(), "hello\n");
    let start = now();
    assert_eq!(get(server.address, "/broken/").status, 503);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    wait_until(SOON, "status says so", || {
        let pool = server.pool("broken");
        holds(pool.state == "failed" || pool.retry_in_ms.is_some(), pool)
    });
    // It is shown first, and red on a terminal.
    let shown = server.command(&["status"]).stdout;
    let order: Vec<&str> = ["app broken ", "app plain ", "workers "]
        .into_iter()
        .filter(|unit| shown.lines().any(|line| line.starts_with(unit)))
        .collect();
    assert_eq!(order.len(), 3, "a line each, plain: {shown}");
    assert!(shown.find("app broken ") < shown.find("app plain "), "{shown}");
    let head = "     #      pid";
    assert!(!shown.contains(head) && server.command(&["status", "-v"]).stdout.contains(head), "{shown}");
    // An empty NO_COLOR says nothing. While it is tried again it is yellow.
    for no_color in [None, Some("")] {
        wait_until(SOON, "it is red", || {
            let shown = on_terminal(&server, no_color);
            holds(shown.contains("\x1b[31mapp broken "), shown)
        });
    }
    let plain = on_terminal(&server, Some("1"));
    assert!(plain.contains("app broken ") && !plain.contains('\x1b'), "{plain:?}");
    drop(server);
    let ended = Setup::new(&two("start: AllOrNothing,")).run_to_end();
    assert!(ended.code == Some(1) && ended.stderr.contains("nothing_here"), "{ended:?}");
}

#[test]
fn the_environment_fills_in_values() {
    let setup = Setup::new(
        r#"
    workers: (processes: "${TEST_WORKERS}"),
    sites: [(
        listen: ["{address}"],
        locations: [(path: "/", to: Respond(status: 200, body: "${TEST_UNSET:-a default}"))],
    )],
    include: ["more/*.ron"],"#,
    )
    .env("TEST_WORKERS", "2");
    setup
        .directory
        .write("more/cron.ron", "(cron: [(name: \"included\", at: \"@yearly\", command: [\"true\"])])");
    let server = setup.start();
    server.wait_ready(SOON, "worker", 2);
    assert_eq!(get(server.address, "/").text(), "a default");
    assert_eq!(server.job("included").at, "@yearly");
}

const HELLO: &str = "    sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 200, body: \"hello\"))])],";

/// The program as nobody in `directory`; default places are below `runtime`.
fn as_other_user(directory: &Directory, runtime: &Directory, arguments: &[&str]) -> Finished {
    let program = binary();
    let words = as_nobody().iter().copied().chain(program.to_str()).chain(arguments.iter().copied());
    let words: Vec<&str> = words.collect();
    let output = std::process::Command::new(words[0])
        .args(&words[1..])
        .current_dir(directory.path())
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env("NO_COLOR", "1")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Finished { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_command_reaches_the_server_of_its_own_file_and_no_other() {
    let server = Setup::default_control(HELLO).run_as_nobody().start();
    let own = server.directory();
    let path = own.path().join("hatchery.ron");
    let other = Directory::new();
    other.write("hatchery.ron", "(sites: [])");
    for command in
        [&["status"][..], &["top"], &["logs"], &["cron"], &["stop"], &["reload"], &["scale", "workers", "2"]]
    {
        // The one that is meant does not run; those that do are named.
        let refused = as_other_user(&other, own, command);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for said in ["is it running?", "these run:", path.to_str().unwrap(), "--control"] {
            assert!(refused.stderr.contains(said), "{said:?} is not in {refused:?}");
        }
        assert!(refused.stdout.is_empty(), "{refused:?}");
    }
    // Its own file by another link to it, and from the directory of the server.
    let link = other.path().join("link.ron");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let named = as_other_user(&other, own, &["status", "-c", link.to_str().unwrap()]);
    let line = format!("configuration {}", path.display());
    assert!(named.code == Some(0) && named.stdout.contains(&line), "{named:?}");
    assert_eq!(as_other_user(own, own, &["reload", "--wait"]).code, Some(0));

    // Without a file in sight those that run are listed, also one that has its socket elsewhere.
    let second = Setup::new(HELLO).env("XDG_RUNTIME_DIR", own.path().to_str().unwrap());
    let second = second.run_as_nobody().start();
    let nowhere = Directory::new();
    assert_eq!(as_other_user(&nowhere, own, &["stop"]).code, Some(1));
    let listed = as_other_user(&nowhere, own, &["status"]);
    let lines = [&server, &second].map(|server| {
        let path = server.directory().path().join("hatchery.ron");
        format!("  {}  process {}  --control ", path.display(), server.master.pid)
    });
    let is_there = |line: &String| listed.stdout.lines().any(|listed| listed.starts_with(line));
    assert!(listed.code == Some(0) && lines.iter().all(is_there), "{listed:?}");
    let listed = as_other_user(&nowhere, own, &["status", "--json"]);
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert!(listed.iter().any(|master| master["pid"] == server.master.pid), "{listed:?}");
    assert_eq!(get(server.address, "/").text(), "hello");
}

#[test]
fn a_server_keeps_its_commands_when_its_file_is_broken_or_says_another_socket() {
    let server = Setup::new(HELLO).start();
    let own = server.directory();
    own.write("hatchery.ron", "(\n    wokers: (processes: 2),\n)\n");
    let shown = hatchery(own, &["status"]);
    assert_eq!((shown.code, &*shown.stderr), (Some(0), ""), "{shown:?}");
    let refused = hatchery(own, &["reload", "--wait"]);
    assert_eq!((refused.code, refused.stderr.matches("unknown key").count()), (Some(1), 1), "{refused:?}");
    own.write("hatchery.ron", GOOD.replace("control.sock", "elsewhere.sock"));
    assert_eq!(hatchery(own, &["status", "-c", "hatchery.ron"]).code, Some(0));
    drop(server.tolerant(&["wokers"]));
    // Without a server the mistakes tell why the place may be the wrong one.
    let gone = Directory::new();
    gone.write("hatchery.ron", "(wokers: ())");
    let gone = hatchery(&gone, &["stop"]);
    assert!(gone.stderr.contains("wokers") && gone.stderr.contains("default place"), "{gone:?}");
}

#[test]
fn a_master_answers_only_those_who_mean_it() {
    let server = Setup::new(HELLO).start();
    let socket = server.directory().path().join("control.sock");
    let other = Directory::new();
    let file = other.write("hatchery.ron", GOOD);
    std::os::unix::fs::symlink(&socket, other.path().join("control.sock")).unwrap();
    for command in [&["status"][..], &["logs"], &["stop"], &["reload"], &["restart", "workers"]] {
        let refused = hatchery(&other, command);
        assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
        for path in [server.directory().path().join("hatchery.ron"), file.clone(), "--control".into()] {
            assert!(refused.stderr.contains(path.to_str().unwrap()), "{path:?} is not in {refused:?}");
        }
    }
    // Nor does a check take it for the server of its file.
    let checked = hatchery(&other, &["check"]);
    assert!(
        checked.code == Some(1) && checked.stderr.contains("control: another server answers"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("not tried"), "{checked:?}");
    let own = hatchery(server.directory(), &["check"]);
    assert!(own.code == Some(0) && own.stderr.contains("not tried"), "{own:?}");
}

#[test]
fn a_check_tries_the_addresses_although_another_server_runs() {
    let server = Setup::default_control(HELLO).start();
    let other = Directory::new();
    other.write("hatchery.ron", format!("({})", HELLO.replace("{address}", &server.address.to_string())));
    let checked = hatchery(&other, &["check"]);
    assert!(checked.code == Some(1) && checked.stderr.contains("in use"), "{checked:?}");
}

#[test]
fn a_second_server_with_the_same_file_is_refused_and_one_with_another_is_not() {
    let server = Setup::default_control(HELLO).start();
    let own = server.directory();
    let path = own.path().join("hatchery.ron");
    std::os::unix::fs::symlink(&path, own.path().join("link.ron")).unwrap();
    for file in ["hatchery.ron", "link.ron"] {
        let second = hatchery(own, &["run", "-c", file]);
        assert_eq!(second.code, Some(1), "{second:?}");
        let said = format!("runs already (process {}, control socket ", server.master.pid);
        assert!(second.stderr.contains(&said) && second.stderr.contains(file), "{second:?}");
    }
    let other = Setup::default_control(HELLO).env("XDG_RUNTIME_DIR", own.path().to_str().unwrap()).start();
    assert_eq!(get(other.address, "/").text(), "hello");
    assert_eq!(server.status().pid, server.master.pid);
    // After an upgrade it is found as before.
    server.master.signal(nix::sys::signal::Signal::SIGUSR2);
    wait_until(SOON, "it is upgraded", || {
        let status = server.status();
        holds(status.generation == 2 && status.mode == "running", status)
    });
    assert_eq!(server.status().pid, server.master.pid);
    assert_eq!(server.master.title(), server.master_title());
    assert_eq!(hatchery(own, &["run", "-c", "link.ron"]).code, Some(1));
}

#[test]
fn a_server_without_a_file_is_found_from_its_directory() {
    let setup = Setup::flags(&["serve", "{dir}", "--http", "{address}"]);
    setup.directory.write("file.txt", "file\n");
    let server = setup.start();
    let found = hatchery(server.directory(), &["status", "--json"]);
    let status: hatchery::control::command::Status = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(status.pid, server.master.pid);
    // A file there is nearer, but runs no server.
    server.directory().write("hatchery.ron", GOOD);
    assert_eq!(hatchery(server.directory(), &["status"]).code, Some(0));
    let named = hatchery(server.directory(), &["status", "-c", "hatchery.ron"]);
    assert!(
        named.code == Some(1) && named.stderr.contains("a server without a file, started in"),
        "{named:?}"
    );
}

#[test]
fn commands_that_wait_and_clients_that_say_nothing_leave_room_for_others() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let setup = Setup::new(&format!(
        "{HELLO}\n    apps: {{\"slow\": (module: \"slow\", chdir: \"{{dir}}\", home: \"{{venv}}\")}},"
    ));
    let pipe = setup.directory.path().join("pipe");
    setup.directory.write(
        "slow.py",
        "import os\nif os.path.exists('pipe'):\n    open('pipe').read()\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
    );
    let server = setup.start();
    // The next generation boots until somebody writes to the pipe.
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let control = server.directory().path().join("control.sock");
    let mut waiting: Vec<UnixStream> = (0..20)
        .map(|_| {
            let mut stream = UnixStream::connect(&control).unwrap();
            stream.write_all(b"{\"command\":\"reload\",\"wait\":true,\"prove\":false}\n").unwrap();
            stream
        })
        .collect();
    wait_until(SOON, "it reloads", || {
        let mode = server.status().mode;
        holds(mode == "reloading", mode)
    });
    let silent: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(&control).unwrap()).collect();
    assert_eq!(server.status().mode, "reloading");
    drop(silent);
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    std::fs::remove_file(&pipe).unwrap();
    drop(writer);
    let answers: Vec<String> = waiting
        .iter_mut()
        .map(|stream| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .collect();
    let refused = answers.iter().filter(|answer| answer.contains("commands like this one wait")).count();
    assert_eq!(refused, 4, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.contains("\"done\"")).count(), 16, "{answers:?}");
}

#[test]
fn the_servers_own_messages_are_kept_also_over_an_upgrade() {
    use nix::sys::signal::Signal;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = r#"workers: (processes: 1), sites: [(listen: ["{address}"], locations: [(path: "/", to: Proxy("api"))])],"#;
    let server = Setup::new(&format!("{site} upstreams: {{\"api\": (servers: [\"{nobody}\"])}},")).start();
    let server = server.tolerant(&["connection refused"]);
    assert_eq!(get(server.address, "/pay?card=secret").status, 502);
    let told = |parts: &[&str]| {
        wait_until(SOON, "it is told", || {
            let shown = server.command(&["logs", "hatchery"]).stdout;
            holds(parts.iter().all(|part| shown.contains(part)), shown)
        });
    };
    let before = ["hatchery: INFO  listening on http://", "\nworker 0: ", "GET /pay", &nobody.to_string()];
    told(&before);
    server.wait_log("GET /pay?card=secret");
    let shown = server.command(&["logs", "hatchery"]).stdout;
    assert!(!shown.contains("secret"), "the log alone has the query: {shown}");
    assert_eq!(server.command(&["logs"]).stdout, "", "they are no output of children");
    server.master.signal(Signal::SIGUSR2);
    told(&[&before[..], &["received SIGUSR2", "goes on in place of"]].concat());
    let refused = server.command(&["logs", "hatchary"]);
    assert!(refused.stderr.contains("there is: hatchery"), "{refused:?}");
}

#[test]
fn status_tells_of_a_log_on_a_full_disk_until_it_works_again() {
    use nix::sys::signal::Signal;
    use std::os::unix::fs::symlink;
    let setup =
        Setup::new(&format!("    log: (access: (path: \"access.log\")), workers: (processes: 2),\n{HELLO}"))
            .under(&["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"]);
    let log = setup.directory.path().join("access.log");
    symlink("/dev/full", &log).unwrap();
    let server = setup.start();
    for _ in 0..10 {
        assert_eq!(get(server.address, "/").text(), "hello");
    }
    let logs = |expected: &[&str]| {
        wait_until(SOON, "status tells the logs", || {
            let logs = server.status().logs;
            let lost = |log: &&hatchery::control::command::LogStatus| {
                log.lines > 0 && log.error.contains("No space left")
            };
            let told: Vec<&str> = logs.iter().filter(lost).map(|log| log.log.as_str()).collect();
            holds(told == expected && logs.len() == expected.len(), &logs)
        });
    };
    logs(&["error", "access"]);
    let shown = server.command(&["status"]).stdout;
    for (log, path) in [("error", "/dev/full"), ("access", log.to_str().unwrap())] {
        let line = format!("  {log} log {path}: cannot be written since 20");
        assert!(shown.lines().any(|shown| shown.starts_with(&line) && shown.contains(" lines (")), "{shown}");
    }
    let lost = || server.status().logs.iter().find(|log| log.log == "error").map(|log| log.lines);
    let own = || server.command(&["logs", "hatchery"]).stdout;
    assert_eq!((lost(), own()), (lost(), own()), "to ask costs no line");
    std::fs::remove_file(&log).unwrap();
    server.master.signal(Signal::SIGUSR1);
    wait_until(SOON, "it is opened again", || holds(log.exists(), &log));
    wait_until(SOON, "a line is there", || {
        get(server.address, "/");
        holds(std::fs::metadata(&log).unwrap().len() > 0, &log)
    });
    logs(&["error"]);
}

#[test]
fn a_stray_signal_does_not_end_the_server() {
    use nix::sys::signal::Signal;
    let server = Setup::new(HELLO).start();
    for signal in [Signal::SIGALRM, Signal::SIGVTALRM, Signal::SIGXFSZ, Signal::SIGIO] {
        server.master.signal(signal);
        server.wait_log(&format!("received {signal:?}, which means nothing here"));
    }
    assert_eq!(get(server.address, "/").text(), "hello");
}

#[test]
fn a_temporary_directory_that_is_missing_is_refused_by_its_key() {
    // Files and fixed answers alone need none.
    let upstreams = "upstreams: {\"api\": (servers: [\"127.0.0.1:9\"])},";
    let with = |directory: &str| format!("    temp_dir: \"{directory}\", {upstreams}\n{HELLO}");
    let server = Setup::new(&with("{dir}")).start();
    server.configure(&with("{dir}/missing"));
    let refused = server.command(&["reload", "--wait"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("temp_dir: the directory"), "{refused:?}");
    assert_eq!(get(server.address, "/").text(), "hello");
    drop(server.tolerant(&["temp_dir"]));
    let ended = Setup::new(&with("{dir}/missing")).run_to_end();
    assert!(ended.code == Some(1) && ended.stderr.contains("temp_dir"), "{ended:?}");
}

/// `hatchery top` on a terminal of so many rows.
struct Top {
    child: std::process::Child,
    terminal: std::fs::File,
    /// Its other end, whose settings are looked at.
    slave: std::os::fd::OwnedFd,
    seen: String,
}

impl Top {
    fn start(server: &Server, rows: u16) -> Self {
        let window = nix::pty::Winsize { ws_row: rows, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = nix::pty::openpty(Some(&window), None).unwrap();
        let slave = || pair.slave.try_clone().unwrap();
        // Its own: Ctrl-C and a new size are told to it.
        let mut command = std::process::Command::new("setsid");
        command.arg("--ctty").arg(binary()).args(["top", "--control"]);
        command
            .arg(server.directory().path().join("control.sock"))
            .env("NO_COLOR", "1")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave());
        let child = command.spawn().unwrap();
        Self { child, terminal: std::fs::File::from(pair.master), slave: pair.slave, seen: String::new() }
    }

    /// Reads until what was drawn since the last call has this text, and returns it.
    #[track_caller]
    fn wait(&mut self, text: &str) -> String {
        use std::io::Read as _;
        use std::os::fd::AsFd as _;
        let mut buffer = [0; 4096];
        loop {
            if self.seen.contains(text) {
                return std::mem::take(&mut self.seen);
            }
            let mut set = [nix::poll::PollFd::new(self.terminal.as_fd(), nix::poll::PollFlags::POLLIN)];
            assert_eq!(nix::poll::poll(&mut set, 20_000u16), Ok(1), "{text:?} is not in {:?}", self.seen);
            let length = self.terminal.read(&mut buffer).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn press(&mut self, keys: &str) {
        use std::io::Write as _;
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    fn settings(&self) -> nix::sys::termios::Termios {
        nix::sys::termios::tcgetattr(&self.slave).unwrap()
    }
}

#[test]
fn top_takes_keys_and_leaves_the_terminal_as_it_was() {
    use nix::sys::signal::{Signal, kill};
    use nix::sys::termios::LocalFlags;
    let server = Setup::new(&format!("    workers: (processes: 9),\n{HELLO}")).start();
    let piped = server.command(&["top"]);
    assert_eq!((piped.code, &*piped.stdout), (Some(1), ""), "{piped:?}");
    assert!(piped.stderr.contains("needs a terminal") && piped.stderr.contains("status -v"), "{piped:?}");
    for end in ["q", "\x03", "", "x"] {
        let mut top = Top::start(&server, 8);
        let drawn = top.wait("1-5 of 9");
        assert!(drawn.contains("\x1b[?1049h") && drawn.contains("\x1b[Hhatchery "), "{drawn:?}");
        assert!(drawn.contains("sorted by cpu") && !top.settings().local_flags.contains(LocalFlags::ICANON));
        top.press("n\x1b[F");
        top.wait("sorted by name (s, or c m r n)  5-9 of 9");
        top.press("\x1b[A");
        top.wait(" 4-8 of 9");
        match end {
            "" => kill(nix::unistd::Pid::from_raw(top.child.id() as i32), Signal::SIGTERM).unwrap(),
            // The window shrinks meanwhile.
            "x" => {
                let mut stty = std::process::Command::new("stty");
                stty.args(["rows", "5", "cols", "9"]).stdin(top.slave.try_clone().unwrap());
                assert!(stty.status().unwrap().success());
                top.wait("sorted by\x1b[K");
                top.press("q");
            }
            keys => top.press(keys),
        }
        top.wait("\x1b[?25h\x1b[?1049l");
        assert!(top.child.wait().unwrap().success(), "{end:?}");
        assert!(top.settings().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "{end:?}");
    }
}

#[test]
fn status_tells_of_every_child_what_became_of_the_one_before() {
    use nix::sys::signal::Signal;
    let site = r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},
    cron: [(name: "long", at: "@yearly", command: ["sleep", "600"])],"#;
    let server = Setup::new(site).start();
    for pool in ["worker", "plain"] {
        let victim = server.ready(pool)[0];
        victim.signal(Signal::SIGKILL);
        wait_until(SOON, "it is replaced", || {
            let found = server.pool(pool);
            let child = found.children.iter().find(|child| child.state == "ready" && child.pid != victim.pid);
            let told = child.is_some_and(|child| {
                child.restarts == 1 && child.generation == 1 && child.last_exit.is_some()
            });
            holds(told, found)
        });
    }
    assert_eq!(server.command(&["cron", "run", "long"]).code, Some(0));
    let shown = wait_until(SOON, "the run is shown", || {
        let shown = server.command(&["status", "-v"]).stdout;
        if shown.contains("running: pid ") { Ok(shown) } else { Err(shown) }
    });
    let rows: Vec<&str> =
        shown.lines().filter(|line| line.contains("crashes 1  last exit: killed by")).collect();
    // A line for each pool and one for the process in it.
    assert_eq!(rows.len(), 4, "{shown}");
    assert!(
        shown.lines().any(|line| line.contains("running: pid ") && line.contains(" since 20")),
        "{shown}"
    );
}

#[test]
fn a_start_is_ended_by_no_signal_that_means_something_later() {
    use nix::sys::signal::{Signal, kill};
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut command = Command::new(crate::harness::binary());
    command.args(["run", "-c", "/dev/stdin"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut run = command.spawn().unwrap();
    let mut file = run.stdin.take().unwrap();
    // More than a pipe holds: it is being read.
    file.write_all(&[b' '; 128 * 1024]).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(run.id()).unwrap());
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTTIN, Signal::SIGALRM] {
        kill(pid, signal).unwrap();
    }
    file.write_all(b"(sites: oops)").unwrap();
    drop(file);
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}
