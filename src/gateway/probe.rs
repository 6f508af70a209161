//! What a probe is told: how to find out whether a process of a command serves. The process knows nothing of us, so that
//! somebody has to connect to it, and may have to ask it something. Plain data; `helper::probe` does it.

use super::Protocol;
use super::fastcgi::Scripts;
use super::ready::Question;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A process to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Where it is to listen.
    pub(crate) door: Door,
    /// The listening socket came from us, so that a connection says nothing before it was accepted: it is the first
    /// descriptor of the probe.
    pub(crate) inherited: bool,
    /// The user who must be the one that listens, unless that is us.
    pub(crate) owner: u32,
    /// Longest time until it does.
    pub(crate) within: Duration,
    /// What it must answer then.
    pub(crate) ready: Option<Asked>,
}

/// Where a process of a command is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Door {
    /// A Unix socket.
    Socket(PathBuf),
    /// A port of 127.0.0.1.
    Port(u16),
}

/// The ready request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// What is asked.
    pub(crate) question: Question,
    /// How.
    pub(crate) protocol: Protocol,
    /// Where its scripts are.
    pub(crate) scripts: Option<Scripts>,
    /// Longest time until the whole answer is there.
    pub(crate) timeout: Duration,
}

impl std::fmt::Display for Door {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => write!(out, "unix:{}", path.display()),
            Self::Port(port) => write!(out, "127.0.0.1:{port}"),
        }
    }
}
