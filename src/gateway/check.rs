//! A check: one request by which a server of an upstream shows that it is well. Pure: the request goes the way of every
//! other, by [`Client`], and its answer is judged here.

use super::fastcgi::Scripts;
use super::ready::Question;
use super::{Client, Output, Patience, Protocol, Retries};
use crate::buf::Queue;
use crate::http::BodyLength;
use crate::http::fault::{Fault, WRONG_BODY};
use crate::timer::Time;
use std::time::Duration;

/// So much of an answer is looked at.
const LOOKED_AT: usize = 64 * 1024;

/// Who has said so much, and nothing that decides, will say nothing else: what is read of one check is read in one turn.
const ENOUGH: usize = 16 * LOOKED_AT;

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Check {
    client: Client,
    question: Question,
    /// What the body must hold, until it has come.
    wanted: Option<String>,
    status: u16,
    /// Bytes of the body so far, and the last ones, in which what is wanted may have begun.
    length: usize,
    last: Vec<u8>,
    /// Bytes that have come in all.
    fed: usize,
}

/// How it came out: well, or why not, as [`crate::http::fault::cause`] has it.
pub(crate) type Verdict = Result<(), u16>;

impl Check {
    /// With that question, to a server that speaks so; `timeout` is for the whole of it.
    ///
    /// # Errors
    /// It cannot be said in that protocol.
    pub(crate) fn new(
        question: Question,
        wanted: Option<String>,
        (protocol, scripts): (Protocol, Option<&Scripts>),
        timeout: Duration,
        now: Time,
    ) -> Result<Self, Fault> {
        let patience = Patience { connect: timeout, silence: timeout, ..Patience::default() };
        let client = question.asked("check", |request| {
            let (body, retries) = (BodyLength::None, Retries::default());
            Client::new(protocol, request, scripts, body, patience, &retries, now)
        })?;
        let wanted = wanted.filter(|wanted| !wanted.is_empty());
        Ok(Self { client, question, wanted, status: 0, length: 0, last: Vec::new(), fed: 0 })
    }

    /// There is a connection: the request goes into `out`.
    pub(crate) fn connected(&mut self, out: &mut Queue, now: Time) {
        self.client.leased(false, out, now);
    }

    /// Bytes of the server.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.fed = self.fed.saturating_add(bytes.len());
        self.client.feed(bytes);
    }

    /// The server has closed its side.
    pub(crate) fn eof(&mut self) {
        self.client.eof();
    }

    /// How it came out, once that is known.
    pub(crate) fn poll(&mut self) -> Option<Verdict> {
        loop {
            match self.client.poll() {
                None if self.client.wants_bytes(true).is_err() => return Some(Err(Fault::Closed.code())),
                None if self.fed > ENOUGH => return Some(Err(Fault::HeadTooLarge.code())),
                None => return None,
                Some(Output::Head(head, _)) => {
                    self.status = head.status.0;
                    if !self.question.status.takes(self.status) {
                        return Some(Err(self.status));
                    }
                }
                Some(Output::Body(bytes)) => {
                    self.look_at(&bytes);
                    if self.wanted.is_none() || self.length >= LOOKED_AT {
                        return Some(self.verdict());
                    }
                }
                Some(Output::Done) => return Some(self.verdict()),
                Some(Output::Broken(fault)) => return Some(Err(fault.code())),
                Some(Output::Switched(_)) => return Some(Err(Fault::Unasked.code())),
                Some(Output::Interim(_) | Output::Trailers(_)) => {}
            }
        }
    }

    fn verdict(&self) -> Verdict {
        if self.wanted.is_none() { Ok(()) } else { Err(WRONG_BODY) }
    }

    /// Looks for what is wanted in what has come.
    fn look_at(&mut self, bytes: &[u8]) {
        let Some(wanted) = self.wanted.as_ref().map(String::as_bytes) else { return };
        let room = LOOKED_AT.saturating_sub(self.length).min(bytes.len());
        self.length += bytes.len();
        self.last.extend_from_slice(bytes.get(..room).unwrap_or_default());
        if self.last.windows(wanted.len()).any(|part| part == wanted) {
            self.wanted = None;
        } else {
            let over = (self.last.len() + 1).saturating_sub(wanted.len());
            self.last.drain(..over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::ready::Accepted;
    use crate::http::fault::Flaw;

    fn answered(wanted: Option<&str>, status: Accepted, wire: &[u8], closes: bool) -> Option<Verdict> {
        let question =
            Question { path: "/healthz".into(), host: "10.0.0.1:80".into(), status, ..Question::default() };
        let (timeout, now) = (Duration::from_secs(3), Time::ZERO);
        let wanted = wanted.map(str::to_owned);
        let mut check = Check::new(question, wanted, (Protocol::Http, None), timeout, now).unwrap();
        let mut out = Queue::new();
        check.connected(&mut out, now);
        let mut sent = Vec::new();
        out.slices(9, |slice| sent.extend_from_slice(slice));
        let sent = String::from_utf8(sent).unwrap();
        assert!(
            sent.starts_with("GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:80\r\n") && sent.contains("(check)"),
            "{sent}"
        );
        for byte in wire {
            check.feed(&[*byte]);
            if let Some(verdict) = check.poll() {
                return Some(verdict);
            }
        }
        closes.then(|| check.eof());
        check.poll()
    }

    #[test]
    fn status_and_body_decide() {
        let two = Accepted::default();
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";
        assert_eq!(answered(None, two, ok, false), Some(Ok(())));
        assert_eq!(answered(Some("ead"), two, ok, false), Some(Ok(())));
        assert_eq!(answered(Some("other"), two, ok, false), Some(Err(WRONG_BODY)));
        assert_eq!(answered(None, Accepted::Exactly(204), ok, false), Some(Err(200)));
        assert_eq!(answered(None, two, b"HTTP/1.1 503 No\r\n\r\n", false), Some(Err(503)));
        assert_eq!(answered(None, two, b"HTTP/1.1 204 No Content\r\n\r\n", false), Some(Ok(())));
        // To the end of the connection.
        assert_eq!(answered(Some("x"), two, b"HTTP/1.0 200 OK\r\n\r\nabx", true), Some(Ok(())));
    }

    #[test]
    fn who_says_nothing_or_nonsense_is_not_well() {
        let two = Accepted::default();
        assert_eq!(answered(None, two, b"", false), None);
        assert_eq!(answered(None, two, b"", true), Some(Err(Fault::Closed.code())));
        assert_eq!(
            answered(None, two, b"hello\r\n\r\n", false),
            Some(Err(Fault::Malformed(Flaw::Start).code()))
        );
        assert!(answered(None, two, b"HTTP/1.1 200 OK\r\nContent-Le", true).unwrap().is_err());
    }

    #[test]
    fn who_says_nothing_that_decides_is_not_listened_to_for_ever() {
        let (timeout, now) = (Duration::from_secs(3), Time::ZERO);
        let question = Question { path: "/".into(), host: "a".into(), ..Question::default() };
        let mut check = Check::new(question, None, (Protocol::FastCgi, None), timeout, now).unwrap();
        check.connected(&mut Queue::new(), now);
        // Empty records of STDERR.
        let empty = [1, 7, 0, 1, 0, 0, 0, 0].repeat(1024);
        let verdict = (0..1000).find_map(|_| {
            check.feed(&empty);
            check.poll()
        });
        assert_eq!(verdict, Some(Err(Fault::HeadTooLarge.code())));
    }

    #[test]
    fn of_a_long_answer_only_the_beginning_is_looked_at() {
        let mut wire = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        wire.extend(vec![b'x'; LOOKED_AT + 1]);
        assert_eq!(answered(Some("never"), Accepted::default(), &wire, false), Some(Err(WRONG_BODY)));
    }
}
