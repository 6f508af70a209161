//! The part of an exchange that answers with a file, at once or after a thread has read it, or found it.

use super::{Exchange, Served, Step};
use crate::config::{Fallback, Files, Handler, Location};
use crate::gateway::accel::Answerer;
use crate::http::BodyLength;
use crate::http::fault::Fault;
use crate::timer::Time;
use crate::worker::context::ReadFirst;
use crate::worker::drive::Drive;
use crate::worker::handler::file;
use crate::worker::reader::{Outcome, Whom};
use std::os::fd::AsFd;
use std::time::Duration;

/// What an answer needs is being read or looked up.
pub(super) struct Reading {
    /// What the request brings.
    body: BodyLength,
    sofar: SoFar,
    /// The disk does not answer, or there was time to make room.
    pub(super) until: Time,
    done: bool,
    for_room: bool,
}

/// How far an answer is; the beginning is the default.
#[derive(Default)]
pub(super) struct SoFar {
    /// How often something had to be read for it from a disk of this machine.
    tries: u8,
    /// How often there were no descriptors for it.
    shortages: u8,
    /// What jobs have brought.
    known: file::Known,
}

impl SoFar {
    /// After a shortage, which may be what jobs have brought.
    fn anew(&self) -> Self {
        Self { tries: self.tries, shortages: self.shortages + 1, ..Self::default() }
    }
}

/// So often a request waits for what another thread reads: once for each coding of a file, and again where memory is so
/// short that what was read is dropped before it can be copied. Then the worker reads it itself.
const TRIES: u8 = 8;

/// So often a request that finds no descriptors is tried again: at once if roots could be closed for it, then after a
/// [`MOMENT`].
const SHORTAGES: u8 = 3;

/// Connections that can be done without are closed at the end of this turn or the next one.
const MOMENT: Duration = Duration::from_millis(10);

/// A small file that has not been read by then will not be.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

impl Exchange {
    /// Answers with a file; `body` is what the request brings, for a fallback.
    pub(super) fn serve_file(
        &mut self,
        files: &Files,
        (body, mut sofar): (BodyLength, SoFar),
        drive: &mut Drive<'_>,
    ) -> Served {
        loop {
            let Some(answer) = self.look_for_file(files, &sofar, drive) else {
                return Served::Nothing("no place");
            };
            match answer {
                file::Answer::Nothing(why) => return Served::Nothing(why),
                file::Answer::First(file::First::Near(on_disk)) => {
                    let whom = Whom::Exchange(drive.owner);
                    match drive.cx.read_first(whom, on_disk.file.as_fd(), 0..on_disk.len) {
                        ReadFirst::Begun => {
                            self.wait_for_file(body, SoFar { tries: sofar.tries + 1, ..sofar }, drive.cx.now);
                        }
                        ReadFirst::Cannot => {
                            sofar.tries = TRIES;
                            continue;
                        }
                        ReadFirst::Hangs => self.fail(Fault::Disk, drive),
                    }
                }
                file::Answer::First(file::First::Lookup(lookup)) => {
                    match drive.cx.look_first(drive.owner, lookup) {
                        ReadFirst::Begun => self.wait_for_file(body, sofar, drive.cx.now),
                        ReadFirst::Cannot | ReadFirst::Hangs => self.fail(Fault::Disk, drive),
                    }
                }
                file::Answer::Ready(ready) => self.send_ready(ready, drive),
                file::Answer::Send { mut head, body, segments } => {
                    self.give_kept(&mut head, Answerer::File);
                    drive.reply.head(&head, body, drive.cx);
                    segments.into_iter().for_each(|segment| drive.reply.send(segment));
                    self.finish(drive);
                }
                file::Answer::Refuse(refused) => {
                    let is_short = refused.is_for_shortage();
                    if is_short && sofar.shortages < SHORTAGES {
                        sofar = sofar.anew();
                        if drive.cx.files.close_unused() && sofar.shortages == 1 {
                            continue;
                        }
                        drive.cx.is_short = true;
                        self.wait_for_room(body, sofar, drive.cx.now);
                        return Served::Begun;
                    }
                    self.tell_refused(files, &refused, drive);
                    if is_short {
                        drive.cx.is_short = true;
                        self.fail(Fault::Shortage, drive);
                        return Served::Begun;
                    }
                    self.answer_page_with(&refused.head, drive);
                }
            }
            return Served::Begun;
        }
    }

    /// For the log: what may not be read, with its path on disk, is the operator's to mend.
    fn tell_refused(&mut self, files: &Files, refused: &file::Refused, drive: &mut Drive<'_>) {
        self.error = Some(refused.why);
        let Some(request) = self.request.as_ref().filter(|_| refused.head.status.0 == 403) else {
            return log::debug!("{}: {}", self.request_line(), refused.why);
        };
        let (site, location) = request.place.unwrap_or_default();
        let rest = match self.sent_file() {
            Some((_, path)) => path,
            None => drive.cx.table.file(site, location, request.target.path()),
        };
        let path = String::from_utf8_lossy(rest);
        let path = path.trim_start_matches('/').escape_debug();
        // Clients make up paths: all of a root are one kind, which is counted.
        let (root, why) = (files.root.display(), refused.why);
        let (line, id, kind) = (self.request_line(), self.id_text(), format!("files in {root}: {why}"));
        drive.cx.note_fault(
            log::Level::Warn,
            &kind,
            format_args!("files: {line}: {root}/{path}: {why} ({id})"),
        );
    }

    /// A file that an app or upstream wants to be sent is not there: that is its mistake, not the client's.
    pub(super) fn tell_missing(&mut self, why: &'static str, drive: &mut Drive<'_>) {
        self.error = Some(why);
        let file = self.sent_file().and_then(|(place, path)| {
            let root = &drive.config.files_at(place)?.root;
            Some(format!("{}/{}", root.display(), String::from_utf8_lossy(path).escape_debug()))
        });
        let (file, line, id) = (file.unwrap_or_default(), self.request_line(), self.id_text());
        let line = format_args!("files: {line}: X-Sendfile names {file}: {why} ({id})");
        drive.cx.note_fault(log::Level::Warn, &format!("files: X-Sendfile: {why}"), line);
        self.answer_page(404, drive);
    }

    fn look_for_file(&self, files: &Files, sofar: &SoFar, drive: &mut Drive<'_>) -> Option<file::Answer> {
        let request = self.request.as_ref()?;
        let path = request.target.path();
        let sent = self.sent_file();
        let ((site, location), rest) = match sent {
            Some(sent) => sent,
            None => {
                let place = request.place?;
                (place, drive.cx.table.file(place.0, place.1, path))
            }
        };
        let (_, Location { fallback, .. }) = self.place(drive.config)?;
        let wanted = file::Request {
            head: &request.head,
            path: if sent.is_some() { rest } else { path },
            rest,
            query: request.target.query(request.head.target()),
            encoded_slash: sent.is_none() && request.target.encoded_slash(),
            falls_back: sent.is_none() && matches!(fallback, Fallback::Handler(_)),
            waits: sofar.tries >= TRIES,
            known: &sofar.known,
            led: self.is_led().then(|| file::Led { content_type: self.kept_type() }),
        };
        let times = (drive.cx.now, drive.cx.wall);
        let answer = drive.cx.files.serve((site, location), files, &wanted, times);
        drive.cx.look_at_roots();
        Some(answer)
    }

    fn send_ready(&mut self, mut ready: file::Ready, drive: &mut Drive<'_>) {
        let body = ready.take_body();
        let Some(head) = ready.head() else { return self.answer_page(500, drive) };
        drive.reply.prepared(head, body, drive.cx);
        self.given(drive);
    }

    fn wait_for_file(&mut self, body: BodyLength, sofar: SoFar, now: Time) {
        let until = now.after(LONGEST);
        self.step = Step::Reading(Box::new(Reading { body, sofar, until, done: false, for_room: false }));
    }

    fn wait_for_room(&mut self, body: BodyLength, sofar: SoFar, now: Time) {
        let until = now.after(MOMENT);
        self.step = Step::Reading(Box::new(Reading { body, sofar, until, done: false, for_room: true }));
    }

    /// What had to be done first is.
    pub(in crate::worker) fn note_read(&mut self, outcome: Outcome) {
        match &mut self.step {
            Step::Awaiting(awaiting) => awaiting.note(outcome),
            Step::Reading(reading) => {
                reading.done = true;
                if let Outcome::Looked(looked) = outcome {
                    reading.sofar.known.add(looked);
                }
            }
            _ => {}
        }
    }

    pub(super) fn advance_reading(&mut self, drive: &mut Drive<'_>) -> bool {
        let Step::Reading(reading) = &self.step else { return false };
        let Reading { done, until, for_room, .. } = **reading;
        if !done && drive.cx.now < until {
            return false;
        }
        let Step::Reading(reading) = std::mem::replace(&mut self.step, Step::Sent) else {
            return false;
        };
        let Reading { body, sofar, .. } = *reading;
        match self.handler.clone().as_deref() {
            Some(Handler::Files(files)) if done || for_room => {
                if let Served::Nothing(why) = self.serve_file(files, (body, sofar), drive) {
                    self.fall_back(why, body, drive);
                }
            }
            _ => {
                drive.cx.forget_read(Whom::Exchange(drive.owner));
                self.fail(Fault::Disk, drive);
            }
        }
        true
    }
}
