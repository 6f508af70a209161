//! How an app is hosted. What differs between kinds of apps is decided here and nowhere else, so that another kind is a
//! variant and a file:
//!
//! | kind | keys of its own | program | request body | units of a process |
//! |---|---|---|---|---|
//! | [`Python`] | `module`, `python`, `interface`, `threads`, … | the interpreter, with the host program | whole: in frames, or as a descriptor | its threads; of an ASGI app `max_connections` |
//! | [`Scripts`] | those of a location with `Cgi(…)` | this one, which starts the scripts | as of WSGI | `max_processes` |
//! | [`Command`] | `command`, `protocol`, `max_connections`, … | the command | as an upstream's | `max_connections` |
//!
//! Every program is started with the environment, user and directory of its app. A host program speaks the frames of
//! [`crate::control::frame`]; a command speaks a protocol of upstreams and knows nothing of us.

mod cgi;
mod command;
mod python;
mod websocket;

pub use cgi::Scripts;
pub use command::Command;
pub(crate) use command::{Listens, PORT, SOCKET};
pub use python::Python;
pub(crate) use python::{Target, check_threads, interpreter};
pub(crate) use websocket::WebSocket;

use super::located::{Given, Report};
use super::walk::Walk;
use crate::gateway::app::INLINE;
use std::borrow::Cow;
use std::path::Path;

/// The kind of an app.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// A Python callable (PEP 3333).
    Python(Python),
    /// A server of its own.
    Command(Box<Command>),
    /// Scripts below a directory.
    Cgi(Box<Scripts>),
}

impl Default for Host {
    fn default() -> Self {
        Self::Python(Python::default())
    }
}

/// What hosts an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostProgram<'a> {
    /// The file to execute.
    pub file: &'a Path,
    /// Its arguments.
    pub arguments: &'static [&'static str],
    /// What it reads on its standard input.
    pub input: Cow<'static, str>,
    /// What it is told, besides what every host is: variables of its environment, without their prefix.
    pub settings: Vec<(&'static str, String)>,
}

/// How a program is handed the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// Once all of it is there, so that the program waits for no client (docs/decisions/0003-spooling.md).
    Whole {
        /// A longer body is a file, whose descriptor goes with the request.
        in_frames: u64,
    },
    /// As to a server of an upstream.
    Proxied,
}

impl Host {
    /// The kind of an app with such keys.
    pub(crate) fn of(has: impl Fn(&str) -> bool) -> Self {
        if has("command") { Self::Command(Box::default()) } else { Self::default() }
    }

    /// Its own keys.
    pub(crate) fn walk(&mut self, keys: &mut dyn Walk) {
        match self {
            Self::Python(python) => python.walk(keys),
            Self::Command(command) => command.walk(keys),
            // They stand with the location (`config::cgi`).
            Self::Cgi(_) => {}
        }
    }

    /// What its keys do not tell alone, in the virtualenv of its app.
    pub(crate) fn check(
        &mut self,
        home: Option<&Path>,
        env: &[(String, String)],
        given: &Given<'_>,
        report: &mut Report<'_>,
    ) {
        match self {
            Self::Python(python) => python.check(home, given, report),
            Self::Command(command) => {
                command.check(given, report);
                command.check_listens(env, given, report);
            }
            Self::Cgi(_) => {}
        }
    }

    /// The host program that each of its processes runs; `None`: [`Self::command`] is what they run.
    #[must_use]
    pub fn program(&self) -> Option<HostProgram<'_>> {
        match self {
            Self::Python(python) => Some(python.program()),
            Self::Cgi(scripts) => Some(scripts.program()),
            Self::Command(_) => None,
        }
    }

    /// The command that each of its processes runs.
    #[must_use]
    pub fn command(&self) -> Option<&Command> {
        match self {
            Self::Python(_) | Self::Cgi(_) => None,
            Self::Command(command) => Some(command),
        }
    }

    /// The scripts that it runs, if it runs some: the app of a location, which does not stand under `apps`.
    #[must_use]
    pub fn scripts(&self) -> Option<&Scripts> {
        match self {
            Self::Cgi(scripts) => Some(scripts),
            Self::Python(_) | Self::Command(_) => None,
        }
    }

    /// Whether requests may be sent to one of its units while it runs another (docs/decisions/0027-look-ahead.md).
    #[must_use]
    pub fn looks_ahead(&self) -> bool {
        matches!(self, Self::Python(_))
    }

    /// What a template of its processes runs (`preload`), if it can have one.
    #[must_use]
    pub fn template(&self) -> Option<HostProgram<'_>> {
        match self {
            Self::Python(python) => Some(python.template()),
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// How it is handed the body of a request.
    #[must_use]
    pub fn hand_over(&self) -> HandOver {
        match self {
            Self::Python(_) | Self::Cgi(_) => HandOver::Whole { in_frames: INLINE },
            Self::Command(_) => HandOver::Proxied,
        }
    }

    /// How many requests one of its processes runs at a time; if that is an ASGI app, [`Self::shared_units`].
    #[must_use]
    pub fn units(&self) -> u16 {
        match self {
            Self::Python(python) => python.units(),
            Self::Command(command) => u16::try_from(command.max_connections).unwrap_or(u16::MAX),
            Self::Cgi(scripts) => scripts.units(),
        }
    }

    /// What these are called, for the log.
    #[must_use]
    pub(crate) fn units_are(&self) -> &'static str {
        match self {
            Self::Python(_) => "threads",
            Self::Command(_) => "connections",
            Self::Cgi(_) => "scripts at a time",
        }
    }

    /// How many requests the event loop of one of its processes runs at a time, if it turns out to have one.
    #[must_use]
    pub(crate) fn shared_units(&self) -> u16 {
        match self {
            Self::Python(python) => u16::try_from(python.max_connections).unwrap_or(u16::MAX),
            Self::Command(_) | Self::Cgi(_) => self.units(),
        }
    }

    /// What its WebSockets may do, where they are ours to speak.
    #[must_use]
    pub(crate) fn websocket(&self) -> Option<WebSocket> {
        match self {
            Self::Python(python) => python.websocket(),
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// The interpreter that must be there, if it needs one.
    #[must_use]
    pub fn interpreter(&self) -> Option<&Path> {
        match self {
            Self::Python(python) => Some(&python.python),
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// Interpreter and arguments with which it imports the app and leaves, if that can be done.
    pub(crate) fn import(&self) -> Option<(&Path, Vec<String>)> {
        match self {
            Self::Python(python) => Some((&python.python, python.import())),
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// The directory or module below its working directory that its source begins with.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Python(python) => match python.script() {
                Some(path) => path.rsplit_once('/').map(|(directory, _)| directory),
                None => python.module.split('.').next(),
            },
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// The file that is imported, if one is named by its path.
    #[must_use]
    pub(crate) fn script(&self) -> Option<&str> {
        match self {
            Self::Python(python) => python.script(),
            Self::Command(_) | Self::Cgi(_) => None,
        }
    }

    /// What is hosted, for the log. The arguments of a command may be secret, or long.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Python(python) => &python.module,
            Self::Command(command) => command.command.first().map_or("", String::as_str),
            Self::Cgi(scripts) => scripts.root.to_str().unwrap_or_default(),
        }
    }
}
