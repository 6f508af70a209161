//! Lines of a child to events of the log. A line is an event of its own, but a traceback of Python's is one, with the line
//! before it, which says what failed, and with those of its causes: an error, whatever else is printed.
//!
//! | state | a line that | is |
//! |---|---|---|
//! | plain | ends with `Traceback (most recent call last):` | the begin of one → frames |
//! | frames | is indented, empty or such a begin | a part |
//! | frames | is anything else | the exception → raised |
//! | raised | is indented, empty, or leads over to another exception | a part |
//! | raised | is anything else | an event of its own → plain |
//!
//! Tracebacks come in one piece or line by line, so who reads holds one back for a moment: see [`Events::is_open`].

use serde::{Deserialize, Serialize};

/// The end of the line that begins a traceback, also one of a group.
const BEGIN: &str = "Traceback (most recent call last):";

/// What stands between an exception and the next one.
const LEADS_OVER: [&str; 2] = [
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
];

/// Bytes and lines of one event; a longer traceback is several.
const LONGEST: usize = 256 * 1024;
const MOST: usize = 5000;

/// What is logged in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// At least one.
    pub(super) lines: Vec<String>,
    /// A traceback.
    pub(super) is_error: bool,
}

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Events {
    held: Vec<String>,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Plain,
    Frames,
    Raised,
}

impl State {
    fn after(self, line: &str) -> Self {
        let part = line.trim().is_empty() || line.starts_with([' ', '\t']);
        match self {
            _ if line.ends_with(BEGIN) => Self::Frames,
            Self::Frames if !part => Self::Raised,
            Self::Raised if !part && !LEADS_OVER.contains(&line) => Self::Plain,
            state => state,
        }
    }
}

impl Events {
    /// Takes a line; what came before it may be whole now.
    pub(super) fn feed(&mut self, line: String, show: &mut dyn FnMut(Event)) {
        let next = self.state.after(&line);
        if next == State::Plain || self.bytes > LONGEST || self.held.len() >= MOST {
            self.flush(show);
        }
        self.state = next;
        self.bytes += line.len();
        self.held.push(line);
    }

    /// Nothing more is there now: only a traceback waits for its end.
    pub(super) fn rest(&mut self, show: &mut dyn FnMut(Event)) {
        if !self.is_open() {
            self.flush(show);
        }
    }

    /// Nothing more comes of what is held.
    pub(super) fn end(&mut self, show: &mut dyn FnMut(Event)) {
        self.flush(show);
        self.state = State::Plain;
    }

    /// Whether a traceback is held that may go on.
    pub(super) fn is_open(&self) -> bool {
        self.state != State::Plain
    }

    fn flush(&mut self, show: &mut dyn FnMut(Event)) {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.held);
        if !lines.is_empty() {
            show(Event { lines, is_error: self.is_open() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: &str = "GET /fail (request 0-1) failed:
Traceback (most recent call last):
  File \"app.py\", line 2, in view
    one()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"app.py\", line 4, in view
    two()

ValueError: no
a note of the app";

    /// Each event: how many lines it has, and whether it is an error.
    fn events(pieces: &[&str]) -> Vec<(usize, bool)> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        let mut show = |event: Event| found.push((event.lines.len(), event.is_error));
        for piece in pieces {
            piece.split('\n').for_each(|line| events.feed(line.to_owned(), &mut show));
            events.rest(&mut show);
        }
        events.end(&mut show);
        found
    }

    #[test]
    fn a_traceback_is_one_event_with_what_led_to_it() {
        assert_eq!(
            events(&["before", CHAIN, "after\nthat"]),
            [(1, false), (13, true), (1, false), (1, false), (1, false)]
        );
        // However it arrives; what failed is only known if it came together.
        let lines: Vec<&str> = CHAIN.lines().collect();
        assert_eq!(events(&lines), [(1, false), (12, true), (1, false)]);
        assert_eq!(events(&["an indented\n  line\n\nis none"]), [(1, false); 4]);
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"x\"\n  | ExceptionGroup: two (2 sub-exceptions)";
        assert_eq!(events(&[group]), [(3, true)]);
    }

    #[test]
    fn a_traceback_without_end_is_several_events() {
        let frames = format!("{BEGIN}\n{}", "  File \"x\"\n".repeat(2 * MOST));
        assert_eq!(events(&[&frames]), [(MOST, true), (MOST, true), (2, true)]);
        let frames = format!("{BEGIN}\n{}", format!("  {}\n", "x".repeat(LONGEST / 2)).repeat(4));
        assert_eq!(events(&[&frames]), [(3, true), (2, true), (1, true)]);
    }
}
