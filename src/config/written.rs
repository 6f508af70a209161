//! Values as they are written: RON that loads to the same.

use super::Config;
use super::names::Kind;
use super::units::text;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Written {
    /// Nothing was given and there is no default: its key is left out.
    Absent,
    Plain(String),
    /// The name of what is at this index.
    Name(Kind, usize),
    /// What opens it, its items, each behind what stands before it (a key, nothing in a list), and what closes it.
    Group(String, Vec<(String, Written)>, char),
}

/// Characters of a line, for what has several parts.
const WIDTH: usize = 100;

impl Written {
    /// As it is.
    pub(crate) fn plain(value: &impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    /// In quotes.
    pub(crate) fn text(value: &impl ToString) -> Self {
        Self::Plain(text(&value.to_string()))
    }

    /// The name of a value, from the list that it is read by.
    pub(crate) fn name_in<T: PartialEq>(names: &[(&str, T)], value: &T) -> Self {
        let found = names.iter().find(|(_, other)| other == value);
        found.map_or(Self::Absent, |(name, _)| Self::Plain((*name).to_owned()))
    }

    /// The same as the variant of this name.
    pub(crate) fn named(self, name: &str) -> Self {
        match self {
            Self::Group(open, items, close) => Self::Group(format!("{name}{open}"), items, close),
            other => other,
        }
    }

    /// Of a section in which one value is given, that value alone.
    pub(crate) fn brief(self) -> Self {
        match self {
            Self::Group(open, mut items, close) => {
                items.retain(|(_, value)| !value.is_absent());
                match items.as_slice() {
                    [(_, only)] => only.clone(),
                    _ => Self::Group(open, items, close),
                }
            }
            other => other,
        }
    }

    /// A section in which nothing was given says nothing.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Plain(_) | Self::Name(..) => false,
            Self::Group(open, items, _) => open == "(" && items.iter().all(|(_, value)| value.is_absent()),
        }
    }

    /// In one line if it is short enough, else a line for each part.
    pub(crate) fn render(&self, indent: usize, of: &Config) -> String {
        let (open, items, close) = match self {
            Self::Absent => return String::new(),
            Self::Plain(text) => return text.clone(),
            Self::Name(kind, at) => return text(&format!("{}{}", kind.mark(), of.name_of(*kind, *at))),
            Self::Group(open, items, close) => (open, items, close),
        };
        let items: Vec<String> = items
            .iter()
            .filter(|(_, value)| !value.is_absent())
            .map(|(before, value)| format!("{before}{}", value.render(indent + 1, of)))
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
