//! The stream to a server of an upstream, in which TLS begins. What the server says of its own between two requests, such as
//! tickets for later sessions, is heard and gives no bytes.

use super::keyring::Keyring;
use super::reasons::{self, Peer};
use super::records::{Failure, RECORD, Records};
use super::sealed;
use super::trust::{Terms, ToServer};
use crate::buf::{Queue, Segment};
use crate::event::{Endpoint, Read};
use rustls::client::UnbufferedClientConnection;
use std::io;
use std::sync::Arc;

/// A server that says so much without a byte for us says nothing.
const IDLE: usize = 256 * 1024;

/// See the module.
pub(in crate::worker) struct Outgoing {
    connection: UnbufferedClientConnection,
    records: Records,
    terms: Terms,
    /// What came since the last byte for us.
    idle: usize,
    begun: bool,
}

impl Outgoing {
    /// Begins a handshake; `before` is said before it, in the clear.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(in crate::worker) fn new(server: &ToServer, before: &[u8]) -> io::Result<Self> {
        let terms = server.terms.clone();
        let connection = UnbufferedClientConnection::new(Arc::clone(&terms.config), server.name.clone())
            .map_err(|error| wrong(reasons::why(&error, Peer::Server)))?;
        let mut tls = Self { connection, terms, records: Records::default(), idle: 0, begun: false };
        tls.records.say(before);
        let begun = tls.records.open(&mut tls.connection, &mut [], &mut []);
        begun.map_err(|failure| failure.into_error()).map(|_| tls)
    }

    /// Whether the socket was there to take something.
    pub(in crate::worker) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Goes on with the handshake; whether it is over.
    ///
    /// # Errors
    /// Why it failed.
    pub(in crate::worker) fn shake(
        &mut self,
        endpoint: &mut Endpoint,
        keyring: &mut Keyring,
        plain: &mut [u8],
    ) -> io::Result<bool> {
        loop {
            if endpoint.writable() {
                self.begun = true;
                self.records.flush(endpoint)?;
            }
            if !self.connection.is_handshaking() {
                return Ok(true);
            }
            match self.read(endpoint, keyring, plain) {
                Ok(Read::Bytes(0)) => {}
                Ok(Read::Bytes(_)) => return Err(wrong("the server speaks before it is asked")),
                Ok(Read::Blocked) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(wrong(CLOSED)),
                Ok(Read::Eof) => return Err(wrong(CLOSED)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether reading may give something.
    pub(in crate::worker) fn readable(&self, endpoint: &Endpoint) -> bool {
        self.records.is_closed() || endpoint.readable()
    }

    /// Reads once into `plain`, perhaps no bytes. The end is one only where the server has said so.
    ///
    /// # Errors
    /// ECONNRESET and the like; `UnexpectedEof`; in words, that what came is not TLS as it should be.
    pub(in crate::worker) fn read(
        &mut self,
        endpoint: &mut Endpoint,
        keyring: &mut Keyring,
        plain: &mut [u8],
    ) -> io::Result<Read> {
        if self.records.is_closed() {
            return Ok(Read::Eof);
        }
        if !endpoint.readable() {
            return Ok(Read::Blocked);
        }
        let mut buffer = keyring.take_incoming();
        let read = self.read_into(buffer.bytes(), endpoint, plain);
        keyring.give_back(buffer);
        read.map_err(|failure| {
            // The alert that says why.
            let _too_late = self.records.flush(endpoint);
            failure.into_error()
        })
    }

    fn read_into(
        &mut self,
        buffer: &mut [u8],
        endpoint: &mut Endpoint,
        plain: &mut [u8],
    ) -> Result<Read, Failure> {
        let count = match self.records.fill(buffer, endpoint, false)? {
            Read::Bytes(count) => count,
            Read::Blocked => return Ok(Read::Blocked),
            Read::Eof => return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into())),
        };
        let come = buffer.get_mut(..count).unwrap_or_default();
        let opened = self.records.open(&mut self.connection, come, plain)?;
        if opened.bytes > 0 {
            self.idle = 0;
        } else {
            self.idle = self.idle.saturating_add(count);
        }
        if self.idle > IDLE {
            return Err(Failure::Wrong("the server sends too much that is of no use".to_owned(), Vec::new()));
        }
        Ok(Read::Bytes(opened.bytes))
    }

    /// Whether an idle one has ended, or something has come that nobody asked for, be it a part of it; or whether the server
    /// is trusted for another reason by now, if it is.
    pub(in crate::worker) fn is_spoilt(
        &mut self,
        endpoint: &mut Endpoint,
        keyring: &mut Keyring,
        plain: &mut [u8],
    ) -> bool {
        loop {
            match self.read(endpoint, keyring, plain) {
                Ok(Read::Bytes(0)) => {}
                Ok(Read::Blocked) => return !(self.records.come.is_empty() && keyring.holds(&self.terms)),
                _ => return true,
            }
        }
    }

    /// Writes what stands first in the queue, by way of `scratch`; whether the socket has taken something.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET; that a file is not what it was.
    pub(in crate::worker) fn write(
        &mut self,
        queue: &mut Queue,
        endpoint: &mut Endpoint,
        keyring: &mut Keyring,
        scratch: &mut [u8],
    ) -> io::Result<bool> {
        let mut any = false;
        while endpoint.writable() {
            if self.records.owes() {
                any |= self.records.flush(endpoint)?;
                continue;
            }
            queue.consume(self.records.take_sealed() as u64);
            if queue.is_empty() {
                break;
            }
            let most = self.records.stride();
            let first = queue.segments().next().map(Segment::as_bytes).unwrap_or_default();
            let plain = if first.len() >= RECORD {
                first.get(..most).unwrap_or(first)
            } else {
                let most = scratch.len().min(most);
                let gathered = sealed::copy(queue, true, scratch.get_mut(..most).unwrap_or_default())?;
                if gathered == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                scratch.get(..gathered).unwrap_or_default()
            };
            let (taken, left) =
                self.records.send(&mut self.connection, plain, false, keyring.outgoing(), endpoint)?;
            queue.consume(left as u64);
            any |= taken;
        }
        Ok(any)
    }

    /// Says that nothing follows, as far as the socket takes it at once.
    pub(in crate::worker) fn close(&mut self, endpoint: &mut Endpoint) {
        if !self.connection.is_handshaking() {
            self.records.close(&mut self.connection, endpoint);
        }
    }
}

const CLOSED: &str =
    "the server has closed the connection in the middle of the handshake; does it speak TLS there?";

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Failure {
    fn into_error(self) -> io::Error {
        match self {
            Self::Io(error) => error,
            Self::Wrong(why, _) => wrong(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::credentials::{Credentials, Trust};
    use crate::config::{Config, from_resolved};
    use crate::event::Readiness;
    use crate::worker::transport::keyring::provider;
    use rcgen::CertifiedKey;
    use rustls::server::ServerConnection;
    use rustls::{ServerConfig, pki_types::PrivateKeyDer};
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    /// A worker's side of a connection, with what it needs.
    struct Here {
        tls: Outgoing,
        endpoint: Endpoint,
        keyring: Keyring,
        scratch: Vec<u8>,
    }

    impl Here {
        fn shake(&mut self) -> bool {
            self.note();
            self.tls.shake(&mut self.endpoint, &mut self.keyring, &mut self.scratch).unwrap()
        }

        fn is_spoilt(&mut self) -> bool {
            self.note();
            self.tls.is_spoilt(&mut self.endpoint, &mut self.keyring, &mut self.scratch)
        }

        fn note(&mut self) {
            self.endpoint.note(Readiness { read: true, write: true, ..Readiness::default() });
        }
    }

    fn config() -> Config {
        let text = r#"(
            sites: [(listen: [":80"], locations: [(path: "/", to: Proxy("u"))])],
            upstreams: {"u": (servers: ["127.0.0.1:1"], tls: (name: "a"))},
        )"#;
        from_resolved(text, "").unwrap()
    }

    /// After a handshake; and the server's side, of which the tickets wait to be written.
    fn pair() -> (Here, ServerConnection, UnixStream, Credentials) {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let (chain, key) =
            (vec![cert.der().clone()], PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()));
        let server =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(chain, key).unwrap();
        let mut there = ServerConnection::new(Arc::new(server)).unwrap();

        let config = config();
        let trust = Trust { upstream: 0, authorities: Some(vec![cert.der().to_vec()]), certificate: None };
        let credentials = Credentials { upstreams: vec![trust], ..Credentials::default() };
        let mut keyring = Keyring::default();
        assert!(keyring.renew(&credentials, &config));

        let (socket, mut other) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        let tls = Outgoing::new(keyring.to_server(0, 0).unwrap(), b"before").unwrap();
        let mut here = Here { tls, endpoint: Endpoint::new(socket.into()), keyring, scratch: vec![0; 65536] };
        assert!(!here.shake());
        let mut before = [0; 6];
        other.read_exact(&mut before).unwrap();
        assert_eq!(&before, b"before");
        while there.is_handshaking() {
            there.read_tls(&mut other).unwrap();
            there.process_new_packets().unwrap();
            if there.is_handshaking() {
                while there.wants_write() {
                    there.write_tls(&mut other).unwrap();
                }
                assert!(here.shake());
            }
        }
        assert!(there.wants_write(), "tickets");
        (here, there, other, credentials)
    }

    fn sealed(there: &mut ServerConnection) -> Vec<u8> {
        let mut bytes = Vec::new();
        while there.wants_write() {
            there.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn tickets_on_an_idle_connection_are_no_unexpected_bytes_and_all_else_is() {
        for (say, spoilt) in [("", false), ("HTTP/1.1 200", true)] {
            let (mut here, mut there, mut other, _) = pair();
            assert!(!here.is_spoilt());
            other.write_all(&sealed(&mut there)).unwrap();
            assert!(!here.is_spoilt(), "tickets");
            there.writer().write_all(say.as_bytes()).unwrap();
            other.write_all(&sealed(&mut there)).unwrap();
            assert_eq!(here.is_spoilt(), spoilt, "{say}");
        }
        let (mut here, mut there, mut other, _) = pair();
        there.send_close_notify();
        other.write_all(&sealed(&mut there)).unwrap();
        assert!(here.is_spoilt(), "its end");
        let (mut here, _, other, _) = pair();
        drop(other);
        assert!(here.is_spoilt(), "an end without a word");
        let (mut here, mut there, mut other, _) = pair();
        let tickets = sealed(&mut there);
        other.write_all(&tickets[..tickets.len() - 1]).unwrap();
        assert!(here.is_spoilt(), "a part of a record");
    }

    #[test]
    fn a_connection_is_not_kept_once_the_server_is_trusted_for_another_reason() {
        let (mut here, _there, _other, credentials) = pair();
        let config = config();
        let mut newer = Credentials { serial: 1, ..credentials };
        here.keyring.renew(&newer, &config);
        assert!(!here.is_spoilt(), "the same under another number");
        let other = rcgen::generate_simple_self_signed(["b".to_owned()]).unwrap();
        newer.upstreams[0].authorities = Some(vec![other.cert.der().to_vec()]);
        here.keyring.renew(&newer, &config);
        assert!(here.is_spoilt());
    }

    #[test]
    fn what_goes_on_without_a_byte_for_us_ends() {
        let (mut here, mut there, mut other, _) = pair();
        other.write_all(&sealed(&mut there)).unwrap();
        let mut ended = None;
        // An empty record is 22 bytes, and so many of them are refused by the library.
        for _ in 0..IDLE {
            there.refresh_traffic_keys().unwrap();
            if other.write_all(&sealed(&mut there)).is_err() {
                break;
            }
            here.note();
            match here.tls.read(&mut here.endpoint, &mut here.keyring, &mut here.scratch) {
                Ok(Read::Bytes(0) | Read::Blocked) => {}
                other => {
                    ended = Some(other.unwrap_err().to_string());
                    break;
                }
            }
        }
        assert_eq!(ended.as_deref(), Some("the server sends too much that is of no use"));
    }
}
