//! The part of an exchange that answers with a file, at once or after a thread has read it, or found it.

use super::{Exchange, Step};
use crate::buf::Segment;
use crate::config::{Action, Config, Fallback};
use crate::h1;
use crate::http::BodyLength;
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::{Context, ReadFirst};
use crate::worker::handler::file;
use crate::worker::reader::{Outcome, Purpose};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

/// What an answer needs is being read or looked up.
pub(super) struct Reading {
    /// What the request brings.
    body: BodyLength,
    sofar: SoFar,
    /// The disk does not answer.
    pub(super) until: Time,
    done: bool,
}

/// How far an answer is; the beginning is the default.
#[derive(Default)]
pub(super) struct SoFar {
    /// How often something had to be read for it from a disk of this machine.
    tries: u8,
    /// What jobs have brought.
    known: file::Known,
}

/// So often a request waits for what another thread reads: once for each coding of a file, and again where memory is so
/// short that what was read is dropped before it can be copied. Then the worker reads it itself.
const TRIES: u8 = 8;

/// A small file that has not been read by then will not be.
const LONGEST: Duration = Duration::from_secs(60);

impl Exchange {
    /// Answers with a file; `body` is what the request brings, for a fallback.
    pub(super) fn serve_file(
        &mut self,
        files: &crate::config::Files,
        (body, sofar): (BodyLength, SoFar),
        key: Key,
        h1: &mut h1::Conn,
        config: &Rc<Config>,
        cx: &mut Context,
    ) {
        let Some(request) = &self.request else { return };
        let Some((site, location)) = request.place else { return };
        let path = request.target.path();
        let wanted = file::Request {
            head: &request.head,
            path,
            rest: cx.table.file(site, location, path),
            query: request.target.query(request.head.target()),
            encoded_slash: request.target.encoded_slash(),
            waits: sofar.tries >= TRIES,
            known: &sofar.known,
        };
        let answer = cx.files.serve((site, location), files, &wanted, (cx.now, cx.wall));
        cx.look_at_roots();
        match answer {
            file::Answer::Ready(mut ready) => {
                let body = ready.take_body();
                let Some(head) = ready.head() else { return self.fail(500, h1, cx) };
                self.status = head.status().0;
                self.count_sent(body.as_ref().map_or(0, Segment::len));
                h1.respond_prepared(head, body, cx.date.as_str(), cx.now);
                self.step = Step::Sent;
            }
            file::Answer::Send { head, body, segments } => {
                self.begin_response(&head, body, h1, cx);
                segments.into_iter().for_each(|segment| self.send(segment, h1));
                self.finish(h1, cx);
            }
            file::Answer::Refuse(refused) => {
                log::debug!("{}: {}", self.request_line(), refused.why);
                cx.is_short |= refused.is_for_shortage();
                self.fail_with(&refused.head, h1, cx);
            }
            file::Answer::First(file::First::Near(on_disk)) => {
                let whom = (key, Purpose::Open);
                match cx.read_first(whom, on_disk.file.as_fd(), 0..on_disk.len) {
                    ReadFirst::Begun => {
                        self.wait_for_file(body, SoFar { tries: sofar.tries + 1, ..sofar }, cx.now);
                    }
                    ReadFirst::Cannot => {
                        let sofar = SoFar { tries: TRIES, ..sofar };
                        self.serve_file(files, (body, sofar), key, h1, config, cx);
                    }
                    ReadFirst::Hangs => self.disk_hangs(h1, cx),
                }
            }
            file::Answer::First(file::First::Job(job)) => match cx.look_first(key, job) {
                ReadFirst::Begun => self.wait_for_file(body, sofar, cx.now),
                ReadFirst::Cannot | ReadFirst::Hangs => self.disk_hangs(h1, cx),
            },
            file::Answer::Fallback => {
                self.fell_back = true;
                if let Fallback::Action(action) = &files.fallback {
                    self.act(action, body, key, h1, config, cx);
                }
            }
        }
    }

    fn wait_for_file(&mut self, body: BodyLength, sofar: SoFar, now: Time) {
        let until = now.after(LONGEST);
        self.step = Step::Reading(Box::new(Reading { body, sofar, until, done: false }));
    }

    /// What had to be done first is.
    pub(in crate::worker) fn note_read(&mut self, outcome: Outcome) {
        if let Step::Reading(reading) = &mut self.step {
            reading.done = true;
            if let Outcome::Looked(looked) = outcome {
                reading.sofar.known.add(looked);
            }
        }
    }

    pub(super) fn advance_reading(&mut self, key: Key, h1: &mut h1::Conn, cx: &mut Context) -> bool {
        let Step::Reading(reading) = &self.step else { return false };
        let Reading { done, until, .. } = **reading;
        if !done && cx.now < until {
            return false;
        }
        let Step::Reading(reading) = std::mem::replace(&mut self.step, Step::Sent) else {
            return false;
        };
        let Reading { body, sofar, .. } = *reading;
        let config = Rc::clone(&cx.config);
        match self.action(&config) {
            Some(Action::Files(files)) if done => self.serve_file(files, (body, sofar), key, h1, &config, cx),
            _ => {
                cx.forget_read((key, Purpose::Open));
                self.disk_hangs(h1, cx);
            }
        }
        true
    }

    fn disk_hangs(&mut self, h1: &mut h1::Conn, cx: &mut Context) {
        const WHY: &str = "the disk does not answer";
        self.error = Some(WHY);
        let line = self.request_line();
        cx.note_fault(log::Level::Error, WHY, format_args!("worker: {line}: {WHY}; answered 503"));
        self.unavailable(None, h1, cx);
    }
}
