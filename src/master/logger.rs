//! The server's own messages, on standard error: `2026-01-31T12:00:00Z INFO  hatchery: worker 0: …`.

use env_logger::{Builder, Target, WriteStyle, fmt::Formatter};
use log::{Level, LevelFilter, Record};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

/// Overrides the level of the configuration, in the syntax of the env_logger crate (`debug`,
/// `hatchery::master=trace`).
const VARIABLE: &str = "HATCHERY_LOG";

/// Said before each message: which process speaks. Empty in the master.
static SPEAKER: OnceLock<String> = OnceLock::new();

/// How messages of a worker about itself begin.
const WORKER: &str = "worker: ";

/// Begins to log. Once, in the first process; a second call changes nothing.
pub fn begin() {
    let mut builder = Builder::new();
    match std::env::var(VARIABLE) {
        Ok(filters) => builder.parse_filters(&filters),
        // Cut down by `set_level` once the configuration is read.
        Err(_) => builder.filter_level(LevelFilter::Trace),
    };
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal();
    let style = if colour { WriteStyle::Always } else { WriteStyle::Never };
    let begun = builder.target(Target::Stderr).write_style(style).format(format).try_init();
    if begun.is_ok() && std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Follows the configuration, unless the environment says something else.
pub(super) fn set_level(level: LevelFilter) {
    if std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(level);
    }
}

/// Logs what is no message of the server, whatever the level: an app's traceback must not vanish with `level: "warn"`.
pub(super) fn print(text: std::fmt::Arguments<'_>) {
    let record = Record::builder().level(Level::Info).target("hatchery").args(text).build();
    log::logger().log(&record);
}

/// Names this process in its messages; for a worker, after the fork.
pub(super) fn speak_as(name: String) {
    let _ = SPEAKER.set(name);
}

fn format(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = out.timestamp();
    let level = record.level();
    let style = out.default_level_style(level);
    let mut text = String::new();
    if let Some(speaker) = SPEAKER.get() {
        text.push_str(speaker);
        text.push_str(": ");
    }
    if level >= Level::Debug && record.target() != "hatchery" {
        // For developers: where it comes from.
        let _ = write!(text, "[{}] ", record.target());
    }
    let start = text.len();
    let _ = write!(text, "{}", record.args());
    if start > 0 && text.get(start..).is_some_and(|message| message.starts_with(WORKER)) {
        // It is clear already who speaks.
        text.drain(start..start + WORKER.len());
    }
    writeln!(out, "{time} {style}{level:<5}{style:#} hatchery: {text}")
}
