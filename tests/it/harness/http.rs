//! A small strict HTTP/1.1 client: raw bytes out, parsed responses in. What a lenient client would overlook is an
//! error here.

use super::tls::Wire;
use super::{noise, sha256};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Fields in order, names as sent.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Statuses of the 1xx responses before it.
    pub(crate) interim: Vec<u16>,
}

impl Reply {
    /// The only field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "two fields {name}: {:?}", self.fields);
        values.first().copied()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let wanted = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether the server said that it closes.
    pub(crate) fn closes(&self) -> bool {
        self.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<Wire>,
    /// Whether bytes of the response that is being read have come.
    pub(crate) response_begun: bool,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Wire::plain(address).map(Self::over)
    }

    /// Over TLS, for the host `a`.
    pub(crate) fn open_tls(address: SocketAddr) -> io::Result<Self> {
        Wire::tls(address, &[]).map(Self::over)
    }

    fn over(wire: Wire) -> Self {
        Self { stream: BufReader::with_capacity(64 << 10, wire), response_begun: false }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let wire = self.stream.get_mut();
        wire.write_all(bytes.as_ref()).and_then(|()| wire.flush())
    }

    /// Sends a request without a body and reads the response.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.request("GET", path, &[], b"")
    }

    /// Sends a request, its body with Content-Length if there is one, and reads the response.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let mut head = head(method, path, fields);
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.response_begun = false;
        self.send(bytes)?;
        self.reply(method)
    }

    /// The same with a chunked body, in chunks of uneven sizes.
    pub(crate) fn request_chunked(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        self.send(head(method, path, fields) + "Transfer-Encoding: chunked\r\n\r\n")?;
        let (mut rest, mut size) = (body, 1);
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            let mut bytes = format!("{:x}\r\n", chunk.len()).into_bytes();
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            self.send(bytes)?;
            rest = after;
            size = (size * 7 + 3) % 100_003;
        }
        self.send("0\r\n\r\n")?;
        self.reply(method)
    }

    /// Reads one final response to `method`.
    pub(crate) fn reply(&mut self, method: &str) -> io::Result<Reply> {
        self.response_begun = false;
        let mut interim = Vec::new();
        loop {
            let mut reply = self.reply_head()?;
            if (100..200).contains(&reply.status) {
                interim.push(reply.status);
                continue;
            }
            if method != "HEAD" && reply.status != 204 && reply.status != 304 {
                reply.body = self.body(&reply)?;
            }
            reply.interim = interim;
            return Ok(reply);
        }
    }

    /// Reads the head of a response only, for tests that read the body in their own time.
    pub(crate) fn reply_head(&mut self) -> io::Result<Reply> {
        let status_line = self.line()?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| invalid(format!("status line {status_line:?}")))?;
        let mut reply = Reply { status, ..Reply::default() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(reply);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("field {line:?}")))?;
            reply.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn body(&mut self, reply: &Reply) -> io::Result<Vec<u8>> {
        let chunked = reply.all("transfer-encoding") == ["chunked"];
        let lengths = reply.all("content-length");
        let mut body = Vec::new();
        if chunked {
            if !lengths.is_empty() {
                return Err(invalid("both Content-Length and Transfer-Encoding"));
            }
            while let size @ 1.. = self.chunk_size()? {
                self.exactly(size, &mut body)?;
                if !self.line()?.is_empty() {
                    return Err(invalid("no CRLF after a chunk"));
                }
            }
            while !self.line()?.is_empty() {}
        } else if let [length] = lengths[..] {
            self.exactly(
                length.parse().map_err(|_| invalid(format!("Content-Length {length}")))?,
                &mut body,
            )?;
        } else if lengths.is_empty() && reply.closes() {
            self.stream.read_to_end(&mut body)?;
        } else {
            return Err(invalid(format!("a body of unknown length: {:?}", reply.fields)));
        }
        Ok(body)
    }

    fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.line()?;
        usize::from_str_radix(&line, 16).map_err(|_| invalid(format!("chunk size {line:?}")))
    }

    /// So many bytes, behind those that are there.
    pub(crate) fn exactly(&mut self, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let start = into.len();
        into.resize(start + size, 0);
        self.stream.read_exact(&mut into[start..])
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        self.response_begun |= !line.is_empty();
        if read? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if line.pop() != Some(b'\n') || line.pop() != Some(b'\r') {
            return Err(invalid(format!("no CRLF: {:?}", String::from_utf8_lossy(&line))));
        }
        // As Python's clients do: one character a byte.
        Ok(line.into_iter().map(char::from).collect())
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether the server has closed: the next read gives the end, at once or within the time-out.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// The socket, to set options or to read in small steps.
    pub(crate) fn socket(&mut self) -> &TcpStream {
        self.stream.get_ref().socket()
    }
}

/// Request line, Host unless given, and fields, without the empty line.
fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("Host: localhost\r\n");
    }
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

/// One GET on a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    let reply = Connection::open(address).and_then(|mut connection| connection.get(path));
    reply.unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// Raw bytes on a connection of their own, the response, and whether the server closed after it.
#[track_caller]
pub(crate) fn reply_to(address: SocketAddr, bytes: impl AsRef<[u8]>) -> (Reply, bool) {
    let mut connection = Connection::open(address).unwrap();
    connection.send(bytes).unwrap();
    let reply = connection.reply("GET").unwrap();
    let closed = reply.closes() && connection.is_closed();
    (reply, closed)
}

/// Bodies of these lengths arrive whole at the scripts `/echo` and `/big` of a site whose protocol has the length stand before
/// them, and whole from there; `ending` is that of the scripts.
#[track_caller]
pub(crate) fn assert_bodies_arrive_whole(connection: &mut Connection, ending: &str, lengths: &[usize]) {
    let echo = format!("/echo{ending}");
    for length in lengths {
        let body = noise(*length, *length as u64);
        let wanted = sha256(&body);
        let sized = connection.request("POST", &echo, &[], &body).unwrap().json();
        // What is chunked is collected first.
        let chunked = connection.request_chunked("POST", &echo, &[], &body).unwrap().json();
        for told in [sized, chunked] {
            let expected = (&(*length).into(), &wanted.clone().into());
            assert_eq!((&told["length"], &told["sha256"]), expected, "{told}");
        }
    }
    for more in ["", "&length=1"] {
        let path = format!("/big{ending}?size=1000000{more}");
        assert_eq!(connection.get(&path).unwrap().body.len(), 1_000_000, "{path}");
    }
    let head = connection.request("HEAD", &format!("/big{ending}?size=1000&length=1"), &[], b"").unwrap();
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("1000"), 0));
}
