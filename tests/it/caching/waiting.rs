//! Those who wait for another one's fetch, when nothing can come of it: none of them waits for the next one.

use super::{asked, configuration, front_with, get, is_hit, response, setup};
use crate::harness::{Connection, Directory, Server, Setup, Upstream, keep_loading, now};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

const MANY: usize = 24;

/// So long an answer takes. One after the other all would take ten seconds.
const SLOW: Duration = Duration::from_millis(400);

/// Answers slowly; `false` ends the connection.
fn slow(answer: impl Fn(&mut TcpStream) -> bool + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |_, stream| {
        keep_loading(SLOW);
        answer(stream)
    })
}

/// All ask at once; what each gets, none having waited for more than a few of the others.
fn all_get(server: &Server, path: &str) -> Vec<(u16, usize)> {
    let began = now();
    let mut clients: Vec<_> = (0..MANY).map(|_| Connection::open(server.address).unwrap()).collect();
    for client in &mut clients {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).unwrap();
    }
    let replies = clients.iter_mut().map(|client| {
        let reply = client.reply("GET").unwrap();
        (reply.status, reply.body.len())
    });
    let replies = replies.collect();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    replies
}

fn large(length: usize) -> Vec<u8> {
    response(&format!("200 OK\nCache-Control: max-age=60\n\n{}", "x".repeat(length)), 1)
}

fn chunked(length: usize) -> Vec<u8> {
    let chunk = format!("{:x}\r\n{}\r\n", length / 4, "x".repeat(length / 4));
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    format!("{head}{}0\r\n\r\n", chunk.repeat(4)).into_bytes()
}

#[test]
fn what_is_announced_as_too_large_is_not_waited_for_and_later_ranges_are_passed_on() {
    let upstream = slow(|stream| stream.write_all(&large(4000)).is_ok());
    let server = front_with(&upstream, "(lock_timeout: \"1m\")", "cache: (max_object: \"1KiB\"),");
    assert_eq!(all_get(&server, "/a"), [(200, 4000); MANY]);
    let reply = super::ask(&server, "GET", "/a", &[("Range", "bytes=0-1")]);
    let received = upstream.received();
    let last = received.last().unwrap();
    assert_eq!(last.all("range"), ["bytes=0-1"], "{last:?} {:?}", reply.fields);
}

#[test]
fn what_turns_out_to_be_too_large_on_its_way_is_not_waited_for() {
    let upstream = slow(|stream| stream.write_all(&chunked(4000)).is_ok());
    let server = front_with(&upstream, "(lock_timeout: \"1m\")", "cache: (max_object: \"1KiB\"),");
    assert_eq!(all_get(&server, "/a"), [(200, 4000); MANY]);
}

#[test]
fn what_has_no_room_in_memory_is_not_waited_for() {
    let upstream = slow(|stream| stream.write_all(&large(3_000_000)).is_ok());
    let server = front_with(&upstream, "(lock_timeout: \"1m\")", "");
    assert_eq!(all_get(&server, "/a"), [(200, 3_000_000); MANY]);
}

#[test]
fn what_goes_to_a_file_only_is_fetched_once_for_all_who_wait() {
    let upstream = slow(|stream| stream.write_all(&large(3_000_000)).is_ok());
    let place = Directory::new();
    let top = format!("cache: (path: \"{}\"),", place.path().join("kept").display());
    let server = front_with(&upstream, "(lock_timeout: \"1m\")", &top);
    assert_eq!(all_get(&server, "/a"), [(200, 3_000_000); MANY]);
    assert_eq!(asked(&upstream, "/a"), 1);
    let reply = get(&server, "/a");
    assert!(is_hit(&reply), "{} {:?}", reply.status, reply.fields);
}

#[test]
fn a_fault_is_seen_by_all_at_once() {
    let upstream = slow(|_| false);
    let server = setup(&upstream, "(lock_timeout: \"1m\")", "").start().tolerant(&["behind"]);
    assert!(all_get(&server, "/a").iter().all(|(status, _)| *status == 502));
}

#[test]
fn an_error_with_a_page_of_the_site_is_seen_by_all_at_once() {
    let upstream = slow(|stream| stream.write_all(&response("404 Not Found\n\nnot here", 1)).is_ok());
    let configuration = configuration(upstream.address, "(lock_timeout: \"1m\")", "")
        .replace("Proxy(\"behind\")", "Proxy(name: \"behind\", intercept_errors: true)")
        .replace("locations:", "error_pages: {404: \"404.html\"}, locations:");
    let setup = Setup::new(&configuration);
    setup.directory.write("404.html", "ours");
    assert_eq!(all_get(&setup.start(), "/a"), [(404, 4); MANY]);
}
