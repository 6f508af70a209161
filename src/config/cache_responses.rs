//! `cache_responses: …` of a site and of its locations: which responses of apps and upstreams are kept, for how long, and what
//! tells them apart.

use super::located::{Given, Node, Report};
use super::log::FieldName;
use super::problem::Complaint;
use super::shape::Shape;
use super::site::Site;
use super::walk::{By, Choice, Form, Section, Value, Walk};
use super::written::Written;
use crate::cache::Settings;
use crate::cache::settings::{Client, Keyed, Query as Kept};
use crate::http::Network;
use crate::http::fields::is_name;
use crate::policy::condition::When;
use std::rc::Rc;
use std::time::Duration;

/// What a place says of the cache.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Caching {
    /// Nothing: it is as the site has it.
    #[default]
    Unsaid,
    /// Nothing is kept (`false`, `None`).
    Off,
    /// Kept in this way.
    On(Rc<CacheResponses>),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CacheResponses {
    /// How long a response is fresh that says nothing about it.
    pub(crate) ttl: Option<Duration>,
    /// The same for single statuses.
    pub(crate) statuses: Vec<(u16, Duration)>,
    /// What tells responses apart.
    pub(crate) key: KeyParts,
    /// Requests for which this holds are answered as if there was no cache.
    pub(crate) bypass: Option<When>,
    /// How long after its time a response is given while it is fetched anew, if it does not say so itself.
    pub(crate) stale_while_revalidate: Option<Duration>,
    /// How long after its time a response is given because there is no better one.
    pub(crate) stale_if_error: Option<Duration>,
    /// How long a request waits for another one that fetches the same.
    pub(crate) lock_timeout: Duration,
    /// Whether `Cache-Control` of requests counts.
    pub(crate) honours_clients: bool,
    /// Whether `Cache-Tag` and `Surrogate-Key` of responses are read.
    pub(crate) tags: bool,
    /// Who may send `PURGE`.
    pub(crate) purge: Purge,
    /// All of this, as the core of the cache has it.
    pub(crate) settings: Settings,
}

/// `key: (…)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeyParts {
    pub(crate) query: Query,
    /// Fields of requests, in lower case.
    pub(crate) headers: Vec<String>,
    /// Cookies by their names.
    pub(crate) cookies: Vec<String>,
}

/// What of the query counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Query {
    /// All of it.
    #[default]
    All,
    /// Nothing.
    None,
    /// All but these parameters; `*` at the end of one stands for anything.
    Ignore(Vec<String>),
    /// These parameters.
    Only(Vec<String>),
}

/// `purge: (allow: […])`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Purge {
    /// From where.
    pub(crate) allow: Vec<Network>,
}

/// As long as it takes an app that is not slow, and less than a client waits.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

const DIRECTIVES: [(&str, bool); 2] = [("Ignore", false), ("Honour", true)];

const QUERIES: [(&str, Query); 2] = [("All", Query::All), ("None", Query::None)];

impl Default for CacheResponses {
    fn default() -> Self {
        Self {
            ttl: None,
            statuses: Vec::new(),
            key: KeyParts::default(),
            bypass: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            lock_timeout: LOCK_TIMEOUT,
            honours_clients: false,
            tags: true,
            purge: Purge::default(),
            settings: Settings::default(),
        }
    }
}

impl Caching {
    /// What a location has of its site.
    #[must_use]
    pub(crate) fn inherit(self, site: &Self) -> Self {
        match self {
            Self::Unsaid => site.clone(),
            own => own,
        }
    }

    /// How it is kept, if it is.
    pub(crate) fn on(&self) -> Option<&Rc<CacheResponses>> {
        match self {
            Self::On(how) => Some(how),
            Self::Unsaid | Self::Off => None,
        }
    }
}

/// The field that every response gets of the server itself is of one exchange: an app that has sent it on has said nothing for
/// the next client.
pub(super) fn omit_id(sites: &mut [Site], id: Option<&FieldName>) {
    let omit: Vec<String> = id.iter().map(|name| name.as_str().to_owned()).collect();
    let places = sites.iter_mut().flat_map(|site| {
        std::iter::once(&mut site.caching)
            .chain(site.locations.iter_mut().map(|location| &mut location.caching))
    });
    for place in places {
        if let Caching::On(how) = place
            && how.settings.omit != omit
        {
            Rc::make_mut(how).settings.omit.clone_from(&omit);
        }
    }
}

/// `true`, `false` or a section.
impl Value for Caching {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let read = match node.shape() {
            Shape::Bool(false) => Some(Self::Off),
            Shape::Bool(true) => Some(Self::On(Rc::default())),
            Shape::Text(_) if node.has_variable() => {
                bool::read(node, report).map(|on| if on { Self::On(Rc::default()) } else { Self::Off })
            }
            Shape::Text(_) | Shape::Integer(_) => {
                let what = "expected true, false or ( key: value, … )";
                node.refuse(report, Complaint::new(what, "for a second each: (ttl: \"1s\")"))
            }
            _ => CacheResponses::read(node, report).map(|how| Self::On(Rc::new(how))),
        };
        read.map(|read| *self = read).is_some()
    }

    fn clear(&mut self) {
        *self = Self::Off;
    }

    fn written(&self) -> Written {
        match self {
            Self::Unsaid => Written::Absent,
            Self::Off => Written::plain(&false),
            Self::On(how) => how.write(),
        }
    }
}

impl Section for CacheResponses {
    const MEANT: Option<&'static str> = Some("ttl");

    fn misplaced(key: &str) -> Option<Complaint> {
        let place = match key {
            "memory" | "path" | "disk" | "max_object" => "`cache: ( … )` at the top level",
            "query" | "headers" | "cookies" | "ignore" => "key: ( … )",
            "allow" => "purge: ( … )",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), format!("it goes into {place}")))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("ttl", &mut self.ttl);
        keys.key("statuses", &mut By(&mut self.statuses, statuses));
        keys.key("key", &mut self.key);
        keys.key("bypass", &mut self.bypass);
        keys.key("stale_while_revalidate", &mut self.stale_while_revalidate);
        keys.key("stale_if_error", &mut self.stale_if_error);
        keys.key("lock_timeout", &mut self.lock_timeout);
        keys.key("client_directives", &mut Choice(&mut self.honours_clients, &DIRECTIVES, &[]));
        keys.key("tags", &mut self.tags);
        keys.key("purge", &mut self.purge);
    }

    fn check(&mut self, _given: &Given<'_>, _report: &mut Report<'_>) {
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let or_none = |time: &Option<Duration>| time.as_ref().map_or(0, millis);
        self.settings = Settings {
            ttl: self.ttl.as_ref().map(millis),
            statuses: self.statuses.iter().map(|(status, time)| (*status, millis(time))).collect(),
            stale_while_revalidate: or_none(&self.stale_while_revalidate),
            stale_if_error: or_none(&self.stale_if_error),
            client: if self.honours_clients { Client::Honour } else { Client::Ignore },
            tags: self.tags,
            key: self.key.keyed(),
            ..Settings::default()
        };
    }
}

impl KeyParts {
    fn keyed(&self) -> Keyed {
        let query = match &self.query {
            Query::All => Kept::All,
            Query::None => Kept::None,
            Query::Ignore(names) => Kept::Ignore(names.clone()),
            Query::Only(names) => Kept::Only(names.clone()),
        };
        Keyed { query, headers: self.headers.clone(), cookies: self.cookies.clone(), ..Keyed::default() }
    }
}

/// `{404: "10s"}`
fn statuses(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(u16, Duration)>> {
    let mut statuses = Vec::new();
    for (status, value) in node.map_of::<u16>("{ 404: \"10s\", … }", report)? {
        if !(200..600).contains(&status.value) || matches!(status.value, 206 | 304) {
            let what = format!("{} is not the status of a response that can be kept", status.value);
            report.add(&status.place, Complaint::new(what, "from 200 to 599, without 206 and 304"));
        }
        statuses.extend(Duration::read(&value, report).map(|ttl| (status.value, ttl)));
    }
    statuses.sort_unstable();
    Some(statuses)
}

impl Section for KeyParts {
    const MEANT: Option<&'static str> = Some("query");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("query", &mut self.query);
        keys.key("headers", &mut By(&mut self.headers, headers));
        keys.key("cookies", &mut By(&mut self.cookies, cookies));
    }
}

/// Names of fields.
fn headers(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    node.each(report, |node, report| {
        node.parse(report, "the name of a header field", |text| {
            if !is_name(text.as_bytes()) {
                let hint = "for example \"Accept-Language\"";
                return Err(Complaint::new(format!("`{text}` is not the name of a field"), hint));
            }
            let name = text.to_ascii_lowercase();
            if matches!(&*name, "cookie" | "authorization") {
                let hint = "single cookies stand in `cookies`; what needs a login is kept for nobody";
                return Err(Complaint::new(format!("`{text}` differs from client to client"), hint));
            }
            Ok(name)
        })
    })
}

/// Names of cookies.
fn cookies(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    node.each(report, |node, report| {
        node.parse(report, "the name of a cookie", |text| match is_name(text.as_bytes()) {
            true => Ok(text.to_owned()),
            false => Err(Complaint::new(format!("`{text}` is not the name of a cookie"), "")),
        })
    })
}

/// `All`, `None`, `(ignore: [...])`, `(only: [...])`.
#[derive(Clone, Default)]
struct Parameters {
    ignore: Option<Vec<String>>,
    only: Option<Vec<String>>,
}

impl Section for Parameters {
    const MEANT: Option<&'static str> = Some("ignore");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("ignore", &mut self.ignore);
        keys.key("only", &mut self.only);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if given.has("ignore") == given.has("only") {
            let hint = "for example (ignore: [\"utm_*\"]), or (only: [\"page\"])";
            given.complain(report, Complaint::new("either `ignore` or `only`", hint));
        }
    }
}

impl Value for Query {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let read = match node.shape() {
            Shape::Struct(_) => Parameters::read(node, report).map(|parameters| match parameters {
                Parameters { only: Some(names), .. } => Self::Only(names),
                Parameters { ignore, .. } => Self::Ignore(ignore.unwrap_or_default()),
            }),
            _ => node.choice(report, &QUERIES, &[]),
        };
        read.map(|read| *self = read).is_some()
    }

    fn clear(&mut self) {
        *self = Self::None;
    }

    fn written(&self) -> Written {
        match self {
            Self::Ignore(names) => Parameters { ignore: Some(names.clone()), only: None }.write(),
            Self::Only(names) => Parameters { ignore: None, only: Some(names.clone()) }.write(),
            plain => Written::name_in(&QUERIES, plain),
        }
    }
}

impl Section for Purge {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("allow", &mut self.allow);
    }
}
