//! The command line: one file for each command. `main.rs` turns what comes back into an exit code.

mod cgi_host;
mod check;
mod completions;
mod config;
mod cron;
mod dev;
mod exec;
mod explain;
mod helper;
mod locate;
mod logs;
mod maintenance;
mod man;
mod names;
mod precompress;
mod probe;
mod purge;
mod reload;
mod renew;
mod restart;
mod run;
mod scale;
mod serve;
mod stacks;
mod start;
mod status;
mod stop;
mod top;
mod upstream;

use crate::config::boot::WorkerBoot;
use crate::control::command::Response;
use crate::control::text;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// What runs in a forked worker.
pub(crate) type Worker = fn(WorkerBoot) -> i32;

/// Serves web applications: static files, Python apps, upstreams and cron jobs, from one process tree.
#[derive(Debug, Parser)]
#[command(name = "hatchery", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Try `hatchery run --http :8000 --module config.wsgi` in a Django project, or `hatchery serve .` \
                        in any directory. `hatchery COMMAND --help` explains a command."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Arguments>),
    Serve(serve::Arguments),
    Dev(Box<dev::Arguments>),
    Check(check::Arguments),
    Config(config::Arguments),
    Explain(explain::Arguments),
    Status(status::Arguments),
    Top(top::Arguments),
    Reload(reload::Arguments),
    Scale(scale::Arguments),
    Upstream(upstream::Arguments),
    Maintenance(maintenance::Arguments),
    Renew(renew::Arguments),
    Purge(purge::Arguments),
    Restart(restart::Arguments),
    Cron(cron::Arguments),
    Exec(exec::Arguments),
    Precompress(precompress::Arguments),
    #[command(hide = true)]
    CgiHost(cgi_host::Arguments),
    #[command(hide = true)]
    Helper(helper::Arguments),
    #[command(hide = true)]
    Probe(probe::Arguments),
    Logs(logs::Arguments),
    Start(start::Arguments),
    Stop(stop::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Why a command did not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Wrong usage or a bad configuration: exit code 2.
    Usage(String),
    /// It failed: exit code 1.
    Failed(String),
}

/// What people type who come from other servers, and how it is done here.
const HABITS: [(&[&str], &str); 4] = [
    (&["up", "server"], "`hatchery run` starts the server"),
    (&["runserver", "develop", "watch"], "`hatchery dev` starts the server for development"),
    (&["validate", "test", "configtest", "-t", "lint"], "`hatchery check` looks at a configuration"),
    (&["quit", "shutdown", "kill", "down"], "`hatchery stop` ends the server"),
];

impl Cli {
    /// What was typed.
    ///
    /// # Errors
    /// Help, the version, or wrong usage, ready to be printed.
    pub fn from_arguments() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|mut error| {
            let typed = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg].map(|kind| error.get(kind));
            let typed = typed.into_iter().flatten().find_map(|value| match value {
                ContextValue::String(typed) => Some(typed.as_str()),
                _ => None,
            });
            let habit = typed.and_then(|typed| HABITS.iter().find(|(theirs, _)| theirs.contains(&typed)));
            if let Some((_, ours)) = habit {
                error.remove(ContextKind::SuggestedSubcommand);
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*ours).into()]));
            }
            error
        })
    }

    /// Completes a line that is being typed, if a shell asks for that instead of giving a command.
    #[must_use]
    pub fn completes() -> bool {
        completions::answer()
    }

    /// Does what the command says; returns its exit code.
    ///
    /// # Errors
    /// For the operator, on standard error.
    pub fn execute(self, worker: Worker) -> Result<u8, Failure> {
        match self.command {
            Command::Run(arguments) => run::execute(*arguments, worker),
            Command::Serve(arguments) => serve::execute(arguments, worker),
            Command::Dev(arguments) => dev::execute(*arguments, worker),
            Command::Check(arguments) => check::execute(&arguments),
            Command::Config(arguments) => config::execute(&arguments),
            Command::Explain(arguments) => explain::execute(&arguments),
            Command::Status(arguments) => status::execute(&arguments),
            Command::Top(arguments) => top::execute(&arguments),
            Command::Reload(arguments) => reload::execute(&arguments),
            Command::Scale(arguments) => scale::execute(&arguments),
            Command::Upstream(arguments) => upstream::execute(&arguments),
            Command::Maintenance(arguments) => maintenance::execute(&arguments),
            Command::Renew(arguments) => renew::execute(&arguments),
            Command::Purge(arguments) => purge::execute(&arguments),
            Command::Restart(arguments) => restart::execute(&arguments),
            Command::Cron(arguments) => cron::execute(&arguments),
            Command::Exec(arguments) => exec::execute(&arguments),
            Command::Precompress(arguments) => precompress::execute(&arguments),
            Command::CgiHost(arguments) => cgi_host::execute(&arguments),
            Command::Helper(arguments) => helper::execute(&arguments),
            Command::Probe(arguments) => probe::execute(&arguments),
            Command::Logs(arguments) => logs::execute(&arguments),
            Command::Start(arguments) => start::execute(&arguments),
            Command::Stop(arguments) => stop::execute(&arguments),
            Command::Completions(arguments) => completions::execute(&arguments),
            Command::Man(arguments) => man::execute(&arguments),
        }
    }
}

/// What the running master answered to an order.
fn told(response: Response) -> Result<u8, Failure> {
    match response {
        Response::Done { text } => print(&format!("{text}\n")),
        Response::Failed { text } => Err(Failure::Failed(text)),
        _ => Err(Failure::Failed("the master answered another question".to_owned())),
    }
}

/// Writes to standard output what people read. Whatever of it came from a process, a client or a file, it cannot steer
/// the terminal.
fn print(text: &str) -> Result<u8, Failure> {
    put(&text::printable(text))
}

/// The same for programs: JSON that means exactly the value.
fn print_json(value: &impl Serialize) -> Result<u8, Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    put(&format!("{}\n", text::json(&json)))
}

/// Tells something beside the result, on standard error.
fn remark(text: &str) {
    eprintln!("{}", text::record(text));
}

/// A reader that has gone (`| head`) is no failure.
fn put(text: &str) -> Result<u8, Failure> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent_and_every_command_and_flag_is_explained() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for argument in sub.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", sub.get_name(), argument.get_id());
            }
        }
    }
}
