//! The part of an exchange that hands a request to an app: ask for a unit, describe the request, start.

use super::{Exchange, Step};
use crate::config::Handler;
use crate::gateway;
use crate::http::fault::Fault;
use crate::worker::drive::Drive;
use crate::worker::spool::RequestBody;
use crate::worker::upstream::app::{self, Ask, UNREACHED, Unsent};
use crate::worker::upstream::links::Unit;
use std::time::Duration;

impl Exchange {
    pub(super) fn ask_for_unit(&mut self, app: usize, body: RequestBody, drive: &mut Drive<'_>) {
        let Drive { owner, config, cx, .. } = drive;
        let wait = config.apps.get(app).map_or(Duration::ZERO, |app| app.queue_timeout);
        match cx.ask_unit(app, *owner, self.arrived) {
            Ask::Granted(lease) => self.start_app(Unit { app, lease }, body, drive),
            Ask::Waiting => {
                self.step = Step::Queued { app, body, until: cx.now.after(wait) };
            }
            Ask::Failed { retry } => self.fail_with(Fault::Unavailable, "", Some(retry), drive),
        }
    }

    pub(super) fn start_app(&mut self, unit: Unit, body: RequestBody, drive: &mut Drive<'_>) {
        let (Some(request), Some(Handler::App { mount, .. })) = (&self.request, self.handler.as_deref())
        else {
            return;
        };
        let id = self.id_text();
        let described = self.describe(request, mount, &id, drive.config, drive.cx);
        let length = (body.len() > 0 || request.has_body()).then(|| body.len());
        let started = app::AppRun::start(
            unit,
            &body,
            |stream, body, out| gateway::app::request(stream, &described, length, body, out),
            drive,
        );
        match started {
            Ok(run) => self.step = Step::App(Box::new(run)),
            // The process died after the claim and has not begun: another may try, for queue_timeout from now.
            Err(Unsent::Gone(error)) => {
                log::debug!("app: cannot reach a process: {error}");
                self.unreached += 1;
                if self.unreached < UNREACHED {
                    self.ask_for_unit(unit.app, body, drive);
                } else {
                    self.fail(Fault::Unavailable, drive);
                }
            }
            Err(Unsent::Shortage(error)) => {
                drive.cx.is_short = true;
                self.fail_with(Fault::Shortage, &error.to_string(), None, drive);
            }
        }
    }
}
