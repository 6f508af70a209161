//! The log, on standard error: the server's own messages and what children print. Each line begins with
//! `2026-01-31T12:00:00Z INFO  hatchery: `, those of the journal with their priority, as `<6>`: it knows time and source
//! itself. What others say in a message cannot look like another one: its lines after the first one are marked
//! (`control::text`).

use crate::control::text;
use crate::supervisor::Level as Severity;
use crate::sys::messages;
use crate::sys::sink::{self, Lost, Sink};
use env_logger::{Builder, Target, WriteStyle, fmt::Formatter};
use log::{Level, LevelFilter, Record};
use nix::libc;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::OnceLock;

/// Overrides the level of the configuration, in the syntax of the env_logger crate (`debug`,
/// `hatchery::master=trace`).
const VARIABLE: &str = "HATCHERY_LOG";

/// Said before each message: which process speaks. Empty in the master.
static SPEAKER: OnceLock<String> = OnceLock::new();

/// The target of what children print. Its lines are marked by their names.
const PRINTED: &str = "hatchery::printed";

/// The target of what is no message, and what stands for it.
const PROBE: &str = "\n";

/// Whether messages go to the journal of systemd.
static JOURNAL: OnceLock<bool> = OnceLock::new();

/// Of a longer line each piece of so many bytes is a line: with what stands before it, a pipe takes it in one piece.
const LONGEST: usize = sink::PIPE_BUF - 512;

/// How messages of a worker about itself begin.
const WORKER: &str = "worker: ";

/// Where messages go, if that is not standard error itself.
static DESCRIPTOR: OnceLock<RawFd> = OnceLock::new();

/// The descriptor that messages are written to: a forked process must not close it.
pub(super) fn descriptor() -> Option<RawFd> {
    DESCRIPTOR.get().copied()
}

/// Where it leads, as far as that can be told.
pub(super) fn path() -> String {
    let path = fs::read_link(format!("/proc/self/fd/{}", descriptor().unwrap_or(libc::STDERR_FILENO)));
    path.map_or_else(|_| "standard error".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Begins to log. Once, in the first process; a second call changes nothing.
pub(crate) fn begin() {
    let _ = JOURNAL.set(sink::is_journal(io::stderr().as_fd()));
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
            Target::Pipe(Box::new(Messages(Sink::new(own))))
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
struct Messages(Sink);

impl io::Write for Messages {
    fn write(&mut self, written: &[u8]) -> io::Result<usize> {
        let bytes = if written == PROBE.as_bytes() { &[] } else { written };
        let mut lost = sink::lost_messages();
        let notice = lost.as_ref().map(|lost| format!("hatchery: of the log {lost}\n"));
        let noticed = notice.map_or(Ok(()), |notice| self.0.append(notice.as_bytes()));
        let appended = match noticed {
            Ok(()) => {
                *lost = None;
                self.0.append(bytes)
            }
            Err(still) => Err(Lost::new(still.error, bytes)),
        };
        if let Err(more) = appended {
            *lost = Some(more.after(lost.take()));
        }
        Ok(written.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries whether standard error takes something by now. What it lacks of ours is told then; a message tells where only workers
/// have lost something.
pub(super) fn probe() {
    let lacks = sink::lost_messages().is_some();
    let (target, text) = if lacks { (PROBE, "") } else { ("hatchery", "the log is written again") };
    log::logger()
        .log(&Record::builder().level(Level::Info).target(target).args(format_args!("{text}")).build());
}

/// Follows the configuration, unless the environment says something else.
pub(super) fn set_level(level: LevelFilter) {
    if std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(level);
    }
}

/// Logs lines that a child has printed, whatever `log.level` is: an app's traceback must not vanish with "warn".
pub(super) fn print(level: Level, child: &str, lines: &[String]) {
    let room = LONGEST.saturating_sub(child.len() + 2);
    let pieces = lines.iter().flat_map(|line| pieces(line, room));
    let lines: Vec<String> = pieces.map(|piece| format!("{child}: {piece}")).collect();
    log::logger().log(
        &Record::builder().level(level).target(PRINTED).args(format_args!("{}", lines.join("\n"))).build(),
    );
}

/// Names this process in its messages; for a worker, after the fork.
pub(super) fn speak_as(name: String) {
    let _ = SPEAKER.set(name);
    // What the process before the fork has logged is not ours.
    messages::take();
    *sink::lost_messages() = None;
}

fn format(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    if record.target() == PROBE {
        return out.write_all(PROBE.as_bytes());
    }
    let level = record.level();
    let mut begin = String::new();
    // Writing to a String cannot fail.
    if JOURNAL.get() == Some(&true) {
        let _ = write!(begin, "<{}>", priority(level));
    } else {
        let (time, style) = (out.timestamp(), out.default_level_style(level));
        let _ = write!(begin, "{time} {style}{level:<5}{style:#} hatchery: ");
    }
    let message = record.args().to_string();
    let mut text = message.as_str();
    if let Some(speaker) = SPEAKER.get() {
        let _ = write!(begin, "{speaker}: ");
        // It is clear already who speaks.
        text = text.strip_prefix(WORKER).unwrap_or(text);
    }
    if level >= Level::Debug && record.target() != "hatchery" {
        // For developers: where it comes from.
        let _ = write!(begin, "[{}] ", record.target());
    }
    let shown = if record.target() == PRINTED { text::printable(text) } else { text::record(text) };
    if record.target() != PRINTED {
        messages::keep(format!("{level:<5} {shown}"));
    }
    out.write_all(lines(&begin, &shown).as_bytes())
}

/// The text in lines that all begin so, and none of which is too long.
fn lines(begin: &str, text: &str) -> String {
    let mut out = String::with_capacity(begin.len() + text.len() + 1);
    for line in text.split('\n') {
        for (number, piece) in pieces(line, LONGEST).enumerate() {
            let mark = if number == 0 { "" } else { text::MARK };
            [begin, mark, piece, "\n"].into_iter().for_each(|part| out.push_str(part));
        }
    }
    out
}

/// At least one piece, of so many bytes at most.
fn pieces(line: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = (1..=most.min(line.len())).rfind(|at| line.is_char_boundary(*at));
        let (piece, more) = line.split_at(end.unwrap_or(line.len()));
        rest = Some(more).filter(|more| !more.is_empty());
        Some(piece)
    })
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_read_is_told_of_when_somebody_reads() {
        use std::io::Read as _;
        let (mut reader, writer) = io::pipe().unwrap();
        let mut messages = Messages(Sink::new(sink::stream(writer.as_fd()).unwrap()));
        drop(writer);
        let line = "x".repeat(4000) + "\n";
        while sink::lost_messages().is_none() {
            messages.write_all(line.as_bytes()).unwrap();
        }
        messages.write_all(b"lost\n").unwrap();
        messages.write_all(PROBE.as_bytes()).unwrap();
        reader.read_exact(&mut [0; 16 * 1024]).unwrap();
        messages.write_all(b"read\n").unwrap();
        drop(messages);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let (_, last) =
            text.split_once("\nhatchery: of the log 2 lines (4006 bytes) were lost since ").unwrap();
        assert!(last.ends_with(": nobody reads it\nread\n") && sink::lost_messages().is_none(), "{last}");
    }

    #[test]
    fn every_line_begins_as_the_first_one_and_fits_into_a_pipe() {
        assert_eq!(lines("<3>", "one\n    | two"), "<3>one\n<3>    | two\n");
        assert_eq!(lines("<6>", ""), "<6>\n");
        let long = "é".repeat(sink::PIPE_BUF);
        let shown = lines("<6>", &format!("{long}\nend"));
        assert!(shown.lines().all(|line| line.starts_with("<6>") && line.len() < sink::PIPE_BUF), "{shown}");
        assert!(shown.lines().skip(1).take(2).all(|line| line.starts_with("<6>    | é")), "{shown}");
        assert_eq!(shown.replace("<6>", "").replace("    | ", "").replace('\n', ""), long + "end");
    }
}
