//! Frames (RFC 9113 §4, §6): from bytes to frames whatever the cuts, and frames onto the wire.
//!
//! DATA is told piece by piece, as it comes; of every other frame the payload is kept until it is whole, and only if a read
//! ended within it. What a frame must be in itself is judged here, what it means at its time in [`super::conn`].

use super::{PREFACE, StreamId};

/// Bytes of the head of a frame.
pub(super) const HEAD: usize = 9;

/// Bytes of the payload of a frame that we take, and send of what is in memory: what holds unless another size is agreed.
pub(super) const PAYLOAD_MAX: usize = 16 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PRIORITY_UPDATE: u8 = 0x10;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

/// Settings (RFC 9113 §6.5.2, RFC 9218 §2.1).
pub(super) mod setting {
    pub(in crate::h2) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in crate::h2) const ENABLE_PUSH: u16 = 2;
    pub(in crate::h2) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in crate::h2) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in crate::h2) const MAX_FRAME_SIZE: u16 = 5;
    pub(in crate::h2) const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub(in crate::h2) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
    pub(in crate::h2) const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// Error codes (RFC 9113 §7), as far as we send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    None = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    SettingsTimeout = 4,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// What a client must not do: of a stream, or of the connection, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) stream: StreamId,
    pub(super) code: Code,
    pub(super) why: &'static str,
}

impl Error {
    /// After which nothing of the connection can be understood, or should be.
    pub(super) fn connection(code: Code, why: &'static str) -> Self {
        Self { stream: 0, code, why }
    }
}

fn protocol(why: &'static str) -> Error {
    Error::connection(Code::Protocol, why)
}

fn size(why: &'static str) -> Error {
    Error::connection(Code::FrameSize, why)
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A piece of a DATA frame: of the `counted` bytes, padding included, `data` is of the body. With its `last` piece comes
    /// whether the frame had none of the body, and whether the body ends.
    Data {
        stream: StreamId,
        data: &'a [u8],
        counted: usize,
        last: bool,
        empty: bool,
        end: bool,
    },
    /// The beginning of a block of fields, or all of it.
    Headers {
        stream: StreamId,
        block: &'a [u8],
        end_stream: bool,
        end_headers: bool,
    },
    Continuation {
        stream: StreamId,
        block: &'a [u8],
        end_headers: bool,
    },
    Reset {
        stream: StreamId,
    },
    /// Six bytes for each; see [`settings`].
    Settings {
        values: &'a [u8],
    },
    SettingsAck,
    Ping {
        opaque: [u8; 8],
        ack: bool,
    },
    WindowUpdate {
        stream: StreamId,
        increment: u32,
    },
    PriorityUpdate {
        stream: StreamId,
        value: &'a [u8],
    },
    /// PRIORITY, which means nothing any more, GOAWAY, after which a client closes, and frames of extensions.
    Other,
}

/// Takes frames out of what comes.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// What there is of a head or payload within which a read ended.
    kept: Vec<u8>,
    /// What is kept was told.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the preface have come.
    Preface(usize),
    Head,
    Payload(Head),
    /// `left` bytes of the payload of a DATA frame are to come; `empty` if none of the body has.
    Data {
        stream: StreamId,
        left: usize,
        padding: Padding,
        empty: bool,
        end: bool,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    /// Its length comes next.
    Unknown,
    Known(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: StreamId,
}

impl Head {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Reader {
    /// Takes the next frame, or piece, out of `bytes`, which follow what was given before, and says how many of them were
    /// used. `None`: more are needed. After an error of the connection it is not to be called again.
    pub(super) fn next<'r>(&'r mut self, bytes: &'r [u8]) -> (usize, Option<Result<Frame<'r>, Error>>) {
        if std::mem::take(&mut self.told) {
            self.kept = Vec::new();
        }
        let mut used = 0;
        if let State::Preface(seen) = self.state {
            let rest = PREFACE.get(seen..).unwrap_or_default();
            used = rest.len().min(bytes.len());
            if rest.get(..used) != bytes.get(..used) {
                return (used, Some(Err(protocol("no preface of HTTP/2"))));
            }
            self.state = if used == rest.len() { State::Head } else { State::Preface(seen + used) };
        }
        if self.state == State::Head {
            let Some(head) = gather(&mut self.kept, bytes, HEAD, &mut used).and_then(parse_head) else {
                return (used, None);
            };
            self.kept.clear();
            match begin(head) {
                Ok(state) => self.state = state,
                Err(error) => return (used, Some(Err(error))),
            }
        }
        match self.state {
            State::Payload(head) => {
                let Some(payload) = gather(&mut self.kept, bytes, head.length, &mut used) else {
                    return (used, None);
                };
                (self.state, self.told) = (State::Head, true);
                (used, Some(parse(head, payload)))
            }
            State::Data { .. } => self.data(bytes, used),
            State::Preface(_) | State::Head => (used, None),
        }
    }

    fn data<'r>(&mut self, bytes: &'r [u8], mut used: usize) -> (usize, Option<Result<Frame<'r>, Error>>) {
        let State::Data { stream, mut left, mut padding, mut empty, end } = self.state else {
            return (used, None);
        };
        let before = left;
        if padding == Padding::Unknown {
            let Some(length) = bytes.get(used) else { return (used, None) };
            (used, left) = (used + 1, left - 1);
            if usize::from(*length) > left {
                return (used, Some(Err(protocol("padding longer than its frame"))));
            }
            padding = Padding::Known(usize::from(*length));
        }
        let Padding::Known(behind) = padding else { return (used, None) };
        let here = bytes.get(used..).unwrap_or_default();
        let data = here.get(..left.saturating_sub(behind).min(here.len())).unwrap_or_default();
        let taken = left.min(here.len());
        (used, left) = (used + taken, left - taken);
        empty &= data.is_empty();
        if taken == 0 && left > 0 && left == before {
            return (used, None);
        }
        self.state = match left {
            0 => State::Head,
            _ => State::Data { stream, left, padding: Padding::Known(behind.min(left)), empty, end },
        };
        let last = left == 0;
        let (empty, end) = (empty && last, end && last);
        (used, Some(Ok(Frame::Data { stream, data, counted: before - left, last, empty, end })))
    }
}

/// The next `need` bytes, if they are there: of `bytes` from `used` on, or behind what is kept.
fn gather<'r>(kept: &'r mut Vec<u8>, bytes: &'r [u8], need: usize, used: &mut usize) -> Option<&'r [u8]> {
    let here = bytes.get(*used..).unwrap_or_default();
    let take = need.saturating_sub(kept.len()).min(here.len());
    let taken = here.get(..take)?;
    *used += take;
    if take == need {
        return Some(taken);
    }
    kept.extend_from_slice(taken);
    (kept.len() == need).then_some(kept)
}

fn parse_head(bytes: &[u8]) -> Option<Head> {
    let [a, b, c, kind, flags, rest @ ..] = bytes else { return None };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    Some(Head { length, kind: *kind, flags: *flags, stream: number(rest)? & (u32::MAX >> 1) })
}

/// The number in the first four bytes.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// What a head alone tells: whether the frame may be as long, and belong to that stream or to none.
fn begin(head: Head) -> Result<State, Error> {
    let Head { length, kind, stream, .. } = head;
    if length > PAYLOAD_MAX {
        return Err(size("frame longer than SETTINGS_MAX_FRAME_SIZE"));
    }
    match (kind, stream) {
        (DATA | HEADERS | PRIORITY | RST_STREAM | CONTINUATION, 0) => {
            return Err(protocol("frame of a stream without one"));
        }
        (SETTINGS | PING | GOAWAY | PRIORITY_UPDATE, 1..) => {
            return Err(protocol("frame of the connection on a stream"));
        }
        (PUSH_PROMISE, _) => return Err(protocol("PUSH_PROMISE of a client")),
        (DATA, _) if head.has(PADDED) && length == 0 => return Err(size("DATA without its padding length")),
        (RST_STREAM | WINDOW_UPDATE, _) if length != 4 => return Err(size("length of frame is not 4")),
        (PING, _) if length != 8 => return Err(size("length of PING is not 8")),
        (GOAWAY, _) if length < 8 => return Err(size("length of GOAWAY below 8")),
        (PRIORITY_UPDATE, _) if length < 4 => return Err(size("length of PRIORITY_UPDATE below 4")),
        (SETTINGS, _) if length % 6 != 0 || (head.has(ACK) && length > 0) => {
            return Err(size("length of SETTINGS"));
        }
        _ => {}
    }
    Ok(if kind == DATA {
        let padding = if head.has(PADDED) { Padding::Unknown } else { Padding::Known(0) };
        State::Data { stream, left: length, padding, empty: true, end: head.has(END_STREAM) }
    } else {
        State::Payload(head)
    })
}

fn parse(head: Head, payload: &[u8]) -> Result<Frame<'_>, Error> {
    let Head { kind, stream, length, .. } = head;
    let short = size("frame too short");
    Ok(match kind {
        HEADERS => {
            let block = block(head, payload)?;
            let (end_stream, end_headers) = (head.has(END_STREAM), head.has(END_HEADERS));
            Frame::Headers { stream, block, end_stream, end_headers }
        }
        CONTINUATION => Frame::Continuation { stream, block: payload, end_headers: head.has(END_HEADERS) },
        RST_STREAM => Frame::Reset { stream },
        SETTINGS if head.has(ACK) => Frame::SettingsAck,
        SETTINGS => Frame::Settings { values: payload },
        PING => Frame::Ping { opaque: *payload.first_chunk().ok_or(short)?, ack: head.has(ACK) },
        WINDOW_UPDATE => {
            Frame::WindowUpdate { stream, increment: number(payload).ok_or(short)? & (u32::MAX >> 1) }
        }
        PRIORITY_UPDATE => {
            let (id, value) = payload.split_at_checked(4).ok_or(short)?;
            let stream = number(id).ok_or(short)? & (u32::MAX >> 1);
            if stream == 0 {
                return Err(protocol("PRIORITY_UPDATE of no stream"));
            }
            Frame::PriorityUpdate { stream, value }
        }
        PRIORITY if length != 5 => {
            return Err(Error { stream, code: Code::FrameSize, why: "length of PRIORITY is not 5" });
        }
        _ => Frame::Other,
    })
}

/// The fields of HEADERS without padding and dependency.
fn block(head: Head, mut payload: &[u8]) -> Result<&[u8], Error> {
    let short = size("HEADERS too short");
    let mut padding = 0;
    if head.has(PADDED) {
        let (length, rest) = payload.split_first().ok_or(short)?;
        (padding, payload) = (usize::from(*length), rest);
    }
    if head.has(WITH_PRIORITY) {
        payload = payload.get(5..).ok_or(short)?;
    }
    let end = payload.len().checked_sub(padding).ok_or(protocol("padding longer than its frame"))?;
    Ok(payload.get(..end).unwrap_or_default())
}

/// Identifiers and values of a SETTINGS frame.
pub(super) fn settings(values: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    values.chunks_exact(6).filter_map(|entry| {
        let (id, value) = entry.split_first_chunk()?;
        Some((u16::from_be_bytes(*id), number(value)?))
    })
}

fn write_head(length: usize, kind: u8, flags: u8, stream: StreamId, out: &mut Vec<u8>) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// The head of a DATA frame.
pub(super) fn write_data_head(stream: StreamId, length: usize, end: bool, out: &mut Vec<u8>) {
    write_head(length, DATA, if end { END_STREAM } else { 0 }, stream, out);
}

/// HEADERS with the block that `write` writes, and CONTINUATIONs with what does not fit.
pub(super) fn write_headers(
    stream: StreamId,
    end: bool,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let end = if end { END_STREAM } else { 0 };
    write_head(0, HEADERS, end | END_HEADERS, stream, out);
    write(out);
    let length = out.len().saturating_sub(start + HEAD);
    if length <= PAYLOAD_MAX {
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        if let Some(place) = out.get_mut(start..start + 3) {
            place.copy_from_slice(&[high, middle, low]);
        }
        return;
    }
    let block = out.split_off(start + HEAD);
    out.truncate(start);
    let last = block.len().div_ceil(PAYLOAD_MAX) - 1;
    for (at, part) in block.chunks(PAYLOAD_MAX).enumerate() {
        let (kind, end) = if at == 0 { (HEADERS, end) } else { (CONTINUATION, 0) };
        let flags = if at == last { end | END_HEADERS } else { end };
        write_head(part.len(), kind, flags, stream, out);
        out.extend_from_slice(part);
    }
}

pub(super) fn write_settings(values: &[(u16, u32)], out: &mut Vec<u8>) {
    write_head(values.len() * 6, SETTINGS, 0, 0, out);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write_head(0, SETTINGS, ACK, 0, out);
}

pub(super) fn write_ping(opaque: [u8; 8], ack: bool, out: &mut Vec<u8>) {
    write_head(8, PING, if ack { ACK } else { 0 }, 0, out);
    out.extend_from_slice(&opaque);
}

pub(super) fn write_reset(stream: StreamId, code: Code, out: &mut Vec<u8>) {
    write_head(4, RST_STREAM, 0, stream, out);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// `why` is for the person who looks at it.
pub(super) fn write_goaway(last: StreamId, code: Code, why: &str, out: &mut Vec<u8>) {
    write_head(8 + why.len(), GOAWAY, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(why.as_bytes());
}

pub(super) fn write_window_update(stream: StreamId, increment: u32, out: &mut Vec<u8>) {
    write_head(4, WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

#[cfg(test)]
mod tests;
