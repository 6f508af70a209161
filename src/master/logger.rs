//! The server's own messages, on standard error: `2026-01-31T12:00:00Z INFO  hatchery: worker 0: …`. What others say in
//! them cannot look like another one: the lines of a record after its first one are indented (`control::text`).

use crate::control::text;
use crate::supervisor::Level as Severity;
use crate::sys::sink::{self, Sink};
use env_logger::{Builder, Target, WriteStyle, fmt::Formatter};
use log::{Level, LevelFilter, Record};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::OnceLock;

/// Overrides the level of the configuration, in the syntax of the env_logger crate (`debug`,
/// `hatchery::master=trace`).
const VARIABLE: &str = "HATCHERY_LOG";

/// Said before each message: which process speaks. Empty in the master.
static SPEAKER: OnceLock<String> = OnceLock::new();

/// How messages of a worker about itself begin.
const WORKER: &str = "worker: ";

/// Where messages go, if that is not standard error itself.
static DESCRIPTOR: OnceLock<RawFd> = OnceLock::new();

/// The descriptor that messages are written to: a forked process must not close it.
pub(super) fn descriptor() -> Option<RawFd> {
    DESCRIPTOR.get().copied()
}

/// Begins to log. Once, in the first process; a second call changes nothing.
pub(crate) fn begin() {
    let mut builder = Builder::new();
    match std::env::var(VARIABLE) {
        Ok(filters) => builder.parse_filters(&filters),
        // Cut down by `set_level` once the configuration is read.
        Err(_) => builder.filter_level(LevelFilter::Trace),
    };
    let colour =
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal();
    let style = if colour { WriteStyle::Always } else { WriteStyle::Never };
    let target = match sink::stream(io::stderr().as_fd()) {
        Ok(own) => {
            let _ = DESCRIPTOR.set(own.as_raw_fd());
            Target::Pipe(Box::new(Messages { sink: Sink::new(own), lost: 0 }))
        }
        Err(_) => Target::Stderr,
    };
    let begun = builder.target(target).write_style(style).format(format).try_init();
    if begun.is_ok() && std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// A line from a core.
pub(super) fn note(level: Severity, text: &str) {
    let level = match level {
        Severity::Error => Level::Error,
        Severity::Warn => Level::Warn,
        Severity::Info => Level::Info,
        Severity::Debug => Level::Debug,
    };
    log::log!(target: "hatchery", level, "{text}");
}

/// Standard error; what it does not take is lost, and counted.
struct Messages {
    sink: Sink,
    lost: u64,
}

impl io::Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let notice = format!("hatchery: {} messages were lost here: nobody read them\n", self.lost);
        if self.lost > 0 && self.sink.append(notice.as_bytes()).is_ok() {
            self.lost = 0;
        }
        if self.lost > 0 || self.sink.append(bytes).is_err() {
            self.lost += 1;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    writeln!(out, "{time} {style}{level:<5}{style:#} hatchery: {}", text::record(&text))
}
