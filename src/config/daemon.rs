//! `daemons: {…}`.

use super::located::{At, Given, Node, Report};
use super::names::Kind;
use super::problem::Complaint;
use super::task::Task;
use super::walk::{Form, Section, Walk};
use super::workers::MOST_PROCESSES;
use super::written::Written;
use crate::supervisor::Upkeep;
use crate::sys::signals;
use std::time::Duration;

pub(crate) mod order;

/// A program that is kept running.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Daemon {
    /// Its key in the file; no app has the same.
    pub(crate) name: String,
    /// What it runs; without an app it has a directory.
    pub(crate) task: Task,
    /// How many of it run.
    pub(crate) processes: u32,
    /// What must be ready before it starts, and leaves after it.
    pub(crate) after: Vec<Dependency>,
    /// How they are kept; they are ready once they have lived for `boot_timeout`.
    pub(crate) upkeep: Upkeep,
    /// Asks a process to end.
    pub(crate) stop_signal: Signal,
    /// Sent at a reload instead of replacing its processes.
    pub(crate) reload_signal: Option<Signal>,
    /// A reload starts the new process beside the old one, which still ends.
    pub(crate) overlap: bool,
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
#[repr(i32)]
pub(crate) enum Signal {
    Term = signals::SIGTERM,
    Int = signals::SIGINT,
    Quit = signals::SIGQUIT,
    Hup = signals::SIGHUP,
    Usr1 = signals::SIGUSR1,
    Usr2 = signals::SIGUSR2,
    Winch = signals::SIGWINCH,
}

impl Signal {
    /// What kill(2) takes.
    #[must_use]
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

/// A daemon, with the places of what it comes after.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    after: Vec<At<Dependency>>,
    daemon: Daemon,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            name: String::new(),
            task: Task::default(),
            processes: 1,
            after: Vec::new(),
            upkeep: Upkeep { boot_timeout: Duration::from_secs(1), ..Upkeep::default() },
            stop_signal: Signal::Term,
            reload_signal: None,
            overlap: false,
        }
    }
}

impl Draft {
    /// As it would be written for this daemon.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let after = daemon.after.iter().copied().map(At::nowhere);
        Self { after: after.collect(), daemon: daemon.clone() }
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
        of.task.walk("[\"celery\", \"-A\", \"shop\", \"worker\"]", keys);
        keys.key("processes", &mut of.processes);
        keys.key("after", &mut self.after);
        keys.key("ready_after", &mut of.upkeep.boot_timeout);
        keys.key("stop_signal", &mut of.stop_signal);
        keys.key("stop_timeout", &mut of.upkeep.stop_timeout);
        keys.key("reload_signal", &mut of.reload_signal);
        keys.key("overlap", &mut of.overlap);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let processes = self.daemon.processes;
        if processes == 0 || processes > MOST_PROCESSES {
            let what = format!("{processes} processes are out of range");
            given.complain(report, Complaint::new(what, format!("from 1 to {MOST_PROCESSES}")));
        }
        if !given.has("app") {
            self.daemon.task.chdir.get_or_insert_with(|| given.node.file.dir.clone());
        }
    }
}

impl Form for Dependency {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let name = String::read(node, report)?;
        let names = &report.names;
        let daemon = names.position(Kind::Daemon, &name).map(Self::Daemon);
        if let Some(found) = daemon.or(names.position(Kind::App, &name).map(Self::App)) {
            return Some(found);
        }
        let known = names.of_kind(Kind::Daemon).chain(names.of_kind(Kind::App));
        let known: Vec<&str> = known.map(|name| name.value.as_str()).collect();
        node.refuse(report, Complaint::unknown("daemon or app", &name, &known))
    }

    fn write(&self) -> Written {
        match *self {
            Self::App(at) => Written::Name(Kind::App, at),
            Self::Daemon(at) => Written::Name(Kind::Daemon, at),
        }
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

impl Form for Signal {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &SIGNALS, &[])
    }

    fn write(&self) -> Written {
        Written::name_in(&SIGNALS, self)
    }
}
