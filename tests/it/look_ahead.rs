//! Requests that are sent to a process while it is busy (decision 0027): they are answered in their order, and nothing is lost
//! or done twice when it dies, is slow, or somebody leaves.
//!
//! Whether requests go ahead depends on how fast the last ones were, which a busy machine decides: each test tries until
//! they did, as the process itself tells that sees them lie there.

use crate::harness::{Connection, Load, Reply, SOON, Server, Setup, get, holds, now, wait_until};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

const APP: &str = r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("ahead"))])],
    apps: {"ahead": (module: "app", chdir: "{apps}/ahead", processes: COUNT, threads: THREADS, timeout: "2s",
        max_requests: MOST, env: {"MARKS": "{dir}/marks"})},"#;

fn start(count: u32, threads: u32) -> Server {
    let text = APP.replace("COUNT", &count.to_string()).replace("THREADS", &threads.to_string());
    Setup::new(&text.replace("MOST", "0")).start()
}

fn marks(server: &Server) -> Vec<String> {
    let text = std::fs::read_to_string(server.directory().path().join("marks")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn file(server: &Server, name: &str) -> PathBuf {
    server.directory().path().join(name)
}

/// Sends a request for each line, in this order, over a connection of its own; the worker gets to see them all at once.
fn send(server: &Server, lines: &[String]) -> Vec<Connection> {
    let worker = server.ready("worker")[0];
    // It has taken them in, and has nothing else to do.
    let open = |_| {
        let mut one = Connection::open(server.address).unwrap();
        one.get("/fast").unwrap();
        one
    };
    let mut connections: Vec<Connection> = lines.iter().map(open).collect();
    worker.signal(Signal::SIGSTOP);
    for (connection, line) in connections.iter_mut().zip(lines) {
        connection.send(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    }
    worker.signal(Signal::SIGCONT);
    connections
}

fn replies(connections: &mut [Connection]) -> Vec<Reply> {
    connections.iter_mut().map(|one| one.reply("GET").unwrap()).collect()
}

/// Tries until it has come to that. A try that failed was slow, and for a second nothing goes ahead.
fn try_until<T>(server: &Server, what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    wait_until(SOON * 2, what, || {
        attempt().inspect_err(|_| {
            let since = now();
            while since.elapsed() < Duration::from_millis(1100) {
                get(server.address, "/fast");
            }
        })
    })
}

/// Sends `front`, which waits until the others lie behind it, and those, until it has come to that; what all were answered, and
/// the marks of those that have run then.
fn until_ahead(
    server: &Server,
    front: &str,
    others: &[&str],
    came: impl Fn(&[Reply]) -> bool,
) -> (Vec<Reply>, Vec<String>) {
    try_until(server, "requests go ahead", || {
        let before = marks(server).len();
        let lines: Vec<String> =
            std::iter::once(&front).chain(others).map(|line| (*line).to_owned()).collect();
        let got = replies(&mut send(server, &lines));
        if came(&got) { Ok((got, marks(server).split_off(before))) } else { Err(got[0].text()) }
    })
}

fn held(replies: &[Reply]) -> bool {
    replies[0].status == 200 && replies[0].json()["done"] == true
}

const MARKED: [&str; 3] = ["GET /?mark=a", "GET /?mark=b", "GET /?mark=c"];

#[test]
fn requests_lie_ahead_of_a_busy_process_and_are_answered_in_their_order() {
    let server = start(1, 1);
    let (replies, ran) = until_ahead(&server, "GET /?ahead=3", &MARKED, held);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(replies[0].json()["ahead"], 3);
    assert_eq!(ran, ["a", "b", "c"]);
}

#[test]
fn so_do_they_in_a_thread_whose_neighbour_is_slow() {
    let server = start(1, 2);
    let release = file(&server, "release");
    let mut slow = send(&server, &[format!("GET /?ahead=0&until={}", release.display())]);
    let (replies, ran) = until_ahead(&server, "GET /?ahead=3", &MARKED, held);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(ran, ["a", "b", "c"]);
    std::fs::write(release, "").unwrap();
    assert_eq!(slow[0].reply("GET").unwrap().status, 200);
}

#[test]
fn what_may_not_be_repeated_does_not_go_ahead_and_nothing_overtakes_it() {
    let server = start(1, 1);
    let others = ["GET /?mark=a", "POST /?mark=b", "GET /?mark=c"];
    let (replies, ran) = until_ahead(&server, "GET /?ahead=1", &others, held);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(replies[0].json()["ahead"], 1, "neither the POST nor what came after it");
    assert_eq!(ran, ["a", "b", "c"]);
}

#[test]
fn what_lies_behind_a_slow_request_is_called_back_and_runs_once() {
    let server = start(1, 1);
    let (replies, mut ran) = until_ahead(&server, "GET /?ahead=3&cancels=3", &MARKED, held);
    assert!(replies.iter().all(|reply| reply.status == 200));
    ran.sort();
    assert_eq!(ran, ["a", "b", "c"]);
}

#[test]
fn and_goes_to_another_process_that_is_free() {
    let server = start(2, 1);
    let mut tries = 0;
    try_until(&server, "requests go ahead", || {
        tries += 1;
        let (first, second) =
            (file(&server, &format!("first-{tries}")), file(&server, &format!("second-{tries}")));
        let hold = |path: &PathBuf| format!("GET /?ahead=0&until={}", path.display());
        let before = marks(&server).len();
        let mut lines = vec![hold(&first), hold(&second)];
        lines.extend(["a", "b", "c", "d"].map(|name| format!("GET /?mark={name}")));
        let mut connections = send(&server, &lines);
        // The second process may not have served before, so that nothing lies there.
        let called_back = is_called_back(&first) || is_called_back(&second);
        std::fs::write(&second, "").unwrap();
        let got = replies(&mut connections[1..]);
        assert!(got.iter().all(|reply| reply.status == 200));
        let mut ran = marks(&server).split_off(before);
        std::fs::write(&first, "").unwrap();
        assert_eq!(connections[0].reply("GET").unwrap().status, 200);
        if !called_back {
            return Err("they were not called back".to_owned());
        }
        ran.sort();
        assert_eq!(ran, ["a", "b", "c", "d"], "each of them once, while the first process was busy");
        assert_eq!(marks(&server).len(), before + 4, "and not in that one later");
        Ok(())
    });
}

/// Whether the process that holds until there is a file `path` sees soon that requests behind it are called back.
fn is_called_back(path: &Path) -> bool {
    let told = PathBuf::from(format!("{}.called-back", path.display()));
    let since = now();
    while since.elapsed() < Duration::from_millis(300) && !told.exists() {
        std::thread::yield_now();
    }
    told.exists()
}

#[test]
fn what_lies_in_a_process_that_dies_is_answered_by_its_successor() {
    let server = start(1, 1).tolerant(&["killed by SIGKILL", "[closed]"]);
    let died = |replies: &[Reply]| replies[0].status == 502;
    // A POST may not be repeated.
    let (replies, ran) = until_ahead(&server, "POST /?ahead=3&die=1", &MARKED, died);
    assert!(replies[1..].iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(ran, ["a", "b", "c"]);
    assert_eq!(server.pool("ahead").restarts, 1);
}

#[test]
fn what_lies_in_a_process_that_hangs_is_answered_by_its_successor() {
    let server = start(1, 1).tolerant(&["time-out", "killed by", "[silent]"]);
    let late = |replies: &[Reply]| replies[0].status == 504;
    let (replies, ran) = until_ahead(&server, "GET /?ahead=3&hang=1", &MARKED, late);
    assert!(replies[1..].iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(ran, ["a", "b", "c"]);
}

#[test]
fn a_request_whose_client_has_left_is_not_begun() {
    let server = start(1, 1);
    let mut tries = 0;
    try_until(&server, "requests go ahead", || {
        tries += 1;
        let release = file(&server, &format!("release-{tries}"));
        let before = marks(&server).len();
        let hold = format!("GET /?ahead=0&until={}", release.display());
        let lines = [hold, "GET /?mark=left".to_owned(), "GET /?mark=stays".to_owned()];
        let mut connections = send(&server, &lines);
        drop(connections.remove(1));
        wait_until(SOON, "the worker has closed it", || {
            let open =
                server.pool("worker").children.iter().filter_map(|worker| worker.connections).sum::<u64>();
            holds(open == 2, open)
        });
        std::fs::write(&release, "").unwrap();
        let replies = replies(&mut connections);
        assert!(replies.iter().all(|reply| reply.status == 200));
        assert_eq!(marks(&server).split_off(before), ["stays"]);
        // Or it lay in the queue of the worker, and nothing was to be cancelled.
        holds(replies[0].json()["cancels"].as_u64() > Some(0), replies[0].text())
    });
}

#[test]
fn a_client_that_leaves_takes_nobody_along() {
    let server = start(1, 1);
    let mut tries = 0;
    try_until(&server, "a request lies behind a stream", || {
        tries += 1;
        let closed = format!("closed-{tries}");
        let lines = [format!("GET /?stream={closed}"), "GET /?mark=behind".to_owned()];
        let mut connections = send(&server, &lines);
        let mut first = vec![0; 2];
        connections[0].reply_head().unwrap();
        connections[0].exactly(2, &mut first).unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"}") {
            connections[0].exactly(1, &mut line).unwrap();
        }
        drop(connections.remove(0));
        let behind = connections[0].reply("GET").unwrap();
        assert_eq!((behind.status, &behind.json()["mark"]), (200, &"behind".into()), "{}", behind.text());
        wait_until(SOON, "the stream is closed", || {
            let marks = marks(&server);
            holds(marks.contains(&closed), marks)
        });
        let lay = String::from_utf8_lossy(&line).contains("\"ahead\": 1");
        if lay { Ok(()) } else { Err(String::from_utf8_lossy(&line).into_owned()) }
    });
    assert_eq!(server.pool("ahead").restarts, 0, "its process was not to blame");
}

#[test]
fn a_worker_that_is_late_gives_everybody_the_right_answer() {
    let server = start(1, 1);
    let worker = server.ready("worker")[0];
    for round in 0..20 {
        let mark = |name: &str| format!("GET /?mark={name}-{round}");
        let lines = ["a", "b", "c", "d"].map(mark);
        let mut all = vec![format!("GET /?mark=slow-{round}&sleep=0.006")];
        all.extend(lines);
        let mut connections = send(&server, &all);
        // Within the time of the first, or after it: what has come by then, the worker finds late.
        while !marks(&server).contains(&format!("slow-{round}")) {
            std::thread::yield_now();
        }
        worker.signal(Signal::SIGSTOP);
        let since = now();
        while since.elapsed() < Duration::from_millis(12) {
            std::thread::yield_now();
        }
        worker.signal(Signal::SIGCONT);
        for (reply, line) in replies(&mut connections).iter().zip(&all) {
            assert_eq!(reply.status, 200, "{line}: {}", reply.text());
            let mark = reply.json()["mark"].as_str().unwrap().to_owned();
            assert!(line.contains(&format!("={mark}")), "{line} has the answer to {mark}");
        }
    }
    assert_eq!(server.pool("ahead").restarts, 0);
}

#[test]
fn two_workers_share_a_process_and_reloads_fail_no_request() {
    let text = APP.replace("(processes: 1)", "(processes: 2)");
    let text = text.replace("COUNT", "1").replace("THREADS", "1").replace("MOST", "0");
    let server = Setup::new(&text).start();
    let load = Load::start(server.address, 24, &["/fast"]);
    for _ in 0..3 {
        load.wait_for(500);
        assert_eq!(server.command(&["reload"]).code, Some(0));
    }
    load.wait_for(500);
    let served: Vec<u64> =
        server.pool("worker").children.iter().filter_map(|worker| worker.requests).collect();
    load.finish().assert_flawless();
    assert!(served.len() >= 2 && served.iter().all(|served| *served > 0), "{served:?}");
}

#[test]
fn processes_that_are_replaced_under_load_fail_no_request() {
    let text = APP.replace("COUNT", "2").replace("THREADS", "1").replace("MOST", "40");
    let server = Setup::new(&text).start();
    let load = Load::start(server.address, 24, &["/fast"]);
    wait_until(SOON, "many were replaced", || {
        let replaced = server.log().iter().filter(|line| line.contains("replaced: it served")).count();
        holds(replaced >= 6, replaced)
    });
    load.finish().assert_flawless();
}
