//! The configuration as RON, every default written out: what `hatchery config` prints, and what loads to the same.

use super::fallback::Fallback;
use super::files::{Cache, Files, Symlinks};
use super::handler::Handler;
use super::load::load_with_warnings;
use super::location::Location;
use super::problem::Problem;
use super::site::{Site, render_host};
use super::source::Source;
use super::units::{path, render_duration, render_size, text};
use super::written::Write as _;
use super::{Config, cronjob, daemon};
use crate::policy::DefaultSite;
use crate::route::Matcher;
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
    out.field("workers", config.workers.write().render(1));
    out.field("log", config.log.write().render(1));
    out.field("limits", config.limits.write().render(1));
    let by_name = |index: usize| config.sites.get(index).and_then(|site| site.names.first()).map(render_host);
    let default = match config.default_site {
        DefaultSite::Refuse => None,
        DefaultSite::Site(index) => by_name(index),
    };
    out.field("default_site", default.map_or_else(|| "Refuse".to_owned(), |name| text(&name)));
    out.field("sites", list(config.sites.iter().map(|one| site(config, one)), 1));
    out.field("apps", map(config.apps.iter().map(|one| (one.name.as_str(), one.write().render(2)))));
    out.field(
        "upstreams",
        map(config.upstreams.iter().map(|one| (one.name.as_str(), one.write().render(2)))),
    );
    out.field(
        "daemons",
        map(config
            .daemons
            .iter()
            .map(|one| (one.name.as_str(), daemon::Draft::of(one, config).write().render(2)))),
    );
    out.field(
        "cron",
        list(config.cron.iter().map(|one| cronjob::Draft::of(one, config).write().render(2)), 1),
    );
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
