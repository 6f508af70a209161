//! The tools themselves, against each other.

use super::{Connection, Load, Upstream, get, noise, sha256};
use std::io::Write;

#[test]
fn client_and_upstream_agree() {
    let upstream = Upstream::start(|request, stream| {
        let head =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", request.body.len());
        let sent = [head.as_bytes(), &request.body, b"\r\n0\r\n\r\n"].concat();
        stream.write_all(&sent).is_ok()
    });
    let mut connection = Connection::open(upstream.address).unwrap();
    for size in [1, 1000, 300_000] {
        let body = noise(size, 1);
        assert!(connection.request("POST", "/", &[], &body).unwrap().body == body);
        assert!(connection.request_chunked("POST", "/", &[], &body).unwrap().body == body);
    }
    assert!(upstream.received().iter().all(|request| request.connection == 0));
    assert_eq!(upstream.last().line, "POST / HTTP/1.1");
}

#[test]
fn what_a_lenient_client_would_overlook_is_an_error() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf!!0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nof unknown length",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "",
    ] {
        let upstream = Upstream::start(move |_, stream| {
            stream.write_all(response.as_bytes()).unwrap();
            false
        });
        let reply = Connection::open(upstream.address).unwrap().get("/");
        assert!(reply.is_err(), "{response:?}: {reply:?}");
    }
}

#[test]
fn the_load_client_sees_each_failure() {
    // Every hundredth request is refused, every other hundredth finds its connection closed.
    let count = std::sync::atomic::AtomicU32::new(0);
    let upstream = Upstream::start(move |_, stream| {
        let status = match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 100 {
            0 => "503 Service Unavailable",
            50 => return false,
            _ => "200 OK",
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok").as_bytes()).is_ok()
    });
    let load = Load::start(upstream.address, 8, &["/a", "/b"]);
    load.wait_for(2000);
    let report = load.finish();
    let received = upstream.received().len();
    assert_eq!(report.answered as usize + report.failures.len(), received, "{:?}", report.failures);
    assert!(report.failures.len().abs_diff(received / 50) <= 1, "{} of {received}", report.failures.len());
    assert_eq!(
        report.failures.iter().filter(|failure| failure.what.contains("503")).count(),
        received.div_ceil(100)
    );
}

#[test]
fn checksums_are_those_of_sha_256() {
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc"), known);
    let upstream = Upstream::fixed("fixed");
    assert_eq!(get(upstream.address, "/").text(), "fixed");
}
