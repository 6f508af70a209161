//! HTTPS, as curl, `openssl s_client` and Python speak it.

use crate::harness::{
    Authority, Connection, SOON, Server, Setup, Upstream, get, holds, noise, now, reply_to, sha256, tls,
    wait_until,
};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// One site, `shop.test`, with two workers.
struct Shop {
    server: Server,
    #[expect(dead_code, reason = "it signs for as long as the server runs")]
    authority: Authority,
}

const FILES: &str = r#"certificates: [(cert: "shop.pem", key: "shop.key")]"#;

impl Shop {
    fn new(tls: &str, site: &str, more: &str) -> Self {
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 2),
    sites: [(names: ["shop.test"], tls: (listen: ["{{address}}"], {tls}), {site})], {more}"#
        ));
        let authority = Authority::new();
        authority.write(&setup.directory);
        authority.sign(&setup.directory, "shop", "shop.test");
        authority.sign(&setup.directory, "alice", "alice");
        setup.directory.write("files/large", large());
        setup.directory.write("files/small", "small");
        Self { server: setup.start(), authority }
    }

    /// That says hello.
    fn plain() -> Self {
        Self::new(FILES, HELLO, "")
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        curl(&self.server, "shop.test", arguments)
    }

    fn s_client(&self, arguments: &[&str], input: &str) -> String {
        s_client(&self.server, arguments, input)
    }
}

fn large() -> Vec<u8> {
    noise(30_000_000, 7)
}

const HELLO: &str = r#"locations: [(path: "/", to: Respond(body: "hello\n"))]"#;

/// Asks for `/` of a host at the server, by HTTPS.
fn curl(server: &Server, host: &str, arguments: &[&str]) -> Output {
    let port = server.address.port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--resolve"]);
    command.arg(format!("{host}:{port}:127.0.0.1")).current_dir(server.directory().path());
    command.args(["--cacert", "ca.pem"]).args(arguments);
    if !arguments.iter().any(|argument| argument.contains("://")) {
        command.arg(format!("https://{host}:{port}/"));
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{error}")
}

/// What `openssl s_client` prints of a connection; what it is told goes to the server.
fn s_client(server: &Server, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.address.to_string(), "-CAfile", "ca.pem"]).args(arguments);
    command.current_dir(server.directory().path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    if !input.contains("Connection: close") {
        drop(stdin);
    }
    text(&child.wait_with_output().unwrap())
}

const CLOSING: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

#[test]
fn curl_gets_what_is_there_by_both_versions_of_both_protocols() {
    let shop = Shop::plain();
    for (version, name) in [("--tlsv1.2", "1.2"), ("--tlsv1.3", "1.3")] {
        for (http, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let max = ["--tls-max", name];
            let format = ["--write-out", "%{http_version} %{ssl_verify_result}"];
            let output = shop.curl(&[&[version, http], &max[..], &format].concat());
            assert_eq!(text(&output), format!("hello\n{spoken} 0"), "{version} {http}");
        }
    }
    let head = text(&shop.curl(&["--head"]));
    assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: 6"), "{head}");
    for old in ["1.0", "1.1"] {
        let output = shop.curl(&["--tls-max", old, "--ciphers", "DEFAULT@SECLEVEL=0"]);
        assert_eq!(output.status.code(), Some(35), "{}", text(&output));
    }
}

#[test]
fn http2_is_not_offered_where_it_is_not_spoken() {
    let shop = Shop::new(FILES, HELLO, "limits: (streams: 0),");
    let output = shop.curl(&["--http2", "--write-out", "%{http_version}"]);
    assert_eq!(text(&output), "hello\n1.1");
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let upstream = Upstream::start(|request, stream| {
        let body = format!("{} {}", request.body.len(), sha256(&request.body));
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
    });
    let site = r#"max_body: "100MiB", locations: [(path: "/files/", to: Files(root: "files")), (path: "/", to: Proxy("behind"))]"#;
    let more = format!("upstreams: {{\"behind\": (servers: [\"{}\"])}},", upstream.address);
    let shop = Shop::new(FILES, site, &more);
    let bytes = large();
    let port = shop.server.address.port();
    for http in ["--http1.1", "--http2"] {
        let output = shop.curl(&[http, &format!("https://shop.test:{port}/files/large")]);
        assert_eq!(sha256(&output.stdout), sha256(&bytes), "{http}: {} bytes", output.stdout.len());
        let part = shop.curl(&[
            http,
            "--range",
            "15000000-15000099",
            &format!("https://shop.test:{port}/files/large"),
        ]);
        assert_eq!(part.stdout, bytes[15_000_000..15_000_100], "{http}");
        let output = shop.curl(&[http, "--data-binary", "@files/large"]);
        assert_eq!(text(&output), format!("{} {}", bytes.len(), sha256(&bytes)), "{http}");
    }
}

/// Writes `FILE-rsa.pem` and `FILE-rsa.key`: rcgen makes no keys of RSA with ring.
fn make_rsa(setup: &Setup, file: &str, name: &str) {
    let (key, cert) = (format!("{file}-rsa.key"), format!("{file}-rsa.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "100"])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-keyout", &key, "-out", &cert])
        .current_dir(setup.directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
}

/// `scripts/https` runs it.
#[test]
#[ignore = "takes minutes, and needs testssl"]
fn testssl_finds_no_weakness() {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 2),
    sites: [(names: ["shop.test"], tls: (listen: ["{{address}}"], certificates: [
        (cert: "shop.pem", key: "shop.key"), (cert: "shop-rsa.pem", key: "shop-rsa.key")]), {HELLO})],"#
    ));
    let authority = Authority::new();
    authority.write(&setup.directory);
    authority.sign(&setup.directory, "shop", "shop.test");
    make_rsa(&setup, "shop", "shop.test");
    let server = setup.start();
    let directory = server.directory().path();
    let output = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1"])
        .args(["--add-ca", "ca.pem", "--jsonfile", "found.json"])
        .arg(format!("shop.test:{}", server.address.port()))
        .current_dir(directory)
        .output()
        .unwrap();
    let found = std::fs::read(directory.join("found.json")).unwrap();
    let found: Vec<serde_json::Value> = serde_json::from_slice(&found).unwrap();
    let of = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let is_marked = |one: &serde_json::Value| {
        // Certificates are the test's, other headers the application's. WARN is that it could not look.
        let other = of(one, "id").starts_with("cert_") || of(one, "id") == "security_headers";
        !other && !["OK", "INFO"].contains(&&*of(one, "severity"))
    };
    let marked: Vec<_> = found.iter().filter(|one| is_marked(one)).collect();
    assert!(marked.is_empty(), "{marked:#?}");
    // The program of Debian gives no grade: this is what an A+ is made of. The last of them is tried last.
    for (id, expected) in [
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_3", "offered"),
        ("cipherlist_STRONG", "offered"),
        ("cipherlist_AVERAGE", "not offered"),
        ("PFS", "offered"),
        ("HSTS_time", "180 days"),
        ("LUCKY13", "not vulnerable"),
    ] {
        let finding = found.iter().find(|one| of(one, "id") == id).map(|one| of(one, "finding"));
        assert!(finding.is_some_and(|finding| finding.starts_with(expected)), "{id}: {}", text(&output));
    }
}

#[test]
fn the_name_that_is_asked_for_chooses_the_site_and_its_certificate() {
    let site = |names: &str, file: &str, body: &str| {
        format!(
            r#"(names: [{names}], tls: (listen: ["{{address}}"], certificates: [(cert: "{file}.pem", key: "{file}.key"), (cert: "{file}-rsa.pem", key: "{file}-rsa.key")]),
                locations: [(path: "/", to: Respond(body: "{body}"))])"#
        )
    };
    let configuration = |more: &str| {
        let (shop, wild) = (site(r#""shop.test""#, "shop", "shop"), site(r#""*.wild.test""#, "wild", "wild"));
        format!("workers: (processes: 1), sites: [{shop}, {wild}], {more}")
    };
    let setup = Setup::new(&configuration(""));
    let authority = Authority::new();
    authority.write(&setup.directory);
    for (file, name) in [("shop", "shop.test"), ("wild", "*.wild.test")] {
        authority.sign(&setup.directory, file, name);
        make_rsa(&setup, file, name);
    }
    let server = setup.start();
    for (name, expected) in [("shop.test", "shop"), ("a.wild.test", "wild"), ("B.Wild.Test", "wild")] {
        assert_eq!(text(&curl(&server, name, &[])), expected);
    }
    let rsa = s_client(
        &server,
        &["-servername", "shop.test", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
        "",
    );
    assert!(rsa.contains("Peer signature type: RSA"), "{rsa}");
    let ecdsa = s_client(&server, &["-servername", "shop.test", "-tls1_2"], "");
    assert!(ecdsa.contains("Peer signature type: ECDSA"), "{ecdsa}");
    for arguments in [&["-servername", "other.test"][..], &["-noservername"], &["-servername", "wild.test"]] {
        let refused = s_client(&server, arguments, "");
        assert!(refused.contains("unrecognized name") || refused.contains("alert number 112"), "{refused}");
    }
    server.configure(&configuration(r#"default_site: "shop.test","#));
    server.hang_up();
    for arguments in [&["-servername", "other.test"][..], &["-noservername"]] {
        let taken = s_client(&server, arguments, "");
        assert!(taken.contains("subject=CN = shop.test"), "{taken}");
    }
}

#[test]
fn sessions_are_resumed_by_every_worker_and_over_a_reload() {
    let shop = Shop::plain();
    let directory = shop.server.directory().path().to_owned();
    for version in ["-tls1_2", "-tls1_3"] {
        let common = ["-servername", "shop.test", version];
        let session = directory.join("session");
        let session = session.to_str().unwrap();
        let first = shop.s_client(&[&common[..], &["-ign_eof", "-sess_out", session]].concat(), CLOSING);
        assert!(first.contains("hello") && first.contains("New, "), "{first}");
        for round in 0..20 {
            if round == 10 {
                shop.server.hang_up();
            }
            let again = shop.s_client(&[&common[..], &["-sess_in", session]].concat(), "");
            assert!(again.contains("Reused, "), "{version} {round}: {again}");
        }
    }
}

#[test]
fn an_answer_of_the_authority_is_stapled() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(names: ["shop.test"], tls: (listen: ["{address}"],
        certificates: [(cert: "shop.pem", key: "shop.key", ocsp: "shop.ocsp")]),
        locations: [(path: "/", to: Respond(body: "hello"))])],"#,
    );
    let authority = Authority::new();
    authority.write(&setup.directory);
    authority.sign(&setup.directory, "shop", "shop.test");
    let pem = setup.directory.path().join("shop.pem");
    let said = Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(pem).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let digits = said.trim().split_once('=').unwrap().1;
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let serial: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
    // An OCSPResponse that says of it `good`, as far as servers look.
    let der = |tag: u8, inside: &[&[u8]]| [&[tag, inside.concat().len() as u8], &*inside.concat()].concat();
    let id = der(0x30, &[&der(0x30, &[]), &der(4, &[]), &der(4, &[]), &der(2, &[&serial])]);
    let one = der(0x30, &[&id, &[0x80, 0], &der(0x18, &[b"20260101000000Z"])]);
    let basic = der(0x30, &[&der(0x30, &[&der(0x30, &[&one])])]);
    let bytes = der(0xa0, &[&der(0x30, &[&der(6, &[&[0x2b]]), &der(4, &[&basic])])]);
    setup.directory.write("shop.ocsp", der(0x30, &[&[10, 1, 0], &bytes]));
    let server = setup.start();
    let seen = s_client(&server, &["-servername", "shop.test", "-status"], "");
    assert!(seen.contains("OCSP Response Status: successful"), "{seen}");
}

/// What the app and an upstream are told of the client's certificate.
#[test]
fn a_certificate_of_the_client_reaches_the_app_and_the_upstream() {
    let upstream = Upstream::fixed("behind");
    let site = r#"locations: [(path: "/behind", to: Proxy("behind")), (path: "/", to: App("plain"))]"#;
    let more = format!(
        r#"upstreams: {{"behind": (servers: ["{}"])}},
        apps: {{"plain": (module: "app", chdir: "{{apps}}/plain", home: "{{venv}}")}},"#,
        upstream.address
    );
    for required in [true, false] {
        let tls = format!(r#"{FILES}, clients: (ca: "ca.pem", required: {required})"#);
        let shop = Shop::new(&tls, site, &more);
        let port = shop.server.address.port();
        let environ = format!("https://shop.test:{port}/environ");
        let behind = format!("https://shop.test:{port}/behind");
        let forged = ["--header", "X-SSL-Client-Verify: SUCCESS", "--header", "X-Ssl-Client-S-Dn: CN=root"];
        let alice = ["--cert", "alice.pem", "--key", "alice.key"];
        let output = shop.curl(&[&alice[..], &forged, &[&environ]].concat());
        let seen: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        for (name, value) in [
            ("SSL_CLIENT_VERIFY", "SUCCESS"),
            ("SSL_CLIENT_S_DN", "CN=alice"),
            ("SSL_CLIENT_I_DN", "CN=Authority of a test"),
            ("SSL_PROTOCOL", "TLSv1.3"),
            ("HTTPS", "on"),
            ("wsgi.url_scheme", "https"),
        ] {
            assert_eq!(seen[name], value, "{name} in {seen:#}");
        }
        assert!(seen.get("HTTP_X_SSL_CLIENT_VERIFY").is_none(), "{seen:#}");
        shop.curl(&[&alice[..], &forged, &[&behind]].concat());
        let passed = upstream.last();
        assert_eq!(passed.all("x-ssl-client-verify"), ["SUCCESS"]);
        assert_eq!(passed.all("x-ssl-client-s-dn"), ["CN=alice"]);
        assert_eq!(passed.all("x-forwarded-proto"), ["https"]);
        let output = shop.curl(&[&forged[..], &[&behind]].concat());
        if required {
            assert!(text(&output).contains("certificate required"), "{}", text(&output));
            shop.server.wait_log("TLS failed: the client has shown no certificate");
        } else {
            let passed = upstream.last();
            assert_eq!(passed.all("x-ssl-client-verify"), ["NONE"]);
            assert_eq!(passed.all("x-ssl-client-s-dn"), [""; 0]);
        }
    }
}

#[test]
fn a_site_that_asks_for_certificates_is_not_had_by_the_name_of_another() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [
        (names: ["shop.test"], tls: (listen: ["{address}"], certificates: [(cert: "shop.pem", key: "shop.key")]),
            locations: [(path: "/", to: Respond(body: "open"))]),
        (names: ["staff.test"], tls: (listen: ["{address}"], certificates: [(cert: "staff.pem", key: "staff.key")], clients: "ca.pem"),
            locations: [(path: "/", to: Respond(body: "secret"))]),
    ],"#,
    );
    let authority = Authority::new();
    authority.write(&setup.directory);
    for (file, name) in [("shop", "shop.test"), ("staff", "staff.test"), ("alice", "alice")] {
        authority.sign(&setup.directory, file, name);
    }
    let server = setup.start();
    for http in ["--http1.1", "--http2"] {
        let output = curl(
            &server,
            "shop.test",
            &[http, "--header", "Host: staff.test", "--write-out", "%{http_code}"],
        );
        assert!(text(&output).ends_with("421") && !text(&output).contains("secret"), "{}", text(&output));
        assert_eq!(
            text(&curl(&server, "staff.test", &[http, "--cert", "alice.pem", "--key", "alice.key"])),
            "secret"
        );
    }
}

#[test]
fn a_site_that_requires_certificates_is_not_had_without_tls() {
    let setup = Setup::new(
        r#"sites: [(names: ["staff.test"], listen: ["{address}"], trusted_proxies: ["127.0.0.1"],
            tls: (listen: ["127.0.0.1:0"], certificates: SelfSigned, redirect_http: true, clients: (ca: "ca.pem", required: true)),
            locations: [(path: "/", to: Respond(body: "secret"))])],"#,
    );
    Authority::new().write(&setup.directory);
    let server = setup.start();
    let asked = |more: &str| {
        reply_to(
            server.address,
            format!("GET / HTTP/1.1\r\nHost: staff.test\r\n{more}Connection: close\r\n\r\n"),
        )
        .0
    };
    assert_eq!(asked("").status, 301);
    // A trusted proxy, whose own client may be anybody.
    let refused = asked("X-Forwarded-Proto: https\r\n");
    assert!(refused.status == 403 && !refused.text().contains("secret"), "{refused:?}");
    server.wait_log("the site requires a certificate, which is shown by HTTPS only");
}

#[test]
fn plain_http_is_shown_the_way() {
    let shop = Shop::plain();
    let reply = get(shop.server.address, "/a?b=c");
    assert_eq!((reply.status, reply.closes()), (400, true));
    // The test's client names no port: it came by a forwarded one.
    assert!(
        reply.text().contains("This port speaks HTTPS. Ask for https://localhost/a?b=c\n"),
        "{}",
        reply.text()
    );
    shop.server.wait_log("plain HTTP on a port that speaks HTTPS");
}

#[test]
fn what_is_no_tls_is_told_so_and_logged() {
    let shop = Shop::plain();
    let mut stream = TcpStream::connect(shop.server.address).unwrap();
    stream.write_all(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.len(), answer[0]), (7, 21), "an alert: {answer:?}");
    shop.server.wait_log(": TLS failed: ");

    for (sent, first) in [(&b"SSH-2.0-OpenSSH_9.2\r\n"[..], 21), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0)] {
        let mut stream = TcpStream::connect(shop.server.address).unwrap();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[0], first, "{answer:?}");
        assert!(first == 21 || answer.ends_with(b"This port speaks HTTPS"), "{answer:?}");
    }
    shop.server.wait_log("HTTP/2 in the clear on a port that speaks HTTPS");
}

/// Not in the words of the library.
#[test]
fn why_a_handshake_has_failed_is_told_in_words() {
    let site = |name: &str, clients: &str| {
        format!(
            r#"(names: ["{name}"], tls: (listen: ["{{address}}"], certificates: [(cert: "{name}.pem", key: "{name}.key")], {clients}), {HELLO})"#
        )
    };
    let (shop, staff) =
        (site("shop.test", ""), site("staff.test", r#"clients: (ca: "ca.pem", required: true)"#));
    let setup = Setup::new(&format!("workers: (processes: 1), sites: [{shop}, {staff}],"));
    let (authority, stranger) = (Authority::new(), Authority::named("Stranger"));
    authority.write(&setup.directory);
    authority.sign(&setup.directory, "shop.test", "shop.test");
    authority.sign(&setup.directory, "staff.test", "staff.test");
    stranger.sign(&setup.directory, "mallory", "mallory");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=me", "-keyout", "self.key", "-out", "self.pem"])
        .current_dir(setup.directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let server = setup.start();
    let (shop, staff) = (["-servername", "shop.test"], ["-servername", "staff.test"]);
    for (host, arguments, expected) in [
        (
            shop,
            &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"][..],
            "a TLS that is too old; it must be 1.2 or 1.3",
        ),
        (shop, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "the client knows none of the ciphers"),
        (shop, &["-alpn", "spdy/3"], "the client offers only protocols that are not spoken here (ALPN)"),
        (
            shop,
            &["-CAfile", "self.pem", "-verify_return_error"],
            "does not trust the certificate of the site: unknown ca",
        ),
        (staff, &[], "the client has shown no certificate"),
        (
            staff,
            &["-cert", "mallory.pem", "-key", "mallory.key"],
            "certificate is not signed by an authority in `clients.ca`",
        ),
        (staff, &["-cert", "self.pem", "-key", "self.key"], "certificate is that of an authority (CA:TRUE)"),
    ] {
        // A few lines a second are written.
        wait_until(SOON, expected, || {
            let seen = s_client(&server, &[&host[..], arguments].concat(), "");
            let line = server
                .log()
                .into_iter()
                .find(|line| line.contains("TLS failed: ") && line.contains(expected));
            holds(line.is_some(), seen)
        });
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let shop = Shop::new(FILES, HELLO, r#"limits: (header_timeout: "1s"),"#);
    let start = now();
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(shop.server.address).unwrap();
        stream.write_all(begun).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [0; 0]);
    }
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
}

/// A download is broken off in its middle, and an upload: the worker goes on.
#[test]
fn a_client_that_resets_in_the_middle_costs_nobody_else_anything() {
    let site = r#"locations: [(path: "/", to: Files(root: "files"))]"#;
    let shop = Shop::new(FILES, site, r#"log: (access: (path: "access.log", format: Json)),"#);
    let port = shop.server.address.port();
    let workers = shop.server.ready("worker");
    for http in ["--http1.1", "--http2"] {
        let output = shop.curl(&[
            http,
            "--limit-rate",
            "1M",
            "--max-time",
            "1",
            &format!("https://shop.test:{port}/large"),
        ]);
        assert_eq!(output.status.code(), Some(28), "{}", text(&output));
        assert_eq!(text(&shop.curl(&[http, &format!("https://shop.test:{port}/small")])), "small");
    }
    let log = shop.server.directory().path().join("access.log");
    wait_until(SOON, "all four are logged", || {
        let log = std::fs::read_to_string(&log).unwrap();
        let lines = log.lines().filter(|line| line.contains("\"tls\":\"TLSv1.3\"")).count();
        holds(lines == 4, log)
    });
    assert_eq!(shop.server.ready("worker"), workers);
}

#[test]
fn keys_are_updated_and_renegotiation_is_refused() {
    let shop = Shop::plain();
    // The commands of s_client stand at the beginning of a line.
    let updated = shop.s_client(&["-servername", "shop.test", "-tls1_3"], "K\nk\n");
    assert!(updated.contains("KEYUPDATE"), "{updated}");
    let refused = shop.s_client(&["-servername", "shop.test", "-tls1_2"], "R\n");
    assert!(refused.contains("RENEGOTIATING") && refused.contains("no renegotiation"), "{refused}");
    assert_eq!(text(&shop.curl(&[])), "hello\n");
}

#[test]
fn python_speaks_to_it_and_sees_the_end() {
    let shop = Shop::plain();
    let program = r#"
import socket, ssl, sys
context = ssl.create_default_context(cafile="ca.pem")
context.suppress_ragged_eofs = False
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname="shop.test", suppress_ragged_eofs=False) as tls:
        for byte in b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n":
            tls.send(bytes([byte]))
        answer = b""
        while piece := tls.recv(3):
            answer += piece
print(tls.version(), answer.decode())
"#;
    let output = Command::new("python3")
        .args(["-c", program, &shop.server.address.port().to_string()])
        .current_dir(shop.server.directory().path())
        .output()
        .unwrap();
    let seen = text(&output);
    assert!(output.status.success() && seen.ends_with("hello\n\n"), "{seen}");
}

/// A leaving worker answers what comes on a connection that is kept, and closes it with a word.
#[test]
fn connections_end_in_order_when_the_server_stops() {
    let mut shop = Shop::plain();
    let mut child = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-servername",
            "shop.test",
            "-connect",
            &shop.server.address.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").unwrap();
    let mut answer = [0; 15];
    child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert_eq!(shop.server.end(Signal::SIGTERM), Some(0));
    drop(child.stdin.take());
    let seen = text(&child.wait_with_output().unwrap());
    assert!(!seen.contains("unexpected eof"), "{seen}");
}

#[test]
fn an_absolute_target_may_say_https_where_that_is_spoken() {
    let shop = Shop::plain();
    let target = "GET https://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    let seen = shop.s_client(&["-servername", "shop.test", "-ign_eof", "-quiet"], target);
    assert!(seen.contains("HTTP/1.1 200 OK"), "{seen}");
    let mut plain = Connection::open(shop.server.address).unwrap();
    assert_eq!(plain.request("GET", "https://shop.test/", &[], b"").unwrap().status, 400);
}

/// Handshakes that are begun and never go on: who comes last, behind all of them, is served before they are.
#[test]
fn a_visitor_does_not_wait_for_a_burst_of_handshakes() {
    let server = Setup::new(
        r#"
    workers: (processes: 1),
    limits: (header_timeout: "60s"),
    sites: [(names: ["a"], tls: (listen: ["{address}"], certificates: SelfSigned), locations: [
        (path: "/", to: Respond(body: "hello\n"))])],"#,
    )
    .start();
    let worker = server.ready("worker")[0];
    drop(tls::connect(TcpStream::connect(server.address).unwrap(), &[]));
    let before_all = worker.memory("VmRSS");
    let hello = tls::hello();
    let open = |count| (0..count).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // Whole ones, halves, and nothing at all.
    let (begun, halves, silent): (Vec<TcpStream>, Vec<TcpStream>, Vec<TcpStream>) =
        (open(600), open(1000), open(1000));
    wait_until(SOON, "all are there", || {
        let connections = server.pool("worker").children[0].connections;
        holds(connections == Some(2600), connections)
    });
    worker.signal(Signal::SIGSTOP);
    let send = |mut socket: &TcpStream, bytes: &[u8]| {
        socket.write_all(bytes).unwrap();
        socket.set_nonblocking(true).unwrap();
    };
    begun.iter().for_each(|socket| send(socket, &hello));
    halves.iter().for_each(|socket| send(socket, &hello[..hello.len() / 2]));
    silent.iter().for_each(|socket| send(socket, b""));
    let visitor = TcpStream::connect(server.address).unwrap();
    send(&visitor, &hello);
    let answered =
        |sockets: &[TcpStream]| sockets.iter().filter(|socket| socket.peek(&mut [0]).is_ok()).count();
    worker.signal(Signal::SIGCONT);
    // So many were surely answered before, however seldom this process runs.
    let mut before = 0;
    loop {
        let seen = answered(&begun);
        if visitor.peek(&mut [0]).is_ok() {
            break;
        }
        before = seen;
    }
    assert!(before < begun.len() / 8, "the visitor was answered after {before}, as if in turn");
    let mut visitor = tls::connect(TcpStream::connect(server.address).unwrap(), &[]).unwrap();
    visitor.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    visitor.read_exact(&mut [0; 15]).unwrap();
    // All of them have their turn, but those that have said too little.
    wait_until(SOON, "all are answered", || holds(answered(&begun) == begun.len(), answered(&begun)));
    assert_eq!(answered(&halves) + answered(&silent), 0);
    let each = worker.memory("VmRSS").saturating_sub(before_all) / 2600;
    assert!(each < 6 * 1024, "{each} bytes for each of them");
}
