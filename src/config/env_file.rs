//! `env_file`: variables in files. What they hold is secret: a configuration has the names of the files alone, and no
//! message quotes a line.
//!
//! ```text
//!  # a comment            a line of its own; a line may be empty
//!  NAME=value             up to the end of the line, without the blanks around it; nothing in it has a meaning
//!  export NAME=value      the same
//!  NAME='value'           as it is, over several lines, too
//!  NAME="value"           with \" \\ \$ \` for these characters and \n \r \t; over several lines, too
//! ```

use super::Config;
use super::problem::{Complaint, Place, Problem};
use crate::secret::Secret;
use crate::sys::file::read_at;
use crate::sys::place::Place as PlaceOnDisk;
use crate::sys::trust::Stranger;
use crate::sys::user;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// More is no list of variables.
const MOST: u64 = 1 << 20;

/// Why a file is of no use: the line, if it is one, and what is wrong.
type Wrong = (Option<usize>, Complaint);

/// What a file says, and what is doubtful about who can read it.
pub(crate) struct Variables {
    /// `NAME=value`, each with NUL at its end.
    pub(crate) pairs: Secret,
    /// For the operator.
    pub(crate) doubt: Option<String>,
}

/// Whose files there are, each with its key.
pub(crate) fn all<'c>(config: &'c Config) -> Vec<(String, &'c Path)> {
    let of = |key: String, files: &'c [PathBuf]| files.iter().map(move |path| (key.clone(), path.as_path()));
    let apps = config.apps.iter().flat_map(|app| of(format!("apps.{}.env_file", app.name), &app.env_file));
    let daemons = config.daemons.iter();
    let daemons =
        daemons.flat_map(|daemon| of(format!("daemons.{}.env_file", daemon.name), &daemon.task.env_file));
    let jobs = config.cron.iter().enumerate();
    let jobs = jobs.flat_map(|(index, job)| of(format!("cron[{index}].env_file"), &job.task.env_file));
    apps.chain(daemons).chain(jobs).collect()
}

/// Reads a file that stands behind this key.
///
/// # Errors
/// It is not there, cannot be read, is no file, has a line that is not understood, or can be written by everybody.
pub(crate) fn read(origin: &str, key: &str, path: &Path) -> Result<Variables, Problem> {
    read_at_all(path).map_err(|(line, complaint)| match line.and_then(|line| u32::try_from(line).ok()) {
        Some(line) => {
            let file = path.display().to_string();
            Place { file, line, column: 1, key: key.to_owned() }.problem(complaint)
        }
        None => {
            let what = format!("`{}`: {}", path.display(), complaint.what);
            Place::named(origin, key).problem(Complaint { what, ..complaint })
        }
    })
}

fn read_at_all(path: &Path) -> Result<Variables, Wrong> {
    let wrong = |what: &str, hint: &str| (None, Complaint::new(what, hint));
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => wrong("no such file", "create it, or correct the path"),
        // It says what to do.
        _ if error.get_ref().is_some() => (None, Complaint::new(error.to_string(), "")),
        ErrorKind::PermissionDenied => {
            wrong("permission denied", "it must be readable for the user who starts the server")
        }
        _ => (None, Complaint::new(error.to_string(), "")),
    };
    // A link that somebody else has put there could lead to secrets of another app.
    let place = PlaceOnDisk::through_links(path).map_err(failed)?;
    let file = File::from(place.open(OFlag::O_RDONLY).map_err(failed)?);
    let found = file.metadata().map_err(failed)?;
    let mode = found.mode() & 0o7777;
    if !found.is_file() {
        return Err(wrong("it is no file but a directory, a pipe, a socket or a device", ""));
    }
    if place.stranger().is_some() && found.nlink() > 1 {
        let hint = "copy it to a place that only root can change";
        return Err(wrong(
            "it has more than one name (a hard link), in a directory that others can change",
            hint,
        ));
    }
    if found.len() > MOST {
        return Err(wrong("it has more than 1 MiB", "it holds lines NAME=value"));
    }
    let remedy = Stranger::Anybody.remedy(path);
    let mut doubt = None;
    if mode & 0o002 != 0 {
        let what = format!("every user can write it (mode {mode:04o}), and so run programs in its place");
        if user::is_root() {
            return Err(wrong(&what, &remedy));
        }
        doubt = Some(format!("{what}; {remedy}"));
    } else if mode & 0o004 != 0 {
        let remedy = remedy.replace("o-w", "o-r");
        doubt = Some(format!("every user can read its secrets (mode {mode:04o}); {remedy}"));
    }
    let length = usize::try_from(found.len()).unwrap_or(0);
    let text = Secret(read_at(file.as_fd(), 0, length).map_err(failed)?);
    let mut pairs = Secret(Vec::with_capacity(text.0.len() + 1));
    parse(&text.0, &mut pairs.0).map_err(|(line, complaint)| (Some(line), complaint))?;
    Ok(Variables { pairs, doubt })
}

/// The variables of a file.
pub(crate) fn entries(pairs: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs.split(|byte| *byte == 0).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(pair.iter().position(|byte| *byte == b'=')?)?;
        Some((name, value.get(1..)?))
    })
}

/// Appends what a text says, in no more bytes than it has and one.
fn parse(text: &[u8], out: &mut Vec<u8>) -> Result<(), (usize, Complaint)> {
    let line_of = |at: usize| 1 + text.iter().take(at).filter(|byte| **byte == b'\n').count();
    let whole = std::str::from_utf8(text)
        .map_err(|error| (line_of(error.valid_up_to()), Complaint::new("it is not UTF-8 text", "")))?;
    if let Some(at) = whole.find('\0') {
        return Err((line_of(at), Complaint::new("a NUL character", "the environment cannot hold one")));
    }
    let mut rest = whole.strip_prefix('\u{feff}').unwrap_or(whole);
    while !rest.is_empty() {
        let line = line_of(whole.len() - rest.len());
        rest = assignment(rest, out).map_err(|complaint| (line, complaint))?;
    }
    Ok(())
}

/// Takes the first line, or the lines of the value that begins in it; what follows.
fn assignment<'t>(text: &'t str, out: &mut Vec<u8>) -> Result<&'t str, Complaint> {
    let (line, after) = text.split_once('\n').unwrap_or((text, ""));
    let said = line.trim();
    if said.is_empty() || said.starts_with('#') {
        return Ok(after);
    }
    let exported = said.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let Some((name, value)) = exported.unwrap_or(said).split_once('=') else {
        return Err(Complaint::new("a line without `=`", "write NAME=value; a comment begins with `#`"));
    };
    let (name, value) = (name.trim(), value.trim_start());
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.starts_with(|first: char| !first.is_ascii_digit())
    };
    if !is_name(name) {
        let hint = "letters, digits and `_`, no digit first: NAME=value";
        return Err(Complaint::new("what stands before the `=` is no name of a variable", hint));
    }
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    let rest = match value.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        Some(quote) => {
            let begin = value.as_ptr() as usize - text.as_ptr() as usize + 1;
            quoted(text.get(begin..).unwrap_or_default(), quote, out)?
        }
        None => {
            out.extend_from_slice(value.as_bytes());
            after
        }
    };
    out.push(0);
    Ok(rest)
}

/// Takes a value whose first quote stands before the text, and its line; what follows.
fn quoted<'t>(text: &'t str, quote: char, out: &mut Vec<u8>) -> Result<&'t str, Complaint> {
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        let meant = match char {
            '\\' if quote == '"' => match chars.clone().next().map(|(_, next)| next) {
                Some('n') => Some('\n'),
                Some('r') => Some('\r'),
                Some('t') => Some('\t'),
                next => next.filter(|next| matches!(next, '"' | '\\' | '$' | '`')),
            },
            _ if char == quote => {
                let after = text.get(at + 1..).unwrap_or_default();
                let (line, rest) = after.split_once('\n').unwrap_or((after, ""));
                let is_over =
                    line.trim().is_empty() || (line.starts_with([' ', '\t']) && line.trim().starts_with('#'));
                return if is_over {
                    Ok(rest)
                } else {
                    Err(Complaint::new(
                        "something follows the closing quote",
                        "a quote within the value is written \\\"",
                    ))
                };
            }
            _ => None,
        };
        if meant.is_some() {
            chars.next();
        }
        out.extend_from_slice(meant.unwrap_or(char).encode_utf8(&mut [0; 4]).as_bytes());
    }
    Err(Complaint::new(
        format!("the value that begins here with {quote} is not closed"),
        "put the same quote at its end",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
        let mut out = Vec::with_capacity(text.len() + 1);
        let room = out.capacity();
        let result = parse(text.as_bytes(), &mut out);
        assert_eq!(out.capacity(), room, "what was in a smaller one would stay in memory: {text:?}");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        result.map_err(|(line, complaint)| (line, complaint.what))?;
        Ok(entries(&out).map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn lines_are_read_as_docker_and_systemd_read_them() {
        for (text, want) in [
            ("", &[][..]),
            ("\n  # A=1\n\t\n", &[]),
            ("A=1\nB=2", &[("A", "1"), ("B", "2")]),
            ("\u{feff}A=1\r\nB = x y \r\n", &[("A", "1"), ("B", "x y")]),
            ("export A=1\n  export\tB=2\nexported=3\n", &[("A", "1"), ("B", "2"), ("exported", "3")]),
            ("A=\nB=\"\"\nC=''", &[("A", ""), ("B", ""), ("C", "")]),
            ("A=a#b # c\nB=x=y\nC=\\n$X`", &[("A", "a#b # c"), ("B", "x=y"), ("C", "\\n$X`")]),
            ("A='a # b' # c\nB=\" ü\\\"\\\\\\$\\`\\n\\x \"", &[("A", "a # b"), ("B", " ü\"\\$`\n\\x ")]),
            ("A='a\nb\\n'\nB=\"c\nd\"\nC=3", &[("A", "a\nb\\n"), ("B", "c\nd"), ("C", "3")]),
            ("A=it's\nA=2", &[("A", "it's"), ("A", "2")]),
        ] {
            let want: Vec<_> =
                want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parsed(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_has_its_number_and_is_not_quoted() {
        for (text, line, want) in [
            ("A=1\nsecret\n", 2, "a line without `=`"),
            ("\n\nexport secret", 3, "a line without `=`"),
            ("sec-ret=1", 1, "what stands before the `=` is no name of a variable"),
            ("=secret", 1, "what stands before the `=` is no name of a variable"),
            ("1A=secret", 1, "what stands before the `=` is no name of a variable"),
            ("A='x\ny\nz", 1, "the value that begins here with ' is not closed"),
            ("A='x\ny'\nB=\"secret\\\"", 3, "the value that begins here with \" is not closed"),
            ("A=\"x\"secret", 1, "something follows the closing quote"),
            ("A=\"x\"#secret", 1, "something follows the closing quote"),
            ("A=1\nB=\0", 2, "a NUL character"),
        ] {
            assert_eq!(parsed(text), Err((line, want.to_owned())), "{text:?}");
        }
        let wrong = parse(b"A=1\n\nB=\xff", &mut Vec::new()).unwrap_err();
        assert_eq!((wrong.0, wrong.1.what.as_str()), (3, "it is not UTF-8 text"));
    }

    #[test]
    fn whatever_stands_there_is_read_or_refused() {
        let pieces = ["A", "=", "\"", "'", "\\", "\n", "\r", "#", " ", "export ", "ü", "\u{feff}", "$"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let _ = parsed(&text);
        }
    }

    #[test]
    fn what_is_no_file_of_variables_is_refused_without_waiting() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("hatchery-env-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let said = |name: &str| match read("h.ron", "apps.a.env_file", &folder.join(name)) {
            Ok(Variables { doubt, .. }) => doubt.unwrap_or_default(),
            Err(problem) => problem.to_string(),
        };
        assert!(
            said("none").ends_with("none`: no such file; create it, or correct the path"),
            "{}",
            said("none")
        );
        nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(said("pipe").contains("it is no file but"), "{}", said("pipe"));
        assert!(said("").contains("it is no file but"), "{}", said(""));
        std::fs::write(folder.join("large"), vec![b'\n'; (1 << 20) + 1]).unwrap();
        assert!(said("large").contains("more than 1 MiB"), "{}", said("large"));
        let file = folder.join("good");
        std::fs::write(&file, "A=1\nwrong\n").unwrap();
        let place = format!("{}:2:1: apps.a.env_file: a line without `=`; ", file.display());
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert!(said("good").starts_with(&place), "{}", said("good"));
        std::fs::write(&file, "A=1\n").unwrap();
        assert_eq!(said("good"), "");
        for (mode, what) in [(0o644, "can read its secrets"), (0o602, "can write it")] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(said("good").contains(what), "{}", said("good"));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
