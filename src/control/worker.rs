//! Master and worker. A message is a tag byte and its operands in little endian.
//!
//! The master speaks over a SOCK_SEQPACKET socket, a message a packet, as a descriptor may go with it. The worker speaks
//! over a pipe, which carries none; there each message follows its length, a u16, and both together fit what a pipe takes
//! whole or not at all ([`PACKET`]).

use serde::{Deserialize, Serialize};

/// How busy a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Load {
    /// One worker fewer would do.
    #[default]
    Low,
    /// Neither.
    Middle,
    /// Its loop hardly rests any more, or it can take no more connections: what comes next waits.
    High,
}

/// A unit of a process of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Pool on the board.
    pub pool: u16,
    /// Slot of its process.
    pub slot: u16,
    /// Its number in the process.
    pub thread: u16,
    /// Which process of that slot.
    pub incarnation: u32,
}

impl Unit {
    fn encode(self) -> Vec<u8> {
        let Self { pool, slot, thread, incarnation } = self;
        [&pool.to_le_bytes()[..], &slot.to_le_bytes(), &thread.to_le_bytes(), &incarnation.to_le_bytes()]
            .concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let incarnation = u32::from_le_bytes(bytes.get(6..10)?.try_into().ok()?);
        Some(Self { pool: word(0)?, slot: word(2)?, thread: word(4)?, incarnation })
    }
}

/// What a worker has against a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A request ran into the app's `timeout`.
    Late,
    /// Its socket cannot be connected to.
    Unreachable,
    /// What it answers is not the protocol.
    Malformed,
}

/// From the master to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// Start accepting: the generation serves.
    Open,
    /// Reload: stop accepting (after accepting until EAGAIN), answer what comes on kept-alive connections with
    /// `Connection: close`, leave when none is left or after so many nanoseconds.
    Drain {
        /// Bound.
        within: u64,
    },
    /// Stop: like drain, but idle connections close at once.
    Stop {
        /// Bound.
        within: u64,
    },
    /// DEL and ADD the listeners again: an exclusive wake-up may have been lost with a worker that left.
    Rearm,
    /// The access log was reopened; the new descriptor comes with this packet (SCM_RIGHTS).
    AccessLog,
}

/// From a worker to the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMaster {
    /// Set up; waits for `Open`.
    Ready,
    /// Could not be set up; exits next.
    Failed(String),
    /// Accepts no more, after `Drain` or `Stop`: every new connection reaches other workers.
    Closed,
    /// What of the sandbox took effect; before anything else.
    Sandboxed {
        /// Version of Landlock's interface; 0: not restricted by it.
        landlock: u8,
        /// The filter of system calls is in place.
        seccomp: bool,
    },
    /// Another directory has the path of a static root now.
    RootReplaced,
    /// It is busier, or less busy, than it said last (at first: Low).
    Load(Load),
    /// A request waits for this pool and no unit is free.
    Want {
        /// Pool on the board.
        pool: u16,
    },
    /// A unit that the master marked as leaving was freed.
    Left {
        /// Pool on the board.
        pool: u16,
        /// Slot of its process.
        slot: u16,
    },
    /// A request has run for a while in this unit; what `status` shows until it is over.
    Runs {
        /// Where.
        at: Unit,
        /// Since when, in nanoseconds of CLOCK_MONOTONIC.
        since: u64,
        /// Method and path.
        request: String,
    },
    /// The request in this unit of which the master was told is over.
    Ran {
        /// Where.
        at: Unit,
    },
    /// The process seems to be of no more use. What is believed of that the master decides.
    Stuck {
        /// Where.
        at: Unit,
        /// What is wrong.
        complaint: Complaint,
        /// The same, with the request.
        reason: String,
    },
}

/// Most bytes of a message with its length: PIPE_BUF of Linux (pipe(7)).
pub(crate) const PACKET: usize = 4096;

/// Bytes of the length.
const LENGTH: usize = 2;

/// Longest message of a worker.
const LONGEST: usize = PACKET - LENGTH;

/// Cuts what workers write into messages.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    start: usize,
}

impl Reader {
    /// Takes bytes read from the pipe.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, `None` if more bytes are needed; `Some(None)` for one of no known kind.
    pub(crate) fn poll(&mut self) -> Option<Option<ToMaster>> {
        let (length, rest) = self.rest().split_first_chunk::<LENGTH>()?;
        let message = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        let decoded = ToMaster::decode(message);
        self.start += LENGTH + message.len();
        Some(decoded)
    }

    /// What was fed and is not yet part of a message.
    #[must_use]
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl ToWorker {
    /// The packet.
    #[must_use]
    pub(crate) fn encode(self) -> Vec<u8> {
        let (tag, operand) = match self {
            Self::Open => (1, 0),
            Self::Drain { within } => (2, within),
            Self::Stop { within } => (3, within),
            Self::Rearm => (4, 0),
            Self::AccessLog => (5, 0),
        };
        let mut packet = vec![tag];
        packet.extend_from_slice(&operand.to_le_bytes());
        packet
    }

    /// The message in a packet, `None` if it is not one.
    #[must_use]
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, operand) = packet.split_first()?;
        let operand = u64::from_le_bytes(operand.try_into().ok()?);
        match tag {
            1 => Some(Self::Open),
            2 => Some(Self::Drain { within: operand }),
            3 => Some(Self::Stop { within: operand }),
            4 => Some(Self::Rearm),
            5 => Some(Self::AccessLog),
            _ => None,
        }
    }
}

impl ToMaster {
    /// Its length and the message; a long text is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let message = self.message();
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        [&length.to_le_bytes(), &message[..]].concat()
    }

    fn message(&self) -> Vec<u8> {
        match self {
            Self::Ready => vec![1],
            Self::Closed => vec![6],
            Self::RootReplaced => vec![8],
            Self::Load(load) => vec![9, *load as u8],
            Self::Sandboxed { landlock, seccomp } => vec![7, *landlock, u8::from(*seccomp)],
            Self::Failed(text) => {
                let mut packet = vec![2];
                packet.extend_from_slice(text.as_bytes().get(..LONGEST - 1).unwrap_or(text.as_bytes()));
                packet
            }
            Self::Want { pool } => [&[3], &pool.to_le_bytes()[..]].concat(),
            Self::Left { pool, slot } => [&[4], &pool.to_le_bytes()[..], &slot.to_le_bytes()].concat(),
            Self::Runs { at, since, request } => {
                let numbers = [&[10], &at.encode()[..], &since.to_le_bytes()].concat();
                let request = request.as_bytes();
                [&numbers, request.get(..LONGEST - numbers.len()).unwrap_or(request)].concat()
            }
            Self::Ran { at } => [&[11], &at.encode()[..]].concat(),
            Self::Stuck { at, complaint, reason } => {
                let numbers = [&[5], &at.encode()[..], &[*complaint as u8]].concat();
                let reason = reason.as_bytes();
                [&numbers, reason.get(..LONGEST - numbers.len()).unwrap_or(reason)].concat()
            }
        }
    }

    /// The message in these bytes, its length taken off; `None` if it is none.
    #[must_use]
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        let word = |bytes: &[u8]| Some(u16::from_le_bytes(bytes.try_into().ok()?));
        let (tag, rest) = packet.split_first()?;
        match (tag, rest.len()) {
            (1, 0) => Some(Self::Ready),
            (6, 0) => Some(Self::Closed),
            (8, 0) => Some(Self::RootReplaced),
            (9, 1) => [Load::Low, Load::Middle, Load::High]
                .into_iter()
                .find(|load| rest == [*load as u8])
                .map(Self::Load),
            (7, 2) => Some(Self::Sandboxed { landlock: *rest.first()?, seccomp: *rest.get(1)? != 0 }),
            (2, _) => Some(Self::Failed(String::from_utf8_lossy(rest).into_owned())),
            (3, 2) => Some(Self::Want { pool: word(rest)? }),
            (4, 4) => Some(Self::Left { pool: word(rest.get(..2)?)?, slot: word(rest.get(2..)?)? }),
            (10, 18..) => Some(Self::Runs {
                at: Unit::decode(rest)?,
                since: u64::from_le_bytes(rest.get(10..18)?.try_into().ok()?),
                request: String::from_utf8_lossy(rest.get(18..)?).into_owned(),
            }),
            (11, 10) => Some(Self::Ran { at: Unit::decode(rest)? }),
            (5, 11..) => Some(Self::Stuck {
                at: Unit::decode(rest)?,
                complaint: [Complaint::Late, Complaint::Unreachable, Complaint::Malformed]
                    .into_iter()
                    .find(|complaint| rest.get(10) == Some(&(*complaint as u8)))?,
                reason: String::from_utf8_lossy(rest.get(11..)?).into_owned(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit { pool: 1, slot: 2, thread: 258, incarnation: 70_000 };

    #[test]
    fn every_message_survives_the_wire() {
        let down = [
            ToWorker::Open,
            ToWorker::Drain { within: 7 },
            ToWorker::Stop { within: u64::MAX },
            ToWorker::Rearm,
            ToWorker::AccessLog,
        ];
        down.iter().for_each(|message| assert_eq!(ToWorker::decode(&message.encode()), Some(*message)));
        let up = [
            ToMaster::Ready,
            ToMaster::Closed,
            ToMaster::Sandboxed { landlock: 7, seccomp: true },
            ToMaster::RootReplaced,
            ToMaster::Runs { at: UNIT, since: u64::MAX - 1, request: "GET /slow".to_owned() },
            ToMaster::Ran { at: UNIT },
            ToMaster::Load(Load::Low),
            ToMaster::Load(Load::High),
            ToMaster::Failed("no such directory".to_owned()),
            ToMaster::Want { pool: 258 },
            ToMaster::Left { pool: 1, slot: 2 },
            ToMaster::Stuck { at: UNIT, complaint: Complaint::Late, reason: "GET /slow".to_owned() },
            ToMaster::Stuck { at: UNIT, complaint: Complaint::Malformed, reason: String::new() },
        ];
        // In one go, and byte by byte.
        let wire: Vec<u8> = up.iter().flat_map(ToMaster::encode).collect();
        for piece in [wire.len(), 1] {
            let (mut reader, mut heard) = (Reader::default(), Vec::new());
            for bytes in wire.chunks(piece) {
                reader.feed(bytes);
                heard.extend(std::iter::from_fn(|| reader.poll()).map(Option::unwrap));
            }
            assert_eq!((heard.as_slice(), reader.rest()), (&up[..], &b""[..]));
        }
        assert_eq!(ToMaster::Failed("x".repeat(PACKET * 2)).encode().len(), PACKET);
        let long =
            ToMaster::Stuck { at: UNIT, complaint: Complaint::Unreachable, reason: "x".repeat(PACKET * 2) };
        assert_eq!(long.encode().len(), PACKET);
    }

    #[test]
    fn garbage_is_no_message() {
        for packet in [&b""[..], b"\x09\x03", b"\x0a", b"\x0c", b"\x03\x01", b"\x04\x01\x02\x03", b"\x01\x00"]
        {
            assert_eq!(ToMaster::decode(packet), None);
            assert_eq!(ToWorker::decode(packet), None);
        }
        let mut reader = Reader::default();
        reader.feed(&[0, 0, 1, 0, 99, 1, 0, 6, 5]);
        assert_eq!([reader.poll(), reader.poll()], [Some(None), Some(None)], "nothing, and no known kind");
        assert_eq!((reader.poll(), reader.poll()), (Some(Some(ToMaster::Closed)), None));
    }
}
