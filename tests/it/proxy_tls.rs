//! TLS to upstreams, against a server in Python, `openssl s_server` and nginx.

use crate::harness::{
    Authority, Connection, Directory, SOON, Server, Setup, Upstream, get, hatchery, holds, keep_loading,
    noise, sha256, wait_until,
};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

const SERVER: &str = include_str!("proxy_tls/server.py");

/// Certificates by one authority: `server` for `api.internal` and 127.0.0.1, `client` for alice.
struct Lab {
    directory: Directory,
    authority: Authority,
}

impl Lab {
    fn new() -> Self {
        Self::of("Authority of a test")
    }

    fn of(authority: &str) -> Self {
        let lab = Self { directory: Directory::new(), authority: Authority::named(authority) };
        lab.authority.write(&lab.directory);
        lab.sign("server", &["api.internal", "127.0.0.1"], |_| {});
        lab.sign("client", &["alice"], |_| {});
        lab
    }

    fn sign(&self, file: &str, names: &[&str], adjust: impl FnOnce(&mut rcgen::CertificateParams)) {
        self.authority.sign_as(&self.directory, file, names, &rcgen::PKCS_ECDSA_P256_SHA256, adjust);
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// The server in Python, with what it shows and other options.
    fn serve(&self, cert: &str, options: &Value) -> Behind {
        let mut all = json!({"cert": self.path(cert)});
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &all.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Behind { child, port: port.trim().parse().expect("a port") }
    }

    fn plain(&self) -> Behind {
        self.serve("server", &json!({}))
    }

    /// Keys of `tls` for the authority, and these.
    fn tls(&self, more: &str) -> String {
        format!("tls: (ca: \"{}\", {more})", self.path("ca.pem"))
    }
}

/// A server that is ended with the test.
struct Behind {
    child: Child,
    port: u16,
}

impl Behind {
    fn front(&self, keys: &str) -> Server {
        front(&[self.port], keys).start()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn front(ports: &[u16], keys: &str) -> Setup {
    let servers: Vec<_> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    setup(&format!("servers: [{}], {keys}", servers.join(", ")))
}

/// One worker, so that what it keeps can be counted.
fn setup(upstream: &str) -> Setup {
    Setup::new(&configuration(upstream))
}

fn configuration(upstream: &str) -> String {
    format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], max_body: "100MiB", locations: [(path: "/", to: Proxy("x"))])],
    upstreams: {{"x": ({upstream})}},"#
    )
}

#[test]
fn a_server_is_known_by_its_authority_and_its_name() {
    let lab = Lab::new();
    for (only, version) in [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")] {
        let behind = lab.serve("server", &json!({"only": only}));
        let seen = get(behind.front(&lab.tls("")).address, "/").json();
        assert_eq!((&seen["name"], &seen["protocol"]), (&Value::Null, &json!("http/1.1")), "{seen}");
        assert_eq!(seen["version"], version);
        let seen = get(behind.front(&lab.tls(r#"name: "api.internal""#)).address, "/").json();
        assert_eq!(seen["name"], "api.internal");
    }
}

#[test]
fn the_authorities_of_the_system_are_trusted_by_default() {
    let lab = Lab::new();
    let behind = lab.plain();
    let server = front(&[behind.port], "tls: ()").env("SSL_CERT_FILE", &lab.path("ca.pem"));
    let server = server.env("SSL_CERT_DIR", &lab.path("none")).start();
    assert_eq!(get(server.address, "/").status, 200);
    lab.directory.write("none.pem", "");
    let mut none = front(&[behind.port], "tls: ()").env("SSL_CERT_FILE", &lab.path("none.pem"));
    none = none.env("SSL_CERT_DIR", &lab.path("none"));
    let end = none.run_to_end();
    let told = "hatchery.ron:6:58: upstreams.x.tls: this system names no authority that signs certificates of servers";
    assert!(end.code == Some(1) && end.stderr.contains(told), "{end:?}");
}

#[test]
fn a_server_that_is_not_who_it_should_be_gets_no_request() {
    let lab = Lab::new();
    let other = Lab::of("Another");
    lab.sign("expired", &["127.0.0.1"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    lab.sign("client-only", &["127.0.0.1"], |params| {
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    });
    for (cert, tls, why) in [
        (
            "server",
            other.tls(""),
            "the server's certificate is not signed by an authority that is trusted; name the file",
        ),
        (
            "server",
            "tls: ()".to_owned(),
            "the server's certificate is not signed by an authority that is trusted",
        ),
        (
            "server",
            lab.tls(r#"name: "b.internal""#),
            "the server's certificate is not for `b.internal` but for `api.internal`, `127.0.0.1`; give the name",
        ),
        ("client", lab.tls(""), "the server's certificate is not for `127.0.0.1` but for `alice`"),
        ("expired", lab.tls(""), "the server's certificate has expired"),
        ("client-only", lab.tls(""), "the extension for its use lacks `serverAuth`"),
    ] {
        let behind = lab.serve(cert, &json!({}));
        let server = behind.front(&tls).tolerant(&["proxy x: "]);
        for method in ["GET", "POST"] {
            let mut client = Connection::open(server.address).unwrap();
            assert_eq!(client.request(method, "/", &[], b"").unwrap().status, 502, "{why}");
        }
        let line = server.wait_log(why);
        assert!(line.contains(&format!("upstream x: 127.0.0.1:{}: TLS failed: ", behind.port)), "{line}");
    }
}

#[test]
fn what_speaks_no_tls_is_told_apart() {
    let lab = Lab::new();
    let upstream = Upstream::raw(|_, mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let server = front(&[upstream.address.port()], &lab.tls("")).start().tolerant(&["proxy x: "]);
    assert_eq!(get(server.address, "/").status, 502);
    server.wait_log("TLS failed: what the server has sent is no TLS");
    let upstream = Upstream::raw(|_, mut stream| drop(stream.read(&mut [0; 4096])));
    let server = front(&[upstream.address.port()], &lab.tls("")).start().tolerant(&["proxy x: "]);
    assert_eq!(get(server.address, "/").status, 502);
    server.wait_log("TLS failed: the server has closed the connection in the middle of the handshake");
}

#[test]
fn another_server_takes_what_one_cannot_be_trusted_with() {
    let lab = Lab::new();
    let (good, bad) = (lab.plain(), lab.serve("client", &json!({})));
    let server = front(&[bad.port, good.port], &lab.tls("")).start();
    for method in ["POST", "GET", "POST", "GET"] {
        let mut client = Connection::open(server.address).unwrap();
        assert_eq!(client.request(method, "/", &[], b"").unwrap().status, 200);
    }
}

#[test]
fn a_handshake_counts_as_connecting() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = format!("connect_timeout: \"300ms\", timeout: \"1h\", {}", lab.tls(""));
    let server = front(&[port], &keys).start().tolerant(&["proxy x: "]);
    assert_eq!(get(server.address, "/").status, 504);
    server.wait_log("no connection in time");
}

#[test]
fn a_server_that_demands_a_certificate_is_shown_ours() {
    let lab = Lab::new();
    let ours = format!(r#"certificate: "{}", key: "{}""#, lab.path("client.pem"), lab.path("client.key"));
    for only in ["TLSv1_2", "TLSv1_3"] {
        let behind = lab.serve("server", &json!({"only": only, "clients": lab.path("ca.pem")}));
        let server = behind.front(&lab.tls(&ours));
        assert_eq!(get(server.address, "/").json()["client"], "alice", "{only}");
        let server = behind.front(&lab.tls("")).tolerant(&["proxy x: "]);
        assert_eq!(get(server.address, "/").status, 502);
        let line = server.wait_log("TLS failed: the server ");
        assert!(
            line.contains("wants a certificate; give") || line.contains("wants a `certificate` that"),
            "{line}"
        );
    }
}

#[test]
fn sessions_are_taken_up_again_with_each_server() {
    let lab = Lab::new();
    for only in ["TLSv1_2", "TLSv1_3"] {
        let options = json!({"only": only});
        let (one, other) = (lab.serve("server", &options), lab.serve("server", &options));
        let tls = lab.tls(r#"name: "api.internal""#);
        let server = front(&[one.port, other.port], &format!("keepalive: 0, {tls}")).start();
        let resumed = || get(server.address, "/").json()["resumed"] == true;
        let seen: Vec<_> = (0..8).map(|_| resumed()).collect();
        assert_eq!(seen, [false, false, true, true, true, true, true, true], "{only}");
    }
}

#[test]
fn connections_are_kept_and_what_ends_is_not_used_again() {
    let lab = Lab::new();
    for only in ["TLSv1_2", "TLSv1_3"] {
        let behind = lab.serve("server", &json!({"only": only}));
        let server = behind.front(&lab.tls(""));
        for turn in 1..=4 {
            let method = if turn % 2 == 0 { "POST" } else { "GET" };
            let mut client = Connection::open(server.address).unwrap();
            let seen = client.request(method, "/", &[], b"").unwrap().json();
            assert_eq!((&seen["connection"], &seen["request"]), (&json!(0), &json!(turn)), "{only}");
            // Tickets come, and the loop sees them.
            keep_loading(std::time::Duration::from_millis(50));
        }
        // By a word in TLS, and by a reset.
        for (path, status) in [("/last", 200), ("/reset", 502)] {
            let before = get(server.address, "/").json()["connection"].as_u64();
            let mut client = Connection::open(server.address).unwrap();
            assert_eq!(client.request("POST", path, &[], b"").unwrap().status, status);
            let after = get(server.address, "/").json()["connection"].as_u64();
            assert_eq!(after, before.map(|before| before + 1), "{path}");
        }
        drop(server.tolerant(&["proxy x: "]));
    }
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let lab = Lab::new();
    for only in ["TLSv1_2", "TLSv1_3"] {
        let behind = lab.serve("server", &json!({"only": only}));
        let server = behind.front(&lab.tls(""));
        let mut client = Connection::open(server.address).unwrap();
        for length in [0, 1, 16_383, 16_384, 16_385, 100_000, 3_000_000] {
            let body = noise(length, 7);
            let reply = client.request("POST", "/echo", &[], &body).unwrap();
            assert!(reply.status == 200 && reply.body == body, "{length}: {}", reply.status);
            let hash = client.request_chunked("POST", "/hash", &[], &body).unwrap().text();
            assert_eq!(hash, sha256(&body), "{length}");
        }
        assert_eq!(client.get("/").unwrap().json()["connection"], 0);
    }
}

#[test]
fn a_body_ends_with_its_connection_only_if_the_server_says_so() {
    let lab = Lab::new();
    let behind = lab.plain();
    let server = behind.front(&lab.tls("")).tolerant(&["proxy x: "]);
    assert_eq!(get(server.address, "/ended").body.len(), 50_000);
    let mut client = Connection::open(server.address).unwrap();
    assert!(client.get("/cut").is_err(), "its end is none");
    server.wait_log("connection closed in the middle of the response");
}

#[test]
fn a_tunnel_goes_through_tls() {
    let lab = Lab::new();
    for only in ["TLSv1_2", "TLSv1_3"] {
        let behind = lab.serve("server", &json!({"only": only}));
        let server = behind.front(&lab.tls(""));
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let body = noise(1_000_000, 3);
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        stream.write_all(ask).unwrap();
        let mut sender = stream.try_clone().unwrap();
        let sent = body.clone();
        let sending = std::thread::spawn(move || {
            sender.write_all(&sent).unwrap();
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        sending.join().unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert!(all.starts_with(b"HTTP/1.1 101 ") && all[end..] == body, "{} bytes", all.len());
    }
}

#[test]
fn a_unix_socket_scgi_and_the_proxy_protocol_work_the_same() {
    let lab = Lab::new();
    let socket = lab.path("s");
    let _behind = lab.serve("server", &json!({"unix": socket}));
    let server =
        setup(&format!("servers: [\"unix:{socket}\"], {}", lab.tls(r#"name: "api.internal""#))).start();
    assert_eq!(get(server.address, "/").json()["name"], "api.internal");

    let behind = lab.serve("server", &json!({"header": true}));
    let server = behind.front(&format!("proxy_protocol: V1, {}", lab.tls("")));
    let seen = get(server.address, "/").json();
    assert!(seen["first"].as_str().unwrap().starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{seen}");

    let behind = lab.serve("server", &json!({"scgi": true}));
    let server = behind.front(&format!("protocol: Scgi, {}", lab.tls("")));
    assert!(get(server.address, "/a?b").text().contains("REQUEST_URI\0/a?b\0"));
}

#[test]
fn checks_of_servers_go_through_tls() {
    let lab = Lab::new();
    let (good, bad) = (lab.plain(), lab.serve("client", &json!({})));
    let health = "health: (path: \"/\", every: \"100ms\", fall: 1)";
    let server = front(&[bad.port, good.port], &format!("{health}, {}", lab.tls(""))).start();
    let line = server.wait_log("TLS failed: the server's certificate is not for `127.0.0.1` but for `alice`");
    assert!(line.contains(&format!("127.0.0.1:{}", bad.port)), "{line}");
    server.wait_log("is given up until its checks pass: TLS failed");
    let seen: Vec<_> = (0..4).map(|_| get(server.address, "/").status).collect();
    assert_eq!(seen, [200; 4]);
    assert!(!server.log().iter().any(|line| line.contains(&format!("127.0.0.1:{} is given up", good.port))));
}

#[test]
fn with_verify_false_anybody_is_believed_and_that_is_told() {
    let lab = Lab::new();
    let behind = lab.serve("client", &json!({}));
    let server = behind.front("tls: (verify: false)");
    assert_eq!(get(server.address, "/").status, 200);
    let why =
        "upstreams.x.tls.verify: whoever stands between here and the servers can read and change everything";
    server.wait_log(why);
    let check = hatchery(server.directory(), &["check", "-c", "hatchery.ron"]);
    assert!(check.code == Some(0) && (check.stdout + &check.stderr).contains(why));
}

#[test]
fn files_that_change_are_taken_and_bad_ones_are_not() {
    let (lab, other) = (Lab::new(), Lab::of("Another"));
    let behind = lab.plain();
    std::fs::copy(other.path("ca.pem"), lab.path("ca.pem")).unwrap();
    let keys = lab.tls(r#"name: "api.internal""#);
    let server = behind.front(&keys).tolerant(&["proxy x: ", "what was read before", "reload"]);
    assert_eq!(get(server.address, "/").status, 502);
    // Of itself.
    lab.authority.write(&lab.directory);
    server.wait_log("certificates were read anew: upstream x");
    wait_until(SOON, "the worker has it", || {
        let reply = get(server.address, "/");
        holds(reply.status == 200, reply)
    });
    lab.directory.write("ca.pem", "none");
    server.wait_log("there is no certificate in it; it has lines");
    server.wait_log("what was read before stays in use");
    assert_eq!(get(server.address, "/").status, 200);
    // By HUP.
    let generation = server.status().generation;
    server.master.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_log("hatchery.ron:6:");
    assert_eq!((get(server.address, "/").status, server.status().generation), (200, generation));
    std::fs::copy(other.path("ca.pem"), lab.path("ca.pem")).unwrap();
    server.hang_up();
    assert_eq!(get(server.address, "/").status, 502);
}

#[test]
fn workers_read_no_file_of_it() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::set_permissions(lab.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let behind = lab.serve("server", &json!({"clients": lab.path("ca.pem")}));
    let ours = format!(r#"certificate: "{}", key: "{}""#, lab.path("client.pem"), lab.path("client.key"));
    let upstream = format!("servers: [\"127.0.0.1:{}\"], {}", behind.port, lab.tls(&ours));
    let server = Setup::new(&format!("user: \"nobody\",{}", configuration(&upstream))).start();
    assert_eq!(get(server.address, "/").json()["client"], "alice");
}

#[test]
fn openssl_s_server_takes_sessions_up_again() {
    let lab = Lab::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]);
    command.args(["-cert", &lab.path("server.pem"), "-key", &lab.path("server.key")]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let behind = Behind { child, port };
    wait_until(SOON, "it listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    let server = behind.front(&lab.tls(""));
    assert!(get(server.address, "/").text().contains("\nNew, TLSv1.3"), "a first session");
    assert!(get(server.address, "/").text().contains("\nReused, TLSv1.3"), "the same");
}

#[test]
fn nginx_with_kept_connections_and_our_certificate() {
    let lab = Lab::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    lab.directory.write("www/large", noise(3_000_000, 5));
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path t;"))
        .concat();
    lab.directory.write(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid pid; error_log stderr; events {{}} http {{ access_log off; {paths} server {{
            listen 127.0.0.1:{port} ssl; root www; ssl_certificate server.pem; ssl_certificate_key server.key;
            ssl_client_certificate ca.pem; ssl_verify_client on; ssl_protocols TLSv1.2 TLSv1.3;
            location = /who {{ return 200 \"$ssl_client_s_dn $ssl_server_name $ssl_protocol $connection_requests\"; }} }} }}"
        ),
    );
    let mut command = Command::new("nginx");
    command.args(["-p", &lab.path(""), "-c", "nginx.conf", "-e", "stderr"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let behind = Behind { child, port };
    wait_until(SOON, "it listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    let ours = format!(
        r#"certificate: "{}", key: "{}", name: "api.internal""#,
        lab.path("client.pem"),
        lab.path("client.key")
    );
    let server = behind.front(&lab.tls(&ours));
    for request in 1..4 {
        let who = get(server.address, "/who").text();
        assert_eq!(who, format!("CN=alice api.internal TLSv1.3 {}", request * 2 - 1));
        assert_eq!(get(server.address, "/large").body, noise(3_000_000, 5));
    }
}
