//! The `hatchery` command. The only place that turns an outcome into an exit code: 0 done, 1 failed, 2 wrong usage or
//! bad configuration.

use clap::Parser as _;
use hatchery::cli::{Cli, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            hatchery::master::put_back(&error.to_string());
            // Help and version are no errors: 0, on standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (code, text) = match cli.execute(hatchery::worker::run) {
        Ok(code) => return ExitCode::from(code),
        Err(Failure::Usage(text)) => (2, text),
        Err(Failure::Failed(text)) => (1, text),
    };
    hatchery::master::put_back(&text);
    eprintln!("hatchery: {text}");
    ExitCode::from(code)
}
