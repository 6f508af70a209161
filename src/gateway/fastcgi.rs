//! Requests over FastCGI (its specification 1.0, 1996): records of one request on a connection, which is kept afterwards. The
//! response is that of a CGI program ([`super::cgi`]) in the records of STDOUT. What ends it is END_REQUEST, not the end of
//! the connection, nor the length that the program announces: only behind it another request may begin.

use super::http1;
use super::{Event, Request, params};
use crate::buf::Queue;
use crate::http::Method;
use crate::http::fault::{Fault, Flaw, Refusal};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The body of BEGIN_REQUEST: a responder, and the connection is kept.
const BEGIN: [u8; 8] = [0, 1, 1, 0, 0, 0, 0, 0];

/// Bytes before each record.
const HEADER: usize = 8;

/// Content of a record at most: 16 bits, and a multiple of eight, which needs no padding.
const RECORD: u16 = 0xfff8;

/// What is kept of a line on STDERR at most.
const LINE_MAX: usize = 4096;

/// What a program may say behind the end of its document.
const EXCESS_MAX: usize = 64 * 1024;

// ---- the request ------------------------------------------------------------------------------------------------------

/// Where the scripts are that paths name, for PHP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scripts {
    /// Where the server finds them: DOCUMENT_ROOT.
    pub(crate) root: PathBuf,
    /// What is run where a path names no script: a name below a path that ends in `/`, or a path of its own that begins with
    /// `/`.
    pub(crate) index: String,
}

const NO_SCRIPT: Refusal =
    Refusal { status: 404, why: "the path names no script (.php) of the upstream, nor does `index` for it" };

impl Scripts {
    /// The script below the root, and PATH_INFO: the path ends its script with the first segment that ends in `.php`. Nobody looks for
    /// files, so that what is to be run is told by the path alone. PHP does look: where `/upload.jpg/x.php` leads to nothing it
    /// takes `/upload.jpg`, and refuses that only by the names that its `security.limit_extensions` lets pass.
    fn split<'a>(&self, path: &'a [u8]) -> Option<(Cow<'a, [u8]>, &'a [u8])> {
        let ends = |tail: &[u8]| {
            tail.strip_prefix(b".php").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let end = (0..path.len()).find(|at| path.get(*at..).is_some_and(ends)).map(|at| at + b".php".len());
        if let Some((script, info)) = end.and_then(|end| path.split_at_checked(end)) {
            return Some((script.into(), info));
        }
        let index = self.index.as_bytes();
        if index.starts_with(b"/") {
            return Some((index.to_vec().into(), b""));
        }
        path.ends_with(b"/").then(|| ([path, index].concat().into(), &b""[..]))
    }
}

/// Writes what comes before the body, which has `length` bytes; and its end, if there is none.
///
/// # Errors
/// If it names no script where it has to.
pub(crate) fn encode(
    request: &Request<'_>,
    scripts: Option<&Scripts>,
    length: Option<u64>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (mount, path) = params::split(request.path, request.mount.as_bytes());
    let script = match scripts {
        Some(scripts) => {
            let (file, info) = scripts.split(path).ok_or(Fault::Request(NO_SCRIPT))?;
            Some((scripts.root.as_os_str().as_bytes(), [mount, &file].concat(), file, info))
        }
        None => None,
    };
    record(BEGIN_REQUEST, BEGIN.len() as u16, out);
    out.extend_from_slice(&BEGIN);
    // Nearly all requests have one record of variables, of which the length is known behind it.
    let start = out.len();
    record(PARAMS, 0, out);
    if let Some((root, _, file, _)) = &script {
        pair(b"SCRIPT_FILENAME", &[root.strip_suffix(b"/").unwrap_or(root), file].concat(), out);
        pair(b"DOCUMENT_ROOT", root, out);
        pair(b"REDIRECT_STATUS", b"200", out);
    }
    params::each(request, length, |name, value| {
        let value = match (&script, name) {
            (Some((_, name, ..)), b"SCRIPT_NAME") => name.as_slice(),
            (Some((.., info)), b"PATH_INFO") => info,
            _ => value,
        };
        pair(name, value, out);
    });
    let written = u16::try_from(out.len() - start - HEADER).ok();
    match written.filter(|written| *written <= RECORD) {
        Some(written) => {
            let place = out.get_mut(start..).and_then(|record| record.first_chunk_mut());
            place.into_iter().for_each(|place| *place = header_of(PARAMS, written));
        }
        None => {
            let variables = out.split_off(start);
            for part in variables.get(HEADER..).unwrap_or_default().chunks(RECORD.into()) {
                record(PARAMS, part.len() as u16, out);
                out.extend_from_slice(part);
            }
        }
    }
    record(PARAMS, 0, out);
    if length.is_none() {
        record(STDIN, 0, out);
    }
    Ok(())
}

/// The header of a record of the one request, without padding.
fn record(kind: u8, length: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&header_of(kind, length));
}

fn header_of(kind: u8, length: u16) -> [u8; HEADER] {
    let [high, low] = length.to_be_bytes();
    [1, kind, 0, 1, high, low, 0, 0]
}

fn pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(short) if short < 0x80 => out.push(short),
            _ => out.extend_from_slice(&(text.len() as u32 | 1 << 31).to_be_bytes()),
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Moves a piece of the body into records.
pub(crate) fn body(piece: &mut Queue, out: &mut Queue) {
    while !piece.is_empty() {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX).min(RECORD);
        out.encode(|out| record(STDIN, length, out));
        piece.move_to(out, length.into());
    }
}

/// The body is complete.
pub(crate) fn end_body(out: &mut Queue) {
    out.encode(|out| record(STDIN, 0, out));
}

// ---- the response -----------------------------------------------------------------------------------------------------

/// Reads the response to one request.
///
/// | stage | leaves by | to |
/// |---|---|---|
/// | `Header` | eight bytes | `Record`, or `Garbage` if they are none of a record that may come |
/// | `Record` | its last byte, padding included | `Header`; `Ended` after END_REQUEST; `Overrun` |
/// | `Ended` | – | a byte more, and the connection is not kept |
/// | `Garbage`, `Overrun` | – | what follows is dropped |
#[derive(Debug)]
pub(crate) struct Response {
    /// What the records of STDOUT say.
    document: http1::Response,
    stage: Stage,
    /// The header that comes, or the body of END_REQUEST.
    fixed: Fixed,
    /// What came on STDERR and was not taken.
    said: Vec<u8>,
    /// Bytes behind the end of the document.
    excess: usize,
    begun: bool,
    /// The head of the document was polled; the document is complete; the last event was polled.
    answered: bool,
    complete: bool,
    done: bool,
    eof: bool,
    /// Something came behind END_REQUEST.
    spoilt: bool,
}

/// What has a length of its own, while it comes.
#[derive(Debug, Default)]
struct Fixed {
    bytes: [u8; HEADER],
    len: usize,
}

impl Fixed {
    fn extend(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Record {
        kind: u8,
        left: u16,
        padding: u8,
    },
    /// With what protocolStatus says.
    Ended(u8),
    Garbage,
    Overrun,
}

impl Response {
    /// Awaits the response to a request of that method.
    #[must_use]
    pub(crate) fn new(method: Method) -> Self {
        Self {
            document: http1::Response::of_program(method),
            stage: Stage::Header,
            fixed: Fixed::default(),
            said: Vec::new(),
            excess: 0,
            begun: false,
            answered: false,
            complete: false,
            done: false,
            eof: false,
            spoilt: false,
        }
    }

    /// Bytes read from the upstream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        while !bytes.is_empty() {
            bytes = self.take(bytes);
        }
    }

    /// Takes the first of these bytes; the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let first = |most: usize| bytes.split_at_checked(most).unwrap_or((bytes, &[]));
        match self.stage {
            Stage::Header => {
                let (part, rest) = first(HEADER - self.fixed.len);
                self.fixed.extend(part);
                if self.fixed.len == HEADER {
                    self.stage = header(std::mem::take(&mut self.fixed).bytes).unwrap_or(Stage::Garbage);
                    self.pass_record();
                }
                rest
            }
            Stage::Record { kind, left: 0, padding } => {
                let (part, rest) = first(padding.into());
                self.stage = Stage::Record { kind, left: 0, padding: padding - part.len() as u8 };
                self.pass_record();
                rest
            }
            Stage::Record { kind, left, padding } => {
                let (part, rest) = first(left.into());
                self.stage = Stage::Record { kind, left: left - part.len() as u16, padding };
                self.content(kind, part);
                self.pass_record();
                rest
            }
            Stage::Ended(_) => {
                self.spoilt = true;
                &[]
            }
            Stage::Garbage | Stage::Overrun => &[],
        }
    }

    fn content(&mut self, kind: u8, bytes: &[u8]) {
        match kind {
            STDOUT if !self.complete => self.document.feed(bytes),
            STDOUT => {
                self.excess += bytes.len();
                if self.excess > EXCESS_MAX {
                    self.stage = Stage::Overrun;
                }
            }
            STDERR => {
                let room = LINE_MAX.saturating_sub(self.said.len());
                self.said.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            _ => self.fixed.extend(bytes),
        }
    }

    /// Goes on where the record is over.
    fn pass_record(&mut self) {
        match self.stage {
            Stage::Record { kind: END_REQUEST, left: 0, padding: 0 } => {
                let [.., status, _, _, _] = self.fixed.bytes;
                self.stage = Stage::Ended(status);
                if status == 0 {
                    self.document.eof();
                }
            }
            Stage::Record { left: 0, padding: 0, .. } => self.stage = Stage::Header,
            _ => {}
        }
    }

    /// The upstream closed in an orderly way.
    pub(crate) fn eof(&mut self) {
        self.eof = true;
    }

    /// The next event; `None` if more input is needed, or nothing follows.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        while !self.complete && !self.done {
            match self.document.poll() {
                Some(Event::End) => self.complete = true,
                Some(Event::Broken(fault)) => return Some(self.end(Err(self.judge(fault)))),
                Some(event) => {
                    self.answered |= matches!(event, Event::Head { .. });
                    return Some(event);
                }
                None => break,
            }
        }
        let end = match self.stage {
            _ if self.done => return None,
            Stage::Ended(_) | Stage::Overrun if self.complete => Ok(()),
            Stage::Ended(_) if self.answered => Err(Fault::Truncated),
            // It says so before it has looked at the request.
            Stage::Ended(_) => Err(Fault::Declined),
            Stage::Garbage => Err(Fault::Malformed(Flaw::Record)),
            _ if !self.eof => return None,
            _ if self.complete => Ok(()),
            _ if self.begun => Err(Fault::Truncated),
            _ => Err(Fault::Closed),
        };
        Some(self.end(end))
    }

    fn end(&mut self, end: Result<(), Fault>) -> Event {
        self.done = true;
        match end {
            Ok(()) => Event::End,
            Err(fault) => {
                self.spoilt = true;
                Event::Broken(fault)
            }
        }
    }

    /// What is wrong with a document that ends where END_REQUEST says: nothing was cut off.
    fn judge(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Truncated if self.answered => Fault::WrongLength,
            Fault::Closed | Fault::Truncated => Fault::Malformed(Flaw::Record),
            fault => fault,
        }
    }

    /// Whole lines, or what there is if no more of a line will be kept, that came on STDERR.
    pub(crate) fn said(&mut self) -> Option<Vec<u8>> {
        if self.said.is_empty() {
            return None;
        }
        let is_last =
            self.eof || self.said.len() >= LINE_MAX || matches!(self.stage, Stage::Ended(_) | Stage::Garbage);
        let end = match self.said.iter().rposition(|byte| *byte == b'\n') {
            _ if is_last => self.said.len(),
            end => end.map_or(0, |end| end + 1),
        };
        let rest = self.said.split_off(end);
        let said = std::mem::replace(&mut self.said, rest);
        (!said.is_empty()).then_some(said)
    }

    /// Whether the connection may carry another request. The caller also sees to it that its own request was sent whole.
    #[must_use]
    pub(crate) fn reusable(&self) -> bool {
        self.done && self.stage == Stage::Ended(0) && !self.spoilt && !self.eof
    }

    /// Whether anything of a response has come.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }
}

/// The record that these bytes begin, if it is one of the answer to our request.
fn header(bytes: [u8; HEADER]) -> Option<Stage> {
    let [1, kind, 0, 1, high, low, padding, _] = bytes else { return None };
    let left = u16::from_be_bytes([high, low]);
    let may_come = match kind {
        STDOUT | STDERR => true,
        END_REQUEST => left == 8,
        _ => false,
    };
    may_come.then_some(Stage::Record { kind, left, padding })
}

#[cfg(test)]
mod tests;
