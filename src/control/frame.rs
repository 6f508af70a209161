//! Frames between a worker and an app process, over a Unix stream socket, and between the master and an app process, over
//! two pipes, which carry no descriptors.
//!
//! ```text
//!  u32 length | u8 type | u8 flags | u16 zero | u32 stream        little endian; length counts the payload only
//! ```
//!
//! Between worker and app each stream socket belongs to one unit (thread): the worker's first frame is HELLO, which
//! names the unit; from then on requests, `stream` counts them and every frame of an answer repeats it. The unit serves
//! one at a time, in their order; those without a body may come before the answer to the former has ended
//! (`docs/decisions/0027-look-ahead.md`), and answers may come together.
//! Descriptors (FILE, a spooled body) travel by SCM_RIGHTS with the first byte of their frame's header: one with each, a
//! regular file, and none with any other frame. Only who asks for the master (`gateway::ready`) sends one with HELLO: a
//! pipe over which the answer goes in place of the socket, a FILE without its descriptor.
//!
//! An ASGI process has one stream socket from each worker for all requests (`docs/decisions/0029-asgi.md`): unit 65535 in
//! HELLO. There `stream` is a count in the upper and the unit in the lower sixteen bits. A unit runs one request at a time,
//! but what has become a tunnel, a WebSocket after its ACCEPT or an event stream after its HEAD, gives its unit back while its stream
//! lives on. Frames of different streams come in any order; what is said of an ASGI process holds for these sockets only.
//!
//! | type | direction | payload |
//! |---|---|---|
//! | HELLO 1 | worker → app | u32 protocol version, u16 row of the worker, u16 unit |
//! | HELLO 1 | app → master | JSON: protocol version, Python version, pid |
//! | READY 2 | app → master | the interface that the app speaks: `asgi`; empty or `wsgi` is WSGI |
//! | FAILED 3 | app → master | UTF-8 text: what failed, with the traceback; exit 3 follows |
//! | REQUEST 4 | worker → app | NUL-separated `name\0value\0…` pairs in latin-1; flag END: no body; flag FD: the body is the descriptor that comes along (read from offset 0, CONTENT_LENGTH bytes); neither: BODY frames and END follow |
//! | REQUEST 4 | worker → ASGI | bytes with NUL after each: kind (`http`, `websocket`), version (`1.0`, `1.1`, `2`), method, scheme (`http`, `https`, `ws`, `wss`), path (percent-decoded, with the mount), raw path (as it came, without the query), query, mount (percent-decoded, or empty), host and port of the client (empty: not known), host and port of the server (of a Unix socket its path, and an empty port), request id, microseconds since 1970 when it came; then name and value of each field, names in lower case, in their order; flags as above, BODY and END follow at once |
//! | BODY 5 | both | bytes |
//! | END 6 | both | worker: end of the request body; app: end of the response; flag ABORT: it broke off, or there is none, and then u16 may say with which status the worker answers in its place |
//! | CANCEL 7 | worker → app | nobody waits for the answer to that request any more: the host asks the app for no more of it, or does not call it if the request has not begun, and says END and FREE. Before the request and after FREE it means nothing |
//! | CANCEL 7 | worker → ASGI | the same, empty: the client has left; u8 1: it took too long. The host answers END with ABORT at once, if it has not said END; the task sees `http.disconnect` and is cancelled after a moment (u8 1: at once); FREE follows when it has ended. A loop that does not answer is held up |
//! | CREDIT 8 | worker → ASGI | u32: so many bytes more of that answer may be sent, as payload of BODY, TEXT and BINARY; the first window is the setting WINDOW |
//! | CREDIT 8 | ASGI → worker | u32: so many bytes of messages were taken; the worker sends at most [`WINDOW_IN`] bytes beyond what was credited. Parts of a message that is not whole are credited as they come, a whole one when the app has it; each message costs [`MESSAGE`] more, both ways |
//! | HEAD 9 | app → worker | status line text `200 OK`, then NUL-separated pairs as in REQUEST, all latin-1: `200 OK\0name\0value\0…`; flag LENGTH (8): the body's length is its Content-Length; flag PLACE (64), of a script: its Location is a place of the site, which answers for it. ASGI: the status alone, as three digits; 103 is an interim one; flag TRAILERS (32): TRAILERS comes before END |
//! | FILE 10 | app → worker | u64 offset, u64 length; the descriptor comes along; a part of the body like BODY; it takes nothing of a window |
//! | FREE 11 | app → worker | u32 microseconds from the call of the app to the end of `close()`, 0 if it was not called; empty: a host of before does not say. The iterable is closed, the unit takes the next request; the last frame of an answer. ASGI: from the call of the app to the end of its task |
//! | FREE 11 | app → master | u16 row, u16 unit: the stream of that worker ended and its request is over, or GONE or ASK asked and there is none |
//! | STACKS 12 | reserved | |
//! | LEAVE 13 | master → app | no request is claimed any more: run atexit and exit 0 |
//! | GONE 14 | master → app | u16 row: that worker was reaped; answered with one FREE for each unit, as soon as no request of it runs there |
//! | WORN 15 | app → master | u32 requests: it has served as many as it should; sent once |
//! | READY 2 | template → master | u32 threads that it has |
//! | FORK 16 | master → template | u64 name of the process to be, then NUL-separated settings `name\0value\0…`; the pipe from which it hears the master, the one over which it tells it something, its listener and its output come along |
//! | BORN 17 | forked process → master | u64 its name, u32 its process id |
//! | UNBORN 18 | template → master | u64 name, then UTF-8 text: why there is no such process |
//! | FORKED 19 | template → master | u64 name, u32 process id: it was forked, and says BORN once it is a child of the master |
//! | ADMIT 20 | master → app | u32 process id: of a worker, or of the master itself, which may connect from now on |
//! | DISMISS 21 | master → app | u32 process id: that worker has ended, and its number may soon be somebody else's |
//! | ASK 22 | master → app | u16 row, u16 unit: answered with one FREE for that unit, as soon as no request of that worker runs there |
//! | LINGERS 23 | app → master | UTF-8 text: names of the threads that the end of the process waits for, with NUL between; once, after LEAVE, if there are any |
//! | TROUBLE 24 | app or template → master | UTF-8 text, for the log: what will make its requests fail, though it serves; at most once, before READY |
//! | ACCEPT 25 | ASGI → worker | NUL-terminated subprotocol, may be empty, then `name\0value\0…`: the WebSocket is accepted. What refuses it is HEAD, BODY and END in its place |
//! | TEXT 26, BINARY 27 | both, ASGI | a message of a WebSocket; flag MORE (16): it goes on in the next frame of that type and stream. The text is UTF-8 as a whole |
//! | CLOSE 28 | worker → ASGI | u16 code, UTF-8 reason: the WebSocket has ended (1005: the client gave no code, 1006: it was lost); END answers it, unless END or CLOSE was said |
//! | CLOSE 28 | ASGI → worker | u16 code, UTF-8 reason: the app closes the WebSocket; END follows |
//! | TRAILERS 29 | ASGI → worker | `name\0value\0…`: fields behind the body |
//!
//! From the master to a template (`preload: true`) frames go over a SOCK_SEQPACKET socket, a frame a packet, since
//! descriptors go with them; the other way is shut. What is forked from the template says BORN over the copy of its pipe
//! that it inherited, and then uses pipes of its own. So several may write to that pipe: what is no longer than PIPE_BUF
//! is not torn apart (pipe(7)), and what is longer comes from the template before it has forked anything.
//!
//! Any process of the app's user can connect to its socket where workers run as that user too. So the kernel says whose
//! process a connection comes from (SO_PEERCRED, unix(7)), and the host takes those it was told of. ADMIT is written
//! before a worker is opened, and before the units of a process are; DISMISS before a worker is reaped, and the host
//! reads what waits before it judges.
//!
//! FREE to the master is a hint that may come twice or late; `dispatch` acts on it only for a unit whose claim it knows
//! to be orphaned. GONE exists because a worker can die between its claim and its connect, and because the end of its
//! stream may be noticed before its death. ASK is for what a worker says of a unit and its host may know better; a host with one
//! thread cannot answer while a request runs, which is an answer, too.

/// Version of this protocol, in HELLO.
pub const VERSION: u32 = 1;
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 12;
/// REQUEST: no body follows.
pub const END: u8 = 1;
/// REQUEST: the body is the descriptor that comes along.
pub const FD: u8 = 2;
/// END: the response broke off.
pub(crate) const ABORT: u8 = 4;
/// TEXT, BINARY: the message goes on in the next frame of this type.
pub const MORE: u8 = 16;
/// HEAD: TRAILERS comes before END.
pub const TRAILERS: u8 = 32;
/// HEAD of a script: a local redirect (RFC 3875 §6.2.2).
pub(crate) const PLACE: u8 = 64;
/// Bytes of messages that a worker sends to an ASGI process beyond those that were credited.
pub const WINDOW_IN: usize = 64 * 1024;
/// What each message costs of either window besides its payload: an empty one takes memory, too.
pub const MESSAGE: u32 = 64;
/// The unit in the HELLO of a stream to a whole ASGI process.
pub const WHOLE: u16 = u16::MAX;
/// Longest payload of a frame that is kept whole, that is of every type but BODY.
pub(crate) const PAYLOAD: usize = 1 << 20;

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the table in the module documentation")]
pub enum Kind {
    Hello = 1,
    Ready = 2,
    Failed = 3,
    Request = 4,
    Body = 5,
    End = 6,
    Cancel = 7,
    Credit = 8,
    Head = 9,
    File = 10,
    Free = 11,
    Stacks = 12,
    Leave = 13,
    Gone = 14,
    Worn = 15,
    Fork = 16,
    Born = 17,
    Unborn = 18,
    Forked = 19,
    Admit = 20,
    Dismiss = 21,
    Ask = 22,
    Lingers = 23,
    Trouble = 24,
    Accept = 25,
    Text = 26,
    Binary = 27,
    Close = 28,
    Trailers = 29,
}

impl Kind {
    /// The type of that number, `None` if there is none.
    #[must_use]
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Ready,
            3 => Self::Failed,
            4 => Self::Request,
            5 => Self::Body,
            6 => Self::End,
            7 => Self::Cancel,
            8 => Self::Credit,
            9 => Self::Head,
            10 => Self::File,
            11 => Self::Free,
            12 => Self::Stacks,
            13 => Self::Leave,
            14 => Self::Gone,
            15 => Self::Worn,
            16 => Self::Fork,
            17 => Self::Born,
            18 => Self::Unborn,
            19 => Self::Forked,
            20 => Self::Admit,
            21 => Self::Dismiss,
            22 => Self::Ask,
            23 => Self::Lingers,
            24 => Self::Trouble,
            25 => Self::Accept,
            26 => Self::Text,
            27 => Self::Binary,
            28 => Self::Close,
            29 => Self::Trailers,
            _ => return None,
        })
    }
}

/// What makes a stream of frames unreadable; nothing after it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A type that is not in the table.
    UnknownType(u8),
    /// The word that must be zero is not.
    Reserved,
    /// The payload is over [`PAYLOAD`].
    TooLong(u32),
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload.
    pub(crate) length: u32,
    /// Type.
    pub kind: Kind,
    /// [`END`], [`FD`], [`ABORT`], [`MORE`], [`TRAILERS`], [`PLACE`]; of a HEAD also LENGTH, which is not read.
    pub flags: u8,
    /// Number of the request on its stream socket; 0 towards the master.
    pub stream: u32,
}

impl Header {
    /// The bytes on the wire.
    #[must_use]
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [s0, s1, s2, s3] = self.stream.to_le_bytes();
        [l0, l1, l2, l3, self.kind as u8, self.flags, 0, 0, s0, s1, s2, s3]
    }

    /// The header in these bytes.
    ///
    /// # Errors
    /// An unknown type, a word that must be zero, a payload that is too long.
    pub(crate) fn decode(bytes: [u8; HEADER]) -> Result<Self, Error> {
        let header = Self::read(bytes)?;
        if header.kind != Kind::Body && header.length as usize > PAYLOAD {
            return Err(Error::TooLong(header.length));
        }
        Ok(header)
    }

    /// The same, however long the payload is.
    fn read(bytes: [u8; HEADER]) -> Result<Self, Error> {
        let [l0, l1, l2, l3, kind, flags, z0, z1, s0, s1, s2, s3] = bytes;
        let kind = Kind::from_byte(kind).ok_or(Error::UnknownType(kind))?;
        if (z0, z1) != (0, 0) {
            return Err(Error::Reserved);
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        Ok(Self { length, kind, flags, stream: u32::from_le_bytes([s0, s1, s2, s3]) })
    }
}

/// Appends a whole frame. A payload of 4 GiB or more, which nothing here produces, would be cut.
pub fn push(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&Header { length, kind, flags, stream }.encode());
    out.extend_from_slice(payload.get(..length as usize).unwrap_or(payload));
}

/// A frame, or a part of a BODY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header; of a BODY, `length` is that of the whole frame.
    pub header: Header,
    /// Its payload; of a BODY, what has come of it since the last part.
    pub payload: Vec<u8>,
}

/// Cuts a stream of bytes into frames. BODY payloads are passed on as they come, everything else is kept until it is
/// whole, so it never holds more than [`HEADER`] + [`PAYLOAD`] bytes beyond what was fed at once.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    start: usize,
    body: Option<(Header, u32)>,
    broken: Option<Error>,
    /// Of a host: requests may be longer than other frames.
    takes_requests: bool,
}

/// Longest payload of a REQUEST: a head as long as the configuration can let it be, whose target is told in four variables.
const REQUEST: u32 = 8 << 20;

/// Fed with these bytes.
impl From<Vec<u8>> for Reader {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }
}

impl Reader {
    /// A reader at the beginning of a stream; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// That of a host, to which workers send requests.
    #[must_use]
    pub(crate) fn of_host() -> Self {
        Self { takes_requests: true, ..Self::default() }
    }

    /// Takes bytes read from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > PAYLOAD {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame or part of a BODY, `None` if more bytes are needed.
    ///
    /// # Errors
    /// Those of [`Header::decode`]; the reader stays broken.
    pub fn poll(&mut self) -> Result<Option<Frame>, Error> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if let Some((header, left)) = self.body.take() {
            return Ok(self.part(header, left));
        }
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let decoded = match Header::decode(*head) {
            Err(Error::TooLong(length)) if self.takes_requests && length <= REQUEST => Header::read(*head),
            decoded => decoded,
        };
        let header = decoded.inspect_err(|error| self.broken = Some(*error))?;
        if header.kind == Kind::Body {
            self.start += HEADER;
            return Ok(self.part(header, header.length));
        }
        let Some(payload) = rest.get(..header.length as usize) else { return Ok(None) };
        let payload = payload.to_vec();
        self.start += HEADER + payload.len();
        Ok(Some(Frame { header, payload }))
    }

    /// What was fed and is not yet part of a frame, to go on with in another reader. Not in the midst of a BODY.
    #[must_use]
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// Whether the reader stands between two frames: an end of the stream here loses nothing.
    #[must_use]
    pub(crate) fn is_between(&self) -> bool {
        self.body.is_none() && self.start == self.bytes.len()
    }

    fn part(&mut self, header: Header, left: u32) -> Option<Frame> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let payload = rest.get(..left as usize).unwrap_or(rest).to_vec();
        let left = left - payload.len() as u32;
        self.start += payload.len();
        if left > 0 {
            self.body = Some((header, left));
            if payload.is_empty() {
                return None;
            }
        }
        Some(Frame { header, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u8 = 8;

    fn all(reader: &mut Reader) -> Vec<Frame> {
        std::iter::from_fn(|| reader.poll().unwrap()).collect()
    }

    #[test]
    fn frames_survive_the_wire_at_every_cut() {
        let mut wire = Vec::new();
        push(&mut wire, Kind::Head, LENGTH, 7, b"200 OK\0Content-Length\x005\0");
        push(&mut wire, Kind::Body, 0, 7, b"hello");
        push(&mut wire, Kind::Body, 0, 7, b"");
        push(&mut wire, Kind::End, ABORT, 7, b"");
        push(&mut wire, Kind::Free, 0, 7, b"");
        for cut in 0..=wire.len() {
            let mut reader = Reader::new();
            reader.feed(&wire[..cut]);
            let mut frames = all(&mut reader);
            reader.feed(&wire[cut..]);
            frames.extend(all(&mut reader));
            let body: Vec<u8> = frames
                .iter()
                .filter(|frame| frame.header.kind == Kind::Body)
                .flat_map(|f| f.payload.clone())
                .collect();
            assert_eq!(body, b"hello", "cut at {cut}");
            frames.retain(|frame| frame.header.kind != Kind::Body);
            let kinds: Vec<_> = frames.iter().map(|frame| (frame.header.kind, frame.header.flags)).collect();
            assert_eq!(kinds, [(Kind::Head, LENGTH), (Kind::End, ABORT), (Kind::Free, 0)], "cut at {cut}");
            assert_eq!(frames[0].payload, b"200 OK\0Content-Length\x005\0");
            assert!(reader.is_between());
        }
    }

    #[test]
    fn a_large_body_is_not_held_back() {
        let mut reader = Reader::new();
        reader.feed(&Header { length: 1 << 31, kind: Kind::Body, flags: 0, stream: 1 }.encode());
        assert_eq!(reader.poll(), Ok(None));
        for _ in 0..3 {
            reader.feed(&[b'x'; 4096]);
            assert_eq!(reader.poll().unwrap().map(|frame| frame.payload.len()), Some(4096));
            assert_eq!(reader.poll(), Ok(None));
            assert!(!reader.is_between());
        }
        assert!(reader.bytes.len() <= 8192);
    }

    #[test]
    fn garbage_is_refused_and_stays_refused() {
        let good = Header { length: 0, kind: Kind::Ready, flags: 0, stream: 0 }.encode();
        let mut unknown = good;
        unknown[4] = 99;
        let mut reserved = good;
        reserved[6] = 1;
        let mut long = good;
        long[3] = 1;
        for (bytes, error) in
            [(unknown, Error::UnknownType(99)), (reserved, Error::Reserved), (long, Error::TooLong(1 << 24))]
        {
            let mut reader = Reader::new();
            reader.feed(&bytes);
            assert_eq!(reader.poll(), Err(error));
            reader.feed(&good);
            assert_eq!(reader.poll(), Err(error));
        }
        assert!((0..=255).filter_map(Kind::from_byte).all(|kind| Kind::from_byte(kind as u8) == Some(kind)));
    }
}
