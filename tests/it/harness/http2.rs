//! A client of HTTP/2 (RFC 9113) that sends whatever a test wants, frame by frame, and tells each frame that comes. What
//! it writes is its own; blocks of fields it reads with the decoder of the server, which others have tried against theirs.

use super::tls::Wire;
use hatchery::fuzzing::Blocks;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
pub(crate) const PRIORITY_UPDATE: u8 = 16;

/// Flags.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

/// Codes of errors (RFC 9113 §7).
pub(crate) const NO_ERROR: u32 = 0x0;
pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
pub(crate) const STREAM_CLOSED: u32 = 0x5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const COMPRESSION_ERROR: u32 = 0x9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Settings (RFC 9113 §6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Type, flags, stream and payload.
type Frame = (u8, u8, u32, Vec<u8>);

/// A frame of any type.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let values: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, values)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, increment.to_be_bytes())
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

/// A block of literal fields that change no table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // An integer with a prefix of seven bits.
            let length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// HEADERS with fields, whole.
pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block(fields))
}

/// The fields of a request for a path of the host `a`.
pub(crate) fn asks<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
}

/// A whole GET.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &asks("GET", path))
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Settings(Vec<(u16, u32)>),
    SettingsAck,
    Headers {
        stream: u32,
        fields: Vec<(String, String)>,
        end: bool,
    },
    Data {
        stream: u32,
        bytes: Vec<u8>,
        end: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    GoAway {
        last: u32,
        code: u32,
        debug: String,
    },
    Ping([u8; 8]),
    PingAck([u8; 8]),
    Window {
        stream: u32,
        increment: u32,
    },
    /// A type that servers do not send, or that is not known.
    Other {
        kind: u8,
        stream: u32,
    },
    /// The end of the stream, or a reset of the connection.
    Closed,
    /// Nothing, for as long as was waited.
    Silence,
}

/// A response, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) interim: Vec<u16>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It is complete.
    pub(crate) complete: bool,
    /// It was reset with this code.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| &value[..])
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn add(&mut self, fields: Vec<(String, String)>) {
        let status =
            fields.iter().find(|(name, _)| name == ":status").and_then(|(_, value)| value.parse().ok());
        match status {
            Some(interim @ 100..200) => self.interim.push(interim),
            Some(status) => (self.status, self.fields) = (status, fields),
            None => self.trailers = fields,
        }
    }
}

/// One connection: with prior knowledge, or over TLS.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
    blocks: Blocks,
    /// Came, and not looked at yet.
    buffer: Vec<u8>,
    /// Responses that have begun, by their stream.
    pub(crate) answers: BTreeMap<u32, Answer>,
    /// The GOAWAY that came last: the last stream that is served, and the code.
    pub(crate) goaway: Option<(u32, u32)>,
    /// The stream for the next request.
    next: u32,
}

impl Client {
    /// Connects and says nothing.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(Wire::plain(address)?)
    }

    /// As [`Self::open`], from another address of this machine.
    pub(crate) fn open_from(last: u8, address: SocketAddr) -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, last, 0))?;
        connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, address.port()))?;
        Self::over(Wire::Plain(socket.into()))?.greet(&[])
    }

    /// The same over TLS, where the server must choose HTTP/2.
    pub(crate) fn connect_tls(address: SocketAddr) -> io::Result<Self> {
        let wire = Wire::tls(address, &["h2"])?;
        match &wire {
            Wire::Tls(stream) if stream.conn.alpn_protocol() == Some(b"h2") => Self::over(wire),
            _ => Err(io::Error::other("another protocol than h2")),
        }
    }

    fn over(wire: Wire) -> io::Result<Self> {
        let (blocks, buffer, answers) = (Blocks::default(), Vec::new(), BTreeMap::new());
        let client = Self { wire, blocks, buffer, answers, goaway: None, next: 1 };
        Ok(client)
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.wire.socket()
    }

    /// The fields of a request for a path of the host `a`.
    pub(crate) fn asks<'a>(&self, method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut fields = asks(method, path);
        if matches!(self.wire, Wire::Tls(_)) {
            fields[1].1 = "https";
        }
        fields
    }

    /// Connects, sends the preface and these settings, and waits until both sides have taken the settings of the other.
    pub(crate) fn open(address: SocketAddr, values: &[(u16, u32)]) -> io::Result<Self> {
        Self::connect(address)?.greet(values)
    }

    /// The same over TLS.
    pub(crate) fn open_tls(address: SocketAddr, values: &[(u16, u32)]) -> io::Result<Self> {
        Self::connect_tls(address)?.greet(values)
    }

    fn greet(mut self, values: &[(u16, u32)]) -> io::Result<Self> {
        let client = &mut self;
        client.send([PREFACE, &settings(values)].concat())?;
        let (mut theirs, mut ours) = (false, false);
        while !(theirs && ours) {
            match client.next()? {
                Came::Settings(_) => {
                    theirs = true;
                    client.send(frame(SETTINGS, ACK, 0, b""))?;
                }
                Came::SettingsAck => ours = true,
                Came::Window { stream: 0, .. } => {}
                other => return Err(io::Error::other(format!("instead of settings: {other:?}"))),
            }
        }
        Ok(self)
    }

    /// How long `next` waits.
    pub(crate) fn patience(&self, time: Duration) -> io::Result<()> {
        self.socket().set_read_timeout(Some(time))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write_all(bytes.as_ref()).and_then(|()| self.wire.flush())
    }

    /// The next frame; a block of fields in several of them is one.
    pub(crate) fn next(&mut self) -> io::Result<Came> {
        let Some((kind, flags, stream, mut payload)) = self.frame()? else { return Ok(Came::Closed) };
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let ack = flags & ACK != 0;
        Ok(match kind {
            SETTINGS if ack => Came::SettingsAck,
            SETTINGS => Came::Settings(
                payload.chunks(6).map(|pair| (number(&pair[..2]) as u16, number(&pair[2..]))).collect(),
            ),
            HEADERS => {
                let mut whole = flags & END_HEADERS != 0;
                while !whole {
                    let Some((CONTINUATION, flags, of, more)) = self.frame()? else {
                        return Err(io::Error::other("no CONTINUATION behind HEADERS"));
                    };
                    assert_eq!(of, stream, "a block of fields in frames of two streams");
                    payload.extend(more);
                    whole = flags & END_HEADERS != 0;
                }
                let fields = self.blocks.decode(&payload).map_err(io::Error::other)?;
                Came::Headers { stream, fields, end: flags & END_STREAM != 0 }
            }
            DATA => Came::Data { stream, bytes: payload, end: flags & END_STREAM != 0 },
            RST_STREAM => Came::Reset { stream, code: number(&payload) },
            GOAWAY => Came::GoAway {
                last: number(&payload[..4]),
                code: number(&payload[4..8]),
                debug: String::from_utf8_lossy(&payload[8..]).into_owned(),
            },
            PING => {
                let data = payload.try_into().map_err(|_| io::Error::other("a PING not of eight bytes"))?;
                if ack { Came::PingAck(data) } else { Came::Ping(data) }
            }
            WINDOW_UPDATE => Came::Window { stream, increment: number(&payload) },
            _ => Came::Other { kind, stream },
        })
    }

    /// The next frame, or `Silence` if none comes in time.
    pub(crate) fn next_or_silence(&mut self) -> Came {
        match self.next() {
            Ok(came) => came,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Came::Silence
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((head, rest)) = self.buffer.split_first_chunk::<9>() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if let Some(payload) = rest.get(..length) {
                    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                    let frame = (head[3], head[4], stream, payload.to_vec());
                    self.buffer.drain(..9 + length);
                    return Ok(Some(frame));
                }
            }
            let mut room = [0; 64 << 10];
            match self.wire.read(&mut room) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(io::Error::other("closed within a frame")),
                Ok(count) => self.buffer.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the next frame as a client would: acknowledges, gives window for what came, collects responses.
    pub(crate) fn step(&mut self) -> io::Result<Came> {
        let came = self.next()?;
        match &came {
            Came::Settings(_) => self.send(frame(SETTINGS, ACK, 0, b""))?,
            Came::Ping(data) => self.send(frame(PING, ACK, 0, data))?,
            Came::Headers { stream, fields, end } => {
                let answer = self.answers.entry(*stream).or_default();
                answer.add(fields.clone());
                answer.complete = *end;
            }
            Came::Data { stream, bytes, end } => {
                let answer = self.answers.entry(*stream).or_default();
                answer.body.extend_from_slice(bytes);
                answer.complete = *end;
                if !bytes.is_empty() {
                    let count = bytes.len() as u32;
                    let mut updates = window_update(0, count);
                    if !end {
                        updates.extend(window_update(*stream, count));
                    }
                    // The server may have left after its last byte.
                    let _ = self.send(updates);
                }
            }
            Came::Reset { stream, code } => self.answers.entry(*stream).or_default().reset = Some(*code),
            Came::GoAway { last, code, .. } => self.goaway = Some((*last, *code)),
            _ => {}
        }
        Ok(came)
    }

    /// Opens the next stream with a request; `end`: it has no body.
    pub(crate) fn request(&mut self, fields: &[(&str, &str)], end: bool) -> io::Result<u32> {
        self.request_of(&block(fields), end)
    }

    /// The same with a block.
    pub(crate) fn request_of(&mut self, block: &[u8], end: bool) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let flags = if end { END_STREAM | END_HEADERS } else { END_HEADERS };
        self.send(frame(HEADERS, flags, stream, block))?;
        Ok(stream)
    }

    /// The stream of the next request.
    pub(crate) fn upcoming(&self) -> u32 {
        self.next
    }

    /// The response on a stream, when it is complete, or an error if it never will be.
    pub(crate) fn answer(&mut self, stream: u32) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.answers.get(&stream)
                && (answer.complete || answer.reset.is_some())
            {
                let answer = self.answers.remove(&stream).unwrap();
                return match answer.reset {
                    Some(code) if !answer.complete => Err(io::Error::other(format!("reset with {code}"))),
                    _ => Ok(answer),
                };
            }
            match self.step()? {
                Came::Closed => return Err(io::Error::other(format!("closed, {:?}", self.goaway))),
                Came::GoAway { last, code, debug } if last < stream => {
                    return Err(io::Error::other(format!("GOAWAY {last} {code} {debug}")));
                }
                _ => {}
            }
        }
    }

    /// A GET on the next stream, and its response.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        let fields = self.asks("GET", path);
        let stream = self.request(&fields, true)?;
        self.answer(stream)
    }
}
