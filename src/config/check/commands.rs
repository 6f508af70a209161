//! Whether the programs of daemons, cron jobs and `before` are there, and may be started by their users.

use super::super::source::{DEFAULT_PATH, programs};
use super::super::{App, Config, CronJob, Daemon, Disk, Task, env_file};
use super::Check;
use super::rights::Identity;
use std::path::{Path, PathBuf};

/// A task, and where its program is looked for.
pub(super) struct Start<'a> {
    /// `daemons`, `cron jobs`.
    kind: &'static str,
    app: Option<&'a App>,
    task: &'a Task,
    /// Where a bare name is looked for, besides the virtualenv of an app and unless the environment says otherwise.
    path: String,
}

impl<'a> Start<'a> {
    pub(super) fn of_job(config: &'a Config, job: &'a CronJob) -> Self {
        let app = job.task.app.and_then(|app| config.apps.get(app));
        let path = if app.is_some() { ours() } else { DEFAULT_PATH.to_owned() };
        Self { kind: "cron jobs", app, task: &job.task, path }
    }

    pub(super) fn of_daemon(config: &'a Config, daemon: &'a Daemon) -> Self {
        let app = daemon.task.app.and_then(|app| config.apps.get(app));
        Self { kind: "daemons", app, task: &daemon.task, path: ours() }
    }

    /// A PATH of its own or of its app, in the place of every other one.
    fn own_path(&self) -> Option<String> {
        let of_app = self.app.and_then(|app| path_of(&app.env_file, &app.env));
        path_of(&self.task.env_file, &self.task.env).or(of_app)
    }

    /// The program, as the master looks for it: on that PATH, else in the virtualenv and on the usual one. Of several the first
    /// that this user may execute.
    fn program(
        &self,
        name: &str,
        directory: &Path,
        own_path: Option<&str>,
        identity: &Identity,
    ) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(directory.join(name)).filter(|path| path.is_file());
        }
        let usual = || match self.app.and_then(|app| app.home.as_ref()) {
            Some(home) => format!("{}:{}", home.join("bin").display(), self.path),
            None => self.path.clone(),
        };
        let path = own_path.map_or_else(usual, str::to_owned);
        let mut found: Vec<PathBuf> = programs(&Disk, name, &path).collect();
        let first = found.iter().position(|program| identity.may_execute(program).is_ok()).unwrap_or(0);
        (first < found.len()).then(|| found.swap_remove(first))
    }
}

/// The PATH that variables set, else the last one in files. Nothing else of them is copied: the master checks, too.
fn path_of(files: &[PathBuf], env: &[(String, String)]) -> Option<String> {
    let in_file = |path: &PathBuf| {
        // What is wrong with a file is told as that.
        let file = env_file::read("", "", path).ok()?;
        let (_, path) = env_file::entries(&file.pairs.0).filter(|(name, _)| *name == b"PATH").last()?;
        Some(String::from_utf8_lossy(path).into_owned())
    };
    let in_env = env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    in_env.or_else(|| files.iter().rev().find_map(in_file))
}

fn ours() -> String {
    std::env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned())
}

impl Check<'_> {
    pub(super) fn task(&mut self, key: &str, start: &Start<'_>) {
        let Start { app, task, .. } = start;
        if let Some(user) = &task.user {
            self.user(&format!("{key}.user"), user);
        }
        let user = task.user.as_deref().or(app.and_then(|app| app.user.as_deref()));
        let identity = Identity::of(user.or(self.config.user.as_deref()));
        if let Some(chdir) = &task.chdir {
            self.directory(&format!("{key}.chdir"), chdir, &identity);
        }
        let directory = task.chdir.as_deref().or(app.map(|app| app.chdir.as_path()));
        self.command(&format!("{key}.command"), &task.command, start, directory, &identity);
    }

    /// What an app runs itself, and the commands of `before`.
    pub(super) fn commands(&mut self, app: &App, identity: &Identity) {
        let task = Task::default();
        let start = Start { kind: "apps", app: Some(app), task: &task, path: ours() };
        if let Some(command) = app.kind.command() {
            let key = format!("apps.{}.command", app.name);
            self.command(&key, &command.command, &start, Some(&app.chdir), identity);
        }
        for (index, command) in app.before.iter().enumerate() {
            let key = format!("apps.{}.before[{index}]", app.name);
            self.command(&key, command, &start, Some(&app.chdir), identity);
        }
    }

    /// The program of a command is there, and may be executed.
    fn command(
        &mut self,
        key: &str,
        command: &[String],
        start: &Start<'_>,
        directory: Option<&Path>,
        identity: &Identity,
    ) {
        let Start { kind, app, path, .. } = start;
        let Some(name) = command.first() else { return };
        if name.contains('/') && !Path::new(name).is_absolute() && directory.is_none() {
            let what = format!("`{name}` is a relative path, and the job has no directory");
            self.add(key, what, "give it `chdir`, or write the whole path");
            return;
        }
        let own_path = start.own_path();
        let Some(found) =
            start.program(name, directory.unwrap_or(Path::new("/")), own_path.as_deref(), identity)
        else {
            let hint = match (directory, app) {
                _ if name.contains(' ') => {
                    let words: Vec<String> =
                        name.split_whitespace().map(|word| format!("{word:?}")).collect();
                    format!("no shell runs it, write the words one by one: [{}]", words.join(", "))
                }
                (Some(directory), _) if name.contains('/') => {
                    format!("it is looked for from `{}`", directory.display())
                }
                _ if own_path.is_some() => {
                    "`env` or `env_file` sets PATH, and it is not on that one; add its directory".to_owned()
                }
                (_, Some(_)) => "it is neither in the app's virtualenv nor on PATH".to_owned(),
                _ => format!("it is not on the PATH of {kind}, {path}; `app` adds the virtualenv of an app"),
            };
            self.add(key, format!("there is no program `{name}`"), hint);
            return;
        };
        if let Err(why) = identity.may_execute(&found) {
            let what = format!("`{}` cannot be executed by {}: {why}", found.display(), identity.name);
            self.add(key, what, "");
        } else if let Some((interpreter, why)) = unfit_interpreter(&found, identity) {
            let what = format!(
                "`{}` names `{}` in its first line, which cannot be executed by {}: {why}",
                found.display(),
                interpreter.display(),
                identity.name
            );
            self.add(
                key,
                what,
                "if it is of a virtualenv, make that anew with a Python that this user may execute",
            );
        }
    }
}

/// The interpreter of a script (execve(2)), if that cannot be executed; and why.
fn unfit_interpreter(program: &Path, identity: &Identity) -> Option<(PathBuf, String)> {
    use std::io::Read as _;
    let mut first = Vec::new();
    std::fs::File::open(program).ok()?.take(256).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = std::str::from_utf8(line).ok()?.split_whitespace().next()?;
    let interpreter = PathBuf::from(word);
    let why = identity.may_execute(&interpreter).err()?;
    Some((interpreter, why))
}
