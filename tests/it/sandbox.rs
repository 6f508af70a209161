//! Least privilege: workers reach what they serve and nothing else, and everything still works. What a single worker can
//! still do is tried in `master::spawn::tests`.

use crate::harness::{
    Connection, Directory, SOON, Server, Setup, Upstream, get, hatchery, holds, noise, sha256, wait_until,
    without,
};
use hatchery::sys::sandbox;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Whether the kernel offers everything; says so if not.
fn offered() -> bool {
    let missing = sandbox::missing();
    if !missing.is_empty() {
        eprintln!("nothing to test: this kernel does not offer {missing:?}");
    }
    missing.is_empty()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// `user: "nobody"`, for tests that run as root.
fn as_nobody() -> &'static str {
    if is_root() { "user: \"nobody\"," } else { "" }
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const APP: &str = r#"
import hashlib, os
def application(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/read":
        try:
            return [open(environ["QUERY_STRING"], "rb").read()]
        except OSError as error:
            return [type(error).__name__.encode()]
    if environ["PATH_INFO"] == "/large":
        return [b"x" * 65536 for _ in range(64)]
    return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]
"#;

fn line(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.expect("a line of /proc/PID/status").trim().to_owned()
}

/// Root, of a process that is not dumpable (proc(5)).
fn owner_of_memory(pid: u32) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid()
}

#[test]
fn everything_works_in_the_strictest_sandbox() {
    if !offered() {
        return;
    }
    let upstream = Upstream::fixed("over TCP");
    let setup = Setup::new(&format!(
        r#"
    {user}
    sandbox: Require,
    temp_dir: "{{dir}}/spool",
    workers: (processes: 2),
    sites: [
        (
            listen: ["{{address}}"],
            error_pages: {{404: "{{dir}}/pages/404.html"}},
            locations: [
                (path: "/static/", to: Files("static")),
                (path: "/tcp", to: Proxy("tcp")), (path: "/unix", to: Proxy("unix")),
                (path: "/", to: App("app")),
            ],
        ),
        (listen: ["unix:{{dir}}/inner.sock"], locations: [(path: "/", to: Respond(status: 200, body: "over a path"))]),
    ],
    upstreams: {{"tcp": (servers: ["{upstream}"]), "unix": (servers: ["unix:{{dir}}/inner.sock"])}},
    apps: {{"app": (module: "app_of_test", chdir: "{{dir}}", processes: 1)}},"#,
        user = as_nobody(),
        upstream = upstream.address,
    ));
    let directory = &setup.directory;
    directory.write("app_of_test.py", APP);
    directory.write("static/sub/file.txt", "file");
    directory.write("pages/404.html", "our own page");
    std::fs::create_dir(directory.path().join("spool")).unwrap();
    mode(directory.path().join("spool"), 0o777);
    let server = setup.env("PATH", "/usr/bin:/bin").start();

    assert_eq!(get(server.address, "/static/sub/file.txt").text(), "file");
    assert_eq!(get(server.address, "/static/none").text(), "our own page");
    let pages = server.directory().path().join("pages");
    server.directory().write("pages/new.html", "another page");
    std::fs::rename(pages.join("new.html"), pages.join("404.html")).unwrap();
    wait_until(SOON, "the page that took its place is served", || {
        let text = get(server.address, "/static/none").text();
        holds(text == "another page", text)
    });
    assert_eq!(get(server.address, "/tcp").text(), "over TCP");
    assert_eq!(get(server.address, "/unix").text(), "over a path");
    // A body that is spooled to the temporary directory, and a response that is.
    let body = noise(3 << 20, 7);
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.request("POST", "/", &[], &body).unwrap().text(), sha256(&body));
    assert_eq!(get(server.address, "/large").body.len(), 64 << 16);
    assert_eq!(std::fs::read_dir(server.directory().path().join("spool")).unwrap().count(), 0);
}

#[test]
fn status_shows_what_the_kernel_applies() {
    let setup = Setup::new(&format!(
        "    {}\n    workers: (processes: 1),\n    \
         sites: [(listen: [\"{{address}}\"], locations: [(path: \"/\", to: Respond(status: 204))])],",
        as_nobody()
    ));
    let server = setup.start();
    let worker = server.ready("worker")[0].pid;
    assert_eq!(line(worker, "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(line(worker, set), "0000000000000000", "{set}");
    }
    if is_root() {
        assert_eq!(line(worker, "CapBnd"), "0000000000000000");
    }
    let told = server.status().sandbox;
    assert_eq!(told.mode, "Try");
    let has = |what: &str| told.applied.iter().any(|part| part.starts_with(what));
    assert!(has("no capabilities") && has("no new privileges") && has("no core dumps"), "{told:?}");
    assert_eq!(has("seccomp"), line(worker, "Seccomp") == "2", "{told:?}");
    assert_eq!(owner_of_memory(worker), 0, "it leaves no cores, and nobody of its user traces it");
    if offered() {
        assert!(has("Landlock ") && has("seccomp") && told.missing.is_empty(), "{told:?}");
    }
    let shown = server.command(&["status"]).stdout;
    assert!(shown.contains("  sandbox Try: no capabilities, no new privileges, no core dumps"), "{shown}");
    let warned = server.log().iter().any(|line| line.contains("sandboxed in part"));
    assert_eq!(warned, !offered());

    server.configure(
        "    sandbox: Off,\n    workers: (processes: 1),\n    \
         sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 204))])],",
    );
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
    let worker = server.wait_ready(SOON, "worker", 1)[0].pid;
    assert_eq!(
        (line(worker, "Seccomp"), line(worker, "CapEff")),
        ("0".to_owned(), "0000000000000000".to_owned())
    );
    assert_eq!(server.status().sandbox.missing, ["no core dumps", "Landlock", "seccomp"]);
    assert_eq!(owner_of_memory(worker), nix::unistd::geteuid().as_raw());
}

#[test]
fn apps_and_jobs_run_as_their_users_and_read_no_keys() {
    if !is_root() {
        return;
    }
    let setup = Setup::new(
        r#"
    user: "nobody",
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "app_of_test", chdir: "{dir}", processes: 1, user: "daemon")},
    cron: [(name: "peep", at: "@every 1s", command: ["sh", "-c", "id -un; cat {dir}/key.pem"], user: "games")],"#,
    );
    setup.directory.write("app_of_test.py", APP);
    let key = setup.directory.write("key.pem", "secret");
    mode(&key, 0o600);
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    let readable = setup_path(&server, "app_of_test.py");
    assert!(get(server.address, &format!("/read?{readable}")).text().contains("def application"));
    assert_eq!(get(server.address, &format!("/read?{}", key.display())).text(), "PermissionError");
    server.wait_log("games");
    server.wait_log("Permission denied");
    let log = server.log().join("\n");
    assert!(!log.contains("secret"), "{log}");
    let user = |name: &str| nix::unistd::User::from_name(name).unwrap().unwrap().uid.as_raw();
    assert_eq!(server.ready("app")[0].user(), user("daemon"));
    assert_eq!(server.ready("worker")[0].user(), user("nobody"));
}

fn setup_path(server: &Server, name: &str) -> String {
    server.directory().path().join(name).display().to_string()
}

#[test]
fn limits_of_an_app_are_in_force() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("app"))])],
    apps: {"app": (module: "limits_of_test", chdir: "{dir}", processes: 1, oom_score_adj: 300,
        limits: (open_files: 123, processes: 4000, address_space: "3GiB", core: "0B"))},"#,
    );
    setup.directory.write(
        "limits_of_test.py",
        "import resource as r\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
         limits = [r.getrlimit(getattr(r, 'RLIMIT_' + name)) for name in ('NOFILE', 'NPROC', 'AS', 'CORE')]\n    \
         return [repr((limits, open('/proc/self/oom_score_adj').read())).encode()]\n",
    );
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    let space = 3_u64 << 30;
    let wanted = format!("([(123, 123), (4000, 4000), ({space}, {space}), (0, 0)], '300\\n')");
    assert_eq!(get(server.address, "/").text(), wanted);
}

/// `current -> one`, which becomes `current -> two`.
fn swap(directory: &Directory) {
    let path = |name: &str| directory.path().join(name);
    symlink(path("two"), path("next")).unwrap();
    std::fs::rename(path("next"), path("current")).unwrap();
}

fn releases(configuration: &str) -> Setup {
    let setup = Setup::new(configuration);
    for release in ["one", "two"] {
        setup.directory.write(format!("{release}/static/name.txt"), release);
    }
    symlink(setup.directory.path().join("one"), setup.directory.path().join("current")).unwrap();
    setup
}

/// Two sites over the same files, one of them with an app.
fn two_sites(setup: &str) -> String {
    format!(
        r#"
    {setup}
    workers: (processes: 2),
    default_site: "files.example",
    sites: [
        (listen: ["{{address}}"], names: ["files.example"], locations: [(path: "/static/", to: Files("current/static"))]),
        (listen: ["{{address}}"], names: ["app.example"], locations: [
            (path: "/static/", to: Files("current/static")), (path: "/", to: App("app"))]),
    ],
    apps: {{"app": (module: "app_of_test", chdir: "{{dir}}", processes: 1)}},"#
    )
}

/// What the site with the app serves.
fn beside_the_app(server: &Server) -> String {
    let mut connection = Connection::open(server.address).unwrap();
    connection.request("GET", "/static/name.txt", &[("Host", "app.example")], b"").unwrap().text()
}

fn wait_for_name(server: &Server, name: &str) {
    wait_until(SOON, "the new directory is served", || {
        let reply = get(server.address, "/static/name.txt");
        holds(reply.status == 200 && reply.text() == name, reply)
    });
}

#[test]
fn a_replaced_static_root_is_served_soon_and_apps_stay() {
    let setup = releases(&two_sites(as_nobody()));
    setup.directory.write("app_of_test.py", APP);
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    let (app, workers) = (server.ready("app"), server.wait_ready(SOON, "worker", 2));
    assert_eq!(get(server.address, "/static/name.txt").text(), "one");
    // What is edited meanwhile is not taken: only the root has changed.
    server.configure("    sites: [],");
    swap(server.directory());
    wait_for_name(&server, "two");
    if offered() {
        server.wait_log("is another directory now; the workers are replaced");
        server.wait_log("a static root was replaced");
        wait_until(SOON, "all workers are others", || {
            let now = server.wait_ready(SOON, "worker", 2);
            holds(now.iter().all(|worker| !workers.contains(worker)), now)
        });
        let said = server.log().iter().filter(|line| line.contains("is another directory now")).count();
        assert_eq!(said, 1);
        assert!(server.log().iter().all(|line| !line.contains("restart was asked for")));
    }
    assert_eq!((server.ready("app"), server.status().generation), (app, 1));
}

#[test]
fn code_and_files_of_a_release_switch_together() {
    let setup = releases(&two_sites(as_nobody()));
    setup.directory.write("app_of_test.py", APP);
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    assert_eq!(
        (get(server.address, "/static/name.txt").text(), beside_the_app(&server)),
        ("one".to_owned(), "one".to_owned())
    );
    swap(server.directory());
    wait_for_name(&server, "two");
    // The link alone says nothing about the code.
    assert_eq!(beside_the_app(&server), "one");
    server.hang_up();
    wait_until(SOON, "the new release is served", || {
        let name = beside_the_app(&server);
        holds(name == "two", name)
    });
    // A directory that is made anew is followed at once.
    let made = server.directory().path().join("two/static");
    std::fs::remove_dir_all(&made).unwrap();
    server.directory().write("two/static/name.txt", "three");
    wait_until(SOON, "the directory that was made anew is served", || {
        let name = beside_the_app(&server);
        holds(name == "three", name)
    });
}

#[test]
fn a_root_that_is_replaced_before_anybody_asks_for_it_is_served_soon() {
    let setup = releases(&two_sites(as_nobody()));
    setup.directory.write("app_of_test.py", APP);
    let server = setup.env("PATH", "/usr/bin:/bin").start();
    swap(server.directory());
    let first = get(server.address, "/static/name.txt");
    assert!(first.status == 200 && ["one", "two"].contains(&&*first.text()), "nothing is lost: {first:?}");
    wait_for_name(&server, "two");
    assert_eq!(beside_the_app(&server), "one");
    server.wait_ready(SOON, "worker", 2);
    // The one that the link led to, made anew, and not asked for since the workers were replaced.
    std::fs::remove_dir_all(server.directory().path().join("one/static")).unwrap();
    server.directory().write("one/static/name.txt", "three");
    wait_until(SOON, "the directory that was made anew is served", || {
        let name = beside_the_app(&server);
        holds(name == "three", name)
    });
}

#[test]
fn a_file_that_workers_may_not_read_is_named_in_the_log() {
    let setup = Setup::new(&format!(
        r#"
    {}
    log: (access: (format: Json)),
    sites: [(listen: ["{{address}}"], locations: [(path: "/s/", to: Files("files"))])],"#,
        as_nobody()
    ));
    let closed = setup.directory.write("files/closed\nfile", "x");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let server = setup.start();
    assert_eq!(get(server.address, "/s/closed%0afile").status, 403);
    let line = server.wait_log("files/closed\\nfile: permission denied (");
    assert!(line.contains("WARN") && line.contains("files: GET /s/closed%0afile: /"), "{line}");
    assert!(server.wait_log("\"status\":403").contains("\"error\":\"permission denied\""));
}

#[test]
fn a_static_root_that_is_missing_costs_its_location_until_it_is_there() {
    let configuration = |start: &str| {
        format!(
            r#"
    {}
    {start}
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/s/", to: Files("{{dir}}/later")), (path: "/", to: Respond(status: 200, body: "here"))])],"#,
            as_nobody()
        )
    };
    let refused = Setup::new(&configuration("start: AllOrNothing,")).run_to_end();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("/later cannot be opened; create it"), "{refused:?}");

    let server = Setup::new(&configuration("")).start().tolerant(&["static root", "reload"]);
    assert_eq!((get(server.address, "/").text().as_str(), get(server.address, "/s/a").status), ("here", 503));
    server.wait_log("/later cannot be opened; create it");
    server.wait_log("sites[0].locations[0].to.root: ");
    let reloaded = server.command(&["reload", "--wait"]);
    assert_eq!(reloaded.code, Some(1), "{reloaded:?}");
    assert!(reloaded.stderr.contains("/later cannot be opened"), "{reloaded:?}");
    server.directory().write("later/a", "there");
    wait_until(SOON, "it is served once it is there", || {
        let reply = get(server.address, "/s/a");
        holds(reply.status == 200 && reply.text() == "there", reply)
    });
    if offered() {
        server.wait_log("/later is there now; the workers are replaced");
    }
    assert_eq!(server.command(&["reload", "--wait"]).code, Some(0));
}

const NO_LANDLOCK: &[i64] = &[nix::libc::SYS_landlock_create_ruleset];
const NEITHER: &[i64] = &[nix::libc::SYS_landlock_create_ruleset, nix::libc::SYS_seccomp];

#[test]
fn a_sandbox_that_is_required_and_missing_is_an_error() {
    let text = "    sandbox: Require,\n    \
                sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 204))])],";
    let setup = Setup::new(text).bind_itself();
    let check = hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let said = check.stdout + &check.stderr;
    if offered() {
        assert_eq!(check.code, Some(0), "{said}");
    } else {
        assert!(check.code == Some(1) && said.contains("sandbox: this kernel does not offer"), "{said}");
    }
    for (calls, missing) in [(NO_LANDLOCK, "Landlock (since Linux 5.13"), (NEITHER, "seccomp filters")] {
        let words = without(calls);
        let checked = std::process::Command::new(&words[0])
            .args(&words[1..])
            .arg(crate::harness::binary())
            .args(["check", "-c", "hatchery.ron"])
            .current_dir(setup.directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains("sandbox: this kernel does not offer") && said.contains(missing), "{said}");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = Setup::new(text).bind_itself().under(&words).run_to_end();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(missing), "{ended:?}");
    }
}

#[test]
fn what_the_kernel_lacks_is_warned_of_once_and_shown() {
    let text = "    workers: (processes: 2),\n    \
                sites: [(listen: [\"{address}\"], locations: [(path: \"/\", to: Respond(status: 200, body: \"here\"))])],";
    for (calls, missing) in [(NO_LANDLOCK, &["Landlock"][..]), (NEITHER, &["Landlock", "seccomp"])] {
        let words = without(calls);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = Setup::new(text).under(&words).start();
        server.wait_ready(SOON, "worker", 2);
        assert_eq!(get(server.address, "/").text(), "here");
        let told = server.status().sandbox;
        assert!(told.mode == "Try" && told.missing == missing, "{told:?}");
        let part = |what: &str| told.applied.iter().any(|part| part.starts_with(what));
        assert!(part("no capabilities") && part("no new privileges") && part("no core dumps"), "{told:?}");
        let shown = server.command(&["status"]).stdout;
        assert!(shown.contains(&format!("; without {}", missing.join(", "))), "{shown}");
        let warnings: Vec<String> =
            server.log().into_iter().filter(|line| line.contains("sandboxed in part")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(" WARN "), "{warnings:?}");
    }
}
