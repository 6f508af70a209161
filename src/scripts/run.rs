//! A script that runs: what it writes goes to its worker, what it says on its standard error to the log, and it has its time.
//!
//! | what | what follows |
//! |---|---|
//! | a part of its response | goes on, as fast as the worker takes it; its time begins anew |
//! | what is no part of it: a piece of a head, what follows the end of the response, the body of a local redirect | its time goes on |
//! | its output is closed | the response is complete; it has the rest of its time to end |
//! | it has ended, its output is open | what it has started may still write, until it is silent for two seconds |
//! | its time is over | 504, or the response breaks off, if it is not complete; TERM to its group |
//! | nobody waits for the response, its worker has gone | TERM to its group, if it is not complete |
//! | five seconds after TERM | KILL to its group |
//!
//! Its group is signalled only as long as it was not reaped: its number is its own until then.

use super::say;
use super::start::Started;
use super::stream::{Gone, Stream};
use crate::gateway::script::{Answer, Lines};
use crate::sys::poll::{Interest, Set};
use crate::sys::process::{self, Child, Ended};
use crate::sys::{clock, fd, signals};
use crate::timer::Time;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// From TERM to KILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long what a script has left behind may be silent with its output open.
const SILENCE: Duration = Duration::from_secs(2);
/// More than this is not read as long as the worker has not taken it.
const AHEAD: usize = 64 * 1024;
/// What it writes waits so long for more to go with it, its end as a rule, unless it is so much: each time that something is sent
/// costs worker and host about as much as all the rest of a small response.
const MOMENT: Duration = Duration::from_millis(1);
const ENOUGH: usize = 16 * 1024;
/// Pieces of standard error that are read of a script that has ended.
const LAST_WORDS: usize = 64;

/// See the module.
pub(super) struct Run<'a> {
    stream: &'a mut Stream,
    number: u32,
    child: Child,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    name: String,
    answer: Answer,
    lines: Lines,
    timeout: Duration,
    /// When it has had its time, or what it has left behind has.
    until: Time,
    /// It was asked to end: when it is killed.
    killed_at: Option<Time>,
    ended: Option<Ended>,
    /// The worker has gone.
    is_alone: bool,
    /// When what waits to be sent is sent.
    due: Option<Time>,
    buffer: Vec<u8>,
}

/// What there is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Worker,
    Output,
    Errors,
    End,
}

impl<'a> Run<'a> {
    pub(super) fn new(started: Started, number: u32, began: Time, stream: &'a mut Stream) -> Self {
        let timeout = stream.host.timeout;
        Self {
            number,
            child: started.child,
            stdout: Some(started.stdout),
            stderr: Some(started.stderr),
            name: started.name,
            answer: Answer::new(number, started.method),
            lines: Lines::default(),
            timeout,
            until: began.after(timeout),
            killed_at: None,
            ended: None,
            is_alone: false,
            due: None,
            buffer: std::mem::take(&mut stream.spare),
            stream,
        }
    }

    /// Goes on until it has ended and its response was sent, but for what is left in `out`.
    ///
    /// # Errors
    /// The worker has gone.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Gone> {
        loop {
            self.send(out);
            if self.ended.is_some() && self.stdout.is_none() {
                break;
            }
            self.on_time(out);
            self.turn(out);
        }
        self.tell_end();
        self.stream.spare = self.buffer;
        if self.is_alone { Err(Gone) } else { Ok(()) }
    }

    fn turn(&mut self, out: &mut Vec<u8>) {
        let mut set = Set::new();
        let now = clock::now();
        let due = self.due.filter(|due| *due > now);
        if !self.is_alone {
            let interest = Interest { read: true, write: !out.is_empty() && due.is_none() };
            set.add(self.stream.socket(), Token::Worker, interest);
        }
        if let Some(stdout) = self.stdout.as_ref().filter(|_| out.len() < AHEAD) {
            set.add(stdout.as_fd(), Token::Output, Interest::READ);
        }
        if let Some(stderr) = &self.stderr {
            set.add(stderr.as_fd(), Token::Errors, Interest::READ);
        }
        if let Some(handle) = self.child.handle.as_ref().filter(|_| self.ended.is_none()) {
            set.add(handle.as_fd(), Token::End, Interest::READ);
        }
        let until = self.killed_at.unwrap_or(self.until);
        let until = due.map_or(until, |due| due.min(until));
        let ready = set.wait(now, Some(until)).unwrap_or_default();
        let ready: Vec<_> = ready.into_iter().map(|ready| (ready.token, ready.read)).collect();
        // What it has written comes before its end.
        if ready.contains(&(Token::Output, true)) {
            self.read_output(out);
        }
        if ready.contains(&(Token::Errors, true)) {
            self.read_errors();
        }
        if ready.contains(&(Token::Worker, true)) {
            match self.stream.is_cancelled(self.number) {
                Ok(true) => self.give_up(out),
                Ok(false) => {}
                Err(Gone) => self.leave_alone(out),
            }
        }
        if ready.contains(&(Token::End, true)) {
            self.on_end(out);
        }
    }

    fn send(&mut self, out: &mut Vec<u8>) {
        if self.is_alone {
            return out.clear();
        }
        let before = out.len();
        if before == 0 || !self.is_due(before) {
            return;
        }
        if self.stream.send(out).is_err() {
            return self.leave_alone(out);
        }
        if out.is_empty() {
            self.due = None;
        }
        if out.len() < before && before >= AHEAD {
            // It had to wait, and can go on.
            self.has_gone_on();
        }
    }

    /// Whether so much is to be sent now. With its end goes that of the request, in one piece.
    fn is_due(&mut self, length: usize) -> bool {
        let now = clock::now();
        if length >= ENOUGH {
            self.due = Some(now);
        }
        *self.due.get_or_insert(now.after(MOMENT)) <= now
    }

    /// Its time begins anew.
    fn has_gone_on(&mut self) {
        let time = if self.ended.is_some() { SILENCE } else { self.timeout };
        self.until = clock::now().after(time);
    }

    // ---- what it writes -------------------------------------------------------------------------------------------

    fn read_output(&mut self, out: &mut Vec<u8>) {
        let Some(stdout) = &self.stdout else { return };
        match fd::read_pipe(stdout.as_fd(), &mut self.buffer) {
            Ok(0) => self.end_output(out),
            Ok(count) => {
                let before = out.len();
                self.answer.feed(self.buffer.get(..count).unwrap_or_default(), out);
                if out.len() > before {
                    // The worker sees no more of a script than that, and gives it as much time for each part.
                    self.has_gone_on();
                }
            }
            Err(error) if is_nothing(&error) => {}
            Err(_) => self.end_output(out),
        }
    }

    /// Nothing more comes.
    fn end_output(&mut self, out: &mut Vec<u8>) {
        self.stdout = None;
        self.answer.eof(out);
    }

    fn read_errors(&mut self) -> bool {
        let Some(stderr) = &self.stderr else { return false };
        match fd::read_pipe(stderr.as_fd(), &mut self.buffer) {
            Ok(count) if count > 0 => {
                let name = &self.name;
                let said = self.buffer.get(..count).unwrap_or_default();
                self.lines.feed(said, |line| say(&format!("{name}: {}", String::from_utf8_lossy(line))));
                true
            }
            Err(error) if is_nothing(&error) => false,
            _ => {
                self.stderr = None;
                false
            }
        }
    }

    // ---- its end --------------------------------------------------------------------------------------------------

    fn on_time(&mut self, out: &mut Vec<u8>) {
        let now = clock::now();
        if let Some(at) = self.killed_at {
            if at <= now && self.ended.is_none() {
                self.signal(signals::SIGKILL);
                self.killed_at = Some(now.after(GRACE));
            }
            return;
        }
        if now < self.until {
            return;
        }
        if !out.is_empty() {
            // It waits for the worker, and that for the client.
            self.until = now.after(self.timeout);
        } else if self.ended.is_some() {
            say(&format!(
                "{}: what it has started holds its output open, of which nobody hears any more",
                self.name
            ));
            self.end_output(out);
        } else {
            let (is_over, time) = (self.answer.is_over(), self.timeout);
            let what = if is_over { "has not ended" } else { "has not gone on" };
            say(&format!("{}: {what} for {time:?} (`timeout`): it is ended", self.name));
            self.answer.abort(Some(504), out);
            self.end();
        }
    }

    /// Nobody waits for the response any more.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        if !self.answer.is_over() {
            self.answer.abort(None, out);
            self.end();
        }
    }

    fn leave_alone(&mut self, out: &mut Vec<u8>) {
        self.is_alone = true;
        self.give_up(out);
        out.clear();
    }

    /// Asks it to end.
    fn end(&mut self) {
        if self.ended.is_some() {
            // It has; what it has started is not ours.
            self.stdout = None;
        } else if self.killed_at.is_none() {
            self.killed_at = Some(clock::now().after(GRACE));
            self.signal(signals::SIGTERM);
        }
    }

    fn signal(&self, signal: i32) {
        // One that has ended meanwhile is told by its handle.
        let _ = process::signal(&self.child, signal, true);
    }

    fn on_end(&mut self, out: &mut Vec<u8>) {
        if self.killed_at.is_some() {
            // What is left of its group goes with it.
            self.signal(signals::SIGKILL);
        }
        let Some(ended) = process::reap(self.child.pid) else { return };
        self.ended = Some(ended);
        for _ in 0..LAST_WORDS {
            if !self.read_errors() {
                break;
            }
        }
        self.stderr = None;
        if self.killed_at.is_some() || self.answer.is_over() {
            self.end_output(out);
        } else {
            self.until = clock::now().after(SILENCE);
        }
    }

    /// What its end says that the response did not.
    fn tell_end(&mut self) {
        let name = &self.name;
        self.lines.finish(|line| say(&format!("{name}: {}", String::from_utf8_lossy(line))));
        let how = match self.ended {
            Some(Ended::Code(0)) | None => String::new(),
            Some(Ended::Code(code)) => format!("it has ended with exit code {code}"),
            Some(Ended::Signal(signal)) => format!("it was ended by signal {signal}"),
        };
        match self.answer.why() {
            _ if self.killed_at.is_some() => {}
            None if how.is_empty() => {}
            None => say(&format!("{name}: {how}")),
            Some(why) if how.is_empty() => say(&format!("{name}: no response: {why}")),
            Some(why) => say(&format!("{name}: no response: {why}; {how}")),
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
