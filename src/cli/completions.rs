//! `hatchery completions`.

use super::{Cli, Failure, print};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Print the completions of commands and flags for a shell
///
/// For bash: hatchery completions bash > /etc/bash_completion.d/hatchery
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Which shell
    shell: Shell,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "hatchery", &mut script);
    print(&String::from_utf8_lossy(&script))
}
