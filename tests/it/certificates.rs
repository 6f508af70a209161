//! Certificates in files and made by the server: what is told of them, and that they change without anybody noticing.

use crate::harness::{Directory, SOON, Server, Setup, hatchery, holds, now, wait_until};
use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

/// A site with a certificate in files, and one that has its certificate from the server.
const SITES: &str = r#"workers: (processes: 2), sites: [
    (names: ["a.example"], tls: (listen: ["{address}"], certificates: [(cert: "a.pem", key: "a.key")]),
     locations: [(path: "/", to: Respond(body: "a"))]),
    (names: ["b.example"], tls: (listen: ["{address}"], certificates: SelfSigned),
     locations: [(path: "/", to: Respond(body: "b"))]),
],"#;

/// PEM of a certificate that ends with that year, and of its key.
fn made(names: &[&str], until: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 12, 31);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Writes both as an operator would: nobody sees half of a file.
fn give(directory: &Directory, (certificate, key): &(String, String)) {
    for (name, text) in [("a.pem", certificate), ("a.key", key)] {
        let new = directory.write(format!("{name}.new"), text);
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, directory.path().join(name)).unwrap();
    }
}

fn started(sites: &str) -> (Server, (String, String)) {
    let setup = Setup::new(sites);
    let own = made(&["a.example"], 2100);
    give(&setup.directory, &own);
    (setup.start(), own)
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The certificate that a name has, in PEM.
fn served(server: &Server, name: &str) -> String {
    let address = server.address.to_string();
    let said = run("openssl", &["s_client", "-connect", &address, "-servername", name]);
    let (_, rest) = said.split_once("-----BEGIN").unwrap_or_else(|| panic!("no certificate: {said}"));
    let (inside, _) = rest.split_once("-----END").unwrap();
    inside.chars().filter(|char| !char.is_whitespace()).collect()
}

/// Whether it is this one, of PEM.
fn is(served: &str, pem: &str) -> bool {
    let plain: String = pem.chars().filter(|char| !char.is_whitespace()).collect();
    plain.contains(served)
}

#[track_caller]
fn wait_served(server: &Server, pem: &str) {
    wait_until(SOON, "the certificate is served", || {
        let now = served(server, "a.example");
        holds(is(&now, pem), (now, server.log()))
    });
}

/// With curl, without looking at the certificate: what is printed.
fn curl(server: &Server, arguments: &[&str]) -> String {
    let to = |name: &str| format!("{name}:443:{}", server.address);
    let (a, b) = (to("a.example"), to("b.example"));
    run("curl", &[&["-sk", "--max-time", "30", "--connect-to", &a, "--connect-to", &b], arguments].concat())
}

#[test]
fn a_new_certificate_is_served_without_a_lost_request_and_a_bad_one_is_not() {
    let (server, first) = started(SITES);
    let server = server.tolerant(&["what was read before stays in use", "reload failed"]);
    let directory = server.directory();
    assert_eq!(
        (curl(&server, &["https://a.example/"]), curl(&server, &["https://b.example/"])),
        ("a".into(), "b".into())
    );
    let workers: Vec<u32> = server.ready("worker").iter().map(|worker| worker.pid).collect();
    let own = served(&server, "b.example");
    let (done, began) = (AtomicBool::new(false), now());
    let asked = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) && began.elapsed() < 2 * SOON {
                answers.push(curl(&server, &["https://a.example/"]));
            }
            answers
        });
        // By the file alone.
        let second = made(&["a.example"], 2101);
        give(directory, &second);
        wait_served(&server, &second.0);
        // A file that has gone: the next start would not find it.
        fs::rename(directory.path().join("a.key"), directory.path().join("b.key")).unwrap();
        let gone = server.wait_log("a.key`: no such file");
        assert!(gone.contains("stays in use"), "{gone}");
        assert!(
            server.status().certificates[0].fault.as_deref().unwrap_or_default().contains("no such file")
        );
        // The key of another one.
        directory.write("a.key", &first.1);
        let told = server.wait_log("it is not the key of the certificate in");
        assert!(
            told.contains("sites[0].tls.certificates[0].key: `") && told.contains("stays in use"),
            "{told}"
        );
        assert!(is(&served(&server, "a.example"), &second.0));
        let status = server.status();
        let fault = status.certificates[0].fault.as_deref().unwrap_or_default();
        assert!(fault.contains("it is not the key of"), "{status:?}");
        let refused = server.command(&["reload"]);
        let place = "hatchery.ron:4:99: sites[0].tls.certificates[0].key: `";
        assert!(refused.code == Some(1) && refused.stderr.contains("it is not the key of"), "{refused:?}");
        assert!(refused.stderr.contains(place), "{refused:?}");
        assert!(!server.log().iter().any(|line| line.contains("WARN") && line.contains("not the key")));
        // HUP takes a good one, at once.
        let third = made(&["a.example"], 2102);
        give(directory, &third);
        assert_eq!(server.command(&["reload"]).code, Some(0), "{:?}", server.log());
        wait_served(&server, &third.0);
        assert_eq!(server.status().certificates[0].fault, None);
        done.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(asked.len() > 10 && asked.iter().all(|answer| answer == "a"), "{asked:?}");
    let after: Vec<u32> = server.ready("worker").iter().map(|worker| worker.pid).collect();
    assert_eq!(after, workers, "no worker is replaced for a certificate");
    assert_eq!(served(&server, "b.example"), own, "what the server has made stays");
}

#[test]
fn sessions_and_what_the_server_has_made_go_over_reloads_and_upgrades() {
    let (server, first) = started(SITES);
    let address = server.address.to_string();
    let own = served(&server, "b.example");
    let file = server.directory().path().join("session");
    let session = |way| {
        let said = run(
            "openssl",
            &[
                "s_client",
                "-connect",
                &address,
                "-servername",
                "a.example",
                "-tls1_2",
                way,
                file.to_str().unwrap(),
            ],
        );
        said.lines()
            .find(|line| line.starts_with("New, ") || line.starts_with("Reused, "))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(session("-sess_out").starts_with("New, "));
    assert!(session("-sess_in").starts_with("Reused, "));
    // Other workers, of another configuration.
    server.configure(&SITES.replace("processes: 2", "processes: 1"));
    assert_eq!(server.command(&["reload"]).code, Some(0));
    assert!(session("-sess_in").starts_with("Reused, "));
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    wait_until(SOON, "the upgrade is over", || {
        let status = server.status();
        holds(status.mode == "running", status.mode)
    });
    assert!(session("-sess_in").starts_with("Reused, "));
    assert_eq!(served(&server, "b.example"), own);
    assert!(is(&served(&server, "a.example"), &first.0));
    // The files are still watched.
    let second = made(&["a.example"], 2101);
    give(server.directory(), &second);
    wait_served(&server, &second.0);
}

#[test]
fn http_is_sent_to_https_and_browsers_are_told_to_come_that_way() {
    let sites = r#"sites: [
        (names: ["a.example"], listen: ["127.0.0.2:0"], tls: (listen: ["{address}"], certificates: [(cert: "a.pem", key: "a.key")]),
         locations: [(path: "/", to: Respond(body: "a")), (exact: "/own", to: Files(root: "files"))]),
        (names: ["b.example"], listen: ["127.0.0.2:0"], tls: (listen: ["{address}"], certificates: SelfSigned),
         locations: [(path: "/", to: Respond(body: "b"))]),
    ],"#;
    let setup = Setup::new(sites);
    fs::create_dir(setup.directory.path().join("files")).unwrap();
    give(&setup.directory, &made(&["a.example"], 2100));
    let server = setup.start();
    let plain = server.status().listeners.into_iter().find(|name| name.starts_with("127.0.0.2:")).unwrap();
    let ask = |arguments: &[&str]| {
        let to = [format!("a.example:80:{plain}"), format!("b.example:80:{plain}")];
        curl(&server, &[&["-i", "--connect-to", &to[0], "--connect-to", &to[1]], arguments].concat())
    };
    let (port, from) = (server.address.port(), plain.rsplit(':').next().unwrap());
    let location = format!("\r\nLocation: https://a.example:{port}/x/../%41?b=%20c\r\n");
    for (arguments, status) in
        [(&[][..], "301"), (&["-I"], "301"), (&["-d", "x"], "308"), (&["-X", "DELETE"], "308")]
    {
        let host = format!("Host: a.example:{from}");
        let url = ["--path-as-is", "http://a.example/x/../%41?b=%20c"];
        let said = ask(&[arguments, &["-H", &host], &url].concat());
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")) && said.contains(&location), "{said}");
        // Port 80 is forwarded to ours, and so must 443 be.
        let said = ask(&[arguments, &url].concat());
        assert!(said.contains("\r\nLocation: https://a.example/x/../%41?b=%20c\r\n"), "{said}");
        assert!(!said.to_lowercase().contains("strict-transport-security"), "{said}");
    }
    assert!(ask(&["http://b.example/"]).ends_with("\r\n\r\nb"), "self-signed: nobody is sent to it");
    for version in ["--http1.1", "--http2"] {
        let strict = "\r\nstrict-transport-security: max-age=15552000\r\n";
        let of = |url: &str| ask(&[version, url]).to_lowercase();
        assert!(of("https://a.example/").contains(strict));
        assert!(of("https://a.example/own").contains(strict), "errors, too");
        assert!(!of("https://b.example/").contains("strict-"), "{}", of("https://b.example/"));
    }
}

#[test]
fn check_and_start_tell_what_is_wrong_with_files() {
    let mut setup = Setup::new(&SITES.replace("{address}", "127.0.0.1:0")).bind_itself();
    let check = || hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]);
    let missing = check();
    let place = "hatchery.ron:4:81: sites[0].tls.certificates[0].cert: `";
    assert!(missing.code == Some(1) && missing.stderr.contains(place), "{missing:?}");
    assert!(missing.stderr.contains("a.pem`: no such file; create it, or correct the path"), "{missing:?}");
    give(&setup.directory, &made(&["b.example"], 2100));
    let covered = check();
    assert_eq!(covered.code, Some(0), "{covered:?}");
    assert!(
        covered
            .stderr
            .contains("hatchery.ron:4:14: sites[0].names[0]: no certificate of the site is for `a.example`"),
        "{covered:?}"
    );
    give(&setup.directory, &made(&["a.example"], 2020));
    let expired = check();
    assert!(
        expired.code == Some(1) && expired.stderr.contains("a.pem`: the certificate has expired "),
        "{expired:?}"
    );
    let (good, other) = (made(&["a.example"], 2100), made(&["a.example"], 2100));
    give(&setup.directory, &(good.0, other.1));
    let ended = setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it is not the key of the certificate in"), "{ended:?}");
}

#[test]
fn files_that_all_can_write_are_refused_by_root_and_told_of_by_others() {
    let told = "a.pem`: every user can write it (mode 0666), and so stand in for the site; chmod o-w ";
    let open = |setup: &Setup| {
        let own = made(&["a.example"], 2100);
        give(&setup.directory, &own);
        fs::set_permissions(setup.directory.path().join("a.pem"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(setup.directory.path().join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    };
    if nix::unistd::geteuid().is_root() {
        let mut setup = Setup::new(SITES);
        open(&setup);
        let ended = setup.run_to_end();
        assert!(ended.code == Some(1) && ended.stderr.contains(told), "{ended:?}");
    }
    let setup = Setup::new(SITES).run_as_nobody();
    open(&setup);
    let server = setup.start();
    server.wait_log(told);
    assert_eq!(curl(&server, &["https://a.example/"]), "a");
}

#[test]
fn a_certificate_that_has_expired_is_served_and_told_of() {
    let setup = Setup::new(SITES);
    give(&setup.directory, &made(&["a.example"], 2020));
    let server = setup.start();
    let told = server.wait_log("a.pem`: the certificate has expired ");
    assert!(
        told.contains(":4:85: sites[0].tls.certificates[0].cert: `") && told.contains("; renew it"),
        "{told}"
    );
    let lines = server.log();
    assert_eq!(lines.iter().filter(|line| line.contains("has expired")).count(), 1, "{lines:?}");
    assert_eq!(curl(&server, &["https://a.example/"]), "a");
    let shown = server.command(&["status"]).stdout;
    assert!(
        shown.contains("\ncertificates\n  a.example  expired ") && shown.contains("self-signed"),
        "{shown}"
    );
    let status = server.status();
    let own = &status.certificates[0];
    let file = server.directory().path().join("a.pem");
    let x509 = |what: &str| {
        let said = run("openssl", &["x509", "-noout", "-in", file.to_str().unwrap(), what, "-sha256"]);
        said.trim().split('=').next_back().unwrap().replace(':', "").to_lowercase()
    };
    assert_eq!((own.file.as_deref(), own.stapled), (file.to_str(), false));
    assert_eq!((&own.fingerprint, &own.serial), (&x509("-fingerprint"), &x509("-serial")));
    assert!(shown.contains("a.pem (ECDSA P-256)  for a.example"), "{shown}");
    let ends: Vec<bool> = status.certificates.iter().map(|one| one.expires_in_seconds < 0).collect();
    assert_eq!(ends, [true, false]);
}

/// Keys are in no log, no output of a command, and not within the reach of apps.
#[test]
fn keys_stay_where_they_are() {
    let sites = r#"apps: {"app": (module: "app", chdir: "{apps}/plain")}, sites: [
        (names: ["a.example"], tls: (listen: ["{address}"], certificates: [(cert: "a.pem", key: "a.key")]),
         locations: [(path: "/", to: App("app")), (path: "/up/", to: Proxy("up"))]),
    ],
    // The same one is shown to servers.
    upstreams: {"up": (servers: ["127.0.0.1:1"], tls: (verify: false, certificate: "a.pem", key: "a.key"))},"#;
    let (server, (_, key)) = started(sites);
    let secret = key.lines().nth(1).unwrap();
    let shown = [
        hatchery(server.directory(), &["config", "-c", "hatchery.ron"]).stdout,
        server.command(&["status", "-v"]).stdout,
        server.command(&["status", "--json"]).stdout,
        server.log().join("\n"),
    ];
    assert!(shown.iter().all(|text| !text.is_empty() && !text.contains(secret)), "{shown:?}");
    // In DER, too: the end of it is the public key, of which the certificate has a copy.
    let der = KeyPair::from_pem(&key).unwrap().serialize_der();
    let inner = &der[der.len() - 110..der.len() - 70];
    assert!(!server.ready("app")[0].has_in_memory(inner), "the app has the key");
}
