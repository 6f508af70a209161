//! What both sides of TLS have in common, by the unbuffered interface of the library: records that come are opened, what
//! leaves is sealed. A connection keeps only the part of a record that has come, and what the socket has not taken.
//!
//! What is sealed stays in the queue until the socket has taken it whole: so what is unwritten, for deadlines, the log and
//! idleness, is what is queued.

use super::hello;
use super::reasons::{self, Peer};
use crate::event::{Endpoint, Read};
use rustls::client::ClientConnectionData;
use rustls::server::ServerConnectionData;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use std::io;

/// The most that is kept of what came: more than any record, and any handshake that makes sense.
const KEPT: usize = 32 * 1024;

/// A record with so much in it is the largest.
pub(super) const RECORD: usize = 16 * 1024;

/// Sealed at a time, at most.
const MOST: usize = 4 * RECORD;

/// More than this waits for nothing: it would not fit in front of the most that is sealed at a time.
const LONG: usize = RECORD / 2;

/// An alert (RFC 8446 §6).
const RECORD_OVERFLOW: u8 = 22;

/// See the module.
pub(super) struct Records {
    /// What came and is no whole record, or waits for its turn.
    pub(super) come: Vec<u8>,
    /// What is to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// It can wait for what is said next, as tickets can: they leave together.
    patient: bool,
    /// So many bytes of the queue are in it.
    sealed: usize,
    /// So much is sealed next: a peer that takes little holds up little.
    stride: usize,
    /// The peer has said that nothing follows.
    closed: bool,
    /// We have, or have nothing more to say.
    told: bool,
}

/// Why a connection ends.
pub(super) enum Failure {
    /// The socket.
    Io(io::Error),
    /// What came; with the alert, if the library has not queued it.
    Wrong(String, Vec<u8>),
}

/// What was made of what came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opened {
    /// So much of it is done with.
    used: usize,
    /// So many bytes came of it.
    pub(super) bytes: usize,
}

/// One side of a connection: the library has the same calls for both, but not as one.
pub(super) trait Side: Sized {
    /// Who is at the other end.
    const PEER: Peer;

    fn process<'c, 'i>(
        connection: &'c mut UnbufferedConnectionCommon<Self>,
        come: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self>;
}

impl Side for ServerConnectionData {
    const PEER: Peer = Peer::Client;

    fn process<'c, 'i>(
        connection: &'c mut UnbufferedConnectionCommon<Self>,
        come: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(come)
    }
}

impl Side for ClientConnectionData {
    const PEER: Peer = Peer::Server;

    fn process<'c, 'i>(
        connection: &'c mut UnbufferedConnectionCommon<Self>,
        come: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self> {
        connection.process_tls_records(come)
    }
}

impl Default for Records {
    fn default() -> Self {
        Self {
            come: Vec::new(),
            out: Vec::new(),
            written: 0,
            patient: false,
            sealed: 0,
            stride: RECORD,
            closed: false,
            told: false,
        }
    }
}

impl Records {
    /// Whether the peer has said that nothing follows.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Nothing that still comes is of interest.
    pub(super) fn close_reading(&mut self) {
        self.closed = true;
    }

    /// Nothing is said at the end.
    pub(super) fn end_silently(&mut self) {
        self.told = true;
    }

    /// Bytes of memory in which something waits for the socket.
    pub(super) fn held(&self) -> u64 {
        self.out.capacity() as u64
    }

    /// Whether something sealed is to be written now.
    pub(super) fn owes(&self) -> bool {
        (!self.patient || self.out.len() > LONG) && self.written < self.out.len()
    }

    /// What is to be written may wait for what is said next.
    pub(super) fn may_wait(&mut self) {
        self.patient = self.written == 0;
    }

    /// It waits no longer for what is said next; whether it did.
    pub(super) fn hasten(&mut self) -> bool {
        std::mem::take(&mut self.patient)
    }

    /// Says this in the clear, behind what is to be written.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    /// Reads into `buffer`, behind what has come before; how much is there then. `again`: nothing is read, what has come is
    /// looked at once more.
    pub(super) fn fill(
        &self,
        buffer: &mut [u8],
        endpoint: &mut Endpoint,
        again: bool,
    ) -> Result<Read, Failure> {
        let kept = self.come.len();
        let (before, room) = buffer.split_at_mut_checked(kept).ok_or_else(Failure::too_much)?;
        before.copy_from_slice(&self.come);
        let read = if again { Ok(Read::Bytes(0)) } else { endpoint.read(room) };
        Ok(match read.map_err(Failure::Io)? {
            Read::Bytes(count) => Read::Bytes(kept.saturating_add(count)),
            other => other,
        })
    }

    /// Goes on with the handshake, or opens records into `plain`; what is left is kept.
    pub(super) fn open<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        come: &mut [u8],
        plain: &mut [u8],
    ) -> Result<Opened, Failure> {
        let opened = self.open_all(connection, come, plain)?;
        let left = come.get(opened.used..).unwrap_or_default();
        if left.len() > KEPT {
            return Err(Failure::too_much());
        }
        self.come = left.to_vec();
        Ok(opened)
    }

    fn open_all<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        come: &mut [u8],
        plain: &mut [u8],
    ) -> Result<Opened, Failure> {
        let mut opened = Opened::default();
        let wrong = |error| Failure::Wrong(reasons::why(&error, S::PEER), Vec::new());
        loop {
            let rest = come.get_mut(opened.used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = S::process(connection, rest);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(wrong)?;
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
                            S::process(connection, &mut []).state
                    {
                        encode(|room| data.encode(room), &mut self.out)?;
                    }
                    return Err(wrong(error));
                }
            };
            opened.used = opened.used.saturating_add(discard);
            if !goes_on {
                return Ok(opened);
            }
        }
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

    /// Seals bytes of the queue by way of `out`, behind what has waited for them, and writes it: whether the socket has taken
    /// something, and how many bytes of the queue have left. `last`: and says that nothing follows.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET; the connection cannot go on.
    pub(super) fn send<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        plain: &[u8],
        last: bool,
        out: &mut [u8],
        endpoint: &mut Endpoint,
    ) -> io::Result<(bool, usize)> {
        let sealed = self.seal(connection, plain, last, out)?;
        let out = out.get(..sealed).unwrap_or_default();
        let taken = endpoint.write_bytes(out)?;
        Ok(match out.get(taken..) {
            None | Some([]) => {
                self.stride = MOST.min(self.stride.saturating_mul(2));
                (taken > 0, plain.len())
            }
            Some(rest) => {
                self.out = rest.to_vec();
                self.sealed = plain.len();
                self.stride = RECORD;
                (taken > 0, 0)
            }
        })
    }

    fn seal<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        plain: &[u8],
        last: bool,
        out: &mut [u8],
    ) -> io::Result<usize> {
        let waited = std::mem::take(&mut self.out);
        self.patient = false;
        let (before, room) = out.split_at_mut_checked(waited.len()).ok_or(io::ErrorKind::StorageFull)?;
        before.copy_from_slice(&waited);
        self.told |= last;
        let sealed = self.with_traffic(connection, |traffic| {
            let sealed = traffic.encrypt(plain, room)?;
            let rest = room.get_mut(sealed..).unwrap_or_default();
            Ok(sealed + if last { traffic.queue_close_notify(rest)? } else { 0 })
        })?;
        Ok(waited.len() + sealed)
    }

    /// Has something written once the handshake is over. What has come is shown to the library each time: it remembers
    /// places in it.
    fn with_traffic<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        mut write: impl FnMut(&mut WriteTraffic<'_, S>) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        match S::process(connection, &mut self.come).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => write(&mut traffic).map_err(io::Error::other),
            Ok(_) => Err(io::ErrorKind::NotConnected.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Says that nothing follows (RFC 8446 §6.1), as far as the socket takes it at once.
    pub(super) fn close<S: Side>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<S>,
        endpoint: &mut Endpoint,
    ) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let mut alert = [0; 64];
        let Ok(sealed) = self.with_traffic(connection, |traffic| traffic.queue_close_notify(&mut alert))
        else {
            return;
        };
        self.out.extend_from_slice(alert.get(..sealed).unwrap_or_default());
        let _too_late = self.flush(endpoint);
    }
}

/// A record with an alert that ends a connection whose keys are not settled.
pub(super) fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
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

impl Failure {
    /// More than is kept of what is not whole.
    pub(super) fn too_much() -> Self {
        Self::Wrong(hello::TOO_LONG.to_owned(), alert(RECORD_OVERFLOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_tickets_wait_for_what_is_said_next() {
        let owes = |length| Records { patient: true, out: vec![0; length], ..Records::default() }.owes();
        assert!(!owes(LONG) && owes(LONG + 1));
        // Of each record and of the last word, the library adds less than this.
        const { assert!(LONG + MOST + 5 * 256 <= 5 * RECORD, "they do not fit into the keyring's buffer") };
    }
}
