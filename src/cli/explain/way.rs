//! The steps of a request: listener, site, canonical name and HTTPS, rewrites, location, policies, handler, file.

use super::request::Asked;
use super::steps::Steps;
use crate::config::credentials::Credentials;
use crate::config::{
    Cgi, Config, Fallback, HandOver, Handler, Listen, Location, Proxy, Redirect, Respond, Site, access_files,
};
use crate::http::fault::Refusal;
use crate::http::written::{self, behind_prefix, fill, origin_form};
use crate::http::{Method, Scheme, forwarded, target};
use crate::policy::access::Table as Addresses;
use crate::policy::chain::{self, Answer, At, Verdict};
use crate::policy::condition::{Facts, When};
use crate::policy::rewrite::{MOST, Rewrite};
use crate::policy::{DefaultSite, Policies, Said};
use crate::route::{Matcher, SiteSpec, Table, groups};
use crate::worker::handler::file::explain as files;

/// A request on its way.
struct Way<'a> {
    config: &'a Config,
    table: Table,
    asked: Asked,
    /// As proxies that are trusted say it.
    origin: forwarded::Origin,
    site: usize,
    /// A rewrite has led here.
    led: bool,
    /// Networks in files; what is wrong with one of them.
    lists: Result<Credentials, String>,
}

/// Tells the steps; the status of the answer, as far as it is known without asking an app or upstream.
pub(super) fn explain(config: &Config, asked: Asked, steps: &mut Steps) -> Option<u16> {
    let method = String::from_utf8_lossy(asked.head.method_bytes()).into_owned();
    let (scheme, path) = (asked.scheme.as_str(), String::from_utf8_lossy(asked.head.target()).into_owned());
    steps.say("request", format!("{method} {scheme}://{}{path} from {}", asked.authority, asked.from));
    let table = config.routes();
    let candidates = listeners(config, &asked, steps);
    if candidates.is_empty() {
        steps.say("answer", "none: nothing listens for that");
        return Some(421);
    }
    let Some(site) = site(config, &table, &candidates, &asked, steps) else {
        steps.say("answer", "421 Misdirected Request: no site has this name, and `default_site` is none");
        return Some(421);
    };
    let found = config.sites.get(site)?;
    let trusts = |address| found.trusted_proxies.iter().any(|network| network.contains(address));
    let named = found.client_address.as_ref().map(crate::config::FieldName::as_str);
    let origin =
        forwarded::origin(&asked.head, Some(asked.from), asked.scheme, asked.target.scheme(), named, trusts);
    if origin.trusted {
        let client = origin.client.map_or_else(|| "nobody".to_owned(), |client| client.to_string());
        let scheme = origin.scheme.as_str();
        steps.say("client", format!("{client} by {scheme}, as the trusted proxy {} says", asked.from));
    }
    let mut way = Way { config, table, asked, origin, site, led: false, lists: lists(config) };
    way.conditions(steps);
    if let Some(status) = way.elsewhere(found, steps) {
        return Some(status);
    }
    way.follow(found, steps)
}

/// The sites at the addresses to which such a request comes.
fn listeners(config: &Config, asked: &Asked, steps: &mut Steps) -> Vec<usize> {
    let is_tls = asked.scheme == Scheme::Https;
    let port = asked.host.port.unwrap_or_else(|| asked.scheme.default_port());
    let all: Vec<(usize, &Listen)> = config
        .sites
        .iter()
        .enumerate()
        .flat_map(|(index, site)| site.addresses().map(move |(_, listen, tls)| (index, listen, tls)))
        .filter(|(_, _, tls)| *tls == is_tls)
        .map(|(index, listen, _)| (index, listen))
        .collect();
    let own: Vec<_> = all.iter().filter(|(_, listen)| listen.address.port() == Some(port)).copied().collect();
    let taken = if own.is_empty() { &all } else { &own };
    let mut addresses: Vec<String> = taken.iter().map(|(_, listen)| listen.address.to_string()).collect();
    addresses.dedup();
    let word = asked.scheme.as_str().to_uppercase();
    match (own.is_empty(), taken.is_empty()) {
        (_, true) => steps.say("listener", format!("none speaks {word}")),
        (false, _) => steps.say("listener", format!("{} ({word})", addresses.join(", "))),
        (true, _) => steps.say(
            "listener",
            format!("none has port {port}; if somebody passes it on: {} ({word})", addresses.join(", ")),
        ),
    }
    let mut sites: Vec<usize> = taken.iter().map(|(site, _)| *site).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

fn site(
    config: &Config,
    table: &Table,
    candidates: &[usize],
    asked: &Asked,
    steps: &mut Steps,
) -> Option<usize> {
    let host = String::from_utf8_lossy(&asked.host.name).into_owned();
    let named = table.site(candidates, &asked.host.name);
    let index = config.default_site.of(named)?;
    let site = config.sites.get(index)?;
    let takes = |name: &&crate::route::HostPattern| {
        let alone = SiteSpec { names: vec![(*name).clone()], locations: Vec::new() };
        Table::new(vec![alone]).site(&[0], &asked.host.name).is_some()
    };
    // Of several of its names the plain one counts, then the first that fits.
    let plain = site.names.iter().find(|name| name.plain().map(str::as_bytes) == Some(&*asked.host.name));
    let why = match plain.or_else(|| site.names.iter().find(takes)) {
        _ if named.is_none() => match config.default_site {
            DefaultSite::Site(_) => format!("no site has the name {host}; it is the `default_site`"),
            DefaultSite::Refuse => String::new(),
        },
        Some(name) if name.plain().is_some() => format!("it has the name {host}"),
        Some(name) => format!("its name {} takes {host}", crate::config::render_host(name)),
        None => format!("no site here has the name {host}; it has no names, and so takes any"),
    };
    steps.say("site", format!("sites[{index}] {}: {why}", site.label));
    Some(index)
}

impl<'a> Way<'a> {
    fn facts(&self) -> Facts<'_> {
        Facts {
            host: &self.asked.host.name,
            client: self.origin.client,
            scheme: self.origin.scheme,
            conditions: &self.config.conditions,
            ..Facts::of(&self.asked.head, &self.asked.target)
        }
    }

    fn conditions(&self, steps: &mut Steps) {
        let facts = self.facts();
        for (index, (name, _)) in self.config.conditions.iter().enumerate() {
            let holds = if When(index).holds(&facts) { "holds" } else { "does not hold" };
            steps.say("condition", format!("{name}: {holds}"));
        }
    }

    /// The redirects that come before all else.
    fn elsewhere(&self, site: &Site, steps: &mut Steps) -> Option<u16> {
        let Asked { head, target, host, scheme, .. } = &self.asked;
        let is_plain = *scheme == Scheme::Http && site.wants_https(self.origin.scheme);
        let place = self.location(target.path()).and_then(|at| site.locations.get(at));
        let is_probe = place.is_some_and(|location| location.policies.asleep_200);
        let name = site.canonical_for(&host.name).filter(|_| is_plain || !is_probe);
        if !is_plain && name.is_none() {
            return None;
        }
        let status = if matches!(head.method(), Method::Get | Method::Head) { 301 } else { 308 };
        let scheme = if is_plain { "https" } else { self.origin.scheme.as_str() };
        let name = name.map_or_else(|| String::from_utf8_lossy(&host.name), Into::into);
        let port = host.port.filter(|_| !is_plain).map_or_else(String::new, |port| format!(":{port}"));
        let path = origin_form(target, head.target());
        let path = String::from_utf8_lossy(&path);
        let why = if is_plain { "tls.redirect_http" } else { "canonical" };
        steps.say("answer", format!("{status} to {scheme}://{name}{port}{path} ({why})"));
        Some(status)
    }

    fn location(&self, path: &[u8]) -> Option<usize> {
        self.table.location(self.site, path, &Facts { path, ..self.facts() })
    }

    /// From location to location, until one answers.
    fn follow(&mut self, site: &'a Site, steps: &mut Steps) -> Option<u16> {
        let facts = self.facts();
        let rules = site.rewrite.as_deref().unwrap_or_default();
        if let Some(rule) = rules.iter().find(|rule| rule.applies(&facts))
            && self.rewrite(rule, None, "the site's", steps).is_none()
        {
            return Some(500);
        }
        for _ in 0..=MOST {
            let Some(at) = self.location(self.asked.target.path()) else { return self.nobody(site, steps) };
            let location = site.locations.get(at)?;
            self.tell_location(site, at, steps);
            let verdict = self.judge(&location.policies, steps);
            if let Verdict::Rewrite(number) = verdict {
                let rule = location.policies.rewrite.as_ref()?.get(number)?;
                if self.rewrite(rule, Some(at), "its", steps).is_none() {
                    return Some(500);
                }
                continue;
            }
            for (key, value) in self.config.said_of(location) {
                steps.say("policy", format!("{key}: {value}"));
            }
            return match verdict {
                Verdict::Respond(answer) => refused(&answer, steps),
                _ => self.handler(at, location, steps),
            };
        }
        steps.say("answer", "500 Internal Server Error: it is rewritten more than ten times");
        Some(500)
    }

    fn judge(&self, policies: &Policies, steps: &mut Steps) -> Verdict {
        // All else is shown, not tried: who has which password, and how often somebody came, stands in files and memory of the
        // server.
        let Policies { internal, rewrite, cors, access, auth, satisfy_any, .. } = policies.clone();
        let is_login_enough = satisfy_any == Some(true) && auth.get().is_some();
        let access = if is_login_enough { Said::Nothing } else { access };
        let table = match (access.get(), &self.lists) {
            (Some(access), Ok(lists)) => Some(Addresses::of(access, |list| lists.blocks(self.config, list))),
            (Some(_), Err(fault)) => {
                steps.say("access", format!("not tried: {fault}"));
                None
            }
            (None, _) => None,
        };
        let access = if table.is_some() { access } else { Said::Nothing };
        let policies = Policies { internal, rewrite, cors, access, ..Policies::default() };
        let asked =
            chain::Asked { may_enter: self.led, access: table.as_ref(), ..chain::Asked::of(self.facts()) };
        chain::judge(&policies, &asked, At::default()).0
    }

    fn tell_location(&self, site: &Site, at: usize, steps: &mut Steps) {
        let path = self.asked.target.path();
        let shown = |index: usize| {
            let location = site.locations.get(index);
            let text = location.map_or_else(String::new, |location| self.config.matcher_of(location));
            format!("locations[{index}] {text}")
        };
        steps.say("location", shown(at));
        let others = (0..site.locations.len()).filter(|index| *index != at);
        for index in others.filter(|index| self.table.takes(self.site, *index, path)) {
            let admits = site.locations.get(index).is_some_and(|other| other.guard.admits(&self.facts()));
            let why = if admits { "goes behind it" } else { "does not take this request" };
            steps.say("passed over", format!("{}: {why}", shown(index)));
        }
    }

    /// No location takes it: what the site demands is asked for all the same.
    fn nobody(&self, site: &Site, steps: &mut Steps) -> Option<u16> {
        let none = Location { policies: site.policies.clone(), ..Location::default() };
        for (key, value) in self.config.said_of(&none) {
            steps.say("policy", format!("{key}: {value}"));
        }
        match self.judge(&site.policies, steps) {
            Verdict::Respond(answer) => refused(&answer, steps),
            _ => Some(self.missing(steps)),
        }
    }

    fn missing(&self, steps: &mut Steps) -> u16 {
        let methods = self.table.methods(self.site, self.asked.target.path(), &self.facts());
        if methods.is_empty() {
            steps.say("answer", "404 Not Found: no location takes this path");
            return 404;
        }
        steps.say("answer", format!("405 Method Not Allowed: taken are {}", methods.join(", ")));
        405
    }

    /// The template, filled in at this location.
    fn fill(&self, template: &str, at: Option<usize>, own: Option<&Rewrite>) -> Vec<u8> {
        let Asked { head, target, authority, .. } = &self.asked;
        let regex = own.and_then(|rule| rule.regex.as_ref());
        let groups = match (regex, at) {
            (Some(regex), _) => groups(regex, target.path()),
            (None, Some(at)) => self.table.groups(self.site, at, target.path()),
            (None, None) => Vec::new(),
        };
        let rest = at.map_or(target.path(), |at| self.table.rest(self.site, at, target.path()));
        let (raw, authority, scheme) = (head.target(), authority.as_bytes(), self.origin.scheme);
        let asked = written::Asked { target, raw, rest, authority, scheme };
        fill(template, &asked, &groups, own.is_some())
    }

    /// Another path; `None`: it is none, which was told.
    fn rewrite(&mut self, rule: &Rewrite, at: Option<usize>, whose: &str, steps: &mut Steps) -> Option<()> {
        let raw = self.fill(&rule.to, at, Some(rule));
        let shown = String::from_utf8_lossy(&raw).into_owned();
        match target::parse(Method::Get, &raw) {
            Ok(target) => {
                steps.say("rewrite", format!("to {shown}, by {whose} `{}`", rule.to));
                self.asked.head.rewrite(&raw);
                self.asked.target = target;
                self.led = true;
                Some(())
            }
            Err(error) => {
                steps.say(
                    "answer",
                    format!("500 Internal Server Error: rewritten to {shown}: {}", error.why()),
                );
                None
            }
        }
    }

    fn handler(&self, at: usize, location: &Location, steps: &mut Steps) -> Option<u16> {
        match &*location.handler {
            Handler::Files(_) => self.files(at, location, steps),
            handler => self.other(at, location, handler, steps),
        }
    }

    fn files(&self, at: usize, location: &Location, steps: &mut Steps) -> Option<u16> {
        let Handler::Files(settings) = &*location.handler else { return None };
        let Asked { head, target, .. } = &self.asked;
        steps.say("handler", format!("Files below {}", settings.root.display()));
        let wanted = crate::worker::handler::file::Request {
            head,
            path: target.path(),
            rest: self.table.file(self.site, at, target.path()),
            query: target.query(head.target()),
            encoded_slash: target.encoded_slash(),
            falls_back: matches!(location.fallback, Fallback::Handler(_)),
            waits: true,
            known: &crate::worker::handler::file::Known::default(),
            led: None,
        };
        let told = files::told(settings, &wanted);
        let status = told.status.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
        steps.say("file", format!("{status}: {}", told.says));
        match (told.status, &location.fallback) {
            (Some(status), _) => Some(status),
            (None, Fallback::Status(status)) => {
                steps.say("answer", status.to_string());
                Some(*status)
            }
            (None, Fallback::Handler(handler)) => self.other(at, location, handler, steps),
        }
    }

    /// Whether whoever is asked with the path as it was written could find another location in it.
    fn may_be_misread(&self, at: usize, handler: &Handler) -> bool {
        let is_passed_on = match handler {
            Handler::Proxy(_) => true,
            Handler::App { app, .. } => {
                let app = self.config.apps.get(*app);
                app.is_some_and(|app| app.kind.hand_over() == HandOver::Proxied)
            }
            _ => false,
        };
        let leads_here = |read: &Facts<'_>| self.table.location(self.site, read.path, read) == Some(at);
        is_passed_on && self.facts().may_be_misread(leads_here)
    }

    /// One that is no file.
    fn other(&self, at: usize, location: &Location, handler: &Handler, steps: &mut Steps) -> Option<u16> {
        let Asked { head, target, .. } = &self.asked;
        if self.may_be_misread(at, handler) {
            return refused(&Answer::Refuse(Refusal::MISREAD), steps);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match handler {
            Handler::App { app, mount } => {
                let name = self.config.apps.get(*app).map_or("", |app| app.name.as_str());
                let path = text(target.path_info());
                let info = path.strip_prefix(mount.as_str()).unwrap_or(&path);
                steps.say("handler", format!("App {name}: SCRIPT_NAME \"{mount}\", PATH_INFO \"{info}\""));
                None
            }
            Handler::Proxy(proxy) => {
                let name = self.config.upstream(proxy.upstream).map_or("", |upstream| upstream.name.as_str());
                let path = text(&self.upstream_path(at, location, proxy));
                steps.say("handler", format!("Proxy {name}: it is asked for {path}"));
                None
            }
            Handler::Cgi(Cgi { app, .. }) => {
                let path = text(self.table.file(self.site, at, target.path()));
                let name = self.config.apps.get(*app).map_or("", |app| app.name.as_str());
                steps.say("handler", format!("{name}: /{}", path.trim_start_matches('/')));
                None
            }
            Handler::Redirect(Redirect { status, location }) => {
                steps.say("answer", format!("{status} to {}", text(&self.fill(location, Some(at), None))));
                Some(*status)
            }
            Handler::Respond(Respond { status, .. }) => {
                steps.say("answer", format!("{status}, fixed"));
                Some(*status)
            }
            Handler::Files(_) => {
                steps.say("answer", text(head.target()));
                None
            }
        }
    }

    fn upstream_path(&self, at: usize, location: &Location, proxy: &Proxy) -> Vec<u8> {
        let Asked { head, target, .. } = &self.asked;
        match (&proxy.rewrite, &location.matcher) {
            (Some(template), _) => self.fill(template, Some(at), None),
            (None, Matcher::Prefix { .. }) if proxy.strip => {
                behind_prefix(target, head.target(), self.table.rest(self.site, at, target.path()))
            }
            _ => origin_form(target, head.target()).into_owned(),
        }
    }
}

/// The networks of lists in files, or what is wrong with the first that cannot be read.
fn lists(config: &Config) -> Result<Credentials, String> {
    let mut lists = Credentials::default();
    match access_files::read_lists(config, None, &mut lists, &mut Vec::new()).first() {
        Some(fault) => Err(fault.to_string()),
        None => Ok(lists),
    }
}

/// What a rule has answered.
fn refused(answer: &Answer, steps: &mut Steps) -> Option<u16> {
    let (status, why) = match answer {
        Answer::Page(status) => (Some(*status), "a policy of the place says so"),
        Answer::With(head) => (Some(head.status.0), "a policy of the place says so"),
        Answer::Refuse(refusal) => (Some(refusal.status), refusal.why),
        _ => (None, "a policy of the place has an answer of its own"),
    };
    steps.say("answer", status.map_or_else(|| why.to_owned(), |status| format!("{status}: {why}")));
    status
}
