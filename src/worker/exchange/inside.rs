//! The part of an exchange in which somebody else answers in the stead of the one that was asked: another place of the same
//! site, for `X-Accel-Redirect` of an app or upstream and for whatever else leads there, or a file, for `X-Sendfile`.
//!
//! What is asked there is a GET, or a HEAD where the client's was one, without a body, and its policies are asked as those of
//! any place. Only `X-Accel-Redirect` reaches a location that is `internal`: the local redirect of a script has what a request for
//! that URL has (RFC 3875 §6.2.2).

use super::files::SoFar;
use super::{Exchange, Served, Step};
use crate::config::{Config, Handler, Unsent};
use crate::gateway::accel::{self, Accel, Answerer, Elsewhere};
use crate::http::fault::Fault;
use crate::http::target::{self, Form, Target};
use crate::http::{BodyLength, Fields, Method, RequestHead, ResponseHead};
use crate::worker::drive::Drive;
use std::path::PathBuf;
use std::rc::Rc;

/// So often one request is led to another place at most.
const HOPS: u8 = 10;

/// So much of what leads nowhere is shown.
const SHOWN: usize = 200;

/// See the module.
pub(super) struct Led {
    /// How often.
    hops: u8,
    /// What the client has asked for.
    first: RequestHead,
    /// Where.
    from: Option<(usize, usize)>,
    /// Fields for the answer, of those who did not give it.
    kept: Fields,
    /// The last one who has led may lead to what is `internal`.
    may_enter: bool,
    /// The file that is sent.
    sent: Option<Sent>,
}

/// What leads to another place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// `X-Accel-Redirect`.
    Field,
    /// The local redirect of a script: no more than if the client had asked.
    Script,
}

/// A file that an app or upstream has chosen.
struct Sent {
    /// Its directory, as [`Config::files_at`] knows it.
    place: (usize, usize),
    /// Its path below that.
    path: Vec<u8>,
}

impl Exchange {
    /// Has whoever is at `place` of the same site answer: a path, and perhaps a query, as they stand in a URL. `kept`: fields
    /// that the answer is to have ([`accel::give`]). What ran for the request so far has ended or was given up.
    pub(super) fn lead_inside(&mut self, place: &[u8], by: By, kept: Fields, drive: &mut Drive<'_>) {
        let Some(request) = &mut self.request else { return self.fail(Fault::Misled, drive) };
        let hops = self.led.as_ref().map_or(0, |led| led.hops) + 1;
        if hops > HOPS {
            return self.fail_with(Fault::Circle, &shown(place), None, drive);
        }
        let (raw, target) = match within(&request.target, request.head.target(), place) {
            Ok(found) => found,
            Err(why) => {
                let detail = format!("{}: {why}", shown(place));
                return self.fail_with(Fault::Misled, &detail, None, drive);
            }
        };
        let led_to = request.head.led_to(&raw);
        let before = std::mem::replace(&mut request.head, led_to);
        let from = request.place;
        request.target = target;
        request.find_place(drive.config, drive.cx);
        self.is_led_by(Led { hops, first: before, from, kept, may_enter: by == By::Field, sent: None });
        self.handler = self.place(drive.config).map(|(_, location)| Rc::clone(&location.handler));
        self.heed_place(drive);
        self.admit(BodyLength::None, drive);
    }

    /// Has a file answer; `path` as `X-Sendfile` has it.
    fn send_file(&mut self, path: &[u8], kept: Fields, drive: &mut Drive<'_>) {
        let config = drive.config;
        let found = config.sending_of(self.sends_from(config), path);
        let (number, below) = match found {
            Ok(found) => found,
            Err(why) => {
                let detail = format!("{}: {}", shown(path), self.hint(why, config));
                return self.fail_with(Fault::Unsendable, &detail, None, drive);
            }
        };
        let (Some(request), Some(sending)) = (&mut self.request, config.sending.get(number)) else {
            return self.fail(Fault::Unsendable, drive);
        };
        let as_get = request.head.led_to(request.head.target());
        let before = std::mem::replace(&mut request.head, as_get);
        let from = request.place;
        let sent = Sent { place: (config.sites.len(), number), path: below };
        let hops = self.led.as_ref().map_or(0, |led| led.hops);
        self.is_led_by(Led { hops, first: before, from, kept, may_enter: false, sent: Some(sent) });
        self.handler = Some(Rc::clone(&sending.handler));
        let Some(files) = sending.files() else { return self.fail(Fault::Unsendable, drive) };
        if let Served::Nothing(why) = self.serve_file(files, (BodyLength::None, SoFar::default()), drive) {
            self.fall_back(why, BodyLength::None, drive);
        }
    }

    /// What was of the one who has led here is over.
    fn is_led_by(&mut self, by: Led) {
        let led = match self.led.take() {
            Some(before) => Box::new(Led { first: before.first, from: before.from, ..by }),
            None => Box::new(by),
        };
        self.led = Some(led);
        (self.unreached, self.returned, self.died) = (0, false, None);
        self.step = Step::Sent;
    }

    /// The directory and the path below it of the file that is sent for another.
    pub(super) fn sent_file(&self) -> Option<((usize, usize), &[u8])> {
        self.led.as_ref()?.sent.as_ref().map(|sent| (sent.place, &*sent.path))
    }

    /// Does what a response of an app or upstream says of who is to answer in its place; the head, if it says nothing.
    pub(super) fn look_elsewhere(
        &mut self,
        mut head: ResponseHead,
        drive: &mut Drive<'_>,
    ) -> Option<ResponseHead> {
        if let Some(place) = self.place_of_script(&head) {
            self.answered = Some(drive.cx.now);
            self.leave_cache_to_another(&head, drive);
            if let Step::App(mut run) = std::mem::replace(&mut self.step, Step::Sent) {
                run.cancel(drive.cx);
            }
            self.lead_inside(&place, By::Script, Fields::default(), drive);
            return None;
        }
        let elsewhere = accel::take(&mut head.fields, self.accel(drive.config));
        let Some(elsewhere) = elsewhere.filter(|_| !self.asks_tunnel()) else { return Some(head) };
        self.answered = Some(drive.cx.now);
        self.show_fields(&mut head.fields, drive);
        self.bind_session(&mut head.fields, drive);
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::App(mut run) => run.cancel(drive.cx),
            Step::Shared(run) => run.cancel(drive.cx),
            Step::Proxy(mut run) => run.discard(drive.cx),
            _ => {}
        }
        self.leave_cache_to_another(&head, drive);
        self.give_kept(&mut head, Answerer::Other);
        accel::keep(&mut head.fields);
        match elsewhere {
            Elsewhere::Inside(place) => {
                self.lead_inside(&accel::target(&place), By::Field, head.fields, drive);
            }
            Elsewhere::File(path) => self.send_file(&path, head.fields, drive),
        }
        None
    }

    /// Where a script leads to that says nothing else (RFC 3875 §6.2.2).
    fn place_of_script(&self, head: &ResponseHead) -> Option<Vec<u8>> {
        let is_script = matches!(self.handler.as_deref(), Some(Handler::Cgi(_)));
        let leads = is_script && matches!(&self.step, Step::App(run) if run.leads());
        head.fields.get("location").filter(|_| leads).map(<[u8]>::to_vec)
    }

    fn accel(&self, config: &Config) -> Accel {
        match self.handler.as_deref() {
            Some(Handler::App { app, .. }) => config.apps.get(*app).map(|app| app.accel).unwrap_or_default(),
            Some(Handler::Cgi(cgi)) => config.apps.get(cgi.app).map(|app| app.accel).unwrap_or_default(),
            Some(Handler::Proxy(proxy)) => proxy.accel,
            _ => Accel::default(),
        }
    }

    fn sends_from<'a>(&'a self, config: &'a Config) -> &'a [PathBuf] {
        match self.handler.as_deref() {
            Some(Handler::App { app, .. }) => config.apps.get(*app).map_or(&[], |app| &app.send_files_from),
            Some(Handler::Proxy(proxy)) => &proxy.send_files_from,
            _ => &[],
        }
    }

    /// What the operator can do about it.
    fn hint(&self, why: Unsent, config: &Config) -> String {
        let place = match self.handler.as_deref() {
            Some(Handler::App { app, .. }) => {
                format!("the app `{}`", config.apps.get(*app).map_or("", |app| app.name.as_str()))
            }
            _ => "Proxy(…) of the location".to_owned(),
        };
        match why {
            _ if matches!(self.handler.as_deref(), Some(Handler::Cgi(_))) => {
                "a script sends no files in this way: have it say X-Accel-Redirect".to_owned()
            }
            Unsent::Path => "it is no absolute path without `.` and `..`".to_owned(),
            Unsent::Nowhere => format!("say in {place} from where: send_files_from: [\"/srv/files\"]"),
            Unsent::Outside => format!("it is below no directory of send_files_from in {place}"),
        }
    }

    /// Gives an answer the fields of those who have led to it.
    pub(super) fn give_kept(&self, head: &mut ResponseHead, answerer: Answerer) {
        if let Some(led) = &self.led {
            accel::give(&led.kept, head, answerer);
        }
    }

    /// Whether places that are `internal` are there for the request.
    pub(super) fn may_enter(&self) -> bool {
        self.led.as_ref().map_or_else(|| self.is_rewritten(), |led| led.may_enter)
    }

    /// Whether somebody else has led to the one who answers.
    pub(super) fn is_led(&self) -> bool {
        self.led.is_some()
    }

    /// Where the client has asked, if somebody else has led from there.
    pub(super) fn first_place(&self) -> Option<(usize, usize)> {
        self.led.as_ref()?.from
    }

    /// The Content-Type that those say who have led to a file.
    pub(super) fn kept_type(&self) -> Option<&[u8]> {
        self.led.as_ref()?.kept.get("content-type")
    }

    /// The head of the request as it came.
    pub(super) fn head_of_client(&self) -> Option<&RequestHead> {
        let now = self.request.as_ref().map(|request| &request.head);
        self.led.as_ref().map(|led| &led.first).or(self.head_before_cache()).or(now)
    }
}

/// What leads to a place, for the log.
pub(super) fn shown(place: &[u8]) -> String {
    let cut = place.get(..SHOWN).unwrap_or(place);
    format!("`{}`", cut.escape_ascii())
}

/// The target of a request for a place of the same host as another: its text, and how it is understood.
///
/// # Errors
/// What is wrong with it.
pub(super) fn within(other: &Target, raw: &[u8], place: &[u8]) -> Result<(Vec<u8>, Target), &'static str> {
    if !place.starts_with(b"/") {
        return Err("it names a place of this site if it begins with a slash");
    }
    let scheme = other.scheme();
    let raw = match other.authority(raw).filter(|_| other.form() == Form::Absolute) {
        Some(authority) => [scheme.as_str().as_bytes(), b"://", authority, place].concat(),
        None => place.to_vec(),
    };
    let target = target::parse(Method::Get, &raw).map_err(target::Error::why)?;
    Ok((raw, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_of_the_same_host() {
        for (asked, place, wanted, path) in [
            ("/x?y", "/a%20b/../c?d=%20", "/a%20b/../c?d=%20", "/c"),
            ("http://shop.example:81/x", "/a?b", "http://shop.example:81/a?b", "/a"),
            ("http://shop.example", "/a", "http://shop.example/a", "/a"),
            ("/x", "//evil.example/a", "//evil.example/a", "/evil.example/a"),
        ] {
            let other = target::parse(Method::Get, asked.as_bytes()).unwrap();
            let (raw, target) = within(&other, asked.as_bytes(), place.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(raw).unwrap(), wanted, "{asked} {place}");
            assert_eq!(target.path(), path.as_bytes(), "{asked} {place}");
        }
        let other = target::parse(Method::Get, b"/x").unwrap();
        for place in ["", "a", "@named", "http://shop.example/a", "/%00", "/..", "/a b"] {
            assert!(within(&other, b"/x", place.as_bytes()).is_err(), "{place}");
        }
    }
}
