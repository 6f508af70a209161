//! The `location` of a redirect: a template of a path, or of a URL, with variables that a request fills in.
//!
//! Two rules make it say where the operator said, whatever a client sends:
//!
//! - A path stays a path of this host. A reference that begins with two slashes is one of another host (a network-path
//!   reference, RFC 3986 §4.2), and browsers read a backslash as a slash and skip tabs and line ends (URL Standard, path
//!   state): a rendered path begins with one slash, whatever its parts begin with.
//! - The host of a URL is what the template says. What a client wrote of a path comes behind a slash, so that no
//!   `.evil.example` or `@evil.example` completes the host.
//!
//! Groups of a regular expression, `$1` and `$name`, are of the decoded path: they are encoded anew, so that no `?` or `&` in
//! one adds a parameter.

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
    InHost(String),
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
    /// What groups of a regular expression have found in the decoded path, by number and by name.
    pub(crate) groups: &'a [(String, Vec<u8>)],
    /// The query goes along wherever the template has no `?`; else only with a part of the path.
    pub(crate) keeps_query: bool,
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

/// Judges a template as it stands in a configuration. `groups`: those that there are, by number and by name.
///
/// # Errors
/// [`Error`]
pub(crate) fn check(template: &str, groups: &[String]) -> Result<(), Error> {
    if template.contains(|char: char| char.is_control() || char == ' ') {
        return Err(Error::Character);
    }
    if template.contains('\\') {
        return Err(Error::Backslash);
    }
    let is_group = |name: &&str| groups.iter().any(|group| group == name);
    if let Some(name) = groups_of(template).find(|name| !is_group(name)) {
        return Err(Error::Unknown(name.to_owned()));
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

/// The groups that a template refers to.
pub(crate) fn groups_of(template: &str) -> impl Iterator<Item = &str> {
    pieces(template).filter_map(|piece| match piece {
        Piece::Group(name) => Some(name),
        Piece::Text(_) | Piece::Variable(_) => None,
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
            Piece::Variable(variable) => return Err(Error::InHost(variable.name().to_owned())),
            Piece::Group(name) => return Err(Error::InHost(name.to_owned())),
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
                if value.is_empty() && variable == Variable::Query && location.ends_with(b"&") {
                    location.pop();
                }
                push_encoded(&mut location, value);
            }
            Piece::Group(name) => {
                let value = parts.groups.iter().find(|(known, _)| known == name);
                location.extend(value.map(|(_, value)| percent::encoded_path(value)).unwrap_or_default());
            }
        }
    }
    // Who is sent on with the path keeps the query, unless the template says otherwise.
    let is_path = |piece| matches!(piece, Piece::Variable(Variable::Rest | Variable::Path) | Piece::Group(_));
    let has_path = parts.keeps_query || pieces(template).any(is_path);
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
    groups_of(template).next().map_or(Ok(()), |name| Err(Error::Unknown(name.to_owned())))
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
            // There are none here.
            Piece::Group(name) => text.extend_from_slice(&[b"$", name.as_bytes()].concat()),
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
    /// Of a regular expression: `$1` to `$9`, or a word that is no variable.
    Group(&'a str),
}

/// The template taken apart, without empty texts.
fn pieces(template: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut left = template;
    std::iter::from_fn(move || {
        let (piece, length) = match (left.strip_prefix('$'), left.find('$')) {
            (Some(after), _) if after.starts_with('$') => (Piece::Text("$"), 2),
            (Some(after), _) => {
                let name = word(after);
                let piece = match Variable::ALL.iter().find(|one| one.name() == name) {
                    Some(variable) => Piece::Variable(*variable),
                    None if name.is_empty() => Piece::Text("$"),
                    None => Piece::Group(name),
                };
                (piece, 1 + name.len())
            }
            (None, at) => {
                let length = at.unwrap_or(left.len());
                (Piece::Text(left.get(..length).filter(|text| !text.is_empty())?), length)
            }
        };
        left = left.get(length..)?;
        Some(piece)
    })
}

/// What stands behind a `$`: one digit, or a word.
fn word(after: &str) -> &str {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let end = match after.chars().next() {
        Some('0'..='9') => 1,
        _ => after.find(|char| !is_part(char)).unwrap_or(after.len()),
    };
    after.get(..end).unwrap_or_default()
}

fn push_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    percent::encode(bytes, |byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(rest: &'a [u8], path: &'a [u8], query: &'a [u8]) -> Parts<'a> {
        Parts { rest, path, query, host: b"shop.example", scheme: "http", groups: &[], keeps_query: false }
    }

    fn rendered(template: &str, value: &str) -> String {
        let value = value.as_bytes();
        let query = if template.contains("$query") { value } else { b"" };
        String::from_utf8(render(template, &parts(value, value, query))).unwrap()
    }

    #[test]
    fn variables_are_filled_in_and_cannot_carry_a_header() {
        assert_eq!(check("$scheme://www.$host$path?$query", &[]), Ok(()));
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
            assert_eq!(check(template, &[]), Ok(()), "{template}");
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
            assert_eq!(check(good, &[]), Ok(()), "{good}");
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
            ("https://$query/", Error::InHost("query".to_owned())),
            ("https://new.example$query", Error::InHost("query".to_owned())),
            ("https://new.example$host/", Error::InHost("host".to_owned())),
            ("https://$scheme.example/", Error::InHost("scheme".to_owned())),
            ("https://", Error::NoHost),
            ("https://$path", Error::NoHost),
            ("https:///x", Error::NoHost),
            ("/new$ret", Error::Unknown("ret".to_owned())),
            ("/$restful", Error::Unknown("restful".to_owned())),
            ("/$1", Error::Unknown("1".to_owned())),
            ("/$12", Error::Unknown("1".to_owned())),
        ] {
            assert_eq!(check(bad, &[]), Err(error), "{bad}");
        }
    }

    #[test]
    fn groups_are_filled_in_and_stay_what_they_are() {
        let names: Vec<String> = ["1", "2", "page", "none"].map(str::to_owned).to_vec();
        let location = |template: &str, value: &str, query: &str| {
            assert_eq!(check(template, &names), Ok(()), "{template}");
            let groups = [("1", value), ("2", "two"), ("page", value)];
            let groups = groups.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
            let parts = Parts { groups: &groups, ..parts(b"", b"", query.as_bytes()) };
            String::from_utf8(render(template, &parts)).unwrap()
        };
        for (template, value, query, wanted) in [
            ("/new/$1/$2", "a b", "", "/new/a%20b/two"),
            ("/new/$1", "a", "x=1", "/new/a?x=1"),
            ("/new?p=$1", "a&admin=1#?", "x=1", "/new?p=a%26admin%3D1%23%3F"),
            ("/new?p=$1&$query", "a", "x=1", "/new?p=a&x=1"),
            ("/new?p=$1&$query", "a", "", "/new?p=a"),
            ("/$page", "/evil.example", "", "/evil.example"),
            ("/$1$1", "/\\", "", "/%5C/%5C"),
            ("/$10", "a", "", "/a0"),
            ("/$1\u{e9}", "\r\nA: b", "", "/%0D%0AA%3A%20b\u{e9}"),
            ("/x$none", "a", "", "/x"),
            ("https://new.example/$1", "@evil.example", "", "https://new.example/%40evil.example"),
        ] {
            assert_eq!(location(template, value, query), wanted, "{template} {value:?}");
        }
        for (bad, error) in [
            ("https://$1.example/", Error::InHost("1".to_owned())),
            ("https://new.example$page", Error::InHost("page".to_owned())),
            ("/$3", Error::Unknown("3".to_owned())),
            ("/$pages", Error::Unknown("pages".to_owned())),
            ("$1/x", Error::Form),
        ] {
            assert_eq!(check(bad, &names), Err(error), "{bad}");
        }
        assert_eq!(groups_of("/$path$1/$$2/$page$").collect::<Vec<_>>(), ["1", "page"]);
    }

    #[test]
    fn the_query_goes_along_where_it_is_the_same_request() {
        let location = |template: &str| {
            let parts = Parts { keeps_query: true, ..parts(b"", b"/a", b"x=1") };
            String::from_utf8(render(template, &parts)).unwrap()
        };
        assert_eq!(location("/index.php"), "/index.php?x=1");
        assert_eq!(location("/index.php?"), "/index.php?");
        assert_eq!(location("/index.php?q=$path"), "/index.php?q=/a");
    }
}
