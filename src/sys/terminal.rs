//! The terminal's size.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// How many lines the window of a terminal has; `None` if it does not say, or is no terminal.
#[must_use]
pub(crate) fn rows(terminal: BorrowedFd<'_>) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills the winsize that it is given, which lives until the call is over.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Some(size.ws_row).filter(|rows| result == 0 && *rows > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::{Winsize, openpty};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_window_has_rows_and_a_file_has_none() {
        let window = Winsize { ws_row: 33, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&window), None).unwrap();
        assert_eq!(rows(pair.slave.as_fd()), Some(33));
        assert_eq!(rows(std::fs::File::open("/dev/null").unwrap().as_fd()), None);
    }
}
