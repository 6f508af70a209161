//! Answers that need no file and no upstream: error pages, `Respond`, `Redirect`.

use crate::http::{ResponseHead, Status};

/// Head and body of the page for an error.
#[must_use]
pub fn error_page(status: u16) -> (ResponseHead, Vec<u8>) {
    let reason = match Status(status).reason() {
        "" => "Error",
        reason => reason,
    };
    let hint = hint(status);
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{status} {reason}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem;color:#222;\
         background:#fff}}h1{{font-size:1.5rem;margin:0}}p{{color:#555}}\
         @media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}p{{color:#999}}}}</style>\n\
         </head>\n<body>\n<h1>{status} {reason}</h1>\n<p>{hint}</p>\n</body>\n</html>\n"
    );
    let head = ResponseHead::new(status)
        .with("Content-Type", "text/html; charset=utf-8")
        .with("X-Content-Type-Options", "nosniff");
    (head, body.into_bytes())
}

fn hint(status: u16) -> &'static str {
    match status {
        400 => "The request could not be understood.",
        403 => "You may not see this.",
        300..=399 => "What you asked for is elsewhere.",
        404 => "There is nothing here.",
        405 => "This address does not answer that method.",
        408 => "The request took too long to arrive.",
        413 => "What you sent is larger than this site accepts.",
        414 | 431 => "The request is longer than this site accepts.",
        421 => "This server does not answer for that host name.",
        429 => "There are too many connections from where you are. Please close some and try again.",
        500 => "Something went wrong on this site. It has been logged.",
        502 => "The application behind this address gave no valid answer.",
        501 => "This server does not know what was asked for.",
        503 => "The application is not available just now. Please try again in a moment.",
        504 => "The application behind this address took too long to answer.",
        _ => "The request could not be served.",
    }
}

/// What a `location` of a redirect may refer to; all parts as they were written by the client.
#[derive(Clone, Copy, Debug)]
pub struct RedirectParts<'a> {
    /// What follows the location's prefix in the path.
    pub rest: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// The query without `?`.
    pub query: &'a [u8],
    /// The host, with a port if one was given.
    pub host: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// Fills `$rest $path $query $host $scheme` into a redirect's `location`; `$$` is a dollar sign. Bytes that have no
/// place in a URI are percent-encoded, so that nothing a client sends can add a header field.
#[must_use]
pub fn redirect_location(template: &str, parts: &RedirectParts<'_>) -> Vec<u8> {
    let names: [(&str, &[u8]); 6] = [
        ("$$", b"$"),
        ("$rest", parts.rest),
        ("$path", parts.path),
        ("$query", parts.query),
        ("$host", parts.host),
        ("$scheme", parts.scheme.as_bytes()),
    ];
    let mut location = Vec::with_capacity(template.len() + parts.rest.len());
    let mut text = template;
    while let Some(at) = text.find('$') {
        let (before, after) = text.split_at(at);
        location.extend_from_slice(before.as_bytes());
        text = match names.iter().find(|(name, _)| after.starts_with(name)) {
            Some((name, value)) => {
                push_encoded(&mut location, value);
                after.get(name.len()..).unwrap_or_default()
            }
            None => {
                location.push(b'$');
                after.get(1..).unwrap_or_default()
            }
        };
    }
    location.extend_from_slice(text.as_bytes());
    // "//host" would be a redirect to another host: a template of "$rest" must not become one.
    if template.starts_with('$') && !template.starts_with("$scheme") {
        let slashes = location.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        if slashes > 1 {
            location.drain(..slashes - 1);
        }
    }
    location
}

fn push_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            0x21..=0x7e if !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') => {
                out.push(*byte);
            }
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(rest: &'a [u8], query: &'a [u8]) -> RedirectParts<'a> {
        RedirectParts { rest, path: b"/old/a", query, host: b"shop.example", scheme: "http" }
    }

    #[test]
    fn a_redirect_is_filled_in_and_cannot_carry_a_header() {
        assert_eq!(redirect_location("/new$rest", &parts(b"/a%20b", b"")), b"/new/a%20b");
        assert_eq!(
            redirect_location("$scheme://www.$host$path?$query", &parts(b"", b"x=1")),
            b"http://www.shop.example/old/a?x=1"
        );
        assert_eq!(redirect_location("/$$5", &parts(b"", b"")), b"/$5");
        assert_eq!(
            redirect_location("/x$rest", &parts(b"\r\nSet-Cookie: a", b"")),
            b"/x%0D%0ASet-Cookie:%20a"
        );
    }

    #[test]
    fn a_redirect_to_the_rest_stays_on_this_host() {
        assert_eq!(redirect_location("$rest", &parts(b"//evil.example", b"")), b"/evil.example");
        assert_eq!(redirect_location("$rest", &parts(b"/\\evil.example", b"")), b"/%5Cevil.example");
    }

    #[test]
    fn an_error_page_names_its_status() {
        let (head, body) = error_page(502);
        assert_eq!(head.status, Status(502));
        assert!(String::from_utf8(body).unwrap().contains("502 Bad Gateway"));
    }
}
