//! `bandwidth`: how fast responses leave, by whatever way.

use crate::harness::{Connection, SOON, Server, Setup, http2, noise, now, sha256, wait_until};
use std::time::Duration;

const LENGTH: usize = 768 * 1024;

/// Its responses leave with 512 KiB a second: in a second and a half, less what may leave at once.
fn setup(listen: &str, limits: &str) -> Setup {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    limits: ({limits}),
    sites: [(
        {listen}
        bandwidth: "512KiB/s",
        locations: [
            (path: "/files/", to: Files("files")),
            (path: "/fast/", to: Files("files"), bandwidth: None),
            (path: "/first/", to: Files("files"), bandwidth: (rate: "16KiB/s", after: "1MiB")),
            (path: "/slow/", to: Files("files"), bandwidth: "2KiB/s"),
            (path: "/text", to: Respond(status: 200, body: "fixed\n")),
            (path: "/up/", to: Proxy("own")),
            (path: "/", to: App("plain")),
        ],
    )],
    apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}", processes: 1)}},
    upstreams: {{"own": (servers: ["unix:{{dir}}/own.sock"])}},"#
    ));
    setup.directory.write("files/data", noise(LENGTH, 7));
    setup.directory.write("files/short", noise(4096, 8));
    setup
}

fn plain() -> Server {
    setup(LISTEN, "").start()
}

const LISTEN: &str = r#"listen: ["{address}", "unix:{dir}/own.sock"],"#;

/// How long this takes.
fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = now();
    let value = act();
    (value, begun.elapsed())
}

/// A second and a half, but for a tenth that is there at once and half a second that a pause may have saved.
#[track_caller]
fn assert_paced(took: Duration) {
    assert!(took >= Duration::from_millis(850), "{took:?}");
}

#[test]
fn a_file_leaves_as_fast_as_it_may_and_no_faster() {
    let server = plain();
    let mut connection = Connection::open(server.address).unwrap();
    let (reply, took) = timed(|| connection.get("/files/data").unwrap());
    assert_eq!((reply.status, sha256(&reply.body)), (200, sha256(&noise(LENGTH, 7))));
    assert_paced(took);
    // Others on the same connection have what is theirs.
    let (reply, took) = timed(|| connection.get("/fast/data").unwrap());
    assert_eq!(reply.body.len(), LENGTH);
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(connection.get("/text").unwrap().text(), "fixed\n");
    // What is before `after` does not count: by the rate alone it would be 48 seconds.
    let (reply, took) = timed(|| connection.get("/first/data").unwrap());
    assert_eq!(sha256(&reply.body), sha256(&noise(LENGTH, 7)));
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Requests that are sent before the answers are answered in their order.
    connection
        .send("GET /files/data HTTP/1.1\r\nHost: a\r\n\r\nGET /text HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let (first, took) = timed(|| connection.reply("GET").unwrap());
    assert_eq!(first.body.len(), LENGTH);
    assert_paced(took);
    assert_eq!(connection.reply("GET").unwrap().text(), "fixed\n");
}

#[test]
fn we_who_let_a_client_wait_do_not_give_it_up_for_that() {
    let server = setup(LISTEN, r#"body_timeout: "50ms""#).start();
    let mut connection = Connection::open(server.address).unwrap();
    // A piece each 64 ms, and for each of them less than the 50 ms in which something must be written.
    let (reply, took) = timed(|| connection.get("/slow/short").unwrap());
    assert_eq!(sha256(&reply.body), sha256(&noise(4096, 8)));
    assert!(took >= Duration::from_millis(1000), "{took:?}");
    let status = server.command(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let worker = &status["pools"][0]["children"][0];
    assert!(worker["cpu_ms"].as_u64().unwrap() < 1000, "it has turned in circles: {worker}");
}

#[test]
fn apps_and_upstreams_are_slowed_down_too() {
    let server = plain();
    let mut connection = Connection::open(server.address).unwrap();
    for path in ["/big?size=786432&length=1", "/big?size=786432"] {
        let (reply, took) = timed(|| connection.get(path).unwrap());
        assert_eq!((reply.status, reply.body.len()), (200, LENGTH), "{path}");
        assert_paced(took);
    }
    // The upstream is this server, where it is fast.
    let server = {
        let setup = setup(LISTEN, "");
        setup.configure(
            r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        locations: [(path: "/", to: Proxy("own"), bandwidth: "512KiB/s")],
    ), (
        listen: ["unix:{dir}/own.sock"],
        locations: [(path: "/", to: Files("files"))],
    )],
    upstreams: {"own": (servers: ["unix:{dir}/own.sock"])},"#,
        );
        setup.start()
    };
    let mut connection = Connection::open(server.address).unwrap();
    let (reply, took) = timed(|| connection.get("/data").unwrap());
    assert_eq!((reply.status, sha256(&reply.body)), (200, sha256(&noise(LENGTH, 7))));
    assert_paced(took);
}

#[test]
fn over_tls_it_is_the_same() {
    let server = setup(
        r#"tls: (listen: ["{address}"], certificates: SelfSigned), listen: ["unix:{dir}/own.sock"],"#,
        "",
    )
    .start();
    let mut connection = Connection::open_tls(server.address).unwrap();
    let (reply, took) = timed(|| connection.get("/files/data").unwrap());
    assert_eq!((reply.status, sha256(&reply.body)), (200, sha256(&noise(LENGTH, 7))));
    assert_paced(took);
    let mut client = http2::Client::open_tls(server.address, &[]).unwrap();
    let (answer, took) = timed(|| client.get("/files/data").unwrap());
    assert_eq!((answer.status, sha256(&answer.body)), (200, sha256(&noise(LENGTH, 7))));
    assert_paced(took);
}

#[test]
fn of_several_requests_on_one_connection_each_has_its_own() {
    let server = plain();
    let mut client = http2::Client::open(server.address, &[]).unwrap();
    let begun = now();
    let ask = |client: &mut http2::Client, path: &str| {
        let fields = client.asks("GET", path);
        client.request(&fields, true).unwrap()
    };
    let slow: Vec<u32> = (0..3).map(|_| ask(&mut client, "/files/data")).collect();
    let text = ask(&mut client, "/text");
    assert_eq!(client.answer(text).unwrap().text(), "fixed\n");
    let fast = ask(&mut client, "/fast/data");
    assert_eq!(client.answer(fast).unwrap().body.len(), LENGTH);
    for stream in slow {
        let answer = client.answer(stream).unwrap();
        assert_eq!(sha256(&answer.body), sha256(&noise(LENGTH, 7)));
    }
    assert_paced(begun.elapsed());
    // A client that leaves in the middle leaves nothing behind.
    let stream = ask(&mut client, "/slow/data");
    client.send(http2::reset(stream, 8)).unwrap();
    drop(client);
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /slow/data HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    drop(connection);
    wait_until(SOON, "nobody is left", || {
        let worker = server.pool("worker").children[0].clone();
        crate::harness::holds(worker.connections == Some(0), worker)
    });
}
