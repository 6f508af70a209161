//! One WebSocket behind its handshake.
//!
//! | phase | the client's Close | `close` | a breach | its end | time |
//! |---|---|---|---|---|---|
//! | `Open` | answered; `Over` | `Closing` | says why; `Draining` | `Over` | a ping; unanswered, says so: `Over` |
//! | `Closing`: we have said Close | `Over` | – | `Draining` | `Over` | `Over` |
//! | `Draining`: what comes is dropped, so that no reset overtakes what was said | – | – | – | `Over` | `Over` |
//! | `Over` | – | – | – | – | – |
//!
//! Whatever leaves `Open` and `Closing` is told by one [`Event::Closed`].
//!
//! Of control frames one of each kind waits to be written at most: of pongs the latest (RFC 6455 §5.5.3), so that a client that
//! pings and does not read costs nothing.

use super::frame::{self, CONTROL, Header, Opcode};
use super::input::Input;
use super::mask::Mask;
use super::message::Message;
use super::{Breach, Close, Event, FAILED, Kind, LOST, NO_CODE, may_be_sent};
use crate::buf::{Queue, Segment};
use crate::timer::Time;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// What an operator may say of WebSockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// After how long without a byte the client is pinged; `None`: never.
    pub(crate) ping_interval: Option<Duration>,
    /// How long it may then send nothing.
    pub(crate) ping_timeout: Duration,
    /// How long the client's Close is waited for, and after a breach its end.
    pub(crate) close_timeout: Duration,
    /// Bytes of a message of the client.
    pub(crate) max_message: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            max_message: 16 << 20,
        }
    }
}

/// What is to be done with the connection, once [`Conn::poll`] has given all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on, or there is a last word to be written.
    Open,
    /// Nothing more is sent: the sending side may be closed. The client's end is waited for.
    Shut,
    /// It may be closed.
    Over,
}

/// See the module. After every `feed`, `eof`, `on_timeout` and `close` call [`Self::poll`] until it returns `None`, then
/// [`Self::write`] if [`Self::wants_write`] and the client's connection has room. Who leaves events unpolled reads nothing
/// meanwhile: the client is not to blame then, and no time runs against it. Nor does it while there is no [`Self::room`].
#[derive(Debug)]
pub(crate) struct Conn {
    settings: Rc<Settings>,
    phase: Phase,
    pub(super) input: Input,
    /// What is to come of the frame whose header was read.
    frame: Option<Frame>,
    message: Message,
    /// A message that is being sent has begun.
    sending: bool,
    /// What waits to be written.
    pong: Option<Box<[u8]>>,
    ping: bool,
    close: Option<Box<Close>>,
    /// What is to be told.
    closed: Option<Box<Close>>,
    /// The client sends nothing more.
    eof: bool,
    /// The client's connection has no room.
    full: bool,
    /// The client was pinged, and has sent nothing since.
    pinged: bool,
    /// The last sign of the client, or when what is waited for was asked of it.
    since: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Draining,
    Over,
}

/// A frame of a message, as far as it is to come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: u64,
    mask: Mask,
    fin: bool,
}

/// A part of a message, and where it is in the input.
struct Part {
    kind: Kind,
    at: Range<usize>,
    more: bool,
}

impl Conn {
    /// One whose handshake is complete.
    #[must_use]
    pub(crate) fn new(settings: Rc<Settings>, now: Time) -> Self {
        Self {
            settings,
            phase: Phase::Open,
            input: Input::new(),
            frame: None,
            message: Message::default(),
            sending: false,
            pong: None,
            ping: false,
            close: None,
            closed: None,
            eof: false,
            full: false,
            pinged: false,
            since: now,
        }
    }

    // ---- what comes -----------------------------------------------------------------------------------------------

    /// Bytes of the client.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>, now: Time) {
        if bytes.is_empty() || !matches!(self.phase, Phase::Open | Phase::Closing) {
            return;
        }
        self.input.push(bytes);
        self.sign(now);
    }

    /// The client sends nothing more.
    pub(crate) fn eof(&mut self) {
        self.eof = true;
        if self.phase == Phase::Draining {
            self.phase = Phase::Over;
        }
    }

    /// Whether bytes of the client are wanted: not before those that came were polled.
    #[must_use]
    pub(crate) fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Closing => self.input.starved,
            Phase::Draining => true,
            Phase::Over => false,
        }
    }

    /// The next event. After `close` messages of the client are dropped.
    pub(crate) fn poll(&mut self, now: Time) -> Option<Event<'_>> {
        match self.next() {
            Ok(Some(Part { kind, at, more })) => {
                return Some(Event::Part { kind, bytes: self.input.at(at), more });
            }
            Ok(None) => {}
            Err(breach) => self.break_off(breach, now),
        }
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            if !self.input.starved {
                self.input.starve();
                self.sign(now);
            }
            if self.eof {
                self.ended(Close::new(LOST, ""));
            }
        }
        self.closed.take().map(|close| Event::Closed(*close))
    }

    /// The next part of a message, if there is one.
    fn next(&mut self) -> Result<Option<Part>, Breach> {
        while matches!(self.phase, Phase::Open | Phase::Closing) {
            let part = match self.frame {
                Some(frame) => self.payload(frame)?,
                None => match Header::read(self.input.rest())? {
                    None => return Ok(None),
                    Some((header, used)) if header.opcode.is_control() => {
                        if !self.control(&header, used)? {
                            return Ok(None);
                        }
                        continue;
                    }
                    Some((header, used)) => {
                        self.message.begin_frame(&header, self.settings.max_message)?;
                        self.input.take(used);
                        let Header { length: left, mask, fin, .. } = header;
                        self.payload(Frame { left, mask, fin })?
                    }
                },
            };
            match part {
                Some(part) if self.phase == Phase::Open && !(part.at.is_empty() && part.more) => {
                    return Ok(Some(part));
                }
                None => return Ok(None),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// What has come of the frame; `None`: nothing more.
    fn payload(&mut self, mut frame: Frame) -> Result<Option<Part>, Breach> {
        let count = usize::try_from(frame.left).unwrap_or(usize::MAX);
        let at = self.input.take(count);
        frame.left -= at.len() as u64;
        let whole = frame.left == 0;
        let bytes = self.input.at_mut(at.clone());
        frame.mask.take_off(bytes);
        let more = !(whole && frame.fin);
        self.frame = (!whole).then_some(frame);
        if at.is_empty() && !whole {
            return Ok(None);
        }
        let kind = self.message.take(bytes, !more)?;
        Ok(Some(Part { kind, at, more }))
    }

    /// A control frame, whose header has `used` bytes; whether all of it is there.
    fn control(&mut self, header: &Header, used: usize) -> Result<bool, Breach> {
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let whole = used.saturating_add(length);
        if self.input.rest().len() < whole {
            return Ok(false);
        }
        let at = self.input.take(whole);
        let frame = self.input.at_mut(at);
        let bytes = frame.get_mut(used..).unwrap_or_default();
        let mut mask = header.mask;
        mask.take_off(bytes);
        match header.opcode {
            Opcode::Ping if self.phase == Phase::Open => self.pong = Some(Box::from(&*bytes)),
            Opcode::Close => {
                let said = Close::read(bytes)?;
                if self.phase == Phase::Open {
                    self.close = Some(Box::new(Close::new(said.code, "")));
                }
                self.ended(said);
            }
            _ => {}
        }
        Ok(true)
    }

    /// The client keeps not to the protocol.
    fn break_off(&mut self, breach: Breach, now: Time) {
        let close = Close::new(breach.code, breach.why);
        if self.phase == Phase::Open {
            self.close = Some(Box::new(close.clone()));
        }
        self.ended(close);
        if !self.eof {
            (self.phase, self.since) = (Phase::Draining, now);
        }
    }

    /// Nothing more comes.
    fn ended(&mut self, close: Close) {
        self.phase = Phase::Over;
        self.input = Input::default();
        (self.ping, self.pong) = (false, None);
        self.closed = Some(Box::new(close));
    }

    // ---- what leaves ----------------------------------------------------------------------------------------------

    /// Writes a part of a message; `more`: another one follows, of the same message. Whether it did: not if it is closed.
    pub(crate) fn send(&mut self, kind: Kind, bytes: Segment, more: bool, out: &mut Queue) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        let opcode = match kind {
            _ if self.sending => Opcode::Continuation,
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        };
        self.sending = more;
        out.encode(|out| frame::write(opcode, !more, bytes.len(), out));
        out.push(bytes);
        true
    }

    /// Says Close, unless it was said; [`NO_CODE`] sends none. A code that may not be sent becomes [`FAILED`].
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        if self.phase == Phase::Open {
            let code = if may_be_sent(code) || code == NO_CODE { code } else { FAILED };
            self.phase = Phase::Closing;
            self.close = Some(Box::new(Close::new(code, reason)));
            (self.ping, self.pong) = (false, None);
        }
    }

    /// Whether there is something for [`Self::write`].
    #[must_use]
    pub(crate) fn wants_write(&self) -> bool {
        self.ping || self.pong.is_some() || self.close.is_some()
    }

    /// Writes the control frames that wait.
    pub(crate) fn write(&mut self, out: &mut Queue, now: Time) {
        if let Some(bytes) = self.pong.take() {
            control(Opcode::Pong, &bytes, out);
        }
        if std::mem::take(&mut self.ping) {
            control(Opcode::Ping, b"", out);
        }
        if let Some(close) = self.close.take() {
            let mut bytes = Vec::with_capacity(CONTROL);
            if close.code != NO_CODE {
                bytes.extend_from_slice(&close.code.to_be_bytes());
                bytes.extend_from_slice(close.reason.as_bytes());
            }
            control(Opcode::Close, &bytes, out);
            self.since = now;
        }
    }

    /// What is to be done with the connection.
    #[must_use]
    pub(crate) fn end(&self) -> End {
        match self.phase {
            Phase::Draining if self.close.is_none() => End::Shut,
            Phase::Over if self.close.is_none() => End::Over,
            _ => End::Open,
        }
    }

    // ---- time -----------------------------------------------------------------------------------------------------

    /// Whether the client's connection has room, to be told at every look. While it has none no time runs here: how long a client
    /// may take nothing is the connection's affair, and a pong is far behind what waits. That it has some again is a sign.
    pub(crate) fn room(&mut self, any: bool, now: Time) {
        if any && self.full {
            self.since = now;
            self.sign(now);
        }
        self.full = !any;
    }

    /// A sign of the client. What it is asked for in the end has its time all the same.
    fn sign(&mut self, now: Time) {
        if self.phase == Phase::Open {
            (self.since, self.pinged, self.ping) = (now, false, false);
        }
    }

    /// When [`Self::on_timeout`] has to be called. How long a last word may wait for room is the connection's affair.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Open if self.full || !self.input.starved => None,
            Phase::Open if self.pinged => Some(self.since.after(self.settings.ping_timeout)),
            Phase::Open => self.settings.ping_interval.map(|interval| self.since.after(interval)),
            Phase::Closing | Phase::Draining if self.close.is_none() => {
                Some(self.since.after(self.settings.close_timeout))
            }
            Phase::Closing | Phase::Draining | Phase::Over => None,
        }
    }

    /// It is `now`.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Open if !self.pinged => (self.ping, self.pinged, self.since) = (true, true, now),
            Phase::Open => {
                self.ended(Close::new(LOST, "no answer to a ping"));
                self.close = Some(Box::new(Close::new(FAILED, "no answer to a ping")));
            }
            Phase::Closing => self.ended(Close::new(LOST, "no answer to a close")),
            Phase::Draining | Phase::Over => self.phase = Phase::Over,
        }
    }
}

fn control(opcode: Opcode, bytes: &[u8], out: &mut Queue) {
    out.encode(|out| {
        frame::write(opcode, true, bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    });
}
