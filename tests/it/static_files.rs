//! Files: what is sent is what is on the disk, and nothing else is reachable.

use crate::harness::{Connection, Server, Setup, get, noise};

/// `static/` with files of awkward sizes, and a secret beside it.
fn site() -> Server {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        locations: [
            (path: "/static/", to: Files(root: "static", cache: "immutable")),
            (path: "/hour/", to: Files(root: "static", cache: "1h")),
            (path: "/", to: Files(root: "pages")),
        ],
    )],"#,
    );
    for size in SIZES {
        setup.directory.write(format!("static/{size}.bin"), noise(size, size as u64));
    }
    setup.directory.write("static/site.0123456789ab.css", "body {}\n");
    setup.directory.write("static/plain.css", "body {}\n");
    setup.directory.write("pages/index.html", "<h1>index</h1>\n");
    setup.directory.write("pages/under/index.html", "<h1>under</h1>\n");
    setup.directory.write("pages/empty/file.txt", "text\n");
    setup.directory.write("pages/a b+é.txt", "odd name\n");
    setup.directory.write("secret.txt", "secret\n");
    std::os::unix::fs::symlink("../secret.txt", setup.directory.path().join("static/link.txt")).unwrap();
    setup.start()
}

const SIZES: [usize; 6] = [0, 1, 4096, 65_536, 300_001, 3 << 20];

#[test]
fn bytes_are_those_on_disk() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    for size in SIZES {
        let reply = connection.get(&format!("/static/{size}.bin")).unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, size));
        assert!(reply.body == noise(size, size as u64), "{size} bytes differ");
        let head = connection.request("HEAD", &format!("/static/{size}.bin"), &[], b"").unwrap();
        assert_eq!(head.field("content-length"), Some(&*size.to_string()));
        assert_eq!((head.status, head.field("etag")), (200, reply.field("etag")));
    }
    let css = connection.get("/static/plain.css").unwrap();
    assert!(css.field("content-type").unwrap().starts_with("text/css"), "{css:?}");
    assert_eq!(css.field("server"), Some("hatchery"));
    assert!(css.field("date").unwrap().ends_with(" GMT"), "{css:?}");
}

#[test]
fn names_are_decoded_once_and_indexes_found() {
    let server = site();
    assert_eq!(get(server.address, "/").text(), "<h1>index</h1>\n");
    assert_eq!(get(server.address, "/under/").text(), "<h1>under</h1>\n");
    assert_eq!(get(server.address, "/a%20b+%C3%A9.txt").text(), "odd name\n");
    let redirect = get(server.address, "/under?page=2");
    assert_eq!(redirect.status, 301, "{redirect:?}");
    assert!(redirect.field("location").unwrap().ends_with("under/?page=2"), "{redirect:?}");
    let no_index = get(server.address, "/empty/").status;
    assert!(no_index == 403 || no_index == 404, "{no_index}");
    assert_eq!(get(server.address, "/a%2520b").status, 404);
    assert_eq!(get(server.address, "/index.html/more").status, 404);
}

#[test]
fn nothing_outside_the_root_is_reachable() {
    let server = site();
    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/%2e%2e%2fsecret.txt",
        "/static/x/../../secret.txt",
        "/static//../secret.txt",
        "/static/..%5csecret.txt",
        "/../secret.txt",
        "/static/link.txt",
        "/static/plain.css%00.txt",
    ] {
        let mut connection = Connection::open(server.address).unwrap();
        let reply = connection.get(path).unwrap();
        assert!(matches!(reply.status, 400 | 403 | 404), "{path}: {reply:?}");
        assert!(!reply.text().contains("secret\n"), "{path}: {reply:?}");
    }
}

#[test]
fn conditions_spare_the_body() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    let whole = connection.get("/static/4096.bin").unwrap();
    let (tag, date) = (whole.field("etag").unwrap(), whole.field("last-modified").unwrap());
    let mut with =
        |fields: &[(&str, &str)]| connection.request("GET", "/static/4096.bin", fields, b"").unwrap();
    let not_modified = with(&[("If-None-Match", tag)]);
    assert_eq!((not_modified.status, not_modified.field("etag")), (304, Some(tag)));
    assert_eq!(with(&[("If-None-Match", &format!("\"other\", {tag}"))]).status, 304);
    assert_eq!(with(&[("If-None-Match", "\"other\"")]).status, 200);
    assert_eq!(with(&[("If-Modified-Since", date)]).status, 304);
    assert_eq!(with(&[("If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")]).status, 200);
    // If-None-Match wins.
    assert_eq!(with(&[("If-None-Match", "\"other\""), ("If-Modified-Since", date)]).status, 200);
}

#[test]
fn one_range_is_sent_as_a_part() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    let whole = noise(300_001, 300_001);
    let mut range =
        |value: &str| connection.request("GET", "/static/300001.bin", &[("Range", value)], b"").unwrap();
    for (asked, from, to) in [
        ("bytes=0-9", 0, 9),
        ("bytes=100-", 100, 300_000),
        ("bytes=-5", 299_996, 300_000),
        ("bytes=65535-65536", 65_535, 65_536),
        ("bytes=299999-999999", 299_999, 300_000),
    ] {
        let part = range(asked);
        assert_eq!(part.status, 206, "{asked}: {:?}", part.fields);
        assert_eq!(part.field("content-range"), Some(&*format!("bytes {from}-{to}/300001")));
        assert!(part.body == whole[from..=to], "{asked}");
    }
    let beyond = range("bytes=300001-");
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */300001")));
    assert_eq!(range("lines=1-2").status, 200);
    let tag = connection.get("/static/300001.bin").unwrap().field("etag").unwrap().to_owned();
    for (tag, status) in [(&*tag, 206), ("\"other\"", 200)] {
        let fields = [("Range", "bytes=0-9"), ("If-Range", tag)];
        assert_eq!(connection.request("GET", "/static/300001.bin", &fields, b"").unwrap().status, status);
    }
}

#[test]
fn cache_control_is_as_configured() {
    let server = site();
    let control = |path| get(server.address, path).field("cache-control").map(str::to_owned);
    let hashed = control("/static/site.0123456789ab.css").unwrap();
    assert!(hashed.contains("immutable") && hashed.contains("max-age=31536000"), "{hashed}");
    assert_eq!(control("/static/plain.css").as_deref(), Some("no-cache"));
    assert_eq!(control("/hour/plain.css").as_deref(), Some("max-age=3600"));
    assert_eq!(control("/"), None);
}

#[test]
fn other_methods_are_not_allowed() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    for method in ["POST", "PUT", "DELETE"] {
        let reply = connection.request(method, "/static/plain.css", &[], b"body").unwrap();
        assert_eq!(reply.status, 405, "{method}");
        let allow = reply.field("allow").unwrap();
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
        if reply.closes() {
            connection = Connection::open(server.address).unwrap();
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    let mut requests = String::new();
    for size in SIZES {
        requests.push_str(&format!("GET /static/{size}.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
    connection.send(requests).unwrap();
    for size in SIZES {
        let reply = connection.reply("GET").unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, size));
    }
}

#[test]
fn serve_needs_no_configuration() {
    let setup = Setup::flags(&["serve", "{dir}/public", "--http", "{address}"]);
    setup.directory.write("public/index.html", "<h1>public</h1>\n");
    let server = setup.start();
    assert_eq!(get(server.address, "/").text(), "<h1>public</h1>\n");
    assert_eq!(get(server.address, "/nothing").status, 404);
}

#[test]
fn http_1_0_gets_a_connection_that_closes() {
    let server = site();
    let mut connection = Connection::open(server.address).unwrap();
    connection.send("GET /static/4096.bin HTTP/1.0\r\n\r\n").unwrap();
    let reply = connection.reply("GET").unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 4096));
    assert!(connection.is_closed());
    let mut connection = Connection::open(server.address).unwrap();
    for _ in 0..2 {
        connection.send("GET /static/1.bin HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!(connection.reply("GET").unwrap().body.len(), 1);
    }
}
