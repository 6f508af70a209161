//! `send_files_from: […]` of apps and of `Proxy(…)`: directories from which a file is sent that `X-Sendfile` of a response names.
//! Each directory is one static root more, whoever names it, beside those of the locations.

use super::located::{Node, Report};
use super::problem::Complaint;
use super::read::paths;
use super::source::Source;
use super::{Config, Fallback, Files, Handler, Site};
use crate::http::percent;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A directory that files are sent from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sending {
    /// As it is written in the file.
    pub(crate) written: PathBuf,
    /// The same as a static root: where it led when the configuration was read.
    pub(crate) handler: Rc<Handler>,
}

/// Why a file is not sent, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The path is not absolute, or has segments that lead up.
    Path,
    /// No directory is given.
    Nowhere,
    /// It is in none of those that are.
    Outside,
}

impl Sending {
    fn new(written: &Path, source: &dyn Source) -> Self {
        let root = source.real(written);
        let files = Files { index: Vec::new(), any_name: true, ..Files::new(root) };
        Self { written: written.to_owned(), handler: Rc::new(Handler::Files(files)) }
    }

    /// The root, and how files below it are served.
    pub(crate) fn files(&self) -> Option<&Files> {
        match &*self.handler {
            Handler::Files(files) => Some(files),
            _ => None,
        }
    }

    /// What of a path is below it, and how long the rest of the path is.
    fn rest<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let root = self.files().map(|files| files.root.as_path());
        let rests = root.into_iter().chain([self.written.as_path()]).filter_map(|root| below(path, root));
        rests.min_by_key(|rest| rest.len())
    }
}

/// What follows a directory in a path.
fn below<'a>(path: &'a [u8], directory: &Path) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory.as_os_str().as_bytes())?;
    rest.strip_prefix(b"/").filter(|rest| !rest.is_empty())
}

/// All directories of a configuration, each once.
pub(crate) fn all(config: &Config, source: &dyn Source) -> Vec<Sending> {
    let of_apps = config.apps.iter().flat_map(|app| &app.send_files_from);
    let proxies = config.sites.iter().flat_map(handlers).filter_map(|handler| match handler {
        Handler::Proxy(proxy) => Some(proxy),
        _ => None,
    });
    let mut written: Vec<&PathBuf> =
        of_apps.chain(proxies.flat_map(|proxy| &proxy.send_files_from)).collect();
    written.sort();
    written.dedup();
    written.into_iter().map(|written| Sending::new(written, source)).collect()
}

/// What answers in the locations of a site, fallbacks included.
fn handlers(site: &Site) -> impl Iterator<Item = &Handler> {
    site.locations.iter().flat_map(|location| {
        let fallback = match &location.fallback {
            Fallback::Handler(handler) => Some(&**handler),
            Fallback::Status(_) => None,
        };
        std::iter::once(&*location.handler).chain(fallback)
    })
}

impl Config {
    /// How files of a place are served: of site and location, or behind all sites of a directory that files are sent from.
    pub(crate) fn files_at(&self, (site, number): (usize, usize)) -> Option<&Files> {
        let handler = match self.sites.get(site) {
            Some(site) => &site.locations.get(number)?.handler,
            None => &self.sending.get(number)?.handler,
        };
        match &**handler {
            Handler::Files(files) => Some(files),
            _ => None,
        }
    }

    /// The directory of `from` that holds a file, by its number, and the path of the file below it. `path` is as X-Sendfile
    /// has it: percent-encoded, as Apache and lighttpd take it.
    ///
    /// # Errors
    /// Why it is not sent.
    pub(crate) fn sending_of(&self, from: &[PathBuf], path: &[u8]) -> Result<(usize, Vec<u8>), Unsent> {
        let path = percent::decoded(path);
        let is_plain = |segment: &[u8]| !matches!(segment, b"." | b"..") && !segment.contains(&0);
        if !path.starts_with(b"/") || !path.split(|byte| *byte == b'/').all(is_plain) {
            return Err(Unsent::Path);
        }
        if from.is_empty() {
            return Err(Unsent::Nowhere);
        }
        let allowed = self.sending.iter().enumerate().filter(|(_, sending)| from.contains(&sending.written));
        let found = allowed.filter_map(|(number, sending)| Some((number, sending.rest(&path)?)));
        let nearest = found.min_by_key(|(_, rest)| rest.len());
        nearest.map(|(number, rest)| (number, rest.to_vec())).ok_or(Unsent::Outside)
    }
}

/// Directories; not `/`, which would be every file that a worker can read.
pub(super) fn directories(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<PathBuf>> {
    let directories = paths(node, report)?;
    if directories.iter().any(|path| path.parent().is_none()) {
        let what = "`/` would have every file sent that a worker can read";
        return node
            .refuse(report, Complaint::new(what, "name the directories with the files: [\"/srv/files\"]"));
    }
    Some(directories)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::config::tests::Memory;

    fn loaded() -> Config {
        let text = r#"(sites: [(listen: [":80"], locations: [
                (path: "/up/", to: Proxy(name: "up", send_files_from: ["/srv/b", "below"])),
                (path: "/", to: Files(root: "static", fallback: Proxy(name: "up", send_files_from: "/srv/c"))),
                (path: "/app/", to: App("shop")),
            ])],
            upstreams: {"up": (servers: ["127.0.0.1:1"])},
            apps: {"shop": (module: "shop", send_files_from: ["/srv/files", "/srv/files/own", "/srv/b"])})"#;
        load(Path::new("/etc/hatchery/h.ron"), &Memory::default().with("h.ron", text)).unwrap()
    }

    #[test]
    fn each_directory_is_a_root_once_and_a_place_behind_the_sites() {
        let config = loaded();
        let roots: Vec<_> =
            (0..6).filter_map(|number| config.files_at((1, number))).map(|files| &files.root).collect();
        assert_eq!(
            roots,
            ["/etc/hatchery/below", "/srv/b", "/srv/c", "/srv/files", "/srv/files/own"].map(Path::new)
        );
        assert_eq!(config.files_at((0, 0)), None);
    }

    #[test]
    fn a_file_is_sent_from_the_directories_of_who_names_it() {
        let config = loaded();
        let shop = &config.apps[0].send_files_from;
        for (path, wanted) in [
            ("/srv/files/a b", Ok((3, "a b"))),
            ("/srv/files/a%20b%2Fc", Ok((3, "a b/c"))),
            ("/srv/files/own/x", Ok((4, "x"))),
            ("/srv/files//x", Ok((3, "/x"))),
            ("/srv/b/.x", Ok((1, ".x"))),
            ("/srv/files", Err(Unsent::Outside)),
            ("/srv/files/", Err(Unsent::Outside)),
            ("/srv/files2/x", Err(Unsent::Outside)),
            ("/srv/c/x", Err(Unsent::Outside)),
            ("/etc/passwd", Err(Unsent::Outside)),
            ("srv/files/x", Err(Unsent::Path)),
            ("", Err(Unsent::Path)),
            ("/srv/files/../../etc/passwd", Err(Unsent::Path)),
            ("/srv/files/%2e%2e/%2e./etc/passwd", Err(Unsent::Path)),
            ("/srv/files/./x", Err(Unsent::Path)),
            ("/srv/files/x%00.jpg", Err(Unsent::Path)),
        ] {
            let found = config.sending_of(shop, path.as_bytes());
            assert_eq!(found, wanted.map(|(number, rest)| (number, rest.as_bytes().to_vec())), "{path}");
        }
        assert_eq!(config.sending_of(&[], b"/srv/files/x"), Err(Unsent::Nowhere));
    }

    #[test]
    fn not_every_file_of_the_machine_is_sent() {
        let text = r#"(sites: [(listen: [":80"], locations: [(path: "/", to: App("shop"))])],
            apps: {"shop": (module: "shop", send_files_from: ["/"])})"#;
        let problems =
            load(Path::new("/etc/hatchery/h.ron"), &Memory::default().with("h.ron", text)).unwrap_err();
        let told = problems.first().map(ToString::to_string).unwrap_or_default();
        assert!(told.contains("send_files_from") && told.contains("every file"), "{told}");
    }
}
