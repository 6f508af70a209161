//! The part of an exchange that waits for what a rule has to know (`policy::chain`): it has it found out, and asks that rule
//! again. Meanwhile nothing more of the request is read, and a client that leaves is not waited for.

use super::{Exchange, Step};
use crate::http::BodyLength;
use crate::http::fault::Fault;
use crate::policy::chain::{At, Came, Wait};
use crate::timer::Time;
use crate::worker::drive::Drive;
use std::time::Duration;

/// What takes longer is a fault of this machine.
const LONGEST: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Waiting {
    what: Wait,
    /// Which rule waits.
    at: At,
    /// What the request brings.
    body: BodyLength,
    pub(super) until: Time,
    came: Option<Came>,
}

impl Exchange {
    /// Has a rule be asked again once it is known what it wants to know.
    pub(super) fn wait(&mut self, what: Wait, at: At, body: BodyLength, drive: &mut Drive<'_>) {
        let until = drive.cx.now.after(LONGEST);
        let mut waiting = Waiting { what, at, body, until, came: None };
        match what {
            Wait::Password => waiting.came = Some(Came::Password(false)),
        }
        self.step = Step::Waiting(Box::new(waiting));
        // It may be known at once.
        self.advance_waiting(drive);
    }

    /// Asks the rule again if what it waits for is there; whether it was, or there is no more time.
    pub(super) fn advance_waiting(&mut self, drive: &mut Drive<'_>) -> bool {
        let Step::Waiting(waiting) = &mut self.step else { return false };
        let Waiting { what, at, body, until, .. } = **waiting;
        match waiting.came.take() {
            Some(came) => {
                self.step = Step::Sent;
                self.admit_from(at, Some(&came), body, drive);
            }
            None if until <= drive.cx.now => {
                self.stop_waiting(what, drive);
                self.step = Step::Sent;
                self.fail(Fault::Disk, drive);
            }
            None => return false,
        }
        true
    }

    /// Nobody waits for it any more.
    pub(super) fn stop_waiting(&mut self, what: Wait, _drive: &mut Drive<'_>) {
        match what {
            // It is known at once.
            Wait::Password => {}
        }
    }
}

impl Waiting {
    pub(super) fn what(&self) -> Wait {
        self.what
    }
}
