//! `Files(…)`: a directory, and how what is in it is served.

use super::fallback::Draft as FallbackDraft;
use super::handler::Draft;
use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::{Complaint, suggestion};
use super::shape::Shape;
use super::units::{self, below_root};
use crate::http::encoding::Encoding;
use crate::http::fields::is_value;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Files below a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Files {
    /// The directory that stands for the location's prefix; for a regular expression, for `/`; for an exact path, for
    /// the directory of its last segment.
    pub(crate) root: PathBuf,
    /// Tried in order for a directory; `["index.html"]`.
    pub(crate) index: Vec<String>,
    /// Names below the root tried in order instead of the path itself; `$path` stands for it. Empty: the path, and for a
    /// directory its index.
    pub(crate) try_files: Vec<String>,
    /// The name below the root of a file that stands for those that are not there, with status 200.
    pub(crate) stand_in: Option<String>,
    /// Directories without an index file are listed.
    pub(crate) listing: bool,
    /// Cache-Control.
    pub(crate) cache: Cache,
    /// Codings in which files are kept beside their originals, in the order of our preference.
    pub(crate) precompressed: Vec<Encoding>,
    /// Ending and Content-Type, before the built-in table.
    pub(crate) types: Vec<(String, String)>,
    /// Names that begin with a dot are served.
    pub(crate) dotfiles: bool,
    /// Which symbolic links are followed.
    pub(crate) symlinks: Symlinks,
    /// The root may be a project: its source is meant to be public.
    pub(crate) allow_source: bool,
}

/// Which symbolic links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Symlinks {
    /// None: 403.
    Refuse,
    /// Those that stay below the root.
    Beneath,
    /// Also those to these directories.
    Follow(Vec<PathBuf>),
}

/// What Cache-Control says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// No Cache-Control.
    Unset,
    /// `no-cache`.
    Revalidate,
    /// `max-age=N`.
    For(Duration),
    /// `public, max-age=31536000, immutable` for names that carry a hash (`name.0123456789ab.ext`), `no-cache` otherwise.
    Immutable,
}

/// `Files(…)` as written.
#[derive(Deserialize)]
pub(crate) struct RawFiles<'a> {
    #[serde(borrow)]
    root: Option<Located<'a, PathBuf>>,
    index: Option<Located<'a, Vec<IndexName>>>,
    cache: Option<Located<'a, Cache>>,
    try_files: Option<Located<'a, Vec<TryName>>>,
    fallback: Option<Located<'a, FallbackDraft>>,
    listing: Option<Located<'a, bool>>,
    precompressed: Option<Located<'a, Precompressed>>,
    types: Option<Located<'a, Types>>,
    dotfiles: Option<Located<'a, bool>>,
    symlinks: Option<Located<'a, At<SymlinksName>>>,
    symlinks_to: Option<Located<'a, At<Vec<PathBuf>>>>,
    allow_source: Option<Located<'a, bool>>,
}

impl<'a> Raw<'a> for RawFiles<'a> {}

pub(crate) struct TryName(String);

pub(crate) struct Precompressed(Vec<Encoding>);

pub(crate) struct Types(Vec<(String, String)>);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymlinksName {
    Refuse,
    Beneath,
    Follow,
}

pub(crate) fn read(inside: &Node<'_>, report: &mut Report<'_>) -> Option<Draft> {
    if let Some(root) = inside.only() {
        let files = PathBuf::read(&root, report).map(Files::new);
        return files.map(|files| Draft::Files { files, fallback: None });
    }
    let (raw, at) = inside.fields::<RawFiles<'_>>(report)?;
    let root = at.need(raw.root, "root", "\"static\"", report);
    let index = at.read(raw.index, report).map(|names| names.into_iter().map(|name| name.0).collect());
    let cache = at.or(raw.cache, Cache::Unset, report);
    let try_files = at.or(raw.try_files, Vec::new(), report).into_iter().map(|name| name.0).collect();
    let fallback = at.read(raw.fallback, report);
    let listing = at.or(raw.listing, false, report);
    let precompressed = at.or(raw.precompressed, Precompressed(Vec::new()), report).0;
    let types = at.or(raw.types, Types(Vec::new()), report).0;
    let dotfiles = at.or(raw.dotfiles, false, report);
    let links = at.read(raw.symlinks, report);
    let to = at.read(raw.symlinks_to, report);
    let symlinks = symlinks(links, to, report);
    let allow_source = at.or(raw.allow_source, false, report);
    let default = Files::new(root?);
    let (stand_in, fallback) = match fallback {
        Some(FallbackDraft::File(name)) => (Some(name), None),
        other => (None, other),
    };
    let files = Files {
        index: index.unwrap_or(default.index),
        try_files,
        stand_in,
        listing,
        cache,
        precompressed,
        types,
        dotfiles,
        symlinks,
        allow_source,
        root: default.root,
    };
    Some(Draft::Files { files, fallback })
}

impl Files {
    /// The defaults for this root.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            index: vec!["index.html".to_owned()],
            try_files: Vec::new(),
            stand_in: None,
            listing: false,
            cache: Cache::Unset,
            precompressed: Vec::new(),
            types: Vec::new(),
            dotfiles: false,
            symlinks: Symlinks::Beneath,
            allow_source: false,
        }
    }
}

/// `symlinks: Follow` says where to; nothing else does.
fn symlinks(
    links: Option<At<SymlinksName>>,
    to: Option<At<Vec<PathBuf>>>,
    report: &mut Report<'_>,
) -> Symlinks {
    let follow = "symlinks: Follow, symlinks_to: [\"/srv/shared\"]";
    match (links, to) {
        (Some(At { value: SymlinksName::Follow, .. }), Some(to)) if !to.value.is_empty() => {
            return Symlinks::Follow(to.value);
        }
        (Some(At { value: SymlinksName::Follow, place }), _) => {
            let what = "`Follow` needs the directories that links may lead to";
            report.add(&place, Complaint::new(what, format!("for example {follow}")));
        }
        (_, Some(to)) => {
            let what = "`symlinks_to` goes with `symlinks: Follow`";
            report.add(&to.place, Complaint::new(what, format!("write {follow}")));
        }
        (Some(At { value: SymlinksName::Refuse, .. }), None) => return Symlinks::Refuse,
        (Some(At { value: SymlinksName::Beneath, .. }) | None, None) => {}
    }
    Symlinks::Beneath
}

impl Read for SymlinksName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        const NAMES: [&str; 3] = ["Beneath", "Refuse", "Follow"];
        let Shape::Variant(name, None) = node.shape() else {
            return node.wrong(report, "one of Beneath, Refuse, Follow", &node.shape());
        };
        match name {
            "Refuse" => Some(Self::Refuse),
            "Beneath" => Some(Self::Beneath),
            "Follow" => Some(Self::Follow),
            _ => node.refuse(report, Complaint::unknown("variant", name, &NAMES)),
        }
    }
}

impl Read for TryName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a name such as \"$path.html\"", |text| {
            let rest = text.replace("$path", "");
            if rest.contains('$') {
                let what = format!("`{text}` has a variable that is not known here");
                return Err(Complaint::new(what, "$path stands for what follows the location's prefix"));
            }
            if text.starts_with('=') {
                return Err(Complaint::new(
                    format!("`{text}` is a status"),
                    "write it as `fallback`, a number",
                ));
            }
            below_root(text, "\"$path\", \"$path.html\", \"$path/\"").map(Self)
        })
    }
}

impl Read for Precompressed {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Bool(_) = node.shape() {
            let all = bool::read(node, report)?;
            return Some(Self(if all { Encoding::ALL.to_vec() } else { Vec::new() }));
        }
        let names = Vec::<At<String>>::read(node, report)?;
        let mut encodings = Vec::new();
        for name in names {
            let suffix = name.value.trim_start_matches('.');
            let known = |encoding: &Encoding| encoding.suffix() == suffix || encoding.name() == suffix;
            match Encoding::ALL.into_iter().find(known) {
                Some(encoding) if !encodings.contains(&encoding) => encodings.push(encoding),
                Some(_) => report.add(&name.place, Complaint::new("given twice", "keep one of the two")),
                None => {
                    report.add(&name.place, Complaint::unknown("ending", suffix, &["br", "zst", "gz"]));
                }
            }
        }
        Some(Self(encodings))
    }
}

impl Read for Types {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut types = Vec::new();
        for (name, value) in node.map(report)? {
            let suffix = name.value.trim_start_matches('.').to_owned();
            if suffix.is_empty() || suffix.contains('/') {
                let what = format!("`{}` is not the ending of a file name", name.value);
                report.add(&name.place, Complaint::new(what, "for example \"md\""));
            }
            let Some(kind) = String::read(&value, report) else { continue };
            if !kind.contains('/') || !is_value(kind.as_bytes()) {
                let what = format!("`{}` is not a content type", kind.escape_debug());
                value.complain(report, Complaint::new(what, "for example \"text/plain; charset=utf-8\""));
            }
            types.push((suffix, kind));
        }
        Some(Self(types))
    }
}

pub(crate) struct IndexName(String);

impl Read for IndexName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a file name", |text| {
            if text.is_empty() || text.contains(['/', '\0']) || text == "." || text == ".." {
                let what = format!("`{text}` is not the name of a file in the directory");
                return Err(Complaint::new(what, "for example \"index.html\""));
            }
            Ok(Self(text.to_owned()))
        })
    }
}

impl Read for Cache {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let names = "\"off\", \"no-cache\", \"immutable\" or a duration such as \"1h\"";
        if let Shape::Integer(_) = node.shape() {
            return Duration::read(node, report).map(Self::For);
        }
        node.parse(report, names, |text| match text {
            "off" => Ok(Self::Unset),
            "no-cache" => Ok(Self::Revalidate),
            "immutable" => Ok(Self::Immutable),
            _ if text.starts_with(|char: char| char.is_ascii_digit()) => units::duration(text).map(Self::For),
            _ => {
                let near = suggestion(text, &["off", "no-cache", "immutable"]);
                let hint =
                    near.map_or_else(|| format!("write {names}"), |near| format!("did you mean \"{near}\"?"));
                Err(Complaint::new(format!("unknown cache rule `{text}`"), hint))
            }
        })
    }
}
