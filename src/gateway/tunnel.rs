//! What follows a 101: bytes both ways that nobody here reads. Pure; it says what of the two sides is wanted, and when it is
//! over. A way goes from a side to the other:
//!
//! | way | its side sends | its side has ended | the other takes nothing more |
//! |---|---|---|---|
//! | `Open` | passed on | `Ending` | `Ended` |
//! | `Ending`: what came is being written | – | – | `Ended` |
//! | `Ended`: the other side knows | – | – | – |
//!
//! `Ending` becomes `Ended` once all is written. One way may end long before the other; the tunnel does when both have. After the
//! first end, and while the server takes nothing of what waits for it, its patience is that of a response.

use crate::http::fault::Fault;
use crate::timer::Time;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// From the client to the server.
    up: Way,
    /// From the server to the client.
    down: Way,
    /// Something waits for the server.
    waits: bool,
    /// How long nothing may come from either side.
    idle: Duration,
    /// How long a server may take nothing, and how long half a tunnel may be idle.
    patience: Duration,
    /// When something came or went last.
    moved: Time,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    Ending,
    Ended,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Tell the server that the client has ended.
    ShutServer,
    /// Tell the client, behind what waits for it, that the server has ended.
    ShutClient,
    /// It is over.
    Done,
}

impl Tunnel {
    /// One that begins.
    #[must_use]
    pub(crate) fn new(idle: Duration, patience: Duration, now: Time) -> Self {
        Self { up: Way::Open, down: Way::Open, waits: false, idle, patience, moved: now, cut: false }
    }

    /// Whether bytes of the client are wanted: none before the server has taken those that came.
    #[must_use]
    pub(crate) fn wants_client(&self) -> bool {
        self.up == Way::Open && !self.waits
    }

    /// Whether bytes of the server are wanted; `room`: the client has taken those that came.
    #[must_use]
    pub(crate) fn wants_server(&self, room: bool) -> bool {
        self.down == Way::Open && room
    }

    /// Something came or went at `now`; whether something `waits` for the server.
    pub(crate) fn moved(&mut self, waits: bool, now: Time) {
        (self.waits, self.moved) = (waits, now);
    }

    /// The client sends nothing more.
    pub(crate) fn client_ended(&mut self) {
        if self.up == Way::Open {
            self.up = Way::Ending;
        }
    }

    /// The server sends nothing more.
    pub(crate) fn server_ended(&mut self) {
        if self.down == Way::Open {
            self.down = Way::Ending;
        }
    }

    /// The server takes nothing more; what it has said may still be read.
    pub(crate) fn server_refuses(&mut self) {
        (self.up, self.waits) = (Way::Ended, false);
    }

    /// It is to end at the next look.
    pub(crate) fn cut(&mut self) {
        self.cut = true;
    }

    /// What is to be done next.
    pub(crate) fn poll(&mut self) -> Option<Step> {
        if self.down == Way::Ending {
            self.down = Way::Ended;
            return Some(Step::ShutClient);
        }
        if self.up == Way::Ending && !self.waits {
            self.up = Way::Ended;
            return Some(Step::ShutServer);
        }
        (self.up == Way::Ended && self.down == Way::Ended).then_some(Step::Done)
    }

    fn is_whole(&self) -> bool {
        self.up == Way::Open && self.down == Way::Open
    }

    /// When [`Self::on_timeout`] has to be called at the latest.
    #[must_use]
    pub(crate) fn deadline(&self) -> Time {
        let short = self.waits || !self.is_whole();
        self.moved.after(if short { self.idle.min(self.patience) } else { self.idle })
    }

    /// It is `now`: why it ends, if it does.
    pub(crate) fn on_timeout(&mut self, now: Time) -> Option<Fault> {
        if self.cut {
            return Some(Fault::Drained);
        }
        if now < self.deadline() {
            return None;
        }
        if self.waits {
            return Some(Fault::Stalled);
        }
        if self.is_whole() {
            return Some(Fault::Idle);
        }
        // Half of it had its end long ago: no fault.
        (self.up, self.down) = (Way::Ended, Way::Ended);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    fn tunnel() -> Tunnel {
        Tunnel::new(IDLE, PATIENCE, at(0))
    }

    #[test]
    fn each_end_is_told_to_the_other_side_once_and_the_second_is_the_last() {
        let mut tunnel = tunnel();
        assert_eq!(tunnel.poll(), None);
        tunnel.server_ended();
        assert_eq!((tunnel.poll(), tunnel.poll()), (Some(Step::ShutClient), None));
        assert!(tunnel.wants_client() && !tunnel.wants_server(true));
        tunnel.server_ended();
        assert_eq!(tunnel.poll(), None);
        tunnel.client_ended();
        assert_eq!((tunnel.poll(), tunnel.poll()), (Some(Step::ShutServer), Some(Step::Done)));
    }

    #[test]
    fn an_end_waits_for_what_came_before_it() {
        let mut tunnel = tunnel();
        tunnel.moved(true, at(1));
        tunnel.client_ended();
        assert!(!tunnel.wants_client());
        assert_eq!(tunnel.poll(), None, "something is to be written first");
        tunnel.moved(false, at(2));
        assert_eq!(tunnel.poll(), Some(Step::ShutServer));
        assert!(tunnel.wants_server(true) && !tunnel.wants_server(false));
    }

    #[test]
    fn a_server_that_takes_nothing_more_may_have_said_something() {
        let mut tunnel = tunnel();
        tunnel.moved(true, at(1));
        tunnel.server_refuses();
        assert!(!tunnel.wants_client() && tunnel.wants_server(true));
        tunnel.client_ended();
        assert_eq!(tunnel.poll(), None);
        tunnel.server_ended();
        assert_eq!((tunnel.poll(), tunnel.poll()), (Some(Step::ShutClient), Some(Step::Done)));
    }

    #[test]
    fn time_ends_what_is_idle_stuck_or_half() {
        let mut idle = tunnel();
        idle.moved(false, at(100));
        assert_eq!((idle.deadline(), idle.on_timeout(at(3699))), (at(3700), None));
        assert_eq!(idle.on_timeout(at(3700)), Some(Fault::Idle));

        let mut stuck = tunnel();
        stuck.moved(true, at(100));
        assert_eq!((stuck.deadline(), stuck.on_timeout(at(159))), (at(160), None));
        assert_eq!(stuck.on_timeout(at(160)), Some(Fault::Stalled));

        let mut half = tunnel();
        half.server_ended();
        assert_eq!(half.poll(), Some(Step::ShutClient));
        assert_eq!((half.deadline(), half.on_timeout(at(60))), (at(60), None));
        assert_eq!(half.poll(), Some(Step::Done));

        let mut short = Tunnel::new(Duration::from_secs(1), PATIENCE, at(0));
        short.moved(true, at(0));
        assert_eq!(short.deadline(), at(1), "no longer than an idle one");

        let mut cut = tunnel();
        cut.cut();
        assert_eq!(cut.on_timeout(at(0)), Some(Fault::Drained));
    }
}
