//! Requests over the uwsgi protocol (uWSGI's documentation, "The uwsgi Protocol"): a packet of variables, then the body. The
//! response is that of a CGI program ([`super::cgi`]), mostly with a status line, and ends with the connection.

use super::{Request, params};
use crate::http::fault::{Fault, Refusal};

/// Its length has two bytes.
const TOO_LARGE: Refusal = Refusal {
    status: 431,
    why: "the request has more variables than the uwsgi protocol takes (65535 bytes)",
};

/// Writes what comes before the body, which has `length` bytes if there is one.
///
/// # Errors
/// If the request does not fit into a packet.
pub(crate) fn encode(request: &Request<'_>, length: Option<u64>, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut variables = Vec::with_capacity(1024);
    let mut fits = true;
    params::each(request, length, |name, value| {
        for text in [name, value] {
            fits &= u16::try_from(text.len()).is_ok();
            variables.extend_from_slice(&(text.len() as u16).to_le_bytes());
            variables.extend_from_slice(text);
        }
    });
    let size = u16::try_from(variables.len()).ok().filter(|_| fits).ok_or(Fault::Request(TOO_LARGE))?;
    let [low, high] = size.to_le_bytes();
    // Both modifiers are 0: a request for an app, whatever its language. Others make uWSGI run what it is sent.
    out.extend_from_slice(&[0, low, high, 0]);
    out.extend_from_slice(&variables);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::request;

    fn text<'a>(bytes: &mut &'a [u8]) -> &'a str {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (text, rest) = rest.split_at(u16::from_le_bytes(*length).into());
        *bytes = rest;
        std::str::from_utf8(text).unwrap()
    }

    #[test]
    fn a_request_is_a_packet_of_variables() {
        let mut out = Vec::new();
        request(&[("Cookie", "a=1")], |request| encode(request, Some(12), &mut out)).unwrap();
        let (header, mut rest) = out.split_first_chunk::<4>().unwrap();
        assert_eq!((header[0], header[3]), (0, 0));
        assert_eq!(usize::from(u16::from_le_bytes([header[1], header[2]])), rest.len());
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            pairs.push((text(&mut rest), text(&mut rest)));
        }
        for pair in [
            ("REQUEST_METHOD", "POST"),
            ("PATH_INFO", "/a/x"),
            ("QUERY_STRING", "q=1"),
            ("CONTENT_LENGTH", "12"),
            ("HTTP_COOKIE", "a=1"),
        ] {
            assert!(pairs.contains(&pair), "{pair:?} is missing in {pairs:?}");
        }
    }

    #[test]
    fn one_that_does_not_fit_is_refused() {
        let size = |length: usize| {
            let mut out = Vec::new();
            let field = "x".repeat(length);
            request(&[("X", &field)], |request| encode(request, None, &mut out)).map(|()| out.len())
        };
        let rest = size(1).unwrap() - 1;
        assert_eq!(size(65_539 - rest), Ok(65_539));
        for length in [65_540 - rest, 65_535, 65_536, 200_000] {
            assert_eq!(size(length), Err(Fault::Request(TOO_LARGE)), "{length}");
        }
    }
}
