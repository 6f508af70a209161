//! `hatchery man`.

use super::{Cli, Failure, print};
use clap::{Args, CommandFactory as _};

/// Print the manual page of a command, for man(1)
///
/// hatchery man | man -l -
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A command; else the page that lists them
    command: Option<String>,
}

pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let mut command = Cli::command();
    command.build();
    let chosen = match &arguments.command {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(Failure::Usage(format!("there is no command \"{name}\""))),
        },
    };
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(chosen).render(&mut page);
    rendered.map_err(|error| Failure::Failed(error.to_string()))?;
    print(&String::from_utf8_lossy(&page))
}
