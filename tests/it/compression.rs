//! Compression on the fly: what clients get of files, apps, upstreams and fixed answers, and that what they make of it is what was
//! sent.

mod streams;

use crate::harness::{Connection, Reply, SOON, Server, Setup, get, holds, noise, wait_until};
use std::io::{Read, Write};

const ALL: [&str; 3] = ["zstd", "br", "gzip"];

/// Prose, which becomes smaller, and never twice the same.
fn prose(length: usize) -> Vec<u8> {
    let words = ["the", "quick", "brown", "hatchery", "serves", "<p>", "static", "files", "and", "apps\n"];
    let mut text = Vec::new();
    for byte in noise(length, 5) {
        text.extend_from_slice(words[usize::from(byte) % words.len()].as_bytes());
        text.push(b' ');
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

/// What a client makes of a body, which has to be complete.
fn decoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => {
            let mut decoder = flate2::bufread::GzDecoder::new(body);
            decoder.read_to_end(&mut plain).unwrap();
            assert!(decoder.into_inner().is_empty(), "bytes behind the end");
        }
        "br" => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut plain).unwrap()),
        "zstd" => {
            assert_eq!(zstd_safe::find_frame_compressed_size(body), Ok(body.len()));
            plain = so_far("zstd", body);
        }
        other => panic!("{other}"),
    }
    plain
}

/// What a client makes of the beginning of a body.
fn so_far(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "gzip" => drop(flate2::write::GzDecoder::new(&mut plain).write_all(body)),
        "br" => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut plain)),
        _ => {
            let mut context = zstd_safe::DCtx::create();
            let mut input = zstd_safe::InBuffer::around(body);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let mut output = zstd_safe::OutBuffer::around(&mut buffer[..]);
                let left = context.decompress_stream(&mut output, &mut input).unwrap();
                let count = output.pos();
                plain.extend_from_slice(&buffer[..count]);
                if left == 0 || (input.pos() == body.len() && count < buffer.len()) {
                    break;
                }
            }
        }
    }
    plain
}

fn ask(server: &Server, path: &str, fields: &[(&str, &str)]) -> Reply {
    Connection::open(server.address).unwrap().request("GET", path, fields, b"").unwrap()
}

/// A site with files; second: the page that all are.
fn files() -> (Server, Vec<u8>) {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], compress: true, locations: [
        (path: "/", to: Files(root: "root", precompressed: true)),
        (path: "/plain/", to: Files("root"), compress: false),
        (path: "/gzip/", to: Files("root"), compress: (encodings: [Gzip], levels: (gzip: 9), min: "1B")),
        (exact: "/fixed", to: Respond(status: 200, body: "{prose}", content_type: "application/json")),
        (exact: "/short", to: Respond(status: 200, body: "short", content_type: "application/json")),
    ])],"#
            .replace("{prose}", &"x".repeat(3000))
            .as_str(),
    );
    let page = prose(40_000);
    for name in ["page.html", "page.png", "twin.html"] {
        setup.directory.write(format!("root/{name}"), &page);
    }
    setup.directory.write("root/large.html", prose(3_000_000));
    setup.directory.write("root/small.html", "small");
    setup.directory.write("root/twin.html.gz", "compressed before");
    (setup.start(), page)
}

#[test]
fn a_file_leaves_in_the_coding_that_its_client_likes_best() {
    let (server, page) = files();
    for (accepted, encoding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("zstd;q=0.1, gzip;q=0.2", Some("gzip")),
        ("zstd;q=0, br;q=0, *", Some("gzip")),
        ("deflate", None),
        ("identity;q=0", None),
        ("gzip;q=0", None),
    ] {
        let reply = ask(&server, "/page.html", &[("Accept-Encoding", accepted)]);
        assert_eq!((reply.status, reply.field("content-encoding")), (200, encoding), "{accepted}");
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"), "{accepted}");
        let tag = reply.field("etag").unwrap().to_owned();
        match encoding {
            Some(encoding) => {
                assert!(reply.body.len() < page.len() / 2, "{accepted}: {}", reply.body.len());
                assert!(decoded(encoding, &reply.body) == page, "{accepted}");
                assert!(tag.ends_with(&format!("-{encoding}\"")), "{tag}");
                assert!(reply.field("accept-ranges").is_none() && reply.field("content-length").is_none());
            }
            None => {
                assert!(reply.body == page, "{accepted}");
                assert_eq!(reply.field("accept-ranges"), Some("bytes"));
            }
        }
    }
    // What must stay, and what is not worth it.
    for path in ["/page.png", "/small.html", "/short", "/plain/page.html"] {
        let reply = ask(&server, path, &[("Accept-Encoding", "gzip, br, zstd")]);
        assert!(
            reply.field("content-encoding").is_none() && reply.field("vary").is_none(),
            "{path}: {reply:?}"
        );
    }
    let reply = ask(&server, "/fixed", &[("Accept-Encoding", "br")]);
    assert!(decoded("br", &reply.body) == [b'x'; 3000], "{reply:?}");
    let reply = ask(&server, "/gzip/small.html", &[("Accept-Encoding", "br, gzip;q=0.1")]);
    assert_eq!(
        (reply.field("content-encoding"), decoded("gzip", &reply.body)),
        (Some("gzip"), b"small".to_vec())
    );
    // One that was compressed before is taken as it is.
    let reply = ask(&server, "/twin.html", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!(
        (reply.field("content-encoding"), reply.text()),
        (Some("gzip"), "compressed before".to_owned())
    );
    assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
    let reply = ask(&server, "/twin.html", &[("Accept-Encoding", "br")]);
    assert!(reply.field("content-encoding") == Some("br") && decoded("br", &reply.body) == page);
}

#[test]
fn head_has_the_fields_of_get_and_a_range_is_of_what_is_not_compressed() {
    let (server, page) = files();
    let mut connection = Connection::open(server.address).unwrap();
    for path in ["/page.html", "/fixed", "/small.html", "/page.png"] {
        for accepted in ["br", "identity"] {
            let fields = [("Accept-Encoding", accepted)];
            let mut of = |method: &str| {
                let mut reply = connection.request(method, path, &fields, b"").unwrap();
                reply.fields.retain(|(name, _)| name != "Date" && name != "X-Request-Id");
                reply.fields
            };
            assert_eq!(of("HEAD"), of("GET"), "{path} {accepted}");
        }
    }
    let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=10-19")];
    let reply = connection.request("GET", "/page.html", &fields, b"").unwrap();
    assert_eq!((reply.status, &reply.body[..]), (206, &page[10..20]));
    assert!(reply.field("content-encoding").is_none());
    // The tag of what was compressed is not that of what parts are of.
    let tag = ask(&server, "/page.html", &[("Accept-Encoding", "gzip")]).field("etag").unwrap().to_owned();
    let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=10-19"), ("If-Range", &tag)];
    let reply = connection.request("GET", "/page.html", &fields, b"").unwrap();
    assert!(reply.status == 200 && reply.body == page && reply.field("content-encoding").is_none());
}

#[test]
fn a_client_that_has_it_is_told_so_by_the_tag_that_it_knows() {
    let (server, _) = files();
    for accepted in ["gzip", "br", "zstd", "identity"] {
        let first = ask(&server, "/page.html", &[("Accept-Encoding", accepted)]);
        let tag = first.field("etag").unwrap();
        let again = ask(&server, "/page.html", &[("Accept-Encoding", accepted), ("If-None-Match", tag)]);
        assert_eq!((again.status, again.field("etag")), (304, Some(tag)), "{accepted}");
        assert_eq!(again.field("vary"), Some("Accept-Encoding"), "{accepted}");
        // What it has in one coding is not what it would get in another.
        let other = if accepted == "br" { "gzip" } else { "br" };
        let other = ask(&server, "/page.html", &[("Accept-Encoding", other), ("If-None-Match", tag)]);
        assert_eq!(other.status, if accepted == "identity" { 304 } else { 200 }, "{accepted}");
    }
    let tag = ask(&server, "/page.html", &[("Accept-Encoding", "gzip")]).field("etag").unwrap().to_owned();
    for (tag, status) in [(tag.as_str(), 200), ("\"other-gzip\"", 412)] {
        let reply = ask(&server, "/page.html", &[("Accept-Encoding", "br"), ("If-Match", tag)]);
        assert_eq!(reply.status, status, "{tag}");
    }
}

/// A part at a time as its client takes it: the worker serves others meanwhile, and what comes is whole.
#[test]
fn a_large_file_is_compressed_as_its_client_takes_it() {
    let (server, _) = files();
    let large = prose(3_000_000);
    for encoding in ALL {
        let mut slow = Connection::open(server.address).unwrap();
        slow.send(format!("GET /large.html HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encoding}\r\n\r\n"))
            .unwrap();
        assert_eq!(get(server.address, "/small.html").text(), "small");
        let reply = slow.reply("GET").unwrap();
        assert!(decoded(encoding, &reply.body) == large, "{encoding}");
        // And the connection goes on.
        assert_eq!(slow.get("/small.html").unwrap().text(), "small");
    }
    // Two that were asked for in one go.
    let mut both = Connection::open(server.address).unwrap();
    let asked = "GET /large.html HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    both.send(asked.repeat(2)).unwrap();
    for _ in 0..2 {
        assert!(decoded("gzip", &both.reply("GET").unwrap().body) == large);
    }
    // One who leaves in the middle of it.
    let mut leaves = Connection::open(server.address).unwrap();
    leaves.send(asked).unwrap();
    leaves.reply_head().unwrap();
    drop(leaves);
    assert_eq!(get(server.address, "/small.html").text(), "small");
}

/// Coders stay with responses that are not taken; beyond what a worker may hold, those that come are not compressed.
#[test]
fn who_takes_compressed_responses_slowly_takes_a_worker_no_more_than_it_may_hold() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1, buffers: "16MiB"),
    sites: [(listen: ["{address}"], compress: (levels: (brotli: 7)), locations: [(path: "/", to: Files("root"))])],"#,
    );
    // More than what the sockets take.
    setup.directory.write("root/large.html", noise(16_000_000, 8));
    let page = prose(50_000);
    setup.directory.write("root/page.html", &page);
    let server = setup.start();
    let asked = "GET /large.html HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n";
    let mut slow: Vec<_> = (0..20).map(|_| Connection::open(server.address).unwrap()).collect();
    slow.iter_mut().for_each(|client| client.send(asked).unwrap());
    let codings: Vec<_> = slow
        .iter_mut()
        .map(|client| client.reply_head().unwrap().field("content-encoding").is_some())
        .collect();
    let coded = codings.iter().filter(|is_coded| **is_coded).count();
    assert!((1..=4).contains(&coded), "{coded} of {}", codings.len());
    // Others are served all the while, and compressed again once there is room.
    assert!(get(server.address, "/page.html").body == page);
    drop(slow);
    wait_until(SOON, "a response that is compressed", || {
        let reply = ask(&server, "/page.html", &[("Accept-Encoding", "br")]);
        holds(reply.field("content-encoding").is_some(), reply.fields)
    });
}

#[test]
fn http2_and_http1_0_clients_get_what_they_can_take() {
    let (server, page) = files();
    let mut client = crate::harness::http2::Client::open(server.address, &[]).unwrap();
    for encoding in ALL {
        let mut fields = client.asks("GET", "/page.html");
        fields.push(("accept-encoding", encoding));
        let stream = client.request(&fields, true).unwrap();
        let answer = client.answer(stream).unwrap();
        assert_eq!((answer.status, answer.field("content-encoding")), (200, Some(encoding)));
        assert!(answer.complete && decoded(encoding, &answer.body) == page, "{encoding}");
    }
    let large = prose(3_000_000);
    let streams: Vec<_> = ALL
        .iter()
        .map(|encoding| {
            let mut fields = client.asks("GET", "/large.html");
            fields.push(("accept-encoding", encoding));
            client.request(&fields, true).unwrap()
        })
        .collect();
    for (encoding, stream) in ALL.iter().zip(streams) {
        assert!(decoded(encoding, &client.answer(stream).unwrap().body) == large, "{encoding}");
    }
    // Without chunks, the end of a body that was cut off would look like its end.
    let (old, _) = crate::harness::reply_to(
        server.address,
        "GET /page.html HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
    );
    assert!(old.body == page && old.field("content-encoding").is_none());
    assert_eq!(old.field("vary"), Some("Accept-Encoding"));
}
