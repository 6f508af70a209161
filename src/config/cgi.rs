//! `Cgi(…)`: scripts below a directory. Each is an app of its own, with a pool, a queue and a line in `status`, which the
//! configuration makes: it is written with its location, and never under `apps`.

use super::app::App;
use super::files::{self, Symlinks};
use super::handler::Handler;
use super::host::{Host, Scripts};
use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::proxy::ACCELS;
use super::read::env;
use super::resources;
use super::site::Site;
use super::walk::{By, Choice, Section, Walk};
use crate::supervisor::Processes;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// Scripts below a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cgi {
    /// Index of its app into [`Config::apps`](super::Config::apps), once [`make_apps`] has made it.
    pub(crate) app: usize,
    /// What that app is, but for its name.
    of: Box<App>,
}

/// The host ends a script that takes too long, five seconds after it has asked it to (`scripts::run`), and tells of it. Only a
/// host that says nothing for so much longer is taken for one that hangs.
const SLACK: Duration = Duration::from_secs(15);

/// Scripts that may run at a time.
const MOST: u32 = 64;

impl Default for Cgi {
    fn default() -> Self {
        let kind = Host::Cgi(Box::default());
        Self { app: 0, of: Box::new(App { kind, processes: Processes { min: 0, max: 1 }, ..App::default() }) }
    }
}

impl Cgi {
    /// The directory and how its scripts are run.
    pub(crate) fn scripts(&self) -> Option<&Scripts> {
        self.of.kind.scripts()
    }

    /// The user whom they run as, if they have one of their own.
    pub(crate) fn user(&self) -> Option<&str> {
        self.of.user.as_deref()
    }

    /// The directories besides the root that scripts may be in.
    pub(crate) fn also(&self) -> &[PathBuf] {
        match self.scripts().map(|scripts| &scripts.symlinks) {
            Some(Symlinks::Follow(to)) => to,
            _ => &[],
        }
    }
}

impl Section for Cgi {
    const SHORT: Option<&'static str> = Some("root");

    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut *self.of;
        let Host::Cgi(scripts) = &mut of.kind else { return };
        keys.need("root", "\"cgi-bin\"", &mut scripts.root);
        keys.key("interpreters", &mut By(&mut scripts.interpreters, interpreters));
        files::symlinks(&mut scripts.symlinks, keys);
        keys.key("pass_authorization", &mut scripts.pass_authorization);
        keys.key("max_processes", &mut scripts.max_processes);
        keys.key("timeout", &mut scripts.timeout);
        keys.key("stream_timeout", &mut of.stream_timeout);
        keys.key("queue_timeout", &mut of.queue_timeout);
        keys.key("queue_size", &mut of.queue_size);
        keys.key("idle", &mut of.upkeep.idle);
        keys.key("env", &mut By(&mut of.env, env));
        keys.key("user", &mut of.user);
        resources::walk(&mut of.resources, keys);
        keys.key("response_buffer", &mut of.response_buffer);
        keys.key("x_accel", &mut Choice(&mut of.accel, &ACCELS, &[]));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let Host::Cgi(scripts) = &self.of.kind else { return };
        if !(1..=MOST).contains(&scripts.max_processes) {
            let complaint = Complaint::new("`max_processes` is out of range", format!("from 1 to {MOST}"));
            report.add(&given.place_of("max_processes"), complaint);
        }
        files::check_symlinks(&scripts.symlinks, given, report);
        self.of.chdir.clone_from(&scripts.root);
        self.of.timeout = scripts.timeout.saturating_add(SLACK);
    }
}

/// `{".py": "/usr/bin/python3"}`
fn interpreters(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, PathBuf)>> {
    let mut all = Vec::new();
    for (ending, value) in node.map(report)? {
        if ending.value.len() < 2 || !ending.value.starts_with('.') || ending.value.contains('/') {
            let what = format!("`{}` is not the ending of a file name", ending.value);
            report.add(&ending.place, Complaint::new(what, "for example \".py\""));
        }
        let program = value.parse(report, "the path of a program", |text| {
            let hint = "for example \"/usr/bin/python3\"";
            if text.starts_with('/') {
                return Ok(PathBuf::from(text));
            }
            Err(Complaint::new(format!("`{text}` is not the full path of a program"), hint))
        });
        all.extend(program.map(|program| (ending.value, program)));
    }
    Some(all)
}

/// Makes the apps of all `Cgi(…)`, behind those that are there. Two that are the same share one.
pub(super) fn make_apps(sites: &mut [Site], apps: &mut Vec<App>) {
    let named = apps.len();
    for location in sites.iter_mut().flat_map(|site| &mut site.locations) {
        if !matches!(*location.handler, Handler::Cgi(_)) {
            continue;
        }
        let Handler::Cgi(cgi) = Rc::make_mut(&mut location.handler) else { continue };
        let is_same = |app: &App| App { name: String::new(), ..app.clone() } == *cgi.of;
        let same = apps.iter().skip(named).position(is_same).map(|at| named + at);
        cgi.app = same.unwrap_or_else(|| {
            let name = name(&cgi.of, apps);
            apps.push(App { name, ..(*cgi.of).clone() });
            apps.len() - 1
        });
    }
}

/// `cgi:/srv/cgi-bin`; a second one of that directory, in which something differs, has a number behind it.
fn name(app: &App, apps: &[App]) -> String {
    let first = format!("cgi:{}", app.kind.subject());
    let others = (2_u32..).map(|number| format!("{first}#{number}"));
    let is_free = |name: &String| apps.iter().all(|app| app.name != *name);
    std::iter::once(first.clone()).chain(others).find(is_free).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Memory;
    use super::super::{Config, Handler, from_resolved, load, to_ron};
    use std::path::Path;

    fn loaded(locations: &str) -> Config {
        let text = format!(r#"(sites: [(listen: [":80"], locations: [{locations}])])"#);
        load(Path::new("/etc/hatchery/h.ron"), &Memory::default().with("h.ron", &text)).unwrap()
    }

    fn names(config: &Config) -> Vec<&str> {
        config.apps.iter().map(|app| app.name.as_str()).collect()
    }

    #[test]
    fn each_is_an_app_of_its_own_and_the_same_one_is_one() {
        let config = loaded(
            r#"(path: "/a/", to: Cgi("bin")), (path: "/b/", to: Cgi(root: "/etc/hatchery/bin")), (path: "/c/", to: Cgi("other")),
            (path: "/d/", to: Cgi(root: "bin", timeout: "1s")), (path: "/e/", to: Cgi(root: "bin", timeout: "1s"))"#,
        );
        assert_eq!(
            names(&config),
            ["cgi:/etc/hatchery/bin", "cgi:/etc/hatchery/other", "cgi:/etc/hatchery/bin#2"]
        );
        let apps = config.sites[0].locations.iter().map(|location| match &*location.handler {
            Handler::Cgi(cgi) => cgi.app,
            other => panic!("{other:?}"),
        });
        assert_eq!(apps.collect::<Vec<_>>(), [0, 0, 1, 2, 2]);
        assert_eq!(config.written_apps().count(), 0);
        let app = &config.apps[2];
        assert!(app.timeout > app.kind.scripts().unwrap().timeout, "the host is the first to end a script");
        assert_eq!((app.processes.min, app.processes.max, app.kind.units()), (0, 1, 16));
    }

    #[test]
    fn they_travel_with_their_locations() {
        let config = loaded(
            r#"(path: "/a/", to: Cgi(root: "bin", env: {"A": "b"}, interpreters: {".py": "/usr/bin/python3"}, user: "x"))"#,
        );
        let again = from_resolved(&to_ron(&config), &config.origin).unwrap();
        assert_eq!(again, config);
        assert_eq!(names(&again), ["cgi:/etc/hatchery/bin"]);
    }
}
