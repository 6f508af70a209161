//! Files that change in place while clients take them: a response that is complete is of one state, though all of it that
//! leaves by `sendfile` lay in the kernel when the file changed. The clients have less room than the file, as if there were
//! a network between: on loopback, what is acknowledged still is the pages of the file until it is read.

use crate::harness::{Server, Setup, get, noise};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

/// Larger than what is kept in memory, and small enough to be taken by the kernel as a whole; and one that leaves by
/// `sendfile`.
const SIZES: [usize; 2] = [300_000, 1_300_000];

fn site() -> Server {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [
        (path: "/", to: Files(root: "root", precompressed: true)),
    ])],"#,
    );
    setup.directory.write("root/small.txt", "small");
    setup.directory.write("root/c", "plain");
    // Not younger than what it is compressed to.
    date(&File::open(setup.directory.path().join("root/c")).unwrap(), 0);
    setup.start()
}

fn date(file: &File, seconds: u64) {
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// A connection whose kernel keeps little of what it has not read; with `room: None` as much as is usual.
fn open(server: &Server, room: Option<usize>) -> TcpStream {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    if let Some(room) = room {
        setsockopt(&fd, sockopt::RcvBuf, &room).unwrap();
    }
    let SocketAddr::V4(address) = server.address else { panic!("{}", server.address) };
    connect(fd.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

const LITTLE: Option<usize> = Some(4096);

/// The only worker has done for earlier requests what it can do before they are read on.
fn let_it_queue(server: &Server) {
    assert_eq!(get(server.address, "/small.txt").text(), "small");
}

/// What the client gets until the connection ends.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 5000]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }
}

/// Bodies of the responses that are whole.
fn responses(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        assert!(head.starts_with("HTTP/1.1 20"), "{head}");
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect(&head);
        let length = field("Content-Length: ").parse::<usize>().unwrap();
        let Some(body) = bytes[end + 4..].get(..length) else { break };
        bytes = &bytes[end + 4 + body.len()..];
        found.push(body);
    }
    found
}

const OLD: u8 = 1;
const NEW: u8 = 2;

/// What others do to a file in place.
type Change = (&'static str, fn(&File, usize));

const CHANGES: [Change; 5] = [
    ("overwritten", |file, size| file.write_all_at(&vec![NEW; size], 0).unwrap()),
    ("overwritten at its end", |file, size| file.write_all_at(&[NEW; 1000], size as u64 - 1000).unwrap()),
    ("cut and rewritten", |file, size| {
        file.set_len(0).unwrap();
        file.write_all_at(&vec![NEW; size], 0).unwrap();
    }),
    ("cut and made longer", |file, size| {
        file.set_len(1000).unwrap();
        file.set_len(size as u64).unwrap();
    }),
    ("appended to", |file, size| file.write_all_at(&[NEW; 1000], size as u64).unwrap()),
];

const REQUESTS: [(&str, &str); 6] = [
    ("whole", "GET /x.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("HTTP/1.0", "GET /x.bin HTTP/1.0\r\n\r\n"),
    ("a range", "GET /x.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=9-299990\r\nConnection: close\r\n\r\n"),
    (
        "ranges",
        "GET /x.bin HTTP/1.1\r\nHost: a\r\nRange: bytes=9-150000,170000-299990\r\nConnection: close\r\n\r\n",
    ),
    ("a coding", "GET /c HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"),
    (
        "pipelined",
        "GET /x.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /small.txt HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /x.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ),
];

/// A client has asked for a file of old bytes, the worker has given the kernel what it may, then the file changes, and
/// only then the client reads.
#[test]
fn a_file_that_changes_in_place_is_never_mixed() {
    let server = site();
    let root = server.directory().path().join("root");
    let cases = SIZES.into_iter().flat_map(|size| CHANGES.map(|change| (size, change)));
    for (size, (change, make)) in cases {
        for (what, request) in REQUESTS {
            let path = root.join(if what == "a coding" { "c.gz" } else { "x.bin" });
            std::fs::write(&path, vec![OLD; size]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            // So long ago that the time of the change is another one, however coarse the clock is.
            date(&file, 1_600_000_000);
            let mut client = open(&server, LITTLE);
            client.write_all(request.as_bytes()).unwrap();
            assert_eq!(client.peek(&mut [0]).unwrap(), 1, "it has begun");
            let_it_queue(&server);
            make(&file, size);
            let all = rest(client);
            assert!(all.starts_with(b"HTTP/1.1 20"), "{size}, {what}, {change}: nothing arrives");
            // What was cut and made longer has zeros.
            let mixed = |body: &&[u8]| body.contains(&OLD) && (body.contains(&NEW) || body.contains(&0));
            let found = responses(&all).into_iter().find(mixed);
            assert_eq!(found.map(<[u8]>::len), None, "{size}, {what}, {change}: of two states");
        }
    }
}

#[test]
fn a_file_that_stays_the_same_arrives_whole_however_slow_its_client() {
    let server = site();
    for size in SIZES {
        arrives_whole(&server, size);
    }
}

fn arrives_whole(server: &Server, size: usize) {
    let wanted = noise(size, 1);
    std::fs::write(server.directory().path().join("root/x.bin"), &wanted).unwrap();
    std::fs::write(server.directory().path().join("root/c.gz"), &wanted).unwrap();
    for room in [LITTLE, None] {
        for (what, request) in REQUESTS {
            let mut client = open(server, room);
            client.write_all(request.as_bytes()).unwrap();
            assert_eq!(client.peek(&mut [0]).unwrap(), 1, "it has begun");
            let_it_queue(server);
            let all = rest(client);
            let got = responses(&all);
            let label = format!("{what}, room for {room:?}");
            match what {
                "a range" => assert!(got == [&wanted[9..=299_990]], "{label}"),
                "pipelined" => assert!(got == [&wanted[..], b"small", &wanted[..]], "{label}"),
                "ranges" => {
                    let has = |part: &[u8]| got[0].windows(part.len()).any(|window| window == part);
                    assert!(
                        got.len() == 1 && has(&wanted[9..=150_000]) && has(&wanted[170_000..=299_990]),
                        "{label}"
                    );
                }
                _ => assert!(got == [&wanted[..]], "{label}"),
            }
        }
    }
}
