//! `conditions: { "name": ( … ) }`: what locations and policies may depend on, and the references to it.
//!
//! A text that begins with `~` is a regular expression, with `~*` one that takes no notice of case, as in nginx's `map`; any
//! other is compared as it is.

use super::located::{Given, Node, Report};
use super::names::{Kind, Named};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{Form, Section, Value, Walk};
use super::written::Written;
use crate::http::{Network, fields};
use crate::policy::condition::{Condition, Pair, Term, Text, When};
use regex_lite::Regex;

/// So many others one may consist of.
const MOST: usize = 256;

const EXAMPLE: &str = "(method: \"POST\"), (header: (\"User-Agent\", \"~*bot\")), (cookie: \"sessionid\"), \
                       (query: (\"beta\", \"1\")), (client: \"192.0.2.0/24\"), (any: [\"bots\", …]), (not: \"bots\")";

impl Section for Condition {
    const MEANT: Option<&'static str> = Some("header");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("method", &mut Few(&mut self.method, method, Form::write));
        keys.key("header", &mut Paired(&mut self.header, Some(is_header)));
        keys.key("query", &mut Paired(&mut self.query, None));
        keys.key("cookie", &mut Paired(&mut self.cookie, None));
        keys.key("client", &mut Few(&mut self.client, Network::read, Form::write));
        keys.key("host", &mut Few(&mut self.host, host, Form::write));
        keys.key("scheme", &mut self.scheme);
        keys.key("path", &mut Few(&mut self.path, path, Form::write));
        keys.key("any", &mut Few(&mut self.any, Term::read, Form::write));
        keys.key("all", &mut Few(&mut self.all, Term::read, Form::write));
        let mut not = self.not.as_deref().cloned();
        keys.key("not", &mut not);
        self.not = not.map(Box::new);
    }

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "address" | "remote_addr" | "src" | "ip" => "it is called `client` here",
            "or" | "one_of" => "it is called `any` here",
            "and" => "it is called `all` here",
            "arg" | "args" | "param" => "it is called `query` here",
            "regex" | "regexp" => "a text that begins with `~` is a regular expression: (path: \"~^/api/\")",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if given.node.fields().is_empty() {
            given.complain(
                report,
                Complaint::new("the condition says nothing", format!("for example {EXAMPLE}")),
            );
        }
    }
}

/// One value, or a list of them that is not empty.
struct Few<'v, T>(&'v mut Vec<T>, super::located::Reading<T>, fn(&T) -> Written);

impl<T> Value for Few<'_, T> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let before = report.problems.len();
        let values = match node.shape() {
            Shape::List(list) if list.is_empty() => {
                node.refuse(report, Complaint::new("an empty list", "name one, or leave the key out"))
            }
            Shape::List(_) => node.each(report, self.1),
            _ => self.1(node, report).map(|value| vec![value]),
        };
        values.map(|values| *self.0 = values).is_some() && report.problems.len() == before
    }

    fn written(&self) -> Written {
        few(self.0, self.2)
    }
}

fn few<T>(values: &[T], write: fn(&T) -> Written) -> Written {
    match values {
        [] => Written::Absent,
        [one] => write(one),
        more => {
            let items = more.iter().map(|item| (String::new(), write(item)));
            Written::Group("[".to_owned(), items.collect(), ']')
        }
    }
}

/// `"name"`, `("name", "value")` or `("name", ["value", …])`.
struct Paired<'v>(&'v mut Option<Pair>, Option<fn(&str) -> bool>);

impl Value for Paired<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let pair = match node.shape() {
            Shape::Tuple(parts) if parts.len() == 2 => {
                let parts = node.parts();
                let [name, value] = parts.as_slice() else { return false };
                let mut values = Vec::new();
                let good = Few(&mut values, Text::read, Form::write).take(value, report);
                String::read(name, report).filter(|_| good).map(|name| Pair { name, values })
            }
            Shape::Text(_) => String::read(node, report).map(|name| Pair { name, values: Vec::new() }),
            other => node.wrong(report, "\"name\" or (\"name\", \"value\")", &other),
        };
        let Some(pair) = pair else { return false };
        if pair.name.is_empty() || self.1.is_some_and(|is_good| !is_good(&pair.name)) {
            let what = format!("{:?} is no name for that", pair.name);
            node.complain(report, Complaint::new(what, "for example (header: \"X-Requested-With\")"));
            return false;
        }
        *self.0 = Some(pair);
        true
    }

    fn written(&self) -> Written {
        let Some(Pair { name, values }) = &*self.0 else { return Written::Absent };
        if values.is_empty() {
            return name.write();
        }
        let items = vec![(String::new(), name.write()), (String::new(), few(values, Form::write))];
        Written::Group("(".to_owned(), items, ')')
    }
}

fn is_header(name: &str) -> bool {
    fields::is_name(name.as_bytes())
}

/// A method, or a list of them.
pub(super) fn methods(of: &mut Vec<String>) -> impl Value + '_ {
    Few(of, method, Form::write)
}

/// A token (RFC 9110 §9.1), which is written in capitals by all that are known.
fn method(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a method such as \"POST\"", |text| {
        let upper = text.to_ascii_uppercase();
        match text {
            _ if !fields::is_name(text.as_bytes()) => {
                Err(Complaint::new(format!("`{text}` is no method"), "for example \"POST\""))
            }
            _ if upper != text => {
                let hint = format!("did you mean \"{upper}\"?");
                Err(Complaint::new(format!("`{text}`: methods are written in capitals"), hint))
            }
            _ => Ok(upper),
        }
    })
}

/// Hosts are compared in lower case, without a port.
fn host(node: &Node<'_>, report: &mut Report<'_>) -> Option<Text> {
    let text = Text::read(node, report)?;
    match &text {
        Text::Is(name) if name.contains('*') => {
            let hint = "write a regular expression: \"~\\\\.shop\\\\.example$\"";
            node.refuse(report, Complaint::new(format!("`{name}` is no host"), hint))
        }
        Text::Is(name) => match crate::http::target::host(name.as_bytes()) {
            Ok(host) if host.port.is_none() => {
                Some(Text::Is(String::from_utf8_lossy(&host.name).into_owned()))
            }
            _ => {
                let hint = "a name alone, without a port: \"shop.example\"";
                node.refuse(report, Complaint::new(format!("`{name}` is no host"), hint))
            }
        },
        Text::Has(_) => Some(text),
    }
}

/// Paths are compared decoded and normalised.
fn path(node: &Node<'_>, report: &mut Report<'_>) -> Option<Text> {
    let text = Text::read(node, report)?;
    match &text {
        Text::Is(path) => match super::units::check_path(path) {
            Ok(()) => Some(text),
            Err(complaint) => node.refuse(report, complaint),
        },
        Text::Has(_) => Some(text),
    }
}

impl Form for Text {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let text = String::read(node, report)?;
        let Some(pattern) = text.strip_prefix('~') else {
            if looks_like_pattern(&text) {
                let what = format!("`{text}` is compared as it stands here");
                let hint = format!("a regular expression begins with `~`: \"~{text}\"");
                report.warn(&node.place(), Complaint::new(what, hint));
            }
            return Some(Self::Is(text));
        };
        let pattern =
            pattern.strip_prefix('*').map_or_else(|| pattern.to_owned(), |rest| format!("(?i){rest}"));
        match Regex::new(&pattern) {
            Ok(regex) => Some(Self::Has(regex)),
            Err(error) => node.refuse(report, no_regex(&pattern, &error)),
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::Is(text) => text.write(),
            Self::Has(regex) => Written::text(&format!("~{regex}")),
        }
    }
}

fn looks_like_pattern(text: &str) -> bool {
    text.starts_with('^')
        || text.len() > 1 && text.ends_with('$')
        || ["(?", ".*", ".+", "\\."].iter().any(|part| text.contains(part))
}

/// Why a text is no regular expression.
pub(super) fn no_regex(text: &str, error: &regex_lite::Error) -> Complaint {
    let what = format!("`{text}` is not a regular expression: {error}");
    Complaint::new(what, "the syntax is that of Rust's regex-lite: no look-around, no back-references")
}

/// `"bots"`, or a condition without a name.
impl Form for Term {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Text(_) => When::read(node, report).map(Self::Named),
            _ => Condition::read(node, report).map(Box::new).map(Self::Own),
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::Named(when) => when.write(),
            Self::Own(condition) => condition.write(),
        }
    }
}

/// The name of a condition: `keys.key("when", &mut self.when)` for an `Option<When>`.
impl Form for When {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Struct(_) = node.shape() {
            let hint = "give it a name: conditions: {\"writes\": (method: [\"POST\", \"PUT\"])}, and write that here";
            return node.refuse(report, Complaint::new("expected the name of a condition, found one", hint));
        }
        let mut at = None;
        Named(&mut at, Kind::Condition).take(node, report);
        at.map(Self)
    }

    fn write(&self) -> Written {
        Written::Name(Kind::Condition, self.0)
    }
}

/// No condition leads back to itself, and none consists of too many others: a request pays for all of them.
pub(super) fn check_all(conditions: &[(String, Condition)], report: &mut Report<'_>) {
    let places: Vec<_> = report.names.of_kind(Kind::Condition).map(|name| name.place.clone()).collect();
    if places.len() != conditions.len() {
        // Some were not read, and the others are not where they should be.
        return;
    }
    let mut sizes = Sizes { conditions, known: vec![None; conditions.len()], way: Vec::new() };
    for (index, place) in places.iter().enumerate() {
        match sizes.of(index) {
            Ok(size) if size <= MOST => {}
            Ok(size) => {
                let what = format!("the condition consists of {size} others, more than {MOST}");
                return report.add(place, Complaint::new(what, "one `~` expression stands for many texts"));
            }
            Err(circle) => {
                let begin = circle.first().copied().unwrap_or(index);
                let shown: Vec<&str> = circle
                    .iter()
                    .chain([&begin])
                    .filter_map(|at| conditions.get(*at).map(|(name, _)| name.as_str()))
                    .collect();
                let what = format!("the condition leads back to itself: {}", shown.join(" → "));
                let place = places.get(begin).unwrap_or(place);
                return report.add(place, Complaint::new(what, "take one of these references out"));
            }
        }
    }
}

/// Of how many conditions each consists.
struct Sizes<'c> {
    conditions: &'c [(String, Condition)],
    known: Vec<Option<usize>>,
    way: Vec<usize>,
}

impl Sizes<'_> {
    /// # Errors
    /// Those that lead to each other in a circle.
    fn of(&mut self, at: usize) -> Result<usize, Vec<usize>> {
        if let Some(size) = self.known.get(at).copied().flatten() {
            return Ok(size);
        }
        if let Some(begin) = self.way.iter().position(|before| *before == at) {
            return Err(self.way.split_off(begin));
        }
        let Some((_, condition)) = self.conditions.get(at) else { return Ok(0) };
        self.way.push(at);
        let mut size: usize = 1;
        for next in references(condition) {
            size = size.saturating_add(self.of(next)?);
        }
        self.way.pop();
        if let Some(known) = self.known.get_mut(at) {
            *known = Some(size);
        }
        Ok(size)
    }
}

fn references(condition: &Condition) -> Vec<usize> {
    let of = |term: &Term| match term {
        Term::Named(When(index)) => vec![*index],
        Term::Own(condition) => references(condition),
    };
    condition.terms().flat_map(of).collect()
}
