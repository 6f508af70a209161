//! `log: (…)`.

use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::shape::Shape;
use crate::accesslog::Format;
use log::LevelFilter;
use serde::Deserialize;
use std::path::PathBuf;

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Level of the server's own messages, on standard error.
    pub(crate) level: log::LevelFilter,
    /// The access log.
    pub(crate) access: Option<AccessLog>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessLog {
    /// `None`: standard output (written `"-"`).
    pub(crate) path: Option<PathBuf>,
    /// How a line looks.
    pub(crate) format: crate::accesslog::Format,
}

/// `log` as written.
#[derive(Deserialize)]
pub(crate) struct RawLog<'a> {
    #[serde(borrow)]
    level: Option<Located<'a, Level>>,
    access: Option<Located<'a, Access>>,
}

impl<'a> Raw<'a> for RawLog<'a> {}

/// `log.access` as written.
#[derive(Deserialize)]
pub(crate) struct RawAccess<'a> {
    #[serde(borrow)]
    path: Option<Located<'a, LogPath>>,
    format: Option<Located<'a, Format>>,
}

impl<'a> Raw<'a> for RawAccess<'a> {}

impl Default for Log {
    fn default() -> Self {
        Self { level: LevelFilter::Info, access: Some(AccessLog { path: None, format: Format::Combined }) }
    }
}

impl Read for Log {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawLog<'_>>(report)?;
        let default = Self::default();
        let level = at.or(raw.level, Level(default.level), report).0;
        let access = at.or(raw.access, Access(default.access), report).0;
        Some(Self { level, access })
    }
}

struct Level(LevelFilter);

/// Names of the levels, as written.
pub(crate) const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

impl Read for Level {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let names = LEVELS.map(|(name, _)| name);
        node.parse(report, &format!("a level in quotes, one of {}", names.join(", ")), |text| {
            let found = LEVELS.iter().find(|(name, _)| *name == text);
            found.map(|(_, level)| Self(*level)).ok_or_else(|| Complaint::unknown("level", text, &names))
        })
    }
}

/// `Off` or `(path: …, format: …)`.
struct Access(Option<AccessLog>);

impl Read for Access {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if matches!(node.shape(), Shape::Variant(..)) {
            return node.choice(report, &[("Off", ())], &[]).map(|()| Self(None));
        }
        let (raw, at) = node.fields::<RawAccess<'_>>(report)?;
        let path = at.or(raw.path, LogPath(None), report).0;
        let format = at.or(raw.format, Format::Combined, report);
        Some(Self(Some(AccessLog { path, format })))
    }
}

/// Names of standard output. Opened anew, a file behind it would have another place to write at than what else goes there.
const STANDARD_OUTPUT: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// A path, or `"-"`.
struct LogPath(Option<PathBuf>);

impl Read for LogPath {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if matches!(node.shape(), Shape::Text(text) if STANDARD_OUTPUT.contains(&text.as_ref())) {
            return Some(Self(None));
        }
        PathBuf::read(node, report).map(|path| Self(Some(path)))
    }
}

/// Names of the formats.
pub(crate) const FORMATS: [(&str, Format); 2] = [("Json", Format::Json), ("Combined", Format::Combined)];

impl Read for Format {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &FORMATS, &[])
    }
}
