//! Files: what is sent is what is on the disk, and nothing else is reachable.

use crate::harness::{Connection, SOON, Server, Setup, get, holds, noise, wait_until};
use std::time::Duration;

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

// ---- the rows of research/web-servers.md §4.1, §4.2, §4.14 to §4.17 -------------------------------------------------

/// Files of every kind that the rows speak of.
fn shelf() -> Server {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(
        listen: ["{address}"],
        error_pages: {404: "own-404.html"},
        locations: [
            (path: "/hidden/", to: Respond(status: 404)),
            (path: "/hidden/text", to: Respond(status: 404, body: "text")),
            (path: "/hidden/bare", to: Respond(status: 403)),
            (path: "/list/", to: Files(root: "list", listing: true)),
            (path: "/spa/", to: Files(root: "spa", fallback: "index.html")),
            (path: "/try/", to: Files(root: "try", try_files: ["$path", "$path.html", "$path/"], fallback: 410)),
            (path: "/dots/", to: Files(root: "dots", dotfiles: true, types: {"custom": "text/x-custom", "tar.gz": "application/x-tgz"})),
            (path: "/strict/", to: Files(root: "strict", symlinks: Refuse)),
            (path: "/shared/", to: Files(root: "strict", symlinks: Follow, symlinks_to: ["elsewhere"])),
            (path: "/", to: Files(root: "root", cache: "immutable", precompressed: true)),
        ],
    )],"#,
    );
    let write = |name: &str, content: &str| setup.directory.write(name, content);
    write("own-404.html", "<p>our own</p>");
    for name in
        ["root/a.txt", "root/dir/index.html", "list/<b>&.txt", "list/b.txt", "list/sub/x", "list/.hidden"]
    {
        write(name, "0123456789");
    }
    for name in ["spa/index.html", "try/page.html", "try/dir/index.html", "dots/.config", "dots/.git/config"]
    {
        write(name, "0123456789");
    }
    for name in ["dots/x.custom", "dots/x.tar.gz", "strict/plain", "elsewhere/far", "unshared/far", "root/e"]
    {
        write(name, "0123456789");
    }
    write("root/empty.txt", "");
    write("root/app.js", "plain plain plain plain");
    write("root/stale.js", "newer than its coding");
    write("root/css/x.custom-hash.css", "body{}");
    write(
        "root/staticfiles.json",
        r#"{"paths": {"css/x.css": "css/x.custom-hash.css", "a.txt": "a.txt"}, "version": "1.1"}"#,
    );
    for (name, content) in [
        ("app.js.br", "BR"),
        ("app.js.gz", "GZIP"),
        ("app.js.zst", "ZST"),
        ("stale.js.gz", "OLD"),
        ("orphan.js.gz", "ORPHAN"),
    ] {
        write(&format!("root/{name}"), content);
    }
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    let path = |name: &str| setup.directory.path().join(name);
    for name in ["root/stale.js.gz", "root/app.js", "root/a.txt"] {
        std::fs::File::options().write(true).open(path(name)).unwrap().set_modified(old).unwrap();
    }
    std::os::unix::fs::symlink("plain", path("strict/inside")).unwrap();
    std::os::unix::fs::symlink("../elsewhere/far", path("strict/to-shared")).unwrap();
    std::os::unix::fs::symlink("../unshared/far", path("strict/to-unshared")).unwrap();
    nix::unistd::mkfifo(&path("root/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    setup.start()
}

/// §4.1: the order of RFC 9110 §13.2.2.
#[test]
fn preconditions_in_the_order_of_the_rfc() {
    let server = shelf();
    let mut connection = Connection::open(server.address).unwrap();
    let whole = connection.get("/a.txt").unwrap();
    let tag = whole.field("etag").unwrap().to_owned();
    let date = whole.field("last-modified").unwrap().to_owned();
    let (weak, early, late) =
        (format!("W/{tag}"), "Sun, 06 Nov 1994 08:49:37 GMT", "Tue, 01 Jan 2030 00:00:00 GMT");
    let (tag, weak, date) = (tag.as_str(), weak.as_str(), date.as_str());
    for (fields, status) in [
        (&[("If-Match", "*")][..], 200),
        (&[("If-Match", tag)], 200),
        (&[("If-Match", weak)], 412),
        (&[("If-Match", "\"x\"")], 412),
        (&[("If-Match", tag), ("If-Unmodified-Since", early)], 200),
        (&[("If-Unmodified-Since", early)], 412),
        (&[("If-Unmodified-Since", date)], 200),
        (&[("If-Unmodified-Since", "yesterday")], 200),
        (&[("If-None-Match", tag)], 304),
        (&[("If-None-Match", weak)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"x\""), ("If-Modified-Since", late)], 200),
        (&[("If-None-Match", tag), ("If-Modified-Since", early)], 304),
        (&[("If-Modified-Since", date)], 304),
        (&[("If-Modified-Since", late)], 304),
        (&[("If-Modified-Since", early)], 200),
        (&[("If-Modified-Since", "never")], 200),
        (&[("If-Match", "\"x\""), ("If-None-Match", tag)], 412),
        (&[("If-None-Match", tag), ("Range", "bytes=0-1")], 304),
        (&[("If-Match", tag), ("Range", "bytes=0-1")], 206),
    ] {
        let reply = connection.request("GET", "/a.txt", fields, b"").unwrap();
        assert_eq!(reply.status, status, "{fields:?}");
        if status == 304 {
            for name in ["etag", "cache-control"] {
                assert_eq!(reply.field(name), whole.field(name), "{fields:?}");
            }
            assert!(reply.field("date").is_some() && reply.body.is_empty() && !reply.closes(), "{reply:?}");
        }
    }
    // Only where the answer would be 2xx without them.
    for (path, status) in [("/missing", 404), ("/dir", 301)] {
        let fields = [("If-None-Match", "*"), ("If-Match", "\"x\"")];
        assert_eq!(connection.request("GET", path, &fields, b"").unwrap().status, status);
    }
}

/// §4.2.
#[test]
fn ranges_as_the_rfc_has_them() {
    let server = shelf();
    let mut connection = Connection::open(server.address).unwrap();
    let whole = connection.get("/a.txt").unwrap();
    let (tag, date) = (whole.field("etag").unwrap(), whole.field("last-modified").unwrap());
    let weak = format!("W/{tag}");
    for (fields, status, body) in [
        (&[("Range", "bytes=2-4")][..], 206, "234"),
        (&[("Range", "bytes=-3")], 206, "789"),
        (&[("Range", "bytes=7-")], 206, "789"),
        (&[("Range", "bytes=0-2,1-4")], 206, "01234"),
        (&[("Range", "bytes=0-2,3-4")], 206, "01234"),
        (&[("Range", "bytes=8-99999999999999999999999")], 206, "89"),
        (&[("Range", "bytes=2-1")], 200, "0123456789"),
        (&[("Range", "bytes=a-b")], 200, "0123456789"),
        (&[("Range", "seconds=1-2")], 200, "0123456789"),
        (&[("Range", "bytes=2-4"), ("If-Range", tag)], 206, "234"),
        (&[("Range", "bytes=2-4"), ("If-Range", &weak)], 200, "0123456789"),
        (&[("Range", "bytes=2-4"), ("If-Range", date)], 206, "234"),
        (&[("Range", "bytes=2-4"), ("If-Range", "Tue, 01 Jan 2030 00:00:00 GMT")], 200, "0123456789"),
    ] {
        let reply = connection.request("GET", "/a.txt", fields, b"").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{fields:?}");
    }
    let many = format!("bytes={}", (0..20).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(","));
    assert_eq!(connection.request("GET", "/a.txt", &[("Range", &many)], b"").unwrap().status, 200);
    for value in ["bytes=10-", "bytes=-0"] {
        let reply = connection.request("GET", "/a.txt", &[("Range", value)], b"").unwrap();
        assert_eq!((reply.status, reply.field("content-range")), (416, Some("bytes */10")), "{value}");
    }
    assert_eq!(connection.request("GET", "/empty.txt", &[("Range", "bytes=0-")], b"").unwrap().status, 200);
    let head = connection.request("HEAD", "/a.txt", &[("Range", "bytes=2-4")], b"").unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));

    // One that is left of several is a part like any other.
    let one = connection.request("GET", "/a.txt", &[("Range", "bytes=2-4, 50-")], b"").unwrap();
    assert_eq!((one.status, one.field("content-range"), &*one.text()), (206, Some("bytes 2-4/10"), "234"));
    assert_eq!(one.field("content-type"), whole.field("content-type"));

    let parts = connection.request("GET", "/a.txt", &[("Range", "bytes=0-1, 8-")], b"").unwrap();
    let kind = parts.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert!(
        parts.status == 206 && boundary.len() == 32 && parts.field("content-range").is_none(),
        "{parts:?}"
    );
    let part = |range: &str, text: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {range}/10\r\n\r\n{text}\r\n"
        )
    };
    assert_eq!(parts.text(), format!("{}{}--{boundary}--\r\n", part("0-1", "01"), part("8-9", "89")));
    let again = connection.request("GET", "/a.txt", &[("Range", "bytes=0-1, 8-")], b"").unwrap();
    assert_ne!(again.field("content-type"), parts.field("content-type"), "the boundary can be guessed");
}

/// Parts of a file that is sent from the disk and not from memory.
#[test]
fn parts_of_a_large_file_are_its_bytes() {
    let server = site();
    let whole = noise(3 << 20, 3 << 20);
    let mut connection = Connection::open(server.address).unwrap();
    let fields = [("Range", "bytes=0-9,1000000-2000000,-1")];
    let reply = connection.request("GET", "/static/3145728.bin", &fields, b"").unwrap();
    let boundary = reply.field("content-type").unwrap().split("boundary=").nth(1).unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(0, 9), (1_000_000, 2_000_000), (3_145_727, 3_145_727)] {
        let head = format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {from}-{to}/3145728\r\n\r\n"
        );
        expected.extend([head.as_bytes(), &whole[from..=to], b"\r\n"].concat());
    }
    expected.extend(format!("--{boundary}--\r\n").into_bytes());
    assert_eq!(reply.status, 206);
    assert!(reply.body == expected, "{} of {} bytes", reply.body.len(), expected.len());
    assert_eq!(connection.get("/static/1.bin").unwrap().body.len(), 1, "the length was right");
}

/// §4.14.
#[test]
fn a_path_is_decoded_once_and_names_files_only() {
    let server = shelf();
    for (path, status) in [
        ("/a.txt", 200),
        ("/%61.txt", 200),
        ("//a.txt", 200),
        ("/./a.txt", 200),
        ("/dir/../a.txt", 200),
        ("/dir/%2e%2e/a.txt", 200),
        ("/dir%2findex.html", 404),
        ("/dir%2Findex.html", 404),
        ("/dir%5cindex.html", 404),
        ("/%2561.txt", 404),
        ("/a.txt%00", 400),
        ("/a%", 400),
        ("/a%zz", 400),
        ("/../a.txt", 400),
        ("/%2e%2e/a.txt", 400),
        ("/a.txt%3F", 404),
        ("/fifo", 404),
        ("/a.txt/", 404),
        ("/strict/plain", 200),
        ("/strict/inside", 403),
        ("/strict/to-shared", 403),
        ("/shared/inside", 200),
        ("/shared/to-shared", 200),
        ("/shared/to-unshared", 403),
    ] {
        // The second answer comes from what was kept.
        for _ in 0..2 {
            assert_eq!(get(server.address, path).status, status, "{path}");
        }
    }
}

/// §4.15.
#[test]
fn directories_fallbacks_and_what_is_hidden() {
    let server = shelf();
    for (path, location) in [
        ("/dir", "dir/"),
        ("/dir?a=b&c=%20", "dir/?a=b&c=%20"),
        ("//dir", "dir/"),
        ("/try/dir", "dir/"),
        ("/list/sub", "sub/"),
    ] {
        let reply = get(server.address, path);
        assert_eq!((reply.status, reply.field("location")), (301, Some(location)), "{path}");
    }
    let long = format!("/{}", "n".repeat(300));
    for (path, status) in [
        ("/dir/", 200),
        ("/spa/", 200),
        ("/spa/any/route", 200),
        ("/try/page", 200),
        ("/try/page.html", 200),
        ("/try/dir/", 200),
        ("/try/none", 410),
        ("/missing", 404),
        (&*long, 404),
        ("/dots/.config", 200),
        ("/dots/.git/config", 404),
        ("/list/.hidden", 404),
    ] {
        for _ in 0..2 {
            assert_eq!(get(server.address, path).status, status, "{path}");
        }
    }
    let own = get(server.address, "/missing");
    assert_eq!((own.status, own.text().as_str()), (404, "<p>our own</p>"));
    let mut connection = Connection::open(server.address).unwrap();
    let post = connection.request("POST", "/a.txt", &[], b"").unwrap();
    assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn listings_are_escaped_sorted_and_name_only_what_is_served() {
    let server = shelf();
    let page = get(server.address, "/list/");
    assert_eq!((page.status, page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let text = page.text();
    let names: Vec<_> =
        text.match_indices("href=\"").map(|(at, _)| text[at + 6..].split('"').next().unwrap()).collect();
    assert_eq!(names, ["../", "sub/", "%3Cb%3E&amp;.txt", "b.txt"], "{text}");
    assert!(
        text.contains("&lt;b&gt;&amp;.txt") && !text.contains("<b>") && !text.contains("hidden"),
        "{text}"
    );
    let mut connection = Connection::open(server.address).unwrap();
    let json = connection.request("GET", "/list/", &[("Accept", "application/json")], b"").unwrap();
    assert_eq!((json.field("content-type"), json.field("vary")), (Some("application/json"), Some("Accept")));
    let json = json.json();
    assert_eq!((&json[0]["name"], &json[0]["type"]), (&"sub".into(), &"directory".into()), "{json}");
    assert_eq!((&json[1]["name"], &json[1]["size"]), (&"<b>&.txt".into(), &10.into()), "{json}");
    assert_eq!(get(server.address, "/dots/").status, 404, "listings are off by default");
}

/// §4.16.
#[test]
fn codings_have_tags_of_their_own_and_vary() {
    let server = shelf();
    let mut connection = Connection::open(server.address).unwrap();
    let mut tags = Vec::new();
    for (accept, coding, body) in [
        ("", None, "plain plain plain plain"),
        ("gzip", Some("gzip"), "GZIP"),
        ("gzip, br, zstd", Some("br"), "BR"),
        ("gzip;q=0.9, br;q=0.1, zstd", Some("zstd"), "ZST"),
        ("gzip;q=0, identity", None, "plain plain plain plain"),
    ] {
        let fields = [("Accept-Encoding", accept)];
        let reply = connection.request("GET", "/app.js", &fields, b"").unwrap();
        assert_eq!(
            (reply.status, reply.field("content-encoding"), &*reply.text()),
            (200, coding, body),
            "{accept}"
        );
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"), "{accept}");
        assert_eq!(reply.field("content-type"), Some("text/javascript; charset=utf-8"), "{accept}");
        let tag = reply.field("etag").unwrap().to_owned();
        assert!(tag.starts_with('"'), "{tag} is weak");
        let fields = [("Accept-Encoding", accept), ("If-None-Match", &tag)];
        let same = connection.request("GET", "/app.js", &fields, b"").unwrap();
        assert_eq!((same.status, same.field("vary")), (304, Some("Accept-Encoding")), "{accept}");
        tags.push(tag);
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "one tag a coding: {tags:?}");
    // A range is one of the variant.
    let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=1-2")];
    let part = connection.request("GET", "/app.js", &fields, b"").unwrap();
    assert_eq!((part.status, part.field("content-encoding"), &*part.text()), (206, Some("gzip"), "ZI"));
    assert_eq!(part.field("vary"), Some("Accept-Encoding"));
    // The tag of one coding does not vouch for a part of another.
    let tag_of = |connection: &mut Connection, accept: &str| {
        let reply = connection.request("HEAD", "/app.js", &[("Accept-Encoding", accept)], b"").unwrap();
        reply.field("etag").unwrap().to_owned()
    };
    for (tag, status) in
        [("gzip", 206), ("br", 200), ("", 200)].map(|(of, status)| (tag_of(&mut connection, of), status))
    {
        let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=1-2"), ("If-Range", tag.as_str())];
        let reply = connection.request("GET", "/app.js", &fields, b"").unwrap();
        assert_eq!((reply.status, reply.field("content-encoding")), (status, Some("gzip")), "{tag}");
    }
    // Asked for by its own name it is a file like any other; without its original there is nothing to be a coding of.
    let plain = connection.request("GET", "/app.js.gz", &[("Accept-Encoding", "gzip")], b"").unwrap();
    assert_eq!(
        (plain.field("content-type"), plain.field("content-encoding"), &*plain.text()),
        (Some("application/gzip"), None, "GZIP")
    );
    let orphan = connection.request("GET", "/orphan.js", &[("Accept-Encoding", "gzip")], b"").unwrap();
    assert_eq!(orphan.status, 404);
    // One that is older than its original is not sent, and said once.
    for _ in 0..3 {
        let fields = [("Accept-Encoding", "gzip")];
        let reply = connection.request("GET", "/stale.js", &fields, b"").unwrap();
        assert_eq!((reply.field("content-encoding"), &*reply.text()), (None, "newer than its coding"));
    }
    let told = || server.log().iter().filter(|line| line.contains("stale.js.gz")).count();
    wait_until(SOON, "the warning", || holds(told() > 0, server.log()));
    assert_eq!(told(), 1);
    // Without other codings nothing varies.
    assert_eq!(connection.get("/a.txt").unwrap().field("vary"), None);
}

/// §4.17.
#[test]
fn types_and_hashed_names() {
    let server = shelf();
    let kind = |path: &str| get(server.address, path).field("content-type").unwrap().to_owned();
    assert_eq!(kind("/app.js"), "text/javascript; charset=utf-8");
    assert_eq!(kind("/e"), "application/octet-stream");
    assert_eq!(kind("/dots/x.custom"), "text/x-custom");
    assert_eq!(kind("/dots/x.tar.gz"), "application/x-tgz");
    assert_eq!(get(server.address, "/e").field("x-content-type-options"), Some("nosniff"));
    let control = |path: &str| get(server.address, path).field("cache-control").unwrap().to_owned();
    assert_eq!(control("/css/x.custom-hash.css"), "public, max-age=31536000, immutable");
    assert_eq!(control("/a.txt"), "no-cache");
}

// ---- changes while files are served ---------------------------------------------------------------------------------

/// Edits of the same length within one second: each is another state, for caches too.
#[test]
fn edits_within_a_second_have_tags_of_their_own() {
    let server = site();
    let path = server.directory().path().join("static/edited.css");
    let second = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let mut connection = Connection::open(server.address).unwrap();
    let mut last: Option<String> = None;
    for nanoseconds in [0, 1, 2, 999_999_999] {
        let text = format!("/* {nanoseconds:09} */");
        std::fs::write(&path, &text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(second + Duration::from_nanos(nanoseconds)).unwrap();
        drop(file);
        let fields: Vec<_> = last.iter().map(|tag| ("If-None-Match", tag.as_str())).collect();
        let reply = connection.request("GET", "/static/edited.css", &fields, b"").unwrap();
        assert_eq!((reply.status, reply.text()), (200, text));
        let tag = reply.field("etag").map(str::to_owned);
        assert!(tag != last, "{tag:?}");
        last = tag;
    }
}

/// Replaced by rename while many ask: each answer is one of the states, whole.
#[test]
fn files_replaced_under_load_are_never_mixed() {
    let server = site();
    let root = server.directory().path().join("static");
    let done = std::sync::atomic::AtomicBool::new(false);
    let count = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for size in [4096, 65_536, 3 << 20] {
            let (done, count, address) = (&done, &count, server.address);
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                let path = format!("/static/swap-{size}.bin");
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = connection.get(&path).unwrap();
                    if reply.status == 200 {
                        assert!(reply.body.iter().all(|byte| *byte == reply.body[0]), "mixed");
                        let expected = size + usize::from(reply.body[0]);
                        assert_eq!(reply.body.len(), expected, "length of one, content of another");
                        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    } else {
                        assert_eq!(reply.status, 404);
                    }
                    if reply.closes() {
                        connection = Connection::open(address).unwrap();
                    }
                }
            });
        }
        for round in 0..120_u8 {
            for size in [4096, 65_536, 3 << 20] {
                let new = root.join(format!("new-{size}"));
                std::fs::write(&new, vec![round; size + usize::from(round)]).unwrap();
                std::fs::rename(&new, root.join(format!("swap-{size}.bin"))).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(count.into_inner() > 0);
    // The last state is what is served now.
    for size in [4096, 65_536, 3 << 20] {
        assert_eq!(get(server.address, &format!("/static/swap-{size}.bin")).body[0], 119);
    }
}

/// A large file cut or written to while it is sent: the client sees an end before the end, at once.
#[test]
fn a_file_that_changes_while_it_is_sent_breaks_the_connection_off() {
    let server = site();
    let path = server.directory().path().join("static/large.bin");
    let open = || std::fs::File::options().write(true).open(&path).unwrap();
    for (what, change) in [
        ("cut", Box::new(|| open().set_len(1 << 20).unwrap()) as Box<dyn Fn()>),
        ("written to", Box::new(|| std::io::Write::write_all(&mut open(), b"other").unwrap())),
    ] {
        std::fs::write(&path, vec![b'x'; 64 << 20]).unwrap();
        let mut connection = Connection::open(server.address).unwrap();
        connection.send("GET /static/large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let head = connection.reply_head().unwrap();
        assert_eq!(head.field("content-length"), Some(&*(64_u64 << 20).to_string()));
        change();
        let mut got = 0;
        let end = loop {
            let mut buffer = [0; 65_536];
            match std::io::Read::read(&mut connection.socket(), &mut buffer) {
                Ok(0) => break "end",
                Ok(count) => got += count,
                Err(_) => break "reset",
            }
        };
        assert!(got < 64 << 20, "{what}: {got} bytes, then {end}");
        // The server lives on and serves what is there now.
        let now = std::fs::metadata(&path).unwrap().len();
        let reply =
            Connection::open(server.address).unwrap().request("HEAD", "/static/large.bin", &[], b"").unwrap();
        assert_eq!(reply.field("content-length"), Some(&*now.to_string()), "{what}");
    }
}

/// Has the kernel drop a file from memory; whether it does so on this file system.
fn drop_from_memory(path: &std::path::Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    let kind = nix::sys::statfs::fstatfs(&file).unwrap().filesystem_type();
    [nix::sys::statfs::EXT4_SUPER_MAGIC, nix::sys::statfs::XFS_SUPER_MAGIC].contains(&kind)
}

#[test]
fn what_is_on_disk_only_is_read_beside_the_loop() {
    let server = site();
    let workers = server.ready("worker");
    let names = [4096, 65_536, 300_001, 3 << 20].map(|size| (size, format!("static/{size}.bin")));
    assert_eq!(get(server.address, "/static/1.bin").status, 200);
    let threads = || workers.iter().map(|worker| worker.threads()).sum::<usize>();
    // The advice is one only, and a quick disk is done before the kernel answers: so each file has several tries.
    for (size, name) in names.iter().cycle().take(names.len() * 50) {
        let dropped = drop_from_memory(&server.directory().path().join(name));
        let reply = get(server.address, &format!("/{name}"));
        assert!((reply.status, &reply.body) == (200, &noise(*size, *size as u64)), "{name}");
        if threads() > 1 || !dropped {
            break;
        }
    }
    let (_, name) = &names[0];
    assert!(
        threads() > 1 || !drop_from_memory(&server.directory().path().join(name)),
        "the worker has read from disk itself"
    );
    // A part in the middle, and several at once.
    let (size, name) = (3 << 20, "static/3145728.bin");
    drop_from_memory(&server.directory().path().join(name));
    let wanted = noise(size, size as u64);
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (server, wanted) = (&server, &wanted);
            scope.spawn(move || {
                let from = client * 100_000;
                let range = format!("bytes={from}-{}", from + 1_499_999);
                let mut connection = Connection::open(server.address).unwrap();
                let reply =
                    connection.request("GET", &format!("/{name}"), &[("Range", &range)], b"").unwrap();
                assert_eq!(reply.status, 206);
                assert!(reply.body == wanted[from..from + 1_500_000], "{range}");
            });
        }
    });
    assert_eq!(server.ready("worker"), workers);
}

#[test]
fn a_worker_that_is_stopped_and_continued_finishes_its_downloads() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let server = site();
    let wanted = noise(16 << 20, 7);
    server.directory().write("static/film.bin", &wanted);
    let worker = server.ready("worker")[0];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let reply =
                        Connection::open(server.address).and_then(|mut new| new.get("/static/film.bin"));
                    assert!(reply.unwrap().body == wanted);
                }
            });
        }
        // A signal that does nothing else ends a system call before its time.
        for _ in 0..40 {
            worker.signal(nix::sys::signal::Signal::SIGSTOP);
            worker.signal(nix::sys::signal::Signal::SIGCONT);
            let pause = crate::harness::now();
            while pause.elapsed() < std::time::Duration::from_millis(15) {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

// ---- what a deployment leaves behind -------------------------------------------------------------------------------

/// As `cp -r` and one `collectstatic` write a file and its codings: in any order, moments apart.
#[test]
fn a_compressed_file_that_was_written_just_before_its_original_is_sent() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Files(root: "root", precompressed: true))])],"#,
    );
    let write = |name: &str, text: &str, age: u64| {
        let path = setup.directory.write(format!("root/{name}"), text);
        let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 - age);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    };
    for (name, age) in [("a.js", 31), ("b.js", 9_000), ("stale.js", 60_000), ("old.js", 90_000)] {
        write(name, "plain", 0);
        write(&format!("{name}.gz"), "compressed", age);
    }
    write("alone.js", "plain", 0);
    write("empty.js", "", 0);
    write("empty.js.gz", "compressed", 31);
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    for (field, status) in [(("If-Match", "\"x\""), 412), (("Range", "bytes=99-"), 416)] {
        let reply = connection.request("GET", "/a.js", &[field], b"").unwrap();
        assert_eq!((reply.status, reply.field("vary")), (status, Some("Accept-Encoding")));
        let alone = connection.request("GET", "/alone.js", &[field], b"").unwrap();
        assert_eq!((alone.status, alone.field("vary")), (status, None));
    }
    let mut coding = |path: &str| {
        let reply = connection.request("GET", path, &[("Accept-Encoding", "gzip")], b"").unwrap();
        reply.field("content-encoding").map(str::to_owned)
    };
    for (path, sent) in
        [("/a.js", true), ("/b.js", true), ("/empty.js", true), ("/stale.js", false), ("/old.js", false)]
    {
        assert_eq!(coding(path), sent.then(|| "gzip".to_owned()), "{path}");
    }
    server.wait_log(
        "files: stale.js.gz is older than its original and is not served, nor is any other that is",
    );
    assert_eq!(server.log().iter().filter(|line| line.contains("is older than its original")).count(), 1);
}

#[test]
fn which_names_are_immutable_can_be_told() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/", to: Files(root: "root", cache: "immutable", immutable: r"^assets/.*-[A-Za-z0-9_]{8}\.")),
    ])],"#,
    );
    for name in ["assets/index-DiwrgTda.js", "assets/plain.js", "index-DiwrgTda.js", "app.0123456789ab.css"] {
        setup.directory.write(format!("root/{name}"), "x");
    }
    let server = setup.start();
    let said = |path: &str| get(server.address, path).field("cache-control").unwrap().to_owned();
    assert_eq!(said("/assets/index-DiwrgTda.js"), "public, max-age=31536000, immutable");
    for path in ["/assets/plain.js", "/index-DiwrgTda.js", "/app.0123456789ab.css"] {
        assert_eq!(said(path), "no-cache", "{path}");
    }
}

#[test]
fn a_listing_names_what_a_request_gets_and_says_in_order_where_it_ends() {
    let mut setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/refused/", to: Files(root: "root", listing: true, symlinks: Refuse)),
        (path: "/followed/", to: Files(root: "root", listing: true, symlinks: Follow, symlinks_to: ["elsewhere"])),
        (path: "/many/", to: Files(root: "many", listing: true)),
        (path: "/", to: Files(root: "root", listing: true)),
    ])],"#,
    );
    for name in ["root/plain", "root/sub/x", "root/shut", "elsewhere/far", "unshared/far"] {
        setup.directory.write(name, "x");
    }
    for (link, to) in
        [("within", "plain"), ("out", "../elsewhere/far"), ("away", "../unshared/far"), ("none", "nowhere")]
    {
        std::os::unix::fs::symlink(to, setup.directory.path().join("root").join(link)).unwrap();
    }
    for number in (0..5_010).rev() {
        setup.directory.write(format!("many/{number:04}"), "");
    }
    let shut = setup.directory.path().join("root/shut");
    std::fs::set_permissions(shut, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    setup = setup.run_as_nobody();
    let server = setup.start();
    let mut connection = Connection::open(server.address).unwrap();
    for prefix in ["/", "/refused/", "/followed/"] {
        let json = connection.request("GET", prefix, &[("Accept", "application/json")], b"").unwrap().json();
        let named = |name: &str| json.as_array().unwrap().iter().any(|item| item["name"] == name);
        for name in ["plain", "sub", "shut", "within", "out", "away", "none"] {
            let got = matches!(get(server.address, &format!("{prefix}{name}")).status, 200 | 301);
            assert_eq!(named(name), got, "{prefix}{name}");
        }
    }
    let json = connection.request("GET", "/many/", &[("Accept", "application/json")], b"").unwrap().json();
    let names: Vec<_> = json.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[4_999], names.len()), ("0000", "4999", 5_001));
    assert_eq!(json[5_000], serde_json::json!({"name": "", "type": "cut", "shown": 5_000}));
    assert!(get(server.address, "/many/").text().contains("<p>Only the first 5000 names are shown.</p>"));
}

#[test]
fn who_is_sent_on_with_the_path_keeps_the_query() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/a/", to: Redirect(status: 301, location: "/new$rest")),
        (path: "/b/", to: Redirect(status: 301, location: "https://b.example$path")),
        (path: "/c/", to: Redirect(status: 301, location: "/new$path?from=c")),
        (path: "/d/", to: Redirect(status: 301, location: "/new$path?$query&from=d")),
        (path: "/e/", to: Redirect(status: 301, location: "/elsewhere")),
        (path: "/f/", to: Redirect(status: 301, location: "/new$path#part")),
    ])],"#,
    );
    let server = setup.start();
    for (path, location) in [
        ("/a/x?q=1&r=2", "/new/x?q=1&r=2"),
        ("/a/x", "/new/x"),
        ("/a/x?", "/new/x"),
        ("/b/x?q=1", "https://b.example/b/x?q=1"),
        ("/c/x?q=1", "/new/c/x?from=c"),
        ("/d/x?q=1", "/new/d/x?q=1&from=d"),
        ("/e/x?q=1", "/elsewhere"),
        ("/f/x?q=1", "/new/f/x?q=1#part"),
    ] {
        assert_eq!(get(server.address, path).field("location"), Some(location), "{path}");
    }
}

#[test]
fn an_answer_without_a_body_is_the_page_that_the_site_has_for_it() {
    let server = shelf();
    let hidden = get(server.address, "/hidden/x");
    assert_eq!((hidden.status, hidden.text().as_str()), (404, "<p>our own</p>"));
    assert_eq!(hidden.field("content-type"), Some("text/html; charset=utf-8"));
    for (path, status, text) in [("/hidden/text", 404, "text"), ("/hidden/bare", 403, "")] {
        let reply = get(server.address, path);
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{path}");
    }
}

/// 300 static locations, and the first worker's open descriptors by now.
fn many_locations(workers: &str) -> (Server, impl Fn() -> usize) {
    let locations: Vec<String> =
        (0..300).map(|number| format!("(path: \"/{number}/\", to: Files(\"roots/{number}\"))")).collect();
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1, {workers}),
    sites: [(listen: ["{{address}}"], locations: [{}])],"#,
        locations.join(", ")
    ));
    for number in 0..300 {
        setup.directory.write(format!("roots/{number}/a.txt"), number.to_string());
    }
    let server = setup.start();
    let descriptors = format!("/proc/{}/fd", server.ready("worker")[0].pid);
    (server, move || std::fs::read_dir(&descriptors).unwrap().count())
}

fn ask_all(server: &Server) {
    let mut connection = Connection::open(server.address).unwrap();
    for number in 0..300 {
        assert_eq!(connection.get(&format!("/{number}/a.txt")).unwrap().text(), number.to_string());
    }
}

#[test]
fn a_location_takes_no_descriptor_before_it_is_asked_for() {
    let (server, descriptors) = many_locations("");
    let before = descriptors();
    // One for each worker there may be, to wake it, and a few.
    assert!(before < 120, "{before}");
    ask_all(&server);
    let after = descriptors();
    assert!((before + 300..before + 340).contains(&after), "{before}, then {after}");
    ask_all(&server);
    // But for connections that are not closed yet.
    let again = descriptors();
    assert!((before + 300..before + 340).contains(&again), "{before}, then {again}");
}

#[test]
fn of_more_roots_than_descriptors_those_unused_for_longest_are_closed() {
    let (server, descriptors) =
        many_locations("limits: (open_files: 160), connections: 20, file_cache: (entries: 0),");
    let before = descriptors();
    for _ in 0..2 {
        ask_all(&server);
        let open = descriptors() - before;
        // A quarter of what it has not at its start.
        assert!((24..34).contains(&open), "{before}, and {open} more");
    }
    server.directory().write("roots/0/a.txt", "changed");
    assert_eq!(get(server.address, "/0/a.txt").text(), "changed");
}

#[test]
fn when_descriptors_run_out_a_root_is_opened_at_the_expense_of_others_and_of_idle_connections() {
    let (server, descriptors) = many_locations("limits: (open_files: 128), file_cache: (entries: 0),");
    ask_all(&server);
    let mut idle = Vec::new();
    while descriptors() < 128 && idle.len() < 128 {
        let mut connection = Connection::open(server.address).unwrap();
        assert_eq!(connection.get("/").unwrap().status, 404);
        idle.push(connection);
    }
    assert!(descriptors() >= 126, "all are taken");
    let mut last = idle.pop().unwrap();
    for number in 0..300 {
        assert_eq!(last.get(&format!("/{number}/a.txt")).unwrap().text(), number.to_string());
    }
}
