//! The `location` of a redirect: a template of a path, or of a URL, with variables that a request fills in.
//!
//! Two rules make it say where the operator said, whatever a client sends:
//!
//! - A path stays a path of this host. A reference that begins with two slashes is one of another host (a network-path
//!   reference, RFC 3986 §4.2), and browsers read a backslash as a slash and skip tabs and line ends (URL Standard, path
//!   state): a rendered path begins with one slash, whatever its parts begin with.
//! - The host of a URL is what the template says. What a client wrote of a path comes behind a slash, so that no
//!   `.evil.example` or `@evil.example` completes the host.

use super::percent;

/// What a template may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// `$rest`
    Rest,
    /// `$path`
    Path,
    /// `$query`
    Query,
    /// `$host`
    Host,
    /// `$scheme`
    Scheme,
}

impl Variable {
    const ALL: [Self; 5] = [Self::Rest, Self::Path, Self::Query, Self::Host, Self::Scheme];

    /// The names of all, without `$`.
    pub(crate) const NAMES: [&str; 5] = ["rest", "path", "query", "host", "scheme"];

    /// Its name, without `$`.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Path => "path",
            Self::Query => "query",
            Self::Host => "host",
            Self::Scheme => "scheme",
        }
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A space or control character.
    Character,
    /// A backslash, which browsers take for a slash.
    Backslash,
    /// It begins neither with a slash, nor with `http://`, `https://` or `$scheme://`, nor with `$rest` or `$path`.
    Form,
    /// It begins with two slashes: another host, by whatever scheme.
    NetworkPath,
    /// `https://` without a host.
    NoHost,
    /// `$` and a word that is no variable.
    Unknown(String),
    /// A variable where it would make part of the host of what a client sends.
    InHost(Variable),
}

/// What a request fills in; all of it as the client wrote it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts<'a> {
    /// What follows the location's prefix in the path.
    pub(crate) rest: &'a [u8],
    /// The path.
    pub(crate) path: &'a [u8],
    /// The query without `?`.
    pub(crate) query: &'a [u8],
    /// The host, with a port if one was given.
    pub(crate) host: &'a [u8],
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
}

impl<'a> Parts<'a> {
    fn value(&self, variable: Variable) -> &'a [u8] {
        match variable {
            Variable::Rest => self.rest,
            Variable::Path => self.path,
            Variable::Query => self.query,
            Variable::Host => self.host,
            Variable::Scheme => self.scheme.as_bytes(),
        }
    }
}

/// Judges a template as it stands in a configuration.
///
/// # Errors
/// [`Error`]
pub(crate) fn check(template: &str) -> Result<(), Error> {
    if template.contains(|char: char| char.is_control() || char == ' ') {
        return Err(Error::Character);
    }
    if template.contains('\\') {
        return Err(Error::Backslash);
    }
    if let Some(name) = unknown(template) {
        return Err(Error::Unknown(name));
    }
    match url(template) {
        Some(rest) => check_host(rest),
        None if template.starts_with("//") => Err(Error::NetworkPath),
        None if ["/", "$rest", "$path"].iter().any(|start| template.starts_with(start)) => Ok(()),
        None => Err(Error::Form),
    }
}

/// What follows the `//` of a template of a URL.
fn url(template: &str) -> Option<&str> {
    ["http://", "https://", "$scheme://"].iter().find_map(|scheme| template.strip_prefix(scheme))
}

/// The first word behind a `$` that is no variable. `$$` is a dollar sign, and so is a `$` without a word.
fn unknown(template: &str) -> Option<String> {
    template.replace("$$", "").split('$').skip(1).find_map(|after| {
        let end = after.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let name = after.get(..end.unwrap_or(after.len()))?;
        (!name.is_empty() && !Variable::NAMES.contains(&name)).then(|| name.to_owned())
    })
}

/// Judges the host in what follows `https://`. A path ends it, and so do `$rest` and `$path`, which begin with a slash.
/// `$host` is a whole host, perhaps behind `www.`.
fn check_host(rest: &str) -> Result<(), Error> {
    let mut host = String::new();
    for piece in pieces(rest) {
        match piece {
            Piece::Text(text) => {
                let end = text.find(['/', '?', '#']);
                host.push_str(text.get(..end.unwrap_or(text.len())).unwrap_or_default());
                if end.is_some() {
                    break;
                }
            }
            Piece::Variable(Variable::Rest | Variable::Path) => break,
            Piece::Variable(Variable::Host) if host.is_empty() || host.ends_with('.') => host.push('h'),
            Piece::Variable(variable) => return Err(Error::InHost(variable)),
        }
    }
    if host.is_empty() { Err(Error::NoHost) } else { Ok(()) }
}

/// A template with its variables filled in. Bytes that have no place in a URI are percent-encoded, so that nothing a
/// client sends can add a header field.
#[must_use]
pub(crate) fn render(template: &str, parts: &Parts<'_>) -> Vec<u8> {
    let mut location = Vec::with_capacity(template.len() + parts.rest.len());
    let is_url = url(template).is_some();
    for piece in pieces(template) {
        match piece {
            Piece::Text(text) => location.extend_from_slice(text.as_bytes()),
            Piece::Variable(variable) => {
                let value = parts.value(variable);
                let is_path = !matches!(variable, Variable::Host | Variable::Scheme);
                if is_url && is_path && in_host(&location) && !matches!(value, [] | [b'/', ..]) {
                    location.push(b'/');
                }
                push_encoded(&mut location, value);
            }
        }
    }
    // Who is sent on with the path keeps the query, unless the template says otherwise.
    let has_path =
        pieces(template).any(|piece| matches!(piece, Piece::Variable(Variable::Rest | Variable::Path)));
    let has_query =
        template.contains('?') || pieces(template).any(|piece| piece == Piece::Variable(Variable::Query));
    if has_path && !has_query && !parts.query.is_empty() {
        let mut query = b"?".to_vec();
        push_encoded(&mut query, parts.query);
        // A fragment stands last.
        let end = location.iter().position(|byte| *byte == b'#').unwrap_or(location.len());
        location.splice(end..end, query);
    }
    if !is_url {
        let slashes = location.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
        location.splice(..slashes, *b"/");
    }
    location
}

/// Judges a template of a text that is no place, such as the value of a field.
///
/// # Errors
/// [`Error::Unknown`]
pub(crate) fn check_text(template: &str) -> Result<(), Error> {
    unknown(template).map_or(Ok(()), |name| Err(Error::Unknown(name)))
}

/// Whether a request fills anything in.
#[must_use]
pub(crate) fn has_variables(template: &str) -> bool {
    pieces(template).any(|piece| matches!(piece, Piece::Variable(_)))
}

/// A text that is no place, with its variables filled in and percent-encoded as in [`render`].
#[must_use]
pub(crate) fn render_text(template: &str, parts: &Parts<'_>) -> Vec<u8> {
    let mut text = Vec::with_capacity(template.len());
    for piece in pieces(template) {
        match piece {
            Piece::Text(piece) => text.extend_from_slice(piece.as_bytes()),
            Piece::Variable(variable) => push_encoded(&mut text, parts.value(variable)),
        }
    }
    text
}

/// Whether what comes next in a URL would still make part of its host.
fn in_host(location: &[u8]) -> bool {
    let after = location.windows(3).position(|three| three == b"://").map_or(0, |at| at + 3);
    !location.get(after..).unwrap_or_default().iter().any(|byte| matches!(byte, b'/' | b'?' | b'#'))
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Variable(Variable),
}

/// The template taken apart, without empty texts.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut left = template;
    std::iter::from_fn(move || {
        let (piece, length) = match (left.strip_prefix('$'), left.find('$')) {
            (Some(after), _) if after.starts_with('$') => (Piece::Text("$"), 2),
            (Some(after), _) => match Variable::ALL.iter().find(|one| after.starts_with(one.name())) {
                Some(variable) => (Piece::Variable(*variable), 1 + variable.name().len()),
                None => (Piece::Text("$"), 1),
            },
            (None, at) => {
                let length = at.unwrap_or(left.len());
                (Piece::Text(left.get(..length).filter(|text| !text.is_empty())?), length)
            }
        };
        left = left.get(length..)?;
        Some(piece)
    })
}

fn push_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    percent::encode(bytes, |byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(rest: &'a [u8], path: &'a [u8], query: &'a [u8]) -> Parts<'a> {
        Parts { rest, path, query, host: b"shop.example", scheme: "http" }
    }

    fn rendered(template: &str, value: &str) -> String {
        let value = value.as_bytes();
        let query = if template.contains("$query") { value } else { b"" };
        String::from_utf8(render(template, &parts(value, value, query))).unwrap()
    }

    #[test]
    fn variables_are_filled_in_and_cannot_carry_a_header() {
        assert_eq!(check("$scheme://www.$host$path?$query"), Ok(()));
        assert_eq!(
            render("$scheme://www.$host$path?$query", &parts(b"", b"/old/a", b"x=1")),
            b"http://www.shop.example/old/a?x=1"
        );
        for (template, value, location) in [
            ("/new$rest", "/a%20b", "/new/a%20b"),
            ("/new", "/a", "/new"),
            ("/$$5$", "", "/$5$"),
            ("/$$rest", "/a", "/$rest"),
            ("/x?from=$path&$query", "/a", "/x?from=/a&/a"),
            ("/x$rest", "\r\nSet-Cookie: a", "/x%0D%0ASet-Cookie:%20a"),
            ("https://a.example/x$rest", "/\r\n\t<\u{e9}>", "https://a.example/x/%0D%0A%09%3C%C3%A9%3E"),
        ] {
            assert_eq!(check(template), Ok(()), "{template}");
            assert_eq!(rendered(template, value), location, "{template}");
        }
    }

    #[test]
    fn a_text_is_what_it_says_with_what_a_request_fills_in() {
        let parts = parts(b"", b"/a b\r\nX: y\"", b"q");
        for (template, text, varies) in [
            ("one, two; three=\"$5\"", "one, two; three=\"$5\"", false),
            (
                "<$scheme://$host$path>; rel=canonical",
                "<http://shop.example/a%20b%0D%0AX:%20y%22>; rel=canonical",
                true,
            ),
            ("$$host", "$host", false),
        ] {
            assert_eq!(String::from_utf8(render_text(template, &parts)).unwrap(), text);
            assert_eq!(
                (has_variables(template), check_text(template).is_ok()),
                (varies, !text.contains("$5")),
                "{template}"
            );
        }
        assert_eq!(check_text("$nothing"), Err(Error::Unknown("nothing".to_owned())));
    }

    #[test]
    fn a_path_stays_on_this_host() {
        let templates = [
            "/$rest",
            "$rest",
            "$path",
            "/$path",
            "//$rest",
            "/$rest$path",
            "$query",
            "$host",
            "/",
            "$$",
            "",
        ];
        let values = [
            "/evil.example",
            "//evil.example/x",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%5Cevil",
            "/%09/evil",
            "/\t/evil",
            "\t//evil",
            "\n//evil",
            "/\r\n/evil",
            " //evil",
            "evil.example",
            "https://evil.example",
            "",
            "/",
            "//",
            "/%2f/evil",
            "\u{0}//evil",
        ];
        for template in templates {
            for value in values {
                let location = rendered(template, value);
                let bytes = location.as_bytes();
                assert_eq!(bytes.first(), Some(&b'/'), "{template} {value:?}: {location:?}");
                assert!(!matches!(bytes.get(1), Some(b'/' | b'\\')), "{template} {value:?}: {location:?}");
                assert!(
                    bytes.iter().all(|byte| byte.is_ascii_graphic()),
                    "{template} {value:?}: {location:?}"
                );
            }
        }
        assert_eq!(rendered("/$rest", "//evil.example/x"), "/evil.example/x");
        assert_eq!(rendered("$rest", "/\\evil.example"), "/%5Cevil.example");
        assert_eq!(rendered("$rest", ""), "/");
    }

    #[test]
    fn the_host_of_a_url_is_what_the_template_says() {
        for template in ["https://new.example$rest", "https://new.example$path", "https://new.example$query"]
        {
            for value in [".evil.example", "@evil.example", ":80@evil.example", "x", "*"] {
                let location = rendered(template, value);
                assert_eq!(location, format!("https://new.example/{value}"), "{template}");
            }
            assert_eq!(rendered(template, ""), "https://new.example", "{template}");
            assert_eq!(
                rendered(template, "//evil.example"),
                "https://new.example//evil.example",
                "{template}"
            );
        }
        assert_eq!(rendered("https://a.example?$query", ".b"), "https://a.example?.b");
    }

    #[test]
    fn what_is_a_template() {
        for good in [
            "/",
            "/new$rest",
            "$rest",
            "$path?$query",
            "https://new.example$path",
            "https://new.example:8443$rest",
            "https://$host$path",
            "$scheme://www.$host/",
            "https://$host:8443$path?$query",
            "https://a.example?next=$path",
            "/a$",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, error) in [
            ("/a b", Error::Character),
            ("/a\n", Error::Character),
            ("/\\evil.example", Error::Backslash),
            ("x.example", Error::Form),
            ("", Error::Form),
            ("?x", Error::Form),
            ("$query", Error::Form),
            ("$host/x", Error::Form),
            ("$scheme:/x", Error::Form),
            ("$$rest", Error::Form),
            ("//cdn.example/x", Error::NetworkPath),
            ("//$host/x", Error::NetworkPath),
            ("https://$query/", Error::InHost(Variable::Query)),
            ("https://new.example$query", Error::InHost(Variable::Query)),
            ("https://new.example$host/", Error::InHost(Variable::Host)),
            ("https://$scheme.example/", Error::InHost(Variable::Scheme)),
            ("https://", Error::NoHost),
            ("https://$path", Error::NoHost),
            ("https:///x", Error::NoHost),
            ("/new$ret", Error::Unknown("ret".to_owned())),
            ("/$restful", Error::Unknown("restful".to_owned())),
        ] {
            assert_eq!(check(bad), Err(error), "{bad}");
        }
    }
}
