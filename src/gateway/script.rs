//! A CGI script and one request (RFC 3875): which file it is, what it finds in its environment, and what becomes of what it
//! writes. Pure; `scripts/` does what is decided here.

mod answer;
mod lines;

pub(crate) use answer::Answer;
pub(crate) use lines::Lines;

use super::params::split_pairs;
use crate::http::Method;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// The variables of a request: pairs of a REQUEST frame (`control::frame`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variables<'a>(&'a [u8]);

/// What lies at a name below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file: a script, or something that cannot be executed.
    File,
    /// A directory.
    Directory,
    /// Neither, or nothing.
    Nothing,
}

/// A script that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script<'a> {
    /// Its name below the root.
    pub(crate) file: &'a [u8],
    /// What follows it in the path: empty, or with a slash at its beginning.
    pub(crate) rest: &'a [u8],
}

/// What every script of a directory has in common.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    /// The directory.
    pub(crate) root: PathBuf,
    /// `NAME=value`.
    pub(crate) environment: Vec<CString>,
    /// Scripts are shown `Authorization`.
    pub(crate) pass_authorization: bool,
}

/// Bytes of one string of an environment, with its NUL: MAX_ARG_STRLEN of the kernel (execve(2)).
const LONGEST: usize = 128 * 1024;

/// Variables that a script is told in another way, or not at all. `Authorization` has a password that is the server's to check
/// (RFC 3875 §4.1.18).
const NOT_PASSED: [&[u8]; 3] = [b"SCRIPT_NAME", b"PATH_INFO", b"RAW_URI"];
const LOGINS: [&[u8]; 2] = [b"HTTP_AUTHORIZATION", b"HTTP_PROXY_AUTHORIZATION"];

impl<'a> Variables<'a> {
    /// Those of this payload.
    #[must_use]
    pub(crate) fn of(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    fn all(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        split_pairs(self.0)
    }

    /// The value of one; empty if there is none.
    #[must_use]
    pub(crate) fn get(self, name: &str) -> &'a [u8] {
        self.all().find(|(known, _)| *known == name.as_bytes()).map_or(b"", |(_, value)| value)
    }

    /// The method of the request.
    #[must_use]
    pub(crate) fn method(self) -> Method {
        Method::from_bytes(self.get("REQUEST_METHOD"))
    }
}

/// The script that `path` names below the root: the first file on the way. `look` is asked for each name from the root on.
/// `None`: there is none; names that begin with a dot are as if they were not there.
///
/// # Errors
/// What `look` says.
pub(crate) fn find<'a, E>(
    path: &'a [u8],
    mut look: impl FnMut(&'a [u8]) -> Result<Found, E>,
) -> Result<Option<Script<'a>>, E> {
    let start = path.strip_prefix(b"/").unwrap_or(path);
    let mut end = 0;
    for name in start.split(|byte| *byte == b'/') {
        if name.is_empty() || name.starts_with(b".") {
            return Ok(None);
        }
        end += name.len();
        let (file, rest) = start.split_at_checked(end).unwrap_or((start, b""));
        match look(file)? {
            Found::File => return Ok(Some(Script { file, rest })),
            Found::Nothing => return Ok(None),
            Found::Directory => end += 1,
        }
    }
    Ok(None)
}

/// The environment of a script for a request (RFC 3875 §4.1), as execve(2) takes it.
///
/// # Errors
/// The status of the answer: a variable is longer than the kernel takes.
pub(crate) fn environment(
    variables: Variables<'_>,
    script: Script<'_>,
    around: &Around,
) -> Result<Vec<CString>, u16> {
    // What the configuration says stands, whatever a request would say under that name.
    let mut all = around.environment.clone();
    let is_set = |name: &[u8]| {
        let is_own =
            |known: &CString| known.to_bytes().strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="));
        around.environment.iter().any(is_own)
    };
    let mut put = |name: &[u8], parts: &[&[u8]]| -> Result<(), u16> {
        if is_set(name) {
            return Ok(());
        }
        let length = name.len() + 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        if length > LONGEST {
            return Err(if name.starts_with(b"HTTP_") { 431 } else { 414 });
        }
        let mut text = Vec::with_capacity(length);
        text.extend_from_slice(name);
        text.push(b'=');
        parts.iter().for_each(|part| text.extend_from_slice(part));
        // None has a NUL: they are divided by it.
        all.extend(CString::new(text).ok());
        Ok(())
    };
    let mount = variables.get("SCRIPT_NAME");
    for (name, value) in variables.all() {
        let is_kept_back = NOT_PASSED.contains(&name) || LOGINS.contains(&name) && !around.pass_authorization;
        if !is_kept_back {
            put(name, &[value])?;
        }
    }
    let root = path_bytes(&around.root);
    put(b"SCRIPT_NAME", &[mount, b"/", script.file])?;
    put(b"SCRIPT_FILENAME", &[root, b"/", script.file])?;
    put(b"DOCUMENT_ROOT", &[root])?;
    // PHP runs nothing without it.
    put(b"REDIRECT_STATUS", &[b"200"])?;
    if !script.rest.is_empty() {
        put(b"PATH_INFO", &[script.rest])?;
        put(b"PATH_TRANSLATED", &[root, script.rest])?;
    }
    Ok(all)
}

fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn payload(pairs: &[(&str, &str)]) -> Vec<u8> {
        pairs.iter().flat_map(|(name, value)| format!("{name}\0{value}\0").into_bytes()).collect()
    }

    fn around() -> Around {
        Around {
            root: PathBuf::from("/srv/cgi"),
            environment: vec![c"PATH=/usr/bin".to_owned(), c"HTTP_PROXY=http://proxy".to_owned()],
            pass_authorization: false,
        }
    }

    fn map(environment: &[CString]) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        for variable in environment {
            let (name, value) = variable.to_str().unwrap().split_once('=').unwrap();
            assert!(map.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
        }
        map
    }

    fn look(name: &[u8]) -> Result<Found, ()> {
        Ok(match name {
            b"a" | b"a/b" => Found::Directory,
            b"x.cgi" | b"a/y" | b"a/b/z" => Found::File,
            _ => Found::Nothing,
        })
    }

    #[test]
    fn the_first_file_on_the_way_is_the_script() {
        for (path, expected) in [
            ("/x.cgi", Some(("x.cgi", ""))),
            ("x.cgi", Some(("x.cgi", ""))),
            ("/x.cgi/", Some(("x.cgi", "/"))),
            ("/x.cgi/more/of it", Some(("x.cgi", "/more/of it"))),
            ("/a/y", Some(("a/y", ""))),
            ("/a/b/z/../x.cgi", Some(("a/b/z", "/../x.cgi"))),
            ("/", None),
            ("", None),
            ("/a", None),
            ("/a/b/", None),
            ("/a//y", None),
            ("/../x.cgi", None),
            ("/./x.cgi", None),
            ("/.hidden", None),
            ("/a/.y", None),
            ("/nothing/x.cgi", None),
        ] {
            let found = find(path.as_bytes(), look).unwrap();
            let expected =
                expected.map(|(file, rest)| Script { file: file.as_bytes(), rest: rest.as_bytes() });
            assert_eq!(found, expected, "{path}");
        }
        assert_eq!(find(b"/x", |_| Err::<Found, _>(7)), Err(7));
    }

    #[test]
    fn the_environment_is_that_of_the_request_and_of_the_configuration_and_nothing_else() {
        let asked = payload(&[
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/cgi-bin"),
            ("PATH_INFO", "/x.cgi/more"),
            ("QUERY_STRING", "a=%20&b"),
            ("RAW_URI", "/cgi-bin/x.cgi/more?a=%20&b"),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_PROXY", "evil"),
            ("HTTP_AUTHORIZATION", "Basic secret"),
            ("HTTP_PROXY_AUTHORIZATION", "Basic secret"),
        ]);
        let script = Script { file: b"x.cgi", rest: b"/more" };
        let map_of = |around: &Around| map(&environment(Variables::of(&asked), script, around).unwrap());
        let told = map_of(&around());
        let expected: BTreeMap<String, String> = [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", "/cgi-bin/x.cgi"),
            ("SCRIPT_FILENAME", "/srv/cgi/x.cgi"),
            ("DOCUMENT_ROOT", "/srv/cgi"),
            ("PATH_INFO", "/more"),
            ("PATH_TRANSLATED", "/srv/cgi/more"),
            ("QUERY_STRING", "a=%20&b"),
            ("PATH", "/usr/bin"),
            ("HTTP_ACCEPT", "*/*"),
            ("HTTP_PROXY", "http://proxy"),
            ("REDIRECT_STATUS", "200"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(told, expected);
        let told = map_of(&Around { pass_authorization: true, ..around() });
        assert_eq!(told["HTTP_AUTHORIZATION"], "Basic secret");
        let plain = environment(Variables::of(b""), Script { file: b"x", rest: b"" }, &around()).unwrap();
        let plain = map(&plain);
        assert!(!plain.contains_key("PATH_INFO") && !plain.contains_key("PATH_TRANSLATED"));
        assert_eq!(plain["PATH"], "/usr/bin");
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_before() {
        let script = Script { file: b"x", rest: b"" };
        let told = |name: &str, length: usize| {
            let asked = payload(&[(name, &"x".repeat(length))]);
            environment(Variables::of(&asked), script, &around()).map(|_| ())
        };
        let most = LONGEST - "HTTP_COOKIE=".len() - 1;
        assert_eq!((told("HTTP_COOKIE", most), told("HTTP_COOKIE", most + 1)), (Ok(()), Err(431)));
        assert_eq!(told("QUERY_STRING", LONGEST), Err(414));
    }

    #[test]
    fn variables_are_found_by_name() {
        let asked = payload(&[("A", ""), ("REQUEST_METHOD", "POST"), ("A", "2")]);
        let variables = Variables::of(&asked);
        assert_eq!(
            (variables.get("A"), variables.get("B"), variables.method()),
            (&b""[..], &b""[..], Method::Post)
        );
    }
}
