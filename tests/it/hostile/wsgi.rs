//! A WSGI app for each mistake that PEP 3333 knows: what the client gets, what the log says, and that the process goes on.

use crate::harness::{Connection, SOON, Server, Setup, get, holds, wait_until};
use std::time::Duration;

fn start(keys: &str) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{{address}}"], locations: [
        (path: "/mounted", to: App(name: "hostile", mount: "/mounted")),
        (path: "/", to: App("hostile")),
    ])],
    apps: {{"hostile": (module: "hostile", chdir: "{{apps}}/hostile", home: "{{venv}}", processes: 1, {keys})}},"#
    ))
    .start()
}

fn pid(server: &Server) -> Option<u32> {
    server.pool("hostile").children.first().map(|child| child.pid)
}

/// What a client sees of a response.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// All of it.
    Whole(u16, &'static str),
    /// The page of the server for an uncaught exception.
    Page,
    /// A head with this status, and no end.
    Broken(u16),
}
use Seen::{Broken, Page, Whole};

fn saw(server: &Server, method: &str, path: &str, wanted: &Seen) {
    let mut client = Connection::open(server.address).unwrap();
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    let reply = client.reply(method);
    match (reply, wanted) {
        (Ok(reply), Whole(status, text)) => {
            assert_eq!((reply.status, reply.text().as_str()), (*status, *text), "{path}");
            assert!(!reply.text().contains("X-Request"), "{path}");
            // Its connection is of further use.
            assert_eq!(client.get("/hello").unwrap().text(), "hello", "{path}");
        }
        (Ok(reply), Page) => {
            assert_eq!(reply.status, 500, "{path}");
            assert!(reply.text().contains("<html"), "{path}: {}", reply.text());
            assert_eq!(client.get("/hello").unwrap().text(), "hello", "{path}");
        }
        (Err(_), Broken(status)) => {
            let mut client = Connection::open(server.address).unwrap();
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
            assert_eq!(client.reply_head().unwrap().status, *status, "{path}");
            let rest = client.rest().unwrap();
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{path}: an end that is none");
        }
        (seen, wanted) => panic!("{path}: {seen:?}, not {wanted:?}"),
    }
}

#[test]
fn every_mistake_costs_its_own_request_and_is_named() {
    let server = start("").tolerant(&[
        "[wrong-length]",
        "[truncated]",
        "the app failed in the middle of the response",
    ]);
    let process = pid(&server);
    for (path, wanted, told) in [
        ("/fail_early", Page, "ValueError: too early"),
        ("/fail_after_start", Page, "ValueError: after start_response"),
        ("/fail_first", Page, "ValueError: in the first chunk"),
        ("/fail_later", Broken(200), "ValueError: in the second chunk"),
        ("/fail_in_close", Whole(200, "fine"), "ZeroDivisionError"),
        ("/exits", Page, "SystemExit: 5"),
        ("/no_start", Page, "the app did not call start_response()"),
        ("/nothing", Page, "the app must return an iterable of bytes"),
        ("/start_twice", Page, "called a second time without exc_info"),
        ("/replaced", Whole(503, "sorry"), ""),
        ("/replaced_too_late", Broken(200), "KeyError: 'too late for another head'"),
        ("/text", Page, "the body must be bytes, not str"),
        ("/split_header", Page, "a control character in the status or a header"),
        ("/split_header_nul", Page, "a control character in the status or a header"),
        ("/wide_header", Page, "UnicodeEncodeError"),
        ("/tuple_headers", Page, "the headers must be a list, not tuple"),
        ("/bad_status", Page, "the status must be like '200 OK', not 'OK'"),
        ("/informational", Page, "the status of a response is at least 200"),
        ("/mistaken?bytes", Page, "as [b'text'], not bytes"),
        ("/mistaken?text", Page, "as [b'text'], not str"),
        ("/mistaken?length", Page, "Content-Length a number"),
        ("/mistaken?negative", Page, "Content-Length a number"),
        ("/bad_start_closing", Page, "the status must be like '200 OK', not 'OK'"),
        ("/bad_hints?split", Page, "a control character in an early hint"),
        ("/hop_by_hop", Whole(200, "hop"), ""),
        ("/too_short", Broken(200), "7 bytes instead of 30"),
        ("/too_long", Whole(200, "lon"), ""),
        ("/late_write", Whole(200, "whole"), "write() after the end of the response"),
        ("/later_write", Page, "write() after the end of the response"),
        ("/reset_content", Whole(205, ""), ""),
        ("/lazy", Whole(299, "lazy"), ""),
        ("/write", Whole(200, "one two three four"), ""),
        ("/file_in_memory", Whole(200, "in memory"), ""),
    ] {
        saw(&server, "GET", path, &wanted);
        if !told.is_empty() {
            server.wait_log(told);
        }
    }
    assert_eq!(pid(&server), process, "one process has served all of it");
    let reply = get(server.address, "/hop_by_hop");
    assert_ne!(reply.field("server"), Some("me"));
    assert_eq!(reply.all("transfer-encoding"), Vec::<&str>::new());
}

fn closed(server: &Server, name: &str) -> String {
    get(server.address, &format!("/count_closed?{name}")).text()
}

#[test]
fn an_iterable_is_closed_once_however_its_response_ends() {
    let server = start("").tolerant(&[
        "[wrong-length]",
        "[truncated]",
        "the app failed in the middle of the response",
    ]);
    for (method, path, name) in [
        ("GET", "/closing", "closing"),
        ("HEAD", "/closing", "closing"),
        ("GET", "/fail_first", "fail_first"),
        ("GET", "/bad_start_closing", "bad_start_closing"),
        ("HEAD", "/endless", "endless"),
        ("GET", "/endless_status?304", "endless_304"),
        ("GET", "/endless_status?204", "endless_204"),
        ("GET", "/endless_status?200", "endless_200"),
        ("GET", "/closing_status?200-8", "closing_status"),
        ("GET", "/closing_status?200-4", "closing_status"),
        ("HEAD", "/closing_status?200-8", "closing_status"),
    ] {
        let before: u32 = closed(&server, name).parse().unwrap();
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        client.reply(method).unwrap();
        // One process, one thread: who is answered after it sees all that it did.
        assert_eq!(closed(&server, name), (before + 1).to_string(), "{method} {path}");
    }
    server.wait_log("bytes instead of");
    // Where it breaks off: of itself, for want of bytes, or because the client leaves.
    for (path, name) in
        [("/fail_later", "fail_later"), ("/closing_status?200-30", "closing_status"), ("/endless", "endless")]
    {
        let before: u32 = closed(&server, name).parse().unwrap();
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        client.reply_head().unwrap();
        drop(client);
        wait_until(SOON, "its end", || {
            let count = closed(&server, name);
            holds(count == (before + 1).to_string(), count)
        });
    }
}

#[test]
fn a_request_that_breaks_off_reaches_no_app() {
    let server = start("");
    for head in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let mut client = Connection::open(server.address).unwrap();
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\nhello\r\n")).unwrap();
        drop(client);
    }
    let mut client = Connection::open(server.address).unwrap();
    let reply = client.request_chunked("POST", "/lines", &[], b"one\ntwo\nthree").unwrap();
    assert!(reply.text().starts_with("[b'one\\n', b'tw'"), "{}", reply.text());
    let dump = client.request_chunked("POST", "/dump", &[], b"12345").unwrap().text();
    for line in [
        "CONTENT_LENGTH='5'",
        "wsgi.input_terminated=True",
        "type=dict",
        "SERVER_PROTOCOL='HTTP/1.1'",
        "SCRIPT_NAME=''",
    ] {
        assert!(dump.lines().any(|found| found == line), "{line} in {dump}");
    }
    for absent in ["HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH", "PATH=", "HATCHERY_HOST_"] {
        assert!(!dump.lines().any(|found| found.starts_with(absent)), "{absent} in {dump}");
    }
    assert!(server.log().iter().all(|line| !line.contains("Traceback")), "no view has seen a part of a body");
}

#[test]
fn a_mount_ends_where_a_segment_does() {
    let server = start("");
    for (path, script, info) in [
        ("/mounted/dump", "/mounted", "/dump"),
        ("/mounted//dump", "/mounted", "//dump"),
        ("/%6dounted/dump", "/mounted", "/dump"),
    ] {
        let reply = get(server.address, path);
        if info == "//dump" {
            // The app looks at its second segment.
            assert_eq!(reply.status, 500, "{path}");
            continue;
        }
        let dump = reply.text();
        for line in [format!("SCRIPT_NAME='{script}'"), format!("PATH_INFO='{info}'")] {
            assert!(dump.lines().any(|found| found == line), "{path}: {line} in {dump}");
        }
    }
    // /mountedx is none of it, and the app below / knows no such page.
    assert_eq!(get(server.address, "/mountedx/dump").status, 500);
    server.wait_log("GET /mountedx/dump");
}

#[test]
fn the_validator_of_the_standard_library_finds_nothing() {
    let server = start("");
    let mut client = Connection::open(server.address).unwrap();
    for (case, status, text) in [
        ("plain", 200, "valid"),
        ("lazy", 200, "valid"),
        ("write", 200, "valid"),
        ("file", 200, "valid"),
        ("error", 500, "valid"),
        ("empty", 204, ""),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let reply = client.request(method, &format!("/validated?{case}"), &[], b"").unwrap();
            let text = if method == "HEAD" { "" } else { text };
            assert_eq!((reply.status, reply.text().as_str()), (status, text), "{method} {case}");
        }
    }
    let body = b"abcdef\nline\nlast one";
    assert_eq!(client.request("POST", "/validated?input", &[], body).unwrap().body, body);
    assert_eq!(client.request_chunked("POST", "/mounted/validated?input", &[], body).unwrap().body, body);
    let log = server.log();
    let found: Vec<_> =
        log.iter().filter(|line| line.contains("AssertionError") || line.contains("WSGIWarning")).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_view_that_never_answers_costs_its_process_and_the_next_one_serves() {
    let server = start(r#"timeout: "1s", threads: 1"#).tolerant(&["time-out", "[silent]"]);
    let gate = crate::harness::Gate::new(server.directory(), "gate");
    let before = pid(&server);
    let reply = get(server.address, &format!("/held?{}", server.directory().path().join("gate").display()));
    assert_eq!(reply.status, 504);
    wait_until(Duration::from_secs(60), "another process", || holds(pid(&server) != before, pid(&server)));
    assert_eq!(get(server.address, "/hello").text(), "hello");
    drop(gate);
}
