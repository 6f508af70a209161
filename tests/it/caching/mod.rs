//! Responses that are kept and given again: by the real program, in front of servers that count what they are asked.

mod apps;
mod attacks;
mod faults;
mod kept;
mod one_fetch;
mod one_for_all;
mod policies;
mod purging;
mod stale;
mod told_apart;
mod waiting;

use crate::harness::{Connection, Reply, Server, Setup, Upstream};
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Mutex;

/// A server that answers by path, `answers` being path and response: status and fields in lines, and behind an empty one the
/// body. Of several for one path each comes in its turn, the last one for ever. `{n}` in a response is how often that path was
/// asked for.
fn origin(answers: &'static [(&'static str, &'static str)]) -> Upstream {
    let counts = Mutex::new(HashMap::<String, usize>::new());
    Upstream::start(move |request, stream| {
        let target = request.line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let count = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(path.clone()).or_default();
            *count += 1;
            *count
        };
        let all: Vec<_> =
            answers.iter().filter(|(known, _)| *known == path).map(|(_, answer)| *answer).collect();
        let answer = all.get(count - 1).or(all.last()).copied().unwrap_or("404 Not Found\n\nnothing");
        stream.write_all(&response(answer, count)).is_ok()
    })
}

fn response(answer: &str, count: usize) -> Vec<u8> {
    let answer = answer.replace("{n}", &count.to_string());
    let (head, body) = answer.split_once("\n\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let fields: String = lines.map(|line| format!("{line}\r\n")).collect();
    let length = match status.split(' ').next() {
        Some("204" | "304") => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("HTTP/1.1 {status}\r\n{fields}{length}\r\n{body}").into_bytes()
}

/// A server in front of it, of two workers; `how` is what `cache_responses` of its one location is.
fn front(upstream: &Upstream, how: &str) -> Server {
    front_with(upstream, how, "")
}

fn front_with(upstream: &Upstream, how: &str, top: &str) -> Server {
    setup(upstream, how, top).start()
}

fn setup(upstream: &Upstream, how: &str, top: &str) -> Setup {
    Setup::new(&configuration(upstream.address, how, top))
}

fn configuration(upstream: SocketAddr, how: &str, top: &str) -> String {
    format!(
        r#"
    workers: (processes: 2), {top}
    log: (access: (path: "{{dir}}/access.log", format: Json)),
    sites: [(listen: ["{{address}}"], locations: [(path: "/", to: Proxy("behind"), cache_responses: {how})])],
    upstreams: {{"behind": (servers: ["{upstream}"])}},"#
    )
}

/// Asks over a connection of its own, which any worker may take.
fn ask(server: &Server, method: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request(method, path, fields, b"").unwrap()
}

fn get(server: &Server, path: &str) -> Reply {
    ask(server, "GET", path, &[])
}

/// What Cache-Status says, without our name.
fn status_of(reply: &Reply) -> String {
    let status = reply.field("cache-status").unwrap_or_default();
    status.strip_prefix("hatchery; ").unwrap_or(status).to_owned()
}

fn is_hit(reply: &Reply) -> bool {
    let status = status_of(reply);
    status == "hit" || status.starts_with("hit;")
}

/// How often it was asked for a path.
fn asked(upstream: &Upstream, path: &str) -> usize {
    let received = upstream.received();
    received.iter().filter(|request| request.line.split(' ').nth(1) == Some(path)).count()
}
