//! `hatchery dev`.

use super::run::{self, Manner};
use super::{Failure, Worker};
use crate::config::Config;
use clap::Args;
use std::path::Path;

/// The file that is taken if nothing says what to run.
const FILE: &str = "hatchery.ron";

/// Run the server as `run` does, and roll an app when its code changes
#[derive(Debug, Args)]
#[group(skip)]
#[command(after_help = "Examples:\n  \
    hatchery dev                                   with ./hatchery.ron\n  \
    hatchery dev --module config.wsgi --static /static/=static\n  \
    hatchery dev --module hello:app --watch ../lib\n\n\
    With flags it listens on 127.0.0.1:8000, unless --http says otherwise. Code that does not start is told here, \
    and the processes that serve go on.")]
pub(super) struct Arguments {
    #[command(flatten)]
    run: run::Arguments,
    /// Directory with code of the app outside its own, as of a package that is installed with `pip install -e`; may be given
    /// several times
    #[arg(long, value_name = "DIR")]
    watch: Vec<String>,
    /// Have pages in browsers on this machine load themselves again when code, templates or static files change
    #[arg(long)]
    live_reload: bool,
}

/// Runs the server until it is told to stop.
pub(super) fn execute(arguments: Arguments, worker: Worker) -> Result<u8, Failure> {
    let Arguments { run, watch, live_reload } = arguments;
    // What the machine serves is not what is being developed here.
    if run.is_empty() && !Path::new(FILE).exists() && !crate::master::is_upgrade() {
        let text = format!(
            "there is no {FILE} here, and nothing says what to run; for example: hatchery dev --module config.wsgi"
        );
        return Err(Failure::Usage(text));
    }
    if run.is_file() && !watch.is_empty() {
        let text = "--watch is for an app that flags name; in a file it is `watch` of the app".to_owned();
        return Err(Failure::Usage(text));
    }
    let adapt = Box::new(move |config: &mut Config| config.develop(live_reload));
    let manner = Manner { adapt: Some(adapt), http: Some("127.0.0.1:8000"), watch };
    run::execute_as(run, manner, worker)
}
