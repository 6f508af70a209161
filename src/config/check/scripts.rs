//! Whether the directories of `Cgi(…)` are there, and what runs the scripts in them.

use super::super::problem::{Complaint, Place};
use super::super::{Cgi, Config, Handler, Problem};
use super::Check;
use super::rights::Identity;
use std::fs;
use std::path::Path;

/// Names that are looked at in a directory and in those in it.
const LOOKED_AT: usize = 1000;

impl Check<'_> {
    pub(super) fn scripts(&mut self, key: &str, cgi: &Cgi) {
        let Some(scripts) = cgi.scripts() else { return };
        if let Some(user) = cgi.user() {
            self.user(&format!("{key}.user"), user);
        }
        let identity = Identity::of(cgi.user().or(self.config.user.as_deref()));
        self.directory(&format!("{key}.root"), &scripts.root, &identity);
        for (number, directory) in cgi.also().iter().enumerate() {
            self.directory(&format!("{key}.symlinks_to[{number}]"), directory, &identity);
        }
        for (ending, program) in &scripts.interpreters {
            let (key, shown) = (format!("{key}.interpreters.{ending}"), program.display());
            if !program.is_file() {
                self.add(&key, format!("`{shown}` does not exist"), "install it, or correct the path");
            } else if let Err(why) = identity.may_execute(program) {
                self.add(&key, format!("`{shown}` cannot be executed by {}: {why}", identity.name), "");
            }
        }
    }
}

/// Directories in which nothing can be run.
pub(super) fn without_scripts(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        for (number, location) in site.locations.iter().enumerate() {
            let Handler::Cgi(cgi) = &*location.handler else { continue };
            let Some(scripts) = cgi.scripts().filter(|scripts| scripts.root.is_dir()) else { continue };
            let identity = Identity::of(cgi.user().or(config.user.as_deref()));
            let runs = |path: &Path| {
                let name = path.to_string_lossy();
                let has_interpreter =
                    scripts.interpreters.iter().any(|(ending, _)| name.ends_with(ending.as_str()));
                has_interpreter || identity.may_execute(path).is_ok()
            };
            if !has_script(&scripts.root, &runs, 1) {
                let place =
                    Place::named(&config.origin, format!("sites[{index}].locations[{number}].to.root"));
                let what =
                    format!("nothing in `{}` can be executed by {}", scripts.root.display(), identity.name);
                let hint = "chmod +x the scripts, or name what runs them in `interpreters`";
                found.push(place.problem(Complaint::new(what, hint)));
            }
        }
    }
    found
}

fn has_script(directory: &Path, runs: &impl Fn(&Path) -> bool, deeper: usize) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return true };
    entries.filter_map(Result::ok).take(LOOKED_AT).any(|entry| {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => runs(&path),
            Ok(found) if found.is_dir() => deeper > 0 && has_script(&path, runs, deeper - 1),
            _ => false,
        }
    })
}
