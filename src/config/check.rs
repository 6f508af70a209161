//! What the environment must have for a configuration to work: directories, interpreters, users, rights. A file can be
//! right and fail here on another machine, which is why these problems have their own exit code.

mod commands;
mod develop;
mod rights;
mod scripts;
#[cfg(test)]
mod tests;

use super::env_file;
use super::problem::{Complaint, Place};
use super::{
    Address, App, Config, Control, Fallback, Files, Handler, Listen, Problem, Sandbox, Site, Symlinks,
};
use crate::sys::place::{Access, Directory, Place as PlaceOnDisk};
use crate::sys::{rights as descriptors, sandbox};
use commands::Start;
use nix::unistd::{User, geteuid};
use rights::Identity;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The command that imports an app and leaves: exit 0, or a traceback on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportCommand {
    /// The interpreter.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Added to the environment.
    pub(crate) env: Vec<(String, String)>,
    /// Working directory.
    pub(crate) cwd: PathBuf,
}

/// What to run to see whether the app imports, if it is something that does.
#[must_use]
pub(crate) fn import_command(app: &App) -> Option<ImportCommand> {
    let (program, args) = app.kind.import()?;
    Some(ImportCommand { program: program.to_owned(), args, env: variables(app), cwd: app.chdir.clone() })
}

/// Those of its files, and its own.
fn variables(app: &App) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // What is wrong with a file is told as that.
    let files = app.env_file.iter().filter_map(|path| env_file::read("", "", path).ok());
    let mut all = Vec::new();
    for file in files {
        all.extend(env_file::entries(&file.pairs.0).map(|(name, value)| (text(name), text(value))));
    }
    all.extend(app.env.iter().cloned());
    all
}

/// What is missing or forbidden on this machine for a start as the current user. Binding is not tried, and apps are
/// not imported.
#[must_use]
pub(crate) fn environment(config: &Config) -> Vec<Problem> {
    let mut check = Check { config, problems: Vec::new() };
    check.whole();
    for (index, site) in config.sites.iter().enumerate() {
        for (key, listen, _) in site.addresses() {
            check.listen(&format!("sites[{index}].{key}"), listen);
        }
        for (status, page) in &site.error_pages {
            check.error_page(&format!("sites[{index}].error_pages[{status}]"), page);
        }
        for (number, location) in site.locations.iter().enumerate() {
            let key = format!("sites[{index}].locations[{number}].to");
            match &*location.handler {
                Handler::Files(files) => check.files(&key, files),
                Handler::Proxy(proxy) => check.sent_from(&key, &proxy.send_files_from),
                Handler::Cgi(cgi) => check.scripts(&key, cgi),
                Handler::App { .. } | Handler::Redirect(_) | Handler::Respond(_) => {}
            }
            if let Fallback::Handler(handler) = &location.fallback
                && let Handler::Proxy(proxy) = &**handler
            {
                check.sent_from(&format!("{key}.fallback"), &proxy.send_files_from);
            }
        }
    }
    for app in config.written_apps() {
        check.app(app);
        check.sent_from(&format!("apps.{}", app.name), &app.send_files_from);
    }
    check.problems.extend(env_files(config).filter_map(Result::err));
    for daemon in &config.daemons {
        check.task(&format!("daemons.{}", daemon.name), &Start::of_daemon(config, daemon));
    }
    for (index, job) in config.cron.iter().enumerate() {
        check.task(&format!("cron[{index}]"), &Start::of_job(config, job));
    }
    check.problems
}

/// Why the temporary directory cannot be used, if it cannot and something needs it: bodies of requests to apps, and
/// responses of apps and upstreams, are kept there. A server of files alone runs without one.
#[must_use]
pub(crate) fn temp_dir(config: &Config) -> Option<Problem> {
    if config.apps.is_empty() && config.upstreams.is_empty() {
        return None;
    }
    let mut check = Check { config, problems: Vec::new() };
    let directory = &config.temp_dir;
    match Directory::through_links(directory) {
        // With the reason.
        Err(error) if is_reason(&error) => check.add("temp_dir", error.to_string(), ""),
        _ => check.writable_directory("temp_dir", directory, &Identity::of(config.user.as_deref())),
    }
    check.problems.pop()
}

/// What works and should be known before a start as the current user.
#[must_use]
pub(crate) fn warnings(config: &Config) -> Vec<Problem> {
    let mut warnings = unguarded(config, descriptors::can_be_refused());
    warnings.extend(as_root(config));
    warnings.extend(scripts::without_scripts(config));
    warnings.extend(homeless(config, home_of));
    warnings.extend(loops(config));
    warnings.extend(without_stand_in(config));
    warnings.extend(unheard_group(config));
    warnings.extend(touched_by_anybody(config));
    warnings.extend(believed_of_anybody(config));
    warnings.extend(develop::behind_proxies(config));
    let doubts =
        env_file::all(config).into_iter().zip(env_files(config)).filter_map(|((key, path), file)| {
            let what = format!("`{}`: {}", path.display(), file.ok()?.doubt?);
            Some(Place::named(&config.origin, key).problem(Complaint::new(what, "")))
        });
    warnings.extend(doubts);
    warnings
}

/// Files by which anybody could have the server of root reload without end.
fn touched_by_anybody(config: &Config) -> Vec<Problem> {
    let mode = |path: &Path| fs::metadata(path).map_or(0, |found| found.mode());
    // A sticky directory keeps a file that is there.
    let is_open = |path: &Path| mode(path) & if path.is_dir() { 0o1002 } else { 0o002 } == 0o002;
    let is_free = |path: &Path| !path.exists() && path.parent().is_some_and(|above| mode(above) & 0o002 != 0);
    let mut found = Vec::new();
    for path in config.touch_reload.iter().filter(|_| geteuid().is_root()) {
        let open = [Some(path.as_path()), path.parent()]
            .into_iter()
            .flatten()
            .find(|path| is_open(path) || is_free(path));
        let Some(shown) = open.map(Path::display) else { continue };
        let what = format!("every user can reload the server, as every user can write `{shown}`");
        let place = Place::named(&config.origin, "touch_reload");
        found.push(place.problem(Complaint::new(what, format!("chmod o-w {shown}"))));
    }
    found
}

/// Unix sockets of front servers to which everybody on this machine can connect: who does is believed.
fn believed_of_anybody(config: &Config) -> Vec<Problem> {
    let fronts = open_sockets(config).filter(|(_, listen, _)| listen.is_for_fronts());
    let problems = fronts.map(|(place, _, path)| {
        let shown = path.display();
        let what =
            format!("every user of this machine can connect to `{shown}`, and say from whom a request comes");
        place.problem(Complaint::new(what, "give it the `group` of the front server and mode: \"0660\""))
    });
    problems.collect()
}

/// Unix listeners to which everybody on this machine can connect.
fn open_sockets(config: &Config) -> impl Iterator<Item = (Place, &Listen, &Path)> {
    let sites = config.sites.iter().enumerate();
    let all =
        sites.flat_map(|(index, site)| site.addresses().map(move |(key, listen, _)| (index, key, listen)));
    all.filter_map(|(index, key, listen)| {
        let Address::Unix(path) = &listen.address else { return None };
        let place = Place::named(&config.origin, format!("sites[{index}].{key}"));
        (listen.is_open() && rights::is_open_to_all(path)).then_some((place, listen, path.as_path()))
    })
}

/// The files with variables, read.
fn env_files(config: &Config) -> impl Iterator<Item = Result<env_file::Variables, Problem>> {
    env_file::all(config).into_iter().map(|(key, path)| env_file::read(&config.origin, &key, path))
}

/// A group that may connect to a server with which no command of its members speaks: it could be anybody's.
fn unheard_group(config: &Config) -> Option<Problem> {
    let group = config.control.as_ref().and_then(|control| control.group.as_ref());
    let group = group.filter(|_| !geteuid().is_root())?;
    let what = format!("members of the group `{group}` speak to a server of root's only, or of their own");
    let place = Place::named(&config.origin, "control.group");
    Some(place.problem(Complaint::new(what, "start it as root with `user`, or remove the key")))
}

/// Servers of upstreams that are this server itself: a request would go round until something runs out.
fn loops(config: &Config) -> Vec<Problem> {
    let addresses = config.sites.iter().flat_map(Site::addresses);
    let listen: Vec<&Address> = addresses.map(|(_, listen, _)| &listen.address).collect();
    let is_here = |address: &Address| {
        let is_local = match address {
            Address::Tcp(address) => address.ip().is_loopback() || address.ip().is_unspecified(),
            _ => false,
        };
        listen.iter().any(|listen| *listen == address || (is_local && listen.overlaps(address)))
    };
    let mut found = Vec::new();
    for upstream in &config.upstreams {
        for (number, server) in upstream
            .servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.address.address().is_some_and(is_here))
        {
            let place =
                Place::named(&config.origin, format!("upstreams.{}.servers[{number}]", upstream.name));
            let what = format!("this server itself listens on {}: requests come back to it", server.address);
            found.push(place.problem(Complaint::new(what, "name the address of the other server")));
        }
    }
    found
}

/// Files that are to stand in for those that are missing, and are missing themselves.
fn without_stand_in(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        for (number, location) in site.locations.iter().enumerate() {
            let Handler::Files(Files { root, stand_in: Some(name), .. }) = &*location.handler else {
                continue;
            };
            let path = root.join(name.trim_start_matches('/'));
            if root.is_dir() && !path.exists() {
                let key = format!("sites[{index}].locations[{number}].to.fallback");
                let what =
                    format!("`{}` does not exist: what is not found is answered with 404", path.display());
                let place = Place::named(&config.origin, key);
                found.push(place.problem(Complaint::new(what, "create it, or correct the name")));
            }
        }
    }
    found
}

/// Cron jobs whose directory is the home of their user, which does not exist or is closed to them.
fn homeless(config: &Config, home_of: impl Fn(Option<&str>) -> Option<PathBuf>) -> Vec<Problem> {
    let mut found = Vec::new();
    for (index, job) in
        config.cron.iter().enumerate().filter(|(_, job)| job.task.chdir.is_none() && job.task.app.is_none())
    {
        let user = job.task.user.as_deref().or(config.user.as_deref());
        let Some(home) = home_of(user) else { continue };
        let (name, shown) = (&job.name, home.display());
        let what = match fs::metadata(&home).map_err(|error| error.kind()) {
            Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                format!("`{name}` runs in `/`, as the home of its user, `{shown}`, does not exist")
            }
            _ => match Identity::of(user).may_enter(&home) {
                Err(why) => format!("`{name}` cannot run in the home of its user, `{shown}`: {why}"),
                Ok(()) => continue,
            },
        };
        let place = Place::named(&config.origin, format!("cron[{index}]"));
        found.push(place.problem(Complaint::new(what, "give it `chdir`")));
    }
    found
}

/// The home of this user, or of ours. That there is none of this name is a problem of its own.
fn home_of(user: Option<&str>) -> Option<PathBuf> {
    let user = user.map_or_else(|| User::from_uid(geteuid()), User::from_name);
    Some(user.ok()??.dir)
}

/// Unix listeners to which everybody on this machine can connect, if the kernel cannot refuse the descriptors that they may
/// pass (`sys::rights`).
fn unguarded(config: &Config, can_be_refused: bool) -> Vec<Problem> {
    if can_be_refused {
        return Vec::new();
    }
    let hint = "put it into a directory that only the front server may enter, or use Linux 6.16";
    let problems = open_sockets(config).map(|(place, _, path)| {
        place.problem(Complaint::new(
            format!(
                "every user of this machine can connect to `{}`, and on this kernel hold up a worker by passing it a \
                 descriptor that does not close",
                path.display()
            ),
            hint,
        ))
    });
    problems.collect()
}

fn as_root(config: &Config) -> Vec<Problem> {
    if config.user.is_some() || !geteuid().is_root() {
        return shared_user(config).into_iter().collect();
    }
    let hint = "give the workers a user of their own, for example user: \"www-data\"";
    let place = Place::named(&config.origin, "user");
    vec![place.problem(Complaint::new(
        "started as root without `user`: apps, daemons and cron jobs run as root",
        hint,
    ))]
}

/// Apps that run as the workers do, although the server could give them users of their own: nothing but the number of a
/// process tells them apart then, and whoever takes one over can reach into the others. Started as root without `user`,
/// which is worse, another warning says so.
#[must_use]
pub(crate) fn shared_user(config: &Config) -> Option<Problem> {
    let workers = config.user.as_deref().filter(|_| geteuid().is_root())?;
    let number = |name: &str| Identity::named(name).map(|user| user.uid);
    let same = |name: &str| name == workers || number(name).is_some_and(|uid| Some(uid) == number(workers));
    let apps = config.apps.iter().filter(|app| app.user.as_deref().is_none_or(same));
    let names: Vec<&str> = apps.map(|app| app.name.as_str()).collect();
    let what = match names.as_slice() {
        [] => return None,
        [name] => format!("the app {name} runs as the user of the workers, `{workers}`"),
        _ => format!("the apps {} run as the user of the workers, `{workers}`", names.join(", ")),
    };
    let place = Place::named(&config.origin, "user");
    Some(place.problem(Complaint::new(
        what,
        "give each app a `user` of its own, so that one which is taken over stays alone",
    )))
}

struct Check<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn add(&mut self, key: &str, what: String, hint: impl Into<String>) {
        let place = Place::named(&self.config.origin, key);
        self.problems.push(place.problem(Complaint::new(what, hint)));
    }

    fn whole(&mut self) {
        let config = self.config;
        if let Some(user) = &config.user {
            self.user("user", user);
        }
        let me = Identity::current();
        let control = config.control.as_ref().map(|control| &control.path);
        for (key, file) in [("pid_file", config.pid_file.as_ref()), ("control", control)] {
            if let Some(file) = file {
                self.writable_file(key, file, &me);
            }
        }
        if let Some(control) = &config.control {
            self.group("control.group", &control.path, control.group.as_deref(), control.access());
        }
        for (key, log) in config.access_logs() {
            if let Some(path) = &log.path {
                self.writable_file(&format!("{key}.path"), path, &me);
            }
        }
        self.places();
        self.problems.extend(temp_dir(config));
        if config.sandbox == Sandbox::Require {
            for lacking in sandbox::missing() {
                let hint = "run on another kernel, or write `sandbox: Try`";
                self.add("sandbox", format!("this kernel does not offer {lacking}"), hint);
            }
        }
    }

    /// What the master makes by a path is not led elsewhere by somebody else. (Addresses are tried by binding them.)
    fn places(&mut self) {
        let config = self.config;
        let worker = config.user.as_ref().map(|_| Identity::of(config.user.as_deref()).uid);
        let also: Vec<u32> = worker.into_iter().collect();
        let pid_file = |path: &Path| {
            let place = PlaceOnDisk::of(path)?;
            place.stat()?.map_or(Ok(()), |found| place.admit_own(&found))
        };
        let log = |path: &Path| PlaceOnDisk::through_links(path)?.admit_appending(&also);
        let control = |control: &Control| PlaceOnDisk::of(&control.path).map(drop);
        let logs =
            config.access_logs().into_iter().filter_map(|(key, access)| Some((key, access.path.as_deref()?)));
        let logs = logs.map(|(key, path)| (format!("{key}.path"), Some(log(path))));
        let tried = [
            ("pid_file".to_owned(), config.pid_file.as_deref().map(pid_file)),
            ("control".to_owned(), config.control.as_ref().map(control)),
        ];
        for (key, result) in tried.into_iter().chain(logs) {
            if let Some(Err(error)) = result
                && is_reason(&error)
            {
                self.add(&key, error.to_string(), "");
            }
        }
    }

    /// The user exists, and we may become it.
    fn user(&mut self, key: &str, name: &str) {
        let Some(identity) = Identity::named(name) else {
            self.add(
                key,
                format!("there is no user `{name}`"),
                format!("create it: useradd --system {name}"),
            );
            return;
        };
        if !geteuid().is_root() && identity.uid != geteuid().as_raw() {
            let hint = "start as root, or remove the key";
            self.add(key, format!("only root can run things as `{name}`"), hint);
        }
    }

    /// A group that is to connect to a socket exists, gets it and can come to it.
    fn group(&mut self, key: &str, socket: &Path, name: Option<&str>, access: Result<Access, Complaint>) {
        let closed = |group| rights::closed_to_group(socket, group);
        let (what, hint) = match (name, access.map(|access| access.group.and_then(closed))) {
            (Some(name), Ok(Some(directory))) => {
                let shown = directory.display();
                let what =
                    format!("the group `{name}` has no right to enter `{shown}`, on the way to its socket");
                (what, format!("grant it: chmod o+x {shown}, or choose a directory that it can enter"))
            }
            (_, Ok(_)) => return,
            (_, Err(Complaint { what, hint })) => (what, hint),
        };
        self.add(key, what, hint);
    }

    fn listen(&mut self, key: &str, listen: &Listen) {
        let address = &listen.address;
        if let Address::Unix(path) = address {
            self.writable_file(key, path, &Identity::current());
            self.group(&format!("{key}.group"), path, listen.group(), listen.access());
        }
        let Some(port) = address.port().filter(|port| *port > 0) else { return };
        let first = rights::first_unprivileged_port();
        if port < first && !rights::may_bind_any_port() {
            let hint = format!(
                "start as root with `user`, or set AmbientCapabilities=CAP_NET_BIND_SERVICE, or use port {first} or above"
            );
            self.add(key, format!("ports below {first} need rights that this user does not have"), hint);
        }
    }

    /// A page of the site's own. Without it the built-in one is sent.
    fn error_page(&mut self, key: &str, page: &Path) {
        let worker = Identity::of(self.config.user.as_deref());
        let shown = page.display();
        match fs::metadata(page) {
            Ok(metadata) if metadata.is_file() => {
                if let Err(why) = worker.may_read_file(page) {
                    let hint = "grant it with chmod or chgrp, or choose another `user`";
                    self.add(key, format!("`{shown}` cannot be read by {}: {why}", worker.name), hint);
                }
            }
            Ok(_) => self.add(key, format!("`{shown}` is not a file"), ""),
            Err(error) => self.absent(key, page, &error),
        }
    }

    fn files(&mut self, key: &str, files: &Files) {
        let worker = Identity::of(self.config.user.as_deref());
        self.directory(&format!("{key}.root"), &files.root, &worker);
        if let Symlinks::Follow(to) = &files.symlinks {
            for (number, directory) in to.iter().enumerate() {
                self.directory(&format!("{key}.symlinks_to[{number}]"), directory, &worker);
            }
        }
    }

    /// Directories from which workers send files for others.
    fn sent_from(&mut self, key: &str, directories: &[PathBuf]) {
        let worker = Identity::of(self.config.user.as_deref());
        for (number, directory) in directories.iter().enumerate() {
            self.directory(&format!("{key}.send_files_from[{number}]"), directory, &worker);
        }
    }

    fn app(&mut self, app: &App) {
        let key = |name: &str| format!("apps.{}.{name}", app.name);
        if let Some(user) = &app.user {
            self.user(&key("user"), user);
        }
        let identity = Identity::of(app.user.as_deref().or(self.config.user.as_deref()));
        self.directory(&key("chdir"), &app.chdir, &identity);
        self.commands(app, &identity);
        if let Some(home) = &app.home
            && self.directory(&key("home"), home, &identity)
            && !home.join("pyvenv.cfg").is_file()
        {
            let hint = format!("create one: python3 -m venv {}", home.display());
            self.add(
                &key("home"),
                format!("`{}` is not a virtualenv (it has no pyvenv.cfg)", home.display()),
                hint,
            );
            return;
        }
        if let Some(script) = app.kind.script() {
            let script = app.chdir.join(script);
            if let Err(error) = fs::metadata(&script) {
                self.absent(&key("module"), &script, &error);
            }
        }
        match app.kind.interpreter() {
            Some(python) if app.home.as_ref().is_none_or(|home| home.is_dir()) => {
                self.interpreter(&key("python"), python, app, &identity);
            }
            _ => {}
        }
    }

    fn interpreter(&mut self, key: &str, python: &Path, app: &App, identity: &Identity) {
        let program = python.display();
        if let Ok(link) = fs::read_link(python)
            && !python.exists()
        {
            let hint = app.home.as_ref().map_or_else(String::new, |home| {
                format!(
                    "the Python it was made with is gone, make it anew: python3 -m venv --clear {}",
                    home.display()
                )
            });
            self.add(key, format!("`{program}` points to `{}`, which does not exist", link.display()), hint);
        } else if !python.is_file() {
            let hint = if app.home.is_some() {
                "is the virtualenv complete?"
            } else {
                "install Python: apt install python3"
            };
            self.add(key, format!("no Python interpreter at `{program}`"), hint);
        } else if let Err(why) = identity.may_execute(python) {
            self.add(key, format!("`{program}` cannot be executed by {}: {why}", identity.name), "");
        }
    }

    /// The directory is there and can be read.
    fn directory(&mut self, key: &str, path: &Path, identity: &Identity) -> bool {
        let shown = path.display();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => match identity.may_read_directory(path) {
                Ok(()) => return true,
                Err(why) => {
                    let hint = "grant it with chmod or chgrp, or choose another `user`";
                    self.add(key, format!("`{shown}` cannot be read by {}: {why}", identity.name), hint);
                }
            },
            Ok(_) => self.add(key, format!("`{shown}` is not a directory"), ""),
            Err(error) => self.absent(key, path, &error),
        }
        false
    }

    /// A path that cannot be looked at.
    fn absent(&mut self, key: &str, path: &Path, error: &std::io::Error) {
        let shown = path.display();
        if error.kind() == std::io::ErrorKind::NotFound {
            let relative = "a relative path starts at the directory of the configuration file";
            let hint = format!("create it, or correct the path ({relative})");
            self.add(key, format!("`{shown}` does not exist"), hint);
        } else {
            self.add(key, format!("`{shown}`: {error}"), "");
        }
    }

    /// A file that will be made: its directory takes it, or the file itself is writable.
    fn writable_file(&mut self, key: &str, file: &Path, identity: &Identity) {
        if file.is_dir() {
            self.add(key, format!("`{}` is a directory", file.display()), "write the path of a file in it");
            return;
        }
        let is_regular = fs::metadata(file).is_ok_and(|metadata| metadata.is_file());
        if is_regular && identity.may_write_file(file).is_ok() {
            return;
        }
        self.writable_directory(key, file.parent().unwrap_or(Path::new("/")), identity);
    }

    fn writable_directory(&mut self, key: &str, path: &Path, identity: &Identity) {
        let shown = path.display();
        if !path.is_dir() {
            let hint = match path.strip_prefix("/run").ok().and_then(|below| below.iter().next()) {
                // It is empty after a boot.
                Some(name) => {
                    format!("create it at each boot, with systemd: RuntimeDirectory={}", name.display())
                }
                None => format!("create it: mkdir -p {shown}"),
            };
            self.add(key, format!("the directory `{shown}` does not exist"), hint);
        } else if let Err(why) = identity.may_write_directory(path) {
            self.add(
                key,
                format!("the directory `{shown}` cannot be written by {}: {why}", identity.name),
                "",
            );
        }
    }
}

/// Whether the error says what is wrong with a place, and not what the system says, which is told in other words.
fn is_reason(error: &std::io::Error) -> bool {
    error.get_ref().is_some()
}
