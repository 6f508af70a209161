//! The life of a helper process.
//!
//! | state | it |
//! |---|---|
//! | `Off` | is not there; after deaths in a row not for a while |
//! | `Starting` | is to be started |
//! | `Booting` | was started, and has ten seconds to be ready |
//! | `Idle` | waits for orders, a minute at most |
//! | `Busy` | does an errand |
//! | `Leaving` | is to be ended |
//! | `Ending` | was told to, and is killed and given up if it does not |

use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(60);
/// From TERM to KILL, and from KILL until it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// After the first death in a row, and never longer.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// How to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kill {
    /// SIGTERM.
    Term,
    /// SIGKILL.
    Kill,
}

/// Something to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start it; answered by `exited` if it cannot be, or later by `ready` or `exited`.
    Start,
    /// Send it a signal; it exits later.
    Kill(Kill),
    /// It does not die: nothing waits for it any more. Answered by `exited`.
    Abandon,
}

/// Why it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Told,
    /// It took too long over an errand.
    Hung,
    /// Of itself.
    Died,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Process {
    state: State,
    /// Without an errand done, in a row.
    deaths: u32,
    /// After a death: not before.
    not_before: Time,
    /// It took too long over an errand.
    has_hung: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Off,
    Starting,
    Booting(Time),
    Idle(Time),
    Busy,
    Leaving(Kill),
    Ending(Kill, Time),
}

impl Process {
    /// Whether it takes an order, which it then has. If there is none it is started, as soon as it may be.
    pub(crate) fn takes(&mut self, now: Time) -> bool {
        match self.state {
            State::Off if now >= self.not_before => self.state = State::Starting,
            State::Idle(_) => self.state = State::Busy,
            _ => return false,
        }
        self.state == State::Busy
    }

    pub(crate) fn ready(&mut self, now: Time) {
        if let State::Booting(_) = self.state {
            self.state = State::Idle(now);
        }
    }

    /// It has done its errand.
    pub(crate) fn rests(&mut self, now: Time) {
        (self.deaths, self.has_hung) = (0, false);
        if self.state == State::Busy {
            self.state = State::Idle(now);
        }
    }

    /// It takes too long.
    pub(crate) fn hung(&mut self) {
        if self.state == State::Busy {
            (self.state, self.has_hung) = (State::Leaving(Kill::Kill), true);
        }
    }

    /// It is not needed any more.
    pub(crate) fn dismiss(&mut self) {
        match self.state {
            State::Starting => self.state = State::Off,
            State::Booting(_) | State::Idle(_) | State::Busy => self.state = State::Leaving(Kill::Term),
            State::Off | State::Leaving(_) | State::Ending(..) => {}
        }
    }

    /// Somebody does not want to wait for another one.
    pub(crate) fn hurry(&mut self) {
        (self.deaths, self.not_before) = (0, Time::ZERO);
    }

    /// It has ended, or could not be started.
    pub(crate) fn exited(&mut self, now: Time) -> End {
        let end = match self.state {
            _ if std::mem::take(&mut self.has_hung) => End::Hung,
            State::Leaving(Kill::Term) | State::Ending(Kill::Term, _) => End::Told,
            _ => End::Died,
        };
        if end != End::Told {
            let wait = WAITS.0.saturating_mul(1 << self.deaths.min(12)).min(WAITS.1);
            self.deaths = self.deaths.saturating_add(1);
            self.not_before = now.after(wait);
        }
        self.state = State::Off;
        end
    }

    /// It has died, and so long nobody starts another one.
    pub(crate) fn recovers(&self, now: Time) -> Option<Duration> {
        let wait = self.not_before.since(now);
        (self.state == State::Off && !wait.is_zero()).then_some(wait)
    }

    pub(crate) fn poll(&mut self, now: Time) -> Option<Step> {
        let ended = |kill| (State::Ending(kill, now), Step::Kill(kill));
        let (state, decision) = match self.state {
            State::Starting => (State::Booting(now), Step::Start),
            State::Leaving(kill) => ended(kill),
            State::Booting(since) if now >= since.after(BOOT) => ended(Kill::Kill),
            State::Idle(since) if now >= since.after(REST) => ended(Kill::Term),
            State::Ending(Kill::Term, since) if now >= since.after(GRACE) => ended(Kill::Kill),
            State::Ending(Kill::Kill, since) if now >= since.after(GRACE) => (State::Off, Step::Abandon),
            _ => return None,
        };
        self.state = state;
        Some(decision)
    }

    /// When something is due; `wanted`: somebody waits for it to take an order.
    pub(crate) fn deadline(&self, wanted: bool) -> Option<Time> {
        match self.state {
            State::Off if wanted => Some(self.not_before),
            State::Off | State::Busy => None,
            State::Starting | State::Leaving(_) => Some(Time::ZERO),
            State::Booting(since) => Some(since.after(BOOT)),
            State::Idle(since) => Some(since.after(REST)),
            State::Ending(_, since) => Some(since.after(GRACE)),
        }
    }
}
