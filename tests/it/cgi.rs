//! CGI: what scripts are told, what becomes of what they write, and scripts that misbehave.

use crate::harness::{
    Connection, Process, Reply, SOON, Server, Setup, get, holds, noise, reply_to, sha256, wait_until,
};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

const BEGIN: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\n";

/// Scripts at `/cgi-bin/`, with these keys.
fn site(keys: &str) -> Setup {
    Setup::new(&format!(
        r#"limits: (head: "1MiB", request_line: "512KiB"),
    sites: [(listen: ["{{address}}"], max_body: "64MiB", locations: [
        (path: "/cgi-bin/", to: Cgi(root: "scripts", {keys})),
        (path: "/inside/", to: Respond(body: "inside"), internal: true),
        (path: "/shown/", to: Respond(body: "shown")),
        (path: "/", to: Respond(body: "no script")),
    ])],"#
    ))
}

fn script(setup: &Setup, name: &str, text: &str) -> PathBuf {
    let path = setup.directory.write(format!("scripts/{name}"), text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One script, `it`.
fn serving(keys: &str, text: &str) -> Server {
    let setup = site(keys);
    script(&setup, "it", text);
    setup.start()
}

fn pool(server: &Server) -> String {
    format!("cgi:{}", server.directory().path().join("scripts").display())
}

fn said(server: &Server, name: &str) -> String {
    std::fs::read_to_string(server.directory().path().join("scripts").join(name)).unwrap_or_default()
}

/// The process whose number a script has written there.
fn process(server: &Server, name: &str) -> Process {
    wait_until(SOON, "a script has written its number", || {
        let text = said(server, name);
        text.trim().parse().ok().filter(|_| text.ends_with('\n')).and_then(Process::of).ok_or(text)
    })
}

fn wait_gone(process: Process) {
    wait_until(SOON, "the script is gone", || holds(!process.is_alive(), process));
}

/// The process whose number a script has written there was, and is no more.
fn wait_ended(server: &Server, name: &str) {
    wait_until(SOON, "a process of a script is gone", || {
        let text = said(server, name);
        let number = text.trim().parse().map_err(|_| "no number".to_owned())?;
        holds(Process::of(number).is_none_or(|process| !process.is_alive()), text)
    });
}

fn variables(reply: &Reply) -> BTreeMap<String, String> {
    let text = reply.text();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_script_is_told_of_the_request_and_of_nothing_else() {
    let setup = site(r#"env: {"COLOUR": "red and blue"}"#).env("SECRET_OF_THE_MASTER", "1");
    script(
        &setup,
        "env.py",
        "#!/usr/bin/env python3\nimport os, sys\nprint('X: y\\n')\n\
         for pair in os.environ.items(): print('%s=%s' % pair)\n\
         print('ARGUMENTS=%d' % len(sys.argv))\nprint('HERE=' + os.getcwd())\n",
    );
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [
        ("X-Shell", "() { :; }; echo shocked"),
        ("Proxy", "http://evil"),
        ("Authorization", "Basic c2VjcmV0"),
        ("X_Underscored", "1"),
        ("Accept", "a"),
        ("accept", "b"),
    ];
    let reply = connection.request("GET", "/cgi-bin/env.py/caf%C3%A9/x?-s+%20&a=b", &fields, b"").unwrap();
    let mut told = variables(&reply);
    let root = server.directory().path().join("scripts").display().to_string();
    for (name, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("QUERY_STRING", "-s+%20&a=b"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "GET"),
        ("REQUEST_URI", "/cgi-bin/env.py/caf%C3%A9/x?-s+%20&a=b"),
        ("SCRIPT_NAME", "/cgi-bin/env.py"),
        ("SCRIPT_FILENAME", &format!("{root}/env.py")),
        ("PATH_INFO", "/café/x"),
        ("PATH_TRANSLATED", &format!("{root}/café/x")),
        ("DOCUMENT_ROOT", &root),
        ("SERVER_NAME", "localhost"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_X_SHELL", "() { :; }; echo shocked"),
        ("HTTP_ACCEPT", "a, b"),
        ("COLOUR", "red and blue"),
        ("ARGUMENTS", "1"),
        ("HERE", &root),
    ] {
        assert_eq!(told.remove(name).as_deref(), Some(value), "{name}");
    }
    for name in [
        "REMOTE_PORT",
        "REQUEST_ID",
        "SERVER_PORT",
        "SERVER_SOFTWARE",
        "HTTP_HOST",
        "HTTP_X_REQUEST_START",
        "PATH",
    ] {
        assert!(told.remove(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    let allowed = |name: &String| name == "LANG" || name == "TZ" || name.starts_with("LC_");
    told.retain(|name, _| !allowed(name));
    assert_eq!(told, BTreeMap::new(), "neither what the master has nor what the client should not say");
    assert!(!reply.text().lines().any(|line| line == "shocked"));
}

#[test]
fn logins_are_passed_only_where_that_is_said() {
    let server = serving("pass_authorization: true", &format!("{BEGIN}echo \"[$HTTP_AUTHORIZATION]\""));
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Authorization", "Basic c2VjcmV0"), ("Proxy-Authorization", "Basic x")];
    let reply = connection.request("GET", "/cgi-bin/it", &fields, b"").unwrap();
    assert_eq!(reply.text(), "[Basic c2VjcmV0]\n");
}

#[test]
fn a_script_has_its_three_streams_and_default_signals() {
    let look = "ls -1 /proc/self/fd | wc -l; grep -E 'SigIgn|SigBlk' /proc/self/status; \
                test $(ps -o pgid= -p $$) = $$ && echo leader; wc -c";
    let server = serving("", &format!("{BEGIN}{look}"));
    let text = get(server.address, "/cgi-bin/it").text();
    let lines: Vec<&str> = text.split_whitespace().collect();
    // `ls` has the directory open, too.
    assert_eq!(
        (lines[0], lines[1], lines[3], &lines[5..]),
        ("4", "SigBlk:", "SigIgn:", &["leader", "0"][..])
    );
    // Two signals are the C library's own, which whoever has started the tests may have ignored.
    let numbers = [lines[2], lines[4]].map(|text| u64::from_str_radix(text, 16).unwrap() & !0x1_8000_0000);
    assert_eq!(numbers, [0, 0]);
}

#[test]
fn a_path_leads_to_the_first_file_below_the_root_or_nowhere() {
    let setup = site("");
    let show = format!("{BEGIN}echo \"$SCRIPT_NAME|$PATH_INFO\"");
    for name in ["x.cgi", "deep/er/y", ".hidden", "deep/.z", "a b"] {
        script(&setup, name, &show);
    }
    setup.directory.write("scripts/data.txt", "secret");
    setup.directory.write("outside.sh", &show);
    let server = setup.start();
    for (path, expected) in [
        ("x.cgi", Ok("/cgi-bin/x.cgi|")),
        ("x.cgi/", Ok("/cgi-bin/x.cgi|/")),
        ("x.cgi/a/b.html", Ok("/cgi-bin/x.cgi|/a/b.html")),
        ("deep/er/y/z", Ok("/cgi-bin/deep/er/y|/z")),
        ("/x.cgi", Ok("/cgi-bin/x.cgi|")),
        ("nothing/../x.cgi", Ok("/cgi-bin/x.cgi|")),
        ("a%20b", Ok("/cgi-bin/a b|")),
        ("", Err(404)),
        ("deep", Err(404)),
        ("deep/er/", Err(404)),
        ("nothing", Err(404)),
        ("nothing/x.cgi", Err(404)),
        (".hidden", Err(404)),
        ("deep/.z", Err(404)),
        ("..%2foutside.sh", Err(404)),
        ("%2e%2e/%2e%2e/outside.sh", Err(400)),
        ("x.cgi%2fa", Err(404)),
        ("x.cgi%00", Err(400)),
        ("data.txt", Err(403)),
        ("data.txt/x", Err(403)),
    ] {
        let reply = get(server.address, &format!("/cgi-bin/{path}"));
        match expected {
            Ok(text) => assert_eq!((reply.status, reply.text().trim_end()), (200, text), "{path}"),
            Err(status) => {
                let text = reply.text();
                let is_other = reply.status == 200 && text == "no script";
                assert!(reply.status == status || is_other, "{path}: {} {text}", reply.status);
                assert!(!text.contains("secret") && !text.contains("outside"), "{path}");
            }
        }
    }
    server.wait_log("data.txt (");
    assert!(server.wait_log("not executable").contains("chmod +x"));
}

#[test]
fn links_are_followed_as_the_configuration_says() {
    for (keys, inside, outside, elsewhere) in [
        ("", 200, 403, 403),
        ("symlinks: Refuse", 403, 403, 403),
        (r#"symlinks: Follow, symlinks_to: ["shared"]"#, 200, 200, 403),
    ] {
        let setup = site(keys);
        script(&setup, "real", &format!("{BEGIN}echo ran"));
        let path = |name: &str| setup.directory.path().join(name);
        let shared = script(&setup, "../shared/tool", &format!("{BEGIN}echo shared"));
        let other = script(&setup, "../other/tool", &format!("{BEGIN}echo other"));
        symlink("real", path("scripts/inside")).unwrap();
        symlink(shared, path("scripts/outside")).unwrap();
        symlink(other, path("scripts/elsewhere")).unwrap();
        let server = setup.start();
        for (name, status) in
            [("real", 200), ("inside", inside), ("outside", outside), ("elsewhere", elsewhere)]
        {
            assert_eq!(
                get(server.address, &format!("/cgi-bin/{name}")).status,
                status,
                "{name} with {keys:?}"
            );
        }
    }
}

#[test]
fn interpreters_run_what_is_not_executable() {
    let setup = site(r#"interpreters: {".py": "/usr/bin/python3", ".sh": "/bin/sh"}"#);
    setup
        .directory
        .write("scripts/a.py", "import sys\nprint('A: b\\n\\n%d %s' % (len(sys.argv), sys.argv[0]))");
    setup.directory.write("scripts/b.sh", "printf 'A: b\\n\\n'; cat");
    let server = setup.start();
    let reply = get(server.address, "/cgi-bin/a.py?-c+import");
    let file = server.directory().path().join("scripts/a.py");
    assert_eq!(reply.text().trim_end(), format!("1 {}", file.display()));
    let mut connection = Connection::open(server.address).unwrap();
    assert_eq!(connection.request("POST", "/cgi-bin/b.sh", &[], b"hello").unwrap().text(), "hello");
}

#[test]
fn what_a_script_writes_becomes_the_response() {
    let server = serving(
        "",
        r#"#!/bin/sh
case "$QUERY_STRING" in
plain) printf 'Content-Type: text/plain\n\nhello' ;;
crlf) printf 'Content-Type: text/plain\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello' ;;
status) printf 'Status: 418 Short and stout\nConnection: close\nX-Kept: 1\n\nteapot' ;;
empty) printf 'Status: 204\n\n' ;;
away) printf 'Location: http://other.example/x\n\n' ;;
near) printf 'Location: /there\nContent-Type: text/html\n\nthere' ;;
local) printf 'Location: /shown/\n\n' ;;
inside) printf 'Location: /inside/\n\n' ;;
again) printf 'Location: /cgi-bin/it?inside\n\n' ;;
field) printf 'X-Accel-Redirect: /inside/\n\n' ;;
behind) printf 'Location: /cgi-bin/it?field\n\n' ;;
through) printf 'X-Accel-Redirect: /cgi-bin/it?inside\n\n' ;;
file) printf 'X-Sendfile: /etc/hostname\n\n' ;;
other) printf 'Location: /cgi-bin/it?told\n\nnot sent'; sleep 0.1; echo done >> done ;;
told) printf 'A: b\n\n%s %s' "$REQUEST_METHOD" "$CONTENT_LENGTH"; cat ;;
round) printf 'Location: /cgi-bin/it?round\n\n' ;;
nowhere) printf 'Location: /inside/%%00\n\n' ;;
said) printf 'Status: 200 OK\nLocation: /cgi-bin/new\n\nsaid' ;;
created) printf 'Status: 201 Created\nLocation: /cgi-bin/new\n\n' ;;
length) printf 'Content-Length: 5\n\nhello and more' ;;
slow) printf 'Content-Type: text/plain\n'; sleep 0.1; printf '\nhel'; sleep 0.1; printf 'lo' ;;
fails) printf 'A: b\n\nhello'; exit 3 ;;
esac
"#,
    );
    let mut connection = Connection::open(server.address).unwrap();
    let mut ask = |query: &str| connection.get(&format!("/cgi-bin/it?{query}")).unwrap();
    for query in ["plain", "crlf", "length", "slow", "fails"] {
        let reply = ask(query);
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello"), "{query}");
    }
    assert_eq!(ask("crlf").all("X-A"), ["1", "2"]);
    assert_eq!(ask("length").field("Content-Length"), Some("5"));
    let reply = ask("status");
    assert_eq!((reply.status, reply.text().as_str(), reply.field("X-Kept")), (418, "teapot", Some("1")));
    assert!(!reply.closes(), "the connection is the server's");
    assert_eq!(ask("empty").status, 204);
    let location = |reply: Reply| (reply.status, reply.field("Location").map(str::to_owned));
    assert_eq!(location(ask("away")), (302, Some("http://other.example/x".to_owned())));
    assert_eq!(location(ask("near")), (302, Some("/there".to_owned())), "with a document it is the client's");
    assert_eq!(location(ask("said")), (200, Some("/cgi-bin/new".to_owned())), "its status is its own");
    assert_eq!(location(ask("created")), (201, Some("/cgi-bin/new".to_owned())));
    assert_eq!((ask("local").text().as_str(), ask("local").status), ("shown", 200));
    // Only who names it in X-Accel-Redirect leads to what is internal, and who has led last counts.
    for (query, status) in
        [("inside", 404), ("again", 404), ("through", 404), ("field", 200), ("behind", 200)]
    {
        let reply = ask(query);
        assert_eq!((reply.status, reply.text() == "inside"), (status, status == 200), "{query}");
    }
    assert_eq!(ask("file").status, 502);
    server.wait_log("a script sends no files in this way");
    assert_eq!(ask("round").status, 500, "it goes round and round");
    assert_eq!(ask("nowhere").status, 502);
    let reply = connection.request("POST", "/cgi-bin/it?other", &[], b"body").unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "GET "));
    wait_until(SOON, "a script that leads elsewhere is not ended", || {
        holds(said(&server, "done") == "done\n", said(&server, "done"))
    });
    let reply = connection.request("HEAD", "/cgi-bin/it?plain", &[], b"").unwrap();
    assert_eq!((reply.status, reply.field("Content-Type"), reply.body.len()), (200, Some("text/plain"), 0));
    assert_eq!(connection.get("/cgi-bin/it?plain").unwrap().text(), "hello", "nothing of a body was left");
    server.wait_log("it has ended with exit code 3");
    drop(server.tolerant(&["[circle]", "[misled]", "[unsendable]"]));
}

#[test]
fn x_accel_says_whether_a_script_leads_to_what_is_internal() {
    let leads = "#!/bin/sh\nprintf 'X-Accel-Redirect: /inside/\\n\\nown'";
    for (keys, text, shown) in [
        ("x_accel: Follow", "inside", None),
        ("x_accel: Pass", "own", Some("/inside/")),
        ("x_accel: Ignore", "own", None),
    ] {
        let server = serving(keys, leads);
        let reply = get(server.address, "/cgi-bin/it");
        let field = reply.field("X-Accel-Redirect");
        assert_eq!((reply.status, reply.text().as_str(), field), (200, text, shown), "{keys}");
    }
}

#[test]
fn what_is_no_response_is_a_502_and_the_log_says_why() {
    let server = serving(
        "",
        r#"#!/bin/sh
case "$QUERY_STRING" in
nothing) ;;
text) echo 'hello, I am no head'; echo ;;
half) echo 'Content-Type: text/plain' ;;
nph) printf 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello' ;;
interim) printf 'Status: 101 Switching\n\n' ;;
large) printf 'X: %0100000d\n\n' 1 ;;
traceback) echo 'Traceback: it broke' >&2; exit 1 ;;
short) printf 'Content-Length: 100\n\nhello' ;;
esac
"#,
    );
    let server =
        server.tolerant(&["[no-cgi]", "[truncated]", "the app failed in the middle of the response"]);
    for (query, why) in [
        ("nothing", "it writes nothing"),
        ("text", "a line of the head that is no field"),
        ("half", "it ends before its head"),
        ("nph", "NPH"),
        ("interim", "no status that may stand there"),
        ("large", "64 KiB"),
        ("traceback", "it writes nothing; it has ended with exit code 1"),
    ] {
        let reply = get(server.address, &format!("/cgi-bin/it?{query}"));
        assert_eq!(reply.status, 502, "{query}");
        let id = reply.field("X-Request-Id").unwrap().to_owned();
        let line = server.wait_log(&format!("it ({id}): no response: "));
        assert!(line.contains(why), "{query}: {line}");
    }
    assert!(server.wait_log("Traceback: it broke").contains("it ("));
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /cgi-bin/it?short HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    assert_eq!(connection.rest().unwrap(), b"hello", "it is seen to be cut");
}

#[test]
fn bodies_come_whole_and_end() {
    let setup = site("");
    script(&setup, "sum", &format!("{BEGIN}cat | sha256sum; echo \"$CONTENT_LENGTH $CONTENT_TYPE\""));
    script(&setup, "echo", "#!/bin/sh\nprintf 'Content-Type: application/x\\n\\n'\ncat\n");
    script(&setup, "ignores", &format!("{BEGIN}exec 0<&-; echo ignored"));
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    for length in [0, 1, 65_536, 65_537, 5_000_000] {
        let body = noise(length, 7);
        let fields = [("Content-Type", "application/x")];
        for chunked in [false, true] {
            let reply = if chunked {
                connection.request_chunked("POST", "/cgi-bin/sum", &fields, &body).unwrap()
            } else {
                connection.request("POST", "/cgi-bin/sum", &fields, &body).unwrap()
            };
            let expected = format!("{}  -\n{length} application/x\n", sha256(&body));
            assert_eq!(reply.text(), expected, "{length} bytes, chunked: {chunked}");
        }
        assert_eq!(connection.request("PUT", "/cgi-bin/echo", &[], &body).unwrap().body, body);
    }
    let reply = connection.request("POST", "/cgi-bin/ignores", &[], &noise(30_000_000, 3)).unwrap();
    assert_eq!(reply.text(), "ignored\n");
}

#[test]
fn what_does_not_fit_the_environment_is_refused() {
    let server = serving("", &format!("{BEGIN}printf '%s' \"$HTTP_X_LONG$QUERY_STRING\" | wc -c"));
    let with = |length: usize| {
        let field = "x".repeat(length);
        reply_to(
            server.address,
            format!("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\nX-Long: {field}\r\nConnection: close\r\n\r\n"),
        )
        .0
    };
    assert_eq!(with(100_000).text().trim(), "100000");
    assert_eq!(with(140_000).status, 431);
    assert_eq!(with(900_000).status, 431);
    let query = "q".repeat(200_000);
    assert_eq!(get(server.address, &format!("/cgi-bin/it?{query}")).status, 414);
    // Each fits, and all of them together do not.
    let many: String = (0..80).map(|n| format!("X-{n}: {}\r\n", "x".repeat(12_000))).collect();
    let (reply, _) = reply_to(
        server.address,
        format!("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\n{many}Connection: close\r\n\r\n"),
    );
    assert!([200, 431].contains(&reply.status), "as the limit of the stack lets it: {}", reply.status);
    assert_eq!(get(server.address, "/cgi-bin/it").status, 200);
}

#[test]
fn a_script_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    let server = serving(
        r#"timeout: "300ms""#,
        "#!/bin/sh\ncase $QUERY_STRING in head) printf 'A: b\\n\\nbegun' ;; deaf) trap '' TERM ;; esac\n\
         echo $$ > pid\nsleep 1000 & echo $! > child\nwait\nwait\nsleep 1000",
    );
    let server =
        server.tolerant(&["[silent]", "[truncated]", "the app failed in the middle of the response"]);
    let gone = |server: &Server| {
        for name in ["pid", "child"] {
            wait_ended(server, name);
            std::fs::remove_file(server.directory().path().join("scripts").join(name)).unwrap();
        }
    };
    assert_eq!(get(server.address, "/cgi-bin/it").status, 504);
    assert!(server.wait_log("has not gone on for 300ms").contains("it ("));
    gone(&server);
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /cgi-bin/it?head HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    assert!(
        !String::from_utf8(connection.rest().unwrap()).unwrap().ends_with("0\r\n\r\n"),
        "it is seen to be cut"
    );
    gone(&server);
    // It does not heed TERM.
    assert_eq!(get(server.address, "/cgi-bin/it?deaf").status, 504);
    gone(&server);
    assert_eq!(server.ready(&pool(&server)).len(), 1, "the host goes on");
}

#[test]
fn what_goes_to_nobody_gives_a_script_no_more_time() {
    let setup = site(r#"timeout: "1s""#);
    let endless = |name: &str, text: &str| {
        script(&setup, name, &format!("#!/bin/sh\necho $$ > {name}.pid\n{text}"));
    };
    endless("longer", "printf 'Content-Length: 1\\n\\n'\nexec yes");
    endless("nph", "printf 'HTTP/1.1 200 OK\\n\\n'\nexec yes");
    endless("head", "printf 'Content-Type: text/plain\\n\\n'\nexec yes");
    endless("elsewhere", "printf 'Location: /there\\n\\n'\nexec yes");
    endless("drop", "while :; do printf X; sleep 0.1; done");
    let goes_on = "echo $$ > other.pid; while ! test -e stop; do echo on; sleep 0.1; done; echo done";
    script(&setup, "other", &format!("{BEGIN}{goes_on}"));
    let server = setup.start().tolerant(&["[no-cgi]", "[silent]"]);
    let mut other = Connection::open(server.address).unwrap();
    other.send("GET /cgi-bin/other HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let other_script = process(&server, "other.pid");
    let host = server.ready(&pool(&server));
    assert_eq!(host.len(), 1);
    for (name, method, status, words) in [
        ("longer", "GET", 200, "has not ended for 1s"),
        ("nph", "GET", 502, "has not ended for 1s"),
        ("head", "HEAD", 200, "has not ended for 1s"),
        ("elsewhere", "GET", 504, "has not gone on for 1s"),
        ("drop", "GET", 504, "has not gone on for 1s"),
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        let reply = connection.request(method, &format!("/cgi-bin/{name}"), &[], b"").unwrap();
        assert_eq!(reply.status, status, "{name}");
        wait_until(SOON, "a script is ended", || {
            let log = server.log();
            let is_told = |line: &String| line.contains(&format!(": {name} (")) && line.contains(words);
            holds(log.iter().any(is_told), format!("{name}: {}", log.join("\n")))
        });
        wait_ended(&server, &format!("{name}.pid"));
    }
    assert_eq!(server.ready(&pool(&server)), host, "the host stays");
    assert!(other_script.is_alive(), "and its other scripts go on");
    server.directory().write("scripts/stop", "");
    let reply = other.reply("GET").unwrap();
    assert!(reply.status == 200 && reply.text().ends_with("on\ndone\n"), "{}", reply.text());
}

#[test]
fn a_script_whose_client_leaves_is_ended() {
    let server = serving("", &format!("{BEGIN}echo $$ > pid; while :; do echo line; done"));
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    let script = process(&server, "pid");
    drop(connection);
    wait_gone(script);
}

#[test]
fn a_slow_client_holds_a_script_up_and_loses_nothing() {
    let server = serving(
        r#"response_buffer: (memory: "64KiB", file: "0B")"#,
        &format!("{BEGIN}head -c 20000000 /dev/zero; echo done > done"),
    );
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(connection.reply_head().unwrap().status, 200);
    assert_eq!(said(&server, "done"), "", "it waits for the client");
    let rest = connection.rest().unwrap();
    assert!(rest.iter().filter(|byte| **byte == 0).count() == 20_000_000, "{} bytes", rest.len());
    wait_until(SOON, "the script has written all", || holds(said(&server, "done") == "done\n", ""));
}

#[test]
fn what_a_script_leaves_behind_holds_nobody_up() {
    let server = serving("", &format!("{BEGIN}sleep 1000 & echo $! > child; echo done"));
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "done\n");
    server.wait_log("what it has started holds its output open");
    let child = process(&server, "child");
    assert!(child.is_alive(), "what has been started is not ended");
    child.signal(Signal::SIGKILL);
    wait_gone(child);
}

#[test]
fn a_script_may_go_on_behind_its_response_for_its_time() {
    let server = serving(
        r#"timeout: "2s", max_processes: 1, queue_timeout: "30s""#,
        &format!("{BEGIN}echo done\nexec 1>&-\necho $$ > pid\nexec sleep 1000"),
    );
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "done\n");
    let script = process(&server, "pid");
    server.wait_log("has not ended for 2s");
    wait_gone(script);
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "done\n", "its place is free again");
}

#[test]
fn endless_words_on_standard_error_are_lines_of_the_log_and_end_with_the_script() {
    let server = serving(
        r#"timeout: "1s""#,
        "#!/bin/sh\necho begun >&2\nprintf '%020000d' 1 >&2\nwhile :; do echo noise >&2; done",
    );
    let server = server.tolerant(&["[silent]"]);
    assert_eq!(get(server.address, "/cgi-bin/it").status, 504);
    assert!(server.wait_log("begun").contains(": it ("));
    server.wait_log("of output dropped");
    assert!(get(server.address, "/").text() == "no script", "nobody is held up by it");
}

#[test]
fn no_more_than_so_many_run_at_a_time() {
    let server = serving(
        r#"max_processes: 2, queue_timeout: "200ms""#,
        &format!("{BEGIN}echo $$ >> runs\nread line < gate\necho $line"),
    );
    let gate = server.directory().path().join("scripts/gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let hold = || {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        connection
    };
    let runs = |count: usize| {
        wait_until(SOON, "so many run", || {
            holds(said(&server, "runs").lines().count() == count, said(&server, "runs"))
        });
    };
    let (mut one, mut two) = (hold(), hold());
    runs(2);
    let reply = get(server.address, "/cgi-bin/it");
    assert_eq!((reply.status, reply.field("Retry-After").is_some()), (503, true));
    runs(2);
    for _ in 0..2 {
        std::fs::write(&gate, "go\n").unwrap();
    }
    // Both may have been let go by the first line, and the second line waits for the next one.
    let mut answered = 0;
    for connection in [&mut one, &mut two] {
        answered += usize::from(connection.reply("GET").unwrap().status == 200);
    }
    assert_eq!(answered, 2);
}

#[test]
fn a_script_is_replaced_while_it_runs() {
    let server = serving("", &format!("{BEGIN}echo $$ > pid; read line < gate; echo old"));
    let scripts = server.directory().path().join("scripts");
    nix::unistd::mkfifo(&scripts.join("gate"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    process(&server, "pid");
    let new = server.directory().write("scripts/new", format!("{BEGIN}echo new"));
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, scripts.join("it")).unwrap();
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "new\n");
    std::fs::write(scripts.join("gate"), "go\n").unwrap();
    assert_eq!(connection.reply("GET").unwrap().text(), "old\n");
}

#[test]
fn the_host_sleeps_wakes_is_reloaded_and_takes_its_scripts_along() {
    let server = serving(
        r#"idle: "1s""#,
        &format!("{BEGIN}echo $$ > pid; test -z \"$QUERY_STRING\" || exec sleep 1000"),
    );
    let name = pool(&server);
    assert_eq!(server.pool(&name).children.len(), 0, "it costs nothing as long as nobody asks");
    assert_eq!(get(server.address, "/cgi-bin/it").status, 200);
    let host = server.ready(&name)[0];
    assert!(host.title().starts_with(&format!("hatchery: app {name} 0 gen 1")), "{}", host.title());
    wait_gone(host);
    assert_eq!(get(server.address, "/cgi-bin/it").status, 200);
    assert_eq!(server.command(&["reload"]).code, Some(0));
    assert_eq!(get(server.address, "/cgi-bin/it").status, 200);
    // A host that is killed.
    let mut connection = Connection::open(server.address).unwrap();
    std::fs::remove_file(server.directory().path().join("scripts/pid")).unwrap();
    connection.send("POST /cgi-bin/it?hold HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
    let script = process(&server, "pid");
    server.ready(&name).into_iter().for_each(|host| host.signal(Signal::SIGKILL));
    wait_gone(script);
    let server = server.tolerant(&["[truncated]"]);
    assert!(
        !String::from_utf8(connection.rest().unwrap()).unwrap().ends_with("0\r\n\r\n"),
        "it is seen to be cut"
    );
    assert_eq!(get(server.address, "/cgi-bin/it").status, 200);
}

#[test]
fn an_upgrade_and_a_stop_find_scripts_that_run() {
    let holds_on =
        "test -z \"$QUERY_STRING\" || exec echo quick; echo $$ > pid; read line < gate; echo $line";
    let mut server = serving("", &format!("{BEGIN}{holds_on}"));
    let gate = server.directory().path().join("scripts/gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let begin = |server: &Server| {
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("GET /cgi-bin/it HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        (connection, process(server, "pid"))
    };
    let (mut connection, script) = begin(&server);
    let before = server.status().generation;
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        let is_up = ["running", "asleep"].contains(&status.mode.as_str());
        holds(status.generation > before && is_up && status.last_upgrade_error.is_none(), &status)
    });
    assert!(script.is_alive(), "what runs is not disturbed");
    assert_eq!(get(server.address, "/cgi-bin/it?quick").text(), "quick\n");
    std::fs::write(&gate, "upgraded\n").unwrap();
    assert_eq!(connection.reply("GET").unwrap().text(), "upgraded\n");
    std::fs::remove_file(server.directory().path().join("scripts/pid")).unwrap();
    let (mut connection, script) = begin(&server);
    server.master.signal(Signal::SIGTERM);
    server.wait_log("stopping");
    assert!(script.is_alive(), "what runs is finished");
    std::fs::write(&gate, "finished\n").unwrap();
    assert_eq!(connection.reply("GET").unwrap().text(), "finished\n");
    assert_eq!(server.wait_end(), Some(0));
    assert!(!script.is_alive());
}

#[test]
fn check_sees_what_a_start_would_miss() {
    let setup = site(r#"interpreters: {".py": "/no/such/python"}"#);
    let finished = setup_check(&setup);
    assert!(finished.contains("scripts` does not exist"), "{finished}");
    assert!(finished.contains("`/no/such/python` does not exist"), "{finished}");
    setup.directory.write("scripts/text", "no script");
    let finished = setup_check(&setup);
    assert!(!finished.contains("scripts` does not exist"), "{finished}");
    let setup = site("");
    setup.directory.write("scripts/text", "no script");
    let finished = setup_check(&setup);
    assert!(finished.contains("can be executed by"), "{finished}");
}

fn setup_check(setup: &Setup) -> String {
    let finished = crate::harness::hatchery(&setup.directory, &["check"]);
    format!("{}{}", finished.stdout, finished.stderr)
}

#[test]
fn a_bomb_stays_within_the_limits_of_its_user() {
    let setup = site(r#"limits: (open_files: 128)"#);
    script(
        &setup,
        "files",
        "#!/usr/bin/env python3\nimport os\nprint('A: b\\n')\ntry:\n    while True: os.dup(1)\nexcept OSError as error: print(error.strerror)\n",
    );
    let server = setup.start();
    assert_eq!(get(server.address, "/cgi-bin/files").text(), "Too many open files\n");
}

#[test]
fn nobody_but_a_worker_is_listened_to() {
    let server = serving("", &format!("{BEGIN}echo ran >> ran; echo ran"));
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "ran\n");
    let runtime = server.runtime_directories().pop().unwrap();
    let sockets = std::fs::read_dir(runtime).unwrap().map(|entry| entry.unwrap().path());
    let socket = sockets
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("app-"))
        .unwrap();
    let mut stranger = std::os::unix::net::UnixStream::connect(socket).unwrap();
    std::io::Write::write_all(&mut stranger, &[0; 64]).unwrap();
    server.wait_log("which is no worker");
    assert_eq!(std::io::Read::read(&mut stranger, &mut [0]).unwrap_or(0), 0, "it is turned away");
    assert_eq!(get(server.address, "/cgi-bin/it").text(), "ran\n");
    assert_eq!(said(&server, "ran"), "ran\nran\n");
}
