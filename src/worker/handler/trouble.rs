//! The page that shows who develops an app why its code does not start.

use crate::http::ResponseHead;
use crate::worker::troubles::Trouble;

/// What the page is made of.
pub(in crate::worker) struct Shown<'a> {
    pub(crate) app: &'a str,
    pub(in crate::worker) trouble: &'a Trouble,
    /// Where the code from before answers the same, if it serves.
    pub(crate) old: Option<&'a str>,
    /// The script by which it loads itself again.
    pub(crate) live: Option<&'a str>,
    /// A number that nobody can foresee.
    pub(crate) nonce: u64,
}

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1.5rem;color:#222;\
    background:#fff;color-scheme:light dark}h1{font-size:1.4rem;margin:0 0 .5rem}\
    .what{font:600 1rem/1.5 ui-monospace,monospace;color:#b00020;overflow-wrap:anywhere;margin:.5rem 0 1rem}\
    pre{font:.85rem/1.45 ui-monospace,monospace;background:#f4f4f4;padding:1rem;border-radius:6px;overflow-x:auto;\
    white-space:pre}small{color:#666}a{color:#0b57d0}\
    @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}\
    .what{color:#ff8a80}small{color:#999}a{color:#8ab4f8}}";

/// Head and body.
pub(in crate::worker) fn page(shown: &Shown<'_>) -> (ResponseHead, Vec<u8>) {
    let Shown { app, trouble, old, live, nonce } = shown;
    let nonce = format!("{nonce:016x}");
    let app = escaped(app);
    let what =
        escaped(trouble.text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default());
    let (serves, link) = match old {
        Some(old) => {
            let link = format!("<p><a href=\"{}\">Go on with the code from before</a></p>\n", escaped(old));
            ("The code from before goes on: requests that ask for no page have it.", link)
        }
        None => ("Nothing serves in its place.", String::new()),
    };
    let text = escaped(&trouble.text);
    let (then, script) = match live {
        Some(live) => {
            let script = format!("<script nonce=\"{nonce}\" src=\"{}\"></script>\n", escaped(live));
            ("this page is loaded again by itself", script)
        }
        None => ("load this page again", String::new()),
    };
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{app} does not start</title>\n\
         <style nonce=\"{nonce}\">{STYLE}</style>\n</head>\n<body>\n<h1>The code of {app} does not start</h1>\n\
         <p class=\"what\">{what}</p>\n<pre tabindex=\"0\">{text}</pre>\n<p>{serves} Save the code when it is mended: \
         {then}.</p>\n{link}<p><small>Only browsers on this machine are shown this page: \
         <code>reload_on_change</code> of the app is on.</small></p>\n{script}</body>\n</html>\n"
    );
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; \
        script-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
        frame-ancestors 'none'"
    );
    let head = ResponseHead::new(500)
        .with("Content-Type", "text/html; charset=utf-8")
        .with("Cache-Control", "no-store")
        .with("Content-Security-Policy", policy)
        .with("Referrer-Policy", "no-referrer")
        .with("X-Content-Type-Options", "nosniff");
    (head, body.into_bytes())
}

/// Text as HTML shows it, in elements and in attributes between quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(char),
        }
    }
    out
}

/// Whether such a request asks for a page, as browsers do for what is to be shown.
pub(crate) fn wants_page(accept: Option<&[u8]>) -> bool {
    let accept = accept.unwrap_or_default();
    accept.split(|byte| *byte == b',').any(|part| {
        let kind = part.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

/// Whether a request shows that it came through a proxy: then who is near is the proxy, and the client may be anybody.
pub(crate) fn is_forwarded<'a>(mut fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    const NAMES: [&str; 5] = ["forwarded", "via", "x-real-ip", "client-ip", "cf-connecting-ip"];
    const PREFIX: &[u8] = b"x-forwarded-";
    fields.any(|(name, _)| {
        let begins = name.get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX));
        begins || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// Whether a name means this machine, whoever is asked for it. A name of a stranger's may lead here, too, and the pages of that
/// name could read what is shown (DNS rebinding).
pub(crate) fn is_local(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = |address: std::net::IpAddr| address.to_canonical().is_loopback();
    name == "localhost" || name.ends_with(".localhost") || bare.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_code_says_is_text() {
        let trouble =
            Trouble { serial: 1, text: "</pre><script>alert('1')</script>\n\nE: \"<b>\" & é\n".to_owned() };
        let shown = Shown { app: "shop", trouble: &trouble, old: Some("/x?a=\"1&b"), live: None, nonce: 7 };
        let (head, body) = page(&shown);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("&lt;/pre&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"), "{body}");
        assert!(body.contains("<p class=\"what\">E: &quot;&lt;b&gt;&quot; &amp; é</p>"), "{body}");
        assert!(body.contains("<a href=\"/x?a=&quot;1&amp;b\">"), "{body}");
        assert_eq!(body.matches("<script").count(), 0);
        let policy =
            String::from_utf8_lossy(head.fields.get("content-security-policy").unwrap()).into_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'nonce-0000000000000007'"), "{policy}");
        assert!(body.contains("<style nonce=\"0000000000000007\">"));
    }

    #[test]
    fn who_is_shown_it_is_near_and_asks_for_a_page() {
        for (accept, wants) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", true),
            ("application/json, Text/HTML;q=0.1", true),
            ("*/*", false),
            ("text/html2", false),
            ("application/json", false),
        ] {
            assert_eq!(wants_page(Some(accept.as_bytes())), wants, "{accept}");
        }
        assert!(!wants_page(None));
        for (name, forwarded) in [
            ("X-Forwarded-For", true),
            ("x-forwarded-anything", true),
            ("Forwarded", true),
            ("Host", false),
            ("X-Forward", false),
        ] {
            let field: (&[u8], &[u8]) = (name.as_bytes(), b"");
            assert_eq!(is_forwarded([field].into_iter()), forwarded, "{name}");
        }
        for (name, local) in [
            ("localhost", true),
            ("shop.localhost", true),
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("[::1]", true),
            ("::1", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_local(name.as_bytes()), local, "{name}");
        }
    }
}
