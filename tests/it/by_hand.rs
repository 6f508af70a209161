//! `hatchery stop NAME` and `start NAME`: one app or daemon, while the server goes on.

use crate::harness::{Connection, SOON, Server, Setup, get, hatchery, holds, wait_until};
use nix::sys::signal::Signal;

const APP: &str = r#"
import os, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/slow":
        open("begun", "w").close()
        while not os.path.exists("gate"):
            time.sleep(0.01)
    return [b"served"]
"#;

fn start(app: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/other", to: Respond(status: 200, body: "other")),
        (path: "/health", to: App("shop"), probe: (answer: Asleep200)),
        (path: "/", to: App("shop")),
    ])],
    apps: {{"shop": (module: "shop", chdir: "{{dir}}", {app})}},
    daemons: {{"beat": (command: ["sh", "-c", "while :; do sleep 1000; done"], ready_after: "100ms")}},"#
    ));
    setup.directory.write("shop.py", APP);
    setup.start()
}

fn done(server: &Server, arguments: &[&str]) -> String {
    let finished = server.command(arguments);
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    finished.stdout.trim_end().to_owned()
}

#[test]
fn a_start_by_hand_and_the_status_say_what_keeps_an_app_from_starting() {
    let server = start("").tolerant(&["could not start", "looked in", "next attempt"]);
    done(&server, &["stop", "shop"]);
    std::fs::rename(server.directory().path().join("shop.py"), server.directory().path().join("away"))
        .unwrap();
    let told = server.command(&["start", "shop"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    let error = "ImportError: cannot import 'shop': No module named 'shop'";
    assert!(told.stderr.contains(error), "{told:?}");
    let table = done(&server, &["status"]);
    assert!(table.contains(error), "{table}");
}

#[test]
fn an_app_is_stopped_by_hand_after_what_it_has_begun_and_started_again() {
    let server = start("processes: 2");
    let before = server.wait_ready(SOON, "shop", 2);
    let mut slow = Connection::open(server.address).unwrap();
    slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let begun = server.directory().path().join("begun");
    wait_until(SOON, "the request runs", || holds(begun.exists(), "not yet"));
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| done(&server, &["stop", "shop"]));
        wait_until(SOON, "new requests are refused", || {
            let reply = get(server.address, "/");
            holds(reply.status == 503, reply.status)
        });
        assert!(!stop.is_finished(), "it waits for the request");
        server.directory().write("gate", "");
        assert_eq!(slow.reply("GET").unwrap().text(), "served");
        assert_eq!(stop.join().unwrap(), "app shop: stopped, until `hatchery start shop` or a reload");
    });
    assert!(before.iter().all(|process| !process.is_alive()));
    let refused = get(server.address, "/");
    assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("30")));
    assert_eq!(get(server.address, "/health").status, 503);
    assert_eq!(get(server.address, "/other").text(), "other");
    assert_eq!(server.pool("shop").state, "stopped");
    let shown = done(&server, &["status"]);
    let is_it = |line: &str| line.starts_with("app shop") && line.ends_with("by hand");
    assert!(shown.lines().any(is_it), "{shown}");
    let restarted = server.command(&["restart", "shop"]);
    assert!(restarted.code == Some(1) && restarted.stderr.contains("hatchery start shop"), "{restarted:?}");

    assert_eq!(done(&server, &["start", "shop"]), "app shop: 2 processes started");
    assert_eq!(server.ready("shop").len(), 2, "it answers when they serve");
    assert_eq!(get(server.address, "/").text(), "served");
    assert_eq!(done(&server, &["start", "shop"]), "app shop was not stopped");
}

#[test]
fn a_sleeping_app_that_is_stopped_does_not_wake_before_a_reload() {
    let server = start("processes: (min: 0, max: 1)");
    assert_eq!(get(server.address, "/health").status, 200);
    done(&server, &["stop", "shop"]);
    assert_eq!([get(server.address, "/").status, get(server.address, "/health").status], [503, 503]);
    assert!(server.pool("shop").children.is_empty());
    // An upgrade keeps it so, also for the workers of the new program.
    let generation = server.status().generation;
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the upgrade is over", || {
        let status = server.status();
        holds(status.generation > generation && status.mode == "running", &status)
    });
    assert_eq!((get(server.address, "/").status, &*server.pool("shop").state), (503, "stopped"));
    server.hang_up();
    server.wait_log("app shop: was stopped by hand, and is started by the reload");
    assert_eq!(get(server.address, "/").text(), "served");
}

#[test]
fn a_daemon_is_stopped_by_hand_and_started_again() {
    let server = start("");
    let before = server.wait_ready(SOON, "beat", 1)[0];
    assert_eq!(
        done(&server, &["stop", "beat"]),
        "daemon beat: stopped, until `hatchery start beat` or a reload"
    );
    assert!(!before.is_alive(), "it answers when it has gone");
    assert_eq!(server.pool("beat").state, "stopped");
    assert_eq!(done(&server, &["start", "beat"]), "daemon beat: started");
    assert_eq!(server.ready("beat").len(), 1);
}

#[test]
fn no_slip_of_the_pen_stops_the_server() {
    let server = start("");
    for (typed, code, texts) in [
        (
            &["stop", "shopp"][..],
            1,
            &["there is no \"shopp\"; there is: shop, beat, workers", "without a name"][..],
        ),
        (&["stop", "hatchery"], 1, &["`hatchery stop` without a name ends the server"]),
        (&["stop", ""], 1, &["there is no \"\""]),
        (&["stop", "workers"], 1, &["workers are not stopped by name", "scale workers 0"]),
        (&["stop", "shop", "--fast"], 2, &["cannot be used with"]),
        (&["stop", "shop", "beat"], 2, &["beat"]),
        (&["start", "shopp"], 1, &["there is no \"shopp\"; there is: shop, beat, workers"]),
    ] {
        let refused = server.command(typed);
        assert_eq!(refused.code, Some(code), "{typed:?}: {refused:?}");
        texts.iter().for_each(|text| assert!(refused.stderr.contains(text), "{text}: {refused:?}"));
    }
    let nameless = hatchery(server.directory(), &["start"]);
    assert!(
        nameless.code == Some(2) && nameless.stderr.contains("`hatchery run` starts the server"),
        "{nameless:?}"
    );
    assert_eq!((get(server.address, "/").text(), server.ready("beat").len()), ("served".to_owned(), 1));
}
