//! `cors: (origins: […], …)`: which scripts of other origins may read what a place answers.

use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{By, Form, Section, Value, Walk};
use super::written::Written;
use crate::http::fields;
use crate::policy::cors::{Cors, Listed, NoOrigin, Origin, Origins};
use std::rc::Rc;

/// `cors` of a site or location, as a value of its walk.
pub(super) struct Said<'v>(pub(super) &'v mut Option<Rc<Cors>>);

impl Value for Said<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        Cors::read(node, report).map(|cors| *self.0 = Some(Rc::new(cors))).is_some()
    }

    /// That of the site does not hold.
    fn clear(&mut self) {
        *self.0 = Some(Rc::new(Cors { off: true, ..Cors::default() }));
    }

    fn written(&self) -> Written {
        match self.0.as_deref() {
            None => Written::Absent,
            Some(Cors { off: true, .. }) => Written::plain(&"None"),
            Some(cors) => cors.write(),
        }
    }
}

impl Section for Cors {
    const SHORT: Option<&'static str> = Some("origins");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("origins", "[\"https://app.example\"]", &mut self.origins);
        keys.key("methods", &mut By(&mut self.methods, methods));
        keys.key("headers", &mut By(&mut self.headers, headers));
        keys.key("expose", &mut By(&mut self.expose, exposed));
        keys.key("credentials", &mut self.credentials);
        keys.key("max_age", &mut self.max_age);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.credentials && self.origins == Origins::Any {
            let what = "`credentials` with every origin: any site could act for whoever is logged in";
            let hint = "list the origins that are yours, or leave `credentials` out";
            report.add(&given.place_of("credentials"), Complaint::new(what, hint));
        }
        if self.credentials && self.expose.iter().any(|name| name == "*") {
            let what = "with `credentials` a `*` is a name like any other";
            report.add(&given.place_of("expose"), Complaint::new(what, "list the names"));
        }
        let is_null = |origin: &Origin| origin.as_str() == "null";
        if let Origins::Of(origins) = &self.origins
            && self.credentials
            && origins.iter().any(is_null)
        {
            let what = "`null` is the origin of every sandboxed frame, whoever made it";
            let hint = "with `credentials` each of them reads what its visitor may: remove it";
            report.add(&given.place_of("origins"), Complaint::new(what, hint));
        }
        if given.is_empty_list("origins") {
            report.add(
                &given.place_of("origins"),
                Complaint::new("no origin is listed", "to switch it off write cors: None"),
            );
        }
    }
}

impl Form for Origins {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            _ if is_any(node) => Some(Self::Any),
            Shape::Text(_) => Origin::read(node, report).map(|one| Self::Of(vec![one])),
            Shape::List(_) => match node.items().ok()?.as_slice() {
                [one] if is_any(one) => Some(Self::Any),
                _ => Vec::read(node, report).map(Self::Of),
            },
            other => node.wrong(report, "\"*\" or a list such as [\"https://app.example\"]", &other),
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::Any => Written::text(&"*"),
            Self::Of(origins) => origins.write(),
        }
    }
}

impl Form for Origin {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "an origin such as \"https://app.example\"", |text| {
            Self::parse(text).map_err(|why| {
                let hint = match why {
                    NoOrigin::NoScheme => format!("begin with the scheme: \"https://{text}\""),
                    NoOrigin::Path => "an origin ends with host or port: remove what is behind".to_owned(),
                    NoOrigin::UsualPort => "browsers leave out the port of the scheme: remove it".to_owned(),
                    NoOrigin::Port => "a port is a number, or `*` for any".to_owned(),
                    NoOrigin::Host => {
                        "a host is written as browsers send it; a `*` stands for its first part, \"https://*.b.example\""
                            .to_owned()
                    }
                    NoOrigin::Any => "`*` is every origin: write origins: \"*\" alone".to_owned(),
                };
                Complaint::new(format!("`{text}` is no origin"), hint)
            })
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.as_str())
    }
}

fn is_any(node: &Node<'_>) -> bool {
    matches!(node.shape(), Shape::Text(text) if text == "*")
}

/// `"*"`, or a list of names that `check` finds good.
fn listed(
    node: &Node<'_>,
    report: &mut Report<'_>,
    check: fn(&str) -> Result<(), Complaint>,
) -> Option<Listed> {
    match node.items() {
        _ if is_any(node) => Some(Listed::Any),
        Ok(items) if matches!(items.as_slice(), [one] if is_any(one)) => Some(Listed::Any),
        Ok(items) => {
            let read = |node: &Node<'_>| {
                node.parse(report, "a name in quotes", |text| check(text).map(|()| text.to_owned()))
            };
            Some(Listed::Of(items.iter().filter_map(read).collect()))
        }
        Err(other) => node.wrong(report, "\"*\" or a list of names", &other),
    }
}

impl Form for Listed {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        listed(node, report, check_name)
    }

    fn write(&self) -> Written {
        match self {
            Self::Any => Written::text(&"*"),
            Self::Of(names) => names.write(),
        }
    }
}

fn methods(node: &Node<'_>, report: &mut Report<'_>) -> Option<Listed> {
    listed(node, report, |text| {
        check_name(text)?;
        match text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            true => Err(Complaint::new(
                format!("`{text}` is another method than `{0}`", text.to_ascii_uppercase()),
                format!("the case of a method counts: write \"{}\"", text.to_ascii_uppercase()),
            )),
            false => Ok(()),
        }
    })
}

fn headers(node: &Node<'_>, report: &mut Report<'_>) -> Option<Listed> {
    listed(node, report, check_name)
}

fn exposed(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    match listed(node, report, check_name)? {
        Listed::Any => Some(vec!["*".to_owned()]),
        Listed::Of(names) => Some(names),
    }
}

fn check_name(text: &str) -> Result<(), Complaint> {
    match text {
        "*" => Err(Complaint::new("`*` beside names", "it stands alone, for all of them")),
        name if fields::is_name(name.as_bytes()) => Ok(()),
        name => {
            Err(Complaint::new(format!("{name:?} is no name"), "a name is one word, such as \"X-Token\""))
        }
    }
}
