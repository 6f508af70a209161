//! What can go wrong with an exchange: the one vocabulary for it, and the one table of what follows (research, web-servers
//! §4.10, §4.12).
//!
//! | fault | who | status | retry | level |
//! |---|---|---|---|---|
//! | `Request` | client | as it says | never | info |
//! | `Abandoned` | client | 408 | never | info |
//! | `Left` | client | 499 | never | debug: it is in the access log |
//! | `Refused` | upstream | 502 | always: not a byte of the request was taken | error |
//! | `Handshake` | upstream | 502 | always | error |
//! | `ConnectTimeout` | upstream | 504 | always | error |
//! | `Declined` | upstream | 503 | always | error |
//! | `Closed` | upstream | 502 | idempotent methods | error |
//! | `Untaken` | upstream | 504 | idempotent methods | error |
//! | `Silent` | upstream | 504 | idempotent methods | error |
//! | `Truncated`, `Malformed`, `Unasked`, `HeadTooLarge` | upstream | 502 | idempotent methods | error |
//! | `WrongLength`, `Excess` | upstream | 502 | never | error |
//! | `Absent`, `Barred` | client | 404, 403 | never | debug: who looked for it has told |
//! | `Unstarted` | upstream | 500 | never | debug: the same |
//! | `Failed` | upstream | 500 | never | debug: the traceback is in the log |
//! | `Stalled` | upstream | 504 | never | error |
//! | `Overdue` | upstream | 504 | never | error |
//! | `Overlong` | upstream | 504 | never | info |
//! | `Idle`, `Drained` | upstream, us | 504, 503 | never | debug: a tunnel that ends so is in the access log |
//! | `Misled`, `Unsendable` | upstream | 502 | never | error |
//! | `Circle` | upstream | 500 | never | error |
//! | `Rewrite` | us | 500 | never | error |
//! | `Crowded` | upstream | 503 | never: waiting was tried already, or is not wanted | warn |
//! | `Nobody` | upstream | 503 | never | error |
//! | `Unresolved` | upstream | 503 | never: waiting was tried already, or the answer is known | warn |
//! | `Unhealthy` | upstream | 502 | idempotent methods: of statuses that the operator names | warn |
//! | `Busy` | upstream | 503 | never: waiting was tried already | warn |
//! | `Full` | upstream | 503 | never: waiting is not wanted | warn |
//! | `Unavailable` | upstream | 503 | never | debug: whoever starts it has told |
//! | `Shortage`, `Disk`, `Spool` | us | 503 | never | error |

use super::Method;

/// Why a request has no answer, or not the whole of it. "Upstream" is whoever was to answer, an app too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request cannot be served.
    Request(Refusal),
    /// The client did not send, or take, the rest in time.
    Abandoned(&'static str),
    /// The client has closed its side, and what ran for it was given up. It gets no answer: 499 is for the access log.
    Left,
    /// No connection: refused, unreachable, no such socket.
    Refused,
    /// A connection, and no TLS in it: no byte of the request was sent.
    Handshake,
    /// No connection in time.
    ConnectTimeout,
    /// It said that it takes no more requests, before it took this one.
    Declined,
    /// Closed or reset after the request was (partly) sent, before the first byte of a response.
    Closed,
    /// It did not take the request in time.
    Untaken,
    /// No response in time.
    Silent,
    /// Ended in the middle of the head or of the body.
    Truncated,
    /// Silent in the middle of a response for too long.
    Stalled,
    /// The request with its response has taken longer than the operator lets it, with all tries.
    Overdue,
    /// A response that takes longer than the operator lets it.
    Overlong,
    /// Not the protocol, or framing that two parties could read differently.
    Malformed(Flaw),
    /// It switches to a protocol that nobody has asked for.
    Unasked,
    /// Nothing came through a tunnel for too long.
    Idle,
    /// The worker leaves, and a tunnel has had its time.
    Drained,
    /// A response head over the limit.
    HeadTooLarge,
    /// The app raised an exception before its response began.
    Failed,
    /// There is no script of that name.
    Absent,
    /// There is one that may not be run.
    Barred,
    /// There is one that cannot be run.
    Unstarted,
    /// The body has another length than the head announced.
    WrongLength,
    /// Every server of the upstream has as many requests as it may, and too many wait, or this one has waited too long.
    Crowded,
    /// Every server of the upstream was taken out.
    Nobody,
    /// The names of its servers lead nowhere, or nobody has said yet where.
    Unresolved,
    /// A status after which another server is asked.
    Unhealthy,
    /// Bytes follow the response.
    Excess,
    /// It leads to a place that is none of this site.
    Misled,
    /// It was led from place to place too often.
    Circle,
    /// It was rewritten too often, or to what is no path.
    Rewrite,
    /// It wants a file to be sent that it may not have sent.
    Unsendable,
    /// The wait for a unit of the app was too long.
    Busy,
    /// Too many wait for a unit of the app.
    Full,
    /// The app does not start, or its processes cannot be reached.
    Unavailable,
    /// This server has no descriptors or memory left, for a connection or a file.
    Shortage,
    /// A disk of this server does not answer.
    Disk,
    /// This server cannot keep the body of the request.
    Spool,
}

/// How a response breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// It does not begin as one of HTTP/1.0 or 1.1.
    Start,
    /// The status is none, or none that may stand there.
    Status,
    /// A line of the head is no field, or has control characters.
    Field,
    /// Content-Length is no number, or stands there more than once.
    Length,
    /// Transfer-Encoding is not `chunked` alone, or stands where it must not.
    Coding,
    /// Content-Length beside Transfer-Encoding.
    Both,
    /// The chunks are none.
    Chunk,
    /// Interim responses without an end.
    Interims,
    /// It is not in records, or a document breaks off where its records end.
    Record,
    /// It is not in our frames, or no head of a response is in them (apps only).
    Frame,
    /// It is not that of a CGI program: the host says why (scripts only).
    Program,
}

/// Why a request is not served, for a reason that lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// For the log; names the limit if one could be raised.
    pub why: &'static str,
}

impl Refusal {
    /// A body over `max_body`, announced or not.
    pub const BODY_TOO_LARGE: Self = Self { status: 413, why: "request body too large; raise max_body" };

    /// A path with dot segments, `;`, a backslash or an encoded slash, which not every server finds where we did.
    pub(crate) const MISREAD: Self = Self {
        status: 400,
        why: "the path could be read as one of another location; see the manual on proxies",
    };
}

/// Where a fault lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// In the client.
    Client,
    /// In the upstream or app.
    Upstream,
    /// In this server.
    Us,
}

/// When a request may be sent again, to the same or another server (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Whatever the method.
    Always,
    /// Only if a repeated request has the effect of one, and its body can be sent again.
    Idempotent,
    /// No.
    Never,
}

/// How loud a fault is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// For whoever looks for it.
    Debug,
    /// What clients do.
    Info,
    /// Something wants more.
    Warn,
    /// Something is broken.
    Error,
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it lies.
    pub(crate) who: Who,
    /// The status for the client, as long as no response head has been sent.
    pub(crate) status: u16,
    /// Whether another try is safe, as long as nothing of the response has reached the client.
    pub(crate) retry: Retry,
    /// How loud it is told of.
    pub(crate) level: Level,
    /// What it is called where it is counted: in the log, the access log and `status`.
    pub(crate) word: &'static str,
    /// What it is, in the log and in the access log.
    pub(crate) why: &'static str,
}

impl Retry {
    /// Whether a request of this method may be sent again.
    #[must_use]
    pub(crate) fn allows(self, method: Method) -> bool {
        match self {
            Self::Always => true,
            Self::Idempotent => method.is_idempotent(),
            Self::Never => false,
        }
    }
}

impl Fault {
    /// Its row of the table.
    #[must_use]
    pub(crate) fn row(self) -> Row {
        use {Level as L, Retry as R, Who as W};
        let row = |who, status, retry, level, word, why| Row { who, status, retry, level, word, why };
        let upstream = |status, retry, word, why| row(W::Upstream, status, retry, L::Error, word, why);
        let waited = |word, why| row(W::Upstream, 503, R::Never, L::Warn, word, why);
        let us = |word, why| row(W::Us, 503, R::Never, L::Error, word, why);
        match self {
            Self::Request(Refusal { status, why }) => {
                row(W::Client, status, R::Never, L::Info, "refused", why)
            }
            Self::Abandoned(why) => row(W::Client, 408, R::Never, L::Info, "client-slow", why),
            Self::Left => row(W::Client, 499, R::Never, L::Debug, "client-left", "the client has left"),
            Self::Refused => upstream(502, R::Always, "connect-refused", "connection refused"),
            Self::Handshake => upstream(502, R::Always, "tls-failed", "TLS failed"),
            Self::ConnectTimeout => upstream(504, R::Always, "connect-timeout", "no connection in time"),
            Self::Declined => upstream(503, R::Always, "declined", "the server takes no more requests"),
            Self::Closed => upstream(502, R::Idempotent, "closed", "connection closed before a response"),
            Self::Untaken => upstream(504, R::Idempotent, "untaken", "the request was not taken in time"),
            Self::Silent => upstream(504, R::Idempotent, "silent", "no response in time"),
            Self::Truncated => {
                upstream(502, R::Idempotent, "truncated", "connection closed in the middle of the response")
            }
            Self::Stalled => upstream(504, R::Never, "stalled", "response stalled"),
            Self::Overdue => upstream(504, R::Never, "overdue", "longer than total_timeout"),
            Self::Overlong => {
                row(W::Upstream, 504, R::Never, L::Info, "overlong", "response longer than stream_timeout")
            }
            Self::Malformed(flaw) => {
                let (word, why) = flaw.words();
                upstream(502, R::Idempotent, word, why)
            }
            Self::Unasked => {
                upstream(502, R::Idempotent, "unasked-upgrade", "101 to a protocol that was not asked for")
            }
            Self::Idle => {
                row(W::Upstream, 504, R::Never, L::Debug, "tunnel-idle", "tunnel idle for tunnel_timeout")
            }
            Self::Drained => {
                row(W::Us, 503, R::Never, L::Debug, "tunnel-drained", "tunnel ended by a reload or stop")
            }
            Self::HeadTooLarge => upstream(502, R::Idempotent, "large-head", "response head too large"),
            Self::Failed | Self::Absent | Self::Barred | Self::Unstarted => self.of_program(),
            Self::WrongLength => {
                upstream(502, R::Never, "wrong-length", "the body is not as long as its Content-Length")
            }
            Self::Excess => upstream(502, R::Never, "excess", "bytes behind the end of the response"),
            Self::Misled => upstream(502, R::Never, "misled", "it leads to no place of the site"),
            Self::Circle => upstream(500, R::Never, "circle", "led from place to place without end"),
            Self::Rewrite => row(W::Us, 500, R::Never, L::Error, "rewrite", "a rewrite leads nowhere"),
            Self::Unsendable => {
                upstream(502, R::Never, "unsendable", "X-Sendfile names what is not to be sent")
            }
            Self::Crowded => waited("crowded", "every server has max_connections requests"),
            Self::Nobody => upstream(503, R::Never, "no-server", "no server takes requests"),
            Self::Unresolved => waited("unresolved", "the names of its servers lead to no address"),
            Self::Unhealthy => {
                row(W::Upstream, 502, R::Idempotent, L::Warn, "retry-status", "a status of retry_statuses")
            }
            Self::Busy => waited("queue-timeout", "no free process within queue_timeout"),
            Self::Full => waited("queue-full", "no free process, and queue_size requests wait for one"),
            Self::Unavailable => {
                row(W::Upstream, 503, R::Never, L::Debug, "unavailable", "nothing is alive to answer")
            }
            Self::Shortage => us(
                "shortage",
                "no descriptors or memory left; raise LimitNOFILE or lower workers.connections",
            ),
            Self::Disk => us("disk", "the disk does not answer"),
            Self::Spool => us("spool", "cannot keep the request body"),
        }
    }

    /// The row of what an app or script has told of itself, or its host of it.
    fn of_program(self) -> Row {
        let (who, status, word, why) = match self {
            Self::Absent => (Who::Client, 404, "no-script", "there is no such script"),
            Self::Barred => (Who::Client, 403, "no-rights", "the script may not be executed"),
            Self::Unstarted => (Who::Upstream, 500, "unstarted", "the script could not be started"),
            _ => (Who::Upstream, 500, "exception", "an exception in the app"),
        };
        Row { who, status, retry: Retry::Never, level: Level::Debug, word, why }
    }

    /// What a server of an upstream is found at fault for, by its word.
    #[must_use]
    pub(crate) fn of_upstream(word: &str) -> Option<Self> {
        OF_UPSTREAMS.into_iter().find(|fault| fault.row().word == word)
    }
}

/// What servers of upstreams are found at fault for.
pub(crate) const OF_UPSTREAMS: [Fault; 24] = [
    Fault::Refused,
    Fault::ConnectTimeout,
    Fault::Declined,
    Fault::Closed,
    Fault::Silent,
    Fault::Truncated,
    Fault::Stalled,
    Fault::Malformed(Flaw::Start),
    Fault::Malformed(Flaw::Status),
    Fault::Malformed(Flaw::Field),
    Fault::Malformed(Flaw::Length),
    Fault::Malformed(Flaw::Coding),
    Fault::Malformed(Flaw::Both),
    Fault::Malformed(Flaw::Chunk),
    Fault::Malformed(Flaw::Interims),
    Fault::Malformed(Flaw::Record),
    Fault::Unasked,
    Fault::HeadTooLarge,
    Fault::WrongLength,
    Fault::Excess,
    Fault::Unhealthy,
    Fault::Handshake,
    Fault::Untaken,
    Fault::Overdue,
];

impl Flaw {
    /// Its word, and what it is.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("no-http", "malformed response: not HTTP/1.0 or 1.1"),
            Self::Status => ("bad-status", "malformed response: no status that may stand there"),
            Self::Field => ("bad-field", "malformed response: a line of the head that is no field"),
            Self::Length => {
                ("bad-length", "malformed response: Content-Length is no number, or stands there twice")
            }
            Self::Coding => ("bad-coding", "malformed response: Transfer-Encoding is not `chunked` alone"),
            Self::Both => ("two-framings", "malformed response: Content-Length beside Transfer-Encoding"),
            Self::Chunk => ("bad-chunk", "malformed response: invalid chunks"),
            Self::Interims => ("many-interims", "malformed response: too many interim responses"),
            Self::Record => ("bad-record", "malformed response: not in whole records of FastCGI"),
            Self::Frame => ("bad-frame", "malformed response"),
            Self::Program => {
                ("no-cgi", "no response of a CGI program; what was wrong stands in the log before")
            }
        }
    }
}

/// The number that stands for an answer whose body was not what was wanted.
pub(crate) const WRONG_BODY: u16 = 99;

impl Fault {
    /// Its number, from 1 to 98; a status stands for itself. 0: it has none.
    #[must_use]
    pub(crate) fn code(self) -> u16 {
        OF_UPSTREAMS.iter().position(|fault| *fault == self).map_or(0, |at| at as u16 + 1)
    }
}

/// What such a number means.
#[must_use]
pub(crate) fn cause(code: u16) -> String {
    match code {
        0 => "unknown".to_owned(),
        WRONG_BODY => "the body of the answer is another one".to_owned(),
        100..=999 => format!("answered {code}"),
        _ => OF_UPSTREAMS.get(usize::from(code) - 1).map_or("unknown", |fault| fault.row().why).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_what_servers_are_given_up_for() {
        for fault in OF_UPSTREAMS {
            assert_eq!(cause(fault.code()), fault.row().why);
        }
        assert_eq!(
            (cause(503), cause(0), cause(77)),
            ("answered 503".into(), "unknown".into(), "unknown".into())
        );
        assert_eq!((Fault::Left.code(), cause(WRONG_BODY).is_empty()), (0, false));
    }

    /// The table of the module.
    #[test]
    fn every_fault_has_its_row() {
        use Level::{Debug, Error, Info, Warn};
        use Retry::{Always, Idempotent, Never};
        use Who::{Client, Upstream, Us};
        let refusal = Refusal { status: 414, why: "request line too long" };
        for (fault, who, status, retry, level) in [
            (Fault::Request(refusal), Client, 414, Never, Info),
            (Fault::Abandoned("too slow"), Client, 408, Never, Info),
            (Fault::Left, Client, 499, Never, Debug),
            (Fault::Refused, Upstream, 502, Always, Error),
            (Fault::Handshake, Upstream, 502, Always, Error),
            (Fault::ConnectTimeout, Upstream, 504, Always, Error),
            (Fault::Declined, Upstream, 503, Always, Error),
            (Fault::Closed, Upstream, 502, Idempotent, Error),
            (Fault::Untaken, Upstream, 504, Idempotent, Error),
            (Fault::Overdue, Upstream, 504, Never, Error),
            (Fault::Silent, Upstream, 504, Idempotent, Error),
            (Fault::Truncated, Upstream, 502, Idempotent, Error),
            (Fault::Malformed(Flaw::Field), Upstream, 502, Idempotent, Error),
            (Fault::Unasked, Upstream, 502, Idempotent, Error),
            (Fault::Idle, Upstream, 504, Never, Debug),
            (Fault::Drained, Us, 503, Never, Debug),
            (Fault::HeadTooLarge, Upstream, 502, Idempotent, Error),
            (Fault::Failed, Upstream, 500, Never, Debug),
            (Fault::Absent, Client, 404, Never, Debug),
            (Fault::Barred, Client, 403, Never, Debug),
            (Fault::Unstarted, Upstream, 500, Never, Debug),
            (Fault::WrongLength, Upstream, 502, Never, Error),
            (Fault::Excess, Upstream, 502, Never, Error),
            (Fault::Misled, Upstream, 502, Never, Error),
            (Fault::Circle, Upstream, 500, Never, Error),
            (Fault::Rewrite, Us, 500, Never, Error),
            (Fault::Unsendable, Upstream, 502, Never, Error),
            (Fault::Stalled, Upstream, 504, Never, Error),
            (Fault::Overlong, Upstream, 504, Never, Info),
            (Fault::Crowded, Upstream, 503, Never, Warn),
            (Fault::Nobody, Upstream, 503, Never, Error),
            (Fault::Unresolved, Upstream, 503, Never, Warn),
            (Fault::Unhealthy, Upstream, 502, Idempotent, Warn),
            (Fault::Busy, Upstream, 503, Never, Warn),
            (Fault::Full, Upstream, 503, Never, Warn),
            (Fault::Unavailable, Upstream, 503, Never, Debug),
            (Fault::Shortage, Us, 503, Never, Error),
            (Fault::Disk, Us, 503, Never, Error),
            (Fault::Spool, Us, 503, Never, Error),
        ] {
            let row = fault.row();
            assert_eq!((row.who, row.status, row.retry, row.level), (who, status, retry, level), "{fault:?}");
            assert!(!row.why.is_empty(), "{fault:?}");
        }
        assert_eq!(Fault::Request(refusal).row().why, refusal.why);
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: Vec<_> = OF_UPSTREAMS.iter().map(|fault| fault.row().word).collect();
        for (at, word) in words.iter().enumerate() {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{word}");
            assert!(!words[..at].contains(word), "{word}");
            assert_eq!(Fault::of_upstream(word), Some(OF_UPSTREAMS[at]));
            assert!(
                include_str!("../../docs/manual/reverse-proxy.md").contains(&format!("| `{word}` |")),
                "{word}"
            );
        }
        assert_eq!(Fault::of_upstream("exception").or(Fault::of_upstream("")), None);
    }

    #[test]
    fn what_is_repeated_has_the_effect_of_one() {
        let allows = |retry: Retry, method: &str| retry.allows(Method::from_bytes(method.as_bytes()));
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(allows(Retry::Idempotent, method), "{method}");
        }
        for method in ["POST", "PATCH", "LOCK", "CONNECT", "get"] {
            assert!(!allows(Retry::Idempotent, method), "{method}");
            assert!(allows(Retry::Always, method) && !allows(Retry::Never, method), "{method}");
        }
    }
}
