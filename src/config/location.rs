//! `locations: […]` of a site: which paths, and what answers them.

use super::access;
use super::cache_responses::Caching;
use super::condition::{self, no_regex};
use super::fallback::Fallback;
use super::handler::{Handler, To};
use super::limit;
use super::located::{Given, Node, Report};
use super::problem::{Complaint, Place};
use super::rewrite;
use super::shape::Shape;
use super::units::check_path;
use super::walk::{By, Choice, Form, Section, Walk};
use super::written::Written;
use super::{cors, headers};
use crate::policy::Policies;
use crate::policy::condition::When;
use crate::route::{Guard, Matcher};
use regex_lite::Regex;
use std::rc::Rc;

/// One location of a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Location {
    /// Which paths it takes.
    pub(crate) matcher: Matcher,
    /// Which requests for them.
    pub(crate) guard: Guard,
    /// What a request must get past; those of the site are among them.
    pub(crate) policies: Policies,
    /// What is kept of its responses.
    pub(crate) caching: Caching,
    /// What answers.
    pub(crate) handler: Rc<Handler>,
    /// What answers where the handler has nothing.
    pub(crate) fallback: Fallback,
}

/// Takes nothing, until a matcher is read.
impl Default for Location {
    fn default() -> Self {
        Self {
            matcher: Matcher::Exact(String::new()),
            guard: Guard::default(),
            policies: Policies::default(),
            caching: Caching::default(),
            handler: Rc::default(),
            fallback: Fallback::default(),
        }
    }
}

/// Its keys that say which paths it takes.
const MATCHERS: [&str; 3] = ["exact", "path", "regex"];

/// Policies that a location and a site may carry, once they exist.
#[rustfmt::skip]
pub(crate) const POLICIES_LATER: &[&str] = &[
];

impl Section for Location {
    const LATER: &'static [&'static str] = POLICIES_LATER;

    fn misplaced(key: &str) -> Option<Complaint> {
        let inside = match key {
            "root" | "index" | "cache" | "alias" | "fallback" | "listing" | "precompressed" | "types"
            | "dotfiles" | "symlinks" | "symlinks_to" | "try_files" => "Files(root: \"…\", …)",
            "mount" | "app" => "App(name: \"…\", mount: \"…\")",
            "strip" | "x_accel" | "send_files_from" | "intercept_errors" | "request_headers"
            | "response_headers" | "early_hints" | "trailers" => "Proxy(name: \"…\", …)",
            "interpreters" | "max_processes" | "pass_authorization" => "Cgi(root: \"…\", …)",
            "status" | "body" | "content_type" => "Respond(status: …, body: \"…\")",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), format!("it goes into `to: {inside}`")))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        matcher(&mut self.matcher, keys);
        guard(&mut self.guard, keys);
        keys.key("rewrite", &mut By(&mut self.policies.rewrite, rewrite::read));
        let mut to = To { handler: (*self.handler).clone(), fallback: self.fallback.clone() };
        if rewrite::is_always(&self.policies) {
            // Nobody gets there.
            keys.key("to", &mut None::<To>);
        } else {
            keys.need("to", "App(\"shop\")", &mut to);
        }
        (self.handler, self.fallback) = (Rc::new(to.handler), to.fallback);
        keys.key("max_body", &mut self.policies.max_body);
        keys.key("headers", &mut headers::Said(&mut self.policies.headers));
        keys.key("cors", &mut cors::Said(&mut self.policies.cors));
        keys.key("internal", &mut self.policies.internal);
        keys.key("compress", &mut self.policies.compress);
        access::walk(&mut self.policies, keys);
        keys.key("limit", &mut limit::Limits(&mut self.policies.limits));
        keys.key("bandwidth", &mut limit::Bandwidths(&mut self.policies.bandwidth));
        let mut probe = self.policies.asleep_200.then_some(Probe);
        keys.key("probe", &mut probe);
        self.policies.asleep_200 = probe.is_some();
        keys.key("cache_responses", &mut self.caching);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let is_app = matches!(*self.handler, Handler::App { .. });
        if self.policies.asleep_200 && given.is_good("to") && !is_app {
            given.complain(report, Complaint::new("`probe` goes with `to: App(…)` only", "remove it"));
        }
        self.check_caching(given, report);
        if rewrite::is_always(&self.policies) {
            check_led_away(given, report);
        }
        let matchers: Vec<&str> = MATCHERS.into_iter().filter(|key| given.has(key)).collect();
        if matchers.is_empty() {
            let hint = "give one of path: \"/static/\", exact: \"/robots.txt\", regex: r\"\\.php$\"";
            given.complain(report, Complaint::new("no path is given", hint));
        } else if matchers.len() > 1 {
            let what = "`exact`, `path` and `regex` exclude each other";
            given.complain(report, Complaint::new(what, "keep one"));
        }
        let over_regex = given.node("over_regex").map(Node::shape);
        if over_regex.is_some_and(|over| !matches!(over, Shape::Bool(false))) && !given.has("path") {
            given.complain(report, Complaint::new("`over_regex` goes with `path` only", "remove it"));
        }
        let is_good = given.is_good("to") && MATCHERS.into_iter().any(|key| given.is_good(key));
        let handlers = std::iter::once(&self.handler).chain(match &self.fallback {
            Fallback::Handler(handler) => Some(handler),
            Fallback::Status(_) => None,
        });
        if is_good
            && let Some(complaint) = handlers.filter_map(|handler| fits(&self.matcher, handler).err()).next()
        {
            report.add(&given.place_of("to"), complaint);
        }
    }
}

impl Location {
    /// Only what apps and upstreams answer is worth keeping: a file is as near as a copy of it would be.
    fn check_caching(&self, given: &Given<'_>, report: &mut Report<'_>) {
        let is_made =
            |handler: &Handler| matches!(handler, Handler::App { .. } | Handler::Proxy(_) | Handler::Cgi(_));
        let falls_back = matches!(&self.fallback, Fallback::Handler(handler) if is_made(handler));
        let is_on = self.caching.on().is_some();
        if is_on && given.is_good("to") && !is_made(&self.handler) && !falls_back {
            let what =
                "`cache_responses` keeps what apps and upstreams answer, and nobody of them answers here";
            let hint = "remove it; how long browsers keep a file says Files(cache: \"1h\")";
            report.add(&given.place_of("cache_responses"), Complaint::new(what, hint));
        }
    }
}

/// Policies that are asked for at the place that answers, which this one is not.
const OF_WHO_ANSWERS: [&str; 11] = [
    "access",
    "auth",
    "satisfy",
    "limit",
    "bandwidth",
    "max_body",
    "cors",
    "headers",
    "compress",
    "cache_responses",
    "probe",
];

/// What is said in vain where `rewrite` leads every request away: nobody must take a place for protected that is not.
fn check_led_away(given: &Given<'_>, report: &mut Report<'_>) {
    if given.has("to") {
        let what = "`to` never answers: `rewrite` leads every request to another path";
        let hint = "remove it, or say when to rewrite: rewrite: (to: \"…\", when: \"…\")";
        report.add(&given.place_of("to"), Complaint::new(what, hint));
    }
    for key in OF_WHO_ANSWERS.into_iter().filter(|key| given.has(key)) {
        let what = format!("`{key}` is never asked for: `rewrite` leads every request to another path");
        let hint = "write it at the location of that path, whose policies hold, or at the site";
        report.add(&given.place_of(key), Complaint::new(what, hint));
    }
}

/// The keys of a matcher, of which one is given.
fn matcher(of: &mut Matcher, keys: &mut dyn Walk) {
    let (mut exact, mut prefix, mut regex, mut over_regex) = (None, None, None, None);
    match of.clone() {
        Matcher::Exact(text) => exact = Some(text).filter(|text| !text.is_empty()),
        Matcher::Prefix { path, over_regex: over } => (prefix, over_regex) = (Some(path), Some(over)),
        Matcher::Regex(pattern) => regex = Some(pattern),
    }
    keys.key("exact", &mut By(&mut exact, path));
    keys.key("path", &mut By(&mut prefix, path));
    keys.key("regex", &mut regex);
    keys.key("over_regex", &mut over_regex);
    let over_regex = over_regex.unwrap_or_default();
    let exact = exact.map(Matcher::Exact);
    let prefix = prefix.map(|path| Matcher::Prefix { path, over_regex });
    if let Some(matcher) = exact.or(prefix).or(regex.map(Matcher::Regex)) {
        *of = matcher;
    }
}

/// The keys that say which requests it takes.
fn guard(of: &mut Guard, keys: &mut dyn Walk) {
    keys.key("methods", &mut condition::methods(&mut of.methods));
    for (name, index) in [("when", &mut of.when), ("unless", &mut of.unless)] {
        let mut when = index.map(When);
        keys.key(name, &mut when);
        *index = when.map(|When(index)| index);
    }
}

/// The locations of a site. Of those with one path only the last takes every request.
pub(crate) fn read_all(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Location>> {
    let locations = node.each(report, |node, report| {
        let place = MATCHERS.into_iter().find_map(|key| node.field(key)).map(|matcher| matcher.place());
        report.groups = rewrite::groups_in(node, report);
        let location = Location::read(node, report);
        report.groups.clear();
        Some((location?, place))
    })?;
    for (index, (location, place)) in locations.iter().enumerate() {
        let same_path = |other: &Location| match (&other.matcher, &location.matcher) {
            (Matcher::Prefix { path: one, .. }, Matcher::Prefix { path: two, .. }) => one == two,
            (one, two) => one == two,
        };
        let hides = |(other, _): &&(Location, Option<Place>)| {
            same_path(other) && (other.guard.is_open() || other.guard == location.guard)
        };
        if let (Some((other, Some(first))), Some(place)) = (locations.iter().take(index).find(hides), place) {
            let complaint = if other.guard == location.guard {
                let what = format!("the same path as {}", first.mention());
                Complaint::new(
                    what,
                    "the first would always win: keep one, or tell them apart by `methods` or `when`",
                )
            } else {
                let what = format!("{} has the same path and takes every request for it", first.mention());
                Complaint::new(what, "the first that takes a request has it: put this one before it")
            };
            report.add(place, complaint);
        }
    }
    Some(locations.into_iter().map(|(location, _)| location).collect())
}

/// `probe: (answer: Asleep200)`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Probe;

impl Section for Probe {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("answer", "Asleep200", &mut Choice(&mut (), &[("Asleep200", ())], &[]));
    }
}

/// A root stands for a directory, and a mount for a prefix: the location must have it. (Files below an `exact` path are
/// looked for by its last segment, below a `regex` by the whole path.)
fn fits(matcher: &Matcher, handler: &Handler) -> Result<(), Complaint> {
    match (handler, matcher) {
        (Handler::Files(_) | Handler::Cgi(_), Matcher::Prefix { path, .. }) if !path.ends_with('/') => {
            let of = if matches!(handler, Handler::Cgi(_)) { "Cgi" } else { "Files" };
            let why =
                format!("the root of `{of}` stands for a directory, and `{path}` does not end with `/`");
            Err(Complaint::new(why, format!("write path: \"{path}/\"")))
        }
        (Handler::App { mount, .. }, _) if !mount.is_empty() => {
            let (Matcher::Exact(path) | Matcher::Prefix { path, .. }) = matcher else {
                return Err(Complaint::new("`mount` needs a location with `path`", "a regex has no prefix"));
            };
            let rest = path.strip_prefix(mount.as_str());
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Ok(());
            }
            let what = format!("mount `{mount}` is not the beginning of `{path}`");
            let other = path.trim_end_matches('/');
            Err(Complaint::new(what, format!("write path: \"{mount}\", or mount: \"{other}\"")))
        }
        (Handler::Proxy(proxy), _) if proxy.strip => match matcher {
            Matcher::Prefix { path, .. } if path != "/" => Ok(()),
            Matcher::Prefix { .. } => {
                Err(Complaint::new("`strip` has no prefix to drop at `/`", "remove it"))
            }
            _ => {
                let hint = "give the location a prefix, path: \"/api/\", or say what is asked for, rewrite: \"/v2$rest\"";
                Err(Complaint::new("`strip` needs a location with `path`", hint))
            }
        },
        _ => Ok(()),
    }
}

/// A path as it is compared: decoded, normalised.
fn path(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "a path such as \"/static/\"", |text| check_path(text).map(|()| Some(text.to_owned())))
}

impl Form for Regex {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a regular expression in quotes", |text| {
            Self::new(text).map_err(|error| no_regex(text, &error))
        })
    }

    fn write(&self) -> Written {
        Written::text(self)
    }
}
