//! Which files are code, and which directories have none that is edited. Pure: names only.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Which files of an app are its code. Templates and static files are read anew by the app, or by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Of an app that is hosted here.
    Python,
    /// Of a command, in whatever language.
    Any,
}

const PYTHON: [&str; 1] = ["py"];

const ANY: [&str; 15] =
    ["py", "rb", "ru", "js", "mjs", "cjs", "ts", "mts", "cts", "php", "pl", "pm", "lua", "ex", "exs"];

/// Directories of what tools and package managers make, and which nobody edits.
const MADE: [&[u8]; 2] = [b"__pycache__", b"node_modules"];

impl Code {
    /// Whether a file of this name is code. Names that begin with a dot are those of editors' own files.
    pub(super) fn is(self, name: &[u8]) -> bool {
        match self {
            Self::Python => has_suffix(name, &PYTHON),
            Self::Any => has_suffix(name, &ANY),
        }
    }
}

const PAGES: [&str; 12] =
    ["html", "htm", "djhtml", "jinja", "jinja2", "j2", "mako", "css", "js", "mjs", "svg", "md"];

/// Whether pages are made of a file of this name: templates, and what is shown with them. Pictures and documents are not among
/// these, as an app may write them while it is used.
pub(super) fn is_page(name: &[u8]) -> bool {
    has_suffix(name, &PAGES)
}

fn has_suffix(name: &[u8], suffixes: &[&str]) -> bool {
    let suffix = Path::new(OsStr::from_bytes(name)).extension();
    !name.starts_with(b".") && suffixes.iter().any(|known| suffix == Some(OsStr::new(known)))
}

/// Whether code may be in a directory of this name.
pub(super) fn is_searched(name: &[u8]) -> bool {
    !name.starts_with(b".") && !MADE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_known_by_its_suffix_and_what_editors_write_beside_it_is_none() {
        for (name, python, any) in [
            ("views.py", true, true),
            ("server.mjs", false, true),
            (".py", false, false),
            (".#views.py", false, false),
            ("views.py~", false, false),
            ("views.py.swp", false, false),
            ("#views.py#", false, false),
            ("4913", false, false),
            ("views.pyc", false, false),
            ("base.html", false, false),
            ("db.sqlite3", false, false),
        ] {
            assert_eq!(
                (Code::Python.is(name.as_bytes()), Code::Any.is(name.as_bytes())),
                (python, any),
                "{name}"
            );
        }
        assert!(Code::Python.is(b"\xff.py"));
        for (name, page) in [
            ("base.html", true),
            ("site.css", true),
            (".x.css", false),
            ("db.sqlite3", false),
            ("a.png", false),
        ] {
            assert_eq!(is_page(name.as_bytes()), page, "{name}");
        }
        for name in [".git", ".venv", "__pycache__", "node_modules"] {
            assert!(!is_searched(name.as_bytes()), "{name}");
        }
        assert!(is_searched(b"shop") && is_searched(b"py"));
    }
}
