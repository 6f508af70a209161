//! The part of an exchange that takes the body of the request, for whoever answers.

use super::{Collector, Exchange, Step};
use crate::config::Config;
use crate::h1;
use crate::http::fault::{Fault, Refusal};
use crate::http::{BodyLength, Fields};
use crate::worker::drive::Drive;
use crate::worker::upstream::proxy::Body;
use std::io;

impl Exchange {
    /// Whether more of the request body may be read.
    pub(in crate::worker) fn wants_body(&self) -> bool {
        match &self.step {
            Step::Waiting(_) | Step::Awaiting(_) | Step::Reading(_) => false,
            Step::Proxy(run) => run.wants_body(),
            Step::Tunnel(run) => run.wants_client(),
            Step::WebSocket(run) => run.wants_client(),
            Step::Spooling { .. } | Step::Telling(_) | Step::Filtering(_) | Step::Sent => true,
            // What comes before there is a tunnel is for the tunnel.
            Step::Queued { .. } | Step::App(_) | Step::Shared(_) => !self.asks_tunnel(),
        }
    }

    /// The next bytes of the request body.
    pub(in crate::worker) fn on_body(&mut self, mut bytes: Vec<u8>, drive: &mut Drive<'_>) {
        if self.is_led() && !self.is_tunnel() {
            // It was for the one who has led to another.
            return;
        }
        match &mut self.step {
            Step::Spooling { spool, .. } => {
                if let Err(error) = spool.push(&mut bytes, &drive.cx.store) {
                    self.cannot_spool(&error, bytes, drive);
                }
            }
            Step::Proxy(run) => run.push_body(bytes.into()),
            Step::Tunnel(_) => self.pass_up(bytes, drive),
            Step::WebSocket(run) => run.feed(bytes, drive.cx.now),
            Step::Waiting(_)
            | Step::Awaiting(_)
            | Step::Reading(_)
            | Step::Queued { .. }
            | Step::App(_)
            | Step::Shared(_)
            | Step::Telling(_)
            | Step::Filtering(_)
            | Step::Sent => {}
        }
    }

    /// A body cannot be kept: its upstream gets it as it comes, if it takes such a one. `bytes`: what was not kept.
    fn cannot_spool(&mut self, error: &io::Error, bytes: Vec<u8>, drive: &mut Drive<'_>) {
        let detail = format!("{}: {error}", drive.config.temp_dir.display());
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Spooling { whom: Collector::Upstream(upstream, body), spool }
                if takes(upstream, body, drive.config) =>
            {
                let line = format!(
                    "worker: cannot keep a request body in {detail}; its upstream waits for its client"
                );
                drive.cx.note_fault(log::Level::Error, &line, format_args!("{line}"));
                self.start_proxy(upstream, Body::Announced(body), drive);
                if let Step::Proxy(run) = &mut self.step {
                    let (mut kept, _share) = spool.into_queue();
                    while let Some(piece) = kept.pop() {
                        run.push_body(piece);
                    }
                    run.push_body(bytes.into());
                }
            }
            _ => {
                drive.reply.last();
                self.fail_with(Fault::Spool, &detail, None, drive);
            }
        }
    }

    /// What follows the request body, which ends next.
    pub(in crate::worker) fn on_trailers(&mut self, mut trailers: Fields, drive: &mut Drive<'_>) {
        self.choose_trailers(&mut trailers, drive);
        match &mut self.step {
            _ if trailers.is_empty() || self.led.is_some() => {}
            Step::Spooling { spool, .. } => spool.push_trailers(Box::new(trailers)),
            Step::Proxy(run) => run.push_trailers(Box::new(trailers)),
            Step::Waiting(_)
            | Step::Awaiting(_)
            | Step::Reading(_)
            | Step::Queued { .. }
            | Step::App(_)
            | Step::Shared(_)
            | Step::Tunnel(_)
            | Step::WebSocket(_)
            | Step::Telling(_)
            | Step::Filtering(_)
            | Step::Sent => {}
        }
    }

    /// The request body is complete.
    pub(in crate::worker) fn on_body_end(&mut self, drive: &mut Drive<'_>) {
        if !self.is_led() || self.is_tunnel() {
            self.end_body(drive);
        }
    }

    /// Whoever answers has all of the body that there is for it.
    pub(super) fn end_body(&mut self, drive: &mut Drive<'_>) {
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Spooling { whom: Collector::App(app), spool } => {
                self.ask_for_unit(app, spool.finish(), drive);
            }
            Step::Spooling { whom: Collector::Upstream(upstream, _), mut spool } => {
                let trailers = spool.take_trailers();
                let (body, share) = spool.into_queue();
                self.start_proxy(upstream, Body::Whole(body, share, trailers), drive);
            }
            Step::Proxy(mut run) => {
                run.end_body();
                self.step = Step::Proxy(run);
            }
            Step::Tunnel(mut run) => {
                run.client_ended();
                self.step = Step::Tunnel(run);
            }
            Step::WebSocket(mut run) => {
                run.client_ended();
                self.step = Step::WebSocket(run);
            }
            step => self.step = step,
        }
    }

    /// The protocol refuses the request, or the rest of its body: too large, malformed or too slow.
    pub(in crate::worker) fn on_refused(
        &mut self,
        refusal: Refusal,
        line: Option<Box<h1::Line>>,
        drive: &mut Drive<'_>,
    ) {
        self.refused = line;
        self.cancel(drive);
        if drive.reply.has_begun() {
            drive.reply.break_off();
        } else {
            self.refuse(refusal, drive);
        }
    }
}

/// Whether an upstream takes such a body while it comes.
pub(super) fn takes(upstream: usize, body: BodyLength, config: &Config) -> bool {
    let protocol = config.upstream(upstream).map(|upstream| upstream.protocol).unwrap_or_default();
    body != BodyLength::Unknown || !protocol.wants_length()
}
