//! `hatchery top`: what `status` shows, again and again.

use super::locate::Master;
use super::status::{Look, fetch, fetch_within, table};
use super::{Failure, print};
use crate::control::text;
use crate::sys::poll::{Interest, Set};
use crate::sys::signals::{self, Signals};
use crate::sys::{clock, terminal};
use clap::Args;
use nix::sys::signal::{Signal, raise};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// From one picture to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// A master that does not answer by then is said to hang; keys and signals wait as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Its screen has room.
const LOOK: Look = Look { verbose: true, coloured: false };

/// Show the running server as `status -v` does, live; Ctrl-C, or q and Enter, ends it
///
/// Where the output is not a terminal, once.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    master: Master,
}

/// Draws until it is told to end.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let mut shown = table(&*fetch(&arguments.master)?, LOOK);
    if !io::stdout().is_terminal() {
        return print(&shown);
    }
    let broken = |error: io::Error| Failure::Failed(format!("cannot draw: {error}"));
    let mut watch = Watch::new().map_err(broken)?;
    let mut screen = Screen::enter().map_err(broken)?;
    loop {
        screen.draw(&shown).map_err(broken)?;
        match watch.wait().map_err(broken)? {
            Next::End => return Ok(0),
            Next::Suspend => {
                drop(screen);
                // Goes on when the shell says so (`fg`).
                let _ = raise(Signal::SIGSTOP);
                screen = Screen::enter().map_err(broken)?;
            }
            Next::Draw => {}
        }
        shown = match fetch_within(&arguments.master, PATIENCE) {
            Ok(status) => table(&status, LOOK),
            // It may be about to start again.
            Err(Failure::Usage(text) | Failure::Failed(text)) => text,
        };
    }
}

/// What comes next.
enum Next {
    Draw,
    Suspend,
    End,
}

/// What is waited for between two pictures.
struct Watch {
    signals: Signals,
    /// Somebody may type.
    typing: bool,
}

impl Watch {
    fn new() -> io::Result<Self> {
        let signals = [
            signals::SIGINT,
            signals::SIGTERM,
            signals::SIGHUP,
            signals::SIGQUIT,
            signals::SIGTSTP,
            signals::SIGWINCH,
        ];
        Ok(Self { signals: Signals::new(&signals)?, typing: io::stdin().is_terminal() })
    }

    /// Until the next picture is due, the window has changed, or somebody says something.
    fn wait(&mut self) -> io::Result<Next> {
        let now = clock::now();
        let stdin = io::stdin();
        let mut set = Set::new();
        set.add(self.signals.descriptor(), false, Interest::READ);
        if self.typing {
            set.add(stdin.as_fd(), true, Interest::READ);
        }
        let typed = set.wait(now, Some(now.after(PERIOD)))?.iter().any(|ready| ready.token);
        if typed && self.is_told_to_end() {
            return Ok(Next::End);
        }
        let mut next = Next::Draw;
        for signal in self.signals.pending() {
            match signal {
                signals::SIGWINCH => {}
                signals::SIGTSTP => next = Next::Suspend,
                _ => return Ok(Next::End),
            }
        }
        Ok(next)
    }

    /// The terminal gives whole lines.
    fn is_told_to_end(&mut self) -> bool {
        let mut line = [0; 256];
        match io::stdin().lock().read(&mut line) {
            Ok(length) if length > 0 => line.iter().take(length).any(|byte| matches!(byte, b'q' | b'Q')),
            _ => {
                self.typing = false;
                false
            }
        }
    }
}

/// The terminal's other screen; the usual one comes back in the end.
struct Screen;

impl Screen {
    /// Other screen, no cursor, long lines are cut (ECMA-48 and xterm's private modes 1049, 25, 7).
    fn enter() -> io::Result<Self> {
        let screen = Self;
        put("\x1b[?1049h\x1b[?25l\x1b[?7l")?;
        Ok(screen)
    }

    fn draw(&mut self, text: &str) -> io::Result<()> {
        put(&picture(text, terminal::rows(io::stdout().as_fd())))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = put("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The text over what was there before, as far as there are rows.
fn picture(text: &str, rows: Option<u16>) -> String {
    let rows = rows.map_or(usize::MAX, usize::from);
    let lines: Vec<String> = text.lines().take(rows).map(text::line).collect();
    // Each line is cleared to its end, and what is below the last one.
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn a_picture_fits_the_window_and_covers_the_one_before() {
        assert_eq!(picture("one\ntwo\nthree\n", Some(2)), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
        assert_eq!(
            picture("a\x1b[2Jb\n", None),
            "\x1b[Ha\\x1b[2Jb\x1b[K\x1b[J",
            "what it shows cannot steer it"
        );
    }
}
