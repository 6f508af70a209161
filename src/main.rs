//! The `hatchery` command. The only place that turns an outcome into an exit code: 0 done, 1 failed, 2 wrong usage or
//! bad configuration.

use hatchery::cli::{Cli, Failure};
use hatchery::control::text;
use hatchery::sys::sink;
use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    if Cli::completes() {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::from_arguments() {
        Ok(cli) => cli,
        Err(error) => {
            hatchery::master::put_back(&error.to_string());
            // Help and version are no errors: 0, on standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (code, shown, told) = match cli.execute(hatchery::worker::run) {
        Ok(code) => return ExitCode::from(code),
        // Problems of a file, one a line.
        Err(Failure::Usage(told)) => (2, text::printable(&told), told),
        Err(Failure::Failed(told)) => (1, text::record(&told), told),
    };
    hatchery::master::put_back(&told);
    if sink::is_journal(io::stderr().as_fd()) {
        eprintln!("<3>{}", shown.trim_end().replace('\n', "\n<3>"));
    } else {
        eprintln!("hatchery: {shown}");
    }
    ExitCode::from(code)
}
