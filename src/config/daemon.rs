//! `daemons: {…}`.

use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::{Command, Env, Positive};
use super::resources::OomScore;
use super::workers::MOST_PROCESSES;
use crate::sys::resources::Resources;
use crate::sys::signals;
use serde::Deserialize;
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

    /// As it is written in a file.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        SIGNALS.iter().find(|(_, signal)| *signal == self).map_or("Term", |(name, _)| name)
    }
}

/// A daemon whose app and dependencies are still names.
pub(crate) struct Draft {
    app: Option<At<String>>,
    after: Vec<At<String>>,
    /// Without its app and dependencies.
    daemon: Daemon,
}

/// A daemon as written.
#[derive(Deserialize)]
pub(crate) struct RawDaemon<'a> {
    #[serde(borrow)]
    command: Option<Located<'a, Command>>,
    app: Option<Located<'a, At<String>>>,
    chdir: Option<Located<'a, PathBuf>>,
    env: Option<Located<'a, Env>>,
    user: Option<Located<'a, String>>,
    processes: Option<Located<'a, u32>>,
    after: Option<Located<'a, Vec<At<String>>>>,
    ready_after: Option<Located<'a, Positive>>,
    stop_signal: Option<Located<'a, Signal>>,
    stop_timeout: Option<Located<'a, Positive>>,
    reload_signal: Option<Located<'a, Signal>>,
    overlap: Option<Located<'a, bool>>,
    limits: Option<Located<'a, Resources>>,
    oom_score_adj: Option<Located<'a, OomScore>>,
}

impl<'a> Raw<'a> for RawDaemon<'a> {
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
}

impl Draft {
    /// The daemon of this name.
    pub(crate) fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawDaemon<'_>>(report)?;
        let command: Option<Command> =
            at.need(raw.command, "command", "[\"celery\", \"-A\", \"shop\", \"worker\"]", report);
        if ["worker", "workers"].contains(&name) {
            let hint = "commands call the event-loop workers so; take another name";
            node.complain(report, Complaint::new(format!("a daemon cannot be called `{name}`"), hint));
        }
        let processes = at.or(raw.processes, 1, report);
        if processes == 0 || processes > MOST_PROCESSES {
            let what = format!("{processes} processes are out of range");
            node.complain(report, Complaint::new(what, format!("from 1 to {MOST_PROCESSES}")));
        }
        let app: Option<At<String>> = at.read(raw.app, report);
        let own = app.is_none().then(|| node.file.dir.clone());
        let after = at.or(raw.after, Vec::new(), report);
        let daemon = Daemon {
            name: name.to_owned(),
            command: Vec::new(),
            app: None,
            chdir: at.read(raw.chdir, report).or(own),
            env: at.or(raw.env, Env::default(), report).0,
            user: at.read(raw.user, report),
            processes,
            after: Vec::new(),
            ready_after: at.or(raw.ready_after, Positive(Duration::from_secs(1)), report).0,
            stop_signal: at.or(raw.stop_signal, Signal::Term, report),
            stop_timeout: at.or(raw.stop_timeout, Positive(Duration::from_secs(10)), report).0,
            reload_signal: at.read(raw.reload_signal, report),
            overlap: at.or(raw.overlap, false, report),
            resources: Resources {
                oom_score_adj: at.read(raw.oom_score_adj, report).map(|score| score.0),
                ..at.or(raw.limits, Resources::default(), report)
            },
        };
        Some(Self { app, after, daemon: Daemon { command: command?.0, ..daemon } })
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
