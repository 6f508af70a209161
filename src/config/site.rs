//! `sites: […]`.

use super::access;
use super::address::Address;
use super::cache_responses::Caching;
use super::condition;
use super::fallback::Fallback;
use super::handler::Handler;
use super::limit;
use super::listen::Listen;
use super::located::{At, Given, Node, Report};
use super::location::{self, Location};
use super::log::{FieldName, SiteLog};
use super::problem::{Complaint, Place};
use super::rewrite;
use super::source::Source;
use super::tls::{self, Acme, Clients, Tls};
use super::walk::{By, Form, Section, Walk};
use super::written::Written;
use super::{cors, headers};
use crate::http::Network;
use crate::http::target::ipv6_name;
use crate::policy::compress::Compressing;
use crate::policy::rewrite::Rewrite;
use crate::policy::{Policies, Said};
use crate::route::HostPattern;
use regex_lite::RegexBuilder;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

/// One site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// First name, or `site N`; for logs.
    pub(crate) label: String,
    /// Hosts it answers; empty: any host on its addresses.
    pub(crate) names: Vec<HostPattern>,
    /// The one by which it wants to be called; who calls it by another is sent there.
    pub(crate) canonical: Option<String>,
    /// Where it speaks HTTP.
    pub(crate) listen: Vec<Listen>,
    /// Where and how it speaks HTTPS.
    pub(crate) tls: Option<Tls>,
    /// What a request must get past, unless a location says otherwise.
    pub policies: Policies,
    /// What is kept of responses, unless a location says otherwise.
    pub(crate) caching: Caching,
    /// Peers whose X-Forwarded-* are believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// The field in which they say who the client is, if that is not X-Forwarded-For.
    pub(crate) client_address: Option<FieldName>,
    /// Files with pages of the site's own for errors, by status.
    pub(crate) error_pages: Vec<(u16, PathBuf)>,
    /// Where its requests are logged.
    pub(crate) log: SiteLog,
    /// Other paths, before the location counts; the first that applies.
    pub(crate) rewrite: Option<Rc<[Rewrite]>>,
    /// In the order of the file.
    pub(crate) locations: Vec<Location>,
}

/// Policies of a site unless it says otherwise.
pub(crate) const DEFAULT_POLICIES: Policies = Policies {
    max_body: Some(20 << 20),
    asleep_200: false,
    internal: false,
    limits: None,
    bandwidth: None,
    headers: None,
    cors: None,
    compress: Compressing::Off,
    access: Said::Nothing,
    auth: Said::Nothing,
    satisfy_any: None,
    rewrite: None,
};

/// A site, with the places of its names and addresses.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    place: Place,
    names: Vec<At<HostPattern>>,
    listen: Vec<At<Listen>>,
    tls: Option<tls::Draft>,
    site: Site,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            label: String::new(),
            names: Vec::new(),
            canonical: None,
            listen: Vec::new(),
            tls: None,
            policies: DEFAULT_POLICIES,
            caching: Caching::default(),
            trusted_proxies: Vec::new(),
            client_address: None,
            error_pages: Vec::new(),
            log: SiteLog::default(),
            rewrite: None,
            locations: Vec::new(),
        }
    }
}

impl Section for Draft {
    const LATER: &'static [&'static str] = location::POLICIES_LATER;

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("names", &mut self.names);
        keys.key("canonical", &mut By(&mut self.site.canonical, canonical));
        keys.key("listen", &mut self.listen);
        keys.key("tls", &mut By(&mut self.tls, tls::read));
        keys.key("max_body", &mut self.site.policies.max_body);
        keys.key("headers", &mut headers::Said(&mut self.site.policies.headers));
        keys.key("cors", &mut cors::Said(&mut self.site.policies.cors));
        keys.key("compress", &mut self.site.policies.compress);
        access::walk(&mut self.site.policies, keys);
        keys.key("limit", &mut limit::Limits(&mut self.site.policies.limits));
        keys.key("bandwidth", &mut limit::Bandwidths(&mut self.site.policies.bandwidth));
        keys.key("cache_responses", &mut self.site.caching);
        keys.key("trusted_proxies", &mut self.site.trusted_proxies);
        keys.key("client_address", &mut self.site.client_address);
        keys.key("error_pages", &mut By(&mut self.site.error_pages, error_pages));
        keys.key("log", &mut self.site.log);
        keys.key("rewrite", &mut By(&mut self.site.rewrite, rewrite::read));
        keys.key("locations", &mut By(&mut self.site.locations, location::read_all));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        self.place = given.node.place();
        // Without them it still has names, which others may mean.
        if !given.has("tls") {
            given.need("listen", "[\":8000\"]", report);
        }
        given.need("locations", "[(path: \"/\", to: App(\"shop\"))]", report);
        let trusts_nobody = !given.has("trusted_proxies") || given.is_empty_list("trusted_proxies");
        if self.site.client_address.is_some() && trusts_nobody {
            let complaint =
                Complaint::new("nobody is trusted to send it", "name the proxies in `trusted_proxies`");
            report.add(&given.place_of("client_address"), complaint);
        }
        let is_named = |name: &&String| self.names.iter().any(|own| own.value.plain() == Some(name.as_str()));
        if let Some(name) = self.site.canonical.as_ref().filter(|name| !is_named(name)) {
            let what = format!(
                "`{name}` is no name of this site, and whoever is sent there would not come back to it"
            );
            let place = given.place_of("canonical");
            report.add(&place, Complaint::new(what, "add it to `names`"));
        }
        if given.is_empty_list("listen") && !given.has("tls") {
            let hint = "for example listen: [\":8000\"]";
            given.complain(report, Complaint::new("the site listens nowhere", hint));
        }
        if let (Some(tls), Some(headers)) = (&mut self.tls, &self.site.policies.headers)
            && headers.is_secure()
        {
            tls.secure();
        }
        if let Some(tls) = self.tls.as_ref().filter(|_| !given.has("names") || given.is_good("names")) {
            tls.check_names(&self.names, report);
        }
        if let (Some(tls), Some(listen)) = (&self.tls, self.listen.first()) {
            tls.check_required(&listen.place, report);
        }
        if given.is_empty_list("locations") {
            given.complain(report, Complaint::new("the site has no locations", ""));
        }
        for location in &mut self.site.locations {
            location.policies = std::mem::take(&mut location.policies).inherit(&self.site.policies);
            location.caching = std::mem::take(&mut location.caching).inherit(&self.site.caching);
        }
    }
}

/// A plain name.
fn canonical(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "a host name such as \"shop.example\"", |text| match parse_host(text)? {
        HostPattern::Exact(name) => Ok(Some(name)),
        _ => Err(Complaint::new(format!("`{text}` is many names"), "write the one that all others lead to")),
    })
}

/// `{404: "404.html"}`
fn error_pages(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(u16, PathBuf)>> {
    let mut pages = Vec::new();
    for (status, value) in node.map_of::<u16>("{ 404: \"404.html\", … }", report)? {
        if !(400..600).contains(&status.value) {
            let what = format!("{} is not the status of an error", status.value);
            report.add(&status.place, Complaint::new(what, "from 400 to 599"));
        }
        pages.extend(PathBuf::read(&value, report).map(|path| (status.value, path)));
    }
    pages.sort_by_key(|(status, _)| *status);
    Some(pages)
}

impl Site {
    /// Each address that it listens on, behind its key; second: HTTPS is spoken there.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (String, &Listen, bool)> {
        let of = |key: &'static str, list: &'_ [Listen], is_tls| {
            let keys = (0..list.len()).map(move |index| format!("{key}[{index}]"));
            keys.collect::<Vec<_>>().into_iter().map(move |key| (key, is_tls))
        };
        let secure = self.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let keys = of("listen", &self.listen, false).chain(of("tls.listen", secure, true));
        keys.zip(self.listen.iter().chain(secure)).map(|((key, is_tls), listen)| (key, listen, is_tls))
    }

    /// Whether commands may call it so, in small letters: by one of its names, or its label.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.label.eq_ignore_ascii_case(name) || self.names.iter().any(|own| render_host(own) == name)
    }

    /// Whose certificates its clients are asked for, if they are.
    pub(crate) fn clients(&self) -> Option<&Clients> {
        self.tls.as_ref()?.clients.as_ref()
    }

    /// Names the static roots of a site with an app by where they lead to now: a release whose code and files belong
    /// together is switched to by a reload, not by the link alone.
    pub(crate) fn pin_roots(&mut self, source: &dyn Source) {
        let is_app = |location: &Location| match (&*location.handler, &location.fallback) {
            (Handler::App { .. }, _) => true,
            (_, Fallback::Handler(handler)) => matches!(**handler, Handler::App { .. }),
            _ => false,
        };
        if !self.locations.iter().any(is_app) {
            return;
        }
        for location in &mut self.locations {
            if let Handler::Files(files) = Rc::make_mut(&mut location.handler) {
                files.root = source.real(&files.root);
            }
        }
    }
}

/// `shop.example`, `*.shop.example`.
impl Form for HostPattern {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a host name such as \"shop.example\"", parse_host)
    }

    fn write(&self) -> Written {
        Written::text(&render_host(self))
    }
}

pub(crate) fn parse_host(text: &str) -> Result<HostPattern, Complaint> {
    let bad = |hint: String| Err(Complaint::new(format!("`{text}` is not a host name"), hint));
    if text == "*" || text == "_" {
        return bad("for any host leave `names` out".to_owned());
    }
    if text.contains("://") || text.contains('/') {
        return bad("write the name alone, without scheme and path".to_owned());
    }
    if !text.is_ascii() {
        return bad("write it as browsers send it, in its xn--… form".to_owned());
    }
    if let Some(pattern) = text.strip_prefix('~') {
        let built = RegexBuilder::new(pattern).case_insensitive(true).build();
        return built.map(HostPattern::Regex).map_err(|error| condition::no_regex(pattern, &error));
    }
    let lower = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if lower.starts_with('[') && lower.ends_with(']') {
        let inside = lower.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = inside.parse() {
            return Ok(HostPattern::Exact(ipv6_name(address)));
        }
    }
    if lower.contains(':') {
        return bad("the port stands in `listen`, and an IPv6 address in brackets".to_owned());
    }
    let (name, make): (&str, fn(&str) -> HostPattern) =
        match (lower.strip_prefix("*."), lower.strip_suffix(".*")) {
            (Some(rest), _) => (rest, |name| HostPattern::Suffix(format!(".{name}"))),
            (None, Some(rest)) => (rest, |name| HostPattern::Prefix(format!("{name}."))),
            (None, None) => (lower.as_str(), |name| HostPattern::Exact(name.to_owned())),
        };
    if name.contains('*') {
        return bad("a `*` stands for the first part or for what follows the last dot: \"*.shop.example\", \"shop.*\"; \
                    for more write a regular expression: \"~^shop[0-9]+\\\\.example$\""
            .to_owned());
    }
    if let Some(rest) = name.strip_prefix('.') {
        return bad(format!("for the name and everything below it write \"{rest}\", \"*.{rest}\""));
    }
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|char| char.is_ascii_alphanumeric() || char == '-' || char == '_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return bad("letters, digits, `-` and dots, as in \"shop.example\"".to_owned());
    }
    Ok(make(name))
}

/// The pattern as it is written.
pub(crate) fn render_host(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
        HostPattern::Prefix(prefix) => format!("{prefix}*"),
        HostPattern::Regex(regex) => format!("~{regex}"),
    }
}

impl Draft {
    /// As it would be written for this site.
    pub(crate) fn of(site: &Site) -> Self {
        let names: Vec<_> = site.names.iter().cloned().map(At::nowhere).collect();
        let listen: Vec<_> = site.listen.iter().cloned().map(At::nowhere).collect();
        let place = Place::default();
        let tls = site.tls.as_ref().map(tls::Draft::of);
        let mut site = site.clone();
        // What a location has of its site is written there: buckets are shared by who has the same limit, not one alike.
        for location in &mut site.locations {
            let own = &mut location.policies.limits;
            if let (Some(one), Some(other)) = (&own, &site.policies.limits)
                && Rc::ptr_eq(one, other)
            {
                *own = None;
            }
            if rewrite::is_always(&location.policies) {
                // Its site's, which nobody asks for there, and which may not be written there.
                let Policies { internal, rewrite, .. } = std::mem::take(&mut location.policies);
                location.policies = Policies { internal, rewrite, ..Policies::default() };
                location.caching = Caching::default();
            }
        }
        Self { place, names, listen, tls, site }
    }

    /// Where it listens; second: HTTPS is spoken there.
    fn addresses(&self) -> Vec<(&At<Listen>, bool)> {
        let secure = self.tls.iter().flat_map(|tls| &tls.listen);
        self.listen.iter().map(|listen| (listen, false)).chain(secure.map(|listen| (listen, true))).collect()
    }

    /// The site at this index.
    pub(crate) fn site(self, index: usize) -> Site {
        let names: Vec<HostPattern> = self.names.into_iter().map(|name| name.value).collect();
        let label = names.first().map_or_else(|| format!("site {}", index + 1), render_host);
        let listen = self.listen.into_iter().map(|listen| listen.value).collect();
        Site { label, names, listen, tls: self.tls.map(tls::Draft::tls), ..self.site }
    }
}

/// Sites with the same names and the same authority have one certificate, which is had in one way.
fn check_acme(sites: &[Draft], report: &mut Report<'_>) {
    let mut known: HashMap<(&str, BTreeSet<String>), (&Acme, &Place)> = HashMap::new();
    for site in sites {
        let Some((tls, acme)) = site.tls.as_ref().and_then(|tls| Some((tls, tls.acme()?))) else { continue };
        let names = site.names.iter().map(|name| render_host(&name.value)).collect();
        let (first, place) = *known.entry((&acme.directory, names)).or_insert((acme, &tls.place));
        if first != acme {
            let what = format!(
                "`Acme` says something else than {}, for the same names at the same authority",
                place.mention()
            );
            let hint =
                "it is one certificate: write the same `email`, `storage`, `directory_ca` and `eab` in both";
            report.add(&tls.place, Complaint::new(what, hint));
        }
    }
}

/// Checks that look at all sites: who answers which host where must be clear.
pub(crate) fn check_all(sites: &[Draft], report: &mut Report<'_>) {
    check_acme(sites, report);
    let mut listeners: Vec<(&At<Listen>, bool)> = Vec::new();
    let mut answers: HashMap<(&Address, Option<String>), (usize, &Place)> = HashMap::new();
    for (number, site) in sites.iter().enumerate() {
        let addresses = site.addresses();
        for (index, (listen, is_tls)) in addresses.iter().copied().enumerate() {
            let address = &listen.value.address;
            let is_it =
                |(other, tls): &(&At<Listen>, bool)| other.value.address == *address && *tls == is_tls;
            if addresses.iter().take(index).any(is_it) {
                report.add(&listen.place, Complaint::new(format!("`{address}` is given twice"), "keep one"));
                continue;
            }
            let mut others = listeners.iter();
            let found = others
                .find(|(other, _)| other.value.address == *address || other.value.address.overlaps(address));
            match found {
                Some((other, _)) if other.value.address != *address => {
                    let (their, mention) = (&other.value.address, other.place.mention());
                    let what = format!("`{address}` and `{their}` of {mention} cannot both be bound");
                    let hint = "write the same address in both, a site is found by its names";
                    report.add(&listen.place, Complaint::new(what, hint));
                }
                Some((other, tls)) if *tls != is_tls => {
                    let (here, there) = if is_tls { ("HTTPS", "HTTP") } else { ("HTTP", "HTTPS") };
                    let what = format!(
                        "`{address}` is for {here} here and for {there} at {}",
                        other.place.mention()
                    );
                    let hint = "one address speaks one of the two: `listen` is for HTTP, often \":80\", `tls` for HTTPS, \":443\"";
                    report.add(&listen.place, Complaint::new(what, hint));
                    continue;
                }
                Some((other, _)) if !other.value.is_as(&listen.value) => {
                    let what = format!(
                        "`{address}` has another `protocol`, `mode`, `group` or `proxy_protocol` at {}",
                        other.place.mention()
                    );
                    report
                        .add(&listen.place, Complaint::new(what, "it is one socket: write the same in both"));
                }
                Some(_) => {}
                None => listeners.push((listen, is_tls)),
            }
            let names = site.names.iter().map(|name| (Some(render_host(&name.value)), &name.place));
            let nameless = site.names.is_empty().then_some((None, &site.place));
            for (name, place) in names.chain(nameless) {
                let Some((owner, first)) = answers.insert((address, name.clone()), (number, place)) else {
                    continue;
                };
                let (what, hint) = match name {
                    Some(name) if owner == number => (format!("`{name}` is given twice"), "keep one"),
                    Some(name) => (
                        format!("`{name}` on `{address}` is already {}", first.mention()),
                        "a name belongs to one site on an address",
                    ),
                    None => (
                        format!("answers any host on `{address}`, as {} does", first.mention()),
                        "give one of the two `names`",
                    ),
                };
                report.add(place, Complaint::new(what, hint));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_lite::Regex;

    #[test]
    fn host_names_and_their_mistakes() {
        for (text, want) in [
            ("Shop.Example.", HostPattern::Exact("shop.example".to_owned())),
            ("*.shop.example", HostPattern::Suffix(".shop.example".to_owned())),
            ("Shop.*", HostPattern::Prefix("shop.".to_owned())),
            ("~^s[0-9]+\\.", HostPattern::Regex(Regex::new("^s[0-9]+\\.").unwrap())),
            ("127.0.0.1", HostPattern::Exact("127.0.0.1".to_owned())),
            ("[::1]", HostPattern::Exact("[::1]".to_owned())),
            ("[0:0::0:1]", HostPattern::Exact("[::1]".to_owned())),
            ("localhost", HostPattern::Exact("localhost".to_owned())),
        ] {
            assert_eq!(parse_host(text), Ok(want), "{text}");
        }
        for (text, hint) in [
            ("*", "for any host leave `names` out"),
            ("shop.example:80", "the port stands in `listen`, and an IPv6 address in brackets"),
            ("https://shop.example", "write the name alone, without scheme and path"),
            (
                "*.shop.*",
                "a `*` stands for the first part or for what follows the last dot: \"*.shop.example\", \"shop.*\"; \
                 for more write a regular expression: \"~^shop[0-9]+\\\\.example$\"",
            ),
            (
                ".shop.example",
                "for the name and everything below it write \"shop.example\", \"*.shop.example\"",
            ),
            ("bücher.example", "write it as browsers send it, in its xn--… form"),
            ("a b", "letters, digits, `-` and dots, as in \"shop.example\""),
            ("", "letters, digits, `-` and dots, as in \"shop.example\""),
        ] {
            assert_eq!(parse_host(text).unwrap_err().hint, hint, "{text}");
        }
    }
}
