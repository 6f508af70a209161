//! The part of an exchange that limits are about: what it is counted for as long as it runs, and what is told of one that is
//! refused.

use super::Exchange;
use crate::worker::context::Context;
use crate::worker::limiter::Judged;
use log::Level;

/// Word and reason of the access log.
const WORD: &str = "limited";
const WHY: &str = "over a limit";

impl Exchange {
    /// Keeps what it is counted for, and tells of what it has exceeded.
    pub(super) fn note_limits(&mut self, judged: Judged, cx: &mut Context) {
        let Judged { excess, spared, held } = judged;
        if !held.is_empty() {
            self.held = held;
        }
        for label in spared {
            let kind = format!("limit {label} (dry run)");
            let line = format_args!("{}: would be refused by limit {label} (dry run)", self.client_text());
            cx.note(Level::Info, &kind, line);
        }
        if let Some(excess) = excess {
            (self.fault, self.error) = (Some(WORD), Some(WHY));
            let kind = format!("limit {}", excess.label);
            let line = format_args!("{}: refused with {} by {kind}", self.client_text(), excess.status());
            cx.note(Level::Info, &kind, line);
        }
    }

    /// Who has sent it, for the log.
    fn client_text(&self) -> String {
        let client = self.request.as_ref().and_then(|request| request.origin.client);
        let client = client.or(self.peer.address.map(|peer| peer.ip()));
        client.map_or_else(|| "unix".to_owned(), |client| client.to_string())
    }
}
