//! `log: (…)`.

use super::Config;
use super::located::{Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{By, Choice, Form, Or, Section, Value, Walk};
use super::written::Written;
use crate::accesslog::Format;
use crate::h1::encode::is_ours;
use crate::http::fields;
use log::LevelFilter;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Level of the server's own messages, on standard error.
    pub(crate) level: LevelFilter,
    /// The access log.
    pub(crate) access: Option<AccessLog>,
    /// Field of every response that names the id of its request; `None` (written `Off`): none does.
    pub(crate) request_id: Option<FieldName>,
}

/// Stands for no log, and for no field.
const OFF: &str = "Off";

/// Name of a header field that the connection does not write itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldName(String);

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessLog {
    /// `None`: standard output (written `"-"`).
    pub(crate) path: Option<PathBuf>,
    /// How a line looks.
    pub(crate) format: Format,
}

/// `log` of a site.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SiteLog {
    access: SiteAccess,
}

/// Where the requests of a site are logged.
#[derive(Clone, Debug, Default, PartialEq)]
enum SiteAccess {
    /// Where those of all sites are that say nothing.
    #[default]
    AsServer,
    /// There only; `None` (written `Off`): nowhere.
    Own(Option<AccessLog>),
}

impl Config {
    /// The access logs by what they are written to, each once, with the key of the first. Workers are given them in this
    /// order.
    pub(crate) fn access_logs(&self) -> Vec<(String, &AccessLog)> {
        let sites = self.sites.iter().enumerate().filter_map(|(index, site)| match &site.log.access {
            SiteAccess::Own(Some(log)) => Some((format!("sites[{index}].log.access"), log)),
            SiteAccess::Own(None) | SiteAccess::AsServer => None,
        });
        let own = self.log.access.iter().map(|log| ("log.access".to_owned(), log));
        let mut seen = HashSet::new();
        own.chain(sites).filter(|(_, log)| seen.insert(&log.path)).collect()
    }

    /// That of a site, or of requests that are no site's.
    pub(crate) fn access_log(&self, site: Option<usize>) -> Option<&AccessLog> {
        match site.and_then(|site| self.sites.get(site)).map(|site| &site.log.access) {
            Some(SiteAccess::Own(log)) => log.as_ref(),
            Some(SiteAccess::AsServer) | None => self.log.access.as_ref(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LevelFilter::Info,
            access: Some(AccessLog::default()),
            request_id: Some(FieldName("X-Request-Id".to_owned())),
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: None, format: Format::Combined }
    }
}

impl Section for Log {
    const MEANT: Option<&'static str> = Some("level");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("level", &mut self.level);
        keys.key("access", &mut Or(&mut self.access, OFF));
        keys.key("request_id", &mut Or(&mut self.request_id, OFF));
    }
}

impl Section for SiteLog {
    const MEANT: Option<&'static str> = Some("access");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("access", &mut self.access);
    }
}

impl Value for SiteAccess {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let mut own = None;
        let good = Or(&mut own, OFF).take(node, report);
        *self = Self::Own(own);
        good
    }

    fn clear(&mut self) {
        *self = Self::Own(None);
    }

    fn written(&self) -> Written {
        match self {
            Self::AsServer => Written::Absent,
            Self::Own(own) => Or(&mut own.clone(), OFF).written(),
        }
    }
}

impl Section for AccessLog {
    fn walk(&mut self, keys: &mut dyn Walk) {
        let mut path = self.path.take().unwrap_or_else(|| PathBuf::from(STANDARD_OUTPUT[0]));
        keys.key("path", &mut By(&mut path, log_path));
        self.path = Some(path).filter(|path| path != Path::new(STANDARD_OUTPUT[0]));
        keys.key("format", &mut Choice(&mut self.format, &FORMATS, &[]));
    }
}

fn name(level: LevelFilter) -> String {
    level.as_str().to_ascii_lowercase()
}

impl Form for LevelFilter {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let names: Vec<String> = Self::iter().map(name).collect();
        if let Shape::Variant(text, None) = node.shape()
            && names.contains(&text.to_lowercase())
        {
            let what = format!("expected a level in quotes, found `{text}`");
            return node.refuse(report, Complaint::new(what, format!("write \"{}\"", text.to_lowercase())));
        }
        node.parse(report, &format!("a level in quotes, one of {}", names.join(", ")), |text| {
            let found = Self::iter().find(|level| name(*level) == text);
            found.ok_or_else(|| Complaint::unknown("level", text, &names))
        })
    }

    fn write(&self) -> Written {
        Written::text(&name(*self))
    }
}

impl FieldName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Fields that servers, clients and caches go by, and so no place for anything else.
const TAKEN: [&str; 18] = [
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-range",
    "content-type",
    "cookie",
    "etag",
    "expires",
    "host",
    "last-modified",
    "location",
    "retry-after",
    "set-cookie",
    "vary",
];

impl Form for FieldName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "the name of a header field in quotes", |text| {
            let hint = "name one that says nothing else";
            match text.as_bytes() {
                name if !fields::is_name(name) => {
                    Err(Complaint::new(format!("{text:?} is no name of a field"), hint))
                }
                name if is_ours(name) || TAKEN.iter().any(|taken| text.eq_ignore_ascii_case(taken)) => {
                    Err(Complaint::new(format!("the field {text} has a meaning of its own"), hint))
                }
                _ => Ok(Self(text.to_owned())),
            }
        })
    }

    fn write(&self) -> Written {
        Written::text(&self.0)
    }
}

/// Names of standard output. Opened anew, a file behind it would have another place to write at than what else goes there.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

fn log_path(node: &Node<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    match node.shape() {
        Shape::Text(text) if STANDARD_OUTPUT.contains(&text.as_ref()) => Some(STANDARD_OUTPUT[0].into()),
        _ => PathBuf::read(node, report),
    }
}

const FORMATS: [(&str, Format); 4] = [
    ("Json", Format::Json),
    ("Combined", Format::Combined),
    ("VhostCombined", Format::VhostCombined),
    ("Short", Format::Short),
];
