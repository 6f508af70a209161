//! The handler on a real directory, attacks included; then [`super::response`] without one.

use super::*;
use crate::config::Cache;
use crate::http::conditional::tests::head;
use crate::sys::clock;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

/// A site's files, next to things that must never be served; removed at the end.
struct Place {
    base: PathBuf,
    settings: config::Files,
}

impl Place {
    fn new(name: &str) -> Self {
        let base = std::env::temp_dir().join(format!("hatchery-files-{name}-{}", std::process::id()));
        let root = base.join("root");
        fs::create_dir_all(root.join("dir/empty")).unwrap();
        fs::create_dir_all(root.join("dir/index.html")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join(".well-known/acme-challenge")).unwrap();
        fs::create_dir_all(root.join("a:b c\u{e9}")).unwrap();
        for (path, content) in [
            ("../secret", "secret"),
            ("index.html", "<h1>root</h1>"),
            ("site.css", "body {}"),
            ("empty.txt", ""),
            ("dir/index.htm", "<h1>dir</h1>"),
            (".env", "SECRET_KEY=1"),
            (".git/config", "secret"),
            (".well-known/acme-challenge/token", "token.key"),
            ("db.sqlite3", "secret"),
            ("db.sqlite3-journal", "secret"),
            ("views.pyc", "secret"),
            ("settings.py~", "secret"),
            ("x.swp", "secret"),
            ("app.0123456789ab.js", "1"),
        ] {
            fs::write(root.join(path), content).unwrap();
        }
        fs::write(root.join("large.bin"), pattern(100_000)).unwrap();
        let index = vec!["index.html".into(), "index.htm".into()];
        Self { base, settings: config::Files { root, index, cache: Cache::Unset } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.root.join(name)
    }

    fn request(&self, method: &str, path: &[u8], fields: &[(&str, &str)]) -> Answer {
        self.request_at(method, path, path, fields)
    }

    fn request_at(&self, method: &str, path: &[u8], rest: &[u8], fields: &[(&str, &str)]) -> Answer {
        let root = Root::open(&self.settings.root).unwrap();
        let head = head(method, fields);
        let request = Request { head: &head, path, rest, query: Some(b"q=1"), encoded_slash: false };
        serve(&root, &self.settings, &request, clock::wall())
    }

    fn get(&self, path: &str) -> Answer {
        self.request("GET", path.as_bytes(), &[])
    }

    fn status(&self, path: &str) -> u16 {
        head_of(&self.get(path)).status.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.base);
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn head_of(answer: &Answer) -> &ResponseHead {
    match answer {
        Answer::Send { head, .. } | Answer::Refuse { head, .. } => head,
    }
}

fn field(answer: &Answer, name: &str) -> String {
    String::from_utf8_lossy(head_of(answer).fields.get(name).unwrap_or_default()).into_owned()
}

fn body(answer: &Answer) -> Vec<u8> {
    match answer {
        Answer::Send { segment: Some(Segment::File { file, offset, len }), .. } => {
            read_at(file.as_fd(), *offset, *len as usize).unwrap()
        }
        Answer::Send { segment: Some(segment), .. } => segment.as_bytes().to_vec(),
        _ => Vec::new(),
    }
}

fn length(answer: &Answer) -> BodyLength {
    match answer {
        Answer::Send { body, .. } => *body,
        Answer::Refuse { .. } => BodyLength::None,
    }
}

/// Runs `check` with file permissions of nobody, on a thread of its own: the file system identity belongs to a thread.
fn as_nobody(check: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let checked = scope.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setfsgid(nix::unistd::Gid::from_raw(65_534));
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            }
            check();
        });
        if let Err(panic) = checked.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn files_are_sent_whole() {
    let place = Place::new("whole");
    let small = place.get("/site.css");
    assert_eq!(head_of(&small).status.0, 200);
    assert_eq!(body(&small), b"body {}");
    assert_eq!(length(&small), BodyLength::Known(7));
    assert_eq!(field(&small, "content-type"), "text/css; charset=utf-8");
    assert_eq!(field(&small, "accept-ranges"), "bytes");
    assert_eq!(field(&small, "x-content-type-options"), "nosniff");
    assert!(field(&small, "etag").ends_with("-7\"") && field(&small, "last-modified").ends_with(" GMT"));
    assert!(!head_of(&small).fields.has("cache-control"));

    let large = place.get("/large.bin");
    assert!(matches!(large, Answer::Send { segment: Some(Segment::File { .. }), .. }));
    assert_eq!(body(&large), pattern(100_000));
    let empty = place.get("/empty.txt");
    assert_eq!((head_of(&empty).status.0, length(&empty)), (200, BodyLength::Known(0)));
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let place = Place::new("head");
    for path in ["/site.css", "/large.bin", "/", "/dir", "/missing"] {
        let (get, head) = (place.get(path), place.request("HEAD", path.as_bytes(), &[]));
        assert_eq!(head_of(&get), head_of(&head), "{path}");
        assert_eq!(length(&get), length(&head), "{path}");
        assert_eq!(body(&head), b"", "{path}");
    }
}

#[test]
fn other_methods() {
    let place = Place::new("methods");
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"] {
        let answer = place.request(method, b"/site.css", &[]);
        assert!(matches!(answer, Answer::Refuse { .. }));
        assert_eq!((head_of(&answer).status.0, field(&answer, "allow")), (405, "GET, HEAD, OPTIONS".into()));
    }
    let options = place.request("OPTIONS", b"/site.css", &[]);
    assert_eq!((head_of(&options).status.0, field(&options, "allow")), (204, "GET, HEAD, OPTIONS".into()));
}

#[test]
fn preconditions_and_ranges() {
    let place = Place::new("conditions");
    let whole = place.get("/site.css");
    let (etag, modified) = (field(&whole, "etag"), field(&whole, "last-modified"));
    let ask = |fields: &[(&str, &str)]| place.request("GET", b"/site.css", fields);

    for fields in [[("If-None-Match", etag.as_str())], [("If-Modified-Since", &modified)]] {
        let answer = ask(&fields);
        assert_eq!((head_of(&answer).status.0, length(&answer)), (304, BodyLength::None));
        assert_eq!(field(&answer, "etag"), etag);
        assert!(!head_of(&answer).fields.has("content-type"));
    }
    let failed = ask(&[("If-Match", "\"other\"")]);
    assert!(matches!(failed, Answer::Refuse { .. }));
    assert_eq!(head_of(&failed).status.0, 412);

    let part = ask(&[("Range", "bytes=1-3"), ("If-Range", &etag)]);
    assert_eq!((head_of(&part).status.0, body(&part)), (206, b"ody".to_vec()));
    assert_eq!((field(&part, "content-range"), length(&part)), ("bytes 1-3/7".into(), BodyLength::Known(3)));
    assert_eq!(field(&part, "etag"), etag);
    let past = ask(&[("Range", "bytes=7-")]);
    assert_eq!((head_of(&past).status.0, field(&past, "content-range")), (416, "bytes */7".into()));
    assert!(matches!(past, Answer::Refuse { .. }));
    for fields in [
        &[("Range", "bytes=1-3"), ("If-Range", "\"old\"")][..],
        &[("Range", "bytes=0-0,2-3")],
        &[("Range", "bytes=1-3"), ("Range", "bytes=1-3")],
        &[("Range", "lines=1-3")],
    ] {
        let answer = ask(fields);
        assert_eq!((head_of(&answer).status.0, body(&answer)), (200, b"body {}".to_vec()), "{fields:?}");
    }
    let head = place.request("HEAD", b"/site.css", &[("Range", "bytes=1-3")]);
    assert_eq!((head_of(&head).status.0, length(&head)), (200, BodyLength::Known(7)));
    // A part of a large file, across the limit of what is read into memory.
    for (range, expected) in [("bytes=50000-", 50_000..100_000), ("bytes=-10", 99_990..100_000)] {
        let part = place.request("GET", b"/large.bin", &[("Range", range)]);
        assert_eq!(body(&part), &pattern(100_000)[expected], "{range}");
    }
}

#[test]
fn directories() {
    let place = Place::new("directories");
    assert_eq!(body(&place.get("/")), b"<h1>root</h1>");
    assert_eq!(field(&place.get("/"), "content-type"), "text/html; charset=utf-8");
    // `dir/index.html` is a directory: the next index file is taken.
    assert_eq!(body(&place.get("/dir/")), b"<h1>dir</h1>");
    assert_eq!(place.status("/dir/empty/"), 404);
    assert_eq!(place.status("/missing/"), 404);
    assert_eq!(place.status("/site.css/"), 404);

    let redirect = place.get("/dir/empty");
    assert_eq!((head_of(&redirect).status.0, field(&redirect, "location")), (301, "empty/?q=1".into()));
    assert_eq!(length(&redirect), BodyLength::Known(0));
    // A location whose prefix has no slash: its own name is the reference.
    let mounted = place.request_at("GET", b"/static", b"", &[]);
    assert_eq!(field(&mounted, "location"), "static/?q=1");
    let mounted = place.request_at("GET", b"/static/", b"/", &[]);
    assert_eq!(body(&mounted), b"<h1>root</h1>");
    let strange = place.get("/a:b c\u{e9}");
    assert_eq!(field(&strange, "location"), "a%3Ab%20c%C3%A9/?q=1");
}

#[test]
fn a_redirect_points_to_no_other_host_and_into_no_field() {
    let place = Place::new("redirect");
    // Whatever a router hands on: leading slashes, or a name like a host.
    fs::create_dir(place.path("evil.example")).unwrap();
    for path in ["//evil.example", "/evil.example", "///evil.example"] {
        let answer = place.get(path);
        assert_eq!(field(&answer, "location"), "evil.example/?q=1", "{path}");
    }
    let root = Root::open(&place.settings.root).unwrap();
    let head = head("GET", &[]);
    let query = Some(&b"a=\r\nSet-Cookie: x=1\xff&b=%0d"[..]);
    let request = Request { head: &head, path: b"/dir", rest: b"dir", query, encoded_slash: false };
    let answer = serve(&root, &place.settings, &request, clock::wall());
    assert_eq!(field(&answer, "location"), "dir/?a=%0D%0ASet-Cookie:%20x=1%FF&b=%0d");
}

#[test]
fn nothing_outside_the_root_is_served() {
    let place = Place::new("outside");
    symlink("../secret", place.path("out")).unwrap();
    symlink(place.base.join("secret"), place.path("absolute")).unwrap();
    symlink(place.path("site.css"), place.path("absolute-inside")).unwrap();
    symlink("../..", place.path("dir/away")).unwrap();
    symlink("..", place.path("parent")).unwrap();
    symlink("circle", place.path("circle")).unwrap();
    symlink("site.css", place.path("inside.css")).unwrap();
    symlink("../site.css", place.path("dir/up.css")).unwrap();
    let checks = || {
        for path in [
            "/out",
            "/absolute",
            "/absolute-inside",
            "/dir/away/secret",
            "/parent/secret",
            "/circle",
            "/parent/",
        ] {
            assert_eq!(place.status(path), 403, "{path}");
        }
        for path in ["/inside.css", "/dir/up.css"] {
            assert_eq!(body(&place.get(path)), b"body {}", "{path}");
        }
        for path in [
            "/..",
            "/../secret",
            "/dir/../../secret",
            "/dir/../site.css",
            "/./site.css",
            "/..\\secret",
            "/dir\\index.htm",
            "/site.css\0.html",
            "/%2e%2e/secret",
            "/etc/passwd",
            "//etc/passwd",
        ] {
            assert_eq!(place.status(path), 404, "{path:?}");
        }
        assert_eq!(place.status(&format!("/{}", "n".repeat(300))), 404);
        assert_eq!(place.status(&"/dir".repeat(2000)), 404);
        let bytes = place.request("GET", b"/\xff\xfe", &[]);
        assert_eq!(head_of(&bytes).status.0, 404);
    };
    checks();
    as_nobody(checks);
    let root = Root::open(&place.settings.root).unwrap();
    let head = head("GET", &[]);
    let request =
        Request { head: &head, path: b"/site.css", rest: b"site.css", query: None, encoded_slash: true };
    assert_eq!(head_of(&serve(&root, &place.settings, &request, clock::wall())).status.0, 404);
}

#[test]
fn hidden_names_and_droppings_are_not_served() {
    let place = Place::new("hidden");
    for path in [
        "/.env",
        "/.git/config",
        "/.git/",
        "/.git",
        "/dir/.git/config",
        "/db.sqlite3",
        "/db.sqlite3-journal",
        "/views.pyc",
        "/settings.py~",
        "/x.swp",
    ] {
        assert_eq!(place.status(path), 404, "{path}");
    }
    assert_eq!(body(&place.get("/.well-known/acme-challenge/token")), b"token.key");
}

#[test]
fn special_files_are_not_served_and_do_not_block() {
    let place = Place::new("special");
    nix::unistd::mkfifo(&place.path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    assert_eq!(place.status("/fifo"), 404);
    assert_eq!(place.status("/socket"), 404);
    fs::remove_dir_all(place.path("dir/index.html")).unwrap();
    nix::unistd::mkfifo(&place.path("dir/index.html"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .unwrap();
    assert_eq!(body(&place.get("/dir/")), b"<h1>dir</h1>");
}

#[test]
fn permissions_count() {
    let place = Place::new("permissions");
    fs::create_dir(place.path("closed")).unwrap();
    fs::write(place.path("closed/file"), "x").unwrap();
    fs::set_permissions(place.path("site.css"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(place.path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
    if !nix::unistd::geteuid().is_root() {
        // As the owner one is refused only by taking the owner's own bits.
        fs::set_permissions(place.path("site.css"), PermissionsExt::from_mode(0o000)).unwrap();
        fs::set_permissions(place.path("closed"), PermissionsExt::from_mode(0o000)).unwrap();
    }
    as_nobody(|| {
        assert_eq!(place.status("/site.css"), 403);
        assert_eq!(place.status("/closed/file"), 403);
        assert_eq!(place.status("/closed/"), 403);
        assert_eq!(place.status("/index.html"), 200);
    });
    fs::set_permissions(place.path("closed"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn errors_have_their_status() {
    for (errno, status) in [
        (Errno::ENOENT, 404),
        (Errno::ENOTDIR, 404),
        (Errno::ENAMETOOLONG, 404),
        (Errno::ENXIO, 404),
        (Errno::EACCES, 403),
        (Errno::ELOOP, 403),
        (Errno::EXDEV, 403),
        (Errno::EMFILE, 503),
        (Errno::ENFILE, 503),
        (Errno::EIO, 500),
    ] {
        assert_eq!(head_of(&failed(&errno.into())).status.0, status, "{errno}");
    }
}

const FILE: response::File<'_> =
    response::File { name: b"a.css", size: 10, modified: Wall { seconds: 784_111_777, nanos: 5 } };
const NOW: Wall = Wall { seconds: 1_790_000_000, nanos: 0 };

fn planned(file: response::File<'_>, cache: Cache, fields: &[(&str, &str)], now: Wall) -> ResponseHead {
    match response::plan(&head("GET", fields), file, cache, now) {
        Plan::Part { head, .. } | Plan::Bare(head) | Plan::Refuse(head, _) => head,
    }
}

#[test]
fn validators_tell_every_change() {
    let tag = |size, seconds, nanos| {
        let file = response::File { size, modified: Wall { seconds, nanos }, ..FILE };
        let head = planned(file, Cache::Unset, &[], NOW);
        String::from_utf8(head.fields.get("etag").unwrap().to_vec()).unwrap()
    };
    assert_eq!(tag(10, 784_111_777, 5), "\"ae1b981bc490a05-a\"");
    let tags =
        [tag(10, 1, 0), tag(11, 1, 0), tag(10, 2, 0), tag(10, 1, 1), tag(10, 0, 999_999_999), tag(10, -1, 0)];
    for (index, one) in tags.iter().enumerate() {
        assert!(tags[index + 1..].iter().all(|other| other != one), "{tags:?}");
    }
}

#[test]
fn last_modified_is_never_later_than_now() {
    let modified = |seconds, now| {
        let file = response::File { modified: Wall { seconds, nanos: 0 }, ..FILE };
        let head = planned(file, Cache::Unset, &[], Wall { seconds: now, nanos: 0 });
        String::from_utf8(head.fields.get("last-modified").unwrap().to_vec()).unwrap()
    };
    assert_eq!(modified(784_111_777, 784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(modified(i64::MAX, 784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn cache_control() {
    let caching = |name: &str, cache, fields: &[(&str, &str)]| {
        let head = planned(response::File { name: name.as_bytes(), ..FILE }, cache, fields, NOW);
        head.fields.get("cache-control").map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(caching("a.css", Cache::Unset, &[]), None);
    assert_eq!(caching("a.css", Cache::Revalidate, &[]).as_deref(), Some("no-cache"));
    assert_eq!(caching("a.css", Cache::For(Duration::from_secs(3600)), &[]).as_deref(), Some("max-age=3600"));
    // 304 says what 200 would have said.
    let matching = [("If-None-Match", "*")];
    assert_eq!(
        caching("a.css", Cache::For(Duration::from_secs(3600)), &matching).as_deref(),
        Some("max-age=3600")
    );
    let forever = Some("public, max-age=31536000, immutable");
    for (name, expected) in [
        ("app.0123456789ab.js", forever),
        ("app.min.0123456789ab.js", forever),
        ("app.0123456789ab.js.map", forever),
        ("app.1234abcd.css", forever),
        ("app.js", Some("no-cache")),
        ("app.0123abc.js", Some("no-cache")),
        ("app.0123456789AB.js", Some("no-cache")),
        ("app.0123456789ag.js", Some("no-cache")),
        ("report.20240131.pdf", Some("no-cache")),
        ("face.deadbeef.png", Some("no-cache")),
        ("0123456789ab.js", Some("no-cache")),
        ("LICENSE.0123456789ab", forever),
        ("index.html", Some("no-cache")),
    ] {
        assert_eq!(caching(name, Cache::Immutable, &[]).as_deref(), expected, "{name}");
    }
}
