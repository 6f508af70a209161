//! The part of an exchange that tells what went wrong with it, and answers as the table of [`crate::http::fault`] says.

use super::{Exchange, METHODS, Step};
use crate::gateway::websocket::handshake;
use crate::http::ResponseHead;
use crate::http::fault::{Fault, Level, Refusal, Row, Who};
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use std::rc::Rc;

/// When to come back after a 503 whose end nobody knows; and at most, in seconds.
const SOON: u64 = 1;
const LATEST: u64 = 30;

impl Exchange {
    /// Tells of a fault and answers the client, or breaks off what has begun.
    pub(super) fn fail(&mut self, fault: Fault, drive: &mut Drive<'_>) {
        self.fail_with(fault, "", None, drive);
    }

    /// As [`Self::fail`], with what the operator needs to know besides, and when to try again if that is known.
    pub(super) fn fail_with(
        &mut self,
        fault: Fault,
        detail: &str,
        retry: Option<Time>,
        drive: &mut Drive<'_>,
    ) {
        self.note(fault, detail, drive.cx);
        if fault.row().status >= 500 {
            self.note_failed_fetch(drive);
        }
        if fault.row().status >= 500 && self.is_better_kept(None, drive) {
            return;
        }
        if drive.reply.has_begun() {
            // The client must see that the response is not complete.
            drive.reply.break_off();
            self.step = Step::Sent;
            return;
        }
        if matches!(fault, Fault::Unavailable) && self.shows_trouble_instead(drive) {
            return;
        }
        let mut head = ResponseHead::new(fault.row().status);
        match head.status.0 {
            405 => head.fields.add("Allow", METHODS),
            426 => {
                head.fields.add("Upgrade", "websocket");
                head.fields.add("Sec-WebSocket-Version", handshake::VERSION);
            }
            503 => {
                let wait = retry.map_or(SOON, |at| at.since(drive.cx.now).as_secs() + 1);
                head.fields.add("Retry-After", wait.min(LATEST).to_string());
            }
            _ => {}
        }
        self.answer_page_with(&head, drive);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, drive: &mut Drive<'_>) {
        self.fail(Fault::Request(refusal), drive);
    }

    /// Tells of a fault.
    pub(in crate::worker) fn note(&mut self, fault: Fault, detail: &str, cx: &mut Context) {
        let Row { who, status, level, word, why, .. } = fault.row();
        (self.fault, self.error) = (Some(word), Some(why));
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        let colon = if detail.is_empty() { "" } else { ": " };
        match who {
            Who::Client => {
                let peer = self.peer_text();
                let what = match fault {
                    Fault::Request(_) => format!("refused with {status}"),
                    _ => "broken off".to_owned(),
                };
                cx.note(level, why, format_args!("{peer}: {what}: {why}"));
            }
            Who::Upstream => {
                let config = Rc::clone(&cx.config);
                let (handler, line, id) = (self.answerer(&config), self.request_line(), self.id_text());
                let kind = format!("{handler}: {why} [{word}]");
                let line = format_args!("{handler}: {line}: {why}{colon}{detail} [{word}] ({id})");
                cx.note_fault(level, &kind, line);
            }
            Who::Us => {
                let (line, id) = (self.request_line(), self.id_text());
                let kind = format!("{why}{colon}{detail}");
                cx.note_fault(level, &kind, format_args!("worker: {line}: {kind}; answered {status} ({id})"));
            }
        }
    }

    fn peer_text(&self) -> String {
        self.peer.address.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }
}
