//! The configuration as RON, every default written out: what `hatchery config` prints, and what loads to the same.

use super::Config;
use super::app::App;
use super::cronjob::{CronJob, OVERLAPS};
use super::daemon::{Daemon, Dependency};
use super::fallback::Fallback;
use super::files::{Cache, Files, Symlinks};
use super::handler::Handler;
use super::load::load_with_warnings;
use super::location::Location;
use super::log::{FORMATS, LEVELS};
use super::problem::Problem;
use super::ready::Ready;
use super::site::{Site, render_host};
use super::source::Source;
use super::units::{path, render_duration, render_size, text};
use super::upstream::Upstream;
use super::workers::Processes;
use crate::gateway::ready::Accepted;
use crate::policy::DefaultSite;
use crate::route::Matcher;
use crate::sys::resources::Resources;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration as resolved. What has no default and is not given is left out.
#[must_use]
pub fn to_ron(config: &Config) -> String {
    let mut out = Block::new(0);
    out.optional("user", config.user.as_deref().map(text));
    out.optional("pid_file", config.pid_file.as_deref().map(path));
    out.optional("control", config.control.as_deref().map(path));
    out.field("shutdown_timeout", time(config.shutdown_timeout));
    out.field("drain_timeout", time(config.drain_timeout));
    out.field("start", if config.all_or_nothing { "AllOrNothing" } else { "Independent" });
    out.field("temp_dir", path(&config.temp_dir));
    out.field("sandbox", config.sandbox.name());
    let workers = &config.workers;
    let cache = workers.file_cache;
    let cache = [("entries", cache.entries.to_string()), ("memory", size(cache.memory))];
    let mut values = vec![
        ("processes", processes(workers.processes)),
        ("idle", time(workers.idle)),
        ("connections", workers.connections.to_string()),
        ("file_cache", line(&cache)),
    ];
    values.extend(resources(&workers.resources).map(|limits| ("limits", limits)));
    values.extend(workers.resources.oom_score_adj.map(|score| ("oom_score_adj", score.to_string())));
    out.field("workers", line(&values));
    out.field("log", log(config));
    out.field("limits", limits(config));
    let by_name = |index: usize| config.sites.get(index).and_then(|site| site.names.first()).map(render_host);
    let default = match config.default_site {
        DefaultSite::Refuse => None,
        DefaultSite::Site(index) => by_name(index),
    };
    out.field("default_site", default.map_or_else(|| "Refuse".to_owned(), |name| text(&name)));
    out.field("sites", list(config.sites.iter().map(|one| site(config, one)), 1));
    out.field("apps", map(config.apps.iter().map(|one| (one.name.as_str(), app(one)))));
    out.field("upstreams", map(config.upstreams.iter().map(|one| (one.name.as_str(), upstream(one)))));
    out.field("daemons", map(config.daemons.iter().map(|one| (one.name.as_str(), daemon(config, one)))));
    out.field("cron", list(config.cron.iter().map(|one| job(config, one)), 1));
    format!("{}\n", out.end())
}

/// Reads what [`to_ron`] wrote, for a configuration from `origin`. Asks neither the disk nor the environment.
///
/// # Errors
/// What this version does not understand.
pub fn from_resolved(text: &str, origin: &str) -> Result<Config, Vec<Problem>> {
    let (config, _) = load_with_warnings(Path::new(RESOLVED), &Resolved(text))?;
    Ok(Config { origin: origin.to_owned(), ..config })
}

/// What a resolved configuration is called in messages.
const RESOLVED: &str = "resolved configuration";

/// Holds one file and nothing else.
struct Resolved<'a>(&'a str);

impl Source for Resolved<'_> {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.to_owned())
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn is_file(&self, _: &Path) -> bool {
        false
    }

    fn is_dir(&self, _: &Path) -> bool {
        false
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/")
    }

    fn cpus(&self) -> u32 {
        1
    }
}

fn log(config: &Config) -> String {
    let level = LEVELS.iter().find(|(_, level)| *level == config.log.level).map_or("info", |(name, _)| name);
    let access = config.log.access.as_ref().map_or_else(
        || "Off".to_owned(),
        |access| {
            let format =
                FORMATS.iter().find(|(_, format)| *format == access.format).map_or("", |(name, _)| name);
            let file = access.path.as_deref().map_or_else(|| text("-"), path);
            line(&[("path", file), ("format", format.to_owned())])
        },
    );
    line(&[("level", text(level)), ("access", access)])
}

fn limits(config: &Config) -> String {
    let limits = &config.limits.connection;
    let mut out = Block::new(1);
    out.field("request_line", size(limits.request_line as u64));
    out.field("head", size(limits.head as u64));
    out.field("fields", limits.fields);
    out.field("header_timeout", time(limits.header_timeout));
    out.field("body_timeout", time(limits.body_timeout));
    out.field("body_rate", size(limits.body_rate.into()));
    out.field("body_grace", time(limits.body_grace));
    out.field("keepalive_timeout", time(limits.keepalive_timeout));
    out.field("keepalive_requests", limits.keepalive_requests);
    out.field("connections_per_client", config.limits.connections_per_client);
    out.end()
}

fn site(config: &Config, site: &Site) -> String {
    let mut out = Block::new(2);
    out.field("names", texts(&site.names.iter().map(render_host).collect::<Vec<_>>()));
    out.field("listen", texts(&site.listen.iter().map(ToString::to_string).collect::<Vec<_>>()));
    out.optional("max_body", site.policies.max_body.map(size));
    out.field(
        "trusted_proxies",
        texts(&site.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>()),
    );
    if !site.error_pages.is_empty() {
        let pages = site.error_pages.iter().map(|(status, file)| format!("{status}: {}", path(file)));
        out.field("error_pages", format!("{{{}}}", pages.collect::<Vec<_>>().join(", ")));
    }
    out.field("locations", list(site.locations.iter().map(|one| location(config, one)), 3));
    out.end()
}

fn location(config: &Config, location: &Location) -> String {
    let mut values = match &location.matcher {
        Matcher::Exact(path) => vec![("exact", text(path))],
        Matcher::Prefix { path, over_regex: false } => vec![("path", text(path))],
        Matcher::Prefix { path, over_regex: true } => {
            vec![("path", text(path)), ("over_regex", "true".to_owned())]
        }
        Matcher::Regex(regex) => vec![("regex", text(regex.as_str()))],
    };
    values.push(("to", handler(config, &location.handler, &location.fallback)));
    values.extend(location.policies.max_body.map(|most| ("max_body", size(most))));
    if location.policies.asleep_200 {
        values.push(("probe", "(answer: Asleep200)".to_owned()));
    }
    line(&values)
}

fn files(config: &Config, files: &Files, fallback: &Fallback) -> String {
    let cache = match files.cache {
        Cache::Unset => "off".to_owned(),
        Cache::Revalidate => "no-cache".to_owned(),
        Cache::Immutable => "immutable".to_owned(),
        Cache::For(time) => render_duration(time),
    };
    let mut values =
        vec![("root", path(&files.root)), ("index", texts(&files.index)), ("cache", text(&cache))];
    if !files.try_files.is_empty() {
        values.push(("try_files", texts(&files.try_files)));
    }
    match (&files.stand_in, fallback) {
        (Some(name), _) => values.push(("fallback", text(name))),
        (None, Fallback::Status(404)) => {}
        (None, Fallback::Status(status)) => values.push(("fallback", status.to_string())),
        (None, Fallback::Handler(other)) => {
            values.push(("fallback", handler(config, other, &Fallback::default())));
        }
    }
    values.push(("listing", files.listing.to_string()));
    let suffixes: Vec<_> = files.precompressed.iter().map(|encoding| encoding.suffix().to_owned()).collect();
    values.push(("precompressed", texts(&suffixes)));
    if !files.types.is_empty() {
        let types = files.types.iter().map(|(suffix, kind)| format!("{}: {}", text(suffix), text(kind)));
        values.push(("types", format!("{{{}}}", types.collect::<Vec<_>>().join(", "))));
    }
    values.push(("dotfiles", files.dotfiles.to_string()));
    values.push(("allow_source", files.allow_source.to_string()));
    match &files.symlinks {
        Symlinks::Refuse => values.push(("symlinks", "Refuse".to_owned())),
        Symlinks::Beneath => values.push(("symlinks", "Beneath".to_owned())),
        Symlinks::Follow(to) => {
            let to: Vec<_> = to.iter().map(|directory| path(directory)).collect();
            values.push(("symlinks", "Follow".to_owned()));
            values.push(("symlinks_to", format!("[{}]", to.join(", "))));
        }
    }
    format!("Files{}", line(&values))
}

fn handler(config: &Config, handler: &Handler, fallback: &Fallback) -> String {
    match handler {
        Handler::Files(settings) => files(config, settings, fallback),
        Handler::App { app, mount } => {
            let name = config.apps.get(*app).map_or("", |app| app.name.as_str());
            format!("App{}", line(&[("name", text(name)), ("mount", text(mount))]))
        }
        Handler::Proxy(upstream) => {
            let name = config.upstreams.get(*upstream).map_or("", |upstream| upstream.name.as_str());
            format!("Proxy({})", text(name))
        }
        Handler::Redirect { status, location } => {
            format!("Redirect{}", line(&[("status", status.to_string()), ("location", text(location))]))
        }
        Handler::Respond { status, body, content_type } => {
            let values =
                [("status", status.to_string()), ("body", text(body)), ("content_type", text(content_type))];
            format!("Respond{}", line(&values))
        }
    }
}

fn app(app: &App) -> String {
    let mut out = Block::new(2);
    app.kind.written().into_iter().for_each(|(key, value)| out.field(key, value));
    out.field("chdir", path(&app.chdir));
    out.optional("home", app.home.as_deref().map(path));
    out.field("env", env(&app.env));
    out.field("processes", processes(app.processes));
    out.field("idle", time(app.idle));
    out.field("timeout", time(app.timeout));
    out.field("queue_timeout", time(app.queue_timeout));
    out.field("boot_timeout", time(app.boot_timeout));
    out.field("prove", app.prove);
    out.field("preload", app.preload);
    out.field("keep", app.keep.name());
    out.optional("ready", app.ready.as_ref().map(ready));
    out.optional("max_requests", app.max_requests.map(|count| count.to_string()));
    out.optional("max_rss", app.max_rss.map(size));
    out.optional("max_lifetime", app.max_lifetime.map(time));
    out.optional("user", app.user.as_deref().map(text));
    bounds(&mut out, &app.resources);
    let buffer = &app.response_buffer;
    out.field("response_buffer", line(&[("memory", size(buffer.memory)), ("file", size(buffer.file))]));
    out.end()
}

fn resources(resources: &Resources) -> Option<String> {
    let Resources { open_files, processes, address_space, core, oom_score_adj: _ } = resources;
    let values = [
        ("open_files", open_files.map(|count| count.to_string())),
        ("processes", processes.map(|count| count.to_string())),
        ("address_space", address_space.map(size)),
        ("core", core.map(size)),
    ];
    let values: Vec<_> = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    (!values.is_empty()).then(|| line(&values))
}

fn ready(ready: &Ready) -> String {
    let status = match ready.status {
        Accepted::Exactly(status) => status.to_string(),
        class @ Accepted::Class(_) => text(&class.to_string()),
    };
    line(&[
        ("path", text(&ready.path)),
        ("host", text(&ready.host)),
        ("scheme", text(ready.scheme.as_str())),
        ("status", status),
        ("timeout", time(ready.timeout)),
    ])
}

fn upstream(upstream: &Upstream) -> String {
    let mut out = Block::new(2);
    out.field("protocol", upstream.protocol.name());
    out.field("balance", "RoundRobin");
    let servers = upstream.servers.iter().map(|server| {
        line(&[("address", text(&server.address.to_string())), ("weight", server.weight.to_string())])
    });
    out.field("servers", list(servers, 3));
    out.field("connect_timeout", time(upstream.connect_timeout));
    out.field("timeout", time(upstream.timeout));
    out.field("keepalive", upstream.keepalive);
    out.end()
}

fn job(config: &Config, job: &CronJob) -> String {
    let mut out = Block::new(2);
    out.field("name", text(&job.name));
    out.field("at", text(&job.at));
    out.optional("timezone", job.timezone.as_deref().map(text));
    out.field("command", texts(&job.command));
    out.optional("app", job.app.and_then(|app| config.apps.get(app)).map(|app| text(&app.name)));
    out.optional("chdir", job.chdir.as_deref().map(path));
    out.field("env", env(&job.env));
    out.optional("user", job.user.as_deref().map(text));
    out.optional("timeout", job.timeout.map(time));
    out.field(
        "overlap",
        OVERLAPS.iter().find(|(_, one)| *one == job.overlap).map_or("Skip", |(name, _)| name),
    );
    bounds(&mut out, &job.resources);
    out.end()
}

fn daemon(config: &Config, daemon: &Daemon) -> String {
    let mut out = Block::new(2);
    out.field("command", texts(&daemon.command));
    out.optional("app", daemon.app.and_then(|app| config.apps.get(app)).map(|app| text(&app.name)));
    out.optional("chdir", daemon.chdir.as_deref().map(path));
    out.field("env", env(&daemon.env));
    out.optional("user", daemon.user.as_deref().map(text));
    out.field("processes", daemon.processes);
    let name = |dependency: &Dependency| match dependency {
        Dependency::App(at) => config.apps.get(*at).map(|app| app.name.clone()),
        Dependency::Daemon(at) => config.daemons.get(*at).map(|daemon| daemon.name.clone()),
    };
    out.field("after", texts(&daemon.after.iter().filter_map(name).collect::<Vec<_>>()));
    out.field("ready_after", time(daemon.ready_after));
    out.field("stop_signal", daemon.stop_signal.name());
    out.field("stop_timeout", time(daemon.stop_timeout));
    out.optional("reload_signal", daemon.reload_signal.map(|signal| signal.name().to_owned()));
    out.field("overlap", daemon.overlap);
    bounds(&mut out, &daemon.resources);
    out.end()
}

/// `limits` and `oom_score_adj`.
fn bounds(out: &mut Block, of: &Resources) {
    out.optional("limits", resources(of));
    out.optional("oom_score_adj", of.oom_score_adj.map(|score| score.to_string()));
}

/// `( key: value, … )` over several lines.
struct Block {
    out: String,
    indent: usize,
}

impl Block {
    fn new(indent: usize) -> Self {
        Self { out: "(\n".to_owned(), indent }
    }

    fn field(&mut self, key: &str, value: impl std::fmt::Display) {
        let _infallible = writeln!(self.out, "{}{key}: {value},", pad(self.indent + 1));
    }

    fn optional(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.field(key, value);
        }
    }

    fn end(mut self) -> String {
        self.out.push_str(&pad(self.indent));
        self.out.push(')');
        self.out
    }
}

fn pad(indent: usize) -> String {
    "    ".repeat(indent)
}

fn line(values: &[(&str, String)]) -> String {
    let values: Vec<String> = values.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("({})", values.join(", "))
}

/// `[ … ]`, an item a line.
fn list(items: impl Iterator<Item = String>, indent: usize) -> String {
    let lines: String = items.map(|item| format!("{}{item},\n", pad(indent + 1))).collect();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{lines}{}]", pad(indent)) }
}

fn map<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
    let lines: String = entries.map(|(key, value)| format!("{}{}: {value},\n", pad(2), text(key))).collect();
    if lines.is_empty() { "{}".to_owned() } else { format!("{{\n{lines}{}}}", pad(1)) }
}

fn env(list: &[(String, String)]) -> String {
    let entries: Vec<String> =
        list.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

fn processes(value: Processes) -> String {
    if value.min == value.max {
        return value.max.to_string();
    }
    line(&[("min", value.min.to_string()), ("max", value.max.to_string())])
}

fn texts(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| text(value)).collect();
    format!("[{}]", values.join(", "))
}

fn time(value: Duration) -> String {
    text(&render_duration(value))
}

fn size(bytes: u64) -> String {
    text(&render_size(bytes))
}
