//! Servers by name: addresses that come and go, names that are not found, SRV records, a name server that is silent.

mod dns;

use crate::harness::{
    Authority, Connection, Process, SOON, Server, Setup, Upstream, counts, get, holds, keep_loading, now,
    shares, wait_until,
};
use dns::{Dns, NXDOMAIN, SERVFAIL, a, srv};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Servers at 127.0.0.2, 127.0.0.3 and so on, on one port, that answer with the last number of that.
fn neighbours<const N: usize>() -> ([Upstream; N], u16) {
    loop {
        let first = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (1..N).map(|number| TcpListener::bind(format!("127.0.0.{}:{port}", number + 2)));
        let Ok(others) = others.collect::<Result<Vec<_>, _>>() else { continue };
        let all: Vec<Upstream> = std::iter::once(first).chain(others).map(numbered).collect();
        return (all.try_into().unwrap(), port);
    }
}

fn numbered(listener: TcpListener) -> Upstream {
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    let name = address.ip().octets()[3].to_string();
    Upstream::bound(listener, move |_, stream| answer(stream, &name))
}

fn answer(mut stream: TcpStream, text: &str) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
            if stream.write_all((head + text).as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn setup(dns: &Dns, workers: &str, servers: &str, keys: &str) -> Setup {
    Setup::new(&configuration(dns, workers, servers, keys))
}

fn configuration(dns: &Dns, workers: &str, servers: &str, keys: &str) -> String {
    format!(
        r#"
    resolver: (servers: ["{}"]),
    workers: ({workers}),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/ok", to: Respond(status: 200, body: "ok")), (path: "/", to: Proxy("behind")),
    ])],
    upstreams: {{"behind": (servers: [{servers}], {keys})}},"#,
        dns.address
    )
}

#[track_caller]
fn wait_shares(server: &Server, expected: &[(&str, usize)]) {
    let all = expected.iter().map(|(_, count)| count).sum();
    wait_until(SOON, "requests go elsewhere", || {
        let shares = shares(server.address, all);
        holds(shares == counts(expected), shares)
    });
}

/// Of each server its name, its address, its state and the reason of that.
fn servers(server: &Server) -> Vec<[String; 4]> {
    let shown = |server: &hatchery::control::command::ServerStatus| {
        let (name, reason) = (server.name.clone(), server.reason.clone());
        [name.unwrap_or_default(), server.address.clone(), server.state.clone(), reason.unwrap_or_default()]
    };
    server.status().upstreams[0].servers.iter().map(shown).collect()
}

#[test]
fn addresses_of_a_name_share_requests_and_changes_are_taken_by_their_time_to_live() {
    let (_upstreams, port) = neighbours::<3>();
    let dns = Dns::start();
    dns.set("api.test", &[a(1, "127.0.0.2"), a(1, "127.0.0.3")]);
    let server = setup(&dns, "processes: 2", &format!("\"API.test:{port}\""), "").start();
    wait_shares(&server, &[("2", 5), ("3", 5)]);
    let name = format!("api.test:{port}");
    let shown = |last: u8| [name.clone(), format!("127.0.0.{last}:{port}"), "up".to_owned(), String::new()];
    assert_eq!(servers(&server), [shown(2), shown(3)]);

    dns.set("api.test", &[a(1, "127.0.0.4"), a(1, "127.0.0.3")]);
    wait_shares(&server, &[("3", 5), ("4", 5)]);
    assert_eq!(servers(&server), [shown(4), shown(3)], "who is there keeps its place");
    let line = server.command(&["status", "--verbose"]).stdout;
    assert!(line.contains(&format!("{name} 127.0.0.4:{port}  up")), "{line}");

    let order = |what: &str| server.command(&["upstream", "behind", what, "disable"]);
    assert_eq!(order(&format!("127.0.0.3:{port}")).code, Some(0));
    wait_shares(&server, &[("4", 6)]);
    let refused = order(&name);
    assert!(refused.code == Some(1) && refused.stderr.contains("there is: 127.0.0.4"), "{refused:?}");
}

#[test]
fn a_name_that_is_not_found_costs_its_route_alone_and_what_was_found_stays() {
    let (_upstreams, port) = neighbours::<2>();
    let dns = Dns::start();
    let quiet = ["is not found", "[unresolved]"];
    let entry = format!("\"api.test:{port}\"");
    let server = setup(&dns, "processes: 1", &entry, "").start().tolerant(&quiet);
    server.wait_log("api.test is not found: there is no such name; requests are answered 503 until it is");
    let reply = get(server.address, "/");
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    assert_eq!(get(server.address, "/ok").text(), "ok");
    let reason = "there is no such name".to_owned();
    let unresolved = [String::new(), format!("api.test:{port}"), "unresolved".to_owned(), reason];
    assert_eq!(servers(&server), [unresolved]);

    server.configure(&configuration(&dns, "processes: 1", &format!("{entry}, \"other.test:{port}\""), ""));
    let reloaded = server.command(&["reload"]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    server.wait_log("other.test is not found");
    assert_eq!(get(server.address, "/").status, 503);

    dns.set("api.test", &[a(1, "127.0.0.2")]);
    server.wait_log("api.test is found");
    assert_eq!(shares(server.address, 3), counts(&[("2", 3)]));

    dns.fail("api.test", SERVFAIL);
    let told = server.wait_log("its last known addresses stay in use");
    assert!(told.contains("api.test is not found: the name server has failed"), "{told}");
    assert_eq!(shares(server.address, 3), counts(&[("2", 3)]));
    assert!(servers(&server)[0][3].starts_with("last known address: the name server has failed"));
    dns.fail("api.test", NXDOMAIN);
    server.wait_log("api.test is not found: there is no such name; its last known addresses stay in use");
    dns.silence(true);
    server.wait_log("api.test is not found: no name server answers; its last known addresses stay in use");
    assert_eq!(shares(server.address, 3), counts(&[("2", 3)]));
    dns.silence(false);
    dns.set("api.test", &[a(1, "127.0.0.3")]);
    wait_shares(&server, &[("3", 3)]);
    let told = server.log().iter().filter(|line| line.contains("no name server answers")).count();
    assert!(told <= 2, "each name says so once: {told}");
}

#[test]
fn a_service_has_the_ports_and_weights_of_its_records_and_later_priorities_wait() {
    let upstreams: [Upstream; 3] =
        std::array::from_fn(|number| Upstream::raw(move |_, stream| answer(stream, &number.to_string())));
    let port = |number: usize| upstreams[number].address.port();
    let dns = Dns::start();
    dns.set(
        "_http._tcp.api.test",
        &[
            srv(1, (5, 3, port(0)), "one.test"),
            srv(1, (5, 1, port(1)), "one.test"),
            srv(1, (9, 1, port(2)), "two.test"),
        ],
    );
    dns.set("one.test", &[a(1, "127.0.0.1")]);
    dns.set("two.test", &[a(1, "127.0.0.1")]);
    let server = setup(&dns, "processes: 1", "\"srv:_http._tcp.api.test\"", "").start();
    wait_shares(&server, &[("0", 15), ("1", 5)]);
    let status = server.status().upstreams.remove(0).servers;
    let seen: Vec<_> = status.iter().map(|server| (server.weight, server.backup)).collect();
    assert_eq!(seen, [(3, false), (1, false), (1, true)]);
    for number in [0, 1] {
        let address = upstreams[number].address.to_string();
        assert_eq!(server.command(&["upstream", "behind", &address, "disable"]).code, Some(0));
    }
    wait_shares(&server, &[("2", 4)]);
}

#[test]
fn the_first_requests_wait_for_the_first_answer_but_not_longer_than_for_a_connection() {
    let (_upstreams, port) = neighbours::<1>();
    let dns = Dns::start();
    dns.set("api.test", &[a(60, "127.0.0.2")]);
    dns.silence(true);
    let keys = "connect_timeout: \"400ms\"";
    let server = setup(&dns, "processes: 1", &format!("\"api.test:{port}\""), keys).start();
    let server = server.tolerant(&["is not found", "[unresolved]"]);
    let begun = now();
    let reply = get(server.address, "/");
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    assert!((400..5_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    server.wait_log("api.test is not found: no name server answers");
    let begun = now();
    assert_eq!(get(server.address, "/").status, 503);
    assert!(begun.elapsed() < Duration::from_millis(400), "what is known is said at once");

    let server = {
        let keys = "connect_timeout: \"60s\"";
        setup(&dns, "processes: 1", &format!("\"api.test:{port}\""), keys).start()
    };
    let mut client = Connection::open(server.address).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    dns.silence(false);
    assert_eq!(client.reply("GET").unwrap().text(), "2");
}

#[test]
fn nothing_is_asked_while_the_workers_sleep() {
    let (_upstreams, port) = neighbours::<2>();
    let dns = Dns::start();
    dns.set("api.test", &[a(1, "127.0.0.2")]);
    let workers = "processes: 1, cheap: true, idle: \"1s\"";
    let server = setup(&dns, workers, &format!("\"api.test:{port}\""), "").start();
    assert_eq!(get(server.address, "/").text(), "2");
    let falls_asleep = || {
        wait_until(SOON, "the workers sleep", || {
            let mode = server.status().mode;
            holds(mode == "asleep", mode)
        });
    };
    falls_asleep();
    // What was on its way.
    keep_loading(Duration::from_millis(200));
    dns.asked();
    keep_loading(Duration::from_millis(2_500));
    assert_eq!(dns.asked(), Vec::<String>::new());
    dns.set("api.test", &[a(1, "127.0.0.3")]);
    get(server.address, "/");
    wait_shares(&server, &[("3", 2)]);
}

#[test]
fn whoever_looks_names_up_may_die() {
    let (_upstreams, port) = neighbours::<2>();
    let dns = Dns::start();
    dns.set("api.test", &[a(1, "127.0.0.2")]);
    let server = setup(&dns, "processes: 1", &format!("\"api.test:{port}\""), "").start();
    let server = server.tolerant(&["resolver (process", "is not found: the process"]);
    wait_shares(&server, &[("2", 2)]);
    let resolver = || {
        server
            .status()
            .pools
            .iter()
            .find(|pool| pool.name == "resolver")?
            .children
            .first()
            .map(|child| child.pid)
    };
    let first = resolver().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first as i32), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    dns.set("api.test", &[a(1, "127.0.0.3")]);
    wait_shares(&server, &[("3", 2)]);
    assert!(resolver().is_some_and(|pid| pid != first));
}

#[test]
fn whoever_looks_names_up_has_no_keys() {
    let (_upstreams, port) = neighbours::<2>();
    let dns = Dns::start();
    dns.set("api.test", &[a(1, "127.0.0.2")]);
    let site = "sites: [(tls: (listen: [\"127.0.0.1:0\"], redirect_http: false, certificates: [(cert: \"a.pem\", key: \"a.key\")]), ";
    let text = configuration(&dns, "processes: 1", &format!("\"api.test:{port}\""), "");
    let setup = Setup::new(&text.replace("sites: [(", site));
    Authority::new().sign(&setup.directory, "a", "a.example");
    let pem = std::fs::read_to_string(setup.directory.path().join("a.key")).unwrap();
    let server = setup.start();
    wait_shares(&server, &[("2", 2)]);
    let der = rcgen::KeyPair::from_pem(&pem).unwrap().serialize_der();
    // The end of it is the public key.
    let inner = &der[der.len() - 110..der.len() - 70];
    assert!(server.ready("worker")[0].has_in_memory(inner), "this is how it would be found");
    let pools = server.status().pools;
    let resolver = pools.iter().find(|pool| pool.name == "resolver").unwrap();
    let resolver = Process::of(resolver.children[0].pid).unwrap();
    assert!(!resolver.has_in_memory(inner) && !resolver.has_in_memory(&pem.as_bytes()[40..80]));
}

#[test]
fn check_warns_of_names_that_are_not_found() {
    let dns = Dns::start();
    dns.set("api.test", &[a(1, "127.0.0.2")]);
    let directory = crate::harness::Directory::new();
    let text = |text: String| text.replace("{address}", "127.0.0.1:0");
    let file = directory.write(
        "h.ron",
        text(format!("({})", configuration(&dns, "processes: 1", "\"api.test:80\", \"nope.test:80\"", ""))),
    );
    let checked = crate::harness::hatchery(&directory, &["check", "--config", file.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("upstreams.behind.servers[1]: `nope.test` is not found: there is no such name"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("api.test` is not found"), "{checked:?}");
}
