//! An app that has been taken over, or a process of its user: what it says to the master, and who may speak to it.

use crate::harness::{Connection, Gate, SOON, Server, Setup, get, holds, wait_until};

/// An app of two threads that does what the path says.
const APP: &str = r#"
import gc, os
def host():
    return next(one for one in gc.get_objects() if type(one).__name__ == "Host")
def flood():
    data = b"\0\0\0\0\x09\0\0\0\0\0\0\0" * 300  # HEAD, which is for workers
    try:
        for _ in range(1000):
            os.write(host().tells.fileno(), data)
    except OSError:
        pass
def application(environ, start_response):
    start_response("200 OK", [])
    what = environ["PATH_INFO"]
    if what == "/mute":
        host().tells.close()
    elif what == "/deaf":
        ours = host()
        ours.poll.unregister(ours.hears.fileno())
        ours.hears.close()
    elif what == "/flood":
        flood()
    elif what == "/garbage":
        os.write(host().tells.fileno(), b"\xff" * 100)
    elif what == "/die":
        os._exit(7)
    elif what == "/wait":
        open("gate").read()
    return [b"process %d" % os.getpid()]
"#;

fn setup(more: &str) -> Setup {
    let setup = Setup::new(&format!(
        "    workers: (processes: 1),\n    \
         sites: [(listen: [\"{{address}}\"], locations: [(path: \"/\", to: App(\"shop\"))])],\n    \
         apps: {{\"shop\": (module: \"shop\", chdir: \"{{dir}}\", processes: 1, threads: 2{more})}},"
    ));
    setup.directory.write("shop.py", APP);
    setup
}

fn pid(server: &Server) -> u32 {
    get(server.address, "/").text().strip_prefix("process ").unwrap().parse().unwrap()
}

#[test]
fn a_process_that_closes_its_control_channel_is_replaced_and_finishes_what_it_has() {
    for how in ["/mute", "/deaf"] {
        let server = setup("").start();
        let gate = Gate::new(server.directory(), "gate");
        let first = pid(&server);
        let mut waiting = Connection::open(server.address).unwrap();
        waiting.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(get(server.address, how).text(), format!("process {first}"));
        let line = server.wait_log("closed its control channel while it ran");
        assert!(line.contains("WARN") && line.contains("app shop 0 closed"), "{line}");
        let next = wait_until(SOON, "another process serves", || {
            let next = pid(&server);
            holds(next != first, server.log()).map(|()| next)
        });
        gate.open();
        assert_eq!(
            waiting.reply("GET").unwrap().text(),
            format!("process {first}"),
            "it finishes what it has"
        );
        wait_until(SOON, "the first process is gone", || {
            let pool = server.pool("shop");
            holds(pool.children.len() == 1 && pool.children[0].pid == next, &pool)
        });
        let pool = server.pool("shop");
        assert_eq!(pool.last_exit.as_deref(), Some("closed its control channel while it ran"), "{pool:?}");
        assert!(
            pool.restarts == 1 && server.command(&["status"]).stdout.contains("closed its control"),
            "{pool:?}"
        );
    }
}

#[test]
fn what_is_no_message_for_the_master_costs_a_process_its_place_and_the_log_one_line() {
    for how in ["/flood", "/garbage"] {
        let server = setup("").start();
        let first = pid(&server);
        get(server.address, how);
        wait_until(SOON, "another process serves", || holds(pid(&server) != first, server.log()));
        server.wait_log("app shop 0 sent what is no message over its control channel");
        let lines: Vec<_> = server
            .log()
            .into_iter()
            .filter(|line| line.contains(" hatchery: app shop") && line.contains("WARN"))
            .collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}

#[test]
fn a_process_that_ends_is_told_by_its_end() {
    let server = setup("").start().tolerant(&["connection closed before a response"]);
    for _ in 0..3 {
        let first = pid(&server);
        assert_eq!(get(server.address, "/die").status, 502);
        wait_until(SOON, "another process serves", || {
            let reply = get(server.address, "/");
            holds(reply.status == 200 && reply.text() != format!("process {first}"), reply)
        });
    }
    let log = server.log().join("\n");
    assert!(log.contains("app shop died: exit 7") && !log.contains("control channel"), "{log}");
}

#[test]
fn an_app_that_closes_its_channel_before_it_is_ready_has_failed() {
    let mut setup = setup(", boot_timeout: \"60s\"");
    let code = format!("{APP}\nimport time\nhost().tells.close()\ntime.sleep(1000)\n");
    setup.directory.write("shop.py", code);
    let ended = setup.run_to_end();
    assert!(
        ended.code == Some(1) && ended.stderr.contains("app shop: closed its control channel"),
        "{ended:?}"
    );
}

#[test]
fn a_template_that_closes_its_channel_is_replaced_and_its_processes_go_on() {
    let setup = setup(", preload: true");
    let code = format!(
        "{APP}\nimport signal\n\
         found = [one for one in gc.get_objects() if type(one).__name__ == \"Template\"]\n\
         def close(*_):\n    found[0].tells.close()\n\
         if not os.path.exists(\"closed\"):\n    open(\"closed\", \"w\").close()\n    \
         signal.signal(signal.SIGALRM, close)\n    signal.setitimer(signal.ITIMER_REAL, 1)\n"
    );
    setup.directory.write("shop.py", code);
    let server = setup.start();
    let first = pid(&server);
    server.wait_log("its template is lost: closed its control channel while it ran");
    wait_until(SOON, "there is another template", || {
        let templates = server.pool("shop").templates;
        let whole = templates.len() == 1 && templates[0].state == "ready" && templates[0].restarts == 1;
        holds(whole, &templates)
    });
    assert_eq!(pid(&server), first);
}
