//! `PURGE`: a request that takes a response out of the cache. Who may send it says the place; nobody, where it says nothing.

use super::super::Exchange;
use crate::cache::key::Key;
use crate::config::CacheResponses;
use crate::http::{Names, RequestHead, ResponseHead};
use crate::worker::drive::Drive;

const METHOD: &[u8] = b"PURGE";

/// By which other servers are told to purge more than one URL. Who is not heard is to be told so.
const OF_MORE: Names = Names::new(&["cache-tag", "surrogate-key", "xkey", "x-purge", "x-purge-prefix"]);

const MORE: &[u8] =
    b"PURGE takes out its own URL; for tags and prefixes: `hatchery purge --tag` and `hatchery purge --prefix`\n";

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
        if request.head.fields().any(|(name, _)| OF_MORE.has(name)) {
            let head = ResponseHead::new(501).with("Content-Type", "text/plain; charset=utf-8");
            return self.answer(&head, MORE.to_vec(), drive);
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
