//! What daemons and cron jobs have in common: a program, and how it is started.

use super::names::{Kind, Named};
use super::read::{command, env, paths};
use super::resources;
use super::walk::{By, Walk};
use crate::sys::resources::Resources;
use std::path::PathBuf;

/// A program that is started by the master.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Task {
    /// Program and arguments. A bare program name is looked for in the app's virtualenv first.
    pub(crate) command: Vec<String>,
    /// Index into [`Config::apps`](super::Config::apps): its virtualenv, directory, user and environment are used.
    pub(crate) app: Option<usize>,
    /// Working directory; the app's unless given.
    pub(crate) chdir: Option<PathBuf>,
    /// Files with variables that are added to the environment.
    pub(crate) env_file: Vec<PathBuf>,
    /// Added to that.
    pub(crate) env: Vec<(String, String)>,
    /// A user of its own.
    pub(crate) user: Option<String>,
    /// What a process may use of the machine.
    pub(crate) resources: Resources,
}

impl Task {
    /// The keys of a section that has a task.
    pub(crate) fn walk(&mut self, example: &str, keys: &mut dyn Walk) {
        keys.need("command", example, &mut By(&mut self.command, command));
        keys.key("app", &mut Named(&mut self.app, Kind::App));
        keys.key("chdir", &mut self.chdir);
        keys.key("env_file", &mut By(&mut self.env_file, paths));
        keys.key("env", &mut By(&mut self.env, env));
        keys.key("user", &mut self.user);
        resources::walk(&mut self.resources, keys);
    }
}
