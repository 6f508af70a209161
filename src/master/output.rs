//! What children print: cut into lines for the log, and the last of it kept for whoever asks why a child died.
//!
//! A child must neither fill the disk nor hold up the others by what it prints, and must not stand still because of it
//! either. So there are two bounds, each for every process by itself:
//!
//! - of what is **logged** ([`LINES`], [`BYTES`]): a burst, as of tracebacks, is never cut, and neither is what comes
//!   steadily at a rate that people read. Beyond it all lines of a second are dropped, so that what is logged stays in
//!   one piece, and a line says how many they were. The pipe is emptied all the same: a server that prints too much goes
//!   on serving.
//! - of what is **read** ([`READING`]), far above the other: a child that prints as fast as it can would have the
//!   master do nothing but read. Its pipe is left full until the time has earned the next piece, so the child waits for
//!   us, never longer than it takes to read its own output at that rate.

use super::allowance::{Allowance, Rate};
use super::events::{Event, Events};
use super::journal::Journal;
use crate::control::text::{printable, without_colours};
use crate::sys::carried::Carried;
use crate::sys::poll::{Interest, Set};
use crate::timer::{Time, earliest};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// A line is logged in pieces of this size if it is longer.
const LINE: usize = 8 * 1024;

/// How much of the past is kept, where somebody may ask for it.
const KEPT: usize = 64 * 1024;

/// How much is read in one turn: a child that prints without end must not hold up the others.
const READ: usize = 64 * 1024;

/// Lines of one process that are logged.
const LINES: Rate = Rate { second: 1000, burst: 10_000 };

/// The same in bytes.
const BYTES: Rate = Rate { second: 256 << 10, burst: 1 << 20 };

/// Bytes of one process that are read, logged or not.
const READING: Rate = Rate { second: 8 << 20, burst: 8 << 20 };

/// Lines are dropped, and counted, for so long at a time.
const DROPPING: Duration = Duration::from_secs(1);

/// A traceback that does not go on for so long is logged as it is.
const HOLDING: Duration = Duration::from_millis(200);

/// The output of one child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Output {
    /// The app or job.
    name: String,
    pipe: Option<Carried<File>>,
    cutter: Cutter,
    #[serde(default)]
    events: Events,
    /// When the traceback that is held back is logged as far as it has come.
    #[serde(default)]
    held: Option<Time>,
    meter: Meter,
    /// What was read of it.
    taken: Allowance,
    /// It has printed too much: nothing is read until then.
    paused: Option<Time>,
}

impl Output {
    /// Reads from the non-blocking `pipe` what processes of that app or job print.
    pub(super) fn new(name: &str, pipe: OwnedFd) -> Self {
        Self {
            name: name.to_owned(),
            pipe: Some(pipe.into()),
            cutter: Cutter::default(),
            events: Events::default(),
            held: None,
            meter: Meter::default(),
            taken: Allowance::default(),
            paused: None,
        }
    }

    /// Keeps the last of what is printed, for [`Self::tail`].
    pub(super) fn with_past(mut self) -> Self {
        self.cutter.past = Some(VecDeque::new());
        self
    }

    /// Nobody will ask for it any more.
    pub(super) fn forget_past(&mut self) {
        self.cutter.past = None;
    }

    /// Waits for more, unless the child closed it or has to wait for us.
    pub(super) fn watch<'a, T: Copy>(&'a self, set: &mut Set<'a, T>, token: T) {
        if let Some(pipe) = self.pipe.as_ref().filter(|_| self.paused.is_none()) {
            set.add(pipe.as_fd(), token, Interest::READ);
        }
    }

    /// Logs what has come, each line with the name of the child.
    pub(super) fn read(&mut self, child: &str, journal: &mut Journal, now: Time) {
        let mut buffer = [0; 8 * 1024];
        let mut left = READ;
        while self.paused.is_none()
            && left > 0
            && let Some(pipe) = &mut self.pipe
        {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    self.take(buffer.get(..length).unwrap_or_default(), child, journal, now);
                    self.taken.spend(READING, length as u64, now);
                    if !self.taken.has(READING, 0, now) {
                        self.paused = Some(self.taken.has_from(READING, READ as u64));
                    }
                    left = left.saturating_sub(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.pipe = None,
            }
        }
        self.show(child, journal, now, Events::rest);
    }

    fn take(&mut self, bytes: &[u8], child: &str, journal: &mut Journal, now: Time) {
        let mut lines = Vec::new();
        self.cutter.feed(bytes, |line| lines.push(line_of(line)));
        for line in lines {
            self.show(child, journal, now, |events, show| events.feed(line, show));
        }
        self.held = Some(now.after(HOLDING));
    }

    /// Logs the events that a step brings, as far as the meter lets them pass.
    fn show(
        &mut self,
        child: &str,
        journal: &mut Journal,
        now: Time,
        step: impl FnOnce(&mut Events, &mut dyn FnMut(Event)),
    ) {
        let (name, meter) = (&self.name, &mut self.meter);
        step(&mut self.events, &mut |event| {
            if meter.passes(&event, now) {
                journal.write(name, child, event);
            }
        });
        self.held = self.held.filter(|_| self.events.is_open());
    }

    /// The child has ended: what is left.
    pub(super) fn read_last(&mut self, child: &str, journal: &mut Journal, now: Time) {
        (self.paused, self.taken) = (None, Allowance::default());
        self.read(child, journal, now);
    }

    /// The child has ended: logs what is left, also a line without its end. What it has started may go on printing: then
    /// this is to be read on.
    pub(super) fn finish(mut self, child: &str, journal: &mut Journal, now: Time) -> Option<Self> {
        self.read_last(child, journal, now);
        if !self.is_over() {
            return Some(self);
        }
        let mut last = None;
        self.cutter.end(|line| last = Some(line_of(line)));
        self.show(child, journal, now, |events, show| {
            last.into_iter().for_each(|line| events.feed(line, show));
            events.end(show);
        });
        self.tell(child, journal);
        None
    }

    /// Whether nobody can print any more.
    pub(super) fn is_over(&self) -> bool {
        self.pipe.is_none()
    }

    /// When it is read again, or something is to be told of it.
    pub(super) fn deadline(&self) -> Option<Time> {
        earliest(self.held, earliest(self.paused.filter(|_| self.pipe.is_some()), self.meter.told))
    }

    pub(super) fn on_timeout(&mut self, child: &str, journal: &mut Journal, now: Time) {
        self.paused = self.paused.filter(|paused| *paused > now);
        if self.held.is_some_and(|held| held <= now) {
            self.show(child, journal, now, Events::end);
        }
        if self.meter.told.is_some_and(|told| told <= now) {
            self.tell(child, journal);
        }
    }

    fn tell(&mut self, child: &str, journal: &mut Journal) {
        if let Some(text) = self.meter.told() {
            journal.warn(&self.name, child, text);
        }
    }

    /// The last of what it printed, if that is kept.
    pub(super) fn tail(&self) -> String {
        let past: Vec<u8> = self.cutter.past.iter().flatten().copied().collect();
        without_colours(&String::from_utf8_lossy(&past))
    }
}

/// Decides which lines are logged.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Meter {
    lines: Allowance,
    bytes: Allowance,
    lost: Lost,
    /// Lines are dropped until then; what is lost is told then.
    told: Option<Time>,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Lost {
    lines: u64,
    bytes: u64,
}

impl Meter {
    /// Whether an event is logged, which is whole or not at all; counts its lines if not.
    fn passes(&mut self, event: &Event, now: Time) -> bool {
        let lines = event.lines.len() as u64;
        let length = event.lines.iter().map(|line| line.len() as u64 + 1).sum();
        let within = self.lines.has(LINES, lines, now) && self.bytes.has(BYTES, length, now);
        if self.told.is_none() && within {
            self.lines.spend(LINES, lines, now);
            self.bytes.spend(BYTES, length, now);
            return true;
        }
        self.told.get_or_insert(now.after(DROPPING));
        self.lost.lines += lines;
        self.lost.bytes += length;
        false
    }

    /// What was dropped and is to be told now; lines are logged again.
    fn told(&mut self) -> Option<String> {
        self.told = None;
        let Lost { lines, bytes } = std::mem::take(&mut self.lost);
        let amount = bytes as f64 / f64::from(1 << 20);
        let (most, size) = (LINES.second, BYTES.second >> 10);
        let text = || {
            format!(
                "{lines} lines ({amount:.1} MiB) of output dropped: more than {most} lines or {size} KiB a second"
            )
        };
        (lines > 0).then(text)
    }
}

/// A line for the log and the journal.
fn line_of(bytes: &[u8]) -> String {
    printable(&without_colours(&String::from_utf8_lossy(bytes)))
}

/// Bytes to lines.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cutter {
    line: Vec<u8>,
    /// The last of them, where somebody may ask for it.
    past: Option<VecDeque<u8>>,
}

impl Cutter {
    fn feed(&mut self, bytes: &[u8], mut show: impl FnMut(&[u8])) {
        if let Some(past) = &mut self.past {
            past.extend(bytes);
            past.drain(..past.len().saturating_sub(KEPT));
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut rest, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |rest| (rest, true));
            while self.line.len() + rest.len() > LINE {
                let (head, tail) = rest.split_at_checked(LINE - self.line.len()).unwrap_or((rest, &[]));
                self.line.extend_from_slice(head);
                self.end(&mut show);
                rest = tail;
            }
            self.line.extend_from_slice(rest);
            if ends {
                show(self.line.strip_suffix(b"\r").unwrap_or(&self.line));
                self.line.clear();
            }
        }
    }

    fn end(&mut self, mut show: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            show(&self.line);
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> (Cutter, Vec<Vec<u8>>) {
        let mut cutter = Cutter { past: Some(VecDeque::new()), ..Cutter::default() };
        let mut lines = Vec::new();
        chunks.iter().for_each(|chunk| cutter.feed(chunk, |line| lines.push(line.to_vec())));
        cutter.end(|line| lines.push(line.to_vec()));
        (cutter, lines)
    }

    #[test]
    fn lines_do_not_depend_on_how_they_arrive() {
        let expected = [&b"one"[..], b"", b"two", b"three"];
        assert_eq!(cut(&[b"one\n\ntwo\r\nthree"]).1, expected);
        assert_eq!(cut(&[b"on", b"e\n", b"\ntw", b"o\r", b"\nthr", b"ee"]).1, expected);
    }

    #[test]
    fn a_line_without_end_is_cut_and_memory_is_bounded() {
        let (cutter, lines) = cut(&[&vec![b'x'; KEPT * 2]]);
        assert!(lines.iter().all(|line| line.len() == LINE));
        assert_eq!(lines.len(), KEPT * 2 / LINE);
        assert_eq!(cutter.past.unwrap().len(), KEPT);
        assert_eq!(cutter.line.capacity().next_power_of_two(), LINE);
    }

    #[test]
    fn what_was_printed_is_kept_until_nobody_asks_for_it_any_more() {
        let (read, write) = crate::sys::channel::from_child().unwrap();
        let (mut output, mut write) = (Output::new("x", read).with_past(), File::from(write));
        let mut print = |output: &mut Output, text: &str| {
            io::Write::write_all(&mut write, text.as_bytes()).unwrap();
            output.read("app x 0", &mut Journal::default(), at(0));
            output.tail()
        };
        assert_eq!(print(&mut output, "one\n"), "one\n");
        assert_eq!(print(&mut output, "two"), "one\ntwo");
        output.forget_past();
        assert_eq!((output.tail(), print(&mut output, "three")), (String::new(), String::new()));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(line_of(b"a\x1b[2Jb\tc\xff\x1b[1;31md\x1b[0m"), "a\\x1b[2Jb\tc\u{fffd}d");
    }

    fn at(milliseconds: u64) -> Time {
        Time(1_000_000_000_000 + milliseconds * 1_000_000)
    }

    fn event_of(length: usize) -> Event {
        Event { lines: vec!["x".repeat(length)], is_error: false }
    }

    #[test]
    fn a_traceback_is_logged_whole_when_nothing_more_of_it_comes() {
        let (read, write) = crate::sys::channel::from_child().unwrap();
        let (mut output, mut write) = (Output::new("x", read), File::from(write));
        let mut journal = Journal::default();
        let texts =
            |journal: &Journal| journal.after(None, 0).into_iter().map(|line| line.text).collect::<Vec<_>>();
        for (number, line) in
            ["begun", "Traceback (most recent call last):", "  File x", "Error: no"].iter().enumerate()
        {
            io::Write::write_all(&mut write, format!("{line}\n").as_bytes()).unwrap();
            output.read("app x 0", &mut journal, at(100 * number as u64));
            assert_eq!(texts(&journal), ["begun"], "{line}");
        }
        assert_eq!(output.deadline(), Some(at(500)));
        output.on_timeout("app x 0", &mut journal, at(499));
        assert_eq!(texts(&journal), ["begun"]);
        output.on_timeout("app x 0", &mut journal, at(500));
        assert_eq!((texts(&journal).len(), output.deadline()), (4, None));
        // One that is more than may pass now is dropped whole.
        output.meter.lines.spend(LINES, LINES.burst + 198, at(500));
        let text = "Traceback (most recent call last):\n  File x\nError: no\n";
        io::Write::write_all(&mut write, text.as_bytes()).unwrap();
        output.read("app x 0", &mut journal, at(500));
        output.on_timeout("app x 0", &mut journal, at(700));
        assert_eq!((texts(&journal).len(), output.meter.lost.lines), (4, 3));
    }

    /// How many of so many lines a millisecond are logged, and what is told of the others.
    fn logged(meter: &mut Meter, count: u64, milliseconds: std::ops::Range<u64>) -> (u64, Vec<String>) {
        let (mut logged, mut told) = (0, Vec::new());
        for now in milliseconds.map(at) {
            if meter.told.is_some_and(|due| due <= now) {
                told.extend(meter.told());
            }
            logged += (0..count).filter(|_| meter.passes(&event_of(9), now)).count() as u64;
        }
        (logged, told)
    }

    #[test]
    fn a_burst_is_logged_and_of_a_flood_as_much_as_its_rate() {
        let mut meter = Meter::default();
        assert_eq!(logged(&mut meter, 20, 0..500), (10_000, Vec::new()));
        let (lines, told) = logged(&mut meter, 20, 500..10_500);
        assert!((5000..11_000).contains(&lines), "{lines}");
        assert!((8..=10).contains(&told.len()), "{told:?}");
        let cause = " lines (0.2 MiB) of output dropped: more than 1000 lines or 256 KiB a second";
        assert!(told.iter().all(|text| text.ends_with(cause)), "each for a second: {told:?}");
        // What was not told yet is told at the end.
        assert!(meter.told().is_some() && meter.told().is_none());
        // Long lines count as what they are.
        let mut meter = Meter::default();
        assert_eq!((0..1000).filter(|_| meter.passes(&event_of(8191), at(0))).count(), 128);
        // A rate within the bounds is never cut, however long it lasts.
        let mut meter = Meter::default();
        assert_eq!(logged(&mut meter, 1, 0..60_000), (60_000, Vec::new()));
    }

    #[test]
    fn what_was_dropped_is_told_at_the_end() {
        let (read, write) = crate::sys::channel::from_child().unwrap();
        let mut output = Output::new("x", read);
        output.meter.told = Some(at(1000));
        io::Write::write_all(&mut File::from(write), b"one\ntwo").unwrap();
        let mut journal = Journal::default();
        output.finish("app x 0", &mut journal, at(1));
        let lines = journal.after(None, 0);
        assert!(
            lines.len() == 1 && lines[0].text.starts_with("2 lines (0.0 MiB) of output dropped"),
            "{lines:?}"
        );
    }

    #[test]
    fn a_pipe_that_is_never_empty_is_left_alone_for_a_while() {
        let mut output = Output::new("x", File::open("/dev/zero").unwrap().into());
        let mut journal = Journal::default();
        let mut turns = 0;
        while output.paused.is_none() {
            output.read("app x 0", &mut journal, at(0));
            turns += 1;
        }
        assert_eq!(turns, READING.burst as usize / READ + 1);
        let next = output.paused.unwrap();
        assert!(next > at(0) && next <= at(20), "{next:?}");
        output.read("app x 0", &mut journal, next);
        output.on_timeout("app x 0", &mut journal, next);
        assert!(output.paused.is_none());
        output.read("app x 0", &mut journal, next);
        assert!(output.paused.is_some() || output.taken.has(READING, 0, next));
    }
}
