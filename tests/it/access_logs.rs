//! Access logs of sites.

use crate::harness::{Connection, SOON, Server, Setup, holds, wait_until};
use nix::sys::signal::Signal;

/// Three sites; with the logs of the first two.
fn sites(one: &str, two: &str) -> String {
    let site = |name: &str, log: &str| {
        format!(
            "(names: [\"{name}\"], listen: [\"{{address}}\"], {log} locations: [(path: \"/\", to: Respond(status: 204))]),"
        )
    };
    format!(
        "log: (access: (path: \"{{dir}}/server.log\")), workers: (processes: 2), sites: [{}{}{}],",
        site("one", one),
        site("two", two),
        site("three", "")
    )
}

fn ask(server: &Server, host: &str, path: &str) -> u16 {
    Connection::open(server.address).unwrap().request("GET", path, &[("Host", host)], b"").unwrap().status
}

/// Paths of the requests in a log, once there are so many.
#[track_caller]
fn logged(server: &Server, name: &str, count: usize) -> Vec<String> {
    let path = server.directory().path().join(name);
    let mut found = wait_until(SOON, &format!("{count} lines in {name}"), || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let of =
            |line: &str| line.split("GET ").nth(1).or(line.split("target\":\"").nth(1)).map(str::to_owned);
        let paths: Vec<String> =
            text.lines().map(|line| of(line).unwrap_or_else(|| line.to_owned())).collect();
        holds(paths.len() >= count, &text).map(|()| paths)
    });
    found.iter_mut().for_each(|path| path.truncate(path.find([' ', '"']).unwrap_or(path.len())));
    found.sort();
    found
}

const OWN: &str = "log: (access: (path: \"{dir}/own.log\", format: Json)),";

#[test]
fn a_site_with_a_log_of_its_own_writes_there_only() {
    let server = Setup::new(&sites(OWN, "log: (access: Off),")).start();
    for (host, path, status) in [
        ("one", "/1", 204),
        ("two", "/2", 204),
        ("three", "/3", 204),
        ("four", "/4", 421),
        ("one", "/5", 204),
    ] {
        assert_eq!(ask(&server, host, path), status, "{host}");
    }
    let mut broken = Connection::open(server.address).unwrap();
    broken.send("GET /6 HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n").unwrap();
    assert_eq!(broken.reply("GET").unwrap().status, 400);
    assert_eq!(logged(&server, "server.log", 3), ["/3", "/4", "/6"]);
    assert_eq!(logged(&server, "own.log", 2), ["/1", "/5"]);
    let lines = std::fs::read_to_string(server.directory().path().join("own.log")).unwrap();
    assert!(lines.lines().all(|line| line.starts_with("{\"time\":")), "{lines}");
}

#[test]
fn sites_share_a_log_and_standard_output_is_one() {
    let shared = "log: (access: (path: \"{dir}/server.log\")),";
    let server =
        Setup::new(&sites(shared, "log: (access: (path: \"/dev/stdout\", format: VhostCombined)),")).start();
    for (host, path) in [("one", "/1"), ("two", "/2"), ("three", "/3")] {
        ask(&server, host, path);
    }
    assert_eq!(logged(&server, "server.log", 2), ["/1", "/3"]);
    let line = server.wait_log("GET /2");
    assert!(line.starts_with("two 127.0.0.1"), "{line}");
}

#[test]
fn logs_are_opened_again_and_come_and_go_with_a_reload() {
    let server = Setup::new(&sites(OWN, "")).start();
    let at = |name: &str| server.directory().path().join(name);
    assert_eq!((ask(&server, "one", "/1"), ask(&server, "three", "/2")), (204, 204));
    assert_eq!(
        (logged(&server, "own.log", 1), logged(&server, "server.log", 1)),
        (vec!["/1".to_owned()], vec!["/2".to_owned()])
    );
    for name in ["own.log", "server.log"] {
        std::fs::rename(at(name), at(&format!("{name}.1"))).unwrap();
    }
    server.master.signal(Signal::SIGUSR1);
    server.wait_log("2 of 2 access logs were reopened");
    // The workers hear of it, each in its own time.
    wait_until(SOON, "both logs are written to again", || {
        let _asked = [("one", "/3"), ("three", "/4")].map(|(host, path)| ask(&server, host, path));
        let length = |name| std::fs::metadata(at(name)).map_or(0, |found| found.len());
        holds(length("own.log") > 0 && length("server.log") > 0, ())
    });
    assert!(logged(&server, "own.log", 1).iter().all(|path| path == "/3"));
    assert!(logged(&server, "server.log", 1).iter().all(|path| path == "/4"));
    let before = logged(&server, "own.log.1", 1).len();
    server.configure(&sites("", "log: (access: (path: \"{dir}/two.log\")),"));
    server.hang_up();
    for (host, path) in [("one", "/5"), ("two", "/6")] {
        ask(&server, host, path);
    }
    assert_eq!(logged(&server, "two.log", 1), ["/6"]);
    wait_until(SOON, "the server's log has it", || {
        let text = std::fs::read_to_string(at("server.log")).unwrap();
        holds(text.contains("GET /5"), text)
    });
    assert_eq!(logged(&server, "own.log.1", 1).len(), before);
    // An upgrade takes all of them along.
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    assert_eq!(ask(&server, "two", "/7"), 204);
    assert_eq!(logged(&server, "two.log", 2), ["/6", "/7"]);
}

#[test]
fn a_log_that_cannot_be_opened_is_told_with_its_key() {
    let wrong = "log: (access: (path: \"{dir}/no/own.log\")),";
    let mut setup = Setup::new(&sites("", wrong));
    let refused = setup.run_to_end();
    let what = "sites[1].log.access.path: cannot open ";
    assert!(refused.code == Some(1) && refused.stderr.contains(what), "{refused:?}");
    let checked = crate::harness::hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let what = "hatchery.ron:3:";
    assert!(checked.code == Some(1) && checked.stderr.contains(what), "{checked:?}");
    assert!(checked.stderr.contains("sites[1].log.access.path: the directory `"), "{checked:?}");

    let server = Setup::new(&sites(OWN, "")).start().tolerant(&["the access log stays as it is"]);
    let own = server.directory().path().join("own.log");
    std::fs::remove_file(&own).unwrap();
    std::fs::create_dir(&own).unwrap();
    server.master.signal(Signal::SIGUSR1);
    server.wait_log("the access log stays as it is: sites[0].log.access.path: cannot open");
    server.wait_log("1 of 2 access logs were reopened");
    assert_eq!(ask(&server, "one", "/"), 204);
}

#[test]
fn more_logs_than_fit_the_channel_of_a_worker_are_all_opened_again() {
    const LOGS: usize = 700;
    let name = |number: usize| format!("site{number}");
    let sites: String = (0..LOGS)
        .map(|number| {
            let name = name(number);
            format!(
                "(names: [\"{name}\"], listen: [\"{{address}}\"], log: (access: (path: \"{{dir}}/{name}.log\")), \
                 locations: [(path: \"/\", to: Respond(status: 204))]),"
            )
        })
        .collect();
    let server = Setup::new(&format!("workers: (processes: 1), sites: [{sites}],")).start();
    let workers = server.wait_ready(SOON, "worker", 1);
    let worker = workers.first().unwrap();
    worker.signal(Signal::SIGSTOP);
    for name in (0..LOGS).map(name) {
        std::fs::remove_file(server.directory().path().join(format!("{name}.log"))).unwrap();
    }
    server.master.signal(Signal::SIGUSR1);
    server.wait_log(&format!("{} of {} access logs were reopened", LOGS + 1, LOGS + 1));
    worker.signal(Signal::SIGCONT);
    wait_until(SOON, "all logs are written to", || {
        let mut connection = Connection::open(server.address).unwrap();
        for name in (0..LOGS).map(name) {
            assert_eq!(connection.request("GET", "/", &[("Host", &name)], b"").unwrap().status, 204);
        }
        let log = |name: &String| server.directory().path().join(format!("{name}.log"));
        let silent = |name: &String| std::fs::metadata(log(name)).map_or(true, |found| found.len() == 0);
        let lacking: Vec<String> = (0..LOGS).map(name).filter(silent).collect();
        holds(lacking.is_empty(), lacking)
    });
}

#[test]
fn a_request_that_a_stop_breaks_off_has_its_line() {
    let mut server = Setup::new(
        r#"
    workers: (processes: 1),
    shutdown_timeout: "1s",
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("asgi"))])],
    apps: {"asgi": (module: "app:app", chdir: "{apps}/asgi", home: "{venv}")},"#,
    )
    .start();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    assert!(server.log().iter().any(|line| line.contains("\"GET /events HTTP/1.1\" 200 ")));
}
