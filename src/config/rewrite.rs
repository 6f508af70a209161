//! `rewrite: …` of a location or a site: the path by which a request is routed again.

use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::proxy::path_template;
use super::shape::Shape;
use super::walk::{By, Form, Section, Walk};
use super::written::Written;
use crate::policy::Policies;
use crate::policy::rewrite::Rewrite;
use crate::route;
use regex_lite::Regex;
use std::rc::Rc;

impl Section for Rewrite {
    const SHORT: Option<&'static str> = Some("to");
    const BRIEF: bool = true;

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("regex", &mut self.regex);
        keys.need("to", "\"/index.php$path\"", &mut By(&mut self.to, template));
        keys.key("when", &mut self.when);
        keys.key("unless", &mut self.unless);
    }

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "last" | "break" | "flag" => "the request is always routed again, as with nginx's `last`",
            "permanent" | "redirect" | "status" => {
                "a browser is sent elsewhere by `to: Redirect(status: 301, location: \"…\")` of a location"
            }
            "path" | "from" => "it is called `regex` here",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.when.is_some() && self.when == self.unless {
            given.complain(report, Complaint::new("`when` and `unless` name the same condition", "keep one"));
        }
    }
}

fn template(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    path_template(node, report, "it is a path of this site")
}

/// One, or a list of them, of which the first that applies counts. Groups are those of its own `regex`, or else those of the
/// location's.
pub(super) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<Rc<[Rewrite]>>> {
    let rules: Vec<Rewrite> = match node.shape() {
        Shape::List(_) => node.each(report, one)?,
        _ => vec![one(node, report)?],
    };
    let hidden = rules.iter().position(Rewrite::is_always).filter(|always| always + 1 < rules.len());
    if hidden.is_some() {
        let what = "what follows a rewrite without `regex`, `when` and `unless` is never tried";
        node.complain(report, Complaint::new(what, "put it last"));
    }
    Some(Some(rules.into()).filter(|rules: &Rc<[Rewrite]>| !rules.is_empty()))
}

fn one(node: &Node<'_>, report: &mut Report<'_>) -> Option<Rewrite> {
    let before = report.problems.len();
    let own = node.field("regex").map(|_| groups_in(node, report));
    let outer = own.map(|own| std::mem::replace(&mut report.groups, own));
    let rule = Rewrite::read(node, report);
    if let Some(outer) = outer {
        report.groups = outer;
    }
    // One whose condition could not be read is none that always applies.
    rule.filter(|rule| !rule.is_always() || report.problems.len() == before)
}

/// The groups of the `regex` in a section, by number and by name; none, if it has none or a bad one.
pub(super) fn groups_in(node: &Node<'_>, report: &Report<'_>) -> Vec<String> {
    let mut unheard = Report::new(report.source);
    let regex = node.field("regex").and_then(|regex| Regex::read(&regex, &mut unheard));
    regex.as_ref().map(route::groups_of).unwrap_or_default()
}

/// Whether every request at this place is rewritten.
pub(super) fn is_always(policies: &Policies) -> bool {
    policies.rewrite.as_ref().is_some_and(|rules| rules.iter().any(Rewrite::is_always))
}

impl Form for Rc<[Rewrite]> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        read(node, report).flatten()
    }

    fn write(&self) -> Written {
        match &**self {
            [one] => one.write(),
            more => {
                let items = more.iter().map(|rule| (String::new(), rule.write()));
                Written::Group("[".to_owned(), items.collect(), ']')
            }
        }
    }
}
