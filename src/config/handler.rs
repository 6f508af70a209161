//! `to: …` of a location: what answers it.

use super::fallback::Draft as FallbackDraft;
use super::files::{self, Files};
use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::units::check_path;
use crate::http::location::{self, Variable};
use serde::Deserialize;

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
    /// An upstream; index into [`Config::upstreams`](super::Config::upstreams).
    Proxy(usize),
    /// A redirect. `location` may contain `$rest` (what follows the prefix, as it was written), `$path`, `$query`,
    /// `$host`, `$scheme`.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The Location field.
        location: String,
    },
    /// A fixed answer.
    Respond {
        /// Any final status.
        status: u16,
        /// The body.
        body: String,
        /// Content-Type.
        content_type: String,
    },
}

/// What answers, with the app or upstream still a name.
pub(crate) enum Draft {
    Ready(Handler),
    Files { files: Files, fallback: Option<FallbackDraft> },
    App { name: At<String>, mount: String },
    Proxy(At<String>),
}

/// `App(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawAppHandler<'a> {
    #[serde(borrow)]
    name: Option<Located<'a, At<String>>>,
    mount: Option<Located<'a, At<String>>>,
}

impl<'a> Raw<'a> for RawAppHandler<'a> {}

/// `Proxy(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawProxy<'a> {
    #[serde(borrow)]
    name: Option<Located<'a, At<String>>>,
}

impl<'a> Raw<'a> for RawProxy<'a> {}

/// `Redirect(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawRedirect<'a> {
    #[serde(borrow)]
    status: Option<Located<'a, At<u32>>>,
    location: Option<Located<'a, At<String>>>,
}

impl<'a> Raw<'a> for RawRedirect<'a> {}

/// `Respond(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawRespond<'a> {
    #[serde(borrow)]
    status: Option<Located<'a, At<u32>>>,
    body: Option<Located<'a, String>>,
    content_type: Option<Located<'a, At<String>>>,
}

impl<'a> Raw<'a> for RawRespond<'a> {}

const HANDLERS: [&str; 5] = ["Files", "App", "Proxy", "Redirect", "Respond"];
const HANDLERS_LATER: [&str; 1] = ["Cgi"];
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];

impl Read for Draft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let Some((name, inside)) = node.variant() else {
            let other = node.shape();
            let expected = format!("one of {}, as in App(\"shop\")", HANDLERS.join(", "));
            return node.wrong(report, &expected, &other);
        };
        if HANDLERS_LATER.contains(&name) {
            return node.refuse(report, Complaint::later("variant", name));
        }
        if !HANDLERS.contains(&name) {
            return node.refuse(report, Complaint::unknown("variant", name, &HANDLERS));
        }
        let Some(inside) = inside else {
            let example = match name {
                "Files" => "Files(root: \"static\")",
                "App" => "App(\"shop\")",
                "Proxy" => "Proxy(\"api\")",
                "Redirect" => "Redirect(status: 301, location: \"/new$rest\")",
                _ => "Respond(status: 200, body: \"ok\")",
            };
            return node.refuse(
                report,
                Complaint::new(format!("`{name}` says nothing"), format!("for example {example}")),
            );
        };
        match name {
            "Files" => files::read(&inside, report),
            "App" => app(&inside, report),
            "Proxy" => proxy(&inside, report),
            "Redirect" => redirect(&inside, report).map(Self::Ready),
            _ => respond(&inside, report).map(Self::Ready),
        }
    }
}

fn app(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Draft> {
    if let Some(name) = inside.only() {
        return At::read(&name, report).map(|name| Draft::App { name, mount: String::new() });
    }
    let (raw, at) = inside.fields::<RawAppHandler<'_>>(report)?;
    let name = at.need(raw.name, "name", "\"shop\"", report);
    let mount: Option<At<String>> = at.read(raw.mount, report);
    let mut text = mount.as_ref().map(|mount| mount.value.clone()).unwrap_or_default();
    if let Some(mount) = mount.filter(|mount| !mount.value.is_empty()) {
        if let Err(complaint) = check_path(&mount.value) {
            return report.refuse(&mount.place, complaint);
        }
        // SCRIPT_NAME has no slash at its end; the root is the empty one (PEP 3333).
        text = mount.value.trim_end_matches('/').to_owned();
    }
    Some(Draft::App { name: name?, mount: text })
}

fn proxy(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Draft> {
    if let Some(name) = inside.only() {
        return At::read(&name, report).map(Draft::Proxy);
    }
    let (raw, at) = inside.fields::<RawProxy<'_>>(report)?;
    at.need(raw.name, "name", "\"api\"", report).map(Draft::Proxy)
}

fn redirect(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Handler> {
    let (raw, at) = inside.fields::<RawRedirect<'_>>(report)?;
    let template: Option<At<String>> = at.need(raw.location, "location", "\"/new$rest\"", report);
    let mut status = 302;
    if let Some(given) = at.read(raw.status, report) {
        match u16::try_from(given.value).ok().filter(|_| REDIRECTS.contains(&given.value)) {
            Some(good) => status = good,
            None => {
                let what = format!("{} is not the status of a redirect", given.value);
                report.add(&given.place, Complaint::new(what, "one of 301, 302, 303, 307, 308"));
            }
        }
    }
    let template = template?;
    if let Err(error) = location::check(&template.value) {
        return report.refuse(&template.place, no_location(&template.value, error));
    }
    Some(Handler::Redirect { status, location: template.value })
}

/// Why the `location` of a redirect is refused.
fn no_location(text: &str, error: location::Error) -> Complaint {
    use location::Error;
    let (what, hint) = match error {
        Error::Character => {
            return Complaint::new("a space or control character in a location", "write a space as %20");
        }
        Error::Backslash => {
            let hint = "browsers take it for a slash; write a slash, or %5C for the character itself";
            return Complaint::new("a backslash in a location", hint);
        }
        Error::Unknown(name) => return Complaint::unknown("variable", &name, &Variable::NAMES),
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
        Error::InHost(variable) => (
            format!(
                "${} would be part of the host: what a client sends would decide where it leads",
                variable.name()
            ),
            "a host is written out, or is `$host` alone or behind `www.`; write a slash behind it".to_owned(),
        ),
    };
    Complaint::new(what, hint)
}

fn respond(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Handler> {
    let (raw, at) = inside.fields::<RawRespond<'_>>(report)?;
    let body = at.or(raw.body, String::new(), report);
    let mut status = 200;
    if let Some(given) = at.read(raw.status, report) {
        match u16::try_from(given.value).ok().filter(|status| (200..600).contains(status)) {
            Some(204 | 205 | 304) if !body.is_empty() => {
                let what = format!("an answer with status {} has no body", given.value);
                report.add(&given.place, Complaint::new(what, "remove the `body`"));
            }
            Some(good) => status = good,
            None => {
                let what = format!("{} is not the status of an answer", given.value);
                report.add(&given.place, Complaint::new(what, "from 200 to 599"));
            }
        }
    }
    let plain = || "text/plain; charset=utf-8".to_owned();
    let content_type = match at.read(raw.content_type, report) {
        Some(given) if given.value.is_empty() || given.value.contains(char::is_control) => {
            report.add(&given.place, Complaint::new("not a content type", "for example \"text/html\""));
            plain()
        }
        Some(given) => given.value,
        None => plain(),
    };
    Some(Handler::Respond { status, body, content_type })
}
