//! Who may enter by the address of the client.

use crate::harness::{Connection, Directory, SOON, Setup, get, hatchery, holds, wait_until};
use std::fs;
use std::net::SocketAddr;

const PLACES: &str = r#"
    workers: (processes: 2),
    lists: {"office": ["192.0.2.0/24", "2001:db8::/32"], "bad": (file: "lists/bad.txt")},
    sites: [(
        listen: ["{address}", "unix:x.sock"],
        trusted_proxies: ["127.0.0.1", "unix:"],
        error_pages: {403: "pages/403.html"},
        access: (deny: ["@bad"]),
        locations: [
            (path: "/office/", to: Respond(body: "office\n"), access: (allow: ["@office"], deny: ["all"])),
            (path: "/allow/", to: Respond(body: "allow\n"), access: (allow: ["192.0.2.0/24"])),
            (path: "/open/", to: Respond(body: "open\n"), access: None),
            (path: "/unix/", to: Respond(body: "unix\n"), access: (allow: ["unix:"], deny: ["all"])),
            (path: "/", to: Respond(body: "all but bad\n")),
        ],
    )],"#;

fn setup() -> Setup {
    let setup = Setup::new(PLACES);
    setup.directory.write("lists/bad.txt", "# whom nobody wants\n203.0.113.0/24 ; all of it\n");
    setup.directory.write("pages/403.html", "<p>not you</p>\n");
    setup
}

/// What a client at this address gets, as the proxy in front of the server says.
fn from(address: SocketAddr, client: &str, path: &str) -> (u16, String) {
    let mut connection = Connection::open(address).unwrap();
    let reply = connection.request("GET", path, &[("X-Forwarded-For", client)], b"").unwrap();
    (reply.status, reply.text())
}

#[test]
fn networks_and_lists_let_in_and_deny_and_the_site_has_its_page() {
    let server = setup().start();
    for (client, path, wanted) in [
        ("192.0.2.7", "/office/x", Ok("office\n")),
        ("::ffff:192.0.2.7", "/office/x", Ok("office\n")),
        ("2001:db8::5", "/office/x", Ok("office\n")),
        ("192.0.3.7", "/office/x", Err(())),
        ("203.0.113.9", "/office/x", Err(())),
        ("192.0.2.7", "/allow/", Ok("allow\n")),
        ("198.51.100.1", "/allow/", Err(())),
        ("::1", "/allow/", Err(())),
        ("203.0.113.9", "/open/", Ok("open\n")),
        ("203.0.113.9", "/", Err(())),
        ("203.0.114.0", "/", Ok("all but bad\n")),
        ("192.0.2.7", "/unix/", Err(())),
    ] {
        let wanted = wanted.map_or((403, "<p>not you</p>\n".to_owned()), |body| (200, body.to_owned()));
        assert_eq!(from(server.address, client, path), wanted, "{client} {path}");
    }
    // What a client says of itself counts for nothing where nobody trusts it.
    let mut connection = Connection::open(server.address).unwrap();
    let claims = [("X-Real-IP", "192.0.2.7"), ("Forwarded", "for=192.0.2.7"), ("Client-IP", "192.0.2.7")];
    assert_eq!(connection.request("GET", "/office/x", &claims, b"").unwrap().status, 403);
}

#[test]
fn peers_of_a_unix_listener_have_no_address_but_a_word_of_their_own() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let server = setup().start();
    let ask = |fields: &str, path: &str| {
        let mut stream = UnixStream::connect(server.directory().path().join("x.sock")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    for (fields, path, status) in [
        ("", "/unix/", "200"),
        ("", "/office/", "403"),
        ("", "/allow/", "403"),
        ("", "/", "200"),
        ("X-Forwarded-For: 192.0.2.1\r\n", "/unix/", "403"),
        ("X-Forwarded-For: 192.0.2.1\r\n", "/office/", "200"),
    ] {
        assert_eq!(ask(fields, path), status, "{fields:?} {path}");
    }
}

#[test]
fn a_list_in_a_file_is_read_again_and_a_broken_one_leaves_the_old_one() {
    let server = setup().start().tolerant(&["what was read before stays in use"]);
    let list = server.directory().path().join("lists/bad.txt");
    let status = |client: &str| from(server.address, client, "/").0;
    let wait = |client: &'static str, wanted: u16| {
        wait_until(SOON, "the list is taken by all workers", || {
            let all: Vec<u16> = (0..8).map(|_| status(client)).collect();
            holds(all.iter().all(|status| *status == wanted), all)
        });
    };
    assert_eq!((status("203.0.113.1"), status("198.51.100.1")), (403, 200));
    let generation = server.status().generation;
    fs::write(&list, "198.51.100.0/24\n").unwrap();
    wait("198.51.100.1", 403);
    wait("203.0.113.1", 200);
    // Made anew beside it, as editors do.
    fs::write(list.with_extension("new"), "198.51.100.0/24\n10.0.0.1/8\n").unwrap();
    fs::rename(list.with_extension("new"), &list).unwrap();
    let told = server.wait_log("what was read before stays in use");
    assert!(told.contains("bad.txt:2:1: lists.bad.file: `10.0.0.1/8` has bits below its prefix"), "{told}");
    assert_eq!((status("198.51.100.1"), status("10.0.0.1")), (403, 200));
    fs::write(&list, "").unwrap();
    wait("198.51.100.1", 200);
    assert_eq!(server.status().generation, generation, "nothing was reloaded");
    // A large one is taken, too.
    let many: String =
        (0..100_000u32).map(|number| format!("10.{}.{}.0/25\n", number >> 8 & 255, number & 255)).collect();
    fs::write(&list, many + "2001:db8::/32\n").unwrap();
    wait("2001:db8::7", 403);
    assert_eq!((status("10.1.2.3"), status("10.1.2.200")), (403, 200));
    fs::remove_file(&list).unwrap();
    server.wait_log("no such file; create it, or correct the path; what was read before");
    assert_eq!(status("10.1.2.3"), 403);
}

#[test]
fn what_makes_no_sense_is_said_with_its_place() {
    let directory = Directory::new();
    directory.write("bad.txt", "192.0.2.0/24\nexample.org\n");
    for (access, lists, wanted) in [
        ("access: ()", "", "nobody is allowed or denied"),
        ("access: (allow: [\"office\"])", "", "a list is written \"@office\""),
        ("access: (allow: [\"@offce\"])", "\"office\": []", "did you mean `office`?"),
        ("access: (allow: [\"@x\"])", "", "define it: lists: { \"x\": [ … ] }"),
        ("access: (allow: [\"any\"])", "", "write \"all\""),
        ("access: (allow: [\"10.0.0.1/8\"])", "", "did you mean \"10.0.0.0/8\"?"),
        ("access: (allow: [\"all\"], deny: [\"all\"])", "", "the denial would win: keep one"),
        (
            "access: (deny: [\"@bad\"])",
            "\"bad\": (file: \"bad.txt\")",
            "bad.txt:2:1: lists.bad.file: `example.org` is not a network",
        ),
        ("access: (deny: [\"@bad\"])", "\"bad\": (file: \"no.txt\")", "no such file"),
        ("access: (deny: [\"@bad\"])", "\"bad\": \"bad.txt\"", "(file: \"bad.txt\")"),
        ("access: (deny: [\"@bad\"])", "\"bad\": [\"unix:\"]", "`unix:` stands in `allow` or `deny` itself"),
    ] {
        let text = format!(
            "(lists: {{{lists}}}, sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204), {access})])])"
        );
        directory.write("h.ron", text);
        let said = hatchery(&directory, &["check", "-c", "h.ron"]).stderr;
        assert!(said.contains(wanted), "{access} {lists}: {said}");
    }
    directory.write("h.ron", "(lists: {\"x\": []}, sites: [(listen: [\"127.0.0.1:0\"], locations: [(path: \"/\", to: Respond(status: 204))])])");
    let said = hatchery(&directory, &["check", "-c", "h.ron"]).stderr;
    assert!(said.contains("the list `x` is never used"), "{said}");
}

#[test]
fn who_is_denied_is_not_read() {
    let server = setup().start();
    let mut connection = Connection::open(server.address).unwrap();
    let head = "POST /office/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    connection.send(head).unwrap();
    let reply = connection.reply("POST").unwrap();
    assert_eq!((reply.status, reply.interim.len()), (403, 0));
    assert_eq!(get(server.address, "/").status, 200);
}
