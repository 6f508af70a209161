//! Values that know where they stand, so that one bad value does not hide the next.
//!
//! The raw structs of the sections have fields of type [`Located`]: a piece of RON (ron's `&RawValue`) that is valid
//! as syntax and not read yet. [`Fields::read`] reads it as its type; what is wrong goes into the [`Report`] with
//! line, column and key, and reading goes on.

use super::problem::{Complaint, Place, Problem};
use super::shape::{Shape, shape};
use super::source::Source;
use super::units;
use super::walk::{Section, Value};
use ron::value::RawValue;
use serde::de::{self, Deserialize, IntoDeserializer, Visitor};
use std::marker::PhantomData;
use std::path::PathBuf;

/// One file of the configuration.
pub(crate) struct File {
    /// As the operator named it.
    name: String,
    /// Where its relative paths start.
    pub(crate) dir: PathBuf,
    text: String,
}

/// What is wrong so far, and the world that values may come from.
pub(crate) struct Report<'s> {
    pub(crate) source: &'s dyn Source,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// A piece of RON that will be read as a `T`.
pub(crate) struct Located<'a, T> {
    raw: &'a RawValue,
    of: PhantomData<fn() -> T>,
}

/// The fields of a raw struct: one to one with the file.
pub(crate) trait Raw<'a>: Deserialize<'a> {
    /// Keys that the manual announces and this version does not have.
    const LATER: &'static [&'static str] = &[];

    /// What to say about a key that is known, but not here.
    fn misplaced(_key: &str) -> Option<Complaint> {
        None
    }
}

/// A value that can be read. `None`: the report says why.
pub(crate) trait Read: Sized {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self>;
}

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
    text: &'a str,
    key: String,
}

/// A section whose keys have been checked.
pub(crate) struct Given<'a> {
    /// The section itself.
    pub(crate) node: Node<'a>,
    list: Vec<(&'a str, Node<'a>)>,
    good: Vec<&'static str>,
}

/// A struct whose keys have been checked: reads the fields of its raw struct.
pub(crate) struct Fields<'a> {
    node: Node<'a>,
    list: Vec<(&'a str, &'a RawValue)>,
}

impl<'s> Report<'s> {
    pub(crate) fn new(source: &'s dyn Source) -> Self {
        Self { source, problems: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn add(&mut self, place: &Place, complaint: Complaint) {
        self.problems.push(place.problem(complaint));
    }

    /// Adds what makes a value useless; `None` for the caller to return.
    pub(crate) fn refuse<T>(&mut self, place: &Place, complaint: Complaint) -> Option<T> {
        self.add(place, complaint);
        None
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

impl<T> Clone for Located<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Located<'_, T> {}

impl<'de: 'a, 'a, T> Deserialize<'de> for Located<'a, T> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { raw: <&RawValue>::deserialize(deserializer)?, of: PhantomData })
    }
}

impl File {
    /// The text gets a line break at its end: ron wants one after a comment there.
    pub(crate) fn new(name: String, dir: PathBuf, mut text: String) -> Self {
        text.push('\n');
        Self { name, dir, text }
    }

    /// The one value of the file.
    ///
    /// # Errors
    /// A syntax error; nothing else is found then.
    pub(crate) fn top(&self) -> Result<Node<'_>, Problem> {
        let problem = |at: ron::error::Position, complaint: Complaint| Problem {
            line: u32::try_from(at.line).unwrap_or(u32::MAX),
            column: u32::try_from(at.col).unwrap_or(u32::MAX),
            ..Place::named(&self.name, "").problem(complaint)
        };
        let raw: &RawValue = super::options().from_str(&self.text).map_err(|error| {
            // An error inside is found again by a plain reading, which knows its place.
            let plain: Result<de::IgnoredAny, _> = super::options().from_str(&self.text);
            let error = plain.err().unwrap_or(error);
            problem(error.span.end, syntax(&error.code))
        })?;
        Ok(Node { file: self, text: raw.trim().get_ron(), key: String::new() })
    }
}

fn syntax(error: &ron::Error) -> Complaint {
    let text = error.to_string();
    let mut chars = text.chars();
    let lower: String =
        chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect();
    let hint = match error {
        ron::Error::ExpectedStructLikeEnd
        | ron::Error::ExpectedArrayEnd
        | ron::Error::ExpectedMapEnd
        | ron::Error::ExpectedComma => "is a comma missing before this, or a colon after a key?",
        ron::Error::ExpectedMapColon => "a key is followed by a colon and its value, `key: value`",
        ron::Error::TrailingCharacters => "the whole file is one value in parentheses: ( key: value, … )",
        ron::Error::ExpectedStringEnd => "a string begins and ends with `\"`",
        ron::Error::Eof => "something that was opened is not closed, or the file is empty: ( key: value, … )",
        ron::Error::UnexpectedChar(_) | ron::Error::ExpectedIdentifier => {
            "strings stand in quotes; keys of ( … ) do not, those of { … } do"
        }
        ron::Error::InvalidEscape(_) => "write a backslash in a string as `\\\\`, or the string as r\"…\"",
        _ => "",
    };
    Complaint::new(format!("syntax error: {lower}"), hint)
}

impl<'a> Node<'a> {
    pub(crate) fn place(&self) -> Place {
        self.place_of(self.text, self.key.clone())
    }

    /// The place of a piece of the file's text (a borrowed part of it).
    fn place_of(&self, piece: &str, key: String) -> Place {
        let offset = (piece.as_ptr() as usize).wrapping_sub(self.file.text.as_ptr() as usize);
        let before = self.file.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: self.file.name.clone(), line: number(line), column: number(column), key }
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
        report.refuse(&self.place(), complaint)
    }

    /// Says that something else was expected; `None` for the caller to return.
    pub(crate) fn wrong<T>(&self, report: &mut Report<'_>, expected: &str, found: &Shape<'_>) -> Option<T> {
        let found = found.name();
        self.refuse(report, Complaint::new(format!("expected {expected}, found {found}"), ""))
    }

    /// One level of the value.
    pub(crate) fn shape(&self) -> Shape<'a> {
        shape(self.text)
    }

    /// The struct, its unknown keys reported and its known ones ready to be read.
    pub(crate) fn fields<T: Raw<'a>>(&self, report: &mut Report<'_>) -> Option<(T, Fields<'a>)> {
        let all = match self.shape() {
            Shape::Struct(all) => all,
            Shape::Tuple(none) if none.is_empty() => Vec::new(),
            other => return self.wrong(report, "( key: value, … )", &other),
        };
        let known = keys::<T>();
        let mut list: Vec<(&'a str, &'a RawValue)> = Vec::new();
        for (name, raw) in all {
            let place = || self.place_of(name, self.key_of(name));
            if list.iter().any(|(other, _)| *other == name) {
                report.add(&place(), Complaint::new("given twice", "keep one of the two"));
            } else if known.contains(&name) {
                list.push((name, raw));
            } else if T::LATER.contains(&name) {
                report.add(&place(), Complaint::later("key", name));
            } else {
                let complaint = T::misplaced(name).unwrap_or_else(|| unknown_key(name, known));
                report.add(&place(), complaint);
            }
        }
        list.retain(|(_, raw)| raw.trim().get_ron() != "None");
        let access = de::value::MapDeserializer::<_, de::value::Error>::new(
            list.iter().map(|(name, raw)| (*name, RawDeserializer(raw))),
        );
        match T::deserialize(access) {
            Ok(raw) => Some((raw, Fields { node: self.clone(), list })),
            Err(error) => self.refuse(report, Complaint::new(error.to_string(), "")),
        }
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
            (other, None) => return self.wrong(report, "( key: value, … )", &other),
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
        list.retain(|(_, node)| node.text != "None");
        Some(Given { node: self.clone(), list, good: Vec::new() })
    }

    /// The entries of `{ "name": value, … }`, with the place of each name. A name given twice is reported.
    pub(crate) fn map(&self, report: &mut Report<'_>) -> Option<Vec<(At<String>, Node<'a>)>> {
        self.map_of("{ \"name\": …, … }", report)
    }

    /// The same with keys of another type.
    pub(crate) fn map_of<K: Read + ToString + PartialEq>(
        &self,
        expected: &str,
        report: &mut Report<'_>,
    ) -> Option<Vec<(At<K>, Node<'a>)>> {
        let entries = match self.shape() {
            Shape::Map(entries) => entries,
            other => return self.wrong(report, expected, &other),
        };
        let mut out: Vec<(At<K>, Node<'a>)> = Vec::new();
        for (key, value) in entries {
            let key_node = self.child(key, self.key.clone());
            let Some(name) = K::read(&key_node, report) else { continue };
            let key = self.key_of(&name.to_string());
            let place = Place { key: key.clone(), ..key_node.place() };
            if out.iter().any(|(other, _)| other.value == name) {
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

    /// The value of `Name(value)`, if it is a tuple of exactly one.
    pub(crate) fn only(&self) -> Option<Node<'a>> {
        match self.shape() {
            Shape::Tuple(values) => match values.as_slice() {
                [one] => Some(self.child(one, self.key.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value is a variant: its name and, as a value of its own, what follows in parentheses.
    pub(crate) fn variant(&self) -> Option<(&'a str, Option<Node<'a>>)> {
        match self.shape() {
            Shape::Variant(name, rest) => Some((name, rest.map(|raw| self.child(raw, self.key.clone())))),
            _ => None,
        }
    }

    /// One of the names of a list of plain variants; `later` are announced and not there yet.
    pub(crate) fn choice<T: Copy>(
        &self,
        report: &mut Report<'_>,
        known: &[(&str, T)],
        later: &[&str],
    ) -> Option<T> {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        match self.shape() {
            Shape::Variant(name, rest) => {
                match known.iter().find(|(other, _)| *other == name) {
                    Some((_, value)) if rest.is_none() => return Some(*value),
                    Some(_) => {
                        self.complain(
                            report,
                            Complaint::new(format!("`{name}` takes nothing in parentheses"), ""),
                        );
                    }
                    None if later.contains(&name) => self.complain(report, Complaint::later("variant", name)),
                    None => self.complain(report, Complaint::unknown("variant", name, &names)),
                }
                None
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
                Err(complaint) => {
                    self.complain(report, complaint);
                    Ok(None)
                }
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

impl Fields<'_> {
    /// The place of the struct.
    pub(crate) fn place(&self) -> Place {
        self.node.place()
    }

    fn node<T>(&self, located: &Located<'_, T>) -> Option<Node<'_>> {
        let found = self.list.iter().find(|(_, raw)| std::ptr::eq(raw.get_ron(), located.raw.get_ron()));
        found.map(|(name, raw)| self.node.child(raw, self.node.key_of(name)))
    }

    /// The field; `None` if it is not given or is wrong.
    pub(crate) fn read<T: Read>(&self, field: Option<Located<'_, T>>, report: &mut Report<'_>) -> Option<T> {
        T::read(&self.node(&field?)?, report)
    }

    /// The field, or its default.
    pub(crate) fn or<T: Read>(
        &self,
        field: Option<Located<'_, T>>,
        default: T,
        report: &mut Report<'_>,
    ) -> T {
        self.read(field, report).unwrap_or(default)
    }

    /// The field; that it is missing is a problem.
    pub(crate) fn need<T: Read>(
        &self,
        field: Option<Located<'_, T>>,
        name: &str,
        example: &str,
        report: &mut Report<'_>,
    ) -> Option<T> {
        if field.is_none() && !self.list.iter().any(|(other, _)| *other == name) {
            let missing =
                Complaint::new(format!("missing key `{name}`"), format!("for example {name}: {example}"));
            self.node.complain(report, missing);
        }
        self.read(field, report)
    }
}

impl<'a> Given<'a> {
    /// The place of the section.
    pub(crate) fn place(&self) -> Place {
        self.node.place()
    }

    pub(crate) fn complain(&self, report: &mut Report<'_>, complaint: Complaint) {
        self.node.complain(report, complaint);
    }

    /// The key is there, whatever stands behind it.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.list.iter().any(|(name, _)| *name == key)
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
        let good = self.node(key).is_some_and(|node| value.take(node, report));
        self.good.extend(good.then_some(key));
        good
    }
}

/// Keys that people bring from other servers.
const HABITS: [(&str, &str); 24] = [
    ("venv", "home"),
    ("virtualenv", "home"),
    ("working_directory", "chdir"),
    ("directory", "chdir"),
    ("cwd", "chdir"),
    ("server_name", "names"),
    ("hosts", "names"),
    ("host", "names"),
    ("domains", "names"),
    ("schedule", "at"),
    ("harakiri", "timeout"),
    ("workers", "processes"),
    ("environment", "env"),
    ("wsgi", "module"),
    ("application", "module"),
    ("client_max_body_size", "max_body"),
    ("backends", "servers"),
    ("bind", "listen"),
    ("port", "listen"),
    ("pidfile", "pid_file"),
    ("prefix", "path"),
    ("root", "to"),
    ("proxy_pass", "to"),
    ("handler", "to"),
];

fn unknown_key(name: &str, known: &[&str]) -> Complaint {
    let habit = HABITS.iter().find(|(theirs, ours)| *theirs == name && known.contains(ours));
    match habit {
        Some((_, ours)) => Complaint::new(format!("unknown key `{name}`"), format!("did you mean `{ours}`?")),
        None => Complaint::unknown("key", name, known),
    }
}

/// Hands a piece of RON on to a [`Located`] field.
#[derive(Clone, Copy)]
struct RawDeserializer<'a>(&'a RawValue);

impl<'a> IntoDeserializer<'a, de::value::Error> for RawDeserializer<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> de::Deserializer<'de> for RawDeserializer<'de> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0.get_ron())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The keys of a raw struct, from its derived `Deserialize`.
pub(crate) fn keys<'a, T: Raw<'a>>() -> &'static [&'static str] {
    struct Ask<'k>(&'k mut &'static [&'static str]);

    impl<'de> de::Deserializer<'de> for Ask<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("asked for its keys only"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(de::Error::custom("asked for its keys only"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut found: &'static [&'static str] = &[];
    let _asked = T::deserialize(Ask(&mut found));
    found
}
