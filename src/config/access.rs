//! `access`, `auth` and `satisfy` of a site or location: who may enter.

use super::handler::{Handler, To};
use super::lists::block;
use super::located::{Given, Node, Report};
use super::log::FieldName;
use super::names::Kind;
use super::problem::Complaint;
use super::proxy::Proxy;
use super::walk::{By, Choice, Form, Section, Value, Walk};
use super::written::Written;
use crate::gateway::HOP_BY_HOP;
use crate::http::{Method, fields, target};
use crate::policy::access::{Access, Who};
use crate::policy::auth::{Auth, Basic, Inquiry, Whom};
use crate::policy::{Policies, Said};
use std::rc::Rc;
use std::time::Duration;

/// The keys of a place that say who may enter.
pub(super) fn walk(policies: &mut Policies, keys: &mut dyn Walk) {
    keys.key("access", &mut policies.access);
    keys.key("auth", &mut policies.auth);
    keys.key("satisfy", &mut Choice(&mut policies.satisfy_any, &SATISFY, &[]));
}

const SATISFY: [(&str, Option<bool>); 2] = [("Any", Some(true)), ("All", Some(false))];

/// `None` switches off what the site says.
impl<T: Form> Value for Said<T> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let read = T::read(node, report);
        read.map(|own| *self = Self::Own(Some(Rc::new(own)))).is_some()
    }

    fn clear(&mut self) {
        *self = Self::Own(None);
    }

    fn written(&self) -> Written {
        match self {
            Self::Nothing => Written::Absent,
            Self::Own(None) => Written::plain(&"None"),
            Self::Own(Some(own)) => own.write(),
        }
    }
}

impl Section for Access {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("allow", &mut self.allow);
        keys.key("deny", &mut self.deny);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if !given.has("allow") && !given.has("deny") {
            let hint = "for example allow: [\"192.0.2.0/24\"]: all others are refused then";
            given.complain(report, Complaint::new("nobody is allowed or denied", hint));
        }
        let both = self.allow.iter().find(|who| self.deny.contains(who));
        if both.is_some() && given.is_good("deny") {
            let what = "the same stands in `allow`, too";
            report.add(&given.place_of("deny"), Complaint::new(what, "the denial would win: keep one"));
        }
    }
}

impl Form for Who {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let text = String::read(node, report)?;
        let found = match text.as_str() {
            "all" => Ok(Self::All),
            "unix:" => Ok(Self::Unix),
            other => match other.strip_prefix('@') {
                Some(name) => report.names.find(Kind::List, name).map(Self::List),
                None => block(other).map(Self::Block).map_err(|complaint| with_names(other, complaint)),
            },
        };
        found.map_err(|complaint| node.complain(report, complaint)).ok()
    }

    fn write(&self) -> Written {
        match self {
            Self::All => Written::text(&"all"),
            Self::Unix => Written::text(&"unix:"),
            Self::Block(block) => block.write(),
            Self::List(at) => Written::Name(Kind::List, *at),
        }
    }
}

/// What is no network may have been meant as something else.
fn with_names(text: &str, complaint: Complaint) -> Complaint {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic()) && !text.contains([':', '.']);
    let hint = match text.to_ascii_lowercase().as_str() {
        "any" | "everybody" | "everyone" | "*" | "all" => "write \"all\"".to_owned(),
        _ if is_word => format!("a list is written \"@{text}\"; it stands at the top: lists: {{ … }}"),
        _ => return complaint,
    };
    Complaint { hint, ..complaint }
}

/// `auth: ( … )`: one of its keys is given.
#[derive(Clone, Default)]
struct Draft {
    basic: Option<Basic>,
    request: Option<Question>,
}

impl Section for Draft {
    const MEANT: Option<&'static str> = Some("basic");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("basic", &mut self.basic);
        keys.key("request", &mut self.request);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        match (given.has("basic"), given.has("request")) {
            (false, false) => {
                let hint = "for example auth: (basic: (users: \"htpasswd\")); None switches it off";
                given.complain(report, Complaint::new("it is not said how", hint));
            }
            (true, true) => {
                given
                    .complain(report, Complaint::new("`basic` and `request` exclude each other", "keep one"));
            }
            _ => {}
        }
    }
}

impl Form for Auth {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let Draft { basic, request } = Draft::read(node, report)?;
        basic.map(Self::Basic).or_else(|| Some(Self::Request(request?.inquiry()?)))
    }

    fn write(&self) -> Written {
        let draft = match self {
            Self::Basic(basic) => Draft { basic: Some(basic.clone()), request: None },
            Self::Request(inquiry) => Draft { basic: None, request: Some(Question::of(inquiry)) },
        };
        draft.write()
    }
}

impl Section for Basic {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("realm", &mut By(&mut self.realm, realm));
        keys.need("users", "\"htpasswd\"", &mut self.users);
        keys.key("pass_authorization", &mut self.pass_authorization);
        keys.key("user_header", &mut By(&mut self.user_header, field));
    }
}

/// `request: ( … )`; without somebody to ask it is not read.
#[derive(Clone)]
struct Question {
    to: Option<Whom>,
    path: String,
    timeout: Duration,
    user: Option<String>,
    pass: Vec<(String, String)>,
}

impl Default for Question {
    fn default() -> Self {
        let timeout = Duration::from_secs(10);
        Self { to: None, path: "/".to_owned(), timeout, user: None, pass: Vec::new() }
    }
}

impl Question {
    fn of(inquiry: &Inquiry) -> Self {
        let Inquiry { to, path, timeout, user, pass } = inquiry.clone();
        Self { to: Some(to), path, timeout, user, pass }
    }

    fn inquiry(self) -> Option<Inquiry> {
        let Self { to, path, timeout, user, pass } = self;
        Some(Inquiry { to: to?, path, timeout, user, pass })
    }
}

impl Section for Question {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("to", "App(\"login\")", &mut By(&mut self.to, whom));
        keys.need("path", "\"/verify\"", &mut By(&mut self.path, path));
        keys.key("timeout", &mut self.timeout);
        keys.key("user", &mut By(&mut self.user, field));
        keys.key("pass", &mut By(&mut self.pass, pass));
    }
}

impl Form for Whom {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let example = "write App(\"login\") or Proxy(\"login\"), with nothing else in it";
        match To::read(node, report)?.handler {
            Handler::App { app, mount } if mount.is_empty() => Some(Self::App(app)),
            Handler::Proxy(proxy) if proxy == (Proxy { upstream: proxy.upstream, ..Proxy::default() }) => {
                Some(Self::Upstream(proxy.upstream))
            }
            _ => node.refuse(report, Complaint::new("it is asked by its name alone", example)),
        }
    }

    fn write(&self) -> Written {
        let handler = match *self {
            Self::App(app) => Handler::App { app, mount: String::new() },
            Self::Upstream(upstream) => Handler::Proxy(Proxy { upstream, ..Proxy::default() }),
        };
        To::from(handler).write()
    }
}

fn whom(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<Whom>> {
    Whom::read(node, report).map(Some)
}

/// Path and query, as a client would ask for them.
fn path(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a path such as \"/verify\"", |text| {
        let bad = |why: &str| {
            Complaint::new(format!("`{text}` cannot be asked for: {why}"), "for example \"/verify\"")
        };
        if !text.starts_with('/') {
            return Err(bad("it does not begin with a slash"));
        }
        target::parse(Method::Get, text.as_bytes()).map_err(|error| bad(error.why()))?;
        Ok(text.to_owned())
    })
}

/// `{"X-User": "x-auth-user"}`
fn pass(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in node.map_of::<String>("{ \"X-User\": \"x-auth-user\", … }", report)? {
        let is_name = |text: &str| fields::is_name(text.as_bytes()) && !text.contains('_');
        if !is_name(&name.value) || is_ours(name.value.as_bytes()) {
            let what = format!("`{}` is no name of a field that can be told on", name.value);
            report.add(&name.place, Complaint::new(what, "for example \"X-User\""));
            continue;
        }
        if all.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name.value)) {
            let hint = "the case of a name means nothing: keep one";
            report.add(&name.place, Complaint::new("given twice", hint));
            continue;
        }
        let from = value.parse(report, "the name of a field of the answer", |text| {
            if fields::is_name(text.as_bytes()) {
                Ok(text.to_owned())
            } else {
                Err(Complaint::new(format!("`{text}` is no name of a field"), "for example \"x-auth-user\""))
            }
        });
        all.extend(from.map(|from| (name.value, from)));
    }
    Some(all)
}

/// Fields of the framing, of the connection and of the way: nobody else says these.
fn is_ours(name: &[u8]) -> bool {
    HOP_BY_HOP.has(name)
        || ["host", "expect", "via", "forwarded"].iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

/// What a browser shows; of a quoted string only ASCII means the same to all of them (RFC 9110 §5.6.4).
fn realm(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = String::read(node, report)?;
    if text.is_empty() || !text.chars().all(|char| char == ' ' || char.is_ascii_graphic()) {
        let what = "a realm is a text of ASCII characters";
        return node.refuse(report, Complaint::new(what, "for example realm: \"Members only\""));
    }
    Some(text)
}

/// The name of a field that says nothing else.
pub(super) fn field(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    let name = FieldName::read(node, report)?.as_str().to_owned();
    if name.contains('_') {
        let what = format!("`{name}` has an underscore, which not every server takes for one");
        let hint = format!("write \"{}\"", name.replace('_', "-"));
        return node.refuse(report, Complaint::new(what, hint));
    }
    Some(Some(name))
}
