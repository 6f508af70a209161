//! What a program tells the next one, which is executed in its place or tries to be: in a variable of its environment.

use std::fmt;
use std::os::fd::RawFd;

/// What a program is started for that stands in place of another one, or is to; travels in [`Order::VARIABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Show that this program works.
    Try,
    /// Go on from a state.
    Resume(Resume),
}

/// Where a program goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resume {
    /// The file with the state.
    pub(super) state: RawFd,
    /// The program that wrote it.
    pub(super) executable: RawFd,
    /// The process that was executed in: nobody else may take the order for its own.
    pub(super) pid: u32,
    /// This is the program that wrote it, since the new one could not start.
    pub(super) back: bool,
}

impl Order {
    /// Where it travels.
    pub(super) const VARIABLE: &'static str = "HATCHERY_UPGRADE";

    /// To go on from these descriptors, in the process of that id.
    pub(super) fn resume(state: RawFd, executable: RawFd, pid: u32) -> Self {
        Self::Resume(Resume { state, executable, pid, back: false })
    }

    /// What this process was started for; `None`: for itself.
    pub(super) fn from_environment() -> Option<Self> {
        Self::parse(&std::env::var(Self::VARIABLE).ok()?).filter(|order| match order {
            Self::Try => true,
            Self::Resume(from) => from.pid == std::process::id(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let back = match words.next()? {
            "try" => return Some(Self::Try),
            "resume" => false,
            "back" => true,
            _ => return None,
        };
        let mut number = || words.next()?.parse::<RawFd>().ok();
        let (state, executable, pid) = (number()?, number()?, number()?.unsigned_abs());
        Some(Self::Resume(Resume { state, executable, pid, back }))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Try => write!(out, "try"),
            Self::Resume(Resume { state, executable, pid, back }) => {
                let word = if *back { "back" } else { "resume" };
                write!(out, "{word} {state} {executable} {pid}")
            }
        }
    }
}

/// Why the new program could not start; travels beside the order to the one that is put back.
pub(super) const REASON: &str = "HATCHERY_UPGRADE_REASON";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_environment() {
        let resume = Order::resume(7, 9, 4711);
        let Order::Resume(from) = resume else { panic!() };
        for order in [Order::Try, resume, Order::Resume(Resume { back: true, ..from })] {
            assert_eq!(Order::parse(&order.to_string()), Some(order));
        }
        for wrong in ["", "resume", "resume 7", "resume x 9 1", "other 7 9 1"] {
            assert_eq!(Order::parse(wrong), None, "{wrong:?}");
        }
    }
}
