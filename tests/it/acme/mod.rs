//! Certificates from an authority, with a real one (pebble) and one that lies, breaks down and limits.

mod authority;

use crate::harness::{
    Connection, Gate, SOON, Server, Setup, as_nobody, get, hatchery, holds, now, wait_until,
};
use authority::{Authority, BINDING, Message, Options, free_port};
use nix::sys::signal::Signal;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that is not started yet, and its authority.
struct Bench {
    setup: Setup,
    authority: Authority,
    secure: u16,
}

const DAY: u64 = 86_400;

impl Bench {
    fn new() -> Self {
        Self::of(90 * DAY, &[], |http, tls| (http, tls))
    }

    /// `ports` says where the authority connects to, given where the server listens.
    fn of(
        valid: u64,
        environment: &'static [(&'static str, &'static str)],
        ports: impl Fn(u16, u16) -> (u16, u16),
    ) -> Self {
        let (setup, secure) = (Setup::new(""), free_port());
        let (http, tls) = ports(setup.address.port(), secure);
        let authority = Authority::new(&Options { http, tls, valid, environment, ..Options::default() });
        setup.directory.write("roots.pem", &authority.roots);
        Self { setup, authority, secure }
    }

    /// A site of these names; all that is asked of it by HTTP is sent to HTTPS, or refused.
    fn site(&self, names: &str) -> String {
        self.site_on(names, "\"{address}\"")
    }

    fn site_on(&self, names: &str, listen: &str) -> String {
        format!(
            "(names: [{names}], listen: [{listen}], tls: (listen: [\"127.0.0.1:{}\"], certificates: {}),
              locations: [(path: \"/\", to: Respond(status: 200, body: \"hello\"))])",
            self.secure,
            acme(&self.authority)
        )
    }

    #[track_caller]
    fn start(self, sites: &str) -> (Server, Authority, u16) {
        self.setup.configure(&configuration(sites));
        let server = self.setup.start();
        (server, self.authority, self.secure)
    }
}

fn acme(authority: &Authority) -> String {
    format!(
        "Acme(email: \"admin@shop.example\", directory: \"{}\", directory_ca: \"roots.pem\", storage: \"{{dir}}/store\")",
        authority.directory()
    )
}

fn configuration(sites: &str) -> String {
    format!("workers: (processes: 2), sites: [{sites}],")
}

/// What openssl says of the certificate that is shown for a name.
fn shown(port: u16, name: &str) -> String {
    let address = format!("127.0.0.1:{port}");
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &address, "-servername", name, "-showcerts"]);
    let output = client.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn wait_shown(port: u16, name: &str) -> String {
    wait_until(SOON, "the authority's certificate is shown", || {
        let shown = shown(port, name);
        holds(shown.contains("Pebble Intermediate CA"), &shown).map(|()| shown)
    })
}

fn stored(server: &Server) -> Vec<PathBuf> {
    let files = std::fs::read_dir(server.directory().path().join("store")).into_iter().flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[track_caller]
fn wait_generation(server: &Server, generation: u32) {
    wait_until(SOON, "the reload is over", || {
        let now = server.status().generation;
        holds(now == generation, now)
    });
}

/// The authority answers no request with this in its line as long as the gate is there and closed.
fn held_up(bench: &Bench, line: &'static str) -> Gate {
    let gate = Gate::new(&bench.setup.directory, "gate");
    let path = bench.setup.directory.path().join("gate");
    bench.authority.answers(move |request, _| {
        if request.line.contains(line) && path.exists() {
            let _waits = std::fs::read(&path);
        }
        None
    });
    gate
}

/// Another server with what one has kept.
fn started_anew(server: Server, authority: &Authority, change: impl Fn(String) -> String) -> Server {
    let text = std::fs::read_to_string(server.directory().path().join("hatchery.ron")).unwrap();
    let before = server.directory().path().join("store");
    let kept = std::env::temp_dir().join(format!("hatchery-test-kept-{}", std::process::id()));
    std::fs::rename(&before, &kept).unwrap();
    drop(server);
    let setup = Setup::new("");
    let store = setup.directory.path().join("store");
    Command::new("cp").arg("-a").arg(&kept).arg(&store).status().unwrap();
    std::fs::remove_dir_all(&kept).unwrap();
    setup.directory.write("roots.pem", &authority.roots);
    let configuration = text.split_once(",\n").unwrap().1.trim_end().trim_end_matches(')').to_owned();
    setup.configure(&change(configuration.replace(before.to_str().unwrap(), store.to_str().unwrap())));
    setup.start()
}

/// The process that orders.
#[track_caller]
fn wait_helper(server: &Server) -> crate::harness::Process {
    wait_until(SOON, "the helper runs", || {
        let found = server.master.descendants().into_iter().find(|child| child.title() == "hatchery: helper");
        found.ok_or_else(|| format!("{:?}", server.status().pools))
    })
}

#[test]
fn a_certificate_is_had_by_http_and_kept_where_nobody_else_reads_it() {
    let bench = Bench::of(90 * DAY, &[("PEBBLE_WFE_NONCEREJECT", "5")], |http, tls| (http, tls));
    let site = bench.site("\"shop.example\", \"WWW.shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    let told = server.wait_log("acme: the certificate for shop.example, www.shop.example is there");
    assert!(told.contains("good until 20"), "{told}");
    let certificate = wait_shown(secure, "www.shop.example");
    assert!(certificate.contains("Verification"), "{certificate}");
    // An order whose nonce the authority refuses is sent again.
    assert!((1..=3).contains(&authority.orders()), "{}", authority.orders());
    let status = server.command(&["status"]).stdout;
    assert!(status.contains("acme: issued, renews in 6"), "{status}");
    let files = stored(&server);
    assert_eq!(files.len(), 2, "an account and a certificate: {files:?}");
    for file in &files {
        let mode = file.metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(server.directory().path().join("store").metadata().unwrap().mode() & 0o777, 0o700);
    // The question is closed, and was never anybody's.
    let asked = get(server.address, "/.well-known/acme-challenge/token");
    assert_ne!(asked.status, 200, "{asked:?}");
}

/// What an authority asks is answered to whoever asks for it, whatever else the site says to requests.
#[track_caller]
fn question_is_answered(tls: &str, otherwise: u16) {
    let bench = Bench::new();
    let gate = Gate::new(&bench.setup.directory, "gate");
    let path = bench.setup.directory.path().join("gate");
    let question = Arc::new(Mutex::new(Message::default()));
    let seen = Arc::clone(&question);
    bench.authority.answers(move |request, pass| {
        if request.line.contains("chalZ") && path.exists() {
            let _waits = std::fs::read(&path);
        }
        let answer = request.line.starts_with("POST /authZ").then(pass)?;
        seen.lock().unwrap().clone_from(&answer);
        Some(answer)
    });
    let site = bench.site("\"shop.example\"").replace("tls: (", &format!("tls: ({tls}"));
    let (server, authority, _) = bench.start(&site.replace("status: 200, body: \"hello\"", "status: 403"));
    wait_until(SOON, "the question is open", || {
        let asked = authority.asked("chalZ");
        holds(asked == 1, asked)
    });
    let question: serde_json::Value = serde_json::from_slice(&question.lock().unwrap().body).unwrap();
    let is_http = |one: &&serde_json::Value| one["type"] == "http-01";
    let challenge = question["challenges"].as_array().unwrap().iter().find(is_http).unwrap();
    let path = format!("/.well-known/acme-challenge/{}", challenge["token"].as_str().unwrap());
    let ask = |path: &str| {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).unwrap();
        connection.reply("GET").unwrap()
    };
    assert_eq!((ask("/").status, ask(&format!("{path}x")).status), (otherwise, otherwise));
    let answer = ask(&path);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().starts_with(challenge["token"].as_str().unwrap()), "{answer:?}");
    gate.open();
    std::fs::remove_file(server.directory().path().join("gate")).unwrap();
    server.wait_log("acme: the certificate for shop.example is there");
}

#[test]
fn a_question_is_answered_before_a_redirect() {
    question_is_answered("", 301);
}

#[test]
fn a_question_is_answered_where_all_else_is_refused() {
    question_is_answered("redirect_http: false, ", 403);
}

#[test]
fn a_certificate_is_had_in_a_handshake_where_nothing_listens_for_http() {
    let bench = Bench::of(90 * DAY, &[], |_, tls| (free_port(), tls));
    let site = bench.site_on("\"shop.example\"", "");
    let (server, _authority, secure) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example is there");
    wait_shown(secure, "shop.example");
}

#[test]
fn where_one_way_fails_the_other_is_taken() {
    let bench = Bench::of(90 * DAY, &[], |_, tls| (free_port(), tls));
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example is there");
    wait_shown(secure, "shop.example");
    assert_eq!(authority.orders(), 2, "what has failed by HTTP cannot be used again");
}

#[test]
fn where_both_ways_fail_it_is_told_why_and_what_to_do() {
    let bench = Bench::of(90 * DAY, &[], |_, _| (free_port(), free_port()));
    let site = bench.site("\"shop.example\"");
    let (server, authority, _) = bench.start(&site);
    let server = server.tolerant(&["no certificate for shop.example"]);
    let told = server.wait_log("acme: no certificate for shop.example");
    for part in
        ["HTTP-01", "TLS-ALPN-01", "(connection)", "port 80 is reached", "port 443 reaches it", "next try in"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let orders = authority.orders();
    let renewed = server.command(&["renew"]);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert!(renewed.stdout.starts_with("shop.example: waiting: "), "{renewed:?}");
    authority.wait_orders(orders + 1);
    for (arguments, text) in
        [(&["renew", "other.example"][..], "there is: shop.example"), (&["renew", "shop.example"], "ordered")]
    {
        let renewed = server.command(arguments);
        assert!(format!("{renewed:?}").contains(text), "{renewed:?}");
    }
}

#[test]
fn after_a_restart_nothing_is_ordered() {
    let bench = Bench::new();
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example is there");
    let before = wait_shown(secure, "shop.example");
    let kept = std::fs::read(&stored(&server)[1]).unwrap();
    server.hang_up();
    wait_generation(&server, 2);
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    let certificate = |text: &str| text.split("-----").nth(2).map(str::to_owned);
    wait_until(SOON, "it is shown after an upgrade", || {
        let now = shown(secure, "shop.example");
        holds(certificate(&now) == certificate(&before), &now)
    });
    assert_eq!((authority.orders(), std::fs::read(&stored(&server)[1]).unwrap()), (1, kept));
}

#[test]
fn a_certificate_is_renewed_before_it_ends() {
    let bench = Bench::of(12, &[], |http, tls| (http, tls));
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example is there");
    let first = wait_shown(secure, "shop.example");
    authority.wait_orders(2);
    let certificate = |text: &str| text.split("-----").nth(2).map(str::to_owned);
    wait_until(SOON, "another one is shown", || {
        let now = shown(secure, "shop.example");
        holds(now.contains("Pebble") && certificate(&now) != certificate(&first), &now)
    });
}

#[test]
fn a_certificate_that_is_not_renewed_is_told_of_until_it_ends() {
    let bench = Bench::of(9, &[], |http, tls| (http, tls));
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    let server = server.tolerant(&["is not renewed", "has expired"]);
    server.wait_log("acme: the certificate for shop.example is there");
    authority.answers(|_, _| Some(Message::new("500 No", "", "")));
    let check = || hatchery(server.directory(), &["check", "-c", "hatchery.ron"]);
    let good = check();
    assert!(good.code == Some(0) && !good.stderr.contains("expired"), "{good:?}");
    let told = server.wait_log("acme: the certificate for shop.example is not renewed");
    assert!(told.contains("; it is good until 20"), "{told}");
    let told = server.wait_log("the certificate has expired");
    assert!(told.contains("has expired 1s ago (shop.example, by Pebble"), "{told}");
    assert!(shown(secure, "shop.example").contains("Pebble Intermediate CA"), "it shows who is there");
    let expired = check();
    assert!(expired.stderr.contains("storage: the certificate for shop.example has expired "), "{expired:?}");
}

#[test]
fn an_authority_says_when_to_renew() {
    let bench = Bench::new();
    let site = bench.site("\"shop.example\"");
    let (server, authority, _) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example is there");
    authority.answers(|request, pass| match request.line.as_str() {
        "GET /dir" => {
            let own = request.fields.lines().find_map(|field| field.strip_prefix("host: "));
            let directory = pass().text();
            let more = format!("{{\"renewalInfo\": \"https://{}/renewal\",", own.unwrap_or_default().trim());
            Some(Message::json(&directory.replacen('{', &more, 1)))
        }
        line if line.starts_with("GET /renewal/") => Some(Message::json(
            "{\"suggestedWindow\": {\"start\": \"2021-01-03T00:00:00Z\", \"end\": \"2021-01-07T00:00:00Z\"},
              \"explanationURL\": \"https://localhost/mishap\"}",
        )),
        _ => None,
    });
    // It asks at the start of a server.
    let server = started_anew(server, &authority, |configuration| configuration);
    let told = server.wait_log("its authority explains: https://localhost/mishap");
    assert!(told.contains("shop.example"), "{told}");
    // Of what the new one replaces this authority does not speak.
    server.wait_log("acme: the certificate for shop.example is there");
    assert!(authority.orders() >= 2, "{}", authority.orders());
}

#[test]
fn a_certificate_stays_until_there_is_one_for_the_new_names() {
    let bench = Bench::new();
    let sites = ["shop.example\", \"www.shop.example", "shop.example", "new.example\", \"shop.example"];
    let [first, fewer, more] = sites.map(|names| configuration(&bench.site(&format!("\"{names}\""))));
    bench.setup.configure(&first);
    let Bench { setup, authority, secure } = bench;
    let server = setup.start().tolerant(&["no certificate for "]);
    server.wait_log("acme: the certificate for shop.example, www.shop.example is there");
    wait_shown(secure, "shop.example");
    let renewed = server.command(&["renew"]);
    assert!(renewed.stdout.ends_with("nothing waits\n"), "{renewed:?}");
    authority.answers(|_, _| Some(Message::new("500 No", "", "")));
    for (generation, file, name) in [(2, &fewer, "for shop.example:"), (3, &more, "for new.example")] {
        server.configure(file);
        server.hang_up();
        wait_generation(&server, generation);
        server.wait_log(&format!("no certificate {name}"));
        let shown = shown(secure, "shop.example");
        assert!(shown.contains("Pebble Intermediate CA"), "{shown}");
    }
    authority.answers(|_, _| None);
    assert_eq!(server.command(&["renew"]).code, Some(0));
    server.wait_log("acme: the certificate for new.example, shop.example is there");
    wait_shown(secure, "new.example");
}

#[test]
fn what_is_kept_serves_after_a_restart_with_other_names_until_there_is_another() {
    let bench = Bench::new();
    let site = bench.site("\"shop.example\", \"www.shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    server.wait_log("acme: the certificate for shop.example, www.shop.example is there");
    authority.answers(|_, _| Some(Message::new("500 No", "", "")));
    let server = started_anew(server, &authority, |text| text.replace("www.shop.example", "new.example"));
    let server = server.tolerant(&["no certificate for "]);
    server.wait_log("acme: no certificate for shop.example, new.example");
    let told = server.wait_log("the certificate is not for new.example");
    assert!(told.contains(".ron:") && told.contains("it serves until there is another one"), "{told}");
    let shown = shown(secure, "shop.example");
    assert!(shown.contains("Pebble Intermediate CA"), "{shown}");
    authority.answers(|_, _| None);
    assert_eq!(server.command(&["renew"]).code, Some(0));
    server.wait_log("acme: the certificate for shop.example, new.example is there");
}

#[test]
fn a_site_that_comes_back_to_an_authority_has_its_certificate_again() {
    let bench = Bench::new();
    let first = configuration(&bench.site("\"shop.example\""));
    let second = first.replace("/dir\"", "/dir?staging\"");
    assert_ne!(first, second);
    bench.setup.configure(&first);
    let Bench { setup, authority, secure } = bench;
    let server = setup.start();
    let leaf = || shown(secure, "shop.example").split("-----END").next().unwrap_or_default().to_owned();
    let mut seen = Vec::new();
    for (generation, file) in [(1, &first), (2, &second)] {
        if generation > 1 {
            server.configure(file);
            server.hang_up();
            wait_generation(&server, generation);
        }
        wait_until(SOON, "each authority has given one", || {
            holds(leaf().contains("Pebble Intermediate CA") && !seen.contains(&leaf()), leaf())
        });
        seen.push(leaf());
    }
    for (generation, file, leaf_then) in [(3, &first, &seen[0]), (4, &second, &seen[1])] {
        server.configure(file);
        server.hang_up();
        wait_generation(&server, generation);
        assert_eq!(leaf(), *leaf_then);
    }
    assert_eq!(authority.orders(), 2);
}

#[test]
fn only_master_and_helper_ever_have_the_key_of_the_account() {
    let bench = Bench::new();
    let sites = [bench.site("\"shop.example\""), bench.site("\"blog.example\"")].join(", ");
    let (server, _authority, _) = bench.start(&sites);
    for name in ["shop.example", "blog.example"] {
        server.wait_log(&format!("acme: the certificate for {name} is there"));
    }
    server.hang_up();
    wait_generation(&server, 2);
    let account =
        stored(&server).into_iter().find(|path| path.extension().is_some_and(|end| end == "account"));
    let account = std::fs::read_to_string(account.unwrap()).unwrap();
    let key = account.split("\"key\":\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(key.len() > 100, "{}", key.len());
    for worker in server.ready("worker") {
        assert!(!worker.has_in_memory(&key.as_bytes()[20..80]), "{worker:?}");
    }
}

#[test]
fn a_start_that_fails_orders_nothing_any_more_and_ends() {
    let mut bench = Bench::new();
    bench.authority.answers(|_, _| Some(Message::new("500 No", "", "")));
    let site =
        bench.site("\"shop.example\"").replace("Respond(status: 200, body: \"hello\")", "App(\"app\")");
    let app = "apps: {\"app\": (module: \"broken\", chdir: \"{dir}\", home: \"{venv}\")},";
    bench.setup.directory.write("broken.py", "raise LookupError('on purpose')\n");
    bench.setup.configure(&(configuration(&site) + app));
    let ended = bench.setup.run_to_end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("LookupError: on purpose"), "{ended:?}");
}

#[test]
fn an_authority_that_is_down_is_waited_for() {
    let bench = Bench::new();
    let site =
        bench.site("\"shop.example\"").replace(&bench.authority.directory(), "https://localhost:1/dir");
    let (server, _authority, _) = bench.start(&site);
    let server = server.tolerant(&["no certificate for shop.example"]);
    let told = server.wait_log("acme: no certificate for shop.example");
    assert!(told.contains("localhost:1 cannot be asked") && told.contains("Connection refused"), "{told}");
    // Until then it makes do with one of its own.
    let shown = shown(0, "shop.example");
    assert!(!shown.contains("Pebble"), "{shown}");
}

#[test]
fn an_authority_that_limits_is_left_alone_for_so_long() {
    let bench = Bench::new();
    bench.authority.answers(|request, _| {
        let limited = || Message::problem("429 Too Many Requests", "rateLimited", "Retry-After: 72000\r\n");
        request.line.contains("order-plz").then(limited)
    });
    let site = bench.site("\"shop.example\"");
    let (server, _authority, _) = bench.start(&site);
    let server = server.tolerant(&["no certificate for shop.example"]);
    let told = server.wait_log("acme: no certificate for shop.example");
    assert!(told.contains("(rateLimited)") && told.contains("next try in 20h"), "{told}");
}

#[test]
fn an_authority_that_lies_is_not_believed() {
    let other = rcgen::generate_simple_self_signed(vec!["other.example".to_owned()]).unwrap().cert.pem();
    let mut long = Message::problem("400 No", "malformed", "");
    long.body = long.text().replace("says the test", &"\\u001b[2J ".repeat(10_000)).into();
    let directory = |nonce: &str| {
        format!("{{\"newNonce\": \"{nonce}\", \"newAccount\": \"https://x/\", \"newOrder\": \"https://x/\"}}")
    };
    let leads = |nonce, told| ("GET /dir", Message::json(&directory(nonce)), told);
    let answers: Vec<(&str, Message, &str)> = vec![
        ("GET /dir", Message::new("200 OK", "Content-Type: text/html\r\n", "<p>hello"), "is not ACME"),
        ("GET /dir", Message::json(&" ".repeat(1 << 20)), "cannot be asked"),
        leads("file:///etc/passwd", "it sends us to file:///etc/passwd, which is no"),
        leads("http://localhost/", "it sends us to http://localhost/, which is no"),
        leads("/nonce", "it sends us to /nonce, which is no address of https"),
        leads("https://[/", "it sends us to https://[/, which is no address of https"),
        (
            "POST /order-plz",
            Message::new(
                "201 Created",
                "Replay-Nonce: x\r\nLocation: https://localhost/order\r\n",
                "{\"status\": \"ready\", \"authorizations\": [\"file:///x\"], \"finalize\": \"file:///x\"}",
            ),
            "it sends us to what is no address at all",
        ),
        (
            "POST /certZ",
            Message::new("200 OK", "Replay-Nonce: x\r\n", &other),
            "not used: it is not for shop.example",
        ),
        (
            "POST /certZ",
            Message::new("200 OK", "Replay-Nonce: x\r\n", "nothing"),
            "not used: there is no certificate",
        ),
        (
            "POST /certZ",
            Message::new("200 OK", "Replay-Nonce: x\r\n", &"\x01".repeat(100_000)),
            "says more than is listened to",
        ),
        ("POST /order-plz", long, "the order: \\x1b[2J \\x1b[2J"),
    ];
    let bench = Bench::new();
    // Not as it is asked for.
    let site = bench.site("\"shop.example\"").replace("/dir\"", "/dir#here\"");
    bench
        .authority
        .answers(|request, _| request.line.starts_with("GET /dir").then(|| Message::new("500 No", "", "")));
    let (server, authority, _) = bench.start(&site);
    let server = server.tolerant(&["no certificate for shop.example"]);
    server.wait_log("acme: no certificate for shop.example");
    for (line, answer, why) in answers {
        authority.answers(move |request, _| request.line.starts_with(line).then(|| answer.clone()));
        assert_eq!(server.command(&["renew"]).code, Some(0));
        let told = server.wait_log(why);
        assert!(told.contains("no certificate for shop.example") && told.len() < 5000, "{told}");
    }
    authority.answers(|_, _| None);
    assert_eq!(server.command(&["renew"]).code, Some(0));
    server.wait_log("acme: the certificate for shop.example is there");
}

#[test]
fn an_authority_that_lies_about_one_name_does_not_keep_the_others() {
    let bench = Bench::new();
    let token = |body: &str, token: &str| {
        let parts: Vec<&str> = body.split("\"token\": \"").collect();
        let rest = parts[1..].iter().map(|part| format!("{token}{}", &part[part.find('"').unwrap()..]));
        [parts[0].to_owned()].into_iter().chain(rest).collect::<Vec<_>>().join("\"token\": \"")
    };
    bench.authority.answers(move |request, pass| {
        let answer = request.line.starts_with("POST /authZ").then(pass)?;
        let body = answer.text();
        let lie = match () {
            () if body.contains("a.example") => token(&body, "../lie"),
            () if body.contains("b.example") => token(&body, &"x".repeat(40_000)),
            () => body,
        };
        Some(Message { body: lie.into(), ..answer })
    });
    let names = ["a.example", "b.example\", \"2.b.example\", \"3.b.example\", \"4.b.example", "c.example"];
    let sites = names.map(|names| bench.site(&format!("\"{names}\""))).join(", ");
    let (server, _authority, secure) = bench.start(&sites);
    let server = server.tolerant(&["no certificate for "]);
    server.wait_log("acme: the certificate for c.example is there");
    wait_shown(secure, "c.example");
    let told = server.wait_log("acme: no certificate for a.example");
    assert!(told.contains("is no challenge for these names"), "{told}");
    let told = server.wait_log("acme: no certificate for b.example");
    assert!(told.contains("says more than is listened to"), "{told}");
}

#[test]
fn a_helper_that_dies_is_replaced_and_its_order_repeated() {
    let bench = Bench::new();
    let gate = held_up(&bench, "order-plz");
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    let server = server.tolerant(&["helper (process"]);
    authority.wait_orders(1);
    let helper = wait_helper(&server);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(helper.user(), 0, "no `user` is set");
    }
    let shown = server.command(&["status"]).stdout;
    assert!(shown.contains("\nhelper "), "{shown}");
    assert!(shown.contains("acme: being ordered"), "{shown}");
    helper.signal(Signal::SIGKILL);
    server.wait_log("helper (process");
    std::fs::remove_file(server.directory().path().join("gate")).unwrap();
    drop(gate);
    server.wait_log("acme: the certificate for shop.example is there");
    wait_shown(secure, "shop.example");
    assert_eq!(authority.asked("POST /sign-me-up"), 1, "the account is kept");
}

#[test]
fn an_order_does_not_wait_for_workers_that_leave() {
    let bench = Bench::new();
    let sites = ["shop.example", "blog.example"].map(|name| bench.site(&format!("\"{name}\"")));
    let began = now();
    let (server, _authority, _) = bench.start(&sites[0]);
    server.wait_log("acme: the certificate for shop.example is there");
    let usual = began.elapsed();
    // Its worker has a request, and goes on with it.
    let mut connection = Connection::open(server.address).unwrap();
    let head = "GET / HTTP/1.1\r\nHost: shop.example\r\n";
    connection.send(format!("{head}\r\n")).unwrap();
    assert_eq!(connection.reply("GET").unwrap().status, 301);
    connection.send(head).unwrap();
    server.configure(&configuration(&sites.join(", ")));
    server.hang_up();
    wait_generation(&server, 2);
    let began = now();
    server.wait_log("acme: the certificate for blog.example is there");
    // That is what is waited for workers that hang.
    let waited = began.elapsed();
    assert!(
        waited < usual + Duration::from_secs(4),
        "{usual:?} before, {waited:?} with a worker that leaves"
    );
}

#[test]
fn a_reload_in_the_middle_of_an_order_is_safe() {
    let bench = Bench::new();
    let gate = held_up(&bench, "finalize-order");
    let (first, second) = (bench.site("\"shop.example\""), bench.site("\"shop.example\", \"blog.example\""));
    let (server, authority, secure) = bench.start(&first);
    wait_until(SOON, "the order is almost done", || {
        holds(authority.asked("finalize-order") == 1, authority.orders())
    });
    server.hang_up();
    wait_generation(&server, 2);
    gate.open();
    server.wait_log("acme: the certificate for shop.example is there");
    wait_shown(secure, "shop.example");
    assert_eq!(authority.orders(), 1);
    // Other names are another certificate, and an order that nobody wants any more is broken off.
    server.configure(&configuration(&second));
    server.hang_up();
    wait_until(SOON, "the order is almost done", || {
        holds(authority.asked("finalize-order") == 2, authority.orders())
    });
    server.configure(&configuration(&first));
    server.hang_up();
    wait_generation(&server, 4);
    std::fs::remove_file(server.directory().path().join("gate")).unwrap();
    server.configure(&configuration(&second));
    server.hang_up();
    server.wait_log("acme: the certificate for shop.example, blog.example is there");
    wait_shown(secure, "blog.example");
}

#[test]
fn an_upgrade_in_the_middle_of_an_order_is_safe() {
    let bench = Bench::new();
    let gate = held_up(&bench, "finalize-order");
    let site = bench.site("\"shop.example\"");
    let (server, authority, secure) = bench.start(&site);
    wait_until(SOON, "the order is almost done", || {
        holds(authority.asked("finalize-order") == 1, authority.orders())
    });
    let before = wait_helper(&server);
    server.master.signal(Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    // The helper was the program's before, so another one has its order.
    wait_until(SOON, "the helper has left", || holds(!before.is_alive(), before));
    std::fs::remove_file(server.directory().path().join("gate")).unwrap();
    drop(gate);
    server.wait_log("acme: the certificate for shop.example is there");
    wait_shown(secure, "shop.example");
    assert_eq!((authority.orders(), authority.asked("POST /sign-me-up")), (2, 1));
}

#[test]
fn several_sites_have_their_own() {
    let bench = Bench::new();
    let sites = [bench.site("\"shop.example\""), bench.site("\"blog.example\"")].join(", ");
    let (server, authority, secure) = bench.start(&sites);
    for name in ["shop.example", "blog.example"] {
        server.wait_log(&format!("acme: the certificate for {name} is there"));
        wait_shown(secure, name);
    }
    assert_eq!((authority.orders(), authority.asked("POST /sign-me-up")), (2, 1), "with one account");
}

#[test]
fn an_account_is_bound_to_one_at_the_authority() {
    let (setup, secure) = (Setup::new(""), free_port());
    let options = Options { http: setup.address.port(), tls: secure, binding: true, ..Options::default() };
    let authority = Authority::new(&options);
    setup.directory.write("roots.pem", &authority.roots);
    setup.directory.write("eab.key", format!("{BINDING}\n"));
    let bench = Bench { setup, authority, secure };
    let site = bench.site("\"shop.example\"");
    let bound = site.replace("email:", "eab: (key_id: \"kid-1\", key: \"eab.key\"), email:");
    let (server, _authority, _) = bench.start(&site);
    let server = server.tolerant(&["no certificate for shop.example"]);
    let told = server.wait_log("acme: no certificate for shop.example");
    assert!(told.contains("give `eab`"), "{told}");
    server.configure(&configuration(&bound));
    server.hang_up();
    wait_generation(&server, 2);
    assert_eq!(server.command(&["renew"]).code, Some(0));
    server.wait_log("acme: the certificate for shop.example is there");
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn check_finds_what_an_order_would_fail_of() {
    let directory = crate::harness::Directory::new();
    let path = |name: &str| directory.path().join(name);
    let site = |acme: &str| {
        format!(
            "(sites: [(names: [\"shop.example\"],\n tls: (listen: [\"127.0.0.1:0\"], certificates: {acme}),\n \
             locations: [(path: \"/\", to: Respond())])])"
        )
    };
    let check = |acme: &str| {
        directory.write("hatchery.ron", site(acme));
        hatchery(&directory, &["check", "-c", "hatchery.ron"])
    };
    for name in ["open", "other"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::set_permissions(path("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("other", path("link")).unwrap();
    directory.write("file", "");
    directory.write("ca.pem", "garbage");
    let one = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem();
    directory.write("all.pem", one.repeat(400));
    directory.write("eab.key", "not base64url!");
    let cases = [
        (
            "storage: \"open\"",
            "2:61: sites[0].tls.certificates.storage: `",
            "/open` can be changed by every user; chmod o-w ",
        ),
        ("storage: \"link\"", "2:61: sites[0].tls.certificates.storage: `", "/link` is a symbolic link"),
        ("storage: \"file\"", "2:61: sites[0].tls.certificates.storage: `", "/file` is a file"),
        (
            "storage: \"file/x\"",
            "2:61: sites[0].tls.certificates.storage: `",
            "/file/x` cannot be used: Not a directory",
        ),
        (
            "storage: \"s\", directory_ca: \"none.pem\"",
            "sites[0].tls.certificates.directory_ca: `",
            "no such file; create it",
        ),
        (
            "storage: \"s\", directory_ca: \"ca.pem\"",
            "sites[0].tls.certificates.directory_ca: `",
            "there is no certificate in it",
        ),
        (
            "storage: \"s\", directory_ca: \"all.pem\"",
            "sites[0].tls.certificates.directory_ca: `",
            "has more than 128 KiB; it holds the certificates of those who sign that of the directory",
        ),
        (
            "storage: \"s\", eab: (key_id: \"x\", key: \"eab.key\")",
            "sites[0].tls.certificates.eab.key: `",
            "there is no key in base64url in it; write it exactly as",
        ),
    ];
    for (acme, place, what) in cases {
        let checked = check(&format!("Acme({acme})"));
        assert_eq!(checked.code, Some(1), "{acme}: {checked:?}");
        assert!(checked.stderr.contains(place) && checked.stderr.contains(what), "{acme}: {checked:?}");
    }
    let good = check("Acme(storage: \"other/new/acme\")");
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(!path("other/new").exists(), "nothing is made");
    directory.write("hatchery.ron", site("Acme(storage: \"/usr/hatchery/acme\")"));
    let program = crate::harness::binary();
    let mut words = as_nobody().iter().copied().chain(program.to_str());
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["check", "-c", "hatchery.ron"]).current_dir(directory.path());
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("cannot be made in `/usr`: Permission denied; make it for the user who"), "{said}");
    let short =
        "(sites: [(names: [\"shop.example\"], listen: [\"127.0.0.1:0\"],\n tls: Acme(storage: \"open\"),
                  locations: [(path: \"/\", to: Respond())])])";
    directory.write("hatchery.ron", short);
    let checked = hatchery(&directory, &["check", "-c", "hatchery.ron"]);
    assert!(checked.stderr.contains("hatchery.ron:2:21: sites[0].tls.storage: `"), "{checked:?}");
}

#[test]
fn the_helper_is_none_to_be_started_by_hand() {
    let directory = crate::harness::Directory::new();
    let finished = hatchery(&directory, &["helper"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("the server itself starts this command"), "{finished:?}");
    assert!(!hatchery(&directory, &["--help"]).stdout.contains("helper"));
}

/// Networks of their own, where the server finds Let's Encrypt: each is the other's neighbour.
#[test]
fn a_name_is_all_that_run_takes_for_a_certificate() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let sh = |script: &str| {
        let output = Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    // Of this thread, and of all that it starts from now on.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    sh("ip link set lo up; ip link add veth0 type veth peer name veth1
        ip address add 10.99.0.1/24 dev veth0; ip link set veth0 up");
    let mut setup =
        Setup::flags(&["run", "--acme", "shop.example", "--http", "{address}", "--static", "/={dir}/public"]);
    let name = "acme-v02.api.letsencrypt.org";
    let (at, http) = ("10.99.0.1:443", setup.address.port());
    let authority = Authority::new(&Options { http, tls: 443, at, name, ..Options::default() });
    setup.directory.write("public/hello.txt", "hello\n");
    setup.directory.write("hosts", format!("10.99.0.1 {name}\n"));
    setup.directory.write("roots.pem", &authority.roots);
    let begin = "mount --bind hosts /etc/hosts; mount --bind roots.pem /etc/ssl/certs/ca-certificates.crt; exec \"$@\"";
    setup = setup
        .under(&["unshare", "-n", "-m", "sh", "-ec", begin, "begin"])
        .env("STATE_DIRECTORY", "{dir}/state");
    let server = setup.start().tolerant(&["no certificate for shop.example", "without `user`"]);
    let master = server.master.pid;
    let inside = format!("nsenter -t {master} -n");
    sh(&format!(
        "ip link set veth1 netns {master}
        {inside} ip address add 10.99.0.2/24 dev veth1; {inside} ip link set lo up; {inside} ip link set veth1 up"
    ));
    server.wait_log("acme: no certificate for shop.example");
    assert_eq!(server.command(&["renew"]).code, Some(0));
    server.wait_log("acme: the certificate for shop.example is there");
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", "10.99.0.2:443", "-servername", "shop.example"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("Pebble Intermediate CA"), "{shown}");
    let answer = Command::new("curl")
        .args(["-sk", "--resolve", "shop.example:443:10.99.0.2", "https://shop.example/hello.txt"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "hello\n");
}
