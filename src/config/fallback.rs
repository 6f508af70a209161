//! `fallback: …`: what answers where a location's handler has nothing.

use super::handler::{Draft as HandlerDraft, Handler};
use super::located::{Node, Read, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::units::below_root;
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
pub(crate) enum Draft {
    /// A file of the handler's own.
    File(String),
    Status(u16),
    Handler(Box<HandlerDraft>),
}

impl Read for Draft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::Integer(status) => {
                let status = u16::try_from(status).ok().filter(|status| (400..600).contains(status));
                if status.is_none() {
                    let complaint = Complaint::new("not the status of an error", "from 400 to 599");
                    node.complain(report, complaint);
                }
                status.map(Self::Status)
            }
            Shape::Variant("App" | "Proxy", Some(_)) => {
                HandlerDraft::read(node, report).map(|handler| Self::Handler(Box::new(handler)))
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
}
