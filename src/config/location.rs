//! `locations: […]` of a site: which paths, and what answers them. What `Files(…)` may say is read in `files`.

mod files;

use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::Size;
use crate::http::encoding::Encoding;
use crate::route::Matcher;
pub(crate) use files::RawFiles;
use regex_lite::Regex;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// One location of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Which paths it takes.
    pub matcher: Matcher,
    /// What answers.
    pub action: Action,
    /// Largest request body here.
    pub max_body: u64,
}

/// What answers a location.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
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

/// Files below a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// The directory that stands for the location's prefix; for a regular expression, for `/`; for an exact path, for
    /// the directory of its last segment.
    pub root: PathBuf,
    /// Tried in order for a directory; `["index.html"]`.
    pub index: Vec<String>,
    /// Names below the root tried in order instead of the path itself; `$path` stands for it. Empty: the path, and for a
    /// directory its index.
    pub try_files: Vec<String>,
    /// What answers where no file is found.
    pub fallback: Fallback,
    /// Directories without an index file are listed.
    pub listing: bool,
    /// Cache-Control.
    pub cache: Cache,
    /// Codings in which files are kept beside their originals, in the order of our preference.
    pub precompressed: Vec<Encoding>,
    /// Ending and Content-Type, before the built-in table.
    pub types: Vec<(String, String)>,
    /// Names that begin with a dot are served.
    pub dotfiles: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
}

/// What answers where no file is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Fallback {
    /// 404.
    None,
    /// This file below the root, with status 200.
    File(String),
    /// This status.
    Status(u16),
    /// An app or an upstream.
    Action(Box<Action>),
}

/// Which symbolic links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// None: 403.
    Refuse,
    /// Those that stay below the root.
    Beneath,
    /// Also those to these directories.
    Follow(Vec<PathBuf>),
}

/// What Cache-Control says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// No Cache-Control.
    Unset,
    /// `no-cache`.
    Revalidate,
    /// `max-age=N`.
    For(Duration),
    /// `public, max-age=31536000, immutable` for names that carry a hash (`name.0123456789ab.ext`), `no-cache` otherwise.
    Immutable,
}

/// A location whose app or upstream is still a name.
pub(crate) struct Draft {
    pub(crate) matcher: At<Matcher>,
    pub(crate) action: ActionDraft,
    pub(crate) max_body: Option<u64>,
}

pub(crate) enum ActionDraft {
    Ready(Action),
    Files { files: Files, fallback: Box<Self> },
    App { name: At<String>, mount: String },
    Proxy(At<String>),
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
}

/// Policies that a location and a site may carry, once they exist.
pub(crate) const POLICIES: &[&str] =
    &["access", "auth", "limit", "headers", "rewrite", "compress", "cache_responses", "probe"];

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

/// `App(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawAppAction<'a> {
    #[serde(borrow)]
    name: Option<Located<'a, At<String>>>,
    mount: Option<Located<'a, At<String>>>,
}

impl<'a> Raw<'a> for RawAppAction<'a> {}

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

const ACTIONS: [&str; 5] = ["Files", "App", "Proxy", "Redirect", "Respond"];
const ACTIONS_LATER: [&str; 1] = ["Cgi"];
const REDIRECTS: [u32; 5] = [301, 302, 303, 307, 308];
const VARIABLES: [&str; 5] = ["rest", "path", "query", "host", "scheme"];

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
        Some(Self { matcher, action: action.value, max_body })
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

impl Read for ActionDraft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let Some((name, inside)) = node.variant() else {
            let other = node.shape();
            let expected = format!("one of {}, as in App(\"shop\")", ACTIONS.join(", "));
            return node.wrong(report, &expected, &other);
        };
        if ACTIONS_LATER.contains(&name) {
            node.complain(report, Complaint::later("variant", name));
            return None;
        }
        if !ACTIONS.contains(&name) {
            node.complain(report, Complaint::unknown("variant", name, &ACTIONS));
            return None;
        }
        let Some(inside) = inside else {
            let example = match name {
                "Files" => "Files(root: \"static\")",
                "App" => "App(\"shop\")",
                "Proxy" => "Proxy(\"api\")",
                "Redirect" => "Redirect(status: 301, location: \"/new$rest\")",
                _ => "Respond(status: 200, body: \"ok\")",
            };
            node.complain(
                report,
                Complaint::new(format!("`{name}` says nothing"), format!("for example {example}")),
            );
            return None;
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

fn app(inside: &Node<'_>, report: &mut Report<'_>) -> Option<ActionDraft> {
    if let Some(name) = inside.only() {
        return At::read(&name, report).map(|name| ActionDraft::App { name, mount: String::new() });
    }
    let (raw, at) = inside.fields::<RawAppAction<'_>>(report)?;
    let name = at.need(raw.name, "name", "\"shop\"", report);
    let mount: Option<At<String>> = at.read(raw.mount, report);
    let mut text = mount.as_ref().map(|mount| mount.value.clone()).unwrap_or_default();
    if let Some(mount) = mount.filter(|mount| !mount.value.is_empty()) {
        if let Err(complaint) = check_path(&mount.value) {
            report.add(&mount.place, complaint);
            return None;
        }
        // SCRIPT_NAME has no slash at its end; the root is the empty one (PEP 3333).
        text = mount.value.trim_end_matches('/').to_owned();
    }
    Some(ActionDraft::App { name: name?, mount: text })
}

fn proxy(inside: &Node<'_>, report: &mut Report<'_>) -> Option<ActionDraft> {
    if let Some(name) = inside.only() {
        return At::read(&name, report).map(ActionDraft::Proxy);
    }
    let (raw, at) = inside.fields::<RawProxy<'_>>(report)?;
    at.need(raw.name, "name", "\"api\"", report).map(ActionDraft::Proxy)
}

fn redirect(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Action> {
    let (raw, at) = inside.fields::<RawRedirect<'_>>(report)?;
    let location: Option<At<String>> = at.need(raw.location, "location", "\"/new$rest\"", report);
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
    let location = location?;
    if let Err(complaint) = check_location(&location.value) {
        report.add(&location.place, complaint);
        return None;
    }
    Some(Action::Redirect { status, location: location.value })
}

fn check_location(text: &str) -> Result<(), Complaint> {
    if text.contains(|char: char| char.is_control() || char == ' ') {
        return Err(Complaint::new("a space or control character in a location", "write a space as %20"));
    }
    if !["/", "http://", "https://", "$"].iter().any(|start| text.starts_with(start)) {
        let hint = format!("did you mean \"https://{text}\" or \"/{text}\"?");
        return Err(Complaint::new(format!("`{text}` is neither a path nor a URL"), hint));
    }
    // `$$` is a dollar sign.
    for after in text.replace("$$", "").split('$').skip(1) {
        let end =
            after.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(after.len());
        let name = after.get(..end).unwrap_or_default();
        if !name.is_empty() && !VARIABLES.contains(&name) {
            return Err(Complaint::unknown("variable", name, &VARIABLES));
        }
    }
    Ok(())
}

fn respond(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Action> {
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
    Some(Action::Respond { status, body, content_type })
}
