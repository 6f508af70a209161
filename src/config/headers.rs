//! `headers: Secure`, `headers: {…}`, `headers: (set: {…}, …)` or a list of such groups: the fields of all responses of a place.

use super::changes;
use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{By, Form, Section, Value, Walk};
use super::written::Written;
use crate::gateway::HOP_BY_HOP;
use crate::http::{Names, fields, location};
use crate::policy::headers::{Group, Headers, Statuses, Text, secure};
use std::rc::Rc;

/// The name of the group that needs no more words.
const SECURE: &str = "Secure";

/// Fields of a response that say how it is sent, or that the server has of its own: what two parties say of them differs.
const OURS: Names = Names::new(&[
    "content-encoding",
    "content-range",
    "date",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "server",
    "x-accel-buffering",
]);

/// Fields of requests that are looked for among those of responses.
const OF_REQUESTS: Names = Names::new(&["host", "cookie", "authorization", "x-forwarded-for", "x-real-ip"]);

/// `headers` of a site or location, as a value of its walk.
pub(super) struct Said<'v>(pub(super) &'v mut Option<Rc<Headers>>);

impl Value for Said<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let groups = match node.shape() {
            Shape::List(_) => node.each(report, Group::read_one),
            _ => Group::read_one(node, report).map(|group| vec![group]),
        };
        groups.map(|groups| *self.0 = Some(Rc::new(Headers::new(groups)))).is_some()
    }

    /// Those of the site do not hold.
    fn clear(&mut self) {
        *self.0 = Some(Rc::new(Headers::none()));
    }

    fn written(&self) -> Written {
        match self.0.as_deref().map(Headers::said) {
            None | Some(Some([])) => Written::Absent,
            Some(None) => Written::plain(&"None"),
            Some(Some([one])) => one.write_one(),
            Some(Some(groups)) => {
                let items = groups.iter().map(|group| (String::new(), group.write_one()));
                Written::Group("[".to_owned(), items.collect(), ']')
            }
        }
    }
}

impl Group {
    fn read_one(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Variant(..) => node.choice(report, &[(SECURE, ())], &[]).map(|()| secure()),
            Shape::Text(text) if text.eq_ignore_ascii_case(SECURE) => {
                node.refuse(report, Complaint::new(format!("`{SECURE}` stands without quotes here"), ""))
            }
            Shape::Struct(_) | Shape::Map(_) | Shape::Tuple(_) => Self::read(node, report),
            other => node.wrong(report, "`Secure`, { \"Name\": \"value\" } or (set: { … }, …)", &other),
        }
    }

    fn write_one(&self) -> Written {
        if self.secure { Written::plain(&SECURE) } else { self.write() }
    }
}

impl Section for Group {
    const SHORT: Option<&'static str> = Some("set");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("set", &mut By(&mut self.set, texts));
        keys.key("default", &mut By(&mut self.default, texts));
        keys.key("add", &mut By(&mut self.add, texts));
        keys.key("remove", &mut By(&mut self.remove, names));
        keys.key("status", &mut By(&mut self.status, statuses));
        keys.key("when", &mut self.when);
        keys.key("unless", &mut self.unless);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if !["set", "default", "add", "remove"].iter().any(|key| given.has(key)) {
            let hint = "for example (set: {\"X-Robots-Tag\": \"noindex\"})";
            given.complain(report, Complaint::new("nothing is set, added or removed", hint));
        }
        let is_set = |name: &str| self.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
        if let Some(name) = self.remove.iter().find(|name| is_set(name)) {
            let complaint = Complaint::new(
                format!("`{name}` is set, too"),
                "setting a field replaces it: remove it here",
            );
            report.add(&given.place_of("remove"), complaint);
        }
        if let Some((name, _)) = self.default.iter().find(|(name, _)| is_set(name)) {
            let hint = "`set` replaces what is there, `default` yields to it: keep one";
            report.add(&given.place_of("default"), Complaint::new(format!("`{name}` is set, too"), hint));
        }
        if is_set("vary") || self.remove.iter().any(|name| name.eq_ignore_ascii_case("vary")) {
            let key = if is_set("vary") { "set" } else { "remove" };
            let what = "caches are no longer told what else the response depends on";
            let hint = "write it into `add`, unless you know that nothing else varies it";
            report.warn(&given.place_of(key), Complaint::new(what, hint));
        }
    }
}

impl Form for Text {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "the value of a header field in quotes", |text| {
            let value = changes::check_value(text)?;
            match location::check_text(value) {
                Err(location::Error::Unknown(name)) => {
                    let complaint = Complaint::unknown("variable", &name, &location::Variable::NAMES);
                    Err(Complaint { hint: format!("{}; a dollar sign is `$$`", complaint.hint), ..complaint })
                }
                _ => Ok(Self::new(value)),
            }
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.template())
    }
}

impl Form for Statuses {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let found = match node.shape() {
            Shape::Integer(status) => u16::try_from(status).ok().filter(is_final).map(Self::One),
            Shape::Text(text) => parse_statuses(&text),
            other => return node.wrong(report, "a status such as 404 or \"5xx\"", &other),
        };
        if found.is_none() {
            node.complain(
                report,
                Complaint::new("no status of a response", "write 404, or \"4xx\" for a class"),
            );
        }
        found
    }

    fn write(&self) -> Written {
        match self {
            Self::One(status) => Written::plain(status),
            Self::Class(digit) => Written::text(&format!("{digit}xx")),
        }
    }
}

fn is_final(status: &u16) -> bool {
    *status == 101 || (200..600).contains(status)
}

fn parse_statuses(text: &str) -> Option<Statuses> {
    let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
    match class {
        Some(digit) => digit.parse().ok().filter(|digit| (2..=5).contains(digit)).map(Statuses::Class),
        None => text.parse().ok().filter(is_final).map(Statuses::One),
    }
}

/// One status, or a list.
fn statuses(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Statuses>> {
    match node.shape() {
        Shape::List(_) => Vec::read(node, report),
        _ => Statuses::read(node, report).map(|one| vec![one]),
    }
}

fn texts(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, Text)>> {
    changes::entries_by(node, report, check_name, Text::read)
}

fn names(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    node.each(report, |node, report| {
        node.parse(report, "the name of a header field in quotes", |text| {
            check_name(text).map(|()| text.to_owned())
        })
    })
}

fn check_name(name: &str) -> Result<(), Complaint> {
    if !fields::is_name(name.as_bytes()) {
        let hint = "a name is one word, for example \"X-Robots-Tag\"";
        return Err(Complaint::new(format!("{name:?} is no name of a field"), hint));
    }
    if OURS.has(name.as_bytes()) || HOP_BY_HOP.has(name.as_bytes()) {
        let hint = "it is of one connection, or says how a message is sent: remove it";
        return Err(Complaint::new(format!("`{name}` is written by the server itself"), hint));
    }
    if OF_REQUESTS.has(name.as_bytes()) {
        let hint = "what an upstream is told stands in `request_headers` of its `Proxy`";
        return Err(Complaint::new(format!("`{name}` is a field of requests"), hint));
    }
    Ok(())
}
