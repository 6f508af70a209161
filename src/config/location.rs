//! `locations: […]` of a site: which paths, and what answers them.

use super::action::{Action, ActionDraft};
use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::Size;
use crate::route::Matcher;
use regex_lite::Regex;
use serde::Deserialize;

/// One location of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Which paths it takes.
    pub matcher: Matcher,
    /// What answers.
    pub action: Action,
    /// Largest request body here.
    pub max_body: u64,
    /// While the app sleeps, 200 is the answer, and it sleeps on.
    pub asleep_200: bool,
}

/// A location whose app or upstream is still a name.
pub(crate) struct Draft {
    pub(crate) matcher: At<Matcher>,
    pub(crate) action: ActionDraft,
    pub(crate) max_body: Option<u64>,
    pub(crate) asleep_200: bool,
}

/// A location as written.
#[derive(Deserialize)]
pub(crate) struct RawLocation<'a> {
    #[serde(borrow)]
    exact: Option<Located<'a, At<Path>>>,
    path: Option<Located<'a, At<Path>>>,
    regex: Option<Located<'a, At<Pattern>>>,
    over_regex: Option<Located<'a, bool>>,
    to: Option<Located<'a, At<ActionDraft>>>,
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
pub(crate) const POLICIES: &[&str] =
    &["access", "auth", "limit", "headers", "rewrite", "compress", "cache_responses"];

impl<'a> Raw<'a> for RawLocation<'a> {
    const LATER: &'static [&'static str] = POLICIES;

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
        let action = at.need(raw.to, "to", "App(\"shop\")", report);
        let max_body = at.read(raw.max_body, report).map(|size| size.0);
        let probe = at.read(raw.probe, report).is_some();
        let is_app = action.as_ref().is_some_and(|action| matches!(action.value, ActionDraft::App { .. }));
        if probe && action.is_some() && !is_app {
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
        let action = action?;
        if let Err(complaint) = fits(&matcher.value, &action.value) {
            report.add(&action.place, complaint);
            return None;
        }
        Some(Self { matcher, action: action.value, max_body, asleep_200: probe })
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
fn fits(matcher: &Matcher, action: &ActionDraft) -> Result<(), Complaint> {
    match (action, matcher) {
        (ActionDraft::Ready(Action::Files(_)) | ActionDraft::Files { .. }, Matcher::Prefix { path, .. })
            if !path.ends_with('/') =>
        {
            let why =
                format!("the root of `Files` stands for a directory, and `{path}` does not end with `/`");
            Err(Complaint::new(why, format!("write path: \"{path}/\"")))
        }
        (ActionDraft::App { mount, .. }, _) if !mount.is_empty() => {
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

/// Paths are compared after decoding, with `//` merged and dots resolved: others would never match.
pub(crate) fn check_path(text: &str) -> Result<(), Complaint> {
    let never = |why: &str, hint: &str| Err(Complaint::new(format!("`{text}` {why}"), hint));
    if !text.starts_with('/') {
        return never("does not begin with `/`", &format!("write \"/{text}\""));
    }
    if text.contains(['?', '#']) {
        return never("never matches", "a path is compared without its query");
    }
    if text.contains('%') {
        return never("has a `%` in it", "paths are compared decoded: write the characters themselves");
    }
    if text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..") {
        return never("never matches", "paths are compared with `//` merged and `.` and `..` resolved");
    }
    if text.contains(char::is_control) {
        return never("has a control character in it", "");
    }
    Ok(())
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
