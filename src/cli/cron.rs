//! `hatchery cron`.

use super::locate::Master;
use super::status::{Look, fetch, is_coloured, job_table};
use super::{Failure, names, print, print_json, put, told};
use crate::control::command::{JobStatus, Request, RunStatus};
use crate::control::text;
use clap::{Args, Subcommand};

/// Show the cron jobs, run one now, or show what became of its last runs
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    master: Master,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All jobs with their next run and their last (the default)
    List {
        /// As a JSON list, for scripts
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        master: Master,
    },
    /// Run a job now; its schedule stays as it is
    Run {
        /// Name of the job
        #[arg(add = names::of(&["cron"]))]
        name: String,
        #[command(flatten)]
        master: Master,
    },
    /// The last runs of a job, the newest first
    History {
        /// Name of the job
        #[arg(add = names::of(&["cron"]))]
        name: String,
        /// As a JSON list, for scripts
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        master: Master,
    },
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    match &arguments.action {
        None => list(&jobs(&arguments.master)?, false),
        Some(Action::List { json, master }) => list(&jobs(master)?, *json),
        Some(Action::Run { name, master }) => told(master.ask(&Request::CronRun { name: name.clone() })?),
        Some(Action::History { name, json, master }) => {
            let jobs = jobs(master)?;
            let job = jobs.iter().find(|job| job.name == *name);
            history(job.ok_or_else(|| Failure::Failed(format!("there is no job \"{name}\"")))?, *json)
        }
    }
}

fn jobs(master: &Master) -> Result<Vec<JobStatus>, Failure> {
    Ok(fetch(master)?.cron)
}

fn list(jobs: &[JobStatus], json: bool) -> Result<u8, Failure> {
    if json {
        return print_json(&jobs);
    }
    if jobs.is_empty() {
        return print("there are no cron jobs\n");
    }
    put(&job_table(jobs, Look { verbose: true, coloured: is_coloured() }))
}

fn history(job: &JobStatus, json: bool) -> Result<u8, Failure> {
    if json {
        return print_json(&job.history);
    }
    let line = |run: &RunStatus| {
        let (started, outcome) = (text::line(&run.started), text::line(&run.outcome));
        let by_hand = if run.by_hand { "  by hand" } else { "" };
        format!("{started}  {:>9.1}s  {outcome}{by_hand}\n", run.duration_ms as f64 / 1000.0)
    };
    let lines: String = job.history.iter().map(line).collect();
    print(if lines.is_empty() { "it has not run since the server was started\n" } else { &lines })
}
