//! `to: …` of a location: what answers it.

use super::files::{self, Files};
use super::located::{Given, Node, Reading, Report};
use super::names::{self, Named};
use super::problem::Complaint;
use super::read::status;
use super::units::check_path;
use super::walk::{By, Form, Section, Walk};
use super::written::Written;
use super::{Cgi, Fallback, Proxy};
use crate::http::location::{self, Variable};

/// What answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Handler {
    /// Files below a directory.
    Files(Files),
    /// An app.
    App {
        /// Index into [`Config::apps`](super::Config::apps).
        app: usize,
        /// SCRIPT_NAME, without a slash at the end; empty unless the location says `mount`.
        mount: String,
    },
    /// An upstream.
    Proxy(Proxy),
    /// Scripts below a directory.
    Cgi(Cgi),
    /// A redirect.
    Redirect(Redirect),
    /// A fixed answer.
    Respond(Respond),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub(crate) status: u16,
    /// The Location field. May contain `$rest` (what follows the prefix, as it was written), `$path`, `$query`, `$host`,
    /// `$scheme`, and of a `regex` location the groups `$1` and `$name`.
    pub(crate) location: String,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Respond {
    /// Any final status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
    /// Content-Type.
    pub(crate) content_type: String,
}

/// What answers, and what does where that has nothing: `to` as it is written.
#[derive(Clone, Default)]
pub(crate) struct To {
    pub(crate) handler: Handler,
    pub(crate) fallback: Fallback,
}

/// A handler: its name, one that says enough, and how what stands in its parentheses is read.
pub(super) type Kind = (&'static str, &'static str, Reading<To>);

pub(super) const HANDLERS: [Kind; 6] = [
    ("Files", "Files(root: \"static\")", |node, report| {
        let files::Draft { files, fallback } = files::Draft::read(node, report)?;
        Some(To { handler: Handler::Files(files), fallback })
    }),
    ("App", "App(\"shop\")", |node, report| {
        let Mounted { app, mount } = Mounted::read(node, report)?;
        Some(Handler::App { app: app?, mount }.into())
    }),
    ("Proxy", "Proxy(\"api\")", |node, report| Some(Handler::Proxy(Form::read(node, report)?).into())),
    ("Cgi", "Cgi(root: \"cgi-bin\")", |node, report| Some(Handler::Cgi(Form::read(node, report)?).into())),
    ("Redirect", "Redirect(status: 301, location: \"/new$rest\")", |node, report| {
        Some(Handler::Redirect(Form::read(node, report)?).into())
    }),
    ("Respond", "Respond(status: 200, body: \"ok\")", |node, report| {
        Some(Handler::Respond(Form::read(node, report)?).into())
    }),
];
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl Default for Handler {
    fn default() -> Self {
        Self::Respond(Respond::default())
    }
}

impl From<Handler> for To {
    fn from(handler: Handler) -> Self {
        Self { handler, fallback: Fallback::default() }
    }
}

impl Form for To {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let names = HANDLERS.map(|(name, ..)| name);
        let Some((name, inside)) = node.variant() else {
            let expected = format!("one of {}, as in App(\"shop\")", names.join(", "));
            return node.wrong(report, &expected, &node.shape());
        };
        let Some((_, example, read)) = HANDLERS.iter().find(|(known, ..)| *known == name) else {
            return node.refuse(report, Complaint::unknown("variant", name, &names));
        };
        let Some(inside) = inside else {
            let hint = format!("for example {example}");
            return node.refuse(report, Complaint::new(format!("`{name}` says nothing"), hint));
        };
        read(&inside, report)
    }

    fn write(&self) -> Written {
        match &self.handler {
            Handler::Files(files) => files::Draft::of(files, &self.fallback).write().named("Files"),
            Handler::App { app, mount } => {
                Mounted { app: Some(*app), mount: mount.clone() }.write().named("App")
            }
            Handler::Proxy(proxy) => proxy.write().named("Proxy"),
            Handler::Cgi(cgi) => cgi.write().named("Cgi"),
            Handler::Redirect(redirect) => redirect.write().named("Redirect"),
            Handler::Respond(respond) => respond.write().named("Respond"),
        }
    }
}

/// `App(…)`; without an app it is not read.
#[derive(Clone, Default)]
struct Mounted {
    app: Option<usize>,
    mount: String,
}

impl Section for Mounted {
    const SHORT: Option<&'static str> = Some("name");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("name", "\"shop\"", &mut Named(&mut self.app, names::Kind::App));
        keys.key("mount", &mut By(&mut self.mount, mount));
    }
}

/// SCRIPT_NAME has no slash at its end; the root is the empty one (PEP 3333).
fn mount(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = String::read(node, report)?;
    match check_path(&text) {
        Err(complaint) if !text.is_empty() => node.refuse(report, complaint),
        _ => Some(text.trim_end_matches('/').to_owned()),
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self { status: 302, location: String::new() }
    }
}

impl Section for Redirect {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("status", &mut By(&mut self.status, redirect_status));
        keys.need("location", "\"/new$rest\"", &mut By(&mut self.location, template));
    }
}

fn redirect_status(node: &Node<'_>, report: &mut Report<'_>) -> Option<u16> {
    let hint = "one of 301, 302, 303, 307, 308";
    status(node, "the status of a redirect", |status| REDIRECTS.contains(&status), hint, report)
}

fn template(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = String::read(node, report)?;
    match location::check(&text, &report.groups) {
        Ok(()) => Some(text),
        Err(error) => node.refuse(report, no_location(&text, error, &report.groups)),
    }
}

/// Why the `location` of a redirect is refused. `groups`: those that it may refer to.
pub(super) fn no_location(text: &str, error: location::Error, groups: &[String]) -> Complaint {
    use location::Error;
    let (what, hint) = match error {
        Error::Character => {
            return Complaint::new("a space or control character in a location", "write a space as %20");
        }
        Error::Backslash => {
            let hint = "browsers take it for a slash; write a slash, or %5C for the character itself";
            return Complaint::new("a backslash in a location", hint);
        }
        Error::Unknown(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
            let what = format!("`${name}`: there is no such group in a regular expression");
            let hint = "`$1` is what the first pair of parentheses of `regex` finds in the path; for a dollar sign write `$$`";
            return Complaint::new(what, hint);
        }
        Error::Unknown(name) => {
            let known: Vec<&str> =
                Variable::NAMES.into_iter().chain(groups.iter().map(String::as_str)).collect();
            return Complaint::unknown("variable", &name, &known);
        }
        Error::Form if text.starts_with('$') => (
            format!("`{text}` is neither a path nor a URL: what a client sends would decide where it leads"),
            "begin with \"/\", \"$rest\", \"$path\", \"https://\" or \"$scheme://\"".to_owned(),
        ),
        Error::Form => (
            format!("`{text}` is neither a path nor a URL"),
            format!("did you mean \"https://{text}\" or \"/{text}\"?"),
        ),
        Error::NetworkPath => (
            format!("`{text}` leads to another host"),
            format!("write \"https:{text}\" if that is meant, else one slash"),
        ),
        Error::NoHost => {
            (format!("`{text}` has no host"), "for example \"https://new.example$path\"".to_owned())
        }
        Error::InHost(name) => (
            format!("${name} would be part of the host: what a client sends would decide where it leads"),
            "a host is written out, or is `$host` alone or behind `www.`; write a slash behind it".to_owned(),
        ),
    };
    Complaint::new(what, hint)
}

impl Default for Respond {
    fn default() -> Self {
        let content_type = "text/plain; charset=utf-8".to_owned();
        Self { status: 200, body: String::new(), content_type }
    }
}

impl Section for Respond {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("status", &mut By(&mut self.status, answer_status));
        keys.key("body", &mut self.body);
        keys.key("content_type", &mut By(&mut self.content_type, content_type));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if matches!(self.status, 204 | 205 | 304) && !self.body.is_empty() {
            let what = format!("an answer with status {} has no body", self.status);
            report.add(&given.place_of("status"), Complaint::new(what, "remove the `body`"));
        }
    }
}

fn answer_status(node: &Node<'_>, report: &mut Report<'_>) -> Option<u16> {
    status(node, "the status of an answer", |status| (200..600).contains(&status), "from 200 to 599", report)
}

fn content_type(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = String::read(node, report)?;
    if text.is_empty() || text.contains(char::is_control) {
        return node.refuse(report, Complaint::new("not a content type", "for example \"text/html\""));
    }
    Some(text)
}
