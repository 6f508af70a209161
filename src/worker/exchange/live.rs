//! The part of an exchange that has pages load themselves again after an edit (`live_reload`): a script at the end of each page,
//! which listens to server-sent events (HTML Living Standard §9.2) that name the last edit.

use super::{Exchange, Step};
use crate::buf::Segment;
use crate::config::Handler;
use crate::http::{BodyLength, Method, ResponseHead};
use crate::timer::Time;
use crate::worker::drive::Drive;
use crate::worker::handler::trouble;
use std::time::Duration;

/// Where the script is, and the events.
const SCRIPT: &[u8] = b"/.hatchery/reload.js";
const EVENTS: &[u8] = b"/.hatchery/reload";

/// The page knows by its script's address which edit was the last when it was made.
const CODE: &str = r#"(() => {
    let known = new URL(document.currentScript.src).search.slice(1);
    const events = new EventSource("/.hatchery/reload");
    events.onmessage = (event) => {
        known ||= event.data;
        if (event.data !== known) {
            events.close();
            location.reload();
        }
    };
    addEventListener("pagehide", () => events.close());
})();
"#;

/// Between two signs of life, by which a connection that is dead is found.
const SILENCE: Duration = Duration::from_secs(15);

/// Tells of edits.
#[derive(Debug)]
pub(super) struct Telling {
    told: u64,
    /// Something is said then at the latest.
    pub(super) until: Time,
}

impl Exchange {
    /// Answers what the script of a page asks for, or for the script; whether it was that.
    pub(super) fn answers_page(&mut self, target: &[u8], drive: &mut Drive<'_>) -> bool {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let is_get = self.request.as_ref().is_some_and(|request| request.head.method() == Method::Get);
        if !is_get || drive.config.apps.iter().all(|app| !app.live_reload) {
            return false;
        }
        if path == SCRIPT {
            let head = ResponseHead::new(200)
                .with("Content-Type", "text/javascript; charset=utf-8")
                .with("Cache-Control", "no-store")
                .with("X-Content-Type-Options", "nosniff");
            self.answer(&head, CODE.as_bytes().to_vec(), drive);
        } else if path == EVENTS {
            let head = ResponseHead::new(200)
                .with("Content-Type", "text/event-stream")
                .with("Cache-Control", "no-store");
            // When it ends, a worker that drains has nothing more to wait for.
            drive.reply.last();
            drive.reply.head(&head, BodyLength::Unknown, drive.cx);
            drive.cx.edits.enter(drive.owner);
            self.step = Step::Telling(Telling { told: 0, until: drive.cx.now });
        }
        self.aside = path == SCRIPT || path == EVENTS;
        self.aside
    }

    /// Tells of edits; whether anything was done.
    pub(super) fn advance_telling(&mut self, drive: &mut Drive<'_>) -> bool {
        let Step::Telling(telling) = &mut self.step else { return false };
        let (serial, now) = (drive.cx.edits.serial(), drive.cx.now);
        if drive.cx.leave_by.is_some() {
            // The browser comes back, to another worker.
            drive.cx.edits.leave(drive.owner);
            self.finish(drive);
        } else if telling.told != serial && serial > 0 {
            *telling = Telling { told: serial, until: now.after(SILENCE) };
            drive.reply.send(Segment::from(format!("data: {serial}\n\n").into_bytes()));
        } else if telling.until <= now {
            telling.until = now.after(SILENCE);
            drive.reply.send(Segment::from(b":\n\n".to_vec()));
        } else {
            return false;
        }
        true
    }

    /// Adds the script to a page of an app, of which this is the head; how long it is then.
    pub(super) fn add_script(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        drive: &Drive<'_>,
    ) -> BodyLength {
        let Some(Handler::App { app, .. }) = self.handler.as_deref() else { return body };
        if !drive.config.apps.get(*app).is_some_and(|app| app.live_reload) || !self.is_page(head, drive) {
            return body;
        }
        let script = script(drive.cx.edits.serial());
        let length = match body {
            BodyLength::Known(length @ 1..) => BodyLength::Known(length + script.len() as u64),
            BodyLength::Unknown => BodyLength::Unknown,
            BodyLength::Known(0) | BodyLength::None => return body,
        };
        self.script = Some(script.into());
        length
    }

    /// Whether it is a whole page, as it is written, for a browser on this machine.
    fn is_page(&self, head: &ResponseHead, drive: &Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        let kind = head.fields.get("content-type").unwrap_or_default();
        let is_html = trouble::wants_page(Some(kind));
        let is_plain = head.fields.get("content-encoding").is_none();
        let is_whole = head.status.0 != 206 && !head.status.forbids_body();
        let asked = request.head.method() != Method::Head && trouble::wants_page(request.head.get("accept"));
        is_html && is_plain && is_whole && asked && self.is_developer(drive)
    }

    /// The page has ended, but for its script.
    pub(super) fn send_script(&mut self, drive: &mut Drive<'_>) {
        if let Some(script) = self.script.take() {
            drive.reply.send(Segment::from(Vec::from(script)));
        }
    }
}

/// What is added to a page. Behind the end of `html` it counts as in the body (HTML Living Standard §13.2.6.4.21).
pub(super) fn script(serial: u64) -> Vec<u8> {
    format!("<script src=\"/.hatchery/reload.js?{serial}\"></script>\n").into_bytes()
}
