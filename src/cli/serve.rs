//! `hatchery serve`.

use super::{Failure, Worker, locate, run};
use crate::config::flags::Serve;
use crate::config::{self, Disk};
use clap::Args;
use std::path::{Path, PathBuf};

/// Serve the files of a directory, nothing else
#[derive(Debug, Args)]
#[command(after_help = "Example: hatchery serve ./public --http 127.0.0.1:8080")]
pub(super) struct Arguments {
    /// The directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Address to listen on: `:8080` (every interface), `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/x.sock`; may be
    /// given several times [default: :8080]
    #[arg(long, value_name = "ADDRESS")]
    http: Vec<String>,
    /// Serve the directory although it is a project, with its source and secrets
    #[arg(long)]
    allow_source: bool,
    /// Where commands like `hatchery status` reach this server
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Runs the server until it is told to stop.
pub(super) fn execute(arguments: Arguments, worker: Worker) -> Result<u8, Failure> {
    let Arguments { dir, http, allow_source, control } = arguments;
    if !dir.is_dir() && !crate::master::is_upgrade() {
        let what = if dir.exists() { "is not a directory" } else { "does not exist" };
        return Err(Failure::Failed(format!("{}: {what}", dir.display())));
    }
    let serve = Serve { dir: dir.to_string_lossy().into_owned(), http, allow_source };
    let load = move |_: Option<&Path>| {
        config::from_serve(&serve, &Disk).map_err(|problems| locate::lines(&problems))
    };
    run::start(Box::new(load), None, control, locate::here(), worker)
}
