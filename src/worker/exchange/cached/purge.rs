//! `PURGE`: a request that takes a response out of the cache. Who may send it says the place; nobody, where it says nothing.

use super::super::Exchange;
use crate::cache::key::Key;
use crate::config::CacheResponses;
use crate::http::{RequestHead, ResponseHead};
use crate::worker::drive::Drive;

const METHOD: &[u8] = b"PURGE";

/// Whether a request is one.
pub(super) fn is_asked(head: &RequestHead) -> bool {
    head.method_bytes() == METHOD
}

impl Exchange {
    /// Takes out what is kept of the URL, with all that varies, if the client may.
    pub(super) fn purge(&mut self, how: &CacheResponses, drive: &mut Drive<'_>) {
        drive.reply.last();
        let Some(request) = &self.request else { return };
        let client = request.origin.client;
        if !how.purge.allow.iter().any(|network| network.contains(client)) {
            return self.answer_page(403, drive);
        }
        let parts = self.parts(drive.config);
        let secret = drive.cx.cache.secret;
        let key = parts.and_then(|parts| Key::primary(&parts, &request.head, &how.settings.key, secret));
        if let Some(key) = key {
            drive.cx.cache.forget(&key);
        }
        let head = ResponseHead::new(200).with("Content-Type", "text/plain; charset=utf-8");
        self.answer(&head, b"purged\n".to_vec(), drive);
    }
}
