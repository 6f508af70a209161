//! The stream of a client in which TLS ends, by the unbuffered interface of the library: what comes is read into a buffer
//! that all connections of the worker share and opened there; what leaves is sealed into another one. A connection keeps
//! only the part of a record that has come, and what the socket has not taken.
//!
//! | stage | what comes | next |
//! |---|---|---|
//! | `Hello` | a request in the clear | `Plain`: it is answered as one |
//! | | the first message, whole: it names the site | `Shaking` |
//! | `Shaking` | the last message of the handshake | `Open` |
//! | `Open` | records: bytes for the connection | |
//! | any | what cannot be | `Over`, after an alert: what still comes is dropped |
//!
//! What is sealed stays in the queue until the socket has taken it whole: so what is unwritten, for deadlines, the log and
//! idleness, is what is queued.

use super::Came;
use super::hello::{self, Hello};
use super::keyring::Terms;
use super::reasons;
use super::session::Session;
use crate::event::{Endpoint, Read};
use crate::worker::context::Context;
use crate::worker::exchange::Peer;
use crate::worker::handshakes::Message;
use rustls::Error;
use rustls::ProtocolVersion::TLSv1_3;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use std::io;
use std::rc::Rc;

/// The most that is kept of what came: more than any record, and any handshake that makes sense.
const KEPT: usize = 32 * 1024;

/// Of a first message that is not whole.
const KEPT_OF_HELLO: usize = 17 * 1024;

/// Alerts (RFC 8446 §6).
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// A record with so much in it is the largest.
pub(super) const RECORD: usize = 16 * 1024;

/// Sealed at a time, at most.
const MOST: usize = 4 * RECORD;

/// More than this waits for nothing: it would not fit in front of the most that is sealed at a time.
const LONG: usize = RECORD / 2;

/// See the module.
pub(super) struct Tls {
    stage: Stage,
    /// What came and is no whole record, or waits for its turn.
    come: Vec<u8>,
    /// What is to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// It can wait for what is said next, as tickets can: they leave together.
    patient: bool,
    /// So many bytes of the queue are in it.
    sealed: usize,
    /// So much is sealed next: a client that takes little holds up little.
    stride: usize,
    turn: Turn,
    /// The client has said that nothing follows.
    closed: bool,
    /// We have, or have nothing more to say.
    told: bool,
}

/// Whether a message of the handshake has come that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    None,
    /// When others have been; nothing is read until then.
    Waits,
    Now,
}

enum Stage {
    Hello,
    Shaking(UnbufferedServerConnection, Terms),
    Open(UnbufferedServerConnection),
    Plain,
    Over,
}

/// Why a connection ends.
pub(super) enum Failure {
    /// The socket.
    Io(io::Error),
    /// What came; with the alert, if the library has not queued it.
    Wrong(String, Vec<u8>),
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            stage: Stage::Hello,
            come: Vec::new(),
            out: Vec::new(),
            written: 0,
            patient: false,
            sealed: 0,
            stride: RECORD,
            turn: Turn::None,
            closed: false,
            told: false,
        }
    }
}

impl Tls {
    /// Whether the handshake is over, and bytes of the queue may be sealed.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Whether the client speaks no TLS.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.stage, Stage::Plain)
    }

    /// Whether something is there to be read although the socket has nothing.
    pub(super) fn has_more(&self) -> bool {
        self.turn == Turn::Now || self.closed
    }

    /// Whether its handshake waits for its turn.
    pub(super) fn waits(&self) -> bool {
        self.turn == Turn::Waits
    }

    /// Whether nothing was answered yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.stage, Stage::Hello)
    }

    /// Its turn has come.
    pub(super) fn take_turn(&mut self) {
        self.turn = Turn::Now;
    }

    /// Whether the client has said that nothing follows.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether something sealed is to be written now.
    pub(super) fn owes(&self) -> bool {
        (!self.patient || self.out.len() > LONG) && self.written < self.out.len()
    }

    /// It waits no longer for what is said next; whether it did.
    pub(super) fn hasten(&mut self) -> bool {
        std::mem::take(&mut self.patient)
    }

    /// Whether it ends without a word: then a reset says it.
    pub(super) fn breaks_off(&mut self) -> bool {
        let is_over = matches!(self.stage, Stage::Over);
        self.told = true;
        !is_over
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    /// Reads once; see [`super::Transport::read`].
    pub(super) fn read(
        &mut self,
        endpoint: &mut Endpoint,
        peer: &Peer,
        cx: &mut Context,
    ) -> io::Result<Came> {
        if self.closed {
            return Ok(Came::Eof);
        }
        let mut buffer = cx.keyring.take_incoming();
        let came = self.read_into(buffer.bytes(), endpoint, peer, cx);
        cx.keyring.give_back(buffer);
        match came {
            Err(Failure::Wrong(why, alert)) => self.fail(&why, alert, endpoint, peer, cx),
            Err(Failure::Io(error)) => Err(error),
            Ok(came) => Ok(came),
        }
    }

    fn read_into(
        &mut self,
        buffer: &mut [u8],
        endpoint: &mut Endpoint,
        peer: &Peer,
        cx: &mut Context,
    ) -> Result<Came, Failure> {
        let kept = self.come.len();
        let (before, room) = buffer.split_at_mut_checked(kept).ok_or_else(Failure::too_much)?;
        before.copy_from_slice(&self.come);
        let has_turn = std::mem::replace(&mut self.turn, Turn::None) == Turn::Now;
        let read = if has_turn { Ok(Read::Bytes(0)) } else { endpoint.read(room) };
        let read = match read {
            Ok(Read::Bytes(count)) => count,
            Ok(Read::Blocked) => return Ok(Came::Blocked),
            Ok(Read::Eof) => return Ok(Came::Eof),
            Err(error) => return Err(Failure::Io(error)),
        };
        let come = buffer.get_mut(..kept.saturating_add(read)).unwrap_or_default();
        if matches!(self.stage, Stage::Over) {
            return Ok(Came::Bytes(read));
        }
        let (is_first, is_open) = (self.is_new(), self.is_open());
        if is_first && hello::is_part(come) {
            self.come = come.to_vec();
            return Ok(Came::Bytes(0));
        }
        let is_message = !is_open && (!is_first || hello::is_record(come));
        if is_message && !has_turn {
            self.turn = Turn::Waits;
            self.come = come.to_vec();
            return Ok(Came::Waits(if is_first { Message::First } else { Message::Further }));
        }
        if is_first && let Some(came) = self.begin(come, peer, cx)? {
            return Ok(came);
        }
        let opened = self.open(come, &mut cx.scratch)?;
        let left = come.get(opened.used..).unwrap_or_default();
        if left.len() > KEPT {
            return Err(Failure::too_much());
        }
        self.come = left.to_vec();
        if is_open {
            return Ok(Came::Bytes(opened.bytes));
        }
        Ok(self.finish_handshake(opened.bytes))
    }

    /// The first message: what else has come than a whole one is told.
    fn begin(&mut self, come: &[u8], peer: &Peer, cx: &mut Context) -> Result<Option<Came>, Failure> {
        match hello::read(come) {
            Hello::Part if come.len() > KEPT_OF_HELLO => Err(Failure::too_much()),
            Hello::Part => {
                self.come = come.to_vec();
                Ok(Some(Came::Bytes(0)))
            }
            Hello::Http => {
                self.stage = Stage::Plain;
                let room = cx.scratch.get_mut(..come.len()).ok_or_else(Failure::too_much)?;
                room.copy_from_slice(come);
                Ok(Some(Came::Bytes(come.len())))
            }
            Hello::Wrong(why, alert) => Err(Failure::Wrong(why, alert)),
            Hello::Whole(accepted) => {
                let (config, terms) = cx.terms(&accepted.client_hello(), peer.listener)?;
                let connection = UnbufferedServerConnection::new(config).map_err(Failure::from)?;
                self.stage = Stage::Shaking(connection, terms);
                Ok(None)
            }
        }
    }

    /// Goes on with the handshake, or opens records into `plain`.
    fn open(&mut self, come: &mut [u8], plain: &mut [u8]) -> Result<Opened, Failure> {
        let (Stage::Shaking(connection, _) | Stage::Open(connection)) = &mut self.stage else {
            return Ok(Opened::default());
        };
        let mut opened = Opened::default();
        loop {
            let rest = come.get_mut(opened.used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = connection.process_tls_records(rest);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        let room = plain.get_mut(opened.bytes..).unwrap_or_default();
                        let room = room.get_mut(..record.payload.len()).ok_or_else(Failure::too_much)?;
                        room.copy_from_slice(record.payload);
                        opened.bytes += record.payload.len();
                        discard += record.discard;
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(|room| data.encode(room), &mut self.out)?;
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.closed = true;
                    true
                }
                Ok(_) => false,
                Err(error) => {
                    // An alert about it is queued.
                    while connection.wants_write()
                        && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                            connection.process_tls_records(&mut []).state
                    {
                        encode(|room| data.encode(room), &mut self.out)?;
                    }
                    return Err(error.into());
                }
            };
            opened.used = opened.used.saturating_add(discard);
            if !goes_on {
                return Ok(opened);
            }
        }
    }

    /// Whether the handshake is over by now; so many bytes came with its end.
    fn finish_handshake(&mut self, bytes: usize) -> Came {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Shaking(connection, terms) if !connection.is_handshaking() => {
                // Whoever wanted to see a challenge answered has seen it.
                self.closed |= terms.is_challenge;
                let bytes = if terms.is_challenge { 0 } else { bytes };
                let session = Session::of(&connection, terms.site);
                // Before TLS 1.3 these are not tickets alone: the client waits for them.
                self.patient = self.written == 0 && connection.protocol_version() == Some(TLSv1_3);
                self.stage = Stage::Open(connection);
                Came::Open(Rc::new(session), bytes)
            }
            stage => {
                self.stage = stage;
                Came::Bytes(bytes)
            }
        }
    }

    /// Says why it ends, to the client and in the log.
    fn fail(
        &mut self,
        why: &str,
        alert: Vec<u8>,
        endpoint: &mut Endpoint,
        peer: &Peer,
        cx: &mut Context,
    ) -> io::Result<Came> {
        if matches!(self.stage, Stage::Hello) {
            self.out = if alert.is_empty() { self::alert(DECODE_ERROR) } else { alert };
        }
        let was_open = self.is_open();
        (self.stage, self.come) = (Stage::Over, Vec::new());
        self.flush(endpoint)?;
        let client = peer.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
        cx.note(log::Level::Info, "TLS with a client failed", format_args!("{client}: TLS failed: {why}"));
        if was_open { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Came::Failed) }
    }

    // ---- writing --------------------------------------------------------------------------------------------------

    /// Writes what is sealed; whether the socket has taken something.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET.
    pub(super) fn flush(&mut self, endpoint: &mut Endpoint) -> io::Result<bool> {
        let rest = self.out.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let taken = endpoint.write_bytes(rest)?;
        self.written = self.written.saturating_add(taken);
        self.patient = false;
        if !self.owes() {
            self.out = Vec::new();
            self.written = 0;
        }
        Ok(taken > 0)
    }

    /// So many bytes of the queue have left by what was flushed.
    pub(super) fn take_sealed(&mut self) -> usize {
        std::mem::take(&mut self.sealed)
    }

    /// How much of the queue is to be sealed next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Seals bytes of the queue into `out`, behind what has waited for them; the length. `last`: and that nothing follows.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub(super) fn seal(&mut self, plain: &[u8], last: bool, out: &mut [u8]) -> io::Result<usize> {
        let waited = std::mem::take(&mut self.out);
        self.patient = false;
        let (before, room) = out.split_at_mut_checked(waited.len()).ok_or(io::ErrorKind::StorageFull)?;
        before.copy_from_slice(&waited);
        self.told |= last;
        let sealed = self.with_traffic(|traffic| {
            let sealed = traffic.encrypt(plain, room)?;
            let rest = room.get_mut(sealed..).unwrap_or_default();
            Ok(sealed + if last { traffic.queue_close_notify(rest)? } else { 0 })
        });
        let sealed = sealed.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))?;
        Ok(waited.len() + sealed)
    }

    /// Has something written once the handshake is over. What has come is shown to the library each time: it remembers
    /// places in it.
    fn with_traffic(
        &mut self,
        mut write: impl FnMut(&mut WriteTraffic<'_, ServerConnectionData>) -> Result<usize, EncryptError>,
    ) -> Option<io::Result<usize>> {
        let Stage::Open(connection) = &mut self.stage else { return None };
        let UnbufferedStatus { state, .. } = connection.process_tls_records(&mut self.come);
        match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                Some(write(&mut traffic).map_err(io::Error::other))
            }
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }

    /// Of what was sealed from so many bytes of the queue this was not taken.
    pub(super) fn keep(&mut self, rest: &[u8], sealed: usize) {
        self.out = rest.to_vec();
        self.sealed = sealed;
        self.stride = RECORD;
    }

    /// All of it was.
    pub(super) fn widen(&mut self) {
        self.stride = MOST.min(self.stride.saturating_mul(2));
    }

    /// Says that nothing follows (RFC 8446 §6.1), as far as the socket takes it at once.
    pub(super) fn close(&mut self, endpoint: &mut Endpoint) {
        if !self.is_open() || std::mem::replace(&mut self.told, true) {
            return;
        }
        let mut alert = [0; 64];
        let Some(Ok(sealed)) = self.with_traffic(|traffic| traffic.queue_close_notify(&mut alert)) else {
            return;
        };
        self.out.extend_from_slice(alert.get(..sealed).unwrap_or_default());
        let _too_late = self.flush(endpoint);
    }
}

/// A record with an alert that ends a connection whose keys are not settled.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// What was made of what came.
#[derive(Clone, Copy, Debug, Default)]
struct Opened {
    /// So much of it is done with.
    used: usize,
    /// So many bytes came of it.
    bytes: usize,
}

/// Appends a message of the handshake.
fn encode(
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let before = out.len();
    let mut size = 0;
    loop {
        out.resize(before.saturating_add(size), 0);
        match encode(out.get_mut(before..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(before.saturating_add(written));
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > size => {
                size = needed.required_size
            }
            Err(error) => {
                out.truncate(before);
                return Err(Failure::Wrong(error.to_string(), Vec::new()));
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Wrong(reasons::why(&error), Vec::new())
    }
}

impl Failure {
    /// More than is kept of what is not whole.
    fn too_much() -> Self {
        Self::Wrong(hello::TOO_LONG.to_owned(), alert(RECORD_OVERFLOW))
    }

    /// No site of the listener has that name.
    pub(super) fn unknown_name(name: Option<&str>) -> Self {
        let why = match name {
            Some(name) => format!("no site here has the name `{}`", name.escape_debug()),
            None => "the client names no host, and no site is the default".to_owned(),
        };
        Self::Wrong(why, alert(UNRECOGNIZED_NAME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_tickets_wait_for_what_is_said_next() {
        let owes = |length| Tls { patient: true, out: vec![0; length], ..Tls::default() }.owes();
        assert!(!owes(LONG) && owes(LONG + 1));
        // Of each record and of the last word, the library adds less than this.
        const { assert!(LONG + MOST + 5 * 256 <= 5 * RECORD, "they do not fit into the keyring's buffer") };
    }
}
