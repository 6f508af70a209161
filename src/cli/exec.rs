//! `hatchery exec`.

use super::{Failure, locate, names};
use crate::master::exec::As;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Run a command as an app, a daemon or a cron job runs
///
/// For example `hatchery exec shop -- python manage.py migrate`. It has the same user and groups, directory, virtualenv, environment and limits, and the
/// terminal and exit status of this command, in whose place it runs. The server need not run. Only root can run what has a `user` that is another one.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of an app, daemon or cron job
    #[arg(add = names::of(&["app", "daemon", "cron"]))]
    name: String,
    /// The command; a program without a slash is looked for in the virtualenv first
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Becomes the command.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = locate::file(arguments.config.as_deref())?;
    let config = locate::load(&file).map_err(Failure::Usage)?;
    let whom = As::named(&config, &arguments.name).map_err(Failure::Usage)?;
    Err(Failure::Failed(whom.become_command(&arguments.command)))
}
