//! Flow control (RFC 9113 §5.2, §6.9): how much may be sent, by the client and by us, on a stream and on the connection.

/// Most that a window may be.
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// What each side may send before anything is agreed.
pub(super) const INITIAL: u32 = 65_535;

/// What the client takes of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outflow(i64);

impl Outflow {
    pub(super) fn new(size: u32) -> Self {
        Self(i64::from(size))
    }

    /// How much may be sent now. The window is below zero when the client has made it smaller than what was on its way.
    pub(super) fn room(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// So much leaves, at most the room.
    pub(super) fn spend(&mut self, count: u64) {
        self.0 -= i64::try_from(count).unwrap_or(WINDOW_MAX);
    }

    /// The client takes so much more, or less; `None` if that is more than a window may be.
    #[must_use]
    pub(super) fn change(&mut self, by: i64) -> Option<()> {
        let changed = self.0.checked_add(by).filter(|changed| *changed <= WINDOW_MAX)?;
        self.0 = changed;
        Some(())
    }
}

/// What we take of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inflow {
    size: usize,
    /// What may still come.
    open: usize,
}

impl Inflow {
    pub(super) fn new(size: u32) -> Self {
        Self { size: size as usize, open: size as usize }
    }

    /// So much has come; `None` if it is more than was allowed.
    #[must_use]
    pub(super) fn take(&mut self, count: usize) -> Option<()> {
        self.open = self.open.checked_sub(count)?;
        Some(())
    }

    /// How much may still come.
    pub(super) fn open(self) -> u64 {
        self.open as u64
    }

    /// Opens the window again but for what is `kept` here, if that is worth a frame.
    pub(super) fn give_back(&mut self, kept: usize) -> Option<u32> {
        let closed = self.size.saturating_sub(self.open).saturating_sub(kept);
        if closed < self.size / 2 {
            return None;
        }
        self.open += closed;
        Some(closed as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_at_most_2_to_the_31_less_1_and_may_fall_below_zero() {
        let mut window = Outflow::new(INITIAL);
        assert_eq!(window.room(), 65_535);
        assert_eq!(window.change(WINDOW_MAX - 65_535), Some(()));
        assert_eq!((window.change(1), window.room()), (None, WINDOW_MAX as u64));
        window.spend(WINDOW_MAX as u64);
        assert_eq!(window.change(-WINDOW_MAX), Some(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.change(WINDOW_MAX), Some(()));
        assert_eq!((window.room(), window.change(1), window.room()), (0, Some(()), 1));
    }

    #[test]
    fn what_is_kept_is_not_given_back() {
        let mut window = Inflow::new(1000);
        assert_eq!(window.take(400), Some(()));
        assert_eq!(window.give_back(0), None, "not worth a frame");
        assert_eq!(window.take(300), Some(()));
        assert_eq!(window.give_back(300), None);
        assert_eq!(window.give_back(200), Some(500));
        assert_eq!(window.take(801), None, "more than is open");
        assert_eq!((window.take(800), window.give_back(1000)), (Some(()), None));
        assert_eq!(window.give_back(0), Some(1000));
        assert_eq!(window.take(1000), Some(()));
    }
}
