//! What a static location would answer, and from which file: for `hatchery explain`. It is found by the same search, by which
//! the file is known; its name is then the one of those that were tried that leads to it.

use super::Files;
use super::find::fill;
use super::{Answer, First, Known, Request};
use crate::config::boot::StaticRoot;
use crate::config::{self, Config, Handler, Location, Site};
use crate::http::encoding::Encoding;
use crate::sys::clock;
use crate::worker::reader::Reader;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::rc::Rc;

/// So often something is looked up first at most.
const STEPS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Told {
    /// `None`: there is nothing, and the fallback has it.
    pub(crate) status: Option<u16>,
    /// The file, or why there is none.
    pub(crate) says: String,
}

/// Answers a request for a file of a location, and keeps nothing.
pub(crate) fn told(settings: &config::Files, request: &Request<'_>) -> Told {
    let failed = |says: String| Told { status: Some(503), says };
    let root = StaticRoot::find(&settings.root);
    let Ok(root) = root else {
        return failed(format!("the static root {} cannot be opened", settings.root.display()));
    };
    let location = Location { handler: Rc::new(Handler::Files(settings.clone())), ..Location::default() };
    let site = Site { locations: vec![location], ..Site::default() };
    let config = Config { sites: vec![site], ..Config::default() };
    let roots = HashMap::from([(settings.root.clone(), Some(root))]);
    let files = Files::new(&config, &roots, true);
    let (mut files, reader) = match (files, Reader::new()) {
        (Ok(files), Ok(reader)) => (files, reader),
        (Err(why), _) => return failed(why),
        (_, Err(error)) => return failed(error.to_string()),
    };
    let known = Known::default();
    for _ in 0..STEPS {
        let request = Request { known: &known, waits: true, ..*request };
        match files.serve((0, 0), settings, &request, (clock::now(), clock::wall())) {
            Answer::First(First::Lookup(lookup)) => known.add((lookup.work)(reader.hand())),
            Answer::First(First::Near(_)) => break,
            answer => return of(&answer, settings, request.rest),
        }
    }
    failed("the disk does not answer".to_owned())
}

fn of(answer: &Answer, settings: &config::Files, rest: &[u8]) -> Told {
    match answer {
        Answer::Ready(ready) => {
            let status = ready.head().map_or(500, |_| if ready.not_modified { 304 } else { 200 });
            let Some(variant) = ready.file.variants.get(ready.variant) else {
                return Told { status: Some(500), says: String::new() };
            };
            let file = named(settings, rest, variant.metadata.id)
                .map_or_else(|| settings.root.display().to_string(), |path| path.display().to_string());
            let coding = variant.about.encoding.map_or("", Encoding::suffix);
            let coding = if coding.is_empty() { String::new() } else { format!(", as {coding}") };
            let (kind, size) = (&variant.about.content_type, variant.about.size);
            Told { status: Some(status), says: format!("{file} ({kind}, {size} bytes{coding})") }
        }
        Answer::Send { head, .. } => {
            let place = head.fields.get("location").map(String::from_utf8_lossy);
            let says = match place {
                Some(place) => format!("a directory: sent to {place}"),
                None => format!("below {}", settings.root.display()),
            };
            Told { status: Some(head.status.0), says }
        }
        Answer::Refuse(refused) => Told { status: Some(refused.head.status.0), says: refused.why.to_owned() },
        Answer::Nothing(why) => {
            let path = settings.root.join(OsStr::from_bytes(trimmed(rest)));
            Told { status: None, says: format!("{}: {why}", path.display()) }
        }
        Answer::First(_) => Told { status: Some(503), says: String::new() },
    }
}

/// The path below the root that leads to this file.
fn named(settings: &config::Files, rest: &[u8], id: (u64, u64)) -> Option<PathBuf> {
    let rest = trimmed(rest);
    let plain = rest.strip_suffix(b"/").unwrap_or(rest);
    let filled = settings.try_files.iter().map(|pattern| fill(pattern, plain));
    let paths = std::iter::once(rest.to_vec()).chain(filled);
    let with_index = paths.flat_map(|path| {
        let index = settings.index.iter().map(|index| [&*path, index.as_bytes()].concat());
        index.chain([path.clone()]).collect::<Vec<_>>()
    });
    let stand_in = settings.stand_in.iter().map(|name| name.as_bytes().to_vec());
    let codings = settings.precompressed.iter().map(|coding| format!(".{}", coding.suffix()));
    let endings: Vec<String> = std::iter::once(String::new()).chain(codings).collect();
    let all = with_index.chain(stand_in).flat_map(|path| {
        endings.iter().map(|ending| [&*path, ending.as_bytes()].concat()).collect::<Vec<_>>()
    });
    all.map(|path| settings.root.join(OsStr::from_bytes(trimmed(&path))))
        .find(|path| std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == id))
}

/// A path below a root is none of its own.
fn trimmed(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    path.get(start..).unwrap_or_default()
}
