//! `hatchery top`: the processes of the server, again and again. What is drawn and what keys do is decided by `view`.

mod keys;
mod view;

use super::Failure;
use super::locate::Master;
use super::status::{fetch, fetch_within, is_coloured};
use crate::sys::poll::{Interest, Set};
use crate::sys::signals::{self, Signals};
use crate::sys::{clock, terminal};
use crate::timer::Time;
use clap::Args;
use keys::Keys;
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::Termios;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use view::View;

/// From one picture to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// A master that does not answer by then is said to hang; keys and signals wait as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Show the processes of the running server, live; q or Ctrl-C ends it
///
/// c, m, r and n sort by processor, memory, requests and name, s by the next of them. The arrows, page keys, Home and End
/// scroll, as do j and k.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    master: Master,
}

/// Draws until it is told to end.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let mut view = View::default();
    view.take(&*fetch(&arguments.master)?, clock::now());
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        let text = "top needs a terminal to draw on and to read keys from; `hatchery status -v` prints the same once";
        return Err(Failure::Failed(text.to_owned()));
    }
    let broken = |error: io::Error| Failure::Failed(format!("cannot draw: {error}"));
    let mut watch = Watch::new().map_err(broken)?;
    // A panic may end the process without dropping anything.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        told(panic);
    }));
    let mut screen = Screen::enter().map_err(broken)?;
    let mut due = clock::now().after(PERIOD);
    loop {
        screen.draw(&mut view).map_err(broken)?;
        match watch.wait(due).map_err(broken)? {
            Next::End => return Ok(0),
            Next::Suspend => {
                drop(screen);
                // Goes on when the shell says so (`fg`).
                let _ = raise(Signal::SIGSTOP);
                screen = Screen::enter().map_err(broken)?;
            }
            Next::Keys(typed) => {
                if !typed.into_iter().all(|key| view.press(key)) {
                    return Ok(0);
                }
            }
            Next::Draw => {}
        }
        if clock::now() >= due {
            match fetch_within(&arguments.master, PATIENCE) {
                Ok(status) => view.take(&status, clock::now()),
                // It may be about to start again.
                Err(Failure::Usage(text) | Failure::Failed(text)) => view.lack(&text),
            }
            due = clock::now().after(PERIOD);
        }
    }
}

/// What comes next.
enum Next {
    Draw,
    Keys(Vec<keys::Key>),
    Suspend,
    End,
}

/// What is waited for between two pictures.
struct Watch {
    signals: Signals,
    keys: Keys,
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
        Ok(Self { signals: Signals::new(&signals)?, keys: Keys::default() })
    }

    /// Until the next status is due, the window has changed, or somebody says something.
    fn wait(&mut self, due: Time) -> io::Result<Next> {
        let stdin = io::stdin();
        let mut set = Set::new();
        set.add(self.signals.descriptor(), false, Interest::READ);
        set.add(stdin.as_fd(), true, Interest::READ);
        let typed = set.wait(clock::now(), Some(due))?.iter().any(|ready| ready.token);
        for signal in self.signals.pending() {
            match signal {
                signals::SIGWINCH => {}
                signals::SIGTSTP => return Ok(Next::Suspend),
                _ => return Ok(Next::End),
            }
        }
        if !typed {
            return Ok(Next::Draw);
        }
        let mut bytes = [0; 256];
        match nix::unistd::read(&stdin, &mut bytes) {
            // The terminal has gone.
            Ok(0) | Err(nix::errno::Errno::EIO) => Ok(Next::End),
            Ok(length) => Ok(Next::Keys(self.keys.feed(bytes.get(..length).unwrap_or_default()))),
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => Ok(Next::Draw),
            Err(error) => Err(error.into()),
        }
    }
}

/// How the terminal was before, while its other screen is shown.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal's other screen, with keys as they are typed; the usual one comes back in the end.
struct Screen;

impl Screen {
    /// Other screen, no cursor, long lines are cut (ECMA-48 and xterm's private modes 1049, 25, 7).
    fn enter() -> io::Result<Self> {
        let before = terminal::give_keys(io::stdin().as_fd())?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let screen = Self;
        put("\x1b[?1049h\x1b[?25l\x1b[?7l")?;
        Ok(screen)
    }

    fn draw(&mut self, view: &mut View) -> io::Result<()> {
        let size = terminal::size(io::stdout().as_fd()).unwrap_or((24, 80));
        let coloured = is_coloured();
        let paint = |(health, line): (super::status::Health, String)| {
            if coloured { health.paint(&line) } else { line }
        };
        let lines: Vec<String> = view.lines(size).into_iter().map(paint).collect();
        // Each line is cleared to its end, and what is below the last one.
        put(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Once: a terminal that has gone needs no restoring.
fn leave() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = put("\x1b[?7h\x1b[?25h\x1b[?1049l");
        terminal::put_back(io::stdin().as_fd(), &before);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
