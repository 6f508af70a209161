//! `hatchery logs`.

use super::locate::Master;
use super::{Failure, print};
use crate::control::command::{LogLine, Request, Response};
use crate::control::text;
use clap::Args;

/// Show what apps, daemons and cron jobs printed last
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One app, daemon or cron job; else all
    name: Option<String>,
    /// Only so many lines, the last ones
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Go on with what is printed from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master; with `--follow` again and again, each time from the last line on.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let (mut lines, mut after) = ask(arguments, 0, false)?;
    lines.drain(..lines.len().saturating_sub(arguments.lines.unwrap_or(usize::MAX)));
    loop {
        print(&shown(&lines))?;
        if !arguments.follow {
            return Ok(0);
        }
        (lines, after) = ask(arguments, after, true)?;
    }
}

fn ask(arguments: &Arguments, after: u64, wait: bool) -> Result<(Vec<LogLine>, u64), Failure> {
    match arguments.master.ask(&Request::Logs { name: arguments.name.clone(), after, wait })? {
        Response::Logs { lines, last } => Ok((lines, last)),
        Response::Failed { text } => Err(Failure::Failed(text)),
        _ => Err(Failure::Failed("the master answered another question".to_owned())),
    }
}

fn shown(lines: &[LogLine]) -> String {
    lines.iter().map(|line| format!("{}: {}\n", text::line(&line.child), text::line(&line.text))).collect()
}
