//! Error pages: answers that need no file and no upstream.

use super::pages::ID;
use crate::http::{ResponseHead, Status};

/// Head and body of the page for an error, with [`ID`] where the id of the request belongs; or for a redirect, without.
#[must_use]
pub(crate) fn error_page(status: u16) -> (ResponseHead, Vec<u8>) {
    let reason = match Status(status).reason() {
        "" => "Error",
        reason => reason,
    };
    let id = if status < 400 {
        String::new()
    } else {
        format!("<p><small>Request <code>{ID}</code></small></p>\n")
    };
    let body = page(&format!("{status} {reason}"), hint(status), &id);
    let head = ResponseHead::new(status)
        .with("Content-Type", "text/html; charset=utf-8")
        .with("X-Content-Type-Options", "nosniff");
    (head, body.into_bytes())
}

/// The page of a site that is closed, with what its operator says.
#[must_use]
pub(crate) fn closed_page(message: &str) -> Vec<u8> {
    let mut text = String::with_capacity(message.len());
    for char in message.chars() {
        match char {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            char => text.push(char),
        }
    }
    page("Closed for maintenance", &text, "").into_bytes()
}

/// A page with a title and a paragraph, and what comes behind it.
fn page(title: &str, text: &str, rest: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem;color:#222;\
         background:#fff}}h1{{font-size:1.5rem;margin:0}}p{{color:#555}}\
         @media(prefers-color-scheme:dark){{body{{color:#ddd;background:#181818}}p{{color:#999}}}}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<p>{text}</p>\n{rest}</body>\n</html>\n"
    )
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
        421 => "This server does not answer for that host name, or not over this connection.",
        429 => "There are too many connections from where you are. Please close some and try again.",
        500 => "Something went wrong on this site. It has been logged.",
        502 => "The application behind this address gave no valid answer.",
        501 => "This server does not know what was asked for.",
        503 => "The application is not available just now. Please try again in a moment.",
        504 => "The application behind this address took too long to answer.",
        _ => "The request could not be served.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page_names_its_status() {
        let (head, body) = error_page(502);
        assert_eq!(head.status, Status(502));
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("502 Bad Gateway") && body.contains(ID), "{body}");
        let redirect = String::from_utf8(error_page(308).1).unwrap();
        assert!(!redirect.contains(ID), "{redirect}");
    }
}
