//! What is one response to whoever looks only at the URL, and is not: what an app leads to, what a rewrite makes of a URL, what
//! conditions choose, and what is for one user.

use super::{ask, asked, get, is_hit, origin, status_of};
use crate::harness::{SOON, Server, Setup, Upstream, holds, wait_until};
use std::io::Write as _;

/// A server in front of one upstream, with these locations, and more.
fn start(upstream: &Upstream, locations: &str, more: &str) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 2),
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(listen: ["{{address}}"], cache_responses: true, locations: [{locations}])],
    upstreams: {{"behind": (servers: ["{}"])}}, {more}"#,
        upstream.address
    ));
    setup.directory.write("files/a.txt", "0123456789");
    setup.start()
}

const LEADS: &str = r#"
    (path: "/files/", internal: true, to: Files(root: "files")),
    (path: "/inside/", internal: true, to: Proxy("behind")),
    (path: "/", to: Proxy("behind")),"#;

#[test]
fn what_an_app_leads_to_is_for_who_has_asked() {
    let upstream = origin(&[
        ("/mine", "200 OK\nX-Accel-Redirect: /inside/secret\nCache-Control: max-age=60\n\n"),
        ("/mine", "403 Forbidden\n\nnot yours"),
        ("/inside/secret", "200 OK\nCache-Control: public, max-age=60\n\nsecret"),
        ("/file", "200 OK\nX-Accel-Redirect: /files/a.txt\nCache-Control: public, max-age=60\n\n"),
        ("/file", "200 OK\nX-Accel-Redirect: /files/a.txt\n\n"),
        ("/file", "403 Forbidden\n\nnot yours"),
    ]);
    let server = start(&upstream, LEADS, "");
    let reply = get(&server, "/mine");
    assert_eq!((reply.status, reply.text().as_str()), (200, "secret"), "{reply:?}");
    for _ in 0..4 {
        let reply = get(&server, "/mine");
        assert_eq!((reply.status, is_hit(&reply)), (403, false), "{reply:?}");
    }
    // Who answers instead is asked what the client has asked.
    let part = ask(&server, "GET", "/file", &[("Range", "bytes=2-4")]);
    assert_eq!((part.status, part.text().as_str()), (206, "234"), "{part:?}");
    let head = ask(&server, "HEAD", "/file", &[]);
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")), "{head:?}");
    assert_eq!(get(&server, "/file").status, 403);
}

#[test]
fn our_own_question_is_not_answered_by_whom_an_app_leads_to() {
    // What is kept has the validator that the other place has, too.
    const OLD: &str = "200 OK\nCache-Control: max-age=60\nAge: 60\nETag: \"x\"\n\nold";
    let upstream = origin(&[
        ("/a", OLD),
        ("/a", "200 OK\nX-Accel-Redirect: /inside/a\n\n"),
        ("/inside/a", "200 OK\nCache-Control: max-age=60\nETag: \"x\"\n\nother"),
    ]);
    let server = start(&upstream, LEADS, "");
    assert_eq!(get(&server, "/a").text(), "old");
    let reply = get(&server, "/a");
    assert_eq!((reply.status, reply.text().as_str()), (200, "other"), "{reply:?}");
    assert!(upstream.last().all("if-none-match").is_empty(), "{:?}", upstream.last());
}

#[test]
fn who_waits_goes_on_when_an_app_leads_elsewhere() {
    // Its response ends only when the others have had theirs.
    let (others, had) = std::sync::mpsc::channel();
    let had = std::sync::Mutex::new(had);
    let first = std::sync::atomic::AtomicBool::new(true);
    let upstream = Upstream::start(move |request, stream| {
        let target = request.line.split(' ').nth(1).unwrap_or_default();
        if target == "/inside/slow" {
            let is_first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
            let begun = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsl").is_ok();
            if is_first {
                let _ = had.lock().unwrap().recv_timeout(SOON);
            }
            return begun && stream.write_all(b"ow").is_ok();
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inside/slow\r\nContent-Length: 0\r\n\r\n")
            .is_ok()
    });
    let server = start(&upstream, LEADS, "");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| get(&server, "/slow"));
        wait_until(SOON, "the other place is asked", || {
            let count = asked(&upstream, "/inside/slow");
            holds(count == 1, count)
        });
        assert_eq!(get(&server, "/slow").text(), "slow");
        assert!(!slow.is_finished());
        others.send(()).unwrap();
        assert_eq!(slow.join().unwrap().text(), "slow");
    });
}

/// Says how the URL was written, and how often it was asked.
const APP: &str = r#"
count = 0
def application(environ, start_response):
    global count
    count += 1
    start_response("200 OK", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=600")])
    return [f"{environ['REQUEST_URI']} {count}".encode()]
"#;

#[test]
fn urls_that_are_rewritten_to_one_are_several() {
    let setup = Setup::new(
        r#"
    workers: (processes: 2),
    conditions: {"mobile": (header: ("User-Agent", "phone"))},
    sites: [(listen: ["{address}"], cache_responses: (purge: (allow: ["127.0.0.0/8"])),
             rewrite: [(regex: "^/m/", to: "/index.php?mobile=1", when: "mobile")], locations: [
        (path: "/index.php", to: App("says")),
        (path: "/", rewrite: "/index.php?$query"),
    ])],
    apps: {"says": (module: "says", chdir: "{dir}", processes: 1)},"#,
    );
    setup.directory.write("says.py", APP);
    let server = setup.start();
    let text = |path| get(&server, path).text();
    assert_eq!(text("/a?x=1"), "/a?x=1 1");
    assert_eq!(text("/b?x=1"), "/b?x=1 2");
    assert_eq!((text("/a?x=1"), text("/b?x=1")), ("/a?x=1 1".into(), "/b?x=1 2".into()));
    assert_eq!(text("/index.php?x=1"), "/index.php?x=1 3");
    // One URL that is rewritten in two ways is two.
    assert_eq!(text("/m/a"), "/m/a 4");
    let mobile = [("User-Agent", "phone")];
    let of_phone = || ask(&server, "GET", "/m/a", &mobile).text();
    assert_eq!((of_phone(), of_phone(), text("/m/a")), ("/m/a 5".into(), "/m/a 5".into(), "/m/a 4".into()));
    // What changes it takes out that one, as it was written.
    assert_eq!(ask(&server, "POST", "/a?x=1", &[]).text(), "/a?x=1 6");
    assert_eq!((text("/a?x=1"), text("/b?x=1")), ("/a?x=1 7".into(), "/b?x=1 2".into()));
    assert_eq!(ask(&server, "PURGE", "/b?x=1", &[]).status, 200);
    assert_eq!((text("/a?x=1"), text("/b?x=1")), ("/a?x=1 7".into(), "/b?x=1 8".into()));
    let purged = server.command(&["purge", "http://localhost/m/a"]);
    assert_eq!(purged.code, Some(0), "{purged:?}");
    assert_eq!((text("/m/a"), of_phone()), ("/m/a 9".into(), "/m/a 10".into()));
}

#[test]
fn places_that_conditions_choose_share_nothing() {
    let upstream = origin(&[
        ("/yes/a", "200 OK\nCache-Control: max-age=60\n\nyes"),
        ("/no/a", "200 OK\nCache-Control: max-age=60\n\nno"),
    ]);
    let server = start(
        &upstream,
        r#"(path: "/", when: "beta", to: Proxy(name: "behind", rewrite: "/yes$path")),
           (path: "/", unless: "beta", to: Proxy(name: "behind", rewrite: "/no$path")),"#,
        r#"conditions: {"beta": (header: ("X-Beta", "1"))},"#,
    );
    let beta = || ask(&server, "GET", "/a", &[("X-Beta", "1")]).text();
    for _ in 0..4 {
        assert_eq!((beta(), get(&server, "/a").text()), ("yes".into(), "no".into()));
    }
    assert_eq!((asked(&upstream, "/yes/a"), asked(&upstream, "/no/a")), (1, 1));
}

/// Who asks says the cookie; nobody without one.
fn login() -> Upstream {
    Upstream::start(|request, stream| {
        let answer = match request.all("cookie").first() {
            Some(user) => format!("204 No Content\r\nX-Auth-User: {user}\r\n"),
            None => "401 Unauthorized\r\nContent-Length: 0\r\n".to_owned(),
        };
        stream.write_all(format!("HTTP/1.1 {answer}\r\n").as_bytes()).is_ok()
    })
}

fn start_with_login(upstream: &Upstream, login: &Upstream) -> Server {
    let locations = r#"(path: "/", to: Proxy("behind"), auth: (request: (
        to: Proxy("login"), path: "/verify", user: "x-auth-user", pass: {"X-User": "x-auth-user"}))),"#;
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], cache_responses: true, locations: [{locations}])],
    upstreams: {{"behind": (servers: ["{}"]), "login": (servers: ["{}"])}},"#,
        upstream.address, login.address
    ));
    setup.start()
}

#[test]
fn what_a_user_gets_is_kept_only_if_it_says_that_it_is_for_all() {
    let upstream = origin(&[
        ("/own", "200 OK\nCache-Control: max-age=60\n\n{n}"),
        ("/all", "200 OK\nCache-Control: public, max-age=60\n\n{n}"),
        ("/shared", "200 OK\nCache-Control: s-maxage=60\n\n{n}"),
    ]);
    let login = login();
    let server = start_with_login(&upstream, &login);
    let as_user = |path, user| ask(&server, "GET", path, &[("Cookie", user)]);
    let own = [as_user("/own", "alice"), as_user("/own", "bob"), as_user("/own", "alice")];
    assert_eq!(own.each_ref().map(|reply| reply.text()), ["1", "2", "3"], "{own:?}");
    assert!(status_of(&own[0]).ends_with("detail=authorization"), "{own:?}");
    for path in ["/all", "/shared"] {
        assert_eq!((as_user(path, "alice").text(), as_user(path, "bob").text()), ("1".into(), "1".into()));
        assert!(is_hit(&as_user(path, "bob")), "{path}");
        assert_eq!(get(&server, path).status, 401, "{path}");
    }
}

#[test]
fn what_is_fetched_anew_behind_a_stale_answer_is_fetched_for_who_has_asked() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: public, max-age=60, stale-while-revalidate=600\nAge: 60\n\n{n}"),
        ("/a", "200 OK\nCache-Control: public, max-age=60\n\n{n}"),
    ]);
    let login = login();
    let server = start_with_login(&upstream, &login);
    let as_user = |user| ask(&server, "GET", "/a", &[("Cookie", user)]);
    assert_eq!((as_user("alice").text(), as_user("bob").text()), ("1".into(), "1".into()));
    wait_until(SOON, "the new one", || {
        let reply = as_user("bob");
        holds(reply.text() == "2" && is_hit(&reply), reply)
    });
    let users: Vec<String> =
        upstream.received().iter().map(|received| received.all("x-user").concat()).collect();
    assert_eq!(users, ["alice", "bob"]);
}

#[test]
fn what_proxies_say_of_the_url_counts_where_it_is_believed() {
    for (trusted, texts) in [(r#"["127.0.0.0/8"]"#, ["1", "2", "3", "1"]), (r#"["192.0.2.1"]"#, ["1"; 4])] {
        let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=60\n\n{n}")]);
        let setup = Setup::new(&format!(
            r#"
    workers: (processes: 2),
    sites: [(listen: ["{{address}}"], cache_responses: true, trusted_proxies: {trusted}, locations: [
        (path: "/", to: Proxy("behind")),
    ])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
            upstream.address
        ));
        let server = setup.start();
        let with = |name, value| ask(&server, "GET", "/a", &[(name, value)]).text();
        let came = [
            get(&server, "/a").text(),
            with("X-Forwarded-Host", "evil.example"),
            with("X-Forwarded-Prefix", "/b"),
            with("X-Forwarded-For", "192.0.2.7"),
        ];
        assert_eq!(came, texts, "{trusted}");
    }
}
