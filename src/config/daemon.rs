//! `daemons: {…}`.

use super::located::{At, Given, Node, Read, Report};
use super::problem::{Complaint, Place};
use super::read::{command, env};
use super::walk::{By, Section, Walk};
use super::workers::MOST_PROCESSES;
use super::written::{Write, Written};
use super::{Config, resources};
use crate::sys::resources::Resources;
use crate::sys::signals;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) mod order;

/// A program that is kept running.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Daemon {
    /// Its key in the file; no app has the same.
    pub(crate) name: String,
    /// Program and arguments. A bare program name is looked for in the app's virtualenv first.
    pub(crate) command: Vec<String>,
    /// Index into [`Config::apps`](super::Config::apps): its virtualenv, directory, user and environment are used.
    pub(crate) app: Option<usize>,
    /// Working directory; the app's unless given, always given without an app.
    pub(crate) chdir: Option<PathBuf>,
    /// Added to the environment.
    pub(crate) env: Vec<(String, String)>,
    /// A user of its own.
    pub(crate) user: Option<String>,
    /// How many of it run.
    pub(crate) processes: u32,
    /// What must be ready before it starts, and leaves after it.
    pub(crate) after: Vec<Dependency>,
    /// A process that has lived for so long is ready.
    pub(crate) ready_after: Duration,
    /// Asks a process to end.
    pub(crate) stop_signal: Signal,
    /// From the stop signal to KILL.
    pub(crate) stop_timeout: Duration,
    /// Sent at a reload instead of replacing its processes.
    pub(crate) reload_signal: Option<Signal>,
    /// A reload starts the new process beside the old one, which still ends.
    pub(crate) overlap: bool,
    /// What a process may use of the machine.
    pub(crate) resources: Resources,
}

/// What a daemon may come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dependency {
    /// The app of this index.
    App(usize),
    /// The daemon of this index.
    Daemon(usize),
}

/// A signal to a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
    Winch,
}

impl Signal {
    /// What kill(2) takes.
    #[must_use]
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Term => signals::SIGTERM,
            Self::Int => signals::SIGINT,
            Self::Quit => signals::SIGQUIT,
            Self::Hup => signals::SIGHUP,
            Self::Usr1 => signals::SIGUSR1,
            Self::Usr2 => signals::SIGUSR2,
            Self::Winch => signals::SIGWINCH,
        }
    }
}

/// A daemon whose app and dependencies are still names.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    place: Place,
    app: Option<At<String>>,
    after: Vec<At<String>>,
    /// Without its name, app and dependencies.
    daemon: Daemon,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            name: String::new(),
            command: Vec::new(),
            app: None,
            chdir: None,
            env: Vec::new(),
            user: None,
            processes: 1,
            after: Vec::new(),
            ready_after: Duration::from_secs(1),
            stop_signal: Signal::Term,
            stop_timeout: Duration::from_secs(10),
            reload_signal: None,
            overlap: false,
            resources: Resources::default(),
        }
    }
}

impl Draft {
    /// As it would be written for this daemon.
    pub(crate) fn of(daemon: &Daemon, config: &Config) -> Self {
        let after = daemon.after.iter().filter_map(|dependency| match dependency {
            Dependency::App(at) => config.apps.get(*at).map(|app| app.name.clone()),
            Dependency::Daemon(at) => config.daemons.get(*at).map(|daemon| daemon.name.clone()),
        });
        Self {
            place: Place::default(),
            app: daemon.app.and_then(|at| config.app_name(at)),
            after: after.map(At::nowhere).collect(),
            daemon: daemon.clone(),
        }
    }
}

impl Section for Draft {
    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "autostart" | "autorestart" | "restart" => "a daemon is always started and always restarted",
            "stopwaitsecs" | "timeout" => "did you mean `stop_timeout`?",
            "stopsignal" => "did you mean `stop_signal`?",
            "startsecs" => "did you mean `ready_after`?",
            "numprocs" => "did you mean `processes`?",
            "depends_on" | "requires" => "did you mean `after`?",
            "at" => "what runs on a schedule goes into cron: [ … ]",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.daemon;
        keys.need("command", "[\"celery\", \"-A\", \"shop\", \"worker\"]", &mut By(&mut of.command, command));
        keys.key("app", &mut self.app);
        keys.key("chdir", &mut of.chdir);
        keys.key("env", &mut By(&mut of.env, env));
        keys.key("user", &mut of.user);
        keys.key("processes", &mut of.processes);
        keys.key("after", &mut self.after);
        keys.key("ready_after", &mut of.ready_after);
        keys.key("stop_signal", &mut of.stop_signal);
        keys.key("stop_timeout", &mut of.stop_timeout);
        keys.key("reload_signal", &mut of.reload_signal);
        keys.key("overlap", &mut of.overlap);
        resources::walk(&mut of.resources, keys);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let processes = self.daemon.processes;
        if processes == 0 || processes > MOST_PROCESSES {
            let what = format!("{processes} processes are out of range");
            given.complain(report, Complaint::new(what, format!("from 1 to {MOST_PROCESSES}")));
        }
        if self.app.is_none() {
            self.daemon.chdir.get_or_insert_with(|| given.node.file.dir.clone());
        }
        self.place = given.place();
    }
}

/// Names of the signals.
const SIGNALS: [(&str, Signal); 7] = [
    ("Term", Signal::Term),
    ("Int", Signal::Int),
    ("Quit", Signal::Quit),
    ("Hup", Signal::Hup),
    ("Usr1", Signal::Usr1),
    ("Usr2", Signal::Usr2),
    ("Winch", Signal::Winch),
];

impl Read for Signal {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &SIGNALS, &[])
    }
}

impl Write for Signal {
    fn write(&self) -> Written {
        Written::name_in(&SIGNALS, self)
    }
}
