//! The handler on a real directory, attacks included; then [`super::response`] without one.

use super::response::About;
use super::*;
use crate::config::boot::StaticRoot;
use crate::http::conditional::tests::head;
use crate::http::encoding::Encoding;
use crate::sys::clock;
use crate::sys::file::read_at;
use crate::worker::reader::Reader;
use nix::errno::Errno;
use std::fs;
use std::os::fd::AsFd;
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
        let mut settings = config::Files::new(root);
        settings.index = vec!["index.html".into(), "index.htm".into()];
        Self { base, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.root.join(name)
    }

    fn request(&self, method: &str, path: &[u8], fields: &[(&str, &str)]) -> Answer {
        self.request_at(method, path, path, fields)
    }

    fn request_at(&self, method: &str, path: &[u8], rest: &[u8], fields: &[(&str, &str)]) -> Answer {
        let head = head(method, fields);
        let request = Request {
            head: &head,
            path,
            rest,
            query: Some(b"q=1"),
            encoded_slash: false,
            falls_back: false,
            waits: true,
            known: &Known::default(),
            led: None,
        };
        let mut store = self.store();
        let first = serve(&mut store, &self.settings, &request);
        // What is kept gives the same answer.
        let second = serve(&mut store, &self.settings, &request);
        let is_random = field(&first, "content-type").starts_with("multipart/");
        assert!(is_random || head_of(&first) == head_of(&second), "{first:?}, then {second:?}");
        assert_eq!(length(&first), length(&second));
        first
    }

    fn store(&self) -> Store {
        Store::of(&self.settings)
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

/// The files of one location.
struct Store(Files);

impl Store {
    fn of(settings: &config::Files) -> Self {
        let mut files = Files {
            places: Vec::new(),
            cache: Cache::new(100, 8 << 20),
            watches: Watches::new(true),
            name: Vec::new(),
            numbers: 0,
            most_open: 1,
            due: Vec::new(),
        };
        let root = StaticRoot::find(&settings.root).ok();
        let place = files.add(settings, root.as_ref(), true).unwrap();
        files.places.push(vec![Some(place)]);
        Self(files)
    }

    /// Looks at the root and does the jobs as threads would.
    fn serve_at(&mut self, settings: &config::Files, request: &Request<'_>, now: Time) -> Answer {
        let (reader, wall) = (Reader::new().unwrap(), clock::wall());
        drop(self.0.serve((0, 0), settings, request, (now, wall)));
        for place in std::mem::take(&mut self.0.due) {
            let due = self.0.place(place).unwrap().due(place, settings);
            self.0.take_in(place, Some((due.look)()));
        }
        let known = Known::default();
        for _ in 0..20 {
            let request = Request { known: &known, ..*request };
            match self.0.serve((0, 0), settings, &request, (now, wall)) {
                Answer::First(First::Lookup(lookup)) => known.add((lookup.work)(reader.hand())),
                answer => return answer,
            }
        }
        panic!("there is always something to be done first");
    }

    /// The body of a GET at this time, after what has happened was told.
    fn get(&mut self, settings: &config::Files, path: &str, now: Time) -> (u16, Vec<u8>) {
        self.0.catch_up();
        let head = head("GET", &[]);
        let path = path.as_bytes();
        let request = Request {
            head: &head,
            path,
            rest: path,
            query: None,
            encoded_slash: false,
            falls_back: false,
            waits: true,
            known: &Known::default(),
            led: None,
        };
        let answer = self.serve_at(settings, &request, now);
        (head_of(&answer).status.0, body(&answer))
    }
}

#[test]
fn connections_leave_roots_an_eighth_of_the_descriptors_at_least_and_a_quarter_at_most() {
    let own = board::WORKERS as u64;
    assert_eq!(most_open(own + 800, 10_000), 100);
    assert_eq!(most_open(own + 800, 650), 150);
    assert_eq!(most_open(own + 800, 100), 200);
    assert_eq!((most_open(0, 1), most_open(own + 3, 1)), (1, 1));
}

fn serve(store: &mut Store, settings: &config::Files, request: &Request<'_>) -> Answer {
    store.serve_at(settings, request, Time::ZERO)
}

fn head_of(answer: &Answer) -> ResponseHead {
    match answer {
        Answer::Ready(ready) => {
            let about = &ready.file.variants[ready.variant].about;
            if ready.not_modified { about.not_modified() } else { about.whole(clock::wall()) }
        }
        Answer::Send { head, .. } => head.clone(),
        Answer::Refuse(refused) => refused.head.clone(),
        Answer::Nothing(_) => ResponseHead::new(404),
        Answer::First(_) => ResponseHead::new(599),
    }
}

fn field(answer: &Answer, name: &str) -> String {
    String::from_utf8_lossy(head_of(answer).fields.get(name).unwrap_or_default()).into_owned()
}

fn body(answer: &Answer) -> Vec<u8> {
    let segments: Vec<&Segment> = match answer {
        Answer::Ready(ready) => ready.body.iter().collect(),
        Answer::Send { segments, .. } => segments.iter().collect(),
        Answer::Refuse(_) | Answer::Nothing(_) | Answer::First(_) => Vec::new(),
    };
    let bytes = |segment: &&Segment| match segment {
        Segment::File { file, offset, len, .. } => read_at(file.as_fd(), *offset, *len as usize).unwrap(),
        segment => segment.as_bytes().to_vec(),
    };
    segments.iter().flat_map(bytes).collect()
}

fn length(answer: &Answer) -> BodyLength {
    match answer {
        Answer::Ready(ready) if ready.not_modified => BodyLength::None,
        Answer::Ready(ready) => BodyLength::Known(ready.head().unwrap().plain().length()),
        Answer::Send { body, .. } => *body,
        Answer::Refuse(_) | Answer::Nothing(_) | Answer::First(_) => BodyLength::None,
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
    assert!(head_of(&small).fields.get("cache-control").is_none());

    let large = place.get("/large.bin");
    assert!(matches!(&large, Answer::Ready(Ready { body: Some(Segment::Shared { .. }), .. })));
    assert_eq!(body(&large), pattern(100_000));
    fs::write(place.path("huge.bin"), pattern(300_000)).unwrap();
    let huge = place.get("/huge.bin");
    assert!(matches!(&huge, Answer::Ready(Ready { body: Some(Segment::File { stamp: Some(_), .. }), .. })));
    assert_eq!(body(&huge), pattern(300_000));
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
        assert!(matches!(answer, Answer::Refuse(_)));
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
        assert!(head_of(&answer).fields.get("content-type").is_none());
    }
    let failed = ask(&[("If-Match", "\"other\"")]);
    assert!(matches!(failed, Answer::Refuse(_)));
    assert_eq!(head_of(&failed).status.0, 412);

    let part = ask(&[("Range", "bytes=1-3"), ("If-Range", &etag)]);
    assert_eq!((head_of(&part).status.0, body(&part)), (206, b"ody".to_vec()));
    assert_eq!((field(&part, "content-range"), length(&part)), ("bytes 1-3/7".into(), BodyLength::Known(3)));
    assert_eq!(field(&part, "etag"), etag);
    let past = ask(&[("Range", "bytes=7-")]);
    assert_eq!((head_of(&past).status.0, field(&past, "content-range")), (416, "bytes */7".into()));
    assert!(matches!(past, Answer::Refuse(_)));
    for fields in [
        &[("Range", "bytes=1-3"), ("If-Range", "\"old\"")][..],
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
    let head = head("GET", &[]);
    let query = Some(&b"a=\r\nSet-Cookie: x=1\xff&b=%0d"[..]);
    let request = Request {
        head: &head,
        path: b"/dir",
        rest: b"dir",
        query,
        encoded_slash: false,
        falls_back: false,
        waits: true,
        known: &Known::default(),
        led: None,
    };
    let answer = serve(&mut place.store(), &place.settings, &request);
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
    let head = head("GET", &[]);
    let request = Request {
        head: &head,
        path: b"/site.css",
        rest: b"site.css",
        query: None,
        encoded_slash: true,
        falls_back: false,
        waits: true,
        known: &Known::default(),
        led: None,
    };
    assert_eq!(head_of(&serve(&mut place.store(), &place.settings, &request)).status.0, 404);
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
        assert_eq!(find::failed(&errno.into()).0, status, "{errno}");
    }
}

const FILE: fn() -> About = || About {
    size: 10,
    modified: Wall { seconds: 784_111_777, nanos: 5 },
    encoding: None,
    varies: false,
    content_type: "text/css; charset=utf-8".to_owned(),
    caching: None,
};

#[test]
fn validators_tell_every_change() {
    let tag = |size, seconds, nanos, encoding| {
        About { size, modified: Wall { seconds, nanos }, encoding, ..FILE() }.etag()
    };
    assert_eq!(tag(10, 784_111_777, 5, None), "\"ae1b981bc490a05-a\"");
    assert_eq!(tag(10, 784_111_777, 5, Some(Encoding::Brotli)), "\"ae1b981bc490a05-a-br\"");
    let tags = [
        tag(10, 1, 0, None),
        tag(11, 1, 0, None),
        tag(10, 2, 0, None),
        tag(10, 1, 1, None),
        tag(10, 0, 999_999_999, None),
        tag(10, -1, 0, None),
        tag(10, 1, 0, Some(Encoding::Brotli)),
        tag(10, 1, 0, Some(Encoding::Zstd)),
        tag(10, 1, 0, Some(Encoding::Gzip)),
    ];
    for (index, one) in tags.iter().enumerate() {
        assert!(tags[index + 1..].iter().all(|other| other != one), "{tags:?}");
    }
}

#[test]
fn last_modified_is_never_later_than_now() {
    let modified = |seconds, now| {
        let about = About { modified: Wall { seconds, nanos: 0 }, ..FILE() };
        let head = about.whole(Wall { seconds: now, nanos: 0 });
        String::from_utf8(head.fields.get("last-modified").unwrap().to_vec()).unwrap()
    };
    assert_eq!(modified(784_111_777, 784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(modified(i64::MAX, 784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

#[test]
fn cache_control() {
    use crate::config::Cache;
    assert_eq!(response::caching(Cache::Unset, true), None);
    assert_eq!(response::caching(Cache::Revalidate, true).as_deref(), Some("no-cache"));
    let hour = Cache::For(Duration::from_secs(3600));
    assert_eq!(response::caching(hour, false).as_deref(), Some("max-age=3600"));
    // 304 says what 200 would have said.
    let about = About { caching: response::caching(hour, false), varies: true, ..FILE() };
    for head in [about.whole(Wall::default()), about.not_modified()] {
        assert_eq!(head.fields.get("cache-control"), Some(&b"max-age=3600"[..]));
        assert_eq!(head.fields.get("vary"), Some(&b"Accept-Encoding"[..]));
    }
    let forever = "public, max-age=31536000, immutable";
    for (name, hashed) in [
        ("app.0123456789ab.js", true),
        ("app.min.0123456789ab.js", true),
        ("app.0123456789ab.js.map", true),
        ("app.1234abcd.css", true),
        ("app.js", false),
        ("app.0123abc.js", false),
        ("app.0123456789AB.js", false),
        ("app.0123456789ag.js", false),
        ("report.20240131.pdf", false),
        ("face.deadbeef.png", false),
        ("0123456789ab.js", false),
        ("LICENSE.0123456789ab", true),
        ("index.html", false),
    ] {
        let said = response::caching(Cache::Immutable, response::has_hash(name.as_bytes()));
        assert_eq!(said.as_deref(), Some(if hashed { forever } else { "no-cache" }), "{name}");
    }
}

// ---- what is kept, and when it is dropped --------------------------------------------------------------------------

/// A time so many milliseconds after the start.
fn at(milliseconds: u64) -> Time {
    Time::ZERO.after(Duration::from_millis(milliseconds))
}

/// Whether a path is kept as something every change of which is told.
fn is_watched(store: &Store, path: &str) -> bool {
    let name = [&1_u32.to_ne_bytes()[..], path.as_bytes()].concat();
    store.0.cache.get(&name).is_some_and(|(_, entry)| entry.watched)
}

#[test]
fn changes_are_seen_at_once_where_they_are_told() {
    let place = Place::new("changes");
    let mut store = place.store();
    let mut see = |path: &str| {
        let (status, body) = store.get(&place.settings, path, at(0));
        format!("{status} {}", String::from_utf8(body).unwrap())
    };
    assert_eq!(see("/site.css"), "200 body {}");
    fs::write(place.path("site.css"), "in place").unwrap();
    assert_eq!(see("/site.css"), "200 in place");
    fs::write(place.path("new"), "renamed").unwrap();
    fs::rename(place.path("new"), place.path("site.css")).unwrap();
    assert_eq!(see("/site.css"), "200 renamed");
    fs::remove_file(place.path("site.css")).unwrap();
    assert_eq!(see("/site.css"), "404 ");
    fs::write(place.path("site.css"), "back").unwrap();
    assert_eq!(see("/site.css"), "200 back");
    // On the way to it, too.
    fs::create_dir_all(place.path("a/b/c")).unwrap();
    fs::write(place.path("a/b/c/file"), "deep").unwrap();
    assert_eq!(see("/a/b/c/file"), "200 deep");
    fs::rename(place.path("a/b"), place.path("a/other")).unwrap();
    assert_eq!(see("/a/b/c/file"), "404 ");
    assert_eq!(see("/a/other/c/file"), "200 deep");
    fs::rename(place.path("a"), place.path("z")).unwrap();
    assert_eq!(see("/a/other/c/file"), "404 ");
    fs::create_dir_all(place.path("a/other/c")).unwrap();
    fs::write(place.path("a/other/c/file"), "made").unwrap();
    assert_eq!(see("/a/other/c/file"), "200 made");
    // An index that comes before the one that was found.
    assert_eq!(see("/dir/"), "200 <h1>dir</h1>");
    fs::remove_dir_all(place.path("dir/index.html")).unwrap();
    fs::write(place.path("dir/index.html"), "first").unwrap();
    assert_eq!(see("/dir/"), "200 first");
}

#[test]
fn what_inotify_cannot_tell_is_looked_at_once_a_second() {
    let place = Place::new("polled");
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let write = |name: &str, text: &str| {
        fs::write(place.path(name), text).unwrap();
        fs::File::options().write(true).open(place.path(name)).unwrap().set_modified(old).unwrap();
    };
    write("target", "one");
    symlink("target", place.path("link")).unwrap();
    fs::create_dir_all(place.base.join("elsewhere")).unwrap();
    write("../elsewhere/second-name", "one");
    fs::hard_link(place.base.join("elsewhere/second-name"), place.path("first-name")).unwrap();
    let mut store = place.store();
    for (path, change) in [("/link", "target"), ("/first-name", "../elsewhere/second-name")] {
        assert_eq!(store.get(&place.settings, path, at(0)), (200, b"one".to_vec()), "{path}");
        assert!(!is_watched(&store, &path[1..]), "{path}");
        write(change, "two, and longer");
        assert_eq!(store.get(&place.settings, path, at(999)), (200, b"one".to_vec()), "{path}");
        assert_eq!(store.get(&place.settings, path, at(1000)), (200, b"two, and longer".to_vec()), "{path}");
    }
    assert_eq!(store.get(&place.settings, "/index.html", at(1000)).0, 200);
    assert!(is_watched(&store, "index.html"));
}

#[test]
fn a_root_that_is_replaced_is_told_and_the_one_that_was_found_good_is_served() {
    let mut place = Place::new("release");
    for release in ["one", "two"] {
        fs::create_dir_all(place.base.join(release)).unwrap();
        fs::write(place.base.join(release).join("a.txt"), release).unwrap();
    }
    let current = place.base.join("current");
    symlink("one", &current).unwrap();
    place.settings.root = current.clone();
    let mut store = place.store();
    symlink("two", place.base.join("next")).unwrap();
    fs::rename(place.base.join("next"), &current).unwrap();
    // It had not been opened yet.
    for time in [0, 1000] {
        assert_eq!(store.get(&place.settings, "/a.txt", at(time)), (200, b"one".to_vec()));
    }
    let told = |store: &mut Store| {
        let due = store.0.place((0, 0)).unwrap().due((0, 0), &place.settings);
        store.0.take_in((0, 0), Some((due.look)()))
    };
    assert!(told(&mut store));
    fs::remove_file(&current).unwrap();
    assert!(!told(&mut store), "what is not there is waited for");
    assert_eq!(store.get(&place.settings, "/a.txt", at(3000)), (200, b"one".to_vec()));
    // Found good by the master, another one has it from its start on.
    symlink("two", &current).unwrap();
    assert_eq!(place.store().get(&place.settings, "/a.txt", at(0)), (200, b"two".to_vec()));
}

#[test]
fn a_large_file_that_changes_is_not_what_its_segment_says() {
    let place = Place::new("stamp");
    fs::write(place.path("huge.bin"), pattern(300_000)).unwrap();
    let mut store = place.store();
    let head = head("GET", &[]);
    let path = b"/huge.bin";
    let request = Request {
        head: &head,
        path,
        rest: path,
        query: None,
        encoded_slash: false,
        falls_back: false,
        waits: true,
        known: &Known::default(),
        led: None,
    };
    let Answer::Ready(mut ready) = store.serve_at(&place.settings, &request, at(0)) else {
        panic!("not whole")
    };
    let mut queue = crate::buf::Queue::new();
    queue.push(ready.take_body().unwrap());
    let (here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let first = crate::sys::transfer::write_queue(here.as_fd(), &mut queue).unwrap();
    assert!(first.count > 0);
    // Replaced by rename: the response goes on with the file it began with.
    fs::write(place.path("new"), "other").unwrap();
    fs::rename(place.path("new"), place.path("huge.bin")).unwrap();
    let (_, stamp, file) = match queue.front() {
        crate::buf::Front::File { offset, stamp, file, .. } => (offset, stamp.unwrap(), Rc::clone(file)),
        other => panic!("{other:?}"),
    };
    assert_eq!(crate::sys::file::metadata(file.as_fd()).unwrap().stamp(), stamp);
    // Truncated or written to: the connection is broken off.
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
    fs::File::options().write(true).open(link).unwrap().set_len(200_000).unwrap();
    let (other, _end) = std::os::unix::net::UnixStream::pair().unwrap();
    other.set_nonblocking(true).unwrap();
    let error = crate::sys::transfer::write_queue(other.as_fd(), &mut queue).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_small_cache_serves_the_same_bytes() {
    let place = Place::new("tiny");
    for (entries, memory) in [(0, 0), (1, 8 << 10), (2, 64 << 10)] {
        let mut store = place.store();
        store.0.cache = Cache::new(entries, memory);
        for _ in 0..3 {
            assert_eq!(store.get(&place.settings, "/large.bin", at(0)), (200, pattern(100_000)));
            assert_eq!(store.get(&place.settings, "/site.css", at(0)), (200, b"body {}".to_vec()));
            assert_eq!(store.get(&place.settings, "/none", at(0)).0, 404);
        }
    }
}

#[test]
fn names_tried_at_random_leave_no_trace() {
    let place = Place::new("random");
    let mut store = place.store();
    assert_eq!(store.get(&place.settings, "/site.css", at(0)).0, 200);
    for number in 0..20_000 {
        assert_eq!(store.get(&place.settings, &format!("/none-{number}"), at(0)).0, 404);
        if number % 50 == 0 {
            store.get(&place.settings, "/site.css", at(0));
        }
    }
    assert!(is_watched(&store, "site.css"), "what is asked for often stays");
    assert!(store.0.watches.size() < 10_000, "{}", store.0.watches.size());
}

fn drop_from_memory(path: &std::path::Path) -> bool {
    crate::sys::page_cache::tests::drop_from_memory(&fs::File::open(path).unwrap())
}

#[test]
fn what_is_on_disk_only_is_to_be_read_first() {
    let mut place = Place::new("on-disk");
    place.settings.precompressed = vec![Encoding::Gzip];
    place.settings.stand_in = Some("large.bin".into());
    fs::write(place.path("large.bin.gz"), pattern(70_000)).unwrap();
    let cases = [(100, 8 << 20), (0, 0)].map(|room| [(room, &b"/large.bin"[..]), (room, b"/none")]);
    // Being asked, the kernel begins to read; a quick disk may be done before it answers. So each case has several tries.
    let mut tries = cases.into_iter().flatten().flat_map(|case| [case; 50]).peekable();
    while let Some(((entries, memory), path)) = tries.next() {
        let dropped = ["large.bin", "large.bin.gz"].map(|name| drop_from_memory(&place.path(name)));
        let head = head("GET", &[("Accept-Encoding", "gzip")]);
        let request = Request {
            head: &head,
            path,
            rest: path,
            query: None,
            encoded_slash: false,
            falls_back: false,
            waits: false,
            known: &Known::default(),
            led: None,
        };
        let mut store = place.store();
        store.0.cache = Cache::new(entries, memory);
        let mut first = 0;
        let answer = loop {
            match serve(&mut store, &place.settings, &request) {
                Answer::First(First::Near(on_disk)) => {
                    first += 1;
                    assert!(first <= 4, "asked for again although it was read");
                    read_at(on_disk.file.as_fd(), 0, on_disk.len as usize).unwrap();
                }
                answer => break answer,
            }
        };
        assert_eq!((head_of(&answer).status.0, body(&answer)), (200, pattern(70_000)));
        let is_last = tries.peek() != Some(&((entries, memory), path));
        assert!(first > 0 || dropped == [false, false] || !is_last, "it was read by the loop");
        if first > 0 {
            while tries.next_if_eq(&((entries, memory), path)).is_some() {}
        }
        // Told to wait, it does.
        drop_from_memory(&place.path("large.bin.gz"));
        let answer = serve(&mut place.store(), &place.settings, &Request { waits: true, ..request });
        assert_eq!(body(&answer), pattern(70_000));
    }
}
