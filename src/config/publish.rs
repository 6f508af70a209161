//! What may be published: the one rule that every start and every reload asks, whether the configuration came from a file
//! or from flags.
//!
//! A static root that is a project, or holds one, answers `/shop/settings.py` with the SECRET_KEY in it. Refused is a
//! root that, with links resolved,
//!
//! - is or holds the `chdir`, the `home` or the package of an app, or the configuration of apps, daemons or jobs,
//! - has `manage.py` beside settings or a package with some, or `pyproject.toml` or `setup.py` beside a package,
//!
//! unless it says `allow_source`. Nothing else below a root ever stops a reload, since visitors may upload files: what
//! looks like source deeper down, or alone, is warned of, as far as a bounded look finds it. For the same reason what has
//! become of a root that is served already is warned of.

#[cfg(test)]
mod tests;
mod tree;

use super::flags::ORIGIN;
use super::problem::{Complaint, Place};
use super::{App, Config, Files, Handler, Problem, Symlinks};
use std::path::{Component, Path, PathBuf};
pub(crate) use tree::Tree;

/// What the rule says about a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// What must not be served.
    pub(crate) refused: Vec<Problem>,
    /// What should be known.
    pub(crate) warnings: Vec<Problem>,
    /// The directories, without links: what is `served` for the next judgement if this one refuses nothing.
    pub(crate) roots: Vec<PathBuf>,
    /// Roots, as they are written, of locations of which something is refused.
    pub(crate) closed: Vec<PathBuf>,
}

/// Names in one directory that are looked at for packages.
const MOST_PACKAGES: usize = 4096;

/// Directories beside `manage.py` that are searched for settings of other names.
const MOST_SPLIT: usize = 64;

/// Names in all that are looked at below a root, and how deep, for warnings.
const MOST_NAMES: usize = 2000;
const DEEPEST: usize = 3;

/// Files that nobody publishes on purpose, the worst first.
const SOURCE: [&str; 7] =
    ["settings.py", "local_settings.py", "manage.py", "wsgi.py", "asgi.py", "app.py", "pyproject.toml"];

/// Judges every directory that workers would serve files from; those in `served` were found good before.
#[must_use]
pub(crate) fn judge(config: &Config, served: &[PathBuf], tree: &dyn Tree) -> Judgement {
    let secrets = secrets(config, tree);
    let mut judge = Judge { config, served, tree, secrets, judgement: Judgement::default() };
    for (index, site) in config.sites.iter().enumerate() {
        for (number, location) in site.locations.iter().enumerate() {
            if let Handler::Files(files) = &*location.handler {
                judge.files(&format!("sites[{index}].locations[{number}].to"), files);
            }
        }
    }
    judge.judgement
}

/// A directory or file that no root may be or hold.
struct Secret {
    path: PathBuf,
    /// As in "the `chdir` of app `shop`".
    what: String,
}

fn secrets(config: &Config, tree: &dyn Tree) -> Vec<Secret> {
    let mut secrets = Vec::new();
    let mut add = |path: &Path, what: String| secrets.push(Secret { path: resolved(tree, path), what });
    for app in &config.apps {
        let what = match app.kind.scripts() {
            Some(_) => "the scripts of a `Cgi`".to_owned(),
            None => format!("the `chdir` of app `{}`", app.name),
        };
        add(&app.chdir, what);
        if let Some(home) = &app.home {
            add(home, format!("the virtualenv of app `{}`", app.name));
        }
        if let Some(package) = package(app, tree) {
            add(&package, format!("the package of app `{}`", app.name));
        }
    }
    // Passwords stand in the environments of programs; a configuration without any has nothing to hide.
    let has_programs = !(config.apps.is_empty() && config.daemons.is_empty() && config.cron.is_empty());
    if has_programs && config.origin != ORIGIN {
        add(Path::new(&config.origin), "this configuration".to_owned());
    }
    secrets
}

/// The directory of the package that an app is in, if that is below its `chdir`.
fn package(app: &App, tree: &dyn Tree) -> Option<PathBuf> {
    let package = app.chdir.join(app.kind.source()?);
    tree.is_directory(&package).then_some(package)
}

/// Without links. Of what is not there the text decides.
fn resolved(tree: &dyn Tree, path: &Path) -> PathBuf {
    tree.real(path).unwrap_or_else(|| {
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        plain
    })
}

struct Judge<'a> {
    config: &'a Config,
    served: &'a [PathBuf],
    tree: &'a dyn Tree,
    secrets: Vec<Secret>,
    judgement: Judgement,
}

impl Judge<'_> {
    fn files(&mut self, key: &str, files: &Files) {
        if files.allow_source {
            return;
        }
        let refused = self.judgement.refused.len();
        self.directory(&format!("{key}.root"), &files.root);
        if let Symlinks::Follow(to) = &files.symlinks {
            for (number, directory) in to.iter().enumerate() {
                self.directory(&format!("{key}.symlinks_to[{number}]"), directory);
            }
        }
        if self.judgement.refused.len() > refused {
            self.judgement.closed.push(files.root.clone());
        }
    }

    fn directory(&mut self, key: &str, path: &Path) {
        let root = resolved(self.tree, path);
        let by_flag = self.config.origin == ORIGIN;
        let key = if by_flag { "" } else { key };
        let place = Place::named(&self.config.origin, key);
        let allow = if by_flag { "say --allow-source" } else { "write `allow_source: true`" };
        let shown = match path == root {
            true => format!("`{}`", path.display()),
            false => format!("`{}`, which is `{}`,", path.display(), root.display()),
        };
        let secret = self.secret(&root);
        if let Some(reason) = secret.clone().or_else(|| self.project(&root)) {
            let what = format!("{shown} {reason}: its source and secrets would be public");
            let hint = format!(
                "serve a directory in it that has public files only, such as `static`, or {allow} if that is meant"
            );
            let is_refused = secret.is_some() || !self.served.contains(&root);
            let judgement = &mut self.judgement;
            let list = if is_refused { &mut judgement.refused } else { &mut judgement.warnings };
            list.push(place.problem(Complaint::new(what, hint)));
        } else if let Some(found) = self.below(&root) {
            // Whoever made the directories may have named them to look like another line of the log.
            let found = found.to_string_lossy();
            let what =
                format!("{shown} holds `{}`, which looks like source and is public", found.escape_debug());
            let hint = format!("move it away, or {allow} if that is meant");
            self.judgement.warnings.push(place.problem(Complaint::new(what, hint)));
        }
        self.judgement.roots.push(root);
    }

    /// What a root is or holds that it must not.
    fn secret(&self, root: &Path) -> Option<String> {
        let secret = self.secrets.iter().find(|secret| secret.path.starts_with(root))?;
        let verb = if secret.path == root { "is" } else { "holds" };
        Some(format!("{verb} {}", secret.what))
    }

    /// What makes a directory a project.
    fn project(&self, root: &Path) -> Option<String> {
        let has = |name: &str| self.tree.is_file(&root.join(name));
        if has("manage.py")
            && let Some(settings) = self.settings_in(root)
        {
            return Some(format!("has `manage.py` beside `{settings}`"));
        }
        let project = ["pyproject.toml", "setup.py"].into_iter().find(|name| has(name))?;
        let package = self.package_in(root, &["__init__.py"]).or_else(|| {
            let in_src = self.package_in(&root.join("src"), &["__init__.py"])?;
            Some(format!("src/{in_src}"))
        })?;
        Some(format!("has `{project}` beside `{package}`"))
    }

    /// A file in a directory beside `manage.py` that is settings or starts the project, by the names that people give them. Not
    /// beside it alone: flat directories are what visitors upload to.
    fn settings_in(&self, root: &Path) -> Option<String> {
        let known = ["settings.py", "settings/__init__.py", "wsgi.py", "asgi.py"];
        self.package_in(root, &known).or_else(|| {
            let directories =
                self.tree.entries(root, MOST_PACKAGES).into_iter().filter(|entry| entry.is_directory);
            directories.take(MOST_SPLIT).find_map(|directory| {
                let shown = directory.name.to_string_lossy().escape_debug().to_string();
                let package = root.join(&directory.name);
                let of_settings = |name: &str| name.starts_with("settings") && name.ends_with(".py");
                let beside = self.python_in(&package, of_settings).map(|name| format!("{shown}/{name}"));
                beside.or_else(|| {
                    let split = self.python_in(&package.join("settings"), |name| name.ends_with(".py"))?;
                    Some(format!("{shown}/settings/{split}"))
                })
            })
        })
    }

    /// A file in a directory whose name is such a one.
    fn python_in(&self, directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let names = self.tree.entries(directory, MOST_PACKAGES).into_iter();
        let names =
            names.filter(|entry| !entry.is_directory).map(|entry| entry.name.to_string_lossy().into_owned());
        names.filter(|name| is_wanted(name)).min().map(|name| name.escape_debug().to_string())
    }

    /// The first file of one of these names in a directory of `root`.
    fn package_in(&self, root: &Path, files: &[&str]) -> Option<String> {
        self.tree.entries(root, MOST_PACKAGES).into_iter().find_map(|entry| {
            let file = files.iter().find(|file| self.tree.is_file(&root.join(&entry.name).join(file)))?;
            Some(format!("{}/{file}", entry.name.to_string_lossy().escape_debug()))
        })
    }

    /// The first file at or below the root that looks like source, relative to it: level by level, and only so far.
    fn below(&self, root: &Path) -> Option<PathBuf> {
        if !self.tree.is_near(root) {
            return None;
        }
        let mut left = MOST_NAMES;
        let mut level = vec![PathBuf::new()];
        for _ in 0..=DEEPEST {
            let mut next = Vec::new();
            for directory in &level {
                let entries = self.tree.entries(&root.join(directory), left);
                left = left.saturating_sub(entries.len());
                let mut found = None;
                for entry in entries {
                    let name = entry.name.to_string_lossy();
                    let rank = SOURCE.iter().position(|source| *source == name);
                    if entry.is_directory && !name.starts_with('.') {
                        next.push(directory.join(&entry.name));
                    } else if let Some(rank) = rank.filter(|_| !entry.is_directory)
                        && found.as_ref().is_none_or(|(known, _)| rank < *known)
                    {
                        found = Some((rank, directory.join(&entry.name)));
                    }
                }
                if let Some((_, path)) = found {
                    return Some(path);
                }
            }
            level = next;
        }
        None
    }
}
