//! The main file, what it includes, and the checks that look at all of it.

use super::app::App;
use super::fallback::{Draft as FallbackDraft, Fallback};
use super::handler::{Draft as HandlerDraft, Handler};
use super::located::{At, File, Located, Node, Raw, Read, Report};
use super::location::Location;
use super::problem::{Complaint, Place, Problem};
use super::shape::Shape;
use super::site::{self, Site, render_host};
use super::source::{Source, absolute, is_pattern};
use super::upstream::Upstream;
use super::workers::Workers;
use super::{Config, Limits, Log, Sandbox, cronjob, daemon};
use crate::policy::DefaultSite;
use crate::sys::place;
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// The main file as written.
#[derive(Deserialize)]
pub(crate) struct RawConfig<'a> {
    #[serde(borrow)]
    user: Option<Located<'a, String>>,
    pid_file: Option<Located<'a, PathBuf>>,
    control: Option<Located<'a, PathBuf>>,
    shutdown_timeout: Option<Located<'a, Duration>>,
    drain_timeout: Option<Located<'a, Duration>>,
    start: Option<Located<'a, Start>>,
    temp_dir: Option<Located<'a, PathBuf>>,
    sandbox: Option<Located<'a, Sandbox>>,
    workers: Option<Located<'a, Workers>>,
    log: Option<Located<'a, Log>>,
    limits: Option<Located<'a, Limits>>,
    default_site: Option<Located<'a, At<DefaultSiteName>>>,
    sites: Option<Located<'a, Vec<site::Draft>>>,
    apps: Option<Located<'a, Named<App>>>,
    upstreams: Option<Located<'a, Named<Upstream>>>,
    daemons: Option<Located<'a, Named<daemon::Draft>>>,
    cron: Option<Located<'a, Vec<cronjob::Draft>>>,
    include: Option<Located<'a, Vec<At<String>>>>,
}

const LATER: &[&str] = &["metrics"];

impl<'a> Raw<'a> for RawConfig<'a> {
    const LATER: &'static [&'static str] = LATER;

    fn misplaced(key: &str) -> Option<Complaint> {
        let place = match key {
            "listen" | "names" | "locations" | "tls" | "max_body" | "trusted_proxies" | "error_pages" => {
                "sites: [( … )]"
            }
            "module" | "chdir" | "home" | "processes" | "threads" => "apps: { \"name\": ( … ) }",
            "servers" => "upstreams: { \"name\": ( … ) }",
            "access" => "log: ( … )",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), format!("it goes into {place}")))
    }
}

/// An included file as written.
#[derive(Deserialize)]
pub(crate) struct RawIncluded<'a> {
    #[serde(borrow)]
    sites: Option<Located<'a, Vec<site::Draft>>>,
    apps: Option<Located<'a, Named<App>>>,
    upstreams: Option<Located<'a, Named<Upstream>>>,
    daemons: Option<Located<'a, Named<daemon::Draft>>>,
    cron: Option<Located<'a, Vec<cronjob::Draft>>>,
}

impl<'a> Raw<'a> for RawIncluded<'a> {
    fn misplaced(key: &str) -> Option<Complaint> {
        let known = super::located::keys::<RawConfig<'_>>();
        known.contains(&key).then(|| {
            let hint = "an included file holds `sites`, `apps`, `upstreams`, `daemons` and `cron`";
            Complaint::new(format!("`{key}` belongs into the main file"), hint)
        })
    }
}

/// What the files hold together.
#[derive(Default)]
struct Sections {
    sites: Vec<site::Draft>,
    apps: Vec<(At<String>, Option<App>)>,
    upstreams: Vec<(At<String>, Option<Upstream>)>,
    daemons: daemon::order::Drafts,
    cron: Vec<cronjob::Draft>,
}

/// `{ "name": value }` with the names of those values, too, that are wrong: a name that is there is not unknown.
struct Named<T>(Vec<(At<String>, Option<T>)>);

impl<T: Read> Read for Named<T> {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let entries = node.map(report)?;
        let mut list = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            // Names stand in process titles, in logs and on command lines.
            if name.value.is_empty()
                || name.value.contains(|char: char| char.is_control() || char.is_whitespace())
            {
                report.add(&name.place, Complaint::new("a name is one word", "for example \"shop\""));
            }
            let value = T::read(&value, report);
            list.push((name, value));
        }
        Some(Self(list))
    }
}

/// `AllOrNothing` or `Independent`.
struct Start {
    all_or_nothing: bool,
}

impl Read for Start {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let all_or_nothing = node.choice(report, &[("Independent", false), ("AllOrNothing", true)], &[])?;
        Some(Self { all_or_nothing })
    }
}

/// `Refuse` or the name of a site.
enum DefaultSiteName {
    Refuse,
    Name(String),
}

impl Read for DefaultSiteName {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if matches!(node.shape(), Shape::Text(_)) {
            return String::read(node, report).map(Self::Name);
        }
        node.choice(report, &[("Refuse", ())], &[]).map(|()| Self::Refuse)
    }
}

/// Everything in the file and in what it includes. Second: warnings, which stop nothing.
///
/// # Errors
/// Every problem found, in the order of the files and lines.
pub fn load_with_warnings(path: &Path, source: &dyn Source) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let name = path.display().to_string();
    let full = absolute(&source.current_dir(), &name);
    let (text, doubts) = source
        .read_with_doubts(&full)
        .map_err(|error| vec![unreadable(&Place::named(&name, ""), &name, &error)])?;
    let dir = full.parent().unwrap_or(Path::new("/")).to_owned();
    let main = File::new(name.clone(), dir, text);
    let mut report = Report::new(source);
    doubts.into_iter().for_each(|doubt| report.warn(&Place::named(&name, ""), Complaint::new(doubt, "")));
    let top = match main.top() {
        Ok(top) => top,
        Err(problem) => return Err(vec![problem]),
    };
    let config = read_main(&top, &name, &mut report);
    finish(config, report)
}

/// The result, or the problems in the order of files and lines.
pub(crate) fn finish(
    config: Option<Config>,
    report: Report<'_>,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let Report { mut problems, warnings, .. } = report;
    if let (Some(config), true) = (config, problems.is_empty()) {
        return Ok((config, warnings));
    }
    let mut files: Vec<String> = Vec::new();
    for problem in &problems {
        if !files.contains(&problem.file) {
            files.push(problem.file.clone());
        }
    }
    problems.sort_by_key(|problem| {
        let file = files.iter().position(|file| *file == problem.file);
        (file, problem.line, problem.column)
    });
    problems.dedup();
    Err(problems)
}

fn unreadable(place: &Place, name: &str, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        // It says what to do.
        _ if place::stranger_of(error).is_some() => "",
        io::ErrorKind::PermissionDenied => "it must be readable for the user who starts the server",
        io::ErrorKind::InvalidData => "it must be UTF-8 text",
        _ => "",
    };
    let what = match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ if place::stranger_of(error).is_some() => error.to_string(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::InvalidData => "not a text file".to_owned(),
        _ => error.to_string(),
    };
    let what = if place.file == name && place.line == 0 { what } else { format!("`{name}`: {what}") };
    place.problem(Complaint::new(what, hint))
}

fn read_main(top: &Node<'_>, origin: &str, report: &mut Report<'_>) -> Option<Config> {
    let (raw, at) = top.fields::<RawConfig<'_>>(report)?;
    let defaults = Config::defaults(origin, report.source);
    let mut config = Config {
        user: at.read(raw.user, report),
        pid_file: at.read(raw.pid_file, report),
        control: at.read(raw.control, report),
        shutdown_timeout: at.or(raw.shutdown_timeout, defaults.shutdown_timeout, report),
        drain_timeout: at.or(raw.drain_timeout, defaults.drain_timeout, report),
        all_or_nothing: at.or(raw.start, Start { all_or_nothing: false }, report).all_or_nothing,
        temp_dir: at.or(raw.temp_dir, defaults.temp_dir.clone(), report),
        sandbox: at.or(raw.sandbox, defaults.sandbox, report),
        workers: at.or(raw.workers, defaults.workers.clone(), report),
        log: at.or(raw.log, defaults.log.clone(), report),
        limits: at.or(raw.limits, defaults.limits.clone(), report),
        ..defaults
    };
    let default_site = at.read(raw.default_site, report);
    let mut sections = Sections {
        sites: at.or(raw.sites, Vec::new(), report),
        apps: at.or(raw.apps, Named(Vec::new()), report).0,
        upstreams: at.or(raw.upstreams, Named(Vec::new()), report).0,
        daemons: at.or(raw.daemons, Named(Vec::new()), report).0,
        cron: at.or(raw.cron, Vec::new(), report),
    };
    for pattern in at.or(raw.include, Vec::new(), report) {
        include(&pattern, &top.file.dir, &mut sections, report);
    }
    let nothing = sections.sites.is_empty() && sections.cron.is_empty() && sections.daemons.is_empty();
    if report.problems.is_empty() && nothing {
        let hint = "add `sites`, `daemons` or `cron`; docs/manual/first-steps.md has a first configuration";
        top.complain(report, Complaint::new("there is nothing to do", hint));
    }
    resolve(&mut config, sections, default_site, report);
    Some(config)
}

/// Adds the files that match.
fn include(pattern: &At<String>, dir: &Path, sections: &mut Sections, report: &mut Report<'_>) {
    let full = absolute(dir, &pattern.value);
    let wild = is_pattern(&pattern.value);
    let found = if wild { report.source.glob(&full) } else { Ok(vec![full.clone()]) };
    let paths = match found {
        Ok(paths) => paths,
        Err(error) => {
            report.problems.push(unreadable(&pattern.place, &pattern.value, &error));
            return;
        }
    };
    if paths.is_empty() {
        let what = format!("`{}` matches no file", pattern.value);
        report.warn(&pattern.place, Complaint::new(what, ""));
    }
    for path in paths {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let (text, doubts) = match report.source.read_with_doubts(&path) {
            Ok(found) => found,
            Err(error) => {
                report.problems.push(unreadable(&pattern.place, &name, &error));
                continue;
            }
        };
        for doubt in doubts {
            report.warn(&Place::named(&name, ""), Complaint::new(doubt, ""));
        }
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let file = File::new(name, directory, text);
        match file.top() {
            Ok(top) => read_included(&top, sections, report),
            Err(problem) => report.problems.push(problem),
        }
    }
}

fn read_included(top: &Node<'_>, sections: &mut Sections, report: &mut Report<'_>) {
    let Some((raw, at)) = top.fields::<RawIncluded<'_>>(report) else { return };
    sections.sites.extend(at.or(raw.sites, Vec::new(), report));
    sections.apps.extend(at.or(raw.apps, Named(Vec::new()), report).0);
    sections.upstreams.extend(at.or(raw.upstreams, Named(Vec::new()), report).0);
    sections.daemons.extend(at.or(raw.daemons, Named(Vec::new()), report).0);
    sections.cron.extend(at.or(raw.cron, Vec::new(), report));
}

/// Names to indices, and the checks that look at several sections.
fn resolve(
    config: &mut Config,
    mut sections: Sections,
    default: Option<At<DefaultSiteName>>,
    report: &mut Report<'_>,
) {
    site::check_all(&sections.sites, report);
    sort_named(&mut sections.apps, report);
    sort_named(&mut sections.upstreams, report);
    sort_named(&mut sections.daemons, report);
    let mut apps = Names::new("app", &sections.apps);
    let mut upstreams = Names::new("upstream", &sections.upstreams);

    let labels: Vec<String> =
        sections.sites.iter().enumerate().map(|(index, site)| site.label(index)).collect();
    for (site, label) in sections.sites.into_iter().zip(labels) {
        let mut locations = Vec::with_capacity(site.locations.len());
        for location in site.locations {
            let found = resolve_handler(location.handler, &mut apps, &mut upstreams, report);
            let Some((handler, fallback)) = found else { continue };
            locations.push(Location {
                matcher: location.matcher.value,
                policies: location.policies.inherit(&site.policies),
                handler: Rc::new(handler),
                fallback,
            });
        }
        config.sites.push(Site {
            label,
            names: site.names.into_iter().map(|name| name.value).collect(),
            listen: site.listen.into_iter().map(|address| address.value).collect(),
            policies: site.policies,
            trusted_proxies: site.trusted_proxies,
            error_pages: site.error_pages,
            locations,
        });
    }
    let mut jobs: Vec<At<String>> = Vec::new();
    for draft in sections.cron {
        if let Some(first) = jobs.iter().find(|first| first.value == draft.job.name) {
            let what = format!("the job `{}` is already at {}", draft.job.name, first.place.mention());
            report.add(&draft.place, Complaint::new(what, "names are unique"));
        }
        jobs.push(At { value: draft.job.name.clone(), place: draft.place });
        let app = draft.app.as_ref().map(|name| apps.find(name, report));
        config.cron.push(cronjob::CronJob { app: app.flatten(), ..draft.job });
    }
    let names: Vec<String> = sections.apps.iter().map(|(name, _)| name.value.clone()).collect();
    let find = |name: &At<String>, report: &mut Report<'_>| apps.find(name, report);
    config.daemons = daemon::order::resolve(sections.daemons, &names, find, report);
    apps.warn_unused("no location, daemon or cron job uses it", report);
    upstreams.warn_unused("no location uses it", report);
    config.apps = named(sections.apps, |name, app| App { name, ..app });
    for (index, app) in config.apps.iter_mut().enumerate() {
        if let Some(ready) = &mut app.ready {
            ready.resolve(index, &config.sites);
        }
    }
    config.upstreams = named(sections.upstreams, |name, upstream| Upstream { name, ..upstream });
    if let Some(default) = default {
        config.default_site = default_site(&default, &config.sites, report);
    }
}

fn named<T>(list: Vec<(At<String>, Option<T>)>, name: fn(String, T) -> T) -> Vec<T> {
    list.into_iter().filter_map(|(key, value)| Some(name(key.value, value?))).collect()
}

/// The handler of a location, and what answers where it has nothing.
fn resolve_handler(
    draft: HandlerDraft,
    apps: &mut Names,
    upstreams: &mut Names,
    report: &mut Report<'_>,
) -> Option<(Handler, Fallback)> {
    let handler = match draft {
        HandlerDraft::Ready(handler) => handler,
        HandlerDraft::Files { files, fallback } => {
            let fallback = match fallback {
                Some(FallbackDraft::Handler(draft)) => {
                    let (handler, _) = resolve_handler(*draft, apps, upstreams, report)?;
                    Fallback::Handler(Rc::new(handler))
                }
                Some(FallbackDraft::Status(status)) => Fallback::Status(status),
                Some(FallbackDraft::File(_)) | None => Fallback::default(),
            };
            return Some((Handler::Files(files), fallback));
        }
        HandlerDraft::App { name, mount } => {
            apps.find(&name, report).map(|app| Handler::App { app, mount })?
        }
        HandlerDraft::Proxy(name) => upstreams.find(&name, report).map(Handler::Proxy)?,
    };
    Some((handler, Fallback::default()))
}

fn default_site(default: &At<DefaultSiteName>, sites: &[Site], report: &mut Report<'_>) -> DefaultSite {
    let DefaultSiteName::Name(name) = &default.value else { return DefaultSite::Refuse };
    let names: Vec<String> = sites.iter().flat_map(|site| site.names.iter().map(render_host)).collect();
    let found = sites.iter().position(|site| site.names.iter().any(|pattern| render_host(pattern) == *name));
    found.map_or_else(
        || {
            report.add(&default.place, Complaint::unknown("site", name, &names));
            DefaultSite::Refuse
        },
        DefaultSite::Site,
    )
}

/// By name; a name in two files is a problem (twice in one map has been reported already).
fn sort_named<T>(list: &mut [(At<String>, Option<T>)], report: &mut Report<'_>) {
    list.sort_by(|(one, _), (two, _)| one.value.cmp(&two.value));
    for pair in list.windows(2) {
        if let [(first, _), (second, _)] = pair
            && first.value == second.value
        {
            let what = format!("`{}` is already at {}", second.value, first.place.mention());
            report.add(&second.place, Complaint::new(what, "names are unique over all files"));
        }
    }
}

/// The names of one section, and which of them have been used.
struct Names {
    kind: &'static str,
    list: Vec<(At<String>, bool)>,
}

impl Names {
    fn new<T>(kind: &'static str, list: &[(At<String>, Option<T>)]) -> Self {
        Self { kind, list: list.iter().map(|(name, _)| (name.clone(), false)).collect() }
    }

    fn find(&mut self, name: &At<String>, report: &mut Report<'_>) -> Option<usize> {
        if let Some((index, (_, used))) =
            self.list.iter_mut().enumerate().find(|(_, (known, _))| known.value == name.value)
        {
            *used = true;
            return Some(index);
        }
        let known: Vec<&str> = self.list.iter().map(|(name, _)| name.value.as_str()).collect();
        let mut complaint = Complaint::unknown(self.kind, &name.value, &known);
        if known.is_empty() {
            complaint.hint = format!("define it: {}s: {{ \"{}\": ( … ) }}", self.kind, name.value);
        }
        report.refuse(&name.place, complaint)
    }

    fn warn_unused(&self, why: &str, report: &mut Report<'_>) {
        for (name, _) in self.list.iter().filter(|(_, used)| !used) {
            report.warn(
                &name.place,
                Complaint::new(format!("the {} `{}` is never used", self.kind, name.value), why),
            );
        }
    }
}

impl Config {
    /// The name of the app at this index.
    pub(crate) fn app_name(&self, at: usize) -> Option<At<String>> {
        self.apps.get(at).map(|app| At::nowhere(app.name.clone()))
    }

    /// The defaults of the whole-server keys, with nothing to serve.
    pub(crate) fn defaults(origin: &str, source: &dyn Source) -> Self {
        Self {
            origin: origin.to_owned(),
            user: None,
            pid_file: None,
            control: None,
            shutdown_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(600),
            all_or_nothing: false,
            temp_dir: temp_dir(source),
            sandbox: Sandbox::Try,
            workers: Workers::automatic(source.cpus()),
            log: Log::default(),
            limits: Limits::default(),
            default_site: DefaultSite::Refuse,
            sites: Vec::new(),
            apps: Vec::new(),
            upstreams: Vec::new(),
            daemons: Vec::new(),
            cron: Vec::new(),
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
