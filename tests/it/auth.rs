//! Passwords by Basic authentication.

use crate::harness::{
    Connection, Directory, Reply, SOON, Server, Setup, Upstream, get, hatchery, holds, http2, noise, sha256,
    wait_until,
};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

/// As htpasswd, openssl and argon2 have made them.
const USERS: &str = "\
# alice:secret, bob:builder, carla:secret, dörte:geheim
alice:$argon2id$v=19$m=512,t=2,p=1$YWJjZGVmZ2hzYWx0c2FsdA$QP82SEAjyJzDgoqnUQmj/5Bf8PWaCTb8ZJzEn2qH+6c
bob:$2y$05$wyVMbQ93Buhn/yuyewGm1elG0sr7tYDxg6liYdIgY/FZY1lMkhwHa
carla:$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.
d\u{f6}rte:$6$rounds=1000$saltsalt$vqVEzhF1x7x2p0VCWCzOM1GGIpJ62KqdREyqdHXfkzvqLwi.vIVwX0AcTW9cDubiR4wA.zOlJTle4lioqe99c1
";

/// Of alice, bob, carla and dörte; of alice with another password; of somebody unknown.
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";
const BOB: &str = "Basic Ym9iOmJ1aWxkZXI=";
const CARLA: &str = "basic Y2FybGE6c2VjcmV0";
const DOERTE: &str = "Basic ZMO2cnRlOmdlaGVpbQ==";
const WRONG: &str = "Basic YWxpY2U6d3Jvbmc=";
const NOBODY: &str = "Basic bm9ib2R5OnNlY3JldA==";

const SITE: &str = r#"
    workers: (processes: 1),
    log: (access: (path: "access.log", format: Json)),
    sites: [(
        listen: ["{address}"],
        auth: (basic: (realm: "Members \"only\"", users: "htpasswd")),
        trusted_proxies: ["127.0.0.1"],
        locations: [
            (path: "/app/", to: App("plain")),
            (path: "/up/", to: Proxy("up")),
            (path: "/told/", to: Proxy("up"), auth: (basic: (users: "htpasswd", user_header: "X-User", pass_authorization: true))),
            (path: "/open/", to: App("plain"), auth: None),
            (path: "/any/", to: App("plain"), satisfy: Any, access: (allow: ["192.0.2.0/24"])),
            (path: "/both/", to: Respond(body: "both\n"), access: (allow: ["192.0.2.0/24"])),
            (path: "/", to: Respond(body: "in\n")),
        ],
    ), (
        names: ["few.example"], listen: ["{address}"], trusted_proxies: ["127.0.0.1"],
        access: (allow: ["192.0.2.0/24"]),
        auth: (basic: (realm: "Few", users: "htpasswd")),
        locations: [(path: "/app/", methods: ["PUT"], to: Respond(body: "in\n"))],
    )],
    upstreams: {"up": (servers: ["{upstream}"])},
    apps: {"plain": (module: "app", chdir: "{apps}/plain", home: "{venv}", processes: 1)},"#;

fn start() -> (Server, Upstream) {
    let upstream = Upstream::fixed("up\n");
    let setup = Setup::new(&SITE.replace("{upstream}", &upstream.address.to_string()));
    let file = setup.directory.write("htpasswd", USERS);
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    (setup.start(), upstream)
}

fn ask(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(address).unwrap().request("GET", path, fields, b"").unwrap()
}

fn as_user(address: SocketAddr, path: &str, authorization: &str) -> Reply {
    ask(address, path, &[("Authorization", authorization)])
}

#[test]
fn where_no_location_takes_the_path_the_site_demands_the_same() {
    let (server, _upstream) = start();
    for (method, path, status) in [("GET", "/none", 404), ("GET", "/app/", 405), ("OPTIONS", "*", 204)] {
        for (client, authorization, wanted) in
            [("192.0.2.1", ALICE, status), ("192.0.2.1", WRONG, 401), ("198.51.100.1", ALICE, 403)]
        {
            let fields =
                [("Host", "few.example"), ("X-Forwarded-For", client), ("Authorization", authorization)];
            let reply =
                Connection::open(server.address).unwrap().request(method, path, &fields, b"").unwrap();
            assert_eq!(reply.status, wanted, "{method} {path} {client} {authorization}");
        }
    }
}

#[test]
fn who_has_the_password_gets_in_and_nobody_else() {
    let (server, _upstream) = start();
    let refused = get(server.address, "/");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.all("www-authenticate"), [r#"Basic realm="Members \"only\"", charset="UTF-8""#]);
    for (authorization, status) in [
        (ALICE, 200),
        (BOB, 200),
        (CARLA, 200),
        (DOERTE, 200),
        (WRONG, 401),
        (NOBODY, 401),
        ("Basic", 401),
        ("Basic Og==", 401),
        ("Basic YWxpY2U=", 401),
        ("Bearer YWxpY2U6c2VjcmV0", 401),
        // Once more: from what is known.
        (ALICE, 200),
        (WRONG, 401),
    ] {
        let reply = as_user(server.address, "/", authorization);
        assert_eq!(reply.status, status, "{authorization}");
        assert_eq!(reply.field("www-authenticate").is_some(), status == 401, "{authorization}");
    }
    let twice = [("Authorization", ALICE), ("Authorization", WRONG)];
    assert_eq!(ask(server.address, "/", &twice).status, 401);
    // A body that waits for the password comes through, on the same connection.
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..2 {
        let body = noise(90_000, 5);
        let reply = connection.request("POST", "/app/echo", &[("Authorization", BOB)], &body).unwrap();
        assert_eq!(reply.json()["sha256"], sha256(&body));
        let reply = connection.request("POST", "/app/echo", &[("Authorization", WRONG)], b"x").unwrap();
        assert_eq!(reply.status, 401);
    }
}

#[test]
fn an_app_is_told_of_the_user_and_not_of_the_password_and_no_client_tells_it() {
    let (server, _upstream) = start();
    let claims = [
        ("Remote-User", "root"),
        ("REMOTE_USER", "root"),
        ("Remote_User", "root"),
        ("X-Remote-User", "theirs"),
        ("Auth-Type", "x"),
    ];
    let mut fields = vec![("Authorization", DOERTE)];
    fields.extend(claims);
    let environ = ask(server.address, "/app/environ", &fields).json();
    // PEP 3333: bytes as latin-1.
    assert_eq!(environ["REMOTE_USER"], "d\u{c3}\u{b6}rte");
    assert_eq!(environ["AUTH_TYPE"], "Basic");
    for name in ["HTTP_AUTHORIZATION", "HTTP_REMOTE_USER"] {
        assert_eq!(environ.get(name), None, "{name}");
    }
    assert_eq!(environ["HTTP_X_REMOTE_USER"], "theirs");
    // Where nobody logs in nobody has.
    let environ = ask(server.address, "/open/environ", &fields).json();
    assert_eq!((environ.get("REMOTE_USER"), environ.get("AUTH_TYPE")), (None, None));
    assert_eq!(environ["HTTP_AUTHORIZATION"], DOERTE);
}

#[test]
fn an_upstream_is_told_as_much_as_the_operator_says() {
    let (server, upstream) = start();
    let fields = [
        ("Authorization", ALICE),
        ("X-User", "root"),
        ("x_user", "root"),
        ("Remote-User", "root"),
        ("remote_user", "root"),
    ];
    assert_eq!(ask(server.address, "/up/", &fields).status, 200);
    let seen = upstream.last();
    for name in ["authorization", "remote-user", "remote_user"] {
        assert_eq!(seen.all(name), Vec::<&str>::new(), "{name}");
    }
    assert_eq!(seen.all("x-user"), ["root"], "it means nothing there");
    assert_eq!(ask(server.address, "/told/", &fields).status, 200);
    let seen = upstream.last();
    assert_eq!((seen.all("x-user"), seen.all("authorization")), (vec!["alice"], vec![ALICE]));
    assert_eq!((seen.all("x_user"), seen.all("remote-user")), (vec![], vec![]));
}

#[test]
fn an_address_may_do_in_the_place_of_a_password_or_both_are_needed() {
    let (server, _upstream) = start();
    let inside = ("X-Forwarded-For", "192.0.2.1");
    let outside = ("X-Forwarded-For", "198.51.100.1");
    let login = ("Authorization", ALICE);
    for (path, fields, status) in [
        ("/any/environ", vec![inside], 200),
        ("/any/environ", vec![outside], 401),
        ("/any/environ", vec![outside, login], 200),
        ("/any/environ", vec![outside, ("Authorization", WRONG)], 401),
        ("/both/", vec![inside], 401),
        ("/both/", vec![inside, login], 200),
        ("/both/", vec![outside, login], 403),
    ] {
        assert_eq!(ask(server.address, path, &fields).status, status, "{path} {fields:?}");
    }
    // Nobody has looked at that password.
    let environ =
        ask(server.address, "/any/environ", &[inside, ("Authorization", WRONG), ("Remote-User", "root")])
            .json();
    for name in ["REMOTE_USER", "HTTP_AUTHORIZATION", "HTTP_REMOTE_USER"] {
        assert_eq!(environ.get(name), None, "{name}");
    }
}

#[test]
fn the_log_names_who_has_logged_in() {
    let (server, _upstream) = start();
    as_user(server.address, "/", DOERTE);
    as_user(server.address, "/", WRONG);
    let log = server.directory().path().join("access.log");
    let lines = wait_until(SOON, "two lines", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if lines.len() == 2 { Ok(lines) } else { Err(text) }
    });
    assert_eq!((&lines[0]["user"], &lines[0]["status"]), (&"d\u{f6}rte".into(), &200.into()));
    assert_eq!((lines[1].get("user"), &lines[1]["status"]), (None, &401.into()));
    assert_eq!(lines[1]["error"], "wrong user or password");
}

#[test]
fn a_file_that_changes_counts_at_once_and_a_broken_one_does_not() {
    let (server, _upstream) = start();
    let server = server.tolerant(&["what was read before stays in use"]);
    let file = server.directory().path().join("htpasswd");
    let status = |authorization: &str| as_user(server.address, "/", authorization).status;
    assert_eq!((status(ALICE), status(BOB)), (200, 200));
    // Alice has gone, and what was known of her password with her.
    let without: String =
        USERS.lines().filter(|line| !line.starts_with("alice")).map(|line| format!("{line}\n")).collect();
    fs::write(&file, &without).unwrap();
    wait_until(SOON, "she is out", || holds(status(ALICE) == 401, ()));
    assert_eq!(status(BOB), 200);
    fs::write(&file, format!("{without}eve:secret\n")).unwrap();
    let told = server.wait_log("what was read before stays in use");
    assert!(
        told.contains("htpasswd:5:1: ") && told.contains("there is no hash of a password behind `eve:`"),
        "{told}"
    );
    assert!(!told.contains("secret"), "{told}");
    assert_eq!((status(ALICE), status(BOB)), (401, 200));
    fs::write(&file, USERS).unwrap();
    wait_until(SOON, "she is back", || holds(status(ALICE) == 200, ()));
    assert_eq!(server.status().generation, 1, "nothing was reloaded");
}

/// Takes some time, in a program that is not optimised quite a while.
const SLOW: &str = "slow:$6$rounds=2000$saltsalt$vqVEzhF1x7x2p0VCWCzOM1GGIpJ62KqdREyqdHXfkzvqLwi.vIVwX0AcTW9cDubiR4wA.zOlJTle4lioqe99c1\n";

/// Of a text whose length is a multiple of three.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.as_bytes().chunks(3).flat_map(|three| {
        let bits = three.iter().fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]))
    });
    digits.collect()
}

#[test]
fn a_flood_of_passwords_is_bounded_and_holds_up_nobody_else() {
    let upstream = Upstream::fixed("up\n");
    let setup = Setup::new(&SITE.replace("{upstream}", &upstream.address.to_string()));
    setup.directory.write("htpasswd", format!("{SLOW}{USERS}"));
    let server = setup.start().tolerant(&["every user can read its hashes"]);
    assert_eq!(as_user(server.address, "/", BOB).status, 200);
    // Each has another password, on a connection of HTTP/2, so that they come in one moment.
    let mut flood = http2::Client::open(server.address, &[]).unwrap();
    let count = 100;
    let streams: Vec<u32> = (0..count)
        .map(|number| {
            let value = format!("Basic {}", base64(&format!("slow:x{number:03}")));
            let mut fields = flood.asks("GET", "/");
            fields.push(("authorization", &value));
            flood.request(&fields, true).unwrap()
        })
        .collect();
    // Meanwhile: who asks for what needs none, and who is known.
    assert_eq!(get(server.address, "/open/hello").status, 200);
    assert_eq!(as_user(server.address, "/", BOB).status, 200);
    let mut seen: Vec<u16> = streams.iter().map(|stream| flood.answer(*stream).unwrap().status).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [401, 503]);
    assert_eq!(as_user(server.address, "/", ALICE).status, 200);
}

#[test]
fn check_says_what_is_wrong_with_a_file_of_users() {
    let directory = Directory::new();
    directory.write(
        "h.ron",
        "(sites: [(listen: [\"127.0.0.1:0\"], auth: (basic: (users: \"u\")), locations: [(path: \"/\", to: Respond(status: 204))])])",
    );
    let good = USERS.lines().nth(1).unwrap();
    for (line, wanted) in [
        (
            "eve:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            "kept as MD5 (apr1), which is tried out in no time; make it anew: htpasswd -B FILE eve",
        ),
        ("eve:nKHqsJBm7dyfY", "kept as crypt(3)"),
        ("eve:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "kept as SHA-1"),
        ("eve:hunter2", "there is no hash of a password behind `eve:`"),
        (
            "eve:$argon2id$v=19$m=4194304,t=1,p=1$YWJjZGVmZ2hzYWx0c2FsdA$QP82SEAjyJzDgoqnUQmj/5Bf8PWaCTb8ZJzEn2qH+6c",
            "would take too much: more than 256 MiB of memory",
        ),
        (
            "eve:$2y$31$SUB6tEkW57tm2w3UOtoAQeW1FQP/P2J5pC8A3A/PkpNU5Al2mdWN2",
            "would take too much: a cost of more than 14",
        ),
        ("eve", "it is no line of the form user:hash"),
        (good, "`alice` is in a line before, too"),
    ] {
        directory.write("u", format!("{good}\n{line}\n"));
        let said = hatchery(&directory, &["check", "-c", "h.ron"]).stderr;
        assert!(
            said.contains("u:2:1: sites[0].auth.basic.users: ") && said.contains(wanted),
            "{line}: {said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    directory.write("u", "# nobody\n");
    assert!(hatchery(&directory, &["check", "-c", "h.ron"]).stderr.contains("there is no user in it"));
    directory.write("u", format!("{good}\n"));
    let said = hatchery(&directory, &["check", "-c", "h.ron"]).stderr;
    assert!(said.contains("every user can read its hashes (mode 0644)"), "{said}");
}

#[test]
fn what_is_said_of_logins_is_written_back() {
    let directory = Directory::new();
    directory.write(
        "h.ron",
        "(lists: {\"o\": [\"192.0.2.0/24\"]}, sites: [(listen: [\"127.0.0.1:0\"], access: (allow: [\"@o\", \"unix:\"], deny: [\"all\"]), satisfy: Any,
          auth: (basic: (users: \"u\", user_header: \"X-User\")), locations: [(path: \"/\", to: Respond(status: 204)),
          (path: \"/x\", to: Respond(status: 204), auth: None, access: None, satisfy: All)])])",
    );
    let first = hatchery(&directory, &["config", "-c", "h.ron"]);
    for part in [
        "allow: [\"@o\", \"unix:\"]",
        "realm: \"Restricted\"",
        "auth: None",
        "access: None",
        "satisfy: Any",
        "satisfy: All",
    ] {
        assert!(first.stdout.contains(part), "{part}: {}{}", first.stdout, first.stderr);
    }
    directory.write("again.ron", &first.stdout);
    assert_eq!(hatchery(&directory, &["config", "-c", "again.ron"]).stdout, first.stdout);
}
