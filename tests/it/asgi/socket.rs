//! A client of WebSockets that says exactly what it is told to.

use crate::harness::SOON;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
/// The first bit of a frame: no other one of its message follows.
pub(super) const FIN: u8 = 0x80;

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    /// Of the answer to the handshake.
    pub(super) head: String,
}

impl Socket {
    /// Asks for one; the head of what is answered.
    pub(super) fn ask(address: SocketAddr, target: &str, more: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let ask = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
        );
        stream.write_all(ask.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        Self { stream, head: String::from_utf8(head).unwrap() }
    }

    #[track_caller]
    pub(super) fn open(address: SocketAddr, target: &str) -> Self {
        let socket = Self::ask(address, target, "");
        assert!(socket.head.starts_with("HTTP/1.1 101 "), "{}", socket.head);
        socket
    }

    /// A frame with this first byte.
    pub(super) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&masked(first, payload)).unwrap();
    }

    /// These bytes; it may be that nobody takes them.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(super) fn say(&mut self, text: &str) {
        self.frame(FIN | TEXT, text.as_bytes());
    }

    /// The next frame: its first byte and payload.
    pub(super) fn hear(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut start = [0; 2];
        self.stream.read_exact(&mut start)?;
        let length = match start[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            length => length.into(),
        };
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((start[0], payload))
    }

    /// The next whole message that is no control frame: whether it is text, and what it is.
    #[track_caller]
    pub(super) fn message(&mut self) -> (bool, Vec<u8>) {
        let (mut is_text, mut message) = (false, Vec::new());
        loop {
            let (first, payload) = self.hear().unwrap();
            match first & 0xf {
                0 => {}
                TEXT => is_text = true,
                BINARY => is_text = false,
                _ => continue,
            }
            message.extend(payload);
            if first & FIN != 0 {
                return (is_text, message);
            }
        }
    }

    /// The code and reason of the Close that comes, if one does before the end.
    pub(super) fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            let (first, payload) = self.hear().ok()?;
            if first & 0xf == CLOSE {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                return Some((
                    code,
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned(),
                ));
            }
        }
    }

    /// Says Close, and waits for that of the server.
    pub(super) fn end(mut self, code: u16) -> Option<(u16, String)> {
        self.frame(FIN | CLOSE, &code.to_be_bytes());
        self.closed()
    }
}

/// A frame of a client.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
