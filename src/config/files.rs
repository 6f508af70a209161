//! `Files(…)`: a directory, and how what is in it is served.

use super::fallback::{self, Fallback};
use super::located::{At, Given, Node, Report};
use super::problem::{Complaint, suggestion};
use super::shape::Shape;
use super::units::{self, below_root};
use super::walk::{By, Choice, Form, Section, Walk};
use super::written::Written;
use crate::http::encoding::Encoding;
use crate::http::fields::is_value;
use regex_lite::Regex;
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
    /// Paths below the root whose name changes with their content; `None`: those with a hash in their name.
    pub(crate) immutable: Option<Pattern>,
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
    /// Whatever the name, it was chosen by an app or upstream: not by a client.
    pub(crate) any_name: bool,
}

/// A regular expression; equal to another that is written in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(pub(crate) Regex);

impl Pattern {
    pub(crate) fn is_match(&self, path: &[u8]) -> bool {
        self.0.is_match(&String::from_utf8_lossy(path))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Form for Pattern {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        Regex::read(node, report).map(Self)
    }

    fn write(&self) -> Written {
        self.0.write()
    }
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
    /// `public, max-age=31536000, immutable` for names that carry a hash (`name.0123456789ab.ext`, or as
    /// [`Files::immutable`] says), `no-cache` otherwise.
    Immutable,
}

/// Files and their location's fallback, which is written with them.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    pub(crate) files: Files,
    pub(crate) fallback: Fallback,
}

static SYMLINKS: [(&str, Symlinks); 3] =
    [("Beneath", Symlinks::Beneath), ("Refuse", Symlinks::Refuse), ("Follow", Symlinks::Follow(Vec::new()))];

impl Default for Files {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            index: vec!["index.html".to_owned()],
            try_files: Vec::new(),
            stand_in: None,
            listing: false,
            cache: Cache::Unset,
            immutable: None,
            precompressed: Vec::new(),
            types: Vec::new(),
            dotfiles: false,
            symlinks: Symlinks::Beneath,
            allow_source: false,
            any_name: false,
        }
    }
}

impl Files {
    /// The defaults for this root.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, ..Self::default() }
    }
}

impl Draft {
    /// As it would be written for these files.
    pub(crate) fn of(files: &Files, fallback: &Fallback) -> Self {
        Self { files: files.clone(), fallback: fallback.clone() }
    }
}

impl Section for Draft {
    const SHORT: Option<&'static str> = Some("root");

    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.files;
        keys.need("root", "\"static\"", &mut of.root);
        keys.key("index", &mut By(&mut of.index, |node, report| node.each(report, index_name)));
        keys.key("cache", &mut of.cache);
        keys.key("immutable", &mut of.immutable);
        keys.key("try_files", &mut By(&mut of.try_files, |node, report| node.each(report, try_name)));
        let mut fallback = fallback::Draft::of(of.stand_in.take(), &self.fallback);
        keys.key("fallback", &mut fallback);
        match fallback {
            Some(fallback::Draft::File(name)) => of.stand_in = Some(name),
            Some(fallback::Draft::Other(other)) => self.fallback = other,
            None => {}
        }
        keys.key("listing", &mut of.listing);
        keys.key("precompressed", &mut By(&mut of.precompressed, precompressed));
        keys.key("types", &mut By(&mut of.types, types));
        keys.key("dotfiles", &mut of.dotfiles);
        symlinks(&mut of.symlinks, keys);
        keys.key("allow_source", &mut of.allow_source);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.files.immutable.is_some() && self.files.cache != Cache::Immutable {
            let what = "`immutable` says which names are; it goes with `cache: \"immutable\"`";
            let complaint = Complaint::new(what, "write cache: \"immutable\" beside it");
            report.add(&given.place_of("immutable"), complaint);
        }
        check_symlinks(&self.files.symlinks, given, report);
    }
}

/// `symlinks`, and to where.
pub(super) fn symlinks(of: &mut Symlinks, keys: &mut dyn Walk) {
    let mut to = match of {
        Symlinks::Follow(to) => Some(std::mem::take(to)),
        Symlinks::Refuse | Symlinks::Beneath => None,
    };
    keys.key("symlinks", &mut Choice(of, &SYMLINKS, &[]));
    keys.key("symlinks_to", &mut to);
    if let (Symlinks::Follow(into), Some(to)) = (of, to) {
        *into = to;
    }
}

/// That directories are given where they are needed, and nowhere else.
pub(super) fn check_symlinks(of: &Symlinks, given: &Given<'_>, report: &mut Report<'_>) {
    let follow = "symlinks: Follow, symlinks_to: [\"/srv/shared\"]";
    match of {
        Symlinks::Follow(to) if to.is_empty() => {
            let what = "`Follow` needs the directories that links may lead to";
            let complaint = Complaint::new(what, format!("for example {follow}"));
            report.add(&given.place_of("symlinks"), complaint);
        }
        Symlinks::Refuse | Symlinks::Beneath if given.is_good("symlinks_to") => {
            let what = "`symlinks_to` goes with `symlinks: Follow`";
            let complaint = Complaint::new(what, format!("write {follow}"));
            report.add(&given.place_of("symlinks_to"), complaint);
        }
        _ => {}
    }
}

fn try_name(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a name such as \"$path.html\"", |text| {
        if text.replace("$path", "").contains('$') {
            let what = format!("`{text}` has a variable that is not known here");
            return Err(Complaint::new(what, "$path stands for what follows the location's prefix"));
        }
        if text.starts_with('=') {
            return Err(Complaint::new(format!("`{text}` is a status"), "write it as `fallback`, a number"));
        }
        below_root(text, "\"$path\", \"$path.html\", \"$path/\"")
    })
}

fn precompressed(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Encoding>> {
    if let Shape::Bool(_) = node.shape() {
        let all = bool::read(node, report)?;
        return Some(if all { Encoding::ALL.to_vec() } else { Vec::new() });
    }
    let mut encodings = Vec::new();
    for At { value, place } in Vec::<At<Encoding>>::read(node, report)? {
        if encodings.contains(&value) {
            report.add(&place, Complaint::new("given twice", "keep one of the two"));
        }
        encodings.push(value);
    }
    Some(encodings)
}

impl Form for Encoding {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let name = String::read(node, report)?;
        let suffix = name.trim_start_matches('.');
        let known = |encoding: &Self| encoding.suffix() == suffix || encoding.name() == suffix;
        let found = Self::ALL.into_iter().find(known);
        found.or_else(|| node.refuse(report, Complaint::unknown("ending", suffix, &["br", "zst", "gz"])))
    }

    fn write(&self) -> Written {
        Written::text(&self.suffix())
    }
}

fn types(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, String)>> {
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
    Some(types)
}

fn index_name(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "a file name", |text| {
        if text.is_empty() || text.contains(['/', '\0']) || text == "." || text == ".." {
            let what = format!("`{text}` is not the name of a file in the directory");
            return Err(Complaint::new(what, "for example \"index.html\""));
        }
        Ok(text.to_owned())
    })
}

impl Form for Cache {
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

    fn write(&self) -> Written {
        let name = match self {
            Self::Unset => "off",
            Self::Revalidate => "no-cache",
            Self::Immutable => "immutable",
            Self::For(time) => return time.write(),
        };
        Written::text(&name)
    }
}
