//! Names of apps, upstreams, daemons and conditions. Those of all files are known before the first value is read, so that a value which
//! Names of apps, upstreams, daemons and lists. Those of all files are known before the first value is read, so that a value which
//! names one is read as its index, wherever in the files the other stands.

use super::address::Address;
use super::located::{At, Node, Report};
use super::problem::Complaint;
use super::walk::{Form, Value};
use super::written::Written;
use super::{Config, Upstream};
use std::path::Path;

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    App,
    Upstream,
    Daemon,
    Condition,
    List,
}

/// The names of a configuration: those of each kind, in order.
#[derive(Default)]
pub(crate) struct Names([Vec<Name>; 5]);

struct Name {
    name: At<String>,
    used: bool,
}

/// What commands call the server itself.
pub(crate) const SERVER: &str = "hatchery";

/// What commands call the event-loop workers.
const WORKERS: [&str; 2] = ["worker", "workers"];

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Upstream => "upstream",
            Self::Daemon => "daemon",
            Self::Condition => "condition",
            Self::List => "list",
        }
    }

    /// What stands before the name where one is meant.
    pub(crate) fn mark(self) -> &'static str {
        if self == Self::List { "@" } else { "" }
    }
}

impl Names {
    /// Those in these files.
    pub(crate) fn of(files: &[Node<'_>], report: &mut Report<'_>) -> Self {
        let mut names = Self::default();
        for kind in [Kind::App, Kind::Upstream, Kind::Daemon, Kind::Condition, Kind::List] {
            let mut list: Vec<At<String>> = files.iter().flat_map(|file| read(file, kind, report)).collect();
            list.sort_by(|one, two| one.value.cmp(&two.value));
            for name in list {
                names.check(kind, &name, report);
                if let Some(list) = names.0.get_mut(kind as usize) {
                    list.push(Name { name, used: false });
                }
            }
        }
        names
    }

    /// One more name, behind those that are less.
    fn check(&self, kind: Kind, name: &At<String>, report: &mut Report<'_>) {
        let same = |other| self.list(other).get(self.position(other, &name.value)?).map(|known| &known.name);
        if let Some(first) = same(kind) {
            let what = format!("`{}` is already at {}", name.value, first.place.mention());
            report.add(&name.place, Complaint::new(what, "names are unique over all files"));
        }
        if kind == Kind::Daemon && same(Kind::App).is_some() {
            let what = format!("there is an app `{}`, too", name.value);
            let hint = "commands tell apps and daemons apart by their names; take another one";
            report.add(&name.place, Complaint::new(what, hint));
        }
    }

    /// Those of a kind, at their indices.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &At<String>> {
        self.list(kind).iter().map(|known| &known.name)
    }

    fn list(&self, kind: Kind) -> &[Name] {
        self.0.get(kind as usize).map_or(&[], Vec::as_slice)
    }

    /// The index of this name.
    pub(crate) fn position(&self, kind: Kind, name: &str) -> Option<usize> {
        let list = self.list(kind);
        let at = list.partition_point(|known| known.name.value.as_str() < name);
        list.get(at).filter(|known| known.name.value == name).map(|_| at)
    }

    /// The same, and it is used now.
    pub(crate) fn find(&mut self, kind: Kind, name: &str) -> Result<usize, Complaint> {
        if let Some(at) = self.position(kind, name) {
            let known = self.0.get_mut(kind as usize).and_then(|list| list.get_mut(at));
            known.into_iter().for_each(|known| known.used = true);
            return Ok(at);
        }
        let known: Vec<&str> = self.of_kind(kind).map(|known| known.value.as_str()).collect();
        let mut complaint = Complaint::unknown(kind.word(), name, &known);
        let address = name.rsplit_once("://").map_or(name, |(_, address)| address).trim_end_matches('/');
        if kind == Kind::Upstream && (name.contains("://") || Address::parse(address, Path::new("/")).is_ok())
        {
            complaint.hint = format!(
                "an upstream has a name: Proxy(\"backend\"), and upstreams: {{ \"backend\": (servers: [\"{address}\"]) }}"
            );
        } else if known.is_empty() {
            let inside = if kind == Kind::List { "[ … ]" } else { "( … )" };
            complaint.hint = format!("define it: {}s: {{ \"{name}\": {inside} }}", kind.word());
        }
        Err(complaint)
    }

    /// Warns of what nothing names.
    pub(crate) fn warn_unused(&self, kind: Kind, why: &str, report: &mut Report<'_>) {
        for Name { name, .. } in self.list(kind).iter().filter(|known| !known.used) {
            let what = format!("the {} `{}` is never used", kind.word(), name.value);
            report.warn(&name.place, Complaint::new(what, why));
        }
    }
}

/// A name that commands have for something else.
pub(crate) fn reserved(kind: &str, name: &str, taken: &str) -> Complaint {
    let what = format!("{} {kind} cannot be called `{name}`", if kind == "app" { "an" } else { "a" });
    Complaint::new(what, format!("commands call the {taken} so; take another name"))
}

/// The names of one kind in a file.
fn read(file: &Node<'_>, kind: Kind, report: &mut Report<'_>) -> Vec<At<String>> {
    // What is wrong with the map is told when it is read.
    let mut unheard = Report::new(report.source);
    let map = file.field(&format!("{}s", kind.word())).and_then(|map| map.map(&mut unheard));
    let entries = map.unwrap_or_default();
    for (name, value) in &entries {
        // Names stand in process titles, in logs and on command lines.
        let is_odd = |char: char| char.is_control() || char.is_whitespace();
        if name.value.is_empty() || name.value.contains(is_odd) {
            report.add(&name.place, Complaint::new("a name is one word", "for example \"shop\""));
        }
        let taken = match name.value.as_str() {
            SERVER if matches!(kind, Kind::App | Kind::Daemon) => "server itself",
            SERVER if !matches!(kind, Kind::Upstream | Kind::List) => "server itself",
            other if kind == Kind::Daemon && WORKERS.contains(&other) => "event-loop workers",
            _ => continue,
        };
        value.complain(report, reserved(kind.word(), &name.value, taken));
    }
    entries.into_iter().map(|(name, _)| name).collect()
}

/// The index of what a value names.
pub(crate) struct Named<'v>(pub(crate) &'v mut Option<usize>, pub(crate) Kind);

impl Value for Named<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let Some(name) = String::read(node, report) else { return false };
        *self.0 = match report.names.find(self.1, &name) {
            Ok(at) => Some(at),
            Err(complaint) => node.refuse(report, complaint),
        };
        self.0.is_some()
    }

    fn written(&self) -> Written {
        self.0.map_or(Written::Absent, |at| Written::Name(self.1, at))
    }
}

impl Config {
    /// The upstreams by index, and behind them the apps, as far as their processes are spoken to as servers of one.
    #[must_use]
    pub(crate) fn upstream(&self, at: usize) -> Option<&Upstream> {
        let app = || self.app_of(at).and_then(|app| self.apps.get(app)?.upstream());
        self.upstreams.get(at).or_else(app)
    }

    /// The index of the app whose processes are the servers of what [`Self::upstream`] has there.
    #[must_use]
    pub(crate) fn app_of(&self, at: usize) -> Option<usize> {
        at.checked_sub(self.upstreams.len())
    }

    /// The name of what is at this index.
    pub(crate) fn name_of(&self, kind: Kind, at: usize) -> &str {
        let name = match kind {
            Kind::App => self.apps.get(at).map(|app| &app.name),
            Kind::Upstream => self.upstreams.get(at).map(|upstream| &upstream.name),
            Kind::Daemon => self.daemons.get(at).map(|daemon| &daemon.name),
            Kind::Condition => self.conditions.get(at).map(|(name, _)| name),
            Kind::List => self.lists.get(at).map(|list| &list.name),
        };
        name.map_or("", String::as_str)
    }
}
