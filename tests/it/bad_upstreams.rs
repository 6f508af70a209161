//! Responses of upstreams that are none, or that two could read differently: 502 where nothing was sent yet, what came and no
//! end of our own where it was, a word for each reason, and the connection carries nothing else.

use crate::harness::http2;
use crate::harness::{Connection, Reply, SOON, Server, Setup, Upstream, get, holds, wait_until};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

/// What the upstream does after its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It waits for another request.
    Waits,
    /// It closes its side.
    Closes,
    /// It resets the connection.
    Resets,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// A page of this status, nothing of the response.
    Page(u16),
    /// The head, and this as the beginning of a body that has no end.
    Cut(&'static str),
    /// All of it: this body.
    Whole(&'static str),
}

use Gets::{Cut, Page, Whole};
use Then::{Closes, Resets, Waits};

/// Bytes of the upstream, what it does then, what the client gets, the word of the reason.
type Case = (&'static str, Then, Gets, &'static str);

const CASES: &[Case] = &[
    // ---- not HTTP ----
    ("garbage\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    (" HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("\0HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("<html>HTTP/0.9</html>", Closes, Page(502), "no-http"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Waits, Page(502), "no-http"),
    ("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64", Waits, Page(502), "no-http"),
    ("\x15\x03\x01\0\x02\x02\x28", Closes, Page(502), "no-http"),
    ("SSH-2.0-OpenSSH_9.2\r\n", Waits, Page(502), "no-http"),
    ("http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("HTTP/11 200 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "no-http"),
    ("ICY 200 OK\r\n\r\nmusic", Waits, Page(502), "no-http"),
    // ---- status ----
    ("HTTP/1.1 000 None\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 099 Low\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 1000 Long\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 -20 Less\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 2e2 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    ("HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-status"),
    // ---- fields ----
    ("HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX: \x1b[2J\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX: \x7f\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    ("HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-field"),
    (" X: folded\r\n\r\n", Waits, Page(502), "no-http"),
    // ---- lengths ----
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2.0\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", Waits, Page(502), "bad-length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 3\r\n\r\nok", Waits, Page(502), "bad-length"),
    // ---- codings ----
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Waits,
        Page(502),
        "two-framings",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        Waits,
        Page(502),
        "two-framings",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", Closes, Page(502), "bad-coding"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Waits, Page(502), "bad-coding"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Waits,
        Page(502),
        "bad-coding",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", Waits, Page(502), "bad-coding"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nok", Waits, Page(502), "bad-coding"),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Waits, Page(502), "bad-coding"),
    // ---- chunks ----
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Waits, Cut(""), "bad-chunk"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n", Waits, Cut(""), "bad-chunk"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n", Waits, Cut(""), "bad-chunk"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok3\r\n", Waits, Cut("ok"), "bad-chunk"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n",
        Waits,
        Cut("ok"),
        "bad-chunk",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n\r\n", Waits, Cut("ok"), "bad-chunk"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nFFFFFFFFFFFFFFFF2\r\nok\r\n",
        Waits,
        Cut("ok"),
        "bad-chunk",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nno colon\r\n\r\n",
        Waits,
        Cut("ok"),
        "bad-chunk",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"\r\nok\r\n", Waits, Cut(""), "bad-chunk"),
    // ---- early ends ----
    ("", Closes, Page(502), "closed"),
    ("", Resets, Page(502), "closed"),
    ("HTT", Closes, Page(502), "truncated"),
    ("HTTP/1.1 200 OK\r\nContent-Le", Closes, Page(502), "truncated"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Resets, Page(502), "truncated"),
    ("HTTP/1.1 103 Early Hints\r\n\r\n", Closes, Page(502), "truncated"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Closes, Cut("hel"), "truncated"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Closes, Cut(""), "truncated"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Closes, Cut("hel"), "truncated"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok", Closes, Cut("ok"), "truncated"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Closes, Cut("ok"), "truncated"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", Closes, Cut("ok"), "truncated"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n",
        Closes,
        Cut("ok"),
        "truncated",
    ),
    // ---- silence ----
    ("", Waits, Page(504), "silent"),
    ("HTTP/1.1 200 OK\r\nContent-Le", Waits, Page(504), "silent"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Waits, Cut("hel"), "stalled"),
    // ---- more than was announced ----
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", Waits, Whole("ok"), "excess"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
        Waits,
        Whole("ok"),
        "excess",
    ),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore",
        Waits,
        Whole("ok"),
        "excess",
    ),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", Waits, Whole(""), "excess"),
    ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\nok", Waits, Whole(""), "excess"),
    // ---- interim responses ----
    (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        Waits,
        Page(502),
        "unasked-upgrade",
    ),
    (
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Waits,
        Page(502),
        "no-http",
    ),
    // ---- what is odd, but no fault: RFC 9112 §5.1, §5.2 tell how to repair it ----
    ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", Waits, Whole("ok"), ""),
    ("HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok", Waits, Whole("ok"), ""),
    ("HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok", Waits, Whole("ok"), ""),
    ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", Waits, Whole("ok"), ""),
    ("HTTP/1.1 999 Last\r\nContent-Length: 2\r\n\r\nok", Waits, Whole("ok"), ""),
    ("HTTP/1.0 200 OK\r\n\r\nok", Closes, Whole("ok"), ""),
];

/// Those whose bytes are many.
fn long_cases() -> Vec<(String, Then, Gets, &'static str)> {
    let line = |count: usize| "X: y\r\n".repeat(count);
    let ok = "Content-Length: 2\r\n\r\nok";
    let hints = |count: usize| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count);
    vec![
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n{ok}", "x".repeat(64 << 10)), Waits, Page(502), "large-head"),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(65 << 10)), Waits, Page(502), "large-head"),
        (format!("HTTP/1.1 200 OK\r\n{}{ok}", line(300)), Waits, Page(502), "large-head"),
        (format!("HTTP/1.1 200 OK\r\n{}{ok}", line(200)), Waits, Whole("ok"), ""),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n{ok}", "x".repeat(60 << 10)), Waits, Whole("ok"), ""),
        (format!("{}HTTP/1.1 200 OK\r\n{ok}", hints(33)), Waits, Page(502), "many-interims"),
        (format!("{}HTTP/1.1 200 OK\r\n{ok}", hints(32)), Waits, Whole("ok"), ""),
    ]
}

fn cases() -> Vec<(String, Then, Gets, &'static str)> {
    let short = CASES.iter().map(|(bytes, then, gets, word)| ((*bytes).to_owned(), *then, *gets, *word));
    short.chain(long_cases()).collect()
}

/// Which connection was asked for what, in order.
type Asked = Arc<Mutex<Vec<(usize, String)>>>;

/// An upstream that answers `/3`, `/3/parts` with the bytes of that case, all else well.
fn upstream() -> (Upstream, Asked) {
    let asked = Asked::default();
    let into = Arc::clone(&asked);
    let cases = cases();
    let upstream = Upstream::raw(move |connection, mut stream| {
        while let Some(path) = read_path(&mut stream) {
            into.lock().unwrap().push((connection, path.clone()));
            let mut parts = path.trim_start_matches('/').split('/');
            let case = parts.next().and_then(|number| cases.get(number.parse::<usize>().ok()?));
            let Some((bytes, then, ..)) = case else {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").unwrap();
                continue;
            };
            let pieces = if parts.next().is_some() { 7 } else { 1 };
            for piece in bytes.as_bytes().chunks((bytes.len() / pieces).max(1)) {
                // The other side may have heard enough.
                if stream.write_all(piece).is_err() {
                    break;
                }
                std::thread::yield_now();
            }
            match then {
                Waits => {}
                Closes => return drop(stream.shutdown(Shutdown::Write)),
                Resets => {
                    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
                        .unwrap();
                    return;
                }
            }
        }
    });
    (upstream, asked)
}

fn read_path(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    String::from_utf8(head).ok()?.split(' ').nth(1).map(str::to_owned)
}

fn server(upstream: &Upstream) -> Server {
    Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (access: (format: Json)),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: ["{}"], timeout: "300ms")}},"#,
        upstream.address
    ))
    .start()
    .tolerant(&["proxy behind: "])
}

/// The head, as much of the body as came, and whether it ended as its head had announced.
fn ask(server: &Server, path: &str) -> (Reply, bool) {
    let mut connection = Connection::open(server.address).unwrap();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).unwrap();
    let mut reply = loop {
        let reply = connection.reply_head().unwrap();
        if reply.status >= 200 {
            break reply;
        }
    };
    let raw = connection.rest().unwrap();
    if reply.field("transfer-encoding") == Some("chunked") {
        let mut rest = &raw[..];
        while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
            let Some((chunk, after)) = rest[at + 2..].split_at_checked(size) else { break };
            if size == 0 {
                return (reply, after == b"\r\n");
            }
            reply.body.extend_from_slice(chunk);
            rest = after.strip_prefix(b"\r\n").unwrap_or_default();
        }
        return (reply, false);
    }
    let length = reply.field("content-length").map(|length| length.parse::<usize>().unwrap());
    let whole = length.is_none_or(|length| length == raw.len()) || matches!(reply.status, 204 | 304);
    reply.body = raw;
    (reply, whole)
}

#[test]
fn every_way_to_answer_badly_ends_honestly_and_has_a_word() {
    let (upstream, asked) = upstream();
    let server = server(&upstream);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut spoilt = Vec::new();
    for (number, (bytes, then, gets, word)) in cases().iter().enumerate() {
        for path in [format!("/{number}"), format!("/{number}/parts")] {
            let label = format!("{path}: {:?} {then:?}", bytes.get(..100).unwrap_or(bytes));
            let (reply, whole) = ask(&server, &path);
            let status = reply.status;
            match gets {
                Page(expected) => assert_eq!((status, whole), (*expected, true), "{label}: {reply:?}"),
                Cut(body) => {
                    assert_eq!(
                        (status, reply.text().as_str(), whole),
                        (200, *body, false),
                        "{label}: {reply:?}"
                    );
                }
                Whole(body) => {
                    assert_eq!((reply.text().as_str(), whole), (*body, true), "{label}: {reply:?}");
                    assert!(status != 502, "{label}: {reply:?}");
                }
            }
            if !word.is_empty() {
                *counts.entry((*word).to_owned()).or_default() += 1;
                spoilt.push(path.clone());
            }
            if !(word.is_empty() || *word == "excess") {
                let line = server.wait_log(&format!("\"target\":\"{path}\""));
                assert!(line.contains(&format!("\"fault\":\"{word}\"")), "{label}: {line}");
            }
            assert_eq!(get(server.address, "/well").text(), "well", "{label}");
        }
    }
    // What was said behind a response may come after the connection was laid aside.
    let excess = counts.remove("excess").unwrap();
    let shown = wait_until(SOON, "every reason is counted", || {
        let mut faults = server.status().upstreams[0].faults.clone();
        let seen = faults.remove("excess").unwrap_or_default();
        holds(faults == counts && (excess / 2..=excess).contains(&seen), &faults)
            .map(|()| server.command(&["status", "behind"]).stdout)
    });
    for word in counts.keys() {
        assert!(shown.contains(&format!("{word} {}", counts[word])), "{word}: {shown}");
        assert!(server.log().iter().any(|line| line.contains(&format!(" [{word}] ("))), "{word}");
    }
    // After a request that went wrong its connection carried nothing.
    let asked = asked.lock().unwrap();
    for path in &spoilt {
        let (at, (connection, _)) = asked.iter().enumerate().find(|(_, (_, known))| known == path).unwrap();
        let later: Vec<_> = asked[at + 1..].iter().filter(|(other, _)| other == connection).collect();
        assert!(later.is_empty(), "{path}: {later:?}");
    }
}

/// Who has no framing is told by a reset, or, over HTTP/2, for the stream alone.
#[test]
fn no_client_takes_what_was_cut_for_whole() {
    let (upstream, _) = upstream();
    let server = server(&upstream);
    let number = |wanted: &str| cases().iter().position(|(bytes, ..)| bytes == wanted).unwrap();
    let chunked = number("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
    let mut old = Connection::open(server.address).unwrap();
    old.send(format!("GET /{chunked} HTTP/1.0\r\n\r\n")).unwrap();
    let head = old.reply_head().unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, None));
    assert_eq!(old.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);

    let sized = number("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    let mut client = http2::Client::open(server.address, &[]).unwrap();
    for (path, body) in [(chunked, "ok"), (sized, "hel")] {
        let path = format!("/{path}");
        let stream = client.request(&client.asks("GET", &path), true).unwrap();
        while client.answers.get(&stream).is_none_or(|answer| answer.reset.is_none()) {
            client.step().unwrap();
        }
        let answer = client.answers.remove(&stream).unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.complete),
            (200, body, false),
            "{answer:?}"
        );
        assert!(answer.reset != Some(http2::NO_ERROR), "{answer:?}");
    }
    assert_eq!(client.get("/well").unwrap().text(), "well");
}

/// The first of each reason is told at once, alike ones are counted, none is lost.
#[test]
fn reasons_are_told_apart_in_the_log() {
    const TIMES: usize = 20;
    let (upstream, _) = upstream();
    let server = server(&upstream);
    let words = ["bad-length", "two-framings", "bad-status"];
    let number = |word: &str| cases().iter().position(|(.., known)| *known == word).unwrap();
    for word in words.repeat(TIMES) {
        assert_eq!(get(server.address, &format!("/{}", number(word))).status, 502);
    }
    for word in words {
        wait_until(SOON, "each is accounted for", || {
            let (log, mark) = (server.log(), format!(" [{word}]"));
            let lines = || log.iter().filter(|line| line.contains(&mark));
            let told = lines().filter(|line| line.contains(" proxy behind: GET /")).count();
            let held = lines().filter_map(|line| {
                let (before, _) = line.split_once(" more within a second: proxy behind: ")?;
                before.rsplit(' ').next()?.parse::<usize>().ok()
            });
            let sum = told + held.sum::<usize>();
            holds(sum == TIMES, sum)
        });
    }
}
