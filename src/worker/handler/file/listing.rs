//! What a directory holds, as a page or as JSON. Off unless the location says `listing: true`.

use super::names::{encode_segment, hidden};
use super::root::open_file;
use super::{Answer, Request, failed};
use crate::buf::Segment;
use crate::config::{Files, Symlinks};
use crate::http::date;
use crate::http::{BodyLength, Method, ResponseHead};
use crate::sys::file::{Kind, Metadata, list, metadata, metadata_of_entry};
use crate::timer::Wall;
use std::fmt::Write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Names in a listing; a directory with more is cut off, and the listing says so.
const MOST_NAMES: usize = 5000;

/// Names that are put into order; of a directory with more they are the first that the file system tells.
const MOST_SORTED: usize = 200_000;

/// A name in a directory.
#[derive(Debug)]
struct Item {
    name: Vec<u8>,
    is_directory: bool,
    size: u64,
    modified: Wall,
}

/// What a client wants to see of a directory.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Below the root, with a slash at its end unless it is the root.
    path: Vec<u8>,
    /// For the title.
    shown: Vec<u8>,
    dotfiles: bool,
    links: Symlinks,
    as_json: bool,
}

impl Wanted {
    pub(super) fn new(path: &[u8], settings: &Files, request: &Request<'_>) -> Self {
        let (dotfiles, links) = (settings.dotfiles, settings.symlinks.clone());
        let as_json = prefers_json(request);
        Self { path: path.to_vec(), shown: request.path.to_vec(), dotfiles, links, as_json }
    }

    /// Reads the directory and makes the page. A large one takes its time: for threads.
    pub(super) fn make(&self, root: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
        let (items, cut) = self.read(root)?;
        let page = if self.as_json { json(&items, cut) } else { html(&self.shown, &items, cut) };
        Ok(page.into_bytes())
    }

    /// Directories first, then by name, and whether there are more; what a request would not get is not named.
    fn read(&self, root: BorrowedFd<'_>) -> io::Result<(Vec<Item>, bool)> {
        let directory = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        let directory = open_file(root, directory, &self.links)?;
        let mut items = Vec::new();
        let unsorted = list(directory, MOST_SORTED, |directory, name| {
            let found = (hidden(name, self.dotfiles).is_none())
                .then(|| metadata_of_entry(directory, name).ok())
                .flatten();
            // A symbolic link, maybe: what it leads to counts.
            let found = found.and_then(|found| match found.kind {
                Kind::Other => self.open(root, name),
                _ => Some(found),
            });
            items.extend(found.map(|found| Item::new(name, &found)));
            found.is_some()
        })?;
        items.sort_by(|one, other| (!one.is_directory, &one.name).cmp(&(!other.is_directory, &other.name)));
        let mut served = items.into_iter().filter(|item| self.open(root, &item.name).is_some());
        let shown = served.by_ref().take(MOST_NAMES).collect();
        Ok((shown, unsorted || served.next().is_some()))
    }

    /// What a request for this name would find; `None`: nothing that it would get.
    fn open(&self, root: BorrowedFd<'_>, name: &[u8]) -> Option<Metadata> {
        let file = open_file(root, &[&self.path, name].concat(), &self.links).ok()?;
        metadata(file.as_fd()).ok().filter(|found| found.kind != Kind::Other)
    }
}

/// The listing of a directory, as a thread has made it.
pub(super) fn answer(made: io::Result<Vec<u8>>, request: &Request<'_>) -> Answer {
    let body = match made {
        Ok(body) => body,
        Err(error) => return failed(&error),
    };
    let kind = if prefers_json(request) { "application/json" } else { "text/html; charset=utf-8" };
    let head = ResponseHead::new(200)
        .with("Content-Type", kind)
        .with("Cache-Control", "no-cache")
        .with("Vary", "Accept")
        .with("X-Content-Type-Options", "nosniff");
    let length = BodyLength::Known(body.len() as u64);
    let segments = match request.head.method() {
        Method::Head => Vec::new(),
        _ => vec![Segment::from(body)],
    };
    Answer::Send { head, body: length, segments }
}

impl Item {
    fn new(name: &[u8], found: &Metadata) -> Self {
        let is_directory = found.kind == Kind::Directory;
        Self { name: name.to_vec(), is_directory, size: found.size, modified: found.modified }
    }
}

/// Whether `Accept` names JSON before HTML.
fn prefers_json(request: &Request<'_>) -> bool {
    let accept = request.head.all("accept").flat_map(|value| value.split(|byte| *byte == b','));
    for item in accept {
        let kind = item.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if kind.eq_ignore_ascii_case(b"application/json") {
            return true;
        }
        if kind.eq_ignore_ascii_case(b"text/html") {
            return false;
        }
    }
    false
}

/// An array with an object for each name, and one of the type `cut` at its end if there are more.
fn json(items: &[Item], cut: bool) -> String {
    let cut = cut.then(|| serde_json::json!({"name": "", "type": "cut", "shown": items.len()}));
    let values: Vec<_> = items
        .iter()
        .map(|item| {
            let name = String::from_utf8_lossy(&item.name);
            let kind = if item.is_directory { "directory" } else { "file" };
            let size = (!item.is_directory).then_some(item.size);
            serde_json::json!({"name": name, "type": kind, "size": size, "modified": date::iso(item.modified.seconds)})
        })
        .chain(cut)
        .collect();
    serde_json::Value::Array(values).to_string()
}

fn html(path: &[u8], items: &[Item], cut: bool) -> String {
    let title = escape(&String::from_utf8_lossy(path));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<table>\n<tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>\n"
    );
    if path != b"/" {
        page.push_str("<tr><td><a href=\"../\">..</a></td><td></td><td></td></tr>\n");
    }
    for item in items {
        let slash = if item.is_directory { "/" } else { "" };
        let mut href = Vec::new();
        encode_segment(&item.name, &mut href);
        let (href, name) = (String::from_utf8_lossy(&href), String::from_utf8_lossy(&item.name));
        let size = if item.is_directory { String::new() } else { size(item.size) };
        let modified = date::iso(item.modified.seconds).replace('T', " ").replace('Z', "");
        let _ = writeln!(
            page,
            "<tr><td><a href=\"{}{slash}\">{}{slash}</a></td><td>{size}</td><td>{modified}</td></tr>",
            escape(&href),
            escape(&name)
        );
    }
    page.push_str("</table>\n");
    if cut {
        let _ = writeln!(page, "<p>Only the first {} names are shown.</p>", items.len());
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char if char.is_control() => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1.5rem;\
color:#222;background:#fff}h1{font-size:1.25rem;word-break:break-all}table{border-collapse:collapse;width:100%}\
th{text-align:left;color:#555}th,td{padding:.2rem .5rem;border-bottom:1px solid #eee}\
td:nth-child(n+2){white-space:nowrap;color:#555;font-variant-numeric:tabular-nums}\
th:nth-child(2),td:nth-child(2){text-align:right}\
a{color:#06c;text-decoration:none;overflow-wrap:anywhere}a:hover{text-decoration:underline}\
@media(max-width:36rem){th,td{padding:.2rem}td:nth-child(3){white-space:normal}body{padding:0 .75rem}}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td:nth-child(n+2){color:#999}\
th,td{border-color:#333}a{color:#6af}}";
