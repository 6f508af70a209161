//! The main file, what it includes, and the checks that look at all of it.

use super::Resolver;
use super::app::App;
use super::cronjob::CronJob;
use super::lists::List;
use super::located::{At, File, Node, Report};
use super::names::{Kind, Names};
use super::places::Places;
use super::problem::{Complaint, Place, Problem};
use super::read::paths;
use super::sandbox::SANDBOXES;
use super::sending;
use super::site::{self, Site, render_host};
use super::source::{Source, absolute, is_pattern};
use super::upstream::{self, Upstream};
use super::walk::{self, By, Choice, Form, Or, Section, Walk};
use super::workers::Workers;
use super::written::Written;
use super::{
    CacheSizes, Config, Limits, Log, Sandbox, cache_responses, cgi, condition, daemon, env_file, limit,
};
use crate::policy::DefaultSite;
use crate::policy::condition::Condition;
use crate::sys::place;
use nix::errno::Errno;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The main file.
#[derive(Clone, Default)]
struct Main {
    /// Without its sections.
    config: Config,
    default_site: Option<At<String>>,
    sections: Sections,
}

/// What a file may hold, and all files hold together.
#[derive(Clone, Default)]
struct Sections {
    conditions: Vec<(String, Condition)>,
    lists: Vec<(String, List)>,
    sites: Vec<site::Draft>,
    apps: Vec<(String, App)>,
    upstreams: Vec<(String, Upstream)>,
    daemons: Vec<(String, daemon::Draft)>,
    cron: Vec<CronJob>,
}

const STARTS: [(&str, bool); 2] = [("Independent", false), ("AllOrNothing", true)];

impl Section for Main {
    const LATER: &'static [&'static str] = &["metrics"];

    fn misplaced(key: &str) -> Option<Complaint> {
        let place = match key {
            "listen" | "names" | "locations" | "tls" | "max_body" | "trusted_proxies" | "client_address"
            | "error_pages" => "sites: [( … )]",
            "module" | "chdir" | "home" | "processes" | "threads" => "apps: { \"name\": ( … ) }",
            "servers" => "upstreams: { \"name\": ( … ) }",
            "access" => "log: ( … ), or who may enter into sites: [( … )]",
            "auth" | "satisfy" => "sites: [( … )]",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), format!("it goes into {place}")))
    }

    fn start(_node: &Node<'_>, report: &Report<'_>) -> Self {
        Self { config: Config::defaults("", report.source), ..Self::default() }
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.config;
        keys.key("user", &mut of.user);
        keys.key("pid_file", &mut of.pid_file);
        keys.key("control", &mut of.control);
        keys.key("touch_reload", &mut By(&mut of.touch_reload, paths));
        keys.key("shutdown_timeout", &mut of.shutdown_timeout);
        keys.key("drain_timeout", &mut of.drain_timeout);
        keys.key("start", &mut Choice(&mut of.all_or_nothing, &STARTS, &[]));
        keys.key("temp_dir", &mut of.temp_dir);
        keys.key("sandbox", &mut Choice(&mut of.sandbox, &SANDBOXES, &[]));
        keys.key("resolver", &mut of.resolver);
        keys.key("workers", &mut of.workers);
        keys.key("log", &mut of.log);
        keys.key("limits", &mut of.limits);
        keys.key("cache", &mut of.cache);
        keys.key("default_site", &mut Or(&mut self.default_site, "Refuse"));
        self.sections.walk(keys);
        // They are found before.
        keys.key("include", &mut None::<Vec<At<String>>>);
    }
}

/// An included file.
impl Section for Sections {
    fn misplaced(key: &str) -> Option<Complaint> {
        walk::keys(&Main::default()).contains(&key).then(|| {
            let hint = "an included file holds `conditions`, `lists`, `sites`, `apps`, `upstreams`, `daemons` and `cron`";
            Complaint::new(format!("`{key}` belongs into the main file"), hint)
        })
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("conditions", &mut self.conditions);
        keys.key("lists", &mut self.lists);
        keys.key("sites", &mut self.sites);
        keys.key("apps", &mut self.apps);
        keys.key("upstreams", &mut self.upstreams);
        keys.key("daemons", &mut self.daemons);
        keys.key("cron", &mut self.cron);
    }
}

/// The main file as it would be written for this configuration, every default written out.
pub(crate) fn written(config: &Config) -> Written {
    let default = match config.default_site {
        DefaultSite::Refuse => None,
        DefaultSite::Site(index) => config.sites.get(index).and_then(|site| site.names.first()),
    };
    let default_site = default.map(|name| At::nowhere(render_host(name)));
    let sections = Sections {
        conditions: config.conditions.clone(),
        lists: config.lists.iter().map(|list| (list.name.clone(), list.clone())).collect(),
        sites: config.sites.iter().map(site::Draft::of).collect(),
        apps: config.written_apps().map(|app| (app.name.clone(), app.clone())).collect(),
        upstreams: config.upstreams.iter().map(|one| (one.name.clone(), one.clone())).collect(),
        daemons: config.daemons.iter().map(|one| (one.name.clone(), daemon::Draft::of(one))).collect(),
        cron: config.cron.clone(),
    };
    Main { config: config.clone(), default_site, sections }.write()
}

/// Everything in the file and in what it includes. Second: warnings, which stop nothing.
///
/// # Errors
/// Every problem found, in the order of the files and lines.
pub fn load_with_warnings(path: &Path, source: &dyn Source) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let mut report = Report::new(source);
    let config = read_files(path, &mut report, |_, _, _| {});
    finish(config, report)
}

/// What a file and its machine have to be told of.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The configuration, if the file has no mistake.
    pub(crate) config: Option<Config>,
    /// Mistakes of the file, and what was found wrong besides: in the order of files and lines.
    pub(crate) problems: Vec<Problem>,
    /// What stops nothing.
    pub(crate) warnings: Vec<Problem>,
}

/// Reads the file, and has a look at the machine for it, also for what could be read of a file with mistakes (second: there
/// are none). The problems and warnings that come of it know their keys only; their places are found here.
pub(crate) fn examine(
    path: &Path,
    source: &dyn Source,
    look: impl FnOnce(&Config, bool) -> (Vec<Problem>, Vec<Problem>),
) -> Examined {
    let mut report = Report::new(source);
    let mut is_good = false;
    let config = read_files(path, &mut report, |config, tops, report| {
        is_good = report.problems.is_empty();
        let (problems, warnings) = look(config, is_good);
        let places = Places::of(tops);
        for (found, all) in [(problems, &mut report.problems), (warnings, &mut report.warnings)] {
            let certain = found.into_iter().filter(|one| is_good || places.is_certain(config, &one.key));
            all.extend(certain.map(|one| places.located(one)));
        }
    });
    let Report { mut problems, warnings, files, .. } = report;
    in_order(&mut problems, &files);
    Examined { config: config.filter(|_| is_good), problems, warnings }
}

/// The same problems of a configuration that was read a moment ago from this file, with their places, as far as they know
/// their keys only.
pub(crate) fn located(file: &str, source: &dyn Source, mut problems: Vec<Problem>) -> Vec<Problem> {
    if problems.is_empty() {
        return problems;
    }
    read_files(Path::new(file), &mut Report::new(source), |_, tops, _| {
        let places = Places::of(tops);
        problems = std::mem::take(&mut problems).into_iter().map(|one| places.located(one)).collect();
    });
    problems
}

/// The files, as far as they can be read; `then` sees them with what came of them.
fn read_files(
    path: &Path,
    report: &mut Report<'_>,
    then: impl FnOnce(&Config, &[Node<'_>], &mut Report<'_>),
) -> Option<Config> {
    let full = absolute(&report.source.current_dir(), &path.display().to_string());
    let name = path.display().to_string();
    let main = open(&full, &name, &Place::named(&name, ""), report)?;
    let top = main.top().map_err(|problem| report.problems.push(problem)).ok()?;
    let included = included(&top, report);
    let mut tops = vec![top];
    for file in &included {
        match file.top() {
            Ok(top) => tops.push(top),
            Err(problem) => report.problems.push(problem),
        }
    }
    report.names = Names::of(&tops, report);
    let config = read_all(&tops, &name, report)?;
    let mixed_up = mixed_up(&config, &tops, report.source);
    report.problems.extend(mixed_up);
    then(&config, &tops, report);
    Some(config)
}

/// Access logs whose lines would be added to a file that is something else.
fn mixed_up(config: &Config, tops: &[Node<'_>], source: &dyn Source) -> Vec<Problem> {
    let files = tops.iter().map(|top| ("a file of the configuration".to_owned(), top.file.path.as_path()));
    let variables = env_file::all(config).into_iter().map(|(key, path)| (format!("`{key}`"), path));
    let control = config.control.as_ref().map(|control| &control.path);
    let own = [("`pid_file`", config.pid_file.as_ref()), ("`control`", control)];
    let own = own.into_iter().filter_map(|(what, path)| Some((what.to_owned(), path?.as_path())));
    let taken: Vec<_> =
        files.chain(variables).chain(own).map(|(what, path)| (what, source.real(path))).collect();
    let places = Places::of(tops);
    let logs = config.access_logs().into_iter().filter_map(|(key, log)| {
        let path = log.path.as_ref()?;
        let real = source.real(path);
        let (is, _) = taken.iter().find(|(_, taken)| *taken == real)?;
        let what = format!("`{}` is {is}, to which each request would add a line", path.display());
        let place = Place::named(&config.origin, format!("{key}.path"));
        Some(places.located(place.problem(Complaint::new(what, "give the log a file of its own"))))
    });
    logs.collect()
}

/// The result, or the problems in the order of files and lines.
pub(crate) fn finish(
    config: Option<Config>,
    report: Report<'_>,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let Report { mut problems, warnings, files, .. } = report;
    if let (Some(config), true) = (config, problems.is_empty()) {
        return Ok((config, warnings));
    }
    in_order(&mut problems, &files);
    Err(problems)
}

/// In the order of files and lines, each once.
fn in_order(problems: &mut Vec<Problem>, files: &[String]) {
    problems.sort_by_key(|problem| {
        let file = files.iter().position(|file| *file == problem.file);
        (file, problem.line, problem.column)
    });
    problems.dedup();
}

fn unreadable(place: &Place, path: &Path, name: &str, error: &io::Error) -> Problem {
    let (what, hint) = match error.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            ("it is a symbolic link that leads nowhere".to_owned(), "mend it, or remove it")
        }
        io::ErrorKind::NotFound => ("no such file".to_owned(), "check the path"),
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            ("it is a symbolic link that leads back to itself".to_owned(), "mend it, or remove it")
        }
        // It says what to do.
        _ if place::stranger_of(error).is_some() => (error.to_string(), ""),
        io::ErrorKind::PermissionDenied => {
            ("permission denied".to_owned(), "it must be readable for the user who starts the server")
        }
        io::ErrorKind::InvalidData => ("not a text file".to_owned(), "it must be UTF-8 text"),
        _ => (error.to_string(), ""),
    };
    let what = if place.file == name && place.line == 0 { what } else { format!("`{name}`: {what}") };
    place.problem(Complaint::new(what, hint))
}

/// A file that is named at `place`.
fn open(path: &Path, name: &str, place: &Place, report: &mut Report<'_>) -> Option<File> {
    let (text, doubts) = match report.source.read_with_doubts(path) {
        Ok(found) => found,
        Err(error) => {
            report.problems.push(unreadable(place, path, name, &error));
            return None;
        }
    };
    for doubt in doubts {
        report.warn(&Place::named(name, ""), Complaint::new(doubt, ""));
    }
    report.files.push(name.to_owned());
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    Some(File::new(name.to_owned(), path.to_owned(), directory, &text))
}

/// The files that the main file includes.
fn included(top: &Node<'_>, report: &mut Report<'_>) -> Vec<File> {
    // What is wrong with the key itself is told when it is read with the others.
    let mut unheard = Report::new(report.source);
    let patterns = top.field("include").and_then(|key| Vec::<At<String>>::read(&key, &mut unheard));
    let main = report.source.real(&top.file.path);
    let (mut files, mut seen) = (Vec::new(), HashSet::from([main.clone()]));
    for pattern in patterns.unwrap_or_default() {
        let dir = &top.file.dir;
        let full = absolute(dir, &pattern.value);
        let wild = is_pattern(&pattern.value);
        let found = if wild { report.source.glob(&full) } else { Ok(vec![full.clone()]) };
        let paths = match found {
            Ok(paths) => paths,
            Err(error) => {
                report.problems.push(unreadable(&pattern.place, &full, &pattern.value, &error));
                continue;
            }
        };
        if paths.is_empty() {
            let what = format!("`{}` matches no file", pattern.value);
            report.warn(&pattern.place, Complaint::new(what, ""));
        }
        for path in paths {
            let real = report.source.real(&path);
            if !seen.insert(real.clone()) {
                let which =
                    if real == main { "the main file itself" } else { "a file that is included before" };
                let what = format!("`{}` names {which}, `{}`", pattern.value, path.display());
                report.add(&pattern.place, Complaint::new(what, "each file is read once: take it out"));
                continue;
            }
            let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            files.extend(open(&path, &name, &pattern.place, report));
        }
    }
    files
}

/// The main file, and behind it those that it includes.
fn read_all(tops: &[Node<'_>], origin: &str, report: &mut Report<'_>) -> Option<Config> {
    let (top, included) = tops.split_first()?;
    let Main { config, default_site, mut sections } = Main::read(top, report)?;
    for more in included.iter().filter_map(|top| Sections::read(top, report)) {
        sections.conditions.extend(more.conditions);
        sections.lists.extend(more.lists);
        sections.sites.extend(more.sites);
        sections.apps.extend(more.apps);
        sections.upstreams.extend(more.upstreams);
        sections.daemons.extend(more.daemons);
        sections.cron.extend(more.cron);
    }
    let nothing = sections.sites.is_empty() && sections.cron.is_empty() && sections.daemons.is_empty();
    if report.problems.is_empty() && nothing {
        let hint = "add `sites`, `daemons` or `cron`; docs/manual/first-steps.md has a first configuration";
        top.complain(report, Complaint::new("there is nothing to do", hint));
    }
    let config = assemble(Config { origin: origin.to_owned(), ..config }, sections, default_site, report);
    let names = std::mem::take(&mut report.names);
    names.warn_unused(Kind::App, "no location, daemon or cron job uses it", report);
    names.warn_unused(Kind::Upstream, "no location uses it", report);
    names.warn_unused(Kind::Condition, "no location or policy depends on it", report);
    names.warn_unused(Kind::List, "no `access` names it", report);
    limit::warn_unused(report);
    Some(config)
}

/// The configuration, and the checks that look at all of it.
fn assemble(
    mut config: Config,
    sections: Sections,
    default: Option<At<String>>,
    report: &mut Report<'_>,
) -> Config {
    let Sections { mut conditions, mut lists, sites, mut apps, mut upstreams, mut daemons, cron } = sections;
    conditions.sort_by(|(one, _), (two, _)| one.cmp(two));
    condition::check_all(&conditions, report);
    config.conditions = conditions;
    site::check_all(&sites, report);
    config.sites = sites.into_iter().enumerate().map(|(index, draft)| draft.site(index)).collect();
    limit::label(&mut config.sites);
    cache_responses::omit_id(&mut config.sites, config.log.request_id.as_ref());
    config.default_site = default_site(default, &config.sites, report);
    lists.sort_by(|(one, _), (two, _)| one.cmp(two));
    config.lists = lists.into_iter().map(|(name, list)| List { name, ..list }).collect();
    apps.sort_by(|(one, _), (two, _)| one.cmp(two));
    upstreams.sort_by(|(one, _), (two, _)| one.cmp(two));
    daemons.sort_by(|(one, _), (two, _)| one.cmp(two));
    config.apps = apps.into_iter().map(|(name, app)| App { name, ..app }).collect();
    config.upstreams = upstreams.into_iter().map(|(name, of)| Upstream { name, ..of }).collect();
    cgi::make_apps(&mut config.sites, &mut config.apps);
    let behind = config.upstreams.len();
    config.apps.iter_mut().enumerate().for_each(|(index, app)| app.settle(behind + index));
    upstream::check_all(&config, report);
    config.daemons = daemon::order::resolve(daemons, report.names.of_kind(Kind::Daemon).count(), report);
    config.cron = cron;
    config.sending = sending::all(&config, report.source);
    for (index, app) in config.apps.iter_mut().enumerate() {
        if let Some(ready) = &mut app.ready {
            ready.resolve(index, &config.sites);
        }
    }
    config
}

fn default_site(default: Option<At<String>>, sites: &[Site], report: &mut Report<'_>) -> DefaultSite {
    let Some(At { value: wanted, place }) = default else { return DefaultSite::Refuse };
    let names = sites.iter().map(|site| site.names.iter().map(render_host).collect::<Vec<_>>());
    if let Some(site) = names.clone().position(|names| names.contains(&wanted)) {
        return DefaultSite::Site(site);
    }
    let known: Vec<String> = names.flatten().collect();
    report.add(&place, Complaint::unknown("site", &wanted, &known));
    DefaultSite::Refuse
}

impl Config {
    /// The apps that stand under `apps`.
    pub(crate) fn written_apps(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().filter(|app| app.kind.scripts().is_none())
    }

    /// The defaults on this machine, with nothing to serve.
    pub(crate) fn defaults(origin: &str, source: &dyn Source) -> Self {
        Self {
            origin: origin.to_owned(),
            temp_dir: temp_dir(source),
            workers: Workers::automatic(source.cpus()),
            ..Self::default()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            origin: String::new(),
            user: None,
            pid_file: None,
            control: None,
            touch_reload: Vec::new(),
            shutdown_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(600),
            all_or_nothing: false,
            temp_dir: PathBuf::from("/tmp"),
            sandbox: Sandbox::Try,
            resolver: Resolver::default(),
            workers: Workers::default(),
            log: Log::default(),
            limits: Limits::default(),
            cache: CacheSizes::default(),
            default_site: DefaultSite::Refuse,
            conditions: Vec::new(),
            lists: Vec::new(),
            sites: Vec::new(),
            apps: Vec::new(),
            upstreams: Vec::new(),
            daemons: Vec::new(),
            cron: Vec::new(),
            sending: Vec::new(),
        }
    }
}

/// `TMPDIR`, else `/var/tmp`, since `/tmp` is often memory (file-hierarchy(7)).
fn temp_dir(source: &dyn Source) -> PathBuf {
    match source.env("TMPDIR") {
        Some(path) if path.starts_with('/') => absolute(Path::new("/"), &path),
        _ if source.is_dir(Path::new("/var/tmp")) => PathBuf::from("/var/tmp"),
        _ => PathBuf::from("/tmp"),
    }
}
