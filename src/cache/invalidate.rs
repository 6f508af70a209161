//! Which responses are of no use any more after a request that may have changed something (RFC 9111 §4.4).

use crate::http::{Method, RequestHead, ResponseHead};

/// Methods that are registered as safe, beside those that every server knows.
const SAFE: [&[u8]; 4] = [b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"];

/// Whether what is kept of the URL of this request must go after such an answer.
#[must_use]
pub fn invalidates(request: &RequestHead, status: u16) -> bool {
    (200..400).contains(&status) && may_change(request)
}

/// Whether a request may change something: a method that nobody knows may.
#[must_use]
pub fn may_change(request: &RequestHead) -> bool {
    match request.method() {
        Method::Get | Method::Head | Method::Options | Method::Trace | Method::Connect => false,
        Method::Post | Method::Put | Method::Delete | Method::Patch => true,
        Method::Other => !SAFE.contains(&request.method_bytes()),
    }
}

/// The targets, path and query, of other resources of the same origin that such an answer tells of: in `Location` and
/// `Content-Location`. `origin` is scheme and authority of the request, as in `https://shop.example`; `path` its path.
#[must_use]
pub fn others(response: &ResponseHead, origin: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    let named = ["location", "content-location"].into_iter().filter_map(|name| response.fields.get(name));
    named.filter_map(|reference| target(reference, origin, path)).collect()
}

/// What a reference (RFC 3986 §4.1) leads to, if that is of the same origin.
fn target(reference: &[u8], origin: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let reference = reference.split(|byte| *byte == b'#').next()?;
    let (scheme, _) = split_before(origin, b"//")?;
    let rest = match has_scheme(reference) {
        true => reference.get(..origin.len()).filter(|start| start.eq_ignore_ascii_case(origin))?.len(),
        false if reference.starts_with(b"//") => {
            let authority = origin.get(scheme.len()..)?;
            let start = reference.get(..authority.len())?;
            start.eq_ignore_ascii_case(authority).then_some(authority.len())?
        }
        false => 0,
    };
    let is_absolute = rest > 0;
    let rest = reference.get(rest..)?;
    let (given, query) = match rest.iter().position(|byte| *byte == b'?') {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, &b""[..]),
    };
    let joined = match given {
        [b'/', ..] => given.to_vec(),
        [] if is_absolute => b"/".to_vec(),
        // `https://shop.example.evil` begins like the origin.
        _ if is_absolute => return None,
        [] => path.to_vec(),
        _ => {
            let end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            [path.get(..end)?, given].concat()
        }
    };
    Some([without_dots(&joined), query.to_vec()].concat())
}

fn split_before<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    text.windows(mark.len()).position(|here| here == mark).and_then(|at| text.split_at_checked(at))
}

fn has_scheme(reference: &[u8]) -> bool {
    let end = reference.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte)));
    end.is_some_and(|end| end > 0 && reference.get(end) == Some(&b':'))
}

/// Removes dot segments (RFC 3986 §5.2.4).
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    kept.pop();
                }
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out
}
