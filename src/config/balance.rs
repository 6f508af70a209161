//! How the servers of an upstream share its requests: `balance`, `sticky`, `queue`, `health` and what a failure costs.

use super::located::{Given, Node, Report};
use super::log::FieldName;
use super::problem::Complaint;
use super::ready;
use super::walk::{By, Choice, Form, Section, Walk};
use super::written::Written;
use crate::balance::Method;
use crate::gateway::ready::Question;
use std::time::Duration;

/// Which server takes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// How it is chosen.
    pub(crate) method: Method,
    /// What decides, of [`Method::Hash`].
    pub(crate) by: Option<Common>,
}

impl Balance {
    /// As it is called in the file.
    pub(crate) fn name(&self) -> &'static str {
        let name = METHODS.iter().find(|(_, method)| *method == self.method).map(|(name, _)| *name);
        name.unwrap_or("Hash")
    }
}

/// What requests have in common that go to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Common {
    /// The address of the client.
    Client,
    /// Path and query as they came.
    Uri,
    /// A field of the request.
    Header(FieldName),
    /// A cookie.
    Cookie(CookieName),
}

const METHODS: [(&str, Method); 4] = [
    ("RoundRobin", Method::RoundRobin),
    ("LeastConnections", Method::LeastConnections),
    ("RandomTwo", Method::RandomTwo),
    ("First", Method::First),
];
const NAMES: [&str; 5] = ["RoundRobin", "LeastConnections", "RandomTwo", "First", "Hash"];
const COMMONS: [&str; 4] = ["Client", "Uri", "Header", "Cookie"];
const HASHES: &str = "Hash(Client), Hash(Uri), Hash(Header(\"X-User\")) or Hash(Cookie(\"id\"))";

impl Form for Balance {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.variant() {
            Some(("Hash", Some(inside))) => {
                let by = Common::read(&inside.only().unwrap_or(inside), report)?;
                Some(Self { method: Method::Hash, by: Some(by) })
            }
            Some(("Hash", None)) => {
                let what = "`Hash` does not say of what".to_owned();
                node.refuse(report, Complaint::new(what, format!("write {HASHES}")))
            }
            Some((name, _)) if !METHODS.iter().any(|(known, _)| *known == name) => {
                node.refuse(report, Complaint::unknown("variant", name, &NAMES))
            }
            _ => node.choice(report, &METHODS, &[]).map(|method| Self { method, by: None }),
        }
    }

    fn write(&self) -> Written {
        match &self.by {
            Some(by) => inside("Hash", by.write()),
            None => Written::name_in(&METHODS, &self.method),
        }
    }
}

fn inside(name: &str, value: Written) -> Written {
    Written::Group(format!("{name}("), vec![(String::new(), value)], ')')
}

impl Form for Common {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.variant() {
            Some(("Client", None)) => Some(Self::Client),
            Some(("Uri", None)) => Some(Self::Uri),
            Some(("Header", Some(name))) => {
                FieldName::read(&name.only().unwrap_or(name), report).map(Self::Header)
            }
            Some(("Cookie", Some(name))) => {
                CookieName::read(&name.only().unwrap_or(name), report).map(Self::Cookie)
            }
            Some((name, _)) if !COMMONS.contains(&name) => {
                node.refuse(report, Complaint::unknown("variant", name, &COMMONS))
            }
            _ => node.refuse(report, Complaint::new("it does not say of what", format!("write {HASHES}"))),
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::Client => Written::plain(&"Client"),
            Self::Uri => Written::plain(&"Uri"),
            Self::Header(name) => inside("Header", name.write()),
            Self::Cookie(name) => inside("Cookie", name.write()),
        }
    }
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CookieName(String);

impl CookieName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Form for CookieName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "the name of a cookie, such as \"route\"", |text| {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if text.is_empty() || !text.bytes().all(is_token) {
                let what = format!("`{}` cannot be the name of a cookie", text.escape_debug());
                return Err(Complaint::new(what, "letters, digits, `-` and `_`"));
            }
            Ok(Self(text.to_owned()))
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.0)
    }
}

/// `sticky: (…)`: a session stays with the server that has begun it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sticky {
    /// The cookie that says which.
    pub(crate) cookie: CookieName,
    /// Whose cookie that is.
    pub(crate) mode: Stick,
    /// What signs it, so that it holds over a restart and on other machines; without one it holds as long as this server.
    pub(crate) secret: Option<String>,
    /// How long a browser keeps ours; until it is closed.
    pub(crate) max_age: Option<Duration>,
}

/// Whose cookie says where a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stick {
    /// One that we set.
    #[default]
    Insert,
    /// That of the app, before whose value it is written; the app does not see that.
    Prefix,
}

const STICKS: [(&str, Stick); 2] = [("Insert", Stick::Insert), ("Prefix", Stick::Prefix)];

impl Section for Sticky {
    const SHORT: Option<&'static str> = Some("cookie");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("cookie", "\"route\"", &mut self.cookie);
        keys.key("mode", &mut Choice(&mut self.mode, &STICKS, &[]));
        keys.key("secret", &mut self.secret);
        keys.key("max_age", &mut self.max_age);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.mode == Stick::Prefix && self.max_age.is_some() {
            let what = "`max_age` is for `mode: Insert`: the app says how long its cookie is kept";
            report.add(&given.place_of("max_age"), Complaint::new(what, "remove it"));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.len() < 16) {
            let what = "`secret` is short enough to be guessed";
            report.add(&given.place_of("secret"), Complaint::new(what, "write 16 characters or more"));
        }
    }
}

/// `queue: (…)`: requests that wait while every server has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    /// So many in each worker; more are answered 503. 0: none waits.
    pub(crate) size: u32,
    /// How long one waits.
    pub(crate) timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 100, timeout: Duration::from_secs(30) }
    }
}

impl Section for Queue {
    const SHORT: Option<&'static str> = Some("size");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("size", &mut self.size);
        keys.key("timeout", &mut self.timeout);
    }
}

/// `health: (…)`: servers are asked now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    /// What is asked; an empty path: nothing, it is enough that the server accepts a connection. Its host is by default the
    /// server's address.
    pub(crate) question: Question,
    /// What the answer's body must hold.
    pub(crate) body: Option<String>,
    /// How often.
    pub(crate) every: Duration,
    /// How long until the whole answer is there.
    pub(crate) timeout: Duration,
    /// So many good answers in a row bring a server back.
    pub(crate) rise: u32,
    /// So many bad ones take it out.
    pub(crate) fall: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            question: Question::default(),
            body: None,
            every: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            rise: 2,
            fall: 3,
        }
    }
}

/// Servers are not asked more often than this.
const OFTEN: Duration = Duration::from_millis(100);

impl Section for Health {
    const SHORT: Option<&'static str> = Some("path");

    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.question;
        let mut path = Some(std::mem::take(&mut of.path)).filter(|path| !path.is_empty());
        keys.key("path", &mut By(&mut path, |node, report| ready::path(node, report).map(Some)));
        of.path = path.unwrap_or_default();
        let mut host = Some(std::mem::take(&mut of.host)).filter(|host| !host.is_empty());
        keys.key("host", &mut By(&mut host, |node, report| ready::host(node, report).map(Some)));
        of.host = host.unwrap_or_default();
        keys.key("status", &mut of.status);
        keys.key("body", &mut self.body);
        keys.key("every", &mut self.every);
        keys.key("timeout", &mut self.timeout);
        keys.key("rise", &mut self.rise);
        keys.key("fall", &mut self.fall);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.question.path.is_empty() {
            for key in ["host", "status", "body"].into_iter().filter(|key| given.has(key)) {
                // The default may be given: it is what is written of one that is not.
                if key != "status" || self.question.status != Default::default() {
                    let what = format!("`{key}` without a `path` that is asked for");
                    report.add(&given.place_of(key), Complaint::new(what, "give `path`, or remove it"));
                }
            }
        }
        if self.every < OFTEN {
            let hint = "\"100ms\" or more";
            report.add(&given.place_of("every"), Complaint::new("`every` is out of range", hint));
        }
        for (key, count) in [("rise", self.rise), ("fall", self.fall)] {
            if !(1..=100).contains(&count) {
                let what = format!("`{key}` is out of range");
                report.add(&given.place_of(key), Complaint::new(what, "from 1 to 100"));
            }
        }
    }
}
