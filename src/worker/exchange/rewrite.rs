//! The part of an exchange that routes a request again, by the path that a rewrite gives it. It stays the same request: method,
//! fields and body, for the log, for REQUEST_URI and for redirects also what the client wrote.

use super::inside::{shown, within};
use super::{Exchange, Request};
use crate::config::Config;
use crate::http::fault::Fault;
use crate::http::target::{self, Form, Target};
use crate::http::{BodyLength, Method};
use crate::policy::rewrite::{MOST, Rewrite};
use crate::route;
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use std::rc::Rc;

/// A target, and what was understood of it.
type Found = Result<(Vec<u8>, Target), &'static str>;

impl Exchange {
    /// Does what the site says of all its paths, before the location counts; whether there is an answer now.
    pub(super) fn is_rewritten_by_site(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        let site = request.site.and_then(|site| drive.config.sites.get(site));
        let Some(rules) = site.and_then(|site| site.rewrite.as_ref()) else { return false };
        if !request.has_path() {
            return false;
        }
        let facts = request.facts(drive.config);
        let Some(rule) = rules.iter().find(|rule| rule.applies(&facts)) else { return false };
        let found = request.rewritten(rule, drive.cx);
        if found.is_err() && self.closed_site(drive.cx).is_some() {
            // That is told first.
            return false;
        }
        !self.is_routed_again(found, drive)
    }

    /// Routes it again by a rewrite of its location.
    pub(super) fn rewrite(&mut self, rule: usize, body: BodyLength, drive: &mut Drive<'_>) {
        let location = self.place(drive.config).map(|(_, location)| location);
        let rules = location.and_then(|location| location.policies.rewrite.as_ref());
        let (Some(rule), Some(request)) = (rules.and_then(|rules| rules.get(rule)), &self.request) else {
            return self.fail(Fault::Rewrite, drive);
        };
        let found = request.rewritten(rule, drive.cx);
        if self.is_routed_again(found, drive) {
            self.admit(body, drive);
        }
    }

    /// Whether it has another place now; else it was answered.
    fn is_routed_again(&mut self, found: Found, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &mut self.request else { return false };
        let (raw, target) = match found {
            Ok(found) if request.rewrites.len() < MOST => found,
            Ok((raw, _)) => {
                let way = request.rewrites.iter().map(Vec::as_slice).chain([request.head.target(), &*raw]);
                let way: Vec<String> = way.map(shown).collect();
                self.fail_with(Fault::Rewrite, &way.join(" → "), None, drive);
                return false;
            }
            Err(why) => {
                let detail = format!("{}: {why}", shown(request.head.target()));
                self.fail_with(Fault::Rewrite, &detail, None, drive);
                return false;
            }
        };
        request.leads_to(&raw, target, drive.config, drive.cx);
        self.handler = self.place(drive.config).map(|(_, location)| Rc::clone(&location.handler));
        self.heed_place(drive);
        true
    }

    /// Whether the operator has led it to another path than that which it came for.
    pub(super) fn is_rewritten(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.head.is_rewritten())
    }
}

impl Request {
    /// Whether it asks for a path.
    pub(super) fn has_path(&self) -> bool {
        matches!(self.target.form(), Form::Origin | Form::Absolute)
    }

    /// Has another target from now on.
    fn leads_to(&mut self, raw: &[u8], target: Target, config: &Config, cx: &Context) {
        self.rewrites.push(self.head.target().to_vec());
        self.head.rewrite(raw);
        self.target = target;
        self.find_place(config, cx);
    }

    /// A GET for this target of the same site, with the rewrites and the location that it would have. `None`: nobody is there.
    pub(super) fn as_get_for(&self, raw: &[u8], config: &Config, cx: &Context) -> Option<Self> {
        let mut asked = Self {
            head: self.head.led_to(raw),
            target: target::parse(Method::Get, raw).ok()?,
            host: self.host.clone(),
            origin: self.origin,
            site: self.site,
            place: None,
            rewrites: Vec::new(),
        };
        asked.find_place(config, cx);
        let site = config.sites.get(self.site?)?;
        let mut rules = site.rewrite.as_ref();
        let mut is_of_site = true;
        while asked.rewrites.len() <= MOST {
            let facts = asked.facts(config);
            match rules.and_then(|rules| rules.iter().find(|rule| rule.applies(&facts))) {
                Some(rule) => {
                    let (raw, target) = asked.rewritten(rule, cx).ok()?;
                    asked.leads_to(&raw, target, config, cx);
                }
                None if is_of_site => {}
                None => return Some(asked),
            }
            is_of_site = false;
            let (_, location) = asked.place?;
            rules = site.locations.get(location)?.policies.rewrite.as_ref();
        }
        None
    }

    fn rewritten(&self, rule: &Rewrite, cx: &Context) -> Found {
        let groups = rule.regex.as_ref().map(|regex| route::groups(regex, self.target.path()));
        let place = self.render_with(&rule.to, groups, true, cx);
        within(&self.target, self.head.target(), &place)
    }
}
