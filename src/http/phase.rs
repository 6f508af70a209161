//! Whether a connection of any version goes on, and how it comes to its end.
//!
//! | phase | bytes of the client | ends |
//! |---|---|---|
//! | `Open` | are understood | as its version has it |
//! | `Closing` | are dropped; while what we said is not written, no more of them than may be dropped in all | once all is written, after a while if the client may still be sending |
//! | `Aborted` | are not read | at once |

use super::serving::End;
use crate::timer::Time;
use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    Closing(Closing),
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// The client may still be sending.
    linger: bool,
    /// Since when all is written.
    since: Option<Time>,
    /// When the client sent something last, or the wait for it began.
    read: Time,
    /// Bytes of the client that were dropped.
    dropped: usize,
}

/// Lingering: between two reads, and in all; bytes in all (research, web-servers §4.13).
const IDLE: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(30);
const BYTES: usize = 64 * 1024 * 1024;
/// Of a server that leaves: both times.
const LEAVING: Duration = Duration::from_secs(2);

impl Phase {
    /// Closes once all is written. `linger`: the client may still be sending.
    pub(crate) fn closing(linger: bool, unwritten: bool, now: Time) -> Self {
        Self::Closing(Closing { linger, since: (!unwritten).then_some(now), read: now, dropped: 0 })
    }

    /// Whether bytes of the client may come to be dropped. One that sends on and on, and does not read what it was told, has to
    /// wait until it does: it ends by the time-out of writing.
    pub(crate) fn drops_more(&self, unwritten: bool) -> bool {
        match self {
            Self::Closing(closing) => !unwritten || closing.dropped < BYTES,
            Self::Open | Self::Aborted => false,
        }
    }

    /// So many bytes came and were dropped.
    pub(crate) fn dropped(&mut self, bytes: usize, now: Time) {
        if let Self::Closing(closing) = self {
            closing.read = now;
            closing.dropped = closing.dropped.saturating_add(bytes);
            closing.linger &= closing.dropped < BYTES;
        }
    }

    /// All is written.
    pub(crate) fn all_written(&mut self, now: Time) {
        if let Self::Closing(closing) = self
            && closing.since.is_none()
        {
            (closing.since, closing.read) = (Some(now), now);
        }
    }

    /// The client is given no more time to read the last answer.
    pub(crate) fn stop_lingering(&mut self) {
        if let Self::Closing(closing) = self {
            closing.linger = false;
        }
    }

    /// Until when a client that lingers may; `leaves`: the server does.
    pub(crate) fn linger_deadline(&self, leaves: bool) -> Option<Time> {
        let Self::Closing(Closing { linger: true, since: Some(since), read, .. }) = self else { return None };
        let (total, idle) = if leaves { (LEAVING, LEAVING) } else { (TOTAL, IDLE) };
        Some(since.after(total).min(read.after(idle)))
    }

    /// Whether and how the connection ends now. `eof`: the client has closed its side.
    pub(crate) fn end(&self, unwritten: bool, eof: bool) -> End {
        match self {
            Self::Aborted => End::Abort,
            Self::Closing(_) if unwritten => End::Open,
            Self::Closing(Closing { linger: true, .. }) if !eof => End::Linger,
            Self::Closing(_) => End::Close,
            Self::Open => End::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn who_sends_on_and_does_not_read_has_to_wait() {
        let mut phase = Phase::closing(true, true, at(0));
        phase.dropped(BYTES - 1, at(1));
        assert!(phase.drops_more(true));
        phase.dropped(1, at(2));
        assert!(!phase.drops_more(true));
        // It has a time of its own to read, and is then cut off.
        assert_eq!((phase.end(true, false), phase.linger_deadline(false)), (End::Open, None));
        phase.all_written(at(3));
        assert_eq!(phase.end(false, false), End::Close);
    }

    #[test]
    fn who_reads_after_an_upload_has_time_from_then_on() {
        let mut phase = Phase::closing(true, true, at(0));
        phase.dropped(BYTES - 1, at(40));
        phase.all_written(at(50));
        assert_eq!((phase.end(false, false), phase.linger_deadline(false)), (End::Linger, Some(at(55))));
        assert_eq!(phase.linger_deadline(true), Some(at(52)));
        phase.dropped(0, at(79));
        assert_eq!(phase.linger_deadline(false), Some(at(80)));
        assert_eq!(phase.end(false, true), End::Close);
    }
}
