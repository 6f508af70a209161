//! How an app is hosted. What differs between kinds of apps is decided here and nowhere else, so that another kind is a
//! variant and a file:
//!
//! | kind | keys of its own | program | request body | units of a process |
//! |---|---|---|---|---|
//! | [`Wsgi`] | `module`, `python`, `threads` | the interpreter, with the host program | whole: in frames, or as a descriptor | its threads |
//!
//! Every program is started with the environment, user and directory of its app, and speaks the frames of
//! [`crate::control::frame`].

mod wsgi;

pub use wsgi::Wsgi;
pub(crate) use wsgi::{Target, check_threads, interpreter};

use super::located::{Given, Report};
use super::walk::Walk;
use crate::gateway::app::INLINE;
use std::borrow::Cow;
use std::path::Path;

/// The kind of an app.
#[derive(Clone, Debug, PartialEq)]
pub enum Host {
    /// A Python callable (PEP 3333).
    Wsgi(Wsgi),
}

impl Default for Host {
    fn default() -> Self {
        Self::Wsgi(Wsgi::default())
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
}

impl Host {
    /// Its own keys.
    pub(crate) fn walk(&mut self, keys: &mut dyn Walk) {
        match self {
            Self::Wsgi(wsgi) => wsgi.walk(keys),
        }
    }

    /// What its keys do not tell alone, in the virtualenv of its app.
    pub(crate) fn check(&mut self, home: Option<&Path>, given: &Given<'_>, report: &mut Report<'_>) {
        match self {
            Self::Wsgi(wsgi) => wsgi.check(home, given, report),
        }
    }

    /// What each of its processes runs.
    #[must_use]
    pub fn program(&self) -> HostProgram<'_> {
        match self {
            Self::Wsgi(wsgi) => wsgi.program(),
        }
    }

    /// What a template of its processes runs (`preload`).
    #[must_use]
    pub fn template(&self) -> HostProgram<'_> {
        match self {
            Self::Wsgi(wsgi) => wsgi.template(),
        }
    }

    /// How it is handed the body of a request.
    #[must_use]
    pub fn hand_over(&self) -> HandOver {
        match self {
            Self::Wsgi(_) => HandOver::Whole { in_frames: INLINE },
        }
    }

    /// How many requests one of its processes runs at a time.
    #[must_use]
    pub fn units(&self) -> u16 {
        match self {
            Self::Wsgi(wsgi) => wsgi.units(),
        }
    }

    /// The interpreter that must be there.
    #[must_use]
    pub fn interpreter(&self) -> &Path {
        match self {
            Self::Wsgi(wsgi) => &wsgi.python,
        }
    }

    /// Arguments of the interpreter with which it imports the app and leaves.
    pub(crate) fn import(&self) -> Vec<String> {
        match self {
            Self::Wsgi(wsgi) => wsgi.import(),
        }
    }

    /// The directory or module below its working directory that its source begins with.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Wsgi(wsgi) => wsgi.module.split('.').next(),
        }
    }

    /// What is hosted, for the log.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Wsgi(wsgi) => &wsgi.module,
        }
    }
}
