//! Where configuration comes from. The loader asks a [`Source`], so that all of it is tested without a disk.

use super::trusted;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The world as the loader sees it.
pub trait Source {
    /// The text of a file.
    ///
    /// # Errors
    /// What the system says; `InvalidData` if it is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The same, and what is doubtful about whom the file belongs to.
    ///
    /// # Errors
    /// As [`Source::read`]; others can change the file.
    fn read_with_doubts(&self, path: &Path) -> io::Result<(String, Vec<String>)> {
        self.read(path).map(|text| (text, Vec::new()))
    }
    /// Paths that match a pattern with `*`, `?` and `[a-z]` in its components, sorted. No match is an empty list.
    ///
    /// # Errors
    /// A directory that cannot be read.
    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
    /// An environment variable; `None` if it is not set or not UTF-8.
    fn env(&self, name: &str) -> Option<String>;
    /// A regular file is there.
    fn is_file(&self, path: &Path) -> bool;
    /// A directory is there.
    fn is_dir(&self, path: &Path) -> bool;
    /// One name for each file: without symbolic links. A path that leads nowhere stays.
    fn real(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
    /// Relative paths of the command line, and of the main file itself, start here.
    fn current_dir(&self) -> PathBuf;
    /// Usable CPUs (affinity and cgroup quota), at least 1: what "auto" means.
    fn cpus(&self) -> u32;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.read_with_doubts(path).map(|(text, _)| text)
    }

    fn read_with_doubts(&self, path: &Path) -> io::Result<(String, Vec<String>)> {
        trusted::read(path)
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for component in pattern.components() {
            found = match component {
                Component::Normal(name) if is_pattern(&name.to_string_lossy()) => {
                    let mut next = Vec::new();
                    for directory in found.iter().filter(|path| path.is_dir()) {
                        trusted::directory(directory)?;
                        next.extend(matching_entries(directory, &name.to_string_lossy())?);
                    }
                    next
                }
                plain => found.iter().map(|path| path.join(plain)).collect(),
            };
        }
        // A link that leads nowhere was meant to lead somewhere: whoever reads it tells.
        found.retain(|path| path.symlink_metadata().is_ok());
        found.sort();
        Ok(found)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn real(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn current_dir(&self) -> PathBuf {
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
    }

    fn cpus(&self) -> u32 {
        std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
    }
}

/// `name` of a relative path below `base`, without the `.` in it; an absolute one stays.
pub(crate) fn absolute(base: &Path, name: &str) -> PathBuf {
    base.join(name).components().filter(|component| *component != Component::CurDir).collect()
}

/// Where programs are looked for if the environment does not say.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first `name` in the directories of `path`, separated by colons.
pub(crate) fn find_program(source: &dyn Source, name: &str, path: &str) -> Option<PathBuf> {
    programs(source, name, path).next()
}

/// All that a bare name could be, as execvp(3) tries one after the other.
pub(crate) fn programs<'a>(
    source: &'a dyn Source,
    name: &'a str,
    path: &'a str,
) -> impl Iterator<Item = PathBuf> + 'a {
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories
        .map(move |directory| Path::new(directory).join(name))
        .filter(|program| source.is_file(program))
}

/// The name has wildcards.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

fn matching_entries(directory: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut matching = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if matches(pattern, &name.to_string_lossy()) {
            matching.push(directory.join(name));
        }
    }
    Ok(matching)
}

/// One component of a path against a pattern, as a shell does it: a leading dot is matched only by a dot (glob(7)).
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = name.chars().collect();
    if name.starts_with('.') && pattern.first() != Some(&'.') {
        return false;
    }
    matches_from(&pattern, &text)
}

fn matches_from(pattern: &[char], text: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    if *first == '*' {
        return (0..=text.len()).any(|skip| matches_from(rest, text.get(skip..).unwrap_or_default()));
    }
    let Some((head, tail)) = text.split_first() else { return false };
    match *first {
        '?' => matches_from(rest, tail),
        '[' => match set(rest, *head) {
            Some((inside, after)) => inside && matches_from(after, tail),
            None => *head == '[' && matches_from(rest, tail),
        },
        plain => plain == *head && matches_from(rest, tail),
    }
}

/// `abc]…`, `a-z]…`, `!x]…` after the bracket: is the character in it, and what follows. `None`: never closed.
fn set(pattern: &[char], wanted: char) -> Option<(bool, &[char])> {
    let negated = matches!(pattern.first(), Some('!' | '^'));
    let body = if negated { pattern.get(1..)? } else { pattern };
    let end = body.iter().skip(1).position(|char| *char == ']')? + 1;
    let (members, after) = (body.get(..end)?, body.get(end + 1..)?);
    let mut inside = false;
    let mut index = 0;
    while let Some(low) = members.get(index) {
        match (members.get(index + 1), members.get(index + 2)) {
            (Some('-'), Some(high)) => {
                inside |= (*low..=*high).contains(&wanted);
                index += 3;
            }
            _ => {
                inside |= *low == wanted;
                index += 1;
            }
        }
    }
    Some((inside != negated, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, want) in [
            ("*.ron", "shop.ron", true),
            ("*.ron", "shop.ron.bak", false),
            ("*.ron", ".hidden.ron", false),
            (".*", ".hidden", true),
            ("site-?.ron", "site-1.ron", true),
            ("site-?.ron", "site-.ron", false),
            ("[0-9]*-x", "10-x", true),
            ("[!0-9]*", "a", true),
            ("[!0-9]*", "1", false),
            ("[ab", "[ab", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_disk_expands_wildcards_sorted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = Disk.glob(&root.join("src/con*/prob*.rs")).unwrap();
        assert_eq!(found, [root.join("src/config/problem.rs")]);
        assert!(Disk.glob(&root.join("src/no-such-*.rs")).unwrap().is_empty());
        assert!(Disk.glob(&root.join("no-such/*.rs")).unwrap().is_empty());
    }

    #[test]
    fn paths_become_absolute() {
        assert_eq!(absolute(Path::new("/etc/hatchery"), "./tls/x.pem"), Path::new("/etc/hatchery/tls/x.pem"));
        assert_eq!(absolute(Path::new("/etc/hatchery"), "/srv/x"), Path::new("/srv/x"));
        assert_eq!(absolute(Path::new("/etc/hatchery"), "../x"), Path::new("/etc/hatchery/../x"));
        assert_eq!(absolute(Path::new("/etc/hatchery"), "."), Path::new("/etc/hatchery"));
    }
}
