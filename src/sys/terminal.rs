//! Terminals: their size, and keys as they are typed.

use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Rows and columns of the window of a terminal; `None` if it does not say, or is no terminal.
#[must_use]
pub(crate) fn size(terminal: BorrowedFd<'_>) -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills the winsize that it is given, which lives until the call is over.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    let given = result == 0 && size.ws_row > 0 && size.ws_col > 0;
    given.then(|| (usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// Has a terminal give each key at once without showing it; those that are signals (Ctrl-C) still are. How it was before.
///
/// # Errors
/// ENOTTY; EIO if it is gone.
pub(crate) fn give_keys(terminal: BorrowedFd<'_>) -> io::Result<Termios> {
    let before = termios::tcgetattr(terminal)?;
    let mut keys = before.clone();
    keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
    for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
        keys.control_chars.iter_mut().skip(index as usize).take(1).for_each(|char| *char = value);
    }
    termios::tcsetattr(terminal, SetArg::TCSANOW, &keys)?;
    Ok(before)
}

/// Makes it as it was. A terminal that has gone needs it no more.
pub(crate) fn put_back(terminal: BorrowedFd<'_>, before: &Termios) {
    let _ = termios::tcsetattr(terminal, SetArg::TCSANOW, before);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_window_has_a_size_and_a_file_has_none() {
        let window = Winsize { ws_row: 33, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&window), None).unwrap();
        assert_eq!(size(pair.slave.as_fd()), Some((33, 80)));
        assert_eq!(size(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }

    #[test]
    fn keys_come_at_once_until_the_terminal_is_as_before() {
        let pair = openpty(None, None).unwrap();
        let before = give_keys(pair.slave.as_fd()).unwrap();
        nix::unistd::write(&pair.master, b"j").unwrap();
        let mut key = [0];
        assert_eq!((nix::unistd::read(&pair.slave, &mut key), key), (Ok(1), [b'j']));
        put_back(pair.slave.as_fd(), &before);
        assert_eq!(termios::tcgetattr(pair.slave.as_fd()).unwrap(), before);
        assert!(give_keys(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
