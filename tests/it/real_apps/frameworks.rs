//! The same pages written with Flask, Pyramid and Falcon: what their manuals do, each in its own way. Also behind
//! `wsgiref.validate`, which complains of whatever the server does wrong.

use crate::harness::{Browser, Connection, Server, Setup, noise, reply_to, sha256};
use serde_json::json;

/// With its directory on `sys.path`, so that `validated` finds it.
fn start(module: &str, site: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{{address}}"],
        trusted_proxies: ["127.0.0.1"],
        locations: [(path: "/shop", to: App(name: "site", mount: "/shop")), (path: "/", to: App("site"))],
    )],
    apps: {{"site": (
        module: "{module}", chdir: "{{apps}}/real/frameworks", home: "{{real_venv}}", processes: 1, threads: 2,
        env: {{"SITE": "{site}", "PHOTO": "{{dir}}/photo"}},
    )}},"#
    ));
    setup.directory.write("photo", photo());
    // The traceback of `/broken`.
    setup.start().tolerant(&["app site 0:"])
}

fn photo() -> Vec<u8> {
    noise(3_000_000, 5)
}

fn behaves(server: &Server) {
    sessions_and_errors(server);
    bodies(server);
    let line = server.log().into_iter().find(|line| {
        ["AssertionError", "without being closed", "WSGIWarning"].iter().any(|what| line.contains(what))
    });
    assert_eq!(line, None);
}

fn sessions_and_errors(server: &Server) {
    let mut browser = Browser::new(server.address);
    let hello = browser.get("/hello/W%C3%B6rld").json();
    let url = format!("http://{}/hello/W%C3%B6rld", server.address);
    assert_eq!(hello, json!({"hello": "W\u{f6}rld", "url": url, "client": "127.0.0.1"}));
    let old = browser.get("/old");
    assert!(old.status == 302 && old.field("location").unwrap().ends_with("/hello/again"), "{old:?}");
    assert_eq!([browser.get("/count").text(), browser.get("/count").text()], ["1\n", "2\n"]);
    assert_eq!(Browser::new(server.address).get("/count").text(), "1\n");
    assert_eq!(browser.get("/missing").status, 404);
    let teapot = browser.get("/teapot");
    assert_eq!((teapot.status, &*teapot.text()), (418, "short and stout"));
    assert_eq!(browser.get("/broken").status, 500);
    server.wait_log("RuntimeError: broken on purpose");
    assert_eq!(browser.get("/hello/after").status, 200);

    // Below a mount and behind a proxy that ends TLS they make the links that the browser needs.
    let fields = "Host: shop.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n";
    let (there, _) = reply_to(server.address, format!("GET /shop/hello/there HTTP/1.1\r\n{fields}\r\n"));
    let url = "https://shop.example/shop/hello/there";
    assert_eq!(there.json(), json!({"hello": "there", "url": url, "client": "203.0.113.9"}));
    let (old, _) = reply_to(server.address, format!("GET /shop/old HTTP/1.1\r\n{fields}\r\n"));
    let location = old.field("location").unwrap();
    let wanted = ["/shop/hello/again", "https://shop.example/shop/hello/again"];
    assert!(wanted.contains(&location), "{location}");
}

fn bodies(server: &Server) {
    let body = noise(3 << 20, 9);
    let measured = json!({"size": body.len(), "sha256": sha256(&body)});
    let mut connection = Connection::open(server.address).unwrap();
    let kind = [("Content-Type", "application/octet-stream")];
    assert_eq!(connection.request("POST", "/raw", &kind, &body).unwrap().json(), measured);
    assert_eq!(connection.request_chunked("POST", "/raw", &kind, &body).unwrap().json(), measured);
    for chunked in [false, true] {
        let mut browser = Browser::new(server.address);
        browser.chunked = chunked;
        let stored = browser.post_file("/form", &[("title", "Zo\u{eb}")], "hen.bin", &body);
        assert_eq!(stored.status, 200, "{}", stored.text());
        let stored = stored.json();
        assert_eq!((&stored["title"], &stored["name"]), (&json!("Zo\u{eb}"), &json!("hen.bin")));
        assert_eq!((&stored["size"], &stored["sha256"]), (&measured["size"], &measured["sha256"]));
    }
    let lines = connection.get("/lines?many=20000").unwrap();
    let text = lines.text();
    assert_eq!((text.lines().count(), text.lines().last()), (20_000, Some("line 19999")));
    assert_eq!(lines.field("content-length"), None, "it is sent while it is made");
    let photo = photo();
    let sent = connection.get("/photo").unwrap();
    assert_eq!(sent.field("content-type"), Some("image/x-noise"));
    assert!(sent.body == photo, "{} bytes", sent.body.len());
    let head = connection.request("HEAD", "/photo", &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("3000000")));
}

macro_rules! behaves {
    ($($name:ident: $module:literal, $site:literal;)*) => {
        $(#[test]
        fn $name() {
            behaves(&start($module, $site));
        })*
    };
}

behaves! {
    flask_behaves: "with_flask", "";
    pyramid_behaves: "with_pyramid", "";
    falcon_behaves: "with_falcon", "";
    the_validator_has_nothing_against_flask: "validated", "with_flask";
    the_validator_has_nothing_against_pyramid: "validated", "with_pyramid";
    the_validator_has_nothing_against_falcon: "validated", "with_falcon";
}

#[test]
fn parts_of_a_file_come_from_the_framework() {
    let (server, photo) = (start("with_flask", ""), photo());
    let mut connection = Connection::open(server.address).unwrap();
    let part = connection.request("GET", "/photo", &[("Range", "bytes=1000000-1999999")], b"").unwrap();
    assert_eq!((part.status, part.field("content-range")), (206, Some("bytes 1000000-1999999/3000000")));
    assert!(part.body == photo[1_000_000..2_000_000], "{} bytes", part.body.len());
    let whole = connection.get("/photo").unwrap();
    let etag = whole.field("etag").unwrap();
    let same = connection.request("GET", "/photo", &[("If-None-Match", etag)], b"").unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(connection.get("/hello/after").unwrap().status, 200);
}
