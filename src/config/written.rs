//! Values as they are written: RON that loads to the same.

use super::located::At;
use super::units::{path, render_duration, render_size, text};
use std::path::PathBuf;
use std::time::Duration;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    /// Nothing was given and there is no default: its key is left out.
    Absent,
    Plain(String),
    /// What opens it, its items, each behind what stands before it (a key, nothing in a list), and what closes it.
    Group(String, Vec<(String, Written)>, char),
}

/// A value that can be written.
pub(crate) trait Write {
    fn write(&self) -> Written;
}

/// Characters of a line, for what has several parts.
const WIDTH: usize = 100;

impl Written {
    /// The name of a value, from the list that it is read by.
    pub(crate) fn name_in<T: PartialEq>(names: &[(&str, T)], value: &T) -> Self {
        let found = names.iter().find(|(_, other)| other == value);
        found.map_or(Self::Absent, |(name, _)| Self::Plain((*name).to_owned()))
    }

    /// A section in which nothing was given says nothing.
    fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Plain(_) => false,
            Self::Group(open, items, _) => open == "(" && items.iter().all(|(_, value)| value.is_absent()),
        }
    }

    /// In one line if it is short enough, else a line for each part.
    pub(crate) fn render(&self, indent: usize) -> String {
        let (open, items, close) = match self {
            Self::Absent => return String::new(),
            Self::Plain(text) => return text.clone(),
            Self::Group(open, items, close) => (open, items, close),
        };
        let items: Vec<String> = items
            .iter()
            .filter(|(_, value)| !value.is_absent())
            .map(|(before, value)| format!("{before}{}", value.render(indent + 1)))
            .collect();
        let line = format!("{open}{}{close}", items.join(", "));
        let pad = "    ".repeat(indent);
        if line.len() + pad.len() <= WIDTH && !line.contains('\n') {
            return line;
        }
        let lines: String = items.iter().map(|item| format!("{pad}    {item},\n")).collect();
        format!("{open}\n{lines}{pad}{close}")
    }
}

fn plain(value: &impl ToString) -> Written {
    Written::Plain(value.to_string())
}

impl Write for bool {
    fn write(&self) -> Written {
        plain(self)
    }
}

impl Write for i16 {
    fn write(&self) -> Written {
        plain(self)
    }
}

impl Write for u16 {
    fn write(&self) -> Written {
        plain(self)
    }
}

impl Write for u32 {
    fn write(&self) -> Written {
        plain(self)
    }
}

/// Bytes.
impl Write for u64 {
    fn write(&self) -> Written {
        Written::Plain(text(&render_size(*self)))
    }
}

/// Bytes.
impl Write for usize {
    fn write(&self) -> Written {
        (*self as u64).write()
    }
}

impl Write for Duration {
    fn write(&self) -> Written {
        Written::Plain(text(&render_duration(*self)))
    }
}

impl Write for String {
    fn write(&self) -> Written {
        Written::Plain(text(self))
    }
}

impl Write for PathBuf {
    fn write(&self) -> Written {
        Written::Plain(path(self))
    }
}

impl<T: Write> Write for At<T> {
    fn write(&self) -> Written {
        self.value.write()
    }
}

impl<T: Write> Write for Option<T> {
    fn write(&self) -> Written {
        self.as_ref().map_or(Written::Absent, Write::write)
    }
}

impl<T: Write> Write for Vec<T> {
    fn write(&self) -> Written {
        let items = self.iter().map(|item| (String::new(), item.write()));
        Written::Group("[".to_owned(), items.collect(), ']')
    }
}

/// A map.
impl<K: Write, T: Write> Write for Vec<(K, T)> {
    fn write(&self) -> Written {
        let entries = self.iter().map(|(key, value)| (format!("{}: ", key.write().render(0)), value.write()));
        Written::Group("{".to_owned(), entries.collect(), '}')
    }
}
