//! The cache while workers and servers come and go.

use super::{configuration, front_with, get, is_hit, origin};
use crate::harness::{SOON, Server, Setup, holds, wait_until};
use nix::sys::signal::Signal;

#[test]
fn it_outlives_a_reload() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=600\n\n{n}")]);
    let server = front_with(&upstream, "true", "");
    assert_eq!(get(&server, "/a").text(), "1");
    server.configure(&configuration(upstream.address, "(ttl: \"5m\")", ""));
    assert_eq!(server.command(&["reload"]).code, Some(0));
    let reply = get(&server, "/a");
    assert!(is_hit(&reply) && reply.text() == "1", "{reply:?}");
}

fn files(server: &Server) -> u64 {
    server.status().cache.map_or(0, |cache| cache.files)
}

#[test]
fn on_disk_it_outlives_a_restart() {
    let large: &'static str = Box::leak(
        format!("200 OK\nCache-Control: max-age=600\nX-Own: 1\n\n{}", "0123456789".repeat(300_000))
            .into_boxed_str(),
    );
    let answers: &'static [(&str, &str)] = Box::leak(Box::new([
        ("/a", "200 OK\nCache-Control: max-age=600\nETag: \"x\"\n\nsmall {n}"),
        ("/large", large),
        ("/short", "200 OK\nCache-Control: max-age=5\n\n{n}"),
    ]));
    let upstream = origin(answers);
    let cache = crate::harness::Directory::new();
    let top = format!("cache: (path: \"{}\"),", cache.path().join("kept").display());
    let start = || Setup::new(&configuration(upstream.address, "true", &top)).start();
    let mut server = start();
    let large = get(&server, "/large").body;
    assert_eq!(
        (large.len(), get(&server, "/a").text().as_str(), get(&server, "/short").text().as_str()),
        (3_000_000, "small 1", "1")
    );
    wait_until(SOON, "two files", || holds(files(&server) == 2, files(&server)));
    // More than memory takes of one is read from its file.
    let reply = get(&server, "/large");
    assert!(is_hit(&reply) && reply.body == large, "{} bytes", reply.body.len());
    let part = super::ask(&server, "GET", "/large", &[("Range", "bytes=2999995-")]);
    assert_eq!((part.status, part.text().as_str()), (206, "56789"));
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    let server = start();
    for (path, text) in [("/a", "small 1".to_owned()), ("/large", String::from_utf8(large).unwrap())] {
        wait_until(SOON, "it is found again", || {
            let reply = get(&server, path);
            holds(is_hit(&reply) && reply.text() == text, (reply.status, reply.fields))
        });
    }
    assert_eq!(server.command(&["purge", "--all"]).code, Some(0));
    assert!(!is_hit(&get(&server, "/a")));
}

#[test]
fn it_outlives_an_upgrade_and_what_was_purged_stays_away() {
    let upstream = origin(&[
        ("/a", "200 OK\nCache-Control: max-age=600\n\n{n}"),
        ("/b", "200 OK\nCache-Control: max-age=600\nCache-Tag: red\n\n{n}"),
    ]);
    let server = front_with(&upstream, "true", "");
    assert_eq!((get(&server, "/a").text(), get(&server, "/b").text()), ("1".into(), "1".into()));
    assert_eq!(server.command(&["purge", "--tag", "red"]).code, Some(0));
    let before = server.status().generation;
    server.master.signal(Signal::SIGUSR2);
    wait_until(SOON, "the new program serves", || {
        let status = server.status();
        holds(status.generation > before && status.mode == "running", &status)
    });
    let reply = get(&server, "/a");
    assert!(is_hit(&reply) && reply.text() == "1", "{reply:?}");
    assert_eq!(get(&server, "/b").text(), "2");
}

#[test]
fn what_is_in_a_file_is_made_fresh_again_by_a_304() {
    let large: &'static str = Box::leak(
        format!(
            "200 OK\nCache-Control: max-age=60\nAge: 60\nETag: \"x\"\nX-Kind: old\n\n{}",
            "0123456789".repeat(300_000)
        )
        .into_boxed_str(),
    );
    let answers: &'static [(&str, &str)] = Box::leak(Box::new([
        ("/large", large),
        ("/large", "304 Not Modified\nCache-Control: max-age=600\nETag: \"x\"\nX-Kind: new\n\n"),
        ("/large", "500 Internal Server Error\n\nasked too often"),
    ]));
    let upstream = origin(answers);
    let cache = crate::harness::Directory::new();
    let top = format!("cache: (path: \"{}\"),", cache.path().join("kept").display());
    let server = Setup::new(&configuration(upstream.address, "true", &top)).start();
    assert_eq!(get(&server, "/large").body.len(), 3_000_000);
    wait_until(SOON, "a file", || holds(files(&server) == 1, files(&server)));
    let reply = get(&server, "/large");
    assert_eq!((reply.field("x-kind"), reply.body.len()), (Some("new"), 3_000_000), "{:?}", reply.fields);
    // The file is written anew behind it; only then is it asked for again.
    let objects = cache.path().join("kept/objects");
    wait_until(SOON, "the new head is in the file", || {
        let found = std::fs::read_dir(&objects)
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.unwrap().path()).ok());
        let found: Vec<_> = found
            .map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned())
            .collect();
        holds(found.len() == 1 && found[0].contains("new"), found)
    });
    let reply = wait_until(SOON, "it is entered", || {
        let reply = get(&server, "/large");
        if is_hit(&reply) { Ok(reply) } else { Err(format!("{} {:?}", reply.status, reply.fields)) }
    });
    assert_eq!((reply.field("x-kind"), reply.body.len()), (Some("new"), 3_000_000));
    assert_eq!(files(&server), 1);
}

#[test]
fn what_varies_outlives_a_restart_on_disk() {
    let upstream = origin(&[("/a", "200 OK\nCache-Control: max-age=600\nVary: X-Lang\n\n{n}")]);
    let cache = crate::harness::Directory::new();
    let top = format!("cache: (path: \"{}\"),", cache.path().join("kept").display());
    let start = || Setup::new(&configuration(upstream.address, "true", &top)).start();
    let ask = |server: &Server, lang| super::ask(server, "GET", "/a", &[("X-Lang", lang)]);
    let mut server = start();
    assert_eq!((ask(&server, "a").text(), ask(&server, "b").text()), ("1".to_owned(), "2".to_owned()));
    wait_until(SOON, "two variants, and what tells them apart", || {
        holds(files(&server) == 3, files(&server))
    });
    assert_eq!(server.end(Signal::SIGTERM), Some(0));
    let server = start();
    for (lang, text) in [("b", "2"), ("a", "1")] {
        wait_until(SOON, "it is found again", || {
            let reply = ask(&server, lang);
            holds(is_hit(&reply) && reply.text() == text, (reply.status, reply.fields))
        });
    }
    assert!(!is_hit(&ask(&server, "c")));
}
