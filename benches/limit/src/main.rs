//! The floor: what no server that uses epoll, `recv` and `send` on this machine can go below.
//!
//! One process, one thread, level-triggered epoll. Whatever arrives on a connection is taken for one request (in
//! `pipelined` mode: for as many as it has empty lines) and answered with the same bytes. Nothing is parsed, nothing is
//! looked up, no file is opened after the start, no connection has a time-out.
//!
//! ```text
//! limit PORT memory FILE       head and body of FILE from memory, one send a request
//! limit PORT pipelined FILE    the same, one send for all requests that came with one recv
//! limit PORT sendfile FILE     head with MSG_MORE, then sendfile until the socket is full
//! limit PORT status CODE       a head without a body
//! limit PORT uwsgi FILE        as memory, and closes: what an app server of the uwsgi protocol says
//! limit PORT fastcgi FILE      the same in records of FastCGI, for request 1, and goes on
//! limit PORT upload LENGTH     an empty 200 for each head with so many bytes behind it
//! limit PORT echo -            101 for the first that arrives, then everything back
//! ```

mod socket;

use socket::{Descriptor, Epoll, Event, room_for_events};
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

/// The most for one send: larger ones are dearer by the byte, 100 KiB took 23 to 28 µs whole and 19 in two.
const PIECE: usize = 64 * 1024;

/// What every request gets.
enum Answer {
    /// These bytes; repeated for each empty line in the request if pipelined.
    Memory { bytes: Vec<u8>, pipelined: bool },
    /// These bytes, and then the end.
    Closing { bytes: Vec<u8> },
    /// These bytes for each head with so many bytes behind it.
    Upload { bytes: Vec<u8>, length: usize },
    /// First these bytes, then what arrives.
    Echo { bytes: Vec<u8> },
    /// A head and then a whole file.
    File { head: Vec<u8>, file: std::fs::File, length: usize },
}

/// A client, and how much it has still to get.
struct Client {
    socket: Descriptor,
    /// Bytes of the answers that are not sent yet, counted down.
    owed: usize,
    waits_for_room: bool,
    /// Of an upload: bytes of its empty line that have come, then bytes of its body that are to come.
    matched: usize,
    awaited: usize,
    /// Of an echo: the 101 was sent.
    switched: bool,
}

impl Client {
    /// Heads with `length` bytes behind them that end in what was received.
    fn uploads(&mut self, mut received: &[u8], length: usize) -> usize {
        let mut ended = 0;
        while let Some(byte) = received.first() {
            if self.awaited > 0 {
                let here = self.awaited.min(received.len());
                self.awaited -= here;
                received = &received[here..];
                ended += usize::from(self.awaited == 0);
                continue;
            }
            self.matched = if *byte == b"\r\n\r\n"[self.matched] {
                self.matched + 1
            } else {
                usize::from(*byte == b'\r')
            };
            received = &received[1..];
            if self.matched == 4 {
                (self.matched, self.awaited) = (0, length);
            }
        }
        ended
    }
}

/// The records of FastCGI that answer request 1 with this document.
fn records(document: &[u8]) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        let [high, low] = u16::try_from(content.len()).unwrap_or_default().to_be_bytes();
        [&[1, kind, 0, 1, high, low, 0, 0], content].concat()
    };
    let mut bytes: Vec<u8> = document.chunks(0xfff8).flat_map(|part| record(6, part)).collect();
    bytes.extend(record(6, b""));
    bytes.extend(record(3, &[0; 8]));
    bytes
}

fn head(status: &str, length: Option<usize>) -> Vec<u8> {
    let length = length.map_or(String::new(), |length| {
        format!(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\n"
        )
    });
    format!(
        "HTTP/1.1 {status}\r\nServer: limit\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n{length}\
         Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"18a3f0c2d5b1e6a7-400\"\r\n\r\n"
    )
    .into_bytes()
}

fn answer(mode: &str, argument: &str) -> std::io::Result<Answer> {
    Ok(match mode {
        "sendfile" => {
            let file = std::fs::File::open(argument)?;
            let length = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
            Answer::File { head: head("200 OK", Some(length)), file, length }
        }
        "status" => {
            let length = (argument != "304").then_some(0);
            Answer::Memory { bytes: head(&format!("{argument} Status"), length), pipelined: false }
        }
        "memory" | "pipelined" => {
            let body = std::fs::read(argument)?;
            let mut bytes = head("200 OK", Some(body.len()));
            bytes.extend(body);
            Answer::Memory { bytes, pipelined: mode == "pipelined" }
        }
        "uwsgi" | "fastcgi" => {
            let body = std::fs::read(argument)?;
            let mut bytes = head("200 OK", Some(body.len()));
            bytes.extend(body);
            if mode == "uwsgi" {
                return Ok(Answer::Closing { bytes });
            }
            // A program says its status in a field.
            let rest = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            Answer::Memory { bytes: records(&bytes[rest..]), pipelined: false }
        }
        "upload" => {
            let length = argument.parse().map_err(std::io::Error::other)?;
            Answer::Upload { bytes: head("200 OK", Some(0)), length }
        }
        "echo" => {
            // For the key in the example of RFC 6455 (§1.3), which haproxy looks at.
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            Answer::Echo { bytes: head.into() }
        }
        _ => {
            return Err(std::io::Error::other(
                "the mode is memory, pipelined, sendfile, status, uwsgi, fastcgi, upload or echo",
            ));
        }
    })
}

/// Empty lines in what was received; requests without a body end with one.
fn requests(bytes: &[u8]) -> usize {
    bytes.windows(4).filter(|four| *four == b"\r\n\r\n").count()
}

impl Answer {
    fn size(&self) -> usize {
        match self {
            Self::Memory { bytes, .. }
            | Self::Closing { bytes }
            | Self::Upload { bytes, .. }
            | Self::Echo { bytes } => bytes.len(),
            Self::File { head, length, .. } => head.len() + length,
        }
    }

    fn owed_for(&self, received: &[u8], client: &mut Client) -> usize {
        match self {
            Self::Upload { length, .. } => self.size() * client.uploads(received, *length),
            Self::Memory { pipelined: true, .. } => self.size() * requests(received),
            _ => self.size(),
        }
    }

    /// Sends what is owed until all is sent or the socket is full; false when the client is gone.
    fn send(&self, client: &mut Client, scratch: &mut Vec<u8>) -> bool {
        while client.owed > 0 {
            let sent = match self {
                Self::Memory { bytes, pipelined: false } | Self::Closing { bytes } | Self::Echo { bytes } => {
                    let rest = &bytes[bytes.len() - client.owed..];
                    socket::send(&client.socket, &rest[..rest.len().min(PIECE)], false)
                }
                Self::Memory { bytes, pipelined: true } | Self::Upload { bytes, .. } => {
                    while scratch.len() < client.owed {
                        scratch.extend_from_slice(bytes);
                    }
                    // Whole answers up to `end`, of which the last `owed` bytes are missing.
                    let end = client.owed.div_ceil(bytes.len()) * bytes.len();
                    socket::send(&client.socket, &scratch[end - client.owed..end], false)
                }
                Self::File { head, .. } if client.owed > self.size() - head.len() => {
                    let from = self.size() - client.owed;
                    socket::send(&client.socket, &head[from..], true)
                }
                Self::File { file, length, .. } => {
                    socket::send_file(&client.socket, file, length - client.owed, client.owed)
                }
            };
            match sent {
                Ok(0) => return false,
                Ok(count) => client.owed -= count,
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

/// Serves until it is killed.
fn serve(port: u16, answer: &Answer) -> std::io::Result<()> {
    let listener = socket::listen(port)?;
    let epoll = Epoll::new()?;
    let mut events = room_for_events();
    epoll.add(listener.as_raw_fd())?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let mut scratch = Vec::new();
    loop {
        for Event { fd, writable } in epoll.wait(&mut events)? {
            if fd == listener.as_raw_fd() {
                while let Some(socket) = socket::accept(&listener) {
                    epoll.add(socket.as_raw_fd())?;
                    let place = place(socket.as_raw_fd());
                    if clients.len() <= place {
                        clients.resize_with(place + 1, || None);
                    }
                    clients[place] = Some(Client {
                        socket,
                        owed: 0,
                        waits_for_room: false,
                        matched: 0,
                        awaited: 0,
                        switched: false,
                    });
                }
                continue;
            }
            let Some(client) = clients.get_mut(place(fd)).and_then(Option::as_mut) else { continue };
            if !drive(client, answer, writable, &mut buffer, &mut scratch, &epoll)? {
                clients[place(fd)] = None;
            }
        }
    }
}

fn place(fd: RawFd) -> usize {
    usize::try_from(fd).unwrap_or_default()
}

/// One event of one client; false when it is gone.
fn drive(
    client: &mut Client,
    answer: &Answer,
    writable: bool,
    buffer: &mut [u8],
    scratch: &mut Vec<u8>,
    epoll: &Epoll,
) -> std::io::Result<bool> {
    if !writable {
        match socket::receive(&client.socket, buffer) {
            Ok(0) => return Ok(false),
            // Messages are small and answered before the next one comes: there is room for them.
            Ok(count) if client.switched => {
                return Ok(socket::send(&client.socket, &buffer[..count], false).is_ok());
            }
            Ok(count) => client.owed += answer.owed_for(&buffer[..count], client),
            Err(error) => return Ok(error.kind() == std::io::ErrorKind::WouldBlock),
        }
    }
    if !answer.send(client, scratch) {
        return Ok(false);
    }
    client.switched = matches!(answer, Answer::Echo { .. });
    let waits = client.owed > 0;
    if !waits && matches!(answer, Answer::Closing { .. }) {
        return Ok(false);
    }
    if waits != client.waits_for_room {
        client.waits_for_room = waits;
        epoll.change(client.socket.as_raw_fd(), waits)?;
    }
    Ok(true)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, mode, argument] = arguments.as_slice() else {
        eprintln!(
            "usage: limit PORT memory|pipelined|sendfile|uwsgi|fastcgi FILE | limit PORT status CODE | upload LENGTH | echo -"
        );
        return ExitCode::from(2);
    };
    let Ok(port) = port.parse() else {
        eprintln!("limit: not a port: {port}");
        return ExitCode::from(2);
    };
    if let Err(error) = answer(mode, argument).and_then(|answer| serve(port, &answer)) {
        eprintln!("limit: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
