//! The layer table of the architecture, enforced on `src/`: which folder may name which, what cores may not touch, where
//! `unsafe` and `Instant` may stand. Each offence is named by file and line. Code under `#[cfg(test)]` and files named
//! `tests.rs`, or in a directory `tests`, are free.
//!
//! Every path is judged as it is written, also in what is handed to a macro, and as all that it stands for by the `use`s of
//! its module and the re-exports of others. What a macro of another crate expands to, and a lone name, is not seen; how a
//! lone name came to its module is.
//!
//! CONTRIBUTING.md leads through the same sources, so what it names is looked for here too.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// Folder (or file) below `src/`, its layer, and whether it is a pure core.
const LAYERS: &[(&str, u8, bool)] = &[
    ("buf", 0, true),
    ("slab", 0, true),
    ("secret", 0, true),
    ("timer", 0, true),
    ("sys", 0, false),
    ("http", 1, true),
    ("control", 1, true),
    ("supervisor", 2, true),
    ("cron", 2, true),
    ("renewal", 2, true),
    ("dispatch", 2, true),
    ("h1", 2, true),
    ("h2", 2, true),
    ("proxied", 2, true),
    ("gateway", 2, true),
    ("route", 2, true),
    ("policy", 2, true),
    ("filter", 2, true),
    ("cache", 2, true),
    ("balance", 2, true),
    ("accesslog", 2, true),
    ("metrics", 2, true),
    ("event", 3, false),
    ("config", 3, false),
    ("master", 4, false),
    ("worker", 4, false),
    ("helper", 4, false),
    ("scripts", 4, false),
    ("cli", 5, false),
    ("import", 5, false),
    ("fuzzing", 5, false),
    ("main", 6, false),
    ("lib", 6, false),
];

/// Imports within a layer that are part of the table. `sys` speaks in the types of the pure folders beside it.
const SIDEWAYS: &[(&str, &str)] = &[
    ("gateway", "h1"),
    ("h2", "h1"),
    ("filter", "cache"),
    ("filter", "policy"),
    ("sys", "timer"),
    ("sys", "buf"),
    ("sys", "slab"),
    ("sys", "secret"),
    ("buf", "timer"),
];

/// Crates that a core may not name.
const CRATES: &[&str] =
    &["mio", "nix", "libc", "socket2", "signal_hook", "env_logger", "clap", "log", "rustix"];

/// Parts of the standard library that a core may not name: what does I/O, waits, or reads clock and environment.
const STANDARD: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "process"],
    &["std", "env"],
    &["std", "thread"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "os", "unix", "net"],
    &["std", "os", "unix", "process"],
    &["std", "os", "unix", "fs"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
];

/// What changes a file by a path, whoever can change what the path means: `sys::place` has what works on an open directory
/// instead. Each by its last two names.
const BY_PATH: &[(&str, &[&str])] = &[
    (
        "fs",
        &[
            "set_permissions",
            "remove_file",
            "remove_dir",
            "remove_dir_all",
            "rename",
            "hard_link",
            "copy",
            "write",
            "create_dir",
            "create_dir_all",
            "DirBuilder",
            "chown",
            "lchown",
            "symlink",
        ],
    ),
    ("File", &["create", "create_new"]),
    ("UnixListener", &["bind"]),
    ("UnixDatagram", &["bind"]),
    ("unistd", &["unlink", "chown", "mkdir", "rmdir", "truncate", "mkfifo", "mkstemp"]),
    (
        "libc",
        &["chmod", "chown", "lchown", "unlink", "rename", "mkdir", "rmdir", "truncate", "link", "symlink"],
    ),
];

/// Names of which only `sys` may know: files are opened there.
const OPENED_IN_SYS: &str = "OpenOptions";

/// The files that change what a name in an open directory is.
const PLACES: &str = "sys/place";

/// What they use for it.
const IN_PLACES: &[&str] =
    &["fchmodat", "fchownat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat", "mkdirat"];

/// Crates that stay in one place, and where that is.
const PLACED: &[(&str, &[&str])] = &[
    ("rustls", &["worker/transport/", "config/certificate", "helper/client.rs"]),
    (
        "rustls_pki_types",
        &["worker/transport/", "config/certificate", "helper/client.rs", "master/acme/chain.rs"],
    ),
    ("rustls_native_certs", &["config/certificate"]),
    (
        "ring",
        &[
            "worker/transport/",
            "worker/passwords.rs",
            "config/certificate.rs",
            "master/sticky.rs",
            "gateway/websocket/handshake.rs",
        ],
    ),
    ("rcgen", &["worker/transport/", "master/self_signed.rs", "helper/acme.rs"]),
    (
        "x509_cert",
        &["worker/transport/", "config/certificate", "master/self_signed.rs", "master/acme/store.rs"],
    ),
    ("brotli", &["filter/encoder"]),
    ("flate2", &["filter/encoder"]),
    ("zstd_safe", &["filter/encoder"]),
    ("argon2", &["policy/password.rs"]),
    ("bcrypt", &["policy/password.rs"]),
    ("sha_crypt", &["policy/password.rs"]),
    ("tokio", &["helper/"]),
    ("hickory_resolver", &["helper/"]),
    ("instant_acme", &["helper/"]),
    ("bytes", &["helper/"]),
    ("http_body_util", &["helper/"]),
    ("hyper_rustls", &["helper/"]),
    ("hyper_util", &["helper/"]),
];

/// Macros that write to the standard streams.
const PRINTERS: &[&str] = &["print", "println", "eprint", "eprintln"];

#[test]
fn the_sources_keep_to_the_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 20, "only {} files below {}", files.len(), src.display());
    let sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
            Source::read(name, &fs::read_to_string(file).unwrap())
        })
        .collect();
    let offences: Vec<_> = scan(&sources).iter().map(|offence| format!("src/{offence}")).collect();
    assert!(offences.is_empty(), "{} offences against the layers:\n{}", offences.len(), offences.join("\n"));
}

/// CONTRIBUTING.md says where things are added: the files are there, and so is, in one of those that a step names, each
/// name that stands beside them.
#[test]
fn the_guide_names_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let (before, recipes) = page.split_once("\n## Where do I add").expect("the heading");
    let mut missing: Vec<_> = paths_in(before).into_iter().filter(|path| !root.join(path).exists()).collect();
    let (mut files, mut names) = (0, 0);
    for step in steps(recipes) {
        let mut words = Vec::new();
        for path in paths_in(&step) {
            files += 1;
            match fs::metadata(root.join(&path)) {
                Ok(found) if found.is_file() => {
                    let text = fs::read_to_string(root.join(&path)).unwrap();
                    words.extend(text.split(|c: char| !is_of_a_name(c)).map(str::to_owned));
                }
                Ok(_) => {}
                Err(_) => missing.push(path),
            }
        }
        let named = spans(&step).filter(|span| span.chars().all(is_of_a_name));
        for name in named.filter(|_| !words.is_empty()) {
            names += 1;
            if !words.iter().any(|word| word == name) {
                missing.push(format!("{name} in: {step}"));
            }
        }
    }
    assert!(files > 50 && names > 50, "only {files} files and {names} names found");
    assert!(missing.is_empty(), "CONTRIBUTING.md names what is not there:\n{}", missing.join("\n"));
}

/// What is in backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Paths in backticks, also those in a command.
fn paths_in(text: &str) -> Vec<String> {
    let words = spans(text).flat_map(str::split_whitespace);
    let paths = words.filter(|word| (word.contains('/') && !word.contains("://")) || word.ends_with(".md"));
    paths.map(|path| path.trim_start_matches("./").to_owned()).collect()
}

/// The items and paragraphs of a page.
fn steps(text: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    for line in text.lines() {
        if line.is_empty() || line.starts_with(|first: char| first.is_ascii_digit()) {
            steps.push(String::new());
        }
        if let Some(step) = steps.last_mut() {
            *step += line;
            step.push('\n');
        }
    }
    steps
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

struct Offence {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// All offences in some files.
fn scan(sources: &[Source]) -> Vec<Offence> {
    let uses = Uses::of(sources);
    sources.iter().flat_map(|source| offences(source, &uses)).collect()
}

fn offences(source: &Source, uses: &Uses<'_>) -> Vec<Offence> {
    let name = source.name.as_str();
    let mut offences = Vec::new();
    let mut report = |line, what: String| offences.push(Offence { file: name.into(), line, what });
    let top = source.module.first().map_or(if name == "main.rs" { "main" } else { "lib" }, String::as_str);
    let Some(&(_, layer, pure)) = LAYERS.iter().find(|(folder, ..)| *folder == top) else {
        report(1, format!("`{top}` is not in the layer table"));
        return offences;
    };
    for Named { line, module, parts, .. } in &source.names {
        let wrong = uses.meanings(module, parts).into_iter().find_map(|meaning| {
            let parts: Vec<&str> = meaning.iter().map(String::as_str).collect();
            judge(top, layer, pure, &parts)
                .or_else(|| by_path(name, top, &parts))
                .or_else(|| misplaced(name, &parts))
        });
        if let Some(what) = wrong {
            report(*line, what);
        }
    }
    for (index, (line, text)) in source.tokens.iter().enumerate() {
        let next = source.tokens.get(index + 1).map_or("", |(_, next)| next);
        match text.as_str() {
            "unsafe" if top != "sys" => report(*line, "`unsafe` outside src/sys".into()),
            "Instant" => report(*line, "`Instant`: time comes from sys::clock as timer::Time".into()),
            "SystemTime" => {
                report(*line, "`SystemTime`: wall time comes from sys::clock as timer::Wall".into());
            }
            printer if pure && next == "!" && PRINTERS.contains(&printer) => {
                report(*line, format!("`{printer}!` in a core"));
            }
            _ => {}
        }
    }
    // `a::{self, b}` names `a` twice.
    offences.dedup_by(|next, kept| next.line == kept.line && next.what == kept.what);
    offences
}

/// What is wrong with `top` naming this absolute path, if anything.
fn judge(top: &str, layer: u8, pure: bool, path: &[&str]) -> Option<String> {
    match path {
        ["crate" | "hatchery", rest @ ..] => {
            let Some(target) = rest.first().filter(|target| **target != "*") else {
                return Some("the crate's root is named as a whole: name the folder".into());
            };
            let &(_, below, _) = LAYERS.iter().find(|(folder, ..)| folder == target)?;
            let is_sys_from_below = *target == "sys" && layer < 3;
            let allowed =
                *target == top || (below < layer && !is_sys_from_below) || SIDEWAYS.contains(&(top, *target));
            (!allowed).then(|| format!("`{top}` (layer {layer}) names `{target}` (layer {below})"))
        }
        ["mio", ..] if top != "event" => Some("`mio` outside src/event".into()),
        [krate, ..] if pure && CRATES.contains(krate) => Some(format!("`{krate}` in a core")),
        path if pure && STANDARD.iter().any(|banned| path.starts_with(banned)) => {
            Some(format!("`{}` in a core", path.join("::")))
        }
        ["std", .., "*"] if pure => Some(format!("`{}` in a core", path.join("::"))),
        _ => None,
    }
}

/// What is wrong with naming this path in file `name`, as far as it changes files by their names.
fn by_path(name: &str, top: &str, path: &[&str]) -> Option<String> {
    let last = path.last()?;
    if let [.., container, function] = path
        && BY_PATH.iter().any(|(known, functions)| known == container && functions.contains(function))
    {
        return Some(format!("`{container}::{function}` by a path that others may change: use sys::place"));
    }
    // `fd.rs` unlinks, in an open directory, what it has just made.
    let may = name.starts_with(PLACES) || name == "sys/fd.rs" && *last == "unlinkat";
    if IN_PLACES.contains(last) && !may {
        return Some(format!("`{last}` outside src/{PLACES}"));
    }
    (*last == OPENED_IN_SYS && top != "sys")
        .then(|| format!("`{OPENED_IN_SYS}` outside src/sys: use sys::place"))
}

/// What is wrong with naming this path in file `name`, as far as it is of a crate with a place.
fn misplaced(name: &str, path: &[&str]) -> Option<String> {
    let (krate, places) = PLACED.iter().find(|(krate, _)| path.first() == Some(krate))?;
    // A test may play the other side.
    let may = name.contains("/tests/") || places.iter().any(|place| name.starts_with(place));
    (!may).then(|| format!("`{krate}` outside src/{}", places.join(", src/")))
}

/// The module that a file makes: `h1/conn.rs` and `h1/conn/mod.rs` make `h1::conn`; `lib.rs` and `main.rs` the root.
fn module_of(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || matches!(name, "lib.rs" | "main.rs") {
        parts.pop();
    }
    parts
}

/// A path that a file names, or has in a `use`.
struct Named {
    line: usize,
    /// Where it stands.
    module: Vec<String>,
    /// Spelled out, from `crate` or another crate on; or from what the module binds.
    parts: Vec<String>,
    /// The name that a `use` gives it there.
    bound: Option<String>,
}

/// A file of `src/`, without its tests.
struct Source {
    /// Relative to `src/`.
    name: String,
    module: Vec<String>,
    names: Vec<Named>,
    /// All of it, without literals and comments, and the lines.
    tokens: Vec<(usize, String)>,
}

impl Source {
    fn read(name: &str, text: &str) -> Self {
        let module = module_of(name);
        let text = if name.ends_with("tests.rs") || name.contains("/tests/") { "" } else { text };
        let code = without_tests(text.parse().unwrap_or_else(|error| panic!("src/{name}: {error}")));
        let file = syn::parse2(code.clone()).unwrap_or_else(|error| panic!("src/{name}: {error}"));
        let mut walk = Walk { module: module.clone(), names: Vec::new() };
        walk.visit_file(&file);
        Self { name: name.to_owned(), module, names: walk.names, tokens: flat(code) }
    }
}

/// Drops every item under `#[cfg(test)]`.
fn without_tests(code: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut rest = code.into_iter().peekable();
    while let Some(token) = rest.next() {
        let next = rest.peek().map_or(String::new(), ToString::to_string);
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' && next == "[cfg (test)]" => {
                let is_last = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    token => token.to_string() == ";",
                };
                rest.find(is_last);
                // What is said of it before, and what follows the braces of `use a::{b}`.
                while let [.., TokenTree::Punct(mark), TokenTree::Group(_)] = kept.as_slice()
                    && mark.as_char() == '#'
                {
                    kept.truncate(kept.len() - 2);
                }
                rest.next_if(|token| token.to_string() == ";");
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), without_tests(group.stream()));
                inner.set_span(group.span());
                kept.push(inner.into());
            }
            token => kept.push(token),
        }
    }
    kept.into_iter().collect()
}

/// Identifiers, `::`, and every other mark as one character.
fn flat(code: TokenStream) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut joint = false;
    for token in code {
        let line = token.span().start().line;
        let colons = joint && matches!(&token, TokenTree::Punct(mark) if mark.as_char() == ':');
        joint = false;
        match token {
            TokenTree::Group(group) => {
                out.push((line, "(".to_owned()));
                out.extend(flat(group.stream()));
                out.push((line, ")".to_owned()));
            }
            TokenTree::Ident(name) => out.push((line, plain(&name))),
            TokenTree::Punct(_) if colons => out.last_mut().unwrap().1.push(':'),
            TokenTree::Punct(mark) => {
                joint = mark.as_char() == ':' && mark.spacing() == Spacing::Joint;
                out.push((line, mark.to_string()));
            }
            TokenTree::Literal(_) => out.push((line, String::new())),
        }
    }
    out
}

fn plain(name: &proc_macro2::Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

/// Collects what a file names.
struct Walk {
    module: Vec<String>,
    names: Vec<Named>,
}

impl Walk {
    fn name(&mut self, line: usize, parts: &[String], bound: Option<String>) {
        let parts = absolute(parts, &self.module);
        self.names.push(Named { line, module: self.module.clone(), parts, bound });
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &proc_macro2::Ident| match (plain(name), before) {
            // `use a::b::{self}` is `a::b`.
            (name, [_, ..]) if name == "self" => before.to_vec(),
            (name, _) => [before, &[name]].concat(),
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => {
                let parts = with(&name.ident);
                self.name(name.ident.span().start().line, &parts, parts.last().cloned());
            }
            syn::UseTree::Rename(name) => {
                let (line, bound) = (name.ident.span().start().line, plain(&name.rename));
                self.name(line, &with(&name.ident), Some(bound));
            }
            syn::UseTree::Glob(glob) => {
                let parts = [before, &["*".to_owned()]].concat();
                self.name(glob.star_token.spans[0].start().line, &parts, Some("*".to_owned()));
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before)),
        }
    }

    /// What is handed to a macro or an attribute: no syntax yet.
    fn tokens(&mut self, code: TokenStream) {
        let tokens = flat(code);
        let mut at = 0;
        while at < tokens.len() {
            let is_name = |at: usize| {
                let text = tokens.get(at).map_or("", |(_, text)| text);
                text.starts_with(|first: char| first.is_alphabetic() || first == '_')
            };
            let mut end = at + 1;
            while is_name(end - 1)
                && tokens.get(end).is_some_and(|(_, text)| text == "::")
                && is_name(end + 1)
            {
                end += 2;
            }
            if end - at > 1 {
                let parts: Vec<String> =
                    tokens[at..end].iter().step_by(2).map(|(_, text)| text.clone()).collect();
                self.name(tokens[at].0, &parts, None);
            }
            at = end;
        }
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(plain(&item.ident));
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
        visit::visit_item_use(self, item);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let bound = item.rename.as_ref().map_or(&item.ident, |(_, name)| name);
        self.name(item.ident.span().start().line, &[plain(&item.ident)], Some(plain(bound)));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
        if parts.len() > 1 {
            self.name(path.segments[0].ident.span().start().line, &parts, None);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.tokens(list.tokens.clone());
        visit::visit_meta_list(self, list);
    }
}

/// Resolves `self` and `super` at the front.
fn absolute(parts: &[String], module: &[String]) -> Vec<String> {
    let supers = parts.iter().skip_while(|part| *part == "self").take_while(|part| *part == "super").count();
    let selves = parts.iter().take_while(|part| *part == "self").count();
    if supers + selves == 0 {
        return parts.to_vec();
    }
    let left = module.len().saturating_sub(supers);
    [&["crate".to_owned()], &module[..left], &parts[supers + selves..]].concat()
}

/// What each module binds by `use`.
#[derive(Default)]
struct Uses<'a>(BTreeMap<&'a [String], Vec<(&'a str, &'a [String])>>);

impl<'a> Uses<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let mut uses = Self::default();
        for named in sources.iter().flat_map(|source| &source.names) {
            if let Some(bound) = &named.bound {
                uses.0.entry(&named.module).or_default().push((bound, &named.parts));
            }
        }
        uses
    }

    /// A path that stands in a module, and everything that it stands for.
    fn meanings(&self, module: &[String], parts: &[String]) -> Vec<Vec<String>> {
        let mut found = vec![parts.to_vec()];
        // It may begin with a name that the module binds, or with a module in it.
        if !matches!(parts[0].as_str(), "crate" | "hatchery") {
            found.push([&["crate".to_owned()], module, parts].concat());
        }
        let mut at = 0;
        while at < found.len() {
            for next in self.steps(&found[at]) {
                // A name that everything of another module may have grows without end.
                if !found.contains(&next) && next.len() <= parts.len() + 8 {
                    found.push(next);
                }
            }
            at += 1;
        }
        found
    }

    /// What a path from `crate` on stands for if one of the names in it comes from a `use`.
    fn steps(&self, path: &[String]) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        if !matches!(path[0].as_str(), "crate" | "hatchery") {
            return found;
        }
        for at in 1..path.len() {
            let (name, rest) = (path[at].as_str(), &path[at + 1..]);
            for (bound, stands_for) in self.0.get(&path[1..at]).into_iter().flatten() {
                match stands_for.split_last() {
                    // Everything in another module.
                    Some((_, other)) if *bound == "*" => found.push([other, &path[at..]].concat()),
                    _ if *bound == name || name == "*" => found.push([stands_for, rest].concat()),
                    _ => {}
                }
            }
        }
        found
    }
}

mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        found_in(&[(name, text)])
    }

    fn found_in(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(name, text)| Source::read(name, text)).collect();
        scan(&sources).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn clean(name: &str, text: &str) {
        assert_eq!(found(name, text), [""; 0], "{text}");
    }

    #[track_caller]
    fn offends(name: &str, text: &str, line: usize, about: &str) {
        let offences = found(name, text);
        assert_eq!(offences.len(), 1, "{text}: {offences:?}");
        assert!(
            offences[0].starts_with(&format!("{name}:{line}: ")) && offences[0].contains(about),
            "{offences:?}"
        );
    }

    #[test]
    fn arrows_go_down_only() {
        clean("h1/conn.rs", "use crate::http::RequestHead;\nuse crate::timer::Time;");
        clean("gateway/http1.rs", "use crate::h1::parse;");
        clean("worker/mod.rs", "use crate::event::Poll; use crate::{h1, sys::clock, config::Config};");
        clean(
            "config/boot.rs",
            "use crate::sys::shm::Shared; use log::LevelFilter; use std::os::fd::OwnedFd;",
        );
        clean("sys/clock.rs", "use crate::timer::{Time, Wall};");
        clean("main.rs", "use hatchery::{master, worker};");
        offends("h1/conn.rs", "\nuse crate::gateway::Event;", 2, "`gateway`");
        offends("http/mod.rs", "use crate::control::frame;", 1, "`control`");
        offends("route/mod.rs", "use crate::config::Config;", 1, "`config`");
        clean("buf/file.rs", "use crate::timer::Time;");
        offends("timer/mod.rs", "use crate::buf::Queue;", 1, "`buf`");
        offends("cron/mod.rs", "use crate::sys::clock;", 1, "`sys`");
        offends("sys/fd.rs", "use crate::http::Method;", 1, "`http`");
        offends("event/mod.rs", "use crate::config::Config;", 1, "`config`");
        offends("master/mod.rs", "fn f() {\n    crate::worker::run();\n}", 2, "`worker`");
        offends("worker/mod.rs", "use hatchery::master;", 1, "`master`");
        offends("config/mod.rs", "use crate::cli::Flags;", 1, "`cli`");
        offends("newcomer/mod.rs", "", 1, "not in the layer table");
    }

    #[test]
    fn ways_around_are_seen() {
        offends("h1/conn.rs", "use super::super::gateway::Event;", 1, "`gateway`");
        offends("h1/conn/read.rs", "fn f() { super::super::super::gateway::go() }", 1, "`gateway`");
        offends("h1/mod.rs", "use super::gateway;", 1, "`gateway`");
        offends("h1/mod.rs", "use self::super::gateway;", 1, "`gateway`");
        offends(
            "h1/mod.rs",
            "mod inner {\n  mod most { use super::super::super::gateway; }\n}",
            2,
            "`gateway`",
        );
        offends("h1/mod.rs", "mod a { fn f() { if x { y() } } }\nuse super::gateway;", 2, "`gateway`");
        offends("h1/mod.rs", "use crate::{http::Method,\n gateway::{self, Event as E}};", 2, "`gateway`");
        offends("h1/mod.rs", "use crate::*;", 1, "root");
        offends("h1/mod.rs", "use super::*;", 1, "root");
        offends("h1/mod.rs", "use crate as all;", 1, "root");
        offends("h1/mod.rs", "type T = Vec<crate::gateway::Event>;", 1, "`gateway`");
        offends("h1/mod.rs", "pub use crate::r#gateway::Event;", 1, "`gateway`");
        offends("h1/mod.rs", "use crate /* quiet */ ::\n // really\n gateway;", 3, "`gateway`");
        clean("h1/conn.rs", "use super::parse; use super::super::http::Method; use self::tests::x;");
        clean("h1/conn/read.rs", "mod inner { use super::super::super::http; }");
    }

    #[test]
    fn other_names_are_seen_through() {
        offends("h1/mod.rs", "use std as s;\nfn f() { s::fs::read(p) }", 2, "std::fs");
        offends("h1/mod.rs", "fn f() { use std as s;\ns::fs::read(p) }", 2, "std::fs");
        offends("h1/mod.rs", "mod a { pub use std as s; }\nfn f() { a::s::env::args() }", 2, "std::env");
        offends(
            "h1/mod.rs",
            "mod a { pub use std as s; }\nuse self::a::*; fn f() { s::env::args() }",
            2,
            "std::env",
        );
        offends("master/mod.rs", "use std::fs as files;\nfn f() { files::rename(a, b) }", 2, "fs::rename");
        offends("master/mod.rs", "use std::fs::File as F;\nfn f() { F::create(p) }", 2, "File::create");
        offends("worker/mod.rs", "fn f() { assert!(g(&[crate::master::run()])) }", 1, "`master`");
        offends("worker/mod.rs", "macro_rules! m { () => { $crate::master::run() } }", 1, "`master`");
        offends("worker/mod.rs", "#[derive(x(crate::master::Y))] struct S;", 1, "`master`");
        offends("dispatch/mod.rs", "fn f() { g!(x, { println!(\"\") }) }", 1, "println");
        offends("worker/mod.rs", "fn f() { g!(unsafe { h() }) }", 1, "unsafe");
        let handed_on = [
            ("event/mod.rs", "pub use mio::Token;"),
            ("sys/fd.rs", "pub(crate) use std::fs as files;"),
            ("worker/mod.rs", "use crate::event::Token; fn f() {}\nuse crate::event::*;"),
            ("worker/spool.rs", "use crate::sys::fd;\nfn f() { fd::files::remove_file(p) }"),
        ];
        let offences = found_in(&handed_on);
        assert_eq!(offences.len(), 3, "{offences:?}");
        assert!(offences[0].starts_with("worker/mod.rs:1: `mio`"), "{offences:?}");
        assert!(offences[1].starts_with("worker/mod.rs:2: `mio`"), "{offences:?}");
        assert!(offences[2].starts_with("worker/spool.rs:2: `fs::remove_file`"), "{offences:?}");
        // A circle ends.
        clean(
            "h1/mod.rs",
            "mod a { pub use super::b::*; } mod b { pub use super::a::*; } use self::a::x::y;",
        );
    }

    #[test]
    fn cores_touch_no_system() {
        for (text, about) in [
            ("use mio::Token;", "mio"),
            ("use nix::unistd::Pid;", "nix"),
            ("fn f() { libc::getpid(); }", "libc"),
            ("use std::{cell::Cell, net::{IpAddr, TcpStream}};", "TcpStream"),
            ("use std::fs;", "fs"),
            ("fn f() { std::fs::read(p); }", "fs"),
            ("use std::process::Command;", "process"),
            ("use std::os::unix::net::UnixStream;", "unix::net"),
            ("use std::net::*;", "std::net::*"),
            ("use std::net; fn f() { net::TcpStream::connect(a) }", "TcpStream"),
            ("use std::thread;", "thread"),
            ("fn f() { log::info!(\"x\"); }", "log"),
            ("use log::info;", "log"),
            ("extern crate libc;", "libc"),
            ("fn f() { println!(\"x\"); }", "println"),
        ] {
            offends("dispatch/board.rs", text, 1, about);
            if !text.contains("mio") {
                clean("worker/mod.rs", text);
            }
        }
        offends("worker/mod.rs", "use mio::Token;", 1, "mio");
        clean("event/mod.rs", "use mio::Token;");
        clean(
            "control/mod.rs",
            "use std::net::{IpAddr, SocketAddr}; use std::os::fd::OwnedFd; use std::io::Write;",
        );
        clean("cron/mod.rs", "fn f(log: &mut Vec<u8>) { log.push(1); self.nix(); }");
    }

    #[test]
    fn files_are_changed_in_open_directories_only() {
        for text in [
            "fn f() { std::fs::set_permissions(p, m); }",
            "use std::fs::remove_file;",
            "fn f() { fs::rename(a, b); }",
            "use std::os::unix::fs::{MetadataExt, chown};",
            "use std::fs::{DirBuilder, File};",
            "fn f() { File::create(p); }",
            "fn f() { UnixListener::bind(p); }",
            "fn f() { nix::unistd::unlink(p); }",
            "fn f() { unsafe_is_elsewhere(libc::chmod); }",
            "use nix::unistd::unlinkat;",
            "use std::fs::OpenOptions;",
        ] {
            offends("master/mod.rs", text, 1, "");
        }
        clean("master/mod.rs", "fn f() { place.remove(file); Place::of(path); file.set_len(0); }");
        clean("master/mod.rs", "use std::fs::{self, File}; fn f() { fs::read_dir(p); File::open(p); }");
        clean("sys/place/aside.rs", "use nix::unistd::unlinkat; use nix::sys::stat::fchmodat;");
        offends("sys/place/aside.rs", "fn f() { std::fs::remove_file(p); }", 1, "remove_file");
        offends("sys/listener.rs", "use nix::sys::stat::fchmodat;", 1, "fchmodat");
        clean("sys/sink.rs", "use std::fs::OpenOptions;");
    }

    #[test]
    fn every_row_of_the_tables_counts() {
        for krate in CRATES {
            offends("route/mod.rs", &format!("fn f() {{ {krate}::x() }}"), 1, krate);
        }
        for banned in STANDARD {
            offends("route/mod.rs", &format!("use {};", banned.join("::")), 1, banned[banned.len() - 1]);
        }
        for (container, function) in BY_PATH.iter().flat_map(|(of, all)| all.iter().map(move |one| (of, one)))
        {
            let path = format!("{container}::{function}");
            offends("sys/fd.rs", &format!("fn f() {{ {path}(p) }}"), 1, &path);
        }
        for function in IN_PLACES {
            offends("sys/sink.rs", &format!("use nix::x::{function};"), 1, function);
        }
        for printer in PRINTERS {
            offends("route/mod.rs", &format!("fn f() {{ {printer}!() }}"), 1, printer);
        }
        for &(folder, layer, pure) in
            LAYERS.iter().filter(|(folder, layer, _)| *layer < 6 && *folder != "sys")
        {
            let file = format!("{folder}/mod.rs");
            for &(other, above, _) in LAYERS.iter().filter(|(_, above, _)| *above < 6) {
                let allowed = other == folder
                    || (above < layer && !(pure && other == "sys"))
                    || SIDEWAYS.contains(&(folder, other));
                let text = format!("use crate::{other}::X;");
                if allowed { clean(&file, &text) } else { offends(&file, &text, 1, other) }
            }
        }
    }

    #[test]
    fn time_and_unsafe_have_their_place() {
        offends("worker/mod.rs", "use std::time::{Duration,\nInstant};", 2, "Instant");
        offends("sys/clock.rs", "fn f() -> std::time::Instant { g() }", 1, "Instant");
        offends("cli/run.rs", "fn f() { let x = std::time::SystemTime::now(); }", 1, "SystemTime");
        offends("worker/mod.rs", "fn f() {\n  unsafe { g() }\n}", 2, "unsafe");
        clean("sys/shm.rs", "fn f() { unsafe { g() } }");
        clean("worker/mod.rs", "#![deny(unsafe_code)] use std::time::Duration;");
    }

    #[test]
    fn comments_literals_and_tests_are_not_code() {
        clean("h1/mod.rs", "//! Instant\n// use crate::gateway;\n/* use /* crate::gateway */ std::fs */");
        clean("h1/mod.rs", "const A: &str = \"use crate::gateway; \\\" unsafe\"; const B: char = '\"';");
        clean("h1/mod.rs", "const A: &[u8] = br#\"crate::gateway \" unsafe\"#; const C: u8 = b'\\'';");
        clean(
            "h1/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs; use crate::gateway; fn f() { unsafe {} } }",
        );
        clean("h1/tests.rs", "use std::fs;");
        clean(
            "h1/mod.rs",
            "#[cfg(test)] use std::fs;\n#[cfg(test)]\npub(crate) fn f(a: [u8; 2]) { std::fs::x() }",
        );
        // And what follows them is code again.
        offends("h1/mod.rs", "fn f<'a>(x: &'a str) { let c = 'x'; }\nuse std::fs;", 2, "fs");
        offends("h1/mod.rs", "const B: char = '\"'; use std::fs; const D: char = '\"';", 1, "fs");
        offends("h1/mod.rs", "const A: &str = r\"\\\"; use std::fs; const D: &str = \"\";", 1, "fs");
        offends("h1/mod.rs", "/* \n\n */ use std::fs;", 3, "fs");
        offends("h1/mod.rs", "const A: &str = \"two\nlines\"; use std::fs;", 2, "fs");
        offends("h1/mod.rs", "#[cfg(test)]\nmod tests { fn f() { if a { b() } } }\nuse std::fs;", 3, "fs");
        offends("h1/mod.rs", "#[cfg(test)]\nmod tests;\nuse std::fs;", 3, "fs");
    }

    #[test]
    fn files_make_modules() {
        for (name, module) in [
            ("h1/conn.rs", "h1::conn"),
            ("h1/conn/mod.rs", "h1::conn"),
            ("h1/mod.rs", "h1"),
            ("h1.rs", "h1"),
            ("lib.rs", ""),
            ("main.rs", ""),
        ] {
            assert_eq!(module_of(name).join("::"), module, "{name}");
        }
    }
}
