//! Requests over SCGI (python.ca/scgi/protocol.txt): a netstring of variables, then the body. The response is that of a
//! CGI program ([`super::cgi`]) and ends with the connection.

use super::{Request, params};
use crate::http::text::decimal;

/// Writes what comes before the body, which has `length` bytes.
pub(crate) fn encode(request: &Request<'_>, length: u64, out: &mut Vec<u8>) {
    let mut variables = Vec::with_capacity(1024);
    let mut put = |name: &[u8], value: &[u8]| {
        // One more NUL would make other variables of what follows. The head parser lets none pass.
        if !name.contains(&0) && !value.contains(&0) {
            [name, b"\0", value, b"\0"].iter().for_each(|part| variables.extend_from_slice(part));
        }
    };
    let mut text = Vec::new();
    decimal(length, &mut text);
    // First and always, also 0, says the protocol.
    put(b"CONTENT_LENGTH", &text);
    put(b"SCGI", b"1");
    params::each(request, None, put);
    decimal(variables.len() as u64, out);
    out.push(b':');
    out.extend_from_slice(&variables);
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::http::{RequestHead, Span, Version};
    use std::collections::HashSet;

    #[test]
    fn a_request_is_a_netstring_of_unique_variables() {
        let raw = b"POST/x?q=1Content-Length99Cookiea=1".to_vec();
        let span = |start, end| Span { start, end };
        let fields = vec![(span(10, 24), span(24, 26)), (span(26, 32), span(32, 35))];
        let head = RequestHead::new(raw, span(0, 4), span(4, 10), Version::Http11, fields);
        let request = Request {
            path: b"/x\0y",
            raw: b"/x?q=1",
            query: b"q=1",
            peer: Some("192.0.2.1:4711".parse().unwrap()),
            authority: b"shop.example",
            server_name: b"shop.example",
            id: "1",
            ..Request::of(&head)
        };
        let mut out = Vec::new();
        encode(&request, 12, &mut out);
        let colon = out.iter().position(|byte| *byte == b':').unwrap();
        let length: usize = std::str::from_utf8(&out[..colon]).unwrap().parse().unwrap();
        assert_eq!((out.len(), out.last()), (colon + 1 + length + 1, Some(&b',')));
        let text = out[colon + 1..out.len() - 1].strip_suffix(b"\0").unwrap();
        let parts: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
        let pairs: Vec<(&[u8], &[u8])> = parts.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        assert_eq!(pairs[..2], [(&b"CONTENT_LENGTH"[..], &b"12"[..]), (b"SCGI", b"1")]);
        let names: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), pairs.len(), "a variable twice: {pairs:?}");
        for pair in
            [(&b"QUERY_STRING"[..], &b"q=1"[..]), (b"HTTP_COOKIE", b"a=1"), (b"REQUEST_METHOD", b"POST")]
        {
            assert!(pairs.contains(&pair), "{pair:?} is missing");
        }
        assert!(!names.contains(&&b"PATH_INFO"[..]), "it holds a NUL");
    }
}
