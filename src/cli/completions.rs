//! `hatchery completions`. The script asks this program what may come next, so that it knows the names of what the server
//! has, too: a shell calls it with [`VARIABLE`] and the words of the line.

use super::{Cli, Failure, print};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

/// Tells that a line is to be completed, and for which shell.
const VARIABLE: &str = "HATCHERY_COMPLETE";

/// Print what has a shell complete commands, flags, and the names of apps, daemons, jobs and upstreams
///
/// For bash: hatchery completions bash > /etc/bash_completion.d/hatchery
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let name = arguments.shell.to_string();
    let shells = Shells::builtins();
    let shell =
        shells.completer(&name).ok_or_else(|| Failure::Failed(format!("nothing is known of {name}")))?;
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "hatchery", "hatchery", "hatchery", &mut script);
    written.map_err(|error| Failure::Failed(error.to_string()))?;
    print(&String::from_utf8_lossy(&script))
}

/// Completes a line, if a shell asks for that. What goes wrong is nothing to show to somebody who types.
pub(super) fn answer() -> bool {
    let environment = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    environment.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()).unwrap_or(true)
}
