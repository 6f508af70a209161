//! `locations: […]` of a site: which paths, and what answers them.

use super::fallback::Fallback;
use super::handler::{self, Handler};
use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::Size;
use super::units::check_path;
use crate::policy::Policies;
use crate::route::Matcher;
use regex_lite::Regex;
use serde::Deserialize;
use std::rc::Rc;

/// One location of a site.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Location {
    /// Which paths it takes.
    pub(crate) matcher: Matcher,
    /// What a request must get past; those of the site are among them.
    pub(crate) policies: Policies,
    /// What answers.
    pub(crate) handler: Rc<Handler>,
    /// What answers where the handler has nothing.
    pub(crate) fallback: Fallback,
}

/// A location whose app or upstream is still a name.
pub(crate) struct Draft {
    pub(crate) matcher: At<Matcher>,
    /// Its own.
    pub(crate) policies: Policies,
    pub(crate) handler: handler::Draft,
}

/// A location as written.
#[derive(Deserialize)]
pub(crate) struct RawLocation<'a> {
    #[serde(borrow)]
    exact: Option<Located<'a, At<Path>>>,
    path: Option<Located<'a, At<Path>>>,
    regex: Option<Located<'a, At<Pattern>>>,
    over_regex: Option<Located<'a, bool>>,
    to: Option<Located<'a, At<handler::Draft>>>,
    max_body: Option<Located<'a, Size>>,
    probe: Option<Located<'a, Probe>>,
}

/// `probe` as written.
#[derive(Deserialize)]
pub(crate) struct RawProbe<'a> {
    #[serde(borrow)]
    answer: Option<Located<'a, Asleep200>>,
}

impl<'a> Raw<'a> for RawProbe<'a> {}

/// Policies that a location and a site may carry, once they exist.
pub(crate) const POLICIES_LATER: &[&str] =
    &["access", "auth", "limit", "headers", "rewrite", "compress", "cache_responses"];

impl<'a> Raw<'a> for RawLocation<'a> {
    const LATER: &'static [&'static str] = POLICIES_LATER;

    fn misplaced(key: &str) -> Option<Complaint> {
        let inside = match key {
            "root" | "index" | "cache" | "alias" | "fallback" | "listing" | "precompressed" | "types"
            | "dotfiles" | "symlinks" | "symlinks_to" | "try_files" => "Files(root: \"…\", …)",
            "mount" | "app" => "App(name: \"…\", mount: \"…\")",
            "status" | "body" | "content_type" => "Respond(status: …, body: \"…\")",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), format!("it goes into `to: {inside}`")))
    }
}

impl Read for Draft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawLocation<'_>>(report)?;
        let given = [raw.exact.is_some(), raw.path.is_some(), raw.regex.is_some()];
        let over_regex = at.or(raw.over_regex, false, report);
        let exact = at.read(raw.exact, report);
        let path = at.read(raw.path, report);
        let regex = at.read(raw.regex, report);
        let handler: Option<At<handler::Draft>> = at.need(raw.to, "to", "App(\"shop\")", report);
        let max_body = at.read(raw.max_body, report).map(|size| size.0);
        let asleep_200 = at.read(raw.probe, report).is_some();
        let is_app = |handler: &At<handler::Draft>| matches!(handler.value, handler::Draft::App { .. });
        if asleep_200 && handler.as_ref().is_some_and(|handler| !is_app(handler)) {
            node.complain(report, Complaint::new("`probe` goes with `to: App(…)` only", "remove it"));
        }
        match given.iter().filter(|given| **given).count() {
            1 => {}
            0 => {
                let hint = "give one of path: \"/static/\", exact: \"/robots.txt\", regex: r\"\\.php$\"";
                node.complain(report, Complaint::new("no path is given", hint));
            }
            _ => node.complain(
                report,
                Complaint::new("`exact`, `path` and `regex` exclude each other", "keep one"),
            ),
        }
        if over_regex && raw.path.is_none() {
            node.complain(report, Complaint::new("`over_regex` goes with `path` only", "remove it"));
        }
        let matcher = match (exact, path, regex) {
            (Some(exact), ..) => At { value: Matcher::Exact(exact.value.0), place: exact.place },
            (_, Some(path), _) => {
                At { value: Matcher::Prefix { path: path.value.0, over_regex }, place: path.place }
            }
            (.., Some(regex)) => At { value: Matcher::Regex(regex.value.0), place: regex.place },
            _ => return None,
        };
        let handler = handler?;
        if let Err(complaint) = fits(&matcher.value, &handler.value) {
            return report.refuse(&handler.place, complaint);
        }
        Some(Self { matcher, policies: Policies { max_body, asleep_200 }, handler: handler.value })
    }
}

/// `probe: (answer: Asleep200)`.
struct Probe;

struct Asleep200;

impl Read for Probe {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawProbe<'_>>(report)?;
        at.need(raw.answer, "answer", "Asleep200", report).map(|Asleep200| Self)
    }
}

impl Read for Asleep200 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &[("Asleep200", ())], &[]).map(|()| Self)
    }
}

/// A root stands for a directory, and a mount for a prefix: the location must have it. (Files below an `exact` path are
/// looked for by its last segment, below a `regex` by the whole path.)
fn fits(matcher: &Matcher, handler: &handler::Draft) -> Result<(), Complaint> {
    match (handler, matcher) {
        (handler::Draft::Files { .. }, Matcher::Prefix { path, .. }) if !path.ends_with('/') => {
            let why =
                format!("the root of `Files` stands for a directory, and `{path}` does not end with `/`");
            Err(Complaint::new(why, format!("write path: \"{path}/\"")))
        }
        (handler::Draft::App { mount, .. }, _) if !mount.is_empty() => {
            let path = match matcher {
                Matcher::Exact(path) | Matcher::Prefix { path, .. } => path,
                Matcher::Regex(_) => {
                    return Err(Complaint::new(
                        "`mount` needs a location with `path`",
                        "a regex has no prefix",
                    ));
                }
            };
            let below = path
                .strip_prefix(mount.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if below {
                return Ok(());
            }
            let what = format!("mount `{mount}` is not the beginning of `{path}`");
            Err(Complaint::new(
                what,
                format!("write path: \"{mount}\", or mount: \"{}\"", path.trim_end_matches('/')),
            ))
        }
        _ => Ok(()),
    }
}

/// A path as it is compared: decoded, normalised.
struct Path(String);

impl Read for Path {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a path such as \"/static/\"", |text| {
            check_path(text).map(|()| Self(text.to_owned()))
        })
    }
}

struct Pattern(Regex);

impl Read for Pattern {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a regular expression in quotes", |text| {
            let complain = |error: regex_lite::Error| {
                let what = format!("`{text}` is not a regular expression: {error}");
                Complaint::new(
                    what,
                    "the syntax is that of Rust's regex-lite: no look-around, no back-references",
                )
            };
            Regex::new(text).map(Self).map_err(complain)
        })
    }
}
