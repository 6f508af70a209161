//! The cases of the cache's core (`src/cache/tests/cases`) once more, played by the real program in front of a server that
//! answers each as its case says: those for which nobody has to wait. Nothing gets fresher with time, so what is a hit after a
//! minute is one at once.

#[path = "../../src/cache/tests/cases/mod.rs"]
mod cases;

use crate::harness::{Connection, Reply, Server, Setup, Upstream};
use cases::{GROUPS, Group, Row};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

/// Responses by path.
type Answers = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

const BODY: &str = "0123456789";

/// As dates stand in the table.
fn dated(value: &str) -> String {
    let offset = value.strip_prefix('@').and_then(|offset| offset.parse::<i64>().ok());
    let Some(offset) = offset.filter(|offset| offset.abs() < 1_000_000_000) else {
        return value.to_owned();
    };
    let moment = Timestamp::from_second(Timestamp::now().as_second() + offset).unwrap();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The first word of a line of the table, and name and value of the fields behind it.
fn split(line: &str) -> (&str, Vec<(String, String)>) {
    let mut parts = line.split('|').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let field = |part: &str| part.split_once(':').map(|(name, value)| (name.to_owned(), dated(value.trim())));
    (first, parts.filter_map(field).collect())
}

fn response(line: &str) -> Vec<u8> {
    let (status, fields) = split(line);
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let body = match status {
        "204" | "304" => "\r\n".to_owned(),
        _ => format!("Content-Length: {}\r\n\r\n{BODY}", BODY.len()),
    };
    format!("HTTP/1.1 {status} As Said\r\n{fields}{body}").into_bytes()
}

/// `cache_responses` with the settings of a group; `None`: they need time.
fn how(settings: &str) -> Option<String> {
    let (mut keys, mut statuses) = (Vec::new(), Vec::new());
    for word in settings.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap();
        match name.split_once('.') {
            Some((_, status)) => statuses.push(format!("{status}: \"{value}s\"")),
            None if name == "delay" => return None,
            None if name == "client" => keys.push("client_directives: Honour".to_owned()),
            None => keys.push(format!("{name}: \"{value}s\"")),
        }
    }
    keys.push(format!("statuses: {{{}}}", statuses.join(", ")));
    Some(format!("({})", keys.join(", ")))
}

/// Whether a case comes out at once as it does later, and in the program as in the core alone.
fn is_playable((_, stored_by, said, asked, after, wanted): Row) -> bool {
    // Stale only later; or the point of the case is a moment that has passed.
    let is_soon = after == 0
        || !["fwd=stale", "fwd=request", "504", "stale"].iter().any(|late| wanted.starts_with(late));
    // HEAD is sent on as a GET; the clock of this machine is not that of the table, and goes on.
    let is_the_same = !stored_by.starts_with("HEAD")
        && !said.contains("@17")
        && !asked.contains("@1 ")
        && !asked.ends_with("@1");
    is_soon && is_the_same
}

struct Played<'a> {
    server: &'a Server,
    upstream: &'a Upstream,
    answers: &'a Answers,
}

impl Played<'_> {
    fn ask(&self, line: &str, path: &str) -> Reply {
        let (method, fields) = split(line);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let method = if method.is_empty() { "GET" } else { method };
        Connection::open(self.server.address).unwrap().request(method, path, &fields, b"").unwrap()
    }

    /// What is wrong with what comes of a case.
    fn play(&self, (_, stored_by, said, asked, _, wanted): Row, path: &str) -> Option<String> {
        self.answers.lock().unwrap().insert(path.to_owned(), response(said));
        let first = self.ask(stored_by, path);
        let reply = self.ask(asked, path);
        let requests = self.upstream.take_received().len();
        let word = wanted.split([' ', '=']).next().unwrap_or_default();
        let wants_two = matches!(word, "refused" | "fwd");
        let status: u16 = said.split(' ').next().unwrap().parse().unwrap();
        let status = match word {
            "304" | "206" | "416" | "504" => word.parse().unwrap(),
            _ => status,
        };
        let mut wrong = Vec::new();
        if (requests == 2) != wants_two {
            wrong.push(format!("{requests} requests came through"));
        }
        if !wants_two && reply.status != status {
            wrong.push(format!("status {}", reply.status));
        }
        if let Some(why) = wanted.strip_prefix("refused ") {
            let said = first.all("cache-status").join(", ");
            if said.contains("; stored")
                || said.contains("; detail=") && !said.contains(&format!("; detail={why}"))
            {
                wrong.push(said);
            }
        }
        if word == "hit" && status == 200 && !asked.starts_with("HEAD") && reply.text() != BODY {
            wrong.push(format!("body {:?}", reply.text()));
        }
        if let ("206", [part]) = (
            word,
            wanted
                .split(' ')
                .skip(1)
                .filter(|part| !part.contains(['+', ':']))
                .collect::<Vec<_>>()
                .as_slice(),
        ) && let Some((first, last)) = part.split_once('-')
            && reply.text() != BODY[first.parse().unwrap()..=last.parse().unwrap()]
        {
            wrong.push(format!("part {:?}", reply.text()));
        }
        wrong.extend(fields_wrong(&reply, wanted));
        (!wrong.is_empty()).then(|| format!("{}; it came {reply:?} after {first:?}", wrong.join("; ")))
    }
}

/// What the head has that it should not, or the other way round; but for what depends on the moment.
fn fields_wrong(reply: &Reply, wanted: &str) -> Option<String> {
    let mut checks = wanted.split(" +").flat_map(|check| check.split(" -").take(1)).skip(1);
    let missing = checks.find(|check| {
        let (name, value) = check.split_once(": ").unwrap();
        let value = value.split(" ttl=").next().unwrap().split(" once=").next().unwrap();
        !matches!(name, "Age") && !reply.all(name).contains(&value)
    });
    let mut gone = wanted.split(" -").skip(1).map(|check| check.split(' ').next().unwrap());
    // Ours is another one.
    let too_many = gone.find(|name| *name != "X-Request-Id" && !reply.all(name).is_empty());
    missing.map(|check| format!("without {check}")).or(too_many.map(|name| format!("with {name}")))
}

#[test]
fn the_program_does_as_its_core_says() {
    let answers = Answers::default();
    let known = Arc::clone(&answers);
    let upstream = Upstream::start(move |request, stream| {
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let answer = known.lock().unwrap().get(path).cloned().unwrap_or_default();
        stream.write_all(&answer).is_ok()
    });
    let groups: Vec<(&Group, String)> = GROUPS
        .iter()
        .flat_map(|groups| *groups)
        .filter_map(|group| Some((group, how(group.settings)?)))
        .collect();
    let places: String = groups
        .iter()
        .enumerate()
        .map(|(number, (_, how))| {
            format!("(path: \"/{number}/\", to: Proxy(\"behind\"), cache_responses: {how}),")
        })
        .collect();
    let server = Setup::new(&format!(
        r#"sites: [(listen: ["{{address}}"], locations: [{places}])], upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ))
    .start();
    let played = Played { server: &server, upstream: &upstream, answers: &answers };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (number, (group, _)) in groups.iter().enumerate() {
        for (at, row) in group.rows.iter().enumerate().filter(|(_, row)| is_playable(**row)) {
            count += 1;
            if let Some(complaint) = played.play(*row, &format!("/{number}/{at}")) {
                wrong.push(format!("{}: {row:?}: {complaint}", group.section));
            }
        }
    }
    assert!(count > 220, "only {count} cases");
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// A server in front of one that answers this to whoever asks how many have asked before.
fn behind(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static, how: &str) -> (Upstream, Server) {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::start(move |_, stream| {
        let before = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        stream.write_all(&response(answer(before))).is_ok()
    });
    let server = Setup::new(&format!(
        r#"sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"), cache_responses: {how})])],
        upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ))
    .start();
    (upstream, server)
}

fn ask(server: &Server, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request("GET", "/a", fields, b"").unwrap()
}

/// One client must not be able to switch the cache off for all with a field.
#[test]
fn who_comes_with_authorization_leaves_what_is_kept_for_others() {
    let (upstream, server) = behind(|_| "200 | Cache-Control: max-age=60 | ETag: \"a\"", "true");
    assert_eq!(ask(&server, &[]).status, 200);
    for _ in 0..3 {
        let reply = ask(&server, &[("Authorization", "Basic YTpi")]);
        assert!(reply.field("cache-status").unwrap().starts_with("hatchery; fwd=request"), "{reply:?}");
        let reply = ask(&server, &[]);
        assert!(reply.field("cache-status").unwrap().starts_with("hatchery; hit"), "{reply:?}");
    }
    assert_eq!(upstream.received().len(), 4);
    // What another one was asked about is not asked about for this one.
    assert!(upstream.received().iter().all(|request| request.all("if-none-match").is_empty()));
}

#[test]
fn after_a_304_about_something_else_it_is_asked_for_all_of_it() {
    let answer = |before| match before {
        0 => "200 | Cache-Control: max-age=0 | ETag: \"a\"",
        1 => "304 | ETag: \"b\"",
        _ => "200 | Cache-Control: max-age=60 | ETag: \"b\"",
    };
    let (upstream, server) = behind(answer, "true");
    assert_eq!(ask(&server, &[]).status, 200);
    let whole = ask(&server, &[]);
    assert_eq!((whole.status, whole.field("etag")), (200, Some("\"b\"")));
    assert!(ask(&server, &[]).field("cache-status").unwrap().starts_with("hatchery; hit"));
    let received = upstream.received();
    let asked: Vec<_> = received.iter().map(|request| request.all("if-none-match")).collect();
    assert_eq!(asked, [vec![], vec!["\"a\""], vec![]]);
}
