//! Sites that are closed by command.

use crate::harness::http2::Client as Http2;
use crate::harness::{Connection, Reply, Server, Setup, holds, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

const SITES: &str = r#"
    workers: (processes: 2),
    sites: [
        (names: ["shop.example", "www.shop.example"], listen: ["{address}"], trusted_proxies: ["127.0.0.1"],
         headers: {"X-Site": "shop"}, locations: [
            (path: "/", to: Respond(body: "open")),
            (exact: "/healthz", to: App("plain"), probe: (answer: Asleep200)),
         ]),
        (names: ["blog.example"], listen: ["{address}"], error_pages: {503: "closed.html"},
         rewrite: (regex: "^/q$", to: "/$query"), locations: [
            (path: "/", to: Respond(body: "open"))]),
        (listen: ["{address}"], locations: [(path: "/", to: Respond(body: "open"))]),
    ],
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: (min: 0, max: 1))},"#;

fn start() -> Server {
    let setup = Setup::new(SITES);
    setup.directory.write("closed.html", "<p>The blog is closed.");
    setup.start()
}

/// A request of its own connection, so that any worker may get it.
fn ask(server: &Server, host: &str, fields: &[(&str, &str)]) -> Reply {
    let fields = [&[("Host", host)], fields].concat();
    Connection::open(server.address).unwrap().request("GET", "/", &fields, b"").unwrap()
}

/// Runs the command, which must succeed; what it has said.
fn maintain(server: &Server, words: &[&str]) -> String {
    let finished = server.command(&[&["maintenance"], words].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout
}

/// Until every worker answers so, one connection after the other.
fn wait_for(server: &Server, host: &str, status: u16) {
    let mut row = 0;
    wait_until(SOON, "all workers answer so", || {
        let found = ask(server, host, &[]).status;
        row = if found == status { row + 1 } else { 0 };
        holds(row >= 20, found)
    });
}

#[test]
fn a_site_is_closed_to_all_but_those_who_are_let_in_until_it_is_opened() {
    let server = start();
    let said = maintain(
        &server,
        &[
            "on",
            "www.shop.example",
            "--allow",
            "10.1.2.3/32",
            "--allow",
            "2001:db8::/32",
            "--retry-after",
            "2m",
        ],
    );
    assert_eq!(said, "shop.example is closed: 503 for all but 10.1.2.3/32, 2001:db8::/32\n");
    wait_for(&server, "shop.example", 503);
    let closed = ask(&server, "www.shop.example", &[]);
    assert_eq!((closed.status, closed.field("retry-after")), (503, Some("120")));
    assert_eq!((closed.field("cache-control"), closed.field("x-site")), (Some("no-store"), Some("shop")));
    assert!(closed.text().contains("503 Service Unavailable"), "{}", closed.text());
    // Who is let in is told by their address, behind a trusted proxy, too.
    for (client, status) in [("10.1.2.3", 200), ("10.1.2.4", 503), ("2001:db8::1", 200)] {
        assert_eq!(ask(&server, "shop.example", &[("X-Forwarded-For", client)]).status, status, "{client}");
    }
    for host in ["blog.example", "other.example"] {
        assert_eq!(ask(&server, host, &[]).status, 200, "{host}");
    }
    let mut client = Connection::open(server.address).unwrap();
    let probe = client.request("GET", "/healthz", &[("Host", "shop.example")], b"").unwrap();
    assert_eq!((probe.status, probe.text()), (200, "asleep\n".to_owned()));
    let mut client = Http2::open(server.address, &[]).unwrap();
    let mut asks = client.asks("GET", "/");
    asks[2].1 = "shop.example";
    let stream = client.request(&asks, true).unwrap();
    assert_eq!(client.answer(stream).unwrap().status, 503);

    let status = server.status();
    let shown = &status.maintenance[0];
    assert_eq!((status.maintenance.len(), &*shown.site, shown.retry_after), (1, "shop.example", 120));
    assert_eq!(shown.allow, ["10.1.2.3/32", "2001:db8::/32"]);
    let text = server.command(&["status"]).stdout;
    assert!(text.contains("shop.example is closed for maintenance"), "{text}");
    assert!(text.contains("`hatchery maintenance off shop.example` opens it"), "{text}");

    assert_eq!(maintain(&server, &["off", "SHOP.example"]), "shop.example is open again\n");
    wait_for(&server, "shop.example", 200);
    assert_eq!(maintain(&server, &["off", "shop.example"]), "shop.example was open\n");
    assert!(server.status().maintenance.is_empty());
}

#[test]
fn the_page_is_what_the_command_says_or_that_of_the_site() {
    let server = start();
    maintain(&server, &["on", "blog.example", "--retry-after", "0s"]);
    wait_for(&server, "blog.example", 503);
    // A rewrite that leads nowhere is for when it is open.
    let mut client = Connection::open(server.address).unwrap();
    assert_eq!(client.request("GET", "/q?../x", &[("Host", "blog.example")], b"").unwrap().status, 503);
    let closed = ask(&server, "blog.example", &[]);
    assert_eq!((closed.text(), closed.field("retry-after")), ("<p>The blog is closed.".to_owned(), None));
    maintain(&server, &["on", "blog.example", "--message", "Back at <noon> & \"soon\""]);
    wait_until(SOON, "the new page is sent", || {
        let text = ask(&server, "blog.example", &[]).text();
        holds(text.contains("Back at &lt;noon&gt; &amp; \"soon\""), text)
    });
    // A site without a name has a label.
    maintain(&server, &["on", "site 3"]);
    wait_for(&server, "any.example", 503);
    for site in ["blog.example", "site 3"] {
        maintain(&server, &["off", site]);
    }
}

#[test]
fn it_holds_over_new_workers_reloads_upgrades_and_restarts() {
    let server = start();
    maintain(&server, &["on", "shop.example", "--allow", "127.0.0.2"]);
    wait_for(&server, "shop.example", 503);
    let victim = server.ready("worker")[0];
    server.kill_and_wait("worker", victim, 2);
    wait_for(&server, "shop.example", 503);
    server.hang_up();
    wait_for(&server, "shop.example", 503);
    // A configuration without the site, and with it again.
    server.configure(&SITES.replace("\"shop.example\", \"www.shop.example\"", "\"new.example\""));
    server.hang_up();
    assert_eq!(ask(&server, "new.example", &[]).status, 200);
    assert_eq!(server.status().maintenance.len(), 1);
    server.configure(SITES);
    server.hang_up();
    wait_for(&server, "shop.example", 503);

    let before = server.status().generation;
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON * 3, "the upgrade is done", || {
        let status = server.status();
        holds(status.generation > before && ["running", "asleep"].contains(&status.mode.as_str()), &status)
    });
    wait_for(&server, "shop.example", 503);
    assert_eq!(server.status().maintenance[0].allow, ["127.0.0.2/32"]);

    // Another master with that control socket would find this there.
    let kept = fs::read(server.directory().path().join("control.sock.maintenance")).unwrap();
    let next = Setup::new(SITES);
    next.directory.write("closed.html", "");
    next.directory.write("control.sock.maintenance", kept);
    let next = next.start();
    assert_eq!(ask(&next, "shop.example", &[]).status, 503);
    maintain(&next, &["off", "shop.example"]);
    wait_for(&next, "shop.example", 200);
    assert!(!next.directory().path().join("control.sock.maintenance").exists());
}

#[test]
fn what_is_no_site_or_address_is_told_and_closes_nothing() {
    let server = start();
    for (words, code, what) in [
        (
            &["on", "shop.exmaple"][..],
            1,
            "there is no site \"shop.exmaple\"; there is: shop.example, blog.example, site 3; did you mean \"shop.example\"?",
        ),
        (&["off", "nobody"], 1, "there is no site \"nobody\""),
        (&["on", "shop.example", "--allow", "10.0.0.1/8"], 2, "did you mean \"10.0.0.0/8\"?"),
        (&["on", "shop.example", "--retry-after", "soon"], 2, "soon"),
        (&["on", "shop.example", "--message", "a\nb"], 2, "one line"),
        (&["off", "shop.example", "--allow", "10.0.0.1"], 2, "--allow and --message go with `on`"),
        (&["maybe", "shop.example"], 2, "maybe"),
        (&["on"], 2, "SITE"),
    ] {
        let finished = server.command(&[&["maintenance"], words].concat());
        assert_eq!(finished.code, Some(code), "{words:?}: {finished:?}");
        assert!(finished.stderr.contains(what), "{words:?}: {finished:?}");
    }
    assert!(server.status().maintenance.is_empty());
    assert_eq!(ask(&server, "shop.example", &[]).status, 200);
}
