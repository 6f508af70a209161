//! Master and worker. A message is JSON, as nothing of it is said for each request.
//!
//! The master speaks over a SOCK_SEQPACKET socket, a message a packet, as a descriptor may go with it. The worker speaks
//! over a pipe, which carries none; there each message follows its length, a u16, and both together fit what a pipe takes
//! whole or not at all ([`PACKET`]).

use super::command::LogStatus;
use super::maintenance::Maintenance;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a worker has against a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Complaint {
    /// A request ran into the app's `timeout`.
    Late,
    /// Its socket cannot be connected to.
    Unreachable,
    /// What it answers is not the protocol.
    Malformed,
}

/// A part of what is wrong with an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// Pool on the board.
    pub(crate) pool: u16,
    /// The same in all parts, and in no others.
    pub(crate) serial: u64,
    /// From 0, in order.
    pub(crate) part: u16,
    /// Nothing more follows.
    pub(crate) is_last: bool,
    pub(crate) text: String,
}

/// Characters of a part: escaped, each has six bytes at most, and a packet takes [`PACKET`].
const PART: usize = 600;

/// Bytes of a text that are told: its end, where the exception is.
const LONGEST_TROUBLE: usize = 24 * 1024;

impl Trouble {
    /// The parts of a text, at least one; of a long one its end.
    pub(crate) fn parts(pool: u16, serial: u64, text: &str) -> Vec<Self> {
        let from = text.len().saturating_sub(LONGEST_TROUBLE);
        let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        let cut = if from > 0 { "[...]\n" } else { "" };
        let whole: Vec<char> = cut.chars().chain(text.get(from..).unwrap_or_default().chars()).collect();
        let count = whole.chunks(PART).len();
        let parts = whole.chunks(PART).zip(0u16..).map(|(part, number)| Self {
            pool,
            serial,
            part: number,
            is_last: usize::from(number) + 1 == count,
            text: part.iter().collect(),
        });
        parts.collect()
    }
}

/// From the master to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A part of what code that is watched has said instead of starting (`reload_on_change`).
    Trouble(Trouble),
    /// Something was edited: pages of apps with `live_reload` load themselves again that have another serial.
    Edited {
        /// Which no other edit has, of this master or of one before.
        serial: u64,
    },
    /// The code of this pool starts.
    Mended {
        /// Pool on the board.
        pool: u16,
    },
    /// The sites of this label are closed for maintenance, or open again.
    Maintenance {
        /// No two messages have the same.
        serial: u64,
        /// The label.
        site: String,
        /// `None`: they are open.
        closed: Option<Box<Maintenance>>,
    },
    /// DEL and ADD the listeners again: an exclusive wake-up may have been lost with a worker that left.
    Rearm,
    /// An access log was reopened; the new descriptor comes with this packet (SCM_RIGHTS).
    AccessLog {
        /// Which; `None`: standard output. A worker of an older generation may not have it.
        path: Option<PathBuf>,
    },
    /// Certificates, or what else TLS needs, have changed; the whole of it comes with this packet, in a file in memory.
    Credentials {
        /// Its number.
        serial: u64,
    },
}

/// From a worker to the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It goes by the credentials of this number.
    Credentials {
        /// The number.
        serial: u64,
    },
    /// It cannot write a log, or can again.
    Log(LogStatus),
    /// It has logged this.
    Logged(String),
    /// So often more servers of an upstream were at fault for a reason.
    Faults {
        /// The upstream, by name.
        upstream: String,
        /// The reason, by its word.
        word: String,
        /// How often.
        count: u64,
    },
    /// So often more a limit was exceeded.
    Limited {
        /// The limit, by its label.
        label: String,
        /// Requests that were refused.
        refused: u64,
        /// Requests that were not, as the limit is only tried.
        spared: u64,
    },
    /// A client that may do so has asked to take this out of what is kept of a site.
    Purge {
        /// The site, by its label.
        site: String,
        /// What of it.
        what: Purge,
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
    /// It has tunnels to this process, which runs by a command, or has none to it any more. Told when that changes.
    Tunnels {
        /// Any of its units.
        at: Unit,
        /// Whether it has.
        any: bool,
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

/// What of a site is purged by request, more than one URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purge {
    /// All URLs that begin like this, as it stands in a key.
    Prefix(String),
    /// What has one of these tags, by their hashes.
    Tags(Vec<u64>),
}

impl Purge {
    /// Tags that one message names at most: each is a ban, and few are remembered.
    pub(crate) const MOST_TAGS: usize = 32;
    /// Bytes of a prefix at most: of a longer one a ban knows the beginning only.
    pub(crate) const LONGEST_PREFIX: usize = 500;
}

/// Most bytes of a message with its length: PIPE_BUF of Linux (pipe(7)).
pub(crate) const PACKET: usize = 4096;

/// Bytes of the length.
const LENGTH: usize = 2;

/// Longest message of a worker.
const LONGEST: usize = PACKET - LENGTH;

/// Cuts what workers write into messages.
#[derive(Debug)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    start: usize,
}

/// Of bytes read from the pipe.
impl From<Vec<u8>> for Reader {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }
}

impl Reader {
    /// The next message, `None` if more bytes are needed; `Some(None)` for one of no known kind.
    pub(crate) fn poll(&mut self) -> Option<Option<ToMaster>> {
        let rest = self.bytes.get(self.start..)?;
        let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
        let message = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
        let decoded = ToMaster::decode(message);
        self.start += LENGTH + message.len();
        Some(decoded)
    }

    /// What was fed and is not yet part of a message: what the next reader begins with.
    #[must_use]
    pub(crate) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }
}

impl ToWorker {
    /// The packet.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// The message in a packet, `None` if it is not one.
    #[must_use]
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        serde_json::from_slice(packet).ok()
    }
}

impl ToMaster {
    /// Its length and the message; a long text is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = json(self);
        let mut shorter = self.clone();
        while message.len() > LONGEST
            && let Self::Failed(text)
            | Self::Logged(text)
            | Self::Log(LogStatus { path: text, .. })
            | Self::Faults { upstream: text, .. }
            | Self::Limited { label: text, .. }
            | Self::Runs { request: text, .. }
            | Self::Stuck { reason: text, .. } = &mut shorter
        {
            // Escaped, a character may have six bytes.
            (0..(message.len() - LONGEST).div_ceil(6)).for_each(|_| _ = text.pop());
            message = json(&shorter);
        }
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        [&length.to_le_bytes(), &message[..]].concat()
    }

    /// The message in these bytes, its length taken off; `None` if it is none.
    #[must_use]
    pub(crate) fn decode(packet: &[u8]) -> Option<Self> {
        serde_json::from_slice(packet).ok()
    }
}

/// Plain data has a JSON; nothing would be no message.
fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Unit = Unit { pool: 1, slot: 2, thread: 258, incarnation: 70_000 };

    #[test]
    fn a_trouble_comes_in_parts_that_fit_and_of_a_long_one_the_end() {
        for text in ["KeyError", &"\u{7}\u{1f600}".repeat(2000), &"line\n".repeat(20_000)] {
            let parts = Trouble::parts(1, 7, text);
            let whole: String = parts.iter().map(|part| part.text.as_str()).collect();
            assert!(text.ends_with(whole.trim_start_matches("[...]\n")), "{}", text.len());
            assert!(whole.len() >= text.len().min(LONGEST_TROUBLE), "{}", text.len());
            assert_eq!(parts.iter().filter(|part| part.is_last).count(), 1);
            assert!(
                parts.last().unwrap().is_last
                    && parts.iter().zip(0..).all(|(part, number)| part.part == number)
            );
            assert!(parts.into_iter().all(|part| ToWorker::Trouble(part).encode().len() <= PACKET));
        }
        assert!(Trouble::parts(1, 7, &"x".repeat(LONGEST_TROUBLE + 1))[0].text.starts_with("[...]\nx"));
    }

    #[test]
    fn every_message_survives_the_wire() {
        let down = [
            ToWorker::Open,
            ToWorker::Drain { within: 7 },
            ToWorker::Stop { within: u64::MAX },
            ToWorker::Mended { pool: 3 },
            ToWorker::Edited { serial: u64::MAX },
            ToWorker::Trouble(Trouble {
                pool: 3,
                serial: 9,
                part: 1,
                is_last: true,
                text: "x\n\"ü".to_owned(),
            }),
            ToWorker::Rearm,
            ToWorker::Maintenance { serial: 1, site: "a".to_owned(), closed: None },
            ToWorker::Maintenance { serial: 2, site: "a".to_owned(), closed: Some(Box::default()) },
            ToWorker::AccessLog { path: None },
            ToWorker::AccessLog { path: Some("/a b\"".into()) },
            ToWorker::Credentials { serial: u64::MAX },
        ];
        down.iter()
            .for_each(|message| assert_eq!(ToWorker::decode(&message.encode()), Some(message.clone())));
        let up = [
            ToMaster::Ready,
            ToMaster::Closed,
            ToMaster::Sandboxed { landlock: 7, seccomp: true },
            ToMaster::RootReplaced,
            ToMaster::Credentials { serial: 7 },
            ToMaster::Logged("WARN  no such file".to_owned()),
            ToMaster::Log(LogStatus {
                path: "/var/log/access.log".to_owned(),
                lines: 3,
                ..LogStatus::default()
            }),
            ToMaster::Runs { at: UNIT, since: u64::MAX - 1, request: "GET /slow".to_owned() },
            ToMaster::Ran { at: UNIT },
            ToMaster::Faults { upstream: "api".to_owned(), word: "closed".to_owned(), count: 3 },
            ToMaster::Limited { label: "class search".to_owned(), refused: 3, spared: 0 },
            ToMaster::Purge { site: "a".to_owned(), what: Purge::Prefix("http://a/\"".to_owned()) },
            ToMaster::Purge { site: "a".to_owned(), what: Purge::Tags(vec![0, u64::MAX]) },
            ToMaster::Load(Load::Low),
            ToMaster::Load(Load::High),
            ToMaster::Failed("no such directory".to_owned()),
            ToMaster::Want { pool: 258 },
            ToMaster::Left { pool: 1, slot: 2 },
            ToMaster::Tunnels { at: UNIT, any: true },
            ToMaster::Stuck { at: UNIT, complaint: Complaint::Late, reason: "GET /slow".to_owned() },
            ToMaster::Stuck { at: UNIT, complaint: Complaint::Malformed, reason: String::new() },
        ];
        // In one go, and byte by byte.
        let wire: Vec<u8> = up.iter().flat_map(ToMaster::encode).collect();
        for piece in [wire.len(), 1] {
            let (mut rest, mut heard) = (Vec::new(), Vec::new());
            for bytes in wire.chunks(piece) {
                let mut reader = Reader::from([rest.as_slice(), bytes].concat());
                heard.extend(std::iter::from_fn(|| reader.poll()).map(Option::unwrap));
                rest = reader.into_rest();
            }
            assert_eq!((heard.as_slice(), rest.as_slice()), (&up[..], &b""[..]));
        }
    }

    #[test]
    fn a_long_text_is_cut_to_what_a_pipe_takes_whole() {
        for piece in ["x", "ä", "\"", "\0", "🦀", "\u{1}x\\é"] {
            let text = piece.repeat(PACKET * 2);
            for message in [
                ToMaster::Failed(text.clone()),
                ToMaster::Logged(text.clone()),
                ToMaster::Log(LogStatus { path: text.clone(), ..LogStatus::default() }),
                ToMaster::Runs { at: UNIT, since: u64::MAX, request: text.clone() },
                ToMaster::Stuck { at: UNIT, complaint: Complaint::Unreachable, reason: text.clone() },
            ] {
                let packet = message.encode();
                assert!((PACKET - 8..=PACKET).contains(&packet.len()), "{piece:?}: {}", packet.len());
                let mut reader = Reader::from(packet);
                let kept = match reader.poll().unwrap().unwrap() {
                    ToMaster::Failed(text)
                    | ToMaster::Logged(text)
                    | ToMaster::Log(LogStatus { path: text, .. })
                    | ToMaster::Runs { request: text, .. }
                    | ToMaster::Stuck { reason: text, .. } => text,
                    other => panic!("{other:?}"),
                };
                assert!(text.starts_with(&kept) && kept.len() > 100 && reader.into_rest().is_empty());
            }
        }
    }

    #[test]
    fn the_largest_purge_fits_into_a_packet() {
        for what in
            [Purge::Prefix("\"".repeat(Purge::LONGEST_PREFIX)), Purge::Tags(vec![u64::MAX; Purge::MOST_TAGS])]
        {
            let packet = ToMaster::Purge { site: "s".repeat(2000), what: what.clone() }.encode();
            assert!(packet.len() <= PACKET, "{}", packet.len());
            let heard = Reader::from(packet).poll().unwrap();
            assert!(matches!(heard, Some(ToMaster::Purge { what: heard, .. }) if heard == what));
        }
    }

    #[test]
    fn garbage_is_no_message() {
        for packet in [
            &b""[..],
            b"\x09\x03",
            b"\"Readily\"",
            b"\"Ready",
            b"\"Ready\" 1",
            b"{\"Want\":{\"pool\":65536}}",
            b"{\"Want\":{\"pool\":1},\"Ready\":null}",
            b"{\"Load\":\"Highest\"}",
            b"{\"Stop\":{}}",
            b"{\"Failed\":\"\xff\"}",
            &b"[".repeat(LONGEST),
        ] {
            assert_eq!(ToMaster::decode(packet), None);
            assert_eq!(ToWorker::decode(packet), None);
        }
        let mut reader = Reader::from(b"\0\0\x01\0\x63\x08\0\"Closed\"\x09".to_vec());
        assert_eq!([reader.poll(), reader.poll()], [Some(None), Some(None)], "nothing, and no known kind");
        assert_eq!((reader.poll(), reader.poll()), (Some(Some(ToMaster::Closed)), None));
    }
}
