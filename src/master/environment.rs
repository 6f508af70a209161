//! What programs that the master starts find around them: environment, candidates for the program, working directory.

use super::env_files::EnvFiles;
use crate::config::{App, Task};
use crate::secret::{self, Strings};
use crate::sys::process::LaunchStep;
use crate::sys::user::Account;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where programs are looked for if the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Ours: what systemd or the shell gave the master. For apps, daemons, and cron jobs of an app.
    pub(super) fn ours() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// As cron(8) has it: only what a login gives, language and time zone. For cron jobs without an app.
    pub(super) fn clean() -> Self {
        let mut environment = Self::of_scripts();
        environment.set("SHELL", "/bin/sh");
        environment
    }

    /// Language, time zone and where programs are.
    pub(super) fn of_scripts() -> Self {
        let kept = |name: &OsStr| {
            let name = name.as_bytes();
            name == b"LANG" || name == b"TZ" || name.starts_with(b"LC_")
        };
        let mut environment = Self(std::env::vars_os().filter(|(name, _)| kept(name)).collect());
        environment.set("PATH", PATH);
        environment
    }

    /// Sets one variable.
    pub(super) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        if let Some(before) = self.0.insert(name.into(), value.into()) {
            secret::wipe_text(before);
        }
    }

    /// The variables of a user.
    pub(super) fn set_account(&mut self, account: &Account) {
        self.set("HOME", account.home.as_os_str());
        self.set("USER", &account.name);
        self.set("LOGNAME", &account.name);
    }

    /// A virtualenv, as its `activate` does it.
    pub(super) fn set_virtualenv(&mut self, home: &Path) {
        let mut path = home.join("bin").into_os_string();
        path.push(":");
        path.push(self.path());
        self.set("PATH", path);
        self.set("VIRTUAL_ENV", home.as_os_str());
        self.0.remove(OsStr::new("PYTHONHOME"));
    }

    /// The virtualenv and variables of an app.
    ///
    /// # Errors
    /// As [`EnvFiles::set`].
    pub(super) fn set_app(&mut self, app: &App, files: &EnvFiles) -> io::Result<()> {
        if let Some(home) = &app.home {
            self.set_virtualenv(home);
        }
        files.set(&app.env_file, self)?;
        self.set_all(&app.env);
        Ok(())
    }

    /// The variables of a daemon or job.
    ///
    /// # Errors
    /// As [`EnvFiles::set`].
    pub(super) fn set_task(&mut self, task: &Task, files: &EnvFiles) -> io::Result<()> {
        files.set(&task.env_file, self)?;
        self.set_all(&task.env);
        Ok(())
    }

    /// Variables of the configuration.
    fn set_all(&mut self, variables: &[(String, String)]) {
        variables.iter().for_each(|(name, value)| self.set(name, value));
    }

    /// Where a program may be, in the order to try.
    pub(super) fn candidates(&self, program: &OsStr) -> Vec<CString> {
        if program.as_bytes().contains(&b'/') {
            return string(program).into_iter().collect();
        }
        let places =
            std::env::split_paths(&self.path()).map(|folder| folder.join(program)).collect::<Vec<PathBuf>>();
        places.iter().filter_map(|place| string(place.as_os_str())).collect()
    }

    /// `NAME=value`; what contains NUL, which the configuration refuses, is left out.
    pub(super) fn strings(&self) -> Strings {
        let join = |(name, value): (&OsString, &OsString)| {
            // With room for the NUL: what grew would leave secrets behind.
            let mut text = Vec::with_capacity(name.len() + value.len() + 2);
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            CString::new(text).ok()
        };
        Strings(self.0.iter().filter_map(join).collect())
    }

    /// PATH, or what stands in for it.
    pub(super) fn path(&self) -> OsString {
        self.0.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| PATH.into())
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        std::mem::take(&mut self.0).into_values().for_each(secret::wipe_text);
    }
}

/// Why a program could not be started, for the operator.
pub(super) fn refused(program: &str, step: LaunchStep, error: &io::Error) -> String {
    match step {
        LaunchStep::Execute => format!("the command `{program}` cannot be executed: {error}"),
        LaunchStep::Directory => format!("cannot enter its directory: {error}"),
        LaunchStep::User => format!("cannot become its user: {error}"),
        LaunchStep::Limits => format!(
            "cannot set `limits` or `oom_score_adj`: {error}; only root may go above what the master has"
        ),
        LaunchStep::Descriptors | LaunchStep::Parent => format!("cannot start: {error}"),
    }
}

/// For the kernel; `None` if it contains NUL.
pub(super) fn string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_program_is_looked_for_in_the_virtualenv_first() {
        let mut environment = Environment::clean();
        environment.set_virtualenv(Path::new("/srv/shop/.venv"));
        let found = environment.candidates(OsStr::new("python"));
        assert_eq!(found[0].to_bytes(), b"/srv/shop/.venv/bin/python");
        assert!(found.iter().any(|path| path.to_bytes() == b"/usr/bin/python"));
        let exact = environment.candidates(OsStr::new("./run.sh"));
        assert_eq!(exact.iter().map(|path| path.to_bytes()).collect::<Vec<_>>(), [b"./run.sh"]);
    }

    #[test]
    fn a_clean_environment_has_nothing_of_ours_but_language_and_zone() {
        let environment = Environment::clean();
        let names: Vec<&OsString> = environment.0.keys().collect();
        let allowed = |name: &&OsString| {
            ["LANG", "TZ", "PATH", "SHELL"].contains(&name.to_str().unwrap())
                || name.as_bytes().starts_with(b"LC_")
        };
        assert!(names.iter().all(allowed), "{names:?}");
        let mut environment = environment;
        environment.set_all(&[("PATH".to_owned(), "/x".to_owned()), ("A".to_owned(), "1=2".to_owned())]);
        let strings = environment.strings();
        assert!(strings.0.contains(&c"A=1=2".to_owned()) && strings.0.contains(&c"PATH=/x".to_owned()));
    }
}
