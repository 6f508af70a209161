//! The part in which what is kept is given although its time is over, and an exchange of our own fetches it anew.

use super::super::Exchange;
use super::super::own::Given;
use crate::worker::cache::Claimed;
use crate::worker::drive::Drive;
use crate::worker::own::Ask;
use std::time::Duration;

/// What has not come by then will not.
const LONGEST: Duration = Duration::from_secs(60);

impl Exchange {
    /// Has what is kept be fetched anew, unless somebody does already. Nobody waits for it.
    pub(super) fn refresh(&mut self, drive: &mut Drive<'_>) {
        let (Some(request), Some(cached), Some(handler)) = (&self.request, &self.cached, &self.handler)
        else {
            return;
        };
        let Some(keys) = &cached.key else { return };
        let Claimed::Mine(claim) = drive.cx.cache.claim(&keys.at, drive.cx.now) else { return };
        let claim = Some((keys.at.hash(), claim));
        let given = Given {
            head: request.head.clone(),
            target: request.target.clone(),
            host: request.host.clone(),
            origin: request.origin,
            peer: self.peer.clone(),
            user: self.user.clone(),
            site: request.site,
            place: request.place,
            handler: handler.clone(),
        };
        let until = drive.cx.now.after(LONGEST);
        drive.cx.ask_own(Ask { whom: None, given, until, claim });
    }
}
