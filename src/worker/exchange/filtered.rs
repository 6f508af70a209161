//! The part of an exchange whose response passes filters on its way out.

use super::files::LONGEST;
use super::{Exchange, Step};
use crate::filter::coding::Asked;
use crate::http::fault::Fault;
use crate::policy::Policies;
use crate::worker::drive::Drive;
use crate::worker::filters::Pumped;

impl Exchange {
    /// Has its response pass what the place that answers says of responses.
    pub(super) fn filter(&mut self, policies: &Policies, drive: &mut Drive<'_>) {
        let compress = policies.compress.get().filter(|_| !drive.reply.is_own());
        let asked = compress.zip(self.request.as_mut()).map(|(compress, request)| {
            let mut asked = Asked::of(compress, &request.head);
            if let Some(head) = asked.translate(&request.head) {
                request.head = head;
            }
            asked
        });
        if asked.is_some() || drive.reply.is_filtered() {
            drive.reply.compress(asked);
        }
    }

    /// All of the response was given to what it passes.
    pub(super) fn given(&mut self, drive: &Drive<'_>) {
        self.step =
            if drive.reply.holds_back() { Step::Filtering(drive.cx.now.after(LONGEST)) } else { Step::Sent };
    }

    /// Moves it on, and what it passes; whether anything was done.
    pub(super) fn advance_filtered(&mut self, drive: &mut Drive<'_>) -> bool {
        let pumped = match drive.reply.pump(drive.owner, drive.cx) {
            Pumped::Moved(_) => {
                if let Step::Filtering(_) = self.step {
                    self.given(drive);
                }
                true
            }
            Pumped::Nothing => {
                self.looks_again(drive);
                false
            }
            Pumped::Later => {
                drive.cx.runnable.push_back(drive.owner);
                false
            }
            Pumped::Waits => match self.step {
                Step::Filtering(until) if until <= drive.cx.now => {
                    self.break_off(Some(Fault::Disk), drive);
                    true
                }
                _ => false,
            },
            Pumped::Broken(fault) => {
                self.break_off(fault, drive);
                true
            }
        };
        let moved = self.advance_step(drive);
        if !moved && !pumped {
            drive.reply.pause();
        }
        moved || pumped
    }

    /// It waits for its client, who has a time of its own.
    fn looks_again(&mut self, drive: &Drive<'_>) {
        if let Step::Filtering(until) = &mut self.step {
            *until = drive.cx.now.after(LONGEST);
        }
    }

    fn break_off(&mut self, fault: Option<Fault>, drive: &mut Drive<'_>) {
        self.cancel(drive);
        match fault {
            Some(fault) => self.fail(fault, drive),
            None => drive.reply.break_off(),
        }
    }
}
