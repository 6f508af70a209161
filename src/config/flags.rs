//! The configuration that the flags of `hatchery run` and `hatchery serve` stand for.

use super::Config;
use super::address::Address;
use super::app::App;
use super::files::Files;
use super::handler::Handler;
use super::host::{Host, Python, Target, check_threads, interpreter};
use super::listen::Listen;
use super::load::finish;
use super::located::{At, Report};
use super::location::Location;
use super::problem::{Complaint, Place, Problem};
use super::read::env_name;
use super::site::{DEFAULT_POLICIES, Site, parse_host, render_host};
use super::source::{Source, absolute};
use super::tls::{self, Acme, Certificates, Tls, parse_email};
use super::units::{self, check_path};
use crate::route::{HostPattern, Matcher};
use crate::supervisor::Processes;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// Where these configurations say they come from.
pub(crate) const ORIGIN: &str = "command line";

/// `hatchery run` without a file. Relative paths start in the current directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFlags {
    /// `--http`, several; none: `:8000`.
    pub(crate) http: Vec<String>,
    /// `--module config.wsgi`.
    pub(crate) module: Option<String>,
    /// `--chdir`; the current directory.
    pub(crate) chdir: Option<String>,
    /// `--home`, the virtualenv; one in the directory of the project.
    pub(crate) home: Option<String>,
    /// `--static /static/=DIR`, several.
    pub(crate) static_: Vec<String>,
    /// `--allow-source`: directories of `--static` may be projects.
    pub(crate) allow_source: bool,
    /// `--processes N` of the app; 1.
    pub(crate) processes: Option<u32>,
    /// `--threads N` per process; 1.
    pub(crate) threads: Option<u32>,
    /// `--env NAME=VALUE`, several.
    pub(crate) env: Vec<String>,
    /// `--user`.
    pub(crate) user: Option<String>,
    /// `--control PATH`.
    pub(crate) control: Option<String>,
    /// `--cheap`: workers and app leave when idle; the app is proved once before listening.
    pub(crate) cheap: bool,
    /// `--idle 10m`.
    pub(crate) idle: Option<String>,
    /// `--acme NAME`, several: names of the site, for which Let's Encrypt gives a certificate. It listens on `:443`, too, and
    /// without `--http` on `:80`.
    pub(crate) acme: Vec<String>,
    /// `--watch DIR` of `hatchery dev`, several.
    pub(crate) watch: Vec<String>,
    /// `--email`, where the authority reaches whoever runs this.
    pub(crate) email: Option<String>,
}

/// `hatchery serve DIR`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serve {
    /// The directory.
    pub(crate) dir: String,
    /// `--allow-source`: it may be a project.
    pub(crate) allow_source: bool,
    /// `--http`, several; none: `:8080`.
    pub(crate) http: Vec<String>,
}

/// One site, that answers any host unless `--acme` names it: a location for each `--static`, the app at `/`. Workers are "auto", the app has one
/// process with one thread unless the flags say otherwise.
///
/// # Errors
/// Every problem found; their key is the flag.
pub(crate) fn from_flags(run: &RunFlags, source: &dyn Source) -> Result<Config, Vec<Problem>> {
    let mut report = Report::new(source);
    let mut config = Config::defaults(ORIGIN, source);
    let here = source.current_dir();
    config.user.clone_from(&run.user);
    config.control = run.control.as_ref().map(|path| absolute(&here, path).into());
    let idle = run.idle.as_deref().and_then(|text| idle(text, &mut report));
    config.workers.idle = idle.unwrap_or(config.workers.idle);
    if run.cheap {
        config.workers.processes.min = 0;
    }
    let mut locations: Vec<Location> = Vec::new();
    for text in &run.static_ {
        let Some(location) = caught(&mut report, "--static", static_location(text, &here, run.allow_source))
        else {
            continue;
        };
        if locations.iter().any(|other| other.matcher == location.matcher) {
            let complaint = Complaint::new(format!("`{text}`: this prefix is given twice"), "keep one");
            complain(&mut report, "--static", complaint);
        }
        locations.push(location);
    }
    match &run.module {
        Some(module) => {
            if let Some(app) = caught(&mut report, "--module", Target::parse(module)) {
                config.apps.push(app_of(run, app, idle, &here, &mut report));
                locations.push(at_root(Handler::App { app: 0, mount: String::new() }));
            }
        }
        None if run.static_.is_empty() => {
            let hint = "for example --module config.wsgi, or -c FILE for a configuration file";
            complain(&mut report, "--module", Complaint::new("nothing to run", hint));
        }
        None => {}
    }
    let http = if run.acme.is_empty() { ":8000" } else { ":80" };
    let mut site = any_host(&run.http, http, locations, &mut report);
    if !run.acme.is_empty() {
        by_acme(run, &mut site, &mut report);
    }
    config.sites.push(site);
    finish(Some(config), report).map(|(config, _)| config)
}

/// One site that answers any host with the files of the directory.
///
/// # Errors
/// Every problem found; their key is the flag.
pub(crate) fn from_serve(serve: &Serve, source: &dyn Source) -> Result<Config, Vec<Problem>> {
    let mut report = Report::new(source);
    let mut config = Config::defaults(ORIGIN, source);
    let root = absolute(&source.current_dir(), &serve.dir);
    let locations =
        vec![at_root(Handler::Files(Files { allow_source: serve.allow_source, ..Files::new(root) }))];
    config.sites.push(any_host(&serve.http, ":8080", locations, &mut report));
    finish(Some(config), report).map(|(config, _)| config)
}

fn complain(report: &mut Report<'_>, flag: &str, complaint: Complaint) {
    report.add(&Place::named(ORIGIN, flag), complaint);
}

fn caught<T>(report: &mut Report<'_>, flag: &str, result: Result<T, Complaint>) -> Option<T> {
    result.map_err(|complaint| complain(report, flag, complaint)).ok()
}

fn idle(text: &str, report: &mut Report<'_>) -> Option<Duration> {
    let idle = caught(report, "--idle", units::duration(text))?;
    if idle.is_zero() {
        complain(report, "--idle", Complaint::new("must be longer than nothing", "for example --idle 10m"));
        return None;
    }
    Some(idle)
}

fn at_root(handler: Handler) -> Location {
    location(Matcher::Prefix { path: "/".to_owned(), over_regex: false }, handler)
}

fn location(matcher: Matcher, handler: Handler) -> Location {
    Location { matcher, policies: DEFAULT_POLICIES, handler: Rc::new(handler), ..Location::default() }
}

fn any_host(http: &[String], default: &str, locations: Vec<Location>, report: &mut Report<'_>) -> Site {
    let here = report.source.current_dir();
    let default = [default.to_owned()];
    let mut listen: Vec<Listen> = Vec::new();
    for text in if http.is_empty() { &default[..] } else { http } {
        let Some(address) = caught(report, "--http", Address::parse(text, &here)) else { continue };
        if listen.iter().any(|other| other.address == address || other.address.overlaps(&address)) {
            complain(report, "--http", Complaint::new(format!("`{text}` is covered twice"), "keep one"));
        }
        listen.push(address.into());
    }
    let label = "site 1".to_owned();
    Site { label, listen, locations, ..Site::default() }
}

/// It has these names, and a certificate for them.
fn by_acme(run: &RunFlags, site: &mut Site, report: &mut Report<'_>) {
    let place = Place::named(ORIGIN, "--acme");
    let parse =
        |text: &String| Some(At { value: caught(report, "--acme", parse_host(text))?, place: place.clone() });
    let names: Vec<At<HostPattern>> = run.acme.iter().filter_map(parse).collect();
    let email = run.email.as_deref().and_then(|text| caught(report, "--email", parse_email(text)));
    let acme = Acme { email, ..Acme::of(report.source) };
    let tls = Tls { certificates: Certificates::Acme(acme), ..Tls::default() };
    // That of which nothing is left is told already.
    if !names.is_empty() {
        tls::Draft::of(&tls).check_names(&names, report);
    }
    site.names = names.into_iter().map(|name| name.value).collect();
    site.label = site.names.first().map(render_host).unwrap_or_default();
    site.tls = Some(tls);
}

/// `/static/=DIR`.
fn static_location(text: &str, here: &Path, allow_source: bool) -> Result<Location, Complaint> {
    let Some((prefix, dir)) = text.split_once('=').filter(|(_, dir)| !dir.is_empty()) else {
        let what = format!("`{text}` is not a prefix and a directory");
        return Err(Complaint::new(what, "for example --static /static/=staticfiles"));
    };
    check_path(prefix)?;
    let path = if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
    let handler = Handler::Files(Files { allow_source, ..Files::new(absolute(here, dir)) });
    // As with uwsgi's static-map: the prefix wins over everything.
    Ok(location(Matcher::Prefix { path, over_regex: false }, handler))
}

fn app_of(
    run: &RunFlags,
    target: Target,
    idle: Option<Duration>,
    here: &Path,
    report: &mut Report<'_>,
) -> App {
    let chdir = run.chdir.as_ref().map_or_else(|| here.to_owned(), |path| absolute(here, path));
    let home = run.home.as_ref().map(|path| absolute(here, path));
    let home = home.or_else(|| virtualenv_in(&chdir, report.source));
    let Target { module, callable } = target;
    let python = interpreter(home.as_deref(), report.source);
    let mut hosted = Python { module, callable, python, ..Python::default() };
    hosted.threads = run.threads.unwrap_or(hosted.threads);
    let threads = check_threads(hosted.threads);
    let watch = run.watch.iter().map(|path| absolute(here, path)).collect();
    let name = app_name(&chdir);
    let mut app = App { name, kind: Host::Python(hosted), chdir, home, watch, ..App::default() };
    for text in &run.env {
        let pair = text.split_once('=').ok_or_else(|| {
            Complaint::new(format!("`{text}` has no `=`"), format!("for example --env {text}=value"))
        });
        let Some((name, value)) = caught(report, "--env", pair) else { continue };
        if caught(report, "--env", env_name(name)).is_none() {
            continue;
        }
        app.env.retain(|(other, _)| other != name);
        app.env.push((name.to_owned(), value.to_owned()));
    }
    let count = run.processes.unwrap_or(app.processes.max);
    app.processes = Processes { min: if run.cheap { 0 } else { count }, max: count };
    caught(report, "--processes", app.processes.check(super::workers::MOST_PROCESSES));
    app.upkeep.prove = run.cheap;
    caught(report, "--threads", threads);
    app.upkeep.idle = idle.unwrap_or(app.upkeep.idle);
    app
}

/// Where virtualenvs usually are; `gateway::host` names them in its hint, too.
const VIRTUALENVS: [&str; 3] = [".venv", "venv", "env"];

/// The virtualenv of the project in this directory.
fn virtualenv_in(directory: &Path, source: &dyn Source) -> Option<PathBuf> {
    let is_one =
        |home: &PathBuf| ["pyvenv.cfg", "bin/python"].iter().all(|file| source.is_file(&home.join(file)));
    VIRTUALENVS.iter().map(|name| directory.join(name)).find(is_one)
}

/// The directory's name, as in `hatchery: app shop`.
fn app_name(chdir: &Path) -> String {
    let name = chdir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |char: char| char.is_alphanumeric() || matches!(char, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(plain) { name } else { "app".to_owned() }
}
