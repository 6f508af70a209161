//! The end of a reload as `reload` sees it: only when the old workers accept no more does every new connection
//! reach the new generation. They do so within a turn of their loops; one that hangs is not waited for.

use super::machine::Supervisor;
use super::{ChildId, Ticket};
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A worker that does not stop accepting within this time is hung, or has so much to do that it accepts nothing either.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reload that has switched and is answered when the old workers have closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    tickets: Vec<Ticket>,
    text: String,
    /// Old workers that may still accept.
    open: Vec<ChildId>,
    until: Time,
}

impl Supervisor {
    /// Answers the tickets of a reload once none of `open` accepts any more.
    pub(super) fn answer_when_closed(
        &mut self,
        tickets: Vec<Ticket>,
        text: String,
        open: Vec<ChildId>,
        now: Time,
    ) {
        self.handovers.push(Handover { tickets, text, open, until: now.after(PATIENCE) });
    }

    /// A worker accepts no more.
    pub(super) fn on_closed(&mut self, child: ChildId) {
        for handover in &mut self.handovers {
            handover.open.retain(|open| *open != child);
        }
    }

    /// Answers what can be answered; `all`: the server stops, nobody is kept waiting.
    pub(super) fn settle_handovers(&mut self, all: bool, now: Time) {
        for mut handover in std::mem::take(&mut self.handovers) {
            handover.open.retain(|child| self.position_of(*child).is_some());
            if all || handover.open.is_empty() || handover.until <= now {
                self.answer(handover.tickets, &Ok(handover.text));
            } else {
                self.handovers.push(handover);
            }
        }
    }

    /// When the first of these reloads is not waited for any longer.
    pub(super) fn handover_deadline(&self) -> Option<Time> {
        self.handovers.iter().map(|handover| handover.until).min()
    }
}
