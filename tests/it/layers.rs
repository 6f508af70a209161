//! The layer table of the architecture, enforced on `src/`: which folder may name which, what cores may not touch, where
//! `unsafe` and `Instant` may stand. Each offence is named by file and line. Code under `#[cfg(test)]` and files named
//! `tests.rs` are free.
//!
//! This reads tokens, not Rust's meaning: comments and literals are dropped, `use` trees and paths are spelled out,
//! `self` and `super` are resolved against the module that the file makes. What a macro of another crate expands to, and
//! what is passed on by a re-export, is not seen.
//!
//! CONTRIBUTING.md leads through the same sources, so what it names is looked for here too.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Folder (or file) below `src/`, its layer, and whether it is a pure core.
const LAYERS: &[(&str, u8, bool)] = &[
    ("buf", 0, true),
    ("slab", 0, true),
    ("timer", 0, true),
    ("sys", 0, false),
    ("http", 1, true),
    ("control", 1, true),
    ("supervisor", 2, true),
    ("cron", 2, true),
    ("dispatch", 2, true),
    ("h1", 2, true),
    ("h2conn", 2, true),
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
    ("cli", 5, false),
    ("import", 5, false),
    ("fuzzing", 5, false),
    ("main", 6, false),
    ("lib", 6, false),
];

/// Imports within a layer that are part of the table. `sys` speaks in the types of the pure folders beside it.
const SIDEWAYS: &[(&str, &str)] = &[
    ("gateway", "h1"),
    ("filter", "cache"),
    ("sys", "timer"),
    ("sys", "buf"),
    ("sys", "slab"),
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
    ("unistd", &["unlink", "chown", "mkdir", "rmdir", "truncate", "mkfifo", "mkstemp", "symlinkat"]),
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
    &["fchmodat", "fchownat", "unlinkat", "renameat", "renameat2", "linkat", "mkdirat"];

/// Macros that write to the standard streams.
const PRINTERS: &[&str] = &["print", "println", "eprint", "eprintln"];

#[test]
fn the_sources_keep_to_the_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(files.len() > 20, "only {} files below {}", files.len(), src.display());
    let offences: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&src).unwrap().to_str().unwrap();
            scan(name, &fs::read_to_string(file).unwrap())
        })
        .map(|offence| format!("src/{offence}"))
        .collect();
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

/// All offences in a file, whose name is relative to `src/`.
fn scan(name: &str, text: &str) -> Vec<Offence> {
    let module = module_of(name);
    let top =
        module.first().map_or(if name == "main.rs" { "main" } else { "lib" }, String::as_str).to_owned();
    let mut offences = Vec::new();
    let mut report = |line, what: String| offences.push(Offence { file: name.into(), line, what });
    let Some(&(_, layer, pure)) = LAYERS.iter().find(|(folder, ..)| *folder == top) else {
        report(1, format!("`{top}` is not in the layer table"));
        return offences;
    };
    if name.ends_with("tests.rs") {
        return offences;
    }
    let tokens = without_tests(tokens(text));
    for path in paths(&tokens, &module) {
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        if let Some(what) = judge(&top, layer, pure, &parts).or_else(|| by_path(name, &top, &parts)) {
            report(path.line, what);
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1).map_or("", |next| next.text.as_str());
        match token.text.as_str() {
            "unsafe" if top != "sys" => report(token.line, "`unsafe` outside src/sys".into()),
            "Instant" => report(token.line, "`Instant`: time comes from sys::clock as timer::Time".into()),
            "SystemTime" => {
                report(token.line, "`SystemTime`: wall time comes from sys::clock as timer::Wall".into())
            }
            printer if pure && next == "!" && PRINTERS.contains(&printer) => {
                report(token.line, format!("`{printer}!` in a core"));
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
        // As `net::TcpStream` after `use std::net`.
        path if pure && STANDARD.iter().any(|banned| path.starts_with(banned) || is_tail(path, banned)) => {
            Some(format!("`{}` in a core", path.join("::")))
        }
        ["std", "net" | "io" | "os", "*"] if pure => Some(format!("`{}` in a core", path.join("::"))),
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

fn is_tail(path: &[&str], banned: &[&str]) -> bool {
    banned.len() > 2 && path.starts_with(&banned[1..])
}

/// The module that a file makes: `h1/conn.rs` and `h1/conn/mod.rs` make `h1::conn`; `lib.rs` and `main.rs` the root.
fn module_of(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || matches!(name, "lib.rs" | "main.rs") {
        parts.pop();
    }
    parts
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    line: usize,
    text: String,
}

/// Identifiers, `::`, and every other mark as one character; no comments, no literals.
fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment(rest),
            _ if first.is_alphabetic() || first == '_' => match literal(rest) {
                Some(length) => length,
                None => {
                    let word = rest.strip_prefix("r#").unwrap_or(rest);
                    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
                    out.push(Token { line, text: word[..end].to_owned() });
                    rest.len() - word.len() + end
                }
            },
            '"' => string(rest, 0),
            '\'' => character(rest),
            _ if first.is_numeric() => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            _ if rest.starts_with("::") => {
                out.push(Token { line, text: "::".into() });
                2
            }
            _ => {
                if !first.is_whitespace() {
                    out.push(Token { line, text: first.into() });
                }
                first.len_utf8()
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    out
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// Length of a literal with a prefix (`b"…"`, `r#"…"#`, `br"…"`, `c"…"`, `b'…'`), if one begins here.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r"].into_iter().find(|prefix| {
        let rest = text[prefix.len().min(text.len())..].trim_start_matches('#');
        let hashes = text.len() - prefix.len().min(text.len()) - rest.len();
        text.starts_with(prefix)
            && (rest.starts_with('"') && (hashes == 0 || prefix.ends_with('r'))
                || *prefix == "b" && rest.starts_with('\''))
    })?;
    let rest = &text[prefix.len()..];
    if rest.starts_with('\'') {
        return Some(prefix.len() + character(rest));
    }
    if !prefix.ends_with('r') {
        return Some(prefix.len() + string(rest, 0));
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &rest[hashes + 1..];
    Some(prefix.len() + hashes + 1 + body.find(&end).map_or(body.len(), |found| found + end.len()))
}

/// Length of a string literal that begins with its quote at `start`.
fn string(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (index, character) in text[start..].char_indices().skip(1) {
        match character {
            '"' if !escaped => return start + index + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Length of a character literal, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), _) => {
            let mut escaped = false;
            for (index, character) in text.char_indices().skip(1) {
                match character {
                    '\'' if !escaped => return index + 1,
                    '\\' => escaped = !escaped,
                    _ => escaped = false,
                }
            }
            text.len()
        }
        (Some(_), Some((index, '\''))) => index + 1,
        _ => 1,
    }
}

/// Drops every item under `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let here = &tokens[at..];
        if here.len() < attribute.len() || here.iter().zip(attribute).any(|(token, text)| token.text != text)
        {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += attribute.len();
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 1 => break,
                "}" | ")" | "]" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
    out
}

#[derive(Debug, PartialEq)]
struct Named {
    line: usize,
    parts: Vec<String>,
}

/// Every path with more than one part, and every part of a `use` tree, from `crate` or an external crate on.
fn paths(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut scope = Scope { module: module.to_vec(), opened: Vec::new(), depth: 0 };
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        let next = |offset: usize| tokens.get(at + offset).map_or("", |token| token.text.as_str());
        match text {
            "mod" if next(2) == "{" => {
                scope.enter(next(1));
                at += 3;
            }
            "{" | "}" => {
                scope.brace(text);
                at += 1;
            }
            "use" | "extern" if text == "use" || next(1) == "crate" => {
                at += if text == "use" { 1 } else { 2 };
                at = tree(tokens, at, &[], &scope.module, &mut found);
            }
            // In `pub(in crate::x)` and everywhere else; a lone name is no path.
            _ if is_name(text) && next(1) == "::" => at = path(tokens, at, &scope.module, &mut found),
            _ => at += 1,
        }
    }
    found
}

/// Where in the modules of a file one is.
struct Scope {
    module: Vec<String>,
    /// Depth of the brace that opened each inline module.
    opened: Vec<usize>,
    depth: usize,
}

impl Scope {
    fn enter(&mut self, name: &str) {
        self.module.push(name.to_owned());
        self.depth += 1;
        self.opened.push(self.depth);
    }

    fn brace(&mut self, brace: &str) {
        if brace == "{" {
            self.depth += 1;
            return;
        }
        if self.opened.last() == Some(&self.depth) {
            self.opened.pop();
            self.module.pop();
        }
        self.depth = self.depth.saturating_sub(1);
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads `a::b::c` in an expression or a type; a turbofish ends it.
fn path(tokens: &[Token], mut at: usize, module: &[String], found: &mut Vec<Named>) -> usize {
    let line = tokens[at].line;
    let mut parts = Vec::new();
    while let Some(token) = tokens.get(at).filter(|token| is_name(&token.text)) {
        parts.push(token.text.clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token.text != "::") {
            break;
        }
        at += 1;
    }
    found.push(Named { line, parts: absolute(&parts, module) });
    at
}

/// Reads a `use` tree below `prefix`; returns where it ends.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Named>,
) -> usize {
    let mut parts = prefix.to_vec();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &parts, module, found);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            // `use a::b::{self}` is `a::b`.
            "self" if !parts.is_empty() => at += 1,
            text if text == "*" || is_name(text) => {
                line = token.line;
                parts.push(text.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    found.push(Named { line, parts: absolute(&parts, module) });
    at
}

/// Resolves `self` and `super` at the front.
fn absolute(parts: &[String], module: &[String]) -> Vec<String> {
    let supers = parts.iter().skip_while(|part| *part == "self").take_while(|part| *part == "super").count();
    let selves = parts.iter().take_while(|part| *part == "self").count();
    if supers + selves == 0 {
        return parts.to_vec();
    }
    let left = module.len().saturating_sub(supers);
    let mut out = vec!["crate".to_owned()];
    out.extend_from_slice(&module[..left]);
    out.extend_from_slice(&parts[supers + selves..]);
    out
}

mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        scan(name, text).iter().map(ToString::to_string).collect()
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
            ("fn f() { net::TcpStream::connect(a) }", "TcpStream"),
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
    fn time_and_unsafe_have_their_place() {
        offends("worker/mod.rs", "use std::time::{Duration,\nInstant};", 2, "Instant");
        offends("sys/clock.rs", "fn f() -> std::time::Instant;", 1, "Instant");
        offends("cli/run.rs", "let x = std::time::SystemTime::now();", 1, "SystemTime");
        offends("worker/mod.rs", "fn f() {\n  unsafe { g() }\n}", 2, "unsafe");
        clean("sys/shm.rs", "fn f() { unsafe { g() } }");
        clean("worker/mod.rs", "#![deny(unsafe_code)] use std::time::Duration;");
    }

    #[test]
    fn comments_literals_and_tests_are_not_code() {
        clean("h1/mod.rs", "// use crate::gateway;\n/* use /* crate::gateway */ std::fs */ //! Instant");
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
        offends("h1/mod.rs", "\"two\nlines\"; use std::fs;", 2, "fs");
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
