//! An alarm on the wall clock (timerfd_create(2)): fires at its time, and when the clock is set, so that whoever set it
//! can think again.

use crate::timer::Wall;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

/// One alarm.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: TimerFd,
    set: Option<Wall>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self { timer: TimerFd::new(ClockId::CLOCK_REALTIME, flags)?, set: None })
    }

    /// Readable when the time has come or the clock was set.
    #[must_use]
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Sets it to this time, at once if that has passed; `None`: to no time.
    ///
    /// # Errors
    /// None that the kernel documents for a valid time.
    pub(crate) fn set(&mut self, at: Option<Wall>) -> io::Result<()> {
        if at == self.set {
            return Ok(());
        }
        match at {
            Some(at) => {
                // A zero would disarm it; the second after the epoch has passed as well.
                let spec = TimeSpec::new(at.seconds.max(1), i64::from(at.nanos));
                let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
                self.timer.set(Expiration::OneShot(spec), flags)?;
            }
            None => self.timer.unset()?,
        }
        self.set = at;
        Ok(())
    }

    /// It fired: it is not set any more.
    pub(crate) fn clear(&mut self) {
        // Setting it to nothing also takes back what could be read.
        let _ = self.timer.unset();
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use crate::sys::poll::{Interest, Set};
    use std::time::Duration;

    fn fires(alarm: &Alarm, within: Duration) -> bool {
        let mut set = Set::new();
        set.add(alarm.descriptor(), (), Interest::READ);
        let now = clock::now();
        !set.wait(now, Some(now.after(within))).unwrap().is_empty()
    }

    #[test]
    fn fires_at_its_time_and_not_when_it_is_not_set() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!fires(&alarm, Duration::ZERO));
        let now = clock::wall();
        alarm.set(Some(Wall { seconds: now.seconds - 1, nanos: 0 })).unwrap();
        assert!(fires(&alarm, Duration::from_secs(10)));
        alarm.clear();
        assert!(!fires(&alarm, Duration::ZERO));
        alarm.set(Some(Wall { seconds: now.seconds + 1000, nanos: 0 })).unwrap();
        assert!(!fires(&alarm, Duration::ZERO));
        alarm.set(None).unwrap();
        assert!(!fires(&alarm, Duration::ZERO));
    }
}
