//! `fallback: …`: what answers where a location's handler has nothing.

use super::handler::{Handler, To};
use super::located::{Node, Report};
use super::problem::Complaint;
use super::read::status;
use super::shape::Shape;
use super::units::below_root;
use super::walk::Form;
use super::written::Written;
use std::rc::Rc;

/// What answers where a location's handler has nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fallback {
    /// The error page for this status; 404 unless the location says otherwise.
    Status(u16),
    /// An app or an upstream.
    Handler(Rc<Handler>),
}

impl Default for Fallback {
    fn default() -> Self {
        Self::Status(404)
    }
}

/// `fallback` of `Files(…)` as written.
#[derive(Clone)]
pub(crate) enum Draft {
    /// A file of the handler's own.
    File(String),
    Other(Fallback),
}

impl Draft {
    /// What would be written; nothing for the default.
    pub(crate) fn of(stand_in: Option<String>, fallback: &Fallback) -> Option<Self> {
        let other = Some(fallback).filter(|other| **other != Fallback::default());
        stand_in.map(Self::File).or(other.cloned().map(Self::Other))
    }
}

impl Form for Draft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Integer(_) => {
                let fits = |status| (400..600).contains(&status);
                let status = status(node, "the status of an error", fits, "from 400 to 599", report)?;
                Some(Self::Other(Fallback::Status(status)))
            }
            Shape::Variant("App" | "Proxy", Some(_)) => {
                let To { handler, .. } = To::read(node, report)?;
                Some(Self::Other(Fallback::Handler(Rc::new(handler))))
            }
            Shape::Text(_) => node
                .parse(report, "the name of a file below the root", |text| {
                    let path = below_root(text, "\"index.html\"")?;
                    if path.is_empty() || path.ends_with('/') {
                        let what = format!("`{text}` is not the name of a file below the root");
                        return Err(Complaint::new(what, "for example \"index.html\""));
                    }
                    Ok(path)
                })
                .map(Self::File),
            other => {
                let expected = "a file such as \"index.html\", App(\"shop\"), Proxy(\"api\") or a status";
                node.wrong(report, expected, &other)
            }
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::File(name) => name.write(),
            Self::Other(Fallback::Status(status)) => status.write(),
            Self::Other(Fallback::Handler(handler)) => To::from((**handler).clone()).write(),
        }
    }
}
