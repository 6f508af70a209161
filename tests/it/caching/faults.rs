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
