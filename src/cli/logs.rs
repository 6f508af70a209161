//! `hatchery logs`.

use super::locate::Master;
use super::{Failure, names, print, remark};
use crate::config;
use crate::control::command::{LogLine, Request, Response};
use crate::control::text;
use crate::sys::clock;
use crate::timer::Wall;
use clap::Args;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// Show what apps, daemons and cron jobs printed last, or the messages of the server itself
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// One app, daemon or cron job, or `hatchery` for the server's own messages; else all apps, daemons and jobs
    #[arg(add = names::of(&["app", "daemon", "cron", "server"]))]
    name: Option<String>,
    /// Only so many lines, the last ones
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only lines since then: 10m or 2h ago, 12:30, "2026-11-27 12:30", or as --timestamps shows it
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The time of each line, in UTC, before it
    #[arg(short, long)]
    timestamps: bool,
    /// Go on with what is printed from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master; with `--follow` again and again, each time from the last line on.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let now = timestamp(clock::wall());
    let since = arguments.since.as_deref().map(|text| moment(text, now, &TimeZone::system())).transpose()?;
    let Answer { mut lines, last: mut after, mut count } = ask(arguments, 0, false)?;
    lines.retain(|line| since.is_none_or(|since| timestamp(line.at) >= since));
    lines.drain(..lines.len().saturating_sub(arguments.lines.unwrap_or(usize::MAX)));
    loop {
        print(&lines.iter().map(|line| shown(line, arguments.timestamps)).collect::<String>())?;
        if !arguments.follow {
            return Ok(0);
        }
        let next = ask(arguments, after, true)?;
        let passed = next.count.saturating_sub(count).saturating_sub(next.lines.len() as u64);
        if passed > 0 {
            remark(&format!(
                "hatchery: {passed} lines came too fast and are passed over here; the log has them"
            ));
        }
        Answer { lines, last: after, count } = next;
    }
}

struct Answer {
    lines: Vec<LogLine>,
    last: u64,
    count: u64,
}

fn ask(arguments: &Arguments, after: u64, wait: bool) -> Result<Answer, Failure> {
    match arguments.master.ask(&Request::Logs { name: arguments.name.clone(), after, wait })? {
        Response::Logs { lines, last, count } => Ok(Answer { lines, last, count }),
        Response::Failed { text } => Err(Failure::Failed(text)),
        _ => Err(Failure::Failed("the master answered another question".to_owned())),
    }
}

fn shown(line: &LogLine, stamped: bool) -> String {
    let (child, text) = (text::line(&line.child), text::line(&line.text));
    let time = if stamped { format!("{:.3} ", timestamp(line.at)) } else { String::new() };
    format!("{time}{child}: {text}\n")
}

fn timestamp(at: Wall) -> Timestamp {
    Timestamp::new(at.seconds, at.nanos.cast_signed()).unwrap_or_default()
}

/// What `--since` means: so long ago, a time of the last 24 hours, a date, with a time or without, or a moment of ISO 8601.
/// What has no offset is in the zone of this machine.
fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let local = |at: DateTime| at.to_zoned(zone.clone()).ok();
    let today = now.to_zoned(zone.clone()).date();
    let last = |time: Time| {
        let begun = |at: &Timestamp| *at <= now;
        let day = |date: jiff::civil::Date| local(date.to_datetime(time)).map(|at| at.timestamp());
        day(today).filter(begun).or_else(|| day(today.yesterday().ok()?))
    };
    let ago =
        |text| now.checked_sub(i64::try_from(config::duration(text).ok()?.as_secs()).ok()?.seconds()).ok();
    let text = text.trim();
    ago(text)
        .or_else(|| text.parse().ok())
        .or_else(|| local(text.parse().ok()?).map(|at| at.timestamp()))
        .or_else(|| last(text.parse().ok().filter(|_| text.contains(':'))?))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "--since: `{text}` is no time; write how long ago (10m, 2h, 1d), a time of day (12:30), a date \
                 (2026-11-27), both (\"2026-11-27 12:30\"), or a moment with its zone (2026-11-27T12:30:00Z)"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_the_ways_of_people_and_of_logs() {
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        let now = "2026-11-27T03:00:00.5Z".parse().unwrap();
        for (text, want) in [
            ("10m", "2026-11-27T02:50:00.5Z"),
            ("1h30m", "2026-11-27T01:30:00.5Z"),
            ("2 days", "2026-11-25T03:00:00.5Z"),
            // It is 12:00 there.
            ("11:30", "2026-11-27T02:30:00Z"),
            ("11:30:15", "2026-11-27T02:30:15Z"),
            ("12:30", "2026-11-26T03:30:00Z"),
            ("2026-11-27", "2026-11-26T15:00:00Z"),
            ("2026-11-27 08:00", "2026-11-26T23:00:00Z"),
            ("2026-11-27T08:00:01", "2026-11-26T23:00:01Z"),
            ("2026-11-27T08:00:01Z", "2026-11-27T08:00:01Z"),
            (" 2026-11-27T08:00:01.250+01:00", "2026-11-27T07:00:01.25Z"),
        ] {
            assert_eq!(moment(text, now, &zone), Ok(want.parse().unwrap()), "{text}");
        }
        for text in ["", "10", "noon", "25:00", "2026-13-01", "10m ago", "-10m", "10 parsecs"] {
            let told = moment(text, now, &zone);
            assert!(
                matches!(&told, Err(Failure::Usage(said)) if said.contains("is no time")),
                "{text}: {told:?}"
            );
        }
    }

    #[test]
    fn a_line_has_its_time_if_that_is_asked_for() {
        let at = Wall { seconds: 1_795_749_800, nanos: 123_456_789 };
        let line = LogLine { number: 1, child: "app shop 0".into(), text: "hello\x1b".into(), at };
        assert_eq!(shown(&line, false), "app shop 0: hello\\x1b\n");
        assert_eq!(shown(&line, true), "2026-11-27T03:23:20.123Z app shop 0: hello\\x1b\n");
    }
}
