//! How values of plain types are read.

use super::located::{At, Node, Read, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::source::absolute;
use super::units;
use std::path::PathBuf;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u64);

impl<T: Read> Read for At<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        Some(Self { value: T::read(node, report)?, place: node.place() })
    }
}

/// Items that are wrong are reported and left out.
impl<T: Read> Read for Vec<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.items() {
            Ok(items) => Some(items.iter().filter_map(|item| T::read(item, report)).collect()),
            Err(Shape::Text(text)) => {
                let hint = format!("put it in brackets: [\"{text}\"]");
                node.refuse(report, Complaint::new("expected a list, found one string", hint))
            }
            Err(other) => node.wrong(report, "a list [ … ]", &other),
        }
    }
}

impl<T: Read> Read for Option<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        T::read(node, report).map(Some)
    }
}

impl Read for String {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.text(report) {
            Ok(text) => text,
            Err(Shape::Variant(name, None)) => {
                let hint = format!("put it in quotes: \"{name}\"");
                node.refuse(report, Complaint::new(format!("expected a string, found `{name}`"), hint))
            }
            Err(other) => node.wrong(report, "a string", &other),
        }
    }
}

impl Read for bool {
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
            other => node.wrong(report, "true or false", &other),
        }
    }
}

/// A count.
impl Read for u32 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Integer(value) => match Self::try_from(value) {
                Ok(value) => Some(value),
                Err(_) => {
                    let what = format!("the number {value} is out of range");
                    node.refuse(report, Complaint::new(what, format!("from 0 to {}", Self::MAX)))
                }
            },
            Shape::Text(_) if node.has_variable() => node.parse(report, "a number", |text| {
                let what = format!("expected a number, the variable gives \"{text}\"");
                text.trim().parse().map_err(|_| Complaint::new(what, ""))
            }),
            Shape::Text(text) if text.parse::<Self>().is_ok() => {
                let hint = format!("write it without quotes: {text}");
                node.refuse(report, Complaint::new("expected a number, found a string", hint))
            }
            other => node.wrong(report, "a number", &other),
        }
    }
}

impl Read for Size {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        u64::read(node, report).map(Self)
    }
}

/// Bytes.
impl Read for u64 {
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
}

/// Bytes.
impl Read for usize {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        u64::read(node, report).map(|bytes| Self::try_from(bytes).unwrap_or(Self::MAX))
    }
}

/// Longer than nothing.
impl Read for Duration {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Integer(value) = node.shape() {
            let hint = format!("write it with a unit: \"{value}s\", or ms, m, h, d");
            let what = format!("expected a duration, found the number {value}");
            return node.refuse(report, Complaint::new(what, hint));
        }
        let value = node.parse(report, "a duration such as \"30s\"", units::duration)?;
        if value.is_zero() {
            return node.refuse(report, Complaint::new("must be longer than nothing", "for example \"30s\""));
        }
        Some(value)
    }
}

/// A path, made absolute from the directory of its file.
impl Read for PathBuf {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let dir = &node.file.dir;
        node.parse(report, "a path in quotes", |text| {
            if text.is_empty() || text.contains('\0') {
                return Err(Complaint::new(
                    "an empty path",
                    "write a path; \".\" is the directory of this file",
                ));
            }
            Ok(absolute(dir, text))
        })
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
