//! Plain types: how they are read and written. The type says which: u32 is a count, u64 and usize are bytes with a unit.

use super::located::{At, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::source::absolute;
use super::units::{self, render_duration, render_size};
use super::walk::Form;
use super::written::Written;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

impl<T: Form> Form for At<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        Some(Self { value: T::read(node, report)?, place: node.place() })
    }

    fn write(&self) -> Written {
        self.value.write()
    }
}

impl<T: Form> Form for Vec<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.each(report, T::read)
    }

    fn write(&self) -> Written {
        let items = self.iter().map(|item| (String::new(), item.write()));
        Written::Group("[".to_owned(), items.collect(), ']')
    }
}

/// A map.
impl<K: Form + ToString + PartialEq, T: Form> Form for Vec<(K, T)> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let entries = node.map_of::<K>("{ \"name\": …, … }", report)?;
        let read = |(key, value): (At<K>, Node<'_>)| Some((key.value, T::read(&value, report)?));
        Some(entries.into_iter().filter_map(read).collect())
    }

    fn write(&self) -> Written {
        let entry = |(key, value): &(K, T)| match key.write() {
            Written::Plain(key) => Some((format!("{key}: "), value.write())),
            _ => None,
        };
        Written::Group("{".to_owned(), self.iter().filter_map(entry).collect(), '}')
    }
}

impl<T: Form> Form for Option<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        T::read(node, report).map(Some)
    }

    fn write(&self) -> Written {
        self.as_ref().map_or(Written::Absent, Form::write)
    }
}

impl Form for String {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.text(report) {
            Ok(text) => text,
            Err(Shape::Variant(name, None)) => {
                let hint = format!("put it in quotes: \"{name}\"");
                node.refuse(report, Complaint::new(format!("expected a string, found `{name}`"), hint))
            }
            Err(other @ (Shape::Integer(_) | Shape::Float | Shape::Bool(_))) => {
                let what = format!("expected a string, found {}", other.name());
                node.refuse(report, Complaint::new(what, format!("put it in quotes: \"{}\"", node.text)))
            }
            Err(other) => node.wrong(report, "a string", &other),
        }
    }

    fn write(&self) -> Written {
        Written::text(self)
    }
}

impl Form for bool {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Bool(value) => Some(value),
            Shape::Text(_) if node.has_variable() => node.parse(report, "true or false", |text| match text {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => {
                    Err(Complaint::new(format!("expected true or false, the variable gives \"{text}\""), ""))
                }
            }),
            Shape::Text(text) if ["true", "false"].contains(&text.as_str()) => {
                let hint = format!("write it without quotes: {text}");
                node.refuse(report, Complaint::new("expected true or false, found a string", hint))
            }
            other => node.wrong(report, "true or false", &other),
        }
    }

    fn write(&self) -> Written {
        Written::plain(self)
    }
}

/// A count.
impl Form for u32 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        number(node, Self::MAX, report)
    }

    fn write(&self) -> Written {
        Written::plain(self)
    }
}

impl Form for u16 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        number(node, Self::MAX, report)
    }

    fn write(&self) -> Written {
        Written::plain(self)
    }
}

fn number<T: TryFrom<i128> + FromStr + Display>(
    node: &Node<'_>,
    most: T,
    report: &mut Report<'_>,
) -> Option<T> {
    match node.shape() {
        Shape::Integer(value) => match T::try_from(value) {
            Ok(value) => Some(value),
            Err(_) => {
                let what = format!("the number {value} is out of range");
                node.refuse(report, Complaint::new(what, format!("from 0 to {most}")))
            }
        },
        Shape::Text(_) if node.has_variable() => node.parse(report, "a number", |text| {
            let what = format!("expected a number, the variable gives \"{text}\"");
            text.trim().parse().map_err(|_| Complaint::new(what, ""))
        }),
        Shape::Text(text) if text.parse::<T>().is_ok() => {
            let hint = format!("write it without quotes: {text}");
            node.refuse(report, Complaint::new("expected a number, found a string", hint))
        }
        other => node.wrong(report, "a number", &other),
    }
}

/// A status of HTTP; `what` it is to be, and which are.
pub(crate) fn status(
    node: &Node<'_>,
    what: &str,
    fits: fn(u16) -> bool,
    hint: &str,
    report: &mut Report<'_>,
) -> Option<u16> {
    let given = u16::read(node, report)?;
    if !fits(given) {
        return node.refuse(report, Complaint::new(format!("{given} is not {what}"), hint));
    }
    Some(given)
}

/// Bytes.
impl Form for u64 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Integer(value) => {
                let hint = format!("write it with a unit: \"{value}B\", or KiB, MiB, GiB");
                node.refuse(
                    report,
                    Complaint::new(format!("expected a size, found the number {value}"), hint),
                )
            }
            _ => node.parse(report, "a size such as \"10MiB\"", units::size),
        }
    }

    fn write(&self) -> Written {
        Written::text(&render_size(*self))
    }
}

/// Bytes.
impl Form for usize {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        u64::read(node, report).map(|bytes| Self::try_from(bytes).unwrap_or(Self::MAX))
    }

    fn write(&self) -> Written {
        (*self as u64).write()
    }
}

/// Longer than nothing.
impl Form for Duration {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Integer(value) = node.shape() {
            let hint = format!("write it with a unit: \"{value}s\", or ms, m, h, d");
            let what = format!("expected a duration, found the number {value}");
            return node.refuse(report, Complaint::new(what, hint));
        }
        if let Shape::Float = node.shape() {
            let complaint = Complaint::new("expected a duration, found a fraction", "for example \"1500ms\"");
            return node.refuse(report, complaint);
        }
        let value = node.parse(report, "a duration such as \"30s\"", units::duration)?;
        if value.is_zero() {
            return node.refuse(report, Complaint::new("must be longer than nothing", "for example \"30s\""));
        }
        Some(value)
    }

    fn write(&self) -> Written {
        Written::text(&render_duration(*self))
    }
}

/// A path, made absolute from the directory of its file.
impl Form for PathBuf {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let dir = &node.file.dir;
        node.parse(report, "a path in quotes", |text| {
            if text.is_empty() {
                return Err(Complaint::new(
                    "an empty path",
                    "write a path; \".\" is the directory of this file",
                ));
            }
            if text.contains('\0') {
                return Err(Complaint::new("a path with the character NUL in it", "no file has such a name"));
            }
            Ok(absolute(dir, text))
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.display())
    }
}

/// One path, or a list of them.
pub(crate) fn paths(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<PathBuf>> {
    match node.shape() {
        Shape::List(_) => Vec::read(node, report),
        _ => PathBuf::read(node, report).map(|path| vec![path]),
    }
}

/// `{"NAME": "value"}` for an environment, in the order of the file.
pub(crate) fn env(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, String)>> {
    let mut list = Vec::new();
    for (name, value) in node.map(report)? {
        if let Err(complaint) = env_name(&name.value) {
            report.add(&name.place, complaint);
        }
        if let Some(text) = String::read(&value, report) {
            if text.contains('\0') {
                let complaint = Complaint::new("a NUL character", "the environment cannot hold one");
                value.complain(report, complaint);
            }
            list.push((name.value, text));
        }
    }
    Some(list)
}

/// A name that the environment can hold.
pub(crate) fn env_name(name: &str) -> Result<(), Complaint> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Complaint::new(format!("`{name}` cannot be the name of an environment variable"), ""));
    }
    Ok(())
}

/// Several commands, one after the other.
pub(crate) fn commands(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Vec<String>>> {
    node.each(report, |node, report| match node.shape() {
        Shape::Text(_) => {
            let hint = "each command is a list of its words: [[\"python\", \"manage.py\", \"migrate\", \"--check\"]]";
            node.refuse(report, Complaint::new("expected a command, found one string", hint))
        }
        _ => command(node, report),
    })
}

/// Program and arguments.
pub(crate) fn command(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    if let Shape::Text(text) = node.shape() {
        let words: Vec<String> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
        let hint = format!("no shell runs it, write the words one by one: [{}]", words.join(", "));
        return node.refuse(report, Complaint::new("expected a list, found one string", hint));
    }
    let words = Vec::<String>::read(node, report)?;
    if words.first().is_none_or(String::is_empty) {
        let hint = "for example [\"python\", \"manage.py\", \"migrate\"]";
        return node.refuse(report, Complaint::new("no program", hint));
    }
    if words.iter().any(|word| word.contains('\0')) {
        node.complain(report, Complaint::new("a NUL character", "arguments cannot hold one"));
    }
    Some(words)
}
