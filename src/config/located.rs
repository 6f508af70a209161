//! Values that know where they stand, so that one bad value does not hide the next.
//!
//! A [`Node`] is a piece of RON (ron's `&RawValue`) that is valid as syntax and not read yet; a [`Given`] has those of a
//! section by their keys. What is wrong goes into the [`Report`] with line, column and key, and reading goes on.

use super::names::Names;
use super::problem::{Complaint, Place, Problem};
use super::shape::{Shape, shape};
use super::source::Source;
use super::syntax::{self, Lines};
use super::units;
use super::walk::{Form, Section, Value};
use crate::policy::limit::Limit;
use ron::value::RawValue;
use serde::de;
use std::collections::HashSet;
use std::path::PathBuf;

/// One file of the configuration.
pub(crate) struct File {
    /// As the operator named it.
    name: String,
    pub(super) path: PathBuf,
    /// Where its relative paths start.
    pub(crate) dir: PathBuf,
    text: String,
    lines: Lines,
}

/// What is wrong so far, and the world that values may come from.
pub(crate) struct Report<'s> {
    pub(crate) source: &'s dyn Source,
    /// What values may name.
    pub(crate) names: Names,
    /// The groups of the regular expression that templates may refer to, by number and by name.
    pub(crate) groups: Vec<String>,
    /// The cron jobs so far.
    pub(crate) jobs: Vec<At<String>>,
    /// The classes of limits so far, and whether a place has them.
    pub(crate) classes: Vec<(At<String>, Limit, bool)>,
    /// Names of the files, in the order in which they are read.
    pub(crate) files: Vec<String>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// Reads a value. `None`: the report says why.
pub(crate) type Reading<T> = fn(&Node<'_>, &mut Report<'_>) -> Option<T>;

/// A value and its place, for checks that look at several values.
#[derive(Clone, Debug, Default)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A value in its file.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) file: &'a File,
    pub(super) text: &'a str,
    key: String,
}

/// A section whose keys have been checked.
pub(crate) struct Given<'a> {
    /// The section itself.
    pub(crate) node: Node<'a>,
    list: Vec<(&'a str, Node<'a>)>,
    /// Those for which `None` is given.
    none: Vec<(&'a str, Node<'a>)>,
    good: Vec<&'static str>,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s dyn Source) -> Self {
        let (problems, warnings) = (Vec::new(), Vec::new());
        Self {
            source,
            names: Names::default(),
            groups: Vec::new(),
            jobs: Vec::new(),
            classes: Vec::new(),
            files: Vec::new(),
            problems,
            warnings,
        }
    }

    pub(crate) fn add(&mut self, place: &Place, complaint: Complaint) {
        self.problems.push(place.problem(complaint));
    }

    pub(crate) fn warn(&mut self, place: &Place, complaint: Complaint) {
        self.warnings.push(place.problem(complaint));
    }
}

impl<T> At<T> {
    /// A value that stands nowhere yet.
    pub(crate) fn nowhere(value: T) -> Self {
        Self { value, place: Place::default() }
    }
}

impl File {
    /// The text gets a line break at its end: ron wants one after a comment there. The mark that some editors put before a
    /// text is left out.
    pub(crate) fn new(name: String, path: PathBuf, dir: PathBuf, text: &str) -> Self {
        let text = format!("{}\n", text.strip_prefix('\u{feff}').unwrap_or(text));
        let lines = Lines::of(&text);
        Self { name, path, dir, text, lines }
    }

    /// The place of a byte of it.
    fn place(&self, offset: usize, key: String) -> Place {
        let (line, column) = self.lines.position(offset);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: self.name.clone(), line: number(line), column: number(column), key }
    }

    /// The one value of the file.
    ///
    /// # Errors
    /// A syntax error; nothing else is found then.
    pub(crate) fn top(&self) -> Result<Node<'_>, Problem> {
        let raw: &RawValue = super::options().from_str(&self.text).map_err(|error| {
            // An error inside is found again by a plain reading, which knows its place.
            let plain: Result<de::IgnoredAny, _> = super::options().from_str(&self.text);
            let error = plain.err().unwrap_or(error);
            let end = error.span.end;
            let (at, complaint) = syntax::explain(&self.text, &self.lines, &error.code, (end.line, end.col));
            self.place(at, String::new()).problem(complaint)
        })?;
        Ok(Node { file: self, text: raw.trim().get_ron(), key: String::new() })
    }
}

impl<'a> Node<'a> {
    pub(crate) fn place(&self) -> Place {
        self.place_of(self.text, self.key.clone())
    }

    /// The place of a piece of the file's text (a borrowed part of it).
    fn place_of(&self, piece: &str, key: String) -> Place {
        let offset = (piece.as_ptr() as usize).wrapping_sub(self.file.text.as_ptr() as usize);
        self.file.place(offset, key)
    }

    fn child(&self, raw: &'a RawValue, key: String) -> Self {
        Self { file: self.file, text: raw.trim().get_ron(), key }
    }

    fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    pub(crate) fn complain(&self, report: &mut Report<'_>, complaint: Complaint) {
        report.add(&self.place(), complaint);
    }

    /// Complains of a value that is of no use; `None` for the caller to return.
    pub(crate) fn refuse<T>(&self, report: &mut Report<'_>, complaint: Complaint) -> Option<T> {
        self.complain(report, complaint);
        None
    }

    /// Says that something else was expected; `None` for the caller to return.
    pub(crate) fn wrong<T>(&self, report: &mut Report<'_>, expected: &str, found: &Shape<'_>) -> Option<T> {
        let found = found.name();
        self.refuse(report, Complaint::new(format!("expected {expected}, found {found}"), ""))
    }

    /// The value of a key, if it is there.
    pub(crate) fn field(&self, key: &str) -> Option<Self> {
        self.fields().into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The values of all keys of `( key: value, … )`.
    pub(crate) fn fields(&self) -> Vec<(&'a str, Self)> {
        let Shape::Struct(all) = self.shape() else { return Vec::new() };
        all.into_iter().map(|(name, raw)| (name, self.child(raw, self.key_of(name)))).collect()
    }

    /// The values of `{ "name": value, … }`, by their names.
    pub(crate) fn entries(&self) -> Vec<(String, Self)> {
        let Shape::Map(all) = self.shape() else { return Vec::new() };
        let named = all.into_iter().map(|(name, raw)| {
            let name = match shape(name.trim().get_ron()) {
                Shape::Text(name) => name,
                _ => name.trim().get_ron().to_owned(),
            };
            let key = self.key_of(&name);
            (name, self.child(raw, key))
        });
        named.collect()
    }

    /// One level of the value.
    pub(crate) fn shape(&self) -> Shape<'a> {
        shape(self.text)
    }

    /// The section, its unknown keys reported and its known ones ready to be read.
    pub(crate) fn given<S: Section>(
        &self,
        known: &[&'static str],
        report: &mut Report<'_>,
    ) -> Option<Given<'a>> {
        let (all, short) = match (self.shape(), S::SHORT) {
            (Shape::Struct(all), _) => (all, None),
            (Shape::Tuple(none), _) if none.is_empty() => (Vec::new(), None),
            (_, Some(key)) => (Vec::new(), Some((key, self.only().unwrap_or_else(|| self.clone())))),
            (other, None) => {
                let hint = match (&other, S::MEANT.or(known.first().copied())) {
                    (Shape::Map(_), _) => "write ( ) in place of { }, and the keys without quotes".to_owned(),
                    (Shape::Tuple(_), Some(key)) => format!("name each value, as ({key}: …)"),
                    (_, Some(_)) if S::MEANT.is_none() => String::new(),
                    (_, Some(key)) => format!("write ({key}: {})", self.text),
                    (_, None) => String::new(),
                };
                let what = format!("expected ( key: value, … ), found {}", other.name());
                return self.refuse(report, Complaint::new(what, hint));
            }
        };
        let mut list: Vec<(&'a str, Node<'a>)> = short.into_iter().collect();
        for (name, raw) in all {
            let place = || self.place_of(name, self.key_of(name));
            if list.iter().any(|(other, _)| *other == name) {
                report.add(&place(), Complaint::new("given twice", "keep one of the two"));
            } else if known.contains(&name) {
                list.push((name, self.child(raw, self.key_of(name))));
            } else if S::LATER.contains(&name) {
                report.add(&place(), Complaint::later("key", name));
            } else {
                let complaint = S::misplaced(name).unwrap_or_else(|| unknown_key(name, known));
                report.add(&place(), complaint);
            }
        }
        debug_assert!(!S::LATER.iter().any(|key| known.contains(key)), "both announced and there");
        let (none, list) = list.into_iter().partition(|(_, node)| node.text == "None");
        Some(Given { node: self.clone(), list, none, good: Vec::new() })
    }

    /// The entries of `{ "name": value, … }`, with the place of each name. A name given twice is reported.
    pub(crate) fn map(&self, report: &mut Report<'_>) -> Option<Vec<(At<String>, Node<'a>)>> {
        self.map_of("{ \"name\": …, … }", report)
    }

    /// The same with keys of another type.
    pub(crate) fn map_of<K: Form + ToString + PartialEq>(
        &self,
        expected: &str,
        report: &mut Report<'_>,
    ) -> Option<Vec<(At<K>, Node<'a>)>> {
        let entries = match self.shape() {
            Shape::Map(entries) => entries,
            other => {
                let hint = if let Shape::List(_) = other {
                    "each stands behind its name, without brackets"
                } else {
                    ""
                };
                let what = format!("expected {expected}, found {}", other.name());
                return self.refuse(report, Complaint::new(what, hint));
            }
        };
        let (mut out, mut names) = (Vec::new(), HashSet::new());
        for (key, value) in entries {
            let key_node = self.child(key, self.key.clone());
            let Some(name) = K::read(&key_node, report) else { continue };
            let key = self.key_of(&name.to_string());
            let place = Place { key: key.clone(), ..key_node.place() };
            if !names.insert(key.clone()) {
                report.add(&place, Complaint::new("given twice", "keep one of the two"));
                continue;
            }
            out.push((At { value: name, place }, self.child(value, key)));
        }
        Some(out)
    }

    /// The items of `[ … ]`; anything else is `Err` with what it is.
    pub(crate) fn items(&self) -> Result<Vec<Node<'a>>, Shape<'a>> {
        match self.shape() {
            Shape::List(items) => {
                let numbered = items.into_iter().enumerate();
                Ok(numbered.map(|(index, raw)| self.child(raw, format!("{}[{index}]", self.key))).collect())
            }
            other => Err(other),
        }
    }

    /// The values of `(value, …)` without keys.
    pub(crate) fn parts(&self) -> Vec<Node<'a>> {
        let Shape::Tuple(parts) = self.shape() else { return Vec::new() };
        parts.into_iter().map(|raw| self.child(raw, self.key.clone())).collect()
    }

    /// The items of a list, each read in this way. Those that are wrong are reported and left out.
    pub(crate) fn each<T>(&self, report: &mut Report<'_>, read: Reading<T>) -> Option<Vec<T>> {
        match self.items() {
            Ok(items) => Some(items.iter().filter_map(|item| read(item, report)).collect()),
            Err(Shape::Text(text)) => {
                let hint = format!("put it in brackets: [\"{text}\"]");
                self.refuse(report, Complaint::new("expected a list, found one string", hint))
            }
            Err(other @ (Shape::Struct(_) | Shape::Variant(..) | Shape::Map(_))) => {
                let what = format!("expected a list [ … ], found {}", other.name());
                self.refuse(report, Complaint::new(what, "put it in brackets: [ … ]"))
            }
            Err(other) => self.wrong(report, "a list [ … ]", &other),
        }
    }

    /// The value of `Name(value)`, if it is a tuple of exactly one.
    pub(crate) fn only(&self) -> Option<Node<'a>> {
        let Shape::Tuple(values) = self.shape() else { return None };
        let [one] = values.as_slice() else { return None };
        Some(self.child(one, self.key.clone()))
    }

    /// The value is a variant: its name and, as a value of its own, what follows in parentheses.
    pub(crate) fn variant(&self) -> Option<(&'a str, Option<Node<'a>>)> {
        let Shape::Variant(name, rest) = self.shape() else { return None };
        Some((name, rest.map(|raw| self.child(raw, self.key.clone()))))
    }

    /// One of the names of a list of plain variants; `later` are announced and not there yet.
    pub(crate) fn choice<T: Clone>(
        &self,
        report: &mut Report<'_>,
        known: &[(&str, T)],
        later: &[&str],
    ) -> Option<T> {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        match self.shape() {
            Shape::Variant(name, rest) => {
                let complaint = match known.iter().find(|(other, _)| *other == name) {
                    Some((_, value)) if rest.is_none() => return Some(value.clone()),
                    Some(_) => Complaint::new(format!("`{name}` takes nothing in parentheses"), ""),
                    None if later.contains(&name) => Complaint::later("variant", name),
                    None => Complaint::unknown("variant", name, &names),
                };
                self.refuse(report, complaint)
            }
            Shape::Text(text) if names.contains(&text.as_str()) => {
                self.refuse(report, Complaint::new(format!("`{text}` stands without quotes here"), ""))
            }
            other => self.wrong(report, &format!("one of {}", names.join(", ")), &other),
        }
    }

    /// A string with its variables replaced; anything else is `Err` with what it is.
    pub(crate) fn text(&self, report: &mut Report<'_>) -> Result<Option<String>, Shape<'a>> {
        match self.shape() {
            Shape::Text(text) => match units::expand(&text, |name| report.source.env(name)) {
                Ok(text) => Ok(Some(text)),
                Err(complaint) => Ok(self.refuse(report, complaint)),
            },
            other => Err(other),
        }
    }

    /// A string in a small language of its own.
    pub(crate) fn parse<T>(
        &self,
        report: &mut Report<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        match self.text(report) {
            Ok(text) => match parse(&text?) {
                Ok(value) => Some(value),
                Err(complaint) => self.refuse(report, complaint),
            },
            Err(other) => self.wrong(report, expected, &other),
        }
    }

    /// The text as written, for what may be a number in a string only if it has a variable in it.
    pub(crate) fn has_variable(&self) -> bool {
        self.text.contains("${")
    }
}

impl<'a> Given<'a> {
    pub(crate) fn complain(&self, report: &mut Report<'_>, complaint: Complaint) {
        self.node.complain(report, complaint);
    }

    /// That the key is missing is a problem.
    pub(crate) fn need(&self, key: &str, example: &str, report: &mut Report<'_>) {
        if !self.has(key) {
            let hint = format!("for example {key}: {example}");
            self.complain(report, Complaint::new(format!("missing key `{key}`"), hint));
        }
    }

    /// The key is there, whatever stands behind it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|(name, _)| *name == key)
    }

    /// `None` stands behind the key.
    pub(crate) fn is_none(&self, key: &str) -> bool {
        self.none.iter().any(|(name, _)| *name == key)
    }

    /// The key is there and could be read.
    pub(crate) fn is_good(&self, key: &str) -> bool {
        self.good.contains(&key)
    }

    /// The value of a key that is there.
    pub(crate) fn node(&self, key: &str) -> Option<&Node<'a>> {
        self.list.iter().find(|(name, _)| *name == key).map(|(_, node)| node)
    }

    /// `[]` stands behind the key: nothing, not even something wrong.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        self.node(key).is_some_and(|node| node.items().is_ok_and(|items| items.is_empty()))
    }

    /// The place of a key, or of the section if the key is not there.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.node(key).unwrap_or(&self.node).place()
    }

    /// Reads a key, if it is there. False: its value is not to be used.
    pub(crate) fn read(&mut self, key: &'static str, value: &mut dyn Value, report: &mut Report<'_>) -> bool {
        if self.is_none(key) {
            value.clear();
        }
        let good = self.node(key).is_some_and(|node| value.take(node, report));
        self.good.extend(good.then_some(key));
        good
    }
}

/// Our keys, and what people who come from other servers call them.
const HABITS: [(&str, &[&str]); 14] = [
    ("home", &["venv", "virtualenv"]),
    ("chdir", &["working_directory", "directory", "cwd"]),
    ("names", &["server_name", "hosts", "host", "domains"]),
    ("at", &["schedule"]),
    ("timeout", &["harakiri"]),
    ("processes", &["workers"]),
    ("env", &["environment"]),
    ("module", &["wsgi", "application"]),
    ("max_body", &["client_max_body_size"]),
    ("servers", &["backends"]),
    ("listen", &["bind", "port"]),
    ("pid_file", &["pidfile"]),
    ("path", &["prefix"]),
    ("to", &["root", "proxy_pass", "handler"]),
];

fn unknown_key(name: &str, known: &[&str]) -> Complaint {
    let habit = HABITS.iter().find(|(ours, theirs)| theirs.contains(&name) && known.contains(ours));
    match habit {
        Some((ours, _)) => Complaint::new(format!("unknown key `{name}`"), format!("did you mean `{ours}`?")),
        None => Complaint::unknown("key", name, known),
    }
}
