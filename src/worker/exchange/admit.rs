//! The part of an exchange between its route and the one who answers: the policies of the place, then its handler, then
//! what the location falls back to.

use super::{Exchange, METHODS, Served};
use crate::config::{Config, Fallback, Handler};
use crate::http::target::Form;
use crate::http::{BodyLength, ResponseHead};
use crate::policy::Policies;
use crate::policy::access::Table;
use crate::policy::chain::{self, Answer, Asked, At, Came, Verdict};
use crate::policy::condition::Facts;
use crate::policy::limit::{Excess, Limit};
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::limiter::Judged;
use crate::worker::maintenance::Site as Closed;
use std::cell::RefCell;
use std::rc::Rc;

impl Exchange {
    /// Asks the policies of the place, then its handler.
    pub(super) fn admit(&mut self, body: BodyLength, drive: &mut Drive<'_>) {
        self.admit_from(At::default(), None, body, drive);
    }

    /// Asks the policies from a rule on, which gets what came of what it has waited for; then the handler.
    pub(super) fn admit_from(
        &mut self,
        from: At,
        came: Option<&Came>,
        body: BodyLength,
        drive: &mut Drive<'_>,
    ) {
        let location = self.place(drive.config).map(|(_, location)| location);
        let none = Policies::default();
        let policies = self.policies(drive.config).unwrap_or(&none);
        if from == At::default() {
            self.filter(policies, drive);
        }
        let is_asleep = || match self.handler.as_deref() {
            Some(Handler::App { app, .. }) => !self.asks_tunnel() && drive.cx.is_asleep(*app),
            _ => false,
        };
        let request = self.request.as_ref();
        let access = policies.access.get().and_then(|_| self.guard(drive.cx)).map(Rc::clone);
        // What counts while the request runs is given back when it is done.
        let judged = RefCell::new(Judged::default());
        let exceeds = |limits: &[Limit], facts: &Facts<'_>| {
            if self.is_led() {
                // It was counted.
                return None;
            }
            let found = drive.cx.limiter.borrow_mut().judge(limits, facts, drive.cx.now);
            let head = found.excess.as_ref().map(Excess::head);
            judged.replace(found);
            head
        };
        let asked = Asked {
            head: request.map(|request| &request.head),
            client: request.and_then(|request| request.origin.client).map(|client| client.to_canonical()),
            facts: request.map(|request| request.facts(drive.config)),
            has_site: request.is_some_and(|request| request.site.is_some()),
            is_closed: self.closed_site(drive.cx).is_some(),
            may_enter: self.may_enter(),
            body,
            is_asleep: &is_asleep,
            access: access.as_deref(),
            exceeds: &exceeds,
            came,
        };
        let (verdict, at) = chain::judge(policies, &asked, from);
        if let Verdict::Rewrite(rule) = verdict {
            return self.rewrite(rule, body, drive);
        }
        if from == At::default() {
            drive.reply.pace(policies.bandwidth.filter(|bandwidth| bandwidth.rate > 0), drive.cx.now);
        }
        self.note_limits(judged.into_inner(), drive.cx);
        // What was not announced is bounded as it comes, whoever answers.
        if let Some(most) = policies.max_body.filter(|_| !self.is_led() && from == At::default())
            && let Err(refusal) = drive.reply.bound_request(most)
        {
            return self.refuse(refusal, drive);
        }
        match verdict {
            Verdict::Continue | Verdict::Rewrite(_) => {}
            Verdict::Respond(answer) => return self.answer_at_once(answer, drive),
            Verdict::Wait(what) => return self.wait(what, at, body, drive),
        }
        if location.is_none() {
            return self.answer_for_none(drive);
        }
        self.start_or_fall_back(body, drive);
    }

    /// Has the handler begin, or what the location falls back to.
    pub(super) fn start_or_fall_back(&mut self, body: BodyLength, drive: &mut Drive<'_>) {
        if let Served::Nothing(why) = self.start(body, drive) {
            self.fall_back(why, body, drive);
        }
    }

    /// Those of its place: of the site where no location takes it.
    pub(super) fn policies<'a>(&self, config: &'a Config) -> Option<&'a Policies> {
        let location = self.place(config).map(|(_, location)| &location.policies);
        location.or_else(|| Some(&config.sites.get(self.site()?)?.policies))
    }

    /// Who is let in there by address.
    fn guard<'a>(&self, cx: &'a Context) -> Option<&'a Rc<Table>> {
        let location = self.request.as_ref()?.place.map(|(_, location)| location);
        cx.guards.at(self.site()?, location)
    }

    /// Carries out what a policy has answered.
    fn answer_at_once(&mut self, answer: Answer, drive: &mut Drive<'_>) {
        match answer {
            Answer::Page(status) => self.answer_page(status, drive),
            Answer::With(head) => self.answer_page_with(&head, drive),
            Answer::Refuse(refusal) => {
                drive.reply.ignore_rest(refusal);
                self.refuse(refusal, drive);
            }
            Answer::Preflight(fields, may_ask) => {
                if !may_ask {
                    self.error = Some("scripts of that origin may not ask; see `cors`");
                }
                drive.reply.says_cors();
                self.answer(&ResponseHead { fields: *fields, ..ResponseHead::new(204) }, Vec::new(), drive);
            }
            Answer::Closed => self.answer_closed(drive),
            Answer::Text(text) => {
                let head = ResponseHead::new(200).with("Content-Type", "text/plain; charset=utf-8");
                self.answer(&head, text.into(), drive);
            }
        }
    }

    /// Its site, if that is closed for maintenance to its client. What an app has led to was let in before.
    pub(super) fn closed_site(&self, cx: &Context) -> Option<Rc<Closed>> {
        let site = cx.closed.site(self.site())?;
        let client = self.request.as_ref().and_then(|request| request.origin.client);
        (!self.is_led() && !site.admits(client)).then(|| Rc::clone(site))
    }

    /// Answers a request for a site that is closed.
    fn answer_closed(&mut self, drive: &mut Drive<'_>) {
        self.error = Some("the site is closed for maintenance");
        let Some(site) = self.closed_site(drive.cx) else { return self.answer_page(503, drive) };
        match site.page() {
            Some(page) => {
                let head = site.head().clone().with("Content-Type", "text/html; charset=utf-8");
                self.answer(&head.with("X-Content-Type-Options", "nosniff"), page.to_vec(), drive);
            }
            None => self.answer_page_with(site.head(), drive),
        }
    }

    /// Answers a request that no location of its site takes.
    fn answer_for_none(&mut self, drive: &mut Drive<'_>) {
        if self.request.as_ref().is_some_and(|request| request.target.form() == Form::Asterisk) {
            // OPTIONS *: about the server as a whole (RFC 9110 §9.3.7).
            return self.answer_options(drive);
        }
        let methods = self.methods(drive);
        if methods.is_empty() {
            return self.answer_page(404, drive);
        }
        self.answer_page_with(&ResponseHead::new(405).with("Allow", methods), drive);
    }

    /// For which methods there would be a location.
    fn methods(&self, drive: &Drive<'_>) -> String {
        let Some((request, site)) = self.request.as_ref().and_then(|request| Some((request, request.site?)))
        else {
            return String::new();
        };
        drive.cx.table.methods(site, request.target.path(), &request.facts(drive.config)).join(", ")
    }

    /// What this server as such can be asked.
    pub(super) fn answer_options(&mut self, drive: &mut Drive<'_>) {
        self.answer(&ResponseHead::new(204).with("Allow", METHODS), Vec::new(), drive);
    }

    /// The handler has nothing.
    pub(super) fn fall_back(&mut self, why: &'static str, body: BodyLength, drive: &mut Drive<'_>) {
        if self.sent_file().is_some() {
            return self.tell_missing(why, drive);
        }
        let location = self.place(drive.config).map(|(_, location)| location);
        let (status, why) = match location.map(|location| &location.fallback) {
            None => (404, why),
            Some(Fallback::Status(status)) => (*status, why),
            Some(Fallback::Handler(handler)) => {
                self.handler = Some(Rc::clone(handler));
                match self.start(body, drive) {
                    Served::Begun => return,
                    Served::Nothing(why) => (404, why),
                }
            }
        };
        log::debug!("{}: {why}", self.request_line());
        self.answer_page(status, drive);
    }
}
