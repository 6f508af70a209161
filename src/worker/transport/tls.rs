//! The stream of a client in which TLS ends. What comes is read into a buffer that all connections of the worker share and
//! opened there ([`records`]).
//!
//! | stage | what comes | next |
//! |---|---|---|
//! | `Hello` | a request in the clear | `Plain`: it is answered as one |
//! | | the first message, whole: it names the site | `Shaking` |
//! | `Shaking` | the last message of the handshake | `Open` |
//! | `Open` | records: bytes for the connection | |
//! | any | what cannot be | `Over`, after an alert: what still comes is dropped |

use super::Came;
use super::hello::{self, Hello};
use super::keyring::Terms;
use super::reasons;
use super::records::{self, Failure, Records};
use super::session::Session;
use crate::event::{Endpoint, Read};
use crate::worker::context::Context;
use crate::worker::exchange::Peer;
use crate::worker::handshakes::Message;
use rustls::ProtocolVersion::TLSv1_3;
use rustls::server::UnbufferedServerConnection;
use std::io;
use std::rc::Rc;

/// Of a first message that is not whole.
const KEPT_OF_HELLO: usize = 17 * 1024;

/// Alerts (RFC 8446 §6).
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;

/// See the module.
#[derive(Default)]
pub(super) struct Tls {
    stage: Stage,
    pub(super) records: Records,
    turn: Turn,
}

/// Whether a message of the handshake has come that is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    None,
    /// When others have been; nothing is read until then.
    Waits,
    Now,
}

#[derive(Default)]
enum Stage {
    #[default]
    Hello,
    Shaking(UnbufferedServerConnection, Terms),
    Open(UnbufferedServerConnection),
    Plain,
    Over,
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
        self.turn == Turn::Now || self.records.is_closed()
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

    /// Whether it ends without a word: then a reset says it.
    pub(super) fn breaks_off(&mut self) -> bool {
        let is_over = matches!(self.stage, Stage::Over);
        self.records.end_silently();
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
        if self.records.is_closed() {
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
        let has_turn = std::mem::replace(&mut self.turn, Turn::None) == Turn::Now;
        let kept = self.records.come.len();
        let come = match self.records.fill(buffer, endpoint, has_turn)? {
            Read::Bytes(count) => buffer.get_mut(..count).unwrap_or_default(),
            Read::Blocked => return Ok(Came::Blocked),
            Read::Eof => return Ok(Came::Eof),
        };
        if matches!(self.stage, Stage::Over) {
            return Ok(Came::Bytes(come.len().saturating_sub(kept)));
        }
        let (is_first, is_open) = (self.is_new(), self.is_open());
        if is_first && hello::is_part(come) {
            self.records.come = come.to_vec();
            return Ok(Came::Bytes(0));
        }
        let is_message = !is_open && (!is_first || hello::is_record(come));
        if is_message && !has_turn {
            self.turn = Turn::Waits;
            self.records.come = come.to_vec();
            return Ok(Came::Waits(if is_first { Message::First } else { Message::Further }));
        }
        if is_first && let Some(came) = self.begin(come, peer, cx)? {
            return Ok(came);
        }
        let (Stage::Shaking(connection, _) | Stage::Open(connection)) = &mut self.stage else {
            return Ok(Came::Bytes(0));
        };
        let opened = self.records.open(connection, come, &mut cx.scratch)?;
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
                self.records.come = come.to_vec();
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
                let connection = UnbufferedServerConnection::new(config).map_err(|error| {
                    Failure::Wrong(reasons::why(&error, reasons::Peer::Client), Vec::new())
                })?;
                self.stage = Stage::Shaking(connection, terms);
                Ok(None)
            }
        }
    }

    /// Whether the handshake is over by now; so many bytes came with its end.
    fn finish_handshake(&mut self, bytes: usize) -> Came {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Shaking(connection, terms) if !connection.is_handshaking() => {
                // Whoever wanted to see a challenge answered has seen it.
                if terms.is_challenge {
                    self.records.close_reading();
                }
                let bytes = if terms.is_challenge { 0 } else { bytes };
                let session = Session::of(&connection, terms.site);
                // Before TLS 1.3 these are not tickets alone: the client waits for them.
                if connection.protocol_version() == Some(TLSv1_3) {
                    self.records.may_wait();
                }
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
            let alert = if alert.is_empty() { records::alert(DECODE_ERROR) } else { alert };
            self.records.say(&alert);
        }
        let was_open = self.is_open();
        (self.stage, self.records.come) = (Stage::Over, Vec::new());
        self.records.flush(endpoint)?;
        let client = peer.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
        cx.note(log::Level::Info, "TLS with a client failed", format_args!("{client}: TLS failed: {why}"));
        if was_open { Err(io::ErrorKind::InvalidData.into()) } else { Ok(Came::Failed) }
    }

    /// Bytes of memory in which something waits for the socket.
    pub(super) fn held(&self) -> u64 {
        self.records.held()
    }

    // ---- writing --------------------------------------------------------------------------------------------------

    /// Seals bytes of the queue and writes them: see [`Records::send`].
    ///
    /// # Errors
    /// EPIPE, ECONNRESET; the connection cannot go on.
    pub(super) fn send(
        &mut self,
        plain: &[u8],
        last: bool,
        out: &mut [u8],
        endpoint: &mut Endpoint,
    ) -> io::Result<(bool, usize)> {
        let Stage::Open(connection) = &mut self.stage else { return Err(io::ErrorKind::NotConnected.into()) };
        self.records.send(connection, plain, last, out, endpoint)
    }

    /// Says that nothing follows, as far as the socket takes it at once.
    pub(super) fn close(&mut self, endpoint: &mut Endpoint) {
        if let Stage::Open(connection) = &mut self.stage {
            self.records.close(connection, endpoint);
        }
    }
}

impl Failure {
    /// No site of the listener has that name.
    pub(super) fn unknown_name(name: Option<&str>) -> Self {
        let why = match name {
            Some(name) => format!("no site here has the name `{}`", name.escape_debug()),
            None => "the client names no host, and no site is the default".to_owned(),
        };
        Self::Wrong(why, records::alert(UNRECOGNIZED_NAME))
    }
}
